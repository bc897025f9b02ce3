//! The words every crate of Setu shares: identifiers, redacted values, the end of a call and its record.
//!
//! It never speaks a protocol and never does I/O.

#![forbid(unsafe_code)]

mod cdr;
mod egress;
mod entropy;
mod facts;
mod id;
pub mod limits;
mod quality;
mod redact;
mod rule;
mod tap;
mod termination;
mod time;

pub use cdr::{
    AnsweredBy, CallCost, Cdr, DigitRecord, LegRecord, MediaQuality, Milestone, RecordingRef, Timeline,
    TimelineEntry,
};
pub use egress::{EgressPolicy, EgressRefusal};
pub use entropy::{Entropy, SeededEntropy};
pub use facts::{CallFacts, Direction, Ingress, Side};
pub use id::{CallId, InvalidCallId, LegId};
pub use quality::{CallQuality, CodecImpairment, Fault, Hop, Impairment, Mos, Path};
pub use redact::{Pii, Secret, set_pii_visible};
pub use rule::{GateCode, RuleRefusal};
pub use tap::{TapChannel, TapFrame};
pub use termination::{Cause, EndedBy, Termination};
pub use time::{InvalidWall, Now, Wall};

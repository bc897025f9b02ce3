//! What outlives a process: webhooks as they came, what they told of permissions and complaints, call records, and events on
//! their way out, in SQLite or PostgreSQL.
//!
//! It never decides what any of it means: rows go in and come out as plain values, each keyed so that writing it again changes
//! nothing.

#![forbid(unsafe_code)]

mod keep;
mod key;
mod open;
mod orders;
mod outbox;
mod prune;
mod quality;
mod query;
mod report;
mod rows;
mod store;
mod write;

pub use keep::{Kept, Unfinished, UnfinishedRow};
pub use key::digest;
pub use open::{Location, OpenError};
pub use orders::{CallFate, KnownOrder, OrderRow};
pub use outbox::{DeadRow, OutboxCount, OutboxFate, OutboxHead, OutboxRow};
pub use prune::{Old, OldPair};
pub use quality::day;
pub use query::{CdrQuery, CdrRevision};
pub use report::{ReportQuery, ReportRow};
pub use rows::{
    Attempt, CdrRow, ComplaintRow, CustomerNames, DeliveryRow, EndRow, EventRow, FactRow, RequestRow,
    Revision, TallyRow, Unreconciled, Waiting,
};
pub use store::{Store, StoreFault};

//! What outlives a process: webhooks as they came, what they told of permissions, call records, and events on their way out, in
//! SQLite or PostgreSQL.
//!
//! It never decides what any of it means: rows go in and come out as plain values, each keyed so that writing it again changes
//! nothing.

#![forbid(unsafe_code)]

mod key;
mod open;
mod outbox;
mod query;
mod rows;
mod store;

pub use key::digest;
pub use open::{Location, OpenError};
pub use outbox::{DeadRow, OutboxCount, OutboxFate, OutboxHead, OutboxRow};
pub use query::{CdrQuery, CdrRevision};
pub use rows::{
    CdrRow, CustomerNames, DeliveryRow, EndRow, EventRow, FactRow, Revision, Unreconciled, Waiting,
};
pub use store::{Store, StoreFault};

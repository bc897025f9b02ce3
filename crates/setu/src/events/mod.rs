//! Events out: what the operator's own programs are told of calls, permissions and quality, and how it gets there.
//!
//! `kinds` says what is told in which words, `dispatch` decides what is posted when, and `courier` is the task that does it. Between
//! them is the store: what is told is in its outbox before anything is posted, in the transaction of what it tells of where that is
//! kept as well.

mod courier;
mod dispatch;
mod kinds;

pub(crate) use courier::{Courier, Endpoints, Running};
pub(crate) use dispatch::Retry;
pub(crate) use kinds::{Audience, Told};

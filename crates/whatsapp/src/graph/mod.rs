//! Calls that Meta signals by Graph requests and webhooks.
//!
//! [`Leg`] is one of them as a machine like a SIP session: it says which requests to make, and what their replies and
//! the webhooks mean. Whoever owns it makes the requests ([`Action`]) and hands the replies back; the machine has one under
//! way at a time. [`Action::body`] and [`read_reply`] are what those look like on the wire.

mod action;
mod leg;
mod refusal;

pub use action::{Action, Failure, Reply, Template, read_object, read_reply};
pub use leg::{Ended, Event, Leg, Output};
pub use refusal::refusal;

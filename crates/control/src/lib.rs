//! The HTTP side: answers `/healthz` and `/metrics` on a loopback address.
//!
//! It never decides anything about a call, and it never shows a phone number, a key or a token.

#![forbid(unsafe_code)]

mod health;
mod labels;
mod metrics;
mod server;

pub use health::{CertificateHealth, Health, ListenerHealth, State};
pub use labels::{Bound, Fate, Transport};
pub use metrics::Metrics;
pub use server::{Control, HttpLimits, StartError, serve, serve_with};

//! The HTTP side: answers `/healthz` and `/metrics`, and takes webhooks that are proven to be Meta's or the provider's.
//!
//! It never decides anything about a call, and it never shows a phone number, a key or a token.

#![forbid(unsafe_code)]

mod health;
mod labels;
mod metrics;
mod refusal;
mod server;
mod webhook;

pub use health::{CertificateHealth, Health, ListenerHealth, State};
pub use labels::{Bound, Fate, Transport, WebhookFate};
pub use metrics::Metrics;
pub use server::{Control, HttpLimits, StartError, serve, serve_with};
pub use webhook::{Delivery, WebhookLimits, WebhookTrust, serve_webhooks};

//! The HTTP side: answers `/healthz` and `/metrics`, takes webhooks that are proven to be Meta's or the
//! provider's, makes requests to Meta's Graph, posts events, and answers programs that show a token.
//!
//! It never decides anything about a call; it shows phone numbers to nobody without a token, and no key or token at all.

#![forbid(unsafe_code)]

mod api;
mod events;
mod graph;
mod health;
mod labels;
mod metrics;
mod outbound;
mod refusal;
mod server;
mod webhook;

pub use api::{
    AgentState, Amounts, ApiToken, ApiTokens, Backend, CallFilter, CallOrder, CdrEntry, CdrFilter,
    CdrRevisionEntry, DeadEvent, Feedback, FeedbackKind, Figured, Figures, Finding, Grant, Inquiry, LiveCall,
    NotMade, NumberQuality, OrderKey, Pending, PermissionOrder, PermissionRequested, PermissionTemplate,
    ProvisioningDrift, ProvisioningFact, ProvisioningReport, QualityReading, Readiness, ReportBy,
    ReportFilter, ReservationOrder, Reserved, Ring, Rule, Scope, Standing, Sums, TrunkState, Unavailable,
    openapi, serve_api,
};
pub use events::{EventAnswer, EventClient, EventEndpoint, EventSecret, EventUrl};
pub use graph::{GraphClient, GraphConfig, MOST_TIME};
pub use health::{CertificateHealth, Health, ListenerHealth, State};
pub use labels::{Bound, Fate, Transport, WebhookFate};
pub use metrics::Metrics;
pub use outbound::{Outbound, OutboundError};
pub use server::{Control, HttpLimits, StartError, serve, serve_with};
pub use webhook::{AppSecret, Belongings, Delivery, WebhookLimits, WebhookTrust, serve_webhooks};

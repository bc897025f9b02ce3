//! Meta's Graph side: an HTTPS server that takes the business's requests, signed webhooks that tell it what happens, and
//! the relay and the WhatsApp users behind both.

mod asks;
mod call;
mod config;
mod edge;
mod http;
mod media;
mod numbers;
mod permissions;
mod report;
mod reputation;
mod settings;
mod tell;

pub use config::{GraphCallSpec, GraphConfig, GraphHabits, GraphNumber, UserReply};
pub use edge::GraphEdge;
pub use permissions::{Consequence, Forbidden, PermissionRules, Permissions, Permit};
pub use report::{Asked, GraphEvent, GraphReport, GraphViolation};
pub use reputation::{Reputation, ReputationRules};
pub use settings::{CallSettings, SipServer};

#[cfg(test)]
mod tests;

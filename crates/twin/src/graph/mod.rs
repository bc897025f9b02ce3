//! Meta's Graph side: an HTTPS server that takes the business's requests, signed webhooks that tell it what happens, and
//! the relay and the WhatsApp users behind both.

mod asks;
mod call;
mod config;
mod edge;
mod http;
mod media;
mod report;
mod tell;

pub use config::{GraphCallSpec, GraphConfig, GraphHabits, GraphNumber};
pub use edge::GraphEdge;
pub use report::{Asked, GraphEvent, GraphReport, GraphViolation};

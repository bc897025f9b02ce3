//! What is particular to Meta's WhatsApp Business Calling: what its headers and webhooks tell, what its refusals mean, who may
//! be called when, what that costs, and where its edge is.
//!
//! It never does I/O and never decides what happens in a call; it translates Meta's words into the bridge's.

#![forbid(unsafe_code)]

pub mod campaign;
pub mod cost;
mod country;
mod edge;
mod facts;
pub mod gate;
pub mod graph;
pub mod hours;
mod number;
pub mod permission;
pub mod provision;
pub mod quality;
mod refusal;
pub mod report;
pub mod webhook;

pub use country::country_of;
pub use edge::{CALL_ID_PREFIX, DOMAIN, PORT, RELAY_PORTS, SOURCE_NETWORKS};
pub use facts::{EndedFacts, ended_facts, facts_from_headers};
pub use number::{customer_uri, digest_username, e164, number_of_username};
pub use refusal::{Refusal, refusal};

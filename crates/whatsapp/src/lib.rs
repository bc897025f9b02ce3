//! What is particular to Meta's WhatsApp Business Calling: what its headers tell, what its refusals mean, where its
//! edge is.
//!
//! It never does I/O and never decides what happens in a call; it translates Meta's words into the bridge's.

#![forbid(unsafe_code)]

mod edge;
mod facts;
mod number;
pub mod permission;
mod refusal;
pub mod webhook;

pub use edge::{CALL_ID_PREFIX, DOMAIN, PORT, RELAY_PORTS, SOURCE_NETWORKS};
pub use facts::{EndedFacts, ended_facts, facts_from_headers};
pub use number::{customer_uri, digest_username, e164, number_of_username};
pub use refusal::{Refusal, refusal};

//! Meta's SIP edge in both directions, its relay with ICE and DTLS or SDES keys, and the WhatsApp users behind it.

mod business_calls;
mod call;
pub(crate) mod describe;
mod edge;
mod in_dialog;
mod packets;
pub(crate) mod print;
mod quirks;
mod refusal;
mod report;
mod spec;
mod user_calls;

pub use edge::Edge;
pub use quirks::{ParentUserId, Profile, Quirks, Ringing};
pub use refusal::Refusal;
pub use report::{CallReport, Ender, Event, UserSaw, Violation};
pub use spec::{Answer, Answering, BusinessNumber, CallSpec, EdgeConfig, KeyExchange, TwinCallId};

#[cfg(test)]
mod tests;

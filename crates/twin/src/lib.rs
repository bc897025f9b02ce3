//! The Meta edge twin and agent twins: independent peers that call the bridge, are called by it, and report what
//! was seen and heard.
//!
//! It never shares protocol code with the bridge: its SIP text is printed by hand and parsed by `sipx-sip`, its
//! SRTP is `rtc-srtp`, its DTLS `dimpl`, its ICE `rtc-ice` (the lite end its own, over `rtc-stun`), its Opus
//! `opus-pure`. It is the witness, and a bug must not agree with itself.

#![forbid(unsafe_code)]

pub mod agent;
pub mod graph;
mod io;
pub mod media;
pub mod meta;
pub mod net;
mod person;
pub mod shell;
mod sip;
pub mod webhook;
#[cfg(test)]
mod webrtc;

pub use io::{Closed, ConnId, Output, Party, StreamFacts, Transport};
pub use person::Person;
pub use sip::digest::Algorithm;
pub use sip::sdp::MediaDirection;

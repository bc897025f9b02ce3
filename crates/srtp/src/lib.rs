//! RTP and RTCP headers, telephone events, and SRTP and SRTCP that work in place on the caller's buffer.
//!
//! It never opens a socket, reads a clock, draws a random number, allocates for a packet, or keeps state for a
//! source that has not authenticated itself.
//!
//! Plain packets: [`rtp::Header`], [`rtcp::Compound`], [`rtcp::Writer`], [`TelephoneEvent`], [`demux::classify`].
//! Protected packets: one [`Sender`] or [`Receiver`] for each direction of a leg and set of keys.

#![forbid(unsafe_code)]

mod aes_cm;
mod bytes;
pub mod demux;
mod error;
mod gcm;
mod hmac_sha1;
mod key_derivation;
mod receiver;
pub mod rtcp;
pub mod rtp;
mod sender;
mod sources;
mod suite;
mod telephone_event;
mod window;

pub use error::SrtpError;
pub use receiver::Receiver;
pub use sender::Sender;
pub use sources::{MAX_SOURCES, SourceIndex};
pub use suite::{ExportedKeying, Suite, UnknownSuite};
pub use telephone_event::{TelephoneEvent, TelephoneEventError};

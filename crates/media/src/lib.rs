//! The media plane of one call: takes the packets of its legs, checks, rewrites and passes them on, and keeps one
//! continuous stream toward each leg whatever feeds it.
//!
//! It never opens a socket, reads a clock, or trusts a packet that did not authenticate.

#![forbid(unsafe_code)]

mod address;
mod clip;
mod codec;
mod dtls;
mod feed;
mod guard;
mod hop;
mod ice;
mod inbound;
mod keys;
mod leg;
mod opus;
mod outbound;
mod path;
mod port;
mod profile;
mod quality;
mod reception;
mod relay;
mod repack;
mod setup;
mod sound;
mod stream;
mod telephone;

pub use clip::{Cadence, Clip, ClipError};
pub use codec::{CodedTotals, Coders, Job, Kind, Packet, Plan, Way};
pub use dtls::{
    DtlsFault, DtlsIdentity, DtlsSetup, Handshake, HandshakeFailed, HandshakeInput, HandshakeOutput, SrtpKeys,
};
pub use hop::{Datagram, RelayHop, Sent};
pub use ice::IceSetup;
pub use port::{Arrival, Channel, Command, Direction, Event, OpenFailure, Play, Sink};
pub use profile::{Comfort, Latch, MediaProfile, Packetisation};
pub use relay::Relay;
pub use setup::{AudioFormat, Crypto, Dtmf, LegSetup, OpusTarget, SetupRefused};

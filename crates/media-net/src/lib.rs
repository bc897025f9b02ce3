//! The packet threads: sockets, port slots and batched system calls around the relays of `setu-media`.
//!
//! It never looks into a packet, decides what happens in a call, touches an asynchronous runtime, takes a lock, or
//! allocates for a packet.
//!
//! Each call belongs to one worker thread, which owns its relay, its sockets and a share of the ports. Commands come
//! in through a bounded channel and an eventfd; events leave through a callback. DTLS handshakes have a thread of their
//! own, and come and go through bounded channels.

mod calls;
mod codec;
mod config;
mod counters;
mod handshakes;
mod outbox;
mod plane;
mod ports;
mod schedule;
mod sockets;
mod sys;
mod worker;

pub use config::{MediaNetConfig, MediaSide};
pub use counters::Totals;
pub use plane::{MediaPlane, SendError, SpawnError};

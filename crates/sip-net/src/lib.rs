//! SIP transports: UDP, TCP, TLS and WebSocket with their certificates, name resolution, connection reuse and limits.
//!
//! They never decide anything about a message: what comes in is handed on with how it came, what goes out goes
//! where its target says, within the egress policy.

#![forbid(unsafe_code)]

mod admission;
mod certificate;
mod config;
mod connect;
mod counters;
mod datagram;
mod event;
mod listen;
mod net;
mod pool;
mod resolve;
mod stream;
mod tasks;
mod tls;
mod trace;
mod udp;
mod websocket;

pub use certificate::{CertificateError, CertificateStatus, verify_as_peer};
pub use config::{
    CertificateFiles, InvalidAddress, Limits, ListenerConfig, PinnedAddress, PinnedHosts, SipNetConfig,
    Timeouts, TlsConfig, Trust, WebSocketConfig,
};
pub use counters::{Count, Counters, Traffic};
pub use event::{NetEvent, SendFailure, StartError};
pub use net::SipNet;
pub use trace::scrub;

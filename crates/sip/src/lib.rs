//! SIP without I/O: messages, transactions, dialogs, sessions, digest, registrar.
//!
//! It never opens a socket, reads a clock or draws a random number of its own.

#![forbid(unsafe_code)]

mod access;
mod address;
mod dialog;
pub mod digest;
mod endpoint;
mod flow;
mod framer;
mod key_info;
mod message;
mod params;
mod registrar;
mod scan;
mod session;
mod timers;
mod transaction;
mod uri;
mod via;

pub use access::{Access, AccountAccess, Identity, NumberAccess, Probe, TrunkAccess};
pub use address::{Contacts, NameAddr};
pub use dialog::{Dialog, Order, Path};
pub use digest::Credentials;
pub use endpoint::{
    CommandError, Counters, EarlyId, EndHow, Endpoint, EndpointConfig, Event, InviteRequest, Limits, Output,
    Party, ReofferKind, SessionId, SideConfig, Sizes, Stranger,
};
pub use flow::{Arrival, FlowId, Hop, SendToken, Target, Transmit, Transport, UnknownTransport};
pub use framer::{Frame, Framer};
pub use key_info::KeyInfo;
pub use message::{
    BuildError, Builder, CSeq, Header, HeaderError, Message, Method, ParseError, UnknownBody, is_singleton,
    reason_phrase,
};
pub use params::Params;
pub use registrar::{Binding, BindingChange, BindingId, Vanished};
pub use timers::{Timer, Timers};
pub use uri::{Host, InvalidUri, Scheme, Uri};
pub use via::Via;

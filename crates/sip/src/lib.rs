//! SIP without I/O: messages, transactions, dialogs, sessions, digest, registrar.
//!
//! It never opens a socket, reads a clock or draws a random number of its own.

#![forbid(unsafe_code)]

mod address;
mod framer;
mod message;
mod params;
mod scan;
mod uri;
mod via;

pub use address::{Contacts, NameAddr};
pub use framer::{Frame, Framer};
pub use message::{
    BuildError, Builder, CSeq, Header, HeaderError, Message, Method, ParseError, is_singleton, reason_phrase,
};
pub use params::Params;
pub use uri::{Host, InvalidUri, Scheme, Uri};
pub use via::Via;

//! The twins' own SIP: printed by hand, read by name, retransmitted where it must be.

pub(crate) mod dialog;
pub(crate) mod digest;
pub(crate) mod message;
pub(crate) mod sdp;
pub(crate) mod streams;
pub(crate) mod text;
pub(crate) mod transactions;

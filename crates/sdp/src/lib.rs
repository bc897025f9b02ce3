//! Session descriptions (RFC 4566, RFC 8866) and offer/answer (RFC 3264), tolerant of what real peers send.
//!
//! It never does I/O, never draws randomness of its own and never lets an encrypted leg fall back to clear RTP.
//!
//! The way through it: [`Description::parse`] reads a peer's text, a [`Policy`] says what a kind of peer may be
//! offered, and [`answer`], [`offer`] with [`accept`], and [`re_answer`] turn the two into a [`Negotiated`]: where
//! to send, which payload types, which keys or which way to them.

#![forbid(unsafe_code)]

mod accept;
mod answer;
mod crypto;
mod description;
mod error;
mod media;
mod negotiated;
mod offer;
mod policy;
mod secure;
mod terms;
mod text;

pub use accept::accept;
pub use answer::{answer, re_answer};
pub use crypto::{CryptoFault, CryptoLine, SrtpSuite};
pub use description::{Description, Line, Origin};
pub use error::{Refusal, SdpError};
pub use media::{Encoding, Media, OpusParameters, Payload};
pub use negotiated::{Audio, AudioCodec, Direction, Dtmf, Negotiated, SrtpKeys};
pub use offer::{Local, Offer, offer, re_offer};
pub use policy::{DtmfClock, Keying, Policy, RtcpMux, SrtpPolicy, TelephoneEvent};
pub use secure::{
    Candidate, DtlsPolicy, DtlsRole, DtlsTerms, Fingerprint, IceCredentials, IceMode, IceTerms, NoFingerprint,
};

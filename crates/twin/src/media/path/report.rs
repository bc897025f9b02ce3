use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::media::Suite;

/// The value of `a=setup` (RFC 4145 section 4, RFC 8842).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Setup {
    /// Its writer sends the ClientHello.
    Active,
    /// Its writer waits for it.
    Passive,
    /// The other side decides; in an answer it breaks RFC 8842 section 5.3.
    ActPass,
}

impl Setup {
    pub(crate) const fn attribute(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::ActPass => "actpass",
        }
    }

    pub(crate) fn read(text: &str) -> Option<Self> {
        [Self::Active, Self::Passive, Self::ActPass].into_iter().find(|setup| setup.attribute() == text)
    }
}

/// An end's part in the DTLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DtlsRole {
    /// It sends the ClientHello: `setup:active`.
    Client,
    /// It waits for it: `setup:passive`.
    Server,
}

impl DtlsRole {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// How a call's packets found their way, and how they were keyed. All zero and null for a call without DTLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathReport {
    /// From both descriptions being known to the nomination of a pair, in milliseconds.
    pub ice_ms: Option<u64>,
    /// From the nomination to the keys, in milliseconds.
    pub dtls_ms: Option<u64>,
    /// The peer's part in the handshake.
    pub peer_dtls_role: Option<DtlsRole>,
    /// The SRTP suite the handshake agreed on.
    pub srtp: Option<Suite>,
    /// Our address of the first pair.
    pub local: Option<SocketAddr>,
    /// The peer's address of the first pair.
    pub remote: Option<SocketAddr>,
    /// Whether the peer checked from an address that its description does not hold.
    pub peer_reflexive: bool,
    /// Whether a pair was nominated by its very first check instead of a later one (RFC 8445 section 8.1.1 has
    /// regular nomination only).
    pub nominated_at_once: bool,
    /// Authentic checks that were answered, consent checks included.
    pub checks: u64,
    /// Authentic checks that came before the description and were not answered.
    pub checks_early: u64,
    /// Checks without a right MESSAGE-INTEGRITY, FINGERPRINT or USERNAME.
    pub checks_forged: u64,
    /// Times the peer claimed our role and was told so.
    pub role_conflicts: u64,
    /// Times another pair took over after the first.
    pub moves: u64,
    /// Datagrams of the peer's handshake that were lost on purpose.
    pub handshake_datagrams_lost: u32,
    /// Datagrams from addresses that ICE knows nothing of.
    pub strangers: u64,
}

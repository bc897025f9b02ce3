//! A peer's quirks in media, as data.

use std::time::Duration;

/// How one kind of peer wants its media. Cores branch on these fields, never on who the peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaProfile {
    /// The packet lengths the peer takes.
    pub packetisation: Packetisation,
    /// What the peer hears while nobody feeds its leg.
    pub comfort: Comfort,
    /// From where packets of the peer are taken.
    pub latch: Latch,
    /// Whether plain RTP may be spoken with it at all.
    pub plain_rtp: bool,
    /// After this long without a packet from the peer, [`crate::Event::Silent`] is told. `None`: never.
    pub silence: Option<Duration>,
    /// Whether RTCP from the peer counts as a packet for `silence`.
    pub rtcp_is_life: bool,
    /// Between two RTCP reports to the peer.
    pub rtcp_interval: Duration,
}

impl MediaProfile {
    /// Meta's relays: 20 ms packets only, always SRTP, a stream that never pauses. A customer who is muted sends on
    /// or sends RTCP, and Meta itself cuts a call without media, so 30 s without either means the path is gone.
    pub const fn meta() -> Self {
        Self {
            packetisation: Packetisation::Fixed20Ms,
            comfort: Comfort::Continuous,
            latch: Latch::Authenticated,
            plain_rtp: false,
            silence: Some(Duration::from_secs(30)),
            rtcp_is_life: true,
            rtcp_interval: Duration::from_secs(5),
        }
    }

    /// An agent's registered phone: often behind a NAT of its own, and mute without a packet (silence suppression),
    /// though its RTCP goes on.
    pub const fn softphone() -> Self {
        Self {
            packetisation: Packetisation::Any,
            comfort: Comfort::Continuous,
            latch: Latch::SameHost,
            plain_rtp: true,
            silence: Some(Duration::from_secs(60)),
            rtcp_is_life: true,
            rtcp_interval: Duration::from_secs(5),
        }
    }

    /// A PBX: sends from the address it signalled, when plain.
    pub const fn trunk() -> Self {
        Self { latch: Latch::Signalled, ..Self::softphone() }
    }
}

/// The packet lengths a peer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packetisation {
    /// Whatever the other side sends, up to 120 ms.
    Any,
    /// 20 ms and nothing else: others are repacked.
    Fixed20Ms,
}

/// What fills a leg's outbound stream while nobody feeds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comfort {
    /// A frame of silence every 20 ms.
    Continuous,
    /// Nothing but RTCP. The first packet after [`crate::Command::Start`] is sent all the same.
    None,
}

/// From where a peer's packets are taken.
///
/// SRTP legs always follow the packet that authenticates and is newer than all before it; for them, `Signalled` and
/// `SameHost` mean the same as `Authenticated`. On a plain leg nothing authenticates, so `Authenticated` means the same
/// as `Signalled`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latch {
    /// Only what authenticates.
    Authenticated,
    /// Only the address and port of the peer's SDP.
    Signalled,
    /// The host of the peer's SDP; the port of its first valid packet, then locked (a NAT that maps ports only).
    SameHost,
}

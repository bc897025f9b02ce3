use std::net::SocketAddr;

use setu_model::Secret;

use crate::{DtlsTerms, IceTerms, OpusParameters, SrtpSuite};

/// What both sides agreed on for one leg's audio: all that its media needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// Where to send RTP; with [`ice`](Self::ice) only a hint. Not checked against any egress policy: the caller does that. Its address is unspecified
    /// if the peer began on hold with `c=0.0.0.0`.
    pub remote: SocketAddr,
    /// Where to send RTCP; `None` if it shares the RTP port (RFC 5761).
    pub remote_rtcp: Option<SocketAddr>,
    /// The audio format.
    pub audio: Audio,
    /// How keys are pressed; `None` if the peer takes no telephone events.
    pub dtmf: Option<Dtmf>,
    /// Whether pauses may go to the peer as comfort noise packets (RFC 3389), which have payload type 13.
    pub comfort_noise: bool,
    /// The keys, where descriptions hold them. Without them and without [`dtls`](Self::dtls) it is clear RTP, where
    /// the policy allows it.
    pub srtp: Option<SrtpKeys>,
    /// The way to the keys, where a handshake gives them.
    pub dtls: Option<DtlsTerms>,
    /// The way to the peer, where it has to be found.
    pub ice: Option<IceTerms>,
    /// What we may do: [`Direction::RecvOnly`] if the peer said `sendonly`.
    pub direction: Direction,
    /// The peer wants to receive nothing: `sendonly`, `inactive` or `c=0.0.0.0`.
    pub hold: bool,
    /// The version of the `o=` line of our own description.
    pub version: u64,
}

impl Negotiated {
    /// Returns the word for how media is encrypted: a suite, or `DTLS-SRTP`, whose suite the handshake decides.
    pub fn encryption(&self) -> Option<&'static str> {
        let sdes = self.srtp.as_ref().map(|keys| keys.suite.name());
        sdes.or(self.dtls.as_ref().map(|_| "DTLS-SRTP"))
    }
}

/// The agreed audio format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audio {
    /// The codec.
    pub codec: AudioCodec,
    /// The payload type of packets to the peer: the number its own description gives.
    pub send_pt: u8,
    /// The payload type of packets from the peer: the number our description gives. May differ from `send_pt`.
    pub receive_pt: u8,
    /// The packet time the peer wants to receive, in milliseconds: its `a=ptime`, at most its `a=maxptime`.
    pub ptime_ms: u16,
    /// What the peer asked of an Opus encoder; all unset for others.
    pub opus: OpusParameters,
}

/// The agreed telephone events (RFC 4733).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dtmf {
    /// The payload type of events to the peer.
    pub send_pt: u8,
    /// The payload type of events from the peer.
    pub receive_pt: u8,
    /// The clock of durations in Hz: 8000 or 48000.
    pub clock_hz: u32,
}

/// The SDES keys of one leg (RFC 4568). Each is the master key followed by the master salt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrtpKeys {
    /// The suite.
    pub suite: SrtpSuite,
    /// Protects what we send.
    pub send: Secret<Box<[u8]>>,
    /// Unprotects what we receive.
    pub receive: Secret<Box<[u8]>>,
}

/// An audio codec the bridge knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AudioCodec {
    /// RFC 7587.
    Opus,
    /// G.711 µ-law (RFC 3551 section 4.5.14).
    Pcmu,
    /// G.711 A-law (RFC 3551 section 4.5.14).
    Pcma,
    /// G.722 at 64 kbit/s: sampled at 16 kHz, clocked at 8 kHz (RFC 3551 section 4.5.2).
    G722,
}

impl AudioCodec {
    /// Every codec.
    pub const ALL: [Self; 4] = [Self::Opus, Self::Pcmu, Self::Pcma, Self::G722];

    /// The encoding name of `a=rtpmap`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
        }
    }

    /// The RTP clock in Hz.
    pub const fn clock_hz(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Pcmu | Self::Pcma | Self::G722 => 8_000,
        }
    }

    /// The payload type that needs no `a=rtpmap` (RFC 3551 table 4).
    pub const fn static_payload_type(self) -> Option<u8> {
        match self {
            Self::Opus => None,
            Self::Pcmu => Some(0),
            Self::Pcma => Some(8),
            Self::G722 => Some(9),
        }
    }
}

/// Who may send (RFC 3264 section 5.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    #[default]
    SendRecv,
    /// The one who says it.
    SendOnly,
    /// The other.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// Reads the name of a direction attribute.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive]
            .into_iter()
            .find(|direction| direction.word().eq_ignore_ascii_case(word))
    }

    /// The name of the attribute.
    pub const fn word(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The same direction in the words of the other side (RFC 3264 section 6.1).
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::SendRecv => Self::SendRecv,
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            Self::Inactive => Self::Inactive,
        }
    }

    /// Says whether the one who says it sends.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Says whether the one who says it receives.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same direction without receiving.
    #[must_use]
    pub(crate) const fn deaf(self) -> Self {
        match self {
            Self::SendRecv | Self::SendOnly => Self::SendOnly,
            Self::RecvOnly | Self::Inactive => Self::Inactive,
        }
    }
}

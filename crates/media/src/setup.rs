//! What offer and answer agreed for one leg.

use std::net::SocketAddr;

use setu_model::{LegId, Secret, Side};
use setu_srtp::Suite;

use crate::{DtlsSetup, IceSetup, MediaProfile};

/// Everything the relay must know of a leg.
#[derive(Debug, Clone)]
pub struct LegSetup {
    /// The leg.
    pub leg: LegId,
    /// Toward whom. The leg on [`Side::Meta`] is the one that is tapped.
    pub side: Side,
    /// Where the peer wants RTP.
    pub remote: SocketAddr,
    /// Where the peer wants RTCP; `None` for one port for both (RFC 5761).
    pub remote_rtcp: Option<SocketAddr>,
    /// How the peer is found, where `remote` is but a hint.
    pub ice: Option<Box<IceSetup>>,
    /// How packets are protected.
    pub crypto: Crypto,
    /// The agreed audio format.
    pub audio: AudioFormat,
    /// The agreed telephone-event format, if any.
    pub dtmf: Option<Dtmf>,
    /// Whether the peer takes comfort noise packets (RFC 3389), which have payload type 13 beside an 8 kHz clock.
    pub comfort_noise: bool,
    /// What the peer asked of an Opus encoder: used where its Opus is not passed through.
    pub opus: OpusTarget,
    /// How the peer wants its media.
    pub profile: MediaProfile,
    /// The SSRC of the stream to the peer, random. Kept from the first setup of the leg.
    pub ssrc: u32,
    /// The first sequence number of the stream to the peer, random, below 32,768 (RFC 3711 section 3.3.1: so that
    /// the loss of the first packets cannot hide a wrap). Kept from the first setup of the leg.
    pub sequence: u16,
    /// The first time stamp of the stream to the peer, random. Kept from the first setup of the leg.
    pub timestamp: u32,
}

/// How a leg's packets are protected.
#[derive(Debug, Clone)]
pub enum Crypto {
    /// Not at all (RTP/AVP).
    Plain,
    /// SRTP with keys from the SDP (RFC 4568).
    Srtp {
        /// The suite.
        suite: Suite,
        /// Master key and salt of what the bridge sends, one after the other.
        send: Secret<Box<[u8]>>,
        /// Master key and salt of what the peer sends.
        receive: Secret<Box<[u8]>>,
    },
    /// SRTP with keys from a handshake (RFC 5764); nothing passes before it is done.
    Dtls(Box<DtlsSetup>),
}

/// A leg's audio format with its payload types, each 0 to 127.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AudioFormat {
    /// Opus (RFC 7587), always clocked at 48 kHz.
    Opus {
        /// The payload type the peer wants.
        send_pt: u8,
        /// The payload type the peer uses.
        receive_pt: u8,
    },
    /// G.711 mu-law (RFC 3551 section 4.5.14), 8 kHz.
    Pcmu {
        /// The payload type the peer wants.
        send_pt: u8,
        /// The payload type the peer uses.
        receive_pt: u8,
    },
    /// G.711 A-law, 8 kHz.
    Pcma {
        /// The payload type the peer wants.
        send_pt: u8,
        /// The payload type the peer uses.
        receive_pt: u8,
    },
    /// G.722 at 64 kbit/s: 16 kHz, though its RTP clock counts 8 kHz (RFC 3551 section 4.5.2).
    G722 {
        /// The payload type the peer wants.
        send_pt: u8,
        /// The payload type the peer uses.
        receive_pt: u8,
    },
}

impl AudioFormat {
    /// Returns the payload type of packets to the peer.
    pub const fn send_pt(self) -> u8 {
        match self {
            Self::Opus { send_pt, .. }
            | Self::Pcmu { send_pt, .. }
            | Self::Pcma { send_pt, .. }
            | Self::G722 { send_pt, .. } => send_pt,
        }
    }

    /// Returns the payload type of packets from the peer.
    pub const fn receive_pt(self) -> u8 {
        match self {
            Self::Opus { receive_pt, .. }
            | Self::Pcmu { receive_pt, .. }
            | Self::Pcma { receive_pt, .. }
            | Self::G722 { receive_pt, .. } => receive_pt,
        }
    }

    /// Returns the RTP clock in Hz.
    pub const fn clock(self) -> u32 {
        match self {
            Self::Opus { .. } => 48_000,
            Self::Pcmu { .. } | Self::Pcma { .. } | Self::G722 { .. } => 8_000,
        }
    }

    /// Returns the RTP clock's ticks in 20 ms.
    pub(crate) const fn step(self) -> u32 {
        self.clock() / 50
    }
}

/// What a peer asked of an Opus encoder (RFC 7587 section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpusTarget {
    /// The most it wants on average, in bit/s (`maxaveragebitrate`).
    pub bitrate: u32,
    /// Whether in-band error correction is of use to it (`useinbandfec`).
    pub fec: bool,
    /// The highest sampling rate it plays, in Hz (`maxplaybackrate`).
    pub playback_hz: u32,
}

impl OpusTarget {
    /// Meta's words: 20 kbit/s, error correction, 16 kHz.
    pub const META: Self = Self { bitrate: 20_000, fec: true, playback_hz: 16_000 };
}

/// A leg's telephone-event format (RFC 4733).
///
/// Its packets share sequence numbers and the time stamp base of the audio; only the duration field counts in `clock`.
/// That is what Meta does with `telephone-event/8000` beside Opus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dtmf {
    /// The payload type the peer wants.
    pub send_pt: u8,
    /// The payload type the peer uses.
    pub receive_pt: u8,
    /// Ticks a second of the duration field, as in its rtpmap: 8000 or 48000.
    pub clock: u32,
}

/// Why a leg cannot be set up or bridged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SetupRefused {
    /// The leg was never opened.
    #[error("no such leg")]
    UnknownLeg,
    /// The peer's profile forbids plain RTP.
    #[error("plain RTP is not allowed with this peer")]
    PlainForbidden,
    /// A key is not as long as the suite's master key and salt.
    #[error("an SRTP key has the wrong length")]
    BadKey,
    /// The telephone-event clock is none that RFC 4733 peers use.
    #[error("unusable telephone-event clock")]
    BadClock,
    /// Another leg behind the same shared port has this peer's address.
    #[error("another leg has this peer's address")]
    AddressTaken,
    /// The leg was set up with more keys than it may use in one call.
    #[error("too many key changes on one leg")]
    TooManyKeys,
}

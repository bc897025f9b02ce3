//! What goes to coders and comes back.

use setu_model::LegId;

use crate::{AudioFormat, OpusTarget};

/// One way through a coder: from a leg's partner to the leg. A way found anew has another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// The leg that gets what comes out.
    pub leg: LegId,
    /// Tells the ways apart that lead to one leg, one after the other.
    pub generation: u32,
}

/// What a way does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// What comes in.
    pub from: AudioFormat,
    /// What goes out.
    pub to: AudioFormat,
    /// What the peer asked of an Opus encoder.
    pub opus: OpusTarget,
    /// Whether pauses may go out as comfort noise packets (RFC 3389) instead of sound.
    pub comfort_noise: bool,
}

/// Work for coders.
#[derive(Debug, Clone, Copy)]
pub enum Job<'a> {
    /// Make a coder.
    Open {
        /// Its way.
        way: Way,
        /// What it does.
        plan: Plan,
    },
    /// Code a packet.
    Packet {
        /// Its way.
        way: Way,
        /// The packet, in the numbers of its source.
        packet: Packet<'a>,
    },
    /// The peer that gets the output reports loss.
    Loss {
        /// The way to that peer.
        way: Way,
        /// Its share of packets, in percent.
        percent: u8,
    },
    /// The way is gone.
    Close {
        /// The way.
        way: Way,
    },
}

impl Job<'_> {
    /// The way it is for.
    pub const fn way(&self) -> Way {
        match self {
            Self::Open { way, .. }
            | Self::Packet { way, .. }
            | Self::Loss { way, .. }
            | Self::Close { way } => *way,
        }
    }
}

/// A packet on its way to or from a coder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What its payload is.
    pub kind: Kind,
    /// The SSRC of its source; of what comes out, of no meaning.
    pub ssrc: u32,
    /// Its sequence number: the source's, or that of what comes out, which goes on from packet to packet.
    pub sequence: u16,
    /// Its time stamp, in the clock of the format.
    pub timestamp: u32,
    /// What it carries.
    pub payload: &'a [u8],
}

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Coded sound.
    Audio,
    /// Comfort noise (RFC 3389).
    Noise,
    /// A telephone event: nothing to code, but it says that no audio is missing.
    Key,
}

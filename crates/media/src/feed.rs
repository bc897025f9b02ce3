//! The way of packets from one leg to the other: as they are, repacked, or through a coder.

use crate::opus;
use crate::repack::Repacker;
use crate::{AudioFormat, LegSetup, Packetisation, Plan, Way};

/// How the packets of one leg become packets of another.
pub(crate) enum Feed {
    /// Payloads pass untouched, numbers are only moved.
    Pass,
    /// Opus toward a peer that takes 20 ms packets only: as they are, until the first that is of another length.
    Opus20Ms,
    /// Opus of other lengths toward such a peer.
    Repack(Box<Repacker>),
    /// Between two formats, or from Opus frames longer than the peer takes: decoded and encoded elsewhere.
    Code(Way),
}

/// What to do with an audio packet.
pub(crate) enum Route<'f> {
    /// Send the payload as it is, under the source's own numbers.
    AsIs,
    /// Put it through a repacker, and send what comes out: packets numbered anew, one after the other.
    Repack(&'f mut Repacker),
    /// Have it coded.
    Code(Way),
    /// Have it coded, by a coder that must be made first.
    OpenCoder,
    /// It is broken.
    Drop,
}

impl Feed {
    /// Finds the way from one leg to another; `None` if it takes a coder.
    pub(crate) fn between(from: &LegSetup, to: &LegSetup) -> Option<Self> {
        use AudioFormat::{G722, Opus, Pcma, Pcmu};
        match (from.audio, to.audio) {
            (Opus { .. }, Opus { .. }) if to.profile.packetisation == Packetisation::Fixed20Ms => {
                Some(Self::Opus20Ms)
            }
            (Opus { .. }, Opus { .. })
            | (Pcmu { .. }, Pcmu { .. })
            | (Pcma { .. }, Pcma { .. })
            | (G722 { .. }, G722 { .. }) => Some(Self::Pass),
            (Opus { .. } | Pcmu { .. } | Pcma { .. } | G722 { .. }, _) => None,
        }
    }

    /// Starts over with a source whose numbers have nothing to do with those before. A coder sees that for itself.
    pub(crate) fn restart(&mut self) {
        match self {
            Self::Pass | Self::Opus20Ms | Self::Code(_) => {}
            Self::Repack(_) => *self = Self::Opus20Ms,
        }
    }

    /// Decides about an audio packet.
    pub(crate) fn route(&mut self, payload: &[u8]) -> Route<'_> {
        if matches!(self, Self::Opus20Ms | Self::Repack(_)) {
            match opus::length(payload) {
                None => return Route::Drop,
                Some(_) if opus::frame_length(payload) > opus::TICKS_20_MS => return Route::OpenCoder,
                Some(opus::TICKS_20_MS) if matches!(self, Self::Opus20Ms) => return Route::AsIs,
                Some(_) if matches!(self, Self::Repack(_)) => {}
                // From here on all of this peer's packets are numbered by us, also those of 20 ms.
                Some(_) => *self = Self::Repack(Box::new(Repacker::new())),
            }
        }
        match self {
            Self::Pass | Self::Opus20Ms => Route::AsIs,
            Self::Repack(repacker) => Route::Repack(repacker),
            Self::Code(way) => Route::Code(*way),
        }
    }

    /// Notes a packet that stands among the audio and is not passed on; returns whether outputs are numbered anew.
    pub(crate) fn pass_over(&mut self, sequence: u16) -> bool {
        match self {
            Self::Pass | Self::Opus20Ms => return false,
            Self::Repack(repacker) => repacker.pass_over(sequence),
            Self::Code(_) => {}
        }
        true
    }

    /// Returns the way through a coder, if this is one.
    pub(crate) const fn way(&self) -> Option<Way> {
        match self {
            Self::Pass | Self::Opus20Ms | Self::Repack(_) => None,
            Self::Code(way) => Some(*way),
        }
    }
}

impl Plan {
    /// What a coder from one leg to another does.
    pub(crate) const fn between(from: &LegSetup, to: &LegSetup) -> Self {
        Self { from: from.audio, to: to.audio, opus: to.opus, comfort_noise: to.comfort_noise }
    }
}

/// Follows the order of a source whose packets are numbered anew.
#[derive(Debug, Default)]
pub(crate) struct Renumber {
    newest: Option<u16>,
    next: u16,
}

/// How a packet follows the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follows {
    /// It is the first, or nothing is missing between.
    Directly,
    /// Packets are missing between.
    AfterLoss,
    /// It is older than what was taken already: its place is gone.
    TooLate,
}

impl Renumber {
    /// Takes the next packet's sequence number.
    pub(crate) fn take(&mut self, sequence: u16) -> Follows {
        let ahead = self.newest.map_or(1, |newest| sequence.wrapping_sub(newest).cast_signed());
        if ahead <= 0 && ahead > -MOST_LATE {
            return Follows::TooLate;
        }
        self.newest = Some(sequence);
        if ahead == 1 { Follows::Directly } else { Follows::AfterLoss }
    }

    /// Returns the next output's number.
    pub(crate) const fn number(&mut self) -> u16 {
        let number = self.next;
        self.next = number.wrapping_add(1);
        number
    }

    /// Leaves out `packets` numbers: so many outputs were lost.
    pub(crate) fn skip(&mut self, packets: u32) {
        self.next = self.next.wrapping_add(u16::try_from(packets.min(MOST_SKIPPED)).unwrap_or(0));
    }
}

/// Further back than this is a source that began anew, not a late packet.
const MOST_LATE: i16 = 100;

/// The longest loss that is passed on as such, in packets: 2 s.
const MOST_SKIPPED: u32 = 100;

//! The way of packets from one leg to the other: as they are, repacked, or transcoded.

use crate::opus;
use crate::repack::Repacker;
use crate::stream::Arrived;
use crate::transcode::Transcoder;
use crate::{AudioFormat, LegSetup, Packetisation, SetupRefused};

/// How the packets of one leg become packets of another.
pub(crate) enum Feed {
    /// Payloads pass untouched, numbers are only moved.
    Pass,
    /// Opus toward a peer that takes 20 ms packets only: as they are, until the first that is of another length.
    Opus20Ms { opus_bitrate: u32 },
    /// Opus of other lengths toward such a peer.
    Repack(Box<Repacker>),
    /// Between Opus and G.711.
    Transcode(Transcoder),
}

/// What to do with a packet.
pub(crate) enum Route<'f> {
    /// Send the payload as it is, under the source's own numbers.
    AsIs,
    /// Put it through a converter, and send what comes out.
    Through(Converter<'f>),
    /// It is broken.
    Drop,
}

/// A converter of packets. Its outputs are numbered anew, one after the other, in the clock of the leg they go to.
pub(crate) enum Converter<'f> {
    Repacker(&'f mut Repacker),
    Transcoder(&'f mut Transcoder),
}

impl Feed {
    /// Finds the way from one leg to another.
    pub(crate) fn between(from: &LegSetup, to: &LegSetup) -> Result<Self, SetupRefused> {
        use AudioFormat::{Opus, Pcma, Pcmu};
        let opus_bitrate = to.profile.opus_bitrate;
        match (from.audio, to.audio) {
            (Opus { .. }, Opus { .. }) if to.profile.packetisation == Packetisation::Fixed20Ms => {
                Ok(Self::Opus20Ms { opus_bitrate })
            }
            (Opus { .. }, Opus { .. }) | (Pcmu { .. }, Pcmu { .. }) | (Pcma { .. }, Pcma { .. }) => {
                Ok(Self::Pass)
            }
            (from, to) => Transcoder::new(from, to, opus_bitrate).map(Self::Transcode),
        }
    }

    /// Starts over with a source whose numbers have nothing to do with those before.
    pub(crate) fn restart(&mut self) {
        match self {
            Self::Pass | Self::Opus20Ms { .. } => {}
            Self::Repack(repacker) => *self = Self::Opus20Ms { opus_bitrate: repacker.bitrate() },
            Self::Transcode(transcoder) => transcoder.restart(),
        }
    }

    /// Decides about an audio packet.
    pub(crate) fn route(&mut self, payload: &[u8]) -> Route<'_> {
        if let Self::Opus20Ms { opus_bitrate } = *self {
            match opus::length(payload) {
                None => return Route::Drop,
                Some(opus::TICKS_20_MS) => return Route::AsIs,
                // From here on all of this peer's packets are numbered by us, also those of 20 ms.
                Some(_) => *self = Self::Repack(Box::new(Repacker::new(opus_bitrate))),
            }
        }
        match self {
            Self::Pass | Self::Opus20Ms { .. } => Route::AsIs,
            Self::Repack(repacker) => Route::Through(Converter::Repacker(repacker)),
            Self::Transcode(transcoder) => Route::Through(Converter::Transcoder(transcoder)),
        }
    }

    /// Notes a packet that stands among the audio and is not passed on; returns whether outputs are numbered anew.
    pub(crate) fn pass_over(&mut self, sequence: u16) -> bool {
        match self {
            Self::Pass | Self::Opus20Ms { .. } => return false,
            Self::Repack(repacker) => repacker.pass_over(sequence),
            Self::Transcode(transcoder) => transcoder.pass_over(sequence),
        }
        true
    }
}

impl Converter<'_> {
    /// Takes an audio packet in the source's numbers; calls `emit` with every packet that comes of it.
    pub(crate) fn audio(&mut self, from: Arrived, payload: &[u8], emit: impl FnMut(Arrived, &[u8])) {
        match self {
            Self::Repacker(repacker) => repacker.audio(from, payload, emit),
            Self::Transcoder(transcoder) => transcoder.audio(from, payload, emit),
        }
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
    /// Forgets the source; the outputs' numbers go on.
    pub(crate) const fn restart(&mut self) {
        self.newest = None;
    }

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

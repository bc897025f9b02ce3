//! From packets to sound, whatever they are coded in.

use ropus::{Channels, DecodeMode};

use super::comfort::Noise;
use super::conceal::Concealer;
use super::g711::Law;
use super::g722;
use super::{MOST_SAMPLES, to_float};
use crate::{AudioFormat, opus};

/// A decoder with the means to hide what is missing.
pub(crate) enum Decoder {
    /// Straight to 8 or 16 kHz: nothing is resampled.
    Opus {
        decoder: Box<ropus::Decoder>,
    },
    G711 {
        law: Law,
        rest: Box<Rest>,
    },
    G722 {
        decoder: Box<g722::Decoder>,
        wide: bool,
        rest: Box<Rest>,
    },
}

/// What codecs without concealment and pauses of their own need.
pub(crate) struct Rest {
    concealer: Concealer,
    noise: Noise,
}

impl Decoder {
    /// Makes one that gives sound of `rate` Hz: 8000 or 16000.
    pub(crate) fn new(format: AudioFormat, rate: usize, seed: u32) -> Option<Self> {
        let rest = || Box::new(Rest { concealer: Concealer::new(rate), noise: Noise::new(seed) });
        Some(match format {
            AudioFormat::Opus { .. } => {
                let decoder = ropus::Decoder::new(u32::try_from(rate).ok()?, Channels::Mono).ok()?;
                Self::Opus { decoder: Box::new(decoder) }
            }
            AudioFormat::Pcmu { .. } => Self::G711 { law: Law::Mu, rest: rest() },
            AudioFormat::Pcma { .. } => Self::G711 { law: Law::A, rest: rest() },
            AudioFormat::G722 { .. } => {
                Self::G722 { decoder: Box::new(g722::Decoder::new()), wide: rate > 8_000, rest: rest() }
            }
        })
    }

    /// Returns a packet's length in ticks of its RTP clock; `None` if it is broken or longer than 120 ms.
    pub(crate) fn ticks(&self, payload: &[u8]) -> Option<u32> {
        match self {
            Self::Opus { .. } => opus::length(payload),
            // G.711 has one byte a tick. So has G.722: its clock counts 8 kHz (RFC 3551 section 4.5.2).
            Self::G711 { .. } | Self::G722 { .. } => {
                u32::try_from(payload.len()).ok().filter(|ticks| (1..=MOST_BYTES).contains(ticks))
            }
        }
    }

    /// Returns whether a packet begins or goes on with a pause: Opus without a frame in it (RFC 7587 section 3.1.3).
    pub(crate) const fn is_pause(&self, payload: &[u8]) -> bool {
        matches!(self, Self::Opus { .. }) && payload.len() <= 2
    }

    /// Decodes a packet of `samples` samples; returns how many came of it.
    pub(crate) fn decode(
        &mut self,
        payload: &[u8],
        samples: usize,
        to: &mut [f32; MOST_SAMPLES],
    ) -> Option<usize> {
        match self {
            Self::Opus { decoder } => decoder
                .decode_float(payload, to.get_mut(..samples)?, DecodeMode::Normal)
                .inspect_err(|error| tracing::trace!(?error, "a packet could not be decoded"))
                .ok(),
            Self::G711 { law, rest } => {
                for (sample, code) in to.iter_mut().zip(payload) {
                    *sample = to_float(law.expand(*code));
                }
                rest.concealer.heard(to.get_mut(..samples)?);
                Some(samples)
            }
            Self::G722 { decoder, wide: true, rest } => {
                for (pair, code) in to.as_chunks_mut::<2>().0.iter_mut().zip(payload) {
                    *pair = decoder.decode(*code).map(to_float);
                }
                rest.concealer.heard(to.get_mut(..samples)?);
                Some(samples)
            }
            Self::G722 { decoder, wide: false, rest } => {
                for (sample, code) in to.iter_mut().zip(payload) {
                    *sample = to_float(decoder.decode_narrow(*code));
                }
                rest.concealer.heard(to.get_mut(..samples)?);
                Some(samples)
            }
        }
    }

    /// Makes up sound in the place of what was lost.
    pub(crate) fn conceal(&mut self, samples: usize, to: &mut [f32; MOST_SAMPLES]) {
        let Some(to) = to.get_mut(..samples) else { return };
        match self {
            Self::Opus { decoder } => {
                if decoder.decode_float(&[], to, DecodeMode::Normal).is_err() {
                    to.fill(0.0);
                }
            }
            Self::G711 { rest, .. } | Self::G722 { rest, .. } => rest.concealer.conceal(to),
        }
    }

    /// Decodes what packet `next` tells of the lost one before it; false if it tells nothing (RFC 7587 section 3.2).
    pub(crate) fn recover(&mut self, next: &[u8], samples: usize, to: &mut [f32; MOST_SAMPLES]) -> bool {
        match self {
            Self::Opus { decoder } if opus::carries_redundancy(next) => {
                let Some(to) = to.get_mut(..samples) else { return false };
                decoder.decode_float(next, to, DecodeMode::Fec).is_ok_and(|got| got == samples)
            }
            Self::Opus { .. } | Self::G711 { .. } | Self::G722 { .. } => false,
        }
    }

    /// Takes the payload of a comfort noise packet (RFC 3389).
    pub(crate) fn take_noise(&mut self, payload: &[u8]) {
        match self {
            Self::Opus { .. } => {}
            Self::G711 { rest, .. } | Self::G722 { rest, .. } => rest.noise.take(payload),
        }
    }

    /// Makes the sound of a pause.
    pub(crate) fn pause(&mut self, samples: usize, to: &mut [f32; MOST_SAMPLES]) {
        match self {
            // Opus knows the noise of its own pauses.
            Self::Opus { .. } => self.conceal(samples, to),
            Self::G711 { rest, .. } | Self::G722 { rest, .. } => {
                rest.noise.fill(to.get_mut(..samples).unwrap_or_default());
            }
        }
    }
}

/// The longest packet of one byte a tick, in bytes: 120 ms.
const MOST_BYTES: u32 = 960;

#[cfg(test)]
mod tests {
    use super::super::to_i16;
    use super::*;

    #[test]
    fn a_packet_of_g711_is_as_long_as_its_bytes_and_no_longer_than_120_ms() {
        let decoder = Decoder::new(AudioFormat::Pcmu { send_pt: 0, receive_pt: 0 }, 8_000, 1).unwrap();
        assert_eq!(decoder.ticks(&[0; 160]), Some(160));
        assert_eq!((decoder.ticks(&[]), decoder.ticks(&[0; 961])), (None, None));
        assert_eq!(to_i16(to_float(-12_345)), -12_345);
    }
}

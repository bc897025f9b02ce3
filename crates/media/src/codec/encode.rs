//! From sound to packets of 20 ms.

use ropus::{Application, Bandwidth, Bitrate, Channels, InbandFec};

use super::g711::Law;
use super::{g722, to_i16};
use crate::{AudioFormat, OpusTarget};

/// An encoder of one format.
pub(crate) enum Encoder {
    Opus(Box<OpusOut>),
    G711(Law),
    G722 { encoder: Box<g722::Encoder>, wide: bool },
}

/// An Opus encoder that keeps to what the peer asked for.
pub(crate) struct OpusOut {
    encoder: ropus::Encoder,
    fec: bool,
    budget: Budget,
}

impl Encoder {
    /// Makes one for sound of `rate` Hz: 8000 or 16000.
    pub(crate) fn new(format: AudioFormat, rate: usize, target: OpusTarget) -> Option<Self> {
        Some(match format {
            AudioFormat::Opus { .. } => Self::Opus(Box::new(OpusOut::new(rate, target)?)),
            AudioFormat::Pcmu { .. } => Self::G711(Law::Mu),
            AudioFormat::Pcma { .. } => Self::G711(Law::A),
            AudioFormat::G722 { .. } => {
                Self::G722 { encoder: Box::new(g722::Encoder::new()), wide: rate > 8_000 }
            }
        })
    }

    /// Encodes 20 ms; returns the payload's length.
    pub(crate) fn encode(&mut self, pcm: &[f32], to: &mut [u8]) -> Option<usize> {
        match self {
            Self::Opus(opus) => opus.encode(pcm, to),
            Self::G711(law) => {
                for (code, sample) in to.iter_mut().zip(pcm) {
                    *code = law.compress(to_i16(*sample));
                }
                Some(pcm.len())
            }
            Self::G722 { encoder, wide: true } => {
                for (code, pair) in to.iter_mut().zip(pcm.as_chunks::<2>().0) {
                    *code = encoder.encode(pair.map(to_i16));
                }
                Some(pcm.len() / 2)
            }
            Self::G722 { encoder, wide: false } => {
                for (code, sample) in to.iter_mut().zip(pcm) {
                    *code = encoder.encode_narrow(to_i16(*sample));
                }
                Some(pcm.len())
            }
        }
    }

    /// Sets how much work an Opus encoder puts into a frame: 0 to 10.
    pub(crate) fn set_complexity(&mut self, complexity: u8) {
        if let Self::Opus(opus) = self {
            settled(opus.encoder.set_complexity(complexity.min(10)));
        }
    }

    /// Takes the share of packets that the peer reports as lost, in percent.
    pub(crate) fn set_loss(&mut self, percent: u8) {
        if let Self::Opus(opus) = self
            && opus.fec
        {
            settled(opus.encoder.set_packet_loss_perc(percent.clamp(LEAST_LOSS, MOST_LOSS)));
        }
    }
}

impl OpusOut {
    fn new(rate: usize, target: OpusTarget) -> Option<Self> {
        let widest = match target.playback_hz {
            ..12_000 => Bandwidth::Narrowband,
            12_000..16_000 => Bandwidth::Mediumband,
            16_000.. => Bandwidth::Wideband,
        };
        let fec = target.fec;
        let encoder = ropus::Encoder::builder(u32::try_from(rate).ok()?, Channels::Mono, Application::Voip)
            // A variable rate: a constant one takes SILK several passes a frame, for a worse sound.
            .vbr(true)
            .inband_fec(if fec { InbandFec::Enabled } else { InbandFec::Disabled })
            .packet_loss_perc(if fec { LEAST_LOSS } else { 0 })
            .max_bandwidth(widest)
            .build()
            .ok()?;
        Some(Self { encoder, fec, budget: Budget::new(target.bitrate) })
    }

    fn encode(&mut self, pcm: &[f32], to: &mut [u8]) -> Option<usize> {
        settled(self.encoder.set_bitrate(Bitrate::Bits(self.budget.rate().unsigned_abs())));
        let encoded = self.encoder.encode_float(pcm, to);
        let length =
            encoded.inspect_err(|error| tracing::trace!(?error, "20 ms could not be encoded")).ok()?;
        self.budget.spend(length);
        Some(length)
    }
}

/// What the encoder is told is within its limits: it refuses nothing.
fn settled<E: std::fmt::Debug>(set: Result<(), E>) {
    if let Err(error) = set {
        tracing::error!(?error, "an Opus encoder refuses a setting and goes on with the one before");
    }
}

/// Keeps a variable rate below its limit: what a loud second took is saved in the next.
#[derive(Debug)]
struct Budget {
    /// Bits in 20 ms.
    limit: i32,
    /// Bits spent beyond the limit, or, below zero, left over.
    spent: i32,
}

impl Budget {
    fn new(bitrate: u32) -> Self {
        let bitrate = i32::try_from(bitrate).unwrap_or(i32::MAX).clamp(LEAST_BITRATE, MOST_BITRATE);
        Self { limit: bitrate / 50, spent: 0 }
    }

    /// The rate to encode the next 20 ms at, in bit/s.
    fn rate(&self) -> i32 {
        // A debt is paid back within SETTLE frames.
        let share = self.limit - self.spent.max(0) / SETTLE;
        (share.max(self.limit / 2) * 50).max(LEAST_BITRATE)
    }

    fn spend(&mut self, bytes: usize) {
        let bits = i32::try_from(bytes * 8).unwrap_or(i32::MAX / 2);
        // Silence saves for a fifth of a second, no more: the limit holds for short stretches too.
        self.spent = (self.spent + bits - self.limit).clamp(-10 * self.limit, 100 * self.limit);
    }
}

/// Frames in which a debt of bits is paid back.
const SETTLE: i32 = 15;

/// Opus's own limits for speech, in bit/s (RFC 7587 section 3.1.1).
const LEAST_BITRATE: i32 = 6_000;
const MOST_BITRATE: i32 = 64_000;

/// The loss an encoder with error correction reckons with, in percent: it is blind to the first loss otherwise.
const LEAST_LOSS: u8 = 5;
const MOST_LOSS: u8 = 30;

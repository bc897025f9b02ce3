//! The codecs of the twins' own mouths and ears: Opus by `opus-pure`, G.711 by the ITU's formulas.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use opus_pure::{Application, OpusDecoder, OpusEncoder};
use serde::{Deserialize, Serialize};

/// An audio format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// Opus, RTP clock 48 kHz (RFC 7587).
    Opus,
    /// G.711 mu-law, 8 kHz.
    Pcmu,
    /// G.711 A-law, 8 kHz.
    Pcma,
}

impl Codec {
    /// Units of the RTP time stamp in one second.
    pub const fn clock(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Pcmu | Self::Pcma => 8_000,
        }
    }

    /// The encoding name and clock of an `a=rtpmap` line.
    pub const fn rtpmap(self) -> &'static str {
        match self {
            Self::Opus => "opus/48000/2",
            Self::Pcmu => "PCMU/8000",
            Self::Pcma => "PCMA/8000",
        }
    }

    /// Samples a second of the PCM the twins make and hear in this format.
    pub const fn pcm_rate(self) -> u32 {
        match self {
            Self::Opus => 16_000,
            Self::Pcmu | Self::Pcma => 8_000,
        }
    }
}

/// Packets of a steady tone, or of one that ends: encoded once, and the last second is repeated for ever.
///
/// The second before it lets the encoder settle, so that the seam is as smooth as any other packet boundary.
#[derive(Debug, Clone)]
pub(crate) struct Loop {
    packets: Vec<Bytes>,
    lead: usize,
}

impl Loop {
    /// Encodes a tone of `hz` at `dbfs` (0 is a full-scale sine) into packets of `ptime_ms`.
    pub(crate) fn tone(codec: Codec, hz: u32, dbfs: i32, ptime_ms: u32) -> Self {
        Self::of((codec, hz, dbfs, None, ptime_ms))
    }

    /// The same of a tone that lasts so many milliseconds and leaves silence.
    pub(crate) fn word(codec: Codec, (hz, dbfs, ms): (u32, i32, u32), ptime_ms: u32) -> Self {
        Self::of((codec, hz, dbfs, Some(ms), ptime_ms))
    }

    fn of(recipe: Recipe) -> Self {
        static CACHE: OnceLock<Mutex<BTreeMap<Recipe, Loop>>> = OnceLock::new();
        let cache = CACHE.get_or_init(Mutex::default);
        let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() > CACHED_TONES {
            cache.clear();
        }
        cache.entry(recipe).or_insert_with(|| Self::encode(recipe)).clone()
    }

    /// The `n`th packet of the stream.
    pub(crate) fn packet(&self, n: usize) -> Bytes {
        let at = if n < self.packets.len() {
            n
        } else {
            let body = (self.packets.len() - self.lead).max(1);
            self.lead + (n - self.lead) % body
        };
        self.packets.get(at).cloned().unwrap_or_default()
    }

    fn encode((codec, hz, dbfs, ms, ptime_ms): Recipe) -> Self {
        let rate = codec.pcm_rate();
        let frame = (rate * ptime_ms / 1_000) as usize;
        // A whole number of packets that hold a whole number of seconds: 3 s of 60 ms packets, else 1 s.
        let seconds = if 1_000 % ptime_ms == 0 { 1 } else { 3 };
        let body = (seconds * 1_000 / ptime_ms) as usize;
        let lead = body * (1 + ms.unwrap_or(0).div_ceil(seconds * 1_000) as usize);
        let sounding = ms.map_or(usize::MAX, |ms| (rate / 1_000 * ms) as usize);
        let amplitude = 10f64.powf(f64::from(dbfs) / 20.0);
        let sample = |i: usize| {
            let turns = (i as u64 * u64::from(hz) % u64::from(rate)) as f64 / f64::from(rate);
            if i < sounding { (amplitude * (turns * std::f64::consts::TAU).sin()) as f32 } else { 0.0 }
        };
        let mut encoder = Encoder::new(codec);
        let packets = (0..lead + body)
            .map(|n| encoder.encode(&(n * frame..(n + 1) * frame).map(sample).collect::<Vec<_>>()))
            .collect();
        Self { packets, lead }
    }
}

/// Codec, Hz, dBFS, milliseconds of sound if it ends, milliseconds a packet.
type Recipe = (Codec, u32, i32, Option<u32>, u32);

/// Tones kept encoded in one process; a run uses a handful.
const CACHED_TONES: usize = 64;

enum Encoder {
    Opus(Option<Box<OpusEncoder>>),
    Pcmu,
    Pcma,
}

impl Encoder {
    fn new(codec: Codec) -> Self {
        match codec {
            Codec::Opus => {
                Self::Opus(OpusEncoder::new(16_000, 1, Application::Voip).ok().map(|mut encoder| {
                    encoder.bitrate_bps = 20_000;
                    encoder.complexity = 5;
                    Box::new(encoder)
                }))
            }
            Codec::Pcmu => Self::Pcmu,
            Codec::Pcma => Self::Pcma,
        }
    }

    fn encode(&mut self, pcm: &[f32]) -> Bytes {
        match self {
            Self::Opus(encoder) => {
                let mut packet = vec![0; 1_275];
                let size =
                    encoder.as_mut().and_then(|e| e.encode(pcm, pcm.len(), &mut packet).ok()).unwrap_or(0);
                packet.truncate(size);
                packet.into()
            }
            Self::Pcmu => pcm.iter().map(|&s| ulaw_from_linear(to_i16(s))).collect::<Vec<_>>().into(),
            Self::Pcma => pcm.iter().map(|&s| alaw_from_linear(to_i16(s))).collect::<Vec<_>>().into(),
        }
    }
}

/// Turns received payloads into 16-bit-scaled PCM at [`Codec::pcm_rate`].
pub(crate) enum Decoder {
    Opus(Option<Box<OpusDecoder>>),
    Pcmu,
    Pcma,
}

impl Decoder {
    pub(crate) fn new(codec: Codec) -> Self {
        match codec {
            Codec::Opus => Self::Opus(OpusDecoder::new(16_000, 1).ok().map(Box::new)),
            Codec::Pcmu => Self::Pcmu,
            Codec::Pcma => Self::Pcma,
        }
    }

    /// Decodes one payload; `None` if it is no packet of this codec.
    pub(crate) fn decode(&mut self, payload: &[u8]) -> Option<Vec<f32>> {
        match self {
            Self::Opus(decoder) => {
                // 120 ms is the longest Opus packet (RFC 6716 section 3.2.5).
                let mut pcm = vec![0.0; 16_000 * 120 / 1_000];
                let room = pcm.len();
                let samples = decoder.as_mut()?.decode(payload, room, &mut pcm).ok()?;
                pcm.truncate(samples);
                Some(pcm)
            }
            Self::Pcmu => Some(payload.iter().map(|&b| f32::from(linear_from_ulaw(b)) / 32_768.0).collect()),
            Self::Pcma => Some(payload.iter().map(|&b| f32::from(linear_from_alaw(b)) / 32_768.0).collect()),
        }
    }
}

/// Samples at 48 kHz in an Opus packet, read from its table-of-contents byte (RFC 6716 section 3.1).
pub(crate) fn opus_samples(payload: &[u8]) -> Option<u32> {
    let toc = *payload.first()?;
    let frame = match toc >> 3 {
        config @ 0..=11 => [480, 960, 1_920, 2_880][usize::from(config & 3)],
        config @ 12..=15 => [480, 960][usize::from(config & 1)],
        config => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(*payload.get(1)? & 0x3f),
    };
    Some(frame * frames)
}

fn to_i16(sample: f32) -> i16 {
    (sample * 32_767.0) as i16
}

/// G.711 mu-law, from the formula: sign, exponent of the biased magnitude, four bits of mantissa, all inverted.
fn ulaw_from_linear(pcm: i16) -> u8 {
    let sign = if pcm < 0 { 0x80 } else { 0 };
    let magnitude = (i32::from(pcm).abs().min(32_635) + 0x84) as u32;
    let exponent = 31 - magnitude.leading_zeros() - 7;
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    !(sign | (exponent as u8) << 4 | mantissa as u8)
}

fn linear_from_ulaw(code: u8) -> i16 {
    let code = !code;
    let magnitude = ((i32::from(code & 0x0f) << 3) + 0x84) << ((code >> 4) & 7);
    let magnitude = magnitude - 0x84;
    if code & 0x80 == 0 { magnitude as i16 } else { -magnitude as i16 }
}

/// G.711 A-law: even bits inverted, thirteen-bit magnitude.
fn alaw_from_linear(pcm: i16) -> u8 {
    let sign = if pcm < 0 { 0 } else { 0x80 };
    let magnitude = if pcm < 0 { (!pcm) as u32 } else { pcm as u32 } >> 4;
    let code = if magnitude < 32 {
        magnitude
    } else {
        let segment = magnitude.ilog2() - 3;
        (segment << 4) | ((magnitude >> (segment - 1)) & 0x0f)
    };
    (sign | code as u8) ^ 0x55
}

fn linear_from_alaw(code: u8) -> i16 {
    let code = code ^ 0x55;
    let exponent = (code >> 4) & 7;
    let mantissa = i32::from(code & 0x0f) << 4;
    let magnitude = if exponent == 0 { mantissa + 8 } else { (mantissa + 0x108) << (exponent - 1) };
    if code & 0x80 == 0 { -magnitude as i16 } else { magnitude as i16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g711_survives_the_way_there_and_back_within_its_own_step() {
        for pcm in (-32_000..=32_000).step_by(37) {
            for back in [
                linear_from_ulaw(ulaw_from_linear(pcm as i16)),
                linear_from_alaw(alaw_from_linear(pcm as i16)),
            ] {
                let error = (i32::from(back) - pcm).abs();
                assert!(error <= 16 + pcm.abs() / 16, "{pcm} came back as {back}");
            }
        }
    }

    #[test]
    fn silence_in_g711_has_the_codes_of_the_standard() {
        assert_eq!(ulaw_from_linear(0), 0xff);
        assert_eq!(alaw_from_linear(0), 0xd5);
    }

    #[test]
    fn every_opus_packet_of_the_loop_is_twenty_milliseconds_long() {
        let tone = Loop::tone(Codec::Opus, 440, -12, 20);
        for n in 0..250 {
            assert_eq!(opus_samples(&tone.packet(n)), Some(960), "packet {n}");
        }
        assert_eq!(opus_samples(&Loop::tone(Codec::Opus, 440, -12, 60).packet(3)), Some(2_880));
        assert_eq!(opus_samples(&[]), None);
    }
}

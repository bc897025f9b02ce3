//! Sounds for a leg that has no agent: encoded once, when the configuration is loaded, and shared by all calls.

use std::f64::consts::TAU;
use std::fmt;
use std::io::Cursor;

use ropus::{Application, Bitrate, Channels, DecodeMode};
use setu_model::limits::OPUS_PACKET_BYTES;

use crate::AudioFormat;
use crate::codec::{Law, g722, to_i16};
use crate::opus::{self, TICKS_20_MS};

/// A sound as packets of 20 ms, in every format a leg may have. Immutable: one copy in an `Arc` serves all calls.
pub struct Clip {
    opus: Packets,
    pcmu: Packets,
    pcma: Packets,
    g722: Packets,
}

/// Packets one behind the other.
#[derive(Default)]
struct Packets {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

/// A tone that is switched on and off, over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cadence {
    /// The frequencies in Hz; 0 for none.
    pub hz: [u16; 2],
    /// Tone and silence in turn, in milliseconds, each a multiple of 20, at most 10 s together.
    pub on_off_ms: [u16; 4],
    /// The level of each frequency in dBFS (peak), below 0.
    pub level_db: i8,
}

impl Cadence {
    /// What somebody hears whose called party rings: 440 and 480 Hz, 2 s of 6 (ANSI T1.401).
    pub const RINGBACK: Self = Self { hz: [440, 480], on_off_ms: [2_000, 4_000, 0, 0], level_db: -22 };

    /// Busy: 480 and 620 Hz, half of each second.
    pub const BUSY: Self = Self { hz: [480, 620], on_off_ms: [500, 500, 0, 0], level_db: -22 };

    /// What somebody hears who is on hold where there is no music: two soft beeps every 5 s, a sign that the call
    /// lives.
    pub const HOLD: Self = Self { hz: [425, 0], on_off_ms: [200, 200, 200, 4_400], level_db: -26 };
}

/// Why a sound cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClipError {
    /// It is no Ogg file, or a broken one.
    #[error("no readable Ogg file ({0})")]
    Ogg(String),
    /// Its first stream is not Opus.
    #[error("not Opus")]
    NotOpus,
    /// It has more than one channel.
    #[error("not mono")]
    NotMono,
    /// A packet is not 20 ms long.
    #[error("packets that are not 20 ms long")]
    NotTwentyMs,
    /// It takes more than Meta lets the business send (`maxaveragebitrate`).
    #[error("{kbit_s} kbit/s, more than Meta's 20")]
    TooFast {
        /// Its rate.
        kbit_s: u32,
    },
    /// It is empty.
    #[error("no audio in it")]
    Empty,
    /// It is longer than [`Clip::LONGEST_S`].
    #[error("longer than {} s", Clip::LONGEST_S)]
    TooLong,
    /// The codec cannot decode it.
    #[error("a packet that cannot be decoded")]
    Undecodable,
}

impl ClipError {
    /// How to make a usable file out of any sound file, for the operator.
    pub const REMEDY: &str = "convert it: ffmpeg -i IN -ac 1 -ar 48000 -c:a libopus -application voip -b:a 20k -vbr off \
                              -frame_duration 20 OUT.opus";
}

impl Clip {
    /// The longest sound, in seconds: five minutes of music are 2 MB in all formats.
    pub const LONGEST_S: u32 = 300;

    /// Reads an Ogg Opus file (RFC 7845): mono, in packets of 20 ms, at most 20 kbit/s.
    ///
    /// # Errors
    ///
    /// The file is none such; [`ClipError::REMEDY`] tells how to make one.
    pub fn from_ogg_opus(file: &[u8]) -> Result<Self, ClipError> {
        let mut reader = ogg::PacketReader::new(Cursor::new(file));
        let mut next = || reader.read_packet().map_err(|error| ClipError::Ogg(error.to_string()));
        let head = next()?.ok_or(ClipError::Empty)?;
        let channels = head.data.strip_prefix(b"OpusHead").and_then(|rest| rest.get(1)).copied();
        if channels.ok_or(ClipError::NotOpus)? != 1 {
            return Err(ClipError::NotMono);
        }
        // The comment header, which may be of any length.
        next()?.ok_or(ClipError::Empty)?;
        let mut opus = Packets::default();
        while let Some(packet) = next()? {
            if opus.len() >= MOST_PACKETS {
                return Err(ClipError::TooLong);
            }
            check(&packet.data)?;
            opus.push(&packet.data);
        }
        Self::from_opus(opus)
    }

    /// Makes the tone of a cadence; playing it again and again is seamless.
    pub fn tone(cadence: Cadence) -> Self {
        let samples = tone_samples(cadence);
        let mut opus = Packets::default();
        let mut out = [0; OPUS_PACKET_BYTES];
        let encoder = ropus::Encoder::builder(RATE, Channels::Mono, Application::Voip);
        if let Ok(mut encoder) = encoder.bitrate(Bitrate::Bits(20_000)).vbr(false).build() {
            for frame in samples.chunks(SAMPLES_20_MS) {
                match encoder.encode_float(frame, &mut out) {
                    Ok(len) if frame.iter().any(|sample| *sample != 0.0) => {
                        opus.push(out.get(..len).unwrap_or_default());
                    }
                    Ok(_) | Err(_) => opus.push(&opus::SILENCE),
                }
            }
        }
        Self::with_others(opus, &samples)
    }

    /// Returns how many packets there are.
    pub fn packets(&self) -> usize {
        self.opus.len()
    }

    /// Returns a packet in a leg's format.
    pub(crate) fn packet(&self, audio: AudioFormat, at: usize) -> Option<&[u8]> {
        match audio {
            AudioFormat::Opus { .. } => self.opus.get(at),
            AudioFormat::Pcmu { .. } => self.pcmu.get(at),
            AudioFormat::Pcma { .. } => self.pcma.get(at),
            AudioFormat::G722 { .. } => self.g722.get(at),
        }
    }

    fn from_opus(opus: Packets) -> Result<Self, ClipError> {
        if opus.len() == 0 {
            return Err(ClipError::Empty);
        }
        let bits = opus.bytes.len() as u64 * 8 * 50 / opus.len() as u64;
        if bits > MOST_BIT_S {
            return Err(ClipError::TooFast {
                kbit_s: u32::try_from(bits.div_ceil(1_000)).unwrap_or(u32::MAX),
            });
        }
        let mut decoder = ropus::Decoder::new(RATE, Channels::Mono).map_err(|_| ClipError::Undecodable)?;
        let mut samples = vec![0.0; opus.len() * SAMPLES_20_MS];
        for (at, to) in samples.chunks_mut(SAMPLES_20_MS).enumerate() {
            let packet = opus.get(at).unwrap_or_default();
            decoder.decode_float(packet, to, DecodeMode::Normal).map_err(|_| ClipError::Undecodable)?;
        }
        Ok(Self::with_others(opus, &samples))
    }

    fn with_others(opus: Packets, samples: &[f32]) -> Self {
        // All of them have one byte for each sample of 8 kHz.
        let code = |encode: &mut dyn FnMut(i16) -> u8| {
            let mut packets = Packets::default();
            for frame in samples.chunks(SAMPLES_20_MS) {
                let mut codes = [0; SAMPLES_20_MS];
                for (to, sample) in codes.iter_mut().zip(frame) {
                    *to = encode(to_i16(*sample));
                }
                packets.push(&codes);
            }
            packets
        };
        let mut wide = g722::Encoder::new();
        Self {
            opus,
            pcmu: code(&mut |sample| Law::Mu.compress(sample)),
            pcma: code(&mut |sample| Law::A.compress(sample)),
            g722: code(&mut |sample| wide.encode_narrow(sample)),
        }
    }
}

impl fmt::Debug for Clip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clip({} ms)", self.packets() * 20)
    }
}

impl Packets {
    fn push(&mut self, packet: &[u8]) {
        self.bytes.extend_from_slice(packet);
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, at: usize) -> Option<&[u8]> {
        let end = usize::try_from(*self.ends.get(at)?).ok()?;
        let begin = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.bytes.get(usize::try_from(begin).ok()?..end)
    }
}

/// Whether a packet can go to any peer as it is.
fn check(packet: &[u8]) -> Result<(), ClipError> {
    // Bit 2 of the first byte is set for stereo (RFC 6716 section 3.1).
    match packet.first() {
        Some(toc) if toc & 4 != 0 => Err(ClipError::NotMono),
        Some(_) if packet.len() > MOST_CLIP_BYTES => {
            Err(ClipError::TooFast { kbit_s: 20 * MOST_CLIP_BYTES as u32 / 50 })
        }
        Some(_) if opus::length(packet) == Some(TICKS_20_MS) => Ok(()),
        Some(_) | None => Err(ClipError::NotTwentyMs),
    }
}

fn tone_samples(cadence: Cadence) -> Vec<f32> {
    let level = 10_f64.powf(f64::from(cadence.level_db) / 20.0);
    let mut samples = Vec::new();
    for (part, ms) in cadence.on_off_ms.into_iter().enumerate() {
        let count = usize::from(ms.min(10_000) / 20) * SAMPLES_20_MS;
        let sounds = part % 2 == 0;
        for n in 0..count {
            let at = n as f64 / f64::from(RATE);
            // 5 ms of rise and fall: a tone that is cut clicks.
            let edge = (n.min(count - 1 - n) as f64 / 40.0).min(1.0);
            let tones = cadence.hz.iter().filter(|hz| **hz > 0);
            let sum: f64 = tones.map(|hz| (TAU * f64::from(*hz) * at).sin()).sum();
            #[expect(clippy::cast_possible_truncation, reason = "a sample needs no more")]
            samples.push(if sounds { (sum * level * edge) as f32 } else { 0.0 });
        }
    }
    samples
}

/// The rate of generated tones and of G.711, in Hz.
const RATE: u32 = 8_000;

/// Samples in 20 ms at [`RATE`].
const SAMPLES_20_MS: usize = 160;

/// The most packets of a clip.
const MOST_PACKETS: usize = Clip::LONGEST_S as usize * 50;

/// The longest packet of a clip, in bytes: 64 kbit/s, as G.711.
pub(crate) const MOST_CLIP_BYTES: usize = 160;

/// Meta's `maxaveragebitrate`, in bit/s, and what rounding to bytes may add.
const MOST_BIT_S: u64 = 20_400;

#[cfg(test)]
mod tests {
    use super::*;

    /// An Ogg Opus file of these packets.
    fn file(channels: u8, packets: &[Vec<u8>]) -> Vec<u8> {
        use ogg::PacketWriteEndInfo::{EndPage, EndStream, NormalPacket};
        let mut out = Vec::new();
        let mut writer = ogg::PacketWriter::new(&mut out);
        let mut head = b"OpusHead\x01".to_vec();
        head.extend([channels, 0, 0, 0x80, 0xbb, 0, 0, 0, 0, 0]);
        writer.write_packet(head, 1, EndPage, 0).unwrap();
        writer.write_packet(b"OpusTags\0\0\0\0\0\0\0\0".to_vec(), 1, EndPage, 0).unwrap();
        for (n, packet) in (1..).zip(packets) {
            let end = if n == packets.len() as u64 { EndStream } else { NormalPacket };
            writer.write_packet(packet.clone(), 1, end, n * 960).unwrap();
        }
        drop(writer);
        out
    }

    #[test]
    fn a_mono_file_of_20_ms_packets_is_taken_as_it_is_and_made_g711_of() {
        let tone = Clip::tone(Cadence { hz: [400, 0], on_off_ms: [1_000, 0, 0, 0], level_db: -10 });
        let packets: Vec<Vec<u8>> = (0..50).map(|n| tone.opus.get(n).unwrap().to_vec()).collect();
        let clip = Clip::from_ogg_opus(&file(1, &packets)).unwrap();
        assert_eq!(clip.packets(), 50);
        let opus = AudioFormat::Opus { send_pt: 111, receive_pt: 111 };
        assert!((0..50).all(|n| clip.packet(opus, n) == packets.get(n).map(Vec::as_slice)));
        assert_eq!(clip.packet(opus, 50), None);
        for (audio, law) in [
            (AudioFormat::Pcmu { send_pt: 0, receive_pt: 0 }, Law::Mu),
            (AudioFormat::Pcma { send_pt: 8, receive_pt: 8 }, Law::A),
        ] {
            let codes = (10..40).flat_map(|n| clip.packet(audio, n).unwrap());
            let pcm: Vec<i16> = codes.map(|code| law.expand(*code)).collect();
            let crossings = pcm.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
            assert!((235..=245).contains(&crossings), "400 Hz in 0.6 s: {crossings}");
        }
    }

    #[test]
    fn what_cannot_go_to_meta_is_refused_and_says_why() {
        let silence = || vec![opus::SILENCE.to_vec(); 5];
        let refused = |file: &[u8]| Clip::from_ogg_opus(file).unwrap_err();
        assert_eq!(refused(&file(2, &silence())), ClipError::NotMono);
        assert_eq!(refused(&file(1, &[vec![0xfc, 0xff, 0xfe]])), ClipError::NotMono, "a stereo packet");
        assert_eq!(refused(&file(1, &[vec![0xf0, 0xff, 0xfe]])), ClipError::NotTwentyMs, "10 ms");
        assert_eq!(refused(&file(1, &[vec![0x78; 100], vec![0x78; 100]])), ClipError::TooFast { kbit_s: 40 });
        assert_eq!(refused(&file(1, &[])), ClipError::Empty);
        assert_eq!(refused(&file(1, &vec![opus::SILENCE.to_vec(); MOST_PACKETS + 1])), ClipError::TooLong);
        assert!(matches!(refused(b"RIFF....WAVE"), ClipError::Ogg(_)));
        let mut vorbis = Vec::new();
        let mut writer = ogg::PacketWriter::new(&mut vorbis);
        writer.write_packet(b"\x01vorbis".to_vec(), 1, ogg::PacketWriteEndInfo::EndStream, 0).unwrap();
        drop(writer);
        assert_eq!(refused(&vorbis), ClipError::NotOpus);
        let whole = file(1, &silence());
        for len in 0..whole.len() {
            let _ = Clip::from_ogg_opus(&whole[..len]);
        }
    }

    #[test]
    fn a_cadence_is_as_long_as_it_says_and_silent_where_it_says() {
        let clip = Clip::tone(Cadence::HOLD);
        assert_eq!(clip.packets(), 250);
        let silent = |n| clip.opus.get(n) == Some(&opus::SILENCE[..]);
        assert!((0..10).all(|n| !silent(n)) && (10..20).all(silent));
        assert!((20..30).all(|n| !silent(n)) && (30..250).all(silent));
        assert!(Clip::tone(Cadence::RINGBACK).opus.bytes.len() <= 300 * 50, "20 kbit/s");
    }
}

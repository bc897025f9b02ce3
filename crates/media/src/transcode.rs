//! Between Opus and G.711, packet by packet.
//!
//! A [`Transcoder`] knows nothing of legs, sockets or time: it takes packets with their numbers and gives packets with
//! theirs, so it can move to a worker of its own. It is made when two legs without a common format are bridged, never
//! for a packet.

use rusty_opus::{Application, OpusDecoder, OpusEncoder};
use setu_model::limits::OPUS_PACKET_BYTES;

use crate::feed::{Follows, Renumber};
use crate::g711::Law;
use crate::opus;
use crate::stream::Arrived;
use crate::{AudioFormat, SetupRefused};

/// Codes one peer's audio for another.
pub(crate) struct Transcoder {
    order: Renumber,
    coder: Coder,
}

enum Coder {
    ToOpus(Box<ToOpus>),
    ToG711(Box<ToG711>),
}

struct ToOpus {
    law: Law,
    encoder: OpusEncoder,
    /// The time stamp at which the next input is due, on the 8 kHz clock.
    due: Option<u32>,
    /// Samples that wait for the rest of their 20 ms.
    pcm: [f32; SAMPLES_20_MS],
    filled: usize,
    /// The last 20 ms taken, which losses repeat.
    last: [f32; SAMPLES_20_MS],
    out: [u8; OPUS_PACKET_BYTES],
}

struct ToG711 {
    law: Law,
    decoder: OpusDecoder,
    /// The time stamp at which the next input is due, on the 48 kHz clock, and the output's on the 8 kHz clock. Kept
    /// apart: a sixth of a time stamp does not survive its wrap.
    due: Option<u32>,
    due_out: u32,
    pcm: [f32; MOST_SAMPLES],
}

impl Transcoder {
    /// Makes one for packets in the format `from` into the format `to`; Opus is encoded at `opus_bitrate` bit/s.
    ///
    /// # Errors
    ///
    /// [`SetupRefused::NoTranscoding`] if not exactly one of the two is Opus.
    pub(crate) fn new(from: AudioFormat, to: AudioFormat, opus_bitrate: u32) -> Result<Self, SetupRefused> {
        let coder = match (Law::of(from), Law::of(to)) {
            (Some(law), None) => ToOpus::new(law, opus_bitrate).map(|it| Coder::ToOpus(Box::new(it))),
            (None, Some(law)) => ToG711::new(law).map(|it| Coder::ToG711(Box::new(it))),
            (Some(_), Some(_)) | (None, None) => None,
        };
        let coder = coder.ok_or(SetupRefused::NoTranscoding)?;
        Ok(Self { order: Renumber::default(), coder })
    }

    /// Starts over with a source whose numbers have nothing to do with those before.
    pub(crate) fn restart(&mut self) {
        self.order.restart();
        match &mut self.coder {
            Coder::ToOpus(coder) => (coder.due, coder.filled) = (None, 0),
            Coder::ToG711(coder) => coder.due = None,
        }
    }

    /// Takes a packet; calls `emit` with every 20 ms that are complete, concealed losses among them.
    pub(crate) fn audio(&mut self, from: Arrived, payload: &[u8], emit: impl FnMut(Arrived, &[u8])) {
        let follows = self.order.take(from.sequence);
        if follows == Follows::TooLate {
            return;
        }
        let lost = follows == Follows::AfterLoss;
        match &mut self.coder {
            Coder::ToOpus(coder) => coder.take(&mut self.order, from.timestamp, payload, lost, emit),
            Coder::ToG711(coder) => coder.take(&mut self.order, from.timestamp, payload, lost, emit),
        }
    }

    /// Notes a telephone event, which stands among the packets and is not one of them.
    pub(crate) fn pass_over(&mut self, sequence: u16) {
        self.order.take(sequence);
    }
}

impl ToOpus {
    fn new(law: Law, bitrate: u32) -> Option<Self> {
        let mut encoder = OpusEncoder::new(RATE, 1, Application::Voip).ok()?;
        encoder.bitrate_bps = i32::try_from(bitrate).unwrap_or(i32::MAX);
        // The variable rate overshoots its target, and a peer's maxaveragebitrate is a maximum.
        encoder.use_cbr = true;
        Some(Self {
            law,
            encoder,
            due: None,
            pcm: [0.0; SAMPLES_20_MS],
            filled: 0,
            last: [0.0; SAMPLES_20_MS],
            out: [0; OPUS_PACKET_BYTES],
        })
    }

    fn take(
        &mut self,
        order: &mut Renumber,
        timestamp: u32,
        payload: &[u8],
        lost: bool,
        mut emit: impl FnMut(Arrived, &[u8]),
    ) {
        let mut at = self.due.unwrap_or(timestamp);
        let missing = timestamp.wrapping_sub(at);
        if lost && (1..=MOST_CONCEALED).contains(&missing) {
            self.conceal(order, &mut at, missing, &mut emit);
        } else if missing != 0 {
            // A pause, or a loss too long to hide: what waits cannot be completed any more.
            self.filled = 0;
        }
        at = timestamp;
        for code in payload.iter().take(MOST_G711_BYTES) {
            let sample = f32::from(self.law.expand(*code)) / 32_768.0;
            self.push(order, &mut at, sample, &mut emit);
        }
        self.due = Some(at);
    }

    /// Repeats the last 20 ms, each time at half the level.
    fn conceal(
        &mut self,
        order: &mut Renumber,
        at: &mut u32,
        missing: u32,
        emit: &mut impl FnMut(Arrived, &[u8]),
    ) {
        let source = self.last;
        let mut level = 1.0;
        for (n, sample) in (0..missing).zip(source.iter().cycle()) {
            if n % SAMPLES_20_MS as u32 == 0 {
                level *= 0.5;
            }
            self.push(order, at, sample * level, emit);
        }
    }

    /// Adds the sample at `at`, and encodes when 20 ms are full.
    fn push(
        &mut self,
        order: &mut Renumber,
        at: &mut u32,
        sample: f32,
        emit: &mut impl FnMut(Arrived, &[u8]),
    ) {
        if let Some(to) = self.pcm.get_mut(self.filled) {
            *to = sample;
        }
        self.filled += 1;
        *at = at.wrapping_add(1);
        if self.filled < SAMPLES_20_MS {
            return;
        }
        self.filled = 0;
        self.last = self.pcm;
        let sequence = order.number();
        // Multiplying commutes with the wrap of time stamps.
        let timestamp = at.wrapping_sub(SAMPLES_20_MS as u32).wrapping_mul(RATIO);
        match self.encoder.encode(&self.pcm, SAMPLES_20_MS, &mut self.out) {
            Ok(length) => {
                let packet = self.out.get(..length).unwrap_or_default();
                emit(Arrived { sequence, timestamp }, packet);
            }
            Err(error) => tracing::trace!(?error, "20 ms could not be encoded"),
        }
    }
}

impl ToG711 {
    fn new(law: Law) -> Option<Self> {
        // Decoding straight to 8 kHz needs no resampler.
        let decoder = OpusDecoder::new(RATE, 1).ok()?;
        Some(Self { law, decoder, due: None, due_out: 0, pcm: [0.0; MOST_SAMPLES] })
    }

    fn take(
        &mut self,
        order: &mut Renumber,
        timestamp: u32,
        payload: &[u8],
        lost: bool,
        mut emit: impl FnMut(Arrived, &[u8]),
    ) {
        let Some(ticks) = opus::length(payload) else { return };
        let missing = timestamp.wrapping_sub(self.due.unwrap_or(timestamp)) / RATIO;
        if lost && missing <= MOST_CONCEALED {
            for _ in 0..missing / SAMPLES_20_MS as u32 {
                let concealed = self.decoder.decode(&[], SAMPLES_20_MS, &mut self.pcm);
                self.emit(order, concealed.unwrap_or(0), &mut emit);
            }
        }
        self.due_out = self.converted(timestamp);
        let samples = usize::try_from(ticks / RATIO).unwrap_or(0);
        match self.decoder.decode(payload, samples, &mut self.pcm) {
            Ok(decoded) => self.emit(order, decoded, &mut emit),
            Err(error) => tracing::trace!(?error, "a packet could not be decoded"),
        }
        self.due = Some(timestamp.wrapping_add(ticks));
    }

    /// Sends what was decoded, 20 ms a packet.
    fn emit(&mut self, order: &mut Renumber, samples: usize, emit: &mut impl FnMut(Arrived, &[u8])) {
        let mut codes = [0; SAMPLES_20_MS];
        for chunk in self.pcm.get(..samples).unwrap_or_default().chunks(SAMPLES_20_MS) {
            for (code, sample) in codes.iter_mut().zip(chunk) {
                *code = self.law.compress(to_i16(*sample));
            }
            let stamp = Arrived { sequence: order.number(), timestamp: self.due_out };
            emit(stamp, codes.get(..chunk.len()).unwrap_or_default());
            self.due_out = self.due_out.wrapping_add(u32::try_from(chunk.len()).unwrap_or(0));
        }
    }

    /// Converts a time stamp to 8 kHz by its distance from the one that is due.
    fn converted(&self, timestamp: u32) -> u32 {
        let distance = self.due.map_or(0, |due| timestamp.wrapping_sub(due).cast_signed());
        self.due_out.wrapping_add_signed(distance / RATIO.cast_signed())
    }
}

/// Rounds a sample of nominal -1 to 1.
fn to_i16(sample: f32) -> i16 {
    #[expect(clippy::cast_possible_truncation, reason = "clamped right before")]
    let rounded = (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16;
    rounded
}

/// G.711's sampling rate in Hz; Opus codes at it as well.
const RATE: i32 = 8_000;

/// Ticks of Opus's RTP clock in a sample.
const RATIO: u32 = 6;

/// Samples in 20 ms.
const SAMPLES_20_MS: usize = 160;

/// Samples in the longest Opus packet, 120 ms.
const MOST_SAMPLES: usize = 960;

/// The longest loss that is concealed, in samples: 100 ms. After that, inventing sound does harm.
const MOST_CONCEALED: u32 = 800;

/// The longest G.711 packet taken, in bytes: 120 ms.
const MOST_G711_BYTES: usize = 960;

//! Opus packets of any length into packets of 20 ms.
//!
//! Shorter frames are put together, longer packets are taken apart, both without touching the audio. Only a frame
//! that is itself longer than 20 ms (SILK of 40 or 60 ms) is decoded and encoded again.

use rusty_opus::{Application, OpusDecoder, OpusEncoder};
use setu_model::limits::OPUS_PACKET_BYTES;

use crate::feed::{Follows, Renumber};
use crate::opus::{Kind, Packet, TICKS_20_MS};
use crate::stream::Arrived;

/// Makes 20 ms packets of one peer's Opus.
pub(crate) struct Repacker {
    order: Renumber,
    /// The time stamp at which the next output begins, as far as known.
    next_at: Option<u32>,
    gathered: Gathered,
    recoder: Option<Box<Recoder>>,
    bitrate: u32,
    out: [u8; OPUS_PACKET_BYTES],
}

/// Frames shorter than 20 ms that wait for the rest of theirs.
struct Gathered {
    kind: Option<Kind>,
    begins: u32,
    lengths: [usize; MOST_GATHERED],
    count: usize,
    bytes: [u8; OPUS_PACKET_BYTES],
    used: usize,
}

/// Decoder and encoder for SILK frames of 40 and 60 ms. SILK ends at 16 kHz (RFC 6716 section 2), so that rate loses
/// nothing. Stereo is mixed down: the bit rate of a peer that wants 20 ms packets carries one channel.
struct Recoder {
    decoder: OpusDecoder,
    encoder: OpusEncoder,
    pcm: [f32; MOST_SAMPLES],
}

impl Repacker {
    /// Makes one that encodes, where it must, at `bitrate` bit/s.
    pub(crate) fn new(bitrate: u32) -> Self {
        Self {
            order: Renumber::default(),
            next_at: None,
            gathered: Gathered::new(),
            recoder: None,
            bitrate,
            out: [0; OPUS_PACKET_BYTES],
        }
    }

    /// Returns the rate it encodes at, in bit/s.
    pub(crate) const fn bitrate(&self) -> u32 {
        self.bitrate
    }

    /// Takes a packet; calls `emit` with every 20 ms that are complete.
    pub(crate) fn audio(&mut self, from: Arrived, payload: &[u8], mut emit: impl FnMut(Arrived, &[u8])) {
        let Some(packet) = Packet::parse(payload) else { return };
        let follows = self.order.take(from.sequence);
        let kind = packet.kind();
        let ticks = kind.frame_ticks();
        let length = ticks.saturating_mul(packet.frames().len() as u32);
        if follows == Follows::TooLate || !self.align(from.timestamp, length, follows) {
            return;
        }
        let mut at = from.timestamp;
        for frame in packet.frames() {
            if ticks > TICKS_20_MS {
                self.recode(at, kind, frame, &mut emit);
            } else if ticks == TICKS_20_MS {
                if let Some(length) = kind.join(&[frame], &mut self.out) {
                    emit(self.numbered(at), self.out.get(..length).unwrap_or_default());
                }
            } else {
                self.gather(at, kind, frame, &mut emit);
            }
            at = at.wrapping_add(ticks);
        }
        // The frames still gathered belong to an output that began before `at`.
        self.next_at = Some(if self.gathered.count == 0 { at } else { self.gathered.begins });
    }

    /// Notes a telephone event, which stands among the packets and is not one of them.
    pub(crate) fn pass_over(&mut self, sequence: u16) {
        self.order.take(sequence);
    }

    /// Brings a packet of `length` ticks that begins at `at` onto the grid of outputs; false if it is the rest of an
    /// output whose beginning was lost.
    fn align(&mut self, at: u32, length: u32, follows: Follows) -> bool {
        let Some(next_at) = self.next_at else { return true };
        if at == next_at.wrapping_add(self.gathered.ticks()) {
            return true;
        }
        let missing_rest = self.gathered.count > 0;
        self.gathered.clear();
        if !missing_rest && (1..TICKS_20_MS).contains(&next_at.wrapping_sub(at)) {
            return false;
        }
        if follows != Follows::AfterLoss {
            return self.resume(at, length, next_at);
        }
        let grid = next_at.wrapping_add(if missing_rest { TICKS_20_MS } else { 0 });
        self.order.skip(u32::from(missing_rest));
        let ahead = at.wrapping_sub(grid);
        if ahead > MOST_AHEAD {
            // Further than any loss passed on, or backwards: the peer's time stamps jumped.
            return true;
        }
        self.order.skip(ahead / TICKS_20_MS);
        if ahead.is_multiple_of(TICKS_20_MS) {
            return true;
        }
        // The rest of an output whose beginning was lost.
        self.order.skip(1);
        self.next_at = Some(grid.wrapping_add((ahead / TICKS_20_MS + 1) * TICKS_20_MS));
        false
    }

    /// Goes on after a pause of the peer, such as a key press: packets that are parts of an output wait for the next
    /// one on the grid, so that time stamps toward the peer keep to steps of 20 ms. Others begin the grid anew.
    fn resume(&mut self, at: u32, length: u32, next_at: u32) -> bool {
        let ahead = at.wrapping_sub(next_at);
        let off = ahead % TICKS_20_MS;
        if ahead > MOST_AHEAD || off == 0 || length >= TICKS_20_MS || !off.is_multiple_of(length.max(1)) {
            return true;
        }
        self.next_at = Some(at.wrapping_add(TICKS_20_MS - off));
        false
    }

    fn gather(&mut self, at: u32, kind: Kind, frame: &[u8], emit: &mut impl FnMut(Arrived, &[u8])) {
        if self.gathered.kind != Some(kind) && self.gathered.count > 0 {
            // Frames of two kinds cannot share a packet (RFC 6716 section 3.2): 20 ms are lost where they meet.
            self.gathered.clear();
            self.order.skip(1);
        }
        if self.gathered.push(at, kind, frame).is_none() {
            self.gathered.clear();
            return;
        }
        if self.gathered.ticks() < TICKS_20_MS {
            return;
        }
        let begins = self.gathered.begins;
        let length = self.gathered.join(&mut self.out);
        self.gathered.clear();
        if let Some(length) = length {
            emit(self.numbered(begins), self.out.get(..length).unwrap_or_default());
        }
    }

    fn recode(&mut self, at: u32, kind: Kind, frame: &[u8], emit: &mut impl FnMut(Arrived, &[u8])) {
        if self.recoder.is_none() {
            self.recoder = Recoder::new(self.bitrate).map(Box::new);
        }
        let Some(recoder) = self.recoder.as_mut() else { return };
        let Some(whole) = kind.join(&[frame], &mut self.out) else { return };
        let pieces = kind.frame_ticks() / TICKS_20_MS;
        let decoded = recoder.decode(self.out.get(..whole).unwrap_or_default(), pieces);
        for piece in 0..pieces {
            let stamp =
                Arrived { sequence: self.order.number(), timestamp: at.wrapping_add(piece * TICKS_20_MS) };
            match decoded.and_then(|()| recoder.encode(piece, &mut self.out)) {
                Some(length) => emit(stamp, self.out.get(..length).unwrap_or_default()),
                None => tracing::trace!("a frame could not be coded again"),
            }
        }
    }

    const fn numbered(&mut self, timestamp: u32) -> Arrived {
        Arrived { sequence: self.order.number(), timestamp }
    }
}

impl Gathered {
    const fn new() -> Self {
        Self {
            kind: None,
            begins: 0,
            lengths: [0; MOST_GATHERED],
            count: 0,
            bytes: [0; OPUS_PACKET_BYTES],
            used: 0,
        }
    }

    fn push(&mut self, at: u32, kind: Kind, frame: &[u8]) -> Option<()> {
        let end = self.used + frame.len();
        self.bytes.get_mut(self.used..end)?.copy_from_slice(frame);
        *self.lengths.get_mut(self.count)? = frame.len();
        if self.count == 0 {
            self.begins = at;
        }
        (self.kind, self.used) = (Some(kind), end);
        self.count += 1;
        Some(())
    }

    fn join(&self, to: &mut [u8]) -> Option<usize> {
        let mut frames: [&[u8]; MOST_GATHERED] = [&[]; MOST_GATHERED];
        let mut rest = self.bytes.get(..self.used)?;
        for (frame, length) in frames.iter_mut().zip(self.lengths.get(..self.count)?) {
            (*frame, rest) = rest.split_at_checked(*length)?;
        }
        self.kind?.join(frames.get(..self.count)?, to)
    }

    fn ticks(&self) -> u32 {
        self.kind.map_or(0, Kind::frame_ticks) * u32::try_from(self.count).unwrap_or(0)
    }

    const fn clear(&mut self) {
        (self.kind, self.count, self.used) = (None, 0, 0);
    }
}

impl Recoder {
    fn new(bitrate: u32) -> Option<Self> {
        let decoder = OpusDecoder::new(RATE, 1).ok()?;
        let mut encoder = OpusEncoder::new(RATE, 1, Application::Voip).ok()?;
        encoder.bitrate_bps = i32::try_from(bitrate).unwrap_or(i32::MAX);
        encoder.use_cbr = true;
        Some(Self { decoder, encoder, pcm: [0.0; MOST_SAMPLES] })
    }

    /// Decodes one frame of `pieces` times 20 ms.
    fn decode(&mut self, packet: &[u8], pieces: u32) -> Option<()> {
        let samples = SAMPLES_20_MS * usize::try_from(pieces).ok()?;
        let got = self.decoder.decode(packet, samples, &mut self.pcm).ok()?;
        (got == samples).then_some(())
    }

    /// Encodes one of the pieces decoded last.
    fn encode(&mut self, piece: u32, to: &mut [u8]) -> Option<usize> {
        let begins = usize::try_from(piece).ok()? * SAMPLES_20_MS;
        self.encoder.encode(self.pcm.get(begins..begins + SAMPLES_20_MS)?, SAMPLES_20_MS, to).ok()
    }
}

/// Frames of 2.5 ms in 20 ms.
const MOST_GATHERED: usize = 8;

/// The recoder's sampling rate in Hz.
const RATE: i32 = 16_000;

/// Samples in 20 ms at [`RATE`].
const SAMPLES_20_MS: usize = 320;

/// Samples in 60 ms, the longest frame.
const MOST_SAMPLES: usize = SAMPLES_20_MS * 3;

/// The longest loss told from a jump of time stamps: 2 s.
const MOST_AHEAD: u32 = TICKS_20_MS * 100;

//! Opus packets of any length into packets of 20 ms.
//!
//! Shorter frames are put together, longer packets are taken apart, both without touching the audio. Only a frame
//! that is itself longer than 20 ms (SILK of 40 or 60 ms) must be decoded and encoded again, which is not done here.

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

impl Repacker {
    pub(crate) fn new() -> Self {
        Self {
            order: Renumber::default(),
            next_at: None,
            gathered: Gathered::new(),
            out: [0; OPUS_PACKET_BYTES],
        }
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
            if ticks >= TICKS_20_MS {
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

/// Frames of 2.5 ms in 20 ms.
const MOST_GATHERED: usize = 8;

/// The longest loss told from a jump of time stamps: 2 s.
const MOST_AHEAD: u32 = TICKS_20_MS * 100;

//! One side of a recording: packets put on a grid of 20 ms slots.

use std::collections::BTreeMap;

use setu_model::TapFrame;

use crate::muxer::Counters;
use crate::opus::{self, Frame};

/// One slot in 48 kHz samples: 20 ms.
pub(crate) const SLOT: u64 = 960;

/// Places packets by their RTP time stamps, and keeps the time stamps true to the bridge's clock.
///
/// Within a run the time stamps count: jitter does not move a frame. A run is tied to the clock by its first packet.
/// A sender whose clock drifts is moved by whole slots as soon as it is off by more than one; one whose time stamps
/// jump begins a new run.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    run: Option<Run>,
    slots: BTreeMap<u64, Cell>,
    /// Every slot below is written.
    written: u64,
    /// The end of the last slot that anything was placed in.
    end: u64,
}

#[derive(Debug)]
struct Run {
    /// The position on the grid is the time stamp plus this, modulo 2^64.
    offset: u64,
    /// The least delay against the clock seen in the window, in samples: jitter only ever adds to it.
    least: i64,
    seen: u32,
}

/// What stands in the slot, and in those after it if it is long.
#[derive(Debug)]
enum Cell {
    /// A frame of 20, 40 or 60 ms.
    Frame(Frame),
    /// Shorter frames of one configuration, which fill the slot together: 2 of 10 ms, 4 of 5 or 8 of 2.5.
    Parts { toc: u8, parts: Vec<Option<Frame>> },
}

impl Channel {
    /// Puts the frames of `tapped` into their slots.
    pub(crate) fn place(&mut self, tapped: &TapFrame, counters: &mut Counters) {
        let Some(frames) = opus::split(&tapped.payload) else {
            counters.malformed += 1;
            return;
        };
        let Some(samples) = frames.first().map(|frame| Frame::samples(frame.toc)) else { return };
        let mut at = self.position(tapped.timestamp, clock_samples(tapped.passed_us), counters);
        for frame in frames {
            // An empty frame is a pause of the encoder's; see `Muxer` for why it becomes silence.
            if frame.data.len() > 1 {
                self.place_frame(frame, at, samples, counters);
            }
            at += samples;
        }
    }

    /// The grid position of a time stamp in samples, with the run kept true to the clock.
    fn position(&mut self, timestamp: u64, clock: u64, counters: &mut Counters) -> u64 {
        let anchored = Run { offset: round(clock, SLOT).wrapping_sub(timestamp), least: i64::MAX, seen: 0 };
        let run = self.run.get_or_insert(anchored);
        let delay = |run: &Run| clock.wrapping_sub(timestamp.wrapping_add(run.offset)).cast_signed();
        if !(-EARLIEST..=LATEST).contains(&delay(run)) {
            counters.runs += 1;
            *run = Run { offset: round(clock, SLOT).wrapping_sub(timestamp), least: i64::MAX, seen: 0 };
        }
        run.least = run.least.min(delay(run));
        run.seen += 1;
        if run.seen >= WINDOW {
            let slots = run.least / SLOT.cast_signed();
            counters.drift_slots += slots.unsigned_abs();
            run.offset = run.offset.wrapping_add_signed(slots * SLOT.cast_signed());
            (run.least, run.seen) = (i64::MAX, 0);
        }
        let at = timestamp.wrapping_add(run.offset);
        // Just before the tap's opening counts as at it.
        if at.cast_signed() < 0 { 0 } else { at }
    }

    fn place_frame(&mut self, frame: Frame, at: u64, samples: u64, counters: &mut Counters) {
        let length = samples.div_ceil(SLOT);
        // A long frame begins at a multiple of its length, so that those of both sides stand side by side.
        let slot = round(at, samples) / SLOT;
        if slot < self.written {
            counters.late += 1;
            return;
        }
        if self.is_taken(slot, length) && samples >= SLOT {
            counters.duplicates += 1;
            return;
        }
        self.end = self.end.max(slot + length);
        if samples >= SLOT {
            self.slots.insert(slot, Cell::Frame(frame));
            return;
        }
        let count = SLOT / samples;
        // Both are below 8.
        let (count, part) = (count as usize, (round(at, samples) / samples % count) as usize);
        let toc = frame.toc;
        let cell = self.slots.entry(slot).or_insert_with(|| Cell::Parts { toc, parts: vec![None; count] });
        match cell {
            Cell::Parts { toc, parts } if *toc == frame.toc => match parts.get_mut(part) {
                Some(free @ None) => *free = Some(frame),
                Some(Some(_)) | None => counters.duplicates += 1,
            },
            Cell::Parts { .. } | Cell::Frame(_) => counters.unpaired += 1,
        }
    }

    fn is_taken(&self, slot: u64, length: u64) -> bool {
        let before = self.slots.range(..slot).next_back();
        let overlapped = before.is_some_and(|(at, cell)| at + cell.length() > slot);
        overlapped || self.slots.range(slot..slot + length).next().is_some()
    }

    /// How many slots what stands at `slot` takes: 1 if nothing does.
    pub(crate) fn length_at(&self, slot: u64) -> u64 {
        self.slots.get(&slot).map_or(1, Cell::length)
    }

    /// The end of the last slot in use.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Takes slots `from..from + span` as frames of one configuration that last exactly as long. What is missing,
    /// or cannot be one packet, is silence.
    pub(crate) fn take(&mut self, from: u64, span: u64, counters: &mut Counters) -> Vec<Frame> {
        let mut frames: Vec<Frame> = Vec::new();
        let (mut covered, mut found) = (0, 0_u64);
        while let Some(entry) = self.slots.first_entry().filter(|entry| *entry.key() < from + span) {
            let (slot, cell) = entry.remove_entry();
            found += 1;
            let length = cell.length();
            // Only what begins where the last one ended can become part of one packet.
            if slot == from + covered && covered + length <= span && cell.append_to(&mut frames) {
                covered += length;
            }
        }
        self.written = from + span;
        let same = frames.windows(2).all(|pair| matches!(pair, [one, two] if one.toc == two.toc));
        if covered == span && same {
            return frames;
        }
        counters.missing += span;
        counters.unpaired += found;
        // 60 ms at most, so three.
        vec![Frame::silence(); span as usize]
    }
}

impl Cell {
    fn length(&self) -> u64 {
        match self {
            Self::Frame(frame) => Frame::samples(frame.toc).div_ceil(SLOT),
            Self::Parts { .. } => 1,
        }
    }

    /// Says `false` and adds nothing if a part is missing.
    fn append_to(self, frames: &mut Vec<Frame>) -> bool {
        match self {
            Self::Frame(frame) => frames.push(frame),
            Self::Parts { parts, .. } => match parts.into_iter().collect::<Option<Vec<_>>>() {
                Some(parts) => frames.extend(parts),
                None => return false,
            },
        }
        true
    }
}

/// The bridge's clock in 48 kHz samples.
pub(crate) fn clock_samples(passed_us: u64) -> u64 {
    passed_us.min(LONGEST_CALL_US) * 48 / 1_000
}

fn round(at: u64, unit: u64) -> u64 {
    (at + unit / 2) / unit * unit
}

/// A packet that comes this much later than its time stamp says (1 s) begins a new run: the sender's time stamps
/// stood still. No network worth a call delays by so much more than at the start of the run.
const LATEST: i64 = 48_000;

/// A packet that comes this much earlier than its time stamp says (200 ms) begins a new run: the time stamps jumped.
/// Only a first packet that was itself late makes the others look early, and only by its jitter.
const EARLIEST: i64 = 9_600;

/// How many packets the least delay is taken from: 2 s, longer than a burst of jitter.
const WINDOW: u32 = 100;

/// The longest call; later frames pile up at its end rather than filling the disk with silence.
const LONGEST_CALL_US: u64 = setu_model::limits::CALL_HOURS * 3_600_000_000;

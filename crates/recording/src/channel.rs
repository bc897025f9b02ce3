//! One side of a recording: packets put on a grid of 20 ms slots.

use std::collections::BTreeMap;

use setu_model::TapFrame;

use crate::muxer::Counters;
use crate::opus::{self, Frame};

/// One slot in 48 kHz samples: 20 ms.
pub(crate) const SLOT: u64 = 960;

/// Places packets by their RTP time stamps, and keeps the time stamps true to the bridge's clock.
///
/// Within a run the time stamps count: jitter does not move a frame. A run is tied to the clock by the least delayed
/// of its first packets. A sender whose clock drifts is moved by whole slots as soon as it is off by more than one;
/// one whose time stamps jump begins a new run. What was sent later never stands before what was sent earlier.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    run: Option<Run>,
    slots: BTreeMap<u64, Cell>,
    /// Every slot below is written.
    written: u64,
    /// The order of the last frame that is written.
    written_order: Option<Order>,
    /// The end of the last slot that anything was placed in.
    end: u64,
}

#[derive(Debug)]
struct Run {
    /// Counts the runs.
    number: u64,
    /// The position on the grid is the time stamp plus this, modulo 2^64.
    offset: u64,
    /// The least delay against the clock seen in the window, in samples: jitter only ever adds to it.
    least: i64,
    /// Packets in the window.
    seen: u32,
    /// Packets left that may still move the run as a whole.
    settling: u32,
}

/// The order in which frames were sent: the run, then the time stamp.
type Order = (u64, u64);

/// What stands in a slot, and in those after it if it is long.
#[derive(Debug)]
struct Cell {
    order: Order,
    content: Content,
}

#[derive(Debug)]
enum Content {
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
        let (run, mut at) = self.position(tapped.timestamp, clock_samples(tapped.passed_us), counters);
        for (index, frame) in (0..).zip(frames) {
            // An empty frame is a pause of the encoder's; see `Muxer` for why it becomes silence.
            if frame.data.len() > 1 {
                let order = (run, tapped.timestamp.wrapping_add(index * samples));
                self.place_frame(frame, at, order, counters);
            }
            at += samples;
        }
    }

    /// The run of a time stamp and its grid position in samples, with the run kept true to the clock.
    fn position(&mut self, timestamp: u64, clock: u64, counters: &mut Counters) -> (u64, u64) {
        let mut run = self.run.take().unwrap_or_else(|| Run::begin(0, timestamp, clock));
        let mut delay = run.delay(timestamp, clock);
        if !(-EARLIEST..=LATEST).contains(&delay) {
            counters.runs += 1;
            run = Run::begin(run.number + 1, timestamp, clock);
            delay = run.delay(timestamp, clock);
        }
        if run.settling > 0 {
            run.settling -= 1;
            // Earlier than the packets before it: those were late, and are still there to be moved.
            let early = round(delay.min(0).unsigned_abs(), SLOT) / SLOT;
            if early > 0 && self.move_back(run.number, early) {
                run.shift(-early.cast_signed());
                delay = run.delay(timestamp, clock);
            }
        }
        run.least = run.least.min(delay);
        run.seen += 1;
        if run.seen >= WINDOW {
            let slots = run.least / SLOT.cast_signed();
            counters.drift_slots += slots.unsigned_abs();
            run.shift(slots);
            (run.least, run.seen) = (i64::MAX, 0);
        }
        let at = timestamp.wrapping_add(run.offset);
        let number = run.number;
        self.run = Some(run);
        // Just before the tap's opening counts as at it.
        (number, if at.cast_signed() < 0 { 0 } else { at })
    }

    /// Moves all frames of a run `by` slots back, if none is written yet and there is room.
    fn move_back(&mut self, number: u64, by: u64) -> bool {
        let first = self.slots.iter().find(|(_, cell)| cell.order.0 == number).map(|(slot, _)| *slot);
        let Some(first) = first else { return true };
        let before = self.slots.range(..first).next_back().map_or(0, |(slot, cell)| slot + cell.length());
        let begun = self.written_order.is_some_and(|(written, _)| written == number);
        let short = self.slots.range(first..).all(|(_, cell)| cell.length() == 1);
        if begun || !short || first < by + before.max(self.written) {
            return false;
        }
        let moved = self.slots.split_off(&first);
        self.slots.extend(moved.into_iter().map(|(slot, cell)| (slot - by, cell)));
        self.end = self.slots.last_key_value().map_or(self.end, |(slot, cell)| slot + cell.length());
        true
    }

    fn place_frame(&mut self, frame: Frame, at: u64, order: Order, counters: &mut Counters) {
        let samples = Frame::samples(frame.toc);
        let length = samples.div_ceil(SLOT);
        // A long frame begins at a multiple of its length, so that those of both sides stand side by side.
        let slot = round(at, samples) / SLOT;
        if slot < self.written || self.written_order.is_some_and(|last| order <= last) {
            counters.late += 1;
            return;
        }
        if !self.fits(slot, length, order) {
            counters.duplicates += 1;
            return;
        }
        if samples >= SLOT {
            if self.slots.contains_key(&slot) {
                counters.duplicates += 1;
                return;
            }
            self.slots.insert(slot, Cell { order, content: Content::Frame(frame) });
        } else {
            let count = SLOT / samples;
            // Both are at most 8.
            let (count, part) = (count as usize, (round(at, samples) / samples % count) as usize);
            let empty = || Content::Parts { toc: frame.toc, parts: vec![None; count] };
            let cell = self.slots.entry(slot).or_insert_with(|| Cell { order, content: empty() });
            cell.order = cell.order.max(order);
            cell.content.put_part(part, frame, counters);
        }
        self.end = self.end.max(slot + length);
    }

    /// Says whether a frame sent in this place of the order can stand there: after what was sent before it, before
    /// what was sent after it. What stands in the very slot is not looked at.
    fn fits(&self, slot: u64, length: u64, order: Order) -> bool {
        let before = self.slots.range(..slot).next_back();
        let after = self.slots.range(slot + 1..).next();
        before.is_none_or(|(at, cell)| cell.order < order && at + cell.length() <= slot)
            && after.is_none_or(|(at, cell)| cell.order > order && slot + length <= *at)
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
            self.written_order = self.written_order.max(Some(cell.order));
            let length = cell.length();
            // Only what begins where the last one ended can become part of one packet.
            if slot == from + covered && covered + length <= span && cell.content.append_to(&mut frames) {
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

impl Run {
    /// The first packet stands where the clock is.
    fn begin(number: u64, timestamp: u64, clock: u64) -> Self {
        let offset = round(clock, SLOT).wrapping_sub(timestamp);
        Self { number, offset, least: i64::MAX, seen: 0, settling: SETTLING }
    }

    /// How much later than its place on the grid a packet came, in samples; negative if it came earlier.
    fn delay(&self, timestamp: u64, clock: u64) -> i64 {
        clock.wrapping_sub(timestamp.wrapping_add(self.offset)).cast_signed()
    }

    fn shift(&mut self, slots: i64) {
        self.offset = self.offset.wrapping_add_signed(slots.wrapping_mul(SLOT.cast_signed()));
    }
}

impl Cell {
    fn length(&self) -> u64 {
        match &self.content {
            Content::Frame(frame) => Frame::samples(frame.toc).div_ceil(SLOT),
            Content::Parts { .. } => 1,
        }
    }
}

impl Content {
    fn put_part(&mut self, index: usize, frame: Frame, counters: &mut Counters) {
        match self {
            Self::Parts { toc, parts } if *toc == frame.toc => match parts.get_mut(index) {
                Some(free @ None) => *free = Some(frame),
                Some(Some(_)) | None => counters.duplicates += 1,
            },
            Self::Parts { .. } | Self::Frame(_) => counters.unpaired += 1,
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

/// How many packets of a run may show that its first ones were late: 160 ms, while those still wait to be written.
const SETTLING: u32 = 8;

/// The longest call; later frames pile up at its end rather than filling the disk with silence.
const LONGEST_CALL_US: u64 = setu_model::limits::CALL_HOURS * 3_600_000_000;

use std::time::Duration;

use setu_model::{TapChannel, TapFrame};

use crate::Tags;
use crate::channel::{Channel, SLOT, clock_samples};
use crate::ogg::Pager;
use crate::opus::{Frame, write_packet};

/// Turns the tapped packets of one call into an Ogg Opus file (RFC 7845): mapping family 1, two uncoupled mono
/// streams, left the customer, right the agent, not one frame transcoded.
///
/// Push frames as they come, and write what [`take_pages`](Self::take_pages) returns after each; end with
/// [`finish`](Self::finish). Both sides stand on one grid of 20 ms slots whose zero is the opening of the tap.
///
/// - *Order.* A slot is written once the clock is [`Muxer::REORDER_MS`] past it. What comes later than that, or
///   twice, is dropped and counted.
/// - *Loss.* An empty slot is a packet of digital silence (`f8 ff fe`), from the first on. Zero-length frames would
///   let libopus conceal the loss, but ffmpeg's own decoder turns them into loud garbage. An encoder's pauses (DTX)
///   become silence for the same reason.
/// - *Packet times.* Packets of several 20 ms frames are split; 10, 5 and 2.5 ms frames are put together until they
///   fill a slot; a single 40 or 60 ms frame stands beside two or three frames of the other side. Where those are
///   not of one configuration, or one is missing, the other side is silent for that long.
/// - *Stereo.* A stereo packet stays as it is: a mono decoder downmixes it (RFC 6716 section 2.1.2).
/// - *Crash.* Pages hold [`Muxer::PAGE_MS`]: 4.7 % overhead at 2 x 20 kbit/s (2.6 % at 1 s, 29 % at 20 ms), and a
///   process killed at once loses no more than a page and the reorder time.
#[derive(Debug)]
pub struct Muxer {
    customer: Channel,
    agent: Channel,
    pager: Pager,
    /// Finished pages not yet taken.
    out: Vec<u8>,
    /// The next slot to write.
    next: u64,
    /// The first slot of the open page.
    page_from: u64,
    /// The bridge's clock in samples, by the latest frame.
    clock: u64,
    counters: Counters,
}

impl Muxer {
    /// Begins a file: its two header pages are ready at once.
    pub fn new(tags: &Tags) -> Self {
        let mut pager = Pager::new(tags.serial());
        let mut out = Vec::with_capacity(1_024);
        for header in [HEAD.to_vec(), tags.packet()] {
            pager.add(&header);
            pager.close(0, false, &mut out);
        }
        Self {
            customer: Channel::default(),
            agent: Channel::default(),
            pager,
            out,
            next: 0,
            page_from: 0,
            clock: 0,
            counters: Counters::default(),
        }
    }

    /// Takes one tapped packet of either side.
    pub fn push(&mut self, frame: &TapFrame) {
        let channel = match frame.channel {
            TapChannel::Customer => &mut self.customer,
            TapChannel::Agent => &mut self.agent,
        };
        channel.place(frame, &mut self.counters);
        self.clock = self.clock.max(clock_samples(frame.passed_us));
        while (self.next + self.span()) * SLOT + REORDER <= self.clock {
            self.write_slots();
        }
    }

    /// Returns whole pages that were finished since the last time; often nothing.
    pub fn take_pages(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Ends the file when the call `lasted` so long, to the nearest slot, but not before the last frame of either side;
    /// returns its last pages.
    pub fn finish(&mut self, lasted: Duration) -> Vec<u8> {
        let lasted = clock_samples(u64::try_from(lasted.as_micros()).unwrap_or(u64::MAX));
        // A file without any packet is played by nobody: it gets one of silence.
        let end = self.customer.end().max(self.agent.end()).max((lasted + SLOT / 2) / SLOT).max(1);
        while self.next < end {
            self.write_slots();
        }
        self.close_page(true);
        self.take_pages()
    }

    /// Returns the length of all finished pages, in milliseconds.
    pub fn duration_ms(&self) -> u64 {
        self.page_from * SLOT / 48
    }

    /// Returns what did not go straight through.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How long a packet may be late before its slot is written without it, in milliseconds.
    pub const REORDER_MS: u64 = 200;

    /// The length of a page, in milliseconds.
    pub const PAGE_MS: u64 = 200;

    /// How many slots the next packet takes: those of the longer side.
    fn span(&self) -> u64 {
        self.customer.length_at(self.next).max(self.agent.length_at(self.next))
    }

    fn write_slots(&mut self) {
        let span = self.span();
        let left = self.customer.take(self.next, span, &mut self.counters);
        let right = self.agent.take(self.next, span, &mut self.counters);
        let mut packet = Vec::with_capacity(packet_bytes(&left) + packet_bytes(&right));
        write_packet(&left, true, &mut packet);
        write_packet(&right, false, &mut packet);
        // The full page waits for this next packet: so there is always one left for the page that ends the stream.
        let full = (self.next - self.page_from) * SLOT >= Self::PAGE_MS * 48;
        if full || !self.pager.add(&packet) {
            self.close_page(false);
            self.pager.add(&packet);
        }
        self.next += span;
    }

    fn close_page(&mut self, last: bool) {
        if !self.pager.is_empty() {
            self.pager.close(self.next * SLOT, last, &mut self.out);
            self.page_from = self.next;
        }
    }
}

/// What did not go straight into a recording. All zero on a perfect network with equal clocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Slots of one side that are silence because no frame came: lost packets and pauses.
    pub missing: u64,
    /// Frames that came after their slot was written.
    pub late: u64,
    /// Frames whose slot was taken: repeated packets, and those a drift correction drops.
    pub duplicates: u64,
    /// Frames that could not share a packet with the other side's.
    pub unpaired: u64,
    /// Packets that are no Opus.
    pub malformed: u64,
    /// Slots put in or left out because a sender's clock drifted.
    pub drift_slots: u64,
    /// New runs after a jump of the time stamps; the first run of a side is not counted.
    pub runs: u64,
}

/// Room for the frames, and for lengths and TOC.
fn packet_bytes(frames: &[Frame]) -> usize {
    frames.iter().map(|frame| frame.data.len() + 2).sum::<usize>() + 2
}

/// The identification header (RFC 7845 section 5.1): version 1, 2 channels, pre-skip 312, 48 kHz, no gain, family 1,
/// 2 streams of which 0 are coupled, mapping 0 and 1.
const HEAD: [u8; 23] = *b"OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\x00\x00\x01\x02\x00\x00\x01";

const REORDER: u64 = Muxer::REORDER_MS * 48;

use std::sync::atomic::{AtomicU64, Ordering};

use setu_media::{CodedTotals, Coders};

/// What one packet thread has counted. Only that thread writes, but for one; anybody may read at any time.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) oversized: Counter,
    pub(crate) strangers: Counter,
    pub(crate) unsent: Counter,
    pub(crate) rejected: Counter,
    pub(crate) lost_frames: Counter,
    pub(crate) busy_ports: Counter,
    pub(crate) receive_errors: Counter,
    pub(crate) uncoded: Counter,
    /// Written by the packet thread.
    pub(crate) lost_errands: Counter,
    /// Written by the thread of the handshakes.
    pub(crate) lost_returns: Counter,
    pub(crate) calls: Counter,
    pub(crate) legs: Counter,
}

/// The sum over all packet threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Datagrams taken from the network, of whatever kind.
    pub received: u64,
    /// Datagrams given to the network.
    pub sent: u64,
    /// Datagrams dropped as longer than any voice packet.
    pub oversized: u64,
    /// Datagrams at a shared port, dropped as no leg's peer signalled the address they came from.
    pub strangers: u64,
    /// Datagrams the system would not send.
    pub unsent: u64,
    /// Packets that relays refused: forged, replayed, from the wrong place or malformed. Counted when a leg closes.
    pub rejected: u64,
    /// Frames the recorder was too slow for.
    pub lost_frames: u64,
    /// Ports that another program had taken.
    pub busy_ports: u64,
    /// Failures to read from a socket.
    pub receive_errors: u64,
    /// Packets to be coded, or coded, for which a queue between packet and codec threads had no room.
    pub uncoded: u64,
    /// Ways through a coder: two for each call that is transcoded.
    pub coders: u64,
    /// The lowest complexity that Opus encoders of a codec thread work with (0 to 10): below 9 under load.
    pub complexity: u8,
    /// What coders have counted.
    pub coded: CodedTotals,
    /// Messages to and from the thread of the DTLS handshakes that found its queue full. They are sent again.
    pub lost_handshakes: u64,
    /// Calls with media.
    pub calls: u64,
    /// Legs with a port.
    pub legs: u64,
}

impl Counters {
    pub(crate) fn add_to(&self, totals: &mut Totals) {
        totals.received += self.received.value();
        totals.sent += self.sent.value();
        totals.oversized += self.oversized.value();
        totals.strangers += self.strangers.value();
        totals.unsent += self.unsent.value();
        totals.rejected += self.rejected.value();
        totals.lost_frames += self.lost_frames.value();
        totals.busy_ports += self.busy_ports.value();
        totals.receive_errors += self.receive_errors.value();
        totals.uncoded += self.uncoded.value();
        totals.lost_handshakes += self.lost_errands.value() + self.lost_returns.value();
        totals.calls += self.calls.value();
        totals.legs += self.legs.value();
    }
}

/// What one codec thread has counted.
#[derive(Debug, Default)]
pub(crate) struct CodecCounters {
    pub(crate) unreturned: Counter,
    coders: Counter,
    complexity: Counter,
    coded: Counter,
    concealed: Counter,
    recovered: Counter,
    late: Counter,
    broken: Counter,
    shortened: Counter,
    stretched: Counter,
    skipped: Counter,
    refused: Counter,
}

impl CodecCounters {
    /// Makes what coders have counted readable.
    pub(crate) fn publish(&self, coders: &Coders) {
        let totals = coders.totals();
        self.coders.set(coders.len());
        self.complexity.set(usize::from(coders.complexity()));
        for (counter, value) in [
            (&self.coded, totals.coded),
            (&self.concealed, totals.concealed),
            (&self.recovered, totals.recovered),
            (&self.late, totals.late),
            (&self.broken, totals.broken),
            (&self.shortened, totals.shortened),
            (&self.stretched, totals.stretched),
            (&self.skipped, totals.skipped),
            (&self.refused, totals.refused),
        ] {
            counter.0.store(value, Ordering::Relaxed);
        }
    }

    pub(crate) fn add_to(&self, totals: &mut Totals) {
        totals.uncoded += self.unreturned.value();
        let complexity = u8::try_from(self.complexity.value()).unwrap_or(0);
        totals.complexity =
            if totals.complexity == 0 { complexity } else { totals.complexity.min(complexity) };
        totals.coders += self.coders.value();
        totals.coded.coded += self.coded.value();
        totals.coded.concealed += self.concealed.value();
        totals.coded.recovered += self.recovered.value();
        totals.coded.late += self.late.value();
        totals.coded.broken += self.broken.value();
        totals.coded.shortened += self.shortened.value();
        totals.coded.stretched += self.stretched.value();
        totals.coded.skipped += self.skipped.value();
        totals.coded.refused += self.refused.value();
    }
}

/// A number with one writer: a plain load and store, no locked instruction.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, by: u64) {
        self.0.store(self.value().wrapping_add(by), Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self, by: usize) {
        self.0.store(self.value().wrapping_sub(by as u64), Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: usize) {
        self.0.store(value as u64, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

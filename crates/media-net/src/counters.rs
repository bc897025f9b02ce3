use std::sync::atomic::{AtomicU64, Ordering};

/// What one packet thread has counted. Only that thread writes; anybody may read at any time.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) oversized: Counter,
    pub(crate) unsent: Counter,
    pub(crate) rejected: Counter,
    pub(crate) lost_frames: Counter,
    pub(crate) busy_ports: Counter,
    pub(crate) receive_errors: Counter,
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
        totals.unsent += self.unsent.value();
        totals.rejected += self.rejected.value();
        totals.lost_frames += self.lost_frames.value();
        totals.busy_ports += self.busy_ports.value();
        totals.receive_errors += self.receive_errors.value();
        totals.calls += self.calls.value();
        totals.legs += self.legs.value();
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

//! Packets that wait for their time, in order.

use std::collections::VecDeque;

/// Packets of one source, sorted by time stamp. Bounded; buffers are used again, so it does not allocate for a packet.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    waiting: VecDeque<Waiting>,
    spare: Vec<Vec<u8>>,
}

/// A packet that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) ticks: u32,
    pub(crate) what: What,
    pub(crate) payload: Vec<u8>,
}

/// What a waiting packet holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Audio,
    /// The level of a pause (RFC 3389): it has no length.
    Noise,
}

impl Buffer {
    /// Adds a packet. False if it is there already, or there is no room.
    pub(crate) fn add(
        &mut self,
        (sequence, timestamp, ticks): (u16, u32, u32),
        what: What,
        bytes: &[u8],
    ) -> bool {
        // From the end: nearly every packet is the newest.
        let ahead = |waiting: &Waiting| timestamp.wrapping_sub(waiting.timestamp).cast_signed();
        let at = self.waiting.iter().rposition(|waiting| ahead(waiting) >= 0);
        let twice = at.and_then(|at| self.waiting.get(at)).is_some_and(|it| it.timestamp == timestamp);
        if twice || self.waiting.len() >= MOST_WAITING {
            return false;
        }
        let mut payload = self.spare.pop().unwrap_or_default();
        payload.clear();
        payload.extend_from_slice(bytes);
        self.waiting.insert(at.map_or(0, |at| at + 1), Waiting { sequence, timestamp, ticks, what, payload });
        true
    }

    /// Returns the oldest packet.
    pub(crate) fn front(&self) -> Option<&Waiting> {
        self.waiting.front()
    }

    /// Takes the oldest packet, to be given back with [`recycle`](Self::recycle).
    pub(crate) fn pop(&mut self) -> Option<Waiting> {
        self.waiting.pop_front()
    }

    /// Takes a packet's memory back.
    pub(crate) fn recycle(&mut self, packet: Waiting) {
        self.spare.push(packet.payload);
    }

    /// Drops what waits.
    pub(crate) fn clear(&mut self) {
        self.spare.extend(self.waiting.drain(..).map(|packet| packet.payload));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// The most packets that wait: the longest delay in packets of 10 ms, and a burst of half as many.
const MOST_WAITING: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_out_in_order_once_each_across_the_wrap_of_time_stamps() {
        let mut buffer = Buffer::default();
        let from = u32::MAX - 300;
        for n in [2_u32, 0, 1, 1, 4, 3, 0] {
            buffer.add((n as u16, from.wrapping_add(n * 160), 160), What::Audio, &[n as u8]);
        }
        let mut order: Vec<u8> = Vec::new();
        while let Some(packet) = buffer.pop() {
            order.extend(&packet.payload);
            buffer.recycle(packet);
        }
        assert_eq!(order, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut buffer = Buffer::default();
        let taken = (0..1_000).filter(|n| buffer.add((0, n * 160, 160), What::Audio, &[0])).count();
        assert_eq!(taken, MOST_WAITING);
    }
}

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::sockets::Handle;

/// One worker's share of a side's ports, in pairs named by their even port. The one that rested longest goes first.
#[derive(Debug)]
pub(crate) struct PortPool {
    free: VecDeque<u16>,
    resting: VecDeque<(Instant, u16)>,
    quarantine: Duration,
}

impl PortPool {
    /// Takes every `of`-th pair of `range`, beginning with pair number `share`.
    pub(crate) fn new(range: &RangeInclusive<u16>, share: usize, of: usize, quarantine: Duration) -> Self {
        let free: VecDeque<_> = pairs(range).skip(share).step_by(of.max(1)).collect();
        Self { resting: VecDeque::with_capacity(free.len()), free, quarantine }
    }

    /// Takes a pair that is neither in use nor resting.
    pub(crate) fn take(&mut self, now: Instant) -> Option<u16> {
        while let Some((_, port)) = self.resting.pop_front_if(|(until, _)| *until <= now) {
            self.free.push_back(port);
        }
        self.free.pop_front()
    }

    /// Gives a pair back: it rests before it is taken again.
    pub(crate) fn release(&mut self, port: u16, now: Instant) {
        self.resting.push_back((now + self.quarantine, port));
    }
}

/// The ports of one worker that several legs are behind. Once open they stay so: they name no call.
#[derive(Debug, Default)]
pub(crate) struct SharedPorts {
    ports: Vec<SharedPort>,
    turn: usize,
}

/// A shared pair of ports.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SharedPort {
    /// The even port, for RTP.
    pub(crate) port: u16,
    pub(crate) rtp: Handle,
    /// The port above, unless another program has it.
    pub(crate) rtcp: Option<Handle>,
}

impl SharedPorts {
    /// Whether there are as many as there should be.
    pub(crate) const fn is_full(&self) -> bool {
        self.ports.len() >= SHARED_PORTS
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    pub(crate) fn add(&mut self, port: SharedPort) {
        self.ports.push(port);
    }

    /// The port whose turn it is to get a leg.
    pub(crate) fn next(&mut self) -> Option<SharedPort> {
        self.turn = self.turn.wrapping_add(1);
        self.ports.get(self.turn.checked_rem(self.ports.len())?).copied()
    }
}

/// How many shared ports a worker has. Few, as each costs a system call a round; more than one, as each has a receive
/// buffer that the system may not let grow.
const SHARED_PORTS: usize = 4;

/// The even ports of `range` whose odd neighbour is in it too.
pub(crate) fn pairs(range: &RangeInclusive<u16>) -> impl Iterator<Item = u16> + use<> {
    let last = *range.end();
    range.clone().filter(move |port| port % 2 == 0 && *port < last && *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUARANTINE: Duration = Duration::from_secs(30);

    #[test]
    fn pairs_begin_even_and_stay_in_the_range() {
        assert_eq!(pairs(&(10_001..=10_006)).collect::<Vec<_>>(), [10_002, 10_004]);
        assert_eq!(pairs(&(10_000..=10_001)).collect::<Vec<_>>(), [10_000]);
        assert_eq!(pairs(&(10_000..=10_000)).count(), 0);
        assert_eq!(pairs(&(65_534..=65_535)).collect::<Vec<_>>(), [65_534]);
        assert_eq!(pairs(&(0..=3)).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn workers_share_the_range_without_overlap() {
        let range = 20_000..=20_019;
        let now = Instant::now();
        let mut all: Vec<_> = (0..3)
            .flat_map(|share| {
                let mut pool = PortPool::new(&range, share, 3, QUARANTINE);
                std::iter::from_fn(move || pool.take(now))
            })
            .collect();
        all.sort_unstable();
        assert_eq!(all, pairs(&range).collect::<Vec<_>>());
    }

    #[test]
    fn a_port_rests_before_it_is_taken_again() {
        let mut pool = PortPool::new(&(20_000..=20_003), 0, 1, QUARANTINE);
        let start = Instant::now();
        assert_eq!(
            (pool.take(start), pool.take(start), pool.take(start)),
            (Some(20_000), Some(20_002), None)
        );
        pool.release(20_002, start);
        pool.release(20_000, start + Duration::from_secs(1));
        assert_eq!(pool.take(start + QUARANTINE - Duration::from_millis(1)), None);
        assert_eq!(pool.take(start + QUARANTINE), Some(20_002));
        assert_eq!(pool.take(start + QUARANTINE), None);
        assert_eq!(pool.take(start + QUARANTINE + Duration::from_secs(1)), Some(20_000));
    }
}

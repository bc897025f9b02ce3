//! Packet indexes: the guess of the roll-over counter and the replay window (RFC 3711 section 3.3).

/// How many indexes back a late packet is still told from a replayed one. RFC 3711 section 3.3.2 wants at least
/// 64; 128 packets are 2.56 s of voice, more than any jitter buffer waits.
const SIZE: u64 = 128;

/// Which of the newest indexes of one source were taken. A plain value: work on a copy, store it when the packet
/// has proven itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Window {
    /// One above the highest index taken; 0 before the first.
    next: u64,
    /// Bit `i` is index `next - 1 - i`.
    seen: u128,
}

/// Why an index may not be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stale;

impl Window {
    /// A window in which every index below `floor` counts as taken.
    pub(crate) const fn above(floor: u64) -> Self {
        Self { next: floor, seen: u128::MAX }
    }

    /// The lowest index above all taken.
    pub(crate) const fn next(self) -> u64 {
        self.next
    }

    /// Guesses the 48-bit index of a packet from its 16-bit sequence number (RFC 3711 section 3.3.1).
    ///
    /// Within the first roll-over period there is no period before, so a sequence number far above the highest is
    /// taken as a jump forward, as libsrtp does.
    pub(crate) fn estimate(self, sequence: u16) -> u64 {
        let Some(highest) = self.next.checked_sub(1) else { return u64::from(sequence) };
        let period = highest >> 16;
        let distance = i64::from(sequence) - i64::try_from(highest & 0xffff).unwrap_or(0);
        let period = if distance > HALF {
            period.saturating_sub(1)
        } else if distance < -HALF {
            period + 1
        } else {
            period
        };
        period << 16 | u64::from(sequence)
    }

    /// Whether nothing was taken yet.
    pub(crate) const fn is_fresh(self) -> bool {
        self.next == 0
    }

    /// Says whether `index` could be taken.
    pub(crate) fn check(mut self, index: u64) -> Result<(), Stale> {
        self.take(index)
    }

    /// Takes `index`, or says that it was taken before or is too old to tell.
    pub(crate) fn take(&mut self, index: u64) -> Result<(), Stale> {
        if index >= self.next {
            let step = index - self.next + 1;
            self.seen = if step < SIZE { self.seen << step } else { 0 };
            self.seen |= 1;
            self.next = index + 1;
            return Ok(());
        }
        let age = self.next - 1 - index;
        if age >= SIZE || self.seen & (1 << age) != 0 {
            return Err(Stale);
        }
        self.seen |= 1 << age;
        Ok(())
    }
}

const HALF: i64 = 1 << 15;

#[cfg(test)]
mod tests {
    use super::*;

    fn window(indexes: &[u64]) -> Window {
        let mut window = Window::default();
        for index in indexes {
            window.take(*index).unwrap();
        }
        window
    }

    #[test]
    fn an_index_is_taken_once() {
        let mut window = window(&[5, 3, 4]);
        for index in [3, 4, 5] {
            assert_eq!(window.take(index), Err(Stale), "{index}");
        }
        assert_eq!(window.take(2), Ok(()));
    }

    #[test]
    fn the_window_is_128_wide() {
        let mut window = window(&[1_000]);
        assert_eq!(window.take(1_000 - 127), Ok(()));
        assert_eq!(window.take(1_000 - 127), Err(Stale));
        assert_eq!(window.take(1_000 - 128), Err(Stale));
    }

    #[test]
    fn a_leap_forward_forgets_no_replay() {
        for leap in [1, 2, 127, 128, 129, 40_000] {
            let mut window = window(&[10, 11]);
            window.take(11 + leap).unwrap();
            for index in [10, 11, 11 + leap] {
                assert_eq!(window.take(index), Err(Stale), "{index} after {leap}");
            }
        }
    }

    #[test]
    fn nothing_below_a_restored_floor_is_taken() {
        let mut window = Window::above(70_000);
        assert_eq!(window.take(69_999), Err(Stale));
        assert_eq!(window.estimate(4_464), 70_000);
        assert_eq!(window.take(70_000), Ok(()));
    }

    #[test]
    fn the_roll_over_counter_follows_wrap_and_reorder() {
        assert_eq!(Window::default().estimate(65_535), 65_535);
        assert_eq!(window(&[65_535]).estimate(0), 1 << 16);
        assert_eq!(window(&[1 << 16]).estimate(65_535), 65_535);
        assert_eq!(window(&[(3 << 16) + 5]).estimate(65_530), (2 << 16) + 65_530);
        assert_eq!(window(&[(3 << 16) + 0x8000]).estimate(0), 3 << 16);
        assert_eq!(window(&[(3 << 16) + 0x8001]).estimate(0), 4 << 16);
        assert_eq!(window(&[10]).estimate(60_000), 60_000);
    }
}

//! How much work encoders may do: as much as there is time for.

/// Steps the complexity of a worker's encoders by how busy the worker is. Knows no clock: its owner measures.
#[derive(Debug)]
pub(crate) struct Load {
    step: usize,
    calm: u32,
}

impl Load {
    pub(crate) const fn new() -> Self {
        Self { step: STEPS.len() - 1, calm: 0 }
    }

    /// The complexity to encode with, 0 to 10.
    pub(crate) fn complexity(&self) -> u8 {
        STEPS.get(self.step).map_or(1, |(complexity, _)| *complexity)
    }

    /// Takes how busy the worker was, in thousandths, over the last [`Load::PERIOD_MS`].
    pub(crate) fn take(&mut self, busy_permille: u32) {
        let cost = |step: usize| STEPS.get(step).map_or(u32::MAX, |(_, cost)| *cost);
        if busy_permille > TOO_BUSY {
            // Down by as much as is needed at once: waiting costs packets.
            let wanted = cost(self.step) * TOO_BUSY / busy_permille;
            self.step = (0..self.step).rev().find(|step| cost(*step) <= wanted).unwrap_or(0);
            self.calm = 0;
            return;
        }
        let next = self.step + 1;
        if next >= STEPS.len() || busy_permille * cost(next) / cost(self.step).max(1) > STAY {
            self.calm = 0;
            return;
        }
        self.calm += 1;
        if self.calm >= CALM {
            (self.step, self.calm) = (next, 0);
        }
    }
}

impl Load {
    /// The time between two measurements, in milliseconds.
    pub(crate) const PERIOD_MS: u64 = 500;
}

/// Complexities, and what 20 ms of a call cost at them (both directions, in microseconds; only ratios count).
const STEPS: [(u8, u32); 4] = [(1, 49), (3, 86), (5, 105), (9, HIGHEST)];

const HIGHEST: u32 = 171;

/// Busier than this, in thousandths, it must get easier.
const TOO_BUSY: u32 = 850;

/// What the next complexity may make of it.
const STAY: u32 = 700;

/// For so many periods.
const CALM: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a worker whose encoders cost as they do, at a load that would be `permille` at the highest complexity.
    fn settle(load: &mut Load, permille: u32, periods: u32) -> u8 {
        for _ in 0..periods {
            let cost = STEPS[load.step].1;
            load.take((permille * cost / HIGHEST).min(1_000));
        }
        load.complexity()
    }

    #[test]
    fn complexity_falls_at_once_and_rises_when_it_is_calm() {
        let mut load = Load::new();
        assert_eq!(load.complexity(), 9);
        assert_eq!(settle(&mut load, 500, 100), 9);
        assert_eq!(settle(&mut load, 1_500, 6), 3);
        assert_eq!(settle(&mut load, 2_500, 6), 1);
        assert_eq!(settle(&mut load, 500, 3), 1, "not at the first calm moment");
        assert_eq!(settle(&mut load, 500, 20), 9);
    }

    #[test]
    fn a_steady_load_finds_a_steady_complexity() {
        for permille in (100..3_000).step_by(50) {
            let mut load = Load::new();
            let found = settle(&mut load, permille, 60);
            for _ in 0..60 {
                assert_eq!(settle(&mut load, permille, 1), found, "at {permille}");
            }
        }
    }
}

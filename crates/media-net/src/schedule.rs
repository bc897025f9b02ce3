use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// When each call wants its timers run. Deadlines move with nearly every packet, mostly later: an entry is only
/// added when one moves earlier, and a later one is noticed when the old entry comes up.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
}

/// A call's part of the schedule: its earliest entry in the heap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Scheduled(Option<Instant>);

impl Schedule {
    /// Notes that call number `call` next wants `deadline`.
    pub(crate) fn note(&mut self, call: usize, scheduled: &mut Scheduled, deadline: Option<Instant>) {
        if let Some(deadline) = deadline
            && scheduled.0.is_none_or(|entry| deadline < entry)
        {
            scheduled.0 = Some(deadline);
            self.heap.push(Reverse((deadline, call)));
        }
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// When the next entry comes up.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the next entry that is due at `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Instant, usize)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}

impl Scheduled {
    /// Clears the mark if the entry that came up is the call's earliest; says whether it was. Others are left over
    /// from a deadline that moved, or from a call that had the number before.
    pub(crate) fn came_up(&mut self, at: Instant) -> bool {
        let current = self.0 == Some(at);
        if current {
            self.0 = None;
        }
        current
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_the_earliest_entry_of_a_call_counts() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (mut schedule, mut scheduled) = (Schedule::default(), Scheduled::default());
        schedule.note(7, &mut scheduled, Some(at(50)));
        schedule.note(7, &mut scheduled, Some(at(80)));
        schedule.note(7, &mut scheduled, Some(at(20)));
        schedule.note(7, &mut scheduled, None);
        assert_eq!(schedule.next(), Some(at(20)));
        assert_eq!(schedule.pop_due(at(19)), None);
        assert_eq!(schedule.pop_due(at(60)), Some((at(20), 7)));
        assert!(scheduled.came_up(at(20)));
        assert_eq!(schedule.pop_due(at(60)), Some((at(50), 7)));
        assert!(!scheduled.came_up(at(50)), "left over");
        assert_eq!(schedule.pop_due(at(60)), None);
    }

    #[test]
    fn a_steady_call_keeps_one_entry() {
        let start = Instant::now();
        let (mut schedule, mut scheduled) = (Schedule::default(), Scheduled::default());
        for ms in 0..10_000 {
            schedule.note(0, &mut scheduled, Some(start + Duration::from_millis(200 + ms)));
        }
        assert_eq!(schedule.heap.len(), 1);
    }
}

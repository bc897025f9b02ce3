//! What Meta holds against a number's calls, and when it restricts them (UCP: "User feedback", "Low pickup rate").
//!
//! Meta publishes no figures. These are stricter than what operators tell of, so that a number that keeps within them keeps
//! within Meta's.

use std::collections::VecDeque;

use setu_model::Wall;

/// When a number is restricted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReputationRules {
    /// How far back anything counts, in milliseconds.
    pub window_ms: i64,
    /// So many users who blocked or reported the number say something.
    pub least_blamed: usize,
    /// Users of a thousand reached who may block or report it.
    pub blamed_permille: usize,
    /// So many users' calls say something.
    pub least_calls: usize,
    /// Users' calls of a hundred that must be answered.
    pub answered_percent: usize,
    /// How long a restriction lasts, in milliseconds.
    pub lasts_ms: i64,
}

impl ReputationRules {
    /// Those of live numbers.
    pub const LIVE: Self = Self {
        window_ms: 7 * 86_400_000,
        least_blamed: 5,
        blamed_permille: 20,
        least_calls: 20,
        answered_percent: 50,
        lasts_ms: 7 * 86_400_000,
    };
}

/// What a number is known for.
#[derive(Debug, Clone)]
pub struct Reputation {
    rules: ReputationRules,
    reached: VecDeque<Wall>,
    blamed: VecDeque<Wall>,
    called: VecDeque<(Wall, bool)>,
    until: Option<Wall>,
}

impl Reputation {
    /// Nobody knows the number yet.
    pub const fn new(rules: ReputationRules) -> Self {
        Self {
            rules,
            reached: VecDeque::new(),
            blamed: VecDeque::new(),
            called: VecDeque::new(),
            until: None,
        }
    }

    /// A call or request of the business reached a user.
    pub fn reached(&mut self, now: Wall) {
        self.reached.push_back(now);
        self.weigh(now);
    }

    /// A user blocked or reported the number.
    pub fn blamed(&mut self, now: Wall) {
        self.blamed.push_back(now);
        self.weigh(now);
    }

    /// A user called the number.
    pub fn called(&mut self, answered: bool, now: Wall) {
        self.called.push_back((now, answered));
        self.weigh(now);
    }

    /// Until when the number is restricted, if it is.
    pub fn restricted(&self, now: Wall) -> Option<Wall> {
        self.until.filter(|until| *until > now)
    }

    fn weigh(&mut self, now: Wall) {
        let since = now.unix_ms() - self.rules.window_ms;
        let old = |at: &Wall| at.unix_ms() <= since;
        while self.reached.front().is_some_and(old) {
            self.reached.pop_front();
        }
        while self.blamed.front().is_some_and(old) {
            self.blamed.pop_front();
        }
        while self.called.front().is_some_and(|(at, _)| old(at)) {
            self.called.pop_front();
        }
        let rules = &self.rules;
        let blamed = self.blamed.len();
        let feedback =
            blamed >= rules.least_blamed && blamed * 1_000 > self.reached.len() * rules.blamed_permille;
        let answered = self.called.iter().filter(|(_, answered)| *answered).count();
        let pickup = self.called.len() >= rules.least_calls
            && answered * 100 < self.called.len() * rules.answered_percent;
        if (feedback || pickup) && self.restricted(now).is_none() {
            self.until = Some(Wall::from_unix_ms(now.unix_ms() + rules.lasts_ms));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Wall {
        Wall::from_unix_ms(1_760_000_000_000 + minutes * 60_000)
    }

    #[test]
    fn five_of_two_hundred_users_who_block_a_number_restrict_it_for_a_week() {
        let mut it = Reputation::new(ReputationRules::LIVE);
        for n in 0..200 {
            it.reached(at(n));
        }
        for n in 0..4 {
            it.blamed(at(200 + n));
            assert_eq!(it.restricted(at(200 + n)), None);
        }
        it.blamed(at(210));
        assert_eq!(it.restricted(at(211)), Some(at(210 + 7 * 1_440)));
        assert_eq!(it.restricted(at(210 + 7 * 1_440)), None);
    }

    #[test]
    fn users_whose_calls_nobody_answers_restrict_a_number_and_old_ones_do_not_count() {
        let mut it = Reputation::new(ReputationRules::LIVE);
        for n in 0..19 {
            it.called(false, at(n));
        }
        assert_eq!(it.restricted(at(19)), None);
        let mut later = it.clone();
        later.called(false, at(8 * 1_440));
        assert_eq!(later.restricted(at(8 * 1_440)), None);
        it.called(true, at(20));
        assert!(it.restricted(at(21)).is_some());
    }
}

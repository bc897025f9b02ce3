//! One number and one customer: the facts that are known of them, and the answers that follow.

use std::collections::BTreeMap;
use std::time::Duration;

use setu_model::Wall;

use super::answer::{Answer, Considered, Question, Why};
use super::fact::{Fact, FactId, Outcome};
use super::rules::{DAY, Dialect, Rules, SERVICE_WINDOW, TAP, WEEK};
use super::standing::{Grant, GrantSource, Holds, Lost, Standing};
use crate::campaign::Contact;

/// Everything known of one pair of number and customer: a set of facts.
///
/// Two sets of the same customer, known under two names, are joined by [`merge`](Self::merge).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PairLedger {
    facts: BTreeMap<FactId, Fact>,
}

impl PairLedger {
    /// The most facts kept of one pair: far more than the windows of Meta's limits can hold, and a bound for a customer
    /// who writes all day.
    pub const MOST: usize = 2_048;

    /// Adds a fact; says whether anything changed.
    pub fn add(&mut self, id: FactId, fact: Fact) -> bool {
        let (before, count) = (self.facts.get(&id).cloned(), self.facts.len());
        let joined = before.clone().map_or(fact.clone(), |known| known.join(fact));
        let changed = before.as_ref() != Some(&joined);
        if changed {
            self.facts.insert(id, joined);
        }
        if self.facts.len() > count {
            self.make_room();
        }
        changed
    }

    /// How many facts there are.
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// Takes over what is known of the same customer under another name.
    pub fn merge(&mut self, other: Self) {
        for (id, fact) in other.facts {
            self.add(id, fact);
        }
    }

    /// Answers a question, at `now` on the bridge's clock.
    ///
    /// Whatever is uncertain by the clocks' skew is answered no.
    pub fn answer(&self, question: Question, rules: &Rules, now: Wall) -> Answer {
        let view = View { pair: self, standing: self.standing(rules), rules, now };
        match question {
            Question::Call => view.call(),
            Question::Request => view.request(),
        }
    }

    /// Business-initiated calls in a row that were not answered.
    pub fn misses(&self, rules: &Rules) -> u32 {
        self.standing(rules).misses
    }

    /// The last business-initiated call that the customer hung up within [`EARLY_S`](super::EARLY_S) seconds, if
    /// nothing came from the customer since.
    pub fn hung_up_early(&self, rules: &Rules) -> Option<Wall> {
        self.standing(rules).hung_up_early
    }

    /// Whether the customer ever wrote, called, tapped or gave permission.
    pub fn contact(&self, rules: &Rules) -> Contact {
        if self.standing(rules).known { Contact::Warm } else { Contact::Cold }
    }

    fn standing(&self, rules: &Rules) -> Standing {
        let mut ordered: Vec<(&FactId, &Fact)> = self.facts.iter().collect();
        // The ids decide between facts of one moment: any order will do, if it is always the same.
        ordered.sort_by_key(|(id, fact)| (fact.at(), *id));
        Self::come_to(ordered.into_iter().map(|(_, fact)| fact), rules)
    }

    /// What facts come to, in the order they happened.
    pub(super) fn come_to<'f>(facts: impl Iterator<Item = &'f Fact>, rules: &Rules) -> Standing {
        let mut standing = Standing::default();
        facts.for_each(|fact| standing.take(fact, rules));
        standing
    }

    pub(super) fn remove(&mut self, id: &FactId) {
        self.facts.remove(id);
    }

    /// The facts, by id.
    pub(super) fn facts(&self) -> impl Iterator<Item = (&FactId, &Fact)> {
        self.facts.iter()
    }

    /// Forgets a fact of a pair that has too many: the oldest message or call of the customer, who may write all day, before
    /// anything that a permission stands on.
    fn make_room(&mut self) {
        if self.facts.len() <= Self::MOST {
            return;
        }
        let weighs = |fact: &Fact| !matches!(fact, Fact::Wrote { .. } | Fact::Phoned { .. });
        let oldest = self.facts.iter().min_by_key(|(id, fact)| (weighs(fact), fact.at(), *id));
        let oldest = oldest.map(|(id, _)| id.clone());
        if let Some(id) = oldest {
            self.facts.remove(&id);
        }
    }
}

/// A pair at one moment.
struct View<'p> {
    pair: &'p PairLedger,
    standing: Standing,
    rules: &'p Rules,
    now: Wall,
}

impl View<'_> {
    fn call(&self) -> Answer {
        let considered: Vec<Considered> = self.grants().map(|grant| self.consider(grant)).collect();
        // The one that lasts longest is the one to name.
        let valid = considered.iter().filter_map(|it| match it {
            Considered::Valid(grant) => Some(*grant),
            Considered::Expired(_) | Considered::NotHere(_) => None,
        });
        let grant = valid.max_by_key(|grant| (grant.until.is_none(), grant.until));
        let Some(grant) = grant else {
            return Answer { why: self.no_grant(), grant: None, next_allowed: None, considered };
        };
        let (why, next_allowed) = match self.call_limit() {
            None => (Why::Granted(grant.source), None),
            // A permission that runs out first makes the next moment meaningless.
            Some((why, at)) => (why, Some(at).filter(|at| grant.until.is_none_or(|until| *at < until))),
        };
        Answer { why, grant: Some(grant), next_allowed, considered }
    }

    fn request(&self) -> Answer {
        let answer = |why, next_allowed| Answer { why, grant: None, next_allowed, considered: Vec::new() };
        if self.standing.granted.is_some_and(|grant| grant.until.is_none()) {
            return answer(Why::AlreadyPermanent, None);
        }
        let day = self.request_window(DAY, self.rules.requests_a_day);
        let week = self.request_window(WEEK, self.rules.requests_a_week);
        let meta = self.standing.no_request_before.filter(|at| *at > self.now);
        let next = day.max(week).max(meta);
        if next.is_none() {
            return answer(Why::WithinLimits, None);
        }
        let why = if next == week {
            Why::RequestsAWeek { most: self.rules.requests_a_week }
        } else if next == day {
            Why::RequestsADay { most: self.rules.requests_a_day }
        } else {
            Why::MetaSaysLater
        };
        answer(why, next)
    }

    /// Every grant there is or was.
    fn grants(&self) -> impl Iterator<Item = Grant> {
        let until =
            |at: Option<Wall>, source, lasts| at.map(|at| Grant { source, until: Some(at.after(lasts)) });
        [
            self.standing.granted,
            until(self.standing.tapped, GrantSource::TemplateButton, TAP),
            until(self.standing.heard_from, GrantSource::ServiceWindow, SERVICE_WINDOW),
        ]
        .into_iter()
        .flatten()
    }

    fn consider(&self, grant: Grant) -> Considered {
        let expired = grant.until.is_some_and(|until| until <= self.now.after(self.rules.skew));
        match (grant.source.holds(), self.rules.dialect) {
            _ if expired => Considered::Expired(grant),
            (Holds::ProviderOnly, Dialect::Meta) => Considered::NotHere(grant),
            (Holds::ProviderOnly, Dialect::Provider) | (Holds::Everywhere, _) => Considered::Valid(grant),
        }
    }

    fn no_grant(&self) -> Why {
        match (self.standing.lost, self.standing.granted.and_then(|grant| grant.until)) {
            (Some(Lost::Rejected(at)), _) => Why::Rejected { at },
            (Some(Lost::Missed(at)), _) => Why::MissedTooOften { at },
            (None, Some(at)) => Why::Expired { at },
            (None, None) => Why::NeverGranted,
        }
    }

    fn call_limit(&self) -> Option<(Why, Wall)> {
        let connected = |fact: &Fact| match fact {
            Fact::Called { at, outcome: Outcome::Connected } => Some(*at),
            Fact::Called { .. }
            | Fact::Asked { .. }
            | Fact::Replied { .. }
            | Fact::Observed { .. }
            | Fact::HungUpEarly { .. }
            | Fact::Wrote { .. }
            | Fact::Phoned { .. }
            | Fact::Tapped { .. } => None,
        };
        let most = self.rules.connected_a_day;
        let window = self.window(DAY, most, connected).map(|at| (Why::ConnectedLimit { most }, at));
        let meta = self.standing.no_call_before.filter(|at| *at > self.now);
        window.or(meta.map(|at| (Why::MetaSaysLater, at)))
    }

    /// From when on another request is within the limit of `most` in `length`; none if it is now. A connected call
    /// makes earlier requests not count.
    fn request_window(&self, length: Duration, most: u32) -> Option<Wall> {
        let connected = self.standing.connected;
        self.window(length, most, |fact| match fact {
            Fact::Asked { at } => Some(*at).filter(|at| connected.is_none_or(|connected| *at >= connected)),
            Fact::Replied { .. }
            | Fact::Observed { .. }
            | Fact::Called { .. }
            | Fact::HungUpEarly { .. }
            | Fact::Wrote { .. }
            | Fact::Phoned { .. }
            | Fact::Tapped { .. } => None,
        })
    }

    /// From when on fewer than `most` of the facts that count lie within `length`; none if that is so now.
    fn window(&self, length: Duration, most: u32, counts: impl Fn(&Fact) -> Option<Wall>) -> Option<Wall> {
        let length = length + self.rules.skew;
        let mut moments: Vec<Wall> =
            self.pair.facts.values().filter_map(counts).filter(|at| at.after(length) > self.now).collect();
        moments.sort_unstable();
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let over = moments.len().checked_sub(most)?;
        // With a limit of nothing at all there is no such moment; say the end of the window.
        let at = moments.get(over).or(moments.last()).copied().unwrap_or(self.now);
        Some(at.after(length))
    }
}

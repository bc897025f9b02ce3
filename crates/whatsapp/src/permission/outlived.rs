//! Which old facts no answer needs any more, so that what is stored of a pair is bounded.

use std::time::Duration;

use setu_model::Wall;

use super::fact::{Fact, FactId, Outcome, Reply};
use super::pair::PairLedger;
use super::rules::Rules;

impl PairLedger {
    /// How old a fact is at least that may be outlived: four times the longest of Meta's windows, and of the time for which
    /// webhooks are delivered again.
    pub const OUTLIVED: Duration = Duration::from_secs(30 * 24 * 3_600);

    /// Forgets facts.
    pub fn forget(&mut self, ids: &[FactId]) {
        ids.iter().for_each(|id| self.remove(id));
    }

    /// The facts of before `before` without which every answer is the same, whatever happens from `before` on, at any moment
    /// a week after `before` or later. What a pair stands on is not among them: a grant that holds, however old, and how it
    /// was lost; the last word of the customer, the last tap, the last connected call.
    pub fn outlived(&self, before: Wall) -> Vec<FactId> {
        let mut old: Vec<(&FactId, &Fact)> = self.facts().filter(|(_, fact)| fact.at() < before).collect();
        old.sort_by_key(|(id, fact)| (fact.at(), *id));
        let mut later = Later::default();
        let (mut kept, mut outlived) = (Vec::new(), Vec::new());
        for (id, fact) in old.iter().rev() {
            if later.needs(fact) { kept.push(*fact) } else { outlived.push((*id).clone()) }
        }
        kept.reverse();
        // The rules above are short of what a standing is: where they err, nothing is forgotten.
        let all = || old.iter().map(|(_, fact)| *fact);
        let same = |rules: &Rules| Self::come_to(all(), rules) == Self::come_to(kept.iter().copied(), rules);
        if [Rules::META, Rules::SANDBOX, Rules::PROVIDER].iter().all(same) { outlived } else { Vec::new() }
    }
}

/// What came later than the fact that is looked at.
#[derive(Debug, Default)]
struct Later {
    /// A word of the customer's own will, a message or call among them, a tap.
    spoke: bool,
    heard_from: bool,
    tapped: bool,
    hung_up_early: bool,
    connected: bool,
    observed: bool,
    /// What settles whether there is a permission, whatever was before.
    settled: bool,
    /// What ends a row of unanswered calls.
    row_ended: bool,
}

impl Later {
    /// Whether a fact is needed, given what came later; takes it among that.
    fn needs(&mut self, fact: &Fact) -> bool {
        let first = |seen: &mut bool| !std::mem::replace(seen, true);
        match fact {
            // The windows of requests end with a week.
            Fact::Asked { .. } | Fact::Called { outcome: Outcome::Failed, .. } => false,
            Fact::Wrote { .. } | Fact::Phoned { .. } => {
                self.spoke = true;
                first(&mut self.heard_from)
            }
            Fact::Tapped { .. } => {
                self.spoke = true;
                first(&mut self.tapped)
            }
            Fact::HungUpEarly { .. } => first(&mut self.hung_up_early) && !self.spoke,
            Fact::Called { outcome: Outcome::Connected, .. } => {
                self.row_ended = true;
                first(&mut self.connected)
            }
            Fact::Called { outcome: Outcome::Missed, .. } => !(self.settled && self.row_ended),
            Fact::Replied { reply: Reply::Accept { automatic: true, permanent: false, .. }, .. } => {
                !self.settled
            }
            Fact::Replied { reply: Reply::Accept { automatic, .. }, .. } => {
                // What Meta gives by itself is no word of the customer.
                let spoke = !automatic && first(&mut self.spoke);
                first(&mut self.settled) || spoke
            }
            Fact::Replied { reply: Reply::Reject { automatic }, .. } => {
                let ends_row = *automatic && first(&mut self.row_ended);
                first(&mut self.settled) || ends_row
            }
            Fact::Observed { .. } => first(&mut self.observed) || !self.settled,
        }
    }
}

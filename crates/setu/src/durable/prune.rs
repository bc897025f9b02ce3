//! What is forgotten, when and why: a job beside all others, a few rows at a time.

use std::sync::Arc;
use std::time::Duration;

use setu_control::Metrics;
use setu_model::Wall;
use setu_store::{CustomerNames, Old, OldPair, Store, StoreFault};
use setu_whatsapp::permission::PairLedger;

use crate::bridge::now;
use crate::driver::ledger;

/// The task that forgets.
pub(super) struct Pruner {
    pub(super) store: Arc<Store>,
    pub(super) metrics: Arc<Metrics>,
    /// For how long records are kept; none is for ever.
    pub(super) records: Option<Duration>,
}

impl Pruner {
    /// Never ends by itself.
    pub(super) async fn run(self) {
        let mut tidying = tokio::time::interval(TIDYING);
        let mut place = None;
        loop {
            tidying.tick().await;
            if let Err(fault) = self.prune(now().wall, &mut place).await {
                self.metrics.store_failed();
                tracing::error!(%fault, "the database cannot be tidied up; this is tried again later");
            }
        }
    }

    /// Forgets what is old at `now`. Of facts, a part of the pairs is looked at, from `place` on, which moves.
    async fn prune(&self, now: Wall, place: &mut Option<OldPair>) -> Result<(), StoreFault> {
        self.store.date_names(now).await?;
        for what in Old::ALL {
            let Some(age) = self.age(what) else { continue };
            let mut gone = 0;
            let before = before(now, age);
            loop {
                let some = self.store.prune(what, before, AT_ONCE).await?;
                gone += some;
                let mut looked = some;
                if what == Old::Names {
                    // Those that were looked at and are needed are looked at again after as long a time.
                    let needed = AT_ONCE.saturating_sub(usize::try_from(some).unwrap_or(AT_ONCE));
                    looked += self.store.renew_names(before, now, needed).await?;
                }
                if looked < AT_ONCE as u64 {
                    break;
                }
                // The writer and whoever asks are between two of these.
                tokio::task::yield_now().await;
            }
            if gone > 0 {
                tracing::debug!(table = what.word(), rows = gone, "old rows are forgotten");
            }
        }
        while self.store.crowd_out_orders(MOST_ORDERS, AT_ONCE).await? == AT_ONCE as u64 {}
        self.forget_facts(before(now, PairLedger::OUTLIVED), place).await
    }

    const fn age(&self, what: Old) -> Option<Duration> {
        match what {
            Old::Events | Old::Webhooks | Old::Ends => Some(WEBHOOKS),
            Old::Complaints | Old::Requests => Some(COMPLAINTS),
            Old::Tallies | Old::Names => Some(YEAR),
            Old::Orders => Some(ORDERS),
            Old::Records => self.records,
        }
    }

    /// Forgets the facts of pairs that no answer needs.
    async fn forget_facts(&self, before: Wall, place: &mut Option<OldPair>) -> Result<(), StoreFault> {
        for _ in 0..PAIRS / PAIRS_AT_ONCE {
            let pairs = self.store.old_pairs(before, place.as_ref(), PAIRS_AT_ONCE).await?;
            for pair in &pairs {
                let names = CustomerNames { name: &pair.customer, other: &pair.customer };
                let facts = self.store.pair(&pair.number, names, PairLedger::MOST).await?;
                let (ledger, hidden) = ledger(&facts);
                let mut outlived: Vec<String> = ledger.outlived(before).into_iter().map(|id| id.0).collect();
                // They do not count as long as the fact is there that hides them, and must not when it is gone.
                outlived
                    .extend(hidden.into_iter().filter(|(_, fact)| fact.at() < before).map(|(id, _)| id.0));
                if !outlived.is_empty() {
                    self.store.forget_facts(&pair.number, names, &outlived).await?;
                }
            }
            let all = pairs.len() < PAIRS_AT_ONCE;
            *place = pairs.into_iter().next_back().filter(|_| !all);
            if all {
                break;
            }
        }
        Ok(())
    }
}

pub(super) fn before(now: Wall, age: Duration) -> Wall {
    Wall::from_unix_ms(now.unix_ms().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)))
}

/// How often what is old is looked for.
const TIDYING: Duration = Duration::from_secs(3_600);

/// Rows of one transaction.
const AT_ONCE: usize = 1_000;

/// Pairs whose facts are looked at each time: a hundred thousand a day.
const PAIRS: usize = 4_096;

/// Pairs that are read at once.
const PAIRS_AT_ONCE: usize = 256;

const DAY_S: u64 = 24 * 3_600;

/// How long webhooks are kept, and recognised when they are delivered again: Meta gives up after 7 days.
const WEBHOOKS: Duration = Duration::from_secs(30 * DAY_S);

/// How long complaints and the requests of campaigns are kept: twice the days that a number's recovery looks back, and far longer
/// than the windows of campaigns.
const COMPLAINTS: Duration = Duration::from_secs(90 * DAY_S);

/// How long tallies of days are kept, and two names of a customer of whom nothing else is known: a year and a month, so that a
/// year can be compared with the one before.
const YEAR: Duration = Duration::from_secs(396 * DAY_S);

/// How long the keys of orders are kept, as the interface promises.
const ORDERS: Duration = Duration::from_secs(DAY_S);

/// The most orders with keys that are kept.
const MOST_ORDERS: usize = 262_144;

#[cfg(test)]
mod tests {
    use setu_store::{FactRow, Location};
    use setu_whatsapp::permission::{Fact, Outcome, Question, Reply, Rules};

    use super::*;

    const NUMBER: &str = "+911234567890";

    fn day(n: i64) -> Wall {
        Wall::from_unix_ms(1_700_000_000_000 + n * 24 * 3_600 * 1_000)
    }

    fn fact(customer: &str, id: &str, fact: &Fact) -> FactRow {
        FactRow {
            number: NUMBER.to_owned(),
            customer: customer.to_owned(),
            fact: id.to_owned(),
            telling: serde_json::to_string(fact).unwrap(),
            moment: fact.at(),
        }
    }

    #[tokio::test]
    async fn facts_that_no_answer_needs_are_forgotten_and_a_permanent_grant_never_is() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&Location::Sqlite(folder.path().join("setu.db"))).await.unwrap());
        let pruner = Pruner { store: Arc::clone(&store), metrics: Arc::new(Metrics::new()), records: None };
        let grant = Reply::Accept { permanent: true, expires: None, automatic: false, unasked: false };
        let grant = Fact::Replied { at: day(0), reply: grant };
        let called = |n, outcome| Fact::Called { at: day(n), outcome };
        let mut rows = Vec::new();
        for n in 0..600 {
            let customer = format!("wa:{n:06}");
            rows.push(fact(&customer, "reply:1", &grant));
            rows.push(fact(&customer, "asked:1", &Fact::Asked { at: day(1) }));
            // One call, told by the bridge, which did not know WhatsApp's id, and by a webhook.
            rows.push(fact(&customer, "called:call:1", &called(2, Outcome::Missed)));
            rows.push(fact(&customer, "called:wacid.1", &called(2, Outcome::Missed)));
            rows.push(fact(&customer, "called:wacid.2", &called(3, Outcome::Connected)));
            rows.push(fact(&customer, "called:wacid.3", &called(4, Outcome::Connected)));
            let messages = if n == 7 { 3_000 } else { 3 };
            let wrote = |m| fact(&customer, &format!("message:{m}"), &Fact::Wrote { at: day(10) });
            rows.extend((0..messages).map(wrote));
        }
        store.note(&rows).await.unwrap();
        let of = async |customer: &str| {
            let names = CustomerNames { name: customer, other: customer };
            store.pair(NUMBER, names, PairLedger::MOST).await.unwrap()
        };
        let says = |facts: &[(String, String)]| {
            let (ledger, _) = ledger(facts);
            [Question::Call, Question::Request]
                .map(|question| ledger.answer(question, &Rules::META, day(400)))
        };
        let (first, chatty) = (of("wa:000000").await, of("wa:000007").await);
        assert_eq!((first.len(), chatty.len()), (9, PairLedger::MOST));
        let expected = says(&first);
        assert!(expected[0].is_yes() && says(&chatty)[0].is_yes(), "messages wrote a permission away");

        let mut place = None;
        for _ in 0..3 {
            pruner.prune(day(400), &mut place).await.unwrap();
        }
        for n in [0, 7, 255, 256, 599] {
            let left = of(&format!("wa:{n:06}")).await;
            let mut ids: Vec<_> = left.iter().map(|(id, _)| id.as_str()).collect();
            ids.retain(|id| !id.starts_with("message:"));
            assert_eq!(ids, ["called:wacid.3", "called:wacid.1", "reply:1"], "{n}");
            assert_eq!(left.len(), 4, "{n}");
            assert_eq!(says(&left), expected, "{n}");
        }
        store.close().await;
    }
}

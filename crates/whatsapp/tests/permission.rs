//! The permission ledger, rule by rule, and against a model of Meta's own bookkeeping that is written another way.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use setu_model::Wall;
use setu_whatsapp::permission::{
    Considered, Fact, FactId, GrantSource, Outcome, PairLedger, Question, Reply, Rules, Verdict, Why,
};

const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

fn at(seconds: i64) -> Wall {
    Wall::from_unix_ms(1_760_000_000_000 + seconds * 1_000)
}

fn ledger(facts: &[Fact]) -> PairLedger {
    let mut ledger = PairLedger::default();
    for (n, fact) in facts.iter().enumerate() {
        ledger.add(FactId(format!("{n:04}")), fact.clone());
    }
    ledger
}

fn accept(seconds: i64, expires: Option<i64>) -> Fact {
    let reply =
        Reply::Accept { permanent: false, expires: expires.map(at), automatic: false, unasked: false };
    Fact::Replied { at: at(seconds), reply }
}

fn permanent(seconds: i64, unasked: bool) -> Fact {
    let reply = Reply::Accept { permanent: true, expires: None, automatic: false, unasked };
    Fact::Replied { at: at(seconds), reply }
}

fn reject(seconds: i64, automatic: bool) -> Fact {
    Fact::Replied { at: at(seconds), reply: Reply::Reject { automatic } }
}

fn called(seconds: i64, outcome: Outcome) -> Fact {
    Fact::Called { at: at(seconds), outcome }
}

fn call(facts: &[Fact], rules: &Rules, seconds: i64) -> Why {
    ledger(facts).answer(Question::Call, rules, at(seconds)).why
}

fn request(facts: &[Fact], seconds: i64) -> (Why, Option<Wall>) {
    let answer = ledger(facts).answer(Question::Request, &Rules::META, at(seconds));
    (answer.why, answer.next_allowed)
}

#[test]
fn nobody_is_called_without_permission() {
    assert_eq!(call(&[], &Rules::META, 0), Why::NeverGranted);
}

#[test]
fn a_temporary_permission_ends_when_meta_said_although_nobody_announces_it() {
    let facts = [accept(0, Some(7 * DAY))];
    assert_eq!(call(&facts, &Rules::META, DAY), Why::Granted(GrantSource::PermissionRequest));
    assert_eq!(
        call(&facts, &Rules::META, 7 * DAY - 2 * MINUTE),
        Why::Granted(GrantSource::PermissionRequest)
    );
    // Within the skew of the clocks nobody knows whether it still holds.
    assert_eq!(call(&facts, &Rules::META, 7 * DAY - 30), Why::Expired { at: at(7 * DAY) });
}

#[test]
fn a_permission_without_a_date_lasts_an_hour() {
    let facts = [accept(0, None)];
    assert_eq!(call(&facts, &Rules::META, 50 * MINUTE), Why::Granted(GrantSource::PermissionRequest));
    assert_eq!(call(&facts, &Rules::META, HOUR), Why::Expired { at: at(HOUR) });
}

#[test]
fn a_permanent_permission_holds_until_it_is_taken_back() {
    let mut facts = vec![permanent(0, true)];
    assert_eq!(call(&facts, &Rules::META, 400 * DAY), Why::Granted(GrantSource::Profile));
    assert_eq!(request(&facts, 0), (Why::AlreadyPermanent, None));
    facts.push(reject(401 * DAY, false));
    assert_eq!(call(&facts, &Rules::META, 402 * DAY), Why::Rejected { at: at(401 * DAY) });
}

#[test]
fn what_meta_gives_by_itself_never_shortens_what_the_customer_gave() {
    let automatic = |seconds: i64, expires: i64| {
        let reply =
            Reply::Accept { permanent: false, expires: Some(at(expires)), automatic: true, unasked: false };
        Fact::Replied { at: at(seconds), reply }
    };
    let facts = [permanent(0, false), automatic(DAY, 8 * DAY)];
    assert_eq!(call(&facts, &Rules::META, 30 * DAY), Why::Granted(GrantSource::Permanent));
    let facts = [accept(0, Some(2 * DAY)), automatic(DAY, 8 * DAY)];
    assert_eq!(call(&facts, &Rules::META, 5 * DAY), Why::Granted(GrantSource::Callback));
}

#[test]
fn the_tap_and_the_service_window_open_calls_only_with_a_provider() {
    for (fact, source, lasts) in [
        (Fact::Tapped { at: at(0) }, GrantSource::TemplateButton, HOUR),
        (Fact::Wrote { at: at(0) }, GrantSource::ServiceWindow, DAY),
        (Fact::Phoned { at: at(0) }, GrantSource::ServiceWindow, DAY),
    ] {
        let ledger = ledger(std::slice::from_ref(&fact));
        assert_eq!(call(std::slice::from_ref(&fact), &Rules::PROVIDER, lasts / 2), Why::Granted(source));
        assert!(!call(std::slice::from_ref(&fact), &Rules::PROVIDER, lasts).is_yes());
        let toward_meta = ledger.answer(Question::Call, &Rules::META, at(lasts / 2));
        assert_eq!(toward_meta.why, Why::NeverGranted);
        assert!(
            matches!(toward_meta.considered.as_slice(), [Considered::NotHere(grant)] if grant.source == source)
        );
    }
}

#[test]
fn a_request_a_day_and_two_a_week_are_the_limit_and_a_connected_call_lifts_it() {
    let mut facts = vec![Fact::Asked { at: at(0) }];
    assert_eq!(request(&[], 0), (Why::WithinLimits, None));
    let (why, next) = request(&facts, HOUR);
    assert_eq!((why, next), (Why::RequestsADay { most: 1 }, Some(at(DAY + MINUTE))));
    assert_eq!(request(&facts, DAY + 2 * MINUTE).0, Why::WithinLimits);
    facts.push(Fact::Asked { at: at(DAY + 2 * MINUTE) });
    let (why, next) = request(&facts, 3 * DAY);
    assert_eq!((why, next), (Why::RequestsAWeek { most: 2 }, Some(at(7 * DAY + MINUTE))));
    facts.push(called(3 * DAY, Outcome::Connected));
    assert_eq!(request(&facts, 3 * DAY + 1), (Why::WithinLimits, None));
}

#[test]
fn four_unanswered_calls_in_a_row_cost_the_permission_and_an_answered_one_starts_over() {
    let mut facts = vec![permanent(0, false)];
    for n in 1..=3 {
        facts.push(called(n * HOUR, Outcome::Missed));
    }
    assert_eq!(ledger(&facts).misses(&Rules::META), 3);
    let mut lucky = facts.clone();
    lucky.push(called(4 * HOUR, Outcome::Connected));
    lucky.push(called(5 * HOUR, Outcome::Missed));
    assert!(call(&lucky, &Rules::META, 6 * HOUR).is_yes());
    facts.push(called(4 * HOUR, Outcome::Missed));
    assert_eq!(call(&facts, &Rules::META, 5 * HOUR), Why::MissedTooOften { at: at(4 * HOUR) });
    assert!(call(&facts, &Rules::SANDBOX, 5 * HOUR).is_yes(), "ten with a sandbox number");
    facts.push(permanent(6 * HOUR, false));
    assert!(call(&facts, &Rules::META, 7 * HOUR).is_yes(), "a new permission starts over");
}

#[test]
fn calls_that_never_rang_count_for_nothing() {
    let mut facts = vec![permanent(0, false)];
    facts.extend((1..=9).map(|n| called(n * HOUR, Outcome::Failed)));
    assert!(call(&facts, &Rules::META, DAY).is_yes());
}

#[test]
fn the_hundred_and_first_connected_call_of_a_day_waits_for_the_first_to_be_a_day_old() {
    let mut facts = vec![permanent(0, false)];
    facts.extend((1..=100).map(|n| called(n * 10 * MINUTE, Outcome::Connected)));
    let answer = ledger(&facts).answer(Question::Call, &Rules::META, at(1_001 * MINUTE));
    assert_eq!(answer.why, Why::ConnectedLimit { most: 100 });
    assert_eq!(answer.next_allowed, Some(at(DAY + 11 * MINUTE)));
    assert!(call(&facts, &Rules::META, DAY + 11 * MINUTE).is_yes());
}

#[test]
fn what_meta_reports_when_asked_overrules_the_replies_before() {
    let observed = |seconds, verdict| Fact::Observed {
        at: at(seconds),
        verdict,
        no_request_before: Some(at(3 * DAY)),
        no_call_before: None,
    };
    let facts = [permanent(0, false), observed(DAY, Verdict::None)];
    assert!(!call(&facts, &Rules::META, 2 * DAY).is_yes());
    assert_eq!(request(&facts, 2 * DAY), (Why::MetaSaysLater, Some(at(3 * DAY))));
    let facts = [observed(DAY, Verdict::Temporary { until: at(5 * DAY) })];
    assert_eq!(call(&facts, &Rules::META, 2 * DAY), Why::Granted(GrantSource::Reported));
}

#[test]
fn an_outcome_told_by_two_sources_is_the_better_informed_one() {
    let mut ledger = PairLedger::default();
    ledger.add(FactId("reply".into()), permanent(0, false));
    for n in 0..4 {
        ledger.add(FactId(format!("call{n}")), called(n * HOUR, Outcome::Missed));
    }
    // The terminate webhook knows that the last one was answered.
    assert!(ledger.add(FactId("call3".into()), called(3 * HOUR + 2, Outcome::Connected)));
    assert!(!ledger.add(FactId("call3".into()), called(3 * HOUR + 5, Outcome::Missed)));
    assert!(ledger.answer(Question::Call, &Rules::META, at(5 * HOUR)).is_yes());
}

#[test]
fn a_customer_who_writes_all_day_does_not_grow_the_ledger_for_ever() {
    let mut ledger = PairLedger::default();
    for n in 0..10_000 {
        ledger.add(FactId(n.to_string()), Fact::Wrote { at: at(n) });
    }
    assert!(ledger.len() <= PairLedger::MOST);
    assert!(ledger.answer(Question::Call, &Rules::PROVIDER, at(10_001)).is_yes());
}

/// Meta's bookkeeping of one pair, as its pages describe it: it lives through the events in the order they happen and
/// decides at once. It shares nothing with the ledger but the words for events.
#[derive(Default)]
struct Meta {
    permission: Option<Held>,
    requests: VecDeque<i64>,
    connected: VecDeque<i64>,
    missed: u32,
}

enum Held {
    ForEver,
    Until(i64),
}

impl Meta {
    fn live(&mut self, event: &Event) {
        match *event {
            Event::Request(now) => self.requests.push_back(now),
            Event::Accept(now, Some(days)) => self.permission = Some(Held::Until(now + days * DAY)),
            Event::Accept(_, None) => self.permission = Some(Held::ForEver),
            Event::Reject(_) => self.permission = None,
            Event::Connected(now) => {
                self.connected.push_back(now);
                self.requests.clear();
                self.missed = 0;
            }
            Event::Missed(_) => {
                self.missed += 1;
                if self.missed == 4 {
                    self.permission = None;
                    self.missed = 0;
                }
            }
        }
    }

    fn may_call(&mut self, now: i64) -> bool {
        while self.connected.front().is_some_and(|at| *at <= now - DAY) {
            self.connected.pop_front();
        }
        let held = match self.permission {
            None => false,
            Some(Held::ForEver) => true,
            Some(Held::Until(end)) => now < end,
        };
        held && self.connected.len() < 100
    }

    fn may_request(&mut self, now: i64) -> bool {
        while self.requests.front().is_some_and(|at| *at <= now - 7 * DAY) {
            self.requests.pop_front();
        }
        let today = self.requests.iter().filter(|at| **at > now - DAY).count();
        !matches!(self.permission, Some(Held::ForEver)) && today < 1 && self.requests.len() < 2
    }
}

#[derive(Debug, Clone)]
enum Event {
    Request(i64),
    Accept(i64, Option<i64>),
    Reject(i64),
    Connected(i64),
    Missed(i64),
}

impl Event {
    fn at(&self) -> i64 {
        match *self {
            Self::Request(at)
            | Self::Accept(at, _)
            | Self::Reject(at)
            | Self::Connected(at)
            | Self::Missed(at) => at,
        }
    }

    /// As the bridge learns it, by a clock that is `skew` seconds off for what the bridge dates itself.
    fn fact(&self, skew: i64) -> Fact {
        match *self {
            Self::Request(now) => Fact::Asked { at: at(now + skew) },
            Self::Accept(now, days) => match days {
                Some(days) => accept(now, Some(now + days * DAY)),
                None => permanent(now, false),
            },
            Self::Reject(now) => reject(now, false),
            Self::Connected(now) => called(now + skew, Outcome::Connected),
            Self::Missed(now) => called(now + skew, Outcome::Missed),
        }
    }
}

/// Events at least two minutes apart, so that a skew of up to one does not change their order: which of two moments
/// came first is not knowable otherwise.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = (0..6_u8, 1..8_i64, prop_oneof![3 => 2 * MINUTE..2 * HOUR, 1 => HOUR..3 * DAY]);
    prop::collection::vec(event, 0..60).prop_map(|steps| {
        let mut now = 0;
        let event = |(kind, days, gap)| {
            now += gap;
            match kind {
                0 => Event::Request(now),
                1 => Event::Accept(now, Some(days)),
                2 => Event::Accept(now, None),
                3 => Event::Reject(now),
                4 => Event::Connected(now),
                _ => Event::Missed(now),
            }
        };
        steps.into_iter().map(event).collect()
    })
}

/// A customer who writes all day does not write a permission away.
#[test]
fn a_permanent_permission_outlasts_any_number_of_messages() {
    let mut ledger = ledger(&[permanent(0, false)]);
    for n in 1..10_000 {
        ledger.add(FactId(format!("message:{n}")), Fact::Wrote { at: at(n) });
    }
    assert!(ledger.len() <= PairLedger::MOST);
    assert!(ledger.answer(Question::Call, &Rules::META, at(10_001)).is_yes());
}

#[test]
fn of_what_is_long_over_only_what_a_pair_stands_on_is_needed() {
    let facts = [
        Fact::Wrote { at: at(0) },
        Fact::Asked { at: at(1) },
        permanent(2, false),
        called(3, Outcome::Missed),
        called(4, Outcome::Connected),
        Fact::Wrote { at: at(5) },
        called(6, Outcome::Connected),
        Fact::Asked { at: at(7) },
        Fact::Wrote { at: at(40 * DAY) },
    ];
    let needed = |facts: &[Fact]| {
        let outlived = ledger(facts).outlived(at(30 * DAY));
        let is = |n: usize| !outlived.contains(&FactId(format!("{n:04}")));
        (0..facts.len()).filter(|n| is(*n)).collect::<Vec<_>>()
    };
    // The missed call came after the grant: four in a row would have taken it.
    assert_eq!(needed(&facts), [2, 3, 5, 6, 8]);
    let years = (0..2_000).map(|n| if n % 2 == 0 { accept(n * HOUR, None) } else { reject(n * HOUR, false) });
    assert_eq!(needed(&years.collect::<Vec<_>>()).len(), 2_000 - 30 * 24 + 2);
}

/// Anything that can be known of a pair, over a year.
fn any_facts() -> impl Strategy<Value = Vec<Fact>> {
    let fact =
        (0..14_u8, 1..40_i64, prop_oneof![3 => MINUTE..2 * HOUR, 2 => HOUR..3 * DAY, 1 => DAY..40 * DAY]);
    prop::collection::vec(fact, 0..80).prop_map(|steps| {
        let mut now = 0;
        let fact = |(kind, days, gap)| {
            now += gap;
            let reply = |reply| Fact::Replied { at: at(now), reply };
            let later = at(now + days * DAY);
            match kind {
                0 => Fact::Asked { at: at(now) },
                1 => accept(now, Some(now + days * DAY)),
                2 => permanent(now, days % 2 == 0),
                3 => reject(now, days % 3 == 0),
                4 => called(now, Outcome::Connected),
                5 | 6 => called(now, Outcome::Missed),
                7 => called(now, Outcome::Failed),
                8 => Fact::HungUpEarly { at: at(now) },
                9 => Fact::Wrote { at: at(now) },
                10 => Fact::Phoned { at: at(now) },
                11 => Fact::Tapped { at: at(now) },
                12 => {
                    let (automatic, expires) = (true, Some(later));
                    reply(Reply::Accept { permanent: days % 7 == 0, expires, automatic, unasked: false })
                }
                _ => {
                    let verdict = match days % 3 {
                        0 => Verdict::None,
                        1 => Verdict::Temporary { until: later },
                        _ => Verdict::Permanent,
                    };
                    let (no_request_before, no_call_before) = (Some(later), (days % 2 == 0).then_some(later));
                    Fact::Observed { at: at(now), verdict, no_request_before, no_call_before }
                }
            }
        };
        steps.into_iter().map(fact).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever the ledger allows, Meta allows; and where no clock is in doubt, the ledger allows what Meta does.
    #[test]
    fn the_ledger_agrees_with_metas_own_bookkeeping(events in events(), later in 0..10 * DAY, skew in -59..59_i64) {
        let now = events.last().map_or(0, Event::at) + MINUTE + later;
        let facts: Vec<Fact> = events.iter().map(|event| event.fact(skew)).collect();
        let ours = ledger(&facts);
        let mut meta = Meta::default();
        events.iter().for_each(|event| meta.live(event));
        let asked = at(now + skew);

        let call = ours.answer(Question::Call, &Rules::META, asked).is_yes();
        let request = ours.answer(Question::Request, &Rules::META, asked).is_yes();
        prop_assert!(!call || meta.may_call(now), "the ledger allows a call that Meta refuses");
        prop_assert!(!request || meta.may_request(now), "the ledger allows a request that Meta refuses");

        let exact = Rules { skew: Duration::ZERO, ..Rules::META };
        let facts: Vec<Fact> = events.iter().map(|event| event.fact(0)).collect();
        let ours = ledger(&facts);
        prop_assert_eq!(ours.answer(Question::Call, &exact, at(now)).is_yes(), meta.may_call(now));
        prop_assert_eq!(ours.answer(Question::Request, &exact, at(now)).is_yes(), meta.may_request(now));
    }

    /// What is forgotten at one moment, and again at later ones, changes no answer that is given then or afterwards, also not
    /// after more has happened.
    #[test]
    fn forgetting_what_is_outlived_changes_no_answer(
        facts in any_facts(),
        moments in prop::collection::vec(0..400_i64, 1..4),
        later in 0..40 * DAY,
    ) {
        let end = facts.last().map_or(0, |fact| (fact.at().unix_ms() - at(0).unix_ms()) / 1_000);
        let mut moments: Vec<i64> = moments.into_iter().map(|days| days * DAY).chain([end + later]).collect();
        moments.sort_unstable();
        let (mut whole, mut less) = (PairLedger::default(), PairLedger::default());
        let mut coming = facts.iter().enumerate().peekable();
        for now in moments {
            while let Some((n, fact)) = coming.next_if(|(_, fact)| fact.at() <= at(now)) {
                whole.add(FactId(format!("{n:04}")), fact.clone());
                less.add(FactId(format!("{n:04}")), fact.clone());
            }
            let before = at(now - i64::try_from(PairLedger::OUTLIVED.as_secs()).unwrap());
            less.forget(&less.outlived(before));
            for rules in [Rules::META, Rules::SANDBOX, Rules::PROVIDER] {
                for question in [Question::Call, Question::Request] {
                    let asked = |ledger: &PairLedger| ledger.answer(question, &rules, at(now));
                    prop_assert_eq!(asked(&whole), asked(&less));
                }
                prop_assert_eq!(whole.misses(&rules), less.misses(&rules));
                prop_assert_eq!(whole.hung_up_early(&rules), less.hung_up_early(&rules));
                prop_assert_eq!(whole.contact(&rules), less.contact(&rules));
            }
        }
        prop_assert!(less.len() <= whole.len());
    }

    /// Webhooks that come twice, late, in any order, before and after a restart, or under two names of one customer.
    #[test]
    fn the_order_and_number_of_deliveries_change_nothing(
        events in events(),
        deliveries in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..120),
        later in 0..10 * DAY,
    ) {
        let now = at(events.last().map_or(0, Event::at) + later);
        let id = |n: usize| FactId(format!("{n:04}"));
        let in_order = ledger(&events.iter().map(|event| event.fact(0)).collect::<Vec<_>>());
        let mut names = [PairLedger::default(), PairLedger::default()];
        let mut deliver = |n: usize, second: bool| {
            if let Some(event) = events.get(n) {
                names[usize::from(second)].add(id(n), event.fact(0));
            }
        };
        for (index, second) in deliveries.iter().filter(|_| !events.is_empty()) {
            deliver(index.index(events.len()), *second);
        }
        (0..events.len()).rev().for_each(|n| deliver(n, n % 2 == 0));
        let [mut one, other] = names;
        one.merge(other);
        for question in [Question::Call, Question::Request] {
            prop_assert_eq!(
                one.answer(question, &Rules::META, now),
                in_order.answer(question, &Rules::META, now)
            );
        }
    }

    /// A refusal that names a moment keeps its word.
    #[test]
    fn what_is_refused_until_a_moment_is_allowed_at_that_moment(events in events(), later in 0..DAY) {
        let now = at(events.last().map_or(0, Event::at) + later);
        let ours = ledger(&events.iter().map(|event| event.fact(0)).collect::<Vec<_>>());
        for question in [Question::Call, Question::Request] {
            let answer = ours.answer(question, &Rules::META, now);
            prop_assert!(!answer.is_yes() || answer.next_allowed.is_none());
            if let Some(next) = answer.next_allowed {
                prop_assert!(next > now);
                prop_assert!(ours.answer(question, &Rules::META, next).is_yes());
                let just_before = Wall::from_unix_ms(next.unix_ms() - 1);
                prop_assert!(!ours.answer(question, &Rules::META, just_before).is_yes());
            }
        }
    }
}

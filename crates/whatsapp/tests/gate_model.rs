//! The gate against an independent model of the same rules: whatever is known, in whatever order it came, however often it
//! was told, and with what was lost on the way.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use setu_model::Wall;
use setu_whatsapp::campaign::{CampaignPolicy, Campaigns, Contact};
use setu_whatsapp::gate::{Circumstances, Decision, GatePolicy, decide};
use setu_whatsapp::hours::{CallingHours, Zones};
use setu_whatsapp::permission::{Fact, FactId, Outcome, PairLedger, Question, Reply, Rules};
use setu_whatsapp::quality::{DayTally, Light, QualityPolicy};

/// Monday 2026-03-02, midnight in India, in seconds.
const MIDNIGHT: i64 = 1_772_389_800;
const DAY: i64 = 86_400;

fn at(seconds: i64) -> Wall {
    Wall::from_unix_ms((MIDNIGHT + seconds) * 1_000)
}

/// What happened between the two, at least two minutes apart.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Event {
    Asked,
    Granted(Option<i64>),
    Declined,
    Talked,
    HungUpAtOnce,
    Missed,
    Wrote,
}

/// The questioner's circumstances.
#[derive(Debug, Clone)]
struct Scene {
    events: Vec<(i64, Event)>,
    now: i64,
    by_hand: bool,
    agent: bool,
    talking: bool,
    country: Option<&'static str>,
    number_country: &'static str,
    use_case: Option<&'static str>,
    attempts: u32,
    answered_percent: u32,
    restricted: bool,
    /// Requests of the number before, seconds ago: whether they were cold, and whether they were part of the campaign.
    requests: Vec<(i64, bool, bool)>,
    /// Whether this one is part of the campaign, and of the number's.
    counts: (bool, bool),
}

/// What a careful person would write on a slip of paper, living through the events as they happen.
#[derive(Default)]
struct Slip {
    until: Option<i64>,
    for_ever: bool,
    asked: Vec<i64>,
    talked: Vec<i64>,
    missed: u32,
    hung_up: bool,
    known: bool,
}

/// What the clocks may differ, which is always taken for the worse.
const DOUBT: i64 = 60;

impl Slip {
    fn of(events: &[(i64, Event)]) -> Self {
        let mut slip = Self::default();
        for (when, event) in events {
            match event {
                Event::Asked => slip.asked.push(*when),
                Event::Granted(days) => {
                    (slip.for_ever, slip.until) = (days.is_none(), days.map(|days| when + days * DAY));
                    (slip.known, slip.hung_up) = (true, false);
                }
                Event::Declined => (slip.for_ever, slip.until) = (false, None),
                Event::Talked | Event::HungUpAtOnce => {
                    slip.talked.push(*when);
                    slip.asked.clear();
                    slip.missed = 0;
                    if *event == Event::HungUpAtOnce {
                        slip.hung_up = true;
                    }
                }
                Event::Missed => {
                    slip.missed += 1;
                    if slip.missed == 4 {
                        (slip.missed, slip.for_ever, slip.until) = (0, false, None);
                    }
                }
                Event::Wrote => (slip.known, slip.hung_up) = (true, false),
            }
        }
        slip
    }

    fn permits(&self, now: i64) -> bool {
        self.for_ever || self.until.is_some_and(|end| now + DOUBT < end)
    }

    fn within(moments: &[i64], now: i64, span: i64) -> usize {
        moments.iter().filter(|when| now < **when + span + DOUBT).count()
    }
}

/// The codes that the rules of the manual forbid a call or request by.
fn expected(scene: &Scene, request: bool) -> BTreeSet<u16> {
    let slip = Slip::of(&scene.events);
    let now = scene.now;
    let mut codes = BTreeSet::new();
    let mut forbid = |code, when: bool| {
        if when {
            codes.insert(code);
        }
    };
    let hour = now.rem_euclid(DAY) / 3_600;
    forbid(4_001, !(9..21).contains(&hour));
    forbid(4_003, !scene.agent);
    forbid(4_004, scene.restricted);
    forbid(4_008, scene.country == Some("PK"));
    forbid(4_009, scene.use_case == Some("survey"));
    if request {
        forbid(4_015, slip.for_ever);
        let asked = Slip::within(&slip.asked, now, DAY) >= 1 || Slip::within(&slip.asked, now, 7 * DAY) >= 2;
        forbid(4_011, asked && !slip.for_ever);
        let (campaign, number) = scene.counts;
        let of_campaign: Vec<_> = scene.requests.iter().filter(|(.., campaign)| *campaign).collect();
        let of_number: Vec<_> = scene.requests.iter().collect();
        for before in [(campaign, of_campaign), (number, of_number)].iter().filter(|it| it.0).map(|it| &it.1)
        {
            let last_minute = before.iter().filter(|(ago, ..)| *ago < 60).count();
            let cold = before.iter().rev().take(49).filter(|(_, cold, _)| *cold).count();
            if last_minute >= 60 {
                forbid(4_013, true);
            } else {
                forbid(4_014, !slip.known && cold + 1 > 15);
            }
        }
    } else {
        let permits = slip.permits(now);
        forbid(4_005, !permits);
        forbid(4_010, permits && Slip::within(&slip.talked, now, DAY) >= 100);
        forbid(4_007, scene.talking);
        forbid(4_008, scene.number_country == "US");
        forbid(4_012, !scene.by_hand && (slip.hung_up || slip.missed >= 3));
        let cap = match scene.answered_percent {
            _ if scene.restricted => 1_000,
            0..50 => 1_000,
            50..60 => 5_000,
            _ => 10_000,
        };
        forbid(4_006, scene.attempts >= cap);
    }
    codes
}

fn fact(when: i64, event: Event) -> Vec<(&'static str, Fact)> {
    let moment = at(when);
    let called = |outcome| Fact::Called { at: moment, outcome };
    match event {
        Event::Asked => vec![("asked", Fact::Asked { at: moment })],
        Event::Granted(days) => {
            let expires = days.map(|days| at(when + days * DAY));
            let reply =
                Reply::Accept { permanent: days.is_none(), expires, automatic: false, unasked: false };
            vec![("reply", Fact::Replied { at: moment, reply })]
        }
        Event::Declined => {
            vec![("reply", Fact::Replied { at: moment, reply: Reply::Reject { automatic: false } })]
        }
        Event::Talked => vec![("called", called(Outcome::Connected))],
        Event::HungUpAtOnce => {
            vec![("called", called(Outcome::Connected)), ("early", Fact::HungUpEarly { at: moment })]
        }
        Event::Missed => vec![("called", called(Outcome::Missed))],
        Event::Wrote => vec![("wrote", Fact::Wrote { at: moment })],
    }
}

/// What the bridge holds after `deliveries`: every telling at least once unless `lost` takes it away.
fn ledger(scene: &Scene, order: &[prop::sample::Index], lost: impl Fn(Event) -> bool) -> PairLedger {
    let mut tellings: Vec<(FactId, Fact)> = Vec::new();
    for (n, (when, event)) in scene.events.iter().enumerate() {
        if !lost(*event) {
            let told = fact(*when, *event);
            tellings.extend(told.into_iter().map(|(what, fact)| (FactId(format!("{what}:{n:04}")), fact)));
        }
    }
    let mut ledger = PairLedger::default();
    if !tellings.is_empty() {
        for index in order {
            let (id, fact) = tellings[index.index(tellings.len())].clone();
            ledger.add(id, fact);
        }
    }
    for (id, fact) in tellings.into_iter().rev() {
        ledger.add(id, fact);
    }
    ledger
}

fn policy(scene: &Scene) -> GatePolicy {
    let zones = Zones { prefixes: Vec::new(), default: TimeZone::get("Asia/Kolkata").unwrap() };
    GatePolicy {
        rules: Rules::META,
        hours: CallingHours::daily(zones),
        number_country: Some(scene.number_country.to_owned()),
        blocked_countries: vec!["PK".to_owned()],
        use_cases: Some(vec!["kyc".to_owned()]),
        names_use_case: false,
        campaign: CampaignPolicy::default(),
        hears_revocations: true,
        cautious_misses: 3,
    }
}

fn answer(scene: &Scene, ledger: &PairLedger, question: Question) -> BTreeSet<u16> {
    let policy = policy(scene);
    let now = at(scene.now);
    let meta = if scene.restricted { Light::Red } else { Light::Green };
    let tally =
        DayTally { attempts: 1_000, answered: scene.answered_percent * 10, short: 0, blamed: Some(0), meta };
    let until = scene.restricted.then(|| at(scene.now + DAY));
    let quality = QualityPolicy::default().judge(setu_whatsapp::quality::day(now), |_| tally, until);
    let mut campaigns = Campaigns::default();
    for (ago, cold, campaign) in &scene.requests {
        let contact = if *cold { Contact::Cold } else { Contact::Warm };
        for tally in campaign.then_some("spring").into_iter().chain(["+911"]) {
            campaigns.asked(tally, contact, &policy.campaign, at(scene.now - ago));
        }
    }
    let circumstances = Circumstances {
        ledger,
        customer: Some("+919876543210"),
        country: scene.country,
        by_hand: scene.by_hand,
        use_case: scene.use_case,
        campaign: scene.counts.0.then_some("spring"),
        number: scene.counts.1.then_some("+911"),
        campaigns: &campaigns,
        agent_reserved: scene.agent,
        talking: scene.talking,
        attempts_today: scene.attempts,
        quality: &quality,
        now,
    };
    match decide(question, &policy, &circumstances) {
        Decision::Allowed { .. } => BTreeSet::new(),
        Decision::Refused(refusals) => {
            assert!(refusals.iter().all(|it| it.next_allowed.is_none_or(|next| next > now)));
            refusals.iter().map(|refusal| refusal.code.number()).collect()
        }
    }
}

fn events() -> impl Strategy<Value = (Vec<(i64, Event)>, i64)> {
    let event = prop_oneof![
        2 => Just(Event::Asked),
        3 => (1..8_i64).prop_map(|days| Event::Granted(Some(days))),
        1 => Just(Event::Granted(None)),
        1 => Just(Event::Declined),
        2 => Just(Event::Talked),
        1 => Just(Event::HungUpAtOnce),
        3 => Just(Event::Missed),
        1 => Just(Event::Wrote),
    ];
    let gap = prop_oneof![3 => 120..7_200_i64, 1 => 3_600..3 * DAY];
    (prop::collection::vec((event, gap), 0..40), 120..10 * DAY).prop_map(|(steps, later)| {
        let mut now = 0;
        let events = steps.into_iter().map(|(event, gap)| {
            now += gap;
            (now, event)
        });
        let events: Vec<_> = events.collect();
        (events, now + later)
    })
}

fn scenes() -> impl Strategy<Value = Scene> {
    let step = (0..20_i64, prop::bool::weighted(0.3), prop::bool::weighted(0.7));
    let before = prop::collection::vec(step, 0..130).prop_map(|steps| {
        // From the oldest to the newest, each a few seconds after the one before.
        let mut ago: i64 = steps.iter().map(|(gap, ..)| gap / 8).sum();
        let requests = steps.into_iter().map(|(gap, cold, campaign)| {
            ago -= gap / 8;
            (ago, cold, campaign)
        });
        requests.collect::<Vec<_>>()
    });
    (
        events(),
        any::<(bool, bool, bool, bool)>(),
        prop::sample::select(vec![None, Some("IN"), Some("PK")]),
        prop::sample::select(vec!["IN", "US"]),
        prop::sample::select(vec![None, Some("kyc"), Some("survey")]),
        prop::sample::select(vec![0, 999, 1_000, 4_999, 5_000, 9_999, 10_000]),
        0..=100_u32,
        (before, any::<(bool, bool)>()),
    )
        .prop_map(
            |(
                (events, now),
                flags,
                country,
                number_country,
                use_case,
                attempts,
                answered_percent,
                (requests, counts),
            )| {
                let (by_hand, agent, talking, restricted) = flags;
                Scene {
                    events,
                    now,
                    by_hand,
                    agent,
                    talking,
                    country,
                    number_country,
                    use_case,
                    attempts,
                    answered_percent,
                    restricted,
                    requests,
                    counts,
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The same rules in other words give the same codes, in whatever order and however often the facts came.
    #[test]
    fn the_gate_says_what_the_model_says(
        scene in scenes(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
    ) {
        let ledger = ledger(&scene, &order, |_| false);
        prop_assert_eq!(answer(&scene, &ledger, Question::Call), expected(&scene, false));
        prop_assert_eq!(answer(&scene, &ledger, Question::Request), expected(&scene, true));
    }

    /// What customers do for us may be lost: the gate is then more careful, never less. An answered call that is lost
    /// can make three missed ones look like the four that take a permission back and start the count anew, so those
    /// are lost only where four were not missed at all.
    #[test]
    fn losing_what_speaks_for_a_call_never_opens_the_gate(
        scene in scenes(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
    ) {
        let missed = scene.events.iter().filter(|(_, event)| *event == Event::Missed).count();
        let lost = |event| event == Event::Wrote || (event == Event::Talked && missed < 4);
        let ledger = ledger(&scene, &order, lost);
        if answer(&scene, &ledger, Question::Call).is_empty() {
            prop_assert_eq!(expected(&scene, false), BTreeSet::new());
        }
    }
}

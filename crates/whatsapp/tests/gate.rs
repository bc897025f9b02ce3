//! The gate, rule by rule, and each of the five ways to crash a number's permission.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::time::Duration;

use jiff::tz::TimeZone;
use setu_model::Wall;
use setu_whatsapp::campaign::{CampaignPolicy, Campaigns};
use setu_whatsapp::gate::{Circumstances, Decision, GateCode, GatePolicy, decide};
use setu_whatsapp::hours::{CallingHours, Zones};
use setu_whatsapp::permission::{Fact, FactId, Outcome, PairLedger, Question, Reply, Rules};
use setu_whatsapp::quality::{DayTally, Quality, QualityPolicy};

/// Monday 2026-03-02, 12:00 in India.
const NOON: i64 = 1_772_433_000;

fn at(seconds: i64) -> Wall {
    Wall::from_unix_ms((NOON + seconds) * 1_000)
}

fn policy() -> GatePolicy {
    let zones = Zones { prefixes: Vec::new(), default: TimeZone::get("Asia/Kolkata").unwrap() };
    GatePolicy {
        rules: Rules::META,
        hours: CallingHours::daily(zones),
        number_country: Some("IN".into()),
        blocked_countries: Vec::new(),
        use_cases: None,
        names_use_case: false,
        campaign: CampaignPolicy::default(),
        hears_revocations: true,
        cautious_misses: 3,
    }
}

fn quality(tally: DayTally) -> Quality {
    QualityPolicy::default().judge("2026-03-02".parse().unwrap(), |_| tally, None)
}

/// A good call: everything speaks for it.
struct Scene {
    policy: GatePolicy,
    ledger: PairLedger,
    quality: Quality,
    campaigns: Campaigns,
}

impl Scene {
    fn new() -> Self {
        let mut scene = Self {
            policy: policy(),
            ledger: PairLedger::default(),
            quality: quality(DayTally {
                attempts: 100,
                answered: 90,
                short: 0,
                blamed: Some(0),
                ..DayTally::default()
            }),
            campaigns: Campaigns::default(),
        };
        let reply = Reply::Accept { permanent: true, expires: None, automatic: false, unasked: false };
        scene.fact("reply", Fact::Replied { at: at(-86_400), reply });
        scene
    }

    fn fact(&mut self, id: &str, fact: Fact) {
        self.ledger.add(FactId(id.to_owned()), fact);
    }

    fn ask(&self, change: impl FnOnce(&mut Circumstances<'_>)) -> Decision {
        self.question(Question::Call, change)
    }

    fn question(&self, question: Question, change: impl FnOnce(&mut Circumstances<'_>)) -> Decision {
        let mut circumstances = Circumstances {
            ledger: &self.ledger,
            customer: Some("+919876543210"),
            country: Some("IN"),
            by_hand: false,
            use_case: Some("kyc"),
            campaign: None,
            number: None,
            campaigns: &self.campaigns,
            agent_reserved: true,
            talking: false,
            attempts_today: 10,
            quality: &self.quality,
            now: at(0),
        };
        change(&mut circumstances);
        decide(question, &self.policy, &circumstances)
    }
}

fn codes(decision: &Decision) -> Vec<u16> {
    match decision {
        Decision::Allowed { .. } => Vec::new(),
        Decision::Refused(refusals) => {
            assert!(refusals.iter().all(|refusal| !refusal.reason.is_empty() && !refusal.remedy.is_empty()));
            refusals.iter().map(|refusal| refusal.code.number()).collect()
        }
    }
}

#[test]
fn a_call_that_everything_speaks_for_is_allowed_and_names_its_grant() {
    let Decision::Allowed { grant } = Scene::new().ask(|_| {}) else { panic!() };
    assert!(grant.is_some_and(|grant| grant.until.is_none()));
}

#[test]
fn without_permission_a_call_is_refused_with_4005_which_is_metas_138006() {
    let scene = Scene { ledger: PairLedger::default(), ..Scene::new() };
    let Decision::Refused(refusals) = scene.ask(|_| {}) else { panic!() };
    assert_eq!((refusals[0].code.number(), refusals[0].code.title()), (4005, "Permission Required"));
    assert_eq!(GateCode::of_meta(138_006), Some(GateCode::PermissionRequired));
}

#[test]
fn every_rule_that_speaks_against_it_is_named_at_once() {
    let scene = Scene { ledger: PairLedger::default(), ..Scene::new() };
    let decision = scene.ask(|it| {
        it.agent_reserved = false;
        it.talking = true;
        it.now = at(12 * 3_600);
    });
    assert_eq!(codes(&decision), [4005, 4007, 4001, 4003]);
}

#[test]
fn calls_outside_hours_wait_for_the_morning() {
    let Decision::Refused(refusals) = Scene::new().ask(|it| it.now = at(10 * 3_600)) else { panic!() };
    assert_eq!(refusals[0].code, GateCode::OutsideHours);
    assert_eq!(refusals[0].next_allowed, Some(at(21 * 3_600)));
}

#[test]
fn a_customer_who_hung_up_at_once_is_called_again_only_by_hand_or_after_speaking_up() {
    let mut scene = Scene::new();
    scene.fact("call", Fact::Called { at: at(-60), outcome: Outcome::Connected });
    scene.fact("early", Fact::HungUpEarly { at: at(-55) });
    assert_eq!(codes(&scene.ask(|_| {})), [4012]);
    assert_eq!(codes(&scene.ask(|it| it.by_hand = true)), [0_u16; 0]);
    scene.fact("wrote", Fact::Wrote { at: at(-10) });
    assert_eq!(codes(&scene.ask(|_| {})), [0_u16; 0]);
}

#[test]
fn the_call_that_could_cost_the_permission_is_made_only_by_hand() {
    let mut scene = Scene::new();
    for n in 1..=3 {
        scene.fact(&n.to_string(), Fact::Called { at: at(-n * 3_600), outcome: Outcome::Missed });
    }
    assert_eq!(codes(&scene.ask(|_| {})), [4012]);
    assert_eq!(codes(&scene.ask(|it| it.by_hand = true)), [0_u16; 0]);
}

#[test]
fn a_request_needs_an_agent_who_is_ready_for_the_call_it_may_bring() {
    let scene = Scene { ledger: PairLedger::default(), ..Scene::new() };
    assert_eq!(codes(&scene.question(Question::Request, |_| {})), [0_u16; 0]);
    assert_eq!(codes(&scene.question(Question::Request, |it| it.agent_reserved = false)), [4003]);
    assert_eq!(codes(&Scene::new().question(Question::Request, |_| {})), [4015]);
}

#[test]
fn a_campaign_to_a_cold_list_is_stopped_and_one_among_known_customers_is_not() {
    let (mut cold, mut warm) = (Scene { ledger: PairLedger::default(), ..Scene::new() }, Scene::new());
    warm.ledger = PairLedger::default();
    warm.fact("wrote", Fact::Wrote { at: at(-90_000) });
    for (scene, stopped) in [(&mut cold, true), (&mut warm, false)] {
        let mut refused = None;
        for n in 0..200 {
            let now = at(n * 5);
            let decision =
                scene.question(Question::Request, |it| (it.campaign, it.now) = (Some("spring"), now));
            if let Decision::Refused(refusals) = decision {
                refused = Some((n, refusals[0].code));
                break;
            }
            let contact = scene.ledger.contact(&scene.policy.rules);
            scene.campaigns.asked("spring", contact, &scene.policy.campaign, now);
        }
        assert_eq!(refused.is_some(), stopped, "{refused:?}");
        assert!(refused.is_none_or(|(n, code)| n < 20 && code == GateCode::CampaignCold));
    }
}

#[test]
fn a_campaign_with_an_ever_new_name_meets_the_limits_of_its_number() {
    let mut scene = Scene { ledger: PairLedger::default(), ..Scene::new() };
    // Nothing is known of a campaign with a new name.
    let ask = |scene: &Scene, now| {
        codes(&scene.question(Question::Request, |it| {
            (it.campaign, it.number, it.now) = (Some("new"), Some("+911"), at(now));
        }))
    };
    let counts = |scene: &mut Scene, now| {
        let contact = scene.ledger.contact(&scene.policy.rules);
        scene.campaigns.asked("+911", contact, &scene.policy.campaign, at(now));
    };
    for n in 0..15 {
        assert_eq!(ask(&scene, n * 60), [0_u16; 0]);
        counts(&mut scene, n * 60);
    }
    assert_eq!(ask(&scene, 900), [4014]);
    scene.fact("wrote", Fact::Wrote { at: at(-90_000) });
    assert_eq!(ask(&scene, 900), [0_u16; 0]);
    for _ in 0..60 {
        counts(&mut scene, 900);
    }
    assert_eq!(ask(&scene, 930), [4013]);
    assert_eq!(ask(&scene, 960), [0_u16; 0]);
}

#[test]
fn a_red_number_makes_a_thousand_calls_a_day_and_a_restricted_one_none() {
    let mut scene = Scene::new();
    scene.quality =
        quality(DayTally { attempts: 100, answered: 10, short: 0, blamed: None, ..DayTally::default() });
    assert_eq!(codes(&scene.ask(|it| it.attempts_today = 999)), [0_u16; 0]);
    assert_eq!(codes(&scene.ask(|it| it.attempts_today = 1_000)), [4006]);
    scene.quality = Quality { restricted_until: Some(at(60)), ..Scene::new().quality };
    assert_eq!(codes(&scene.ask(|_| {})), [4004]);
    assert_eq!(codes(&scene.ask(|it| it.now = at(60))), [0_u16; 0]);
}

#[test]
fn a_number_for_certain_use_cases_is_told_which() {
    let mut scene = Scene::new();
    scene.policy.names_use_case = true;
    assert_eq!(codes(&scene.ask(|_| {})), [0; 0]);
    assert_eq!(codes(&scene.ask(|it| it.use_case = None)), [4009]);
}

#[test]
fn countries_and_use_cases_are_kept() {
    let mut scene = Scene::new();
    scene.policy.blocked_countries = vec!["IN".into()];
    scene.policy.use_cases = Some(vec!["complaint".into()]);
    assert_eq!(codes(&scene.ask(|_| {})), [4008, 4009]);
    let mut scene = Scene::new();
    scene.policy.number_country = Some("US".into());
    assert_eq!(codes(&scene.ask(|_| {})), [4008]);
}

#[test]
fn a_skewed_clock_makes_the_gate_careful_not_careless() {
    let mut scene = Scene { ledger: PairLedger::default(), ..Scene::new() };
    let expires = Some(at(30));
    let reply = Reply::Accept { permanent: false, expires, automatic: false, unasked: false };
    scene.fact("reply", Fact::Replied { at: at(-60), reply });
    assert_eq!(codes(&scene.ask(|_| {})), [4005]);
    scene.policy.rules.skew = Duration::ZERO;
    assert_eq!(codes(&scene.ask(|_| {})), [0_u16; 0]);
}

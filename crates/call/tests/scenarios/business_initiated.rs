//! The business calls a WhatsApp user.

use std::time::Duration;

use crate::support::*;
use bytes::Bytes;
use setu_call::{EndHow, Extension, Input, LegEvent, Origin, Stage, Step, Verdict};
use setu_model::{AnsweredBy, CallFacts, CallId, Cause, Direction, EndedBy, LegId, Pii, RuleRefusal};

fn alice_calls(house: &mut House, offer: Option<&str>) -> (CallId, LegId, LegId) {
    let call = house.business_calls(Origin::Account("alice".into()), "00 91 98765 43210", offer);
    house.ports_open(call);
    (call, LegId::originator(call), LegId { call, index: 1 })
}

#[test]
fn an_agent_dials_a_number_and_talks() {
    let mut house = House::new();
    let (call, agent, meta) = alice_calls(&mut house, Some(AGENT_ANSWER));
    let dials = ["open 0 toward agents", "open 1 toward meta", "dial 1 +919876543210 from +15550001111"];
    assert_eq!(house.says(), dials);
    assert!(house.said.get(&meta).unwrap().contains("a=crypto:1 AES_CM_128_HMAC_SHA1_80"));
    house.rings(meta);
    assert_eq!(house.says(), ["ring 0"]);
    house.wait(Duration::from_secs(3));
    let learnt = CallFacts { user_id: Some(Pii::new("IN.1A2b".into())), ..CallFacts::default() };
    let sdp = Some(Bytes::from(META_ANSWER));
    house.leg(LegEvent::Answered { leg: meta, sdp, learnt: Some(Box::new(learnt)) });
    let talks =
        ["configure 1 opus", "configure 0 opus", "start 0", "start 1", "bridge", "answer 0", "record", "tap"];
    assert_eq!(house.says(), talks);
    house.acks(agent);
    house.wait(Duration::from_secs(10));
    house.ends(agent, EndHow::Bye);
    assert_eq!(house.says(), ["hang up 1 success", "close"]);
    house.leg(LegEvent::Ended {
        leg: meta,
        how: EndHow::Local,
        wacid: Some("wacid.B".into()),
        meta_duration_s: None,
        detail: None,
    });
    house.confirm(call, &[]);
    house.says();
    let record = house.the_record();
    assert_eq!(record.termination.by, EndedBy::Agent);
    assert_eq!((record.setup_ms, record.duration_ms, record.meta_duration_s), (Some(3_000), 10_000, None));
    assert_eq!((record.facts.number.as_str(), record.facts.customer.reveal().as_str()), (NUMBER, CUSTOMER));
    assert_eq!(record.facts.wacid.as_deref(), Some("wacid.B"));
    assert!(record.facts.user_id.is_some());
    assert_eq!(record.agent, Some(AnsweredBy::Agent("alice".into())));
    house.ended_with(Cause::Success);
}

#[test]
fn who_dials_a_customer_by_a_request_hears_ringing_before_the_customer_does() {
    let mut house = House::new();
    let (_, _, meta) = alice_calls(&mut house, Some(AGENT_ANSWER));
    house.says();
    house.leg(LegEvent::Asked { leg: meta, wait: None });
    assert_eq!(house.says(), ["ring 0"]);
    let steps = |house: &House| house.progress.iter().map(|it| it.step.clone()).collect::<Vec<_>>();
    assert_eq!(steps(&house), [Step::Offered], "nothing rings there yet");
    house.rings(meta);
    assert_eq!(house.says(), [""; 0]);
    assert_eq!(steps(&house), [Step::Offered, Step::Ringing]);
    house.answers(meta, META_ANSWER);
    assert_eq!(house.says().last().unwrap(), "tap");
}

#[test]
fn a_customer_who_has_to_allow_the_call_is_waited_for_and_then_rings() {
    let mut house = House::new();
    let (call, agent, meta) = alice_calls(&mut house, Some(AGENT_ANSWER));
    house.says();
    house.leg(LegEvent::Asked { leg: meta, wait: Some(Duration::from_secs(120)) });
    assert_eq!(house.says(), ["ring 0"]);
    assert_eq!(house.board.live(call).unwrap().stage, Stage::Awaiting);
    // Longer than any customer rings.
    house.wait(Duration::from_secs(119));
    let learnt = CallFacts {
        wacid: Some("wacid.C".into()),
        permission_source: Some("permission_request".into()),
        ..CallFacts::default()
    };
    house.leg(LegEvent::Allowed { leg: meta, learnt: Box::new(learnt) });
    house.wait(Duration::from_secs(89));
    assert_eq!(house.board.live(call).unwrap().stage, Stage::Ringing);
    house.answers(meta, META_ANSWER);
    house.acks(agent);
    house.wait(Duration::from_secs(5));
    house.ends(agent, EndHow::Bye);
    house.confirm(call, &[1]);
    house.says();
    let record = house.the_record();
    assert_eq!((record.setup_ms, record.duration_ms), (Some(208_000), 5_000));
    assert_eq!(record.facts.wacid.as_deref(), Some("wacid.C"));
    assert_eq!(record.facts.permission_source.as_deref(), Some("permission_request"));
    house.ended_with(Cause::Success);
}

#[test]
fn a_customer_who_does_not_allow_the_call_in_time_or_never_answers_is_given_up() {
    for (allowed, why) in [(false, Some("the customer did not allow the call in time")), (true, None)] {
        let mut house = House::new();
        let (call, _, meta) = alice_calls(&mut house, Some(AGENT_ANSWER));
        house.leg(LegEvent::Asked { leg: meta, wait: Some(Duration::from_secs(120)) });
        if allowed {
            house.leg(LegEvent::Allowed { leg: meta, learnt: Box::default() });
        }
        let last = if allowed { 90 } else { 120 };
        house.wait(Duration::from_millis(last * 1_000 - 1));
        assert_eq!(house.says().last().unwrap(), "ring 0");
        house.wait(Duration::from_millis(1));
        assert_eq!(house.says(), ["refuse 0 480", "hang up 1 no_answer", "close"]);
        house.confirm(call, &[0, 1]);
        house.says();
        assert_eq!(house.the_record().termination.detail.as_deref(), why);
        house.ended_with(Cause::NoAnswer);
    }
}

#[test]
fn an_agent_who_gives_up_while_a_customer_is_asked_cancels_and_is_free() {
    let mut house = House::with_alice();
    let (call, agent, meta) = alice_calls(&mut house, Some(AGENT_ANSWER));
    house.leg(LegEvent::Asked { leg: meta, wait: Some(Duration::from_secs(120)) });
    house.says();
    house.ends(agent, EndHow::Cancelled);
    assert_eq!(house.says(), ["hang up 1 cancelled", "close"]);
    // Too late.
    house.leg(LegEvent::Allowed { leg: meta, learnt: Box::default() });
    house.confirm(call, &[1]);
    house.says();
    assert_eq!(house.the_record().termination.by, EndedBy::Agent);
    house.ended_with(Cause::Cancelled);
    house.user_calls(NUMBER, Some(META_OFFER));
    assert_eq!(house.says(), ["open 0 toward meta", "open 1 toward agents"]);
}

#[test]
fn a_customer_whose_end_is_told_beside_the_signalling_did_not_answer() {
    let mut house = House::new();
    let (call, _, meta) = alice_calls(&mut house, Some(AGENT_ANSWER));
    house.says();
    house.ends(meta, EndHow::Bye);
    assert_eq!(house.says(), ["refuse 0 480", "close"]);
    house.confirm(call, &[0]);
    house.says();
    assert_eq!(house.the_record().termination.by, EndedBy::Customer);
    house.ended_with(Cause::NoAnswer);
}

#[test]
fn metas_early_media_reaches_the_agent() {
    let mut house = House::new();
    let (_, _, meta) = alice_calls(&mut house, Some(PCMU));
    house.says();
    house.leg(LegEvent::Ringing { leg: meta, early: Some(Bytes::from(META_ANSWER)) });
    let early = ["configure 1 opus", "configure 0 PCMU", "start 0", "start 1", "bridge", "ring 0 with audio"];
    assert_eq!(house.says(), early);
    house.answers(meta, META_ANSWER);
    assert_eq!(house.says(), ["answer 0", "record", "tap"], "nothing changed, nothing is set again");
}

#[test]
fn a_broken_early_description_is_mere_ringing() {
    let mut house = House::new();
    let (_, _, meta) = alice_calls(&mut house, Some(AGENT_ANSWER));
    house.says();
    house.leg(LegEvent::Ringing { leg: meta, early: Some(Bytes::from("rubbish")) });
    assert_eq!(house.says(), ["ring 0"]);
}

#[test]
fn a_pbx_that_sends_no_offer_gets_ours_and_answers_in_its_ack() {
    let mut house = House::new();
    let call = house.business_calls(Origin::Trunk("pbx".into()), "+919876543210", None);
    house.ports_open(call);
    let (pbx, meta) = (LegId::originator(call), LegId { call, index: 1 });
    assert_eq!(
        house.says().last().unwrap(),
        "dial 1 +919876543210 from +15550002222",
        "the trunk's own number"
    );
    house.leg(LegEvent::Ringing { leg: meta, early: Some(Bytes::from(META_ANSWER)) });
    assert_eq!(house.says(), ["ring 0"], "no answer of ours can precede its offer");
    house.answers(meta, META_ANSWER);
    assert_eq!(house.says(), ["configure 1 opus", "start 1", "answer 0"], "Meta is fed from the start");
    assert!(house.said.get(&pbx).unwrap().contains("opus/48000"));
    house.leg(LegEvent::Acked { leg: pbx, sdp: Some(Bytes::from(PCMU)) });
    assert_eq!(house.says(), ["configure 0 PCMU", "start 0", "bridge"]);
    house.ends(meta, EndHow::Bye);
    house.confirm(call, &[0]);
    house.says();
    assert_eq!(house.the_record().agent, Some(AnsweredBy::Trunk("pbx".into())));
    house.ended_with(Cause::Success);
}

#[test]
fn an_ack_without_the_answer_or_no_ack_at_all_ends_the_call() {
    for (sdp, wait, cause) in [
        (None, 0, Cause::IncompatibleMedia),
        (Some(G722), 0, Cause::IncompatibleMedia),
        (None, 33, Cause::SignallingLost),
    ] {
        let mut house = House::new();
        let (call, agent, meta) = alice_calls(&mut house, None);
        house.answers(meta, META_ANSWER);
        house.says();
        if wait == 0 {
            house.leg(LegEvent::Acked { leg: agent, sdp: sdp.map(Bytes::from) });
        }
        house.wait(Duration::from_secs(wait));
        assert_eq!(
            house.says(),
            [format!("hang up 0 {cause}"), format!("hang up 1 {cause}"), "close".into()]
        );
        house.confirm(call, &[0, 1]);
        house.says();
        house.ended_with(cause);
    }
}

#[test]
fn what_meta_refuses_is_passed_on_as_the_adapter_understood_it() {
    let mut house = House::new();
    let (call, _, meta) = alice_calls(&mut house, Some(AGENT_ANSWER));
    house.says();
    house.leg(LegEvent::Refused {
        leg: meta,
        status: 403,
        cause: Cause::NoPermission,
        toward: 403,
        detail: Some("No Approved Call Permission Found".into()),
    });
    assert_eq!(house.says(), ["refuse 0 403", "close"]);
    house.confirm(call, &[0]);
    house.says();
    let end = &house.the_record().termination;
    assert_eq!((end.by, end.status), (EndedBy::Customer, Some(403)));
    assert_eq!(end.detail.as_deref(), Some("No Approved Call Permission Found"));
    house.ended_with(Cause::NoPermission);
}

#[test]
fn an_agent_who_gives_up_cancels_metas_leg() {
    let mut house = House::new();
    let (call, agent, meta) = alice_calls(&mut house, Some(AGENT_ANSWER));
    house.rings(meta);
    house.says();
    house.ends(agent, EndHow::Cancelled);
    assert_eq!(house.says(), ["hang up 1 cancelled", "close"]);
    house.refuses(meta, 487);
    house.confirm(call, &[]);
    house.says();
    assert_eq!(house.the_record().termination.by, EndedBy::Agent);
    house.ended_with(Cause::Cancelled);
}

#[test]
fn a_customer_who_never_answers_is_given_up_even_if_meta_says_nothing() {
    let mut house = House::new();
    let (call, _, meta) = alice_calls(&mut house, Some(AGENT_ANSWER));
    house.rings(meta);
    house.says();
    house.wait(Duration::from_secs(90));
    assert_eq!(house.says(), ["refuse 0 480", "hang up 1 no_answer", "close"]);
    house.confirm(call, &[0, 1]);
    house.says();
    house.ended_with(Cause::NoAnswer);
}

#[test]
fn what_is_no_number_is_not_dialled() {
    let mut house = House::new();
    house.business_calls(Origin::Account("alice".into()), "sales", Some(AGENT_ANSWER));
    assert_eq!(house.says(), ["refuse 0 404"]);
}

#[test]
fn without_a_business_number_nobody_is_called() {
    let mut house = House::with(|config| config.default_number = None);
    house.business_calls(Origin::Account("alice".into()), "+919876543210", Some(AGENT_ANSWER));
    assert_eq!(house.says(), ["refuse 0 403"]);
}

#[test]
fn an_agent_who_dials_is_not_given_another_call() {
    let mut house = House::with_alice();
    alice_calls(&mut house, Some(AGENT_ANSWER));
    house.says();
    house.user_calls(TRUNK_NUMBER, Some(META_OFFER));
    house.says();
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    assert_eq!(house.says(), ["refuse 0 486"], "the same customer and number are in that call");
    house.ends(LegId::originator(call), EndHow::Local);
    house.says();
}

fn gated() -> House {
    House::with(|config| {
        for number in config.numbers.values_mut() {
            number.gated = true;
        }
    })
}

fn rule(code: u16) -> RuleRefusal {
    let text = |text: &str| text.to_owned();
    let (title, reason, remedy) = (text("Permission Required"), text("never granted"), text("ask"));
    RuleRefusal { code, title, reason, remedy, next_allowed: None }
}

#[test]
fn the_gate_is_asked_before_anything_is_opened() {
    let mut house = gated();
    let call = house.business_calls(Origin::Account("alice".into()), CUSTOMER, Some(AGENT_ANSWER));
    assert_eq!(house.says(), ["may +15550001111 call +919876543210 by hand"]);
    house.tell(Input::Gate { call, verdict: Verdict::Allowed });
    assert_eq!(house.says(), ["open 0 toward agents", "open 1 toward meta"]);
    house.tell(Input::Gate { call, verdict: Verdict::Unknown { why: "late".into() } });
    assert_eq!(house.says(), [""; 0], "one answer is enough");

    let mut house = gated();
    house.business_calls(Origin::Trunk("pbx".into()), CUSTOMER, Some(AGENT_ANSWER));
    assert_eq!(house.says(), ["may +15550002222 call +919876543210 by dialler"]);
}

#[test]
fn the_gate_is_asked_for_a_customer_on_the_line_whom_nobody_ordered() {
    for (direction, asked) in [(Direction::BusinessInitiated, true), (Direction::UserInitiated, false)] {
        let mut house = gated();
        house.register("alice", 1);
        house.user_waits_from(Origin::Waiting { number: NUMBER.into() }, direction);
        let question = "may +15550001111 call +919876543210 by dialler".to_owned();
        let said = house.says();
        assert_eq!(said.contains(&question), asked, "{direction:?}: {said:?}");
    }
}

#[test]
fn a_call_that_the_gate_refuses_ends_with_its_rules_and_claims_nothing() {
    let mut house = gated();
    let call = house.business_calls(Origin::Account("alice".into()), CUSTOMER, Some(AGENT_ANSWER));
    house.says();
    let rules = vec![rule(4005), rule(4001)];
    house.tell(Input::Gate { call, verdict: Verdict::Refused { status: 403, rules: rules.clone() } });
    assert_eq!(house.says(), ["refuse 0 403"]);
    house.ends(LegId::originator(call), EndHow::Local);
    assert_eq!(house.says(), ["record: refused by bridge"]);
    let record = house.the_record();
    assert_eq!(record.refused, rules);
    assert_eq!(record.termination.detail.as_deref(), Some("4005 Permission Required: never granted"));
    house.ended_with(Cause::Refused);
}

#[test]
fn a_gate_that_does_not_answer_lets_nothing_through() {
    let mut house = gated();
    let call = house.business_calls(Origin::Account("alice".into()), CUSTOMER, Some(AGENT_ANSWER));
    house.says();
    house.wait(Duration::from_secs(3));
    assert_eq!(house.says(), ["refuse 0 503"]);
    house.tell(Input::Gate { call, verdict: Verdict::Allowed });
    house.ends(LegId::originator(call), EndHow::Local);
    house.says();
    house.ended_with(Cause::Fault);
}

#[test]
fn who_gives_up_while_the_gate_is_asked_is_let_go() {
    let mut house = gated();
    let call = house.business_calls(Origin::Account("alice".into()), CUSTOMER, Some(AGENT_ANSWER));
    house.says();
    house.ends(LegId::originator(call), EndHow::Cancelled);
    assert_eq!(house.says(), ["record: cancelled by agent"]);
    house.tell(Input::Gate { call, verdict: Verdict::Allowed });
    house.ended_with(Cause::Cancelled);
}

#[test]
fn customers_who_call_or_wait_ask_no_gate() {
    let mut house = gated();
    house.register("alice", 1);
    house.user_calls(NUMBER, Some(META_OFFER));
    assert_eq!(house.says(), ["open 0 toward meta", "open 1 toward agents"]);

    let mut house = gated();
    house.register("alice", 1);
    house.user_waits(Direction::BusinessInitiated);
    assert_eq!(house.says(), ["open 0 toward meta", "open 1 toward agents"]);
}

#[test]
fn the_gate_is_told_what_a_call_of_the_business_is_for() {
    let mut house = House::with(|config| {
        config.numbers.get_mut(NUMBER).unwrap().gated = true;
        config.agents.get_mut("alice").unwrap().use_case = Some("kyc".to_owned());
    });
    house.business_calls(Origin::Account("alice".into()), CUSTOMER, Some(AGENT_ANSWER));
    assert_eq!(house.says(), [format!("may {NUMBER} call {CUSTOMER} by hand for kyc")]);
}

#[test]
fn what_is_dialled_for_a_whatsapp_leg_is_an_extension_and_no_telephone_number() {
    for number in ["+911234567890", "00911234567890", "1234567890", ""] {
        assert_eq!(Extension::configured(number), None, "{number}");
    }
    for extension in ["100", "agents", "0", "*97", "123456789"] {
        assert_eq!(Extension::configured(extension).unwrap().dialled(), extension);
    }
}

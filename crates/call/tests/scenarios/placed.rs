//! The business asks for a call: the bridge calls both sides.

use std::time::Duration;

use bytes::Bytes;
use setu_call::{EndHow, Input, LegEvent, Placed, RingOrder, Verdict};
use setu_model::{
    AnsweredBy, CallId, Cause, Direction, EndedBy, Ingress, LegId, Milestone, RuleRefusal, Side,
};

use crate::support::{AGENT_ANSWER, CUSTOMER, House, META_ANSWER, NUMBER, TRUNK_NUMBER};

fn legs(call: CallId) -> (LegId, LegId) {
    (LegId::originator(call), LegId { call, index: 1 })
}

fn from(number: &str) -> Placed {
    Placed { number: number.into(), ..Placed::default() }
}

fn customer_first() -> Placed {
    Placed { ring: Some(RingOrder::CustomerFirst), ..from(NUMBER) }
}

/// A placed call whose ports are open.
fn placed(house: &mut House, placed: Placed) -> (CallId, LegId, LegId) {
    let call = house.places(Ingress::Sip, placed);
    house.ports_open(call);
    let (customer, agent) = legs(call);
    (call, customer, agent)
}

fn answers(house: &mut House, customer: LegId) {
    house.leg(LegEvent::Acked { leg: customer, sdp: Some(Bytes::from(META_ANSWER)) });
}

fn refuses(house: &mut House, customer: LegId, status: u16, cause: Cause) {
    house.leg(LegEvent::Refused { leg: customer, status, cause, toward: 480, detail: None });
}

#[test]
fn the_agent_answers_and_hears_ringback_until_the_customer_does() {
    let mut house = House::with_alice();
    let (call, customer, agent) = placed(&mut house, from(NUMBER));
    assert_eq!(house.says(), ["open 0 toward meta", "open 1 toward agents", "dial 1 alice at 1"]);
    let facts = &house.dials[0].facts;
    assert_eq!((facts.number.as_str(), facts.customer.reveal().as_str()), (NUMBER, CUSTOMER));
    assert_eq!((facts.use_case.as_deref(), facts.payload.as_deref()), (Some("delivery"), Some("order-7")));
    house.wait(Duration::from_secs(2));
    house.answers(agent, AGENT_ANSWER);
    assert_eq!(house.says(), ["configure 1 opus", "start 1", "play 1 ringback", "answer 0"]);
    assert!(house.said[&customer].contains("a=crypto:1 AES_CM_128_HMAC_SHA1_80"));
    house.rings(customer);
    house.wait(Duration::from_secs(60));
    answers(&mut house, customer);
    let joined = ["configure 0 opus", "stop playing 1", "start 0", "bridge", "record", "tap"];
    assert_eq!(house.says(), joined);
    house.wait(Duration::from_secs(10));
    house.ends(customer, EndHow::Bye);
    house.confirm(call, &[1]);
    house.says();
    let record = house.the_record();
    assert_eq!((record.direction, record.ingress), (Direction::BusinessInitiated, Ingress::Sip));
    assert_eq!((record.setup_ms, record.duration_ms), (Some(62_000), 10_000), "until the customer answered");
    assert_eq!(
        (record.termination.by, &record.agent),
        (EndedBy::Customer, &Some(AnsweredBy::Agent("alice".into())))
    );
    assert_eq!(record.legs.iter().map(|leg| leg.side).collect::<Vec<_>>(), [Side::Meta, Side::Agents]);
    let on_customer = record.timeline.entries().iter().filter(|entry| entry.leg == Some(0));
    let told = [
        Milestone::Dialled,
        Milestone::Ringing,
        Milestone::Acknowledged,
        Milestone::Answered,
        Milestone::HungUp,
    ];
    assert_eq!(on_customer.map(|entry| entry.what).collect::<Vec<_>>(), told);
    house.ended_with(Cause::Success);
}

#[test]
fn the_customer_answers_first_and_waits_with_a_sound_for_the_agent_who_is_reserved() {
    let mut house = House::with_alice();
    let (call, customer, agent) = placed(&mut house, customer_first());
    assert_eq!(house.says(), ["open 0 toward meta", "open 1 toward agents", "answer 0"]);
    house.wait(Duration::from_secs(60));
    assert!(!house.board.is_ready(NUMBER), "alice is reserved");
    answers(&mut house, customer);
    assert_eq!(house.says(), ["configure 0 opus", "start 0", "play 0 waiting", "dial 1 alice at 1"]);
    house.wait(Duration::from_secs(5));
    house.answers(agent, AGENT_ANSWER);
    let joined = ["configure 1 opus", "stop playing 0", "start 1", "bridge", "record", "tap"];
    assert_eq!(house.says(), joined);
    house.ends(agent, EndHow::Bye);
    house.confirm(call, &[0]);
    house.says();
    assert_eq!(house.the_record().setup_ms, Some(60_000));
    house.ended_with(Cause::Success);
}

#[test]
fn a_number_says_who_rings_first_and_the_request_overrules_it() {
    let mut house = House::with(|config| {
        config.numbers.get_mut(NUMBER).unwrap().ring = RingOrder::CustomerFirst;
    });
    house.register("alice", 1);
    let (call, ..) = placed(&mut house, from(NUMBER));
    assert_eq!(house.says().last().unwrap(), "answer 0");
    refuses(&mut house, LegId::originator(call), 486, Cause::Busy);
    house.confirm(call, &[]);
    house.says();
    let (_, _, agent) = placed(&mut house, Placed { ring: Some(RingOrder::AgentFirst), ..from(NUMBER) });
    assert_eq!(house.says().last().unwrap(), "dial 1 alice at 1");
    assert_eq!(house.dials.last().unwrap().leg, agent);
}

#[test]
fn nobody_rings_for_long_before_the_other_side_is_there() {
    // An agent who does not answer: the customer is never called.
    let mut house = House::with_alice();
    let (call, ..) = placed(&mut house, from(NUMBER));
    house.says();
    house.wait(Duration::from_secs(46));
    assert_eq!(house.says(), ["refuse 0 480", "hang up 1 no_answer", "close"]);
    house.confirm(call, &[0, 1]);
    house.says();
    assert_eq!(house.the_record().setup_ms, None);
    house.ended_with(Cause::NoAnswer);

    // A customer who does not answer, in either order.
    for ring in [RingOrder::AgentFirst, RingOrder::CustomerFirst] {
        let mut house = House::with_alice();
        let (call, _, agent) = placed(&mut house, Placed { ring: Some(ring), ..from(NUMBER) });
        let legs: &[u8] = if ring == RingOrder::AgentFirst {
            house.answers(agent, AGENT_ANSWER);
            &[0, 1]
        } else {
            &[0]
        };
        house.says();
        house.wait(Duration::from_secs(89));
        assert_eq!(house.says(), [""; 0], "{ring:?}");
        house.wait(Duration::from_secs(2));
        assert_eq!(house.says()[0], "hang up 0 no_answer", "{ring:?}");
        house.confirm(call, legs);
        house.says();
        let end = &house.the_record().termination;
        assert_eq!((end.status, end.detail.as_deref()), (Some(480), Some("the customer did not answer")));
        house.ended_with(Cause::NoAnswer);
    }
}

#[test]
fn an_agent_who_does_not_come_leaves_a_customer_who_answered_not_waiting_for_ever() {
    let mut house = House::with_alice();
    house.register("bob", 2);
    let (call, customer, _) = placed(&mut house, customer_first());
    house.wait(Duration::from_secs(30));
    answers(&mut house, customer);
    house.says();
    house.wait(Duration::from_secs(21));
    assert_eq!(house.says(), ["hang up 1 no_answer", "dial 2 bob at 2"], "the next one is tried");
    house.wait(Duration::from_secs(25));
    assert_eq!(house.says(), ["hang up 0 no_answer", "hang up 2 no_answer", "close"]);
    house.confirm(call, &[0, 1, 2]);
    house.says();
    house.ended_with(Cause::NoAnswer);
}

#[test]
fn what_the_customer_decides_is_the_end_of_the_call() {
    for (status, cause) in [(486, Cause::Busy), (603, Cause::Declined), (403, Cause::NoPermission)] {
        let mut house = House::with_alice();
        let (call, customer, agent) = placed(&mut house, from(NUMBER));
        house.answers(agent, AGENT_ANSWER);
        house.says();
        refuses(&mut house, customer, status, cause);
        assert_eq!(house.says(), [format!("hang up 1 {cause}"), "close".to_owned()]);
        house.confirm(call, &[1]);
        house.says();
        let end = &house.the_record().termination;
        assert_eq!((end.by, end.status), (EndedBy::Customer, Some(status)));
        house.ended_with(cause);
    }
}

#[test]
fn an_agent_who_hangs_up_while_the_customer_rings_takes_the_call_back() {
    let mut house = House::with_alice();
    let (call, _, agent) = placed(&mut house, from(NUMBER));
    house.answers(agent, AGENT_ANSWER);
    house.says();
    house.ends(agent, EndHow::Bye);
    assert_eq!(house.says(), ["hang up 0 cancelled", "close"]);
    house.confirm(call, &[0]);
    house.says();
    assert_eq!(house.the_record().termination.by, EndedBy::Agent);
    house.ended_with(Cause::Cancelled);
}

#[test]
fn a_customer_who_hangs_up_while_the_agent_rings_stops_the_ringing() {
    let mut house = House::with_alice();
    let (call, customer, _) = placed(&mut house, customer_first());
    answers(&mut house, customer);
    house.says();
    house.ends(customer, EndHow::Bye);
    assert_eq!(house.says(), ["hang up 1 cancelled", "close"]);
    house.confirm(call, &[1]);
    house.says();
    assert_eq!(house.the_record().termination.by, EndedBy::Customer);
    house.ended_with(Cause::Cancelled);
}

#[test]
fn a_customer_whose_description_comes_ahead_of_his_answer_is_set_up_at_once() {
    for ring in [RingOrder::AgentFirst, RingOrder::CustomerFirst] {
        let mut house = House::with_alice();
        let call = house.places(Ingress::Graph, Placed { ring: Some(ring), ..from(NUMBER) });
        house.ports_open(call);
        let (customer, agent) = legs(call);
        if ring == RingOrder::AgentFirst {
            house.answers(agent, AGENT_ANSWER);
        }
        house.says();
        house.leg(LegEvent::Described { leg: customer, sdp: Bytes::from(META_ANSWER) });
        assert_eq!(house.says(), ["configure 0 opus"], "{ring:?}");
        answers(&mut house, customer);
        let says = house.says();
        if ring == RingOrder::AgentFirst {
            assert_eq!(says, ["stop playing 1", "start 0", "bridge", "record", "tap"]);
        } else {
            assert_eq!(says, ["start 0", "play 0 waiting", "dial 1 alice at 1"]);
            house.answers(agent, AGENT_ANSWER);
            house.says();
        }
        house.ends(customer, EndHow::Bye);
        house.confirm(call, &[1]);
        house.says();
        house.ended_with(Cause::Success);
    }
}

#[test]
fn the_gate_is_asked_once_an_agent_is_reserved_who_is_free_again_on_refusal() {
    let mut house = House::with(|config| {
        config.numbers.get_mut(NUMBER).unwrap().gated = true;
    });
    house.register("alice", 1);
    let call = house.places(Ingress::Sip, Placed { by_hand: true, ..from(NUMBER) });
    assert_eq!(house.says(), ["may +15550001111 call +919876543210 by hand for delivery"]);
    assert!(!house.board.is_ready(NUMBER), "alice is reserved");
    let rule = RuleRefusal {
        code: 4005,
        title: "Permission Required".into(),
        reason: "never".into(),
        remedy: "ask".into(),
        next_allowed: None,
    };
    let verdict = Verdict::Refused { status: 403, rules: vec![rule.clone()] };
    house.tell(Input::Gate { call, verdict });
    assert_eq!(house.says(), ["refuse 0 403"]);
    assert!(house.board.is_ready(NUMBER), "alice is free");
    house.ends(LegId::originator(call), EndHow::Local);
    house.says();
    assert_eq!(house.the_record().refused, [rule]);
    house.ended_with(Cause::Refused);

    let call = house.places(Ingress::Sip, from(NUMBER));
    assert_eq!(house.says(), ["may +15550001111 call +919876543210 by dialler for delivery"]);
    house.tell(Input::Gate { call, verdict: Verdict::Allowed });
    assert_eq!(house.says(), ["open 0 toward meta", "open 1 toward agents"]);
}

#[test]
fn the_agents_of_the_request_take_the_call_and_those_of_the_number_do_not() {
    let mut house = House::with_alice();
    house.register("bob", 2);
    let only = |name: &str| Placed { agents: vec![name.into()], ..from(NUMBER) };
    placed(&mut house, only("bob"));
    assert_eq!(house.says().last().unwrap(), "dial 1 bob at 2");
}

#[test]
fn a_number_whose_route_is_a_trunk_has_its_extension_rung() {
    let mut house = House::new();
    placed(&mut house, from(TRUNK_NUMBER));
    assert_eq!(house.says().last().unwrap(), "dial 1 100 at pbx");
}

#[test]
fn a_call_that_nobody_can_take_or_that_is_one_too_many_says_so_by_its_code() {
    let mut house = House::new();
    let code = |house: &House| {
        house.records.last().unwrap().refused.iter().map(|rule| rule.code).collect::<Vec<_>>()
    };
    let call = house.places(Ingress::Sip, from(NUMBER));
    house.ends(LegId::originator(call), EndHow::Local);
    assert_eq!(
        (house.says(), code(&house)),
        (vec!["refuse 0 480".to_owned(), "record: refused by bridge".to_owned()], vec![4003])
    );
    house.register("alice", 1);
    house.register("bob", 2);
    placed(&mut house, from(NUMBER));
    let call = house.places(Ingress::Sip, from(NUMBER));
    house.ends(LegId::originator(call), EndHow::Local);
    assert_eq!(code(&house), [4007]);
    let call = house.places(Ingress::Sip, from("+15550009999"));
    house.ends(LegId::originator(call), EndHow::Local);
    assert_eq!(house.records.last().unwrap().termination.status, Some(404));
}

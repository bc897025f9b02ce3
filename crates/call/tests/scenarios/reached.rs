//! A customer who waits to be reached, with our offer.

use std::time::Duration;

use bytes::Bytes;
use setu_call::{EndHow, LegEvent};
use setu_model::{AnsweredBy, CallId, Cause, Direction, EndedBy, Ingress, LegId};

use crate::support::{AGENT_ANSWER, House, META_ANSWER};

fn legs(call: CallId) -> (LegId, LegId) {
    (LegId::originator(call), LegId { call, index: 1 })
}

fn reached(house: &mut House, leg: LegId) {
    house.leg(LegEvent::Acked { leg, sdp: Some(Bytes::from_static(META_ANSWER.as_bytes())) });
}

#[test]
fn the_agent_answers_first_and_the_customer_is_reached_with_our_offer() {
    let mut house = House::with_alice();
    let call = house.user_waits(Direction::UserInitiated);
    let (customer, agent) = legs(call);
    assert_eq!(house.says(), ["open 0 toward meta", "open 1 toward agents"]);
    house.ports_open(call);
    assert_eq!(house.says(), ["dial 1 alice at 1"]);
    house.answers(agent, AGENT_ANSWER);
    assert_eq!(house.says(), ["configure 1 opus", "start 1", "answer 0"]);
    assert!(house.said[&customer].contains("a=crypto:"), "{}", house.said[&customer]);
    reached(&mut house, customer);
    assert_eq!(house.says(), ["configure 0 opus", "start 0", "bridge", "record", "tap"]);
    house.wait(Duration::from_secs(10));
    house.ends(customer, EndHow::Bye);
    house.confirm(call, &[1]);
    house.says();
    let record = house.the_record();
    assert_eq!((record.ingress, record.duration_ms), (Ingress::ProviderUri, 10_000));
    assert_eq!(record.agent, Some(AnsweredBy::Agent("alice".into())));
    house.ended_with(Cause::Success);
}

#[test]
fn a_customer_who_allowed_the_call_is_reached_as_well() {
    let mut house = House::with_alice();
    let call = house.user_waits(Direction::BusinessInitiated);
    let (customer, agent) = legs(call);
    house.ports_open(call);
    house.answers(agent, AGENT_ANSWER);
    reached(&mut house, customer);
    house.ends(customer, EndHow::Bye);
    house.confirm(call, &[1]);
    house.says();
    assert_eq!(house.the_record().direction, Direction::BusinessInitiated);
    assert_eq!(house.the_record().agent, Some(AnsweredBy::Agent("alice".into())));
    house.ended_with(Cause::Success);
}

#[test]
fn a_customer_who_cannot_be_reached_ends_the_call_and_says_why() {
    let mut house = House::with_alice();
    let call = house.user_waits(Direction::UserInitiated);
    let (customer, agent) = legs(call);
    house.ports_open(call);
    house.answers(agent, AGENT_ANSWER);
    house.says();
    house.refuses(customer, 404);
    assert_eq!(house.says(), ["hang up 1 unreachable", "close"]);
    house.confirm(call, &[1]);
    house.says();
    assert_eq!(house.the_record().termination.status, Some(404));
    house.ended_with(Cause::Unreachable);
}

#[test]
fn a_customer_who_never_answers_is_given_up() {
    let mut house = House::with_alice();
    let call = house.user_waits(Direction::UserInitiated);
    let (_, agent) = legs(call);
    house.ports_open(call);
    house.answers(agent, AGENT_ANSWER);
    house.says();
    house.wait(Duration::from_secs(34));
    assert_eq!(house.says(), ["hang up 0 no_answer", "hang up 1 no_answer", "close"]);
    house.confirm(call, &[0, 1]);
    house.says();
    house.ended_with(Cause::NoAnswer);
}

#[test]
fn a_customer_who_has_gone_before_anybody_rang_leaves_one_record() {
    let mut house = House::with_alice();
    let call = house.user_waits(Direction::UserInitiated);
    house.says();
    let detail = Some("user_cancelled".to_owned());
    let leg = LegId::originator(call);
    house.leg(LegEvent::Ended { leg, how: EndHow::Cancelled, wacid: None, meta_duration_s: None, detail });
    assert_eq!(house.says(), ["close"]);
    house.confirm(call, &[]);
    house.says();
    let end = &house.the_record().termination;
    assert_eq!((end.by, end.detail.as_deref()), (EndedBy::Customer, Some("user_cancelled")));
    house.ended_with(Cause::Cancelled);
}

#[test]
fn a_number_that_answers_at_once_reaches_the_customer_before_the_agent() {
    let mut house = House::that_answers_at_once();
    let call = house.user_waits(Direction::UserInitiated);
    let (customer, agent) = legs(call);
    house.says();
    house.ports_open(call);
    assert_eq!(house.says(), ["answer 0", "dial 1 alice at 1"]);
    reached(&mut house, customer);
    assert_eq!(house.says(), ["configure 0 opus", "start 0", "play 0 waiting"]);
    house.answers(agent, AGENT_ANSWER);
    let joined = ["configure 1 opus", "stop playing 0", "start 1", "bridge", "record", "tap"];
    assert_eq!(house.says(), joined);
    house.ends(customer, EndHow::Bye);
    house.confirm(call, &[1]);
    house.says();
    house.ended_with(Cause::Success);
}

#[test]
fn an_agent_who_is_quicker_than_the_customer_waits_for_him() {
    let mut house = House::that_answers_at_once();
    let call = house.user_waits(Direction::UserInitiated);
    let (customer, agent) = legs(call);
    house.ports_open(call);
    house.says();
    house.answers(agent, AGENT_ANSWER);
    assert_eq!(house.says(), ["configure 1 opus", "start 1"]);
    reached(&mut house, customer);
    assert_eq!(house.says(), ["configure 0 opus", "start 0", "bridge", "record", "tap"]);
    house.ends(customer, EndHow::Bye);
    house.confirm(call, &[1]);
    house.says();
    house.ended_with(Cause::Success);
}

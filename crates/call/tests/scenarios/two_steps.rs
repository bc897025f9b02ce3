//! An originator who takes our answer in two steps: the description ahead, then the acceptance. And a called side that
//! describes itself ahead of its decision.

use std::time::Duration;

use bytes::Bytes;
use setu_call::{EndHow, LegEvent, Origin};
use setu_model::{CallId, Cause, Ingress, LegId};

use crate::support::{AGENT_ANSWER, CUSTOMER, House, META_ANSWER};

fn legs(call: CallId) -> (LegId, LegId) {
    (LegId::originator(call), LegId { call, index: 1 })
}

#[test]
fn the_description_goes_ahead_of_the_ringing_and_media_flows_with_the_confirmation() {
    let mut house = House::with_alice();
    let call = house.user_calls_in_two_steps();
    let (customer, agent) = legs(call);
    house.says();
    house.ports_open(call);
    assert_eq!(house.says(), ["configure 0 opus", "describe 0"]);
    house.leg(LegEvent::Prepared { leg: customer });
    assert_eq!(house.says(), ["dial 1 alice at 1"]);
    let ahead = house.said[&customer].clone();
    house.answers(agent, AGENT_ANSWER);
    assert_eq!(house.says(), ["configure 1 opus", "start 1", "answer 0"], "the agent hears comfort frames");
    assert_eq!(house.said[&customer], ahead, "the acceptance repeats the description");
    house.acks(customer);
    assert_eq!(house.says(), ["start 0", "bridge", "record", "tap"]);
    house.wait(Duration::from_secs(5));
    house.ends(customer, EndHow::Bye);
    house.confirm(call, &[1]);
    house.says();
    assert_eq!((house.the_record().ingress, house.the_record().duration_ms), (Ingress::Graph, 5_000));
    house.ended_with(Cause::Success);
}

#[test]
fn an_agent_rings_although_the_description_is_not_confirmed() {
    let mut house = House::with_alice();
    let call = house.user_calls_in_two_steps();
    house.ports_open(call);
    house.says();
    house.wait(Duration::from_millis(900));
    assert_eq!(house.says(), [""; 0]);
    house.wait(Duration::from_millis(200));
    assert_eq!(house.says(), ["dial 1 alice at 1"]);
    house.leg(LegEvent::Prepared { leg: LegId::originator(call) });
    assert_eq!(house.says(), [""; 0]);
}

#[test]
fn a_customer_who_gives_up_before_the_description_is_confirmed_rings_nobody() {
    let mut house = House::with_alice();
    let call = house.user_calls_in_two_steps();
    house.ports_open(call);
    house.says();
    house.ends(LegId::originator(call), EndHow::Cancelled);
    assert_eq!(house.says(), ["close"]);
    house.confirm(call, &[]);
    house.says();
    house.ended_with(Cause::Cancelled);
}

#[test]
fn an_acceptance_that_is_refused_frees_the_agent() {
    let mut house = House::with_alice();
    let call = house.user_calls_in_two_steps();
    let (customer, agent) = legs(call);
    house.ports_open(call);
    house.leg(LegEvent::Prepared { leg: customer });
    house.answers(agent, AGENT_ANSWER);
    house.says();
    house.leg(LegEvent::Refused {
        leg: customer,
        status: 403,
        cause: Cause::RefusedByMeta,
        toward: 403,
        detail: Some("the call is completed".to_owned()),
    });
    assert_eq!(house.says(), ["hang up 1 refused_by_meta", "close"]);
    house.confirm(call, &[1]);
    house.says();
    house.ended_with(Cause::RefusedByMeta);
}

#[test]
fn a_customer_who_is_answered_at_once_hears_nothing_before_the_confirmation() {
    let mut house = House::that_answers_at_once();
    let call = house.user_calls_in_two_steps();
    let (customer, agent) = legs(call);
    house.says();
    house.ports_open(call);
    assert_eq!(house.says(), ["configure 0 opus", "describe 0"]);
    house.leg(LegEvent::Prepared { leg: customer });
    assert_eq!(house.says(), ["answer 0", "dial 1 alice at 1"]);
    house.acks(customer);
    assert_eq!(house.says(), ["start 0", "play 0 waiting"]);
    house.answers(agent, AGENT_ANSWER);
    let joined = ["configure 1 opus", "stop playing 0", "start 1", "bridge", "record", "tap"];
    assert_eq!(house.says(), joined);
    house.ends(customer, EndHow::Bye);
    house.confirm(call, &[1]);
    house.says();
    house.ended_with(Cause::Success);
}

#[test]
fn an_agent_who_is_quicker_than_the_confirmation_waits_for_it() {
    let mut house = House::that_answers_at_once();
    let call = house.user_calls_in_two_steps();
    let (customer, agent) = legs(call);
    house.ports_open(call);
    house.leg(LegEvent::Prepared { leg: customer });
    house.says();
    house.answers(agent, AGENT_ANSWER);
    assert_eq!(house.says(), ["configure 1 opus", "start 1"]);
    house.acks(customer);
    assert_eq!(house.says(), ["start 0", "bridge", "record", "tap"]);
    house.ends(customer, EndHow::Bye);
    house.confirm(call, &[1]);
    house.says();
    house.ended_with(Cause::Success);
}

#[test]
fn a_called_side_that_describes_itself_ahead_is_set_up_and_hears_nothing_before_it_answers() {
    let mut house = House::with_alice();
    let call = house.business_calls(Origin::Account("alice".into()), CUSTOMER, Some(AGENT_ANSWER));
    let (agent, customer) = legs(call);
    house.ports_open(call);
    house.says();
    house.leg(LegEvent::Named { leg: customer, wacid: "wacid.B".to_owned() });
    house.leg(LegEvent::Described { leg: customer, sdp: Bytes::from_static(META_ANSWER.as_bytes()) });
    assert_eq!(house.says(), ["configure 1 opus"]);
    house.rings(customer);
    assert_eq!(house.says(), ["ring 0"]);
    house.answers(customer, META_ANSWER);
    let joined = ["configure 0 opus", "start 0", "start 1", "bridge", "answer 0", "record", "tap"];
    assert_eq!(house.says(), joined);
    house.acks(agent);
    house.ends(customer, EndHow::Bye);
    house.confirm(call, &[0]);
    house.says();
    assert_eq!(house.the_record().facts.wacid.as_deref(), Some("wacid.B"));
    house.ended_with(Cause::Success);
}

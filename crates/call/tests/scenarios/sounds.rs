//! What a customer hears who is not with an agent: music on hold, ringing after an early answer, an announcement.

use std::time::Duration;

use setu_call::{Answers, EndHow, Input, MediaEvent};
use setu_model::{Cause, LegId, Milestone};

use crate::support::{AGENT_ANSWER, House, META_ANSWER, META_OFFER, NUMBER};

fn house(answers: Answers, announces: bool) -> House {
    let mut house = House::with(|config| {
        if let Some(number) = config.numbers.get_mut(NUMBER) {
            (number.answers, number.announces) = (answers, announces);
        }
    });
    house.register("alice", 1);
    house
}

fn played(house: &mut House, leg: LegId) {
    house.tell(Input::Media(MediaEvent::Played { leg }));
}

fn held() -> String {
    AGENT_ANSWER.replace("a=sendrecv", "a=sendonly").replace("o=- 5 1", "o=- 5 2")
}

#[test]
fn a_customer_hears_music_while_the_agent_holds() {
    let mut house = House::with_alice();
    let (_, _, agent) = house.talking();
    house.reoffers(agent, Some(&held()));
    assert_eq!(house.says(), ["hold 1", "play 0 hold", "accept 1"]);
    house.reoffers(agent, Some(&AGENT_ANSWER.replace("o=- 5 1", "o=- 5 3")));
    assert_eq!(house.says(), ["resume 1", "stop playing 0", "accept 1"]);
}

#[test]
fn a_customer_answered_at_once_waits_with_a_sound_until_an_agent_answers() {
    let mut house = house(Answers::AtOnce, false);
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.says();
    house.ports_open(call);
    let (meta, agent) = (LegId::originator(call), LegId { call, index: 1 });
    assert_eq!(
        house.says(),
        ["configure 0 opus", "start 0", "play 0 waiting", "answer 0", "dial 1 alice at 1"]
    );
    house.acks(meta);
    house.rings(agent);
    assert_eq!(house.says(), [""; 0], "an answered call does not ring");
    house.wait(Duration::from_secs(10));
    house.answers(agent, AGENT_ANSWER);
    assert_eq!(house.says(), ["configure 1 opus", "stop playing 0", "start 1", "bridge", "record", "tap"]);
    house.ends(meta, EndHow::Bye);
    house.confirm(call, &[1]);
    house.says();
    let record = house.the_record();
    assert!(record.timeline.first(Milestone::Acknowledged).is_some());
    assert_eq!(record.timeline.first(Milestone::Bridged), Some(10_000), "connected when the agent answered");
    house.ended_with(Cause::Success);
}

#[test]
fn a_customer_answered_at_once_whom_nobody_takes_is_hung_up() {
    let mut house = house(Answers::AtOnce, false);
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.ports_open(call);
    house.acks(LegId::originator(call));
    house.says();
    house.refuses(LegId { call, index: 1 }, 486);
    assert_eq!(house.says(), ["hang up 0 busy", "close"]);
    house.confirm(call, &[0]);
    house.says();
    assert_eq!(house.the_record().answered, None);
    house.ended_with(Cause::Busy);
}

#[test]
fn a_customer_who_hangs_up_while_waiting_stops_the_ringing() {
    let mut house = house(Answers::AtOnce, false);
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.ports_open(call);
    house.acks(LegId::originator(call));
    house.says();
    house.ends(LegId::originator(call), EndHow::Bye);
    assert_eq!(house.says(), ["hang up 1 cancelled", "close"]);
    house.confirm(call, &[1]);
    house.says();
    house.ended_with(Cause::Cancelled);
}

#[test]
fn a_customer_hears_the_announcement_before_both_sides_are_joined_and_recorded() {
    let mut house = house(Answers::WithTheAgent, true);
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.ports_open(call);
    house.says();
    let (meta, agent) = (LegId::originator(call), LegId { call, index: 1 });
    house.answers(agent, AGENT_ANSWER);
    let before =
        ["configure 1 opus", "configure 0 opus", "start 0", "start 1", "play 0 announcement", "answer 0"];
    assert_eq!(house.says(), before);
    house.acks(meta);
    house.reoffers(agent, Some(&held()));
    assert_eq!(house.says(), ["hold 1", "accept 1"], "music waits for the end of the announcement");
    played(&mut house, agent);
    assert_eq!(house.says(), [""; 0], "only the customer's leg has one");
    played(&mut house, meta);
    assert_eq!(house.says(), ["stop playing 0", "bridge", "record", "tap", "play 0 hold"]);
    played(&mut house, meta);
    assert_eq!(house.says(), [""; 0], "once");
    house.ends(meta, EndHow::Bye);
    house.confirm(call, &[1]);
    house.says();
    house.ended_with(Cause::Success);
}

#[test]
fn an_announcement_whose_end_is_not_told_ends_all_the_same() {
    let mut house = house(Answers::AtOnce, true);
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.ports_open(call);
    house.answers(LegId { call, index: 1 }, AGENT_ANSWER);
    house.acks(LegId::originator(call));
    house.says();
    house.wait(Duration::from_secs(64));
    assert_eq!(house.says(), [""; 0]);
    house.wait(Duration::from_secs(2));
    assert_eq!(house.says(), ["stop playing 0", "bridge", "record", "tap"]);
}

#[test]
fn a_customer_whom_the_business_calls_hears_the_announcement_too() {
    let mut house = house(Answers::AtOnce, true);
    let origin = setu_call::Origin::Account("alice".into());
    let call = house.business_calls(origin, crate::support::CUSTOMER, Some(AGENT_ANSWER));
    house.ports_open(call);
    house.says();
    house.answers(LegId { call, index: 1 }, META_ANSWER);
    let says = house.says();
    assert!(says.contains(&"play 1 announcement".to_owned()), "{says:?}");
    assert!(!says.contains(&"bridge".to_owned()), "{says:?}");
    played(&mut house, LegId { call, index: 1 });
    assert_eq!(house.says()[..2], ["stop playing 1", "bridge"]);
}

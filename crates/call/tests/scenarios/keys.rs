//! Keys: by telephone events in the media plane, by INFO where a peer wants that, and in the record.

use setu_call::{EndHow, Input, Keys, LegEvent, MediaEvent};
use setu_model::{LegId, Side};

use crate::support::{AGENT_ANSWER, House};

/// The same phone, which agreed on no telephone events.
fn without_events() -> String {
    AGENT_ANSWER
        .replace(" 110\r\na=rtpmap:111", "\r\na=rtpmap:111")
        .replace("a=rtpmap:110 telephone-event/48000\r\n", "")
}

fn house(keys: Keys, mask: bool) -> House {
    let mut house = House::with(|config| {
        config.mask_digits = mask;
        if let Some(alice) = config.agents.get_mut("alice") {
            alice.keys = keys;
        }
    });
    house.register("alice", 1);
    house
}

fn pressed(house: &mut House, leg: LegId, digit: char) {
    house.tell(Input::Media(MediaEvent::Key { leg, digit: digit.into(), duration_ms: 120 }));
}

fn told(house: &mut House, leg: LegId, digit: char) {
    house.leg(LegEvent::Key { leg, digit: digit.into(), duration_ms: 160 });
}

#[test]
fn keys_between_legs_with_telephone_events_are_noted_and_left_to_the_media_plane() {
    let mut house = house(Keys::Events, false);
    let (call, meta, agent) = house.talking();
    pressed(&mut house, meta, '5');
    pressed(&mut house, agent, '#');
    told(&mut house, agent, '#');
    assert_eq!(house.says(), [""; 0], "the INFO of a phone with telephone events says the same again");
    house.ends(meta, EndHow::Bye);
    house.confirm(call, &[1]);
    let digits = house.the_record().digits.iter();
    let digits: Vec<_> =
        digits.map(|it| (it.from, *it.digit.as_ref().unwrap().reveal(), it.duration_ms)).collect();
    assert_eq!(digits, [(Side::Meta, '5', 120), (Side::Agents, '#', 120)]);
}

#[test]
fn an_agent_that_wants_info_is_told_by_it_and_its_own_is_pressed_toward_meta() {
    let mut house = house(Keys::Info, false);
    let call = house.user_calls(crate::support::NUMBER, Some(crate::support::META_OFFER));
    house.ports_open(call);
    let (meta, agent) = (LegId::originator(call), LegId { call, index: 1 });
    let offer = house.said.get(&agent).unwrap().clone();
    assert!(!offer.contains("telephone-event"), "{offer}");
    told(&mut house, agent, '1');
    house.answers(agent, &without_events());
    house.acks(meta);
    house.says();
    told(&mut house, agent, '1');
    pressed(&mut house, meta, '*');
    assert_eq!(house.says(), ["press 0 1 for 160 ms", "tell 1 * for 120 ms"]);
    told(&mut house, meta, '9');
    assert_eq!(house.says(), [""; 0], "Meta sends no INFO");
    house.ends(agent, EndHow::Bye);
    told(&mut house, agent, '3');
    pressed(&mut house, meta, '4');
    house.says();
    house.confirm(call, &[0]);
    let digits: String =
        house.the_record().digits.iter().map(|it| *it.digit.as_ref().unwrap().reveal()).collect();
    assert_eq!(digits, "1*4", "none before the answer; one that was under way when the call ended");
}

#[test]
fn a_phone_that_agreed_on_no_telephone_events_may_tell_by_info() {
    let mut house = house(Keys::Events, true);
    let call = house.user_calls(crate::support::NUMBER, Some(crate::support::META_OFFER));
    house.ports_open(call);
    let (meta, agent) = (LegId::originator(call), LegId { call, index: 1 });
    house.answers(agent, &without_events());
    house.acks(meta);
    house.says();
    told(&mut house, agent, '1');
    pressed(&mut house, meta, '2');
    assert_eq!(house.says(), ["press 0 1 for 160 ms"], "it did not ask to be told by INFO");
    house.ends(meta, EndHow::Bye);
    house.confirm(call, &[1]);
    assert_eq!(house.the_record().digits.len(), 2);
    assert!(house.the_record().digits.iter().all(|it| it.digit.is_none()), "masked");
}

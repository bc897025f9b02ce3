//! What happens within a connected call: the agents' side changes the session and Meta never hears of it.

use std::time::Duration;

use crate::support::*;
use bytes::Bytes;
use setu_call::{EndHow, Input, LegEvent, MediaEvent, Origin};
use setu_model::{Cause, EndedBy, LegId, Milestone};

fn held(how: &str) -> String {
    AGENT_ANSWER.replace("a=sendrecv", how)
}

#[test]
fn hold_and_resume_end_in_the_bridge() {
    for how in ["a=sendonly", "a=inactive"] {
        let mut house = House::with_alice();
        let (_, _, agent) = house.talking();
        house.reoffers(agent, Some(&held(how)));
        assert_eq!(house.says(), ["hold 1", "play 0 hold", "accept 1"], "{how}");
        house.reoffers(agent, Some(AGENT_ANSWER));
        assert_eq!(house.says(), ["resume 1", "stop playing 0", "accept 1"], "{how}");
    }
}

#[test]
fn the_old_way_to_hold_with_a_null_address_moves_nobody() {
    let mut house = House::with_alice();
    let (_, _, agent) = house.talking();
    house.reoffers(agent, Some(&AGENT_ANSWER.replace("203.0.113.7", "0.0.0.0")));
    assert_eq!(house.says(), ["hold 1", "play 0 hold", "accept 1"]);
    house.reoffers(agent, Some(AGENT_ANSWER));
    assert_eq!(house.says(), ["resume 1", "stop playing 0", "accept 1"]);
}

#[test]
fn each_answer_of_ours_counts_the_session_version_up() {
    let mut house = House::with_alice();
    let (_, _, agent) = house.talking();
    let origin = |house: &House| {
        let sdp = house.said.get(&agent).unwrap();
        let line = sdp.lines().find(|line| line.starts_with("o=")).unwrap();
        let mut words = line.split(' ').skip(1).map(|word| word.parse::<u64>().unwrap());
        (words.next().unwrap(), words.next().unwrap())
    };
    let (id, version) = origin(&house);
    house.reoffers(agent, Some(&held("a=sendonly")));
    house.says();
    assert_eq!(origin(&house), (id, version + 1));
}

#[test]
fn another_codec_or_address_of_the_agent_is_set_on_the_agents_leg_only() {
    let mut house = House::with_alice();
    let (_, _, agent) = house.talking();
    house.reoffers(agent, Some(PCMU));
    assert_eq!(house.says(), ["configure 1 PCMU", "accept 1"]);
    let stream = house.media.get(&agent).unwrap().stream;
    house.reoffers(agent, Some(&PCMU.replace("203.0.113.8", "203.0.113.99")));
    assert_eq!(house.says(), ["configure 1 PCMU", "accept 1"]);
    assert_eq!(house.media.get(&agent).unwrap().stream, stream, "our stream to the agent goes on");
}

#[test]
fn a_reinvite_without_an_offer_gets_what_is_in_force_and_its_ack_answers() {
    let mut house = House::with_alice();
    let (_, _, agent) = house.talking();
    house.reoffers(agent, None);
    assert_eq!(house.says(), ["accept 1"]);
    assert!(house.said.get(&agent).unwrap().contains("opus/48000"));
    house.leg(LegEvent::Acked { leg: agent, sdp: Some(Bytes::from(held("a=sendonly"))) });
    assert_eq!(house.says(), ["hold 1", "play 0 hold"]);
    house.leg(LegEvent::Acked { leg: agent, sdp: Some(Bytes::from(AGENT_ANSWER)) });
    assert_eq!(house.says(), [""; 0], "an answer without an offer");
}

#[test]
fn a_change_that_cannot_be_met_leaves_the_session_as_it_was() {
    let mut house = House::with_alice();
    let (_, _, agent) = house.talking();
    house.reoffers(agent, Some(G722));
    house.reoffers(agent, Some(&AGENT_ANSWER.replace("203.0.113.7", "127.0.0.1")));
    house.reoffers(agent, Some("rubbish"));
    assert_eq!(house.says(), ["reject 1 488", "reject 1 488", "reject 1 400"]);
}

#[test]
fn meta_never_renegotiates_and_a_ringing_call_cannot() {
    let mut house = House::with_alice();
    let (_, meta, _) = house.talking();
    house.reoffers(meta, Some(META_OFFER));
    assert_eq!(house.says(), ["reject 0 488"]);

    let mut house = House::new();
    let call = house.business_calls(Origin::Account("alice".into()), "+919876543210", Some(AGENT_ANSWER));
    house.ports_open(call);
    house.says();
    house.reoffers(LegId::originator(call), Some(AGENT_ANSWER));
    assert_eq!(house.says(), ["reject 0 491"]);
}

#[test]
fn a_leg_without_media_ends_the_call_on_both_sides_unless_it_holds() {
    let mut house = House::with_alice();
    let (call, meta, agent) = house.talking();
    house.reoffers(agent, Some(&held("a=inactive")));
    house.tell(Input::Media(MediaEvent::Silent { leg: agent }));
    assert_eq!(house.says(), ["hold 1", "play 0 hold", "accept 1"], "who holds has nothing to send");
    house.tell(Input::Media(MediaEvent::Silent { leg: meta }));
    assert_eq!(house.says(), ["hang up 0 media_timeout", "hang up 1 media_timeout", "close"]);
    house.confirm(call, &[0, 1]);
    house.says();
    let record = house.the_record();
    assert_eq!(record.termination.detail.as_deref(), Some("no media from the customer"));
    assert!(record.timeline.first(Milestone::MediaLost).is_some());
    house.ended_with(Cause::MediaTimeout);
}

#[test]
fn a_leg_that_takes_its_consent_back_ends_the_call_even_if_it_holds() {
    let mut house = House::with_alice();
    let (call, _, agent) = house.talking();
    house.reoffers(agent, Some(&held("a=inactive")));
    house.says();
    house.tell(Input::Media(MediaEvent::ConsentLost { leg: agent }));
    assert_eq!(house.says(), ["hang up 0 media_timeout", "hang up 1 media_timeout", "close"]);
    house.confirm(call, &[0, 1]);
    house.says();
    assert_eq!(house.the_record().termination.detail.as_deref(), Some("no consent to media from the agent"));
    house.ended_with(Cause::MediaTimeout);
}

#[test]
fn a_session_timer_that_runs_out_or_a_missing_ack_ends_the_call() {
    for how in [EndHow::Timer, EndHow::NoAck, EndHow::Lost] {
        let mut house = House::with_alice();
        let (call, meta, agent) = house.talking();
        let (gone, other) = if how == EndHow::Timer { (agent, 0) } else { (meta, 1) };
        house.ends(gone, how);
        assert_eq!(house.says(), [format!("hang up {other} signalling_lost"), "close".into()]);
        house.confirm(call, &[other]);
        house.says();
        house.ended_with(Cause::SignallingLost);
    }
}

#[test]
fn no_call_outlives_the_longest_one_allowed() {
    let mut house = House::with(|config| config.timers.longest = Duration::from_secs(3_600));
    house.register("alice", 1);
    let (call, ..) = house.talking();
    house.wait(Duration::from_secs(3_600));
    assert_eq!(house.says(), ["hang up 0 too_long", "hang up 1 too_long", "close"]);
    house.confirm(call, &[0, 1]);
    house.says();
    assert_eq!(house.the_record().termination.by, EndedBy::Bridge);
    house.ended_with(Cause::TooLong);
}

#[test]
fn a_refused_transfer_is_noted_and_changes_nothing() {
    let mut house = House::with_alice();
    let (call, _, agent) = house.talking();
    house.leg(LegEvent::TransferRefused { leg: agent });
    assert_eq!(house.says(), [""; 0]);
    house.ends(agent, EndHow::Bye);
    house.confirm(call, &[0]);
    house.says();
    assert!(house.the_record().timeline.first(Milestone::Renegotiated).is_some());
}

/// Two seconds of difference: the silence of 30 s is noticed before the ACK is given up after 32 s.
#[test]
fn an_answer_that_is_never_acknowledged_ends_as_lost_signalling_also_without_media() {
    let mut house = House::with_alice();
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.ports_open(call);
    let (meta, agent) = (LegId::originator(call), LegId { call, index: 1 });
    house.answers(agent, AGENT_ANSWER);
    house.says();
    house.tell(Input::Media(MediaEvent::Silent { leg: meta }));
    assert_eq!(house.says(), ["hang up 0 signalling_lost", "hang up 1 signalling_lost", "close"]);
    house.confirm(call, &[0, 1]);
    house.says();
    let end = house.the_record().termination.clone();
    assert_eq!(end.by, EndedBy::Customer);
    assert_eq!(end.detail.as_deref(), Some("no ACK, and no media from the customer"));
    house.ended_with(Cause::SignallingLost);
}

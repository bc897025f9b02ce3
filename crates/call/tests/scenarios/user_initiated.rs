//! A WhatsApp user calls the business.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::*;
use bytes::Bytes;
use setu_call::{DeskChange, EndHow, Input, LegEvent, MediaEvent, Origin, PeerKind, Step, UseCase};
use setu_model::{AnsweredBy, Cause, EndedBy, LegId, Milestone, Side};
use setu_sdp::AudioCodec;

#[test]
fn an_agent_answers_both_talk_and_the_customer_hangs_up() {
    let mut house = House::with_alice();
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    assert_eq!(house.says(), ["open 0 toward meta", "open 1 toward agents"]);

    house.ports_open(call);
    assert_eq!(house.says(), ["dial 1 alice at 1"]);
    let (meta, agent) = (LegId::originator(call), LegId { call, index: 1 });
    house.rings(agent);
    assert_eq!(house.says(), ["ring 0"]);

    house.wait(Duration::from_millis(2_500));
    house.answers(agent, AGENT_ANSWER);
    let talks =
        ["configure 1 opus", "configure 0 opus", "start 0", "start 1", "bridge", "answer 0", "record", "tap"];
    assert_eq!(house.says(), talks);
    house.acks(meta);
    house.wait(Duration::from_secs(5));

    let bye = LegEvent::Ended {
        leg: meta,
        how: EndHow::Bye,
        wacid: Some("wacid.A".into()),
        meta_duration_s: Some(5),
        detail: None,
    };
    house.leg(bye);
    assert_eq!(house.says(), ["hang up 1 success", "close"]);
    house.tell(Input::Media(MediaEvent::Closed { call, quality: Vec::new() }));
    assert_eq!(house.says(), ["stop recording"], "the file is closed behind the last frame");
    house.confirm(call, &[1]);
    assert_eq!(house.says(), ["record: success by customer"]);

    let record = house.the_record();
    assert_eq!((record.setup_ms, record.duration_ms, record.meta_duration_s), (Some(2_500), 5_000, Some(5)));
    assert_eq!(record.facts.wacid.as_deref(), Some("wacid.A"));
    assert_eq!(record.facts.number, NUMBER);
    assert_eq!(record.agent, Some(AnsweredBy::Agent("alice".into())));
    assert_eq!(record.recording.as_ref().map(|file| file.channels), Some(2));
    let legs: Vec<_> = record.legs.iter().map(|l| (l.side, l.codec.as_deref(), l.srtp.as_deref())).collect();
    let srtp = Some("AES_CM_128_HMAC_SHA1_80");
    assert_eq!(legs, [(Side::Meta, Some("opus"), srtp), (Side::Agents, Some("opus"), None)]);
    let told: Vec<_> = record.timeline.entries().iter().map(|entry| entry.what).collect();
    use Milestone::*;
    let expected = [
        Offered,
        Reserved,
        Dialled,
        Ringing,
        Answered,
        Bridged,
        RecordingStarted,
        Acknowledged,
        HungUp,
        RecordingStopped,
        Ended,
    ];
    assert_eq!(told, expected);
    let steps: Vec<_> = house.progress.iter().map(|p| (&p.step, p.agent.is_some())).collect();
    assert_eq!(steps, [(&Step::Offered, false), (&Step::Ringing, false), (&Step::Answered, true)]);
    house.is_clean();
}

#[test]
fn the_record_holds_what_each_legs_packets_looked_like_whichever_fork_won() {
    let mut house = House::with_alice();
    house.register("alice", 2);
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.ports_open(call);
    house.answers(LegId { call, index: 2 }, AGENT_ANSWER);
    house.ends(LegId::originator(call), EndHow::Bye);
    house.confirm(call, &[1, 2]);
    house.says();
    let packets: Vec<_> =
        house.the_record().legs.iter().map(|leg| leg.media.map(|m| m.received_packets)).collect();
    assert_eq!(packets, [Some(100), None, Some(101)]);
}

#[test]
fn all_contacts_of_an_agent_ring_and_the_first_to_answer_wins() {
    let mut house = House::with_alice();
    house.register("alice", 2);
    house.register("alice", 3);
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.ports_open(call);
    house.says();
    let offers: Vec<_> = house.dials.iter().map(|dial| dial.offer.clone()).collect();
    assert_eq!(offers.len(), 3);
    house.answers(LegId { call, index: 2 }, AGENT_ANSWER);
    let said = house.says();
    assert_eq!(
        said.iter().filter(|s| s.starts_with("hang up")).collect::<Vec<_>>(),
        ["hang up 1 success", "hang up 3 success"]
    );
    // The 200 of another phone crosses our CANCEL: its session hangs up by itself.
    house.answers(LegId { call, index: 3 }, AGENT_ANSWER);
    assert_eq!(house.says(), [""; 0]);
}

#[test]
fn each_fork_is_offered_keys_of_its_own() {
    let mut house = House::new();
    for contact in [1, 2] {
        let contact = setu_call::ContactId(contact);
        house.tell(Input::Desk(DeskChange::ContactUp { agent: "alice".into(), contact, secure: true }));
    }
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.ports_open(call);
    house.says();
    let keys: Vec<_> = house
        .dials
        .iter()
        .map(|dial| dial.offer.lines().find(|line| line.starts_with("a=crypto")).unwrap().to_owned())
        .collect();
    assert_eq!(keys.len(), 2);
    assert_ne!(keys.first(), keys.last());
}

#[test]
fn phones_and_trunks_are_offered_the_codecs_of_the_configuration_in_its_order() {
    let mut house = House::with(|config| {
        config.agents.get_mut("alice").unwrap().codecs = vec![AudioCodec::Pcma, AudioCodec::Opus];
        config.trunks.get_mut("pbx").unwrap().codecs = vec![AudioCodec::Pcmu];
    });
    house.register("alice", 1);
    for number in [NUMBER, TRUNK_NUMBER] {
        let call = house.user_calls(number, Some(META_OFFER));
        house.ports_open(call);
    }
    let codecs = |dial: &setu_call::Dial| -> Vec<String> {
        let maps = dial.offer.lines().filter_map(|line| line.strip_prefix("a=rtpmap:")?.split_once(' '));
        let names = maps.filter_map(|(_, map)| Some(map.split_once('/')?.0.to_ascii_lowercase()));
        names.filter(|name| name != "telephone-event").collect()
    };
    let offered: Vec<_> = house.dials.iter().map(codecs).collect();
    // Comfort noise goes behind the codecs that have no pauses of their own.
    assert_eq!(offered, [vec!["pcma", "opus", "cn"], vec!["pcmu", "cn"]]);
}

#[test]
fn a_number_on_a_trunk_rings_the_configured_extension_whatever_was_dialled() {
    let mut house = House::new();
    let call = house.user_calls(TRUNK_NUMBER, Some(META_OFFER));
    house.ports_open(call);
    house.answers(LegId { call, index: 1 }, PCMU);
    let said = house.says();
    assert!(said.contains(&"dial 1 100 at pbx".to_owned()), "{said:?}");
    assert!(said.contains(&"configure 1 PCMU".to_owned()), "{said:?}");
    assert!(!said.contains(&"record".to_owned()), "this number is not recorded");
    assert_eq!(house.media.get(&LegId { call, index: 1 }).unwrap().peer, PeerKind::Trunk);
    house.ends(LegId { call, index: 1 }, EndHow::Bye);
    house.confirm(call, &[0]);
    house.says();
    assert_eq!(house.the_record().agent, Some(AnsweredBy::Trunk("pbx".into())));
    house.ended_with(Cause::Success);
}

#[test]
fn without_an_agent_the_call_is_refused_at_once_and_nothing_is_opened() {
    let mut house = House::new();
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    assert_eq!(house.says(), ["refuse 0 480"]);
    house.ends(LegId::originator(call), EndHow::Local);
    assert_eq!(house.says(), ["record: unreachable by bridge"]);
    assert_eq!(house.the_record().termination.detail.as_deref(), Some("no agent is registered"));
    house.is_clean();
}

#[test]
fn a_trunk_that_does_not_answer_its_pings_is_not_dialled() {
    let mut house = House::new();
    house.tell(Input::Desk(DeskChange::TrunkDown { trunk: "pbx".into() }));
    house.user_calls(TRUNK_NUMBER, Some(META_OFFER));
    assert_eq!(house.says(), ["refuse 0 480"]);
    house.tell(Input::Desk(DeskChange::TrunkUp { trunk: "pbx".into() }));
    house.wait(Duration::from_secs(40));
    house.user_calls(TRUNK_NUMBER, Some(META_OFFER));
    assert_eq!(house.says().last().unwrap(), "open 1 toward agents");
}

#[test]
fn an_unknown_number_and_a_call_from_the_wrong_side_are_refused() {
    let mut house = House::with_alice();
    house.user_calls("+15559999999", Some(META_OFFER));
    assert_eq!(house.says(), ["refuse 0 404"]);
    house.business_calls(Origin::Account("mallory".into()), "+919876543210", Some(AGENT_ANSWER));
    assert_eq!(house.says(), ["refuse 0 403"]);
}

#[test]
fn an_offer_that_cannot_be_met_is_refused_before_anybody_rings() {
    let mut house = House::with_alice();
    let clear = META_OFFER.replace("RTP/SAVP", "RTP/AVP").replace("a=crypto", "a=x-crypto");
    let call = house.user_calls(NUMBER, Some(&clear));
    house.says();
    house.ports_open(call);
    assert_eq!(house.says(), ["refuse 0 488", "close"]);
    house.confirm(call, &[0]);
    house.says();
    house.ended_with(Cause::IncompatibleMedia);
}

#[test]
fn media_is_never_sent_into_a_network_that_is_not_allowed() {
    for inner in
        ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.100.100.200", "224.0.0.1", "255.255.255.255"]
    {
        let mut house = House::with_alice();
        let call = house.user_calls(NUMBER, Some(&META_OFFER.replace("57.144.43.49", inner)));
        house.ports_open(call);
        assert!(house.says().contains(&"refuse 0 488".to_owned()), "{inner}");
    }
    for inner in
        ["::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "fd00:ec2::254", "64:ff9b::7f00:1", "fe80::1"]
    {
        let mut house = House::with_alice();
        let offer = META_OFFER.replace("IN IP4 57.144.43.49", &format!("IN IP6 {inner}"));
        let call = house.user_calls(NUMBER, Some(&offer));
        house.ports_open(call);
        assert!(house.says().contains(&"refuse 0 488".to_owned()), "{inner}");
    }

    let mut house = House::with_alice();
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.ports_open(call);
    house.says();
    house.answers(LegId { call, index: 1 }, &AGENT_ANSWER.replace("203.0.113.7", "10.0.0.9"));
    assert_eq!(house.says(), ["hang up 1 incompatible_media", "refuse 0 488", "close"]);
}

#[test]
fn a_phone_that_answers_with_nothing_usable_is_hung_up_and_the_next_agent_rings() {
    let mut house = House::with_alice();
    house.register("bob", 2);
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.ports_open(call);
    house.says();
    house.answers(LegId { call, index: 1 }, G722);
    assert_eq!(house.says(), ["hang up 1 incompatible_media", "dial 2 bob at 2"]);
    house.answers(LegId { call, index: 2 }, AGENT_ANSWER);
    assert!(house.says().contains(&"answer 0".to_owned()));
}

#[test]
fn a_busy_agent_passes_the_call_on_and_what_a_person_decided_is_what_meta_hears() {
    let mut house = House::with_alice();
    house.register("bob", 2);
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.ports_open(call);
    house.says();
    house.refuses(LegId { call, index: 1 }, 603);
    assert_eq!(house.says(), ["dial 2 bob at 2"]);
    house.refuses(LegId { call, index: 2 }, 503);
    assert_eq!(house.says(), ["refuse 0 603", "close"]);
    house.confirm(call, &[0]);
    house.says();
    assert_eq!(house.the_record().termination.by, EndedBy::Agent);
    house.ended_with(Cause::Declined);
}

#[test]
fn one_phone_that_is_busy_does_not_silence_the_others_but_a_decline_does() {
    let mut house = House::with_alice();
    for contact in [2, 3] {
        house.register("alice", contact);
    }
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.ports_open(call);
    house.says();
    house.refuses(LegId { call, index: 1 }, 486);
    assert_eq!(house.says(), [""; 0]);
    house.refuses(LegId { call, index: 2 }, 603);
    assert_eq!(house.says(), ["hang up 3 declined", "refuse 0 603", "close"]);
}

#[test]
fn an_agent_who_does_not_answer_makes_room_for_the_next_one() {
    let mut house = House::with_alice();
    house.register("bob", 2);
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.ports_open(call);
    house.says();
    house.wait(Duration::from_secs(20));
    assert_eq!(house.says(), ["hang up 1 no_answer", "dial 2 bob at 2"]);
    house.wait(Duration::from_secs(25));
    assert_eq!(house.says(), ["refuse 0 480", "hang up 2 no_answer", "close"]);
    assert_eq!(house.elapsed(), Duration::from_secs(45), "before Meta's own 60 s");
    house.confirm(call, &[0, 1, 2]);
    house.says();
    house.ended_with(Cause::NoAnswer);
}

#[test]
fn the_only_agent_rings_until_the_end() {
    let mut house = House::with_alice();
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.ports_open(call);
    house.says();
    house.wait(Duration::from_millis(44_999));
    assert_eq!(house.says(), [""; 0]);
    house.wait(Duration::from_millis(1));
    assert_eq!(house.says(), ["refuse 0 480", "hang up 1 no_answer", "close"]);
}

#[test]
fn a_customer_who_gives_up_stops_the_ringing_and_frees_the_agent() {
    let mut house = House::with_alice();
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.ports_open(call);
    house.says();
    house.ends(LegId::originator(call), EndHow::Cancelled);
    assert_eq!(house.says(), ["hang up 1 cancelled", "close"]);
    // The agent's 200 crosses the CANCEL.
    house.answers(LegId { call, index: 1 }, AGENT_ANSWER);
    assert_eq!(house.says(), [""; 0]);
    house.ends(LegId { call, index: 1 }, EndHow::Local);
    let next = house.user_calls(NUMBER, Some(META_OFFER));
    assert_eq!(house.says().len(), 2, "Alice takes the next call before the ports of this one are confirmed");
    house.confirm(call, &[]);
    house.ends(LegId::originator(next), EndHow::Cancelled);
    house.confirm(next, &[]);
    house.says();
    assert!(house.records.iter().all(|record| record.termination.cause == Cause::Cancelled));
    assert!(house.records.iter().all(|record| record.answered.is_none() && record.agent.is_none()));
    house.is_clean();
}

#[test]
fn a_cancel_before_the_ports_are_open_gives_the_ports_back() {
    let mut house = House::with_alice();
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.ends(LegId::originator(call), EndHow::Cancelled);
    house.ports_open(call);
    assert_eq!(house.says(), ["open 0 toward meta", "open 1 toward agents", "close"]);
    house.confirm(call, &[]);
    house.says();
    house.ended_with(Cause::Cancelled);
}

#[test]
fn a_cancel_that_crosses_our_answer_ends_as_cancelled_without_a_second_of_talk() {
    let mut house = House::with_alice();
    let (call, meta, _) = house.talking();
    house.wait(Duration::from_millis(80));
    house.ends(meta, EndHow::Cancelled);
    house.confirm(call, &[1]);
    house.says();
    assert_eq!((house.the_record().answered, house.the_record().duration_ms), (None, 0));
    house.ended_with(Cause::Cancelled);
}

#[test]
fn without_a_port_the_call_is_refused_as_our_own_fault() {
    let mut house = House::with_alice();
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.says();
    house.tell(Input::Media(MediaEvent::OpenFailed {
        leg: LegId::originator(call),
        why: "no free port".into(),
    }));
    assert_eq!(house.says(), ["refuse 0 503", "close"]);
    house.confirm(call, &[0]);
    house.says();
    house.ended_with(Cause::Fault);
}

#[test]
fn early_media_of_the_agent_stays_in_the_house_unless_the_operator_wants_it() {
    let mut house = House::with_alice();
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.ports_open(call);
    house.says();
    let early = LegEvent::Ringing { leg: LegId { call, index: 1 }, early: Some(Bytes::from(AGENT_ANSWER)) };
    house.leg(early.clone());
    house.leg(early);
    assert_eq!(house.says(), ["ring 0"], "once, without audio");

    let mut house = House::with(|config| config.early_media_to_meta = true);
    house.register("alice", 1);
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.ports_open(call);
    house.says();
    let agent = LegId { call, index: 1 };
    house.rings(agent);
    house.leg(LegEvent::Ringing { leg: agent, early: Some(Bytes::from(AGENT_ANSWER)) });
    let early = [
        "ring 0",
        "configure 1 opus",
        "configure 0 opus",
        "start 0",
        "start 1",
        "bridge",
        "ring 0 with audio",
    ];
    assert_eq!(house.says(), early);
    let early = house.said.get(&LegId::originator(call)).cloned();
    // Asterisk's 200 after a 183 often repeats nothing.
    house.leg(LegEvent::Answered { leg: agent, sdp: None, learnt: None });
    assert_eq!(house.says(), ["answer 0", "record", "tap"]);
    assert_eq!(house.said.get(&LegId::originator(call)).cloned(), early, "the same answer as in the 183");
}

#[test]
fn a_second_call_of_the_same_customer_to_the_same_number_is_refused_as_busy() {
    let mut house = House::with_alice();
    house.register("bob", 2);
    let (call, meta, _) = house.talking();
    house.user_calls(NUMBER, Some(META_OFFER));
    assert_eq!(house.says(), ["refuse 0 486"]);
    house.ends(meta, EndHow::Bye);
    house.user_calls(NUMBER, Some(META_OFFER));
    assert_eq!(house.says().last().unwrap(), "open 1 toward agents", "as soon as Meta's leg is over");
    house.confirm(call, &[1]);
}

#[test]
fn an_agent_is_told_who_calls_and_from_which_button() {
    let mut house = House::with_alice();
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.ports_open(call);
    house.says();
    let headers = setu_call::setu_headers(&house.dials.first().unwrap().facts, None);
    assert!(headers.contains(&("X-Setu-Wacid".into(), "wacid.A".into())));
    assert!(headers.contains(&("X-Setu-Customer".into(), CUSTOMER.into())));
}

#[test]
fn a_button_begins_a_call_of_the_use_case_whose_trigger_fits_best() {
    let use_case = |triggers: [&str; 2], queue: &str| UseCase {
        label: "For people".to_owned(),
        triggers: triggers.map(str::to_owned).to_vec(),
        queue: Some(queue.to_owned()),
        priority: Some(2),
        ..UseCase::default()
    };
    for (payload, name) in
        [("cart-7", Some("cart")), ("cart-gold-7", Some("vip")), ("basket", Some("cart")), ("baskets", None)]
    {
        let use_cases = BTreeMap::from([
            ("cart".to_owned(), use_case(["cart-*", "basket"], "carts")),
            ("vip".to_owned(), use_case(["cart-gold-*", "gold"], "gold")),
        ]);
        let mut house = House::with(|config| config.use_cases = use_cases.clone());
        house.register("alice", 1);
        let call = house.user_taps(payload);
        house.ports_open(call);
        house.says();
        let facts = &house.dials.first().unwrap().facts;
        assert_eq!(facts.use_case.as_deref(), name, "{payload}");
        let headers = setu_call::setu_headers(facts, name.and_then(|name| use_cases.get(name)));
        let told =
            |header: &str| headers.iter().find(|(name, _)| name == header).map(|(_, value)| value.as_str());
        assert_eq!(told("X-Setu-Use-Case"), name);
        assert_eq!(told("X-Setu-Use-Case-Label"), name.map(|_| "For%20people"));
        assert_eq!(told("X-Setu-Priority"), name.map(|_| "2"));
    }
}

#[test]
fn a_customer_and_a_number_in_a_call_are_known_to_talk_until_it_ends() {
    let mut house = House::with_alice();
    assert!(!house.board.is_talking(NUMBER, CUSTOMER));
    let (_, meta, _) = house.talking();
    assert!(house.board.is_talking(NUMBER, CUSTOMER));
    assert!(!house.board.is_talking(TRUNK_NUMBER, CUSTOMER));
    house.ends(meta, EndHow::Bye);
    assert!(!house.board.is_talking(NUMBER, CUSTOMER));
}

/// Meta never confirms our BYE, for up to 32 s; its customer calls again meanwhile.
#[test]
fn a_customer_who_calls_again_need_not_wait_for_the_confirmation_of_the_last_end() {
    let mut house = House::with_alice();
    let (call, _, agent) = house.talking();
    house.ends(agent, EndHow::Bye);
    assert_eq!(house.says(), ["hang up 0 success", "close"]);
    let again = house.user_calls(NUMBER, Some(META_OFFER));
    assert_eq!(house.says(), ["open 0 toward meta", "open 1 toward agents"]);
    // The one that is over gives nothing back that is the new one's.
    house.confirm(call, &[0]);
    house.says();
    house.user_calls(NUMBER, Some(META_OFFER));
    assert_eq!(house.says().first().map(String::as_str), Some("refuse 0 486"), "the new one talks");
    house.ports_open(again);
    assert!(house.says().contains(&"dial 1 alice at 1".to_owned()));
}

#[test]
fn the_business_waits_for_the_end_at_meta() {
    let mut house = House::with_alice();
    let (_, _, agent) = house.talking();
    house.ends(agent, EndHow::Bye);
    house.says();
    house.business_calls(Origin::Account("alice".into()), CUSTOMER, Some(AGENT_ANSWER));
    assert_eq!(house.says(), ["refuse 0 486"], "to Meta the last call may still be on");
}

//! Calls of the peer.

use std::time::Duration;

use bytes::Bytes;

use super::peer::{Bench, SDP, in_dialog, text_of, to_tag, trunk, trunk_invite};
use crate::endpoint::{CommandError, EndHow, Event};
use crate::{Identity, Method};

#[test]
fn a_call_rings_is_answered_acknowledged_and_hung_up() {
    let mut bench = Bench::new();
    let (session, invite) = bench.incoming();

    bench.endpoint.ring(session, 180, None, bench.now).unwrap();
    bench.drain();
    let ringing = bench.next_status(180);
    assert_eq!(ringing.header("Contact").as_deref(), Some("<sip:+15550001@192.0.2.1:5060>"));

    bench.receive(&trunk(), &invite);
    bench.next_status(180);
    bench.no_event();

    bench
        .endpoint
        .answer(session, Bytes::from_static(b"v=0"), &[("X-A".into(), "b".into())], bench.now)
        .unwrap();
    bench.drain();
    let ok = bench.next_status(200);
    assert_eq!((ok.header("X-A").as_deref(), ok.body().as_ref()), (Some("b"), b"v=0".as_slice()));
    let tag = to_tag(&ok);
    assert_eq!(tag, to_tag(&ringing));

    bench.receive(&trunk(), &in_dialog("ACK", 1, "a", &tag));
    assert!(matches!(bench.event(), Event::Acked { body: None, .. }));
    bench.pass(Duration::from_secs(60));
    bench.silence();

    bench.receive(&trunk(), &in_dialog("BYE", 2, "b", &tag));
    bench.next_status(200);
    assert!(matches!(bench.event(), Event::Ended { how: EndHow::Bye { .. }, .. }));
    assert_eq!(bench.endpoint.hang_up(session, &[], bench.now), Err(CommandError::UnknownSession));

    bench.pass(Duration::from_secs(64));
    assert!(bench.endpoint.is_idle(), "{:?}", bench.endpoint);
}

#[test]
fn the_2xx_is_sent_again_until_its_ack_with_doubling_gaps_up_to_t2() {
    let mut bench = Bench::new();
    let (session, _) = bench.incoming();
    bench.endpoint.answer(session, Bytes::from_static(b"v=0"), &[], bench.now).unwrap();
    bench.drain();
    bench.next_status(200);
    let mut at_ms = Vec::new();
    for step in 1..=130 {
        bench.pass(Duration::from_millis(100));
        if bench.sent.pop_front().is_some() {
            at_ms.push(step * 100);
        }
    }
    assert_eq!(at_ms, [500, 1_500, 3_500, 7_500, 11_500]);
}

#[test]
fn an_answer_that_is_never_acknowledged_is_hung_up_after_64_t1() {
    let mut bench = Bench::new();
    let (session, _) = bench.incoming();
    bench.endpoint.answer(session, Bytes::from_static(b"v=0"), &[], bench.now).unwrap();
    bench.pass(Duration::from_millis(31_999));
    bench.no_event();
    bench.sent.clear();
    bench.pass(Duration::from_millis(1));
    assert!(matches!(bench.event(), Event::Ended { how: EndHow::NoAck, .. }));
    bench.next_request(Method::Bye);
    bench.sent.clear();
    bench.pass(Duration::from_secs(64));
    assert!(bench.endpoint.is_idle(), "{:?}", bench.endpoint);
}

#[test]
fn hanging_up_before_the_ack_waits_for_it() {
    let mut bench = Bench::new();
    let (session, _) = bench.incoming();
    bench.endpoint.answer(session, Bytes::from_static(b"v=0"), &[], bench.now).unwrap();
    bench.endpoint.hang_up(session, &[], bench.now).unwrap();
    bench.drain();
    let tag = to_tag(&bench.next_status(200));
    bench.silence();
    bench.receive(&trunk(), &in_dialog("ACK", 1, "a", &tag));
    let bye = bench.next_request(Method::Bye);
    bench.receive_message(&trunk(), super::peer::response(&bye, 200, "pbx", &[], ""));
    assert!(matches!(bench.event(), Event::Ended { how: EndHow::Local, .. }));
}

#[test]
fn an_invite_whose_body_is_no_description_gets_415_with_what_we_take() {
    let mut bench = Bench::new();
    bench.receive(&trunk(), &trunk_invite("in1").replace("application/sdp", "text/plain"));
    assert_eq!(bench.next_status(415).header("Accept").as_deref(), Some("application/sdp"));
    assert!(matches!(bench.event(), Event::TurnedAway { status: 415, identity: Identity::Trunk(_), .. }));
    bench.no_event();
}

#[test]
fn a_delayed_offer_is_answered_in_the_ack() {
    let mut bench = Bench::new();
    let (session, _) = bench.incoming();
    bench.endpoint.answer(session, Bytes::from_static(b"offer"), &[], bench.now).unwrap();
    bench.drain();
    let tag = to_tag(&bench.next_status(200));
    bench.receive(&trunk(), &super::peer::in_dialog_with("ACK", 1, "a", &tag, "", SDP));
    match bench.event() {
        Event::Acked { body, .. } => assert_eq!(body.unwrap(), SDP),
        other => panic!("{other:?}"),
    }
}

#[test]
fn cancel_is_answered_and_the_invite_gets_487() {
    let mut bench = Bench::new();
    let (_, invite) = bench.incoming();
    let cancel = invite
        .replace("INVITE sip", "CANCEL sip")
        .replace("1 INVITE", "1 CANCEL")
        .replace(SDP, "")
        .replace(&format!("Content-Length: {}", SDP.len()), "Content-Length: 0");
    bench.receive(&trunk(), &cancel);
    bench.next_status(200);
    let gone = bench.next_status(487);
    assert!(matches!(bench.event(), Event::Ended { how: EndHow::Cancelled { .. }, .. }));

    let ack = invite
        .replace("INVITE sip", "ACK sip")
        .replace("1 INVITE", "1 ACK")
        .replace(SDP, "")
        .replace(&format!("Content-Length: {}", SDP.len()), "Content-Length: 0")
        .replace(
            "To: <sip:+15550001@192.0.2.1>",
            &format!("To: <sip:+15550001@192.0.2.1>;tag={}", to_tag(&gone)),
        );
    bench.receive(&trunk(), &ack);
    bench.pass(Duration::from_secs(40));
    bench.silence();
    assert!(bench.endpoint.is_idle(), "{:?}", bench.endpoint);
}

#[test]
fn cancel_that_crosses_the_answer_changes_nothing() {
    let mut bench = Bench::new();
    let (session, invite) = bench.incoming();
    bench.endpoint.answer(session, Bytes::from_static(b"v=0"), &[], bench.now).unwrap();
    bench.drain();
    bench.next_status(200);
    let cancel = invite.replace("INVITE sip", "CANCEL sip").replace("1 INVITE", "1 CANCEL");
    bench.receive(&trunk(), &cancel);
    bench.next_status(200);
    bench.silence();
    bench.no_event();
}

#[test]
fn cancel_from_another_address_is_not_for_this_call() {
    let mut bench = Bench::new();
    let (_, invite) = bench.incoming();
    let cancel = invite.replace("INVITE sip", "CANCEL sip").replace("1 INVITE", "1 CANCEL");
    bench.receive(&super::peer::stranger(), &cancel);
    bench.next_status(481);
    assert!(matches!(bench.event(), Event::StrangerRefused { status: Some(481), .. }));
    bench.no_event();
}

#[test]
fn a_refusal_is_sent_again_until_its_ack() {
    let mut bench = Bench::new();
    let (session, _) = bench.incoming();
    bench.endpoint.refuse(session, 486, Some("Not now"), &[], bench.now).unwrap();
    bench.drain();
    let busy = bench.next_status(486);
    assert_eq!(busy.reason(), "Not now");
    assert!(matches!(bench.event(), Event::Ended { how: EndHow::Local, .. }));
    bench.pass(Duration::from_secs(4));
    assert_eq!(bench.sent.len(), 3);
    bench.pass(Duration::from_secs(60));
    assert!(bench.endpoint.is_idle(), "{:?}", bench.endpoint);
}

#[test]
fn the_caller_may_hang_up_before_the_answer() {
    let mut bench = Bench::new();
    let (session, _) = bench.incoming();
    bench.endpoint.ring(session, 180, None, bench.now).unwrap();
    bench.drain();
    let tag = to_tag(&bench.next_status(180));
    bench.receive(&trunk(), &in_dialog("BYE", 2, "b", &tag));
    bench.next_status(200);
    let gone = bench.next_status(487);
    assert_eq!(gone.cseq().unwrap().method, Method::Invite);
    assert!(matches!(bench.event(), Event::Ended { how: EndHow::Bye { .. }, .. }));
}

#[test]
fn a_request_a_proxy_forked_to_us_twice_is_merged() {
    let mut bench = Bench::new();
    bench.incoming();
    bench.receive(&trunk(), &trunk_invite("other"));
    bench.next_status(482);
    bench.no_event();
}

#[test]
fn a_call_without_a_way_back_is_refused() {
    let mut bench = Bench::new();
    bench.receive(&trunk(), &trunk_invite("x").replace("Contact: <sip:100@198.51.100.7:5060>\r\n", ""));
    bench.next_status(400);
    bench.no_event();
}

#[test]
fn what_takes_too_many_hops_or_requires_the_unknown_is_refused() {
    let mut bench = Bench::new();
    bench.receive(&trunk(), &trunk_invite("x").replace("Max-Forwards: 70", "Max-Forwards: 0"));
    bench.next_status(483);
    assert!(matches!(bench.event(), Event::TurnedAway { status: 483, .. }));
    let demanding =
        trunk_invite("y").replace("Max-Forwards: 70", "Require: 100rel, timer\r\nMax-Forwards: 70");
    bench.receive(&trunk(), &demanding);
    let refusal = bench.next_status(420);
    assert_eq!(refusal.header("Unsupported").as_deref(), Some("100rel"), "{}", text_of(&refusal));
    assert!(matches!(bench.event(), Event::TurnedAway { status: 420, .. }));
    bench.no_event();
}

#[test]
fn a_full_house_asks_to_come_back_later() {
    let mut config = super::peer::config();
    config.limits.sessions = 1;
    let mut bench = Bench::with(config);
    bench.incoming();
    bench.receive(&trunk(), &trunk_invite("y").replace("call@pbx", "another@pbx"));
    let refusal = bench.next_status(503);
    assert_eq!(refusal.header("Retry-After").as_deref(), Some("10"));
    assert_eq!(bench.endpoint.counters().overloaded, 1);
}

#[test]
fn a_call_ends_even_where_no_other_may_begin() {
    let mut config = super::peer::config();
    config.limits.transactions = 3;
    let mut bench = Bench::with(config);
    let (_, tag) = bench.answered();
    for n in 2..4 {
        bench.receive(&trunk(), &in_dialog("OPTIONS", n, &format!("o{n}"), &tag));
        bench.next_status(200);
    }
    bench.receive(&trunk(), &trunk_invite("y").replace("call@pbx", "another@pbx"));
    let refusal = bench.next_status(503);
    assert_eq!(refusal.header("Retry-After").as_deref(), Some("10"));
    bench.no_event();
    bench.receive(&trunk(), &in_dialog("BYE", 4, "b", &tag));
    bench.next_status(200);
    assert!(matches!(bench.event(), Event::Ended { how: EndHow::Bye { .. }, .. }));
}

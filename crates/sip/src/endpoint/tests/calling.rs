//! Calls of ours.

use std::time::Duration;

use setu_model::{Secret, Side};

use super::peer::{
    Bench, CONTACT, RECORD_ROUTES, SDP, SECRET, arrival, invite_request, meta, response, text_of, trunk,
};
use crate::digest::Credentials;
use crate::endpoint::{CommandError, EarlyId, EndHow, Event};
use crate::{FlowId, Hop, Message, Method, Target, Transport};

#[test]
fn a_call_rings_is_answered_and_acknowledged_and_hung_up() {
    let mut bench = Bench::new();
    let (session, invite) = bench.outgoing();
    assert_eq!(invite.header("X-Setu-Wacid").as_deref(), Some("wacid.1"));
    assert!(invite.header("From").unwrap().starts_with("\"A \\\"caller\\\"\" <sip:+4917@192.0.2.1>;tag="));
    assert_eq!(invite.header("Contact").as_deref(), Some("<sip:setu@192.0.2.1:5060>"));
    assert_eq!(invite.header("Session-Expires"), None);

    bench.receive_message(&trunk(), response(&invite, 100, "", &[], ""));
    bench.no_event();
    bench.receive_message(&trunk(), response(&invite, 183, "b", &[CONTACT], SDP));
    match bench.event() {
        Event::Progress { status: 183, early: EarlyId(0), body: Some(body), .. } => assert_eq!(body, SDP),
        other => panic!("{other:?}"),
    }
    let ok = response(&invite, 200, "b", &[CONTACT], SDP);
    bench.receive_message(&trunk(), ok.clone());
    let ack = bench.next_request(Method::Ack);
    assert_eq!((ack.request_uri(), ack.cseq().unwrap().number), (Some("sip:100@198.51.100.7:5060"), 1));
    assert!(matches!(bench.event(), Event::Answered { early: EarlyId(0), .. }));

    // The ACK was lost: the 2xx comes again and gets the same ACK.
    bench.receive_message(&trunk(), ok);
    bench.next_request(Method::Ack);
    bench.no_event();

    bench.endpoint.hang_up(session, &[("Reason".into(), "Q.850;cause=16".into())], bench.now).unwrap();
    bench.drain();
    let bye = bench.next_request(Method::Bye);
    assert_eq!(bye.cseq().unwrap().number, 2);
    assert_eq!(bye.header("Reason").as_deref(), Some("Q.850;cause=16"));
    bench.no_event();
    bench.receive_message(&trunk(), response(&bye, 200, "b", &[], ""));
    assert!(matches!(bench.event(), Event::Ended { how: EndHow::Local, .. }));
    bench.pass(Duration::from_secs(40));
    assert!(bench.endpoint.is_idle(), "{:?}", bench.endpoint);
}

#[test]
fn a_refusal_is_acknowledged_and_told_with_its_reason() {
    let mut bench = Bench::new();
    let (_, invite) = bench.outgoing();
    bench.receive_message(&trunk(), response(&invite, 486, "b", &[], ""));
    bench.next_request(Method::Ack);
    match bench.event() {
        Event::Refused { status: 486, message: Some(message), .. } => {
            assert_eq!(message.reason(), "Busy Here")
        }
        other => panic!("{other:?}"),
    }
    bench.pass(Duration::from_secs(40));
    assert!(bench.endpoint.is_idle());
}

#[test]
fn nobody_there_is_408_and_no_way_there_is_503() {
    let mut bench = Bench::new();
    bench.outgoing();
    bench.pass(Duration::from_secs(32));
    assert!(matches!(bench.event(), Event::Refused { status: 408, message: None, .. }));

    let session = bench.endpoint.invite(invite_request(), bench.now).unwrap();
    bench.sent.clear();
    bench.drain();
    let token = bench.next_transmit().token;
    bench.endpoint.handle_send_failed(token, bench.now);
    bench.drain();
    assert!(matches!(bench.event(), Event::Refused { status: 503, session: s, .. } if s == session));
}

#[test]
fn a_stream_that_closes_before_any_answer_fails_the_call_and_later_does_not() {
    let mut bench = Bench::new();
    let tcp = arrival(8, Transport::Tcp, Side::Agents, "198.51.100.7:5060");
    let over_tcp = || {
        let mut request = invite_request();
        request.target = Target::Hop(Hop {
            side: Side::Agents,
            transport: Transport::Tcp,
            host: "198.51.100.7".to_owned(),
            port: Some(5060),
        });
        request
    };
    for answered in [false, true] {
        bench.endpoint.invite(over_tcp(), bench.now).unwrap();
        bench.drain();
        let transmit = bench.next_transmit();
        bench.endpoint.handle_bound(transmit.token, tcp.flow, tcp.remote, bench.now);
        if answered {
            bench.receive_message(&tcp, response(&transmit.message, 180, "b", &[], ""));
            bench.event();
        }
        bench.endpoint.handle_flow_closed(tcp.flow, bench.now);
        bench.drain();
        match answered {
            false => assert!(matches!(bench.event(), Event::Refused { status: 503, .. })),
            true => bench.no_event(),
        }
    }
}

#[test]
fn cancel_waits_for_a_provisional_response() {
    let mut bench = Bench::new();
    let (session, invite) = bench.outgoing();
    bench.endpoint.hang_up(session, &[], bench.now).unwrap();
    bench.drain();
    bench.silence();
    bench.receive_message(&trunk(), response(&invite, 100, "", &[], ""));
    let transmit = bench.next_transmit();
    let cancel = &transmit.message;
    assert_eq!(cancel.method(), Some(Method::Cancel));
    assert_eq!(cancel.top_via().unwrap().branch(), invite.top_via().unwrap().branch());
    assert_eq!(cancel.request_uri(), invite.request_uri());
    assert_eq!(cancel.header("To"), invite.header("To"));
    assert!(
        matches!(transmit.target, Target::FlowOr(flow, _) if flow == trunk().flow),
        "the INVITE's own way"
    );

    bench.receive_message(&trunk(), response(cancel, 200, "b", &[], ""));
    bench.no_event();
    bench.receive_message(&trunk(), response(&invite, 487, "b", &[], ""));
    bench.next_request(Method::Ack);
    assert!(matches!(bench.event(), Event::Refused { status: 487, .. }));
    bench.pass(Duration::from_secs(40));
    assert!(bench.endpoint.is_idle());
}

#[test]
fn a_200_that_crosses_cancel_is_acknowledged_and_hung_up() {
    for provisional in [false, true] {
        let mut bench = Bench::new();
        let (session, invite) = bench.outgoing();
        if provisional {
            bench.receive_message(&trunk(), response(&invite, 180, "b", &[], ""));
            bench.event();
        }
        bench.endpoint.hang_up(session, &[], bench.now).unwrap();
        bench.drain();
        if provisional {
            bench.next_request(Method::Cancel);
        }
        bench.receive_message(&trunk(), response(&invite, 200, "b", &[CONTACT], SDP));
        bench.next_request(Method::Ack);
        let bye = bench.next_request(Method::Bye);
        bench.no_event();
        bench.receive_message(&trunk(), response(&bye, 200, "b", &[], ""));
        assert!(matches!(bench.event(), Event::Ended { how: EndHow::Local, .. }));
        bench.no_event();
        bench.sent.clear();
        bench.pass(Duration::from_secs(64));
        assert!(bench.endpoint.is_idle(), "{:?}", bench.endpoint);
    }
}

#[test]
fn a_call_that_was_given_up_stays_given_up_while_it_rings_on() {
    let mut bench = Bench::new();
    let (session, invite) = bench.outgoing();
    bench.receive_message(&trunk(), response(&invite, 180, "b", &[], ""));
    bench.event();
    bench.endpoint.hang_up(session, &[], bench.now).unwrap();
    bench.drain();
    bench.next_request(Method::Cancel);
    for status in [180, 183] {
        bench.receive_message(&trunk(), response(&invite, status, "b", &[], ""));
    }
    bench.no_event();
    bench.receive_message(&trunk(), response(&invite, 200, "b", &[CONTACT], SDP));
    bench.next_request(Method::Ack);
    bench.next_request(Method::Bye);
}

#[test]
fn a_peer_that_answers_neither_cancel_nor_invite_is_given_up() {
    let mut bench = Bench::new();
    let (session, invite) = bench.outgoing();
    bench.receive_message(&trunk(), response(&invite, 180, "b", &[], ""));
    bench.event();
    bench.endpoint.hang_up(session, &[], bench.now).unwrap();
    bench.pass(Duration::from_secs(32));
    assert!(matches!(bench.event(), Event::Refused { status: 408, .. }));
    bench.pass(Duration::from_secs(1));
    assert!(bench.endpoint.is_idle(), "{:?}", bench.endpoint);
}

#[test]
fn a_phone_that_rings_for_ever_is_cancelled() {
    let mut bench = Bench::new();
    let (_, invite) = bench.outgoing();
    bench.receive_message(&trunk(), response(&invite, 180, "b", &[], ""));
    bench.event();
    bench.pass(Duration::from_secs(200));
    bench.next_request(Method::Cancel);
}

#[test]
fn the_first_branch_that_answers_wins_and_the_others_are_hung_up() {
    let mut bench = Bench::new();
    let (session, invite) = bench.outgoing();
    for (tag, id) in [("b1", 0), ("b2", 1)] {
        bench.receive_message(&trunk(), response(&invite, 180, tag, &[CONTACT], ""));
        assert!(matches!(bench.event(), Event::Progress { early, .. } if early == EarlyId(id)));
    }
    bench.receive_message(&trunk(), response(&invite, 200, "b2", &[CONTACT], SDP));
    bench.next_request(Method::Ack);
    assert!(matches!(bench.event(), Event::Answered { early: EarlyId(1), .. }));

    let other = ("Contact", "<sip:100@198.51.100.8:5060>");
    bench.receive_message(&trunk(), response(&invite, 200, "b1", &[other], SDP));
    let ack = bench.next_request(Method::Ack);
    let bye = bench.next_request(Method::Bye);
    for lost in [&ack, &bye] {
        assert_eq!(
            (lost.to().unwrap().tag(), lost.request_uri()),
            (Some("b1"), Some("sip:100@198.51.100.8:5060"))
        );
    }
    bench.no_event();
    bench.receive_message(&trunk(), response(&invite, 200, "b1", &[other], SDP));
    bench.next_request(Method::Ack);
    bench.silence();
    assert_eq!(bench.endpoint.dialog(session).unwrap().remote_tag, "b2");
}

#[test]
fn a_fork_bomb_is_bounded() {
    let mut bench = Bench::new();
    let (_, invite) = bench.outgoing();
    for branch in 0..100 {
        bench.receive_message(&trunk(), response(&invite, 180, &format!("b{branch}"), &[], ""));
    }
    assert_eq!((bench.events.len(), bench.endpoint.counters().forks_dropped), (16, 84));
}

#[test]
fn a_reliable_provisional_response_is_not_acknowledged_and_its_copies_are_told_once() {
    let mut bench = Bench::new();
    let (_, invite) = bench.outgoing();
    let reliable = response(&invite, 183, "b", &[CONTACT, ("Require", "100rel"), ("RSeq", "1")], SDP);
    for _ in 0..3 {
        bench.receive_message(&trunk(), reliable.clone());
    }
    assert!(matches!(bench.event(), Event::Progress { status: 183, .. }));
    bench.no_event();
    bench.silence();
}

#[test]
fn a_response_with_a_branch_of_nobody_is_counted_and_dropped() {
    let mut bench = Bench::new();
    let (_, invite) = bench.outgoing();
    let stray =
        text_of(&response(&invite, 200, "b", &[CONTACT], SDP)).replace("branch=z9hG4bK", "branch=z9hG4bKno");
    bench.receive(&trunk(), &stray);
    bench.no_event();
    bench.silence();
    assert_eq!(bench.endpoint.counters().stray_responses, 1);
}

// ---- toward Meta

const CHALLENGE: &str = "Digest realm=\"wa.meta.vc\",nonce=\"0123456789abcdef\",opaque=\"fedcba9876543210\",\
     algorithm=MD5,qop=\"auth\"";

fn to_meta(bench: &mut Bench) -> (crate::SessionId, Message) {
    let mut request = invite_request();
    request.side = Side::Meta;
    request.target = Target::Hop(Hop {
        side: Side::Meta,
        transport: Transport::Tls,
        host: "wa.meta.vc".to_owned(),
        port: Some(5061),
    });
    request.request_uri = "sip:+12195550714@wa.meta.vc;transport=tls".to_owned();
    request.credentials =
        Some(Credentials::of_number("wa.meta.vc", "+15550001", Secret::new(SECRET.to_owned())));
    request.session_timer = true;
    let session = bench.endpoint.invite(request, bench.now).unwrap();
    bench.drain();
    let transmit = bench.next_transmit();
    let there = meta_outbound();
    bench.endpoint.handle_bound(transmit.token, there.flow, there.remote, bench.now);
    (session, transmit.message)
}

/// The connection we opened to Meta.
fn meta_outbound() -> crate::Arrival {
    let mut there = arrival(20, Transport::Tls, Side::Meta, "203.0.113.5:5061");
    there.outbound = true;
    there.verified = ["wa.meta.vc".to_owned()].into();
    there
}

#[test]
fn metas_challenge_is_answered_with_the_next_cseq_on_the_same_way() {
    let mut bench = Bench::new();
    let (_, invite) = to_meta(&mut bench);
    assert_eq!(invite.header("Session-Expires"), None, "no session timer is offered toward Meta");
    bench.receive_message(
        &meta_outbound(),
        response(&invite, 407, "x", &[("Proxy-Authenticate", CHALLENGE)], ""),
    );
    bench.next_request(Method::Ack);
    let transmit = bench.next_transmit();
    let second = &transmit.message;
    let answer = second.header("Proxy-Authorization").unwrap();
    assert!(
        answer.contains("username=\"15550001\"") && answer.contains("opaque=\"fedcba9876543210\""),
        "{answer}"
    );
    assert_eq!(second.cseq().unwrap().number, 2);
    assert_eq!(
        (second.header("Call-ID"), second.header("From")),
        (invite.header("Call-ID"), invite.header("From"))
    );
    assert_ne!(second.top_via().unwrap().branch(), invite.top_via().unwrap().branch());
    assert!(matches!(&transmit.target, Target::FlowOr(FlowId(20), hop) if hop.host == "wa.meta.vc"));
    bench.no_event();

    // A second challenge of the same realm means that the password is wrong.
    let again = response(second, 407, "y", &[("Proxy-Authenticate", CHALLENGE)], "");
    bench.receive_message(&meta_outbound(), again);
    bench.next_request(Method::Ack);
    bench.silence();
    assert!(matches!(bench.event(), Event::Refused { status: 407, .. }));
}

#[test]
fn a_second_challenge_from_another_connection_finds_nobody() {
    let mut bench = Bench::new();
    let (_, invite) = to_meta(&mut bench);
    bench.receive_message(
        &meta_outbound(),
        response(&invite, 407, "x", &[("Proxy-Authenticate", CHALLENGE)], ""),
    );
    bench.next_request(Method::Ack);
    let second = bench.next_request(Method::Invite);
    let elsewhere = arrival(66, Transport::Tls, Side::Meta, "192.0.2.66:5061");
    let stale = format!("{CHALLENGE},stale=true");
    bench.receive_message(&elsewhere, response(&second, 407, "y", &[("Proxy-Authenticate", &stale)], ""));
    bench.silence();
    bench.no_event();
}

#[test]
fn a_stale_nonce_is_answered_again_but_not_for_ever() {
    let mut bench = Bench::new();
    let (_, mut invite) = to_meta(&mut bench);
    let mut rounds = 0;
    loop {
        let challenge = format!("{},stale=true", CHALLENGE.replace("0123", &format!("{rounds:04}")));
        let refusal = response(&invite, 407, "x", &[("Proxy-Authenticate", &challenge)], "");
        bench.receive_message(&meta_outbound(), refusal);
        bench.next_request(Method::Ack);
        match bench.sent.pop_front() {
            Some(transmit) => invite = transmit.message,
            None => break,
        }
        rounds += 1;
    }
    assert_eq!(rounds, 3);
}

#[test]
fn credentials_go_to_the_configured_realm_and_peer_only() {
    let other_realm = CHALLENGE.replace("wa.meta.vc", "evil.example");
    let from_elsewhere = arrival(66, Transport::Tls, Side::Meta, "192.0.2.66:5061");
    for (challenge, from) in [(other_realm.as_str(), meta_outbound()), (CHALLENGE, from_elsewhere)] {
        let mut bench = Bench::new();
        let (_, invite) = to_meta(&mut bench);
        bench.receive_message(&from, response(&invite, 407, "x", &[("Proxy-Authenticate", challenge)], ""));
        for transmit in &bench.sent {
            assert_eq!(transmit.message.header("Proxy-Authorization"), None);
            assert_eq!(transmit.message.method(), Some(Method::Ack));
        }
    }
}

#[test]
fn a_peer_that_called_us_gets_no_credentials_for_challenging_our_bye() {
    let mut bench = Bench::new();
    let (session, _) = bench.answered();
    bench.endpoint.hang_up(session, &[], bench.now).unwrap();
    bench.drain();
    let bye = bench.next_request(Method::Bye);
    bench.receive_message(&trunk(), response(&bye, 407, "pbx", &[("Proxy-Authenticate", CHALLENGE)], ""));
    bench.silence();
    assert!(matches!(bench.event(), Event::Ended { how: EndHow::Local, .. }));
    assert_eq!(bench.endpoint.counters().challenges_ignored, 1);
}

#[test]
fn requests_in_metas_dialog_follow_its_record_routes_byte_for_byte_in_reverse() {
    let mut bench = Bench::new();
    let (session, invite) = to_meta(&mut bench);
    let contact = "<sip:+12195550714@wa.meta.vc;transport=tls;ob;X-FB-Sip-Smc-Tier=sip.prod>;isfocus";
    let routes = [
        ("Record-Route", "<sip:onevc-sip-proxy.fbinfra.net:8191;transport=tls;lr>"),
        ("Record-Route", "<sip:wa.meta.vc;transport=tls;lr>"),
        ("Contact", contact),
    ];
    bench.receive_message(&meta_outbound(), response(&invite, 200, "m", &routes, SDP));
    let ack = bench.next_transmit();
    bench.endpoint.hang_up(session, &[], bench.now).unwrap();
    bench.drain();
    let bye = bench.next_transmit();
    for transmit in [&ack, &bye] {
        let message = &transmit.message;
        let uri = "sip:+12195550714@wa.meta.vc;transport=tls;ob;X-FB-Sip-Smc-Tier=sip.prod";
        assert_eq!(message.request_uri(), Some(uri));
        assert_eq!(
            message.header_all("Route").collect::<Vec<_>>(),
            ["<sip:wa.meta.vc;transport=tls;lr>", "<sip:onevc-sip-proxy.fbinfra.net:8191;transport=tls;lr>"]
        );
        assert!(matches!(&transmit.target, Target::FlowOr(FlowId(20), hop) if hop.host == "wa.meta.vc"));
    }
}

#[test]
fn nothing_but_invite_ack_cancel_and_bye_is_sent_toward_meta() {
    let mut bench = Bench::new();
    let (session, invite) = to_meta(&mut bench);
    let contact = ("Contact", "<sip:+12195550714@wa.meta.vc;transport=tls>");
    let timer = ("Session-Expires", "90;refresher=uac");
    bench.receive_message(&meta_outbound(), response(&invite, 200, "m", &[contact, timer], SDP));
    bench.next_request(Method::Ack);
    assert_eq!(bench.endpoint.reoffer(session, "v=0".into(), bench.now), Err(CommandError::NotTowardMeta));
    let info = bench.endpoint.info(session, "application/dtmf", "1".into(), bench.now);
    assert_eq!(info, Err(CommandError::NotTowardMeta));
    bench.pass(Duration::from_secs(3_600));
    bench.silence();
}

#[test]
fn a_call_of_meta_goes_on_over_another_connection_when_its_own_is_lost() {
    let mut bench = Bench::new();
    let (session, invite) = super::door::admitted(&mut bench);
    bench.endpoint.answer(session, SDP.into(), &[], bench.now).unwrap();
    bench.drain();
    let ok = bench.next_status(200);
    assert_eq!(text_of(&ok).matches(RECORD_ROUTES).count(), 1, "{}", text_of(&ok));
    assert!(invite.contains(RECORD_ROUTES));
    bench.endpoint.handle_flow_closed(meta().flow, bench.now);
    let tag = super::peer::to_tag(&ok);
    let ack = super::door::meta_request("ACK", 31160, "ackmeta", &tag);
    let other = arrival(40, Transport::Tls, Side::Meta, "203.0.113.5:50000");
    bench.receive(&other, &ack);
    assert!(matches!(bench.event(), Event::Acked { .. }));

    bench.endpoint.hang_up(session, &[], bench.now).unwrap();
    bench.drain();
    let bye = bench.next_transmit();
    match &bye.target {
        Target::FlowOr(FlowId(40), hop) => {
            assert_eq!((hop.host.as_str(), hop.port, hop.transport), ("wa.meta.vc", None, Transport::Tls));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(bye.message.request_uri(), Some("sip:+12195550714@wa.meta.vc;transport=tls;ob"));
    assert_eq!(
        bye.message.header_all("Route").collect::<Vec<_>>(),
        ["<sip:wa.meta.vc;transport=tls;lr>", "<sip:onevc-sip-proxy.fbinfra.net:8191;transport=tls;lr>"]
    );
}

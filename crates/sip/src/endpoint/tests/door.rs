//! Who is let in, and how the others are turned away.

use setu_model::Side;

use super::peer::{
    Bench, NUMBER, RECORD_ROUTES, SECRET, arrival, config, in_dialog, meta, meta_invite, stranger, text_of,
    to_tag, trunk, trunk_invite,
};
use crate::endpoint::{Event, SessionId, Stranger};
use crate::{Arrival, Identity, Transport};

/// Lets Meta's call in: the session, and the INVITE that did it.
pub(super) fn admitted(bench: &mut Bench) -> (SessionId, String) {
    let invite = meta_invite();
    bench.receive(&meta(), &invite);
    let challenge = bench.next_status(407);
    assert!(matches!(bench.event(), Event::StrangerRefused { why: Stranger::Challenged, .. }));
    let invite = bench.with_credentials(&invite, &challenge, "15550001", SECRET);
    bench.receive(&meta(), &invite);
    bench.next_status(100);
    match bench.event() {
        Event::Invited { session, identity, .. } => {
            assert_eq!(identity, Identity::Meta { number: NUMBER.to_owned() });
            (session, invite)
        }
        other => panic!("{other:?}"),
    }
}

/// A request of Meta within the call of `meta_invite`.
pub(super) fn meta_request(method: &str, cseq: u32, branch: &str, tag: &str) -> String {
    format!(
        "{method} sip:{NUMBER}@sip.example.com:5061;transport=tls SIP/2.0\r\n\
         Via: SIP/2.0/TLS [2001:db8::5]:57363;rport;branch=z9hG4bK{branch};alias\r\n\
         Max-Forwards: 69\r\n\
         From: \"12195550714\" <sip:+12195550714@wa.meta.vc>;tag=0a1b\r\n\
         To: <sip:{NUMBER}@sip.example.com>;tag={tag}\r\n\
         Call-ID: outgoing:wacid.HBgLAAA==\r\n\
         CSeq: {cseq} {method}\r\n\
         x-wa-meta-call-duration: 12\r\n\
         Content-Length:   0\r\n\r\n"
    )
}

#[test]
fn metas_digest_lets_its_call_in_although_its_uri_lacks_the_transport() {
    let mut bench = Bench::new();
    let (_, invite) = admitted(&mut bench);
    assert!(invite.contains("uri=\"sip:+15550001@sip.example.com\""), "{invite}");
}

#[test]
fn perfect_headers_of_meta_without_credentials_get_407_and_wrong_ones_403() {
    let mut bench = Bench::new();
    bench.receive(&meta(), &meta_invite());
    let challenge = bench.next_status(407);
    assert_eq!(challenge.header_all("Proxy-Authenticate").count(), 2);
    assert!(matches!(
        bench.event(),
        Event::StrangerRefused { status: Some(407), why: Stranger::Challenged, .. }
    ));

    let guess = bench.with_credentials(&meta_invite(), &challenge, "15550001", "guess");
    bench.receive(&meta(), &guess);
    bench.next_status(403);
    assert!(matches!(
        bench.event(),
        Event::StrangerRefused { status: Some(403), why: Stranger::WrongCredentials, .. }
    ));
    let nobody = bench.with_credentials(&meta_invite(), &challenge, "4917", SECRET);
    bench.receive(&meta(), &nobody);
    bench.next_status(403);
    bench.events.clear();
    bench.silence();
    assert!(bench.endpoint.is_idle());
    assert_eq!(bench.endpoint.counters().strangers_refused, 2);
}

#[test]
fn a_number_may_be_called_with_its_own_password_only() {
    let mut bench = Bench::new();
    let other = meta_invite().replace("INVITE sip:+15550001@", "INVITE sip:+15550002@");
    bench.receive(&meta(), &other);
    let challenge = bench.next_status(407);
    bench.event();
    let invite = bench.with_credentials(&other, &challenge, "15550001", SECRET);
    bench.receive(&meta(), &invite);
    bench.next_status(403);
}

#[test]
fn user_parameters_of_the_request_uri_do_not_hide_the_number() {
    let mut bench = Bench::new();
    let tagged =
        meta_invite().replace("sip:+15550001@", "sip:+15550001;tgrp=wacall;trunk-context=byoc.example.com@");
    bench.receive(&meta(), &tagged);
    let challenge = bench.next_status(407);
    bench.event();
    let invite = bench.with_credentials(&tagged, &challenge, "15550001", SECRET);
    bench.receive(&meta(), &invite);
    bench.next_status(100);
    assert!(matches!(bench.event(), Event::Invited { .. }));
}

#[test]
fn metas_side_takes_tls_from_metas_networks_only() {
    let mut config = config();
    config.access.meta_networks = vec!["203.0.113.0/24".parse().unwrap()];
    let mut bench = Bench::with(config);
    let outside = arrival(9, Transport::Tls, Side::Meta, "192.0.2.200:1234");
    let in_clear = arrival(10, Transport::Tcp, Side::Meta, "203.0.113.5:1234");
    for from in [outside, in_clear] {
        bench.receive(&from, &meta_invite());
        bench.next_status(403);
        assert!(matches!(bench.event(), Event::StrangerRefused { why: Stranger::Network, .. }));
    }
    bench.receive(&meta(), &meta_invite());
    bench.next_status(407);
}

#[test]
fn a_bye_of_meta_counts_from_another_of_its_hosts_where_its_networks_are_known() {
    for (networks, status) in [(vec!["203.0.113.0/24".parse().unwrap()], 200), (Vec::new(), 481)] {
        let mut config = config();
        config.access.meta_networks = networks;
        let mut bench = Bench::with(config);
        let (session, _) = admitted(&mut bench);
        bench.endpoint.answer(session, "v=0".into(), &[], bench.now).unwrap();
        bench.drain();
        let tag = to_tag(&bench.next_status(200));
        let elsewhere = arrival(50, Transport::Tls, Side::Meta, "203.0.113.77:1234");
        bench.receive(&elsewhere, &meta_request("BYE", 31161, "byemeta", &tag));
        bench.next_status(status);
    }
}

#[test]
fn record_routes_are_echoed_byte_for_byte_in_what_sets_up_a_dialog() {
    let mut bench = Bench::new();
    let (session, _) = admitted(&mut bench);
    bench.endpoint.ring(session, 180, None, bench.now).unwrap();
    bench.endpoint.answer(session, "v=0".into(), &[], bench.now).unwrap();
    bench.drain();
    for status in [180, 200] {
        let response = bench.next_status(status);
        assert!(text_of(&response).contains(RECORD_ROUTES), "{}", text_of(&response));
        assert_eq!(
            response.header("Contact").as_deref(),
            Some("<sip:+15550001@sip.example.com:5061;transport=tls>")
        );
    }
}

#[test]
fn a_trunk_is_known_by_its_address_and_a_stranger_is_challenged() {
    let mut bench = Bench::new();
    bench.receive(&trunk(), &trunk_invite("t"));
    bench.next_status(100);
    assert!(matches!(bench.event(), Event::Invited { identity: Identity::Trunk(name), .. } if name == "pbx"));

    let mut bench = Bench::new();
    let invite = trunk_invite("s")
        .replace("Max-Forwards: 70", &format!("Subject: {}\r\nMax-Forwards: 70", "x".repeat(400)));
    bench.receive(&stranger(), &invite);
    bench.next_status(407);
    bench.event();
    bench.no_event();
}

#[test]
fn an_account_calls_with_its_digest() {
    let mut bench = Bench::new();
    let phone = arrival(12, Transport::Tcp, Side::Agents, "203.0.113.80:4000");
    let invite = trunk_invite("p").replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    bench.receive(&phone, &invite);
    let challenge = bench.next_status(407);
    bench.event();
    let invite = bench.with_credentials(&invite, &challenge, "alice", "wonder");
    bench.receive(&phone, &invite);
    bench.next_status(100);
    assert!(
        matches!(bench.event(), Event::Invited { identity: Identity::Account(name), .. } if name == "alice")
    );
}

#[test]
fn no_datagram_to_a_stranger_is_larger_than_its_own() {
    let mut bench = Bench::new();
    let small = |method: &str| {
        format!(
            "{method} sip:192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.99;branch=z9hG4bK{method};rport\r\n\
             From: <sip:x@x>;tag=1\r\nTo: <sip:x@x>\r\nCall-ID: 1\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let (mut bytes_in, mut bytes_out) = (0, 0);
    let mut tried: Vec<String> =
        ["INVITE", "REGISTER", "OPTIONS", "MESSAGE", "SUBSCRIBE", "BYE", "CANCEL", "FOO"].map(small).to_vec();
    tried.push(in_dialog("BYE", 2, "b", "guess"));
    tried.push(trunk_invite("nomagic").replace("branch=z9hG4bK", "branch="));
    tried.push(trunk_invite("big"));
    for text in tried {
        bytes_in += text.len();
        bench.receive(&stranger(), &text);
        while let Some(transmit) = bench.sent.pop_front() {
            let reply = transmit.message.as_bytes().len();
            assert!(reply <= text.len(), "{reply} > {}\n{}", text.len(), text_of(&transmit.message));
            bytes_out += reply;
        }
    }
    assert!(bytes_out <= bytes_in);
    assert!(bench.events.iter().all(|event| matches!(event, Event::StrangerRefused { .. })));
    assert!(bench.endpoint.is_idle());
}

#[test]
fn options_are_answered_to_those_who_are_known() {
    let mut bench = Bench::new();
    let options = trunk_invite("o").replace("INVITE", "OPTIONS");
    bench.receive(&trunk(), &options);
    let ok = bench.next_status(200);
    assert!(ok.header("Allow").unwrap().contains("INVITE"));
    assert_eq!(ok.header("Accept").as_deref(), Some("application/sdp"));
    bench.no_event();
    bench.receive(&stranger(), &options.replace("z9hG4bKo", "z9hG4bKp"));
    bench.silence();
    assert!(matches!(bench.event(), Event::StrangerRefused { status: None, why: Stranger::Method, .. }));
}

#[test]
fn methods_outside_the_table_are_refused_even_to_those_who_are_known() {
    let mut bench = Bench::new();
    for method in ["MESSAGE", "SUBSCRIBE", "NOTIFY", "REFER", "PUBLISH", "INFO", "UPDATE", "PRACK", "FOO"] {
        bench.receive(&trunk(), &trunk_invite(method).replace("INVITE", method));
        let refusal = bench.next_status(405);
        assert!(refusal.header("Allow").unwrap().starts_with("INVITE, ACK"));
    }
    bench.no_event();
}

#[test]
fn a_stranger_that_asks_too_often_meets_silence_and_a_stream_of_its_is_closed() {
    let mut bench = Bench::new();
    for n in 0..200 {
        bench.receive(&stranger(), &trunk_invite(&format!("s{n}")));
    }
    assert!(bench.sent.len() <= 40, "{}", bench.sent.len());
    assert_eq!(bench.endpoint.counters().rate_limited, 160);
    assert!(bench.events.len() <= 40, "a flood makes no flood of events");

    let stream = arrival(30, Transport::Tcp, Side::Agents, "203.0.113.99:9999");
    bench.receive(&stream, &trunk_invite("tcp").replace("SIP/2.0/UDP", "SIP/2.0/TCP"));
    assert_eq!(bench.closed, [stream.flow]);
}

#[test]
fn a_stream_is_kept_once_somebody_on_it_has_proved_who_it_is() {
    let mut bench = Bench::new();
    bench.receive(&meta(), &meta_invite());
    bench.next_status(407);
    assert_eq!(bench.kept, [], "a challenge proves nothing");
    let mut bench = Bench::new();
    let (session, _) = admitted(&mut bench);
    assert_eq!(bench.kept, [meta().flow]);
    let options = trunk_invite("o").replace("INVITE", "OPTIONS").replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    bench.receive(&arrival(32, Transport::Tcp, Side::Agents, "203.0.113.97:9999"), &options);
    bench.next_status(405);
    assert_eq!(bench.kept, [meta().flow], "a stranger's");
    // A request of the call over another connection of Meta.
    bench.endpoint.answer(session, "v=0".into(), &[], bench.now).unwrap();
    bench.drain();
    let tag = to_tag(&bench.next_status(200));
    let other = Arrival { flow: crate::FlowId(33), ..meta() };
    bench.receive(&other, &meta_request("ACK", 31160, "other", &tag));
    assert_eq!(bench.kept, [meta().flow, other.flow]);
}

/// Anybody on a trunk's network, whose request is still on its way through the bridge when its connection ends.
#[test]
fn requests_that_the_end_of_their_stream_overtook_leave_no_more_than_the_bound() {
    let mut config = config();
    config.limits.proven_streams = 16;
    let mut bench = Bench::with(config);
    for flow in 1_000..2_000 {
        let stream = arrival(flow, Transport::Tcp, Side::Agents, "198.51.100.7:5060");
        bench.endpoint.handle_flow_closed(stream.flow, bench.now);
        bench.receive(&stream, &trunk_invite(&flow.to_string()).replace("SIP/2.0/UDP", "SIP/2.0/TCP"));
        assert_eq!(bench.kept.last(), Some(&stream.flow));
        assert!(bench.endpoint.sizes().proven_streams <= 16);
    }
}

#[test]
fn a_peer_that_proves_itself_is_not_slowed_down() {
    let mut bench = Bench::new();
    for n in 0..200 {
        let invite = meta_invite()
            .replace("outgoing:wacid", &format!("outgoing:{n}wacid"))
            .replace("Pjmeta", &n.to_string());
        bench.receive(&meta(), &invite);
        let challenge = bench.next_status(407);
        let invite = bench.with_credentials(&invite, &challenge, "15550001", SECRET);
        bench.receive(&meta(), &invite);
        bench.next_status(100);
    }
    assert_eq!(bench.endpoint.sizes().calls, 200);
}

#[test]
fn a_nonce_that_was_used_before_is_stale() {
    let mut bench = Bench::new();
    bench.receive(&meta(), &meta_invite());
    let challenge = bench.next_status(407);
    let invite = bench.with_credentials(&meta_invite(), &challenge, "15550001", SECRET);
    bench.receive(&meta(), &invite);
    bench.next_status(100);
    let replay = invite.replace("outgoing:wacid", "outgoing:another").replace("z9hG4bKx", "z9hG4bKy");
    bench.receive(&meta(), &replay);
    let refusal = bench.next_status(407);
    assert!(refusal.header("Proxy-Authenticate").unwrap().contains("stale=true"));
}

#[test]
fn broken_requests_are_answered_on_streams_and_met_with_silence_by_datagram() {
    let broken = trunk_invite("x").replace("CSeq: 1 INVITE", "CSeq: 1 BYE");
    let stream: Arrival = arrival(31, Transport::Tcp, Side::Agents, "203.0.113.98:9999");
    let mut bench = Bench::new();
    bench.receive(&stream, &broken);
    bench.next_status(400);
    bench.receive(&stranger(), &broken);
    bench.silence();
    assert_eq!(bench.endpoint.counters().malformed, 2);
}

#[test]
fn a_response_goes_to_the_sources_address_and_the_port_its_via_names() {
    let mut bench = Bench::new();
    let mut odd = trunk();
    odd.remote.set_port(40_000);
    bench.receive(&odd, &trunk_invite("x"));
    let transmit = bench.next_transmit();
    match transmit.target {
        crate::Target::Hop(hop) => assert_eq!(hop.to_string(), "UDP 198.51.100.7:5060"),
        other => panic!("{other:?}"),
    }
    bench.receive(&odd, &trunk_invite("y;rport").replace("call@pbx", "other@pbx"));
    let transmit = bench.next_transmit();
    assert_eq!(transmit.target, crate::Target::Flow(odd.flow));
    assert_eq!(transmit.message.top_via().unwrap().rport(), Some(Some(40_000)));
}

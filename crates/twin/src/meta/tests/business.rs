//! Business-initiated calls, and requests outside of a call.

use super::*;

fn bench(answer: Answer, quirks: Quirks) -> Bench {
    let anyone = Answering { answer, ..Answering::default() };
    let mut bench = Bench::with(EdgeConfig { quirks, anyone, ..EdgeConfig::default() });
    bench.dialled_by_bridge(&[]);
    bench
}

/// The business calls and answers the challenge; returns the second INVITE.
fn call(bench: &mut Bench, sdp: &str) -> String {
    bench.say(&business_invite(TO_USER, FROM_BUSINESS, 1, "", sdp));
    let challenge = bench.next();
    let invite =
        business_invite(TO_USER, FROM_BUSINESS, 2, &authorization(&challenge, "15557000", "pw"), sdp);
    bench.say(&invite);
    invite
}

/// The status the business's INVITE gets in the end, after the challenge.
fn refusal(answer: Answer, uri: &str, from: &str, sdp: &str) -> String {
    let mut bench = bench(answer, Quirks::default());
    bench.say(&business_invite(uri, from, 1, "", sdp));
    let first = bench.next();
    if !first.starts_with("SIP/2.0 407 ") {
        return first;
    }
    bench.say(&business_invite(uri, from, 2, &authorization(&first, "15557000", "pw"), sdp));
    let mut last = String::new();
    while !bench.is_silent() {
        last = bench.next();
    }
    last
}

/// An in-dialog request after `ok`, Meta's answer.
fn in_answered(ok: &str, method: &str, cseq: u32, routes: &[&str]) -> String {
    let routes: String = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
    let uri = field(ok, "Contact").trim_start_matches('<').split('>').next().unwrap();
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.9:5061;branch=z9hG4bK{method}{cseq}\r\n{routes}\
         From: {}\r\nTo: {}\r\nCall-ID: biz-1\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n",
        field(ok, "From"),
        field(ok, "To"),
    )
}

const ROUTES: [&str; 2] =
    ["<sip:wa.meta.vc;transport=tls;lr>", "<sip:onevc-sip-proxy.fbinfra.net:8191;transport=tls;lr>"];

#[test]
fn the_challenge_reads_like_metas() {
    let mut bench = bench(Answer::default(), Quirks::default());
    bench.say(&business_invite(TO_USER, FROM_BUSINESS, 1, "", &bridge_sdp()));
    let challenge = bench.next();
    assert!(challenge.starts_with("SIP/2.0 407 Proxy Authentication Required\r\n"));
    let value = field(&challenge, "Proxy-Authenticate");
    assert!(value.starts_with("Digest realm=\"wa.meta.vc\",nonce=\""), "{value}");
    assert!(value.ends_with("algorithm=MD5,qop=\"auth\""), "{value}");
    let nonce = value.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(nonce.len() == 16 && nonce.chars().all(|c| c.is_ascii_hexdigit()));
    assert!(field(&challenge, "To").ends_with(";tag=z9hG4bKinvite1"), "the tag is the branch");
    let stateful = Quirks {
        stateless_to_tag: false,
        challenge_algorithms: vec![digest::Algorithm::Sha256, digest::Algorithm::Md5],
        ..Quirks::default()
    };
    let mut bench = super::business::bench(Answer::default(), stateful);
    bench.say(&business_invite(TO_USER, FROM_BUSINESS, 1, "", &bridge_sdp()));
    let challenge = bench.next();
    assert!(!field(&challenge, "To").contains("z9hG4bK"));
    let both = fields(&challenge, "Proxy-Authenticate");
    assert!(both[0].contains("algorithm=SHA-256") && both[1].contains("algorithm=MD5"));
    let invite = business_invite(
        TO_USER,
        FROM_BUSINESS,
        2,
        &authorization(&challenge, "15557000", "pw"),
        &bridge_sdp(),
    );
    assert!(invite.contains("algorithm=SHA-256"));
    bench.say(&invite);
    assert!(bench.next().starts_with("SIP/2.0 100 "));
}

#[test]
fn an_answered_call_has_metas_routes_contact_and_headers() {
    let mut bench = bench(Answer::After(1_000), Quirks::default());
    call(&mut bench, &bridge_sdp());
    assert!(bench.next().starts_with("SIP/2.0 100 Trying\r\n"));
    assert!(bench.next().starts_with("SIP/2.0 180 Ringing\r\n"));
    bench.run(1_000);
    let ok = bench.next();
    assert!(ok.starts_with("SIP/2.0 200 OK\r\n"));
    assert_eq!(fields(&ok, "Record-Route"), [ROUTES[1], ROUTES[0]]);
    assert_eq!(
        field(&ok, "Contact"),
        "<sip:+12195550714@wa.meta.vc;transport=tls;ob;X-FB-Sip-Smc-Tier=collaboration.sip_gateway.sip.prod>;isfocus"
    );
    assert_eq!((field(&ok, "Supported"), field(&ok, "Session-Expires")), ("timer", ""));
    assert_eq!(field(&ok, "X-FB-External-Domain"), "wa.meta.vc");
    let sdp = body(&ok);
    assert!(
        sdp.contains("a=rtcp-mux") && sdp.contains("a=group:BUNDLE audio"),
        "answered though not offered"
    );
    assert!(sdp.contains("RTP/SAVP 111 126\r\n") && !sdp.contains("PCMU"));
    bench.say(&in_answered(&ok, "ACK", 2, &ROUTES));
    bench.say(&in_answered(&ok, "BYE", 3, &ROUTES));
    assert!(bench.next().starts_with("SIP/2.0 200 OK\r\n"));
    let report = bench.report();
    assert_eq!(
        (report.saw, report.ended_by, report.setup_ms),
        (UserSaw::Connected, Ender::Business, Some(1_000))
    );
    assert_eq!(report.requests, ["ACK", "BYE"]);
    assert!(report.violations.is_empty());
}

#[test]
fn payload_types_of_the_offer_are_echoed_and_mux_can_be_left_to_the_offer() {
    let offer = bridge_sdp().replace("111", "107").replace("126", "101");
    let mut bench = bench(Answer::After(0), Quirks { mux_always: false, ..Quirks::default() });
    call(&mut bench, &offer);
    bench.run(10);
    let ok = bench.wire.pop().unwrap();
    assert!(ok.contains(" RTP/SAVP 107 101\r\n"), "{ok}");
    assert!(!ok.contains("a=rtcp-mux") && !ok.contains("BUNDLE"));
    let without_events =
        bridge_sdp().replace(" 126\r\n", "\r\n").replace("a=rtpmap:126 telephone-event/8000\r\n", "");
    let mut bench = super::business::bench(Answer::After(0), Quirks::default());
    call(&mut bench, &without_events);
    bench.run(10);
    assert!(bench.wire.pop().unwrap().contains("a=rtpmap:126 telephone-event/8000"));
}

#[test]
fn g711_is_taken_only_where_it_was_enabled() {
    let offer = bridge_sdp().replace("111 126", "0 126").replace("a=rtpmap:111 opus/48000/2\r\n", "");
    let answer = Answer::After(0);
    assert!(
        refusal(answer, TO_USER, FROM_BUSINESS, &offer).starts_with("SIP/2.0 403 SDP Validation Error\r\n")
    );
    let quirks = Quirks { additional_codecs: vec![crate::media::Codec::Pcmu], ..Quirks::default() };
    let mut bench = bench(answer, quirks);
    call(&mut bench, &offer);
    bench.run(10);
    assert!(bench.wire.pop().unwrap().contains(" RTP/SAVP 0 126\r\n"));
}

#[test]
fn each_way_of_ringing_is_told_as_switched() {
    for (ringing, status, has_sdp) in [
        (Ringing::Nothing, "", false),
        (Ringing::Ringing, "180", false),
        (Ringing::Progress, "183", false),
        (Ringing::EarlyMedia, "183", true),
    ] {
        let mut bench = bench(Answer::After(1_000), Quirks { ringing, trying: false, ..Quirks::default() });
        call(&mut bench, &bridge_sdp());
        assert_eq!(bench.is_silent(), status.is_empty(), "100 is switched off");
        if !status.is_empty() {
            let told = bench.next();
            assert!(told.starts_with(&format!("SIP/2.0 {status} ")), "{told}");
            assert_eq!(body(&told).contains("m=audio"), has_sdp);
        }
        bench.run(1_000);
        assert!(bench.next().starts_with("SIP/2.0 200 "));
    }
}

#[test]
fn every_refusal_is_reachable_with_its_phrase_and_warning() {
    for wanted in Refusal::ALL {
        let last = refusal(Answer::Refuse(wanted), TO_USER, FROM_BUSINESS, &bridge_sdp());
        let phrase = wanted.phrase("sip.bridge.test");
        assert!(last.starts_with(&format!("SIP/2.0 {} {phrase}\r\n", wanted.status())), "{last}");
        assert_eq!(field(&last, "Warning") == format!("399 wa.meta.vc \"{phrase}\""), wanted.warns());
    }
}

#[test]
fn metas_own_checks_refuse_what_is_wrong() {
    let sdp = bridge_sdp();
    let status = |uri: &str, from: &str| refusal(Answer::default(), uri, from, &sdp)[8..11].to_owned();
    assert_eq!(status(TO_USER, "sip:+15550000@sip.bridge.test"), "400");
    assert_eq!(status(TO_USER, "sip:+15557000@other.test"), "403");
    assert_eq!(status(TO_USER, "sip:+15557000@dge.test"), "403", "a tail of the name is no parent domain");
    assert_eq!(status(TO_USER, "sip:+15557000@bridge.test"), "180", "a parent domain is");
    assert_eq!(status("sips:+12195550714@wa.meta.vc", FROM_BUSINESS), "404");
    assert_eq!(status("sip:+12195550714@192.0.2.5", FROM_BUSINESS), "404");
    assert_eq!(status("sip:US.1349@wa.meta.vc", FROM_BUSINESS), "180");
    let odd = refusal(Answer::default(), TO_USER, FROM_BUSINESS, &sdp.replace("ptime:20", "ptime:30"));
    assert!(odd.starts_with("SIP/2.0 403 SDP Validation Error\r\n"));
}

#[test]
fn a_wrong_digest_is_403_and_an_unknown_nonce_is_challenged_again() {
    for (username, password) in [("15557000", "wrong"), ("+15557000", "pw"), ("other", "pw")] {
        let mut bench = bench(Answer::default(), Quirks::default());
        bench.say(&business_invite(TO_USER, FROM_BUSINESS, 1, "", &bridge_sdp()));
        let challenge = bench.next();
        let line = authorization(&challenge, username, password);
        bench.say(&business_invite(TO_USER, FROM_BUSINESS, 2, &line, &bridge_sdp()));
        assert!(bench.next().starts_with("SIP/2.0 403 Invalid digest response\r\n"));
        assert!(bench.saw(&Violation::WrongDigest));
    }
    let mut bench = bench(Answer::default(), Quirks::default());
    let forged = "Proxy-Authenticate: Digest realm=\"wa.meta.vc\",nonce=\"00\",qop=\"auth\"\r\n\r\n";
    let line = authorization(forged, "15557000", "pw");
    bench.say(&business_invite(TO_USER, FROM_BUSINESS, 1, &line, &bridge_sdp()));
    assert!(bench.next().starts_with("SIP/2.0 407 "));
}

#[test]
fn without_challenges_the_first_invite_rings() {
    let mut bench = bench(Answer::default(), Quirks { challenge_algorithms: vec![], ..Quirks::default() });
    bench.say(&business_invite(TO_USER, FROM_BUSINESS, 1, "", &bridge_sdp()));
    assert!(bench.next().starts_with("SIP/2.0 100 "));
}

#[test]
fn a_user_may_decline_or_let_it_ring() {
    let mut declined = bench(Answer::DeclineAfter(500), Quirks::default());
    call(&mut declined, &bridge_sdp());
    declined.run(600);
    assert!(declined.wire.pop().unwrap().starts_with("SIP/2.0 486 User declined the call\r\n"));
    assert_eq!((declined.report().saw, declined.report().ended_by), (UserSaw::Declined, Ender::User));
    let mut missed = bench(Answer::Never, Quirks { ring_window_ms: 5_000, ..Quirks::default() });
    call(&mut missed, &bridge_sdp());
    missed.run(5_100);
    assert!(missed.wire.pop().unwrap().starts_with("SIP/2.0 480 "));
    assert_eq!(missed.report().saw, UserSaw::Missed);
}

#[test]
fn a_business_that_gives_up_gets_487() {
    let mut bench = bench(Answer::Never, Quirks::default());
    let invite = call(&mut bench, &bridge_sdp());
    bench.wire.clear();
    let cancel = invite.split("\r\n\r\n").next().unwrap().replace("INVITE", "CANCEL");
    let cancel: String =
        cancel.lines().filter(|l| !l.starts_with("Content")).map(|l| format!("{l}\r\n")).collect();
    bench.say(&format!("{cancel}Content-Length: 0\r\n\r\n"));
    assert!(bench.next().starts_with("SIP/2.0 200 OK\r\n"));
    assert!(bench.next().starts_with("SIP/2.0 487 "));
    assert_eq!((bench.report().saw, bench.report().ended_by), (UserSaw::Missed, Ender::Business));
}

#[test]
fn an_answer_is_repeated_until_its_ack_and_a_call_without_ack_is_hung_up() {
    let mut bench = bench(Answer::After(0), Quirks::default());
    call(&mut bench, &bridge_sdp());
    bench.run(1_000);
    assert!(bench.wire.iter().filter(|m| m.starts_with("SIP/2.0 200 ")).count() >= 2);
    let ok = bench.wire.pop().unwrap();
    // Along the wrong route the ACK does not arrive.
    bench.say(&in_answered(&ok, "ACK", 2, &[ROUTES[1]]));
    bench.wire.clear();
    bench.run(3_000);
    assert!(!bench.is_silent());
    assert!(bench.events.iter().any(|e| matches!(e, Event::Violation(_, Violation::WrongRoute(_)))));
    bench.wire.clear();
    bench.run(33_000);
    assert!(bench.wire.iter().any(|m| m.starts_with("BYE ")));
    assert!(bench.saw(&Violation::NoAck) || bench.saw(&Violation::NoMediaAtStart));
}

#[test]
fn a_second_call_to_the_same_user_is_403() {
    let mut bench = bench(Answer::Never, Quirks::default());
    call(&mut bench, &bridge_sdp());
    bench.wire.clear();
    let again = |cseq, line: &str| {
        business_invite(TO_USER, FROM_BUSINESS, cseq, line, &bridge_sdp())
            .replace("biz-1", "biz-2")
            .replace("Kinvite", "Kagain")
    };
    bench.say(&again(1, ""));
    let challenge = bench.next();
    bench.say(&again(2, &authorization(&challenge, "15557000", "pw")));
    let last = bench.next();
    assert!(last.starts_with("SIP/2.0 403 Duplicate call\r\n"), "{last}");
}

fn outside(method: &str) -> String {
    format!(
        "{method} sip:wa.meta.vc SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.9:5061;branch=z9hG4bKo{method}\r\nFrom: \
         <sip:b@sip.bridge.test>;tag=1\r\nTo: <sip:wa.meta.vc>\r\nCall-ID: o{method}\r\nCSeq: 1 {method}\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

#[test]
fn options_are_answered_or_ignored_and_register_is_forbidden() {
    let mut open = bench(Answer::default(), Quirks { register_status: 403, ..Quirks::default() });
    open.say(&outside("OPTIONS"));
    assert!(open.next().starts_with("SIP/2.0 200 "));
    open.say(&outside("REGISTER"));
    assert!(open.next().starts_with("SIP/2.0 403 "));
    assert!(open.saw(&Violation::UnsupportedMethod("REGISTER".into())));
    open.say(&outside("SUBSCRIBE"));
    assert!(open.next().starts_with("SIP/2.0 405 "));
    let mut deaf = bench(Answer::default(), Quirks { options_answered: false, ..Quirks::default() });
    deaf.say(&outside("OPTIONS"));
    assert!(deaf.is_silent());
}

#[test]
fn alpn_closes_the_connection_unless_switched_off() {
    for (alpn_refused, closed) in [(true, true), (false, false)] {
        let mut bench = Bench::new(Quirks { alpn_refused, ..Quirks::default() });
        bench.dialled_by_bridge(&["sip"]);
        assert_eq!(bench.outputs.contains(&Output::CloseStream { conn: bench.conn }), closed);
        assert_eq!(bench.saw(&Violation::AlpnOffered), closed);
    }
}

#[test]
fn bytes_that_are_no_sip_close_the_connection() {
    let mut bench = bench(Answer::default(), Quirks::default());
    bench.say("GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n");
    assert!(bench.saw(&Violation::Malformed));
    assert!(bench.outputs.contains(&Output::CloseStream { conn: bench.conn }));
}

#[test]
fn the_edge_listens_with_tls_only_and_binds_metas_five_ports() {
    let ip6 = "2001:db8::80".parse().unwrap();
    let config = EdgeConfig { ip: ip("192.0.2.80"), ip6: Some(ip6), ..EdgeConfig::default() };
    let mut edge = Edge::new(config, Box::new(SeededEntropy::new(1)));
    let outputs: Vec<Output> = std::iter::from_fn(|| edge.poll_output()).collect();
    let at = |port| SocketAddr::new(ip("192.0.2.80"), port);
    assert_eq!(outputs[0], Output::Listen { local: at(5_061), transport: Transport::Tls });
    let ports = [3_480, 3_478, 3_482, 3_484, 40_012];
    let at6 = |port| SocketAddr::new(ip6.into(), port);
    assert_eq!(outputs[1..6], ports.map(|port| Output::BindUdp { local: at(port) }));
    assert_eq!(outputs[6..], ports.map(|port| Output::BindUdp { local: at6(port) }));
}

#[test]
fn quirks_read_from_a_partial_file_and_refuse_a_misspelt_switch() {
    let quirks: Quirks = serde_json::from_str("{\"via_count\":3,\"profile\":\"UDP/TLS/RTP/SAVPF\"}").unwrap();
    assert_eq!(quirks, Quirks { via_count: 3, profile: Profile::DtlsSavpf, ..Quirks::default() });
    assert!(serde_json::from_str::<Quirks>("{\"via_cuont\":3}").is_err());
}

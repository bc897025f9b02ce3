//! User-initiated calls.

use super::*;

fn invite_with(quirks: Quirks) -> String {
    Bench::new(quirks).invite(CallSpec::default())
}

#[test]
fn the_invite_reads_like_metas() {
    let invite = invite_with(Quirks::default());
    assert!(
        invite.starts_with("INVITE sip:+15557000;tgrp=wacall@sip.bridge.test;transport=tls SIP/2.0\r\n"),
        "{invite}"
    );
    let vias = fields(&invite, "Via");
    assert_eq!(vias.len(), 2);
    assert!(vias.iter().all(|via| via.contains("SIP/2.0/TLS [2") && via.ends_with(";alias")), "{vias:?}");
    assert!(vias[0].contains(";rport;branch=z9hG4bKPj"));
    assert_eq!(
        fields(&invite, "Record-Route"),
        ["<sip:wa.meta.vc;transport=tls;lr>", "<sip:onevc-sip-proxy.fbinfra.net:8191;transport=tls;lr>"]
    );
    assert!(field(&invite, "From").starts_with("\"12195550714\" <sip:+12195550714@wa.meta.vc>;tag="));
    assert_eq!(field(&invite, "To"), "<sip:+15557000@sip.bridge.test>");
    assert_eq!(field(&invite, "Contact"), "<sip:+12195550714@wa.meta.vc;transport=tls;ob>;isfocus");
    assert_eq!(field(&invite, "User-Agent"), "Facebook SipGateway");
    assert_eq!(field(&invite, "Allow"), "INVITE, ACK, BYE, CANCEL, NOTIFY, OPTIONS");
    assert!(field(&invite, "Call-ID").starts_with("outgoing:wacid."));
    assert_eq!(invite.split("Content-Length: ").nth(1).unwrap().split("\r\n").next().unwrap().len(), 5);
}

#[test]
fn the_offer_reads_like_metas_with_sdes() {
    let invite = invite_with(Quirks::default());
    let sdp = body(&invite);
    for line in [
        "o=- 1790963543407 2 IN IP4 127.0.0.1",
        "a=group:BUNDLE audio",
        "m=audio 3480 RTP/SAVP 111 126",
        "a=rtcp:9 IN IP4 0.0.0.0",
        "a=mid:audio",
        "a=rtcp-mux",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1",
        "a=rtpmap:126 telephone-event/8000",
        "a=maxptime:20",
        "a=ptime:20",
    ] {
        assert!(sdp.lines().any(|l| l == line), "{line} is missing in\n{sdp}");
    }
    assert_eq!(sdp.matches("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:").count(), 1);
    assert!(!sdp.contains("ice") && !sdp.contains("fingerprint") && !sdp.contains("fmtp:126"));
}

#[test]
fn each_switch_of_the_text_changes_just_that() {
    let with = |change: fn(&mut Quirks)| {
        let mut quirks = Quirks::default();
        change(&mut quirks);
        invite_with(quirks)
    };
    for count in 1..=3 {
        let quirks = Quirks { via_count: count, ..Quirks::default() };
        assert_eq!(fields(&invite_with(quirks), "Via").len(), usize::from(count));
    }
    assert!(!field(&with(|q| q.ipv6_vias = false), "Via").contains('['));
    assert!(!with(|q| q.content_length_padded = false).contains("Content-Length:  "));
    assert_eq!(fields(&with(|q| q.content_length_twice = true), "Content-Length").len(), 2);
    assert_eq!(field(&with(|q| q.wacid_header = false), "x-wa-meta-wacid"), "");
    let plain = with(|q| q.wacid_padded = false);
    assert!(!field(&plain, "Call-ID").contains('='));
    let padded = with(|_| {});
    assert!(field(&padded, "Call-ID").ends_with("=="));
    assert_eq!(format!("outgoing:{}", field(&padded, "x-wa-meta-wacid")), field(&padded, "Call-ID"));
    assert_eq!(field(&with(|q| q.external_domain_header = false), "X-FB-External-Domain"), "");
    assert_eq!(field(&padded, "X-FB-External-Domain"), "wa.meta.vc");
    assert!(field(&padded, "x-wa-meta-user-id").starts_with("US."));
    assert_eq!(field(&with(|q| q.user_headers = false), "x-wa-meta-user-id"), "");
    assert!(padded.contains("\r\nx-wa_meta-parent-user-id: "));
    assert!(with(|q| q.parent_user_id = ParentUserId::Hyphen).contains("\r\nx-wa-meta-parent-user-id: "));
    assert!(!with(|q| q.parent_user_id = ParentUserId::Absent).contains("parent-user-id"));
    assert!(
        with(|q| q.transport_param = false)
            .starts_with("INVITE sip:+15557000;tgrp=wacall@sip.bridge.test SIP/2.0")
    );
    assert!(with(|q| q.profile = Profile::DtlsSavpf).contains("m=audio 3480 UDP/TLS/RTP/SAVPF 111 126\r\n"));
    assert!(with(|q| (q.opus_pt, q.event_pt) = (107, 101)).contains(" RTP/SAVP 107 101\r\n"));
    let codecs = with(|q| q.additional_codecs = vec![crate::media::Codec::Pcma, crate::media::Codec::Pcmu]);
    assert!(codecs.contains("RTP/SAVP 111 8 0 126\r\n") && codecs.contains("a=rtpmap:8 PCMA/8000"));
}

#[test]
fn button_and_link_payloads_names_and_user_ids_travel_in_headers() {
    let spec = CallSpec {
        name: Some("Ana".into()),
        user_id: Some("US.77".into()),
        country: Some("BR".into()),
        cta_payload: Some("order-5".into()),
        deeplink_payload: Some("campaign".into()),
        wacid: Some("wacid.X=".into()),
        ..CallSpec::default()
    };
    let invite = Bench::new(Quirks::default()).invite(spec);
    assert!(field(&invite, "From").starts_with("\"Ana\" <"));
    for (name, value) in [
        ("x-wa-meta-cta-payload", "order-5"),
        ("x-wa-meta-deeplink-payload", "campaign"),
        ("x-wa-meta-user-id", "US.77"),
        ("x-wa-meta-user-name", "Ana"),
        ("x-wa-meta-user-country-code", "BR"),
        ("Call-ID", "outgoing:wacid.X="),
    ] {
        assert_eq!(field(&invite, name), value);
    }
}

#[test]
fn a_user_without_a_number_calls_with_a_user_id() {
    let mut bench = Bench::new(Quirks::default());
    bench.edge.call(CallSpec::new("US.1349", NUMBER), bench.now);
    bench.open();
    let invite = bench.next();
    assert!(field(&invite, "From").contains("<sip:US.1349@wa.meta.vc>"), "{invite}");
}

#[test]
fn both_challenges_are_answered_with_a_bare_uri_and_a_bare_number() {
    for (status, challenge, answer) in [
        ("407 Proxy Authentication Required", "Proxy-Authenticate", "Proxy-Authorization"),
        ("401 Unauthorized", "WWW-Authenticate", "Authorization"),
    ] {
        for algorithm in ["", ", algorithm=MD5", ", algorithm=SHA-256"] {
            let mut bench = Bench::new(Quirks::default());
            let first = bench.invite(CallSpec::default());
            let line = format!(
                "{challenge}: Digest realm=\"setu\", nonce=\"n\", opaque=\"o\", qop=\"auth\"{algorithm}\r\n"
            );
            bench.say(&reply(&first, status, &line, ""));
            let ack = bench.next();
            assert!(ack.starts_with("ACK ") && field(&ack, "Via") == field(&first, "Via"), "{ack}");
            let second = bench.next();
            let value = field(&second, answer);
            assert!(value.contains("username=\"15557000\"") && value.contains("opaque=\"o\""), "{value}");
            assert!(value.contains("uri=\"sip:+15557000@sip.bridge.test\""), "{value}");
            assert!(digest::verify(value, "pw", "INVITE"), "{value}");
            let cseq = |m: &str| field(m, "CSeq").split(' ').next().unwrap().parse::<u32>().unwrap();
            assert_eq!(cseq(&second), cseq(&first) + 1);
            for same in ["Call-ID", "From", "To"] {
                assert_eq!(field(&second, same), field(&first, same));
            }
            assert_eq!(body(&second), body(&first));
            assert_ne!(field(&second, "Via"), field(&first, "Via"));
        }
    }
}

#[test]
fn the_switches_of_the_digest_answer_work() {
    let answered = |quirks: Quirks| {
        let mut bench = Bench::new(quirks);
        let first = bench.invite(CallSpec::default());
        let line = "Proxy-Authenticate: Digest realm=\"setu\", nonce=\"n\", qop=\"auth\", algorithm=SHA-256\r\n\
                    Proxy-Authenticate: Digest realm=\"setu\", nonce=\"n\", qop=\"auth\", algorithm=MD5\r\n";
        bench.say(&reply(&first, "407 Proxy Authentication Required", line, ""));
        bench.next();
        let second = if bench.is_silent() { String::new() } else { bench.next() };
        (field(&second, "Proxy-Authorization").to_owned(), bench)
    };
    assert!(answered(Quirks::default()).0.contains("algorithm=SHA-256"));
    let md5 = Quirks { answers_algorithms: vec![digest::Algorithm::Md5], ..Quirks::default() };
    assert!(answered(md5).0.contains("algorithm=MD5"));
    assert!(!answered(Quirks { names_algorithm: false, ..Quirks::default() }).0.contains("algorithm"));
    assert!(answered(Quirks { digest_uri_bare: false, ..Quirks::default() }).0.contains(";transport=tls\""));
    assert!(
        answered(Quirks { username_plus: true, ..Quirks::default() }).0.contains("username=\"+15557000\"")
    );
    let (none, mut bench) = answered(Quirks { answers_algorithms: vec![], ..Quirks::default() });
    assert_eq!(none, "");
    assert_eq!((bench.report().status, bench.report().saw), (Some(407), UserSaw::Refused));
}

#[test]
fn an_untouched_answer_is_acknowledged_along_the_business_own_routes() {
    let mut bench = Bench::new(Quirks::default());
    let invite = bench.invite(CallSpec::default());
    bench.say(&reply(&invite, "180 Ringing", "", ""));
    let routes: String =
        fields(&invite, "Record-Route").iter().map(|r| format!("Record-Route: {r}\r\n")).collect();
    let own = "Record-Route: <sip:proxy.bridge.test;lr>\r\n";
    let ok = reply(&invite, "200 OK", &format!("{own}{routes}{CONTACT}"), &bridge_sdp());
    bench.say(&ok);
    let ack = bench.next();
    assert!(ack.starts_with("ACK sip:bridge@192.0.2.9:5061;transport=tls SIP/2.0\r\n"), "{ack}");
    assert_eq!(fields(&ack, "Route"), ["<sip:proxy.bridge.test;lr>"]);
    bench.say(&ok);
    assert_eq!(bench.next(), ack, "each repetition of the 200 gets the same ACK");
    assert!(bench.events.iter().any(|event| matches!(event, Event::Answered(_))));
}

#[test]
fn altered_routes_mean_no_ack_and_the_call_dies_after_32_seconds() {
    let alter: [fn(Vec<String>) -> Vec<String>; 4] = [
        |_| Vec::new(),
        |mut routes| {
            routes.reverse();
            routes
        },
        |routes| routes.into_iter().map(|route| route.replace(";lr", "")).collect(),
        |mut routes| {
            routes.push("<sip:own.test;lr>".into());
            routes
        },
    ];
    for change in alter {
        let mut bench = Bench::new(Quirks::default());
        let invite = bench.invite(CallSpec::default());
        let routes = change(fields(&invite, "Record-Route").iter().map(|r| (*r).to_owned()).collect());
        let lines: String = routes.iter().map(|r| format!("Record-Route: {r}\r\n")).collect();
        bench.say(&reply(&invite, "200 OK", &format!("{lines}{CONTACT}"), &bridge_sdp()));
        assert!(bench.is_silent() && bench.saw(&Violation::RecordRouteAltered));
        bench.say(&routed(&invite, "BYE", 1));
        assert!(bench.next().starts_with("SIP/2.0 404 "));
        bench.run(33_000);
        assert_eq!(bench.report().saw, UserSaw::CallFailed);
    }
    let mut bench = Bench::new(Quirks { ack_only_if_routes_untouched: false, ..Quirks::default() });
    let invite = bench.invite(CallSpec::default());
    bench.say(&reply(&invite, "200 OK", CONTACT, &bridge_sdp()));
    assert!(bench.next().starts_with("ACK "));
}

#[test]
fn a_bye_along_the_wrong_way_is_404_and_the_right_one_ends_the_call() {
    let mut bench = Bench::new(Quirks::default());
    let invite = bench.answered(CallSpec::default());
    bench.next();
    let contact = "sip:+12195550714@wa.meta.vc;transport=tls;ob";
    bench.say(&in_dialog(&invite, "BYE", 1, &[], contact));
    assert!(bench.next().starts_with("SIP/2.0 404 "));
    bench.say(&in_dialog(&invite, "BYE", 2, &fields(&invite, "Record-Route"), "sip:wa.meta.vc"));
    assert!(bench.next().starts_with("SIP/2.0 404 "));
    bench.say(&routed(&invite, "BYE", 3));
    assert!(bench.next().starts_with("SIP/2.0 200 "));
    let report = bench.report();
    assert_eq!((report.saw, report.ended_by), (UserSaw::Connected, Ender::Business));
    let mut lax = Bench::new(Quirks { wrong_routes_refused: false, ..Quirks::default() });
    let invite = lax.answered(CallSpec::default());
    lax.next();
    lax.say(&in_dialog(&invite, "BYE", 1, &[], contact));
    assert!(lax.next().starts_with("SIP/2.0 200 "));
}

#[test]
fn requests_meta_does_not_take_get_their_status_and_are_flagged() {
    let quirks = Quirks { unsupported_status: 501, reinvite_status: 488, ..Quirks::default() };
    for (quirks, reinvite, other) in [(Quirks::default(), "500", "405"), (quirks, "488", "501")] {
        let mut bench = Bench::new(quirks);
        let invite = bench.answered(CallSpec::default());
        bench.next();
        bench.say(&routed(&invite, "INVITE", 1));
        assert!(bench.next().starts_with(&format!("SIP/2.0 {reinvite} ")));
        assert!(bench.saw(&Violation::Reinvite));
        for (cseq, method) in (2..).zip(["UPDATE", "REFER", "INFO", "PRACK", "MESSAGE", "SUBSCRIBE"]) {
            bench.say(&routed(&invite, method, cseq));
            assert!(bench.next().starts_with(&format!("SIP/2.0 {other} ")), "{method}");
            assert!(bench.saw(&Violation::UnsupportedMethod(method.into())));
        }
    }
}

#[test]
fn the_users_bye_carries_metas_headers_unless_switched_off() {
    let person = Person { says: Says::Nothing, ..Person::default().hanging_up_after(7_000) };
    for (quirks, wacid, duration) in [
        (Quirks::default(), true, "7"),
        (Quirks { bye_wacid: false, bye_duration: false, ..Quirks::default() }, false, ""),
    ] {
        let mut bench = Bench::new(quirks);
        bench.answered(CallSpec::default().by(person.clone()));
        bench.next();
        bench.run(7_100);
        let bye = bench.next();
        assert!(bye.starts_with("BYE sip:bridge@192.0.2.9:5061;transport=tls SIP/2.0\r\n"), "{bye}");
        assert_eq!(field(&bye, "x-wa-meta-wacid").starts_with("wacid."), wacid);
        assert_eq!(field(&bye, "x-wa-meta-call-duration"), duration);
        bench.say(&reply(&bye, "200 OK", "", ""));
        let report = bench.report();
        assert_eq!(
            (report.ended_by, report.bye_status, report.talked_ms),
            (Ender::User, Some(200), Some(7_000))
        );
    }
}

#[test]
fn a_user_who_gives_up_cancels_after_the_first_provisional_response_only() {
    let mut bench = Bench::new(Quirks::default());
    let invite = bench.invite(CallSpec { cancel_after_ms: Some(1_000), ..CallSpec::default() });
    bench.run(2_000);
    assert!(bench.is_silent(), "no provisional response yet");
    bench.say(&reply(&invite, "100 Trying", "", ""));
    let cancel = bench.next();
    assert!(cancel.starts_with("CANCEL ") && field(&cancel, "Via") == field(&invite, "Via"));
    assert_eq!(request_uri(&cancel), request_uri(&invite));
    bench.say(&reply(&cancel, "200 OK", "", ""));
    bench.say(&reply(&invite, "487 Request Terminated", "", ""));
    assert!(bench.next().starts_with("ACK "));
    let report = bench.report();
    assert_eq!((report.saw, report.status, report.ended_by), (UserSaw::NoAnswer, Some(487), Ender::User));
}

#[test]
fn an_answer_that_crosses_the_cancel_is_acknowledged_and_hung_up() {
    let mut bench = Bench::new(Quirks::default());
    let invite = bench.invite(CallSpec { cancel_after_ms: Some(1_000), ..CallSpec::default() });
    bench.say(&reply(&invite, "180 Ringing", "", ""));
    bench.run(1_100);
    assert!(bench.next().starts_with("CANCEL "));
    bench.say(&ok(&invite, &bridge_sdp()));
    assert!(bench.next().starts_with("ACK "));
    let bye = bench.next();
    assert!(bye.starts_with("BYE "));
    bench.say(&reply(&bye, "200 OK", "", ""));
    assert_eq!(bench.report().saw, UserSaw::NoAnswer);
}

#[test]
fn the_ring_window_closes_with_a_cancel() {
    let mut bench = Bench::new(Quirks { ring_window_ms: 30_000, ..Quirks::default() });
    let invite = bench.invite(CallSpec::default());
    bench.say(&reply(&invite, "180 Ringing", "", ""));
    bench.run(29_900);
    assert!(bench.is_silent());
    bench.run(200);
    assert!(bench.next().starts_with("CANCEL "));
}

#[test]
fn a_refusal_is_acknowledged_each_time_and_reported() {
    let mut bench = Bench::new(Quirks::default());
    let invite = bench.invite(CallSpec::default());
    for _ in 0..2 {
        bench.say(&reply(&invite, "486 Busy Here", "", ""));
        assert!(bench.next().starts_with("ACK "));
    }
    let report = bench.report();
    assert_eq!(
        (report.saw, report.status, report.reason.as_deref()),
        (UserSaw::Refused, Some(486), Some("Busy Here"))
    );
}

#[test]
fn a_bad_certificate_is_silence_for_the_business_and_a_failed_call_for_the_user() {
    for (why, flagged) in [(Closed::BadCertificate, true), (Closed::Unreachable, false)] {
        let mut bench = Bench::new(Quirks::default());
        bench.edge.call(CallSpec::new(USER, NUMBER), bench.now);
        bench.drain();
        let connect = bench.outputs.iter().find(|output| matches!(output, Output::Connect { .. })).cloned();
        let Some(Output::Connect { host, port, alpn, transport, .. }) = connect else {
            panic!("no connection")
        };
        assert_eq!((host.as_str(), port, transport), ("sip.bridge.test", 5_061, Transport::Tls));
        assert!(alpn.is_empty());
        bench.edge.handle_stream_closed(bench.conn, why, bench.now);
        assert_eq!(bench.report().saw, UserSaw::CallFailed);
        assert_eq!(bench.saw(&Violation::BadCertificate), flagged);
        assert!(bench.is_silent());
    }
}

#[test]
fn a_second_call_of_the_same_two_and_one_too_many_never_reach_the_business() {
    for (quirks, reaches) in [
        (Quirks::default(), false),
        (Quirks { duplicates_refused: false, ..Quirks::default() }, true),
        (Quirks { duplicates_refused: false, concurrent_calls: 1, ..Quirks::default() }, false),
    ] {
        let mut bench = Bench::new(quirks);
        bench.answered(CallSpec::default());
        bench.next();
        bench.edge.call(CallSpec::new(USER, NUMBER), bench.now);
        bench.drain();
        assert_eq!(!bench.wire.is_empty(), reaches);
        if !reaches {
            assert_eq!(bench.report().saw, UserSaw::CallFailed);
        }
    }
}

#[test]
fn a_connection_is_shared_by_calls_unless_switched_off() {
    for (connection_per_call, connections) in [(false, 1), (true, 2)] {
        let mut bench = Bench::new(Quirks { connection_per_call, ..Quirks::default() });
        bench.answered(CallSpec::default());
        bench.edge.call(CallSpec::new("+12195550999", NUMBER), bench.now);
        bench.drain();
        let dialled = bench.outputs.iter().filter(|o| matches!(o, Output::Connect { .. })).count();
        assert_eq!(dialled, connections);
    }
}

#[test]
fn an_answered_call_outlives_its_connection_and_hangs_up_over_a_new_one() {
    let person = Person { drop_connection_after_ms: Some(500), says: Says::Nothing, ..Person::default() };
    let mut bench = Bench::new(Quirks::default());
    let invite = bench.answered(CallSpec::default().by(person));
    bench.next();
    let old = bench.conn;
    bench.run(600);
    assert!(bench.outputs.contains(&Output::CloseStream { conn: old }));
    let call =
        bench.events.iter().find_map(|e| if let Event::Answered(call) = e { Some(*call) } else { None });
    bench.edge.hang_up(call.unwrap(), bench.now);
    bench.open();
    assert_ne!(bench.conn, old);
    let bye = bench.next();
    assert!(bye.starts_with("BYE ") && field(&bye, "Call-ID") == field(&invite, "Call-ID"));
    bench.say(&reply(&bye, "200 OK", "", ""));
    assert_eq!(bench.report().connections, 2);
}

#[test]
fn a_request_of_the_business_over_another_connection_finds_its_call() {
    let mut bench = Bench::new(Quirks::default());
    let invite = bench.answered(CallSpec::default());
    bench.next();
    bench.edge.handle_stream_closed(bench.conn, Closed::Cut, bench.now);
    bench.dialled_by_bridge(&[]);
    bench.say(&routed(&invite, "BYE", 1));
    assert!(bench.next().starts_with("SIP/2.0 200 "));
    assert_eq!(bench.report().ended_by, Ender::Business);
}

#[test]
fn a_description_meta_cannot_use_is_acknowledged_and_hung_up() {
    for (from, to) in [
        ("a=ptime:20", "a=ptime:40"),
        ("opus/48000/2", "G722/8000"),
        ("a=crypto:1 AES_CM_128_HMAC_SHA1_80", "a=crypto:1 AES_256_CM_HMAC_SHA1_80"),
        ("m=audio 40000", "m=audio 0"),
    ] {
        let mut bench = Bench::new(Quirks::default());
        let invite = bench.invite(CallSpec::default());
        bench.say(&ok(&invite, &bridge_sdp().replace(from, to)));
        assert!(bench.next().starts_with("ACK "));
        assert!(bench.next().starts_with("BYE "), "{to}");
        assert!(bench.events.iter().any(|e| matches!(e, Event::Violation(_, Violation::Sdp(_)))), "{to}");
    }
    let mut lax = Bench::new(Quirks { ptime_strict: false, ..Quirks::default() });
    let invite = lax.invite(CallSpec::default());
    lax.say(&ok(&invite, &bridge_sdp().replace("a=ptime:20", "a=ptime:40")));
    lax.next();
    assert!(lax.is_silent());
}

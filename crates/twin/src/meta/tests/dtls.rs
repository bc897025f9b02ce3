//! Media with ICE and DTLS, against an end that shares no code with the twin.

use super::*;
use crate::media::{DtlsRole, Setup, Suite};
use crate::webrtc::SUITES;

fn quirks() -> Quirks {
    Quirks { key_exchange: Some(KeyExchange::Dtls), challenge_algorithms: vec![], ..Quirks::default() }
}

fn sdp(end: &Webrtc, setup: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
         m=audio 40000 UDP/TLS/RTP/SAVPF 111 126\r\n{}a=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n\
         a=rtpmap:126 telephone-event/8000\r\na=ptime:20\r\n",
        end.lines(setup)
    )
}

/// A bridge that takes a user's call as DTLS client, or waits for Meta to be it.
fn take(quirks: Quirks, person: Person, client: bool) -> (Bench, String) {
    let mut bench = Bench::new(quirks);
    let mut end = Webrtc::new(bridge_media(), client, &SUITES);
    let invite = bench.invite(CallSpec::default().by(person));
    end.connect(body(&invite), true);
    bench.say(&ok(&invite, &sdp(&end, if client { "active" } else { "passive" })));
    assert!(bench.next().starts_with("ACK "));
    bench.webrtc = Some(end);
    (bench, invite)
}

fn ended(bench: &mut Bench) -> CallReport {
    let bye = bench.next();
    assert!(bye.starts_with("BYE "), "{bye}");
    bench.say(&reply(&bye, "200 OK", "", ""));
    bench.report()
}

#[test]
fn the_offer_is_that_of_a_lite_relay_with_two_candidates_and_a_padded_password() {
    let invite = Bench::new(quirks()).invite(CallSpec::default());
    let lines: Vec<&str> = body(&invite).lines().collect();
    for line in [
        "a=ice-lite",
        "m=audio 3480 UDP/TLS/RTP/SAVPF 111 126",
        "a=candidate:2275956755 1 udp 2122260223 127.0.0.1 3480 typ host generation 0 network-cost 50",
        "a=candidate:2684782176 1 udp 2122262783 ::1 3480 typ host generation 0 network-cost 50",
        "a=setup:actpass",
        "a=rtcp-mux",
        "a=ptime:20",
        "a=fmtp:111 maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;\
         useinbandfec=1",
    ] {
        assert!(lines.contains(&line), "{line:?} is not in {lines:#?}");
    }
    let value = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)).unwrap();
    assert_eq!(value("a=ice-ufrag:").len(), 16);
    assert!(value("a=ice-pwd:").len() == 24 && value("a=ice-pwd:").ends_with("=="));
    assert!(!body(&invite).contains("a=crypto"));

    let plain = Quirks { ice_pwd_padded: false, ipv6_candidate: false, ..quirks() };
    let invite = Bench::new(plain).invite(CallSpec::default());
    assert!(!body(&invite).contains("==") && !body(&invite).contains("::1"));
}

#[test]
fn calls_take_turns_on_the_five_ports_of_meta() {
    let mut bench = Bench::new(Quirks { duplicates_refused: false, ..quirks() });
    let mut ports = vec![];
    for n in 0..5 {
        let invite =
            if n == 0 { bench.invite(CallSpec::default()) } else { bench.again(CallSpec::default()) };
        let line = body(&invite).lines().find(|line| line.starts_with("m=audio")).unwrap().to_owned();
        ports.push(line.split(' ').nth(1).unwrap().to_owned());
    }
    assert_eq!(ports, ["3480", "3478", "3482", "3484", "40012"]);
}

#[test]
fn a_number_is_keyed_as_it_is_configured_unless_the_call_says_otherwise() {
    for (number, call, dtls) in [
        (KeyExchange::Dtls, None, true),
        (KeyExchange::Sdes, None, false),
        (KeyExchange::Sdes, Some(KeyExchange::Dtls), true),
        (KeyExchange::Dtls, Some(KeyExchange::Sdes), false),
    ] {
        let mut bench = Bench::keyed(number);
        let quirks = Quirks { key_exchange: call, ..Quirks::default() };
        let invite = bench.invite(CallSpec::default().with(quirks));
        assert_eq!(body(&invite).contains("a=fingerprint:sha-256 "), dtls);
        assert_eq!(body(&invite).contains("a=crypto:1 "), !dtls);
    }
}

#[test]
fn user_and_business_hear_each_other_over_ice_and_dtls_in_either_role() {
    for (client, role) in [(true, DtlsRole::Client), (false, DtlsRole::Server)] {
        let (mut bench, invite) = take(quirks(), Person::saying(440).hanging_up_after(3_000), client);
        bench.run(3_100);
        let end = bench.webrtc.as_ref().unwrap();
        assert!(body(&invite).contains(end.shown.as_deref().unwrap()), "another certificate was shown");
        let report = ended(&mut bench);
        assert!((report.heard.hz.unwrap() - 880.0).abs() < 3.0, "{:?}", report.heard);
        assert!((bench.business_heard().hz.unwrap() - 440.0).abs() < 3.0);
        assert_eq!((report.heard.lost, report.heard.srtp_failures), (0, 0));
        assert_eq!(report.violations, []);
        let path = report.path;
        assert_eq!((path.peer_dtls_role, path.remote), (Some(role), Some(bridge_media())));
        assert!(path.ice_ms.unwrap() < 500 && path.dtls_ms.unwrap() < 500, "{path:?}");
        assert!(!path.peer_reflexive && !path.nominated_at_once && path.checks_forged == 0, "{path:?}");
    }
}

#[test]
fn every_srtp_suite_that_is_offered_alone_is_taken() {
    for (offered, suite) in
        SUITES.iter().zip([Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm, Suite::AeadAes256Gcm])
    {
        let mut bench = Bench::new(quirks());
        let mut end = Webrtc::new(bridge_media(), true, &[*offered]);
        let invite = bench.invite(CallSpec::default().by(Person::saying(440).hanging_up_after(2_000)));
        end.connect(body(&invite), true);
        bench.say(&ok(&invite, &sdp(&end, "active")));
        bench.next();
        bench.webrtc = Some(end);
        bench.run(2_100);
        let report = ended(&mut bench);
        assert_eq!(report.path.srtp, Some(suite));
        assert!((report.heard.hz.unwrap() - 880.0).abs() < 3.0);
    }
}

/// A business's call, answered by the user after half a second.
fn call(quirks: Quirks, offered: &str, client: bool) -> (Bench, String) {
    let anyone = Answering {
        answer: Answer::After(500),
        person: Person::saying(440).hanging_up_after(3_000),
        quirks: None,
    };
    let mut bench = Bench::with(EdgeConfig { quirks, anyone, ..EdgeConfig::default() });
    let mut end = Webrtc::new(bridge_media(), client, &SUITES);
    bench.dialled_by_bridge(&[]);
    bench.say(&business_invite(TO_USER, FROM_BUSINESS, 1, "", &sdp(&end, offered)));
    bench.run(600);
    let answer = bench.wire.iter().find(|text| text.starts_with("SIP/2.0 200 ")).unwrap().clone();
    end.connect(body(&answer), true);
    bench.webrtc = Some(end);
    bench.wire.clear();
    bench.run(3_000);
    (bench, answer)
}

#[test]
fn answers_to_actpass_are_active_passive_or_actpass_as_switched_and_all_lead_to_media() {
    for (answer_setup, word, client) in [
        (Setup::Active, "active", false),
        (Setup::Passive, "passive", true),
        (Setup::ActPass, "actpass", true),
    ] {
        let (bench, answer) = call(Quirks { answer_setup, ..quirks() }, "actpass", client);
        assert!(body(&answer).contains(&format!("a=setup:{word}\r\n")), "{answer}");
        assert!(body(&answer).contains("m=audio 3480 UDP/TLS/RTP/SAVPF 111 126\r\n"));
        assert!((bench.business_heard().hz.unwrap() - 440.0).abs() < 3.0);
        assert!((bench.edge.heard(TwinCallId(1)).unwrap().hz.unwrap() - 880.0).abs() < 3.0);
    }
}

#[test]
fn an_offer_that_has_chosen_its_role_gets_the_other_whatever_the_switch() {
    for (offered, word, client) in [("active", "passive", true), ("passive", "active", false)] {
        for answer_setup in [Setup::Active, Setup::Passive] {
            let (bench, answer) = call(Quirks { answer_setup, ..quirks() }, offered, client);
            assert!(body(&answer).contains(&format!("a=setup:{word}\r\n")), "{answer}");
            assert!((bench.business_heard().hz.unwrap() - 440.0).abs() < 3.0);
        }
    }
}

#[test]
fn checks_before_the_answer_are_left_unanswered_unless_switched_off() {
    for (checks_wait_for_answer, answered) in [(true, false), (false, true)] {
        let mut bench = Bench::new(Quirks { checks_wait_for_answer, ..quirks() });
        let mut end = Webrtc::new(bridge_media(), true, &SUITES);
        let invite = bench.invite(CallSpec::default().by(Person::saying(440)));
        end.connect(body(&invite), true);
        bench.webrtc = Some(end);
        bench.run(300);
        assert_eq!(bench.outputs.iter().any(|o| matches!(o, Output::SendUdp { .. })), answered);
        let answer = sdp(bench.webrtc.as_ref().unwrap(), "active");
        bench.say(&ok(&invite, &answer));
        bench.run(2_000);
        assert!(bench.business_heard().hz.is_some(), "the answer came, and still no media");
    }
}

#[test]
fn a_bridge_that_claims_to_be_controlled_is_told_of_the_conflict_unless_switched_off() {
    for (role_conflict_refused, conflicts) in [(true, true), (false, false)] {
        let mut bench = Bench::new(Quirks { role_conflict_refused, ..quirks() });
        let mut end = Webrtc::new(bridge_media(), true, &SUITES);
        let invite = bench.invite(CallSpec::default().by(Person::saying(440).hanging_up_after(2_000)));
        end.connect(body(&invite), true);
        end.ice.set_controlling(false);
        bench.say(&ok(&invite, &sdp(&end, "active")));
        bench.next();
        bench.webrtc = Some(end);
        bench.run(2_100);
        let report = ended(&mut bench);
        assert!(report.violations.contains(&Violation::RoleConflict), "the claim goes unflagged");
        assert_eq!(report.path.role_conflicts > 0, conflicts);
        // RFC 8445 section 7.3.1.1: told so, the other side becomes what it should have been.
        assert_eq!(report.heard.packets > 0, conflicts);
    }
}

#[test]
fn an_address_that_was_not_described_is_learnt_from_its_checks_unless_switched_off() {
    for (learns_peer_reflexive, learns) in [(true, true), (false, false)] {
        let mut bench = Bench::new(Quirks { learns_peer_reflexive, ..quirks() });
        let mut end = Webrtc::new(bridge_media(), true, &SUITES);
        let invite = bench.invite(CallSpec::default().by(Person::saying(440).hanging_up_after(2_000)));
        end.connect(body(&invite), true);
        let described = sdp(&end, "active").replace("192.0.2.9 40000 typ", "198.51.100.1 40000 typ");
        bench.say(&ok(&invite, &described));
        bench.next();
        bench.webrtc = Some(end);
        bench.run(2_100);
        let report = ended(&mut bench);
        assert_eq!(report.path.peer_reflexive, learns);
        assert_eq!(report.heard.packets > 0, learns);
    }
}

#[test]
fn a_check_with_a_wrong_key_is_counted_and_never_answered() {
    let mut bench = Bench::new(quirks());
    let mut end = Webrtc::new(bridge_media(), true, &SUITES);
    let invite = bench.invite(CallSpec::default().by(Person::saying(440)));
    // The padding belongs to the key: without it nothing verifies.
    end.connect(&body(&invite).replace("==\r\n", "\r\n"), true);
    bench.say(&ok(&invite, &sdp(&end, "active")));
    bench.next();
    bench.webrtc = Some(end);
    bench.run(20_100);
    assert!(!bench.outputs.iter().any(|output| matches!(output, Output::SendUdp { .. })));
    let report = ended(&mut bench);
    assert!(report.path.checks_forged > 2 && report.path.checks == 0, "{:?}", report.path);
    assert_eq!(report.violations, [Violation::NoMediaAtStart]);
}

#[test]
fn consent_checks_are_answered_all_through_the_call_unless_switched_off() {
    for consent_answered in [true, false] {
        let quirks = Quirks { consent_answered, ..quirks() };
        let (mut bench, _) = take(quirks, Person::saying(440), true);
        bench.run(1_000);
        assert!(bench.webrtc.as_ref().unwrap().ice.state().is_connected());
        bench.run(60_000);
        assert_eq!(bench.webrtc.as_ref().unwrap().ice.state().is_connected(), consent_answered);
    }
}

#[test]
fn lost_datagrams_of_the_handshake_cost_time_and_the_call_goes_on() {
    let taken = |handshake_datagrams_lost| {
        let quirks = Quirks { handshake_datagrams_lost, ..quirks() };
        let (mut bench, _) = take(quirks, Person::saying(440).hanging_up_after(3_000), true);
        bench.run(3_100);
        let report = ended(&mut bench);
        assert!((report.heard.hz.unwrap() - 880.0).abs() < 3.0, "{:?}", report.heard);
        assert_eq!(report.path.handshake_datagrams_lost, handshake_datagrams_lost);
        report.path.dtls_ms.unwrap()
    };
    let (none, one, two) = (taken(0), taken(1), taken(2));
    assert!(none < 50 && one >= 100 && two > one, "{none}, {one}, {two} ms");
}

#[test]
fn a_forged_fingerprint_is_described_and_the_true_certificate_shown() {
    let quirks = Quirks { fingerprint_forged: true, ..quirks() };
    let (mut bench, invite) = take(quirks, Person::saying(440), true);
    bench.run(1_000);
    let shown = bench.webrtc.as_ref().unwrap().shown.clone().unwrap();
    assert!(!body(&invite).contains(&shown));
}

#[test]
fn a_business_that_shows_another_certificate_than_described_gets_no_keys() {
    let mut bench = Bench::new(quirks());
    let mut end = Webrtc::new(bridge_media(), true, &SUITES);
    let invite = bench.invite(CallSpec::default().by(Person::saying(440)));
    end.connect(body(&invite), true);
    let other = Webrtc::new(bridge_media(), true, &SUITES);
    let fingerprint =
        |text: &str| text.lines().find(|line| line.starts_with("a=fingerprint")).unwrap().to_owned();
    let described = sdp(&end, "active");
    let described = described.replace(&fingerprint(&described), &fingerprint(&sdp(&other, "active")));
    bench.say(&ok(&invite, &described));
    bench.next();
    bench.webrtc = Some(end);
    bench.run(1_000);
    assert!(bench.saw(&Violation::WrongFingerprint));
    assert_eq!(bench.edge.heard(TwinCallId(1)).unwrap().packets, 0);
}

#[test]
fn a_description_that_cannot_be_keyed_or_reached_is_refused() {
    let end = Webrtc::new(bridge_media(), true, &SUITES);
    let whole = sdp(&end, "active");
    let without = |name: &str| {
        let kept = whole.lines().filter(|line| !line.starts_with(name));
        kept.map(|line| format!("{line}\r\n")).collect::<String>()
    };
    for (text, why) in [
        (without("a=fingerprint"), "No fingerprint found in SDP"),
        (whole.replace("sha-256", "sha-1"), "No fingerprint found in SDP"),
        (bridge_sdp(), "No fingerprint found in SDP"),
        (without("a=ice-pwd"), "no ICE credentials"),
        (sdp(&end, "actpass"), "setup:actpass in an answer"),
    ] {
        let mut bench = Bench::new(quirks());
        let invite = bench.invite(CallSpec::default());
        bench.say(&ok(&invite, &text));
        assert!(bench.saw(&Violation::Sdp(why.to_owned())), "{why}: {:?}", bench.events);
    }
}

#[test]
fn keys_pressed_in_mid_speech_share_the_stream_and_their_durations_are_heard() {
    let person = Person::saying(440).pressing(500, "42*").hanging_up_after(3_000);
    let (mut bench, _) = take(quirks(), person, true);
    bench.run(1_000);
    let now = bench.now.mono;
    bench.business.as_mut().unwrap().press(&crate::media::DtmfPlan::new(0, "7#"), now);
    bench.run(2_100);
    let heard = bench.business_heard();
    assert_eq!(heard.digits(), "42*");
    assert!(heard.dtmf.iter().all(|d| d.ended && d.duration_ms == 160), "{:?}", heard.dtmf);
    assert_eq!((heard.sequence_jumps, heard.timestamp_jumps, heard.ssrcs.len()), (0, 0, 1));
    let report = ended(&mut bench);
    assert_eq!(report.heard.digits(), "7#");
    assert!(report.heard.dtmf.iter().all(|d| d.ended && d.duration_ms == 160), "{:?}", report.heard.dtmf);
}

#[test]
fn no_short_or_scrambled_datagram_stops_a_call() {
    let (mut bench, _) = take(quirks(), Person::saying(440), true);
    bench.run(500);
    let relay = bench.webrtc.as_ref().unwrap().remote.unwrap();
    for first in 0..=255_u8 {
        for length in 0..64 {
            let bytes = vec![first; length];
            bench.edge.handle_udp(relay, bridge_media(), &bytes, bench.now);
            bench.edge.handle_udp(relay, ([198, 51, 100, 7], 9).into(), &bytes, bench.now);
        }
    }
    let before = bench.edge.heard(TwinCallId(1)).unwrap().packets;
    bench.run(500);
    assert!(bench.edge.heard(TwinCallId(1)).unwrap().packets >= before + 24);
}

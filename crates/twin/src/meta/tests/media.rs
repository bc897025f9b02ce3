//! The WhatsApp user's ears and mouth.

use super::*;

/// A user's call in which the business says something; the description is Meta's.
fn talk(quirks: Quirks, person: Person, says: Says) -> (Bench, String) {
    let mut bench = Bench::new(quirks);
    let invite = bench.answered(CallSpec::default().by(person));
    bench.next();
    bench.business_speaks(body(&invite), says);
    (bench, invite)
}

#[test]
fn user_and_business_hear_each_other_and_the_report_says_when() {
    let (mut bench, _) =
        talk(Quirks::default(), Person::saying(440).hanging_up_after(3_000), Says::tone(880));
    bench.run(3_100);
    let bye = bench.next();
    bench.say(&reply(&bye, "200 OK", "", ""));
    let report = bench.report();
    assert!((report.heard.hz.unwrap() - 880.0).abs() < 3.0, "{:?}", report.heard);
    assert!(report.heard.first_audio_ms.unwrap() < 100);
    assert_eq!((report.heard.lost, report.heard.srtp_failures, report.violations.len()), (0, 0, 0));
    assert!((bench.business_heard().hz.unwrap() - 440.0).abs() < 3.0);
}

#[test]
fn meta_is_silent_until_the_first_packet_of_the_business_unless_switched_off() {
    for (waits_for_first_packet, hears) in [(true, false), (false, true)] {
        let quirks = Quirks { waits_for_first_packet, ..Quirks::default() };
        let (mut bench, _) = talk(quirks, Person::saying(440), Says::Nothing);
        bench.run(6_000);
        assert_eq!(bench.business_heard().packets > 0, hears);
    }
}

#[test]
fn no_media_at_the_start_ends_the_call_after_twenty_seconds() {
    let (mut bench, _) = talk(Quirks::default(), Person::saying(440), Says::Nothing);
    bench.run(19_900);
    assert!(bench.is_silent());
    bench.run(200);
    assert!(bench.next().starts_with("BYE "));
    assert!(bench.saw(&Violation::NoMediaAtStart));
    let (mut quick, _) =
        talk(Quirks { start_timer_ms: 1_000, ..Quirks::default() }, Person::saying(440), Says::Nothing);
    quick.run(1_100);
    assert!(quick.next().starts_with("BYE "));
}

/// The business speaks for a second, then sends only what `rtcp` says.
fn fall_silent(quirks: Quirks, rtcp: bool) -> Bench {
    let (mut bench, _) = talk(quirks, Person::saying(440), Says::tone(880));
    bench.run(1_000);
    let business = bench.business.as_mut().unwrap();
    let mut plan = business.plan().clone();
    plan.may_speak = false;
    plan.rtcp_interval = rtcp.then_some(Duration::from_secs(5));
    let now = bench.now;
    *business = Voice::new(plan, Box::new(SeededEntropy::new(10)), now);
    bench.run(30_500);
    bench
}

#[test]
fn thirty_seconds_of_silence_end_the_call_and_rtcp_keeps_it_unless_switched_off() {
    let mut silent = fall_silent(Quirks::default(), false);
    assert!(silent.next().starts_with("BYE ") && silent.saw(&Violation::MediaStopped));
    assert!(fall_silent(Quirks::default(), true).is_silent());
    assert!(!fall_silent(Quirks { rtcp_resets_mid_timer: false, ..Quirks::default() }, true).is_silent());
    assert!(fall_silent(Quirks { mid_timer_ms: 60_000, ..Quirks::default() }, false).is_silent());
}

#[test]
fn a_second_source_is_flagged_and_mutes_the_rest_unless_switched_off() {
    for (second_ssrc_mutes, hears) in [(true, false), (false, true)] {
        let quirks = Quirks { second_ssrc_mutes, ..Quirks::default() };
        let (mut bench, _) = talk(quirks, Person::saying(440).hanging_up_after(3_000), Says::tone(880));
        bench.run(1_000);
        bench.business.as_mut().unwrap().change_source();
        bench.run(2_100);
        let bye = bench.next();
        bench.say(&reply(&bye, "200 OK", "", ""));
        let report = bench.report();
        assert_eq!(report.violations, [Violation::SecondSsrc]);
        assert_eq!(report.heard.last_audio_ms.unwrap() > 2_000, hears);
    }
}

#[test]
fn packets_that_are_not_twenty_milliseconds_long_are_flagged() {
    let (mut bench, _) = talk(Quirks::default(), Person::saying(440), Says::tone(880));
    let business = bench.business.as_mut().unwrap();
    let mut plan = business.plan().clone();
    plan.mouth.ptime_ms = 40;
    let now = bench.now;
    business.replan(plan, now);
    bench.run(500);
    assert!(bench.saw(&Violation::WrongPtime));
}

#[test]
fn keys_of_the_user_arrive_as_events_of_payload_type_126() {
    let (mut bench, _) = talk(Quirks::default(), Person::saying(440).pressing(500, "42*"), Says::tone(880));
    bench.run(2_500);
    let heard = bench.business_heard();
    assert_eq!(heard.digits(), "42*");
    assert_eq!((heard.timestamp_jumps, heard.sequence_jumps, heard.ssrcs.len()), (0, 0, 1));
    let call =
        bench.events.iter().find_map(|e| if let Event::Answered(call) = e { Some(*call) } else { None });
    bench.edge.send_dtmf(call.unwrap(), "9", bench.now);
    bench.run(500);
    assert_eq!(bench.business_heard().digits(), "42*9");
}

#[test]
fn keys_of_the_business_are_reported() {
    let (mut bench, _) = talk(Quirks::default(), Person::saying(440), Says::tone(880));
    let now = bench.now.mono;
    bench.business.as_mut().unwrap().press(&crate::media::DtmfPlan::new(0, "7"), now);
    bench.run(500);
    assert!(bench.events.iter().any(|event| matches!(event, Event::Digit(_, '7'))));
}

#[test]
fn the_users_own_line_can_lose_and_delay() {
    let impairment = crate::media::Impairment { loss_percent: 20, jitter_ms: 10, reorder_percent: 5 };
    let (mut bench, _) =
        talk(Quirks { impairment, ..Quirks::default() }, Person::saying(440), Says::tone(880));
    bench.run(5_000);
    let heard = bench.business_heard();
    assert!(heard.lost > 20 && heard.reordered > 0, "{heard:?}");
}

#[test]
fn media_from_another_address_is_taken_once_it_authenticates_unless_switched_off() {
    for (latches, takes) in [(true, true), (false, false)] {
        let (mut bench, _) =
            talk(Quirks { latches, ..Quirks::default() }, Person::saying(440), Says::tone(880));
        let mut elsewhere = bench.business.take().unwrap();
        let relay = elsewhere.plan().remote;
        elsewhere.handle_timeout(bench.now);
        let (_, packet) = elsewhere.poll_transmit().unwrap();
        let from = SocketAddr::from(([198, 51, 100, 7], 9_999));
        bench.edge.handle_udp(relay, from, &[0x80; 60], bench.now);
        bench.edge.handle_udp(relay, from, &packet, bench.now);
        bench.run(100);
        let sent_there = bench.outputs.iter().any(|o| matches!(o, Output::SendUdp { to, .. } if *to == from));
        assert_eq!(sent_there, takes);
    }
}

#[test]
fn reports_are_sent_as_often_as_switched() {
    for (rtcp_interval_ms, reports) in [(0, 0), (1_000, 4)] {
        let quirks = Quirks { rtcp_interval_ms, ..Quirks::default() };
        let (mut bench, _) = talk(quirks, Person::saying(440), Says::tone(880));
        bench.run(4_500);
        assert_eq!(bench.business_heard().rtcp_packets, reports);
    }
}

#[test]
fn two_calls_on_one_relay_port_are_told_apart_by_the_bridges_address() {
    let config = EdgeConfig { media_ports: vec![3_480], ..EdgeConfig::default() };
    let mut bench = Bench::with(config);
    let first = bench.answered(CallSpec::default());
    bench.next();
    bench.edge.call(CallSpec::new("+12195550999", NUMBER), bench.now);
    bench.drain();
    let second = bench.next();
    bench.say(&ok(&second, &bridge_sdp().replace("40000", "40002")));
    let mut voices = [(first, 40_000, 500), (second, 40_002, 700)].map(|(invite, port, hz)| {
        let plan = business_plan(body(&invite), Says::tone(hz));
        (Voice::new(plan, Box::new(SeededEntropy::new(u64::from(port))), bench.now), port)
    });
    for _ in 0..200 {
        bench.run(5);
        for (voice, port) in &mut voices {
            voice.handle_timeout(bench.now);
            let relay = voice.plan().remote;
            while let Some((_, bytes)) = voice.poll_transmit() {
                bench.edge.handle_udp(relay, ([192, 0, 2, 9], *port).into(), &bytes, bench.now);
            }
        }
    }
    let hz = |n| bench.edge.heard(TwinCallId(n)).unwrap().hz.unwrap();
    assert!((hz(1) - 500.0).abs() < 3.0 && (hz(2) - 700.0).abs() < 3.0);
}

#[test]
fn early_media_is_a_ringing_tone_that_gives_way_to_the_user() {
    let quirks = Quirks {
        ringing: Ringing::EarlyMedia,
        waits_for_first_packet: false,
        challenge_algorithms: vec![],
        ..Quirks::default()
    };
    let anyone = Answering { answer: Answer::After(1_500), person: Person::saying(440), quirks: None };
    let mut bench = Bench::with(EdgeConfig { quirks, anyone, ..EdgeConfig::default() });
    bench.dialled_by_bridge(&[]);
    bench.say(&business_invite(TO_USER, FROM_BUSINESS, 1, "", &bridge_sdp()));
    bench.next();
    let progress = bench.next();
    bench.business_speaks(body(&progress), Says::Nothing);
    bench.run(3_000);
    let heard = bench.business_heard();
    assert!(heard.heard_ms(425.0, 5.0) > 1_000 && heard.heard_ms(440.0, 5.0) > 1_000, "{:?}", heard.tones);
}

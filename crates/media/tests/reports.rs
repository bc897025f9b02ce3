//! RTCP, silence, counters and the tap.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use setu_media::{Channel, Command, Direction, Event, LegSetup, MediaProfile};
use setu_model::{LegId, Side, TapChannel};
use support::{AGENT, CALL, Call, META, agent_setup, meta_setup, srtp};

const VOICE: [u8; 20] = [0x78; 20];

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Types and bodies of a compound's packets, by hand.
fn parts(compound: &[u8]) -> Vec<(u8, &[u8])> {
    let mut rest = compound;
    let mut all = Vec::new();
    while !rest.is_empty() {
        assert_eq!(rest[0] >> 6, 2);
        let length = 4 + 4 * usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        all.push((rest[1], &rest[..length]));
        rest = &rest[length..];
    }
    all
}

/// A sender report of the peer with one block about our stream.
fn peer_report(ssrc: u32, about: u32, ntp: u64, last_sr: u32, delay: u32) -> Vec<u8> {
    let mut report = vec![0x81, 200, 0, 12];
    report.extend(ssrc.to_be_bytes());
    report.extend(ntp.to_be_bytes());
    report.extend([0; 12]);
    report.extend(about.to_be_bytes());
    report.extend([0; 12]);
    report.extend(last_sr.to_be_bytes());
    report.extend(delay.to_be_bytes());
    report
}

#[test]
fn each_leg_gets_its_own_reports_every_few_seconds() {
    let mut call = Call::usual();
    for n in 0..1_000_u16 {
        if n % 10 != 7 {
            call.meta_says(n, u32::from(n) * 960, &VOICE);
        }
        call.agent_says(n, u32::from(n) * 960, &VOICE);
        call.pass_ms(20);
    }
    for (peer, profile) in [(&call.meta, MediaProfile::meta()), (&call.agent, MediaProfile::trunk())] {
        assert!((4..=5).contains(&peer.reports.len()), "{}", peer.reports.len());
        assert!(peer.reports[0].0 < 2_000);
        let interval = peer.reports[2].0 - peer.reports[1].0;
        assert_eq!(u128::from(interval), profile.rtcp_interval.as_millis());
    }
    let (at_ms, last) = call.meta.reports.last().unwrap();
    let parts = parts(last);
    assert_eq!(parts.iter().map(|part| part.0).collect::<Vec<_>>(), [200, 202]);
    let report = parts[0].1;
    let setup = meta_setup();
    assert_eq!(word(report, 4), setup.ssrc);
    let sent = call.meta.heard.iter().filter(|it| it.at_ms <= *at_ms).collect::<Vec<_>>();
    assert!(word(report, 20).abs_diff(sent.len() as u32) <= 1, "packets");
    let octets: usize = sent.iter().map(|it| it.payload.len()).sum();
    assert!(word(report, 24).abs_diff(octets as u32) <= 20, "octets");
    let told = sent.last().unwrap();
    let since = word(report, 16).wrapping_sub(told.timestamp);
    assert!(since <= 960 * 2, "time stamp of the moment of the report: {since}");
    // NTP: the wall clock the relay was made with, moved on.
    assert_eq!(u64::from(word(report, 8)), 2_208_988_800 + 1_790_000_000 + at_ms / 1_000);
    // The block about Meta's own stream: a tenth of it never came.
    assert_eq!(word(report, 28), call.meta.ssrc);
    let fraction = report[32];
    assert!((20..=30).contains(&fraction), "{fraction}/256");
    assert!(word(report, 40) < 500, "jitter of a steady stream, in ticks");
}

#[test]
fn who_hears_nothing_yet_is_told_of_no_stream_and_goodbye_ends_every_leg() {
    let mut call = Call::usual();
    call.pass_ms(3_000);
    let first = parts(&call.agent.reports[0].1);
    assert_eq!((first[0].0, first[0].1[0] & 0x1f), (200, 0), "a sender report without blocks");
    let (call, ..) = call.close();
    for (peer, ssrc) in [(&call.meta, meta_setup().ssrc), (&call.agent, agent_setup().ssrc)] {
        let last = parts(&peer.reports.last().unwrap().1);
        let (kind, goodbye) = last.last().unwrap();
        assert_eq!((*kind, word(goodbye, 4)), (203, ssrc));
    }
}

#[test]
fn a_leg_on_hold_still_gets_receiver_reports_so_its_peer_keeps_the_call() {
    let mut call = Call::usual();
    call.command(Command::Direct { leg: AGENT, direction: Direction::Inactive });
    call.pass_ms(30_000);
    let reports = &call.agent.reports;
    assert!(reports.len() >= 5);
    assert!(reports[1..].iter().all(|(_, report)| report[1] == 201));
}

#[test]
fn round_trip_comes_from_the_peers_report_of_ours() {
    let mut call = Call::usual();
    call.pass_ms(2_000);
    let (at_ms, ours) = call.meta.reports.last().unwrap().clone();
    let middle = word(&ours, 8) << 16 | word(&ours, 12) >> 16;
    call.pass_ms(500);
    // Held for 400 ms at the peer: the rest was the way.
    let compound = peer_report(call.meta.ssrc, meta_setup().ssrc, 1 << 40, middle, 65_536 * 4 / 10);
    let sealed = call.meta.seal_report(&compound);
    call.arrive(META, Channel::Rtp, call.meta.at, &sealed);
    let passed = call.at_ms() - at_ms;
    let (_, meta, agent) = call.close();
    let expected = (passed - 400) * 1_000;
    assert!(meta.round_trip_us.unwrap().abs_diff(expected) < 1_000, "{:?} {expected}", meta.round_trip_us);
    assert_eq!(agent.round_trip_us, None);
}

#[test]
fn the_peers_sender_report_is_referred_to_in_ours() {
    let mut call = Call::usual();
    call.meta_says(1, 960, &VOICE);
    let compound = peer_report(call.meta.ssrc, 9, 0x1234_5678_9abc_def0, 0, 0);
    let sealed = call.meta.seal_report(&compound);
    call.arrive(META, Channel::Rtp, call.meta.at, &sealed);
    let heard_at = call.at_ms();
    call.pass_ms(2_000);
    let (at_ms, ours) = &call.meta.reports[0];
    assert_eq!(word(ours, 44), 0x5678_9abc);
    let delay_ms = u64::from(word(ours, 48)) * 1_000 / 65_536;
    assert!(delay_ms.abs_diff(at_ms - heard_at) <= 1);
}

#[test]
fn silence_is_told_once_and_again_only_after_a_packet() {
    let mut call = Call::usual();
    let agents = MediaProfile::trunk().silence.unwrap().as_millis() as u64;
    call.pass_ms(29_999);
    assert_eq!(call.events, []);
    call.pass_ms(1);
    assert_eq!(call.events, [Event::Silent { leg: META }]);
    call.meta_says(1, 960, &VOICE);
    call.pass_ms(agents - 30_000);
    assert_eq!(call.events[2..], [Event::Silent { leg: META }, Event::Silent { leg: AGENT }]);
    call.pass_ms(600_000);
    assert_eq!(call.events.len(), 4);
}

#[test]
fn reports_of_the_peer_count_as_life_and_forged_ones_do_not() {
    let mut call = Call::usual();
    for n in 0..10 {
        call.pass_ms(10_000);
        let compound = peer_report(call.meta.ssrc, meta_setup().ssrc, n, 0, 0);
        let packet = if n < 5 { call.meta.seal_report(&compound) } else { compound };
        call.arrive(META, Channel::Rtp, call.meta.at, &packet);
    }
    let told = call.events.iter().filter(|it| **it == Event::Silent { leg: META }).count();
    assert_eq!(told, 1);
    let (call, meta, _) = call.close();
    assert_eq!(meta.rejected_packets, 5);
    assert!(matches!(call.events.last(), Some(Event::Closed { call: CALL, .. })));
}

#[test]
fn an_agent_that_holds_the_call_silently_is_not_missed() {
    let mut call = Call::usual();
    call.command(Command::Direct { leg: AGENT, direction: Direction::Inactive });
    call.pass_ms(300_000);
    assert!(!call.events.contains(&Event::Silent { leg: AGENT }));
    call.command(Command::Direct { leg: AGENT, direction: Direction::SendRecv });
    call.pass_ms(60_000);
    assert!(call.events.contains(&Event::Silent { leg: AGENT }));
}

#[test]
fn meta_is_never_without_a_packet_for_longer_than_200_ms() {
    let mut call = Call::usual();
    for n in 0..2_000_u64 {
        // An agent that comes and goes.
        if (n / 70) % 3 != 1 {
            call.agent_says(n as u16, n as u32 * 960, &VOICE);
        }
        call.pass_ms(20);
    }
    let gap = call.meta.heard.windows(2).map(|pair| pair[1].at_ms - pair[0].at_ms).max().unwrap();
    assert!(gap <= 200, "{gap}");
}

#[test]
fn the_tap_hands_out_both_directions_of_the_meta_leg_on_one_time_line() {
    let mut call = Call::usual();
    call.pass_ms(1_000);
    call.command(Command::Tap { call: CALL, on: true });
    for n in 0..50_u16 {
        if n != 20 {
            call.meta_says(65_530_u16.wrapping_add(n), (u32::from(n) * 960).wrapping_sub(2_000), &VOICE);
        }
        if n < 25 {
            call.agent_says(n, u32::from(n) * 960, &[0x79; 9]);
        }
        call.pass_ms(20);
    }
    call.command(Command::Tap { call: CALL, on: false });
    call.meta_says(100, 0, &VOICE);

    let customer = call.taped(TapChannel::Customer);
    assert_eq!(customer.len(), 49, "what was lost stays lost");
    assert!(customer.iter().all(|frame| *frame.payload == VOICE && frame.call == CALL));
    for pair in customer.windows(2) {
        let ahead = pair[1].sequence - pair[0].sequence;
        assert_eq!(pair[1].timestamp - pair[0].timestamp, ahead * 960);
        assert_eq!(pair[1].passed_us - pair[0].passed_us, ahead * 20_000);
    }
    assert_eq!(customer[0].passed_us, 0);

    let agent = call.taped(TapChannel::Agent);
    let sent: Vec<_> = call.meta.heard.iter().filter(|it| (1_000..2_000).contains(&it.at_ms)).collect();
    assert_eq!(agent.iter().map(|it| &it.payload[..]).collect::<Vec<_>>(), {
        let mut sent: Vec<_> = sent.iter().map(|it| &it.payload[..]).collect();
        // The comfort frame of 1,000 ms left before the tap was opened, the one of 2,000 ms before it was closed.
        sent.remove(0);
        sent.push(&call.meta.heard.last().unwrap().payload);
        sent
    });
    assert!(
        agent.iter().any(|it| *it.payload == [0xf8, 0xff, 0xfe]),
        "comfort frames are what the customer heard"
    );
    assert!(agent.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    assert!(agent.windows(2).all(|pair| pair[0].passed_us <= pair[1].passed_us));
}

#[test]
fn forged_packets_are_not_taped() {
    let mut call = Call::usual();
    call.command(Command::Tap { call: CALL, on: true });
    let mut packet = call.meta.audio(1, 960, &VOICE);
    *packet.last_mut().unwrap() ^= 1;
    call.arrive(META, Channel::Rtp, call.meta.at, &packet);
    assert!(call.taped(TapChannel::Customer).is_empty());
}

#[test]
fn quality_tells_loss_jitter_and_first_packets() {
    let mut call = Call::usual();
    call.pass_ms(45);
    for n in 0..400_u16 {
        if n % 4 != 3 {
            call.meta_says(n, u32::from(n) * 960, &VOICE);
        }
        call.pass_ms(if n % 2 == 0 { 25 } else { 15 });
    }
    let (_, meta, agent) = call.close();
    assert_eq!((meta.received_packets, meta.lost_packets), (300, 99), "the last one lost is not known of");
    assert_eq!((meta.first_received_ms, meta.first_sent_ms), (Some(45), Some(0)));
    assert!((2_000..6_000).contains(&meta.jitter_us), "{}", meta.jitter_us);
    assert_eq!((agent.received_packets, agent.first_received_ms), (0, None));
}

#[test]
fn a_losing_fork_is_closed_alone() {
    let mut call = Call::usual();
    let fork = LegId { call: CALL, index: 2 };
    call.command(Command::Open { leg: fork, side: Side::Agents });
    call.command(Command::CloseLeg { leg: fork });
    assert!(matches!(call.events.last(), Some(Event::LegClosed { leg, .. }) if *leg == fork));
    call.agent_says(1, 960, &VOICE);
    assert_eq!(call.meta.heard.last().unwrap().payload, VOICE);
    let (call, ..) = call.close();
    let Some(Event::Closed { quality, .. }) = call.events.last() else { panic!("closed") };
    assert_eq!(quality.iter().map(|it| it.0).collect::<Vec<_>>(), [META, AGENT]);
    assert_eq!(call.relay.poll_timeout(), None, "nothing is left to do");
}

#[test]
fn a_call_has_a_bounded_number_of_legs() {
    let mut call = Call::usual();
    for index in 2..40 {
        call.command(Command::Open { leg: LegId { call: CALL, index }, side: Side::Agents });
    }
    assert_eq!(call.events.len(), 40 - setu_media::Relay::LEGS);
}

#[test]
fn encrypted_reports_reach_the_peers_own_rtcp_port() {
    let crypto = srtp(setu_srtp::Suite::AeadAes128Gcm, 3);
    let agent = LegSetup { crypto, profile: MediaProfile::softphone(), ..agent_setup() };
    let mut call = Call::answered(meta_setup(), agent);
    call.pass_ms(10_000);
    assert!(call.agent.reports.len() >= 2);
    assert!(
        call.agent.report_targets.iter().all(|it| *it == (Channel::Rtcp, agent_setup().remote_rtcp.unwrap()))
    );
    assert!(call.meta.report_targets.iter().all(|it| *it == (Channel::Rtp, meta_setup().remote)));
}

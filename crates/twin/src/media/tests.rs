use std::net::SocketAddr;
use std::time::{Duration, Instant};

use setu_model::{Entropy as _, Now, SeededEntropy, Wall};

use super::*;

const STEP: Duration = Duration::from_millis(1);

fn start() -> Now {
    Now { mono: Instant::now(), wall: Wall::from_unix_ms(1_700_000_000_000) }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn plan(codec: Codec, ptime_ms: u32, says: Says) -> VoicePlan {
    let dtmf = Some((126, 8_000));
    VoicePlan {
        mouth: MouthPlan { codec, send_pt: 111, ptime_ms, dtmf, says, impairment: Impairment::default() },
        ear: EarPlan { codec, receive_pt: 111, ptime_ms, dtmf, mute_second_ssrc: true, listen: true },
        keys: Keys::Plain,
        remote: address(4_000),
        remote_rtcp: address(4_000),
        rtcp_interval: Some(Duration::from_secs(5)),
        wait_for_peer: false,
        may_speak: true,
    }
}

fn voice(plan: VoicePlan, seed: u64, now: Now) -> Voice {
    Voice::new(plan, Box::new(SeededEntropy::new(seed)), now)
}

/// Runs two voices against each other for `ms` milliseconds of virtual time.
fn talk(a: &mut Voice, b: &mut Voice, now: &mut Now, ms: u64) {
    for _ in 0..ms {
        a.handle_timeout(*now);
        b.handle_timeout(*now);
        while let Some((_, bytes)) = a.poll_transmit() {
            b.handle_datagram(&bytes, *now);
        }
        while let Some((_, bytes)) = b.poll_transmit() {
            a.handle_datagram(&bytes, *now);
        }
        *now = now.after(STEP);
    }
}

#[test]
fn each_codec_carries_its_tone_at_its_level_without_loss() {
    for codec in [Codec::Opus, Codec::Pcmu, Codec::Pcma] {
        for ptime in [10, 20, 40, 60] {
            let mut now = start();
            let mut a = voice(plan(codec, ptime, Says::tone(440)), 1, now);
            let mut b = voice(plan(codec, ptime, Says::tone(880)), 2, now);
            talk(&mut a, &mut b, &mut now, 3_000);
            let (heard_a, heard_b) = (a.report(), b.report());
            assert!((heard_a.hz.unwrap() - 880.0).abs() < 3.0, "{codec:?} {ptime}: {heard_a:?}");
            assert!((heard_b.hz.unwrap() - 440.0).abs() < 3.0, "{codec:?} {ptime}: {heard_b:?}");
            assert!((heard_b.dbfs.unwrap() + 12.0).abs() < 2.5, "{codec:?} {ptime}: {:?}", heard_b.dbfs);
            assert!(heard_b.heard_ms(440.0, 8.0) > 2_300, "{codec:?} {ptime}: {:?}", heard_b.tones);
            assert_eq!((heard_b.lost, heard_b.sequence_jumps, heard_b.timestamp_jumps), (0, 0, 0));
            assert_eq!((heard_b.ptime_violations, heard_b.unknown, heard_b.ssrcs.len()), (0, 0, 1));
            assert_eq!(heard_b.first_packet_ms, Some(0));
            assert!(heard_b.gaps.is_empty() || ptime > 60, "{:?}", heard_b.gaps);
        }
    }
}

#[test]
fn silence_is_packets_but_no_audio() {
    let mut now = start();
    let mut a = voice(plan(Codec::Opus, 20, Says::Silence), 1, now);
    let mut b = voice(plan(Codec::Opus, 20, Says::Nothing), 2, now);
    talk(&mut a, &mut b, &mut now, 1_000);
    let heard = b.report();
    assert_eq!((heard.packets, heard.first_audio_ms, heard.hz), (50, None, None));
    assert_eq!(a.report().packets, 0);
}

#[test]
fn every_packet_that_a_words_beginning_lacks_is_counted() {
    // The decoder's last bit of the word spills into one more packet with Opus.
    for (codec, spills) in [(Codec::Opus, 1), (Codec::Pcmu, 0)] {
        for late_ms in [0, 20, 60] {
            let mut now = start();
            let mut a = voice(plan(codec, 20, Says::word(440, 400)), 1, now);
            let mut b = voice(plan(codec, 20, Says::Nothing), 2, now);
            for _ in 0..late_ms {
                a.handle_timeout(now);
                while a.poll_transmit().is_some() {}
                now = now.after(STEP);
            }
            talk(&mut a, &mut b, &mut now, 3_000);
            let heard = b.report();
            assert_eq!(heard.sounding, 20 + spills - late_ms / 20, "{codec:?} {late_ms}: {heard:?}");
        }
    }
}

#[test]
fn keys_pressed_in_mid_speech_are_heard_with_their_length_and_the_tone_goes_on() {
    let mut now = start();
    let mut a = voice(plan(Codec::Opus, 20, Says::tone(500)), 3, now);
    let mut b = voice(plan(Codec::Opus, 20, Says::tone(600)), 4, now);
    a.press(&DtmfPlan::new(0, "15#"), now.mono + Duration::from_millis(1_000));
    talk(&mut a, &mut b, &mut now, 3_000);
    let heard = b.report();
    assert_eq!(heard.digits(), "15#");
    assert!(heard.dtmf.iter().all(|d| d.ended && d.duration_ms == 160), "{:?}", heard.dtmf);
    assert_eq!((heard.lost, heard.sequence_jumps, heard.timestamp_jumps), (0, 0, 0));
    assert!(heard.last_audio_ms.unwrap() > 2_900);
}

#[test]
fn who_waits_for_the_peer_is_silent_until_its_first_authentic_packet() {
    let mut now = start();
    let mut waiting = plan(Codec::Opus, 20, Says::tone(500));
    waiting.wait_for_peer = true;
    let mut user = voice(waiting, 5, now);
    let mut mute = voice(plan(Codec::Opus, 20, Says::Nothing), 6, now);
    talk(&mut user, &mut mute, &mut now, 7_000);
    assert_eq!(mute.report().packets, 0);
    let mut business = voice(plan(Codec::Opus, 20, Says::Silence), 7, now);
    talk(&mut user, &mut business, &mut now, 500);
    assert!(business.report().packets >= 24);
}

#[test]
fn losses_delays_and_disorder_of_the_line_are_counted_and_repeat_with_the_seed() {
    let run = |seed| {
        let mut now = start();
        let mut bad = plan(Codec::Opus, 20, Says::tone(440));
        bad.mouth.impairment = Impairment { loss_percent: 10, jitter_ms: 15, reorder_percent: 5 };
        let mut a = voice(bad, seed, now);
        let mut b = voice(plan(Codec::Opus, 20, Says::tone(440)), 9, now);
        talk(&mut a, &mut b, &mut now, 10_000);
        b.report()
    };
    let heard = run(8);
    assert!((20..90).contains(&heard.lost), "{}", heard.lost);
    assert!(heard.reordered > 3, "{}", heard.reordered);
    assert!((heard.hz.unwrap() - 440.0).abs() < 5.0);
    assert_eq!(heard, run(8));
    assert_ne!(heard, run(9));
}

#[test]
fn a_second_source_mutes_the_rest_of_the_call() {
    let mut now = start();
    let mut a = voice(plan(Codec::Opus, 20, Says::tone(440)), 1, now);
    let mut b = voice(plan(Codec::Opus, 20, Says::tone(440)), 2, now);
    talk(&mut a, &mut b, &mut now, 500);
    let before = b.report().packets;
    a.change_source();
    talk(&mut a, &mut b, &mut now, 500);
    let heard = b.report();
    assert!(heard.muted && heard.ssrcs.len() == 2);
    assert_eq!(heard.packets, before);
    assert!(b.noticed().contains(&Noticed::SecondSsrc));
}

#[test]
fn packets_of_a_wrong_length_are_violations() {
    let mut now = start();
    let mut a = voice(plan(Codec::Opus, 40, Says::tone(440)), 1, now);
    let mut b = voice(plan(Codec::Opus, 20, Says::tone(440)), 2, now);
    talk(&mut a, &mut b, &mut now, 400);
    assert_eq!(b.report().ptime_violations, 10);
    assert!(b.noticed().contains(&Noticed::WrongPtime));
}

#[test]
fn protected_media_and_reports_pass_both_ways_and_forgeries_do_not() {
    for suite in [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm] {
        let mut now = start();
        let mut entropy = SeededEntropy::new(11);
        let (x, y) = (CryptoLine::fresh(1, suite, &mut entropy), CryptoLine::fresh(1, suite, &mut entropy));
        let sealed = |ours: &CryptoLine, theirs: &CryptoLine| {
            let mut plan = plan(Codec::Opus, 20, Says::tone(700));
            plan.keys = Keys::Known(ours.clone(), theirs.clone());
            plan
        };
        let mut a = voice(sealed(&x, &y), 1, now);
        let mut b = voice(sealed(&y, &x), 2, now);
        talk(&mut a, &mut b, &mut now, 6_000);
        let mut forged = vec![0x80, 111, 0, 0];
        forged.extend_from_slice(&entropy.next_u64().to_be_bytes());
        forged.extend_from_slice(&[7; 40]);
        assert!(!b.handle_datagram(&forged, now));
        let heard = b.report();
        assert_eq!((heard.srtp_failures, heard.rtcp_packets, heard.lost), (1, 1, 0), "{suite:?}");
        assert!((heard.hz.unwrap() - 700.0).abs() < 3.0);
        assert_eq!(a.report().rtcp_reports, 1);
    }
}

#[test]
fn a_silence_of_the_peer_is_a_gap_and_a_jump_of_its_numbers_is_told_apart_from_loss() {
    let mut now = start();
    let mut a = voice(plan(Codec::Opus, 20, Says::tone(440)), 1, now);
    let mut b = voice(plan(Codec::Opus, 20, Says::Nothing), 2, now);
    talk(&mut a, &mut b, &mut now, 500);
    let mut held = a.plan().clone();
    held.may_speak = false;
    a.replan(held.clone(), now);
    talk(&mut a, &mut b, &mut now, 400);
    held.may_speak = true;
    a.replan(held, now);
    talk(&mut a, &mut b, &mut now, 500);
    let heard = b.report();
    assert_eq!(heard.gaps.len(), 1, "{:?}", heard.gaps);
    assert!((400..=440).contains(&heard.gaps[0].ms), "{:?}", heard.gaps);
    assert_eq!((heard.lost, heard.longest_gap_ms), (0, heard.gaps[0].ms));
    assert_eq!(heard.timestamp_jumps, 0, "a stop of 400 ms stays within the slack");
}

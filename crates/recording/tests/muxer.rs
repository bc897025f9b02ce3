//! What the muxer makes of tapped packets.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::time::Duration;

use common::*;
use opus_pure::OggOpusReader;
use proptest::prelude::*;
use setu_model::{TapChannel, TapFrame};
use setu_recording::{Counters, Muxer};

const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];

/// Wideband SILK packets of 20 ms that carry their number, for tests that never decode.
fn numbered(count: u16) -> Vec<Vec<u8>> {
    (0..count).map(|i| [&[0x48][..], &i.to_be_bytes(), &[7; 40]].concat()).collect()
}

fn number(packet: &[u8]) -> Option<u16> {
    (packet[0] == 0x48).then(|| u16::from_be_bytes([packet[1], packet[2]]))
}

fn customer(packets: &[Vec<u8>]) -> Vec<TapFrame> {
    side(TapChannel::Customer, packets, 20)
}

fn agent(packets: &[Vec<u8>]) -> Vec<TapFrame> {
    side(TapChannel::Agent, packets, 20)
}

#[test]
fn each_tone_is_in_its_own_channel_at_its_frequency_for_the_whole_length() {
    let (left, right) = decode(&two_tones());
    assert_two_tones(&left, &right, "opus-pure");
    assert_eq!((left.len(), right.len()), (480_000, 480_000));
}

#[test]
fn not_one_byte_of_a_packet_is_changed() {
    let (ours, theirs) = (tone(CUSTOMER_HZ, 50, 20, 1), tone(AGENT_HZ, 50, 20, 1));
    let (file, muxer) = mux([customer(&ours), agent(&theirs)].concat());
    assert_eq!(streams(&file), ours.into_iter().zip(theirs).collect::<Vec<_>>());
    assert_eq!(muxer.counters(), Counters::default());
}

#[test]
fn headers_say_family_1_with_two_uncoupled_streams_and_nothing_personal() {
    let file = two_tones();
    let reader = OggOpusReader::new(file.as_slice()).unwrap();
    let head = reader.head();
    assert_eq!((head.channel_count, head.pre_skip, head.mapping_family), (2, 312, 1));
    assert_eq!((head.stream_count, head.coupled_count, head.channel_mapping.as_slice()), (2, 0, &[0, 1][..]));
    let tags = reader.tags();
    assert_eq!(tags.get("SETU_CALL_ID"), Some(call().to_string().as_str()));
    assert_eq!(tags.get("DATE"), Some("2026-11-18T11:06:40.000Z"));
    assert_eq!(tags.get("DESCRIPTION"), Some("left: customer, right: agent"));
}

#[test]
fn tags_of_the_caller_are_added_within_bounds() {
    let long = "ü".repeat(500);
    let tags =
        (0..100).fold(tags().with("NUMBER", &long).with("a=b", "x"), |tags, _| tags.with("MORE", &long));
    let file = [Muxer::new(&tags).take_pages(), Muxer::new(&tags).finish(Duration::ZERO)].concat();
    let reader = OggOpusReader::new(file.as_slice()).unwrap();
    assert_eq!(reader.tags().get("NUMBER").map(str::len), Some(512));
    assert_eq!(reader.tags().get_all("MORE").count(), 19);
}

#[test]
fn pages_hold_200_ms_and_the_last_one_ends_the_stream() {
    let file = mux([customer(&numbered(105)), agent(&numbered(105))].concat()).0;
    let pages = pages(&file);
    let flags: Vec<u8> = pages.iter().map(|(at, _)| file[at + 5]).collect();
    assert_eq!((flags[0], flags.last().copied(), flags.iter().filter(|f| **f == 4).count()), (2, Some(4), 1));
    let granules: Vec<u64> =
        pages.iter().map(|(at, _)| u64::from_le_bytes(file[at + 6..at + 14].try_into().unwrap())).collect();
    assert_eq!(granules[..5], [0, 0, 9_600, 19_200, 28_800]);
    assert_eq!(granules.last(), Some(&(105 * 960)));
    // 105 packets of 43 bytes on either side: overhead as documented.
    let overhead = file.len() as f64 / (210.0 * 43.0) - 1.0;
    assert!(overhead < 0.10, "{overhead}, headers included");
}

/// Where each page begins and ends.
fn pages(file: &[u8]) -> Vec<(usize, usize)> {
    let mut pages = Vec::new();
    let mut at = 0;
    while at < file.len() {
        let segments = usize::from(file[at + 26]);
        let body: usize = file[at + 27..at + 27 + segments].iter().map(|s| usize::from(*s)).sum();
        let end = at + 27 + segments + body;
        pages.push((at, end));
        at = end;
    }
    pages
}

#[test]
fn a_file_cut_anywhere_plays_to_its_last_whole_page() {
    let file = mux([customer(&numbered(100)), agent(&numbered(100))].concat()).0;
    let whole = streams(&file);
    let pages = pages(&file);
    for cut in 0..=file.len() {
        let played = streams(&file[..cut]);
        assert_eq!(played, whole[..played.len()], "cut at {cut}");
        let pages_kept = pages.iter().filter(|(_, end)| *end <= cut).count();
        assert_eq!(played.len(), (pages_kept.max(2) - 2) * 10, "cut at {cut}");
    }
}

#[test]
fn a_lost_packet_is_silence_in_its_place() {
    let mut frames = [customer(&numbered(20)), agent(&numbered(20))].concat();
    frames.remove(7);
    let (file, muxer) = mux(frames);
    let heard = streams(&file);
    assert_eq!(heard[7].0, SILENCE);
    assert_eq!(number(&heard[7].1), Some(7));
    assert_eq!(number(&heard[8].0), Some(8));
    assert_eq!(muxer.counters(), Counters { missing: 1, ..Counters::default() });
}

#[test]
fn an_encoders_pause_is_silence_not_an_empty_frame() {
    let packets = [numbered(3), vec![vec![0x48], vec![0x48, 0]], numbered(1)].concat();
    let heard = streams(&mux(customer(&packets)).0);
    assert_eq!((heard[3].0.as_slice(), heard[4].0.as_slice()), (&SILENCE[..], &SILENCE[..]));
    assert!(heard.iter().all(|(_, agent)| agent == &SILENCE));
}

#[test]
fn late_packets_find_their_place_and_repeated_ones_count_once() {
    let mut frames = customer(&numbered(40));
    frames[5].passed_us += 150_000;
    frames[9].passed_us += 90_000;
    let again = TapFrame { passed_us: frames[12].passed_us + 30_000, ..frames[12].clone() };
    frames.push(again);
    let (file, muxer) = mux([frames, agent(&numbered(40))].concat());
    let order: Vec<_> = streams(&file).iter().map(|(ours, _)| number(ours)).collect();
    assert_eq!(order, (0..40).map(Some).collect::<Vec<_>>());
    assert_eq!(muxer.counters(), Counters { duplicates: 1, ..Counters::default() });
}

#[test]
fn a_packet_later_than_the_window_is_lost() {
    let mut frames = customer(&numbered(40));
    frames[5].passed_us += 400_000;
    let (file, muxer) = mux([frames, agent(&numbered(40))].concat());
    assert_eq!(streams(&file)[5].0, SILENCE);
    assert_eq!((muxer.counters().late, muxer.counters().missing), (1, 1));
}

#[test]
fn a_first_packet_that_is_late_does_not_hold_up_the_others() {
    let mut frames = customer(&numbered(200));
    frames[0].passed_us += 90_000;
    let (file, muxer) = mux([frames, agent(&numbered(200))].concat());
    let heard = streams(&file);
    assert!(heard.iter().all(|(ours, theirs)| ours == theirs), "in step with the other side from the start");
    assert_eq!(muxer.counters(), Counters::default());
}

#[test]
fn a_side_that_begins_later_is_silent_until_then() {
    let mut late = agent(&numbered(20));
    late.iter_mut().for_each(|frame| frame.passed_us += 2_000_000);
    let heard = streams(&mux([customer(&numbered(120)), late].concat()).0);
    let first = heard.iter().position(|(_, agent)| number(agent).is_some());
    assert_eq!((heard.len(), first), (120, Some(100)));
}

#[test]
fn time_stamps_that_jump_or_stand_still_begin_a_new_run_at_the_clock() {
    let mut frames = customer(&numbered(100));
    frames[30..].iter_mut().for_each(|frame| frame.timestamp += 777_777_777);
    // From 60 on the sender was silent for 5 s and its time stamps stood still.
    frames[60..].iter_mut().for_each(|frame| frame.passed_us += 5_000_000);
    let (file, muxer) = mux(frames);
    let at = |n| streams(&file).iter().position(|(ours, _)| number(ours) == Some(n));
    assert_eq!((at(30), at(60), at(99)), (Some(30), Some(310), Some(349)));
    assert_eq!(muxer.counters().runs, 2);
}

#[test]
fn a_drifting_clock_is_followed_by_whole_frames() {
    // 200 ppm off in either direction for five minutes: 60 ms, three frames.
    for (step_us, put_in) in [(20_004, true), (19_996, false)] {
        let mut frames = customer(&numbered(15_000));
        (0..).zip(&mut frames).for_each(|(i, frame)| frame.passed_us = i * step_us);
        let last_passed_us = 14_999 * step_us;
        let (file, muxer) = mux(frames);
        let heard = streams(&file);
        let at = heard.iter().rposition(|(ours, _)| number(ours).is_some()).unwrap() as u64;
        assert!(at.abs_diff(last_passed_us / 20_000) <= 1, "{at}");
        let counters = muxer.counters();
        let gaps = heard.iter().filter(|(ours, _)| ours == &SILENCE).count() as u64;
        let left_out = counters.duplicates + counters.late;
        assert_eq!(
            (gaps, left_out),
            if put_in { (counters.drift_slots, 0) } else { (0, counters.drift_slots) }
        );
        assert!((2..=3).contains(&counters.drift_slots), "{counters:?}");
    }
}

#[test]
fn packets_of_other_lengths_are_split_and_put_together() {
    let plain = tone(AGENT_HZ, 60, 20, 1);
    for packet_ms in [10, 20, 40, 60] {
        let packets = tone(CUSTOMER_HZ, 1_200 / packet_ms, packet_ms, 1);
        let (file, muxer) =
            mux([side(TapChannel::Customer, &packets, packet_ms as u64), agent(&plain)].concat());
        let (left, right) = decode(&file);
        assert_two_tones(&left, &right, &format!("{packet_ms} ms"));
        assert!(left.len().abs_diff(57_600) <= 1_920, "{packet_ms} ms: {}", left.len());
        assert_eq!((muxer.counters().unpaired, left.len()), (0, right.len()), "{packet_ms} ms");
    }
}

#[test]
fn several_frames_in_one_packet_are_split_into_slots() {
    let packet = [&[0x4b_u8, 3][..], &[1; 20], &[2; 20], &[3; 20]].concat();
    let heard = streams(&mux(side(TapChannel::Agent, &[packet], 60)).0);
    let expected: Vec<_> = [1_u8, 2, 3].iter().map(|n| [&[0x48][..], &[*n; 20]].concat()).collect();
    assert_eq!(heard.into_iter().map(|(_, agent)| agent).collect::<Vec<_>>(), expected);
}

#[test]
fn half_a_slot_is_silence() {
    let packets: Vec<_> = (0..8_u8).map(|n| vec![0x40, n, n, n]).collect();
    let mut frames = side(TapChannel::Customer, &packets, 10);
    frames.remove(3);
    let (file, muxer) = mux(frames);
    let heard = streams(&file);
    assert_eq!(heard[0].0, [0x41, 0, 0, 0, 1, 1, 1]);
    assert_eq!(heard[1].0, SILENCE);
    assert_eq!(heard[2].0, [0x41, 4, 4, 4, 5, 5, 5]);
    assert_eq!((muxer.counters().missing > 0, muxer.counters().unpaired), (true, 1));
}

#[test]
fn beside_a_60_ms_frame_frames_of_unlike_configuration_are_silence() {
    let long = vec![vec![0x58, 1, 2, 3]];
    let mixed = vec![vec![0x48, 9, 9], vec![0x08, 9, 9], vec![0x48, 9, 9], vec![0x48, 9, 9]];
    let (file, muxer) = mux([side(TapChannel::Customer, &long, 60), agent(&mixed)].concat());
    let heard = streams(&file);
    assert_eq!(heard[0], (long[0].clone(), vec![0xfb, 3, 0xff, 0xfe, 0xff, 0xfe, 0xff, 0xfe]));
    assert_eq!(number(&heard[1].1), Some(0x0909));
    assert_eq!(muxer.counters().unpaired, 3);
}

#[test]
fn what_is_no_opus_is_counted_and_left_out() {
    let (file, muxer) = mux(customer(&[vec![], vec![0xfb], vec![0x49, 1]]));
    assert_eq!(streams(&file).len(), 1);
    assert_eq!(muxer.counters().malformed, 3);
}

#[test]
fn a_call_without_a_frame_is_still_a_file() {
    let mut muxer = Muxer::new(&tags());
    assert_eq!(streams(&muxer.finish(Duration::ZERO)), [(SILENCE.to_vec(), SILENCE.to_vec())]);
    assert_eq!(muxer.duration_ms(), 20);
}

#[test]
fn a_call_in_whose_last_second_nobody_spoke_is_recorded_to_its_end() {
    let mut muxer = Muxer::new(&tags());
    for frame in customer(&numbered(50)) {
        muxer.push(&frame);
    }
    let file = [muxer.take_pages(), muxer.finish(Duration::from_millis(2_009))].concat();
    let heard = streams(&file);
    assert_eq!((heard.len(), muxer.duration_ms()), (100, 2_000));
    assert_eq!((number(&heard[49].0), &heard[99].0[..]), (Some(49), &SILENCE[..]));
}

/// What a network does to one packet.
#[derive(Debug, Clone)]
struct Fate {
    lost: bool,
    again: bool,
    jitter_us: u64,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = (prop::bool::weighted(0.1), prop::bool::weighted(0.05), 0..120_000_u64);
    prop::collection::vec(fate.prop_map(|(lost, again, jitter_us)| Fate { lost, again, jitter_us }), 300..600)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn loss_reordering_jitter_and_drift_neither_break_the_file_nor_move_the_sides(
        ours in fates(), theirs in fates(), drift_ppm in -300_i64..300,
    ) {
        let count = ours.len().min(theirs.len());
        let suffer = |frames: Vec<TapFrame>, fates: &[Fate], ppm: i64| -> Vec<TapFrame> {
            frames.into_iter().zip(fates).filter(|(_, fate)| !fate.lost).flat_map(|(mut frame, fate)| {
                let drift = frame.passed_us.cast_signed() * ppm / 1_000_000;
                frame.passed_us = frame.passed_us.strict_add_signed(drift) + fate.jitter_us;
                vec![frame; if fate.again { 2 } else { 1 }]
            }).collect()
        };
        let packets = numbered(u16::try_from(count).unwrap());
        let customer = suffer(customer(&packets), &ours, drift_ppm);
        let agent = suffer(agent(&packets), &theirs, 0);
        let (kept, sent) = (customer.len() + agent.len(), customer.clone());
        let (file, muxer) = mux([customer, agent].concat());
        let heard = streams(&file);
        let numbers: Vec<_> = heard.iter().filter_map(|(ours, _)| number(ours)).collect();
        prop_assert!(numbers.is_sorted(), "in order, whatever the network did");
        // Each packet stands where the clock saw it, within jitter and the snap to the grid.
        for (slot, heard) in (0_u64..).zip(heard.iter().map(|(ours, _)| number(ours))) {
            let Some(heard) = heard else { continue };
            let frame = sent.iter().find(|f| number(&f.payload) == Some(heard)).unwrap();
            prop_assert!((slot * 20_000).abs_diff(frame.passed_us) <= 160_000, "slot {slot}: {}", frame.passed_us);
        }
        let placed = numbers.len() + heard.iter().filter_map(|(_, theirs)| number(theirs)).count();
        let Counters { duplicates, late, .. } = muxer.counters();
        prop_assert_eq!(placed as u64 + duplicates + late, kept as u64);
        prop_assert_eq!(muxer.counters().runs, 0);
        let length_ms = count as u64 * 20;
        prop_assert!(muxer.duration_ms().abs_diff(length_ms) <= 140, "{} of {length_ms}", muxer.duration_ms());
    }

    #[test]
    fn any_payloads_at_any_times_make_a_readable_file(
        frames in prop::collection::vec(
            (any::<bool>(), any::<u64>(), 0..20_000_000_u64, prop::collection::vec(any::<u8>(), 0..40)), 0..120,
        ),
    ) {
        let frames: Vec<_> = frames.into_iter().map(|(agent, timestamp, passed_us, payload)| TapFrame {
            call: call(),
            channel: if agent { TapChannel::Agent } else { TapChannel::Customer },
            sequence: 0,
            timestamp,
            passed_us,
            payload: payload.into(),
        }).collect();
        let (file, muxer) = mux(frames);
        let packets: Result<Vec<_>, _> = OggOpusReader::new(file.as_slice()).unwrap().packets().collect();
        let packets = packets.unwrap();
        prop_assert!(packets.last().is_some_and(|packet| packet.end_of_stream));
        for (left, right) in streams(&file) {
            let length = |packet: &[u8]| opus_pure::packet::samples_48k(packet);
            prop_assert_eq!(length(&left).unwrap(), length(&right).unwrap());
        }
        let samples: usize = streams(&file).iter().map(|(l, _)| opus_pure::packet::samples_48k(l).unwrap()).sum();
        prop_assert_eq!(samples as u64, muxer.duration_ms() * 48);
    }
}

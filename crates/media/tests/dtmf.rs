//! Telephone events between legs of different clocks (RFC 4733).
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use setu_media::{Channel, Dtmf, Event, LegSetup};
use support::{AGENT, Call, DTMF_48, DTMF_META, Heard, META, PCMU, agent_setup, meta_setup};

const VOICE: [u8; 20] = [0x78; 20];

/// Sends digit 5 of 100 ms as RFC 4733 section 2.5.1 says: an update every 20 ms, three end packets. `base` is the
/// time stamp, `sequence` the first number; both go on from the audio.
fn press(call: &mut Call, from_meta: bool, base: u32, sequence: u16, step: u16) {
    let updates = (1..=4_u16).map(|n| (n * step, false));
    let ends = [(5 * step, true); 3];
    for (n, (duration, end)) in (0..).zip(updates.chain(ends)) {
        let [high, low] = duration.to_be_bytes();
        let payload = [5, if end { 0x8a } else { 10 }, high, low];
        let (peer, leg, dtmf) =
            if from_meta { (&mut call.meta, META, DTMF_META) } else { (&mut call.agent, AGENT, DTMF_48) };
        let packet = peer.packet(dtmf.receive_pt, n == 0, sequence.wrapping_add(n), base, &payload);
        let at = peer.at;
        call.arrive(leg, Channel::Rtp, at, &packet);
        if !end {
            call.pass_ms(20);
        }
    }
}

fn events(heard: &[Heard], pt: u8) -> Vec<&Heard> {
    heard.iter().filter(|it| it.pt == pt).collect()
}

fn durations(events: &[&Heard]) -> Vec<u16> {
    events.iter().map(|it| u16::from_be_bytes([it.payload[2], it.payload[3]])).collect()
}

#[test]
fn a_key_of_a_48_khz_agent_reaches_meta_in_8_khz_durations_and_shared_numbers() {
    let mut call = Call::usual();
    call.pass_ms(5);
    for n in 0..3_u16 {
        call.agent_says(n, u32::from(n) * 960, &VOICE);
        call.pass_ms(20);
    }
    press(&mut call, false, 3 * 960, 3, 960);
    call.agent_says(10, 8 * 960, &VOICE);
    let told = events(&call.meta.heard, DTMF_META.send_pt);
    assert_eq!(durations(&told), [160, 320, 480, 640, 800, 800, 800], "three end packets kept");
    assert_eq!(told.iter().filter(|it| it.marker).count(), 1);
    assert!(told[0].marker);
    let audio: Vec<_> = call.meta.heard.iter().filter(|it| it.payload == VOICE).collect();
    let begins = told[0].timestamp;
    assert!(told.iter().all(|it| it.timestamp == begins && it.payload[0] == 5));
    assert_eq!(begins.wrapping_sub(audio[2].timestamp), 960, "one time line with the audio");
    assert_eq!(audio[3].timestamp.wrapping_sub(begins), 5 * 960);
    assert_eq!(told[0].sequence.wrapping_sub(audio[2].sequence), 1, "one numbering with the audio");
    assert_eq!(audio[3].sequence.wrapping_sub(told[6].sequence), 1);
    assert!(call.events.contains(&Event::Dtmf { leg: AGENT, digit: '5', duration_ms: 100 }));
    assert_eq!(call.events.iter().filter(|it| matches!(it, Event::Dtmf { .. })).count(), 1);
}

#[test]
fn a_key_of_the_customer_reaches_a_48_khz_agent() {
    let mut call = Call::usual();
    call.meta_says(9, 960, &VOICE);
    call.pass_ms(20);
    press(&mut call, true, 1_920, 10, 160);
    let told = events(&call.agent.heard, DTMF_48.send_pt);
    assert_eq!(durations(&told), [960, 1_920, 2_880, 3_840, 4_800, 4_800, 4_800]);
    assert!(call.events.contains(&Event::Dtmf { leg: META, digit: '5', duration_ms: 100 }));
}

#[test]
fn a_key_reaches_a_g711_agent_on_its_8_khz_time_line() {
    let dtmf = Some(Dtmf { send_pt: 101, receive_pt: 101, clock: 8_000 });
    let mut call = Call::answered(meta_setup(), LegSetup { audio: PCMU, dtmf, ..agent_setup() });
    call.pass_ms(5);
    for n in 0..3_u16 {
        call.meta_says(n, u32::from(n) * 960, &[0xf8, 0xff, 0xfe]);
        call.pass_ms(20);
    }
    press(&mut call, true, 3 * 960, 3, 160);
    let told = events(&call.agent.heard, 101);
    assert_eq!(durations(&told), [160, 320, 480, 640, 800, 800, 800]);
    let audio = events(&call.agent.heard, 0);
    assert_eq!(told[0].timestamp.wrapping_sub(audio.last().unwrap().timestamp), 160);
    assert_eq!(told[0].sequence.wrapping_sub(audio.last().unwrap().sequence), 1);
}

#[test]
fn a_leg_without_telephone_events_gets_none() {
    let mut call = Call::answered(meta_setup(), LegSetup { dtmf: None, ..agent_setup() });
    call.meta_says(9, 960, &VOICE);
    press(&mut call, true, 1_920, 10, 160);
    assert!(call.agent.heard.iter().all(|it| it.pt == 96));
    assert!(call.events.contains(&Event::Dtmf { leg: META, digit: '5', duration_ms: 100 }));
}

#[test]
fn a_key_in_the_midst_of_speech_leaves_the_stream_whole() {
    let mut call = Call::usual();
    call.pass_ms(5);
    call.agent_says(0, 0, &VOICE);
    call.pass_ms(20);
    // The phone goes on with audio while it sends the key: time stamps go back and forth.
    for n in 0..4_u16 {
        let payload = [1, 10, 0, 0];
        let packet = call.agent.packet(DTMF_48.receive_pt, n == 0, 1 + 2 * n, 960, &payload);
        call.arrive(AGENT, Channel::Rtp, call.agent.at, &packet);
        call.agent_says(2 + 2 * n, 960 * (1 + u32::from(n)), &VOICE);
        call.pass_ms(20);
    }
    let sent = &call.meta.heard[1..];
    let ahead: Vec<u16> = sent.windows(2).map(|it| it[1].sequence.wrapping_sub(it[0].sequence)).collect();
    assert_eq!(ahead, [1; 8]);
    let voice: Vec<_> = sent.iter().filter(|it| it.pt == 111).collect();
    assert!(voice.windows(2).all(|it| it[1].timestamp.wrapping_sub(it[0].timestamp) == 960));
}

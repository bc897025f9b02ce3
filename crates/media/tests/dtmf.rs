//! Keys between legs of different clocks (RFC 4733): each once, as a whole event in the one stream of its leg.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use std::collections::BTreeMap;

use setu_media::{Channel, Command, Direction, Dtmf, Event, LegSetup};
use setu_model::LegId;
use support::{AGENT, Call, DTMF_48, DTMF_META, Heard, META, PCMU, agent_setup, meta_setup};

const VOICE: [u8; 20] = [0x78; 20];

/// One packet of digit 5; `sequence` and `base` go on from the audio.
fn event(
    call: &mut Call,
    from: LegId,
    (sequence, base): (u16, u32),
    marker: bool,
    (duration, end): (u16, bool),
) {
    let [high, low] = duration.to_be_bytes();
    let payload = [5, if end { 0x8a } else { 10 }, high, low];
    let (peer, dtmf) = if from == META { (&mut call.meta, DTMF_META) } else { (&mut call.agent, DTMF_48) };
    let packet = peer.packet(dtmf.receive_pt, marker, sequence, base, &payload);
    let at = peer.at;
    call.arrive(from, Channel::Rtp, at, &packet);
}

/// Sends digit 5 of 100 ms as RFC 4733 section 2.5.1 says: an update every 20 ms, three end packets.
fn press(call: &mut Call, from: LegId, base: u32, sequence: u16, step: u16) {
    let updates = (1..=4_u16).map(|n| (n * step, false));
    let ends = [(5 * step, true); 3];
    for (n, told) in (0..).zip(updates.chain(ends)) {
        event(call, from, (sequence.wrapping_add(n), base), n == 0, told);
        call.pass_ms(20);
    }
}

fn events(heard: &[Heard], pt: u8) -> Vec<&Heard> {
    heard.iter().filter(|it| it.pt == pt).collect()
}

fn durations(events: &[&Heard]) -> Vec<u16> {
    events.iter().map(|it| u16::from_be_bytes([it.payload[2], it.payload[3]])).collect()
}

fn told(call: &Call, leg: LegId) -> Vec<(char, u32)> {
    let of_leg = |it: &Event| {
        let Event::Dtmf { leg: from, digit, duration_ms } = it else { return None };
        (*from == leg).then_some((*digit, *duration_ms))
    };
    call.events.iter().filter_map(of_leg).collect()
}

fn sequences_are_whole(heard: &[Heard]) -> bool {
    heard.windows(2).all(|it| it[1].sequence == it[0].sequence.wrapping_add(1))
}

#[test]
fn a_key_of_a_48_khz_agent_reaches_meta_in_8_khz_durations_and_shared_numbers() {
    let mut call = Call::usual();
    call.pass_ms(5);
    for n in 0..3_u16 {
        call.agent_says(n, u32::from(n) * 960, &VOICE);
        call.pass_ms(20);
    }
    press(&mut call, AGENT, 3 * 960, 3, 960);
    call.agent_says(10, 10 * 960, &VOICE);
    let pressed = events(&call.meta.heard, DTMF_META.send_pt);
    assert_eq!(durations(&pressed), [160, 320, 480, 640, 800, 800, 800, 800]);
    let ends = pressed.iter().map(|it| it.payload[1] & 0x80 != 0);
    assert!(ends.eq((0..8).map(|n| n >= 5)), "three end packets");
    assert!(pressed.iter().map(|it| it.marker).eq((0..8).map(|n| n == 0)));
    let audio: Vec<_> = call.meta.heard.iter().filter(|it| it.payload == VOICE).collect();
    let begins = pressed[0].timestamp;
    assert!(pressed.iter().all(|it| it.timestamp == begins && it.payload[0] == 5));
    assert_eq!(begins.wrapping_sub(audio[2].timestamp), 960, "one time line with the audio");
    assert_eq!(audio[3].timestamp.wrapping_sub(begins), 7 * 960);
    assert!(sequences_are_whole(&call.meta.heard[1..]), "one numbering with the audio");
    assert!(call.meta.heard[4..12].iter().all(|it| it.pt == DTMF_META.send_pt), "nothing between");
    assert_eq!(told(&call, AGENT), [('5', 100)]);
}

#[test]
fn a_key_of_the_customer_reaches_a_48_khz_agent() {
    let mut call = Call::usual();
    call.meta_says(9, 960, &VOICE);
    call.pass_ms(20);
    press(&mut call, META, 1_920, 10, 160);
    call.pass_ms(20);
    let pressed = events(&call.agent.heard, DTMF_48.send_pt);
    assert_eq!(durations(&pressed), [960, 1_920, 2_880, 3_840, 4_800, 4_800, 4_800, 4_800]);
    assert_eq!(told(&call, META), [('5', 100)]);
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
    let before = call.agent.heard.last().unwrap().clone();
    press(&mut call, META, 3 * 960, 3, 160);
    let pressed = events(&call.agent.heard, 101);
    assert_eq!(durations(&pressed), [160, 320, 480, 640, 800, 800, 800, 800]);
    // It begins within the 20 ms that were sent last, or right behind them.
    assert!([0, 160].contains(&pressed[0].timestamp.wrapping_sub(before.timestamp)));
    assert_eq!(pressed[0].sequence.wrapping_sub(before.sequence), 1);
}

#[test]
fn a_leg_without_telephone_events_gets_none() {
    let mut call = Call::answered(meta_setup(), LegSetup { dtmf: None, ..agent_setup() });
    call.meta_says(9, 960, &VOICE);
    press(&mut call, META, 1_920, 10, 160);
    call.command(Command::Press { leg: AGENT, digit: '1', duration_ms: 100 });
    call.pass_ms(500);
    assert!(call.agent.heard.iter().all(|it| it.pt == 96));
    assert_eq!(told(&call, META), [('5', 100)]);
}

#[test]
fn a_peer_that_holds_the_call_hears_no_keys() {
    let mut call = Call::usual();
    call.command(Command::Direct { leg: AGENT, direction: Direction::RecvOnly });
    press(&mut call, META, 1_920, 10, 160);
    assert_eq!(events(&call.agent.heard, DTMF_48.send_pt), Vec::<&Heard>::new());
    assert_eq!(told(&call, META), [('5', 100)]);
}

#[test]
fn a_key_in_the_midst_of_speech_leaves_the_stream_whole() {
    let mut call = Call::usual();
    call.pass_ms(5);
    call.agent_says(0, 0, &VOICE);
    call.pass_ms(20);
    // The phone goes on with audio while it sends the key: time stamps go back and forth.
    for n in 0..4_u16 {
        event(&mut call, AGENT, (1 + 2 * n, 960), n == 0, ((n + 1) * 960, n == 3));
        call.agent_says(2 + 2 * n, 960 * (1 + u32::from(n)), &VOICE);
        call.pass_ms(20);
    }
    call.pass_ms(40);
    let sent = &call.meta.heard[1..];
    assert!(sequences_are_whole(sent));
    assert_eq!(durations(&events(sent, DTMF_META.send_pt)), [160, 320, 480, 640, 640, 640, 640]);
    let voice: Vec<_> = sent.iter().filter(|it| it.pt == 111).collect();
    assert!(voice.windows(2).all(|it| it[1].timestamp.wrapping_sub(it[0].timestamp) == 960));
}

#[test]
fn keys_told_by_signalling_are_pressed_one_after_the_other_in_the_stream() {
    let mut call = Call::usual();
    call.pass_ms(5);
    for n in 0..60_u16 {
        if n == 10 {
            for digit in ['1', '1', '#', 'x'] {
                call.command(Command::Press { leg: META, digit, duration_ms: 100 });
            }
        }
        call.agent_says(n, u32::from(n) * 960, &VOICE);
        call.pass_ms(20);
    }
    let pressed = events(&call.meta.heard, DTMF_META.send_pt);
    let once = [160, 320, 480, 640, 800, 800, 800];
    assert_eq!(durations(&pressed), [once, once, once].concat());
    assert_eq!(pressed.iter().filter(|it| it.marker).map(|it| it.payload[0]).collect::<Vec<_>>(), [1, 1, 11]);
    assert!(sequences_are_whole(&call.meta.heard[1..]));
    let voice: Vec<_> = call.meta.heard.iter().filter(|it| it.payload == VOICE).collect();
    assert_eq!(voice.len(), 60, "speech goes on beside the keys");
    assert!(voice.windows(2).all(|it| it[1].timestamp.wrapping_sub(it[0].timestamp) == 960));
    assert_eq!(told(&call, AGENT), [], "only what a peer pressed is told");
}

#[test]
fn a_key_toward_a_leg_that_hears_comfort_frames_takes_their_place() {
    let mut call = Call::usual();
    call.pass_ms(100);
    call.command(Command::Press { leg: META, digit: '9', duration_ms: 60 });
    call.pass_ms(300);
    assert!(sequences_are_whole(&call.meta.heard));
    let at: Vec<_> = call.meta.heard.iter().map(|it| it.at_ms).collect();
    assert!(at.windows(2).all(|it| it[1] - it[0] <= 20), "{at:?}");
    let comfort: Vec<_> = events(&call.meta.heard, 111);
    let steps = comfort.windows(2).map(|it| it[1].timestamp.wrapping_sub(it[0].timestamp));
    assert!(steps.clone().all(|step| step % 960 == 0 && step <= 7 * 960), "{:?}", steps.collect::<Vec<_>>());
}

#[test]
fn a_key_held_for_ten_seconds_is_one_press_on_both_sides() {
    let mut call = Call::usual();
    for n in 0..500_u16 {
        let ticks = (u32::from(n) + 1) * 160;
        let segment = u32::from(ticks > 65_535);
        let base = 1_000 + segment * 65_535 * 6;
        let duration = u16::try_from(ticks - segment * 65_535).unwrap();
        event(&mut call, META, (n, base), n == 0, (duration, false));
        call.pass_ms(20);
    }
    for n in 500..503 {
        event(&mut call, META, (n, 1_000 + 65_535 * 6), false, (14_465, true));
        call.pass_ms(20);
    }
    call.pass_ms(40);
    assert_eq!(told(&call, META), [('5', 10_000)]);
    let pressed = events(&call.agent.heard, DTMF_48.send_pt);
    assert_eq!(pressed.iter().filter(|it| it.marker).count(), 1);
    assert_eq!(pressed.iter().filter(|it| it.payload[1] & 0x80 != 0).count(), 3);
    let mut bases: Vec<_> = pressed.iter().map(|it| it.timestamp).collect();
    bases.dedup();
    assert!(bases.windows(2).all(|it| it[1].wrapping_sub(it[0]) == 65_535), "segments of a 48 kHz clock");
    assert_eq!(bases.len(), 8);
    let last = u32::from(*durations(&pressed).last().unwrap());
    let all = 7 * 65_535 + last;
    assert!((480_000..=480_960).contains(&all), "ten seconds, and a packet time: {all}");
}

// ---- losses

/// A small generator, so that every run of a seed is the same.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.roll(100) < chance
    }
}

/// A packet of the presser, on its way: when it arrives, and what it is.
struct Sent {
    at_ms: u64,
    sequence: u16,
    timestamp: u32,
    event: Option<(u8, u16, bool)>,
}

/// Speech with keys in it, as a phone sends them: `codes` one after the other.
fn speech_with_keys(dice: &mut Dice, codes: &[u8], clock: u64) -> Vec<Sent> {
    let (mut now, mut sequence, mut sent) = (0_u64, 0_u16, Vec::new());
    let interval = [20, 20, 50][dice.roll(3) as usize];
    let beside = dice.percent(30);
    let mut put = |at_ms, timestamp: u64, event| {
        sent.push(Sent { at_ms, sequence, timestamp: timestamp as u32, event });
        sequence = sequence.wrapping_add(1);
    };
    for &code in codes {
        for _ in 0..2 + dice.roll(12) {
            put(now, now * 48, None);
            now += 20;
        }
        let held = match dice.roll(20) {
            0 => 9_000,
            1 => 2_000,
            _ => 100 + 20 * dice.roll(10),
        };
        let base = now * 48;
        let mut done = 0;
        let mut segment = 0;
        while done < held {
            done = (done + interval).min(held);
            let ticks = done * clock / 1_000;
            if ticks - segment * 65_535 > 65_535 {
                segment += 1;
            }
            let stamp = base + segment * 65_535 * 48_000 / clock;
            let told = (code, (ticks - segment * 65_535) as u16, done == held);
            for _ in 0..if done == held { 3 } else { 1 } {
                put(now, stamp, Some(told));
                if beside {
                    put(now, now * 48, None);
                }
                now += interval;
            }
        }
    }
    for _ in 0..30 {
        put(now, now * 48, None);
        now += 20;
    }
    sent
}

/// What a receiver makes of event packets of which some were lost: a press is a time stamp, segments are one press.
fn received(heard: &[Heard], dtmf: Dtmf, dice: &mut Dice) -> Vec<u8> {
    let mut presses: BTreeMap<u32, (u8, bool)> = BTreeMap::new();
    for packet in heard.iter().filter(|it| it.pt == dtmf.send_pt) {
        if !dice.percent(10) {
            let ended = packet.payload[1] & 0x80 != 0;
            let known = presses.entry(packet.timestamp.wrapping_sub(heard[0].timestamp)).or_default();
            *known = (packet.payload[0], known.1 || ended);
        }
    }
    let segment = 65_535 * 48_000 / dtmf.clock;
    let presses: Vec<_> = presses.into_iter().collect();
    let goes_on = |n: usize| {
        n > 0
            && presses[n].0 - presses[n - 1].0 == segment
            && !presses[n - 1].1.1
            && presses[n].1.0 == presses[n - 1].1.0
    };
    (0..presses.len()).filter(|&n| !goes_on(n)).map(|n| presses[n].1.0).collect()
}

fn keys_survive(seed: u64, from: LegId) {
    let mut dice = Dice(seed.wrapping_mul(7_919) + u64::from(from.index));
    let codes: Vec<u8> = (0..12).map(|_| dice.roll(16) as u8).collect();
    let mut call = Call::usual();
    let (dtmf, to) = if from == META { (DTMF_META, DTMF_48) } else { (DTMF_48, DTMF_META) };
    let mut arrivals = Vec::new();
    for packet in speech_with_keys(&mut dice, &codes, u64::from(dtmf.clock)) {
        for _ in 0..if dice.percent(3) { 2 } else { 1 } {
            if !dice.percent(10) {
                arrivals.push((packet.at_ms + dice.roll(35), arrivals.len(), Sent { ..packet }));
            }
        }
    }
    arrivals.sort_by_key(|(at, order, _)| (*at, *order));
    for (at_ms, _, Sent { sequence, timestamp, event, .. }) in arrivals {
        call.pass_ms(at_ms.saturating_sub(call.at_ms()));
        let peer = if from == META { &mut call.meta } else { &mut call.agent };
        let packet = match event {
            None => peer.audio(sequence, timestamp, &VOICE),
            Some((code, duration, end)) => {
                let [high, low] = duration.to_be_bytes();
                let flags = if end { 0x8a } else { 10 };
                peer.packet(dtmf.receive_pt, false, sequence, timestamp, &[code, flags, high, low])
            }
        };
        let at = peer.at;
        call.arrive(from, Channel::Rtp, at, &packet);
    }
    call.pass_ms(1_000);
    let digits: Vec<char> =
        codes.iter().map(|&code| char::from(b"0123456789*#ABCD"[usize::from(code)])).collect();
    assert_eq!(told(&call, from).iter().map(|it| it.0).collect::<Vec<_>>(), digits, "told, seed {seed}");
    let heard = if from == META { &call.agent.heard } else { &call.meta.heard };
    assert_eq!(received(heard, to, &mut dice), codes, "received, seed {seed}");
}

#[test]
fn no_key_is_lost_or_doubled_where_one_packet_in_ten_is_lost_on_both_sides() {
    for seed in 0..60 {
        keys_survive(seed, META);
        keys_survive(seed, AGENT);
    }
}

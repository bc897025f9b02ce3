//! What coders keep: levels, the peer's bit rate, what was lost, and their own memory. Another Opus codec
//! (`opus-pure`) stands at the other end.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
#![allow(unsafe_code, reason = "counting memory takes a global allocator")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use opus_pure::{Application, OpusDecoder, OpusEncoder};
use setu_media::LegSetup;
use support::coder::Lab;
use support::{AGENT, Call, G722, OPUS_META, PCMA, PCMU, agent_setup, expand, measure, meta_setup, tone};

thread_local!(static HELD: Cell<i64> = const { Cell::new(0) });

struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.with(|it| it.set(it.get() + layout.size() as i64));
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.with(|it| it.set(it.get() - layout.size() as i64));
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn opus_tone(n: usize, encoder: &mut OpusEncoder) -> Vec<u8> {
    let mut packet = vec![0; 400];
    let length = encoder.encode(&tone(1_000.0, 16_000.0, n * 320, 320), 320, &mut packet).unwrap();
    packet.truncate(length);
    packet
}

#[test]
fn a_tone_of_minus_10_dbfs_stays_within_half_a_decibel_through_every_codec_and_back() {
    for format in [PCMU, PCMA, G722] {
        let mut there = Lab::new(OPUS_META, format);
        let mut back = Lab::new(format, OPUS_META);
        let mut encoder = OpusEncoder::new(16_000, 1, Application::Voip).unwrap();
        encoder.bitrate_bps = 20_000;
        for n in 0..150 {
            there.feed(n, 960, &opus_tone(n as usize, &mut encoder));
            there.run();
            if let Some(payload) = there.heard.get(n as usize) {
                back.feed(n, 160, payload);
            }
            back.run();
        }
        let mut decoder = OpusDecoder::new(16_000, 1).unwrap();
        let mut pcm = vec![0.0; 320];
        let mut all = Vec::new();
        for packet in &back.heard {
            decoder.decode(packet, 320, &mut pcm).unwrap();
            all.extend_from_slice(&pcm);
        }
        let (hz, level) = measure(&all[all.len() / 3..], 16_000.0);
        assert!((hz - 1_000.0).abs() < 5.0, "{format:?}: {hz} Hz");
        assert!((level + 10.0).abs() < 0.5, "{format:?}: {level} dBFS");
    }
}

#[test]
fn a_lost_packet_is_recovered_from_the_one_behind_it_once_loss_is_reckoned_with() {
    let mut lab = Lab::new(OPUS_META, PCMU);
    let mut encoder = OpusEncoder::new(16_000, 1, Application::Voip).unwrap();
    (encoder.bitrate_bps, encoder.use_inband_fec, encoder.packet_loss_perc) = (24_000, true, 20);
    // Syllables: the delay moves in the silence between them.
    for n in 0..1_500_u32 {
        let speaks = n % 25 < 18;
        let pcm = if speaks { tone(400.0, 16_000.0, n as usize * 320, 320) } else { vec![0.0; 320] };
        let mut packet = [0; 400];
        let length = encoder.encode(&pcm, 320, &mut packet).unwrap();
        if n % 10 != 7 {
            lab.feed(n, 960, &packet[..length]);
        }
        lab.run();
    }
    let totals = lab.coders.totals();
    assert!(totals.recovered >= 60, "{totals:?}");
    assert!(lab.heard.len().abs_diff(1_500) <= 15, "{}", lab.heard.len());
}

#[test]
fn opus_stays_below_the_average_bit_rate_that_was_asked_for() {
    let mut lab = Lab::new(PCMU, OPUS_META);
    // Noise and tones in turn, which take all the bits there are.
    let mut seed = 1_u32;
    for n in 0..1_500_u32 {
        let payload: Vec<u8> = (0..160)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 24) as u8 | 0x10
            })
            .collect();
        lab.feed(n, 160, &payload);
        lab.run();
    }
    let bits: Vec<usize> = lab.heard.iter().map(|packet| packet.len() * 8).collect();
    for (seconds, most) in [(1, 21_000), (5, 20_400)] {
        for window in bits.windows(50 * seconds) {
            let rate = window.iter().sum::<usize>() / seconds;
            assert!(rate <= most, "{rate} bit/s over {seconds} s");
        }
    }
}

#[test]
fn packets_that_come_late_lengthen_the_delay_and_it_shrinks_again() {
    let mut lab = Lab::new(PCMA, PCMU);
    let silence = [0xd5; 160];
    let mut late = Vec::new();
    for n in 0..1_000_u32 {
        // For four seconds every fifth packet comes three packets late.
        if n < 200 && n % 5 == 2 {
            late.push(n)
        } else {
            lab.feed(n, 160, &silence)
        }
        if let Some(at) = late.iter().position(|it| it + 3 == n) {
            lab.feed(late.remove(at), 160, &silence);
        }
        lab.run();
    }
    let totals = lab.coders.totals();
    assert!(totals.stretched + totals.concealed > 0, "{totals:?}");
    assert!(totals.shortened > 0, "{totals:?}");
    assert!(lab.heard.len().abs_diff(1_000) <= 3, "{}", lab.heard.len());
}

#[test]
fn a_transcoded_call_takes_less_than_150_kb_and_does_not_grow() {
    let before = HELD.with(Cell::get);
    let mut to_agent = Lab::new(OPUS_META, PCMU);
    let mut to_meta = Lab::new(PCMU, OPUS_META);
    (to_agent.keep, to_meta.keep) = (false, false);
    let held = HELD.with(Cell::get) - before;
    let mut encoder = OpusEncoder::new(16_000, 1, Application::Voip).unwrap();
    encoder.bitrate_bps = 20_000;
    let packets: Vec<_> = (0..50).map(|n| opus_tone(n, &mut encoder)).collect();
    let mut talk = |from: u32, to: u32| {
        for n in from..to {
            to_agent.feed(n, 960, &packets[n as usize % 50]);
            to_agent.run();
            to_meta.feed(n, 160, &[0x2a ^ n as u8; 160]);
            to_meta.run();
        }
    };
    let warm = HELD.with(Cell::get);
    talk(0, 100);
    let grown = HELD.with(Cell::get) - warm;
    println!("a transcoded call: {held} bytes, and {grown} with its first packets");
    assert!(held + grown <= 150_000, "{held} and {grown} bytes");
    let settled = HELD.with(Cell::get);
    talk(100, 1_100);
    assert!(HELD.with(Cell::get) <= settled + 1_000, "a call grows with its packets");
}

/// Whatever a peer sends as Opus: noise under every header, and packets of another codec with bytes changed.
#[test]
fn no_bytes_break_a_coder_and_the_next_good_packet_is_heard() {
    let mut seed = 0x9e37_79b9_u32;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed
    };
    let mut encoder = OpusEncoder::new(16_000, 1, Application::Voip).unwrap();
    (encoder.bitrate_bps, encoder.use_inband_fec, encoder.packet_loss_perc) = (20_000, true, 20);
    for (format, step) in [(PCMU, 960_u32), (G722, 960)] {
        let mut lab = Lab::new(OPUS_META, format);
        lab.keep = false;
        for n in 0..5_000_u32 {
            let mut payload = opus_tone(n as usize % 50, &mut encoder);
            if random() % 2 == 0 {
                payload = (0..random() % 160).map(|_| random() as u8).collect();
            } else {
                for _ in 0..=random() % 8 {
                    let at = random() as usize % payload.len();
                    payload[at] = random() as u8;
                }
            }
            // Some are lost, so that there is something to hide or to recover.
            if random() % 8 != 0 {
                lab.feed(n, step, &payload);
            }
            lab.run();
        }
        lab.keep = true;
        for n in 5_000..5_200_u32 {
            lab.feed(n, step, &opus_tone(n as usize % 50, &mut encoder));
            lab.run();
        }
        let mut back = Lab::new(format, PCMU);
        for (n, payload) in (0..).zip(&lab.heard) {
            back.feed(n, 160, payload);
            back.run();
        }
        let pcm: Vec<f32> = back.heard.iter().flatten().map(|code| expand(PCMU, *code)).collect();
        let (hz, level) = measure(&pcm[pcm.len() - 4_000..], 8_000.0);
        assert!(
            (hz - 1_000.0).abs() < 5.0 && (level + 10.0).abs() < 1.0,
            "{format:?}: {hz} Hz, {level} dBFS"
        );
    }
}

#[test]
fn mu_law_and_a_law_are_bridged() {
    let mut call = Call::answered(
        LegSetup { audio: PCMA, ..meta_setup() },
        LegSetup { audio: PCMU, dtmf: None, ..agent_setup() },
    );
    call.pass_ms(3);
    for n in 0..20_u16 {
        call.agent_says(n, u32::from(n) * 160, &[0x80; 160]);
        call.pass_ms(20);
    }
    let last = call.meta.heard.last().unwrap();
    assert_eq!((last.pt, &last.payload[..]), (8, &[0xaa; 160][..]));
    assert_eq!(call.agent.leg, AGENT);
}

/// A customer in a pause: Opus tells of it every 400 ms (DTX), and sends nothing between.
#[test]
fn a_pause_of_opus_goes_on_as_comfort_noise_to_a_peer_that_takes_it() {
    for format in [PCMU, PCMA, G722] {
        let mut lab = Lab::with(OPUS_META, format, true);
        let mut encoder = OpusEncoder::new(16_000, 1, Application::Voip).unwrap();
        encoder.bitrate_bps = 20_000;
        for n in 0..250_u32 {
            match n {
                ..50 | 200.. => lab.feed(n, 960, &opus_tone(n as usize, &mut encoder)),
                _ if n % 20 == 10 => lab.feed(n, 960, &[0x78]),
                _ => {}
            }
            lab.run();
        }
        // Three seconds of pause: one packet every 160 ms, and sound again with the first word.
        assert!((15..=20).contains(&lab.noise.len()), "{format:?}: {:?}", lab.noise);
        for pair in lab.noise.windows(2) {
            assert_eq!(pair[1].0 - pair[0].0, std::time::Duration::from_millis(160), "{format:?}");
        }
        assert!(lab.noise.iter().all(|(_, level)| (40..=127).contains(level)), "{format:?}: {:?}", lab.noise);
        assert!((90..=115).contains(&lab.heard.len()), "{format:?}: {} packets of sound", lab.heard.len());
    }
}

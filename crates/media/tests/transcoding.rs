//! An agent without Opus: G.711 there and back. Checked with another Opus codec (`opus-pure`).
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use opus_pure::{Application, OpusDecoder, OpusEncoder};
use setu_media::{AudioFormat, LegSetup};
use support::{Call, PCMA, PCMU, agent_setup, compressor, expand, measure, meta_setup, tone};

/// A 1 kHz tone of -10 dBFS, `count` samples from sample `from` on. It repeats after eight samples.
fn g711_tone(law: AudioFormat, from: usize, count: usize) -> Vec<u8> {
    let period: Vec<u8> = tone(1_000.0, 8_000.0, 0, 8).into_iter().map(compressor(law)).collect();
    (from..from + count).map(|n| period[n % 8]).collect()
}

fn call(audio: AudioFormat) -> Call {
    Call::answered(meta_setup(), LegSetup { audio, dtmf: None, ..agent_setup() })
}

fn assert_tone(pcm: &[f32], rate: f32) {
    let (hz, level) = measure(&pcm[pcm.len() / 4..], rate);
    assert!((hz - 1_000.0).abs() < 10.0, "{hz} Hz");
    assert!((level + 10.0).abs() < 1.0, "{level} dBFS");
}

#[test]
fn a_tone_of_a_g711_agent_reaches_meta_at_its_pitch_and_level_and_within_its_bit_rate() {
    for law in [PCMU, PCMA] {
        for frame in [80, 160, 240, 480] {
            let mut call = call(law);
            call.pass_ms(3);
            let before = call.meta.heard.len();
            let count = 160 * 150 / frame;
            for n in 0..count {
                call.agent_says(n as u16, n as u32 * frame as u32, &g711_tone(law, n * frame, frame));
                call.pass_ms(frame as u64 / 8);
            }
            let heard = &call.meta.heard[before..];
            assert_eq!(heard.len(), 150, "{frame}");
            let mut decoder = OpusDecoder::new(48_000, 1).unwrap();
            let mut pcm = vec![0.0; 960];
            let mut all = Vec::new();
            for pair in heard.windows(2) {
                let ahead = pair[1].sequence.wrapping_sub(pair[0].sequence);
                assert_eq!((ahead, pair[1].timestamp.wrapping_sub(pair[0].timestamp)), (1, 960));
            }
            for packet in heard {
                assert_eq!((packet.pt, decoder.decode(&packet.payload, 960, &mut pcm).unwrap()), (111, 960));
                all.extend_from_slice(&pcm);
            }
            assert_tone(&all, 48_000.0);
            let bits: usize = heard.iter().map(|it| it.payload.len() * 8).sum();
            assert!(bits <= 20_000 * 3, "{} bit/s", bits / 3);
        }
    }
}

#[test]
fn a_tone_of_the_customer_reaches_a_g711_agent_at_its_pitch_and_level() {
    for law in [PCMU, PCMA] {
        let mut call = call(law);
        call.pass_ms(3);
        let before = call.agent.heard.len();
        let mut encoder = OpusEncoder::new(16_000, 1, Application::Voip).unwrap();
        encoder.bitrate_bps = 20_000;
        for n in 0..150 {
            let mut packet = [0; 400];
            let pcm = tone(1_000.0, 16_000.0, n * 320, 320);
            let length = encoder.encode(&pcm, 320, &mut packet).unwrap();
            call.meta_says(n as u16, (n as u32 * 960).wrapping_sub(9_000), &packet[..length]);
            call.pass_ms(20);
        }
        let heard = &call.agent.heard[before..];
        assert_eq!(heard.len(), 150);
        for pair in heard.windows(2) {
            let ahead = pair[1].sequence.wrapping_sub(pair[0].sequence);
            assert_eq!((ahead, pair[1].timestamp.wrapping_sub(pair[0].timestamp)), (1, 160));
        }
        let pcm: Vec<f32> =
            heard.iter().flat_map(|it| it.payload.iter().map(|code| expand(law, *code))).collect();
        assert_eq!(pcm.len(), 150 * 160);
        assert_tone(&pcm, 8_000.0);
    }
}

#[test]
fn lost_packets_are_concealed_in_both_directions_and_leave_no_gap() {
    let mut call = call(PCMU);
    call.pass_ms(3);
    let (to_meta, to_agent) = (call.meta.heard.len(), call.agent.heard.len());
    let mut encoder = OpusEncoder::new(16_000, 1, Application::Voip).unwrap();
    for n in 0..100 {
        let codes: Vec<u8> = tone(1_000.0, 8_000.0, n * 160, 160).into_iter().map(compressor(PCMU)).collect();
        let mut packet = [0; 400];
        let length = encoder.encode(&tone(1_000.0, 16_000.0, n * 320, 320), 320, &mut packet).unwrap();
        if n % 10 != 5 && n % 10 != 6 {
            call.agent_says(n as u16, n as u32 * 160, &codes);
            call.meta_says(n as u16, n as u32 * 960, &packet[..length]);
        }
        call.pass_ms(20);
    }
    assert_eq!(call.meta.heard.len() - to_meta, 100);
    assert_eq!(call.agent.heard.len() - to_agent, 100);
}

#[test]
fn a_g711_agent_hears_g711_silence_while_nobody_feeds_it() {
    for (law, silence) in [(PCMU, 0xff), (PCMA, 0xd5)] {
        let mut call = call(law);
        call.pass_ms(100);
        assert_eq!(call.agent.heard.len(), 6);
        for pair in call.agent.heard.windows(2) {
            assert_eq!(pair[1].timestamp - pair[0].timestamp, 160);
            assert_eq!(pair[0].payload, [silence; 160]);
        }
    }
}

#[test]
fn a_pause_of_a_g711_agent_goes_on_as_comfort_and_then_as_speech() {
    let mut call = call(PCMA);
    call.pass_ms(3);
    let codes = [0x2a_u8; 160];
    for n in 0..10_u32 {
        call.agent_says(n as u16, n * 160, &codes);
        call.pass_ms(20);
    }
    call.pass_ms(1_000);
    for n in 10..20_u32 {
        call.agent_says(n as u16, 8_000 + n * 160, &codes);
        call.pass_ms(20);
    }
    for pair in call.meta.heard.windows(2) {
        assert_eq!(pair[1].sequence.wrapping_sub(pair[0].sequence), 1);
        assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp) % 960, 0);
    }
    let (first, last) = (&call.meta.heard[0], call.meta.heard.last().unwrap());
    let told_ms = u64::from(last.timestamp.wrapping_sub(first.timestamp)) / 48;
    assert!(told_ms.abs_diff(last.at_ms - first.at_ms) <= 40, "the time line keeps to the clock");
}

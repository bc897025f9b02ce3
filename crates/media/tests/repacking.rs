//! Opus of any packet length from the agent, 20 ms to Meta. Coded and decoded here by another codec (`opus-pure`).
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use opus_pure::{Application, OpusDecoder, OpusEncoder, Signal};
use support::{Call, Heard, measure, tone};

/// Encodes a 1 kHz tone of -10 dBFS in packets of `frame` samples.
fn packets(rate: i32, channels: usize, bitrate: i32, frame: usize, count: usize) -> Vec<Vec<u8>> {
    let mut encoder = OpusEncoder::new(rate, channels, Application::Voip).unwrap();
    encoder.bitrate_bps = bitrate;
    encoder.signal_type = Some(Signal::Voice);
    (0..count)
        .map(|n| {
            let mono = tone(1_000.0, rate as f32, n * frame, frame);
            let pcm: Vec<f32> = mono.iter().flat_map(|s| std::iter::repeat_n(*s, channels)).collect();
            let mut packet = vec![0; 1_500];
            let length = encoder.encode(&pcm, frame, &mut packet).unwrap();
            packet.truncate(length);
            packet
        })
        .collect()
}

/// The packets as the agent sends them, each `ms` long, and what Meta gets of them.
fn through(packets: &[Vec<u8>], ticks: u32, lost: &[usize]) -> (Call, Vec<Heard>) {
    let mut call = Call::usual();
    call.pass_ms(7);
    let before = call.meta.heard.len();
    for (n, packet) in packets.iter().enumerate() {
        if !lost.contains(&n) {
            call.agent_says(n as u16, 50_000 + n as u32 * ticks, packet);
        }
        call.now += std::time::Duration::from_micros(u64::from(ticks) * 1_000 / 48);
    }
    let heard = call.meta.heard[before..].to_vec();
    (call, heard)
}

/// What Meta gets of packets of so many times 20 ms that a coder takes apart, which needs time.
fn coded(packets: &[Vec<u8>], pieces: u32) -> Vec<Heard> {
    let mut call = Call::usual();
    call.pass_ms(3);
    let before = call.meta.heard.len();
    for (n, packet) in packets.iter().enumerate() {
        call.agent_says(n as u16, 50_000 + n as u32 * 960 * pieces, packet);
        call.pass_ms(20 * u64::from(pieces));
    }
    call.meta.heard[before..].to_vec()
}

fn decode(heard: &[Heard], rate: i32, channels: usize) -> Vec<f32> {
    let mut decoder = OpusDecoder::new(rate, channels).unwrap();
    let frame = rate as usize / 50;
    let mut pcm = vec![0.0; frame * channels];
    let mut all = Vec::new();
    for packet in heard {
        assert_eq!(decoder.decode(&packet.payload, frame, &mut pcm).unwrap(), frame, "20 ms and not more");
        all.extend(pcm.iter().step_by(channels));
    }
    all
}

fn assert_continuous(heard: &[Heard]) {
    for pair in heard.windows(2) {
        let ahead = pair[1].sequence.wrapping_sub(pair[0].sequence);
        assert_eq!((ahead, pair[1].timestamp.wrapping_sub(pair[0].timestamp)), (1, 960));
    }
}

fn assert_tone(pcm: &[f32], rate: f32) {
    let (hz, level) = measure(&pcm[pcm.len() / 4..], rate);
    assert!((hz - 1_000.0).abs() < 10.0, "{hz} Hz");
    assert!((level + 10.0).abs() < 1.0, "{level} dBFS");
}

#[test]
fn ten_ms_packets_are_put_together_bit_by_bit() {
    for (rate, bitrate) in [(16_000, 20_000), (48_000, 64_000)] {
        let sent = packets(rate, 1, bitrate, rate as usize / 100, 100);
        let (_, heard) = through(&sent, 480, &[]);
        assert_eq!(heard.len(), 50);
        assert_continuous(&heard);
        assert_tone(&decode(&heard, rate, 1), rate as f32);
    }
}

#[test]
fn packets_of_2_5_and_5_ms_are_put_together() {
    for ticks in [120_u32, 240] {
        let sent = packets(48_000, 1, 64_000, ticks as usize, 400);
        let (_, heard) = through(&sent, ticks, &[]);
        assert_eq!(heard.len() as u32, 400 * ticks / 960);
        assert_continuous(&heard);
        assert_tone(&decode(&heard, 48_000, 1), 48_000.0);
    }
}

#[test]
fn packets_of_several_20_ms_frames_are_taken_apart() {
    for pieces in [2, 3, 6] {
        let sent = packets(48_000, 1, 64_000, 960 * pieces, 24);
        assert!(sent.iter().all(|packet| packet[0] >> 3 >= 12 && packet[0] & 3 != 0), "several CELT frames");
        let (_, heard) = through(&sent, 960 * pieces as u32, &[]);
        assert_eq!(heard.len(), 24 * pieces);
        assert_continuous(&heard);
        assert_tone(&decode(&heard, 48_000, 1), 48_000.0);
    }
}

#[test]
fn silk_frames_of_40_and_60_ms_are_coded_again() {
    for (pieces, config) in [(2, 2), (3, 3)] {
        for channels in [1, 2] {
            let sent = packets(16_000, channels, 16_000 * channels as i32, 320 * pieces, 40);
            let silk =
                |packet: &[u8]| packet[0] >> 3 < 12 && packet[0] >> 3 & 3 == config && packet[0] & 3 == 0;
            assert!(sent.iter().all(|packet| silk(packet)), "single SILK frames");
            let heard = coded(&sent, pieces as u32);
            assert_eq!(heard.len(), 40 * pieces);
            assert_continuous(&heard);
            assert!(heard.iter().all(|it| it.payload[0] & 4 == 0), "mono, as Meta takes no more");
            assert_tone(&decode(&heard, 16_000, 1), 16_000.0);
        }
    }
}

#[test]
fn a_loss_between_10_ms_packets_costs_its_20_ms_and_is_told_as_a_gap() {
    let sent = packets(16_000, 1, 20_000, 160, 60);
    for lost in [&[20][..], &[21], &[20, 21], &[21, 22], &[20, 21, 22, 23]] {
        let (_, heard) = through(&sent, 480, lost);
        let outputs: std::collections::BTreeSet<usize> = lost.iter().map(|n| n / 2).collect();
        assert_eq!(heard.len(), 30 - outputs.len(), "{lost:?}");
        for pair in heard.windows(2) {
            let ahead = u32::from(pair[1].sequence.wrapping_sub(pair[0].sequence));
            assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp), ahead * 960, "{lost:?}");
        }
        let span = heard.last().unwrap().sequence.wrapping_sub(heard[0].sequence);
        assert_eq!(usize::from(span) + 1, 30, "{lost:?}");
    }
}

#[test]
fn a_lost_60_ms_packet_is_a_gap_of_three() {
    let sent = packets(48_000, 1, 64_000, 2_880, 20);
    let (_, heard) = through(&sent, 2_880, &[10]);
    let gaps: Vec<u16> = heard
        .windows(2)
        .map(|pair| pair[1].sequence.wrapping_sub(pair[0].sequence))
        .filter(|ahead| *ahead != 1)
        .collect();
    assert_eq!(gaps, [4]);
}

#[test]
fn late_duplicate_and_broken_packets_do_no_harm() {
    let sent = packets(16_000, 1, 20_000, 160, 40);
    let mut call = Call::usual();
    call.pass_ms(7);
    let before = call.meta.heard.len();
    for (n, packet) in sent.iter().enumerate() {
        call.agent_says(n as u16, n as u32 * 480, packet);
        call.agent_says(n as u16, n as u32 * 480, packet);
        if n >= 4 {
            call.agent_says(n as u16 - 4, (n as u32 - 4) * 480, &sent[n - 4]);
        }
        call.pass_ms(10);
    }
    assert_eq!(call.meta.heard.len() - before, 20);
    assert_continuous(&call.meta.heard[before..]);
    for broken in [&[][..], &[3], &[0x03, 0x00], &[0x03, 0x3f, 1], &[1, 2], &[2, 255]] {
        let count = call.meta.heard.len();
        call.agent_says(41, 41 * 480, broken);
        assert_eq!(call.meta.heard.len(), count);
    }
}

#[test]
fn packets_of_20_ms_pass_untouched() {
    let sent = packets(48_000, 2, 40_000, 960, 30);
    let (_, heard) = through(&sent, 960, &[7]);
    let payloads: Vec<_> = heard.iter().map(|it| it.payload.clone()).collect();
    let expected: Vec<_> =
        sent.iter().enumerate().filter(|(n, _)| *n != 7).map(|(_, it)| it.clone()).collect();
    assert_eq!(payloads, expected);
}

#[test]
fn a_pause_of_half_an_output_does_not_move_the_grid_toward_meta() {
    let mut call = Call::usual();
    call.pass_ms(7);
    let before = call.meta.heard.len();
    // 10 ms packets; after the 21st the agent pauses, as for a key press, and comes back with the other half.
    let coded = packets(16_000, 1, 20_000, 160, 60);
    for (n, packet) in coded.iter().enumerate() {
        let pause = if n > 20 { 480 * 8 } else { 0 };
        if n == 21 {
            call.pass_ms(80);
        }
        call.agent_says(n as u16, 50_000 + n as u32 * 480 + pause, packet);
        call.pass_ms(10);
    }
    for pair in call.meta.heard[before..].windows(2) {
        let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        assert!(step > 0 && step % 960 == 0, "a step of {step} toward Meta");
    }
}

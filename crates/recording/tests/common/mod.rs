//! Tones in, tones out: what the tests of recordings share.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::f32::consts::TAU;
use std::time::Duration;

use opus_pure::{Application, OggOpusReader, OpusDecoder, OpusEncoder};
use setu_model::{CallId, TapChannel, TapFrame, Wall};
use setu_recording::{Muxer, Tags};

pub(crate) const CUSTOMER_HZ: f32 = 440.0;
pub(crate) const AGENT_HZ: f32 = 1_000.0;
pub(crate) const LEVEL: f32 = 0.4;

pub(crate) fn call() -> CallId {
    CallId::from_bits(0x0193_5f2a_0000_1234_5678_9abc_def0_1122)
}

pub(crate) fn tags() -> Tags {
    Tags::new(call(), Wall::from_unix_ms(1_795_000_000_000))
}

/// `packets` Opus packets of `packet_ms` each, a sine of `hz`.
pub(crate) fn tone(hz: f32, packets: usize, packet_ms: usize, channels: usize) -> Vec<Vec<u8>> {
    let mut encoder = OpusEncoder::new(16_000, channels, Application::Voip).expect("an encoder");
    encoder.bitrate_bps = 20_000;
    let samples = 16 * packet_ms;
    let pcm = |packet: usize| -> Vec<f32> {
        let at = |i: usize| (TAU * hz * (packet * samples + i) as f32 / 16_000.0).sin() * LEVEL;
        (0..samples).flat_map(|i| vec![at(i); channels]).collect()
    };
    let mut out = vec![0; 4_000];
    (0..packets)
        .map(|packet| {
            let length = encoder.encode(&pcm(packet), samples, &mut out).expect("a packet");
            out[..length].to_vec()
        })
        .collect()
}

/// The packets of one side on a perfect network: each passes when its last sample is spoken.
pub(crate) fn side(channel: TapChannel, packets: &[Vec<u8>], packet_ms: u64) -> Vec<TapFrame> {
    // Starts of the RTP counters, as random as any.
    let (first_sequence, first_timestamp) = (65_530, 4_294_900_000);
    (0..)
        .zip(packets)
        .map(|(i, payload)| TapFrame {
            call: call(),
            channel,
            sequence: first_sequence + i,
            timestamp: first_timestamp + i * packet_ms * 48,
            passed_us: i * packet_ms * 1_000,
            payload: payload.as_slice().into(),
        })
        .collect()
}

/// Muxes `frames` in the order in which they passed.
pub(crate) fn mux(mut frames: Vec<TapFrame>) -> (Vec<u8>, Muxer) {
    frames.sort_by_key(|frame| frame.passed_us);
    let mut muxer = Muxer::new(&tags());
    let mut file = Vec::new();
    for frame in &frames {
        muxer.push(frame);
        file.extend(muxer.take_pages());
    }
    file.extend(muxer.finish(Duration::ZERO));
    (file, muxer)
}

/// A ten-second recording of the two tones.
pub(crate) fn two_tones() -> Vec<u8> {
    let customer = side(TapChannel::Customer, &tone(CUSTOMER_HZ, 500, 20, 1), 20);
    let agent = side(TapChannel::Agent, &tone(AGENT_HZ, 500, 20, 1), 20);
    mux([customer, agent].concat()).0
}

/// The two streams' packets of every Ogg packet, as read by another implementation's demuxer, up to the first error.
pub(crate) fn streams(file: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let Ok(mut reader) = OggOpusReader::new(file) else { return Vec::new() };
    reader.packets().map_while(Result::ok).map(|packet| split_self_delimited(&packet.data)).collect()
}

/// RFC 6716 appendix B, written for the tests alone: the first packet as an ordinary one, and the rest.
fn split_self_delimited(data: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let size = |at: usize| match data[at] {
        low @ 0..=251 => (usize::from(low), 1),
        low => (usize::from(data[at + 1]) * 4 + usize::from(low), 2),
    };
    let (mut at, stated, repeats) = match (data[0] & 3, data[1]) {
        (0, _) => (1, 1, 1),
        (1, _) => (1, 1, 2),
        (3, head) if head & 0x80 == 0 => (2, 1, usize::from(head & 63)),
        (3, head) => (2, usize::from(head & 63), 1),
        other => panic!("not written by this muxer: {other:?}"),
    };
    let mut plain = data[..at].to_vec();
    let mut body = 0;
    for index in 0..stated {
        let (length, bytes) = size(at);
        if index + 1 < stated {
            plain.extend(&data[at..at + bytes]);
        }
        body += length * repeats;
        at += bytes;
    }
    plain.extend(&data[at..at + body]);
    (plain, data[at + body..].to_vec())
}

/// Both channels of a file in 48 kHz samples, decoded stream by stream.
pub(crate) fn decode(file: &[u8]) -> (Vec<f32>, Vec<f32>) {
    let decoder = || OpusDecoder::new(48_000, 1).expect("a decoder");
    let (mut left, mut right) = ((decoder(), Vec::new()), (decoder(), Vec::new()));
    for (one, other) in streams(file) {
        for ((decoder, pcm), packet) in [(&mut left, &one), (&mut right, &other)] {
            let mut block = vec![0.0; 5_760];
            let samples = decoder.decode(packet, 5_760, &mut block).expect("a decodable packet");
            pcm.extend_from_slice(&block[..samples]);
        }
    }
    (left.1, right.1)
}

/// The level of `hz` in `pcm` at 48 kHz (Goertzel): 1 for a full-scale sine.
pub(crate) fn level(pcm: &[f32], hz: f32) -> f32 {
    let step = TAU * hz / 48_000.0;
    let sum = (0..).zip(pcm).fold((0.0, 0.0), |(re, im): (f64, f64), (i, sample)| {
        let angle = f64::from(step) * f64::from(i);
        (re + angle.cos() * f64::from(*sample), im + angle.sin() * f64::from(*sample))
    });
    (sum.0.hypot(sum.1) * 2.0 / pcm.len().max(1) as f64) as f32
}

/// Panics unless left is the customer's tone, right the agent's, and neither is in the other or too loud.
pub(crate) fn assert_two_tones(left: &[f32], right: &[f32], who: &str) {
    for (pcm, own, other) in [(left, CUSTOMER_HZ, AGENT_HZ), (right, AGENT_HZ, CUSTOMER_HZ)] {
        // The first 100 ms are the encoder finding its level.
        let steady = pcm.get(4_800..).unwrap_or_default();
        let (own, other) = (level(steady, own), level(steady, other));
        assert!(own > LEVEL * 0.6 && other < LEVEL * 0.05, "{who}: own tone {own}, the other's {other}");
        let loudest = steady.iter().fold(0.0, |most: f32, sample| most.max(sample.abs()));
        assert!(loudest < LEVEL * 2.0, "{who}: garbage, {loudest}");
    }
}

//! Sounds for a leg that has no agent. Heard with another Opus codec (`opus-pure`), and in one stream throughout.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use std::sync::Arc;

use opus_pure::{Application, OpusDecoder, OpusEncoder};
use setu_media::{Cadence, Clip, Command, Event, LegSetup, Play};
use setu_model::TapChannel;
use support::{AGENT, Call, Heard, META, PCMU, agent_setup, measure, meta_setup, tone};

/// A tone without a pause, `ms` long.
fn clip(hz: u16, ms: u16) -> Arc<Clip> {
    Arc::new(Clip::tone(Cadence { hz: [hz, 0], on_off_ms: [ms, 0, 0, 0], level_db: -10 }))
}

/// An agent who says a tone, and the ear of Meta's user.
struct Agent {
    encoder: OpusEncoder,
    said: usize,
}

impl Agent {
    fn new() -> Self {
        let mut encoder = OpusEncoder::new(16_000, 1, Application::Voip).unwrap();
        encoder.bitrate_bps = 20_000;
        Self { encoder, said: 0 }
    }

    /// 20 ms of 1 kHz.
    fn says(&mut self, call: &mut Call) {
        let mut packet = [0; 400];
        let pcm = tone(1_000.0, 16_000.0, self.said * 320, 320);
        let len = self.encoder.encode(&pcm, 320, &mut packet).unwrap();
        call.agent_says(self.said as u16, self.said as u32 * 960, &packet[..len]);
        self.said += 1;
    }
}

/// The pitch of each stretch that `cuts` (in packets) divide the stream into, without the 100 ms around each cut.
fn pitches(heard: &[Heard], cuts: &[usize]) -> Vec<u32> {
    let mut decoder = OpusDecoder::new(8_000, 1).unwrap();
    let mut pcm = Vec::new();
    for packet in heard {
        let mut frame = [0.0; 160];
        assert_eq!(decoder.decode(&packet.payload, 160, &mut frame).unwrap(), 160);
        pcm.extend_from_slice(&frame);
    }
    cuts.windows(2)
        .map(|cut| {
            let stretch = &pcm[(cut[0] + 5) * 160..(cut[1] - 5).min(heard.len()) * 160];
            let (hz, level) = measure(stretch, 8_000.0);
            if level < -40.0 { 0 } else { (hz / 10.0).round() as u32 * 10 }
        })
        .collect()
}

fn is_one_stream(heard: &[Heard], step: u32) {
    for pair in heard.windows(2) {
        assert_eq!(pair[0].ssrc, pair[1].ssrc);
        assert_eq!(pair[1].sequence.wrapping_sub(pair[0].sequence), 1);
        assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp), step, "at {} ms", pair[1].at_ms);
    }
}

#[test]
fn every_source_takes_over_in_one_stream_and_is_heard_at_its_pitch() {
    let mut call = Call::usual();
    let mut agent = Agent::new();
    call.command(Command::Tap { call: support::CALL, on: true });
    // Comfort, ringback, an announcement, the agent, music while the agent is silent, the agent, comfort.
    call.pass_ms(400);
    let mut cuts = vec![0, call.meta.heard.len()];
    call.command(Command::Play { leg: META, clip: clip(440, 200), how: Play::Behind });
    call.pass_ms(600);
    cuts.push(call.meta.heard.len());
    call.command(Command::Play { leg: META, clip: clip(700, 500), how: Play::Once });
    for _ in 0..25 {
        call.pass_ms(20);
        agent.says(&mut call);
    }
    assert_eq!(call.events.iter().filter(|it| **it == Event::Played { leg: META }).count(), 1);
    cuts.push(call.meta.heard.len());
    for _ in 0..30 {
        call.pass_ms(20);
        agent.says(&mut call);
    }
    cuts.push(call.meta.heard.len());
    call.command(Command::Play { leg: META, clip: clip(300, 400), how: Play::Behind });
    let spoken = call.meta.heard.len();
    call.pass_ms(195);
    assert_eq!(call.meta.heard.len(), spoken, "the agent may just be late");
    call.pass_ms(805);
    cuts.push(call.meta.heard.len());
    for _ in 0..30 {
        call.pass_ms(20);
        agent.says(&mut call);
    }
    cuts.push(call.meta.heard.len());
    call.command(Command::StopPlaying { leg: META });
    call.pass_ms(600);
    cuts.push(call.meta.heard.len());
    assert_eq!(pitches(&call.meta.heard, &cuts), [0, 440, 700, 1_000, 300, 1_000, 0]);
    for pair in call.meta.heard.windows(2) {
        assert_eq!(pair[1].sequence.wrapping_sub(pair[0].sequence), 1);
        let ahead = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        let passed = (pair[1].at_ms - pair[0].at_ms) as u32 * 48;
        assert!(ahead % 960 == 0 && ahead.abs_diff(passed) <= 960, "{ahead} in {passed}");
    }
    let taped = call.taped(TapChannel::Agent);
    let heard = call.meta.heard.iter().skip(1).map(|it| &it.payload[..]);
    assert!(taped.iter().map(|it| &*it.payload).eq(heard), "the recording holds what was heard");
}

#[test]
fn a_sound_that_is_played_behind_goes_on_for_ever_without_a_seam() {
    let mut call = Call::usual();
    call.command(Command::Play { leg: META, clip: clip(500, 60), how: Play::Behind });
    call.pass_ms(10_000);
    assert_eq!(call.meta.heard.len(), 501);
    is_one_stream(&call.meta.heard, 960);
    assert!(!call.events.contains(&Event::Played { leg: META }));
}

#[test]
fn a_g711_leg_hears_sounds_encoded_beforehand() {
    let mut call = Call::answered(meta_setup(), LegSetup { audio: PCMU, dtmf: None, ..agent_setup() });
    call.command(Command::Play { leg: AGENT, clip: Arc::new(Clip::tone(Cadence::BUSY)), how: Play::Behind });
    call.pass_ms(2_000);
    is_one_stream(&call.agent.heard, 160);
    let loud = call.agent.heard.iter().filter(|it| it.payload.iter().any(|code| code & 0x7f < 0x60)).count();
    assert!((48..=52).contains(&loud), "half of two seconds: {loud}");
    assert!(call.agent.heard.iter().all(|it| it.payload.len() == 160 && it.pt == 0));
}

#[test]
fn a_key_interrupts_an_announcement_and_both_are_heard_whole() {
    let mut call = Call::usual();
    call.command(Command::Play { leg: META, clip: clip(700, 400), how: Play::Once });
    call.pass_ms(100);
    call.command(Command::Press { leg: META, digit: '1', duration_ms: 100 });
    call.pass_ms(600);
    let announced = call.meta.heard.iter().filter(|it| it.pt == 111 && it.payload.len() > 3).count();
    assert!(announced >= 19, "{announced}");
    assert!(call.events.contains(&Event::Played { leg: META }));
    assert_eq!(call.meta.heard.iter().filter(|it| it.pt == 126).count(), 7);
    assert!(call.meta.heard.windows(2).all(|it| it[1].sequence.wrapping_sub(it[0].sequence) == 1));
}

#[test]
fn a_leg_that_is_closed_or_never_was_hears_nothing() {
    let mut call = Call::usual();
    call.command(Command::CloseLeg { leg: AGENT });
    call.command(Command::Play { leg: AGENT, clip: clip(400, 100), how: Play::Once });
    call.pass_ms(200);
    assert!(!call.events.contains(&Event::Played { leg: AGENT }));
}

//! What the relay tells of a leg's quality, where the losses of each hop are known. The peers' reports are written by
//! hand from what they got.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use setu_media::{Channel, Event, LegSetup};
use setu_model::{LegId, MediaQuality};
use support::{AGENT, Call, META, PCMU, agent_setup, meta_setup};

const VOICE: [u8; 50] = [0x78; 50];

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// What a hop does to packets: lost in a hundred, and the most it delays one, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Harm {
    loss: u64,
    jitter_ms: u64,
}

/// A minute of both sides talking; `up` is what the agent's packets meet on their way here, `down` what Meta's user
/// meets of ours. Returns the counters of both legs.
fn talk(up: Harm, down: Harm) -> (MediaQuality, MediaQuality) {
    let mut call = Call::usual();
    let mut dice = Dice(7);
    let mut arrivals: Vec<(u64, u16)> = Vec::new();
    for n in 0..3_000_u16 {
        if dice.roll(100) >= up.loss {
            arrivals.push((5 + u64::from(n) * 20 + dice.roll(up.jitter_ms + 1), n));
        }
    }
    arrivals.sort_unstable();
    let mut reported_ms = 0;
    for (at_ms, n) in arrivals {
        call.pass_ms(at_ms - call.at_ms());
        call.agent_says(n, u32::from(n) * 960, &VOICE);
        call.meta_says(n, u32::from(n) * 960, &VOICE);
        if at_ms >= reported_ms + 5_000 {
            reported_ms = at_ms;
            report(&mut call, &mut dice, down);
        }
    }
    let (_, meta, agent) = call.close();
    (meta, agent)
}

/// Meta's user reports on our stream: gaps in its numbers are losses, whoever made them.
fn report(call: &mut Call, dice: &mut Dice, down: Harm) {
    let heard = &call.meta.heard;
    let first = heard.first().unwrap().sequence;
    let last = heard.iter().map(|it| it.sequence.wrapping_sub(first)).max().unwrap().wrapping_add(first);
    let expected = u32::from(last.wrapping_sub(first)) + 1;
    let lost_here = heard.iter().filter(|_| dice.roll(100) < down.loss).count();
    let lost = expected - u32::try_from(heard.len() - lost_here).unwrap();
    let ours = heard.first().unwrap().ssrc;
    let mut compound = vec![0x81, 201, 0, 7];
    compound.extend(call.meta.ssrc.to_be_bytes());
    compound.extend(ours.to_be_bytes());
    compound.push(0);
    compound.extend(&lost.to_be_bytes()[1..]);
    compound.extend(u32::from(last).to_be_bytes());
    compound.extend((u32::try_from(down.jitter_ms).unwrap() * 48).to_be_bytes());
    compound.extend([0; 8]);
    compound.extend([0x81, 202, 0, 2]);
    compound.extend(call.meta.ssrc.to_be_bytes());
    compound.extend([1, 1, b'x', 0]);
    let sealed = call.meta.seal_report(&compound);
    let at = call.meta.at;
    call.arrive(META, Channel::Rtp, at, &sealed);
}

#[test]
fn a_clean_call_is_scored_well_both_ways() {
    let (meta, agent) = talk(Harm::default(), Harm::default());
    assert_eq!((agent.lost_packets, agent.reordered_packets, agent.duplicated_packets), (0, 0, 0));
    assert!(agent.mos_received.unwrap().value() > 4.2, "{agent:?}");
    assert_eq!(meta.remote_lost_packets, Some(0), "{meta:?}");
    assert!(meta.mos_sent.unwrap().value() > 4.2, "{meta:?}");
    assert_eq!((meta.late_packets, agent.quiet_percent), (0, Some(0)));
    assert!(agent.first_audio_ms.unwrap() <= 5, "{agent:?}");
}

#[test]
fn losses_of_the_agents_way_here_are_not_blamed_on_the_way_to_meta() {
    let (meta, agent) = talk(Harm { loss: 8, jitter_ms: 0 }, Harm::default());
    let share = agent.lost_packets as f64 / 3_000.0;
    assert!((0.06..0.10).contains(&share), "{agent:?}");
    assert!((100..=115).contains(&agent.burst_ratio_percent), "random: {agent:?}");
    assert!(agent.mos_received.unwrap().value() < 3.4, "{agent:?}");
    assert!(
        meta.remote_lost_packets.unwrap() <= 5,
        "Meta saw the gaps, but they are not its hop's: {meta:?}"
    );
    assert!(meta.mos_sent.unwrap().value() > 4.1, "{meta:?}");
}

#[test]
fn losses_of_the_way_to_meta_are_told_by_its_reports() {
    let (meta, agent) = talk(Harm::default(), Harm { loss: 8, jitter_ms: 30 });
    assert_eq!(agent.lost_packets, 0);
    assert!(agent.mos_received.unwrap().value() > 4.2, "{agent:?}");
    assert!((180..=300).contains(&meta.remote_lost_packets.unwrap()), "{meta:?}");
    assert_eq!(meta.remote_jitter_us, Some(30_000));
    assert!(meta.mos_sent.unwrap().value() < 3.4, "{meta:?}");
}

#[test]
fn packets_that_come_unevenly_and_out_of_order_are_counted_as_such_and_not_as_lost() {
    let (_, agent) = talk(Harm { loss: 0, jitter_ms: 70 }, Harm::default());
    assert_eq!(agent.lost_packets, 0);
    assert!(agent.reordered_packets > 300, "{agent:?}");
    assert!((10_000..40_000).contains(&agent.jitter_us), "{agent:?}");
}

#[test]
fn a_packet_that_comes_twice_is_told_on_plain_and_on_encrypted_legs() {
    let mut call = Call::usual();
    for n in 0..10_u16 {
        let (agent, meta) =
            (call.agent.audio(n, u32::from(n) * 960, &VOICE), call.meta.audio(n, u32::from(n) * 960, &VOICE));
        for _ in 0..2 {
            call.arrive(AGENT, Channel::Rtp, call.agent.at, &agent);
            call.arrive(META, Channel::Rtp, call.meta.at, &meta);
        }
        call.pass_ms(20);
    }
    let (_, meta, agent) = call.close();
    assert_eq!((meta.duplicated_packets, agent.duplicated_packets), (10, 10));
}

#[test]
fn silence_and_the_first_sound_are_told() {
    let mut call = Call::answered(meta_setup(), LegSetup { audio: PCMU, dtmf: None, ..agent_setup() });
    for n in 0..50_u16 {
        let quiet = n < 25;
        call.meta_says(n, u32::from(n) * 960, if quiet { &VOICE[..3] } else { &VOICE });
        call.agent_says(n, u32::from(n) * 160, if quiet { &[0xff; 160] } else { &[0x80; 160] });
        call.pass_ms(20);
    }
    let (_, meta, agent) = call.close();
    for leg in [meta, agent] {
        assert_eq!((leg.quiet_percent, leg.first_audio_ms), (Some(50), Some(500)), "{leg:?}");
    }
    assert_eq!((meta.clipped_permille, agent.clipped_permille), (None, Some(500)));
}

#[test]
fn what_a_leg_looks_like_is_told_every_five_seconds() {
    let mut call = Call::usual();
    for n in 0..1_000_u16 {
        call.agent_says(n, u32::from(n) * 960, &VOICE);
        call.pass_ms(20);
    }
    let told = |leg: LegId| -> Vec<u64> {
        let of_leg = |it: &Event| {
            let Event::Quality { leg: of, quality, .. } = it else { return None };
            (*of == leg).then_some(quality.received_packets)
        };
        call.qualities.iter().filter_map(of_leg).collect()
    };
    let agent = told(AGENT);
    assert!((3..=5).contains(&agent.len()), "{agent:?}");
    assert!(agent.is_sorted(), "{agent:?}");
    assert_eq!(told(META).len(), agent.len());
}

#[test]
fn frames_that_leave_late_are_counted() {
    let mut call = Call::usual();
    call.pass_ms(200);
    // The packet thread stands still for a while.
    for _ in 0..5 {
        call.now += std::time::Duration::from_millis(70);
        call.pass_ms(100);
    }
    let (_, meta, _) = call.close();
    assert_eq!(meta.late_packets, 5, "{meta:?}");
}

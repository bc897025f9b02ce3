//! Decision 2: one stream to each peer, whatever feeds it.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use proptest::prelude::*;
use setu_media::{Command, Direction, LegSetup};
use setu_srtp::Suite;
use support::{AGENT, Call, Heard, META, agent_setup, meta_setup, srtp};

const VOICE: [u8; 20] = [0x78; 20];
const COMFORT: [u8; 3] = [0xf8, 0xff, 0xfe];

/// Numbers of consecutive packets, as differences.
fn steps(heard: &[Heard]) -> Vec<(u16, u32)> {
    heard
        .windows(2)
        .map(|pair| {
            (
                pair[1].sequence.wrapping_sub(pair[0].sequence),
                pair[1].timestamp.wrapping_sub(pair[0].timestamp),
            )
        })
        .collect()
}

#[test]
fn first_packet_leaves_with_the_answer_and_comfort_frames_follow_every_20_ms() {
    let mut call = Call::usual();
    assert_eq!(call.meta.heard.len(), 1);
    let first = &call.meta.heard[0];
    assert_eq!((first.at_ms, first.sequence, first.timestamp), (0, 32_000, u32::MAX - 50_000));
    assert!(first.marker);
    assert_eq!((first.pt, &first.payload[..]), (111, &COMFORT[..]));
    call.pass_ms(2_000);
    assert_eq!(call.meta.heard.len(), 101);
    assert!(steps(&call.meta.heard).iter().all(|step| *step == (1, 960)));
    let (_, meta, _) = call.close();
    assert_eq!((meta.first_sent_ms, meta.sent_packets), (Some(0), 101));
}

#[test]
fn nothing_is_sent_before_the_answer() {
    let mut call = Call::configured(meta_setup(), agent_setup());
    call.agent_says(1, 960, &VOICE);
    call.pass_ms(10_000);
    assert_eq!((call.meta.heard.len(), call.meta.reports.len()), (0, 0));
}

#[test]
fn agent_takes_over_with_the_next_number_and_its_gaps_and_order_pass() {
    let mut call = Call::usual();
    call.pass_ms(95);
    let comforts = call.meta.heard.len();
    for sequence in [500, 501, 503, 502, 506_u16] {
        call.agent_says(sequence, u32::from(sequence) * 960, &VOICE);
        call.pass_ms(20);
    }
    let voice = &call.meta.heard[comforts - 1..];
    assert!(voice[1].marker, "a talk spurt begins");
    assert_eq!(steps(voice)[0], (1, 960));
    assert_eq!(steps(&voice[1..]), [(1, 960), (2, 1_920), (u16::MAX, 960_u32.wrapping_neg()), (4, 3_840)]);
}

#[test]
fn after_200_ms_of_silence_comfort_goes_on_with_the_next_number_and_the_time_that_passed() {
    let mut call = Call::usual();
    call.pass_ms(1);
    for n in 0..10_u16 {
        call.agent_says(n, u32::from(n) * 960, &VOICE);
        call.pass_ms(20);
    }
    let last = call.meta.heard.len();
    call.pass_ms(179);
    assert_eq!(call.meta.heard.len(), last, "short gaps pass through");
    call.pass_ms(1);
    assert_eq!(call.meta.heard.len(), last + 1);
    assert_eq!(steps(&call.meta.heard[last - 1..]), [(1, 9_600)]);
    assert_eq!(call.meta.heard[last].payload, COMFORT);
    // The packets that were only late are not sent any more: the switch is behind them.
    call.agent_says(10, 9_600, &VOICE);
    assert_eq!(steps(&call.meta.heard[last..]), [(1, 960)]);
}

#[test]
fn an_old_packet_from_before_a_switch_is_dropped() {
    let mut call = Call::usual();
    call.pass_ms(5);
    call.agent_says(50, 48_000, &VOICE);
    let sent = call.meta.heard.len();
    call.agent_says(49, 47_040, &VOICE);
    call.agent_says(50, 48_000, &VOICE);
    assert_eq!(call.meta.heard.len(), sent, "neither older than the run nor a duplicate");
}

#[test]
fn a_peer_that_starts_its_numbers_anew_is_a_switch_not_a_jump() {
    let mut call = Call::usual();
    call.pass_ms(5);
    call.agent_says(50, 48_000, &VOICE);
    call.pass_ms(20);
    call.agent_says(9_000, 7_777, &VOICE);
    call.pass_ms(20);
    call.agent_says(9_001, 7_777 + 960, &VOICE);
    let all = steps(&call.meta.heard);
    assert!(all.iter().all(|step| *step == (1, 960)), "{all:?}");
}

#[test]
fn hold_feeds_meta_at_once_and_resume_goes_on() {
    let mut call = Call::usual();
    for n in 0..5_u16 {
        call.agent_says(n, u32::from(n) * 960, &VOICE);
        call.pass_ms(20);
    }
    let to_agent = call.agent.heard.len();
    call.command(Command::Direct { leg: AGENT, direction: Direction::Inactive });
    call.pass_ms(1_000);
    assert_eq!(call.agent.heard.len(), to_agent, "who holds the call hears nothing");
    call.agent_says(77, 1, &VOICE);
    call.command(Command::Direct { leg: AGENT, direction: Direction::SendRecv });
    for n in 100..105_u16 {
        call.agent_says(n, u32::from(n) * 960, &VOICE);
        call.pass_ms(20);
    }
    let gap = call.meta.heard.windows(2).map(|pair| pair[1].at_ms - pair[0].at_ms).max().unwrap();
    assert!(gap <= 20, "{gap}");
    assert!(steps(&call.meta.heard).iter().all(|step| step.0 == 1 && step.1 % 960 == 0));
    // The agent's own stream kept its time.
    let (first, last) = (&call.agent.heard[0], call.agent.heard.last().unwrap());
    assert_eq!(u64::from(last.timestamp - first.timestamp) / 48, last.at_ms - first.at_ms);
}

#[test]
fn music_of_a_holding_agent_reaches_meta_while_meta_does_not_reach_the_agent() {
    let mut call = Call::usual();
    call.command(Command::Direct { leg: AGENT, direction: Direction::RecvOnly });
    let to_agent = call.agent.heard.len();
    call.agent_says(1, 960, &VOICE);
    call.meta_says(1, 960, &VOICE);
    assert_eq!(call.meta.heard.last().unwrap().payload, VOICE);
    assert_eq!(call.agent.heard.len(), to_agent);
}

#[test]
fn another_leg_takes_over_without_a_jump() {
    let mut call = Call::usual();
    call.pass_ms(3);
    call.agent_says(1, 960, &VOICE);
    call.pass_ms(20);
    call.command(Command::Unbridge { leg: META });
    call.pass_ms(200);
    call.command(Command::Bridge { one: AGENT, other: META });
    call.agent_says(2, 1_920, &VOICE);
    let all = steps(&call.meta.heard);
    assert!(all.iter().all(|step| step.0 == 1 && step.1 % 960 == 0 && step.1 <= 1_920), "{all:?}");
}

#[test]
fn meta_reoffer_with_the_same_keys_keeps_stream_and_indexes() {
    let mut call = Call::usual();
    call.pass_ms(1_000);
    call.command(Command::Configure(Box::new(LegSetup {
        sequence: 1,
        timestamp: 1,
        ssrc: 1,
        ..meta_setup()
    })));
    call.pass_ms(1_000);
    assert!(steps(&call.meta.heard).iter().all(|step| *step == (1, 960)));
}

/// What the agent, its network and the call may do.
#[derive(Debug, Clone)]
enum Act {
    Say,
    Lose,
    Swap,
    Again,
    Pause(u64),
    NewSsrc,
    Jump(u32),
    Hold,
    Resume,
    Unbridge,
    Bridge,
    Late(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        20 => Just(Act::Say),
        3 => Just(Act::Lose),
        3 => Just(Act::Swap),
        2 => Just(Act::Again),
        3 => (1_u64..700).prop_map(Act::Pause),
        1 => Just(Act::NewSsrc),
        1 => any::<u32>().prop_map(Act::Jump),
        1 => Just(Act::Hold),
        1 => Just(Act::Resume),
        1 => Just(Act::Unbridge),
        1 => Just(Act::Bridge),
        1 => (1_u64..300).prop_map(Act::Late),
    ]
}

fn suite() -> impl Strategy<Value = Suite> {
    prop_oneof![Just(Suite::AesCm128HmacSha1_80), Just(Suite::AeadAes128Gcm)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_feeds_it_the_stream_to_meta_never_jumps(
        suite in suite(),
        acts in prop::collection::vec(act(), 1..250),
        sequence in 0_u16..32_768,
    ) {
        let crypto = srtp(suite, 9);
        let mut call = Call::answered(
            LegSetup { crypto, sequence, ..meta_setup() },
            agent_setup(),
        );
        let (mut next, mut timestamp, mut lost) = (65_000_u16, 4_294_900_000_u32, 0_u64);
        for act in acts {
            let say = |call: &mut Call, ahead: u16| {
                call.agent_says(
                    next.wrapping_add(ahead),
                    timestamp.wrapping_add(u32::from(ahead) * 960),
                    &VOICE,
                );
            };
            let mut spoken = 0_u16;
            match act {
                Act::Say => { say(&mut call, 0); spoken = 1; }
                Act::Lose => { spoken = 1; lost += 1; }
                Act::Swap => { say(&mut call, 1); say(&mut call, 0); spoken = 2; lost += 1; }
                Act::Again => { say(&mut call, 0); say(&mut call, 0); spoken = 1; }
                Act::Pause(ms) => call.pass_ms(ms),
                Act::NewSsrc => call.agent.ssrc = call.agent.ssrc.wrapping_add(1),
                Act::Jump(by) => { timestamp = timestamp.wrapping_add(by); next = next.wrapping_add((by >> 7) as u16); lost += 100; }
                Act::Hold => call.command(Command::Direct { leg: AGENT, direction: Direction::Inactive }),
                Act::Resume => call.command(Command::Direct { leg: AGENT, direction: Direction::SendRecv }),
                Act::Unbridge => call.command(Command::Unbridge { leg: AGENT }),
                Act::Bridge => call.command(Command::Bridge { one: META, other: AGENT }),
                Act::Late(ms) => {
                    // The worker comes late to its timers.
                    call.now += std::time::Duration::from_millis(ms);
                    call.pass_ms(0);
                }
            }
            call.pass_ms(20 * u64::from(spoken));
            next = next.wrapping_add(spoken);
            timestamp = timestamp.wrapping_add(960 * u32::from(spoken));
        }
        let heard = &call.meta.heard;
        let first = &heard[0];
        // Distances from the first packet, which fit in 16 bits of sequence number in so short a call.
        let mut numbers: Vec<(u16, u32)> = heard
            .iter()
            .map(|it| (it.sequence.wrapping_sub(first.sequence), it.timestamp.wrapping_sub(first.timestamp)))
            .collect();
        prop_assert!(heard.iter().all(|it| it.ssrc == first.ssrc));
        numbers.sort_unstable();
        for pair in numbers.windows(2) {
            let (ahead, ticks) = (pair[1].0 - pair[0].0, pair[1].1 - pair[0].1);
            prop_assert!(ahead >= 1, "a number was used twice");
            prop_assert!(ticks % 960 == 0 && ticks >= 960, "{pair:?}");
        }
        let missing = u64::from(numbers.last().unwrap().0) + 1 - numbers.len() as u64;
        prop_assert!(missing <= lost, "{missing} numbers left out, {lost} packets lost");
    }
}

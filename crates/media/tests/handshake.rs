//! What one side says while the other one's handshake is under way.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use setu_media::{Crypto, DtlsSetup, LegSetup, SrtpKeys};
use setu_srtp::Suite;
use support::{AGENT, Call, META, PCMU, agent_setup, keying, meta_setup};

const VOICE: [u8; 50] = [0x78; 50];

/// A call whose agent has no keys yet.
fn unkeyed(agent: LegSetup) -> Call {
    let dtls = DtlsSetup { active: false, fingerprints: vec![[7; 32]], suites: vec![SUITE] };
    Call::answered(meta_setup(), LegSetup { crypto: Crypto::Dtls(Box::new(dtls)), ..agent })
}

fn keys() -> SrtpKeys {
    SrtpKeys { suite: SUITE, send: keying(SUITE, 3), receive: keying(SUITE, 4) }
}

const SUITE: Suite = Suite::AesCm128HmacSha1_80;

/// The customer talks, from packet to packet.
fn talk(call: &mut Call, packets: std::ops::Range<u16>) {
    for n in packets {
        call.meta_says(n, u32::from(n) * 960, &[n.to_be_bytes().as_slice(), &VOICE].concat());
        call.pass_ms(20);
    }
}

/// The customer's packets that the agent got, by their numbers.
fn heard(call: &Call) -> Vec<u16> {
    let audio = call.agent.heard.iter().filter(|it| it.payload.len() > VOICE.len());
    audio.map(|it| u16::from_be_bytes([it.payload[0], it.payload[1]])).collect()
}

#[test]
fn the_customers_words_wait_for_the_agents_handshake_and_keep_their_time() {
    let mut call = unkeyed(agent_setup());
    talk(&mut call, 0..12);
    assert!(call.agent.heard.is_empty());
    call.key(AGENT, keys());
    assert_eq!(heard(&call), (0..12).collect::<Vec<_>>(), "at once");
    talk(&mut call, 12..40);
    assert_eq!(heard(&call), (0..40).collect::<Vec<_>>());
    let steps = call.agent.heard.windows(2).map(|it| {
        (it[1].sequence.wrapping_sub(it[0].sequence), it[1].timestamp.wrapping_sub(it[0].timestamp))
    });
    assert!(steps.eq(std::iter::repeat_n((1, 960), 39)), "{:?}", call.agent.heard);
    let (_, _, agent) = call.close();
    assert_eq!(agent.first_sent_ms, Some(240));
}

#[test]
fn words_that_need_a_coder_wait_too() {
    let mut call = unkeyed(LegSetup { audio: PCMU, dtmf: None, ..agent_setup() });
    talk(&mut call, 0..10);
    call.key(AGENT, keys());
    talk(&mut call, 10..40);
    let (_, meta, agent) = call.close();
    assert_eq!(meta.received_packets, 40);
    assert!((40..=42).contains(&agent.sent_packets), "{agent:?}");
}

#[test]
fn a_handshake_of_more_than_a_second_costs_what_came_before_its_last_second() {
    let mut call = unkeyed(agent_setup());
    talk(&mut call, 0..70);
    call.key(AGENT, keys());
    assert_eq!(heard(&call), (20..70).collect::<Vec<_>>());
}

#[test]
fn nothing_of_the_agent_waits_for_metas_handshake() {
    let dtls = DtlsSetup { active: true, fingerprints: vec![[7; 32]], suites: vec![SUITE] };
    let meta = LegSetup { crypto: Crypto::Dtls(Box::new(dtls)), ..meta_setup() };
    let mut call = Call::answered(meta, agent_setup());
    for n in 0..10 {
        call.agent_says(n, u32::from(n) * 960, &VOICE);
        call.pass_ms(20);
    }
    call.key(META, keys());
    call.agent_says(10, 9_600, &VOICE);
    let audio = call.meta.heard.iter().filter(|it| it.payload == VOICE).count();
    assert_eq!((audio, call.meta.heard.len()), (1, 2), "comfort, and what is said from here on");
}

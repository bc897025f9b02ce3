//! Who may speak on a leg, and where its packets go: rows 1, 2, 4 and 5 of the security table.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use std::net::SocketAddr;

use proptest::prelude::*;
use setu_media::{AudioFormat, Channel, Command, Crypto, Event, LegSetup, MediaProfile, SetupRefused};
use setu_srtp::Suite;
use support::{AGENT, Call, META, OPUS_AGENT, PCMA, PCMU, agent_setup, keying, meta_setup, srtp};

const VOICE: [u8; 20] = [0x78; 20];

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A packet as a sprayer would send it: a good header, no keys.
fn forged(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 111];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 3, 192, 0xde, 0xad, 0, 1]);
    packet.extend([0x55; 40]);
    packet
}

#[test]
fn sprayed_packets_never_reach_the_agent_nor_move_the_latch() {
    let mut call = Call::usual();
    call.meta_says(1, 960, &VOICE);
    let to_agent = call.agent.heard.len();
    for n in 0..2_000_u16 {
        let from = SocketAddr::new("198.51.100.9".parse().unwrap(), 1_024 + n);
        call.arrive(META, Channel::Rtp, from, &forged(n));
        call.arrive(AGENT, Channel::Rtp, from, &forged(n));
        call.arrive(META, Channel::Rtcp, from, &forged(n));
    }
    assert_eq!(call.agent.heard.len(), to_agent, "nothing injected");
    call.pass_ms(1_000);
    assert!(call.meta.heard.iter().all(|it| it.to == call.meta.at), "nothing bled");
    assert!(call.agent.heard.iter().all(|it| it.to == call.agent.at), "nothing bled");
    assert_eq!(call.events, [Event::FirstPacket { leg: META }]);
    let (_, meta, agent) = call.close();
    assert_eq!((meta.received_packets, meta.rejected_packets), (1, 4_000));
    assert_eq!((agent.received_packets, agent.rejected_packets), (0, 2_000));
}

#[test]
fn an_authenticated_packet_moves_the_latch_of_an_encrypted_leg_a_replay_of_it_does_not() {
    let mut call = Call::usual();
    let old = call.meta.audio(1, 960, &VOICE);
    call.arrive(META, Channel::Rtp, call.meta.at, &old);
    let moved = at("57.144.43.50:40012");
    let packet = call.meta.audio(2, 1_920, &VOICE);
    call.arrive(META, Channel::Rtp, moved, &packet);
    call.pass_ms(20);
    assert_eq!(call.meta.heard.last().unwrap().to, moved);

    // A man in the middle replays both from elsewhere.
    for packet in [&old, &packet] {
        call.arrive(META, Channel::Rtp, at("198.51.100.9:9"), packet);
    }
    call.pass_ms(20);
    assert_eq!(call.meta.heard.last().unwrap().to, moved);
    let (_, meta, _) = call.close();
    assert_eq!((meta.received_packets, meta.rejected_packets), (2, 2));
}

#[test]
fn a_late_packet_does_not_move_the_latch_back() {
    let mut call = Call::usual();
    let late = call.meta.audio(1, 960, &VOICE);
    let newer = call.meta.audio(2, 1_920, &VOICE);
    call.arrive(META, Channel::Rtp, at("57.144.43.50:3478"), &newer);
    call.arrive(META, Channel::Rtp, call.meta.at, &late);
    call.pass_ms(20);
    assert_eq!(call.meta.heard.last().unwrap().to, at("57.144.43.50:3478"));
}

#[test]
fn forged_packets_by_the_ten_thousand_are_counted_and_kill_nothing() {
    let mut call = Call::usual();
    for n in 0..10_000_u16 {
        call.arrive(META, Channel::Rtp, call.meta.at, &forged(n));
    }
    for n in 0..50_u16 {
        call.meta_says(n, u32::from(n) * 960, &VOICE);
        call.pass_ms(20);
    }
    assert_eq!(call.agent.heard.iter().filter(|it| it.payload == VOICE).count(), 50);
    let (_, meta, _) = call.close();
    assert_eq!((meta.received_packets, meta.rejected_packets, meta.lost_packets), (50, 10_000, 0));
}

#[test]
fn datagrams_of_every_short_length_are_dropped() {
    let mut call = Call::usual();
    for leg in [META, AGENT] {
        for length in 0..40 {
            for first in [0x80, 0x90, 0xa0, 0x8f, 0x00, 0x16] {
                let mut datagram = vec![0xff; length];
                for (to, byte) in datagram.iter_mut().zip([first, 200]) {
                    *to = byte;
                }
                let from = if leg == META { call.meta.at } else { call.agent.at };
                call.arrive(leg, Channel::Rtp, from, &datagram);
                call.arrive(leg, Channel::Rtcp, from, &datagram);
            }
        }
    }
    assert_eq!(call.events, []);
}

#[test]
fn a_plain_phone_behind_nat_is_found_once_and_then_locked() {
    let mut call =
        Call::answered(meta_setup(), LegSetup { profile: MediaProfile::softphone(), ..agent_setup() });
    let packet = call.agent.audio(1, 960, &VOICE);
    call.arrive(AGENT, Channel::Rtp, at("10.0.0.66:4000"), &packet);
    assert_eq!(call.events, [], "another host is never taken");
    call.arrive(AGENT, Channel::Rtp, at("10.0.0.5:61000"), &packet);
    assert_eq!(call.events, [Event::FirstPacket { leg: AGENT }]);
    let packet = call.agent.audio(2, 1_920, &VOICE);
    call.arrive(AGENT, Channel::Rtp, at("10.0.0.5:61001"), &packet);
    call.pass_ms(20);
    assert_eq!(call.agent.heard.last().unwrap().to, at("10.0.0.5:61000"));
}

#[test]
fn meta_never_speaks_in_clear() {
    let mut call = Call::usual();
    call.command(Command::Configure(Box::new(LegSetup { crypto: Crypto::Plain, ..meta_setup() })));
    assert_eq!(call.events, [Event::SetupFailed { leg: META, why: SetupRefused::PlainForbidden }]);
    let before = call.meta.heard.len();
    call.pass_ms(100);
    assert_eq!(call.meta.heard.len(), before + 5, "the encrypted stream goes on");
}

#[test]
fn a_key_of_the_wrong_length_changes_nothing() {
    let mut call = Call::usual();
    let crypto = Crypto::Srtp {
        suite: Suite::AeadAes128Gcm,
        send: keying(Suite::AesCm128HmacSha1_80, 3),
        receive: keying(Suite::AeadAes128Gcm, 3),
    };
    call.command(Command::Configure(Box::new(LegSetup { crypto, ..meta_setup() })));
    assert_eq!(call.events, [Event::SetupFailed { leg: META, why: SetupRefused::BadKey }]);
    call.pass_ms(100);
    assert_eq!(call.meta.heard.len(), 6);
}

#[test]
fn both_suites_and_plain_rtp_carry_a_call_both_ways() {
    let plain = (Crypto::Plain, MediaProfile::trunk());
    let encrypted = Suite::ALL.map(|suite| (srtp(suite, 40), MediaProfile::softphone()));
    for (crypto, profile) in encrypted.into_iter().chain([plain]) {
        for suite in [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm] {
            let meta = LegSetup { crypto: srtp(suite, 77), ..meta_setup() };
            let mut call =
                Call::answered(meta, LegSetup { crypto: crypto.clone(), profile, ..agent_setup() });
            for n in 0..30_u16 {
                call.agent_says(n, u32::from(n) * 960, &VOICE);
                call.meta_says(n, u32::from(n) * 960, &VOICE);
                call.pass_ms(20);
            }
            for (peer, pt) in [(&call.meta, 111), (&call.agent, 96)] {
                let voice: Vec<_> = peer.heard.iter().filter(|it| it.payload == VOICE).collect();
                assert_eq!(voice.len(), 30);
                assert!(voice.iter().all(|it| it.pt == pt));
            }
        }
    }
}

#[test]
fn a_peer_that_goes_back_to_an_old_key_never_sees_an_index_again() {
    // The test's own SRTP context per key would not open a repeated index; here each send key keeps its own.
    let mut call = Call::usual();
    let (one, two) = (srtp(Suite::AesCm128HmacSha1_80, 1), srtp(Suite::AesCm128HmacSha1_80, 2));
    let mut seen = std::collections::BTreeSet::new();
    for (round, crypto) in [&one, &two, &one, &two].into_iter().enumerate() {
        call.meta.rekey(crypto);
        call.command(Command::Configure(Box::new(LegSetup { crypto: crypto.clone(), ..meta_setup() })));
        let before = call.meta.heard.len();
        call.pass_ms(200);
        for heard in &call.meta.heard[before..] {
            assert!(seen.insert((round % 2, heard.ssrc, heard.sequence)), "index used twice");
        }
    }
    assert_eq!(call.events, []);
}

#[test]
fn payload_types_nobody_agreed_on_are_dropped() {
    let mut call = Call::usual();
    let packet = call.agent.packet(13, false, 1, 960, &VOICE);
    call.arrive(AGENT, Channel::Rtp, call.agent.at, &packet);
    assert_eq!(call.meta.heard.len(), 1);
    let agent = AudioFormat::Opus { send_pt: 96, receive_pt: 13 };
    call.command(Command::Configure(Box::new(LegSetup { audio: agent, ..agent_setup() })));
    call.arrive(AGENT, Channel::Rtp, call.agent.at, &packet);
    assert_eq!(call.meta.heard.len(), 2);
}

#[test]
fn a_leg_that_goes_to_plain_rtp_and_back_keeps_its_indexes() {
    let crypto = srtp(Suite::AesCm128HmacSha1_80, 8);
    let agent = LegSetup { crypto, profile: MediaProfile::softphone(), sequence: 32_700, ..agent_setup() };
    let mut call = Call::answered(meta_setup(), agent.clone());
    // Past the first roll-over of the sequence number: a fresh context would count from zero again.
    call.pass_ms(20 * 33_000);
    let contexts = call.agent.take_contexts();
    call.command(Command::Configure(Box::new(LegSetup { crypto: Crypto::Plain, ..agent.clone() })));
    call.pass_ms(100);
    assert_eq!(call.agent.heard.last().unwrap().payload, [0xf8, 0xff, 0xfe], "in clear");
    call.agent.put_contexts(contexts);
    call.command(Command::Configure(Box::new(agent)));
    call.pass_ms(100);
    assert_eq!(
        call.agent.heard.last().unwrap().payload,
        [0xf8, 0xff, 0xfe],
        "opened by the context of before"
    );
}

#[test]
fn an_answer_that_comes_before_the_description_is_made_good_at_once() {
    let mut call = Call::usual();
    let fork = LegSetup { leg: setu_model::LegId { index: 2, ..AGENT }, ..agent_setup() };
    call.command(Command::Open { leg: fork.leg, side: fork.side });
    call.command(Command::Start { leg: fork.leg });
    let before = call.agent.heard.len();
    call.command(Command::Configure(Box::new(fork)));
    assert_eq!(call.agent.heard.len(), before + 1, "its first packet left");
}

proptest! {
    #[test]
    fn no_payload_and_no_datagram_does_harm(
        audio in prop_oneof![Just(OPUS_AGENT), Just(PCMU), Just(PCMA)],
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..60),
    ) {
        let mut call = Call::answered(meta_setup(), LegSetup { audio, ..agent_setup() });
        for (n, payload) in (0_u16..).zip(&payloads) {
            call.agent_says(n, u32::from(n) * 480, payload);
            call.meta_says(n, u32::from(n) * 960, payload);
            let event = call.agent.packet(101, true, n, 0, payload);
            call.arrive(AGENT, Channel::Rtp, call.agent.at, &event);
            call.arrive(AGENT, Channel::Rtp, call.agent.at, payload);
            call.arrive(AGENT, Channel::Rtcp, agent_setup().remote_rtcp.unwrap(), payload);
            call.pass_ms(10);
        }
        prop_assert!(call.meta.heard.windows(2).all(|pair| pair[0].sequence != pair[1].sequence));
    }
}

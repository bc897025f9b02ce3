//! Packets through the plane on loopback sockets: rows 1 and 5 of the security table among them.

mod support;

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use setu_media::{Command, Event};
use setu_model::{MediaQuality, Side};
use setu_srtp::Suite;
use setu_srtp::rtcp::{Compound, Packet};
use support::peer::Peer;
use support::{Fixture, call, config, host, leg};

/// Opus packets of 20 ms (RFC 6716 section 3.1, configuration 31), told apart by what follows.
const HELLO: &[u8] = &[0xf8, b'h', b'e', b'l', b'l', b'o'];
const ANSWER: &[u8] = &[0xf8, b'a', b'n', b's', b'w', b'e', b'r'];

/// A call with a protected Meta leg and an agent leg, both started and bridged.
struct Call {
    fixture: Fixture,
    customer: Peer,
    agent: Peer,
}

impl Call {
    fn new(test: u8, agent_suite: Option<Suite>) -> Self {
        let fixture = Fixture::new(config(test, 20_000..=20_019));
        let suite = Some(Suite::AesCm128HmacSha1_80);
        let customer = Peer::new(host(test, Side::Meta), fixture.open(leg(1, 0), Side::Meta), suite);
        let agent = Peer::new(host(test, Side::Agents), fixture.open(leg(1, 1), Side::Agents), agent_suite);
        let setups =
            [customer.setup(leg(1, 0), Side::Meta, suite), agent.setup(leg(1, 1), Side::Agents, agent_suite)];
        for setup in setups {
            let leg = setup.leg;
            fixture.send(Command::Configure(Box::new(setup)));
            fixture.send(Command::Start { leg });
        }
        fixture.send(Command::Bridge { one: leg(1, 0), other: leg(1, 1) });
        fixture.settle();
        Self { fixture, customer, agent }
    }

    /// Sends voice both ways and hears it on the other side.
    fn talk(&mut self) {
        self.customer.say(HELLO);
        self.agent.hear(HELLO);
        self.agent.say(ANSWER);
        self.customer.hear(ANSWER);
    }

    fn close(&self) -> Vec<MediaQuality> {
        close(&self.fixture)
    }
}

/// Closes the call; returns what its legs counted.
fn close(fixture: &Fixture) -> Vec<MediaQuality> {
    fixture.send(Command::Close { call: call(1) });
    fixture.wait_for(|event| {
        let Event::Closed { quality, .. } = event else { return None };
        Some(quality.into_iter().map(|(_, quality)| quality).collect())
    })
}

#[test]
fn what_goes_in_on_one_side_comes_out_on_the_other_under_its_keys() {
    let suites = [Some(Suite::AeadAes128Gcm), Some(Suite::AesCm128HmacSha1_80), None];
    for (test, suite) in (20..).zip(suites) {
        let mut call = Call::new(test, suite);
        call.customer.say(HELLO);
        let heard = call.agent.hear(HELLO);
        assert_eq!(heard.from, call.agent.bridge, "from the port that the agent was told");
        assert_eq!(
            (heard.header.ssrc, heard.header.payload_type),
            (0xb41d_6e01, 111),
            "the bridge's own source"
        );
        call.agent.say(ANSWER);
        let heard = call.customer.hear(ANSWER);
        assert_eq!((heard.from, heard.header.ssrc), (call.customer.bridge, 0xb41d_6e00));

        let quality = call.close();
        assert!(
            quality.iter().all(|leg| leg.received_packets == 1 && leg.rejected_packets == 0),
            "{quality:?}"
        );
        let totals = call.fixture.plane.totals();
        assert!(totals.received >= 2 && totals.sent >= 2, "{totals:?}");
        assert_eq!((totals.unsent, totals.oversized, totals.receive_errors), (0, 0, 0));
    }
}

#[test]
fn a_leg_that_nobody_feeds_is_kept_alive_by_the_timers_alone() {
    let fixture = Fixture::new(config(24, 20_000..=20_019));
    let suite = Some(Suite::AesCm128HmacSha1_80);
    let mut customer = Peer::new(host(24, Side::Meta), fixture.open(leg(1, 0), Side::Meta), suite);
    fixture.send(Command::Configure(Box::new(customer.setup(leg(1, 0), Side::Meta, suite))));
    fixture.send(Command::Start { leg: leg(1, 0) });
    let first = customer.hear(&[0xf8, 0xff, 0xfe]);
    let second = customer.hear(&[0xf8, 0xff, 0xfe]);
    assert_eq!(second.header.sequence, first.header.sequence + 1);
    assert_eq!(second.header.timestamp, first.header.timestamp + 960);
}

/// Before authentication: whoever finds the port. Row 1 of the security table (RTP injection, RTPBleed).
#[test]
fn forged_and_replayed_packets_neither_move_the_latch_nor_reach_the_agent() {
    let mut call = Call::new(25, Some(Suite::AeadAes128Gcm));
    call.talk();
    let stranger = UdpSocket::bind((host(25, Side::Meta), 0)).unwrap();
    stranger.set_nonblocking(true).unwrap();
    let overheard = call.customer.seal(HELLO);
    call.customer.socket.send_to(&overheard, call.customer.bridge).unwrap();
    call.agent.hear(HELLO);

    let mut forged = overheard.clone();
    *forged.last_mut().unwrap() ^= 1;
    for round in 0..40_u8 {
        // A new sequence number each time, then the genuine packet once more from the wrong place.
        forged[3] = forged[3].wrapping_add(round);
        stranger.send_to(&forged, call.customer.bridge).unwrap();
        stranger.send_to(&overheard, call.customer.bridge).unwrap();
        stranger.send_to(&[0x80], call.customer.bridge).unwrap();
    }
    // The bridge reads them before what the customer sends next, as one socket keeps its order.
    call.customer.say(ANSWER);
    call.agent.hear(ANSWER);
    call.talk();
    assert_eq!(stranger.recv(&mut [0; 100]).unwrap_err().kind(), ErrorKind::WouldBlock, "not a packet bled");

    let quality = call.close();
    assert_eq!(quality[0].rejected_packets, 120);
    assert_eq!(quality[0].received_packets, 4);
    assert_eq!(call.fixture.plane.totals().rejected, 120);
}

/// Before authentication, on a leg without protection: only the address of the SDP counts.
#[test]
fn a_stranger_cannot_take_over_a_plain_leg() {
    let mut call = Call::new(26, None);
    call.talk();
    let mut stranger = Peer::new(host(26, Side::Meta), call.agent.bridge, None);
    stranger.ssrc = call.agent.ssrc;
    for _ in 0..40 {
        stranger.say(HELLO);
    }
    call.talk();
    stranger.socket.set_nonblocking(true).unwrap();
    assert_eq!(stranger.socket.recv(&mut [0; 100]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(call.close()[1].rejected_packets, 40);
}

/// Row 5 of the security table: errors are counted, and never end a call.
#[test]
fn a_flood_of_forged_packets_leaves_the_call_alone() {
    let mut call = Call::new(27, Some(Suite::AeadAes128Gcm));
    let stranger = UdpSocket::bind((host(27, Side::Meta), 0)).unwrap();
    let mut forged = call.customer.seal(HELLO);
    for ssrc in 0..5_000_u32 {
        forged[8..12].copy_from_slice(&ssrc.to_be_bytes());
        stranger.send_to(&forged, call.customer.bridge).unwrap();
        if ssrc % 50 == 0 {
            call.talk();
        }
    }
    call.talk();
    assert!(call.fixture.plane.is_healthy());
}

#[test]
fn datagrams_longer_than_any_voice_packet_are_dropped_and_counted() {
    let mut call = Call::new(28, None);
    call.agent.socket.send_to(&[0x80; 1_501], call.agent.bridge).unwrap();
    call.talk();
    assert_eq!(call.fixture.plane.totals().oversized, 1);
}

#[test]
fn a_peer_that_does_not_multiplex_gets_its_reports_from_the_port_above() {
    let suite = Some(Suite::AesCm128HmacSha1_80);
    let fixture = Fixture::new(config(29, 20_000..=20_019));
    let mut agent = Peer::new(host(29, Side::Agents), fixture.open(leg(1, 0), Side::Agents), suite);
    let rtcp = UdpSocket::bind((host(29, Side::Agents), 0)).unwrap();
    rtcp.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let mut setup = agent.setup(leg(1, 0), Side::Agents, suite);
    setup.remote_rtcp = Some(rtcp.local_addr().unwrap());
    setup.profile.rtcp_interval = Duration::from_millis(40);
    fixture.send(Command::Configure(Box::new(setup)));
    fixture.send(Command::Start { leg: leg(1, 0) });
    let (report, from) = agent.report(Some(&rtcp));
    assert_eq!((from.ip(), from.port()), (agent.bridge.ip(), agent.bridge.port() + 1));
    let first = Compound::parse(&report).unwrap().packets().next();
    assert!(matches!(first, Some(Packet::SenderReport(info, _)) if info.ssrc == 0xb41d_6e00), "{first:?}");

    let mut goodbye = agent.seal_goodbye();
    rtcp.send_to(&goodbye, from).unwrap();
    goodbye[9] ^= 1;
    rtcp.send_to(&goodbye, from).unwrap();
    while fixture.plane.totals().received < 2 {
        fixture.settle();
    }
    let quality = close(&fixture);
    assert_eq!(quality[0].rejected_packets, 1, "the genuine one was taken");
    UdpSocket::bind(from).unwrap();
}

#[test]
fn the_end_of_a_call_reaches_the_peers_before_its_ports_close() {
    let mut call = Call::new(30, Some(Suite::AesCm128HmacSha1_80));
    call.talk();
    call.close();
    for peer in [&mut call.customer, &mut call.agent] {
        let said_goodbye = |peer: &mut Peer| {
            let (report, _) = peer.report(None);
            let packets = Compound::parse(&report).unwrap().packets();
            packets.into_iter().any(|packet| matches!(packet, Packet::Goodbye { .. }))
        };
        while !said_goodbye(peer) {}
    }
}

#[test]
fn both_directions_of_the_meta_leg_are_tapped() {
    let mut call = Call::new(31, Some(Suite::AeadAes128Gcm));
    call.fixture.send(Command::Tap { call: support::call(1), on: true });
    call.fixture.settle();
    call.talk();
    let frames = std::iter::from_fn(|| call.fixture.frames.recv_timeout(support::PATIENCE).ok());
    let payloads: Vec<_> =
        frames.map(|frame| frame.payload).take_while(|payload| payload[..] != *ANSWER).collect();
    assert!(payloads.iter().any(|payload| payload[..] == *HELLO), "{payloads:?}");
}

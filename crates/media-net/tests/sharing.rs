//! Legs behind shared ports: told apart by where their peers are, and by nothing else.

mod support;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use setu_media::{Command, Event, SetupRefused};
use setu_media_net::{MediaNetConfig, MediaSide};
use setu_model::{LegId, Side};
use setu_srtp::Suite;
use setu_srtp::rtcp::{Compound, Packet};
use support::peer::Peer;
use support::{Fixture, call, config, host, leg};

const SUITE: Option<Suite> = Some(Suite::AesCm128HmacSha1_80);

/// A call between a protected Meta leg and a plain agent behind a shared port.
struct Call {
    customer: Peer,
    agent: Peer,
    number: u8,
}

impl Call {
    fn new(fixture: &Fixture, hosts: [IpAddr; 2], number: u8) -> Self {
        let legs = [leg(u128::from(number), 0), leg(u128::from(number), 1)];
        let customer = Peer::new(hosts[0], fixture.open(legs[0], Side::Meta), SUITE);
        let agent = Peer::new(hosts[1], fixture.open_shared(legs[1]), None);
        for setup in [customer.setup(legs[0], Side::Meta, SUITE), agent.setup(legs[1], Side::Agents, None)] {
            let leg = setup.leg;
            fixture.send(Command::Configure(Box::new(setup)));
            fixture.send(Command::Start { leg });
        }
        fixture.send(Command::Bridge { one: legs[0], other: legs[1] });
        fixture.settle();
        Self { customer, agent, number }
    }

    /// Sends words of this call alone both ways, and hears them.
    fn talk(&mut self) {
        self.customer.say(&[0xf8, b'c', self.number]);
        assert_eq!(self.agent.hear(&[0xf8, b'c', self.number]).from, self.agent.bridge);
        self.agent.say(&[0xf8, b'a', self.number]);
        assert_eq!(self.customer.hear(&[0xf8, b'a', self.number]).from, self.customer.bridge);
    }

    /// Whether nothing but this call's words and silence was heard.
    fn heard_nobody_else(&self) -> bool {
        let heard = self.customer.passed_over.iter().chain(&self.agent.passed_over);
        heard.into_iter().all(|payload| payload == &[0xf8, 0xff, 0xfe])
    }
}

#[test]
fn calls_behind_a_few_ports_are_told_apart_by_their_peers_addresses() {
    let fixture = Fixture::new(config(50, 20_000..=20_099));
    let hosts = [host(50, Side::Meta), host(50, Side::Agents)];
    let mut calls: Vec<_> = (1..=20).map(|number| Call::new(&fixture, hosts, number)).collect();
    let ports: BTreeSet<_> = calls.iter().map(|call| call.agent.bridge.port()).collect();
    assert!(ports.len() <= 4, "{ports:?}");
    let meta_ports: BTreeSet<_> = calls.iter().map(|call| call.customer.bridge.port()).collect();
    assert_eq!(meta_ports.len(), 20, "toward Meta each leg has a port of its own");
    for _ in 0..3 {
        calls.iter_mut().for_each(Call::talk);
    }
    assert!(calls.iter().all(Call::heard_nobody_else));
    assert_eq!(fixture.plane.totals().strangers, 0);
}

#[test]
fn both_versions_of_ip_carry_calls_with_shared_and_own_ports() {
    let side = |ports| {
        let address = IpAddr::V6(Ipv6Addr::LOCALHOST);
        MediaSide { bind: address, advertised: address, ports }
    };
    let (meta, agents) = (side(25_000..=25_099), side(25_100..=25_199));
    let v6 = MediaNetConfig { meta, agents, threads: 2, ..config(51, 20_000..=20_099) };
    let hosts = [IpAddr::V6(Ipv6Addr::LOCALHOST); 2];
    for (config, hosts) in
        [(v6, hosts), (config(51, 20_000..=20_099), [host(51, Side::Meta), host(51, Side::Agents)])]
    {
        let fixture = Fixture::new(config);
        let mut calls: Vec<_> = (1..=12).map(|number| Call::new(&fixture, hosts, number)).collect();
        calls.iter_mut().for_each(Call::talk);
        assert!(calls.iter().all(Call::heard_nobody_else));
        let totals = fixture.plane.totals();
        assert_eq!((totals.strangers, totals.unsent, totals.oversized), (0, 0, 0));
    }
}

/// Legs enough that the first and the last are behind one port.
fn crowd(fixture: &Fixture) -> (LegId, LegId, SocketAddr) {
    let first = leg(1, 1);
    let port = fixture.open_shared(first);
    let others: Vec<_> =
        (2..=5).map(|number| (leg(number, 1), fixture.open_shared(leg(number, 1)))).collect();
    let (last, _) = others.into_iter().rfind(|(_, at)| *at == port).expect("ports are shared in turn");
    (first, last, port)
}

/// Who can do this: a PBX that signals another call's address, to hear what is meant for it.
#[test]
fn an_address_has_one_leg_at_a_time() {
    let fixture = Fixture::new(config(52, 20_000..=20_099));
    let (first, last, port) = crowd(&fixture);
    let mut peer = Peer::new(host(52, Side::Agents), port, None);
    fixture.send(Command::Configure(Box::new(peer.setup(first, Side::Agents, None))));
    fixture.send(Command::Configure(Box::new(peer.setup(last, Side::Agents, None))));
    assert_eq!(fixture.event(), Event::SetupFailed { leg: last, why: SetupRefused::AddressTaken });
    // Again for the leg that has it, as a re-INVITE does.
    fixture.send(Command::Configure(Box::new(peer.setup(first, Side::Agents, None))));
    peer.say(&[0xf8, 1]);
    assert_eq!(fixture.event(), Event::FirstPacket { leg: first });

    fixture.close(first.call);
    fixture.send(Command::Configure(Box::new(peer.setup(last, Side::Agents, None))));
    fixture.settle();
    peer.say(&[0xf8, 2]);
    assert_eq!(fixture.event(), Event::FirstPacket { leg: last });
}

#[test]
fn a_peer_that_moves_is_heard_from_its_new_address_alone() {
    let fixture = Fixture::new(config(53, 20_000..=20_099));
    let mut call = Call::new(&fixture, [host(53, Side::Meta), host(53, Side::Agents)], 1);
    call.talk();
    let mut moved = Peer::new(host(53, Side::Agents), call.agent.bridge, None);
    moved.ssrc += 1;
    let mut refused = moved.setup(leg(1, 1), Side::Agents, SUITE);
    if let setu_media::Crypto::Srtp { send, .. } = &mut refused.crypto {
        *send = setu_model::Secret::new([1, 2, 3].into());
    }
    fixture.send(Command::Configure(Box::new(refused)));
    let why = fixture.wait_for(|event| {
        let Event::SetupFailed { why, .. } = event else { return None };
        Some(why)
    });
    assert_eq!(why, SetupRefused::BadKey);
    call.talk();

    fixture.send(Command::Configure(Box::new(moved.setup(leg(1, 1), Side::Agents, None))));
    fixture.settle();
    let mut old = std::mem::replace(&mut call.agent, moved);
    call.talk();
    old.say(&[0xf8, b'o']);
    while fixture.plane.totals().strangers == 0 {
        fixture.settle();
    }
    call.talk();
    assert!(call.heard_nobody_else());
}

#[test]
fn reports_beside_a_shared_port_find_their_leg_too() {
    let fixture = Fixture::new(config(54, 20_000..=20_099));
    let mut agent = Peer::new(host(54, Side::Agents), fixture.open_shared(leg(1, 1)), None);
    let rtcp = UdpSocket::bind((host(54, Side::Agents), 0)).unwrap();
    rtcp.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let mut setup = agent.setup(leg(1, 1), Side::Agents, None);
    setup.remote_rtcp = Some(rtcp.local_addr().unwrap());
    setup.profile.rtcp_interval = Duration::from_millis(40);
    fixture.send(Command::Configure(Box::new(setup)));
    fixture.send(Command::Start { leg: leg(1, 1) });
    let (report, from) = agent.report(Some(&rtcp));
    assert_eq!((from.ip(), from.port()), (agent.bridge.ip(), agent.bridge.port() + 1));
    let first = Compound::parse(&report).unwrap().packets().next();
    assert!(matches!(first, Some(Packet::SenderReport(..))), "{first:?}");

    rtcp.send_to(&agent.seal_goodbye(), from).unwrap();
    let misplaced = agent.seal_goodbye();
    agent.socket.send_to(&misplaced, from).unwrap();
    while fixture.plane.totals().received < 2 {
        fixture.settle();
    }
    assert_eq!(fixture.plane.totals().strangers, 1, "the one from the RTP port");
}

#[test]
fn shared_ports_stay_while_legs_come_and_go() {
    let fixture = Fixture::new(config(55, 20_000..=20_009));
    for number in 0..200 {
        fixture.open_shared(leg(number, 1));
        if number % 3 == 0 {
            fixture.close(call(number));
        }
    }
    let totals = fixture.plane.totals();
    assert_eq!((totals.legs, totals.busy_ports), (133, 0), "five pairs of ports are enough for any number");
    // Four are shared; the fifth is left for a leg of its own.
    fixture.open(leg(1_000, 1), Side::Agents);
}

//! Ports: who gets which, for how long, and that none is lost.

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use setu_media::{Command, Event, OpenFailure};
use setu_media_net::{MediaPlane, SpawnError};
use setu_model::Side;
use support::{Fixture, PATIENCE, call, config, host, leg};

#[test]
fn each_leg_gets_an_even_port_of_its_side_and_peers_are_told_the_advertised_address() {
    let mut config = config(1, 20_001..=20_008);
    config.meta.advertised = "203.0.113.7".parse().unwrap();
    let fixture = Fixture::new(config);
    let meta = fixture.open(leg(1, 0), Side::Meta);
    let agent = fixture.open(leg(1, 1), Side::Agents);
    assert_eq!(meta, "203.0.113.7:20002".parse::<SocketAddr>().unwrap());
    assert_eq!((agent.ip(), agent.port()), (host(1, Side::Agents), 20_002));
    let bound = UdpSocket::bind((host(1, Side::Meta), meta.port()));
    assert!(bound.is_err(), "the port is ours, on the address bound");
    assert_eq!(fixture.plane.totals().legs, 2);
    assert_eq!(fixture.plane.totals().calls, 1);
}

#[test]
fn a_side_without_a_free_port_refuses_the_leg_only() {
    let fixture = Fixture::new(config(2, 20_000..=20_003));
    fixture.open(leg(1, 0), Side::Meta);
    fixture.open(leg(2, 0), Side::Meta);
    fixture.send(Command::Open { leg: leg(3, 0), side: Side::Meta });
    assert_eq!(fixture.event(), Event::OpenFailed { leg: leg(3, 0), why: OpenFailure::NoFreePort });
    fixture.open(leg(3, 0), Side::Agents);
    fixture.close(call(1));
    fixture.open(leg(3, 1), Side::Meta);
}

#[test]
fn a_leg_is_opened_once() {
    let fixture = Fixture::new(config(3, 20_000..=20_099));
    fixture.open(leg(1, 0), Side::Meta);
    fixture.send(Command::Open { leg: leg(1, 0), side: Side::Meta });
    assert_eq!(fixture.event(), Event::OpenFailed { leg: leg(1, 0), why: OpenFailure::NoRoom });
    for index in 1..16 {
        fixture.open(leg(1, index), Side::Agents);
    }
    fixture.send(Command::Open { leg: leg(1, 16), side: Side::Agents });
    assert_eq!(fixture.event(), Event::OpenFailed { leg: leg(1, 16), why: OpenFailure::NoRoom });
    assert_eq!(fixture.plane.totals().legs, 16);
    fixture.close(call(1));
    assert_eq!(fixture.plane.totals().legs, 0);
}

#[test]
fn a_resting_port_is_given_to_nobody() {
    let mut config = config(4, 20_000..=20_001);
    config.quarantine = Duration::from_secs(3_600);
    let fixture = Fixture::new(config);
    fixture.open(leg(1, 0), Side::Meta);
    fixture.close(call(1));
    fixture.send(Command::Open { leg: leg(2, 0), side: Side::Meta });
    assert_eq!(fixture.event(), Event::OpenFailed { leg: leg(2, 0), why: OpenFailure::NoFreePort });
}

#[test]
fn a_port_comes_back_after_its_quarantine() {
    let mut config = config(5, 20_000..=20_001);
    config.quarantine = Duration::from_millis(50);
    let fixture = Fixture::new(config);
    fixture.open(leg(1, 0), Side::Meta);
    let released = Instant::now();
    fixture.close(call(1));
    loop {
        fixture.send(Command::Open { leg: leg(2, 0), side: Side::Meta });
        if let Event::Opened { local, .. } = fixture.event() {
            break assert_eq!(local.port(), 20_000);
        }
        assert!(released.elapsed() < PATIENCE, "the port never came back");
    }
    assert!(released.elapsed() >= Duration::from_millis(50));
}

#[test]
fn a_port_taken_by_another_program_is_passed_over() {
    let _other = UdpSocket::bind((host(6, Side::Meta), 20_000)).unwrap();
    let fixture = Fixture::new(config(6, 20_000..=20_005));
    assert_eq!(fixture.open(leg(1, 0), Side::Meta).port(), 20_002);
    assert_eq!(fixture.plane.totals().busy_ports, 1);
}

#[test]
fn threads_share_calls_and_ports() {
    let mut config = config(7, 20_000..=20_063);
    config.threads = 3;
    config.pinned = true;
    let fixture = Fixture::new(config);
    let mut ports: Vec<_> = (0..30).map(|number| fixture.open(leg(number, 0), Side::Meta).port()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 30);
    assert_eq!(fixture.plane.totals().calls, 30);
    for number in 0..30 {
        fixture.close(call(number));
    }
    assert_eq!(fixture.plane.totals().calls, 0);
}

#[test]
fn a_configuration_that_cannot_work_starts_nothing() {
    let spawn = |config| MediaPlane::spawn(config, crossbeam_channel::bounded(1).0, |_| {}).map(drop);
    let mut none = config(8, 20_000..=20_003);
    none.threads = 0;
    assert!(matches!(spawn(none), Err(SpawnError::NoThreads)));

    let mut few = config(8, 20_000..=20_003);
    few.threads = 3;
    assert!(matches!(spawn(few), Err(SpawnError::TooFewPorts { side: Side::Meta })));

    let mut overlap = config(8, 20_000..=20_003);
    overlap.agents.bind = overlap.meta.bind;
    assert!(matches!(spawn(overlap), Err(SpawnError::Overlap)));

    let mut elsewhere = config(8, 20_000..=20_003);
    elsewhere.agents.bind = "192.0.2.1".parse().unwrap();
    let refused = spawn(elsewhere);
    assert!(matches!(refused, Err(SpawnError::Address { side: Side::Agents, .. })), "{refused:?}");
}

//! Two endpoints on a pipe that loses, delays, repeats and reorders: whatever happens, both agree that the call is
//! over, each is told once, and nothing is left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use setu_model::{Entropy, Now, SeededEntropy, Side};

use super::peer::{arrival, config, invite_request, start};
use crate::endpoint::{Endpoint, Event, Output, SessionId};
use crate::{Arrival, Hop, Message, Target, Transport};

/// One end: an endpoint, its application, and what that was told.
struct End {
    endpoint: Endpoint,
    sessions: BTreeSet<SessionId>,
    over: BTreeMap<SessionId, u32>,
    confirmed: u32,
}

/// Both ends, and what is under way between them.
struct World {
    now: Now,
    ends: [End; 2],
    chance: SeededEntropy,
    loss_percent: u32,
    transport: Transport,
    /// Messages by when they arrive, in milliseconds; the count keeps them apart.
    wire: BTreeMap<(u128, u64), (usize, Bytes)>,
    sent: u64,
    elapsed_ms: u128,
    /// Whether the applications have hung up: a call that arrives now is refused at once.
    closing: bool,
}

impl World {
    fn new(seed: u64, transport: Transport) -> Self {
        let now = start();
        let mut chance = SeededEntropy::new(seed ^ 0x5eed);
        let end = |n: u64| {
            let mut config = config();
            config.agents.host = address(n).ip().to_string();
            let endpoint = Endpoint::new(config, Box::new(SeededEntropy::new(seed * 2 + n)), now);
            End { endpoint, sessions: BTreeSet::new(), over: BTreeMap::new(), confirmed: 0 }
        };
        let loss_percent = if transport.is_reliable() { 0 } else { chance.next_u32() % 40 };
        Self {
            now,
            ends: [end(0), end(1)],
            chance,
            loss_percent,
            transport,
            wire: BTreeMap::new(),
            sent: 0,
            elapsed_ms: 0,
            closing: false,
        }
    }

    fn roll(&mut self, sides: u32) -> u32 {
        self.chance.next_u32() % sides
    }

    /// How the end `to` sees what the other sends.
    fn arrival_at(&self, to: usize) -> Arrival {
        let from = address(1 - to as u64);
        arrival(1, self.transport, Side::Agents, &from.to_string())
    }

    /// Puts a message on the wire, perhaps twice, perhaps not at all.
    fn carry(&mut self, from: usize, message: &Message) {
        let copies = if self.transport.is_reliable() { 1 } else { 1 + u32::from(self.roll(20) == 0) };
        for _ in 0..copies {
            if self.roll(100) < self.loss_percent {
                continue;
            }
            let delay_ms = if self.transport.is_reliable() { 5 } else { 1 + self.roll(400) };
            self.sent += 1;
            self.wire.insert(
                (self.elapsed_ms + u128::from(delay_ms), self.sent),
                (1 - from, message.as_bytes().clone()),
            );
        }
    }

    /// Drains an end: messages go on the wire, events to its application.
    fn drain(&mut self, at: usize) {
        while let Some(output) = self.ends[at].endpoint.poll_output() {
            match output {
                Output::Send(transmit) => {
                    if matches!(transmit.target, Target::Hop(_)) {
                        let (flow, remote) = (self.arrival_at(at).flow, address(1 - at as u64));
                        self.ends[at].endpoint.handle_bound(transmit.token, flow, remote, self.now);
                    }
                    self.carry(at, &transmit.message);
                }
                Output::Event(event) => self.react(at, *event),
                Output::Keep(_) => {}
                Output::Close(_) => panic!("no stranger here"),
            }
        }
    }

    /// The application: answers, refuses, changes its mind.
    fn react(&mut self, at: usize, event: Event) {
        let now = self.now;
        let roll = if self.closing { 0 } else { self.roll(100) };
        let end = &mut self.ends[at];
        match event {
            Event::Invited { session, .. } => {
                end.sessions.insert(session);
                let sdp = Bytes::from_static(b"v=0\r\n");
                match roll {
                    0..20 => end.endpoint.refuse(session, 486, None, &[], now).unwrap(),
                    20..70 => end.endpoint.answer(session, sdp, &[], now).unwrap(),
                    _ => end.endpoint.ring(session, 180, None, now).unwrap(),
                }
            }
            Event::Reoffered { session, .. } if roll < 70 => {
                end.endpoint.reoffer_accept(session, Bytes::from_static(b"v=1\r\n"), now).unwrap();
            }
            Event::Reoffered { session, .. } => end.endpoint.reoffer_reject(session, 488, now).unwrap(),
            Event::Refused { session, .. } | Event::Ended { session, .. } => {
                *end.over.entry(session).or_default() += 1;
            }
            Event::Acked { .. } | Event::Answered { .. } => end.confirmed += 1,
            _ => {}
        }
    }

    /// Something an application does out of the blue.
    fn meddle(&mut self) {
        let at = self.roll(2) as usize;
        let (what, now) = (self.roll(4), self.now);
        let end = &mut self.ends[at];
        for session in end.sessions.clone() {
            // Whatever the session is doing, a command is carried out or refused.
            let _ = match what {
                0 => end.endpoint.hang_up(session, &[], now),
                1 => end.endpoint.reoffer(session, Bytes::from_static(b"v=2\r\n"), now),
                2 => end.endpoint.answer(session, Bytes::from_static(b"v=0\r\n"), &[], now),
                _ => end.endpoint.ring(session, 183, None, now),
            };
        }
        self.drain(at);
    }

    /// Moves to the next message or timer, at most `most_ms` on.
    fn step(&mut self, most_ms: u128) {
        let timers = self.ends.iter().filter_map(|end| end.endpoint.poll_timeout());
        let timer_ms = timers
            .map(|(at, _)| {
                self.elapsed_ms + at.saturating_duration_since(self.now.mono).as_micros().div_ceil(1_000)
            })
            .min();
        let wire_ms = self.wire.keys().next().map(|(at, _)| *at);
        let next = [timer_ms, wire_ms].into_iter().flatten().min().unwrap_or(u128::MAX);
        let next = next.min(self.elapsed_ms + most_ms).max(self.elapsed_ms);
        self.now = self.now.after(Duration::from_millis((next - self.elapsed_ms) as u64));
        self.elapsed_ms = next;
        while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= next) {
            let (to, bytes) = entry.remove();
            let arrival = self.arrival_at(to);
            self.ends[to].endpoint.handle_received(&arrival, Message::parse(bytes).unwrap(), self.now);
            self.drain(to);
        }
        for at in [0, 1] {
            self.ends[at].endpoint.handle_timeout(self.now);
            self.drain(at);
        }
    }
}

fn address(end: u64) -> std::net::SocketAddr {
    format!("198.51.100.{}:5060", end + 1).parse().unwrap()
}

fn call(seed: u64, transport: Transport) -> World {
    let mut world = World::new(seed, transport);
    let mut request = invite_request();
    request.target = Target::Hop(Hop {
        side: Side::Agents,
        transport,
        host: address(1).ip().to_string(),
        port: Some(5060),
    });
    request.request_uri = "sip:100@198.51.100.2".to_owned();
    request.session_timer = world.roll(2) == 0;
    let now = world.now;
    let session = world.ends[0].endpoint.invite(request, now).unwrap();
    world.ends[0].sessions.insert(session);
    world.drain(0);
    for _ in 0..world.roll(12) {
        let until = world.elapsed_ms + u128::from(world.roll(4_000));
        while world.elapsed_ms < until {
            let left = until - world.elapsed_ms;
            world.step(left);
        }
        world.meddle();
    }
    // In the end somebody hangs up, or the called party never answers.
    world.closing = true;
    let now = world.now;
    for at in [0, 1] {
        let end = &mut world.ends[at];
        for session in end.sessions.clone() {
            let _ = end.endpoint.hang_up(session, &[], now);
        }
        world.drain(at);
    }
    let patience_ms = world.elapsed_ms + 600_000;
    while world.elapsed_ms < patience_ms && !world.ends.iter().all(|end| end.endpoint.is_idle()) {
        world.step(patience_ms);
    }
    world
}

fn check(seed: u64, transport: Transport) -> u32 {
    let world = call(seed, transport);
    for (at, end) in world.ends.iter().enumerate() {
        assert!(end.endpoint.is_idle(), "seed {seed} {transport}: end {at} keeps {:?}", end.endpoint.sizes());
        for session in &end.sessions {
            assert_eq!(end.over.get(session), Some(&1), "seed {seed} {transport}: end {at} {session:?}");
        }
        assert_eq!(end.over.len(), end.sessions.len(), "seed {seed} {transport}: end {at}");
    }
    world.ends.iter().map(|end| end.confirmed).sum()
}

#[test]
fn both_ends_of_a_call_agree_that_it_is_over_whatever_the_network_does() {
    let confirmed: u32 = (0..2_000).map(|seed| check(seed, Transport::Udp)).sum();
    assert!(confirmed > 1_000, "most calls are answered: {confirmed}");
}

#[test]
fn calls_over_streams_end_without_a_single_retransmission_but_of_2xx() {
    for seed in 0..500 {
        check(seed, Transport::Tcp);
    }
}

#[test]
fn the_same_seed_gives_the_same_call() {
    let trace = |seed| {
        let world = call(seed, Transport::Udp);
        (world.elapsed_ms, world.sent, world.ends.map(|end| end.endpoint.counters()))
    };
    for seed in [3, 17, 404] {
        assert_eq!(trace(seed), trace(seed));
    }
}

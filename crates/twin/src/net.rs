//! A seeded network in virtual time: it delays, loses, doubles and reorders datagrams, and delays streams.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use setu_model::{Entropy, Now, SeededEntropy};

use crate::io::{Closed, ConnId, Output, Party, StreamFacts, Transport};

/// What the way between two parties does to what travels on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Link {
    /// One-way delay in milliseconds, of datagrams and streams.
    pub delay_ms: u32,
    /// A random delay of datagrams on top, up to this, in milliseconds. It reorders them.
    pub jitter_ms: u32,
    /// Datagrams lost, in per cent, 0 to 100. Streams lose nothing.
    pub loss_percent: u8,
    /// Datagrams delivered twice, in per cent, 0 to 100.
    pub duplicate_percent: u8,
}

impl Default for Link {
    fn default() -> Self {
        Self { delay_ms: 10, jitter_ms: 0, loss_percent: 0, duplicate_percent: 0 }
    }
}

/// A party of a network, in the order of [`Network::attach`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(usize);

/// One line of what passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceLine {
    /// Milliseconds since the network began.
    pub at_ms: u64,
    /// The sending party.
    pub from: String,
    /// The receiving party.
    pub to: String,
    /// The first line of a SIP message, or what else it was.
    pub what: String,
}

/// Links parties in virtual time. The same seed and the same parties give the same run, to the byte.
pub struct Network {
    nodes: Vec<Node>,
    link: Link,
    links: BTreeMap<(NodeId, NodeId), Link>,
    entropy: SeededEntropy,
    began: Now,
    now: Now,
    queue: BTreeMap<(Instant, u64), Delivery>,
    queued: u64,
    listening: BTreeMap<SocketAddr, (NodeId, Transport)>,
    bound: BTreeMap<SocketAddr, NodeId>,
    ends: BTreeMap<(NodeId, ConnId), End>,
    accepted: u64,
    trace: Vec<TraceLine>,
    fingerprint: u64,
}

struct Node {
    name: String,
    ips: Vec<IpAddr>,
    hosts: Vec<String>,
    certified: Vec<String>,
}

/// One end of a stream.
#[derive(Debug, Clone, Copy)]
struct End {
    peer: (NodeId, ConnId),
    /// What is sent arrives no earlier than what was sent before.
    not_before: Instant,
}

enum Delivery {
    Opened { to: NodeId, conn: ConnId, facts: StreamFacts },
    Bytes { to: NodeId, conn: ConnId, bytes: Bytes },
    Closed { to: NodeId, conn: ConnId, why: Closed },
    Datagram { to: NodeId, local: SocketAddr, from: SocketAddr, bytes: Bytes },
}

impl Network {
    /// An empty network whose clocks stand at `began`.
    pub fn new(seed: u64, link: Link, began: Now) -> Self {
        Self {
            nodes: Vec::new(),
            link,
            links: BTreeMap::new(),
            entropy: SeededEntropy::new(seed),
            began,
            now: began,
            queue: BTreeMap::new(),
            queued: 0,
            listening: BTreeMap::new(),
            bound: BTreeMap::new(),
            ends: BTreeMap::new(),
            accepted: 0,
            trace: Vec::new(),
            fingerprint: FNV_OFFSET,
        }
    }

    /// Adds a party that has these addresses, and whose certificate covers these host names.
    ///
    /// Parties are handed to [`run_for`](Self::run_for) in the order in which they were attached.
    pub fn attach(&mut self, name: &str, ips: &[IpAddr], hosts: &[&str]) -> NodeId {
        let hosts: Vec<String> = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        self.nodes.push(Node { name: name.to_owned(), ips: ips.to_vec(), certified: hosts.clone(), hosts });
        NodeId(self.nodes.len() - 1)
    }

    /// Replaces the names that a party's certificate covers; none is a certificate nobody trusts.
    pub fn certify(&mut self, node: NodeId, hosts: &[&str]) {
        if let Some(node) = self.nodes.get_mut(node.0) {
            node.certified = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        }
    }

    /// Replaces the link from one party to another, in this direction only.
    pub fn set_link(&mut self, from: NodeId, to: NodeId, link: Link) {
        self.links.insert((from, to), link);
    }

    /// The time at the parties.
    pub const fn now(&self) -> Now {
        self.now
    }

    /// Cuts every stream between two parties; both ends learn of it.
    pub fn cut(&mut self, one: NodeId, other: NodeId) {
        let pairs = self.ends.iter().filter(|((node, _), end)| {
            (*node == one && end.peer.0 == other) || (*node == other && end.peer.0 == one)
        });
        let gone: Vec<(NodeId, ConnId)> = pairs.map(|(end, _)| *end).collect();
        for (to, conn) in gone {
            self.ends.remove(&(to, conn));
            self.deliver(self.now.mono, Delivery::Closed { to, conn, why: Closed::Cut });
        }
    }

    /// What passed, up to [`Network::MOST_LINES`] lines.
    pub fn trace(&self) -> &[TraceLine] {
        &self.trace
    }

    /// A number over everything that passed, and when. Two runs that agree on it were the same.
    pub const fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The most lines of trace kept: a few hundred calls' signalling.
    pub const MOST_LINES: usize = 20_000;

    /// Lets the parties talk for `time`.
    ///
    /// # Panics
    ///
    /// If fewer or more parties are handed in than were attached, or if one of them asks for the same instant
    /// again and again: a loop in its timers.
    pub fn run_for(&mut self, parties: &mut [&mut dyn Party], time: Duration) {
        let until = self.now.mono + time;
        self.run_until(parties, |at| at > until);
        self.advance(until);
    }

    /// Lets the parties talk as long as `goes_on` says, looked at every 10 ms, for `most` at the longest. Returns
    /// whether it came to its end.
    ///
    /// # Panics
    ///
    /// As [`run_for`](Self::run_for).
    pub fn run_while(
        &mut self,
        parties: &mut [&mut dyn Party],
        most: Duration,
        mut goes_on: impl FnMut(&mut [&mut dyn Party]) -> bool,
    ) -> bool {
        let until = self.now.mono + most;
        while goes_on(parties) {
            if self.now.mono >= until {
                return false;
            }
            self.run_for(parties, LOOK);
        }
        true
    }

    fn run_until(&mut self, parties: &mut [&mut dyn Party], past: impl Fn(Instant) -> bool) {
        assert_eq!(parties.len(), self.nodes.len(), "one party for each attached node");
        let mut rounds = 0;
        loop {
            self.collect(parties);
            let timers = parties.iter().filter_map(|party| party.poll_timeout());
            let next = timers.chain(self.queue.keys().next().map(|(at, _)| *at)).min();
            let Some(next) = next.filter(|at| !past(*at)) else { return };
            rounds = if next <= self.now.mono { rounds + 1 } else { 0 };
            assert!(rounds < 100_000, "a party asks for the same instant for ever");
            self.advance(next);
            while let Some(entry) = self.queue.first_entry().filter(|e| e.key().0 <= self.now.mono) {
                let delivery = entry.remove();
                self.hand_over(parties, delivery);
                self.collect(parties);
            }
            for party in parties.iter_mut() {
                if party.poll_timeout().is_some_and(|at| at <= self.now.mono) {
                    party.handle_timeout(self.now);
                }
            }
        }
    }

    fn advance(&mut self, to: Instant) {
        self.now = self.began.after(to.max(self.now.mono).saturating_duration_since(self.began.mono));
    }

    fn collect(&mut self, parties: &mut [&mut dyn Party]) {
        let mut outputs = Vec::new();
        for (at, party) in parties.iter_mut().enumerate() {
            outputs.extend(std::iter::from_fn(|| party.poll_output()).map(|output| (NodeId(at), output)));
        }
        // Whoever listens at this moment can be reached at this moment.
        let (open, rest): (Vec<_>, Vec<_>) = outputs
            .into_iter()
            .partition(|(_, output)| matches!(output, Output::Listen { .. } | Output::BindUdp { .. }));
        for (from, output) in open.into_iter().chain(rest) {
            self.take(from, output);
        }
    }

    fn take(&mut self, from: NodeId, output: Output) {
        match output {
            Output::Listen { local, transport } => drop(self.listening.insert(local, (from, transport))),
            Output::BindUdp { local } => drop(self.bound.insert(local, from)),
            Output::Connect { conn, transport, host, port, alpn } => {
                self.connect(from, conn, transport, &host, port, alpn)
            }
            Output::SendStream { conn, bytes } => {
                if let Some((at, to)) = self.stream_arrival(from, conn) {
                    self.note(from, to.0, &bytes);
                    self.deliver(at, Delivery::Bytes { to: to.0, conn: to.1, bytes });
                }
            }
            Output::CloseStream { conn } => {
                if let Some((at, to)) = self.stream_arrival(from, conn) {
                    self.ends.remove(&(from, conn));
                    self.ends.remove(&to);
                    self.deliver(at, Delivery::Closed { to: to.0, conn: to.1, why: Closed::ByPeer });
                }
            }
            Output::SendUdp { from: source, to, bytes } => self.send_datagram(from, source, to, &bytes),
        }
    }

    fn connect(
        &mut self,
        from: NodeId,
        conn: ConnId,
        transport: Transport,
        host: &str,
        port: u16,
        alpn: Vec<String>,
    ) {
        let host = host.to_ascii_lowercase();
        let ip: Option<IpAddr> = host.parse().ok();
        let found = self.nodes.iter().position(|node| match ip {
            Some(ip) => node.ips.contains(&ip),
            None => node.hosts.contains(&host),
        });
        let remote = found.and_then(|at| {
            let node = self.nodes.get(at)?;
            let remote = SocketAddr::new(ip.or_else(|| node.ips.first().copied())?, port);
            Some((NodeId(at), remote, node.certified.contains(&host)))
        });
        let listener = remote.and_then(|(to, remote, certified)| {
            let (node, speaks) = *self.listening.get(&remote)?;
            (node == to && speaks == transport).then_some((to, remote, certified))
        });
        let Some((to, remote, certified)) = listener else {
            let at = self.now.mono + self.delay(from, from);
            self.deliver(at, Delivery::Closed { to: from, conn, why: Closed::Unreachable });
            return;
        };
        let (there, back) = (self.now.mono + self.delay(from, to), self.delay(to, from));
        if transport == Transport::Tls && !certified {
            self.deliver(there + back, Delivery::Closed { to: from, conn, why: Closed::BadCertificate });
            return;
        }
        self.accepted += 1;
        let theirs = ConnId::accepted(self.accepted);
        let port = 32_768 + (self.accepted % 28_000) as u16;
        let ip = self.nodes.get(from.0).and_then(|n| n.ips.first().copied()).unwrap_or(remote.ip());
        let local = SocketAddr::new(ip, port);
        self.ends.insert((from, conn), End { peer: (to, theirs), not_before: there });
        self.ends.insert((to, theirs), End { peer: (from, conn), not_before: there + back });
        let facts = StreamFacts { local: remote, remote: local, transport, alpn };
        self.deliver(there, Delivery::Opened { to, conn: theirs, facts });
        let facts = StreamFacts { local, remote, transport, alpn: Vec::new() };
        self.deliver(there + back, Delivery::Opened { to: from, conn, facts });
    }

    /// When what is sent now arrives, and where.
    fn stream_arrival(&mut self, from: NodeId, conn: ConnId) -> Option<(Instant, (NodeId, ConnId))> {
        let to = self.ends.get(&(from, conn))?.peer;
        let at = self.now.mono + self.delay(from, to.0);
        let end = self.ends.get_mut(&(from, conn))?;
        end.not_before = end.not_before.max(at);
        Some((end.not_before, to))
    }

    fn send_datagram(&mut self, from: NodeId, source: SocketAddr, to: SocketAddr, bytes: &Bytes) {
        let Some(&node) = self.bound.get(&to) else { return };
        let link = *self.links.get(&(from, node)).unwrap_or(&self.link);
        self.note(from, node, bytes);
        let mut chance = |percent: u8| percent > 0 && self.entropy.next_u32() % 100 < u32::from(percent);
        if chance(link.loss_percent) {
            return;
        }
        let copies = if chance(link.duplicate_percent) { 2 } else { 1 };
        for _ in 0..copies {
            let jitter =
                if link.jitter_ms > 0 { self.entropy.next_u32() % (link.jitter_ms * 1_000 + 1) } else { 0 };
            let late =
                Duration::from_millis(u64::from(link.delay_ms)) + Duration::from_micros(u64::from(jitter));
            let delivery = Delivery::Datagram { to: node, local: to, from: source, bytes: bytes.clone() };
            self.deliver(self.now.mono + late, delivery);
        }
    }

    fn hand_over(&mut self, parties: &mut [&mut dyn Party], delivery: Delivery) {
        let now = self.now;
        let to = match &delivery {
            Delivery::Opened { to, .. }
            | Delivery::Bytes { to, .. }
            | Delivery::Closed { to, .. }
            | Delivery::Datagram { to, .. } => to.0,
        };
        let Some(party) = parties.get_mut(to) else { return };
        match delivery {
            Delivery::Opened { conn, facts, .. } => party.handle_stream_opened(conn, facts, now),
            Delivery::Bytes { conn, bytes, .. } => party.handle_stream_bytes(conn, &bytes, now),
            Delivery::Closed { conn, why, .. } => party.handle_stream_closed(conn, why, now),
            Delivery::Datagram { local, from, bytes, .. } => party.handle_udp(local, from, &bytes, now),
        }
    }

    fn delay(&self, from: NodeId, to: NodeId) -> Duration {
        Duration::from_millis(u64::from(self.links.get(&(from, to)).unwrap_or(&self.link).delay_ms))
    }

    fn deliver(&mut self, at: Instant, delivery: Delivery) {
        self.queued += 1;
        self.queue.insert((at, self.queued), delivery);
    }

    fn note(&mut self, from: NodeId, to: NodeId, bytes: &[u8]) {
        let at = self.now.mono.saturating_duration_since(self.began.mono);
        let place = [from.0 as u8, to.0 as u8];
        for byte in at.as_micros().to_be_bytes().iter().chain(&place).chain(bytes) {
            self.fingerprint = (self.fingerprint ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
        // Media would drown the signalling.
        if self.trace.len() < Self::MOST_LINES && bytes.first().is_some_and(u8::is_ascii_alphabetic) {
            let line = bytes.split(|b| *b == b'\r').next().unwrap_or_default();
            let name = |node: NodeId| self.nodes.get(node.0).map(|n| n.name.clone()).unwrap_or_default();
            let what = String::from_utf8_lossy(line).into_owned();
            let at_ms = at.as_millis() as u64;
            self.trace.push(TraceLine { at_ms, from: name(from), to: name(to), what });
        }
    }
}

/// How often [`Network::run_while`] looks.
const LOOK: Duration = Duration::from_millis(10);

/// FNV-1a, 64 bits.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

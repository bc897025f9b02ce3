//! The media plane in virtual time: a relay for each call, a pool of ports for each side, no sockets.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use setu_media::{
    Arrival, Channel, Coders, Command, Crypto, DtlsIdentity, Event, Handshake, HandshakeInput,
    HandshakeOutput, Job, OpenFailure, Packet, Relay, SetupRefused, Sink, Way,
};
use setu_model::{CallId, LegId, MediaQuality, Now, Side, TapFrame};
use setu_srtp::Suite;
use setu_twin::Output;

use crate::witness::IndexWitness;

/// Relays, ports, and whoever watches what is sent.
pub(crate) struct MediaPlane {
    sides: [Pool; 2],
    calls: BTreeMap<CallId, Call>,
    /// Run between the packets: a codec worker that always has time.
    coders: Coders,
    /// Which leg a bound port belongs to.
    owners: BTreeMap<SocketAddr, (LegId, Channel)>,
    keys: BTreeMap<LegId, (Suite, Vec<u8>)>,
    pub(crate) identity: DtlsIdentity,
    handshakes: BTreeMap<LegId, Handshake>,
    pub(crate) witness: IndexWitness,
    pub(crate) events: VecDeque<Event>,
    pub(crate) frames: VecDeque<TapFrame>,
    pub(crate) outputs: VecDeque<Output>,
}

struct Call {
    relay: Relay,
    legs: Vec<(LegId, Side, SocketAddr)>,
}

/// The ports of one side.
struct Pool {
    ip: IpAddr,
    total: usize,
    free: VecDeque<u16>,
    resting: VecDeque<(Instant, u16)>,
}

impl MediaPlane {
    /// How long a port rests.
    const QUARANTINE: Duration = Duration::from_secs(10);

    /// A plane with `pairs` pairs of ports on each side.
    pub(crate) fn new(meta: IpAddr, agents: IpAddr, pairs: u16) -> Self {
        let pool = |ip| {
            let free: VecDeque<u16> = (0..pairs).map(|n| 20_000 + 2 * n).collect();
            Pool { ip, total: free.len(), free, resting: VecDeque::new() }
        };
        Self {
            sides: [pool(meta), pool(agents)],
            calls: BTreeMap::new(),
            coders: Coders::new(10_000),
            owners: BTreeMap::new(),
            keys: BTreeMap::new(),
            identity: DtlsIdentity::generate().unwrap(),
            handshakes: BTreeMap::new(),
            witness: IndexWitness::default(),
            events: VecDeque::new(),
            frames: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    pub(crate) fn command(&mut self, command: Command, now: Now) {
        match command {
            Command::Open { leg, side } => return self.open(leg, side, now),
            Command::OpenShared { leg } => return self.open(leg, Side::Agents, now),
            _ => {}
        }
        let known = self.calls.get(&command.call()).is_some_and(|call| match &command {
            Command::CloseLeg { leg } => call.legs.iter().any(|(id, ..)| id == leg),
            _ => true,
        });
        if !known {
            return self.without_call(&command);
        }
        let (call, closing_leg, closes) = match &command {
            Command::Close { call } => (*call, None, true),
            Command::CloseLeg { leg } => (leg.call, Some(*leg), false),
            other => (other.call(), None, false),
        };
        if let Command::Configure(setup) = &command {
            if let Crypto::Srtp { suite, send, .. } = &setup.crypto {
                self.keys.insert(setup.leg, (*suite, send.reveal().to_vec()));
            }
            if setup.remote_rtcp.is_some() {
                self.open_rtcp(setup.leg);
            }
        }
        self.with(call, now, |relay, sink| relay.command(command, now.mono, sink));
        if closes {
            let legs = self.calls.remove(&call).map(|call| call.legs).unwrap_or_default();
            legs.into_iter().for_each(|(leg, side, local)| self.release(leg, side, local, now));
        } else if let Some(leg) = closing_leg
            && let Some(entry) = self.calls.get_mut(&call)
            && let Some(at) = entry.legs.iter().position(|(id, ..)| *id == leg)
        {
            let (leg, side, local) = entry.legs.remove(at);
            self.release(leg, side, local, now);
        }
    }

    /// Takes a datagram for one of the media ports. What comes to a closed one is gone.
    pub(crate) fn datagram(&mut self, local: SocketAddr, from: SocketAddr, bytes: &[u8], now: Now) {
        let Some(&(leg, channel)) = self.owners.get(&local) else { return };
        let mut buffer = bytes.to_vec();
        buffer.resize(bytes.len() + Relay::ROOM, 0);
        let arrival = Arrival { leg, channel, from };
        self.with(leg.call, now, |relay, sink| {
            relay.handle_packet(arrival, &mut buffer, bytes.len(), now.mono, sink)
        });
    }

    pub(crate) fn handle_timeout(&mut self, now: Now) {
        let mut coded = Vec::new();
        self.coders.handle_timeout(now.mono, |way, packet| coded.push(Coded::of(way, packet)));
        for it in coded {
            self.with(it.way.leg.call, now, |relay, sink| {
                relay.handle_coded(it.way, it.packet(), now.mono, sink)
            });
        }
        let due = |call: &Call| call.relay.poll_timeout().is_some_and(|at| at <= now.mono);
        let due: Vec<CallId> = self.calls.iter().filter(|(_, call)| due(call)).map(|(id, _)| *id).collect();
        for call in due {
            self.with(call, now, |relay, sink| relay.handle_timeout(now.mono, sink));
        }
        let due = |handshake: &Handshake| handshake.poll_timeout().is_none_or(|at| at <= now.mono);
        let due: Vec<LegId> = self.handshakes.iter().filter(|(_, h)| due(h)).map(|(leg, _)| *leg).collect();
        for leg in due {
            let Some(handshake) = self.handshakes.get_mut(&leg) else { continue };
            handshake.handle_timeout(now.mono);
            let over = handshake.poll_timeout().is_none();
            self.drain_handshake(leg, now);
            if over {
                self.handshakes.remove(&leg);
            }
        }
    }

    /// What the thread of the handshakes does, without the thread.
    fn errand(&mut self, leg: LegId, input: HandshakeInput, now: Now) {
        match input {
            HandshakeInput::Begin(setup) => {
                let handshake = Handshake::new(&self.identity, *setup, now.mono).unwrap();
                self.handshakes.insert(leg, handshake);
            }
            HandshakeInput::Datagram(datagram) => {
                if let Some(handshake) = self.handshakes.get_mut(&leg) {
                    handshake.handle(&datagram, now.mono);
                }
            }
            HandshakeInput::End => {
                self.handshakes.remove(&leg);
            }
        }
        self.drain_handshake(leg, now);
    }

    fn drain_handshake(&mut self, leg: LegId, now: Now) {
        while let Some(output) = self.handshakes.get_mut(&leg).and_then(Handshake::poll_output) {
            if let HandshakeOutput::Keys(keys) = &output {
                self.keys.insert(leg, (keys.suite, keys.send.reveal().to_vec()));
            }
            self.with(leg.call, now, |relay, sink| relay.handle_handshake(leg, output, now.mono, sink));
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let relays = self.calls.values().filter_map(|call| call.relay.poll_timeout());
        let handshakes = self.handshakes.values().filter_map(Handshake::poll_timeout);
        relays.chain(handshakes).chain(self.coders.poll_timeout()).min()
    }

    /// Says what is still taken.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> =
            self.calls.keys().map(|call| format!("call {call} still has a relay")).collect();
        if !self.coders.is_empty() {
            left.push(format!("{} coders are left", self.coders.len()));
        }
        for pool in &self.sides {
            let back = pool.free.len() + pool.resting.len();
            if back != pool.total {
                left.push(format!("{} of {} media ports came back to {}", back, pool.total, pool.ip));
            }
        }
        left.extend(self.handshakes.keys().map(|leg| format!("{leg} still has a handshake")));
        left.extend(self.owners.keys().map(|port| format!("{port} still has an owner")));
        left
    }

    fn with(&mut self, call: CallId, now: Now, run: impl FnOnce(&mut Relay, &mut Outlet<'_>)) {
        let Self { calls, coders, keys, witness, events, frames, outputs, .. } = self;
        let Some(Call { relay, legs }) = calls.get_mut(&call) else { return };
        let mut errands = Vec::new();
        let to = &mut errands;
        run(relay, &mut Outlet { legs, coders, now, keys, witness, events, frames, outputs, errands: to });
        for (leg, input) in errands {
            self.errand(leg, input, now);
        }
    }

    fn open(&mut self, leg: LegId, side: Side, now: Now) {
        let full =
            |call: &Call| call.legs.len() >= Relay::LEGS || call.legs.iter().any(|(known, ..)| *known == leg);
        let pool = &mut self.sides[side as usize];
        let why = match self.calls.get(&leg.call) {
            Some(call) if full(call) => Err(OpenFailure::NoRoom),
            Some(_) | None => pool.take(now.mono).ok_or(OpenFailure::NoFreePort),
        };
        let port = match why {
            Ok(port) => port,
            Err(why) => return self.events.push_back(Event::OpenFailed { leg, why }),
        };
        let local = SocketAddr::new(pool.ip, port);
        let call = self
            .calls
            .entry(leg.call)
            .or_insert_with(|| Call { relay: Relay::new(leg.call, now), legs: Vec::new() });
        call.legs.push((leg, side, local));
        self.owners.insert(local, (leg, Channel::Rtp));
        self.outputs.push_back(Output::BindUdp { local });
        self.with(leg.call, now, |relay, sink| relay.command(Command::Open { leg, side }, now.mono, sink));
        self.events.push_back(Event::Opened { leg, local });
    }

    fn open_rtcp(&mut self, leg: LegId) {
        let legs = self.calls.get(&leg.call).map(|call| call.legs.as_slice()).unwrap_or_default();
        let Some((_, _, local)) = legs.iter().find(|(id, ..)| *id == leg) else { return };
        let above = SocketAddr::new(local.ip(), local.port() + 1);
        if self.owners.insert(above, (leg, Channel::Rtcp)).is_none() {
            self.outputs.push_back(Output::BindUdp { local: above });
        }
    }

    fn release(&mut self, leg: LegId, side: Side, local: SocketAddr, now: Now) {
        self.owners.retain(|_, (owner, _)| *owner != leg);
        self.keys.remove(&leg);
        self.sides[side as usize].resting.push_back((now.mono + Self::QUARANTINE, local.port()));
    }

    /// Answers what is meant for a call or leg without media, as the packet threads do.
    fn without_call(&mut self, command: &Command) {
        let why = SetupRefused::UnknownLeg;
        self.events.extend(match command {
            Command::Close { call } => Some(Event::Closed { call: *call, quality: Vec::new() }),
            Command::CloseLeg { leg } => {
                Some(Event::LegClosed { leg: *leg, quality: MediaQuality::default() })
            }
            Command::Configure(setup) => Some(Event::SetupFailed { leg: setup.leg, why }),
            Command::Bridge { one: leg, .. } => Some(Event::SetupFailed { leg: *leg, why }),
            _ => None,
        });
    }
}

impl Pool {
    fn take(&mut self, now: Instant) -> Option<u16> {
        while let Some((_, port)) = self.resting.pop_front_if(|(until, _)| *until <= now) {
            self.free.push_back(port);
        }
        self.free.pop_front()
    }
}

/// What coders made.
struct Coded {
    way: Way,
    packet: Packet<'static>,
    payload: Vec<u8>,
}

impl Coded {
    fn of(way: Way, packet: Packet<'_>) -> Self {
        Self { way, payload: packet.payload.to_vec(), packet: Packet { payload: &[], ..packet } }
    }

    fn packet(&self) -> Packet<'_> {
        Packet { payload: &self.payload, ..self.packet }
    }
}

/// Where a relay's packets, frames and events go.
struct Outlet<'p> {
    legs: &'p [(LegId, Side, SocketAddr)],
    coders: &'p mut Coders,
    now: Now,
    keys: &'p BTreeMap<LegId, (Suite, Vec<u8>)>,
    witness: &'p mut IndexWitness,
    events: &'p mut VecDeque<Event>,
    frames: &'p mut VecDeque<TapFrame>,
    outputs: &'p mut VecDeque<Output>,
    errands: &'p mut Vec<(LegId, HandshakeInput)>,
}

impl Sink for Outlet<'_> {
    fn transmit(&mut self, leg: LegId, channel: Channel, to: SocketAddr, datagram: &[u8]) {
        let Some((.., local)) = self.legs.iter().find(|(id, ..)| *id == leg) else { return };
        let from = SocketAddr::new(local.ip(), local.port() + u16::from(channel == Channel::Rtcp));
        // Handshakes and checks go on beside the stream (RFC 7983).
        let is_media = datagram.first().is_some_and(|first| first >> 6 == 2);
        if let Some((suite, key)) = self.keys.get(&leg).filter(|_| is_media) {
            self.witness.sent(*suite, key, datagram);
        }
        self.outputs.push_back(Output::SendUdp { from, to, bytes: Bytes::copy_from_slice(datagram) });
    }

    fn code(&mut self, job: Job<'_>) {
        self.coders.handle(&job, self.now.mono);
    }

    fn tap(&mut self, frame: TapFrame) {
        self.frames.push_back(frame);
    }

    fn handshake(&mut self, leg: LegId, input: HandshakeInput) {
        self.errands.push((leg, input));
    }

    fn event(&mut self, event: Event) {
        self.events.push_back(event);
    }
}

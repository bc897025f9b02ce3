//! The relay of one call: its legs, and who feeds whom.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use setu_model::limits::OPUS_PACKET_BYTES;
use setu_model::{CallId, LegId, Now, Side, TapChannel, TapFrame};
use setu_srtp::TelephoneEvent;
use setu_srtp::demux::{self, Kind};
use setu_srtp::rtp::HEADER_LEN;

use crate::clip::MOST_CLIP_BYTES;
use crate::feed::{Feed, Route};
use crate::inbound::{Meaning, NOISE_PT};
use crate::leg::{Agreed, Clock, Leg, Taken};
use crate::outbound::Parting;
use crate::path::Held;
use crate::stream::{Arrived, Source, Stamp};
use crate::telephone::{Key, KeyNews};
use crate::{
    Arrival, Channel, Clip, Command, Direction, Event, HandshakeOutput, Job, Kind as Coded, LegSetup,
    OpenFailure, Packet, Play, SetupRefused, Sink, Way,
};

/// The media of one call. Owned by one worker; **handle, then wait**: every method that can produce something is
/// handed the [`Sink`] it goes to, and [`poll_timeout`](Self::poll_timeout) tells when to come back.
pub struct Relay {
    call: CallId,
    clock: Clock,
    /// In the order of their indexes.
    legs: Vec<Leg>,
    tap: Option<Tap>,
    /// Tells the ways through coders apart.
    generation: u32,
}

/// The open tap on the Meta leg.
#[derive(Debug, Clone, Copy)]
struct Tap {
    call: CallId,
    opened: Instant,
}

impl Relay {
    /// The most legs one call has at a time: the originator, and the contacts an agent registered.
    pub const LEGS: usize = 16;

    /// How many bytes a packet buffer needs beyond the datagram in it: plain RTP comes in, SRTP with the longest tag
    /// goes out.
    pub const ROOM: usize = 16;

    /// Makes the media of a call without legs. `now` ties the RTCP clock to the wall clock.
    pub const fn new(call: CallId, now: Now) -> Self {
        Self { call, clock: Clock { base: now }, legs: Vec::new(), tap: None, generation: 0 }
    }

    /// Carries out a command of this call. [`Command::Open`] adds the leg and tells nothing if it worked: reserving
    /// an address and telling [`Event::Opened`] is the caller's part.
    pub fn command(&mut self, command: Command, now: Instant, sink: &mut impl Sink) {
        match command {
            Command::Open { leg, side } => self.open(leg, side, sink),
            Command::OpenShared { leg } => self.open(leg, Side::Agents, sink),
            Command::Configure(setup) => self.configure(*setup, now, sink),
            Command::Start { leg } => {
                if let Some(leg) = self.leg_mut(leg) {
                    leg.start(now);
                }
                // The first packet leaves at once, not with the next turn of the worker's clock.
                self.handle_timeout(now, sink);
            }
            Command::Bridge { one, other } => self.bridge(one, other, sink),
            Command::Unbridge { leg } => self.part(leg.index, sink),
            Command::Direct { leg, direction } => self.direct(leg, direction, now, sink),
            Command::Press { leg, digit, duration_ms } => self.press(leg, digit, duration_ms, now, sink),
            Command::Play { leg, clip, how } => self.play(leg, Some((clip, how)), now, sink),
            Command::StopPlaying { leg } => self.play(leg, None, now, sink),
            Command::Tap { call, on } => self.tap = on.then_some(Tap { call, opened: now }),
            Command::CloseLeg { leg } => self.close_leg(leg, now, sink),
            Command::Close { call } => {
                for leg in &mut self.legs {
                    leg.unfeed(sink);
                    leg.report(true, self.clock, now, sink);
                    leg.end_handshake(sink);
                }
                let quality = self.legs.drain(..).map(|leg| (leg.id, leg.quality())).collect();
                self.tap = None;
                sink.event(Event::Closed { call, quality });
            }
        }
    }

    /// Takes what a leg's handshake has to say, wherever it runs.
    pub fn handle_handshake(
        &mut self,
        leg: LegId,
        output: HandshakeOutput,
        now: Instant,
        sink: &mut impl Sink,
    ) {
        if let Some(leg) = self.leg_mut(leg) {
            leg.take_handshake(output, now, sink);
        }
        // The first packet leaves with the keys.
        self.handle_timeout(now, sink);
    }

    /// Takes the datagram in the first `len` bytes of `buffer`. The buffer should have [`Relay::ROOM`] more bytes than
    /// `len`; its content is used up.
    pub fn handle_packet(
        &mut self,
        arrival: Arrival,
        buffer: &mut [u8],
        len: usize,
        now: Instant,
        sink: &mut impl Sink,
    ) {
        let (clock, tap) = (self.clock, self.tap);
        let Ok(at) = self.find(arrival.leg) else { return };
        let Some(leg) = self.legs.get_mut(at) else { return };
        let kind = buffer.get(..len).map_or(Kind::Other, demux::classify);
        match (kind, arrival.channel) {
            (Kind::Rtp, Channel::Rtp) => {
                let Some(taken) = leg.take_rtp(arrival.from, buffer, len, now, sink) else { return };
                if let Some(tap) = tap.filter(|_| leg.is_tapped() && taken.meaning == Meaning::Audio) {
                    let payload = buffer.get(taken.at..taken.at + taken.len).unwrap_or_default();
                    let stamp =
                        Stamp { sequence: taken.extended.sequence, timestamp: taken.extended.timestamp };
                    tap.frame(TapChannel::Customer, stamp, payload, now, sink);
                }
                match taken.meaning {
                    Meaning::Audio | Meaning::Noise => self.forward(at, taken, buffer, now, sink),
                    Meaning::Event => {
                        let payload = buffer.get(taken.at..taken.at + taken.len).unwrap_or_default();
                        let news = leg.take_event(&taken, payload, now, sink);
                        self.forward_keys(at, news, Some(&taken), now, sink);
                    }
                }
            }
            (Kind::Rtcp, channel) => {
                leg.take_rtcp(arrival.from, channel, buffer.get_mut(..len).unwrap_or_default(), clock, now);
                leg.pass_loss(sink);
            }
            (Kind::Stun, Channel::Rtp) => {
                leg.take_stun(arrival.from, buffer.get(..len).unwrap_or_default(), now, sink);
                self.handle_timeout(now, sink);
            }
            (Kind::Dtls, Channel::Rtp) => {
                leg.take_dtls(arrival.from, buffer.get(..len).unwrap_or_default(), sink);
            }
            (Kind::Rtp | Kind::Stun | Kind::Dtls | Kind::Other, _) => leg.inbound.rejected += 1,
        }
    }

    /// Takes what a coder made of this call's packets. Of a way that is gone, it is dropped.
    pub fn handle_coded(&mut self, way: Way, packet: Packet<'_>, now: Instant, sink: &mut impl Sink) {
        let tap = self.tap;
        let Some(to) = self.leg_mut(way.leg) else { return };
        if !to.takes() || to.is_announced_to() {
            return;
        }
        let fed = to.agreed.as_ref().and_then(|agreed| agreed.feed.as_ref()).and_then(Feed::way);
        let Some(from) = to.partner.filter(|_| fed == Some(way)) else { return };
        let arrived = Arrived { sequence: packet.sequence, timestamp: packet.timestamp };
        let source = Source::coded(from, way);
        let mut hop = Hop { from, to, tap, now };
        let Some(payload_type) = hop.payload_type(packet.kind) else { return };
        hop.send_copy(Outgoing { source, arrived, marker: false, payload_type }, packet.payload, sink);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant, sink: &mut impl Sink) {
        for at in 0..self.legs.len() {
            let Some(leg) = self.legs.get_mut(at) else { return };
            leg.run_path(now, sink);
            self.send_held(at, now, sink);
        }
        self.handle_keys(now, sink);
        for leg in &mut self.legs {
            let Some(comfort) = leg.handle_timeout(self.clock, now, sink) else { continue };
            let mut buffer = [0; HEADER_LEN + MOST_CLIP_BYTES + Self::ROOM];
            let Some(frame) = buffer.get_mut(HEADER_LEN..) else { return };
            let len = leg.own_frame(frame, sink);
            if let Some(tap) = self.tap.filter(|_| leg.is_tapped()) {
                tap.frame(TapChannel::Agent, comfort.stamp, frame.get(..len).unwrap_or_default(), now, sink);
            }
            leg.send(comfort, &mut buffer, HEADER_LEN, len, now, sink);
        }
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is next due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.legs.iter().filter_map(Leg::poll_timeout).min()
    }

    /// Returns the addresses that a leg's peer signalled for RTP and, if it does not multiplex, for RTCP; `None` if the
    /// leg is not set up.
    pub fn signalled(&self, leg: LegId) -> Option<(SocketAddr, Option<SocketAddr>)> {
        let setup = &self.legs.get(self.find(leg).ok()?)?.agreed.as_ref()?.setup;
        Some((setup.remote, setup.remote_rtcp))
    }

    fn open(&mut self, id: LegId, side: Side, sink: &mut impl Sink) {
        match self.find(id) {
            Err(at) if self.legs.len() < Self::LEGS && id.call == self.call => {
                self.legs.insert(at, Leg::new(id, side));
            }
            Ok(_) | Err(_) => sink.event(Event::OpenFailed { leg: id, why: OpenFailure::NoRoom }),
        }
    }

    fn configure(&mut self, setup: LegSetup, now: Instant, sink: &mut impl Sink) {
        let id = setup.leg;
        let done = self.leg_mut(id).ok_or(SetupRefused::UnknownLeg).and_then(|leg| leg.configure(setup, now));
        match done {
            Ok(true) => self.refit(id.index, sink),
            Ok(false) => {}
            Err(why) => sink.event(Event::SetupFailed { leg: id, why }),
        }
        self.handle_timeout(now, sink);
    }

    fn bridge(&mut self, one: LegId, other: LegId, sink: &mut impl Sink) {
        if self.find(one).is_err() || self.find(other).is_err() || one == other {
            return sink.event(Event::SetupFailed { leg: other, why: SetupRefused::UnknownLeg });
        }
        for (leg, partner) in [(one, other), (other, one)] {
            if self.leg_mut(leg).is_some_and(|leg| leg.partner != Some(partner.index)) {
                self.part(leg.index, sink);
            }
        }
        for (leg, partner) in [(one, other), (other, one)] {
            if let Some(leg) = self.leg_mut(leg) {
                leg.partner = Some(partner.index);
            }
        }
        self.refit(one.index, sink);
    }

    /// Takes a leg and its partner apart; comfort frames take over on both.
    fn part(&mut self, index: u8, sink: &mut impl Sink) {
        let partner = self.legs.iter().find(|leg| leg.id.index == index).and_then(|leg| leg.partner);
        for leg in &mut self.legs {
            if leg.id.index == index || Some(leg.id.index) == partner {
                leg.partner = None;
                leg.unfeed(sink);
                if let Some(agreed) = &mut leg.agreed {
                    agreed.keys.release();
                }
            }
        }
    }

    /// Finds the ways between a leg and its partner, both directions, once both are set up.
    fn refit(&mut self, index: u8, sink: &mut impl Sink) {
        let Some((at, partner)) = self.pair(index) else { return };
        let Ok([one, other]) = self.legs.get_disjoint_mut([at, partner]) else { return };
        one.feed_from(other, &mut self.generation, sink);
        other.feed_from(one, &mut self.generation, sink);
    }

    fn direct(&mut self, id: LegId, direction: Direction, now: Instant, sink: &mut impl Sink) {
        let Some(leg) = self.leg_mut(id) else { return };
        let stops = leg.direction.receives() && !direction.receives();
        leg.direct(direction, now);
        let partner = leg.partner.filter(|_| stops);
        // A peer that stops to speak leaves its listener with comfort frames at once.
        let listener = self.legs.iter_mut().find(|leg| Some(leg.id.index) == partner);
        if let Some(agreed) = listener.and_then(|leg| leg.agreed.as_mut()) {
            agreed.outbound.release();
        }
        self.handle_timeout(now, sink);
    }

    fn close_leg(&mut self, id: LegId, now: Instant, sink: &mut impl Sink) {
        let Ok(at) = self.find(id) else { return };
        self.part(id.index, sink);
        let mut leg = self.legs.remove(at);
        leg.report(true, self.clock, now, sink);
        leg.end_handshake(sink);
        sink.event(Event::LegClosed { leg: id, quality: leg.quality() });
    }

    /// Passes a packet on to the partner of the leg it came from.
    fn forward(&mut self, at: usize, taken: Taken, buffer: &mut [u8], now: Instant, sink: &mut impl Sink) {
        let Some(index) = self.legs.get(at).map(|leg| leg.id.index) else { return };
        let Some((_, partner)) = self.pair(index) else { return };
        let Ok([from, to]) = self.legs.get_disjoint_mut([at, partner]) else { return };
        if !from.direction.receives()
            || !to.takes()
            || to.is_announced_to()
            || !(1..=OPUS_PACKET_BYTES).contains(&taken.len)
        {
            return;
        }
        let Some(setup) = from.agreed.as_ref().map(|agreed| &agreed.setup) else { return };
        let ways = Ways { from: setup, generation: &mut self.generation };
        Hop { from: index, to, tap: self.tap, now }.pass(taken, ways, buffer, sink);
    }

    /// Sends to a leg what its partner said while the way there was being found. Its time stamps tell when that was.
    fn send_held(&mut self, at: usize, now: Instant, sink: &mut impl Sink) {
        let tap = self.tap;
        let Some(to) = self.legs.get_mut(at) else { return };
        let (held, Some(from)) = (to.take_held(now), to.partner) else { return };
        for Held { packet, payload, arrived } in held {
            Hop { from, to, tap, now: arrived }.send_copy(packet, &payload, sink);
        }
    }

    /// Lets keys of a leg be pressed toward its partner. The packet that told of them is not passed on.
    fn forward_keys(
        &mut self,
        at: usize,
        news: KeyNews,
        taken: Option<&Taken>,
        now: Instant,
        sink: &mut impl Sink,
    ) {
        let Some(index) = self.legs.get(at).map(|leg| leg.id.index) else { return };
        let Some((_, partner)) = self.pair(index) else { return };
        let Ok([from, to]) = self.legs.get_disjoint_mut([at, partner]) else { return };
        let (speaks, listens) = (from.direction.receives(), to.may_send());
        let Some(agreed) = &mut to.agreed else { return };
        if let Some((taken, feed)) = taken.zip(agreed.feed.as_mut()) {
            let repacked = feed.pass_over(taken.header.sequence);
            let mut source = Source { leg: index, ssrc: taken.header.ssrc, repacked };
            if let Some(way) = feed.way() {
                source = Source::coded(index, way);
                sink.code(taken.job(way, Coded::Key, &[]));
            }
            let sequence = (!repacked).then_some(taken.header.sequence);
            agreed.outbound.stream.pass_over(source, sequence, now);
        }
        if speaks && listens && agreed.setup.dtmf.is_some() {
            agreed.keys.follow(news);
            to.send_key(now, sink);
        }
    }

    /// Does what is due for keys: most calls have none under way.
    fn handle_keys(&mut self, now: Instant, sink: &mut impl Sink) {
        for at in 0..self.legs.len() {
            let Some(leg) = self.legs.get_mut(at) else { return };
            if leg.inbound.keys.due().is_some_and(|due| due <= now) {
                let news = leg.key_timeout(now, sink);
                self.forward_keys(at, news, None, now, sink);
            }
            if let Some(leg) = self.legs.get_mut(at).filter(|leg| leg.key_due().is_some_and(|due| due <= now))
            {
                leg.send_key(now, sink);
            }
        }
    }

    fn play(&mut self, leg: LegId, sound: Option<(Arc<Clip>, Play)>, now: Instant, sink: &mut impl Sink) {
        if let Some(leg) = self.leg_mut(leg) {
            leg.play(sound);
        }
        self.handle_timeout(now, sink);
    }

    fn press(&mut self, leg: LegId, digit: char, duration_ms: u32, now: Instant, sink: &mut impl Sink) {
        let Some(code) = TelephoneEvent::code(digit) else { return };
        if let Some(leg) = self.leg_mut(leg) {
            leg.press(Key { code, volume: PRESSED_VOLUME, held_ms: duration_ms });
        }
        self.handle_timeout(now, sink);
    }

    /// Returns the positions of a leg and its partner.
    fn pair(&self, index: u8) -> Option<(usize, usize)> {
        let at = self.legs.iter().position(|leg| leg.id.index == index)?;
        let partner = self.legs.get(at)?.partner?;
        Some((at, self.legs.iter().position(|leg| leg.id.index == partner)?))
    }

    fn find(&self, id: LegId) -> Result<usize, usize> {
        self.legs.binary_search_by_key(&id, |leg| leg.id)
    }

    fn leg_mut(&mut self, id: LegId) -> Option<&mut Leg> {
        self.find(id).ok().and_then(|at| self.legs.get_mut(at))
    }
}

/// A packet's way into a leg.
struct Hop<'r> {
    /// Index of the leg it came from.
    from: u8,
    to: &'r mut Leg,
    tap: Option<Tap>,
    now: Instant,
}

/// What a hop needs to make a coder in its midst.
struct Ways<'r> {
    from: &'r LegSetup,
    generation: &'r mut u32,
}

/// A packet that only lacks its numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing {
    source: Source,
    arrived: Arrived,
    marker: bool,
    payload_type: u8,
}

impl Hop<'_> {
    fn pass(mut self, taken: Taken, ways: Ways<'_>, buffer: &mut [u8], sink: &mut impl Sink) {
        let Some(agreed) = &mut self.to.agreed else { return };
        let Some(mut feed) = agreed.feed.take() else { return };
        if agreed.fed_ssrc.replace(taken.header.ssrc).is_some_and(|ssrc| ssrc != taken.header.ssrc) {
            feed.restart();
        }
        let kind = if taken.meaning == Meaning::Noise { Coded::Noise } else { Coded::Audio };
        self.carry(&mut feed, kind, taken, ways, buffer, sink);
        // Gone for this packet only, so that leg and feed can be borrowed apart.
        if let Some(agreed) = &mut self.to.agreed {
            agreed.feed = Some(feed);
        }
    }

    fn carry(
        &mut self,
        feed: &mut Feed,
        kind: Coded,
        taken: Taken,
        ways: Ways<'_>,
        buffer: &mut [u8],
        sink: &mut impl Sink,
    ) {
        let arrived = taken.arrived();
        let Some(payload) = buffer.get(taken.at..taken.at + taken.len) else { return };
        let route = match kind {
            Coded::Audio => feed.route(payload),
            // Comfort noise is for codecs that are never repacked.
            Coded::Noise | Coded::Key => feed.way().map_or(Route::AsIs, Route::Code),
        };
        match route {
            Route::Drop => {}
            Route::AsIs => {
                let Some(payload_type) = self.payload_type(kind) else { return };
                let source = self.source(&taken, false);
                let packet = Outgoing { source, arrived, marker: taken.header.marker, payload_type };
                self.send(packet, buffer, (taken.at, taken.len), sink);
            }
            Route::Repack(repacker) => {
                let Some(payload_type) = self.payload_type(kind) else { return };
                let source = self.source(&taken, true);
                repacker.audio(arrived, payload, |arrived, payload| {
                    self.send_copy(Outgoing { source, arrived, marker: false, payload_type }, payload, sink);
                });
            }
            Route::Code(way) => sink.code(taken.job(way, kind, payload)),
            Route::OpenCoder => {
                if let Some(way) = self.to.open_coder(ways.from, ways.generation, sink) {
                    *feed = Feed::Code(way);
                    sink.code(taken.job(way, kind, payload));
                }
            }
        }
    }

    /// Returns the payload type the peer wants for a kind of payload; `None` if it wants none of it.
    fn payload_type(&self, kind: Coded) -> Option<u8> {
        let setup = &self.to.agreed.as_ref()?.setup;
        match kind {
            Coded::Audio => Some(setup.audio.send_pt()),
            Coded::Noise => setup.comfort_noise.then_some(NOISE_PT),
            Coded::Key => None,
        }
    }

    /// Sends a payload that does not stand in the packet buffer.
    fn send_copy(&mut self, packet: Outgoing, payload: &[u8], sink: &mut impl Sink) {
        let mut scratch = [0; HEADER_LEN + OPUS_PACKET_BYTES + Relay::ROOM];
        let Some(to) = scratch.get_mut(HEADER_LEN..HEADER_LEN + payload.len()) else { return };
        to.copy_from_slice(payload);
        self.send(packet, &mut scratch, (HEADER_LEN, payload.len()), sink);
    }

    /// Gives a packet its numbers, taps it, and sends it; or lets it wait for the way to the peer.
    fn send(&mut self, packet: Outgoing, buffer: &mut [u8], (at, len): (usize, usize), sink: &mut impl Sink) {
        if !self.to.may_send() {
            let payload = buffer.get(at..at + len).unwrap_or_default();
            return self.to.hold(packet, payload, self.now);
        }
        let Some(Agreed { outbound, .. }) = &mut self.to.agreed else { return };
        let Outgoing { source, arrived, marker, payload_type } = packet;
        let Some((stamp, begins)) = outbound.stream.source(source, arrived, self.now) else { return };
        if let Some(tap) = self.tap.filter(|_| self.to.is_tapped()) {
            let payload = buffer.get(at..at + len).unwrap_or_default();
            tap.frame(TapChannel::Agent, stamp, payload, self.now, sink);
        }
        let packet = Parting { payload_type, marker: marker || begins, stamp };
        self.to.send(packet, buffer, at, len, self.now, sink);
    }

    const fn source(&self, taken: &Taken, repacked: bool) -> Source {
        Source { leg: self.from, ssrc: taken.header.ssrc, repacked }
    }
}

impl Source {
    /// A way's coder: its outputs are numbered by itself.
    const fn coded(from: u8, way: Way) -> Self {
        Self { leg: from, ssrc: way.generation, repacked: true }
    }
}

impl Tap {
    fn frame(&self, channel: TapChannel, stamp: Stamp, payload: &[u8], now: Instant, sink: &mut impl Sink) {
        let passed = now.saturating_duration_since(self.opened).as_micros();
        sink.tap(TapFrame {
            call: self.call,
            channel,
            sequence: stamp.sequence,
            timestamp: stamp.timestamp,
            passed_us: u64::try_from(passed).unwrap_or(u64::MAX),
            payload: payload.into(),
        });
    }
}

impl Taken {
    const fn arrived(&self) -> Arrived {
        Arrived { sequence: self.header.sequence, timestamp: self.header.timestamp }
    }

    const fn job<'p>(&self, way: Way, kind: Coded, payload: &'p [u8]) -> Job<'p> {
        let setu_srtp::rtp::Header { ssrc, sequence, timestamp, .. } = self.header;
        Job::Packet { way, packet: Packet { kind, ssrc, sequence, timestamp, payload } }
    }
}

/// How loud a key is that was told without its level, in -dBm0.
const PRESSED_VOLUME: u8 = 10;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender};
use setu_media::{Arrival, Channel, Command, Event, HandshakeOutput, OpenFailure, Relay, SetupRefused};
use setu_model::{LegId, MediaQuality, Now, Side, TapFrame, Wall};

use crate::calls::{Calls, Leg};
use crate::codec::{Desk, Parcel};
use crate::config::{MediaNetConfig, MediaSide};
use crate::counters::Counters;
use crate::handshakes::Errand;
use crate::outbox::Outbox;
use crate::ports::PortPool;
use crate::schedule::Schedule;
use crate::sockets::{Handle, Owner, Sockets};
use crate::sys::{Epoll, RECEIVE_BATCH, ReceiveBatch, Waker, pin_thread};

/// What the plane and a worker's thread share.
pub(crate) struct Shared {
    pub(crate) waker: Waker,
    pub(crate) stop: AtomicBool,
    pub(crate) counters: Counters,
}

/// What a worker is made from.
pub(crate) struct Start {
    pub(crate) number: usize,
    pub(crate) config: Arc<MediaNetConfig>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) epoll: Epoll,
    pub(crate) commands: Receiver<Command>,
    pub(crate) returns: Receiver<Return>,
    pub(crate) codecs: Desk,
    pub(crate) errands: Sender<Errand>,
    pub(crate) tap: Sender<TapFrame>,
    pub(crate) on_event: Arc<dyn Fn(Event) + Send + Sync>,
}

/// What other workers have done for a packet thread.
#[expect(clippy::large_enum_variant, reason = "nearly all are coded packets, which must not be allocated")]
pub(crate) enum Return {
    /// A packet was coded.
    Coded(Parcel),
    /// A handshake has something to send, or to tell.
    Handshake(LegId, HandshakeOutput),
}

/// A packet thread: its calls, their sockets and its share of the ports.
pub(crate) struct Worker {
    config: Arc<MediaNetConfig>,
    shared: Arc<Shared>,
    epoll: Epoll,
    commands: Receiver<Command>,
    /// What comes back from the threads that work for this one.
    returns: Receiver<Return>,
    on_event: Arc<dyn Fn(Event) + Send + Sync>,
    calls: Calls,
    sockets: Sockets,
    meta_ports: PortPool,
    agent_ports: PortPool,
    schedule: Schedule,
    inbox: ReceiveBatch,
    outbox: Outbox,
}

impl Worker {
    /// Runs a worker on the calling thread until it is told to stop.
    pub(crate) fn run(start: Start) {
        let Start { number, config, shared, epoll, commands, returns, codecs, errands, tap, on_event } =
            start;
        if config.pinned
            && let Err(error) = pin_thread(number)
        {
            tracing::debug!(%error, "packet thread not pinned");
        }
        let pool = |side: &MediaSide| PortPool::new(&side.ports, number, config.threads, config.quarantine);
        let mut worker = Self {
            meta_ports: pool(&config.meta),
            agent_ports: pool(&config.agents),
            calls: Calls::default(),
            sockets: Sockets::default(),
            schedule: Schedule::default(),
            inbox: ReceiveBatch::new(),
            outbox: Outbox::new(number, tap, codecs, errands),
            config,
            shared,
            epoll,
            commands,
            returns,
            on_event,
        };
        while !worker.shared.stop.load(Ordering::Acquire) {
            if let Err(error) = worker.round() {
                tracing::error!(%error, number, "packet thread cannot wait and ends its calls");
                break;
            }
        }
        worker.stop();
    }

    /// Waits for packets, commands or a deadline, and handles them.
    fn round(&mut self) -> io::Result<()> {
        let timeout = self.schedule.next().map(|at| at.saturating_duration_since(Instant::now()));
        for at in 0..self.epoll.wait(timeout)? {
            match self.epoll.token(at) {
                Some(WAKE_UP) => self.shared.waker.clear(),
                Some(token) => self.receive(token),
                None => {}
            }
        }
        for _ in 0..COMMANDS_A_ROUND {
            let Ok(command) = self.commands.try_recv() else { break };
            self.command(command);
        }
        for _ in 0..RETURNS_A_ROUND {
            match self.returns.try_recv() {
                Ok(Return::Coded(parcel)) => self.coded(&parcel),
                Ok(Return::Handshake(leg, output)) => self.take_handshake(leg, output),
                Err(_) => break,
            }
        }
        if !self.commands.is_empty() || !self.returns.is_empty() {
            self.shared.waker.wake();
        }
        self.run_timers();
        self.finish_round();
        Ok(())
    }

    /// Takes what waits at a socket. A socket with more than a few batches is left for the next round, so that a
    /// flood at one does not starve the others.
    fn receive(&mut self, token: u64) {
        for _ in 0..BATCHES_A_ROUND {
            let Some((socket, owner)) = self.sockets.ready(token) else { return };
            let count = match self.inbox.receive(socket) {
                Ok(count) => count,
                Err(error) => {
                    tracing::debug!(%error, leg = %owner.leg, "cannot read from a media socket");
                    self.shared.counters.receive_errors.add(1);
                    return;
                }
            };
            self.shared.counters.received.add(count as u64);
            let Some(call) = self.calls.at(owner.call) else { return };
            let now = Instant::now();
            for at in 0..count {
                let Some(datagram) = self.inbox.datagram(at) else {
                    self.shared.counters.oversized.add(1);
                    continue;
                };
                let arrival = Arrival { leg: owner.leg, channel: owner.channel, from: datagram.from };
                let mut sink = self.outbox.of_call(&call.legs, &self.shared.counters);
                call.relay.handle_packet(arrival, datagram.buffer, datagram.len, now, &mut sink);
            }
            let deadline = call.relay.poll_timeout();
            self.schedule.note(owner.call, &mut call.scheduled, deadline);
            if count < RECEIVE_BATCH {
                return;
            }
        }
    }

    /// Sends what a codec thread made.
    fn coded(&mut self, parcel: &Parcel) {
        let Some(number) = self.calls.number(parcel.way.leg.call) else { return };
        let Some(call) = self.calls.at(number) else { return };
        let mut sink = self.outbox.of_call(&call.legs, &self.shared.counters);
        call.relay.handle_coded(parcel.way, parcel.packet(), Instant::now(), &mut sink);
        let deadline = call.relay.poll_timeout();
        self.schedule.note(number, &mut call.scheduled, deadline);
    }

    /// Runs the relays whose deadline has come: each at most once a round.
    fn run_timers(&mut self) {
        let now = Instant::now();
        for _ in 0..self.schedule.len() {
            let Some((at, number)) = self.schedule.pop_due(now) else { return };
            let Some(call) = self.calls.at(number) else { continue };
            if !call.scheduled.came_up(at) {
                continue;
            }
            if call.relay.poll_timeout().is_some_and(|deadline| deadline <= now) {
                let mut sink = self.outbox.of_call(&call.legs, &self.shared.counters);
                call.relay.handle_timeout(now, &mut sink);
            }
            let deadline = call.relay.poll_timeout();
            self.schedule.note(number, &mut call.scheduled, deadline);
        }
    }

    fn finish_round(&mut self) {
        self.outbox.flush(&self.shared.counters);
        self.outbox.deliver(&self.shared.counters, &*self.on_event);
    }

    fn command(&mut self, command: Command) {
        if let Command::Open { leg, side } = command {
            if let Err(why) = self.open(leg, side) {
                tracing::debug!(%leg, %why, "no media port");
                self.outbox.event(Event::OpenFailed { leg, why });
            }
            return;
        }
        let Some(number) = self.calls.number(command.call()) else { return self.without_call(&command) };
        if let Command::CloseLeg { leg } = command
            && self.calls.at(number).is_some_and(|call| call.legs.find(leg).is_none())
        {
            return self.without_call(&command);
        }
        if let Command::Configure(setup) = &command
            && setup.remote_rtcp.is_some()
        {
            self.open_rtcp(number, setup.leg);
        }
        let closing = match &command {
            Command::Close { .. } => Closing::Call,
            Command::CloseLeg { leg } => Closing::Leg(*leg),
            Command::Open { .. }
            | Command::Configure(_)
            | Command::Start { .. }
            | Command::Bridge { .. }
            | Command::Unbridge { .. }
            | Command::Direct { .. }
            | Command::Press { .. }
            | Command::Play { .. }
            | Command::StopPlaying { .. }
            | Command::Tap { .. } => Closing::Nothing,
        };
        self.relay_command(number, command);
        match closing {
            Closing::Call => self.close_call(number),
            Closing::Leg(leg) => self.close_leg(number, leg),
            Closing::Nothing => {}
        }
    }

    fn relay_command(&mut self, number: usize, command: Command) {
        let Some(call) = self.calls.at(number) else { return };
        let mut sink = self.outbox.of_call(&call.legs, &self.shared.counters);
        call.relay.command(command, Instant::now(), &mut sink);
        let deadline = call.relay.poll_timeout();
        self.schedule.note(number, &mut call.scheduled, deadline);
    }

    /// Hands what a handshake says to the leg it is for, if that is still there.
    fn take_handshake(&mut self, leg: LegId, output: HandshakeOutput) {
        let Some(number) = self.calls.number(leg.call) else { return };
        let Some(call) = self.calls.at(number) else { return };
        let mut sink = self.outbox.of_call(&call.legs, &self.shared.counters);
        call.relay.handle_handshake(leg, output, Instant::now(), &mut sink);
        let deadline = call.relay.poll_timeout();
        self.schedule.note(number, &mut call.scheduled, deadline);
    }

    /// Answers a command for a call or leg that has no media: it was never opened, or is closed.
    fn without_call(&mut self, command: &Command) {
        match command {
            Command::Close { call } => self.outbox.event(Event::Closed { call: *call, quality: Vec::new() }),
            Command::CloseLeg { leg } => {
                self.outbox.event(Event::LegClosed { leg: *leg, quality: MediaQuality::default() });
            }
            Command::Configure(setup) => {
                self.outbox.event(Event::SetupFailed { leg: setup.leg, why: SetupRefused::UnknownLeg });
            }
            Command::Bridge { one: leg, .. } => {
                self.outbox.event(Event::SetupFailed { leg: *leg, why: SetupRefused::UnknownLeg });
            }
            Command::Open { .. }
            | Command::Start { .. }
            | Command::Unbridge { .. }
            | Command::Direct { .. }
            | Command::Press { .. }
            | Command::Play { .. }
            | Command::StopPlaying { .. }
            | Command::Tap { .. } => {}
        }
    }

    /// Gives a leg a port of its own.
    fn open(&mut self, leg: LegId, side: Side) -> Result<(), OpenFailure> {
        if self.shared.stop.load(Ordering::Acquire) {
            return Err(OpenFailure::Stopping);
        }
        let known = self.calls.number(leg.call);
        if let Some(call) = known.and_then(|number| self.calls.at(number))
            && !call.legs.has_room_for(leg)
        {
            return Err(OpenFailure::NoRoom);
        }
        let now = now();
        let number = known.unwrap_or_else(|| self.calls.add(leg.call, Relay::new(leg.call, now)));
        let bound = self.bind(number, leg, side, now.mono);
        if bound.is_err() && known.is_none() {
            self.calls.remove(number);
        }
        let (port, rtp) = bound?;
        if let Some(call) = self.calls.at(number) {
            call.legs.add(Leg { id: leg, side, port, rtp, rtcp: None });
        }
        self.relay_command(number, Command::Open { leg, side });
        let local = SocketAddr::new(self.side(side).advertised, port);
        self.outbox.event(Event::Opened { leg, local });
        self.shared.counters.legs.add(1);
        self.shared.counters.calls.set(self.calls.len());
        Ok(())
    }

    /// Binds a socket to a port of the side. A port that another program has taken is put aside for the quarantine.
    fn bind(
        &mut self,
        call: usize,
        leg: LegId,
        side: Side,
        now: Instant,
    ) -> Result<(u16, Handle), OpenFailure> {
        let address = self.side(side).bind;
        for _ in 0..BIND_ATTEMPTS {
            let port = self.ports(side).take(now).ok_or(OpenFailure::NoFreePort)?;
            let owner = Owner { call, leg, channel: Channel::Rtp };
            match self.sockets.open(&self.epoll, SocketAddr::new(address, port), owner) {
                Ok(handle) => return Ok((port, handle)),
                Err(error) => {
                    self.ports(side).release(port, now);
                    if error.kind() != io::ErrorKind::AddrInUse {
                        tracing::warn!(%error, %leg, "cannot open a media socket");
                        return Err(OpenFailure::Socket);
                    }
                    tracing::debug!(port, "media port is taken by another program");
                    self.shared.counters.busy_ports.add(1);
                }
            }
        }
        Err(OpenFailure::NoFreePort)
    }

    /// Opens the leg's port for RTCP, if it is not open yet. A leg goes on without where that fails.
    fn open_rtcp(&mut self, number: usize, leg: LegId) {
        let Some(entry) = self.calls.at(number).and_then(|call| call.legs.find(leg)) else { return };
        if entry.rtcp.is_some() {
            return;
        }
        let bind = match entry.side {
            Side::Meta => self.config.meta.bind,
            Side::Agents => self.config.agents.bind,
        };
        let owner = Owner { call: number, leg, channel: Channel::Rtcp };
        match self.sockets.open(&self.epoll, SocketAddr::new(bind, entry.port + 1), owner) {
            Ok(handle) => entry.rtcp = Some(handle),
            Err(error) => {
                tracing::warn!(%error, %leg, port = entry.port + 1, "no port for RTCP");
                self.shared.counters.busy_ports.add(1);
            }
        }
    }

    fn close_leg(&mut self, number: usize, leg: LegId) {
        if let Some(leg) = self.calls.at(number).and_then(|call| call.legs.take(leg)) {
            self.release(vec![leg]);
        }
    }

    fn close_call(&mut self, number: usize) {
        if let Some(mut call) = self.calls.remove(number) {
            self.release(call.legs.take_all());
            self.shared.counters.calls.set(self.calls.len());
        }
    }

    /// Closes the sockets of legs, after the last packets left from them, and lets their ports rest.
    fn release(&mut self, legs: Vec<Leg>) {
        self.outbox.flush(&self.shared.counters);
        let now = Instant::now();
        self.shared.counters.legs.subtract(legs.len());
        for leg in legs {
            self.sockets.close(leg.rtp);
            if let Some(rtcp) = leg.rtcp {
                self.sockets.close(rtcp);
            }
            self.ports(leg.side).release(leg.port, now);
        }
    }

    /// Ends every call, and answers whoever still waits for an answer.
    fn stop(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.command(command);
        }
        for call in self.calls.ids() {
            self.command(Command::Close { call });
        }
        self.finish_round();
    }

    fn side(&self, side: Side) -> &MediaSide {
        match side {
            Side::Meta => &self.config.meta,
            Side::Agents => &self.config.agents,
        }
    }

    fn ports(&mut self, side: Side) -> &mut PortPool {
        match side {
            Side::Meta => &mut self.meta_ports,
            Side::Agents => &mut self.agent_ports,
        }
    }
}

/// What a command closes once the relay has handled it.
enum Closing {
    Nothing,
    Leg(LegId),
    Call,
}

fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        mono: Instant::now(),
        wall: Wall::from_unix_ms(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)),
    }
}

/// The token of the eventfd. Sockets never have it: their low half is an index.
pub(crate) const WAKE_UP: u64 = u64::MAX;

/// The most descriptors that one wait reports.
pub(crate) const READY_A_ROUND: usize = 256;

/// The most commands carried out between two looks at the sockets: each may open or close a socket.
const COMMANDS_A_ROUND: usize = 64;

/// The most returns taken between two looks at the sockets.
const RETURNS_A_ROUND: usize = 1_024;

/// The most batches taken from one socket before others have their turn.
const BATCHES_A_ROUND: usize = 4;

/// How many ports taken by other programs are passed over for one leg.
const BIND_ATTEMPTS: usize = 16;

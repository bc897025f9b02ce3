//! What the call tells its packet thread: legs opened, set up, closed.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use setu_media::{Channel, Command, Event, LegSetup, OpenFailure, Relay, SetupRefused};
use setu_model::{LegId, MediaQuality, Now, Side, Wall};

use super::Worker;
use crate::calls::{Leg, Seat};
use crate::config::MediaSide;
use crate::ports::{PortPool, SharedPort};
use crate::sockets::{Directory, Handle, Owner, Users};

impl Worker {
    /// Carries out a command.
    pub(super) fn command(&mut self, command: Command) {
        let (leg, opened) = match command {
            Command::Open { leg, side } => (leg, self.open(leg, side, Wanted::Own)),
            Command::OpenShared { leg } => (leg, self.open(leg, Side::Agents, Wanted::Shared)),
            Command::Configure(_)
            | Command::Start { .. }
            | Command::Bridge { .. }
            | Command::Unbridge { .. }
            | Command::Direct { .. }
            | Command::Tap { .. }
            | Command::Press { .. }
            | Command::Play { .. }
            | Command::StopPlaying { .. }
            | Command::CloseLeg { .. }
            | Command::Close { .. } => return self.command_of_call(command),
        };
        if let Err(why) = opened {
            tracing::debug!(%leg, %why, "no media port");
            self.outbox.event(Event::OpenFailed { leg, why });
        }
    }

    fn command_of_call(&mut self, command: Command) {
        let Some(number) = self.calls.number(command.call()) else { return self.without_call(&command) };
        if let Command::CloseLeg { leg } = command
            && self.calls.at(number).is_some_and(|call| call.legs.find(leg).is_none())
        {
            return self.without_call(&command);
        }
        let configured = if let Command::Configure(setup) = &command {
            if !self.may_sit(number, setup) {
                let why = SetupRefused::AddressTaken;
                return self.outbox.event(Event::SetupFailed { leg: setup.leg, why });
            }
            if setup.remote_rtcp.is_some() {
                self.open_rtcp(number, setup.leg);
            }
            Some(setup.leg)
        } else {
            None
        };
        let closing = match &command {
            Command::Close { .. } => Closing::Call,
            Command::CloseLeg { leg } => Closing::Leg(*leg),
            Command::Open { .. }
            | Command::OpenShared { .. }
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
        if let Some(leg) = configured {
            self.sit(number, leg);
        }
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
            | Command::OpenShared { .. }
            | Command::Start { .. }
            | Command::Unbridge { .. }
            | Command::Direct { .. }
            | Command::Press { .. }
            | Command::Play { .. }
            | Command::StopPlaying { .. }
            | Command::Tap { .. } => {}
        }
    }

    /// Gives a leg a port.
    fn open(&mut self, leg: LegId, side: Side, wanted: Wanted) -> Result<(), OpenFailure> {
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
        let place = match wanted {
            Wanted::Own => self.own_place(number, leg, side, now.mono),
            Wanted::Shared => self.shared_place(leg, now.mono),
        };
        if place.is_err() && known.is_none() {
            self.calls.remove(number);
        }
        let place = place?;
        let port = place.port;
        if let Some(call) = self.calls.at(number) {
            call.legs.add(place);
        }
        self.relay_command(number, Command::Open { leg, side });
        let local = SocketAddr::new(self.side(side).advertised, port);
        self.outbox.event(Event::Opened { leg, local });
        self.shared.counters.legs.add(1);
        self.shared.counters.calls.set(self.calls.len());
        Ok(())
    }

    fn own_place(&mut self, call: usize, leg: LegId, side: Side, now: Instant) -> Result<Leg, OpenFailure> {
        let owner = Owner { call, leg, channel: Channel::Rtp };
        let (port, rtp) = self.bind(side, now, || Users::One(owner))?;
        Ok(Leg { id: leg, side, port, rtp, rtcp: None, seat: Seat::Own })
    }

    /// Finds a leg a shared port, and opens one if there are few yet.
    fn shared_place(&mut self, leg: LegId, now: Instant) -> Result<Leg, OpenFailure> {
        if !self.shared_ports.is_full() {
            match self.open_shared(now) {
                Ok(port) => self.shared_ports.add(port),
                // The legs crowd behind those there are.
                Err(error) if self.shared_ports.is_empty() => return Err(error),
                Err(_) => {}
            }
        }
        let SharedPort { port, rtp, rtcp } = self.shared_ports.next().ok_or(OpenFailure::NoFreePort)?;
        let seat = Seat::Shared { rtp: None, rtcp: None };
        Ok(Leg { id: leg, side: Side::Agents, port, rtp, rtcp, seat })
    }

    fn open_shared(&mut self, now: Instant) -> Result<SharedPort, OpenFailure> {
        let (port, rtp) = self.bind(Side::Agents, now, || Users::Many(Directory::default()))?;
        let local = SocketAddr::new(self.config.agents.bind, port + 1);
        let rtcp = self.sockets.open(&self.epoll, local, Users::Many(Directory::default()));
        let rtcp = rtcp.inspect_err(|error| tracing::warn!(%error, port = port + 1, "no port for RTCP"));
        Ok(SharedPort { port, rtp, rtcp: rtcp.ok() })
    }

    /// Whether a leg behind a shared port can be told from the others by the addresses of its setup.
    fn may_sit(&mut self, number: usize, setup: &LegSetup) -> bool {
        let Some(leg) = self.calls.at(number).and_then(|call| call.legs.find(setup.leg)) else { return true };
        let Seat::Shared { .. } = leg.seat else { return true };
        let is_free = |shared, remote| self.sockets.is_free(shared, remote, setup.leg);
        let rtcp = leg.rtcp.zip(setup.remote_rtcp);
        is_free(leg.rtp, setup.remote) && rtcp.is_none_or(|(shared, remote)| is_free(shared, remote))
    }

    /// Has a leg behind a shared port hear its peer, from where the relay expects it: what setup it has is the
    /// relay's decision.
    fn sit(&mut self, number: usize, id: LegId) {
        let Some(call) = self.calls.at(number) else { return };
        let signalled = call.relay.signalled(id);
        let Some(leg) = call.legs.find(id) else { return };
        let Seat::Shared { rtp, rtcp } = &mut leg.seat else { return };
        let wanted = (signalled.map(|(rtp, _)| rtp), signalled.and_then(|(_, rtcp)| rtcp));
        let mut move_to = |handle, channel, old: &mut Option<SocketAddr>, new: Option<SocketAddr>| {
            if let Some(old) = old.take() {
                self.sockets.leave(handle, old);
            }
            if let Some(new) = new {
                self.sockets.enter(handle, new, Owner { call: number, leg: id, channel });
            }
            *old = new;
        };
        move_to(leg.rtp, Channel::Rtp, rtp, wanted.0);
        if let Some(handle) = leg.rtcp {
            move_to(handle, Channel::Rtcp, rtcp, wanted.1);
        }
    }

    /// Binds a socket to a port of the side. A port that another program has taken is put aside for the quarantine.
    fn bind(
        &mut self,
        side: Side,
        now: Instant,
        users: impl Fn() -> Users,
    ) -> Result<(u16, Handle), OpenFailure> {
        let address = self.side(side).bind;
        for _ in 0..BIND_ATTEMPTS {
            let port = self.ports(side).take(now).ok_or(OpenFailure::NoFreePort)?;
            match self.sockets.open(&self.epoll, SocketAddr::new(address, port), users()) {
                Ok(handle) => return Ok((port, handle)),
                Err(error) => {
                    self.ports(side).release(port, now);
                    if error.kind() != io::ErrorKind::AddrInUse {
                        tracing::warn!(%error, "cannot open a media socket");
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
        if entry.rtcp.is_some() || matches!(entry.seat, Seat::Shared { .. }) {
            return;
        }
        let bind = match entry.side {
            Side::Meta => self.config.meta.bind,
            Side::Agents => self.config.agents.bind,
        };
        let owner = Owner { call: number, leg, channel: Channel::Rtcp };
        match self.sockets.open(&self.epoll, SocketAddr::new(bind, entry.port + 1), Users::One(owner)) {
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

    /// Closes the sockets of legs and lets their ports rest, or leaves shared ones.
    fn release(&mut self, legs: Vec<Leg>) {
        let now = Instant::now();
        self.shared.counters.legs.subtract(legs.len());
        for Leg { side, port, rtp, rtcp, seat, .. } in legs {
            match seat {
                Seat::Own => {
                    self.sockets.close(rtp);
                    if let Some(rtcp) = rtcp {
                        self.sockets.close(rtcp);
                    }
                    self.ports(side).release(port, now);
                }
                Seat::Shared { rtp: rtp_from, rtcp: rtcp_from } => {
                    for (handle, from) in [(Some(rtp), rtp_from), (rtcp, rtcp_from)] {
                        if let Some((handle, from)) = handle.zip(from) {
                            self.sockets.leave(handle, from);
                        }
                    }
                }
            }
        }
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

/// Which kind of port a leg is to have.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Own,
    Shared,
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

/// How many ports taken by other programs are passed over for one leg.
const BIND_ATTEMPTS: usize = 16;

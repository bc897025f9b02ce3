use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use setu_media::{Arrival, Command, Event, HandshakeOutput};
use setu_model::{LegId, TapFrame};

use crate::calls::Calls;
use crate::codec::{Desk, Parcel};
use crate::config::{MediaNetConfig, MediaSide};
use crate::counters::Counters;
use crate::handshakes::Errand;
use crate::outbox::Outbox;
use crate::ports::{PortPool, SharedPorts};
use crate::schedule::Schedule;
use crate::sockets::{Sockets, Users};
use crate::sys::{Epoll, RECEIVE_BATCH, ReceiveBatch, Received, Waker, hurry_thread, pin_thread};

mod commands;

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
    shared_ports: SharedPorts,
    schedule: Schedule,
    inbox: ReceiveBatch,
    outbox: Outbox,
    rounds: u32,
}

/// What a round found.
struct Load {
    packets: usize,
    /// Whether something was left for the next round.
    more: bool,
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
        if config.hurried {
            match hurry_thread() {
                Ok(granted) => tracing::debug!(?granted, number, "packet thread"),
                Err(error) => tracing::debug!(%error, number, "packet thread is as good as any other"),
            }
        }
        let pool = |side: &MediaSide| PortPool::new(&side.ports, number, config.threads, config.quarantine);
        let mut worker = Self {
            meta_ports: pool(&config.meta),
            agent_ports: pool(&config.agents),
            shared_ports: SharedPorts::default(),
            calls: Calls::default(),
            sockets: Sockets::default(),
            schedule: Schedule::default(),
            inbox: ReceiveBatch::new(),
            outbox: Outbox::new(number, tap, codecs, errands),
            rounds: 0,
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
    ///
    /// Under load it then sleeps for a while, so that each wake-up finds several packets: to wake a thread costs more
    /// than to move a packet.
    fn round(&mut self) -> io::Result<()> {
        let timeout = self.schedule.next().map(|at| at.saturating_duration_since(Instant::now()));
        let ready = self.epoll.wait(timeout)?;
        let now = Instant::now();
        let mut load = Load { packets: 0, more: ready >= READY_A_ROUND };
        self.rounds = self.rounds.wrapping_add(1);
        for at in 0..ready {
            match self.epoll.token(at) {
                Some(WAKE_UP) => self.shared.waker.clear(),
                Some(token) => self.receive(token, now, &mut load),
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
            load.more = true;
            self.shared.waker.wake();
        }
        self.run_timers();
        self.finish_round();
        if load.packets >= BUSY && !load.more {
            // What comes right after this round's look waits for the next, and through it, which takes as long as this.
            std::thread::sleep(LONGEST_WAIT.saturating_sub(now.elapsed() * 2));
        }
        Ok(())
    }

    /// Takes what waits at a socket. A socket with more than a few batches is left for the next round, so that a
    /// flood at one does not starve the others.
    fn receive(&mut self, token: u64, now: Instant, load: &mut Load) {
        let Self { sockets, inbox, calls, schedule, outbox, shared, rounds, .. } = self;
        let counters = &shared.counters;
        for _ in 0..BATCHES_A_ROUND {
            let Some((socket, users, queued)) = sockets.ready(token, *rounds) else { return };
            // A packet in 20 ms is what a leg sends: one alone, unless its socket was ready the round before as well.
            let alone = matches!(users, Users::One(_)) && !queued;
            let count = match if alone { inbox.receive_one(socket) } else { inbox.receive(socket) } {
                Ok(count) => count,
                Err(error) => {
                    tracing::debug!(%error, "cannot read from a media socket");
                    counters.receive_errors.add(1);
                    return;
                }
            };
            load.packets += count;
            counters.received.add(count as u64);
            for at in 0..count {
                let Some(Received { from, buffer, len }) = inbox.datagram(at) else {
                    counters.oversized.add(1);
                    continue;
                };
                let Some(owner) = users.find(from) else {
                    counters.strangers.add(1);
                    continue;
                };
                let Some(call) = calls.at(owner.call) else { continue };
                let arrival = Arrival { leg: owner.leg, channel: owner.channel, from };
                call.relay.handle_packet(
                    arrival,
                    buffer,
                    len,
                    now,
                    &mut outbox.of_call(&call.legs, counters),
                );
                let deadline = call.relay.poll_timeout();
                schedule.note(owner.call, &mut call.scheduled, deadline);
            }
            if count < RECEIVE_BATCH {
                return;
            }
        }
        load.more = true;
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

    /// Hands what a handshake says to the leg it is for, if that is still there.
    fn take_handshake(&mut self, leg: LegId, output: HandshakeOutput) {
        let Some(number) = self.calls.number(leg.call) else { return };
        let Some(call) = self.calls.at(number) else { return };
        let mut sink = self.outbox.of_call(&call.legs, &self.shared.counters);
        call.relay.handle_handshake(leg, output, Instant::now(), &mut sink);
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
}

/// The token of the eventfd. Sockets never have it: their low half is an index.
pub(crate) const WAKE_UP: u64 = u64::MAX;

/// The most descriptors that one wait reports.
pub(crate) const READY_A_ROUND: usize = 256;

/// How long a packet may wait for its round and in it, under load, so that all but one in a hundred leave within the
/// millisecond that may be heard of, whatever the system adds.
const LONGEST_WAIT: Duration = Duration::from_micros(600);

/// A round with as many packets is worth to wait for more.
const BUSY: usize = 2;

/// The most commands carried out between two looks at the sockets: each may open or close a socket.
const COMMANDS_A_ROUND: usize = 64;

/// The most returns taken between two looks at the sockets.
const RETURNS_A_ROUND: usize = 1_024;

/// The most batches taken from one socket before others have their turn.
const BATCHES_A_ROUND: usize = 4;

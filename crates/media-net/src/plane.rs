use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded, unbounded};
use setu_media::{Command, Event};
use setu_model::{CallId, Side, TapFrame};

use crate::codec::{Back, Codecs};
use crate::config::{MediaNetConfig, MediaSide};
use crate::counters::{Counters, Totals};
use crate::handshakes;
use crate::ports::pairs;
use crate::sockets::bind;
use crate::sys::{Epoll, Waker};
use crate::worker::{READY_A_ROUND, Shared, Start, WAKE_UP, Worker};

/// The running media plane: its packet threads, and the way to them.
pub struct MediaPlane {
    workers: Vec<Handle>,
    codecs: Codecs,
    handshakes: Option<JoinHandle<()>>,
}

struct Handle {
    shared: Arc<Shared>,
    commands: Sender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl MediaPlane {
    /// Starts the packet threads.
    ///
    /// Frames of tapped calls go to `tap`, which should be bounded: a frame it has no room for is dropped and counted.
    /// `on_event` is called on the packet threads, so it must hand the event on and return.
    ///
    /// # Errors
    ///
    /// The configuration cannot work, or the system refuses a thread or a descriptor. Nothing is left running then.
    pub fn spawn(
        config: MediaNetConfig,
        tap: Sender<TapFrame>,
        on_event: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Self, SpawnError> {
        check(&config)?;
        let config = Arc::new(config);
        let on_event: Arc<dyn Fn(Event) + Send + Sync> = Arc::new(on_event);
        let (mut back, mut queues) = (Vec::new(), Vec::new());
        for _ in 0..config.threads {
            let (returns, queue) = bounded(RETURNS);
            let waker = Waker::new()?;
            let shared = Shared { waker, stop: AtomicBool::new(false), counters: Counters::default() };
            back.push(Back { returns, shared: Arc::new(shared) });
            queues.push(queue);
        }
        let codecs = Codecs::spawn(config.codec_threads, &back)?;
        let (errands, work) = handshakes::errands();
        let handshakes = Some(handshakes::spawn(config.dtls.clone(), work, back.clone())?);
        let mut plane = Self { workers: Vec::with_capacity(config.threads), codecs, handshakes };
        for (number, (Back { shared, .. }, returns)) in back.into_iter().zip(queues).enumerate() {
            // Bounded by `send`.
            let (sender, commands) = unbounded();
            let epoll = Epoll::new(READY_A_ROUND)?;
            epoll.add(&shared.waker, WAKE_UP)?;
            let start = Start {
                number,
                config: Arc::clone(&config),
                shared: Arc::clone(&shared),
                epoll,
                commands,
                returns,
                codecs: plane.codecs.desk(number),
                errands: errands.clone(),
                tap: tap.clone(),
                on_event: Arc::clone(&on_event),
            };
            let thread = std::thread::Builder::new().name(format!("setu-media-{number}"));
            let thread = Some(thread.spawn(move || Worker::run(start))?);
            plane.workers.push(Handle { shared, commands: sender, thread });
        }
        Ok(plane)
    }

    /// Hands a command to the packet thread of its call. Never waits.
    ///
    /// # Errors
    ///
    /// The thread has too many commands waiting, or is gone. The command comes back. What closes a leg or a call is
    /// never too much, or its ports would stay taken: there is one such command for each.
    pub fn send(&self, command: Command) -> Result<(), SendError> {
        let worker = self.worker(command.call()).filter(|worker| worker.is_running());
        let Some(worker) = worker else { return Err(SendError::Stopped(command)) };
        let closes = matches!(command, Command::Close { .. } | Command::CloseLeg { .. });
        if !closes && worker.commands.len() >= COMMANDS {
            return Err(SendError::Full(command));
        }
        worker.commands.send(command).map_err(|error| SendError::Stopped(error.into_inner()))?;
        worker.shared.waker.wake();
        Ok(())
    }

    /// Ends every call, with RTCP BYE to its peers and [`Event::Closed`], and waits for the threads to end.
    pub fn shutdown(mut self) {
        self.stop();
    }

    /// The sum of what the packet threads have counted.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for worker in &self.workers {
            worker.shared.counters.add_to(&mut totals);
        }
        self.codecs.add_to(&mut totals);
        totals
    }

    /// Whether every packet, codec and handshake thread is running.
    pub fn is_healthy(&self) -> bool {
        let handshakes = self.handshakes.as_ref().is_some_and(|thread| !thread.is_finished());
        handshakes && self.workers.iter().all(Handle::is_running) && self.codecs.is_running()
    }

    /// The worker of a call. The low bits of the id are random.
    fn worker(&self, call: CallId) -> Option<&Handle> {
        let count = u128::try_from(self.workers.len()).ok().filter(|count| *count > 0)?;
        self.workers.get(usize::try_from(call.bits() % count).ok()?)
    }

    fn stop(&mut self) {
        for worker in &self.workers {
            worker.shared.stop.store(true, Ordering::Release);
            worker.shared.waker.wake();
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take()
                && thread.join().is_err()
            {
                tracing::error!("a packet thread had panicked");
            }
        }
        self.codecs.stop();
        // It ends with the last packet thread.
        if self.handshakes.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the handshakes had panicked");
        }
    }
}

impl Drop for MediaPlane {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Handle {
    fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

/// Refuses what cannot work, before anything runs.
fn check(config: &MediaNetConfig) -> Result<(), SpawnError> {
    if config.threads == 0 || config.codec_threads == 0 {
        return Err(SpawnError::NoThreads);
    }
    for (side, face) in [(Side::Meta, &config.meta), (Side::Agents, &config.agents)] {
        if pairs(&face.ports).count() < config.threads {
            return Err(SpawnError::TooFewPorts { side });
        }
        if let Err(source) = bind(SocketAddr::new(face.bind, 0)) {
            return Err(SpawnError::Address { side, source });
        }
    }
    if overlap(&config.meta, &config.agents) { Err(SpawnError::Overlap) } else { Ok(()) }
}

/// Whether both faces would bind the same ports of the same address.
fn overlap(one: &MediaSide, other: &MediaSide) -> bool {
    let same_family = one.bind.is_ipv4() == other.bind.is_ipv4();
    let any = one.bind.is_unspecified() || other.bind.is_unspecified();
    let same_address = one.bind == other.bind || (same_family && any);
    same_address && one.ports.start() <= other.ports.end() && other.ports.start() <= one.ports.end()
}

/// Why the media plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// No packet thread, or no codec thread, is wanted.
    #[error("at least one packet thread and one codec thread are needed")]
    NoThreads,
    /// A side has less than one even port with its odd neighbour for each thread.
    #[error("too few media ports on the {side:?} side")]
    TooFewPorts {
        /// The side.
        side: Side,
    },
    /// Both sides have the same address and common ports.
    #[error("the media ports of both sides overlap on the same address")]
    Overlap,
    /// The address of a side is not one of this machine.
    #[error("cannot bind media sockets on the {side:?} side: {source}")]
    Address {
        /// The side.
        side: Side,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused a thread or a descriptor.
    #[error("cannot start a packet thread: {0}")]
    System(#[from] io::Error),
}

/// Why a command was not taken. It comes back.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Too many commands are waiting: the thread is overloaded.
    #[error("the packet thread has too many commands waiting")]
    Full(Command),
    /// The thread has ended.
    #[error("the packet thread has ended")]
    Stopped(Command),
}

/// How many commands may wait for one packet thread: half a thousand calls set up at the same moment.
const COMMANDS: usize = 4_096;

/// How many finished packets may wait for one packet thread: those of a beat of 1,000 calls, and some.
const RETURNS: usize = 1_024;

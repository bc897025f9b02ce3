//! The thread that does the DTLS handshakes of all calls: each takes a millisecond of arithmetic, which would be the
//! tail of every other call's packets if a packet thread did it.

use std::collections::BTreeMap;
use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use setu_media::{DtlsIdentity, Handshake, HandshakeFailed, HandshakeInput, HandshakeOutput};
use setu_model::LegId;

use crate::codec::Back;
use crate::worker::Return;

/// What a packet thread hands over.
pub(crate) struct Errand {
    /// The number of the packet thread.
    pub(crate) from: usize,
    pub(crate) leg: LegId,
    pub(crate) input: HandshakeInput,
}

/// How many errands may wait: a datagram each of a few hundred calls that begin at once. What does not fit is lost,
/// as on a network, and sent again.
const ERRANDS: usize = 1_024;

/// The way to the thread.
pub(crate) fn errands() -> (Sender<Errand>, Receiver<Errand>) {
    bounded(ERRANDS)
}

/// Starts the thread. It ends when every packet thread is gone.
pub(crate) fn spawn(
    identity: Option<DtlsIdentity>,
    errands: Receiver<Errand>,
    back: Vec<Back>,
) -> io::Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name("setu-dtls".to_owned());
    thread.spawn(move || Handshakes { identity, back, running: BTreeMap::new() }.run(&errands))
}

struct Handshakes {
    identity: Option<DtlsIdentity>,
    back: Vec<Back>,
    running: BTreeMap<LegId, (usize, Handshake)>,
}

impl Handshakes {
    fn run(mut self, errands: &Receiver<Errand>) {
        loop {
            let next = self.running.values().filter_map(|(_, handshake)| handshake.poll_timeout()).min();
            let pause = next.map_or(LONG, |at| at.saturating_duration_since(Instant::now()));
            match errands.recv_timeout(pause) {
                Ok(errand) => self.take(errand),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.run_timers();
        }
    }

    fn take(&mut self, Errand { from, leg, input }: Errand) {
        let now = Instant::now();
        match input {
            HandshakeInput::Begin(setup) => {
                let begun = self.identity.as_ref().map(|identity| Handshake::new(identity, *setup, now));
                match begun {
                    Some(Ok(handshake)) => {
                        self.running.insert(leg, (from, handshake));
                    }
                    Some(Err(_)) | None => {
                        self.give_back(from, leg, HandshakeOutput::Failed(HandshakeFailed::Broken));
                    }
                }
            }
            HandshakeInput::Datagram(datagram) => {
                if let Some((_, handshake)) = self.running.get_mut(&leg) {
                    handshake.handle(&datagram, now);
                }
            }
            HandshakeInput::End => {
                self.running.remove(&leg);
            }
        }
        self.drain(leg);
    }

    fn run_timers(&mut self) {
        let now = Instant::now();
        let due = self
            .running
            .iter()
            .filter(|(_, (_, handshake))| handshake.poll_timeout().is_none_or(|at| at <= now));
        let due: Vec<LegId> = due.map(|(leg, _)| *leg).collect();
        for leg in due {
            if let Some((_, handshake)) = self.running.get_mut(&leg) {
                handshake.handle_timeout(now);
            }
            self.drain(leg);
            if self.running.get(&leg).is_some_and(|(_, handshake)| handshake.poll_timeout().is_none()) {
                self.running.remove(&leg);
            }
        }
    }

    fn drain(&mut self, leg: LegId) {
        let Some((from, handshake)) = self.running.get_mut(&leg) else { return };
        let from = *from;
        let outputs: Vec<HandshakeOutput> = std::iter::from_fn(|| handshake.poll_output()).collect();
        for output in outputs {
            self.give_back(from, leg, output);
        }
    }

    fn give_back(&self, to: usize, leg: LegId, output: HandshakeOutput) {
        let Some(back) = self.back.get(to) else { return };
        if back.returns.try_send(Return::Handshake(leg, output)).is_err() {
            back.shared.counters.lost_returns.add(1);
        }
        back.shared.waker.wake();
    }
}

/// Between two looks when nothing is due.
const LONG: Duration = Duration::from_secs(3_600);

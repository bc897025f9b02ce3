//! Codec threads: where audio is decoded and encoded, away from the packets.
//!
//! A packet thread hands a codec thread what is to be coded through a bounded channel, and gets what came of it the
//! same way, with one wake-up for all of a beat. A codec thread beats every [`BEAT`] while it has work, so no packet
//! wakes it; the jitter buffers that audio waits in anyway reckon with that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use setu_media::{Coders, Job, Kind, Packet, Plan, Way};
use setu_model::CallId;
use setu_model::limits::OPUS_PACKET_BYTES;

use crate::counters::CodecCounters;
use crate::worker::{Return, Shared};

/// A packet that changes threads: its payload moves with it, so nothing is allocated for it.
#[derive(Clone, Copy)]
pub(crate) struct Parcel {
    pub(crate) way: Way,
    kind: Kind,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    len: usize,
    bytes: [u8; OPUS_PACKET_BYTES],
}

impl Parcel {
    fn new(way: Way, packet: &Packet<'_>) -> Option<Self> {
        let Packet { kind, ssrc, sequence, timestamp, payload } = *packet;
        let mut bytes = [0; OPUS_PACKET_BYTES];
        bytes.get_mut(..payload.len())?.copy_from_slice(payload);
        Some(Self { way, kind, ssrc, sequence, timestamp, len: payload.len(), bytes })
    }

    pub(crate) fn packet(&self) -> Packet<'_> {
        Packet {
            kind: self.kind,
            ssrc: self.ssrc,
            sequence: self.sequence,
            timestamp: self.timestamp,
            payload: self.bytes.get(..self.len).unwrap_or_default(),
        }
    }
}

/// A packet to be coded, and when it came to which packet thread.
struct Task {
    at: Instant,
    parcel: Parcel,
}

/// What must not be lost: apart from the packets, so that no flood of them is in its way.
#[derive(Clone, Copy)]
enum Control {
    /// With the packet thread that what is coded goes back to.
    Open(Way, Plan, usize),
    Loss(Way, u8),
    Close(Way),
}

impl Control {
    const fn way(&self) -> Way {
        match self {
            Self::Open(way, ..) | Self::Loss(way, _) | Self::Close(way) => *way,
        }
    }
}

/// The running codec threads.
pub(crate) struct Codecs {
    threads: Vec<Handle>,
}

struct Handle {
    shared: Arc<CodecShared>,
    tasks: Sender<Task>,
    controls: Sender<Control>,
    thread: JoinHandle<()>,
}

/// What the plane and a codec thread share.
#[derive(Default)]
struct CodecShared {
    stop: AtomicBool,
    counters: CodecCounters,
}

/// A packet thread's way to the codec threads.
pub(crate) struct Desk {
    /// This packet thread's number.
    number: usize,
    ways: Vec<WayTo>,
    /// Controls for which there was no room yet, in order: two for each way at most.
    held_back: Vec<Control>,
    /// Packets for which there was no room.
    pub(crate) dropped: u64,
}

struct WayTo {
    tasks: Sender<Task>,
    controls: Sender<Control>,
    thread: Thread,
    /// Whether it had no room for the last control: what follows must not overtake that.
    full: bool,
}

impl Codecs {
    /// Starts `count` threads. `back` leads to the packet threads, by their numbers.
    pub(crate) fn spawn(count: usize, back: &[Back]) -> std::io::Result<Self> {
        let mut codecs = Self { threads: Vec::with_capacity(count) };
        for number in 0..count {
            let (tasks, task_queue) = bounded(TASKS);
            let (controls, control_queue) = bounded(CONTROLS);
            let shared = Arc::new(CodecShared::default());
            let worker = CodecThread {
                shared: Arc::clone(&shared),
                tasks: task_queue,
                controls: control_queue,
                back: back.to_vec(),
                coders: Coders::new(MOST_WAYS),
                owners: std::collections::BTreeMap::new(),
                measured: Measured { since: Instant::now(), busy: Duration::ZERO },
            };
            let thread = std::thread::Builder::new().name(format!("setu-codec-{number}"));
            let thread = thread.spawn(move || worker.run())?;
            codecs.threads.push(Handle { shared, tasks, controls, thread });
        }
        Ok(codecs)
    }

    /// Makes the way from packet thread `number`.
    pub(crate) fn desk(&self, number: usize) -> Desk {
        let way = |handle: &Handle| WayTo {
            tasks: handle.tasks.clone(),
            controls: handle.controls.clone(),
            thread: handle.thread.thread().clone(),
            full: false,
        };
        Desk { number, ways: self.threads.iter().map(way).collect(), held_back: Vec::new(), dropped: 0 }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.threads.iter().all(|handle| !handle.thread.is_finished())
    }

    pub(crate) fn add_to(&self, totals: &mut crate::Totals) {
        for handle in &self.threads {
            handle.shared.counters.add_to(totals);
        }
    }

    /// Ends the threads; packets under way are gone.
    pub(crate) fn stop(&mut self) {
        for handle in &self.threads {
            handle.shared.stop.store(true, Ordering::Release);
            handle.thread.thread().unpark();
        }
        for handle in self.threads.drain(..) {
            if handle.thread.join().is_err() {
                tracing::error!("a codec thread had panicked");
            }
        }
    }
}

impl Desk {
    /// Takes a relay's job. Never waits.
    pub(crate) fn take(&mut self, job: Job<'_>) {
        let control = match job {
            Job::Packet { way, packet } => return self.take_packet(way, &packet),
            Job::Open { way, plan } => Control::Open(way, plan, self.number),
            Job::Loss { way, percent } => Control::Loss(way, percent),
            Job::Close { way } => Control::Close(way),
        };
        self.hold(control);
        self.send_controls();
    }

    /// Tries again to send what there was no room for. A thread that is gone needs no controls.
    pub(crate) fn send_controls(&mut self) {
        let Self { ways, held_back, .. } = self;
        ways.iter_mut().for_each(|to| to.full = false);
        held_back.retain(|control| {
            let Some(to) = way_to(ways.len(), control.way().leg.call).and_then(|at| ways.get_mut(at)) else {
                return false;
            };
            if to.full {
                return true;
            }
            match to.controls.try_send(*control) {
                Ok(()) if matches!(control, Control::Open(..)) => to.thread.unpark(),
                Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                Err(TrySendError::Full(_)) => to.full = true,
            }
            to.full
        });
    }

    /// Puts a control behind those that wait, less what it makes void: of a thread that does not come round, no more
    /// must wait than it has ways.
    fn hold(&mut self, control: Control) {
        let way = control.way();
        match control {
            Control::Open(..) => {}
            Control::Loss(..) => {
                self.held_back.retain(|held| !matches!(held, Control::Loss(w, _) if *w == way))
            }
            Control::Close(_) => {
                let unopened =
                    self.held_back.iter().any(|held| matches!(held, Control::Open(w, ..) if *w == way));
                self.held_back.retain(|held| held.way() != way);
                if unopened {
                    return;
                }
            }
        }
        self.held_back.push(control);
    }

    fn take_packet(&mut self, way: Way, packet: &Packet<'_>) {
        let sent = way_to(self.ways.len(), way.leg.call)
            .and_then(|at| self.ways.get(at))
            .zip(Parcel::new(way, packet))
            .is_some_and(|(to, parcel)| to.tasks.try_send(Task { at: Instant::now(), parcel }).is_ok());
        self.dropped += u64::from(!sent);
    }
}

/// Which of so many codec threads is a call's. Other bits of the id than those that choose its packet thread.
fn way_to(threads: usize, call: CallId) -> Option<usize> {
    let threads = u128::try_from(threads).ok().filter(|threads| *threads > 0)?;
    usize::try_from((call.bits() >> 16) % threads).ok()
}

/// The way back to a packet thread.
#[derive(Clone)]
pub(crate) struct Back {
    pub(crate) returns: Sender<Return>,
    pub(crate) shared: Arc<Shared>,
}

struct CodecThread {
    shared: Arc<CodecShared>,
    tasks: Receiver<Task>,
    controls: Receiver<Control>,
    back: Vec<Back>,
    coders: Coders,
    /// The packet thread of each way.
    owners: std::collections::BTreeMap<Way, usize>,
    measured: Measured,
}

/// How busy a thread is.
struct Measured {
    since: Instant,
    busy: Duration,
}

impl CodecThread {
    fn run(mut self) {
        while !self.shared.stop.load(Ordering::Acquire) {
            let begun = Instant::now();
            self.beat(begun);
            let ended = Instant::now();
            self.measure(begun, ended);
            if self.coders.is_empty() {
                // Woken by the next control.
                std::thread::park();
            } else {
                let left = BEAT.saturating_sub(ended.saturating_duration_since(begun));
                std::thread::park_timeout(left);
            }
        }
    }

    /// Takes what waits and makes what is due.
    fn beat(&mut self, now: Instant) {
        while let Ok(control) = self.controls.try_recv() {
            let job = match control {
                Control::Open(way, plan, owner) => {
                    self.owners.insert(way, owner);
                    Job::Open { way, plan }
                }
                Control::Loss(way, percent) => Job::Loss { way, percent },
                Control::Close(way) => {
                    self.owners.remove(&way);
                    Job::Close { way }
                }
            };
            self.coders.handle(&job, now);
        }
        // Bounded, as packets go on coming meanwhile.
        for _ in 0..TASKS {
            let Ok(Task { at, parcel }) = self.tasks.try_recv() else { break };
            self.coders.handle(&Job::Packet { way: parcel.way, packet: parcel.packet() }, at);
        }
        let Self { coders, back, owners, shared, .. } = self;
        let mut wake = [false; MOST_BACK];
        coders.handle_timeout(now, |way, packet| {
            let Some(owner) = owners.get(&way) else { return };
            let Some((to, parcel)) = back.get(*owner).zip(Parcel::new(way, &packet)) else { return };
            match to.returns.try_send(Return::Coded(parcel)) {
                Ok(()) => {
                    if let Some(wake) = wake.get_mut(*owner) {
                        *wake = true;
                    }
                }
                Err(_) => shared.counters.unreturned.add(1),
            }
        });
        for (to, _) in back.iter().zip(wake).filter(|(_, wake)| *wake) {
            to.shared.waker.wake();
        }
        shared.counters.publish(coders);
    }

    fn measure(&mut self, begun: Instant, ended: Instant) {
        self.measured.busy += ended.saturating_duration_since(begun);
        let passed = ended.saturating_duration_since(self.measured.since);
        if passed < Duration::from_millis(Coders::LOAD_PERIOD_MS) {
            return;
        }
        let permille = self.measured.busy.as_micros() * 1_000 / passed.as_micros().max(1);
        // A thread that was parked for long has nothing to say of its load.
        if !self.coders.is_empty() {
            self.coders.handle_load(u32::try_from(permille).unwrap_or(1_000));
        }
        self.measured = Measured { since: ended, busy: Duration::ZERO };
    }
}

/// Between two looks at what is due.
const BEAT: Duration = Duration::from_millis(5);

/// How many packets may wait for a codec thread: those of 500 calls in 20 ms, four beats.
const TASKS: usize = 1_024;

/// How many controls may wait: 250 calls set up at the same moment. More are held back, none is dropped.
const CONTROLS: usize = 1_024;

/// The most ways of a codec thread: two for each of 2,000 calls, several times what a core can code.
const MOST_WAYS: usize = 4_000;

/// The most packet threads that are woken: what the configuration allows.
const MOST_BACK: usize = 64;

#[cfg(test)]
mod tests {
    use setu_media::{AudioFormat, OpusTarget};
    use setu_model::LegId;

    use super::*;

    /// A desk before threads that have room for one control each and take none.
    fn desk(threads: usize) -> (Desk, Vec<Receiver<Control>>) {
        let way = || {
            let ((tasks, _), (controls, queue)) = (bounded(1), bounded(1));
            (WayTo { tasks, controls, thread: std::thread::current(), full: false }, queue)
        };
        let (ways, queues) = (0..threads).map(|_| way()).unzip();
        (Desk { number: 0, ways, held_back: Vec::new(), dropped: 0 }, queues)
    }

    fn way(call: u128) -> Way {
        Way { leg: LegId::originator(CallId::from_bits(call << 16)), generation: 1 }
    }

    fn open(desk: &mut Desk, way: Way) {
        let plan = Plan {
            from: AudioFormat::Pcmu { send_pt: 0, receive_pt: 0 },
            to: AudioFormat::Pcma { send_pt: 8, receive_pt: 8 },
            opus: OpusTarget::META,
            comfort_noise: false,
        };
        desk.take(Job::Open { way, plan });
    }

    fn waiting(desk: &Desk) -> Vec<(char, Way)> {
        let what = |control: &Control| match control {
            Control::Open(..) => 'o',
            Control::Loss(..) => 'l',
            Control::Close(_) => 'c',
        };
        desk.held_back.iter().map(|control| (what(control), control.way())).collect()
    }

    #[test]
    fn calls_that_come_and_go_leave_nothing_waiting_for_a_thread_that_does_not_come_round() {
        let (mut desk, queues) = desk(1);
        open(&mut desk, way(1));
        for call in 2..1_000 {
            open(&mut desk, way(call));
            for percent in 0..10 {
                desk.take(Job::Loss { way: way(call), percent });
                desk.take(Job::Loss { way: way(1), percent });
            }
            assert_eq!(waiting(&desk), [('o', way(call)), ('l', way(call)), ('l', way(1))]);
            desk.take(Job::Close { way: way(call) });
        }
        desk.take(Job::Close { way: way(1) });
        assert_eq!(waiting(&desk), [('c', way(1))], "its thread knows of it");

        // It comes round.
        assert!(matches!(queues[0].try_recv(), Ok(Control::Open(w, ..)) if w == way(1)));
        desk.send_controls();
        assert!(matches!(queues[0].try_recv(), Ok(Control::Close(w)) if w == way(1)));
        assert_eq!(waiting(&desk), []);
    }

    #[test]
    fn a_thread_that_is_gone_or_full_is_not_in_the_way_of_another() {
        let (mut desk, mut queues) = desk(2);
        for call in [1, 3, 2] {
            open(&mut desk, way(call));
        }
        assert_eq!(waiting(&desk), [('o', way(3))]);
        assert!(matches!(queues[0].try_recv(), Ok(Control::Open(w, ..)) if w == way(2)));
        drop(queues.remove(1));
        open(&mut desk, way(5));
        assert_eq!(waiting(&desk), []);
    }
}

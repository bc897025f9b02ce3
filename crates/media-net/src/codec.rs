//! Codec threads: where audio is decoded and encoded, away from the packets.
//!
//! A packet thread hands a codec thread what is to be coded through a bounded channel, and gets what came of it the
//! same way, with one wake-up for all of a beat. A codec thread beats every [`BEAT`] while it has work, so no packet
//! wakes it; the jitter buffers that audio waits in anyway reckon with that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
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
    /// Controls for which there was no room yet, in order: two for each coded way at most.
    held_back: Vec<Control>,
    /// Packets for which there was no room.
    pub(crate) dropped: u64,
}

struct WayTo {
    tasks: Sender<Task>,
    controls: Sender<Control>,
    thread: Thread,
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
        self.held_back.push(control);
        self.send_controls();
    }

    /// Tries again to send what there was no room for.
    pub(crate) fn send_controls(&mut self) {
        while let Some(control) = self.held_back.first() {
            let way = match control {
                Control::Open(way, ..) | Control::Loss(way, _) | Control::Close(way) => *way,
            };
            let Some(to) = way_to(&self.ways, way.leg.call) else { return self.held_back.clear() };
            if to.controls.try_send(*control).is_err() {
                return;
            }
            if matches!(control, Control::Open(..)) {
                to.thread.unpark();
            }
            self.held_back.remove(0);
        }
    }

    fn take_packet(&mut self, way: Way, packet: &Packet<'_>) {
        let sent = way_to(&self.ways, way.leg.call)
            .zip(Parcel::new(way, packet))
            .is_some_and(|(to, parcel)| to.tasks.try_send(Task { at: Instant::now(), parcel }).is_ok());
        self.dropped += u64::from(!sent);
    }
}

/// The codec thread of a call. Other bits of the id than those that choose its packet thread.
fn way_to(ways: &[WayTo], call: CallId) -> Option<&WayTo> {
    let count = u128::try_from(ways.len()).ok().filter(|count| *count > 0)?;
    ways.get(usize::try_from((call.bits() >> 16) % count).ok()?)
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

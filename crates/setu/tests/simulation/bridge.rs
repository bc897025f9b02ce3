//! A whole bridge as one party of the seeded network: the shard of the driver, relays, muxers, and its transports.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use setu::driver::{Answer, Input, Output as Wanted, Shard, ShardSettings};
use setu_call::{RecordCommand, RecordEvent};
use setu_model::{CallId, Cdr, Entropy as _, Now, RecordingRef, SeededEntropy};
use setu_recording::{Muxer, Tags};
use setu_sdp::Fingerprint;
use setu_twin::{Closed, ConnId, Output, Party, StreamFacts, Transport};

use crate::media_plane::MediaPlane;
use crate::transports::{Transports, Turn};

/// The bridge under test.
pub(crate) struct Bridge {
    pub(crate) shard: Shard,
    pub(crate) media: MediaPlane,
    pub(crate) cdrs: Vec<Cdr>,
    /// What became of orders: token, and the call if it was placed.
    pub(crate) answers: Vec<(u64, Option<CallId>)>,
    pub(crate) drained: bool,
    /// Recordings that were made, and what is wrong with them.
    pub(crate) recordings: usize,
    pub(crate) faults: Vec<String>,
    transports: Transports,
    sip_udp: SocketAddr,
    recorder: BTreeMap<CallId, (Muxer, Vec<u8>)>,
    /// Whether every recording fails, as on a full disk.
    disk_full: bool,
    outputs: VecDeque<Output>,
}

/// Where the bridge is.
pub(crate) const PUBLIC: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 10));
pub(crate) const PRIVATE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 10));

impl Bridge {
    pub(crate) fn new(mut settings: ShardSettings, seed: u64, pairs: u16, disk_full: bool, now: Now) -> Self {
        let mut seeds = SeededEntropy::new(seed);
        let media = MediaPlane::new(PUBLIC, PRIVATE, pairs);
        settings.calls.dtls = Some(Fingerprint(media.identity.fingerprint()));
        let shard = Shard::new(settings, || Box::new(SeededEntropy::new(seeds.next_u64())), now);
        let sip_udp = SocketAddr::new(PRIVATE, 5_060);
        let listen = |ip, port, transport| Output::Listen { local: SocketAddr::new(ip, port), transport };
        Self {
            shard,
            media,
            cdrs: Vec::new(),
            answers: Vec::new(),
            drained: false,
            recordings: 0,
            faults: Vec::new(),
            transports: Transports::new(PUBLIC, sip_udp),
            sip_udp,
            recorder: BTreeMap::new(),
            disk_full,
            outputs: VecDeque::from([
                listen(PUBLIC, 5_061, Transport::Tls),
                listen(PRIVATE, 5_060, Transport::Tcp),
                listen(PRIVATE, 5_061, Transport::Tls),
                Output::BindUdp { local: sip_udp },
            ]),
        }
    }

    /// An operator's command.
    pub(crate) fn command(&mut self, input: Input, now: Now) {
        let turn = Turn { inputs: [input].into(), ..Turn::default() };
        self.carry_out(turn, now);
    }

    /// The calls that a program placed.
    pub(crate) fn placed(&self) -> Vec<CallId> {
        self.answers.iter().filter_map(|(_, placed)| *placed).collect()
    }

    /// Handles, drains, and goes on until nobody has anything to say.
    fn carry_out(&mut self, mut turn: Turn, now: Now) {
        loop {
            while let Some(wanted) = self.shard.poll_output() {
                self.want(wanted, &mut turn, now);
            }
            self.take_frames();
            turn.inputs.extend(self.media.events.drain(..).map(Input::Media));
            turn.outputs.append(&mut self.media.outputs);
            let Some(input) = turn.inputs.pop_front() else { break };
            self.shard.handle(input, now);
        }
        self.outputs.append(&mut turn.outputs);
    }

    fn want(&mut self, wanted: Wanted, turn: &mut Turn, now: Now) {
        match wanted {
            Wanted::Send(transmit) => self.transports.send(transmit, turn),
            Wanted::Close(flow) => self.transports.close(flow, turn),
            Wanted::Media(command) => self.media.command(command, now),
            Wanted::Record(command) => turn.inputs.extend(self.record(command).map(Input::Record)),
            Wanted::Cdr(cdr) => self.cdrs.push(*cdr),
            Wanted::Drained => self.drained = true,
            Wanted::Answered(token, answer) => {
                if let Answer::Placed(placed) = *answer {
                    self.answers.push((token, placed.ok()));
                }
            }
            // No number here has a gate.
            Wanted::Load(load) => self.faults.push(format!("the gate was asked: {load:?}")),
            Wanted::Message(ask) => self.faults.push(format!("nobody is sent a message here: {ask:?}")),
            Wanted::Graph(ask) => self.faults.push(format!("nobody signals by Graph here: {ask:?}")),
            Wanted::Keep(_)
            | Wanted::Found(..)
            | Wanted::Requested(_)
            | Wanted::Acted(_)
            | Wanted::Stranger(..)
            | Wanted::Progress(_)
            | Wanted::Awaited(_)
            | Wanted::Note(_)
            | Wanted::Withdrawn(_)
            | Wanted::Registrations(_) => {}
        }
    }

    fn record(&mut self, command: RecordCommand) -> Option<RecordEvent> {
        match command {
            RecordCommand::Start { call, .. } if self.disk_full => {
                Some(RecordEvent::Failed { call, why: "no space left".to_owned(), partial: None })
            }
            RecordCommand::Start { call, at, .. } => {
                self.recorder.insert(call, (Muxer::new(&Tags::new(call, at)), Vec::new()));
                None
            }
            RecordCommand::Stop { call, lasted } => {
                let (mut muxer, mut file) = self.recorder.remove(&call)?;
                self.recordings += 1;
                file.extend(muxer.finish(lasted));
                if muxer.counters().malformed > 0 || !file.starts_with(b"OggS") {
                    self.faults.push(format!("the recording of {call} is broken: {:?}", muxer.counters()));
                }
                let recording = RecordingRef {
                    path: format!("{call}.opus"),
                    channels: 2,
                    duration_ms: muxer.duration_ms(),
                    bytes: file.len() as u64,
                    dropped_frames: 0,
                };
                Some(RecordEvent::Finished { call, recording })
            }
        }
    }

    fn take_frames(&mut self) {
        for frame in self.media.frames.drain(..) {
            if let Some((muxer, file)) = self.recorder.get_mut(&frame.call) {
                muxer.push(&frame);
                file.extend(muxer.take_pages());
            } else if !self.disk_full {
                self.faults.push(format!("a frame of {} came outside its recording", frame.call));
            }
        }
    }

    /// Says what is left over once every call and every timer is over.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut left = self.shard.leftovers();
        left.extend(self.media.leftovers());
        left.extend(self.recorder.keys().map(|call| format!("{call} is still being recorded")));
        left
    }
}

impl Party for Bridge {
    fn handle_stream_opened(&mut self, conn: ConnId, facts: StreamFacts, now: Now) {
        let mut turn = Turn::default();
        self.transports.opened(conn, &facts, &mut turn);
        self.carry_out(turn, now);
    }

    fn handle_stream_bytes(&mut self, conn: ConnId, bytes: &[u8], now: Now) {
        let mut turn = Turn::default();
        self.transports.bytes(conn, bytes, &mut turn);
        self.carry_out(turn, now);
    }

    fn handle_stream_closed(&mut self, conn: ConnId, _: Closed, now: Now) {
        let mut turn = Turn::default();
        self.transports.closed(conn, &mut turn);
        self.carry_out(turn, now);
    }

    fn handle_udp(&mut self, local: SocketAddr, from: SocketAddr, bytes: &[u8], now: Now) {
        let mut turn = Turn::default();
        if local == self.sip_udp {
            self.transports.datagram(from, bytes, &mut turn);
        } else {
            self.media.datagram(local, from, bytes, now);
        }
        self.carry_out(turn, now);
    }

    fn handle_timeout(&mut self, now: Now) {
        if self.shard.poll_timeout().is_some_and(|at| at <= now.mono) {
            self.shard.handle_timeout(now);
        }
        self.media.handle_timeout(now);
        self.carry_out(Turn::default(), now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [self.shard.poll_timeout(), self.media.poll_timeout()].into_iter().flatten().min()
    }
}

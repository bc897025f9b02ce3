//! The load generator: both parties of every call.

use std::collections::BTreeMap;
use std::net::{SocketAddrV4, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use setu_srtp::rtp::Header;
use setu_srtp::{Receiver, Sender};

use crate::process::{cpu_ns, dropped, resident_kb};
use crate::session::{PAYLOAD_TYPE, RELAYS, Route, SUITE, agent, keying_from_meta, meta, relay};
use crate::udp::{Inbox, Outbox, Received, bind};

/// Both parties of every call, and what they heard.
pub(crate) struct Generator {
    relays: Vec<(UdpSocket, Outbox)>,
    calls: Vec<Call>,
    by_port: BTreeMap<SocketAddrV4, usize>,
    inbox: Inbox,
    heard: Heard,
    sent: u64,
}

struct Call {
    route: Route,
    agent: UdpSocket,
    sender: Sender,
    receiver: Receiver,
    /// Packets sent by either party so far.
    sequence: u16,
}

/// What a measured time has heard.
#[derive(Default)]
struct Heard {
    packets: u64,
    /// Not what was sent.
    garbled: u64,
    /// From sending to the kernel's arrival behind the relay.
    latencies_ns: Vec<u32>,
}

/// What one contender's turn gave.
pub(crate) struct Turn {
    sent: u64,
    pub(crate) relayed: u64,
    /// Lost in this process, not in the relay.
    overflowed: u64,
    cpu_ns: u64,
    /// Sorted.
    latencies_ns: Vec<u32>,
    pub(crate) kb_per_session: f64,
}

impl Turn {
    pub(crate) fn ns_cpu_per_packet(&self) -> f64 {
        self.cpu_ns as f64 / self.relayed.max(1) as f64
    }

    /// The share of the packets that the relay lost.
    pub(crate) fn loss(&self) -> f64 {
        let lost = self.sent.saturating_sub(self.relayed).saturating_sub(self.overflowed);
        lost as f64 / self.sent.max(1) as f64
    }

    /// A percentile of the time a packet takes through the relay, in microseconds.
    pub(crate) fn latency_us(&self, percent: usize) -> f64 {
        let at = self.latencies_ns.len().saturating_sub(1) * percent / 100;
        f64::from(self.latencies_ns.get(at).copied().unwrap_or(0)) / 1_000.0
    }
}

impl Generator {
    /// Takes the places of all parties.
    pub(crate) fn new(routes: &[Route]) -> anyhow::Result<Self> {
        let relays = (0..RELAYS).map(|number| Ok((bind(relay(number))?, Outbox::new())));
        let relays =
            relays.collect::<anyhow::Result<_>>().context("the place of a relay of Meta is taken")?;
        let mut calls = Vec::with_capacity(routes.len());
        let mut by_port = BTreeMap::new();
        for (session, route) in (0..).zip(routes) {
            by_port.insert(route.meta, calls.len());
            calls.push(Call {
                route: route.clone(),
                agent: bind(agent(session)).context("the place of an agent is taken")?,
                sender: Sender::from_keying(SUITE, &keying_from_meta(session))?,
                receiver: Receiver::from_keying(SUITE, &route.from_relay)?,
                sequence: 0,
            });
        }
        ensure!(by_port.len() == calls.len(), "two calls share a port toward Meta");
        Ok(Self { relays, calls, by_port, inbox: Inbox::new(), heard: Heard::default(), sent: 0 })
    }

    /// Loads the contender of this process id, which held `idle_kb` before its sessions, and measures it after the
    /// warm-up.
    pub(crate) fn run(mut self, process: u32, idle_kb: u64, seconds: u64) -> anyhow::Result<Turn> {
        let mut pace = Pace::new(self.calls.len());
        self.until(&mut pace, WARM_UP)?;
        self.settle(&mut pace)?;
        ensure!(self.heard.packets > 0, "nothing comes through the relay");
        let (cpu, drops) = (cpu_ns(process)?, dropped(GENERATOR)?);
        self.heard = Heard::default();
        self.heard.latencies_ns.reserve(self.calls.len() * 100 * usize::try_from(seconds)?);
        self.sent = 0;
        self.until(&mut pace, Duration::from_secs(seconds))?;
        self.settle(&mut pace)?;
        let cpu_ns = cpu_ns(process)? - cpu;
        for _ in 0..MOST_SETTLES {
            // Nothing is lost yet that is only late, as on a busy machine.
            if self.heard.packets < self.sent {
                self.settle(&mut pace)?;
            }
        }
        let kb = resident_kb(process)?.saturating_sub(idle_kb);
        let Heard { packets, garbled, mut latencies_ns } = self.heard;
        ensure!(garbled == 0, "{garbled} packets came out of the relay garbled");
        latencies_ns.sort_unstable();
        Ok(Turn {
            sent: self.sent,
            relayed: packets,
            overflowed: dropped(GENERATOR)? - drops,
            cpu_ns,
            latencies_ns,
            kb_per_session: kb as f64 / self.calls.len() as f64,
        })
    }

    /// Sends and receives for `length`.
    fn until(&mut self, pace: &mut Pace, length: Duration) -> anyhow::Result<()> {
        let end = pace.next_ns() + u64::try_from(length.as_nanos())?;
        while pace.next_ns() < end {
            pace.wait();
            while let Some(turn) = pace.due(end) {
                self.send(turn)?;
            }
            self.flush()?;
        }
        Ok(())
    }

    /// Takes what is still on its way, without sending: shorter than any relay waits before it fills a pause.
    fn settle(&mut self, pace: &mut Pace) -> anyhow::Result<()> {
        std::thread::sleep(SETTLE);
        for call in 0..self.calls.len() {
            self.hear_agent(call)?;
        }
        self.flush()?;
        pace.restart();
        Ok(())
    }

    /// Sends the packet whose turn it is: every call has one each way in 20 ms.
    fn send(&mut self, turn: Scheduled) -> anyhow::Result<()> {
        self.sent += 1;
        if turn.from_agent {
            // Its packets of the last 20 ms have waited; the kernel has noted when they came.
            self.hear_agent(turn.call)?;
        }
        let Some(call) = self.calls.get_mut(turn.call) else { return Ok(()) };
        let session = u16::try_from(turn.call)?;
        if turn.from_agent {
            let mut packet = [0; PACKET];
            write(&mut packet, call.sequence, session, AGENT);
            call.sequence = call.sequence.wrapping_add(1);
            call.agent.send_to(&packet, call.route.agent)?;
            return Ok(());
        }
        let at = usize::from(meta(session).ip().octets()[3]) - 1;
        let Some((socket, outbox)) = self.relays.get_mut(at) else { return Ok(()) };
        if outbox.is_full() {
            outbox.flush(socket)?;
        }
        let (sequence, sender) = (call.sequence, &mut call.sender);
        outbox.push(call.route.meta, |buffer| {
            write(buffer, sequence, session, META);
            sender.protect_rtp(buffer, PACKET).unwrap_or(0)
        });
        Ok(())
    }

    /// Sends what was collected, and takes what came for Meta.
    fn flush(&mut self) -> anyhow::Result<()> {
        let Self { relays, calls, by_port, inbox, heard, .. } = self;
        for (socket, outbox) in relays {
            outbox.flush(socket)?;
            inbox.drain(socket, false, |received| {
                let call = by_port.get(&received.from).and_then(|at| calls.get_mut(*at));
                let Some(call) = call.filter(|_| is_rtp(received.datagram)) else { return };
                match call.receiver.unprotect_rtp(received.datagram) {
                    Ok(len) => heard.take(received, len, AGENT),
                    Err(_) => heard.garbled += 1,
                }
            })?;
        }
        Ok(())
    }

    fn hear_agent(&mut self, call: usize) -> anyhow::Result<()> {
        let Some(call) = self.calls.get(call) else { return Ok(()) };
        let heard = &mut self.heard;
        self.inbox.drain(&call.agent, true, |received| {
            let len = received.datagram.len();
            if is_rtp(received.datagram) {
                heard.take(received, len, META);
            }
        })?;
        Ok(())
    }
}

impl Heard {
    /// Counts a packet of which the plain length is `len`, unless the relay made it up to fill a pause.
    fn take(&mut self, received: Received<'_>, len: usize, speaker: u8) {
        let Received { datagram, at_ns, .. } = received;
        let payload = datagram.get(HEADER..len).unwrap_or_default();
        let Some((head, rest)) = payload.split_first_chunk::<10>() else { return };
        if payload.len() != PACKET - HEADER {
            return;
        }
        if head[0] != TOC || head[9] != speaker || rest.iter().any(|byte| *byte != FILL) {
            self.garbled += 1;
            return;
        }
        let Some(at_ns) = at_ns else { return };
        let sent_ns = head.get(1..9).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
        self.packets += 1;
        self.latencies_ns.push(u32::try_from(at_ns.saturating_sub(sent_ns)).unwrap_or(u32::MAX));
    }
}

/// Writes a packet: 20 ms of what looks like Opus, and the time.
fn write(to: &mut [u8], sequence: u16, session: u16, speaker: u8) {
    let header = Header::new(
        PAYLOAD_TYPE,
        sequence,
        u32::from(sequence) * 960,
        u32::from(session) << 8 | u32::from(speaker),
    );
    let mut payload = [FILL; PACKET - HEADER];
    payload[0] = TOC;
    payload[1..9].copy_from_slice(&now_ns().to_be_bytes());
    payload[9] = speaker;
    let _ = header.write(&payload, to);
}

fn is_rtp(datagram: &[u8]) -> bool {
    datagram.get(1).is_some_and(|byte| byte & 0x7f == PAYLOAD_TYPE)
}

fn now_ns() -> u64 {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(passed.as_nanos()).unwrap_or(0)
}

/// When which packet is sent: all of them evenly spread.
struct Pace {
    calls: u64,
    start_ns: u64,
    sent: u64,
}

/// A packet that is due.
struct Scheduled {
    call: usize,
    from_agent: bool,
}

impl Pace {
    fn new(calls: usize) -> Self {
        Self { calls: calls as u64, start_ns: now_ns(), sent: 0 }
    }

    /// Begins anew after a pause; the order goes on.
    fn restart(&mut self) {
        self.start_ns = now_ns() - self.sent * 20_000_000 / (2 * self.calls);
    }

    fn next_ns(&self) -> u64 {
        self.start_ns + self.sent * 20_000_000 / (2 * self.calls)
    }

    /// Sleeps until a packet is due, or those of a slice.
    fn wait(&self) {
        let slice = (now_ns() / SLICE_NS + 1) * SLICE_NS;
        let until = self.next_ns().max(slice);
        std::thread::sleep(Duration::from_nanos(until.saturating_sub(now_ns())));
    }

    /// The next packet, if it is due.
    fn due(&mut self, end_ns: u64) -> Option<Scheduled> {
        let next = self.next_ns();
        if next > now_ns() || next >= end_ns {
            return None;
        }
        let at = self.sent % (2 * self.calls);
        self.sent += 1;
        Some(Scheduled { call: usize::try_from(at / 2).ok()?, from_agent: at % 2 == 1 })
    }
}

/// Header of an RTP packet, in bytes.
const HEADER: usize = 12;

/// A packet before protection: 172 bytes with the tag of 10.
const PACKET: usize = 162;

/// The first byte of an Opus packet of 20 ms (RFC 6716 section 3.1: hybrid, mono, one frame).
const TOC: u8 = 0x78;
const FILL: u8 = 0x55;
const META: u8 = 1;
const AGENT: u8 = 2;

/// Until routes are learnt and caches are warm: rtpengine takes three seconds for an address.
const WARM_UP: Duration = Duration::from_secs(4);

/// Long enough for what is on its way; a relay that fills pauses does so later.
const SETTLE: Duration = Duration::from_millis(100);

/// How many times that late packets are waited for.
const MOST_SETTLES: usize = 5;

/// How exactly packets leave in time.
const SLICE_NS: u64 = 100_000;

/// The networks of the generator's sockets: `127.0.10.x` and `127.0.20.x`.
const GENERATOR: &[u8] = &[10, 20];

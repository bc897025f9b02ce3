//! UDP: one socket a listener, and flows that are names for (listener, our address, remote address).

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use setu_model::{Side, limits};
use setu_sip::{Arrival, FlowId, Hop, Message, Transport};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::connect;
use crate::datagram::{self, Kind, Local};
use crate::event::{NetEvent, SendFailure};
use crate::net::{Peer, Phase, Shared};
use crate::pool::Outgoing;

/// The sending half of a UDP listener, and the names of its flows.
#[derive(Debug)]
pub(crate) struct UdpListener {
    index: u8,
    side: Side,
    local: SocketAddr,
    socket: std::net::UdpSocket,
    locals: Mutex<Locals>,
    v6: Mutex<Remembered>,
}

impl UdpListener {
    /// Sends from `socket`, which must be non-blocking. `index` is the listener's place among the UDP listeners.
    pub(crate) fn new(index: u8, side: Side, socket: std::net::UdpSocket, flows: usize) -> io::Result<Self> {
        let local = socket.local_addr()?;
        datagram::prepare(&socket)?;
        let (locals, v6) = (Mutex::default(), Mutex::new(Remembered::new(flows)));
        Ok(Self { index, side, local, socket, locals, v6 })
    }

    /// Sends one message, from the address of ours that its flow names. The retransmissions of SIP make good for a datagram the system has no room for.
    pub(crate) fn send(
        &self,
        shared: &Shared,
        flow: FlowId,
        remote: SocketAddr,
        message: &Message,
    ) -> Result<(), SendFailure> {
        let wire = message.as_bytes();
        match datagram::send(&self.socket, wire, remote, self.locals().of(flow)) {
            Ok(()) => {
                shared.counters.traffic(self.side, Transport::Udp).sent.add();
                shared.trace("out", Peer { side: self.side, transport: Transport::Udp, flow, remote }, wire);
                Ok(())
            }
            Err(fault) => {
                shared.counters.datagrams_unsent.add();
                if fault.kind() == io::ErrorKind::WouldBlock {
                    return Ok(());
                }
                Err(SendFailure::Unreachable(format!("{remote}: {fault}")))
            }
        }
    }

    /// The flow between an address of ours, or whichever the system chooses, and `remote`.
    fn flow(&self, local: Option<Local>, remote: SocketAddr) -> FlowId {
        let local = local.map_or(0, |local| self.locals().number(local));
        let ours = UDP | local << LOCAL_SHIFT | u64::from(self.index) << INDEX_SHIFT;
        match remote {
            SocketAddr::V4(v4) => FlowId(ours | name_v4(v4)),
            SocketAddr::V6(_) => {
                let mut known = self.v6.lock().unwrap_or_else(PoisonError::into_inner);
                FlowId(ours | UDP_V6 | known.name(remote))
            }
        }
    }

    fn locals(&self) -> MutexGuard<'_, Locals> {
        self.locals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remote(&self, flow: FlowId) -> Option<SocketAddr> {
        if flow.0 & UDP_V6 == 0 {
            return Some(address_v4(flow));
        }
        let mut known = self.v6.lock().unwrap_or_else(PoisonError::into_inner);
        known.address(flow.0 & ((1 << INDEX_SHIFT) - 1))
    }
}

/// Returns the listener and the address that a UDP flow stands for; none for streams and forgotten flows.
pub(crate) fn route(listeners: &[UdpListener], flow: FlowId) -> Option<(&UdpListener, SocketAddr)> {
    if flow.0 & UDP == 0 {
        return None;
    }
    let index = flow.0 >> INDEX_SHIFT & (MOST_LISTENERS as u64 - 1);
    let listener = listeners.iter().find(|listener| u64::from(listener.index) == index)?;
    Some((listener, listener.remote(flow)?))
}

/// Sends a message to the first address of a hop that may be contacted and that a listener of the side can reach.
pub(crate) fn send_to(shared: &Shared, hop: &Hop, addresses: &[SocketAddr], outgoing: Outgoing) {
    let mut failure = SendFailure::NoListener(hop.side, hop.transport);
    let allowed = match connect::allowed(shared, addresses) {
        Ok(allowed) => allowed,
        Err(reason) => return shared.fail(outgoing.token, reason),
    };
    if allowed.iter().all(|remote| outgoing.avoid.contains(remote)) {
        return shared.fail(outgoing.token, connect::none_left());
    }
    for remote in allowed.into_iter().filter(|remote| !outgoing.avoid.contains(remote)) {
        let fits = |l: &&UdpListener| l.side == hop.side && l.local.is_ipv4() == remote.is_ipv4();
        let Some(listener) = shared.udp.iter().find(fits) else { continue };
        let flow = listener.flow(None, remote);
        // First, so that no response can come before it.
        shared.emit(NetEvent::Bound { token: outgoing.token, flow, remote });
        match listener.send(shared, flow, remote, &outgoing.message) {
            Ok(()) => return,
            Err(reason) => failure = reason,
        }
    }
    shared.fail(outgoing.token, failure);
}

/// Receives datagrams until shutdown.
pub(crate) async fn receive(shared: Arc<Shared>, index: usize, socket: UdpSocket) {
    let Some(listener) = shared.udp.get(index) else { return };
    // Never written past what arrived, and copied from: one buffer serves the listener's whole life.
    let mut buffer = vec![0; limits::SIP_MESSAGE_BYTES];
    let mut reader = datagram::Reader::new();
    let ended = shared.reached(Phase::Draining);
    tokio::pin!(ended);
    loop {
        let next = || reader.receive(&socket, &mut buffer);
        let received = tokio::select! {
            () = &mut ended => return,
            received = socket.async_io(Interest::READABLE | Interest::ERROR, next) => received,
        };
        match received {
            Ok(received) => {
                let bytes = buffer.get(..received.length).unwrap_or_default();
                match received.kind {
                    Kind::Datagram(local) => take(&shared, listener, bytes, received.remote, local),
                    Kind::Returned => take_back(&shared, bytes, received.remote),
                    Kind::Other => {}
                }
            }
            Err(fault) => {
                tracing::warn!(local = %listener.local, %fault, "a datagram could not be received");
                // A fault that stays would spin.
                tokio::time::sleep(FAULT_PAUSE).await;
            }
        }
    }
}

fn take(shared: &Shared, listener: &UdpListener, datagram: &[u8], remote: SocketAddr, local: Option<Local>) {
    if datagram.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0 | b' ')) {
        // What phones send to keep a NAT open; there is nothing to answer (RFC 5626 has STUN for that).
        shared.counters.keepalives.add();
        return;
    }
    let arrival = Arrival {
        flow: listener.flow(local, remote),
        transport: Transport::Udp,
        side: listener.side,
        local: local.map_or(listener.local, |local| SocketAddr::new(local.ip, listener.local.port())),
        remote,
        outbound: false,
        verified: Arc::default(),
    };
    let bytes = Bytes::copy_from_slice(datagram);
    let traffic = shared.counters.traffic(listener.side, Transport::Udp);
    shared.trace("in", Peer::of(&arrival), &bytes);
    match Message::parse(bytes) {
        Ok(message) => {
            traffic.received.add();
            shared.emit(NetEvent::Received { arrival, message });
        }
        Err(error) => {
            traffic.malformed.add();
            shared.emit(NetEvent::Malformed { arrival, error });
        }
    }
}

fn take_back(shared: &Shared, quote: &[u8], remote: SocketAddr) {
    shared.counters.datagrams_returned.add();
    tracing::debug!(%remote, "a datagram could not be delivered");
    // Some routers quote the ports and nothing of ours: that names no message.
    if !quote.is_empty() {
        shared.emit(NetEvent::Returned { remote, quote: Bytes::copy_from_slice(quote) });
    }
}

/// A UDP flow over IPv4 is its own name: bit 63, the number of our address in bits 55 to 61, the listener in bits 48 to
/// 54, the peer's address in bits 16 to 47, its port in bits 0 to 15. So there is nothing to remember of the peer, and a
/// flood from forged addresses can push nobody out.
fn name_v4(remote: SocketAddrV4) -> u64 {
    u64::from(remote.ip().to_bits()) << 16 | u64::from(remote.port())
}

fn address_v4(flow: FlowId) -> SocketAddr {
    let [_, _, a, b, c, d, high, low] = flow.0.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), u16::from_be_bytes([high, low]))
}

/// The addresses of this machine that datagrams came to, numbered from 1. Beyond the last number, and where the listener
/// is bound to one address, the system chooses: 0.
#[derive(Debug, Default)]
struct Locals(Vec<Local>);

impl Locals {
    fn number(&mut self, local: Local) -> u64 {
        if let Some(place) = self.0.iter().position(|known| *known == local) {
            return place as u64 + 1;
        }
        if self.0.len() >= MOST_LOCALS {
            return 0;
        }
        self.0.push(local);
        self.0.len() as u64
    }

    fn of(&self, flow: FlowId) -> Option<Local> {
        let number = usize::try_from(flow.0 >> LOCAL_SHIFT & MOST_LOCALS as u64).ok()?;
        self.0.get(number.checked_sub(1)?).copied()
    }
}

/// IPv6 addresses do not fit into a flow id, so they are numbered, and those used least recently are forgotten: two
/// generations, the older of which goes when the younger is full.
#[derive(Debug)]
struct Remembered {
    last: u64,
    half: usize,
    young: Generation,
    old: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    names: BTreeMap<SocketAddr, u64>,
    addresses: BTreeMap<u64, SocketAddr>,
}

impl Remembered {
    fn new(most: usize) -> Self {
        Self { last: 0, half: (most / 2).max(1), young: Generation::default(), old: Generation::default() }
    }

    fn name(&mut self, remote: SocketAddr) -> u64 {
        if let Some(name) = self.young.names.get(&remote) {
            return *name;
        }
        let name = self.old.names.get(&remote).copied().unwrap_or_else(|| {
            self.last += 1;
            self.last
        });
        self.remember(name, remote);
        name
    }

    fn address(&mut self, name: u64) -> Option<SocketAddr> {
        if let Some(remote) = self.young.addresses.get(&name) {
            return Some(*remote);
        }
        let remote = self.old.addresses.get(&name).copied()?;
        self.remember(name, remote);
        Some(remote)
    }

    fn remember(&mut self, name: u64, remote: SocketAddr) {
        if self.young.names.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.names.insert(remote, name);
        self.young.addresses.insert(name, remote);
    }
}

/// Marks the flow ids of UDP.
const UDP: u64 = 1 << 63;

/// Marks those over IPv6.
const UDP_V6: u64 = 1 << 62;

const INDEX_SHIFT: u32 = 48;

const LOCAL_SHIFT: u32 = 55;

/// As many addresses of ours as a flow id tells apart: all seven bits.
const MOST_LOCALS: usize = 127;

/// As many UDP listeners as a flow id tells apart.
pub(crate) const MOST_LISTENERS: usize = 128;

const FAULT_PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(number: u8) -> Local {
        Local { ip: [127, 0, 0, number].into(), interface: 0 }
    }

    #[test]
    fn a_flow_names_its_listener_and_both_addresses() {
        let listener = |index| {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            UdpListener::new(index, Side::Meta, socket, 16).unwrap()
        };
        let listeners = [0, 3, 127].map(listener);
        for from in &listeners {
            for local in [None, Some(ours(1)), Some(ours(2))] {
                for remote in ["192.0.2.1:5060", "255.255.255.255:65535", "0.0.0.1:1", "[2001:db8::1]:5060"] {
                    let remote = remote.parse().unwrap();
                    let flow = from.flow(local, remote);
                    let (listener, to) = route(&listeners, flow).unwrap();
                    assert_eq!((listener.index, listener.locals().of(flow), to), (from.index, local, remote));
                    assert_eq!(from.flow(local, remote), flow);
                }
            }
        }
    }

    #[test]
    fn beyond_the_addresses_a_flow_tells_apart_the_system_chooses() {
        let mut locals = Locals::default();
        for number in 1..=127 {
            assert_eq!(locals.number(ours(number)), u64::from(number));
        }
        assert_eq!(locals.number(ours(128)), 0);
        assert_eq!(locals.number(ours(127)), 127);
    }

    #[test]
    fn ipv6_addresses_in_use_outlive_a_flood_and_idle_ones_are_forgotten() {
        let address = |i: u16| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, i], 5060));
        let mut known = Remembered::new(16);
        let busy = known.name(address(1));
        let idle = known.name(address(2));
        for i in 100..200 {
            known.name(address(i));
            assert_eq!(known.address(busy), Some(address(1)));
            assert!(known.young.names.len() + known.old.names.len() <= 16);
        }
        assert_eq!(known.name(address(1)), busy);
        assert_eq!(known.address(idle), None);
        assert_ne!(known.name(address(2)), idle, "a name is never used twice");
    }
}

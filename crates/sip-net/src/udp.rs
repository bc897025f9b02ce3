//! UDP: one socket a listener, and flows that are names for (listener, remote address) pairs.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use setu_model::{Side, limits};
use setu_sip::{Arrival, FlowId, Hop, Message, Transport};
use tokio::net::UdpSocket;

use crate::connect;
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
    v6: Mutex<Remembered>,
}

impl UdpListener {
    /// Sends from `socket`, which must be non-blocking. `index` is the listener's place among the UDP listeners.
    pub(crate) fn new(index: u8, side: Side, socket: std::net::UdpSocket, flows: usize) -> io::Result<Self> {
        let local = socket.local_addr()?;
        Ok(Self { index, side, local, socket, v6: Mutex::new(Remembered::new(flows)) })
    }

    /// Sends one message. The retransmissions of SIP make good for a datagram the system has no room for.
    pub(crate) fn send(
        &self,
        shared: &Shared,
        flow: FlowId,
        remote: SocketAddr,
        message: &Message,
    ) -> Result<(), SendFailure> {
        let wire = message.as_bytes();
        match self.socket.send_to(wire, remote) {
            Ok(_) => {
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

    fn flow(&self, remote: SocketAddr) -> FlowId {
        match remote {
            SocketAddr::V4(v4) => name_v4(self.index, v4),
            SocketAddr::V6(_) => {
                let mut known = self.v6.lock().unwrap_or_else(PoisonError::into_inner);
                FlowId(UDP | UDP_V6 | u64::from(self.index) << INDEX_SHIFT | known.name(remote))
            }
        }
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
        let flow = listener.flow(remote);
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
    let ended = shared.reached(Phase::Draining);
    tokio::pin!(ended);
    loop {
        let received = tokio::select! {
            () = &mut ended => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        match received {
            Ok((length, remote)) => take(&shared, listener, buffer.get(..length).unwrap_or_default(), remote),
            Err(fault) => {
                tracing::warn!(local = %listener.local, %fault, "a datagram could not be received");
                // A fault that stays would spin.
                tokio::time::sleep(FAULT_PAUSE).await;
            }
        }
    }
}

fn take(shared: &Shared, listener: &UdpListener, datagram: &[u8], remote: SocketAddr) {
    if datagram.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0 | b' ')) {
        // What phones send to keep a NAT open; there is nothing to answer (RFC 5626 has STUN for that).
        shared.counters.keepalives.add();
        return;
    }
    let arrival = Arrival {
        flow: listener.flow(remote),
        transport: Transport::Udp,
        side: listener.side,
        local: listener.local,
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

/// A UDP flow over IPv4 is its own name: bit 63, the listener in bits 48 to 54, the address in bits 16 to 47, the port
/// in bits 0 to 15. So there is nothing to remember, and a flood from forged addresses can push nobody out.
fn name_v4(index: u8, remote: SocketAddrV4) -> FlowId {
    let address = u64::from(remote.ip().to_bits()) << 16 | u64::from(remote.port());
    FlowId(UDP | u64::from(index) << INDEX_SHIFT | address)
}

fn address_v4(flow: FlowId) -> SocketAddr {
    let [_, _, a, b, c, d, high, low] = flow.0.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), u16::from_be_bytes([high, low]))
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

/// As many UDP listeners as a flow id tells apart.
pub(crate) const MOST_LISTENERS: usize = 128;

const FAULT_PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_over_ipv4_is_its_own_name() {
        for (index, remote) in [(0, "192.0.2.1:5060"), (127, "255.255.255.255:65535"), (3, "0.0.0.1:1")] {
            let flow = name_v4(index, remote.parse().unwrap());
            assert_eq!(address_v4(flow).to_string(), remote);
            assert_eq!(flow.0 >> INDEX_SHIFT & 127, u64::from(index));
            assert_eq!(flow.0 & UDP_V6, 0);
            assert_ne!(flow.0 & UDP, 0);
        }
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

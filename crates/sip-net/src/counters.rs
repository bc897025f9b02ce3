use std::sync::atomic::{AtomicU64, Ordering};

use setu_model::Side;
use setu_sip::Transport;

/// What the transports have counted since the start. Read it at any time, from any thread.
#[derive(Debug, Default)]
pub struct Counters {
    meta_udp: Traffic,
    meta_tcp: Traffic,
    meta_tls: Traffic,
    meta_ws: Traffic,
    meta_wss: Traffic,
    agents_udp: Traffic,
    agents_tcp: Traffic,
    agents_tls: Traffic,
    agents_ws: Traffic,
    agents_wss: Traffic,
    /// Connections that are open. The only count that goes down.
    pub open_connections: Count,
    /// Connections closed at once because too many were open, in all or from one address.
    pub connections_refused: Count,
    /// TLS handshakes that failed, but for the kinds counted below.
    pub handshakes_failed: Count,
    /// TLS handshakes, or connections to a peer, that took too long.
    pub handshakes_timed_out: Count,
    /// Connections to a TLS port that did not speak TLS.
    pub not_tls: Count,
    /// Handshakes in which the peer refused our certificate.
    pub certificate_refused_by_peer: Count,
    /// Servers whose certificate did not prove the name we dialled.
    pub servers_unverified: Count,
    /// Hops whose every address was forbidden.
    pub egress_refused: Count,
    /// Hops without an address.
    pub unresolved: Count,
    /// Addresses that could not be connected to.
    pub unreachable: Count,
    /// Connections closed because the peer read too slowly, and requests dropped because too many waited.
    pub queues_overflowed: Count,
    /// Connections closed because a message took too long to arrive.
    pub messages_too_slow: Count,
    /// Connections closed because their peers did not prove in time who they are.
    pub strangers_closed: Count,
    /// Connections closed because a newer one of a peer that has not proved who it is wanted the place.
    pub newcomers_evicted: Count,
    /// Connections closed for want of traffic.
    pub idle_closed: Count,
    /// Connections closed because a write took too long.
    pub writes_timed_out: Count,
    /// Datagrams the system did not take.
    pub datagrams_unsent: Count,
    /// Datagrams that the network says it could not deliver.
    pub datagrams_returned: Count,
    /// WebSocket handshakes that were refused: no `sip` subprotocol, or a page of a foreign origin.
    pub websockets_refused: Count,
    /// Keepalives received: CRLF pings on streams, empty datagrams.
    pub keepalives: Count,
}

impl Counters {
    /// The traffic of one transport of one side.
    pub const fn traffic(&self, side: Side, transport: Transport) -> &Traffic {
        match (side, transport) {
            (Side::Meta, Transport::Udp) => &self.meta_udp,
            (Side::Meta, Transport::Tcp) => &self.meta_tcp,
            (Side::Meta, Transport::Tls) => &self.meta_tls,
            (Side::Meta, Transport::Ws) => &self.meta_ws,
            (Side::Meta, Transport::Wss) => &self.meta_wss,
            (Side::Agents, Transport::Udp) => &self.agents_udp,
            (Side::Agents, Transport::Tcp) => &self.agents_tcp,
            (Side::Agents, Transport::Tls) => &self.agents_tls,
            (Side::Agents, Transport::Ws) => &self.agents_ws,
            (Side::Agents, Transport::Wss) => &self.agents_wss,
        }
    }

    /// Every count of something that went wrong or is worth knowing, under the word for a metric's label.
    pub fn events(&self) -> [(&'static str, u64); 19] {
        [
            ("connection_refused", self.connections_refused.total()),
            ("handshake_failed", self.handshakes_failed.total()),
            ("handshake_timed_out", self.handshakes_timed_out.total()),
            ("not_tls", self.not_tls.total()),
            ("websocket_refused", self.websockets_refused.total()),
            ("certificate_refused_by_peer", self.certificate_refused_by_peer.total()),
            ("server_unverified", self.servers_unverified.total()),
            ("egress_refused", self.egress_refused.total()),
            ("unresolved", self.unresolved.total()),
            ("unreachable", self.unreachable.total()),
            ("queue_overflowed", self.queues_overflowed.total()),
            ("message_too_slow", self.messages_too_slow.total()),
            ("stranger_closed", self.strangers_closed.total()),
            ("newcomer_evicted", self.newcomers_evicted.total()),
            ("idle_closed", self.idle_closed.total()),
            ("write_timed_out", self.writes_timed_out.total()),
            ("datagram_unsent", self.datagrams_unsent.total()),
            ("datagram_returned", self.datagrams_returned.total()),
            ("keepalive", self.keepalives.total()),
        ]
    }
}

/// Messages of one transport of one side.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Messages taken.
    pub received: Count,
    /// Messages sent.
    pub sent: Count,
    /// Messages that could not be read.
    pub malformed: Count,
}

/// One count.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Its value.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn take(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

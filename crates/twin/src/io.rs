//! What every sans-IO party takes in and gives out: connections, datagrams, deadlines.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use setu_model::Now;

/// One stream connection, named by whoever opened it here: the party for those it dials, the caller for those
/// it accepts. The two ranges never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(u64);

impl ConnId {
    /// The `n`th connection a party dialled.
    pub const fn dialled(n: u64) -> Self {
        Self(n << 1)
    }

    /// The `n`th connection a party was handed because somebody else dialled it.
    pub const fn accepted(n: u64) -> Self {
        Self((n << 1) | 1)
    }

    /// Whether the party itself dialled it.
    pub const fn is_dialled(self) -> bool {
        self.0 & 1 == 0
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.is_dialled() { "out" } else { "in" }, self.0 >> 1)
    }
}

/// How SIP travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A plain stream.
    Tcp,
    /// TLS over TCP.
    Tls,
}

impl Transport {
    /// The word of a Via header, such as `TLS`.
    pub const fn via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// The word of a `transport` parameter, such as `tls`.
    pub const fn param(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// What is known of a connection when it opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFacts {
    /// Our end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// TCP or TLS.
    pub transport: Transport,
    /// The ALPN protocols the dialling side offered. On sockets TLS itself has already refused them.
    pub alpn: Vec<String>,
}

/// Why a connection is gone, or never came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closed {
    /// The other side closed it.
    ByPeer,
    /// Nobody listens there, or the name has no address.
    Unreachable,
    /// The certificate does not chain to a trusted root or does not cover the name.
    BadCertificate,
    /// TLS was refused for another reason, such as ALPN.
    TlsRefused,
    /// The network cut it.
    Cut,
}

/// What a party asks of the world around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Accept streams at `local`.
    Listen {
        /// The address to listen at.
        local: SocketAddr,
        /// TCP or TLS.
        transport: Transport,
    },
    /// Open a stream; the answer is `handle_stream_opened` or `handle_stream_closed`.
    Connect {
        /// The name the party gave it.
        conn: ConnId,
        /// TCP or TLS.
        transport: Transport,
        /// A host name or an IP address. With TLS the peer's certificate must cover it.
        host: String,
        /// The port.
        port: u16,
        /// ALPN protocols to offer; none for a party that offers no ALPN.
        alpn: Vec<String>,
    },
    /// Send bytes on a stream, in order.
    SendStream {
        /// Which stream.
        conn: ConnId,
        /// The bytes.
        bytes: Bytes,
    },
    /// Close a stream after what was sent on it.
    CloseStream {
        /// Which stream.
        conn: ConnId,
    },
    /// Receive datagrams at `local`.
    BindUdp {
        /// The address to receive at.
        local: SocketAddr,
    },
    /// Send one datagram.
    SendUdp {
        /// From which bound address.
        from: SocketAddr,
        /// To whom.
        to: SocketAddr,
        /// The datagram.
        bytes: Bytes,
    },
}

/// A machine that can be linked to others by [`crate::net::Network`], or to sockets by [`crate::shell`].
///
/// The caller's rule is *handle, drain, wait*: after each `handle_*` or command take every
/// [`poll_output`](Self::poll_output), then wait for input or [`poll_timeout`](Self::poll_timeout).
pub trait Party {
    /// Takes a new connection: one it dialled, or one that was accepted for it.
    fn handle_stream_opened(&mut self, conn: ConnId, facts: StreamFacts, now: Now);
    /// Takes bytes of a connection, in order.
    fn handle_stream_bytes(&mut self, conn: ConnId, bytes: &[u8], now: Now);
    /// Learns that a connection is gone or never came about.
    fn handle_stream_closed(&mut self, conn: ConnId, why: Closed, now: Now);
    /// Takes one datagram that came to `local`.
    fn handle_udp(&mut self, local: SocketAddr, from: SocketAddr, bytes: &[u8], now: Now);
    /// Fires every timer that is due at `now`.
    fn handle_timeout(&mut self, now: Now);
    /// Takes the next thing the caller must do.
    fn poll_output(&mut self) -> Option<Output>;
    /// Returns when [`handle_timeout`](Self::handle_timeout) is next due.
    fn poll_timeout(&self) -> Option<Instant>;
}

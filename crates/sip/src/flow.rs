//! Where the core and the transports meet: flows, targets and transmissions.
//!
//! A *flow* is one stream connection, or one (UDP listener, our address, remote address): the thing a message came on
//! and may go back on (RFC 5626 section 1.1).

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use setu_model::Side;

use crate::Message;

/// Names one stream connection, or one (UDP listener, our address, remote address). Never used twice in one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub u64);

/// The transports of RFC 3261 section 18 that the bridge speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream in clear.
    Tcp,
    /// A stream under TLS.
    Tls,
    /// WebSocket (RFC 7118) in clear.
    Ws,
    /// WebSocket under TLS: what browsers speak.
    Wss,
}

impl Transport {
    /// Whether nobody on the way can read or change what it carries.
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// Whether only the peer can open it: a browser listens nowhere.
    pub const fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// Whether the transport delivers or fails, so that transactions need not retransmit (RFC 3261 section 17).
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// The port meant by a URI or Via without one (RFC 3261 section 19.1.2).
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }

    /// The value of a URI's `transport` parameter; RFC 7118 section 5.2 has one for both kinds of WebSocket.
    pub const fn param(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws | Self::Wss => "ws",
        }
    }
}

impl fmt::Display for Transport {
    /// Writes the token of a Via header: `UDP`, `TCP`, `TLS`, `WS` or `WSS`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        })
    }
}

impl FromStr for Transport {
    type Err = UnknownTransport;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = [
            ("udp", Self::Udp),
            ("tcp", Self::Tcp),
            ("tls", Self::Tls),
            ("ws", Self::Ws),
            ("wss", Self::Wss),
        ];
        let found = known.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        found.map(|(_, transport)| transport).ok_or(UnknownTransport)
    }
}

/// A transport the bridge does not speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not one of UDP, TCP, TLS, WS and WSS")]
pub struct UnknownTransport;

/// How a message came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The flow it came on.
    pub flow: FlowId,
    /// The transport of that flow.
    pub transport: Transport,
    /// The face of the bridge that owns the flow.
    pub side: Side,
    /// Our address on the flow.
    pub local: SocketAddr,
    /// The peer's address on the flow.
    pub remote: SocketAddr,
    /// Whether we opened the flow. Always false for UDP.
    pub outbound: bool,
    /// Names proven by the peer's certificate: the host we dialled and verified, or those of a client certificate.
    pub verified: Arc<[String]>,
}

/// Where a request goes when no flow is known: resolved by the transports per RFC 3263.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// The face of the bridge to send from.
    pub side: Side,
    /// The transport to use.
    pub transport: Transport,
    /// A name or an IP address; an IPv6 address stands without brackets.
    pub host: String,
    /// The port; none asks DNS for SRV records first.
    pub port: Option<u16>,
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transport, host, port, .. } = self;
        match port {
            Some(port) if host.contains(':') => write!(f, "{transport} [{host}]:{port}"),
            Some(port) => write!(f, "{transport} {host}:{port}"),
            None => write!(f, "{transport} {host}"),
        }
    }
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// On this flow and nowhere else.
    Flow(FlowId),
    /// On this flow while it lives, else to the hop.
    FlowOr(FlowId, Hop),
    /// Over a flow that proves the hop's name, else over a fresh one.
    Hop(Hop),
}

/// Names one transmission, so that the transports can tell what became of it. Retransmissions share one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SendToken(pub u64);

/// One message to send.
#[derive(Debug, Clone)]
pub struct Transmit {
    /// Comes back in `handle_bound` and `handle_send_failed`.
    pub token: SendToken,
    /// Where it goes.
    pub target: Target,
    /// Addresses of the target's hop that did not serve and must not be tried again (RFC 3263 section 4.3). If no
    /// other is left, the message fails.
    pub avoid: Vec<SocketAddr>,
    /// What goes, Via included: the core writes the advertised address of the side and the target's transport.
    pub message: Message,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_read_back_in_any_case() {
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
            assert_eq!(transport.to_string().parse(), Ok(transport));
            assert_eq!(transport.param().parse(), Ok(transport));
        }
        assert_eq!("SCTP".parse::<Transport>(), Err(UnknownTransport));
    }
}

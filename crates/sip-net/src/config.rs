use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use setu_model::{EgressPolicy, Side};
use setu_sip::Transport;

/// Everything the transports are told at start.
#[derive(Debug, Clone, Default)]
pub struct SipNetConfig {
    /// The sockets to open. Requests leave by the sockets of their side: UDP from the listener itself, streams
    /// from its address.
    pub listeners: Vec<ListenerConfig>,
    /// Certificates and trust, by side. A side that is missing trusts the system's authorities and shows none.
    pub tls: BTreeMap<Side, TlsConfig>,
    /// Names that are not asked of DNS.
    pub pinned: PinnedHosts,
    /// The DNS servers to ask, by UDP and where an answer is cut by TCP. Without one, those of the system.
    pub name_servers: Vec<SocketAddr>,
    /// Who may open a WebSocket.
    pub websocket: WebSocketConfig,
    /// Which addresses may be contacted.
    pub egress: EgressPolicy,
    /// Bounds.
    pub limits: Limits,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Whether every message is logged at TRACE with the target `setu::wire`. Credentials and keys are left out,
    /// numbers and names are not.
    pub wire_trace: bool,
}

/// One listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerConfig {
    /// The side it serves.
    pub side: Side,
    /// Its transport.
    pub transport: Transport,
    /// The address to bind to; port 0 takes any free one. An IPv6 wildcard takes IPv6 only.
    pub bind: SocketAddr,
    /// The host that peers reach it by, where that is not the bound address: a name, or the outer address of a NAT.
    pub advertised_host: Option<String>,
    /// The port that peers reach it by, where that is not the bound one.
    pub advertised_port: Option<u16>,
}

impl ListenerConfig {
    /// Listens on `bind` and says so.
    pub const fn new(side: Side, transport: Transport, bind: SocketAddr) -> Self {
        Self { side, transport, bind, advertised_host: None, advertised_port: None }
    }
}

/// WebSocket listeners (RFC 7118).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebSocketConfig {
    /// The origins of pages that may connect, such as `https://agents.example.com`; none lets every page in. A client
    /// that sends no `Origin` is no browser, and is let in: what it may do is decided by its digest.
    pub origins: Vec<String>,
}

/// Certificates and trust of one side. The files are read at start and by each reload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// What the bridge shows. Needed for a TLS listener; a TLS client shows it to servers that ask.
    pub certificate: Option<CertificateFiles>,
    /// Whom the bridge believes when it is the TLS client.
    pub trust: Trust,
    /// PEM file with the authorities that prove the names of TLS clients. Where it is set, clients are asked for a
    /// certificate; one that is missing or proves nothing is no obstacle, since Meta shows names of its own choice.
    pub client_authorities: Option<PathBuf>,
}

/// The PEM files of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub chain: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Authorities that vouch for the names of TLS servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The system's authorities, or Mozilla's as compiled in where the system has none.
    pub system: bool,
    /// PEM file with more.
    pub extra_roots: Option<PathBuf>,
}

impl Default for Trust {
    fn default() -> Self {
        Self { system: true, extra_roots: None }
    }
}

/// Host names pinned to addresses. They take precedence over DNS, and a pinned port over the one of the URI, so
/// that tests and closed networks need neither DNS nor well-known ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PinnedHosts(BTreeMap<String, Vec<PinnedAddress>>);

impl PinnedHosts {
    /// Pins `name` to `addresses`, tried in order.
    pub fn pin(&mut self, name: &str, addresses: Vec<PinnedAddress>) {
        self.0.insert(canonical_name(name), addresses);
    }

    pub(crate) fn find(&self, name: &str) -> Option<&[PinnedAddress]> {
        self.0.get(&canonical_name(name)).map(Vec::as_slice)
    }
}

/// An address and perhaps a port: `192.0.2.1`, `192.0.2.1:5061`, `2001:db8::1` or `[2001:db8::1]:5061`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinnedAddress {
    /// The address.
    pub ip: IpAddr,
    /// The port; without one that of the URI, or the transport's default.
    pub port: Option<u16>,
}

impl FromStr for PinnedAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(ip) = text.parse() {
            return Ok(Self { ip, port: None });
        }
        let address: SocketAddr = text.parse().map_err(|_| InvalidAddress(text.to_owned()))?;
        Ok(Self { ip: address.ip(), port: Some(address.port()) })
    }
}

/// A text that is no IP address, with or without a port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address; write it as \"192.0.2.1\", \"192.0.2.1:5061\" or \"[2001:db8::1]:5061\"")]
pub struct InvalidAddress(String);

/// The form in which names are compared: lower case, without the root's dot.
pub(crate) fn canonical_name(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// What peers may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages that may wait for one connection. A peer that reads slower loses the connection: nobody is helped
    /// by a response that is a minute late.
    pub queue: usize,
    /// Messages that may wait for one connection to be opened.
    pub waiting: usize,
    /// Connections to one listener at once.
    pub connections: usize,
    /// Connections to one listener at once from one address (one /64 of IPv6). Meta opens many from few.
    pub connections_per_ip: usize,
    /// Connections to one listener that are in the TLS handshake, or whose peers have not proved yet who they are. One
    /// more takes the place of another.
    pub newcomers: usize,
    /// The same from one address (one /64 of IPv6).
    pub newcomers_per_ip: usize,
    /// Connection attempts under way at once.
    pub connecting: usize,
    /// Addresses tried for one request (RFC 3263 section 4.3).
    pub candidates: usize,
    /// Remote addresses remembered by one UDP listener over IPv6. IPv4 needs no memory.
    pub udp_flows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue: 256,
            waiting: 256,
            connections: 16_384,
            connections_per_ip: 1_024,
            newcomers: 1_024,
            newcomers_per_ip: 128,
            connecting: 1_024,
            candidates: 8,
            udp_flows: 65_536,
        }
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// All DNS questions of one resolution together.
    pub resolve: Duration,
    /// All it takes to reach a hop: resolution and every address tried. Below the 32 s of Timer B: what leaves
    /// after its transaction gave up would ring where nobody calls any more.
    pub open: Duration,
    /// The TCP handshake with one address. Short enough that the next address has a chance.
    pub connect: Duration,
    /// The TLS handshake, on either side.
    pub handshake: Duration,
    /// From the handshake of a connection that a peer opened to the proof of who it is: see
    /// [`SipNet::keep`](crate::SipNet::keep).
    pub proof: Duration,
    /// From the first byte of a message to its last: a peer that sends byte by byte is cut.
    pub message: Duration,
    /// One write to a stream.
    pub write: Duration,
    /// A connection without traffic either way. Longer than the usual registration of an hour, so that a phone
    /// without keepalives stays reachable.
    pub idle: Duration,
    /// Between CRLF pings on connections the bridge opened (RFC 5626 section 3.5.1); none for no pings.
    pub keepalive: Option<Duration>,
    /// Between pings on WebSockets. Proxies close what is silent for a minute; a browser that answers none for as long
    /// again is gone.
    pub websocket_ping: Duration,
    /// How long a connection stays open for the answer to what could not be read on it.
    pub linger: Duration,
    /// How long connections may take to send what waits at shutdown.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            resolve: Duration::from_secs(5),
            open: Duration::from_secs(25),
            connect: Duration::from_secs(4),
            handshake: Duration::from_secs(10),
            proof: Duration::from_secs(30),
            message: Duration::from_secs(10),
            write: Duration::from_secs(10),
            idle: Duration::from_secs(4_200),
            keepalive: Some(Duration::from_secs(90)),
            websocket_ping: Duration::from_secs(25),
            linger: Duration::from_secs(1),
            drain: Duration::from_secs(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinned_addresses_are_read_with_and_without_a_port() {
        let read = |text: &str| text.parse::<PinnedAddress>().map(|a| (a.ip.to_string(), a.port));
        assert_eq!(read("192.0.2.1"), Ok(("192.0.2.1".to_owned(), None)));
        assert_eq!(read("192.0.2.1:5061"), Ok(("192.0.2.1".to_owned(), Some(5061))));
        assert_eq!(read("2001:db8::1"), Ok(("2001:db8::1".to_owned(), None)));
        assert_eq!(read("[2001:db8::1]:5061"), Ok(("2001:db8::1".to_owned(), Some(5061))));
        assert!(read("wa.meta.vc").unwrap_err().to_string().contains("write it as"));
    }

    #[test]
    fn pinned_names_are_found_in_any_case_and_with_the_roots_dot() {
        let mut hosts = PinnedHosts::default();
        hosts.pin("WA.meta.vc", vec![]);
        assert!(hosts.find("wa.META.vc.").is_some());
        assert!(hosts.find("meta.vc").is_none());
    }
}

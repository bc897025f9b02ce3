//! Opening streams: resolution, egress policy, failover over the addresses, TLS with the name checked.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use setu_sip::{Arrival, FlowId, Hop, Transport};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::canonical_name;
use crate::event::SendFailure;
use crate::net::{Phase, Shared};
use crate::pool::Opening;
use crate::resolve::literal;
use crate::stream::{self, Opener};
use crate::udp;

/// Resolves `hop`, opens a stream to one of its addresses but those to `avoid`, unless it is reached by UDP, and sends
/// what waits for it.
pub(crate) async fn open(shared: Arc<Shared>, hop: Hop, avoid: Vec<SocketAddr>) {
    let opening = Opening::of(&hop, &avoid);
    let opened = tokio::select! {
        () = shared.reached(Phase::Draining) => Err(SendFailure::Shutdown),
        opened = timeout(shared.timeouts.open, try_open(&shared, &hop, &avoid)) => opened.unwrap_or_else(|_| {
            shared.counters.handshakes_timed_out.add();
            Err(SendFailure::Unreachable("no address was reached in time".to_owned()))
        }),
    };
    match opened {
        Ok(Opened::Datagrams(addresses)) => {
            for outgoing in shared.waited_for(&opening) {
                udp::send_to(&shared, &hop, &addresses, outgoing);
            }
        }
        Ok(Opened::Tcp(tcp, arrival)) => serve(shared, tcp, arrival, (&hop, &opening)).await,
        Ok(Opened::Tls(tls, arrival)) => serve(shared, *tls, arrival, (&hop, &opening)).await,
        Err(reason) => shared.give_up(&opening, &reason),
    }
}

/// Keeps the addresses that may be contacted, at least one.
pub(crate) fn allowed(shared: &Shared, addresses: &[SocketAddr]) -> Result<Vec<SocketAddr>, SendFailure> {
    let mut refused = None;
    let mut allowed = Vec::with_capacity(addresses.len());
    for address in addresses {
        match shared.egress.check(address.ip()) {
            Ok(()) => allowed.push(*address),
            Err(refusal) => refused = Some(refusal),
        }
    }
    match refused {
        Some(refusal) if allowed.is_empty() => {
            shared.counters.egress_refused.add();
            Err(SendFailure::Forbidden(refusal))
        }
        Some(_) | None => Ok(allowed),
    }
}

/// What is said of a hop whose every address was tried.
pub(crate) fn none_left() -> SendFailure {
    SendFailure::Unreachable("no address is left".to_owned())
}

/// Sets what every stream of SIP wants: no delay for small messages, and to notice a peer that is gone.
pub(crate) fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY))?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))
}

enum Opened {
    Datagrams(Vec<SocketAddr>),
    Tcp(TcpStream, Arrival),
    Tls(Box<TlsStream<TcpStream>>, Arrival),
}

async fn serve<S>(shared: Arc<Shared>, io: S, arrival: Arrival, dialled: (&Hop, &Opening))
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send,
{
    match shared.adopt(arrival, dialled.0, dialled.1) {
        Some(ends) => stream::run(shared, io, ends, Opener::Us).await,
        None => shared.give_up(dialled.1, &SendFailure::Shutdown),
    }
}

async fn try_open(shared: &Shared, hop: &Hop, avoid: &[SocketAddr]) -> Result<Opened, SendFailure> {
    if hop.transport.is_websocket() {
        // Its own connection is the only way to a browser, and that is gone.
        return Err(SendFailure::NoFlow);
    }
    let addresses = shared.resolver.resolve(hop).await.map_err(|fault| {
        shared.counters.unresolved.add();
        SendFailure::Unresolved(fault.to_string())
    })?;
    if hop.transport == Transport::Udp {
        return Ok(Opened::Datagrams(addresses));
    }
    // A server that shows the wrong certificate says more than one that does not answer.
    let mut unverified = None;
    let mut failure = none_left();
    for address in allowed(shared, &addresses)?.into_iter().filter(|address| !avoid.contains(address)) {
        match open_one(shared, hop, address).await {
            Ok(opened) => return Ok(opened),
            Err(reason) => {
                tracing::info!(%hop, %address, %reason, "an address of a hop does not serve");
                if matches!(reason, SendFailure::Unverified(_)) {
                    unverified = Some(reason.clone());
                }
                failure = reason;
            }
        }
    }
    Err(unverified.unwrap_or(failure))
}

async fn open_one(shared: &Shared, hop: &Hop, remote: SocketAddr) -> Result<Opened, SendFailure> {
    let unreachable = |fault: io::Error| {
        shared.counters.unreachable.add();
        SendFailure::Unreachable(format!("{remote}: {fault}"))
    };
    let tcp = connect(shared, hop, remote).await.map_err(unreachable)?;
    let local = tcp.local_addr().map_err(unreachable)?;
    let arrival = |verified: Arc<[String]>| Arrival {
        // Given by the pool.
        flow: FlowId(0),
        transport: hop.transport,
        side: hop.side,
        local,
        remote,
        outbound: true,
        verified,
    };
    if hop.transport != Transport::Tls {
        return Ok(Opened::Tcp(tcp, arrival(Arc::default())));
    }
    let tls = handshake(shared, hop, remote, tcp).await?;
    Ok(Opened::Tls(Box::new(tls), arrival(Arc::new([canonical_name(&hop.host)]))))
}

async fn connect(shared: &Shared, hop: &Hop, remote: SocketAddr) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(source) = source(shared, hop, remote) {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let Ok(connected) = timeout(shared.timeouts.connect, socket.connect(remote)).await else {
        shared.counters.handshakes_timed_out.add();
        return Err(io::ErrorKind::TimedOut.into());
    };
    let tcp = connected?;
    tune(&tcp)?;
    Ok(tcp)
}

/// The address to connect from: that of the side's listener, so that a machine with two faces shows the right one.
fn source(shared: &Shared, hop: &Hop, remote: SocketAddr) -> Option<IpAddr> {
    let fitting = || {
        shared.listening.iter().filter(|listener| {
            let ip = listener.bound.ip();
            listener.side == hop.side && ip.is_ipv4() == remote.is_ipv4() && !ip.is_unspecified()
        })
    };
    let same = fitting().find(|listener| listener.transport == hop.transport);
    same.or_else(|| fitting().next()).map(|listener| listener.bound.ip())
}

async fn handshake(
    shared: &Shared,
    hop: &Hop,
    remote: SocketAddr,
    tcp: TcpStream,
) -> Result<TlsStream<TcpStream>, SendFailure> {
    let counters = &shared.counters;
    let name = match literal(&hop.host) {
        Some(ip) => ServerName::from(ip),
        None => ServerName::try_from(canonical_name(&hop.host)).map_err(|_| {
            counters.servers_unverified.add();
            SendFailure::Unverified(format!("{} is no name a certificate could prove", hop.host))
        })?,
    };
    let Some(tls) = shared.tls.side(hop.side) else {
        return Err(SendFailure::NoListener(hop.side, hop.transport));
    };
    let connector = TlsConnector::from(Arc::clone(&tls.client));
    match timeout(shared.timeouts.handshake, connector.connect(name, tcp)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(fault)) if is_certificate_fault(&fault) => {
            counters.servers_unverified.add();
            Err(SendFailure::Unverified(format!("{remote}: {fault}")))
        }
        Ok(Err(fault)) => {
            counters.handshakes_failed.add();
            Err(SendFailure::Unreachable(format!("{remote}: {fault}")))
        }
        Err(_) => {
            counters.handshakes_timed_out.add();
            Err(SendFailure::Unreachable(format!("{remote}: the TLS handshake took too long")))
        }
    }
}

fn is_certificate_fault(fault: &io::Error) -> bool {
    let inner = fault.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(
        inner,
        Some(
            rustls::Error::InvalidCertificate(_)
                | rustls::Error::NoCertificatesPresented
                | rustls::Error::UnsupportedNameType
        )
    )
}

/// Probes begin after a minute of silence: NATs forget a stream after five at the soonest (RFC 5382 requires 2 h).
const PROBE_AFTER: Duration = Duration::from_secs(60);

const PROBE_EVERY: Duration = Duration::from_secs(15);

/// Data unacknowledged for this long means that the peer is gone (RFC 5482); just below Timer F of 32 s.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

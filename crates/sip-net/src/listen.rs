//! Listening sockets, and what happens to a connection before it is a stream.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::AlertDescription;
use setu_model::Side;
use setu_sip::{Arrival, FlowId, Transport};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::admission::{Admission, Admittance, Guest};
use crate::config::ListenerConfig;
use crate::connect::tune;
use crate::counters::Counters;
use crate::event::StartError;
use crate::net::{Phase, Shared};
use crate::stream::{self, Opener};
use crate::tls::TlsStore;
use crate::udp::{MOST_LISTENERS, UdpListener};
use crate::websocket;

/// A bound listener.
#[derive(Debug, Clone)]
pub(crate) struct Listening {
    pub(crate) side: Side,
    pub(crate) transport: Transport,
    pub(crate) bound: SocketAddr,
    pub(crate) advertised_host: Option<String>,
    pub(crate) advertised_port: Option<u16>,
}

/// Every socket, bound and not served yet.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    pub(crate) listening: Vec<Listening>,
    pub(crate) udp: Vec<UdpListener>,
    /// The receiving halves of `udp`, in the same order.
    pub(crate) datagrams: Vec<UdpSocket>,
    pub(crate) streams: Vec<StreamListener>,
}

/// A bound listener of TCP or TLS.
#[derive(Debug)]
pub(crate) struct StreamListener {
    pub(crate) listener: TcpListener,
    pub(crate) side: Side,
    pub(crate) transport: Transport,
}

/// Binds every listener, or none.
pub(crate) fn bind_all(
    configs: &[ListenerConfig],
    tls: &TlsStore,
    udp_flows: usize,
) -> Result<Sockets, StartError> {
    let mut sockets = Sockets::default();
    for config in configs {
        let ListenerConfig { side, transport, bind, .. } = *config;
        let fault = |source| StartError::Bind { side, transport, address: bind, source };
        let bound = match transport {
            Transport::Udp => {
                let index =
                    u8::try_from(sockets.udp.len()).ok().filter(|index| usize::from(*index) < MOST_LISTENERS);
                let index = index.ok_or(StartError::TooManyListeners { most: MOST_LISTENERS })?;
                let socket = udp_socket(bind).map_err(fault)?;
                let sending = socket.try_clone().map_err(fault)?;
                sockets.udp.push(UdpListener::new(index, side, sending, udp_flows).map_err(fault)?);
                let receiving = UdpSocket::from_std(socket).map_err(fault)?;
                let bound = receiving.local_addr().map_err(fault)?;
                sockets.datagrams.push(receiving);
                bound
            }
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                let shown = tls.side(side).is_some_and(|tls| tls.server.is_some());
                if transport.is_secure() && !shown {
                    return Err(StartError::NoCertificate { side });
                }
                let listener = tcp_listener(bind).map_err(fault)?;
                let bound = listener.local_addr().map_err(fault)?;
                sockets.streams.push(StreamListener { listener, side, transport });
                bound
            }
        };
        sockets.listening.push(Listening {
            side,
            transport,
            bound,
            advertised_host: config.advertised_host.clone(),
            advertised_port: config.advertised_port,
        });
    }
    Ok(sockets)
}

/// Without SO_REUSEADDR: on UDP it would let two programs have one port and hide that it is occupied.
fn udp_socket(bind: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = socket(bind, Type::DGRAM, Protocol::UDP)?;
    // The system may grant less, which costs packets only under a burst.
    for set in [Socket::set_recv_buffer_size, Socket::set_send_buffer_size] {
        if let Err(fault) = set(&socket, UDP_BUFFER_BYTES) {
            tracing::debug!(%fault, %bind, "the system grants no larger UDP buffer");
        }
    }
    socket.bind(&bind.into())?;
    Ok(socket.into())
}

fn tcp_listener(bind: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(bind, Type::STREAM, Protocol::TCP)?;
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&bind.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn socket(bind: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(bind), kind, Some(protocol))?;
    if bind.is_ipv6() {
        // So that `[::]` and `0.0.0.0` can be bound side by side and no address comes in mapped form.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Accepts connections until shutdown.
pub(crate) async fn accept(shared: Arc<Shared>, listener: TcpListener, side: Side, transport: Transport) {
    let admission = Admission::new(shared.limits);
    let ended = shared.reached(Phase::Draining);
    tokio::pin!(ended);
    loop {
        let accepted = tokio::select! {
            () = &mut ended => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, remote)) => match admission.admit(remote.ip()) {
                Admittance::Granted { guest, evicted } => {
                    if evicted {
                        shared.counters.newcomers_evicted.add();
                    }
                    let newcomer = Newcomer { tcp, remote, side, transport, guest };
                    shared.tasks.spawn(welcome(Arc::clone(&shared), newcomer));
                }
                Admittance::Refused => {
                    shared.counters.connections_refused.add();
                    tracing::debug!(%side, %transport, %remote, "too many connections");
                }
            },
            Err(fault) => {
                tracing::warn!(%side, %transport, %fault, "a connection could not be accepted");
                // Out of descriptors: trying again at once would spin until one is free.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

struct Newcomer {
    tcp: TcpStream,
    remote: SocketAddr,
    side: Side,
    transport: Transport,
    guest: Guest,
}

async fn welcome(shared: Arc<Shared>, newcomer: Newcomer) {
    let Newcomer { tcp, remote, side, transport, mut guest } = newcomer;
    let Ok(local) = tcp.local_addr() else { return };
    if let Err(fault) = tune(&tcp) {
        tracing::debug!(%remote, %fault, "a connection was gone before it was accepted");
        return;
    }
    let arrival = |verified: Vec<String>| Arrival {
        // Given by the pool.
        flow: FlowId(0),
        transport,
        side,
        local,
        remote,
        outbound: false,
        verified: verified.into(),
    };
    match transport {
        Transport::Tls | Transport::Wss => {
            let shaken = tokio::select! {
                () = shared.reached(Phase::Draining) => return,
                () = guest.eviction.told() => return,
                shaken = handshake(&shared, side, remote, tcp) => shaken,
            };
            let Some((tls, verified)) = shaken else { return };
            if transport == Transport::Wss {
                upgrade(shared, tls, arrival(Vec::new()), guest).await;
                return;
            }
            let Some(ends) = shared.welcome(arrival(verified), &guest) else { return };
            stream::run(shared, tls, ends, Opener::Peer(guest)).await;
        }
        Transport::Ws => upgrade(shared, tcp, arrival(Vec::new()), guest).await,
        Transport::Tcp | Transport::Udp => {
            let Some(ends) = shared.welcome(arrival(Vec::new()), &guest) else { return };
            stream::run(shared, tcp, ends, Opener::Peer(guest)).await;
        }
    }
}

/// Carries SIP over a WebSocket, once its handshake is done.
async fn upgrade<S>(shared: Arc<Shared>, io: S, arrival: Arrival, mut guest: Guest)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let upgraded = tokio::select! {
        () = shared.reached(Phase::Draining) => return,
        () = guest.eviction.told() => return,
        upgraded = websocket::accept(&shared, io, arrival.remote) => upgraded,
    };
    let Some(socket) = upgraded else { return };
    let Some(ends) = shared.welcome(arrival, &guest) else { return };
    stream::run(shared, socket, ends, Opener::Peer(guest)).await;
}

/// Shakes hands as the TLS server. Returns the names that a client certificate proves.
async fn handshake(
    shared: &Shared,
    side: Side,
    remote: SocketAddr,
    tcp: TcpStream,
) -> Option<(TlsStream<TcpStream>, Vec<String>)> {
    let tls = shared.tls.side(side)?;
    let acceptor = TlsAcceptor::from(Arc::clone(tls.server.as_ref()?));
    match timeout(shared.timeouts.handshake, acceptor.accept(tcp)).await {
        Ok(Ok(stream)) => {
            let verified = tls.proven_names(stream.get_ref().1.peer_certificates());
            Some((stream, verified))
        }
        Ok(Err(fault)) => {
            count_failure(&shared.counters, &fault);
            tracing::debug!(%side, %remote, %fault, "a TLS handshake failed");
            None
        }
        Err(_) => {
            shared.counters.handshakes_timed_out.add();
            tracing::debug!(%side, %remote, "a TLS handshake took too long");
            None
        }
    }
}

fn count_failure(counters: &Counters, fault: &io::Error) {
    let inner = fault.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let count = match inner {
        Some(rustls::Error::InvalidMessage(_)) => &counters.not_tls,
        Some(rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA,
        )) => &counters.certificate_refused_by_peer,
        Some(_) | None => &counters.handshakes_failed,
    };
    count.add();
}

/// Some thousand messages: a burst of registrations after a power cut.
const UDP_BUFFER_BYTES: usize = 4 << 20;

const BACKLOG: i32 = 1_024;

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

//! The sockets of one twin: listening, dialling, reading, writing.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::tls::{self, TlsOptions};
use crate::io::{Closed, ConnId, Output, StreamFacts, Transport};

/// What the sockets tell the machine.
pub(super) enum Input {
    Opened { conn: ConnId, facts: StreamFacts, writer: Writer },
    Bytes { conn: ConnId, bytes: Bytes },
    Closed { conn: ConnId, why: Closed },
    Datagram { local: SocketAddr, from: SocketAddr, bytes: Bytes },
}

/// Where to write to one connection. Dropping it ends the connection once everything is written.
pub(super) struct Writer {
    queue: mpsc::Sender<Bytes>,
    /// Fails when the connection is gone.
    gone: oneshot::Receiver<Infallible>,
}

/// Messages that may wait for a slow peer before a connection counts as broken.
const WRITES: usize = 1_024;

/// How long what is to be written may take when the twin stops.
const FINISH: Duration = Duration::from_secs(2);

/// How long a connection and its handshake may take.
const CONNECT: Duration = Duration::from_secs(10);

/// The largest datagram read: SIP over UDP may fill one.
const DATAGRAM: usize = 65_535;

/// Bound before the machine starts, so that its ports are known.
pub(super) struct Bound {
    pub(super) listener: Option<TcpListener>,
    pub(super) udp: BTreeMap<SocketAddr, Arc<UdpSocket>>,
}

impl Bound {
    /// Binds `ports` of `ip`; 0 takes a free one. Returns the ports in order.
    pub(super) async fn udp(&mut self, ip: IpAddr, ports: &[u16]) -> io::Result<Vec<u16>> {
        let mut bound = Vec::new();
        for port in ports {
            let socket = UdpSocket::bind((ip, *port)).await?;
            let local = socket.local_addr()?;
            bound.push(local.port());
            self.udp.insert(local, Arc::new(socket));
        }
        Ok(bound)
    }

    /// Listens at `port` of `ip`; 0 takes a free one. Returns the port.
    pub(super) async fn tcp(&mut self, ip: IpAddr, port: u16) -> io::Result<u16> {
        let listener = TcpListener::bind((ip, port)).await?;
        let port = listener.local_addr()?.port();
        self.listener = Some(listener);
        Ok(port)
    }
}

pub(super) struct Sockets {
    bound: Bound,
    tls: TlsOptions,
    resolve: BTreeMap<String, IpAddr>,
    input: mpsc::Sender<Input>,
    writers: BTreeMap<ConnId, Writer>,
    accepted: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Sockets {
    pub(super) fn new(
        bound: Bound,
        tls: TlsOptions,
        resolve: BTreeMap<String, IpAddr>,
        input: mpsc::Sender<Input>,
    ) -> Self {
        let accepted = Arc::new(AtomicU64::new(1));
        Self { bound, tls, resolve, input, writers: BTreeMap::new(), accepted, tasks: JoinSet::new() }
    }

    /// Remembers how to write to a connection that opened.
    pub(super) fn opened(&mut self, conn: ConnId, writer: Writer) {
        self.writers.insert(conn, writer);
    }

    pub(super) fn closed(&mut self, conn: ConnId) {
        self.writers.remove(&conn);
    }

    /// Ends every connection after what waits for it is written.
    pub(super) async fn finish(self) {
        let gone: Vec<_> = self.writers.into_values().map(|writer| writer.gone).collect();
        let all = async {
            for gone in gone {
                // It never says anything; it ends.
                let _ = gone.await;
            }
        };
        if tokio::time::timeout(FINISH, all).await.is_err() {
            tracing::debug!("a peer does not read what the twin has left to say");
        }
    }

    /// Does what the machine asks.
    pub(super) fn perform(&mut self, output: Output) {
        match output {
            Output::Listen { transport, .. } => self.listen(transport),
            Output::Connect { conn, transport, host, port, alpn } => {
                self.connect(conn, transport, host, port, alpn)
            }
            Output::SendStream { conn, bytes } => {
                if let Some(writer) = self.writers.get(&conn)
                    && writer.queue.try_send(bytes).is_err()
                {
                    self.writers.remove(&conn);
                }
            }
            // Dropping the writer ends the connection once everything is written.
            Output::CloseStream { conn } => self.closed(conn),
            Output::BindUdp { local } => self.read_datagrams(local),
            Output::SendUdp { from, to, bytes } => {
                if let Some(socket) = self.bound.udp.get(&from)
                    && let Err(error) = socket.try_send_to(&bytes, to)
                {
                    tracing::debug!(%from, %to, %error, "a datagram was not sent");
                }
            }
        }
        while self.tasks.try_join_next().is_some() {}
    }

    fn listen(&mut self, transport: Transport) {
        let Some(listener) = self.bound.listener.take() else { return };
        let (tls, input, accepted) = (self.tls.clone(), self.input.clone(), self.accepted.clone());
        self.tasks.spawn(async move {
            let acceptor = match tls::acceptor(&tls) {
                Ok(acceptor) => acceptor,
                Err(error) => {
                    tracing::error!(%error, "the certificate cannot be used");
                    return;
                }
            };
            // The connections end with the listener.
            let mut connections = JoinSet::new();
            while let Ok((stream, remote)) = listener.accept().await {
                let conn = ConnId::accepted(accepted.fetch_add(1, Ordering::Relaxed));
                let Ok(local) = stream.local_addr() else { continue };
                let facts = StreamFacts { local, remote, transport, alpn: Vec::new() };
                let (acceptor, input) = (acceptor.clone(), input.clone());
                connections.spawn(async move {
                    match (transport, acceptor) {
                        (Transport::Tls, Some(acceptor)) => {
                            match tokio::time::timeout(CONNECT, acceptor.accept(stream)).await {
                                Ok(Ok(stream)) => carry(conn, facts, stream, input).await,
                                Ok(Err(error)) => tracing::debug!(%remote, %error, "a TLS handshake failed"),
                                Err(_) => tracing::debug!(%remote, "a TLS handshake took too long"),
                            }
                        }
                        _ => carry(conn, facts, stream, input).await,
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
    }

    fn connect(&mut self, conn: ConnId, transport: Transport, host: String, port: u16, alpn: Vec<String>) {
        let (tls, input) = (self.tls.clone(), self.input.clone());
        let pinned = self.resolve.get(&host.to_ascii_lowercase()).copied();
        self.tasks.spawn(async move {
            let dialled = async {
                let stream = match pinned {
                    Some(ip) => TcpStream::connect((ip, port)).await,
                    None => TcpStream::connect((host.as_str(), port)).await,
                };
                let stream = stream.map_err(|_| Closed::Unreachable)?;
                stream.set_nodelay(true).map_err(|_| Closed::Unreachable)?;
                let (local, remote) = (stream.local_addr(), stream.peer_addr());
                let local = local.map_err(|_| Closed::Unreachable)?;
                let remote = remote.map_err(|_| Closed::Unreachable)?;
                Ok::<_, Closed>((stream, StreamFacts { local, remote, transport, alpn: Vec::new() }))
            };
            let dialled = tokio::time::timeout(CONNECT, dialled).await.unwrap_or(Err(Closed::Unreachable));
            let outcome = match dialled {
                Ok((stream, facts)) if transport == Transport::Tls => {
                    match handshake(&tls, &alpn, &host, stream).await {
                        Ok(stream) => {
                            carry(conn, facts, stream, input.clone()).await;
                            return;
                        }
                        Err(why) => why,
                    }
                }
                Ok((stream, facts)) => {
                    carry(conn, facts, stream, input.clone()).await;
                    return;
                }
                Err(why) => why,
            };
            // The machine may be gone by now.
            let _ = input.send(Input::Closed { conn, why: outcome }).await;
        });
    }

    fn read_datagrams(&mut self, local: SocketAddr) {
        let Some(socket) = self.bound.udp.get(&local).cloned() else { return };
        let input = self.input.clone();
        self.tasks.spawn(async move {
            let mut buffer = vec![0; DATAGRAM];
            loop {
                // An ICMP error of an earlier datagram shows up here and is no reason to stop.
                let Ok((size, from)) = socket.recv_from(&mut buffer).await else { continue };
                let bytes = Bytes::copy_from_slice(buffer.get(..size).unwrap_or_default());
                if input.send(Input::Datagram { local, from, bytes }).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn handshake(
    tls: &TlsOptions,
    alpn: &[String],
    host: &str,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Closed> {
    let connector = tls::connector(tls, alpn).map_err(|_| Closed::TlsRefused)?;
    let name = ServerName::try_from(host.to_owned()).map_err(|_| Closed::BadCertificate)?;
    match tokio::time::timeout(CONNECT, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(tls::verdict(&error)),
        Err(_) => Err(Closed::Unreachable),
    }
}

/// Carries one open connection until either side closes it.
async fn carry<S>(conn: ConnId, facts: StreamFacts, stream: S, input: mpsc::Sender<Input>)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (queue, mut written) = mpsc::channel::<Bytes>(WRITES);
    let (_alive, gone) = oneshot::channel();
    let writer = Writer { queue, gone };
    if input.send(Input::Opened { conn, facts, writer }).await.is_err() {
        return;
    }
    let (mut reading, mut writing) = tokio::io::split(stream);
    let mut buffer = vec![0; 16_384];
    loop {
        tokio::select! {
            bytes = written.recv() => match bytes {
                Some(bytes) => {
                    if writing.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
                None => {
                    // The other side may be gone already.
                    let _ = writing.shutdown().await;
                    return;
                }
            },
            size = reading.read(&mut buffer) => match size {
                Ok(size) if size > 0 => {
                    let bytes = Bytes::copy_from_slice(buffer.get(..size).unwrap_or_default());
                    if input.send(Input::Bytes { conn, bytes }).await.is_err() {
                        return;
                    }
                }
                Ok(_) | Err(_) => break,
            },
        }
    }
    // The machine may be gone by now.
    let _ = input.send(Input::Closed { conn, why: Closed::ByPeer }).await;
}

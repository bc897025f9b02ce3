//! Certificates, raw peers and a bridge's transports for the tests.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "helpers of a test may panic")]

pub mod dns;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use setu_model::{EgressPolicy, Side};
use setu_sip::{Arrival, FlowId, Hop, Message, SendToken, Target, Transmit, Transport};
use setu_sip_net::{
    CertificateFiles, ListenerConfig, NetEvent, PinnedHosts, SendFailure, SipNet, SipNetConfig, TlsConfig,
    Trust,
};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

pub const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// So long that only a test that hangs meets it.
const HANG: Duration = Duration::from_secs(20);

/// A certificate authority of the test's own.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Issued {
    pub chain: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // A name of its own: no certificate must pass for one of another authority because of its issuer's name.
        params.distinguished_name.push(DnType::CommonName, format!("{:02x?}", key.public_key_raw()));
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_until(names, 2_099)
    }

    pub fn issue_until(&self, names: &[&str], year: i32) -> Issued {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2_000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued { chain: certificate.pem(), key: key.serialize_pem() }
    }

    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        roots
    }
}

impl Issued {
    pub fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes()).collect::<Result<_, _>>().unwrap();
        (chain, PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap())
    }
}

/// A folder with the PEM files of one bridge.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub fn certificate(&self, issued: &Issued) -> CertificateFiles {
        CertificateFiles {
            chain: self.write("chain.pem", &issued.chain),
            key: self.write("key.pem", &issued.key),
        }
    }

    /// Trusts `authority` alone, and shows `issued` if there is one.
    pub fn tls(&self, authority: &Authority, issued: Option<&Issued>) -> TlsConfig {
        TlsConfig {
            certificate: issued.map(|issued| self.certificate(issued)),
            trust: Trust { system: false, extra_roots: Some(self.write("roots.pem", &authority.pem)) },
            client_authorities: None,
        }
    }
}

/// Listens on loopback, may contact loopback, and needs no certificate.
pub fn config(transports: &[Transport]) -> SipNetConfig {
    SipNetConfig {
        listeners: transports.iter().map(|t| ListenerConfig::new(Side::Meta, *t, LOOPBACK)).collect(),
        egress: EgressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()]),
        ..SipNetConfig::default()
    }
}

pub fn pin(hosts: &mut PinnedHosts, name: &str, addresses: &[SocketAddr]) {
    hosts.pin(name, addresses.iter().map(|address| address.to_string().parse().unwrap()).collect());
}

/// The transports under test, and what they tell.
pub struct Bridge {
    pub net: SipNet,
    events: UnboundedReceiver<NetEvent>,
}

impl Bridge {
    pub fn start(config: SipNetConfig) -> Self {
        let (tell, events) = unbounded_channel();
        // The receiver goes first at the end of a test.
        let net = SipNet::start(config, move |event| drop(tell.send(event))).unwrap();
        Self { net, events }
    }

    pub fn address(&self, transport: Transport) -> SocketAddr {
        self.net.listening().into_iter().find(|(_, t, _)| *t == transport).unwrap().2
    }

    pub fn send(&self, token: u64, target: Target, message: &Message) {
        self.send_avoiding(&[], token, target, message);
    }

    pub fn send_avoiding(&self, avoid: &[SocketAddr], token: u64, target: Target, message: &Message) {
        let (token, message) = (SendToken(token), message.clone());
        self.net.send(Transmit { token, target, avoid: avoid.to_vec(), message });
    }

    pub async fn next(&mut self) -> NetEvent {
        within(self.events.recv()).await.unwrap()
    }

    pub fn nothing_more(&mut self) {
        if let Ok(event) = self.events.try_recv() {
            panic!("unexpected {event:?}");
        }
    }

    pub async fn received(&mut self) -> (Arrival, Message) {
        match self.next().await {
            NetEvent::Received { arrival, message } => (arrival, message),
            other => panic!("not a message: {other:?}"),
        }
    }

    pub async fn bound(&mut self, token: u64) -> FlowId {
        match self.next().await {
            NetEvent::Bound { token: t, flow, .. } => {
                assert_eq!(t, SendToken(token));
                flow
            }
            other => panic!("not bound: {other:?}"),
        }
    }

    pub async fn send_failed(&mut self, token: u64) -> SendFailure {
        match self.next().await {
            NetEvent::SendFailed { token: t, reason } => {
                assert_eq!(t, SendToken(token));
                reason
            }
            other => panic!("not failed: {other:?}"),
        }
    }

    pub async fn closed(&mut self) -> FlowId {
        match self.next().await {
            NetEvent::FlowClosed { flow } => flow,
            other => panic!("not closed: {other:?}"),
        }
    }
}

pub fn hop(transport: Transport, host: &str, port: Option<u16>) -> Hop {
    Hop { side: Side::Meta, transport, host: host.to_owned(), port }
}

pub fn to(transport: Transport, address: SocketAddr) -> Target {
    Target::Hop(hop(transport, &address.ip().to_string(), Some(address.port())))
}

pub fn text(call_id: &str) -> String {
    format!(
        "OPTIONS sip:setu@example.com SIP/2.0\r\n\
         Via: SIP/2.0/TCP peer.example.com;branch=z9hG4bK{call_id};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:peer@example.com>;tag=1\r\n\
         To: <sip:setu@example.com>\r\n\
         Call-ID: {call_id}\r\n\
         CSeq: 1 OPTIONS\r\n\
         Content-Length: 4\r\n\
         \r\n\
         body"
    )
}

pub fn message(call_id: &str) -> Message {
    Message::parse(Bytes::from(text(call_id))).unwrap()
}

pub fn call_id(message: &Message) -> String {
    message.header("Call-ID").unwrap().into_owned()
}

/// Reads exactly as much as `expected` is long, and compares.
pub async fn expect(from: &mut (impl AsyncRead + Unpin), expected: &[u8]) {
    let mut read = vec![0; expected.len()];
    within(from.read_exact(&mut read)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&read), String::from_utf8_lossy(expected));
}

/// Reads until the peer has closed, cleanly or not.
pub async fn expect_end(from: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = within(from.read_to_end(&mut rest)).await;
    rest
}

/// A port that answers nobody while it is held: datagrams from anybody but its only peer come back.
pub async fn closed_port(ip: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((ip, 0)).await.unwrap();
    socket.connect((ip, 9)).await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, future).await.unwrap()
}

/// Lets the transports go on until `reached`.
pub async fn until(reached: impl Fn() -> bool) {
    within(async {
        while !reached() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A TLS server as raw as it gets.
pub struct TlsServer {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl TlsServer {
    pub async fn start(issued: &Issued) -> Self {
        let (chain, key) = issued.parts();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        Self { listener, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub async fn accept(&self) -> std::io::Result<server::TlsStream<TcpStream>> {
        let (tcp, _) = within(self.listener.accept()).await.unwrap();
        within(self.acceptor.accept(tcp)).await
    }
}

/// A TLS client as raw as it gets.
pub struct TlsClient(ClientConfig);

impl TlsClient {
    pub fn new(authority: &Authority, versions: &[&'static SupportedProtocolVersion]) -> Self {
        Self(
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_protocol_versions(versions)
                .unwrap()
                .with_root_certificates(authority.roots())
                .with_no_client_auth(),
        )
    }

    pub fn with_certificate(authority: &Authority, issued: &Issued) -> Self {
        let (chain, key) = issued.parts();
        Self(
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(authority.roots())
                .with_client_auth_cert(chain, key)
                .unwrap(),
        )
    }

    pub fn offering_alpn(mut self, protocol: &str) -> Self {
        self.0.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        self
    }

    pub async fn connect(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> std::io::Result<client::TlsStream<TcpStream>> {
        let tcp = within(TcpStream::connect(address)).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        within(TlsConnector::from(Arc::new(self.0.clone())).connect(name, tcp)).await
    }
}

pub const BOTH_VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

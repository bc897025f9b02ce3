//! The twins on real sockets: tokio, TLS by rustls, and a certificate authority for tests.

mod ca;
mod handle;
mod sockets;
mod tls;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use setu_model::Direction;
use tokio::sync::mpsc;

pub use ca::{CertificateError, Identity, META_CLIENT_NAME, TestAuthority};
pub use handle::{Handle, Stopped, wait_for};

use crate::agent::{Habits, PhoneCallId, PhoneConfig, PhoneEvent, PhoneReport, Softphone};
use crate::graph::{GraphCallSpec, GraphConfig, GraphEdge, GraphEvent, GraphReport};
use crate::io::Transport;
use crate::meta::{CallReport, CallSpec, Edge, EdgeConfig, Event, TwinCallId};
use handle::{QUEUE, SystemEntropy};
use sockets::{Bound, Sockets};
use tls::TlsOptions;

/// Longer than any call of a test: ring window, a talk, and the ends of all timers.
const CALL: Duration = Duration::from_secs(600);

/// An edge on sockets. Port 0 in its configuration takes a free port.
#[derive(Debug, Clone)]
pub struct EdgeOptions {
    /// The edge.
    pub config: EdgeConfig,
    /// The certificate of `wa.meta.vc`.
    pub identity: Identity,
    /// The certificate shown to a bridge that asks for one ([`META_CLIENT_NAME`]).
    pub client_identity: Option<Identity>,
    /// Authorities the bridge's certificate may chain to, PEM.
    pub roots_pem: String,
    /// Names and their addresses, before DNS is asked: the bridge's host name, usually.
    pub resolve: BTreeMap<String, IpAddr>,
}

impl EdgeOptions {
    /// An edge whose certificates `authority` issues, and that trusts the same.
    pub fn new(config: EdgeConfig, authority: &TestAuthority) -> Result<Self, CertificateError> {
        Ok(Self {
            identity: authority.issue(&[&config.domain])?,
            client_identity: Some(authority.issue(&[META_CLIENT_NAME])?),
            roots_pem: authority.pem().to_owned(),
            resolve: BTreeMap::new(),
            config,
        })
    }
}

/// An edge that runs on sockets.
pub struct EdgeHandle {
    handle: Handle<Edge, Event>,
    config: EdgeConfig,
}

impl std::ops::Deref for EdgeHandle {
    type Target = Handle<Edge, Event>;

    fn deref(&self) -> &Self::Target {
        &self.handle
    }
}

impl EdgeHandle {
    /// The configuration with the ports that were taken.
    pub const fn config(&self) -> &EdgeConfig {
        &self.config
    }

    /// Where the bridge reaches `wa.meta.vc`.
    pub const fn sip_address(&self) -> SocketAddr {
        SocketAddr::new(self.config.ip, self.config.sip_port)
    }

    /// Lets a user call the business, and returns at once.
    pub async fn start_call(&self, spec: CallSpec) -> Result<TwinCallId, Stopped> {
        self.with(move |edge, now| edge.call(spec, now)).await
    }

    /// Lets a user call the business, and waits until the call is over.
    pub async fn call(&self, spec: CallSpec) -> Result<CallReport, Stopped> {
        let events = self.events();
        let id = self.start_call(spec).await?;
        let ended = wait_for(events, CALL, |event| event.ended().filter(|report| report.call == id).cloned());
        ended.await.ok_or(Stopped)
    }

    /// Waits for the end of the next call of the business.
    pub async fn next_business_call(&self, most: Duration) -> Option<CallReport> {
        let by_business = |report: &&CallReport| report.direction == Direction::BusinessInitiated;
        self.wait_for(most, |event| event.ended().filter(by_business).cloned()).await
    }

    /// Lets the user hang up.
    pub async fn hang_up(&self, call: TwinCallId) -> Result<(), Stopped> {
        self.with(move |edge, now| edge.hang_up(call, now)).await
    }

    /// Lets the user press keys.
    pub async fn send_dtmf(&self, call: TwinCallId, digits: &str) -> Result<(), Stopped> {
        let digits = digits.to_owned();
        self.with(move |edge, now| edge.send_dtmf(call, &digits, now)).await
    }

    /// Stops the edge after what it has said is written.
    pub async fn stop(self) {
        self.handle.stop().await;
    }

    /// Cuts the connection of a call.
    pub async fn drop_connection(&self, call: TwinCallId) -> Result<(), Stopped> {
        self.with(move |edge, _| edge.drop_connection(call)).await
    }
}

/// Starts an edge. Its sockets are bound when this returns.
pub async fn spawn_edge(options: EdgeOptions) -> io::Result<EdgeHandle> {
    let mut config = options.config;
    let mut bound = Bound { listener: None, udp: BTreeMap::new() };
    config.sip_port = bound.tcp(config.ip, config.sip_port).await?;
    config.media_ports = bound.udp(config.ip, &config.media_ports).await?;
    if let Some(ip) = config.ip6
        && let Err(error) = bound.udp(ip.into(), &config.media_ports).await
    {
        tracing::debug!(%ip, %error, "nobody answers at the IPv6 candidate");
    }
    let tls = TlsOptions {
        roots_pem: options.roots_pem,
        server: Some(options.identity),
        client: options.client_identity.filter(|_| config.quirks.present_client_cert),
        alpn_refused: config.quirks.alpn_refused,
        request_client_cert: config.quirks.request_client_cert,
    };
    // A certificate that cannot be used is told here, not to the first caller.
    tls::acceptor(&tls)?;
    let (input, inputs) = mpsc::channel(QUEUE);
    let sockets = Sockets::new(bound, tls, options.resolve, input);
    let edge = Edge::new(config.clone(), Box::new(SystemEntropy));
    Ok(EdgeHandle { handle: handle::spawn(edge, sockets, inputs, Edge::poll_event), config })
}

/// Runs an edge, makes `calls` one after the other, tells everything to `tell`, and, if `stays`, goes on to answer
/// the business's calls until the future is dropped. Else it stops after what it has said is written.
pub async fn run_edge(
    edge: EdgeHandle,
    calls: Vec<CallSpec>,
    stays: bool,
    mut tell: impl FnMut(&Event) + Send,
) -> io::Result<()> {
    let mut events = edge.events();
    for spec in calls {
        let id = edge.start_call(spec).await.map_err(io::Error::other)?;
        loop {
            let event = next(&mut events).await?;
            tell(&event);
            if event.ended().is_some_and(|report| report.call == id) {
                break;
            }
        }
    }
    if stays {
        loop {
            tell(&next(&mut events).await?);
        }
    }
    edge.stop().await;
    Ok(())
}

async fn next(events: &mut tokio::sync::broadcast::Receiver<Event>) -> io::Result<Event> {
    loop {
        match events.recv().await {
            Ok(event) => return Ok(event),
            Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
            Err(tokio::sync::broadcast::error::RecvError::Closed) => return Err(io::Error::other(Stopped)),
        }
    }
}

/// Meta's Graph side on sockets. Port 0 in its configuration takes a free port.
#[derive(Debug, Clone)]
pub struct GraphOptions {
    /// The edge.
    pub config: GraphConfig,
    /// The certificate of its host.
    pub identity: Identity,
}

/// Meta's Graph side, on sockets.
pub struct GraphHandle {
    handle: Handle<GraphEdge, GraphEvent>,
    config: GraphConfig,
}

impl std::ops::Deref for GraphHandle {
    type Target = Handle<GraphEdge, GraphEvent>;

    fn deref(&self) -> &Self::Target {
        &self.handle
    }
}

impl GraphHandle {
    /// The configuration with the ports that were taken.
    pub const fn config(&self) -> &GraphConfig {
        &self.config
    }

    /// Lets a user call the business, and waits until the call is over; `None` if that takes longer than `most`.
    pub async fn call(&self, spec: GraphCallSpec, most: Duration) -> Option<GraphReport> {
        let events = self.events();
        let wacid = self.with(move |edge, now| edge.call(spec, now)).await.ok().flatten()?;
        wait_for(events, most, |event| event.ended().filter(|report| report.wacid == wacid).cloned()).await
    }

    /// Waits for the end of the next call.
    pub async fn next_report(&self, most: Duration) -> Option<GraphReport> {
        self.wait_for(most, |event| event.ended().cloned()).await
    }
}

/// Starts Meta's Graph side. Its sockets are bound when this returns.
pub async fn spawn_graph(options: GraphOptions) -> io::Result<GraphHandle> {
    let mut config = options.config;
    let mut bound = Bound { listener: None, udp: BTreeMap::new() };
    config.https_port = bound.tcp(config.ip, config.https_port).await?;
    config.media_ports = bound.udp(config.ip, &config.media_ports).await?;
    let tls = TlsOptions { server: Some(options.identity), ..TlsOptions::default() };
    tls::acceptor(&tls)?;
    let (input, inputs) = mpsc::channel(QUEUE);
    let sockets = Sockets::new(bound, tls, BTreeMap::new(), input);
    let edge = GraphEdge::new(config.clone(), Box::new(SystemEntropy));
    Ok(GraphHandle { handle: handle::spawn(edge, sockets, inputs, GraphEdge::poll_event), config })
}

/// A telephone or trunk on sockets. Port 0 in its configuration takes a free port.
#[derive(Debug, Clone)]
pub struct PhoneOptions {
    /// The telephone.
    pub config: PhoneConfig,
    /// Authorities the bridge's certificate may chain to, PEM; for TLS.
    pub roots_pem: String,
    /// Its own certificate; for a trunk that listens with TLS.
    pub identity: Option<Identity>,
    /// Names and their addresses, before DNS is asked.
    pub resolve: BTreeMap<String, IpAddr>,
}

impl PhoneOptions {
    /// A telephone without TLS, whose bridge is found by address or DNS.
    pub const fn new(config: PhoneConfig) -> Self {
        Self { config, roots_pem: String::new(), identity: None, resolve: BTreeMap::new() }
    }
}

/// A telephone that runs on sockets.
pub struct PhoneHandle {
    handle: Handle<Softphone, PhoneEvent>,
    config: PhoneConfig,
}

impl std::ops::Deref for PhoneHandle {
    type Target = Handle<Softphone, PhoneEvent>;

    fn deref(&self) -> &Self::Target {
        &self.handle
    }
}

impl PhoneHandle {
    /// The configuration with the ports that were taken.
    pub const fn config(&self) -> &PhoneConfig {
        &self.config
    }

    /// Registers, and waits until the registrar has spoken. `Err` holds its refusal, if it spoke at all.
    pub async fn register(&self, most: Duration) -> Result<(), Option<u16>> {
        let events = self.events();
        self.with(|phone, now| phone.register(now)).await.map_err(|_| None)?;
        let outcome = wait_for(events, most, |event| {
            if let PhoneEvent::RegisterFailed(status) = event {
                return Some(Err(*status));
            }
            (*event == PhoneEvent::Registered).then_some(Ok(()))
        });
        outcome.await.unwrap_or(Err(None))
    }

    /// Dials, and waits until the call is over.
    pub async fn dial(&self, number: &str, habits: Option<Habits>) -> Result<PhoneReport, Stopped> {
        let events = self.events();
        let id = self.start_dialling(number, habits).await?;
        let ended = wait_for(events, CALL, |event| event.ended().filter(|report| report.call == id).cloned());
        ended.await.ok_or(Stopped)
    }

    /// Dials, and returns at once.
    pub async fn start_dialling(&self, number: &str, habits: Option<Habits>) -> Result<PhoneCallId, Stopped> {
        let number = number.to_owned();
        self.with(move |phone, now| phone.dial(&number, habits, now)).await
    }

    /// Waits for the end of the next call.
    pub async fn next_report(&self, most: Duration) -> Option<PhoneReport> {
        self.wait_for(most, |event| event.ended().cloned()).await
    }

    /// Hangs up.
    pub async fn hang_up(&self, call: PhoneCallId) -> Result<(), Stopped> {
        self.with(move |phone, now| phone.hang_up(call, now)).await
    }
}

/// Starts a telephone or trunk. Its sockets are bound when this returns; it does not register by itself.
pub async fn spawn_phone(options: PhoneOptions) -> io::Result<PhoneHandle> {
    let mut config = options.config;
    let mut bound = Bound { listener: None, udp: BTreeMap::new() };
    match config.transport {
        Transport::Udp => {
            let ports = bound.udp(config.ip, &[config.sip_port]).await?;
            config.sip_port = ports.first().copied().unwrap_or(config.sip_port);
            config.bridge_host = resolve(&config, &options.resolve).await?.to_string();
        }
        Transport::Tcp | Transport::Tls if config.listens => {
            config.sip_port = bound.tcp(config.ip, config.sip_port).await?;
        }
        Transport::Tcp | Transport::Tls => {}
    }
    config.media_ports = bound.udp(config.ip, &config.media_ports).await?;
    let tls = TlsOptions { roots_pem: options.roots_pem, server: options.identity, ..TlsOptions::default() };
    tls::acceptor(&tls)?;
    let (input, inputs) = mpsc::channel(QUEUE);
    let sockets = Sockets::new(bound, tls, options.resolve, input);
    let phone = Softphone::new(config.clone(), Box::new(SystemEntropy));
    Ok(PhoneHandle { handle: handle::spawn(phone, sockets, inputs, Softphone::poll_event), config })
}

async fn resolve(config: &PhoneConfig, pinned: &BTreeMap<String, IpAddr>) -> io::Result<IpAddr> {
    if let Some(ip) = pinned.get(&config.bridge_host.to_ascii_lowercase()) {
        return Ok(*ip);
    }
    let mut found = tokio::net::lookup_host((config.bridge_host.as_str(), config.bridge_port)).await?;
    let first =
        found.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, config.bridge_host.clone()))?;
    Ok(first.ip())
}

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use setu_model::{EgressPolicy, Side};
use setu_sip::{Arrival, FlowId, Hop, SendToken, Target, Transmit, Transport};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::admission::Guest;
use crate::certificate::{CertificateError, CertificateStatus};
use crate::config::{Limits, SipNetConfig, Timeouts, TlsConfig, WebSocketConfig};
use crate::connect;
use crate::counters::Counters;
use crate::event::{NetEvent, SendFailure, StartError};
use crate::listen::{self, Listening, StreamListener};
use crate::pool::{Ends, Item, Offer, Opened, Opening, Outgoing, Pool, Waiting};
use crate::resolve::Resolver;
use crate::tasks::Tasks;
use crate::tls::TlsStore;
use crate::trace::scrub;
use crate::udp::{self, UdpListener};

/// The running transports of both sides. Dropping it cuts everything at once; [`SipNet::shutdown`] lets what waits
/// leave first.
pub struct SipNet {
    shared: Arc<Shared>,
    listening: Vec<Listening>,
}

impl SipNet {
    /// Reads the certificates, binds every listener, and only then begins to serve.
    ///
    /// `on_event` is called from the transports' tasks, also from within [`SipNet::send`]; it must not block. Call
    /// this within a tokio runtime; all other methods may be called from anywhere.
    ///
    /// # Errors
    /// Says which certificate or address is at fault and what to do. Nothing stays bound.
    pub fn start(
        config: SipNetConfig,
        on_event: impl Fn(NetEvent) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let tls = TlsStore::load(&config.tls)?;
        let bound = listen::bind_all(&config.listeners, &tls, config.limits.udp_flows)?;

        let (phase, phases) = watch::channel(Phase::Running);
        let (within, most) = (config.timeouts.resolve, config.limits.candidates);
        let shared = Arc::new(Shared {
            resolver: Resolver::new(config.pinned, &config.name_servers, within, most),
            egress: config.egress,
            websocket: config.websocket,
            limits: config.limits,
            timeouts: config.timeouts,
            tls,
            counters: Arc::default(),
            sink: Box::new(on_event),
            pool: Mutex::default(),
            udp: bound.udp,
            listening: bound.listening.clone(),
            wire_trace: AtomicBool::new(config.wire_trace),
            phases,
            phase,
            tasks: Tasks::new(runtime),
        });
        for (index, socket) in bound.datagrams.into_iter().enumerate() {
            shared.tasks.spawn(udp::receive(Arc::clone(&shared), index, socket));
        }
        for StreamListener { listener, side, transport } in bound.streams {
            shared.tasks.spawn(listen::accept(Arc::clone(&shared), listener, side, transport));
        }
        Ok(Self { shared, listening: bound.listening })
    }

    /// Sends a message where its target says. What became of it is told by events; a retransmission over UDP that
    /// the system has no room for counts as lost on the way.
    pub fn send(&self, transmit: Transmit) {
        let Transmit { token, target, avoid, message } = transmit;
        match target {
            Target::Flow(flow) => {
                self.shared.send_on_flow(flow, Outgoing { token, message, otherwise: None, avoid });
            }
            Target::FlowOr(flow, hop) => {
                self.shared.send_on_flow(flow, Outgoing { token, message, otherwise: Some(hop), avoid });
            }
            Target::Hop(hop) => {
                let otherwise = Some(hop.clone());
                self.shared.send_to_hop(&hop, Outgoing { token, message, otherwise, avoid });
            }
        }
    }

    /// Keeps a stream: its peer has proved who it is. A stream that a peer opened and that is not kept is closed after
    /// [`Timeouts::proof`], or sooner to make room for another.
    pub fn keep(&self, flow: FlowId) {
        self.shared.pool().keep(flow);
    }

    /// Closes a stream once everything that waits for it was sent. UDP flows need no closing.
    pub fn close(&self, flow: FlowId) {
        self.shared.forget(flow);
    }

    /// Reads the certificate and authority files of `tls`, the same as at the start or others. New connections use the
    /// new ones, old connections live on.
    ///
    /// # Errors
    /// If any file cannot be used; then all stays as it was.
    pub fn reload_certificates(
        &self,
        tls: &BTreeMap<Side, TlsConfig>,
    ) -> Result<Vec<CertificateStatus>, CertificateError> {
        self.shared.tls.reload(tls)?;
        Ok(self.certificates())
    }

    /// The certificates in use, for metrics and alarms about their expiry.
    pub fn certificates(&self) -> Vec<CertificateStatus> {
        self.shared.tls.certificates()
    }

    /// The bound addresses, in the order of the configuration.
    pub fn listening(&self) -> Vec<(Side, Transport, SocketAddr)> {
        self.listening.iter().map(|l| (l.side, l.transport, l.bound)).collect()
    }

    /// The host and port that peers reach the first listener of a transport by: what belongs into Via and Contact.
    pub fn advertised(&self, side: Side, transport: Transport) -> Option<(String, u16)> {
        let found = self.listening.iter().find(|l| l.side == side && l.transport == transport)?;
        let host = found.advertised_host.clone().unwrap_or_else(|| found.bound.ip().to_string());
        Some((host, found.advertised_port.unwrap_or(found.bound.port())))
    }

    /// What the transports count.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// Turns the wire trace on or off (TRACE level, target `setu::wire`).
    pub fn set_wire_trace(&self, on: bool) {
        self.shared.wire_trace.store(on, Ordering::Relaxed);
    }

    /// Stops listening, sends what waits within [`Timeouts::drain`], closes every stream, and returns once no task
    /// is left. UDP ports are given back when this value is dropped: until then the last responses can leave.
    pub async fn shutdown(&self) {
        let shared = &self.shared;
        let open = shared.pool().close();
        shared.phase.send_replace(Phase::Draining);
        for flow in open {
            shared.emit(NetEvent::FlowClosed { flow });
        }
        if tokio::time::timeout(shared.timeouts.drain, shared.tasks.finished()).await.is_err() {
            shared.phase.send_replace(Phase::Cut);
            shared.tasks.finished().await;
        }
    }
}

impl Drop for SipNet {
    fn drop(&mut self) {
        let _ = self.shared.pool().close();
        self.shared.phase.send_replace(Phase::Cut);
    }
}

impl fmt::Debug for SipNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SipNet").field("listening", &self.listening).finish_non_exhaustive()
    }
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Running,
    /// Nothing new; streams send what waits.
    Draining,
    /// Everything ends where it is.
    Cut,
}

/// What all tasks of the transports share.
pub(crate) struct Shared {
    pub(crate) resolver: Resolver,
    pub(crate) egress: EgressPolicy,
    pub(crate) websocket: WebSocketConfig,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    pub(crate) tls: TlsStore,
    pub(crate) counters: Arc<Counters>,
    pub(crate) udp: Vec<UdpListener>,
    pub(crate) listening: Vec<Listening>,
    pub(crate) tasks: Tasks,
    sink: Box<dyn Fn(NetEvent) + Send + Sync>,
    pool: Mutex<Pool>,
    wire_trace: AtomicBool,
    phases: watch::Receiver<Phase>,
    phase: watch::Sender<Phase>,
}

impl Shared {
    /// Tells the core. Never called with the pool locked.
    pub(crate) fn emit(&self, event: NetEvent) {
        (self.sink)(event);
    }

    pub(crate) fn fail(&self, token: SendToken, reason: SendFailure) {
        tracing::debug!(token = token.0, %reason, "a message did not leave");
        self.emit(NetEvent::SendFailed { token, reason });
    }

    /// Resolves once the end has come as far as `phase`.
    pub(crate) async fn reached(&self, phase: Phase) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self.phases.clone().wait_for(|now| *now >= phase).await;
    }

    /// Takes a stream that a peer opened into the pool. None at shutdown.
    pub(crate) fn welcome(&self, arrival: Arrival, guest: &Guest) -> Option<Ends> {
        self.pool().insert(arrival, Opened::ByPeer(guest), self.limits.queue)
    }

    /// Takes a stream that the bridge opened into the pool and hands it what waited for it. None at shutdown.
    pub(crate) fn adopt(self: &Arc<Self>, arrival: Arrival, hop: &Hop, opening: &Opening) -> Option<Ends> {
        let mut offers = Vec::new();
        let ends = {
            let mut pool = self.pool();
            let ends = pool.insert(arrival, Opened::ByUs(hop), self.limits.queue)?;
            for outgoing in pool.waited_for(opening) {
                offers.push((outgoing.token, pool.offer_to_flow(ends.arrival.flow, outgoing)));
            }
            ends
        };
        for (token, offer) in offers {
            self.settle(token, offer, true);
        }
        Some(ends)
    }

    /// Takes a stream out of the pool and says so, once.
    pub(crate) fn forget(&self, flow: FlowId) {
        let was_there = self.pool().remove(flow);
        if was_there {
            self.emit(NetEvent::FlowClosed { flow });
        }
    }

    /// Fails everything that waits for an opening.
    pub(crate) fn give_up(&self, opening: &Opening, reason: &SendFailure) {
        for outgoing in self.waited_for(opening) {
            self.fail(outgoing.token, reason.clone());
        }
    }

    /// Sends what could not leave on a stream that died by the other way it has, if any.
    pub(crate) fn retry(self: &Arc<Self>, outgoing: Outgoing) {
        match outgoing.otherwise {
            // Once: a peer that closes whatever is opened must not keep a message going round.
            Some(hop) => self.send_to_hop(&hop, Outgoing { otherwise: None, ..outgoing }),
            None => self.fail(outgoing.token, SendFailure::NoFlow),
        }
    }

    pub(crate) fn trace(&self, way: &'static str, peer: Peer, wire: &Bytes) {
        if self.wire_trace.load(Ordering::Relaxed) {
            let Peer { side, transport, flow, remote } = peer;
            let (flow, message) = (flow.0, scrub(wire));
            tracing::trace!(target: "setu::wire", way, %side, %transport, flow, %remote, "\n{message}");
        }
    }

    fn send_on_flow(self: &Arc<Self>, flow: FlowId, outgoing: Outgoing) {
        if let Some((listener, remote)) = udp::route(&self.udp, flow) {
            return match listener.send(self, flow, remote, &outgoing.message) {
                Ok(()) => {}
                Err(reason) => self.fail(outgoing.token, reason),
            };
        }
        let token = outgoing.token;
        let offer = self.pool().offer_to_flow(flow, outgoing);
        self.settle(token, offer, false);
    }

    fn send_to_hop(self: &Arc<Self>, hop: &Hop, outgoing: Outgoing) {
        let token = outgoing.token;
        let avoid = outgoing.avoid.clone();
        let most = Waiting { messages: self.limits.waiting, destinations: self.limits.connecting };
        let offer = if hop.transport == Transport::Udp {
            match self.resolver.known(hop) {
                Ok(Some(addresses)) => return udp::send_to(self, hop, &addresses, outgoing),
                Err(fault) => {
                    self.counters.unresolved.add();
                    return self.fail(token, SendFailure::Unresolved(fault.to_string()));
                }
                Ok(None) => self.pool().wait_for(hop, outgoing, most),
            }
        } else {
            self.pool().offer_to_hop(hop, outgoing, most)
        };
        if matches!(offer, Offer::Waiting { first: true }) {
            let opening = connect::open(Arc::clone(self), hop.clone(), avoid);
            self.tasks.spawn(opening);
        }
        self.settle(token, offer, true);
    }

    /// Does what an offer to the pool calls for.
    fn settle(self: &Arc<Self>, token: SendToken, offer: Offer, bound: bool) {
        match offer {
            Offer::Place { flow, remote, place, mut outgoing } => {
                if bound {
                    // Should this stream die, the core chooses where the request goes next: it must not go twice.
                    outgoing.otherwise = None;
                    self.emit(NetEvent::Bound { token, flow, remote });
                }
                place.send(Item::Message(outgoing));
            }
            Offer::Waiting { .. } => {}
            Offer::NoFlow(outgoing) => self.retry(outgoing),
            Offer::Lost { flow, overflowed, outgoing } => {
                if overflowed {
                    self.counters.queues_overflowed.add();
                }
                self.emit(NetEvent::FlowClosed { flow });
                self.retry(outgoing);
            }
            Offer::Refused(outgoing) => {
                self.counters.queues_overflowed.add();
                self.fail(outgoing.token, SendFailure::Overflow);
            }
            Offer::Closed(outgoing) => self.fail(outgoing.token, SendFailure::Shutdown),
        }
    }

    pub(crate) fn waited_for(&self, opening: &Opening) -> Vec<Outgoing> {
        self.pool().waited_for(opening)
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom a traced message came from or goes to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) side: Side,
    pub(crate) transport: Transport,
    pub(crate) flow: FlowId,
    pub(crate) remote: SocketAddr,
}

impl Peer {
    pub(crate) const fn of(arrival: &Arrival) -> Self {
        Self { side: arrival.side, transport: arrival.transport, flow: arrival.flow, remote: arrival.remote }
    }
}

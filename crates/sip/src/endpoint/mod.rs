//! The endpoint: everything SIP of one bridge, as one core.

mod command;
mod config;
mod door;
mod event;
mod probe;
mod stranger;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use setu_model::{Entropy, Now};

use crate::access::{Access, Gate};
use crate::dialog::Dialog;
use crate::flow::{Arrival, FlowId, SendToken};
use crate::message::{Message, ParseError};
use crate::registrar::{Binding, BindingChange, Registrar};
use crate::session::{Answer, Session};
use crate::timers::Timer;
use crate::transaction::{Due, Layer, Owner, Upcall};

pub use command::{InviteRequest, Party};
pub use config::{EndpointConfig, Limits, SideConfig};
pub use event::{CommandError, Counters, EarlyId, EndHow, Event, Output, ReofferKind, SessionId, Stranger};

use probe::Probes;

/// Everything SIP of one bridge: transactions, dialogs, sessions, registrar and the guard at the door.
///
/// Call a `handle_*` method or a command, then drain [`poll_output`](Self::poll_output), then wait for the next
/// input or for [`poll_timeout`](Self::poll_timeout).
pub struct Endpoint {
    layer: Layer,
    gate: Gate,
    registrar: Registrar,
    probes: Probes,
    sessions: BTreeMap<SessionId, Box<Session>>,
    /// Sessions by our tag, which no two share.
    by_tag: BTreeMap<String, SessionId>,
    /// Streams on which somebody proved who it is. The transports bound how many there are, but the end of one may
    /// overtake its last request, or be lost where the bridge is overloaded.
    proven: BTreeSet<FlowId>,
    /// Sessions that still are calls; the others only wait for stray messages.
    live: usize,
    next_session: u64,
}

impl Endpoint {
    /// Makes an endpoint without calls. Trunks with a probe are asked at once.
    pub fn new(config: EndpointConfig, mut entropy: Box<dyn Entropy>, now: Now) -> Self {
        let gate = Gate::new(config.access.clone(), &config.limits, entropy.as_mut());
        let mut endpoint = Self {
            layer: Layer::new(config, entropy),
            gate,
            registrar: Registrar::default(),
            probes: Probes::default(),
            sessions: BTreeMap::new(),
            by_tag: BTreeMap::new(),
            proven: BTreeSet::new(),
            live: 0,
            next_session: 1,
        };
        endpoint.probe_all(now);
        endpoint
    }

    /// Takes a message from the transports.
    pub fn handle_received(&mut self, arrival: &Arrival, message: Message, now: Now) {
        self.layer.counters.received += 1;
        if message.is_request() {
            self.handle_request(arrival, &message, now);
        } else if message.validate().is_err() {
            self.layer.counters.malformed += 1;
        } else {
            self.layer.handle_response(arrival, message, now.mono);
        }
        self.drain(now);
    }

    /// Takes bytes that are no message. A broken request is answered, unless that would be larger than what came.
    pub fn handle_malformed(&mut self, arrival: &Arrival, error: &ParseError, now: Now) {
        self.layer.counters.received += 1;
        self.turn_malformed_away(arrival, error, None, now);
        self.drain(now);
    }

    /// A transmission to a hop went out on this flow.
    pub fn handle_bound(&mut self, token: SendToken, flow: FlowId, remote: SocketAddr, now: Now) {
        self.layer.handle_bound(token, flow, remote);
        self.drain(now);
    }

    /// A transmission could not be sent: no route, no connection, no proof of the name.
    pub fn handle_send_failed(&mut self, token: SendToken, now: Now) {
        self.layer.handle_send_failed(token, now.mono);
        self.drain(now);
    }

    /// A datagram could not be delivered, says the network; `quote` is how it begins. A request that nobody has
    /// answered has failed (RFC 3261 section 18.4).
    pub fn handle_returned(&mut self, quote: &[u8], now: Now) {
        self.layer.handle_returned(quote, now.mono);
        self.drain(now);
    }

    /// A flow is gone. Dialogs go on over another one; bindings of a stream vanish with it.
    pub fn handle_flow_closed(&mut self, flow: FlowId, now: Now) {
        self.layer.handle_flow_closed(flow, now.mono);
        self.proven.remove(&flow);
        let changes = self.registrar.handle_flow_closed(flow);
        self.tell_bindings(changes);
        self.drain(now);
    }

    /// Fires every timer that is due at `now`.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(due) = self.layer.schedule.take_due(now.mono) {
            match due {
                Due::Transaction(tx) => self.layer.handle_timeout(tx, now.mono),
                Due::Session(id) => {
                    self.with_session(id, |session, layer| session.handle_timeout(layer, now));
                }
                Due::Registrar => {
                    let changes = self.registrar.handle_timeout(now.mono);
                    self.tell_bindings(changes);
                }
                Due::Probes => self.probe_due(now),
            }
            self.drain(now);
        }
    }

    /// Takes the next thing the caller must do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.layer.poll_output()
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is next due, and for which timer.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.layer.poll_timeout()
    }

    /// Replaces who is known. Live calls go on; bindings of accounts that are gone vanish.
    pub fn reload_access(&mut self, access: Access, now: Now) {
        self.gate.reload(access);
        let gate = &self.gate;
        let changes = self.registrar.retain(|account| gate.has_account(account));
        self.tell_bindings(changes);
        self.probe_all(now);
        self.drain(now);
    }

    /// Returns the contacts of an account, the preferred first.
    pub fn bindings(&self, account: &str) -> Vec<Binding> {
        self.registrar.bindings(account)
    }

    /// Whether a probed trunk answers; none before its first probe ended.
    pub fn trunk_up(&self, name: &str) -> Option<bool> {
        self.probes.is_up(name)
    }

    /// Returns the dialog of an incoming or answered call, as it can be stored.
    pub fn dialog(&self, session: SessionId) -> Option<&Dialog> {
        self.sessions.get(&session)?.dialog()
    }

    /// Returns what happened since the endpoint began.
    pub const fn counters(&self) -> Counters {
        self.layer.counters
    }

    /// Returns how much is in the tables.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            calls: self.live,
            sessions: self.sessions.len(),
            transactions: self.layer.len(),
            bindings: self.registrar.len(),
            strangers: self.gate.strangers(),
            proven_streams: self.proven.len(),
        }
    }

    /// Whether no call and no transaction is left.
    pub fn is_idle(&self) -> bool {
        self.sessions.is_empty() && self.layer.len() == 0
    }

    // ---- the inside

    /// Does what the transactions ask for.
    fn drain(&mut self, now: Now) {
        while let Some(upcall) = self.layer.poll_upcall() {
            match upcall {
                Upcall::Response { tx, owner, method, message, arrival, trusted } => match owner {
                    Owner::Session(id) => {
                        let answer = Answer { tx, method, message, arrival, trusted };
                        self.with_session(id, |session, layer| session.handle_answer(layer, answer, now));
                    }
                    Owner::Probe(name) => self.handle_probe_answer(&name, &message),
                    Owner::Nobody => {}
                },
                Upcall::TimedOut { tx, owner } => self.handle_lost(tx, owner, 408, now),
                Upcall::Failed { tx, owner } => self.handle_lost(tx, owner, 503, now),
                Upcall::Overdue { owner: Owner::Session(id) } => {
                    self.with_session(id, |session, layer| session.handle_overdue(layer, now));
                }
                Upcall::Done { tx, owner: Owner::Session(id) } => {
                    self.with_session(id, |session, _| session.handle_done(tx));
                }
                Upcall::Overdue { .. } | Upcall::Done { .. } => {}
            }
        }
    }

    fn handle_lost(&mut self, tx: crate::transaction::TxId, owner: Owner, status: u16, now: Now) {
        match owner {
            Owner::Session(id) => {
                self.with_session(id, |session, layer| session.handle_lost(layer, tx, status, now));
            }
            Owner::Probe(name) => self.set_trunk(&name, false),
            Owner::Nobody => {}
        }
    }

    /// Lets a session act, then sets its deadline, or forgets it if nothing can reach it any more.
    fn with_session<T>(
        &mut self,
        id: SessionId,
        act: impl FnOnce(&mut Session, &mut Layer) -> T,
    ) -> Option<T> {
        let session = self.sessions.get_mut(&id)?;
        let was_live = session.is_live();
        let result = act(session, &mut self.layer);
        if was_live && !session.is_live() {
            self.live -= 1;
        }
        self.layer.schedule.set(Due::Session(id), session.poll_timeout());
        if session.is_forgotten() {
            self.by_tag.remove(session.local_tag());
            self.sessions.remove(&id);
        }
        Some(result)
    }

    fn add_session(&mut self, id: SessionId, session: Session) {
        self.live += 1;
        self.by_tag.insert(session.local_tag().to_owned(), id);
        self.sessions.insert(id, Box::new(session));
    }

    fn next_session(&mut self) -> SessionId {
        let id = SessionId(self.next_session);
        self.next_session += 1;
        id
    }

    fn is_full(&self) -> bool {
        self.live >= self.layer.config.limits.sessions || self.layer.is_full()
    }

    fn tell_bindings(&mut self, changes: Vec<BindingChange>) {
        for change in changes {
            self.layer.tell(Event::Binding(change));
        }
        let next = self.registrar.poll_timeout().map(|at| (at, Timer::Binding));
        self.layer.schedule.set(Due::Registrar, next);
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({:?})", self.sizes())
    }
}

/// How much an endpoint holds, for metrics and to see that nothing leaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Calls.
    pub calls: usize,
    /// Sessions: calls, and those that are over and only wait for stray messages.
    pub sessions: usize,
    /// Transactions.
    pub transactions: usize,
    /// Contacts of all accounts.
    pub bindings: usize,
    /// Source addresses whose rate is remembered.
    pub strangers: usize,
    /// Streams on which somebody proved who it is.
    pub proven_streams: usize,
}

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use setu_model::{Entropy, Side};

use super::Action;
use super::clients::Client;
use super::key::{MAGIC, MergeKey, ServerKey};
use super::schedule::Schedule;
use super::servers::Server;
use crate::endpoint::{CommandError, Counters, EndpointConfig, Event, Output, SessionId};
use crate::flow::{Arrival, FlowId, SendToken, Target, Transmit, Transport};
use crate::message::{Message, Method};
use crate::timers::Timer;

/// Names one transaction. Its number is the token of everything the transaction sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TxId(pub(crate) u64);

/// Who is told about a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A session.
    Session(SessionId),
    /// The prober of a trunk.
    Probe(String),
    /// Nobody: the answer does not matter.
    Nobody,
}

/// What a transaction tells its user.
#[derive(Debug)]
pub(crate) enum Upcall {
    /// A response to a request of ours.
    Response { tx: TxId, owner: Owner, method: Method, message: Message, arrival: Arrival, trusted: bool },
    /// A request of ours got no response.
    TimedOut { tx: TxId, owner: Owner },
    /// A request of ours could not be sent.
    Failed { tx: TxId, owner: Owner },
    /// An INVITE of ours rings for too long.
    Overdue { owner: Owner },
    /// The transaction is over and forgotten.
    Done { tx: TxId, owner: Owner },
}

/// Keeps the transactions, matches messages to them, runs their timers and writes our Via.
pub(crate) struct Layer {
    pub(crate) config: EndpointConfig,
    pub(crate) entropy: Box<dyn Entropy>,
    pub(crate) counters: Counters,
    pub(crate) schedule: Schedule,
    pub(super) clients: BTreeMap<TxId, Box<Client>>,
    pub(super) servers: BTreeMap<TxId, Box<Server>>,
    pub(super) by_branch: BTreeMap<(Arc<str>, Method), TxId>,
    pub(super) by_key: BTreeMap<Arc<ServerKey>, TxId>,
    pub(super) merged: BTreeMap<Arc<MergeKey>, TxId>,
    /// Requests that no peer has answered yet, by the flow they went out on: its loss is their failure.
    pub(super) unanswered: BTreeSet<(FlowId, TxId)>,
    outputs: VecDeque<Output>,
    pub(super) upcalls: VecDeque<Upcall>,
    next_id: u64,
}

impl Layer {
    pub(crate) fn new(config: EndpointConfig, entropy: Box<dyn Entropy>) -> Self {
        Self {
            config,
            entropy,
            counters: Counters::default(),
            schedule: Schedule::default(),
            clients: BTreeMap::new(),
            servers: BTreeMap::new(),
            by_branch: BTreeMap::new(),
            by_key: BTreeMap::new(),
            merged: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            outputs: VecDeque::new(),
            upcalls: VecDeque::new(),
            next_id: 1,
        }
    }

    /// How many transactions are kept.
    pub(crate) fn len(&self) -> usize {
        self.clients.len() + self.servers.len()
    }

    /// Whether new requests must be refused.
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.config.limits.transactions
    }

    /// Whether there is room for a request of a dialog: a call must end however many would begin.
    pub(super) fn has_room(&mut self) -> bool {
        let room = self.len() < self.config.limits.transactions.saturating_mul(2);
        if !room {
            self.counters.overloaded += 1;
        }
        room
    }

    /// Tells the application.
    pub(crate) fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(Box::new(event)));
    }

    /// Asks for a flow to be kept.
    pub(crate) fn keep(&mut self, flow: FlowId) {
        self.outputs.push_back(Output::Keep(flow));
    }

    /// Asks for a flow to be closed.
    pub(crate) fn close(&mut self, flow: FlowId) {
        self.outputs.push_back(Output::Close(flow));
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(crate) fn poll_upcall(&mut self) -> Option<Upcall> {
        self.upcalls.pop_front()
    }

    /// Fires the timers of one transaction.
    pub(crate) fn handle_timeout(&mut self, tx: TxId, now: Instant) {
        if let Some(client) = self.clients.get_mut(&tx) {
            client.machine.handle_timeout(now);
            self.pump_client(tx, None, now);
        } else if let Some(server) = self.servers.get_mut(&tx) {
            server.machine.handle_timeout(now);
            self.pump_server(tx);
        }
    }

    /// A branch nobody can guess: it is what lets a response in.
    pub(super) fn branch(&mut self) -> String {
        format!("{MAGIC}{}", self.entropy.hex(16))
    }

    pub(super) fn next_token(&mut self) -> u64 {
        let token = self.next_id;
        self.next_id += 1;
        token
    }

    pub(super) fn with_via(
        &self,
        request: &Message,
        side: Side,
        transport: Transport,
        branch: &str,
    ) -> Result<Message, CommandError> {
        let ours = self.config.side(side);
        let (host, port) = (ours.uri_host(), ours.port(transport));
        request
            .with_top_via(&format!("SIP/2.0/{transport} {host}:{port};rport;branch={branch}"))
            .map_err(|_| CommandError::Unbuildable)
    }

    pub(super) fn send(&mut self, transmit: Transmit) {
        self.counters.sent += 1;
        self.outputs.push_back(Output::Send(transmit));
    }

    pub(super) fn transmit(
        &mut self,
        token: SendToken,
        target: Target,
        avoid: Vec<SocketAddr>,
        action: Action,
    ) {
        let message = match action {
            Action::Transmit(message) => message,
            Action::Retransmit(message) => {
                self.counters.retransmitted += 1;
                message
            }
            Action::Response(_) | Action::Overdue | Action::TimedOut | Action::Failed => return,
        };
        self.send(Transmit { token, target, avoid, message });
    }

    /// The earliest deadline of everything.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.schedule.next()
    }
}

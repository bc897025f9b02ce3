use std::sync::Arc;
use std::time::Instant;

use setu_model::Side;

use super::key::{MergeKey, ServerKey};
use super::layer::{Layer, Owner, TxId, Upcall};
use super::schedule::Due;
use super::{Action, ServerInvite, ServerRequest};
use crate::dialog::bare_host;
use crate::flow::{Arrival, Hop, SendToken, Target, Transmit, Transport};
use crate::message::{Message, Method};
use crate::timers::Timer;

/// Where a request came from and where its responses go.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) arrival: Arrival,
    pub(crate) target: Target,
}

impl Origin {
    /// Works out where responses to `request` go (RFC 3261 section 18.2.2, RFC 3581).
    ///
    /// A datagram goes back to where it came from if it asked for that by `rport`, else to the port its Via names.
    /// The host is always the source's: a `maddr` or a made-up sent-by must not turn us on somebody else.
    pub(crate) fn of(request: &Message, arrival: &Arrival) -> Self {
        let back = Target::Flow(arrival.flow);
        let target = match request.top_via() {
            Ok(via) if !arrival.transport.is_reliable() && via.rport().is_none() => {
                let port = via.port.unwrap_or(arrival.transport.default_port());
                if port == arrival.remote.port() {
                    back
                } else {
                    Target::Hop(Hop {
                        side: arrival.side,
                        transport: arrival.transport,
                        host: arrival.remote.ip().to_string(),
                        port: Some(port),
                    })
                }
            }
            Ok(_) | Err(_) => back,
        };
        Self { arrival: arrival.clone(), target }
    }

    /// The same for a peer that is known: should its connection be lost, the response goes to where its Via says that
    /// it listens. Not toward Meta, whose Via names a port nobody listens on.
    fn of_known(request: &Message, arrival: &Arrival) -> Self {
        let mut origin = Self::of(request, arrival);
        if let (Side::Agents, true, Ok(via)) =
            (arrival.side, arrival.transport.is_reliable(), request.top_via())
        {
            let host = match arrival.transport {
                // A certificate proves a name, not an address.
                Transport::Tls => bare_host(&via.host.to_string()).to_owned(),
                Transport::Tcp | Transport::Udp | Transport::Ws | Transport::Wss => {
                    arrival.remote.ip().to_string()
                }
            };
            let port = Some(via.port.unwrap_or(arrival.transport.default_port()));
            let hop = Hop { side: arrival.side, transport: arrival.transport, host, port };
            origin.target = Target::FlowOr(arrival.flow, hop);
        }
        origin
    }
}

/// What became of a request handed to [`Layer::match_request`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Matched {
    /// It belongs to a transaction, which dealt with it.
    Absorbed,
    /// It begins something new.
    New,
    /// Its branch lacks the magic cookie.
    NoMagic,
}

/// A request of a peer and what its transaction needs to know of it.
pub(super) struct Server {
    pub(super) machine: ServerMachine,
    owner: Owner,
    /// Until the final response is written.
    request: Option<Message>,
    origin: Origin,
    key: Arc<ServerKey>,
    merge: Option<Arc<MergeKey>>,
}

/// Either server transaction.
pub(super) enum ServerMachine {
    Invite(ServerInvite),
    Request(ServerRequest),
}

impl ServerMachine {
    fn respond(&mut self, response: Message, now: Instant) {
        match self {
            Self::Invite(machine) => machine.respond(response, now),
            Self::Request(machine) => machine.respond(response, now),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Invite(machine) => machine.handle_timeout(now),
            Self::Request(machine) => machine.handle_timeout(now),
        }
    }

    fn poll_output(&mut self) -> Option<Action> {
        match self {
            Self::Invite(machine) => machine.poll_output(),
            Self::Request(machine) => machine.poll_output(),
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        match self {
            Self::Invite(machine) => machine.poll_timeout(),
            Self::Request(machine) => machine.poll_timeout(),
        }
    }

    fn is_terminated(&self) -> bool {
        match self {
            Self::Invite(machine) => machine.is_terminated(),
            Self::Request(machine) => machine.is_terminated(),
        }
    }
}

impl Layer {
    /// Matches a request to a transaction it repeats or acknowledges.
    pub(crate) fn match_request(&mut self, arrival: &Arrival, request: &Message, now: Instant) -> Matched {
        let Some(key) = ServerKey::of(request, arrival.side) else { return Matched::NoMagic };
        let Some(tx) = self.by_key.get(&key).copied() else { return Matched::New };
        let Some(server) = self.servers.get_mut(&tx) else { return Matched::New };
        let is_ack = request.method() == Some(Method::Ack);
        if !same_source(&server.origin.arrival, arrival) {
            // The right branch from another address: nothing of this transaction is told to it.
            return Matched::Absorbed;
        }
        match &mut server.machine {
            ServerMachine::Invite(machine) if is_ack => machine.handle_ack(now),
            ServerMachine::Invite(machine) => machine.handle_retransmission(),
            ServerMachine::Request(machine) => machine.handle_retransmission(),
        }
        self.pump_server(tx);
        Matched::Absorbed
    }

    /// Whether another transaction already serves this very request, which a proxy forked (RFC 3261 section 8.2.2.2).
    pub(crate) fn is_merged(&self, request: &Message) -> bool {
        MergeKey::of(request).is_some_and(|key| self.merged.contains_key(&key))
    }

    /// Begins to serve a request. None if there is no room for it, or its Via cannot be read.
    pub(crate) fn serve(&mut self, arrival: &Arrival, request: &Message, owner: Owner) -> Option<TxId> {
        if !self.has_room() {
            return None;
        }
        let key = ServerKey::of(request, arrival.side)?;
        let request = request.with_received(arrival.remote).ok()?;
        let tx = TxId(self.next_token());
        let timers = self.config.timers;
        let reliable = arrival.transport.is_reliable();
        let machine = if request.method() == Some(Method::Invite) {
            ServerMachine::Invite(ServerInvite::new(timers, reliable))
        } else {
            ServerMachine::Request(ServerRequest::new(timers, reliable))
        };
        let merge = MergeKey::of(&request).map(Arc::new);
        if let Some(merge) = merge.clone() {
            self.merged.insert(merge, tx);
        }
        let key = Arc::new(key);
        self.by_key.insert(Arc::clone(&key), tx);
        let origin = Origin::of_known(&request, arrival);
        let server = Server { machine, owner, request: Some(request), origin, key, merge };
        self.servers.insert(tx, Box::new(server));
        Some(tx)
    }

    /// The INVITE that a CANCEL means, if it came the same way: its transaction and owner.
    pub(crate) fn cancelled_by(&self, arrival: &Arrival, cancel: &Message) -> Option<(TxId, Owner)> {
        let tx = *self.by_key.get(&ServerKey::cancelled_by(cancel, arrival.side)?)?;
        let server = self.servers.get(&tx)?;
        same_source(&server.origin.arrival, arrival).then(|| (tx, server.owner.clone()))
    }

    /// The request a server transaction serves; none once its final response is out.
    pub(crate) fn request_of(&self, tx: TxId) -> Option<&Message> {
        self.servers.get(&tx)?.request.as_ref()
    }

    /// Sends a response through its transaction.
    pub(crate) fn respond(&mut self, tx: TxId, response: Message, now: Instant) {
        let Some(server) = self.servers.get_mut(&tx) else { return };
        if response.status().is_some_and(|status| status >= 200) {
            server.request = None;
        }
        server.machine.respond(response, now);
        self.pump_server(tx);
    }

    /// Sends a response of no transaction.
    pub(crate) fn respond_stateless(&mut self, origin: Origin, message: Message) {
        let token = SendToken(self.next_token());
        self.send(Transmit { token, target: origin.target, avoid: Vec::new(), message });
    }

    /// Does what a server transaction asks for.
    pub(super) fn pump_server(&mut self, tx: TxId) {
        loop {
            let Some(server) = self.servers.get_mut(&tx) else { return };
            match server.machine.poll_output() {
                Some(action @ (Action::Transmit(_) | Action::Retransmit(_))) => {
                    let target = server.origin.target.clone();
                    self.transmit(SendToken(tx.0), target, Vec::new(), action);
                }
                // A refusal that is never acknowledged changes nothing: the session is over (Timer H).
                Some(Action::TimedOut | Action::Response(_) | Action::Overdue | Action::Failed) => {}
                None => break,
            }
        }
        self.settle_server(tx);
    }

    /// Sets the next deadline of a server transaction, or forgets it.
    fn settle_server(&mut self, tx: TxId) {
        let Some(server) = self.servers.get(&tx) else { return };
        let over = server.machine.is_terminated();
        self.schedule.set(Due::Transaction(tx), server.machine.poll_timeout());
        if !over {
            return;
        }
        if let Some(server) = self.servers.remove(&tx) {
            self.by_key.remove(&server.key);
            if let Some(merge) = server.merge {
                self.merged.remove(&merge);
            }
            self.upcalls.push_back(Upcall::Done { tx, owner: server.owner });
        }
    }
}

/// Whether two messages of one transaction come from one peer: on one flow, on streams from one address, or in
/// datagrams from one address and port, whichever address of ours they came to.
fn same_source(first: &Arrival, second: &Arrival) -> bool {
    let same_address = if first.transport.is_reliable() {
        first.remote.ip() == second.remote.ip()
    } else {
        first.remote == second.remote
    };
    first.side == second.side
        && (first.flow == second.flow || (first.transport == second.transport && same_address))
}

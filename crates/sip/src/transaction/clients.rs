use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use setu_model::Side;

use super::failover::{Failure, Spare, tx_of};
use super::layer::{Layer, Owner, TxId, Upcall};
use super::schedule::Due;
use super::{Action, ClientInvite, ClientRequest};
use crate::endpoint::{CommandError, EndpointConfig};
use crate::flow::{Arrival, FlowId, Hop, SendToken, Target, Transmit, Transport};
use crate::message::{Message, Method};
use crate::timers::Timer;

/// How a request of ours starts.
#[derive(Debug)]
pub(crate) struct ClientStart {
    pub(crate) owner: Owner,
    pub(crate) side: Side,
    pub(crate) target: Target,
    /// The branch of the INVITE that a CANCEL cancels; a fresh one for everything else.
    pub(crate) branch: Option<String>,
}

/// A request of ours and what its transaction needs to know of it.
pub(super) struct Client {
    pub(super) machine: ClientMachine,
    pub(super) owner: Owner,
    pub(super) side: Side,
    pub(super) method: Method,
    pub(super) branch: Arc<str>,
    pub(super) transport: Transport,
    pub(super) target: Target,
    pub(super) bound: Option<(FlowId, SocketAddr)>,
    /// Whether any response came.
    pub(super) answered: bool,
    /// Names this attempt to the transports.
    pub(super) token: SendToken,
    pub(super) spare: Option<Box<Spare>>,
}

/// Either client transaction.
pub(super) enum ClientMachine {
    Invite(ClientInvite),
    Request(ClientRequest),
}

impl ClientMachine {
    pub(super) fn handle_response(&mut self, response: Message, now: Instant) {
        match self {
            Self::Invite(machine) => machine.handle_response(response, now),
            Self::Request(machine) => machine.handle_response(response, now),
        }
    }

    fn handle_failed(&mut self) {
        match self {
            Self::Invite(machine) => machine.handle_failed(),
            Self::Request(machine) => machine.handle_failed(),
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
    /// Sends a request, which has no Via yet, through a transaction of its own.
    pub(crate) fn start(
        &mut self,
        request: &Message,
        start: ClientStart,
        now: Instant,
    ) -> Result<TxId, CommandError> {
        if !self.has_room() {
            return Err(CommandError::Full);
        }
        let ClientStart { owner, side, target, branch } = start;
        let method = request.method().ok_or(CommandError::Unbuildable)?;
        let transport = transport_of(&target).ok_or(CommandError::Unbuildable)?;
        let branch = branch.unwrap_or_else(|| self.branch());
        let spare = Spare::of(&target, request);
        let request = self.with_via(request, side, transport, &branch)?;
        let tx = TxId(self.next_token());
        let machine = machine(&self.config, request, &method, transport, now);
        let branch: Arc<str> = branch.into();
        self.by_branch.insert((Arc::clone(&branch), method.clone()), tx);
        let client = Client {
            machine,
            owner,
            side,
            method,
            branch,
            transport,
            target,
            bound: None,
            answered: false,
            token: SendToken(tx.0),
            spare,
        };
        self.clients.insert(tx, Box::new(client));
        self.pump_client(tx, None, now);
        Ok(tx)
    }

    /// Sends an ACK of a 2xx, which has no Via yet and belongs to no transaction.
    pub(crate) fn send_ack(&mut self, ack: &Message, side: Side, target: Target) {
        let Some(transport) = transport_of(&target) else { return };
        let branch = self.branch();
        let Ok(message) = self.with_via(ack, side, transport, &branch) else { return };
        let token = SendToken(self.next_token());
        self.send(Transmit { token, target, avoid: Vec::new(), message });
    }

    /// Where an INVITE of ours went and under which branch: a CANCEL must follow it.
    pub(crate) fn path_of(&self, tx: TxId) -> Option<(Target, String)> {
        self.clients.get(&tx).map(|client| (client.target.clone(), client.branch.to_string()))
    }

    /// Whether the peer has shown that it has a request of ours.
    pub(crate) fn is_answered(&self, tx: TxId) -> bool {
        self.clients.get(&tx).is_some_and(|client| client.answered)
    }

    /// Tells an INVITE transaction that its CANCEL was sent.
    pub(crate) fn mark_cancelled(&mut self, tx: TxId, now: Instant) {
        if let Some(client) = self.clients.get_mut(&tx)
            && let ClientMachine::Invite(machine) = &mut client.machine
        {
            machine.handle_cancelled(now);
        }
        self.pump_client(tx, None, now);
    }

    /// Takes a response from the transports.
    pub(crate) fn handle_response(&mut self, arrival: &Arrival, message: Message, now: Instant) {
        let Some((tx, trusted)) = self.client_of(arrival, &message) else {
            self.counters.stray_responses += 1;
            return;
        };
        let Some(client) = self.clients.get_mut(&tx) else { return };
        client.answered = true;
        if let Some((flow, _)) = client.bound {
            self.unanswered.remove(&(flow, tx));
        }
        if client.bound.is_none() && trusted {
            client.bound = Some((arrival.flow, arrival.remote));
        }
        match message.status() {
            Some(100) => {}
            Some(503) if trusted && self.turn_away(tx, &message, arrival, now) => return,
            // A server has taken the request.
            Some(_) | None => self.stay(tx),
        }
        if let Some(client) = self.clients.get_mut(&tx) {
            client.machine.handle_response(message, now);
        }
        self.pump_client(tx, Some((arrival, trusted)), now);
    }

    /// Finds the transaction of a response, and whether the response came from where its request went.
    fn client_of(&self, arrival: &Arrival, message: &Message) -> Option<(TxId, bool)> {
        let via = message.top_via().ok()?;
        let method = message.cseq().ok()?.method;
        let tx = *self.by_branch.get(&(via.branch()?.into(), method))?;
        let client = self.clients.get(&tx)?;
        if client.side != arrival.side || client.transport != arrival.transport {
            return None;
        }
        let trusted = match client.bound {
            Some((flow, remote)) => flow == arrival.flow || remote.ip() == arrival.remote.ip(),
            // It went out on the flow it names; had that been gone, the transports would have told the new one.
            None => match client.target {
                Target::Flow(flow) | Target::FlowOr(flow, _) => flow == arrival.flow,
                Target::Hop(_) => true,
            },
        } || hop_of(&client.target).is_some_and(|hop| proves(arrival, &hop.host));
        // On a stream, an answer from somebody else is no answer; a datagram may come from another interface of the
        // same host, and its branch proves that the sender saw the request.
        (trusted || !arrival.transport.is_reliable()).then_some((tx, trusted))
    }

    /// A request of ours went out on `flow`.
    pub(crate) fn handle_bound(&mut self, token: SendToken, flow: FlowId, remote: SocketAddr) {
        let tx = tx_of(token);
        let Some(client) = self.clients.get_mut(&tx).filter(|client| client.token == token) else { return };
        // Each attempt at another address of the hop tells its own flow: the last one counts.
        if let Some((before, _)) = client.bound.replace((flow, remote)) {
            self.unanswered.remove(&(before, tx));
        }
        if !client.answered {
            self.unanswered.insert((flow, tx));
        }
        // Retransmissions and the CANCEL must reach the same host, whatever the name resolves to next time.
        if let Target::Hop(hop) | Target::FlowOr(_, hop) = &client.target {
            client.target = Target::FlowOr(flow, hop.clone());
        }
    }

    /// The transports could not send what `token` names.
    pub(crate) fn handle_send_failed(&mut self, token: SendToken, now: Instant) {
        let tx = tx_of(token);
        if self.clients.get(&tx).is_some_and(|client| client.token == token) {
            self.fail(tx, now);
        }
    }

    /// A flow closed: requests that nobody answered on it have failed.
    pub(crate) fn handle_flow_closed(&mut self, flow: FlowId, now: Instant) {
        let lost: Vec<TxId> =
            self.unanswered.range((flow, TxId(0))..=(flow, TxId(u64::MAX))).map(|(_, tx)| *tx).collect();
        for tx in lost {
            self.unanswered.remove(&(flow, tx));
            if self.clients.get(&tx).is_some_and(|client| client.transport.is_reliable()) {
                self.fail(tx, now);
            }
        }
    }

    pub(super) fn fail(&mut self, tx: TxId, now: Instant) {
        let Some(client) = self.clients.get_mut(&tx) else { return };
        client.machine.handle_failed();
        self.pump_client(tx, None, now);
    }

    /// Does what a client transaction asks for. `from` is where the response at hand came from.
    pub(super) fn pump_client(&mut self, tx: TxId, from: Option<(&Arrival, bool)>, now: Instant) {
        loop {
            let Some(client) = self.clients.get_mut(&tx) else { return };
            let action = client.machine.poll_output();
            let (owner, method) = (client.owner.clone(), client.method.clone());
            match action {
                Some(action @ (Action::Transmit(_) | Action::Retransmit(_))) => {
                    let (token, target) = (client.token, client.target.clone());
                    let avoid = client.spare.as_ref().map(|spare| spare.tried.clone()).unwrap_or_default();
                    self.transmit(token, target, avoid, action);
                }
                Some(Action::Response(message)) => {
                    if let Some((arrival, trusted)) = from {
                        let arrival = arrival.clone();
                        self.upcalls.push_back(Upcall::Response {
                            tx,
                            owner,
                            method,
                            message,
                            arrival,
                            trusted,
                        });
                    }
                }
                Some(Action::Overdue) => self.upcalls.push_back(Upcall::Overdue { owner }),
                Some(Action::TimedOut) => self.fail_over_or_report(tx, Failure::TimedOut, now),
                Some(Action::Failed) => self.fail_over_or_report(tx, Failure::Unsent, now),
                None => break,
            }
        }
        self.settle_client(tx);
    }

    /// Sets the next deadline of a client transaction, or forgets it.
    fn settle_client(&mut self, tx: TxId) {
        let Some(client) = self.clients.get(&tx) else { return };
        let over = client.machine.is_terminated();
        self.schedule.set(Due::Transaction(tx), client.machine.poll_timeout());
        if !over {
            return;
        }
        if let Some(client) = self.clients.remove(&tx) {
            if let Some((flow, _)) = client.bound {
                self.unanswered.remove(&(flow, tx));
            }
            self.by_branch.remove(&(client.branch, client.method));
            self.upcalls.push_back(Upcall::Done { tx, owner: client.owner });
        }
    }
}

/// The machine of a request, which carries its Via.
pub(super) fn machine(
    config: &EndpointConfig,
    request: Message,
    method: &Method,
    transport: Transport,
    now: Instant,
) -> ClientMachine {
    let (timers, reliable) = (config.timers, transport.is_reliable());
    if *method == Method::Invite {
        let ringing = config.limits.ringing;
        ClientMachine::Invite(ClientInvite::new(request, timers, ringing, reliable, now))
    } else {
        ClientMachine::Request(ClientRequest::new(request, timers, reliable, now))
    }
}

/// The transport a target's messages are written for. A bare flow names none.
pub(crate) fn transport_of(target: &Target) -> Option<Transport> {
    hop_of(target).map(|hop| hop.transport)
}

fn hop_of(target: &Target) -> Option<&Hop> {
    match target {
        Target::Hop(hop) | Target::FlowOr(_, hop) => Some(hop),
        Target::Flow(_) => None,
    }
}

/// Whether the peer of `arrival` proved the name `host` by its certificate.
fn proves(arrival: &Arrival, host: &str) -> bool {
    arrival.transport == Transport::Tls && arrival.verified.iter().any(|name| name.eq_ignore_ascii_case(host))
}

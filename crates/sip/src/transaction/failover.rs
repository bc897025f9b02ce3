//! The next address of a hop when one does not serve (RFC 3263 section 4.3).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::clients::{Client, machine};
use super::layer::{Layer, Owner, TxId, Upcall};
use crate::flow::{Arrival, Hop, SendToken, Target};
use crate::message::Message;

/// What a request needs to be sent to another address of its hop; dropped once a server has taken it.
pub(super) struct Spare {
    hop: Hop,
    /// Without Via: each attempt is a transaction with a branch of its own.
    request: Message,
    /// What the transports must not try again.
    pub(super) tried: Vec<SocketAddr>,
    /// What is reported if no address is left: later failures say less of the server that was meant.
    first: Option<Failure>,
}

/// Why an address does not serve.
pub(super) enum Failure {
    /// No response came in time.
    TimedOut,
    /// The request could not be delivered.
    Unsent,
    /// The server says 503.
    Refused(Box<(Message, Arrival)>),
}

impl Spare {
    /// A spare for a request to a hop that may have several addresses.
    pub(super) fn of(target: &Target, request: &Message) -> Option<Box<Self>> {
        match target {
            Target::Hop(hop) if hop.host.parse::<IpAddr>().is_err() => Some(Box::new(Self {
                hop: hop.clone(),
                request: request.clone(),
                tried: Vec::new(),
                first: None,
            })),
            Target::Hop(_) | Target::Flow(_) | Target::FlowOr(..) => None,
        }
    }
}

impl Layer {
    /// Keeps a request where it went: nobody wants its answer any more, or a server has taken it.
    pub(crate) fn stay(&mut self, tx: TxId) {
        if let Some(client) = self.clients.get_mut(&tx) {
            client.spare = None;
        }
    }

    /// Takes a 503: the transaction that got it goes on under another id, to acknowledge and absorb its repeats,
    /// and the request starts again. False if there is nowhere else to go.
    pub(super) fn turn_away(&mut self, tx: TxId, message: &Message, arrival: &Arrival, now: Instant) -> bool {
        let may_go = self.clients.get(&tx).is_some_and(|client| client.spare.is_some());
        if !may_go || !self.has_room() {
            return false;
        }
        let failure = Failure::Refused(Box::new((message.clone(), arrival.clone())));
        let Ok(mut refused) = self.fail_over(tx, failure, now) else { return false };
        let absorbing = TxId(self.next_token());
        refused.owner = Owner::Nobody;
        refused.machine.handle_response(message.clone(), now);
        self.by_branch.insert((Arc::clone(&refused.branch), refused.method.clone()), absorbing);
        self.clients.insert(absorbing, refused);
        self.pump_client(absorbing, Some((arrival, true)), now);
        self.pump_client(tx, None, now);
        true
    }

    /// A request got no final response: tries the next address, or reports what went wrong first.
    pub(super) fn fail_over_or_report(&mut self, tx: TxId, failure: Failure, now: Instant) {
        let Some(client) = self.clients.get(&tx) else { return };
        let (owner, method) = (client.owner.clone(), client.method.clone());
        let Err(failure) = self.fail_over(tx, failure, now) else { return };
        self.upcalls.push_back(match failure {
            Failure::TimedOut => Upcall::TimedOut { tx, owner },
            Failure::Unsent => Upcall::Failed { tx, owner },
            Failure::Refused(response) => {
                let (message, arrival) = *response;
                Upcall::Response { tx, owner, method, message, arrival, trusted: true }
            }
        });
    }

    /// Puts a new attempt, toward an address that was not tried, in the place of the one that failed, which is
    /// returned.
    ///
    /// # Errors
    /// If no address is left: the failure to report.
    fn fail_over(&mut self, tx: TxId, failure: Failure, now: Instant) -> Result<Box<Client>, Failure> {
        let Some(mut failed) = self.clients.remove(&tx) else { return Err(failure) };
        let fresh = match self.next_attempt(&mut failed, failure, now) {
            Ok(fresh) => fresh,
            Err(failure) => {
                self.clients.insert(tx, failed);
                return Err(failure);
            }
        };
        self.counters.failed_over += 1;
        if let Some((flow, _)) = failed.bound {
            self.unanswered.remove(&(flow, tx));
        }
        self.by_branch.remove(&(Arc::clone(&failed.branch), failed.method.clone()));
        self.by_branch.insert((Arc::clone(&fresh.branch), fresh.method.clone()), tx);
        self.clients.insert(tx, Box::new(fresh));
        Ok(failed)
    }

    fn next_attempt(
        &mut self,
        failed: &mut Client,
        failure: Failure,
        now: Instant,
    ) -> Result<Client, Failure> {
        let Some(mut spare) = failed.spare.take() else { return Err(failure) };
        let Client { side, transport, bound, .. } = *failed;
        let remote = match bound {
            Some((_, remote)) if spare.tried.len() + 1 < MOST_TRIED => remote,
            // Where the transports bound it to no flow, they know no other address.
            Some(_) | None => return Err(spare.first.unwrap_or(failure)),
        };
        let branch = self.branch();
        let Ok(request) = self.with_via(&spare.request, side, transport, &branch) else {
            return Err(spare.first.unwrap_or(failure));
        };
        spare.tried.push(remote);
        spare.first.get_or_insert(failure);
        Ok(Client {
            machine: machine(&self.config, request, &failed.method, transport, now),
            owner: failed.owner.clone(),
            side,
            method: failed.method.clone(),
            branch: branch.into(),
            transport,
            target: Target::Hop(spare.hop.clone()),
            bound: None,
            answered: false,
            token: SendToken(failed.token.0 + (1 << ATTEMPT_SHIFT)),
            spare: Some(spare),
        })
    }
}

/// The transaction of a token, whichever its attempt.
pub(super) const fn tx_of(token: SendToken) -> TxId {
    TxId(token.0 & ((1 << ATTEMPT_SHIFT) - 1))
}

/// Where the number of the attempt stands in a token, so that what is told of an earlier one is not taken for this one.
const ATTEMPT_SHIFT: u32 = 48;

/// As many addresses as one request is sent to: as many as the transports look at.
const MOST_TRIED: usize = 8;

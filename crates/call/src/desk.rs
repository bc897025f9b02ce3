//! The desk of agents: who is reachable, who is taken, which trunk is up, which pair of customer and number talks.
//!
//! It is a core of its own: calls put their questions as values ([`Ask`]) and get values back ([`Reply`]), so that
//! one desk can serve several shards.

use std::collections::{BTreeMap, BTreeSet};

use setu_model::{CallId, Now};

use crate::ports::ContactId;
use crate::reserve::{Held, Reservation, Reservations, Reserve, SeatState, Uses};

/// A change on the agents' side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeskChange {
    /// An agent registered a contact, or refreshed it.
    ContactUp {
        /// Account name.
        agent: String,
        /// The contact.
        contact: ContactId,
        /// Whether its signalling is encrypted.
        secure: bool,
    },
    /// A contact expired, was removed, or lost its connection.
    ContactDown {
        /// Account name.
        agent: String,
        /// The contact.
        contact: ContactId,
    },
    /// A trunk answers.
    TrunkUp {
        /// Its name.
        trunk: String,
    },
    /// A trunk stopped answering. Trunks that were never heard of count as up.
    TrunkDown {
        /// Its name.
        trunk: String,
    },
}

/// What a call wants of the desk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Admit the call: one active call per customer and number, and somebody to take it.
    Admit { call: CallId, number: String, pair: Option<Pair>, want: Want, uses: Uses },
    /// Reserve another agent in the place of the one that is reserved.
    Next { call: CallId, agents: Vec<Candidate> },
    /// Give the reserved or engaged agent back.
    ReleaseAgent { call: CallId },
    /// Let the pair call again.
    ReleasePair { call: CallId },
}

/// Who is to take or make the call on the agents' side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Want {
    /// The first of these who is reachable and free.
    Agents(Vec<Candidate>),
    /// An agent who began the call: engaged, however many calls that makes.
    Engaged(String),
    /// A trunk that must be up.
    Trunk(String),
    /// A trunk that began the call: it is up, as its call shows.
    Nobody,
}

/// An agent who may take a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) agent: String,
    pub(crate) calls_at_once: u8,
}

/// One customer with one business number, between whom Meta allows one call at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pair {
    pub(crate) number: String,
    pub(crate) customer: String,
}

/// The desk's answer to [`Ask::Admit`] and [`Ask::Next`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// An agent is reserved; these are the contacts, with whether their signalling is encrypted.
    Reserved { agent: String, contacts: Vec<(ContactId, bool)> },
    /// The call is admitted and needs no agent.
    Admitted,
    /// None of the agents is reachable and free. The agent reserved before, if any, still is.
    NoAgent { registered: bool },
    /// The trunk is down.
    TrunkDown,
    /// The pair is talking already.
    Duplicate { with: CallId },
}

/// Presence, reservations, trunks and pairs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Desk {
    agents: BTreeMap<String, Seat>,
    trunks_down: BTreeSet<String>,
    pairs: BTreeMap<Pair, CallId>,
    claims: BTreeMap<CallId, Claim>,
    /// Each claims its agent as a call does.
    reservations: Reservations,
    /// The reservation that the last call used.
    used: Option<Reservation>,
}

#[derive(Debug, Clone, Default)]
struct Seat {
    contacts: BTreeMap<ContactId, bool>,
    calls: BTreeSet<CallId>,
}

#[derive(Debug, Clone, Default)]
struct Claim {
    agent: Option<String>,
    pair: Option<Pair>,
}

impl Desk {
    /// Takes a change of presence or health.
    pub(crate) fn handle_change(&mut self, change: DeskChange) {
        match change {
            DeskChange::ContactUp { agent, contact, secure } => {
                self.agents.entry(agent).or_default().contacts.insert(contact, secure);
            }
            DeskChange::ContactDown { agent, contact } => {
                if let Some(seat) = self.agents.get_mut(&agent) {
                    seat.contacts.remove(&contact);
                }
                self.forget_if_empty(&agent);
            }
            DeskChange::TrunkUp { trunk } => {
                self.trunks_down.remove(&trunk);
            }
            DeskChange::TrunkDown { trunk } => {
                self.trunks_down.insert(trunk);
            }
        }
    }

    /// Takes a question; [`Ask::Admit`] and [`Ask::Next`] are answered.
    pub(crate) fn handle_ask(&mut self, ask: Ask) -> Option<(CallId, Reply)> {
        match ask {
            Ask::Admit { call, number, pair, want, uses } => {
                Some((call, self.admit(call, &number, pair, want, uses)))
            }
            Ask::Next { call, agents } => Some((call, self.next(call, &agents))),
            Ask::ReleaseAgent { call } => {
                self.release_agent(call);
                None
            }
            Ask::ReleasePair { call } => {
                self.release_pair(call);
                None
            }
        }
    }

    /// Says whether nobody is taken by a call and no pair is talking.
    pub(crate) fn is_idle(&self) -> bool {
        let ahead = |id: &CallId| self.reservations.get(*id).is_some();
        self.claims.keys().all(ahead)
            && self.pairs.is_empty()
            && self.agents.values().all(|seat| seat.calls.iter().all(ahead))
    }

    /// Sets somebody aside for a call to come.
    ///
    /// # Errors
    /// Nobody is free; why.
    pub(crate) fn reserve(
        &mut self,
        id: CallId,
        want: &Want,
        wanted: Reserve,
        now: Now,
    ) -> Result<Reservation, &'static str> {
        let held = match want {
            Want::Agents(agents) => match self.next(id, agents) {
                Reply::Reserved { agent, .. } => Held::Agent(agent),
                Reply::NoAgent { registered: false } => return Err("no agent is registered"),
                Reply::NoAgent { registered: true }
                | Reply::Admitted
                | Reply::TrunkDown
                | Reply::Duplicate { .. } => return Err("no agent is free"),
            },
            Want::Trunk(trunk) if self.is_up(trunk) => Held::Trunk(trunk.clone()),
            Want::Trunk(_) => return Err("the trunk does not answer"),
            Want::Engaged(_) | Want::Nobody => return Err("nobody is wanted"),
        };
        let (reservation, until) = wanted.made(id, held, now);
        self.reservations.insert(reservation.clone(), until);
        Ok(reservation)
    }

    /// Gives back who was set aside.
    pub(crate) fn unreserve(&mut self, id: CallId) -> Option<Reservation> {
        let reservation = self.reservations.remove(id)?;
        self.release_agent(id);
        Some(reservation)
    }

    /// The reservations that are over give back who was set aside.
    pub(crate) fn handle_timeout(&mut self, now: std::time::Instant) {
        for id in self.reservations.over(now) {
            self.unreserve(id);
        }
    }

    pub(crate) const fn reservations(&self) -> &Reservations {
        &self.reservations
    }

    /// Takes the reservation that the last call used, if it did.
    pub(crate) fn take_used(&mut self) -> Option<Reservation> {
        self.used.take()
    }

    /// How it stands with an agent.
    pub(crate) fn state_of(&self, candidate: &Candidate) -> SeatState {
        let seat = self.agents.get(&candidate.agent);
        let full = seat.is_some_and(|seat| seat.calls.len() >= usize::from(candidate.calls_at_once));
        let talks = seat.is_some_and(|seat| seat.calls.iter().any(|id| self.reservations.get(*id).is_none()));
        match (full, seat.is_some_and(|seat| !seat.contacts.is_empty())) {
            (true, _) if talks => SeatState::OnCall,
            (_, false) => SeatState::Away,
            (true, true) => SeatState::Reserved,
            (false, true) => SeatState::Ready,
        }
    }

    /// Says whether a customer and a number are in a call.
    pub(crate) fn is_talking(&self, pair: &Pair) -> bool {
        self.pairs.contains_key(pair)
    }

    /// Says whether an agent is reachable and free.
    pub(crate) fn is_free(&self, candidate: &Candidate) -> bool {
        self.agents.get(&candidate.agent).is_some_and(|seat| {
            seat.calls.len() < usize::from(candidate.calls_at_once) && !seat.contacts.is_empty()
        })
    }

    /// Says whether a trunk answers.
    pub(crate) fn is_up(&self, trunk: &str) -> bool {
        !self.trunks_down.contains(trunk)
    }

    fn admit(&mut self, call: CallId, number: &str, pair: Option<Pair>, want: Want, uses: Uses) -> Reply {
        if let Some(with) = pair.as_ref().and_then(|pair| self.pairs.get(pair)) {
            return Reply::Duplicate { with: *with };
        }
        let customer = pair.as_ref().map(|pair| pair.customer.as_str());
        let ahead = self.reservations.find(number, customer, uses);
        let reply = match want {
            Want::Agents(agents) => {
                ahead.and_then(|id| self.take_reserved(call, id)).unwrap_or_else(|| self.next(call, &agents))
            }
            Want::Engaged(agent) => {
                self.take(call, agent);
                Reply::Admitted
            }
            Want::Trunk(trunk) if self.trunks_down.contains(&trunk) => Reply::TrunkDown,
            Want::Trunk(_) | Want::Nobody => Reply::Admitted,
        };
        if let (Some(id), Reply::Reserved { .. } | Reply::Admitted) = (ahead, &reply) {
            // Also where somebody else takes the call: it is the one that was waited for.
            self.used = self.unreserve(id).or(self.used.take());
        }
        if let (Some(pair), Reply::Reserved { .. } | Reply::Admitted) = (pair, &reply) {
            self.pairs.insert(pair.clone(), call);
            self.claims.entry(call).or_default().pair = Some(pair);
        }
        reply
    }

    /// Whoever was set aside takes the call, if he is still there.
    fn take_reserved(&mut self, call: CallId, id: CallId) -> Option<Reply> {
        let Held::Agent(agent) = &self.reservations.get(id)?.held else { return None };
        let agent = agent.clone();
        let contacts = &self.agents.get(&agent)?.contacts;
        let contacts: Vec<_> = contacts.iter().map(|(id, secure)| (*id, *secure)).collect();
        if contacts.is_empty() {
            return None;
        }
        self.used = self.unreserve(id);
        self.take(call, agent.clone());
        Some(Reply::Reserved { agent, contacts })
    }

    fn next(&mut self, call: CallId, agents: &[Candidate]) -> Reply {
        let free = agents.iter().find_map(|candidate| {
            let seat = self.agents.get(&candidate.agent)?;
            self.is_free(candidate).then(|| {
                (candidate.agent.clone(), seat.contacts.iter().map(|(id, secure)| (*id, *secure)).collect())
            })
        });
        let Some((agent, contacts)) = free else {
            let reachable =
                |c: &Candidate| self.agents.get(&c.agent).is_some_and(|seat| !seat.contacts.is_empty());
            return Reply::NoAgent { registered: agents.iter().any(reachable) };
        };
        self.release_agent(call);
        self.take(call, agent.clone());
        Reply::Reserved { agent, contacts }
    }

    fn take(&mut self, call: CallId, agent: String) {
        self.agents.entry(agent.clone()).or_default().calls.insert(call);
        self.claims.entry(call).or_default().agent = Some(agent);
    }

    fn release_agent(&mut self, call: CallId) {
        let Some(agent) = self.claims.get_mut(&call).and_then(|claim| claim.agent.take()) else { return };
        if let Some(seat) = self.agents.get_mut(&agent) {
            seat.calls.remove(&call);
        }
        self.forget_if_empty(&agent);
        self.forget_claim(call);
    }

    fn release_pair(&mut self, call: CallId) {
        let Some(pair) = self.claims.get_mut(&call).and_then(|claim| claim.pair.take()) else { return };
        self.pairs.remove(&pair);
        self.forget_claim(call);
    }

    fn forget_claim(&mut self, call: CallId) {
        if self.claims.get(&call).is_some_and(|claim| claim.agent.is_none() && claim.pair.is_none()) {
            self.claims.remove(&call);
        }
    }

    /// Keeps the table at the size of who is there: names come from registrations.
    fn forget_if_empty(&mut self, agent: &str) {
        if self.agents.get(agent).is_some_and(|seat| seat.contacts.is_empty() && seat.calls.is_empty()) {
            self.agents.remove(agent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(n: u128) -> CallId {
        CallId::from_bits(n)
    }

    fn up(desk: &mut Desk, agent: &str, contact: u64) {
        desk.handle_change(DeskChange::ContactUp {
            agent: agent.into(),
            contact: ContactId(contact),
            secure: false,
        });
    }

    fn candidates(names: &[&str]) -> Vec<Candidate> {
        names.iter().map(|name| Candidate { agent: (*name).into(), calls_at_once: 1 }).collect()
    }

    fn admit(desk: &mut Desk, n: u128, customer: &str, agents: &[&str]) -> Reply {
        let pair = Some(Pair { number: "+1".into(), customer: customer.into() });
        let want = Want::Agents(candidates(agents));
        let (number, uses) = ("+1".to_owned(), Uses::Any);
        desk.handle_ask(Ask::Admit { call: call(n), number, pair, want, uses }).unwrap().1
    }

    fn reserved(reply: &Reply) -> Option<&str> {
        match reply {
            Reply::Reserved { agent, .. } => Some(agent),
            Reply::Admitted | Reply::NoAgent { .. } | Reply::TrunkDown | Reply::Duplicate { .. } => None,
        }
    }

    #[test]
    fn the_first_free_and_reachable_agent_is_reserved_and_only_once() {
        let mut desk = Desk::default();
        up(&mut desk, "bob", 1);
        up(&mut desk, "carol", 2);
        let agents = ["alice", "bob", "carol"];
        assert_eq!(reserved(&admit(&mut desk, 1, "+91", &agents)), Some("bob"));
        assert_eq!(reserved(&admit(&mut desk, 2, "+92", &agents)), Some("carol"));
        assert_eq!(admit(&mut desk, 3, "+93", &agents), Reply::NoAgent { registered: true });
        assert_eq!(admit(&mut desk, 4, "+94", &["alice"]), Reply::NoAgent { registered: false });
        desk.handle_ask(Ask::ReleaseAgent { call: call(1) });
        assert_eq!(reserved(&admit(&mut desk, 5, "+95", &agents)), Some("bob"));
    }

    #[test]
    fn a_pair_talks_once_at_a_time_and_a_refused_call_claims_nothing() {
        let mut desk = Desk::default();
        assert_eq!(admit(&mut desk, 1, "+91", &["bob"]), Reply::NoAgent { registered: false });
        assert!(desk.is_idle());
        up(&mut desk, "bob", 1);
        up(&mut desk, "carol", 2);
        assert_eq!(reserved(&admit(&mut desk, 2, "+91", &["bob"])), Some("bob"));
        assert_eq!(admit(&mut desk, 3, "+91", &["carol"]), Reply::Duplicate { with: call(2) });
        desk.handle_ask(Ask::ReleasePair { call: call(2) });
        assert_eq!(reserved(&admit(&mut desk, 4, "+91", &["carol"])), Some("carol"));
        desk.handle_ask(Ask::ReleaseAgent { call: call(2) });
        desk.handle_ask(Ask::ReleaseAgent { call: call(4) });
        desk.handle_ask(Ask::ReleasePair { call: call(4) });
        assert!(desk.is_idle());
    }

    #[test]
    fn an_agent_stays_reserved_until_another_one_is() {
        let mut desk = Desk::default();
        up(&mut desk, "bob", 1);
        admit(&mut desk, 1, "+91", &["bob"]);
        let next = |desk: &mut Desk| {
            desk.handle_ask(Ask::Next { call: call(1), agents: candidates(&["carol"]) }).unwrap().1
        };
        assert_eq!(next(&mut desk), Reply::NoAgent { registered: false });
        assert_eq!(admit(&mut desk, 2, "+92", &["bob"]), Reply::NoAgent { registered: true });
        up(&mut desk, "carol", 2);
        assert_eq!(reserved(&next(&mut desk)), Some("carol"));
        assert_eq!(reserved(&admit(&mut desk, 3, "+93", &["bob"])), Some("bob"));
    }

    #[test]
    fn an_agent_who_dials_is_taken_even_without_a_registration() {
        let mut desk = Desk::default();
        let want = Want::Engaged("bob".into());
        let (number, uses) = ("+1".to_owned(), Uses::OfCustomer);
        let reply = desk.handle_ask(Ask::Admit { call: call(1), number, pair: None, want, uses });
        assert_eq!(reply, Some((call(1), Reply::Admitted)));
        up(&mut desk, "bob", 1);
        assert_eq!(admit(&mut desk, 2, "+91", &["bob"]), Reply::NoAgent { registered: true });
        desk.handle_ask(Ask::ReleaseAgent { call: call(1) });
        assert!(desk.is_idle());
    }
}

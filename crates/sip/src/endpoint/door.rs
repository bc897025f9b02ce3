//! What comes in: requests, from the first look to the session, the registrar or a polite no.

use setu_model::{Now, Side};

use super::{Endpoint, Event, Stranger};
use crate::access::{Identity, Proof, allowed, begins};
use crate::flow::{Arrival, Transport};
use crate::message::{Builder, Message, Method};
use crate::registrar::Registration;
use crate::session;
use crate::transaction::{Matched, Owner};
use crate::uri::Uri;

/// Why a request outside any dialog is not let in.
pub(super) struct Rejected {
    pub(super) status: u16,
    pub(super) why: Stranger,
    /// Whether a 401 or 407 tells that the nonce was merely too old.
    pub(super) stale: bool,
}

impl Endpoint {
    pub(super) fn handle_request(&mut self, arrival: &Arrival, request: &Message, now: Now) {
        if let Err(error) = request.validate() {
            self.turn_malformed_away(arrival, &error, request.method(), now);
            return;
        }
        let Some(method) = request.method() else { return };
        match self.layer.match_request(arrival, request, now.mono) {
            Matched::Absorbed => return,
            Matched::NoMagic if method == Method::Ack => return,
            Matched::NoMagic => {
                self.turn_away(arrival, request, Rejected::of(400, Stranger::Malformed), now);
                return;
            }
            Matched::New => {}
        }
        let within = request.to().is_ok_and(|to| to.tag().is_some());
        if method == Method::Ack {
            self.handle_ack(arrival, request, now);
        } else if method == Method::Cancel {
            self.handle_cancel(arrival, request, now);
        } else if within {
            self.handle_within(arrival, request, now);
        } else {
            self.handle_beginning(arrival, request, &method, now);
        }
    }

    /// An ACK of no transaction: that of a 2xx.
    fn handle_ack(&mut self, arrival: &Arrival, ack: &Message, now: Now) {
        let Some(id) = self.session_of(arrival, ack) else {
            self.layer.counters.stray_acks += 1;
            return;
        };
        self.keep(arrival);
        self.with_session(id, |session, layer| session.handle_ack(layer, arrival, ack, now));
    }

    /// A CANCEL counts only from where its INVITE came (RFC 3261 section 9.2).
    fn handle_cancel(&mut self, arrival: &Arrival, cancel: &Message, now: Now) {
        let cancelled = match self.layer.cancelled_by(arrival, cancel) {
            Some((_, Owner::Session(id))) => self.sessions.get(&id).map(|session| (id, session.local_tag())),
            Some((_, Owner::Probe(_) | Owner::Nobody)) | None => None,
        };
        let Some((id, tag)) = cancelled.map(|(id, tag)| (id, tag.to_owned())) else {
            self.turn_away(arrival, cancel, Rejected::of(481, Stranger::NoDialog), now);
            return;
        };
        if let Some(tx) = self.layer.serve(arrival, cancel, Owner::Nobody) {
            self.layer.reply(tx, 200, None, &tag, now, |reply| reply);
        }
        self.with_session(id, |session, layer| session.handle_cancel(layer, cancel, now));
    }

    /// A request within a dialog.
    fn handle_within(&mut self, arrival: &Arrival, request: &Message, now: Now) {
        let Some(id) = self.session_of(arrival, request) else {
            self.turn_away(arrival, request, Rejected::of(481, Stranger::NoDialog), now);
            return;
        };
        self.keep(arrival);
        if self.refuse_unsupported(arrival, request, now).is_some() {
            return;
        }
        self.with_session(id, |session, layer| session.handle_request(layer, arrival, request, now));
    }

    /// The session a message belongs to: by its tags and by who sent it. Whoever overheard the tags is not its peer.
    fn session_of(&self, arrival: &Arrival, request: &Message) -> Option<crate::endpoint::SessionId> {
        let to = request.to().ok()?;
        let id = *self.by_tag.get(to.tag()?)?;
        let dialog = self.sessions.get(&id)?.dialog_of(request)?;
        // Meta is many hosts: a later request may come over a connection from another of them.
        let meta = arrival.side == Side::Meta
            && dialog.side == Side::Meta
            && arrival.transport == Transport::Tls
            && self.gate.is_meta_network(arrival.remote.ip());
        (meta || dialog.is_peer(arrival)).then_some(id)
    }

    /// Somebody on this stream is known.
    fn keep(&mut self, arrival: &Arrival) {
        if !arrival.transport.is_reliable() || !self.proven.insert(arrival.flow) {
            return;
        }
        if self.proven.len() > self.layer.config.limits.proven_streams {
            self.proven.pop_first();
        }
        if !arrival.outbound {
            self.layer.keep(arrival.flow);
        }
    }

    /// A request outside any dialog.
    fn handle_beginning(&mut self, arrival: &Arrival, request: &Message, method: &Method, now: Now) {
        match self.identify(arrival, request, method, now) {
            Err(rejected) => self.turn_away(arrival, request, rejected, now),
            Ok(_) if self.layer.is_full() => {
                self.layer.counters.overloaded += 1;
                self.ask_to_come_back(arrival, request);
            }
            Ok(_) if !begins(arrival.side, method) => {
                let allow = allowed(arrival.side);
                self.answer_known(arrival, request, 405, now, |reply| reply.header("Allow", allow));
            }
            Ok(identity) => {
                if identity.is_some() {
                    self.keep(arrival);
                }
                if let Some(status) = self.refuse_unsupported(arrival, request, now) {
                    if let (Method::Invite, Some(identity)) = (method, identity) {
                        self.tell_turned_away(arrival, request, identity, status);
                    }
                    return;
                }
                match (method, identity) {
                    (Method::Invite, Some(identity)) => self.handle_invite(arrival, request, identity, now),
                    (Method::Register, Some(Identity::Account(account))) => {
                        self.handle_register(arrival, request, &account, now);
                    }
                    _ => self.handle_options(arrival, request, now),
                }
            }
        }
    }

    /// Finds out who sent a request outside any dialog.
    ///
    /// A trunk is known by its address, everybody else by its digest. OPTIONS and methods that are refused anyway
    /// need no digest from an address that is known.
    fn identify(
        &mut self,
        arrival: &Arrival,
        request: &Message,
        method: &Method,
        now: Now,
    ) -> Result<Option<Identity>, Rejected> {
        let source = arrival.remote.ip();
        let on_known_flow = self.registrar.knows_flow(arrival.flow);
        match arrival.side {
            Side::Meta if arrival.transport != Transport::Tls || !self.gate.takes_meta(source) => {
                return Err(Rejected::of(403, Stranger::Network));
            }
            Side::Meta if *method == Method::Options => return Ok(None),
            Side::Agents if *method != Method::Register && !on_known_flow => {
                if let Some(trunk) = self.gate.trunk_of(arrival) {
                    return Ok(Some(Identity::Trunk(trunk.to_owned())));
                }
            }
            Side::Agents if *method == Method::Options && on_known_flow => return Ok(None),
            Side::Meta | Side::Agents => {}
        }
        if !begins(arrival.side, method) || *method == Method::Options {
            return Err(Rejected::of(405, Stranger::Method));
        }
        let known_network = arrival.side == Side::Meta && self.gate.is_meta_network(source);
        if !known_network && !self.gate.admit(source, now.mono) {
            return Err(Rejected::of(503, Stranger::Rate));
        }
        let ours = self.layer.config.side(arrival.side);
        let challenge = if *method == Method::Register { 401 } else { 407 };
        match self.gate.check(request, arrival.side, &ours.realm, &ours.digest, now.wall) {
            Proof::Accepted(identity) if fits(&identity, request, method) => {
                self.gate.pay_back(source);
                Ok(Some(identity))
            }
            Proof::Accepted(_) | Proof::Wrong => Err(Rejected::of(403, Stranger::WrongCredentials)),
            Proof::Missing => Err(Rejected::of(challenge, Stranger::Challenged)),
            Proof::Stale => Err(Rejected { stale: true, ..Rejected::of(challenge, Stranger::Challenged) }),
        }
    }

    fn handle_invite(&mut self, arrival: &Arrival, invite: &Message, identity: Identity, now: Now) {
        // The call that it is another copy of has its own record.
        if self.layer.is_merged(invite) {
            self.answer_known(arrival, invite, 482, now, |reply| reply);
            return;
        }
        if let Some(status) = self.refuse_invite(arrival, invite, now) {
            self.tell_turned_away(arrival, invite, identity, status);
            return;
        }
        let id = self.next_session();
        if let Some(session) = session::take(&mut self.layer, id, arrival, invite, now) {
            self.add_session(id, session);
            let (arrival, invite) = (arrival.clone(), invite.clone());
            self.layer.tell(Event::Invited { session: id, identity, arrival, invite });
        }
    }

    /// Refuses an INVITE that can be no session here: there is no room (503), its timer is too short (422, RFC 4028
    /// section 9), or its body is no description (415). Returns the status.
    fn refuse_invite(&mut self, arrival: &Arrival, invite: &Message, now: Now) -> Option<u16> {
        let limits = &self.layer.config.limits;
        let (retry_after, min) = (limits.retry_after_s.to_string(), limits.min_session_expires_s.to_string());
        if self.is_full() {
            self.layer.counters.overloaded += 1;
            self.answer_known(arrival, invite, 503, now, |reply| reply.header("Retry-After", retry_after));
            return Some(503);
        }
        if session::is_too_brief(invite, arrival.side, &self.layer.config.limits) {
            self.answer_known(arrival, invite, 422, now, |reply| reply.header("Min-SE", min));
            return Some(422);
        }
        if invite.session_description().is_err() {
            self.answer_known(arrival, invite, 415, now, session::capabilities);
            return Some(415);
        }
        None
    }

    fn tell_turned_away(&mut self, arrival: &Arrival, invite: &Message, identity: Identity, status: u16) {
        let (arrival, invite) = (arrival.clone(), invite.clone());
        self.layer.tell(Event::TurnedAway { identity, arrival, invite, status });
    }

    fn handle_register(&mut self, arrival: &Arrival, request: &Message, account: &str, now: Now) {
        let limits = self.layer.config.limits.clone();
        match self.registrar.register(account, request, arrival, &limits, now.mono) {
            Registration::Accepted { contacts, changes } => {
                self.answer_known(arrival, request, 200, now, |reply| {
                    contacts.iter().fold(reply, |reply, contact| reply.header("Contact", contact))
                });
                self.tell_bindings(changes);
            }
            Registration::Refused { status, reason } => {
                let min = limits.register_min_s.to_string();
                self.answer_with(arrival, request, status, Some(reason), now, |reply| match status {
                    423 => reply.header("Min-Expires", min),
                    _ => reply,
                });
            }
        }
    }

    fn handle_options(&mut self, arrival: &Arrival, request: &Message, now: Now) {
        let allow = allowed(arrival.side);
        let status = if self.is_full() { 503 } else { 200 };
        self.answer_known(arrival, request, status, now, |reply| {
            let reply = reply.header("Allow", allow).header("Accept", "application/sdp");
            if arrival.side == Side::Agents { reply.header("Supported", "timer") } else { reply }
        });
    }

    /// Refuses what takes too many hops (483) or requires what we do not do (420, RFC 3261 section 8.2.2.3). Returns the
    /// status.
    fn refuse_unsupported(&mut self, arrival: &Arrival, request: &Message, now: Now) -> Option<u16> {
        if request.max_forwards() == Some(0) && request.method() != Some(Method::Options) {
            self.answer_known(arrival, request, 483, now, |reply| reply);
            return Some(483);
        }
        let mut unknown = request.list("Require");
        unknown.retain(|option| !option.eq_ignore_ascii_case("timer"));
        unknown.truncate(UNSUPPORTED_MOST);
        if unknown.is_empty() {
            return None;
        }
        self.answer_known(arrival, request, 420, now, |reply| {
            reply.header("Unsupported", unknown.join(", "))
        });
        Some(420)
    }

    /// Answers a known peer's request that begins no session.
    fn answer_known(
        &mut self,
        arrival: &Arrival,
        request: &Message,
        status: u16,
        now: Now,
        finish: impl FnOnce(Builder) -> Builder,
    ) {
        self.answer_with(arrival, request, status, None, now, finish);
    }

    fn answer_with(
        &mut self,
        arrival: &Arrival,
        request: &Message,
        status: u16,
        reason: Option<&str>,
        now: Now,
        finish: impl FnOnce(Builder) -> Builder,
    ) {
        let tag = self.layer.entropy.hex(8);
        if let Some(tx) = self.layer.serve(arrival, request, Owner::Nobody) {
            self.layer.reply(tx, status, reason, &tag, now, finish);
        }
    }
}

impl Rejected {
    const fn of(status: u16, why: Stranger) -> Self {
        Self { status, why, stale: false }
    }
}

/// Whether a proven peer may do what it asks in the name it proved: Meta calls the number whose password it knows,
/// a phone registers its own account.
fn fits(identity: &Identity, request: &Message, method: &Method) -> bool {
    match identity {
        Identity::Meta { number } => {
            let uri: Option<Uri> = request.request_uri().and_then(|uri| uri.parse().ok());
            let digits = |text: &str| text.trim_start_matches('+').to_owned();
            uri.and_then(|uri| uri.user_text().map(|user| digits(&user))) == Some(digits(number))
        }
        Identity::Account(account) if *method == Method::Register => {
            request.to().is_ok_and(|to| to.uri.user_text().as_deref() == Some(account.as_str()))
        }
        Identity::Account(_) | Identity::Trunk(_) => true,
    }
}

/// The most option tags one 420 lists.
const UNSUPPORTED_MOST: usize = 16;

//! SIP sessions seen as legs of calls: what Meta's and the PBX's messages mean, and what the call core's commands
//! look like on the wire.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use setu_call::{
    AnswerIn, ContactId, DeskChange, Dial, DialTarget, EndHow as CallEnd, LegCommand, LegEvent, Offered,
    Origin, agent_refusal, setu_headers,
};
use setu_model::{CallFacts, CallId, Cause, Direction, EndedBy, Ingress, LegId, Now, Side, Termination};
use setu_sip::{
    Arrival, Binding, BindingChange, Credentials, EndHow, Identity, InviteRequest, KeyInfo, Message, Party,
    Target, Transport, Uri,
};

use super::{Event, Hop, Output, SessionId, Shard, Stranger};

/// Which session carries which leg.
#[derive(Debug, Default)]
pub(super) struct LegTable {
    by_session: BTreeMap<SessionId, (LegId, Side)>,
    by_leg: BTreeMap<LegId, (SessionId, Side)>,
}

impl LegTable {
    pub(super) fn join(&mut self, session: SessionId, leg: LegId, side: Side) {
        self.by_session.insert(session, (leg, side));
        self.by_leg.insert(leg, (session, side));
    }

    fn part(&mut self, session: SessionId) -> Option<(LegId, Side)> {
        let (leg, side) = self.by_session.remove(&session)?;
        self.by_leg.remove(&leg);
        Some((leg, side))
    }

    /// Parts a leg from its session.
    pub(super) fn leave(&mut self, leg: LegId) -> Option<SessionId> {
        let (session, _) = self.by_leg.remove(&leg)?;
        self.by_session.remove(&session);
        Some(session)
    }

    pub(super) fn len(&self) -> usize {
        self.by_session.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_session.is_empty()
    }
}

impl Shard {
    /// What a SIP session's event means to the call it belongs to.
    pub(super) fn on_session(&mut self, event: Event, now: Now) {
        match event {
            Event::Invited { session, identity, arrival, invite } => {
                self.offered(session, identity, &arrival, &invite, now);
            }
            Event::TurnedAway { identity, arrival, invite, status } => {
                let call = CallId::new(now.wall, &mut *self.entropy);
                let offered = Box::new(offered(call, identity, &invite));
                let why = turned_away(status, &invite);
                tracing::warn!(%call, remote = %arrival.remote, status, why, "INVITE refused");
                let cause = if status == 415 { Cause::IncompatibleMedia } else { Cause::Refused };
                let end = Termination::new(cause, EndedBy::Bridge).with_status(status).with_detail(why);
                self.calls.handle(setu_call::Input::TurnedAway { offered, began: now, end }, now);
            }
            Event::Progress { session, body, .. } => {
                self.tell(session, now, |leg| LegEvent::Ringing { leg, early: body });
            }
            Event::Answered { session, message, .. } => {
                let sdp = message.session_description().ok().flatten();
                if self.is_originator(session) {
                    // It was reached with our offer.
                    if let Some(wacid) = facts(&message).wacid {
                        self.tell(session, now, |leg| LegEvent::Named { leg, wacid });
                    }
                    return self.tell(session, now, |leg| LegEvent::Acked { leg, sdp });
                }
                let learnt = Some(Box::new(facts(&message)));
                self.tell(session, now, |leg| LegEvent::Answered { leg, sdp, learnt });
            }
            Event::Refused { session, status, message } => {
                self.refused(session, status, message.as_ref(), now)
            }
            Event::Acked { session, body } => {
                self.tell(session, now, |leg| LegEvent::Acked { leg, sdp: body })
            }
            Event::Reoffered { session, offer, .. } => {
                self.tell(session, now, |leg| LegEvent::Reoffered { leg, offer });
            }
            Event::Transfer { session, .. } => {
                self.tell(session, now, |leg| LegEvent::TransferRefused { leg })
            }
            Event::Ended { session, how } => self.ended(session, &how, now),
            Event::Binding(change) => self.binding(change, now),
            Event::TrunkState { name, up } => {
                let change = if up {
                    DeskChange::TrunkUp { trunk: name }
                } else {
                    DeskChange::TrunkDown { trunk: name }
                };
                self.calls.handle(setu_call::Input::Desk(change), now);
            }
            Event::StrangerRefused { side, source, method, status, why } => {
                tracing::debug!(%side, %source, %method, ?status, ?why, "stranger refused");
                // A challenge begins every call and registration; only what follows it tells a stranger.
                if why != Stranger::Challenged {
                    self.outputs.push_back(Output::Stranger(side, why));
                }
            }
            Event::Info { session, content_type, body } => {
                if let Some(KeyInfo { digit, duration_ms }) = KeyInfo::parse(&content_type, &body) {
                    let digit = digit.into();
                    self.tell(session, now, |leg| LegEvent::Key { leg, digit, duration_ms });
                }
            }
            // Our own re-offers are never sent.
            Event::Reanswered { .. } | Event::ReofferRefused { .. } => {}
        }
    }

    /// Carries out a command of the call core.
    pub(super) fn command_leg(&mut self, command: LegCommand, now: Now) {
        if let LegCommand::Dial(dial) = command {
            return self.dial(*dial, now);
        }
        let Err(command) = self.command_reach(command, now) else { return };
        let Err(command) = self.command_graph(command, now) else { return };
        let Err(command) = self.command_asked(command, now) else { return };
        let Some(&(session, side)) = self.legs.by_leg.get(&command.leg()) else {
            tracing::debug!(leg = %command.leg(), "command for a leg that is over");
            return;
        };
        let done = match command {
            LegCommand::Ring { early, .. } => {
                let status = if early.is_some() { 183 } else { 180 };
                self.endpoint.ring(session, status, early.map(Bytes::from), now)
            }
            LegCommand::Answer { sdp, .. } => self.endpoint.answer(session, Bytes::from(sdp), &[], now),
            LegCommand::Refuse { status, reason, retry_after_s, warnings, .. } => {
                let host = self.settings.endpoint.side(side).uri_host();
                let warning =
                    |text: &String| ("Warning".to_owned(), format!("399 {host} \"{}\"", quoted(text)));
                let mut headers: Vec<_> = warnings.iter().map(warning).collect();
                headers.extend(retry_after_s.map(|s| ("Retry-After".to_owned(), s.to_string())));
                self.endpoint.refuse(session, status, reason.as_deref(), &headers, now)
            }
            LegCommand::HangUp { cause, .. } => {
                // Toward Meta nothing is sent that its samples do not show.
                let headers = match side {
                    Side::Meta => Vec::new(),
                    Side::Agents => vec![("Reason".to_owned(), reason_header(cause))],
                };
                self.endpoint.hang_up(session, &headers, now)
            }
            LegCommand::AcceptReoffer { sdp, .. } => {
                self.endpoint.reoffer_accept(session, Bytes::from(sdp), now)
            }
            LegCommand::Key { digit, duration_ms, .. } => {
                let body = KeyInfo { digit: digit.into_inner(), duration_ms }.to_body();
                self.endpoint.info(session, KeyInfo::CONTENT_TYPE, Bytes::from(body), now)
            }
            LegCommand::RejectReoffer { status, .. } => self.endpoint.reoffer_reject(session, status, now),
            // A SIP peer takes our answer in one step.
            LegCommand::Dial(_) | LegCommand::Describe { .. } => Ok(()),
        };
        if let Err(error) = done {
            // The command crossed the peer's own end, which is on its way up.
            tracing::debug!(?session, %error, "command not carried out");
        }
    }

    fn is_originator(&self, session: SessionId) -> bool {
        self.legs.by_session.get(&session).is_some_and(|(leg, _)| *leg == LegId::originator(leg.call))
    }

    fn tell(&mut self, session: SessionId, now: Now, event: impl FnOnce(LegId) -> LegEvent) {
        if let Some(&(leg, _)) = self.legs.by_session.get(&session) {
            self.calls.handle(setu_call::Input::Leg(event(leg)), now);
        }
    }

    fn offered(
        &mut self,
        session: SessionId,
        identity: Identity,
        arrival: &Arrival,
        invite: &Message,
        now: Now,
    ) {
        let call = CallId::new(now.wall, &mut *self.entropy);
        self.legs.join(session, LegId::originator(call), arrival.side);
        tracing::debug!(%call, remote = %arrival.remote, "INVITE taken");
        let offered = offered(call, identity, invite);
        self.calls.handle(setu_call::Input::Offered(Box::new(offered)), now);
    }

    fn refused(&mut self, session: SessionId, status: u16, message: Option<&Message>, now: Now) {
        let Some((leg, side)) = self.legs.part(session) else { return };
        let reason = message.map(|m| m.reason().into_owned()).unwrap_or_default();
        let (cause, toward, detail) = if side == Side::Meta {
            let warning = message.and_then(|m| m.header("Warning").map(Cow::into_owned));
            let refusal = setu_whatsapp::refusal(status, &reason, warning.as_deref());
            (refusal.cause, refusal.toward_agent, refusal.detail)
        } else {
            let (cause, toward) = agent_refusal(status);
            (cause, toward, Some(reason).filter(|r| !r.is_empty()))
        };
        let event = LegEvent::Refused { leg, status, cause, toward, detail };
        self.calls.handle(setu_call::Input::Leg(event), now);
    }

    fn ended(&mut self, session: SessionId, how: &EndHow, now: Now) {
        let Some((leg, _)) = self.legs.part(session) else { return };
        let (how, message) = match how {
            EndHow::Bye { message } => (CallEnd::Bye, Some(message)),
            EndHow::Cancelled { message } => (CallEnd::Cancelled, Some(message)),
            EndHow::Local => (CallEnd::Local, None),
            EndHow::NoAck => (CallEnd::NoAck, None),
            EndHow::Timer => (CallEnd::Timer, None),
            EndHow::Lost { .. } => (CallEnd::Lost, None),
        };
        let told = message.map(|m| with_headers(m, |h| setu_whatsapp::ended_facts(h))).unwrap_or_default();
        let (wacid, meta_duration_s) = (told.wacid, told.meta_duration_s);
        let event = LegEvent::Ended { leg, how, wacid, meta_duration_s, detail: None };
        self.calls.handle(setu_call::Input::Leg(event), now);
    }

    fn binding(&mut self, change: BindingChange, now: Now) {
        let contact = |binding: &Binding| ContactId(binding.id.0);
        let desk = match change {
            BindingChange::Appeared(binding) | BindingChange::Refreshed(binding) => {
                let (agent, contact) = (binding.account.clone(), contact(&binding));
                let secure = binding.hop.transport.is_secure();
                self.contacts.insert(contact, binding);
                DeskChange::ContactUp { agent, contact, secure }
            }
            BindingChange::Vanished { binding, why } => {
                let contact = contact(&binding);
                self.contacts.remove(&contact);
                tracing::info!(agent = binding.account, ?why, "contact is gone");
                DeskChange::ContactDown { agent: binding.account, contact }
            }
        };
        self.outputs.push_back(Output::Registrations(self.contacts.len()));
        self.calls.handle(setu_call::Input::Desk(desk), now);
    }

    pub(super) fn dial(&mut self, dial: Dial, now: Now) {
        let leg = dial.leg;
        if let DialTarget::Customer { number, customer } = &dial.target
            && self.settings.graph.contains_key(number)
        {
            return self.graph_dial(leg, number, customer, dial.offer, now);
        }
        if let DialTarget::Customer { number, .. } = &dial.target
            && let Some(wait) = self.is_called_back(number)
        {
            return self.dial_by_request(dial, wait, now);
        }
        let side = match dial.target {
            DialTarget::Customer { .. } => Side::Meta,
            DialTarget::Contact { .. } | DialTarget::Trunk { .. } => Side::Agents,
        };
        let request = self.invite_request(dial);
        let started = match request {
            Some(request) => self.endpoint.invite(request, now).map_err(|error| error.to_string()),
            None => Err("the contact or trunk is gone".to_owned()),
        };
        match started {
            Ok(session) => self.legs.join(session, leg, side),
            Err(detail) => self.not_dialled(leg, (503, 480), Cause::Unreachable, Some(detail), now),
        }
    }

    /// Tells the call core of a leg that could not be dialled: with the status of it, and the one to pass on.
    pub(super) fn not_dialled(
        &mut self,
        leg: LegId,
        (status, toward): (u16, u16),
        cause: Cause,
        detail: Option<String>,
        now: Now,
    ) {
        let event = LegEvent::Refused { leg, status, cause, toward, detail };
        self.calls.handle(setu_call::Input::Leg(event), now);
    }

    fn invite_request(&self, dial: Dial) -> Option<InviteRequest> {
        let facts = &dial.facts;
        let use_case = facts.use_case.as_ref().and_then(|name| self.settings.calls.use_cases.get(name));
        let offer = Bytes::from(dial.offer);
        let agents_host = self.settings.endpoint.side(Side::Agents).uri_host();
        let caller = Party {
            display: facts.customer_name.as_ref().map(|n| n.reveal().clone()),
            uri: caller_uri(facts.customer.reveal(), &agents_host),
        };
        let toward_agents = |target: Target, request_uri: String, to: String| InviteRequest {
            side: Side::Agents,
            target,
            request_uri,
            from: caller.clone(),
            to: Party { display: None, uri: to },
            contact_user: Some(facts.number.clone()),
            headers: setu_headers(facts, use_case),
            offer: offer.clone(),
            credentials: None,
            session_timer: true,
        };
        match dial.target {
            DialTarget::Contact { agent, contact } => {
                let binding = self.contacts.get(&contact)?;
                let to = format!("sip:{agent}@{agents_host}");
                Some(toward_agents(binding.target(), binding.contact.clone(), to))
            }
            DialTarget::Trunk { trunk, extension } => {
                let hop = self.settings.trunks.get(trunk.name())?.hop.clone();
                let uri = trunk_uri(extension.dialled(), &hop);
                Some(toward_agents(Target::Hop(hop), uri.clone(), uri))
            }
            DialTarget::Customer { number, customer } => {
                let meta = &self.settings.meta;
                let password = meta.passwords.get(&number)?.clone();
                let called = format!("sip:{customer}@{}", meta.domain);
                Some(InviteRequest {
                    side: Side::Meta,
                    target: Target::Hop(Hop {
                        side: Side::Meta,
                        transport: Transport::Tls,
                        host: meta.domain.clone(),
                        port: Some(meta.port),
                    }),
                    request_uri: format!("{called};transport=tls"),
                    from: Party { display: None, uri: format!("sip:{number}@{}", meta.hostname) },
                    to: Party { display: None, uri: called },
                    contact_user: Some(number.clone()),
                    headers: Vec::new(),
                    offer,
                    credentials: Some(Credentials {
                        realm: Some(meta.domain.clone()),
                        username: setu_whatsapp::digest_username(&number).to_owned(),
                        password,
                    }),
                    session_timer: false,
                })
            }
        }
    }
}

/// Text for between quotes: one line of printable ASCII.
fn quoted(text: &str) -> String {
    let plain = |c: char| if matches!(c, ' '..='~') && c != '"' && c != '\\' { c } else { '\'' };
    text.chars().map(plain).take(MOST_WARNING).collect()
}

/// The longest warning, in characters.
const MOST_WARNING: usize = 256;

/// Who calls, as agents see it. A caller whom Meta does not name is `anonymous` (RFC 3323 section 4.1): a URI with an
/// empty user is none (RFC 3261 section 25.1), and phones refuse it.
fn caller_uri(customer: &str, host: &str) -> String {
    let user = if customer.is_empty() { "anonymous" } else { customer };
    format!("sip:{user}@{host}")
}

fn trunk_uri(extension: &str, hop: &Hop) -> String {
    let host = if hop.host.contains(':') { format!("[{}]", hop.host) } else { hop.host.clone() };
    let port = hop.port.map(|p| format!(":{p}")).unwrap_or_default();
    let transport = match hop.transport {
        Transport::Udp => String::new(),
        Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
            format!(";transport={}", hop.transport.param())
        }
    };
    format!("sip:{extension}@{host}{port}{transport}")
}

fn facts(message: &Message) -> CallFacts {
    with_headers(message, |headers| setu_whatsapp::facts_from_headers(headers))
}

/// Hands the headers of `message` to `read` as text.
fn with_headers<T>(message: &Message, read: impl FnOnce(Vec<(&str, &str)>) -> T) -> T {
    let texts: Vec<(String, String)> =
        message.headers().map(|h| (h.name().to_owned(), h.text().into_owned())).collect();
    read(texts.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect())
}

/// Why we end a leg, in a Reason header (RFC 3326).
fn reason_header(cause: Cause) -> String {
    let (code, text) = match cause {
        Cause::Success => (16, "Normal call clearing"),
        Cause::Busy => (17, "User busy"),
        Cause::NoAnswer => (19, "No answer from the user"),
        Cause::Declined => (21, "Call rejected"),
        Cause::Cancelled => (487, "Call completed elsewhere or cancelled"),
        Cause::MediaTimeout => (408, "Media timeout"),
        Cause::Unreachable
        | Cause::NoPermission
        | Cause::RefusedByMeta
        | Cause::Refused
        | Cause::IncompatibleMedia
        | Cause::SignallingLost
        | Cause::TooLong
        | Cause::Shutdown
        | Cause::Fault
        | Cause::Interrupted => (31, cause.word()),
    };
    let protocol = if code < 128 { "Q.850" } else { "SIP" };
    format!("{protocol};cause={code};text=\"{text}\"")
}

/// The call that an INVITE asks for.
fn offered(call: CallId, identity: Identity, invite: &Message) -> Offered {
    let dialled = invite
        .request_uri()
        .and_then(|uri| uri.parse::<Uri>().ok())
        .and_then(|uri| uri.user_text().map(Cow::into_owned))
        .unwrap_or_default();
    let (direction, origin) = match identity {
        Identity::Meta { number } => (Direction::UserInitiated, Origin::Meta { number }),
        Identity::Account(name) => (Direction::BusinessInitiated, Origin::Account(name)),
        Identity::Trunk(name) => (Direction::BusinessInitiated, Origin::Trunk(name)),
    };
    let mut told = match direction {
        Direction::UserInitiated => facts(invite),
        Direction::BusinessInitiated => CallFacts::default(),
    };
    if let Origin::Meta { number } = &origin {
        told.number.clone_from(number);
    }
    Offered {
        call,
        ingress: Ingress::Sip,
        direction,
        origin,
        dialled,
        facts: told,
        offer: invite.session_description().ok().flatten(),
        answer_in: AnswerIn::OneStep,
    }
}

/// Why an INVITE was refused with a status, for the operator.
fn turned_away(status: u16, invite: &Message) -> String {
    let header = |name| invite.header(name).unwrap_or_default();
    match status {
        415 => format!("its body is no session description: {}", header("Content-Type")),
        420 => format!("it requires what is not done here: {}", header("Require")),
        422 => format!("its session timer is too short: {}", header("Session-Expires")),
        483 => "it has passed too many hops".to_owned(),
        _ => "there is no room for its session".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use setu_model::{SeededEntropy, Wall};
    use setu_sip::{BindingId, FlowId, Vanished};

    use super::*;
    use crate::config::Config;

    const CONFIG: &str = r#"
        [meta]
        hostname = "sip.bridge.test"
        certificate = "chain.pem"
        private_key = "key.pem"
        media = { bind = "203.0.113.10", ports = "20000-20999" }

        [agents]
        udp = "10.1.0.10:5060"
        hostname = "10.1.0.10"
        media = { bind = "10.1.0.10", ports = "20000-20999" }

        [[numbers]]
        number = "+15550000001"
        password = "one"
        agents = ["alice"]

        [[accounts]]
        name = "alice"
        password = "a"
        number = "+15550000001"
    "#;

    fn binding(id: u64, contact: &str) -> Binding {
        let host = "10.1.0.20".to_owned();
        Binding {
            id: BindingId(id),
            account: "alice".to_owned(),
            contact: contact.to_owned(),
            q: 1_000,
            flow: FlowId(7),
            hop: Hop { side: Side::Agents, transport: Transport::Udp, host, port: Some(5_060) },
            on_flow: true,
        }
    }

    /// A phone with an account, which writes its contact otherwise in each REGISTER.
    #[test]
    fn a_caller_without_a_name_is_anonymous_to_agents() {
        assert_eq!(caller_uri("+919876543210", "10.1.0.10"), "sip:+919876543210@10.1.0.10");
        assert_eq!(caller_uri("", "10.1.0.10"), "sip:anonymous@10.1.0.10");
    }

    #[test]
    fn a_contact_that_is_written_otherwise_each_time_is_one_contact_and_gone_when_it_goes() {
        let now = Now { mono: std::time::Instant::now(), wall: Wall::from_unix_ms(0) };
        let settings = crate::settings::shard(&Config::parse(CONFIG, Path::new("/")).unwrap()).unwrap();
        let mut shard = Shard::new(settings, || Box::new(SeededEntropy::new(1)), now);
        shard.binding(BindingChange::Appeared(binding(1, "sip:alice@phone.example.com")), now);
        for n in 0..1_000 {
            let contact = format!("sip:alice@PHONE.example.com;n{n}=1");
            shard.binding(BindingChange::Refreshed(binding(1, &contact)), now);
            assert_eq!(shard.contacts.len(), 1);
        }
        let gone = binding(1, "sip:alice@phone.EXAMPLE.com");
        shard.binding(BindingChange::Vanished { binding: gone, why: Vanished::Removed }, now);
        assert!(shard.contacts.is_empty());
    }
}

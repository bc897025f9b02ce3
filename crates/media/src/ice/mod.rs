//! Finding a peer's address, and its consent to be sent to: ICE (RFC 8445) with one local candidate and one component,
//! which is all that a bridge with a public address and RTCP beside RTP needs, and consent freshness (RFC 7675).
//!
//! An agent never answers, learns from or is moved by a message that does not authenticate.

mod stun;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use setu_model::Secret;
use sha1::Sha1;

use stun::{Class, Id, Message, Writer, canonical};

/// What offer and answer agreed about the way to a peer. A plain value: an agent that is made of it again goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceSetup {
    /// Whether we only answer checks (RFC 8445 section 2.5).
    pub lite: bool,
    /// Whether we begin as the controlling agent, who nominates.
    pub controlling: bool,
    /// The user name fragment that the peer's checks name.
    pub local_ufrag: String,
    /// The key of checks that come in.
    pub local_pwd: Secret<String>,
    /// The user name fragment that our checks name.
    pub remote_ufrag: String,
    /// The key of checks that go out, as written in the peer's description, padding and all.
    pub remote_pwd: Secret<String>,
    /// Where the peer says it can be reached, with priorities; all of the family of our socket.
    pub candidates: Vec<(SocketAddr, u32)>,
    /// Random, from a CSPRNG: transaction ids and the tie-breaker are made of it.
    pub seed: Secret<[u8; 32]>,
}

/// What an agent has to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IceEvent {
    /// The first address of the peer proved itself: packets may go there.
    Usable,
    /// The peer has not renewed its consent for 30 s (RFC 7675 section 5.1): nothing may be sent any more.
    Lost,
}

/// One leg's ICE agent.
pub(crate) struct IceAgent {
    setup: IceSetup,
    controlling: bool,
    tie_breaker: u64,
    /// Best first, as far as known at the start.
    pairs: Vec<Pair>,
    selected: Option<SocketAddr>,
    consent: Consent,
    event: Option<IceEvent>,
    /// When the first pair proved itself.
    usable: Option<Instant>,
    drawn: u64,
}

#[derive(Debug)]
struct Pair {
    remote: SocketAddr,
    priority: u64,
    valid: bool,
    /// The peer nominated it.
    nominated: bool,
    check: Option<Check>,
}

/// A request that waits for its answer.
#[derive(Debug, Clone, Copy)]
struct Check {
    id: Id,
    again: Instant,
    wait: Duration,
    nominates: bool,
    controlling: bool,
}

#[derive(Debug, Clone, Copy)]
enum Consent {
    /// Nothing is selected, or it is the peer's part to ask.
    Unwatched,
    Watched {
        heard: Instant,
        ask: Instant,
        id: Id,
    },
    Lost,
}

impl IceAgent {
    /// Makes an agent; a full one begins its checks at `now`.
    pub(crate) fn new(setup: IceSetup, now: Instant) -> Self {
        let mut agent = Self {
            controlling: setup.controlling && !setup.lite,
            tie_breaker: 0,
            pairs: Vec::new(),
            selected: None,
            consent: Consent::Unwatched,
            event: None,
            usable: None,
            drawn: 0,
            setup,
        };
        agent.tie_breaker = agent.draw_u64();
        if !agent.setup.lite {
            let candidates = std::mem::take(&mut agent.setup.candidates);
            for (remote, priority) in &candidates {
                agent.add(canonical(*remote), *priority);
            }
            agent.setup.candidates = candidates;
            agent.pairs.sort_by_key(|pair| std::cmp::Reverse(pair.priority));
            let starts = (0..).map(|at| now + PACE * at);
            let checks: Vec<Check> =
                starts.take(agent.pairs.len()).map(|at| agent.check(false, at)).collect();
            for (pair, check) in agent.pairs.iter_mut().zip(checks) {
                pair.check = Some(check);
            }
        }
        agent
    }

    /// Returns where packets go, once they may.
    pub(crate) fn target(&self) -> Option<SocketAddr> {
        if matches!(self.consent, Consent::Lost) {
            return None;
        }
        self.selected.or_else(|| self.pairs.iter().find(|pair| pair.valid).map(|pair| pair.remote))
    }

    /// Returns whether `from` proved itself: only from there a handshake is taken.
    pub(crate) fn proved(&self, from: SocketAddr) -> bool {
        self.pairs.iter().any(|pair| pair.valid && pair.remote == canonical(from))
    }

    /// Takes what happened.
    pub(crate) fn poll_event(&mut self) -> Option<IceEvent> {
        self.event.take()
    }

    /// Sends what waits for its turn now: what was sent before may have come too early for the peer.
    pub(crate) fn hurry(&mut self, now: Instant) {
        for check in self.pairs.iter_mut().filter_map(|pair| pair.check.as_mut()) {
            (check.again, check.wait) = (now, FIRST_WAIT);
        }
    }

    /// Takes a STUN message; returns whether it was the peer's.
    pub(crate) fn handle(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
        send: &mut impl FnMut(SocketAddr, &[u8]),
    ) -> bool {
        let from = canonical(from);
        let Some(message) = Message::parse(datagram) else { return false };
        match message.class {
            Class::Request => self.handle_request(from, &message, now, send),
            Class::Success | Class::Failure => self.handle_answer(from, &message, now, send),
        }
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let checks = self.pairs.iter().filter_map(|pair| Some(pair.check?.again));
        let consent = match self.consent {
            Consent::Watched { heard, ask, .. } => Some(ask.min(heard + CONSENT)),
            Consent::Unwatched | Consent::Lost => None,
        };
        checks.chain(consent).chain(self.nominate_at()).min()
    }

    /// Sends what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant, send: &mut impl FnMut(SocketAddr, &[u8])) {
        for at in 0..self.pairs.len() {
            let Some(pair) = self.pairs.get_mut(at) else { return };
            let Some(check) = pair.check.filter(|check| check.again <= now) else { continue };
            let next = Check { again: now + check.wait, wait: (check.wait * 2).min(LONGEST_WAIT), ..check };
            // Once there is a way, nobody waits long for another one.
            let given_up = self.selected.is_some() && check.wait >= LONGEST_WAIT;
            pair.check = Some(next).filter(|_| !given_up);
            let remote = pair.remote;
            // A retransmission keeps its role with its id: the peer may have answered the first.
            self.request(&check.id, check.nominates, check.controlling, remote, send);
        }
        if self.nominate_at().is_some_and(|at| at <= now) {
            self.nominate(now, send);
        }
        self.keep_consent(now, send);
    }

    fn handle_request(
        &mut self,
        from: SocketAddr,
        message: &Message<'_>,
        now: Instant,
        send: &mut impl FnMut(SocketAddr, &[u8]),
    ) -> bool {
        let IceSetup { local_ufrag, local_pwd, remote_ufrag, .. } = &self.setup;
        let (ours, theirs) = (local_ufrag.as_bytes(), remote_ufrag.as_bytes());
        let named = message.username.strip_prefix(ours).and_then(|rest| rest.strip_prefix(b":"));
        if named != Some(theirs) || !message.is_from(local_pwd.reveal().as_bytes()) {
            return false;
        }
        if self.conflicts(message) {
            let key = self.setup.local_pwd.reveal().as_bytes();
            send(from, Writer::role_conflict(&message.id).finish(key));
            return true;
        }
        send(from, Writer::success(&message.id, from).finish(self.setup.local_pwd.reveal().as_bytes()));
        let known = self.pairs.iter().position(|pair| pair.remote == from);
        let Some(at) = known.or_else(|| self.learn(from, message.priority.unwrap_or(0))) else { return true };
        let fresh = self.check(false, now);
        let Some(pair) = self.pairs.get_mut(at) else { return true };
        pair.nominated |= message.use_candidate && !self.controlling;
        if self.setup.lite {
            pair.valid = true;
            self.proved_now(now);
        } else if !pair.valid {
            // Triggered: at once, also where one was under way (RFC 8445 section 7.3.1.4).
            pair.check = Some(pair.check.map_or(fresh, |check| Check { again: now, ..check }));
        }
        self.follow(at, now);
        self.handle_timeout(now, send);
        true
    }

    /// Settles a conflict of roles; returns whether the peer has to give way.
    fn conflicts(&mut self, message: &Message<'_>) -> bool {
        let claimed = if self.controlling { message.controlling } else { message.controlled };
        let Some(theirs) = claimed else { return false };
        let we_win = self.tie_breaker >= theirs;
        // A lite agent is controlled whatever is drawn.
        if self.setup.lite || we_win == self.controlling {
            return true;
        }
        self.controlling = !self.controlling;
        false
    }

    fn handle_answer(
        &mut self,
        from: SocketAddr,
        message: &Message<'_>,
        now: Instant,
        send: &mut impl FnMut(SocketAddr, &[u8]),
    ) -> bool {
        let asked_consent = match self.consent {
            Consent::Watched { id, .. } => id == message.id && Some(from) == self.selected,
            Consent::Unwatched | Consent::Lost => false,
        };
        let at = self.pairs.iter().position(|pair| pair.check.is_some_and(|check| check.id == message.id));
        if (at.is_none() && !asked_consent) || !message.is_from(self.setup.remote_pwd.reveal().as_bytes()) {
            return false;
        }
        match (message.class, at) {
            (Class::Success, None) => {
                if let Consent::Watched { heard, .. } = &mut self.consent {
                    *heard = now;
                }
            }
            (Class::Success, Some(at)) => self.succeeded(at, from, now),
            (Class::Failure, Some(at)) if message.error == Some(487) => self.give_way(at, now),
            // Other refusals: asked again until somebody gives up.
            (Class::Failure | Class::Request, _) => {}
        }
        self.handle_timeout(now, send);
        true
    }

    fn succeeded(&mut self, at: usize, from: SocketAddr, now: Instant) {
        let Some(pair) = self.pairs.get_mut(at) else { return };
        // An answer must come from where the question went (RFC 8445 section 7.2.5.2.1).
        if pair.remote != from {
            return;
        }
        let nominates = pair.check.take().is_some_and(|check| check.nominates);
        pair.valid = true;
        if nominates {
            self.select(from, now);
        }
        self.proved_now(now);
        self.follow(at, now);
    }

    /// The peer says that we claim its role (RFC 8445 section 7.2.5.1).
    fn give_way(&mut self, at: usize, now: Instant) {
        let check = self.pairs.get(at).and_then(|pair| pair.check);
        if check.is_some_and(|check| check.controlling == self.controlling) && !self.setup.lite {
            self.controlling = !self.controlling;
            self.tie_breaker = self.draw_u64();
        }
        let again = self.check(false, now);
        if let Some(pair) = self.pairs.get_mut(at) {
            pair.check = Some(again);
        }
    }

    /// A controlled agent goes where its peer says, once that way has proved itself.
    fn follow(&mut self, at: usize, now: Instant) {
        let Some(pair) = self.pairs.get_mut(at).filter(|pair| pair.valid && pair.nominated) else { return };
        pair.nominated = false;
        let remote = pair.remote;
        self.select(remote, now);
    }

    /// The path is found: the other checks end (RFC 8445 section 8.1.1), and consent is kept by whoever sends checks.
    fn select(&mut self, remote: SocketAddr, now: Instant) {
        if self.selected == Some(remote) {
            return;
        }
        self.selected = Some(remote);
        if !self.setup.lite {
            self.pairs.iter_mut().for_each(|pair| pair.check = None);
            self.consent =
                Consent::Watched { heard: now, ask: now + self.consent_pause(), id: Id::default() };
        }
    }

    fn proved_now(&mut self, now: Instant) {
        if self.usable.is_none() {
            self.usable = Some(now);
            self.event = Some(IceEvent::Usable);
        }
    }

    /// When a controlling agent nominates: when the best pair is valid, or a moment after another one is.
    fn nominate_at(&self) -> Option<Instant> {
        let usable = self.usable.filter(|_| self.controlling && self.selected.is_none())?;
        if self.pairs.iter().any(|pair| pair.check.is_some_and(|check| check.nominates)) {
            return None;
        }
        let best = self.pairs.iter().max_by_key(|pair| pair.priority)?;
        Some(if best.valid { usable } else { usable + BETTER })
    }

    fn nominate(&mut self, now: Instant, send: &mut impl FnMut(SocketAddr, &[u8])) {
        let check = Check { again: now + FIRST_WAIT, wait: FIRST_WAIT * 2, ..self.check(true, now) };
        let valid = self.pairs.iter_mut().filter(|pair| pair.valid);
        let Some(pair) = valid.max_by_key(|pair| pair.priority) else { return };
        pair.check = Some(check);
        let remote = pair.remote;
        self.request(&check.id, true, true, remote, send);
    }

    fn keep_consent(&mut self, now: Instant, send: &mut impl FnMut(SocketAddr, &[u8])) {
        let Consent::Watched { heard, ask, .. } = self.consent else { return };
        if heard + CONSENT <= now {
            self.consent = Consent::Lost;
            self.event = Some(IceEvent::Lost);
        } else if let Some(remote) = self.selected.filter(|_| ask <= now) {
            let id = self.draw_id();
            self.consent = Consent::Watched { heard, ask: now + self.consent_pause(), id };
            self.request(&id, false, self.controlling, remote, send);
        }
    }

    fn request(
        &self,
        id: &Id,
        nominates: bool,
        controlling: bool,
        to: SocketAddr,
        send: &mut impl FnMut(SocketAddr, &[u8]),
    ) {
        let setup = &self.setup;
        let mut writer = Writer::request(id, (&setup.remote_ufrag, &setup.local_ufrag));
        writer.priority(REFLEXIVE_PRIORITY);
        writer.role(controlling, self.tie_breaker);
        if nominates {
            writer.use_candidate();
        }
        send(to, writer.finish(setup.remote_pwd.reveal().as_bytes()));
    }

    fn check(&mut self, nominates: bool, at: Instant) -> Check {
        let controlling = self.controlling;
        Check { id: self.draw_id(), again: at, wait: FIRST_WAIT, nominates, controlling }
    }

    /// A peer-reflexive candidate: it authenticated, so it is the peer's.
    fn learn(&mut self, remote: SocketAddr, priority: u32) -> Option<usize> {
        if self.pairs.len() >= MOST_PAIRS {
            let unproved = |pair: &Pair| !pair.valid && Some(pair.remote) != self.selected;
            let oldest = |pair: &Pair| Some(pair.remote) != self.selected;
            let out = self.pairs.iter().position(unproved).or_else(|| self.pairs.iter().position(oldest))?;
            self.pairs.remove(out);
        }
        self.add(remote, priority);
        self.pairs.len().checked_sub(1)
    }

    fn add(&mut self, remote: SocketAddr, priority: u32) {
        if self.pairs.len() >= MOST_PAIRS || self.pairs.iter().any(|pair| pair.remote == remote) {
            return;
        }
        // RFC 8445 section 6.1.2.3, with one local candidate.
        let (ours, theirs) = (u64::from(HOST_PRIORITY), u64::from(priority));
        let (controlling, controlled) = if self.controlling { (ours, theirs) } else { (theirs, ours) };
        let priority = (ours.min(theirs) << 32) + 2 * ours.max(theirs) + u64::from(controlling > controlled);
        self.pairs.push(Pair { remote, priority, valid: false, nominated: false, check: None });
    }

    /// 4 to 6 s (RFC 7675 section 5.1).
    fn consent_pause(&mut self) -> Duration {
        Duration::from_millis(4_000 + self.draw_u64() % 2_000)
    }

    fn draw_u64(&mut self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.draw();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    fn draw_id(&mut self) -> Id {
        let mut id = Id::default();
        id.iter_mut().zip(self.draw()).for_each(|(to, from)| *to = from);
        id
    }

    fn draw(&mut self) -> [u8; 20] {
        self.drawn += 1;
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(self.setup.seed.reveal()) else { return [0; 20] };
        mac.update(&self.drawn.to_be_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// Between the first checks of two pairs (Ta, RFC 8445 section 14.2, which allows less than its 50 ms).
const PACE: Duration = Duration::from_millis(20);
/// Before the first and between the last retransmissions of a check. Short, and without an end: a peer that has not
/// applied our description yet leaves checks unanswered, and every millisecond of it is silence.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_millis(200);
/// How long a better pair is waited for once one is valid.
const BETTER: Duration = Duration::from_millis(50);
/// How long a consent holds (RFC 7675 section 5.1).
const CONSENT: Duration = Duration::from_secs(30);
/// Candidates of a description and addresses that are learnt.
const MOST_PAIRS: usize = 24;
const HOST_PRIORITY: u32 = (126 << 24) + (65_535 << 8) + 255;
const REFLEXIVE_PRIORITY: u32 = (110 << 24) + (65_535 << 8) + 255;

#[cfg(test)]
mod tests;

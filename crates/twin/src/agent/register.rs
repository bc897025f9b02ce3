//! The binding of a softphone at the bridge's registrar (RFC 3261 section 10).

use std::time::{Duration, Instant};

use setu_model::{Entropy, Now};

use super::phone::{ALLOW, Softphone, USER_AGENT};
use super::report::PhoneEvent;
use crate::sip::digest;
use crate::sip::message::{Message, param};
use crate::sip::text::Draft;

/// How long to wait after a refusal or a lost connection before the next try.
const RETRY: Duration = Duration::from_secs(2);

pub(super) struct Registration {
    call_id: String,
    tag: String,
    cseq: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// A REGISTER is out; whether the challenge was answered already, and whether it removes the binding.
    Asking {
        answered: bool,
        leaving: bool,
    },
    Bound {
        refresh_at: Instant,
    },
    Waiting {
        retry_at: Instant,
    },
}

impl Registration {
    pub(super) fn new(entropy: &mut dyn Entropy) -> Self {
        Self { call_id: format!("{}@twin", entropy.hex(8)), tag: entropy.hex(6), cseq: 0, state: State::Idle }
    }

    pub(super) const fn is_bound(&self) -> bool {
        matches!(self.state, State::Bound { .. })
    }

    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Bound { refresh_at } => Some(refresh_at),
            State::Waiting { retry_at } => Some(retry_at),
            State::Idle | State::Asking { .. } => None,
        }
    }
}

impl Softphone {
    pub(super) fn begin_registering(&mut self, now: Now) {
        self.registration.state = State::Asking { answered: false, leaving: false };
        self.send_register(None, now);
    }

    pub(super) fn end_registering(&mut self, now: Now) {
        self.registration.state = State::Asking { answered: false, leaving: true };
        self.send_register(None, now);
    }

    pub(super) fn registration_timeout(&mut self, now: Now) {
        if self.registration.poll_timeout().is_some_and(|at| at <= now.mono) {
            self.begin_registering(now);
        }
    }

    pub(super) fn register_timed_out(&mut self, now: Now) {
        self.registration.state = State::Waiting { retry_at: now.mono + RETRY };
        self.tell(PhoneEvent::RegisterFailed(None));
    }

    /// A connection is gone: without it the bridge cannot call, so bind anew over another.
    pub(super) fn registration_lost(&mut self, now: Now) {
        match self.registration.state {
            State::Idle | State::Asking { leaving: true, .. } => self.registration.state = State::Idle,
            State::Asking { .. } | State::Bound { .. } | State::Waiting { .. } => {
                self.registration.state = State::Waiting { retry_at: now.mono + RETRY };
            }
        }
    }

    pub(super) fn handle_register_response(&mut self, response: &Message, now: Now) {
        let State::Asking { answered, leaving } = self.registration.state else { return };
        let status = response.status().unwrap_or(0);
        match status {
            100..=199 => {}
            200..=299 if leaving => {
                self.registration.state = State::Idle;
                self.tell(PhoneEvent::Unregistered);
            }
            200..=299 => {
                let granted = self.granted(response);
                // Half of it, so that a lost refresh can be repeated.
                let refresh_at = now.mono + Duration::from_secs(u64::from(granted)) / 2;
                self.registration.state = State::Bound { refresh_at };
                self.tell(PhoneEvent::Registered);
            }
            401 | 407 if !answered || is_stale(response) => {
                self.registration.state = State::Asking { answered: true, leaving };
                match self.authorize(response, "REGISTER", &format!("sip:{}", self.config.domain)) {
                    Some(line) => self.send_register(Some(line), now),
                    None => self.register_refused(status, now),
                }
            }
            _ => self.register_refused(status, now),
        }
    }

    /// The header line that answers the challenge in `response`.
    pub(super) fn authorize(&mut self, response: &Message, method: &str, uri: &str) -> Option<String> {
        let (challenge, answer) = match response.status() {
            Some(401) => ("WWW-Authenticate", "Authorization"),
            _ => ("Proxy-Authenticate", "Proxy-Authorization"),
        };
        let how = digest::Answer {
            username: &self.config.account,
            password: &self.config.password,
            method,
            uri,
            names_algorithm: true,
        };
        let challenges = response.lines(challenge);
        let value =
            digest::answer(&challenges, &self.config.answers_algorithms, &how, self.entropy.as_mut())?;
        Some(format!("{answer}: {value}"))
    }

    fn register_refused(&mut self, status: u16, now: Now) {
        self.registration.state = State::Waiting { retry_at: now.mono + RETRY };
        self.tell(PhoneEvent::RegisterFailed(Some(status)));
    }

    /// Seconds granted: our Contact's `expires`, the header, or what we asked for.
    fn granted(&self, response: &Message) -> u32 {
        let ours = self.contact_uri();
        let contacts = response.list("Contact");
        let mine = contacts
            .iter()
            .find(|contact| contact.contains(&ours))
            .and_then(|contact| param(contact, "expires"));
        let text = mine.or_else(|| response.header("Expires"));
        text.and_then(|text| text.trim().parse().ok()).or(self.config.register_s).unwrap_or(300)
    }

    fn send_register(&mut self, authorization: Option<String>, now: Now) {
        self.registration.cseq += 1;
        let leaving = matches!(self.registration.state, State::Asking { leaving: true, .. });
        let expires = if leaving { 0 } else { self.config.register_s.unwrap_or(300) };
        let branch = self.branch();
        let (account, domain) = (&self.config.account, &self.config.domain);
        let bytes = Draft::new(format!("REGISTER sip:{domain} SIP/2.0"))
            .line(self.via(&branch))
            .line("Max-Forwards: 70")
            .line(format!("From: <sip:{account}@{domain}>;tag={}", self.registration.tag))
            .line(format!("To: <sip:{account}@{domain}>"))
            .line(format!("Call-ID: {}", self.registration.call_id))
            .line(format!("CSeq: {} REGISTER", self.registration.cseq))
            .line(ALLOW)
            .line(format!("Contact: <{}>", self.contact_uri()))
            .line(format!("Expires: {expires}"))
            .lines(authorization)
            .line(USER_AGENT)
            .empty();
        let way = self.way();
        self.transactions.request(&branch, "REGISTER", bytes, way, now.mono);
    }
}

fn is_stale(response: &Message) -> bool {
    let challenges =
        response.lines("WWW-Authenticate").into_iter().chain(response.lines("Proxy-Authenticate"));
    challenges
        .filter_map(|c| digest::Fields::read(&c))
        .any(|c| c.field("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")))
}

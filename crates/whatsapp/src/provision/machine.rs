//! The requests in their order, each read back.

use serde_json::{Value, json};
use setu_model::Secret;

use super::desired::Part;
use super::{Desired, Drift, Found};

/// What is to come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only look.
    Look,
    /// Make the settings what they should be, and fetch the password.
    Apply,
    /// Have Meta make a new password: calling is disabled, and set up anew.
    Rotate,
}

/// What to ask Meta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// `GET /{id}/settings`, with `include_sip_credentials=true` or without.
    Read {
        /// Whether the password is to be shown.
        password: bool,
    },
    /// `POST /{id}/settings`.
    Write {
        /// What for, in words.
        what: &'static str,
        /// The body.
        body: Value,
    },
}

/// How it ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What differed at first.
    pub drifts: Vec<Drift>,
    /// The requests that mend it, in order: made, unless it was only looked.
    pub plan: Vec<Ask>,
    /// The settings as they were read last.
    pub found: Found,
    /// The password, where it was asked for and Meta showed it.
    pub password: Option<Secret<String>>,
}

/// It went no further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// Meta's settings cannot be read.
    #[error(transparent)]
    Unreadable(#[from] super::Unreadable),
    /// Meta took a setting, and shows another.
    #[error("Meta took the request and shows something else: {0}; nothing more was written")]
    NotKept(Drift),
    /// Meta showed no password.
    #[error(
        "Meta shows no SIP password for this app's server; is the token that of the app with the server?"
    )]
    NoPassword,
    /// Meta showed the password from before.
    #[error("Meta shows the same password as before; it was not rotated")]
    SamePassword,
    /// There is no password to rotate.
    #[error("the number has no SIP server, and so no password to rotate")]
    NoSip,
}

/// Goes through the requests for one number: ask what [`poll`](Self::poll) says, tell what came of it, until it says nothing.
#[derive(Debug, Clone)]
pub struct Provision {
    desired: Desired,
    app: Option<String>,
    mode: Mode,
    state: State,
    drifts: Vec<Drift>,
    plan: Vec<Ask>,
    found: Found,
    /// The password before a rotation.
    before: Option<String>,
    /// Whether calling was disabled to have the password made anew.
    reset: bool,
}

#[derive(Debug, Clone)]
enum State {
    Reading { after: Option<Part>, password: bool },
    Writing { part: Option<Part> },
    Done(Option<Secret<String>>),
    Stopped(Stopped),
}

impl Provision {
    /// Begins. `app` is our app's id, where it is known.
    pub fn new(desired: Desired, app: Option<String>, mode: Mode) -> Self {
        let (drifts, plan, found) = (Vec::new(), Vec::new(), Found::default());
        let state = match (mode, &desired.server) {
            (Mode::Rotate, None) => State::Stopped(Stopped::NoSip),
            (Mode::Look | Mode::Apply | Mode::Rotate, _) => {
                State::Reading { after: None, password: mode == Mode::Rotate }
            }
        };
        Self { desired, app, mode, state, drifts, plan, found, before: None, reset: false }
    }

    /// What is to be asked next; nothing at the end.
    pub fn poll(&self) -> Option<Ask> {
        match &self.state {
            State::Reading { password, .. } => Some(Ask::Read { password: *password }),
            State::Writing { part } => Some(self.write(*part)),
            State::Done(_) | State::Stopped(_) => None,
        }
    }

    /// Meta's reply to a [`Ask::Read`].
    pub fn handle_settings(&mut self, reply: &Value) {
        let State::Reading { after, password } = self.state else { return };
        let found = match Found::read(reply) {
            Ok(found) => found,
            Err(why) => return self.state = State::Stopped(why.into()),
        };
        self.found = found;
        match after {
            None => self.begin(password),
            Some(part) => {
                let kept = self.desired.drifts_of(part, &self.found, self.app.as_deref());
                match kept.into_iter().next() {
                    Some(drift) => self.state = State::Stopped(Stopped::NotKept(drift)),
                    None => self.go_on(Some(part)),
                }
            }
        }
    }

    /// Meta took an [`Ask::Write`].
    pub fn handle_written(&mut self) {
        let State::Writing { part } = self.state else { return };
        let made = self.write(part);
        self.plan.push(made);
        if part.is_none() {
            self.reset = true;
        }
        self.state = State::Reading { after: part, password: false };
    }

    /// How it ended, once [`poll`](Self::poll) says nothing.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn outcome(self) -> Result<Outcome, Stopped> {
        let Self { drifts, plan, found, state, .. } = self;
        match state {
            State::Done(password) => Ok(Outcome { drifts, plan, found, password }),
            State::Stopped(why) => Err(why),
            State::Reading { .. } | State::Writing { .. } => {
                Ok(Outcome { drifts, plan, found, password: None })
            }
        }
    }

    /// The first look, and every look with the password.
    fn begin(&mut self, password: bool) {
        let shown = self.password();
        match (self.mode, password, self.reset) {
            (Mode::Look, _, _) => {
                self.drifts = self.desired.drifts(&self.found, self.app.as_deref());
                let app = self.app.as_deref();
                let differs = |part: &Part| !self.desired.drifts_of(*part, &self.found, app).is_empty();
                self.plan =
                    Part::ALL.into_iter().filter(differs).map(|part| self.write(Some(part))).collect();
                self.state = State::Done(None);
            }
            // Read once more, at the end, for the password.
            (Mode::Apply, true, _) | (Mode::Rotate, true, true) => {
                self.state = match shown {
                    None => State::Stopped(Stopped::NoPassword),
                    Some(now) if self.before.as_ref() == Some(now.reveal()) => {
                        State::Stopped(Stopped::SamePassword)
                    }
                    Some(now) => State::Done(Some(now)),
                };
            }
            (Mode::Rotate, true, false) => {
                self.drifts = self.desired.drifts(&self.found, self.app.as_deref());
                self.before = shown.map(|password| password.reveal().clone());
                self.state = State::Writing { part: None };
            }
            // After the reset, or the first look before anything is written.
            (Mode::Apply | Mode::Rotate, false, reset) => {
                if !reset {
                    self.drifts = self.desired.drifts(&self.found, self.app.as_deref());
                }
                self.go_on(None);
            }
        }
    }

    /// The next part that differs; the password once none does.
    fn go_on(&mut self, done: Option<Part>) {
        let app = self.app.as_deref();
        let left = Part::ALL.into_iter().filter(|part| done.is_none_or(|done| *part > done));
        let next = left.into_iter().find(|part| !self.desired.drifts_of(*part, &self.found, app).is_empty());
        self.state = match next {
            Some(part) => State::Writing { part: Some(part) },
            None if self.desired.server.is_some() => State::Reading { after: None, password: true },
            None => State::Done(None),
        };
    }

    fn write(&self, part: Option<Part>) -> Ask {
        let (what, body) = match part {
            None => ("disable calling and take the SIP server away, so that a new password is made", reset()),
            Some(part @ Part::Server) if self.desired.server.is_some() => {
                ("enable calling with the SIP server", self.desired.body(part))
            }
            Some(part @ Part::Server) => ("enable calling without SIP", self.desired.body(part)),
            Some(part @ Part::Others) => ("callback permission, icon and hours", self.desired.body(part)),
            Some(part @ Part::Srtp) => ("how keys are exchanged, alone and last", self.desired.body(part)),
        };
        Ask::Write { what, body }
    }

    fn password(&self) -> Option<Secret<String>> {
        let wanted = self.desired.server.as_ref()?;
        let servers = self.found.servers_of(self.app.as_deref());
        let ours = servers.iter().find(|server| server.is(wanted)).or_else(|| servers.first())?;
        ours.password.clone()
    }
}

fn reset() -> Value {
    json!({"calling": {"status": "DISABLED", "sip": {"status": "DISABLED", "servers": []}}})
}

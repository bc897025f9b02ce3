use std::collections::VecDeque;
use std::time::Instant;

use super::{Action, Resend, next_of};
use crate::message::Message;
use crate::timers::{Timer, Timers};

/// Non-INVITE client transaction, RFC 3261 §17.1.2.
#[derive(Debug)]
pub(crate) struct ClientRequest {
    state: State,
    timers: Timers,
    reliable: bool,
    outputs: VecDeque<Action>,
}

impl ClientRequest {
    /// Starts the transaction: the request is the first output.
    pub(crate) fn new(request: Message, timers: Timers, reliable: bool, now: Instant) -> Self {
        Self {
            outputs: VecDeque::from([Action::Transmit(request.clone())]),
            state: State::Trying {
                request,
                resend: (!reliable).then(|| Resend::first(timers.t1, now)),
                give_up_at: now + timers.transaction_timeout(),
            },
            timers,
            reliable,
        }
    }

    /// Takes a response that matched this transaction.
    pub(crate) fn handle_response(&mut self, response: Message, now: Instant) {
        let status = response.status().unwrap_or(0);
        let next = match (&self.state, status) {
            (State::Trying { request, resend, give_up_at }, 100..=199) => {
                // From here the request is sent again every T2 (RFC 3261 §17.1.2.2).
                State::Proceeding {
                    request: request.clone(),
                    resend: resend.as_ref().map(|_| Resend::first(self.timers.t2, now)),
                    give_up_at: *give_up_at,
                }
            }
            (State::Trying { .. } | State::Proceeding { .. }, 200..=699) => {
                State::Completed { until: now + self.timers.linger(self.reliable) }
            }
            (State::Proceeding { .. }, 100..=199) => {
                self.outputs.push_back(Action::Response(response));
                return;
            }
            (
                State::Trying { .. } | State::Proceeding { .. } | State::Completed { .. } | State::Terminated,
                _,
            ) => return,
        };
        self.outputs.push_back(Action::Response(response));
        self.state = next;
    }

    /// The transport could not deliver the request (RFC 3261 §17.1.4).
    pub(crate) fn handle_failed(&mut self) {
        match self.state {
            State::Trying { .. } => {
                self.outputs.push_back(Action::Failed);
                self.state = State::Terminated;
            }
            State::Proceeding { .. } | State::Completed { .. } | State::Terminated => {}
        }
    }

    /// Fires every timer that is due at `now`.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match &mut self.state {
            State::Trying { give_up_at, .. } | State::Proceeding { give_up_at, .. } if *give_up_at <= now => {
                self.outputs.push_back(Action::TimedOut);
                self.state = State::Terminated;
            }
            State::Trying { request, resend: Some(resend), .. }
            | State::Proceeding { request, resend: Some(resend), .. }
                if resend.at <= now =>
            {
                resend.doubled(now, Some(self.timers.t2));
                self.outputs.push_back(Action::Retransmit(request.clone()));
            }
            State::Completed { until } if *until <= now => self.state = State::Terminated,
            State::Trying { .. } | State::Proceeding { .. } | State::Completed { .. } | State::Terminated => {
            }
        }
    }

    /// Takes the next thing the caller must do.
    pub(crate) fn poll_output(&mut self) -> Option<Action> {
        next_of(&mut self.outputs)
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is next due, and for which timer.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        match &self.state {
            State::Trying { resend, give_up_at, .. } | State::Proceeding { resend, give_up_at, .. } => {
                match resend.as_ref().filter(|resend| resend.at < *give_up_at) {
                    Some(resend) => Some((resend.at, Timer::E)),
                    None => Some((*give_up_at, Timer::F)),
                }
            }
            State::Completed { until } => Some((*until, Timer::K)),
            State::Terminated => None,
        }
    }

    /// Whether the transaction may be forgotten.
    pub(crate) const fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}

/// Each state owns exactly the timers that run in it and the messages they send.
#[derive(Debug)]
enum State {
    Trying { request: Message, resend: Option<Resend>, give_up_at: Instant },
    Proceeding { request: Message, resend: Option<Resend>, give_up_at: Instant },
    Completed { until: Instant },
    Terminated,
}

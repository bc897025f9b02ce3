use std::collections::VecDeque;
use std::time::Instant;

use super::{Action, Kept, Resend, next_of};
use crate::message::Message;
use crate::timers::{Timer, Timers};

/// INVITE server transaction, RFC 3261 §17.2.1 with the `Accepted` state of RFC 6026 §7.1.
#[derive(Debug)]
pub(crate) struct ServerInvite {
    state: State,
    timers: Timers,
    reliable: bool,
    outputs: VecDeque<Action>,
}

impl ServerInvite {
    /// Starts the transaction. The caller answers with 100 at once.
    pub(crate) fn new(timers: Timers, reliable: bool) -> Self {
        Self { state: State::Proceeding { last: None }, timers, reliable, outputs: VecDeque::new() }
    }

    /// Sends a response of the session. After a 2xx, only that 2xx is sent again.
    pub(crate) fn respond(&mut self, response: Message, now: Instant) {
        let status = response.status().unwrap_or(0);
        let next = match (&self.state, status) {
            (State::Proceeding { .. }, 100..=199) => State::Proceeding { last: Some(response.clone()) },
            (State::Proceeding { .. }, 200..=299) => {
                State::Accepted { until: now + self.timers.transaction_timeout() }
            }
            (State::Proceeding { .. }, 300..=699) => State::Completed {
                response: Kept::of(&response),
                resend: (!self.reliable).then(|| Resend::first(self.timers.t1, now)),
                give_up_at: now + self.timers.transaction_timeout(),
            },
            (State::Accepted { .. }, 200..=299) => {
                self.outputs.push_back(Action::Retransmit(response));
                return;
            }
            (
                State::Proceeding { .. }
                | State::Accepted { .. }
                | State::Completed { .. }
                | State::Confirmed { .. }
                | State::Terminated,
                _,
            ) => return,
        };
        self.outputs.push_back(Action::Transmit(response));
        self.state = next;
    }

    /// Takes the INVITE again: the last response answers it.
    pub(crate) fn handle_retransmission(&mut self) {
        match &self.state {
            State::Proceeding { last: Some(last) } => {
                self.outputs.push_back(Action::Retransmit(last.clone()));
            }
            State::Completed { response, .. } => {
                self.outputs.extend(response.message().map(Action::Retransmit));
            }
            // The session sends the 2xx again by its own timer (RFC 6026 §7.1).
            State::Proceeding { last: None }
            | State::Accepted { .. }
            | State::Confirmed { .. }
            | State::Terminated => {}
        }
    }

    /// Takes the ACK of a refusal.
    pub(crate) fn handle_ack(&mut self, now: Instant) {
        match self.state {
            State::Completed { .. } => {
                self.state = State::Confirmed { until: now + self.timers.linger(self.reliable) };
            }
            State::Proceeding { .. }
            | State::Accepted { .. }
            | State::Confirmed { .. }
            | State::Terminated => {}
        }
    }

    /// Fires every timer that is due at `now`.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match &mut self.state {
            State::Completed { give_up_at, .. } if *give_up_at <= now => {
                self.outputs.push_back(Action::TimedOut);
                self.state = State::Terminated;
            }
            State::Completed { response, resend: Some(resend), .. } if resend.at <= now => {
                resend.doubled(now, Some(self.timers.t2));
                self.outputs.extend(response.message().map(Action::Retransmit));
            }
            State::Accepted { until } | State::Confirmed { until } if *until <= now => {
                self.state = State::Terminated;
            }
            State::Proceeding { .. }
            | State::Accepted { .. }
            | State::Completed { .. }
            | State::Confirmed { .. }
            | State::Terminated => {}
        }
    }

    /// Takes the next thing the caller must do.
    pub(crate) fn poll_output(&mut self) -> Option<Action> {
        next_of(&mut self.outputs)
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is next due, and for which timer.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        match &self.state {
            State::Completed { resend: Some(r), give_up_at, .. } if r.at < *give_up_at => {
                Some((r.at, Timer::G))
            }
            State::Completed { give_up_at, .. } => Some((*give_up_at, Timer::H)),
            State::Accepted { until } => Some((*until, Timer::L)),
            State::Confirmed { until } => Some((*until, Timer::I)),
            State::Proceeding { .. } | State::Terminated => None,
        }
    }

    /// Whether the transaction may be forgotten.
    pub(crate) const fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}

/// Each state owns exactly the timers that run in it.
#[derive(Debug)]
enum State {
    Proceeding { last: Option<Message> },
    Accepted { until: Instant },
    Completed { response: Kept, resend: Option<Resend>, give_up_at: Instant },
    Confirmed { until: Instant },
    Terminated,
}

use std::collections::VecDeque;
use std::time::Instant;

use super::{Action, Kept, next_of};
use crate::message::Message;
use crate::timers::{Timer, Timers};

/// Non-INVITE server transaction, RFC 3261 §17.2.2.
#[derive(Debug)]
pub(crate) struct ServerRequest {
    state: State,
    timers: Timers,
    reliable: bool,
    outputs: VecDeque<Action>,
}

impl ServerRequest {
    /// Starts the transaction.
    pub(crate) fn new(timers: Timers, reliable: bool) -> Self {
        Self { state: State::Trying, timers, reliable, outputs: VecDeque::new() }
    }

    /// Sends a response.
    pub(crate) fn respond(&mut self, response: Message, now: Instant) {
        let status = response.status().unwrap_or(0);
        let next = match (&self.state, status) {
            (State::Trying | State::Proceeding { .. }, 100..=199) => {
                State::Proceeding { last: response.clone() }
            }
            (State::Trying | State::Proceeding { .. }, 200..=699) => {
                State::Completed { last: Kept::of(&response), until: now + self.timers.j(self.reliable) }
            }
            (State::Trying | State::Proceeding { .. } | State::Completed { .. } | State::Terminated, _) => {
                return;
            }
        };
        self.outputs.push_back(Action::Transmit(response));
        self.state = next;
    }

    /// Takes the request again: the last response answers it.
    pub(crate) fn handle_retransmission(&mut self) {
        match &self.state {
            State::Proceeding { last } => self.outputs.push_back(Action::Retransmit(last.clone())),
            State::Completed { last, .. } => {
                self.outputs.extend(last.message().map(Action::Retransmit));
            }
            State::Trying | State::Terminated => {}
        }
    }

    /// Fires every timer that is due at `now`.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Completed { until, .. } if until <= now => self.state = State::Terminated,
            State::Trying | State::Proceeding { .. } | State::Completed { .. } | State::Terminated => {}
        }
    }

    /// Takes the next thing the caller must do.
    pub(crate) fn poll_output(&mut self) -> Option<Action> {
        next_of(&mut self.outputs)
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is next due, and for which timer.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        match self.state {
            State::Completed { until, .. } => Some((until, Timer::J)),
            State::Trying | State::Proceeding { .. } | State::Terminated => None,
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
    Trying,
    Proceeding { last: Message },
    Completed { last: Kept, until: Instant },
    Terminated,
}

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Action, Kept, Resend, next_of};
use crate::message::Message;
use crate::timers::{Timer, Timers};

/// INVITE client transaction, RFC 3261 §17.1.1 with the `Accepted` state of RFC 6026 §7.2.
///
/// It adds Timer C to `Proceeding`: a called party that rings for ever is reported overdue once, so that the
/// session cancels it, and given up 64*T1 later (RFC 3261 §9.1).
#[derive(Debug)]
pub(crate) struct ClientInvite {
    state: State,
    timers: Timers,
    ringing: Duration,
    reliable: bool,
    outputs: VecDeque<Action>,
}

impl ClientInvite {
    /// Starts the transaction: the request is the first output. `ringing` is Timer C.
    pub(crate) fn new(
        request: Message,
        timers: Timers,
        ringing: Duration,
        reliable: bool,
        now: Instant,
    ) -> Self {
        Self {
            outputs: VecDeque::from([Action::Transmit(request.clone())]),
            state: State::Calling {
                request,
                resend: (!reliable).then(|| Resend::first(timers.t1, now)),
                give_up_at: now + timers.transaction_timeout(),
            },
            timers,
            ringing,
            reliable,
        }
    }

    /// Takes a response that matched this transaction.
    pub(crate) fn handle_response(&mut self, response: Message, now: Instant) {
        let status = response.status().unwrap_or(0);
        let next = match (&self.state, status) {
            (State::Calling { request, .. }, 100..=199) => {
                State::Proceeding { request: request.clone(), until: now + self.ringing, overdue: false }
            }
            // A 100 does not restart Timer C, the others do (RFC 3261 §16.7 step 2).
            (State::Proceeding { request, overdue: false, .. }, 101..=199) => {
                State::Proceeding { request: request.clone(), until: now + self.ringing, overdue: false }
            }
            (State::Proceeding { .. }, 100..=199) => {
                self.outputs.push_back(Action::Response(response));
                return;
            }
            (State::Calling { .. } | State::Proceeding { .. }, 200..=299) => {
                State::Accepted { until: now + self.timers.transaction_timeout() }
            }
            (State::Calling { request, .. } | State::Proceeding { request, .. }, 300..=699) => {
                let ack = super::ack_of_refusal(request, &response);
                let kept = ack.as_ref().map(Kept::of);
                self.outputs.extend(ack.map(Action::Transmit));
                State::Completed { ack: kept, until: now + self.timers.d(self.reliable) }
            }
            // A retransmitted 2xx, or one of another branch, belongs to the session, which owns its ACK.
            (State::Accepted { .. }, 200..=299) => {
                self.outputs.push_back(Action::Response(response));
                return;
            }
            (State::Completed { ack, .. }, 300..=699) => {
                self.outputs.extend(ack.as_ref().and_then(Kept::message).map(Action::Transmit));
                return;
            }
            // A status outside 100..=699 is no response; a late one finds nothing to do.
            (
                State::Calling { .. }
                | State::Proceeding { .. }
                | State::Accepted { .. }
                | State::Completed { .. }
                | State::Terminated,
                _,
            ) => return,
        };
        self.outputs.push_back(Action::Response(response));
        self.state = next;
    }

    /// The session sent CANCEL: a peer that never answers either is given up after 64*T1 (RFC 3261 §9.1).
    pub(crate) fn handle_cancelled(&mut self, now: Instant) {
        match &mut self.state {
            State::Proceeding { until, overdue, .. } if !*overdue => {
                *overdue = true;
                *until = now + self.timers.transaction_timeout();
            }
            State::Calling { .. }
            | State::Proceeding { .. }
            | State::Accepted { .. }
            | State::Completed { .. }
            | State::Terminated => {}
        }
    }

    /// The transport could not deliver the request (RFC 3261 §17.1.4).
    pub(crate) fn handle_failed(&mut self) {
        match self.state {
            State::Calling { .. } => {
                self.outputs.push_back(Action::Failed);
                self.state = State::Terminated;
            }
            // The peer has the request: it may still answer on another connection. An ACK that failed will be
            // asked for again.
            State::Proceeding { .. }
            | State::Accepted { .. }
            | State::Completed { .. }
            | State::Terminated => {}
        }
    }

    /// Fires every timer that is due at `now`.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match &mut self.state {
            State::Calling { give_up_at, .. } if *give_up_at <= now => {
                self.outputs.push_back(Action::TimedOut);
                self.state = State::Terminated;
            }
            State::Calling { request, resend: Some(resend), .. } if resend.at <= now => {
                resend.doubled(now, None);
                self.outputs.push_back(Action::Retransmit(request.clone()));
            }
            State::Proceeding { until, overdue: overdue @ false, .. } if *until <= now => {
                *overdue = true;
                *until = now + self.timers.transaction_timeout();
                self.outputs.push_back(Action::Overdue);
            }
            State::Proceeding { until, overdue: true, .. } if *until <= now => {
                self.outputs.push_back(Action::TimedOut);
                self.state = State::Terminated;
            }
            State::Accepted { until } | State::Completed { until, .. } if *until <= now => {
                self.state = State::Terminated;
            }
            State::Calling { .. }
            | State::Proceeding { .. }
            | State::Accepted { .. }
            | State::Completed { .. }
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
            State::Calling { resend: Some(r), give_up_at, .. } if r.at < *give_up_at => {
                Some((r.at, Timer::A))
            }
            State::Calling { give_up_at, .. } => Some((*give_up_at, Timer::B)),
            State::Proceeding { until, .. } => Some((*until, Timer::C)),
            State::Accepted { until } => Some((*until, Timer::M)),
            State::Completed { until, .. } => Some((*until, Timer::D)),
            State::Terminated => None,
        }
    }

    /// Whether the transaction may be forgotten.
    pub(crate) const fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}

/// Each state owns exactly the timers that run in it and the messages they send, so leaving it drops both.
#[derive(Debug)]
enum State {
    Calling { request: Message, resend: Option<Resend>, give_up_at: Instant },
    Proceeding { request: Message, until: Instant, overdue: bool },
    Accepted { until: Instant },
    Completed { ack: Option<Kept>, until: Instant },
    Terminated,
}

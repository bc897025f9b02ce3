//! The endpoint: everything SIP of one bridge, as one core.

mod command;
mod config;
mod event;

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use setu_model::{Entropy, Now};

use crate::access::Access;
use crate::flow::{Arrival, FlowId, SendToken};
use crate::registrar::Binding;
use crate::timers::Timer;
use crate::{Message, ParseError};

pub use command::{Credentials, InviteRequest, Party};
pub use config::{EndpointConfig, Limits, SideConfig};
pub use event::{CommandError, Counters, EarlyId, EndHow, Event, Output, ReofferKind, SessionId, Stranger};

/// Everything SIP of one bridge: transactions, dialogs, sessions, registrar and the guard at the door.
///
/// Call a `handle_*` method or a command, then drain [`poll_output`](Self::poll_output), then wait for the next
/// input or for [`poll_timeout`](Self::poll_timeout).
pub struct Endpoint {
    config: EndpointConfig,
    entropy: Box<dyn Entropy>,
}

impl Endpoint {
    /// Makes an endpoint without calls.
    pub fn new(config: EndpointConfig, entropy: Box<dyn Entropy>) -> Self {
        Self { config, entropy }
    }

    /// Takes a message from the transports.
    pub fn handle_received(&mut self, arrival: &Arrival, message: Message, now: Now) {
        let _ = (arrival, message, now);
    }

    /// Takes bytes that are no message. A broken request is answered, unless its sender could use the answer.
    pub fn handle_malformed(&mut self, arrival: &Arrival, error: &ParseError, now: Now) {
        let _ = (arrival, error, now);
    }

    /// A transmission to a hop went out on this flow.
    pub fn handle_bound(&mut self, token: SendToken, flow: FlowId, remote: SocketAddr, now: Now) {
        let _ = (token, flow, remote, now);
    }

    /// A transmission could not be sent: no route, no connection, no proof of the name.
    pub fn handle_send_failed(&mut self, token: SendToken, now: Now) {
        let _ = (token, now);
    }

    /// A flow is gone.
    pub fn handle_flow_closed(&mut self, flow: FlowId, now: Now) {
        let _ = (flow, now);
    }

    /// Fires every timer that is due at `now`.
    pub fn handle_timeout(&mut self, now: Now) {
        let _ = now;
    }

    /// Takes the next thing the caller must do.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is next due, and for which timer.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        None
    }

    /// Begins a call.
    ///
    /// # Errors
    ///
    /// A table is full, or the INVITE cannot be written.
    pub fn invite(&mut self, request: InviteRequest, now: Now) -> Result<SessionId, CommandError> {
        let _ = (request, now, &self.config, &mut self.entropy);
        Err(CommandError::Full)
    }

    /// Sends a provisional response (101 to 199) to an incoming call, with early media if `sdp` is given.
    ///
    /// # Errors
    ///
    /// The session is over or answered.
    pub fn ring(
        &mut self,
        session: SessionId,
        status: u16,
        sdp: Option<Bytes>,
        now: Now,
    ) -> Result<(), CommandError> {
        let _ = (session, status, sdp, now);
        Err(CommandError::UnknownSession)
    }

    /// Answers an incoming call with 200 and further headers. [`Event::Acked`] follows.
    ///
    /// # Errors
    ///
    /// The session is over or answered.
    pub fn answer(
        &mut self,
        session: SessionId,
        sdp: Bytes,
        headers: &[(String, String)],
        now: Now,
    ) -> Result<(), CommandError> {
        let _ = (session, sdp, headers, now);
        Err(CommandError::UnknownSession)
    }

    /// Refuses an incoming call with a status of 300 to 699. [`Event::Ended`] follows.
    ///
    /// # Errors
    ///
    /// The session is over or answered.
    pub fn refuse(
        &mut self,
        session: SessionId,
        status: u16,
        reason: Option<&str>,
        headers: &[(String, String)],
        now: Now,
    ) -> Result<(), CommandError> {
        let _ = (session, status, reason, headers, now);
        Err(CommandError::UnknownSession)
    }

    /// Ends a session by what its state demands: CANCEL, BYE, or 480. Its last event follows.
    ///
    /// # Errors
    ///
    /// The session is over.
    pub fn hang_up(
        &mut self,
        session: SessionId,
        headers: &[(String, String)],
        now: Now,
    ) -> Result<(), CommandError> {
        let _ = (session, headers, now);
        Err(CommandError::UnknownSession)
    }

    /// Offers the peer a change of an established session by re-INVITE. Never toward Meta.
    ///
    /// # Errors
    ///
    /// The session is over, toward Meta, or busy with another offer.
    pub fn reoffer(&mut self, session: SessionId, sdp: Bytes, now: Now) -> Result<(), CommandError> {
        let _ = (session, sdp, now);
        Err(CommandError::UnknownSession)
    }

    /// Accepts the peer's offer of [`Event::Reoffered`]; `sdp` is our answer, or our offer if it sent none.
    ///
    /// # Errors
    ///
    /// The session is over or there is no offer.
    pub fn reoffer_accept(&mut self, session: SessionId, sdp: Bytes, now: Now) -> Result<(), CommandError> {
        let _ = (session, sdp, now);
        Err(CommandError::UnknownSession)
    }

    /// Refuses the peer's offer of [`Event::Reoffered`]; the session goes on as before.
    ///
    /// # Errors
    ///
    /// The session is over or there is no offer.
    pub fn reoffer_reject(&mut self, session: SessionId, status: u16, now: Now) -> Result<(), CommandError> {
        let _ = (session, status, now);
        Err(CommandError::UnknownSession)
    }

    /// Replaces who is known. Live calls go on; bindings of accounts that are gone vanish.
    pub fn reload_access(&mut self, access: Access, now: Now) {
        let _ = (access, now);
    }

    /// Returns the contacts of an account, the preferred first.
    pub fn bindings(&self, account: &str) -> Vec<Binding> {
        let _ = account;
        Vec::new()
    }

    /// Whether a probed trunk answers; none before its first probe ended.
    pub fn trunk_up(&self, name: &str) -> Option<bool> {
        let _ = name;
        None
    }

    /// Returns what happened since the endpoint began.
    pub fn counters(&self) -> Counters {
        Counters::default()
    }

    /// Returns how much is in the tables.
    pub fn sizes(&self) -> Sizes {
        Sizes::default()
    }
}

/// How much an endpoint holds, for metrics and to see that nothing leaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Sessions, those included that only wait for stray messages.
    pub sessions: usize,
    /// Transactions.
    pub transactions: usize,
    /// Contacts of all accounts.
    pub bindings: usize,
    /// Source addresses whose rate is remembered.
    pub strangers: usize,
}

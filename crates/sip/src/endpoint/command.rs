use bytes::Bytes;
use setu_model::{Now, Side};

use super::{CommandError, Endpoint, SessionId};
use crate::digest::Credentials;
use crate::flow::Target;
use crate::session::{self, Session};
use crate::transaction::Layer;

/// One party of a call we begin: the content of From or To.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// The display name.
    pub display: Option<String>,
    /// The URI, without angle brackets.
    pub uri: String,
}

/// A call to begin.
#[derive(Debug, Clone)]
pub struct InviteRequest {
    /// The face of the bridge to call from.
    pub side: Side,
    /// Where the INVITE goes: a route's hop, or [`Binding::target`](crate::Binding::target). A bare
    /// [`Target::Flow`] is refused, as it does not tell which transport to write into Via.
    pub target: Target,
    /// The Request-URI as it shall stand on the wire.
    pub request_uri: String,
    /// The caller.
    pub from: Party,
    /// The called party.
    pub to: Party,
    /// The user part of our Contact.
    pub contact_user: Option<String>,
    /// Further headers, in order.
    pub headers: Vec<(String, String)>,
    /// Our offer (`application/sdp`).
    pub offer: Bytes,
    /// What answers a 401 or 407 of the called peer; none lets the challenge end the call.
    pub credentials: Option<Credentials>,
    /// Whether to offer a session timer (RFC 4028). Ignored toward Meta, which supports no refresh.
    pub session_timer: bool,
}

impl Endpoint {
    /// Begins a call.
    ///
    /// # Errors
    ///
    /// A table is full, the INVITE cannot be written, or its target is a bare flow.
    pub fn invite(&mut self, request: InviteRequest, now: Now) -> Result<SessionId, CommandError> {
        if self.is_full() {
            self.layer.counters.overloaded += 1;
            return Err(CommandError::Full);
        }
        let id = self.next_session();
        let session = session::start(&mut self.layer, id, request, now)?;
        self.add_session(id, session);
        self.drain(now);
        Ok(id)
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
        self.command(session, now, |session, layer| session.ring(layer, status, sdp, now))
    }

    /// Answers an incoming call with 200 and further headers. [`Event::Acked`](super::Event::Acked) follows.
    ///
    /// `sdp` is our answer, or our offer where the INVITE had none.
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
        self.command(session, now, |session, layer| session.answer(layer, sdp, headers, now))
    }

    /// Refuses an incoming call with a status of 300 to 699. [`Event::Ended`](super::Event::Ended) follows.
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
        self.command(session, now, |session, layer| session.refuse(layer, status, reason, headers, now))
    }

    /// Ends a session by what its state demands: CANCEL, BYE with `headers`, or 480. Its last event follows:
    /// [`Event::Refused`](super::Event::Refused) for a call of ours that nobody answered, else
    /// [`Event::Ended`](super::Event::Ended).
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
        let headers = headers.to_vec();
        self.command(session, now, |session, layer| session.hang_up(layer, headers, now))
    }

    /// Offers the peer a change of an established session by re-INVITE. Never toward Meta.
    ///
    /// # Errors
    ///
    /// The session is over, toward Meta, or busy with another offer.
    pub fn reoffer(&mut self, session: SessionId, sdp: Bytes, now: Now) -> Result<(), CommandError> {
        self.command(session, now, |session, layer| session.reoffer(layer, sdp, now))
    }

    /// Accepts the peer's offer of [`Event::Reoffered`](super::Event::Reoffered); `sdp` is our answer, or our offer
    /// if it sent none.
    ///
    /// # Errors
    ///
    /// The session is over or there is no offer.
    pub fn reoffer_accept(&mut self, session: SessionId, sdp: Bytes, now: Now) -> Result<(), CommandError> {
        self.command(session, now, |session, layer| session.reoffer_accept(layer, sdp, now))
    }

    /// Refuses the peer's offer of [`Event::Reoffered`](super::Event::Reoffered); the session goes on as before.
    ///
    /// # Errors
    ///
    /// The session is over or there is no offer.
    pub fn reoffer_reject(&mut self, session: SessionId, status: u16, now: Now) -> Result<(), CommandError> {
        self.command(session, now, |session, layer| session.reoffer_reject(layer, status, now))
    }

    /// Sends INFO within an answered call, after those before it were answered. Never toward Meta. What becomes of it
    /// is not told: it says nothing of the call.
    ///
    /// # Errors
    ///
    /// The session is not answered, over, or toward Meta, or too many wait.
    pub fn info(
        &mut self,
        session: SessionId,
        content_type: &str,
        body: Bytes,
        now: Now,
    ) -> Result<(), CommandError> {
        self.command(session, now, |session, layer| session.info(layer, content_type, body, now))
    }

    fn command(
        &mut self,
        session: SessionId,
        now: Now,
        act: impl FnOnce(&mut Session, &mut Layer) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let result = self.with_session(session, act).unwrap_or(Err(CommandError::UnknownSession));
        self.drain(now);
        result
    }
}

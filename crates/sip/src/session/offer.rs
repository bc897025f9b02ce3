//! Offers within a session: re-INVITE and UPDATE both ways, and their glare (RFC 3261 section 14, RFC 3311).

use std::time::{Duration, Instant};

use bytes::Bytes;
use setu_model::{Now, Side};

use super::refresh::{self, SessionTimer};
use super::{Answer, Origin, SDP, Session, State, capabilities};
use crate::endpoint::{CommandError, EndHow, Event, ReofferKind};
use crate::flow::Arrival;
use crate::message::{Message, Method};
use crate::transaction::{Layer, TxId};

/// Our own re-INVITE or UPDATE.
#[derive(Debug)]
pub(super) struct Ours {
    purpose: Purpose,
    stage: Stage,
}

/// What our request is for.
#[derive(Debug, Clone)]
enum Purpose {
    /// The application changes the session.
    Change(Bytes),
    /// The session timer asks for a sign of life.
    Refresh(SessionTimer),
}

#[derive(Debug)]
enum Stage {
    /// It has no final response.
    Sent { tx: TxId, method: Method, cseq: u32 },
    /// It met an offer of the peer (491) and is sent again at this time.
    Waiting(Instant),
}

/// The peer's re-INVITE or UPDATE.
#[derive(Debug)]
pub(super) struct Theirs {
    pub(super) tx: TxId,
    kind: ReofferKind,
    cseq: u32,
    timer: Option<SessionTimer>,
    request: Message,
    arrival: Arrival,
}

impl Ours {
    pub(super) fn is(&self, tx: TxId) -> bool {
        matches!(self.stage, Stage::Sent { tx: ours, .. } if ours == tx)
    }

    pub(super) const fn retry_at(&self) -> Option<Instant> {
        match self.stage {
            Stage::Waiting(at) => Some(at),
            Stage::Sent { .. } => None,
        }
    }

    const fn is_sent(&self) -> bool {
        matches!(self.stage, Stage::Sent { .. })
    }
}

impl Session {
    // ---- the peer's offers

    /// Takes a re-INVITE or UPDATE.
    pub(super) fn handle_offer(
        &mut self,
        layer: &mut Layer,
        tx: TxId,
        arrival: &Arrival,
        request: &Message,
        now: Now,
    ) {
        let State::Confirmed(confirmed) = &mut self.state else { return };
        let invite = request.method() == Some(Method::Invite);
        let Ok(offer) = request.session_description() else {
            self.respond_with(layer, tx, 415, now, capabilities);
            return;
        };
        let crossing = confirmed.awaits_ack() || confirmed.ours.as_ref().is_some_and(Ours::is_sent);
        if crossing && (invite || offer.is_some()) {
            self.respond(layer, tx, 491, now);
            return;
        }
        if confirmed.theirs.is_some() && (invite || offer.is_some()) {
            let wait = (layer.entropy.next_u32() % 10).to_string();
            self.respond_with(layer, tx, 500, now, |reply| reply.header("Retry-After", wait));
            return;
        }
        if refresh::is_too_brief(request, self.side, &layer.config.limits) {
            let min = layer.config.limits.min_session_expires_s.to_string();
            self.respond_with(layer, tx, 422, now, |reply| reply.header("Min-SE", min));
            return;
        }
        if invite {
            self.respond(layer, tx, 100, now);
        }
        let State::Confirmed(confirmed) = &mut self.state else { return };
        let kind = if invite { ReofferKind::Reinvite } else { ReofferKind::Update };
        let theirs = Theirs {
            tx,
            kind,
            cseq: request.cseq().map_or(0, |cseq| cseq.number),
            timer: refresh::granted(request, self.side, &layer.config.limits),
            request: request.clone(),
            arrival: arrival.clone(),
        };
        if offer.is_none() && !invite {
            // A mere sign of life.
            self.accept_offer(layer, theirs, None, now);
            return;
        }
        confirmed.theirs = Some(theirs);
        layer.tell(Event::Reoffered { session: self.id, offer, kind });
    }

    /// The application accepts the peer's offer.
    pub(crate) fn reoffer_accept(
        &mut self,
        layer: &mut Layer,
        sdp: Bytes,
        now: Now,
    ) -> Result<(), CommandError> {
        let theirs = self.take_theirs()?;
        self.accept_offer(layer, theirs, Some(sdp), now);
        Ok(())
    }

    /// The application refuses the peer's offer.
    pub(crate) fn reoffer_reject(
        &mut self,
        layer: &mut Layer,
        status: u16,
        now: Now,
    ) -> Result<(), CommandError> {
        if !(300..=699).contains(&status) {
            return Err(CommandError::WrongState);
        }
        let theirs = self.take_theirs()?;
        self.respond(layer, theirs.tx, status, now);
        Ok(())
    }

    fn take_theirs(&mut self) -> Result<Theirs, CommandError> {
        match &mut self.state {
            State::Confirmed(confirmed) => confirmed.theirs.take().ok_or(CommandError::WrongState),
            State::Over(_) | State::Leaving(_) => Err(CommandError::UnknownSession),
            State::Calling(_) | State::Incoming(_) => Err(CommandError::WrongState),
        }
    }

    fn accept_offer(&mut self, layer: &mut Layer, theirs: Theirs, sdp: Option<Bytes>, now: Now) {
        let Theirs { tx, kind, cseq, timer, request, arrival } = theirs;
        let side = self.side;
        let State::Confirmed(confirmed) = &mut self.state else { return };
        confirmed.dialog.refresh(&request, &arrival);
        let contact = confirmed.dialog.local_contact.clone();
        let response = layer.compose(tx, 200, None, &self.local_tag, |reply| {
            let reply = reply.header("Contact", contact).header("Allow", crate::access::allowed(side));
            let reply = refresh::grant(reply, timer.as_ref(), side);
            match &sdp {
                Some(sdp) => reply.body(SDP, sdp.clone()),
                None => reply,
            }
        });
        let Some(response) = response else { return };
        layer.respond(tx, response.clone(), now.mono);
        if timer.is_some() {
            confirmed.set_timer(timer, now.mono);
        }
        if let Some(sdp) = sdp {
            confirmed.local_sdp = sdp;
        }
        if kind == ReofferKind::Reinvite {
            confirmed.await_ack(tx, response, cseq, layer, now.mono);
        }
    }

    // ---- our offers

    /// The application changes the session.
    pub(crate) fn reoffer(&mut self, layer: &mut Layer, sdp: Bytes, now: Now) -> Result<(), CommandError> {
        if self.side == Side::Meta {
            return Err(CommandError::NotTowardMeta);
        }
        let State::Confirmed(confirmed) = &mut self.state else { return Err(self.wrong_state()) };
        if confirmed.ours.is_some() || confirmed.theirs.is_some() || confirmed.awaits_ack() {
            return Err(CommandError::WrongState);
        }
        self.send_offer(layer, Purpose::Change(sdp), now)
    }

    /// Sends the refresh of the session timer.
    pub(super) fn send_refresh(&mut self, layer: &mut Layer, timer: SessionTimer, now: Now) {
        let State::Confirmed(confirmed) = &self.state else { return };
        // An offer under way is a refresh of its own.
        if confirmed.ours.is_none() && confirmed.theirs.is_none() && !confirmed.awaits_ack() {
            // The timer that gives up runs; what cannot be sent now is left to it.
            let _ = self.send_offer(layer, Purpose::Refresh(timer), now);
        }
    }

    fn send_offer(&mut self, layer: &mut Layer, purpose: Purpose, now: Now) -> Result<(), CommandError> {
        let State::Confirmed(confirmed) = &mut self.state else { return Err(CommandError::WrongState) };
        let cseq = confirmed.dialog.next_cseq();
        let dialog = confirmed.dialog.clone();
        let method = match &purpose {
            Purpose::Refresh(_) if confirmed.takes_update => Method::Update,
            Purpose::Refresh(_) | Purpose::Change(_) => Method::Invite,
        };
        let sdp = match &purpose {
            Purpose::Change(sdp) => Some(sdp.clone()),
            Purpose::Refresh(_) if method == Method::Update => None,
            Purpose::Refresh(_) => Some(confirmed.local_sdp.clone()),
        };
        let mut request = dialog
            .request(method.clone(), cseq)
            .header("Contact", &dialog.local_contact)
            .header("Allow", crate::access::allowed(self.side));
        let timer = match &purpose {
            Purpose::Refresh(timer) => Some(*timer),
            Purpose::Change(_) => confirmed.timer(),
        };
        if let Some(timer) = timer {
            request = refresh::renew(request, &timer);
        }
        if let Some((name, value)) = self.auth.header_of(method.clone()) {
            request = request.header(name, value);
        }
        if let Some(sdp) = sdp {
            request = request.body(SDP, sdp);
        }
        let tx = self.send(layer, &dialog, request, now)?;
        if let State::Confirmed(confirmed) = &mut self.state {
            confirmed.ours = Some(Ours { purpose, stage: Stage::Sent { tx, method, cseq } });
        }
        Ok(())
    }

    /// Takes a response to our re-INVITE or UPDATE.
    pub(super) fn handle_offer_answer(&mut self, layer: &mut Layer, answer: &Answer, now: Now) {
        let status = answer.message.status().unwrap_or(0);
        if status < 200 {
            return;
        }
        let State::Confirmed(confirmed) = &mut self.state else { return };
        let Some(Ours { purpose, stage: Stage::Sent { method, cseq, .. } }) = confirmed.ours.take() else {
            return;
        };
        match status {
            200..=299 => {
                confirmed.dialog.refresh(&answer.message, &answer.arrival);
                if let Purpose::Change(sdp) = &purpose {
                    confirmed.local_sdp = sdp.clone();
                }
                if let Some(timer) = refresh::agreed(&answer.message) {
                    confirmed.set_timer(Some(timer), now.mono);
                } else if let Purpose::Refresh(timer) = purpose {
                    confirmed.set_timer(Some(timer), now.mono);
                }
                let dialog = confirmed.dialog.clone();
                if method == Method::Invite {
                    self.send_ack(layer, &dialog, cseq);
                }
                if matches!(purpose, Purpose::Change(_)) {
                    layer.tell(Event::Reanswered { session: self.id, message: answer.message.clone() });
                }
            }
            // RFC 3261 section 14.1: the owner of the Call-ID waits longer, so that the two do not meet again.
            491 => {
                let wait_ms = match self.origin {
                    Origin::Ours => 2_100 + layer.entropy.next_u32() % 190 * 10,
                    Origin::Peer => layer.entropy.next_u32() % 200 * 10,
                };
                let at = now.mono + Duration::from_millis(u64::from(wait_ms));
                confirmed.ours = Some(Ours { purpose, stage: Stage::Waiting(at) });
            }
            // The peer has lost the dialog (RFC 3261 section 12.2.1.2).
            481 | 408 => self.break_off(layer, EndHow::Lost { status }, now),
            401 | 407 => {
                let uri = confirmed.dialog.remote_target.clone();
                if !self.auth.take_challenge(layer, answer, &method, &uri, self.side)
                    || self.send_offer(layer, purpose.clone(), now).is_err()
                {
                    self.tell_refused(layer, &purpose, status);
                }
            }
            _ => self.tell_refused(layer, &purpose, status),
        }
    }

    /// Our re-INVITE or UPDATE got no answer at all: the peer is gone (RFC 3261 section 12.2.1.2).
    pub(super) fn handle_offer_lost(&mut self, layer: &mut Layer, status: u16, now: Now) {
        self.break_off(layer, EndHow::Lost { status }, now);
    }

    /// Sends an offer again that met one of the peer.
    pub(super) fn retry_offer(&mut self, layer: &mut Layer, now: Now) {
        let State::Confirmed(confirmed) = &mut self.state else { return };
        if confirmed.ours.as_ref().and_then(Ours::retry_at).is_none_or(|at| at > now.mono) {
            return;
        }
        let Some(ours) = confirmed.ours.take() else { return };
        if confirmed.theirs.is_some() || confirmed.awaits_ack() {
            let at = now.mono + GLARE_AGAIN;
            confirmed.ours = Some(Ours { stage: Stage::Waiting(at), ..ours });
            return;
        }
        if self.send_offer(layer, ours.purpose.clone(), now).is_err() {
            self.tell_refused(layer, &ours.purpose, 503);
        }
    }

    fn tell_refused(&self, layer: &mut Layer, purpose: &Purpose, status: u16) {
        if matches!(purpose, Purpose::Change(_)) {
            layer.tell(Event::ReofferRefused { session: self.id, status });
        }
    }
}

/// How long our offer waits for the application's answer to the peer's.
const GLARE_AGAIN: Duration = Duration::from_millis(500);

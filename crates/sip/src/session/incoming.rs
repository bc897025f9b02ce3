use bytes::Bytes;
use setu_model::Now;

use super::{Auth, Confirmed, SDP, Session, State, refresh, with_headers};
use crate::dialog::Dialog;
use crate::endpoint::{CommandError, EndHow, SessionId};
use crate::flow::Arrival;
use crate::message::Message;
use crate::transaction::{Layer, Owner, TxId};
use crate::uri::Uri;

/// A call of the peer that we have not answered.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) dialog: Dialog,
    tx: TxId,
    invite: Message,
}

/// Begins to serve an INVITE of a peer that proved who it is: 100 goes out at once.
///
/// None if no dialog can come of it, for want of a Contact above all: 400 was sent.
pub(crate) fn take(
    layer: &mut Layer,
    id: SessionId,
    arrival: &Arrival,
    invite: &Message,
    now: Now,
) -> Option<Session> {
    let tx = layer.serve(arrival, invite, Owner::Session(id))?;
    let local_tag = layer.entropy.hex(TAG_BYTES);
    let uri: Option<Uri> = invite.request_uri().and_then(|uri| uri.parse().ok());
    let user = uri.and_then(|uri| uri.user);
    let contact = layer.contact(arrival.side, arrival.transport, user.as_deref());
    let Some(dialog) = Dialog::of_server(invite, arrival, &local_tag, contact) else {
        layer.reply(tx, 400, Some("Bad Contact or Record-Route"), &local_tag, now, |reply| reply);
        return None;
    };
    layer.reply(tx, 100, None, &local_tag, now, |reply| reply);
    let state = State::Incoming(Box::new(Incoming { dialog, tx, invite: invite.clone() }));
    let mut session = Session::new(id, arrival.side, local_tag, Auth::none(), state);
    session.open.insert(tx);
    Some(session)
}

impl Session {
    /// Sends a provisional response.
    pub(crate) fn ring(
        &mut self,
        layer: &mut Layer,
        status: u16,
        sdp: Option<Bytes>,
        now: Now,
    ) -> Result<(), CommandError> {
        let State::Incoming(incoming) = &self.state else { return Err(self.wrong_state()) };
        if !(101..=199).contains(&status) {
            return Err(CommandError::WrongState);
        }
        let contact = incoming.dialog.local_contact.clone();
        let sent = layer.reply(incoming.tx, status, None, &self.local_tag, now, |reply| {
            let reply = reply.header("Contact", contact).header("Allow", crate::access::allowed(self.side));
            match sdp {
                Some(sdp) => reply.body(SDP, sdp),
                None => reply,
            }
        });
        if sent { Ok(()) } else { Err(CommandError::Unbuildable) }
    }

    /// Answers the call.
    pub(crate) fn answer(
        &mut self,
        layer: &mut Layer,
        sdp: Bytes,
        headers: &[(String, String)],
        now: Now,
    ) -> Result<(), CommandError> {
        let State::Incoming(incoming) = &self.state else { return Err(self.wrong_state()) };
        let timer = refresh::granted(&incoming.invite, self.side, &layer.config.limits);
        let response = layer.compose(incoming.tx, 200, None, &self.local_tag, |reply| {
            let reply = reply
                .header("Contact", &incoming.dialog.local_contact)
                .header("Allow", crate::access::allowed(self.side));
            with_headers(refresh::grant(reply, timer.as_ref(), self.side), headers).body(SDP, sdp.clone())
        });
        let response = response.ok_or(CommandError::Unbuildable)?;
        let State::Incoming(incoming) = std::mem::replace(&mut self.state, State::Over(None)) else {
            return Err(CommandError::WrongState);
        };
        let Incoming { dialog, tx, invite } = *incoming;
        layer.respond(tx, response.clone(), now.mono);
        let cseq = dialog.remote_cseq.unwrap_or(0);
        let mut confirmed = Confirmed::new(dialog, sdp, &invite);
        confirmed.set_timer(timer, now.mono);
        confirmed.await_ack(tx, response, cseq, layer, now.mono);
        self.state = State::Confirmed(Box::new(confirmed));
        Ok(())
    }

    /// Refuses the call.
    pub(crate) fn refuse(
        &mut self,
        layer: &mut Layer,
        status: u16,
        reason: Option<&str>,
        headers: &[(String, String)],
        now: Now,
    ) -> Result<(), CommandError> {
        let State::Incoming(incoming) = &self.state else { return Err(self.wrong_state()) };
        if !(300..=699).contains(&status) {
            return Err(CommandError::WrongState);
        }
        let tx = incoming.tx;
        let sent =
            layer.reply(tx, status, reason, &self.local_tag, now, |reply| with_headers(reply, headers));
        if !sent {
            layer.reply(tx, status, None, &self.local_tag, now, |reply| reply);
        }
        self.end(layer, EndHow::Local);
        Ok(())
    }

    /// The caller gives up: its INVITE gets 487, if it is not answered already (RFC 3261 section 9.2).
    pub(crate) fn handle_cancel(&mut self, layer: &mut Layer, cancel: &Message, now: Now) {
        let State::Incoming(incoming) = &self.state else { return };
        let tx = incoming.tx;
        self.respond(layer, tx, 487, now);
        self.end(layer, EndHow::Cancelled { message: cancel.clone() });
    }

    /// The caller hangs up before our answer, which RFC 3261 section 15 allows it.
    pub(super) fn handle_early_bye(&mut self, layer: &mut Layer, bye: &Message, now: Now) {
        let State::Incoming(incoming) = &self.state else { return };
        let tx = incoming.tx;
        self.respond(layer, tx, 487, now);
        self.end(layer, EndHow::Bye { message: bye.clone() });
    }

    pub(super) fn wrong_state(&self) -> CommandError {
        if self.is_live() { CommandError::WrongState } else { CommandError::UnknownSession }
    }
}

/// Random bytes of a tag: RFC 3261 section 19.3 asks for 32 bits; 96 cannot be guessed.
pub(super) const TAG_BYTES: usize = 12;

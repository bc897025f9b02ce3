use std::time::Instant;

use bytes::Bytes;
use setu_model::Now;

use super::info::Infos;
use super::offer::{Ours, Theirs};
use super::refresh::{Refresher, SessionTimer};
use super::{Headers, Session, State};
use crate::dialog::Dialog;
use crate::endpoint::{EndHow, Event};
use crate::flow::Arrival;
use crate::message::{Message, Method};
use crate::timers::Timer;
use crate::transaction::{Layer, Resend, TxId};

/// An answered call.
#[derive(Debug)]
pub(super) struct Confirmed {
    pub(super) dialog: Dialog,
    /// What we offered or answered last: a refresh repeats it.
    pub(super) local_sdp: Bytes,
    /// Whether the peer takes UPDATE.
    pub(super) takes_update: bool,
    /// Our 2xx that waits for its ACK.
    unacked: Option<Unacked>,
    /// Our own re-INVITE or UPDATE.
    pub(super) ours: Option<Ours>,
    /// The peer's re-INVITE or UPDATE, which the application has not answered.
    pub(super) theirs: Option<Theirs>,
    /// Our own INFO requests.
    pub(super) infos: Infos,
    timer: Option<(SessionTimer, Instant)>,
    /// The application hung up before the ACK: BYE waits for it (RFC 3261 section 15).
    leaving: Option<Headers>,
}

/// A 2xx of ours until its ACK (RFC 3261 section 13.3.1.4).
#[derive(Debug)]
struct Unacked {
    tx: TxId,
    response: Message,
    cseq: u32,
    resend: Resend,
    give_up_at: Instant,
}

impl Confirmed {
    /// `told` is the peer's INVITE or 2xx, which says what the peer can do.
    pub(super) fn new(dialog: Dialog, local_sdp: Bytes, told: &Message) -> Self {
        Self {
            dialog,
            local_sdp,
            takes_update: told.list("Allow").iter().any(|method| method == Method::Update.as_str()),
            unacked: None,
            ours: None,
            theirs: None,
            infos: Infos::default(),
            timer: None,
            leaving: None,
        }
    }

    /// Starts, restarts or stops the session timer.
    pub(super) fn set_timer(&mut self, timer: Option<SessionTimer>, now: Instant) {
        self.timer = timer.map(|timer| (timer, timer.due(now)));
    }

    pub(super) fn timer(&self) -> Option<SessionTimer> {
        self.timer.map(|(timer, _)| timer)
    }

    /// Sends `response` again and again until it is acknowledged.
    pub(super) fn await_ack(&mut self, tx: TxId, response: Message, cseq: u32, layer: &Layer, now: Instant) {
        let timers = layer.config.timers;
        self.unacked = Some(Unacked {
            tx,
            response,
            cseq,
            resend: Resend::first(timers.t1, now),
            give_up_at: now + timers.transaction_timeout(),
        });
    }

    pub(super) const fn awaits_ack(&self) -> bool {
        self.unacked.is_some()
    }

    pub(super) fn is_offer(&self, tx: TxId) -> bool {
        self.ours.as_ref().is_some_and(|ours| ours.is(tx))
    }

    pub(super) fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        let unacked =
            self.unacked.as_ref().map(|unacked| (unacked.resend.at.min(unacked.give_up_at), Timer::Accept));
        let ours = self.ours.as_ref().and_then(Ours::retry_at).map(|at| (at, Timer::Glare));
        let timer = self.timer.map(|(_, at)| (at, Timer::Session));
        [unacked, ours, timer].into_iter().flatten().min()
    }
}

impl Session {
    /// Takes an ACK within the dialog: that of our 2xx.
    pub(crate) fn handle_ack(&mut self, layer: &mut Layer, arrival: &Arrival, ack: &Message, now: Now) {
        let State::Confirmed(confirmed) = &mut self.state else { return };
        let number = ack.cseq().map(|cseq| cseq.number);
        if confirmed.unacked.as_ref().is_none_or(|unacked| number != Ok(unacked.cseq)) {
            layer.counters.stray_acks += 1;
            return;
        }
        confirmed.unacked = None;
        confirmed.dialog.follow(arrival);
        if let Some(headers) = confirmed.leaving.take() {
            self.leave(layer, headers, now);
            return;
        }
        let body = ack.session_description().ok().flatten();
        layer.tell(Event::Acked { session: self.id, body });
    }

    /// Sends BYE, as soon as our 2xx is acknowledged. Offers that wait are refused.
    pub(super) fn leave(&mut self, layer: &mut Layer, headers: Headers, now: Now) {
        let State::Confirmed(confirmed) = &mut self.state else { return };
        if confirmed.awaits_ack() {
            confirmed.leaving.get_or_insert(headers);
            return;
        }
        self.drop_offer(layer, now);
        let State::Confirmed(confirmed) = std::mem::replace(&mut self.state, State::Over(None)) else {
            return;
        };
        self.say_bye(layer, confirmed.dialog, headers, now);
    }

    /// The peer hangs up. What it left open is refused.
    pub(super) fn handle_bye(&mut self, layer: &mut Layer, tx: TxId, bye: &Message, now: Now) {
        self.respond(layer, tx, 200, now);
        if matches!(self.state, State::Incoming(_)) {
            self.handle_early_bye(layer, bye, now);
            return;
        }
        self.drop_offer(layer, now);
        self.end(layer, EndHow::Bye { message: bye.clone() });
    }

    /// Refuses an offer of the peer that the application will not answer any more.
    fn drop_offer(&mut self, layer: &mut Layer, now: Now) {
        let State::Confirmed(confirmed) = &mut self.state else { return };
        if let Some(theirs) = confirmed.theirs.take() {
            self.respond(layer, theirs.tx, 487, now);
        }
    }

    /// Ends a call of our own accord and tells at once; nobody waits for the answer to this BYE.
    pub(super) fn break_off(&mut self, layer: &mut Layer, how: EndHow, now: Now) {
        self.drop_offer(layer, now);
        if let State::Confirmed(confirmed) = &self.state {
            let mut dialog = confirmed.dialog.clone();
            self.send_bye(layer, &mut dialog, &[], now);
        }
        self.end(layer, how);
    }

    pub(super) fn handle_confirmed_timeout(&mut self, layer: &mut Layer, now: Now) {
        let State::Confirmed(confirmed) = &mut self.state else { return };
        if let Some(unacked) = &mut confirmed.unacked {
            if unacked.give_up_at <= now.mono {
                let how = if confirmed.leaving.is_some() { EndHow::Local } else { EndHow::NoAck };
                self.break_off(layer, how, now);
                return;
            }
            if unacked.resend.at <= now.mono {
                unacked.resend.doubled(now.mono, Some(layer.config.timers.t2));
                let (tx, response) = (unacked.tx, unacked.response.clone());
                layer.respond(tx, response, now.mono);
            }
        }
        self.retry_offer(layer, now);
        let State::Confirmed(confirmed) = &mut self.state else { return };
        match confirmed.timer {
            Some((timer, at)) if at <= now.mono => match timer.refresher {
                Refresher::Peer => self.break_off(layer, EndHow::Timer, now),
                Refresher::Us => self.refresh_session(layer, timer, now),
            },
            Some(_) | None => {}
        }
    }

    /// Sends the refresh that is due, and gives the session up if the rest of the interval brings none.
    fn refresh_session(&mut self, layer: &mut Layer, timer: SessionTimer, now: Now) {
        let State::Confirmed(confirmed) = &mut self.state else { return };
        let last_chance = timer.awaited().due(now.mono);
        let rest = (last_chance - now.mono) / 2;
        confirmed.timer = Some((timer.awaited(), now.mono + rest));
        self.send_refresh(layer, timer, now);
    }

    /// Declines a transfer: it belongs to the bridge. The application is told.
    pub(super) fn handle_refer(&mut self, layer: &mut Layer, tx: TxId, refer: &Message, now: Now) {
        self.respond(layer, tx, 603, now);
        let refer_to = refer.header("Refer-To").unwrap_or_default().into_owned();
        layer.tell(Event::Transfer { session: self.id, refer_to });
    }
}

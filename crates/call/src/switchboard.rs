//! All calls of one shard, and the desk beside them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Instant;

use setu_model::{CallId, CallQuality, Cause, Direction, EndedBy, Entropy, Milestone, Now, Termination};

use crate::call::{Call, Context, Phase, Recording, Timer};
use crate::config::{CallConfig, NumberRoute};
use crate::desk::{Ask, Candidate, Desk, Pair, Reply};
use crate::hangup::Refusing;
use crate::live::Live;
use crate::media::Plane;
use crate::ports::{CALLED_MEDIA, Input, LegEvent, MediaEvent, Offered, Output, RecordEvent};
use crate::reserve::{NotReserved, Reservation, Reserve, Seated, Staff};

/// Every call of one shard.
///
/// Handle, drain, wait: call [`handle`](Self::handle) or [`handle_timeout`](Self::handle_timeout), then drain
/// [`poll_output`](Self::poll_output), then wait for the next input or for [`poll_timeout`](Self::poll_timeout).
#[derive(Debug)]
pub struct Switchboard {
    config: CallConfig,
    entropy: Random,
    calls: BTreeMap<CallId, Call>,
    /// The deadline of each call that has one, earliest first.
    deadlines: BTreeSet<(Instant, CallId)>,
    desk: Desk,
    asks: VecDeque<Ask>,
    outputs: VecDeque<Output>,
    draining: Draining,
    counters: Counters,
}

/// What the bounds of the switchboard turned away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls taken in.
    pub offered: u64,
    /// Calls refused because there were too many.
    pub refused_full: u64,
    /// Calls refused while draining.
    pub refused_draining: u64,
    /// Events about calls that are over already, or never were.
    pub stale: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Draining {
    No,
    Asked,
    Told,
}

struct Random(Box<dyn Entropy>);

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random")
    }
}

impl Switchboard {
    /// Makes a switchboard without calls, where nobody is registered.
    pub fn new(config: CallConfig, entropy: Box<dyn Entropy>) -> Self {
        Self {
            config,
            entropy: Random(entropy),
            calls: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            desk: Desk::default(),
            asks: VecDeque::new(),
            outputs: VecDeque::new(),
            draining: Draining::No,
            counters: Counters::default(),
        }
    }

    /// Returns how many calls there are, those that wait for the confirmation of their end included.
    pub fn active(&self) -> usize {
        self.calls.len()
    }

    /// Says whether no new calls are taken.
    pub fn is_draining(&self) -> bool {
        self.draining != Draining::No
    }

    /// Returns the counters.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::Offered(offered) => self.offered(*offered, now),
            Input::TurnedAway { offered, began, end } => self.turned_away(*offered, began, end, now),
            Input::Leg(event) => self.with(event.leg().call, now, |call, ctx| call.handle_leg(event, ctx)),
            Input::Media(event) => self.with(call_of(&event), now, |call, ctx| call.handle_media(event, ctx)),
            Input::Record(RecordEvent::Finished { call, recording }) => {
                self.with(call, now, |call, ctx| call.recording_over(Recording::Done(recording), ctx));
            }
            Input::Record(RecordEvent::Failed { call, why, partial }) => {
                tracing::error!(%call, why, "recording failed; the call goes on");
                self.with(call, now, |call, ctx| {
                    call.recording_over(Recording::Failed { why, partial }, ctx);
                });
            }
            Input::Gate { call, verdict } => {
                self.with(call, now, |call, ctx| call.handle_verdict(verdict, ctx))
            }
            Input::HangUp { call } => self.with(call, now, Call::hang_up_all),
            Input::Desk(change) => self.desk.handle_change(change),
            Input::Configure(config) => self.config = *config,
            Input::Drain => self.drain(now),
        }
    }

    /// Fires every timer that is due at `now`.
    pub fn handle_timeout(&mut self, now: Now) {
        // Each call once: whatever is due again at once is due at the next turn of the loop, not in this one.
        let due = self.deadlines.iter().take_while(|(at, _)| *at <= now.mono);
        let due: Vec<CallId> = due.map(|(_, id)| *id).collect();
        for id in due {
            self.with(id, now, Call::handle_timeout);
        }
        self.desk.handle_timeout(now.mono);
    }

    /// Returns how a live call sounds so far; none if there is no such call or both sides are not joined.
    pub fn quality(&self, call: CallId) -> Option<CallQuality> {
        self.calls.get(&call).and_then(Call::quality)
    }

    /// Returns what can be seen of a call.
    pub fn live(&self, call: CallId) -> Option<Live> {
        self.calls.get(&call).map(Call::live)
    }

    /// Returns what can be seen of every call, from the one after `after` on, in the order of their ids.
    pub fn lives(&self, after: Option<CallId>) -> impl Iterator<Item = Live> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.calls.range((from, Bound::Unbounded)).map(|(_, call)| call.live())
    }

    /// Says whether a customer, as in a call's facts, is in a call with a business number.
    pub fn is_talking(&self, number: &str, customer: &str) -> bool {
        let pair = Pair { number: number.to_owned(), customer: customer.to_owned() };
        self.desk.is_talking(&pair)
    }

    /// Says whether somebody is free to take a call of a business number: a registered agent, or a trunk that answers.
    pub fn is_ready(&self, number: &str) -> bool {
        self.staff(number).is_some_and(|staff| staff.is_ready())
    }

    /// Returns who may take the calls of a business number, and how it stands with them; none if it is not configured.
    pub fn staff(&self, number: &str) -> Option<Staff> {
        Some(match &self.config.numbers.get(number)?.route {
            NumberRoute::Agents(names) => Staff::Agents(
                names
                    .iter()
                    .map(|name| {
                        let calls_at_once =
                            self.config.agents.get(name).map_or(1, |agent| agent.calls_at_once);
                        let agent = name.clone();
                        let state = self.desk.state_of(&Candidate { agent: agent.clone(), calls_at_once });
                        Seated { agent, state }
                    })
                    .collect(),
            ),
            NumberRoute::Trunk { trunk, .. } => {
                Staff::Trunk { trunk: trunk.name().to_owned(), up: self.desk.is_up(trunk.name()) }
            }
        })
    }

    /// Sets somebody aside for a call to come, under a fresh id.
    ///
    /// # Errors
    /// [`NotReserved`].
    pub fn reserve(&mut self, id: CallId, wanted: Reserve, now: Now) -> Result<Reservation, NotReserved> {
        if self.is_draining() {
            return Err(NotReserved::Unable("the bridge is draining"));
        }
        if self.desk.reservations().is_full() {
            return Err(NotReserved::Unable("too many reservations"));
        }
        let want = wanted.want(&self.config).ok_or(NotReserved::UnknownNumber)?;
        self.desk.reserve(id, &want, wanted, now).map_err(NotReserved::NoAgent)
    }

    /// Gives back who was set aside; none if there is no such reservation, or its call has come.
    pub fn unreserve(&mut self, id: CallId) -> Option<Reservation> {
        self.desk.unreserve(id)
    }

    /// Returns a reservation whose call has not come.
    pub fn reservation(&self, id: CallId) -> Option<&Reservation> {
        self.desk.reservations().get(id)
    }

    /// Returns every reservation whose call has not come, in the order of their ids.
    pub fn reservations(&self) -> impl Iterator<Item = &Reservation> {
        self.desk.reservations().iter()
    }

    /// Takes the next thing the caller must do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is next due, and for which timer.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        let call = self.deadlines.first().and_then(|(_, id)| self.calls.get(id)?.deadline());
        let reservation = self.desk.reservations().next_end().map(|at| (at, Timer::Reservation));
        call.into_iter().chain(reservation).min()
    }

    /// Checks that nothing is left of any call: no call, no timer, no reserved agent, no talking pair. For tests
    /// and for the end of a drain.
    pub fn check_idle(&self) -> Result<(), String> {
        let claims = [
            (self.calls.is_empty(), "a call is left"),
            (self.deadlines.is_empty(), "a timer is left"),
            (self.asks.is_empty(), "a question to the desk is left"),
            (self.desk.is_idle(), "an agent or a pair is still taken"),
        ];
        match claims.iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(format!("{what}: {self:?}")),
            None => Ok(()),
        }
    }

    /// The call is over already.
    fn turned_away(&mut self, offered: Offered, began: Now, end: Termination, now: Now) {
        self.counters.offered += 1;
        let (mut ctx, _) = self.context(now);
        let call = Call::turned_away(offered, began, end, &mut ctx);
        self.leave_record(call, now);
    }

    /// Ends a call at once. No state is kept of it: a flood must not fill the memory with calls that wait for their end.
    fn leave_record(&mut self, call: Call, now: Now) {
        let cdr = call.into_cdr(now);
        log_end(&cdr);
        self.outputs.push_back(Output::Cdr(Box::new(cdr)));
    }

    fn offered(&mut self, offered: Offered, now: Now) {
        let id = offered.call;
        if self.calls.contains_key(&id) {
            self.counters.stale += 1;
            return;
        }
        self.counters.offered += 1;
        let full = self.calls.len() >= self.config.limits.calls;
        let turned_away = match (self.is_draining(), full) {
            (true, _) => Some("the bridge is draining"),
            (false, true) => Some("too many calls"),
            (false, false) => None,
        };
        if let Some(why) = turned_away {
            let (mut ctx, _) = self.context(now);
            let call = Call::turn_away(offered, why, &mut ctx);
            self.leave_record(call, now);
            if full {
                self.counters.refused_full += 1
            } else {
                self.counters.refused_draining += 1
            }
            return;
        }
        let (mut ctx, calls) = self.context(now);
        let call = Call::arrive(offered, &mut ctx);
        let (number, customer) = (&call.facts.number, &call.facts.customer);
        tracing::info!(call = %id, direction = ?call.direction, number, %customer, "call offered");
        calls.insert(id, call);
        self.follow_up(id, now, None);
    }

    /// Hands something to a call, then does what follows from it.
    fn with(&mut self, id: CallId, now: Now, act: impl FnOnce(&mut Call, &mut Context<'_>)) {
        let (mut ctx, calls) = self.context(now);
        let Some(call) = calls.get_mut(&id) else {
            self.counters.stale += 1;
            return;
        };
        let before = call.deadline();
        act(call, &mut ctx);
        self.follow_up(id, now, before.map(|(at, _)| at));
    }

    /// Carries questions to the desk and answers back until none is left; writes the record if the call is done.
    fn follow_up(&mut self, id: CallId, now: Now, before: Option<Instant>) {
        loop {
            let (mut ctx, calls) = self.context(now);
            if let Some(call) = calls.get_mut(&id) {
                call.release(&mut ctx);
            }
            let Some(ask) = self.asks.pop_front() else { break };
            // Every question is answered before anything else happens, so it is this call's.
            let again = ask.clone();
            let mut answer = self.desk.handle_ask(ask);
            if let Some((_, Reply::Duplicate { with })) = answer
                && self.supersede(id, with)
            {
                answer = self.desk.handle_ask(again);
            }
            if let Some((_, reply)) = answer {
                let used = self.desk.take_used();
                let (mut ctx, calls) = self.context(now);
                if let Some(call) = calls.get_mut(&id) {
                    if let Some(reservation) = used {
                        call.use_reservation(reservation);
                    }
                    call.handle_reply(reply, &mut ctx);
                }
            }
        }
        if let Some(at) = before {
            self.deadlines.remove(&(at, id));
        }
        let done = self.calls.get(&id).is_some_and(Call::is_done);
        if let Some(call) = if done { self.calls.remove(&id) } else { None } {
            let cdr = call.into_cdr(now);
            log_end(&cdr);
            self.outputs.push_back(Output::Cdr(Box::new(cdr)));
        } else if let Some((at, _)) = self.calls.get(&id).and_then(Call::deadline) {
            self.deadlines.insert((at, id));
        }
        self.tell_drained();
    }

    /// Lets a customer's call take the place of one that is over but for Meta's confirmation, which may never come: Meta
    /// itself brings the new one, so the old one is over there too. Says whether it did.
    fn supersede(&mut self, id: CallId, with: CallId) -> bool {
        let by_customer = self.calls.get(&id).is_some_and(Call::is_customers_own);
        let given_up = by_customer && self.calls.get_mut(&with).is_some_and(Call::give_pair_up);
        if given_up {
            tracing::info!(call = %id, over = %with, "the customer calls again before Meta has confirmed the end");
            self.desk.handle_ask(Ask::ReleasePair { call: with });
        }
        given_up
    }

    fn drain(&mut self, now: Now) {
        match self.draining {
            Draining::No => self.draining = Draining::Asked,
            Draining::Asked | Draining::Told => {
                let calls: Vec<CallId> = self.calls.keys().copied().collect();
                for id in calls {
                    self.with(id, now, |call, ctx| {
                        let end = Termination::new(Cause::Shutdown, EndedBy::Bridge);
                        call.end(end, Refusing::with(503), ctx);
                    });
                }
            }
        }
        self.tell_drained();
    }

    fn tell_drained(&mut self) {
        if self.draining == Draining::Asked && self.calls.is_empty() {
            self.draining = Draining::Told;
            self.outputs.push_back(Output::Drained);
        }
    }

    fn context(&mut self, now: Now) -> (Context<'_>, &mut BTreeMap<CallId, Call>) {
        let Self { config, entropy, outputs, asks, calls, .. } = self;
        (Context { config, entropy: entropy.0.as_mut(), outputs, asks, now }, calls)
    }
}

impl Call {
    fn handle_leg(&mut self, event: LegEvent, ctx: &mut Context<'_>) {
        let index = event.leg().index;
        match event {
            LegEvent::Ringing { early, .. } => self.handle_ringing(index, early.as_deref(), ctx),
            LegEvent::Asked { wait, .. } => self.handle_asked(index, wait, ctx),
            LegEvent::Allowed { learnt, .. } => self.handle_allowed(index, &learnt, ctx),
            LegEvent::Named { wacid, .. } => self.facts.wacid = self.facts.wacid.take().or(Some(wacid)),
            LegEvent::Prepared { .. } => self.prepared(ctx),
            LegEvent::Described { sdp, .. } => self.handle_described(index, &sdp, ctx),
            LegEvent::Answered { sdp, learnt, .. } => {
                self.handle_answered(index, sdp.as_deref(), learnt.as_deref(), ctx);
            }
            LegEvent::Refused { status, cause, toward, detail, .. } => {
                let mut end = Termination::new(cause, self.party_of(index)).with_status(status);
                end.detail = detail;
                self.handle_refused(index, end, toward, ctx);
            }
            LegEvent::Acked { sdp, .. } => self.handle_acked(index, sdp.as_deref(), ctx),
            LegEvent::Reoffered { offer, .. } => self.handle_reoffered(index, offer.as_deref(), ctx),
            LegEvent::TransferRefused { .. } => {
                if self.leg(index).is_some() {
                    self.milestone(Milestone::Renegotiated, Some(index), ctx.now);
                }
            }
            LegEvent::Key { digit, duration_ms, .. } => self.handle_info_key(index, digit, duration_ms, ctx),
            LegEvent::Ended { how, wacid, meta_duration_s, detail, .. } => {
                self.facts.wacid = self.facts.wacid.take().or(wacid);
                self.meta_duration_s = self.meta_duration_s.or(meta_duration_s);
                self.handle_ended(index, how, detail, ctx);
            }
        }
    }

    fn handle_media(&mut self, event: MediaEvent, ctx: &mut Context<'_>) {
        if matches!(self.phase, Phase::Asking { .. }) {
            // Nothing was opened yet.
            return;
        }
        match event {
            MediaEvent::Opened { leg, local } => {
                let Phase::Opening { reserved, .. } = &mut self.phase else { return };
                let Some(end) = self.media.leg_mut(leg.index) else { return };
                end.local = Some(local);
                if self.media.originator.local.is_some() && self.media.called.local.is_some() {
                    let reserved = reserved.take();
                    self.begin_calling(reserved, ctx);
                }
            }
            MediaEvent::OpenFailed { why, .. } => {
                tracing::warn!(call = %self.id, why, "no media port");
                let end = Termination::new(Cause::Fault, EndedBy::Bridge).with_status(503).with_detail(why);
                self.end(end, Refusing::with(503), ctx);
            }
            MediaEvent::HandshakeFailed { leg, why } => {
                let by = self.leg_of_media(leg.index).map_or(EndedBy::Bridge, |index| self.party_of(index));
                let end = Termination::new(Cause::IncompatibleMedia, by).with_status(488).with_detail(why);
                self.end(end, Refusing::with(488), ctx);
            }
            MediaEvent::FirstPacket { leg } => {
                let at = self.leg_of_media(leg.index);
                self.milestone(Milestone::FirstPacket, at, ctx.now);
            }
            MediaEvent::Silent { leg } => self.handle_silent(leg.index, ctx),
            MediaEvent::ConsentLost { leg } => self.handle_consent_lost(leg.index, ctx),
            MediaEvent::Key { leg, digit, duration_ms } => {
                self.handle_key(leg.index, digit, duration_ms, ctx);
            }
            MediaEvent::Played { leg } => {
                if self.media.customer_mut().id == leg {
                    self.announced(ctx, |_| true);
                }
            }
            MediaEvent::Quality { leg, quality } => self.media.note_quality(leg, *quality),
            MediaEvent::Closed { quality, .. } => {
                let unasked = self.media.plane == Plane::Open;
                self.media.plane = Plane::Closed;
                // A worker that died told nothing: what it told before is better than that.
                for (leg, quality) in quality {
                    self.media.note_quality(leg, quality);
                }
                if unasked {
                    let end = Termination::new(Cause::Fault, EndedBy::Bridge)
                        .with_detail("the media worker is gone");
                    self.end(end, Refusing::with(503), ctx);
                }
                self.stop_recording(ctx);
            }
        }
    }

    /// Nothing comes from a leg any more. An agent who holds the call has nothing to send.
    fn handle_silent(&mut self, media: u8, ctx: &mut Context<'_>) {
        let Some(end) = self.media.leg_mut(media) else { return };
        let speaks = end.terms.as_ref().is_some_and(|terms| terms.agreed.direction.receives());
        if end.held || !speaks || !matches!(self.phase, Phase::Connected { .. }) {
            return;
        }
        let leg = self.leg_of_media(media);
        self.milestone(Milestone::MediaLost, leg, ctx.now);
        let from = leg.map_or(EndedBy::Bridge, |leg| self.party_of(leg));
        // Who has neither acknowledged our answer nor sent anything has not heard it (RFC 3261 section 13.3.1.4).
        let end = if leg == Some(0) && !self.acknowledged {
            Termination::new(Cause::SignallingLost, from)
                .with_detail(format!("no ACK, and no media from the {from}"))
        } else {
            Termination::new(Cause::MediaTimeout, EndedBy::Bridge)
                .with_detail(format!("no media from the {from}"))
        };
        self.end(end, Refusing::with(500), ctx);
    }

    /// A peer that is no longer there to be sent to, whether it holds the call or not.
    fn handle_consent_lost(&mut self, media: u8, ctx: &mut Context<'_>) {
        let leg = self.leg_of_media(media);
        self.milestone(Milestone::MediaLost, leg, ctx.now);
        let from = leg.map_or(EndedBy::Bridge, |leg| self.party_of(leg));
        let end = Termination::new(Cause::MediaTimeout, EndedBy::Bridge)
            .with_detail(format!("no consent to media from the {from}"));
        self.end(end, Refusing::with(500), ctx);
    }

    pub(crate) fn leg_of_media(&self, media: u8) -> Option<u8> {
        if media == CALLED_MEDIA { self.winner } else { Some(media) }
    }
}

const fn call_of(event: &MediaEvent) -> CallId {
    match event {
        MediaEvent::Opened { leg, .. }
        | MediaEvent::OpenFailed { leg, .. }
        | MediaEvent::HandshakeFailed { leg, .. }
        | MediaEvent::FirstPacket { leg }
        | MediaEvent::Silent { leg }
        | MediaEvent::ConsentLost { leg }
        | MediaEvent::Played { leg }
        | MediaEvent::Quality { leg, .. }
        | MediaEvent::Key { leg, .. } => leg.call,
        MediaEvent::Closed { call, .. } => *call,
    }
}

fn log_end(cdr: &setu_model::Cdr) {
    let direction = match cdr.direction {
        Direction::UserInitiated => "user_initiated",
        Direction::BusinessInitiated => "business_initiated",
    };
    let (call, end) = (cdr.call, &cdr.termination);
    tracing::info!(%call, direction, cause = %end.cause, duration_ms = cdr.duration_ms, "call ended: {end}");
}

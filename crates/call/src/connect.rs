//! The called side answers, and both sides are connected.

use std::time::Instant;

use setu_model::{CallFacts, Cause, EndedBy, Milestone, Side, Termination};

use crate::call::{Call, Context, Exchange, LegState, Phase, Recording};
use crate::config::Answers;
use crate::dial::read_answer;
use crate::hangup::Refusing;
use crate::media::Terms;
use crate::ports::{AnswerIn, LegCommand, MediaCommand, Output, RecordCommand, Sound, Step};

impl Call {
    /// A dialled leg answered. The first one that can be agreed with wins.
    pub(crate) fn handle_answered(
        &mut self,
        index: u8,
        sdp: Option<&[u8]>,
        learnt: Option<&CallFacts>,
        ctx: &mut Context<'_>,
    ) {
        // A 200 that crosses our CANCEL finds the leg told to end: its session hangs up by itself.
        if !matches!(self.phase, Phase::Calling { .. }) || !self.is_pending(index) {
            return;
        }
        self.milestone(Milestone::Answered, Some(index), ctx.now);
        if let Some(learnt) = learnt {
            self.learn(learnt);
        }
        if let Err(detail) = self.read_final(index, sdp, ctx) {
            let by = self.party_of(index);
            self.hang_up(index, Cause::IncompatibleMedia, ctx);
            let end = Termination::new(Cause::IncompatibleMedia, by).with_status(488).with_detail(detail);
            self.note_refusal(end, 488);
            return self.seek_on(ctx);
        }
        if let Some(leg) = self.leg_mut(index) {
            leg.state = LegState::Answered;
        }
        self.winner = Some(index);
        if self.placing.is_none() {
            self.taken = Some(ctx.now);
        }
        for other in self.pending() {
            self.hang_up(other, Cause::Success, ctx);
        }
        self.set_called(index, ctx);
        self.answer_originator(ctx);
    }

    /// Reads the session description of a 200. A 200 without one repeats, in the eyes of many PBXs, what their 183
    /// said.
    fn read_final(&mut self, index: u8, sdp: Option<&[u8]>, ctx: &Context<'_>) -> Result<(), String> {
        let leg = self.leg_mut(index).ok_or("no such leg")?;
        let offering = leg.offering.as_ref().ok_or("nothing was offered")?;
        match sdp {
            Some(sdp) => leg.early = Some(Box::new(read_answer(offering, sdp, ctx)?)),
            None if leg.early.is_some() => {}
            None => return Err("the answer has no session description".to_owned()),
        }
        Ok(())
    }

    fn answer_originator(&mut self, ctx: &mut Context<'_>) {
        let leg = self.leg_id(0);
        let before = self.leg_mut(0).map(|leg| std::mem::replace(&mut leg.state, LegState::Answered));
        match &self.exchange {
            Exchange::Answer { text, .. } => {
                let sdp = text.clone();
                self.set_originator(ctx);
                let waits = self.answer_in == AnswerIn::TwoSteps && !self.acknowledged;
                if waits {
                    self.settle(ctx);
                } else {
                    self.join_or_announce(ctx);
                }
                if before != Some(LegState::Answered) {
                    ctx.leg(LegCommand::Answer { leg, sdp });
                }
                if !waits {
                    self.connect(ctx);
                }
            }
            Exchange::Ours(offering) => {
                let sdp = offering.offer.sdp.clone();
                self.settle(ctx);
                if self.placing.is_some() {
                    self.reach(ctx);
                } else if before != Some(LegState::Answered) {
                    ctx.leg(LegCommand::Answer { leg, sdp });
                }
            }
            // Both wait for a port, and nobody is dialled before there is one.
            Exchange::Theirs(_) | Exchange::Wanted => {
                self.end(Termination::new(Cause::Fault, EndedBy::Bridge), Refusing::with(500), ctx);
            }
        }
    }

    /// Waits for the originator's word. The called side hears comfort frames until then; an agent whose customer is
    /// called hears that it rings there.
    fn settle(&mut self, ctx: &mut Context<'_>) {
        let timers = &ctx.config.timers;
        let patience = if self.placing.is_some() { timers.ring_customer } else { timers.ack };
        self.phase = Phase::Settling { until: ctx.now.mono + patience };
        self.media.called.start(ctx);
        if self.placing.is_some() {
            self.media.called.play(Sound::Ringback, ctx);
        }
    }

    /// Calls the customer of a placed call.
    pub(crate) fn reach(&mut self, ctx: &mut Context<'_>) {
        let Exchange::Ours(offering) = &self.exchange else { return };
        let (leg, sdp) = (self.leg_id(0), offering.offer.sdp.clone());
        if let Some(customer) = self.leg_mut(0) {
            customer.state = LegState::Answered;
        }
        self.milestone(Milestone::Dialled, Some(0), ctx.now);
        ctx.leg(LegCommand::Answer { leg, sdp });
    }

    /// Tells an originator who takes our answer in two steps of it, before anybody rings; returns whether there is one.
    pub(crate) fn describe_ahead(&mut self, ctx: &mut Context<'_>) -> bool {
        let Exchange::Answer { text, .. } = &self.exchange else { return false };
        if self.answer_in == AnswerIn::OneStep {
            return false;
        }
        let (leg, sdp) = (self.leg_id(0), text.clone());
        self.set_originator(ctx);
        ctx.leg(LegCommand::Describe { leg, sdp });
        true
    }

    /// Answers a customer before an agent is found: the customer waits with a sound.
    pub(crate) fn answer_at_once(&mut self, ctx: &mut Context<'_>) {
        let number = ctx.config.numbers.get(&self.facts.number);
        let at_once = number.is_some_and(|number| number.answers == Answers::AtOnce);
        let (sdp, settled) = match &self.exchange {
            Exchange::Answer { text, .. } => (text.clone(), self.answer_in == AnswerIn::OneStep),
            Exchange::Ours(offering) => (offering.offer.sdp.clone(), false),
            Exchange::Theirs(_) | Exchange::Wanted => return,
        };
        if !at_once || self.originator_side() != Side::Meta || self.placing.is_some() {
            return;
        }
        let leg = self.leg_id(0);
        if let Some(originator) = self.leg_mut(0) {
            originator.state = LegState::Answered;
        }
        if settled {
            self.set_originator(ctx);
            self.entertain(ctx);
        }
        ctx.leg(LegCommand::Answer { leg, sdp });
    }

    /// The customer is there, and an agent is not yet.
    pub(crate) fn entertain(&mut self, ctx: &mut Context<'_>) {
        self.media.originator.start(ctx);
        self.media.originator.play(Sound::Waiting, ctx);
        self.customer_answered(ctx);
    }

    /// A customer who was waited for, or called, is there.
    fn customer_answered(&mut self, ctx: &mut Context<'_>) {
        self.milestone(Milestone::Answered, Some(0), ctx.now);
        if self.placing.is_some() {
            self.taken = Some(ctx.now);
        }
    }

    /// Both sides are there: they are joined, or the customer hears the number's announcement first.
    fn join_or_announce(&mut self, ctx: &mut Context<'_>) {
        let number = self.facts.number.clone();
        self.media.called.stop_playing(ctx);
        if ctx.config.numbers.get(&number).is_some_and(|number| number.announces) {
            self.media.start(ctx);
            self.media.customer_mut().play(Sound::Announcement(number), ctx);
            self.announcing = Some(ctx.now.mono + ctx.config.timers.announcement);
        } else {
            self.media.customer_mut().stop_playing(ctx);
            self.media.bridge(self.id, ctx);
        }
    }

    /// The announcement is over, if there is one and `is_over` says so of its deadline.
    pub(crate) fn announced(&mut self, ctx: &mut Context<'_>, is_over: impl Fn(Instant) -> bool) {
        if !matches!(self.phase, Phase::Connected { .. }) || !self.announcing.is_some_and(is_over) {
            return;
        }
        self.announcing = None;
        self.media.customer_mut().stop_playing(ctx);
        self.media.bridge(self.id, ctx);
        self.joined(ctx);
        if self.media.is_held() {
            self.media.customer_mut().play(Sound::Hold, ctx);
        }
    }

    /// The ACK to our 200: with the originator's answer, where the 200 held our offer.
    pub(crate) fn handle_acked(&mut self, index: u8, sdp: Option<&[u8]>, ctx: &mut Context<'_>) {
        let first = index == 0 && self.timeline.first(Milestone::Acknowledged).is_none();
        let (settling, connected) = match &self.phase {
            Phase::Settling { .. } => (index == 0, false),
            Phase::Connected { .. } => (false, true),
            Phase::Admitting
            | Phase::Asking { .. }
            | Phase::Opening { .. }
            | Phase::Describing { .. }
            | Phase::Reaching { .. }
            | Phase::Calling { .. }
            | Phase::Ending { .. } => (false, false),
        };
        let waits = matches!(self.phase, Phase::Calling { .. } | Phase::Reaching { .. });
        if first && (settling || connected || waits) {
            self.milestone(Milestone::Acknowledged, Some(0), ctx.now);
        }
        self.acknowledged |= index == 0;
        if settling {
            self.settle_originator(sdp, ctx);
        } else if first && waits && self.is_met(sdp, ctx) {
            if matches!(self.phase, Phase::Reaching { .. }) {
                self.reached(ctx);
            } else {
                self.entertain(ctx);
            }
        } else if connected {
            self.reoffer_answered(index, sdp, ctx);
        }
    }

    fn settle_originator(&mut self, sdp: Option<&[u8]>, ctx: &mut Context<'_>) {
        if self.is_met(sdp, ctx) {
            if self.placing.is_some() {
                self.customer_answered(ctx);
            }
            self.join_or_announce(ctx);
            self.connect(ctx);
        }
    }

    /// Whether the originator's word lets its media flow, which did not before.
    fn is_met(&mut self, sdp: Option<&[u8]>, ctx: &mut Context<'_>) -> bool {
        match &self.exchange {
            Exchange::Ours(_) => self.meet_with_answer(sdp, ctx),
            // The customer of a placed call may have told his description ahead.
            Exchange::Answer { .. } => self.answer_in == AnswerIn::TwoSteps || self.placing.is_some(),
            Exchange::Theirs(_) | Exchange::Wanted => false,
        }
    }

    /// The originator answers our offer; one that makes no sense ends the call.
    pub(crate) fn meet_with_answer(&mut self, sdp: Option<&[u8]>, ctx: &mut Context<'_>) -> bool {
        let Exchange::Ours(offering) = &self.exchange else { return false };
        let read = sdp.ok_or_else(|| "the answer has no session description".to_owned());
        match read.and_then(|sdp| read_answer(offering, sdp, ctx)) {
            Ok(agreed) => {
                let (policy, local) = (offering.policy.clone(), offering.local.clone());
                let (text, terms) = (offering.offer.sdp.clone(), Terms { policy, local, agreed });
                self.agree_originator(&terms, ctx);
                self.exchange = Exchange::Answer { text, terms: Box::new(terms) };
                true
            }
            Err(detail) => {
                let end = Termination::new(Cause::IncompatibleMedia, self.party_of(0)).with_detail(detail);
                self.end(end, Refusing::with(488), ctx);
                false
            }
        }
    }

    pub(crate) fn agree_originator(&mut self, terms: &Terms, ctx: &mut Context<'_>) {
        let srtp = terms.agreed.encryption();
        if let Some(leg) = self.leg_mut(0) {
            leg.agreed = Some((terms.agreed.audio.codec.name(), srtp));
        }
        self.media.originator.agree(&terms.policy, &terms.local, terms.agreed.clone(), ctx);
    }

    fn connect(&mut self, ctx: &mut Context<'_>) {
        self.connected = Some(ctx.now);
        self.tell_progress(Step::Answered, ctx);
        self.phase = Phase::Connected { until: ctx.now.mono + ctx.config.timers.longest };
        if self.announcing.is_none() {
            self.joined(ctx);
        }
    }

    /// Audio flows between both sides.
    fn joined(&mut self, ctx: &mut Context<'_>) {
        self.milestone(Milestone::Bridged, None, ctx.now);
        if matches!(self.recording, Recording::Off { wanted: true }) {
            self.recording = Recording::Running { since: ctx.now.mono };
            self.milestone(Milestone::RecordingStarted, None, ctx.now);
            let facts = Box::new(self.facts.clone());
            let (call, at, direction) = (self.id, ctx.now.wall, self.direction);
            ctx.outputs.push_back(Output::Record(RecordCommand::Start { call, at, facts, direction }));
            ctx.media(MediaCommand::Tap { call, on: true });
        }
    }

    /// Adds what Meta or a provider told. What was known before stays.
    pub(crate) fn learn(&mut self, learnt: &CallFacts) {
        let facts = &mut self.facts;
        facts.wacid = facts.wacid.take().or_else(|| learnt.wacid.clone());
        facts.customer_name = facts.customer_name.take().or_else(|| learnt.customer_name.clone());
        facts.user_id = facts.user_id.take().or_else(|| learnt.user_id.clone());
        facts.country = facts.country.take().or_else(|| learnt.country.clone());
        let source = &mut facts.permission_source;
        *source = source.take().or_else(|| learnt.permission_source.clone());
    }
}

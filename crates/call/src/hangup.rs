//! The end of a call, from whichever side, and the wait until everything has confirmed it.

use setu_model::{Cause, EndedBy, Ingress, Milestone, Side, Termination};

use crate::call::{Call, Context, LegState, Phase, Recording};
use crate::desk::Ask;
use crate::media::Plane;
use crate::ports::{EndHow, LegCommand, MediaCommand, Output, RecordCommand};

/// How an originator that was not answered is refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusing {
    pub(crate) status: u16,
    pub(crate) retry_after_s: Option<u32>,
}

impl Refusing {
    pub(crate) const fn with(status: u16) -> Self {
        Self { status, retry_after_s: None }
    }
}

impl Call {
    /// Decides the end of the call, once: everything still going is told to end.
    pub(crate) fn end(&mut self, termination: Termination, refusing: Refusing, ctx: &mut Context<'_>) {
        if self.is_ending() {
            return;
        }
        let cause = termination.cause;
        for index in (0..).take(self.legs.len()) {
            match self.leg(index).map(|leg| leg.state) {
                Some(LegState::Offered { .. }) => self.refuse(index, &termination, refusing, ctx),
                Some(LegState::Dialled | LegState::Answered) => self.hang_up(index, cause, ctx),
                Some(LegState::Leaving | LegState::Over) | None => {}
            }
        }
        self.media.close(self.id, ctx);
        self.over = Some(ctx.now);
        self.phase = Phase::Ending { termination, until: ctx.now.mono + ctx.config.timers.confirm };
    }

    fn refuse(&mut self, index: u8, end: &Termination, refusing: Refusing, ctx: &mut Context<'_>) {
        let Refusing { status, retry_after_s } = refusing;
        let leg = self.leg_id(index);
        let Some(it) = self.leg_mut(index) else { return };
        it.state = LegState::Leaving;
        // An agent's phone shows the phrase; Meta gets the usual one of the status.
        let side = it.side;
        let reason = match side {
            Side::Agents => end.detail.as_deref().map(phrase).filter(|text| !text.is_empty()),
            Side::Meta => None,
        };
        let warnings = match side {
            Side::Agents => self.refused.iter().map(ToString::to_string).collect(),
            Side::Meta => Vec::new(),
        };
        self.milestone(Milestone::Refused, Some(index), ctx.now);
        ctx.leg(LegCommand::Refuse { leg, status, reason, retry_after_s, warnings });
    }

    /// Tells a leg to end, once.
    pub(crate) fn hang_up(&mut self, index: u8, cause: Cause, ctx: &mut Context<'_>) {
        let leg = self.leg_id(index);
        let Some(it) = self.leg_mut(index) else { return };
        let dialled = it.state == LegState::Dialled;
        if !dialled && it.state != LegState::Answered {
            return;
        }
        it.state = LegState::Leaving;
        if dialled {
            self.milestone(Milestone::Cancelled, Some(index), ctx.now);
        }
        ctx.leg(LegCommand::HangUp { leg, cause });
    }

    /// A dialled leg was refused.
    pub(crate) fn handle_refused(&mut self, index: u8, end: Termination, toward: u16, ctx: &mut Context<'_>) {
        let status = end.status.unwrap_or(500);
        match self.mark_over(index) {
            Some(LegState::Dialled) => {
                self.milestone(Milestone::Refused, Some(index), ctx.now);
                // A 6xx speaks for the user, not for the device (RFC 3261 section 21.6).
                if (600..700).contains(&status) {
                    for other in self.pending() {
                        self.hang_up(other, end.cause, ctx);
                    }
                }
                self.note_refusal(end, toward);
                self.seek_on(ctx);
            }
            // An originator who was to be reached cannot be.
            Some(LegState::Answered | LegState::Offered { .. }) if index == 0 => {
                self.milestone(Milestone::Refused, Some(index), ctx.now);
                self.end(end, Refusing::with(toward), ctx);
            }
            // A refusal can follow neither an answer nor an offer: the dialog is broken.
            Some(LegState::Answered | LegState::Offered { .. }) => {
                let lost = Termination::new(Cause::SignallingLost, end.by).with_status(status);
                self.end(lost, Refusing::with(500), ctx);
            }
            Some(LegState::Leaving | LegState::Over) | None => {}
        }
    }

    /// A leg is over.
    pub(crate) fn handle_ended(
        &mut self,
        index: u8,
        how: EndHow,
        detail: Option<String>,
        ctx: &mut Context<'_>,
    ) {
        let Some(was) = self.mark_over(index) else { return };
        let by = self.party_of(index);
        let answered = was == LegState::Answered;
        match (was, how) {
            (LegState::Leaving | LegState::Over, _) => return,
            (_, EndHow::Bye) => self.milestone(Milestone::HungUp, Some(index), ctx.now),
            (_, EndHow::Cancelled) => self.milestone(Milestone::Cancelled, Some(index), ctx.now),
            (_, EndHow::NoAck | EndHow::Lost | EndHow::Timer | EndHow::Local) => {}
        }
        if index != 0 && !answered {
            let end = match how {
                // Told beside its signalling: whoever was called is gone.
                EndHow::Bye | EndHow::Cancelled => {
                    let end = Termination::new(Cause::NoAnswer, by).with_status(480);
                    Termination { detail, ..end }
                }
                EndHow::NoAck | EndHow::Lost | EndHow::Timer | EndHow::Local => {
                    Termination::new(Cause::Unreachable, by).with_detail("the leg was lost")
                }
            };
            self.note_refusal(end, 480);
            return self.seek_on(ctx);
        }
        let end = match how {
            EndHow::Cancelled => {
                // The CANCEL crossed our 200, which never left: the originator was not connected.
                self.connected = None;
                Termination::new(Cause::Cancelled, by)
            }
            EndHow::Bye if self.connected.is_some() => Termination::new(Cause::Success, by),
            EndHow::Bye => Termination::new(Cause::Cancelled, by),
            EndHow::NoAck => Termination::new(Cause::SignallingLost, by).with_detail("no ACK"),
            EndHow::Timer => Termination::new(Cause::SignallingLost, by).with_detail("session timer"),
            EndHow::Lost => Termination::new(Cause::SignallingLost, by),
            EndHow::Local => Termination::new(Cause::SignallingLost, EndedBy::Bridge),
        };
        let end = Termination { detail: detail.or(end.detail), ..end };
        self.end(end, Refusing::with(480), ctx);
    }

    /// Marks a leg over and returns where it stood; nothing if it was over before.
    pub(crate) fn mark_over(&mut self, index: u8) -> Option<LegState> {
        let leg = self.leg_mut(index).filter(|leg| leg.state != LegState::Over)?;
        Some(std::mem::replace(&mut leg.state, LegState::Over))
    }

    /// A deadline has passed.
    pub(crate) fn handle_timeout(&mut self, ctx: &mut Context<'_>) {
        let due = |until: std::time::Instant| until <= ctx.now.mono;
        let bridge = |cause| Termination::new(cause, EndedBy::Bridge);
        match &self.phase {
            Phase::Asking { until, .. } if due(*until) => {
                let end = bridge(Cause::Fault).with_status(503).with_detail("the gate does not answer");
                self.end(end, Refusing::with(503), ctx);
            }
            Phase::Opening { until, .. } if due(*until) => {
                let end =
                    bridge(Cause::Fault).with_status(503).with_detail("the media plane does not answer");
                self.end(end, Refusing::with(503), ctx);
            }
            Phase::Calling { until, asked: true, .. } if due(*until) => {
                let end = bridge(Cause::NoAnswer).with_status(480).with_detail(NOT_ALLOWED);
                self.end(end, Refusing::with(480), ctx);
            }
            Phase::Calling { until, .. } if due(*until) => {
                // Somebody's refusal says more than the silence of the others.
                let (end, status) =
                    self.refusal.take().unwrap_or_else(|| (bridge(Cause::NoAnswer).with_status(480), 480));
                self.end(end, Refusing::with(status), ctx);
            }
            Phase::Describing { until, .. } if due(*until) => self.prepared(ctx),
            Phase::Reaching { until, .. } if due(*until) => {
                let end = bridge(Cause::NoAnswer).with_status(480).with_detail(NOT_ANSWERED);
                self.end(end, Refusing::with(480), ctx);
            }
            Phase::Calling { agent_until: Some(agent), .. } if due(*agent) => self.try_another(ctx),
            Phase::Settling { until } if due(*until) => {
                let end = match self.ingress {
                    _ if self.placing.is_some() => {
                        bridge(Cause::NoAnswer).with_status(480).with_detail(NOT_ANSWERED)
                    }
                    Ingress::Sip => bridge(Cause::SignallingLost).with_detail("no ACK"),
                    Ingress::Graph => bridge(Cause::SignallingLost).with_detail("no reply to the acceptance"),
                    Ingress::ProviderUri => bridge(Cause::NoAnswer).with_detail("no answer at the URI"),
                };
                self.end(end, Refusing::with(500), ctx);
            }
            Phase::Connected { until } if due(*until) => {
                self.end(bridge(Cause::TooLong), Refusing::with(500), ctx)
            }
            Phase::Connected { .. } => {
                let now = ctx.now.mono;
                self.announced(ctx, |until| until <= now);
            }
            Phase::Ending { until, .. } if due(*until) => self.stop_waiting(ctx),
            Phase::Admitting
            | Phase::Asking { .. }
            | Phase::Opening { .. }
            | Phase::Describing { .. }
            | Phase::Reaching { .. }
            | Phase::Calling { .. }
            | Phase::Settling { .. }
            | Phase::Ending { .. } => {}
        }
    }

    /// A confirmation is lost: the record is written with what is known.
    fn stop_waiting(&mut self, ctx: &mut Context<'_>) {
        for leg in &mut self.legs {
            leg.state = LegState::Over;
        }
        self.media.plane = Plane::Closed;
        self.stop_recording(ctx);
        if matches!(self.recording, Recording::Stopping) {
            self.recording =
                Recording::Failed { why: "the recorder did not confirm its end".to_owned(), partial: None };
        }
    }

    pub(crate) fn stop_recording(&mut self, ctx: &mut Context<'_>) {
        if let Recording::Running { since } = self.recording {
            let lasted = self.over.unwrap_or(ctx.now).mono.saturating_duration_since(since);
            self.recording = Recording::Stopping;
            ctx.outputs.push_back(Output::Record(RecordCommand::Stop { call: self.id, lasted }));
        }
    }

    /// The recorder is done: with a whole file, or not and the call goes on all the same.
    pub(crate) fn recording_over(&mut self, outcome: Recording, ctx: &mut Context<'_>) {
        if matches!(self.recording, Recording::Running { .. }) && self.media.plane == Plane::Open {
            ctx.media(MediaCommand::Tap { call: self.id, on: false });
        }
        if matches!(self.recording, Recording::Running { .. } | Recording::Stopping) {
            let what = if matches!(outcome, Recording::Failed { .. }) {
                Milestone::RecordingFailed
            } else {
                Milestone::RecordingStopped
            };
            self.recording = outcome;
            self.milestone(what, None, ctx.now);
        }
    }

    /// Gives back at the desk what nobody of this call needs any more. A pair may call again, and an agent take
    /// another call, as soon as their own legs are over.
    pub(crate) fn release(&mut self, ctx: &mut Context<'_>) {
        if !self.is_ending() {
            return;
        }
        if self.claims.agent && self.is_over(Side::Agents) {
            self.claims.agent = false;
            ctx.asks.push_back(Ask::ReleaseAgent { call: self.id });
        }
        if self.claims.pair && self.is_over(Side::Meta) {
            self.claims.pair = false;
            ctx.asks.push_back(Ask::ReleasePair { call: self.id });
        }
    }

    /// Whether a customer called, and Meta brought the call.
    pub(crate) fn is_customers_own(&self) -> bool {
        self.originator_side() == Side::Meta && self.placing.is_none()
    }

    /// Gives the pair up if the call only waits for the confirmation of its end; returns whether it held it.
    pub(crate) fn give_pair_up(&mut self) -> bool {
        self.is_ending() && std::mem::take(&mut self.claims.pair)
    }

    fn is_over(&self, side: Side) -> bool {
        self.legs.iter().filter(|leg| leg.side == side).all(|leg| leg.state == LegState::Over)
    }

    /// Says whether legs, media and recording have all confirmed the end.
    pub(crate) fn is_done(&self) -> bool {
        let recorded = match &self.recording {
            Recording::Off { .. } | Recording::Done(_) | Recording::Failed { .. } => true,
            Recording::Running { .. } | Recording::Stopping => false,
        };
        self.is_ending()
            && recorded
            && self.media.is_over()
            && self.is_over(Side::Meta)
            && self.is_over(Side::Agents)
    }
}

/// A reason phrase made of what the operator is told: one short line of printable ASCII.
fn phrase(detail: &str) -> String {
    detail.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).take(MOST_PHRASE).collect()
}

/// The end of a placed call whose customer lets it ring.
const NOT_ANSWERED: &str = "the customer did not answer";

/// The end of a call whose customer was asked to allow it and did not.
const NOT_ALLOWED: &str = "the customer did not allow the call in time";

/// The longest reason phrase, in characters: a phone's display holds less.
const MOST_PHRASE: usize = 120;

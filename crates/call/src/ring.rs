//! The called side rings, perhaps with audio of its own.

use std::time::Duration;

use setu_model::{CallFacts, Milestone, Side};

use crate::call::{Call, Context, Exchange, LegState, Phase, Rung};
use crate::dial::read_answer;
use crate::ports::{LegCommand, Step};

impl Call {
    /// A provisional response of a dialled leg.
    pub(crate) fn handle_ringing(&mut self, index: u8, early: Option<&[u8]>, ctx: &mut Context<'_>) {
        let reaching = self.is_reaching(index);
        if !reaching && (!matches!(self.phase, Phase::Calling { .. }) || !self.is_pending(index)) {
            return;
        }
        let first = self.timeline.first(Milestone::Ringing).is_none();
        self.milestone(Milestone::Ringing, Some(index), ctx.now);
        if first {
            self.tell_progress(Step::Ringing, ctx);
        }
        if reaching {
            return;
        }
        // A broken early description is no reason to end a call that may yet be answered with a good one.
        let Some(leg) = self.leg_mut(index) else { return };
        let agreed = match (early, &leg.offering) {
            (Some(early), Some(offering)) => read_answer(offering, early, ctx).ok(),
            (Some(_) | None, _) => None,
        };
        let Some(agreed) = agreed else { return self.tell(Rung::Ringing, ctx) };
        leg.early = Some(Box::new(agreed));
        if self.passes_early_media(index, ctx) {
            self.flow_early(index, ctx);
        } else {
            self.tell(Rung::Ringing, ctx);
        }
    }

    /// A dialled customer is called by a request. Whoever dialled hears ringing, as on every other way.
    pub(crate) fn handle_asked(&mut self, index: u8, wait: Option<Duration>, ctx: &mut Context<'_>) {
        if !self.is_pending(index) {
            return;
        }
        let Phase::Calling { until, asked, .. } = &mut self.phase else { return };
        if let Some(wait) = wait {
            (*until, *asked) = (ctx.now.mono + wait, true);
        }
        self.tell(Rung::Ringing, ctx);
    }

    /// The customer who was asked allows the call, which rings from here on.
    pub(crate) fn handle_allowed(&mut self, index: u8, learnt: &CallFacts, ctx: &mut Context<'_>) {
        if !self.is_pending(index) {
            return;
        }
        let Phase::Calling { until, asked, .. } = &mut self.phase else { return };
        (*until, *asked) = (ctx.now.mono + ctx.config.timers.ring_customer, false);
        self.learn(learnt);
    }

    /// The answer of a dialled leg, ahead of its decision: its media is set up, and nothing flows yet.
    pub(crate) fn handle_described(&mut self, index: u8, sdp: &[u8], ctx: &mut Context<'_>) {
        if self.is_reaching(index) {
            self.meet_with_answer(Some(sdp), ctx);
            return;
        }
        let other = (0..).zip(&self.legs).any(|(at, leg)| at != index && leg.early.is_some());
        if !matches!(self.phase, Phase::Calling { .. }) || !self.is_pending(index) || other {
            return;
        }
        let Some(leg) = self.leg_mut(index) else { return };
        // A broken one is looked at again, and refused, when the leg answers with it.
        leg.early =
            leg.offering.as_ref().and_then(|offering| read_answer(offering, sdp, ctx).ok()).map(Box::new);
        self.set_called(index, ctx);
    }

    /// Whether a leg is that of a customer who is called and has not answered.
    fn is_reaching(&self, index: u8) -> bool {
        let waits = matches!(self.phase, Phase::Reaching { .. } | Phase::Settling { .. });
        index == 0 && waits && self.placing.is_some() && !self.acknowledged
    }

    /// Early media flows from one leg only, toward an originator whose offer can be answered, and toward Meta only
    /// if the operator wants it.
    fn passes_early_media(&self, index: u8, ctx: &Context<'_>) -> bool {
        let wanted = self.originator_side() == Side::Agents || ctx.config.early_media_to_meta;
        let other = (0..).zip(&self.legs).any(|(at, leg)| at != index && leg.early.is_some());
        wanted && !other && matches!(self.exchange, Exchange::Answer { .. })
    }

    fn flow_early(&mut self, index: u8, ctx: &mut Context<'_>) {
        self.set_called(index, ctx);
        self.set_originator(ctx);
        self.media.bridge(self.id, ctx);
        self.milestone(Milestone::EarlyMedia, Some(index), ctx.now);
        self.tell(Rung::EarlyMedia, ctx);
    }

    /// Tells the originator, once for each step.
    fn tell(&mut self, rung: Rung, ctx: &mut Context<'_>) {
        let Some(leg) = self.leg_mut(0) else { return };
        let LegState::Offered { rung: before } = &mut leg.state else { return };
        if *before >= rung {
            return;
        }
        *before = rung;
        let early = match (rung, &self.exchange) {
            (Rung::EarlyMedia, Exchange::Answer { text, .. }) => Some(text.clone()),
            (
                Rung::Nothing | Rung::Ringing | Rung::EarlyMedia,
                Exchange::Theirs(_) | Exchange::Answer { .. } | Exchange::Wanted | Exchange::Ours(_),
            ) => None,
        };
        ctx.leg(LegCommand::Ring { leg: self.leg_id(0), early });
    }

    /// Tells the media plane of a called leg's early description.
    pub(crate) fn set_called(&mut self, index: u8, ctx: &mut Context<'_>) {
        let Some(leg) = self.legs.get_mut(usize::from(index)) else { return };
        let (Some(offering), Some(agreed)) = (&leg.offering, &leg.early) else { return };
        let srtp = agreed.encryption();
        leg.agreed = Some((agreed.audio.codec.name(), srtp));
        self.media.called.agree(&offering.policy, &offering.local, (**agreed).clone(), ctx);
    }

    /// Tells the media plane of what was answered to the originator's offer.
    pub(crate) fn set_originator(&mut self, ctx: &mut Context<'_>) {
        let Exchange::Answer { terms, .. } = &self.exchange else { return };
        let terms = terms.clone();
        self.agree_originator(&terms, ctx);
    }
}

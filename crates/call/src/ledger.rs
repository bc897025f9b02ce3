//! The one record each call leaves.

use setu_model::{
    AnsweredBy, CallQuality, Cause, Cdr, EndedBy, LegRecord, Milestone, Now, Side, Termination,
};

use crate::call::{Call, Party, Phase, Recording};
use crate::verdict;

impl Call {
    /// Makes the record of a call that is over.
    pub(crate) fn into_cdr(mut self, now: Now) -> Cdr {
        self.milestone(Milestone::Ended, None, now);
        let agent = self.answered_by();
        let quality = |index: u8| {
            let at = self.media_index(index)?;
            self.media.quality.iter().find(|(leg, _)| leg.index == at).map(|(_, quality)| *quality)
        };
        let legs = (0..).zip(&self.legs).map(|(index, leg)| LegRecord {
            index,
            side: leg.side,
            codec: leg.agreed.map(|(codec, _)| codec.to_owned()),
            srtp: leg.agreed.and_then(|(_, srtp)| srtp).map(str::to_owned),
            media: quality(index),
        });
        let legs = legs.collect();
        let quality = self.quality();
        let termination = match self.phase {
            Phase::Ending { termination, .. } => termination,
            // Only calls that are ending are done.
            Phase::Admitting
            | Phase::Asking { .. }
            | Phase::Opening { .. }
            | Phase::Describing { .. }
            | Phase::Reaching { .. }
            | Phase::Calling { .. }
            | Phase::Settling { .. }
            | Phase::Connected { .. } => Termination::new(Cause::Fault, EndedBy::Bridge),
        };
        let (recording, recording_failure) = match self.recording {
            Recording::Done(recording) => (Some(recording), None),
            Recording::Failed { why, partial } => (partial, Some(why)),
            Recording::Off { .. } | Recording::Running { .. } | Recording::Stopping => (None, None),
        };
        let over = self.over.unwrap_or(now);
        Cdr {
            call: self.id,
            direction: self.direction,
            ingress: self.ingress,
            facts: self.facts,
            began: self.began.wall,
            answered: self.connected.map(|at| at.wall),
            ended: over.wall,
            setup_ms: self.taken.map(|at| between_ms(self.began, at)),
            duration_ms: self.connected.map_or(0, |at| between_ms(at, over)),
            meta_duration_s: self.meta_duration_s,
            agent,
            termination,
            refused: self.refused,
            legs,
            quality,
            timeline: self.timeline,
            digits: self.digits,
            recording,
            recording_failure,
            // The call core knows of no prices.
            cost: None,
        }
    }

    /// How the call sounded; none if both sides were never joined.
    pub(crate) fn quality(&self) -> Option<CallQuality> {
        self.timeline.first(Milestone::Bridged)?;
        let customer = self.media.quality_of(Side::Meta)?;
        let agent = self.media.quality_of(Side::Agents)?;
        Some(verdict::judge(customer, agent, self.g711()))
    }

    /// Whether one of the two legs that talked has G.711, which the whole way is worth no more than.
    fn g711(&self) -> bool {
        self.legs.iter().any(|leg| leg.agreed.is_some_and(|(codec, _)| codec.starts_with("PCM")))
    }

    /// Who talks with the customer, once that is known.
    pub(crate) fn answered_by(&self) -> Option<AnsweredBy> {
        let index = match self.originator_side() {
            Side::Meta => self.winner?,
            Side::Agents => 0,
        };
        match &self.leg(index)?.party {
            Party::Agent(name) => Some(AnsweredBy::Agent(name.clone())),
            Party::Trunk(name) => Some(AnsweredBy::Trunk(name.clone())),
            Party::Customer => None,
        }
    }
}

/// By the clock that never goes back.
fn between_ms(from: Now, to: Now) -> u64 {
    u64::try_from(to.mono.saturating_duration_since(from.mono).as_millis()).unwrap_or(u64::MAX)
}

//! The agents' side changes the session: hold, another codec, another address. It ends here, Meta never hears of it.

use setu_model::{Milestone, Side};
use setu_sdp::{Description, Negotiated};

use crate::call::{Call, Context, LegState, Offering, Phase};
use crate::dial::{permitted, read_answer};
use crate::media::Terms;
use crate::ports::{CALLED_MEDIA, LegCommand, Sound};

impl Call {
    /// A re-INVITE or UPDATE: answered from what is in force.
    pub(crate) fn handle_reoffered(&mut self, index: u8, offer: Option<&[u8]>, ctx: &mut Context<'_>) {
        let Some(side) = self.leg(index).filter(|leg| is_live(leg.state)).map(|leg| leg.side) else { return };
        let leg = self.leg_id(index);
        let talks = matches!(self.phase, Phase::Connected { .. }) && self.media_index(index).is_some();
        let answer = match (side, talks) {
            // Meta says it never renegotiates; the session stays as it is.
            (Side::Meta, _) => Err(488),
            // Before the call stands there is an offer of ours or theirs under way (RFC 3261 section 14.2).
            (Side::Agents, false) => Err(491),
            (Side::Agents, true) => self.reoffer(index, offer, ctx),
        };
        match answer {
            Ok(sdp) => ctx.leg(LegCommand::AcceptReoffer { leg, sdp }),
            Err(status) => ctx.leg(LegCommand::RejectReoffer { leg, status }),
        }
    }

    fn reoffer(&mut self, index: u8, offer: Option<&[u8]>, ctx: &mut Context<'_>) -> Result<String, u16> {
        let end = self.media_index(index).and_then(|at| self.media.leg_mut(at)).ok_or(491_u16)?;
        let Terms { policy, local, agreed } = end.terms.as_deref().ok_or(491_u16)?;
        let Some(offer) = offer else {
            let offer = setu_sdp::re_offer(agreed, policy, local);
            let sdp = offer.sdp.clone();
            let offering = Box::new(Offering { offer, policy: policy.clone(), local: local.clone() });
            if let Some(leg) = self.leg_mut(index) {
                leg.reoffering = Some(offering);
            }
            return Ok(sdp);
        };
        let offer = Description::parse(offer).map_err(|why| why.status())?;
        let (text, mut agreed) =
            setu_sdp::re_answer(&offer, agreed, policy, local).map_err(|why| why.status())?;
        permitted(&mut agreed, ctx).map_err(|_| 488_u16)?;
        self.renegotiated(index, agreed, ctx);
        Ok(text)
    }

    /// The ACK that answers our offer in a 200 to a re-INVITE. An answer that makes no sense leaves the session as
    /// it was.
    pub(crate) fn reoffer_answered(&mut self, index: u8, sdp: Option<&[u8]>, ctx: &mut Context<'_>) {
        let Some(sdp) = sdp else { return };
        // Taken: the answer to an offer comes once, and an ACK that repeats it changes nothing.
        let leg = self.leg_mut(index).filter(|leg| is_live(leg.state));
        let offering = leg.and_then(|leg| leg.reoffering.take());
        let Some(Ok(agreed)) = offering.map(|offering| read_answer(&offering, sdp, ctx)) else { return };
        self.renegotiated(index, agreed, ctx);
    }

    fn renegotiated(&mut self, index: u8, agreed: Negotiated, ctx: &mut Context<'_>) {
        let Some(end) = self.media_index(index).and_then(|at| self.media.leg_mut(at)) else { return };
        let Some(Terms { policy, local, .. }) = end.terms.as_deref().cloned() else { return };
        let what = match (end.held, agreed.hold) {
            (false, true) => Milestone::Held,
            (true, false) => Milestone::Resumed,
            (true, true) | (false, false) => Milestone::Renegotiated,
        };
        let described = (agreed.audio.codec.name(), agreed.encryption());
        end.agree(&policy, &local, agreed, ctx);
        if let Some(leg) = self.leg_mut(index) {
            leg.agreed = Some(described);
        }
        self.milestone(what, Some(index), ctx.now);
        // An announcement is heard to its end first.
        if self.announcing.is_none() && what == Milestone::Held {
            self.media.customer_mut().play(Sound::Hold, ctx);
        } else if self.announcing.is_none() && what == Milestone::Resumed {
            self.media.customer_mut().stop_playing(ctx);
        }
    }

    /// The media leg that a leg's session belongs to: none for legs that lost.
    pub(crate) fn media_index(&self, index: u8) -> Option<u8> {
        match index {
            0 => Some(0),
            index if self.winner == Some(index) => Some(CALLED_MEDIA),
            _ => None,
        }
    }
}

const fn is_live(state: LegState) -> bool {
    match state {
        LegState::Offered { .. } | LegState::Dialled | LegState::Answered => true,
        LegState::Leaving | LegState::Over => false,
    }
}

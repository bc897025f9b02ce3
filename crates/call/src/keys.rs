//! Keys that are pressed: noted, and told to a peer that hears of them by signalling only.
//!
//! The media plane passes keys between legs with telephone events by itself (RFC 4733).

use setu_model::{Cdr, DigitRecord, Pii, Side};

use crate::call::{Call, Context, Phase};
use crate::media::MediaLeg;
use crate::ports::{CALLED_MEDIA, LegCommand, MediaCommand, Step};

impl Call {
    /// A key came as telephone event on a media leg.
    pub(crate) fn handle_key(
        &mut self,
        media: u8,
        digit: Pii<char>,
        duration_ms: u32,
        ctx: &mut Context<'_>,
    ) {
        let Some(from) = self.media.leg_mut(media).map(|leg| leg.side) else { return };
        self.note_key(from, &digit, duration_ms, ctx);
        let other = other_media(media);
        let wants_info =
            self.media.leg_mut(other).is_some_and(|leg| leg.side == Side::Agents && leg.hears_info());
        if let (true, Some(index), Phase::Connected { .. }) =
            (wants_info, self.leg_of_media(other), &self.phase)
        {
            ctx.leg(LegCommand::Key { leg: self.leg_id(index), digit, duration_ms });
        }
    }

    /// A key came by INFO on a leg. Where telephone events were agreed on too, the same key comes as one of them.
    pub(crate) fn handle_info_key(
        &mut self,
        index: u8,
        digit: Pii<char>,
        duration_ms: u32,
        ctx: &mut Context<'_>,
    ) {
        let Some(media) = self.media_index(index).filter(|_| matches!(self.phase, Phase::Connected { .. }))
        else {
            return;
        };
        let told_only = |leg: &MediaLeg| leg.terms.as_ref().is_some_and(|terms| terms.agreed.dtmf.is_none());
        let Some(leg) = self.media.leg_mut(media).filter(|leg| leg.side == Side::Agents && told_only(leg))
        else {
            return;
        };
        let from = leg.side;
        self.note_key(from, &digit, duration_ms, ctx);
        if let Some(to) = self.media.leg_mut(other_media(media)).map(|leg| leg.id) {
            ctx.media(MediaCommand::Press { leg: to, digit, duration_ms });
        }
    }

    fn note_key(&mut self, from: Side, digit: &Pii<char>, duration_ms: u32, ctx: &mut Context<'_>) {
        tracing::debug!(call = %self.id, %from, %digit, duration_ms, "key");
        if self.digits.len() < Cdr::MOST_DIGITS {
            let digit = (!ctx.config.mask_digits).then(|| digit.clone());
            let key = DigitRecord { at_ms: self.since_began_ms(ctx.now), from, digit, duration_ms };
            self.digits.push(key.clone());
            self.tell_progress(Step::Key(key), ctx);
        }
    }
}

impl MediaLeg {
    /// Whether its peer is told of keys by INFO: it was never offered telephone events.
    fn hears_info(&self) -> bool {
        self.terms.as_ref().is_some_and(|terms| terms.policy.telephone_event.is_empty())
    }
}

const fn other_media(media: u8) -> u8 {
    if media == CALLED_MEDIA { 0 } else { CALLED_MEDIA }
}

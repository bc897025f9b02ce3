//! The called side is dialled: every contact of one agent at once, then those of the next agent; or a trunk; or the
//! customer.

use std::time::Duration;

use setu_model::{Cause, EndedBy, Milestone, Side, Termination};
use setu_sdp::{Description, IceMode, Local, Negotiated};

use crate::call::{Call, Context, Exchange, Leg, LegState, Offering, Party, Phase, Plan, Reserved};
use crate::desk::{Ask, Reply};
use crate::hangup::Refusing;
use crate::media::Terms;
use crate::policy::{Role, policy};
use crate::ports::{Dial, DialTarget, LegCommand, RingOrder};

impl Call {
    /// Both ports are open: agrees with the originator on what can be, before anybody is made to ring for nothing.
    pub(crate) fn begin_calling(&mut self, reserved: Option<Reserved>, ctx: &mut Context<'_>) {
        if let Err(detail) = self.meet_originator(ctx) {
            let end = Termination::new(Cause::IncompatibleMedia, EndedBy::Bridge).with_status(488);
            return self.end(end.with_detail(detail), Refusing::with(488), ctx);
        }
        if self.describe_ahead(ctx) {
            self.phase = Phase::Describing { until: ctx.now.mono + ctx.config.timers.describe, reserved };
        } else if self.placing.is_some_and(|placing| placing.ring == RingOrder::CustomerFirst) {
            self.phase = Phase::Reaching { until: ctx.now.mono + ctx.config.timers.ring_customer, reserved };
            self.reach(ctx);
        } else {
            self.dial_called(reserved, ctx);
        }
    }

    /// The originator was told our answer ahead, or that took too long: the called side is dialled.
    pub(crate) fn prepared(&mut self, ctx: &mut Context<'_>) {
        let Phase::Describing { reserved, .. } = &mut self.phase else { return };
        let reserved = reserved.take();
        self.dial_called(reserved, ctx);
    }

    /// The customer of a placed call has answered, and hears that somebody will.
    pub(crate) fn reached(&mut self, ctx: &mut Context<'_>) {
        let Phase::Reaching { reserved, .. } = &mut self.phase else { return };
        let reserved = reserved.take();
        self.entertain(ctx);
        self.dial_called(reserved, ctx);
    }

    fn dial_called(&mut self, reserved: Option<Reserved>, ctx: &mut Context<'_>) {
        let timers = &ctx.config.timers;
        let (ring, hunting) = match &self.plan {
            Plan::Agents(_) => (timers.ring, true),
            Plan::Trunk { .. } | Plan::Nobody => (timers.ring, false),
            Plan::Customer => (timers.ring_customer, false),
        };
        // Meta's patience is counted from its INVITE.
        let patient = self.originator_side() == Side::Agents || self.placing.is_some();
        let until = if patient { ctx.now.mono + ring } else { self.began.mono + ring };
        let agent_until = hunting.then(|| ctx.now.mono + timers.ring_agent);
        self.phase = Phase::Calling { until, agent_until, asked: false };
        self.answer_at_once(ctx);
        match (self.plan.clone(), reserved) {
            (Plan::Agents(_), Some(reserved)) => self.dial_agent(reserved, ctx),
            (Plan::Trunk { trunk, extension }, _) => {
                let name = trunk.name().to_owned();
                let secure = ctx.config.trunks.get(&name).is_some_and(|trunk| trunk.secure);
                self.dial(Party::Trunk(name), DialTarget::Trunk { trunk, extension }, secure, ctx);
            }
            (Plan::Customer, _) => {
                let number = self.facts.number.clone();
                let customer = self.facts.customer.reveal().clone();
                self.dial(Party::Customer, DialTarget::Customer { number, customer }, true, ctx);
            }
            (Plan::Agents(_) | Plan::Nobody, _) => {}
        }
        self.seek_on(ctx);
    }

    fn meet_originator(&mut self, ctx: &mut Context<'_>) -> Result<(), String> {
        let Some(party) = self.leg(0).map(|leg| leg.party.clone()) else { return Ok(()) };
        let Some(local) = self.media.originator.local else { return Ok(()) };
        match &self.exchange {
            Exchange::Theirs(offer) => {
                let policy = policy(&party, &self.facts.number, Role::Answer, ctx.config);
                let local = Local::new(local.ip(), local.port(), &policy, ctx.entropy);
                let (text, mut agreed) =
                    setu_sdp::answer(offer, &policy, &local).map_err(|why| why.to_string())?;
                permitted(&mut agreed, ctx)?;
                self.exchange = Exchange::Answer { text, terms: Box::new(Terms { policy, local, agreed }) };
            }
            Exchange::Wanted => {
                let secure = match &party {
                    Party::Trunk(name) => ctx.config.trunks.get(name).map(|trunk| trunk.secure),
                    // An INVITE does not tell how its sender is registered: it may choose.
                    Party::Agent(_) | Party::Customer => None,
                };
                let policy = policy(&party, &self.facts.number, Role::Offer { secure }, ctx.config);
                let local = Local::new(local.ip(), local.port(), &policy, ctx.entropy);
                let offer = setu_sdp::offer(&policy, &local);
                self.exchange = Exchange::Ours(Box::new(Offering { offer, policy, local }));
            }
            Exchange::Answer { .. } | Exchange::Ours(_) => {}
        }
        Ok(())
    }

    fn dial_agent(&mut self, reserved: Reserved, ctx: &mut Context<'_>) {
        let Reserved { agent, contacts } = reserved;
        if let Plan::Agents(left) = &mut self.plan {
            left.retain(|candidate| candidate.agent != agent);
        }
        for (contact, secure) in contacts.into_iter().take(MOST_FORKS) {
            let target = DialTarget::Contact { agent: agent.clone(), contact };
            self.dial(Party::Agent(agent.clone()), target, secure, ctx);
        }
    }

    fn dial(&mut self, party: Party, target: DialTarget, secure: bool, ctx: &mut Context<'_>) {
        let Some(address) = self.media.called.local else { return };
        let Some(index) = u8::try_from(self.legs.len()).ok().filter(|index| *index < MOST_LEGS) else {
            return;
        };
        // Each fork gets keys of its own: one agent's phone cannot listen to what another answered.
        let policy = policy(&party, &self.facts.number, Role::Offer { secure: Some(secure) }, ctx.config);
        let local = Local::new(address.ip(), address.port(), &policy, ctx.entropy);
        let offer = setu_sdp::offer(&policy, &local);
        let text = offer.sdp.clone();
        let offering = Some(Box::new(Offering { offer, policy, local }));
        let side = crate::arrive::side_of(&party);
        self.legs.push(Leg {
            side,
            party,
            state: LegState::Dialled,
            offering,
            reoffering: None,
            early: None,
            agreed: None,
        });
        self.milestone(Milestone::Dialled, Some(index), ctx.now);
        let dial = Dial { leg: self.leg_id(index), target, offer: text, facts: self.facts.clone() };
        ctx.leg(LegCommand::Dial(Box::new(dial)));
    }

    /// Nobody rings any more: asks for the next agent, or gives up.
    pub(crate) fn seek_on(&mut self, ctx: &mut Context<'_>) {
        if !matches!(self.phase, Phase::Calling { .. }) || !self.pending().is_empty() {
            return;
        }
        match &self.plan {
            Plan::Agents(left) if !left.is_empty() && self.legs.len() < usize::from(MOST_LEGS) => {
                ctx.asks.push_back(Ask::Next { call: self.id, agents: left.clone() });
            }
            Plan::Agents(_) | Plan::Trunk { .. } | Plan::Customer | Plan::Nobody => self.give_up(ctx),
        }
    }

    /// The agent who rings has had the time of one agent: asks for another one, while the first goes on ringing.
    pub(crate) fn try_another(&mut self, ctx: &mut Context<'_>) {
        let again = ctx.now.mono + ctx.config.timers.ring_agent.max(SHORTEST_TURN);
        let Phase::Calling { agent_until, .. } = &mut self.phase else { return };
        match &self.plan {
            Plan::Agents(left) if !left.is_empty() => {
                *agent_until = Some(again);
                ctx.asks.push_back(Ask::Next { call: self.id, agents: left.clone() });
            }
            Plan::Agents(_) | Plan::Trunk { .. } | Plan::Customer | Plan::Nobody => *agent_until = None,
        }
    }

    /// The desk's answer to [`Ask::Next`].
    pub(crate) fn handle_next(&mut self, reply: Reply, ctx: &mut Context<'_>) {
        if let Reply::Reserved { agent, contacts } = reply {
            for index in self.pending() {
                self.hang_up(index, Cause::NoAnswer, ctx);
            }
            if let Phase::Calling { agent_until, .. } = &mut self.phase {
                *agent_until = Some(ctx.now.mono + ctx.config.timers.ring_agent);
            }
            self.milestone(Milestone::Reserved, None, ctx.now);
            self.dial_agent(Reserved { agent, contacts }, ctx);
            if self.pending().is_empty() {
                self.give_up(ctx);
            }
        } else if self.pending().is_empty() {
            self.give_up(ctx);
        }
    }

    fn give_up(&mut self, ctx: &mut Context<'_>) {
        let nobody = || (Termination::new(Cause::NoAnswer, EndedBy::Bridge).with_status(480), 480);
        let (termination, status) = self.refusal.take().unwrap_or_else(nobody);
        self.end(termination, Refusing::with(status), ctx);
    }

    /// Remembers how one of the called legs refused. What a person decided says more than what a device did.
    pub(crate) fn note_refusal(&mut self, termination: Termination, toward: u16) {
        let weight = |cause: Cause| match cause {
            Cause::Declined => 3,
            Cause::Busy => 2,
            Cause::NoAnswer | Cause::IncompatibleMedia => 1,
            Cause::Success
            | Cause::Cancelled
            | Cause::Unreachable
            | Cause::NoPermission
            | Cause::RefusedByMeta
            | Cause::Refused
            | Cause::MediaTimeout
            | Cause::SignallingLost
            | Cause::TooLong
            | Cause::Shutdown
            | Cause::Fault
            | Cause::Interrupted => 0,
        };
        let known = self.refusal.as_ref().map(|(known, _)| weight(known.cause));
        if known.is_none_or(|known| weight(termination.cause) > known) {
            self.refusal = Some((termination, toward));
        }
    }

    pub(crate) fn originator_side(&self) -> Side {
        self.media.originator.side
    }
}

/// Reads a peer's answer to an offer of ours.
pub(crate) fn read_answer(
    offering: &Offering,
    answer: &[u8],
    ctx: &Context<'_>,
) -> Result<Negotiated, String> {
    let answer = Description::parse(answer).map_err(|why| why.to_string())?;
    let mut agreed = setu_sdp::accept(&offering.offer, &answer).map_err(|why| why.to_string())?;
    permitted(&mut agreed, ctx)?;
    Ok(agreed)
}

/// Refuses to send media where the operator does not allow it. With ICE that is said of candidates, and the address
/// beside them is never sent to.
pub(crate) fn permitted(agreed: &mut Negotiated, ctx: &Context<'_>) -> Result<(), String> {
    if let Some(ice) = &mut agreed.ice {
        let told = ice.candidates.len();
        ice.candidates.retain(|candidate| ctx.config.egress.check(candidate.address.ip()).is_ok());
        let none = told > 0 && ice.candidates.is_empty() && ice.mode == IceMode::Full;
        return if none {
            Err("media to none of the candidates is allowed (egress.allow)".to_owned())
        } else {
            Ok(())
        };
    }
    let rtcp = agreed.remote_rtcp.unwrap_or(agreed.remote);
    for to in [agreed.remote.ip(), rtcp.ip()] {
        // An unspecified address stands for a peer on hold (RFC 2543): nothing is sent to it.
        if !to.to_canonical().is_unspecified() {
            ctx.config.egress.check(to).map_err(|refusal| format!("media: {refusal}"))?;
        }
    }
    Ok(())
}

/// The shortest time one agent rings, whatever is configured: each turn asks the desk.
const SHORTEST_TURN: Duration = Duration::from_secs(1);

/// The most contacts of one agent that ring at once: a desk phone, a softphone, a mobile, and some forgotten ones.
const MOST_FORKS: usize = 8;

/// The most legs of one call: an agent's contacts, several times over.
const MOST_LEGS: u8 = 64;

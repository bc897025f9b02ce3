//! One call, as a plain value: what it is, where it stands, and who is in it.
//!
//! What happens to it is told by the modules that follow a call's life: `arrive`, `dial`, `ring`, `connect`,
//! `reoffer`, `hangup`, `ledger`.

use std::collections::VecDeque;
use std::time::Instant;

use setu_model::{
    CallFacts, CallId, DigitRecord, Direction, EndedBy, Entropy, Ingress, LegId, Milestone, Now,
    RecordingRef, RuleRefusal, Side, Termination, Timeline,
};
use setu_sdp::{Description, Local, Negotiated, Offer, Policy};

use crate::config::{CallConfig, Extension, PrivateTrunk};
use crate::desk::{Ask, Candidate};
use crate::media::{CallMedia, Terms};
use crate::ports::{AnswerIn, ContactId, LegCommand, MediaCommand, Output, Progress, RingOrder, Step};

/// What a call is handed with everything that happens to it.
pub(crate) struct Context<'a> {
    pub(crate) config: &'a CallConfig,
    pub(crate) entropy: &'a mut dyn Entropy,
    pub(crate) outputs: &'a mut VecDeque<Output>,
    pub(crate) asks: &'a mut VecDeque<Ask>,
    pub(crate) now: Now,
}

impl Context<'_> {
    pub(crate) fn leg(&mut self, command: LegCommand) {
        self.outputs.push_back(Output::Leg(command));
    }

    pub(crate) fn media(&mut self, command: MediaCommand) {
        self.outputs.push_back(Output::Media(command));
    }
}

/// One call. Everything in it is a plain value, so that it can be stored and go on elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) id: CallId,
    pub(crate) ingress: Ingress,
    pub(crate) direction: Direction,
    pub(crate) facts: CallFacts,
    pub(crate) began: Now,
    /// When the called side answered.
    pub(crate) taken: Option<Now>,
    /// When both sides were connected.
    pub(crate) connected: Option<Now>,
    /// When the end was decided.
    pub(crate) over: Option<Now>,
    pub(crate) phase: Phase,
    pub(crate) exchange: Exchange,
    pub(crate) answer_in: AnswerIn,
    /// How the call is to be placed; none if it came in.
    pub(crate) placing: Option<Placing>,
    /// A provider has the customer on the line for the business, and nobody asked the gate.
    pub(crate) unasked: bool,
    /// Whether the originator confirmed our answer.
    pub(crate) acknowledged: bool,
    /// By index: the originator, then every leg that was dialled.
    pub(crate) legs: Vec<Leg>,
    /// The dialled leg that answered.
    pub(crate) winner: Option<u8>,
    pub(crate) plan: Plan,
    pub(crate) media: CallMedia,
    pub(crate) recording: Recording,
    /// An announcement is heard until then at the latest, before both sides are joined.
    pub(crate) announcing: Option<Instant>,
    /// What stays claimed at the desk.
    pub(crate) claims: Claims,
    /// How the called side refused so far, with the status for the originator.
    pub(crate) refusal: Option<(Termination, u16)>,
    /// The rules that forbade the call.
    pub(crate) refused: Vec<RuleRefusal>,
    pub(crate) meta_duration_s: Option<u64>,
    pub(crate) timeline: Timeline,
    pub(crate) digits: Vec<DigitRecord>,
}

/// Where a call stands. Each phase owns the deadlines that run in it: leaving it stops them.
#[derive(Debug, Clone)]
pub(crate) enum Phase {
    /// The desk is asked whether the call may be and who takes it.
    Admitting,
    /// The gate is asked whether the call may be made.
    Asking { until: Instant, reserved: Option<Reserved> },
    /// The media plane opens ports.
    Opening { until: Instant, reserved: Option<Reserved> },
    /// The originator is told our answer ahead.
    Describing { until: Instant, reserved: Option<Reserved> },
    /// The customer of a placed call is dialled or rings, ahead of the agent.
    Reaching { until: Instant, reserved: Option<Reserved> },
    /// The called side is dialled or rings. `asked`: the customer has to allow the call first.
    Calling { until: Instant, agent_until: Option<Instant>, asked: bool },
    /// Both sides answered, and the originator's ACK has to bring its session description.
    Settling { until: Instant },
    /// Both sides talk.
    Connected { until: Instant },
    /// The end is decided; legs, media and recording have to confirm it.
    Ending { termination: Termination, until: Instant },
}

/// Names the timer behind a deadline, for logs and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The gate has to answer.
    Gate,
    /// The media plane has to open ports.
    Open,
    /// The called side is dialled although the originator was not told our answer.
    Describe,
    /// The next agent is tried.
    Agent,
    /// The called side, or the customer of a placed call, has to answer; or a customer who was asked, to allow the call.
    Ring,
    /// The originator's ACK has to bring a session description.
    Ack,
    /// An announcement has to be over.
    Announcement,
    /// The longest call.
    Longest,
    /// A reservation ends.
    Reservation,
    /// The record is written without further confirmations.
    Confirm,
}

/// An agent the desk reserved, and the contacts to dial.
#[derive(Debug, Clone)]
pub(crate) struct Reserved {
    pub(crate) agent: String,
    pub(crate) contacts: Vec<(ContactId, bool)>,
}

/// What is particular to a call that the bridge is asked to place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placing {
    pub(crate) ring: RingOrder,
    pub(crate) by_hand: bool,
}

/// Who is to be called.
#[derive(Debug, Clone)]
pub(crate) enum Plan {
    /// Nobody: the call was refused at the door.
    Nobody,
    /// These agents, one after the other; those tried already are gone from it.
    Agents(Vec<Candidate>),
    /// An extension behind a trunk.
    Trunk { trunk: PrivateTrunk, extension: Extension },
    /// The customer of the call's facts.
    Customer,
}

/// How far offer and answer with the originator are.
#[derive(Debug, Clone)]
pub(crate) enum Exchange {
    /// It made an offer, which waits for our address.
    Theirs(Box<Description>),
    /// Both descriptions are known; this is ours.
    Answer { text: String, terms: Box<Terms> },
    /// It wants our offer, which waits for our address.
    Wanted,
    /// It wants our offer: this one.
    Ours(Box<Offering>),
}

/// An offer of ours that is out, and what it was made of.
#[derive(Debug, Clone)]
pub(crate) struct Offering {
    pub(crate) offer: Offer,
    pub(crate) policy: Policy,
    pub(crate) local: Local,
}

/// One leg.
#[derive(Debug, Clone)]
pub(crate) struct Leg {
    pub(crate) side: Side,
    pub(crate) party: Party,
    pub(crate) state: LegState,
    /// Our offer in the INVITE that dialled it.
    pub(crate) offering: Option<Box<Offering>>,
    /// Our offer in a 200 to its re-INVITE, which the ACK answers.
    pub(crate) reoffering: Option<Box<Offering>>,
    /// What its early session description agreed on.
    pub(crate) early: Option<Box<Negotiated>>,
    /// What was agreed in the end, for the record.
    pub(crate) agreed: Option<(&'static str, Option<&'static str>)>,
}

/// Who is at the other end of a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Party {
    Customer,
    Agent(String),
    Trunk(String),
}

/// Where a leg stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LegState {
    /// The originator's, not yet answered. `rung` tells how.
    Offered { rung: Rung },
    /// Dialled, not yet answered.
    Dialled,
    /// Answered.
    Answered,
    /// Told to end.
    Leaving,
    /// Confirmed its end.
    Over,
}

/// What the originator was told before its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rung {
    Nothing,
    Ringing,
    EarlyMedia,
}

/// What stays claimed at the desk.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Claims {
    pub(crate) agent: bool,
    pub(crate) pair: bool,
}

/// How far the recording is.
#[derive(Debug, Clone)]
pub(crate) enum Recording {
    /// Not wanted, or not begun.
    Off { wanted: bool },
    /// Frames are copied.
    Running { since: Instant },
    /// The file is being finished.
    Stopping,
    /// It is complete.
    Done(RecordingRef),
    /// It could not be kept, or only in part.
    Failed { why: String, partial: Option<RecordingRef> },
}

impl Call {
    pub(crate) const fn leg_id(&self, index: u8) -> LegId {
        LegId { call: self.id, index }
    }

    pub(crate) fn leg(&self, index: u8) -> Option<&Leg> {
        self.legs.get(usize::from(index))
    }

    pub(crate) fn leg_mut(&mut self, index: u8) -> Option<&mut Leg> {
        self.legs.get_mut(usize::from(index))
    }

    /// Says whether a dialled leg may still answer.
    pub(crate) fn is_pending(&self, index: u8) -> bool {
        self.leg(index).is_some_and(|leg| leg.state == LegState::Dialled)
    }

    /// The dialled legs that may still answer.
    pub(crate) fn pending(&self) -> Vec<u8> {
        (0..)
            .zip(&self.legs)
            .filter(|(_, leg)| leg.state == LegState::Dialled)
            .map(|(index, _)| index)
            .collect()
    }

    /// Whose end a leg is.
    pub(crate) fn party_of(&self, index: u8) -> EndedBy {
        match self.leg(index).map(|leg| leg.side) {
            Some(Side::Meta) => EndedBy::Customer,
            Some(Side::Agents) => EndedBy::Agent,
            None => EndedBy::Bridge,
        }
    }

    pub(crate) fn milestone(&mut self, what: Milestone, leg: Option<u8>, now: Now) {
        self.timeline.push(self.since_began_ms(now), leg, what);
    }

    /// Tells whoever follows the call.
    pub(crate) fn tell_progress(&self, step: Step, ctx: &mut Context<'_>) {
        let progress = Progress {
            call: self.id,
            step,
            at: ctx.now.wall,
            direction: self.direction,
            ingress: self.ingress,
            facts: self.facts.clone(),
            agent: self.answered_by(),
        };
        ctx.outputs.push_back(Output::Progress(Box::new(progress)));
    }

    /// Milliseconds from the call's arrival to `now`.
    pub(crate) fn since_began_ms(&self, now: Now) -> u64 {
        let passed = now.mono.saturating_duration_since(self.began.mono);
        u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) const fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending { .. })
    }

    /// When the call must be looked at again, and why.
    pub(crate) fn deadline(&self) -> Option<(Instant, Timer)> {
        match &self.phase {
            Phase::Admitting => None,
            Phase::Asking { until, .. } => Some((*until, Timer::Gate)),
            Phase::Opening { until, .. } => Some((*until, Timer::Open)),
            Phase::Describing { until, .. } => Some((*until, Timer::Describe)),
            Phase::Reaching { until, .. } => Some((*until, Timer::Ring)),
            Phase::Calling { until, agent_until: Some(agent), .. } if agent < until => {
                Some((*agent, Timer::Agent))
            }
            Phase::Calling { until, .. } => Some((*until, Timer::Ring)),
            Phase::Settling { until } => Some((*until, Timer::Ack)),
            Phase::Connected { until } => match self.announcing {
                Some(announced) if announced < *until => Some((announced, Timer::Announcement)),
                Some(_) | None => Some((*until, Timer::Longest)),
            },
            Phase::Ending { until, .. } => Some((*until, Timer::Confirm)),
        }
    }
}

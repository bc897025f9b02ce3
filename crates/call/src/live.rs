//! What can be seen of a call while it lives.

use setu_model::{AnsweredBy, CallFacts, CallId, Cause, Direction, EndedBy, Ingress, Termination, Wall};

use crate::call::{Call, Context, Phase};
use crate::hangup::Refusing;

/// A call that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Which.
    pub call: CallId,
    /// Who began it.
    pub direction: Direction,
    /// How the Meta leg comes about.
    pub ingress: Ingress,
    /// What is known of it.
    pub facts: CallFacts,
    /// When the bridge first saw it.
    pub began: Wall,
    /// When both sides were connected.
    pub answered: Option<Wall>,
    /// Who took or made it on the business's side.
    pub agent: Option<AnsweredBy>,
    /// Where it stands.
    pub stage: Stage,
}

/// Where a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The customer was asked to allow it, and the provider's call is awaited.
    Awaiting,
    /// Whether it may be is not decided.
    Asking,
    /// It may be, and nobody is called yet.
    Opening,
    /// The called side rings.
    Ringing,
    /// The originator is waited for, or the customer of a placed call rings.
    Reaching,
    /// Both sides are connected.
    Connected,
    /// It is over but for confirmations.
    Ending,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 7] = [
        Self::Awaiting,
        Self::Asking,
        Self::Opening,
        Self::Ringing,
        Self::Reaching,
        Self::Connected,
        Self::Ending,
    ];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Awaiting => "awaiting",
            Self::Asking => "asking",
            Self::Opening => "opening",
            Self::Ringing => "ringing",
            Self::Reaching => "reaching",
            Self::Connected => "connected",
            Self::Ending => "ending",
        }
    }
}

impl Call {
    pub(crate) fn live(&self) -> Live {
        let stage = match self.phase {
            Phase::Admitting | Phase::Asking { .. } => Stage::Asking,
            Phase::Opening { .. } | Phase::Describing { .. } => Stage::Opening,
            Phase::Calling { asked: true, .. } => Stage::Awaiting,
            Phase::Calling { .. } => Stage::Ringing,
            Phase::Reaching { .. } | Phase::Settling { .. } => Stage::Reaching,
            Phase::Connected { .. } => Stage::Connected,
            Phase::Ending { .. } => Stage::Ending,
        };
        Live {
            call: self.id,
            direction: self.direction,
            ingress: self.ingress,
            facts: self.facts.clone(),
            began: self.began.wall,
            answered: self.connected.map(|at| at.wall),
            agent: self.answered_by(),
            stage,
        }
    }

    /// The business ends the call.
    pub(crate) fn hang_up_all(&mut self, ctx: &mut Context<'_>) {
        let cause = if self.connected.is_some() { Cause::Success } else { Cause::Cancelled };
        let end = Termination::new(cause, EndedBy::Bridge).with_detail("the business hung up");
        self.end(end, Refusing::with(480), ctx);
    }
}

//! What can be known of a pair of number and customer.

use serde::{Deserialize, Serialize};
use setu_model::Wall;

/// Names one fact for ever, so that a second delivery is recognised: a webhook's message id, a wacid, the bridge's own
/// id of a call or request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FactId(pub String);

/// One thing that happened. Moments are Meta's where Meta tells them, otherwise the bridge's wall clock.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Fact {
    /// The business asked for permission, and Meta did not refuse the request.
    Asked {
        /// When.
        at: Wall,
    },
    /// A permission was given or taken (`call_permission_reply`).
    Replied {
        /// When.
        at: Wall,
        /// What was said.
        reply: Reply,
    },
    /// What Meta itself answered to `GET /{number}/call_permissions`: it overrules every reply before.
    Observed {
        /// When Meta was asked.
        at: Wall,
        /// The permission at that moment.
        verdict: Verdict,
        /// Where Meta refuses requests for now: until when.
        no_request_before: Option<Wall>,
        /// Where Meta refuses calls for now: until when.
        no_call_before: Option<Wall>,
    },
    /// A business-initiated call was made.
    Called {
        /// When it began.
        at: Wall,
        /// What became of it.
        outcome: Outcome,
    },
    /// The customer answered a business-initiated call and hung up within [`EARLY_S`] seconds.
    HungUpEarly {
        /// When.
        at: Wall,
    },
    /// The customer wrote to the number.
    Wrote {
        /// When.
        at: Wall,
    },
    /// The customer called the number, answered or not.
    Phoned {
        /// When.
        at: Wall,
    },
    /// The customer tapped a call button that a provider takes for permission (`permission_source: template_button`).
    Tapped {
        /// When.
        at: Wall,
    },
}

/// A customer who hangs up this soon after answering did not want the call, in seconds.
pub const EARLY_S: u64 = 5;

/// What a `call_permission_reply` says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Reply {
    /// The business may call.
    Accept {
        /// Until it is taken back (`is_permanent`).
        permanent: bool,
        /// The end of a temporary permission, where Meta named one.
        expires: Option<Wall>,
        /// Meta gave it by itself after the customer called (`response_source: automatic`).
        automatic: bool,
        /// It answers nothing: the customer gave it on the business's profile.
        unasked: bool,
    },
    /// The business may not call: declined, revoked, or taken away by Meta.
    Reject {
        /// Meta took it away by itself after too many unanswered calls.
        automatic: bool,
    },
}

/// A permission as Meta reports it when asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Verdict {
    /// `no_permission`.
    None,
    /// `temporary`.
    Temporary {
        /// `expiration_time`.
        until: Wall,
    },
    /// `permanent`.
    Permanent,
}

/// What became of a business-initiated call. Where two sources disagree the later in this order is believed: who knows
/// of an answer knows more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It never rang: refused by Meta, failed on the way. Counts for nothing.
    Failed,
    /// It rang in vain, or the customer declined.
    Missed,
    /// The customer answered.
    Connected,
}

impl Fact {
    /// When it happened.
    pub const fn at(&self) -> Wall {
        match self {
            Self::Asked { at }
            | Self::Replied { at, .. }
            | Self::Observed { at, .. }
            | Self::Called { at, .. }
            | Self::HungUpEarly { at }
            | Self::Wrote { at }
            | Self::Phoned { at }
            | Self::Tapped { at } => *at,
        }
    }

    /// Joins two tellings of the same fact. Commutative, associative and idempotent, so that order and number of
    /// deliveries do not matter.
    pub(crate) fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Called { at, outcome }, Self::Called { at: other_at, outcome: other }) => {
                Self::Called { at: at.min(other_at), outcome: outcome.max(other) }
            }
            // Nothing else is told twice in different words; if it is, any fixed choice will do.
            (one, other) => one.max(other),
        }
    }
}

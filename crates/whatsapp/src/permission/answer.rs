//! Questions to the ledger and its answers, each of which explains itself.

use std::fmt;

use setu_model::Wall;

use super::standing::{Grant, GrantSource};

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Question {
    /// Call the customer.
    Call,
    /// Send a permission request.
    Request,
}

/// Whether it is allowed now, why, and if not, when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The reason, in one word and with its figures.
    pub why: Why,
    /// The grant that allows a call.
    pub grant: Option<Grant>,
    /// From when on it would be allowed if nothing else happens; none if only the customer can change it.
    pub next_allowed: Option<Wall>,
    /// Every grant that was looked at, with why it counts or does not.
    pub considered: Vec<Considered>,
}

/// One grant that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Considered {
    /// It counts.
    Valid(Grant),
    /// It has run out.
    Expired(Grant),
    /// It opens calls only on numbers of the provider dialect.
    NotHere(Grant),
}

/// The reason for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Yes: this grant allows the call.
    Granted(GrantSource),
    /// Yes: the request is within the limits.
    WithinLimits,
    /// No: nobody ever gave permission.
    NeverGranted,
    /// No: the permission ran out.
    Expired {
        /// When.
        at: Wall,
    },
    /// No: the customer declined or took the permission back.
    Rejected {
        /// When.
        at: Wall,
    },
    /// No: Meta takes the permission away after so many unanswered calls in a row.
    MissedTooOften {
        /// When the last of them began.
        at: Wall,
    },
    /// No: so many connected calls in 24 hours are the limit.
    ConnectedLimit {
        /// The limit.
        most: u32,
    },
    /// No: so many requests in 24 hours are the limit.
    RequestsADay {
        /// The limit.
        most: u32,
    },
    /// No: so many requests in 7 days are the limit.
    RequestsAWeek {
        /// The limit.
        most: u32,
    },
    /// No: the customer gave a permanent permission; Meta refuses to ask again (138017).
    AlreadyPermanent,
    /// No: Meta itself named a time before which it refuses.
    MetaSaysLater,
    /// No: a request names nobody.
    NobodyNamed,
}

impl Answer {
    /// Whether it is allowed.
    pub const fn is_yes(&self) -> bool {
        self.why.is_yes()
    }
}

impl Why {
    /// Whether the answer is yes.
    pub const fn is_yes(self) -> bool {
        matches!(self, Self::Granted(_) | Self::WithinLimits)
    }

    /// The stable code of the reason.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Granted(_) => "granted",
            Self::WithinLimits => "within_limits",
            Self::NeverGranted => "never_granted",
            Self::Expired { .. } => "expired",
            Self::Rejected { .. } => "rejected",
            Self::MissedTooOften { .. } => "missed_too_often",
            Self::ConnectedLimit { .. } => "connected_limit",
            Self::RequestsADay { .. } => "requests_a_day",
            Self::RequestsAWeek { .. } => "requests_a_week",
            Self::AlreadyPermanent => "already_permanent",
            Self::MetaSaysLater => "meta_says_later",
            Self::NobodyNamed => "nobody_named",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted(source) => write!(f, "allowed by {}", source.word()),
            Self::WithinLimits => f.write_str("within Meta's limits for permission requests"),
            Self::NeverGranted => f.write_str("the customer never gave permission to call"),
            Self::Expired { at } => write!(f, "the permission ran out at {at}"),
            Self::Rejected { at } => write!(f, "the customer declined or took the permission back at {at}"),
            Self::MissedTooOften { at } => {
                write!(
                    f,
                    "too many calls in a row were not answered, the last at {at}: Meta revoked the permission"
                )
            }
            Self::ConnectedLimit { most } => {
                write!(f, "{most} connected calls to one customer in 24 hours are Meta's limit")
            }
            Self::RequestsADay { most } => {
                write!(f, "{most} permission requests to one customer in 24 hours are Meta's limit")
            }
            Self::RequestsAWeek { most } => {
                write!(f, "{most} permission requests to one customer in 7 days are Meta's limit")
            }
            Self::AlreadyPermanent => {
                f.write_str("the customer gave a permanent permission: call without asking")
            }
            Self::MetaSaysLater => f.write_str("Meta itself refuses this until the time named"),
            Self::NobodyNamed => f.write_str("neither a number nor a user id of a customer was named"),
        }
    }
}

use setu_model::{Direction, Wall};

use crate::media::{Heard, PathReport};
use crate::meta::{Ender, UserSaw};

/// What happens at Meta's Graph side.
#[derive(Debug, Clone, PartialEq)]
pub enum GraphEvent {
    /// The business asked for something in a call.
    Asked(String, Asked),
    /// A call is answered: the business's acceptance was taken, or the user took the call.
    Answered(String),
    /// The first authentic packet from the business came.
    FirstPacket(String),
    /// A call is over.
    Ended(Box<GraphReport>),
}

impl GraphEvent {
    /// The report, if this is the end of a call.
    pub fn ended(&self) -> Option<&GraphReport> {
        if let Self::Ended(report) = self { Some(report) } else { None }
    }
}

/// One request of the business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its action.
    pub action: String,
    /// When it came.
    pub at: Wall,
    /// The status of the reply.
    pub status: u16,
    /// Meta's error code, if it was refused.
    pub code: Option<i64>,
}

/// Something that Meta's Graph side does not take from a business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GraphViolation {
    /// A packet of media before the acceptance was confirmed.
    MediaBeforeAccept,
    /// An acceptance with another description than was told ahead.
    OtherDescription,
    /// A description that is not acceptable, and why.
    Sdp(String),
    /// Nothing was heard within the start timer.
    NoMediaAtStart,
    /// A check that claims to be controlled: Meta is.
    RoleConflict,
    /// The business's certificate is not the one it described.
    WrongFingerprint,
    /// The DTLS handshake failed, and why.
    DtlsFailed(String),
}

/// Everything Meta's Graph side saw of one call.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphReport {
    /// WhatsApp's id of the call.
    pub wacid: String,
    /// Who began it.
    pub direction: Direction,
    /// The user.
    pub user: String,
    /// When it began.
    pub began: Wall,
    /// How it looked to the user.
    pub saw: UserSaw,
    /// Who ended it.
    pub ended_by: Ender,
    /// The business's requests, in order.
    pub asked: Vec<Asked>,
    /// When it was answered: what the times in `heard` count from.
    pub answered_at: Option<Wall>,
    /// From the answer to the end, in milliseconds.
    pub talked_ms: Option<u64>,
    /// Pulses of 6 s that the call costs the business.
    pub pulses: u64,
    /// Statuses of the answers to our webhooks.
    pub webhooks: Vec<u16>,
    /// What the business did that Meta does not take.
    pub violations: Vec<GraphViolation>,
    /// How the packets found their way, and how they were keyed.
    pub path: PathReport,
    /// What the user heard.
    pub heard: Heard,
}

impl GraphReport {
    /// The actions the business asked for, in order.
    pub fn actions(&self) -> Vec<&str> {
        self.asked.iter().map(|asked| asked.action.as_str()).collect()
    }

    /// The first request of `action`.
    pub fn asked_for(&self, action: &str) -> Option<&Asked> {
        self.asked.iter().find(|asked| asked.action == action)
    }

    pub(super) fn violated(&mut self, violation: GraphViolation) {
        if !self.violations.contains(&violation) {
            self.violations.push(violation);
        }
    }
}

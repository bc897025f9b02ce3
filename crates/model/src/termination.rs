use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a call ended. The one vocabulary of logs, metrics and the CDR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Both sides were connected and one of them hung up.
    Success,
    /// The callee was busy (486, 600).
    Busy,
    /// The callee declined (603, or Meta's 486 "User declined the call").
    Declined,
    /// The callee rang and nobody answered in time (408, 480, our own ring timer).
    NoAnswer,
    /// The caller gave up before the answer.
    Cancelled,
    /// The callee could not be reached: no agent registered, trunk down, unknown user (404, 410, 503 and so on).
    Unreachable,
    /// Meta refused for lack of call permission (403 "No Approved Call Permission Found").
    NoPermission,
    /// Meta refused for another limit or rule of its own (403, 400).
    RefusedByMeta,
    /// The bridge refused: unknown number, no route, over its limits.
    Refused,
    /// No common codec or encryption (488, 606, broken SDP).
    IncompatibleMedia,
    /// Media stopped: nothing was heard for the configured time, or Meta said so (408 "RTP Timeout").
    MediaTimeout,
    /// The peer broke the dialog: no ACK, an error reply, a lost connection with nothing to go back to.
    SignallingLost,
    /// The call reached the longest duration allowed.
    TooLong,
    /// The bridge was told to stop before the call ended by itself.
    Shutdown,
    /// A fault of the bridge itself: no free port, a worker gone.
    Fault,
    /// The bridge stopped without a word (killed, a power failure) while the call was alive, and wrote its record at the next
    /// start. The record's end is when the bridge was last known to run.
    Interrupted,
}

impl Cause {
    /// Every cause, in the order above; for metrics that must show zeroes.
    pub const ALL: [Self; 16] = [
        Self::Success,
        Self::Busy,
        Self::Declined,
        Self::NoAnswer,
        Self::Cancelled,
        Self::Unreachable,
        Self::NoPermission,
        Self::RefusedByMeta,
        Self::Refused,
        Self::IncompatibleMedia,
        Self::MediaTimeout,
        Self::SignallingLost,
        Self::TooLong,
        Self::Shutdown,
        Self::Fault,
        Self::Interrupted,
    ];

    /// The word used in logs, metric labels and the CDR.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Busy => "busy",
            Self::Declined => "declined",
            Self::NoAnswer => "no_answer",
            Self::Cancelled => "cancelled",
            Self::Unreachable => "unreachable",
            Self::NoPermission => "no_permission",
            Self::RefusedByMeta => "refused_by_meta",
            Self::Refused => "refused",
            Self::IncompatibleMedia => "incompatible_media",
            Self::MediaTimeout => "media_timeout",
            Self::SignallingLost => "signalling_lost",
            Self::TooLong => "too_long",
            Self::Shutdown => "shutdown",
            Self::Fault => "fault",
            Self::Interrupted => "interrupted",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Who ended the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// The WhatsApp user, or Meta on the user's behalf.
    Customer,
    /// The agent or the trunk.
    Agent,
    /// The bridge.
    Bridge,
}

impl fmt::Display for EndedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Customer => "customer",
            Self::Agent => "agent",
            Self::Bridge => "bridge",
        })
    }
}

/// The one end of a call: every call has exactly one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Termination {
    /// Why.
    pub cause: Cause,
    /// By whom.
    pub by: EndedBy,
    /// The SIP status that decided it, where one did.
    pub status: Option<u16>,
    /// What the operator should know beyond the word: the peer's reason phrase, or the rule that applied.
    pub detail: Option<String>,
}

impl Termination {
    /// Makes an end without status or detail.
    pub const fn new(cause: Cause, by: EndedBy) -> Self {
        Self { cause, by, status: None, detail: None }
    }

    /// Adds the SIP status that decided it.
    #[must_use]
    pub const fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Adds what the operator should know.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl fmt::Display for Termination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.cause, self.by)?;
        if let Some(status) = self.status {
            write!(f, " ({status})")?;
        }
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_a_cause_is_its_serialised_form() {
        for cause in Cause::ALL {
            assert_eq!(serde_json::to_string(&cause).unwrap(), format!("\"{}\"", cause.word()));
        }
    }

    #[test]
    fn a_termination_reads_as_one_line() {
        let end = Termination::new(Cause::Busy, EndedBy::Agent).with_status(486).with_detail("Busy Here");
        assert_eq!(end.to_string(), "busy by agent (486): Busy Here");
    }
}

use serde::{Deserialize, Serialize};
use setu_model::{Direction, Wall};

use super::spec::TwinCallId;
use crate::media::{Heard, PathReport};

/// What happens at the edge.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A user's INVITE left for the bridge.
    Invited(TwinCallId),
    /// The business called a user, and passed every check.
    BusinessCall {
        /// Which call.
        call: TwinCallId,
        /// The business number.
        number: String,
        /// The user called.
        user: String,
    },
    /// The called side rings: the bridge's provisional response, or the user's telephone.
    Ringing(TwinCallId),
    /// The call is answered: the bridge's 200 was acknowledged, or the user's 200 was sent.
    Answered(TwinCallId),
    /// The first authentic packet from the business came.
    FirstPacket(TwinCallId),
    /// The business pressed a key.
    Digit(TwinCallId, char),
    /// The bridge did something Meta does not take. `None`: outside a call.
    Violation(Option<TwinCallId>, Violation),
    /// A call is over.
    Ended(Box<CallReport>),
}

impl Event {
    /// The report, if this is the end of a call.
    pub fn ended(&self) -> Option<&CallReport> {
        if let Self::Ended(report) = self { Some(report) } else { None }
    }
}

/// Something Meta's edge does not take from a bridge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Violation {
    /// A TLS client offered ALPN.
    AlpnOffered,
    /// The bridge's certificate does not chain to a trusted root or does not cover its host.
    BadCertificate,
    /// A 200 came back without Meta's Record-Routes as its last two, untouched.
    RecordRouteAltered,
    /// An ACK or BYE did not follow the route set, or did not go to Meta's Contact.
    WrongRoute(String),
    /// A re-INVITE.
    Reinvite,
    /// A request Meta does not take.
    UnsupportedMethod(String),
    /// Bytes that are no SIP.
    Malformed,
    /// A description that is not acceptable, and why.
    Sdp(String),
    /// A second SSRC.
    SecondSsrc,
    /// An audio packet that is not 20 ms long.
    WrongPtime,
    /// Nothing was heard within the start timer.
    NoMediaAtStart,
    /// Nothing was heard for the mid-call timer.
    MediaStopped,
    /// The user's 200 was never acknowledged.
    NoAck,
    /// The bridge's digest answer is wrong.
    WrongDigest,
    /// A check that claims to be controlled: Meta is.
    RoleConflict,
    /// Another pair was nominated in mid-call.
    CandidateSwitched,
    /// The bridge's certificate is not the one it described.
    WrongFingerprint,
    /// The DTLS handshake failed, and why.
    DtlsFailed(String),
}

/// How the call looked on the user's telephone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserSaw {
    /// They talked, or at least were connected.
    Connected,
    /// Their call rang out unanswered, or they gave up.
    NoAnswer,
    /// Their call was refused by the business.
    Refused,
    /// Their call failed: no way to the bridge, a bad certificate, a 200 that could not be acknowledged.
    CallFailed,
    /// A call of the business that they declined.
    Declined,
    /// A call of the business that they did not take in time, or that the business gave up.
    Missed,
    /// Nothing: Meta refused the business's call.
    Nothing,
}

/// Who ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ender {
    /// The WhatsApp user.
    User,
    /// The business: the bridge's BYE, CANCEL or refusal.
    Business,
    /// Meta: a timer, a check, a lost connection.
    Meta,
}

/// Everything the edge saw of one call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallReport {
    /// Which call.
    pub call: TwinCallId,
    /// Who began it.
    pub direction: Direction,
    /// The business number.
    pub number: String,
    /// The user.
    pub user: String,
    /// SIP Call-ID.
    pub call_id: String,
    /// WhatsApp's id of the call.
    pub wacid: String,
    /// How it looked to the user.
    pub saw: UserSaw,
    /// Who ended it.
    pub ended_by: Ender,
    /// The final status of the INVITE, whoever sent it.
    pub status: Option<u16>,
    /// Its reason phrase.
    pub reason: Option<String>,
    /// Provisional statuses, in order.
    pub provisional: Vec<u16>,
    /// Challenges answered (user-initiated) or sent (business-initiated).
    pub challenges: u32,
    /// From the INVITE to the answer, in milliseconds.
    pub setup_ms: Option<u64>,
    /// From the answer to the end, in milliseconds.
    pub talked_ms: Option<u64>,
    /// When the call was answered: what the times in `heard` count from.
    pub answered_at: Option<Wall>,
    /// Answers that came or went more than once.
    pub answers_repeated: u32,
    /// Requests of the bridge inside the dialog, in order; an ACK as soon as it is taken.
    pub requests: Vec<String>,
    /// The response to the edge's BYE.
    pub bye_status: Option<u16>,
    /// Connections the call used.
    pub connections: u32,
    /// The bridge's session description.
    pub remote_sdp: Option<String>,
    /// What the bridge did that Meta does not take, each kind once.
    pub violations: Vec<Violation>,
    /// How the packets found their way, and how they were keyed.
    pub path: PathReport,
    /// What the user heard.
    pub heard: Heard,
}

impl CallReport {
    pub(crate) fn new(call: TwinCallId, direction: Direction, number: &str, user: &str) -> Self {
        Self {
            call,
            direction,
            number: number.to_owned(),
            user: user.to_owned(),
            call_id: String::new(),
            wacid: String::new(),
            saw: UserSaw::CallFailed,
            ended_by: Ender::Meta,
            status: None,
            reason: None,
            provisional: Vec::new(),
            challenges: 0,
            setup_ms: None,
            talked_ms: None,
            answered_at: None,
            answers_repeated: 0,
            requests: Vec::new(),
            bye_status: None,
            connections: 0,
            remote_sdp: None,
            violations: Vec::new(),
            path: PathReport::default(),
            heard: Heard::default(),
        }
    }

    /// Notes a violation; returns whether it is the first of its kind.
    pub(crate) fn violated(&mut self, violation: &Violation) -> bool {
        let new = !self.violations.contains(violation);
        if new {
            self.violations.push(violation.clone());
        }
        new
    }
}

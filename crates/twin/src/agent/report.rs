use serde::{Deserialize, Serialize};
use setu_model::Wall;

use super::config::PhoneCallId;
use crate::media::{Codec, Heard, PathReport, Suite};

/// What happens at an agent twin.
#[derive(Debug, Clone, PartialEq)]
pub enum PhoneEvent {
    /// The registrar accepted the binding.
    Registered,
    /// The registrar refused, or did not answer (no status).
    RegisterFailed(Option<u16>),
    /// A binding was removed as asked.
    Unregistered,
    /// The bridge calls.
    Invited(PhoneCallId),
    /// The called side of a call it made rings.
    Ringing(PhoneCallId),
    /// A call is answered.
    Answered(PhoneCallId),
    /// The first authentic packet of a call came.
    FirstPacket(PhoneCallId),
    /// The other side pressed a key.
    Digit(PhoneCallId, char),
    /// A request it sent inside a call has its final response: method and status.
    Replied(PhoneCallId, String, u16),
    /// A call is over.
    Ended(Box<PhoneReport>),
}

impl PhoneEvent {
    /// The report, if this is the end of a call.
    pub fn ended(&self) -> Option<&PhoneReport> {
        if let Self::Ended(report) = self { Some(report) } else { None }
    }
}

/// Who ended a call of an agent twin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhoneEnder {
    /// The twin: BYE, CANCEL, or its refusal.
    Us,
    /// The bridge: BYE, CANCEL, or its refusal.
    Peer,
    /// Nobody: a timer, a lost connection.
    Nobody,
}

/// Everything an agent twin saw of one call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhoneReport {
    /// Which call.
    pub call: PhoneCallId,
    /// Whether the twin made it.
    pub dialled: bool,
    /// SIP Call-ID.
    pub call_id: String,
    /// The other side's address: `From` of the bridge's INVITE, or the number dialled.
    pub peer: String,
    /// The headers of the bridge's INVITE whose names begin with `X-`, as written: name and value.
    pub headers: Vec<(String, String)>,
    /// Whether it was answered.
    pub answered: bool,
    /// Who ended it.
    pub ended_by: PhoneEnder,
    /// The final status of the INVITE.
    pub status: Option<u16>,
    /// Its reason phrase.
    pub reason: Option<String>,
    /// Provisional statuses, in order.
    pub provisional: Vec<u16>,
    /// Requests of the bridge inside the dialog, in order.
    pub requests: Vec<String>,
    /// The bodies of the bridge's INFO requests, in order.
    pub infos: Vec<String>,
    /// Final responses to the twin's own requests inside the dialog: method and status.
    pub replies: Vec<(String, u16)>,
    /// When it was answered.
    pub answered_at: Option<Wall>,
    /// From the INVITE to the answer, in milliseconds.
    pub setup_ms: Option<u64>,
    /// From the answer to the end, in milliseconds.
    pub talked_ms: Option<u64>,
    /// The audio format agreed.
    pub codec: Option<Codec>,
    /// The SRTP suite agreed; null for plain RTP.
    pub srtp: Option<Suite>,
    /// The bridge's last session description.
    pub remote_sdp: Option<String>,
    /// With DTLS: how the packets found their way, and how they were keyed.
    pub path: PathReport,
    /// What the agent heard.
    pub heard: Heard,
}

impl PhoneReport {
    pub(crate) fn new(call: PhoneCallId, dialled: bool, call_id: &str, peer: &str) -> Self {
        Self {
            call,
            dialled,
            call_id: call_id.to_owned(),
            peer: peer.to_owned(),
            headers: Vec::new(),
            answered: false,
            ended_by: PhoneEnder::Nobody,
            status: None,
            reason: None,
            provisional: Vec::new(),
            requests: Vec::new(),
            infos: Vec::new(),
            replies: Vec::new(),
            answered_at: None,
            setup_ms: None,
            talked_ms: None,
            codec: None,
            srtp: None,
            remote_sdp: None,
            path: PathReport::default(),
            heard: Heard::default(),
        }
    }
}

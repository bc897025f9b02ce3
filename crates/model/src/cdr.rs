use serde::{Deserialize, Serialize};

use crate::{
    CallFacts, CallId, CallQuality, Direction, Ingress, Mos, Pii, RuleRefusal, Side, Termination, Wall,
};

/// The record of one call: written exactly once, when the last leg has confirmed its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cdr {
    /// The bridge's id of the call.
    pub call: CallId,
    /// Who began it.
    pub direction: Direction,
    /// How the Meta leg came about.
    pub ingress: Ingress,
    /// Who called whom, and what Meta told of it.
    #[serde(flatten)]
    pub facts: CallFacts,
    /// When the bridge first saw the call.
    pub began: Wall,
    /// When both sides were connected; null if they never were.
    pub answered: Option<Wall>,
    /// When the call was over.
    pub ended: Wall,
    /// From the first message to the answer of the called side, in milliseconds; null if it was never answered.
    pub setup_ms: Option<u64>,
    /// From answer to end on the bridge's clock, in milliseconds; 0 if it was never answered.
    pub duration_ms: u64,
    /// Meta's own count in seconds (`x-wa-meta-call-duration`); null where Meta gave none.
    pub meta_duration_s: Option<u64>,
    /// Who took or made the call on the business's side; null where nobody did.
    pub agent: Option<AnsweredBy>,
    /// Why and by whom the call ended.
    pub termination: Termination,
    /// The rules that forbade the call, the one that is hardest to change first; empty if none did.
    #[serde(default)]
    pub refused: Vec<RuleRefusal>,
    /// Every leg, the originator's first.
    pub legs: Vec<LegRecord>,
    /// How it sounded, and the hop at fault; null if both sides were never joined.
    #[serde(default)]
    pub quality: Option<CallQuality>,
    /// Everything that happened, in order.
    pub timeline: Timeline,
    /// The keys that were pressed, in order, at most [`Cdr::MOST_DIGITS`].
    #[serde(default)]
    pub digits: Vec<DigitRecord>,
    /// Where the recording is; null if the call was not recorded, or nothing of it could be kept.
    pub recording: Option<RecordingRef>,
    /// Why the recording is missing or ends before the call did, for the operator; null if it is whole or was not wanted.
    #[serde(default)]
    pub recording_failure: Option<String>,
    /// What the call cost; null where no rates are configured.
    #[serde(default)]
    pub cost: Option<CallCost>,
}

/// What a call cost, part by part, as decimal numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallCost {
    /// The currency (ISO 4217).
    pub currency: String,
    /// All parts together.
    pub total: String,
    /// The provider's fee.
    pub provider: String,
    /// Meta's price.
    pub meta: String,
    /// The SIP leg toward the agents' side.
    pub sip: String,
    /// The recording for as long as it is kept.
    pub storage: String,
    /// The agent's time.
    pub agent: String,
}

impl Cdr {
    /// The most keys one record keeps: a walk through a menu with an account number has thirty.
    pub const MOST_DIGITS: usize = 128;
}

/// One key that was pressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigitRecord {
    /// When it went up, in milliseconds since the call began.
    pub at_ms: u64,
    /// Who pressed it: `meta` is the customer, `agents` the business.
    pub from: Side,
    /// Which one: `0` to `9`, `*`, `#`, `A` to `D`; null where keys are masked.
    pub digit: Option<Pii<char>>,
    /// How long it was held, in milliseconds.
    pub duration_ms: u32,
}

/// The party on the business's side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnsweredBy {
    /// An agent's softphone, by account name.
    Agent(String),
    /// A trunk, by name.
    Trunk(String),
}

/// What is kept of one leg.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegRecord {
    /// The leg's number in the call: 0 is the originator.
    pub index: u8,
    /// Toward whom.
    pub side: Side,
    /// The agreed audio format, such as `opus` or `PCMU`; null if none was agreed.
    pub codec: Option<String>,
    /// How the media was protected, such as `AES_CM_128_HMAC_SHA1_80`; null for plain RTP.
    pub srtp: Option<String>,
    /// What the packets looked like; null if no media was set up.
    pub media: Option<MediaQuality>,
}

/// What one leg's media looked like. *Received* is what came from the peer, *sent* what went to it, as far as the peer's
/// RTCP reports tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaQuality {
    /// Packets taken from the peer, after authentication.
    pub received_packets: u64,
    /// Packets sent to the peer.
    pub sent_packets: u64,
    /// Packets the peer sent that never came, by sequence number.
    pub lost_packets: u64,
    /// Packets dropped: failed authentication, replays, malformed, from a wrong address.
    pub rejected_packets: u64,
    /// Packets that came after a later one.
    #[serde(default)]
    pub reordered_packets: u64,
    /// Packets that came more than once.
    #[serde(default)]
    pub duplicated_packets: u64,
    /// How much longer bursts of losses were than by chance, in percent: 100 for random loss (BurstR, ITU-T G.107).
    #[serde(default)]
    pub burst_ratio_percent: u32,
    /// Interarrival jitter in microseconds (RFC 3550 section 6.4.1).
    pub jitter_us: u64,
    /// Round-trip time in microseconds from RTCP; null without reports.
    pub round_trip_us: Option<u64>,
    /// From the answer to the first packet sent to the peer, in milliseconds; null if none was sent.
    pub first_sent_ms: Option<u64>,
    /// From the answer to the first packet taken from the peer, in milliseconds; null if none came.
    pub first_received_ms: Option<u64>,
    /// From the answer to the first packet of the peer with sound in it, in milliseconds; null if none came. Before the
    /// answer is 0.
    #[serde(default)]
    pub first_audio_ms: Option<u64>,
    /// Sent packets that the peer missed, without those the bridge itself left out because they never came to it; null
    /// without reports.
    #[serde(default)]
    pub remote_lost_packets: Option<u64>,
    /// Interarrival jitter that the peer told, in microseconds, that of the audio's way to the bridge included; null
    /// without reports.
    #[serde(default)]
    pub remote_jitter_us: Option<u64>,
    /// How many of a hundred audio packets from the peer had no sound in them. Opus is judged by its length alone (DTX,
    /// comfort noise, digital silence: at most 8 bytes), G.711 by samples of it, G.722
    /// not at all. Null if none came.
    #[serde(default)]
    pub quiet_percent: Option<u8>,
    /// How many of a thousand samples of G.711 from the peer were at full scale; null for Opus.
    #[serde(default)]
    pub clipped_permille: Option<u16>,
    /// Frames that the bridge sent more than 40 ms after their time.
    #[serde(default)]
    pub late_packets: u64,
    /// What came from the peer, by the E-model (ITU-T G.107); null for less than a second of packets.
    #[serde(default)]
    pub mos_received: Option<Mos>,
    /// What the peer got from the bridge alone, likewise; null without reports.
    #[serde(default)]
    pub mos_sent: Option<Mos>,
}

/// One recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingRef {
    /// Path of the file.
    pub path: String,
    /// Channels: 2, the customer left and the agent right.
    pub channels: u8,
    /// Length in milliseconds.
    pub duration_ms: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// Frames that were lost between packet thread and writer, or on a full disk. 0 in a healthy system.
    pub dropped_frames: u64,
}

/// Everything that happened in a call, in order, in milliseconds since it began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timeline(Vec<TimelineEntry>);

impl Timeline {
    /// Adds what happened `at_ms` milliseconds after the call began. Past [`Timeline::MOST`] entries it is dropped.
    pub fn push(&mut self, at_ms: u64, leg: Option<u8>, what: Milestone) {
        if self.0.len() < Self::MOST {
            self.0.push(TimelineEntry { at_ms, leg, what });
        }
    }

    /// Returns the entries in order.
    pub fn entries(&self) -> &[TimelineEntry] {
        &self.0
    }

    /// Returns when `what` first happened, in milliseconds since the call began.
    pub fn first(&self, what: Milestone) -> Option<u64> {
        self.0.iter().find(|e| e.what == what).map(|e| e.at_ms)
    }

    /// The most entries one call keeps: a PBX that sends re-INVITEs for hours must not grow the record.
    pub const MOST: usize = 256;
}

/// One line of a [`Timeline`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// Milliseconds since the call began.
    pub at_ms: u64,
    /// The leg it happened on; null where it concerns the call as a whole.
    pub leg: Option<u8>,
    /// What happened.
    pub what: Milestone,
}

/// What can happen in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Milestone {
    /// The call came in.
    Offered,
    /// An agent was reserved at the desk.
    Reserved,
    /// A leg was dialled.
    Dialled,
    /// A leg rings.
    Ringing,
    /// A leg sends audio before its answer.
    EarlyMedia,
    /// A leg answered.
    Answered,
    /// The originator's answer was acknowledged.
    Acknowledged,
    /// Audio flows both ways through the bridge.
    Bridged,
    /// The first packet was taken from a leg.
    FirstPacket,
    /// The agent's side put the call on hold.
    Held,
    /// The agent's side took the call back.
    Resumed,
    /// The agent's side asked for a change of the session that ended at the bridge.
    Renegotiated,
    /// A leg refused the call.
    Refused,
    /// A leg gave up or was given up before its answer.
    Cancelled,
    /// A leg hung up.
    HungUp,
    /// A leg sent no media for the configured time.
    MediaLost,
    /// The recording began.
    RecordingStarted,
    /// The recording is complete.
    RecordingStopped,
    /// The recording stopped before its end, or never began; the call went on.
    RecordingFailed,
    /// The call is over.
    Ended,
}

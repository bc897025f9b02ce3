use serde::{Deserialize, Serialize};

/// What one party of a call heard, and what the packets looked like that brought it.
///
/// Times are in milliseconds since the call was answered, on the hearing party's clock; early media has
/// negative ones.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Heard {
    /// Authentic RTP packets, events included.
    pub packets: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Sequence numbers that never came, between the first and the last that did.
    pub lost: u64,
    /// Packets that came twice.
    pub duplicated: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Packets and reports that did not authenticate, or came in clear where SRTP was agreed.
    pub srtp_failures: u64,
    /// Datagrams that were neither RTP nor RTCP, and RTP of a payload type that was not agreed.
    pub unknown: u64,
    /// Synchronisation sources, in order of appearance. Meta's relay allows one.
    pub ssrcs: Vec<u32>,
    /// Whether a second source made the relay mute the rest of the call.
    pub muted: bool,
    /// Steps of the sequence number by more than loss explains (over 500), or to a far past.
    pub sequence_jumps: u64,
    /// Steps of the time stamp between audio packets that go back, are no multiple of the frame, or differ
    /// from the time that passed by more than half a second.
    pub timestamp_jumps: u64,
    /// Audio packets of another length than agreed (20 ms with Meta).
    pub ptime_violations: u64,
    /// RTCP packets that authenticated.
    pub rtcp_packets: u64,
    /// Report blocks about the stream this party sent.
    pub rtcp_reports: u64,
    /// When the first authentic packet came.
    pub first_packet_ms: Option<i64>,
    /// When the first frame that is not silence came.
    pub first_audio_ms: Option<i64>,
    /// Audio packets that were not silence.
    pub sounding: u64,
    /// When the last frame that is not silence came.
    pub last_audio_ms: Option<i64>,
    /// The frequency that sounded longest, in Hz.
    pub hz: Option<f64>,
    /// The mean level of the frames that are not silence, in dB below a full-scale sine.
    pub dbfs: Option<f64>,
    /// Steady tones in order; neighbours of the same pitch are one.
    pub tones: Vec<ToneSpan>,
    /// Times without any RTP packet, longer than 60 ms, after the first packet.
    pub gaps: Vec<Gap>,
    /// The longest time between two RTP packets.
    pub longest_gap_ms: u64,
    /// Telephone events in order.
    pub dtmf: Vec<HeardDigit>,
    /// Whether the peer said goodbye by RTCP.
    pub rtcp_bye: bool,
}

impl Heard {
    /// The digits of [`Heard::dtmf`] as one string.
    pub fn digits(&self) -> String {
        self.dtmf.iter().map(|d| d.digit).collect()
    }

    /// Milliseconds in which a tone within `tolerance_hz` of `hz` sounded.
    pub fn heard_ms(&self, hz: f64, tolerance_hz: f64) -> u64 {
        let near = self.tones.iter().filter(|t| (t.hz - hz).abs() <= tolerance_hz);
        near.map(|t| u64::try_from(t.to_ms - t.from_ms).unwrap_or(0)).sum()
    }
}

/// One steady tone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ToneSpan {
    /// Its beginning.
    pub from_ms: i64,
    /// Its end.
    pub to_ms: i64,
    /// Its pitch in Hz.
    pub hz: f64,
    /// Its level in dB below a full-scale sine.
    pub dbfs: f64,
}

/// A time without packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Its beginning: the last packet before it.
    pub at_ms: i64,
    /// Its length in milliseconds.
    pub ms: u64,
}

/// One telephone event (RFC 4733).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeardDigit {
    /// `0` to `9`, `*`, `#`, `A` to `D`, or `?` for an event that is no key.
    pub digit: char,
    /// When its first packet came.
    pub at_ms: i64,
    /// The longest duration its packets told, in milliseconds.
    pub duration_ms: u64,
    /// Whether a packet with the end bit came.
    pub ended: bool,
}

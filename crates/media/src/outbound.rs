//! What goes to one peer: its stream, what fills it while nobody feeds it, and its reports.

use std::time::{Duration, Instant};

use setu_srtp::rtcp::{NtpTime, ReportBlock, RtcpError, SenderInfo, Writer};
use setu_srtp::rtp::{HEADER_LEN, Header};

use crate::guard::Guard;
use crate::opus;
use crate::stream::{Stamp, Stream, TICK};
use crate::{AudioFormat, Comfort, Direction, LegSetup, MediaProfile};

/// The sending half of a leg that is set up.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) ssrc: u32,
    pub(crate) stream: Stream,
    pub(crate) packets: u64,
    octets: u64,
    /// Frames of our own that left more than [`LATE`] after their time.
    pub(crate) late: u64,
    pub(crate) first_sent: Option<Instant>,
    /// When the next comfort frame is due, while no source runs.
    comfort_at: Option<Instant>,
    report_at: Option<Instant>,
    /// `packets` at the last report: who sent nothing since is a receiver (RFC 3550 section 6.4).
    packets_reported: u64,
}

/// A packet on its way out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parting {
    pub(crate) payload_type: u8,
    pub(crate) marker: bool,
    pub(crate) stamp: Stamp,
}

impl Outbound {
    pub(crate) fn new(setup: &LegSetup) -> Self {
        Self {
            ssrc: setup.ssrc,
            stream: Stream::new(setup.sequence, setup.timestamp, setup.audio.step()),
            packets: 0,
            octets: 0,
            late: 0,
            first_sent: None,
            comfort_at: None,
            report_at: None,
            packets_reported: 0,
        }
    }

    /// Begins the stream: the first packet and the first report become due.
    pub(crate) fn start(&mut self, profile: &MediaProfile, now: Instant) {
        self.comfort_at = Some(now);
        // Spread over a second, so that a thousand calls of one moment do not report at one moment.
        let spread = Duration::from_millis(u64::from(self.ssrc % 1_000));
        self.report_at = Some(now + profile.rtcp_interval / 10 + spread);
    }

    /// Ends the run of whatever fed the stream; comfort frames take over with the next packet time.
    pub(crate) fn release(&mut self) {
        if let Some(at) = self.stream.end_run() {
            self.comfort_at = Some(at + TICK);
        }
    }

    /// Lets the stream go on at once after a time in which the peer wanted nothing.
    pub(crate) fn resume(&mut self, now: Instant) {
        self.stream.end_run();
        self.comfort_at = Some(now);
    }

    /// Puts the next comfort frame off by a packet time: something else was sent.
    pub(crate) fn rest(&mut self, now: Instant) {
        self.comfort_at = self.comfort_at.map(|_| now + TICK);
    }

    /// Returns when a frame of our own is due: of a sound that `plays`, or a comfort frame.
    pub(crate) fn own_due(
        &self,
        profile: &MediaProfile,
        direction: Direction,
        plays: bool,
    ) -> Option<Instant> {
        let wanted = plays || profile.comfort == Comfort::Continuous || self.packets == 0;
        if !wanted || !direction.sends() {
            return None;
        }
        match (self.stream.silent_at(), self.comfort_at) {
            (Some(silent), Some(comfort)) => Some(silent.max(comfort)),
            (silent, comfort) => silent.or(comfort),
        }
    }

    /// Takes the numbers of a comfort frame that is due.
    pub(crate) fn comfort(&mut self, audio: AudioFormat, due: Instant, now: Instant) -> Parting {
        let behind = now.saturating_duration_since(due);
        self.late += u64::from(behind > LATE && self.packets > 0);
        let late = behind > TICK * MOST_LATE;
        self.comfort_at = Some(if late { now } else { due } + TICK);
        let marker = self.packets == 0;
        Parting { payload_type: audio.send_pt(), marker, stamp: self.stream.own(now) }
    }

    /// Writes the packet's header right before its payload, which starts at `at` in `buffer` and has `len` bytes,
    /// and protects it. Returns where in `buffer` the finished packet is; `None` if it must not be sent.
    pub(crate) fn finish<'b>(
        &mut self,
        guard: &mut Guard,
        packet: Parting,
        buffer: &'b mut [u8],
        at: usize,
        len: usize,
        now: Instant,
    ) -> Option<&'b [u8]> {
        let header = Header::new(
            packet.payload_type,
            packet.stamp.wire_sequence(),
            packet.stamp.wire_timestamp(),
            self.ssrc,
        )
        .with_marker(packet.marker);
        let buffer = buffer.get_mut(at.checked_sub(HEADER_LEN)?..)?;
        buffer.first_chunk_mut::<HEADER_LEN>().map(|to| *to = header.to_bytes())?;
        let length = match guard.close_rtp(buffer, HEADER_LEN + len) {
            Ok(length) => length,
            Err(error) => {
                tracing::trace!(%error, "packet not sent");
                return None;
            }
        };
        self.packets += 1;
        self.octets += len as u64;
        self.first_sent.get_or_insert(now);
        buffer.get(..length)
    }

    /// Returns when the next report is due.
    pub(crate) const fn report_due(&self) -> Option<Instant> {
        self.report_at
    }

    /// Puts the next report off by the profile's interval.
    pub(crate) fn reported(&mut self, profile: &MediaProfile, now: Instant) {
        self.report_at = Some(now + profile.rtcp_interval);
        self.packets_reported = self.packets;
    }

    /// Writes a compound: sender or receiver report, source description and, at the end, goodbye (RFC 3550
    /// section 6.1). Returns its length.
    pub(crate) fn compound(
        &self,
        block: Option<ReportBlock>,
        last: bool,
        ntp: NtpTime,
        now: Instant,
        to: &mut [u8],
    ) -> Result<usize, RtcpError> {
        let mut writer = Writer::new(to);
        let blocks = block.as_slice();
        if self.packets > self.packets_reported {
            let info = SenderInfo {
                ssrc: self.ssrc,
                ntp,
                timestamp: self.stream.timestamp_at(now),
                packets: low_32(self.packets),
                octets: low_32(self.octets),
            };
            writer.sender_report(&info, blocks)?;
        } else {
            writer.receiver_report(self.ssrc, blocks)?;
        }
        writer.cname(self.ssrc, &cname(self.ssrc))?;
        if last {
            writer.goodbye(self.ssrc)?;
        }
        Ok(writer.finish())
    }
}

/// Returns 20 ms of silence in a format.
pub(crate) const fn silence(audio: AudioFormat) -> &'static [u8] {
    match audio {
        AudioFormat::Opus { .. } => &opus::SILENCE,
        AudioFormat::Pcmu { .. } => &[0xff; 160],
        AudioFormat::Pcma { .. } => &[0xd5; 160],
        AudioFormat::G722 { .. } => &[0xff; 160],
    }
}

/// A name for the length of the call (RFC 7022 section 4.2), from the SSRC, which is random.
fn cname(ssrc: u32) -> [u8; 8] {
    let mut name = [0; 8];
    for (at, to) in (0..).zip(&mut name) {
        let nibble = (ssrc >> (28 - 4 * at)) & 15;
        *to = char::from_digit(nibble, 16).map_or(b'0', |digit| digit as u8);
    }
    name
}

#[expect(clippy::cast_possible_truncation, reason = "RTCP's counters are modulo 2^32")]
const fn low_32(count: u64) -> u32 {
    count as u32
}

/// A frame later than this may come too late for a jitter buffer.
const LATE: Duration = Duration::from_millis(40);

/// A timer later than this many packet times starts a new beat rather than hurrying after the old one.
const MOST_LATE: u32 = 5;

//! What comes from one peer: taken only from where it may come, counted, and told of.

use std::time::{Duration, Instant};

use setu_srtp::rtcp::{Compound, NtpTime, Packet, ReportBlock};
use setu_srtp::rtp::Header;

use crate::reception::{Extended, Reception};
use crate::sound::Sound;
use crate::telephone::KeyWatch;
use crate::{AudioFormat, Direction, Dtmf, MediaProfile};

/// The receiving half of a leg.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    pub(crate) reception: Reception,
    pub(crate) keys: KeyWatch,
    /// Datagrams dropped, whatever the reason.
    pub(crate) rejected: u64,
    pub(crate) first_packet: Option<Instant>,
    silence: Silence,
    /// The peer's last sender report, and when it came.
    sender_report: Option<(NtpTime, Instant)>,
    pub(crate) round_trip_us: Option<u64>,
    /// What the peer last reported as lost of our stream, in 1/256.
    pub(crate) lost_there: Option<u8>,
    /// What the peer last told of our stream.
    pub(crate) remote: Option<Remote>,
    pub(crate) sound: Sound,
}

/// How our stream arrives at the peer, by its last report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Remote {
    /// Packets lost since the beginning; negative where duplicates came.
    pub(crate) lost: i32,
    /// In ticks of our stream's clock.
    pub(crate) jitter: u32,
}

/// Whether the peer is heard of.
#[derive(Debug, Default, Clone, Copy)]
enum Silence {
    /// Nobody waits for it: before the start, or while it need not send.
    #[default]
    Unwatched,
    /// Last heard of then.
    Heard(Instant),
    /// Told as silent.
    Told,
}

/// A packet's meaning, by its payload type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    Audio,
    /// Comfort noise (RFC 3389).
    Noise,
    Event,
}

impl Meaning {
    /// Returns what a payload type means on a leg; `None` if nothing was agreed for it.
    pub(crate) fn of(payload_type: u8, audio: AudioFormat, dtmf: Option<Dtmf>) -> Option<Self> {
        if payload_type == audio.receive_pt() {
            return Some(Self::Audio);
        }
        if dtmf.is_some_and(|dtmf| dtmf.receive_pt == payload_type) {
            return Some(Self::Event);
        }
        // Phones send it unasked.
        (payload_type == NOISE_PT && audio.clock() == 8_000).then_some(Self::Noise)
    }
}

/// The payload type of comfort noise beside a clock of 8 kHz (RFC 3389 section 4).
pub(crate) const NOISE_PT: u8 = 13;

impl Inbound {
    /// Notes a valid RTP packet. Returns its extended numbers, and whether it is the leg's first.
    pub(crate) fn take(
        &mut self,
        header: &Header,
        clock: u32,
        meaning: Meaning,
        now: Instant,
    ) -> (Extended, bool) {
        let audio = meaning == Meaning::Audio;
        let extended = self.reception.take(header.ssrc, header.sequence, header.timestamp, clock, audio, now);
        self.heard(now);
        let first = self.first_packet.is_none();
        self.first_packet.get_or_insert(now);
        (extended, first)
    }

    /// Notes a valid RTCP compound; `ssrc` is the one of our stream to the peer.
    pub(crate) fn take_reports(
        &mut self,
        compound: Compound<'_>,
        ssrc: u32,
        profile: &MediaProfile,
        ntp: NtpTime,
        now: Instant,
    ) {
        if profile.rtcp_is_life {
            self.heard(now);
        }
        for packet in compound.packets() {
            let reports = match packet {
                Packet::SenderReport(info, reports) => {
                    self.sender_report = Some((info.ntp, now));
                    reports
                }
                Packet::ReceiverReport(_, reports) => reports,
                Packet::SourceDescription { .. } | Packet::Goodbye { .. } | Packet::Other { .. } => continue,
            };
            for report in reports.filter(|report| report.ssrc == ssrc) {
                self.round_trip_us = report.round_trip_us(ntp).or(self.round_trip_us);
                self.lost_there = Some(report.fraction_lost);
                self.remote = Some(Remote { lost: report.cumulative_lost, jitter: report.jitter });
            }
        }
    }

    /// Makes the report block about the peer's stream; `None` before its first packet.
    pub(crate) fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        let report = self.reception.report()?;
        let (last_sr, delay_since_last_sr) = self.sender_report.map_or((0, 0), |(ntp, at)| {
            let delay = now.saturating_duration_since(at).as_micros() * 65_536 / 1_000_000;
            (ntp.middle(), u32::try_from(delay).unwrap_or(u32::MAX))
        });
        Some(ReportBlock {
            ssrc: report.ssrc,
            fraction_lost: report.fraction_lost,
            cumulative_lost: report.cumulative_lost,
            highest_sequence: report.highest,
            jitter: report.jitter,
            last_sr,
            delay_since_last_sr,
        })
    }

    /// Begins or stops to wait for the peer's packets.
    pub(crate) fn watch(&mut self, direction: Direction, now: Instant) {
        self.silence = match self.silence {
            Silence::Unwatched if direction.receives() => Silence::Heard(now),
            watched @ (Silence::Heard(_) | Silence::Told) if direction.receives() => watched,
            Silence::Unwatched | Silence::Heard(_) | Silence::Told => Silence::Unwatched,
        };
    }

    /// Returns when the peer counts as silent.
    pub(crate) fn silent_at(&self, timeout: Option<Duration>) -> Option<Instant> {
        match self.silence {
            Silence::Heard(at) => timeout.map(|timeout| at + timeout),
            Silence::Unwatched | Silence::Told => None,
        }
    }

    /// Notes that the silence was told of.
    pub(crate) fn told_silent(&mut self) {
        self.silence = Silence::Told;
    }

    fn heard(&mut self, now: Instant) {
        match self.silence {
            Silence::Heard(_) | Silence::Told => self.silence = Silence::Heard(now),
            Silence::Unwatched => {}
        }
    }
}

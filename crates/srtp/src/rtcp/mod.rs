//! RTCP compound packets (RFC 3550 section 6): reading what a peer sent, and building our own.

mod build;
mod parse;

pub use build::{MAX_CNAME, Writer};
pub use parse::{Compound, Packet, Packets, Reports, RtcpError};

use crate::{SrtpError, bytes};

/// A moment on the wall clock as RTCP sends it: seconds since 1900 in the upper 32 bits, fractions in the lower
/// (RFC 3550 section 4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// From milliseconds since the Unix epoch; moments before it count as the epoch.
    pub fn from_unix_ms(ms: i64) -> Self {
        let ms = u64::try_from(ms).unwrap_or(0);
        let seconds = (ms / 1_000).wrapping_add(UNIX_EPOCH) & 0xffff_ffff;
        Self((seconds << 32) | (((ms % 1_000) << 32) / 1_000))
    }

    /// The middle 32 bits, in units of 1/65,536 s: what report blocks refer to (RFC 3550 section 6.4.1).
    pub const fn middle(self) -> u32 {
        (self.0 >> 16 & 0xffff_ffff) as u32
    }
}

/// Seconds from 1900 to 1970.
const UNIX_EPOCH: u64 = 2_208_988_800;

/// What a sender says about its own stream (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// The sender's source.
    pub ssrc: u32,
    /// When this report was sent.
    pub ntp: NtpTime,
    /// The same moment as an RTP time stamp of the stream.
    pub timestamp: u32,
    /// RTP packets sent so far.
    pub packets: u32,
    /// Payload bytes sent so far.
    pub octets: u32,
}

/// What a receiver says about a stream it hears (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source this is about.
    pub ssrc: u32,
    /// Packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost in all, -2^23 to 2^23 - 1; negative if duplicates came.
    pub cumulative_lost: i32,
    /// The highest sequence number, with the wrap-arounds counted above it.
    pub highest_sequence: u32,
    /// Jitter between arrivals, in units of the payload's clock.
    pub jitter: u32,
    /// The [middle](NtpTime::middle) of the last sender report heard; 0 if none.
    pub last_sr: u32,
    /// Time since it was heard, in 1/65,536 s.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    /// Length on the wire, in bytes.
    const LEN: usize = 24;

    /// The way there and back in microseconds, judged by when this report came in; none if it refers to no report
    /// of ours, or to one from the future (RFC 3550 section 6.4.1, LSR and DLSR).
    pub fn round_trip_us(&self, arrived: NtpTime) -> Option<u64> {
        if self.last_sr == 0 {
            return None;
        }
        let units = arrived.middle().wrapping_sub(self.last_sr).wrapping_sub(self.delay_since_last_sr);
        (units < 1 << 31).then(|| (u64::from(units) * 1_000_000) >> 16)
    }
}

/// Packet types (RFC 3550 section 12.1).
mod kind {
    pub(super) const SENDER_REPORT: u8 = 200;
    pub(super) const RECEIVER_REPORT: u8 = 201;
    pub(super) const SOURCE_DESCRIPTION: u8 = 202;
    pub(super) const GOODBYE: u8 = 203;
}

/// The source of the first packet, which SRTCP protects the compound under (RFC 3711 section 3.4).
pub(crate) fn first_ssrc(packet: &[u8]) -> Result<u32, SrtpError> {
    match packet.first() {
        Some(flags) if flags >> 6 != 2 => Err(SrtpError::NotRtp),
        Some(_) | None => bytes::be32(packet, 4).ok_or(SrtpError::TooShort),
    }
}

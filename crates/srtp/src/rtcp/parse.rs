use super::{NtpTime, ReportBlock, SenderInfo, kind};
use crate::bytes;

/// A compound packet whose structure was checked: every length fits (RFC 3550 appendix A.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compound<'p> {
    bytes: &'p [u8],
}

/// The peer sent something that is not RTCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtcpError {
    /// A packet is shorter than its header or its content says.
    #[error("packet too short")]
    TooShort,
    /// The version is not 2.
    #[error("not RTCP version 2")]
    Version,
    /// Padding on a packet that is not the last, or more than there is.
    #[error("bad padding")]
    Padding,
}

impl<'p> Compound<'p> {
    /// Checks the packets of a compound. A compound that does not begin with a report is taken too (RFC 5506).
    ///
    /// # Errors
    ///
    /// Any packet is malformed: then none of them is to be believed.
    pub fn parse(bytes: &'p [u8]) -> Result<Self, RtcpError> {
        let mut rest = bytes;
        loop {
            let (body, after) = split(rest)?;
            Packet::parse(rest, body)?;
            if after.is_empty() {
                return Ok(Self { bytes });
            }
            if rest.first().is_some_and(|flags| flags & PADDING != 0) {
                return Err(RtcpError::Padding);
            }
            rest = after;
        }
    }

    /// The packets, in order.
    pub fn packets(&self) -> Packets<'p> {
        Packets { rest: self.bytes }
    }
}

/// Iterator over the packets of a compound.
#[derive(Debug, Clone)]
pub struct Packets<'p> {
    rest: &'p [u8],
}

impl<'p> Iterator for Packets<'p> {
    type Item = Packet<'p>;

    fn next(&mut self) -> Option<Packet<'p>> {
        let (body, after) = split(self.rest).ok()?;
        let packet = Packet::parse(self.rest, body).ok()?;
        self.rest = after;
        Some(packet)
    }
}

/// One packet of a compound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'p> {
    /// What a sender says of its stream and of those it hears.
    SenderReport(SenderInfo, Reports<'p>),
    /// What a receiver that sends nothing says: its source, and the streams it hears.
    ReceiverReport(u32, Reports<'p>),
    /// Names of sources.
    SourceDescription {
        /// The first source described; none if the list is empty.
        ssrc: Option<u32>,
        /// Its canonical name; none if it gave none.
        cname: Option<&'p [u8]>,
    },
    /// A source has left.
    Goodbye {
        /// The first source that left; none if the list is empty.
        ssrc: Option<u32>,
    },
    /// Anything else: feedback, extended reports, application-defined.
    Other {
        /// The packet type.
        kind: u8,
        /// The five bits that hold a count or a subtype.
        count: u8,
        /// What follows the first four bytes.
        body: &'p [u8],
    },
}

impl<'p> Packet<'p> {
    fn parse(packet: &[u8], body: &'p [u8]) -> Result<Self, RtcpError> {
        let [flags, packet_kind] = bytes::array(packet, 0).ok_or(RtcpError::TooShort)?;
        let count = flags & 0x1f;
        let be32 = |at| bytes::be32(body, at).ok_or(RtcpError::TooShort);
        Ok(match packet_kind {
            kind::SENDER_REPORT => {
                let ntp = NtpTime(u64::from(be32(4)?) << 32 | u64::from(be32(8)?));
                let (ssrc, timestamp, packets, octets) = (be32(0)?, be32(12)?, be32(16)?, be32(20)?);
                let info = SenderInfo { ssrc, ntp, timestamp, packets, octets };
                Self::SenderReport(info, Reports::parse(body, 24, count)?)
            }
            kind::RECEIVER_REPORT => Self::ReceiverReport(be32(0)?, Reports::parse(body, 4, count)?),
            kind::SOURCE_DESCRIPTION => {
                let ssrc = if count == 0 { None } else { Some(be32(0)?) };
                Self::SourceDescription { ssrc, cname: ssrc.and_then(|_| cname(body)) }
            }
            kind::GOODBYE => Self::Goodbye { ssrc: if count == 0 { None } else { Some(be32(0)?) } },
            other => Self::Other { kind: other, count, body },
        })
    }
}

/// Iterator over the report blocks of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reports<'p> {
    rest: &'p [u8],
}

impl<'p> Reports<'p> {
    fn parse(body: &'p [u8], at: usize, count: u8) -> Result<Self, RtcpError> {
        let rest = body.get(at..).and_then(|rest| rest.get(..usize::from(count) * ReportBlock::LEN));
        Ok(Self { rest: rest.ok_or(RtcpError::TooShort)? })
    }
}

impl Iterator for Reports<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, after) = self.rest.split_at_checked(ReportBlock::LEN)?;
        self.rest = after;
        let lost = bytes::be32(block, 4)?;
        Some(ReportBlock {
            ssrc: bytes::be32(block, 0)?,
            fraction_lost: (lost >> 24) as u8,
            // Moves the sign of the 24-bit number to where a 32-bit one has it, and back.
            cumulative_lost: (lost << 8).cast_signed() >> 8,
            highest_sequence: bytes::be32(block, 8)?,
            jitter: bytes::be32(block, 12)?,
            last_sr: bytes::be32(block, 16)?,
            delay_since_last_sr: bytes::be32(block, 20)?,
        })
    }
}

/// Splits the first packet's body, without padding, from the packets after it.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), RtcpError> {
    let [flags, _, l0, l1] = bytes::array(bytes, 0).ok_or(RtcpError::TooShort)?;
    if flags >> 6 != 2 {
        return Err(RtcpError::Version);
    }
    let len = 4 + 4 * usize::from(u16::from_be_bytes([l0, l1]));
    let (packet, after) = bytes.split_at_checked(len).ok_or(RtcpError::TooShort)?;
    let padding = match packet.last() {
        Some(0) if flags & PADDING != 0 => return Err(RtcpError::Padding),
        Some(count) if flags & PADDING != 0 => usize::from(*count),
        Some(_) | None => 0,
    };
    let end = len.checked_sub(padding).ok_or(RtcpError::Padding)?;
    Ok((packet.get(4..end).ok_or(RtcpError::Padding)?, after))
}

/// The canonical name in the first chunk of a source description (RFC 3550 section 6.5).
fn cname(body: &[u8]) -> Option<&[u8]> {
    let mut items = body.get(4..)?;
    while let [item, len, rest @ ..] = items {
        if *item == 0 {
            return None;
        }
        let (text, after) = rest.split_at_checked(usize::from(*len))?;
        if *item == CNAME {
            return Some(text);
        }
        items = after;
    }
    None
}

const PADDING: u8 = 0x20;
pub(super) const CNAME: u8 = 1;

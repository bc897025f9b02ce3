//! RTP and RTCP as the twins write and read them, byte by byte (RFC 3550).

use bytes::{BufMut, Bytes, BytesMut};

/// The fixed header of an RTP packet and where its payload lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rtp {
    pub(crate) marker: bool,
    pub(crate) payload_type: u8,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    pub(crate) payload: Bytes,
}

impl Rtp {
    /// Reads a plain packet; `None` if it is not RTP version 2 or lies about its length.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        if first >> 6 != 2 {
            return None;
        }
        let mut start = 12 + 4 * usize::from(first & 0x0f);
        if first & 0x10 != 0 {
            let words = u16::from_be_bytes([*bytes.get(start + 2)?, *bytes.get(start + 3)?]);
            start += 4 + 4 * usize::from(words);
        }
        let mut end = bytes.len();
        if first & 0x20 != 0 {
            end = end.checked_sub(usize::from(*bytes.last()?))?;
        }
        Some(Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes(word(bytes, 2)?),
            timestamp: u32::from_be_bytes(word(bytes, 4)?),
            ssrc: u32::from_be_bytes(word(bytes, 8)?),
            payload: Bytes::copy_from_slice(bytes.get(start..end)?),
        })
    }

    /// Writes the packet.
    pub(crate) fn write(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(12 + self.payload.len());
        out.put_u8(0x80);
        out.put_u8(u8::from(self.marker) << 7 | (self.payload_type & 0x7f));
        out.put_u16(self.sequence);
        out.put_u32(self.timestamp);
        out.put_u32(self.ssrc);
        out.put_slice(&self.payload);
        out.freeze()
    }
}

/// Whether a datagram on a shared port is RTCP (RFC 5761 section 4: packet types 192 to 223).
pub(crate) fn is_rtcp(bytes: &[u8]) -> bool {
    bytes.len() >= 8 && bytes.first().is_some_and(|b| b >> 6 == 2) && (192..=223).contains(&bytes[1])
}

/// What the twins take from a compound RTCP packet.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RtcpFacts {
    /// Middle 32 bits of the sender report's NTP time, to be returned as LSR (RFC 3550 section 6.4.1).
    pub(crate) sender_report_ntp: Option<u32>,
    /// Whether it held a report about us.
    pub(crate) reports: usize,
    /// Whether it held a BYE.
    pub(crate) bye: bool,
}

/// Reads a compound RTCP packet; `None` if it is malformed.
pub(crate) fn read_rtcp(mut bytes: &[u8]) -> Option<RtcpFacts> {
    let mut facts = RtcpFacts::default();
    while !bytes.is_empty() {
        let first = *bytes.first()?;
        if first >> 6 != 2 {
            return None;
        }
        let length = 4 * (usize::from(u16::from_be_bytes(word(bytes, 2)?)) + 1);
        let packet = bytes.get(..length)?;
        match bytes.get(1)? {
            200 => {
                facts.sender_report_ntp = Some(u32::from_be_bytes(word(packet, 10)?));
                facts.reports += usize::from(first & 0x1f);
            }
            201 => facts.reports += usize::from(first & 0x1f),
            203 => facts.bye = true,
            _ => {}
        }
        bytes = bytes.get(length..)?;
    }
    Some(facts)
}

/// What a sender report says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    pub(crate) ssrc: u32,
    /// Wall clock in milliseconds since 1970.
    pub(crate) wall_ms: i64,
    pub(crate) timestamp: u32,
    pub(crate) packets: u32,
    pub(crate) octets: u32,
    /// About the stream we hear, if we hear one.
    pub(crate) about: Option<ReportBlock>,
}

/// One report block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReportBlock {
    pub(crate) ssrc: u32,
    pub(crate) lost: u32,
    pub(crate) highest: u32,
    pub(crate) last_report: u32,
    /// In 1/65536 seconds.
    pub(crate) delay: u32,
}

/// Writes SR + SDES (CNAME), optionally with BYE.
pub(crate) fn write_report(report: &Report, cname: &str, bye: bool) -> Bytes {
    let mut out = BytesMut::with_capacity(96);
    let blocks = u8::from(report.about.is_some());
    out.put_u8(0x80 | blocks);
    out.put_u8(200);
    out.put_u16(6 + 6 * u16::from(blocks));
    out.put_u32(report.ssrc);
    // NTP counts from 1900 (RFC 3550 section 4).
    let ms = u64::try_from(report.wall_ms).unwrap_or(0);
    out.put_u32((ms / 1_000 + 2_208_988_800) as u32);
    out.put_u32((((ms % 1_000) << 32) / 1_000) as u32);
    out.put_u32(report.timestamp);
    out.put_u32(report.packets);
    out.put_u32(report.octets);
    if let Some(about) = &report.about {
        out.put_u32(about.ssrc);
        out.put_u32(about.lost.min(0x007f_ffff));
        out.put_u32(about.highest);
        out.put_u32(0);
        out.put_u32(about.last_report);
        out.put_u32(about.delay);
    }
    let chunk = 4 + 2 + cname.len() + 1;
    let padded = chunk.next_multiple_of(4);
    out.put_u8(0x81);
    out.put_u8(202);
    out.put_u16((padded / 4) as u16);
    out.put_u32(report.ssrc);
    out.put_u8(1);
    out.put_u8(cname.len() as u8);
    out.put_slice(cname.as_bytes());
    out.put_bytes(0, padded - chunk + 1);
    if bye {
        out.put_slice(&[0x81, 203, 0, 1]);
        out.put_u32(report.ssrc);
    }
    out.freeze()
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_reads_back_as_written() {
        let packet = Rtp {
            marker: true,
            payload_type: 111,
            sequence: 65_535,
            timestamp: 7,
            ssrc: 9,
            payload: Bytes::from_static(b"voice"),
        };
        assert_eq!(Rtp::read(&packet.write()), Some(packet));
    }

    #[test]
    fn no_short_packet_panics() {
        let full = [0xbf; 80];
        for length in 0..full.len() {
            let _ = (Rtp::read(&full[..length]), read_rtcp(&full[..length]), is_rtcp(&full[..length]));
        }
    }

    #[test]
    fn a_report_with_bye_is_a_well_formed_compound_packet() {
        let about = ReportBlock { ssrc: 2, lost: 3, highest: 4, last_report: 5, delay: 6 };
        let report = Report {
            ssrc: 1,
            wall_ms: 1_700_000_000_500,
            timestamp: 1,
            packets: 2,
            octets: 3,
            about: Some(about),
        };
        let bytes = write_report(&report, "user@twin", true);
        assert_eq!(bytes.len() % 4, 0);
        let facts = read_rtcp(&bytes).unwrap();
        assert!(facts.bye && facts.reports == 1);
        // 1,700,000,000 s since 1970, half a second: low 16 bits of the seconds, high 16 of the fraction.
        assert_eq!(
            facts.sender_report_ntp,
            Some((((1_700_000_000u64 + 2_208_988_800) << 16) as u32) | 0x8000)
        );
    }
}

//! RTP packets (RFC 3550 section 5): a view of the header, a writer, and numbers extended over wrap-arounds.

use std::ops::Range;

use crate::{SrtpError, bytes};

/// Length of a header without contributing sources and extension, in bytes.
pub const HEADER_LEN: usize = 12;

/// The header of an RTP packet (RFC 3550 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The marker bit: for voice, the first packet of a talk spurt (RFC 3551 section 4.1).
    pub marker: bool,
    /// The payload type, 0 to 127.
    pub payload_type: u8,
    /// The sequence number.
    pub sequence: u16,
    /// The time stamp, in units of the payload's clock.
    pub timestamp: u32,
    /// The synchronisation source.
    pub ssrc: u32,
    len: usize,
    padded: bool,
}

/// The peer sent something that is not RTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// Shorter than its header says it is (RFC 3550 section 5.1).
    #[error("packet too short")]
    TooShort,
    /// The version is not 2.
    #[error("not RTP version 2")]
    Version,
    /// The padding count is 0 or more than there is.
    #[error("bad padding")]
    Padding,
}

impl Header {
    /// Makes a plain header: no padding, no contributing sources, no extension.
    pub const fn new(payload_type: u8, sequence: u16, timestamp: u32, ssrc: u32) -> Self {
        let payload_type = payload_type & 0x7f;
        Self { marker: false, payload_type, sequence, timestamp, ssrc, len: HEADER_LEN, padded: false }
    }

    /// Sets the marker bit.
    #[must_use]
    pub const fn with_marker(mut self, marker: bool) -> Self {
        self.marker = marker;
        self
    }

    /// Reads the header at the front of `packet`. Padding is checked by [`payload_range`](Header::payload_range),
    /// as SRTP encrypts its count.
    ///
    /// # Errors
    ///
    /// The packet is not RTP version 2, or ends within the header.
    pub fn parse(packet: &[u8]) -> Result<Self, RtpError> {
        let fixed: [u8; HEADER_LEN] = bytes::array(packet, 0).ok_or(RtpError::TooShort)?;
        let [flags, kind, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3] = fixed;
        if flags >> 6 != 2 {
            return Err(RtpError::Version);
        }
        let mut len = HEADER_LEN + 4 * usize::from(flags & 0x0f);
        if flags & EXTENSION != 0 {
            let words = bytes::be16(packet, len + 2).ok_or(RtpError::TooShort)?;
            len += 4 + 4 * usize::from(words);
        }
        if len > packet.len() {
            return Err(RtpError::TooShort);
        }
        Ok(Self {
            marker: kind & 0x80 != 0,
            payload_type: kind & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([i0, i1, i2, i3]),
            len,
            padded: flags & PADDING != 0,
        })
    }

    pub(crate) fn parse_srtp(packet: &[u8]) -> Result<Self, SrtpError> {
        Self::parse(packet).map_err(|error| match error {
            RtpError::TooShort => SrtpError::TooShort,
            RtpError::Version | RtpError::Padding => SrtpError::NotRtp,
        })
    }

    /// Length of the header with contributing sources and extension, in bytes: where the payload begins.
    #[expect(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Where the payload of `packet`, which this header was read from, stands, without padding.
    ///
    /// # Errors
    ///
    /// [`RtpError::Padding`] if the packet says it is padded by nothing or by more than it has.
    pub fn payload_range(&self, packet: &[u8]) -> Result<Range<usize>, RtpError> {
        let padding = match packet.last() {
            Some(0) if self.padded => return Err(RtpError::Padding),
            Some(count) if self.padded => usize::from(*count),
            Some(_) | None => 0,
        };
        let end =
            packet.len().checked_sub(padding).filter(|end| *end >= self.len).ok_or(RtpError::Padding)?;
        Ok(self.len..end)
    }

    /// The payload of `packet`, which this header was read from, without padding.
    ///
    /// # Errors
    ///
    /// As [`payload_range`](Header::payload_range).
    pub fn payload<'p>(&self, packet: &'p [u8]) -> Result<&'p [u8], RtpError> {
        packet.get(self.payload_range(packet)?).ok_or(RtpError::TooShort)
    }

    /// The header as twelve bytes for the wire. Contributing sources and extension are not written: they are the
    /// other side's, and do not pass the bridge.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [i0, i1, i2, i3] = self.ssrc.to_be_bytes();
        let kind = u8::from(self.marker) << 7 | (self.payload_type & 0x7f);
        [2 << 6, kind, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3]
    }

    /// Writes this header and `payload` to the front of `buffer`; returns the length of the packet.
    ///
    /// # Errors
    ///
    /// [`RtpError::TooShort`] if the buffer cannot hold both.
    pub fn write(&self, payload: &[u8], buffer: &mut [u8]) -> Result<usize, RtpError> {
        bytes::put(buffer, 0, &self.to_bytes()).ok_or(RtpError::TooShort)?;
        bytes::put(buffer, HEADER_LEN, payload).ok_or(RtpError::TooShort)?;
        Ok(HEADER_LEN + payload.len())
    }
}

const PADDING: u8 = 0x20;
const EXTENSION: u8 = 0x10;

/// Extends 16-bit sequence numbers over wrap-arounds (RFC 3550 appendix A.1).
///
/// Counting starts in the second period (at 65,536), so that a packet from before the first does not fall below
/// zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExtendedSequence {
    highest: Option<u64>,
}

impl ExtendedSequence {
    /// Returns `sequence` extended by the periods that passed: the value next to the highest so far.
    pub fn extend(&mut self, sequence: u16) -> u64 {
        let extended = match self.highest {
            None => (1 << 16) + u64::from(sequence),
            // The low 16 bits of the distance, read as signed: at most half a period ahead or behind.
            Some(highest) => {
                let step = sequence.wrapping_sub((highest & 0xffff) as u16).cast_signed();
                highest.saturating_add_signed(i64::from(step))
            }
        };
        self.highest = Some(self.highest.map_or(extended, |highest| highest.max(extended)));
        extended
    }

    /// The highest so far.
    pub const fn highest(&self) -> Option<u64> {
        self.highest
    }
}

/// Extends 32-bit time stamps over wrap-arounds, like [`ExtendedSequence`]; counting starts at 2^32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExtendedTimestamp {
    highest: Option<u64>,
}

impl ExtendedTimestamp {
    /// Returns `timestamp` extended by the periods that passed.
    pub fn extend(&mut self, timestamp: u32) -> u64 {
        let extended = match self.highest {
            None => (1 << 32) + u64::from(timestamp),
            Some(highest) => {
                let step = timestamp.wrapping_sub((highest & 0xffff_ffff) as u32).cast_signed();
                highest.saturating_add_signed(i64::from(step))
            }
        };
        self.highest = Some(self.highest.map_or(extended, |highest| highest.max(extended)));
        extended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Vec<u8> {
        // Two contributing sources, an extension of one word, five bytes of payload, three of padding.
        let mut packet = vec![0xb2, 0xe5, 0x12, 0x34, 0, 0, 0, 9, 0xde, 0xad, 0xbe, 0xef];
        packet.extend([1, 1, 1, 1, 2, 2, 2, 2, 0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0]);
        packet.extend(b"voice");
        packet.extend([0, 0, 3]);
        packet
    }

    #[test]
    fn sources_extension_and_padding_are_no_payload() {
        let packet = packet();
        let header = Header::parse(&packet).unwrap();
        assert_eq!((header.marker, header.payload_type, header.sequence), (true, 0x65, 0x1234));
        assert_eq!((header.timestamp, header.ssrc, header.len()), (9, 0xdead_beef, 28));
        assert_eq!(header.payload(&packet).unwrap(), b"voice");
    }

    #[test]
    fn a_packet_cut_anywhere_in_its_header_is_refused() {
        let packet = packet();
        for length in 0..28 {
            assert_eq!(Header::parse(&packet[..length]), Err(RtpError::TooShort), "{length}");
        }
    }

    #[test]
    fn padding_of_nothing_or_too_much_is_refused() {
        let mut packet = packet();
        let header = Header::parse(&packet).unwrap();
        for count in [0, 9, 255] {
            *packet.last_mut().unwrap() = count;
            assert_eq!(header.payload(&packet), Err(RtpError::Padding), "{count}");
        }
        *packet.last_mut().unwrap() = 8;
        assert_eq!(header.payload(&packet).unwrap(), b"");
    }

    #[test]
    fn other_versions_are_not_rtp() {
        let mut packet = packet();
        packet[0] = 0x40;
        assert_eq!(Header::parse(&packet), Err(RtpError::Version));
    }

    #[test]
    fn a_written_header_reads_back() {
        let header = Header::new(111, 65_535, u32::MAX, 7).with_marker(true);
        let mut buffer = [0; 17];
        assert_eq!(header.write(b"voice", &mut buffer), Ok(17));
        assert_eq!(Header::parse(&buffer), Ok(header));
        assert_eq!(header.write(b"voices", &mut buffer), Err(RtpError::TooShort));
    }

    #[test]
    fn sequence_numbers_count_on_over_wraps_and_disorder() {
        let mut extended = ExtendedSequence::default();
        let seen: Vec<_> = [65_534, 65_533, 0, 65_535, 1].map(|sequence| extended.extend(sequence)).into();
        assert_eq!(seen, [131_070, 131_069, 131_072, 131_071, 131_073]);
        assert_eq!(extended.highest(), Some(131_073));
    }

    #[test]
    fn a_packet_from_before_the_first_stays_above_zero() {
        let mut extended = ExtendedSequence::default();
        assert_eq!(extended.extend(0), 65_536);
        assert_eq!(extended.extend(65_535), 65_535);
        let mut extended = ExtendedTimestamp::default();
        assert_eq!(extended.extend(100), (1 << 32) + 100);
        assert_eq!(extended.extend(u32::MAX - 859), (1 << 32) - 860);
    }
}

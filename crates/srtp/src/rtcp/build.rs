use super::parse::CNAME;
use super::{ReportBlock, RtcpError, SenderInfo, kind};
use crate::bytes;

/// The longest canonical name written, in bytes: the item's length field has eight bits (RFC 3550 section 6.5).
pub const MAX_CNAME: usize = 255;

/// The most report blocks one report holds: five bits count them.
const MAX_REPORTS: usize = 31;

/// Builds a compound packet in the caller's buffer: a report first, then a source description, then, at the end of
/// a stream, a goodbye (RFC 3550 section 6.1).
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut [u8],
    len: usize,
}

impl<'b> Writer<'b> {
    /// Starts at the front of `buffer`.
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    /// Adds a sender report with up to 31 report blocks.
    ///
    /// # Errors
    ///
    /// [`RtcpError::TooShort`] if the buffer is full or there are too many blocks, here and below.
    pub fn sender_report(&mut self, info: &SenderInfo, reports: &[ReportBlock]) -> Result<(), RtcpError> {
        let start = self.begin(kind::SENDER_REPORT, reports.len())?;
        self.put32(info.ssrc)?;
        self.put(&info.ntp.0.to_be_bytes())?;
        for word in [info.timestamp, info.packets, info.octets] {
            self.put32(word)?;
        }
        self.reports(reports)?;
        self.end(start)
    }

    /// Adds the report of a receiver that has sent nothing lately.
    ///
    /// # Errors
    ///
    /// As [`sender_report`](Writer::sender_report).
    pub fn receiver_report(&mut self, ssrc: u32, reports: &[ReportBlock]) -> Result<(), RtcpError> {
        let start = self.begin(kind::RECEIVER_REPORT, reports.len())?;
        self.put32(ssrc)?;
        self.reports(reports)?;
        self.end(start)
    }

    /// Adds a source description with the canonical name, which every compound must have.
    ///
    /// # Errors
    ///
    /// As [`sender_report`](Writer::sender_report), and for a name longer than [`MAX_CNAME`].
    pub fn cname(&mut self, ssrc: u32, name: &[u8]) -> Result<(), RtcpError> {
        let len = u8::try_from(name.len()).map_err(|_| RtcpError::TooShort)?;
        let start = self.begin(kind::SOURCE_DESCRIPTION, 1)?;
        self.put32(ssrc)?;
        self.put(&[CNAME, len])?;
        self.put(name)?;
        // One to four zero bytes end the list of items on a 32-bit boundary.
        let ending = 4 - (self.len - start) % 4;
        self.put([0; 4].get(..ending).unwrap_or_default())?;
        self.end(start)
    }

    /// Adds a goodbye without a reason.
    ///
    /// # Errors
    ///
    /// As [`sender_report`](Writer::sender_report).
    pub fn goodbye(&mut self, ssrc: u32) -> Result<(), RtcpError> {
        let start = self.begin(kind::GOODBYE, 1)?;
        self.put32(ssrc)?;
        self.end(start)
    }

    /// Length of the compound so far, in bytes.
    pub const fn finish(self) -> usize {
        self.len
    }

    fn reports(&mut self, reports: &[ReportBlock]) -> Result<(), RtcpError> {
        for report in reports {
            let lost = report.cumulative_lost.clamp(-(1 << 23), (1 << 23) - 1).cast_unsigned() & 0x00ff_ffff;
            let loss = u32::from(report.fraction_lost) << 24 | lost;
            let rest = [report.highest_sequence, report.jitter, report.last_sr, report.delay_since_last_sr];
            for word in [report.ssrc, loss].into_iter().chain(rest) {
                self.put32(word)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, kind: u8, count: usize) -> Result<usize, RtcpError> {
        let count = u8::try_from(count.min(MAX_REPORTS + 1)).unwrap_or(u8::MAX);
        if usize::from(count) > MAX_REPORTS {
            return Err(RtcpError::TooShort);
        }
        let start = self.len;
        self.put(&[2 << 6 | count, kind, 0, 0])?;
        Ok(start)
    }

    /// Writes the length of the packet that began at `start`: 32-bit words without the first.
    fn end(&mut self, start: usize) -> Result<(), RtcpError> {
        let words = u16::try_from((self.len - start) / 4 - 1).map_err(|_| RtcpError::TooShort)?;
        bytes::put(self.buffer, start + 2, &words.to_be_bytes()).ok_or(RtcpError::TooShort)
    }

    fn put32(&mut self, word: u32) -> Result<(), RtcpError> {
        self.put(&word.to_be_bytes())
    }

    fn put(&mut self, value: &[u8]) -> Result<(), RtcpError> {
        bytes::put(self.buffer, self.len, value).ok_or(RtcpError::TooShort)?;
        self.len += value.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Compound, NtpTime, Packet};
    use super::*;

    fn report() -> ReportBlock {
        ReportBlock {
            ssrc: 2,
            fraction_lost: 12,
            cumulative_lost: -5,
            highest_sequence: 0x0001_fffe,
            jitter: 77,
            last_sr: 0x1234_5678,
            delay_since_last_sr: 65_536,
        }
    }

    fn info() -> SenderInfo {
        let ntp = NtpTime::from_unix_ms(1_700_000_000_500);
        SenderInfo { ssrc: 1, ntp, timestamp: 960, packets: 50, octets: 4_000 }
    }

    fn compound(buffer: &mut [u8]) -> Result<usize, RtcpError> {
        let mut writer = Writer::new(buffer);
        writer.sender_report(&info(), &[report()])?;
        writer.cname(1, b"setu")?;
        writer.goodbye(1)?;
        Ok(writer.finish())
    }

    #[test]
    fn a_compound_reads_back_as_written() {
        let mut buffer = [0; 200];
        let len = compound(&mut buffer).unwrap();
        assert_eq!(len % 4, 0);
        let packets: Vec<_> = Compound::parse(&buffer[..len]).unwrap().packets().collect();
        let [Packet::SenderReport(sender, reports), description, goodbye] = &packets[..] else {
            panic!("{packets:?}");
        };
        assert_eq!(*sender, info());
        assert_eq!(reports.clone().collect::<Vec<_>>(), [report()]);
        assert_eq!(*description, Packet::SourceDescription { ssrc: Some(1), cname: Some(b"setu") });
        assert_eq!(*goodbye, Packet::Goodbye { ssrc: Some(1) });
    }

    #[test]
    fn names_of_every_length_end_on_a_word() {
        for length in 0..=MAX_CNAME {
            let mut buffer = [0xff; 300];
            let mut writer = Writer::new(&mut buffer);
            writer.cname(9, &vec![b'n'; length]).unwrap();
            let len = writer.finish();
            let packet = Compound::parse(&buffer[..len]).unwrap().packets().next();
            let name = vec![b'n'; length];
            assert_eq!(packet, Some(Packet::SourceDescription { ssrc: Some(9), cname: Some(&name) }));
            assert_eq!(buffer[len - 1], 0, "ends with a null item");
        }
    }

    #[test]
    fn a_compound_cut_short_or_given_no_room_is_refused() {
        let mut buffer = [0; 200];
        let len = compound(&mut buffer).unwrap();
        for length in 0..len {
            // 28 + 24 and + 16: where whole packets end, the rest is a shorter compound.
            assert_eq!(Compound::parse(&buffer[..length]).is_ok(), [52, 68].contains(&length), "{length}");
            assert_eq!(compound(&mut vec![0; length]), Err(RtcpError::TooShort));
        }
    }

    #[test]
    fn counts_that_the_body_cannot_hold_are_refused() {
        let mut buffer = [0; 200];
        let len = compound(&mut buffer).unwrap();
        buffer[0] = 0x82;
        assert_eq!(Compound::parse(&buffer[..len]), Err(RtcpError::TooShort));
        assert_eq!(Compound::parse(&[0x81, 203, 0, 0]), Err(RtcpError::TooShort));
        assert!(Compound::parse(&[0x80, 203, 0, 0]).is_ok());
    }

    #[test]
    fn padding_is_for_the_last_packet_only() {
        let goodbye = [0xa1, 203, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4];
        let packets: Vec<_> = Compound::parse(&goodbye).unwrap().packets().collect();
        assert_eq!(packets, [Packet::Goodbye { ssrc: Some(1) }]);
        assert_eq!(Compound::parse(&[goodbye, goodbye].concat()), Err(RtcpError::Padding));
        for count in [0, 9, 255] {
            let mut bad = goodbye;
            bad[11] = count;
            assert!(Compound::parse(&bad).is_err(), "{count}");
        }
    }

    #[test]
    fn the_round_trip_is_what_the_peer_did_not_hold_back() {
        let sent = NtpTime::from_unix_ms(1_700_000_000_000);
        let arrived = NtpTime::from_unix_ms(1_700_000_001_250);
        let block = ReportBlock { last_sr: sent.middle(), ..report() };
        let us = block.round_trip_us(arrived).unwrap();
        assert!((249_900..250_100).contains(&us), "{us}");
        assert_eq!(ReportBlock { last_sr: 0, ..report() }.round_trip_us(arrived), None);
        assert_eq!(block.round_trip_us(sent), None);
    }
}

//! Ogg pages (RFC 3533) of one logical stream. No packet is ever split over pages.

/// Collects packets into pages.
#[derive(Debug)]
pub(crate) struct Pager {
    serial: u32,
    page: u32,
    lacing: Vec<u8>,
    body: Vec<u8>,
}

impl Pager {
    pub(crate) fn new(serial: u32) -> Self {
        Self { serial, page: 0, lacing: Vec::new(), body: Vec::new() }
    }

    /// Adds a packet to the open page. Says `false` and adds nothing if it has no room for it.
    pub(crate) fn add(&mut self, packet: &[u8]) -> bool {
        let (whole, last) = (packet.len() / 255, packet.len() % 255);
        if self.lacing.len() + whole + 1 > MOST_SEGMENTS {
            return false;
        }
        self.lacing.extend(std::iter::repeat_n(255, whole));
        // The remainder of a division by 255 fits a byte.
        self.lacing.push(last as u8);
        self.body.extend_from_slice(packet);
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lacing.is_empty()
    }

    /// Closes the open page and appends it to `to`. `granule` is the number of samples up to its end.
    pub(crate) fn close(&mut self, granule: u64, last: bool, to: &mut Vec<u8>) {
        let first = self.page == 0;
        let flags = if first { BEGIN } else { 0 } | if last { END } else { 0 };
        let start = to.len();
        to.extend_from_slice(b"OggS\0");
        to.push(flags);
        to.extend_from_slice(&granule.to_le_bytes());
        to.extend_from_slice(&self.serial.to_le_bytes());
        to.extend_from_slice(&self.page.to_le_bytes());
        to.extend_from_slice(&[0; 4]);
        // At most 255, see `add`.
        to.push(self.lacing.len() as u8);
        to.append(&mut self.lacing);
        to.append(&mut self.body);
        let sum = crc(to.get(start..).unwrap_or_default());
        if let Some(field) = to.get_mut(start + CRC_AT..start + CRC_AT + 4) {
            field.copy_from_slice(&sum.to_le_bytes());
        }
        self.page = self.page.wrapping_add(1);
    }
}

/// CRC-32 with the polynomial 04c11db7, unreflected, from 0 (RFC 3533 section 6).
fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum: u32, byte| {
        let index = (sum >> 24) as u8 ^ byte;
        (sum << 8) ^ CRC_TABLE[usize::from(index)]
    })
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut sum = (index as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            sum = (sum << 1) ^ if sum & 0x8000_0000 != 0 { 0x04c1_1db7 } else { 0 };
            bit += 1;
        }
        table[index] = sum;
        index += 1;
    }
    table
};

const BEGIN: u8 = 2;
const END: u8 = 4;

/// Where the checksum stands in a page header.
const CRC_AT: usize = 22;

/// The most lacing values of a page.
const MOST_SEGMENTS: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_that_of_the_standard() {
        // The check value of CRC-32/MPEG-2 with a start of 0, as catalogued for "123456789".
        assert_eq!(crc(b"123456789"), 0x89a1_897f);
    }

    #[test]
    fn a_packet_of_a_multiple_of_255_bytes_ends_with_a_zero_lacing_value() {
        let mut pager = Pager::new(1);
        assert!(pager.add(&[0; 510]));
        let mut page = Vec::new();
        pager.close(0, false, &mut page);
        assert_eq!(page[26..30], [3, 255, 255, 0]);
        assert_eq!(page.len(), 27 + 3 + 510);
    }

    #[test]
    fn a_full_page_takes_no_more() {
        let mut pager = Pager::new(1);
        assert!(pager.add(&vec![0; 255 * 254]));
        assert!(!pager.add(&[0]));
    }
}

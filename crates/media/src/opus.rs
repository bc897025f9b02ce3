//! Opus packets by their framing (RFC 6716 section 3): lengths, splitting, merging. Never the audio inside.

/// The packet that decodes to 20 ms of silence: CELT, fullband, mono (as sent by libopus for digital silence).
pub(crate) const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];

/// 20 ms on Opus's RTP clock (RFC 7587 section 4.1).
pub(crate) const TICKS_20_MS: u32 = 960;

/// The most frames one packet can hold: 120 ms of 2.5 ms frames (RFC 6716 section 3.2.5).
const MOST_FRAMES: usize = 48;

/// The longest packet, in ticks: 120 ms.
const MOST_TICKS: u32 = 5_760;

/// The longest frame, in bytes (RFC 6716 section 3.4, R2).
const MOST_FRAME_BYTES: usize = 1_275;

/// Returns a packet's length in 48 kHz ticks; `None` if it is malformed.
pub(crate) fn length(packet: &[u8]) -> Option<u32> {
    match packet {
        // One frame, as nearly every voice packet has: nothing to take apart.
        [toc, frame @ ..] if toc & 3 == 0 && frame.len() <= MOST_FRAME_BYTES => {
            Some(Kind(toc & 0xfc).frame_ticks())
        }
        _ => Packet::parse(packet).map(|packet| packet.ticks()),
    }
}

/// Returns the length of each of a packet's frames in 48 kHz ticks; 0 without a packet.
pub(crate) fn frame_length(packet: &[u8]) -> u32 {
    packet.first().map_or(0, |toc| Kind(toc & 0xfc).frame_ticks())
}

/// Whether a packet of one frame tells of the frame before it (in-band error correction): the flag behind those of
/// voice activity (RFC 6716 sections 4.2.3 and 4.2.4).
pub(crate) fn carries_redundancy(packet: &[u8]) -> bool {
    let [toc, first, ..] = packet else { return false };
    // SILK, alone or with CELT: CELT alone has none. One SILK frame is 20 ms long.
    if *toc >= 0x80 || toc & 3 != 0 {
        return false;
    }
    let frames = (Kind(toc & 0xfc).frame_ticks() / TICKS_20_MS).max(1);
    let flag = |behind: u32| 7_u32.checked_sub(behind).is_some_and(|bit| first >> bit & 1 != 0);
    flag(frames) || (toc & 4 != 0 && flag(2 * frames + 1))
}

/// A packet taken apart, without copying.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet<'a> {
    toc: u8,
    frames: [&'a [u8]; MOST_FRAMES],
    count: usize,
}

impl<'a> Packet<'a> {
    /// Takes a packet apart by the rules R1 to R7 of RFC 6716 section 3.4; `None` if it breaks one.
    pub(crate) fn parse(packet: &'a [u8]) -> Option<Self> {
        let (&toc, rest) = packet.split_first()?;
        let mut parsed = Self { toc, frames: [&[]; MOST_FRAMES], count: 0 };
        match toc & 3 {
            0 => parsed.push(rest)?,
            1 => {
                let half = rest.len() / 2;
                if rest.len() % 2 != 0 {
                    return None;
                }
                let (one, two) = rest.split_at_checked(half)?;
                parsed.push(one)?;
                parsed.push(two)?;
            }
            2 => {
                let (length, rest) = frame_size(rest)?;
                let (one, two) = rest.split_at_checked(length)?;
                parsed.push(one)?;
                parsed.push(two)?;
            }
            _ => parsed.push_many(rest)?,
        }
        (parsed.ticks() <= MOST_TICKS).then_some(parsed)
    }

    /// Code 3: any number of frames, perhaps padded (RFC 6716 section 3.2.5).
    fn push_many(&mut self, rest: &'a [u8]) -> Option<()> {
        let (&head, mut rest) = rest.split_first()?;
        let count = usize::from(head & 0x3f);
        if count == 0 || count > MOST_FRAMES {
            return None;
        }
        if head & 0x40 != 0 {
            let mut padding = 0_usize;
            loop {
                let (&byte, after) = rest.split_first()?;
                rest = after;
                // 255 stands for 254 bytes of padding and one more length byte.
                padding += usize::from(byte) - usize::from(byte == 255);
                if byte != 255 {
                    break;
                }
            }
            rest = rest.get(..rest.len().checked_sub(padding)?)?;
        }
        if head & 0x80 == 0 {
            if rest.len() % count != 0 {
                return None;
            }
            let each = rest.len() / count;
            for _ in 0..count {
                let (frame, after) = rest.split_at_checked(each)?;
                self.push(frame)?;
                rest = after;
            }
            return Some(());
        }
        let mut lengths = [0_usize; MOST_FRAMES];
        for length in lengths.get_mut(..count - 1)? {
            (*length, rest) = frame_size(rest)?;
        }
        for length in lengths.get(..count - 1)? {
            let (frame, after) = rest.split_at_checked(*length)?;
            self.push(frame)?;
            rest = after;
        }
        self.push(rest)
    }

    fn push(&mut self, frame: &'a [u8]) -> Option<()> {
        if frame.len() > MOST_FRAME_BYTES {
            return None;
        }
        *self.frames.get_mut(self.count)? = frame;
        self.count += 1;
        Some(())
    }

    /// Returns the frames, in order.
    pub(crate) fn frames(&self) -> &[&'a [u8]] {
        self.frames.get(..self.count).unwrap_or_default()
    }

    /// Returns configuration and channel count: what two frames must share to be in one packet.
    pub(crate) const fn kind(&self) -> Kind {
        Kind(self.toc & 0xfc)
    }

    /// Returns the length in 48 kHz ticks.
    pub(crate) fn ticks(&self) -> u32 {
        u32::try_from(self.count).unwrap_or(u32::MAX).saturating_mul(self.kind().frame_ticks())
    }
}

/// Configuration and channel count of frames: the TOC byte without its frame count code (RFC 6716 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind(u8);

impl Kind {
    /// Returns the length of one frame in 48 kHz ticks (RFC 6716 table 2).
    pub(crate) const fn frame_ticks(self) -> u32 {
        let config = self.0 >> 3;
        match config {
            0..=11 => match config & 3 {
                0 => 480,
                1 => 960,
                2 => 1_920,
                _ => 2_880,
            },
            12..=15 => 480 << (config & 1),
            _ => 120 << (config & 3),
        }
    }

    /// Writes `frames` of this kind as one packet; `None` if they do not fit in `to`.
    pub(crate) fn join(self, frames: &[&[u8]], to: &mut [u8]) -> Option<usize> {
        let mut to = Writer { to, at: 0 };
        match frames {
            [] => return None,
            [one] => {
                to.put(&[self.0])?;
                to.put(one)?;
            }
            [one, two] if one.len() == two.len() => {
                to.put(&[self.0 | 1])?;
                to.put(one)?;
                to.put(two)?;
            }
            [one, two] => {
                to.put(&[self.0 | 2])?;
                to.put_length(one.len())?;
                to.put(one)?;
                to.put(two)?;
            }
            [all @ .., last] => {
                let count = u8::try_from(frames.len()).ok().filter(|n| usize::from(*n) <= MOST_FRAMES)?;
                to.put(&[self.0 | 3, 0x80 | count])?;
                for frame in all {
                    to.put_length(frame.len())?;
                }
                for frame in all {
                    to.put(frame)?;
                }
                to.put(last)?;
            }
        }
        Some(to.at)
    }
}

/// Reads a frame's size of one or two bytes (RFC 6716 section 3.2.1).
fn frame_size(from: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = from.split_first()?;
    if first < 252 {
        return Some((usize::from(first), rest));
    }
    let (&second, rest) = rest.split_first()?;
    Some((usize::from(second) * 4 + usize::from(first), rest))
}

struct Writer<'a> {
    to: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.at.checked_add(bytes.len())?;
        self.to.get_mut(self.at..end)?.copy_from_slice(bytes);
        self.at = end;
        Some(())
    }

    fn put_length(&mut self, length: usize) -> Option<()> {
        match u8::try_from(length) {
            Ok(short) if short < 252 => self.put(&[short]),
            Ok(_) | Err(_) => {
                let first = 252 + (length & 3);
                self.put(&[u8::try_from(first).ok()?, u8::try_from((length - first) / 4).ok()?])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_short_input_is_taken_apart_or_refused_without_panic() {
        for length in 0..40 {
            for toc in 0..=255_u8 {
                for head in [0, 1, 3, 48, 63, 0x41, 0x81, 0xc2, 0xff] {
                    let mut bytes = vec![head; length];
                    if let Some(first) = bytes.first_mut() {
                        *first = toc;
                    }
                    let _ = Packet::parse(&bytes);
                }
            }
        }
    }

    #[test]
    fn lengths_follow_table_2_of_rfc_6716() {
        let ms = |config: u8| f64::from(Kind(config << 3).frame_ticks()) / 48.0;
        assert_eq!([0, 1, 2, 3].map(ms), [10.0, 20.0, 40.0, 60.0]);
        assert_eq!([8, 9, 10, 11].map(ms), [10.0, 20.0, 40.0, 60.0]);
        assert_eq!([12, 13, 14, 15].map(ms), [10.0, 20.0, 10.0, 20.0]);
        assert_eq!([16, 17, 18, 19, 28, 31].map(ms), [2.5, 5.0, 10.0, 20.0, 2.5, 20.0]);
        assert_eq!(Packet::parse(&SILENCE).unwrap().ticks(), TICKS_20_MS);
    }

    #[test]
    fn more_than_120_ms_in_a_packet_is_refused() {
        assert!(Packet::parse(&[0xfb, 6]).is_some(), "six empty frames of 20 ms");
        assert!(Packet::parse(&[0xfb, 7]).is_none());
    }

    proptest! {
        #[test]
        fn joined_frames_come_apart_the_same(
            kind in 0_u8..64,
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..9),
        ) {
            let kind = Kind(kind << 2);
            let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
            let mut packet = [0; 4_000];
            let length = kind.join(&frames, &mut packet).unwrap();
            let total = kind.frame_ticks() * u32::try_from(frames.len()).unwrap();
            match Packet::parse(&packet[..length]) {
                Some(parsed) => {
                    prop_assert!(total <= MOST_TICKS);
                    prop_assert_eq!(parsed.frames(), &frames[..]);
                    prop_assert_eq!(parsed.kind(), kind);
                }
                None => prop_assert!(total > MOST_TICKS),
            }
        }
    }
}

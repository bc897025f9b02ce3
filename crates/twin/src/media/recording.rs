//! What is in a recording of the bridge: an Ogg Opus file with two uncoupled mono streams, read here from its
//! bytes with none of the bridge's code.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::analysis::{dbfs, dominant_hz};
use super::codec::{Codec, Decoder, opus_samples};

/// What a recording holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Channels, as the file's head says.
    pub channels: u8,
    /// Length in seconds: the last granule position less the pre-skip (RFC 7845 section 4).
    pub seconds: f64,
    /// The frequency that sounds longest in each channel, in Hz; null for silence.
    pub hz: Vec<Option<f64>>,
}

/// Reads the recording at `path`.
///
/// # Errors
/// The file cannot be read, or is not an Ogg Opus file with two uncoupled streams (RFC 7845 section 5.1.1.2).
pub fn read_recording(path: &Path) -> io::Result<Recorded> {
    let bytes = std::fs::read(path)?;
    let (packets, granule) = packets(&bytes).ok_or_else(|| broken("a page is damaged"))?;
    let mut packets = packets.into_iter();
    let head = packets.next().unwrap_or_default();
    let [b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', 1, channels, skip_low, skip_high, ..] = head[..]
    else {
        return Err(broken("no OpusHead"));
    };
    if head.get(18..21) != Some(&[1, 2, 0]) {
        return Err(broken("not two uncoupled streams in mapping family 1"));
    }
    if !packets.next().is_some_and(|tags| tags.starts_with(b"OpusTags")) {
        return Err(broken("no OpusTags"));
    }
    let mut sides = [Channel::new(), Channel::new()];
    for packet in packets {
        let (first, second) = split(&packet).ok_or_else(|| broken("a packet is damaged"))?;
        for (side, half) in sides.iter_mut().zip([&first[..], second]) {
            side.take(half);
        }
    }
    let skip = u64::from(u16::from_le_bytes([skip_low, skip_high]));
    Ok(Recorded {
        channels,
        seconds: granule.saturating_sub(skip) as f64 / 48_000.0,
        hz: sides.iter().map(Channel::hz).collect(),
    })
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no recording of the bridge: {what}"))
}

/// One channel's sound at 16 kHz.
struct Channel {
    decoder: Decoder,
    pcm: Vec<f32>,
}

impl Channel {
    fn new() -> Self {
        Self { decoder: Decoder::new(Codec::Opus), pcm: Vec::new() }
    }

    fn take(&mut self, packet: &[u8]) {
        let samples = opus_samples(packet).unwrap_or(960) as usize / 3;
        let mut pcm = self.decoder.decode(packet).unwrap_or_default();
        pcm.resize(samples, 0.0);
        self.pcm.append(&mut pcm);
    }

    /// The median pitch of the tenths of a second that are loud enough to be a voice.
    fn hz(&self) -> Option<f64> {
        let mut pitches: Vec<f64> = self
            .pcm
            .chunks_exact(2_048)
            .filter(|block| dbfs(block).is_some_and(|level| level > -45.0))
            .filter_map(|block| dominant_hz(block, 16_000))
            .collect();
        pitches.sort_by(f64::total_cmp);
        pitches.get(pitches.len() / 2).copied()
    }
}

/// The packets of all whole pages, and the last granule position.
fn packets(mut bytes: &[u8]) -> Option<(Vec<Vec<u8>>, u64)> {
    let (mut packets, mut open, mut last) = (Vec::new(), Vec::new(), 0);
    while !bytes.is_empty() {
        let header = bytes.get(..27).filter(|h| h.starts_with(b"OggS"))?;
        let granule = u64::from_le_bytes(header.get(6..14)?.try_into().ok()?);
        let lacing = bytes.get(27..27 + usize::from(*header.get(26)?))?;
        let mut at = 27 + lacing.len();
        for &length in lacing {
            open.extend_from_slice(bytes.get(at..at + usize::from(length))?);
            at += usize::from(length);
            if length < 255 {
                packets.push(std::mem::take(&mut open));
            }
        }
        // All ones: no packet ends on this page.
        if granule != u64::MAX {
            last = granule;
        }
        bytes = bytes.get(at..)?;
    }
    Some((packets, last))
}

/// Splits a packet of two streams: the first in self-delimited framing (RFC 6716 appendix B), given back in the
/// usual one, the second as it is.
fn split(packet: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (&toc, mut rest) = packet.split_first()?;
    let mut head = vec![toc];
    let total = match toc & 3 {
        0 => length(&mut rest)?,
        1 => 2 * length(&mut rest)?,
        2 => {
            let before = rest;
            let one = length(&mut rest)?;
            head.extend_from_slice(before.get(..before.len() - rest.len())?);
            one + length(&mut rest)?
        }
        _ => many(&mut head, &mut rest)?,
    };
    let (frames, second) = (rest.get(..total)?, rest.get(total..)?);
    head.extend_from_slice(frames);
    Some((head, second))
}

/// Code 3: a count byte, padding, and lengths. Returns how many bytes of frames and padding follow.
fn many(head: &mut Vec<u8>, rest: &mut &[u8]) -> Option<usize> {
    let (&count, after) = rest.split_first()?;
    *rest = after;
    head.push(count);
    let mut padding = 0;
    if count & 0x40 != 0 {
        loop {
            let (&more, after) = rest.split_first()?;
            *rest = after;
            head.push(more);
            padding += usize::from(more.min(254));
            if more < 255 {
                break;
            }
        }
    }
    let frames = usize::from(count & 0x3f);
    if count & 0x80 == 0 {
        return Some(frames * length(rest)? + padding);
    }
    let mut total = 0;
    for frame in 0..frames {
        let before = *rest;
        total += length(rest)?;
        // The last length is what self-delimiting adds.
        if frame + 1 < frames {
            head.extend_from_slice(before.get(..before.len() - rest.len())?);
        }
    }
    Some(total + padding)
}

/// A frame length of one or two bytes (RFC 6716 section 3.2.1).
fn length(rest: &mut &[u8]) -> Option<usize> {
    let (&first, after) = rest.split_first()?;
    *rest = after;
    if first < 252 {
        return Some(usize::from(first));
    }
    let (&second, after) = rest.split_first()?;
    *rest = after;
    Some(usize::from(second) * 4 + usize::from(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn self_delimited_packets_come_back_in_the_usual_framing() {
        assert_eq!(split(&[0x08, 2, 7, 7, 9, 9]), Some((vec![0x08, 7, 7], &[9, 9][..])));
        assert_eq!(split(&[0x09, 1, 7, 8, 9]), Some((vec![0x09, 7, 8], &[9][..])));
        assert_eq!(split(&[0x0a, 1, 2, 7, 8, 8, 9]), Some((vec![0x0a, 1, 7, 8, 8], &[9][..])));
        assert_eq!(split(&[0x0b, 0x82, 1, 2, 7, 8, 8, 9]), Some((vec![0x0b, 0x82, 1, 7, 8, 8], &[9][..])));
        assert_eq!(
            split(&[0x0b, 0x43, 1, 1, 7, 7, 7, 0, 9]),
            Some((vec![0x0b, 0x43, 1, 7, 7, 7, 0], &[9][..]))
        );
        assert_eq!(split(&[0x08, 5, 7]), None);
    }

    #[test]
    fn what_is_no_recording_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.opus");
        std::fs::write(&path, b"OggS but nothing more").unwrap();
        assert!(read_recording(&path).unwrap_err().to_string().contains("damaged"));
    }
}

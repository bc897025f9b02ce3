//! Opus packets taken apart into frames and put together again (RFC 6716 section 3 and appendix B), without
//! looking into the frames.

/// One coded frame, with the configuration that every frame of its packet shares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Configuration and stereo bit of the TOC byte; the count bits are 0.
    pub(crate) toc: u8,
    pub(crate) data: Box<[u8]>,
}

impl Frame {
    /// 20 ms of digital silence in CELT mode: clean in every decoder, whatever stands around it.
    pub(crate) fn silence() -> Self {
        Self { toc: 0xf8, data: Box::new([0xff, 0xfe]) }
    }

    /// The duration of one frame with this TOC byte in 48 kHz samples: 120 (2.5 ms) to 2,880 (60 ms).
    pub(crate) fn samples(toc: u8) -> u64 {
        match toc >> 3 {
            config @ 0..=11 => [480, 960, 1_920, 2_880][usize::from(config & 3)],
            config @ 12..=15 => [480, 960][usize::from(config & 1)],
            config => [120, 240, 480, 960][usize::from(config & 3)],
        }
    }
}

/// Splits a packet into its frames; `None` if it breaks a rule of RFC 6716 section 3.4.
pub(crate) fn split(packet: &[u8]) -> Option<Vec<Frame>> {
    let (&toc, rest) = packet.split_first()?;
    let sizes_and_data = match toc & 3 {
        0 => (vec![rest.len()], rest),
        1 => (rest.len() % 2 == 0).then(|| (vec![rest.len() / 2; 2], rest))?,
        2 => {
            let (first, data) = read_size(rest)?;
            (vec![first, data.len().checked_sub(first)?], data)
        }
        _ => split_many(toc, rest)?,
    };
    let (sizes, mut data) = sizes_and_data;
    let mut frames = Vec::with_capacity(sizes.len());
    for size in sizes {
        let (frame, after) = data.split_at_checked(size).filter(|_| size <= LONGEST_FRAME)?;
        frames.push(Frame { toc: toc & !3, data: frame.into() });
        data = after;
    }
    Some(frames)
}

/// Code 3: a count byte, padding, then frames of one size or of many (RFC 6716 section 3.2.5).
fn split_many(toc: u8, rest: &[u8]) -> Option<(Vec<usize>, &[u8])> {
    let (&head, mut data) = rest.split_first()?;
    let count = usize::from(head & 63);
    let samples = Frame::samples(toc) * u64::from(head & 63);
    if count == 0 || samples > LONGEST_PACKET_SAMPLES {
        return None;
    }
    if head & 64 != 0 {
        let mut padding = 0;
        loop {
            let (&step, after) = data.split_first()?;
            data = after;
            padding += usize::from(step.min(254));
            if step != 255 {
                break;
            }
        }
        data = data.get(..data.len().checked_sub(padding)?)?;
    }
    if head & 128 == 0 {
        return (data.len() % count == 0).then(|| (vec![data.len() / count; count], data));
    }
    let mut sizes = Vec::with_capacity(count);
    for _ in 1..count {
        let (size, after) = read_size(data)?;
        sizes.push(size);
        data = after;
    }
    sizes.push(data.len().checked_sub(sizes.iter().sum())?);
    Some((sizes, data))
}

/// Writes `frames`, all of one TOC, as one packet; `self_delimited` as every stream but the last needs it in a
/// multistream packet (RFC 6716 appendix B).
pub(crate) fn write_packet(frames: &[Frame], self_delimited: bool, to: &mut Vec<u8>) {
    let Some(first) = frames.first() else { return };
    let equal = frames.iter().all(|frame| frame.data.len() == first.data.len());
    match frames {
        [_] => to.push(first.toc),
        [_, _] if equal => to.push(first.toc | 1),
        _ => {
            // At most 48 frames make the longest packet, so the count fits its six bits.
            let count = u8::try_from(frames.len()).unwrap_or(u8::MAX) & 63;
            to.extend([first.toc | 3, count | if equal { 0 } else { 128 }]);
        }
    }
    if !equal {
        let stated = if self_delimited { frames.len() } else { frames.len() - 1 };
        frames.iter().take(stated).for_each(|frame| write_size(frame.data.len(), to));
    } else if self_delimited {
        write_size(first.data.len(), to);
    }
    frames.iter().for_each(|frame| to.extend_from_slice(&frame.data));
}

/// A frame length of one or two bytes (RFC 6716 section 3.2.1).
fn read_size(data: &[u8]) -> Option<(usize, &[u8])> {
    match data {
        [first @ 0..=251, rest @ ..] => Some((usize::from(*first), rest)),
        [first, second, rest @ ..] => Some((usize::from(*second) * 4 + usize::from(*first), rest)),
        _ => None,
    }
}

fn write_size(size: usize, to: &mut Vec<u8>) {
    // Frames are at most 1,275 bytes long, so both casts hold.
    if size < 252 {
        to.push(size as u8);
    } else {
        let low = 252 + (size & 3);
        to.extend([low as u8, ((size - low) / 4) as u8]);
    }
}

/// The longest frame in bytes (RFC 6716 section 3.2.1).
const LONGEST_FRAME: usize = 1_275;

/// The longest packet: 120 ms at 48 kHz (RFC 6716 section 3.2.5).
const LONGEST_PACKET_SAMPLES: u64 = 5_760;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet_of(frames: &[Frame]) -> Vec<u8> {
        let mut packet = Vec::new();
        write_packet(frames, false, &mut packet);
        packet
    }

    #[test]
    fn durations_are_those_of_table_2() {
        let samples = |config: u8| Frame::samples(config << 3);
        assert_eq!((0..4).map(samples).collect::<Vec<_>>(), [480, 960, 1_920, 2_880]);
        assert_eq!((12..16).map(samples).collect::<Vec<_>>(), [480, 960, 480, 960]);
        assert_eq!((28..32).map(samples).collect::<Vec<_>>(), [120, 240, 480, 960]);
    }

    #[test]
    fn broken_packets_are_refused() {
        let too_long = [&[0xf8][..], &[0; 1_276]].concat();
        let short: [&[u8]; 7] = [
            &[],
            &[0xf9, 1],
            &[0xfa],
            &[0xfa, 3, 1, 2],
            &[0xfb],
            &[0xfb, 0],
            &[0xfb, 7, 0, 0, 0, 0, 0, 0, 0],
        ];
        for packet in short.into_iter().chain([too_long.as_slice()]) {
            assert_eq!(split(packet), None, "{packet:02x?}");
        }
    }

    #[test]
    fn padding_is_left_out() {
        let padded = [0xfb, 0x41, 2, 0xff, 0xfe, 0, 0];
        assert_eq!(split(&padded), Some(vec![Frame::silence()]));
    }

    #[test]
    fn self_delimited_packets_state_the_length_of_their_last_frame() {
        let mut packet = Vec::new();
        write_packet(&[Frame::silence()], true, &mut packet);
        assert_eq!(packet, [0xf8, 2, 0xff, 0xfe]);
        packet.clear();
        write_packet(&vec![Frame::silence(); 3], true, &mut packet);
        assert_eq!(packet, [0xfb, 3, 2, 0xff, 0xfe, 0xff, 0xfe, 0xff, 0xfe]);
    }

    proptest! {
        #[test]
        fn what_is_put_together_comes_apart_again(sizes in prop::collection::vec(0..1_275_usize, 1..6)) {
            let frames: Vec<_> =
                sizes.iter().map(|size| Frame { toc: 0x48, data: vec![7; *size].into() }).collect();
            prop_assert_eq!(split(&packet_of(&frames)), Some(frames));
        }

        #[test]
        fn opus_pure_agrees_on_any_bytes(packet in prop::collection::vec(any::<u8>(), 1..80)) {
            let ours = split(&packet).map(|frames| frames.len());
            if let Some(count) = ours {
                prop_assert_eq!(opus_pure::packet::frame_count(&packet).ok(), Some(count));
            }
        }
    }
}

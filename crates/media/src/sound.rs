//! Whether there is sound in what a peer sends, as far as that can be told without decoding it.

use std::time::Instant;

use crate::AudioFormat;

/// What was seen of one peer's audio packets.
#[derive(Debug, Default)]
pub(crate) struct Sound {
    packets: u64,
    quiet: u64,
    samples: u64,
    clipped: u64,
    /// When the first packet with sound in it came.
    pub(crate) first: Option<Instant>,
}

impl Sound {
    /// Notes an audio packet.
    pub(crate) fn take(&mut self, payload: &[u8], audio: AudioFormat, now: Instant) {
        let quiet = match audio {
            AudioFormat::Opus { .. } => payload.len() <= QUIET_OPUS_BYTES,
            // Both laws put the magnitude into seven bits, mu-law inverted and A-law with every other bit inverted.
            AudioFormat::Pcmu { .. } => self.g711(payload, 0x7f),
            AudioFormat::Pcma { .. } => self.g711(payload, 0x55),
            // Each of its bytes says how the signal changes: nothing to be told from a few of them.
            AudioFormat::G722 { .. } => {
                self.first.get_or_insert(now);
                return;
            }
        };
        self.packets += 1;
        if quiet {
            self.quiet += 1;
        } else {
            self.first.get_or_insert(now);
        }
    }

    /// Looks at every tenth sample.
    fn g711(&mut self, payload: &[u8], inverted: u8) -> bool {
        let mut loudest = 0;
        for code in payload.iter().step_by(10) {
            let magnitude = (code ^ inverted) & 0x7f;
            loudest = loudest.max(magnitude);
            self.samples += 1;
            self.clipped += u64::from(magnitude == 0x7f);
        }
        loudest < QUIET_G711
    }

    /// Returns how many of a hundred packets were quiet.
    pub(crate) fn quiet_percent(&self) -> Option<u8> {
        (self.quiet * 100).checked_div(self.packets).and_then(|percent| u8::try_from(percent).ok())
    }

    /// Returns how many of a thousand samples were at full scale.
    pub(crate) fn clipped_permille(&self) -> Option<u16> {
        (self.clipped * 1_000).checked_div(self.samples).and_then(|permille| u16::try_from(permille).ok())
    }
}

/// The longest Opus packet taken for silence, in bytes: DTX takes 1 to 3, comfort noise and digital silence a few more.
const QUIET_OPUS_BYTES: usize = 8;

/// Magnitudes below this are silence: the two lowest of the eight segments, about -55 dBFS.
const QUIET_G711: u8 = 0x20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Law;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test owns its clock")]
    fn silence_speech_and_clipping_are_told_apart_under_both_laws() {
        let now = Instant::now();
        for (audio, law) in [
            (AudioFormat::Pcmu { send_pt: 0, receive_pt: 0 }, Law::Mu),
            (AudioFormat::Pcma { send_pt: 8, receive_pt: 8 }, Law::A),
        ] {
            let tone = |level: f32| -> Vec<u8> {
                (0..160)
                    .map(|n| law.compress((level * (n as f32 * 0.7).sin()).clamp(-32_767.0, 32_767.0) as i16))
                    .collect()
            };
            let mut sound = Sound::default();
            sound.take(&[law.compress(0); 160], audio, now);
            sound.take(&tone(30.0), audio, now);
            assert_eq!((sound.quiet_percent(), sound.first), (Some(100), None), "{law:?}");
            sound.take(&tone(2_000.0), audio, now);
            assert_eq!((sound.quiet_percent(), sound.clipped_permille()), (Some(66), Some(0)), "{law:?}");
            sound.take(&tone(90_000.0), audio, now);
            assert!(sound.clipped_permille().unwrap() > 100, "{law:?}: {:?}", sound.clipped_permille());
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test owns its clock")]
    fn opus_is_judged_by_its_length() {
        let (now, audio) = (Instant::now(), AudioFormat::Opus { send_pt: 111, receive_pt: 111 });
        let mut sound = Sound::default();
        for packet in [&[0xf8, 0xff, 0xfe][..], &[0x78], &[0x78; 50]] {
            sound.take(packet, audio, now);
        }
        assert_eq!((sound.quiet_percent(), sound.clipped_permille()), (Some(66), None));
    }
}

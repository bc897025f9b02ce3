//! Telephone events between legs: other clocks, and each key told once (RFC 4733).

use setu_srtp::TelephoneEvent;

use crate::setup::Dtmf;

/// Converts an event from one leg's clock to another's, and returns how many ticks of the new clock its time stamp
/// moves on besides: an event longer than 65,535 ticks is told in segments (RFC 4733 section 2.5.1.3).
pub(crate) fn reclock(event: TelephoneEvent, from: u32, to: u32) -> (TelephoneEvent, u32) {
    let ticks = u64::from(event.duration) * u64::from(to) / u64::from(from.max(1));
    let whole = ticks.saturating_sub(1) / u64::from(u16::MAX);
    let duration = u16::try_from(ticks - whole * u64::from(u16::MAX)).unwrap_or(u16::MAX);
    let moved = u32::try_from(whole * u64::from(u16::MAX)).unwrap_or(0);
    (TelephoneEvent { duration, ..event }, moved)
}

/// Follows the events of one leg and tells each key once.
#[derive(Debug, Default)]
pub(crate) struct KeyWatch {
    newest: Option<Pressed>,
}

#[derive(Debug, Clone, Copy)]
struct Pressed {
    /// What names the event: its source, and the time stamp of its beginning.
    ssrc: u32,
    timestamp: u32,
    digit: char,
    ticks: u16,
    told: bool,
}

impl KeyWatch {
    /// Takes an event packet; returns a key and its duration in milliseconds where one ended. Where every end packet
    /// of a key was lost, the next key ends it.
    pub(crate) fn take(
        &mut self,
        event: TelephoneEvent,
        (ssrc, timestamp): (u32, u32),
        dtmf: Dtmf,
    ) -> Option<(char, u32)> {
        let mut pressed =
            Pressed { ssrc, timestamp, digit: event.digit()?, ticks: event.duration, told: false };
        match self.newest {
            Some(known) if (known.ssrc, known.timestamp) == (ssrc, timestamp) => {
                pressed = Pressed { ticks: known.ticks.max(pressed.ticks), told: known.told, ..pressed };
            }
            // A straggler of an older event must not bring it back.
            Some(known)
                if known.ssrc == ssrc && (1..LATEST).contains(&known.timestamp.wrapping_sub(timestamp)) =>
            {
                return None;
            }
            // Its end was lost. If the new key ends in this very packet, one of its other end packets tells it.
            Some(known) if !known.told => {
                self.newest = Some(pressed);
                return Some(known.tell(dtmf));
            }
            Some(_) | None => {}
        }
        let ends = event.end && !pressed.told;
        pressed.told |= event.end;
        self.newest = Some(pressed);
        ends.then(|| pressed.tell(dtmf))
    }
}

impl Pressed {
    fn tell(self, dtmf: Dtmf) -> (char, u32) {
        (self.digit, u32::from(self.ticks) * 1_000 / dtmf.clock.max(1))
    }
}

/// Further back, in ticks, is no straggler but a source that began its time stamps anew: 1 s at 48 kHz.
const LATEST: u32 = 48_000;

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Dtmf = Dtmf { send_pt: 101, receive_pt: 101, clock: 48_000 };

    fn event(duration: u16, end: bool) -> TelephoneEvent {
        TelephoneEvent { event: 5, end, volume: 10, duration }
    }

    #[test]
    fn duration_follows_the_clock() {
        assert_eq!(reclock(event(960, false), 48_000, 8_000), (event(160, false), 0));
        assert_eq!(reclock(event(160, true), 8_000, 48_000), (event(960, true), 0));
        assert_eq!(reclock(event(123, true), 8_000, 8_000), (event(123, true), 0));
    }

    #[test]
    fn a_key_held_for_two_seconds_is_told_in_segments_at_48_khz() {
        let (converted, moved) = reclock(event(16_000, false), 8_000, 48_000);
        assert_eq!((moved, u32::from(converted.duration)), (65_535, 96_000 - 65_535));
        let (last_whole, moved) = reclock(event(10_922, false), 8_000, 48_000);
        assert_eq!((moved, last_whole.duration), (0, 65_532));
    }

    #[test]
    fn a_key_is_told_once_for_its_three_end_packets() {
        let mut watch = KeyWatch::default();
        let told: Vec<_> = [(960, false), (1_920, false), (4_800, true), (4_800, true), (4_800, true)]
            .into_iter()
            .filter_map(|(duration, end)| watch.take(event(duration, end), (1, 77), WIDE))
            .collect();
        assert_eq!(told, [('5', 100)]);
    }

    #[test]
    fn a_key_whose_end_was_lost_is_told_when_the_next_begins() {
        let mut watch = KeyWatch::default();
        assert_eq!(watch.take(event(960, false), (1, 77), WIDE), None);
        assert_eq!(watch.take(event(480, false), (1, 9_600), WIDE), Some(('5', 20)));
        assert_eq!(watch.take(event(960, true), (1, 9_600), WIDE), Some(('5', 20)));
        assert_eq!(watch.take(event(960, true), (1, 9_600), WIDE), None);
    }

    #[test]
    fn a_new_source_is_heard_whatever_its_time_stamps_and_a_straggler_is_not() {
        let mut watch = KeyWatch::default();
        assert_eq!(watch.take(event(960, true), (1, 90_000), WIDE), Some(('5', 20)));
        assert_eq!(watch.take(event(960, true), (1, 80_000), WIDE), None, "late");
        assert_eq!(watch.take(event(960, true), (2, 80_000), WIDE), Some(('5', 20)));
        assert_eq!(watch.take(event(960, true), (2, 10), WIDE), Some(('5', 20)), "began anew");
    }
}

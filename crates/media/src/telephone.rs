//! Keys pressed on a leg, as its telephone events tell them: each once, whatever the network does (RFC 4733).

use std::time::{Duration, Instant};

use setu_srtp::TelephoneEvent;

/// One press of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    /// The event code: 0 to 15, or 16 for flash (RFC 4733 section 3.2).
    pub(crate) code: u8,
    /// In -dBm0.
    pub(crate) volume: u8,
    /// How long it was down, in milliseconds, as far as known.
    pub(crate) held_ms: u32,
}

impl Key {
    /// Returns the key as a character; none for flash.
    pub(crate) fn digit(self) -> Option<char> {
        TelephoneEvent { event: self.code, end: true, volume: self.volume, duration: 0 }.digit()
    }
}

/// What one packet, or the lack of packets, told of a leg's keys, in this order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct KeyNews {
    /// A key whose end was lost is over.
    pub(crate) over: Option<Key>,
    /// A key went down.
    pub(crate) down: Option<Key>,
    /// It, or the one that went down before, went up.
    pub(crate) up: Option<Key>,
}

/// Follows the telephone events of one leg.
#[derive(Debug, Default)]
pub(crate) struct KeyWatch {
    newest: Option<Pressed>,
}

/// The clocks of a leg with telephone events, in Hz: Meta's count time stamps at 48 kHz and durations at 8 kHz.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clocks {
    pub(crate) timestamps: u32,
    pub(crate) durations: u32,
}

#[derive(Debug, Clone, Copy)]
struct Pressed {
    /// What names the event: its source, and the time stamp of its beginning, or of its newest segment's.
    ssrc: u32,
    timestamp: u32,
    /// The segment before it.
    before: Option<u32>,
    code: u8,
    volume: u8,
    /// Of whole segments, and of the newest one.
    ticks_before: u32,
    ticks: u16,
    clock: u32,
    /// When its newest packet came.
    at: Instant,
    /// Whether an end packet came.
    ended: bool,
    /// Whether it was told as over, with or without an end packet.
    told: bool,
}

impl KeyWatch {
    /// Takes an event packet.
    pub(crate) fn take(
        &mut self,
        event: TelephoneEvent,
        (ssrc, timestamp): (u32, u32),
        clocks: Clocks,
        now: Instant,
    ) -> KeyNews {
        if event.event > LAST_CODE {
            return KeyNews::default();
        }
        let mut news = KeyNews::default();
        let mut pressed = match self.newest {
            Some(known) if known.ssrc == ssrc && known.timestamp == timestamp => {
                Pressed { ticks: known.ticks.max(event.duration), at: now, ..known }
            }
            Some(known) if known.is_older(ssrc, timestamp, clocks) => return news,
            Some(known) if known.goes_on_in(ssrc, timestamp, event, clocks) => Pressed {
                timestamp,
                before: Some(known.timestamp),
                ticks_before: known.ticks_before + u32::from(u16::MAX),
                ticks: event.duration,
                at: now,
                ..known
            },
            known => {
                // Its end was lost, all three packets of it.
                news.over = known.filter(|known| !known.told).map(Pressed::key);
                let fresh = Pressed {
                    ssrc,
                    timestamp,
                    before: None,
                    code: event.event,
                    volume: event.volume,
                    ticks_before: 0,
                    ticks: event.duration,
                    clock: clocks.durations,
                    at: now,
                    ended: false,
                    told: false,
                };
                news.down = Some(fresh.key());
                fresh
            }
        };
        pressed.ended |= event.end;
        if event.end && !pressed.told {
            pressed.told = true;
            news.up = Some(pressed.key());
        }
        self.newest = Some(pressed);
        news
    }

    /// Returns when a key that goes unheard of counts as up.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.newest.filter(|key| !key.told).map(|key| key.at + UNHEARD)
    }

    /// Tells a key as over that went unheard of for too long.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> KeyNews {
        let mut news = KeyNews::default();
        if self.due().is_some_and(|due| due <= now)
            && let Some(key) = &mut self.newest
        {
            key.told = true;
            news.over = Some(key.key());
        }
        news
    }
}

impl Pressed {
    fn key(self) -> Key {
        let ticks = u64::from(self.ticks_before) + u64::from(self.ticks);
        let held_ms = (ticks * 1_000).div_ceil(u64::from(self.clock.max(1)));
        Key { code: self.code, volume: self.volume, held_ms: u32::try_from(held_ms).unwrap_or(u32::MAX) }
    }

    /// Whether a packet of the same source is a straggler of an older event, which must not bring it back.
    fn is_older(&self, ssrc: u32, timestamp: u32, clocks: Clocks) -> bool {
        let behind = self.timestamp.wrapping_sub(timestamp);
        self.ssrc == ssrc && (self.before == Some(timestamp) || (1..clocks.timestamps).contains(&behind))
    }

    /// Whether a packet begins the next segment of this very press: an event longer than 65,535 ticks is told in
    /// segments, each with a time stamp of its own (RFC 4733 section 2.5.1.3).
    fn goes_on_in(&self, ssrc: u32, timestamp: u32, event: TelephoneEvent, clocks: Clocks) -> bool {
        let ahead = u64::from(timestamp.wrapping_sub(self.timestamp)) * u64::from(clocks.durations)
            / u64::from(clocks.timestamps.max(1));
        let shortest = u64::from(u16::MAX) - u64::from(clocks.durations / 16).min(u64::from(u16::MAX));
        !self.ended
            && (self.ssrc, self.code) == (ssrc, event.event)
            && (shortest..=u64::from(u16::MAX) + 1).contains(&ahead)
    }
}

/// The last code that is a key or flash. Others are tones of faxes and modems, which have no place in these calls.
const LAST_CODE: u8 = 16;

/// A key unheard of for so long is up: updates come every 20 to 50 ms, and eight in a row are not lost by
/// chance.
const UNHEARD: Duration = Duration::from_millis(400);

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Clocks = Clocks { timestamps: 48_000, durations: 48_000 };
    const META: Clocks = Clocks { timestamps: 48_000, durations: 8_000 };

    #[expect(clippy::disallowed_methods, reason = "a test owns its clock")]
    fn start() -> Instant {
        Instant::now()
    }

    fn event(duration: u16, end: bool) -> TelephoneEvent {
        TelephoneEvent { event: 5, end, volume: 10, duration }
    }

    fn key(held_ms: u32) -> Option<Key> {
        Some(Key { code: 5, volume: 10, held_ms })
    }

    #[test]
    fn a_key_goes_down_with_its_first_packet_and_up_once_for_its_three_end_packets() {
        let (mut watch, now) = (KeyWatch::default(), start());
        let told: Vec<_> = [(960, false), (1_920, false), (4_800, true), (4_800, true), (4_800, true)]
            .into_iter()
            .map(|(duration, end)| watch.take(event(duration, end), (1, 77), WIDE, now))
            .collect();
        assert_eq!(told[0], KeyNews { down: key(20), ..KeyNews::default() });
        assert_eq!(told[2], KeyNews { up: key(100), ..KeyNews::default() });
        assert!([1, 3, 4].iter().all(|&n| told[n] == KeyNews::default()));
    }

    #[test]
    fn a_key_of_which_one_packet_came_is_told() {
        let (mut watch, now) = (KeyWatch::default(), start());
        let only_end = watch.take(event(4_800, true), (1, 77), WIDE, now);
        assert_eq!(only_end, KeyNews { down: key(100), up: key(100), over: None });
        let only_start = watch.take(event(960, false), (1, 9_600), WIDE, now);
        assert_eq!(only_start.down, key(20));
        let next = watch.take(event(4_800, true), (1, 19_200), WIDE, now);
        assert_eq!(next, KeyNews { over: key(20), down: key(100), up: key(100) });
    }

    #[test]
    fn a_key_whose_end_was_lost_is_over_after_400_ms_and_stays_so() {
        let (mut watch, now) = (KeyWatch::default(), start());
        watch.take(event(960, false), (1, 77), WIDE, now);
        assert_eq!(watch.due(), Some(now + UNHEARD));
        assert_eq!(watch.handle_timeout(now + UNHEARD / 2), KeyNews::default());
        assert_eq!(watch.handle_timeout(now + UNHEARD).over, key(20));
        assert_eq!(watch.due(), None);
        let late = watch.take(event(48_000, true), (1, 77), WIDE, now + UNHEARD * 2);
        assert_eq!(late, KeyNews::default(), "told already");
    }

    #[test]
    fn a_key_held_for_ten_seconds_is_one_press_in_two_segments() {
        let (mut watch, now) = (KeyWatch::default(), start());
        assert!(watch.take(event(160, false), (1, 77), META, now).down.is_some());
        watch.take(event(65_440, false), (1, 77), META, now);
        let second = 77 + 65_535 * 6;
        assert_eq!(watch.take(event(65, false), (1, second), META, now), KeyNews::default());
        assert_eq!(watch.take(event(65_535, false), (1, 77), META, now), KeyNews::default(), "late");
        assert_eq!(watch.take(event(14_465, true), (1, second), META, now).up, key(10_000));
    }

    #[test]
    fn a_new_source_is_heard_whatever_its_time_stamps_and_a_straggler_is_not() {
        let (mut watch, now) = (KeyWatch::default(), start());
        let mut up = |ssrc, timestamp| watch.take(event(960, true), (ssrc, timestamp), WIDE, now).up;
        assert_eq!(up(1, 90_000), key(20));
        assert_eq!(up(1, 80_000), None, "late");
        assert_eq!(up(2, 80_000), key(20));
        assert_eq!(up(2, 10), key(20), "began anew");
    }
}

//! Keys pressed toward a peer: telephone events of our own in the leg's one stream (RFC 4733 section 2.5.1).
//!
//! Nothing of the other leg's event packets is passed on but their meaning. So the peer gets whole events, with
//! updates every 20 ms and three end packets, whatever was lost on the way here, and events told by SIP INFO look the
//! same as those told by RTP.

use std::time::Instant;

use setu_srtp::TelephoneEvent;

use crate::stream::{Stamp, Stream, TICK};
use crate::telephone::{Clocks, Key, KeyNews};

/// The keys toward one peer: the one that sounds, and those that wait.
#[derive(Debug, Default)]
pub(crate) struct KeySender {
    waiting: [Option<Press>; MOST_WAITING],
    sounding: Option<Sounding>,
    /// Keys for which there was no room.
    pub(crate) dropped: u64,
}

#[derive(Debug, Clone, Copy)]
struct Press {
    code: u8,
    volume: u8,
    held: Held,
}

/// How long a key is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// Until it is told.
    Down,
    /// So many milliseconds in all.
    For(u32),
}

#[derive(Debug, Clone, Copy)]
struct Sounding {
    press: Press,
    began: Instant,
    next_at: Instant,
    /// Of its newest segment.
    timestamp: u64,
    /// Ticks of whole segments.
    before: u32,
    /// How many end packets are out.
    ends: u8,
    /// The duration of the end packets, in ticks of the newest segment.
    final_ticks: u16,
}

/// A packet of an event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyPacket {
    pub(crate) stamp: Stamp,
    /// Set on the first packet of an event (RFC 4733 section 2.3.3).
    pub(crate) marker: bool,
    pub(crate) payload: [u8; TelephoneEvent::LEN],
}

impl KeySender {
    /// Presses what the other leg pressed.
    pub(crate) fn follow(&mut self, news: KeyNews) {
        if let Some(key) = news.over {
            self.up(key.held_ms);
        }
        if let Some(Key { code, volume, .. }) = news.down {
            self.push(Press { code, volume, held: Held::Down });
        }
        if let Some(key) = news.up {
            self.up(key.held_ms);
        }
    }

    /// Presses a key for a time known beforehand.
    pub(crate) fn press(&mut self, key: Key) {
        self.push(Press { code: key.code, volume: key.volume, held: Held::For(key.held_ms.min(LONGEST_MS)) });
    }

    /// Lets go of a key that is down: whoever held it is gone.
    pub(crate) fn release(&mut self) {
        self.up(0);
    }

    /// Forgets all keys: the peer takes none.
    pub(crate) fn clear(&mut self) {
        (self.waiting, self.sounding) = ([None; MOST_WAITING], None);
    }

    /// Whether an event is under way or waits: the stream needs nothing else to go on.
    pub(crate) const fn is_busy(&self) -> bool {
        self.sounding.is_some() || matches!(self.waiting, [Some(_), ..])
    }

    /// Returns when the next packet is due; `begins` is when a waiting key may begin.
    pub(crate) fn due(&self, begins: Instant) -> Option<Instant> {
        match (&self.sounding, &self.waiting) {
            (Some(sounding), _) => Some(sounding.next_at),
            (None, [Some(_), ..]) => Some(begins),
            (None, _) => None,
        }
    }

    /// Makes the packet that is due.
    pub(crate) fn packet(&mut self, stream: &mut Stream, clocks: Clocks, now: Instant) -> Option<KeyPacket> {
        if let Some(sounding) = &mut self.sounding {
            if sounding.next_at > now {
                return None;
            }
            let packet = sounding.go_on(stream, clocks, now);
            if sounding.ends == ENDS {
                self.sounding = None;
            }
            return Some(packet);
        }
        let press = self.pop()?;
        let stamp = stream.begin_event(now);
        self.sounding = Some(Sounding {
            press,
            began: now,
            next_at: now + TICK,
            timestamp: stamp.timestamp,
            before: 0,
            ends: 0,
            final_ticks: 0,
        });
        let duration = u16::try_from(ticks(TICK_MS, clocks)).unwrap_or(u16::MAX);
        let event = TelephoneEvent { event: press.code, end: false, volume: press.volume, duration };
        Some(KeyPacket { stamp, marker: true, payload: event.to_bytes() })
    }

    fn push(&mut self, press: Press) {
        match self.waiting.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(press),
            None => self.dropped += 1,
        }
    }

    fn pop(&mut self) -> Option<Press> {
        let first = self.waiting.first_mut()?.take();
        self.waiting.rotate_left(1);
        first
    }

    /// The key that is down, of which there is one at most, was held for so long.
    fn up(&mut self, held_ms: u32) {
        let sounding = self.sounding.iter_mut().map(|sounding| &mut sounding.press);
        let down = sounding.chain(self.waiting.iter_mut().flatten()).find(|press| press.held == Held::Down);
        if let Some(press) = down {
            press.held = Held::For(held_ms);
        }
    }
}

impl Sounding {
    fn go_on(&mut self, stream: &mut Stream, clocks: Clocks, now: Instant) -> KeyPacket {
        self.next_at = if now < self.next_at + TICK { self.next_at + TICK } else { now + TICK };
        let passed = now.saturating_duration_since(self.began) + TICK;
        let passed_ms = u32::try_from(passed.as_millis()).unwrap_or(u32::MAX);
        let end_ms = match self.press.held {
            Held::Down => None,
            // A receiver may take less for noise (ITU-T Q.24: 40 ms).
            Held::For(ms) => Some(ms.max(SHORTEST_MS)),
        };
        let ends = self.ends > 0 || end_ms.is_some_and(|ms| ms <= passed_ms);
        if self.ends == 0 {
            // What was told of the duration is not taken back: the last update came one tick ago.
            let told_ms = passed_ms.saturating_sub(TICK_MS);
            let shown_ms = end_ms.filter(|_| ends).map_or(passed_ms, |ms| ms.max(told_ms));
            self.final_ticks = self.in_segment(ticks(shown_ms, clocks), clocks);
        }
        self.ends += u8::from(ends);
        let event = TelephoneEvent {
            event: self.press.code,
            end: ends,
            volume: self.press.volume,
            duration: self.final_ticks,
        };
        let stamp = stream.event(self.timestamp);
        KeyPacket { stamp, marker: false, payload: event.to_bytes() }
    }

    /// The ticks that belong to the newest segment; begins a new one where they are too many for 16 bits (RFC 4733
    /// section 2.5.1.3).
    fn in_segment(&mut self, ticks: u32, clocks: Clocks) -> u16 {
        while ticks - self.before.min(ticks) > u32::from(u16::MAX) {
            self.before += u32::from(u16::MAX);
            self.timestamp +=
                u64::from(u16::MAX) * u64::from(clocks.timestamps) / u64::from(clocks.durations.max(1));
        }
        u16::try_from(ticks.saturating_sub(self.before)).unwrap_or(u16::MAX)
    }
}

fn ticks(ms: u32, clocks: Clocks) -> u32 {
    u32::try_from(u64::from(ms) * u64::from(clocks.durations) / 1_000).unwrap_or(u32::MAX)
}

/// How often the end of an event is sent (RFC 4733 section 2.5.1.4).
const ENDS: u8 = 3;

/// The most keys that wait: what a speed dial sends at once.
const MOST_WAITING: usize = 32;

/// The shortest key sent, in milliseconds.
const SHORTEST_MS: u32 = 40;

/// The longest key of a time known beforehand, in milliseconds.
const LONGEST_MS: u32 = 5_000;

/// [`TICK`] in milliseconds.
const TICK_MS: u32 = 20;

//! Telephone events, RFC 4733.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// One payload of a telephone event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) digit: char,
    pub(crate) end: bool,
    /// In units of the event's clock.
    pub(crate) duration: u16,
}

const KEYS: &[u8; 16] = b"0123456789*#ABCD";

/// Reads a payload (RFC 4733 section 2.3); `None` if it is too short.
pub(crate) fn read(payload: &[u8]) -> Option<Event> {
    let [event, flags, high, low, ..] = *payload else { return None };
    let digit = KEYS.get(usize::from(event)).map_or('?', |&key| char::from(key));
    Some(Event { digit, end: flags & 0x80 != 0, duration: u16::from_be_bytes([high, low]) })
}

/// Writes a payload at a volume of -10 dBm0. A character that is no key is sent as event 16 (flash).
pub(crate) fn write(event: Event) -> Bytes {
    let code = KEYS.iter().position(|&key| char::from(key) == event.digit.to_ascii_uppercase()).unwrap_or(16);
    let [high, low] = event.duration.to_be_bytes();
    Bytes::copy_from_slice(&[code as u8, u8::from(event.end) << 7 | 10, high, low])
}

/// Keys to press in a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DtmfPlan {
    /// When to begin, in milliseconds after the answer.
    pub after_ms: u64,
    /// The keys: `0` to `9`, `*`, `#`, `A` to `D`.
    pub digits: String,
    /// How long each key is held, in milliseconds. 160 is what WhatsApp's keypad is taken to send.
    #[serde(default = "default_hold")]
    pub hold_ms: u64,
    /// The pause between keys, in milliseconds.
    #[serde(default = "default_pause")]
    pub pause_ms: u64,
}

impl DtmfPlan {
    /// Presses `digits` one after the other, beginning `after_ms` after the answer.
    pub fn new(after_ms: u64, digits: impl Into<String>) -> Self {
        Self { after_ms, digits: digits.into(), hold_ms: default_hold(), pause_ms: default_pause() }
    }
}

const fn default_hold() -> u64 {
    160
}

const fn default_pause() -> u64 {
    100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_reads_back_as_written() {
        for digit in KEYS.iter().map(|&key| char::from(key)) {
            let event = Event { digit, end: digit == '5', duration: 1_280 };
            assert_eq!(read(&write(event)), Some(event));
        }
        assert_eq!(read(&[1, 2, 3]), None);
        assert_eq!(read(&[40, 0, 0, 1]).map(|e| e.digit), Some('?'));
    }
}

use crate::bytes;

/// The payload of a telephone-event packet (RFC 4733 section 2.3): a key pressed, as long as it lasts so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// The event code: 0 to 15 are the keys (RFC 4733 section 3.2), 16 is flash.
    pub event: u8,
    /// Whether the key was released.
    pub end: bool,
    /// Power level, in -dBm0: 0 (loudest) to 63.
    pub volume: u8,
    /// How long the key is down so far, in units of the payload's clock.
    pub duration: u16,
}

/// The peer sent fewer than the four bytes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("telephone event too short")]
pub struct TelephoneEventError;

impl TelephoneEvent {
    /// Length of an event on the wire, in bytes.
    pub const LEN: usize = 4;

    /// Reads the first event of a payload; more may follow only in redundancy, which is not used here.
    ///
    /// # Errors
    ///
    /// [`TelephoneEventError`] if there are fewer than four bytes.
    pub fn parse(payload: &[u8]) -> Result<Self, TelephoneEventError> {
        let [event, flags, d0, d1] = bytes::array(payload, 0).ok_or(TelephoneEventError)?;
        let duration = u16::from_be_bytes([d0, d1]);
        Ok(Self { event, end: flags & END != 0, volume: flags & VOLUME, duration })
    }

    /// The event as four bytes for the wire.
    pub const fn to_bytes(self) -> [u8; Self::LEN] {
        let [d0, d1] = self.duration.to_be_bytes();
        let end = if self.end { END } else { 0 };
        [self.event, end | (self.volume & VOLUME), d0, d1]
    }

    /// The key: `0` to `9`, `*`, `#`, `A` to `D`; none for other events.
    pub fn digit(self) -> Option<char> {
        DIGITS.get(usize::from(self.event)).copied().map(char::from)
    }

    /// The event code of a key; none if there is no such key.
    pub fn code(digit: char) -> Option<u8> {
        let digit = u8::try_from(digit.to_ascii_uppercase()).ok()?;
        DIGITS.iter().position(|key| *key == digit).and_then(|at| u8::try_from(at).ok())
    }
}

const END: u8 = 0x80;
const VOLUME: u8 = 0x3f;
const DIGITS: &[u8; 16] = b"0123456789*#ABCD";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reads_back_as_written() {
        let event = TelephoneEvent { event: 11, end: true, volume: 10, duration: 7_680 };
        assert_eq!(event.to_bytes(), [11, 0x8a, 0x1e, 0]);
        assert_eq!(TelephoneEvent::parse(&event.to_bytes()), Ok(event));
        assert_eq!(event.digit(), Some('#'));
    }

    #[test]
    fn keys_map_to_codes_and_back() {
        for code in 0..16 {
            let event = TelephoneEvent { event: code, end: false, volume: 0, duration: 0 };
            assert_eq!(event.digit().and_then(TelephoneEvent::code), Some(code));
        }
        assert_eq!(TelephoneEvent::code('d'), Some(15));
        assert_eq!(TelephoneEvent::code('x'), None);
        assert_eq!(TelephoneEvent::code('é'), None);
        assert_eq!(TelephoneEvent { event: 16, end: false, volume: 0, duration: 0 }.digit(), None);
    }

    #[test]
    fn short_payloads_are_refused() {
        for length in 0..TelephoneEvent::LEN {
            assert_eq!(TelephoneEvent::parse(&vec![0; length]), Err(TelephoneEventError));
        }
    }
}

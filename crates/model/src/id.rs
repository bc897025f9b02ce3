use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Entropy, Wall};

/// Names one call for ever: 48 bits of wall-clock milliseconds, then 80 random bits, printed as a ULID
/// (26 characters of Crockford's base 32), so that ids sort by the time the call began.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(u128);

impl CallId {
    /// Makes a fresh id for a call that begins at `wall`.
    pub fn new(wall: Wall, entropy: &mut dyn Entropy) -> Self {
        let millis = u128::try_from(wall.unix_ms()).unwrap_or(0) & ((1 << 48) - 1);
        let random = (u128::from(entropy.next_u64()) << 16) | u128::from(entropy.next_u32() & 0xffff);
        Self((millis << 80) | random)
    }

    /// Rebuilds an id from its 128 bits.
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// Returns the 128 bits.
    pub const fn bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for i in (0..26).rev() {
            let digit = (self.0 >> (5 * i)) & 31;
            let byte = CROCKFORD.get(usize::try_from(digit).unwrap_or(0)).copied().unwrap_or(b'0');
            fmt::Write::write_char(f, char::from(byte))?;
        }
        Ok(())
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for CallId {
    type Err = InvalidCallId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 26 {
            return Err(InvalidCallId);
        }
        text.bytes()
            .try_fold(0_u128, |bits, byte| {
                let digit = CROCKFORD.iter().position(|c| *c == byte.to_ascii_uppercase())?;
                bits.checked_mul(32)?.checked_add(digit as u128)
            })
            .map(Self)
            .ok_or(InvalidCallId)
    }
}

impl Serialize for CallId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CallId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that is not 26 characters of Crockford's base 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a call id is 26 characters of Crockford's base 32")]
pub struct InvalidCallId;

/// Names one leg of a call. Index 0 is the originator's leg, the others are the ones the bridge dialled.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LegId {
    /// The call the leg belongs to.
    pub call: CallId,
    /// 0 for the originator, then one number for each leg the bridge dialled, in order.
    pub index: u8,
}

impl LegId {
    /// The leg that began `call`.
    pub const fn originator(call: CallId) -> Self {
        Self { call, index: 0 }
    }
}

impl fmt::Debug for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.call, self.index)
    }
}

impl fmt::Display for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededEntropy;

    #[test]
    fn call_id_prints_as_a_ulid_and_reads_back() {
        let id = CallId::new(Wall::from_unix_ms(1_700_000_000_000), &mut SeededEntropy::new(1));
        let text = id.to_string();
        assert_eq!(text.len(), 26);
        assert!(text.starts_with("01HF7YAT00"), "{text}");
        assert_eq!(text.parse(), Ok(id));
        assert_eq!("01HF".parse::<CallId>(), Err(InvalidCallId));
        assert_eq!("Z".repeat(26).parse::<CallId>(), Err(InvalidCallId));
    }

    #[test]
    fn later_calls_sort_after_earlier_ones() {
        let mut entropy = SeededEntropy::new(2);
        let mut at = |ms| CallId::new(Wall::from_unix_ms(ms), &mut entropy).to_string();
        assert!(at(1_000) < at(2_000));
    }
}

/// A source of random bytes, handed in to every core that needs any.
///
/// The running bridge hands in the system's CSPRNG; tests and the simulation hand in [`SeededEntropy`],
/// so that the same seed gives the same call.
pub trait Entropy: Send {
    /// Fills `bytes` with random values.
    fn fill(&mut self, bytes: &mut [u8]);

    /// Returns a random 32-bit value.
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Returns a random 64-bit value.
    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Returns `bytes` random bytes as lower-case hex, for tags, branches, nonces and Call-IDs.
    fn hex(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes * 2);
        for _ in 0..bytes {
            let mut byte = [0; 1];
            self.fill(&mut byte);
            for nibble in [byte[0] >> 4, byte[0] & 15] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        text
    }
}

/// A deterministic generator (SplitMix64) for tests and the simulation. Never for secrets of a real call.
#[derive(Debug, Clone)]
pub struct SeededEntropy(u64);

impl SeededEntropy {
    /// Starts the sequence that belongs to `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }
}

impl Entropy for SeededEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            for (to, from) in chunk.iter_mut().zip(z.to_le_bytes()) {
                *to = from;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_gives_same_bytes_and_another_seed_gives_others() {
        let hex = |seed| SeededEntropy::new(seed).hex(16);
        assert_eq!(hex(7), hex(7));
        assert_ne!(hex(7), hex(8));
        assert_eq!(hex(7).len(), 32);
    }
}

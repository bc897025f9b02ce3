//! HMAC-SHA1 (RFC 2104) with the two key blocks hashed once for the life of the key.
//!
//! A voice packet costs four compressions: three for the packet, one for the outer hash. The generic HMAC would
//! clone two hashers with their buffers for each packet and copy the packet through one of them.

use sha1::block_api::compress;
use zeroize::{Zeroize, Zeroizing};

/// Length of a SHA-1 block, in bytes.
const BLOCK: usize = 64;

/// SHA-1's initial state (FIPS 180-4 section 5.3.1).
const INITIAL: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// A key, ready for use.
pub(crate) struct HmacSha1 {
    inner: Zeroizing<[u32; 5]>,
    outer: Zeroizing<[u32; 5]>,
}

impl HmacSha1 {
    /// Hashes the key blocks. SRTP's authentication keys are 160 bits (RFC 3711 section 5.2).
    pub(crate) fn new(key: &[u8; 20]) -> Self {
        let state = |pad: u8| {
            let mut block = [pad; BLOCK];
            for (byte, key) in block.iter_mut().zip(key) {
                *byte ^= key;
            }
            let mut state = INITIAL;
            compress(&mut state, &[block]);
            block.zeroize();
            Zeroizing::new(state)
        };
        Self { inner: state(0x36), outer: state(0x5c) }
    }

    /// The tag of `message` followed by `suffix` (the roll-over counter, which is authenticated but not sent).
    pub(crate) fn tag(&self, message: &[u8], suffix: Option<u32>) -> [u8; 20] {
        let (blocks, rest) = message.as_chunks::<BLOCK>();
        let mut state = *self.inner;
        compress(&mut state, blocks);

        let suffix_bytes = suffix.unwrap_or(0).to_be_bytes();
        let suffix: &[u8] = if suffix.is_some() { &suffix_bytes } else { &[] };
        let mut tail = [[0_u8; BLOCK]; 2];
        let used = rest.len() + suffix.len();
        let end_mark = [0x80];
        for (to, from) in tail.as_flattened_mut().iter_mut().zip(rest.iter().chain(suffix).chain(&end_mark)) {
            *to = *from;
        }
        let bits = ((BLOCK + message.len() + suffix.len()) as u64) * 8;
        // The end mark takes one byte and the length eight: a second block where they do not fit.
        let blocks = if used + 9 <= BLOCK { 1 } else { 2 };
        if let Some(last) = tail.get_mut(blocks - 1).and_then(|block| block.last_chunk_mut::<8>()) {
            *last = bits.to_be_bytes();
        }
        compress(&mut state, tail.get(..blocks).unwrap_or_default());
        self.finish(state)
    }

    /// The outer hash over the inner digest.
    fn finish(&self, inner: [u32; 5]) -> [u8; 20] {
        let mut block = [0; BLOCK];
        for (to, word) in block.chunks_exact_mut(4).zip(inner) {
            to.copy_from_slice(&word.to_be_bytes());
        }
        if let Some(end_mark) = block.get_mut(20) {
            *end_mark = 0x80;
        }
        if let Some(last) = block.last_chunk_mut::<8>() {
            *last = (((BLOCK + 20) * 8) as u64).to_be_bytes();
        }
        let mut state = *self.outer;
        compress(&mut state, &[block]);
        let mut tag = [0; 20];
        for (to, word) in tag.chunks_exact_mut(4).zip(state) {
            to.copy_from_slice(&word.to_be_bytes());
        }
        tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hmac::{Hmac, KeyInit, Mac};

    #[test]
    fn rfc_2202_case_1() {
        let tag = HmacSha1::new(&[0x0b; 20]).tag(b"Hi There", None);
        assert_eq!(tag[..8], [0xb6, 0x17, 0x31, 0x86, 0x55, 0x05, 0x72, 0x64]);
    }

    #[test]
    fn every_length_agrees_with_the_generic_implementation() {
        let key: [u8; 20] = std::array::from_fn(|i| i as u8 * 7);
        let ours = HmacSha1::new(&key);
        let message: Vec<u8> = (0..400_u32).map(|i| (i * 31) as u8).collect();
        for length in 0..message.len() {
            let mut theirs = Hmac::<sha1::Sha1>::new_from_slice(&key).unwrap();
            theirs.update(&message[..length]);
            assert_eq!(ours.tag(&message[..length], None)[..], theirs.clone().finalize().into_bytes()[..]);
            theirs.update(&0xdead_beef_u32.to_be_bytes());
            assert_eq!(
                ours.tag(&message[..length], Some(0xdead_beef))[..],
                theirs.finalize().into_bytes()[..]
            );
        }
    }
}

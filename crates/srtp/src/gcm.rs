//! AES in Galois/counter mode (RFC 7714).

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::aes_cm::{INDEX, RTCP_CLEAR};
use crate::key_derivation::{Label, Master};
use crate::{SrtpError, Suite, bytes};

/// Length of the tag, in bytes.
const TAG: usize = 16;

/// The session keys of one direction.
pub(crate) struct Gcm {
    rtp: Keys,
    rtcp: Keys,
}

impl Gcm {
    pub(crate) fn new(suite: Suite, master: &Master) -> Result<Self, SrtpError> {
        Ok(Self {
            rtp: Keys::new(suite, master, Label::RtpEncryption, Label::RtpSalt)?,
            rtcp: Keys::new(suite, master, Label::RtcpEncryption, Label::RtcpSalt)?,
        })
    }

    /// Encrypts what follows `payload_at` and appends the tag; returns the new length.
    pub(crate) fn seal_rtp(
        &self,
        buffer: &mut [u8],
        len: usize,
        payload_at: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let (packet, room) = buffer.split_at_mut_checked(len).ok_or(SrtpError::NoRoom)?;
        let tag_room = room.get_mut(..TAG).ok_or(SrtpError::NoRoom)?;
        let (header, payload) = packet.split_at_mut_checked(payload_at).ok_or(SrtpError::TooShort)?;
        self.rtp.seal(self.rtp.nonce(ssrc, index), header, payload, tag_room)?;
        Ok(len + TAG)
    }

    /// Checks the tag and decrypts; returns the length without it. A packet that fails is destroyed.
    pub(crate) fn open_rtp(
        &self,
        packet: &mut [u8],
        payload_at: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let len = packet.len().checked_sub(TAG).ok_or(SrtpError::TooShort)?;
        if payload_at > len {
            return Err(SrtpError::TooShort);
        }
        let (header, sealed) = packet.split_at_mut_checked(payload_at).ok_or(SrtpError::TooShort)?;
        self.rtp.open(self.rtp.nonce(ssrc, index), header, sealed)?;
        Ok(len)
    }

    /// Encrypts what follows the first eight bytes, appends the tag and `word` (E bit and index).
    pub(crate) fn seal_rtcp(
        &self,
        buffer: &mut [u8],
        len: usize,
        ssrc: u32,
        word: u32,
    ) -> Result<usize, SrtpError> {
        let total = len + TAG + 4;
        let (packet, room) = buffer.split_at_mut_checked(len).ok_or(SrtpError::NoRoom)?;
        let (tag_room, word_room) = room.split_at_mut_checked(TAG).ok_or(SrtpError::NoRoom)?;
        bytes::put(word_room, 0, &word.to_be_bytes()).ok_or(SrtpError::NoRoom)?;
        let (header, payload) = packet.split_at_mut_checked(RTCP_CLEAR).ok_or(SrtpError::TooShort)?;
        let aad = rtcp_aad(header, word)?;
        self.rtcp.seal(self.rtcp.nonce(ssrc, u64::from(word & INDEX)), &aad, payload, tag_room)?;
        Ok(total)
    }

    /// The word of E bit and index, read from where it stands.
    pub(crate) fn rtcp_word(packet: &[u8]) -> Option<u32> {
        packet.last_chunk().copied().map(u32::from_be_bytes)
    }

    /// Checks the tag and decrypts; returns the length of the plain compound.
    pub(crate) fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, word: u32) -> Result<usize, SrtpError> {
        let end = packet.len().checked_sub(4).ok_or(SrtpError::TooShort)?;
        let len = end.checked_sub(TAG).filter(|len| *len >= RTCP_CLEAR).ok_or(SrtpError::TooShort)?;
        let packet = packet.get_mut(..end).ok_or(SrtpError::TooShort)?;
        let (header, sealed) = packet.split_at_mut_checked(RTCP_CLEAR).ok_or(SrtpError::TooShort)?;
        let aad = rtcp_aad(header, word)?;
        self.rtcp.open(self.rtcp.nonce(ssrc, u64::from(word & INDEX)), &aad, sealed)?;
        Ok(len)
    }
}

/// What SRTCP authenticates beside the message: header, source and the word (RFC 7714 section 9.2).
fn rtcp_aad(header: &[u8], word: u32) -> Result<[u8; RTCP_CLEAR + 4], SrtpError> {
    let mut aad = [0; RTCP_CLEAR + 4];
    bytes::put(&mut aad, 0, header).ok_or(SrtpError::TooShort)?;
    bytes::put(&mut aad, RTCP_CLEAR, &word.to_be_bytes()).ok_or(SrtpError::TooShort)?;
    Ok(aad)
}

/// The keys of one direction of RTP or of RTCP.
struct Keys {
    key: LessSafeKey,
    salt: Zeroizing<[u8; 12]>,
}

impl Keys {
    fn new(suite: Suite, master: &Master, encryption: Label, salt: Label) -> Result<Self, SrtpError> {
        // As long as the master key; 32 bytes of key stream begin with what the shorter key is.
        let key = master.derive::<32>(encryption);
        let key = key.get(..suite.key_len()).ok_or(SrtpError::KeyLength)?;
        let algorithm = if suite == Suite::AeadAes256Gcm { &AES_256_GCM } else { &AES_128_GCM };
        let key = UnboundKey::new(algorithm, key).map_err(|_| SrtpError::KeyLength)?;
        Ok(Self { key: LessSafeKey::new(key), salt: master.derive(salt) })
    }

    /// Two zero bytes, SSRC and 48 bits of index, mixed with the salt. The SRTCP index fills the same 48 bits
    /// (RFC 7714 sections 8.1 and 9.1).
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let mut nonce = [0; 12];
        let plain = (u128::from(ssrc) << 48 | u128::from(index)).to_be_bytes();
        for ((to, plain), salt) in nonce.iter_mut().zip(plain.iter().skip(4)).zip(self.salt.iter()) {
            *to = plain ^ salt;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(&self, nonce: Nonce, aad: &[u8], data: &mut [u8], tag_room: &mut [u8]) -> Result<(), SrtpError> {
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(aad), data)
            .map_err(|_| SrtpError::NoRoom)?;
        tag_room.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        Ok(())
    }

    fn open(&self, nonce: Nonce, aad: &[u8], sealed: &mut [u8]) -> Result<(), SrtpError> {
        match self.key.open_in_place(nonce, Aad::from(aad), sealed) {
            Ok(_) => Ok(()),
            Err(_) => Err(SrtpError::AuthenticationFailed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::aead::Algorithm;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            text.bytes().filter_map(|c| char::from(c).to_digit(16)).map(|d| d as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// The session keys and salt of RFC 7714 sections 16 and 17, of 128 or 256 bits.
    fn keys(algorithm: &'static Algorithm) -> Keys {
        let key: Vec<u8> = (0..algorithm.key_len()).map(|i| i as u8).collect();
        let key = UnboundKey::new(algorithm, &key).unwrap();
        Keys { key: LessSafeKey::new(key), salt: Zeroizing::new(*b"Quid pro quo") }
    }

    fn gcm(algorithm: &'static Algorithm) -> Gcm {
        Gcm { rtp: keys(algorithm), rtcp: keys(algorithm) }
    }

    const RTP: &str = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976
        69736120 696e2070 61727465 73207472 6573";

    /// RFC 7714 sections 16.1.1 and 16.2.1.
    #[test]
    fn rtp_is_sealed_as_the_standard_says() {
        for (algorithm, sealed) in [
            (
                &AES_128_GCM,
                "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f
                42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
            ),
            (
                &AES_256_GCM,
                "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3
                b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
            ),
        ] {
            let gcm = gcm(algorithm);
            let mut packet = hex(RTP);
            let len = packet.len();
            packet.resize(len + TAG, 0);
            gcm.seal_rtp(&mut packet, len, 12, 0x5501_a0b2, 0xf17b).unwrap();
            assert_eq!(packet, hex(sealed));
            assert_eq!(gcm.open_rtp(&mut packet, 12, 0x5501_a0b2, 0xf17b), Ok(len));
            assert_eq!(packet[..len], hex(RTP));
        }
    }

    const RTCP: &str = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61
        deadbeef deadbeef deadbeef deadbeef deadbeef";

    /// RFC 7714 sections 17.1 and 17.3.
    #[test]
    fn rtcp_is_sealed_as_the_standard_says() {
        for (algorithm, sealed) in [
            (
                &AES_128_GCM,
                "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d
                c676a5f1 730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
            ),
            (
                &AES_256_GCM,
                "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50
                a2eaa5c1 110555be 8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4",
            ),
        ] {
            let gcm = gcm(algorithm);
            let mut packet = hex(RTCP);
            let len = packet.len();
            packet.resize(len + TAG + 4, 0);
            gcm.seal_rtcp(&mut packet, len, 0x4d61_7273, 0x8000_05d4).unwrap();
            assert_eq!(packet, hex(sealed));
            assert_eq!(gcm.open_rtcp(&mut packet, 0x4d61_7273, 0x8000_05d4), Ok(len));
            assert_eq!(packet[..len], hex(RTCP));
        }
    }
}

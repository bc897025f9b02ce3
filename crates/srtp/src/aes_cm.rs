//! AES in counter mode with HMAC-SHA1 (RFC 3711 sections 4.1.1 and 4.2.1).

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Block};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::key_derivation::{Label, Master};
use crate::{SrtpError, Suite, bytes};

/// Length of the SRTCP tag, in bytes, for both suites.
const RTCP_TAG: usize = 10;

/// How many blocks of key stream are made at once: a 20 ms packet of voice in one go.
const BATCH: usize = 16;

/// The session keys of one direction.
pub(crate) struct AesCm {
    rtp: Keys,
    rtcp: Keys,
    rtp_tag_len: usize,
}

impl AesCm {
    pub(crate) fn new(suite: Suite, master: &Master) -> Self {
        use Label::{
            RtcpAuthentication, RtcpEncryption, RtcpSalt, RtpAuthentication, RtpEncryption, RtpSalt,
        };
        Self {
            rtp: Keys::new(master, [RtpEncryption, RtpSalt, RtpAuthentication]),
            rtcp: Keys::new(master, [RtcpEncryption, RtcpSalt, RtcpAuthentication]),
            rtp_tag_len: suite.rtp_tag_len(),
        }
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
        let tag_room = room.get_mut(..self.rtp_tag_len).ok_or(SrtpError::NoRoom)?;
        let payload = packet.get_mut(payload_at..).ok_or(SrtpError::TooShort)?;
        self.rtp.apply(ssrc, index, payload);
        let tag = self.rtp.hmac.tag(packet, Some(rollover(index)));
        tag_room.iter_mut().zip(tag).for_each(|(to, from)| *to = from);
        Ok(len + self.rtp_tag_len)
    }

    /// Checks the tag and decrypts; returns the length without it. The packet is untouched if the tag is wrong.
    pub(crate) fn open_rtp(
        &self,
        packet: &mut [u8],
        payload_at: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let len = packet.len().checked_sub(self.rtp_tag_len).ok_or(SrtpError::TooShort)?;
        let (packet, tag) = packet.split_at_mut_checked(len).ok_or(SrtpError::TooShort)?;
        if payload_at > len {
            return Err(SrtpError::TooShort);
        }
        verify(&self.rtp.hmac.tag(packet, Some(rollover(index))), tag)?;
        self.rtp.apply(ssrc, index, packet.get_mut(payload_at..).ok_or(SrtpError::TooShort)?);
        Ok(len)
    }

    /// Encrypts what follows the first eight bytes, appends `word` (E bit and index) and the tag.
    pub(crate) fn seal_rtcp(
        &self,
        buffer: &mut [u8],
        len: usize,
        ssrc: u32,
        word: u32,
    ) -> Result<usize, SrtpError> {
        let total = len + 4 + RTCP_TAG;
        let buffer = buffer.get_mut(..total).ok_or(SrtpError::NoRoom)?;
        let (packet, tag_room) = buffer.split_at_mut_checked(len + 4).ok_or(SrtpError::NoRoom)?;
        bytes::put(packet, len, &word.to_be_bytes()).ok_or(SrtpError::NoRoom)?;
        let payload = packet.get_mut(RTCP_CLEAR..len).ok_or(SrtpError::TooShort)?;
        self.rtcp.apply(ssrc, u64::from(word & INDEX), payload);
        let tag = self.rtcp.hmac.tag(packet, None);
        tag_room.iter_mut().zip(tag).for_each(|(to, from)| *to = from);
        Ok(total)
    }

    /// The word of E bit and index, read from where it stands.
    pub(crate) fn rtcp_word(packet: &[u8]) -> Option<u32> {
        bytes::be32(packet, packet.len().checked_sub(4 + RTCP_TAG)?)
    }

    /// Checks the tag and decrypts; returns the length of the plain compound.
    pub(crate) fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, word: u32) -> Result<usize, SrtpError> {
        let len = packet.len().checked_sub(4 + RTCP_TAG).ok_or(SrtpError::TooShort)?;
        let (packet, tag) = packet.split_at_mut_checked(len + 4).ok_or(SrtpError::TooShort)?;
        if len < RTCP_CLEAR {
            return Err(SrtpError::TooShort);
        }
        verify(&self.rtcp.hmac.tag(packet, None), tag)?;
        let payload = packet.get_mut(RTCP_CLEAR..len).ok_or(SrtpError::TooShort)?;
        self.rtcp.apply(ssrc, u64::from(word & INDEX), payload);
        Ok(len)
    }
}

/// The E bit of an SRTCP packet: its payload is encrypted (RFC 3711 section 3.4).
pub(crate) const ENCRYPTED: u32 = 1 << 31;
/// The bits of the SRTCP index.
pub(crate) const INDEX: u32 = !ENCRYPTED;
/// The part of an SRTCP packet that is never encrypted: the first header and the sender's source.
pub(crate) const RTCP_CLEAR: usize = 8;

/// The keys of one direction of RTP or of RTCP.
struct Keys {
    cipher: Aes128,
    /// The session salt, moved up to the place where the initial counter block wants it.
    salt: Zeroizing<u128>,
    hmac: crate::hmac_sha1::HmacSha1,
}

impl Keys {
    fn new(master: &Master, [encryption, salt, authentication]: [Label; 3]) -> Self {
        let mut wide = Zeroizing::new([0; 16]);
        for (to, from) in wide.iter_mut().zip(master.derive::<14>(salt).iter()) {
            *to = *from;
        }
        Self {
            cipher: Aes128::new((&*master.derive::<16>(encryption)).into()),
            salt: Zeroizing::new(u128::from_be_bytes(*wide)),
            hmac: crate::hmac_sha1::HmacSha1::new(&master.derive::<20>(authentication)),
        }
    }

    /// Adds the key stream of packet `index` to `data`: encrypts and decrypts (RFC 3711 section 4.1.1).
    ///
    /// The low 16 bits count blocks, so that `data` must not pass 2^20 bytes; callers bound it to 2^16.
    fn apply(&self, ssrc: u32, index: u64, data: &mut [u8]) {
        let mut counter = *self.salt ^ (u128::from(ssrc) << 64) ^ (u128::from(index) << 16);
        let (blocks, rest) = data.as_chunks_mut::<16>();
        let mut stream = [Block::default(); BATCH];
        let batches = blocks.len() / BATCH + 1;
        let mut blocks = blocks.chunks_mut(BATCH);
        let mut rest = Some(rest);
        for _ in 0..batches {
            let whole = blocks.next().unwrap_or_default();
            // The last batch also serves the bytes after the last whole block, unless it is full.
            let tail = if whole.len() < BATCH { rest.take().unwrap_or_default() } else { &mut [] };
            let wanted = whole.len() + usize::from(!tail.is_empty());
            let Some(stream) = stream.get_mut(..wanted) else { return };
            for block in stream.iter_mut() {
                block.0 = counter.to_be_bytes();
                counter = counter.wrapping_add(1);
            }
            self.cipher.encrypt_blocks(stream);
            for (data, key) in whole.iter_mut().zip(stream.iter()) {
                *data = (u128::from_ne_bytes(*data) ^ u128::from_ne_bytes(key.0)).to_ne_bytes();
            }
            if let Some(key) = stream.last() {
                tail.iter_mut().zip(key.iter()).for_each(|(data, key)| *data ^= key);
            }
        }
    }
}

/// The roll-over counter: the upper 32 of the index's 48 bits.
fn rollover(index: u64) -> u32 {
    u32::try_from(index >> 16).unwrap_or(u32::MAX)
}

/// Compares the tag, cut to the suite's length, in constant time.
fn verify(full: &[u8; 20], tag: &[u8]) -> Result<(), SrtpError> {
    let expected = full.get(..tag.len()).ok_or(SrtpError::TooShort)?;
    if bool::from(expected.ct_eq(tag)) { Ok(()) } else { Err(SrtpError::AuthenticationFailed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3711 appendix B.2: the key stream of SSRC 0, index 0, at its start and around block 0xff00.
    #[test]
    fn the_key_stream_is_that_of_the_standard() {
        let keys = Keys {
            cipher: Aes128::new(&0x2B7E_1516_28AE_D2A6_ABF7_1588_09CF_4F3C_u128.to_be_bytes().into()),
            salt: Zeroizing::new(0xF0F1_F2F3_F4F5_F6F7_F8F9_FAFB_FCFD_0000),
            hmac: crate::hmac_sha1::HmacSha1::new(&[0; 20]),
        };
        let mut stream = vec![0; 0xff02 * 16];
        keys.apply(0, 0, &mut stream);
        let block = |i: usize| u128::from_be_bytes(stream[16 * i..][..16].try_into().unwrap());
        assert_eq!(block(0), 0xE03E_AD09_35C9_5E80_E166_B16D_D92B_4EB4);
        assert_eq!(block(1), 0xD235_1316_2B02_D0F7_2A43_A2FE_4A5F_97AB);
        assert_eq!(block(2), 0x41E9_5B3B_B0A2_E8DD_4779_01E4_FCA8_94C0);
        assert_eq!(block(0xfeff), 0xEC8C_DF73_9860_7CB0_F2D2_1675_EA9E_A1E4);
        assert_eq!(block(0xff00), 0x362B_7C3C_6773_5163_18A0_77D7_FC50_73AE);
        assert_eq!(block(0xff01), 0x6A2C_C378_7889_374F_BEB4_C81B_17BA_6C44);
    }

    #[test]
    fn any_length_gets_the_same_key_stream() {
        let master = Master::new(Suite::AesCm128HmacSha1_80, &[7; 16], &[9; 14]).unwrap();
        let keys = AesCm::new(Suite::AesCm128HmacSha1_80, &master).rtp;
        let mut whole = vec![0; 600];
        keys.apply(1, 2, &mut whole);
        for length in 0..whole.len() {
            let mut part = vec![0; length];
            keys.apply(1, 2, &mut part);
            assert_eq!(part, whole[..length], "{length}");
        }
    }
}

//! Session keys from the master key (RFC 3711 section 4.3, with a key derivation rate of zero).

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use zeroize::Zeroizing;

use crate::{SrtpError, Suite};

/// What a session key is for (RFC 3711 section 4.3.2).
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(crate) enum Label {
    RtpEncryption = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

/// The pseudo-random function of one master key and salt.
pub(crate) struct Master {
    cipher: Aes128,
    salt: Zeroizing<[u8; 14]>,
}

impl Master {
    /// Takes master key and salt of the lengths that `suite` wants.
    pub(crate) fn new(suite: Suite, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        if salt.len() != suite.salt_len() {
            return Err(SrtpError::KeyLength);
        }
        let cipher = Aes128::new_from_slice(key).map_err(|_| SrtpError::KeyLength)?;
        // GCM's 96-bit salt is shifted to 112 bits (RFC 7714 section 11): zeroes on the right.
        let mut padded = Zeroizing::new([0; 14]);
        for (to, from) in padded.iter_mut().zip(salt) {
            *to = *from;
        }
        Ok(Self { cipher, salt: padded })
    }

    /// Derives the first `N` bytes of the key stream for `label`.
    pub(crate) fn derive<const N: usize>(&self, label: Label) -> Zeroizing<[u8; N]> {
        let mut key = Zeroizing::new([0; N]);
        for (counter, part) in (0_u16..).zip(key.chunks_mut(16)) {
            let mut block = [0; 16];
            for (to, from) in block.iter_mut().zip(self.salt.iter()) {
                *to = *from;
            }
            // The label stands above 48 bits of index divided by rate, which is zero: byte 7 of the 112 bits.
            if let Some(byte) = block.get_mut(7) {
                *byte ^= label as u8;
            }
            if let Some(last) = block.last_chunk_mut::<2>() {
                *last = counter.to_be_bytes();
            }
            let mut block = Zeroizing::new(block);
            self.cipher.encrypt_block((&mut *block).into());
            for (to, from) in part.iter_mut().zip(block.iter()) {
                *to = *from;
            }
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3711 appendix B.3.
    #[test]
    fn session_keys_are_those_of_the_standard() {
        let key = 0xE1F9_7A0D_3E01_8BE0_D64F_A32C_06DE_4139_u128.to_be_bytes();
        let salt = 0x0EC6_75AD_498A_FEEB_B696_0B3A_ABE6_u128.to_be_bytes();
        let master = Master::new(Suite::AesCm128HmacSha1_80, &key, &salt[2..]).unwrap();
        assert_eq!(
            *master.derive::<16>(Label::RtpEncryption),
            0xC61E_7A93_744F_39EE_1073_4AFE_3FF7_A087_u128.to_be_bytes()
        );
        assert_eq!(
            master.derive::<14>(Label::RtpSalt)[..],
            0x30CB_BC08_863D_8C85_D49D_B34A_9AE1_u128.to_be_bytes()[2..]
        );
        let authentication = master.derive::<20>(Label::RtpAuthentication);
        assert_eq!(authentication[..16], 0xCEBE_321F_6FF7_716B_6FD4_AB49_AF25_6A15_u128.to_be_bytes());
        assert_eq!(authentication[16..], [0x6D, 0x38, 0xBA, 0xA4]);
    }

    #[test]
    fn keys_of_a_wrong_length_are_refused() {
        for suite in Suite::ALL {
            for (key, salt) in [(15, suite.salt_len()), (17, suite.salt_len()), (16, 13), (0, 0), (16, 0)] {
                let refused = Master::new(suite, &vec![1; key], &vec![2; salt]).err();
                assert_eq!(refused, Some(SrtpError::KeyLength), "{suite} {key} {salt}");
            }
        }
    }
}

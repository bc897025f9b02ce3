//! Session keys from the master key (RFC 3711 section 4.3, with a key derivation rate of zero).

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes256, Block};
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
    cipher: Prf,
    salt: Zeroizing<[u8; 14]>,
}

/// AES under the master key: of 256 bits in the suites whose keys are (RFC 6188 section 3).
enum Prf {
    Aes128(Aes128),
    Aes256(Aes256),
}

impl Prf {
    fn encrypt(&self, block: &mut Block) {
        match self {
            Self::Aes128(cipher) => cipher.encrypt_block(block),
            Self::Aes256(cipher) => cipher.encrypt_block(block),
        }
    }
}

impl Master {
    /// Takes master key and salt of the lengths that `suite` wants.
    pub(crate) fn new(suite: Suite, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        if salt.len() != suite.salt_len() || key.len() != suite.key_len() {
            return Err(SrtpError::KeyLength);
        }
        let cipher = match suite {
            Suite::AeadAes256Gcm => Aes256::new_from_slice(key).map(Prf::Aes256),
            Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 | Suite::AeadAes128Gcm => {
                Aes128::new_from_slice(key).map(Prf::Aes128)
            }
        }
        .map_err(|_| SrtpError::KeyLength)?;
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
            self.cipher.encrypt((&mut *block).into());
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

    /// RFC 6188 section 7.2 (AES-256-CM key derivation), whose salt has 112 bits.
    #[test]
    fn session_keys_of_a_256_bit_master_key_are_those_of_the_standard() {
        let key = [0xf0f0_4914_b513_f276_3a1b_1fa1_30f1_0e29_u128, 0x98f6_f6e4_3e43_09d1_e622_a0e3_32b9_f1b6]
            .map(u128::to_be_bytes)
            .concat();
        let salt = 0x3b04_803d_e51e_e7c9_6423_ab5b_78d2_u128.to_be_bytes();
        let master = Master {
            cipher: Prf::Aes256(Aes256::new_from_slice(&key).unwrap()),
            salt: Zeroizing::new(salt[2..].try_into().unwrap()),
        };
        let encryption = master.derive::<32>(Label::RtpEncryption);
        assert_eq!(encryption[..16], 0x5ba1_064e_30ec_5161_3cad_926c_5a28_ef73_u128.to_be_bytes());
        assert_eq!(encryption[16..], 0x1ec7_fb39_7f70_a960_653c_af06_554c_d8c4_u128.to_be_bytes());
        let salt = 0xfa31_7916_85ca_444a_9e07_c6c6_4e93_u128.to_be_bytes();
        assert_eq!(master.derive::<14>(Label::RtpSalt)[..], salt[2..]);
        let authentication = master.derive::<20>(Label::RtpAuthentication);
        assert_eq!(authentication[..16], 0xfd9c_32d3_9ed5_fbb5_a9dc_96b3_0818_454d_u128.to_be_bytes());
        assert_eq!(authentication[16..], [0x13, 0x13, 0xdc, 0x05]);
    }

    #[test]
    fn keys_of_a_wrong_length_are_refused() {
        for suite in Suite::ALL {
            let (right_key, right_salt) = (suite.key_len(), suite.salt_len());
            let wrong_key = [15, 17, 24, 48 - right_key].map(|key| (key, right_salt));
            for (key, salt) in wrong_key.into_iter().chain([(right_key, 13), (0, 0), (right_key, 0)]) {
                let refused = Master::new(suite, &vec![1; key], &vec![2; salt]).err();
                assert_eq!(refused, Some(SrtpError::KeyLength), "{suite} {key} {salt}");
            }
        }
    }
}

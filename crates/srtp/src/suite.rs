use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::SrtpError;
use crate::aes_cm::AesCm;
use crate::gcm::Gcm;
use crate::key_derivation::Master;

/// An SRTP protection suite, by its name in SDES (RFC 4568 section 6.2, RFC 7714 section 14.2)
/// or its number in DTLS (RFC 5764 section 4.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suite {
    /// AES counter mode with an 80-bit HMAC-SHA1 tag: the suite every implementation has.
    AesCm128HmacSha1_80,
    /// The same with a 32-bit tag on RTP; RTCP keeps 80 bits (RFC 4568 section 6.2.2).
    AesCm128HmacSha1_32,
    /// AES in Galois/counter mode with a 128-bit tag.
    AeadAes128Gcm,
    /// The same with a 256-bit key.
    AeadAes256Gcm,
}

impl Suite {
    /// Every suite, strongest first.
    pub const ALL: [Self; 4] =
        [Self::AeadAes256Gcm, Self::AeadAes128Gcm, Self::AesCm128HmacSha1_80, Self::AesCm128HmacSha1_32];

    /// The name in an `a=crypto` line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// The number of the DTLS protection profile (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
    pub const fn dtls_profile(self) -> u16 {
        match self {
            Self::AesCm128HmacSha1_80 => 0x0001,
            Self::AesCm128HmacSha1_32 => 0x0002,
            Self::AeadAes128Gcm => 0x0007,
            Self::AeadAes256Gcm => 0x0008,
        }
    }

    /// Length of the master key, in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 | Self::AeadAes128Gcm => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Length of the master salt, in bytes.
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    /// What protection adds to an RTP packet, in bytes.
    pub const fn rtp_tag_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 => 10,
            Self::AesCm128HmacSha1_32 => 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }

    /// What protection adds to an RTCP packet, in bytes: the tag and the 32-bit word of E bit and index.
    pub const fn rtcp_trailer_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 10 + 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16 + 4,
        }
    }

    /// Splits an SDES `inline:` value, decoded, into master key and master salt (RFC 4568 section 6.1).
    ///
    /// # Errors
    ///
    /// [`SrtpError::KeyLength`] if it is not exactly as long as both.
    pub fn split_keying(self, key_and_salt: &[u8]) -> Result<(&[u8], &[u8]), SrtpError> {
        match key_and_salt.split_at_checked(self.key_len()) {
            Some((key, salt)) if salt.len() == self.salt_len() => Ok((key, salt)),
            Some(_) | None => Err(SrtpError::KeyLength),
        }
    }

    /// Length of what a DTLS exporter must yield, in bytes: key and salt of both sides.
    pub const fn exported_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }

    /// Splits what the DTLS exporter yields for the label `EXTRACTOR-dtls_srtp` (RFC 5764 section 4.2): client's key,
    /// server's key, client's salt, server's salt.
    ///
    /// # Errors
    ///
    /// [`SrtpError::KeyLength`] if it is not [`exported_len`](Suite::exported_len) long.
    pub fn split_exported(self, exported: &[u8]) -> Result<ExportedKeying, SrtpError> {
        if exported.len() != self.exported_len() {
            return Err(SrtpError::KeyLength);
        }
        let (keys, salts) = exported.split_at_checked(2 * self.key_len()).ok_or(SrtpError::KeyLength)?;
        let (client_key, server_key) = keys.split_at_checked(self.key_len()).ok_or(SrtpError::KeyLength)?;
        let (client_salt, server_salt) =
            salts.split_at_checked(self.salt_len()).ok_or(SrtpError::KeyLength)?;
        Ok(ExportedKeying {
            client: Zeroizing::new([client_key, client_salt].concat()),
            server: Zeroizing::new([server_key, server_salt].concat()),
        })
    }
}

/// The keying of both sides of a DTLS association, each a key followed by its salt, as
/// [`Sender::from_keying`](crate::Sender::from_keying) takes it. Wiped when dropped.
pub struct ExportedKeying {
    /// What the DTLS client protects its packets with, and the server opens them with.
    pub client: Zeroizing<Vec<u8>>,
    /// What the DTLS server protects its packets with, and the client opens them with.
    pub server: Zeroizing<Vec<u8>>,
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The suite is not one of [`Suite::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown SRTP suite")]
pub struct UnknownSuite;

impl FromStr for Suite {
    type Err = UnknownSuite;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name)).ok_or(UnknownSuite)
    }
}

/// The longest packet taken, in bytes: what UDP can carry. Beyond 2^20 bytes the block counter would wrap.
pub(crate) const MAX_PACKET: usize = 0xffff;

/// The session keys of one direction, by kind of suite.
pub(crate) enum Cipher {
    /// Counter mode and HMAC.
    AesCm(Box<AesCm>),
    /// Authenticated encryption.
    Gcm(Box<Gcm>),
}

impl Cipher {
    pub(crate) fn new(suite: Suite, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        let master = Master::new(suite, key, salt)?;
        Ok(match suite {
            Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => {
                Self::AesCm(Box::new(AesCm::new(suite, &master)))
            }
            Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => Self::Gcm(Box::new(Gcm::new(suite, &master)?)),
        })
    }

    /// The word of E bit and index of an SRTCP packet, which stands in a different place in each suite.
    pub(crate) fn rtcp_word(&self, packet: &[u8]) -> Option<u32> {
        match self {
            Self::AesCm(_) => AesCm::rtcp_word(packet),
            Self::Gcm(_) => Gcm::rtcp_word(packet),
        }
    }
}

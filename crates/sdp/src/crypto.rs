use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use setu_model::Secret;

/// An SRTP protection profile that SDES can carry (RFC 4568 section 6.2, RFC 7714 section 14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SrtpSuite {
    /// AES-128 in counter mode, 80-bit HMAC-SHA1 tag: what Meta speaks.
    AesCm128HmacSha1_80,
    /// The same with a 32-bit tag on RTP. Weak: in no policy by default.
    AesCm128HmacSha1_32,
    /// AES-128 in Galois/Counter mode.
    AeadAes128Gcm,
    /// AES-256 in Galois/Counter mode.
    AeadAes256Gcm,
}

impl SrtpSuite {
    /// Every suite.
    pub const ALL: [Self; 4] =
        [Self::AesCm128HmacSha1_80, Self::AesCm128HmacSha1_32, Self::AeadAes128Gcm, Self::AeadAes256Gcm];

    /// The name in an `a=crypto` line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// Length of the master key in bytes.
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 | Self::AeadAes128Gcm => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Length of the master salt in bytes.
    pub const fn salt_bytes(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    /// Length of key and salt together: what an `inline:` holds.
    pub const fn inline_bytes(self) -> usize {
        self.key_bytes() + self.salt_bytes()
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name))
    }
}

/// One `a=crypto` line the bridge can use (RFC 4568 section 9.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CryptoLine {
    /// Names the line within the stream: an answer repeats it.
    pub tag: u32,
    /// The suite.
    pub suite: SrtpSuite,
    /// The master key followed by the master salt, of exactly the suite's length.
    pub key: Secret<Box<[u8]>>,
}

impl CryptoLine {
    /// Reads the value of an `a=crypto` attribute: `1 AES_CM_128_HMAC_SHA1_80 inline:...|2^31`.
    ///
    /// A lifetime is taken and not acted on: the shortest in use (2^31 packets) is a year of talk. A master key
    /// identifier, several keys, and session parameters that would change the protection are refused.
    pub fn parse(value: &str) -> Result<Self, CryptoFault> {
        let mut fields = value.split_ascii_whitespace();
        let tag = fields.next().and_then(|text| text.parse().ok()).ok_or(CryptoFault::Syntax)?;
        let suite = fields.next().ok_or(CryptoFault::Syntax)?;
        let suite = SrtpSuite::from_name(suite).ok_or(CryptoFault::UnknownSuite)?;
        let key = parse_key(fields.next().ok_or(CryptoFault::Syntax)?, suite)?;
        match fields.find(|parameter| !is_harmless(parameter)) {
            Some(_) => Err(CryptoFault::SessionParameter),
            None => Ok(Self { tag, suite, key }),
        }
    }

    /// Returns the value of the attribute, key in clear: for the wire only.
    pub(crate) fn to_value(&self) -> String {
        format!("{} {} inline:{}", self.tag, self.suite.name(), BASE64.encode(self.key.reveal()))
    }
}

/// Why an `a=crypto` line is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CryptoFault {
    /// Not of the form tag, suite, key parameters; or the key is no base 64.
    #[error("malformed")]
    Syntax,
    /// A suite the bridge does not know, or the policy does not take.
    #[error("no suite in common")]
    UnknownSuite,
    /// Key and salt have not the length the suite demands.
    #[error("key and salt of the wrong length")]
    KeyLength,
    /// A master key identifier, or several keys, which need one.
    #[error("a master key identifier (MKI) is not supported")]
    Mki,
    /// A session parameter that changes the protection, such as `UNENCRYPTED_SRTP` (RFC 4568 section 6.3).
    #[error("a session parameter changes the protection")]
    SessionParameter,
}

fn parse_key(parameters: &str, suite: SrtpSuite) -> Result<Secret<Box<[u8]>>, CryptoFault> {
    let (method, info) = parameters.split_once(':').ok_or(CryptoFault::Syntax)?;
    if !method.eq_ignore_ascii_case("inline") {
        return Err(CryptoFault::Syntax);
    }
    if info.contains(';') {
        return Err(CryptoFault::Mki);
    }
    let mut parts = info.split('|');
    let key = parts.next().ok_or(CryptoFault::Syntax)?;
    for part in parts {
        if part.contains(':') {
            return Err(CryptoFault::Mki);
        }
        if !is_lifetime(part) {
            return Err(CryptoFault::Syntax);
        }
    }
    let key = BASE64.decode(key).map_err(|_malformed| CryptoFault::Syntax)?;
    if key.len() != suite.inline_bytes() {
        return Err(CryptoFault::KeyLength);
    }
    Ok(Secret::new(key.into_boxed_slice()))
}

/// `2^31` or `1048576`.
fn is_lifetime(text: &str) -> bool {
    let digits = text.strip_prefix("2^").unwrap_or(text);
    (1..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// A window size hint or the order of FEC leaves the protection as it is; so do extensions that say they may be
/// ignored (RFC 4568 section 6.3.7).
fn is_harmless(parameter: &str) -> bool {
    let name = parameter.split_once('=').map_or(parameter, |(name, _)| name).to_ascii_uppercase();
    name == "WSH" || name == "FEC_ORDER" || name.starts_with('-')
}

/// Written with padding, as everybody does; read with or without it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

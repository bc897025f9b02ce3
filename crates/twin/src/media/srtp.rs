//! SRTP of the twins, by `rtc-srtp`, keyed by SDES (RFC 4568) or DTLS (RFC 5764).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rtc_srtp::context::Context;
use rtc_srtp::crypto::providers::RingCrypto;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;
use serde::{Deserialize, Serialize};
use setu_model::{Entropy, Secret};

/// An SRTP crypto suite, by its SDES name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Suite {
    /// RFC 4568 section 6.2.1.
    #[serde(rename = "AES_CM_128_HMAC_SHA1_80")]
    AesCm128HmacSha1_80,
    /// RFC 7714 section 14.2.
    #[serde(rename = "AEAD_AES_128_GCM")]
    AeadAes128Gcm,
    /// RFC 7714 section 14.2.
    #[serde(rename = "AEAD_AES_256_GCM")]
    AeadAes256Gcm,
}

impl Suite {
    /// The name in an `a=crypto` line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::AesCm128HmacSha1_80, Self::AeadAes128Gcm, Self::AeadAes256Gcm]
            .into_iter()
            .find(|s| s.name() == name)
    }

    const fn profile(self) -> ProtectionProfile {
        match self {
            Self::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
            Self::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
            Self::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        }
    }

    pub(crate) fn key_len(self) -> usize {
        self.profile().key_len()
    }

    pub(crate) fn salt_len(self) -> usize {
        self.profile().salt_len()
    }

    fn material(self) -> usize {
        self.key_len() + self.salt_len()
    }
}

/// One `a=crypto` line, or one direction of what a DTLS handshake exported: what its writer will send with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CryptoLine {
    pub(crate) tag: u32,
    pub(crate) suite: Suite,
    /// Master key, then master salt.
    pub(crate) material: Secret<Vec<u8>>,
}

impl CryptoLine {
    /// Makes fresh keys.
    pub(crate) fn fresh(tag: u32, suite: Suite, entropy: &mut dyn Entropy) -> Self {
        let mut material = vec![0; suite.material()];
        entropy.fill(&mut material);
        Self { tag, suite, material: Secret::new(material) }
    }

    /// Reads the value after `a=crypto:`. `None` for a suite the twins do not speak or broken keys.
    pub(crate) fn read(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next()?.parse().ok()?;
        let suite = Suite::named(words.next()?)?;
        let key = words.next()?.strip_prefix("inline:")?;
        let material = STANDARD.decode(key.split('|').next()?).ok()?;
        (material.len() == suite.material()).then(|| Self { tag, suite, material: Secret::new(material) })
    }

    /// The whole attribute line without its end.
    pub(crate) fn print(&self) -> String {
        format!(
            "a=crypto:{} {} inline:{}",
            self.tag,
            self.suite.name(),
            STANDARD.encode(self.material.reveal())
        )
    }

    fn context(&self) -> Option<Context> {
        let (key, salt) = self.material.reveal().split_at_checked(self.suite.profile().key_len())?;
        let (rtp, rtcp) = (srtp_replay_protection(REPLAY_WINDOW), srtcp_replay_protection(REPLAY_WINDOW));
        Context::new(key, salt, self.suite.profile(), Some(rtp), Some(rtcp), &RingCrypto).ok()
    }
}

/// Packets a late one may be behind and still be taken: two and a half seconds of voice.
const REPLAY_WINDOW: usize = 128;

/// Both directions of one protected stream.
pub(crate) struct Srtp {
    send: Context,
    receive: Context,
}

impl Srtp {
    pub(crate) fn new(ours: &CryptoLine, theirs: &CryptoLine) -> Option<Self> {
        Some(Self { send: ours.context()?, receive: theirs.context()? })
    }

    pub(crate) fn protect_rtp(&mut self, packet: &[u8]) -> Option<Bytes> {
        self.send.encrypt_rtp(packet).ok().map(bytes::BytesMut::freeze)
    }

    pub(crate) fn protect_rtcp(&mut self, packet: &[u8]) -> Option<Bytes> {
        self.send.encrypt_rtcp(packet).ok().map(bytes::BytesMut::freeze)
    }

    pub(crate) fn unprotect_rtp(&mut self, packet: &[u8]) -> Option<Bytes> {
        self.receive.decrypt_rtp(packet).ok().map(bytes::BytesMut::freeze)
    }

    pub(crate) fn unprotect_rtcp(&mut self, packet: &[u8]) -> Option<Bytes> {
        self.receive.decrypt_rtcp(packet).ok().map(bytes::BytesMut::freeze)
    }
}

#[cfg(test)]
mod tests {
    use setu_model::SeededEntropy;

    use super::*;

    #[test]
    fn a_crypto_line_reads_back_as_printed_and_lifetimes_are_ignored() {
        for suite in [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm, Suite::AeadAes256Gcm] {
            let line = CryptoLine::fresh(1, suite, &mut SeededEntropy::new(5));
            let text = line.print();
            let value = text.strip_prefix("a=crypto:").unwrap();
            assert_eq!(CryptoLine::read(value), Some(line.clone()));
            assert_eq!(CryptoLine::read(&format!("{value}|2^31|1:1")), Some(line));
        }
        assert_eq!(CryptoLine::read("1 AES_CM_128_HMAC_SHA1_80 inline:AAAA"), None);
    }

    #[test]
    fn a_packet_opens_with_the_right_keys_only_and_only_once() {
        let mut entropy = SeededEntropy::new(6);
        let mut line = |suite| CryptoLine::fresh(1, suite, &mut entropy);
        for suite in [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm, Suite::AeadAes256Gcm] {
            let (a, b, stranger) = (line(suite), line(suite), line(suite));
            let packet = [&[0x80, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3][..], b"hello"].concat();
            let sealed = Srtp::new(&a, &b).unwrap().protect_rtp(&packet).unwrap();
            let mut peer = Srtp::new(&b, &a).unwrap();
            assert_eq!(peer.unprotect_rtp(&sealed).as_deref(), Some(&packet[..]));
            assert_eq!(peer.unprotect_rtp(&sealed), None, "a replay");
            assert_eq!(Srtp::new(&b, &stranger).unwrap().unprotect_rtp(&sealed), None);
        }
    }
}

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use setu_model::{Secret, Wall};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::{Algorithm, Authorization, Challenge, Inputs};
use crate::message::Method;

/// Challenges clients and checks their answers. Time is wall-clock time: where it is stepped, a client answers once more.
///
/// A nonce carries its own time and a MAC, so that a stranger who asks for challenges takes no memory here. Only
/// nonces that a right password has used are kept, to see that their count grows; beyond `NONCES_KEPT` the
/// oldest is forgotten and treated as stale.
pub struct Verifier {
    key: Secret<[u8; 32]>,
    issued: u16,
    counts: BTreeMap<Serial, u32>,
    /// Nonces up to this one may have been used and forgotten.
    forgotten: Option<Serial>,
}

/// What an answer to a challenge is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The password is right and the nonce fresh.
    Accepted {
        /// The user's name, as sent.
        username: String,
    },
    /// The password is right, the nonce is too old, not ours or used before: challenge again with `stale`.
    Stale,
    /// There is no such user. To the peer the same as [`Wrong`](Self::Wrong).
    Unknown,
    /// The digest does not match, or is not of the form we asked for.
    Wrong,
}

/// Tells nonces apart, the later one greater: milliseconds since the Unix epoch, then a count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Serial {
    issued_ms: u64,
    count: u16,
}

impl Verifier {
    /// Starts with a random key. Nonces made with another key are stale.
    pub const fn new(key: Secret<[u8; 32]>) -> Self {
        Self { key, issued: 0, counts: BTreeMap::new(), forgotten: None }
    }

    /// Makes the challenges of one 401 or 407: SHA-256 first, then MD5, as RFC 8760 section 2.4 wants the preferred
    /// one first. Each goes into a header field of its own.
    pub fn challenge(&mut self, realm: &str, stale: bool, now: Wall) -> Vec<Challenge> {
        self.issued = self.issued.wrapping_add(1);
        let nonce = self.nonce(Serial { issued_ms: millis(now), count: self.issued }, realm);
        let challenge = |algorithm| Challenge {
            realm: realm.to_owned(),
            nonce: nonce.clone(),
            opaque: None,
            algorithm,
            qop: true,
            stale,
        };
        vec![challenge(Algorithm::Sha256), challenge(Algorithm::Md5)]
    }

    /// Checks `answer` to a challenge of `realm` on a request of `method`. `password` looks a user up.
    ///
    /// The digest is checked against the header's own `uri`, not against the Request-URI: Meta leaves
    /// `;transport=tls` out of it. The nonce is looked at only once the password has proven right, and takes as long
    /// for a user who does not exist.
    pub fn verify(
        &mut self,
        answer: &Authorization,
        realm: &str,
        method: &Method,
        password: impl FnOnce(&str) -> Option<Secret<String>>,
        now: Wall,
    ) -> Verdict {
        let Some((cnonce, count)) = &answer.auth else {
            return Verdict::Wrong;
        };
        if answer.realm != realm {
            return Verdict::Wrong;
        }
        let password = password(&answer.username);
        let inputs = Inputs {
            algorithm: answer.algorithm.unwrap_or(Algorithm::Md5),
            username: &answer.username,
            realm,
            nonce: &answer.nonce,
            method: method.as_str(),
            uri: &answer.uri,
            auth: Some((cnonce, *count)),
        };
        let expected = inputs.response(password.as_ref().unwrap_or(&Secret::new(String::new())));
        let matches = bool::from(expected.as_bytes().ct_eq(answer.response.to_ascii_lowercase().as_bytes()));
        match (password, matches) {
            (None, _) => Verdict::Unknown,
            (Some(_), false) => Verdict::Wrong,
            (Some(_), true) if self.use_nonce(&answer.nonce, realm, *count, now) => {
                Verdict::Accepted { username: answer.username.clone() }
            }
            (Some(_), true) => Verdict::Stale,
        }
    }

    /// Takes a nonce if it is ours, young, and this use of it has not been seen.
    fn use_nonce(&mut self, nonce: &str, realm: &str, count: u32, now: Wall) -> bool {
        let Some(serial) = Serial::read(nonce) else {
            return false;
        };
        let ours = self.nonce(serial, realm);
        let age_ms = millis(now).checked_sub(serial.issued_ms);
        if !bool::from(ours.as_bytes().ct_eq(nonce.as_bytes())) || age_ms.is_none_or(|age| age > NONCE_MS) {
            return false;
        }
        match self.counts.get_mut(&serial) {
            Some(last) if *last >= count => return false,
            Some(last) => *last = count,
            None if self.forgotten.is_some_and(|forgotten| serial <= forgotten) => return false,
            None => {
                self.counts.insert(serial, count);
            }
        }
        if self.counts.len() > NONCES_KEPT {
            self.forgotten = self.counts.pop_first().map(|(serial, _)| serial).max(self.forgotten);
        }
        true
    }

    /// Eight bytes of time and count and the MAC over them, in base64: short, as a challenge over UDP must stay
    /// shorter than the request.
    fn nonce(&self, serial: Serial, realm: &str) -> String {
        let head = serial.to_bytes();
        let mac = Hmac::<Sha256>::new_from_slice(self.key.reveal()).map(|mac| {
            let mac = mac.chain_update(head).chain_update(realm.as_bytes());
            mac.finalize().into_bytes()
        });
        // HMAC takes keys of any length; were it to fail, the empty MAC would still never match a nonce's length.
        let mac = mac.as_ref().ok().and_then(|mac| mac.get(..MAC_BYTES)).unwrap_or_default();
        BASE64.encode([&head, mac].concat())
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} nonces in use)", self.counts.len())
    }
}

impl Serial {
    /// Reads the front of a nonce; the MAC over it is checked by comparing the whole.
    fn read(nonce: &str) -> Option<Self> {
        let bytes = BASE64.decode(nonce).ok()?;
        let head = u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
        Some(Self { issued_ms: head >> 16, count: u16::try_from(head & 0xffff).ok()? })
    }

    fn to_bytes(self) -> [u8; 8] {
        (self.issued_ms << 16 | u64::from(self.count)).to_be_bytes()
    }
}

fn millis(now: Wall) -> u64 {
    u64::try_from(now.unix_ms()).unwrap_or(0)
}

/// How long a nonce is taken, in milliseconds. Long enough for a client's answer over a bad link; a later one merely
/// costs a round trip more.
const NONCE_MS: u64 = 300_000;

/// How many used nonces are remembered. A thousand calls a minute use five thousand within [`NONCE_MS`].
const NONCES_KEPT: usize = 8_192;

/// Bytes of HMAC-SHA-256 in a nonce: 80 bits cannot be guessed, and no base64 padding is needed.
const MAC_BYTES: usize = 10;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Wall = Wall::from_unix_ms(1_700_000_000_000);

    #[test]
    fn the_oldest_used_nonce_is_forgotten_and_not_taken_again() {
        let mut verifier = Verifier::new(Secret::new([7; 32]));
        let now = NOW;
        let nonces: Vec<_> =
            (0..=NONCES_KEPT).map(|_| verifier.challenge("r", false, now)[0].nonce.clone()).collect();
        let unused = verifier.challenge("r", false, now)[0].nonce.clone();
        for nonce in &nonces {
            assert!(verifier.use_nonce(nonce, "r", 1, now));
        }
        assert_eq!(verifier.counts.len(), NONCES_KEPT);
        assert!(!verifier.use_nonce(&nonces[0], "r", 2, now), "forgotten, so it may be a replay");
        assert!(verifier.use_nonce(&nonces[1], "r", 2, now));
        assert!(verifier.use_nonce(&unused, "r", 1, now));
    }

    #[test]
    fn a_nonce_is_taken_only_whole_young_and_in_its_realm() {
        let mut verifier = Verifier::new(Secret::new([7; 32]));
        let now = NOW;
        let nonce = verifier.challenge("r", false, now)[0].nonce.clone();
        for end in 0..nonce.len() {
            assert!(!verifier.use_nonce(&nonce[..end], "r", 1, now));
        }
        assert!(!verifier.use_nonce(&format!("{nonce}0"), "r", 1, now));
        assert!(!verifier.use_nonce(&nonce, "other", 1, now));
        assert!(!verifier.use_nonce(&nonce, "r", 1, now.after(Duration::from_millis(NONCE_MS + 1))));
        assert!(verifier.use_nonce(&nonce, "r", 1, now.after(Duration::from_millis(NONCE_MS))));
        let early = Wall::from_unix_ms(now.unix_ms() - 1);
        assert!(!verifier.use_nonce(&nonce, "r", 2, early), "a nonce of the future is none of ours");
        assert!(!Verifier::new(Secret::new([8; 32])).use_nonce(&nonce, "r", 3, now), "another key");
    }

    #[test]
    fn challenges_never_share_a_nonce() {
        let mut verifier = Verifier::new(Secret::new([7; 32]));
        let one = verifier.challenge("r", false, NOW);
        let two = verifier.challenge("r", true, NOW);
        assert_ne!(one[0].nonce, two[0].nonce);
        assert_eq!(one[0].nonce, one[1].nonce);
        assert!(two[0].stale && !one[0].stale);
    }
}

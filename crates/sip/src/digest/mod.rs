//! Digest authentication in both directions: RFC 7616 with MD5 and SHA-256, `qop=auth`, as SIP uses it
//! (RFC 3261 section 22, RFC 8760).

mod authorization;
mod challenge;
mod client;
mod fields;
mod verifier;

use std::fmt;

use md5::Md5;
use setu_model::Secret;
use sha2::{Digest, Sha256};

pub use authorization::Authorization;
pub use challenge::Challenge;
pub use client::{Client, Credentials};
pub use verifier::{Verdict, Verifier};

/// A hash to digest with, the stronger one greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// MD5, which every peer knows; meant where a challenge names none.
    Md5,
    /// SHA-256 (RFC 8760).
    Sha256,
}

impl Algorithm {
    /// Reads the name in any case; `None` for one we do not do.
    fn named(name: &str) -> Option<Self> {
        [Self::Md5, Self::Sha256]
            .into_iter()
            .find(|algorithm| name.eq_ignore_ascii_case(&algorithm.to_string()))
    }

    /// Hashes `parts` joined by colons, as lower-case hex.
    fn hash(self, parts: &[&str]) -> String {
        let text = parts.join(":");
        match self {
            Self::Md5 => hex(&Md5::digest(&text)),
            Self::Sha256 => hex(&Sha256::digest(&text)),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        })
    }
}

/// Why an authentication header is of no use, or a challenge cannot be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The header is no list of parameters after `Digest`.
    #[error("broken authentication header: {0}")]
    Malformed(&'static str),
    /// Another scheme than Digest.
    #[error("not a Digest")]
    OtherScheme,
    /// An algorithm other than MD5 and SHA-256, or a `qop` other than `auth`.
    #[error("an algorithm or qop we do not do")]
    Unsupported,
    /// There is no challenge we could answer.
    #[error("no challenge we can answer")]
    NoChallenge,
    /// Every challenge is of a realm the credentials are not meant for: answering would give a stranger material to
    /// guess the password from.
    #[error("a challenge of a realm that is not ours to answer")]
    OtherRealm,
}

/// What goes into a response besides the user's secret.
struct Inputs<'a> {
    algorithm: Algorithm,
    username: &'a str,
    realm: &'a str,
    nonce: &'a str,
    method: &'a str,
    uri: &'a str,
    /// `cnonce` and `nc` where `qop=auth`; `None` is the form of RFC 2069.
    auth: Option<(&'a str, u32)>,
}

impl Inputs<'_> {
    /// Computes the response (RFC 7616 section 3.4.1), as lower-case hex.
    fn response(&self, password: &Secret<String>) -> String {
        let hash = |parts: &[&str]| self.algorithm.hash(parts);
        let user = hash(&[self.username, self.realm, password.reveal()]);
        let request = hash(&[self.method, self.uri]);
        match self.auth {
            Some((cnonce, nc)) => hash(&[&user, self.nonce, &format!("{nc:08x}"), cnonce, "auth", &request]),
            None => hash(&[&user, self.nonce, &request]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles.filter_map(|nibble| char::from_digit(u32::from(nibble), 16)).collect()
}

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use super::fields::Fields;
use super::{Algorithm, DigestError};
use crate::message::Message;
use crate::scan::quote;

/// What a WWW-Authenticate or Proxy-Authenticate asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The realm: tells which credentials are asked for.
    pub realm: String,
    /// The server's nonce.
    pub nonce: String,
    /// To be returned as it is.
    pub opaque: Option<String>,
    /// The hash to use; MD5 where none was named.
    pub algorithm: Algorithm,
    /// `qop=auth` is offered. Without it the answer takes the form of RFC 2069.
    pub qop: bool,
    /// The digest was right, only the nonce too old: try again with the same password.
    pub stale: bool,
}

impl Challenge {
    /// Returns the challenges of a 401 or 407 that we could answer, in order; others are left out.
    pub fn of(response: &Message) -> Vec<Self> {
        let name = match response.status() {
            Some(401) => "WWW-Authenticate",
            Some(407) => "Proxy-Authenticate",
            Some(_) | None => return Vec::new(),
        };
        response.header_all(name).filter_map(|value| value.parse().ok()).take(MOST).collect()
    }
}

impl Challenge {
    /// Prints it in the fewest bytes: no spaces, and MD5 unnamed.
    pub(crate) fn terse(&self) -> String {
        let Self { realm, nonce, .. } = self;
        let mut text = format!("Digest realm={},nonce={}", quote(realm), quote(nonce));
        if let Some(opaque) = &self.opaque {
            text += &format!(",opaque={}", quote(opaque));
        }
        if self.algorithm != Algorithm::Md5 {
            text += &format!(",algorithm={}", self.algorithm);
        }
        text += if self.qop { ",qop=\"auth\"" } else { "" };
        text += if self.stale { ",stale=true" } else { "" };
        text
    }
}

impl FromStr for Challenge {
    type Err = DigestError;

    fn from_str(value: &str) -> Result<Self, DigestError> {
        let mut fields = Fields::read(value)?;
        let algorithm = match fields.take("algorithm") {
            Some(name) => Algorithm::named(&name).ok_or(DigestError::Unsupported)?,
            None => Algorithm::Md5,
        };
        let qop = match fields.take("qop") {
            Some(offers) if offers.split(',').any(|offer| offer.trim().eq_ignore_ascii_case("auth")) => true,
            Some(_) => return Err(DigestError::Unsupported),
            None => false,
        };
        Ok(Self {
            realm: fields.require("realm")?,
            nonce: fields.require("nonce")?,
            opaque: fields.take("opaque"),
            algorithm,
            qop,
            stale: fields.take("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest realm={}, nonce={}", quote(&self.realm), quote(&self.nonce))?;
        if let Some(opaque) = &self.opaque {
            write!(f, ", opaque={}", quote(opaque))?;
        }
        write!(f, ", algorithm={}", self.algorithm)?;
        if self.qop {
            f.write_str(", qop=\"auth\"")?;
        }
        if self.stale {
            f.write_str(", stale=true")?;
        }
        Ok(())
    }
}

/// The most challenges of one response that are looked at. A server sends one for each algorithm.
const MOST: usize = 8;

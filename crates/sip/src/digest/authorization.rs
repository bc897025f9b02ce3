use std::fmt;
use std::str::FromStr;

use super::fields::Fields;
use super::{Algorithm, DigestError};
use crate::message::Message;
use crate::scan::quote;

/// What an Authorization or Proxy-Authorization says.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization {
    /// Who the sender says it is.
    pub username: String,
    /// The realm of the challenge answered.
    pub realm: String,
    /// The nonce of the challenge answered.
    pub nonce: String,
    /// The URI that was digested. Meta's lacks parameters that its Request-URI has.
    pub uri: String,
    /// The digest, in hex.
    pub response: String,
    /// The hash; `None` where the header names none, which means MD5.
    pub algorithm: Option<Algorithm>,
    /// The server's opaque, returned.
    pub opaque: Option<String>,
    /// The client's nonce and the count of uses of the server's, with `qop=auth`; `None` is the form of RFC 2069.
    pub auth: Option<(String, u32)>,
}

impl Authorization {
    /// Returns the first header of this name (`Authorization` or `Proxy-Authorization`) for `realm` that can be read.
    /// A request may carry several, each for a realm of its own.
    pub fn of(request: &Message, name: &str, realm: &str) -> Option<Self> {
        let mut all = request.header_all(name).filter_map(|value| value.parse::<Self>().ok()).take(MOST);
        all.find(|authorization| authorization.realm == realm)
    }
}

impl FromStr for Authorization {
    type Err = DigestError;

    fn from_str(value: &str) -> Result<Self, DigestError> {
        let mut fields = Fields::read(value)?;
        let algorithm = fields.take("algorithm");
        let algorithm =
            algorithm.map(|name| Algorithm::named(&name).ok_or(DigestError::Unsupported)).transpose()?;
        let auth = match fields.take("qop") {
            Some(qop) if qop.eq_ignore_ascii_case("auth") => {
                Some((fields.require("cnonce")?, read_count(&fields.require("nc")?)?))
            }
            Some(_) => return Err(DigestError::Unsupported),
            None => None,
        };
        Ok(Self {
            username: fields.require("username")?,
            realm: fields.require("realm")?,
            nonce: fields.require("nonce")?,
            uri: fields.require("uri")?,
            response: read_response(fields.require("response")?)?,
            algorithm,
            opaque: fields.take("opaque"),
            auth,
        })
    }
}

/// Takes a digest: hexadecimal digits, at most the 64 of SHA-256. Anything else could not be printed as it came.
fn read_response(text: String) -> Result<String, DigestError> {
    let is_hex = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex { Ok(text) } else { Err(DigestError::Malformed("response")) }
}

/// Reads a nonce count: eight hexadecimal digits, at least 1.
fn read_count(text: &str) -> Result<u32, DigestError> {
    let is_hex = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let count = is_hex.then(|| u32::from_str_radix(text, 16).ok()).flatten().filter(|&count| count > 0);
    count.ok_or(DigestError::Malformed("nc"))
}

impl fmt::Display for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { username, realm, nonce, uri, response, .. } = self;
        let [username, realm, nonce, uri] = [username, realm, nonce, uri].map(|text| quote(text));
        write!(
            f,
            "Digest username={username}, realm={realm}, nonce={nonce}, uri={uri}, response=\"{response}\""
        )?;
        if let Some(algorithm) = self.algorithm {
            write!(f, ", algorithm={algorithm}")?;
        }
        if let Some(opaque) = &self.opaque {
            write!(f, ", opaque={}", quote(opaque))?;
        }
        if let Some((cnonce, count)) = &self.auth {
            write!(f, ", qop=auth, cnonce={}, nc={count:08x}", quote(cnonce))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The user and the digest do not belong into a log.
        write!(f, "Authorization(realm {:?})", self.realm)
    }
}

/// The most headers of one request that are looked at.
const MOST: usize = 8;

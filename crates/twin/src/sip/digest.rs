//! Digest authentication computed by hand (RFC 7616, RFC 8760), with `qop=auth`.

use md5::Md5;
use serde::{Deserialize, Serialize};
use setu_model::Entropy;
use sha2::{Digest as _, Sha256};

/// A digest algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Algorithm {
    /// RFC 2617's.
    #[serde(rename = "MD5")]
    Md5,
    /// RFC 8760's.
    #[serde(rename = "SHA-256")]
    Sha256,
}

impl Algorithm {
    /// The token in a header.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    fn hash(self, text: &str) -> String {
        match self {
            Self::Md5 => hex(&Md5::digest(text.as_bytes())),
            Self::Sha256 => hex(&Sha256::digest(text.as_bytes())),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The parameters of a `Digest` challenge or answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads `Digest a=b, c="d"`; `None` for another scheme.
    pub(crate) fn read(value: &str) -> Option<Self> {
        let (scheme, rest) = value.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let mut quoted = false;
        let parts = rest.split(|c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        });
        let fields = parts.filter_map(|part| {
            let (key, value) = part.split_once('=')?;
            Some((key.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned()))
        });
        Some(Self(fields.collect()))
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// MD5 where none is named; `None` for one the twins do not speak.
    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        match self.field("algorithm") {
            None => Some(Algorithm::Md5),
            Some(token) => [Algorithm::Md5, Algorithm::Sha256]
                .into_iter()
                .find(|a| a.token().eq_ignore_ascii_case(token)),
        }
    }
}

/// How to answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer<'a> {
    pub(crate) username: &'a str,
    pub(crate) password: &'a str,
    pub(crate) method: &'a str,
    pub(crate) uri: &'a str,
    /// Whether to name the algorithm.
    pub(crate) names_algorithm: bool,
}

/// Answers the first of `challenges` whose algorithm is in `speaks`; returns the header's value.
pub(crate) fn answer(
    challenges: &[String],
    speaks: &[Algorithm],
    answer: &Answer<'_>,
    entropy: &mut dyn Entropy,
) -> Option<String> {
    let known = challenges.iter().filter_map(|c| Fields::read(c));
    let (challenge, algorithm) = known
        .filter_map(|c| Some((c.algorithm()?, c)))
        .map(|(a, c)| (c, a))
        .find(|(_, a)| speaks.contains(a))?;
    let (realm, nonce) = (challenge.field("realm")?, challenge.field("nonce")?);
    let qop = challenge.field("qop").is_some_and(|q| q.split(',').any(|q| q.trim() == "auth"));
    let Answer { username, password, method, uri, names_algorithm } = answer;
    let ha1 = algorithm.hash(&format!("{username}:{realm}:{password}"));
    let ha2 = algorithm.hash(&format!("{method}:{uri}"));
    let cnonce = entropy.hex(8);
    let response = if qop {
        algorithm.hash(&format!("{ha1}:{nonce}:00000001:{cnonce}:auth:{ha2}"))
    } else {
        algorithm.hash(&format!("{ha1}:{nonce}:{ha2}"))
    };
    let mut value = format!(
        "Digest username=\"{username}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\""
    );
    if *names_algorithm {
        value.push_str(&format!(", algorithm={}", algorithm.token()));
    }
    if qop {
        value.push_str(&format!(", cnonce=\"{cnonce}\", qop=auth, nc=00000001"));
    }
    if let Some(opaque) = challenge.field("opaque") {
        value.push_str(&format!(", opaque=\"{opaque}\""));
    }
    Some(value)
}

/// Whether the answer in `value` is right for `password`, judged by the header's own uri.
pub(crate) fn verify(value: &str, password: &str, method: &str) -> bool {
    let Some(fields) = Fields::read(value) else { return false };
    let field = |name| fields.field(name).unwrap_or_default();
    let Some(algorithm) = fields.algorithm() else { return false };
    let ha1 = algorithm.hash(&format!("{}:{}:{password}", field("username"), field("realm")));
    let ha2 = algorithm.hash(&format!("{method}:{}", field("uri")));
    let nonce = field("nonce");
    let expected = match fields.field("qop") {
        Some("auth") => {
            algorithm.hash(&format!("{ha1}:{nonce}:{}:{}:auth:{ha2}", field("nc"), field("cnonce")))
        }
        Some(_) => return false,
        None => algorithm.hash(&format!("{ha1}:{nonce}:{ha2}")),
    };
    expected == field("response")
}

#[cfg(test)]
mod tests {
    use setu_model::SeededEntropy;

    use super::*;

    #[test]
    fn rfc_2617s_own_example_verifies() {
        let value = "Digest username=\"Mufasa\", realm=\"testrealm@host.com\", \
            nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", uri=\"/dir/index.html\", qop=auth, nc=00000001, \
            cnonce=\"0a4f113b\", response=\"6629fae49393a05397450978507c4ef1\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
        assert!(verify(value, "Circle Of Life", "GET"));
        assert!(!verify(value, "Circle of Life", "GET"));
    }

    #[test]
    fn rfc_7616s_sha_256_example_verifies() {
        let value = "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", \
            algorithm=SHA-256, nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
            cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, \
            response=\"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1\", \
            opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";
        assert!(verify(value, "Circle of Life", "GET"));
    }

    #[test]
    fn the_first_challenge_of_a_spoken_algorithm_is_answered() {
        let challenges: Vec<String> = ["SHA-512-256", "SHA-256", "MD5"]
            .map(|a| format!("Digest realm=\"r\", nonce=\"n\", qop=\"auth\", algorithm={a}"))
            .into();
        let how =
            Answer { username: "u", password: "p", method: "INVITE", uri: "sip:x", names_algorithm: true };
        let mut entropy = SeededEntropy::new(1);
        let mut with = |speaks: &[Algorithm]| answer(&challenges, speaks, &how, &mut entropy);
        let both = with(&[Algorithm::Md5, Algorithm::Sha256]).unwrap();
        assert!(both.contains("algorithm=SHA-256") && verify(&both, "p", "INVITE"));
        assert!(with(&[Algorithm::Md5]).unwrap().contains("algorithm=MD5"));
        assert_eq!(with(&[]), None);
    }
}

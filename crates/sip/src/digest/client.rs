use std::collections::VecDeque;

use setu_model::{Entropy, Secret};

use super::{Algorithm, Authorization, Challenge, DigestError, Inputs};
use crate::message::{Message, Method};

/// A user's name and password, and for which realm they are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The one realm that may ask; `None` answers any. Name one wherever the peer is known.
    pub realm: Option<String>,
    /// The user's name.
    pub username: String,
    /// The password.
    pub password: Secret<String>,
}

impl Credentials {
    /// Returns the credentials of a business number with Meta, whose user name is the number without its `+`.
    pub fn of_number(realm: &str, number: &str, password: Secret<String>) -> Self {
        let username = number.strip_prefix('+').unwrap_or(number).to_owned();
        Self { realm: Some(realm.to_owned()), username, password }
    }
}

/// Answers challenges, and counts how often each nonce was used.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// Nonces answered and the count of each, the latest last.
    counts: VecDeque<(String, u32)>,
}

impl Client {
    /// Starts with no nonce used.
    pub const fn new() -> Self {
        Self { counts: VecDeque::new() }
    }

    /// Answers the strongest challenge of a 401 or 407 for the request of this method and Request-URI: returns the
    /// name of the header to add, and its value.
    ///
    /// Whether to try again after a second refusal is the caller's to decide: only if [`Challenge::stale`].
    ///
    /// # Errors
    ///
    /// [`DigestError::NoChallenge`] or [`DigestError::OtherRealm`].
    pub fn answer(
        &mut self,
        refusal: &Message,
        credentials: &Credentials,
        method: &Method,
        uri: &str,
        entropy: &mut dyn Entropy,
    ) -> Result<(&'static str, Authorization), DigestError> {
        let name = if refusal.status() == Some(401) { "Authorization" } else { "Proxy-Authorization" };
        let challenges = Challenge::of(refusal);
        Ok((name, self.answer_strongest(&challenges, credentials, method, uri, entropy)?))
    }

    /// Answers the strongest of `challenges` that is of the credentials' realm; of equally strong ones the first.
    ///
    /// # Errors
    ///
    /// [`DigestError::NoChallenge`] or [`DigestError::OtherRealm`].
    pub fn answer_strongest(
        &mut self,
        challenges: &[Challenge],
        credentials: &Credentials,
        method: &Method,
        uri: &str,
        entropy: &mut dyn Entropy,
    ) -> Result<Authorization, DigestError> {
        let ours = challenges
            .iter()
            .filter(|challenge| credentials.realm.as_ref().is_none_or(|realm| *realm == challenge.realm));
        let challenge = ours
            .rev()
            .max_by_key(|challenge| challenge.algorithm)
            .ok_or(if challenges.is_empty() { DigestError::NoChallenge } else { DigestError::OtherRealm })?;
        let auth = challenge.qop.then(|| (entropy.hex(CNONCE_BYTES), self.count(&challenge.nonce)));
        let inputs = Inputs {
            algorithm: challenge.algorithm,
            username: &credentials.username,
            realm: &challenge.realm,
            nonce: &challenge.nonce,
            method: method.as_str(),
            uri,
            auth: auth.as_ref().map(|(cnonce, count)| (cnonce.as_str(), *count)),
        };
        let response = inputs.response(&credentials.password);
        // RFC 2069 knew no algorithm; a server that offers no qop may stumble over its name.
        let algorithm =
            (challenge.qop || challenge.algorithm != Algorithm::Md5).then_some(challenge.algorithm);
        Ok(Authorization {
            username: credentials.username.clone(),
            realm: challenge.realm.clone(),
            nonce: challenge.nonce.clone(),
            uri: uri.to_owned(),
            response,
            algorithm,
            opaque: challenge.opaque.clone(),
            auth,
        })
    }

    /// Counts one more use of `nonce`.
    fn count(&mut self, nonce: &str) -> u32 {
        if let Some((_, count)) = self.counts.iter_mut().find(|(known, _)| known == nonce) {
            *count = count.saturating_add(1);
            return *count;
        }
        if self.counts.len() == NONCES_KEPT {
            self.counts.pop_front();
        }
        self.counts.push_back((nonce.to_owned(), 1));
        1
    }
}

/// How many nonces a client counts. A server replaces its nonce now and then; only the last matters.
const NONCES_KEPT: usize = 8;

/// Random bytes in a cnonce.
const CNONCE_BYTES: usize = 16;

use std::collections::BTreeMap;

use setu_model::Side;

use super::Answer;
use crate::digest::{Challenge, Client, Credentials};
use crate::flow::Transport;
use crate::message::Method;
use crate::transaction::Layer;

/// Answers the challenges of the called peer, and of nobody else.
///
/// A digest sent to the wrong one is a password to guess at leisure. So a challenge is answered only if the call was
/// given credentials, the challenge came from where the request went, over TLS toward Meta, and names the realm the
/// credentials are for (or, where they name none, the first realm that challenged this call's INVITE).
#[derive(Debug)]
pub(super) struct Auth {
    credentials: Option<Credentials>,
    client: Client,
    answered: BTreeMap<String, Attempts>,
    header: Option<(Method, &'static str, String)>,
}

/// What was answered to one realm for one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Attempts {
    fresh: u8,
    stale: u8,
}

impl Auth {
    pub(super) const fn new(credentials: Option<Credentials>) -> Self {
        Self { credentials, client: Client::new(), answered: BTreeMap::new(), header: None }
    }

    /// Answers nothing: the peer called us.
    pub(super) const fn none() -> Self {
        Self::new(None)
    }

    /// The call is over: no challenge is answered any more. What a late branch of the INVITE is acknowledged with stays.
    pub(super) fn forget(&mut self) {
        let header = self.header.take();
        *self = Self { header, ..Self::none() };
    }

    /// The header that answers the last challenge of a request of `method`.
    pub(super) fn header_of(&self, method: Method) -> Option<(&'static str, String)> {
        let (of, name, value) = self.header.as_ref()?;
        (*of == method).then(|| (*name, value.clone()))
    }

    /// Answers a 401 or 407 to a request of `method` and `uri`. False if it is not to be answered.
    ///
    /// Each realm is answered once for each method, and again where it calls our nonce stale, which proves that the
    /// password was right; that too only a few times.
    pub(super) fn take_challenge(
        &mut self,
        layer: &mut Layer,
        answer: &Answer,
        method: &Method,
        uri: &str,
        side: Side,
    ) -> bool {
        let taken = self.try_challenge(layer, answer, method, uri, side).is_some();
        if !taken {
            layer.counters.challenges_ignored += 1;
        }
        taken
    }

    fn try_challenge(
        &mut self,
        layer: &mut Layer,
        answer: &Answer,
        method: &Method,
        uri: &str,
        side: Side,
    ) -> Option<()> {
        let credentials = self.credentials.as_mut()?;
        let safe = side == Side::Agents || answer.arrival.transport == Transport::Tls;
        if !answer.trusted || !safe {
            return None;
        }
        let header = self.client.answer(&answer.message, credentials, method, uri, layer.entropy.as_mut());
        let (name, authorization) = header.ok()?;
        let realm = authorization.realm.clone();
        let stale = Challenge::of(&answer.message)
            .iter()
            .any(|challenge| challenge.realm == realm && challenge.stale);
        let attempts = self.answered.entry(format!("{method} {realm}")).or_default();
        let count = if stale { &mut attempts.stale } else { &mut attempts.fresh };
        if *count >= if stale { STALE_MOST } else { FRESH_MOST } {
            return None;
        }
        *count += 1;
        credentials.realm = Some(realm);
        self.header = Some((method.clone(), name, authorization.to_string()));
        Some(())
    }
}

/// How often one realm may ask for the password of one request.
const FRESH_MOST: u8 = 1;

/// How often one realm may call our nonce stale. Three in a row is a peer that plays for time.
const STALE_MOST: u8 = 3;

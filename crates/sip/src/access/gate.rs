use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use setu_model::{Entropy, Secret, Side, Wall};

use super::bucket::Buckets;
use super::{Access, Identity, TrunkAccess};
use crate::digest::{Algorithm, Authorization, Challenge, Verdict, Verifier};
use crate::endpoint::Limits;
use crate::flow::Arrival;
use crate::message::{Message, Method};

/// Decides who a peer is, by what it proves and never by what it says.
pub(crate) struct Gate {
    numbers: BTreeMap<String, (String, Secret<String>)>,
    meta_networks: Vec<IpNet>,
    accounts: BTreeMap<String, Secret<String>>,
    trunks: Vec<TrunkAccess>,
    verifier: Verifier,
    buckets: Buckets,
}

/// What the credentials of a request are worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proof {
    /// They are right.
    Accepted(Identity),
    /// There are none for our realm.
    Missing,
    /// They were right once: the nonce is too old.
    Stale,
    /// They are wrong.
    Wrong,
}

impl Gate {
    pub(crate) fn new(access: Access, limits: &Limits, entropy: &mut dyn Entropy) -> Self {
        let mut key = [0; 32];
        entropy.fill(&mut key);
        let mut gate = Self {
            numbers: BTreeMap::new(),
            meta_networks: Vec::new(),
            accounts: BTreeMap::new(),
            trunks: Vec::new(),
            verifier: Verifier::new(Secret::new(key)),
            buckets: Buckets::new(limits.stranger_burst, limits.stranger_per_second, limits.stranger_sources),
        };
        gate.reload(access);
        gate
    }

    /// Replaces who is known. Nonces and buckets stay.
    pub(crate) fn reload(&mut self, access: Access) {
        let digits = |number: &str| number.trim_start_matches('+').to_owned();
        self.numbers =
            access.numbers.into_iter().map(|n| (digits(&n.number), (n.number, n.password))).collect();
        self.meta_networks = access.meta_networks;
        self.accounts = access.accounts.into_iter().map(|account| (account.name, account.password)).collect();
        self.trunks = access.trunks;
    }

    pub(crate) fn trunks(&self) -> &[TrunkAccess] {
        &self.trunks
    }

    pub(crate) fn has_account(&self, name: &str) -> bool {
        self.accounts.contains_key(name)
    }

    /// The trunk at the source of a message.
    pub(crate) fn trunk_of(&self, arrival: &Arrival) -> Option<&str> {
        let source = arrival.remote.ip().to_canonical();
        let trunk = self.trunks.iter().find(|trunk| {
            (trunk.transports.is_empty() || trunk.transports.contains(&arrival.transport))
                && trunk.networks.iter().any(|network| network.contains(&source))
        });
        trunk.filter(|_| arrival.side == Side::Agents).map(|trunk| trunk.name.as_str())
    }

    /// Whether Meta may call from this address at all.
    pub(crate) fn takes_meta(&self, source: IpAddr) -> bool {
        self.meta_networks.is_empty() || self.is_meta_network(source)
    }

    /// Whether the configuration says that this address is Meta's.
    pub(crate) fn is_meta_network(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.meta_networks.iter().any(|network| network.contains(&source))
    }

    /// Takes a token of a source that has proven nothing. False if it asks too often.
    pub(crate) fn admit(&mut self, source: IpAddr, now: Instant) -> bool {
        self.buckets.take(source, now)
    }

    /// A peer proved who it is: it gets back the tokens of this request and of the challenge before it.
    pub(crate) fn pay_back(&mut self, source: IpAddr) {
        self.buckets.refund(source, 2);
    }

    pub(crate) fn strangers(&self) -> usize {
        self.buckets.len()
    }

    /// The challenges of one 401 or 407: SHA-256 first, then MD5.
    pub(crate) fn challenge(&mut self, realm: &str, stale: bool, now: Wall) -> Vec<Challenge> {
        self.verifier.challenge(realm, stale, now)
    }

    /// Checks the credentials of a request. Either header is taken, as peers mix them up.
    pub(crate) fn check(
        &mut self,
        request: &Message,
        side: Side,
        realm: &str,
        taken: &[Algorithm],
        now: Wall,
    ) -> Proof {
        let Some(method) = request.method() else { return Proof::Missing };
        let answer = ["Proxy-Authorization", "Authorization"]
            .into_iter()
            .find_map(|name| Authorization::of(request, name, realm));
        let Some(answer) = answer else { return Proof::Missing };
        if !taken.contains(&answer.algorithm.unwrap_or(Algorithm::Md5)) {
            return Proof::Wrong;
        }
        self.verify(&answer, side, realm, &method, now)
    }

    fn verify(
        &mut self,
        answer: &Authorization,
        side: Side,
        realm: &str,
        method: &Method,
        now: Wall,
    ) -> Proof {
        let Self { numbers, accounts, verifier, .. } = self;
        let password = |user: &str| match side {
            // Meta's samples drop the `+`; it is not known whether all of Meta does.
            Side::Meta => numbers.get(user.trim_start_matches('+')).map(|(_, password)| password.clone()),
            Side::Agents => accounts.get(user).cloned(),
        };
        match verifier.verify(answer, realm, method, password, now) {
            Verdict::Accepted { username } => match side {
                Side::Meta => match numbers.get(username.trim_start_matches('+')) {
                    Some((number, _)) => Proof::Accepted(Identity::Meta { number: number.clone() }),
                    None => Proof::Wrong,
                },
                Side::Agents => Proof::Accepted(Identity::Account(username)),
            },
            Verdict::Stale => Proof::Stale,
            Verdict::Unknown | Verdict::Wrong => Proof::Wrong,
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Gate({} numbers, {} accounts, {} trunks)",
            self.numbers.len(),
            self.accounts.len(),
            self.trunks.len()
        )
    }
}

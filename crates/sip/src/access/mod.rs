//! Who may do what: networks, credentials, the method table and the token buckets of strangers.

mod bucket;
mod gate;

use std::time::Duration;

use ipnet::IpNet;
use setu_model::{Secret, Side};

use crate::flow::{Hop, Transport};
use crate::message::Method;

pub(crate) use gate::{Gate, Proof};

/// Everybody the endpoint knows. Whoever is not in here is a stranger.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Business numbers: Meta's calls prove themselves with the password of the number they call.
    pub numbers: Vec<NumberAccess>,
    /// Networks Meta may call from, as an extra lock; empty lets any source try its digest.
    pub meta_networks: Vec<IpNet>,
    /// Accounts of softphones, proven by digest.
    pub accounts: Vec<AccountAccess>,
    /// PBXs, known by their source address and transport.
    pub trunks: Vec<TrunkAccess>,
}

/// One business number with Meta.
#[derive(Debug, Clone)]
pub struct NumberAccess {
    /// E.164 with `+`.
    pub number: String,
    /// The password Meta keeps for the number and our server; its digest user name is the number without `+`.
    pub password: Secret<String>,
}

/// One account of a softphone.
#[derive(Debug, Clone)]
pub struct AccountAccess {
    /// The user name, in the address-of-record and in the digest.
    pub name: String,
    /// The password.
    pub password: Secret<String>,
}

/// One PBX.
#[derive(Debug, Clone)]
pub struct TrunkAccess {
    /// The trunk's name in the configuration.
    pub name: String,
    /// Where its requests come from.
    pub networks: Vec<IpNet>,
    /// Over which transports; empty allows all.
    pub transports: Vec<Transport>,
    /// Whether it is asked for OPTIONS from time to time.
    pub probe: Option<Probe>,
}

/// OPTIONS to a trunk, to know whether it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Where they go.
    pub hop: Hop,
    /// The time from one to the next.
    pub every: Duration,
}

/// Who a peer proved to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// Meta, with the password of this business number.
    Meta {
        /// E.164 with `+`.
        number: String,
    },
    /// A softphone, with the password of this account.
    Account(String),
    /// A PBX at an address of this trunk.
    Trunk(String),
}

/// What stands in our Allow. Whatever is not in here is refused: each method that is let in was thought about.
///
/// Toward Meta it is what Meta's own Allow has, less NOTIFY.
pub(crate) const fn allowed(side: Side) -> &'static str {
    match side {
        Side::Meta => "INVITE, ACK, BYE, CANCEL, OPTIONS",
        Side::Agents => "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO, REGISTER",
    }
}

/// Whether a request of this method may stand outside a dialog.
pub(crate) const fn begins(side: Side, method: &Method) -> bool {
    match method {
        Method::Invite | Method::Options => true,
        Method::Register => matches!(side, Side::Agents),
        Method::Ack
        | Method::Bye
        | Method::Cancel
        | Method::Update
        | Method::Prack
        | Method::Info
        | Method::Refer
        | Method::Message
        | Method::Subscribe
        | Method::Notify
        | Method::Publish
        | Method::Other(_) => false,
    }
}

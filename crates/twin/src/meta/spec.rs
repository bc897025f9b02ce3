use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::quirks::Quirks;
use super::refusal::Refusal;
use crate::person::Person;

/// One call, as the edge counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TwinCallId(pub u64);

impl fmt::Display for TwinCallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {}", self.0)
    }
}

/// The edge as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdgeConfig {
    /// The domain the edge answers for.
    pub domain: String,
    /// The address it listens and sends media at.
    pub ip: IpAddr,
    /// The other address of its relay, for the IPv6 candidate; none if null. A host without IPv6 describes it all
    /// the same: nobody answers there then.
    pub ip6: Option<Ipv6Addr>,
    /// The TLS port.
    pub sip_port: u16,
    /// The relay's UDP ports. Meta has five, shared by all calls: a call is known by the bridge's address.
    pub media_ports: Vec<u16>,
    /// The business numbers with SIP enabled.
    pub numbers: Vec<BusinessNumber>,
    /// Peculiarities of every call that does not bring its own.
    pub quirks: Quirks,
    /// How WhatsApp users take calls of the business, by number (with `+`) or user id.
    pub users: BTreeMap<String, Answering>,
    /// How every other user takes them.
    pub anyone: Answering,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        Self {
            domain: "wa.meta.vc".to_owned(),
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip6: Some(Ipv6Addr::LOCALHOST),
            sip_port: 5_061,
            media_ports: vec![3_480, 3_478, 3_482, 3_484, 40_012],
            numbers: Vec::new(),
            quirks: Quirks::default(),
            users: BTreeMap::new(),
            anyone: Answering::default(),
        }
    }
}

/// One business number and where its calls go, as `POST /settings` configured it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusinessNumber {
    /// E.164 with `+`.
    pub number: String,
    /// The bridge's host name: its certificate must cover it, and the From domain must be it or a parent.
    pub hostname: String,
    /// The bridge's TLS port.
    #[serde(default = "default_port")]
    pub port: u16,
    /// `sip_user_password`.
    pub password: String,
    /// `request_uri_user_params`, in order.
    #[serde(default)]
    pub user_params: Vec<(String, String)>,
    /// `srtp_key_exchange_protocol`; Meta's default is DTLS.
    #[serde(default)]
    pub key_exchange: KeyExchange,
}

impl BusinessNumber {
    /// A number that is keyed by SDES, without parameters.
    pub fn with_sdes(number: &str, hostname: &str, port: u16, password: &str) -> Self {
        Self {
            number: number.to_owned(),
            hostname: hostname.to_owned(),
            port,
            password: password.to_owned(),
            user_params: Vec::new(),
            key_exchange: KeyExchange::Sdes,
        }
    }
}

/// `srtp_key_exchange_protocol`: how a number's media is keyed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum KeyExchange {
    /// ICE and DTLS-SRTP (RFC 8445, RFC 5764).
    #[default]
    Dtls,
    /// Keys in the description (RFC 4568), no ICE.
    Sdes,
}

const fn default_port() -> u16 {
    5_061
}

/// A call a WhatsApp user makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallSpec {
    /// The user: E.164 with `+`, or a business-scoped user id.
    pub user: String,
    /// The display name; the digits of the number if null.
    pub name: Option<String>,
    /// The business number, one of [`EdgeConfig::numbers`].
    pub number: String,
    /// The call's id; made up if null.
    pub wacid: Option<String>,
    /// The business-scoped user id of the user headers.
    pub user_id: Option<String>,
    /// The user's country of the user headers.
    pub country: Option<String>,
    /// The payload of the call button.
    pub cta_payload: Option<String>,
    /// The payload of the deep link.
    pub deeplink_payload: Option<String>,
    /// The user gives up this long after the INVITE, in milliseconds, if nobody answered.
    pub cancel_after_ms: Option<u64>,
    /// What the user does once answered.
    pub person: Person,
    /// Peculiarities of this call; the edge's if null.
    pub quirks: Option<Quirks>,
}

impl Default for CallSpec {
    fn default() -> Self {
        Self {
            user: "+12195550714".to_owned(),
            name: None,
            number: String::new(),
            wacid: None,
            user_id: None,
            country: None,
            cta_payload: None,
            deeplink_payload: None,
            cancel_after_ms: None,
            person: Person::default(),
            quirks: None,
        }
    }
}

impl CallSpec {
    /// A call of the user `user` to the business number `number`.
    pub fn new(user: impl Into<String>, number: impl Into<String>) -> Self {
        Self { user: user.into(), number: number.into(), ..Self::default() }
    }

    /// Replaces what the user does once answered.
    #[must_use]
    pub fn by(mut self, person: Person) -> Self {
        self.person = person;
        self
    }

    /// Replaces the peculiarities of this call.
    #[must_use]
    pub fn with(mut self, quirks: Quirks) -> Self {
        self.quirks = Some(quirks);
        self
    }
}

/// How a WhatsApp user takes a call of the business.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answering {
    /// Whether and when they answer.
    pub answer: Answer,
    /// What they do once they answered.
    pub person: Person,
    /// Peculiarities of this call; the edge's if null.
    pub quirks: Option<Quirks>,
}

/// Whether and when a call of the business is answered. Times are in milliseconds after its INVITE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The user answers.
    After(u64),
    /// The user declines: 486.
    DeclineAfter(u64),
    /// The user lets it ring: 480 when the window closes.
    Never,
    /// Meta refuses.
    Refuse(Refusal),
}

impl Default for Answer {
    fn default() -> Self {
        Self::After(500)
    }
}

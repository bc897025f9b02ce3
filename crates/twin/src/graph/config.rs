use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::permissions::PermissionRules;
use crate::meta::{Answering, Quirks};
use crate::person::Person;

/// Meta's Graph side as a whole.
#[derive(Debug, Clone)]
pub struct GraphConfig {
    /// The name it answers for.
    pub host: String,
    /// The address it listens and sends media at.
    pub ip: IpAddr,
    /// The HTTPS port.
    pub https_port: u16,
    /// The relay's UDP ports.
    pub media_ports: Vec<u16>,
    /// The business numbers.
    pub numbers: Vec<GraphNumber>,
    /// The id of the business account.
    pub account: String,
    /// Where webhooks go, in clear: the proxy that does TLS is left out.
    pub webhooks: SocketAddr,
    /// The app's secret, which signs them.
    pub secret: String,
    /// How the relay and its descriptions are.
    pub quirks: Quirks,
    /// What Graph does that it need not.
    pub habits: GraphHabits,
    /// How WhatsApp users take calls of the business.
    pub anyone: Answering,
}

impl Default for GraphConfig {
    fn default() -> Self {
        Self {
            host: "graph.facebook.com".to_owned(),
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            https_port: 443,
            media_ports: vec![3_478, 3_480, 3_482, 3_484, 40_012],
            numbers: Vec::new(),
            account: "102290129340398".to_owned(),
            webhooks: SocketAddr::from((Ipv4Addr::LOCALHOST, 9_061)),
            secret: String::new(),
            quirks: Quirks::default(),
            habits: GraphHabits::default(),
            anyone: Answering::default(),
        }
    }
}

/// One business number.
#[derive(Debug, Clone)]
pub struct GraphNumber {
    /// E.164 with `+`.
    pub number: String,
    /// Meta's id of it.
    pub id: String,
    /// The token its requests must bear.
    pub token: String,
}

/// What Graph does that it need not, in each of its calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphHabits {
    /// How often each webhook is delivered.
    pub deliveries: u32,
    /// After how long a webhook is delivered again that was not acknowledged, in milliseconds.
    pub redeliver_ms: u64,
    /// The end of a user's call that is over at once is told before its beginning.
    pub ends_first: bool,
    /// The older `connection` stands beside `session`.
    pub legacy_connection: bool,
    /// How long the reply to a request takes, in milliseconds.
    pub reply_ms: u64,
    /// Requests of this word are answered with a server's error: `accept`.
    pub fails: Option<String>,
    /// Requests of this word are refused with this code.
    pub refuses: Option<(String, i64)>,
    /// From a `connect` of the business to the webhook with our answer, in milliseconds. Meta's is about 1,000.
    pub answer_ms: u64,
    /// Whether users permit calls of the business from the start; 138006 if not.
    pub permitted: bool,
    /// How users reply to a permission request, and after how many milliseconds; none does not.
    pub replies: Option<(UserReply, u64)>,
    /// Meta's bounds.
    pub rules: PermissionRules,
    /// A code with which each `connect` is refused: 138013 (country), 138014 (restricted), 131044 (no payment).
    pub forbids: Option<i64>,
    /// How long a user lets a call ring, or waits for the business, in milliseconds.
    pub ring_window_ms: u64,
    /// How long nothing may be heard after the answer, in milliseconds.
    pub start_timer_ms: u64,
}

impl Default for GraphHabits {
    fn default() -> Self {
        Self {
            deliveries: 1,
            redeliver_ms: 1_000,
            ends_first: false,
            legacy_connection: false,
            reply_ms: 0,
            fails: None,
            refuses: None,
            answer_ms: 100,
            permitted: true,
            replies: None,
            rules: PermissionRules::LIVE,
            forbids: None,
            ring_window_ms: 45_000,
            start_timer_ms: 20_000,
        }
    }
}

/// How a user replies to a permission request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserReply {
    /// Yes, for seven days.
    Temporary,
    /// Yes, until further notice.
    Permanent,
    /// No.
    Reject,
}

/// One call of a WhatsApp user.
#[derive(Debug, Clone)]
pub struct GraphCallSpec {
    /// The user: E.164 with `+`.
    pub user: String,
    /// The profile name.
    pub name: String,
    /// The business number, one of [`GraphConfig::numbers`].
    pub number: String,
    /// The payload of the call button.
    pub cta_payload: Option<String>,
    /// The user gives up this long after the beginning, in milliseconds, if nobody answered.
    pub gives_up_after_ms: Option<u64>,
    /// What the user does once answered.
    pub person: Person,
}

impl GraphCallSpec {
    /// A call of the user `user` to the business number `number`.
    pub fn new(user: &str, number: &str) -> Self {
        Self {
            user: user.to_owned(),
            name: "Asha".to_owned(),
            number: number.to_owned(),
            cta_payload: None,
            gives_up_after_ms: None,
            person: Person::default(),
        }
    }

    /// Replaces what the user does once answered.
    #[must_use]
    pub fn by(mut self, person: Person) -> Self {
        self.person = person;
        self
    }
}

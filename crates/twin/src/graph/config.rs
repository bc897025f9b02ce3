use std::collections::BTreeMap;
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
    /// Tokens of more apps, which may ask about every number, and the apps' ids.
    pub apps: BTreeMap<String, String>,
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
            apps: BTreeMap::new(),
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
    /// After how long each webhook is delivered once more although it was acknowledged, in milliseconds.
    pub stale_ms: Option<u64>,
    /// Webhooks that wait at the same time go out as entries of one.
    pub batches: bool,
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
    /// A code with which each `connect` is refused: such as 138013 (country).
    pub forbids: Option<i64>,
    /// The business has no way to pay: users' calls are not told, an error is, and its own are refused (131044).
    pub unpaid: bool,
    /// Whether calling is enabled from the start.
    pub calling: bool,
    /// Writing `sip` sets the exchange of keys back to DTLS.
    pub resets_srtp: bool,
    /// How many customers the business may write to a day: calling needs 2,000 (138015).
    pub messaging_limit: u32,
    /// Whether the app is subscribed to `calls`: calling needs that or SIP (138018).
    pub subscribed: bool,
    /// `can_receive_call_sip`: `AVAILABLE`, `LIMITED` or `BLOCKED`.
    pub sip_health: String,
    /// `quality_rating`: `GREEN`, `YELLOW` or `RED`.
    pub quality_rating: String,
    /// How long a user lets a call ring, or waits for the business, in milliseconds.
    pub ring_window_ms: u64,
    /// How long nothing may be heard after the answer, in milliseconds.
    pub start_timer_ms: u64,
}

impl Default for GraphHabits {
    fn default() -> Self {
        Self {
            deliveries: 1,
            stale_ms: None,
            batches: false,
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
            unpaid: false,
            calling: true,
            resets_srtp: false,
            messaging_limit: 100_000,
            subscribed: true,
            sip_health: "AVAILABLE".to_owned(),
            quality_rating: "GREEN".to_owned(),
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

use std::time::Duration;

use setu_model::Side;

use crate::access::Access;
use crate::digest::Algorithm;
use crate::flow::Transport;
use crate::timers::Timers;

/// What an [`Endpoint`](super::Endpoint) must know before its first message.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// The product token of `User-Agent` and `Server`, sent to known peers only.
    pub user_agent: String,
    /// The public face, toward Meta.
    pub meta: SideConfig,
    /// The private face, toward PBXs and softphones.
    pub agents: SideConfig,
    /// Who may call and register. Replaceable at run time with [`Endpoint::reload_access`](super::Endpoint::reload_access).
    pub access: Access,
    /// The base timers; the RFC's unless a closed network wants others.
    pub timers: Timers,
    /// What the endpoint bounds.
    pub limits: Limits,
}

impl EndpointConfig {
    /// The settings of one face.
    pub const fn side(&self, side: Side) -> &SideConfig {
        match side {
            Side::Meta => &self.meta,
            Side::Agents => &self.agents,
        }
    }
}

/// One face of the bridge, as its peers see it.
#[derive(Debug, Clone)]
pub struct SideConfig {
    /// The host of our Via, Contact and From: a name, or an IP address (IPv6 without brackets).
    pub host: String,
    /// The advertised port of UDP, if the side listens there.
    pub udp: Option<u16>,
    /// The advertised port of TCP, if the side listens there.
    pub tcp: Option<u16>,
    /// The advertised port of TLS, if the side listens there.
    pub tls: Option<u16>,
    /// The advertised port of WebSocket in clear, if the side listens there.
    pub ws: Option<u16>,
    /// The advertised port of WebSocket under TLS, if the side listens there.
    pub wss: Option<u16>,
    /// The realm of our digest challenges.
    pub realm: String,
    /// The hashes our challenges offer and our answers are taken in. Some phones give up at the sight of one they do
    /// not know, whatever else is offered.
    pub digest: Vec<Algorithm>,
}

impl SideConfig {
    /// The advertised port of `transport`, or its default where the side does not listen on it.
    pub fn port(&self, transport: Transport) -> u16 {
        match transport {
            Transport::Udp => self.udp,
            Transport::Tcp => self.tcp,
            Transport::Tls => self.tls,
            Transport::Ws => self.ws,
            Transport::Wss => self.wss,
        }
        .unwrap_or(transport.default_port())
    }

    /// The host as it stands in a URI or Via: IPv6 in brackets.
    pub fn uri_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

/// Every bound of the endpoint, each with its reason. What a bound drops is counted in [`Counters`](super::Counters).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The most transactions at one time; above it, new requests get 503 with Retry-After. 10,000 calls in setup
    /// hold about four each. Requests within dialogs have as much room again.
    pub transactions: usize,
    /// The most sessions at one time; above it, new INVITEs get 503 with Retry-After.
    pub sessions: usize,
    /// The most early dialogs of one INVITE: a forking proxy rings a desk, not a town.
    pub forks: usize,
    /// Requests without accepted credentials that one source address may send in a burst.
    pub stranger_burst: u32,
    /// Requests without accepted credentials that one source address may send each second.
    pub stranger_per_second: u32,
    /// The most source addresses whose rate is remembered; above it, an unknown address is served from one
    /// shared bucket.
    pub stranger_sources: usize,
    /// The most streams of which it is remembered that somebody proved who it is; above it, the oldest is forgotten,
    /// and proves itself with its next request.
    pub proven_streams: usize,
    /// The most contacts of one account.
    pub contacts: usize,
    /// Seconds of Retry-After in a 503.
    pub retry_after_s: u32,
    /// The longest an INVITE may stay without a final response after its first provisional one (Timer C, more than
    /// 3 minutes).
    pub ringing: Duration,
    /// The session interval we offer and accept at most (RFC 4028 section 4), in seconds.
    pub session_expires_s: u32,
    /// The shortest session interval we accept (`Min-SE`), in seconds; RFC 4028 section 5 allows no less than 90.
    pub min_session_expires_s: u32,
    /// The registration interval granted where none is asked for, in seconds.
    pub register_default_s: u32,
    /// The shortest registration interval; a shorter one gets 423. In seconds.
    pub register_min_s: u32,
    /// The longest registration interval granted, in seconds.
    pub register_max_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            transactions: 40_000,
            sessions: 10_000,
            forks: 16,
            stranger_burst: 40,
            stranger_per_second: 10,
            stranger_sources: 16_384,
            proven_streams: 65_536,
            contacts: 8,
            retry_after_s: 10,
            ringing: Duration::from_secs(200),
            session_expires_s: 1_800,
            min_session_expires_s: 90,
            register_default_s: 300,
            register_min_s: 30,
            register_max_s: 3_600,
        }
    }
}

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::io::Transport;
use crate::media::{Codec, Setup, Suite};
use crate::person::Person;
use crate::sip::digest::Algorithm;
use crate::sip::sdp::MediaDirection;

/// One call of an agent twin, as it counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PhoneCallId(pub u64);

impl fmt::Display for PhoneCallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {}", self.0)
    }
}

/// Who an agent twin is and where its bridge is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PhoneConfig {
    /// The account's name: the user part of its address and the digest user name.
    pub account: String,
    /// The digest password.
    pub password: String,
    /// The domain of the account's address.
    pub domain: String,
    /// The bridge: a host name, or with UDP an IP address.
    pub bridge_host: String,
    /// The bridge's SIP port on the agents' side.
    pub bridge_port: u16,
    /// How SIP travels.
    pub transport: Transport,
    /// The address it sends and receives at.
    pub ip: IpAddr,
    /// Its SIP port: bound with UDP, listened at where `listens`; 0 where it does neither.
    pub sip_port: u16,
    /// Its media ports, one a call.
    pub media_ports: Vec<u16>,
    /// Whether it accepts connections (a PBX with TCP or TLS). A registered phone is reached over its own.
    pub listens: bool,
    /// Whether it registers, and for how many seconds. A trunk does not.
    pub register_s: Option<u32>,
    /// Algorithms of challenges it answers, any order of the challenges being the server's choice.
    pub answers_algorithms: Vec<Algorithm>,
    /// What it does in calls that do not bring their own habits.
    pub habits: Habits,
}

impl PhoneConfig {
    /// A softphone that registers over `transport`.
    pub fn softphone(account: &str, password: &str, domain: &str, transport: Transport) -> Self {
        Self {
            account: account.to_owned(),
            password: password.to_owned(),
            domain: domain.to_owned(),
            bridge_host: domain.to_owned(),
            transport,
            ..Self::default()
        }
    }

    /// A PBX that does not register, accepts calls from the bridge, and speaks plain G.711 and Opus.
    pub fn trunk(name: &str, domain: &str, transport: Transport) -> Self {
        Self {
            account: name.to_owned(),
            domain: domain.to_owned(),
            bridge_host: domain.to_owned(),
            transport,
            listens: transport != Transport::Udp,
            register_s: None,
            ..Self::default()
        }
    }
}

impl PhoneConfig {
    /// A provider's edge, which a `call.connect` names: it takes the bridge's call over TLS, and speaks Opus under SDES
    /// as Meta does. Its certificate must be one for `host`.
    pub fn provider_edge(host: &str) -> Self {
        let codecs = vec![Codec::Opus];
        let srtp = vec![Suite::AesCm128HmacSha1_80];
        let habits = Habits { codecs, srtp, opus_pt: 111, events: vec![(126, 8_000)], ..Habits::default() };
        Self { habits, ..Self::trunk("edge", host, Transport::Tls) }
    }
}

impl Default for PhoneConfig {
    fn default() -> Self {
        Self {
            account: "agent".to_owned(),
            password: String::new(),
            domain: "localhost".to_owned(),
            bridge_host: "127.0.0.1".to_owned(),
            bridge_port: 5_060,
            transport: Transport::Udp,
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            sip_port: 5_070,
            media_ports: (0..8).map(|n| 16_384 + 2 * n).collect(),
            listens: false,
            register_s: Some(300),
            answers_algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            habits: Habits::default(),
        }
    }
}

/// How an agent twin behaves in a call: one field for each thing phones and PBXs do differently.
///
/// Times are in milliseconds after the answer unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Habits {
    // -- Media
    /// Audio formats, in order of preference.
    pub codecs: Vec<Codec>,
    /// SDES suites, in order of preference; none is plain RTP.
    pub srtp: Vec<Suite>,
    /// DTLS-SRTP, which takes precedence over `srtp`; null is none.
    pub dtls: Option<Dtls>,
    /// The length of its packets, and of those it asks for: 10, 20, 40 or 60.
    pub ptime_ms: u32,
    /// The payload type it offers Opus with.
    pub opus_pt: u8,
    /// Payload types and clocks of telephone events it offers; none: it takes no DTMF by RTP.
    pub events: Vec<(u8, u32)>,
    /// Offer, and accept, RTCP on the RTP port.
    pub rtcp_mux: bool,
    /// Interval of RTCP reports in milliseconds; 0 sends none.
    pub rtcp_interval_ms: u64,
    /// Starts a new source (SSRC, sequence and time stamp) in mid-call, as a PBX that puts on music does.
    pub new_source_after_ms: Option<u64>,

    // -- Being called
    /// How ringing is told.
    pub ringing: PhoneRinging,
    /// Whether and when it answers.
    pub answer: PhoneAnswer,

    // -- In the call
    /// What the agent says and does.
    pub person: Person,
    /// Puts the call on hold.
    pub hold: Option<Hold>,
    /// Sends an UPDATE with an unchanged description.
    pub update_after_ms: Option<u64>,
    /// Sends a REFER.
    pub refer: Option<Refer>,
    /// Sends DTMF as INFO (`application/dtmf-relay`) instead of RFC 4733.
    pub dtmf_by_info: bool,
    /// The session timer it asks for.
    pub session_timer: Option<SessionTimer>,
    /// Never acknowledges a 200: the bridge must give the call up.
    pub never_acks: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            codecs: vec![Codec::Opus, Codec::Pcmu, Codec::Pcma],
            srtp: Vec::new(),
            dtls: None,
            ptime_ms: 20,
            opus_pt: 96,
            events: vec![(101, 8_000)],
            rtcp_mux: true,
            rtcp_interval_ms: 5_000,
            new_source_after_ms: None,
            ringing: PhoneRinging::Ringing,
            answer: PhoneAnswer::AfterMs(500),
            person: Person::saying(880),
            hold: None,
            update_after_ms: None,
            refer: None,
            dtmf_by_info: false,
            session_timer: None,
            never_acks: false,
        }
    }
}

/// How an agent twin keys its media by DTLS (RFC 5764). It offers `actpass`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dtls {
    /// Full ICE, as browsers have it; off, the address of the description is taken (baresip, Asterisk).
    pub ice: bool,
    /// What it answers to `actpass`.
    pub answers: Setup,
}

impl Default for Dtls {
    fn default() -> Self {
        Self { ice: true, answers: Setup::Active }
    }
}

/// How a called phone tells that it rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhoneRinging {
    /// Only 100.
    Nothing,
    /// 180.
    Ringing,
    /// 183 without a description.
    Progress,
    /// 183 with a description, and a ringing tone of 425 Hz as early media.
    EarlyMedia,
}

/// Whether and when a phone answers. Times are in milliseconds after the INVITE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhoneAnswer {
    /// It answers.
    AfterMs(u64),
    /// It refuses.
    Refuse {
        /// When; 0 is at once.
        after_ms: u64,
        /// 486 busy, 603 decline, 480, 404, 503 and so on.
        status: u16,
    },
    /// It rings until the bridge gives up.
    Never,
}

/// A hold by re-INVITE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// When it begins.
    pub after_ms: u64,
    /// How long it lasts; to the end if null.
    pub for_ms: Option<u64>,
    /// `sendonly` (music on hold goes on) or `inactive`.
    pub direction: MediaDirection,
}

/// A transfer request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refer {
    /// When it is sent.
    pub after_ms: u64,
    /// The URI of `Refer-To`.
    pub to: String,
}

/// RFC 4028.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTimer {
    /// `Session-Expires`, in seconds. The RFC's least is 90; a test may ask for less.
    pub expires_s: u32,
    /// Who refreshes.
    pub refresher: Refresher,
    /// Refreshes are UPDATEs instead of re-INVITEs.
    pub by_update: bool,
}

/// Who refreshes a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refresher {
    /// The twin.
    Us,
    /// The bridge; without a refresh in time the twin hangs up.
    Peer,
}

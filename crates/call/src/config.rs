//! What the operator decides about calls, as plain values; read from the configuration file by the shell.

use std::collections::BTreeMap;
use std::time::Duration;

use setu_model::{CallFacts, EgressPolicy, Ingress};
use setu_sdp::{AudioCodec, Fingerprint};

use crate::ports::{PortUse, RingOrder};

/// Everything the call core is configured with.
#[derive(Debug, Clone, Default)]
pub struct CallConfig {
    /// The business numbers, by E.164 with `+`.
    pub numbers: BTreeMap<String, NumberConfig>,
    /// The agents, by account name.
    pub agents: BTreeMap<String, AgentConfig>,
    /// The trunks, by name.
    pub trunks: BTreeMap<String, TrunkConfig>,
    /// What calls are for, by name.
    pub use_cases: BTreeMap<String, UseCase>,
    /// How dialled numbers become E.164.
    pub dial_plan: DialPlan,
    /// The business number for agents and trunks that name none, E.164 with `+`.
    pub default_number: Option<String>,
    /// Where media may be sent.
    pub egress: EgressPolicy,
    /// How long things may take.
    pub timers: Timers,
    /// How much there may be.
    pub limits: CallLimits,
    /// Whether an agent's early media is passed to Meta as 183 with SDP. Meta needs none: the WhatsApp user hears
    /// ringing before the bridge knows of the call.
    pub early_media_to_meta: bool,
    /// Whether records say that a key was pressed without saying which.
    pub mask_digits: bool,
    /// The hash of the certificate that DTLS peers are shown; without one their handshakes fail.
    pub dtls: Option<Fingerprint>,
}

/// One business number.
#[derive(Debug, Clone)]
pub struct NumberConfig {
    /// Where its user-initiated calls go.
    pub route: NumberRoute,
    /// Whether its calls are recorded, in both directions.
    pub record: bool,
    /// When its user-initiated calls are answered.
    pub answers: Answers,
    /// Whether customers hear an announcement before they talk to the agent, such as that the call is recorded.
    pub announces: bool,
    /// Whether calls to its customers ask the gate.
    pub gated: bool,
    /// Who rings first in calls that the bridge is asked to place.
    pub ring: RingOrder,
    /// How keys are exchanged in calls to its customers, as configured with Meta. Calls from them come as Meta offers.
    pub srtp: MetaSrtp,
    /// How the customer's leg of calls to its customers comes about, for the record.
    pub signalled: Ingress,
}

/// How keys are exchanged with Meta (`srtp_key_exchange_protocol`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MetaSrtp {
    /// In the descriptions: the quicker way.
    #[default]
    Sdes,
    /// By a DTLS handshake, over ICE: what Meta does if nothing is configured.
    Dtls,
}

impl NumberConfig {
    /// A number whose calls are answered with the agent, without an announcement.
    pub const fn new(route: NumberRoute, record: bool) -> Self {
        let answers = Answers::WithTheAgent;
        let (announces, gated, ring) = (false, false, RingOrder::AgentFirst);
        let (srtp, signalled) = (MetaSrtp::Sdes, Ingress::Sip);
        Self { route, record, answers, announces, gated, ring, srtp, signalled }
    }
}

/// When a user-initiated call is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Answers {
    /// When an agent answers.
    #[default]
    WithTheAgent,
    /// At once: the customer waits with [`Sound::Waiting`](crate::Sound::Waiting). Meta's patience with a call that
    /// rings ends after 30 to 60 s; this call can wait longer.
    AtOnce,
}

/// Where user-initiated calls of a number go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NumberRoute {
    /// To the first of these agents who is free, then to the next one who is.
    Agents(Vec<String>),
    /// To an extension behind a trunk.
    Trunk {
        /// The trunk.
        trunk: PrivateTrunk,
        /// What to dial there.
        extension: Extension,
    },
}

/// The name of a trunk that the operator declared to lead to no public telephone network. A WhatsApp leg goes to no other:
/// whoever has one of these was told so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateTrunk(String);

impl PrivateTrunk {
    /// The operator says that the trunk of this name leads to no public telephone network (`pstn = false`).
    pub fn declared(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// What to dial on a trunk: configured, so that nothing a caller sends can choose it, and no telephone number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension(String);

impl Extension {
    /// An extension as the configuration names it; none for nothing, and for what is a telephone number.
    pub fn configured(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let long = text.len() >= SHORTEST_NUMBER && text.bytes().all(|digit| digit.is_ascii_digit());
        let number = long || text.starts_with('+') || text.starts_with("00");
        (!text.is_empty() && !number).then_some(Self(text))
    }

    /// What is dialled.
    pub fn dialled(&self) -> &str {
        &self.0
    }
}

/// So many digits are a telephone number; plans of extensions are shorter.
const SHORTEST_NUMBER: usize = 10;

/// What calls are for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UseCase {
    /// Its name for people.
    pub label: String,
    /// Payloads of buttons and links that begin a call of it; `*` at the end of one stands for any rest.
    pub triggers: Vec<String>,
    /// The queue where a PBX lets it wait.
    pub queue: Option<String>,
    /// What the agent must know.
    pub skill: Option<String>,
    /// How urgent it is; the lower, the more.
    pub priority: Option<u8>,
    /// Where the agent finds what to say.
    pub script: Option<String>,
}

impl UseCase {
    /// How well a payload fits, in characters of the trigger that fits best; none if none does.
    fn fit(&self, payload: &str) -> Option<usize> {
        let fits = |trigger: &&String| match trigger.strip_suffix('*') {
            Some(beginning) => payload.starts_with(beginning),
            None => payload == **trigger,
        };
        self.triggers.iter().filter(fits).map(String::len).max()
    }
}

impl CallConfig {
    /// What a call with these payloads is for: the use case with the longest trigger that fits.
    pub(crate) fn use_case_of(&self, facts: &CallFacts) -> Option<&String> {
        let payloads = [&facts.cta_payload, &facts.deeplink_payload];
        let fit = |use_case: &UseCase| payloads.into_iter().flatten().filter_map(|it| use_case.fit(it)).max();
        let fitting = self.use_cases.iter().filter_map(|(name, use_case)| Some((fit(use_case)?, name)));
        fitting.max().map(|(_, name)| name)
    }
}

/// One agent.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// The business number the agent calls from; none takes [`CallConfig::default_number`].
    pub number: Option<String>,
    /// Encryption toward the agent's phones.
    pub srtp: Srtp,
    /// Codecs toward the agent's phones in order of preference; empty takes all, Opus first.
    pub codecs: Vec<AudioCodec>,
    /// How the agent's phones tell of keys.
    pub keys: Keys,
    /// What the agent's calls to customers are for.
    pub use_case: Option<String>,
    /// How many calls the agent may be given at once.
    pub calls_at_once: u8,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            number: None,
            srtp: Srtp::BySignalling,
            codecs: Vec::new(),
            keys: Keys::Events,
            use_case: None,
            calls_at_once: 1,
        }
    }
}

/// One trunk.
#[derive(Debug, Clone, Default)]
pub struct TrunkConfig {
    /// The business number the trunk calls from; none takes [`CallConfig::default_number`].
    pub number: Option<String>,
    /// Whether people dial the calls it makes, rather than a dialler.
    pub by_hand: bool,
    /// Encryption toward the PBX.
    pub srtp: Srtp,
    /// Codecs toward the PBX in order of preference; empty takes all, Opus first.
    pub codecs: Vec<AudioCodec>,
    /// How the PBX tells of keys.
    pub keys: Keys,
    /// What its calls to customers are for.
    pub use_case: Option<String>,
    /// Whether its signalling is encrypted, for [`Srtp::BySignalling`].
    pub secure: bool,
    /// Whether its legs may share ports: where the PBX sends from where it signals, and from another port in each
    /// call.
    pub port: PortUse,
}

/// How a peer of the agents' side tells of keys, and is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keys {
    /// By telephone events in the media (RFC 4733). One that agrees on none may tell by INFO.
    #[default]
    Events,
    /// By SIP INFO only: telephone events are not offered to it.
    Info,
}

/// Whether and how a leg's media is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Srtp {
    /// Never: a closed network.
    Off,
    /// As the peer offers; our own offers let it choose where its kind of peer can.
    Optional,
    /// Always, with keys in the descriptions (SDES, RFC 4568).
    Required,
    /// Always, with keys from a DTLS handshake (RFC 5764), over ICE with peers that do it: what browsers speak.
    Dtls,
    /// When we offer: required if the signalling is encrypted, off otherwise. When we answer: as offered.
    #[default]
    BySignalling,
}

/// How dialled numbers become E.164.
#[derive(Debug, Clone, Default)]
pub struct DialPlan {
    /// Prefixes taken away, the first that fits, before anything else: an outside-line digit, a tech prefix.
    pub strip: Vec<String>,
    /// Country calling code (digits) for numbers dialled with a single leading 0; none refuses those.
    pub country_code: Option<String>,
}

/// How long things may take.
#[derive(Debug, Clone)]
pub struct Timers {
    /// From the call's arrival until an agent must have answered, over all agents tried. Below the 60 s after which
    /// Meta gives up itself.
    pub ring: Duration,
    /// How long one agent rings before the next one is tried; the last one rings until [`Timers::ring`].
    pub ring_agent: Duration,
    /// How long a customer may ring. Meta answers 480 by itself; this guards against its silence.
    pub ring_customer: Duration,
    /// How long the gate may take to answer.
    pub gate: Duration,
    /// How long the media plane may take to open ports.
    pub open: Duration,
    /// How long an originator may take to be told our answer ahead, before the called side is dialled all the same.
    pub describe: Duration,
    /// How long after our 200 its ACK may take where it carries the answer. Above 64 times T1 of RFC 3261.
    pub ack: Duration,
    /// The longest call.
    pub longest: Duration,
    /// How long an announcement may take, should its end not be told.
    pub announcement: Duration,
    /// How long the ends of legs, media and recording are waited for before the record is written without them.
    /// Above 64 times T1 (32 s), within which every SIP transaction ends.
    pub confirm: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            ring: Duration::from_secs(45),
            ring_agent: Duration::from_secs(20),
            ring_customer: Duration::from_secs(90),
            gate: Duration::from_secs(3),
            open: Duration::from_secs(5),
            describe: Duration::from_secs(1),
            ack: Duration::from_secs(33),
            announcement: Duration::from_secs(65),
            longest: Duration::from_secs(setu_model::limits::CALL_HOURS * 3_600),
            confirm: Duration::from_secs(37),
        }
    }
}

/// How much there may be.
#[derive(Debug, Clone)]
pub struct CallLimits {
    /// Calls at once in this shard. Meta allows 1,000 per number.
    pub calls: usize,
    /// Seconds in the Retry-After header of calls refused while full or draining.
    pub retry_after_s: u32,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self { calls: 1_000, retry_after_s: 5 }
    }
}

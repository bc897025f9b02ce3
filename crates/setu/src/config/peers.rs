//! Whom the bridge knows: numbers, accounts, trunks.

use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

use super::{Dialect, DialledBy, GateUse, PasswordSource, Plan, Provider, Provisioning, Ring, Signalling};

/// One business number: its credentials with Meta, and where its calls go.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Number {
    /// E.164 with `+`.
    pub number: String,
    /// How its calls are signalled, as configured with Meta.
    #[serde(default)]
    pub signalling: Signalling,
    /// Where the SIP password that Meta issued for it is found. Needed with SIP.
    pub password: Option<PasswordSource>,
    /// The business it belongs to, by name.
    pub business: Option<String>,
    /// What its settings at Meta should be, beside what follows from the other lines.
    #[serde(default)]
    pub provision: Provisioning,
    /// Where the access token of its Graph requests is found, if not with its business. Needed with
    /// Graph, and for permission requests.
    pub token: Option<PasswordSource>,
    /// Agents to ring at once, by account name. Either this or `trunk`.
    #[serde(default)]
    pub agents: Vec<String>,
    /// The trunk to dial. Needs `extension`.
    pub trunk: Option<String>,
    /// The extension to dial on the trunk: configured, never taken from the call.
    pub extension: Option<String>,
    /// Whether users' calls are answered at once; they hear `media.waiting` until an agent answers.
    #[serde(default)]
    pub answer_at_once: bool,
    /// Who rings first in calls that the REST interface asks for.
    #[serde(default)]
    pub ring: Ring,
    /// What every customer hears before talking to the agent: an Ogg Opus file as `media.music_on_hold`, at most 60 s.
    pub announcement: Option<PathBuf>,
    /// How keys are exchanged in calls to customers, as configured with Meta for the number. Calls from customers come
    /// as Meta offers them.
    #[serde(default)]
    pub srtp: MetaSrtp,
    /// Meta's id of the number: webhooks name it by this, and not always by the number itself.
    pub phone_number_id: Option<String>,
    /// The provider by whom its customers are asked for permission, and who then calls back.
    pub provider: Option<Provider>,
    /// Whose rules hold for calls from it.
    #[serde(default)]
    pub dialect: Dialect,
    /// Whether calls from it are refused that break the rules: for lack of permission, outside the hours, and so on.
    #[serde(default)]
    pub gate: GateUse,
    /// The country the number is of (ISO 3166-1, two letters), where its code is that of several: Meta has no
    /// business-initiated calls from some.
    pub country: Option<String>,
    /// The use cases it may be called from for, by name; absent, every one.
    pub use_cases: Option<Vec<String>>,
    /// Whose fee holds for its calls.
    #[serde(default)]
    pub plan: Plan,
}

/// How keys are exchanged with Meta (its `srtp_key_exchange_protocol`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetaSrtp {
    /// SDES with SIP, DTLS with Graph.
    #[default]
    Auto,
    /// SDES: nothing to wait for after the answer.
    Sdes,
    /// DTLS and ICE: Meta's default.
    Dtls,
}

/// Whether SRTP is used on a private leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SrtpUse {
    /// SRTP where the signalling is encrypted (TLS), plain RTP where it is not; incoming calls as offered.
    #[default]
    Auto,
    /// Plain RTP.
    Off,
    /// SRTP keyed by SDES; calls without it are refused.
    Sdes,
    /// SRTP keyed by DTLS, over ICE where the peer does it (browsers do); calls without it are refused.
    Dtls,
    /// SRTP where the phone offers or accepts it.
    Optional,
}

/// An audio codec that a private leg may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Opus, passed through.
    Opus,
    /// G.711 mu-law, transcoded.
    Pcmu,
    /// G.711 A-law, transcoded.
    Pcma,
    /// G.722, wideband, transcoded.
    G722,
}

/// How a private leg tells of keys, and is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DtmfBy {
    /// Telephone events in the media (RFC 4733).
    #[default]
    Rfc4733,
    /// SIP INFO (`application/dtmf-relay`; `application/dtmf` is understood too).
    Info,
}

/// Whether records say which keys were pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DtmfRecord {
    /// They do.
    #[default]
    Shown,
    /// They say that, when and for how long a key was pressed, but not which.
    Masked,
}

/// One agent's account.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The name: SIP user and digest username.
    pub name: String,
    /// Where the password is found.
    pub password: PasswordSource,
    /// The business number this agent calls customers from; none forbids calling out.
    pub number: Option<String>,
    /// Whether the phone's media is encrypted.
    #[serde(default)]
    pub srtp: SrtpUse,
    /// Codecs in order of preference.
    #[serde(default = "default_codecs")]
    pub codecs: Vec<Codec>,
    /// How the phone tells of keys.
    #[serde(default)]
    pub dtmf: DtmfBy,
    /// What this agent's calls to customers are for, by the use case's name.
    pub use_case: Option<String>,
}

/// How a trunk is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrunkTransport {
    /// UDP.
    #[default]
    Udp,
    /// TCP.
    Tcp,
    /// TLS; the trunk's certificate must cover its `host`.
    Tls,
}

/// One PBX.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trunk {
    /// The name.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// Port; by DNS or the transport's default if absent.
    pub port: Option<u16>,
    /// Transport.
    #[serde(default)]
    pub transport: TrunkTransport,
    /// Networks from which the PBX's calls are taken; empty forbids calls from it.
    #[serde(default)]
    pub networks: Vec<IpNet>,
    /// The business number its calls to customers are made from; none forbids them.
    pub number: Option<String>,
    /// Who dials the calls it makes: what only a person may try again is refused to a dialler.
    #[serde(default)]
    pub dialled_by: DialledBy,
    /// Whether its media is encrypted.
    #[serde(default)]
    pub srtp: SrtpUse,
    /// Codecs in order of preference.
    #[serde(default = "default_codecs")]
    pub codecs: Vec<Codec>,
    /// How the PBX tells of keys.
    #[serde(default)]
    pub dtmf: DtmfBy,
    /// Whether calls with it share a few media ports: only where its media comes from where its descriptions say, and
    /// from another port in each call.
    #[serde(default)]
    pub share_ports: bool,
    /// Seconds between OPTIONS probes; 0 for none.
    #[serde(default = "default_probe_s")]
    pub probe_s: u64,
    /// Whether it leads to the public telephone network. Must be said to be `false` where WhatsApp calls go there.
    pub pstn: Option<bool>,
    /// What its calls to customers are for, by the use case's name.
    pub use_case: Option<String>,
}

/// How numbers that agents and PBXs dial become E.164.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DialPlan {
    /// Prefixes taken away, the first that fits: an outside-line digit, a tech prefix.
    pub strip: Vec<String>,
    /// Country calling code for numbers dialled with a single leading 0; none refuses those.
    pub country_code: Option<String>,
}

impl Number {
    pub(super) fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let of_provider = self.provider.iter_mut().map(|provider| &mut provider.token);
        let sources = self.password.iter_mut().chain(&mut self.token).chain(of_provider);
        self.announcement.iter_mut().chain(sources.filter_map(PasswordSource::file_mut))
    }
}

fn default_codecs() -> Vec<Codec> {
    vec![Codec::Opus, Codec::Pcmu, Codec::Pcma]
}

const fn default_probe_s() -> u64 {
    30
}

//! The configuration file: what it may say, its defaults, and what is refused with which remedy.

mod calling;
mod error;
mod events;
mod fixed;
mod gate;
mod graph;
mod guards;
mod provision;
mod ringing;
mod secret;
mod validate;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;

pub use calling::{Calling, Cost, Plan, Pstn, Rate, UseCase};
pub use error::{ConfigError, Finding};
pub use events::{EventEndpoint, EventKind, Events};
pub use gate::{Dialect, DialledBy, GateUse, Hours, Weekday, Zone};
pub use graph::{Graph, Provider, Signalling};
pub use provision::{Business, OpeningHours, OpeningTime, Provisioning};
pub use ringing::{Ring, Ringing};
pub use secret::PasswordSource;

/// The whole configuration, as read from one TOML file. `setu example-config` prints a commented one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The public side, toward Meta.
    pub meta: MetaSide,
    /// The private side, toward PBXs and agents.
    pub agents: AgentsSide,
    /// What callers hear who are not with an agent.
    #[serde(default)]
    pub media: SoundSettings,
    /// Business accounts with Meta, whose tokens and secrets their numbers share.
    #[serde(default)]
    pub businesses: Vec<Business>,
    /// The business numbers and where their calls go.
    #[serde(default)]
    pub numbers: Vec<Number>,
    /// The agents' accounts.
    #[serde(default)]
    pub accounts: Vec<Account>,
    /// The PBXs.
    #[serde(default)]
    pub trunks: Vec<Trunk>,
    /// How long things ring.
    #[serde(default)]
    pub ringing: Ringing,
    /// When customers may be called.
    #[serde(default)]
    pub hours: Hours,
    /// Who is not called.
    #[serde(default)]
    pub calling: Calling,
    /// What calls are for.
    #[serde(default)]
    pub use_cases: Vec<UseCase>,
    /// What is known of the public telephone network.
    #[serde(default)]
    pub pstn: Pstn,
    /// What things cost; without the section nothing is reckoned.
    pub cost: Option<Cost>,
    /// How dialled numbers become E.164.
    #[serde(default)]
    pub dial_plan: DialPlan,
    /// Names pinned to addresses.
    #[serde(default)]
    pub resolve: Resolve,
    /// Which private destinations the bridge may connect to.
    #[serde(default)]
    pub egress: Egress,
    /// Recordings.
    #[serde(default)]
    pub recording: Recording,
    /// Call detail records.
    #[serde(default)]
    pub cdr: CdrLog,
    /// The database.
    #[serde(default)]
    pub store: Database,
    /// Health and metrics.
    #[serde(default)]
    pub http: Http,
    /// The REST interface; without the section there is none.
    pub api: Option<Api>,
    /// Webhooks from Meta or a provider; without the section none are taken.
    pub webhooks: Option<Webhooks>,
    /// Meta's Graph.
    #[serde(default)]
    pub graph: Graph,
    /// Events out.
    #[serde(default)]
    pub events: Events,
    /// Logs.
    #[serde(default)]
    pub log: Log,
    /// Bounds.
    #[serde(default)]
    pub limits: Limits,
}

/// The public side, toward Meta: SIP over TLS, and SRTP.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetaSide {
    /// Where the TLS listener binds.
    #[serde(default = "default_meta_bind")]
    pub bind: SocketAddr,
    /// The host name that is configured with Meta for the numbers; the certificate must cover it.
    pub hostname: String,
    /// The port told to Meta; the bind port unless a NAT maps it.
    pub advertised_port: Option<u16>,
    /// PEM file with the certificate chain, leaf first.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub private_key: PathBuf,
    /// PEM file with certificate authorities trusted besides the system's, for test twins and private edges.
    pub extra_roots: Option<PathBuf>,
    /// Meta's SIP domain: the host that is dialled, verified, and the digest realm that is answered.
    #[serde(default = "default_meta_domain")]
    pub domain: String,
    /// Meta's SIP port.
    #[serde(default = "default_meta_port")]
    pub port: u16,
    /// Networks from which INVITEs are taken at all; empty for any (the digest decides in every case).
    #[serde(default)]
    pub sources: Vec<IpNet>,
    /// Whether a ringing agent's early audio is offered to Meta in a 183 (Meta needs none; off by default).
    #[serde(default)]
    pub early_media: bool,
    /// Addresses and ports of the media.
    pub media: MediaAddresses,
}

/// Addresses and ports of one side's media.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaAddresses {
    /// The address the sockets bind to.
    #[serde(default = "unspecified")]
    pub bind: IpAddr,
    /// The address written into session descriptions. Needed when `bind` is `0.0.0.0` or behind 1:1 NAT.
    pub advertised: Option<IpAddr>,
    /// First and last UDP port, both included, such as `"20000-29999"`.
    pub ports: PortRange,
}

impl MediaAddresses {
    /// The address written into session descriptions.
    pub fn advertised(&self) -> IpAddr {
        self.advertised.unwrap_or(self.bind)
    }
}

/// A range of UDP ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

impl TryFrom<String> for PortRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = || format!("{text:?} is no port range; write it as \"20000-29999\"");
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let first: u16 = first.trim().parse().map_err(|_| wrong())?;
        let last: u16 = last.trim().parse().map_err(|_| wrong())?;
        if first < 1024 || last <= first {
            return Err(format!("{text:?}: the first port must be at least 1024 and below the last"));
        }
        Ok(Self { first, last })
    }
}

/// The private side, toward PBXs and agents.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentsSide {
    /// Where the UDP listener binds; none by default.
    pub udp: Option<SocketAddr>,
    /// Where the TCP listener binds; none by default.
    pub tcp: Option<SocketAddr>,
    /// Where the TLS listener binds; none by default.
    pub tls: Option<SocketAddr>,
    /// Where the WebSocket listener in clear binds (RFC 7118), for a proxy in front that does TLS; none by default.
    pub ws: Option<SocketAddr>,
    /// Where the WebSocket listener under TLS binds, with the certificate below; none by default.
    pub wss: Option<SocketAddr>,
    /// The origins of pages whose WebSockets are taken, such as `https://agents.example.com`; empty takes all.
    #[serde(default)]
    pub websocket_origins: Vec<String>,
    /// The host name or address that phones and PBXs reach this side by.
    pub hostname: String,
    /// The digest realm that phones are challenged with.
    #[serde(default = "default_realm")]
    pub realm: String,
    /// The digest hashes phones are offered. Old ones, such as those on libre 1.x, give up at the sight of SHA-256:
    /// offer them MD5 alone.
    #[serde(default = "default_digest")]
    pub digest: Vec<DigestHash>,
    /// PEM file with the certificate chain of the TLS listener.
    pub certificate: Option<PathBuf>,
    /// PEM file with its private key.
    pub private_key: Option<PathBuf>,
    /// PEM file with certificate authorities trusted for TLS trunks besides the system's.
    pub extra_roots: Option<PathBuf>,
    /// Addresses and ports of the media.
    pub media: MediaAddresses,
}

/// A digest hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum DigestHash {
    /// SHA-256 (RFC 8760).
    #[serde(rename = "sha-256")]
    Sha256,
    /// MD5, which every phone knows.
    #[serde(rename = "md5")]
    Md5,
}

/// What callers hear who are not with an agent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SoundSettings {
    /// What a customer hears while the agent holds the call and says nothing: two soft beeps every 5 s by default.
    pub music_on_hold: SoundFrom,
    /// What a customer hears whose call is answered at once, until an agent answers: ringing by default.
    pub waiting: SoundFrom,
}

/// Where a sound comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum SoundFrom {
    /// `"tone"`: the bridge makes it.
    #[default]
    Tone,
    /// `"silence"`: comfort frames.
    Silence,
    /// A mono Ogg Opus file of 20 ms packets, at most 20 kbit/s.
    File(PathBuf),
}

impl From<String> for SoundFrom {
    fn from(text: String) -> Self {
        match &*text {
            "tone" => Self::Tone,
            "silence" => Self::Silence,
            _ => Self::File(PathBuf::from(text)),
        }
    }
}

impl SoundFrom {
    const fn file_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Tone | Self::Silence => None,
        }
    }
}

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

/// Names pinned to addresses, instead of DNS.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolve {
    /// Host name to addresses, each with an optional port.
    #[serde(default, rename = "static")]
    pub fixed: BTreeMap<String, Vec<String>>,
}

/// Which private destinations the bridge may connect to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// Loopback and private networks that are allowed. Public ones always are; link-local never.
    #[serde(default)]
    pub allow: Vec<IpNet>,
}

/// Recordings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recording {
    /// Whether calls are recorded.
    pub enabled: bool,
    /// The folder they are written to.
    pub folder: PathBuf,
}

impl Default for Recording {
    fn default() -> Self {
        Self { enabled: true, folder: PathBuf::from("recordings") }
    }
}

/// Call detail records.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CdrLog {
    /// The JSON Lines file they are appended to.
    pub file: PathBuf,
    /// Whether they say which keys were pressed.
    pub dtmf: DtmfRecord,
}

impl Default for CdrLog {
    fn default() -> Self {
        Self { file: PathBuf::from("cdr.jsonl"), dtmf: DtmfRecord::default() }
    }
}

/// The database: what outlives the process.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// The SQLite file.
    pub file: PathBuf,
    /// A PostgreSQL server in its place, such as `postgres://setu@db.example.com/setu`.
    pub postgres: Option<String>,
    /// Where the server's password is found.
    pub password: Option<PasswordSource>,
}

impl Default for Database {
    fn default() -> Self {
        Self { file: PathBuf::from("setu.db"), postgres: None, password: None }
    }
}

/// Health and metrics.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where the HTTP listener binds.
    pub bind: SocketAddr,
}

impl Default for Http {
    fn default() -> Self {
        Self { bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 9060)) }
    }
}

/// The REST interface.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// Where the HTTP listener binds, for a proxy in front that does TLS.
    #[serde(default = "default_api_bind")]
    pub bind: SocketAddr,
    /// Who may ask what.
    #[serde(default)]
    pub tokens: Vec<ApiToken>,
}

/// A token of the REST interface.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiToken {
    /// Whose it is, for the log.
    pub name: String,
    /// Where it is found.
    pub token: PasswordSource,
    /// What it lets its holder do, such as `cdrs:read`.
    pub scopes: Vec<String>,
}

/// Webhooks from Meta or a provider.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhooks {
    /// Where the HTTP listener binds, for a proxy in front that does TLS.
    #[serde(default = "default_webhooks_bind")]
    pub bind: SocketAddr,
    /// Where the secrets of the apps are found whose webhooks are taken; several while one is being rotated.
    #[serde(default)]
    pub app_secrets: Vec<PasswordSource>,
    /// Where the word is found that Meta shows when the webhook is set up.
    pub verify_token: PasswordSource,
    /// The hosts that a provider's `call.connect` may name to be dialled over TLS: names, or `*.` and a domain for all
    /// below it. Empty, the default, lets none be dialled.
    #[serde(default)]
    pub sip_hosts: Vec<String>,
}

/// Logs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,setu_sip=debug`.
    pub level: Option<String>,
    /// How lines are written.
    pub format: LogFormat,
    /// Whether phone numbers and names are written whole.
    pub show_pii: bool,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Bounds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most calls at once.
    pub calls: usize,
    /// Longest call in minutes.
    pub call_minutes: u64,
    /// Seconds without any packet from one side after which a call is ended.
    pub silence_s: u64,
    /// Seconds a media port rests before it is used again.
    pub port_rest_s: u64,
    /// Most connections to one SIP listener at once.
    pub connections: usize,
    /// Threads that carry media.
    pub media_threads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: 1000,
            call_minutes: 12 * 60,
            silence_s: 30,
            port_rest_s: 10,
            connections: 4096,
            media_threads: 1,
        }
    }
}

impl Number {
    fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let of_provider = self.provider.iter_mut().map(|provider| &mut provider.token);
        let sources = self.password.iter_mut().chain(&mut self.token).chain(of_provider);
        self.announcement.iter_mut().chain(sources.filter_map(PasswordSource::file_mut))
    }
}

impl Webhooks {
    fn sources_mut(&mut self) -> impl Iterator<Item = &mut PasswordSource> {
        self.app_secrets.iter_mut().chain([&mut self.verify_token])
    }
}

impl Config {
    /// Reads and validates the file at `path`; relative paths in it are taken from its folder.
    ///
    /// # Errors
    /// Names the file, the line or the setting, and how to mend it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_but(path, |_| false)
    }

    /// The same for whoever is about to fetch the numbers' SIP passwords: they may be missing.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(crate) fn load_without_passwords(path: &Path) -> Result<Self, ConfigError> {
        Self::load_but(path, |finding| {
            finding.setting.starts_with("numbers[") && finding.setting.ends_with("].password")
        })
    }

    fn load_but(path: &Path, condones: fn(&Finding) -> bool) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse_but(&text, folder, condones).map_err(|error| match error {
            ConfigError::Syntax { error, .. } => ConfigError::Syntax { path: path.to_owned(), error },
            other @ (ConfigError::Unreadable { .. } | ConfigError::Invalid(_)) => other,
        })
    }

    /// Parses and validates `text`; relative paths in it are taken from `folder`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, folder: &Path) -> Result<Self, ConfigError> {
        Self::parse_but(text, folder, |_| false)
    }

    fn parse_but(text: &str, folder: &Path, condones: fn(&Finding) -> bool) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text)
            .map_err(|error| ConfigError::Syntax { path: PathBuf::new(), error: Box::new(error) })?;
        config.anchor(folder);
        let mut findings = validate::findings(&config);
        findings.retain(|finding| !condones(finding));
        if findings.is_empty() { Ok(config) } else { Err(ConfigError::Invalid(findings)) }
    }

    fn anchor(&mut self, folder: &Path) {
        let paths = [&mut self.meta.certificate, &mut self.meta.private_key]
            .into_iter()
            .chain(self.meta.extra_roots.as_mut())
            .chain(self.agents.certificate.as_mut())
            .chain(self.agents.private_key.as_mut())
            .chain(self.agents.extra_roots.as_mut())
            .chain(self.graph.extra_roots.as_mut())
            .chain(self.events.endpoints.iter_mut().flat_map(EventEndpoint::files_mut))
            .chain([&mut self.recording.folder, &mut self.cdr.file, &mut self.store.file])
            .chain(self.store.password.iter_mut().filter_map(PasswordSource::file_mut))
            .chain(self.media.music_on_hold.file_mut())
            .chain(self.media.waiting.file_mut())
            .chain(self.numbers.iter_mut().flat_map(|n| n.files_mut()))
            .chain(self.businesses.iter_mut().flat_map(Business::files_mut))
            .chain(self.api.iter_mut().flat_map(|api| &mut api.tokens).filter_map(|t| t.token.file_mut()))
            .chain(self.accounts.iter_mut().filter_map(|a| a.password.file_mut()))
            .chain(
                self.webhooks.iter_mut().flat_map(Webhooks::sources_mut).filter_map(PasswordSource::file_mut),
            );
        for path in paths {
            if path.is_relative() {
                *path = folder.join(&*path);
            }
        }
    }
}

fn default_meta_bind() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, default_meta_port()))
}

fn default_meta_domain() -> String {
    "wa.meta.vc".to_owned()
}

const fn default_meta_port() -> u16 {
    5061
}

fn default_realm() -> String {
    "setu".to_owned()
}

fn default_codecs() -> Vec<Codec> {
    vec![Codec::Opus, Codec::Pcmu, Codec::Pcma]
}

fn default_digest() -> Vec<DigestHash> {
    vec![DigestHash::Sha256, DigestHash::Md5]
}

const fn default_api_bind() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9062)
}

const fn default_webhooks_bind() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9061)
}

const fn default_probe_s() -> u64 {
    30
}

const fn unspecified() -> IpAddr {
    IpAddr::V4(Ipv4Addr::UNSPECIFIED)
}

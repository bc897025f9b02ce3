//! The configuration file: what it may say, its defaults, and what is refused with which remedy.

mod calling;
mod error;
mod events;
mod fixed;
mod gate;
mod graph;
mod guards;
mod http;
mod kept;
mod peers;
mod provision;
mod ringing;
mod secret;
mod sides;
mod validate;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;

pub use calling::{Calling, Cost, Plan, Pstn, Rate, Requests, UseCase};
pub use error::{ConfigError, Finding};
pub use events::{EventEndpoint, EventKind, Events};
pub use gate::{Dialect, DialledBy, GateUse, Hours, Weekday, Zone};
pub use graph::{Graph, Provider, Signalling};
pub use http::{Api, ApiToken, Http, Webhooks};
pub(crate) use kept::no_level;
pub use kept::{CdrLog, Database, Log, LogFormat, Recording};
pub use peers::{
    Account, Codec, DialPlan, DtmfBy, DtmfRecord, MetaSrtp, Number, SrtpUse, Trunk, TrunkTransport,
};
pub use provision::{Business, OpeningHours, OpeningTime, Provisioning};
pub use ringing::{Ring, Ringing};
pub use secret::PasswordSource;
pub use sides::{AgentsSide, DigestHash, MediaAddresses, MetaSide, PortRange, SoundFrom, SoundSettings};

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
    /// Whether they ask the system for real time, or at least to go before other threads.
    pub media_real_time: bool,
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
            media_real_time: true,
        }
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
        config.store.settle();
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
            .chain([&mut self.recording.folder, &mut self.cdr.file])
            .chain(self.store.file.as_mut())
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

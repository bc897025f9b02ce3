//! The configuration in the words of each core and shell.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use setu_call::{
    AgentConfig, Answers, CallConfig, CallLimits, DialPlan, Extension, Keys, NumberConfig, NumberRoute,
    PortUse, PrivateTrunk, Srtp, Timers, TrunkConfig, UseCase,
};
use setu_control::{
    ApiToken, ApiTokens, AppSecret, Belongings, EventClient, EventEndpoint, EventSecret, GraphConfig,
    Outbound, Scope, WebhookTrust,
};
use setu_media::{Cadence, Clip, ClipError, DtlsIdentity};
use setu_media_net::{MediaNetConfig, MediaSide};
use setu_model::{CallFacts, CallId, Direction, EgressPolicy, Ingress, Secret, Side, Wall};
use setu_recording::{RecorderConfig, Tags};
use setu_sdp::AudioCodec;
use setu_sip::digest::Algorithm;
use setu_sip::{Access, AccountAccess, NumberAccess, Probe, TrunkAccess};
use setu_sip::{EndpointConfig, Limits, SideConfig};
use setu_sip::{Hop, Transport};
use setu_store::Location;

use setu_sip_net::{
    CertificateFiles, ListenerConfig, PinnedHosts, SipNetConfig, TlsConfig, Trust, WebSocketConfig,
};

use setu_whatsapp::cost::{Plan, Rates};
use setu_whatsapp::gate::GatePolicy;
use setu_whatsapp::hours::{CallingHours, Opening, Zones};
use setu_whatsapp::permission::Rules;

use crate::config::{
    self, Account, Business, Codec, Config, Dialect, DialledBy, DigestHash, DtmfBy, DtmfRecord, EventKind,
    GateUse, Hours, MediaAddresses, MetaSrtp, Number, PasswordSource, Signalling, SoundFrom, SrtpUse, Trunk,
    TrunkTransport, Zone,
};
use crate::driver::{GraphNumber, MessagesTo, Messenger, MetaPeer, ShardSettings, Sounds, TrunkPeer};
use crate::events::{Audience, Endpoints, Retry};
use crate::pricing::Prices;

/// Builds the settings of a shard, reading every password and sound.
///
/// # Errors
/// Names the password or sound that cannot be read, and how to mend it.
pub fn shard(config: &Config) -> Result<ShardSettings, SettingsError> {
    Ok(ShardSettings {
        endpoint: endpoint(config)?,
        calls: calls(config),
        meta: MetaPeer {
            domain: config.meta.domain.clone(),
            port: config.meta.port,
            hostname: config.meta.hostname.clone(),
            passwords: config
                .numbers
                .iter()
                .filter_map(|n| Some((n, n.password.as_ref()?)))
                .map(|(n, source)| Ok((n.number.clone(), number_password(n, source)?)))
                .collect::<Result<_, _>>()?,
        },
        trunks: config.trunks.iter().map(|t| (t.name.clone(), TrunkPeer { hop: trunk_hop(t) })).collect(),
        silence: Duration::from_secs(config.limits.silence_s),
        sounds: sounds(config)?,
        gates: gates(config),
        graph: graph_numbers(config)?,
        prices: prices(config),
        messengers: messengers(config)?,
        connect_within: Duration::from_secs(
            config.webhooks.as_ref().map_or(0, |w| w.connect_within_s).into(),
        ),
        sip_hosts: config.webhooks.as_ref().map(|w| w.sip_hosts.clone()).unwrap_or_default(),
        accounts: config.accounts(),
        number_ids: config
            .numbers
            .iter()
            .filter_map(|n| Some((n.phone_number_id.clone()?, n.number.clone())))
            .collect(),
    })
}

/// Whether calls from a number ask the gate.
pub(crate) fn is_gated(number: &Number, config: &Config) -> bool {
    match number.gate {
        GateUse::On => true,
        GateUse::Off => false,
        // Without its webhooks nothing is known of permissions, and every call would be refused.
        GateUse::Auto => {
            number.dialect == Dialect::Provider
                || (config.webhooks.is_some() && number.phone_number_id.is_some())
        }
    }
}

/// The rules of each number.
fn gates(config: &Config) -> BTreeMap<String, GatePolicy> {
    let hours = hours(&config.hours);
    let policy = |number: &Number| GatePolicy {
        rules: match number.dialect {
            Dialect::Meta => Rules::META,
            Dialect::Provider => Rules::PROVIDER,
        },
        hours: hours.clone(),
        number_country: number
            .country
            .clone()
            .or_else(|| setu_whatsapp::country_of(&number.number).map(str::to_owned)),
        blocked_countries: config.calling.blocked_countries.clone(),
        use_cases: Some(use_cases(number, config)),
        names_use_case: number.use_cases.is_some(),
        campaign: config.calling.requests.policy(),
        hears_revocations: config.webhooks.is_some() && number.phone_number_id.is_some(),
        cautious_misses: Rules::META.misses - 1,
    };
    config.numbers.iter().map(|number| (number.number.clone(), policy(number))).collect()
}

/// What calls cost.
fn prices(config: &Config) -> Prices {
    let Some(cost) = &config.cost else { return Prices::default() };
    let plan = |number: &Number| match number.plan {
        config::Plan::ClientPays => Plan::ClientPays,
        config::Plan::Inclusive => Plan::Inclusive,
    };
    Prices {
        currency: Some(cost.currency.clone()),
        rates: Rates {
            provider_per_minute: cost.provider_client_pays.0,
            meta_per_minute: cost
                .meta_per_minute
                .iter()
                .map(|(country, rate)| (country.clone(), rate.0))
                .collect(),
            meta_elsewhere: cost.meta_elsewhere.0,
            sip_per_minute: cost.sip_per_minute.0,
            storage_per_gb_month: cost.storage_per_gb_month.0,
            storage_months: cost.storage_months.0,
            agent_per_minute: cost.agent_per_minute.0,
        },
        provider: (cost.provider_client_pays.0, cost.provider_inclusive.0),
        plans: config.numbers.iter().map(|number| (number.number.clone(), plan(number))).collect(),
        wrap_up_ms: cost.wrap_up_s.saturating_mul(1_000),
    }
}

/// What a number may be used for: what it lists, or all that is configured.
pub(crate) fn use_cases(number: &Number, config: &Config) -> Vec<String> {
    let all = || config.use_cases.iter().map(|it| it.name.clone()).collect();
    number.use_cases.clone().unwrap_or_else(all)
}

fn hours(hours: &Hours) -> CallingHours {
    let mut week: [Vec<Opening>; 7] =
        std::array::from_fn(|_| vec![Opening { from: hours.from, to: hours.to }]);
    for day in &hours.closed {
        if let Some(day) = week.get_mut(*day as usize) {
            day.clear();
        }
    }
    let zones = |names: &[Zone]| names.iter().map(|zone| zone.0.clone()).collect();
    CallingHours {
        week,
        holidays: hours.holidays.iter().copied().collect(),
        zones: Zones {
            prefixes: hours.zones.iter().map(|(code, names)| (code.clone(), zones(names))).collect(),
            default: hours.zone.0.clone(),
        },
    }
}

/// Reads the tokens of the REST interface.
pub(crate) fn api_tokens(config: &Config) -> Result<ApiTokens, SettingsError> {
    let Some(api) = &config.api else { return Ok(ApiTokens::default()) };
    let token = |token: &crate::config::ApiToken| {
        let owner = || format!("the token of {}", token.name);
        let secret = token.token.read().map_err(|problem| SettingsError { owner: owner(), problem })?;
        // Validation has refused words that are no scopes.
        Ok(ApiToken::new(&token.name, &secret, token.scopes.iter().filter_map(|word| Scope::of_word(word))))
    };
    Ok(ApiTokens::new(api.tokens.iter().map(token).collect::<Result<_, _>>()?))
}

/// Where the database is.
pub(crate) fn store(config: &Config) -> Result<Location, SettingsError> {
    let store = &config.store;
    let Some(url) = &store.postgres else {
        return Ok(Location::Sqlite(store.file.clone().unwrap_or_default()));
    };
    let read = |source: &PasswordSource| {
        let owner = || "store.password".to_owned();
        source.read().map_err(|problem| SettingsError { owner: owner(), problem })
    };
    Ok(Location::Postgres { url: url.clone(), password: store.password.as_ref().map(read).transpose()? })
}

/// Reads what a sender of webhooks proves itself by; nothing proves anything where none are taken.
pub(crate) fn webhook_trust(config: &Config) -> Result<WebhookTrust, SettingsError> {
    let Some(webhooks) = &config.webhooks else { return Ok(WebhookTrust::default()) };
    let secret = |setting: &str, source: &PasswordSource| {
        source.read().map_err(|problem| SettingsError { owner: setting.to_owned(), problem })
    };
    let app_secret = |setting: &str, source: &PasswordSource, of: Option<Belongings>| {
        Ok::<_, SettingsError>(AppSecret { secret: secret(setting, source)?, of })
    };
    let any = webhooks.app_secrets.iter().map(|source| app_secret("webhooks.app_secrets", source, None));
    let app_secrets = any.chain(config.businesses.iter().flat_map(|business| {
        let of_business =
            |source| app_secret("businesses.app_secrets", source, Some(belongings(config, business)));
        business.app_secrets.iter().map(of_business)
    }));
    Ok(WebhookTrust {
        app_secrets: app_secrets.collect::<Result<_, _>>()?,
        verify_token: secret("webhooks.verify_token", &webhooks.verify_token)?,
    })
}

/// What the webhooks of a business may be about.
fn belongings(config: &Config, business: &Business) -> Belongings {
    let mut of = Belongings { account: business.id.clone(), ..Belongings::default() };
    for number in &config.numbers {
        let own = number.business.as_ref() == Some(&business.name);
        let names = if own { &mut of.own } else { &mut of.others };
        names.insert(number.number.clone());
        names.extend(number.phone_number_id.clone());
    }
    of
}

/// Reads and encodes every sound.
pub(crate) fn sounds(config: &Config) -> Result<Sounds, SettingsError> {
    let announcement = |n: &Number| {
        let path = n.announcement.as_ref()?;
        let setting = format!("numbers.announcement of {}", n.number);
        Some(sound_file(&setting, path, LONGEST_ANNOUNCEMENT_S).map(|clip| (n.number.clone(), clip)))
    };
    Ok(Sounds {
        hold: sound("media.music_on_hold", &config.media.music_on_hold, Cadence::HOLD)?,
        waiting: sound("media.waiting", &config.media.waiting, Cadence::RINGBACK)?,
        ringback: Some(Arc::new(Clip::tone(Cadence::RINGBACK))),
        announcements: config.numbers.iter().filter_map(announcement).collect::<Result<_, _>>()?,
    })
}

fn sound(setting: &str, from: &SoundFrom, tone: Cadence) -> Result<Option<Arc<Clip>>, SettingsError> {
    match from {
        SoundFrom::Tone => Ok(Some(Arc::new(Clip::tone(tone)))),
        SoundFrom::Silence => Ok(None),
        SoundFrom::File(path) => sound_file(setting, path, Clip::LONGEST_S).map(Some),
    }
}

fn sound_file(setting: &str, path: &Path, longest_s: u32) -> Result<Arc<Clip>, SettingsError> {
    let wrong = |problem: String| SettingsError { owner: format!("{setting}, {}", path.display()), problem };
    let file = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let clip = Clip::from_ogg_opus(&file).map_err(|why| wrong(format!("{why}; {}", ClipError::REMEDY)))?;
    if clip.packets() > longest_s as usize * 50 {
        return Err(wrong(format!("longer than {longest_s} s; cut it")));
    }
    Ok(Arc::new(clip))
}

/// The longest announcement, in seconds: below what the call core waits for.
const LONGEST_ANNOUNCEMENT_S: u32 = 60;

/// A password, secret or sound that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{owner}: {problem}")]
pub struct SettingsError {
    owner: String,
    problem: String,
}

/// Whose calls are signalled by Graph, with the token of each.
fn graph_numbers(config: &Config) -> Result<BTreeMap<String, GraphNumber>, SettingsError> {
    let by_graph = config.numbers.iter().filter(|number| number.signalling == Signalling::Graph);
    by_graph
        .filter_map(|number| Some((number, number.phone_number_id.clone()?, config.token_of(number)?)))
        .map(|(number, id, token)| {
            let owner = || format!("the access token of {}", number.number);
            let token = token.read().map_err(|problem| SettingsError { owner: owner(), problem })?;
            Ok((number.number.clone(), GraphNumber { id, token }))
        })
        .collect()
}

/// Whom events are delivered to, with the secrets of each.
pub(crate) fn events(config: &Config) -> Result<Endpoints, SettingsError> {
    let events = &config.events;
    let (mut clients, mut audience) = (BTreeMap::new(), Vec::new());
    for endpoint in &events.endpoints {
        let wrong = |what: &str, problem: String| SettingsError {
            owner: format!("events.endpoints {}: {what}", endpoint.name),
            problem,
        };
        let secret = |source: &PasswordSource| {
            let secret = source.read().map_err(|problem| wrong("secrets", problem))?;
            EventSecret::parse(&secret).map_err(|problem| wrong("secrets", problem.to_owned()))
        };
        let client = EventClient::new(EventEndpoint {
            url: endpoint.url.parse().map_err(|problem: &str| wrong("url", problem.to_owned()))?,
            secrets: endpoint.secrets.iter().map(secret).collect::<Result<_, _>>()?,
            outbound: outbound(config, endpoint.extra_roots.clone()),
        });
        let client = client.map_err(|error| wrong("extra_roots", error.to_string()))?;
        clients.insert(endpoint.name.clone(), client);
        let usual = || EventKind::USUAL.into();
        audience.push((endpoint.name.clone(), endpoint.kinds.clone().unwrap_or_else(usual)));
    }
    let retry = Retry { first: Duration::from_secs(events.retry_s), tries: events.tries };
    Ok(Endpoints { retry, clients, audience: Audience(audience) })
}

/// How messages are sent, of the numbers that can.
fn messengers(config: &Config) -> Result<BTreeMap<String, Messenger>, SettingsError> {
    let to = |number: &Number| match (&number.provider, &number.phone_number_id, config.token_of(number)) {
        (Some(provider), ..) => {
            let wait = Duration::from_secs(provider.wait_s);
            Some((
                MessagesTo::Provider { url: provider.url.clone(), wait },
                provider.token.clone(),
                "provider.token",
            ))
        }
        (None, Some(id), Some(token)) => Some((MessagesTo::Graph(id.clone()), token.clone(), "token")),
        (None, ..) => None,
    };
    let able = config.numbers.iter().filter_map(|number| Some((number, to(number)?)));
    able.map(|(number, (to, token, setting))| {
        let owner = || format!("numbers.{setting} of {}", number.number);
        let token = token.read().map_err(|problem| SettingsError { owner: owner(), problem })?;
        Ok((number.number.clone(), Messenger { to, token }))
    })
    .collect()
}

/// Where Graph is, and how it is reached.
pub(crate) fn graph(config: &Config) -> GraphConfig {
    GraphConfig {
        host: config.graph.host.clone(),
        version: config.graph.version.clone(),
        outbound: outbound(config, config.graph.extra_roots.clone()),
    }
}

/// How others are reached by HTTPS.
fn outbound(config: &Config, extra_roots: Option<PathBuf>) -> Outbound {
    let address = |text: &String| text.parse::<setu_sip_net::PinnedAddress>().ok().map(|at| (at.ip, at.port));
    let pinned = config.resolve.fixed.iter().map(|(name, addresses)| {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        (name, addresses.iter().filter_map(address).collect())
    });
    let egress = EgressPolicy::new(config.egress.allow.clone());
    Outbound { egress, pinned: pinned.collect(), extra_roots }
}

impl SettingsError {
    pub(crate) fn new(owner: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { owner: owner.into(), problem: problem.into() }
    }

    /// The setting at fault.
    pub(crate) fn owner(&self) -> &str {
        &self.owner
    }

    /// What is wrong with it.
    pub(crate) fn problem(&self) -> &str {
        &self.problem
    }
}

/// Where a trunk is.
pub(crate) fn trunk_hop(trunk: &Trunk) -> Hop {
    Hop {
        side: Side::Agents,
        transport: match trunk.transport {
            TrunkTransport::Udp => Transport::Udp,
            TrunkTransport::Tcp => Transport::Tcp,
            TrunkTransport::Tls => Transport::Tls,
        },
        host: trunk.host.clone(),
        port: trunk.port,
    }
}

fn endpoint(config: &Config) -> Result<EndpointConfig, SettingsError> {
    let agents = &config.agents;
    Ok(EndpointConfig {
        user_agent: concat!("Setu/", env!("CARGO_PKG_VERSION")).to_owned(),
        meta: SideConfig {
            host: config.meta.hostname.clone(),
            udp: None,
            tcp: None,
            tls: Some(config.meta.advertised_port.unwrap_or(config.meta.bind.port())),
            ws: None,
            wss: None,
            realm: config.meta.hostname.clone(),
            // Meta's samples show MD5, a field trace SHA-256.
            digest: vec![Algorithm::Sha256, Algorithm::Md5],
        },
        agents: SideConfig {
            host: agents.hostname.clone(),
            udp: agents.udp.map(|a| a.port()),
            tcp: agents.tcp.map(|a| a.port()),
            tls: agents.tls.map(|a| a.port()),
            ws: agents.ws.map(|a| a.port()),
            wss: agents.wss.map(|a| a.port()),
            realm: agents.realm.clone(),
            digest: agents
                .digest
                .iter()
                .map(|digest| match digest {
                    DigestHash::Sha256 => Algorithm::Sha256,
                    DigestHash::Md5 => Algorithm::Md5,
                })
                .collect(),
        },
        access: access(config)?,
        timers: setu_sip::Timers::RFC_3261,
        limits: Limits { sessions: config.limits.calls.saturating_mul(4), ..Limits::default() },
    })
}

fn access(config: &Config) -> Result<Access, SettingsError> {
    Ok(Access {
        numbers: config
            .numbers
            .iter()
            .filter_map(|n| Some((n, n.password.as_ref()?)))
            .map(|(n, source)| {
                Ok(NumberAccess { number: n.number.clone(), password: number_password(n, source)? })
            })
            .collect::<Result<_, _>>()?,
        meta_networks: config.meta.sources.clone(),
        accounts: config
            .accounts
            .iter()
            .map(|a| Ok(AccountAccess { name: a.name.clone(), password: account_password(a)? }))
            .collect::<Result<_, _>>()?,
        trunks: config
            .trunks
            .iter()
            .map(|t| TrunkAccess {
                name: t.name.clone(),
                networks: t.networks.clone(),
                transports: Vec::new(),
                probe: (t.probe_s > 0)
                    .then(|| Probe { hop: trunk_hop(t), every: Duration::from_secs(t.probe_s) }),
            })
            .collect(),
    })
}

fn number_password(number: &Number, source: &PasswordSource) -> Result<Secret<String>, SettingsError> {
    let owner = || format!("the password of number {}", number.number);
    source.read().map_err(|problem| SettingsError { owner: owner(), problem })
}

fn account_password(account: &Account) -> Result<Secret<String>, SettingsError> {
    let owner = || format!("the password of account {}", account.name);
    account.password.read().map_err(|problem| SettingsError { owner: owner(), problem })
}

/// The trunk that takes a number's calls: one that was declared to lead to no public telephone network.
fn private_route(number: &Number, config: &Config) -> Option<NumberRoute> {
    let (name, extension) = (number.trunk.as_ref()?, number.extension.as_ref()?);
    let declared = config.trunks.iter().find(|trunk| trunk.name == *name && trunk.pstn == Some(false))?;
    let trunk = PrivateTrunk::declared(&declared.name);
    Some(NumberRoute::Trunk { trunk, extension: Extension::configured(extension)? })
}

fn use_case(it: &crate::config::UseCase) -> (String, UseCase) {
    let use_case = UseCase {
        label: it.label.clone(),
        triggers: it.trigger.clone(),
        queue: it.queue.clone(),
        skill: it.skill.clone(),
        priority: it.priority,
        script: it.script.clone(),
    };
    (it.name.clone(), use_case)
}

fn calls(config: &Config) -> CallConfig {
    let numbers: BTreeMap<_, _> = config
        .numbers
        .iter()
        .map(|n| {
            let route = private_route(n, config).unwrap_or_else(|| NumberRoute::Agents(n.agents.clone()));
            let answers = if n.answer_at_once { Answers::AtOnce } else { Answers::WithTheAgent };
            let number = NumberConfig {
                answers,
                announces: n.announcement.is_some(),
                gated: is_gated(n, config),
                ring: n.ring.into(),
                signalled: match (n.signalling, &n.provider) {
                    (_, Some(_)) => Ingress::ProviderUri,
                    (Signalling::Sip, None) => Ingress::Sip,
                    (Signalling::Graph, None) => Ingress::Graph,
                },
                srtp: match (n.srtp, n.signalling) {
                    (MetaSrtp::Sdes, _) | (MetaSrtp::Auto, Signalling::Sip) => setu_call::MetaSrtp::Sdes,
                    (MetaSrtp::Dtls, _) | (MetaSrtp::Auto, Signalling::Graph) => setu_call::MetaSrtp::Dtls,
                },
                ..NumberConfig::new(route, config.recording.enabled)
            };
            (n.number.clone(), number)
        })
        .collect();
    CallConfig {
        numbers,
        agents: config
            .accounts
            .iter()
            .map(|a| {
                let agent = AgentConfig {
                    number: a.number.clone(),
                    srtp: srtp(a.srtp),
                    codecs: codecs(&a.codecs),
                    keys: keys(a.dtmf),
                    use_case: a.use_case.clone(),
                    ..AgentConfig::default()
                };
                (a.name.clone(), agent)
            })
            .collect(),
        trunks: config
            .trunks
            .iter()
            .map(|t| {
                let secure = t.transport == TrunkTransport::Tls;
                let trunk = TrunkConfig {
                    number: t.number.clone(),
                    srtp: srtp(t.srtp),
                    codecs: codecs(&t.codecs),
                    keys: keys(t.dtmf),
                    use_case: t.use_case.clone(),
                    by_hand: t.dialled_by == DialledBy::People,
                    secure,
                    port: if t.share_ports { PortUse::Shared } else { PortUse::Own },
                };
                (t.name.clone(), trunk)
            })
            .collect(),
        use_cases: config.use_cases.iter().map(use_case).collect(),
        dial_plan: DialPlan {
            strip: config.dial_plan.strip.clone(),
            country_code: config.dial_plan.country_code.clone(),
        },
        egress: EgressPolicy::new(config.egress.allow.clone()),
        timers: Timers {
            ring: Duration::from_secs(config.ringing.total_s),
            ring_agent: Duration::from_secs(config.ringing.agent_s),
            ring_customer: Duration::from_secs(config.ringing.customer_s),
            longest: Duration::from_secs(config.limits.call_minutes * 60),
            ..Timers::default()
        },
        limits: CallLimits { calls: config.limits.calls, ..CallLimits::default() },
        early_media_to_meta: config.meta.early_media,
        mask_digits: config.cdr.dtmf == DtmfRecord::Masked,
        ..CallConfig::default()
    }
}

fn codecs(codecs: &[Codec]) -> Vec<AudioCodec> {
    let codec = |codec: &Codec| match codec {
        Codec::Opus => AudioCodec::Opus,
        Codec::Pcmu => AudioCodec::Pcmu,
        Codec::Pcma => AudioCodec::Pcma,
        Codec::G722 => AudioCodec::G722,
    };
    codecs.iter().map(codec).collect()
}

const fn keys(by: DtmfBy) -> Keys {
    match by {
        DtmfBy::Rfc4733 => Keys::Events,
        DtmfBy::Info => Keys::Info,
    }
}

const fn srtp(use_: SrtpUse) -> Srtp {
    match use_ {
        SrtpUse::Auto => Srtp::BySignalling,
        SrtpUse::Off => Srtp::Off,
        SrtpUse::Optional => Srtp::Optional,
        SrtpUse::Sdes => Srtp::Required,
        SrtpUse::Dtls => Srtp::Dtls,
    }
}

/// Where and how SIP is listened for.
pub(crate) fn sip_net(config: &Config) -> SipNetConfig {
    let (meta, agents) = (&config.meta, &config.agents);
    let mut listeners = vec![ListenerConfig {
        advertised_host: Some(meta.hostname.clone()),
        advertised_port: meta.advertised_port,
        ..ListenerConfig::new(Side::Meta, Transport::Tls, meta.bind)
    }];
    for (transport, bind) in [
        (Transport::Udp, agents.udp),
        (Transport::Tcp, agents.tcp),
        (Transport::Tls, agents.tls),
        (Transport::Ws, agents.ws),
        (Transport::Wss, agents.wss),
    ] {
        listeners.extend(bind.map(|bind| ListenerConfig {
            advertised_host: Some(agents.hostname.clone()),
            ..ListenerConfig::new(Side::Agents, transport, bind)
        }));
    }
    let mut pinned = PinnedHosts::default();
    for (name, addresses) in &config.resolve.fixed {
        // Validation has refused what does not parse.
        pinned.pin(name, addresses.iter().filter_map(|a| a.parse().ok()).collect());
    }
    SipNetConfig {
        listeners,
        tls: tls(config),
        pinned,
        egress: EgressPolicy::new(config.egress.allow.clone()),
        websocket: WebSocketConfig { origins: agents.websocket_origins.clone() },
        limits: setu_sip_net::Limits {
            connections: config.limits.connections,
            ..setu_sip_net::Limits::default()
        },
        ..SipNetConfig::default()
    }
}

/// Certificates and trust of both sides.
pub(crate) fn tls(config: &Config) -> BTreeMap<Side, TlsConfig> {
    let (meta, agents) = (&config.meta, &config.agents);
    let chain = |chain: &Path, key: &Path| CertificateFiles { chain: chain.to_owned(), key: key.to_owned() };
    let trust =
        |extra_roots: &Option<PathBuf>| Trust { extra_roots: extra_roots.clone(), ..Trust::default() };
    let meta_tls = TlsConfig {
        certificate: Some(chain(&meta.certificate, &meta.private_key)),
        trust: trust(&meta.extra_roots),
        client_authorities: None,
    };
    let agents_tls = TlsConfig {
        certificate: agents
            .certificate
            .as_deref()
            .zip(agents.private_key.as_deref())
            .map(|(c, k)| chain(c, k)),
        trust: trust(&agents.extra_roots),
        client_authorities: None,
    };
    [(Side::Meta, meta_tls), (Side::Agents, agents_tls)].into()
}

/// The setting that names a file of TLS.
pub(crate) fn names(config: &Config, file: Option<&Path>) -> &'static str {
    let (meta, agents) = (&config.meta, &config.agents);
    [
        ("meta.certificate", Some(&meta.certificate)),
        ("meta.private_key", Some(&meta.private_key)),
        ("meta.extra_roots", meta.extra_roots.as_ref()),
        ("agents.certificate", agents.certificate.as_ref()),
        ("agents.private_key", agents.private_key.as_ref()),
        ("agents.extra_roots", agents.extra_roots.as_ref()),
    ]
    .into_iter()
    .find(|(_, named)| file.is_some() && named.map(PathBuf::as_path) == file)
    .map_or("TLS", |(setting, _)| setting)
}

/// Where media goes in and out.
pub(crate) fn media_net(config: &Config, dtls: DtlsIdentity) -> MediaNetConfig {
    let side = |media: &MediaAddresses| MediaSide {
        bind: media.bind,
        advertised: media.advertised(),
        ports: media.ports.first..=media.ports.last,
    };
    MediaNetConfig {
        meta: side(&config.meta.media),
        agents: side(&config.agents.media),
        threads: config.limits.media_threads,
        codec_threads: codec_threads(),
        pinned: config.limits.media_threads > 1,
        hurried: config.limits.media_real_time,
        quarantine: Duration::from_secs(config.limits.port_rest_s),
        dtls: Some(dtls),
    }
}

/// As many as there are processors: they have nothing to do but for calls that are transcoded.
fn codec_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Where recordings go.
pub(crate) fn recorder(config: &Config) -> RecorderConfig {
    RecorderConfig::new(&config.recording.folder)
}

/// What a recording says of itself: nothing that names a person.
pub(crate) fn tags(call: CallId, at: Wall, facts: &CallFacts, direction: Direction) -> Tags {
    let direction = match direction {
        Direction::UserInitiated => "user_initiated",
        Direction::BusinessInitiated => "business_initiated",
    };
    let tags = Tags::new(call, at).with("SETU_DIRECTION", direction).with("SETU_NUMBER", &facts.number);
    match &facts.wacid {
        Some(wacid) => tags.with("SETU_WACID", wacid),
        None => tags,
    }
}

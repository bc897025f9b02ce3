//! What a well-formed file may still say wrong. Nothing here touches the network: that is `setu check`.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use setu_control::{EventSecret, EventUrl};

use super::guards::guards;
use super::kept::no_level;
use super::{Config, Finding, MediaAddresses, Number, PasswordSource, Signalling};

/// Everything that cannot work, in the order of the file.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut found = Findings::default();
    sides(config, &mut found);
    listeners(config, &mut found);
    businesses(config, &mut found);
    numbers(config, &mut found);
    accounts(config, &mut found);
    trunks(config, &mut found);
    guards(config, &mut found);
    webhooks(config, &mut found);
    graph(config, &mut found);
    store(config, &mut found);
    log(config, &mut found);
    events(config, &mut found);
    api(config, &mut found);
    limits(config, &mut found);
    found.0
}

#[derive(Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn add(
        &mut self,
        setting: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.0.push(Finding { setting: setting.into(), problem: problem.into(), remedy: remedy.into() });
    }

    fn password(&mut self, setting: &str, source: &PasswordSource) {
        if let Err(problem) = source.read() {
            self.add(setting, problem, "put the password there");
        }
    }
}

fn sides(config: &Config, found: &mut Findings) {
    media("meta.media", &config.meta.media, found);
    media("agents.media", &config.agents.media, found);
    let named = [
        ("meta.hostname", &config.meta.hostname),
        ("meta.domain", &config.meta.domain),
        ("agents.hostname", &config.agents.hostname),
    ];
    for (setting, name) in named {
        host(setting, name, found);
    }
    if config.agents.hostname.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified()) {
        found.add(
            "agents.hostname",
            format!("nobody reaches {}", config.agents.hostname),
            "give the address that phones and PBXs reach this machine by",
        );
    }
    if config.meta.hostname.parse::<IpAddr>().is_ok() || !config.meta.hostname.contains('.') {
        found.add(
            "meta.hostname",
            format!("{:?} is not a fully qualified host name", config.meta.hostname),
            "Meta dials a name whose certificate chains to a public authority; give the one configured with Meta",
        );
    }
    let (meta, agents) = (&config.meta.media, &config.agents.media);
    let same_address = meta.bind == agents.bind || meta.bind.is_unspecified() || agents.bind.is_unspecified();
    if same_address && meta.ports.first <= agents.ports.last && agents.ports.first <= meta.ports.last {
        found.add(
            "agents.media.ports",
            "they overlap with meta.media.ports on the same address",
            "give the two sides ranges of their own",
        );
    }
    let agents = &config.agents;
    if agents.digest.is_empty() {
        found.add(
            "agents.digest",
            "no hash",
            "remove the line for the default, or list \"sha-256\" or \"md5\"",
        );
    }
    let listens = [agents.udp, agents.tcp, agents.tls, agents.ws, agents.wss];
    if listens.iter().all(Option::is_none) {
        found.add(
            "agents",
            "no listener",
            "add udp, tcp, tls, ws or wss with an address such as \"0.0.0.0:5060\"",
        );
    }
    for (setting, bind) in [("agents.tls", agents.tls), ("agents.wss", agents.wss)] {
        if bind.is_some() && (agents.certificate.is_none() || agents.private_key.is_none()) {
            found.add(setting, "TLS needs a certificate", "add agents.certificate and agents.private_key");
        }
    }
}

/// Two listeners of TCP cannot have one port.
fn listeners(config: &Config, found: &mut Findings) {
    let agents = &config.agents;
    let listeners = [
        ("meta.bind", Some(config.meta.bind)),
        ("agents.tcp", agents.tcp),
        ("agents.tls", agents.tls),
        ("agents.ws", agents.ws),
        ("agents.wss", agents.wss),
        ("http.bind", Some(config.http.bind)),
        ("webhooks.bind", config.webhooks.as_ref().map(|webhooks| webhooks.bind)),
        ("api.bind", config.api.as_ref().map(|api| api.bind)),
    ];
    let mut before: Vec<(&str, SocketAddr)> = Vec::new();
    for (setting, bind) in listeners {
        let Some(bind) = bind else { continue };
        let overlap = |other: SocketAddr| {
            let any = bind.ip().is_unspecified() || other.ip().is_unspecified();
            let same = bind.ip() == other.ip() || (any && bind.is_ipv4() == other.is_ipv4());
            same && bind.port() == other.port() && bind.port() != 0
        };
        if let Some((first, _)) = before.iter().find(|(_, other)| overlap(*other)) {
            found.add(setting, format!("{bind} is {first}'s already"), "give it another port");
        }
        before.push((setting, bind));
    }
}

fn media(setting: &str, media: &MediaAddresses, found: &mut Findings) {
    if media.advertised().is_unspecified() {
        found.add(
            format!("{setting}.advertised"),
            "nobody can send to 0.0.0.0",
            "give the address that the other side reaches this machine by",
        );
    }
    if media.advertised().is_ipv4() != media.bind.is_ipv4() {
        found.add(
            format!("{setting}.advertised"),
            "bind and advertised are of different address families",
            "use IPv4 for both or IPv6 for both",
        );
    }
}

fn numbers(config: &Config, found: &mut Findings) {
    let (mut seen, mut ids) = (BTreeSet::new(), BTreeSet::new());
    if config.numbers.is_empty() {
        found.add("numbers", "no business number", "add a [[numbers]] section");
    }
    for (i, number) in config.numbers.iter().enumerate() {
        let at = |field: &str| format!("numbers[{i}].{field}");
        e164(&at("number"), &number.number, found);
        if !seen.insert(&number.number) {
            found.add(at("number"), format!("{} is listed twice", number.number), "keep one of them");
        }
        if let Some(id) = &number.phone_number_id
            && !ids.insert(id)
        {
            found.add(at("phone_number_id"), format!("{id:?} is listed twice"), "each number has its own");
        }
        signalling(config, number, &at, found);
        if let Some(business) = &number.business
            && !config.businesses.iter().any(|known| known.name == *business)
        {
            found.add(
                at("business"),
                format!("no business named {business:?}"),
                "add a [[businesses]] section with that name",
            );
        }
        if let Some(hours) = &number.provision.hours
            && (hours.week().iter().any(|day| day.len() > 2) || hours.holidays.len() > 20)
        {
            found.add(
                at("provision.hours"),
                "Meta takes two openings a day and twenty holidays",
                "leave out those that are far away, or join two openings",
            );
        }
        match (&number.trunk, &number.extension, number.agents.is_empty()) {
            (None, None, true) => {
                found.add(at("agents"), "its calls go nowhere", "add agents = [..], or trunk and extension");
            }
            (Some(_), _, false) => {
                found.add(at("trunk"), "both agents and a trunk", "keep one of them");
            }
            (Some(_), None, true) => {
                found.add(at("extension"), "the trunk is not told whom to ring", "add extension");
            }
            (None, Some(_), _) => found.add(at("extension"), "an extension without a trunk", "add trunk"),
            (Some(_), Some(_), true) | (None, None, false) => {}
        }
        if let Some(extension) = &number.extension
            && (extension.is_empty()
                || !extension.chars().all(|c| c.is_ascii_alphanumeric() || "-_.*#".contains(c)))
        {
            found.add(
                at("extension"),
                format!("{extension:?} is no extension"),
                "use letters, digits and -_.*#",
            );
        }
        if let Some(trunk) = &number.trunk
            && !config.trunks.iter().any(|t| t.name == *trunk)
        {
            found.add(
                at("trunk"),
                format!("no trunk named {trunk:?}"),
                "add a [[trunks]] section with that name",
            );
        }
        for agent in &number.agents {
            if !config.accounts.iter().any(|a| a.name == *agent) {
                found.add(
                    at("agents"),
                    format!("no account named {agent:?}"),
                    "add an [[accounts]] section with that name",
                );
            }
        }
    }
}

fn businesses(config: &Config, found: &mut Findings) {
    let (mut seen, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for (i, business) in config.businesses.iter().enumerate() {
        let at = |field: &str| format!("businesses[{i}].{field}");
        if let Some(id) = &business.id
            && !ids.insert(id)
        {
            found.add(
                at("id"),
                format!("another business has the id {id}, and whose a webhook is cannot be told"),
                "give each business Meta's id of its own account (WABA)",
            );
        }
        name(&at("name"), &business.name, &mut seen, found);
        for (i, secret) in business.app_secrets.iter().enumerate() {
            found.password(&format!("{}[{i}]", at("app_secrets")), secret);
        }
        let has_numbers = config.numbers.iter().any(|it| it.business.as_ref() == Some(&business.name));
        if !business.app_secrets.is_empty() && !has_numbers {
            found.add(
                at("app_secrets"),
                "no number is of this business, so that its webhooks would be about none of ours",
                format!("write business = {:?} in the [[numbers]] of its numbers", business.name),
            );
        }
        if let Some(token) = &business.token {
            found.password(&at("token"), token);
        }
    }
}

/// What each way of signalling needs.
fn signalling(config: &Config, number: &Number, at: &dyn Fn(&str) -> String, found: &mut Findings) {
    let webhooks = config.webhooks.is_some();
    let mut need = |field: &str, missing: bool, remedy: &str| {
        if missing {
            found.add(at(field), format!("missing, with the signalling of {}", number.number), remedy);
        }
    };
    match number.signalling {
        Signalling::Sip => {
            let none = number.password.is_none() && number.provider.is_none();
            need("password", none, "name where Meta's SIP password is found");
        }
        Signalling::Graph => {
            need("token", config.token_of(number).is_none(), "name where the access token is found");
            need("phone_number_id", number.phone_number_id.is_none(), "give Meta's id of the number");
            need("signalling", !webhooks, "add a [webhooks] section: calls come by webhooks");
        }
    }
    if let Some(provider) = &number.provider {
        need("provider", !webhooks, "add a [webhooks] section: the provider's calls come by webhooks");
        let host = provider.url.strip_prefix("https://").unwrap_or_default();
        if host.is_empty()
            || host.starts_with(['/', ':'])
            || !host.bytes().all(|byte| byte.is_ascii_graphic())
        {
            found.add(
                at("provider.url"),
                format!("{:?} is no https address", provider.url),
                "write it as https://HOST/PATH",
            );
        }
        if !(5..=3_600).contains(&provider.wait_s) {
            found.add(at("provider.wait_s"), format!("{} s", provider.wait_s), "wait 5 to 3600 s");
        }
        found.password(&at("provider.token"), &provider.token);
    }
    for (field, source) in [("password", &number.password), ("token", &number.token)] {
        if let Some(source) = source {
            found.password(&at(field), source);
        }
    }
}

fn accounts(config: &Config, found: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (i, account) in config.accounts.iter().enumerate() {
        let at = |field: &str| format!("accounts[{i}].{field}");
        name(&at("name"), &account.name, &mut seen, found);
        found.password(&at("password"), &account.password);
        outbound(&at("number"), account.number.as_deref(), config, found);
        if account.codecs.is_empty() {
            found.add(at("codecs"), "no codec", "remove the line for the default, or list at least one");
        }
    }
}

fn trunks(config: &Config, found: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (i, trunk) in config.trunks.iter().enumerate() {
        let at = |field: &str| format!("trunks[{i}].{field}");
        name(&at("name"), &trunk.name, &mut seen, found);
        outbound(&at("number"), trunk.number.as_deref(), config, found);
        if trunk.codecs.is_empty() {
            found.add(at("codecs"), "no codec", "remove the line for the default, or list at least one");
        }
        host(&at("host"), &trunk.host, found);
        if trunk.number.is_some() && trunk.networks.is_empty() {
            found.add(
                at("networks"),
                "the trunk may call customers but no network is named to take its calls from",
                "list the PBX's address, such as [\"10.0.0.20/32\"]",
            );
        }
    }
}

fn graph(config: &Config, found: &mut Findings) {
    let graph = &config.graph;
    host("graph.host", &graph.host, found);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let version = graph.version.strip_prefix('v').and_then(|version| version.split_once('.'));
    if !version.is_some_and(|(major, minor)| digits(major) && digits(minor)) {
        found.add(
            "graph.version",
            format!("{:?} is no version of Graph", graph.version),
            "write it as \"v23.0\", or remove the line for the default",
        );
    }
}

fn log(config: &Config, found: &mut Findings) {
    if let Some(word) = config.log.level.as_deref().and_then(no_level) {
        found.add(
            "log.level",
            format!("{word:?} is no level"),
            "use error, warn, info, debug or trace, or a filter such as \"info,setu_sip=debug\"",
        );
    }
}

fn store(config: &Config, found: &mut Findings) {
    let store = &config.store;
    if store.file.is_some() && store.postgres.is_some() {
        found.add(
            "store.file",
            "a file and a server (store.postgres), and there is one database",
            "keep one of the two lines",
        );
    }
    if let Some(password) = &store.password {
        found.password("store.password", password);
    }
    if store.keep_cdrs_days.is_some_and(|days| !(31..=36_500).contains(&days)) {
        found.add(
            "store.keep_cdrs_days",
            "not from 31 to 36500",
            "write at least 31, since reports are of a month, or remove the line to keep records for ever",
        );
    }
    match &store.postgres {
        Some(url) if !url.starts_with("postgres://") && !url.starts_with("postgresql://") => found.add(
            "store.postgres",
            "it does not begin with postgres://",
            "write it as \"postgres://user@host/database\"",
        ),
        None if store.password.is_some() => {
            found.add(
                "store.password",
                "a password without a server",
                "add store.postgres, or remove this line",
            );
        }
        Some(_) | None => {}
    }
}

fn events(config: &Config, found: &mut Findings) {
    let mut seen = BTreeSet::new();
    let events = &config.events;
    if !(1..=100).contains(&events.tries) || !(1..=3_600).contains(&events.retry_s) {
        found.add("events", "out of range", "choose 1 to 100 for tries and 1 to 3600 for retry_s");
    }
    for (i, endpoint) in events.endpoints.iter().enumerate() {
        let at = |field: &str| format!("events.endpoints[{i}].{field}");
        name(&at("name"), &endpoint.name, &mut seen, found);
        if let Err(problem) = endpoint.url.parse::<EventUrl>() {
            found.add(at("url"), problem, "write it as \"https://crm.example.com/hooks/setu\"");
        }
        if endpoint.secrets.is_empty() {
            found.add(
                at("secrets"),
                "no secret",
                "name where it is found, such as [{ file = \"secrets/crm.secret\" }]",
            );
        }
        for (i, secret) in endpoint.secrets.iter().enumerate() {
            let at = format!("{}[{i}]", at("secrets"));
            match secret.read().map(|secret| EventSecret::parse(&secret)) {
                Err(problem) => found.add(at, problem, "put the secret there"),
                Ok(Err(problem)) => found.add(at, "no secret", problem),
                Ok(Ok(_)) => {}
            }
        }
        if endpoint.kinds.as_ref().is_some_and(BTreeSet::is_empty) {
            found.add(
                at("kinds"),
                "nothing is told",
                "remove the line for the default, or list at least one",
            );
        }
    }
}

fn api(config: &Config, found: &mut Findings) {
    let Some(api) = &config.api else { return };
    let (mut seen, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    if api.tokens.is_empty() {
        found.add("api.tokens", "no token, so that nobody may ask", "add [[api.tokens]], or remove [api]");
    }
    for (i, token) in api.tokens.iter().enumerate() {
        let at = |field: &str| format!("api.tokens[{i}].{field}");
        name(&at("name"), &token.name, &mut seen, found);
        match token.token.read() {
            Err(problem) => found.add(at("token"), problem, "put the token there"),
            Ok(secret) if secret.reveal().len() < SHORTEST_TOKEN => found.add(
                at("token"),
                format!("shorter than {SHORTEST_TOKEN} characters"),
                "make one with `openssl rand -hex 32`",
            ),
            Ok(secret) if !secrets.insert(secret.reveal().clone()) => found.add(
                at("token"),
                "another token is the same, and which of them counts is not said",
                "make one for each with `openssl rand -hex 32`",
            ),
            Ok(_) => {}
        }
        for word in token.scopes.iter().filter(|word| setu_control::Scope::of_word(word).is_none()) {
            let known = setu_control::Scope::ALL.map(setu_control::Scope::word).join(", ");
            found.add(at("scopes"), format!("{word:?} is no scope"), format!("choose among {known}"));
        }
    }
}

/// A shorter token can be guessed.
const SHORTEST_TOKEN: usize = 16;

fn webhooks(config: &Config, found: &mut Findings) {
    let Some(webhooks) = &config.webhooks else { return };
    if webhooks.app_secrets.is_empty() && config.businesses.iter().all(|it| it.app_secrets.is_empty()) {
        found.add(
            "webhooks.app_secrets",
            "no secret, so that every webhook would be refused",
            "name where the app's secret is found, such as [{ file = \"secrets/app.secret\" }]",
        );
    }
    for (i, secret) in webhooks.app_secrets.iter().enumerate() {
        found.password(&format!("webhooks.app_secrets[{i}]"), secret);
    }
    found.password("webhooks.verify_token", &webhooks.verify_token);
    if !(1..=3_600).contains(&webhooks.connect_within_s) {
        found.add(
            "webhooks.connect_within_s",
            format!("{} s", webhooks.connect_within_s),
            "write 1 to 3600: who waits longer for an answer has given up",
        );
    }
    for host in &webhooks.sip_hosts {
        let name = host.strip_prefix("*.").unwrap_or(host);
        let odd = name.is_empty() || name.contains(['*', '/', ' ', ';', '@']);
        // One label is a registry's: all below it is everybody.
        if !odd && name != host && !name.trim_end_matches('.').contains('.') {
            found.add(
                "webhooks.sip_hosts",
                format!("{host:?} is every name below {name:?}, whoever has it"),
                "name the provider's own domain, such as \"*.example.com\"",
            );
        }
        if odd {
            found.add(
                "webhooks.sip_hosts",
                format!("{host:?} is no host"),
                "write a name such as \"edge.example.com\", or \"*.example.com\" for all below one",
            );
        }
    }
}

fn limits(config: &Config, found: &mut Findings) {
    let limits = &config.limits;
    if !(5..=60).contains(&config.ringing.total_s) {
        found.add("ringing.total_s", "Meta gives up after 30 to 60 seconds", "choose 5 to 60");
    }
    if !(5..=60).contains(&config.ringing.agent_s) || !(5..=300).contains(&config.ringing.customer_s) {
        found.add("ringing", "out of range", "choose 5 to 60 for agent_s and 5 to 300 for customer_s");
    }
    if let Some(code) = &config.dial_plan.country_code
        && (!(1..=3).contains(&code.len()) || !code.bytes().all(|digit| digit.is_ascii_digit()))
    {
        found.add(
            "dial_plan.country_code",
            format!("{code:?} is no country code"),
            "write its digits, without +",
        );
    }
    for (name, addresses) in &config.resolve.fixed {
        for address in addresses {
            if let Err(error) = address.parse::<setu_sip_net::PinnedAddress>() {
                found.add(
                    format!("resolve.static.{name}"),
                    error.to_string(),
                    "give an address, with a port or without",
                );
            }
        }
    }
    if limits.calls == 0 || limits.connections == 0 {
        found.add("limits", "a limit of 0 forbids everything", "choose at least 1");
    }
    if !(1..=64).contains(&limits.media_threads) {
        found.add("limits.media_threads", "out of range", "choose 1 to 64, at most one a core");
    }
    if !(1..=setu_model::limits::CALL_HOURS * 60).contains(&limits.call_minutes) {
        found.add("limits.call_minutes", "out of range", "choose 1 to 720");
    }
    if !(5..=3600).contains(&limits.silence_s) {
        found.add("limits.silence_s", "out of range", "choose 5 to 3600");
    }
}

/// A port or a scheme in a host would be looked up in DNS as part of its name.
fn host(setting: &str, host: &str, found: &mut Findings) {
    let name = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !name && host.parse::<IpAddr>().is_err() {
        found.add(
            setting,
            format!("{host:?} is neither a host name nor an address"),
            "write it without sip: and without a port, which is a setting of its own",
        );
    }
}

pub(super) fn e164(setting: &str, number: &str, found: &mut Findings) {
    let digits = number.strip_prefix('+').unwrap_or("");
    if !(7..=15).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        found.add(setting, format!("{number:?} is not E.164"), "write it as +, country code and number");
    }
}

pub(super) fn name<'a>(setting: &str, name: &'a str, seen: &mut BTreeSet<&'a str>, found: &mut Findings) {
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        found.add(setting, format!("{name:?} is no name"), "use letters, digits and -_.");
    }
    if !seen.insert(name) {
        found.add(setting, format!("{name:?} is listed twice"), "keep one of them");
    }
}

fn outbound(setting: &str, number: Option<&str>, config: &Config, found: &mut Findings) {
    if let Some(number) = number
        && !config.numbers.iter().any(|n| n.number == number)
    {
        found.add(setting, format!("{number} is not among [[numbers]]"), "add it there, or remove this line");
    }
}

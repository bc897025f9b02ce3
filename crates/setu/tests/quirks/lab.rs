//! Certificates, twins and a bridge between them, all on 127.0.0.1 and each test with its own.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use setu::{Bridge, Config};
use setu_model::{Cause, Cdr};
use setu_store::{Location, Store};
use setu_twin::agent::{Habits, PhoneAnswer, PhoneConfig, PhoneReport};
use setu_twin::graph::{GraphConfig, GraphHabits, GraphNumber};
use setu_twin::meta::{Answer, Answering, BusinessNumber, CallReport, CallSpec, EdgeConfig, Quirks};
use setu_twin::shell::{
    self, EdgeHandle, EdgeOptions, GraphHandle, GraphOptions, PhoneHandle, PhoneOptions, TestAuthority,
};
use setu_twin::webhook::WebhookSender;
use setu_twin::{Person, Transport};
use tokio::sync::broadcast;

use crate::ports::port;

pub(crate) const CUSTOMER_HZ: u32 = 440;
pub(crate) const AGENT_HZ: u32 = 880;
pub(crate) const HOSTNAME: &str = "sip.bridge.example";
pub(crate) const PROVIDER: &str = "agent-bridge.example.in";
pub(crate) const API_TOKEN: &str = "a-token-that-nobody-guesses";
pub(crate) const SECRET: &str = "an-app-secret";
pub(crate) const NUMBER: &str = "+911234567890";
pub(crate) const CUSTOMER: &str = "+919876543210";
/// Nothing in these tests takes longer, on however busy a machine. A consent alone lasts half of it (RFC 7675).
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What differs from one test to the next.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) quirks: Quirks,
    pub(crate) user_params: Vec<(String, String)>,
    /// How the WhatsApp user takes calls of the business.
    pub(crate) answer: Answer,
    pub(crate) customer: Person,
    /// What each of the agent's phones does; all register under one account.
    pub(crate) phones: Vec<Habits>,
    pub(crate) transport: Transport,
    /// The digest algorithms the phones know.
    pub(crate) algorithms: Vec<setu_twin::Algorithm>,
    /// Settings of the agent's account.
    pub(crate) account: &'static str,
    /// Settings of the business number.
    pub(crate) number: &'static str,
    /// Whether calls ask the gate.
    pub(crate) gate: &'static str,
    /// Further sections of the configuration.
    pub(crate) config: &'static str,
    /// How the provider's edge takes calls that a webhook asks for.
    pub(crate) provider: Habits,
    /// Meta's Graph side, for a number that it signals.
    pub(crate) graph: Option<GraphHabits>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            quirks: Quirks::default(),
            user_params: Vec::new(),
            answer: Answer::After(100),
            customer: Person::saying(CUSTOMER_HZ),
            phones: vec![agent()],
            transport: Transport::Udp,
            algorithms: vec![setu_twin::Algorithm::Sha256, setu_twin::Algorithm::Md5],
            account: "",
            number: "",
            gate: "off",
            config: "",
            provider: Habits {
                answer: PhoneAnswer::AfterMs(100),
                person: Person::saying(CUSTOMER_HZ),
                ..PhoneConfig::provider_edge(PROVIDER).habits
            },
            graph: None,
        }
    }
}

impl Setup {
    pub(crate) fn quirks(change: impl FnOnce(&mut Quirks)) -> Self {
        let mut setup = Self::default();
        change(&mut setup.quirks);
        setup
    }

    pub(crate) fn habits(change: impl FnOnce(&mut Habits)) -> Self {
        let mut habits = agent();
        change(&mut habits);
        Self { phones: vec![habits], ..Self::default() }
    }

    pub(crate) async fn start(self) -> Lab {
        Lab::start(self).await
    }
}

/// An agent who answers soon and talks until the other side hangs up.
pub(crate) fn agent() -> Habits {
    Habits { answer: PhoneAnswer::AfterMs(100), person: Person::saying(AGENT_HZ), ..Habits::default() }
}

/// An agent who hangs up after `ms`.
pub(crate) fn agent_for(ms: u64) -> Habits {
    Habits { person: Person::saying(AGENT_HZ).hanging_up_after(ms), ..agent() }
}

/// A customer who talks for `ms`.
pub(crate) fn customer_for(ms: u64) -> CallSpec {
    CallSpec::new(CUSTOMER, NUMBER).by(Person::saying(CUSTOMER_HZ).hanging_up_after(ms))
}

/// Everything that runs.
pub(crate) struct Lab {
    pub(crate) bridge: Bridge,
    pub(crate) edge: EdgeHandle,
    /// Where a provider's customers wait.
    pub(crate) provider: PhoneHandle,
    graph: Option<GraphHandle>,
    pub(crate) phones: Vec<PhoneHandle>,
    cdrs: broadcast::Receiver<Arc<Cdr>>,
    setup: Setup,
    pub(crate) authority: TestAuthority,
    pub(crate) folder: tempfile::TempDir,
}

/// What the three parties said of one call.
pub(crate) struct Call {
    pub(crate) cdr: Cdr,
    pub(crate) customer: CallReport,
    /// Every phone that saw the call, in the order of the phones.
    pub(crate) agents: Vec<PhoneReport>,
}

impl Lab {
    pub(crate) async fn start(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = TestAuthority::new().unwrap();
        let identity = authority.issue(&[HOSTNAME]).unwrap();
        for (name, text) in [
            ("b.pem", &*identity.certificate_pem),
            ("b.key", &*identity.key_pem),
            ("ca.pem", authority.pem()),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let (meta, tcp, tls, udp) = (port(), port(), port(), port());
        let config = EdgeConfig {
            sip_port: 0,
            media_ports: vec![0; 2],
            numbers: vec![BusinessNumber {
                user_params: setup.user_params.clone(),
                ..BusinessNumber::with_sdes(NUMBER, HOSTNAME, meta, "a-number")
            }],
            quirks: setup.quirks.clone(),
            anyone: Answering { answer: setup.answer, person: setup.customer.clone(), quirks: None },
            ..EdgeConfig::default()
        };
        let mut options = EdgeOptions::new(config, &authority).unwrap();
        options.resolve.insert(HOSTNAME.to_owned(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let edge = shell::spawn_edge(options).await.unwrap();
        let provider = provider(&setup, &authority).await;
        let graph = match setup.graph.clone() {
            Some(habits) => Some(graph(&setup, habits, &authority).await),
            None => None,
        };
        let https = graph.as_ref().map_or(443, |graph| graph.config().https_port);
        let edges = [edge.sip_address().port(), provider.config().sip_port, https];
        let text = config_text(&setup, [meta, tcp, tls, udp], edges);
        let bridge = Bridge::start(Config::parse(&text, folder.path()).unwrap()).await.unwrap();
        if let Some(graph) = &graph {
            let to = bridge.webhook_address().unwrap();
            graph.with(move |edge, _| edge.send_webhooks_to(to)).await.unwrap();
        }
        let cdrs = bridge.cdrs();
        let mut phones = Vec::new();
        for habits in &setup.phones {
            let port = match setup.transport {
                Transport::Udp => udp,
                Transport::Tcp => tcp,
                Transport::Tls => tls,
            };
            phones.push(phone(&setup, habits.clone(), port, &authority).await);
        }
        Self { bridge, edge, provider, graph, phones, cdrs, setup, authority, folder }
    }

    /// A second bridge of the same operator, which knows nothing of the first, and a phone at it.
    pub(crate) async fn second_bridge(&self) -> (Bridge, PhoneHandle) {
        let ports = [port(), port(), port(), port()];
        let edges = [self.edge.sip_address().port(), self.provider.config().sip_port, 443];
        let text = config_text(&self.setup, ports, edges);
        let text = format!("{text}[cdr]\nfile = \"second.jsonl\"\n");
        let bridge = Bridge::start(Config::parse(&text, self.folder.path()).unwrap()).await.unwrap();
        (bridge, phone(&self.setup, agent(), ports[3], &self.authority).await)
    }

    /// Whether the database has a call that is not finished.
    pub(crate) async fn keeps(&self, call: &str) -> bool {
        let at = Location::Sqlite(self.folder.path().join("setu.db"));
        let store = Store::open(&at).await.unwrap();
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let owner = format!("{}:{}", host.trim(), self.folder.path().join("cdr.jsonl").display());
        let known = store.unfinished(&owner, 10).await.unwrap().iter().any(|it| it.call == call);
        store.close().await;
        known
    }

    /// The first phone.
    pub(crate) fn phone(&self) -> &PhoneHandle {
        self.phones.first().unwrap()
    }

    /// A WhatsApp user calls the business.
    pub(crate) async fn user_calls(&mut self, spec: CallSpec) -> Call {
        let mut events: Vec<_> = self.phones.iter().map(|phone| phone.events()).collect();
        let customer = tokio::time::timeout(PATIENCE, self.edge.call(spec)).await.unwrap().unwrap();
        let cdr = self.next_cdr().await;
        Call { cdr, customer, agents: reports(&mut events).await }
    }

    /// The agent calls a WhatsApp user.
    pub(crate) async fn agent_calls(&mut self, habits: Habits) -> Call {
        let most = PATIENCE;
        let (agent, customer) = tokio::join!(
            self.phones.first().unwrap().dial(CUSTOMER, Some(habits)),
            self.edge.next_business_call(most)
        );
        Call { cdr: self.next_cdr().await, customer: customer.unwrap(), agents: vec![agent.unwrap()] }
    }

    /// Meta's Graph side.
    pub(crate) fn graph(&self) -> &GraphHandle {
        self.graph.as_ref().unwrap()
    }

    /// Sends webhooks to the bridge, as Meta or a provider.
    pub(crate) fn webhooks(&self) -> WebhookSender {
        WebhookSender { to: self.bridge.webhook_address().unwrap(), secret: SECRET.to_owned() }
    }

    /// Whether a call is over that nobody has asked for yet.
    pub(crate) fn has_another_cdr(&mut self) -> bool {
        self.cdrs.try_recv().is_ok()
    }

    pub(crate) async fn next_cdr(&mut self) -> Cdr {
        let cdr = tokio::time::timeout(PATIENCE, self.cdrs.recv()).await.unwrap().unwrap();
        (*cdr).clone()
    }
}

async fn reports(events: &mut [broadcast::Receiver<setu_twin::agent::PhoneEvent>]) -> Vec<PhoneReport> {
    let mut found = Vec::new();
    for events in events {
        let mut invited = 0_usize;
        loop {
            // The bridge's record is written when every leg is over; the phone hears of it about then.
            let wait = if invited == 0 { Duration::ZERO } else { PATIENCE };
            match tokio::time::timeout(wait, events.recv()).await {
                Ok(Ok(setu_twin::agent::PhoneEvent::Invited(_))) => invited += 1,
                Ok(Ok(event)) => {
                    if let Some(report) = event.ended() {
                        found.push(report.clone());
                        break;
                    }
                }
                Ok(Err(_)) | Err(_) => break,
            }
        }
    }
    found
}

impl Call {
    pub(crate) fn agent(&self) -> &PhoneReport {
        self.agents.first().unwrap()
    }

    /// Both talked, nothing was wrong in Meta's eyes, and what the customer heard was one unbroken stream.
    #[track_caller]
    pub(crate) fn went_well(&self) -> &Self {
        self.kept_the_rules();
        assert_eq!(self.cdr.termination.cause, Cause::Success, "{}", self.cdr.termination);
        assert_hz(self.customer.heard.hz, AGENT_HZ);
        assert_hz(self.agents.iter().find(|agent| agent.answered).unwrap().heard.hz, CUSTOMER_HZ);
        self
    }

    /// Nothing was wrong in Meta's eyes, and whatever the customer heard was one unbroken stream.
    #[track_caller]
    pub(crate) fn kept_the_rules(&self) -> &Self {
        let heard = &self.customer.heard;
        assert_eq!(self.customer.violations, [], "{:?}", self.customer);
        assert!(heard.ssrcs.len() <= 1, "{heard:?}");
        assert_eq!((heard.sequence_jumps, heard.timestamp_jumps), (0, 0), "{heard:?}");
        assert_eq!((heard.ptime_violations, heard.srtp_failures, heard.unknown), (0, 0, 0), "{heard:?}");
        self
    }

    /// What the bridge asked of Meta inside the dialog.
    #[track_caller]
    pub(crate) fn asked_only(&self, requests: &[&str]) -> &Self {
        assert_eq!(self.customer.requests, requests);
        self
    }
}

#[track_caller]
pub(crate) fn assert_hz(heard: Option<f64>, expected: u32) {
    assert!(
        heard.is_some_and(|hz| (hz - f64::from(expected)).abs() < 8.0),
        "heard {heard:?}, not {expected}"
    );
}

async fn phone(setup: &Setup, habits: Habits, port: u16, authority: &TestAuthority) -> PhoneHandle {
    let mut options = PhoneOptions::new(PhoneConfig {
        bridge_host: HOSTNAME.to_owned(),
        bridge_port: port,
        // Over a stream it is only a number in the Contact: calls come over the phone's own connection.
        sip_port: if setup.transport == Transport::Udp { 0 } else { 5062 },
        media_ports: vec![0; 4],
        answers_algorithms: setup.algorithms.clone(),
        habits,
        ..PhoneConfig::softphone("alice", "an-agent", "setu", setup.transport)
    });
    authority.pem().clone_into(&mut options.roots_pem);
    options.resolve.insert(HOSTNAME.to_owned(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    let phone = shell::spawn_phone(options).await.unwrap();
    phone.register(PATIENCE).await.unwrap();
    phone
}

async fn graph(setup: &Setup, habits: GraphHabits, authority: &TestAuthority) -> GraphHandle {
    let config = GraphConfig {
        https_port: 0,
        media_ports: vec![0; 2],
        numbers: vec![GraphNumber {
            number: NUMBER.to_owned(),
            id: "PHONE_NUMBER_ID".to_owned(),
            token: "a-token".to_owned(),
        }],
        secret: SECRET.to_owned(),
        quirks: setup.quirks.clone(),
        habits,
        anyone: Answering { answer: setup.answer, person: setup.customer.clone(), quirks: None },
        ..GraphConfig::default()
    };
    let identity = authority.issue(&[&config.host]).unwrap();
    shell::spawn_graph(GraphOptions { config, identity }).await.unwrap()
}

async fn provider(setup: &Setup, authority: &TestAuthority) -> PhoneHandle {
    let config = PhoneConfig {
        sip_port: 0,
        media_ports: vec![0; 4],
        habits: setup.provider.clone(),
        ..PhoneConfig::provider_edge(PROVIDER)
    };
    let identity = Some(authority.issue(&[PROVIDER]).unwrap());
    shell::spawn_phone(PhoneOptions { identity, ..PhoneOptions::new(config) }).await.unwrap()
}

fn config_text(setup: &Setup, [meta, tcp, tls, udp]: [u16; 4], [edge, provider, graph]: [u16; 3]) -> String {
    static MEDIA: AtomicU16 = AtomicU16::new(0);
    // Below the range the system hands out. Ports of other processes' tests in it are skipped as busy.
    let shift = u16::try_from(std::process::id() % 50).unwrap() * 4;
    let media = 12_000 + (MEDIA.fetch_add(1, Ordering::Relaxed) % 110 * 160 + shift) % 18_000;
    let (account, number, rest, gate) = (setup.account, setup.number, setup.config, setup.gate);
    format!(
        r#"
[meta]
bind = "127.0.0.1:{meta}"
hostname = "{HOSTNAME}"
certificate = "b.pem"
private_key = "b.key"
extra_roots = "ca.pem"
[meta.media]
bind = "127.0.0.1"
ports = "{media}-{}"
[agents]
udp = "127.0.0.1:{udp}"
tcp = "127.0.0.1:{tcp}"
tls = "127.0.0.1:{tls}"
hostname = "127.0.0.1"
certificate = "b.pem"
private_key = "b.key"
[agents.media]
bind = "127.0.0.1"
ports = "{}-{}"
[[numbers]]
number = "{NUMBER}"
password = "a-number"
phone_number_id = "PHONE_NUMBER_ID"
gate = "{gate}"
agents = ["alice"]
{number}
[[accounts]]
name = "alice"
password = "an-agent"
number = "{NUMBER}"
{account}
[resolve.static]
"wa.meta.vc" = ["127.0.0.1:{edge}"]
"{PROVIDER}" = ["127.0.0.1:{provider}"]
"graph.facebook.com" = ["127.0.0.1:{graph}"]
"other.example.in" = ["127.0.0.1:{provider}"]
"inside.example.in" = ["169.254.169.254"]
"private.example.in" = ["10.0.0.1"]
[graph]
extra_roots = "ca.pem"
[webhooks]
bind = "127.0.0.1:0"
app_secrets = ["{SECRET}"]
verify_token = "a-token"
sip_hosts = ["{PROVIDER}", "*.example.in"]
[egress]
allow = ["127.0.0.0/8"]
[http]
bind = "127.0.0.1:0"
[api]
bind = "127.0.0.1:0"
[[api.tokens]]
name = "crm"
token = "{API_TOKEN}"
scopes = ["calls:read", "calls:write", "reservations:read", "reservations:write", "readiness:read", "permissions:request"]
{rest}
"#,
        media + 79,
        media + 80,
        media + 159,
    )
}

//! The demo's set-up: certificates, the two twins and the bridge between them, all on 127.0.0.1.

use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use serde_json::json;
use setu_model::{Cdr, RuleRefusal};
use setu_twin::Person;
use setu_twin::Transport;
use setu_twin::agent::{Habits, PhoneAnswer, PhoneConfig};
use setu_twin::graph::{GraphCallSpec, GraphConfig, GraphNumber};
use setu_twin::meta::{Answer, Answering, BusinessNumber, CallSpec, EdgeConfig};
use setu_twin::shell::{
    self, EdgeHandle, EdgeOptions, GraphHandle, GraphOptions, Identity, PhoneHandle, PhoneOptions,
    TestAuthority,
};
use setu_twin::webhook::{WebhookSender, provider_event};
use tokio::sync::broadcast;

use super::Witnesses;
use crate::bridge::Bridge;
use crate::config::Config;

/// The customer's tone.
pub(super) const CUSTOMER_HZ: u32 = 440;
/// The agent's tone.
pub(super) const AGENT_HZ: u32 = 880;

const HOSTNAME: &str = "sip.bridge.example";
const NUMBER: &str = "+911234567890";
const CUSTOMER: &str = "+919876543210";
const PROVIDER: &str = "edge.provider.example";
const PHONE_NUMBER_ID: &str = "106540352242922";
const GRAPH_NUMBER: &str = "+911234567899";
const GRAPH_NUMBER_ID: &str = "106540352242923";
const TOKEN: &str = "demo-token";
const SECRET: &str = "demo-secret";
const TALK_MS: u64 = 3_000;
/// Nothing in the demo takes longer.
const PATIENCE: Duration = Duration::from_secs(12);

/// Everything that runs.
pub(super) struct Lab {
    bridge: Bridge,
    cdrs: broadcast::Receiver<Arc<Cdr>>,
    edge: EdgeHandle,
    phone: PhoneHandle,
    /// Where a provider's customers wait.
    provider: PhoneHandle,
    webhooks: WebhookSender,
    graph: GraphHandle,
}

impl Lab {
    /// Starts the twins and the bridge, and registers the agent's phone.
    pub(super) async fn start(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder.join("tls"))
            .with_context(|| format!("cannot make {}; name another with --folder", folder.display()))?;
        let folder = folder.canonicalize()?;
        let authority = TestAuthority::new()?;
        let ports = Ports::pick()?;

        let edge = start_edge(&authority, &ports).await?;
        write_tls(&folder, &authority)?;
        let provider = start_provider(&authority).await?;
        let graph = start_graph(&authority).await?;
        let edges = Edges {
            meta: edge.sip_address().port(),
            provider: provider.config().sip_port,
            graph: graph.config().https_port,
        };
        let config = config(&folder, &ports, &edges)?;
        let bridge = Bridge::start(config).await?;
        let cdrs = bridge.cdrs();
        let to = bridge.webhook_address().context("the bridge takes no webhooks")?;
        let webhooks = WebhookSender { to, secret: SECRET.to_owned() };
        graph.with(move |edge, _| edge.send_webhooks_to(to)).await?;

        let phone = shell::spawn_phone(PhoneOptions::new(PhoneConfig {
            bridge_host: Ipv4Addr::LOCALHOST.to_string(),
            bridge_port: ports.agents,
            sip_port: 0,
            media_ports: vec![0; 4],
            habits: Habits {
                answer: PhoneAnswer::AfterMs(400),
                person: Person::saying(AGENT_HZ),
                ..Habits::default()
            },
            ..PhoneConfig::softphone("alice", "demo-alice", "setu", Transport::Udp)
        }))
        .await?;
        phone
            .register(PATIENCE)
            .await
            .map_err(|status| anyhow!("the agent's phone could not register: {status:?}"))?;
        Ok(Self { bridge, cdrs, edge, phone, provider, webhooks, graph })
    }

    /// A WhatsApp user calls the business, talks, and hangs up.
    pub(super) async fn user_calls(&mut self) -> Result<Witnesses> {
        let spec = CallSpec {
            name: Some("Asha".to_owned()),
            cta_payload: Some("order-4711".to_owned()),
            ..CallSpec::new(CUSTOMER, NUMBER).by(Person::saying(CUSTOMER_HZ).hanging_up_after(TALK_MS))
        };
        let (customer, agent) = tokio::join!(self.edge.call(spec), self.phone.next_report(PATIENCE));
        let agent_heard_hz = agent.context("the agent's phone saw no end of the call")?.heard.hz;
        let customer = customer?;
        Ok(Witnesses {
            cdr: self.next_cdr().await?,
            customer: customer.heard,
            customer_answered: customer.answered_at,
            agent_heard_hz,
        })
    }

    /// The agent calls a WhatsApp user who has taken permission back; then the user gives it.
    pub(super) async fn agent_may_not_call(&mut self) -> Result<Vec<RuleRefusal>> {
        // An earlier demo in the same folder ended with permission.
        self.user_replies("reject", 1).await?;
        let agent = self.phone.dial(CUSTOMER, None).await?;
        let cdr = self.next_cdr().await?;
        anyhow::ensure!(!agent.answered, "a call without permission was made");
        self.user_replies("accept", 0).await?;
        Ok(cdr.refused)
    }

    /// A webhook tells how the user replied to a permission request, some seconds ago.
    async fn user_replies(&self, response: &str, ago_s: u64) -> Result<()> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let value = json!({
            "messaging_product": "whatsapp",
            "metadata": { "display_phone_number": NUMBER, "phone_number_id": PHONE_NUMBER_ID },
            "messages": [{
                "from": CUSTOMER.trim_start_matches('+'),
                "id": format!("wamid.demo.{response}.{}", since.as_millis()),
                "timestamp": (since.as_secs() - ago_s).to_string(),
                "type": "interactive",
                "context": { "id": "wamid.demo.request" },
                "interactive": {
                    "type": "call_permission_reply",
                    "call_permission_reply":
                        { "response": response, "is_permanent": true, "response_source": "user_action" },
                },
            }],
        });
        let body = json!({
            "object": "whatsapp_business_account",
            "entry": [{ "id": "1", "changes": [{ "field": "messages", "value": value }] }],
        });
        let status = self.webhooks.post("/webhooks/whatsapp", &body.to_string()).await?;
        anyhow::ensure!(status == 200, "the bridge did not take the webhook");
        Ok(())
    }

    /// The agent calls a WhatsApp user, talks, and hangs up.
    pub(super) async fn agent_calls(&mut self) -> Result<Witnesses> {
        let habits =
            Habits { person: Person::saying(AGENT_HZ).hanging_up_after(TALK_MS), ..Habits::default() };
        let (agent, customer) =
            tokio::join!(self.phone.dial(CUSTOMER, Some(habits)), self.edge.next_business_call(PATIENCE));
        let customer = customer.context("the WhatsApp user saw no end of the call")?;
        Ok(Witnesses {
            cdr: self.next_cdr().await?,
            customer: customer.heard,
            customer_answered: customer.answered_at,
            agent_heard_hz: agent?.heard.hz,
        })
    }

    /// A provider's webhook names the URI at which a WhatsApp user waits, who talks and hangs up.
    pub(super) async fn webhook_asks(&mut self) -> Result<Witnesses> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let body = provider_event(
            PHONE_NUMBER_ID,
            &json!({
                // The store of an earlier demo in the same folder knows its own.
                "id": format!("wacid.demo.{}", since.as_millis()),
                "from": CUSTOMER,
                "timestamp": since.as_secs().to_string(),
                "type": "audio",
                "sip": format!("sip:{PROVIDER};transport=tls"),
                "permission_source": "template_button",
            }),
        );
        let (status, customer, agent) = tokio::join!(
            self.webhooks.post("/webhooks/whatsapp/call.connect", &body),
            self.provider.next_report(PATIENCE),
            self.phone.next_report(PATIENCE)
        );
        anyhow::ensure!(status? == 200, "the bridge did not take the webhook");
        let customer = customer.context("the provider saw no end of the call")?;
        let agent = agent.context("the agent's phone saw no end of the call")?;
        Ok(Witnesses {
            cdr: self.next_cdr().await?,
            customer: customer.heard,
            customer_answered: customer.answered_at,
            agent_heard_hz: agent.heard.hz,
        })
    }

    /// A WhatsApp user calls a number that Graph signals, talks, and hangs up.
    pub(super) async fn user_calls_by_graph(&mut self) -> Result<Witnesses> {
        let person = Person::saying(CUSTOMER_HZ).hanging_up_after(TALK_MS);
        let spec = GraphCallSpec::new(CUSTOMER, GRAPH_NUMBER).by(person);
        let (customer, agent) =
            tokio::join!(self.graph.call(spec, PATIENCE), self.phone.next_report(PATIENCE));
        let customer = customer.context("the WhatsApp user saw no end of the call")?;
        let agent = agent.context("the agent's phone saw no end of the call")?;
        anyhow::ensure!(customer.violations.is_empty(), "Meta saw {:?}", customer.violations);
        Ok(Witnesses {
            cdr: self.next_cdr().await?,
            customer: customer.heard,
            customer_answered: customer.answered_at,
            agent_heard_hz: agent.heard.hz,
        })
    }

    /// Stops the bridge in order.
    pub(super) async fn stop(self) {
        self.bridge.shutdown().await;
    }

    async fn next_cdr(&mut self) -> Result<Cdr> {
        let cdr =
            tokio::time::timeout(PATIENCE, self.cdrs.recv()).await.context("the bridge wrote no CDR")??;
        Ok((*cdr).clone())
    }
}

async fn start_edge(authority: &TestAuthority, ports: &Ports) -> Result<EdgeHandle> {
    let config = EdgeConfig {
        sip_port: 0,
        media_ports: vec![0; 2],
        numbers: vec![BusinessNumber::with_sdes(NUMBER, HOSTNAME, ports.meta, "demo-number")],
        anyone: Answering {
            answer: Answer::After(400),
            person: Person::saying(CUSTOMER_HZ),
            ..Answering::default()
        },
        ..EdgeConfig::default()
    };
    let mut options = EdgeOptions::new(config, authority)?;
    options.resolve.insert(HOSTNAME.to_owned(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    Ok(shell::spawn_edge(options).await?)
}

async fn start_graph(authority: &TestAuthority) -> Result<GraphHandle> {
    let config = GraphConfig {
        https_port: 0,
        media_ports: vec![0; 2],
        numbers: vec![GraphNumber {
            number: GRAPH_NUMBER.to_owned(),
            id: GRAPH_NUMBER_ID.to_owned(),
            token: TOKEN.to_owned(),
        }],
        secret: SECRET.to_owned(),
        ..GraphConfig::default()
    };
    let identity = authority.issue(&[&config.host])?;
    Ok(shell::spawn_graph(GraphOptions { config, identity }).await?)
}

async fn start_provider(authority: &TestAuthority) -> Result<PhoneHandle> {
    let edge = PhoneConfig::provider_edge(PROVIDER);
    let config = PhoneConfig {
        sip_port: 0,
        media_ports: vec![0; 2],
        habits: Habits {
            answer: PhoneAnswer::AfterMs(50),
            person: Person::saying(CUSTOMER_HZ).hanging_up_after(TALK_MS),
            ..edge.habits
        },
        ..edge
    };
    let identity = Some(authority.issue(&[PROVIDER])?);
    Ok(shell::spawn_phone(PhoneOptions { identity, ..PhoneOptions::new(config) }).await?)
}

fn write_tls(folder: &Path, authority: &TestAuthority) -> Result<()> {
    let Identity { certificate_pem, key_pem } = authority.issue(&[HOSTNAME])?;
    for (name, text) in
        [("bridge.pem", &*certificate_pem), ("bridge.key", &*key_pem), ("ca.pem", authority.pem())]
    {
        let path: PathBuf = folder.join("tls").join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The configuration as an operator would write it; it is left in the folder for a look.
fn config(folder: &Path, ports: &Ports, edges: &Edges) -> Result<Config> {
    let Ports { meta, agents, media } = ports;
    let Edges { meta: edge, provider, graph } = edges;
    let text = format!(
        r#"# Written by `setu demo`.
[meta]
bind = "127.0.0.1:{meta}"
hostname = "{HOSTNAME}"
certificate = "tls/bridge.pem"
private_key = "tls/bridge.key"
extra_roots = "tls/ca.pem"
[meta.media]
bind = "127.0.0.1"
ports = "{media}-{}"
[agents]
udp = "127.0.0.1:{agents}"
hostname = "127.0.0.1"
[agents.media]
bind = "127.0.0.1"
ports = "{}-{}"
[[numbers]]
number = "{NUMBER}"
phone_number_id = "{PHONE_NUMBER_ID}"
password = "demo-number"
agents = ["alice"]
[[numbers]]
number = "{GRAPH_NUMBER}"
phone_number_id = "{GRAPH_NUMBER_ID}"
signalling = "graph"
token = "{TOKEN}"
agents = ["alice"]
# Whatever the time is where the demo runs.
[hours]
from = "00:00"
to = "00:00"
[[accounts]]
name = "alice"
password = "demo-alice"
number = "{NUMBER}"
[resolve.static]
"wa.meta.vc" = ["127.0.0.1:{edge}"]
"{PROVIDER}" = ["127.0.0.1:{provider}"]
"graph.facebook.com" = ["127.0.0.1:{graph}"]
[graph]
extra_roots = "tls/ca.pem"
[webhooks]
bind = "127.0.0.1:0"
app_secrets = ["{SECRET}"]
verify_token = "demo-token"
sip_hosts = ["{PROVIDER}"]
[egress]
allow = ["127.0.0.0/8"]
[http]
bind = "127.0.0.1:0"
"#,
        media + 99,
        media + 100,
        media + 199,
    );
    std::fs::write(folder.join("setu.toml"), &text)?;
    Ok(Config::parse(&text, folder)?)
}

/// Where the twins listen.
struct Edges {
    meta: u16,
    provider: u16,
    graph: u16,
}

/// Ports that were free a moment ago.
struct Ports {
    meta: u16,
    agents: u16,
    /// The first of two hundred for media; busy ones among them are skipped.
    media: u16,
}

impl Ports {
    fn pick() -> Result<Self> {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        // Below the range the system hands out, so that nobody is given one in the meantime.
        Ok(Self { meta: tcp, agents: udp, media: 20_000 + (tcp % 50) * 200 })
    }
}

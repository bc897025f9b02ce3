//! The demo's set-up: certificates, the two twins and the bridge between them, all on 127.0.0.1.

use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use setu_model::Cdr;
use setu_twin::Person;
use setu_twin::Transport;
use setu_twin::agent::{Habits, PhoneAnswer, PhoneConfig};
use setu_twin::meta::{Answer, Answering, BusinessNumber, CallSpec, EdgeConfig, KeyExchange};
use setu_twin::shell::{self, EdgeHandle, EdgeOptions, Identity, PhoneHandle, PhoneOptions, TestAuthority};
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
const TALK_MS: u64 = 3_000;
/// Nothing in the demo takes longer.
const PATIENCE: Duration = Duration::from_secs(12);

/// Everything that runs.
pub(super) struct Lab {
    bridge: Bridge,
    cdrs: broadcast::Receiver<Arc<Cdr>>,
    edge: EdgeHandle,
    phone: PhoneHandle,
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
        let config = config(&folder, &ports, edge.sip_address().port())?;
        let bridge = Bridge::start(config).await?;
        let cdrs = bridge.cdrs();

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
        Ok(Self { bridge, cdrs, edge, phone })
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
        Ok(Witnesses { cdr: self.next_cdr().await?, customer: customer?, agent_heard_hz })
    }

    /// The agent calls a WhatsApp user, talks, and hangs up.
    pub(super) async fn agent_calls(&mut self) -> Result<Witnesses> {
        let habits =
            Habits { person: Person::saying(AGENT_HZ).hanging_up_after(TALK_MS), ..Habits::default() };
        let (agent, customer) =
            tokio::join!(self.phone.dial(CUSTOMER, Some(habits)), self.edge.next_business_call(PATIENCE));
        let customer = customer.context("the WhatsApp user saw no end of the call")?;
        Ok(Witnesses { cdr: self.next_cdr().await?, customer, agent_heard_hz: agent?.heard.hz })
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
        numbers: vec![BusinessNumber {
            number: NUMBER.to_owned(),
            hostname: HOSTNAME.to_owned(),
            port: ports.meta,
            password: "demo-number".to_owned(),
            user_params: Vec::new(),
            key_exchange: KeyExchange::Sdes,
        }],
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
fn config(folder: &Path, ports: &Ports, edge: u16) -> Result<Config> {
    let Ports { meta, agents, media } = ports;
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
password = "demo-number"
agents = ["alice"]
[[accounts]]
name = "alice"
password = "demo-alice"
number = "{NUMBER}"
[resolve.static]
"wa.meta.vc" = ["127.0.0.1:{edge}"]
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

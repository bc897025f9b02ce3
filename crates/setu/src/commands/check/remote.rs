//! What only others can tell: DNS, Meta's edge, the trunks.

use std::net::SocketAddr;
use std::time::Duration;

use setu_model::{Entropy, Side};
use setu_sip::{Hop, Message, Method, SendToken, Target, Transmit, Transport};
use setu_sip_net::{ListenerConfig, NetEvent, SipNet, SipNetConfig};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::Report;
use crate::bridge::SystemEntropy;
use crate::config::Config;
use crate::settings;

/// How long others are waited for, all together.
const PATIENCE: Duration = Duration::from_secs(6);

pub(super) async fn check(config: &Config, report: &mut Report) {
    let deadline = Instant::now() + PATIENCE;
    let mut probes = vec![Probe {
        setting: "meta.domain".to_owned(),
        hop: Hop {
            side: Side::Meta,
            transport: Transport::Tls,
            host: config.meta.domain.clone(),
            port: Some(config.meta.port),
        },
        reached: false,
        verdict: None,
    }];
    probes.extend(config.trunks.iter().enumerate().map(|(i, trunk)| Probe {
        setting: format!("trunks[{i}].host"),
        hop: settings::trunk_hop(trunk),
        reached: false,
        verdict: None,
    }));
    // At the same time: a name server that is silent must not make the others look so.
    let (asked, ()) = tokio::join!(ask(config, &mut probes, deadline), own_name(config, deadline, report));
    match asked {
        Ok(()) => probes.iter().for_each(|probe| probe.tell(report)),
        Err(why) => {
            report.warning("trunks", format!("nobody was asked: {why}"), "mend the findings above first")
        }
    }
}

/// Whether the name that Meta dials leads anywhere.
async fn own_name(config: &Config, deadline: Instant, report: &mut Report) {
    let meta = &config.meta;
    let port = meta.advertised_port.unwrap_or(meta.bind.port());
    let found = timeout_at(deadline, tokio::net::lookup_host((meta.hostname.as_str(), port))).await;
    match found {
        Ok(Ok(addresses)) => {
            let list: Vec<String> = addresses.map(|a| a.ip().to_string()).collect();
            report.ok("meta.hostname", format!("{} is {}", meta.hostname, list.join(", ")));
        }
        Ok(Err(error)) => report.warning(
            "meta.hostname",
            format!("{} has no address in DNS: {error}", meta.hostname),
            "Meta dials this name: add an A or AAAA record; ignore this for a test twin",
        ),
        Err(_) => report.warning("meta.hostname", "DNS does not answer", "check this machine's resolver"),
    }
}

/// One peer that is sent an OPTIONS.
struct Probe {
    setting: String,
    hop: Hop,
    reached: bool,
    /// The status of its answer, or why it got no question.
    verdict: Option<Result<u16, String>>,
}

impl Probe {
    fn tell(&self, report: &mut Report) {
        let Self { setting, hop, reached, verdict } = self;
        match (verdict, hop.side) {
            (Some(Ok(status)), _) => report.ok(setting, format!("{hop} answers OPTIONS with {status}")),
            (Some(Err(why)), _) => report.problem(
                setting,
                format!("{hop}: {why}"),
                "check name, port, transport and firewall; private addresses must be in egress.allow",
            ),
            // Meta is said not to answer OPTIONS; that the name was proven over TLS is what counts.
            (None, Side::Meta) if *reached => report.ok(setting, format!("{hop} is reached and proves its name")),
            (None, Side::Meta) => {
                report.problem(setting, format!("{hop} is not reached"), "open outgoing TCP to it in the firewall");
            }
            (None, Side::Agents) => report.problem(
                setting,
                format!("{hop} does not answer OPTIONS"),
                "start the PBX, let it take requests from this machine, or set probe_s = 0 if it never answers",
            ),
        }
    }
}

async fn ask(config: &Config, probes: &mut [Probe], deadline: Instant) -> Result<(), String> {
    let (events, mut queue) = mpsc::channel(256);
    let net = SipNet::start(ephemeral(config), move |event| {
        // A full queue means somebody floods the probe's port; what matters was told before.
        let _ = events.try_send(event);
    })
    .map_err(|error| error.to_string())?;
    for (i, probe) in probes.iter().enumerate() {
        let message = options(&net, &probe.hop, i).ok_or("an OPTIONS cannot be written")?;
        net.send(Transmit {
            token: SendToken(i as u64),
            target: Target::Hop(probe.hop.clone()),
            avoid: Vec::new(),
            message,
        });
    }
    while probes.iter().any(|p| p.verdict.is_none()) {
        let Ok(Some(event)) = timeout_at(deadline, queue.recv()).await else { break };
        note(probes, event);
    }
    net.shutdown().await;
    Ok(())
}

fn note(probes: &mut [Probe], event: NetEvent) {
    match event {
        NetEvent::Bound { token, .. } => {
            if let Some(probe) = probe(probes, token.0) {
                probe.reached = true;
            }
        }
        NetEvent::SendFailed { token, reason } => {
            if let Some(probe) = probe(probes, token.0) {
                probe.verdict = Some(Err(reason.to_string()));
            }
        }
        NetEvent::Received { message, .. } => {
            let asked = message.call_id().ok().and_then(|id| id.split('-').next()?.parse().ok());
            if let (Some(asked), Some(status)) = (asked, message.status())
                && let Some(probe) = probe(probes, asked)
            {
                probe.verdict = Some(Ok(status));
            }
        }
        NetEvent::Malformed { .. } | NetEvent::Returned { .. } | NetEvent::FlowClosed { .. } => {}
    }
}

fn probe(probes: &mut [Probe], index: u64) -> Option<&mut Probe> {
    probes.get_mut(usize::try_from(index).ok()?)
}

/// The bridge's own transports on ports of the system's choice: nothing is in the way of a bridge that runs.
fn ephemeral(config: &Config) -> SipNetConfig {
    let mut net = settings::sip_net(config);
    let bind = config.agents.udp.or(config.agents.tcp).or(config.agents.tls).unwrap_or(config.meta.bind);
    net.listeners = vec![ListenerConfig {
        advertised_host: Some(config.agents.hostname.clone()),
        ..ListenerConfig::new(Side::Agents, Transport::Udp, SocketAddr::new(bind.ip(), 0))
    }];
    net
}

fn options(net: &SipNet, hop: &Hop, index: usize) -> Option<Message> {
    let mut entropy = SystemEntropy;
    let (host, port) = net
        .advertised(hop.side, hop.transport)
        .or_else(|| net.advertised(Side::Agents, Transport::Udp))
        .unwrap_or_else(|| ("localhost".to_owned(), 5060));
    let ours = format!("{host}:{port}");
    let theirs = if hop.host.contains(':') { format!("[{}]", hop.host) } else { hop.host.clone() };
    let uri = format!("sip:{theirs}");
    Message::request(Method::Options, &uri)
        .header("Via", format!("SIP/2.0/{} {ours};rport;branch=z9hG4bK{}", hop.transport, entropy.hex(12)))
        .header("Max-Forwards", "70")
        .header("From", format!("<sip:setu@{ours}>;tag={}", entropy.hex(8)))
        .header("To", format!("<{uri}>"))
        .header("Call-ID", format!("{index}-{}", entropy.hex(12)))
        .header("CSeq", "1 OPTIONS")
        .header("Contact", format!("<sip:setu@{ours}>"))
        .header("Accept", "application/sdp")
        .build()
        .ok()
}

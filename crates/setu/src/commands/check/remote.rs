//! What only others can tell: DNS, Meta's edge, the trunks.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use setu_model::{Entropy, Side};
use setu_sip::{Hop, Message, Method, SendToken, Target, Transmit, Transport};
use setu_sip_net::{ListenerConfig, NetEvent, SendFailure, SipNet, SipNetConfig, StartError};
use setu_whatsapp::provision::Mode;
use tokio::sync::mpsc;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use super::local::is_private;
use super::{Finding, Report};
use crate::bridge::SystemEntropy;
use crate::config::Config;
use crate::provision::Provisioner;
use crate::settings;

/// How long others are waited for, all together.
const PATIENCE: Duration = Duration::from_secs(6);

/// The first wait for an answer to a datagram (RFC 3261 section 17.1.1.1).
const T1: Duration = Duration::from_millis(500);

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
        optional: false,
        verdict: None,
    }];
    probes.extend(config.trunks.iter().enumerate().map(|(i, trunk)| Probe {
        setting: format!("trunks[{i}].host"),
        hop: settings::trunk_hop(trunk),
        reached: false,
        optional: trunk.probe_s == 0,
        verdict: None,
    }));
    // At the same time: a name server that is silent must not make the others look so.
    let own = tokio::net::lookup_host(own_address(config));
    let (asked, own, database, numbers) = tokio::join!(
        ask(config, &mut probes, deadline),
        timeout_at(deadline, own),
        database(config),
        numbers(config, deadline)
    );
    own_name(config, own, report);
    report.0.extend(database);
    report.0.extend(numbers);
    match asked {
        Ok(()) => probes.iter().for_each(|probe| probe.tell(report)),
        Err(why) => {
            report.warning("trunks", format!("nobody was asked: {why}"), "mend the findings above first")
        }
    }
}

/// Whether the server of a database lets the bridge in; a file is looked at with the folders.
async fn database(config: &Config) -> Option<Finding> {
    config.store.postgres.as_ref()?;
    let mut report = Report::default();
    match settings::store(config) {
        Err(error) => report.problem("store.password", error.problem(), "put the password there"),
        Ok(location) => match location.reach().await {
            Ok(()) => report.ok("store.postgres", "the server lets the bridge in"),
            Err(error) => report.problem(
                "store.postgres",
                error.to_string(),
                "check that the server is started and takes connections from here, and user, password and database",
            ),
        },
    }
    report.0.pop()
}

/// Whether Graph answers, takes the numbers' tokens, and shows their settings as configured.
async fn numbers(config: &Config, deadline: Instant) -> Vec<Finding> {
    let mut report = Report::default();
    let provisioner = match Provisioner::new(config) {
        Ok(provisioner) => provisioner,
        Err(error) => {
            report.problem(error.owner(), error.problem(), "put it there");
            return report.0;
        }
    };
    for target in provisioner.targets() {
        let setting = |name: &str| format!("numbers[{}].{name}", target.index);
        match timeout_at(deadline, provisioner.run(target, Mode::Look)).await {
            Err(_) => report.problem("graph.host", "Meta's Graph does not answer", GRAPH_SILENT),
            Ok(Err(why)) => report.problem(setting("token"), why, GRAPH_REFUSES),
            Ok(Ok(outcome)) => {
                if outcome.drifts.is_empty() {
                    report.ok(setting("provision"), "the settings at Meta are as configured");
                }
                for drift in &outcome.drifts {
                    let what = format!("at Meta, {drift}");
                    report.problem(
                        setting("provision"),
                        what,
                        "setu provision shows the plan, --apply mends it",
                    );
                }
                for stranger in outcome.found.strangers(target.app.as_deref()) {
                    report.warning(
                        setting("provision"),
                        format!("another app has a server for the number, {stranger}"),
                        "take it away: a BYE from any server ends a call",
                    );
                }
            }
        }
    }
    report.0
}

const GRAPH_SILENT: &str = "open outgoing HTTPS to it in the firewall, or mend graph.host";

const GRAPH_REFUSES: &str = "make a token of the app with whatsapp_business_management for the number's account; check phone_number_id and graph.host";

fn own_address(config: &Config) -> (&str, u16) {
    let meta = &config.meta;
    (&meta.hostname, meta.advertised_port.unwrap_or(meta.bind.port()))
}

/// Whether the name that Meta dials leads anywhere.
fn own_name(
    config: &Config,
    found: Result<io::Result<impl Iterator<Item = SocketAddr>>, Elapsed>,
    report: &mut Report,
) {
    let meta = &config.meta;
    match found {
        Ok(Ok(addresses)) => {
            let addresses: Vec<IpAddr> = addresses.map(|address| address.ip()).collect();
            let list = addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
            let found = format!("{} is {list}", meta.hostname);
            if addresses.iter().all(|address| is_private(*address)) {
                report.warning(
                    "meta.hostname",
                    format!("{found}, which the internet does not reach"),
                    "give the name a public address in DNS, or look for it in this machine's /etc/hosts; ignore this for \
                     a test twin",
                );
            } else {
                report.ok("meta.hostname", found);
            }
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
    /// Whether it need not answer.
    optional: bool,
    /// The status of its answer, or why it got no question.
    verdict: Option<Result<u16, SendFailure>>,
}

impl Probe {
    fn tell(&self, report: &mut Report) {
        let Self { setting, hop, reached, optional, verdict } = self;
        let silent = "start the PBX, and let it take requests from this machine; set probe_s = 0 if it never answers OPTIONS";
        match (verdict, hop.side) {
            // What `serve` takes as a sign that the trunk is down.
            (Some(Ok(status @ (503 | 408))), _) => report.problem(
                setting,
                format!("{hop} answers OPTIONS with {status}: it would get no calls"),
                "see why the PBX is not ready",
            ),
            (Some(Ok(status)), _) => report.ok(setting, format!("{hop} answers OPTIONS with {status}")),
            (Some(Err(why)), side) => report.problem(setting, format!("{hop}: {why}"), remedy(why, side)),
            // Meta is said not to answer OPTIONS; that the name was proven over TLS is what counts.
            (None, Side::Meta) if *reached => {
                report.ok(setting, format!("{hop} is reached and proves its name"))
            }
            (None, Side::Meta) => {
                report.problem(
                    setting,
                    format!("{hop} is not reached"),
                    "open outgoing TCP to it in the firewall",
                );
            }
            (None, Side::Agents) if *optional => {
                report.warning(
                    setting,
                    format!("{hop} does not answer OPTIONS"),
                    "nothing, if it never does",
                );
            }
            (None, Side::Agents) => report.problem(setting, format!("{hop} does not answer OPTIONS"), silent),
        }
    }
}

/// What to do about a host that got no question.
fn remedy(why: &SendFailure, side: Side) -> String {
    let roots = match side {
        Side::Meta => "meta.extra_roots",
        Side::Agents => "agents.extra_roots",
    };
    match why {
        SendFailure::Unresolved(_) => {
            "mend the name, or this machine's resolver; resolve.static pins a name to an address".to_owned()
        }
        SendFailure::Forbidden(_) => "add its address to egress.allow, if it is meant".to_owned(),
        SendFailure::Unreachable(_) => {
            "check port and transport, that it is started, and the firewall between".to_owned()
        }
        SendFailure::Unverified(_) => format!(
            "give it a certificate for the name that is dialled; an authority of the house's own goes into {roots}"
        ),
        SendFailure::NoListener(..) => {
            "give a listener an address of the same family (IPv4 or IPv6) as the host's".to_owned()
        }
        SendFailure::NoFlow | SendFailure::Overflow | SendFailure::Shutdown => "check again".to_owned(),
    }
}

async fn ask(config: &Config, probes: &mut [Probe], deadline: Instant) -> Result<(), String> {
    let (events, mut queue) = mpsc::channel(256);
    let net = start(config, events)?;
    let mut messages = Vec::new();
    for (i, probe) in probes.iter().enumerate() {
        messages.push(options(&net, &probe.hop, i).ok_or("an OPTIONS cannot be written")?);
    }
    let mut again = T1;
    let mut next = Instant::now();
    while probes.iter().any(|p| p.verdict.is_none()) && Instant::now() < deadline {
        if next <= Instant::now() {
            let first = again == T1;
            for (i, (probe, message)) in probes.iter().zip(&messages).enumerate() {
                // A datagram may get lost (Timer E of RFC 3261).
                if probe.verdict.is_none() && (first || probe.hop.transport == Transport::Udp) {
                    net.send(Transmit {
                        token: SendToken(i as u64),
                        target: Target::Hop(probe.hop.clone()),
                        avoid: Vec::new(),
                        message: message.clone(),
                    });
                }
            }
            next += again;
            again *= 2;
        }
        if let Ok(Some(event)) = timeout_at(next.min(deadline), queue.recv()).await {
            note(probes, event);
        }
    }
    net.shutdown().await;
    Ok(())
}

/// Starts the transports. A certificate that is broken is told elsewhere, and must not keep the trunks from being asked.
fn start(config: &Config, events: mpsc::Sender<NetEvent>) -> Result<SipNet, String> {
    let start = |net| {
        let events = events.clone();
        SipNet::start(net, move |event| {
            // A full queue means somebody floods the probe's port; what matters was told before.
            let _ = events.try_send(event);
        })
    };
    match start(ephemeral(config)) {
        Err(StartError::Certificate(_)) => {
            let mut net = ephemeral(config);
            net.tls.values_mut().for_each(|tls| tls.certificate = None);
            start(net)
        }
        started => started,
    }
    .map_err(|error| error.to_string())
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
                probe.verdict = Some(Err(reason));
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

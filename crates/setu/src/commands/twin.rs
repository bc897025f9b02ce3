//! `setu twin`: the stand-in for Meta's SIP edge, and for its Graph, as a process of its own.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use setu_twin::Person;
use setu_twin::graph::{GraphCallSpec, GraphConfig, GraphEvent, GraphNumber};
use setu_twin::meta::{BusinessNumber, CallReport, CallSpec, EdgeConfig, Event, Quirks, UserSaw};
use setu_twin::shell::{
    EdgeOptions, GraphHandle, GraphOptions, Identity, META_CLIENT_NAME, TestAuthority, run_edge, spawn_edge,
    spawn_graph,
};

use super::{fail, print, start_log};
use crate::cli::TwinArgs;
use crate::config::Log;

pub(super) fn run(args: &TwinArgs) -> ExitCode {
    if args.print_quirks {
        return match serde_json::to_string_pretty(&Quirks::default()) {
            Ok(text) => {
                print(&format!("{text}\n"));
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error.to_string()),
        };
    }
    if let Err(error) = start_log(&Log::default()) {
        return fail(&error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the runtime: {error}")),
    };
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = twin(args) => outcome,
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

async fn twin(args: &TwinArgs) -> Result<()> {
    let (options, calls) = set_up(args)?;
    let stays = calls.is_empty();
    let cannot = || format!("the twin cannot run on {}; --listen names another address", args.listen);
    let edge = spawn_edge(options).await.with_context(cannot)?;
    print(&format!(
        "The twin listens on {} as {}; trust {} in the bridge's meta.extra_roots.\n",
        edge.sip_address(),
        edge.config().domain,
        args.folder.join("ca.pem").display()
    ));
    let graph = match args.graph {
        Some(listen) => Some(graph(args, listen).await?),
        None => None,
    };
    let told = async {
        match &graph {
            Some(graph) => tell_graph(graph, args).await,
            None => std::future::pending().await,
        }
    };
    let mut failed = None;
    let judge = |event: &Event| {
        tell(event);
        failed = failed.take().or_else(|| event.ended().filter(|_| !stays).and_then(fault));
    };
    tokio::select! {
        ended = run_edge(edge, calls, stays || graph.is_some(), judge) => ended?,
        () = told => {}
    }
    failed.map_or(Ok(()), |why| Err(anyhow::anyhow!("the call was not as it should be: {why}")))
}

/// The Graph side, with one number.
async fn graph(args: &TwinArgs, listen: SocketAddr) -> Result<GraphHandle> {
    let secret =
        |name: &str, what: &str| std::env::var(name).with_context(|| format!("set {name} to {what}"));
    let config = GraphConfig {
        ip: listen.ip(),
        https_port: listen.port(),
        media_ports: vec![0; 4],
        numbers: vec![GraphNumber {
            number: args.number.clone(),
            id: args.number_id.clone(),
            token: secret(&args.token_env, "the access token")?,
        }],
        webhooks: args.webhooks,
        secret: secret(&args.app_secret_env, "the app's secret")?,
        ..GraphConfig::default()
    };
    let named = |name: &str| args.folder.join(name);
    let read = |path: &Path| {
        fs::read_to_string(path)
            .with_context(|| format!("cannot read {}; name another --folder", path.display()))
    };
    let identity =
        Identity { certificate_pem: read(&named("graph.pem"))?, key_pem: read(&named("graph.key"))? };
    let host = config.host.clone();
    let graph = spawn_graph(GraphOptions { config, identity }).await;
    let graph = graph
        .with_context(|| format!("the Graph side cannot run on {listen}; --graph names another address"))?;
    print(&format!(
        "Graph listens on {} as {host}; trust {} in the bridge's graph.extra_roots.\n",
        SocketAddr::new(listen.ip(), graph.config().https_port),
        named("ca.pem").display()
    ));
    Ok(graph)
}

/// One line for each thing that happens at the Graph side, until the call that was wanted is over; for ever without one.
async fn tell_graph(graph: &GraphHandle, args: &TwinArgs) {
    let mut events = graph.events();
    let person = Person::saying(440).hanging_up_after(args.seconds.saturating_mul(1_000));
    let spec = GraphCallSpec::new(&args.customer, &args.number).by(person);
    let wanted = if args.graph_call {
        graph.with(move |edge, now| edge.call(spec, now)).await.ok().flatten()
    } else {
        None
    };
    while let Ok(event) = events.recv().await {
        let line = match &event {
            GraphEvent::Asked(wacid, asked) => {
                let code = asked.code.map(|code| format!(" ({code})")).unwrap_or_default();
                format!("{wacid}: {} is answered {}{code}", asked.action, asked.status)
            }
            GraphEvent::Answered(wacid) => format!("{wacid}: answered"),
            GraphEvent::FirstPacket(wacid) => format!("{wacid}: first packet from the business"),
            GraphEvent::Ended(report) => format!("{report:#?}"),
        };
        print(&format!("{line}\n"));
        if wanted.is_some() && event.ended().map(|report| &report.wacid) == wanted.as_ref() {
            return;
        }
    }
}

fn set_up(args: &TwinArgs) -> Result<(EdgeOptions, Vec<CallSpec>)> {
    let quirks = match &args.quirks {
        None => Quirks::default(),
        Some(path) => {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            serde_json::from_str(&text).with_context(|| {
                format!("{}: no set of quirks; `setu twin --print-quirks` prints one", path.display())
            })?
        }
    };
    let hostname = args.bridge_hostname.clone().unwrap_or_else(|| "sip.bridge.example".to_owned());
    let password = std::env::var(&args.password_env)
        .with_context(|| format!("set {} to the number's SIP password", args.password_env))?;
    let port = args.call.map_or(5061, |address| address.port());
    let config = EdgeConfig {
        ip: args.listen.ip(),
        sip_port: args.listen.port(),
        numbers: vec![BusinessNumber::with_sdes(&args.number, &hostname, port, &password)],
        quirks,
        ..EdgeConfig::default()
    };
    let identities = identities(&args.folder, &config.domain, &hostname)?;
    let mut options = EdgeOptions {
        config,
        identity: identities.edge,
        client_identity: Some(identities.client),
        roots_pem: identities.roots_pem,
        resolve: std::collections::BTreeMap::new(),
    };
    options.resolve.insert(hostname, args.call.map_or(IpAddr::from([127, 0, 0, 1]), |bridge| bridge.ip()));
    let person = Person::saying(440).hanging_up_after(args.seconds.saturating_mul(1_000));
    let calls = args.call.map(|_| CallSpec::new(args.customer.clone(), args.number.clone()).by(person));
    Ok((options, calls.into_iter().collect()))
}

/// The certificates of one folder.
struct Identities {
    edge: Identity,
    client: Identity,
    roots_pem: String,
}

/// Reads the folder's certificates, or makes them all with a fresh authority: its key is kept nowhere, so a bridge
/// host name that was not there before needs a fresh folder.
fn identities(folder: &Path, domain: &str, hostname: &str) -> Result<Identities> {
    let named = |name: &str| folder.join(name);
    if !named("ca.pem").exists() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let authority = TestAuthority::new()?;
        fs::write(named("ca.pem"), authority.pem())?;
        let graph = &GraphConfig::default().host;
        for (name, host) in
            [("edge", domain), ("client", META_CLIENT_NAME), ("bridge", hostname), ("graph", graph)]
        {
            let identity = authority.issue(&[host])?;
            fs::write(named(&format!("{name}.pem")), &identity.certificate_pem)?;
            fs::write(named(&format!("{name}.key")), &identity.key_pem)?;
        }
        fs::write(named("bridge.hostname"), hostname)?;
    }
    let issued = fs::read_to_string(named("bridge.hostname")).unwrap_or_default();
    anyhow::ensure!(
        issued == hostname,
        "{} holds a certificate for {issued:?}, not for {hostname:?}: name another --folder",
        folder.display()
    );
    let read = |name: &str| -> Result<Identity> {
        let read =
            |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
        Ok(Identity {
            certificate_pem: read(&named(&format!("{name}.pem")))?,
            key_pem: read(&named(&format!("{name}.key")))?,
        })
    };
    Ok(Identities {
        edge: read("edge")?,
        client: read("client")?,
        roots_pem: fs::read_to_string(named("ca.pem"))?,
    })
}

/// What was wrong with a call that the twin made, if anything: its process then fails.
fn fault(report: &CallReport) -> Option<String> {
    if report.saw != UserSaw::Connected {
        let status =
            report.status.map(|status| status.to_string()).unwrap_or_else(|| "no response".to_owned());
        let reason = report.reason.as_deref().map(|reason| format!(" {reason}")).unwrap_or_default();
        return Some(format!("it was not connected ({status}{reason})"));
    }
    if report.heard.packets == 0 {
        return Some("nothing was heard of the business".to_owned());
    }
    let broken = report.violations.first();
    broken.map(|violation| format!("the bridge broke a rule of Meta's: {violation:?}"))
}

/// One line for each thing that happens; the report of a call as JSON.
fn tell(event: &Event) {
    let line = match event {
        Event::Ended(report) => serde_json::to_string_pretty(report).unwrap_or_default(),
        Event::Invited(call) => format!("call {}: INVITE sent", call.0),
        Event::BusinessCall { call, number, user } => format!("call {}: {number} calls {user}", call.0),
        Event::Ringing(call) => format!("call {}: ringing", call.0),
        Event::Answered(call) => format!("call {}: answered", call.0),
        Event::FirstPacket(call) => format!("call {}: first packet from the business", call.0),
        Event::Digit(call, digit) => format!("call {}: digit {digit}", call.0),
        Event::Violation(call, violation) => {
            let call = call.map_or("outside a call".to_owned(), |call| format!("call {}", call.0));
            format!("{call}: the bridge broke a rule of Meta's: {violation:?}")
        }
    };
    print(&format!("{line}\n"));
}

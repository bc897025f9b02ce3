//! `setu twin`: the stand-in for Meta's SIP edge as a process of its own.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use setu_twin::Person;
use setu_twin::meta::{BusinessNumber, CallSpec, EdgeConfig, Event, Quirks};
use setu_twin::shell::{EdgeOptions, Identity, META_CLIENT_NAME, TestAuthority, run_edge, spawn_edge};

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
    run_edge(edge, calls, stays, tell).await?;
    Ok(())
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
        for (name, host) in [("edge", domain), ("client", META_CLIENT_NAME), ("bridge", hostname)] {
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

//! `setu serve`: the bridge as a process, with its signals.

use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{fail, start_log};
use crate::bridge::Bridge;
use crate::config::Config;
use crate::files;

pub(super) fn run(path: &Path) -> ExitCode {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => return fail(&error.to_string()),
    };
    if let Err(error) = start_log(&config.log) {
        return fail(&error);
    }
    raise_file_limit(&config);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the runtime: {error}")),
    };
    match runtime.block_on(serve(path, config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn raise_file_limit(config: &Config) {
    let wanted = files::wanted(config);
    match files::raise() {
        Ok(permitted) if permitted < wanted => tracing::warn!(
            permitted,
            wanted,
            "too few open files are permitted for limits.calls and limits.connections: {}",
            files::REMEDY
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
    }
}

async fn serve(path: &Path, config: Config) -> Result<(), String> {
    let mut signals = Signals::new().map_err(|error| format!("cannot listen to signals: {error}"))?;
    warn_of_certificates(&config);
    let mut bridge = Bridge::start(config).await.map_err(|error| error.to_string())?;
    for (side, transport, address) in bridge.listening() {
        tracing::info!(%side, %transport, %address, "listening");
    }
    let http = bridge.http_address().map(|address| address.to_string());
    let webhooks = bridge.webhook_address().map(|address| address.to_string());
    let api = bridge.api_address().map(|address| address.to_string());
    tracing::info!(http, webhooks, api, version = env!("CARGO_PKG_VERSION"), "ready");
    while let Event::Reload = signals.next().await {
        reload(&bridge, path).await;
    }
    tracing::info!(
        calls = bridge.active_calls(),
        "draining: no new calls; a second signal ends the live ones"
    );
    drain(&mut bridge, &mut signals).await;
    bridge.shutdown().await;
    tracing::info!("stopped");
    Ok(())
}

/// The bridge takes any certificate it can show; whether its peers do, they tell by not calling.
fn warn_of_certificates(config: &Config) {
    for (setting, problem) in super::check::certificates(config) {
        tracing::warn!(setting, "its peers will not trust the bridge: {problem}");
    }
}

/// Waits for the live calls; a second signal ends them.
async fn drain(bridge: &mut Bridge, signals: &mut Signals) {
    let drainer = bridge.drainer();
    let mut drained = std::pin::pin!(bridge.drain());
    loop {
        tokio::select! {
            () = &mut drained => return,
            event = signals.next() => if let Event::Stop = event {
                tracing::warn!("ending all calls");
                drainer.drain().await;
            },
        }
    }
}

async fn reload(bridge: &Bridge, path: &Path) {
    let outcome = match Config::load(path) {
        Ok(config) => {
            warn_of_certificates(&config);
            bridge.reload(&config).await.map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    match outcome {
        Ok(()) => tracing::info!("configuration, passwords and certificates read again"),
        Err(error) => tracing::error!(error, "reload refused; everything stays as it was"),
    }
}

enum Event {
    Stop,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Event {
        tokio::select! {
            _ = self.terminate.recv() => Event::Stop,
            _ = self.interrupt.recv() => Event::Stop,
            _ = self.hang_up.recv() => Event::Reload,
        }
    }
}

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State as Shared};
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::health::{Health, State};
use crate::metrics::Metrics;

/// Serves `/healthz` and `/metrics` on `bind` with the default [`HttpLimits`].
///
/// `health` is asked on each request to `/healthz`.
///
/// # Errors
/// If `bind` cannot be bound.
pub async fn serve(
    bind: SocketAddr,
    metrics: Arc<Metrics>,
    health: impl Fn() -> Health + Send + Sync + 'static,
) -> Result<Control, StartError> {
    serve_with(bind, metrics, health, HttpLimits::default()).await
}

/// Serves `/healthz` and `/metrics` on `bind` within `limits`.
///
/// # Errors
/// If `bind` cannot be bound.
pub async fn serve_with(
    bind: SocketAddr,
    metrics: Arc<Metrics>,
    health: impl Fn() -> Health + Send + Sync + 'static,
    limits: HttpLimits,
) -> Result<Control, StartError> {
    let control = start(WHAT, bind, routes(metrics, Arc::new(health)), limits).await?;
    if !control.address.ip().is_loopback() {
        let address = control.address;
        tracing::warn!(%address, "health and metrics are open to others than this machine, without a password");
    }
    Ok(control)
}

/// Serves `routes` on `bind` within `limits`; `what` names them in errors.
pub(crate) async fn start(
    what: &'static str,
    bind: SocketAddr,
    routes: Router,
    limits: HttpLimits,
) -> Result<Control, StartError> {
    let fault = |source| StartError { what, bind, source };
    let listener = TcpListener::bind(bind).await.map_err(fault)?;
    let address = listener.local_addr().map_err(fault)?;
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(accept(listener, routes, limits, stopped));
    Ok(Control { address, stop, task })
}

/// A running HTTP listener.
pub struct Control {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Control {
    /// The address it listens on, with the port the system chose if the configured one was 0.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, lets requests under way finish within [`HttpLimits::drain`], and returns once all is over.
    pub async fn shutdown(self) {
        let _ = self.stop.send(true);
        if let Err(fault) = self.task.await {
            tracing::error!(%fault, "the HTTP side ended abnormally");
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What a client of the HTTP side may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// Connections at once. A scraper and a few probes need no more; the rest waits in the system's backlog.
    pub connections: usize,
    /// The longest a request's head may take to arrive, also between two requests of one connection.
    pub head_time: Duration,
    /// The largest head of a request in bytes, at least 8,192.
    pub head_bytes: usize,
    /// The most header fields of a request.
    pub headers: usize,
    /// How long requests under way may go on after [`Control::shutdown`].
    pub drain: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: 64,
            head_time: Duration::from_secs(10),
            head_bytes: 16_384,
            headers: 64,
            drain: Duration::from_secs(5),
        }
    }
}

/// The HTTP side could not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve {what} on {bind}: {source}; {}", remedy(source))]
pub struct StartError {
    what: &'static str,
    bind: SocketAddr,
    source: io::Error,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "most kinds of fault cannot come from binding a socket")]
fn remedy(fault: &io::Error) -> &'static str {
    match fault.kind() {
        io::ErrorKind::AddrInUse => {
            "another program, or another setu, has this port: stop it or choose another port"
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has this address: use 127.0.0.1",
        io::ErrorKind::PermissionDenied => "ports below 1024 need privileges: choose a higher port",
        _ => "check the address",
    }
}

#[derive(Clone)]
struct Sources {
    metrics: Arc<Metrics>,
    health: Arc<dyn Fn() -> Health + Send + Sync>,
}

fn routes(metrics: Arc<Metrics>, health: Arc<dyn Fn() -> Health + Send + Sync>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(scrape))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(Sources { metrics, health })
}

async fn healthz(Shared(sources): Shared<Sources>) -> Response {
    let health = (sources.health)();
    let status = match health.status {
        State::Ok => StatusCode::OK,
        State::Starting | State::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(health)).into_response()
}

async fn scrape(Shared(sources): Shared<Sources>) -> Response {
    match sources.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(fault) => {
            tracing::error!(%fault, "metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn accept(
    listener: TcpListener,
    routes: Router,
    limits: HttpLimits,
    mut stopped: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let slot = tokio::select! {
            _ = stopped.changed() => break,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let accepted = tokio::select! {
            _ = stopped.changed() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = graceful.watch(connection(stream, peer, routes.clone(), limits));
                tasks.spawn(async move {
                    if let Err(fault) = connection.await {
                        tracing::debug!(%fault, "an HTTP connection ended early");
                    }
                    drop(slot);
                });
            }
            Err(fault) => {
                tracing::warn!(%fault, "an HTTP connection could not be accepted");
                // Out of descriptors: trying again at once would spin until one is free.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("HTTP requests were cut off at shutdown");
    }
    tasks.shutdown().await;
}

/// Where a request's connection comes from; behind a proxy, the proxy. Every request has it among its extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// The routes, told where a connection comes from.
struct Told {
    peer: Peer,
    routes: TowerToHyperService<Router>,
}

impl Service<Request<Incoming>> for Told {
    type Response = Response;
    type Error = Infallible;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        self.routes.call(request)
    }
}

type Connection = http1::Connection<TokioIo<TcpStream>, Told>;

fn connection(stream: TcpStream, peer: SocketAddr, routes: Router, limits: HttpLimits) -> Connection {
    let told = Told { peer: Peer(peer), routes: TowerToHyperService::new(routes) };
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head_bytes)
        .max_headers(limits.headers)
        .serve_connection(TokioIo::new(stream), told)
}

const WHAT: &str = "health and metrics";

/// No route takes a body.
const BODY_BYTES: usize = 1_024;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

use std::net::SocketAddr;

use serde::Serialize;
use setu_model::{Side, Wall};

use crate::Transport;

/// What `/healthz` answers, as one JSON object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Whether new calls are taken. Decides the HTTP status: 200 or 503.
    pub status: State,
    /// The bridge's version.
    pub version: String,
    /// Seconds since the bridge started.
    pub uptime_s: u64,
    /// Calls that are alive.
    pub calls: u64,
    /// The certificates the bridge shows.
    pub certificates: Vec<CertificateHealth>,
    /// The addresses the bridge listens on.
    pub listeners: Vec<ListenerHealth>,
}

/// Whether the bridge takes new calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not yet: some of it is still being started.
    Starting,
    /// It does.
    Ok,
    /// It was told to stop: live calls go on, new ones are refused. A load balancer sends them elsewhere.
    Draining,
}

/// How long a certificate is still good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateHealth {
    /// The side it is shown to.
    pub side: Side,
    /// The names it proves.
    pub names: Vec<String>,
    /// The last moment it is valid.
    pub not_after: Wall,
    /// Whole days until then; negative once it has expired.
    pub days_left: i64,
}

/// One listening socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListenerHealth {
    /// The side it serves.
    pub side: Side,
    /// Its transport.
    pub transport: Transport,
    /// The address it is bound to.
    pub address: SocketAddr,
}

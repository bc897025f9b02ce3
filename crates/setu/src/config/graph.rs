use std::path::PathBuf;

use serde::Deserialize;

use super::PasswordSource;

/// Meta's Graph, by which calls of numbers with `signalling = "graph"` are taken, made and ended.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Graph {
    /// Its host, which its certificate must cover.
    pub host: String,
    /// The version of the interface.
    pub version: String,
    /// PEM file with certificate authorities trusted besides the system's, for test twins.
    pub extra_roots: Option<PathBuf>,
}

impl Default for Graph {
    fn default() -> Self {
        Self { host: "graph.facebook.com".to_owned(), version: "v23.0".to_owned(), extra_roots: None }
    }
}

/// How the calls of a number are signalled: with Meta a number has one way or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signalling {
    /// SIP over TLS, or by a provider.
    #[default]
    Sip,
    /// Graph requests and webhooks.
    Graph,
}

/// A provider who takes permission requests as Meta's `/messages` does, and calls back by `call.connect`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Where messages are posted to, by https.
    pub url: String,
    /// Where the token of the requests is found.
    pub token: PasswordSource,
    /// How long a customer who was asked is waited for, in seconds.
    #[serde(default = "default_wait_s")]
    pub wait_s: u64,
}

const fn default_wait_s() -> u64 {
    120
}

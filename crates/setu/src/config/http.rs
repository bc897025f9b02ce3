//! What is served over HTTP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::Deserialize;

use super::PasswordSource;

/// Health and metrics.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where the HTTP listener binds.
    pub bind: SocketAddr,
}

impl Default for Http {
    fn default() -> Self {
        Self { bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 9060)) }
    }
}

/// The REST interface.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// Where the HTTP listener binds, for a proxy in front that does TLS.
    #[serde(default = "default_api_bind")]
    pub bind: SocketAddr,
    /// Who may ask what.
    #[serde(default)]
    pub tokens: Vec<ApiToken>,
}

/// A token of the REST interface.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiToken {
    /// Whose it is, for the log.
    pub name: String,
    /// Where it is found.
    pub token: PasswordSource,
    /// What it lets its holder do, such as `cdrs:read`.
    pub scopes: Vec<String>,
}

/// Webhooks from Meta or a provider.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhooks {
    /// Where the HTTP listener binds, for a proxy in front that does TLS.
    #[serde(default = "default_webhooks_bind")]
    pub bind: SocketAddr,
    /// Where the secrets of the apps are found whose webhooks are taken; several while one is being rotated.
    #[serde(default)]
    pub app_secrets: Vec<PasswordSource>,
    /// Where the word is found that Meta shows when the webhook is set up.
    pub verify_token: PasswordSource,
    /// The hosts that a provider's `call.connect` may name to be dialled over TLS: names, or `*.` and a domain for all
    /// below it. Empty, the default, lets none be dialled.
    #[serde(default)]
    pub sip_hosts: Vec<String>,
    /// How long after a customer called a webhook may tell of it for the call to be taken, in seconds: 1 to 3,600. Our clock
    /// and the sender's may differ by a minute more.
    #[serde(default = "default_connect_within_s")]
    pub connect_within_s: u32,
}

/// Meta gives a call up that nobody answers after 30 to 60 s.
const fn default_connect_within_s() -> u32 {
    60
}

impl Webhooks {
    pub(super) fn sources_mut(&mut self) -> impl Iterator<Item = &mut PasswordSource> {
        self.app_secrets.iter_mut().chain([&mut self.verify_token])
    }
}

const fn default_api_bind() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9062)
}

const fn default_webhooks_bind() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9061)
}

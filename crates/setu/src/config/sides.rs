//! The two sides of the bridge: where it listens, and what callers hear.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

/// The public side, toward Meta: SIP over TLS, and SRTP.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetaSide {
    /// Where the TLS listener binds.
    #[serde(default = "default_meta_bind")]
    pub bind: SocketAddr,
    /// The host name that is configured with Meta for the numbers; the certificate must cover it.
    pub hostname: String,
    /// The port told to Meta; the bind port unless a NAT maps it.
    pub advertised_port: Option<u16>,
    /// PEM file with the certificate chain, leaf first.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub private_key: PathBuf,
    /// PEM file with certificate authorities trusted besides the system's, for test twins and private edges.
    pub extra_roots: Option<PathBuf>,
    /// Meta's SIP domain: the host that is dialled, verified, and the digest realm that is answered.
    #[serde(default = "default_meta_domain")]
    pub domain: String,
    /// Meta's SIP port.
    #[serde(default = "default_meta_port")]
    pub port: u16,
    /// Networks from which INVITEs are taken at all; empty for any (the digest decides in every case).
    #[serde(default)]
    pub sources: Vec<IpNet>,
    /// Whether a ringing agent's early audio is offered to Meta in a 183 (Meta needs none; off by default).
    #[serde(default)]
    pub early_media: bool,
    /// Addresses and ports of the media.
    pub media: MediaAddresses,
}

/// Addresses and ports of one side's media.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaAddresses {
    /// The address the sockets bind to.
    #[serde(default = "unspecified")]
    pub bind: IpAddr,
    /// The address written into session descriptions. Needed when `bind` is `0.0.0.0` or behind 1:1 NAT.
    pub advertised: Option<IpAddr>,
    /// First and last UDP port, both included, such as `"20000-29999"`.
    pub ports: PortRange,
}

impl MediaAddresses {
    /// The address written into session descriptions.
    pub fn advertised(&self) -> IpAddr {
        self.advertised.unwrap_or(self.bind)
    }
}

/// A range of UDP ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

impl TryFrom<String> for PortRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = || format!("{text:?} is no port range; write it as \"20000-29999\"");
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let first: u16 = first.trim().parse().map_err(|_| wrong())?;
        let last: u16 = last.trim().parse().map_err(|_| wrong())?;
        if first < 1024 || last <= first {
            return Err(format!("{text:?}: the first port must be at least 1024 and below the last"));
        }
        Ok(Self { first, last })
    }
}

/// The private side, toward PBXs and agents.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentsSide {
    /// Where the UDP listener binds; none by default.
    pub udp: Option<SocketAddr>,
    /// Where the TCP listener binds; none by default.
    pub tcp: Option<SocketAddr>,
    /// Where the TLS listener binds; none by default.
    pub tls: Option<SocketAddr>,
    /// Where the WebSocket listener in clear binds (RFC 7118), for a proxy in front that does TLS; none by default.
    pub ws: Option<SocketAddr>,
    /// Where the WebSocket listener under TLS binds, with the certificate below; none by default.
    pub wss: Option<SocketAddr>,
    /// The origins of pages whose WebSockets are taken, such as `https://agents.example.com`; empty takes all.
    #[serde(default)]
    pub websocket_origins: Vec<String>,
    /// The host name or address that phones and PBXs reach this side by.
    pub hostname: String,
    /// The digest realm that phones are challenged with.
    #[serde(default = "default_realm")]
    pub realm: String,
    /// The digest hashes phones are offered. Old ones, such as those on libre 1.x, give up at the sight of SHA-256:
    /// offer them MD5 alone.
    #[serde(default = "default_digest")]
    pub digest: Vec<DigestHash>,
    /// PEM file with the certificate chain of the TLS listener.
    pub certificate: Option<PathBuf>,
    /// PEM file with its private key.
    pub private_key: Option<PathBuf>,
    /// PEM file with certificate authorities trusted for TLS trunks besides the system's.
    pub extra_roots: Option<PathBuf>,
    /// Addresses and ports of the media.
    pub media: MediaAddresses,
}

/// A digest hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum DigestHash {
    /// SHA-256 (RFC 8760).
    #[serde(rename = "sha-256")]
    Sha256,
    /// MD5, which every phone knows.
    #[serde(rename = "md5")]
    Md5,
}

/// What callers hear who are not with an agent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SoundSettings {
    /// What a customer hears while the agent holds the call and says nothing: two soft beeps every 5 s by default.
    pub music_on_hold: SoundFrom,
    /// What a customer hears whose call is answered at once, until an agent answers: ringing by default.
    pub waiting: SoundFrom,
}

/// Where a sound comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum SoundFrom {
    /// `"tone"`: the bridge makes it.
    #[default]
    Tone,
    /// `"silence"`: comfort frames.
    Silence,
    /// A mono Ogg Opus file of 20 ms packets, at most 20 kbit/s.
    File(PathBuf),
}

impl From<String> for SoundFrom {
    fn from(text: String) -> Self {
        match &*text {
            "tone" => Self::Tone,
            "silence" => Self::Silence,
            _ => Self::File(PathBuf::from(text)),
        }
    }
}

impl SoundFrom {
    pub(super) const fn file_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Tone | Self::Silence => None,
        }
    }
}

fn default_meta_bind() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, default_meta_port()))
}

fn default_meta_domain() -> String {
    "wa.meta.vc".to_owned()
}

const fn default_meta_port() -> u16 {
    5061
}

fn default_realm() -> String {
    "setu".to_owned()
}

fn default_digest() -> Vec<DigestHash> {
    vec![DigestHash::Sha256, DigestHash::Md5]
}

const fn unspecified() -> IpAddr {
    IpAddr::V4(Ipv4Addr::UNSPECIFIED)
}

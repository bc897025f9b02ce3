//! What descriptions say of ICE (RFC 8839) and of DTLS-SRTP (RFC 5763, RFC 8122, RFC 8842).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use setu_model::{Entropy, Secret};

use crate::description::attributes;
use crate::{Description, Line, Media, Refusal, SrtpSuite};

/// What was agreed for a leg whose keys come from a DTLS handshake (RFC 5764).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DtlsTerms {
    /// Our part in the handshake.
    pub role: DtlsRole,
    /// What the peer's certificate must hash to, one of them (RFC 8122 section 5): the SHA-256 ones.
    pub fingerprints: Vec<Fingerprint>,
    /// The suites that may be agreed on in the handshake, the most wanted first.
    pub suites: Vec<SrtpSuite>,
}

/// What was agreed for a leg whose path is found by ICE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceTerms {
    /// Our part.
    pub mode: IceMode,
    /// Says whether we are the controlling agent (RFC 8445 section 6.1.1).
    pub controlling: bool,
    /// What the peer's checks name.
    pub local: IceCredentials,
    /// What our checks name.
    pub remote: IceCredentials,
    /// Where the peer says it can be reached from an address of our family, at most [`MOST_CANDIDATES`](Self::MOST_CANDIDATES).
    pub candidates: Vec<Candidate>,
}

impl IceTerms {
    /// The most candidates of one description that are looked at: a laptop with every network there is.
    pub const MOST_CANDIDATES: usize = 16;
}

/// Our part in a DTLS handshake (RFC 4145 section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtlsRole {
    /// We are the client: `a=setup:active`.
    Active,
    /// We are the server: `a=setup:passive`.
    Passive,
}

impl DtlsRole {
    /// The value of `a=setup`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }
}

/// Our part in ICE (RFC 8445 section 2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IceMode {
    /// We send checks.
    Full,
    /// We have a public address and only answer checks.
    Lite,
}

/// How we take part where keys come from DTLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DtlsPolicy {
    /// The hash of our own certificate.
    pub fingerprint: Fingerprint,
    /// The role we take if the peer leaves it to us.
    pub role: DtlsRole,
    /// How we take part in ICE, with peers that do it.
    pub ice: IceMode,
}

/// The SHA-256 hash of a certificate (RFC 8122 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let colon = if at == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

/// No `sha-256` fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no sha-256 fingerprint")]
pub struct NoFingerprint;

/// Reads the value of an `a=fingerprint` attribute, `sha-256 AB:CD:...`; other hashes are none of ours.
impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        let (hash, hex) = value.trim().split_once(' ').ok_or(NoFingerprint)?;
        let mut bytes = [0; 32];
        let mut pairs = hex.trim().split(':');
        for byte in &mut bytes {
            let pair = pairs.next().filter(|pair| pair.len() == 2).ok_or(NoFingerprint)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NoFingerprint)?;
        }
        let sound = hash.eq_ignore_ascii_case("sha-256") && pairs.next().is_none();
        if sound { Ok(Self(bytes)) } else { Err(NoFingerprint) }
    }
}

/// The credentials of one ICE agent (RFC 8445 section 5.3), as written: Meta pads its passwords with `=`, which the
/// grammar does not have, and means the padding as part of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// The user name fragment.
    pub ufrag: String,
    /// The password.
    pub pwd: Secret<String>,
}

impl IceCredentials {
    /// Draws credentials: 48 bits of name, 144 bits of password.
    pub fn new(entropy: &mut dyn Entropy) -> Self {
        let (mut ufrag, mut pwd) = ([0; 6], [0; 18]);
        entropy.fill(&mut ufrag);
        entropy.fill(&mut pwd);
        Self { ufrag: STANDARD_NO_PAD.encode(ufrag), pwd: Secret::new(STANDARD_NO_PAD.encode(pwd)) }
    }

    /// Reads `a=ice-ufrag` and `a=ice-pwd`, of the stream or else of the session.
    pub(crate) fn of(description: &Description, media: &Media) -> Option<Self> {
        let value = |name| media.attribute(name).or(description.attribute(name)).filter(|v| is_ice_word(v));
        let ufrag = value("ice-ufrag")?.to_owned();
        Some(Self { ufrag, pwd: Secret::new(value("ice-pwd")?.to_owned()) })
    }
}

/// RFC 8839 section 5.4 allows 256 characters. Which ones is not asked; see [`IceCredentials`].
fn is_ice_word(value: &str) -> bool {
    (1..=256).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic())
}

/// One address of a peer (RFC 8839 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The address and port of its RTP.
    pub address: SocketAddr,
    /// Higher is better.
    pub priority: u32,
}

impl Candidate {
    /// Reads the value of `a=candidate`: UDP, the first component, an IP address. Others are of no use: names
    /// (mDNS) are not resolved, and a peer that hides behind one is found by its own checks.
    pub fn parse(value: &str) -> Option<Self> {
        let mut fields = value.split_ascii_whitespace();
        let (_foundation, component, transport) = (fields.next()?, fields.next()?, fields.next()?);
        let priority = fields.next()?.parse().ok()?;
        let address: IpAddr = fields.next()?.parse().ok()?;
        let port = fields.next()?.parse().ok().filter(|port| *port != 0)?;
        let usable = component == "1" && transport.eq_ignore_ascii_case("udp") && is_host(address);
        usable.then_some(Self { address: SocketAddr::new(address.to_canonical(), port), priority })
    }
}

fn is_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || broadcast)
}

/// The keys the peer wants to exchange by DTLS, and which of us begins; `now` is our role in a handshake that is done.
pub(crate) fn agree_dtls(
    description: &Description,
    media: &Media,
    policy: &DtlsPolicy,
    suites: &[SrtpSuite],
    setup: Setup,
) -> Result<DtlsTerms, Refusal> {
    let lines = |lines: &[Line]| -> Vec<Fingerprint> {
        attributes(lines, "fingerprint").filter_map(|value| value.parse().ok()).take(8).collect()
    };
    let mut fingerprints = lines(media.lines());
    if fingerprints.is_empty() && media.attribute("fingerprint").is_none() {
        fingerprints = lines(description.session());
    }
    if fingerprints.is_empty() {
        return Err(Refusal::NoFingerprint);
    }
    let said = media.attribute("setup").or(description.attribute("setup")).unwrap_or("actpass");
    let role = match (said.to_ascii_lowercase().as_str(), setup) {
        ("active", _) => DtlsRole::Passive,
        ("passive", _) => DtlsRole::Active,
        ("actpass", Setup::Offered(now)) => now.unwrap_or(policy.role),
        // Illegal in an answer, yet Meta writes it, and then waits for us.
        ("actpass", Setup::Answered) => DtlsRole::Active,
        _ => return Err(Refusal::Setup),
    };
    Ok(DtlsTerms { role, fingerprints, suites: suites.to_vec() })
}

/// Where an `a=setup` stands.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Setup {
    /// In an offer of the peer; with our role, if there was a handshake already.
    Offered(Option<DtlsRole>),
    /// In an answer to our `actpass`.
    Answered,
}

/// ICE with the peer, if it does ICE.
pub(crate) fn agree_ice(
    description: &Description,
    media: &Media,
    policy: &DtlsPolicy,
    (local, address): (&IceCredentials, IpAddr),
    we_offered: bool,
) -> Option<IceTerms> {
    let remote = IceCredentials::of(description, media)?;
    let lite_peer = description.attribute("ice-lite").is_some() || media.attribute("ice-lite").is_some();
    // Two that only answer would wait for each other: whoever can do more does.
    let mode = if lite_peer { IceMode::Full } else { policy.ice };
    let controlling = match mode {
        IceMode::Full => lite_peer || we_offered,
        IceMode::Lite => false,
    };
    let candidates = attributes(media.lines(), "candidate").filter_map(Candidate::parse);
    let reachable = candidates.filter(|candidate| candidate.address.is_ipv4() == address.is_ipv4());
    let candidates = reachable.take(IceTerms::MOST_CANDIDATES).collect();
    Some(IceTerms { mode, controlling, local: local.clone(), remote, candidates })
}

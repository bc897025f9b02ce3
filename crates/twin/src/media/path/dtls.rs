//! DTLS 1.2 for SRTP keys (RFC 5764), by `dimpl`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use dimpl::{Config, Dtls, DtlsCertificate, Output, SrtpProfile};
use rcgen::{CertificateParams, DnType, KeyPair};
use setu_model::Secret;
use sha2::{Digest as _, Sha256};

use super::report::DtlsRole;
use crate::media::srtp::{CryptoLine, Suite};

/// SHA-256 of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint(pub(crate) [u8; 32]);

impl Fingerprint {
    fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// Reads the value of `a=fingerprint` (RFC 8122 section 5): `sha-256` and 32 bytes in hex with colons.
    pub(crate) fn read(value: &str) -> Option<Self> {
        let (hash, bytes) = value.trim().split_once(' ')?;
        if !hash.eq_ignore_ascii_case("sha-256") {
            return None;
        }
        let bytes: Option<Vec<u8>> =
            bytes.trim().split(':').map(|hex| u8::from_str_radix(hex, 16).ok()).collect();
        Some(Self(bytes?.try_into().ok()?))
    }

    /// The value of `a=fingerprint`.
    pub(crate) fn print(&self) -> String {
        let hex: Vec<String> = self.0.iter().map(|byte| format!("{byte:02X}")).collect();
        format!("sha-256 {}", hex.join(":"))
    }

    /// Another one: what a peer must not accept.
    pub(crate) fn forged(mut self) -> Self {
        if let Some(first) = self.0.first_mut() {
            *first ^= 0xff;
        }
        self
    }
}

/// A self-signed ECDSA certificate and its key.
#[derive(Clone)]
pub(crate) struct DtlsIdentity {
    certificate: DtlsCertificate,
    fingerprint: Fingerprint,
}

impl DtlsIdentity {
    /// Makes a fresh one; `None` if the system has no randomness to give.
    pub(crate) fn fresh() -> Option<Self> {
        let key = KeyPair::generate().ok()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "WebRTC");
        let certificate = params.self_signed(&key).ok()?.der().to_vec();
        let fingerprint = Fingerprint::of(&certificate);
        let certificate = DtlsCertificate { certificate, private_key: key.serialize_der() };
        Some(Self { certificate, fingerprint })
    }

    pub(crate) const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// What a handshake tells its path.
pub(super) enum Told {
    Datagram(Bytes),
    /// Our keys and the peer's, once its certificate was the described one.
    Keyed(CryptoLine, CryptoLine),
    WrongFingerprint,
    Failed(String),
}

#[derive(Default)]
enum State {
    /// No description yet.
    #[default]
    Waiting,
    /// A client that has no address to send its ClientHello to yet.
    Ready(Box<Dtls>),
    Running(Box<Dtls>),
    /// Failed: nothing is answered any more.
    Over,
}

/// One handshake.
#[derive(Default)]
pub(super) struct Handshake {
    state: State,
    role: Option<DtlsRole>,
    expected: Option<Fingerprint>,
    proved: bool,
    due: Option<Instant>,
    told: VecDeque<Told>,
}

/// Room for one datagram of a handshake.
const DATAGRAM: usize = 2_048;

impl Handshake {
    pub(super) fn prepare(
        &mut self,
        identity: &DtlsIdentity,
        role: DtlsRole,
        expected: Fingerprint,
        seed: u64,
        now: Instant,
    ) {
        let config = match Config::builder().dangerously_set_rng_seed(seed).build() {
            Ok(config) => config,
            Err(error) => return self.fail(error.to_string()),
        };
        let mut dtls = Dtls::new_12(Arc::new(config), identity.certificate.clone(), now);
        dtls.set_active(role == DtlsRole::Client);
        (self.role, self.expected) = (Some(role), Some(expected));
        self.state = match role {
            DtlsRole::Client => State::Ready(Box::new(dtls)),
            DtlsRole::Server => State::Running(Box::new(dtls)),
        };
    }

    /// There is a way to the peer: a client begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.state = match std::mem::take(&mut self.state) {
            State::Ready(dtls) => State::Running(dtls),
            other @ (State::Waiting | State::Running(_) | State::Over) => other,
        };
        self.handle_timeout(now);
    }

    pub(super) fn handle_datagram(&mut self, bytes: &[u8], now: Instant) {
        if let State::Running(dtls) = &mut self.state {
            let taken = dtls.handle_timeout(now).and_then(|()| dtls.handle_packet(bytes));
            self.follow(taken);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let State::Running(dtls) = &mut self.state {
            let taken = dtls.handle_timeout(now);
            self.follow(taken);
        }
    }

    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn poll_told(&mut self) -> Option<Told> {
        self.told.pop_front()
    }

    fn fail(&mut self, why: String) {
        (self.state, self.due) = (State::Over, None);
        self.told.push_back(Told::Failed(why));
    }

    fn follow(&mut self, taken: Result<(), dimpl::Error>) {
        if let Err(error) = taken {
            return self.fail(error.to_string());
        }
        let State::Running(dtls) = &mut self.state else { return };
        let mut buffer = vec![0; DATAGRAM];
        let mut forged = false;
        loop {
            match dtls.poll_output(&mut buffer) {
                Output::Packet(bytes) => self.told.push_back(Told::Datagram(Bytes::copy_from_slice(bytes))),
                Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                Output::Timeout(at) => {
                    self.due = Some(at);
                    break;
                }
                Output::PeerCert(der) => {
                    self.proved = self.expected == Some(Fingerprint::of(der));
                    forged |= !self.proved;
                }
                Output::KeyingMaterial(material, profile) if self.proved => {
                    if let Some((ours, theirs)) = keys(&material, profile, self.role) {
                        self.told.push_back(Told::Keyed(ours, theirs));
                    }
                }
                // Nobody sends data over a handshake for SRTP, and a peer that closes is heard of by SIP.
                Output::Connected
                | Output::KeyingMaterial(..)
                | Output::ApplicationData(_)
                | Output::CloseNotify
                | _ => {}
            }
        }
        if forged {
            (self.state, self.due) = (State::Over, None);
            self.told.push_back(Told::WrongFingerprint);
        }
    }
}

/// RFC 5764 section 4.2: client key, server key, client salt, server salt.
fn keys(material: &[u8], profile: SrtpProfile, role: Option<DtlsRole>) -> Option<(CryptoLine, CryptoLine)> {
    let suite = match profile {
        SrtpProfile::AES128_CM_SHA1_80 => Suite::AesCm128HmacSha1_80,
        SrtpProfile::AEAD_AES_128_GCM => Suite::AeadAes128Gcm,
        SrtpProfile::AEAD_AES_256_GCM => Suite::AeadAes256Gcm,
        _ => return None,
    };
    let (keys, salts) = material.split_at_checked(2 * suite.key_len())?;
    let (client_key, server_key) = keys.split_at_checked(suite.key_len())?;
    let (client_salt, server_salt) = salts.split_at_checked(suite.salt_len())?;
    let line = |key: &[u8], salt: &[u8]| {
        let salt = salt.get(..suite.salt_len())?;
        Some(CryptoLine { tag: 0, suite, material: Secret::new([key, salt].concat()) })
    };
    let (client, server) = (line(client_key, client_salt)?, line(server_key, server_salt)?);
    Some(if role == Some(DtlsRole::Client) { (client, server) } else { (server, client) })
}

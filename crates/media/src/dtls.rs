//! The handshake that gives an SRTP leg its keys (RFC 5764), as a machine without I/O: datagrams in, datagrams and, in
//! the end, keys out. It runs beside the packet threads, which only carry its datagrams.
//!
//! The protocol itself is `rtc-dtls`, which takes peers with RSA certificates too. What is ours: the fingerprint is
//! checked before a key leaves, retransmissions begin early and slow down, and whatever does not authenticate is
//! ignored, where the library would give up.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc_dtls::config::{ClientAuthType, ConfigBuilder, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::crypto_provider::{RTCCryptoProvider, default_provider};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile as Profile;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error;
use setu_model::Secret;
use setu_srtp::Suite;
use sha2::{Digest as _, Sha256};

/// What offer and answer agreed about the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DtlsSetup {
    /// Whether we are the client, who begins.
    pub active: bool,
    /// SHA-256 hashes, one of which the peer's certificate must have.
    pub fingerprints: Vec<[u8; 32]>,
    /// The suites to agree on, the most wanted first.
    pub suites: Vec<Suite>,
}

/// The certificate of this process, and its key.
#[derive(Clone)]
pub struct DtlsIdentity {
    provider: Arc<dyn RTCCryptoProvider>,
    certificate: Certificate,
    fingerprint: [u8; 32],
}

impl std::fmt::Debug for DtlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DtlsIdentity")
    }
}

/// No certificate could be made, or no handshake begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("DTLS: {0}")]
pub struct DtlsFault(String);

impl DtlsIdentity {
    /// Makes a self-signed certificate with a fresh ECDSA P-256 key.
    ///
    /// # Errors
    ///
    /// The system has no randomness.
    pub fn generate() -> Result<Self, DtlsFault> {
        let provider = default_provider().map_err(|error| DtlsFault(error.to_string()))?;
        let names = vec!["setu".to_owned()];
        let certificate = Certificate::generate_self_signed(names, provider.crypto()).map_err(fault)?;
        let leaf = certificate.certificate.first().ok_or_else(|| DtlsFault("no certificate".to_owned()))?;
        let fingerprint = Sha256::digest(leaf).into();
        Ok(Self { provider, certificate, fingerprint })
    }

    /// Returns the SHA-256 hash of the certificate, for descriptions.
    pub const fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }
}

/// What a leg hands to its handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandshakeInput {
    /// Begin: the peer can be reached.
    Begin(Box<DtlsSetup>),
    /// A datagram from where the peer proved to be.
    Datagram(Box<[u8]>),
    /// The leg is gone.
    End,
}

/// What a handshake hands to its leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandshakeOutput {
    /// Send this to the peer.
    Datagram(Box<[u8]>),
    /// The peer is who its description says, and these keys are shared with it.
    Keys(Box<SrtpKeys>),
    /// There will be no keys.
    Failed(HandshakeFailed),
}

/// The keys of a leg, each a master key followed by its master salt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrtpKeys {
    /// The suite.
    pub suite: Suite,
    /// Of what the bridge sends.
    pub send: Secret<Box<[u8]>>,
    /// Of what the peer sends.
    pub receive: Secret<Box<[u8]>>,
}

/// Why a handshake gave no keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeFailed {
    /// The peer's certificate has none of the fingerprints of its description.
    #[error("the certificate of the DTLS peer is not the one of its description")]
    Fingerprint,
    /// No suite in common.
    #[error("no SRTP suite in common with the DTLS peer")]
    NoSuite,
    /// It did not end in time.
    #[error("the DTLS handshake did not end in time")]
    TooLong,
    /// The library could not go on.
    #[error("the DTLS handshake broke")]
    Broken,
}

/// One handshake.
///
/// Handle, drain, wait: [`handle`](Self::handle) or [`handle_timeout`](Self::handle_timeout), then
/// [`poll_output`](Self::poll_output) until it is empty, then wait for the next datagram or for
/// [`poll_timeout`](Self::poll_timeout). When that returns `None`, the handshake is over and can be dropped.
pub struct Handshake {
    endpoint: Endpoint,
    config: Arc<HandshakeConfig>,
    setup: DtlsSetup,
    state: State,
    /// The datagrams that were sent last.
    flight: Vec<Box<[u8]>>,
    outputs: VecDeque<HandshakeOutput>,
    taken: usize,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Running {
        again: Option<Instant>,
        wait: Duration,
        until: Instant,
    },
    /// Keys are out; the last flight is sent again if the peer asks.
    Done {
        until: Instant,
        repeats: u8,
    },
    Over,
}

impl Handshake {
    /// Begins at `now`: a client's first flight is ready.
    ///
    /// # Errors
    ///
    /// The setup cannot work: no suite.
    pub fn new(identity: &DtlsIdentity, setup: DtlsSetup, now: Instant) -> Result<Self, DtlsFault> {
        let config = Arc::new(config(identity, &setup)?);
        let endpoint = endpoint(&config, setup.active, now)?;
        let state = State::Running { again: None, wait: FIRST_WAIT, until: now + LONGEST };
        let (flight, outputs, taken) = (Vec::new(), VecDeque::new(), 0);
        let mut handshake = Self { endpoint, config, setup, state, flight, outputs, taken };
        handshake.settle(FIRST_WAIT, now);
        Ok(handshake)
    }

    /// Takes a datagram of the peer.
    pub fn handle(&mut self, datagram: &[u8], now: Instant) {
        self.taken += 1;
        if matches!(self.state, State::Over) || self.taken > MOST_DATAGRAMS || is_clear_alert(datagram) {
            return;
        }
        let events = self.endpoint.read(now, PEER, None, datagram.into());
        match events {
            Ok(events) => {
                // The last flight goes before the keys: a packet that overtook it would find none at the peer.
                self.settle(FIRST_WAIT, now);
                if events.iter().any(|event| matches!(event, EndpointEvent::HandshakeComplete)) {
                    self.complete(now);
                }
            }
            Err(Error::Other(why)) if why == FINGERPRINT_FAULT => self.fail(HandshakeFailed::Fingerprint),
            // A broken record is as good as none: whoever can send one must not end the call.
            Err(error) => tracing::debug!(%error, "DTLS record ignored"),
        }
        self.settle(FIRST_WAIT, now);
        self.repeat_last();
    }

    /// A server that is done sends its last flight again to a client that goes on sending (RFC 6347 section 4.2.4).
    fn repeat_last(&mut self) {
        if let State::Done { repeats, .. } = &mut self.state
            && !self.setup.active
            && self.outputs.is_empty()
            && *repeats > 0
        {
            *repeats -= 1;
            self.outputs.extend(self.flight.iter().cloned().map(HandshakeOutput::Datagram));
        }
    }

    /// Takes the next output.
    pub fn poll_output(&mut self) -> Option<HandshakeOutput> {
        self.outputs.pop_front()
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is due; `None` when the handshake is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Running { again, until, .. } => Some(again.map_or(until, |again| again.min(until))),
            State::Done { until, .. } => Some(until),
            State::Over => None,
        }
    }

    /// Does what is due: sends the last flight again, or gives up.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Running { until, .. } if until <= now => self.fail(HandshakeFailed::TooLong),
            State::Running { again: Some(again), wait, until } if again <= now => {
                let wait = (wait * 2).min(LONGEST_WAIT);
                self.state = State::Running { again: Some(now + wait), wait, until };
                if self.endpoint.poll_timeout(&PEER).is_none() {
                    // The library has forgotten its timer: it does when less than a whole flight comes in. What was
                    // lost is taken as it was, and what was not is known there as sent twice.
                    let again = self.flight.iter().cloned().map(HandshakeOutput::Datagram);
                    return self.outputs.extend(again);
                }
                if self.endpoint.handle_timeout(PEER, now).is_err() {
                    // The library gives up after some seconds; the caller may not have.
                    match endpoint(&self.config, self.setup.active, now) {
                        Ok(endpoint) => self.endpoint = endpoint,
                        Err(_) => return self.fail(HandshakeFailed::Broken),
                    }
                }
                self.settle(wait, now);
            }
            State::Done { until, .. } if until <= now => self.state = State::Over,
            State::Running { .. } | State::Done { .. } | State::Over => {}
        }
    }

    /// Collects what is to be sent; if it is anything, it is sent again after `wait`.
    fn settle(&mut self, wait: Duration, now: Instant) {
        let sent = std::iter::from_fn(|| self.endpoint.poll_transmit());
        let sent: Vec<Box<[u8]>> = sent.map(|transmit| transmit.message.as_ref().into()).collect();
        if sent.is_empty() {
            return;
        }
        self.outputs.extend(sent.iter().cloned().map(HandshakeOutput::Datagram));
        self.flight = sent;
        if let State::Running { until, .. } = self.state {
            self.state = State::Running { again: Some(now + wait), wait, until };
        }
    }

    fn complete(&mut self, now: Instant) {
        if !matches!(self.state, State::Running { .. }) {
            return;
        }
        match self.keys() {
            Ok(keys) => {
                self.outputs.push_back(HandshakeOutput::Keys(Box::new(keys)));
                self.state = State::Done { until: now + LINGER, repeats: MOST_REPEATS };
            }
            Err(why) => self.fail(why),
        }
    }

    fn keys(&self) -> Result<SrtpKeys, HandshakeFailed> {
        let state = self.endpoint.get_connection_state(PEER).ok_or(HandshakeFailed::Broken)?;
        let leaf = state.peer_certificates.first();
        if !leaf.is_some_and(|leaf| fits(&self.setup.fingerprints, leaf)) {
            return Err(HandshakeFailed::Fingerprint);
        }
        let suites = self.setup.suites.iter().copied();
        let suite = suites.into_iter().find(|suite| profile(*suite) == state.srtp_protection_profile());
        let suite = suite.ok_or(HandshakeFailed::NoSuite)?;
        let exported = state
            .export_keying_material("EXTRACTOR-dtls_srtp", &[], suite.exported_len())
            .map_err(|_| HandshakeFailed::Broken)?;
        let exported = suite.split_exported(exported.as_ref()).map_err(|_| HandshakeFailed::Broken)?;
        let secret = |keying: &[u8]| Secret::new(keying.into());
        let (client, server) = (secret(&exported.client), secret(&exported.server));
        let (send, receive) = if self.setup.active { (client, server) } else { (server, client) };
        Ok(SrtpKeys { suite, send, receive })
    }

    fn fail(&mut self, why: HandshakeFailed) {
        self.state = State::Over;
        self.outputs.push_back(HandshakeOutput::Failed(why));
    }
}

fn config(identity: &DtlsIdentity, setup: &DtlsSetup) -> Result<HandshakeConfig, DtlsFault> {
    if setup.suites.is_empty() {
        return Err(DtlsFault("no SRTP suite".to_owned()));
    }
    let fingerprints = setup.fingerprints.clone();
    ConfigBuilder::default()
        .with_crypto_provider(Arc::clone(&identity.provider))
        .with_certificates(vec![identity.certificate.clone()])
        .with_srtp_protection_profiles(setup.suites.iter().copied().map(profile).collect())
        .with_client_auth(ClientAuthType::RequireAnyClientCert)
        // Certificates are self-signed: the fingerprint vouches for them, not an authority.
        .with_insecure_skip_verify(true)
        .with_verify_peer_certificate(Some(Arc::new(move |chain: &[Vec<u8>], _: &[_]| match chain.first() {
            Some(leaf) if fits(&fingerprints, leaf) => Ok(()),
            Some(_) | None => Err(Error::Other(FINGERPRINT_FAULT.to_owned())),
        })))
        .with_flight_interval(FIRST_WAIT)
        .build(setup.active, Some(PEER))
        .map_err(fault)
}

fn endpoint(config: &Arc<HandshakeConfig>, active: bool, now: Instant) -> Result<Endpoint, DtlsFault> {
    let server = (!active).then(|| Arc::clone(config));
    let mut endpoint = Endpoint::new(PEER, TransportProtocol::UDP, server);
    if active {
        endpoint.connect(now, PEER, Arc::clone(config), None).map_err(fault)?;
    }
    Ok(endpoint)
}

fn fits(fingerprints: &[[u8; 32]], certificate: &[u8]) -> bool {
    let hash: [u8; 32] = Sha256::digest(certificate).into();
    fingerprints.contains(&hash)
}

/// The library's word for a suite's protection profile.
fn profile(suite: Suite) -> Profile {
    Profile::from(suite.dtls_profile())
}

/// An alert before there are keys: anybody may have sent it, so nobody is believed (RFC 6347 section 4.1.2.7).
fn is_clear_alert(datagram: &[u8]) -> bool {
    matches!(datagram, [21, _, _, 0, 0, ..])
}

fn fault(error: Error) -> DtlsFault {
    DtlsFault(error.to_string())
}

/// The library tells peers apart by address; here every handshake has one, wherever it is.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
const FINGERPRINT_FAULT: &str = "fingerprint";
/// Before a flight is sent again for the first time; it doubles. RFC 6347 section 4.2.4.1 has 1 s, "lower values in
/// time-sensitive applications": each second here is a second in which a caller is not heard.
const FIRST_WAIT: Duration = Duration::from_millis(150);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// A handshake that takes longer has no caller any more.
const LONGEST: Duration = Duration::from_secs(20);
/// How long the last flight may be asked for again.
const LINGER: Duration = Duration::from_secs(10);
/// How often it is sent.
const MOST_REPEATS: u8 = 32;
/// More datagrams than a handshake with every loss there can be has.
const MOST_DATAGRAMS: usize = 512;

#[cfg(test)]
mod tests;

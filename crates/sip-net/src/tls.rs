//! TLS as each side needs it, and its exchange at run time.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::Resumption;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use setu_model::{Side, Wall};

use crate::certificate::{self, CertificateError, CertificateStatus};
use crate::config::{TlsConfig, Trust};

/// The TLS setup of both sides. Connections take what is current when they begin and keep it.
#[derive(Debug)]
pub(crate) struct TlsStore {
    current: RwLock<BTreeMap<Side, Arc<SideTls>>>,
}

impl TlsStore {
    pub(crate) fn load(config: &BTreeMap<Side, TlsConfig>) -> Result<Self, CertificateError> {
        Ok(Self { current: RwLock::new(load_all(config)?) })
    }

    /// Reads every file of `config`. All are exchanged, or none.
    pub(crate) fn reload(&self, config: &BTreeMap<Side, TlsConfig>) -> Result<(), CertificateError> {
        let fresh = load_all(config)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    pub(crate) fn side(&self, side: Side) -> Option<Arc<SideTls>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).get(&side).cloned()
    }

    pub(crate) fn certificates(&self) -> Vec<CertificateStatus> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.values().filter_map(|side| side.status.clone()).collect()
    }
}

/// The TLS setup of one side.
#[derive(Debug)]
pub(crate) struct SideTls {
    pub(crate) server: Option<Arc<ServerConfig>>,
    pub(crate) client: Arc<ClientConfig>,
    proof: Option<Arc<dyn ClientCertVerifier>>,
    status: Option<CertificateStatus>,
}

impl SideTls {
    fn load(side: Side, config: &TlsConfig) -> Result<Self, CertificateError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = |source| CertificateError::Tls { side, source };
        let (shown, status) = match &config.certificate {
            None => (None, None),
            Some(files) => {
                let (key, status) = certificate::load(side, files, &provider, now())?;
                (Some(Arc::new(SingleCertAndKey::from(key))), Some(status))
            }
        };

        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(VERSIONS)
            .map_err(tls)?
            .with_root_certificates(roots(side, &config.trust)?);
        let mut client = match &shown {
            Some(shown) => client.with_client_cert_resolver(Arc::<SingleCertAndKey>::clone(shown)),
            None => client.with_no_client_auth(),
        };
        // A resumed session would not look at the server's certificate again.
        client.resumption = Resumption::disabled();

        let proof = client_proof(config, &provider)?;
        let verifier: Arc<dyn ClientCertVerifier> = match &proof {
            Some(proof) => Arc::new(AskOnly { schemes: proof.supported_verify_schemes(), provider }),
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let server = match shown {
            None => None,
            Some(shown) => Some(Arc::new(server_config(verifier, shown).map_err(tls)?)),
        };
        Ok(Self { server, client: Arc::new(client), proof, status })
    }

    /// The names that a TLS client's chain proves. None without configured authorities, or if it proves nothing.
    pub(crate) fn proven_names(&self, chain: Option<&[CertificateDer<'_>]>) -> Vec<String> {
        let (Some(proof), Some([leaf, rest @ ..])) = (&self.proof, chain) else { return Vec::new() };
        match proof.verify_client_cert(leaf, rest, UnixTime::now()) {
            Ok(_) => certificate::names(leaf),
            Err(fault) => {
                tracing::debug!(%fault, "a client certificate proves nothing");
                Vec::new()
            }
        }
    }
}

fn load_all(config: &BTreeMap<Side, TlsConfig>) -> Result<BTreeMap<Side, Arc<SideTls>>, CertificateError> {
    let load = |side| {
        let tls = config
            .get(&side)
            .map_or_else(|| SideTls::load(side, &TlsConfig::default()), |tls| SideTls::load(side, tls))?;
        Ok((side, Arc::new(tls)))
    };
    [Side::Meta, Side::Agents].into_iter().map(load).collect()
}

/// No ALPN is set on either side: Meta answers an offer of `sip` with the alert `no_application_protocol`.
fn server_config(
    verifier: Arc<dyn ClientCertVerifier>,
    shown: Arc<SingleCertAndKey>,
) -> Result<ServerConfig, rustls::Error> {
    Ok(ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(VERSIONS)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(shown))
}

pub(crate) fn roots(side: Side, trust: &Trust) -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    if trust.system {
        let native = rustls_native_certs::load_native_certs();
        for fault in &native.errors {
            tracing::warn!(%fault, "part of the system's certificate authorities cannot be read");
        }
        roots.add_parsable_certificates(native.certs);
        if roots.is_empty() {
            tracing::warn!("the system has no certificate authorities: Mozilla's, as compiled in, stand in");
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
    }
    if let Some(file) = &trust.extra_roots {
        certificate::add_roots(&mut roots, file)?;
    }
    if roots.is_empty() { Err(CertificateError::NoAuthorities { side }) } else { Ok(roots) }
}

fn client_proof(
    config: &TlsConfig,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, CertificateError> {
    let Some(file) = &config.client_authorities else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    certificate::add_roots(&mut roots, file)?;
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .allow_unauthenticated()
        .build()
        .map(Some)
        .map_err(|fault| CertificateError::UnusableAuthorities {
            file: file.clone(),
            fault: fault.to_string(),
        })
}

/// Asks for a client certificate and lets any pass that its owner holds the key of. What it proves is looked at
/// after the handshake: Meta, as a TLS client, shows a subject of its own choice, and must get through.
#[derive(Debug)]
struct AskOnly {
    schemes: Vec<SignatureScheme>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AskOnly {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

pub(crate) fn now() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall::from_unix_ms(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

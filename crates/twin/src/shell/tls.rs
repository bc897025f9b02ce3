//! TLS of the twins on sockets.

use std::io;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::ca::Identity;
use crate::io::Closed;

/// How a twin does TLS.
#[derive(Debug, Clone, Default)]
pub(super) struct TlsOptions {
    /// Trusted roots, PEM.
    pub(super) roots_pem: String,
    /// Our certificate as a server.
    pub(super) server: Option<Identity>,
    /// Our certificate as a client, shown only if asked for.
    pub(super) client: Option<Identity>,
    /// Whether a client that offers ALPN is refused (alert 120).
    pub(super) alpn_refused: bool,
    /// Whether clients are asked for a certificate.
    pub(super) request_client_cert: bool,
}

/// A protocol nobody offers. A server that knows only this refuses every offer with `no_application_protocol`,
/// and takes a client that offers none (RFC 7301 section 3.2).
const NOBODYS_PROTOCOL: &[u8] = b"setu-twin/none";

pub(super) fn acceptor(options: &TlsOptions) -> io::Result<Option<TlsAcceptor>> {
    let Some(identity) = &options.server else { return Ok(None) };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(io::Error::other)?;
    let builder = if options.request_client_cert {
        let roots = Arc::new(roots(&options.roots_pem)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).allow_unauthenticated();
        builder.with_client_cert_verifier(verifier.build().map_err(io::Error::other)?)
    } else {
        builder.with_no_client_auth()
    };
    let (chain, key) = load(identity)?;
    let mut config = builder.with_single_cert(chain, key).map_err(io::Error::other)?;
    if options.alpn_refused {
        config.alpn_protocols = vec![NOBODYS_PROTOCOL.to_vec()];
    }
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

pub(super) fn connector(options: &TlsOptions, alpn: &[String]) -> io::Result<TlsConnector> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(io::Error::other)?.with_root_certificates(roots(&options.roots_pem)?);
    let mut config = match &options.client {
        Some(identity) => {
            let (chain, key) = load(identity)?;
            builder.with_client_auth_cert(chain, key).map_err(io::Error::other)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.clone().into_bytes()).collect();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// What a failed handshake means.
pub(super) fn verdict(error: &io::Error) -> Closed {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_)) => Closed::BadCertificate,
        _ => Closed::TlsRefused,
    }
}

fn roots(pem: &str) -> io::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        store.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    Ok(store)
}

fn load(identity: &Identity) -> io::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(io::Error::other)?;
    Ok((chain.map_err(io::Error::other)?, key))
}

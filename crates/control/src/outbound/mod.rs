//! HTTPS to others: which addresses may be contacted, and whom a connection leads to.

mod connect;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use setu_model::{EgressPolicy, EgressRefusal};
use tokio_rustls::TlsConnector;

pub(crate) use connect::Connector;

/// How others are reached by HTTPS.
#[derive(Debug, Clone, Default)]
pub struct Outbound {
    /// Which addresses may be contacted. Looked at after a name was resolved, at the address that is then dialled.
    pub egress: EgressPolicy,
    /// Names (in lower case) pinned to addresses, each with a port that takes the place of the URL's.
    pub pinned: BTreeMap<String, Vec<(IpAddr, Option<u16>)>>,
    /// PEM file with certificate authorities trusted besides the system's.
    pub extra_roots: Option<PathBuf>,
}

/// HTTPS to others cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The file with certificate authorities cannot be used.
    #[error("cannot read certificate authorities from {path}: {why}; give a PEM file", path = path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Why nobody was reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreached {
    #[error("only https is spoken")]
    NotHttps,
    #[error("the host is no name that a certificate could prove")]
    NoName,
    #[error("the name has no address: {0}")]
    Unresolved(io::Error),
    #[error("{0}")]
    Forbidden(EgressRefusal),
    #[error("{0}: {1}")]
    Unreachable(SocketAddr, io::Error),
    #[error("the name has no address")]
    NoAddress,
}

impl Outbound {
    pub(crate) fn connector(&self) -> Result<Connector, OutboundError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Connector::new(self.clone(), TlsConnector::from(Arc::new(tls))))
    }

    fn roots(&self) -> Result<RootCertStore, OutboundError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        if let Some(path) = &self.extra_roots {
            add_roots(&mut roots, path).map_err(|why| OutboundError::Roots { path: path.clone(), why })?;
        }
        Ok(roots)
    }

    /// The addresses of a host that may be contacted, at least one.
    pub(crate) async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Unreached> {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let found: Vec<SocketAddr> = match self.pinned.get(&name) {
            Some(pinned) => {
                pinned.iter().map(|(ip, own)| SocketAddr::new(*ip, own.unwrap_or(port))).collect()
            }
            None => {
                tokio::net::lookup_host((name.as_str(), port)).await.map_err(Unreached::Unresolved)?.collect()
            }
        };
        let mut allowed = Vec::new();
        let mut refused = None;
        for address in found {
            match self.egress.check(address.ip()) {
                Ok(()) => allowed.push(address),
                Err(refusal) => refused = Some(refusal),
            }
        }
        match refused {
            Some(refusal) if allowed.is_empty() => Err(Unreached::Forbidden(refusal)),
            Some(_) | None if allowed.is_empty() => Err(Unreached::NoAddress),
            Some(_) | None => Ok(allowed),
        }
    }
}

fn add_roots(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        found = true;
    }
    if found { Ok(()) } else { Err("no certificate in it".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_name_leads_to_is_judged_and_not_the_name() {
        let mut outbound = Outbound::default();
        let mut pin = |name: &str, ip: &str| {
            outbound.pinned.insert(name.to_owned(), vec![(ip.parse().expect("an address"), None)]);
        };
        pin("public.example", "192.0.43.10");
        pin("metadata.example", "169.254.169.254");
        pin("mapped.example", "::ffff:127.0.0.1");
        pin("private.example", "10.0.0.1");
        let reached = outbound.addresses("Public.Example.", 443).await.expect("public");
        assert_eq!(reached, ["192.0.43.10:443".parse().expect("an address")]);
        for host in [
            "metadata.example",
            "mapped.example",
            "private.example",
            "127.0.0.1",
            "0x7f.1",
            "169.254.169.254",
        ] {
            assert!(outbound.addresses(host, 443).await.is_err(), "{host}");
        }
    }
}

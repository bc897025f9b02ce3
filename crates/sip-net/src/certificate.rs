//! Certificate files: reading, checking, and when they expire.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use setu_model::{Side, Wall};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::config::canonical_name;
use crate::{CertificateFiles, Trust};

/// A certificate the bridge shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateStatus {
    /// The side it is shown to.
    pub side: Side,
    /// The file it came from.
    pub file: PathBuf,
    /// The names it proves, in lower case.
    pub names: Vec<String>,
    /// The first moment it is valid.
    pub not_before: Wall,
    /// The last moment it is valid.
    pub not_after: Wall,
}

impl CertificateStatus {
    /// Seconds from `now` until it expires; negative once it has.
    pub const fn seconds_left(&self, now: Wall) -> i64 {
        (self.not_after.unix_ms() - now.unix_ms()).div_euclid(1_000)
    }
}

/// A certificate file that cannot be used. The message names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no PEM, or not what it should be.
    #[error("{} holds no {wanted} in PEM form{}", file.display(), detail(fault))]
    NotPem {
        /// The file.
        file: PathBuf,
        /// What was looked for.
        wanted: &'static str,
        /// What is wrong with it, where it is PEM of a sort.
        fault: Option<pem::Error>,
    },
    /// The certificate cannot be understood.
    #[error("{} holds a certificate that cannot be read: {fault}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        fault: String,
    },
    /// The certificate has another public key.
    #[error(
        "the key in {} does not belong to the first certificate in {}: the leaf comes first, and the key must be the \
         one it was issued for",
        key.display(), chain.display()
    )]
    Mismatch {
        /// The chain's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The key is of a kind that TLS cannot use here.
    #[error("the key in {} cannot be used: {source}; use ECDSA P-256 or RSA of 2048 bits or more", key.display())]
    UnusableKey {
        /// The key's file.
        key: PathBuf,
        /// What the TLS library said.
        source: rustls::Error,
    },
    /// The certificate is past its end.
    #[error("the certificate in {} expired on {not_after}: renew it, then start or reload", file.display())]
    Expired {
        /// The file.
        file: PathBuf,
        /// Its last moment.
        not_after: Wall,
    },
    /// The certificate's time has not come.
    #[error("the certificate in {} is valid from {not_before} only: check this machine's clock", file.display())]
    NotYetValid {
        /// The file.
        file: PathBuf,
        /// Its first moment.
        not_before: Wall,
    },
    /// TLS cannot be set up with these authorities.
    #[error("the authorities in {} cannot be used: {fault}", file.display())]
    UnusableAuthorities {
        /// The file.
        file: PathBuf,
        /// What the TLS library said.
        fault: String,
    },
    /// Neither the system nor a file gave any authority.
    #[error(
        "no certificate authority is trusted for the {side} side: install ca-certificates or name a file"
    )]
    NoAuthorities {
        /// The side.
        side: Side,
    },
    /// A peer that dials the host would not accept it.
    #[error(
        "a peer that dials {hostname} refuses the certificate in {}: {source}; it must cover that name, and the file \
         must hold the chain up to a public authority", file.display()
    )]
    RefusedByPeers {
        /// The chain's file.
        file: PathBuf,
        /// The name dialled.
        hostname: String,
        /// What the TLS library said.
        source: rustls::Error,
    },
    /// The TLS library refused the whole.
    #[error("TLS cannot be set up for the {side} side: {source}")]
    Tls {
        /// The side.
        side: Side,
        /// What the TLS library said.
        source: rustls::Error,
    },
}

impl CertificateError {
    /// The file at fault; of two that do not fit, the chain. None if no file is.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Unreadable { file, .. }
            | Self::NotPem { file, .. }
            | Self::Malformed { file, .. }
            | Self::Mismatch { chain: file, .. }
            | Self::UnusableKey { key: file, .. }
            | Self::Expired { file, .. }
            | Self::NotYetValid { file, .. }
            | Self::UnusableAuthorities { file, .. }
            | Self::RefusedByPeers { file, .. } => Some(file),
            Self::NoAuthorities { .. } | Self::Tls { .. } => None,
        }
    }
}

/// Reads the chain and the key of `files`, and checks that they belong together and are valid at `now`.
pub(crate) fn load(
    side: Side,
    files: &CertificateFiles,
    provider: &CryptoProvider,
    now: Wall,
) -> Result<(CertifiedKey, CertificateStatus), CertificateError> {
    let chain = read_chain(&files.chain)?;
    let status = status(side, &files.chain, &chain, now)?;
    if status.not_after <= now {
        return Err(CertificateError::Expired { file: status.file, not_after: status.not_after });
    }
    if status.not_before > now {
        return Err(CertificateError::NotYetValid { file: status.file, not_before: status.not_before });
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|fault| {
        CertificateError::NotPem { file: files.key.clone(), wanted: "private key", fault: Some(fault) }
    })?;
    let unusable = |source| CertificateError::UnusableKey { key: files.key.clone(), source };
    let signing = provider.key_provider.load_private_key(key).map_err(unusable)?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok((certified, status)),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(CertificateError::Mismatch { chain: files.chain.clone(), key: files.key.clone() })
        }
        Err(source) => Err(unusable(source)),
    }
}

/// Reads the certificate of `files` as a peer that dials `hostname` would: it must be valid now, belong to its key,
/// chain to an authority of `trust`, and cover the name.
///
/// # Errors
/// The first thing that such a peer, or the bridge itself, would refuse.
pub fn verify_as_peer(
    side: Side,
    files: &CertificateFiles,
    trust: &Trust,
    hostname: &str,
) -> Result<CertificateStatus, CertificateError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (certified, status) = load(side, files, &provider, crate::tls::now())?;
    let refused = |source| CertificateError::RefusedByPeers {
        file: files.chain.clone(),
        hostname: hostname.to_owned(),
        source,
    };
    let name = ServerName::try_from(hostname.to_owned())
        .map_err(|_| refused(rustls::Error::General("not a host name".to_owned())))?;
    let roots = Arc::new(crate::tls::roots(side, trust)?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|error| refused(rustls::Error::General(error.to_string())))?;
    let (leaf, rest) =
        certified.cert.split_first().ok_or_else(|| refused(rustls::Error::NoCertificatesPresented))?;
    verifier.verify_server_cert(leaf, rest, &name, &[], UnixTime::now()).map_err(refused)?;
    Ok(status)
}

/// Reads the authorities in a PEM file into `roots`.
pub(crate) fn add_roots(roots: &mut RootCertStore, file: &Path) -> Result<(), CertificateError> {
    for certificate in read_chain(file)? {
        roots.add(certificate).map_err(|fault| CertificateError::UnusableAuthorities {
            file: file.to_owned(),
            fault: fault.to_string(),
        })?;
    }
    Ok(())
}

/// The names a certificate proves, in lower case: its subject alternative names, the hosts of its SIP URIs, or the
/// common name of one that has neither (RFC 5922 section 7.1). Wildcards prove nothing (section 7.2).
pub(crate) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    X509Certificate::from_der(certificate).map(|(_, parsed)| parsed_names(&parsed)).unwrap_or_default()
}

fn parsed_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let found: Vec<String> = match certificate.subject_alternative_name() {
        Ok(Some(names)) => names.value.general_names.iter().filter_map(general_name).collect(),
        Ok(None) => {
            let common = certificate.subject().iter_common_name();
            common.filter_map(|name| name.as_str().ok()).map(canonical_name).collect()
        }
        // Two such extensions contradict each other.
        Err(_) => Vec::new(),
    };
    found.into_iter().filter(|name| !name.is_empty() && !name.contains('*')).collect()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the other kinds name no host")]
fn general_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(canonical_name(name)),
        // A SIP URI with a user part proves a user, not a host (RFC 5922 section 7.1).
        GeneralName::URI(uri) => {
            let host = uri.strip_prefix("sip:").or_else(|| uri.strip_prefix("sips:"))?;
            (!host.contains(['@', ':', ';', '?'])).then(|| canonical_name(host))
        }
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from);
            v4.or_else(|_| v6()).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// Reads what the leaf says. An intermediate past its end is no reason to refuse: chains carry old cross-signatures
/// that today's clients do not need.
fn status(
    side: Side,
    file: &Path,
    chain: &[CertificateDer<'_>],
    now: Wall,
) -> Result<CertificateStatus, CertificateError> {
    let mut leaf = None;
    for certificate in chain {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|fault| {
            CertificateError::Malformed { file: file.to_owned(), fault: fault.to_string() }
        })?;
        let wall = |seconds: i64| Wall::from_unix_ms(seconds.saturating_mul(1_000));
        let not_after = wall(parsed.validity().not_after.timestamp());
        if leaf.is_some() && not_after <= now {
            tracing::warn!(file = %file.display(), %not_after, "an intermediate certificate has expired");
        }
        leaf.get_or_insert(CertificateStatus {
            side,
            file: file.to_owned(),
            names: parsed_names(&parsed),
            not_before: wall(parsed.validity().not_before.timestamp()),
            not_after,
        });
    }
    leaf.ok_or_else(|| CertificateError::NotPem { file: file.to_owned(), wanted: "certificate", fault: None })
}

fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let not_pem = |fault| CertificateError::NotPem { file: file.to_owned(), wanted: "certificate", fault };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(file)?).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(not_pem(None)),
        Ok(chain) => Ok(chain),
        Err(fault) => Err(not_pem(Some(fault))),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(file).map_err(|source| CertificateError::Unreadable { file: file.to_owned(), source })
}

fn detail(fault: &Option<pem::Error>) -> String {
    fault.as_ref().map(|fault| format!(" ({fault})")).unwrap_or_default()
}

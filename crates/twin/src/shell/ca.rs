//! A certificate authority for tests and the demo.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// A certificate chain and its private key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The leaf; the test authority signs it directly.
    pub certificate_pem: String,
    /// PKCS #8.
    pub key_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

/// A certificate authority that lives as long as this value.
pub struct TestAuthority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What went wrong with a certificate.
pub use rcgen::Error as CertificateError;

impl TestAuthority {
    /// Makes a fresh authority.
    pub fn new() -> Result<Self, CertificateError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Setu test authority");
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key) })
    }

    /// The authority's certificate, to be trusted.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for a server or client of these names: host names or IP addresses, the first one its CN.
    pub fn issue(&self, names: &[&str]) -> Result<Identity, CertificateError> {
        self.sign(params(names)?)
    }

    /// One that expired in 2020.
    pub fn issue_expired(&self, names: &[&str]) -> Result<Identity, CertificateError> {
        let mut params = params(names)?;
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Result<Identity, CertificateError> {
        let key = KeyPair::generate()?;
        let certificate_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity { certificate_pem, key_pem: key.serialize_pem() })
    }
}

/// The name on the certificate Meta shows a server that asks for one.
pub const META_CLIENT_NAME: &str = "client.sip.fbclientcerts.com";

fn params(names: &[&str]) -> Result<CertificateParams, CertificateError> {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
    if let Some(name) = names.first() {
        params.distinguished_name.push(DnType::CommonName, *name);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

//! `X-Hub-Signature-256`: HMAC-SHA256 of the raw body under the app's secret.

use hmac::{Hmac, KeyInit, Mac};
use setu_model::Secret;
use sha2::Sha256;

/// Why a body is not Meta's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no header.
    #[error("the webhook has no X-Hub-Signature-256 header")]
    Missing,
    /// The header is not `sha256=` and 64 hexadecimal digits.
    #[error("the X-Hub-Signature-256 header is malformed")]
    Malformed,
    /// None of the configured app secrets made this signature.
    #[error("the webhook's signature is not made with any of the configured app secrets")]
    Wrong,
}

/// Checks the header against the body, byte for byte as it came, under each secret; says which ones made it: several, where
/// one app's secret is named more than once. In constant time for each secret.
///
/// # Errors
///
/// [`SignatureError`] if the header is missing, malformed or not made with any of the secrets.
pub fn verify<'s>(
    secrets: impl IntoIterator<Item = &'s Secret<String>>,
    body: &[u8],
    header: Option<&str>,
) -> Result<Vec<usize>, SignatureError> {
    let header = header.ok_or(SignatureError::Missing)?.trim();
    let digits = header.strip_prefix("sha256=").ok_or(SignatureError::Malformed)?;
    let told = unhex(digits).ok_or(SignatureError::Malformed)?;
    let made = |secret: &Secret<String>| mac(secret, body).is_some_and(|mac| mac.verify_slice(&told).is_ok());
    let makers: Vec<usize> =
        (0..).zip(secrets).filter(|(_, secret)| made(secret)).map(|(place, _)| place).collect();
    if makers.is_empty() { Err(SignatureError::Wrong) } else { Ok(makers) }
}

/// Makes the header's value for a body.
pub fn sign(secret: &Secret<String>, body: &[u8]) -> String {
    let tag = mac(secret, body).map(|mac| mac.finalize().into_bytes()).unwrap_or_default();
    let mut value = String::from("sha256=");
    for byte in tag {
        for nibble in [byte >> 4, byte & 15] {
            value.extend(char::from_digit(u32::from(nibble), 16));
        }
    }
    value
}

fn mac(secret: &Secret<String>, body: &[u8]) -> Option<Hmac<Sha256>> {
    // A key of any length is allowed (RFC 2104 section 3).
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()).ok()?;
    mac.update(body);
    Some(mac)
}

fn unhex(digits: &str) -> Option<[u8; 32]> {
    let digits = digits.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| pair.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> [Secret<String>; 2] {
        [Secret::new("Jefe".to_owned()), Secret::new("old".to_owned())]
    }

    /// RFC 4231 section 4.3.
    #[test]
    fn signature_matches_the_vector_of_rfc_4231() {
        let body = b"what do ya want for nothing?";
        let value = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(sign(&secrets()[0], body), value);
        assert_eq!(verify(&secrets(), body, Some(value)), Ok(vec![0]));
        assert_eq!(verify(&secrets(), body, Some(&value.to_uppercase().replace("SHA", "sha"))), Ok(vec![0]));
    }

    #[test]
    fn either_secret_counts_while_it_is_rotated() {
        let header = sign(&secrets()[1], b"body");
        assert_eq!(verify(&secrets(), b"body", Some(&header)), Ok(vec![1]));
        let twice = [secrets(), secrets()].concat();
        assert_eq!(verify(&twice, b"body", Some(&header)), Ok(vec![1, 3]));
        assert_eq!(verify(&secrets()[..1], b"body", Some(&header)), Err(SignatureError::Wrong));
        assert_eq!(verify(&secrets(), b"body ", Some(&header)), Err(SignatureError::Wrong));
    }

    #[test]
    fn a_missing_or_malformed_header_is_refused() {
        assert_eq!(verify(&secrets(), b"", None), Err(SignatureError::Missing));
        let good = sign(&secrets()[0], b"");
        for bad in ["", "sha256=", "sha1=00", &good[7..], &good[..70], &format!("{good}0"), "sha256=é"] {
            assert_eq!(verify(&secrets(), b"", Some(bad)), Err(SignatureError::Malformed), "{bad}");
        }
        assert_eq!(verify(&[], b"", Some(&good)), Err(SignatureError::Wrong));
    }
}

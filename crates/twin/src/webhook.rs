//! Webhooks as Meta and its providers send them: a signed body in an HTTP request.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Who sends webhooks, to where.
#[derive(Debug, Clone)]
pub struct WebhookSender {
    /// The bridge's listener, in clear: the proxy that does TLS is left out.
    pub to: SocketAddr,
    /// The app's secret.
    pub secret: String,
}

impl WebhookSender {
    /// Posts `body` to `path` with a right signature; returns the status of the answer.
    pub async fn post(&self, path: &str, body: &str) -> io::Result<u16> {
        self.post_signed(path, body, Some(&sign(&self.secret, body.as_bytes()))).await
    }

    /// Posts `body` to `path` with whatever signature; returns the status of the answer.
    pub async fn post_signed(&self, path: &str, body: &str, signature: Option<&str>) -> io::Result<u16> {
        let signature = signature.map(|it| format!("X-Hub-Signature-256: {it}\r\n")).unwrap_or_default();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             {signature}Content-Length: {}\r\n\r\n{body}",
            self.to,
            body.len(),
        );
        let exchange = async {
            let mut stream = TcpStream::connect(self.to).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            Ok(answer)
        };
        let answer = tokio::time::timeout(PATIENCE, exchange)
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer to a webhook")))?;
        let status = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP"))
    }
}

/// The value of `X-Hub-Signature-256` for a body.
pub fn sign(secret: &str, body: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

/// A provider's webhook about one call: what it posts to `/webhooks/whatsapp/call.connect`, or to `call.terminate`.
pub fn provider_event(phone_number_id: &str, call: &Value) -> String {
    let value = json!({
        "messaging_product": "whatsapp",
        "metadata": { "display_phone_number": "+9199999XXXXX" },
        "calls": [call],
    });
    json!({
        "object": "whatsapp_business_calling",
        "entry": [{ "id": phone_number_id, "changes": [{ "field": "calls", "value": value }] }],
    })
    .to_string()
}

/// Meta waits so long for an answer before it sends again.
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_hmac_of_the_raw_body() {
        // RFC 4231 section 4.3.
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(sign("Jefe", b"what do ya want for nothing?"), expected);
    }
}

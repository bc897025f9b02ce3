//! Events out: signed posts to the operator's own programs, as the Standard Webhooks specification says
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use std::time::Duration;

use axum::http::{Method, Request, StatusCode, Uri, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use setu_model::{Secret, Wall};
use sha2::Sha256;
use tokio::time::timeout;

use crate::graph::told;
use crate::outbound::{Connector, Outbound, OutboundError};

/// Whom events are posted to.
#[derive(Debug, Clone)]
pub struct EventEndpoint {
    /// Where.
    pub url: EventUrl,
    /// What they are signed with: each makes a signature, so that the receiver may change over at any time.
    pub secrets: Vec<EventSecret>,
    /// How it is reached.
    pub outbound: Outbound,
}

/// A URL that events may be posted to: `https`, a host, and no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventUrl(Uri);

impl std::str::FromStr for EventUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url: Uri = text.parse().map_err(|_| "it is no URL")?;
        if url.scheme_str() != Some("https") {
            return Err("it does not begin with https://");
        }
        match url.authority() {
            Some(authority) if authority.as_str().contains('@') => Err("it has a user or password in it"),
            Some(authority) if !authority.host().is_empty() => Ok(Self(url)),
            Some(_) | None => Err("it has no host"),
        }
    }
}

/// A secret as the specification writes them: `whsec_` and 24 to 64 random bytes in base64.
#[derive(Debug, Clone)]
pub struct EventSecret(Secret<Vec<u8>>);

impl EventSecret {
    /// Reads one.
    ///
    /// # Errors
    /// Why it is none, and how to make one.
    pub fn parse(text: &Secret<String>) -> Result<Self, &'static str> {
        let key = text.reveal().strip_prefix("whsec_").and_then(|key| STANDARD.decode(key).ok());
        let key = key.filter(|key| (24..=64).contains(&key.len()));
        key.map(|key| Self(Secret::new(key)))
            .ok_or("it is not whsec_ and 24 to 64 bytes in base64; make one with: echo whsec_$(openssl rand -base64 32)")
    }

    fn sign(&self, signed: &[&[u8]]) -> Option<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.reveal()).ok()?;
        for part in signed {
            mac.update(part);
        }
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    }
}

/// What became of one post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventAnswer {
    /// A 2xx: the receiver has it.
    Taken,
    /// A 410: the receiver wants no more.
    Gone,
    /// Any other status; redirects are not followed.
    Refused {
        /// The status.
        status: u16,
        /// How long the receiver wants to be left alone (`Retry-After`, in seconds).
        after: Option<Duration>,
    },
    /// No answer, and why. The receiver may have it all the same.
    Unreached(String),
}

/// Posts events to one endpoint. Connections are kept for the next event.
#[derive(Clone)]
pub struct EventClient {
    client: Client<Connector, Full<Bytes>>,
    url: Uri,
    secrets: Vec<EventSecret>,
}

impl EventClient {
    /// Makes a client; nothing is connected to yet.
    ///
    /// # Errors
    /// If the certificate authorities cannot be read.
    pub fn new(endpoint: EventEndpoint) -> Result<Self, OutboundError> {
        let EventEndpoint { url, secrets, outbound } = endpoint;
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(outbound.connector()?);
        Ok(Self { client, url: url.0, secrets })
    }

    /// Posts one event, once. `now` is the moment of this try.
    pub async fn post(&self, id: &str, now: Wall, body: String) -> EventAnswer {
        let body = Bytes::from(body);
        let at = now.unix_ms().div_euclid(1_000).to_string();
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("Setu/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", &at)
            .header("webhook-signature", self.signature(id, &at, &body))
            .body(Full::new(body));
        let request = match request {
            Ok(request) => request,
            Err(error) => return EventAnswer::Unreached(error.to_string()),
        };
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| told(&error))?;
            let status = answer.status();
            let after = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            let after = after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
            // What it says is of no interest, but a connection is used again only once it was read.
            let _ = Limited::new(answer.into_body(), MOST_ANSWER).collect().await;
            Ok((status, after))
        };
        match timeout(TIME, exchange).await {
            Ok(Ok((status, _))) if status.is_success() => EventAnswer::Taken,
            Ok(Ok((StatusCode::GONE, _))) => EventAnswer::Gone,
            Ok(Ok((status, after))) => EventAnswer::Refused { status: status.as_u16(), after },
            Ok(Err(why)) => EventAnswer::Unreached(why),
            Err(_) => EventAnswer::Unreached("no answer in time".to_owned()),
        }
    }

    /// `ID.TIMESTAMP.BODY` under each secret, with a space between.
    fn signature(&self, id: &str, at: &str, body: &[u8]) -> String {
        let signed = [id.as_bytes(), b".", at.as_bytes(), b".", body];
        let signatures: Vec<_> = self.secrets.iter().filter_map(|secret| secret.sign(&signed)).collect();
        signatures.join(" ")
    }
}

impl std::fmt::Debug for EventClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventClient").field("url", &self.url).finish_non_exhaustive()
    }
}

/// How long one post may take.
const TIME: Duration = Duration::from_secs(15);

/// How long a connection is kept for the next event.
const IDLE: Duration = Duration::from_secs(60);

/// The most that is read of an answer, in bytes.
const MOST_ANSWER: usize = 16 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Result<EventSecret, &'static str> {
        EventSecret::parse(&Secret::new(text.to_owned()))
    }

    /// The example of the specification's reference implementations.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let outbound = Outbound::default();
        let secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx"];
        let secrets = secrets.map(|text| secret(text).unwrap()).to_vec();
        let url = "https://crm.example.com/hooks".parse().unwrap();
        let client = EventClient::new(EventEndpoint { url, secrets, outbound }).unwrap();
        let made = client.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        let [first, second] = made.split(' ').collect::<Vec<_>>()[..] else { panic!("{made}") };
        assert_eq!(first, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(second.starts_with("v1,") && second != first);
    }

    #[test]
    fn secrets_that_can_be_guessed_are_refused() {
        for wrong in ["", "secret", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_c2hvcnQ=", "whsec_?"]
        {
            assert!(secret(wrong).unwrap_err().contains("openssl rand"), "{wrong}");
        }
        assert!(!format!("{:?}", secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).contains("MfKQ"));
    }

    #[test]
    fn only_https_with_a_host_and_no_password_is_a_url_for_events() {
        for wrong in ["http://a.example", "https://", "https://u:p@a.example/", "a.example", "ftp://a", "\n"]
        {
            assert!(wrong.parse::<EventUrl>().is_err(), "{wrong}");
        }
        assert!("https://a.example:8443/hooks?x=1".parse::<EventUrl>().is_ok());
    }
}

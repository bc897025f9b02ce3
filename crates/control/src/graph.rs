//! The client of Meta's Graph: makes the requests that a Graph leg and provisioning ask for, within time limits, and again where that
//! does no harm.

use std::time::Duration;

use axum::http::{Method, Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;
use setu_model::Secret;
use setu_whatsapp::graph::{Action, Failure, Reply, read_object, read_reply};
use tokio::time::{sleep, timeout};

use crate::outbound::{Connector, Outbound, OutboundError};

/// Where Meta's Graph is.
#[derive(Debug, Clone)]
pub struct GraphConfig {
    /// Its host name, which its certificate must cover.
    pub host: String,
    /// The version of the interface, such as `v23.0`.
    pub version: String,
    /// How it is reached.
    pub outbound: Outbound,
}

/// Makes requests to Meta's Graph. Connections are kept for the next request.
#[derive(Clone)]
pub struct GraphClient {
    client: Client<Connector, Full<Bytes>>,
    host: String,
    version: String,
}

impl GraphClient {
    /// Makes a client; nothing is connected to yet.
    ///
    /// # Errors
    /// If the certificate authorities cannot be read.
    pub fn new(config: GraphConfig) -> Result<Self, OutboundError> {
        let GraphConfig { host, version, outbound } = config;
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(outbound.connector()?);
        Ok(Self { client, host, version })
    }

    /// Asks Meta for `action` in a call of the number with the id `number_id`. Takes at most [`MOST_TIME`].
    ///
    /// A request that was never sent is made again, and so is one without an answer if it does nothing twice.
    ///
    /// # Errors
    /// [`Failure`], as Meta says or as far as is known.
    pub async fn ask(
        &self,
        number_id: &str,
        token: &Secret<String>,
        action: &Action,
    ) -> Result<Reply, Failure> {
        let request = Wanted {
            word: action.word(),
            method: Method::POST,
            url: self.url(&format!("{number_id}/{}", action.resource())),
            body: action.body().to_string(),
            repeatable: action.is_repeatable(),
        };
        self.insist(&request, token, read_reply).await
    }

    /// The same of whoever takes what Meta does at this address, such as a provider.
    ///
    /// # Errors
    /// [`Failure`], as it says or as far as is known.
    pub async fn ask_at(&self, url: &str, token: &Secret<String>, action: &Action) -> Result<Reply, Failure> {
        let request = Wanted {
            word: action.word(),
            method: Method::POST,
            url: url.to_owned(),
            body: action.body().to_string(),
            repeatable: action.is_repeatable(),
        };
        self.insist(&request, token, read_reply).await
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}/{}/{path}", self.host, self.version)
    }

    /// Asks Meta for the object at `path`, such as `106540352242922/settings`. Takes at most [`MOST_TIME`].
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn read(&self, path: &str, token: &Secret<String>) -> Result<Value, Failure> {
        let (method, url) = (Method::GET, self.url(path));
        let request = Wanted { word: "read", method, url, body: String::new(), repeatable: true };
        self.insist(&request, token, read_object).await
    }

    /// Has Meta take settings, which twice does no harm. Takes at most [`MOST_TIME`].
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn write(&self, path: &str, token: &Secret<String>, body: &Value) -> Result<Value, Failure> {
        let (method, url, body) = (Method::POST, self.url(path), body.to_string());
        let request = Wanted { word: "write", method, url, body, repeatable: true };
        self.insist(&request, token, read_object).await
    }

    async fn insist<T>(
        &self,
        request: &Wanted,
        token: &Secret<String>,
        read: fn(u16, &[u8]) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let (failure, again) = match self.once(request, token, read).await {
                Ok(reply) => return Ok(reply),
                Err(Unanswered::Said(failure)) => return Err(failure),
                Err(Unanswered::NotSent(text)) => (Failure::Unknown { text }, true),
                Err(Unanswered::Lost(text)) => (Failure::Unknown { text }, request.repeatable),
            };
            let pause = pauses.next().filter(|_| again);
            tracing::warn!(action = request.word, %failure, again = pause.is_some(), "Graph gave no answer");
            match pause {
                Some(pause) => sleep(pause).await,
                None => return Err(failure),
            }
        }
    }

    async fn once<T>(
        &self,
        wanted: &Wanted,
        token: &Secret<String>,
        read: fn(u16, &[u8]) -> Result<T, Failure>,
    ) -> Result<T, Unanswered> {
        let unsent = |error: &dyn std::fmt::Display| Unanswered::NotSent(error.to_string());
        let request = Request::builder()
            .method(wanted.method.clone())
            .uri(&wanted.url)
            .header(header::AUTHORIZATION, format!("Bearer {}", token.reveal()))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(wanted.body.clone())))
            .map_err(|error| unsent(&error))?;
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| {
                if error.is_connect() { unsent(&told(&error)) } else { Unanswered::Lost(told(&error)) }
            })?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MOST_ANSWER).collect().await;
            Ok((status, body.map_err(|error| Unanswered::Lost(error.to_string()))?.to_bytes()))
        };
        let (status, body): (StatusCode, Bytes) = timeout(TIME, exchange)
            .await
            .unwrap_or_else(|_| Err(Unanswered::Lost("no answer in time".to_owned())))?;
        match read(status.as_u16(), &body) {
            Err(Failure::Unknown { text }) => Err(Unanswered::Lost(text)),
            Err(refused @ Failure::Refused { .. }) => Err(Unanswered::Said(refused)),
            Ok(reply) => Ok(reply),
        }
    }
}

impl std::fmt::Debug for GraphClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GraphClient").field("host", &self.host).field("version", &self.version).finish()
    }
}

/// One request.
struct Wanted {
    /// For the log.
    word: &'static str,
    method: Method,
    url: String,
    body: String,
    /// Whether it does nothing twice.
    repeatable: bool,
}

enum Unanswered {
    /// Meta said no.
    Said(Failure),
    /// It never left.
    NotSent(String),
    /// It may have been taken.
    Lost(String),
}

/// An error with what caused it: the outermost word alone says little.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// How long one request may take. Meta's own clients see a tenth of that.
const TIME: Duration = Duration::from_secs(5);

/// How long is waited before a request is made again.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(500), Duration::from_millis(2_000)];

/// The longest a request takes, made again and again.
pub const MOST_TIME: Duration = Duration::from_millis(4 * 5_000 + 2_600);

/// How long a connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(60);

/// The largest answer in bytes: a hundred times what Meta says.
const MOST_ANSWER: usize = 64 * 1_024;

//! Webhooks in, at `/webhooks/whatsapp` and below: who sent them is proven here; what they mean is for whoever takes them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use setu_model::{Secret, Wall};
use setu_whatsapp::webhook::{Heard, MalformedWebhook, SignatureError, read, verify};
use subtle::ConstantTimeEq;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::labels::WebhookFate;
use crate::metrics::Metrics;
use crate::refusal::refusal;
use crate::server::{Control, HttpLimits, Peer, StartError, start};

/// Serves `/webhooks/whatsapp` on `bind`. Every delivery that is proven goes into `deliveries`, and is acknowledged once it
/// is [`taken`](Delivery::taken).
///
/// # Errors
/// If `bind` cannot be bound.
pub async fn serve_webhooks(
    bind: SocketAddr,
    metrics: Arc<Metrics>,
    trust: watch::Receiver<WebhookTrust>,
    deliveries: mpsc::Sender<Delivery>,
    limits: WebhookLimits,
) -> Result<Control, StartError> {
    let door = Door { metrics, trust, deliveries, limits };
    start("webhooks", bind, routes(door), limits.http).await
}

/// What a sender of webhooks proves itself by. A new one may be sent through the channel at any time.
#[derive(Debug, Clone, Default)]
pub struct WebhookTrust {
    /// The apps' secrets; several of one app while it is being rotated.
    pub app_secrets: Vec<AppSecret>,
    /// What Meta shows when the webhook is set up (`hub.verify_token`).
    pub verify_token: Secret<String>,
}

/// The secret of an app.
#[derive(Debug, Clone)]
pub struct AppSecret {
    /// The secret.
    pub secret: Secret<String>,
    /// What it speaks for; none for all.
    pub of: Option<Belongings>,
}

/// What belongs to a business: its account, and its numbers by Meta's ids and as displayed (E.164 with `+`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Belongings {
    /// Its account (WABA), if its id is known.
    pub account: Option<String>,
    /// Its numbers.
    pub own: BTreeSet<String>,
    /// The other numbers that are known here, which are not its own.
    pub others: BTreeSet<String>,
}

impl Belongings {
    /// Whether an event is about what belongs to the business: of its account, or of one of its numbers where its account is
    /// not known or a provider names the number in its place; and never of a number of somebody else.
    fn cover(&self, heard: &Heard) -> bool {
        let names = || [Some(&heard.number_id), heard.number.as_ref()].into_iter().flatten();
        let own_number = names().any(|name| self.own.contains(name));
        let covered = match &self.account {
            Some(account) if heard.account == *account => true,
            Some(_) => own_number && heard.account == heard.number_id,
            None => own_number,
        };
        covered && !names().any(|name| self.others.contains(name))
    }
}

/// What a sender of webhooks may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookLimits {
    /// Connections and heads.
    pub http: HttpLimits,
    /// The largest body in bytes. Meta's are at most 3 MB.
    pub body_bytes: usize,
    /// How long a body may take to arrive.
    pub body_time: Duration,
    /// How long a proven delivery may wait to be taken. Meta sends again what is not acknowledged.
    pub taking_time: Duration,
}

impl Default for WebhookLimits {
    fn default() -> Self {
        Self {
            http: HttpLimits { connections: 256, ..HttpLimits::default() },
            body_bytes: 3 * 1_024 * 1_024,
            body_time: Duration::from_secs(5),
            taking_time: Duration::from_millis(900),
        }
    }
}

/// One body that is proven to be Meta's or the provider's.
#[derive(Debug)]
pub struct Delivery {
    /// The event's type where the path names it (`call.connect`): the provider's dialect.
    pub kind: Option<String>,
    /// The body as it came.
    pub body: Bytes,
    /// When it came.
    pub received: Wall,
    /// What it tells.
    pub heard: Vec<Heard>,
    /// To be sent once the delivery is in safe hands: the sender hears 200 then. If it is dropped instead, the sender hears
    /// 503 and delivers again.
    pub taken: oneshot::Sender<()>,
}

#[derive(Clone)]
struct Door {
    metrics: Arc<Metrics>,
    trust: watch::Receiver<WebhookTrust>,
    deliveries: mpsc::Sender<Delivery>,
    limits: WebhookLimits,
}

fn routes(door: Door) -> Router {
    let body_bytes = door.limits.body_bytes;
    Router::new()
        .route("/webhooks/whatsapp", get(subscribe).post(deliver_plain))
        .route("/webhooks/whatsapp/{kind}", get(subscribe).post(deliver_kind))
        .fallback(async || refusal(StatusCode::NOT_FOUND, "not_found", "webhooks are at /webhooks/whatsapp"))
        .method_not_allowed_fallback(async || {
            refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                "method",
                "webhooks are posted; GET verifies the subscription",
            )
        })
        .layer(DefaultBodyLimit::max(body_bytes))
        .with_state(door)
}

/// Meta asks whether whoever set the webhook up knows the token.
async fn subscribe(State(door): State<Door>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let token = parameter(query, "hub.verify_token").unwrap_or_default();
    let known = {
        let trust = door.trust.borrow();
        let known = trust.verify_token.reveal().as_bytes();
        !known.is_empty() && bool::from(known.ct_eq(token.as_bytes()))
    };
    let asked = parameter(query, "hub.mode").as_deref() == Some("subscribe");
    let challenge = parameter(query, "hub.challenge").filter(|challenge| is_challenge(challenge));
    match challenge {
        Some(challenge) if known && asked => {
            door.metrics.webhook(WebhookFate::Verified);
            tracing::info!("the webhook's subscription is verified");
            let plain = [(header::CONTENT_TYPE, "text/plain"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
            (plain, challenge).into_response()
        }
        Some(_) | None => door.refuse(
            Source::of(&request),
            StatusCode::FORBIDDEN,
            WebhookFate::NotVerified,
            "the subscription is not verified: hub.mode, hub.verify_token or hub.challenge is not as configured",
        ),
    }
}

async fn deliver_plain(State(door): State<Door>, request: Request) -> Response {
    door.deliver(None, request).await
}

async fn deliver_kind(State(door): State<Door>, Path(kind): Path<String>, request: Request) -> Response {
    let known = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'_';
    if kind.len() > LONGEST_KIND || !kind.bytes().all(known) {
        return refusal(StatusCode::NOT_FOUND, "not_found", "the path names no type of an event");
    }
    door.deliver(Some(kind), request).await
}

impl Door {
    async fn deliver(&self, kind: Option<String>, request: Request) -> Response {
        let began = Instant::now();
        let (source, headers) = (Source::of(&request), request.headers().clone());
        let body = match timeout(self.limits.body_time, Bytes::from_request(request, &())).await {
            Ok(Ok(body)) => body,
            Ok(Err(why)) if why.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                let said = format!("the body is larger than {} bytes", self.limits.body_bytes);
                return self.refuse(source, StatusCode::PAYLOAD_TOO_LARGE, WebhookFate::TooLarge, &said);
            }
            Ok(Err(_)) => {
                return self.refuse(
                    source,
                    StatusCode::BAD_REQUEST,
                    WebhookFate::Malformed,
                    "the body broke off",
                );
            }
            Err(_) => {
                return self.refuse(
                    source,
                    StatusCode::REQUEST_TIMEOUT,
                    WebhookFate::TooSlow,
                    "the body came too slowly",
                );
            }
        };
        let provers = match self.prove(&headers, &body) {
            Ok(provers) => provers,
            Err(why) => {
                let (status, fate) = match why {
                    SignatureError::Missing | SignatureError::Malformed => {
                        (StatusCode::UNAUTHORIZED, WebhookFate::NotSigned)
                    }
                    SignatureError::Wrong => (StatusCode::FORBIDDEN, WebhookFate::WronglySigned),
                };
                return self.refuse(source, status, fate, &why.to_string());
            }
        };
        let received = wall();
        // Each of one secret: what one business may say and what another may are not added up.
        let others = |heard: &[Heard]| {
            let all =
                |of: &Option<Belongings>| of.as_ref().is_none_or(|of| heard.iter().all(|it| of.cover(it)));
            !provers.iter().any(all)
        };
        match read(kind.as_deref(), &body, received) {
            Ok(heard) if others(&heard) => self.refuse(
                source,
                StatusCode::FORBIDDEN,
                WebhookFate::WronglySigned,
                "the webhook tells of an account or a number that is not of the business whose secret it is signed with",
            ),
            Ok(heard) => self.hand_over(began, source, kind, body, received, heard).await,
            Err(why) => {
                let fate = match why {
                    MalformedWebhook::TooMany => WebhookFate::TooLarge,
                    MalformedWebhook::NotJson(_) | MalformedWebhook::NoEntries => WebhookFate::Malformed,
                };
                self.refuse(source, StatusCode::BAD_REQUEST, fate, &why.to_string())
            }
        }
    }

    /// What the sender speaks for, by each secret that the body is signed with.
    fn prove(&self, headers: &HeaderMap, body: &[u8]) -> Result<Vec<Option<Belongings>>, SignatureError> {
        let mut signatures = headers.get_all("x-hub-signature-256").iter();
        let signature = signatures.next().map(|value| value.to_str().unwrap_or_default());
        if signatures.next().is_some() {
            return Err(SignatureError::Malformed);
        }
        let secrets = &self.trust.borrow().app_secrets;
        let makers = verify(secrets.iter().map(|one| &one.secret), body, signature)?;
        Ok(makers.into_iter().filter_map(|maker| secrets.get(maker)).map(|one| one.of.clone()).collect())
    }

    async fn hand_over(
        &self,
        began: Instant,
        source: Source,
        kind: Option<String>,
        body: Bytes,
        received: Wall,
        heard: Vec<Heard>,
    ) -> Response {
        let events = heard.len();
        for heard in &heard {
            self.metrics.webhook_event(heard.event.word());
        }
        let (taken, acknowledged) = oneshot::channel();
        let until = began + self.limits.taking_time;
        let delivery = Delivery { kind, body, received, heard, taken };
        let sent = self.deliveries.try_send(delivery).is_ok();
        if !sent || !matches!(timeout_at(until, acknowledged).await, Ok(Ok(()))) {
            let mut busy = self.refuse(
                source,
                StatusCode::SERVICE_UNAVAILABLE,
                WebhookFate::NotTaken,
                "the webhook cannot be kept at the moment: deliver it again",
            );
            busy.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
            return busy;
        }
        self.metrics.webhook(WebhookFate::Taken);
        self.metrics.webhook_acknowledged_within(began.elapsed());
        axum::Json(serde_json::json!({ "events": events })).into_response()
    }

    fn refuse(&self, source: Source, status: StatusCode, fate: WebhookFate, why: &str) -> Response {
        self.metrics.webhook(fate);
        let Source { peer, forwarded_for } = source;
        let (peer, forwarded_for) = (peer.map(display), forwarded_for.map(display));
        tracing::warn!(status = status.as_u16(), peer, forwarded_for, why, "a webhook is refused");
        refusal(status, fate.word(), why)
    }
}

/// Where a request comes from, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Source {
    /// Whoever is connected: with a proxy in front, the proxy.
    peer: Option<SocketAddr>,
    /// Whom the proxy that is connected says it speaks for. Without a proxy anybody can say that.
    forwarded_for: Option<IpAddr>,
}

impl Source {
    fn of(request: &Request) -> Self {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
        // Each proxy adds whom it saw behind what it was told.
        let told = request.headers().get_all("x-forwarded-for").iter().next_back();
        let last = told.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
        Self { peer, forwarded_for: last }
    }
}

fn display<T: std::fmt::Display>(value: T) -> tracing::field::DisplayValue<T> {
    tracing::field::display(value)
}

/// A parameter of a query, without its escapes.
fn parameter(query: &str, name: &str) -> Option<String> {
    let (_, value) =
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?;
    let mut bytes = value.bytes();
    let mut text = Vec::with_capacity(value.len());
    while let Some(byte) = bytes.next() {
        text.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? << 4 | digit()?).ok()?
            }
            plain => plain,
        });
    }
    String::from_utf8(text).ok()
}

/// What is sent back is what Meta sends: a short word.
fn is_challenge(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    (1..=LONGEST_CHALLENGE).contains(&text.len()) && text.bytes().all(plain)
}

/// The wall clock.
pub(crate) fn wall() -> Wall {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall::from_unix_ms(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

const LONGEST_CHALLENGE: usize = 128;

const LONGEST_KIND: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_by_its_whole_name_and_unescaped() {
        let query = "hub.mode=subscribe&hub.challenge=11%3A5&hub.verify_token=a%20b+c&x";
        assert_eq!(parameter(query, "hub.mode").as_deref(), Some("subscribe"));
        assert_eq!(parameter(query, "hub.verify_token").as_deref(), Some("a b c"));
        assert_eq!(parameter(query, "hub.challenge").as_deref(), Some("11:5"));
        for (query, name) in
            [(query, "mode"), (query, "x"), ("a=%", "a"), ("a=%4", "a"), ("a=%zz", "a"), ("a=%ff", "a")]
        {
            assert_eq!(parameter(query, name), None, "{query} {name}");
        }
    }

    #[test]
    fn the_log_says_who_is_connected_and_whom_the_proxy_before_us_saw() {
        let request = |lines: &[&str]| {
            let mut request = Request::default();
            for line in lines {
                request.headers_mut().append("x-forwarded-for", line.parse().unwrap());
            }
            request.extensions_mut().insert(Peer(SocketAddr::from(([127, 0, 0, 1], 7))));
            Source::of(&request)
        };
        assert_eq!(request(&[]).peer, Some(SocketAddr::from(([127, 0, 0, 1], 7))));
        assert_eq!(request(&[]).forwarded_for, None);
        let seen = Some(IpAddr::from([198, 51, 100, 9]));
        assert_eq!(request(&["198.51.100.9"]).forwarded_for, seen);
        assert_eq!(request(&["10.0.0.1, 203.0.113.5", "192.0.2.1,198.51.100.9"]).forwarded_for, seen);
        assert_eq!(request(&["198.51.100.9, forged \"line\""]).forwarded_for, None);
    }

    #[test]
    fn a_challenge_is_a_word_and_no_page() {
        assert!(is_challenge("1158201444"));
        for bad in ["", "<script>", "a b", &"1".repeat(129)] {
            assert!(!is_challenge(bad), "{bad}");
        }
    }
}

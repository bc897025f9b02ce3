//! The webhooks' listener as Meta, a provider and strangers see it.

#![expect(clippy::unwrap_used, reason = "helpers of a test may panic")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use setu_control::{
    AppSecret, Belongings, Control, Delivery, Metrics, WebhookLimits, WebhookTrust, serve_webhooks,
};
use setu_model::Secret;
use setu_whatsapp::webhook::{Event, sign};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

/// The body that a provider documents, to the letter.
const EXAMPLE: &str = r#"{"object":"whatsapp_business_calling","entry":[{"id":"PHONE_NUMBER_ID","changes":[{"field":"calls","value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"+9199999XXXXX"},"calls":[{"id":"CALL_ID","from":"+919876543210","timestamp":"1714719300","type":"audio","sip":"sip:agent-bridge.example.in;transport=tls","permission_source":"template_button"}]}}]}]}"#;

struct Listener {
    control: Control,
    metrics: Arc<Metrics>,
    trust: watch::Sender<WebhookTrust>,
    deliveries: mpsc::Receiver<Delivery>,
}

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn trusting(secrets: &[&str]) -> WebhookTrust {
    WebhookTrust {
        app_secrets: secrets.iter().map(|text| AppSecret { secret: secret(text), of: None }).collect(),
        verify_token: secret("the-token"),
    }
}

async fn start_with(limits: WebhookLimits, waiting: usize) -> Listener {
    let metrics = Arc::new(Metrics::new());
    let (trust, trusted) = watch::channel(trusting(&["new", "old"]));
    let (sender, deliveries) = mpsc::channel(waiting);
    let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let control = serve_webhooks(bind, Arc::clone(&metrics), trusted, sender, limits).await.unwrap();
    Listener { control, metrics, trust, deliveries }
}

async fn start() -> Listener {
    start_with(WebhookLimits::default(), 16).await
}

/// Sends a request and returns status and body.
async fn exchange(to: SocketAddr, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is as good an end as any.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn posted(path: &str, body: &str, headers: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: setu\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

fn signed(by: &str, body: &str) -> String {
    format!("X-Hub-Signature-256: {}\r\n", sign(&secret(by), body.as_bytes()))
}

/// The code of a refusal.
fn code(body: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert!(!body["error"]["message"].as_str().unwrap().is_empty());
    body["error"]["code"].as_str().unwrap().to_owned()
}

impl Listener {
    /// Posts while a taker takes everything; returns the answer and what was taken.
    async fn post(&mut self, path: &str, body: &str, headers: &str) -> (u16, String, Option<Delivery>) {
        let request = posted(path, body, headers);
        let asked = exchange(self.control.address(), &request);
        tokio::pin!(asked);
        tokio::select! {
            (status, body) = &mut asked => (status, body, None),
            delivery = self.deliveries.recv() => {
                let mut delivery = delivery.unwrap();
                let (unused, _) = tokio::sync::oneshot::channel();
                std::mem::replace(&mut delivery.taken, unused).send(()).unwrap();
                let (status, body) = asked.await;
                (status, body, Some(delivery))
            }
        }
    }

    fn metric(&self, line: &str) -> String {
        let text = self.metrics.encode().unwrap();
        let found = text.lines().find(|l| l.starts_with(line)).unwrap_or_else(|| panic!("no {line}"));
        found.rsplit(' ').next().unwrap().to_owned()
    }
}

#[tokio::test]
async fn the_documented_example_with_a_right_signature_is_acknowledged_and_told() {
    let mut listener = start().await;
    let path = "/webhooks/whatsapp/call.connect";
    let (status, answer, delivery) = listener.post(path, EXAMPLE, &signed("old", EXAMPLE)).await;
    assert_eq!((status, answer.as_str()), (200, r#"{"events":1}"#));
    let delivery = delivery.unwrap();
    assert_eq!(delivery.kind.as_deref(), Some("call.connect"));
    assert_eq!(delivery.body, EXAMPLE);
    let [heard] = delivery.heard.as_slice() else { panic!("{delivery:?}") };
    assert_eq!(heard.number_id, "PHONE_NUMBER_ID");
    let Event::Connect(connect) = &heard.event else { panic!("{heard:?}") };
    assert_eq!(connect.sip.as_deref(), Some("sip:agent-bridge.example.in;transport=tls"));
    assert_eq!(listener.metric("setu_webhooks_total{fate=\"taken\"}"), "1");
    assert_eq!(listener.metric("setu_webhook_events_total{event=\"connect\"}"), "1");
    assert_eq!(listener.metric("setu_webhook_acknowledgement_seconds_count"), "1");
}

#[tokio::test]
async fn metas_envelope_is_taken_at_the_path_itself() {
    let mut listener = start().await;
    let body = r#"{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[
        {"field":"calls","value":{"calls":[{"id":"w","event":"terminate"}]}},{"field":"new","value":{}}]}]}"#;
    let (status, answer, delivery) = listener.post("/webhooks/whatsapp", body, &signed("new", body)).await;
    assert_eq!((status, answer.as_str()), (200, r#"{"events":2}"#));
    assert_eq!(delivery.unwrap().kind, None);
}

#[tokio::test]
async fn whoever_cannot_sign_is_refused_and_nothing_is_told() {
    let mut listener = start().await;
    let path = "/webhooks/whatsapp/call.connect";
    let right = signed("new", EXAMPLE);
    let cases = [
        ("", 401, "not_signed"),
        ("X-Hub-Signature-256: sha256=00\r\n", 401, "not_signed"),
        (&*format!("{right}{right}"), 401, "not_signed"),
        (&*signed("stolen", EXAMPLE), 403, "wrongly_signed"),
        (&*signed("new", &EXAMPLE.replace("CALL_ID", "CALL_IE")), 403, "wrongly_signed"),
        (&*signed("", EXAMPLE), 403, "wrongly_signed"),
    ];
    for (headers, expected, word) in cases {
        let (status, answer, delivery) = listener.post(path, EXAMPLE, headers).await;
        assert_eq!((status, &*code(&answer)), (expected, word), "{headers}");
        assert!(delivery.is_none(), "{headers}");
    }
    assert_eq!(listener.metric("setu_webhooks_total{fate=\"not_signed\"}"), "3");
    assert_eq!(listener.metric("setu_webhooks_total{fate=\"wrongly_signed\"}"), "3");
}

#[tokio::test]
async fn a_secret_that_is_rotated_out_counts_no_more() {
    let mut listener = start().await;
    listener.trust.send_replace(trusting(&["newer"]));
    for (by, expected) in [("old", 403), ("newer", 200)] {
        let (status, _, _) = listener.post("/webhooks/whatsapp", EXAMPLE, &signed(by, EXAMPLE)).await;
        assert_eq!(status, expected, "{by}");
    }
}

#[tokio::test]
async fn what_is_no_webhook_is_refused_after_its_signature_is_checked() {
    let mut listener = start().await;
    for body in ["", "{", "[]", "{\"entry\":1}"] {
        let (status, answer, _) = listener.post("/webhooks/whatsapp", body, &signed("new", body)).await;
        assert_eq!((status, &*code(&answer)), (400, "malformed"), "{body}");
        let (status, ..) = listener.post("/webhooks/whatsapp", body, "").await;
        assert_eq!(status, 401, "{body}");
    }
}

#[tokio::test]
async fn an_endless_or_slow_body_is_cut() {
    let limits =
        WebhookLimits { body_bytes: 1_000, body_time: Duration::from_millis(50), ..WebhookLimits::default() };
    let mut listener = start_with(limits, 16).await;
    let body = "x".repeat(1_001);
    let (status, answer, _) = listener.post("/webhooks/whatsapp", &body, &signed("new", &body)).await;
    assert_eq!((status, &*code(&answer)), (413, "too_large"));
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let chunked = format!(
        "POST /webhooks/whatsapp HTTP/1.1\r\nHost: setu\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
    );
    let (status, answer) = exchange(listener.control.address(), chunked.as_bytes()).await;
    assert_eq!((status, &*code(&answer)), (413, "too_large"));
    let unfinished =
        "POST /webhooks/whatsapp HTTP/1.1\r\nHost: setu\r\nConnection: close\r\nContent-Length: 9\r\n\r\n{";
    let (status, answer) = exchange(listener.control.address(), unfinished.as_bytes()).await;
    assert_eq!((status, &*code(&answer)), (408, "too_slow"));
}

#[tokio::test]
async fn what_is_not_kept_is_not_acknowledged() {
    let limits = WebhookLimits { taking_time: Duration::from_millis(50), ..WebhookLimits::default() };
    let mut listener = start_with(limits, 1).await;
    let request = posted("/webhooks/whatsapp", EXAMPLE, &signed("new", EXAMPLE));
    let address = listener.control.address();
    // Nobody takes the first within its time, and there is no room for the second.
    for _ in 0..2 {
        let (status, answer) = exchange(address, &request).await;
        assert_eq!((status, &*code(&answer)), (503, "not_taken"));
    }
    // Nor is one that is dropped.
    let dropping = async {
        for _ in 0..2 {
            drop(listener.deliveries.recv().await.unwrap());
        }
    };
    let ((status, _), ()) = tokio::join!(exchange(address, &request), dropping);
    assert_eq!(status, 503);
    assert_eq!(listener.metric("setu_webhooks_total{fate=\"not_taken\"}"), "3");
}

#[tokio::test]
async fn the_subscription_is_verified_by_its_token_only() {
    let listener = start().await;
    let ask = async |query: &str| {
        let path = format!("/webhooks/whatsapp?{query}");
        let request = format!("GET {path} HTTP/1.1\r\nHost: setu\r\nConnection: close\r\n\r\n");
        exchange(listener.control.address(), request.as_bytes()).await
    };
    let right = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=the-token";
    assert_eq!(ask(right).await, (200, "1158201444".to_owned()));
    for wrong in [
        right.replace("the-token", "a-token"),
        right.replace("the-token", ""),
        right.replace("subscribe", "unsubscribe"),
        right.replace("1158201444", "%3Cscript%3E"),
        String::new(),
    ] {
        let (status, answer) = ask(&wrong).await;
        assert_eq!((status, &*code(&answer)), (403, "not_verified"), "{wrong}");
    }
    listener.trust.send_replace(WebhookTrust::default());
    assert_eq!(ask("hub.mode=subscribe&hub.challenge=1&hub.verify_token=").await.0, 403);
}

#[tokio::test]
async fn nothing_else_is_served_here() {
    let listener = start().await;
    for (request, expected) in [
        ("GET /metrics HTTP/1.1", (404, "not_found")),
        ("GET /healthz HTTP/1.1", (404, "not_found")),
        ("PUT /webhooks/whatsapp HTTP/1.1", (405, "method")),
        ("POST /webhooks/whatsapp/a%2Fb HTTP/1.1", (404, "not_found")),
        ("POST /webhooks/whatsapp/call.connect/x HTTP/1.1", (404, "not_found")),
    ] {
        let request = format!("{request}\r\nHost: setu\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        let (status, answer) = exchange(listener.control.address(), request.as_bytes()).await;
        assert_eq!((status, &*code(&answer)), expected, "{request}");
    }
}

/// Who has one business's app can sign, and must not speak for another business.
#[tokio::test]
async fn the_secret_of_one_business_proves_nothing_about_another() {
    let mut listener = start().await;
    let mut trust = trusting(&["new"]);
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let mut add = |text: &str, account: Option<&str>, own: &[&str], others: &[&str]| {
        let of = Belongings { account: account.map(str::to_owned), own: set(own), others: set(others) };
        trust.app_secrets.push(AppSecret { secret: secret(text), of: Some(of) });
    };
    let (acme, nameless) = (["106", "+911234567890"], ["206", "+911234567891"]);
    add("of acme", Some("1"), &acme, &nameless);
    add("of nameless", None, &nameless, &acme);
    // One app that serves two accounts.
    add("of both", Some("1"), &acme, &nameless);
    add("of both", Some("2"), &[], &[]);
    listener.trust.send_replace(trust);
    let entry = |account: &str, id: &str, number: &str| {
        format!(
            r#"{{"id":"{account}","changes":[{{"field":"calls","value":{{
            "metadata":{{"phone_number_id":"{id}","display_phone_number":"{number}"}},
            "calls":[{{"id":"w","event":"terminate"}}]}}}}]}}"#
        )
    };
    let updated = r#"{"id":"1","changes":[{"field":"account_update","value":{"event":"X"}}]}"#;
    for (by, entries, expected) in [
        ("of acme", vec![entry("1", "106", "+911234567890")], 200),
        ("of acme", vec![updated.to_owned()], 200),
        ("of acme", vec![entry("1", "999", "+911234567899")], 200),
        ("of acme", vec![entry("2", "106", "+911234567890")], 403),
        ("of acme", vec![entry("1", "106", "+911234567890"), entry("2", "206", "+911234567891")], 403),
        // As a provider's webhooks do, the number in the account's place; and in each disguise another's number.
        ("of acme", vec![entry("106", "106", "+911234567890")], 200),
        ("of acme", vec![entry("206", "206", "+911234567891")], 403),
        ("of acme", vec![entry("1", "206", "")], 403),
        ("of acme", vec![entry("1", "1", "+911234567891")], 403),
        ("of acme", vec![entry("106", "106", "+911234567891")], 403),
        // Who has no id proves its numbers and nothing else.
        ("of nameless", vec![entry("206", "206", "+911234567891")], 200),
        ("of nameless", vec![entry("7", "206", "")], 200),
        ("of nameless", vec![entry("7", "", "+911234567891")], 200),
        ("of nameless", vec![entry("7", "999", "+911234567899")], 403),
        ("of nameless", vec![entry("1", "106", "+911234567890")], 403),
        ("of nameless", vec![entry("7", "206", "+911234567890")], 403),
        ("of nameless", vec![updated.to_owned()], 403),
        ("of both", vec![entry("1", "106", "+911234567890")], 200),
        ("of both", vec![entry("2", "306", "+911234567892")], 200),
        ("of both", vec![entry("3", "306", "+911234567892")], 403),
        ("new", vec![entry("3", "306", "+911234567892"), updated.to_owned()], 200),
    ] {
        let body = format!(r#"{{"entry":[{}]}}"#, entries.join(","));
        let (status, answer, delivery) = listener.post("/webhooks/whatsapp", &body, &signed(by, &body)).await;
        assert_eq!((status, delivery.is_some()), (expected, expected == 200), "{by} {body}: {answer}");
    }
}

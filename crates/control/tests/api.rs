//! The REST interface as programs with and without the right token see it. Every operation of the OpenAPI document is tried.

#![expect(clippy::unwrap_used, reason = "helpers of a test may panic")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use setu_control::{
    ApiToken, ApiTokens, Backend, CallFilter, CallOrder, CdrEntry, CdrFilter, CdrRevisionEntry, Control,
    DeadEvent, Feedback, FeedbackKind, Figured, Figures, Finding, HttpLimits, Inquiry, LiveCall, Metrics,
    NotMade, NumberQuality, Pending, PermissionOrder, PermissionRequested, ProvisioningReport, Readiness,
    ReportBy, ReportFilter, ReservationOrder, Reserved, Ring, Rule, Scope, Standing, Sums, Unavailable,
    openapi, serve_api,
};
use setu_model::{Secret, Wall};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Knows one number, and as many records as it is told; remembers what it was asked.
#[derive(Default)]
struct Fake {
    records: usize,
    broken: bool,
    /// Nothing can be read from this record on.
    breaks_at: Option<usize>,
    inquiries: Mutex<Vec<Inquiry>>,
    orders: Mutex<Vec<CallOrder>>,
}

const DOWN: &str = "the database does not answer";

impl Backend for Fake {
    fn inquire(&self, inquiry: Inquiry) -> Pending<Option<Finding>> {
        let ours = inquiry.number == "+911234567890";
        let broken = self.broken;
        self.inquiries.lock().unwrap().push(inquiry);
        Box::pin(async move {
            if broken {
                return Err(Unavailable(DOWN.to_owned()));
            }
            let standing = Standing {
                allowed: false,
                why: "never_granted".to_owned(),
                reason: "the customer never gave permission to call".to_owned(),
                next_allowed: None,
                considered: Vec::new(),
            };
            let rule = Rule {
                code: 4005,
                title: "Permission Required".to_owned(),
                reason: "never".to_owned(),
                remedy: "ask".to_owned(),
                next_allowed: None,
            };
            let request = Standing { allowed: true, ..standing.clone() };
            let (call_refused, request_refused) = (vec![rule], Vec::new());
            Ok(ours.then_some(Finding { call: standing, request, call_refused, request_refused }))
        })
    }

    fn dead_events(&self, after: Option<i64>, most: usize) -> Pending<Vec<DeadEvent>> {
        let first = after.map_or(0, |after| after + 1);
        let event = |n: i64| DeadEvent {
            id: format!("crm:call.{n}"),
            endpoint: "crm".to_owned(),
            kind: "call.ended".to_owned(),
            at: "2026-11-25T09:00:00.000Z".to_owned(),
            tries: 32,
            why: "the endpoint answers 500".to_owned(),
            event: Value::Null,
            cursor: n,
        };
        let events = (first..3).map(event).take(most).collect();
        Box::pin(async move { Ok(events) })
    }

    fn provisioning(&self) -> Pending<Vec<ProvisioningReport>> {
        let number = "+911234567890".to_owned();
        Box::pin(async move { Ok(vec![ProvisioningReport { number, ..ProvisioningReport::default() }]) })
    }

    fn retry_event(&self, id: String) -> Pending<Option<()>> {
        Box::pin(async move { Ok((id == "crm:call.1").then_some(())) })
    }

    fn cdrs(&self, filter: CdrFilter) -> Pending<Vec<CdrEntry>> {
        let place = |after: String| after.split_once('.').unwrap().0.parse::<usize>().unwrap() + 1;
        let after = filter.after.map_or(0, place);
        let broken = self.broken || self.breaks_at.is_some_and(|at| after >= at);
        let records = self.records;
        Box::pin(async move {
            if broken {
                return Err(Unavailable(DOWN.to_owned()));
            }
            let one = filter.call;
            let wanted = |entry: &CdrEntry| one.as_ref().is_none_or(|one| entry.call == *one);
            Ok((after..records).map(entry).filter(wanted).take(filter.limit.unwrap() as usize).collect())
        })
    }

    fn place(&self, order: CallOrder) -> Pending<Result<String, NotMade>> {
        let ours = order.number == "+911234567890";
        let refused = order.use_case.as_deref() == Some("nothing");
        self.orders.lock().unwrap().push(order);
        Box::pin(async move {
            let rule = Rule {
                code: 4003,
                title: "No Agent Ready".to_owned(),
                reason: "no agent is free".to_owned(),
                remedy: "wait".to_owned(),
                next_allowed: None,
            };
            Ok(match (ours, refused) {
                (false, _) => Err(NotMade::UnknownNumber),
                (true, true) => Err(NotMade::Refused(vec![rule])),
                (true, false) => Ok("CALL0".to_owned()),
            })
        })
    }

    fn calls(&self, filter: CallFilter) -> Pending<Vec<LiveCall>> {
        // Ids of the form that pages have.
        let after = filter.after.map_or(0, |after| after.trim_start_matches('0').parse().unwrap());
        let calls = (after + 1..=5).map(live).take(filter.limit.unwrap() as usize).collect();
        Box::pin(async move { Ok(calls) })
    }

    fn call(&self, call: String) -> Pending<Option<LiveCall>> {
        Box::pin(async move { Ok((call == "CALL0").then(|| live(0))) })
    }

    fn hang_up(&self, call: String) -> Pending<bool> {
        Box::pin(async move { Ok(call == "CALL0") })
    }

    fn request_permission(&self, order: PermissionOrder) -> Pending<Result<PermissionRequested, NotMade>> {
        let reservation = order.reserve_seconds.map(|_| "HELD0".to_owned());
        let message = Some("wamid.1".to_owned());
        Box::pin(async move { Ok(Ok(PermissionRequested { message, reservation })) })
    }

    fn reserve(&self, order: ReservationOrder) -> Pending<Result<Reserved, NotMade>> {
        let made = Reserved { use_case: order.use_case, ..reserved(0) };
        let stranger = order.agents.into_iter().find(|name| name != "alice");
        Box::pin(async move { Ok(stranger.map_or(Ok(made), |name| Err(NotMade::UnknownAgent(name)))) })
    }

    fn reservations(&self, filter: CallFilter) -> Pending<Vec<Reserved>> {
        let after = filter.after.map_or(0, |after| after.trim_start_matches('0').parse().unwrap());
        let made = (after + 1..=3).map(reserved).take(filter.limit.unwrap() as usize).collect();
        Box::pin(async move { Ok(made) })
    }

    fn reservation(&self, reservation: String) -> Pending<Option<Reserved>> {
        Box::pin(async move { Ok((reservation == "HELD0").then(|| reserved(0))) })
    }

    fn release(&self, reservation: String) -> Pending<bool> {
        Box::pin(async move { Ok(reservation == "HELD0") })
    }

    fn readiness(&self, number: String) -> Pending<Option<Readiness>> {
        let ours = number == "+911234567890";
        let (ready, on_call, reserved, away) = (1, 0, 0, 2);
        let (agents, trunk, send_buttons, against) = (Vec::new(), None, true, Vec::new());
        let found =
            Readiness { number, ready, on_call, reserved, away, agents, trunk, send_buttons, against };
        Box::pin(async move { Ok(ours.then_some(found)) })
    }
}

fn reserved(n: usize) -> Reserved {
    Reserved {
        reservation: format!("{n:026}"),
        number: "+911234567890".to_owned(),
        customer: None,
        agent: Some("alice".to_owned()),
        trunk: None,
        until: "2026-11-25T09:00:00.000Z".to_owned(),
        use_case: None,
        reference: None,
    }
}

fn live(n: usize) -> LiveCall {
    LiveCall {
        call: format!("{n:026}"),
        direction: "business_initiated".to_owned(),
        ingress: "sip".to_owned(),
        stage: "ringing".to_owned(),
        began: "2026-11-25T09:00:00.000Z".to_owned(),
        answered: None,
        agent: None,
        facts: json!({"customer": "+919876543210"}),
    }
}

impl Figures for Fake {
    fn quality(&self, number: Option<String>) -> Pending<Option<Vec<NumberQuality>>> {
        let (ours, broken) = (number.is_none_or(|number| number == "+911234567890"), self.broken);
        Box::pin(async move {
            if broken {
                return Err(Unavailable(DOWN.to_owned()));
            }
            let quality = NumberQuality {
                number: "+911234567890".to_owned(),
                light: "YELLOW".to_owned(),
                readings: Vec::new(),
                driven_by: vec!["meta".to_owned()],
                clean_days: None,
                attempts_a_day: 5_000,
                restricted_until: None,
            };
            Ok(ours.then_some(vec![quality]))
        })
    }

    fn complain(&self, feedback: Feedback) -> Pending<Option<bool>> {
        let ours = feedback.number == "+911234567890";
        Box::pin(async move { Ok(ours.then_some(feedback.kind == FeedbackKind::Block)) })
    }

    fn report(&self, _: ReportFilter, by: ReportBy) -> Pending<Figured> {
        let broken = self.broken;
        Box::pin(async move {
            if broken {
                return Err(Unavailable(DOWN.to_owned()));
            }
            let keys = if by == ReportBy::UseCase { ["", "kyc", "other"] } else { ["a", "b", "c"] };
            let sums = |calls| Sums { calls, ..Sums::default() };
            let lines = keys.into_iter().zip(1..).map(|(key, calls)| (key.to_owned(), sums(calls)));
            let labels = [("kyc".to_owned(), "KYC".to_owned())].into();
            Ok(Figured { currency: Some("INR".to_owned()), lines: lines.collect(), total: sums(6), labels })
        })
    }
}

fn entry(n: usize) -> CdrEntry {
    let revision = CdrRevisionEntry {
        revision: 2,
        source: "webhook".to_owned(),
        written: "2026-11-25T09:00:00.000Z".to_owned(),
        record: json!({"billed_pulses": 3, "differences": ["duration"], "duration_s": {"webhook": 17}}),
    };
    CdrEntry {
        call: format!("CALL{n}"),
        record: json!({"call": format!("CALL{n}"), "customer": "+919876543210", "duration_ms": 12_000,
            "termination": {"cause": "success", "by": "agent"}, "refused": [{"code": 4005}],
            "use_case": "kyc", "cost": {"total": "0.75", "currency": "INR"}}),
        revisions: vec![revision],
        cursor: format!("{n}.CALL{n}"),
    }
}

struct Listener {
    control: Control,
    tokens: watch::Sender<ApiTokens>,
    fake: Arc<Fake>,
    metrics: Arc<Metrics>,
}

fn token(name: &str, scopes: impl IntoIterator<Item = Scope>) -> ApiToken {
    ApiToken::new(name, &Secret::new(format!("token-of-{name}")), scopes)
}

async fn start(fake: Fake) -> Listener {
    let mut known = vec![token("nobody", []), token("everybody", Scope::ALL)];
    for scope in Scope::ALL {
        let others = Scope::ALL.into_iter().filter(|other| *other != scope);
        known.push(token(scope.word(), [scope]));
        known.push(token(&format!("not-{}", scope.word()), others));
    }
    let (tokens, trusted) = watch::channel(ApiTokens::new(known));
    let (fake, metrics) = (Arc::new(fake), Arc::new(Metrics::new()));
    let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let backend: Arc<dyn Backend> = Arc::<Fake>::clone(&fake);
    let control =
        serve_api(bind, Arc::clone(&metrics), trusted, backend, HttpLimits::default()).await.unwrap();
    Listener { control, tokens, fake, metrics }
}

impl Listener {
    async fn ask(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> (u16, String) {
        let bearer = |name: &str| format!("Authorization: bEARER token-of-{name}\r\n");
        let shown = token.map(bearer).unwrap_or_default();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: setu\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n{shown}\r\n{body}"
        );
        let mut stream = TcpStream::connect(self.control.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.ask("GET", path, Some("everybody"), "").await;
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }
}

/// Every operation of the document: method, path, scope, and the status of success.
fn operations() -> Vec<(String, String, String, u16)> {
    let document = serde_json::to_value(openapi()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let security = operation["security"].as_array().unwrap();
            let scopes = security[0]["bearer"].as_array().unwrap();
            assert_eq!((security.len(), scopes.len()), (1, 1), "{path} has one way in, and one scope");
            let responses = operation["responses"].as_object().unwrap();
            for status in ["401", "403"] {
                assert!(responses.contains_key(status), "{path} does not document {status}");
            }
            let done = responses.keys().filter(|status| status.starts_with('2')).collect::<Vec<_>>();
            assert_eq!(done.len(), 1, "{path} succeeds in one way");
            let scope = scopes[0].as_str().unwrap().to_owned();
            operations.push((method.to_uppercase(), path.clone(), scope, done[0].parse().unwrap()));
        }
    }
    operations
}

fn filled(path: &str) -> String {
    let path = path.replace("{number}", "+911234567890").replace("{customer}", "+919876543210");
    let path = path.replace("/readiness", "/readiness?number=%2B911234567890");
    path.replace("{call}", "CALL0").replace("{reservation}", "HELD0").replace("{id}", "crm:call.1")
}

const RESERVATION: &str = r#"{"number":"+911234567890","seconds":60}"#;

const QUESTION: &str = r#"{"number":"+911234567890","customer":"+919876543210"}"#;

/// A customer blocks a number, so many seconds ago.
fn blocked(ago_s: i64) -> Value {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let at = Wall::from_unix_ms((i64::try_from(now).unwrap() - ago_s) * 1_000).to_string();
    json!({"number": "+911234567890", "customer": "+919876543210", "kind": "block", "at": at})
}

#[tokio::test]
async fn every_operation_refuses_without_its_scope_and_works_with_it() {
    let listener = start(Fake { records: 1, ..Fake::default() }).await;
    let operations = operations();
    assert_eq!(operations.len(), 23);
    let block = blocked(0).to_string();
    for (method, path, scope, done) in operations {
        let path = filled(&path);
        let body = match (&*method, &*path) {
            ("POST", "/v1/reservations") => RESERVATION,
            ("POST", "/v1/feedback") => &*block,
            ("POST", _) => QUESTION,
            _ => "",
        };
        for (token, expected) in [
            (None, 401),
            (Some("a-stranger"), 401),
            (Some("nobody"), 403),
            (Some(&*format!("not-{scope}")), 403),
            (Some(&*scope), done),
        ] {
            let (status, answer) = listener.ask(&method, &path, token, body).await;
            assert_eq!(status, expected, "{method} {path} with {token:?}: {answer}");
            if expected != done {
                let answer: Value = serde_json::from_str(&answer).unwrap();
                assert!(answer["error"]["code"].is_string() && answer["error"]["message"].is_string());
            }
        }
    }
    let text = listener.metrics.encode().unwrap();
    assert!(text.contains("setu_api_answers_total{code=\"401\"} 46"), "{text}");
}

#[tokio::test]
async fn a_refused_question_is_not_even_read() {
    let listener = start(Fake::default()).await;
    let (status, _) = listener.ask("POST", "/v1/gate", Some("cdrs:read"), "{").await;
    assert_eq!(status, 403);
    assert!(listener.fake.inquiries.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_body_above_the_limit_is_too_large_for_every_operation_that_takes_one() {
    let listener = start(Fake::default()).await;
    let document = serde_json::to_value(openapi()).unwrap();
    let block = blocked(0).to_string();
    let mut taken = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["requestBody"].is_null() {
                continue;
            }
            taken += 1;
            let documented = &operation["responses"]["413"]["description"];
            assert!(
                documented.as_str().is_some_and(|said| said.contains("too_large")),
                "{path}: {documented}"
            );
            let body = match &**path {
                "/v1/reservations" => RESERVATION,
                "/v1/feedback" => &*block,
                _ => QUESTION,
            };
            let sent = async |bytes: usize, token| {
                let body = format!("{body:bytes$}");
                listener.ask(&method.to_uppercase(), path, Some(token), &body).await
            };
            let (status, answer) = sent(16_384, "everybody").await;
            assert!((200..300).contains(&status), "{path}: {status} {answer}");
            let (status, answer) = sent(16_385, "everybody").await;
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!((status, &answer["error"]["code"]), (413, &json!("too_large")), "{path}");
            assert_eq!(answer["error"]["message"], "the body is larger than 16384 bytes");
            assert_eq!(sent(16_385, "nobody").await.0, 403, "{path}");
        }
    }
    assert_eq!(taken, 5);
}

#[tokio::test]
async fn a_token_that_is_taken_away_counts_no_more() {
    let listener = start(Fake::default()).await;
    assert_eq!(listener.get("/v1/cdrs").await.0, 200);
    listener.tokens.send_replace(ApiTokens::default());
    assert_eq!(listener.get("/v1/cdrs").await.0, 401);
}

#[tokio::test]
async fn the_gate_answers_with_every_rule_and_the_permission_with_its_reason() {
    let listener = start(Fake::default()).await;
    let question = r#"{"number":"+911234567890","customer":"IN.1A2b","by_hand":true,"use_case":"kyc"}"#;
    let (status, answer) = listener.ask("POST", "/v1/gate", Some("everybody"), question).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &answer["allowed"]), (200, &json!(false)));
    assert_eq!(answer["refused"][0]["code"], 4005);
    let asked = listener.fake.inquiries.lock().unwrap().pop().unwrap();
    assert_eq!((asked.customer.as_str(), asked.by_hand), ("IN.1A2b", true));
    assert_eq!(asked.use_case.as_deref(), Some("kyc"));

    let (status, answer) = listener.get("/v1/permissions/%2B911234567890/919876543210").await;
    assert_eq!((status, &answer["call"]["why"]), (200, &json!("never_granted")));
    assert_eq!(answer["request"]["allowed"], true);
    assert_eq!(listener.get("/v1/permissions/+15550009999/919876543210").await.0, 404);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_and_what_cannot_be_said_is_told() {
    let listener = start(Fake::default()).await;
    for body in ["", "{", "[]", "{}", r#"{"number":"+1","customer":"+2","pstn":true}"#] {
        let (status, answer) = listener.ask("POST", "/v1/gate", Some("everybody"), body).await;
        assert_eq!(status, 400, "{body}: {answer}");
    }
    for query in ["limit=0", "limit=501", "limit=x", "from=yesterday", "until=1", "after=x", "nonsense=1"] {
        let (status, answer) = listener.get(&format!("/v1/cdrs?{query}")).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("invalid")), "{query}");
    }
    for (method, path, expected) in
        [("GET", "/v1/nothing", 404), ("GET", "/", 404), ("DELETE", "/v1/cdrs", 405)]
    {
        assert_eq!(listener.ask(method, path, Some("everybody"), "").await.0, expected, "{path}");
    }
    let broken = start(Fake { broken: true, ..Fake::default() }).await;
    for path in ["/v1/cdrs", "/v1/cdrs/CALL0", "/v1/permissions/+911234567890/919876543210"] {
        assert_eq!(broken.get(path).await.0, 503, "{path}");
    }
    assert_eq!(listener.get("/v1/cdrs/CALL7").await.0, 404);
    // A path that is no text names nothing, and is answered like any other that does.
    for path in ["cdrs/%ff", "calls/%ff", "quality/%ff", "permissions/%ff/1", "reservations/%c3%28"] {
        let (status, answer) = listener.get(&format!("/v1/{path}")).await;
        assert_eq!((status, &answer["error"]["code"]), (404, &json!("not_found")), "{path}");
    }
}

#[tokio::test]
async fn records_come_page_by_page() {
    let listener = start(Fake { records: 5, ..Fake::default() }).await;
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let (status, page) = listener.get(&format!("/v1/cdrs?limit=2{after}")).await;
        assert_eq!(status, 200, "{page}");
        let cdrs = page["cdrs"].as_array().unwrap();
        seen.extend(cdrs.iter().map(|cdr| cdr["call"].as_str().unwrap().to_owned()));
        assert_eq!(cdrs[0]["revisions"][0]["source"], "webhook");
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, ["CALL0", "CALL1", "CALL2", "CALL3", "CALL4"]);
    assert_eq!(listener.get("/v1/cdrs/CALL3").await.1["record"]["call"], "CALL3");
}

#[tokio::test]
async fn an_order_says_what_is_wrong_with_it_and_a_refusal_which_rules_forbid_it() {
    let listener = start(Fake::default()).await;
    let order = |change: Value| {
        let mut order: Value = serde_json::from_str(QUESTION).unwrap();
        order.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        order.to_string()
    };
    for wrong in [
        json!({"customer": "919876543210"}),
        json!({"customer": "+0123456789"}),
        json!({"number": 7}),
        json!({"ring": "both"}),
        json!({"agents": vec!["a"; 65]}),
        json!({"payload": "x".repeat(513)}),
        json!({"key": "k"}),
    ] {
        let (status, answer) = listener.ask("POST", "/v1/calls", Some("everybody"), &order(wrong)).await;
        assert_eq!(status, 400, "{answer}");
    }
    assert!(listener.fake.orders.lock().unwrap().is_empty());

    let (status, answer) =
        listener.ask("POST", "/v1/calls", Some("everybody"), &order(json!({"ring": "customer_first"}))).await;
    assert_eq!((status, answer.as_str()), (202, r#"{"call":"CALL0"}"#));
    assert_eq!(listener.fake.orders.lock().unwrap().pop().unwrap().ring, Some(Ring::CustomerFirst));
    let refused = order(json!({"use_case": "nothing"}));
    let (status, answer) = listener.ask("POST", "/v1/calls", Some("everybody"), &refused).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("refused")));
    assert_eq!(answer["error"]["rules"][0]["remedy"], "wait");
    let unknown = order(json!({"number": "+15550009999"}));
    let (status, answer) = listener.ask("POST", "/v1/calls", Some("everybody"), &unknown).await;
    assert!(status == 404 && answer.contains("unknown_number"), "{answer}");
}

#[tokio::test]
async fn a_reservation_is_made_with_a_number_and_a_time_and_seen_page_by_page() {
    let listener = start(Fake::default()).await;
    let reserve = async |change: Value| {
        let mut order: Value = serde_json::from_str(RESERVATION).unwrap();
        order.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let order = order.to_string();
        let (status, answer) = listener.ask("POST", "/v1/reservations", Some("everybody"), &order).await;
        (status, serde_json::from_str::<Value>(&answer).unwrap())
    };
    for wrong in [
        json!({"seconds": 0}),
        json!({"seconds": 3_601}),
        json!({"seconds": 0.5}),
        json!({"seconds": "60"}),
        json!({"number": "911234567890"}),
        json!({"customer": "IN.1A2b"}),
        json!({"use_case": "x".repeat(513)}),
        json!({"agent": "alice"}),
    ] {
        assert_eq!(reserve(wrong.clone()).await.0, 400, "{wrong}");
    }
    let (status, made) = reserve(json!({"agents": ["alice"], "use_case": "delivery", "seconds": 60.0})).await;
    assert_eq!((status, &made["agent"], &made["use_case"]), (201, &json!("alice"), &json!("delivery")));
    let (status, unknown) = reserve(json!({"agents": ["carol"]})).await;
    assert_eq!((status, &unknown["error"]["code"]), (404, &json!("unknown_agent")));

    let (_, page) = listener.get("/v1/reservations?limit=2").await;
    let next = page["next"].as_str().unwrap();
    let (_, rest) = listener.get(&format!("/v1/reservations?limit=2&after={next}")).await;
    assert_eq!((rest["reservations"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
    assert_eq!(listener.get("/v1/reservations/HELD1").await.0, 404);
    assert_eq!(listener.get("/v1/readiness").await.0, 400);
    assert_eq!(listener.get("/v1/readiness?number=%2B15550009999").await.0, 404);
}

#[tokio::test]
async fn a_permission_request_is_a_text_or_a_template_and_may_set_somebody_aside() {
    let listener = start(Fake::default()).await;
    let request = async |change: Value| {
        let mut order: Value = serde_json::from_str(QUESTION).unwrap();
        order.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let order = order.to_string();
        let (status, answer) =
            listener.ask("POST", "/v1/permission-requests", Some("everybody"), &order).await;
        (status, serde_json::from_str::<Value>(&answer).unwrap())
    };
    for wrong in [
        json!({"customer": "IN.1A2b"}),
        json!({"reserve_seconds": 0}),
        json!({"reserve_seconds": 3_601}),
        json!({"text": "x".repeat(513)}),
        json!({"template": {"name": "delivery"}}),
        json!({"template": "delivery"}),
    ] {
        assert_eq!(request(wrong.clone()).await.0, 400, "{wrong}");
    }
    let (status, sent) = request(json!({"text": "May we call?", "reserve_seconds": 60.0})).await;
    assert_eq!((status, &sent["message"], &sent["reservation"]), (202, &json!("wamid.1"), &json!("HELD0")));
    let (_, sent) = request(json!({"template": {"name": "delivery", "language": "en"}})).await;
    assert_eq!(sent["reservation"], Value::Null);
}

/// Anybody with the scope can speak against a number: what is told must be of somebody, and of the last days.
#[tokio::test]
async fn feedback_is_about_a_customer_and_the_last_days() {
    let listener = start(Fake::default()).await;
    let tell = async |ago_s: i64, change: Value| {
        let mut told = blocked(ago_s);
        told.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let told = told.to_string();
        let (status, answer) = listener.ask("POST", "/v1/feedback", Some("everybody"), &told).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        (status, answer["error"]["code"].as_str().unwrap_or("none").to_owned())
    };
    let month = 30 * 24 * 3_600;
    for (ago_s, change, expected) in [
        (0, json!({}), (200, "none")),
        (-30, json!({"customer": "919876543210"}), (200, "none")),
        (month - 60, json!({"customer": "IN.1A2b3C", "call": "01KB0XJ2N3W4Z6Y8Q0S2T4V6X8"}), (200, "none")),
        (month + 60, json!({}), (422, "out_of_time")),
        (-120, json!({}), (422, "out_of_time")),
        (0, json!({"at": "9999-01-01T00:00:00Z"}), (422, "out_of_time")),
        (0, json!({"at": "yesterday"}), (400, "invalid")),
        (0, json!({"call": "the last one"}), (400, "invalid")),
        (0, json!({"customer": ""}), (400, "invalid")),
    ] {
        let (status, code) = tell(ago_s, change.clone()).await;
        assert_eq!((status, code.as_str()), expected, "{ago_s} {change}");
    }
}

#[tokio::test]
async fn whoever_is_asked_about_is_a_customer() {
    let listener = start(Fake::default()).await;
    let gate = async |change: Value| {
        let mut question: Value = serde_json::from_str(QUESTION).unwrap();
        question.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        listener.ask("POST", "/v1/gate", Some("everybody"), &question.to_string()).await.0
    };
    let permission =
        async |customer: &str| listener.get(&format!("/v1/permissions/+911234567890/{customer}")).await.0;
    for customer in ["+919876543210", "919876543210", "IN.1A2b3C", "US.ENT.11815799212886844830"] {
        assert_eq!(
            (gate(json!({"customer": customer})).await, permission(customer).await),
            (200, 200),
            "{customer}"
        );
    }
    let long = format!("IN.{}", "1".repeat(129));
    for customer in
        ["alice", "+", "12", "+0123456789", "in.1A2b", "IN.", "IN.1.2", "IN.1-2", "I.1", "IN.ENT.", &long]
    {
        assert_eq!(
            (gate(json!({"customer": customer})).await, permission(customer).await),
            (400, 400),
            "{customer}"
        );
    }
    assert_eq!(gate(json!({"customer": ""})).await, 400);
    for text in ["use_case", "campaign"] {
        assert_eq!(gate(json!({text: "x".repeat(512)})).await, 200);
        assert_eq!(gate(json!({text: "x".repeat(513)})).await, 400);
    }
}

#[tokio::test]
async fn live_calls_come_page_by_page() {
    let listener = start(Fake::default()).await;
    let (mut seen, mut after) = (0, String::new());
    loop {
        let (status, page) = listener.get(&format!("/v1/calls?limit=2{after}")).await;
        assert_eq!(status, 200, "{page}");
        seen += page["calls"].as_array().unwrap().len();
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, 5);
    for query in ["limit=0", "limit=501", "after=x", "stage=ringing"] {
        assert_eq!(listener.get(&format!("/v1/calls?{query}")).await.0, 400, "{query}");
    }
    assert_eq!(listener.get("/v1/calls/CALL1").await.0, 404);
}

/// The body of a chunked answer.
fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        text.push_str(&rest[..size]);
        body = rest[size..].strip_prefix("\r\n").unwrap();
    }
    text
}

#[tokio::test]
async fn an_export_has_every_record_as_json_lines_or_as_a_table() {
    let listener = start(Fake { records: 1_203, ..Fake::default() }).await;
    let path = "/v1/cdrs/export?direction=user_initiated";
    let (_, body) = listener.ask("GET", path, Some("everybody"), "").await;
    let text = unchunked(&body);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1_203);
    assert_eq!(
        (&lines[1_202]["call"], &lines[7]["revisions"][0]["revision"]),
        (&json!("CALL1202"), &json!(2))
    );

    let (_, body) = listener.ask("GET", "/v1/cdrs/export?format=csv", Some("everybody"), "").await;
    let table = unchunked(&body);
    let rows: Vec<&str> = table.split_terminator("\r\n").collect();
    assert_eq!(rows.len(), 1_204);
    assert!(rows[0].starts_with("call,direction,ingress,number,customer,wacid,"), "{}", rows[0]);
    assert_eq!(rows[1], "CALL0,,,,+919876543210,,,,,,12000,,17,3,duration,success,agent,,4005,kyc,0.75,INR");
    assert_eq!(listener.get("/v1/cdrs/export?format=xml").await.0, 400);
}

#[tokio::test]
async fn an_export_that_breaks_off_cannot_be_taken_for_a_whole_one() {
    let listener = start(Fake { broken: true, ..Fake::default() }).await;
    assert_eq!(listener.get("/v1/cdrs/export").await.0, 503);
    let listener = start(Fake { records: 1_203, breaks_at: Some(500), ..Fake::default() }).await;
    let (status, body) = listener.ask("GET", "/v1/cdrs/export", Some("everybody"), "").await;
    assert!(status == 200 && body.contains("CALL499") && !body.ends_with("0\r\n\r\n"));
}

#[tokio::test]
async fn the_document_is_there_for_everybody() {
    let listener = start(Fake::default()).await;
    let (status, document) = listener.ask("GET", "/v1/openapi.json", None, "").await;
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!((status, document), (200, serde_json::to_value(openapi()).unwrap()));
}

#[tokio::test]
async fn what_was_given_up_is_listed_page_by_page_and_tried_again_when_asked() {
    let listener = start(Fake::default()).await;
    let (status, page) = listener.get("/v1/events/dead?limit=2").await;
    assert_eq!((status, &page["next"], page["dead"].as_array().unwrap().len()), (200, &json!(1), 2));
    assert_eq!((&page["dead"][0]["id"], &page["dead"][0]["tries"]), (&json!("crm:call.0"), &json!(32)));
    let (_, last) = listener.get("/v1/events/dead?limit=2&after=1").await;
    assert_eq!((&last["next"], &last["dead"][0]["id"]), (&Value::Null, &json!("crm:call.2")));
    for wrong in ["limit=0", "limit=501", "after=-1", "after=x", "other=1"] {
        let (status, said) = listener.get(&format!("/v1/events/dead?{wrong}")).await;
        assert_eq!((status, &said["error"]["code"]), (400, &json!("invalid")), "{wrong}");
    }
    let retry = async |id: &str| {
        listener.ask("POST", &format!("/v1/events/dead/{id}/retry"), Some("everybody"), "").await
    };
    assert_eq!(retry("crm:call.1").await, (200, r#"{"id":"crm:call.1"}"#.to_owned()));
    assert_eq!(retry("crm:call.2").await.0, 404);
}

//! Calls that a program asks for over the REST interface: the bridge calls both sides.

use serde_json::{Value, json};
use setu_model::{AnsweredBy, Cause, Cdr, Direction, EndedBy, Ingress, Milestone};
use setu_twin::Person;
use setu_twin::agent::{PhoneAnswer, PhoneEvent, PhoneReport};
use setu_twin::graph::GraphHabits;
use setu_twin::meta::{Answer, CallReport, UserSaw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::lab::*;

/// A pitch that is none of the ringing's.
const USER_HZ: u32 = 1_000;

/// The user takes `answer_ms` to answer, and hangs up `talks_ms` later.
fn user(answer_ms: u64, talks_ms: u64) -> Setup {
    let customer = Person::saying(USER_HZ).hanging_up_after(talks_ms);
    Setup { answer: Answer::After(answer_ms), customer, ..Setup::default() }
}

fn order(change: Value) -> Value {
    let mut order = json!({"number": NUMBER, "customer": CUSTOMER});
    for (name, value) in change.as_object().unwrap() {
        order[name] = value.clone();
    }
    order
}

impl Lab {
    pub(crate) async fn asks(&self, method: &str, path: &str, key: &str, body: &str) -> (u16, Value) {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: setu\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Authorization: Bearer {API_TOKEN}\r\n{key}Content-Length: {length}\r\n\r\n{body}"
        );
        let mut stream = TcpStream::connect(self.bridge.api_address().unwrap()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    async fn places(&self, change: Value) -> (u16, Value) {
        self.asks("POST", "/v1/calls", "", &order(change).to_string()).await
    }

    /// Places a call that is made; returns what its three parties say of it.
    pub(crate) async fn placed(&mut self, change: Value) -> (PhoneReport, CallReport, Cdr) {
        let mut events = self.phone().events();
        let (status, call) = self.places(change).await;
        assert_eq!(status, 202, "{call}");
        let customer = self.edge.next_business_call(PATIENCE).await.unwrap();
        let cdr = self.next_cdr().await;
        assert_eq!(call["call"], cdr.call.to_string());
        let agent = loop {
            if let Some(report) = events.recv().await.unwrap().ended() {
                break report.clone();
            }
        };
        (agent, customer, cdr)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_of_a_placed_call_hears_ringing_and_then_the_customer() {
    let mut lab = user(1_200, 1_500).start().await;
    let told = json!({"use_case": "delivery", "payload": "order 7", "queue": "parcels", "reference": "T-1"});
    let (agent, customer, cdr) = lab.placed(told).await;
    assert_eq!(customer.violations, []);
    assert_eq!(customer.saw, UserSaw::Connected);
    assert_hz(customer.heard.hz, AGENT_HZ);
    assert_eq!((customer.heard.sequence_jumps, customer.heard.timestamp_jumps), (0, 0));
    assert!(customer.heard.first_packet_ms.unwrap() <= 100, "{:?}", customer.heard);
    assert!(agent.heard.heard_ms(460.0, 40.0) >= 700, "ringing: {:?}", agent.heard);
    assert!(agent.heard.heard_ms(f64::from(USER_HZ), 20.0) >= 1_000, "{:?}", agent.heard);
    for (name, value) in [
        ("X-Setu-Customer", CUSTOMER),
        ("X-Setu-Use-Case", "delivery"),
        ("X-Setu-Payload", "order%207"),
        ("X-Setu-Queue", "parcels"),
        ("X-Setu-Reference", "T-1"),
    ] {
        assert!(agent.headers.contains(&(name.to_owned(), value.to_owned())), "{name}: {:?}", agent.headers);
    }
    assert_eq!((cdr.direction, cdr.ingress), (Direction::BusinessInitiated, Ingress::Sip));
    assert_eq!((cdr.termination.cause, cdr.termination.by), (Cause::Success, EndedBy::Customer));
    assert_eq!(cdr.agent, Some(AnsweredBy::Agent("alice".to_owned())));
    assert_eq!(
        (cdr.facts.use_case.as_deref(), cdr.facts.reference.as_deref()),
        (Some("delivery"), Some("T-1"))
    );
    assert!(cdr.setup_ms.unwrap() >= 1_200 && cdr.recording.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_who_is_called_first_hears_ringing_until_the_agent_answers() {
    let mut setup = user(200, 3_000);
    setup.number = "ring = \"customer_first\"";
    setup.phones = vec![setu_twin::agent::Habits { answer: PhoneAnswer::AfterMs(1_000), ..agent() }];
    let mut lab = setup.start().await;
    let (agent, customer, cdr) = lab.placed(json!({})).await;
    assert_eq!(customer.violations, []);
    assert!(customer.heard.heard_ms(460.0, 40.0) >= 600, "ringing: {:?}", customer.heard);
    assert!(customer.heard.heard_ms(f64::from(AGENT_HZ), 15.0) >= 1_000, "{:?}", customer.heard);
    assert!(customer.heard.first_packet_ms.unwrap() <= 100 && customer.heard.longest_gap_ms <= 300);
    assert_hz(agent.heard.hz, USER_HZ);
    assert_eq!(cdr.termination.cause, Cause::Success, "{}", cdr.termination);
    let dialled: Vec<_> = cdr
        .timeline
        .entries()
        .iter()
        .filter(|entry| entry.what == Milestone::Dialled)
        .map(|e| e.leg)
        .collect();
    assert_eq!(dialled, [Some(0), Some(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_user_does_with_a_placed_call_is_its_end() {
    for (answer, cause) in [
        (Answer::DeclineAfter(300), Cause::Declined),
        (Answer::Refuse(setu_twin::meta::Refusal::NoPermission), Cause::NoPermission),
    ] {
        let mut lab = Setup { answer, ..Setup::default() }.start().await;
        let (agent, customer, cdr) = lab.placed(json!({})).await;
        assert_eq!(customer.violations, []);
        assert_eq!(
            (cdr.termination.cause, cdr.termination.by),
            (cause, EndedBy::Customer),
            "{}",
            cdr.termination
        );
        assert!(agent.answered && cdr.answered.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_who_hangs_up_while_the_user_rings_cancels_there() {
    let mut setup = Setup { answer: Answer::Never, ..Setup::default() };
    setup.phones = vec![agent_for(700)];
    let mut lab = setup.start().await;
    let (_, customer, cdr) = lab.placed(json!({})).await;
    assert_eq!((customer.violations.len(), customer.requests.as_slice()), (0, &["CANCEL".to_owned()][..]));
    assert_eq!((cdr.termination.cause, cdr.termination.by), (Cause::Cancelled, EndedBy::Agent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placed_call_is_seen_while_it_lives_and_ended_at_any_time() {
    let mut lab = Setup { answer: Answer::Never, ..Setup::default() }.start().await;
    let mut events = lab.phone().events();
    let (_, placed) = lab.places(json!({"use_case": "delivery"})).await;
    let call = placed["call"].as_str().unwrap().to_owned();
    let at = format!("/v1/calls/{call}");
    let (status, seen) = lab.asks("GET", &at, "", "").await;
    assert_eq!((status, &seen["call"], &seen["facts"]["use_case"]), (200, &json!(call), &json!("delivery")));
    while !matches!(events.recv().await.unwrap(), PhoneEvent::FirstPacket(_)) {}
    let (_, page) = lab.asks("GET", "/v1/calls?limit=1", "", "").await;
    assert_eq!((&page["calls"][0]["stage"], &page["next"]), (&json!("reaching"), &Value::Null));
    assert_eq!(page["calls"][0]["agent"], "alice");
    // A second call of the pair.
    let (status, refused) = lab.places(json!({})).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("refused")));
    assert_eq!(refused["error"]["rules"][0]["code"], 4007);
    assert_eq!(lab.next_cdr().await.refused[0].code, 4007);

    assert_eq!(lab.asks("DELETE", &at, "", "").await.0, 204);
    let cdr = lab.next_cdr().await;
    assert_eq!((cdr.termination.cause, cdr.termination.by), (Cause::Cancelled, EndedBy::Bridge));
    for method in ["GET", "DELETE"] {
        assert_eq!(lab.asks(method, &at, "", "").await.0, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_of_the_same_key_is_the_same_call() {
    let mut lab = user(100, 300).start().await;
    let key = "Idempotency-Key: click-1\r\n";
    let body = order(json!({})).to_string();
    let (one, other) =
        tokio::join!(lab.asks("POST", "/v1/calls", key, &body), lab.asks("POST", "/v1/calls", key, &body));
    assert_eq!((one.0, one.1.clone()), (202, other.1));
    let cdr = lab.next_cdr().await;
    assert_eq!(one.1["call"], cdr.call.to_string());
    assert_eq!(lab.asks("POST", "/v1/calls", key, &body).await, (202, one.1), "also when it is over");
    let another = order(json!({"payload": "x"})).to_string();
    let (status, taken) = lab.asks("POST", "/v1/calls", key, &another).await;
    assert_eq!((status, &taken["error"]["code"]), (409, &json!("key_taken")));
    assert!(!lab.has_another_cdr());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_cannot_be_is_refused_and_says_why() {
    let mut lab = Setup { phones: Vec::new(), ..Setup::default() }.start().await;
    for (change, status, code) in [
        (json!({"number": "+15550009999"}), 404, "unknown_number"),
        (json!({"agents": ["nobody"]}), 404, "unknown_agent"),
        (json!({"customer": "alice"}), 400, "invalid"),
        (json!({"pstn": true}), 400, "invalid"),
        (json!({"payload": "x".repeat(513)}), 400, "invalid"),
        (json!({}), 409, "refused"),
    ] {
        let (said, answer) = lab.places(change.clone()).await;
        assert_eq!((said, &answer["error"]["code"]), (status, &json!(code)), "{change}: {answer}");
    }
    // Only what was a call has a record: nobody is registered.
    let cdr = lab.next_cdr().await;
    assert_eq!((cdr.refused[0].code, cdr.termination.cause), (4003, Cause::Refused));
    assert!(!lab.has_another_cdr());
}

#[tokio::test(flavor = "multi_thread")]
async fn placed_calls_go_by_graph_where_the_number_does_in_either_order() {
    for ring in ["agent_first", "customer_first"] {
        let setup = Setup {
            number: "signalling = \"graph\"\ntoken = \"a-token\"",
            graph: Some(GraphHabits::default()),
            ..user(400, 1_200)
        };
        let mut lab = setup.start().await;
        let mut events = lab.phone().events();
        let (status, call) = lab.places(json!({"ring": ring})).await;
        assert_eq!(status, 202, "{call}");
        let (user, cdr) = (lab.graph().next_report(PATIENCE).await.unwrap(), lab.next_cdr().await);
        assert_eq!(user.violations, [], "{ring}");
        assert_eq!((user.actions(), user.saw), (vec!["connect"], UserSaw::Connected), "{ring}");
        assert!(user.heard.heard_ms(f64::from(AGENT_HZ), 15.0) >= 500, "{ring}: {:?}", user.heard);
        let agent = loop {
            if let Some(report) = events.recv().await.unwrap().ended() {
                break report.clone();
            }
        };
        assert!(agent.heard.heard_ms(f64::from(USER_HZ), 20.0) >= 500, "{ring}: {:?}", agent.heard);
        assert_eq!(
            (cdr.ingress, cdr.termination.cause),
            (Ingress::Graph, Cause::Success),
            "{}",
            cdr.termination
        );
        assert_eq!(cdr.facts.wacid.as_deref(), Some(&*user.wacid));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placed_call_by_graph_that_the_user_declines_or_may_not_get_says_which() {
    for (answer, permitted, cause) in
        [(Answer::DeclineAfter(200), true, Cause::Declined), (Answer::After(100), false, Cause::NoPermission)]
    {
        let graph = GraphHabits { permitted, ..GraphHabits::default() };
        let number = "signalling = \"graph\"\ntoken = \"a-token\"";
        let mut lab = Setup { answer, number, graph: Some(graph), ..Setup::default() }.start().await;
        assert_eq!(lab.places(json!({})).await.0, 202);
        let cdr = lab.next_cdr().await;
        assert_eq!(cdr.termination.cause, cause, "{}", cdr.termination);
    }
}

//! Customers who are asked for permission, in messages by Graph, or by a provider who calls back.

use serde_json::{Value, json};
use setu_model::{AnsweredBy, Cause, Direction, Ingress};
use setu_twin::graph::{GraphHabits, UserReply};

use crate::lab::*;

/// Open whatever the clock of the machine says.
const ALWAYS: &str =
    "[hours]\nfrom = \"00:00\"\nto = \"00:00\"\n[[use_cases]]\nname = \"delivery\"\nlabel = \"Delivery\"\n";

/// Nobody permits anything before being asked; then everybody does, or nobody.
fn asked(reply: Option<UserReply>) -> Setup {
    let replies = reply.map(|reply| (reply, 50));
    let graph = Some(GraphHabits { permitted: false, replies, ..GraphHabits::default() });
    let customer = setu_twin::Person::saying(CUSTOMER_HZ).hanging_up_after(500);
    Setup { graph, gate: "on", config: ALWAYS, customer, ..Setup::default() }
}

const BY_GRAPH: &str = "signalling = \"graph\"\ntoken = \"a-token\"";

const BY_PROVIDER: &str = "dialect = \"provider\"\nprovider = { url = \"https://graph.facebook.com/v23.0/PHONE_NUMBER_ID/messages\", token = \"a-token\", wait_s = 5 }";

impl Lab {
    async fn requests(&self, change: Value) -> (u16, Value) {
        let mut order = json!({"number": NUMBER, "customer": CUSTOMER});
        order.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        self.asks("POST", "/v1/permission-requests", "", &order.to_string()).await
    }

    async fn orders(&self) -> (u16, Value) {
        let order = json!({"number": NUMBER, "customer": CUSTOMER, "use_case": "delivery", "by_hand": true});
        self.asks("POST", "/v1/calls", "", &order.to_string()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_who_is_asked_and_accepts_is_called_and_asked_no_more() {
    let mut lab = Setup { number: BY_GRAPH, ..asked(Some(UserReply::Permanent)) }.start().await;
    let (status, refused) = lab.orders().await;
    assert_eq!((status, &refused["error"]["rules"][0]["code"]), (409, &json!(4005)), "{refused}");
    assert_eq!(lab.next_cdr().await.refused[0].code, 4005);

    let (status, sent) = lab.requests(json!({"text": "May we call?", "reserve_seconds": 30})).await;
    assert_eq!(status, 202, "{sent}");
    assert!(sent["message"].as_str().unwrap().starts_with("wamid."), "{sent}");
    let (_, held) = lab.asks("GET", "/v1/reservations", "", "").await;
    assert_eq!(held["reservations"][0]["reservation"], sent["reservation"]);

    // The customer's answer comes by webhook.
    let waited = tokio::time::timeout(PATIENCE, async {
        while lab.orders().await.0 != 202 {
            assert_eq!(lab.next_cdr().await.refused[0].code, 4005);
        }
    });
    waited.await.unwrap();
    let cdr = lab.next_cdr().await;
    assert_eq!((cdr.ingress, cdr.termination.cause), (Ingress::Graph, Cause::Success), "{}", cdr.termination);
    let (_, held) = lab.asks("GET", "/v1/reservations", "", "").await;
    assert_eq!(held["reservations"], json!([]), "the call used it");
    let (status, refused) = lab.requests(json!({})).await;
    assert_eq!((status, &refused["error"]["rules"][0]["code"]), (409, &json!(4015)));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_a_day_is_the_limit_by_our_count_and_by_metas() {
    let lab = Setup { number: BY_GRAPH, ..asked(None) }.start().await;
    assert_eq!(lab.requests(json!({})).await.0, 202);
    let (status, refused) = lab.requests(json!({"reserve_seconds": 30})).await;
    assert_eq!((status, &refused["error"]["rules"][0]["code"]), (409, &json!(4011)), "{refused}");
    assert!(refused["error"]["rules"][0]["next_allowed"].is_string());
    let (_, held) = lab.asks("GET", "/v1/reservations", "", "").await;
    assert_eq!(held["reservations"], json!([]), "who was set aside is free again");

    // Without a gate Meta says the same.
    let lab = Setup { number: BY_GRAPH, gate: "off", ..asked(None) }.start().await;
    assert_eq!(lab.requests(json!({})).await.0, 202);
    let (status, refused) = lab.requests(json!({})).await;
    assert_eq!((status, &refused["error"]["rules"][0]["code"]), (409, &json!(4011)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_where_nobody_is_ready_or_nothing_can_be_sent() {
    let lab = Setup { number: BY_GRAPH, phones: Vec::new(), ..asked(None) }.start().await;
    for change in [json!({}), json!({"reserve_seconds": 30})] {
        let (status, refused) = lab.requests(change).await;
        assert_eq!((status, &refused["error"]["rules"][0]["code"]), (409, &json!(4003)), "{refused}");
    }
    let lab = Setup::default().start().await;
    let (status, refused) = lab.requests(json!({})).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("no_way")));
    assert!(refused["error"]["message"].as_str().unwrap().contains("phone_number_id"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_a_providers_number_asks_the_customer_and_takes_the_call_that_comes_back() {
    let mut setup = Setup { number: BY_PROVIDER, ..asked(None) };
    setup.provider.person = setup.provider.person.hanging_up_after(500);
    let mut lab = setup.start().await;
    let (status, placed) = lab.orders().await;
    assert_eq!(status, 202, "{placed}");
    let at = format!("/v1/calls/{}", placed["call"].as_str().unwrap());
    let (_, seen) = lab.asks("GET", &at, "", "").await;
    assert_eq!((&seen["stage"], &seen["facts"]["use_case"]), (&json!("awaiting"), &json!("delivery")));
    let (_, held) = lab.asks("GET", "/v1/reservations", "", "").await;
    assert_eq!(held["reservations"][0]["agent"], "alice");
    // Asked once more meanwhile, nothing is sent.
    assert_eq!(lab.orders().await.1["error"]["rules"][0]["code"], 4011);

    let connect = crate::provider::EXAMPLE;
    assert_eq!(lab.webhooks().post("/webhooks/whatsapp/call.connect", connect).await.unwrap(), 200);
    let cdr = lab.next_cdr().await;
    assert_eq!(placed["call"], cdr.call.to_string(), "it is the call that was asked for");
    assert_eq!(
        (cdr.ingress, cdr.termination.cause),
        (Ingress::ProviderUri, Cause::Success),
        "{}",
        cdr.termination
    );
    assert_eq!(
        (cdr.facts.use_case.as_deref(), cdr.facts.permission_source.as_deref()),
        (Some("delivery"), Some("template_button"))
    );
    assert_eq!(cdr.agent, Some(AnsweredBy::Agent("alice".to_owned())));
    let (_, held) = lab.asks("GET", "/v1/reservations", "", "").await;
    assert_eq!(held["reservations"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_no_customer_allows_leaves_a_record_and_nobody_reserved() {
    let mut lab = Setup { number: BY_PROVIDER, ..asked(None) }.start().await;
    let (_, placed) = lab.orders().await;
    let at = format!("/v1/calls/{}", placed["call"].as_str().unwrap());
    assert_eq!(lab.asks("DELETE", &at, "", "").await.0, 204);
    let cdr = lab.next_cdr().await;
    assert_eq!(placed["call"], cdr.call.to_string());
    assert_eq!((cdr.direction, cdr.termination.cause), (Direction::BusinessInitiated, Cause::Refused));
    assert_eq!(lab.asks("GET", &at, "", "").await.0, 404);
    let (_, held) = lab.asks("GET", "/v1/reservations", "", "").await;
    assert_eq!(held["reservations"], json!([]));
}

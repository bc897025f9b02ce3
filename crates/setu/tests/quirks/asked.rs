//! Customers who are asked for permission, in messages by Graph, or by a provider who calls back.

use serde_json::{Value, json};
use setu_model::{AnsweredBy, Cause, Direction, EndedBy, Ingress};
use setu_store::{CustomerNames, Location, Store};
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

    /// Waits until a call is seen whose customer was asked; returns its id.
    async fn awaiting(&self) -> String {
        let seen = async {
            loop {
                let (_, lives) = self.asks("GET", "/v1/calls", "", "").await;
                let mut all = lives["calls"].as_array().unwrap().iter();
                if let Some(live) = all.find(|it| it["stage"] == "awaiting") {
                    return live["call"].as_str().unwrap().to_owned();
                }
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.unwrap()
    }

    async fn connects(&self) {
        let connect = crate::provider::EXAMPLE;
        assert_eq!(self.webhooks().post("/webhooks/whatsapp/call.connect", connect).await.unwrap(), 200);
    }

    /// Waits until as many requests count in the database.
    async fn count(&self, requests: usize) {
        let names = CustomerNames { name: "wa:919876543210", other: "wa:919876543210" };
        let counted = async {
            let at = Location::Sqlite(self.folder.path().join("setu.db"));
            let store = Store::open(&at).await.unwrap();
            loop {
                let facts = store.pair(NUMBER, names, 100).await.unwrap();
                if facts.iter().filter(|(id, _)| id.starts_with("asked:")).count() == requests {
                    return store.close().await;
                }
            }
        };
        tokio::time::timeout(PATIENCE, counted).await.unwrap();
    }

    async fn nobody_is_set_aside(&self) {
        let (_, held) = self.asks("GET", "/v1/reservations", "", "").await;
        assert_eq!(held["reservations"], json!([]));
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
    lab.count(1).await;
}

/// What was sent when the bridge is killed may have been delivered.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_counts_before_it_is_answered() {
    let graph = asked(None).graph.map(|habits| GraphHabits { reply_ms: 3_600_000, ..habits });
    let lab = Setup { number: BY_GRAPH, graph, ..asked(None) }.start().await;
    tokio::select! {
        biased;
        answer = lab.requests(json!({})) => panic!("it is answered before it counts: {answer:?}"),
        () = lab.count(1) => {}
    }
}

/// A provider has a customer on the line for the business, whom nobody ordered. The connect is evidence of the permission.
#[tokio::test(flavor = "multi_thread")]
async fn a_business_call_that_nobody_ordered_asks_the_gate() {
    let blocked = "[hours]\nfrom = \"00:00\"\nto = \"00:00\"\n[calling]\nblocked_countries = [\"IN\"]\n";
    for source in ["service_window", "permission_request"] {
        let connect = crate::provider::EXAMPLE.replace("template_button", source);
        for (config, cause, rule) in [(ALWAYS, Cause::Success, None), (blocked, Cause::Refused, Some(4008))] {
            let number = "dialect = \"provider\"";
            let mut setup = Setup { number, config, gate: "on", ..Setup::default() };
            setup.provider.person = setup.provider.person.hanging_up_after(500);
            let mut lab = setup.start().await;
            let mut rings = lab.phone().events();
            assert_eq!(lab.webhooks().post("/webhooks/whatsapp/call.connect", &connect).await.unwrap(), 200);
            let cdr = lab.next_cdr().await;
            let found = (cdr.direction, cdr.termination.cause, cdr.refused.first().map(|rule| rule.code));
            assert_eq!(found, (Direction::BusinessInitiated, cause, rule), "{source}: {}", cdr.termination);
            assert_eq!(rings.try_recv().is_ok(), rule.is_none(), "{source}");
        }
    }
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

/// Whom the gate will refuse in any case needs no agent.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_reserved_for_a_use_case_that_the_number_is_not_for() {
    let lab = asked(None).start().await;
    let reserves = async |use_case: &str| {
        let order = json!({"number": NUMBER, "seconds": 30, "use_case": use_case}).to_string();
        lab.asks("POST", "/v1/reservations", "", &order).await
    };
    let (status, refused) = reserves("surveys").await;
    let code = setu_model::GateCode::UseCaseNotAllowed.number();
    assert_eq!((status, &refused["error"]["rules"][0]["code"]), (409, &json!(code)), "{refused}");
    let (_, held) = lab.asks("GET", "/v1/reservations", "", "").await;
    assert_eq!(held["reservations"], json!([]));
    assert_eq!(reserves("delivery").await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_no_customer_allows_leaves_a_record_and_nobody_reserved() {
    let mut lab = Setup { number: BY_PROVIDER, ..asked(None) }.start().await;
    let (_, placed) = lab.orders().await;
    // Its id was told, so that it has a record even if the bridge is killed now.
    let waited = tokio::time::timeout(PATIENCE, async {
        while !lab.keeps(placed["call"].as_str().unwrap()).await {
            tokio::task::yield_now().await;
        }
    });
    waited.await.unwrap();
    let at = format!("/v1/calls/{}", placed["call"].as_str().unwrap());
    assert_eq!(lab.asks("DELETE", &at, "", "").await.0, 204);
    let cdr = lab.next_cdr().await;
    assert_eq!(placed["call"], cdr.call.to_string());
    assert_eq!((cdr.direction, cdr.termination.cause), (Direction::BusinessInitiated, Cause::Cancelled));
    assert_eq!(lab.asks("GET", &at, "", "").await.0, 404);
    let (_, held) = lab.asks("GET", "/v1/reservations", "", "").await;
    assert_eq!(held["reservations"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_comes_before_the_reply_to_its_request_is_the_one_that_was_ordered() {
    let mut setup = Setup { number: BY_PROVIDER, ..asked(None) };
    setup.graph.as_mut().unwrap().reply_ms = 1_500;
    setup.provider.person = setup.provider.person.hanging_up_after(500);
    let mut lab = setup.start().await;
    let order = async {
        let order = lab.orders().await;
        (order, std::time::Instant::now())
    };
    let come = async {
        // The request is out once its agent is set aside.
        let set_aside = async {
            while lab.asks("GET", "/v1/reservations", "", "").await.1["reservations"] == json!([]) {}
        };
        tokio::time::timeout(PATIENCE, set_aside).await.unwrap();
        lab.connects().await;
        std::time::Instant::now()
    };
    let (((status, placed), answered), came) = tokio::join!(order, come);
    assert_eq!(status, 202, "{placed}");
    assert!(came < answered, "the reply was not the later one");
    let cdr = lab.next_cdr().await;
    assert_eq!(placed["call"], cdr.call.to_string());
    assert_eq!((cdr.termination.cause, cdr.facts.use_case.as_deref()), (Cause::Success, Some("delivery")));
    lab.nobody_is_set_aside().await;
    assert!(!lab.has_another_cdr());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_call_that_the_customer_declines_or_does_not_allow_in_time_says_which() {
    for (reply, cause, by) in [
        (Some(UserReply::Reject), Cause::Declined, EndedBy::Customer),
        (None, Cause::NoAnswer, EndedBy::Bridge),
    ] {
        let mut lab = Setup { number: BY_PROVIDER, ..asked(reply) }.start().await;
        let (status, placed) = lab.orders().await;
        assert_eq!(status, 202, "{placed}");
        let cdr = lab.next_cdr().await;
        assert_eq!(placed["call"], cdr.call.to_string());
        assert_eq!((cdr.termination.cause, cdr.termination.by), (cause, by), "{}", cdr.termination);
        assert_eq!((cdr.ingress, cdr.answered), (Ingress::ProviderUri, None));
        lab.nobody_is_set_aside().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_who_dials_on_a_providers_number_hears_ringing_and_then_the_customer_who_was_asked() {
    let mut lab = Setup { number: BY_PROVIDER, ..asked(None) }.start().await;
    let come = async {
        let call = lab.awaiting().await;
        lab.connects().await;
        call
    };
    let dialled = lab.phone().dial(CUSTOMER, Some(agent_for(1_200)));
    let (agent, customer, call) = tokio::join!(dialled, lab.provider.next_report(PATIENCE), come);
    let (agent, customer, cdr) = (agent.unwrap(), customer.unwrap(), lab.next_cdr().await);
    assert!(agent.provisional.contains(&180), "{:?}", agent.provisional);
    assert_hz(agent.heard.hz, CUSTOMER_HZ);
    assert_hz(customer.heard.hz, AGENT_HZ);
    assert_eq!(cdr.call.to_string(), call, "one call, from the dial to the end");
    assert_eq!((cdr.ingress, cdr.direction), (Ingress::ProviderUri, Direction::BusinessInitiated));
    assert_eq!((cdr.termination.cause, cdr.termination.by), (Cause::Success, EndedBy::Agent));
    assert_eq!(cdr.facts.wacid.as_deref(), Some("CALL_ID"));
    assert_eq!(cdr.facts.permission_source.as_deref(), Some("template_button"));
    assert!(cdr.recording.is_some_and(|recording| recording.channels == 2));
    assert!(!lab.has_another_cdr());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_dial_on_a_providers_number_ends_as_the_customer_who_was_asked_wants() {
    for (reply, cause, status) in
        [(Some(UserReply::Reject), Cause::Declined, 603), (None, Cause::NoAnswer, 480)]
    {
        let mut lab = Setup { number: BY_PROVIDER, ..asked(reply) }.start().await;
        let agent = lab.phone().dial(CUSTOMER, Some(agent())).await.unwrap();
        let cdr = lab.next_cdr().await;
        assert_eq!((cdr.termination.cause, agent.status), (cause, Some(status)), "{}", cdr.termination);
        // The request counts all the same: no second one on the same day.
        let again = lab.phone().dial(CUSTOMER, Some(agent_for(500))).await.unwrap();
        let cdr = lab.next_cdr().await;
        assert_eq!((again.status, cdr.refused.first().map(|rule| rule.code)), (Some(403), Some(4_011)));
    }
}

/// What Meta knows and the bridge does not, it learns from the refusal.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_meta_is_not_asked_for_again() {
    let mut setup = Setup { number: BY_GRAPH, ..asked(None) };
    setup.graph.as_mut().unwrap().permitted = true;
    let mut lab = setup.start().await;
    assert_eq!(lab.orders().await.1["error"]["rules"][0]["code"], 4_005);
    lab.next_cdr().await;
    let (status, refused) = lab.requests(json!({})).await;
    let rule = &refused["error"]["rules"][0];
    assert_eq!((status, &rule["code"], &rule["remedy"]), (409, &json!(4_015), &json!("call the customer")));
    assert_eq!(lab.orders().await.0, 202, "Meta has said that the customer permits calls");
    assert_eq!(lab.next_cdr().await.termination.cause, Cause::Success);
}

//! Agents set aside over the REST interface before a call comes.

use serde_json::{Value, json};
use setu_model::{AnsweredBy, Cause};
use setu_twin::agent::{Habits, PhoneAnswer};

use crate::lab::*;

/// Open whatever the clock of the machine says.
fn open() -> Setup {
    Setup { config: "[hours]\nfrom = \"00:00\"\nto = \"00:00\"\n", ..Setup::default() }
}

impl Lab {
    async fn readiness(&self) -> Value {
        let (status, said) =
            self.asks("GET", &format!("/v1/readiness?number=%2B{}", &NUMBER[1..]), "", "").await;
        assert_eq!(status, 200, "{said}");
        said
    }

    async fn reserves(&self, change: Value) -> (u16, Value) {
        let mut order = json!({"number": NUMBER, "seconds": 60});
        order.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        self.asks("POST", "/v1/reservations", "", &order.to_string()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_for_whom_an_agent_is_set_aside_gets_him_with_what_it_was_for() {
    let mut lab = open().start().await;
    let ready = lab.readiness().await;
    assert_eq!(
        (&ready["ready"], &ready["send_buttons"], &ready["against"]),
        (&json!(1), &json!(true), &json!([]))
    );
    let (status, made) =
        lab.reserves(json!({"customer": CUSTOMER, "use_case": "delivery", "reference": "T-1"})).await;
    assert_eq!((status, &made["agent"]), (201, &json!("alice")));
    let id = made["reservation"].as_str().unwrap().to_owned();
    let held = lab.readiness().await;
    assert_eq!((&held["reserved"], &held["send_buttons"]), (&json!(1), &json!(false)));
    assert_eq!(
        (&held["agents"][0]["state"], &held["against"][0]["code"]),
        (&json!("reserved"), &json!(4003))
    );
    let (_, page) = lab.asks("GET", "/v1/reservations", "", "").await;
    assert_eq!((&page["reservations"][0]["reservation"], &page["next"]), (&json!(id), &Value::Null));
    // Nobody is left for a second one, nor for a call of somebody else.
    let (status, refused) = lab.reserves(json!({})).await;
    assert_eq!((status, &refused["error"]["rules"][0]["code"]), (409, &json!(4003)));

    let call = lab.user_calls(customer_for(600)).await;
    call.went_well();
    for (name, value) in [("X-Setu-Use-Case", "delivery"), ("X-Setu-Reference", "T-1")] {
        assert!(
            call.agent().headers.contains(&(name.to_owned(), value.to_owned())),
            "{:?}",
            call.agent().headers
        );
    }
    assert_eq!(call.cdr.facts.use_case.as_deref(), Some("delivery"));
    assert_eq!(lab.asks("GET", &format!("/v1/reservations/{id}"), "", "").await.0, 404, "it is used up");
    assert_eq!(lab.readiness().await["ready"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placed_call_names_its_reservation_and_one_given_back_is_none() {
    let mut lab = Setup { customer: setu_twin::Person::saying(CUSTOMER_HZ).hanging_up_after(500), ..open() }
        .start()
        .await;
    let (_, made) = lab.reserves(json!({"reference": "T-2"})).await;
    let (_, _, cdr) = lab.placed(json!({"reservation": made["reservation"]})).await;
    assert_eq!(
        (cdr.termination.cause, cdr.agent),
        (Cause::Success, Some(AnsweredBy::Agent("alice".to_owned())))
    );
    assert_eq!(cdr.facts.reference.as_deref(), Some("T-2"));

    let (_, made) = lab.reserves(json!({})).await;
    let at = format!("/v1/reservations/{}", made["reservation"].as_str().unwrap());
    assert_eq!(lab.asks("DELETE", &at, "", "").await.0, 204);
    assert_eq!(lab.asks("DELETE", &at, "", "").await.0, 404);
    let order =
        json!({"number": NUMBER, "customer": CUSTOMER, "reservation": made["reservation"]}).to_string();
    let (status, refused) = lab.asks("POST", "/v1/calls", "", &order).await;
    assert_eq!((status, &refused["error"]["code"]), (404, &json!("unknown_reservation")));
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_says_who_talks_and_what_speaks_against_a_button() {
    let closed = "[hours]\nclosed = [\"monday\", \"tuesday\", \"wednesday\", \"thursday\", \"friday\", \"saturday\", \"sunday\"]\n";
    let phones = vec![Habits { answer: PhoneAnswer::Never, ..agent() }];
    let mut lab = Setup { config: closed, phones, ..Setup::default() }.start().await;
    let shut = lab.readiness().await;
    assert_eq!((&shut["send_buttons"], &shut["against"][0]["code"]), (&json!(false), &json!(4001)));
    let order = json!({"number": NUMBER, "customer": CUSTOMER}).to_string();
    let (_, call) = lab.asks("POST", "/v1/calls", "", &order).await;
    let busy = lab.readiness().await;
    assert_eq!((&busy["on_call"], &busy["ready"]), (&json!(1), &json!(0)));
    let at = format!("/v1/calls/{}", call["call"].as_str().unwrap());
    assert_eq!(lab.asks("DELETE", &at, "", "").await.0, 204);
    assert_eq!(lab.next_cdr().await.termination.cause, Cause::Cancelled);
}

//! The REST interface of a bridge that runs.

use std::process::Command;

use serde_json::{Value, json};
use setu_control::Scope;

use setu_model::Wall;
use setu_store::{Attempt, CdrRow, Store};

use crate::durable::with_store;
use crate::house::{CUSTOMER, House, NUMBER, Ports};
use crate::peers::{Process, root, until};
use crate::ports::port;
use crate::webhooks::{SECRET, exchange, post, webhooks};

pub(crate) const TOKEN: &str = "a-token-that-nobody-guesses";

/// A bridge with a REST interface and webhooks, and their ports.
fn bridge() -> (House, Process, u16, u16) {
    let (api, at) = (port(), port());
    let scopes = Scope::ALL.map(Scope::word);
    let config = format!(
        "[[numbers]]\nnumber = \"{NUMBER}\"\nphone_number_id = \"106\"\npassword = \"x\"\ntrunk = \"pbx\"\n\
         extension = \"100\"\n[[trunks]]\nname = \"pbx\"\npstn = false\nhost = \"127.0.0.1\"\nport = 9\nprobe_s = 0\n\
         [hours]\nfrom = \"00:00\"\nto = \"00:00\"\n[cost]\ncurrency = \"INR\"\n\
         [[use_cases]]\nname = \"kyc\"\nlabel = \"KYC\"\n\
         [api]\nbind = \"127.0.0.1:{api}\"\n[[api.tokens]]\nname = \"crm\"\ntoken = {{ file = \"crm.token\" }}\n\
         scopes = {scopes:?}\n{}",
        webhooks(at)
    );
    let house = House::new(Ports::pick(), &config);
    house.write("app.secret", SECRET);
    house.write("crm.token", TOKEN);
    let process = house.serve();
    (house, process, api, at)
}

pub(crate) fn ask(to: u16, method: &str, path: &str, body: &str) -> Value {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: setu\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {TOKEN}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let answer = exchange(to, &request).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap_or_else(|_| panic!("{answer}"))
}

#[test]
fn what_a_webhook_told_is_what_the_interface_says_of_permission_and_gate() {
    let (house, _bridge, api, at) = bridge();
    let permission = || ask(api, "GET", &format!("/v1/permissions/{NUMBER}/{CUSTOMER}"), "");
    assert_eq!(permission()["call"]["why"], "never_granted");
    assert_eq!(permission()["request"]["allowed"], true);
    let question = json!({"number": NUMBER, "customer": CUSTOMER, "by_hand": true}).to_string();
    let refused = ask(api, "POST", "/v1/gate", &question);
    assert_eq!((&refused["allowed"], &refused["refused"][0]["code"]), (&json!(false), &json!(4005)));

    let body = r#"{"entry":[{"id":"1","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"106"},
        "messages":[{"from":"919876543210","id":"wamid.1","timestamp":"1760681600","type":"interactive",
        "interactive":{"type":"call_permission_reply","call_permission_reply":
        {"response":"accept","is_permanent":true,"response_source":"user_action"}}}]}}]}]}"#;
    assert!(post(at, "/webhooks/whatsapp", SECRET, body).starts_with("HTTP/1.1 200 "));
    assert_eq!(permission()["call"]["considered"][0]["counts"], "valid");
    let allowed = ask(api, "POST", "/v1/gate", &question);
    assert_eq!((&allowed["allowed"], &allowed["refused"]), (&json!(true), &json!([])));
    assert_eq!(allowed["request_refused"][0]["code"], 4015);
    assert_eq!(
        ask(api, "GET", &format!("/v1/permissions/+15550009999/{CUSTOMER}"), "")["error"]["code"],
        "not_found"
    );
    assert_eq!(ask(api, "GET", "/v1/cdrs", ""), json!({"cdrs": [], "next": null}));
    assert!(!house.log().contains(TOKEN));
}

/// The calls of a bad morning: none of sixty was answered, and each cost half a rupee.
async fn bad_morning(store: Store, began: Wall) {
    let cost = r#"{"currency":"INR","total":"0.5","provider":"0.4","meta":"0.1","sip":"0","storage":"0","agent":"0"}"#;
    let row = |n: u32| CdrRow {
        call: format!("CALL{n}"),
        number: NUMBER.to_owned(),
        customer: CUSTOMER.to_owned(),
        wacid: None,
        direction: "business_initiated".to_owned(),
        cause: "no_answer".to_owned(),
        began,
        written: began,
        record: "{}".to_owned(),
        facts: Vec::new(),
        names: None,
        who: Some(format!("wa:{}", &CUSTOMER[1..])),
        answered: None,
        connected_ms: 0,
        use_case: Some("kyc".to_owned()),
        country: None,
        recording_bytes: 0,
        cost: Some(cost.to_owned()),
        reached: true,
        told: Vec::new(),
        attempt: Some(Attempt { short: false, blamable: began.after(std::time::Duration::from_secs(1_800)) }),
    };
    store.record(&(0..60).map(row).collect::<Vec<_>>()).await.unwrap();
    store.close().await;
}

#[test]
fn quality_feedback_and_costs_are_told_from_what_happened() {
    let (house, bridge, api, _) = bridge();
    drop(bridge);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let now = Wall::from_unix_ms(i64::try_from(now).unwrap());
    let began = Wall::from_unix_ms(now.unix_ms() - 60_000);
    with_store(&house, async |store| bad_morning(store, began).await);
    let _bridge = house.serve();

    let quality = || ask(api, "GET", &format!("/v1/quality/{NUMBER}"), "");
    let before = quality();
    assert_eq!((&before["light"], &before["attempts_a_day"]), (&json!("RED"), &json!(1_000)));
    assert_eq!(before["driven_by"], json!(["answer_rate"]));
    until("the light is shown", std::time::Duration::from_secs(10), || {
        let shown = format!("setu_number_light{{number=\"{NUMBER}\"}} 2");
        house.http("/metrics").unwrap().lines().any(|line| line == shown)
    });
    assert_eq!(
        before["readings"][1],
        json!({"measure": "blame_rate", "basis_points": 0, "before": null, "trend": null, "light": "GREEN"})
    );

    let blocked =
        json!({"number": NUMBER, "customer": CUSTOMER, "kind": "block", "at": now.to_string()}).to_string();
    assert_eq!(ask(api, "POST", "/v1/feedback", &blocked), json!({"new": true}));
    assert_eq!(ask(api, "POST", "/v1/feedback", &blocked), json!({"new": false}));
    let after = quality();
    assert_eq!(after["driven_by"], json!(["answer_rate", "blame_rate"]));
    assert_eq!(after["readings"][1]["basis_points"], 166, "one of sixty");

    let costs = ask(api, "GET", "/v1/costs?by=use_case", "");
    assert_eq!((&costs["currency"], &costs["lines"][0]["key"]), (&json!("INR"), &json!("kyc")));
    assert_eq!((&costs["total"]["calls"], &costs["total"]["cost"]["total"]), (&json!(60), &json!("30")));
    let cases = ask(api, "GET", "/v1/reports/use-cases", "");
    let line = &cases["lines"][0];
    assert_eq!((&line["label"], &line["connection_rate"]), (&json!("KYC"), &json!(0)));
    assert_eq!((&line["outcomes"]["no_answer"], &line["cost"]["per_connected"]), (&json!(60), &Value::Null));
    assert_eq!(ask(api, "GET", "/v1/costs?until=2000-01-01T00:00:00Z", "")["lines"], json!([]));
}

#[test]
fn a_hang_up_signal_exchanges_the_tokens() {
    let (house, bridge, api, _) = bridge();
    assert!(ask(api, "GET", "/v1/cdrs", "")["cdrs"].is_array());
    house.write("crm.token", "another-token-of-some-length");
    bridge.signal("HUP");
    until("the old token counts no more", std::time::Duration::from_secs(10), || {
        ask(api, "GET", "/v1/cdrs", "")["error"]["code"] == "unauthorized"
    });
}

#[test]
fn schemathesis_finds_nothing_that_the_document_does_not_say() {
    let (house, _bridge, api, _) = bridge();
    // What is well written may be out of time all the same.
    let settings = format!(
        "[parameters]\nnumber = \"{NUMBER}\"\n[checks.positive_data_acceptance]\n\
         expected-statuses = [\"2xx\", \"401\", \"403\", \"404\", \"409\", \"422\", \"5xx\"]\n"
    );
    house.write("schemathesis.toml", &settings);
    let tried = Command::new(root().join("opt/schemathesis/bin/schemathesis"))
        .arg("--config-file")
        .arg(house.path("schemathesis.toml"))
        .args(["run", &format!("http://127.0.0.1:{api}/v1/openapi.json")])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}"), "--max-examples", "30"])
        .current_dir(house.folder.path())
        .output()
        .unwrap_or_else(|error| panic!("no schemathesis: {error}; run `cargo xtask peers`"));
    let said = String::from_utf8_lossy(&tried.stdout);
    assert!(tried.status.success(), "{said}\n{}", house.log());
    assert!(said.contains("23 selected / 23 total"), "{said}");
    assert!(!house.log().contains("ERROR"), "{}", house.log());
}

//! The REST interface of a bridge that runs.

use std::process::Command;

use serde_json::{Value, json};
use setu_control::Scope;

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
         [hours]\nfrom = \"00:00\"\nto = \"00:00\"\n\
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
    assert_eq!(ask(api, "GET", "/v1/permissions/+15550009999/1", "")["error"]["code"], "not_found");
    assert_eq!(ask(api, "GET", "/v1/cdrs", ""), json!({"cdrs": [], "next": null}));
    assert!(!house.log().contains(TOKEN));
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
    house.write("schemathesis.toml", &format!("[parameters]\nnumber = \"{NUMBER}\"\n"));
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
    assert!(said.contains("17 selected / 17 total"), "{said}");
    assert!(!house.log().contains("ERROR"), "{}", house.log());
}

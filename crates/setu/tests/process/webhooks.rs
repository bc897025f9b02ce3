//! Webhooks into a bridge that runs.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use setu_model::Secret;
use setu_whatsapp::webhook::sign;

use crate::house::{House, NUMBER, Ports};
use crate::peers::until;
use crate::ports::port;

/// The body that a provider documents, to the letter.
pub(crate) const EXAMPLE: &str = r#"{"object":"whatsapp_business_calling","entry":[{"id":"PHONE_NUMBER_ID","changes":[{"field":"calls","value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"+9199999XXXXX"},"calls":[{"id":"CALL_ID","from":"+919876543210","timestamp":"1714719300","type":"audio","sip":"sip:agent-bridge.example.in;transport=tls","permission_source":"template_button"}]}}]}]}"#;

pub(crate) const SECRET: &str = "an-app-secret";

/// Sends a request to a listener of this machine and returns its answer, as far as it came.
pub(crate) fn exchange(to: u16, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    Some(answer)
}

/// Posts a webhook signed with `secret`; returns the answer.
pub(crate) fn post(to: u16, path: &str, secret: &str, body: &str) -> String {
    try_post(to, path, secret, body).unwrap()
}

/// The same; none if nobody listens.
pub(crate) fn try_post(to: u16, path: &str, secret: &str, body: &str) -> Option<String> {
    let signature = sign(&Secret::new(secret.to_owned()), body.as_bytes());
    let length = body.len();
    exchange(
        to,
        &format!(
            "POST {path} HTTP/1.1\r\nHost: setu\r\nConnection: close\r\nX-Hub-Signature-256: {signature}\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ),
    )
}

/// The section of the configuration that takes webhooks on a port.
pub(crate) fn webhooks(at: u16) -> String {
    format!(
        "[webhooks]\nbind = \"127.0.0.1:{at}\"\napp_secrets = [{{ file = \"app.secret\" }}]\n\
         verify_token = \"the-token\"\n"
    )
}

/// A house that takes webhooks, and their port.
pub(crate) fn house() -> (House, u16) {
    let at = port();
    let rest = format!(
        "[[numbers]]\nnumber = \"{NUMBER}\"\nphone_number_id = \"PHONE_NUMBER_ID\"\npassword = \"x\"\n\
         trunk = \"pbx\"\nextension = \"100\"\n\
         [[trunks]]\nname = \"pbx\"\npstn = false\nhost = \"127.0.0.1\"\nport = 9\nprobe_s = 0\n\
         {}",
        webhooks(at)
    );
    let house = House::new(Ports::pick(), &rest);
    house.write("app.secret", SECRET);
    (house, at)
}

#[test]
fn a_signed_webhook_reaches_the_driver_and_a_forged_one_is_logged() {
    let (house, at) = house();
    let _bridge = house.serve_by(house.setu("serve").env("SETU_LOG", "info,setu=debug"));
    let path = "/webhooks/whatsapp/call.connect";
    let answer = post(at, path, "a guess", EXAMPLE);
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("wrongly_signed"), "{answer}");
    until("the refusal is logged", Duration::from_secs(10), || house.log().contains("a webhook is refused"));
    assert!(!house.log().contains("a webhook tells"));

    let answer = post(at, path, SECRET, EXAMPLE);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    until("the driver hears", Duration::from_secs(10), || house.log().contains("a webhook tells"));
    assert!(!house.log().contains(SECRET) && !house.log().contains("919876543210"), "{}", house.log());
    assert!(house.metric("setu_webhooks_total{fate=\"wrongly_signed\"}") > 0.0);
}

#[test]
fn a_hang_up_signal_exchanges_the_app_secret() {
    let (house, at) = house();
    let bridge = house.serve();
    house.write("app.secret", "another");
    bridge.signal("HUP");
    let taken = |secret| post(at, "/webhooks/whatsapp", secret, EXAMPLE).starts_with("HTTP/1.1 200 ");
    until("the new secret is taken", Duration::from_secs(10), || taken("another"));
    assert!(!taken(SECRET));
}

#[test]
fn a_webhook_about_a_number_of_somebody_else_is_acknowledged_and_told_to_the_operator() {
    let (house, at) = house();
    let _bridge = house.serve();
    let body = EXAMPLE.replace("PHONE_NUMBER_ID", "ANOTHER");
    assert!(post(at, "/webhooks/whatsapp/call.connect", SECRET, &body).starts_with("HTTP/1.1 200 "));
    until("it is told", Duration::from_secs(10), || house.log().contains("a number that is not configured"));
}

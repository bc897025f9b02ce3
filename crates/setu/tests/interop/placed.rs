//! Calls that a program asks for, with real agents.

use std::time::Duration;

use serde_json::{Value, json};
use setu_model::{Cause, Cdr, Direction};
use setu_twin::meta::CallReport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::calls::{AGENT_HZ, customer_was_served, heard, recording_holds_both_sides, trunk};
use crate::house::{CUSTOMER, CUSTOMER_HZ, House, NUMBER, NUMBER_PASSWORD, Ports};
use crate::peers::{Asterisk, AsteriskSpec, Baresip, BaresipSpec, until};
use crate::ports::port;

const TOKEN: &str = "a-token-that-nobody-guesses";

fn api(at: u16) -> String {
    format!(
        "[api]\nbind = \"127.0.0.1:{at}\"\n[[api.tokens]]\nname = \"crm\"\ntoken = \"{TOKEN}\"\n\
         scopes = [\"calls:write\"]\n"
    )
}

/// Orders a call of the customer; returns what the customer and the record say of it.
async fn placed(house: &House, at: u16, order: Value) -> (CallReport, Cdr) {
    let edge = house.edge().await;
    let body = order.to_string();
    let request = format!(
        "POST /v1/calls HTTP/1.1\r\nHost: setu\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {TOKEN}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let next = edge.next_business_call(Duration::from_secs(20));
    let mut stream = TcpStream::connect(("127.0.0.1", at)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    let call: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let customer = next.await.expect("the user's telephone saw a call");
    customer_was_served(&customer);
    let cdr = house.cdrs(1).remove(0);
    assert_eq!(call["call"], cdr.call.to_string());
    assert_eq!(
        (cdr.direction, cdr.termination.cause),
        (Direction::BusinessInitiated, Cause::Success),
        "{cdr:?}"
    );
    assert_eq!(cdr.facts.payload.as_deref(), Some("basket 17"));
    recording_holds_both_sides(&cdr);
    (customer, cdr)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_call_rings_asterisk_first_and_then_the_customer() {
    let (ports, at) = (Ports::pick(), port());
    let asterisk = Asterisk::start(&AsteriskSpec::new(format!("sip:127.0.0.1:{}", ports.udp), AGENT_HZ));
    let (house, _bridge) = House::start(ports, &format!("{}{}", trunk(asterisk.port), api(at)));
    let order = json!({"number": NUMBER, "customer": CUSTOMER, "payload": "basket 17"});
    let (customer, cdr) = placed(&house, at, order).await;
    assert_eq!(cdr.facts.wacid.as_deref(), Some(&*customer.wacid));
    until("asterisk has hung up", Duration::from_secs(5), || asterisk.channels() == 0);
    heard(&asterisk.heard(), CUSTOMER_HZ);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_call_reaches_the_customer_first_and_then_rings_a_registered_baresip() {
    let (ports, at) = (Ports::pick(), port());
    let rest = format!(
        "[[numbers]]\nnumber = \"{NUMBER}\"\npassword = \"{NUMBER_PASSWORD}\"\nagents = [\"alice\"]\n\
         [[accounts]]\nname = \"alice\"\npassword = \"wonderland\"\n{}",
        api(at)
    );
    let (house, _bridge) = House::start(ports, &rest);
    let mut phone = Baresip::start(&BaresipSpec {
        user: "alice",
        password: "wonderland",
        registrar: format!("127.0.0.1:{}", ports.tls),
        transport: "tls",
        account: ";mediaenc=srtp-mand;audio_codecs=opus/48000/2",
        rtcp_mux: false,
        tone_hz: AGENT_HZ,
    });
    let order = json!({
        "number": NUMBER, "customer": CUSTOMER, "agents": ["alice"], "ring": "customer_first", "payload": "basket 17",
    });
    placed(&house, at, order).await;
    phone.end();
    heard(&phone.heard(), CUSTOMER_HZ);
}

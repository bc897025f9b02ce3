//! A provider's webhook names the URI at which a customer waits, and Asterisk takes the call.

use std::time::Duration;

use setu_model::{Cause, Ingress};
use setu_twin::Person;
use setu_twin::agent::{Habits, PhoneAnswer, PhoneConfig};
use setu_twin::shell::{PhoneOptions, spawn_phone};
use setu_twin::webhook::WebhookSender;

use crate::calls::{AGENT_HZ, TALK_MS, heard, recording_holds_both_sides, trunk};
use crate::house::{CUSTOMER, CUSTOMER_HZ, House, Ports};
use crate::peers::{Asterisk, AsteriskSpec, until};
use crate::ports::port;

const HOST: &str = "agent-bridge.example.in";

/// The body that a provider documents, to the letter.
const EXAMPLE: &str = r#"{"object":"whatsapp_business_calling","entry":[{"id":"PHONE_NUMBER_ID","changes":[{"field":"calls","value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"+9199999XXXXX"},"calls":[{"id":"CALL_ID","from":"+919876543210","timestamp":"1714719300","type":"audio","sip":"sip:agent-bridge.example.in;transport=tls","permission_source":"template_button"}]}}]}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_payload_bridges_the_customer_at_the_uri_with_asterisk() {
    let (ports, at) = (Ports::pick(), port());
    let asterisk = Asterisk::start(&AsteriskSpec::new(format!("sip:127.0.0.1:{}", ports.udp), AGENT_HZ));
    let rest = format!(
        "{}[webhooks]\nbind = \"127.0.0.1:{at}\"\napp_secrets = [\"an-app-secret\"]\nverify_token = \"a-token\"\n\
         sip_hosts = [\"{HOST}\"]\n",
        trunk(asterisk.port).replace("password =", "phone_number_id = \"PHONE_NUMBER_ID\"\npassword ="),
    );
    let mut house = House::new(ports, &rest);
    let edge = PhoneConfig::provider_edge(HOST);
    let habits = Habits {
        answer: PhoneAnswer::AfterMs(50),
        person: Person::saying(CUSTOMER_HZ).hanging_up_after(TALK_MS),
        ..edge.habits
    };
    let config = PhoneConfig { sip_port: 0, media_ports: vec![0; 2], habits, ..edge };
    let identity = Some(house.authority.issue(&[HOST]).unwrap());
    let edge = spawn_phone(PhoneOptions { identity, ..PhoneOptions::new(config) }).await.unwrap();
    let pins = format!("[resolve.static]\n\"{HOST}\" = [\"127.0.0.1:{}\"]\n", edge.config().sip_port);
    house.config = house.config.replace("[resolve.static]\n", &pins);
    let _bridge = house.serve();

    let sender = WebhookSender { to: ([127, 0, 0, 1], at).into(), secret: "an-app-secret".to_owned() };
    let (status, customer) = tokio::join!(
        sender.post("/webhooks/whatsapp/call.connect", EXAMPLE),
        edge.next_report(Duration::from_secs(40))
    );
    assert_eq!(status.unwrap(), 200);
    let hz = customer.unwrap().heard.hz;
    assert!(hz.is_some_and(|hz| (hz - f64::from(AGENT_HZ)).abs() < 8.0), "the customer heard {hz:?}");

    let cdr = house.cdrs(1).remove(0);
    assert_eq!((cdr.ingress, cdr.termination.cause), (Ingress::ProviderUri, Cause::Success), "{cdr:?}");
    assert_eq!(
        (cdr.facts.wacid.as_deref(), cdr.facts.customer.reveal().as_str()),
        (Some("CALL_ID"), CUSTOMER)
    );
    recording_holds_both_sides(&cdr);
    let log = asterisk.log();
    assert!(log.contains("wacid=CALL_ID"), "no X-Setu-Wacid in Asterisk's log:\n{log}");
    until("asterisk has hung up", Duration::from_secs(5), || asterisk.channels() == 0);
    heard(&asterisk.heard(), CUSTOMER_HZ);
}

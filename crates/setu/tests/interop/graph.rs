//! A number that Graph signals, and Asterisk as its agent.

use std::time::Duration;

use setu_model::{Cause, Ingress};
use setu_twin::Person;
use setu_twin::graph::{GraphCallSpec, GraphConfig, GraphNumber};
use setu_twin::shell::{GraphOptions, spawn_graph};

use crate::calls::{AGENT_HZ, TALK_MS, heard, recording_holds_both_sides, trunk};
use crate::house::{CUSTOMER, CUSTOMER_HZ, House, NUMBER, NUMBER_PASSWORD, Ports};
use crate::peers::{Asterisk, AsteriskSpec, until};
use crate::ports::port;

#[tokio::test(flavor = "multi_thread")]
async fn asterisk_takes_a_users_call_that_graph_signals() {
    let (ports, at) = (Ports::pick(), port());
    let asterisk = Asterisk::start(&AsteriskSpec::new(format!("sip:127.0.0.1:{}", ports.udp), AGENT_HZ));
    let by_graph = "phone_number_id = \"106\"\nsignalling = \"graph\"\ntoken = \"a-token\"\n";
    let rest = format!(
        "{}[webhooks]\nbind = \"127.0.0.1:{at}\"\napp_secrets = [\"an-app-secret\"]\nverify_token = \"a-token\"\n\
         [graph]\nextra_roots = \"ca.pem\"\n",
        trunk(asterisk.port).replace(&format!("password = \"{NUMBER_PASSWORD}\"\n"), by_graph),
    );
    let mut house = House::new(ports, &rest);
    let config = GraphConfig {
        https_port: 0,
        media_ports: vec![0; 2],
        numbers: vec![GraphNumber {
            number: NUMBER.to_owned(),
            id: "106".to_owned(),
            token: "a-token".to_owned(),
        }],
        webhooks: ([127, 0, 0, 1], at).into(),
        secret: "an-app-secret".to_owned(),
        ..GraphConfig::default()
    };
    let identity = house.authority.issue(&[&config.host]).unwrap();
    let graph = spawn_graph(GraphOptions { config, identity }).await.unwrap();
    let https = graph.config().https_port;
    let pins = format!("[resolve.static]\n\"graph.facebook.com\" = [\"127.0.0.1:{https}\"]\n");
    house.config = house.config.replace("[resolve.static]\n", &pins);
    let _bridge = house.serve();

    let person = Person::saying(CUSTOMER_HZ).hanging_up_after(TALK_MS);
    let call = graph.call(GraphCallSpec::new(CUSTOMER, NUMBER).by(person), Duration::from_secs(40));
    let user = call.await.unwrap();
    assert_eq!((user.violations.len(), user.actions()), (0, vec!["pre_accept", "accept"]), "{user:?}");
    let hz = user.heard.hz;
    assert!(hz.is_some_and(|hz| (hz - f64::from(AGENT_HZ)).abs() < 8.0), "the customer heard {hz:?}");

    let cdr = house.cdrs(1).remove(0);
    assert_eq!((cdr.ingress, cdr.termination.cause), (Ingress::Graph, Cause::Success), "{cdr:?}");
    recording_holds_both_sides(&cdr);
    let log = asterisk.log();
    assert!(log.contains("wacid=wacid."), "no X-Setu-Wacid in Asterisk's log:\n{log}");
    until("asterisk has hung up", Duration::from_secs(5), || asterisk.channels() == 0);
    heard(&asterisk.heard(), CUSTOMER_HZ);
    let taken = house.metric("setu_graph_requests_total{action=\"accept\",outcome=\"taken\"}");
    assert!((taken - 1.0).abs() < f64::EPSILON);
}

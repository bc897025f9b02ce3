//! The registrar, and OPTIONS to trunks.

use std::time::Duration;

use setu_model::Side;

use super::peer::{Bench, arrival, config, response, text_of, trunk_invite};
use crate::endpoint::Event;
use crate::{Arrival, BindingChange, Hop, Identity, Message, Method, Target, Transport, Vanished};

fn phone() -> Arrival {
    arrival(60, Transport::Tls, Side::Agents, "203.0.113.60:40000")
}

fn register(contacts: &str, cseq: u32) -> String {
    format!(
        "REGISTER sip:agents SIP/2.0\r\n\
         Via: SIP/2.0/TLS 203.0.113.60:40000;branch=z9hG4bKr{cseq};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:alice@agents>;tag=al\r\n\
         To: <sip:alice@agents>\r\n\
         Call-ID: reg@phone\r\n\
         CSeq: {cseq} REGISTER\r\n\
         {contacts}User-Agent: a softphone with a rather long name that pads its requests\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

const HOME: &str = "Contact: <sip:alice@203.0.113.60:40000;transport=tls>\r\n";

/// Sends a REGISTER with credentials and returns its answer. Its CSeq is the next after `cseq`.
fn registered(bench: &mut Bench, from: &Arrival, contacts: &str, cseq: u32) -> Message {
    let request = register(contacts, cseq);
    bench.receive(from, &request);
    let challenge = bench.next_status(401);
    bench.events.pop_back();
    let request = bench.with_credentials(&request, &challenge, "alice", "wonder");
    bench.receive(from, &request);
    bench.next()
}

fn change(bench: &mut Bench) -> BindingChange {
    match bench.event() {
        Event::Binding(change) => change,
        other => panic!("{other:?}"),
    }
}

fn why(bench: &mut Bench) -> Vanished {
    match change(bench) {
        BindingChange::Vanished { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_phone_registers_with_its_digest_and_is_reached_on_its_connection() {
    let mut bench = Bench::new();
    let ok = registered(&mut bench, &phone(), HOME, 1);
    assert_eq!(ok.status(), Some(200));
    assert_eq!(
        ok.header("Contact").as_deref(),
        Some("<sip:alice@203.0.113.60:40000;transport=tls>;expires=300")
    );
    let BindingChange::Appeared(binding) = change(&mut bench) else { panic!() };
    assert_eq!((binding.account.as_str(), binding.q), ("alice", 1_000));
    assert!(matches!(binding.target(), Target::FlowOr(flow, _) if flow == phone().flow));
    assert_eq!(bench.endpoint.bindings("alice"), [binding]);
    assert_eq!(bench.endpoint.bindings("bob"), []);
}

#[test]
fn wrong_passwords_and_other_names_get_403() {
    let mut bench = Bench::new();
    for (user, password) in [("alice", "guess"), ("bob", "builder"), ("nobody", "x")] {
        let request = register(HOME, 1);
        bench.receive(&phone(), &request);
        let challenge = bench.next_status(401);
        let request = bench.with_credentials(&request, &challenge, user, password);
        bench.receive(&phone(), &request);
        bench.next_status(403);
    }
    assert!(bench.endpoint.bindings("alice").is_empty());
}

#[test]
fn a_binding_expires_unless_it_is_refreshed() {
    let mut bench = Bench::new();
    registered(&mut bench, &phone(), HOME, 1);
    change(&mut bench);
    bench.pass(Duration::from_secs(200));
    registered(&mut bench, &phone(), HOME, 3);
    assert!(matches!(change(&mut bench), BindingChange::Refreshed(_)));
    bench.pass(Duration::from_secs(299));
    bench.no_event();
    bench.pass(Duration::from_secs(1));
    assert_eq!(why(&mut bench), Vanished::Expired);
    assert_eq!(bench.endpoint.sizes().bindings, 0);
}

#[test]
fn a_binding_goes_with_the_connection_it_came_on() {
    let mut bench = Bench::new();
    registered(&mut bench, &phone(), HOME, 1);
    change(&mut bench);
    bench.endpoint.handle_flow_closed(phone().flow, bench.now);
    bench.drain();
    assert_eq!(why(&mut bench), Vanished::FlowClosed);
    bench.pass(Duration::from_secs(600));
    bench.no_event();
}

#[test]
fn a_binding_moves_to_the_connection_of_its_refresh() {
    let mut bench = Bench::new();
    registered(&mut bench, &phone(), HOME, 1);
    change(&mut bench);
    let mut again = phone();
    again.flow = crate::FlowId(61);
    registered(&mut bench, &again, HOME, 3);
    change(&mut bench);
    bench.endpoint.handle_flow_closed(phone().flow, bench.now);
    bench.drain();
    bench.no_event();
    assert_eq!(bench.endpoint.bindings("alice").first().unwrap().flow, again.flow);
}

#[test]
fn several_contacts_are_ordered_by_preference_and_bounded() {
    let mut bench = Bench::new();
    let two = "Contact: <sip:a@203.0.113.60:1>;q=0.2, <sip:a@203.0.113.60:2>;q=0.75\r\n";
    registered(&mut bench, &phone(), two, 1);
    let order: Vec<u16> = bench.endpoint.bindings("alice").iter().map(|binding| binding.q).collect();
    assert_eq!(order, [750, 200]);

    for n in 0..10 {
        bench.pass(Duration::from_secs(1));
        registered(&mut bench, &phone(), &format!("Contact: <sip:a@203.0.113.60:{}>\r\n", 10 + n), 3 + 2 * n);
    }
    assert_eq!(bench.endpoint.bindings("alice").len(), 8);
    let replaced = bench.events.iter().filter(|event| {
        matches!(event, Event::Binding(BindingChange::Vanished { why: Vanished::Replaced, .. }))
    });
    assert_eq!(replaced.count(), 4);
}

#[test]
fn contacts_are_removed_singly_or_all_at_once() {
    let mut bench = Bench::new();
    let two = "Contact: <sip:a@203.0.113.60:1>, <sip:a@203.0.113.60:2>\r\n";
    registered(&mut bench, &phone(), two, 1);
    bench.events.clear();
    registered(&mut bench, &phone(), "Contact: <sip:a@203.0.113.60:1>;expires=0\r\n", 3);
    assert_eq!(why(&mut bench), Vanished::Removed);
    assert_eq!(registered(&mut bench, &phone(), "Contact: *\r\n", 5).status(), Some(400));
    let ok = registered(&mut bench, &phone(), "Contact: *\r\nExpires: 0\r\n", 7);
    assert_eq!((ok.status(), ok.header("Contact")), (Some(200), None));
    assert_eq!(why(&mut bench), Vanished::Removed);
    assert!(bench.endpoint.bindings("alice").is_empty());
}

#[test]
fn a_register_without_contacts_asks_for_the_list() {
    let mut bench = Bench::new();
    registered(&mut bench, &phone(), HOME, 1);
    bench.events.clear();
    bench.pass(Duration::from_secs(10));
    let ok = registered(&mut bench, &phone(), "", 3);
    assert!(ok.header("Contact").unwrap().ends_with(";expires=290"), "{}", text_of(&ok));
    bench.no_event();
}

#[test]
fn intervals_are_bounded_below_by_423_and_above_by_the_longest() {
    let mut bench = Bench::new();
    let brief = registered(&mut bench, &phone(), &format!("{HOME}Expires: 5\r\n"), 1);
    assert_eq!((brief.status(), brief.header("Min-Expires").as_deref()), (Some(423), Some("30")));
    let long = registered(&mut bench, &phone(), &format!("{HOME}Expires: 999999\r\n"), 3);
    assert!(long.header("Contact").unwrap().ends_with(";expires=3600"));
}

#[test]
fn an_older_register_of_the_same_phone_changes_nothing() {
    let mut bench = Bench::new();
    registered(&mut bench, &phone(), HOME, 10);
    bench.events.clear();
    assert_eq!(registered(&mut bench, &phone(), &HOME.replace("40000", "40000;x=y"), 5).status(), Some(500));
    bench.no_event();
}

#[test]
fn a_phone_over_udp_is_reached_where_it_sends_from_or_where_it_says_it_listens() {
    for (via, on_flow) in
        [("203.0.113.60:5060;rport", true), ("203.0.113.60:5060", false), ("10.0.0.1:5060", true)]
    {
        let mut bench = Bench::new();
        let udp = arrival(70, Transport::Udp, Side::Agents, "203.0.113.60:5060");
        let contacts = "Contact: <sip:alice@203.0.113.60:5080>\r\n";
        let request = register(contacts, 1).replace(
            "SIP/2.0/TLS 203.0.113.60:40000;branch=z9hG4bKr1;rport",
            &format!("SIP/2.0/UDP {via};branch=z9hG4bKr1"),
        );
        bench.receive(&udp, &request);
        let challenge = bench.next_status(401);
        let request = bench.with_credentials(&request, &challenge, "alice", "wonder");
        bench.receive(&udp, &request);
        bench.next_status(200);
        let binding = bench.endpoint.bindings("alice").remove(0);
        assert_eq!(binding.on_flow, on_flow, "{via}");
        let port = if on_flow { 5060 } else { 5080 };
        assert_eq!(binding.hop.port, Some(port), "{via}");
    }
}

#[test]
fn a_phone_at_a_trunks_address_is_a_phone_on_the_connection_it_registered_on() {
    let mut bench = Bench::new();
    let near = arrival(80, Transport::Tls, Side::Agents, "198.51.100.50:4000");
    registered(&mut bench, &near, HOME, 1);
    bench.events.clear();
    let invite = trunk_invite("p").replace("SIP/2.0/UDP", "SIP/2.0/TLS");
    bench.receive(&near, &invite);
    let challenge = bench.next_status(407);
    bench.event();
    let invite = bench.with_credentials(&invite, &challenge, "alice", "wonder");
    bench.receive(&near, &invite);
    assert!(matches!(bench.event(), Event::Invited { identity: Identity::Account(_), .. }));
}

#[test]
fn accounts_that_are_taken_out_of_the_configuration_lose_their_bindings() {
    let mut bench = Bench::new();
    registered(&mut bench, &phone(), HOME, 1);
    bench.events.clear();
    let mut access = config().access;
    access.accounts.retain(|account| account.name != "alice");
    bench.endpoint.reload_access(access, bench.now);
    bench.drain();
    assert_eq!(why(&mut bench), Vanished::AccountGone);
    bench.receive(&phone(), &register(HOME, 9));
    bench.next_status(401);
}

// ---- probes

#[test]
fn a_probed_trunk_is_up_while_it_answers_options() {
    let mut config = config();
    let hop = Hop {
        side: Side::Agents,
        transport: Transport::Udp,
        host: "198.51.100.7".to_owned(),
        port: Some(5060),
    };
    config.access.trunks.first_mut().unwrap().probe = Some(hop);
    let mut bench = Bench::with(config);
    assert_eq!(bench.endpoint.trunk_up("pbx"), None);
    let options = bench.next_request(Method::Options);
    assert_eq!(options.request_uri(), Some("sip:198.51.100.7:5060"));
    bench.receive_message(&super::peer::trunk(), response(&options, 404, "x", &[], ""));
    assert!(matches!(bench.event(), Event::TrunkState { up: true, .. }));

    bench.pass(Duration::from_secs(30));
    let options = bench.next_request(Method::Options);
    bench.receive_message(&super::peer::trunk(), response(&options, 200, "x", &[], ""));
    bench.no_event();

    bench.pass(Duration::from_secs(30 + 32));
    assert!(matches!(bench.event(), Event::TrunkState { up: false, .. }));
    assert_eq!(bench.endpoint.trunk_up("pbx"), Some(false));
}

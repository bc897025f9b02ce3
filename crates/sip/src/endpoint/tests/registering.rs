//! The registrar, and OPTIONS to trunks.

use std::time::Duration;

use setu_model::Side;

use super::peer::{Bench, SDP, arrival, config, invite_request, response, text_of, trunk_invite};
use crate::digest::{Algorithm, Challenge};
use crate::endpoint::Event;
use crate::{
    Arrival, BindingChange, Hop, Identity, InviteRequest, Message, Method, Probe, Target, Transport,
    TrunkAccess, Vanished,
};

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

/// RFC 7118 section 7: a browser's Contact names no host there is.
#[test]
fn a_browser_is_called_and_hung_up_on_over_the_websocket_it_registered_on() {
    let contact = "<sip:kq1v8e2r@df7jal23ls0d.invalid;transport=ws>";
    for transport in [Transport::Wss, Transport::Ws] {
        let mut bench = Bench::new();
        let browser = arrival(61, transport, Side::Agents, "203.0.113.61:51000");
        registered(&mut bench, &browser, &format!("Contact: {contact}\r\n"), 1);
        let BindingChange::Appeared(binding) = change(&mut bench) else { panic!() };
        let request = InviteRequest {
            target: binding.target(),
            request_uri: binding.contact.clone(),
            ..invite_request()
        };
        let session = bench.endpoint.invite(request, bench.now).unwrap();
        bench.drain();
        let on_its_socket =
            |target: &Target| matches!(target, Target::FlowOr(flow, _) if *flow == browser.flow);
        let transmit = bench.next_transmit();
        assert!(on_its_socket(&transmit.target), "{:?}", transmit.target);
        let invite = transmit.message;
        assert!(
            text_of(&invite).starts_with("INVITE sip:kq1v8e2r@df7jal23ls0d.invalid;transport=ws SIP/2.0")
        );
        let via = invite.header("Via").unwrap().into_owned();
        assert!(via.starts_with(&format!("SIP/2.0/{transport} ")), "{via}");
        assert!(invite.header("Contact").unwrap().contains(";transport=ws>"));
        bench.receive_message(&browser, response(&invite, 200, "b", &[("Contact", contact)], SDP));
        let ack = bench.next_transmit();
        assert!(
            text_of(&ack.message).starts_with("ACK sip:kq1v8e2r@df7jal23ls0d.invalid;transport=ws SIP/2.0")
        );
        assert!(on_its_socket(&ack.target), "{:?}", ack.target);
        bench.endpoint.hang_up(session, &[], bench.now).unwrap();
        bench.drain();
        let bye = bench.next_transmit();
        assert!(text_of(&bye.message).starts_with("BYE ") && on_its_socket(&bye.target), "{:?}", bye.target);
    }
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

/// What phones register with, at their shortest: a twin, Asterisk and one that says nothing but what it must.
const ORDINARY: [&str; 2] = [
    "REGISTER sip:pbx.example.com SIP/2.0\r\n\
     Via: SIP/2.0/UDP 203.0.113.60:5070;rport;branch=z9hG4bK-twin-0123456789abcdef\r\nMax-Forwards: 70\r\n\
     From: <sip:alice@pbx.example.com>;tag=0123456789ab\r\nTo: <sip:alice@pbx.example.com>\r\n\
     Call-ID: 0123456789abcdef@twin\r\nCSeq: 1 REGISTER\r\n\
     Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO, REFER, NOTIFY\r\n\
     Contact: <sip:alice@203.0.113.60:5070>\r\nExpires: 300\r\nUser-Agent: Setu agent twin\r\nContent-Length: 0\r\n\r\n",
    "REGISTER sip:192.0.2.1:5060 SIP/2.0\r\n\
     Via: SIP/2.0/UDP 203.0.113.60:5060;rport;branch=z9hG4bKPj11111111-2222-3333-4444-555555555555\r\n\
     From: <sip:alice@192.0.2.1>;tag=66666666-7777-8888-9999-000000000000\r\nTo: <sip:alice@192.0.2.1>\r\n\
     Call-ID: aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee\r\nCSeq: 1 REGISTER\r\n\
     Contact: <sip:s@203.0.113.60:5060>\r\nExpires: 3600\r\n\
     Allow: OPTIONS, REGISTER, NOTIFY, INVITE, ACK, BYE, CANCEL, UPDATE, PRACK, INFO, MESSAGE, REFER\r\n\
     Max-Forwards: 70\r\nUser-Agent: Asterisk PBX 20\r\nContent-Length: 0\r\n\r\n",
];

/// The challenge as a phone sees it that knows one algorithm only.
fn only(refusal: &Message, algorithm: Algorithm) -> Message {
    let kept: Vec<String> = Challenge::of(refusal)
        .iter()
        .filter(|challenge| challenge.algorithm == algorithm)
        .map(ToString::to_string)
        .collect();
    assert_eq!(kept.len(), 1, "no challenge for {algorithm}:\n{}", text_of(refusal));
    let plain = refusal.to_builder().without("WWW-Authenticate");
    kept.iter().fold(plain, |reply, challenge| reply.header("WWW-Authenticate", challenge)).build().unwrap()
}

#[test]
fn an_ordinary_register_is_challenged_for_every_algorithm_whatever_it_travels_by() {
    for (transport, word) in [(Transport::Udp, "UDP"), (Transport::Tcp, "TCP"), (Transport::Tls, "TLS")] {
        for (algorithm, text) in [Algorithm::Md5, Algorithm::Sha256]
            .into_iter()
            .flat_map(|algorithm| ORDINARY.map(|text| (algorithm, text)))
        {
            let mut bench = Bench::new();
            let phone = arrival(60, transport, Side::Agents, "203.0.113.60:5070");
            let text = text.replace("SIP/2.0/UDP", &format!("SIP/2.0/{word}"));
            bench.receive(&phone, &text);
            let refusal = bench.next_status(401);
            assert!(transport.is_reliable() || refusal.as_bytes().len() <= text.len());
            let text = bench.with_credentials(&text, &only(&refusal, algorithm), "alice", "wonder");
            bench.receive(&phone, &text);
            bench.next_status(200);
            assert_eq!(bench.endpoint.bindings("alice").len(), 1);
        }
    }
}

#[test]
fn one_algorithm_that_is_configured_is_the_one_that_is_asked_for() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        let mut config = config();
        config.agents.digest = vec![algorithm];
        let udp = arrival(70, Transport::Udp, Side::Agents, "203.0.113.60:5070");
        // However short it is: a challenge that can be answered, or silence.
        let [text, _] = ORDINARY;
        let (head, rest) = text.split_once("Allow: ").unwrap();
        let (allow, tail) = rest.split_once("\r\n").unwrap();
        for kept in 0..=allow.len() {
            let mut bench = Bench::with(config.clone());
            bench.receive(&udp, &format!("{head}X: {}\r\n{tail}", &allow[..kept]));
            let asked = bench.sent.pop_front().map(|sent| Challenge::of(&sent.message));
            let asked = asked.map(|asked| asked.iter().map(|c| c.algorithm).collect::<Vec<_>>());
            assert!(asked == Some(vec![algorithm]) || (asked.is_none() && kept < allow.len()), "{asked:?}");
        }
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
fn each_trunk_is_asked_as_often_as_its_own_setting_says() {
    let mut config = config();
    // Over a stream nothing is sent twice.
    let hop = Hop {
        side: Side::Agents,
        transport: Transport::Tcp,
        host: "198.51.100.7".to_owned(),
        port: Some(5060),
    };
    let probe = |every| Some(Probe { hop: hop.clone(), every: Duration::from_secs(every) });
    let first = config.access.trunks.first_mut().unwrap();
    first.probe = probe(10);
    let second = TrunkAccess { name: "other".to_owned(), probe: probe(25), ..first.clone() };
    config.access.trunks.push(second);
    let mut bench = Bench::with(config);
    assert_eq!(bench.sent.len(), 2, "both at once");
    for (s, expected) in [(9, 0), (1, 1), (10, 1), (5, 1), (5, 1), (10, 1), (10, 2)] {
        bench.sent.clear();
        bench.pass(Duration::from_secs(s));
        assert_eq!(bench.sent.len(), expected, "after {s} s more");
    }
}

#[test]
fn a_probed_trunk_is_up_while_it_answers_options() {
    let mut config = config();
    let hop = Hop {
        side: Side::Agents,
        transport: Transport::Udp,
        host: "198.51.100.7".to_owned(),
        port: Some(5060),
    };
    config.access.trunks.first_mut().unwrap().probe = Some(Probe { hop, every: Duration::from_secs(30) });
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

/// RFC 3261 section 19.1.4: neither the case of a host nor an unknown parameter makes another contact.
#[test]
fn a_contact_keeps_its_name_however_it_is_written_and_another_never_gets_it() {
    let mut bench = Bench::new();
    let mut id = None;
    for (n, contact) in ["sip:alice@Phone.example.com", "sip:alice@phone.example.com;ob"].iter().enumerate() {
        registered(&mut bench, &phone(), &format!("Contact: <{contact}>\r\n"), 10 * n as u32 + 1);
        let (BindingChange::Appeared(binding) | BindingChange::Refreshed(binding)) = change(&mut bench)
        else {
            panic!()
        };
        assert_eq!(binding.contact, *contact);
        assert_eq!(*id.get_or_insert(binding.id), binding.id);
    }
    registered(&mut bench, &phone(), "Contact: <sip:alice@PHONE.example.com>;expires=0\r\n", 30);
    let BindingChange::Vanished { binding, .. } = change(&mut bench) else { panic!() };
    assert_eq!(Some(binding.id), id);
    registered(&mut bench, &phone(), "Contact: <sip:alice@phone.example.com>\r\n", 40);
    let BindingChange::Appeared(binding) = change(&mut bench) else { panic!() };
    assert_ne!(Some(binding.id), id);
}

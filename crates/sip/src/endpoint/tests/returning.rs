//! Datagrams that the network could not deliver (RFC 3261 section 18.4).

use std::time::Duration;

use super::peer::{Bench, CONTACT, response, trunk};
use crate::endpoint::Event;
use crate::{Message, Method};

/// As much as most systems quote: 576 bytes of datagram with its headers (RFC 1812 section 4.3.2.3).
fn quote(message: &Message) -> &[u8] {
    message.as_bytes().get(..548).unwrap_or(message.as_bytes())
}

impl Bench {
    fn returned(&mut self, quote: &[u8]) {
        self.endpoint.handle_returned(quote, self.now);
        self.drain();
    }
}

#[test]
fn a_call_that_nobody_could_be_asked_for_is_refused_at_once() {
    let mut bench = Bench::new();
    let (_, invite) = bench.outgoing();
    bench.returned(quote(&invite));
    assert!(matches!(bench.event(), Event::Refused { status: 503, message: None, .. }));
    assert_eq!(bench.endpoint.counters().returned, 1);
    bench.returned(quote(&invite));
    bench.no_event();
    bench.pass(Duration::from_secs(70));
    assert!(bench.endpoint.is_idle(), "{:?}", bench.endpoint);
}

/// Whoever is not on the way can forge an error, but does not know the branch.
#[test]
fn what_does_not_repeat_the_branch_of_a_request_changes_nothing() {
    let mut bench = Bench::new();
    let (_, invite) = bench.outgoing();
    let text = String::from_utf8(invite.as_bytes().to_vec()).unwrap();
    let branch = invite.top_via().unwrap().branch().unwrap().to_owned();
    for forged in [
        text.replace(&branch, "z9hG4bK00000000000000000000000000000000"),
        text.replace("INVITE", "BYE"),
        text.replace("INVITE", "ACK"),
        text.replacen("Via:", "X-Via:", 1),
        format!("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch={branch}\r\n"),
        "\r\n\r\n\0".to_owned(),
    ] {
        bench.returned(forged.as_bytes());
    }
    let seen = text.find(&branch).unwrap() + branch.len();
    for length in 0..seen {
        bench.returned(&text.as_bytes()[..length]);
    }
    bench.no_event();
    bench.returned(&text.as_bytes()[..seen]);
    assert!(matches!(bench.event(), Event::Refused { status: 503, .. }));
}

#[test]
fn a_peer_that_has_answered_has_the_request() {
    for status in [100, 180] {
        let mut bench = Bench::new();
        let (_, invite) = bench.outgoing();
        bench.receive_message(&trunk(), response(&invite, status, "b", &[CONTACT], ""));
        bench.events.clear();
        bench.returned(quote(&invite));
        bench.no_event();
        assert_eq!(bench.endpoint.counters().returned, 0);
    }
}

/// Requests within a dialog follow a flow, of which the core knows no address.
#[test]
fn a_bye_that_nobody_takes_ends_at_once() {
    let mut bench = Bench::new();
    let (session, _) = bench.answered();
    bench.endpoint.hang_up(session, &[], bench.now).unwrap();
    bench.drain();
    let bye = bench.next_request(Method::Bye);
    bench.returned(quote(&bye));
    assert!(matches!(bench.event(), Event::Ended { .. }));
}

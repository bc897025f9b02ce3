//! The next address of a hop (RFC 3263 section 4.3): the transports choose it, the endpoint says which not to.

use std::net::SocketAddr;
use std::time::Duration;

use setu_model::Side;

use super::peer::{Bench, CONTACT, SDP, arrival, config, invite_request, response};
use crate::endpoint::{Event, InviteRequest, SessionId};
use crate::{Arrival, Hop, Message, Method, Probe, SendToken, Target, Transmit, Transport};

const TIMER_B: Duration = Duration::from_secs(32);

fn pbx(transport: Transport) -> Hop {
    Hop { side: Side::Agents, transport, host: "pbx.example.com".to_owned(), port: None }
}

fn to_pbx(transport: Transport) -> InviteRequest {
    InviteRequest { target: Target::Hop(pbx(transport)), ..invite_request() }
}

/// The `nth` address of the PBX, counted from 1, and the flow to it.
fn server(nth: u8, transport: Transport) -> Arrival {
    arrival(100 + u64::from(nth), transport, Side::Agents, &format!("198.51.100.{nth}:5060"))
}

fn addresses(of: std::ops::RangeInclusive<u8>) -> Vec<SocketAddr> {
    of.map(|nth| server(nth, Transport::Udp).remote).collect()
}

fn branch(message: &Message) -> String {
    message.top_via().unwrap().branch().unwrap().to_owned()
}

impl Bench {
    fn call_pbx(&mut self, transport: Transport) -> (SessionId, Transmit) {
        let session = self.endpoint.invite(to_pbx(transport), self.now).unwrap();
        self.drain();
        (session, self.bound_to(1, transport))
    }

    /// The next message sent, which the transports bind to the `nth` address: none before it may be tried.
    fn bound_to(&mut self, nth: u8, transport: Transport) -> Transmit {
        let transmit = self.next_transmit();
        assert_eq!(transmit.target, Target::Hop(pbx(transport)));
        assert_eq!(transmit.avoid, addresses(1..=nth - 1));
        let to = server(nth, transport);
        self.endpoint.handle_bound(transmit.token, to.flow, to.remote, self.now);
        self.drain();
        transmit
    }

    fn send_failed(&mut self, token: SendToken) {
        self.endpoint.handle_send_failed(token, self.now);
        self.drain();
    }

    fn flow_closed(&mut self, of: &Arrival) {
        self.endpoint.handle_flow_closed(of.flow, self.now);
        self.drain();
    }

    /// The `from`th address answers.
    fn says(&mut self, from: u8, transport: Transport, to: &Message, status: u16) {
        self.receive_message(&server(from, transport), response(to, status, "b", &[CONTACT], ""));
    }

    fn refused(&mut self) -> (u16, bool) {
        match self.event() {
            Event::Refused { status, message, .. } => (status, message.is_some()),
            other => panic!("{other:?}"),
        }
    }

    fn comes_to_rest(&mut self) {
        self.pass(Duration::from_secs(70));
        assert!(self.endpoint.is_idle(), "{:?}", self.endpoint);
    }
}

#[test]
fn an_address_that_is_silent_gives_way_to_the_next_under_a_new_branch() {
    let mut bench = Bench::new();
    let (_, first) = bench.call_pbx(Transport::Udp);
    bench.pass(TIMER_B - Duration::from_millis(1));
    assert!(bench.sent.iter().all(|again| branch(&again.message) == branch(&first.message)));
    bench.sent.clear();
    bench.pass(Duration::from_millis(1));
    bench.no_event();

    let second = bench.bound_to(2, Transport::Udp);
    assert_ne!(branch(&second.message), branch(&first.message));
    assert_ne!(second.token, first.token);
    for same in ["From", "To", "Call-ID", "CSeq", "Contact"] {
        assert_eq!(second.message.header(same), first.message.header(same), "{same}");
    }
    assert_eq!(second.message.body(), first.message.body());

    // It is retransmitted toward the address that it went to.
    bench.pass(Duration::from_millis(500));
    let again = bench.next_transmit();
    let flow = server(2, Transport::Udp).flow;
    assert_eq!((again.token, again.target), (second.token, Target::FlowOr(flow, pbx(Transport::Udp))));

    // The first address wakes up: nobody waits for it any more.
    bench.says(1, Transport::Udp, &first.message, 180);
    bench.no_event();
    assert_eq!(bench.endpoint.counters().stray_responses, 1);

    bench.receive_message(&server(2, Transport::Udp), response(&second.message, 200, "b", &[CONTACT], SDP));
    bench.next_request(Method::Ack);
    assert!(matches!(bench.event(), Event::Answered { .. }));
    assert_eq!(bench.endpoint.counters().failed_over, 1);
}

#[test]
fn an_address_that_cannot_be_sent_to_gives_way_to_the_next_at_once() {
    let mut bench = Bench::new();
    let (_, first) = bench.call_pbx(Transport::Udp);
    bench.send_failed(first.token);
    let second = bench.bound_to(2, Transport::Udp);
    bench.no_event();

    // What is told of the first attempt is not taken for the second.
    bench.send_failed(first.token);
    bench.endpoint.handle_bound(first.token, server(9, Transport::Udp).flow, addresses(9..=9)[0], bench.now);
    bench.silence();
    bench.says(2, Transport::Udp, &second.message, 486);
    bench.next_request(Method::Ack);
    assert_eq!(bench.refused(), (486, true));
    bench.comes_to_rest();
}

#[test]
fn a_connection_that_closes_before_any_answer_gives_way_to_the_next_address() {
    for transport in [Transport::Tcp, Transport::Tls] {
        let mut bench = Bench::new();
        bench.call_pbx(transport);
        bench.flow_closed(&server(1, transport));
        let second = bench.bound_to(2, transport);
        bench.flow_closed(&server(1, transport));
        bench.silence();
        bench.says(2, transport, &second.message, 100);
        bench.flow_closed(&server(2, transport));
        bench.silence();
        bench.no_event();
    }
}

#[test]
fn a_server_that_says_503_is_acknowledged_on_every_repeat_while_the_next_one_is_asked() {
    let mut bench = Bench::new();
    let (_, first) = bench.call_pbx(Transport::Udp);
    bench.says(1, Transport::Udp, &first.message, 100);
    bench.says(1, Transport::Udp, &first.message, 503);
    let ack = bench.next_transmit();
    assert_eq!(ack.message.method(), Some(Method::Ack));
    assert_eq!(branch(&ack.message), branch(&first.message));
    assert!(matches!(ack.target, Target::FlowOr(flow, _) if flow == server(1, Transport::Udp).flow));
    let second = bench.bound_to(2, Transport::Udp);
    bench.no_event();

    bench.says(1, Transport::Udp, &first.message, 503);
    assert_eq!(branch(&bench.next_request(Method::Ack)), branch(&first.message));
    bench.silence();

    bench.says(2, Transport::Udp, &second.message, 180);
    assert!(matches!(bench.event(), Event::Progress { status: 180, .. }));
    bench.pass(Duration::from_secs(31));
    bench.says(1, Transport::Udp, &first.message, 503);
    bench.next_request(Method::Ack);
    bench.says(2, Transport::Udp, &second.message, 486);
    bench.next_request(Method::Ack);
    assert_eq!(bench.refused(), (486, true));
    bench.comes_to_rest();
}

#[test]
fn a_503_over_a_stream_is_acknowledged_there_and_the_next_server_asked() {
    let mut bench = Bench::new();
    let (_, first) = bench.call_pbx(Transport::Tls);
    bench.says(1, Transport::Tls, &first.message, 503);
    let ack = bench.next_transmit();
    assert_eq!((ack.message.method(), branch(&ack.message)), (Some(Method::Ack), branch(&first.message)));
    let second = bench.bound_to(2, Transport::Tls);
    bench.says(2, Transport::Tls, &second.message, 603);
    bench.next_request(Method::Ack);
    assert_eq!(bench.refused(), (603, true));
    bench.comes_to_rest();
}

#[test]
fn a_server_that_rang_or_refused_otherwise_is_not_left() {
    for statuses in [&[180, 503][..], &[500], &[480], &[408]] {
        let mut bench = Bench::new();
        let (_, first) = bench.call_pbx(Transport::Udp);
        for status in statuses {
            bench.says(1, Transport::Udp, &first.message, *status);
        }
        bench.next_request(Method::Ack);
        bench.silence();
        bench.events.retain(|event| !matches!(event, Event::Progress { .. }));
        assert_eq!(bench.refused(), (*statuses.last().unwrap(), true));
    }
}

#[test]
fn a_503_from_elsewhere_does_not_move_the_request() {
    let mut bench = Bench::new();
    let (_, first) = bench.call_pbx(Transport::Udp);
    bench.says(66, Transport::Udp, &first.message, 503);
    bench.next_request(Method::Ack);
    bench.silence();
    assert_eq!(bench.refused(), (503, true));
}

/// How an attempt fails.
type Way = fn(&mut Bench, &Transmit);

#[test]
fn without_an_address_left_the_first_failure_is_told() {
    // The first address was silent, or could not be sent to, or said 503; of the second, the transports say nothing.
    let silent = |bench: &mut Bench, _: &Transmit| bench.pass(TIMER_B);
    let unsent = |bench: &mut Bench, first: &Transmit| bench.send_failed(first.token);
    let full = |bench: &mut Bench, first: &Transmit| bench.says(1, Transport::Udp, &first.message, 503);
    let ways: [(Way, _); 3] = [(silent, (408, false)), (unsent, (503, false)), (full, (503, true))];
    for (way, told) in ways {
        let mut bench = Bench::new();
        let (_, first) = bench.call_pbx(Transport::Udp);
        way(&mut bench, &first);
        bench.no_event();
        let none_left = bench.sent.pop_back().unwrap();
        assert_eq!(none_left.avoid, addresses(1..=1));
        bench.send_failed(none_left.token);
        assert_eq!(bench.refused(), told);
        bench.comes_to_rest();
    }
}

#[test]
fn a_hop_that_no_address_of_serves_is_told_at_once() {
    let mut bench = Bench::new();
    bench.endpoint.invite(to_pbx(Transport::Tls), bench.now).unwrap();
    bench.drain();
    let only = bench.next_transmit();
    bench.send_failed(only.token);
    bench.silence();
    assert_eq!(bench.refused(), (503, false));
}

#[test]
fn a_request_is_sent_to_eight_addresses_at_most() {
    let mut bench = Bench::new();
    let (_, mut last) = bench.call_pbx(Transport::Udp);
    for nth in 2..=8 {
        bench.send_failed(last.token);
        last = bench.bound_to(nth, Transport::Udp);
    }
    bench.send_failed(last.token);
    bench.silence();
    assert_eq!(bench.refused(), (503, false));
    assert_eq!(bench.endpoint.counters().failed_over, 7);
}

#[test]
fn a_call_that_is_given_up_goes_nowhere_else() {
    let mut bench = Bench::new();
    let (session, first) = bench.call_pbx(Transport::Udp);
    bench.endpoint.hang_up(session, &[], bench.now).unwrap();
    bench.pass(TIMER_B);
    assert!(bench.sent.iter().all(|again| branch(&again.message) == branch(&first.message)));
    assert_eq!(bench.refused(), (408, false));
    assert_eq!(bench.endpoint.counters().failed_over, 0);
}

#[test]
fn a_cancelled_call_that_is_refused_with_503_goes_nowhere_else() {
    let mut bench = Bench::new();
    let (session, first) = bench.call_pbx(Transport::Udp);
    bench.says(1, Transport::Udp, &first.message, 100);
    bench.endpoint.hang_up(session, &[], bench.now).unwrap();
    bench.drain();
    bench.next_request(Method::Cancel);
    bench.says(1, Transport::Udp, &first.message, 503);
    bench.next_request(Method::Ack);
    bench.silence();
    assert_eq!(bench.refused(), (503, true));
}

/// The first server's 100 says nothing of the second: CANCEL would overtake the INVITE (RFC 3261 section 9.1).
#[test]
fn cancel_waits_for_a_provisional_response_of_the_server_that_has_the_invite() {
    let mut bench = Bench::new();
    let (session, first) = bench.call_pbx(Transport::Udp);
    bench.says(1, Transport::Udp, &first.message, 100);
    bench.says(1, Transport::Udp, &first.message, 503);
    bench.next_request(Method::Ack);
    let second = bench.bound_to(2, Transport::Udp);
    bench.endpoint.hang_up(session, &[], bench.now).unwrap();
    bench.drain();
    bench.silence();
    bench.says(2, Transport::Udp, &second.message, 100);
    let cancel = bench.next_transmit();
    assert_eq!(cancel.message.method(), Some(Method::Cancel));
    assert_eq!(branch(&cancel.message), branch(&second.message));
    assert!(matches!(cancel.target, Target::FlowOr(flow, _) if flow == server(2, Transport::Udp).flow));
    bench.says(2, Transport::Udp, &second.message, 487);
    bench.next_request(Method::Ack);
    assert_eq!(bench.refused(), (487, true));
}

#[test]
fn an_address_written_as_such_has_no_other() {
    let mut bench = Bench::new();
    let (_, invite) = bench.outgoing();
    bench.receive_message(&super::peer::trunk(), response(&invite, 503, "b", &[], ""));
    bench.next_request(Method::Ack);
    bench.silence();
    assert_eq!(bench.refused(), (503, true));
}

#[test]
fn a_trunk_is_up_while_any_of_its_addresses_answers_the_probe() {
    let mut config = config();
    config.access.trunks[0].probe = Some(Probe { hop: pbx(Transport::Udp), every: Duration::from_secs(30) });
    let mut bench = Bench::with(config);
    let first = bench.bound_to(1, Transport::Udp);
    assert_eq!(first.message.method(), Some(Method::Options));
    bench.says(1, Transport::Udp, &first.message, 503);
    bench.no_event();
    let second = bench.bound_to(2, Transport::Udp);
    bench.says(1, Transport::Udp, &first.message, 503);
    bench.silence();
    bench.says(2, Transport::Udp, &second.message, 200);
    assert!(matches!(bench.event(), Event::TrunkState { up: true, .. }));
}

/// While the transports try one address after the other within one attempt, the last one they name counts.
#[test]
fn a_request_is_sent_again_to_the_address_it_was_bound_to_last() {
    let mut bench = Bench::new();
    let (_, first) = bench.call_pbx(Transport::Udp);
    let other = server(2, Transport::Udp);
    bench.endpoint.handle_bound(first.token, other.flow, other.remote, bench.now);
    bench.pass(Duration::from_millis(500));
    assert_eq!(bench.next_transmit().target, Target::FlowOr(other.flow, pbx(Transport::Udp)));
    bench.pass(TIMER_B);
    assert_eq!(bench.sent.pop_back().unwrap().avoid, vec![other.remote]);
}

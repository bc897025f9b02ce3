//! The figures of RFC 3261 section 17 with RFC 6026, state by state, in virtual time.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::key::ServerKey;
use super::*;
use crate::timers::{Timer, Timers};

const TIMERS: Timers = Timers::RFC_3261;
const RINGING: Duration = Duration::from_secs(200);

#[expect(clippy::disallowed_methods, reason = "a test owns its clock")]
fn start() -> Instant {
    Instant::now()
}

fn request(method: &str) -> Message {
    let text = format!(
        "{method} sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
         Max-Forwards: 70\r\nRoute: <sip:proxy.example.com;lr>\r\nFrom: <sip:a@example.com>;tag=a\r\n\
         To: <sip:b@example.com>\r\nCall-ID: c\r\nCSeq: 7 {method}\r\nContent-Length: 0\r\n\r\n"
    );
    Message::parse(Bytes::from(text)).unwrap()
}

fn response(method: &str, status: u16) -> Message {
    Message::reply(&request(method), status, None, Some("b")).build().unwrap()
}

/// What a machine did, in short.
fn short(action: &Action) -> String {
    let name = |message: &Message| match message.status() {
        Some(status) => status.to_string(),
        None => message.method().unwrap().to_string(),
    };
    match action {
        Action::Transmit(message) => format!("send {}", name(message)),
        Action::Retransmit(message) => format!("again {}", name(message)),
        Action::Response(message) => format!("up {}", name(message)),
        Action::Overdue => "overdue".to_owned(),
        Action::TimedOut => "timed out".to_owned(),
        Action::Failed => "failed".to_owned(),
    }
}

macro_rules! drive {
    ($drained:ident, $run:ident, $machine:ty) => {
        /// What the machine has to say at this moment.
        fn $drained(machine: &mut $machine) -> Vec<String> {
            std::iter::from_fn(|| machine.poll_output()).map(|action| short(&action)).collect()
        }

        /// Fires timers until the machine terminates or has none: what it did, and when, in milliseconds.
        fn $run(machine: &mut $machine, from: Instant) -> Vec<(u128, String)> {
            let mut done = Vec::new();
            while let Some((at, _)) = machine.poll_timeout() {
                machine.handle_timeout(at);
                done.extend($drained(machine).into_iter().map(|what| ((at - from).as_millis(), what)));
                if machine.is_terminated() {
                    done.push(((at - from).as_millis(), "terminated".to_owned()));
                }
            }
            done
        }
    };
}

drive!(said_ci, run_ci, ClientInvite);
drive!(said_cr, run_cr, ClientRequest);
drive!(said_si, run_si, ServerInvite);
drive!(said_sr, run_sr, ServerRequest);

fn at(list: &[(u128, &str)]) -> Vec<(u128, String)> {
    list.iter().map(|(ms, what)| (*ms, (*what).to_owned())).collect()
}

// ---- Figure 5: INVITE client

fn client_invite(reliable: bool, now: Instant) -> ClientInvite {
    let mut tx = ClientInvite::new(request("INVITE"), TIMERS, RINGING, reliable, now);
    assert_eq!(said_ci(&mut tx), ["send INVITE"]);
    tx
}

#[test]
fn unanswered_invite_is_resent_with_doubling_gaps_and_gives_up_after_64_t1() {
    let now = start();
    let mut tx = client_invite(false, now);
    assert_eq!(
        run_ci(&mut tx, now),
        at(&[
            (500, "again INVITE"),
            (1_500, "again INVITE"),
            (3_500, "again INVITE"),
            (7_500, "again INVITE"),
            (15_500, "again INVITE"),
            (31_500, "again INVITE"),
            (32_000, "timed out"),
            (32_000, "terminated"),
        ])
    );
}

#[test]
fn invite_over_a_stream_is_sent_once() {
    let now = start();
    let mut tx = client_invite(true, now);
    assert_eq!(tx.poll_timeout(), Some((now + TIMERS.transaction_timeout(), Timer::B)));
    assert_eq!(run_ci(&mut tx, now), at(&[(32_000, "timed out"), (32_000, "terminated")]));
}

#[test]
fn a_provisional_response_stops_the_resending() {
    let now = start();
    let mut tx = client_invite(false, now);
    tx.handle_response(response("INVITE", 100), now);
    assert_eq!(said_ci(&mut tx), ["up 100"]);
    assert_eq!(tx.poll_timeout(), Some((now + RINGING, Timer::C)));
    let later = now + Duration::from_secs(100);
    tx.handle_response(response("INVITE", 180), later);
    assert_eq!(tx.poll_timeout(), Some((later + RINGING, Timer::C)));
    tx.handle_response(response("INVITE", 100), later + Duration::from_secs(1));
    assert_eq!(tx.poll_timeout(), Some((later + RINGING, Timer::C)), "a 100 does not restart Timer C");
}

#[test]
fn a_called_party_that_rings_for_ever_is_overdue_then_given_up() {
    let now = start();
    let mut tx = client_invite(false, now);
    tx.handle_response(response("INVITE", 180), now);
    said_ci(&mut tx);
    assert_eq!(
        run_ci(&mut tx, now),
        at(&[(200_000, "overdue"), (232_000, "timed out"), (232_000, "terminated")])
    );
}

#[test]
fn refusal_is_acknowledged_again_on_every_retransmission() {
    let now = start();
    let mut tx = client_invite(false, now);
    tx.handle_response(response("INVITE", 486), now);
    assert_eq!(said_ci(&mut tx), ["send ACK", "up 486"]);
    tx.handle_response(response("INVITE", 486), now);
    assert_eq!(said_ci(&mut tx), ["send ACK"]);
    tx.handle_response(response("INVITE", 200), now);
    assert!(said_ci(&mut tx).is_empty(), "a 2xx after a refusal finds nothing to do");
    assert_eq!(tx.poll_timeout(), Some((now + Duration::from_secs(32), Timer::D)));
    assert_eq!(run_ci(&mut tx, now), at(&[(32_000, "terminated")]));
}

#[test]
fn timer_d_is_zero_over_a_stream() {
    let now = start();
    let mut tx = client_invite(true, now);
    tx.handle_response(response("INVITE", 486), now);
    said_ci(&mut tx);
    assert_eq!(run_ci(&mut tx, now), at(&[(0, "terminated")]));
}

#[test]
fn the_ack_of_a_refusal_has_the_invites_via_and_route_and_the_responses_to() {
    let now = start();
    let mut tx = client_invite(false, now);
    tx.handle_response(response("INVITE", 486), now);
    let Some(Action::Transmit(ack)) = tx.poll_output() else { panic!("an ACK") };
    assert_eq!(ack.method(), Some(Method::Ack));
    assert_eq!(ack.request_uri(), Some("sip:b@example.com"));
    assert_eq!(ack.top_via().unwrap().branch(), Some("z9hG4bK1"));
    assert_eq!(ack.header("Route").as_deref(), Some("<sip:proxy.example.com;lr>"));
    assert_eq!(ack.to().unwrap().tag(), Some("b"));
    assert_eq!(ack.cseq().unwrap().to_string(), "7 ACK");
}

#[test]
fn every_2xx_goes_up_while_accepted_and_nothing_after_timer_m() {
    let now = start();
    let mut tx = client_invite(false, now);
    tx.handle_response(response("INVITE", 200), now);
    tx.handle_response(response("INVITE", 200), now + Duration::from_secs(31));
    tx.handle_response(response("INVITE", 486), now + Duration::from_secs(31));
    assert_eq!(said_ci(&mut tx), ["up 200", "up 200"]);
    assert_eq!(tx.poll_timeout(), Some((now + TIMERS.transaction_timeout(), Timer::M)));
    assert_eq!(run_ci(&mut tx, now), at(&[(32_000, "terminated")]));
    tx.handle_response(response("INVITE", 200), now + Duration::from_secs(33));
    assert!(said_ci(&mut tx).is_empty());
}

#[test]
fn a_transport_that_fails_ends_an_invite_that_nobody_answered_only() {
    let now = start();
    let mut tx = client_invite(true, now);
    tx.handle_failed();
    assert_eq!(said_ci(&mut tx), ["failed"]);
    assert!(tx.is_terminated());

    let mut tx = client_invite(true, now);
    tx.handle_response(response("INVITE", 180), now);
    said_ci(&mut tx);
    tx.handle_failed();
    assert!(said_ci(&mut tx).is_empty() && !tx.is_terminated());
}

// ---- Figure 6: non-INVITE client

fn client_request(reliable: bool, now: Instant) -> ClientRequest {
    let mut tx = ClientRequest::new(request("OPTIONS"), TIMERS, reliable, now);
    assert_eq!(said_cr(&mut tx), ["send OPTIONS"]);
    tx
}

#[test]
fn unanswered_request_is_resent_up_to_every_t2_and_gives_up_after_64_t1() {
    let now = start();
    let mut tx = client_request(false, now);
    let mut wanted: Vec<(u128, String)> =
        [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]
            .map(|ms| (ms, "again OPTIONS".to_owned()))
            .to_vec();
    wanted.extend(at(&[(32_000, "timed out"), (32_000, "terminated")]));
    assert_eq!(run_cr(&mut tx, now), wanted);
}

#[test]
fn a_proceeding_request_is_resent_every_t2() {
    let now = start();
    let mut tx = client_request(false, now);
    tx.handle_response(response("OPTIONS", 100), now);
    tx.handle_response(response("OPTIONS", 180), now);
    assert_eq!(said_cr(&mut tx), ["up 100", "up 180"]);
    assert_eq!(tx.poll_timeout(), Some((now + TIMERS.t2, Timer::E)));
    assert_eq!(run_cr(&mut tx, now).len(), 7 + 2);
}

#[test]
fn an_answered_request_absorbs_retransmissions_for_timer_k() {
    let now = start();
    let mut tx = client_request(false, now);
    tx.handle_response(response("OPTIONS", 200), now);
    tx.handle_response(response("OPTIONS", 200), now);
    assert_eq!(said_cr(&mut tx), ["up 200"]);
    assert_eq!(tx.poll_timeout(), Some((now + TIMERS.t4, Timer::K)));
    assert_eq!(run_cr(&mut tx, now), at(&[(5_000, "terminated")]));

    let mut tx = client_request(true, now);
    tx.handle_response(response("OPTIONS", 200), now);
    said_cr(&mut tx);
    assert_eq!(run_cr(&mut tx, now), at(&[(0, "terminated")]));
}

#[test]
fn a_transport_that_fails_ends_a_request() {
    let mut tx = client_request(false, start());
    tx.handle_failed();
    assert_eq!(said_cr(&mut tx), ["failed"]);
    assert!(tx.is_terminated());
}

// ---- Figure 7: INVITE server

#[test]
fn a_repeated_invite_gets_the_last_provisional_response() {
    let now = start();
    let mut tx = ServerInvite::new(TIMERS, false);
    tx.handle_retransmission();
    assert!(said_si(&mut tx).is_empty());
    tx.respond(response("INVITE", 100), now);
    tx.respond(response("INVITE", 180), now);
    tx.handle_retransmission();
    assert_eq!(said_si(&mut tx), ["send 100", "send 180", "again 180"]);
    assert_eq!(tx.poll_timeout(), None);
}

#[test]
fn a_refusal_is_resent_until_its_ack_or_timer_h() {
    let now = start();
    let mut tx = ServerInvite::new(TIMERS, false);
    tx.respond(response("INVITE", 486), now);
    assert_eq!(said_si(&mut tx), ["send 486"]);
    assert_eq!(tx.poll_timeout(), Some((now + TIMERS.t1, Timer::G)));
    let done = run_si(&mut tx, now);
    assert_eq!(done.first(), Some(&(500, "again 486".to_owned())));
    assert_eq!(done.get(done.len() - 2..).unwrap(), at(&[(32_000, "timed out"), (32_000, "terminated")]));
}

#[test]
fn the_ack_of_a_refusal_stops_it_and_later_ones_are_absorbed_for_timer_i() {
    let now = start();
    let mut tx = ServerInvite::new(TIMERS, false);
    tx.respond(response("INVITE", 486), now);
    said_si(&mut tx);
    tx.handle_ack(now);
    tx.handle_ack(now);
    tx.handle_retransmission();
    assert!(said_si(&mut tx).is_empty());
    assert_eq!(tx.poll_timeout(), Some((now + TIMERS.t4, Timer::I)));

    let mut tx = ServerInvite::new(TIMERS, true);
    tx.respond(response("INVITE", 486), now);
    said_si(&mut tx);
    assert_eq!(tx.poll_timeout(), Some((now + TIMERS.transaction_timeout(), Timer::H)), "no G over a stream");
    tx.handle_ack(now);
    assert_eq!(run_si(&mut tx, now), at(&[(0, "terminated")]));
}

#[test]
fn an_accepted_invite_absorbs_retransmissions_and_lets_only_2xx_out() {
    let now = start();
    let mut tx = ServerInvite::new(TIMERS, false);
    tx.respond(response("INVITE", 200), now);
    tx.handle_retransmission();
    tx.handle_ack(now);
    tx.respond(response("INVITE", 487), now);
    tx.respond(response("INVITE", 200), now);
    assert_eq!(said_si(&mut tx), ["send 200", "again 200"]);
    assert_eq!(tx.poll_timeout(), Some((now + TIMERS.transaction_timeout(), Timer::L)));
    assert_eq!(run_si(&mut tx, now), at(&[(32_000, "terminated")]));
}

// ---- Figure 8: non-INVITE server

#[test]
fn a_repeated_request_gets_the_same_answer_for_timer_j() {
    let now = start();
    let mut tx = ServerRequest::new(TIMERS, false);
    tx.handle_retransmission();
    assert!(said_sr(&mut tx).is_empty());
    tx.respond(response("OPTIONS", 100), now);
    tx.handle_retransmission();
    tx.respond(response("OPTIONS", 200), now);
    tx.respond(response("OPTIONS", 500), now);
    tx.handle_retransmission();
    assert_eq!(said_sr(&mut tx), ["send 100", "again 100", "send 200", "again 200"]);
    assert_eq!(tx.poll_timeout(), Some((now + TIMERS.transaction_timeout(), Timer::J)));
    assert_eq!(run_sr(&mut tx, now), at(&[(32_000, "terminated")]));

    let mut tx = ServerRequest::new(TIMERS, true);
    tx.respond(response("OPTIONS", 200), now);
    said_sr(&mut tx);
    assert_eq!(run_sr(&mut tx, now), at(&[(0, "terminated")]));
}

// ---- matching

#[test]
fn an_ack_has_the_key_of_its_invite_and_a_cancel_names_it() {
    use setu_model::Side::{Agents, Meta};
    let invite = ServerKey::of(&request("INVITE"), Agents);
    assert!(invite.is_some());
    assert_eq!(ServerKey::of(&request("ACK"), Agents), invite);
    assert_ne!(ServerKey::of(&request("CANCEL"), Agents), invite);
    assert_eq!(ServerKey::cancelled_by(&request("CANCEL"), Agents), invite);
    assert_ne!(ServerKey::of(&request("INVITE"), Meta), invite);
}

#[test]
fn a_branch_without_the_magic_cookie_has_no_key() {
    let text = String::from_utf8(request("INVITE").as_bytes().to_vec()).unwrap();
    for branch in ["branch=1", "branch=z9hG4bK", "x=y"] {
        let odd = Message::parse(text.replace("branch=z9hG4bK1", branch).into()).unwrap();
        assert_eq!(ServerKey::of(&odd, setu_model::Side::Agents), None, "{branch}");
    }
}

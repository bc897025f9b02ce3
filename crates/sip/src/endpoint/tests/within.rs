//! What happens within an answered call.

use std::time::Duration;

use bytes::Bytes;
use setu_model::Side;

use super::peer::{
    Bench, CONTACT, SDP, arrival, in_dialog, in_dialog_with, invite_request, response, stranger, text_of,
    trunk,
};
use crate::endpoint::{CommandError, EndHow, Event, ReofferKind};
use crate::{Method, Target, Transport};

#[test]
fn a_re_invite_is_offered_to_the_application_and_answered() {
    let mut bench = Bench::new();
    let (session, tag) = bench.answered();
    bench.receive(&trunk(), &in_dialog_with("INVITE", 2, "re", &tag, "", SDP));
    bench.next_status(100);
    match bench.event() {
        Event::Reoffered { kind: ReofferKind::Reinvite, offer: Some(offer), .. } => assert_eq!(offer, SDP),
        other => panic!("{other:?}"),
    }
    bench.endpoint.reoffer_accept(session, Bytes::from_static(b"answer"), bench.now).unwrap();
    bench.drain();
    assert_eq!(bench.next_status(200).body(), "answer");
    bench.pass(Duration::from_millis(500));
    bench.next_status(200);
    bench.receive(&trunk(), &in_dialog("ACK", 2, "reack", &tag));
    assert!(matches!(bench.event(), Event::Acked { .. }));
    assert_eq!(
        bench.endpoint.reoffer_accept(session, Bytes::new(), bench.now),
        Err(CommandError::WrongState)
    );
}

#[test]
fn a_refused_re_invite_leaves_the_call_as_it_was() {
    let mut bench = Bench::new();
    let (session, tag) = bench.answered();
    bench.receive(&trunk(), &in_dialog_with("INVITE", 2, "re", &tag, "", SDP));
    bench.next_status(100);
    bench.event();
    bench.endpoint.reoffer_reject(session, 488, bench.now).unwrap();
    bench.drain();
    bench.next_status(488);
    bench.receive(&trunk(), &in_dialog("ACK", 2, "re", &tag));
    bench.pass(Duration::from_secs(40));
    bench.no_event();
    assert_eq!(bench.endpoint.sizes().calls, 1);
}

#[test]
fn a_re_invite_whose_body_is_no_description_gets_415_and_changes_nothing() {
    let mut bench = Bench::new();
    let (_, tag) = bench.answered();
    let strange = in_dialog_with("INVITE", 2, "re", &tag, "", SDP).replace("application/sdp", "text/plain");
    bench.receive(&trunk(), &strange);
    assert_eq!(bench.next_status(415).header("Accept").as_deref(), Some("application/sdp"));
    bench.no_event();
    assert_eq!(bench.endpoint.sizes().calls, 1);
}

#[test]
fn an_update_with_an_offer_asks_the_application_and_one_without_is_a_sign_of_life() {
    let mut bench = Bench::new();
    let (session, tag) = bench.answered();
    bench.receive(&trunk(), &in_dialog("UPDATE", 2, "u1", &tag));
    bench.next_status(200);
    bench.no_event();
    bench.receive(&trunk(), &in_dialog_with("UPDATE", 3, "u2", &tag, "", SDP));
    assert!(matches!(bench.event(), Event::Reoffered { kind: ReofferKind::Update, .. }));
    bench.endpoint.reoffer_accept(session, Bytes::from_static(b"answer"), bench.now).unwrap();
    bench.drain();
    assert_eq!(bench.next_status(200).body(), "answer");
    bench.pass(Duration::from_secs(40));
    bench.silence();
}

#[test]
fn a_second_offer_before_the_first_is_answered_gets_500() {
    let mut bench = Bench::new();
    let (_, tag) = bench.answered();
    bench.receive(&trunk(), &in_dialog_with("INVITE", 2, "re", &tag, "", SDP));
    bench.next_status(100);
    bench.receive(&trunk(), &in_dialog_with("UPDATE", 3, "u", &tag, "", SDP));
    let refusal = bench.next_status(500);
    assert!(refusal.header("Retry-After").unwrap().parse::<u32>().unwrap() < 10);
}

#[test]
fn offers_that_meet_get_491_and_ours_is_sent_again_later() {
    let mut bench = Bench::new();
    let (session, tag) = bench.answered();
    bench.endpoint.reoffer(session, Bytes::from_static(b"ours"), bench.now).unwrap();
    bench.drain();
    let ours = bench.next_request(Method::Invite);
    bench.receive(&trunk(), &in_dialog_with("INVITE", 2, "re", &tag, "", SDP));
    bench.next_status(491);
    bench.receive(&trunk(), &in_dialog("ACK", 2, "re", &tag));
    bench.receive_message(&trunk(), response(&ours, 491, "pbx", &[], ""));
    bench.next_request(Method::Ack);
    bench.no_event();

    // The peer owns the Call-ID, so we wait 0 to 2 s.
    bench.pass(Duration::from_millis(2_000));
    let again = bench.next_request(Method::Invite);
    assert_eq!((again.cseq().unwrap().number, again.body()), (2, Bytes::from_static(b"ours")));
    bench.receive_message(&trunk(), response(&again, 200, "pbx", &[CONTACT], SDP));
    bench.next_request(Method::Ack);
    assert!(matches!(bench.event(), Event::Reanswered { .. }));
}

#[test]
fn the_owner_of_the_call_id_waits_longer_after_glare() {
    let mut bench = Bench::new();
    let (session, invite) = bench.outgoing();
    bench.receive_message(&trunk(), response(&invite, 200, "b", &[CONTACT], SDP));
    bench.endpoint.reoffer(session, Bytes::from_static(b"ours"), bench.now).unwrap();
    bench.drain();
    bench.next_request(Method::Ack);
    let ours = bench.next_request(Method::Invite);
    bench.receive_message(&trunk(), response(&ours, 491, "b", &[], ""));
    bench.next_request(Method::Ack);
    bench.pass(Duration::from_millis(2_099));
    bench.silence();
    bench.pass(Duration::from_millis(1_901));
    bench.next_request(Method::Invite);
}

#[test]
fn bye_crossing_our_re_invite_ends_the_call_and_a_late_2xx_is_acknowledged() {
    let mut bench = Bench::new();
    let (session, tag) = bench.answered();
    bench.endpoint.reoffer(session, Bytes::from_static(b"ours"), bench.now).unwrap();
    bench.drain();
    let ours = bench.next_request(Method::Invite);
    bench.receive(&trunk(), &in_dialog("BYE", 2, "b", &tag));
    bench.next_status(200);
    assert!(matches!(bench.event(), Event::Ended { how: EndHow::Bye { .. }, .. }));
    bench.receive_message(&trunk(), response(&ours, 200, "pbx", &[CONTACT], SDP));
    bench.next_request(Method::Ack);
    bench.no_event();
    bench.pass(Duration::from_secs(64));
    assert!(bench.endpoint.is_idle(), "{:?}", bench.endpoint);
}

#[test]
fn bye_while_the_peers_own_offer_waits_refuses_that_offer() {
    let mut bench = Bench::new();
    let (_, tag) = bench.answered();
    bench.receive(&trunk(), &in_dialog_with("INVITE", 2, "re", &tag, "", SDP));
    bench.next_status(100);
    bench.event();
    bench.receive(&trunk(), &in_dialog("BYE", 3, "b", &tag));
    let mut statuses = [bench.next(), bench.next()].map(|message| message.status().unwrap());
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 487]);
    assert!(matches!(bench.event(), Event::Ended { how: EndHow::Bye { .. }, .. }));
}

#[test]
fn both_hanging_up_at_once_end_the_call_once() {
    let mut bench = Bench::new();
    let (session, tag) = bench.answered();
    bench.endpoint.hang_up(session, &[], bench.now).unwrap();
    bench.drain();
    let ours = bench.next_request(Method::Bye);
    bench.receive(&trunk(), &in_dialog("BYE", 2, "b", &tag));
    bench.next_status(200);
    bench.receive_message(&trunk(), response(&ours, 481, "pbx", &[], ""));
    assert!(matches!(bench.event(), Event::Ended { .. }));
    bench.no_event();
}

#[test]
fn a_bye_with_the_right_tags_from_another_address_gets_481() {
    let mut bench = Bench::new();
    let (_, tag) = bench.answered();
    let mut other_port = trunk();
    other_port.flow = crate::FlowId(77);
    other_port.remote.set_port(9_999);
    for spoofer in [stranger(), other_port] {
        bench.receive(&spoofer, &in_dialog_with("BYE", 2, "spoof", &tag, "Reason: SIP;cause=200\r\n", ""));
        bench.next_status(481);
        assert!(matches!(bench.event(), Event::StrangerRefused { status: Some(481), .. }));
    }
    assert_eq!(bench.endpoint.sizes().calls, 1);
    bench.receive(&trunk(), &in_dialog("BYE", 2, "real", &tag));
    bench.next_status(200);
}

#[test]
fn unknown_dialogs_get_481_and_their_acks_nothing() {
    let mut bench = Bench::new();
    bench.receive(&trunk(), &in_dialog("BYE", 2, "b", "nobody"));
    bench.next_status(481);
    bench.receive(&trunk(), &in_dialog("ACK", 2, "a", "nobody"));
    bench.silence();
    assert_eq!(bench.endpoint.counters().stray_acks, 1);
}

#[test]
fn an_old_number_gets_500() {
    let mut bench = Bench::new();
    let (_, tag) = bench.answered();
    bench.receive(&trunk(), &in_dialog("OPTIONS", 5, "o5", &tag));
    bench.next_status(200);
    for number in [4, 5] {
        bench.receive(&trunk(), &in_dialog("BYE", number, &format!("b{number}"), &tag));
        bench.next_status(500);
    }
    bench.receive(&trunk(), &in_dialog("BYE", 6, "b6", &tag));
    bench.next_status(200);
}

#[test]
fn refer_is_declined_and_told_and_info_is_taken() {
    let mut bench = Bench::new();
    let (_, tag) = bench.answered();
    bench.receive(
        &trunk(),
        &in_dialog_with("REFER", 2, "r", &tag, "Refer-To: <sip:200@198.51.100.7>\r\n", ""),
    );
    bench.next_status(603);
    assert!(
        matches!(bench.event(), Event::Transfer { refer_to, .. } if refer_to == "<sip:200@198.51.100.7>")
    );
    bench.receive(&trunk(), &in_dialog_with("INFO", 3, "i", &tag, "", "Signal=5"));
    bench.next_status(200);
    assert!(matches!(bench.event(), Event::Info { body, .. } if body == "Signal=5"));
    for (number, method, status) in
        [(4, "MESSAGE", 405), (5, "SUBSCRIBE", 405), (6, "NOTIFY", 481), (7, "PRACK", 481)]
    {
        bench.receive(&trunk(), &in_dialog(method, number, method, &tag));
        bench.next_status(status);
    }
    bench.no_event();
}

#[test]
fn requests_follow_the_contact_of_the_last_target_refresh() {
    let mut bench = Bench::new();
    let (session, tag) = bench.answered();
    let moved = in_dialog("UPDATE", 2, "u", &tag)
        .replace("<sip:100@198.51.100.7:5060>\r\nContent", "<sip:101@198.51.100.9:5070>\r\nContent");
    bench.receive(&trunk(), &moved);
    bench.next_status(200);
    bench.endpoint.hang_up(session, &[], bench.now).unwrap();
    bench.drain();
    let bye = bench.next_transmit();
    assert_eq!(bye.message.request_uri(), Some("sip:101@198.51.100.9:5070"));
    assert!(matches!(&bye.target, Target::Hop(hop) if hop.to_string() == "UDP 198.51.100.9:5070"));
}

#[test]
fn a_strict_router_gets_the_request_in_its_own_name() {
    let mut bench = Bench::new();
    let (session, invite) = bench.outgoing();
    let routes = [
        ("Record-Route", "<sip:last.example.com;lr>"),
        ("Record-Route", "<sip:strict.example.com:5070>"),
        CONTACT,
    ];
    bench.receive_message(&trunk(), response(&invite, 200, "b", &routes, SDP));
    bench.next_request(Method::Ack);
    bench.endpoint.hang_up(session, &[], bench.now).unwrap();
    bench.drain();
    let bye = bench.next_transmit();
    assert_eq!(bye.message.request_uri(), Some("sip:strict.example.com:5070"));
    assert_eq!(
        bye.message.header_all("Route").collect::<Vec<_>>(),
        ["<sip:last.example.com;lr>", "<sip:100@198.51.100.7:5060>"]
    );
    assert!(matches!(&bye.target, Target::Hop(hop) if hop.host == "strict.example.com"));
}

#[test]
fn a_phone_behind_a_nat_is_reached_where_it_called_from() {
    let mut bench = Bench::new();
    let mut natted = trunk();
    natted.remote = "198.51.100.7:40000".parse().unwrap();
    let invite = super::peer::trunk_invite("n;rport")
        .replace("SIP/2.0/UDP 198.51.100.7:5060", "SIP/2.0/UDP 10.0.0.7:5060")
        .replace("Contact: <sip:100@198.51.100.7:5060>", "Contact: <sip:100@10.0.0.7:5060>");
    bench.receive(&natted, &invite);
    bench.next_status(100);
    let Event::Invited { session, .. } = bench.event() else { panic!() };
    bench.endpoint.answer(session, SDP.into(), &[], bench.now).unwrap();
    bench.drain();
    let tag = super::peer::to_tag(&bench.next_status(200));
    bench.receive(&natted, &in_dialog("ACK", 1, "a", &tag));
    bench.endpoint.hang_up(session, &[], bench.now).unwrap();
    bench.drain();
    let bye = bench.next_transmit();
    assert_eq!(bye.message.request_uri(), Some("sip:100@10.0.0.7:5060"));
    assert!(matches!(bye.target, Target::FlowOr(flow, _) if flow == natted.flow));
}

// ---- session timers

/// A call of the PBX with this Session-Expires: the session and our tag.
fn timed(bench: &mut Bench, header: &str) -> (crate::SessionId, String) {
    let invite = super::peer::trunk_invite("t").replace(
        "Max-Forwards: 70",
        &format!("Supported: timer\r\nSession-Expires: {header}\r\nMax-Forwards: 70"),
    );
    bench.receive(&trunk(), &invite);
    bench.next_status(100);
    let Event::Invited { session, .. } = bench.event() else { panic!() };
    bench.endpoint.answer(session, SDP.into(), &[], bench.now).unwrap();
    bench.drain();
    let ok = bench.next_status(200);
    let tag = super::peer::to_tag(&ok);
    bench.receive(&trunk(), &in_dialog("ACK", 1, "a", &tag));
    bench.event();
    (session, text_of(&ok))
}

#[test]
fn a_session_the_peer_does_not_refresh_is_hung_up() {
    let mut bench = Bench::new();
    let (_, ok) = timed(&mut bench, "180");
    assert!(ok.contains("Session-Expires: 180;refresher=uac") && ok.contains("Require: timer"), "{ok}");
    let tag = ok
        .split("To: ")
        .nth(1)
        .and_then(|to| to.split("tag=").nth(1))
        .and_then(|to| to.split("\r\n").next())
        .unwrap()
        .to_owned();

    bench.pass(Duration::from_secs(100));
    let refresh = in_dialog_with(
        "UPDATE",
        2,
        "u",
        &tag,
        "Supported: timer\r\nSession-Expires: 180;refresher=uac\r\n",
        "",
    );
    bench.receive(&trunk(), &refresh);
    assert!(text_of(&bench.next_status(200)).contains("Session-Expires: 180"));
    bench.pass(Duration::from_millis(147_999));
    bench.no_event();
    bench.pass(Duration::from_millis(1));
    bench.next_request(Method::Bye);
    assert!(matches!(bench.event(), Event::Ended { how: EndHow::Timer, .. }));
}

/// RFC 4028 section 9. A PBX ends calls whose timers run faster than the proxies before it allow.
#[test]
fn an_interval_is_shortened_to_ours_though_not_below_the_least_the_peer_names() {
    for (asked, granted) in [
        ("7200;refresher=uas", "1800;refresher=uas"),
        ("7200;refresher=uas\r\nMin-SE: 90", "1800;refresher=uas"),
        ("7200;refresher=uas\r\nMin-SE: 3600", "3600;refresher=uas"),
        ("600;refresher=uas\r\nMin-SE: 3600", "600;refresher=uas"),
    ] {
        let (_, ok) = timed(&mut Bench::new(), asked);
        assert!(ok.contains(&format!("Session-Expires: {granted}\r\n")), "{asked}: {ok}");
    }
}

#[test]
fn a_session_we_refresh_lives_on_and_dies_when_the_peer_does() {
    let mut bench = Bench::new();
    let (_, ok) = timed(&mut bench, "180;refresher=uas");
    assert!(ok.contains("Session-Expires: 180;refresher=uas"), "{ok}");
    for _ in 0..5 {
        bench.pass(Duration::from_secs(90));
        let update = bench.next_request(Method::Update);
        assert!(update.body().is_empty());
        let timer = ("Session-Expires", "180;refresher=uac");
        bench.receive_message(&trunk(), response(&update, 200, "pbx", &[CONTACT, timer], ""));
        bench.silence();
    }
    bench.pass(Duration::from_secs(90 + 32));
    assert!(matches!(bench.event(), Event::Ended { how: EndHow::Lost { status: 408 }, .. }));
}

#[test]
fn a_peer_without_update_is_refreshed_by_re_invite_with_the_same_description() {
    let mut bench = Bench::new();
    let mut request = invite_request();
    request.session_timer = true;
    let session = bench.endpoint.invite(request, bench.now).unwrap();
    bench.drain();
    let invite = bench.next_request(Method::Invite);
    assert_eq!(invite.header("Session-Expires").as_deref(), Some("1800"));
    let short = response(&invite, 422, "b", &[("Min-SE", "3600")], "");
    bench.receive_message(&trunk(), short);
    bench.next_request(Method::Ack);
    let invite = bench.next_request(Method::Invite);
    assert_eq!(
        (invite.header("Session-Expires").as_deref(), invite.header("Min-SE").as_deref()),
        (Some("3600"), Some("3600"))
    );

    let timer = ("Session-Expires", "3600;refresher=uac");
    bench.receive_message(&trunk(), response(&invite, 200, "b", &[CONTACT, timer], SDP));
    bench.next_request(Method::Ack);
    bench.event();
    bench.pass(Duration::from_secs(1_800));
    let refresh = bench.next_request(Method::Invite);
    assert_eq!(refresh.body(), SDP);
    bench.receive_message(&trunk(), response(&refresh, 200, "b", &[CONTACT, timer], SDP));
    bench.next_request(Method::Ack);
    bench.no_event();
    assert!(bench.endpoint.dialog(session).is_some());
}

#[test]
fn a_session_interval_below_the_least_gets_422() {
    let mut bench = Bench::new();
    let invite = super::peer::trunk_invite("t")
        .replace("Max-Forwards: 70", "Supported: timer\r\nSession-Expires: 30\r\nMax-Forwards: 70");
    bench.receive(&trunk(), &invite);
    let refusal = bench.next_status(422);
    assert_eq!(refusal.header("Min-SE").as_deref(), Some("90"));
    assert!(matches!(bench.event(), Event::TurnedAway { status: 422, .. }));
}

#[test]
fn a_peer_that_lost_the_dialog_ends_the_call() {
    let mut bench = Bench::new();
    let (session, _) = bench.answered();
    bench.endpoint.reoffer(session, Bytes::from_static(b"ours"), bench.now).unwrap();
    bench.drain();
    let ours = bench.next_request(Method::Invite);
    bench.receive_message(&trunk(), response(&ours, 481, "pbx", &[], ""));
    bench.next_request(Method::Ack);
    bench.next_request(Method::Bye);
    assert!(matches!(bench.event(), Event::Ended { how: EndHow::Lost { status: 481 }, .. }));
}

#[test]
fn a_dialog_is_a_value_that_survives_its_connection() {
    let mut bench = Bench::new();
    let (session, _) = bench.answered();
    let stored = bench.endpoint.dialog(session).unwrap().clone();
    assert_eq!((stored.remote_tag.as_str(), stored.side), ("pbx", Side::Agents));
    assert_eq!(stored.remote_party, "<sip:100@198.51.100.7>;tag=pbx");
    let other = arrival(99, Transport::Tcp, Side::Agents, "198.51.100.7:33333");
    assert!(stored.is_peer(&other), "a stream from the peer's own address proves it");
}

#[test]
fn keys_are_told_one_info_after_the_other_and_a_refusal_says_nothing_of_the_call() {
    let mut bench = Bench::new();
    let (session, _) = bench.answered();
    for body in ["Signal=1", "Signal=2", "Signal=3"] {
        bench.endpoint.info(session, "application/dtmf-relay", Bytes::from(body), bench.now).unwrap();
    }
    bench.drain();
    let first = bench.next_request(Method::Info);
    assert_eq!(first.header("Content-Type").unwrap(), "application/dtmf-relay");
    assert_eq!(first.body(), "Signal=1");
    bench.silence();
    bench.receive_message(&trunk(), response(&first, 200, "pbx", &[], ""));
    let second = bench.next_request(Method::Info);
    assert_eq!(second.cseq().unwrap().number, first.cseq().unwrap().number + 1);
    bench.receive_message(&trunk(), response(&second, 415, "pbx", &[], ""));
    assert_eq!(bench.next_request(Method::Info).body(), "Signal=3");
    // Nobody answers this one, which is given up, as the next call for it would be.
    bench.pass(Duration::from_secs(40));
    bench.no_event();
    assert_eq!(bench.endpoint.sizes().calls, 1);
}

#[test]
fn keys_are_not_told_by_info_before_the_answer_nor_without_end() {
    let mut bench = Bench::new();
    let (session, _) = bench.incoming();
    let info = |bench: &mut Bench, session| {
        bench.endpoint.info(session, "application/dtmf", Bytes::from_static(b"1"), bench.now)
    };
    assert_eq!(info(&mut bench, session), Err(CommandError::WrongState));
    let mut bench = Bench::new();
    let (session, _) = bench.answered();
    for _ in 0..33 {
        info(&mut bench, session).unwrap();
    }
    assert_eq!(info(&mut bench, session), Err(CommandError::Full));
}

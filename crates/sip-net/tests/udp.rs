//! UDP: datagrams, flows, and the rules of RFC 3581's sending half.

#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "helpers of a test may panic")]

mod common;

use std::net::SocketAddr;

use common::{Bridge, LOOPBACK, call_id, closed_port, config, hop, message, pin, text, to, within};
use setu_model::Side;
use setu_sip::{Target, Transport};
use setu_sip_net::{NetEvent, SendFailure};
use tokio::net::UdpSocket;

async fn receive(socket: &UdpSocket) -> String {
    let mut buffer = vec![0; 65_535];
    let (length, _) = within(socket.recv_from(&mut buffer)).await.unwrap();
    buffer.truncate(length);
    String::from_utf8(buffer).unwrap()
}

#[tokio::test]
async fn a_response_goes_to_the_address_the_request_came_from() {
    let mut bridge = Bridge::start(config(&[Transport::Udp]));
    let phone = UdpSocket::bind(LOOPBACK).await.unwrap();
    phone.send_to(text("in").as_bytes(), bridge.address(Transport::Udp)).await.unwrap();
    let (arrival, request) = bridge.received().await;
    assert_eq!((call_id(&request).as_str(), arrival.transport), ("in", Transport::Udp));
    assert_eq!(
        (arrival.remote, arrival.local),
        (phone.local_addr().unwrap(), bridge.address(Transport::Udp))
    );
    assert!(!arrival.outbound && arrival.verified.is_empty());
    bridge.send(1, Target::Flow(arrival.flow), &message("answer"));
    assert_eq!(receive(&phone).await, text("answer"));
    bridge.nothing_more();
}

#[tokio::test]
async fn a_hop_is_bound_to_the_flow_its_answer_comes_on() {
    let phone = UdpSocket::bind(LOOPBACK).await.unwrap();
    let mut config = config(&[Transport::Udp]);
    pin(&mut config.pinned, "phone.example.com", &[phone.local_addr().unwrap()]);
    let mut bridge = Bridge::start(config);
    for (token, target) in [
        (1, to(Transport::Udp, phone.local_addr().unwrap())),
        (2, Target::Hop(hop(Transport::Udp, "phone.example.com", None))),
    ] {
        bridge.send(token, target, &message("out"));
        let flow = bridge.bound(token).await;
        assert_eq!(receive(&phone).await, text("out"));
        phone.send_to(text("back").as_bytes(), bridge.address(Transport::Udp)).await.unwrap();
        assert_eq!(bridge.received().await.0.flow, flow);
    }
}

#[tokio::test]
async fn ipv6_flows_work_like_ipv4_ones() {
    let mut config = config(&[Transport::Udp]);
    config.listeners[0].bind = "[::1]:0".parse().unwrap();
    config.egress = setu_model::EgressPolicy::new(vec!["::1/128".parse().unwrap()]);
    let mut bridge = Bridge::start(config);
    let phone = UdpSocket::bind("[::1]:0").await.unwrap();
    phone.send_to(text("in").as_bytes(), bridge.address(Transport::Udp)).await.unwrap();
    let (arrival, _) = bridge.received().await;
    bridge.send(1, Target::Flow(arrival.flow), &message("answer"));
    assert_eq!(receive(&phone).await, text("answer"));
    bridge.send(2, to(Transport::Udp, phone.local_addr().unwrap()), &message("out"));
    assert_eq!(bridge.bound(2).await, arrival.flow);
    assert_eq!(receive(&phone).await, text("out"));

    bridge.send(3, Target::Hop(hop(Transport::Udp, "127.0.0.1", Some(9))), &message("no"));
    assert!(matches!(bridge.send_failed(3).await, SendFailure::Forbidden(_)));
}

/// A phone that is connected takes an answer from the address it asked and from no other.
async fn phone_of(server: SocketAddr, call_id: &str) -> UdpSocket {
    let any = if server.is_ipv4() { LOOPBACK } else { "[::1]:0".parse().unwrap() };
    let phone = UdpSocket::bind(any).await.unwrap();
    phone.connect(server).await.unwrap();
    phone.send(text(call_id).as_bytes()).await.unwrap();
    phone
}

#[tokio::test]
async fn an_answer_leaves_from_the_address_of_ours_that_was_asked() {
    for (everything, asked) in
        [("0.0.0.0:0", &["127.0.0.1", "127.0.0.2", "127.0.0.3"][..]), ("[::]:0", &["::1"])]
    {
        let mut config = config(&[Transport::Udp]);
        config.listeners[0].bind = everything.parse().unwrap();
        let mut bridge = Bridge::start(config);
        let port = bridge.address(Transport::Udp).port();
        let mut asking = Vec::new();
        for ours in asked {
            let ours = SocketAddr::new(ours.parse().unwrap(), port);
            let phone = phone_of(ours, &ours.to_string()).await;
            let (arrival, request) = bridge.received().await;
            assert_eq!((arrival.local, call_id(&request)), (ours, ours.to_string()));
            asking.push((phone, arrival.flow));
        }
        // Which one was asked last does not matter.
        for (token, (phone, flow)) in (1..).zip(asking) {
            bridge.send(token, Target::Flow(flow), &message("answer"));
            assert_eq!(receive(&phone).await, text("answer"));
        }
        bridge.nothing_more();
    }
}

#[tokio::test]
async fn a_listener_of_every_address_reaches_a_hop_and_takes_its_answer() {
    let mut config = config(&[Transport::Udp]);
    config.listeners[0].bind = "0.0.0.0:0".parse().unwrap();
    let mut bridge = Bridge::start(config);
    let phone = UdpSocket::bind(LOOPBACK).await.unwrap();
    bridge.send(1, to(Transport::Udp, phone.local_addr().unwrap()), &message("out"));
    let flow = bridge.bound(1).await;
    let mut buffer = vec![0; 65_535];
    let (_, from) = within(phone.recv_from(&mut buffer)).await.unwrap();
    phone.send_to(text("back").as_bytes(), from).await.unwrap();
    let (arrival, _) = bridge.received().await;
    assert_eq!((arrival.local, arrival.remote), (from, phone.local_addr().unwrap()));
    for (token, flow) in [(2, flow), (3, arrival.flow)] {
        bridge.send(token, Target::Flow(flow), &message("again"));
        let (_, again) = within(phone.recv_from(&mut buffer)).await.unwrap();
        assert_eq!(again, from);
    }
}

#[tokio::test]
async fn a_datagram_that_comes_back_is_told_in_its_own_words() {
    for ip in ["127.0.0.1", "::1"] {
        let mut config = config(&[Transport::Udp]);
        config.listeners[0].bind = SocketAddr::new(ip.parse().unwrap(), 0);
        config.egress = setu_model::EgressPolicy::new(vec![format!("{ip}/32").parse().unwrap()]);
        let mut bridge = Bridge::start(config);
        let (_held, nobody) = closed_port(ip).await;
        bridge.send(1, to(Transport::Udp, nobody), &message("out"));
        bridge.bound(1).await;
        let NetEvent::Returned { remote, quote } = bridge.next().await else { panic!("not returned") };
        assert_eq!((remote, quote.as_ref()), (nobody, text("out").as_bytes()));
        assert_eq!(bridge.net.counters().datagrams_returned.total(), 1);
        bridge.nothing_more();
    }
}

#[tokio::test]
async fn what_comes_back_from_one_peer_is_no_fault_of_another() {
    let mut bridge = Bridge::start(config(&[Transport::Udp]));
    let (_held, nobody) = closed_port("127.0.0.1").await;
    let phone = UdpSocket::bind(LOOPBACK).await.unwrap();
    for token in 0..100 {
        bridge.send(token, to(Transport::Udp, nobody), &message("lost"));
        bridge.send(100 + token, to(Transport::Udp, phone.local_addr().unwrap()), &message("kept"));
        assert_eq!(receive(&phone).await, text("kept"));
        phone.send_to(text("in").as_bytes(), bridge.address(Transport::Udp)).await.unwrap();
    }
    let (mut bound, mut returned, mut received) = (0, 0, 0);
    while (bound, returned, received) != (200, 100, 100) {
        match bridge.next().await {
            NetEvent::Bound { .. } => bound += 1,
            NetEvent::Returned { remote, .. } if remote == nobody => returned += 1,
            NetEvent::Received { .. } => received += 1,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_family_without_a_listener_is_said_so() {
    let mut config = config(&[Transport::Tcp]);
    config.listeners.push(setu_sip_net::ListenerConfig::new(Side::Agents, Transport::Udp, LOOPBACK));
    let mut bridge = Bridge::start(config);
    bridge.send(1, Target::Hop(hop(Transport::Udp, "127.0.0.1", Some(9))), &message("no"));
    assert_eq!(bridge.send_failed(1).await, SendFailure::NoListener(Side::Meta, Transport::Udp));
}

#[tokio::test]
async fn garbage_is_reported_and_keepalives_are_not() {
    let mut bridge = Bridge::start(config(&[Transport::Udp]));
    let phone = UdpSocket::bind(LOOPBACK).await.unwrap();
    let to = bridge.address(Transport::Udp);
    for datagram in [&b"\r\n\r\n"[..], b"\0\0\0\0", b"", b"\x80\x01 garbage"] {
        phone.send_to(datagram, to).await.unwrap();
    }
    let NetEvent::Malformed { arrival, error } = bridge.next().await else { panic!("not malformed") };
    assert_eq!((arrival.remote, error.status), (phone.local_addr().unwrap(), 400));
    assert_eq!(bridge.net.counters().keepalives.total(), 3);
    assert_eq!(bridge.net.counters().traffic(Side::Meta, Transport::Udp).malformed.total(), 1);
    bridge.nothing_more();
}

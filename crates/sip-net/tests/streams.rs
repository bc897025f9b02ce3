//! Streams: framing, order, deadlines, bounds, and their end. Over TCP, where nothing hides the bytes.

#![expect(clippy::unwrap_used, reason = "helpers of a test may panic")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{
    Bridge, LOOPBACK, call_id, config, expect, expect_end, hop, message, pin, text, to, until, within,
};
use setu_model::{EgressPolicy, Side};
use setu_sip::{FlowId, Target, Transport};
use setu_sip_net::{Limits, ListenerConfig, NetEvent, SendFailure, SipNetConfig, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SHORT: Duration = Duration::from_millis(30);

fn tcp() -> SipNetConfig {
    config(&[Transport::Tcp])
}

async fn dial(bridge: &Bridge) -> TcpStream {
    let stream = TcpStream::connect(bridge.address(Transport::Tcp)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn accept(listener: &TcpListener) -> TcpStream {
    within(listener.accept()).await.unwrap().0
}

#[tokio::test]
async fn a_message_may_be_split_at_every_byte() {
    let mut bridge = Bridge::start(tcp());
    let mut stream = dial(&bridge).await;
    let wire = text("split");
    for at in 1..wire.len() {
        let (head, tail) = wire.as_bytes().split_at(at);
        stream.write_all(head).await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(tail).await.unwrap();
        assert_eq!(bridge.received().await.1.as_bytes(), wire.as_bytes());
    }
    for byte in wire.as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(bridge.received().await.1.as_bytes(), wire.as_bytes());
}

#[tokio::test]
async fn pipelined_messages_come_in_order_and_so_do_the_answers() {
    let mut bridge = Bridge::start(tcp());
    let mut stream = dial(&bridge).await;
    let wire: String = (0..50).map(|i| text(&format!("call-{i}"))).collect();
    stream.write_all(wire.as_bytes()).await.unwrap();
    for i in 0..50 {
        let (arrival, received) = bridge.received().await;
        assert_eq!(call_id(&received), format!("call-{i}"));
        bridge.send(i, Target::Flow(arrival.flow), &received);
    }
    expect(&mut stream, wire.as_bytes()).await;
    let counters = bridge.net.counters();
    let traffic = counters.traffic(Side::Meta, Transport::Tcp);
    assert_eq!(traffic.received.total(), 50);
    until(|| counters.traffic(Side::Meta, Transport::Tcp).sent.total() == 50).await;
}

#[tokio::test]
async fn an_unreadable_stream_is_answered_and_closed() {
    let mut bridge = Bridge::start(tcp());
    let mut stream = dial(&bridge).await;
    let huge = text("huge").replace("Content-Length: 4", "Content-Length: 99999999");
    stream.write_all(huge.as_bytes()).await.unwrap();
    let NetEvent::Malformed { arrival, error } = bridge.next().await else { panic!("not malformed") };
    assert_eq!(error.status, 413);
    bridge.send(1, Target::Flow(arrival.flow), &error.response().unwrap());
    bridge.net.close(arrival.flow);
    let answer = expect_end(&mut stream).await;
    assert!(answer.starts_with(b"SIP/2.0 413 "));
    assert_eq!(bridge.closed().await, arrival.flow);
    assert_eq!(bridge.net.counters().traffic(Side::Meta, Transport::Tcp).malformed.total(), 1);
}

#[tokio::test]
async fn an_unreadable_stream_closes_by_itself_and_an_endless_head_is_unreadable() {
    let mut config = tcp();
    config.timeouts.linger = SHORT;
    let mut bridge = Bridge::start(config);
    for wire in [b"\x16\x03\x01 what is this?\r\n\r\n".to_vec(), vec![b'x'; 80_000]] {
        let mut stream = dial(&bridge).await;
        stream.write_all(&wire).await.unwrap();
        let NetEvent::Malformed { arrival, .. } = bridge.next().await else { panic!("not malformed") };
        expect_end(&mut stream).await;
        assert_eq!(bridge.closed().await, arrival.flow);
    }
}

#[tokio::test]
async fn pings_are_answered_and_sent_where_the_bridge_opened_the_stream() {
    let (listener, address) = listener().await;
    let mut config = tcp();
    config.timeouts.keepalive = Some(SHORT);
    let mut bridge = Bridge::start(config);

    let mut theirs = dial(&bridge).await;
    theirs.write_all(b"\r\n\r\n").await.unwrap();
    expect(&mut theirs, b"\r\n").await;
    theirs.write_all(text("after").as_bytes()).await.unwrap();
    assert_eq!(call_id(&bridge.received().await.1), "after");

    bridge.send(1, to(Transport::Tcp, address), &message("out"));
    let mut ours = accept(&listener).await;
    bridge.bound(1).await;
    expect(&mut ours, text("out").as_bytes()).await;
    expect(&mut ours, b"\r\n\r\n").await;
    ours.write_all(b"\r\n").await.unwrap();
    expect(&mut ours, b"\r\n\r\n").await;
    bridge.nothing_more();
}

#[tokio::test]
async fn a_message_that_trickles_in_is_cut_and_so_is_a_peer_that_says_nothing() {
    let mut config = tcp();
    config.timeouts = Timeouts { message: SHORT, ..Timeouts::default() };
    let mut bridge = Bridge::start(config);
    let mut slow = dial(&bridge).await;
    slow.write_all(b"OPTIONS sip:setu@exa").await.unwrap();
    expect_end(&mut slow).await;
    bridge.closed().await;
    assert_eq!(bridge.net.counters().messages_too_slow.total(), 1);

    let mut config = tcp();
    config.timeouts = Timeouts { proof: SHORT * 2, message: SHORT, ..Timeouts::default() };
    let mut bridge = Bridge::start(config);
    let mut silent = dial(&bridge).await;
    // Keepalives are no message, and half a ping does not begin one.
    silent.write_all(b"\r\n\r\n\r\n").await.unwrap();
    expect_end(&mut silent).await;
    bridge.closed().await;
    assert_eq!(bridge.net.counters().strangers_closed.total(), 1);
    assert_eq!(bridge.net.counters().messages_too_slow.total(), 0);
}

#[tokio::test]
async fn an_idle_stream_is_closed() {
    let mut config = tcp();
    config.timeouts = Timeouts { idle: SHORT, ..Timeouts::default() };
    let mut bridge = Bridge::start(config);
    let mut stream = dial(&bridge).await;
    stream.write_all(text("only").as_bytes()).await.unwrap();
    let (arrival, _) = bridge.received().await;
    expect_end(&mut stream).await;
    assert_eq!(bridge.closed().await, arrival.flow);
    assert_eq!(bridge.net.counters().idle_closed.total(), 1);
}

#[tokio::test]
async fn the_end_of_a_stream_is_told_and_what_is_sent_on_it_then_fails_or_takes_the_hop() {
    let (listener, address) = listener().await;
    let mut bridge = Bridge::start(tcp());
    let mut stream = dial(&bridge).await;
    stream.write_all(text("in").as_bytes()).await.unwrap();
    let (arrival, _) = bridge.received().await;
    drop(stream);
    assert_eq!(bridge.closed().await, arrival.flow);

    bridge.send(1, Target::Flow(arrival.flow), &message("lost"));
    assert_eq!(bridge.send_failed(1).await, SendFailure::NoFlow);
    bridge.send(2, Target::Flow(FlowId(u64::MAX >> 1)), &message("never there"));
    assert_eq!(bridge.send_failed(2).await, SendFailure::NoFlow);

    let hop = hop(Transport::Tcp, "127.0.0.1", Some(address.port()));
    bridge.send(3, Target::FlowOr(arrival.flow, hop.clone()), &message("out"));
    let mut fresh = accept(&listener).await;
    let flow = bridge.bound(3).await;
    expect(&mut fresh, text("out").as_bytes()).await;

    bridge.send(4, Target::FlowOr(flow, hop), &message("same"));
    expect(&mut fresh, text("same").as_bytes()).await;
    bridge.nothing_more();
}

#[tokio::test]
async fn a_stream_the_peer_closed_is_not_used_again() {
    let (listener, address) = listener().await;
    let mut bridge = Bridge::start(tcp());
    for token in 1..4 {
        bridge.send(token, to(Transport::Tcp, address), &message("out"));
        let mut stream = accept(&listener).await;
        let flow = bridge.bound(token).await;
        expect(&mut stream, text("out").as_bytes()).await;
        drop(stream);
        assert_eq!(bridge.closed().await, flow);
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_loses_the_stream() {
    let mut config = tcp();
    config.limits = Limits { queue: 4, ..Limits::default() };
    let mut bridge = Bridge::start(config);
    let mut stream = dial(&bridge).await;
    stream.write_all(text("in").as_bytes()).await.unwrap();
    let (arrival, _) = bridge.received().await;
    for token in 0..5 {
        bridge.send(token, Target::Flow(arrival.flow), &message("out"));
    }
    // The task had no chance to run in between, so the fifth finds the queue full.
    assert_eq!(bridge.closed().await, arrival.flow);
    assert_eq!(bridge.send_failed(4).await, SendFailure::NoFlow);
    assert_eq!(bridge.net.counters().queues_overflowed.total(), 1);
    expect_end(&mut stream).await;
    until(|| bridge.net.counters().open_connections.total() == 0).await;
}

#[tokio::test]
async fn too_much_waiting_for_one_connection_is_refused() {
    let (_listener, address) = listener().await;
    let mut config = tcp();
    config.limits = Limits { waiting: 2, connecting: 1, ..Limits::default() };
    let mut bridge = Bridge::start(config);
    for token in 0..3 {
        bridge.send(token, to(Transport::Tcp, address), &message("out"));
    }
    assert_eq!(bridge.send_failed(2).await, SendFailure::Overflow);
    bridge.send(3, to(Transport::Tcp, "127.0.0.1:9".parse().unwrap()), &message("elsewhere"));
    assert_eq!(bridge.send_failed(3).await, SendFailure::Overflow);
}

#[tokio::test]
async fn one_address_cannot_take_every_place() {
    let mut config = tcp();
    config.limits = Limits { newcomers_per_ip: 2, ..Limits::default() };
    let mut bridge = Bridge::start(config);
    let mut first = dial(&bridge).await;
    let _second = dial(&bridge).await;
    let mut third = dial(&bridge).await;
    expect_end(&mut third).await;
    assert_eq!(bridge.net.counters().connections_refused.total(), 1);

    first.write_all(text("known").as_bytes()).await.unwrap();
    let (arrival, _) = bridge.received().await;
    bridge.net.keep(arrival.flow);
    let mut fourth = dial(&bridge).await;
    fourth.write_all(text("welcome").as_bytes()).await.unwrap();
    assert_eq!(call_id(&bridge.received().await.1), "welcome");
}

#[tokio::test]
async fn a_peer_is_closed_that_sends_messages_but_never_proves_who_it_is_and_one_that_does_stays() {
    let mut config = tcp();
    config.timeouts = Timeouts { proof: SHORT * 2, ..Timeouts::default() };
    let mut bridge = Bridge::start(config);
    let mut known = dial(&bridge).await;
    known.write_all(text("known").as_bytes()).await.unwrap();
    let (arrival, _) = bridge.received().await;
    bridge.net.keep(arrival.flow);
    let mut stranger = dial(&bridge).await;
    stranger.write_all(text("stranger").as_bytes()).await.unwrap();
    let (closed, _) = bridge.received().await;
    expect_end(&mut stranger).await;
    assert_eq!(bridge.closed().await, closed.flow);
    assert_eq!(bridge.net.counters().strangers_closed.total(), 1);
    known.write_all(text("still").as_bytes()).await.unwrap();
    assert_eq!(call_id(&bridge.received().await.1), "still");
}

#[tokio::test]
async fn strangers_that_hold_every_place_make_room_for_one_that_comes() {
    let mut config = tcp();
    config.limits = Limits { newcomers: 2, ..Limits::default() };
    let mut bridge = Bridge::start(config);
    let mut oldest = dial(&bridge).await;
    oldest.write_all(text("oldest").as_bytes()).await.unwrap();
    let (arrival, _) = bridge.received().await;
    let mut second = dial(&bridge).await;
    second.write_all(text("second").as_bytes()).await.unwrap();
    bridge.received().await;
    let mut comes = dial(&bridge).await;
    expect_end(&mut oldest).await;
    assert_eq!(bridge.closed().await, arrival.flow);
    for (stream, name) in [(&mut second, "stays"), (&mut comes, "gets in")] {
        stream.write_all(text(name).as_bytes()).await.unwrap();
        assert_eq!(call_id(&bridge.received().await.1), name);
    }
    let counters = bridge.net.counters();
    assert_eq!((counters.newcomers_evicted.total(), counters.connections_refused.total()), (1, 0));
}

#[tokio::test]
async fn closing_a_flow_sends_what_waits_first() {
    let mut bridge = Bridge::start(tcp());
    let mut stream = dial(&bridge).await;
    stream.write_all(text("in").as_bytes()).await.unwrap();
    let (arrival, _) = bridge.received().await;
    for token in 0..3 {
        bridge.send(token, Target::Flow(arrival.flow), &message("last"));
    }
    bridge.net.close(arrival.flow);
    assert_eq!(bridge.closed().await, arrival.flow);
    assert_eq!(expect_end(&mut stream).await, text("last").repeat(3).as_bytes());
}

#[tokio::test]
async fn shutdown_sends_what_waits_closes_all_and_leaves_no_task() {
    let (listener, address) = listener().await;
    let mut bridge = Bridge::start(config(&[Transport::Tcp, Transport::Udp]));
    let mut stream = dial(&bridge).await;
    stream.write_all(text("in").as_bytes()).await.unwrap();
    let (arrival, _) = bridge.received().await;
    let silent = dial(&bridge).await;
    bridge.send(0, to(Transport::Tcp, address), &message("out"));
    let mut ours = accept(&listener).await;
    bridge.bound(0).await;
    bridge.send(1, Target::Flow(arrival.flow), &message("last"));

    let counters = bridge.net.counters();
    let addresses: Vec<_> = bridge.net.listening();
    bridge.net.shutdown().await;
    bridge.send(2, Target::Flow(arrival.flow), &message("late"));
    drop(bridge);
    assert_eq!(expect_end(&mut stream).await, text("last").as_bytes());
    assert_eq!(expect_end(&mut ours).await, text("out").as_bytes());
    drop(silent);
    assert_eq!(counters.open_connections.total(), 0);
    for (_, transport, address) in addresses {
        match transport {
            Transport::Udp => drop(std::net::UdpSocket::bind(address).unwrap()),
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                assert!(TcpStream::connect(address).await.is_err());
            }
        }
    }
}

#[tokio::test]
async fn forbidden_and_unknown_hosts_fail_without_a_packet() {
    let (listener, address) = listener().await;
    let mut config = tcp();
    pin(&mut config.pinned, "metadata.example.com", &["169.254.169.254:80".parse().unwrap()]);
    pin(&mut config.pinned, "rebound.example.com", &[address]);
    config.egress = EgressPolicy::default();
    let mut bridge = Bridge::start(config);
    for (token, host) in
        ["rebound.example.com", "metadata.example.com", "127.0.0.1", "::ffff:127.0.0.1", "10.0.0.1"]
            .iter()
            .enumerate()
    {
        for (transport, token) in [(Transport::Tcp, token * 2), (Transport::Udp, token * 2 + 1)] {
            let token = u64::try_from(token).unwrap();
            bridge.send(token, Target::Hop(hop(transport, host, Some(address.port()))), &message("ssrf"));
            let reason = bridge.send_failed(token).await;
            assert!(matches!(reason, SendFailure::Forbidden(_)), "{host}: {reason}");
        }
    }
    bridge.send(99, Target::Hop(hop(Transport::Tcp, "0x7f.1", None)), &message("ssrf"));
    assert!(matches!(bridge.send_failed(99).await, SendFailure::Unresolved(_)));
    assert_eq!(bridge.net.counters().egress_refused.total(), 10);
    assert_eq!(bridge.net.counters().unresolved.total(), 1);
    drop(listener);
}

#[tokio::test]
async fn requests_leave_from_the_address_of_the_sides_listener() {
    let (listener, address) = listener().await;
    let mut config = tcp();
    config.listeners = vec![ListenerConfig::new(Side::Meta, Transport::Tcp, "127.0.0.2:0".parse().unwrap())];
    let mut bridge = Bridge::start(config);
    bridge.send(1, to(Transport::Tcp, address), &message("out"));
    let (mut stream, remote) = within(listener.accept()).await.unwrap();
    assert_eq!(remote.ip().to_string(), "127.0.0.2");
    bridge.bound(1).await;
    let mut byte = [0; 1];
    stream.read_exact(&mut byte).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_streams_at_once_lose_nothing_and_each_ends_once() {
    const CLIENTS: usize = 100;
    const MESSAGES: usize = 20;
    let mut bridge = Bridge::start(tcp());
    let address = bridge.address(Transport::Tcp);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                for i in 0..MESSAGES {
                    let wire = text(&format!("call-{client}-{i}"));
                    stream.write_all(wire.as_bytes()).await.unwrap();
                    expect(&mut stream, wire.as_bytes()).await;
                }
            })
        })
        .collect();

    let mut echoed = 0;
    let mut closed = std::collections::BTreeSet::new();
    while closed.len() < CLIENTS {
        match bridge.next().await {
            NetEvent::Received { arrival, message } => {
                echoed += 1;
                bridge.send(echoed, Target::Flow(arrival.flow), &message);
            }
            NetEvent::FlowClosed { flow } => assert!(closed.insert(flow), "{flow:?} ended twice"),
            other @ (NetEvent::Malformed { .. }
            | NetEvent::Bound { .. }
            | NetEvent::SendFailed { .. }
            | NetEvent::Returned { .. }) => {
                panic!("unexpected {other:?}")
            }
        }
    }
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(echoed, (CLIENTS * MESSAGES) as u64);
    let counters = bridge.net.counters();
    assert_eq!(counters.traffic(Side::Meta, Transport::Tcp).received.total(), echoed);
    until(|| counters.open_connections.total() == 0).await;
    bridge.net.shutdown().await;
    bridge.nothing_more();
}

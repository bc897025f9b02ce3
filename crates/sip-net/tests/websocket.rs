//! SIP over WebSocket (RFC 7118), against the client half of a library.

#![expect(clippy::unwrap_used, reason = "helpers of a test may panic")]

mod common;

use std::time::Duration;

use common::{
    Authority, BOTH_VERSIONS, Bridge, Folder, TlsClient, call_id, config, hop, message, text, until, within,
};
use futures_util::{SinkExt as _, StreamExt as _};
use setu_model::Side;
use setu_sip::{Target, Transport};
use setu_sip_net::{Limits, SendFailure, SipNetConfig, StartError, Timeouts, WebSocketConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

const SHORT: Duration = Duration::from_millis(30);

fn ws() -> SipNetConfig {
    config(&[Transport::Ws])
}

/// Shakes hands with the subprotocol and origin given.
async fn shake<S>(io: S, protocol: Option<&str>, origin: Option<&str>) -> Result<WebSocketStream<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = "ws://setu.test/".into_client_request().unwrap();
    for (name, value) in [("Sec-WebSocket-Protocol", protocol), ("Origin", origin)] {
        if let Some(value) = value {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
    }
    let (socket, response) = within(client_async(request, io)).await?;
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "sip");
    Ok(socket)
}

async fn tcp(bridge: &Bridge) -> TcpStream {
    TcpStream::connect(bridge.address(Transport::Ws)).await.unwrap()
}

async fn dial(bridge: &Bridge) -> WebSocketStream<TcpStream> {
    shake(tcp(bridge).await, Some("sip"), None).await.unwrap()
}

/// The next message that is no ping of the bridge's.
async fn next<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>) -> Option<Message> {
    loop {
        match within(socket.next()).await {
            Some(Ok(Message::Ping(_))) => {}
            other => return other.and_then(Result::ok),
        }
    }
}

#[tokio::test]
async fn each_message_of_one_is_a_message_of_the_other_both_ways() {
    let mut bridge = Bridge::start(ws());
    let mut socket = dial(&bridge).await;
    for (n, frame) in [(1, Message::text(text("text"))), (2, Message::binary(text("binary").into_bytes()))] {
        socket.send(frame).await.unwrap();
        let (arrival, received) = bridge.received().await;
        assert_eq!((arrival.transport, arrival.outbound), (Transport::Ws, false));
        bridge.send(n, Target::Flow(arrival.flow), &received);
        bridge.send(n, Target::Flow(arrival.flow), &message("second"));
        assert_eq!(next(&mut socket).await.unwrap().into_data(), received.as_bytes());
        assert_eq!(next(&mut socket).await.unwrap(), Message::text(text("second")));
    }
    let counters = bridge.net.counters();
    assert_eq!(counters.traffic(Side::Meta, Transport::Ws).received.total(), 2);
    until(|| counters.traffic(Side::Meta, Transport::Ws).sent.total() == 4).await;
}

#[tokio::test]
async fn a_message_without_a_length_ends_with_its_frame() {
    let mut bridge = Bridge::start(ws());
    let mut socket = dial(&bridge).await;
    socket.send(Message::text(text("bare").replace("Content-Length: 4\r\n", ""))).await.unwrap();
    let (_, received) = bridge.received().await;
    assert_eq!((call_id(&received).as_str(), &received.body()[..]), ("bare", &b"body"[..]));
}

#[tokio::test]
async fn under_tls_it_is_secure_and_needs_a_certificate() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let issued = authority.issue(&["setu.test"]);
    let tls = [(Side::Meta, folder.tls(&authority, Some(&issued)))].into();
    let mut bridge = Bridge::start(SipNetConfig { tls, ..config(&[Transport::Wss]) });
    let client = TlsClient::new(&authority, BOTH_VERSIONS);
    let io = client.connect(bridge.address(Transport::Wss), "setu.test").await.unwrap();
    let mut socket = shake(io, Some("sip"), None).await.unwrap();
    socket.send(Message::text(text("wss"))).await.unwrap();
    let (arrival, received) = bridge.received().await;
    assert_eq!((arrival.transport, call_id(&received).as_str()), (Transport::Wss, "wss"));
    bridge.send(1, Target::Flow(arrival.flow), &received);
    assert_eq!(next(&mut socket).await.unwrap(), Message::text(text("wss")));

    let bare = setu_sip_net::SipNet::start(config(&[Transport::Wss]), |_| {});
    assert!(matches!(bare, Err(StartError::NoCertificate { side: Side::Meta })));
}

#[tokio::test]
async fn who_does_not_speak_sip_or_is_a_foreign_page_is_refused() {
    let origins = vec!["https://agents.example.com".to_owned()];
    let bridge = Bridge::start(SipNetConfig { websocket: WebSocketConfig { origins }, ..ws() });
    let outcome = async |protocol, origin| match shake(tcp(&bridge).await, protocol, origin).await {
        Ok(_) => 101,
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(outcome(Some("sip"), Some("https://agents.example.com")).await, 101);
    assert_eq!(outcome(Some("sip"), Some("https://evil.example")).await, 403);
    assert_eq!(outcome(Some("xmpp"), None).await, 400);
    assert_eq!(outcome(None, None).await, 400);
    assert_eq!(bridge.net.counters().websockets_refused.total(), 3);
}

#[tokio::test]
async fn a_handshake_that_does_not_end_and_a_newcomer_without_a_message_are_cut() {
    let timeouts = Timeouts { handshake: SHORT, proof: SHORT, ..Timeouts::default() };
    let mut bridge = Bridge::start(SipNetConfig { timeouts, ..ws() });
    let mut silent = tcp(&bridge).await;
    silent.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert_eq!(within(silent.read(&mut [0; 64])).await.unwrap(), 0);
    let mut idle = dial(&bridge).await;
    assert!(!matches!(next(&mut idle).await, Some(Message::Text(_) | Message::Binary(_))));
    bridge.closed().await;
    let counters = bridge.net.counters();
    assert_eq!((counters.handshakes_timed_out.total(), counters.strangers_closed.total()), (1, 1));
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_the_connection() {
    let mut bridge = Bridge::start(ws());
    let mut socket = dial(&bridge).await;
    socket.send(Message::text(text("first"))).await.unwrap();
    bridge.received().await;
    let long = text("long").replace("body", &"x".repeat(70_000));
    // It may be cut off before all of it left.
    let _ = socket.send(Message::text(long)).await;
    bridge.closed().await;
    bridge.nothing_more();
}

#[tokio::test]
async fn pings_keep_a_connection_and_one_without_an_answer_ends_it() {
    let timeouts = Timeouts { websocket_ping: SHORT, ..Timeouts::default() };
    let mut bridge = Bridge::start(SipNetConfig { timeouts, ..ws() });
    let mut socket = dial(&bridge).await;
    socket.send(Message::text(text("here"))).await.unwrap();
    bridge.received().await;
    for _ in 0..5 {
        // The client's library answers when it is read.
        assert!(matches!(within(socket.next()).await, Some(Ok(Message::Ping(_)))));
    }
    bridge.nothing_more();
    // Unread, nothing answers.
    bridge.closed().await;
}

#[tokio::test]
async fn a_browser_that_left_cannot_be_dialled() {
    let mut bridge = Bridge::start(ws());
    let mut socket = dial(&bridge).await;
    socket.send(Message::text(text("here"))).await.unwrap();
    let (arrival, received) = bridge.received().await;
    socket.close(None).await.unwrap();
    assert_eq!(bridge.closed().await, arrival.flow);
    let there = hop(Transport::Ws, "127.0.0.1", Some(arrival.remote.port()));
    bridge.send(7, Target::FlowOr(arrival.flow, there), &received);
    assert_eq!(bridge.send_failed(7).await, SendFailure::NoFlow);
}

#[tokio::test]
async fn a_browser_that_reads_nothing_loses_its_connection_not_the_bridges_memory() {
    let limits = Limits { queue: 4, ..Limits::default() };
    let mut bridge = Bridge::start(SipNetConfig { limits, ..ws() });
    let mut socket = dial(&bridge).await;
    socket.send(Message::text(text("here"))).await.unwrap();
    let (arrival, _) = bridge.received().await;
    let large = text("large").replace("body", &"x".repeat(60_000)).replace("Length: 4", "Length: 60000");
    let large = setu_sip::Message::parse(large.into()).unwrap();
    for token in 0..1_000 {
        bridge.send(token, Target::Flow(arrival.flow), &large);
    }
    until(|| bridge.net.counters().queues_overflowed.total() == 1).await;
}

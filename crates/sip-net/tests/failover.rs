//! The next address of a hop (RFC 3263 section 4.3), from a name to the server that answers: the endpoint on its
//! transports, a name server and raw servers on loopback.

#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "helpers of a test may panic")]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::dns::Zone;
use common::{Authority, Bridge, Folder, TlsServer, closed_port, config, hop, pin, within};
use setu_model::{Now, SeededEntropy, Side, Wall};
use setu_sip::{
    Access, Endpoint, EndpointConfig, Event, InviteRequest, Limits, Message, Output, Party, SideConfig,
    Target, Timers, Transport,
};
use setu_sip_net::{NetEvent, SipNetConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};

const T1: Duration = Timers::RFC_3261.t1;

/// An endpoint on its transports.
struct Caller {
    endpoint: Endpoint,
    bridge: Bridge,
    /// Where requests went, in order.
    asked: Vec<SocketAddr>,
}

fn now() -> Now {
    Now { mono: Instant::now(), wall: Wall::from_unix_ms(0) }
}

impl Caller {
    /// Timer B is 64 times `t1`.
    fn start(config: SipNetConfig, t1: Duration) -> Self {
        let side = || SideConfig {
            host: "setu.example.com".to_owned(),
            udp: None,
            tcp: None,
            tls: None,
            ws: None,
            wss: None,
            realm: String::new(),
            digest: Vec::new(),
        };
        let endpoint = EndpointConfig {
            user_agent: "Setu".to_owned(),
            meta: side(),
            agents: side(),
            access: Access::default(),
            timers: Timers { t1, ..Timers::RFC_3261 },
            limits: Limits::default(),
        };
        let endpoint = Endpoint::new(endpoint, Box::new(SeededEntropy::new(1)), now());
        Self { endpoint, bridge: Bridge::start(config), asked: Vec::new() }
    }

    /// Calls `host` and returns the status that the call ends with: 200 if it is answered.
    async fn call(&mut self, transport: Transport, host: &str) -> u16 {
        let party = || Party { display: None, uri: "sip:a@example.com".to_owned() };
        let request = InviteRequest {
            side: Side::Meta,
            target: Target::Hop(hop(transport, host, None)),
            request_uri: format!("sip:b@{host}"),
            from: party(),
            to: party(),
            contact_user: None,
            headers: Vec::new(),
            offer: Bytes::from_static(b"v=0\r\n"),
            credentials: None,
            session_timer: false,
        };
        self.endpoint.invite(request, now()).unwrap();
        loop {
            match self.next().await {
                Event::Answered { .. } => return 200,
                Event::Refused { status, .. } => return status,
                _ => {}
            }
        }
    }

    async fn next(&mut self) -> Event {
        loop {
            while let Some(output) = self.endpoint.poll_output() {
                match output {
                    Output::Send(transmit) => self.bridge.net.send(transmit),
                    Output::Keep(flow) => self.bridge.net.keep(flow),
                    Output::Close(flow) => self.bridge.net.close(flow),
                    Output::Event(event) => return *event,
                }
            }
            let (due, _) = self.endpoint.poll_timeout().unwrap();
            match tokio::time::timeout_at(due.into(), self.bridge.next()).await {
                Ok(NetEvent::Received { arrival, message }) => {
                    self.endpoint.handle_received(&arrival, message, now());
                }
                Ok(NetEvent::Bound { token, flow, remote }) => {
                    if self.asked.last() != Some(&remote) {
                        self.asked.push(remote);
                    }
                    self.endpoint.handle_bound(token, flow, remote, now());
                }
                Ok(NetEvent::SendFailed { token, .. }) => self.endpoint.handle_send_failed(token, now()),
                Ok(NetEvent::Returned { quote, .. }) => self.endpoint.handle_returned(&quote, now()),
                Ok(NetEvent::FlowClosed { flow }) => self.endpoint.handle_flow_closed(flow, now()),
                Ok(NetEvent::Malformed { error, .. }) => panic!("{error:?}"),
                Err(_) => self.endpoint.handle_timeout(now()),
            }
        }
    }
}

/// Two servers of one name, the first of which is preferred.
fn two(label: &str, name: &str, first: SocketAddr, second: SocketAddr) -> Zone {
    Zone::default()
        .service(&format!("{label}.{name}"), 20, second.port(), "second.example.com")
        .service(&format!("{label}.{name}"), 10, first.port(), "first.example.com")
        .address("first.example.com", ip(first))
        .address("second.example.com", ip(second))
}

fn ip(of: SocketAddr) -> [u8; 4] {
    match of {
        SocketAddr::V4(v4) => v4.ip().octets(),
        SocketAddr::V6(_) => panic!("no address of this test"),
    }
}

fn answer_to(request: &Message, status: u16) -> Vec<u8> {
    let answer = Message::reply(request, status, None, Some("b")).header("Contact", "<sip:b@127.0.0.1>");
    answer.build().unwrap().as_bytes().to_vec()
}

/// A server over UDP that answers every INVITE with `status`, or never.
async fn datagrams(at: &str, status: Option<u16>) -> SocketAddr {
    let socket = UdpSocket::bind((at, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_535];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let request = Message::parse(Bytes::copy_from_slice(&buffer[..length])).unwrap();
            if let Some(status) = status.filter(|_| request.method() == Some(setu_sip::Method::Invite)) {
                socket.send_to(&answer_to(&request, status), from).await.unwrap();
            }
        }
    });
    address
}

/// Reads one request, and answers it or closes the stream.
async fn serve_once(mut stream: impl AsyncRead + AsyncWrite + Unpin, status: Option<u16>) {
    let mut wire = Vec::new();
    while !wire.ends_with(b"v=0\r\n") {
        let mut buffer = [0; 4_096];
        let length = within(stream.read(&mut buffer)).await.unwrap();
        wire.extend(&buffer[..length]);
    }
    if let Some(status) = status {
        let request = Message::parse(wire.into()).unwrap();
        stream.write_all(&answer_to(&request, status)).await.unwrap();
        // Until the caller is done with it.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
}

async fn streams(at: &str, status: Option<u16>) -> SocketAddr {
    let listener = TcpListener::bind((at, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve_once(stream, status).await;
    });
    address
}

async fn asking(zone: Zone, transport: Transport) -> SipNetConfig {
    let mut config = config(&[transport]);
    config.name_servers = vec![zone.serve().await];
    config
}

#[tokio::test]
async fn a_server_over_udp_that_is_busy_gives_way_to_the_next_one_of_its_name() {
    let first = datagrams("127.0.0.1", Some(503)).await;
    let second = datagrams("127.0.0.2", Some(200)).await;
    let zone = two("_sip._udp", "pbx.example.com", first, second);
    let mut caller = Caller::start(asking(zone, Transport::Udp).await, T1);
    assert_eq!(caller.call(Transport::Udp, "pbx.example.com").await, 200);
    assert_eq!(caller.asked, [first, second]);
}

#[tokio::test]
async fn a_server_over_udp_that_is_silent_gives_way_to_the_next_one_of_its_name() {
    let first = datagrams("127.0.0.1", None).await;
    let second = datagrams("127.0.0.2", Some(200)).await;
    let mut config = config(&[Transport::Udp]);
    pin(&mut config.pinned, "pbx.example.com", &[first, second]);
    let mut caller = Caller::start(config, Duration::from_millis(10));
    assert_eq!(caller.call(Transport::Udp, "pbx.example.com").await, 200);
    assert_eq!(caller.asked, [first, second]);
}

/// The patience is long: nobody waits for it.
#[tokio::test]
async fn a_server_over_udp_whose_port_is_closed_gives_way_to_the_next_one_at_once() {
    let (_held, first) = closed_port("127.0.0.1").await;
    let second = datagrams("127.0.0.2", Some(200)).await;
    let zone = two("_sip._udp", "pbx.example.com", first, second);
    let mut caller = Caller::start(asking(zone, Transport::Udp).await, Duration::from_secs(3_600));
    assert_eq!(within(caller.call(Transport::Udp, "pbx.example.com")).await, 200);
    assert_eq!(caller.asked, [first, second]);
}

#[tokio::test]
async fn a_connection_that_is_refused_or_closed_or_says_503_gives_way_to_the_next_server() {
    for (status, over) in [(None, "closed"), (Some(503), "503")] {
        let first = streams("127.0.0.1", status).await;
        let second = streams("127.0.0.2", Some(486)).await;
        let zone = two("_sip._tcp", "pbx.example.com", first, second);
        let mut caller = Caller::start(asking(zone, Transport::Tcp).await, T1);
        assert_eq!(caller.call(Transport::Tcp, "pbx.example.com").await, 486, "{over}");
        assert_eq!(caller.asked, [first, second], "{over}");
    }
    // Bound, but it does not listen.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let first = nobody.local_addr().unwrap();
    let second = streams("127.0.0.2", Some(486)).await;
    let zone = two("_sip._tcp", "pbx.example.com", first, second);
    let mut caller = Caller::start(asking(zone, Transport::Tcp).await, T1);
    assert_eq!(caller.call(Transport::Tcp, "pbx.example.com").await, 486);
    assert_eq!(caller.asked, [second], "nothing was sent to the first");
}

#[tokio::test]
async fn a_tls_server_that_says_503_gives_way_to_the_next_one_that_proves_the_name() {
    let authority = Authority::new();
    let folder = Folder::new();
    let issued = authority.issue(&["pbx.example.com"]);
    let (first, second) = (TlsServer::start(&issued).await, TlsServer::start(&issued).await);
    let (to_first, to_second) = (first.address(), second.address());
    for (server, status) in [(first, 503), (second, 200)] {
        tokio::spawn(async move { serve_once(server.accept().await.unwrap(), Some(status)).await });
    }
    let zone = two("_sips._tcp", "pbx.example.com", to_first, to_second);
    let mut config = asking(zone, Transport::Tcp).await;
    config.tls = [(Side::Meta, folder.tls(&authority, None))].into();
    let mut caller = Caller::start(config, T1);
    assert_eq!(caller.call(Transport::Tls, "pbx.example.com").await, 200);
    assert_eq!(caller.asked, [to_first, to_second]);
}

#[tokio::test]
async fn without_a_server_left_the_call_is_refused() {
    let (first, second) = (datagrams("127.0.0.1", Some(503)).await, datagrams("127.0.0.2", Some(503)).await);
    let zone = two("_sip._udp", "pbx.example.com", first, second);
    let mut caller = Caller::start(asking(zone, Transport::Udp).await, T1);
    assert_eq!(caller.call(Transport::Udp, "pbx.example.com").await, 503);
    assert_eq!(caller.asked, [first, second]);
}

/// Whoever owns a name can make it resolve to an address of the inside.
#[tokio::test]
async fn an_address_that_is_forbidden_is_neither_the_first_nor_the_next() {
    const METADATA: [u8; 4] = [169, 254, 169, 254];
    for transport in [Transport::Udp, Transport::Tcp] {
        let label = if transport == Transport::Udp { "_sip._udp" } else { "_sip._tcp" };
        let serve = |status| async move {
            match transport {
                Transport::Udp => datagrams("127.0.0.1", Some(status)).await,
                _ => streams("127.0.0.1", Some(status)).await,
            }
        };
        let inside = SocketAddr::from((METADATA, 5060));
        let (good, full) = (serve(200).await, serve(503).await);
        let zone = two(label, "before.example.com", inside, good)
            .service(&format!("{label}.after.example.com"), 10, full.port(), "second.example.com")
            .service(&format!("{label}.after.example.com"), 20, 5060, "first.example.com")
            .address("only.example.com", METADATA);
        let mut caller = Caller::start(asking(zone, transport).await, T1);

        assert_eq!(caller.call(transport, "only.example.com").await, 503);
        assert_ne!(caller.bridge.net.counters().egress_refused.total(), 0);
        assert_eq!(caller.asked, []);
        assert_eq!(caller.call(transport, "before.example.com").await, 200);
        assert_eq!(caller.asked, [good]);
        assert_eq!(caller.call(transport, "after.example.com").await, 503);
        assert_eq!(caller.asked, [good, full]);
    }
}

/// An address that was allowed when the name was looked up first says nothing of the next look.
#[tokio::test]
async fn a_name_that_moves_inside_between_two_attempts_is_not_followed() {
    let full = datagrams("127.0.0.1", Some(503)).await;
    let zone = Zone::default()
        .service("_sip._udp.pbx.example.com", 10, full.port(), "moving.example.com")
        .address("moving.example.com", ip(full))
        .rebound("moving.example.com", [169, 254, 169, 254]);
    let mut caller = Caller::start(asking(zone, Transport::Udp).await, T1);
    assert_eq!(caller.call(Transport::Udp, "pbx.example.com").await, 503);
    assert_eq!(caller.asked, [full]);
    assert_ne!(caller.bridge.net.counters().egress_refused.total(), 0);
}

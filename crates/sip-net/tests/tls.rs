//! TLS in both directions: who is believed, and what for (security.md row 16).

#![expect(clippy::unwrap_used, reason = "helpers of a test may panic")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{
    Authority, BOTH_VERSIONS, Bridge, Folder, LOOPBACK, TlsClient, TlsServer, call_id, config, expect,
    expect_end, hop, message, pin, text, until, within,
};
use setu_model::Side;
use setu_sip::{Target, Transport};
use setu_sip_net::{CertificateFiles, SendFailure, SipNetConfig, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const NAME: &str = "sip.example.com";
const META: &str = "wa.meta.vc";

/// A bridge that shows a certificate for [`NAME`], trusts `authority`, and has `pins` for names.
fn bridge(folder: &Folder, authority: &Authority, pins: &[(&str, &[SocketAddr])]) -> Bridge {
    Bridge::start(tls_config(folder, authority, pins))
}

fn tls_config(folder: &Folder, authority: &Authority, pins: &[(&str, &[SocketAddr])]) -> SipNetConfig {
    let mut config = config(&[Transport::Tls]);
    config.tls.insert(Side::Meta, folder.tls(authority, Some(&authority.issue(&[NAME]))));
    for (name, addresses) in pins {
        pin(&mut config.pinned, name, addresses);
    }
    config
}

fn to_name(name: &str) -> Target {
    Target::Hop(hop(Transport::Tls, name, Some(5061)))
}

async fn closed_port() -> SocketAddr {
    TcpListener::bind(LOOPBACK).await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_tls_client_gets_its_response_on_the_connection_of_the_request() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let mut bridge = bridge(&folder, &authority, &[]);
    for version in BOTH_VERSIONS {
        let client = TlsClient::new(&authority, &[version]);
        let mut stream = client.connect(bridge.address(Transport::Tls), NAME).await.unwrap();
        stream.write_all(text("one").as_bytes()).await.unwrap();
        let (arrival, request) = bridge.received().await;
        assert_eq!(call_id(&request), "one");
        assert_eq!((arrival.transport, arrival.side, arrival.outbound), (Transport::Tls, Side::Meta, false));
        assert_eq!(arrival.remote, stream.get_ref().0.local_addr().unwrap());
        assert!(arrival.verified.is_empty());

        bridge.send(1, Target::Flow(arrival.flow), &message("answer"));
        expect(&mut stream, text("answer").as_bytes()).await;
        drop(stream);
        assert_eq!(bridge.closed().await, arrival.flow);
    }
}

#[tokio::test]
async fn the_bridge_reaches_a_server_that_proves_its_name() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let server = TlsServer::start(&authority.issue(&[META])).await;
    let mut bridge = bridge(&folder, &authority, &[(META, &[server.address()])]);

    bridge.send(1, to_name("WA.meta.vc"), &message("out"));
    let mut stream = server.accept().await.unwrap();
    let flow = bridge.bound(1).await;
    expect(&mut stream, text("out").as_bytes()).await;

    stream.write_all(text("back").as_bytes()).await.unwrap();
    let (arrival, _) = bridge.received().await;
    assert_eq!((arrival.flow, arrival.outbound), (flow, true));
    assert_eq!(&*arrival.verified, [META]);
}

#[tokio::test]
async fn a_trusted_certificate_of_another_name_is_refused() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let mitm = TlsServer::start(&authority.issue(&["evil.example.com"])).await;
    let mut bridge = bridge(&folder, &authority, &[(META, &[mitm.address()])]);

    bridge.send(1, to_name(META), &message("secret"));
    assert!(mitm.accept().await.is_err());
    assert!(matches!(bridge.send_failed(1).await, SendFailure::Unverified(_)));
    assert_eq!(bridge.net.counters().servers_unverified.total(), 1);
}

#[tokio::test]
async fn an_expired_certificate_and_one_of_an_unknown_authority_are_refused() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let expired = TlsServer::start(&authority.issue_until(&[META], 2_020)).await;
    let unknown = TlsServer::start(&Authority::new().issue(&[META])).await;
    for server in [expired, unknown] {
        let mut bridge = bridge(&folder, &authority, &[(META, &[server.address()])]);
        bridge.send(1, to_name(META), &message("secret"));
        assert!(server.accept().await.is_err());
        assert!(matches!(bridge.send_failed(1).await, SendFailure::Unverified(_)));
    }
}

#[tokio::test]
async fn an_address_needs_a_certificate_for_the_address() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let named = TlsServer::start(&authority.issue(&[META])).await;
    let numbered = TlsServer::start(&authority.issue(&["127.0.0.1"])).await;
    let mut bridge = bridge(&folder, &authority, &[]);
    bridge.send(1, common::to(Transport::Tls, named.address()), &message("no"));
    assert!(named.accept().await.is_err());
    assert!(matches!(bridge.send_failed(1).await, SendFailure::Unverified(_)));
    bridge.send(2, common::to(Transport::Tls, numbered.address()), &message("yes"));
    let mut stream = numbered.accept().await.unwrap();
    expect(&mut stream, text("yes").as_bytes()).await;
}

#[tokio::test]
async fn a_connection_verified_for_one_name_is_not_used_for_another_at_the_same_address() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let server = TlsServer::start(&authority.issue(&[META])).await;
    let here = [server.address()];
    let mut bridge = bridge(&folder, &authority, &[(META, &here), ("other.example.com", &here)]);

    bridge.send(1, to_name(META), &message("first"));
    let mut verified = server.accept().await.unwrap();
    bridge.bound(1).await;
    expect(&mut verified, text("first").as_bytes()).await;

    bridge.send(2, to_name("other.example.com"), &message("second"));
    assert!(server.accept().await.is_err(), "a fresh connection that the bridge refuses");
    assert!(matches!(bridge.send_failed(2).await, SendFailure::Unverified(_)));

    // Nothing of the second went out on the first connection.
    bridge.send(3, to_name(META), &message("third"));
    bridge.bound(3).await;
    expect(&mut verified, text("third").as_bytes()).await;
}

#[tokio::test]
async fn requests_to_one_name_share_one_connection_even_while_it_is_being_opened() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let server = TlsServer::start(&authority.issue(&[META])).await;
    let mut bridge = bridge(&folder, &authority, &[(META, &[server.address()])]);
    for token in 0..10 {
        bridge.send(token, to_name(META), &message(&format!("call-{token}")));
    }
    let mut stream = server.accept().await.unwrap();
    let first = bridge.bound(0).await;
    for token in 1..10 {
        assert_eq!(bridge.bound(token).await, first);
    }
    for token in 0..10 {
        expect(&mut stream, text(&format!("call-{token}")).as_bytes()).await;
    }
    bridge.send(10, to_name(META), &message("later"));
    assert_eq!(bridge.bound(10).await, first);
    expect(&mut stream, text("later").as_bytes()).await;
}

#[tokio::test]
async fn a_client_certificate_of_a_configured_authority_proves_its_names() {
    let (folder, authority, clients) = (Folder::new(), Authority::new(), Authority::new());
    let mut config = tls_config(&folder, &authority, &[("pbx.example.com", &[closed_port().await])]);
    config.tls.get_mut(&Side::Meta).unwrap().client_authorities =
        Some(folder.write("clients.pem", &clients.pem));
    let mut bridge = Bridge::start(config);

    let client = TlsClient::with_certificate(&authority, &clients.issue(&["PBX.example.com"]));
    let mut stream = client.connect(bridge.address(Transport::Tls), NAME).await.unwrap();
    stream.write_all(text("in").as_bytes()).await.unwrap();
    let (arrival, _) = bridge.received().await;
    assert_eq!(&*arrival.verified, ["pbx.example.com"]);

    // Requests to that name return on it; no other connection could be opened at all.
    bridge.send(1, to_name("pbx.example.com"), &message("out"));
    assert_eq!(bridge.bound(1).await, arrival.flow);
    expect(&mut stream, text("out").as_bytes()).await;
}

#[tokio::test]
async fn a_client_certificate_that_proves_nothing_is_no_obstacle() {
    let (folder, authority, clients) = (Folder::new(), Authority::new(), Authority::new());
    let mut asking = tls_config(&folder, &authority, &[]);
    asking.tls.get_mut(&Side::Meta).unwrap().client_authorities =
        Some(folder.write("clients.pem", &clients.pem));
    let not_asking = tls_config(&folder, &authority, &[]);

    let expired = clients.issue_until(&["pbx.example.com"], 2_020);
    let foreign = Authority::new().issue(&["pbx.example.com"]);
    let good = clients.issue(&["pbx.example.com"]);
    for (config, certificate) in [(asking.clone(), expired), (asking.clone(), foreign), (not_asking, good)] {
        let mut bridge = Bridge::start(config);
        let client = TlsClient::with_certificate(&authority, &certificate);
        let mut stream = client.connect(bridge.address(Transport::Tls), NAME).await.unwrap();
        stream.write_all(text("in").as_bytes()).await.unwrap();
        assert!(bridge.received().await.0.verified.is_empty());
    }
    let mut bridge = Bridge::start(asking);
    let client = TlsClient::new(&authority, BOTH_VERSIONS);
    let mut stream = client.connect(bridge.address(Transport::Tls), NAME).await.unwrap();
    stream.write_all(text("bare").as_bytes()).await.unwrap();
    assert!(bridge.received().await.0.verified.is_empty());
}

#[tokio::test]
async fn the_client_hello_names_the_server_and_offers_no_alpn() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let bridge = bridge(&folder, &authority, &[(META, &[listener.local_addr().unwrap()])]);
    bridge.send(1, to_name(META), &message("out"));

    let (mut tcp, _) = within(listener.accept()).await.unwrap();
    let mut acceptor = rustls::server::Acceptor::default();
    let accepted = loop {
        let mut bytes = [0; 4_096];
        let length = within(tcp.read(&mut bytes)).await.unwrap();
        let mut rest = bytes.get(..length).unwrap();
        while !rest.is_empty() {
            acceptor.read_tls(&mut rest).unwrap();
        }
        if let Some(accepted) = acceptor.accept().unwrap() {
            break accepted;
        }
    };
    let hello = accepted.client_hello();
    assert!(hello.alpn().is_none());
    assert_eq!(hello.server_name(), Some(META));
}

#[tokio::test]
async fn a_client_that_offers_alpn_is_served_without() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let bridge = bridge(&folder, &authority, &[]);
    let client = TlsClient::new(&authority, BOTH_VERSIONS).offering_alpn("sip");
    let stream = client.connect(bridge.address(Transport::Tls), NAME).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), None);
}

#[tokio::test]
async fn a_reload_serves_new_connections_with_the_new_certificate_and_keeps_the_old_ones() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let mut bridge = bridge(&folder, &authority, &[]);
    let address = bridge.address(Transport::Tls);
    let client = TlsClient::new(&authority, BOTH_VERSIONS);
    let mut old = client.connect(address, NAME).await.unwrap();
    let before = bridge.net.certificates();
    assert_eq!(before.first().unwrap().names, [NAME]);
    let issued = authority.issue_until(&["new.example.com"], 2_090);

    // Under another name, as an operator may have it who keeps the old ones.
    let renewed = CertificateFiles {
        chain: folder.write("renewed.pem", &issued.chain),
        key: folder.write("renewed.key", &issued.key),
    };
    let mut tls = tls_config(&folder, &authority, &[]).tls;
    tls.get_mut(&Side::Meta).unwrap().certificate = Some(renewed);
    let after = bridge.net.reload_certificates(&tls).unwrap();
    assert_eq!(after, bridge.net.certificates());
    let status = after.first().unwrap();
    assert_eq!((status.side, status.names.as_slice()), (Side::Meta, &["new.example.com".to_owned()][..]));
    assert_eq!(status.not_after.to_string(), "2090-01-01T00:00:00.000Z");
    assert!(status.not_after < before.first().unwrap().not_after);
    assert!(status.seconds_left(setu_model::Wall::from_unix_ms(0)) > 0);

    assert!(client.connect(address, NAME).await.is_err());
    let _new = client.connect(address, "new.example.com").await.unwrap();
    old.write_all(text("still-here").as_bytes()).await.unwrap();
    assert_eq!(call_id(&bridge.received().await.1), "still-here");
}

#[tokio::test]
async fn a_reload_of_a_bad_certificate_changes_nothing_and_says_why() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let bridge = bridge(&folder, &authority, &[]);
    let before = bridge.net.certificates();
    let tls = tls_config(&folder, &authority, &[]).tls;

    folder.certificate(&authority.issue_until(&[NAME], 2_020));
    let error = bridge.net.reload_certificates(&tls).unwrap_err().to_string();
    assert!(error.contains("chain.pem expired on 2020-01-01"), "{error}");
    folder.write("key.pem", "no key at all");
    assert!(bridge.net.reload_certificates(&tls).is_err());

    assert_eq!(bridge.net.certificates(), before);
    let client = TlsClient::new(&authority, BOTH_VERSIONS);
    client.connect(bridge.address(Transport::Tls), NAME).await.unwrap();
}

#[tokio::test]
async fn the_next_address_takes_over_from_one_that_is_closed_and_one_that_proves_nothing() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let mitm = TlsServer::start(&authority.issue(&["evil.example.com"])).await;
    let good = TlsServer::start(&authority.issue(&[META])).await;
    let addresses = [closed_port().await, mitm.address(), good.address()];
    let mut bridge = bridge(&folder, &authority, &[(META, &addresses)]);
    bridge.send(1, to_name(META), &message("out"));
    assert!(mitm.accept().await.is_err());
    let mut stream = good.accept().await.unwrap();
    bridge.bound(1).await;
    expect(&mut stream, text("out").as_bytes()).await;
    assert_eq!(bridge.net.counters().unreachable.total(), 1);
    assert_eq!(bridge.net.counters().servers_unverified.total(), 1);
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_cut_on_both_sides() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let mute = TcpListener::bind(LOOPBACK).await.unwrap();
    let mut config = tls_config(&folder, &authority, &[(META, &[mute.local_addr().unwrap()])]);
    config.timeouts = Timeouts { handshake: Duration::from_millis(30), ..Timeouts::default() };
    let mut bridge = Bridge::start(config);

    let mut silent = TcpStream::connect(bridge.address(Transport::Tls)).await.unwrap();
    assert!(expect_end(&mut silent).await.is_empty());
    assert_eq!(bridge.net.counters().handshakes_timed_out.total(), 1);

    bridge.send(1, to_name(META), &message("out"));
    assert!(matches!(bridge.send_failed(1).await, SendFailure::Unreachable(_)));
    assert_eq!(bridge.net.counters().handshakes_timed_out.total(), 2);
}

#[tokio::test]
async fn a_hop_that_is_not_reached_in_time_is_given_up_as_a_whole() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let mute = TcpListener::bind(LOOPBACK).await.unwrap();
    let mut config = tls_config(&folder, &authority, &[(META, &[mute.local_addr().unwrap()])]);
    config.timeouts = Timeouts { open: Duration::from_millis(30), ..Timeouts::default() };
    let mut bridge = Bridge::start(config);
    bridge.send(1, to_name(META), &message("out"));
    let reason = bridge.send_failed(1).await;
    assert_eq!(reason, SendFailure::Unreachable("no address was reached in time".to_owned()));
}

#[tokio::test]
async fn what_is_not_tls_on_the_tls_port_is_cut_and_counted() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let mut bridge = bridge(&folder, &authority, &[]);
    let garbage: [&[u8]; 3] =
        [text("clear").as_bytes(), b"\0\0\0\0\0\0\0\0\0\0\0\0", b"GET / HTTP/1.1\r\n\r\n"]
            .map(|bytes| &*bytes.to_vec().leak());
    for bytes in garbage {
        let mut stream = TcpStream::connect(bridge.address(Transport::Tls)).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        expect_end(&mut stream).await;
    }
    assert_eq!(bridge.net.counters().not_tls.total(), 3);
    bridge.nothing_more();
}

#[tokio::test]
async fn a_client_that_does_not_believe_our_certificate_is_counted() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let bridge = bridge(&folder, &authority, &[]);
    let counters = bridge.net.counters();
    for (count, version) in (1..).zip(BOTH_VERSIONS) {
        let stranger = TlsClient::new(&Authority::new(), &[version]);
        assert!(stranger.connect(bridge.address(Transport::Tls), NAME).await.is_err());
        until(|| counters.certificate_refused_by_peer.total() == count).await;
    }
}

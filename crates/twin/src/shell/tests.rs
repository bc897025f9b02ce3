//! The twins on loopback sockets. Waits are for events, never for time.

use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::agent::{PhoneAnswer, PhoneEnder};
use crate::meta::{BusinessNumber, Quirks, UserSaw, Violation};
use crate::person::Person;

const MOST: Duration = Duration::from_secs(30);
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn edge_config(port: u16) -> EdgeConfig {
    let number = BusinessNumber::with_sdes("+15557000", "sip.bridge.test", port, "pw");
    EdgeConfig { sip_port: 0, media_ports: vec![0; 2], numbers: vec![number], ..EdgeConfig::default() }
}

fn edge_options(config: EdgeConfig, authority: &TestAuthority) -> EdgeOptions {
    let mut options = EdgeOptions::new(config, authority).unwrap();
    options.resolve.insert("sip.bridge.test".into(), LOCALHOST);
    options
}

fn connector(authority: &TestAuthority, alpn: &[&str]) -> tokio_rustls::TlsConnector {
    let options = TlsOptions { roots_pem: authority.pem().to_owned(), ..TlsOptions::default() };
    tls::connector(&options, &alpn.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
}

/// A TLS server that lets in one client and tells the names on its certificate, if it showed one.
async fn server(
    identity: Identity,
    roots_pem: &str,
) -> (u16, tokio::task::JoinHandle<io::Result<(bool, String)>>) {
    let options = TlsOptions {
        roots_pem: roots_pem.to_owned(),
        server: Some(identity),
        request_client_cert: true,
        ..TlsOptions::default()
    };
    let acceptor = tls::acceptor(&options).unwrap().unwrap();
    let listener = tokio::net::TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        let mut stream = acceptor.accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().is_some();
        let mut text = vec![0; 4_096];
        let size = stream.read(&mut text).await?;
        text.truncate(size);
        Ok((shown, String::from_utf8_lossy(&text).into_owned()))
    });
    (port, task)
}

#[tokio::test]
async fn the_edge_reaches_a_bridge_with_a_right_certificate_and_shows_its_own_when_asked() {
    for present_client_cert in [true, false] {
        let authority = TestAuthority::new().unwrap();
        let identity = authority.issue(&["sip.bridge.test"]).unwrap();
        let (port, server) = server(identity, authority.pem()).await;
        let quirks = Quirks { present_client_cert, ..Quirks::default() };
        let config = EdgeConfig { quirks, ..edge_config(port) };
        let edge = spawn_edge(edge_options(config, &authority)).await.unwrap();
        edge.start_call(CallSpec::new("+12195550714", "+15557000")).await.unwrap();
        let (shown, text) = server.await.unwrap().unwrap();
        assert_eq!(shown, present_client_cert);
        assert!(text.starts_with("INVITE sip:+15557000@sip.bridge.test;transport=tls SIP/2.0\r\n"), "{text}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_foreign_expired_or_for_another_name_fails_the_call_silently() {
    let authority = TestAuthority::new().unwrap();
    let foreign = TestAuthority::new().unwrap().issue(&["sip.bridge.test"]).unwrap();
    let expired = authority.issue_expired(&["sip.bridge.test"]).unwrap();
    let other = authority.issue(&["other.test"]).unwrap();
    for identity in [foreign, expired, other] {
        let (port, server) = server(identity, authority.pem()).await;
        let edge = spawn_edge(edge_options(edge_config(port), &authority)).await.unwrap();
        let report = edge.call(CallSpec::new("+12195550714", "+15557000")).await.unwrap();
        assert_eq!((report.saw, report.violations), (UserSaw::CallFailed, vec![Violation::BadCertificate]));
        assert!(server.await.unwrap().is_err(), "no INVITE");
    }
}

#[tokio::test]
async fn a_client_that_offers_alpn_is_refused_with_alert_120_unless_switched_off() {
    let authority = TestAuthority::new().unwrap();
    for alpn_refused in [true, false] {
        let quirks = Quirks { alpn_refused, ..Quirks::default() };
        let config = EdgeConfig { quirks, ..edge_config(9) };
        let edge = spawn_edge(edge_options(config, &authority)).await.unwrap();
        let dial = |alpn: Vec<&'static str>| {
            let (connector, at) = (connector(&authority, &alpn), edge.sip_address());
            async move {
                let stream = TcpStream::connect(at).await?;
                connector.connect(ServerName::try_from("wa.meta.vc").unwrap(), stream).await
            }
        };
        assert!(dial(vec![]).await.is_ok());
        let refused = dial(vec!["sip"]).await;
        assert_eq!(refused.is_err(), alpn_refused);
        if let Err(error) = refused {
            assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
        }
    }
}

const OPTIONS: &str = "OPTIONS sip:wa.meta.vc SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1;branch=z9hG4bK1\r\nFrom: \
    <sip:a@b>;tag=1\r\nTo: <sip:wa.meta.vc>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";

/// What the edge answers to OPTIONS; empty if it cuts the connection.
async fn ask(edge: &EdgeHandle, connector: &tokio_rustls::TlsConnector) -> String {
    let stream = TcpStream::connect(edge.sip_address()).await.unwrap();
    let name = ServerName::try_from("wa.meta.vc").unwrap();
    let Ok(mut stream) = connector.connect(name, stream).await else { return String::new() };
    let mut text = vec![0; 1_024];
    if stream.write_all(OPTIONS.as_bytes()).await.is_err() {
        return String::new();
    }
    let size = stream.read(&mut text).await.unwrap_or(0);
    String::from_utf8_lossy(&text[..size]).into_owned()
}

#[tokio::test]
async fn the_edge_answers_options_over_tls() {
    let authority = TestAuthority::new().unwrap();
    let edge = spawn_edge(edge_options(edge_config(9), &authority)).await.unwrap();
    assert!(ask(&edge, &connector(&authority, &[])).await.starts_with("SIP/2.0 200 OK\r\n"));
}

#[tokio::test]
async fn a_client_certificate_is_looked_at_only_where_it_is_asked_for_and_never_required() {
    let authority = TestAuthority::new().unwrap();
    let foreign = TestAuthority::new().unwrap().issue(&["bridge"]).unwrap();
    for request_client_cert in [true, false] {
        let quirks = Quirks { request_client_cert, ..Quirks::default() };
        let config = EdgeConfig { quirks, ..edge_config(9) };
        let edge = spawn_edge(edge_options(config, &authority)).await.unwrap();
        let with_foreign = TlsOptions {
            roots_pem: authority.pem().to_owned(),
            client: Some(foreign.clone()),
            ..TlsOptions::default()
        };
        let with_foreign = tls::connector(&with_foreign, &[]).unwrap();
        assert_eq!(ask(&edge, &with_foreign).await.is_empty(), request_client_cert);
        assert!(!ask(&edge, &connector(&authority, &[])).await.is_empty());
    }
}

#[tokio::test]
async fn two_telephones_talk_on_sockets_over_every_transport() {
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        let authority = TestAuthority::new().unwrap();
        let called_habits = Habits { answer: PhoneAnswer::AfterMs(0), ..Habits::default() };
        let called = PhoneConfig {
            sip_port: 0,
            media_ports: vec![0],
            habits: called_habits,
            ..PhoneConfig::trunk("called", "pbx.test", transport)
        };
        let mut called = PhoneOptions::new(called);
        called.identity = Some(authority.issue(&["pbx.test"]).unwrap());
        called.resolve.insert("pbx.test".into(), LOCALHOST);
        let called = spawn_phone(called).await.unwrap();
        let caller = PhoneConfig {
            sip_port: 0,
            media_ports: vec![0],
            listens: false,
            bridge_port: called.config().sip_port,
            ..PhoneConfig::trunk("caller", "pbx.test", transport)
        };
        let mut caller = PhoneOptions::new(caller);
        authority.pem().clone_into(&mut caller.roots_pem);
        caller.resolve.insert("pbx.test".into(), LOCALHOST);
        let caller = spawn_phone(caller).await.unwrap();
        let talk = Habits { person: Person::saying(440).hanging_up_after(600), ..Habits::default() };
        let events = called.events();
        let report = caller.dial("+15550001", Some(talk)).await.unwrap();
        assert_eq!((report.status, report.ended_by), (Some(200), PhoneEnder::Us), "{transport:?}");
        assert!((report.heard.hz.unwrap() - 880.0).abs() < 5.0, "{transport:?}: {:?}", report.heard);
        let other = wait_for(events, MOST, |event| event.ended().cloned()).await.unwrap();
        assert!((other.heard.hz.unwrap() - 440.0).abs() < 5.0, "{transport:?}: {:?}", other.heard);
    }
}

#[tokio::test]
async fn an_occupied_port_and_an_unusable_certificate_are_errors_at_the_start() {
    let authority = TestAuthority::new().unwrap();
    let first = spawn_edge(edge_options(edge_config(9), &authority)).await.unwrap();
    let occupied = EdgeConfig { sip_port: first.config().sip_port, ..edge_config(9) };
    assert!(spawn_edge(edge_options(occupied, &authority)).await.is_err());
    let mut broken = edge_options(edge_config(9), &authority);
    broken.identity.key_pem = "nonsense".into();
    assert!(spawn_edge(broken).await.is_err());
}

#[tokio::test]
async fn an_edge_run_alone_makes_its_calls_and_tells_everything() {
    let authority = TestAuthority::new().unwrap();
    let edge = spawn_edge(edge_options(edge_config(9), &authority)).await.unwrap();
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = told.clone();
    let calls = vec![CallSpec::new("+12195550714", "+15557000"); 2];
    run_edge(edge, calls, false, move |event| heard.lock().unwrap().push(event.clone())).await.unwrap();
    let ended = told.lock().unwrap().iter().filter(|event| event.ended().is_some()).count();
    assert_eq!(ended, 2);
}

/// A bridge on TLS that refuses its only call, and tells everything it read until the connection ended.
async fn refusing_bridge(identity: Identity) -> (u16, tokio::task::JoinHandle<io::Result<String>>) {
    let options = TlsOptions { server: Some(identity), ..TlsOptions::default() };
    let acceptor = tls::acceptor(&options).unwrap().unwrap();
    let listener = tokio::net::TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        let mut stream = acceptor.accept(stream).await?;
        let mut read = vec![0; 8_192];
        let size = stream.read(&mut read).await?;
        read.truncate(size);
        let invite = String::from_utf8_lossy(&read).into_owned();
        let repeated = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
        let lines = invite.split("\r\n").filter(|line| repeated.iter().any(|name| line.starts_with(name)));
        let lines: Vec<String> =
            lines.map(|line| line.to_owned() + if line.starts_with("To:") { ";tag=b" } else { "" }).collect();
        let refusal = format!("SIP/2.0 486 Busy Here\r\n{}\r\nContent-Length: 0\r\n\r\n", lines.join("\r\n"));
        stream.write_all(refusal.as_bytes()).await?;
        stream.read_to_end(&mut read).await?;
        Ok(String::from_utf8_lossy(&read).into_owned())
    });
    (port, task)
}

/// Without its last word the bridge would wait for half a minute, and refuse the same user meanwhile.
#[tokio::test]
async fn an_edge_run_alone_ends_after_its_last_word_is_written() {
    let authority = TestAuthority::new().unwrap();
    let (port, bridge) = refusing_bridge(authority.issue(&["sip.bridge.test"]).unwrap()).await;
    let calls = vec![CallSpec::new("+12195550714", "+15557000")];
    let edge = spawn_edge(edge_options(edge_config(port), &authority)).await.unwrap();
    run_edge(edge, calls, false, |_| {}).await.unwrap();
    let read = bridge.await.unwrap().unwrap();
    assert!(read.contains("\r\nCSeq: ") && read.contains("ACK sip:+15557000@"), "{read}");
}

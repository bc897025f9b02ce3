//! Starting: what is wrong is said with its remedy, and nothing is half started.

#![expect(clippy::unwrap_used, reason = "helpers of a test may panic")]

mod common;

use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use common::{Authority, Bridge, Folder, LOOPBACK, config, message, text, to};
use setu_model::Side;
use setu_sip::Transport;
use setu_sip_net::{CertificateFiles, ListenerConfig, SipNet, SipNetConfig, TlsConfig};
use tokio::net::UdpSocket;

fn refusal(config: SipNetConfig) -> String {
    SipNet::start(config, |_| {}).unwrap_err().to_string()
}

fn tls(files: CertificateFiles) -> SipNetConfig {
    let mut config = config(&[Transport::Tls]);
    config.tls.insert(Side::Meta, TlsConfig { certificate: Some(files), ..TlsConfig::default() });
    config
}

#[tokio::test]
async fn an_occupied_port_is_named_and_the_listeners_before_it_are_given_back() {
    let taken = TcpListener::bind(LOOPBACK).unwrap();
    let first = std::net::UdpSocket::bind(LOOPBACK).unwrap().local_addr().unwrap();
    for transport in [Transport::Tcp, Transport::Udp] {
        let address = match transport {
            Transport::Udp => first,
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => taken.local_addr().unwrap(),
        };
        let holder = (transport == Transport::Udp).then(|| std::net::UdpSocket::bind(first).unwrap());
        let mut config = config(&[Transport::Tcp]);
        config.listeners.push(ListenerConfig::new(Side::Agents, transport, address));
        let message = refusal(config);
        let expected = format!("cannot listen on {address} ({transport}, agents side): ");
        assert!(message.starts_with(&expected), "{message}");
        assert!(message.contains("another program, or another setu, has this port"), "{message}");
        drop(holder);
    }
    let mut config = config(&[]);
    config.listeners = vec![
        ListenerConfig::new(Side::Agents, Transport::Udp, first),
        ListenerConfig::new(Side::Agents, Transport::Tcp, taken.local_addr().unwrap()),
    ];
    refusal(config);
    std::net::UdpSocket::bind(first).unwrap();
}

#[tokio::test]
async fn an_address_of_another_machine_is_explained() {
    let mut config = config(&[]);
    config.listeners =
        vec![ListenerConfig::new(Side::Meta, Transport::Udp, "192.0.2.1:5060".parse().unwrap())];
    let message = refusal(config);
    assert!(message.contains("bind to a local address and advertise the outer one"), "{message}");
}

#[tokio::test]
async fn each_fault_of_a_certificate_is_told_apart() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let message = refusal(config(&[Transport::Tls]));
    assert_eq!(message, "the meta side listens on TLS but has no certificate: name a chain and a key");

    let expired = folder.certificate(&authority.issue_until(&["sip.example.com"], 2_020));
    let message = refusal(tls(expired));
    assert!(message.contains("chain.pem expired on 2020-01-01T00:00:00.000Z: renew it"), "{message}");

    let mut stolen = authority.issue(&["sip.example.com"]);
    stolen.key = authority.issue(&["sip.example.com"]).key;
    let message = refusal(tls(folder.certificate(&stolen)));
    assert!(message.contains("does not belong to the first certificate"), "{message}");

    let good = folder.certificate(&authority.issue(&["sip.example.com"]));
    let swapped = CertificateFiles { chain: good.key.clone(), key: good.chain.clone() };
    let message = refusal(tls(swapped));
    assert!(message.contains("key.pem holds no certificate in PEM form"), "{message}");

    let missing = CertificateFiles { chain: good.chain.with_file_name("nowhere.pem"), key: good.key };
    let message = refusal(tls(missing));
    assert!(message.contains("cannot read ") && message.contains("nowhere.pem"), "{message}");
}

#[tokio::test]
async fn both_sides_listen_apart_and_say_how_they_are_reached() {
    let mut config = config(&[]);
    config.listeners = vec![
        ListenerConfig {
            advertised_host: Some("sip.example.com".to_owned()),
            advertised_port: Some(15_061),
            ..ListenerConfig::new(Side::Meta, Transport::Tcp, LOOPBACK)
        },
        ListenerConfig::new(Side::Agents, Transport::Udp, LOOPBACK),
    ];
    let bridge = Bridge::start(config);
    let [meta, agents] = bridge.net.listening()[..] else { panic!("two listeners") };
    assert_eq!((meta.0, agents.0), (Side::Meta, Side::Agents));
    let reached = bridge.net.advertised(Side::Meta, Transport::Tcp);
    assert_eq!(reached, Some(("sip.example.com".to_owned(), 15_061)));
    let reached = bridge.net.advertised(Side::Agents, Transport::Udp);
    assert_eq!(reached, Some(("127.0.0.1".to_owned(), agents.2.port())));
    assert_eq!(bridge.net.advertised(Side::Agents, Transport::Tls), None);
}

#[test]
fn without_a_runtime_nothing_starts() {
    assert_eq!(refusal(SipNetConfig::default()), "the transports need a tokio runtime");
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_wire_trace_is_off_until_asked_for_and_never_shows_a_secret() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let shown = || String::from_utf8(log.0.lock().unwrap().clone()).unwrap();

    let mut bridge = Bridge::start(config(&[Transport::Udp]));
    let phone = UdpSocket::bind(LOOPBACK).await.unwrap();
    let target = to(Transport::Udp, phone.local_addr().unwrap());
    bridge.send(1, target.clone(), &message("untraced"));
    assert!(!shown().contains("untraced"));

    bridge.net.set_wire_trace(true);
    let secret = text("inbound")
        .replace("Max-Forwards: 70", "Proxy-Authorization: Digest response=\"canary\"\r\nMax-Forwards: 70");
    let secret = secret.replace("Content-Length: 4\r\n\r\nbody", "\r\na=crypto:1 SUITE inline:canary\r\n");
    phone.send_to(secret.as_bytes(), bridge.address(Transport::Udp)).await.unwrap();
    bridge.bound(1).await;
    bridge.received().await;
    bridge.send(2, target, &message("outbound"));
    let shown = shown();
    assert!(shown.contains("Call-ID: inbound") && shown.contains("Call-ID: outbound"), "{shown}");
    assert!(shown.contains("setu::wire") && !shown.contains("canary"), "{shown}");
}

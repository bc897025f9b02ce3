//! Events posted to a receiver that does whatever a receiver may do.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use setu_control::{EventAnswer, EventClient, EventEndpoint, EventSecret, Outbound};
use setu_model::{EgressPolicy, Secret, Wall};
use setu_twin::shell::TestAuthority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A receiver with a certificate for `name` that says `answer` to everybody, and a client that dials it as crm.example.com.
async fn client(name: &str, answer: &str, allow: &str) -> (EventClient, tokio::task::JoinHandle<Vec<u8>>) {
    let authority = TestAuthority::new().unwrap();
    let identity = authority.issue(&[name]).unwrap();
    let chain = CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.collect::<Result<_, _>>().unwrap(), key)
        .unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = answer.to_owned();
    let asked = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = TlsAcceptor::from(Arc::new(tls)).accept(tcp).await else { return Vec::new() };
        let mut request = Vec::new();
        while !request.ends_with(b"{\"a\":1}") {
            let mut some = [0; 1_024];
            let read = stream.read(&mut some).await.unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&request));
            request.extend(&some[..read]);
        }
        // Whoever has read enough may break off.
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
        // A second connection would be a redirect that is followed.
        let again = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(again.is_err(), "somebody came again");
        request
    });
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("ca.pem");
    std::fs::write(&roots, authority.pem()).unwrap();
    let host = "crm.example.com".to_owned();
    let outbound = Outbound {
        egress: EgressPolicy::new(vec![allow.parse().unwrap()]),
        pinned: BTreeMap::from([(host, vec![(IpAddr::V4(Ipv4Addr::LOCALHOST), Some(port))])]),
        extra_roots: Some(roots),
    };
    let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
    let secrets = vec![EventSecret::parse(&secret).unwrap()];
    let url = "https://crm.example.com/hooks?x=1".parse().unwrap();
    (EventClient::new(EventEndpoint { url, secrets, outbound }).unwrap(), asked)
}

async fn posts(client: &EventClient) -> EventAnswer {
    client.post("CALL.ended", Wall::from_unix_ms(1_614_265_330_999), "{\"a\":1}".to_owned()).await
}

const HERE: &str = "127.0.0.0/8";

#[tokio::test]
async fn what_a_receiver_says_is_heard_by_its_status_alone() {
    let huge = format!("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n{}", "x".repeat(100_000));
    let refused =
        |status, after: Option<u64>| EventAnswer::Refused { status, after: after.map(Duration::from_secs) };
    for (answer, expected) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", EventAnswer::Taken),
        (&*huge, EventAnswer::Taken),
        ("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", EventAnswer::Gone),
        ("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", refused(503, Some(7))),
        ("HTTP/1.1 429 Slow\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n", refused(429, None)),
        (
            "HTTP/1.1 302 Elsewhere\r\nLocation: https://crm.example.com/other\r\nContent-Length: 0\r\n\r\n",
            refused(302, None),
        ),
    ] {
        let (client, asked) = client("crm.example.com", answer, HERE).await;
        assert_eq!(posts(&client).await, expected, "{}", answer.chars().take(40).collect::<String>());
        let request = String::from_utf8(asked.await.unwrap()).unwrap().to_ascii_lowercase();
        for line in ["post /hooks?x=1 http/1.1", "webhook-id: call.ended", "webhook-timestamp: 1614265330"] {
            assert!(request.contains(line), "no {line} in {request}");
        }
    }
}

#[tokio::test]
async fn a_receiver_that_says_nonsense_or_proves_another_name_has_taken_nothing() {
    let (nonsense, _asked) = client("crm.example.com", "nonsense\r\n\r\n", HERE).await;
    assert!(matches!(posts(&nonsense).await, EventAnswer::Unreached(_)));
    let (stranger, _asked) = client("evil.example.com", "HTTP/1.1 200 OK\r\n\r\n", HERE).await;
    let EventAnswer::Unreached(why) = posts(&stranger).await else { panic!("a stranger was told") };
    assert!(why.contains("certificate"), "{why}");
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_not_dialled() {
    let (client, asked) = client("crm.example.com", "HTTP/1.1 200 OK\r\n\r\n", "10.0.0.0/8").await;
    let EventAnswer::Unreached(why) = posts(&client).await else { panic!("it was dialled") };
    assert!(why.contains("egress.allow does not cover it"), "{why}");
    assert!(!asked.is_finished(), "nobody came");
    asked.abort();
}

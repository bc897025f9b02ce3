//! The HTTP side as a scraper, a load balancer and a nuisance see it.

#![expect(clippy::unwrap_used, reason = "helpers of a test may panic")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use setu_control::{
    CertificateHealth, Control, Health, HttpLimits, ListenerHealth, Metrics, State, Transport, serve,
    serve_with,
};
use setu_model::{Side, Wall};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn health(status: State) -> Health {
    Health {
        status,
        version: "0.1.0".to_owned(),
        uptime_s: 12,
        calls: 3,
        certificates: vec![CertificateHealth {
            side: Side::Meta,
            names: vec!["sip.example.com".to_owned()],
            not_after: Wall::from_unix_ms(1_900_000_000_000),
            days_left: 41,
        }],
        listeners: vec![ListenerHealth {
            side: Side::Meta,
            transport: Transport::Tls,
            address: "127.0.0.1:5061".parse().unwrap(),
        }],
    }
}

async fn start(status: State) -> Control {
    serve(LOOPBACK, Arc::new(Metrics::new()), move || health(status)).await.unwrap()
}

async fn exchange(to: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is as good an end as any.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

async fn get(to: SocketAddr, path: &str) -> String {
    exchange(to, format!("GET {path} HTTP/1.1\r\nHost: setu\r\nConnection: close\r\n\r\n").as_bytes()).await
}

#[tokio::test]
async fn health_tells_what_an_operator_asks_first() {
    let control = start(State::Ok).await;
    let answer = get(control.address(), "/healthz").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["status"], "ok");
    assert_eq!(body["version"], "0.1.0");
    assert_eq!(body["uptime_s"], 12);
    assert_eq!(body["calls"], 3);
    assert_eq!(body["certificates"][0]["days_left"], 41);
    assert_eq!(body["listeners"][0]["transport"], "tls");
    assert_eq!(body["listeners"][0]["address"], "127.0.0.1:5061");
    control.shutdown().await;
}

#[tokio::test]
async fn a_draining_bridge_asks_the_load_balancer_to_look_elsewhere() {
    for status in [State::Starting, State::Draining] {
        let control = start(status).await;
        let answer = get(control.address(), "/healthz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        control.shutdown().await;
    }
    let control = start(State::Draining).await;
    let answer = get(control.address(), "/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\"status\":\"draining\""), "{answer}");
    control.shutdown().await;
}

#[tokio::test]
async fn metrics_are_openmetrics_text_taken_at_the_scrape() {
    let metrics = Arc::new(Metrics::new());
    let control = serve(LOOPBACK, Arc::clone(&metrics), || health(State::Ok)).await.unwrap();
    metrics.calls_active(5);
    let answer = get(control.address(), "/metrics").await;
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"), "{answer}");
    assert!(answer.contains("\nsetu_calls_active 5\n"), "{answer}");
    control.shutdown().await;
}

#[tokio::test]
async fn nothing_else_is_served() {
    let control = start(State::Ok).await;
    assert!(get(control.address(), "/").await.starts_with("HTTP/1.1 404 "));
    let post = b"POST /healthz HTTP/1.1\r\nHost: setu\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert!(exchange(control.address(), post).await.starts_with("HTTP/1.1 405 "));
    control.shutdown().await;
}

#[tokio::test]
async fn an_occupied_port_is_named_with_its_remedy() {
    let control = start(State::Ok).await;
    let taken = control.address();
    let error = serve(taken, Arc::new(Metrics::new()), || health(State::Ok)).await.unwrap_err().to_string();
    assert!(error.contains(&taken.to_string()), "{error}");
    assert!(error.contains("another program, or another setu, has this port"), "{error}");
    control.shutdown().await;
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut() {
    let limits = HttpLimits { head_time: Duration::from_millis(30), ..HttpLimits::default() };
    let control = serve_with(LOOPBACK, Arc::new(Metrics::new()), || health(State::Ok), limits).await.unwrap();
    let answer = exchange(control.address(), b"GET /healthz HTTP/1.1\r\nHost: se").await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    control.shutdown().await;
}

#[tokio::test]
async fn an_oversized_head_is_refused() {
    let control = start(State::Ok).await;
    let long = format!("GET /healthz HTTP/1.1\r\nHost: setu\r\nX-Long: {}\r\n\r\n", "x".repeat(20_000));
    let answer = exchange(control.address(), long.as_bytes()).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    let many = format!("GET /healthz HTTP/1.1\r\nHost: setu\r\n{}\r\n", "X-Many: 1\r\n".repeat(100));
    let answer = exchange(control.address(), many.as_bytes()).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    control.shutdown().await;
}

#[tokio::test]
async fn shutdown_closes_idle_connections_and_frees_the_port() {
    let control = start(State::Ok).await;
    let address = control.address();
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: setu\r\n\r\n").await.unwrap();
    let mut some = [0; 16];
    idle.read_exact(&mut some).await.unwrap();
    control.shutdown().await;
    let mut rest = Vec::new();
    let _ = idle.read_to_end(&mut rest).await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn connections_past_the_limit_wait_for_a_slot() {
    let limits = HttpLimits { connections: 1, ..HttpLimits::default() };
    let asked = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&asked);
    let source = move || {
        seen.store(true, Ordering::Relaxed);
        health(State::Ok)
    };
    let control = serve_with(LOOPBACK, Arc::new(Metrics::new()), source, limits).await.unwrap();
    let holder = TcpStream::connect(control.address()).await.unwrap();
    let address = control.address();
    let waiting = tokio::spawn(async move { get(address, "/healthz").await });
    drop(holder);
    assert!(waiting.await.unwrap().starts_with("HTTP/1.1 200"));
    assert!(asked.load(Ordering::Relaxed));
    control.shutdown().await;
}

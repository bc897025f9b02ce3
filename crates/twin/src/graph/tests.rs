//! The Graph side in virtual time, asked over its own streams.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use setu_model::{Now, SeededEntropy, Wall};

use super::{GraphConfig, GraphEdge, GraphHabits, GraphNumber, UserReply};
use crate::io::{ConnId, Output, Party, StreamFacts, Transport};

struct House {
    edge: GraphEdge,
    now: Now,
}

impl House {
    fn new(habits: GraphHabits) -> Self {
        let number =
            GraphNumber { number: "+911234567890".to_owned(), id: "106".to_owned(), token: "t".to_owned() };
        let config = GraphConfig { numbers: vec![number], habits, ..GraphConfig::default() };
        let now = Now { mono: Instant::now(), wall: Wall::from_unix_ms(1_760_000_000_000) };
        let mut edge = GraphEdge::new(config, Box::new(SeededEntropy::new(7)));
        let here = SocketAddr::from(([127, 0, 0, 1], 443));
        let facts = StreamFacts { local: here, remote: here, transport: Transport::Tls, alpn: Vec::new() };
        edge.handle_stream_opened(ConnId::accepted(1), facts, now);
        while edge.poll_output().is_some() {}
        Self { edge, now }
    }

    fn ask(&mut self, method: &str, path: &str, token: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} /v23.0/106/{path} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.edge.handle_stream_bytes(ConnId::accepted(1), request.as_bytes(), self.now);
        while let Some(output) = self.edge.poll_output() {
            if let Output::SendStream { conn, bytes } = output
                && conn == ConnId::accepted(1)
            {
                let text = String::from_utf8(bytes.to_vec()).unwrap();
                let (head, body) = text.split_once("\r\n\r\n").unwrap();
                return (
                    head.split(' ').nth(1).unwrap().parse().unwrap(),
                    serde_json::from_str(body).unwrap(),
                );
            }
        }
        panic!("no answer to {method} {path}");
    }

    fn requests_permission(&mut self) -> (u16, Value) {
        let action = json!({"name": "call_permission_request"});
        let interactive = json!({"type": "call_permission_request", "action": action});
        let message = json!({
            "messaging_product": "whatsapp", "to": "919876543210", "type": "interactive", "interactive": interactive,
        });
        self.ask("POST", "messages", "t", &message)
    }

    fn status(&mut self) -> String {
        let (status, body) = self.ask("GET", "call_permissions?user_wa_id=919876543210", "t", &Value::Null);
        assert_eq!(status, 200, "{body}");
        body["permission"]["status"].as_str().unwrap().to_owned()
    }

    fn pass(&mut self, by: Duration) {
        self.now = self.now.after(by);
        self.edge.handle_timeout(self.now);
    }
}

fn strict() -> GraphHabits {
    GraphHabits { permitted: false, ..GraphHabits::default() }
}

#[test]
fn a_user_who_is_asked_permits_calls_for_a_week() {
    let mut house = House::new(GraphHabits { replies: Some((UserReply::Temporary, 500)), ..strict() });
    let connect = json!({"to": "919876543210", "action": "connect", "session": {}});
    let (status, body) = house.ask("POST", "calls", "t", &connect);
    assert_eq!((status, body["error"]["code"].as_i64()), (401, Some(138_006)));
    assert_eq!(house.requests_permission().0, 200);
    assert_eq!(house.status(), "no_permission", "the user has not replied yet");
    house.pass(Duration::from_millis(500));
    assert_eq!(house.status(), "temporary");
    let (_, body) = house.ask("POST", "calls", "t", &connect);
    assert_eq!(body["error"]["code"].as_i64(), Some(100), "only the description is missing: {body}");
    house.pass(Duration::from_secs(7 * 86_400));
    assert_eq!(house.status(), "no_permission", "the end is never told");
}

#[test]
fn a_second_request_within_a_day_is_refused() {
    let mut house = House::new(strict());
    assert_eq!(house.requests_permission().0, 200);
    let (status, body) = house.requests_permission();
    assert_eq!((status, body["error"]["code"].as_i64()), (400, Some(138_009)));
}

#[test]
fn a_number_is_asked_with_its_own_token_and_nothing_else_is_there() {
    let mut house = House::new(strict());
    let (status, body) = house.ask("POST", "calls", "another", &json!({"action": "reject"}));
    assert_eq!((status, body["error"]["code"].as_i64()), (401, Some(190)));
    assert_eq!(house.ask("POST", "elsewhere", "t", &Value::Null).0, 404);
    let (status, body) = house.ask("POST", "calls", "t", &json!({"action": "reject", "call_id": "x"}));
    assert_eq!((status, body["error"]["code"].as_i64()), (400, Some(100)));
}

#[test]
fn a_country_or_a_restriction_forbids_calls_whatever_is_permitted() {
    let mut house = House::new(GraphHabits { forbids: Some(138_013), ..GraphHabits::default() });
    let (status, body) = house.ask("POST", "calls", "t", &json!({"to": "919876543210", "action": "connect"}));
    assert_eq!((status, body["error"]["code"].as_i64()), (400, Some(138_013)));
}

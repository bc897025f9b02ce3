//! The Graph side in virtual time, asked over its own streams.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use setu_model::{Now, SeededEntropy, Wall};

use super::{GraphConfig, GraphEdge, GraphHabits, GraphNumber, UserReply};
use crate::io::{ConnId, Output, Party, StreamFacts, Transport};

struct House {
    edge: GraphEdge,
    now: Now,
    /// What was passed over while an answer was waited for.
    aside: VecDeque<Output>,
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
        Self { edge, now, aside: VecDeque::new() }
    }

    fn ask(&mut self, method: &str, path: &str, token: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} /v23.0/106/{path} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.edge.handle_stream_bytes(ConnId::accepted(1), request.as_bytes(), self.now);
        while let Some(output) = self.edge.poll_output() {
            let Output::SendStream { conn, bytes } = &output else {
                self.aside.push_back(output);
                continue;
            };
            if *conn == ConnId::accepted(1) {
                let text = String::from_utf8(bytes.to_vec()).unwrap();
                let (head, body) = text.split_once("\r\n\r\n").unwrap();
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                return (status, serde_json::from_str(body).unwrap());
            }
            self.aside.push_back(output);
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

/// What the edge posts, taken and acknowledged until nothing is left.
fn webhooks(house: &mut House) -> Vec<Value> {
    let mut told = Vec::new();
    while let Some(output) = house.aside.pop_front().or_else(|| house.edge.poll_output()) {
        if let Output::Connect { conn, .. } = output {
            let here = SocketAddr::from(([127, 0, 0, 1], 9_061));
            let facts =
                StreamFacts { local: here, remote: here, transport: Transport::Tcp, alpn: Vec::new() };
            house.edge.handle_stream_opened(conn, facts, house.now);
        } else if let Output::SendStream { conn, bytes } = output
            && conn != ConnId::accepted(1)
        {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            told.push(serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap());
            let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            house.edge.handle_stream_bytes(conn, ok, house.now);
        }
    }
    told
}

fn server(hostname: &str) -> Value {
    json!({"calling": {"status": "ENABLED", "sip": {"status": "ENABLED",
        "servers": [{"hostname": hostname, "port": 5_061}]}}})
}

impl House {
    fn writes(&mut self, body: &Value) -> Result<(), i64> {
        let (status, reply) = self.ask("POST", "settings", "t", body);
        if status == 200 { Ok(()) } else { Err(reply["error"]["code"].as_i64().unwrap()) }
    }

    fn reads(&mut self, query: &str) -> Value {
        let (status, mut reply) = self.ask("GET", &format!("settings{query}"), "t", &Value::Null);
        assert_eq!(status, 200, "{reply}");
        reply["calling"].take()
    }
}

#[test]
fn settings_are_read_back_as_written_and_the_password_only_when_asked_for() {
    let mut house = House::new(GraphHabits { calling: false, ..GraphHabits::default() });
    let fresh = house.reads("");
    assert_eq!((&fresh["status"], fresh.get("srtp_key_exchange_protocol")), (&json!("DISABLED"), None));
    house.writes(&server("sip.example.com")).unwrap();
    house.writes(&json!({"calling": {"srtp_key_exchange_protocol": "SDES", "callback_permission_status": "ENABLED"}})).unwrap();
    let shown = house.reads("");
    assert_eq!(
        (&shown["srtp_key_exchange_protocol"], &shown["sip"]["status"]),
        (&json!("SDES"), &json!("ENABLED"))
    );
    assert_eq!(shown["sip"]["servers"][0].get("sip_user_password"), None);
    let password =
        house.reads("?include_sip_credentials=true")["sip"]["servers"][0]["sip_user_password"].clone();
    assert_eq!(password.as_str().unwrap().len(), 32);

    let told: Vec<_> =
        webhooks(&mut house).iter().map(|told| told["entry"][0]["changes"][0].clone()).collect();
    assert!(told.iter().all(|change| change["field"] == "account_settings_update"), "{told:?}");
    let last = &told.last().unwrap()["value"]["phone_number_settings"];
    assert_eq!(
        (&last["phone_number_id"], &last["calling"]["srtp_key_exchange_protocol"]),
        (&json!("106"), &json!("SDES"))
    );
    house.writes(&json!({"calling": {"callback_permission_status": "ENABLED"}})).unwrap();
    assert_eq!(webhooks(&mut house), [] as [Value; 0], "nothing changed");

    // Disabled with the server alone, the password stays; with everything disabled, there is another.
    let same = |house: &mut House| {
        house.writes(&server("sip.example.com")).unwrap();
        house.reads("?include_sip_credentials=true")["sip"]["servers"][0]["sip_user_password"] == password
    };
    house.writes(&json!({"calling": {"sip": {"status": "DISABLED", "servers": []}}})).unwrap();
    assert!(same(&mut house));
    house
        .writes(&json!({"calling": {"status": "DISABLED", "sip": {"status": "DISABLED", "servers": []}}}))
        .unwrap();
    assert!(!same(&mut house));
}

#[test]
fn each_app_has_a_server_of_its_own_and_sees_no_other_password() {
    let mut house = House::new(GraphHabits::default());
    house.edge.config.apps.insert("other".to_owned(), "77".to_owned());
    house.writes(&server("sip.example.com")).unwrap();
    assert_eq!(house.ask("POST", "settings", "other", &server("sip.example.org")).0, 200);
    let servers = house.reads("?include_sip_credentials=true")["sip"]["servers"].take();
    let shown: Vec<_> = servers
        .as_array()
        .unwrap()
        .iter()
        .map(|server| (server["app_id"].as_str().unwrap(), server.get("sip_user_password").is_some()))
        .collect();
    assert_eq!(shown, [("670843887433847", true), ("77", false)]);
    house.writes(&json!({"calling": {"sip": {"servers": []}}})).unwrap();
    assert_eq!(house.reads("")["sip"]["servers"].as_array().unwrap().len(), 1, "another's stays");
    let last = json!({"calling": {"sip": {"servers": []}}});
    assert_eq!(house.ask("POST", "settings", "other", &last).1["error"]["code"], 100, "one must be left");
}

#[test]
fn what_settings_cannot_be_is_refused_whole() {
    let mut house = House::new(GraphHabits::default());
    let before = house.reads("");
    let hours = |week: Value| json!({"calling": {"call_hours": {"status": "ENABLED", "timezone_id": "UTC", "weekly_operating_hours": week}}});
    let day =
        |open: &str, close: &str| json!({"day_of_week": "MONDAY", "open_time": open, "close_time": close});
    for wrong in [
        json!({}),
        json!({"calling": {"status": "ON"}}),
        json!({"calling": {"sip": {"status": "ENABLED"}}}),
        server("192.0.2.1"),
        server("localhost"),
        json!({"calling": {"sip": {"servers": [{"hostname": "a.b"}, {"hostname": "c.d"}]}}}),
        json!({"calling": {"sip": {"servers": [{"hostname": "a.b", "port": 70_000}]}}}),
        json!({"calling": {"sip": {"servers": [{"hostname": "a.b", "request_uri_user_params": {"x": "y".repeat(129)}}]}}}),
        json!({"calling": {"srtp_key_exchange_protocol": "ZRTP"}}),
        json!({"calling": {"callback_permission_status": "ENABLED", "audio": {"additional_codecs": ["G722"]}}}),
        hours(json!([day("0900", "1200"), day("1100", "1300")])),
        hours(json!([day("0900", "1000"), day("1100", "1200"), day("1300", "1400")])),
        hours(json!([day("1200", "0900")])),
    ] {
        assert_eq!(house.writes(&wrong), Err(100), "{wrong}");
    }
    assert_eq!(house.reads(""), before);
}

#[test]
fn calling_is_enabled_with_enough_messages_and_somebody_to_tell() {
    let habits = GraphHabits { calling: false, ..GraphHabits::default() };
    let mut small = House::new(GraphHabits { messaging_limit: 1_000, ..habits.clone() });
    assert_eq!(small.writes(&server("sip.example.com")), Err(138_015));
    let mut deaf = House::new(GraphHabits { subscribed: false, ..habits });
    assert_eq!(deaf.writes(&json!({"calling": {"status": "ENABLED"}})), Err(138_018));
    deaf.writes(&server("sip.example.com")).unwrap();
    assert_eq!(
        deaf.ask("POST", "calls", "t", &json!({"to": "9", "action": "connect"})).1["error"]["code"],
        131_055
    );
}

#[test]
fn keys_written_with_sip_or_before_it_are_reset_where_meta_does_so() {
    let mut house = House::new(GraphHabits { resets_srtp: true, ..GraphHabits::default() });
    let mut both = server("sip.example.com");
    both["calling"]["srtp_key_exchange_protocol"] = json!("SDES");
    house.writes(&both).unwrap();
    assert_eq!(house.reads("")["srtp_key_exchange_protocol"], "DTLS");
    house.writes(&json!({"calling": {"srtp_key_exchange_protocol": "SDES"}})).unwrap();
    assert_eq!(house.reads("")["srtp_key_exchange_protocol"], "SDES");
    house.writes(&server("sip.example.com")).unwrap();
    assert_eq!(house.reads("")["srtp_key_exchange_protocol"], "DTLS");
}

#[test]
fn a_number_says_how_it_is_doing_as_far_as_it_is_asked() {
    let mut house = House::new(GraphHabits { sip_health: "BLOCKED".to_owned(), ..GraphHabits::default() });
    let path = "?fields=quality_rating,messaging_limit_tier,health_status,nonsense";
    let request = format!("GET /v23.0/106{path} HTTP/1.1\r\nAuthorization: Bearer t\r\n\r\n");
    house.edge.handle_stream_bytes(ConnId::accepted(1), request.as_bytes(), house.now);
    let Some(Output::SendStream { bytes, .. }) = house.edge.poll_output() else { panic!("no answer") };
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let node: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(
        (&node["quality_rating"], &node["messaging_limit_tier"]),
        (&json!("GREEN"), &json!("TIER_100K"))
    );
    let entities = node["health_status"]["entities"].as_array().unwrap();
    let kinds: Vec<_> = entities.iter().map(|one| one["entity_type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["PHONE_NUMBER", "APP"]);
    assert_eq!(
        (&entities[0]["can_receive_call_sip"], &entities[0]["errors"][0]["error_code"]),
        (&json!("BLOCKED"), &json!(138_024))
    );
}

#[test]
fn a_restriction_is_told_shown_and_over_when_it_ends() {
    let mut house = House::new(GraphHabits::default());
    let until = house.now.wall.after(Duration::from_secs(7 * 86_400));
    let now = house.now;
    house.edge.warn("LOW_BUSINESS_INITIATED_CALLING_QUALITY", now);
    house.edge.restrict("106", until, now);
    let told: Vec<_> = webhooks(&mut house)
        .iter()
        .map(|told| told["entry"][0]["changes"][0]["value"]["event"].clone())
        .collect();
    assert_eq!(told, ["ACCOUNT_VIOLATION", "ACCOUNT_RESTRICTION"]);
    assert_eq!(
        house.reads("")["restrictions"]["restrictions_list"][0]["expiration"],
        until.unix_ms() / 1_000
    );
    let connect = json!({"to": "919876543210", "action": "connect"});
    assert_eq!(house.ask("POST", "calls", "t", &connect).1["error"]["code"], 138_014);
    house.pass(Duration::from_secs(7 * 86_400));
    assert_eq!(
        house.ask("POST", "calls", "t", &connect).1["error"]["code"],
        100,
        "only the description is missing"
    );
}

#[test]
fn who_cannot_pay_is_told_instead_of_called() {
    let mut house = House::new(GraphHabits { unpaid: true, ..GraphHabits::default() });
    assert_eq!(house.edge.call(super::GraphCallSpec::new("+919876543210", "+911234567890"), house.now), None);
    let told = webhooks(&mut house);
    assert_eq!(told[0]["entry"][0]["changes"][0]["value"]["errors"][0]["code"], 131_044);
    let connect = json!({"to": "919876543210", "action": "connect"});
    assert_eq!(house.ask("POST", "calls", "t", &connect).1["error"]["code"], 131_044);
}

#[test]
fn outside_the_call_hours_nobody_calls() {
    // The clock says Thursday, 08:53:20 in UTC.
    let mut house = House::new(GraphHabits::default());
    let calls = |house: &mut House, open: &str, close: &str, holiday: &str| {
        let opening = json!({"day_of_week": "THURSDAY", "open_time": open, "close_time": close});
        let hours = json!({"status": "ENABLED", "timezone_id": "UTC", "weekly_operating_hours": [opening],
            "holiday_schedule": [{"date": holiday, "start_time": "0000", "end_time": "2359"}]});
        house.writes(&json!({"calling": {"call_hours": hours}})).unwrap();
        let now = house.now;
        house.edge.call(super::GraphCallSpec::new("+919876543210", "+911234567890"), now).is_some()
    };
    assert!(calls(&mut house, "0800", "0900", "2026-01-01"));
    assert!(!calls(&mut house, "0900", "1800", "2026-01-01"));
    assert!(!calls(&mut house, "0800", "0900", "2025-10-09"));
}

#[test]
fn webhooks_come_in_one_body_and_again_long_after_they_were_taken() {
    let habits = GraphHabits { batches: true, stale_ms: Some(3_600_000), ..GraphHabits::default() };
    let mut house = House::new(habits);
    let now = house.now;
    house.edge.warn("ONE", now);
    house.edge.warn("TWO", now);
    house.edge.warn("THREE", now);
    let told = webhooks(&mut house);
    let entries: Vec<_> = told.iter().map(|body| body["entry"].as_array().unwrap().len()).collect();
    assert_eq!(entries, [1, 2], "the first had left already");
    house.pass(Duration::from_secs(3_600));
    let again: usize = webhooks(&mut house).iter().map(|body| body["entry"].as_array().unwrap().len()).sum();
    assert_eq!(again, 3);
    house.pass(Duration::from_secs(3_600));
    assert_eq!(webhooks(&mut house).len(), 0, "once more, and no more");
}

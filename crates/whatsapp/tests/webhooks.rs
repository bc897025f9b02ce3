//! Webhooks in both dialects, as Meta and providers send them, and as nobody should.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use proptest::prelude::*;
use serde_json::{Value, json};
use setu_model::{Direction, Wall};
use setu_whatsapp::permission::{Customer, Fact, Outcome, Reply};
use setu_whatsapp::webhook::{CallStatus, EndStatus, Event, Heard, MalformedWebhook, SessionKind, read};

const RECEIVED: Wall = Wall::from_unix_ms(1_760_700_000_000);

fn meta(field: &str, value: Value) -> Vec<Heard> {
    let body = json!({"object": "whatsapp_business_account",
        "entry": [{"id": "102290129340398", "changes": [{"field": field, "value": value}]}]});
    read(None, body.to_string().as_bytes(), RECEIVED).unwrap()
}

fn calls(call: Value) -> Heard {
    let mut heard = meta(
        "calls",
        json!({"messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "15550001111", "phone_number_id": "106540352242922"},
            "contacts": [{"profile": {"name": "Asha"}, "wa_id": "919876543210"}],
            "calls": [call]}),
    );
    assert_eq!(heard.len(), 1);
    heard.remove(0)
}

fn at(seconds: i64) -> Wall {
    Wall::from_unix_ms(seconds * 1_000)
}

#[test]
fn a_connect_brings_the_offer_and_who_calls() {
    let heard =
        calls(json!({"id": "wacid.HBgM==", "from": "919876543210", "to": "15550001111", "event": "connect",
        "timestamp": "1760681506", "direction": "USER_INITIATED", "cta_payload": "order-7",
        "session": {"sdp": "v=0\r\n", "sdp_type": "offer"}}));
    assert_eq!((heard.at, heard.number.as_deref()), (at(1_760_681_506), Some("+15550001111")));
    assert_eq!((heard.number_id.as_str(), heard.account.as_str()), ("106540352242922", "102290129340398"));
    assert_eq!(heard.key, "connect:wacid.HBgM==");
    let Event::Connect(connect) = &heard.event else { panic!("{heard:?}") };
    assert_eq!(connect.customer, Customer::of_number("919876543210"));
    assert_eq!(connect.cta_payload.as_deref(), Some("order-7"));
    let session = connect.session.as_ref().unwrap();
    assert_eq!((session.kind, session.sdp.as_str()), (SessionKind::Offer, "v=0\r\n"));
    assert!(matches!(heard.facts().unwrap().fact, Fact::Phoned { .. }));
}

#[test]
fn the_older_form_of_the_description_is_read_where_it_stands_alone() {
    let inner = json!({"type": "answer", "sdp": "v=0\r\n"}).to_string();
    for sdp in [inner.as_str(), "v=0\r\n"] {
        let heard = calls(json!({"id": "w", "event": "connect", "direction": "BUSINESS_INITIATED",
            "to": "919876543210", "connection": {"webrtc": {"sdp": sdp}}}));
        let Event::Connect(connect) = heard.event else { panic!() };
        assert_eq!(connect.session.unwrap().sdp, "v=0\r\n");
        assert_eq!(connect.customer, Customer::of_number("919876543210"));
    }
}

#[test]
fn a_failed_call_tells_its_errors_once_although_they_stand_in_two_places() {
    let error =
        json!([{"code": 138_021, "title": "t", "message": "no media", "error_data": {"details": "d"}}]);
    let heard = meta(
        "calls",
        json!({"metadata": {"display_phone_number": "15550001111", "phone_number_id": "1"}, "errors": error,
            "calls": [{"id": "w", "event": "terminate", "direction": "USER_INITIATED", "from": "919876543210",
                "start_time": "1760681513", "end_time": "1760681533", "duration": 20, "status": "FAILED",
                "errors": error}]}),
    );
    let [heard] = heard.as_slice() else { panic!("{heard:?}") };
    let Event::Terminate(end) = &heard.event else { panic!() };
    assert_eq!((end.status, end.duration_s), (EndStatus::Failed, Some(20)));
    assert_eq!((end.started, end.ended), (Some(at(1_760_681_513)), Some(at(1_760_681_533))));
    assert_eq!(end.errors.iter().map(|error| error.code).collect::<Vec<_>>(), [138_021]);
}

#[test]
fn an_unanswered_business_call_is_completed_without_times_and_counts_as_missed() {
    for (fields, outcome) in [
        (json!({"status": "COMPLETED"}), Outcome::Missed),
        (json!({"status": "COMPLETED", "start_time": "1760681513", "duration": "20"}), Outcome::Connected),
        (json!({"status": "FAILED"}), Outcome::Failed),
    ] {
        let mut call = json!({"id": "w", "event": "terminate", "direction": "BUSINESS_INITIATED",
            "to": "919876543210", "timestamp": "1760681600"});
        call.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let facts = calls(call).facts().unwrap();
        assert_eq!(facts.customer, Customer::of_number("919876543210"));
        let Fact::Called { outcome: told, .. } = facts.fact else { panic!("{facts:?}") };
        assert_eq!(told, outcome);
    }
}

#[test]
fn statuses_of_business_calls_are_told_one_by_one() {
    let status = |word: &str| {
        json!({"id": "w", "type": "call", "status": word, "timestamp": "1760681600",
        "recipient_id": "919876543210", "biz_opaque_callback_data": "campaign-3"})
    };
    let heard = meta(
        "calls",
        json!({"statuses": [status("RINGING"), status("ACCEPTED"), status("REJECTED"), status("WAVING")]}),
    );
    let told: Vec<_> = heard
        .iter()
        .filter_map(|heard| {
            let Event::Status { status, opaque, .. } = &heard.event else { return None };
            Some((*status, opaque.as_deref()))
        })
        .collect();
    let data = Some("campaign-3");
    assert_eq!(
        told,
        [(CallStatus::Ringing, data), (CallStatus::Accepted, data), (CallStatus::Rejected, data)]
    );
    assert_eq!(heard[3].event, Event::Unknown { field: "calls.statuses".into() });
}

#[test]
fn the_six_replies_that_meta_documents_are_told_apart() {
    let reply = |context: Value, reply: Value| {
        let mut message = json!({"from": "919876543210", "id": "wamid.1", "timestamp": "1760681600",
            "type": "interactive", "interactive": {"type": "call_permission_reply", "call_permission_reply": reply}});
        message["context"] = context;
        let heard = meta(
            "messages",
            json!({"metadata": {"display_phone_number": "15550001111"}, "messages": [message]}),
        );
        let Event::Permission { reply, .. } = &heard[0].event else { panic!("{heard:?}") };
        reply.clone()
    };
    let request = json!({"from": "15550001111", "id": "wamid.request"});
    let expires = Some(at(1_768_550_400));
    assert_eq!(
        reply(
            request.clone(),
            json!({"response": "accept", "is_permanent": false, "expiration_timestamp": "1768550400",
                "response_source": "user_action"})
        ),
        Reply::Accept { permanent: false, expires, automatic: false, unasked: false }
    );
    assert_eq!(
        reply(
            request.clone(),
            json!({"response": "accept", "is_permanent": true, "response_source": "user_action"})
        ),
        Reply::Accept { permanent: true, expires: None, automatic: false, unasked: false }
    );
    assert_eq!(
        reply(
            Value::Null,
            json!({"response": "accept", "is_permanent": true, "response_source": "user_action"})
        ),
        Reply::Accept { permanent: true, expires: None, automatic: false, unasked: true }
    );
    assert_eq!(
        reply(request, json!({"response": "reject", "response_source": "user_action"})),
        Reply::Reject { automatic: false }
    );
    assert_eq!(
        reply(
            json!({"id": "wacid.call"}),
            json!({"response": "accept", "expiration_timestamp": 1_768_550_400_i64, "response_source": "automatic"})
        ),
        Reply::Accept { permanent: false, expires, automatic: true, unasked: false }
    );
    assert_eq!(
        reply(Value::Null, json!({"response": "reject", "response_source": "automatic"})),
        Reply::Reject { automatic: true }
    );
}

#[test]
fn what_claims_to_happen_later_happened_when_it_was_told() {
    let next_year = (RECEIVED.unix_ms() / 1_000 + 365 * 86_400).to_string();
    let accept = json!({"from": "919876543210", "id": "wamid.1", "timestamp": next_year, "type": "interactive",
        "interactive": {"call_permission_reply": {"response": "accept", "is_permanent": true}}});
    let heard = meta("messages", json!({"messages": [accept]}));
    assert!(matches!(heard[0].facts().unwrap().fact, Fact::Replied { at: RECEIVED, .. }), "{heard:?}");

    let end = calls(json!({"id": "w", "event": "terminate", "direction": "BUSINESS_INITIATED",
        "to": "919876543210", "timestamp": next_year, "start_time": next_year, "end_time": next_year}));
    let fact = Fact::Called { at: RECEIVED, outcome: Outcome::Connected };
    assert_eq!((end.at, end.facts().unwrap().fact), (RECEIVED, fact));
}

#[test]
fn any_other_message_opens_the_service_window() {
    let heard = meta(
        "messages",
        json!({"messages": [{"from": "919876543210", "id": "wamid.2", "timestamp": "1760681600", "type": "text"}]}),
    );
    assert_eq!(heard[0].facts().unwrap().fact, Fact::Wrote { at: at(1_760_681_600) });
}

#[test]
fn a_customer_without_a_number_is_known_by_user_id() {
    let heard = calls(json!({"id": "w", "event": "connect", "direction": "USER_INITIATED", "from": "",
        "from_user_id": "IN.1A2b3C"}));
    let Event::Connect(connect) = heard.event else { panic!() };
    assert_eq!(connect.customer.user_id.map(|id| id.into_inner()), Some("IN.1A2b3C".to_owned()));
}

#[test]
fn restrictions_name_their_end() {
    let heard = meta(
        "account_update",
        json!({"event": "ACCOUNT_RESTRICTION", "restriction_info": [
            {"restriction_type": "RESTRICTED_BUSINESS_INITIATED_CALLING", "expiration": "1768550400"}]}),
    );
    let details = vec![("RESTRICTED_BUSINESS_INITIATED_CALLING".to_owned(), Some(at(1_768_550_400)))];
    assert_eq!(heard[0].event, Event::Account { event: "ACCOUNT_RESTRICTION".into(), details });
}

#[test]
fn the_providers_dialect_names_a_uri_to_dial() {
    let body = json!({"object": "whatsapp_business_calling", "entry": [{"id": "PHONE_NUMBER_ID", "changes": [
        {"field": "calls", "value": {"messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "+91 99999 00000"},
            "calls": [{"id": "CALL_ID", "from": "+919876543210", "timestamp": "1714719300", "type": "audio",
                "sip": "sip:agent-bridge.example.in;transport=tls", "permission_source": "template_button"}]}}]}]});
    let heard = read(Some("call.connect"), body.to_string().as_bytes(), RECEIVED).unwrap();
    assert_eq!(
        (heard[0].number_id.as_str(), heard[0].number.as_deref()),
        ("PHONE_NUMBER_ID", Some("+919999900000"))
    );
    let Event::Connect(connect) = &heard[0].event else { panic!() };
    assert_eq!(connect.sip.as_deref(), Some("sip:agent-bridge.example.in;transport=tls"));
    assert_eq!(connect.direction, Direction::UserInitiated);
    assert_eq!(heard[0].facts().unwrap().fact, Fact::Tapped { at: at(1_714_719_300) });

    let body = json!({"entry": [{"id": "P", "changes": [{"value": {"calls": [
        {"id": "CALL_ID", "duration": 42, "hangup_cause": "NORMAL"}]}}]}]});
    let heard = read(Some("call.terminate"), body.to_string().as_bytes(), RECEIVED).unwrap();
    let Event::Terminate(end) = &heard[0].event else { panic!() };
    assert_eq!((end.duration_s, end.cause.as_deref()), (Some(42), Some("NORMAL")));
}

#[test]
fn each_delivery_of_an_event_has_the_same_key_and_no_other_event_has_it() {
    let connect = || calls(json!({"id": "w", "event": "connect", "timestamp": "1760681506"})).key;
    let terminate = calls(json!({"id": "w", "event": "terminate", "timestamp": "1760681506"})).key;
    assert_eq!(connect(), connect());
    assert_ne!(connect(), terminate);
    let account = |event: &str| meta("account_update", json!({"event": event}))[0].key.clone();
    assert_eq!(account("A"), account("A"));
    assert_ne!(account("A"), account("B"));
}

#[test]
fn what_nobody_announced_is_kept_as_unknown() {
    let heard = meta("flows", json!({"anything": [1, 2, 3]}));
    assert_eq!(heard[0].event, Event::Unknown { field: "flows".into() });
    let heard = calls(json!({"id": "w", "event": "call_recording_available"}));
    assert_eq!(heard.event, Event::Unknown { field: "calls.call_recording_available".into() });
}

#[test]
fn a_body_that_is_no_envelope_is_refused_with_its_reason() {
    assert!(matches!(read(None, b"{", RECEIVED), Err(MalformedWebhook::NotJson(_))));
    assert_eq!(read(None, b"[]", RECEIVED), Err(MalformedWebhook::NoEntries));
    let message = json!({"id": "m", "from": "919876543210"});
    let change = json!({"field": "messages", "value": {"messages": vec![message; 1_001]}});
    let body = json!({"entry": [{"changes": [change]}]}).to_string();
    assert_eq!(read(None, body.as_bytes(), RECEIVED), Err(MalformedWebhook::TooMany));
}

/// JSON of the right words in all the wrong places.
fn nonsense() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "entry",
        "changes",
        "field",
        "value",
        "calls",
        "statuses",
        "messages",
        "id",
        "event",
        "connect",
        "terminate",
        "timestamp",
        "session",
        "sdp",
        "connection",
        "webrtc",
        "contacts",
        "interactive",
        "call_permission_reply",
        "response",
        "accept",
        "errors",
        "code",
        "start_time",
        "direction",
        "metadata",
        "-1",
        "99999999999999999999",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((words.clone(), inner), 0..6).prop_map(|fields| Value::Object(
                fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
            )),
        ]
    })
}

proptest! {
    #[test]
    fn no_body_brings_the_reader_down(value in nonsense(), provider in any::<bool>(), cut in any::<prop::sample::Index>()) {
        let kind = provider.then_some("call.connect");
        for field in ["calls", "messages", "account_update", "account_settings_update"] {
            let body = json!({"entry": [{"changes": [{"field": field, "value": value}]}]}).to_string();
            for heard in read(kind, body.as_bytes(), RECEIVED).unwrap_or_default() {
                heard.facts();
            }
            let _refused = read(kind, body.as_bytes().get(..cut.index(body.len())).unwrap_or_default(), RECEIVED);
        }
    }
}

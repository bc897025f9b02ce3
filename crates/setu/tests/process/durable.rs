//! What survives a bridge that is killed, and what is done once however often it is told.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use setu_model::{Cause, EndedBy, Wall};
use setu_store::{CdrQuery, CustomerNames, DeliveryRow, EventRow, Location, Store};
use setu_twin::Person;
use setu_twin::agent::{Habits, PhoneAnswer};
use setu_twin::meta::CallSpec;
use tokio::runtime::Runtime;

use crate::house::{CUSTOMER, House, NUMBER, NUMBER_PASSWORD, Ports};
use crate::peers::until;
use crate::postgres::Server;
use crate::webhooks::{EXAMPLE, SECRET, house, post, try_post, webhooks};

const PATIENCE: Duration = Duration::from_secs(20);

/// The database of a house whose bridge may be running.
pub(crate) fn with_store<T>(house: &House, read: impl AsyncFnOnce(Store) -> T) -> T {
    Runtime::new().unwrap().block_on(async {
        let store = Store::open(&Location::Sqlite(house.path("setu.db"))).await.unwrap();
        read(store).await
    })
}

/// What is known of a customer.
fn facts(house: &House, customer: &str) -> BTreeSet<String> {
    let name = format!("wa:{}", customer.trim_start_matches('+'));
    with_store(house, async |store| {
        let names = CustomerNames { name: &name, other: &name };
        store.pair(NUMBER, names, 10_000).await.unwrap().into_iter().map(|(fact, _)| fact).collect()
    })
}

/// The customer writes now: of what is long ago only the last word is kept.
fn message(n: usize) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{{"field":"messages","value":{{
        "metadata":{{"phone_number_id":"PHONE_NUMBER_ID"}},"messages":[{{"from":"919876543210","id":"wamid.{n}",
        "timestamp":"{now}","type":"text"}}]}}}}]}}]}}"#
    )
}

#[test]
fn a_call_told_five_times_in_any_order_with_its_end_takes_effect_once() {
    let (house, at) = house();
    let _bridge = house.serve_by(house.setu("serve").env("SETU_LOG", "info,setu=debug"));
    let end = EXAMPLE.replace(r#""type":"audio""#, r#""duration":42,"hangup_cause":"NORMAL""#);
    for n in 0..5 {
        let (kind, body) = if n % 2 == 0 { ("terminate", &*end) } else { ("connect", EXAMPLE) };
        let other = if n % 2 == 0 { ("connect", EXAMPLE) } else { ("terminate", &*end) };
        for (kind, body) in [(kind, body), other] {
            let path = format!("/webhooks/whatsapp/call.{kind}");
            assert!(post(at, &path, SECRET, body).starts_with("HTTP/1.1 200 "));
        }
    }
    until("all are counted", PATIENCE, || house.metric("setu_webhook_events_repeated_total") == 8.0);
    assert_eq!(house.log().matches("a webhook tells").count(), 2, "{}", house.log());
    assert_eq!(facts(&house, CUSTOMER), ["tap:CALL_ID".to_owned()].into());
}

/// The end of a call may be told before its beginning, and the bridge be killed in between.
#[test]
fn a_call_whose_end_was_told_before_the_bridge_was_killed_is_not_taken() {
    let at = crate::ports::port();
    let rest = format!(
        "[[numbers]]\nnumber = \"{NUMBER}\"\nphone_number_id = \"PHONE_NUMBER_ID\"\npassword = \"x\"\n\
         trunk = \"pbx\"\nextension = \"100\"\n\
         [[trunks]]\nname = \"pbx\"\npstn = false\nhost = \"127.0.0.1\"\nport = 9\nprobe_s = 0\n\
         {}sip_hosts = [\"agent-bridge.example.in\"]\n",
        webhooks(at)
    );
    let house = House::new(Ports::pick(), &rest);
    house.write("app.secret", SECRET);
    let mut bridge = house.serve();
    let end = EXAMPLE.replace(r#""type":"audio""#, r#""duration":42,"hangup_cause":"user_hangup""#);
    assert!(post(at, "/webhooks/whatsapp/call.terminate", SECRET, &end).starts_with("HTTP/1.1 200 "));
    until("it is acted on", PATIENCE, || {
        with_store(&house, async |store| store.waiting().await.unwrap().is_empty())
    });
    bridge.signal("KILL");
    bridge.wait(PATIENCE);
    let _bridge = house.serve();
    assert!(post(at, "/webhooks/whatsapp/call.connect", SECRET, EXAMPLE).starts_with("HTTP/1.1 200 "));
    let end = house.cdrs(1).remove(0).termination;
    assert_eq!((end.cause, end.by), (Cause::Cancelled, EndedBy::Customer), "{end}");
    assert_eq!(end.detail.as_deref(), Some("user_hangup"));
}

/// Whoever stops the machine can bring this about.
#[test]
fn every_acknowledged_webhook_takes_effect_once_although_the_bridge_is_killed() {
    const MESSAGES: usize = 300;
    let (house, at) = house();
    let mut bridge = house.serve();
    let (acknowledged, next, killed) =
        (Mutex::new(BTreeSet::new()), AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !killed.load(Ordering::Acquire) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let answer = try_post(at, "/webhooks/whatsapp", SECRET, &message(n));
                    if answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 200 ")) {
                        acknowledged.lock().unwrap().insert(n);
                    }
                }
            });
        }
        until("some are acknowledged", PATIENCE, || acknowledged.lock().unwrap().len() >= MESSAGES / 3);
        bridge.signal("KILL");
        bridge.wait(PATIENCE);
        killed.store(true, Ordering::Release);
    });
    let acknowledged = acknowledged.into_inner().unwrap();
    let expected = |n: &usize| format!("message:wamid.{n}");
    let kept = facts(&house, CUSTOMER);
    let lost: Vec<_> = acknowledged.iter().filter(|n| !kept.contains(&expected(n))).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");

    // Meta delivers again what was not acknowledged, and some that was.
    let _bridge = house.serve();
    for n in 0..MESSAGES {
        if !acknowledged.contains(&n) || n % 10 == 0 {
            assert!(post(at, "/webhooks/whatsapp", SECRET, &message(n)).starts_with("HTTP/1.1 200 "));
        }
    }
    let all: BTreeSet<String> = (0..MESSAGES).map(|n| expected(&n)).collect();
    let kept = facts(&house, CUSTOMER);
    assert!(all.is_subset(&kept), "lost: {:?}", all.difference(&kept).collect::<Vec<_>>());
    until("the bridge has acted on all", PATIENCE, || {
        with_store(&house, async |store| store.waiting().await.unwrap().is_empty())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_tells_of_a_calls_end_is_a_revision_of_its_record() {
    let at = crate::ports::port();
    let rest = format!(
        "[[numbers]]\nnumber = \"{NUMBER}\"\npassword = \"{NUMBER_PASSWORD}\"\nagents = [\"alice\"]\n\
         [[accounts]]\nname = \"alice\"\npassword = \"secret\"\n{}",
        webhooks(at)
    );
    let (house, _bridge) = {
        let house = House::new(Ports::pick(), &rest);
        house.write("app.secret", SECRET);
        let bridge = house.serve();
        (house, bridge)
    };
    let edge = house.edge().await;
    let habits =
        Habits { answer: PhoneAnswer::AfterMs(100), person: Person::saying(880), ..Habits::default() };
    let _phone = house.phone("alice", "secret", habits).await;
    let call = CallSpec::new(CUSTOMER, NUMBER).by(Person::saying(440).hanging_up_after(1_000));
    edge.call(call).await.unwrap();
    let cdr = house.cdrs(1).remove(0);
    let wacid = cdr.facts.wacid.clone().unwrap();
    let end = format!(
        r#"{{"entry":[{{"id":"1","changes":[{{"field":"calls","value":{{"metadata":{{"display_phone_number":"{NUMBER}"}},
        "calls":[{{"id":"{wacid}","event":"terminate","direction":"USER_INITIATED","from":"919876543210",
        "start_time":"1760681513","end_time":"1760681533","duration":20,"status":"COMPLETED"}}]}}}}]}}]}}"#
    );
    for _ in 0..2 {
        let end = end.clone();
        let answer =
            tokio::task::spawn_blocking(move || post(at, "/webhooks/whatsapp", SECRET, &end)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let store = Store::open(&Location::Sqlite(house.path("setu.db"))).await.unwrap();
    let query = CdrQuery { call: Some(cdr.call.to_string()), most: 1, ..CdrQuery::default() };
    let read = async || store.cdrs(&query).await.unwrap();
    let began = std::time::Instant::now();
    while read().await.len() < 2 {
        assert!(began.elapsed() < PATIENCE, "no revision: {}", house.log());
    }
    let found = read().await;
    let sources: Vec<_> = found.iter().map(|r| (r.revision, r.source.as_str())).collect();
    assert_eq!(sources, [(1, "call"), (2, "webhook")]);
    let revision: serde_json::Value = serde_json::from_str(&found[1].record).unwrap();
    assert_eq!(revision["duration_s"]["webhook"], 20);
    assert_eq!(revision["differences"], serde_json::json!(["duration"]));
}

#[test]
fn what_was_not_acted_on_is_told_after_a_restart_and_calls_that_have_given_up_are_recorded_as_expired() {
    let (house, _) = house();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let row = |call: &str, age_s: i64| DeliveryRow {
        id: call.to_owned(),
        received: Wall::from_unix_ms(i64::try_from(now).unwrap() - age_s * 1_000),
        kind: Some("call.connect".to_owned()),
        body: EXAMPLE.replace("CALL_ID", call),
        events: vec![EventRow {
            event: format!("PHONE_NUMBER_ID/PHONE_NUMBER_ID/connect:{call}"),
            fact: None,
            names: None,
            end: None,
            told: Vec::new(),
            complaints: Vec::new(),
        }],
    };
    with_store(&house, async |store| {
        store.take(&[row("GIVEN_UP", 180), row("WAITS", 1)]).await.unwrap();
        store.close().await;
    });
    let _bridge = house.serve_by(house.setu("serve").env("SETU_LOG", "info,setu=debug"));
    until("both are acted on", PATIENCE, || {
        with_store(&house, async |store| store.waiting().await.unwrap().is_empty())
    });
    let expired = |cdr: &setu_model::Cdr| {
        let why = cdr.termination.detail.as_deref().unwrap_or_default();
        (cdr.facts.wacid.clone().unwrap_or_default(), why.starts_with("expired: "))
    };
    let records: BTreeSet<_> = house.cdrs(2).iter().map(expired).collect();
    assert_eq!(records, [("GIVEN_UP".to_owned(), true), ("WAITS".to_owned(), false)].into());
}

#[test]
fn with_postgresql_a_bridge_remembers_as_well() {
    let server = Server::start();
    let (mut house, at) = house();
    house.write("store.password", "anything: the server trusts this machine");
    let store =
        format!("[store]\npostgres = \"{}\"\npassword = {{ file = \"store.password\" }}\n", server.url());
    house.config.push_str(&store);
    for expected in [0.0, 1.0] {
        let mut bridge = house.serve();
        assert!(post(at, "/webhooks/whatsapp", SECRET, &message(1)).starts_with("HTTP/1.1 200 "));
        let repeated = house.metric("setu_webhook_events_repeated_total");
        assert_eq!(repeated, expected, "{}", house.log());
        bridge.signal("TERM");
        assert!(bridge.wait(PATIENCE).success());
    }
    assert!(!house.path("setu.db").exists());
    assert!(!house.log().contains("anything:"));
}

//! `kill -9` while calls are alive: each has one record and one `call.ended`, written at the next start.

use std::time::Duration;

use serde_json::json;
use setu_model::{AnsweredBy, Cause, Cdr, EndedBy};
use setu_store::{CdrQuery, CdrRevision};
use setu_twin::Person;
use setu_twin::agent::{Habits, PhoneAnswer};
use setu_twin::meta::{CallSpec, Event};

use crate::durable::with_store;
use crate::house::{CUSTOMER, House, NUMBER, NUMBER_PASSWORD, Ports};
use crate::peers::{Process, until};
use crate::ports::port;
use crate::webhooks::{SECRET, exchange, post, webhooks};

const PATIENCE: Duration = Duration::from_secs(20);

/// A house with two agents, and an endpoint for events that nobody listens at.
fn house(at: u16) -> House {
    let rest = format!(
        "[[numbers]]\nnumber = \"{NUMBER}\"\nphone_number_id = \"106\"\npassword = \"{NUMBER_PASSWORD}\"\n\
         agents = [\"alice\", \"bob\"]\n[[accounts]]\nname = \"alice\"\npassword = \"a\"\n\
         [[accounts]]\nname = \"bob\"\npassword = \"b\"\n{}\
         [events]\ntries = 100\nretry_s = 60\n[[events.endpoints]]\nname = \"crm\"\nurl = \"https://127.0.0.1:9/hooks\"\n\
         secrets = [\"whsec_dGhlIG5ldyBrZXksIG9mIDMyIGJ5dGVzIG9yIG1vcmU=\"]\nkinds = [\"call.ended\"]\n",
        webhooks(at)
    );
    let house = House::new(Ports::pick(), &rest);
    house.write("app.secret", SECRET);
    house
}

/// What the database has of the calls.
fn records(house: &House) -> Vec<CdrRevision> {
    let query = CdrQuery { most: 100, ..CdrQuery::default() };
    with_store(house, async |store| store.cdrs(&query).await.unwrap())
}

/// Whose the calls of the house's bridge are.
fn owner(house: &House) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    format!("{}:{}", host.trim(), house.path("cdr/cdr.jsonl").display())
}

/// How many ends are told, and how many calls are not finished.
fn left(house: &House) -> (u64, usize) {
    with_store(house, async |store| {
        let told = store.outbox_count().await.unwrap();
        (told.waiting + told.dead, store.unfinished(&owner(house), 100).await.unwrap().len())
    })
}

fn stops(mut bridge: Process, signal: &str) {
    bridge.signal(signal);
    bridge.wait(PATIENCE);
}

/// Whoever stops the machine can bring this about.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_alive_at_kill_9_have_one_record_and_one_end_each_after_the_next_start() {
    let at = port();
    let house = house(at);
    let bridge = house.serve();
    let edge = house.edge().await;
    let answers = |answer| Habits { answer, person: Person::saying(880), ..Habits::default() };
    let _alice = house.phone("alice", "a", answers(PhoneAnswer::AfterMs(100))).await;
    let mut events = edge.events();
    let talk = |from: &str| CallSpec::new(from, NUMBER).by(Person::saying(440).hanging_up_after(120_000));
    let answered = edge.start_call(talk(CUSTOMER)).await.unwrap();
    while events.recv().await.unwrap() != Event::Answered(answered) {}
    let _bob = house.phone("bob", "b", answers(PhoneAnswer::Never)).await;
    let _ringing = edge.start_call(talk("+919876500000")).await.unwrap();

    let (answered, ringing) = tokio::task::block_in_place(|| {
        let mut known: Vec<Cdr> = Vec::new();
        until("both calls are known, and talked for a while", PATIENCE, || {
            known = with_store(&house, async |store| {
                let rows = store.unfinished(&owner(&house), 10).await.unwrap();
                rows.iter().map(|row| serde_json::from_str(&row.record).unwrap()).collect()
            });
            let pulse = with_store(&house, async |store| {
                store.unfinished(&owner(&house), 1).await.unwrap().first().and_then(|row| row.seen)
            });
            let since = |cdr: &Cdr| Some(pulse?.unix_ms() - cdr.answered?.unix_ms());
            known.len() == 2 && since(&known[0]).is_some_and(|ms| ms >= 2_000)
        });
        stops(bridge, "KILL");
        assert_eq!(records(&house), [], "no call is over");
        (known.remove(0), known.remove(0))
    });

    tokio::task::block_in_place(|| {
        let bridge = house.serve();
        let filed = house.cdrs(2);
        until("nothing is left to do", PATIENCE, || left(&house) == (2, 0));
        let kept: Vec<Cdr> =
            records(&house).iter().map(|record| serde_json::from_str(&record.record).unwrap()).collect();
        assert_eq!(kept, filed);
        for (cdr, before) in kept.iter().zip([&answered, &ringing]) {
            assert_eq!((cdr.call, &cdr.facts, cdr.began), (before.call, &before.facts, before.began));
            assert_eq!((cdr.termination.cause, cdr.termination.by), (Cause::Interrupted, EndedBy::Bridge));
        }
        let [talked, rang] = &kept[..] else { panic!("{kept:?}") };
        assert_eq!((talked.answered, rang.answered), (answered.answered, None));
        assert_eq!(talked.agent, Some(AnsweredBy::Agent("alice".to_owned())));
        assert!((2_000..20_000).contains(&talked.duration_ms), "{}", talked.duration_ms);
        assert_eq!(rang.duration_ms, 0);
        assert!(house.metric("setu_calls_total{direction=\"user_initiated\",cause=\"interrupted\"}") >= 2.0);

        // What Meta tells of the call afterwards is a revision, as of any other.
        let wacid = talked.facts.wacid.clone().unwrap();
        let end = format!(
            r#"{{"entry":[{{"id":"1","changes":[{{"field":"calls","value":{{"metadata":{{"phone_number_id":"106"}},
            "calls":[{{"id":"{wacid}","event":"terminate","direction":"USER_INITIATED","from":"919876543210",
            "start_time":"1760681513","end_time":"1760681573","duration":60,"status":"COMPLETED"}}]}}}}]}}]}}"#
        );
        assert!(post(at, "/webhooks/whatsapp", SECRET, &end).starts_with("HTTP/1.1 200 "));
        until("it is revised", PATIENCE, || records(&house).len() == 3);
        let of_call = |record: &&CdrRevision| record.call == talked.call.to_string();
        let revisions: Vec<_> = records(&house).iter().filter(of_call).map(|it| it.source.clone()).collect();
        assert_eq!(revisions, ["call", "webhook"]);
        stops(bridge, "KILL");

        // Another start finds nothing to do.
        let bridge = house.serve();
        assert_eq!((left(&house), records(&house).len(), house.cdrs(2).len()), ((2, 0), 3, 2));
        stops(bridge, "TERM");
        let lines = std::fs::read_to_string(house.path("cdr/cdr.jsonl")).unwrap().lines().count();
        assert_eq!(lines, 2);
    });
}

/// Posts an order with a key; returns the status and the answer.
fn orders(api: u16, token: &str, body: &serde_json::Value) -> (u16, serde_json::Value) {
    let body = body.to_string();
    let request = format!(
        "POST /v1/calls HTTP/1.1\r\nHost: setu\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {token}\r\nIdempotency-Key: click-1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(api, &request).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

/// A program that did not hear the answer asks again, of a bridge that was killed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_comes_again_after_kill_9_is_the_same_call() {
    let api = port();
    let (crm, bot) = ("a-token-that-nobody-guesses", "another-that-nobody-guesses");
    let rest = format!(
        "[[numbers]]\nnumber = \"{NUMBER}\"\npassword = \"{NUMBER_PASSWORD}\"\nagents = [\"alice\"]\n\
         [[accounts]]\nname = \"alice\"\npassword = \"a\"\nnumber = \"{NUMBER}\"\n[api]\nbind = \"127.0.0.1:{api}\"\n\
         [[api.tokens]]\nname = \"crm\"\ntoken = \"{crm}\"\nscopes = [\"calls:write\"]\n\
         [[api.tokens]]\nname = \"bot\"\ntoken = \"{bot}\"\nscopes = [\"calls:write\"]\n"
    );
    let (house, bridge) = House::start(Ports::pick(), &rest);
    let _edge = house.edge().await;
    let habits =
        Habits { answer: PhoneAnswer::AfterMs(100), person: Person::saying(880), ..Habits::default() };
    let phone = house.phone("alice", "a", habits).await;
    let order = |payload| json!({"number": NUMBER, "customer": CUSTOMER, "payload": payload});
    let (status, placed) = tokio::task::block_in_place(|| orders(api, crm, &order("x")));
    assert_eq!(status, 202, "{placed}");
    tokio::task::block_in_place(|| stops(bridge, "KILL"));

    let _bridge = tokio::task::block_in_place(|| house.serve());
    phone.register(PATIENCE).await.unwrap();
    tokio::task::block_in_place(|| {
        assert_eq!(orders(api, crm, &order("x")), (202, placed.clone()));
        let (status, taken) = orders(api, crm, &order("y"));
        assert_eq!((status, &taken["error"]["code"]), (409, &json!("key_taken")));
        // Another token's keys are its own.
        let (status, others) = orders(api, bot, &order("y"));
        assert_eq!(status, 202, "{others}");
        assert_ne!(others, placed);
        assert_eq!(house.cdrs(2)[0].call.to_string(), placed["call"]);
    });
}

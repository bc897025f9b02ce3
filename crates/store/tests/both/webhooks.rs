//! Webhooks and what they tell.

use setu_store::{CustomerNames, EventRow, Old, Store};

use crate::lab::{Lab, at, delivery, event, fact};
use crate::on_both;

on_both!(
    an_event_is_new_once_however_often_and_in_whatever_body_it_comes,
    what_the_bridge_has_not_acted_on_is_there_after_a_restart_until_it_has,
    facts_of_a_customer_are_found_under_either_name,
    two_tellings_of_a_fact_are_both_kept_and_the_newest_come_first,
    what_text_cannot_hold_is_kept_all_the_same,
    old_webhooks_are_forgotten_but_not_what_waits_nor_what_is_known,
    two_tasks_that_write_at_once_lose_nothing,
);

async fn pair(store: &Store, one: &str, other: &str) -> Vec<String> {
    let names = CustomerNames { name: one, other };
    store.pair("+911", names, 100).await.unwrap().into_iter().map(|(fact, _)| fact).collect()
}

fn telling(customer: &str, name: &str, seconds: i64) -> EventRow {
    EventRow { fact: Some(fact(customer, name, seconds)), ..event(name) }
}

async fn an_event_is_new_once_however_often_and_in_whatever_body_it_comes(lab: Lab) {
    let store = lab.open().await;
    let first = delivery("one", 1, vec![event("a"), event("b")]);
    let news =
        store.take(&[first.clone(), first.clone(), delivery("two", 2, vec![event("b"), event("c")])]).await;
    assert_eq!(news.unwrap(), [vec![true, true], vec![false, false], vec![false, true]]);
    store.close().await;
    let store = lab.open().await;
    assert_eq!(store.take(&[first]).await.unwrap(), [[false, false]]);
}

async fn what_the_bridge_has_not_acted_on_is_there_after_a_restart_until_it_has(lab: Lab) {
    let store = lab.open().await;
    let bodies = [delivery("late", 2, vec![event("c")]), delivery("early", 1, vec![event("a"), event("b")])];
    store.take(&bodies).await.unwrap();
    store.settle(&["a".to_owned()]).await.unwrap();
    store.close().await;
    let store = lab.open().await;
    let waiting = store.waiting().await.unwrap();
    let told: Vec<_> = waiting.iter().map(|w| (w.body.as_str(), w.received, w.events.join(","))).collect();
    assert_eq!(told, [("body of early", at(1), "b".to_owned()), ("body of late", at(2), "c".to_owned())]);
    store.settle(&["b".to_owned(), "c".to_owned()]).await.unwrap();
    assert_eq!(store.waiting().await.unwrap(), []);
}

async fn facts_of_a_customer_are_found_under_either_name(lab: Lab) {
    let store = lab.open().await;
    let apart =
        [telling("wa:919", "by number", 3), telling("id:IN.1", "by id", 2), telling("wa:918", "another", 1)];
    store.take(&[delivery("apart", 1, apart.into())]).await.unwrap();
    assert_eq!(pair(&store, "wa:919", "wa:919").await, ["by number"]);
    assert_eq!(pair(&store, "wa:919", "id:IN.1").await, ["by number", "by id"]);

    let both = EventRow { names: Some(("wa:919".into(), "id:IN.1".into())), ..event("both") };
    store.take(&[delivery("both", 2, vec![both])]).await.unwrap();
    for name in ["wa:919", "id:IN.1"] {
        assert_eq!(pair(&store, name, name).await, ["by number", "by id"]);
    }
    let elsewhere = CustomerNames { name: "wa:919", other: "wa:919" };
    assert_eq!(store.pair("+912", elsewhere, 100).await.unwrap(), []);
}

async fn two_tellings_of_a_fact_are_both_kept_and_the_newest_come_first(lab: Lab) {
    let store = lab.open().await;
    store
        .note(&[fact("wa:919", "old", 1), fact("wa:919", "called", 2), fact("wa:919", "called", 3)])
        .await
        .unwrap();
    store.note(&[fact("wa:919", "called", 3)]).await.unwrap();
    assert_eq!(pair(&store, "wa:919", "wa:919").await, ["called", "called", "old"]);
    let names = CustomerNames { name: "wa:919", other: "wa:919" };
    let newest = store.pair("+911", names, 1).await.unwrap();
    assert_eq!(newest, [("called".to_owned(), "telling of called at 3".to_owned())]);
}

async fn what_text_cannot_hold_is_kept_all_the_same(lab: Lab) {
    let store = lab.open().await;
    let odd = delivery(
        "odd\0",
        1,
        vec![
            event("a\0b"),
            event("'; DROP TABLE events; --"),
            event("\u{1F4DE}"),
            event(&"x".repeat(100_000)),
        ],
    );
    assert_eq!(store.take(std::slice::from_ref(&odd)).await.unwrap(), [[true, true, true, true]]);
    assert_eq!(store.take(&[odd]).await.unwrap(), [[false, false, false, false]]);
}

async fn old_webhooks_are_forgotten_but_not_what_waits_nor_what_is_known(lab: Lab) {
    let store = lab.open().await;
    let bodies = [
        delivery("old", 1, vec![telling("wa:919", "done", 1)]),
        delivery("waits", 1, vec![event("waits")]),
        delivery("new", 100, vec![event("new")]),
    ];
    store.take(&bodies).await.unwrap();
    store.settle(&["done".to_owned(), "new".to_owned()]).await.unwrap();
    for what in [Old::Events, Old::Webhooks] {
        assert_eq!(store.prune(what, at(50), 10).await.unwrap(), 1, "{what:?}");
    }
    assert_eq!(store.take(&bodies).await.unwrap(), [[true], [false], [false]]);
    assert_eq!(pair(&store, "wa:919", "wa:919").await, ["done"]);
}

async fn two_tasks_that_write_at_once_lose_nothing(lab: Lab) {
    let (one, other) = (lab.open().await, lab.open().await);
    let write = async |store: &Store, name: &str| {
        for n in 0..50 {
            let id = format!("{name}-{n}");
            store.take(&[delivery(&id, n, vec![event(&id)])]).await.unwrap();
        }
    };
    tokio::join!(write(&one, "one"), write(&other, "other"), write(&one, "third"));
    assert_eq!(one.waiting().await.unwrap().len(), 150);
}

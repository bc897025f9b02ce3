//! Calls that a bridge leaves behind.

use setu_store::{CdrQuery, CustomerNames, Kept, UnfinishedRow};

use crate::lab::{Lab, at, cdr, delivery, event, fact, told};
use crate::on_both;

on_both!(
    a_call_is_unfinished_from_its_first_step_until_its_record_is_in_both_places,
    what_a_bridge_did_is_kept_all_at_once,
    calls_of_a_bridge_that_is_gone_are_taken_over_and_those_of_one_that_runs_are_not,
);

fn step(call: &str, record: &str, seconds: i64) -> UnfinishedRow {
    UnfinishedRow { call: call.to_owned(), began: at(seconds), record: record.to_owned() }
}

async fn a_call_is_unfinished_from_its_first_step_until_its_record_is_in_both_places(lab: Lab) {
    let store = lab.open().await;
    let unfinished = async || {
        let rows = store.unfinished("", 10).await.unwrap();
        rows.into_iter().map(|row| (row.call, row.record, row.recorded)).collect::<Vec<_>>()
    };
    let row = |call: &str, record: &str, recorded: Option<&str>| {
        (call.to_owned(), record.to_owned(), recorded.map(str::to_owned))
    };
    let steps = |rows: &[UnfinishedRow]| Kept { unfinished: rows.to_vec(), ..Kept::default() };
    store
        .keep(&steps(&[step("b", "offered", 2), step("a", "offered", 1), step("c", "offered", 3)]))
        .await
        .unwrap();
    store.keep(&steps(&[step("a", "answered", 1)])).await.unwrap();
    assert_eq!(store.unfinished("", 2).await.unwrap().len(), 2);
    let offered = |call| row(call, "offered", None);
    assert_eq!(unfinished().await, [row("a", "answered", None), offered("b"), offered("c")]);

    // A record that only the file has is not here, so that the call is not finished.
    store.keep(&Kept { filed: vec!["b".to_owned()], ..Kept::default() }).await.unwrap();
    store.keep(&Kept { cdrs: vec![cdr("a", 1)], ..Kept::default() }).await.unwrap();
    assert_eq!(unfinished().await, [row("a", "answered", Some("record of a")), offered("b"), offered("c")]);
    let both =
        Kept { cdrs: vec![cdr("b", 2)], filed: vec!["a".to_owned(), "b".to_owned()], ..Kept::default() };
    store.keep(&both).await.unwrap();
    assert_eq!(unfinished().await, [offered("c")]);
    // A step that comes late opens nothing again.
    store.keep(&steps(&[step("a", "answered", 1)])).await.unwrap();
    assert_eq!(unfinished().await, [offered("c")]);
}

async fn what_a_bridge_did_is_kept_all_at_once(lab: Lab) {
    let store = lab.open().await;
    store.take(&[delivery("d", 1, vec![event("e")])]).await.unwrap();
    let kept = Kept {
        told: vec![told("a", "call.offered", 1)],
        cdrs: vec![cdr("a", 1)],
        facts: vec![fact("wa:919", "asked", 1)],
        acted: vec!["e".to_owned()],
        pulse: Some(at(1)),
        ..Kept::default()
    };
    for _ in 0..2 {
        store.keep(&kept).await.unwrap();
    }
    assert_eq!(store.outbox("crm", 10).await.unwrap().len(), 1);
    assert_eq!(store.cdrs(&CdrQuery { most: 10, ..CdrQuery::default() }).await.unwrap().len(), 1);
    assert!(store.waiting().await.unwrap().is_empty());
    assert!(Kept::default().is_empty() && !kept.is_empty());

    let names = CustomerNames { name: "wa:919", other: "wa:919" };
    let withdrawn = Kept { withdrawn: kept.facts.clone(), ..Kept::default() };
    assert!(!withdrawn.is_empty());
    for left in [1, 0, 0] {
        let facts = store.pair(&kept.facts[0].number, names, 10).await.unwrap();
        assert_eq!(facts.len(), left);
        store.keep(&withdrawn).await.unwrap();
    }
}

async fn calls_of_a_bridge_that_is_gone_are_taken_over_and_those_of_one_that_runs_are_not(lab: Lab) {
    let store = lab.open().await;
    let of = |owner: &str, call: &str, seconds: Option<i64>| Kept {
        owner: owner.to_owned(),
        unfinished: vec![step(call, "offered", 1)],
        pulse: seconds.map(at),
        ..Kept::default()
    };
    for kept in [
        of("gone", "a", Some(10)),
        of("runs", "b", Some(100)),
        of("silent", "c", None),
        of("me", "d", Some(5)),
    ] {
        store.keep(&kept).await.unwrap();
    }
    store.keep(&Kept { owner: "gone".into(), pulse: Some(at(20)), ..Kept::default() }).await.unwrap();
    let calls = async |owner: &str| {
        let rows = store.unfinished(owner, 10).await.unwrap();
        rows.into_iter().map(|row| (row.call, row.seen)).collect::<Vec<_>>()
    };
    let call = |call: &str, seconds: Option<i64>| (call.to_owned(), seconds.map(at));
    assert_eq!(calls("me").await, [call("d", Some(5))]);
    let mut inherited = store.inherit("me", at(50)).await.unwrap();
    inherited.sort();
    assert_eq!(inherited, ["a", "c"]);
    assert_eq!(store.inherit("me", at(50)).await.unwrap(), [""; 0]);
    // They keep the last pulse of whoever had them; of one who never had any, only the beginning is known.
    assert_eq!(calls("me").await, [call("a", Some(20)), call("c", Some(1)), call("d", Some(5))]);
    assert_eq!((calls("runs").await, calls("gone").await), (vec![call("b", Some(100))], vec![]));
    // Another heir takes over what this one has, once it is gone.
    assert_eq!(store.inherit("runs", at(50)).await.unwrap().len(), 3);
    assert_eq!(calls("runs").await[0], call("a", Some(20)));
}

//! Events on their way out.

use std::time::Duration;

use setu_store::{CdrRow, EventRow, OutboxCount, OutboxFate, OutboxRow, Revision, Store};

use crate::lab::{Lab, at, cdr, delivery, event, told};
use crate::on_both;

on_both!(
    events_of_a_stream_wait_for_the_one_before_and_no_other_stream_does,
    what_is_told_of_a_record_is_kept_with_it_and_once,
    what_a_webhook_tells_is_told_once_however_often_it_comes,
    what_was_given_up_is_listed_until_it_is_retried_or_forgotten,
    what_nobody_is_to_be_told_any_more_is_given_up,
);

async fn heads(store: &Store) -> Vec<String> {
    store.outbox("crm", 100).await.unwrap().into_iter().map(|head| head.id).collect()
}

async fn events_of_a_stream_wait_for_the_one_before_and_no_other_stream_does(lab: Lab) {
    let store = lab.open().await;
    let other = OutboxRow { endpoint: "other".to_owned(), ..told("a", "offered", 1) };
    let all = [told("a", "offered", 1), told("a", "ended", 2), told("b", "offered", 3), other];
    store.announce(&all).await.unwrap();
    store.announce(&all).await.unwrap();
    store.announced().await;
    assert_eq!(heads(&store).await, ["a.offered", "b.offered"]);
    let why = "503".to_owned();
    store.fated("crm", "a.offered", &OutboxFate::Later { tries: 1, due: at(9), why }).await.unwrap();
    assert_eq!(heads(&store).await, ["b.offered", "a.offered"], "what is due first comes first");
    store.close().await;

    let store = lab.open().await;
    let waiting = store.outbox("crm", 100).await.unwrap();
    assert_eq!((waiting[1].tries, waiting[1].due, waiting[1].payload.as_str()), (1, at(9), "offered of a"));
    store.fated("crm", "a.offered", &OutboxFate::Delivered).await.unwrap();
    assert_eq!(heads(&store).await, ["a.ended", "b.offered"]);
    assert_eq!(store.outbox("other", 100).await.unwrap().len(), 1);
    assert_eq!(store.outbox("crm", 1).await.unwrap().len(), 1);
}

async fn what_is_told_of_a_record_is_kept_with_it_and_once(lab: Lab) {
    let store = lab.open().await;
    let record = CdrRow { told: vec![told("a", "ended", 1)], ..cdr("a", 1) };
    store.record(std::slice::from_ref(&record)).await.unwrap();
    assert_eq!(heads(&store).await, ["a.ended"]);
    store.fated("crm", "a.ended", &OutboxFate::Delivered).await.unwrap();
    store.record(&[record]).await.unwrap();
    assert_eq!(heads(&store).await, [] as [&str; 0]);

    let revision = Revision {
        call: "a".to_owned(),
        source: "webhook".to_owned(),
        written: at(2),
        record: "{}".to_owned(),
        told: vec![told("a", "revised", 2)],
    };
    for expected in [vec!["a.revised"], vec![]] {
        store.revise(std::slice::from_ref(&revision), &[]).await.unwrap();
        assert_eq!(heads(&store).await, expected);
        store.fated("crm", "a.revised", &OutboxFate::Delivered).await.unwrap();
    }
}

async fn what_a_webhook_tells_is_told_once_however_often_it_comes(lab: Lab) {
    let store = lab.open().await;
    let permission = EventRow { told: vec![told("+911/wa:919", "permission", 1)], ..event("m1") };
    for expected in [1, 0] {
        store.take(&[delivery("one", 1, vec![permission.clone()])]).await.unwrap();
        assert_eq!(heads(&store).await.len(), expected);
        store.fated("crm", "+911/wa:919.permission", &OutboxFate::Delivered).await.unwrap();
    }
}

async fn what_was_given_up_is_listed_until_it_is_retried_or_forgotten(lab: Lab) {
    let store = lab.open().await;
    store.announce(&[told("a", "offered", 1), told("a", "ended", 2), told("b", "ended", 3)]).await.unwrap();
    for id in ["a.offered", "b.ended"] {
        let why = "410".to_owned();
        store.fated("crm", id, &OutboxFate::Dead { tries: 3, why }).await.unwrap();
    }
    assert_eq!(heads(&store).await, ["a.ended"], "what was given up holds nothing up");
    assert_eq!(store.outbox_count().await.unwrap(), OutboxCount { waiting: 1, dead: 2 });
    let dead = store.dead(None, 1).await.unwrap();
    assert_eq!((dead[0].id.as_str(), dead[0].tries, dead[0].why.as_str()), ("a.offered", 3, "410"));
    let rest = store.dead(Some(dead[0].place), 10).await.unwrap();
    assert_eq!(rest.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["b.ended"]);

    assert!(store.revive("crm", "a.offered").await.unwrap());
    assert!(!store.revive("crm", "a.offered").await.unwrap(), "it is not given up any more");
    assert!(!store.revive("crm", "nothing").await.unwrap());
    assert_eq!(heads(&store).await, ["a.offered"]);
    let (days, crm) = (|days: u32| Duration::from_secs(86_400) * days, ["crm".to_owned()]);
    store.tidy_outbox(&crm, at(3).after(days(30)), days(31), days(30)).await.unwrap();
    assert_eq!(store.dead(None, 10).await.unwrap().len(), 1);
    store.tidy_outbox(&crm, at(4).after(days(30)), days(31), days(30)).await.unwrap();
    assert_eq!(store.outbox_count().await.unwrap(), OutboxCount { waiting: 2, dead: 0 });
}

async fn what_nobody_is_to_be_told_any_more_is_given_up(lab: Lab) {
    let store = lab.open().await;
    let gone = OutboxRow { endpoint: "gone".to_owned(), ..told("c", "ended", 9) };
    store.announce(&[told("a", "ended", 1), told("b", "ended", 9), gone]).await.unwrap();
    let week = Duration::from_secs(7 * 86_400);
    let given_up = store.tidy_outbox(&["crm".to_owned()], at(5).after(week), week, 2 * week).await.unwrap();
    assert_eq!(given_up, 2);
    assert_eq!(heads(&store).await, ["b.ended"]);
    let dead = store.dead(None, 10).await.unwrap();
    let why: Vec<_> = dead.iter().map(|row| (row.id.as_str(), row.why.as_str())).collect();
    assert_eq!(why, [("a.ended", "it waited for too long"), ("c.ended", "the endpoint is not configured")]);
}

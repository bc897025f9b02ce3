//! What is forgotten, and what is not.

use setu_store::{
    CdrQuery, CdrRow, ComplaintRow, CustomerNames, Kept, Old, OldPair, OrderRow, RequestRow, UnfinishedRow,
};

use crate::lab::{Lab, at, cdr, delivery, ended, event, fact};
use crate::on_both;

on_both!(
    what_is_old_goes_a_few_rows_at_a_time_and_what_is_not_stays,
    the_oldest_orders_are_crowded_out,
    names_are_forgotten_with_the_last_that_is_known_of_them,
    a_record_that_the_file_may_lack_is_kept,
    facts_go_by_id_under_every_name_of_a_customer,
);

const DAY: i64 = 24 * 3_600;

fn complaint(name: &str, day: i64, until: Option<i64>) -> ComplaintRow {
    ComplaintRow {
        complaint: name.to_owned(),
        number: "+911".to_owned(),
        customer: None,
        kind: "warning".to_owned(),
        source: "webhook".to_owned(),
        moment: at(day * DAY),
        until: until.map(|day| at(day * DAY)),
        blames: false,
        call: None,
    }
}

async fn what_is_old_goes_a_few_rows_at_a_time_and_what_is_not_stays(lab: Lab) {
    let store = lab.open().await;
    for day in [1, 2, 3, 50] {
        let name = |what: &str| format!("{what}.{day}");
        let told = vec![event(&name("event")), ended(&name("wacid"))];
        store.take(&[delivery(&name("webhook"), day * DAY, told)]).await.unwrap();
        store.settle(&[name("event"), format!("terminate:{}", name("wacid"))]).await.unwrap();
        store.complain(&[complaint(&name("complaint"), day, None)]).await.unwrap();
        store.record(&[cdr(&name("call"), day * DAY)]).await.unwrap();
        let request =
            RequestRow { request: name("request"), campaign: "x".into(), moment: at(day * DAY), cold: true };
        store.requested(&[request]).await.unwrap();
        let order = OrderRow {
            owner: "crm".into(),
            name: name("key"),
            digest: String::new(),
            call: name("call"),
            made: at(day * DAY),
        };
        assert_eq!(store.claim(&order, at(0)).await.unwrap(), None);
    }
    store.complain(&[complaint("restriction", 1, Some(50))]).await.unwrap();
    for what in Old::ALL.into_iter().filter(|what| *what != Old::Names) {
        let count = if what == Old::Events { 2 } else { 1 };
        let mut gone = Vec::new();
        loop {
            gone.push(store.prune(what, at(4 * DAY), 2 * count).await.unwrap());
            if gone.last().is_none_or(|gone| *gone < 2 * count as u64) {
                break;
            }
        }
        assert_eq!(gone, [2 * count as u64, count as u64], "{what:?}");
        assert_eq!(store.prune(what, at(4 * DAY), 10).await.unwrap(), 0, "{what:?}");
    }
    assert_eq!(store.tallies("+911", 0).await.unwrap().len(), 1);
    assert_eq!(store.campaign("x", 10).await.unwrap().len(), 1);
    let warnings = store.warnings("+911", at(0), 10).await.unwrap();
    let left: Vec<_> = warnings.iter().map(|row| row.complaint.as_str()).collect();
    assert_eq!(left, ["complaint.50", "restriction"], "it has not ended");
    let calls = store.cdrs(&CdrQuery { most: 10, ..CdrQuery::default() }).await.unwrap();
    assert_eq!(calls.iter().map(|it| it.call.as_str()).collect::<Vec<_>>(), ["call.50"]);
}

async fn the_oldest_orders_are_crowded_out(lab: Lab) {
    let store = lab.open().await;
    let order = |n: i64| OrderRow {
        owner: "crm".into(),
        name: format!("key.{n}"),
        digest: String::new(),
        call: format!("call.{n}"),
        made: at(n),
    };
    for n in 0..5 {
        store.claim(&order(n), at(0)).await.unwrap();
    }
    assert_eq!(store.crowd_out_orders(2, 2).await.unwrap(), 2);
    assert_eq!(store.crowd_out_orders(2, 2).await.unwrap(), 1);
    assert_eq!(store.crowd_out_orders(2, 2).await.unwrap(), 0);
    for (n, kept) in [(4, true), (3, true), (2, false)] {
        assert_eq!(store.claim(&order(n), at(0)).await.unwrap().is_some(), kept, "{n}");
    }
}

async fn names_are_forgotten_with_the_last_that_is_known_of_them(lab: Lab) {
    let store = lab.open().await;
    let named = |call: &str, one: &str, other: &str, day: i64| CdrRow {
        names: Some((one.to_owned(), other.to_owned())),
        written: at(day * DAY),
        ..cdr(call, day * DAY)
    };
    let chain =
        [named("c1", "wa:3", "id:3", 1), named("c2", "id:3", "wa:4", 1), named("c3", "wa:4", "id:4", 1)];
    let told_again = [named("d", "wa:5", "id:5", 1), named("e", "wa:5", "id:5", 50)];
    store.record(&[named("a", "wa:1", "id:1", 1), named("b", "wa:2", "id:2", 1)]).await.unwrap();
    store.record(&[chain.as_slice(), &told_again].concat()).await.unwrap();
    let facts = ["id:2", "wa:3", "id:4"].map(|customer| fact(customer, "reply", 1));
    store.note(&facts).await.unwrap();
    // As when nothing was known of when they were told: they age from now on.
    store.date_names(at(DAY)).await.unwrap();
    assert_eq!(store.prune(Old::Names, at(40 * DAY), 10).await.unwrap(), 2, "one pair, both ways round");
    let known =
        async |name: &str| store.pair("+911", CustomerNames { name, other: name }, 10).await.unwrap().len();
    assert_eq!((known("wa:2").await, known("wa:3").await, known("id:4").await), (1, 2, 2));
    // Those that are needed are not looked at again for as long.
    assert_eq!(store.renew_names(at(40 * DAY), at(100 * DAY), 10).await.unwrap(), 8);
    assert_eq!(store.renew_names(at(40 * DAY), at(100 * DAY), 10).await.unwrap(), 0);
    assert_eq!(store.prune(Old::Names, at(60 * DAY), 10).await.unwrap(), 2, "the one that was told again");
}

async fn a_record_that_the_file_may_lack_is_kept(lab: Lab) {
    let store = lab.open().await;
    let row = |call: &str| UnfinishedRow { call: call.to_owned(), began: at(1), record: String::new() };
    let kept = Kept {
        unfinished: vec![row("a"), row("b")],
        cdrs: vec![cdr("a", 1), cdr("b", 1)],
        filed: vec!["a".to_owned()],
        ..Kept::default()
    };
    store.keep(&kept).await.unwrap();
    assert_eq!(store.prune(Old::Records, at(DAY), 10).await.unwrap(), 1);
    let left = store.unfinished("", 10).await.unwrap();
    assert_eq!(left.iter().map(|it| (&*it.call, it.recorded.is_some())).collect::<Vec<_>>(), [("b", true)]);
}

async fn facts_go_by_id_under_every_name_of_a_customer(lab: Lab) {
    let store = lab.open().await;
    let names = Some(("wa:1".to_owned(), "id:1".to_owned()));
    store.record(&[CdrRow { names, ..cdr("a", 1) }]).await.unwrap();
    let other = fact("wa:2", "asked", 1);
    let facts = [fact("wa:1", "asked", 1), fact("id:1", "asked", 2), fact("id:1", "reply", 1), other];
    store.note(&facts).await.unwrap();
    let pair = |customer: &str| OldPair { number: "+911".to_owned(), customer: customer.to_owned() };
    let old = store.old_pairs(at(2), None, 10).await.unwrap();
    assert_eq!(old, [pair("id:1"), pair("wa:1"), pair("wa:2")]);
    assert_eq!(store.old_pairs(at(2), Some(&old[0]), 1).await.unwrap(), [pair("wa:1")]);
    assert_eq!(store.old_pairs(at(1), None, 10).await.unwrap(), []);
    let one = |name| CustomerNames { name, other: name };
    assert_eq!(store.forget_facts("+911", one("wa:1"), &["asked".to_owned()]).await.unwrap(), 2);
    let left = async |name| store.pair("+911", one(name), 10).await.unwrap().len();
    assert_eq!((left("wa:1").await, left("wa:2").await), (1, 1));
}

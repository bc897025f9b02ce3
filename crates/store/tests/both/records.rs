//! Call detail records.

use setu_store::{CdrQuery, CdrRow, CustomerNames, EndRow, EventRow, Old, Revision, Store};

use crate::lab::{Lab, at, cdr, delivery, ended, fact};
use crate::on_both;

on_both!(
    a_record_is_written_once_and_later_facts_are_numbered_revisions,
    a_record_and_what_a_webhook_told_of_its_end_meet_in_either_order_once,
    the_end_of_a_call_is_of_the_number_it_was_told_of,
    records_are_found_by_every_filter_and_page_by_page,
    attempts_of_a_number_are_business_initiated_calls_that_meta_heard_of,
    a_record_brings_its_facts_and_the_customers_names_along,
);

async fn calls(store: &Store, query: CdrQuery) -> Vec<String> {
    store.cdrs(&query).await.unwrap().into_iter().map(|found| found.call).collect()
}

fn any() -> CdrQuery {
    CdrQuery { most: 100, ..CdrQuery::default() }
}

fn revision(call: &str, source: &str) -> Revision {
    let record = format!("{source} of {call}");
    Revision { call: call.to_owned(), source: source.to_owned(), written: at(9), record, told: Vec::new() }
}

async fn a_record_is_written_once_and_later_facts_are_numbered_revisions(lab: Lab) {
    let store = lab.open().await;
    store.record(&[cdr("a", 1)]).await.unwrap();
    store.record(&[CdrRow { record: "another".to_owned(), ..cdr("a", 1) }]).await.unwrap();
    store
        .revise(&[revision("a", "webhook"), revision("a", "billing"), revision("b", "webhook")], &[])
        .await
        .unwrap();
    store.revise(&[revision("a", "webhook")], &[]).await.unwrap();
    let found = store.cdrs(&any()).await.unwrap();
    let told: Vec<_> = found.iter().map(|r| (r.revision, r.source.as_str(), r.record.as_str())).collect();
    assert_eq!(
        told,
        [(1, "call", "record of a"), (2, "webhook", "webhook of a"), (3, "billing", "billing of a")]
    );
}

async fn a_record_and_what_a_webhook_told_of_its_end_meet_in_either_order_once(lab: Lab) {
    let store = lab.open().await;
    let with = |call: &str| CdrRow { wacid: Some(format!("wacid.{call}")), ..cdr(call, 1) };
    store.record(&[with("before"), with("alone")]).await.unwrap();
    let ends = vec![ended("wacid.before"), ended("wacid.after"), ended("wacid.elsewhere")];
    store.take(&[delivery("ends", 1, ends)]).await.unwrap();
    store.record(&[with("after")]).await.unwrap();
    let mut met = store.unreconciled(10).await.unwrap();
    met.sort_by(|one, other| one.call.cmp(&other.call));
    let told: Vec<_> = met.iter().map(|m| (m.record.as_str(), m.told.as_str())).collect();
    assert_eq!(
        told,
        [("record of after", "end of wacid.after"), ("record of before", "end of wacid.before")]
    );

    let done: Vec<_> = met.iter().map(|met| (met.number.clone(), met.wacid.clone())).collect();
    let revisions = [revision("after", "webhook"), revision("before", "webhook")];
    store.revise(&revisions, &done).await.unwrap();
    assert_eq!(store.unreconciled(10).await.unwrap(), []);
}

async fn the_end_of_a_call_is_of_the_number_it_was_told_of(lab: Lab) {
    let store = lab.open().await;
    store.record(&[CdrRow { wacid: Some("wacid.a".to_owned()), ..cdr("a", 1) }]).await.unwrap();
    let end = EndRow { number: "+912".to_owned(), wacid: "wacid.a".to_owned(), told: "another".to_owned() };
    let foreign = EventRow { end: Some(end), ..ended("foreign") };
    store.take(&[delivery("foreign", 1, vec![foreign])]).await.unwrap();
    assert_eq!(store.unreconciled(10).await.unwrap(), []);
    assert_eq!(store.end("+911", "wacid.a").await.unwrap(), None);
    store.take(&[delivery("own", 2, vec![ended("wacid.a")])]).await.unwrap();
    assert_eq!(store.end("+911", "wacid.a").await.unwrap().as_deref(), Some("end of wacid.a"));
    assert_eq!(store.end("+912", "wacid.a").await.unwrap().as_deref(), Some("another"));
    let met = store.unreconciled(10).await.unwrap();
    assert_eq!(met.iter().map(|met| met.told.as_str()).collect::<Vec<_>>(), ["end of wacid.a"]);
}

async fn records_are_found_by_every_filter_and_page_by_page(lab: Lab) {
    let store = lab.open().await;
    let mut other = cdr("d", 4);
    (other.number, other.customer, other.cause) = ("+912".into(), "+918".into(), "busy".into());
    other.direction = "user_initiated".into();
    store.record(&[cdr("a", 1), cdr("c", 2), cdr("b", 2), other]).await.unwrap();
    store.revise(&[revision("a", "webhook")], &[]).await.unwrap();
    let some = |text: &str| Some(text.to_owned());
    for query in [
        CdrQuery { call: some("d"), ..any() },
        CdrQuery { number: some("+912"), ..any() },
        CdrQuery { customer: some("+918"), ..any() },
        CdrQuery { cause: some("busy"), ..any() },
        CdrQuery { direction: some("user_initiated"), ..any() },
        CdrQuery { from: Some(at(3)), ..any() },
    ] {
        assert_eq!(calls(&store, query.clone()).await, ["d"], "{query:?}");
    }
    assert_eq!(calls(&store, CdrQuery { until: Some(at(2)), ..any() }).await, ["a", "a"]);
    assert_eq!(calls(&store, CdrQuery { most: 0, ..any() }).await, [""; 0]);

    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store.cdrs(&CdrQuery { most: 1, after, ..any() }).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.began, last.call.clone()));
        seen.extend(page.into_iter().map(|found| found.call));
    }
    assert_eq!(seen, ["a", "a", "b", "c", "d"]);
}

async fn attempts_of_a_number_are_business_initiated_calls_that_meta_heard_of(lab: Lab) {
    let store = lab.open().await;
    let refused = CdrRow { reached: false, cause: "refused".into(), ..cdr("refused", 5) };
    let no_agent = CdrRow { reached: false, cause: "no_answer".into(), ..cdr("no_agent", 5) };
    let inbound = CdrRow { direction: "user_initiated".into(), ..cdr("inbound", 5) };
    let elsewhere = CdrRow { number: "+912".into(), ..cdr("elsewhere", 5) };
    store.record(&[cdr("old", 1), cdr("one", 5), cdr("two", 6), refused, no_agent]).await.unwrap();
    store.record(&[inbound, elsewhere]).await.unwrap();
    store.revise(&[revision("one", "webhook")], &[]).await.unwrap();
    assert_eq!(store.attempts("+911", at(5)).await.unwrap(), 2);
}

async fn a_record_brings_its_facts_and_the_customers_names_along(lab: Lab) {
    let store = lab.open().await;
    let names = Some(("wa:919".to_owned(), "id:IN.1".to_owned()));
    store.record(&[CdrRow { facts: vec![fact("wa:919", "called", 1)], names, ..cdr("a", 1) }]).await.unwrap();
    for what in Old::ALL.into_iter().filter(|what| *what != Old::Records) {
        store.prune(what, at(999), 10).await.unwrap();
    }
    let names = CustomerNames { name: "id:IN.1", other: "id:IN.1" };
    assert_eq!(store.pair("+911", names, 10).await.unwrap().len(), 1);
}

//! What reports read, also of records from before there were reports.

use setu_store::{CdrQuery, CdrRow, Location, ReportQuery, ReportRow, Store};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyPool, SqlSafeStr};

use crate::lab::{Lab, at, cdr};
use crate::on_both;

on_both!(
    a_report_reads_every_call_of_its_span_once_page_by_page,
    records_from_before_there_were_reports_are_read_and_counted,
);

/// All that a query lets through, `most` at a time.
async fn read(store: &Store, mut query: ReportQuery) -> Vec<ReportRow> {
    let mut all: Vec<ReportRow> = Vec::new();
    loop {
        let page = store.report(&query).await.unwrap();
        let Some(last) = page.last() else { return all };
        query.after = Some((last.began, last.call.clone()));
        all.extend(page);
    }
}

async fn a_report_reads_every_call_of_its_span_once_page_by_page(lab: Lab) {
    let store = lab.open().await;
    let talked = CdrRow {
        answered: Some(at(2)),
        connected_ms: 65_000,
        use_case: Some("kyc".to_owned()),
        cost: Some("0.0831".to_owned()),
        country: Some("IN".to_owned()),
        ..cdr("talked", 2)
    };
    let elsewhere = CdrRow { number: "+912".to_owned(), ..cdr("elsewhere", 2) };
    store.record(&[cdr("early", 1), talked, elsewhere, cdr("last", 3), cdr("late", 9)]).await.unwrap();
    let query = ReportQuery { from: Some(at(2)), until: Some(at(9)), most: 1, ..ReportQuery::default() };
    let all = read(&store, query.clone()).await;
    assert_eq!(all.iter().map(|row| row.call.as_str()).collect::<Vec<_>>(), ["elsewhere", "talked", "last"]);
    let talked = ReportRow {
        call: "talked".to_owned(),
        number: "+911".to_owned(),
        direction: "business_initiated".to_owned(),
        cause: "success".to_owned(),
        began: at(2),
        answered: true,
        connected_ms: Some(65_000),
        use_case: Some("kyc".to_owned()),
        cost: Some("0.0831".to_owned()),
    };
    assert_eq!(all[1], talked);
    let of = read(&store, ReportQuery { number: Some("+912".to_owned()), ..query }).await;
    assert_eq!(of.len(), 1);
}

async fn records_from_before_there_were_reports_are_read_and_counted(lab: Lab) {
    sqlx::any::install_default_drivers();
    let url = match lab.location() {
        Location::Sqlite(path) => {
            let mut url = sqlx::any::AnyConnectOptions::clone(&"sqlite:///?mode=rwc".parse().unwrap());
            url.database_url.set_path(path.to_str().unwrap());
            url.database_url.to_string()
        }
        Location::Postgres { url, .. } => url.clone(),
    };
    let before = AnyPool::connect(&url).await.unwrap();
    let first = include_str!("../../migrations/0001_first.sql").into_sql_str();
    let first = Migration::new(1, "first".into(), MigrationType::Simple, first, false);
    Migrator::with_migrations(vec![first]).run(&before).await.unwrap();
    sqlx::query(
        "INSERT INTO cdrs (call, revision, source, written, number, customer, direction, cause, began, record) \
         VALUES ('old', 1, 'call', 1, '+911', '+919', 'business_initiated', 'success', 1000, 'its record')",
    )
    .execute(&before)
    .await
    .unwrap();
    before.close().await;

    let store = lab.open().await;
    let found = store.cdrs(&CdrQuery { most: 1, ..CdrQuery::default() }).await.unwrap();
    assert_eq!((found[0].call.as_str(), found[0].record.as_str()), ("old", "its record"));
    assert_eq!(store.attempts("+911", at(0)).await.unwrap(), 1);
    let read = read(&store, ReportQuery { most: 10, ..ReportQuery::default() }).await;
    assert_eq!((read.len(), read[0].connected_ms, read[0].cost.as_deref()), (1, None, None));
}

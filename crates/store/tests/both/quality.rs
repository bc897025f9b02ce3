//! Tallies, complaints and campaigns.

use setu_model::Wall;
use setu_store::{Attempt, CdrRow, ComplaintRow, RequestRow, Store, TallyRow, day};

use crate::lab::{Lab, at, cdr, delivery, event};
use crate::on_both;

on_both!(
    a_day_is_tallied_once_for_each_call_that_rang,
    a_complaint_is_laid_to_the_call_it_follows_whichever_is_kept_first,
    a_call_is_blamed_once_and_by_nobody_else_nor_too_late,
    a_complaint_under_the_other_name_of_a_customer_is_laid_to_the_call,
    what_meta_says_comes_with_its_webhook_and_is_known_until_it_ends,
    a_campaign_remembers_its_last_requests_once_each,
);

const DAY: i64 = 24 * 3_600;

fn complaint(id: &str, seconds: i64) -> ComplaintRow {
    ComplaintRow {
        complaint: id.to_owned(),
        number: "+911".to_owned(),
        customer: Some("wa:919".to_owned()),
        kind: "block".to_owned(),
        source: "feedback".to_owned(),
        moment: at(seconds),
        until: None,
        blames: true,
        call: None,
    }
}

async fn blamed(store: &Store) -> u32 {
    store.tallies("+911", 0).await.unwrap().iter().map(|tally| tally.blamed).sum()
}

async fn a_day_is_tallied_once_for_each_call_that_rang(lab: Lab) {
    let store = lab.open().await;
    let talked = |call: &str, seconds, short| CdrRow {
        answered: Some(at(seconds)),
        attempt: Some(Attempt { short, blamable: at(seconds + 1_800) }),
        ..cdr(call, seconds)
    };
    let inbound = CdrRow { attempt: None, ..talked("inbound", 9, true) };
    let elsewhere = CdrRow { number: "+912".to_owned(), ..cdr("elsewhere", 9) };
    let rows = [cdr("a", 1), talked("b", 2, true), talked("c", 3, false), inbound, elsewhere, cdr("d", DAY)];
    store.record(&rows).await.unwrap();
    store.record(&rows).await.unwrap();
    let first = TallyRow { day: 0, attempts: 3, answered: 2, short: 1, blamed: 0 };
    let second = TallyRow { day: 1, attempts: 1, ..TallyRow::default() };
    assert_eq!(store.tallies("+911", 0).await.unwrap(), [first, second]);
    assert_eq!(store.tallies("+911", 1).await.unwrap(), [second]);
    assert_eq!((day(at(DAY - 1)), day(at(DAY)), day(at(-1))), (0, 1, -1));
}

async fn a_complaint_is_laid_to_the_call_it_follows_whichever_is_kept_first(lab: Lab) {
    let store = lab.open().await;
    assert_eq!(store.complain(&[complaint("early", 110)]).await.unwrap(), [true]);
    assert_eq!(blamed(&store).await, 0);
    store.record(&[cdr("first", 100), cdr("second", 5_000)]).await.unwrap();
    assert_eq!(blamed(&store).await, 1);
    let late = [complaint("late", 5_100), complaint("early", 110)];
    assert_eq!(store.complain(&late).await.unwrap(), [true, false]);
    assert_eq!(blamed(&store).await, 2);
}

async fn a_call_is_blamed_once_and_by_nobody_else_nor_too_late(lab: Lab) {
    let store = lab.open().await;
    store.record(&[cdr("a", 100), cdr("b", 200)]).await.unwrap();
    let other = ComplaintRow { customer: Some("wa:918".to_owned()), ..complaint("other", 210) };
    let elsewhere = ComplaintRow { number: "+912".to_owned(), ..complaint("elsewhere", 210) };
    let harmless = ComplaintRow { blames: false, ..complaint("harmless", 210) };
    let before = complaint("before", 99);
    let too_late = complaint("too late", 200 + 1_801);
    store.complain(&[other, elsewhere, harmless, before, too_late]).await.unwrap();
    assert_eq!(blamed(&store).await, 0);
    store.complain(&[complaint("one", 210), complaint("two", 220)]).await.unwrap();
    assert_eq!(blamed(&store).await, 1, "both are about the last call");
    let named = ComplaintRow { call: Some("a".to_owned()), ..complaint("named", 230) };
    store.complain(&[named]).await.unwrap();
    assert_eq!(blamed(&store).await, 2);
}

async fn a_complaint_under_the_other_name_of_a_customer_is_laid_to_the_call(lab: Lab) {
    let store = lab.open().await;
    let names = Some(("wa:919".to_owned(), "id:IN.1".to_owned()));
    let by_id =
        |id: &str, seconds| ComplaintRow { customer: Some("id:IN.1".to_owned()), ..complaint(id, seconds) };
    store.complain(&[by_id("before", 101)]).await.unwrap();
    store.record(&[CdrRow { names, ..cdr("a", 100) }, cdr("b", 5_000)]).await.unwrap();
    store.complain(&[by_id("after", 5_001)]).await.unwrap();
    assert_eq!(blamed(&store).await, 2);
}

async fn what_meta_says_comes_with_its_webhook_and_is_known_until_it_ends(lab: Lab) {
    let store = lab.open().await;
    let warning = |id: &str, seconds, until: Option<Wall>| ComplaintRow {
        customer: None,
        kind: "restriction".to_owned(),
        source: "meta".to_owned(),
        until,
        blames: false,
        ..complaint(id, seconds)
    };
    let mut told = event("account");
    told.complaints = vec![warning("week", 100, Some(at(700))), warning("warned", 300, None)];
    store.take(&[delivery("one", 1, vec![told.clone()])]).await.unwrap();
    store.take(&[delivery("again", 2, vec![told])]).await.unwrap();
    store.complain(&[complaint("a customer's", 900)]).await.unwrap();
    let known = async |since| {
        let known = store.warnings("+911", at(since), 10).await.unwrap();
        known.into_iter().map(|it| (it.complaint, it.until)).collect::<Vec<_>>()
    };
    let (week, warned) = (("week".to_owned(), Some(at(700))), ("warned".to_owned(), None));
    assert_eq!(known(50).await, [warned, week.clone()]);
    assert_eq!(known(500).await, [week]);
    assert_eq!(known(701).await, []);
    assert_eq!(store.warnings("+911", at(50), 1).await.unwrap().len(), 1);
}

async fn a_campaign_remembers_its_last_requests_once_each(lab: Lab) {
    let request = |n: i64, campaign: &str| RequestRow {
        request: format!("{campaign} {n}"),
        campaign: campaign.to_owned(),
        moment: at(n),
        cold: n % 2 == 0,
    };
    let rows: Vec<_> = (0..5).map(|n| request(n, "spring")).collect();
    {
        let store = lab.open().await;
        store.requested(&rows).await.unwrap();
        store.requested(&rows).await.unwrap();
        store.requested(&[request(9, "other")]).await.unwrap();
        store.close().await;
    }
    let store = lab.open().await;
    assert_eq!(store.campaign("spring", 3).await.unwrap(), [(at(2), true), (at(3), false), (at(4), true)]);
    assert_eq!(store.campaign("nobody's", 3).await.unwrap(), []);
}

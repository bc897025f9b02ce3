//! Orders of calls that have keys.

use setu_store::{CallFate, KnownOrder, OrderRow};

use crate::lab::{Lab, at, cdr};
use crate::on_both;

on_both!(
    a_key_has_one_order_also_after_a_restart_and_each_owner_has_keys_of_its_own,
    a_key_is_free_again_after_its_time_and_if_its_order_came_to_nothing,
    what_became_of_a_call_is_known_once_it_is_over,
);

fn order(owner: &str, call: &str, seconds: i64) -> OrderRow {
    OrderRow {
        owner: owner.to_owned(),
        name: "click-1".to_owned(),
        digest: format!("order of {owner}"),
        call: call.to_owned(),
        made: at(seconds),
    }
}

fn known(owner: &str, call: &str, done: bool) -> Option<KnownOrder> {
    Some(KnownOrder { digest: format!("order of {owner}"), call: call.to_owned(), done })
}

async fn a_key_has_one_order_also_after_a_restart_and_each_owner_has_keys_of_its_own(lab: Lab) {
    let store = lab.open().await;
    assert_eq!(store.claim(&order("crm", "a", 100), at(0)).await.unwrap(), None);
    assert_eq!(store.claim(&order("crm", "b", 101), at(0)).await.unwrap(), known("crm", "a", false));
    assert_eq!(store.claim(&order("bot", "c", 101), at(0)).await.unwrap(), None);
    store.answered("crm", "click-1", "a", true).await.unwrap();
    store.close().await;
    let store = lab.open().await;
    assert_eq!(store.claim(&order("crm", "d", 102), at(0)).await.unwrap(), known("crm", "a", true));
    assert_eq!(store.claim(&order("bot", "d", 102), at(0)).await.unwrap(), known("bot", "c", false));
}

async fn a_key_is_free_again_after_its_time_and_if_its_order_came_to_nothing(lab: Lab) {
    let store = lab.open().await;
    let claim = async |call: &str, seconds, since| {
        store.claim(&order("crm", call, seconds), at(since)).await.unwrap()
    };
    assert_eq!(claim("a", 100, 0).await, None);
    store.answered("crm", "click-1", "another", false).await.unwrap();
    assert_eq!(claim("b", 101, 0).await, known("crm", "a", false));
    store.answered("crm", "click-1", "a", false).await.unwrap();
    assert_eq!(claim("b", 102, 0).await, None);
    store.answered("crm", "click-1", "b", true).await.unwrap();
    store.answered("crm", "click-1", "b", false).await.unwrap();
    assert_eq!(claim("c", 103, 102).await, known("crm", "b", true));
    assert_eq!(claim("c", 204, 103).await, None);
}

async fn what_became_of_a_call_is_known_once_it_is_over(lab: Lab) {
    let store = lab.open().await;
    store.record(&[cdr("a", 1)]).await.unwrap();
    assert_eq!(store.fate("a").await.unwrap(), CallFate::Over("success".to_owned()));
    assert_eq!(store.fate("b").await.unwrap(), CallFate::Open);
}

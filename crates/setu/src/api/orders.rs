//! Orders of calls that have keys: one call a key, whoever asks again, before a restart or after it.

use setu_control::{CallOrder, NotMade, OrderKey, Unavailable};
use setu_model::{CallId, Cause, Wall};
use setu_store::{CallFate, OrderRow, Store, StoreFault, digest};

use super::ToDriver;
use crate::bridge::{SystemEntropy, now};

/// Places a call, or answers as the order that had the key before was answered.
///
/// The key is taken, with the id that the call will have, before the driver hears of it. Whoever comes with the same key while
/// nothing is decided waits with the first: the driver places one id once. If the bridge was killed in between, that id tells
/// whether the call began.
pub(super) async fn place(
    store: &Store,
    driver: &ToDriver,
    mut order: CallOrder,
) -> Result<Result<String, NotMade>, Unavailable> {
    let Some(OrderKey { by, key }) = order.key.take() else { return driver.place(order, None).await };
    let told = serde_json::to_vec(&order).map_err(|error| Unavailable(error.to_string()))?;
    let mut row =
        OrderRow { owner: by, name: key, digest: digest(&[&told]), call: String::new(), made: now().wall };
    let since = Wall::from_unix_ms(row.made.unix_ms().saturating_sub(KEPT_MS));
    for _ in 0..TRIES {
        let mut call = CallId::new(row.made, &mut SystemEntropy);
        row.call = call.to_string();
        if let Some(known) = store.claim(&row, since).await.map_err(failed)? {
            if known.digest != row.digest {
                return Ok(Err(NotMade::KeyTaken));
            }
            if known.done {
                return Ok(Ok(known.call));
            }
            row.call.clone_from(&known.call);
            match store.fate(&known.call).await.map_err(failed)? {
                // Nobody was told of a call: the next try is one of its own.
                CallFate::Over(cause) if cause == Cause::Refused.word() => {
                    store.answered(&row.owner, &row.name, &known.call, false).await.map_err(failed)?;
                    continue;
                }
                CallFate::Over(_) => {
                    settle(store, &row, true).await;
                    return Ok(Ok(known.call));
                }
                CallFate::Open => match known.call.parse() {
                    Ok(id) => call = id,
                    Err(_) => continue,
                },
            }
        }
        let placed = driver.place(order, Some(call)).await?;
        settle(store, &row, placed.is_ok()).await;
        return Ok(placed);
    }
    Err(Unavailable("others order with the same key".to_owned()))
}

/// What is not noted is found out by the call's id when the key comes again.
async fn settle(store: &Store, row: &OrderRow, placed: bool) {
    if let Err(fault) = store.answered(&row.owner, &row.name, &row.call, placed).await {
        tracing::error!(%fault, call = row.call, "what became of an order cannot be noted");
    }
}

fn failed(fault: StoreFault) -> Unavailable {
    tracing::error!(%fault, "the database cannot be asked");
    Unavailable("the database does not answer".to_owned())
}

/// How long a key is remembered, in milliseconds: a day.
const KEPT_MS: i64 = 24 * 3_600 * 1_000;

/// How often a key is tried that others give back meanwhile.
const TRIES: u32 = 3;

//! Orders of calls that have keys: whichever process takes the second order of a key knows of the first.

use setu_model::Wall;
use sqlx::Row;

use crate::key::key;
use crate::store::{Store, StoreFault};

/// An order that has a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRow {
    /// Whose keys these are.
    pub owner: String,
    /// The key.
    pub name: String,
    /// The same for the same order.
    pub digest: String,
    /// The id that the call has or will have.
    pub call: String,
    /// When it was ordered.
    pub made: Wall,
}

/// The order that had a key before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownOrder {
    /// The same for the same order.
    pub digest: String,
    /// The call's id.
    pub call: String,
    /// Whether it was answered with the call.
    pub done: bool,
}

/// What the database knows of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallFate {
    /// Nothing, or not that it is over.
    Open,
    /// It is over: for this cause, as the record's word.
    Over(String),
}

impl Store {
    /// Takes a key for an order; returns the order that has it already, if that is not of before `since`.
    ///
    /// # Errors
    /// [`StoreFault`]: the key is not taken.
    pub async fn claim(&self, order: &OrderRow, since: Wall) -> Result<Option<KnownOrder>, StoreFault> {
        let mut transaction = self.write().await?;
        let old = sqlx::query("DELETE FROM orders WHERE owner = $1 AND name = $2 AND made < $3");
        let old = old.bind(key(&order.owner)).bind(key(&order.name)).bind(since.unix_ms());
        old.execute(&mut *transaction).await?;
        let take = sqlx::query(
            "INSERT INTO orders (owner, name, digest, call, made, done) VALUES ($1, $2, $3, $4, $5, 0) \
             ON CONFLICT DO NOTHING",
        );
        let take = take.bind(key(&order.owner)).bind(key(&order.name)).bind(key(&order.digest));
        let take = take.bind(key(&order.call)).bind(order.made.unix_ms());
        let known = if take.execute(&mut *transaction).await?.rows_affected() > 0 {
            None
        } else {
            let known = sqlx::query("SELECT digest, call, done FROM orders WHERE owner = $1 AND name = $2");
            let known = known.bind(key(&order.owner)).bind(key(&order.name));
            let row = known.fetch_one(&mut *transaction).await?;
            let done = row.try_get::<i64, _>("done")? != 0;
            Some(KnownOrder { digest: row.try_get("digest")?, call: row.try_get("call")?, done })
        };
        transaction.commit().await?;
        Ok(known)
    }

    /// Notes that an order was answered with its call, or gives its key back because it came to nothing. What another call
    /// has taken meanwhile stays.
    ///
    /// # Errors
    /// [`StoreFault`]: the order is as it was.
    pub async fn answered(
        &self,
        owner: &str,
        name: &str,
        call: &str,
        placed: bool,
    ) -> Result<(), StoreFault> {
        let _writing = self.writing.lock().await;
        let settle = if placed {
            "UPDATE orders SET done = 1 WHERE owner = $1 AND name = $2 AND call = $3"
        } else {
            "DELETE FROM orders WHERE owner = $1 AND name = $2 AND call = $3 AND done = 0"
        };
        let settle = sqlx::query(settle).bind(key(owner)).bind(key(name)).bind(key(call));
        settle.execute(&self.pool).await?;
        Ok(())
    }

    /// What became of a call.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn fate(&self, call: &str) -> Result<CallFate, StoreFault> {
        let over = sqlx::query("SELECT cause FROM cdrs WHERE call = $1 AND revision = 1");
        let over = over.bind(key(call)).fetch_optional(&self.pool).await?;
        Ok(match over {
            Some(row) => CallFate::Over(row.try_get("cause")?),
            None => CallFate::Open,
        })
    }
}

//! The one way to write more than one row: a transaction on a connection that is used again only once it was committed.

use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, Executor};
use tokio::sync::MutexGuard;

use crate::store::{Store, StoreFault};

/// A transaction. It is undone unless it is committed.
///
/// A full disk makes SQLite roll back by itself, and neither sqlx nor we can tell from an error whether it did so. A
/// connection whose state is not known would take the next transaction as a part of one that nobody commits; so after any
/// error, and when the work is given up half-way, the connection is closed and the pool makes a new one.
#[derive(Debug)]
pub(crate) struct Write<'a> {
    connection: PoolConnection<Any>,
    committed: bool,
    _writing: MutexGuard<'a, ()>,
}

impl Store {
    /// Begins to write, once nobody else does.
    pub(crate) async fn write(&self) -> Result<Write<'_>, StoreFault> {
        let writing = self.writing.lock().await;
        let connection = self.pool.acquire().await?;
        let mut write = Write { connection, committed: false, _writing: writing };
        write.execute("BEGIN").await?;
        Ok(write)
    }
}

impl Write<'_> {
    /// Commits what was written.
    ///
    /// # Errors
    /// [`StoreFault`]: nothing is written.
    pub(crate) async fn commit(mut self) -> Result<(), StoreFault> {
        self.execute("COMMIT").await?;
        self.committed = true;
        Ok(())
    }
}

impl Deref for Write<'_> {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.connection
    }
}

impl DerefMut for Write<'_> {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        if !self.committed {
            self.connection.close_on_drop();
        }
    }
}

#[cfg(test)]
mod tests {
    use setu_model::Wall;

    use super::*;
    use crate::{CustomerNames, FactRow, Location};

    fn fact(name: &str) -> FactRow {
        let (number, customer, telling) = ("49301".to_owned(), "49171".to_owned(), String::new());
        FactRow { number, customer, fact: name.to_owned(), telling, moment: Wall::from_unix_ms(1) }
    }

    async fn facts(store: &Store) -> Vec<String> {
        let customer = CustomerNames { name: "49171", other: "49171" };
        let facts = store.pair("49301", customer, 9).await.unwrap();
        facts.into_iter().map(|(id, _)| id).collect()
    }

    /// What is said to be kept after a full disk is kept, for everybody. SQLite undoes all of a transaction by itself where
    /// the commit finds no room, and only one statement where that finds none.
    #[tokio::test]
    async fn a_write_after_failed_ones_is_kept_whatever_was_undone() {
        let folder = tempfile::tempdir().unwrap();
        let at = Location::Sqlite(folder.path().join("setu.db"));
        let store = Store::open(&at).await.unwrap();
        for undone in ["ROLLBACK", "ABORT"] {
            let fail = format!(
                "CREATE TRIGGER fails_by_{undone} BEFORE INSERT ON facts WHEN NEW.fact = '{undone}' \
                 BEGIN SELECT RAISE({undone}, 'no room'); END"
            );
            store.pool.execute(sqlx::AssertSqlSafe(fail)).await.unwrap();
        }
        for undone in ["ROLLBACK", "ABORT", "ABORT", "ROLLBACK", "ROLLBACK", "ABORT"] {
            let failed = store.note(&[fact("before"), fact(undone)]).await;
            assert!(failed.unwrap_err().to_string().contains("no room"));
        }
        store.note(&[fact("after")]).await.unwrap();

        let other = Store::open(&at).await.unwrap();
        assert_eq!(facts(&other).await, ["after"]);
        other.note(&[fact("other")]).await.unwrap();
        assert_eq!(facts(&store).await.len(), 2);
        store.close().await;
        other.close().await;
    }

    /// A write that was given up half-way holds up nobody.
    #[tokio::test]
    async fn a_write_that_is_dropped_is_undone() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Location::Sqlite(folder.path().join("setu.db"))).await.unwrap();
        let mut write = store.write().await.unwrap();
        crate::store::note(&mut write, &fact("dropped")).await.unwrap();
        drop(write);
        store.note(&[fact("next")]).await.unwrap();
        assert_eq!(facts(&store).await, ["next"]);
        store.close().await;
    }
}

//! Events on their way out: kept with what they tell of, taken from here one after the other, and given up to a list.

use std::time::Duration;

use setu_model::Wall;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use crate::key::{key, text};
use crate::store::{Store, StoreFault, moment, signed};

/// One event for one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Who is told.
    pub endpoint: String,
    /// The event's id: the same for every endpoint and every try, and for no other event.
    pub id: String,
    /// What it is told in the order of: those of one stream go one after the other.
    pub stream: String,
    /// Its kind, such as `call.ended`.
    pub kind: String,
    /// What is told, as JSON.
    pub payload: String,
    /// When it happened.
    pub made: Wall,
}

/// The next event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxHead {
    /// The event's id.
    pub id: String,
    /// What it is told in the order of.
    pub stream: String,
    /// What is told, as JSON.
    pub payload: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it is due.
    pub due: Wall,
}

/// What becomes of an event after a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboxFate {
    /// It was taken and is forgotten.
    Delivered,
    /// It is tried again.
    Later {
        /// How often it was tried.
        tries: u32,
        /// When it is due.
        due: Wall,
        /// Why it was not taken.
        why: String,
    },
    /// It is not tried again unless somebody asks for it.
    Dead {
        /// How often it was tried.
        tries: u32,
        /// Why it was given up.
        why: String,
    },
}

/// An event whose delivery was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadRow {
    /// Who was to be told.
    pub endpoint: String,
    /// The event's id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// What was to be told, as JSON.
    pub payload: String,
    /// When it happened.
    pub made: Wall,
    /// How often it was tried.
    pub tries: u32,
    /// Why it was given up.
    pub why: String,
    /// Its place among all.
    pub place: i64,
}

/// How many events there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutboxCount {
    /// On their way.
    pub waiting: u64,
    /// Given up.
    pub dead: u64,
}

impl Store {
    /// Keeps events that are told of nothing else that is kept. One that is there already stays as it is.
    ///
    /// # Errors
    /// [`StoreFault`]: none is kept.
    pub async fn announce(&self, events: &[OutboxRow]) -> Result<(), StoreFault> {
        let mut transaction = self.write().await?;
        put(&mut transaction, events).await?;
        transaction.commit().await?;
        self.announced.notify_one();
        Ok(())
    }

    /// Returns once events were put into the outbox, or taken out of the list of those given up, since the last time.
    pub async fn announced(&self) {
        self.announced.notified().await;
    }

    /// The next event of each stream of an endpoint, those first that are due first; at most `most`.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn outbox(&self, endpoint: &str, most: usize) -> Result<Vec<OutboxHead>, StoreFault> {
        let heads = sqlx::query(
            "SELECT o.id, o.stream, o.payload, o.tries, o.due FROM outbox o WHERE o.endpoint = $1 AND o.dead = 0 \
             AND NOT EXISTS (SELECT 1 FROM outbox e WHERE e.endpoint = o.endpoint AND e.stream = o.stream AND e.dead = 0 \
             AND e.place < o.place) ORDER BY o.due, o.place LIMIT $2",
        );
        let rows = heads.bind(key(endpoint)).bind(signed(most)).fetch_all(&self.pool).await?;
        let read = |row: &AnyRow| {
            Ok(OutboxHead {
                id: row.try_get("id")?,
                stream: row.try_get("stream")?,
                payload: row.try_get("payload")?,
                tries: tries(row)?,
                due: moment(row, "due")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Notes what became of an event of an endpoint.
    ///
    /// # Errors
    /// [`StoreFault`]: it is where it was.
    pub async fn fated(&self, endpoint: &str, id: &str, fate: &OutboxFate) -> Result<(), StoreFault> {
        let _writing = self.writing.lock().await;
        let (tries, due, why, dead) = match fate {
            OutboxFate::Delivered => {
                let gone = sqlx::query("DELETE FROM outbox WHERE endpoint = $1 AND id = $2");
                gone.bind(key(endpoint)).bind(key(id)).execute(&self.pool).await?;
                return Ok(());
            }
            OutboxFate::Later { tries, due, why } => (*tries, due.unix_ms(), why, 0),
            OutboxFate::Dead { tries, why } => (*tries, 0, why, 1),
        };
        let fated = sqlx::query(
            "UPDATE outbox SET tries = $3, due = $4, why = $5, dead = $6 WHERE endpoint = $1 AND id = $2",
        );
        let fated = fated.bind(key(endpoint)).bind(key(id)).bind(i64::from(tries)).bind(due);
        fated.bind(text(why)).bind(dead).execute(&self.pool).await?;
        Ok(())
    }

    /// Events whose delivery was given up, in the order in which they happened; those after `after`, at most `most`.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn dead(&self, after: Option<i64>, most: usize) -> Result<Vec<DeadRow>, StoreFault> {
        let dead = sqlx::query(
            "SELECT endpoint, id, kind, payload, made, tries, why, place FROM outbox WHERE dead = 1 AND place > $1 \
             ORDER BY place LIMIT $2",
        );
        let rows = dead.bind(after.unwrap_or(0)).bind(signed(most)).fetch_all(&self.pool).await?;
        let read = |row: &AnyRow| {
            let why: Option<String> = row.try_get("why")?;
            Ok(DeadRow {
                endpoint: row.try_get("endpoint")?,
                id: row.try_get("id")?,
                kind: row.try_get("kind")?,
                payload: row.try_get("payload")?,
                made: moment(row, "made")?,
                tries: tries(row)?,
                why: why.unwrap_or_default(),
                place: row.try_get("place")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Puts an event back whose delivery was given up, as if it had never been tried; whether there was one.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn revive(&self, endpoint: &str, id: &str) -> Result<bool, StoreFault> {
        let _writing = self.writing.lock().await;
        let revive = sqlx::query(
            "UPDATE outbox SET dead = 0, tries = 0, due = 0 WHERE endpoint = $1 AND id = $2 AND dead = 1",
        );
        let revived = revive.bind(key(endpoint)).bind(key(id)).execute(&self.pool).await?.rows_affected() > 0;
        if revived {
            self.announced.notify_one();
        }
        Ok(revived)
    }

    /// How many events there are.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn outbox_count(&self) -> Result<OutboxCount, StoreFault> {
        let mut found = [0_u64; 2];
        for (dead, count) in (0_i64..).zip(&mut found) {
            let of = sqlx::query("SELECT COUNT(*) AS events FROM outbox WHERE dead = $1");
            let events: i64 = of.bind(dead).fetch_one(&self.pool).await?.try_get("events")?;
            *count = u64::try_from(events).unwrap_or(0);
        }
        let [waiting, dead] = found;
        Ok(OutboxCount { waiting, dead })
    }

    /// Gives up what waits for endpoints that are none of `endpoints` or is older than `waits`, and forgets what was given up
    /// and is older than `kept`. Returns how many were given up.
    ///
    /// # Errors
    /// [`StoreFault`]: nothing is changed.
    pub async fn tidy_outbox(
        &self,
        endpoints: &[String],
        now: Wall,
        waits: Duration,
        kept: Duration,
    ) -> Result<u64, StoreFault> {
        let before =
            |age: Duration| now.unix_ms().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let mut transaction = self.write().await?;
        let mut given_up = 0;
        let old = sqlx::query(
            "UPDATE outbox SET dead = 1, why = 'it waited for too long' WHERE dead = 0 AND made < $1",
        );
        given_up += old.bind(before(waits)).execute(&mut *transaction).await?.rows_affected();
        let named = sqlx::query("SELECT DISTINCT endpoint FROM outbox WHERE dead = 0");
        for row in named.fetch_all(&mut *transaction).await? {
            let endpoint: String = row.try_get("endpoint")?;
            if !endpoints.iter().any(|known| key(known) == endpoint) {
                let orphans = sqlx::query(
                    "UPDATE outbox SET dead = 1, why = 'the endpoint is not configured' WHERE dead = 0 AND endpoint = $1",
                );
                given_up += orphans.bind(endpoint).execute(&mut *transaction).await?.rows_affected();
            }
        }
        let forget = sqlx::query("DELETE FROM outbox WHERE dead = 1 AND made < $1");
        forget.bind(before(kept)).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(given_up)
    }
}

/// Puts events behind all others.
pub(crate) async fn put(to: &mut AnyConnection, events: &[OutboxRow]) -> Result<(), sqlx::Error> {
    for event in events {
        let keep = sqlx::query(
            "INSERT INTO outbox (endpoint, id, stream, place, kind, payload, made, tries, due, dead) \
             VALUES ($1, $2, $3, (SELECT COALESCE(MAX(place), 0) + 1 FROM outbox), $4, $5, $6, 0, 0, 0) \
             ON CONFLICT DO NOTHING",
        );
        let keep = keep.bind(key(&event.endpoint)).bind(key(&event.id)).bind(key(&event.stream));
        let keep = keep.bind(key(&event.kind)).bind(text(&event.payload)).bind(event.made.unix_ms());
        keep.execute(&mut *to).await?;
    }
    Ok(())
}

fn tries(row: &AnyRow) -> Result<u32, sqlx::Error> {
    let tries: i64 = row.try_get("tries")?;
    Ok(u32::try_from(tries).unwrap_or(u32::MAX))
}

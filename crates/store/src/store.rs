//! The writes, each in one transaction, and the store itself.

use setu_model::Wall;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AnyPool, Row};
use tokio::sync::{Mutex, Notify};

use crate::key::{key, text};
use crate::open::{Location, OpenError};
use crate::outbox::put;
use crate::quality::{complain, tally};
use crate::rows::{CdrRow, CustomerNames, DeliveryRow, EventRow, FactRow, Revision, Unreconciled, Waiting};

/// The database.
#[derive(Debug)]
pub struct Store {
    pub(crate) pool: AnyPool,
    /// One writer at a time: SQLite has no room for two, and revisions are numbered.
    pub(crate) writing: Mutex<()>,
    /// Tells whoever delivers events that there are some.
    pub(crate) announced: Notify,
}

/// The database did not do what was asked; nothing of it was done.
#[derive(Debug, thiserror::Error)]
#[error("the database: {0}")]
pub struct StoreFault(#[from] sqlx::Error);

impl Store {
    /// Opens the database and brings its tables up to date.
    ///
    /// # Errors
    /// It cannot be reached, or its tables are of a newer version.
    pub async fn open(at: &Location) -> Result<Self, OpenError> {
        Ok(Self { pool: at.connect().await?, writing: Mutex::new(()), announced: Notify::new() })
    }

    /// Keeps webhooks and what they told, all or nothing; says for each which of its events are new. An event told for the
    /// second time changes nothing.
    ///
    /// # Errors
    /// [`StoreFault`]: nothing is kept.
    pub async fn take(&self, deliveries: &[DeliveryRow]) -> Result<Vec<Vec<bool>>, StoreFault> {
        let mut transaction = self.write().await?;
        let mut news = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            news.push(take_one(&mut transaction, delivery).await?);
        }
        transaction.commit().await?;
        self.announced.notify_one();
        Ok(news)
    }

    /// Notes that the bridge has acted on events.
    ///
    /// # Errors
    /// [`StoreFault`]: they will be acted on again after a restart.
    pub async fn settle(&self, events: &[String]) -> Result<(), StoreFault> {
        let mut transaction = self.write().await?;
        for event in events {
            settle(&mut transaction, event).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Webhooks with events that the bridge has not acted on, the oldest first.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn waiting(&self) -> Result<Vec<Waiting>, StoreFault> {
        let rows = sqlx::query(
            "SELECT e.event, w.id, w.received, w.kind, w.body FROM events e JOIN webhooks w ON w.id = e.webhook \
             WHERE e.settled = 0 ORDER BY w.received, w.id",
        );
        let mut waiting: Vec<(String, Waiting)> = Vec::new();
        for row in rows.fetch_all(&self.pool).await? {
            let id: String = row.try_get("id")?;
            if waiting.last().is_none_or(|(last, _)| *last != id) {
                let (kind, body) = (row.try_get("kind")?, row.try_get("body")?);
                waiting.push((
                    id,
                    Waiting { received: moment(&row, "received")?, kind, body, events: Vec::new() },
                ));
            }
            if let Some((_, last)) = waiting.last_mut() {
                last.events.push(row.try_get("event")?);
            }
        }
        Ok(waiting.into_iter().map(|(_, waiting)| waiting).collect())
    }

    /// Keeps facts.
    ///
    /// # Errors
    /// [`StoreFault`]: none is kept.
    pub async fn note(&self, facts: &[FactRow]) -> Result<(), StoreFault> {
        let mut transaction = self.write().await?;
        for fact in facts {
            note(&mut transaction, fact).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// What is known of a pair, under every name of the customer: ids and tellings, the newest first, at most `most`. The
    /// messages and calls of the customer come last, who may write all day and must not write away anything else.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn pair(
        &self,
        number: &str,
        customer: CustomerNames<'_>,
        most: usize,
    ) -> Result<Vec<(String, String)>, StoreFault> {
        let facts = sqlx::query(
            "WITH RECURSIVE given (name) AS (VALUES (CAST($1 AS TEXT)), (CAST($2 AS TEXT))), \
             same (name) AS (SELECT name FROM given UNION SELECT n.other FROM names n JOIN same s ON n.name = s.name) \
             SELECT fact, telling FROM facts WHERE number = $3 AND customer IN (SELECT name FROM same) \
             ORDER BY CASE WHEN fact LIKE 'message:%' OR fact LIKE 'phoned:%' THEN 1 ELSE 0 END, moment DESC, fact LIMIT $4",
        );
        let facts =
            facts.bind(key(customer.name)).bind(key(customer.other)).bind(key(number)).bind(signed(most));
        let rows = facts.fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok((row.try_get("fact")?, row.try_get("telling")?))).collect()
    }

    /// Keeps call detail records with what they tell of their pairs, all or nothing. A call that has a record keeps it.
    ///
    /// # Errors
    /// [`StoreFault`]: none is kept.
    pub async fn record(&self, cdrs: &[CdrRow]) -> Result<(), StoreFault> {
        let mut transaction = self.write().await?;
        for cdr in cdrs {
            record(&mut transaction, cdr).await?;
        }
        transaction.commit().await?;
        self.announced.notify_one();
        Ok(())
    }

    /// How many business-initiated calls of a number that Meta heard of began since `since`.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn attempts(&self, number: &str, since: Wall) -> Result<u64, StoreFault> {
        let count = sqlx::query(
            "SELECT COUNT(*) AS calls FROM cdrs WHERE number = $1 AND began >= $2 AND revision = 1 \
             AND direction = 'business_initiated' \
             AND COALESCE(reached, CASE cause WHEN 'refused' THEN 0 ELSE 1 END) = 1",
        );
        let row = count.bind(key(number)).bind(since.unix_ms()).fetch_one(&self.pool).await?;
        let calls: i64 = row.try_get("calls")?;
        Ok(u64::try_from(calls).unwrap_or(0))
    }

    /// What a webhook told of the end of a number's call, as JSON.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn end(&self, number: &str, wacid: &str) -> Result<Option<String>, StoreFault> {
        let end = sqlx::query("SELECT told FROM ends WHERE number = $1 AND wacid = $2");
        let row = end.bind(key(number)).bind(key(wacid)).fetch_optional(&self.pool).await?;
        Ok(row.map(|row| row.try_get("told")).transpose()?)
    }

    /// Records whose end a webhook told as well, and that do not say so yet; at most `most`.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn unreconciled(&self, most: usize) -> Result<Vec<Unreconciled>, StoreFault> {
        let rows = sqlx::query(
            "SELECT e.number, e.wacid, e.told, c.call, c.record FROM ends e \
             JOIN cdrs c ON c.wacid = e.wacid AND c.number = e.number AND c.revision = 1 \
             WHERE e.reconciled = 0 ORDER BY e.received LIMIT $1",
        );
        let rows = rows.bind(signed(most)).fetch_all(&self.pool).await?;
        let read = |row: &AnyRow| {
            Ok(Unreconciled {
                number: row.try_get("number")?,
                wacid: row.try_get("wacid")?,
                call: row.try_get("call")?,
                record: row.try_get("record")?,
                told: row.try_get("told")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Keeps what became known of calls after their records were written, each under the next number; `reconciled` are the
    /// calls, by business number and WhatsApp's id, whose ends are accounted for. A source that has revised a record does not do so again.
    ///
    /// # Errors
    /// [`StoreFault`]: nothing is kept.
    pub async fn revise(
        &self,
        revisions: &[Revision],
        reconciled: &[(String, String)],
    ) -> Result<(), StoreFault> {
        let mut transaction = self.write().await?;
        for revision in revisions {
            let revise = sqlx::query(
                "INSERT INTO cdrs (call, revision, source, written, number, customer, wacid, direction, cause, began, record) \
                 SELECT call, (SELECT MAX(revision) FROM cdrs WHERE call = $1) + 1, $2, $3, number, customer, wacid, \
                 direction, cause, began, $4 FROM cdrs WHERE call = $1 AND revision = 1 ON CONFLICT DO NOTHING",
            );
            let revise = revise.bind(key(&revision.call)).bind(key(&revision.source));
            let revise = revise.bind(revision.written.unix_ms()).bind(text(&revision.record));
            if revise.execute(&mut *transaction).await?.rows_affected() > 0 {
                put(&mut transaction, &revision.told).await?;
            }
        }
        for (number, wacid) in reconciled {
            let done = sqlx::query("UPDATE ends SET reconciled = 1 WHERE number = $1 AND wacid = $2");
            done.bind(key(number)).bind(key(wacid)).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        self.announced.notify_one();
        Ok(())
    }

    /// Closes the database; what was committed is on disk.
    pub async fn close(&self) {
        let _writing = self.writing.lock().await;
        self.pool.close().await;
    }
}

async fn take_one(to: &mut AnyConnection, delivery: &DeliveryRow) -> Result<Vec<bool>, sqlx::Error> {
    let received = delivery.received.unix_ms();
    let keep = sqlx::query(
        "INSERT INTO webhooks (id, received, kind, body) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    );
    let keep = keep.bind(key(&delivery.id)).bind(received);
    keep.bind(delivery.kind.as_deref().map(text)).bind(text(&delivery.body)).execute(&mut *to).await?;
    let mut news = Vec::with_capacity(delivery.events.len());
    for event in &delivery.events {
        let keep = sqlx::query(
            "INSERT INTO events (event, webhook, received, settled) VALUES ($1, $2, $3, 0) ON CONFLICT DO NOTHING",
        );
        let keep = keep.bind(key(&event.event)).bind(key(&delivery.id)).bind(received);
        let new = keep.execute(&mut *to).await?.rows_affected() > 0;
        if new {
            learn(to, event, received).await?;
        }
        news.push(new);
    }
    Ok(news)
}

async fn learn(to: &mut AnyConnection, event: &EventRow, received: i64) -> Result<(), sqlx::Error> {
    if let Some(fact) = &event.fact {
        note(to, fact).await?;
    }
    same(to, event.names.as_ref(), received).await?;
    put(to, &event.told).await?;
    if let Some(end) = &event.end {
        let keep = sqlx::query(
            "INSERT INTO ends (number, wacid, received, told, reconciled) VALUES ($1, $2, $3, $4, 0) ON CONFLICT DO NOTHING",
        );
        keep.bind(key(&end.number))
            .bind(key(&end.wacid))
            .bind(received)
            .bind(text(&end.told))
            .execute(&mut *to)
            .await?;
    }
    for row in &event.complaints {
        complain(to, row).await?;
    }
    Ok(())
}

/// Two names of one customer. When that was told is noted once a day at most.
async fn same(to: &mut AnyConnection, names: Option<&(String, String)>, met: i64) -> Result<(), sqlx::Error> {
    let Some((one, other)) = names else { return Ok(()) };
    for (name, other) in [(one, other), (other, one)] {
        let same = sqlx::query(
            "INSERT INTO names (name, other, met) VALUES ($1, $2, $3) ON CONFLICT (name, other) \
             DO UPDATE SET met = excluded.met WHERE names.met IS NULL OR names.met < excluded.met - 86400000",
        );
        same.bind(key(name)).bind(key(other)).bind(met).execute(&mut *to).await?;
    }
    Ok(())
}

pub(crate) async fn settle(to: &mut AnyConnection, event: &str) -> Result<(), sqlx::Error> {
    let settle = sqlx::query("UPDATE events SET settled = 1 WHERE event = $1");
    settle.bind(key(event)).execute(to).await?;
    Ok(())
}

pub(crate) async fn note(to: &mut AnyConnection, fact: &FactRow) -> Result<(), sqlx::Error> {
    let keep = sqlx::query(
        "INSERT INTO facts (number, customer, fact, telling, moment) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
    );
    let keep = keep.bind(key(&fact.number)).bind(key(&fact.customer)).bind(key(&fact.fact));
    keep.bind(text(&fact.telling)).bind(fact.moment.unix_ms()).execute(to).await?;
    Ok(())
}

pub(crate) async fn record(to: &mut AnyConnection, cdr: &CdrRow) -> Result<(), sqlx::Error> {
    let keep = sqlx::query(
        "INSERT INTO cdrs (call, revision, source, written, number, customer, wacid, direction, cause, began, record, \
         who, answered, connected_ms, blamable, blamed, use_case, country, recording_bytes, cost, reached) \
         VALUES ($1, 1, 'call', $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0, $14, $15, $16, $17, $18) \
         ON CONFLICT DO NOTHING",
    );
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let keep = keep.bind(key(&cdr.call)).bind(cdr.written.unix_ms()).bind(key(&cdr.number));
    let keep = keep.bind(key(&cdr.customer)).bind(cdr.wacid.as_deref().map(key)).bind(text(&cdr.direction));
    let keep = keep.bind(text(&cdr.cause)).bind(cdr.began.unix_ms()).bind(text(&cdr.record));
    let keep = keep.bind(cdr.who.as_deref().map(key)).bind(cdr.answered.map(Wall::unix_ms));
    let keep = keep.bind(count(cdr.connected_ms)).bind(cdr.attempt.map(|it| it.blamable.unix_ms()));
    let keep = keep.bind(cdr.use_case.as_deref().map(key)).bind(cdr.country.as_deref().map(key));
    let keep = keep.bind(count(cdr.recording_bytes)).bind(cdr.cost.as_deref().map(text));
    let keep = keep.bind(i64::from(cdr.reached));
    let new = keep.execute(&mut *to).await?.rows_affected() > 0;
    if new {
        put(to, &cdr.told).await?;
    }
    same(to, cdr.names.as_ref(), cdr.written.unix_ms()).await?;
    for fact in &cdr.facts {
        note(to, fact).await?;
    }
    if new { tally(to, cdr).await } else { Ok(()) }
}

pub(crate) fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(crate) fn moment(row: &AnyRow, column: &str) -> Result<Wall, sqlx::Error> {
    Ok(Wall::from_unix_ms(row.try_get(column)?))
}

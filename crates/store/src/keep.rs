//! What the bridge itself has to keep, in one transaction: steps of calls, records, and what it has done.

use setu_model::Wall;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use crate::key::{key, text};
use crate::outbox::{OutboxRow, put};
use crate::quality::request;
use crate::rows::{CdrRow, FactRow, RequestRow};
use crate::store::{Store, StoreFault, note, record, settle, signed};

/// Everything that is kept at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Whose calls are unfinished, and whose the pulse is: the same for a bridge before and after a restart, and for no other.
    pub owner: String,
    /// Events that are told of nothing else that is kept. One that is there already stays as it is.
    pub told: Vec<OutboxRow>,
    /// Calls that came a step further. A later step takes the place of the one before.
    pub unfinished: Vec<UnfinishedRow>,
    /// Records, with what they tell of their pairs. A call that has a record keeps it.
    pub cdrs: Vec<CdrRow>,
    /// Facts.
    pub facts: Vec<FactRow>,
    /// Facts that turned out not to be, with every telling of them.
    pub withdrawn: Vec<FactRow>,
    /// Requests of campaigns.
    pub requests: Vec<RequestRow>,
    /// Events of webhooks that the bridge has acted on.
    pub acted: Vec<String>,
    /// Calls whose records are in the CDR file. Those whose records are here as well need nothing any more.
    pub filed: Vec<String>,
    /// The owner runs at this moment.
    pub pulse: Option<Wall>,
}

/// A call that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedRow {
    /// The call's id.
    pub call: String,
    /// When it began.
    pub began: Wall,
    /// Its record if the bridge stopped now, as JSON.
    pub record: String,
}

/// A call that a bridge left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// The call's id.
    pub call: String,
    /// What was known of it, as JSON.
    pub record: String,
    /// When its bridge was last known to run.
    pub seen: Option<Wall>,
    /// Its record, as JSON, if it is here: then only the CDR file may lack it.
    pub recorded: Option<String>,
}

impl Kept {
    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        *self == Self { owner: self.owner.clone(), ..Self::default() }
    }
}

impl Store {
    /// Keeps all of it or nothing, in the order of the fields.
    ///
    /// # Errors
    /// [`StoreFault`]: nothing is kept.
    pub async fn keep(&self, kept: &Kept) -> Result<(), StoreFault> {
        let mut transaction = self.write().await?;
        put(&mut transaction, &kept.told).await?;
        for row in &kept.unfinished {
            begin(&mut transaction, row, &kept.owner).await?;
        }
        for cdr in &kept.cdrs {
            record(&mut transaction, cdr).await?;
        }
        for fact in &kept.facts {
            note(&mut transaction, fact).await?;
        }
        for fact in &kept.withdrawn {
            let withdraw = sqlx::query("DELETE FROM facts WHERE number = $1 AND customer = $2 AND fact = $3");
            let withdraw = withdraw.bind(key(&fact.number)).bind(key(&fact.customer)).bind(key(&fact.fact));
            withdraw.execute(&mut *transaction).await?;
        }
        for row in &kept.requests {
            request(&mut transaction, row).await?;
        }
        for event in &kept.acted {
            settle(&mut transaction, event).await?;
        }
        for call in &kept.filed {
            let finish = sqlx::query(
                "DELETE FROM unfinished WHERE call = $1 AND EXISTS \
                 (SELECT 1 FROM cdrs c WHERE c.call = $1 AND c.revision = 1)",
            );
            finish.bind(key(call)).execute(&mut *transaction).await?;
        }
        if let Some(now) = kept.pulse {
            let beat = sqlx::query(
                "INSERT INTO pulses (owner, moment) VALUES ($1, $2) \
                 ON CONFLICT (owner) DO UPDATE SET moment = excluded.moment",
            );
            beat.bind(key(&kept.owner)).bind(now.unix_ms()).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        if !kept.told.is_empty() || !kept.cdrs.is_empty() {
            self.announced.notify_one();
        }
        Ok(())
    }

    /// An owner's calls that are not finished, in the order in which they began; at most `most`. Before a bridge takes calls
    /// these are what it left behind.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn unfinished(&self, owner: &str, most: usize) -> Result<Vec<Unfinished>, StoreFault> {
        let rows = sqlx::query(
            "SELECT u.call, u.record, COALESCE(u.seen, p.moment) AS seen, c.record AS recorded FROM unfinished u \
             LEFT JOIN pulses p ON p.owner = u.owner LEFT JOIN cdrs c ON c.call = u.call AND c.revision = 1 \
             WHERE u.owner = $1 ORDER BY u.began, u.call LIMIT $2",
        );
        let rows = rows.bind(key(owner)).bind(signed(most)).fetch_all(&self.pool).await?;
        let read = |row: &AnyRow| {
            Ok(Unfinished {
                call: row.try_get("call")?,
                record: row.try_get("record")?,
                seen: row.try_get::<Option<i64>, _>("seen")?.map(Wall::from_unix_ms),
                recorded: row.try_get("recorded")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Takes over the calls of owners who were last known to run before `before`, or never; returns their ids. Of two who do so
    /// at once one gets each call.
    ///
    /// # Errors
    /// [`StoreFault`]: none is taken over.
    pub async fn inherit(&self, heir: &str, before: Wall) -> Result<Vec<String>, StoreFault> {
        let _writing = self.writing.lock().await;
        let inherit = sqlx::query(
            "UPDATE unfinished SET owner = $1, \
             seen = COALESCE(seen, (SELECT p.moment FROM pulses p WHERE p.owner = unfinished.owner), began) \
             WHERE owner <> $1 AND NOT EXISTS \
             (SELECT 1 FROM pulses p WHERE p.owner = unfinished.owner AND p.moment >= $2) RETURNING call",
        );
        let rows = inherit.bind(key(heir)).bind(before.unix_ms()).fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok(row.try_get("call")?)).collect()
    }
}

/// A step that comes after the record changes nothing.
async fn begin(to: &mut AnyConnection, row: &UnfinishedRow, owner: &str) -> Result<(), sqlx::Error> {
    let keep = sqlx::query(
        "INSERT INTO unfinished (call, began, record, owner) \
         SELECT CAST($1 AS TEXT), CAST($2 AS BIGINT), CAST($3 AS TEXT), CAST($4 AS TEXT) \
         WHERE NOT EXISTS (SELECT 1 FROM cdrs c WHERE c.call = $1) \
         ON CONFLICT (call) DO UPDATE SET record = excluded.record",
    );
    let keep = keep.bind(key(&row.call)).bind(row.began.unix_ms()).bind(text(&row.record));
    keep.bind(key(owner)).execute(to).await?;
    Ok(())
}

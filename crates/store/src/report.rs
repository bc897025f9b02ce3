//! Reading what reports add up, without the records themselves.

use setu_model::Wall;
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::key::key;
use crate::store::{Store, StoreFault, moment, signed};

/// Which calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReportQuery {
    /// Of one business number.
    pub number: Option<String>,
    /// That began at or after this.
    pub from: Option<Wall>,
    /// That began before this.
    pub until: Option<Wall>,
    /// After this one, by beginning and id: the last one read.
    pub after: Option<(Wall, String)>,
    /// At most so many.
    pub most: usize,
}

/// What a report needs of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportRow {
    /// The call's id.
    pub call: String,
    /// The business number.
    pub number: String,
    /// Who began it, as the record's word.
    pub direction: String,
    /// Why it ended, as the record's word.
    pub cause: String,
    /// When it began.
    pub began: Wall,
    /// Whether it was answered.
    pub answered: bool,
    /// How long both sides were connected, in milliseconds; none in records from before it was kept.
    pub connected_ms: Option<u64>,
    /// What the call was for.
    pub use_case: Option<String>,
    /// What it cost, as JSON.
    pub cost: Option<String>,
}

impl Store {
    /// What reports need of calls, in the order in which they began.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn report(&self, query: &ReportQuery) -> Result<Vec<ReportRow>, StoreFault> {
        let rows = sqlx::query(
            "SELECT call, number, direction, cause, began, answered, connected_ms, use_case, cost FROM cdrs \
             WHERE revision = 1 AND (CAST($1 AS TEXT) IS NULL OR number = $1) AND began >= $2 AND began < $3 \
             AND (began > $4 OR (began = $4 AND call > $5)) ORDER BY began, call LIMIT $6",
        );
        let (after, call) = query.after.clone().unwrap_or((Wall::from_unix_ms(i64::MIN), String::new()));
        let rows = rows.bind(query.number.as_deref().map(key));
        // What was read needs not be looked for again.
        let from = query.from.map_or(i64::MIN, Wall::unix_ms).max(after.unix_ms());
        let rows = rows.bind(from).bind(query.until.map_or(i64::MAX, Wall::unix_ms));
        let rows = rows.bind(after.unix_ms()).bind(key(&call)).bind(signed(query.most));
        let read = |row: &AnyRow| {
            let connected: Option<i64> = row.try_get("connected_ms")?;
            Ok(ReportRow {
                call: row.try_get("call")?,
                number: row.try_get("number")?,
                direction: row.try_get("direction")?,
                cause: row.try_get("cause")?,
                began: moment(row, "began")?,
                answered: row.try_get::<Option<i64>, _>("answered")?.is_some(),
                connected_ms: connected.and_then(|ms| u64::try_from(ms).ok()),
                use_case: row.try_get("use_case")?,
                cost: row.try_get("cost")?,
            })
        };
        rows.fetch_all(&self.pool).await?.iter().map(read).collect()
    }
}

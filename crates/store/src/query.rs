//! Reading call detail records: by filter, page by page.

use setu_model::Wall;
use sqlx::Row;

use crate::key::key;
use crate::store::{Store, StoreFault, moment, signed};

/// Which records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CdrQuery {
    /// Of one call.
    pub call: Option<String>,
    /// Of one business number.
    pub number: Option<String>,
    /// Of one customer.
    pub customer: Option<String>,
    /// Of one cause.
    pub cause: Option<String>,
    /// Of one direction.
    pub direction: Option<String>,
    /// That began at or after this.
    pub from: Option<Wall>,
    /// That began before this.
    pub until: Option<Wall>,
    /// After this one, by beginning and id: the last of the page before.
    pub after: Option<(Wall, String)>,
    /// At most so many calls; 0 gives none.
    pub most: usize,
}

/// One revision of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CdrRevision {
    /// The call's id.
    pub call: String,
    /// 1 is the record itself.
    pub revision: u32,
    /// Where it came from: `call` for the record itself.
    pub source: String,
    /// When it was written.
    pub written: Wall,
    /// When the call began.
    pub began: Wall,
    /// The record or what was added, as JSON.
    pub record: String,
}

impl Store {
    /// Records in the order in which the calls began, each with its revisions in order.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn cdrs(&self, query: &CdrQuery) -> Result<Vec<CdrRevision>, StoreFault> {
        // Filters that are not given let everything through; the types are named for PostgreSQL.
        let rows = sqlx::query(
            "SELECT r.call, r.revision, r.source, r.written, r.began, r.record FROM cdrs r WHERE r.call IN ( \
             SELECT c.call FROM cdrs c WHERE c.revision = 1 \
             AND (CAST($1 AS TEXT) IS NULL OR c.call = $1) AND (CAST($2 AS TEXT) IS NULL OR c.number = $2) \
             AND (CAST($3 AS TEXT) IS NULL OR c.customer = $3) AND (CAST($4 AS TEXT) IS NULL OR c.cause = $4) \
             AND (CAST($5 AS TEXT) IS NULL OR c.direction = $5) AND c.began >= $6 AND c.began < $7 \
             AND (c.began > $8 OR (c.began = $8 AND c.call > $9)) \
             ORDER BY c.began, c.call LIMIT $10) ORDER BY r.began, r.call, r.revision",
        );
        let some = |filter: &Option<String>| filter.as_deref().map(key);
        let (after, call) = query.after.clone().unwrap_or((Wall::from_unix_ms(i64::MIN), String::new()));
        let rows = rows.bind(some(&query.call)).bind(some(&query.number)).bind(some(&query.customer));
        let rows = rows.bind(some(&query.cause)).bind(some(&query.direction));
        let rows = rows.bind(query.from.map_or(i64::MIN, Wall::unix_ms));
        let rows = rows.bind(query.until.map_or(i64::MAX, Wall::unix_ms));
        let rows = rows.bind(after.unix_ms()).bind(key(&call)).bind(signed(query.most));
        let rows = rows.fetch_all(&self.pool).await?;
        rows.iter()
            .map(|row| {
                let revision: i64 = row.try_get("revision")?;
                Ok(CdrRevision {
                    call: row.try_get("call")?,
                    revision: u32::try_from(revision).unwrap_or(0),
                    source: row.try_get("source")?,
                    written: moment(row, "written")?,
                    began: moment(row, "began")?,
                    record: row.try_get("record")?,
                })
            })
            .collect()
    }
}

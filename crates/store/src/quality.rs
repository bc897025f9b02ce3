//! What speaks for and against a number: tallies of its days, complaints, and the requests of campaigns.

use setu_model::Wall;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use crate::key::{key, text};
use crate::rows::{CdrRow, ComplaintRow, RequestRow, TallyRow};
use crate::store::{Store, StoreFault, moment, signed};

/// The day of a moment, as tallies count them: days since the Unix epoch (UTC).
pub const fn day(at: Wall) -> i64 {
    at.unix_ms().div_euclid(24 * 3_600 * 1_000)
}

impl Store {
    /// What a number's business-initiated calls came to on each day from `since` on that had some, in order.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn tallies(&self, number: &str, since: i64) -> Result<Vec<TallyRow>, StoreFault> {
        let tallies = sqlx::query(
            "SELECT day, attempts, answered, short, blamed FROM tallies WHERE number = $1 AND day >= $2 ORDER BY day",
        );
        let rows = tallies.bind(key(number)).bind(since).fetch_all(&self.pool).await?;
        let read = |row: &AnyRow| {
            Ok(TallyRow {
                day: row.try_get("day")?,
                attempts: count(row, "attempts")?,
                answered: count(row, "answered")?,
                short: count(row, "short")?,
                blamed: count(row, "blamed")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Keeps complaints, all or none; says for each whether it is new. Each is laid to the call it follows, whichever of the
    /// two is kept first, and a call is counted once however many are laid to it.
    ///
    /// # Errors
    /// [`StoreFault`]: none is kept.
    pub async fn complain(&self, complaints: &[ComplaintRow]) -> Result<Vec<bool>, StoreFault> {
        let mut transaction = self.write().await?;
        let mut news = Vec::with_capacity(complaints.len());
        for row in complaints {
            news.push(complain(&mut transaction, row).await?);
        }
        transaction.commit().await?;
        Ok(news)
    }

    /// Meta's own word on a number: complaints without a customer since `since`, and restrictions that end later, the
    /// newest first; at most `most`.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn warnings(
        &self,
        number: &str,
        since: Wall,
        most: usize,
    ) -> Result<Vec<ComplaintRow>, StoreFault> {
        let complaints = sqlx::query(
            "SELECT complaint, number, customer, kind, source, moment, until, blames, call FROM complaints \
             WHERE number = $1 AND customer IS NULL AND (moment >= $2 OR until >= $2) \
             ORDER BY moment DESC, complaint LIMIT $3",
        );
        let rows = complaints.bind(key(number)).bind(since.unix_ms()).bind(signed(most));
        rows.fetch_all(&self.pool).await?.iter().map(|row| Ok(complaint(row)?)).collect()
    }

    /// Notes requests of campaigns. One that is noted already stays as it is.
    ///
    /// # Errors
    /// [`StoreFault`]: none is noted.
    pub async fn requested(&self, requests: &[RequestRow]) -> Result<(), StoreFault> {
        let mut transaction = self.write().await?;
        for row in requests {
            request(&mut transaction, row).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The last requests of a campaign, the oldest first, each with whether it was a cold one; at most `most`.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn campaign(&self, campaign: &str, most: usize) -> Result<Vec<(Wall, bool)>, StoreFault> {
        let requests = sqlx::query(
            "SELECT moment, cold FROM requests WHERE campaign = $1 ORDER BY moment DESC, request LIMIT $2",
        );
        let rows = requests.bind(key(campaign)).bind(signed(most)).fetch_all(&self.pool).await?;
        let read = |row: &AnyRow| Ok((moment(row, "moment")?, row.try_get::<i64, _>("cold")? != 0));
        rows.iter().rev().map(read).collect()
    }
}

/// Adds a new record to its day, and lays to it what the customer complained of before it was written.
pub(crate) async fn tally(to: &mut AnyConnection, cdr: &CdrRow) -> Result<(), sqlx::Error> {
    let Some(attempt) = cdr.attempt else { return Ok(()) };
    let add = sqlx::query(
        "INSERT INTO tallies (number, day, attempts, answered, short, blamed) VALUES ($1, $2, 1, $3, $4, 0) \
         ON CONFLICT (number, day) DO UPDATE SET attempts = tallies.attempts + 1, \
         answered = tallies.answered + excluded.answered, short = tallies.short + excluded.short",
    );
    let add = add.bind(key(&cdr.number)).bind(day(cdr.began)).bind(i64::from(cdr.answered.is_some()));
    add.bind(i64::from(attempt.short)).execute(&mut *to).await?;
    let Some(who) = &cdr.who else { return Ok(()) };
    let before = sqlx::query(
        "WITH RECURSIVE same (name) AS (SELECT CAST($1 AS TEXT) \
         UNION SELECT n.other FROM names n JOIN same s ON n.name = s.name) \
         SELECT complaint FROM complaints WHERE number = $2 AND blames = 1 AND call IS NULL \
         AND moment >= $3 AND moment <= $4 AND customer IN (SELECT name FROM same)",
    );
    let before = before.bind(key(who)).bind(key(&cdr.number)).bind(cdr.began.unix_ms());
    for row in before.bind(attempt.blamable.unix_ms()).fetch_all(&mut *to).await? {
        lay(to, row.try_get("complaint")?, &cdr.call).await?;
    }
    Ok(())
}

pub(crate) async fn request(to: &mut AnyConnection, row: &RequestRow) -> Result<(), sqlx::Error> {
    let keep = sqlx::query(
        "INSERT INTO requests (request, campaign, moment, cold) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    );
    let keep = keep.bind(key(&row.request)).bind(key(&row.campaign)).bind(row.moment.unix_ms());
    keep.bind(i64::from(row.cold)).execute(to).await?;
    Ok(())
}

/// Keeps a complaint; says whether it is new.
pub(crate) async fn complain(to: &mut AnyConnection, row: &ComplaintRow) -> Result<bool, sqlx::Error> {
    let keep = sqlx::query(
        "INSERT INTO complaints (complaint, number, customer, kind, source, moment, until, blames, call) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL) ON CONFLICT DO NOTHING",
    );
    let keep = keep.bind(key(&row.complaint)).bind(key(&row.number)).bind(row.customer.as_deref().map(key));
    let keep = keep.bind(text(&row.kind)).bind(text(&row.source)).bind(row.moment.unix_ms());
    let keep = keep.bind(row.until.map(Wall::unix_ms)).bind(i64::from(row.blames));
    if keep.execute(&mut *to).await?.rows_affected() == 0 {
        return Ok(false);
    }
    let Some(customer) = row.customer.as_ref().filter(|_| row.blames) else { return Ok(true) };
    // The call that is named, or the last one before.
    let call = sqlx::query(
        "WITH RECURSIVE same (name) AS (SELECT CAST($1 AS TEXT) \
         UNION SELECT n.other FROM names n JOIN same s ON n.name = s.name) \
         SELECT call FROM cdrs WHERE number = $2 AND revision = 1 AND began <= $3 AND blamable >= $3 \
         AND who IN (SELECT name FROM same) AND (CAST($4 AS TEXT) IS NULL OR call = $4) \
         ORDER BY began DESC LIMIT 1",
    );
    let call = call.bind(key(customer)).bind(key(&row.number)).bind(row.moment.unix_ms());
    if let Some(found) = call.bind(row.call.as_deref().map(key)).fetch_optional(&mut *to).await? {
        let call: String = found.try_get("call")?;
        lay(to, row.complaint.clone(), &call).await?;
    }
    Ok(true)
}

/// Lays a complaint to a call, which is counted once.
async fn lay(to: &mut AnyConnection, complaint: String, call: &str) -> Result<(), sqlx::Error> {
    let lay = sqlx::query("UPDATE complaints SET call = $1 WHERE complaint = $2");
    lay.bind(key(call)).bind(key(&complaint)).execute(&mut *to).await?;
    let blame = sqlx::query("UPDATE cdrs SET blamed = 1 WHERE call = $1 AND revision = 1 AND blamed = 0");
    if blame.bind(key(call)).execute(&mut *to).await?.rows_affected() == 0 {
        return Ok(());
    }
    let of = sqlx::query("SELECT number, began FROM cdrs WHERE call = $1 AND revision = 1");
    let of = of.bind(key(call)).fetch_one(&mut *to).await?;
    let count = sqlx::query("UPDATE tallies SET blamed = blamed + 1 WHERE number = $1 AND day = $2");
    let number: String = of.try_get("number")?;
    count.bind(number).bind(day(moment(&of, "began")?)).execute(&mut *to).await?;
    Ok(())
}

fn complaint(row: &AnyRow) -> Result<ComplaintRow, sqlx::Error> {
    Ok(ComplaintRow {
        complaint: row.try_get("complaint")?,
        number: row.try_get("number")?,
        customer: row.try_get("customer")?,
        kind: row.try_get("kind")?,
        source: row.try_get("source")?,
        moment: moment(row, "moment")?,
        until: row.try_get::<Option<i64>, _>("until")?.map(Wall::from_unix_ms),
        blames: row.try_get::<i64, _>("blames")? != 0,
        call: row.try_get("call")?,
    })
}

fn count(row: &AnyRow, column: &str) -> Result<u32, sqlx::Error> {
    Ok(u32::try_from(row.try_get::<i64, _>(column)?).unwrap_or(u32::MAX))
}

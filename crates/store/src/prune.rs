//! Forgetting what nothing needs any more, a few rows at a time: each call is one short transaction.

use setu_model::Wall;
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::key::key;
use crate::quality::day;
use crate::rows::CustomerNames;
use crate::store::{Store, StoreFault, signed};

/// What is forgotten by its age alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Old {
    /// Events of webhooks that the bridge has acted on.
    Events,
    /// Webhooks none of whose events are left.
    Webhooks,
    /// What webhooks told of the ends of calls.
    Ends,
    /// Complaints, and restrictions whose end is as old.
    Complaints,
    /// Tallies of days.
    Tallies,
    /// Requests of campaigns.
    Requests,
    /// Pairs of names that nothing is known of, and that were not told of since.
    Names,
    /// Orders that have keys.
    Orders,
    /// Records and their revisions.
    Records,
}

impl Old {
    /// All of them, in an order in which what hangs on something goes before it.
    pub const ALL: [Self; 9] = [
        Self::Events,
        Self::Webhooks,
        Self::Ends,
        Self::Complaints,
        Self::Tallies,
        Self::Requests,
        Self::Names,
        Self::Orders,
        Self::Records,
    ];

    /// The table, for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Webhooks => "webhooks",
            Self::Ends => "ends",
            Self::Complaints => "complaints",
            Self::Tallies => "tallies",
            Self::Requests => "requests",
            Self::Names => "names",
            Self::Orders => "orders",
            Self::Records => "cdrs",
        }
    }

    /// `$1` is the moment before which rows are old, `$2` how many are forgotten at most.
    const fn statement(self) -> &'static str {
        match self {
            Self::Events => {
                "DELETE FROM events WHERE event IN \
                 (SELECT event FROM events WHERE settled = 1 AND received < $1 ORDER BY received LIMIT $2)"
            }
            Self::Webhooks => {
                "DELETE FROM webhooks WHERE id IN (SELECT w.id FROM webhooks w WHERE w.received < $1 AND NOT EXISTS \
                 (SELECT 1 FROM events e WHERE e.webhook = w.id) ORDER BY w.received LIMIT $2)"
            }
            Self::Ends => {
                "DELETE FROM ends WHERE (number, wacid) IN \
                 (SELECT number, wacid FROM ends WHERE received < $1 ORDER BY received LIMIT $2)"
            }
            Self::Complaints => {
                "DELETE FROM complaints WHERE complaint IN (SELECT complaint FROM complaints \
                 WHERE moment < $1 AND (until IS NULL OR until < $1) ORDER BY moment LIMIT $2)"
            }
            Self::Tallies => {
                "DELETE FROM tallies WHERE (number, day) IN \
                 (SELECT number, day FROM tallies WHERE day < $1 ORDER BY day LIMIT $2)"
            }
            Self::Requests => {
                "DELETE FROM requests WHERE request IN \
                 (SELECT request FROM requests WHERE moment < $1 ORDER BY moment LIMIT $2)"
            }
            // A customer of more than two names keeps them: what is
            // known of one end of the chain may be asked for by the other.
            Self::Names => {
                "DELETE FROM names WHERE (name, other) IN (SELECT n.name, n.other FROM \
                 (SELECT name, other FROM names WHERE met < $1 ORDER BY met, name, other LIMIT $2) n \
                 WHERE NOT EXISTS (SELECT 1 FROM names m WHERE m.name = n.name AND m.other <> n.other) \
                 AND NOT EXISTS (SELECT 1 FROM names m WHERE m.name = n.other AND m.other <> n.name) \
                 AND NOT EXISTS (SELECT 1 FROM facts f WHERE f.customer = n.name) \
                 AND NOT EXISTS (SELECT 1 FROM facts f WHERE f.customer = n.other))"
            }
            Self::Orders => {
                "DELETE FROM orders WHERE (owner, name) IN \
                 (SELECT owner, name FROM orders WHERE made < $1 ORDER BY made LIMIT $2)"
            }
            // One that the CDR file may lack is not finished.
            Self::Records => {
                "DELETE FROM cdrs WHERE call IN (SELECT c.call FROM cdrs c WHERE c.revision = 1 AND c.began < $1 \
                 AND NOT EXISTS (SELECT 1 FROM unfinished u WHERE u.call = c.call) ORDER BY c.began LIMIT $2)"
            }
        }
    }
}

/// A number and a name of a customer of whom something old is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldPair {
    /// The business number.
    pub number: String,
    /// The customer's name.
    pub customer: String,
}

impl Store {
    /// Forgets what is of before `before`, at most `most` rows (calls, of [`Old::Records`]); of names it looks at `most` and leaves
    /// those that are needed, see [`renew_names`](Self::renew_names). Returns how many rows went; less than `most` means that
    /// nothing else can go.
    ///
    /// # Errors
    /// [`StoreFault`]: nothing is forgotten.
    pub async fn prune(&self, what: Old, before: Wall, most: usize) -> Result<u64, StoreFault> {
        let before = if what == Old::Tallies { day(before) } else { before.unix_ms() };
        let _writing = self.writing.lock().await;
        let forget = sqlx::query(what.statement()).bind(before).bind(signed(most));
        Ok(forget.execute(&self.pool).await?.rows_affected())
    }

    /// Forgets the oldest orders that have keys beyond `most`; at most `at_once`. Returns how many went.
    ///
    /// # Errors
    /// [`StoreFault`]: nothing is forgotten.
    pub async fn crowd_out_orders(&self, most: usize, at_once: usize) -> Result<u64, StoreFault> {
        let _writing = self.writing.lock().await;
        let crowd = sqlx::query(
            "DELETE FROM orders WHERE (owner, name) IN \
             (SELECT owner, name FROM (SELECT owner, name FROM orders ORDER BY made DESC, owner, name LIMIT $2 OFFSET $1) o)",
        );
        let gone = crowd.bind(signed(most)).bind(signed(at_once)).execute(&self.pool).await?;
        Ok(gone.rows_affected())
    }

    /// Pairs of names of before `before` that cannot be forgotten yet are taken for told of at `now`, so that they are not looked
    /// at again for as long; at most `most`. Returns how many there were.
    ///
    /// # Errors
    /// [`StoreFault`]: nothing is changed.
    pub async fn renew_names(&self, before: Wall, now: Wall, most: usize) -> Result<u64, StoreFault> {
        let _writing = self.writing.lock().await;
        let renew = sqlx::query(
            "UPDATE names SET met = $3 WHERE (name, other) IN \
             (SELECT n.name, n.other FROM names n WHERE n.met < $1 ORDER BY n.met, n.name, n.other LIMIT $2)",
        );
        let renew = renew.bind(before.unix_ms()).bind(signed(most)).bind(now.unix_ms());
        Ok(renew.execute(&self.pool).await?.rows_affected())
    }

    /// Names whose last telling is not known are told of at `now`, so that they age from then on.
    ///
    /// # Errors
    /// [`StoreFault`]: nothing is changed.
    pub async fn date_names(&self, now: Wall) -> Result<(), StoreFault> {
        let _writing = self.writing.lock().await;
        let date = sqlx::query("UPDATE names SET met = $1 WHERE met IS NULL");
        date.bind(now.unix_ms()).execute(&self.pool).await?;
        Ok(())
    }

    /// Pairs with facts of before `before`, in order, from the one after `after` on; at most `most`.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn old_pairs(
        &self,
        before: Wall,
        after: Option<&OldPair>,
        most: usize,
    ) -> Result<Vec<OldPair>, StoreFault> {
        let pairs = sqlx::query(
            "SELECT DISTINCT number, customer FROM facts WHERE moment < $1 \
             AND (number > $2 OR (number = $2 AND customer > $3)) ORDER BY number, customer LIMIT $4",
        );
        let (number, customer) = after.map_or(("", ""), |after| (&after.number, &after.customer));
        let pairs = pairs.bind(before.unix_ms()).bind(number).bind(customer).bind(signed(most));
        let read =
            |row: &AnyRow| Ok(OldPair { number: row.try_get("number")?, customer: row.try_get("customer")? });
        pairs.fetch_all(&self.pool).await?.iter().map(read).collect()
    }

    /// Forgets facts of a pair by their ids, with every telling of them, under every name of the customer.
    ///
    /// # Errors
    /// [`StoreFault`]: nothing is forgotten.
    pub async fn forget_facts(
        &self,
        number: &str,
        customer: CustomerNames<'_>,
        facts: &[String],
    ) -> Result<u64, StoreFault> {
        let mut transaction = self.write().await?;
        let mut forgotten = 0;
        for fact in facts {
            let forget = sqlx::query(
                "DELETE FROM facts WHERE number = $3 AND fact = $4 AND customer IN ( \
                 WITH RECURSIVE given (name) AS (VALUES (CAST($1 AS TEXT)), (CAST($2 AS TEXT))), \
                 same (name) AS (SELECT name FROM given UNION SELECT n.other FROM names n JOIN same s ON n.name = s.name) \
                 SELECT name FROM same)",
            );
            let forget = forget.bind(key(customer.name)).bind(key(customer.other)).bind(key(number));
            let forget = forget.bind(key(fact));
            forgotten += forget.execute(&mut *transaction).await?.rows_affected();
        }
        transaction.commit().await?;
        Ok(forgotten)
    }
}

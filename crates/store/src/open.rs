//! Where the database is, and how it is opened.

use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use setu_model::Secret;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, AnyPool, ConnectOptions, Connection, Executor, SqlSafeStr};

/// Where the database is.
#[derive(Debug, Clone)]
pub enum Location {
    /// A file, made if it is not there.
    Sqlite(PathBuf),
    /// A PostgreSQL server, and the password if the address has none.
    Postgres {
        /// Such as `postgres://setu@db.example.com/setu?sslmode=verify-full`.
        url: String,
        /// The password.
        password: Option<Secret<String>>,
    },
}

/// The database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is none.
    #[error("the address of the database cannot be read: {0}")]
    Address(String),
    /// The file or server cannot be reached.
    #[error("cannot open the database: {0}")]
    Unreachable(sqlx::Error),
    /// Its tables cannot be brought up to date.
    #[error("cannot bring the database's tables up to date: {0}")]
    Migration(#[from] MigrateError),
}

impl Location {
    pub(crate) const fn is_sqlite(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }

    fn options(&self) -> Result<AnyConnectOptions, OpenError> {
        sqlx::any::install_default_drivers();
        let address = |error: sqlx::Error| OpenError::Address(error.to_string());
        match self {
            Self::Sqlite(path) => {
                let mut options = AnyConnectOptions::from_str("sqlite:///?mode=rwc").map_err(address)?;
                let path =
                    std::path::absolute(path).map_err(|error| OpenError::Address(error.to_string()))?;
                let path =
                    path.to_str().ok_or_else(|| OpenError::Address("the path is not UTF-8".to_owned()))?;
                options.database_url.set_path(path);
                Ok(options)
            }
            Self::Postgres { url, password } => {
                if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
                    return Err(OpenError::Address("it does not begin with postgres://".to_owned()));
                }
                let mut options = AnyConnectOptions::from_str(url).map_err(address)?;
                if let Some(password) = password
                    && options.database_url.set_password(Some(password.reveal())).is_err()
                {
                    return Err(OpenError::Address("it has no place for a password".to_owned()));
                }
                Ok(options)
            }
        }
    }

    /// Makes the file, if there is none, for the operator's group at most; SQLite's other files follow it.
    fn make_private(&self) -> Result<(), OpenError> {
        let Self::Sqlite(path) = self else { return Ok(()) };
        let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let made = folder.and_then(|()| {
            std::fs::OpenOptions::new().create(true).append(true).mode(0o640).open(path).map(drop)
        });
        made.map_err(|error| OpenError::Unreachable(sqlx::Error::Io(error)))
    }

    /// Opens one connection, and closes it: whether the server answers and lets the bridge in, or the file is a database.
    /// A file that is not there is made.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub async fn reach(&self) -> Result<(), OpenError> {
        let options = self.options()?.disable_statement_logging();
        let trial = async {
            let mut first = AnyConnection::connect_with(&options).await?;
            if self.is_sqlite() {
                first.execute(PRAGMAS).await?;
            }
            first.close().await
        };
        let reached = tokio::time::timeout(PATIENCE, trial).await;
        reached.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(OpenError::Unreachable)
    }

    /// Opens the database and brings its tables up to date.
    pub(crate) async fn connect(&self) -> Result<AnyPool, OpenError> {
        let options = self.options()?.disable_statement_logging();
        let sqlite = self.is_sqlite();
        self.make_private()?;
        // The pool would try again until its patience ends, and then not say what was wrong.
        self.reach().await?;
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if sqlite {
                        connection.execute(PRAGMAS).await?;
                    }
                    Ok(())
                })
            })
            .connect_with(options)
            .await
            .map_err(OpenError::Unreachable)?;
        migrations().run(&pool).await?;
        Ok(pool)
    }
}

/// By number, each once; one that was released never changes. A number that comes later than a higher one is made up for.
fn migrations() -> Migrator {
    let migration = |version, name: &'static str, sql: &'static str| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(vec![
        migration(1, "first", include_str!("../migrations/0001_first.sql")),
        migration(2, "reports", include_str!("../migrations/0002_reports.sql")),
        migration(3, "outbox", include_str!("../migrations/0003_outbox.sql")),
        migration(4, "unfinished", include_str!("../migrations/0004_unfinished.sql")),
        migration(5, "orders", include_str!("../migrations/0005_orders.sql")),
        migration(6, "pruning", include_str!("../migrations/0006_pruning.sql")),
        migration(7, "owners", include_str!("../migrations/0007_owners.sql")),
        migration(8, "ends", include_str!("../migrations/0008_ends.sql")),
    ])
}

/// A writer and a few readers.
const CONNECTIONS: u32 = 4;

/// How long a query waits for a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// Readers never wait for the writer (WAL); what is committed survives a power failure (FULL).
const PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000";

#[cfg(test)]
mod tests {
    use super::*;

    /// A version that was built before another one's migration was there has run without it.
    #[tokio::test]
    async fn a_migration_that_comes_after_a_higher_one_is_made_up_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = Location::Sqlite(folder.path().join("setu.db"));
        let pool = at.connect().await.unwrap();
        let mut all: Vec<Migration> = migrations().iter().cloned().collect();
        let late = |version| {
            let sql = "CREATE TABLE late (id TEXT)".into_sql_str();
            Migration::new(version, "late".into(), MigrationType::Simple, sql, false)
        };
        let highest = all.iter().map(|migration| migration.version).max().unwrap();
        let between = (1..highest).find(|version| all.iter().all(|known| known.version != *version));
        all.insert(1, late(between.unwrap_or(highest + 1)));
        for _ in 0..2 {
            Migrator::with_migrations(all.clone()).run(&pool).await.unwrap();
        }
        sqlx::query("SELECT id FROM late").fetch_all(&pool).await.unwrap();
    }
}

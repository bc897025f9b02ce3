//! What is kept, and where.

use std::path::PathBuf;

use serde::Deserialize;

use super::{DtmfRecord, PasswordSource};

/// Recordings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recording {
    /// Whether calls are recorded.
    pub enabled: bool,
    /// The folder they are written to.
    pub folder: PathBuf,
}

impl Default for Recording {
    fn default() -> Self {
        Self { enabled: true, folder: PathBuf::from("recordings") }
    }
}

/// Call detail records.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CdrLog {
    /// The JSON Lines file they are appended to.
    pub file: PathBuf,
    /// Whether they say which keys were pressed.
    pub dtmf: DtmfRecord,
}

impl Default for CdrLog {
    fn default() -> Self {
        Self { file: PathBuf::from("cdr.jsonl"), dtmf: DtmfRecord::default() }
    }
}

/// The database: what outlives the process.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// The SQLite file.
    pub file: PathBuf,
    /// A PostgreSQL server in its place, such as `postgres://setu@db.example.com/setu`.
    pub postgres: Option<String>,
    /// Where the server's password is found.
    pub password: Option<PasswordSource>,
    /// For how many days records are kept in it: 31 to 36,500; without it, for ever. The CDR file keeps them all.
    pub keep_cdrs_days: Option<u32>,
}

impl Default for Database {
    fn default() -> Self {
        Self { file: PathBuf::from("setu.db"), postgres: None, password: None, keep_cdrs_days: None }
    }
}

/// Logs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,setu_sip=debug`.
    pub level: Option<String>,
    /// How lines are written.
    pub format: LogFormat,
    /// Whether phone numbers and names are written whole.
    pub show_pii: bool,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

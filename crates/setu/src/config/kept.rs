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
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// The SQLite file; `setu.db` if neither it nor a server is named.
    pub file: Option<PathBuf>,
    /// A PostgreSQL server in its place, such as `postgres://setu@db.example.com/setu`.
    pub postgres: Option<String>,
    /// Where the server's password is found.
    pub password: Option<PasswordSource>,
    /// For how many days records are kept in it: 31 to 36,500; without it, for ever. The CDR file keeps them all.
    pub keep_cdrs_days: Option<u32>,
}

impl Database {
    /// Names the usual file where nothing else is named.
    pub(super) fn settle(&mut self) {
        if self.postgres.is_none() {
            self.file.get_or_insert_with(|| PathBuf::from("setu.db"));
        }
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

/// The first word of a log filter that is no level, where it should be one. Such a word would silence everything but a part
/// of the program that has its name.
pub(crate) fn no_level(filter: &str) -> Option<&str> {
    let words = filter.split(',').map(str::trim).filter(|word| !word.is_empty());
    let level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let part = |word: &str| word.contains(['=', '[']) || word.starts_with("setu");
    words.into_iter().find(|word| !level(word) && !part(word))
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

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

#[cfg(test)]
mod tests {
    use super::no_level;

    #[test]
    fn a_word_that_is_no_level_is_found_in_any_filter() {
        for good in
            ["info", "WARN", "off", "", "info,setu_sip=debug", "warn, setu_call", "info,hyper[{x}]=trace"]
        {
            assert_eq!(no_level(good), None, "{good}");
        }
        for (bad, word) in [("loud", "loud"), ("info,quiet", "quiet"), ("verbose,setu_sip=debug", "verbose")]
        {
            assert_eq!(no_level(bad), Some(word));
        }
    }
}

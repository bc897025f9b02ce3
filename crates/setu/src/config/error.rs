//! Why a configuration is refused, with the remedies.

use std::path::PathBuf;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}; give the right file with -c, or print one with `setu example-config`", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// The file is no TOML, or has an unknown or missing key.
    #[error("{path}: {error}`setu example-config` shows every setting as it is written", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        error: Box<toml::de::Error>,
    },
    /// The file is well-formed but says something impossible.
    #[error("the configuration cannot work:{}", list(.0))]
    Invalid(Vec<Finding>),
}

/// One thing that cannot work, with its remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The setting, such as `numbers[0].trunk`.
    pub setting: String,
    /// What is wrong.
    pub problem: String,
    /// How to mend it.
    pub remedy: String,
}

fn list(findings: &[Finding]) -> String {
    findings.iter().map(|f| format!("\n  {}: {}; {}", f.setting, f.problem, f.remedy)).collect()
}

//! `setu check`: what a stranger would find wrong with a configuration, each finding with its remedy.

mod local;
mod remote;

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::{print, tell_failure};
use crate::config::Config;

pub(super) fn run(path: &Path, json: bool) -> ExitCode {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) if json => {
            let mut report = Report::default();
            report.problem(
                path.display().to_string(),
                error.to_string(),
                "mend the file; nothing else was looked at",
            );
            print(&report.json());
            return ExitCode::from(2);
        }
        Err(error) => {
            tell_failure(&error.to_string());
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tell_failure(&format!("cannot start the runtime: {error}"));
            return ExitCode::from(2);
        }
    };
    let mut report = Report::default();
    local::check(&config, &mut report);
    runtime.block_on(remote::check(&config, &mut report));
    // A name server that does not answer must not hold the verdict back.
    runtime.shutdown_background();
    print(&if json { report.json() } else { report.to_string() });
    if report.0.iter().any(|f| f.level == Level::Problem) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What is wrong with the certificates, which callers would find out first, each with its remedy.
pub(super) fn certificates(config: &Config) -> Vec<(String, String)> {
    let mut report = Report::default();
    local::certificates(config, &mut report);
    let problems = report.0.into_iter().filter(|finding| finding.level == Level::Problem);
    problems
        .map(|it| {
            let remedy = it.remedy.unwrap_or_default();
            (it.setting, format!("{}; {remedy}", it.what))
        })
        .collect()
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    /// As it should be.
    Ok,
    /// It works, but somebody should look.
    Warning,
    /// It will not work.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    /// The setting, such as `meta.certificate`.
    setting: String,
    /// What was found.
    what: String,
    /// How to mend it; null where nothing is to be mended.
    remedy: Option<String>,
}

/// Everything that was found, in order.
#[derive(Debug, Default)]
struct Report(Vec<Finding>);

impl Report {
    fn ok(&mut self, setting: impl Into<String>, what: impl Into<String>) {
        self.0.push(Finding { level: Level::Ok, setting: setting.into(), what: what.into(), remedy: None });
    }

    fn warning(&mut self, setting: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Warning, setting.into(), what.into(), remedy.into());
    }

    fn problem(&mut self, setting: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Problem, setting.into(), what.into(), remedy.into());
    }

    fn add(&mut self, level: Level, setting: String, what: String, remedy: String) {
        self.0.push(Finding { level, setting, what, remedy: Some(remedy) });
    }

    fn json(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(&serde_json::json!({ "findings": self.0 })).unwrap_or_default();
        text.push('\n');
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { level, setting, what, remedy } in &self.0 {
            let word = match level {
                Level::Ok => "ok      ",
                Level::Warning => "warning ",
                Level::Problem => "PROBLEM ",
            };
            writeln!(f, "{word} {setting}: {what}")?;
            if let Some(remedy) = remedy {
                writeln!(f, "           -> {remedy}")?;
            }
        }
        let count = |level| self.0.iter().filter(|f| f.level == level).count();
        let many = |count: usize, what| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        writeln!(f, "{}, {}", many(count(Level::Problem), "problem"), many(count(Level::Warning), "warning"))
    }
}

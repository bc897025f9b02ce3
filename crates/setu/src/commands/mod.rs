//! What each subcommand does.

mod check;
mod demo;
mod provision;
mod serve;
mod twin;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::config::{Log, LogFormat, no_level};

/// Runs the command line and returns its exit code.
pub fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Serve { config } => serve::run(&config),
        Command::ExampleConfig => {
            print(EXAMPLE);
            ExitCode::SUCCESS
        }
        Command::Demo { json, folder } => demo::run(&folder, json),
        Command::Provision(args) => provision::run(&args),
        Command::Twin(args) => twin::run(&args),
        Command::Check { config, json } => check::run(&config, json),
    }
}

/// The commented example configuration.
pub const EXAMPLE: &str = include_str!("../../../../examples/setu.toml");

/// Writes to standard output; a reader that has gone away (`| head`) is no fault.
pub(crate) fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Tells the operator why the program ends.
#[expect(clippy::print_stderr, reason = "this is where a command's failure is told")]
pub(crate) fn tell_failure(why: &str) {
    eprintln!("setu: {why}");
}

/// Tells why, and gives the exit code that goes with it.
pub(crate) fn fail(why: &str) -> ExitCode {
    tell_failure(why);
    ExitCode::FAILURE
}

/// What is logged.
pub(crate) fn log_filter(log: &Log) -> Result<tracing_subscriber::EnvFilter, String> {
    let wanted =
        std::env::var("SETU_LOG").ok().or_else(|| log.level.clone()).unwrap_or_else(|| "info".to_owned());
    if let Some(word) = no_level(&wanted) {
        return Err(format!(
            "log.level {wanted:?}: {word:?} is no level; use info, debug or info,setu_sip=debug"
        ));
    }
    tracing_subscriber::EnvFilter::try_new(&wanted)
        .map_err(|error| format!("log.level {wanted:?}: {error}; use info, debug or info,setu_sip=debug"))
}

/// Starts the log on standard error.
pub(crate) fn start_log(log: &Log) -> Result<(), String> {
    setu_model::set_pii_visible(log.show_pii);
    let filter = log_filter(log)?;
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    started.map_err(|error| error.to_string())
}

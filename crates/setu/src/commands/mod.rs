//! What each subcommand does.

mod serve;

use std::process::ExitCode;

use crate::cli::{Cli, Command};

/// Runs the command line and returns its exit code.
pub fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Serve { config } => serve::run(&config),
        Command::ExampleConfig => {
            print(EXAMPLE);
            ExitCode::SUCCESS
        }
        Command::Check { .. } | Command::Demo { .. } | Command::Twin(_) => ExitCode::FAILURE,
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
pub(crate) fn fail(why: &str) -> ExitCode {
    eprintln!("setu: {why}");
    ExitCode::FAILURE
}

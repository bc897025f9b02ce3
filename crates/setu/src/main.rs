//! The `setu` command.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use setu::cli::Cli;

fn main() -> ExitCode {
    setu::commands::run(Cli::parse())
}

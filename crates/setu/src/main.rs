//! The `setu` command.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use setu::cli::Cli;

/// After a busy hour the system's allocator keeps the peak of short-lived call state, spread over many half-empty
/// pages; this one gives them back (`tests/soak` holds it to that).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    setu::commands::run(Cli::parse())
}

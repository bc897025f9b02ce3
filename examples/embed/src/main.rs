//! A bridge inside a program of your own: prints each call when it has ended, and drains on Ctrl-C.
//!
//! `cargo run --package embed -- setu.toml`

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

use std::path::PathBuf;

use anyhow::{Context, Result};
use tokio::sync::broadcast::error::RecvError;

#[tokio::main]
async fn main() -> Result<()> {
    let path = std::env::args_os().nth(1).map(PathBuf::from).context("usage: embed <setu.toml>")?;
    let mut bridge = setu::Bridge::start(setu::Config::load(&path)?).await?;
    for (side, transport, address) in bridge.listening() {
        println!("listening on {address} ({transport}, {side} side)");
    }

    let mut cdrs = bridge.cdrs();
    let printer = tokio::spawn(async move {
        loop {
            match cdrs.recv().await {
                Ok(cdr) => println!("{} {:?} {}", cdr.call, cdr.direction, cdr.termination),
                Err(RecvError::Lagged(missed)) => {
                    println!("{missed} calls ended unseen; the CDR file has them")
                }
                Err(RecvError::Closed) => break,
            }
        }
    });

    tokio::signal::ctrl_c().await?;
    println!("no new calls; {} still alive, Ctrl-C again ends them", bridge.active_calls());
    tokio::select! {
        () = bridge.drain() => {}
        again = tokio::signal::ctrl_c() => again?,
    }
    bridge.shutdown().await;
    printer.await?;
    Ok(())
}

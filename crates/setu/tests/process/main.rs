//! The command line as a process: what it refuses, what it finds, how it ends, and what survives when it is killed.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod abuse;
mod api;
mod check;
mod crash;
mod cut;
mod disk;
mod drain;
mod durable;
mod events;
mod gate;
#[path = "../interop/house.rs"]
mod house;
mod interrupted;
#[path = "../interop/peers.rs"]
#[expect(dead_code, reason = "shared with the tests of real peers, which need all of it")]
mod peers;
mod phones;
#[path = "../shared/ports.rs"]
mod ports;
#[path = "../../../store/tests/both/postgres.rs"]
mod postgres;
mod provision;
mod serve;
mod siege;
#[path = "../interop/sound.rs"]
#[expect(dead_code, reason = "shared with the tests of real peers, which need all of it")]
mod sound;
mod webhooks;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_setu");

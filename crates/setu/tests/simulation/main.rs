//! A whole bridge in virtual time, among twins of its peers, on a network that delays, loses, doubles and reorders.
//!
//! Each seed is a plan of calls and accidents; after each the invariants of decision 8 are checked. `SETU_SEED=n`
//! replays one seed and prints its ladder, `SETU_SEEDS=n` says how many are run.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
#![expect(clippy::wildcard_enum_match_arm, reason = "a twin's other events are none of our business here")]
#![expect(clippy::print_stderr, reason = "a failing seed shows what happened")]

mod bridge;
mod centre;
mod invariants;
mod media_plane;
mod month;
mod run;
mod scenario;
mod smooth;
mod transports;
mod witness;
mod world;

use run::Run;
use scenario::Plan;

/// How many seeds a plain run takes.
const SEEDS: u64 = 150;

/// How many of them with DTLS, whose handshakes take more time than all else.
const SEEDS_WITH_DTLS: u64 = 25;

#[test]
fn whatever_happens_every_call_ends_and_leaves_one_record_and_nothing_else() {
    try_seeds(Plan::of, SEEDS);
}

#[test]
fn the_same_holds_where_all_media_is_keyed_by_dtls() {
    try_seeds(|seed| Plan::of(seed).with_dtls(), SEEDS_WITH_DTLS);
}

fn try_seeds(plan: impl Fn(u64) -> Plan + std::panic::RefUnwindSafe, seeds: u64) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("SETU_SEED") {
        let run = Run::of(plan(seed));
        run.print();
        let faults = run.faults();
        assert!(faults.is_empty(), "seed {seed}: {faults:#?}");
        return;
    }
    let (mut calls, mut bad) = (0, Vec::new());
    for seed in 1..=number("SETU_SEEDS").unwrap_or(seeds) {
        let result = std::panic::catch_unwind(|| {
            let run = Run::of(plan(seed));
            (run.calls(), run.faults())
        });
        match result {
            Ok((done, faults)) => {
                calls += done;
                if !faults.is_empty() {
                    eprintln!("SETU_SEED={seed}: {faults:#?}");
                    bad.push(seed);
                }
            }
            Err(_) => {
                eprintln!("SETU_SEED={seed}: panicked");
                bad.push(seed);
            }
        }
    }
    eprintln!("{calls} calls");
    assert!(bad.is_empty(), "replay with SETU_SEED= one of {bad:?}");
}

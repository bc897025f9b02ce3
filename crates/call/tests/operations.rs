//! Thousands of calls under operations in random order, valid and stale.

#![expect(clippy::disallowed_methods, reason = "a test owns its clock")]

use std::collections::BTreeSet;
use std::time::Instant;

use setu_call::fuzz_operations;
use setu_model::{Cause, Entropy, SeededEntropy};

#[test]
fn whatever_happens_in_whatever_order_every_call_ends_with_one_record_and_nothing_is_leaked() {
    let start = Instant::now();
    let (mut calls, mut causes, mut milestones) = (0, BTreeSet::new(), BTreeSet::new());
    for seed in 0..1_500 {
        let on_failure = PrintSeed(seed);
        let mut data = vec![0; 600];
        SeededEntropy::new(seed).fill(&mut data);
        for record in fuzz_operations(&data, start) {
            calls += 1;
            causes.insert(record.termination.cause);
            milestones.extend(record.timeline.entries().iter().map(|entry| entry.what));
        }
        drop(on_failure);
    }
    // The operations are worth nothing if they do not lead everywhere.
    assert!(calls > 10_000, "{calls} calls");
    // Two of these only Meta says, one takes hours, and one is written at the next start.
    let not_here = [Cause::NoPermission, Cause::RefusedByMeta, Cause::TooLong, Cause::Interrupted];
    let missed: Vec<_> = Cause::ALL.iter().filter(|c| !causes.contains(c) && !not_here.contains(c)).collect();
    assert!(missed.is_empty(), "never seen: {missed:?}");
    assert_eq!(milestones.len(), 20, "{milestones:?}");
}

struct PrintSeed(u64);

impl Drop for PrintSeed {
    #[expect(clippy::print_stdout, reason = "the seed replays the failure")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("seed {}", self.0);
        }
    }
}

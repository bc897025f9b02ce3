//! One hop of a packet through a call in memory: check, decrypt, rewrite, encrypt.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark's entry points, which may stop at the first surprise"
)]

use std::time::Instant;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use setu_media::RelayHop;
use setu_srtp::Suite;

fn relay(c: &mut Criterion) {
    let mut group = c.benchmark_group("relay");
    group.throughput(Throughput::Elements(1));
    for suite in [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm] {
        let hop = std::cell::RefCell::new(RelayHop::new(suite, Instant::now()).unwrap());
        group.bench_function(format!("hop/{suite}"), |b| {
            b.iter_batched_ref(
                || hop.borrow_mut().packet().unwrap(),
                |packet| hop.borrow_mut().pass(packet),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, relay);
criterion_main!(benches);

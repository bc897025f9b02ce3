//! Benchmarks of Setu's hot paths; see `benches/`. Here is what the tests share with them.

#![forbid(unsafe_code)]

pub mod webhooks;

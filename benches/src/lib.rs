//! Benchmarks of Setu's hot paths; see `benches/`.

#![forbid(unsafe_code)]

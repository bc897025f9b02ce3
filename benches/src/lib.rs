//! Benchmarks of Setu's hot paths.

//! The `setu` command.
fn main() {}

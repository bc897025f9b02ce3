//! The endpoint as its peers see it, in virtual time.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test wants one event and shows any other")]

mod answering;
mod calling;
mod door;
mod failing_over;
mod lossy;
mod peer;
mod registering;
mod returning;
mod within;

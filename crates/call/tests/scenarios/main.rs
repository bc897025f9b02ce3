//! Calls in virtual time, told from outside: what the core is told, and what it commands.

#![expect(clippy::disallowed_methods, reason = "a test owns its clock")]

mod business_initiated;
mod house;
mod keys;
mod placed;
mod reached;
mod reserved;
mod session;
mod sounds;
mod support;
mod two_steps;
mod user_initiated;

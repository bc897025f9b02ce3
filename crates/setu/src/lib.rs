//! Setu: a self-hosted SIP back-to-back user agent and media bridge for WhatsApp Business Calling, as a library.
//!
//! It never implements a protocol itself: it composes the cores and shells of the other crates.

#![forbid(unsafe_code)]

mod api;
mod bridge;
mod cdr_log;
pub mod cli;
pub mod commands;
pub mod config;
pub mod driver;
mod durable;
mod events;
mod figures;
mod files;
mod health;
mod inputs;
pub mod pricing;
mod provision;
pub mod quality;
pub mod settings;

pub use bridge::{Bridge, Drainer, StartError};
pub use config::Config;

//! Setu: a self-hosted SIP back-to-back user agent and media bridge for WhatsApp Business Calling, as a library.
//!
//! It never implements a protocol itself: it composes the cores and shells of the other crates.

#![forbid(unsafe_code)]

pub mod config;

pub use config::Config;

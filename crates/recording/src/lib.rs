//! Lossless two-channel recordings: the Opus packets of a call's both directions in one Ogg Opus file, and the
//! thread that writes it.
//!
//! It never decodes or encodes audio and never makes a packet thread wait: what the writer cannot take is dropped
//! and counted.
//!
//! The customer is left, the agent right, on one time line that begins when the call's tap was opened. [`Muxer`] is
//! the core, without files or threads; [`Recorder`] is the thread that writes one file for each call.

#![forbid(unsafe_code)]

mod channel;
mod muxer;
mod ogg;
mod opus;
mod tags;
mod writer;

pub use muxer::{Counters, Muxer};
pub use tags::Tags;
pub use writer::{Recorder, RecorderBusy, RecorderConfig, RecorderEvent, StartError};

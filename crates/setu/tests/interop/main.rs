//! Calls between the Meta twin and real peers through a running `setu serve`: Asterisk, baresip, SIPp, Chromium;
//! recordings read by opusinfo, opusdec and ffmpeg.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod browser;
mod calls;
mod graph;
mod house;
mod keys;
mod load;
mod peers;
mod placed;
#[path = "../shared/ports.rs"]
mod ports;
mod provider;
mod sipp;
mod sound;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_setu");

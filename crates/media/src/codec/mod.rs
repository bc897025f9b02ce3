//! Coding one peer's audio for another: decoders, encoders, and what hides loss, jitter and pauses between them.
//!
//! None of it knows of legs, sockets or threads: [`Coders`] takes packets with their numbers and gives packets with
//! theirs, and its owner runs it wherever there is time for it, which is not where packets are relayed.

mod buffer;
mod coders;
mod comfort;
mod conceal;
mod decode;
mod delay;
mod encode;
mod g711;
pub(crate) mod g722;
mod job;
mod load;
mod transcoder;

pub(crate) use g711::Law;

pub use coders::{CodedTotals, Coders};
pub use job::{Job, Kind, Packet, Plan, Way};

/// The most samples of one packet: 120 ms at 16 kHz.
const MOST_SAMPLES: usize = 1_920;

/// Returns a sample of nominal -1 to 1.
fn to_float(sample: i16) -> f32 {
    f32::from(sample) / 32_768.0
}

/// Rounds a sample of nominal -1 to 1.
pub(crate) fn to_i16(sample: f32) -> i16 {
    #[expect(clippy::cast_possible_truncation, reason = "clamped right before")]
    let rounded = (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16;
    rounded
}

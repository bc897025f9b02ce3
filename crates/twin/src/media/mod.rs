//! The media of a twin: what it says, what it hears, and the report of it.

mod analysis;
mod codec;
mod dtmf;
mod ear;
mod heard;
mod mouth;
mod recording;
mod rtp;
mod srtp;
mod voice;

pub use codec::Codec;
pub use dtmf::DtmfPlan;
pub use heard::{Gap, Heard, HeardDigit, ToneSpan};
pub use mouth::{Impairment, Says};
pub use recording::{Recorded, read_recording};
pub use srtp::Suite;

pub(crate) use ear::{EarPlan, Noticed};
pub(crate) use mouth::MouthPlan;
pub(crate) use srtp::CryptoLine;
pub(crate) use voice::{Voice, VoicePlan};

#[cfg(test)]
mod tests;

//! The media of a twin: what it says, what it hears, and the report of it.

mod analysis;
pub(crate) mod carry;
mod codec;
mod dtmf;
mod ear;
mod heard;
mod mouth;
mod path;
mod recording;
mod rtp;
mod srtp;
mod voice;

pub use codec::Codec;
pub use dtmf::DtmfPlan;
pub use heard::{Gap, Heard, HeardDigit, ToneSpan};
pub use mouth::{Impairment, Says};
pub use path::{DtlsRole, PathReport, Setup};
pub use recording::{Recorded, read_recording};
pub use srtp::Suite;

pub(crate) use ear::{EarPlan, Noticed};
pub(crate) use mouth::MouthPlan;
pub(crate) use path::{
    Credentials, DtlsIdentity, Fingerprint, LiteHabits, Path, PathEvent, Remote, addressee, is_stun,
};
pub(crate) use srtp::CryptoLine;
pub(crate) use voice::{Keys, Voice, VoicePlan};

#[cfg(test)]
mod tests;

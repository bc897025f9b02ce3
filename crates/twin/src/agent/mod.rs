//! Agent twins: a softphone that registers, and a PBX that does not.

mod call;
mod config;
mod describe;
mod dial;
mod mid_call;
mod packets;
mod phone;
mod register;
mod report;
mod ring;

pub use config::{
    Dtls, Habits, Hold, PhoneAnswer, PhoneCallId, PhoneConfig, PhoneRinging, Refer, Refresher, SessionTimer,
};
pub use phone::{Softphone, Trunk};
pub use report::{PhoneEnder, PhoneEvent, PhoneReport};

#[cfg(test)]
mod tests;

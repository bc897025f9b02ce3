use serde::{Deserialize, Serialize};

use crate::media::{DtmfPlan, Says};

/// What a person does in a call, once it is answered. Times are in milliseconds after the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Person {
    /// What they say.
    pub says: Says,
    /// The keys they press.
    pub dtmf: Vec<DtmfPlan>,
    /// When they hang up; never if null. 0 is a BYE right behind the ACK.
    pub hang_up_after_ms: Option<u64>,
    /// When their connection to the bridge is cut; never if null. The call goes on over a new one.
    pub drop_connection_after_ms: Option<u64>,
    /// Whether what they hear is decoded. Off, a simulation of thousands of calls only counts packets.
    pub listens: bool,
}

impl Default for Person {
    fn default() -> Self {
        Self {
            says: Says::tone(440),
            dtmf: Vec::new(),
            hang_up_after_ms: None,
            drop_connection_after_ms: None,
            listens: true,
        }
    }
}

impl Person {
    /// A person who says a tone of `hz` until the other side hangs up.
    pub fn saying(hz: u32) -> Self {
        Self { says: Says::tone(hz), ..Self::default() }
    }

    /// Hangs up `ms` milliseconds after the answer.
    #[must_use]
    pub const fn hanging_up_after(mut self, ms: u64) -> Self {
        self.hang_up_after_ms = Some(ms);
        self
    }

    /// Presses `digits`, beginning `after_ms` milliseconds after the answer.
    #[must_use]
    pub fn pressing(mut self, after_ms: u64, digits: &str) -> Self {
        self.dtmf.push(DtmfPlan::new(after_ms, digits));
        self
    }
}

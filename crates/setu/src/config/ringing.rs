//! Who rings, and for how long.

use serde::Deserialize;

/// Who rings first in calls that the REST interface asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ring {
    /// The agent: the customer is called once he has answered, and never waits.
    #[default]
    AgentFirst,
    /// The customer, who hears `media.waiting` until the agent, who is reserved, answers.
    CustomerFirst,
}

impl From<Ring> for setu_call::RingOrder {
    fn from(ring: Ring) -> Self {
        match ring {
            Ring::AgentFirst => Self::AgentFirst,
            Ring::CustomerFirst => Self::CustomerFirst,
        }
    }
}

/// How long things ring, in seconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ringing {
    /// From a user's call until an agent must have answered, over all agents tried. Meta gives up after 30 to 60 s.
    pub total_s: u64,
    /// How long one agent rings before the next one is tried.
    pub agent_s: u64,
    /// How long a customer may ring.
    pub customer_s: u64,
}

impl Default for Ringing {
    fn default() -> Self {
        Self { total_s: 45, agent_s: 20, customer_s: 90 }
    }
}

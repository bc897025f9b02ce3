//! The desk of agents: who is reachable, who is taken, which trunk is up, which pair of customer and number talks.

use crate::ports::ContactId;

/// A change on the agents' side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeskChange {
    /// An agent registered a contact, or refreshed it.
    ContactUp {
        /// Account name.
        agent: String,
        /// The contact.
        contact: ContactId,
        /// Whether its signalling is encrypted.
        secure: bool,
    },
    /// A contact expired, was removed, or lost its connection.
    ContactDown {
        /// Account name.
        agent: String,
        /// The contact.
        contact: ContactId,
    },
    /// A trunk answers.
    TrunkUp {
        /// Its name.
        trunk: String,
    },
    /// A trunk stopped answering. Trunks that were never heard of count as up.
    TrunkDown {
        /// Its name.
        trunk: String,
    },
}

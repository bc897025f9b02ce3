//! The registrar of the agents' side (RFC 3261 section 10.3): bindings in memory.

use crate::flow::{FlowId, Hop, Target};

/// One contact of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The account's name.
    pub account: String,
    /// The contact's URI as registered: the Request-URI of calls to it.
    pub contact: String,
    /// Its preference, in thousandths: 0 to 1,000 (RFC 3261 section 20.10).
    pub q: u16,
    /// The flow its REGISTER came on.
    pub flow: FlowId,
    /// Where requests go if that flow cannot carry them.
    pub hop: Hop,
}

impl Binding {
    /// Where a request to this contact goes: back on the flow of its REGISTER while that lives.
    pub fn target(&self) -> Target {
        Target::FlowOr(self.flow, self.hop.clone())
    }
}

/// What happened to a binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindingChange {
    /// A contact can be called from now.
    Appeared(Binding),
    /// A contact was registered again: its flow or preference may differ.
    Refreshed(Binding),
    /// A contact cannot be called any more.
    Vanished {
        /// What it was.
        binding: Binding,
        /// Why it went.
        why: Vanished,
    },
}

/// Why a binding went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vanished {
    /// The phone took it back.
    Removed,
    /// It was not refreshed in time.
    Expired,
    /// The connection it came on closed.
    FlowClosed,
    /// The account is no longer configured.
    AccountGone,
}

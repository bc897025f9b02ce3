//! The registrar of the agents' side (RFC 3261 section 10.3): bindings in memory.

mod table;

use crate::flow::{FlowId, Hop, Target};

pub(crate) use table::{Registrar, Registration};

/// Names a binding from its first REGISTER to its end. Never used twice in one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BindingId(pub u64);

/// One contact of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Its name: the URI of a contact may be written otherwise each time (RFC 3261 section 19.1.4).
    pub id: BindingId,
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
    /// Whether requests go back on that flow first: always on a stream, and over UDP for a phone that takes
    /// messages where it sends from (RFC 3581) or sits behind a NAT.
    pub on_flow: bool,
}

impl Binding {
    /// Where a request to this contact goes.
    pub fn target(&self) -> Target {
        if self.on_flow { Target::FlowOr(self.flow, self.hop.clone()) } else { Target::Hop(self.hop.clone()) }
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
    /// A newer contact needed its place: an account has only so many.
    Replaced,
    /// The account is no longer configured.
    AccountGone,
}

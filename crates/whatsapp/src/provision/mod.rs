//! Provisioning: what a number's settings at Meta should be, what they are, and which requests in which order make the one the
//! other.
//!
//! Pure: [`Provision`] says what to ask, and is told what Meta replied; nothing here has a token or makes a request.

mod desired;
mod found;
mod machine;
mod onboarding;

pub use desired::{CallHours, Desired, Icon, Opening, Protocol, Server};
pub use found::{Found, FoundServer, Restriction, Unreadable};
pub use machine::{Ask, Mode, Outcome, Provision, Stopped};
pub use onboarding::{Fact, Node, Standing, Verdict, onboarding};

/// One setting that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// Meta's name of it, below `calling`, such as `sip.servers`.
    pub setting: &'static str,
    /// What it should be.
    pub wanted: String,
    /// What it is.
    pub found: String,
}

impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is {}, wanted is {}", self.setting, self.found, self.wanted)
    }
}

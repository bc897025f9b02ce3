//! The timers of RFC 3261 Table 4, with those of RFC 6026.

use std::time::Duration;

/// The three values every SIP timer is derived from. Tests and closed networks may shorten them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Round-trip time estimate (RFC 3261 section 17.1.1.1): 500 ms.
    pub t1: Duration,
    /// The longest gap between retransmissions of a non-INVITE request or an INVITE response: 4 s.
    pub t2: Duration,
    /// The longest a message stays in the network: 5 s.
    pub t4: Duration,
}

impl Timers {
    /// The values of RFC 3261 Table 4.
    pub const RFC_3261: Self =
        Self { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) };

    /// 64 * T1: Timers B, F, H, L and M, and Timer J over UDP.
    pub const fn transaction_timeout(&self) -> Duration {
        self.t1.saturating_mul(64)
    }

    /// Timer D: how long a refused INVITE absorbs retransmitted refusals. At least 32 s over UDP, 0 over streams.
    pub fn d(&self, reliable: bool) -> Duration {
        if reliable { Duration::ZERO } else { self.transaction_timeout().max(Duration::from_secs(32)) }
    }

    /// Timers I and K: how long a transaction over UDP absorbs what is still in the network. 0 over streams.
    pub const fn linger(&self, reliable: bool) -> Duration {
        if reliable { Duration::ZERO } else { self.t4 }
    }

    /// Timer J: how long an answered non-INVITE request absorbs its retransmissions. 0 over streams.
    pub const fn j(&self, reliable: bool) -> Duration {
        if reliable { Duration::ZERO } else { self.transaction_timeout() }
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self::RFC_3261
    }
}

/// Names the timer behind a deadline, for logs and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// INVITE retransmission, unreliable transports only.
    A,
    /// Overall time to a response to INVITE.
    B,
    /// How long a proceeding INVITE may stay without a final response (RFC 3261 section 16.6 step 11).
    C,
    /// Absorbs retransmitted refusals of INVITE.
    D,
    /// Non-INVITE retransmission, unreliable transports only.
    E,
    /// Overall time to a final response to a non-INVITE request.
    F,
    /// Retransmission of a refusal to INVITE, unreliable transports only.
    G,
    /// Overall time to the ACK of a refusal.
    H,
    /// Absorbs retransmitted ACKs.
    I,
    /// Absorbs retransmitted non-INVITE requests.
    J,
    /// Absorbs retransmitted responses to non-INVITE requests.
    K,
    /// Absorbs retransmitted INVITEs that were accepted (RFC 6026).
    L,
    /// Absorbs retransmitted 2xx (RFC 6026).
    M,
    /// Retransmission of our 2xx until its ACK (RFC 3261 section 13.3.1.4).
    Accept,
    /// Retry of a re-INVITE or UPDATE after a 491 (RFC 3261 section 14.1).
    Glare,
    /// Refresh or expiry of the session (RFC 4028).
    Session,
    /// A registrar binding expires.
    Binding,
    /// An OPTIONS probe is due.
    Probe,
    /// Something remembered for a while may be forgotten.
    Sweep,
}

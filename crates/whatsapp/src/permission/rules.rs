//! Meta's limits, as data.

use std::time::Duration;

/// Which way calls reach a number, and so whose permissions count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// Meta itself, by SIP or Graph: only what Meta granted opens a business-initiated call.
    Meta,
    /// A provider whose webhooks name a SIP URI to dial: the tap on a button and the service window open one too.
    Provider,
}

/// The limits for one number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Whose permissions count.
    pub dialect: Dialect,
    /// Permission requests allowed to one customer in 24 hours.
    pub requests_a_day: u32,
    /// Permission requests allowed to one customer in 7 days.
    pub requests_a_week: u32,
    /// Connected business-initiated calls allowed to one customer in 24 hours.
    pub connected_a_day: u32,
    /// After so many business-initiated calls in a row that were not answered, Meta takes the permission away.
    pub misses: u32,
    /// How far Meta's clock and ours may disagree. Every window is taken that much longer, and every grant that much
    /// shorter, than Meta says.
    pub skew: Duration,
}

impl Rules {
    /// The limits of a production number with Meta, as of December 2025.
    pub const META: Self = Self {
        dialect: Dialect::Meta,
        requests_a_day: 1,
        requests_a_week: 2,
        connected_a_day: 100,
        misses: 4,
        skew: Duration::from_secs(60),
    };

    /// The limits of Meta's sandbox and public test numbers.
    pub const SANDBOX: Self = Self { requests_a_day: 25, requests_a_week: 100, misses: 10, ..Self::META };

    /// The limits of a number behind a provider: Meta's, and more grants that count.
    pub const PROVIDER: Self = Self { dialect: Dialect::Provider, ..Self::META };
}

/// How long a temporary permission lasts if the reply names no expiry.
pub(crate) const UNDATED_GRANT: Duration = HOUR;

/// How long the tap on a call button counts as a permission to call. No source gives a time; it is meant for the call
/// that follows.
pub(crate) const TAP: Duration = HOUR;

/// How long the customer's last message or call keeps the service window open.
pub(crate) const SERVICE_WINDOW: Duration = DAY;

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3_600);
pub(crate) const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);

//! The rules that forbid calls and permission requests.

use serde::{Deserialize, Serialize};

use crate::Wall;

/// One rule that forbids a call or a permission request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRefusal {
    /// Its number, which never changes its meaning: 4005 is "Permission Required".
    pub code: u16,
    /// Its name.
    pub title: String,
    /// Why it forbids this, in words.
    pub reason: String,
    /// What would make it allowed.
    pub remedy: String,
    /// From when on this rule allows it if nothing else happens.
    pub next_allowed: Option<Wall>,
}

impl RuleRefusal {
    /// Says that a rule forbids it.
    pub fn new(code: GateCode, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (reason, remedy) = (reason.into(), remedy.into());
        Self { code: code.number(), title: code.title().to_owned(), reason, remedy, next_allowed: None }
    }
}

impl std::fmt::Display for RuleRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.code, self.title, self.reason)
    }
}

/// The rules, by the code that the API and the CDR show. Numbers and words never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GateCode {
    /// Outside the customer's calling hours.
    OutsideHours,
    /// A holiday of the customer.
    Holiday,
    /// No agent is reserved.
    NoAgentReady,
    /// The number is restricted by Meta.
    NumberRestricted,
    /// The customer gave no permission that holds (Meta's 138006).
    PermissionRequired,
    /// The number used up its calls of the day, which its quality decides.
    DailyCap,
    /// The customer and the number are talking already (Meta's 138003).
    PairBusy,
    /// The country is not called, or the number's country has no business-initiated calls (Meta's 138013).
    CountryBlocked,
    /// The number may not be used for this.
    UseCaseNotAllowed,
    /// So many connected calls a day are the limit (Meta's 138012).
    ConnectedLimit,
    /// So many permission requests are the limit (Meta's 138009).
    RequestLimit,
    /// The customer hung up at once, or did not answer for long: only a person may try again.
    HumanRetryOnly,
    /// The campaign, or the number over all its campaigns, asks too fast.
    CampaignBurst,
    /// The campaign, or the number over all its campaigns, asks too many who never spoke to the business.
    CampaignCold,
    /// There is a permanent permission already (Meta's 138017).
    AlreadyPermitted,
}

impl GateCode {
    /// What would make a call allowed for which there is no permission.
    pub const PERMISSION_REMEDY: &str =
        "send a permission request, or wait for the customer to call or allow it";

    /// The number.
    pub const fn number(self) -> u16 {
        match self {
            Self::OutsideHours => 4001,
            Self::Holiday => 4002,
            Self::NoAgentReady => 4003,
            Self::NumberRestricted => 4004,
            Self::PermissionRequired => 4005,
            Self::DailyCap => 4006,
            Self::PairBusy => 4007,
            Self::CountryBlocked => 4008,
            Self::UseCaseNotAllowed => 4009,
            Self::ConnectedLimit => 4010,
            Self::RequestLimit => 4011,
            Self::HumanRetryOnly => 4012,
            Self::CampaignBurst => 4013,
            Self::CampaignCold => 4014,
            Self::AlreadyPermitted => 4015,
        }
    }

    /// The title.
    pub const fn title(self) -> &'static str {
        match self {
            Self::OutsideHours => "Outside Calling Hours",
            Self::Holiday => "Holiday",
            Self::NoAgentReady => "No Agent Ready",
            Self::NumberRestricted => "Number Restricted",
            Self::PermissionRequired => "Permission Required",
            Self::DailyCap => "Daily Limit Reached",
            Self::PairBusy => "Already Talking",
            Self::CountryBlocked => "Country Blocked",
            Self::UseCaseNotAllowed => "Use Case Not Allowed",
            Self::ConnectedLimit => "Connected Call Limit",
            Self::RequestLimit => "Permission Request Limit",
            Self::HumanRetryOnly => "Human Retry Only",
            Self::CampaignBurst => "Campaign Too Fast",
            Self::CampaignCold => "Campaign Too Cold",
            Self::AlreadyPermitted => "Already Permitted",
        }
    }

    /// The error of Meta's Graph API that stands for the same rule.
    pub const fn of_meta(code: i64) -> Option<Self> {
        match code {
            138_003 => Some(Self::PairBusy),
            138_006 => Some(Self::PermissionRequired),
            138_009 => Some(Self::RequestLimit),
            138_012 => Some(Self::ConnectedLimit),
            138_013 => Some(Self::CountryBlocked),
            138_014 => Some(Self::NumberRestricted),
            138_017 => Some(Self::AlreadyPermitted),
            _ => None,
        }
    }
}

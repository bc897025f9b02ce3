use serde::{Deserialize, Serialize};

/// Why Meta refuses a business-initiated call: every row of its troubleshooting table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// 400: the From number is unknown.
    AssetNotFound,
    /// 403: the From domain is not the configured host's.
    ServerMismatch,
    /// 403: no call permission, or the number is not on WhatsApp.
    NoPermission,
    /// 403: the app may not use the number.
    AppNotAuthorized,
    /// 403: 100 connected calls in 24 hours.
    DailyLimit,
    /// 403: a call between the two goes on.
    DuplicateCall,
    /// 403: the digest answer is wrong.
    InvalidDigest,
    /// 403: no payment method.
    Payment,
    /// 403: the description is not acceptable.
    SdpValidation,
    /// 404: an IP address or a `sips:` URI in the Request-URI.
    NotFound,
    /// 408: the user's client got no media.
    RtpTimeout,
    /// 480: unreachable, or did not answer.
    Unavailable,
    /// 486: the user declined.
    Declined,
    /// 500: bad numbers.
    Internal,
    /// 503.
    Overloaded,
}

impl Refusal {
    /// Every row, for tests that try them all.
    pub const ALL: [Self; 15] = [
        Self::AssetNotFound,
        Self::ServerMismatch,
        Self::NoPermission,
        Self::AppNotAuthorized,
        Self::DailyLimit,
        Self::DuplicateCall,
        Self::InvalidDigest,
        Self::Payment,
        Self::SdpValidation,
        Self::NotFound,
        Self::RtpTimeout,
        Self::Unavailable,
        Self::Declined,
        Self::Internal,
        Self::Overloaded,
    ];

    /// The SIP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::AssetNotFound => 400,
            Self::ServerMismatch
            | Self::NoPermission
            | Self::AppNotAuthorized
            | Self::DailyLimit
            | Self::DuplicateCall
            | Self::InvalidDigest
            | Self::Payment
            | Self::SdpValidation => 403,
            Self::NotFound => 404,
            Self::RtpTimeout => 408,
            Self::Unavailable => 480,
            Self::Declined => 486,
            Self::Internal => 500,
            Self::Overloaded => 503,
        }
    }

    /// The reason phrase, with the text Meta puts there. `host` is the From domain.
    pub fn phrase(self, host: &str) -> String {
        match self {
            Self::AssetNotFound => "Asset not found, invalid business phone number".to_owned(),
            Self::ServerMismatch => format!(
                "SIP server {host} from INVITE does not match any SIP server configured for phone number id \
                 {PHONE_NUMBER_ID}"
            ),
            Self::NoPermission => {
                "No Approved Call Permission Found: No approved call permission from the recipient".to_owned()
            }
            Self::AppNotAuthorized => format!(
                "The app [{APP_ID}] configured for SIP server {host} is not authorized for phone number id \
                 {PHONE_NUMBER_ID}"
            ),
            Self::DailyLimit => "Business Initiated Connected Call Per Day Limit Hit".to_owned(),
            Self::DuplicateCall => "Duplicate call".to_owned(),
            Self::InvalidDigest => "Invalid digest response".to_owned(),
            Self::Payment => "Business eligibility payment issue".to_owned(),
            Self::SdpValidation => "SDP Validation Error".to_owned(),
            Self::NotFound => "Not Found".to_owned(),
            Self::RtpTimeout => "RTP Timeout".to_owned(),
            Self::Unavailable => "Temporarily Unavailable".to_owned(),
            Self::Declined => "User declined the call".to_owned(),
            Self::Internal => "Internal Server Error".to_owned(),
            Self::Overloaded => "Service Unavailable".to_owned(),
        }
    }

    /// Whether the text comes as `Warning: 399` too.
    pub const fn warns(self) -> bool {
        matches!(self.status(), 400 | 403)
    }
}

const PHONE_NUMBER_ID: &str = "106540352242922";
const APP_ID: &str = "634974688087057";

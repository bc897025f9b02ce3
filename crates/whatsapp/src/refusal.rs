//! What Meta's refusals of a business-initiated call mean (meta-calling, table 1.8).

use setu_model::Cause;

/// One refusal, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why the call failed, in the bridge's words.
    pub cause: Cause,
    /// The status to pass on to the agent who dialled. Never one that makes a PBX try again at once.
    pub toward_agent: u16,
    /// What the operator should know: Meta's own text, from the Warning header where the reason phrase is dull.
    pub detail: Option<String>,
}

/// Understands a final refusal by Meta, from its status, its reason phrase (which carries the text) and the text of
/// its `Warning: 399` header.
pub fn refusal(status: u16, reason: &str, warning: Option<&str>) -> Refusal {
    let warning = warning.map(warning_text).filter(|text| !text.is_empty());
    let says = |needle: &str| contains(reason, needle) || warning.is_some_and(|text| contains(text, needle));
    let (cause, toward_agent) = match status {
        // The agent can do nothing about a number or an app that is set up wrong; 403 makes no PBX try again.
        400 => (Cause::RefusedByMeta, 403),
        403 if says("no approved call permission") => (Cause::NoPermission, 403),
        403 if says("sdp") => (Cause::IncompatibleMedia, 488),
        403 if says("duplicate call") => (Cause::RefusedByMeta, 486),
        401 | 403 | 407 => (Cause::RefusedByMeta, 403),
        404 | 410 | 484 => (Cause::Unreachable, 404),
        408 if says("rtp timeout") => (Cause::MediaTimeout, 480),
        408 => (Cause::NoAnswer, 480),
        // Meta says 480 both of a user who is unreachable and of one who did not answer.
        480 => (Cause::NoAnswer, 480),
        486 if says("declined") => (Cause::Declined, 603),
        486 | 600 => (Cause::Busy, 486),
        487 => (Cause::Cancelled, 487),
        603 => (Cause::Declined, 603),
        415 | 488 | 606 => (Cause::IncompatibleMedia, 488),
        // 500 also stands for numbers Meta cannot make sense of; neither deserves a retry by the PBX.
        500..=599 => (Cause::Unreachable, 480),
        _ => (Cause::RefusedByMeta, 403),
    };
    let reason = Some(reason.trim()).filter(|text| !text.is_empty());
    // The phrase carries Meta's text; the Warning header is longer where the phrase is only the usual one.
    let detail = match (reason, warning) {
        (Some(reason), Some(warning)) if warning.len() > reason.len() => Some(warning),
        (reason, warning) => reason.or(warning),
    };
    Refusal { cause, toward_agent, detail: detail.map(|text| text.chars().take(MOST_DETAIL_CHARS).collect()) }
}

/// The longest text kept of a refusal, in characters: it goes into every record and log line.
const MOST_DETAIL_CHARS: usize = 256;

/// Returns the quoted text of a Warning header (`399 wa.meta.vc "text"`), or all of it where nothing is quoted.
fn warning_text(warning: &str) -> &str {
    let text = warning.split_once('"').map_or(warning, |(_, text)| text);
    text.trim_end().trim_end_matches('"').trim()
}

fn contains(text: &str, needle: &str) -> bool {
    text.to_ascii_lowercase().contains(needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_has_its_cause_and_its_status_toward_the_agent() {
        for (status, reason, cause, toward) in [
            (400, "Asset not found, invalid business phone number", Cause::RefusedByMeta, 403),
            (
                403,
                "SIP server foo.com from INVITE does not match any SIP server configured for phone number id 1",
                Cause::RefusedByMeta,
                403,
            ),
            (
                403,
                "No Approved Call Permission Found: No approved call permission from the recipient",
                Cause::NoPermission,
                403,
            ),
            (403, "The app [1] configured for SIP server a is not authorized", Cause::RefusedByMeta, 403),
            (403, "Business Initiated Connected Call Per Day Limit Hit", Cause::RefusedByMeta, 403),
            (403, "Duplicate call", Cause::RefusedByMeta, 486),
            (403, "SDP Validation Error", Cause::IncompatibleMedia, 488),
            (404, "Not Found", Cause::Unreachable, 404),
            (407, "Proxy Authentication Required", Cause::RefusedByMeta, 403),
            (408, "RTP Timeout", Cause::MediaTimeout, 480),
            (408, "Request Timeout", Cause::NoAnswer, 480),
            (480, "Temporarily Unavailable", Cause::NoAnswer, 480),
            (486, "User declined the call", Cause::Declined, 603),
            (486, "Busy Here", Cause::Busy, 486),
            (487, "Request Terminated", Cause::Cancelled, 487),
            (500, "Internal Server Error", Cause::Unreachable, 480),
            (503, "Service Unavailable", Cause::Unreachable, 480),
            (699, "", Cause::RefusedByMeta, 403),
        ] {
            let refusal = refusal(status, reason, None);
            assert_eq!((refusal.cause, refusal.toward_agent), (cause, toward), "{status} {reason}");
        }
    }

    #[test]
    fn the_warning_header_tells_where_the_reason_phrase_does_not() {
        let warning = "399 wa.meta.vc \"No Approved Call Permission Found: none from the recipient\"";
        let refusal = refusal(403, "Forbidden", Some(warning));
        assert_eq!(refusal.cause, Cause::NoPermission);
        assert_eq!(
            refusal.detail.as_deref(),
            Some("No Approved Call Permission Found: none from the recipient")
        );
    }

    #[test]
    fn an_endless_reason_phrase_is_cut() {
        let refusal = refusal(403, &"é".repeat(5_000), None);
        assert_eq!(refusal.detail.map(|d| d.chars().count()), Some(MOST_DETAIL_CHARS));
    }
}

//! What Meta's error codes say of a call.

use setu_model::Cause;

use crate::Refusal;

/// Understands an error of a Graph request, or of the webhook that ends a call.
pub fn refusal(code: i64, text: &str) -> Refusal {
    let (cause, toward_agent) = match code {
        138_006 => (Cause::NoPermission, 403),
        138_001 => (Cause::Unreachable, 404),
        // One call of a pair at a time.
        138_003 => (Cause::RefusedByMeta, 486),
        138_004 | 138_007 | 138_019 | 138_020 => (Cause::Unreachable, 480),
        138_021..=138_023 => (Cause::MediaTimeout, 480),
        100 if text.to_ascii_lowercase().contains("sdp") => (Cause::IncompatibleMedia, 488),
        _ => (Cause::RefusedByMeta, 403),
    };
    let detail = if text.is_empty() { code.to_string() } else { format!("{text} ({code})") };
    Refusal { cause, toward_agent, detail: Some(detail) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_permission_is_told_from_other_refusals() {
        for (code, text, cause, toward) in [
            (138_006, "No approved call permission", Cause::NoPermission, 403),
            (138_003, "", Cause::RefusedByMeta, 486),
            (138_012, "limit", Cause::RefusedByMeta, 403),
            (138_021, "No media received", Cause::MediaTimeout, 480),
            (100, "Invalid SDP", Cause::IncompatibleMedia, 488),
            (100, "Invalid parameter", Cause::RefusedByMeta, 403),
            (131_055, "", Cause::RefusedByMeta, 403),
            (0, "status 404", Cause::RefusedByMeta, 403),
        ] {
            let refusal = refusal(code, text);
            assert_eq!((refusal.cause, refusal.toward_agent), (cause, toward), "{code}");
            assert!(refusal.detail.unwrap().contains(&code.to_string()));
        }
    }
}

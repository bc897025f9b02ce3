//! What an agent's phone or PBX is told of a call, in headers it can use in a dialplan.

use std::fmt::Write;

use setu_model::CallFacts;

use crate::config::UseCase;

/// Returns the `X-Setu-*` headers of an INVITE toward an agent: what is known of the call and of what it is for, nothing else.
///
/// Values are visible ASCII: every other character, blanks and `%` included, is percent-encoded as UTF-8
/// (RFC 3986 section 2.1), so that a button's payload can neither break a header nor forge one. A value that
/// is longer than [`MOST_VALUE_BYTES`] when encoded is cut before the character that crosses the bound.
pub fn setu_headers(facts: &CallFacts, use_case: Option<&UseCase>) -> Vec<(String, String)> {
    let name = facts.customer_name.as_ref().map(|name| name.reveal().as_str());
    let user_id = facts.user_id.as_ref().map(|id| id.reveal().as_str());
    let priority = use_case.and_then(|it| it.priority).map(|priority| priority.to_string());
    let all = [
        ("X-Setu-Wacid", facts.wacid.as_deref()),
        ("X-Setu-Number", Some(facts.number.as_str())),
        ("X-Setu-Customer", Some(facts.customer.reveal().as_str())),
        ("X-Setu-Customer-Name", name),
        ("X-Setu-User-Id", user_id),
        ("X-Setu-Country", facts.country.as_deref()),
        ("X-Setu-Cta-Payload", facts.cta_payload.as_deref()),
        ("X-Setu-Deeplink-Payload", facts.deeplink_payload.as_deref()),
        ("X-Setu-Permission-Source", facts.permission_source.as_deref()),
        ("X-Setu-Use-Case", facts.use_case.as_deref()),
        ("X-Setu-Payload", facts.payload.as_deref()),
        ("X-Setu-Use-Case-Label", use_case.map(|it| it.label.as_str())),
        ("X-Setu-Queue", facts.queue.as_deref().or(use_case.and_then(|it| it.queue.as_deref()))),
        ("X-Setu-Skill", use_case.and_then(|it| it.skill.as_deref())),
        ("X-Setu-Priority", priority.as_deref()),
        ("X-Setu-Script", use_case.and_then(|it| it.script.as_deref())),
        ("X-Setu-Reference", facts.reference.as_deref()),
    ];
    all.into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), header_safe(value)))
        .collect()
}

/// The longest value of one header, in bytes: Meta's payloads have at most 512 characters, three bytes each when
/// encoded, and a whole INVITE must stay small enough for UDP paths that still fragment it.
pub const MOST_VALUE_BYTES: usize = 1_536;

fn header_safe(value: &str) -> String {
    let mut safe = String::with_capacity(value.len());
    for c in value.chars() {
        let before = safe.len();
        if c.is_ascii_graphic() && c != '%' {
            safe.push(c);
        } else {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a String cannot fail.
                let _ = write!(safe, "%{byte:02X}");
            }
        }
        if safe.len() > MOST_VALUE_BYTES {
            safe.truncate(before);
            break;
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use setu_model::Pii;

    use super::*;

    fn facts() -> CallFacts {
        CallFacts {
            wacid: Some("wacid.HBgLAA==".into()),
            number: "+15550001111".into(),
            customer: Pii::new("+919876543210".into()),
            ..CallFacts::default()
        }
    }

    #[test]
    fn an_agent_is_told_what_is_known_and_nothing_that_is_not() {
        let headers = setu_headers(&facts(), None);
        let expected = [
            ("X-Setu-Wacid", "wacid.HBgLAA=="),
            ("X-Setu-Number", "+15550001111"),
            ("X-Setu-Customer", "+919876543210"),
        ];
        assert_eq!(headers, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    #[test]
    fn a_payload_cannot_break_out_of_its_header() {
        let payload = Some("50% off\r\nX-Evil: 1\0\u{2028}é".to_owned());
        let headers = setu_headers(&CallFacts { cta_payload: payload, ..facts() }, None);
        let (_, value) = headers.iter().find(|(name, _)| name == "X-Setu-Cta-Payload").unwrap();
        assert_eq!(value, "50%25%20off%0D%0AX-Evil:%201%00%E2%80%A8%C3%A9");
    }

    #[test]
    fn a_long_payload_is_cut_between_characters() {
        let payload = Some("é".repeat(2_000));
        let headers = setu_headers(&CallFacts { deeplink_payload: payload, ..facts() }, None);
        let (_, value) = headers.last().unwrap();
        assert_eq!(value.len(), MOST_VALUE_BYTES);
        assert!(value.ends_with("%C3%A9"));
    }
}

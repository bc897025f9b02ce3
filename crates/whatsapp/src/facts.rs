//! What Meta tells of a call in the headers of its messages.

use setu_model::{CallFacts, Pii};

use crate::edge::CALL_ID_PREFIX;
use crate::number::e164;

/// Reads what a message of Meta tells of its call: an INVITE (user-initiated), or a 200 (business-initiated, where
/// only the optional fields count).
///
/// `headers` are names and values in order; names in any case, in both spellings Meta has used (`x-wa-meta-` and
/// `x-wa_meta-`). `From`, `To` and `Call-ID` are read too, in their long or compact form. Nothing here proves who
/// sent the message; the values are what an authenticated peer claims.
pub fn facts_from_headers<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> CallFacts {
    let mut facts = CallFacts::default();
    let mut call_id = None;
    let mut username = None;
    for (name, value) in headers {
        let value = value.trim();
        if value.is_empty() || value.len() > MOST_VALUE_BYTES {
            continue;
        }
        match canonical(name).as_str() {
            "from" | "f" => from(value, &mut facts),
            "to" | "t" => facts.number = user_part(value).and_then(e164).unwrap_or_default(),
            "call-id" | "i" => call_id = value.strip_prefix(CALL_ID_PREFIX).filter(|id| !id.is_empty()),
            "x-wa-meta-wacid" => facts.wacid = Some(value.to_owned()),
            "x-wa-meta-cta-payload" => facts.cta_payload = Some(value.to_owned()),
            "x-wa-meta-deeplink-payload" => facts.deeplink_payload = Some(value.to_owned()),
            "x-wa-meta-user-id" => facts.user_id = Some(Pii::new(value.to_owned())),
            "x-wa-meta-user-name" => facts.customer_name = Some(Pii::new(value.to_owned())),
            "x-wa-meta-username" => username = Some(Pii::new(value.to_owned())),
            "x-wa-meta-user-country-code" | "x-wa-meta-country-code" => facts.country = country(value),
            _ => {}
        }
    }
    facts.wacid = facts.wacid.or_else(|| call_id.map(str::to_owned));
    facts.customer_name = facts.customer_name.or(username);
    // Where the user part is a business-scoped id it is the user's id as well.
    if facts.user_id.is_none()
        && !facts.customer.reveal().is_empty()
        && e164(facts.customer.reveal()).is_none()
    {
        facts.user_id = Some(facts.customer.clone());
    }
    facts
}

/// What Meta's BYE tells of an established call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndedFacts {
    /// WhatsApp's id of the call; for business-initiated calls the only place where SIP tells it.
    pub wacid: Option<String>,
    /// Meta's own count in seconds (`x-wa-meta-call-duration`, a string on the wire).
    pub meta_duration_s: Option<u64>,
}

/// Reads what a BYE of Meta tells, as [`facts_from_headers`] does.
pub fn ended_facts<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> EndedFacts {
    let mut ended = EndedFacts::default();
    let mut call_id = None;
    for (name, value) in headers {
        let value = value.trim();
        match canonical(name).as_str() {
            _ if value.is_empty() || value.len() > MOST_VALUE_BYTES => {}
            "x-wa-meta-wacid" => ended.wacid = Some(value.to_owned()),
            "x-wa-meta-call-duration" => ended.meta_duration_s = seconds(value),
            "call-id" | "i" => call_id = value.strip_prefix(CALL_ID_PREFIX).filter(|id| !id.is_empty()),
            _ => {}
        }
    }
    ended.wacid = ended.wacid.or_else(|| call_id.map(str::to_owned));
    ended
}

/// The longest header value that is looked at, in bytes: payloads have at most 512 characters.
const MOST_VALUE_BYTES: usize = 4_096;

/// Lower case, with Meta's second spelling turned into its first.
fn canonical(name: &str) -> String {
    name.trim().to_ascii_lowercase().replace('_', "-")
}

/// Whole seconds; a fraction, which no source shows but a string allows, is cut off.
fn seconds(value: &str) -> Option<u64> {
    let whole = value.trim_matches('"').split('.').next()?;
    whole.bytes().all(|b| b.is_ascii_digit()).then(|| whole.parse().ok())?
}

fn country(value: &str) -> Option<String> {
    let letters = value.len() == 2 && value.bytes().all(|b| b.is_ascii_alphabetic());
    letters.then(|| value.to_ascii_uppercase())
}

fn from(value: &str, facts: &mut CallFacts) {
    if let Some(user) = user_part(value) {
        facts.customer = Pii::new(e164(user).unwrap_or_else(|| user.to_owned()));
    }
    // Meta puts either the digits or the profile name there. Digits say nothing that the number does not.
    if facts.customer_name.is_none() {
        facts.customer_name = display_name(value).filter(|name| e164(name).is_none()).map(Pii::new);
    }
}

/// Returns the user part of the URI in a From or To value, without user parameters (`;tgrp=..`).
fn user_part(value: &str) -> Option<&str> {
    // A quoted display name may hold anything, `<sip:..>` included: look behind it.
    let uri = behind_display_name(value);
    let uri = uri.split_once('<').map_or(uri, |(_, rest)| rest);
    let uri = uri.split_once('>').map_or(uri, |(uri, _)| uri);
    let (scheme, rest) = uri.trim().split_once(':')?;
    let user = if scheme.eq_ignore_ascii_case("tel") { rest } else { rest.split_once('@')?.0 };
    let user = user.split([';', ':']).next()?;
    (!user.is_empty()).then_some(user)
}

fn behind_display_name(value: &str) -> &str {
    let value = value.trim_start();
    let Some(quoted) = value.strip_prefix('"') else { return value };
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return quoted.get(at + 1..).unwrap_or_default(),
            _ => {}
        }
    }
    value
}

fn display_name(value: &str) -> Option<String> {
    let value = value.trim_start();
    let name = if let Some(quoted) = value.strip_prefix('"') {
        let mut name = String::new();
        let mut escaped = false;
        for c in quoted.chars() {
            match c {
                _ if escaped => {
                    name.push(c);
                    escaped = false;
                }
                '\\' => escaped = true,
                '"' => break,
                _ => name.push(c),
            }
        }
        name
    } else {
        value.split_once('<')?.0.to_owned()
    };
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: [(&str, &str); 5] = [
        ("From", "\"919876543210\" <sip:+919876543210@wa.meta.vc>;tag=1c-2"),
        ("To", "<sip:+15550001111;tgrp=wacall;trunk-context=byoc@sip.example.com>"),
        ("Call-ID", "outgoing:wacid.HBgLMTIAA=="),
        ("X-FB-External-Domain", "wa.meta.vc"),
        ("x-wa-meta-cta-payload", "order 42"),
    ];

    #[test]
    fn an_invite_tells_customer_number_and_payload() {
        let facts = facts_from_headers(INVITE);
        assert_eq!(facts.customer.reveal(), "+919876543210");
        assert_eq!(facts.number, "+15550001111");
        assert_eq!(facts.cta_payload.as_deref(), Some("order 42"));
        assert_eq!((facts.customer_name, facts.user_id), (None, None), "digits are no name and no id");
    }

    #[test]
    fn the_wacid_comes_from_its_header_or_else_from_the_call_id() {
        assert_eq!(facts_from_headers(INVITE).wacid.as_deref(), Some("wacid.HBgLMTIAA=="));
        let with = INVITE.into_iter().chain([("X-WA-Meta-WACID", "wacid.other")]);
        assert_eq!(facts_from_headers(with).wacid.as_deref(), Some("wacid.other"));
        assert_eq!(facts_from_headers([("Call-ID", "a84b4c76e66710")]).wacid, None);
        assert_eq!(facts_from_headers([("i", "outgoing:wacid.c")]).wacid.as_deref(), Some("wacid.c"));
    }

    #[test]
    fn both_spellings_of_meta_headers_are_read_in_any_case() {
        for name in ["x-wa-meta-user-id", "x-wa_meta-user-id", "X-WA_META-User-Id"] {
            let facts = facts_from_headers([(name, "IN.1A2b")]);
            assert_eq!(facts.user_id, Some(Pii::new("IN.1A2b".to_owned())), "{name}");
        }
    }

    #[test]
    fn a_user_without_a_number_is_known_by_the_business_scoped_id() {
        let facts =
            facts_from_headers([("f", "\"Asha <sip:x@y> \\\"R\\\"\" <sip:IN.1A2b@wa.meta.vc>;tag=1")]);
        assert_eq!(facts.customer.reveal(), "IN.1A2b");
        assert_eq!(facts.user_id.map(Pii::into_inner).as_deref(), Some("IN.1A2b"));
        assert_eq!(facts.customer_name.map(Pii::into_inner).as_deref(), Some("Asha <sip:x@y> \"R\""));
    }

    #[test]
    fn a_profile_name_in_a_header_wins_over_the_display_name() {
        let headers = [
            ("From", "Asha <sip:+919876543210@wa.meta.vc>"),
            ("x-wa-meta-user-name", "Asha Rao"),
            ("x-wa-meta-country-code", "in"),
        ];
        let facts = facts_from_headers(headers);
        assert_eq!(facts.customer_name.map(Pii::into_inner).as_deref(), Some("Asha Rao"));
        assert_eq!(facts.country.as_deref(), Some("IN"));
    }

    #[test]
    fn a_bye_tells_the_wacid_and_metas_count_of_seconds() {
        let bye = [("x-wa-meta-wacid", "wacid.A"), ("x-wa-meta-call-duration", "37")];
        assert_eq!(ended_facts(bye), EndedFacts { wacid: Some("wacid.A".into()), meta_duration_s: Some(37) });
        for (text, seconds) in
            [("37.9", Some(37)), ("\"5\"", Some(5)), ("-1", None), ("", None), ("abc", None)]
        {
            assert_eq!(ended_facts([("x-wa-meta-call-duration", text)]).meta_duration_s, seconds, "{text}");
        }
        assert_eq!(ended_facts([]), EndedFacts::default());
    }

    #[test]
    fn broken_headers_are_read_without_a_panic() {
        let whole = "\"A\\\"b\" <sip:+1555000;x=\"é\"@wa.meta.vc;transport=tls>;tag=1";
        for end in (0..whole.len()).filter(|i| whole.is_char_boundary(*i)) {
            for start in (0..end).filter(|i| whole.is_char_boundary(*i)) {
                let _ = facts_from_headers([("From", &whole[start..end]), ("To", &whole[start..end])]);
            }
        }
    }
}

//! What an agent dials, as E.164.

use crate::config::DialPlan;

/// Returns what was dialled as E.164 with `+`, or nothing if it cannot be one.
///
/// Taken: `+` and digits, `00` and digits, bare digits that begin with a country code, and, where the plan names a
/// country, national numbers with a single leading 0. Visual separators (RFC 3966 section 3: `-`, `.`, `(`, `)`)
/// and blanks are ignored. A WhatsApp user without a number (a business-scoped id) cannot be dialled this way.
pub fn normalise(dialled: &str, plan: &DialPlan) -> Option<String> {
    let plain: String = dialled.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')' | ' ')).collect();
    let plain = plain.as_str();
    let rest = plan
        .strip
        .iter()
        .filter(|p| !p.is_empty())
        .find_map(|p| plain.strip_prefix(p.as_str()))
        .unwrap_or(plain);
    let digits = if let Some(digits) = rest.strip_prefix('+').or_else(|| rest.strip_prefix("00")) {
        digits.to_owned()
    } else if let Some(national) = rest.strip_prefix('0') {
        format!("{}{national}", plan.country_code.as_deref()?)
    } else {
        rest.to_owned()
    };
    let fits = (FEWEST_DIGITS..=MOST_DIGITS).contains(&digits.len());
    let valid = fits && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    valid.then(|| format!("+{digits}"))
}

/// ITU-T E.164 section 6.2.1.
const MOST_DIGITS: usize = 15;

/// The shortest international numbers in use (Niue, Saint Helena) have seven digits with their country code.
const FEWEST_DIGITS: usize = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_dial_a_number_leads_to_e164() {
        let plan = DialPlan { strip: vec!["9,".into(), "wa*".into()], country_code: Some("49".into()) };
        for (dialled, expected) in [
            ("+919876543210", Some("+919876543210")),
            ("00919876543210", Some("+919876543210")),
            ("919876543210", Some("+919876543210")),
            ("wa*00919876543210", Some("+919876543210")),
            ("9,+919876543210", Some("+919876543210")),
            ("+1 (555) 000-1111", Some("+15550001111")),
            ("030123456", Some("+4930123456")),
            ("+0301234567", None),
            ("+123456", None),
            ("+1234567890123456", None),
            ("alice", None),
            ("+91987x543210", None),
            ("٣٣٣٣٣٣٣٣", None),
            ("", None),
        ] {
            assert_eq!(normalise(dialled, &plan).as_deref(), expected, "{dialled}");
        }
    }

    #[test]
    fn a_national_number_without_a_configured_country_is_not_guessed_at() {
        assert_eq!(normalise("030123456", &DialPlan::default()), None);
    }
}

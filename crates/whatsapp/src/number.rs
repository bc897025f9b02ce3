//! Numbers in the forms Meta wants them.

/// Returns the digest user name of a business number: Meta's samples all leave the `+` out.
pub fn digest_username(number: &str) -> &str {
    number.strip_prefix('+').unwrap_or(number)
}

/// Returns the business number (E.164 with `+`) that a digest user name stands for, or nothing if it is no number.
pub fn number_of_username(username: &str) -> Option<String> {
    e164(username)
}

/// Returns `text` as E.164 with `+`, taking it with or without one; nothing if it is no number.
pub fn e164(text: &str) -> Option<String> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    // ITU-T E.164 section 6.2.1: at most 15 digits, and no country code begins with 0.
    let valid = (7..=15).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !digits.starts_with('0');
    valid.then(|| format!("+{digits}"))
}

/// Returns the Request-URI of a call to a WhatsApp user: `sip:`, since Meta answers 404 to `sips:`, with its `+`
/// and its transport, and a name, since Meta answers 404 to an address. A business-scoped user id stands in the
/// user part as it is.
pub fn customer_uri(customer: &str) -> String {
    let user = e164(customer).unwrap_or_else(|| customer.to_owned());
    format!("sip:{user}@{};transport=tls", crate::DOMAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_user_name_has_no_plus_and_leads_back_to_the_number() {
        assert_eq!(digest_username("+15550001111"), "15550001111");
        assert_eq!(digest_username("15550001111"), "15550001111");
        assert_eq!(number_of_username("15550001111").as_deref(), Some("+15550001111"));
        assert_eq!(number_of_username("alice"), None);
    }

    #[test]
    fn a_customer_is_dialled_with_a_plus_over_sip_and_tls() {
        assert_eq!(customer_uri("919876543210"), "sip:+919876543210@wa.meta.vc;transport=tls");
        assert_eq!(customer_uri("IN.1A2b3C"), "sip:IN.1A2b3C@wa.meta.vc;transport=tls");
    }

    #[test]
    fn only_numbers_become_e164() {
        for text in ["", "+", "+0123456789", "123456", "+1234567890123456", "+12345x7890", "١٢٣٤٥٦٧٨"]
        {
            assert_eq!(e164(text), None, "{text}");
        }
    }
}

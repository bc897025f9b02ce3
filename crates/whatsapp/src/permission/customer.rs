//! Who a customer is to Meta.

use serde::{Deserialize, Serialize};
use setu_model::Pii;

/// A WhatsApp user as a webhook, a header or an API caller names one: by number, by business-scoped user id, or both.
///
/// A user with a username may have no number that a business sees. Where one message names both, they are the same
/// person from then on.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Customer {
    /// The number without `+`, as in Meta's `wa_id`.
    pub wa_id: Option<Pii<String>>,
    /// The business-scoped user id, such as `IN.1A2b3C`.
    pub user_id: Option<Pii<String>>,
}

impl Customer {
    /// Names a customer by number, with or without `+`.
    pub fn of_number(number: &str) -> Self {
        let digits = number.strip_prefix('+').unwrap_or(number);
        Self { wa_id: some(digits), user_id: None }
    }

    /// Names a customer by business-scoped user id.
    pub fn of_user_id(id: &str) -> Self {
        Self { wa_id: None, user_id: some(id) }
    }

    /// Names a customer by what Meta put in a `from`, `to` or `wa_id` field (may be empty, may be either kind) and in
    /// a `user_id` field beside it.
    pub fn of_fields(from: &str, user_id: Option<&str>) -> Self {
        let named = if crate::e164(from).is_some() { Self::of_number(from) } else { Self::of_user_id(from) };
        let user_id = user_id.and_then(some).or(named.user_id);
        Self { wa_id: named.wa_id, user_id }
    }

    /// Whether nothing is known: nobody in particular.
    pub const fn is_nobody(&self) -> bool {
        self.wa_id.is_none() && self.user_id.is_none()
    }
}

fn some(text: &str) -> Option<Pii<String>> {
    (!text.is_empty()).then(|| Pii::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_from_field_may_be_a_number_a_user_id_or_empty() {
        assert_eq!(Customer::of_fields("919876543210", None), Customer::of_number("+919876543210"));
        assert_eq!(Customer::of_fields("IN.1A2b3C", None), Customer::of_user_id("IN.1A2b3C"));
        assert!(Customer::of_fields("", None).is_nobody());
        let both = Customer::of_fields("919876543210", Some("IN.1A2b3C"));
        assert!(both.wa_id.is_some() && both.user_id.is_some());
    }
}

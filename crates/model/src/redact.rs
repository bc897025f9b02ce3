use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

/// Shows or hides [`Pii`] in logs, for the whole process. Hidden unless the operator asks (`log.show_pii`).
pub fn set_pii_visible(visible: bool) {
    PII_VISIBLE.store(visible, Ordering::Relaxed);
}

static PII_VISIBLE: AtomicBool = AtomicBool::new(false);

/// A value that tells who somebody is: a phone number, a name, a user id.
///
/// `Debug` and `Display` print its last two characters at most. The CDR is meant to hold such values, so
/// serialising writes it whole.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pii<T>(T);

impl<T> Pii<T> {
    /// Marks `value` as personal.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Returns the value in clear, for the wire, a URI or the CDR; never for a log.
    pub const fn reveal(&self) -> &T {
        &self.0
    }

    /// Gives the value up.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T: fmt::Display> fmt::Display for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        if PII_VISIBLE.load(Ordering::Relaxed) {
            return f.write_str(&text);
        }
        let count = text.chars().count();
        let tail: String = text.chars().skip(if count > 6 { count - 2 } else { count }).collect();
        write!(f, "…{tail}")
    }
}

impl<T: fmt::Display> fmt::Debug for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<T> From<T> for Pii<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

/// A password, key or token. It cannot be printed and is never serialised.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Marks `value` as secret.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Returns the value in clear, for the one place that computes with it.
    pub const fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        T::deserialize(from).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_keys_do_not_reach_a_log() {
        let number = Pii::new("+919876543210".to_owned());
        assert_eq!(format!("{number} {number:?}"), "…10 …10");
        assert_eq!(Pii::new("alice").to_string(), "…");
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[secret]");
    }
}

//! Keys that fit an index, whatever a sender puts into them.

use std::borrow::Cow;
use std::fmt::Write;

use sha2::{Digest, Sha256};

/// A digest of several parts, as 64 hexadecimal digits.
pub fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // With its length, so that moving a byte from one part to the next makes another digest.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Text that a database can hold: PostgreSQL has no NUL, which a webhook may well carry.
pub(crate) fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Text that an index can hold: PostgreSQL's take 2,704 bytes for all columns together. Longer keys become their digests.
pub(crate) fn key(key: &str) -> String {
    let short = if key.len() > LONGEST { Cow::Owned(digest(&[key.as_bytes()])) } else { Cow::Borrowed(key) };
    text(&short)
}

const LONGEST: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_tells_where_its_parts_end() {
        assert_eq!(digest(&[]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
    }

    #[test]
    fn a_key_of_any_length_and_letters_is_short_text() {
        assert_eq!(key("wacid.1"), "wacid.1");
        assert_eq!(key("a\0b"), "a\u{fffd}b");
        let long = "x".repeat(1_000_000);
        assert_eq!(key(&long).len(), 64);
        assert_ne!(key(&long), key(&format!("{long}y")));
    }
}

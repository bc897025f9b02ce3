//! The few loops over text that every parser here is made of, so that their work can be counted.

/// Finds the first `needle`.
pub(crate) fn find(needle: u8, hay: &[u8]) -> Option<usize> {
    let at = memchr::memchr(needle, hay);
    count_work(at.map_or(hay.len(), |at| at + 1));
    at
}

/// Finds the first of two needles.
pub(crate) fn find2(one: u8, two: u8, hay: &[u8]) -> Option<usize> {
    let at = memchr::memchr2(one, two, hay);
    count_work(at.map_or(hay.len(), |at| at + 1));
    at
}

/// Finds the first of three needles.
pub(crate) fn find3(one: u8, two: u8, three: u8, hay: &[u8]) -> Option<usize> {
    let at = memchr::memchr3(one, two, three, hay);
    count_work(at.map_or(hay.len(), |at| at + 1));
    at
}

/// Returns how many bytes at the start of `text` may stand in a token.
pub(crate) fn token_len(text: &[u8]) -> usize {
    let len = text.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(text.len());
    count_work(len);
    len
}

/// Tells whether `text` is a token of RFC 3261 section 25.1 (not empty).
pub(crate) fn is_token(text: &[u8]) -> bool {
    count_work(text.len());
    !text.is_empty() && text.iter().all(|&byte| is_token_byte(byte))
}

/// Tells whether `byte` may stand in a token.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    KINDS.get(usize::from(byte)).is_some_and(|kind| kind & TOKEN != 0)
}

/// Tells whether `byte` may stand in a Request-URI: printed ASCII but angle brackets and quotes.
pub(crate) fn is_uri_byte(byte: u8) -> bool {
    KINDS.get(usize::from(byte)).is_some_and(|kind| kind & URI != 0)
}

/// Tells whether `byte` is a space or a tab.
pub(crate) const fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Takes blanks and line ends off both ends of a header value.
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    let trimmed = text.trim_ascii();
    count_work(text.len() - trimmed.len());
    trimmed
}

/// Reads a number that consists of digits alone.
pub(crate) fn digits(text: &[u8]) -> Option<u64> {
    count_work(text.len());
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// Splits `text` at each `separator` that stands outside quotes and angle brackets.
///
/// A quote or bracket that never closes reaches to the end.
pub(crate) fn split(text: &str, separator: u8) -> Split<'_> {
    Split { rest: Some(text), separator }
}

/// The parts of [`split`], as written.
pub(crate) struct Split<'a> {
    rest: Option<&'a str>,
    separator: u8,
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest.take()?;
        let Some(at) = find_outside(rest.as_bytes(), self.separator) else {
            return Some(rest);
        };
        // The separator is ASCII, so both halves are whole characters.
        let (part, tail) = rest.split_at_checked(at)?;
        self.rest = tail.get(1..);
        Some(part)
    }
}

/// Finds `needle` outside quotes and angle brackets.
pub(crate) fn find_outside(hay: &[u8], needle: u8) -> Option<usize> {
    let mut place = Place::Plain;
    let mut escaped = false;
    for (at, &byte) in hay.iter().enumerate() {
        place = match place {
            Place::Plain if byte == needle => {
                count_work(at + 1);
                return Some(at);
            }
            Place::Plain if byte == b'"' => Place::Quoted,
            Place::Plain if byte == b'<' => Place::Bracketed,
            Place::Quoted if escaped => {
                escaped = false;
                Place::Quoted
            }
            Place::Quoted if byte == b'\\' => {
                escaped = true;
                Place::Quoted
            }
            Place::Quoted if byte == b'"' => Place::Plain,
            Place::Bracketed if byte == b'>' => Place::Plain,
            Place::Plain | Place::Quoted | Place::Bracketed => place,
        };
    }
    count_work(hay.len());
    None
}

#[derive(Clone, Copy)]
enum Place {
    Plain,
    Quoted,
    Bracketed,
}

/// Reads a quoted string at the start of `text`: its content with escapes resolved, and what follows it.
pub(crate) fn quoted(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut content = String::new();
    let mut escaped = false;
    for (at, character) in inner.char_indices() {
        match character {
            _ if escaped => {
                content.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => {
                count_work(at + 2);
                return Some((content, inner.get(at + 1..)?));
            }
            _ => content.push(character),
        }
    }
    count_work(text.len());
    None
}

/// Finds a NUL that does not stand escaped in a quoted string, the one place where the grammar has it.
pub(crate) fn bare_nul(line: &[u8]) -> Option<usize> {
    let (mut in_quotes, mut escaped) = (false, false);
    count_work(line.len());
    line.iter().position(|&byte| {
        let bare = byte == 0 && !escaped;
        in_quotes ^= byte == b'"' && !escaped;
        escaped = in_quotes && byte == b'\\' && !escaped;
        bare
    })
}

/// Writes `text` as a quoted string.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// Where each byte may stand.
const KINDS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    loop {
        let token = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
        let uri = byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"');
        table[byte as usize] = if token { TOKEN } else { 0 } | if uri { URI } else { 0 };
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};

const TOKEN: u8 = 1;
const URI: u8 = 2;

#[cfg(not(test))]
const fn count_work(_bytes: usize) {}

#[cfg(test)]
fn count_work(bytes: usize) {
    work::WORK.with(|work| work.set(work.get() + bytes + 1));
}

/// Counts bytes looked at, so that a test can tell linear from quadratic without a clock.
#[cfg(test)]
pub(crate) mod work {
    use std::cell::Cell;

    thread_local! {
        pub(super) static WORK: Cell<usize> = const { Cell::new(0) };
    }

    /// Returns what `f` returns and how many bytes its scans looked at.
    pub(crate) fn of<T>(f: impl FnOnce() -> T) -> (T, usize) {
        let before = WORK.with(Cell::get);
        let result = f();
        (result, WORK.with(Cell::get) - before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_quotes_and_brackets_do_not_split() {
        let parts: Vec<_> = split(r#""a, \" b" <sip:x@y,z>;q=1, <sip:c>, d"#, b',').collect();
        assert_eq!(parts, [r#""a, \" b" <sip:x@y,z>;q=1"#, " <sip:c>", " d"]);
        assert_eq!(split("", b',').collect::<Vec<_>>(), [""]);
        assert_eq!(split(",", b',').collect::<Vec<_>>(), ["", ""]);
        assert_eq!(split("\"open, never", b',').count(), 1);
    }

    #[test]
    fn numbers_are_digits_alone_and_never_wrap() {
        assert_eq!(digits(b"0645"), Some(645));
        for bad in [&b""[..], b"-5", b"+5", b"5 5", b"0x10", b"18446744073709551616"] {
            assert_eq!(digits(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn nul_is_bare_unless_escaped_in_quotes() {
        for fine in [&b""[..], b"a: \"\\\0\"", b"\"\\\\\\\0\" \\"] {
            assert_eq!(bare_nul(fine), None, "{fine:?}");
        }
        for bad in [&b"\0"[..], b"\\\0", b"\"\0\"", b"\"\\\\\0\"", b"\"a\" \\\0", b"\"\\\0\0\""] {
            assert!(bare_nul(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn quoted_strings_give_their_content_and_the_rest() {
        assert_eq!(quoted(r#""a\"b\\" x"#), Some((r#"a"b\"#.to_owned(), " x")));
        for open in ["", "\"", "\"a", "\"a\\", "\"a\\\""] {
            assert_eq!(quoted(open), None, "{open}");
        }
        assert_eq!(quoted(&quote("a\"\\é")), Some(("a\"\\é".to_owned(), "")));
    }
}

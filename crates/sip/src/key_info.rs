//! Keys told by INFO: `application/dtmf-relay` and `application/dtmf`, which no RFC describes and every PBX knows.

/// A key and how long it was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyInfo {
    /// `0`-`9`, `*`, `#`, `A`-`D`.
    pub digit: char,
    /// In milliseconds.
    pub duration_ms: u32,
}

impl KeyInfo {
    /// The type of the bodies that [`to_body`](Self::to_body) writes.
    pub const CONTENT_TYPE: &str = "application/dtmf-relay";

    /// Reads the body of an INFO; `None` if it tells of no key.
    pub fn parse(content_type: &str, body: &[u8]) -> Option<Self> {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let text = std::str::from_utf8(body.get(..body.len().min(LONGEST))?).ok()?;
        if kind.eq_ignore_ascii_case("application/dtmf") {
            return Some(Self { digit: digit(text)?, duration_ms: DEFAULT_MS });
        }
        if !kind.eq_ignore_ascii_case(Self::CONTENT_TYPE) {
            return None;
        }
        let field = |name: &str| {
            let named = text.lines().filter_map(|line| line.split_once(['=', ':']));
            named.into_iter().find(|(field, _)| field.trim().eq_ignore_ascii_case(name)).map(|(_, it)| it)
        };
        let duration_ms = field("Duration").and_then(|ms| ms.trim().parse().ok()).filter(|ms| *ms > 0);
        Some(Self { digit: digit(field("Signal")?)?, duration_ms: duration_ms.unwrap_or(DEFAULT_MS) })
    }

    /// Writes a body of [`CONTENT_TYPE`](Self::CONTENT_TYPE).
    pub fn to_body(self) -> String {
        format!("Signal={}\r\nDuration={}\r\n", self.digit, self.duration_ms)
    }
}

/// Reads a key, also as the number of its event: 10 for the star, 11 for the hash.
fn digit(text: &str) -> Option<char> {
    let text = text.trim();
    let mut chars = text.chars();
    if let (Some(one), None) = (chars.next(), chars.next()) {
        let key = one.to_ascii_uppercase();
        return matches!(key, '0'..='9' | '*' | '#' | 'A'..='D').then_some(key);
    }
    match text {
        "10" => Some('*'),
        "11" => Some('#'),
        "12" => Some('A'),
        "13" => Some('B'),
        "14" => Some('C'),
        "15" => Some('D'),
        _ => None,
    }
}

/// Where no duration is told, in milliseconds: what Asterisk takes.
const DEFAULT_MS: u32 = 250;

/// More than any body that tells of one key, in bytes.
const LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_asterisk_cisco_and_phones_tell_the_key() {
        for (kind, body, digit, duration_ms) in [
            ("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", '5', 160),
            ("Application/DTMF-Relay; charset=utf-8", "Signal= *\nDuration= 100", '*', 100),
            ("application/dtmf-relay", "signal: d", 'D', DEFAULT_MS),
            ("application/dtmf-relay", "Signal=11\r\nDuration=0", '#', DEFAULT_MS),
            ("application/dtmf", "5", '5', DEFAULT_MS),
            ("application/dtmf", " 10\r\n", '*', DEFAULT_MS),
        ] {
            let read = KeyInfo::parse(kind, body.as_bytes());
            assert_eq!(read, Some(KeyInfo { digit, duration_ms }), "{kind} {body:?}");
        }
    }

    #[test]
    fn what_tells_of_no_key_is_none() {
        for (kind, body) in [
            ("application/dtmf-relay", ""),
            ("application/dtmf-relay", "Duration=100"),
            ("application/dtmf-relay", "Signal=!\r\nDuration=100"),
            ("application/dtmf-relay", "Signal=16"),
            ("application/dtmf", "55"),
            ("application/media_control+xml", "5"),
            ("", "Signal=5"),
        ] {
            assert_eq!(KeyInfo::parse(kind, body.as_bytes()), None, "{kind} {body:?}");
        }
        assert_eq!(KeyInfo::parse("application/dtmf", &[0xff, 0xfe]), None);
    }

    #[test]
    fn what_is_written_reads_back() {
        let key = KeyInfo { digit: '#', duration_ms: 120 };
        assert_eq!(KeyInfo::parse(KeyInfo::CONTENT_TYPE, key.to_body().as_bytes()), Some(key));
    }
}

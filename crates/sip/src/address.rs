use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::params::Params;
use crate::scan;
use crate::uri::Uri;

/// A URI with a display name and header parameters: From, To, Contact, Route and their like
/// (RFC 3261 section 20.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameAddr {
    /// The display name with quotes and escapes resolved. Control characters in it are U+FFFD: no phone should see
    /// them.
    pub display: Option<String>,
    /// The URI.
    pub uri: Uri,
    /// Parameters of the header, in order; never those of the URI.
    pub params: Params,
    /// What was parsed; empty for a value made here.
    raw: String,
}

impl NameAddr {
    /// Makes an address of its parts.
    pub const fn new(display: Option<String>, uri: Uri) -> Self {
        Self { display, uri, params: Params::new(), raw: String::new() }
    }

    /// Returns the tag of a From or To.
    pub fn tag(&self) -> Option<&str> {
        self.params.value("tag")
    }

    /// Returns the text this was parsed from, trimmed, byte for byte: what a route set must echo. Changes made to
    /// the fields do not show. A value made here gives its printed form.
    pub fn raw(&self) -> Cow<'_, str> {
        if self.raw.is_empty() { Cow::Owned(self.to_string()) } else { Cow::Borrowed(&self.raw) }
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let (display, uri, params) = split(text)?;
        let uri = uri.parse().map_err(|crate::uri::InvalidUri(what)| what)?;
        let display = display.map(|name| name.replace(char::is_control, "\u{fffd}"));
        Ok(Self { display, uri, params: Params::read_header(params)?, raw: text.to_owned() })
    }
}

/// Takes a name-addr or addr-spec apart into display name, URI and parameters.
fn split(text: &str) -> Result<(Option<String>, &str, &str), &'static str> {
    let (display, rest) = if text.starts_with('"') {
        let (display, rest) = scan::quoted(text).ok_or("quote that never closes")?;
        let rest = rest.trim_start();
        if !rest.starts_with('<') {
            return Err("display name without an address in brackets");
        }
        (Some(display), rest)
    } else if let Some(open) = scan::find(b'<', text.as_bytes()) {
        let (name, rest) = text.split_at_checked(open).ok_or("no address")?;
        // An unquoted name should be tokens; real ones hold any letter, which is harmless but for these.
        if name.contains(['"', '>', ';', ',']) {
            return Err("display name must be quoted");
        }
        let name = name.trim();
        ((!name.is_empty()).then(|| name.to_owned()), rest)
    } else {
        // Without brackets parameters belong to the header, not to the URI (section 20).
        let end = scan::find(b';', text.as_bytes()).unwrap_or(text.len());
        let (uri, params) = text.split_at_checked(end).ok_or("no address")?;
        if uri.contains(['?', ',']) {
            return Err("URI that must stand in brackets");
        }
        return Ok((None, uri.trim_end(), params));
    };
    let inner = rest.get(1..).ok_or("no address")?;
    let (uri, params) = inner.split_once('>').ok_or("bracket that never closes")?;
    Ok((display, uri, params))
}

impl FromStr for NameAddr {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        Self::read(text.trim())
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(display) = &self.display {
            write!(f, "{} ", scan::quote(display))?;
        }
        write!(f, "<{}>{}", self.uri, self.params)
    }
}

/// The Contact fields of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contacts {
    /// `Contact: *`, which takes every binding back (RFC 3261 section 10.2.2).
    Star,
    /// Addresses in order, possibly none.
    List(Vec<NameAddr>),
}

impl Contacts {
    /// Returns the addresses; none for `*`.
    pub fn addresses(&self) -> &[NameAddr] {
        match self {
            Self::Star => &[],
            Self::List(list) => list,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> NameAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_taken_apart() {
        let from = address(r#""J. \"R\" \\" <sip:j@example.com;lr>;tag=1;x"#);
        assert_eq!(from.display.as_deref(), Some(r#"J. "R" \"#));
        assert_eq!((from.tag(), from.uri.to_string().as_str()), (Some("1"), "sip:j@example.com;lr"));
        assert_eq!(from.to_string(), r#""J. \"R\" \\" <sip:j@example.com;lr>;tag=1;x"#);

        let bare = address("sip:j@example.com;tag=1");
        assert_eq!(
            (bare.tag(), bare.uri.params.is_empty(), bare.display.as_deref()),
            (Some("1"), true, None)
        );

        let named = address("Jos\u{e9} da Silva <tel:+123>");
        assert_eq!(named.display.as_deref(), Some("Jos\u{e9} da Silva"));
        assert_eq!(address("<sip:a@b>").display, None);
    }

    #[test]
    fn raw_text_is_kept_byte_for_byte() {
        let text = "<sip:Proxy.example.com:8191;transport=tls;LR> ; X = \"y\"";
        assert_eq!(address(&format!("  {text} ")).raw(), text);
        assert_eq!(NameAddr::new(None, "sip:a@b".parse().unwrap()).raw(), "<sip:a@b>");
    }

    #[test]
    fn broken_addresses_are_refused() {
        for bad in [
            "",
            "<",
            "<>",
            "<sip:a@b",
            "sip:a@b>",
            "\"open <sip:a@b>",
            "\"a\"",
            "\"a\" sip:a@b",
            "a\"b <sip:a@b>",
            "<sip:a@b> x",
            "<sip:a@b>;tag=1;tag=2",
            "< sip:a@b>",
            "sip:a@b?x=y",
            "sip:a,b@c",
            "a, b <sip:a@b>",
            "<sip:a@b>>",
            "<<sip:a@b>>",
        ] {
            assert!(bad.parse::<NameAddr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_short_start_of_an_address_is_read_or_refused_without_harm() {
        let text = r#""A \"q\" é" <sips:u:p@[::1]:5061;lr?x=y>;tag=a;q=0.5;z="a;b""#;
        for end in (0..text.len()).filter(|&end| text.is_char_boundary(end)) {
            let _ = text[..end].parse::<NameAddr>();
        }
    }
}

use std::fmt;

use crate::scan;

/// Parameters in order: `;name`, `;name=value`, as they stand behind a URI or a header value.
///
/// Names are compared in any case. Values are kept as written, quotes and escapes included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, Option<String>)>);

impl Params {
    /// Returns no parameters.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Returns the parameter of this name: `None` if it is absent, `Some(None)` if it has no value.
    pub fn get(&self, name: &str) -> Option<Option<&str>> {
        self.0.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_deref())
    }

    /// Returns the parameter's value, if it is there and has one.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.get(name).flatten()
    }

    /// Tells whether the parameter is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Gives the parameter this value in its place, or adds it at the end.
    pub fn set(&mut self, name: &str, value: Option<String>) {
        match self.0.iter_mut().find(|(other, _)| other.eq_ignore_ascii_case(name)) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Takes every parameter of this name out.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    }

    /// Returns all of them in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// Tells whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads what follows a header value: blanks are allowed around `;` and `=`, values may be quoted.
    /// Empty parameters (`;;`, a trailing `;`) are skipped, as real peers send them.
    pub(crate) fn read_header(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let Some(text) = text.strip_prefix(';') else {
            return if text.is_empty() {
                Ok(Self::new())
            } else {
                Err("text where a parameter should begin")
            };
        };
        let mut params = Self::new();
        for part in scan::split(text, b';').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) =
                match scan::find(b'=', part.as_bytes()).and_then(|at| part.split_at_checked(at)) {
                    Some((name, value)) => (name.trim_end(), value.get(1..).map(str::trim_start)),
                    None => (part, None),
                };
            if !scan::is_token(name.as_bytes()) {
                return Err("parameter name is no token");
            }
            let value = value.map(check_value).transpose()?;
            params.add(name, value)?;
        }
        Ok(params)
    }

    /// Reads the parameters of a URI: no blanks, no quotes. Empty ones are skipped.
    pub(crate) fn read_uri(text: &str) -> Result<Self, &'static str> {
        let mut params = Self::new();
        for part in text.split(';').filter(|part| !part.is_empty()) {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (part, None),
            };
            if name.is_empty() {
                return Err("parameter without a name");
            }
            params.add(name, value)?;
        }
        Ok(params)
    }

    /// Adds one from the wire. A name may stand once (RFC 3261 section 7.3.1): of two tags or branches each element
    /// could take another.
    fn add(&mut self, name: &str, value: Option<&str>) -> Result<(), &'static str> {
        if self.0.len() >= MOST {
            return Err("too many parameters");
        }
        if self.has(name) {
            return Err("parameter given twice");
        }
        self.0.push((name.to_owned(), value.map(str::to_owned)));
        Ok(())
    }
}

/// A value is a quoted string or has no blanks and quotes in it.
fn check_value(value: &str) -> Result<&str, &'static str> {
    if value.starts_with('"') {
        return match scan::quoted(value) {
            Some((_, "")) => Ok(value),
            Some(_) => Err("text behind a quoted value"),
            None => Err("quote that never closes"),
        };
    }
    if value.bytes().any(|byte| scan::is_blank(byte) || byte == b'"') {
        return Err("blank or quote in a parameter value");
    }
    Ok(value)
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.0 {
            write!(f, ";{name}")?;
            if let Some(value) = value {
                write!(f, "={value}")?;
            }
        }
        Ok(())
    }
}

/// The most parameters one URI or header value may have. Real ones have up to ten; looking for duplicates stays
/// cheap.
const MOST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_keep_their_order_and_spelling() {
        let params = Params::read_header(" ; Tag = a ;x;y=\"q;=\\\"\" ;; ").unwrap();
        assert_eq!(params.to_string(), ";Tag=a;x;y=\"q;=\\\"\"");
        assert_eq!(params.get("tag"), Some(Some("a")));
        assert_eq!(params.get("X"), Some(None));
        assert_eq!(params.get("z"), None);
    }

    #[test]
    fn a_parameter_given_twice_is_refused_in_any_case() {
        assert!(Params::read_header(";tag=a;TAG=b").is_err());
        assert!(Params::read_uri("lr;transport=tcp;Transport=udp").is_err());
    }

    #[test]
    fn broken_parameters_are_refused() {
        for bad in ["x", ";a b", ";=1", ";a=b c", ";a=\"open", ";a=\"x\"y", ";a=b\"c", ";é=1"] {
            assert!(Params::read_header(bad).is_err(), "{bad}");
        }
        assert!(Params::read_uri("=1").is_err());
    }

    #[test]
    fn the_number_of_parameters_is_bounded() {
        let many = |count: usize| (0..count).map(|n| format!(";p{n}")).collect::<String>();
        assert!(Params::read_header(&many(MOST)).is_ok());
        assert!(Params::read_header(&many(MOST + 1)).is_err());
    }

    #[test]
    fn set_replaces_in_place_and_remove_takes_out() {
        let mut params = Params::read_header(";rport;branch=b").unwrap();
        params.set("RPORT", Some("5060".to_owned()));
        params.set("received", Some("192.0.2.1".to_owned()));
        assert_eq!(params.to_string(), ";rport=5060;branch=b;received=192.0.2.1");
        params.remove("Branch");
        assert_eq!(params.to_string(), ";rport=5060;received=192.0.2.1");
    }
}

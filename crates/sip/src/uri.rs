use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::params::Params;
use crate::scan;

/// A URI: taken apart if it is `sip:`, `sips:` or `tel:`, kept whole otherwise.
///
/// `Display` prints what was read, but for the spelling of IPv6 addresses, a port's leading zeros and empty
/// parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    /// The scheme.
    pub scheme: Scheme,
    /// The user part as written, escapes included; the number of a `tel:` URI; all of any other URI.
    pub user: Option<String>,
    /// Parameters within the user part (RFC 3261 section 19.1.6), as written without the first semicolon.
    pub user_params: Option<String>,
    /// The password, as written. Never put one anywhere.
    pub password: Option<String>,
    /// The host; an empty name where the scheme has none.
    pub host: Host,
    /// The port, if written: 1 to 65535.
    pub port: Option<u16>,
    /// Parameters, in order.
    pub params: Params,
    /// Headers behind the question mark in order, as written.
    pub headers: Vec<(String, String)>,
}

/// The scheme of a [`Uri`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:` (RFC 3966)
    Tel,
    /// Any other, in lower case.
    Other(Box<str>),
}

/// A host: a name, or an address in its own type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// A domain name, as written.
    Name(String),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address; printed in brackets.
    V6(Ipv6Addr),
}

/// Why text is no URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidUri(pub(crate) &'static str);

impl Uri {
    /// Makes `sip:user@host`, without a user if that is `None`.
    pub fn sip(user: Option<&str>, host: Host, port: Option<u16>) -> Self {
        Self {
            scheme: Scheme::Sip,
            user: user.map(str::to_owned),
            user_params: None,
            password: None,
            host,
            port,
            params: Params::new(),
            headers: Vec::new(),
        }
    }

    /// Returns a parameter: `None` if it is absent, `Some(None)` if it has no value.
    pub fn param(&self, name: &str) -> Option<Option<&str>> {
        self.params.get(name)
    }

    /// Returns the user part with `%` escapes resolved, as far as the result is text.
    pub fn user_text(&self) -> Option<Cow<'_, str>> {
        self.user.as_deref().map(unescape)
    }

    /// Compares as RFC 3261 section 19.1.4 says: escapes resolved, hosts and parameters in any case, and
    /// parameters that only one side has count only if they are `user`, `ttl`, `method`, `maddr` or `transport`.
    pub fn is_equivalent(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.user.as_deref().map(unescape) == other.user.as_deref().map(unescape)
            && self.user_params == other.user_params
            && self.password.as_deref().map(unescape) == other.password.as_deref().map(unescape)
            && self.host.is_equivalent(&other.host)
            && self.port == other.port
            && self.params_agree(other)
            && other.params_agree(self)
            && self.headers_agree(other)
    }

    fn params_agree(&self, other: &Self) -> bool {
        self.params.iter().all(|(name, value)| match other.params.get(name) {
            Some(theirs) => {
                value.map(|value| unescape(value).to_ascii_lowercase())
                    == theirs.map(|value| unescape(value).to_ascii_lowercase())
            }
            None => !DECISIVE_PARAMS.iter().any(|decisive| name.eq_ignore_ascii_case(decisive)),
        })
    }

    fn headers_agree(&self, other: &Self) -> bool {
        let sorted = |uri: &Self| {
            let mut headers: Vec<_> = uri
                .headers
                .iter()
                .map(|(name, value)| (unescape(name).to_ascii_lowercase(), unescape(value).into_owned()))
                .collect();
            headers.sort();
            headers
        };
        sorted(self) == sorted(other)
    }

    fn read_sip(scheme: Scheme, rest: &str) -> Result<Self, InvalidUri> {
        let mut uri = Self { scheme, ..Self::sip(None, Host::Name(String::new()), None) };
        let rest = match scan::find(b'@', rest.as_bytes()).and_then(|at| rest.split_at_checked(at)) {
            Some((userinfo, rest)) => {
                uri.read_userinfo(userinfo)?;
                rest.get(1..).unwrap_or_default()
            }
            None => rest,
        };
        let (rest, headers) = match rest.split_once('?') {
            Some((rest, headers)) => (rest, Some(headers)),
            None => (rest, None),
        };
        let (hostport, params) = rest.split_once(';').unwrap_or((rest, ""));
        (uri.host, uri.port) = read_hostport(hostport).map_err(InvalidUri)?;
        uri.params = Params::read_uri(params).map_err(InvalidUri)?;
        uri.headers = headers.map(read_headers).transpose()?.unwrap_or_default();
        Ok(uri)
    }

    fn read_userinfo(&mut self, userinfo: &str) -> Result<(), InvalidUri> {
        let (user, password) = match userinfo.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (userinfo, None),
        };
        let (user, params) = match user.split_once(';') {
            Some((user, params)) => (user, Some(params)),
            None => (user, None),
        };
        if user.is_empty() {
            return Err(InvalidUri("user part is empty"));
        }
        self.user = Some(user.to_owned());
        self.user_params = params.map(str::to_owned);
        self.password = password.map(str::to_owned);
        Ok(())
    }
}

impl FromStr for Uri {
    type Err = InvalidUri;

    fn from_str(text: &str) -> Result<Self, InvalidUri> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"')) {
            return Err(InvalidUri("character that no URI may hold"));
        }
        let (scheme, rest) = text.split_once(':').ok_or(InvalidUri("no scheme"))?;
        let is_scheme = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        if !is_scheme {
            return Err(InvalidUri("no scheme"));
        }
        match scheme.to_ascii_lowercase().as_str() {
            "sip" => Self::read_sip(Scheme::Sip, rest),
            "sips" => Self::read_sip(Scheme::Sips, rest),
            "tel" => {
                let (number, params) = rest.split_once(';').unwrap_or((rest, ""));
                if number.is_empty() {
                    return Err(InvalidUri("tel URI without a number"));
                }
                let params = Params::read_uri(params).map_err(InvalidUri)?;
                let whole = Self::sip(Some(number), Host::Name(String::new()), None);
                Ok(Self { scheme: Scheme::Tel, params, ..whole })
            }
            other => {
                let whole = Self::sip(Some(rest), Host::Name(String::new()), None);
                Ok(Self { scheme: Scheme::Other(other.into()), ..whole })
            }
        }
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme)?;
        if let Some(user) = &self.user {
            f.write_str(user)?;
        }
        if let Some(params) = &self.user_params {
            write!(f, ";{params}")?;
        }
        if let Some(password) = &self.password {
            write!(f, ":{password}")?;
        }
        if matches!(self.scheme, Scheme::Sip | Scheme::Sips) {
            if self.user.is_some() {
                f.write_str("@")?;
            }
            write!(f, "{}", self.host)?;
            if let Some(port) = self.port {
                write!(f, ":{port}")?;
            }
        }
        write!(f, "{}", self.params)?;
        for (index, (name, value)) in self.headers.iter().enumerate() {
            write!(f, "{}{name}={value}", if index == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sip => "sip",
            Self::Sips => "sips",
            Self::Tel => "tel",
            Self::Other(name) => name,
        })
    }
}

impl Host {
    /// Compares names in any case, without their final dot.
    pub fn is_equivalent(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(one), Self::Name(two)) => {
                let bare = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
                bare(one) == bare(two)
            }
            (Self::Name(_) | Self::V4(_) | Self::V6(_), _) => self == other,
        }
    }

    /// Returns the address, if it is one.
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::V4(address) => Some(IpAddr::V4(*address)),
            Self::V6(address) => Some(IpAddr::V6(*address)),
        }
    }
}

impl FromStr for Host {
    type Err = InvalidUri;

    fn from_str(text: &str) -> Result<Self, InvalidUri> {
        if let Some(inner) = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
            return inner.parse().map(Self::V6).map_err(|_| InvalidUri("no IPv6 address in brackets"));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::V4(address));
        }
        // Underscores are no part of a host name, yet internal ones have them.
        let is_name = !text.is_empty()
            && text.len() <= LONGEST_NAME
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        if is_name { Ok(Self::Name(text.to_owned())) } else { Err(InvalidUri("no host")) }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(address),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(address) => write!(f, "{address}"),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// Reads `host` or `host:port`; the port is 1 to 65535.
pub(crate) fn read_hostport(text: &str) -> Result<(Host, Option<u16>), &'static str> {
    let host_end = match text.strip_prefix('[') {
        Some(_) => scan::find(b']', text.as_bytes()).map_or(text.len(), |at| at + 1),
        None => scan::find(b':', text.as_bytes()).unwrap_or(text.len()),
    };
    let (host, port) = text.split_at_checked(host_end).ok_or("no host")?;
    let host = host.trim_end().parse().map_err(|InvalidUri(what)| what)?;
    let port = match port.trim_start().strip_prefix(':') {
        Some(digits) => Some(read_port(digits.trim()).ok_or("port is not 1 to 65535")?),
        None if port.trim().is_empty() => None,
        None => return Err("text behind the host"),
    };
    Ok((host, port))
}

fn read_port(text: &str) -> Option<u16> {
    scan::digits(text.as_bytes()).and_then(|port| u16::try_from(port).ok()).filter(|&port| port != 0)
}

fn read_headers(text: &str) -> Result<Vec<(String, String)>, InvalidUri> {
    let mut headers = Vec::new();
    for part in text.split('&') {
        let (name, value) = part.split_once('=').ok_or(InvalidUri("URI header without a value"))?;
        if name.is_empty() {
            return Err(InvalidUri("URI header without a name"));
        }
        headers.push((name.to_owned(), value.to_owned()));
    }
    Ok(headers)
}

/// Resolves `%` escapes once. Where that gives no text, or NUL, CR or LF, the escapes stay as they are.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match escape.filter(|byte| !matches!(byte, 0 | b'\r' | b'\n')) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Parameters that make two URIs differ where only one has them (RFC 3261 section 19.1.4).
const DECISIVE_PARAMS: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];

/// The longest domain name (RFC 1035 section 2.3.4), with room for a final dot.
const LONGEST_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn uris_print_as_they_were_read() {
        for text in [
            "sip:alice@example.com",
            "sip:example.com",
            "sips:alice:pw@example.com:5061;transport=tcp;lr",
            "sip:+15551234;isub=1:pw@[2001:db8::1]:5060;maddr=192.0.2.1?subject=x&priority=urgent",
            "sip:user;par=u%40example.net@example.com",
            "tel:+1-201-555-0123;phone-context=example.com",
            "urn:service:sos",
            "sip:*21#@pbx_1.example.com;transport=tls;X-FB-Sip-Smc-Tier=collaboration.sip_gateway.sip.prod",
        ] {
            assert_eq!(uri(text).to_string(), text);
        }
    }

    #[test]
    fn parts_of_a_uri_are_told_apart() {
        let uri = uri("sips:al%69ce;x=1:pw@[::1]:99;lr;transport=tls?a=b");
        assert_eq!(uri.scheme, Scheme::Sips);
        assert_eq!((uri.user.as_deref(), uri.user_text().as_deref()), (Some("al%69ce"), Some("alice")));
        assert_eq!((uri.user_params.as_deref(), uri.password.as_deref()), (Some("x=1"), Some("pw")));
        assert_eq!((uri.host.clone(), uri.port), (Host::V6(Ipv6Addr::LOCALHOST), Some(99)));
        assert_eq!(
            (uri.param("LR"), uri.param("transport"), uri.param("z")),
            (Some(None), Some(Some("tls")), None)
        );
        assert_eq!(uri.headers, [("a".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        for bad in [
            "",
            ":",
            "sip",
            "sip:",
            "sip:@example.com",
            "sip:a@",
            "sip:a@b@c",
            "sip:a@b:0",
            "sip:a@b:65536",
            "sip:a@b:x",
            "sip:a@b:",
            "sip:a@[::1",
            "sip:a@[1.2.3.4]",
            "sip:a@[::1]x",
            "sip:a b@c",
            "sip:a@<b>",
            "sip:a@b?x",
            "sip:a@b?=1",
            "sip:a@b;=1",
            "tel:",
            "1ip:a@b",
            "sip:é@b",
            "sip:a@b c",
            "sip:a@b;lr;LR",
        ] {
            assert!(bad.parse::<Uri>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_short_start_of_a_uri_is_read_or_refused_without_harm() {
        let text = "sips:u;p=1:pw@[2001:db8::1]:5061;transport=tcp;lr?subject=x&y=z";
        for end in 0..=text.len() {
            let _ = text[..end].parse::<Uri>();
            let _ = text[..end].parse::<Host>();
        }
    }

    #[test]
    fn escapes_are_resolved_once_and_never_to_line_ends() {
        assert_eq!(unescape("%2541%61%0d%0A%00%zz%"), "%41a%0d%0A%00%zz%");
        assert_eq!(unescape("%ff"), "%ff");
    }

    #[test]
    fn equivalence_follows_the_examples_of_rfc_3261_section_19_1_4() {
        for (one, two) in [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
        ] {
            assert!(uri(one).is_equivalent(&uri(two)) && uri(two).is_equivalent(&uri(one)), "{one} {two}");
        }
        for (one, two) in [
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            ("sip:a@b;newparam=5", "sip:a@b;newparam=6"),
        ] {
            assert!(!uri(one).is_equivalent(&uri(two)) && !uri(two).is_equivalent(&uri(one)), "{one} {two}");
        }
    }
}

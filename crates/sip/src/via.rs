use std::fmt;
use std::str::FromStr;

use crate::params::Params;
use crate::scan;
use crate::uri::{Host, read_hostport};

/// One Via value: the way a response goes back (RFC 3261 section 20.42).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// The transport as written: `UDP`, `TLS`, or any other token.
    pub transport: String,
    /// Where the sender says it takes responses.
    pub host: Host,
    /// Its port, if written.
    pub port: Option<u16>,
    /// Parameters, in order.
    pub params: Params,
}

impl Via {
    /// Returns the branch, the name of a transaction.
    pub fn branch(&self) -> Option<&str> {
        self.params.value("branch")
    }

    /// Returns `rport` (RFC 3581): `None` if it is absent, `Some(None)` where the sender asks for it.
    pub fn rport(&self) -> Option<Option<u16>> {
        self.params.get("rport").map(|value| value.and_then(|port| port.parse().ok()))
    }

    /// Returns the address a request came from, as its receiver wrote it. Brackets around IPv6 are taken, as some
    /// write them.
    pub fn received(&self) -> Option<Host> {
        let text = self.params.value("received")?;
        text.parse::<std::net::IpAddr>().map_or_else(|_| text.parse().ok(), |address| Some(address.into()))
    }

    /// Returns the address responses should go to instead, if the sender named one.
    pub fn maddr(&self) -> Option<&str> {
        self.params.value("maddr")
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let bytes = text.as_bytes();
        let slash = scan::find(b'/', bytes).ok_or("no protocol")?;
        let (protocol, rest) = text.split_at_checked(slash).ok_or("no protocol")?;
        let rest = rest.get(1..).unwrap_or_default();
        let (version, rest) = rest.split_once('/').ok_or("no protocol version")?;
        if !protocol.trim().eq_ignore_ascii_case("SIP") || version.trim() != "2.0" {
            return Err("protocol is not SIP/2.0");
        }
        let rest = rest.trim_start();
        let end = rest.find([' ', '\t']).ok_or("no sent-by")?;
        let (transport, rest) = rest.split_at_checked(end).ok_or("no sent-by")?;
        if !scan::is_token(transport.as_bytes()) {
            return Err("transport is no token");
        }
        let (sent_by, params) =
            rest.split_at_checked(rest.find(';').unwrap_or(rest.len())).ok_or("no sent-by")?;
        let (host, port) = read_hostport(sent_by.trim())?;
        Ok(Self { transport: transport.to_owned(), host, port, params: Params::read_header(params)? })
    }
}

impl FromStr for Via {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        Self::read(text.trim())
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} {}", self.transport, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}", self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metas_via_is_read_whole() {
        let text = "SIP/2.0/TLS [2803:6080:f948:8e::1]:57363;rport;branch=z9hG4bKPj-x;alias";
        let via: Via = text.parse().unwrap();
        assert_eq!(
            (via.transport.as_str(), via.port, via.branch()),
            ("TLS", Some(57363), Some("z9hG4bKPj-x"))
        );
        assert_eq!((via.rport(), via.params.get("alias")), (Some(None), Some(None)));
        assert_eq!(via.to_string(), text);
    }

    #[test]
    fn blanks_around_everything_are_taken() {
        let via: Via = " SIP  / 2.0\t/ UDP   host.example.com : 99 ; branch = b ;ttl=3".parse().unwrap();
        assert_eq!(via.to_string(), "SIP/2.0/UDP host.example.com:99;branch=b;ttl=3");
    }

    #[test]
    fn received_is_an_address_with_or_without_brackets() {
        for text in ["2001:db8::9", "[2001:db8::9]"] {
            let via: Via = format!("SIP/2.0/UDP h;received={text};rport=1;maddr=m").parse().unwrap();
            assert_eq!(via.received(), Some(Host::V6("2001:db8::9".parse().unwrap())));
            assert_eq!((via.rport(), via.maddr()), (Some(Some(1)), Some("m")));
        }
    }

    #[test]
    fn every_short_start_of_a_via_is_read_or_refused_without_harm() {
        let text = "SIP/2.0/TLS [2803::1]:57363;rport;branch=z9hG4bKPj-x;alias";
        for end in 0..text.len() {
            let _ = text[..end].parse::<Via>();
        }
        for bad in ["", "/", "SIP/2.0", "SIP/2.0/UDP", "SIP/7.0/UDP a", "HTTP/2.0/UDP a", "SIP/2.0/U@P a"] {
            assert!(bad.parse::<Via>().is_err(), "{bad}");
        }
        for bad in
            ["SIP/2.0/UDP a b", "SIP/2.0/UDP a:0", "SIP/2.0/UDP ;branch=x", "SIP/2.0/UDP a;branch=1;branch=2"]
        {
            assert!(bad.parse::<Via>().is_err(), "{bad}");
        }
    }
}

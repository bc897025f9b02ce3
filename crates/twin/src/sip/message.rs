//! A received message as text: framed and parsed by `sipx-sip`, read by name.

use bytes::Bytes;
use sipx_sip::{HeaderName, Limits, StreamParser};

/// A received request or response.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    inner: sipx_sip::Message,
}

impl Message {
    pub(crate) fn parse(datagram: &[u8]) -> Option<Self> {
        let inner = sipx_sip::parse_datagram(Bytes::copy_from_slice(datagram), &Limits::datagram()).ok()?;
        Some(Self { inner })
    }

    /// The method of a request.
    pub(crate) fn method(&self) -> Option<String> {
        let request = self.inner.as_request()?;
        Some(String::from_utf8_lossy(request.method.as_bytes()).into_owned())
    }

    pub(crate) fn is_request(&self) -> bool {
        self.inner.as_request().is_some()
    }

    /// The Request-URI as sent.
    pub(crate) fn uri(&self) -> Option<String> {
        let request = self.inner.as_request()?;
        Some(String::from_utf8_lossy(&request.uri.to_bytes()).into_owned())
    }

    pub(crate) fn status(&self) -> Option<u16> {
        self.inner.as_response().map(|r| r.status.code())
    }

    pub(crate) fn reason(&self) -> String {
        self.inner.as_response().map(|r| String::from_utf8_lossy(&r.reason).into_owned()).unwrap_or_default()
    }

    /// The first field of that name.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let name = HeaderName::parse(&Bytes::copy_from_slice(name.as_bytes()));
        self.inner.headers().value(&name).map(|v| String::from_utf8_lossy(&v).into_owned())
    }

    /// Every field of that name, one entry per line.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let name = HeaderName::parse(&Bytes::copy_from_slice(name.as_bytes()));
        self.inner
            .headers()
            .get_all(&name)
            .map(|h| String::from_utf8_lossy(&h.value()).into_owned())
            .collect()
    }

    /// Every value of that name; lists are split at commas outside quotes and angle brackets.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.lines(name).iter().flat_map(|line| split_list(line)).collect()
    }

    pub(crate) fn body(&self) -> String {
        String::from_utf8_lossy(self.inner.body()).into_owned()
    }

    pub(crate) fn call_id(&self) -> String {
        self.header("Call-ID").unwrap_or_default()
    }

    /// Number and method of CSeq.
    pub(crate) fn cseq(&self) -> (u32, String) {
        let text = self.header("CSeq").unwrap_or_default();
        let (number, method) = text.split_once(' ').unwrap_or(("0", ""));
        (number.trim().parse().unwrap_or(0), method.trim().to_owned())
    }

    pub(crate) fn from(&self) -> String {
        self.header("From").unwrap_or_default()
    }

    pub(crate) fn to(&self) -> String {
        self.header("To").unwrap_or_default()
    }

    /// The branch of the top Via.
    pub(crate) fn branch(&self) -> String {
        self.list("Via").first().and_then(|via| param(via, "branch")).unwrap_or_default()
    }

    /// Every field whose lower-cased name begins so, with the name as written.
    pub(crate) fn headers_starting_with(&self, prefix: &str) -> Vec<(String, String)> {
        let fields = self.inner.headers().iter().map(|header| {
            let name = String::from_utf8_lossy(header.name().canonical()).into_owned();
            (name, String::from_utf8_lossy(&header.value()).into_owned())
        });
        fields.filter(|(name, _)| name.to_ascii_lowercase().starts_with(prefix)).collect()
    }

    /// The URI of the first Contact.
    pub(crate) fn contact(&self) -> Option<String> {
        self.list("Contact").first().map(|c| address_uri(c))
    }
}

/// Frames one stream; dead after a framing error.
pub(crate) struct Stream {
    parser: StreamParser,
}

impl Stream {
    pub(crate) fn new() -> Self {
        Self { parser: StreamParser::new(Limits::stream()) }
    }

    /// Takes bytes; `None` if the stream is broken for good.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Option<Vec<Message>> {
        let messages = self.parser.push(bytes).ok()?;
        Some(messages.into_iter().map(|inner| Message { inner }).collect())
    }
}

fn split_list(line: &str) -> Vec<String> {
    let (mut quoted, mut angle) = (false, false);
    let parts = line.split(|c| {
        match c {
            '"' => quoted = !quoted,
            '<' => angle = true,
            '>' => angle = false,
            _ => {}
        }
        c == ',' && !quoted && !angle
    });
    parts.map(|p| p.trim().to_owned()).filter(|p| !p.is_empty()).collect()
}

/// The URI of a `From`, `To`, `Contact` or route value.
pub(crate) fn address_uri(value: &str) -> String {
    match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or_default().to_owned(),
        None => value.split(';').next().unwrap_or_default().trim().to_owned(),
    }
}

/// A parameter that stands behind the address (or the Via's host), not inside `<>`.
pub(crate) fn param(value: &str, name: &str) -> Option<String> {
    let outside = value.rsplit_once('>').map_or(value, |(_, rest)| rest);
    outside.split(';').skip(1).find_map(|p| {
        let (key, value) = p.split_once('=').unwrap_or((p, ""));
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// The pieces of a SIP URI.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Uri {
    pub(crate) scheme: String,
    /// Without parameters of the user part.
    pub(crate) user: String,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

impl Uri {
    pub(crate) fn read(text: &str) -> Self {
        let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
        let (user, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        let hostport = rest.split(';').next().unwrap_or_default().split('?').next().unwrap_or_default();
        let (host, port) = match hostport.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
            Some((v6, port)) => (v6, port.strip_prefix(':')),
            None => hostport.split_once(':').map_or((hostport, None), |(host, port)| (host, Some(port))),
        };
        Self {
            scheme: scheme.to_ascii_lowercase(),
            user: user.split(';').next().unwrap_or_default().to_owned(),
            host: host.to_ascii_lowercase(),
            port: port.and_then(|p| p.parse().ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let value = "\"A, <b>\" <sip:+1555@wa.meta.vc;transport=tls;ob>;tag=x1;isfocus";
        assert_eq!(param("<sip:a@b;tag=no>;tag=yes", "tag").as_deref(), Some("yes"));
        assert_eq!(param(value, "isfocus").as_deref(), Some(""));
        let uri = Uri::read("sip:+1555;tgrp=x@[2001:db8::1]:5061;transport=tls");
        assert_eq!((uri.user.as_str(), uri.host.as_str(), uri.port), ("+1555", "2001:db8::1", Some(5_061)));
        assert_eq!(Uri::read("sip:wa.meta.vc").host, "wa.meta.vc");
    }

    #[test]
    fn lists_are_split_outside_quotes_and_brackets() {
        assert_eq!(split_list("<sip:a;x=1,2>, \"q,q\" <sip:b>"), ["<sip:a;x=1,2>", "\"q,q\" <sip:b>"]);
    }
}

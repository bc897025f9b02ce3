//! Printing by hand: a message is its lines.

use std::fmt::Write as _;

use bytes::Bytes;

use super::message::Message;

/// A message being written, line by line.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    text: String,
    /// Meta's stack pads Content-Length to five columns.
    padded: bool,
    twice: bool,
}

impl Draft {
    pub(crate) fn new(start_line: impl AsRef<str>) -> Self {
        Self { text: format!("{}\r\n", start_line.as_ref()), padded: false, twice: false }
    }

    /// The response to `request`: its Vias, From, To, Call-ID and CSeq (RFC 3261 section 8.2.6.2).
    pub(crate) fn reply(request: &Message, status: u16, reason: &str, to_tag: &str) -> Self {
        let mut draft = Self::new(format!("SIP/2.0 {status} {reason}"));
        for via in request.lines("Via") {
            draft = draft.line(format!("Via: {via}"));
        }
        let to = request.to();
        let tagged = to_tag.is_empty() || super::message::param(&to, "tag").is_some();
        let to = if tagged { to } else { format!("{to};tag={to_tag}") };
        draft
            .line(format!("From: {}", request.from()))
            .line(format!("To: {to}"))
            .line(format!("Call-ID: {}", request.call_id()))
            .line(format!("CSeq: {}", request.header("CSeq").unwrap_or_default()))
    }

    pub(crate) fn padded(mut self, padded: bool) -> Self {
        self.padded = padded;
        self
    }

    /// Writes Content-Length twice, as some printed samples do.
    pub(crate) fn length_twice(mut self, twice: bool) -> Self {
        self.twice = twice;
        self
    }

    pub(crate) fn line(mut self, line: impl AsRef<str>) -> Self {
        self.text.push_str(line.as_ref());
        self.text.push_str("\r\n");
        self
    }

    pub(crate) fn lines<S: AsRef<str>>(self, lines: impl IntoIterator<Item = S>) -> Self {
        lines.into_iter().fold(self, Draft::line)
    }

    pub(crate) fn maybe(self, condition: bool, line: impl AsRef<str>) -> Self {
        if condition { self.line(line) } else { self }
    }

    pub(crate) fn sdp(self, sdp: &str) -> Bytes {
        self.line("Content-Type: application/sdp").end(sdp)
    }

    pub(crate) fn empty(self) -> Bytes {
        self.end("")
    }

    pub(crate) fn end(mut self, body: &str) -> Bytes {
        for _ in 0..if self.twice { 2 } else { 1 } {
            // Writing to a string cannot fail.
            let _ = if self.padded {
                write!(self.text, "Content-Length: {:>5}\r\n", body.len())
            } else {
                write!(self.text, "Content-Length: {}\r\n", body.len())
            };
        }
        self.text.push_str("\r\n");
        self.text.push_str(body);
        self.text.into()
    }
}

/// Writes a host for a URI or Via: IPv6 in brackets.
pub(crate) fn host(ip: std::net::IpAddr) -> String {
    match ip {
        std::net::IpAddr::V4(v4) => v4.to_string(),
        std::net::IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// The usual phrase of a status.
pub(crate) const fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        600 => "Busy Everywhere",
        603 => "Decline",
        _ => "Refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_length_is_padded_to_five_columns_and_counts_the_body() {
        let bytes = Draft::new("OPTIONS sip:a SIP/2.0").padded(true).length_twice(true).end("hello");
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(text.ends_with("Content-Length:     5\r\nContent-Length:     5\r\n\r\nhello"), "{text}");
    }
}

//! What a body is: the session description alone, or one part of several (RFC 3261 section 8.2.3, RFC 5621).

use bytes::Bytes;

use super::Message;
use crate::params::Params;
use crate::scan;

/// A body that cannot be understood and must not be ignored: the request that holds it gets 415.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is no session description")]
pub struct UnknownBody;

impl Message {
    /// Returns the session description of the body; none if there is no body, or one that its sender calls optional.
    ///
    /// Session border controllers put further parts beside it (`multipart/mixed`); those are left alone. A body without
    /// a type is taken for a description, as everything else of SIP's calls would be named.
    ///
    /// # Errors
    ///
    /// The body is something else, or encoded.
    pub fn session_description(&self) -> Result<Option<Bytes>, UnknownBody> {
        let body = self.body();
        if body.is_empty() {
            return Ok(None);
        }
        let encoded = self.list("Content-Encoding").iter().any(|name| !name.eq_ignore_ascii_case("identity"));
        let kind = self.header("Content-Type");
        let found = match kind.as_deref().map(media_type) {
            _ if encoded => None,
            None => Some(body),
            Some((name, _)) if name.eq_ignore_ascii_case(SDP) => Some(body),
            Some((name, params)) if is_multipart(name) => description_among(&body, params),
            Some(_) => None,
        };
        match found {
            Some(description) => Ok(Some(description).filter(|text| !text.is_empty())),
            None if self.header("Content-Disposition").is_some_and(|value| is_optional(&value)) => Ok(None),
            None => Err(UnknownBody),
        }
    }
}

/// Splits a Content-Type into the type and its parameters, `;` included.
fn media_type(value: &str) -> (&str, &str) {
    let at = scan::find(b';', value.as_bytes()).unwrap_or(value.len());
    let (name, params) = value.split_at_checked(at).unwrap_or((value, ""));
    (name.trim(), params)
}

fn is_multipart(name: &str) -> bool {
    name.get(..MULTIPART.len()).is_some_and(|start| start.eq_ignore_ascii_case(MULTIPART))
}

/// Whether Content-Disposition lets us ignore a body we do not understand (RFC 3261 section 20.11).
fn is_optional(value: &str) -> bool {
    let params = Params::read_header(media_type(value).1);
    params.is_ok_and(|params| params.value("handling").is_some_and(|v| v.eq_ignore_ascii_case("optional")))
}

/// The first part that is a session description (RFC 2046 section 5.1.1).
fn description_among(body: &Bytes, params: &str) -> Option<Bytes> {
    let params = Params::read_header(params).ok()?;
    let boundary = params.value("boundary")?.trim_matches('"');
    if boundary.is_empty() || boundary.len() > LONGEST_BOUNDARY {
        return None;
    }
    let delimiter = format!("--{boundary}");
    let mut rest = after_delimiter(body, &delimiter)?.1;
    for _ in 0..MOST_PARTS {
        let (part, next) = after_delimiter(rest, &delimiter)?;
        if let Some(content) = described(part) {
            return Some(body.slice_ref(content));
        }
        rest = next;
    }
    None
}

/// What stands before the next delimiter line, without the line break that belongs to it, and what follows that line.
fn after_delimiter<'a>(text: &'a [u8], delimiter: &str) -> Option<(&'a [u8], &'a [u8])> {
    let mut line = 0;
    loop {
        let rest = text.get(line..)?;
        let end = scan::find(b'\n', rest);
        if rest.starts_with(delimiter.as_bytes()) {
            let before = text.get(..line)?;
            let before = before.strip_suffix(b"\n").unwrap_or(before);
            let next = end.and_then(|end| rest.get(end + 1..)).unwrap_or_default();
            return Some((before.strip_suffix(b"\r").unwrap_or(before), next));
        }
        line += end? + 1;
    }
}

/// The content of one part, if its headers say that it is a session description.
fn described(part: &[u8]) -> Option<&[u8]> {
    let mut rest = part;
    let mut is_sdp = false;
    loop {
        let end = scan::find(b'\n', rest)?;
        let line = scan::trim(rest.get(..end)?);
        rest = rest.get(end + 1..)?;
        if line.is_empty() {
            return is_sdp.then_some(rest);
        }
        let (name, value) = str::from_utf8(line).ok()?.split_once(':')?;
        if name.trim().eq_ignore_ascii_case("Content-Type") {
            is_sdp = media_type(value).0.eq_ignore_ascii_case(SDP);
        }
    }
}

const SDP: &str = "application/sdp";
const MULTIPART: &str = "multipart/";

/// RFC 2046 section 5.1.1.
const LONGEST_BOUNDARY: usize = 70;

/// The most parts that are looked at: real bodies have two or three.
const MOST_PARTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIPTION: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nt=0 0\r\n";

    fn message(headers: &str, body: &str) -> Message {
        let text = format!(
            "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\n\
             Call-ID: c\r\nCSeq: 1 INVITE\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Message::parse(Bytes::from(text)).unwrap()
    }

    fn read(headers: &str, body: &str) -> Result<Option<Bytes>, UnknownBody> {
        message(headers, body).session_description()
    }

    #[test]
    fn a_description_is_known_by_its_type_in_any_case_with_parameters_or_by_none() {
        let description = Ok(Some(Bytes::from_static(DESCRIPTION.as_bytes())));
        for headers in [
            "Content-Type: application/sdp\r\n",
            "c: Application/SDP ; charset=utf-8\r\nContent-Encoding: identity\r\n",
            "",
        ] {
            assert_eq!(read(headers, DESCRIPTION), description, "{headers}");
        }
        assert_eq!(read("Content-Type: text/plain\r\n", ""), Ok(None));
    }

    #[test]
    fn what_is_no_description_is_refused_unless_its_sender_calls_it_optional() {
        for headers in [
            "Content-Type: text/plain\r\n",
            "Content-Type: application/sdp\r\nContent-Encoding: gzip\r\n",
            "Content-Type: multipart/mixed\r\n",
            "Content-Type: multipart/mixed;boundary=\"\"\r\n",
            "Content-Disposition: render;handling=required\r\nContent-Type: image/png\r\n",
        ] {
            assert_eq!(read(headers, DESCRIPTION), Err(UnknownBody), "{headers}");
        }
        let optional = "Content-Type: text/plain\r\nContent-Disposition: render; handling=Optional\r\n";
        assert_eq!(read(optional, "hello"), Ok(None));
    }

    #[test]
    fn a_description_among_other_parts_is_found() {
        let kind = "Content-Type: multipart/mixed; boundary=\"b 1\"\r\n";
        for body in [
            format!(
                "--b 1\r\nContent-Type: application/sdp\r\n\r\n{DESCRIPTION}\r\n--b 1\r\nContent-Type: application/isup\
                 \r\n\r\n\u{1}\u{2}\r\n--b 1--\r\n"
            ),
            format!(
                "a preamble\r\n--b 1\r\nContent-Type: application/pidf+xml\r\nContent-ID: <x>\r\n\r\n<a/>\r\n--b 1\r\n\
                 Content-Disposition: session\r\ncontent-type:application/sdp\r\n\r\n{DESCRIPTION}\r\n--b 1--"
            ),
            format!("--b 1\nContent-Type: application/sdp\n\n{DESCRIPTION}\n--b 1--\n"),
        ] {
            assert_eq!(read(kind, &body).unwrap().unwrap(), DESCRIPTION, "{body}");
        }
        let none = "--b 1\r\nContent-Type: text/plain\r\n\r\nv=0\r\n--b 1--\r\n";
        assert_eq!(read(kind, none), Err(UnknownBody));
    }

    #[test]
    fn no_cut_of_a_multipart_body_gives_a_part_that_has_no_end() {
        let kind = "Content-Type: multipart/mixed;boundary=b\r\n";
        let body = format!("--b\r\nContent-Type: application/sdp\r\n\r\n{DESCRIPTION}\r\n--b--");
        for end in 0..body.len() {
            let whole = read(kind, &body[..end]).ok().flatten();
            assert!(whole.is_none_or(|text| text == DESCRIPTION), "{end}");
        }
    }
}

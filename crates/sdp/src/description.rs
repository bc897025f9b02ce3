use std::fmt;
use std::net::IpAddr;

use setu_model::limits::{SDP_BYTES, SDP_LINES};

use crate::{Direction, Media, SdpError};

/// A session description as it was read: every line kept, in order, known or not.
///
/// Tolerated: bare LF or CR, blank lines, blanks around a line, unknown line types, missing `o=`, `s=`, `t=`,
/// bytes that are not UTF-8 (replaced). Reading takes time linear in the length.
#[derive(Clone, PartialEq, Eq)]
pub struct Description {
    session: Vec<Line>,
    media: Vec<Media>,
}

impl Description {
    /// Reads `text`, at most [`SDP_BYTES`] bytes and [`SDP_LINES`] lines.
    pub fn parse(text: &[u8]) -> Result<Self, SdpError> {
        if text.len() > SDP_BYTES {
            return Err(SdpError::TooLong);
        }
        let text = String::from_utf8_lossy(text);
        let mut session = Vec::new();
        let mut media: Vec<Media> = Vec::new();
        let lines = text.split(['\r', '\n']).map(trim).filter(|line| !line.is_empty());
        for (index, raw) in lines.enumerate() {
            let number = index + 1;
            if number > SDP_LINES {
                return Err(SdpError::TooManyLines);
            }
            let line = Line::parse(raw).ok_or(SdpError::Line(number))?;
            if number == 1 && (line.kind, line.value.as_str()) != ('v', "0") {
                return Err(SdpError::NoVersion);
            }
            if line.kind == 'm' {
                media.push(Media::parse(&line.value).ok_or(SdpError::MediaLine(number))?);
            } else if let Some(stream) = media.last_mut() {
                stream.push(line);
            } else {
                session.push(line);
            }
        }
        if session.is_empty() { Err(SdpError::NoVersion) } else { Ok(Self { session, media }) }
    }

    /// Returns the lines before the first stream, `v=` included.
    pub fn session(&self) -> &[Line] {
        &self.session
    }

    /// Returns the streams, in order.
    pub fn media(&self) -> &[Media] {
        &self.media
    }

    /// Returns the `o=` line, if there is one of six fields.
    pub fn origin(&self) -> Option<Origin<'_>> {
        let mut fields = value_of(&self.session, 'o')?.split_ascii_whitespace();
        let origin = Origin { username: fields.next()?, session_id: fields.next()?, version: fields.next()? };
        fields.nth(2).map(|_address| origin)
    }

    /// Returns the value of the session's attribute `name`: `Some("")` for a bare flag.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        attributes(&self.session, name).next()
    }

    /// Returns the address of the session's `c=` line, unless it is missing or no IP address.
    pub fn connection(&self) -> Option<IpAddr> {
        value_of(&self.session, 'c').and_then(connection_address)
    }

    /// Returns the direction stated for the whole session, if any (RFC 8866 section 6.7).
    pub fn direction(&self) -> Option<Direction> {
        direction_of(&self.session)
    }

    /// Returns the text with every key and password replaced, for a log or a trace.
    pub fn redacted(&self) -> String {
        self.lines()
            .map(|(kind, value)| match secret_from(&value) {
                Some(at) if kind == 'a' => {
                    format!("a={}[secret]\r\n", value.get(..at).unwrap_or_default())
                }
                Some(_) | None => format!("{kind}={value}\r\n"),
            })
            .collect()
    }

    fn lines(&self) -> impl Iterator<Item = (char, String)> + '_ {
        let of_line = |line: &Line| (line.kind, line.value.clone());
        self.session.iter().map(of_line).chain(self.media.iter().flat_map(move |stream| {
            std::iter::once(('m', stream.media_line())).chain(stream.lines().iter().map(of_line))
        }))
    }
}

/// The wire form, CRLF after each line.
impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().try_for_each(|(kind, value)| write!(f, "{kind}={value}\r\n"))
    }
}

/// The wire form without keys.
impl fmt::Debug for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

/// One line, `kind=value`.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    /// The letter before `=`.
    pub kind: char,
    /// Everything after it, without blanks at either end.
    pub value: String,
}

impl Line {
    fn parse(raw: &str) -> Option<Self> {
        let (kind, value) = raw.split_once('=')?;
        let mut letters = kind.chars();
        let kind = letters.next().filter(char::is_ascii_alphabetic)?;
        let sound = letters.next().is_none() && !value.contains('\0');
        sound.then(|| Self { kind, value: trim(value).to_owned() })
    }
}

/// The kind only: a value may be a key.
impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=…", self.kind)
    }
}

/// What an `o=` line says (RFC 8866 section 5.2). The fields are kept as text: ids are only ever compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The user's name, mostly `-`.
    pub username: &'a str,
    /// Names the session, with the username and the address.
    pub session_id: &'a str,
    /// Grows with each change of the description.
    pub version: &'a str,
}

/// Where the secret begins in the value of an attribute that holds one: after the tag and the suite of `crypto`.
fn secret_from(value: &str) -> Option<usize> {
    let (name, rest) = value.split_once(':')?;
    let start = name.len() + 1;
    if name.eq_ignore_ascii_case("ice-pwd") {
        return Some(start);
    }
    let kept = rest.match_indices(' ').nth(1).map_or(0, |(at, _)| at + 1);
    name.eq_ignore_ascii_case("crypto").then_some(start + kept)
}

/// Some phones pad the body with blanks or NULs.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\0'])
}

pub(crate) fn value_of(lines: &[Line], kind: char) -> Option<&str> {
    lines.iter().find(|line| line.kind == kind).map(|line| line.value.as_str())
}

pub(crate) fn attributes<'a, 'n>(
    lines: &'a [Line],
    name: &'n str,
) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
    lines.iter().filter(|line| line.kind == 'a').filter_map(move |line| {
        let (found, value) = line.value.split_once(':').unwrap_or((line.value.as_str(), ""));
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

pub(crate) fn direction_of(lines: &[Line]) -> Option<Direction> {
    lines.iter().filter(|line| line.kind == 'a').find_map(|line| Direction::from_word(&line.value))
}

/// The address of `IN IP4 192.0.2.1/127`. The family's word is not trusted: some peers write IP4 before an IPv6
/// address.
pub(crate) fn connection_address(value: &str) -> Option<IpAddr> {
    let address = value.split_ascii_whitespace().nth(2)?;
    let address = address.split_once('/').map_or(address, |(head, _ttl)| head);
    address.parse().ok()
}

//! From bytes to a table of offsets. One pass, one allocation for the table, none per header.

use std::sync::Arc;

use bytes::Bytes;
use setu_model::limits;

use super::{Message, Name, ParseError};
use crate::scan;

/// Where things stand in a message's bytes.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) start: Start,
    pub(crate) fields: Vec<Field>,
    /// Values that were folded over several lines, joined (RFC 3261 section 7.3.1).
    pub(crate) unfolded: Vec<u8>,
    /// Where the body begins.
    pub(crate) body: usize,
    /// The value of Content-Length, if there is one.
    pub(crate) content_length: Option<usize>,
}

/// The start line, as offsets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start {
    Request { method: Span, uri: Span },
    Response { status: u16, reason: Span },
}

/// A header field, as offsets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: Span,
    pub(crate) value: Span,
    pub(crate) known: Name,
    /// The value lies in [`Table::unfolded`].
    pub(crate) folded: bool,
}

/// A part of the bytes. Messages are below 4 GiB by far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Span {
    from: u32,
    to: u32,
}

impl Span {
    /// `part` as a span of `whole`, of which it is a slice beginning at `from`.
    fn new(from: usize, len: usize) -> Self {
        let clamp = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { from: clamp(from), to: clamp(from.saturating_add(len)) }
    }

    /// The bytes meant.
    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.from as usize..self.to as usize).unwrap_or_default()
    }
}

impl Message {
    /// Reads one message from one datagram (RFC 3261 section 18.3): without Content-Length the body reaches to the
    /// end; bytes behind the body are dropped; a body cut short is refused. Blank lines ahead are skipped.
    ///
    /// This checks what decides where a message and its fields begin and end. [`Message::validate`] checks
    /// what the fields say.
    ///
    /// # Errors
    ///
    /// A [`ParseError`] that knows its status and can answer the message.
    pub fn parse(datagram: Bytes) -> Result<Self, ParseError> {
        let blank = datagram.iter().take_while(|&&byte| matches!(byte, b'\r' | b'\n')).count();
        let mut wire = datagram.slice(blank..);
        if wire.len() > limits::SIP_MESSAGE_BYTES {
            return Err(ParseError::new(513, "message too long", limits::SIP_MESSAGE_BYTES).with_head(wire));
        }
        let table = match Table::read(&wire) {
            Ok(table) => table,
            Err(error) => return Err(error.with_head(wire)),
        };
        let present = wire.len() - table.body.min(wire.len());
        let length = table.content_length.unwrap_or(present);
        if length > present {
            let error = ParseError::new(400, "body shorter than Content-Length", wire.len());
            return Err(error.with_head(wire));
        }
        wire.truncate(table.body + length);
        Ok(Self::assemble(wire, table))
    }

    /// Joins bytes and the table that was read from them.
    pub(crate) fn assemble(wire: Bytes, table: Table) -> Self {
        Self { wire, table: Arc::new(table) }
    }
}

impl Table {
    /// Reads the head at the start of `bytes`, up to and including the empty line.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, ParseError> {
        let line = next_line(bytes, 0)?;
        if line.len() == bytes.len() {
            return Err(ParseError::new(400, "no end of line", bytes.len()));
        }
        let start = read_start(line)?;
        let mut reader = Reader {
            bytes,
            at: line.len() + 2,
            table: Self {
                start,
                fields: Vec::with_capacity(USUAL_HEADERS),
                unfolded: Vec::new(),
                body: 0,
                content_length: None,
            },
            seen: 0,
        };
        while reader.field()? {}
        Ok(reader.table)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    table: Table,
    /// The [`Name::bit`]s of the fields met so far.
    seen: u32,
}

impl Reader<'_> {
    /// Reads one field, or the empty line: then returns false.
    fn field(&mut self) -> Result<bool, ParseError> {
        let begin = self.at;
        let line = next_line(self.bytes, begin)?;
        if begin + line.len() + 2 > self.bytes.len() {
            return Err(ParseError::new(400, "head without an empty line", self.bytes.len()));
        }
        self.at = begin + line.len() + 2;
        if line.is_empty() {
            self.table.body = self.at;
            return Ok(false);
        }
        if self.table.fields.len() == limits::SIP_HEADERS {
            return Err(ParseError::new(513, "too many header fields", begin));
        }
        let (name, value) = split_field(line).map_err(|what| ParseError::new(400, what, begin))?;
        let known = Name::of(name);
        let mut field =
            Field { name: Span::new(begin, name.len()), value: Span::default(), known, folded: false };
        if self.bytes.get(self.at).copied().is_some_and(scan::is_blank) {
            field.value = self.unfold(value)?;
            field.folded = true;
        } else {
            let before = line.len() - value.len();
            let lead = value.len() - value.trim_ascii_start().len();
            field.value = Span::new(begin + before + lead, scan::trim(value).len());
        }
        self.check(&field, begin)?;
        self.table.fields.push(field);
        Ok(true)
    }

    /// Joins continuation lines to `first`, one space at each seam.
    fn unfold(&mut self, first: &[u8]) -> Result<Span, ParseError> {
        let from = self.table.unfolded.len();
        self.table.unfolded.extend_from_slice(scan::trim(first));
        while self.bytes.get(self.at).copied().is_some_and(scan::is_blank) {
            let line = next_line(self.bytes, self.at)?;
            let part = scan::trim(line);
            if part.is_empty() {
                // Legal LWS, but half the parsers of the world take it for the end of the head.
                return Err(ParseError::new(400, "continuation line of blanks alone", self.at));
            }
            if self.table.unfolded.len() > from {
                self.table.unfolded.push(b' ');
            }
            self.table.unfolded.extend_from_slice(part);
            self.at += line.len() + 2;
        }
        Ok(Span::new(from, self.table.unfolded.len() - from))
    }

    /// Refuses what another parser might read differently: duplicates and odd lengths.
    fn check(&mut self, field: &Field, at: usize) -> Result<(), ParseError> {
        let again = self.seen & field.known.bit() != 0;
        self.seen |= field.known.bit();
        if field.known == Name::ContentLength {
            let value = field.value.of(if field.folded { &self.table.unfolded } else { self.bytes });
            let length = scan::digits(value)
                .and_then(|length| usize::try_from(length).ok())
                .ok_or_else(|| ParseError::new(400, "Content-Length is no number", at))?;
            // Meta has been seen to send it twice with one value.
            if self.table.content_length.is_some_and(|first| first != length) {
                return Err(ParseError::new(400, "conflicting Content-Length", at));
            }
            self.table.content_length = Some(length);
        } else if again && field.known.is_singleton() {
            return Err(ParseError::new(400, "header field twice that may stand once", at));
        }
        Ok(())
    }
}

/// Splits a header line into its name and what stands behind the colon.
fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let (name, rest) = line.split_at_checked(scan::token_len(line)).unwrap_or_default();
    match rest {
        [b':', value @ ..] if !name.is_empty() => Ok((name, value)),
        // Blanks may stand before the colon (RFC 3261 section 7.3.1); whatever else does is an error.
        _ => {
            let colon = scan::find(b':', rest).ok_or("header line without a colon")?;
            let (gap, value) = rest.split_at_checked(colon).unwrap_or_default();
            let is_name = !name.is_empty() && trim_blank_end(gap).is_empty();
            if is_name {
                Ok((name, value.get(1..).unwrap_or_default()))
            } else {
                Err("header name is no token")
            }
        }
    }
}

/// Returns the line that begins at `from`, without its CRLF. Without one, the line reaches to the end.
///
/// Only CRLF ends a line: a CR or LF of its own, which some parsers take for a line end and some do not, is refused.
/// So is NUL, at which others stop reading, but where the grammar has it: escaped in a quoted string.
fn next_line(bytes: &[u8], from: usize) -> Result<&[u8], ParseError> {
    let rest = bytes.get(from..).unwrap_or_default();
    // Nearly every line: nothing odd before the CRLF.
    if let Some(end) = scan::find3(b'\r', b'\n', 0, rest)
        && rest.get(end..end + 2) == Some(b"\r\n")
    {
        return Ok(rest.get(..end).unwrap_or_default());
    }
    let end = scan::find(b'\n', rest).unwrap_or(rest.len());
    let line = rest.get(..end).unwrap_or_default();
    let line = match (end < rest.len(), line.strip_suffix(b"\r")) {
        (true, None) => return Err(ParseError::new(400, "LF without CR", from + end)),
        (true, Some(line)) => line,
        (false, _) => line,
    };
    let Some(odd) = scan::find2(b'\r', 0, line) else {
        return Ok(line);
    };
    if let Some(at) = scan::bare_nul(line) {
        return Err(ParseError::new(400, "NUL in the head", from + at));
    }
    match scan::find(b'\r', line.get(odd..).unwrap_or_default()) {
        // At the very end of the input its LF may simply be missing.
        Some(at) if end < rest.len() || odd + at + 1 < line.len() => {
            Err(ParseError::new(400, "CR without LF", from + odd + at))
        }
        Some(_) | None => Ok(line),
    }
}

/// Reads `METHOD SP Request-URI SP SIP/2.0` or `SIP/2.0 SP 3DIGIT SP reason` (RFC 3261 sections 7.1 and 7.2).
fn read_start(line: &[u8]) -> Result<Start, ParseError> {
    let bad = |what, at| Err(ParseError::new(400, what, at));
    let Some(space) = scan::find(b' ', line) else {
        return bad("start line without a space", 0);
    };
    let (first, rest) = line.split_at_checked(space).unwrap_or_default();
    let rest = rest.get(1..).unwrap_or_default();
    if first.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/")) {
        return read_status(first, rest, space + 1);
    }
    if !scan::is_token(first) {
        return bad("method is no token", 0);
    }
    let Some(second) = scan::find(b' ', rest) else {
        return bad("request line of two words", line.len());
    };
    let (uri, version) = rest.split_at_checked(second).unwrap_or_default();
    let version = version.get(1..).unwrap_or_default();
    let version_at = space + second + 2;
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        return if is_other_version(version) {
            Err(ParseError::new(505, "SIP version is not 2.0", version_at))
        } else {
            bad("request line does not end in SIP/2.0", version_at)
        };
    }
    if uri.is_empty() || !uri.iter().all(|&byte| scan::is_uri_byte(byte)) {
        return bad("Request-URI holds what no URI may", space + 1);
    }
    let method = Span::new(0, first.len());
    Ok(Start::Request { method, uri: Span::new(space + 1, uri.len()) })
}

fn read_status(version: &[u8], rest: &[u8], at: usize) -> Result<Start, ParseError> {
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        return Err(ParseError::new(505, "SIP version is not 2.0", 0));
    }
    let (code, reason) = match rest.split_at_checked(3) {
        Some((code, [])) => (code, &rest[..0]),
        Some((code, [b' ', reason @ ..])) => (code, reason),
        Some(_) | None => return Err(ParseError::new(400, "status is not three digits", at)),
    };
    match scan::digits(code).and_then(|code| u16::try_from(code).ok()) {
        Some(status @ 100..=699) => Ok(Start::Response { status, reason: Span::new(at + 4, reason.len()) }),
        Some(_) | None => Err(ParseError::new(400, "status outside 100 to 699", at)),
    }
}

/// Tells whether this is `SIP/` with another version, as opposed to noise.
fn is_other_version(text: &[u8]) -> bool {
    text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/"))
        && text.get(4..).is_some_and(|rest| rest.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.'))
}

fn trim_blank_end(mut text: &[u8]) -> &[u8] {
    while let [head @ .., last] = text {
        if !scan::is_blank(*last) {
            break;
        }
        text = head;
    }
    text
}

/// Name and value of a line in a head that may be broken.
pub(crate) type LooseField<'a> = (&'a [u8], Vec<u8>);

/// Splits a head that may be broken, without judging it: the start line, then name and value of each line that
/// has a colon. Reading stops at the empty line.
pub(crate) fn split_head(bytes: &[u8]) -> (&[u8], Vec<LooseField<'_>>) {
    let mut lines = bytes.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let start = lines.next().unwrap_or_default();
    let mut fields: Vec<LooseField<'_>> = Vec::new();
    for line in lines.take(limits::SIP_HEADERS) {
        if line.is_empty() {
            break;
        }
        if line.first().copied().is_some_and(scan::is_blank) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(b' ');
                value.extend_from_slice(scan::trim(line));
            }
        } else if let Some(colon) = scan::find(b':', line) {
            let (name, value) = line.split_at_checked(colon).unwrap_or_default();
            fields.push((trim_blank_end(name), scan::trim(value.get(1..).unwrap_or_default()).to_vec()));
        }
    }
    (start, fields)
}

/// Room for the headers of nearly every message, so that the table is allocated once.
const USUAL_HEADERS: usize = 24;

//! The message: immutable bytes and a table of offsets into them, shared by all clones.

mod body;
mod build;
mod edit;
mod error;
mod method;
mod name;
pub(crate) mod parse;
mod reason;
mod typed;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

pub use body::UnknownBody;
pub use build::Builder;
pub use error::{BuildError, HeaderError, ParseError};
pub use method::Method;
pub(crate) use name::Name;
pub use name::is_singleton;
pub use reason::reason_phrase;
pub use typed::CSeq;

use crate::scan;
use parse::{Field, Start, Table};

/// A SIP message that was parsed or built: every header in order, as on the wire.
///
/// Immutable and cheap to clone. Header values are typed only when asked for.
#[derive(Clone)]
pub struct Message {
    wire: Bytes,
    table: Arc<Table>,
}

impl Message {
    /// Tells a request from a response.
    pub fn is_request(&self) -> bool {
        matches!(self.table.start, Start::Request { .. })
    }

    /// Returns the method of a request, from its start line.
    pub fn method(&self) -> Option<Method> {
        match self.table.start {
            Start::Request { method, .. } => Some(Method::from(str::from_utf8(method.of(&self.wire)).ok()?)),
            Start::Response { .. } => None,
        }
    }

    /// Returns the Request-URI as sent.
    pub fn request_uri(&self) -> Option<&str> {
        match self.table.start {
            Start::Request { uri, .. } => str::from_utf8(uri.of(&self.wire)).ok(),
            Start::Response { .. } => None,
        }
    }

    /// Returns the status of a response: 100 to 699.
    pub fn status(&self) -> Option<u16> {
        match self.table.start {
            Start::Request { .. } => None,
            Start::Response { status, .. } => Some(status),
        }
    }

    /// Returns the reason phrase of a response, as sent; empty for a request.
    pub fn reason(&self) -> Cow<'_, str> {
        match self.table.start {
            Start::Request { .. } => Cow::Borrowed(""),
            Start::Response { reason, .. } => String::from_utf8_lossy(reason.of(&self.wire)),
        }
    }

    /// Returns every header field line in order.
    pub fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        self.table.fields.iter().map(|field| self.header_of(field))
    }

    /// Returns the value of the first field of this name (long or compact, any case).
    ///
    /// For a field that may stand more than once this is its first line, not its first list element:
    /// see [`list`](Self::list).
    pub fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        let known = Name::of(name.as_bytes());
        self.headers().find(|header| header.matches(known, name)).map(|header| header.text())
    }

    /// Returns the values of all fields of this name in order, one for each field line.
    pub fn header_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
        let known = Name::of(name.as_bytes());
        self.headers().filter(move |header| header.matches(known, name)).map(|header| header.text())
    }

    /// Returns the elements of a comma-separated field over all its lines, in order and trimmed. Commas in quotes
    /// and angle brackets do not separate; empty elements are left out.
    pub fn list(&self, name: &str) -> Vec<String> {
        let mut elements = Vec::new();
        for value in self.header_all(name) {
            let parts = scan::split(&value, b',').map(str::trim).filter(|part| !part.is_empty());
            elements.extend(parts.map(str::to_owned));
        }
        elements
    }

    /// Returns the body, possibly empty.
    pub fn body(&self) -> Bytes {
        self.wire.slice(self.table.body.min(self.wire.len())..)
    }

    /// Returns exactly what is on the wire.
    pub fn as_bytes(&self) -> &Bytes {
        &self.wire
    }

    fn find_known(&self, known: Name) -> impl Iterator<Item = Header<'_>> {
        self.table.fields.iter().filter(move |field| field.known == known).map(|field| self.header_of(field))
    }

    fn header_of<'a>(&'a self, field: &Field) -> Header<'a> {
        let values = if field.folded { self.table.unfolded.as_slice() } else { &self.wire };
        let name = str::from_utf8(field.name.of(&self.wire)).unwrap_or_default();
        Header { name, value: field.value.of(values), known: field.known }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers name people: a log gets the kind of the message and its size.
        match self.table.start {
            Start::Request { method, .. } => {
                write!(f, "Message({} {} B)", String::from_utf8_lossy(method.of(&self.wire)), self.wire.len())
            }
            Start::Response { status, .. } => write!(f, "Message({status} {} B)", self.wire.len()),
        }
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.wire == other.wire
    }
}

impl Eq for Message {}

/// One header field line of a message.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    name: &'a str,
    value: &'a [u8],
    known: Name,
}

impl<'a> Header<'a> {
    /// Returns the name as written.
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// Tells whether this is the field of that name; case does not matter and compact forms equal long ones.
    pub fn is(&self, name: &str) -> bool {
        self.matches(Name::of(name.as_bytes()), name)
    }

    /// Returns the value without blanks around it, folded lines joined.
    pub const fn value(&self) -> &'a [u8] {
        self.value
    }

    /// Returns the value as text; bytes that are not UTF-8 become U+FFFD.
    pub fn text(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.value)
    }

    fn matches(&self, known: Name, name: &str) -> bool {
        self.known == known && (known != Name::Other || self.name.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests;

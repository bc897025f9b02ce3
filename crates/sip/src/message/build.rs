use bytes::Bytes;

use super::{BuildError, Message, Method, Name, reason_phrase};
use crate::scan;

/// A message in the making. Headers stand in the order they were added; `Content-Length` is added last, by
/// [`build`](Self::build) alone.
///
/// Mistakes are kept until [`build`](Self::build) names the first: nothing is stripped or mended in silence.
#[derive(Debug, Clone)]
pub struct Builder {
    start: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Bytes,
    compact: bool,
    fault: Option<BuildError>,
}

impl Message {
    /// Starts a request.
    pub fn request(method: Method, uri: &str) -> Builder {
        Builder::new(format!("{method} {uri} SIP/2.0"))
    }

    /// Starts a response; without a reason it gets the usual one.
    pub fn response(status: u16, reason: Option<&str>) -> Builder {
        Builder::new(format!("SIP/2.0 {status} {}", reason.unwrap_or_else(|| reason_phrase(status))))
    }

    /// Starts the response to `request`: copies every Via, From, To, Call-ID and CSeq (RFC 3261 section 8.2.6.2),
    /// Timestamp into a 100, and Record-Route untouched and in order into what may set up a dialog (101 to 299,
    /// section 12.1.1).
    ///
    /// `to_tag` is added where To has no tag yet; a 100 gets none.
    pub fn reply(request: &Self, status: u16, reason: Option<&str>, to_tag: Option<&str>) -> Builder {
        let mut reply = Self::response(status, reason);
        for header in request.headers() {
            let known = header.known;
            let long = match known.copied_to_responses() {
                Some(long) => long,
                None if known == Name::RecordRoute && (101..=299).contains(&status) => "Record-Route",
                None if status == 100 && header.is("Timestamp") => "Timestamp",
                None => continue,
            };
            let mut value = header.value().to_vec();
            if let (Name::To, Some(tag), 101..) = (known, to_tag, status)
                && !request.to().is_ok_and(|to| to.tag().is_some())
            {
                value.extend_from_slice(b";tag=");
                value.extend_from_slice(tag.as_bytes());
            }
            reply = reply.header(long, value);
        }
        reply
    }

    /// Starts an edited copy: the same start line, headers in the same order and body.
    pub fn to_builder(&self) -> Builder {
        let end = scan::find(b'\r', &self.wire).unwrap_or(self.wire.len());
        let start = self.wire.get(..end).unwrap_or_default();
        let mut builder = Builder::new(String::from_utf8_lossy(start).into_owned());
        for header in self.headers().filter(|header| header.known != Name::ContentLength) {
            builder = builder.header(header.name(), header.value());
        }
        builder.body = self.body();
        builder
    }
}

impl Builder {
    fn new(start: String) -> Self {
        Self { start, headers: Vec::new(), body: Bytes::new(), compact: false, fault: None }
    }

    /// Adds a field after the others.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let entry = self.checked(name, value.as_ref());
        self.headers.push(entry);
        self
    }

    /// Adds a field before the others.
    #[must_use]
    pub fn header_first(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let entry = self.checked(name, value.as_ref());
        self.headers.insert(0, entry);
        self
    }

    /// Puts `value` where the first field of this name stands and drops its others; adds it if there is none.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let entry = self.checked(name, value.as_ref());
        match self.headers.iter().position(|(other, _)| same_name(other, name)) {
            Some(at) => {
                self = self.without(name);
                self.headers.insert(at, entry);
            }
            None => self.headers.push(entry),
        }
        self
    }

    /// Drops every field of this name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| !same_name(other, name));
        self
    }

    /// Replaces the first field line of this name alone, or takes it out.
    pub(super) fn replace_first(mut self, name: &str, value: Option<Vec<u8>>) -> Self {
        if let Some(at) = self.headers.iter().position(|(other, _)| same_name(other, name)) {
            let (written, _) = self.headers.remove(at);
            if let Some(value) = value {
                let entry = self.checked(&written, &value);
                self.headers.insert(at, entry);
            }
        }
        self
    }

    /// Sets the body and its Content-Type.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.set("Content-Type", content_type)
    }

    /// Writes no byte more than needed: no space after a colon, and Content-Length by its short name.
    #[must_use]
    pub(crate) const fn compact(mut self) -> Self {
        self.compact = true;
        self
    }

    /// Writes the message.
    ///
    /// # Errors
    ///
    /// A name that is no token, a value that would break out of its line, or a result that
    /// [`Message::parse`] would refuse.
    pub fn build(self) -> Result<Message, BuildError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if breaks_line(self.start.as_bytes()) {
            return Err(BuildError::Value("the start line".to_owned()));
        }
        let fields: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let mut wire = Vec::with_capacity(self.start.len() + fields + self.body.len() + CONTENT_LENGTH_ROOM);
        let (colon, length) = if self.compact { (&b":"[..], "l:") } else { (&b": "[..], "Content-Length: ") };
        wire.extend_from_slice(self.start.as_bytes());
        wire.extend_from_slice(b"\r\n");
        for (name, value) in &self.headers {
            wire.extend_from_slice(name.as_bytes());
            wire.extend_from_slice(colon);
            wire.extend_from_slice(value);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(format!("{length}{}\r\n\r\n", self.body.len()).as_bytes());
        wire.extend_from_slice(&self.body);
        Message::parse(wire.into()).map_err(BuildError::Unreadable)
    }

    fn checked(&mut self, name: &str, value: &[u8]) -> (String, Vec<u8>) {
        let fault = if !scan::is_token(name.as_bytes()) {
            Some(BuildError::Name)
        } else if Name::of(name.as_bytes()) == Name::ContentLength {
            Some(BuildError::ContentLength)
        } else if breaks_line(value) {
            Some(BuildError::Value(name.to_owned()))
        } else {
            None
        };
        self.fault = self.fault.take().or(fault);
        (name.to_owned(), value.to_vec())
    }
}

fn same_name(one: &str, other: &str) -> bool {
    let known = Name::of(one.as_bytes());
    known == Name::of(other.as_bytes()) && (known != Name::Other || one.eq_ignore_ascii_case(other))
}

/// Tells whether `value` would end its line or be cut short by a careless reader.
fn breaks_line(value: &[u8]) -> bool {
    value.iter().any(|byte| matches!(byte, b'\r' | b'\n')) || scan::bare_nul(value).is_some()
}

/// `Content-Length: 65535` and three line ends.
const CONTENT_LENGTH_ROOM: usize = 32;

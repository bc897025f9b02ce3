use std::fmt;

use bytes::Bytes;

use super::parse::split_head;
use super::{Message, Name};
use crate::scan;

/// Why bytes are not a message we take, and how to answer them.
#[derive(Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The status that says so: 400, 413, 416, 505 or 513.
    pub status: u16,
    /// What is wrong, fit for a log and for a reason phrase: it never quotes the peer.
    pub what: &'static str,
    /// Where, in bytes from the start of the message.
    pub at: usize,
    /// The head as far as it was read, for [`response`](Self::response).
    head: Option<Bytes>,
}

impl ParseError {
    /// A broken message without a head worth answering.
    pub(crate) const fn new(status: u16, what: &'static str, at: usize) -> Self {
        Self { status, what, at, head: None }
    }

    /// Adds the bytes from which [`response`](Self::response) takes what it must copy.
    pub(crate) fn with_head(mut self, head: Bytes) -> Self {
        self.head = Some(head);
        self
    }

    /// Makes the 4xx or 5xx that refuses this message, if it was a request other than ACK and carries everything
    /// a response must copy (RFC 3261 section 8.2.6.2).
    ///
    /// Copies the first of each duplicated singleton. The To tag is derived from the head, so that each
    /// retransmission gets the same answer without any state.
    pub fn response(&self) -> Option<Message> {
        let head = self.head.as_ref()?;
        let (start, fields) = split_head(head);
        let method = start.split(|&byte| byte == b' ').next()?;
        if method == b"ACK" || !scan::is_token(method) {
            return None;
        }
        let mut reply = Message::response(self.status, None);
        let mut seen = 0;
        for (name, value) in fields {
            let name = Name::of(name);
            let Some(long) = name.copied_to_responses() else {
                continue;
            };
            if name != Name::Via && seen & name.bit() != 0 {
                continue;
            }
            seen |= name.bit();
            let mut value = value.to_vec();
            if name == Name::To && !has_tag(&value) {
                value.extend_from_slice(format!(";tag={:016x}", fingerprint(head)).as_bytes());
            }
            reply = reply.header(long, value);
        }
        if Name::COPIED.iter().any(|(name, _)| seen & name.bit() == 0) {
            return None;
        }
        reply.header("Warning", format!("399 setu \"{}\"", self.what)).build().ok()
    }
}

/// Tells whether a From or To value carries a tag, even where it is too broken to parse.
fn has_tag(value: &[u8]) -> bool {
    let text = String::from_utf8_lossy(value);
    let mut params = scan::split(&text, b';').skip(1);
    params.any(|param| param.trim_start().get(..3).is_some_and(|name| name.eq_ignore_ascii_case("tag")))
}

/// FNV-1a: an answer's tag needs to be stable and spread, not secret.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl fmt::Debug for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the head: it names people.
        write!(f, "ParseError({self})")
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at byte {}", self.status, self.what, self.at)
    }
}

impl std::error::Error for ParseError {}

/// Why a header field could not be read as what it should be. Answered with 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The field is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The field does not follow its grammar.
    #[error("{name}: {what}")]
    Malformed {
        /// The field's long name.
        name: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Why a message could not be built: each is a mistake or an injection, never sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A name is no token.
    #[error("a header name or method is no token")]
    Name,
    /// A value holds CR, LF or NUL.
    #[error("a value of {0} holds CR, LF or NUL")]
    Value(String),
    /// `Content-Length` is written by [`Builder::build`](super::Builder::build) alone.
    #[error("Content-Length is not for the caller to set")]
    ContentLength,
    /// An edit asked for a Via, and there is none or it cannot be read.
    #[error("no usable Via")]
    Via,
    /// The result would not be taken back by [`Message::parse`].
    #[error("the result is no SIP message: {0}")]
    Unreadable(ParseError),
}

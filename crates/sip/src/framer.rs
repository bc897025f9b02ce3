use bytes::{Buf, Bytes, BytesMut};
use setu_model::limits;

use crate::message::parse::Table;
use crate::message::{Message, ParseError};

/// Cuts a stream into messages and keepalives (RFC 3261 section 18.3, RFC 5626 section 3.5.1).
///
/// Push what arrived, then poll until `None`. After an error the stream is dead: nothing tells where the next
/// message would begin, so answer with [`ParseError::response`] and close.
#[derive(Debug)]
pub struct Framer {
    opener: Opener,
    buffer: BytesMut,
    /// How many bytes of the buffer are known not to begin the end of a head.
    searched: usize,
    /// The head of the message whose body is still arriving, and the length of the whole.
    head: Option<(Table, usize)>,
    broken: bool,
}

/// What a stream carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A message.
    Message(Message),
    /// CRLF CRLF: the peer asks whether we live. Answer with one CRLF.
    Ping,
    /// CRLF: the peer answers our ping.
    Pong,
}

/// Who opened the connection. Only its opener sends pings (RFC 5626 section 4.4.1), which tells what a CRLF at the
/// end of a read is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opener {
    /// The peer: half a ping.
    Peer,
    /// We: a pong.
    Us,
}

impl Framer {
    /// Starts on a connection the peer opened: CRLF CRLF is a [`Frame::Ping`], and a single CRLF between messages
    /// is skipped.
    pub fn accepted() -> Self {
        Self::new(Opener::Peer)
    }

    /// Starts on a connection we opened: each CRLF is a [`Frame::Pong`], unless two come at once.
    pub fn opened() -> Self {
        Self::new(Opener::Us)
    }

    fn new(opener: Opener) -> Self {
        Self { opener, buffer: BytesMut::new(), searched: 0, head: None, broken: false }
    }

    /// Takes what arrived. Poll to the end before the next push: that bounds the buffer to one message and one push.
    /// A dead stream takes nothing.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.broken {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Returns the next frame, or the error that ends the stream.
    pub fn poll(&mut self) -> Option<Result<Frame, ParseError>> {
        if self.broken {
            return None;
        }
        if self.head.is_none() {
            if let Some(frame) = self.skip_blank_lines() {
                return Some(Ok(frame));
            }
            match self.read_head()? {
                Ok(head) => self.head = Some(head),
                Err(error) => return Some(Err(self.fail(error))),
            }
        }
        let (table, length) = self.head.take_if(|(_, length)| *length <= self.buffer.len())?;
        // Copied, not split off: a part of the buffer that somebody keeps would keep the whole of it.
        let wire = Bytes::copy_from_slice(self.buffer.get(..length)?);
        self.buffer.advance(length);
        Some(Ok(Frame::Message(Message::assemble(wire, table))))
    }

    /// Tells whether the stream is dead.
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Tells whether a message has begun and not ended, for a caller that limits how long one may take.
    pub fn is_midway(&self) -> bool {
        !self.broken && !self.buffer.is_empty()
    }

    fn skip_blank_lines(&mut self) -> Option<Frame> {
        loop {
            match (self.buffer.get(..4.min(self.buffer.len())).unwrap_or_default(), self.opener) {
                (b"\r\n\r\n", _) => {
                    self.buffer.advance(4);
                    return Some(Frame::Ping);
                }
                (b"\r\n" | [b'\r', b'\n', ..], Opener::Us) => {
                    self.buffer.advance(2);
                    return Some(Frame::Pong);
                }
                // The rest of a ping may follow.
                (b"\r\n" | b"\r\n\r", Opener::Peer) => return None,
                ([b'\r', b'\n', ..], Opener::Peer) => self.buffer.advance(2),
                _ => return None,
            }
        }
    }

    /// Reads the head once its empty line has arrived; looks at each byte for it once.
    fn read_head(&mut self) -> Option<Result<(Table, usize), ParseError>> {
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(end) = find_empty_line(unsearched) else {
            if self.buffer.len() > limits::SIP_MESSAGE_BYTES {
                return Some(Err(ParseError::new(513, "head too long", limits::SIP_MESSAGE_BYTES)));
            }
            self.searched = self.buffer.len().saturating_sub(EMPTY_LINE.len() - 1);
            return None;
        };
        let end = self.searched + end;
        self.searched = 0;
        if end > limits::SIP_MESSAGE_BYTES {
            return Some(Err(ParseError::new(513, "head too long", limits::SIP_MESSAGE_BYTES)));
        }
        let head = self.buffer.get(..end).unwrap_or_default();
        Some(Table::read(head).and_then(|table| {
            let Some(body) = table.content_length else {
                return Err(ParseError::new(400, "no Content-Length on a stream", end));
            };
            if body > limits::SIP_MESSAGE_BYTES - end {
                return Err(ParseError::new(413, "body too long", end));
            }
            let length = table.body + body;
            Ok((table, length))
        }))
    }

    fn fail(&mut self, error: ParseError) -> ParseError {
        self.broken = true;
        let mut head = std::mem::take(&mut self.buffer);
        head.truncate(limits::SIP_MESSAGE_BYTES);
        error.with_head(head.freeze())
    }
}

/// Returns the end of the first empty line.
fn find_empty_line(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, EMPTY_LINE).map(|at| at + EMPTY_LINE.len())
}

const EMPTY_LINE: &[u8] = b"\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP c;branch=z9hG4bK1\r\nFrom: <sip:d@e>;tag=1\r\n\
        To: <sip:a@b>\r\nCall-ID: f\r\nCSeq: 1 OPTIONS\r\nContent-Length: 4\r\n\r\nbody";

    fn drain(framer: &mut Framer) -> Vec<Result<Frame, ParseError>> {
        std::iter::from_fn(|| framer.poll()).collect()
    }

    fn names(frames: &[Result<Frame, ParseError>]) -> Vec<&'static str> {
        let name = |frame: &Result<Frame, ParseError>| match frame {
            Ok(Frame::Message(_)) => "message",
            Ok(Frame::Ping) => "ping",
            Ok(Frame::Pong) => "pong",
            Err(_) => "error",
        };
        frames.iter().map(name).collect()
    }

    /// The frames of `text` fed in pieces of `size` bytes.
    fn feed(mut framer: Framer, text: &str, size: usize) -> Vec<Result<Frame, ParseError>> {
        let mut frames = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            framer.push(piece);
            frames.extend(drain(&mut framer));
        }
        frames
    }

    #[test]
    fn messages_come_out_whole_however_the_stream_is_cut() {
        let stream = format!("{OPTIONS}\r\n\r\n{OPTIONS}\r\n{OPTIONS}");
        for size in 1..=stream.len() {
            let frames = feed(Framer::accepted(), &stream, size);
            assert_eq!(names(&frames), ["message", "ping", "message", "message"], "pieces of {size}");
            for frame in frames.into_iter().flatten() {
                if let Frame::Message(message) = frame {
                    assert_eq!(message.as_bytes(), OPTIONS);
                }
            }
        }
    }

    #[test]
    fn a_pong_is_told_at_once_where_we_opened_the_connection() {
        let mut framer = Framer::opened();
        framer.push(b"\r\n");
        assert_eq!(names(&drain(&mut framer)), ["pong"]);
        framer.push(format!("\r\n{OPTIONS}\r\n\r\n").as_bytes());
        assert_eq!(names(&drain(&mut framer)), ["pong", "message", "ping"]);
        assert!(!framer.is_midway());
    }

    #[test]
    fn a_stream_without_content_length_is_dead() {
        let mut framer = Framer::accepted();
        framer.push(OPTIONS.replace("Content-Length: 4\r\n", "").as_bytes());
        let error = framer.poll().unwrap().unwrap_err();
        assert_eq!(error.status, 400);
        assert_eq!(error.response().unwrap().status(), Some(400));
        assert!(framer.is_broken());
        framer.push(OPTIONS.as_bytes());
        assert_eq!(framer.poll(), None);
    }

    #[test]
    fn smuggling_kills_a_stream() {
        for length in ["4\r\nContent-Length: 5", "-1", "4, 4", "4\r\nl: 99"] {
            let text = OPTIONS.replace("Length: 4", &format!("Length: {length}"));
            let frames = feed(Framer::accepted(), &text, 7);
            assert_eq!(names(&frames), ["error"], "{length:?}");
        }
    }

    #[test]
    fn a_head_or_body_beyond_the_limit_is_refused_before_it_has_arrived() {
        let mut framer = Framer::accepted();
        framer.push(b"OPTIONS sip:a@b SIP/2.0\r\n");
        for _ in 0..70 {
            framer.push(&[b'x'; 1_000]);
            if let Some(frame) = framer.poll() {
                assert_eq!(frame.unwrap_err().status, 513);
            }
        }
        assert!(framer.is_broken() && framer.buffer.is_empty());

        let mut framer = Framer::accepted();
        framer.push(OPTIONS.replace("Length: 4", "Length: 65536").as_bytes());
        assert_eq!(framer.poll().unwrap().unwrap_err().status, 413);
    }

    #[test]
    fn a_head_that_trickles_in_is_searched_once() {
        let mut framer = Framer::accepted();
        for byte in OPTIONS.bytes() {
            let before = framer.searched;
            framer.push(&[byte]);
            let polled = framer.poll();
            let looked_at = framer.buffer.len().saturating_sub(before);
            assert!(
                framer.head.is_some() || polled.is_some() || looked_at <= EMPTY_LINE.len(),
                "{looked_at}"
            );
        }
    }

    #[test]
    fn lone_line_feeds_between_messages_are_refused() {
        assert_eq!(names(&feed(Framer::accepted(), &format!("\n\n{OPTIONS}"), 500)), ["error"]);
    }
}

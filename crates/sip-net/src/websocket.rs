//! SIP over WebSocket (RFC 7118): each message of one is a message of the other. To the rest of the transports it is
//! a stream like those of TCP and TLS, under the same queues, limits and deadlines.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream};
use setu_model::limits::SIP_MESSAGE_BYTES;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::header::{HeaderValue, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::http::{HeaderMap, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

use crate::net::Shared;

/// An open WebSocket as a stream of bytes: what is written at once leaves as one message.
pub(crate) struct Socket<S> {
    inner: WebSocketStream<S>,
    /// What is left of the last message.
    unread: Bytes,
    ping: Interval,
    /// Whether the last ping has had no answer yet.
    unanswered: bool,
}

/// Shakes hands as the server. None if the peer is no WebSocket client, does not speak SIP, or shows a page that may
/// not connect.
pub(crate) async fn accept<S>(shared: &Shared, io: S, remote: SocketAddr) -> Option<Socket<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let origins = &shared.websocket.origins;
    #[expect(clippy::result_large_err, reason = "the type is the library's")]
    let check = |request: &Request, mut response: Response| match verdict(request.headers(), origins) {
        Ok(()) => {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
            Ok(response)
        }
        Err((status, why)) => {
            shared.counters.websockets_refused.add();
            let mut refusal = ErrorResponse::new(Some(why.to_owned()));
            *refusal.status_mut() = status;
            Err(refusal)
        }
    };
    let limits = WebSocketConfig::default()
        .max_message_size(Some(SIP_MESSAGE_BYTES))
        .max_frame_size(Some(SIP_MESSAGE_BYTES))
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(4 * SIP_MESSAGE_BYTES);
    let shaking = accept_hdr_async_with_config(io, check, Some(limits));
    match timeout(shared.timeouts.handshake, shaking).await {
        Ok(Ok(inner)) => Some(Socket::new(inner, shared.timeouts.websocket_ping)),
        Ok(Err(fault)) => {
            shared.counters.handshakes_failed.add();
            tracing::debug!(%remote, %fault, "a WebSocket handshake failed");
            None
        }
        Err(_) => {
            shared.counters.handshakes_timed_out.add();
            tracing::debug!(%remote, "a WebSocket handshake took too long");
            None
        }
    }
}

/// Whether a client may connect: it must offer the subprotocol (RFC 7118 section 4.1), and a page must be of a known
/// origin where any are named (RFC 6455 section 10.2).
fn verdict(headers: &HeaderMap, origins: &[String]) -> Result<(), (StatusCode, &'static str)> {
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    if !offered.flat_map(|value| value.split(',')).any(|name| name.trim().eq_ignore_ascii_case(SUBPROTOCOL)) {
        return Err((StatusCode::BAD_REQUEST, "the subprotocol \"sip\" is spoken here"));
    }
    let known = |origin: &HeaderValue| {
        origins
            .iter()
            .any(|known| known.trim_end_matches('/').as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
    };
    match headers.get(ORIGIN) {
        Some(origin) if !origins.is_empty() && !known(origin) => {
            Err((StatusCode::FORBIDDEN, "pages of this origin may not connect"))
        }
        Some(_) | None => Ok(()),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    fn new(inner: WebSocketStream<S>, every: Duration) -> Self {
        let mut ping = interval_at(Instant::now() + every, every);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { inner, unread: Bytes::new(), ping, unanswered: false }
    }

    /// Sends what pings are due. An error if the last one had no answer.
    fn poll_pings(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.ping.poll_tick(cx).is_ready() {
            if std::mem::replace(&mut self.unanswered, true) {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer to a ping"));
            }
            let mut inner = Pin::new(&mut self.inner);
            // A connection with no room for a ping is watched by the deadline of what fills it.
            if inner.as_mut().poll_ready(cx).is_ready() {
                inner.as_mut().start_send(Message::Ping(Bytes::new())).map_err(io_error)?;
                if let Poll::Ready(flushed) = inner.poll_flush(cx) {
                    flushed.map_err(io_error)?;
                }
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Socket<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.poll_pings(cx)?;
        loop {
            if !this.unread.is_empty() {
                let part = this.unread.split_to(this.unread.len().min(into.remaining()));
                into.put_slice(&part);
                return Poll::Ready(Ok(()));
            }
            let message = match ready!(Pin::new(&mut this.inner).poll_next(cx)) {
                Some(Ok(message)) => message,
                Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) | None => {
                    return Poll::Ready(Ok(()));
                }
                Some(Err(fault)) => return Poll::Ready(Err(io_error(fault))),
            };
            this.unanswered = false;
            match message {
                Message::Text(text) => this.unread = with_length(text.into()),
                Message::Binary(bytes) => this.unread = with_length(bytes),
                Message::Close(_) => return Poll::Ready(Ok(())),
                // The library answers pings.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = Pin::new(&mut self.get_mut().inner);
        ready!(inner.as_mut().poll_ready(cx)).map_err(io_error)?;
        let message = match std::str::from_utf8(bytes) {
            Ok(text) => Message::text(text),
            Err(_) => Message::binary(Bytes::copy_from_slice(bytes)),
        };
        inner.start_send(message).map_err(io_error)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx).map_err(io_error)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_close(cx).map_err(io_error)
    }
}

/// A message that leaves its length to the WebSocket gets one: on a stream nothing else tells where its body ends.
fn with_length(message: Bytes) -> Bytes {
    let end = message.windows(4).position(|window| window == b"\r\n\r\n");
    let Some((head, body)) = end.and_then(|end| Some((message.get(..end)?, message.get(end + 4..)?))) else {
        return message;
    };
    let told = head.split(|byte| *byte == b'\n').any(|line| {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii();
        name.eq_ignore_ascii_case(b"Content-Length") || name.eq_ignore_ascii_case(b"l")
    });
    // A keepalive has no head.
    if told || head.is_empty() {
        return message;
    }
    let length = format!("\r\nContent-Length: {}\r\n\r\n", body.len());
    Bytes::from([head, length.as_bytes(), body].concat())
}

fn io_error(fault: Error) -> io::Error {
    if let Error::Io(fault) = fault { fault } else { io::Error::other(fault) }
}

/// RFC 7118 section 4.
const SUBPROTOCOL: &str = "sip";

/// Of the library, per connection and direction; its own choice of 128 kB is made for other things than SIP.
const BUFFER_BYTES: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_without_a_length_gets_one_and_others_stay_as_they_are() {
        let bare = Bytes::from_static(b"MESSAGE sip:a SIP/2.0\r\nVia: x\r\n\r\nbody");
        assert_eq!(
            with_length(bare),
            &b"MESSAGE sip:a SIP/2.0\r\nVia: x\r\nContent-Length: 4\r\n\r\nbody"[..]
        );
        for told in [
            &b"MESSAGE sip:a SIP/2.0\r\nl : 4\r\n\r\nbody"[..],
            b"MESSAGE sip:a SIP/2.0\r\nCONTENT-LENGTH: 4\r\n\r\nbody",
            b"\r\n\r\n",
            b"no head at all",
            b"",
        ] {
            assert_eq!(with_length(Bytes::from_static(told)), told);
        }
    }

    #[test]
    fn clients_must_speak_sip_and_pages_be_of_a_known_origin() {
        let ask = |protocol: Option<&'static str>, origin: Option<&'static str>, known: &[&str]| {
            let mut headers = HeaderMap::new();
            let named = [(SEC_WEBSOCKET_PROTOCOL, protocol), (ORIGIN, origin)];
            for (name, value) in named {
                headers.extend(value.map(|value| (name, HeaderValue::from_static(value))));
            }
            let known: Vec<String> = known.iter().map(|origin| (*origin).to_owned()).collect();
            verdict(&headers, &known).map_err(|(status, _)| status.as_u16())
        };
        let page = Some("https://agents.example.com");
        assert_eq!(ask(Some("sip"), page, &[]), Ok(()));
        assert_eq!(ask(Some("xmpp, SIP"), page, &["https://agents.example.com/"]), Ok(()));
        assert_eq!(ask(Some("sip"), None, &["https://agents.example.com"]), Ok(()));
        assert_eq!(ask(Some("sip"), Some("https://evil.example"), &["https://agents.example.com"]), Err(403));
        assert_eq!(ask(Some("sip"), Some("null"), &["https://agents.example.com"]), Err(403));
        assert_eq!(ask(Some("xmpp"), page, &[]), Err(400));
        assert_eq!(ask(None, page, &[]), Err(400));
    }
}

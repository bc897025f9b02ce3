//! The four transactions of RFC 3261 section 17 with RFC 6026, and the layer that keeps and matches them.

mod client_invite;
mod client_request;
mod clients;
mod compose;
mod failover;
mod key;
mod layer;
mod returned;
mod schedule;
mod server_invite;
mod server_request;
mod servers;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::message::{Builder, Message, Method};

use client_invite::ClientInvite;
use client_request::ClientRequest;
pub(crate) use clients::{ClientStart, transport_of};
pub(crate) use layer::{Layer, Owner, TxId, Upcall};
pub(crate) use schedule::Due;
use server_invite::ServerInvite;
use server_request::ServerRequest;
pub(crate) use servers::{Matched, Origin};

/// What a transaction asks of its layer.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Send this for the first time.
    Transmit(Message),
    /// Send this again.
    Retransmit(Message),
    /// Pass this response to the transaction user.
    Response(Message),
    /// A ringing peer never answered (Timer C): the transaction user should cancel.
    Overdue,
    /// No final response (Timers B and F), or no ACK (Timer H).
    TimedOut,
    /// The transport could not deliver the request.
    Failed,
}

/// A message kept for one purpose, to be sent again should the peer ask: its bytes, and not the table into them.
///
/// Thousands of these wait for their timers at a busy hour; hardly one is ever sent.
#[derive(Debug, Clone)]
pub(crate) struct Kept(Bytes);

impl Kept {
    pub(crate) fn of(message: &Message) -> Self {
        Self(Bytes::copy_from_slice(message.as_bytes()))
    }

    /// The message again. What was read or built once can be read again.
    pub(crate) fn message(&self) -> Option<Message> {
        Message::parse(self.0.clone()).ok()
    }
}

/// A retransmission that doubles its gap.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resend {
    /// When it is due.
    pub(crate) at: Instant,
    /// The gap that ends then.
    pub(crate) gap: Duration,
}

impl Resend {
    /// The first retransmission, `gap` after `now`.
    pub(crate) fn first(gap: Duration, now: Instant) -> Self {
        Self { at: now + gap, gap }
    }

    /// Moves on to the next one: the gap doubles up to `most`.
    pub(crate) fn doubled(&mut self, now: Instant, most: Option<Duration>) {
        self.gap = self.gap.saturating_mul(2);
        if let Some(most) = most {
            self.gap = self.gap.min(most);
        }
        self.at = now + self.gap;
    }
}

/// Takes the next action. A queue that ran empty gives its memory back: most never fill again.
fn next_of(outputs: &mut VecDeque<Action>) -> Option<Action> {
    let next = outputs.pop_front();
    if next.is_none() {
        *outputs = VecDeque::new();
    }
    next
}

/// Builds the ACK of a refusal (RFC 3261 section 17.1.1.3): the INVITE's own Via, Route and URI, the response's To.
fn ack_of_refusal(invite: &Message, response: &Message) -> Option<Message> {
    let mut ack = Message::request(Method::Ack, invite.request_uri()?);
    for name in ["Via", "Route", "From", "Call-ID", "Max-Forwards"] {
        ack = copied(ack, invite, name);
    }
    let number = invite.cseq().ok()?.number;
    copied(ack, response, "To").header("CSeq", format!("{number} ACK")).build().ok()
}

/// Copies every field of this name, byte for byte.
pub(crate) fn copied(builder: Builder, from: &Message, name: &str) -> Builder {
    from.headers()
        .filter(|header| header.is(name))
        .fold(builder, |builder, header| builder.header(name, header.value()))
}

//! The relay of one call: its legs, and who feeds whom.

use std::time::Instant;

use setu_model::{CallId, LegId, Now};

use crate::{Arrival, Command, Event, OpenFailure, Sink};

/// The media of one call. Owned by one worker; **handle, then wait**: every method that can produce something is
/// handed the [`Sink`] it goes to, and [`poll_timeout`](Self::poll_timeout) tells when to come back.
pub struct Relay {
    call: CallId,
    legs: Vec<LegId>,
}

impl Relay {
    /// The most legs one call has at a time: the originator, and the contacts an agent registered.
    pub const LEGS: usize = 16;

    /// How many bytes a packet buffer needs beyond the datagram in it: plain RTP comes in, SRTP with the longest tag
    /// goes out.
    pub const ROOM: usize = 16;

    /// Makes the media of a call without legs. `now` ties the RTCP clock to the wall clock.
    pub fn new(call: CallId, _now: Now) -> Self {
        Self { call, legs: Vec::new() }
    }

    /// Carries out a command of this call. [`Command::Open`] adds the leg and tells nothing if it worked: reserving
    /// an address and telling [`Event::Opened`] is the caller's part.
    pub fn command(&mut self, command: Command, now: Instant, sink: &mut impl Sink) {
        let _ = now;
        if let Command::Open { leg, .. } = command {
            if self.legs.len() >= Self::LEGS || self.legs.contains(&leg) {
                return sink.event(Event::OpenFailed { leg, why: OpenFailure::NoRoom });
            }
            self.legs.push(leg);
        } else if matches!(command, Command::Close { .. }) {
            sink.event(Event::Closed { call: self.call, quality: Vec::new() });
        }
    }

    /// Takes the datagram in the first `len` bytes of `buffer`. The buffer should have [`Relay::ROOM`] more bytes than `len`; its content is used up.
    pub fn handle_packet(
        &mut self,
        arrival: Arrival,
        buffer: &mut [u8],
        len: usize,
        now: Instant,
        sink: &mut impl Sink,
    ) {
        let _ = (arrival, buffer, len, now, sink);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant, sink: &mut impl Sink) {
        let _ = (now, sink);
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is next due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

use std::net::SocketAddr;

use crossbeam_channel::Sender;
use setu_media::{Channel, Event, HandshakeInput, Job, Sink};
use setu_model::{LegId, TapFrame};

use crate::calls::{Exit, Legs};
use crate::codec::Desk;
use crate::counters::Counters;
use crate::handshakes::Errand;
use crate::sys::{SendBatch, send_one};

/// What leaves a worker: datagrams of shared sockets, collected for the next system call, frames, and events for the
/// end of the round.
pub(crate) struct Outbox {
    batch: SendBatch,
    tap: Sender<TapFrame>,
    codecs: Desk,
    errands: Sender<Errand>,
    /// The number of the worker.
    number: usize,
    events: Vec<Event>,
}

impl Outbox {
    pub(crate) fn new(number: usize, tap: Sender<TapFrame>, codecs: Desk, errands: Sender<Errand>) -> Self {
        Self { batch: SendBatch::new(), tap, codecs, errands, number, events: Vec::new() }
    }

    /// Adds an event of the worker itself.
    pub(crate) fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Sends what was collected.
    pub(crate) fn flush(&mut self, counters: &Counters) {
        let flushed = self.batch.flush();
        counters.sent.add(flushed.sent);
        counters.unsent.add(flushed.unsent);
        self.codecs.send_controls();
        counters.uncoded.add(std::mem::take(&mut self.codecs.dropped));
    }

    /// Hands the events of the round over.
    pub(crate) fn deliver(&mut self, counters: &Counters, on_event: &dyn Fn(Event)) {
        for event in self.events.drain(..) {
            if let Event::LegClosed { quality, .. } = &event {
                counters.rejected.add(quality.rejected_packets);
            } else if let Event::Closed { quality, .. } = &event {
                counters.rejected.add(quality.iter().map(|(_, quality)| quality.rejected_packets).sum());
            }
            on_event(event);
        }
    }

    /// The way out for the relay of one call.
    pub(crate) fn of_call<'o>(&'o mut self, legs: &'o Legs, counters: &'o Counters) -> CallSink<'o> {
        CallSink { outbox: self, legs, counters }
    }
}

/// Where one call's relay puts what it produces.
pub(crate) struct CallSink<'o> {
    outbox: &'o mut Outbox,
    legs: &'o Legs,
    counters: &'o Counters,
}

impl Sink for CallSink<'_> {
    fn transmit(&mut self, leg: LegId, channel: Channel, to: SocketAddr, datagram: &[u8]) {
        let sent = match self.legs.exit(leg, channel) {
            Some(Exit::Own(socket)) => {
                let sent = send_one(socket, to, datagram);
                self.counters.sent.add(u64::from(sent));
                sent
            }
            Some(Exit::Shared(socket)) => {
                if self.outbox.batch.is_full() {
                    self.outbox.flush(self.counters);
                }
                self.outbox.batch.push(socket, to, datagram)
            }
            None => false,
        };
        if !sent {
            self.counters.unsent.add(1);
        }
    }

    fn code(&mut self, job: Job<'_>) {
        self.outbox.codecs.take(job);
    }

    fn tap(&mut self, frame: TapFrame) {
        if self.outbox.tap.try_send(frame).is_err() {
            self.counters.lost_frames.add(1);
        }
    }

    fn handshake(&mut self, leg: LegId, input: HandshakeInput) {
        let errand = Errand { from: self.outbox.number, leg, input };
        if self.outbox.errands.try_send(errand).is_err() {
            self.counters.lost_errands.add(1);
        }
    }

    fn event(&mut self, event: Event) {
        self.outbox.event(event);
    }
}

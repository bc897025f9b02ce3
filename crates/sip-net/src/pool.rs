//! The streams that are open, the names they may be used for, and the messages that wait for one to open.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use setu_model::Side;
use setu_sip::{Arrival, FlowId, Hop, Message, SendToken, Transport};
use tokio::sync::{mpsc, oneshot};

use crate::admission::{Admitted, Guest};
use crate::config::canonical_name;

/// The streams of both sides.
///
/// A stream serves a hop for one of two reasons: the bridge opened it for that very name and port (over TLS: and
/// verified it), or the peer opened it and its certificate proves the name. The address at its other end is no
/// reason: that is how PJSIP came to send to the wrong host (CVE-2020-15260).
#[derive(Debug, Default)]
pub(crate) struct Pool {
    last: u64,
    streams: BTreeMap<FlowId, Stream>,
    claims: BTreeMap<Claim, Vec<FlowId>>,
    waiting: BTreeMap<Opening, Vec<Outgoing>>,
    closed: bool,
}

/// One message on its way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) token: SendToken,
    pub(crate) message: Message,
    /// Where it may go instead, if the stream dies before it left.
    pub(crate) otherwise: Option<Hop>,
    /// Addresses of the hop that must not be tried again.
    pub(crate) avoid: Vec<SocketAddr>,
}

/// What is put into a stream.
#[derive(Debug)]
pub(crate) enum Item {
    Message(Outgoing),
    /// The answer to a CRLF ping.
    Pong,
}

/// Where a request goes, in the form in which destinations are compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Destination {
    side: Side,
    transport: Transport,
    host: String,
    port: u16,
}

impl Destination {
    pub(crate) fn of(hop: &Hop) -> Self {
        Self {
            side: hop.side,
            transport: hop.transport,
            host: canonical_name(&hop.host),
            port: hop.port.unwrap_or(hop.transport.default_port()),
        }
    }
}

/// What messages wait for together: a stream to a destination, but not at these addresses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Opening {
    destination: Destination,
    avoid: Vec<SocketAddr>,
}

impl Opening {
    pub(crate) fn of(hop: &Hop, avoid: &[SocketAddr]) -> Self {
        Self { destination: Destination::of(hop), avoid: avoid.to_vec() }
    }
}

/// Why a stream may be used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// It was opened for this destination.
    Dialled(Destination),
    /// The peer's certificate proves this name (RFC 5923 section 5). Which port it came from says nothing.
    Proven(Side, String),
}

#[derive(Debug)]
struct Stream {
    remote: SocketAddr,
    queue: mpsc::Sender<Item>,
    cut: oneshot::Sender<()>,
    claims: Vec<Claim>,
    /// The place at the listener; none if the bridge opened it.
    admitted: Option<Arc<Admitted>>,
}

/// Who opened a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Opened<'a> {
    /// The bridge, for this hop.
    ByUs(&'a Hop),
    /// The peer.
    ByPeer(&'a Guest),
}

/// The task's end of a stream.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) arrival: Arrival,
    /// Yields `None` once the stream was taken out of the pool and everything that waited has been taken.
    pub(crate) queue: mpsc::Receiver<Item>,
    /// For the task's own answers; does not keep the queue open.
    pub(crate) reply: mpsc::WeakSender<Item>,
    /// Resolves to `Ok` when the stream must end at once, to `Err` when it may finish.
    pub(crate) cut: oneshot::Receiver<()>,
}

/// What became of a message that was offered to the pool.
#[derive(Debug)]
pub(crate) enum Offer {
    /// There is a place for it in this stream's queue. The core hears of the flow before the place is taken, so that
    /// no response can come before that.
    Place { flow: FlowId, remote: SocketAddr, place: mpsc::OwnedPermit<Item>, outgoing: Outgoing },
    /// There is no such stream.
    NoFlow(Outgoing),
    /// The stream's peer reads too slowly (`overflowed`) or is gone: the stream was taken out of the pool, and is
    /// to be reported closed.
    Lost { flow: FlowId, overflowed: bool, outgoing: Outgoing },
    /// It waits for a connection to be opened. The caller opens one if it is the `first`.
    Waiting { first: bool },
    /// Too much is waiting.
    Refused(Outgoing),
    /// The pool is closed.
    Closed(Outgoing),
}

impl Pool {
    /// Takes a new stream in. Nothing but its name is asked of `arrival`: its flow id is given here.
    pub(crate) fn insert(&mut self, mut arrival: Arrival, opened: Opened<'_>, queue: usize) -> Option<Ends> {
        if self.closed {
            return None;
        }
        self.last += 1;
        let flow = FlowId(self.last);
        arrival.flow = flow;
        let (claims, admitted) = match opened {
            Opened::ByUs(hop) => (vec![Claim::Dialled(Destination::of(hop))], None),
            Opened::ByPeer(guest) => {
                let proven = arrival.verified.iter();
                let claims = proven.map(|name| Claim::Proven(arrival.side, canonical_name(name))).collect();
                (claims, Some(Arc::clone(&guest.admitted)))
            }
        };
        for claim in &claims {
            self.claims.entry(claim.clone()).or_default().push(flow);
        }
        let (sender, receiver) = mpsc::channel(queue);
        let (cut, cut_receiver) = oneshot::channel();
        let ends =
            Ends { queue: receiver, reply: sender.downgrade(), cut: cut_receiver, arrival: arrival.clone() };
        self.streams.insert(flow, Stream { remote: arrival.remote, queue: sender, cut, claims, admitted });
        Some(ends)
    }

    /// The peer of a stream has proved who it is.
    pub(crate) fn keep(&self, flow: FlowId) {
        if let Some(admitted) = self.streams.get(&flow).and_then(|stream| stream.admitted.as_ref()) {
            admitted.settle();
        }
    }

    /// Takes a stream out; what waits in it is still sent. Returns whether it was there.
    pub(crate) fn remove(&mut self, flow: FlowId) -> bool {
        self.take(flow).is_some()
    }

    /// Offers a message to one stream.
    pub(crate) fn offer_to_flow(&mut self, flow: FlowId, outgoing: Outgoing) -> Offer {
        if self.closed {
            return Offer::Closed(outgoing);
        }
        let Some(stream) = self.streams.get(&flow) else { return Offer::NoFlow(outgoing) };
        let overflowed = match stream.queue.clone().try_reserve_owned() {
            Ok(place) => return Offer::Place { flow, remote: stream.remote, place, outgoing },
            Err(refused) => matches!(refused, mpsc::error::TrySendError::Full(_)),
        };
        if let Some(stream) = self.take(flow) {
            // The task may have ended already, which is as good.
            let _ = stream.cut.send(());
        }
        Offer::Lost { flow, overflowed, outgoing }
    }

    /// Offers a message to a stream that serves `hop`, or lets it wait for one.
    pub(crate) fn offer_to_hop(&mut self, hop: &Hop, outgoing: Outgoing, most: Waiting) -> Offer {
        if self.closed {
            return Offer::Closed(outgoing);
        }
        match self.serving(&Destination::of(hop), &outgoing.avoid) {
            Some(flow) => self.offer_to_flow(flow, outgoing),
            None => self.wait_for(hop, outgoing, most),
        }
    }

    /// Lets a message wait for the opening of `hop`.
    pub(crate) fn wait_for(&mut self, hop: &Hop, outgoing: Outgoing, most: Waiting) -> Offer {
        if self.closed {
            return Offer::Closed(outgoing);
        }
        let destinations = self.waiting.len();
        let opening = Opening::of(hop, &outgoing.avoid);
        match self.waiting.get_mut(&opening) {
            Some(waiting) if waiting.len() >= most.messages => Offer::Refused(outgoing),
            Some(waiting) => {
                waiting.push(outgoing);
                Offer::Waiting { first: false }
            }
            None if destinations >= most.destinations => Offer::Refused(outgoing),
            None => {
                self.waiting.insert(opening, vec![outgoing]);
                Offer::Waiting { first: true }
            }
        }
    }

    /// Returns what waited for an opening that has come to an end.
    pub(crate) fn waited_for(&mut self, opening: &Opening) -> Vec<Outgoing> {
        self.waiting.remove(opening).unwrap_or_default()
    }

    /// Takes every stream out and nothing more in. Returns the streams that were there.
    pub(crate) fn close(&mut self) -> Vec<FlowId> {
        self.closed = true;
        self.claims.clear();
        std::mem::take(&mut self.streams).into_keys().collect()
    }

    fn serving(&self, destination: &Destination, avoid: &[SocketAddr]) -> Option<FlowId> {
        let serves =
            |flow: &&FlowId| self.streams.get(*flow).is_some_and(|stream| !avoid.contains(&stream.remote));
        let dialled = self.claims.get(&Claim::Dialled(destination.clone()));
        let proven = (destination.transport == Transport::Tls)
            .then(|| self.claims.get(&Claim::Proven(destination.side, destination.host.clone())))
            .flatten();
        // The youngest is the least likely to have died unnoticed.
        let youngest = |flows: Option<&Vec<FlowId>>| flows?.iter().rev().find(serves).copied();
        youngest(dialled).or_else(|| youngest(proven))
    }

    fn take(&mut self, flow: FlowId) -> Option<Stream> {
        let stream = self.streams.remove(&flow)?;
        for claim in &stream.claims {
            if let Some(flows) = self.claims.get_mut(claim) {
                flows.retain(|other| *other != flow);
                if flows.is_empty() {
                    self.claims.remove(claim);
                }
            }
        }
        Some(stream)
    }
}

/// How much may wait for connections to be opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    /// Messages for one destination.
    pub(crate) messages: usize,
    /// Destinations.
    pub(crate) destinations: usize,
}

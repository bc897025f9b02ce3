use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use setu_media::{Channel, Relay};
use setu_model::{CallId, LegId, Side};

use crate::schedule::Scheduled;
use crate::sockets::Handle;

/// The calls of one worker, found by number for each packet and by id for each command.
#[derive(Default)]
pub(crate) struct Calls {
    slots: Vec<Option<Call>>,
    free: Vec<usize>,
    by_id: BTreeMap<CallId, usize>,
}

/// A call with media.
pub(crate) struct Call {
    pub(crate) id: CallId,
    pub(crate) relay: Relay,
    pub(crate) legs: Legs,
    pub(crate) scheduled: Scheduled,
}

impl Calls {
    /// The number of a call.
    pub(crate) fn number(&self, id: CallId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// Adds a call; returns its number.
    pub(crate) fn add(&mut self, id: CallId, relay: Relay) -> usize {
        let number = self.free.pop().unwrap_or(self.slots.len());
        let call = Some(Call { id, relay, legs: Legs::default(), scheduled: Scheduled::default() });
        match self.slots.get_mut(number) {
            Some(slot) => *slot = call,
            None => self.slots.push(call),
        }
        self.by_id.insert(id, number);
        number
    }

    /// A call by its number.
    pub(crate) fn at(&mut self, number: usize) -> Option<&mut Call> {
        self.slots.get_mut(number)?.as_mut()
    }

    /// Takes a call out.
    pub(crate) fn remove(&mut self, number: usize) -> Option<Call> {
        let call = self.slots.get_mut(number)?.take()?;
        self.by_id.remove(&call.id);
        self.free.push(number);
        Some(call)
    }

    /// The ids of all calls.
    pub(crate) fn ids(&self) -> Vec<CallId> {
        self.by_id.keys().copied().collect()
    }

    /// How many calls there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}

/// The legs of a call that have sockets: at most [`Relay::LEGS`], so that looking through them is quicker than a map.
#[derive(Debug, Default)]
pub(crate) struct Legs(Vec<Leg>);

/// A leg's place on the network.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) id: LegId,
    pub(crate) side: Side,
    /// The even port, for RTP.
    pub(crate) port: u16,
    pub(crate) rtp: Handle,
    /// The socket on the port above, if the peer does not multiplex.
    pub(crate) rtcp: Option<Handle>,
    pub(crate) seat: Seat,
}

/// Whether a leg has its port to itself.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Seat {
    /// It has.
    Own,
    /// Others are behind the port too. Where its peer's packets come from, once that is known.
    Shared { rtp: Option<SocketAddr>, rtcp: Option<SocketAddr> },
}

/// The way out of a leg.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Exit {
    /// A socket of its own: nothing else waits to leave with it.
    Own(RawFd),
    /// A shared socket.
    Shared(RawFd),
}

impl Legs {
    /// Whether another leg may be added under this id.
    pub(crate) fn has_room_for(&self, id: LegId) -> bool {
        self.0.len() < Relay::LEGS && self.0.iter().all(|leg| leg.id != id)
    }

    pub(crate) fn add(&mut self, leg: Leg) {
        self.0.push(leg);
    }

    pub(crate) fn find(&mut self, id: LegId) -> Option<&mut Leg> {
        self.0.iter_mut().find(|leg| leg.id == id)
    }

    /// Where packets of a leg's channel leave.
    pub(crate) fn exit(&self, id: LegId, channel: Channel) -> Option<Exit> {
        let leg = self.0.iter().find(|leg| leg.id == id)?;
        let handle = match channel {
            Channel::Rtp => leg.rtp,
            Channel::Rtcp => leg.rtcp?,
        };
        Some(match leg.seat {
            Seat::Own => Exit::Own(handle.descriptor()),
            Seat::Shared { .. } => Exit::Shared(handle.descriptor()),
        })
    }

    /// Takes one leg out.
    pub(crate) fn take(&mut self, id: LegId) -> Option<Leg> {
        let at = self.0.iter().position(|leg| leg.id == id)?;
        Some(self.0.swap_remove(at))
    }

    /// Takes all legs out.
    pub(crate) fn take_all(&mut self) -> Vec<Leg> {
        std::mem::take(&mut self.0)
    }
}

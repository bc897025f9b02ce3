//! The way to a peer whose address or keys are not in its description: ICE finds the one, a handshake the other, and
//! until both are there nothing is sent or taken.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use setu_model::Side;

use crate::ice::{IceAgent, IceEvent};
use crate::leg::{Agreed, Leg};
use crate::relay::Outgoing;
use crate::{Channel, Crypto, DtlsSetup, Event, HandshakeInput, HandshakeOutput, LegSetup, Sink};

/// What a leg still waits for, and what it keeps alive.
pub(crate) struct Path {
    ice: Option<IceAgent>,
    handshake: Option<Handshaking>,
    /// What the partner said meanwhile, oldest first.
    held: VecDeque<Held>,
    /// Packets that were too many to be held.
    unheld: u64,
}

/// A packet of the partner that waits for the way to the peer.
pub(crate) struct Held {
    pub(crate) packet: Outgoing,
    pub(crate) payload: Box<[u8]>,
    pub(crate) arrived: Instant,
}

/// How far the handshake of a leg is, which itself runs elsewhere.
enum Handshaking {
    /// The peer is not found yet.
    Waiting(Box<DtlsSetup>),
    Running,
    Done,
    Failed,
}

impl Path {
    /// Makes the path of a leg, if one has to be found.
    pub(crate) fn new(setup: &LegSetup, now: Instant) -> Option<Box<Self>> {
        let ice = setup.ice.as_deref().map(|ice| IceAgent::new(ice.clone(), now));
        let handshake = handshake_of(setup);
        (ice.is_some() || handshake.is_some())
            .then(|| Box::new(Self { ice, handshake, held: VecDeque::new(), unheld: 0 }))
    }

    /// Goes over to what was agreed anew. What did not change goes on: the peer keeps its consent and its keys.
    pub(crate) fn renew(path: &mut Option<Box<Self>>, before: &LegSetup, setup: &LegSetup, now: Instant) {
        let (Some(path), Some(fresh)) = (path.as_mut(), Self::new(setup, now)) else {
            *path = Self::new(setup, now);
            return;
        };
        if before.ice != setup.ice {
            path.ice = fresh.ice;
        }
        if dtls_of(before) != dtls_of(setup) {
            path.handshake = fresh.handshake;
        }
    }

    /// Returns whether packets may flow.
    pub(crate) fn is_ready(&self) -> bool {
        let found = self.ice.as_ref().is_none_or(|ice| ice.target().is_some());
        found && matches!(self.handshake, None | Some(Handshaking::Done))
    }

    /// Asks the peer again at once.
    pub(crate) fn hurry(&mut self, now: Instant) {
        if let Some(ice) = &mut self.ice {
            ice.hurry(now);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.ice.as_ref().and_then(IceAgent::poll_timeout)
    }
}

impl Agreed {
    /// Returns where packets go, and from which local port; `None` while there is no way.
    pub(crate) fn target(&self, channel: Channel) -> Option<(Channel, SocketAddr)> {
        match self.path.as_ref().and_then(|path| path.ice.as_ref()) {
            Some(ice) => ice.target().map(|to| (Channel::Rtp, to)),
            None => Some(self.address.target(channel)),
        }
    }

    /// Returns whether a handshake is taken from there: with ICE from an address that proved itself, without it from
    /// the signalled one alone (security.md, row 6).
    fn hears_dtls(&self, from: SocketAddr) -> bool {
        let Some(path) = self.path.as_ref() else { return false };
        let there = match &path.ice {
            Some(ice) => ice.proved(from),
            None => self.address.is_signalled(from),
        };
        there && matches!(path.handshake, Some(Handshaking::Running | Handshaking::Done))
    }
}

impl Leg {
    /// Takes a STUN message.
    pub(crate) fn take_stun(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
        sink: &mut impl Sink,
    ) {
        let id = self.id;
        let ice = self.path().and_then(|path| path.ice.as_mut());
        let mut send = |to, bytes: &[u8]| sink.transmit(id, Channel::Rtp, to, bytes);
        if !ice.is_some_and(|ice| ice.handle(from, datagram, now, &mut send)) {
            self.inbound.rejected += 1;
        }
    }

    /// Takes a DTLS datagram, for the handshake.
    pub(crate) fn take_dtls(&mut self, from: SocketAddr, datagram: &[u8], sink: &mut impl Sink) {
        if self.agreed.as_ref().is_some_and(|agreed| agreed.hears_dtls(from)) {
            sink.handshake(self.id, HandshakeInput::Datagram(datagram.into()));
        } else {
            // The newest one, whoever sent it: it is looked at when it is known who may.
            if self.agreed.is_none() {
                self.early_hello = Some((from, datagram.into()));
            }
            self.inbound.rejected += 1;
        }
    }

    /// Takes what the handshake has to say.
    pub(crate) fn take_handshake(&mut self, output: HandshakeOutput, now: Instant, sink: &mut impl Sink) {
        let id = self.id;
        let Some(agreed) = &mut self.agreed else { return };
        let target = agreed.target(Channel::Rtp);
        let Some(state) = agreed.path.as_mut().and_then(|path| path.handshake.as_mut()) else { return };
        match output {
            HandshakeOutput::Datagram(datagram) => {
                if let Some((channel, to)) = target {
                    sink.transmit(id, channel, to, &datagram);
                }
            }
            HandshakeOutput::Keys(keys) => {
                *state = Handshaking::Done;
                let (suite, send, receive) = (keys.suite, keys.send, keys.receive);
                if let Err(why) = agreed.guard.rekey(&Crypto::Srtp { suite, send, receive }) {
                    sink.event(Event::SetupFailed { leg: id, why });
                }
                self.begin(now);
            }
            HandshakeOutput::Failed(why) => {
                *state = Handshaking::Failed;
                sink.event(Event::HandshakeFailed { leg: id, why });
            }
        }
    }

    /// Returns whether packets of the partner are taken: to be sent, or to wait while the way to an agent is being
    /// found, so that the first word of a customer is not lost to a handshake. Toward Meta none waits, as it wants each
    /// packet in its time.
    pub(crate) fn takes(&self) -> bool {
        let awaited = self.asked.is_some() && self.started.is_none() && self.direction.sends();
        self.may_send() || (awaited && self.side == Side::Agents)
    }

    /// Lets a packet wait.
    pub(crate) fn hold(&mut self, packet: Outgoing, payload: &[u8], arrived: Instant) {
        let Some(path) = self.path() else { return };
        if path.held.len() >= MOST_HELD {
            path.held.pop_front();
            path.unheld += 1;
        }
        path.held.push_back(Held { packet, payload: payload.into(), arrived });
    }

    /// Takes what waits, once it may go.
    pub(crate) fn take_held(&mut self, now: Instant) -> VecDeque<Held> {
        let (id, may_send) = (self.id, self.may_send());
        let Some(agreed) = self.agreed.as_mut().filter(|_| may_send) else { return VecDeque::new() };
        let Some(path) = agreed.path.as_mut().filter(|path| !path.held.is_empty()) else {
            return VecDeque::new();
        };
        agreed.outbound.first_sent.get_or_insert(now);
        let (held, unheld) = (path.held.len(), path.unheld);
        tracing::debug!(leg = id.index, held, unheld, "sent what was said during the handshake");
        std::mem::take(&mut path.held)
    }

    /// Keeps the path: sends what is due, begins the handshake, tells of its loss.
    pub(crate) fn run_path(&mut self, now: Instant, sink: &mut impl Sink) {
        let id = self.id;
        let Some(path) = self.path() else { return };
        let mut lost = false;
        if let Some(ice) = &mut path.ice {
            ice.handle_timeout(now, &mut |to, bytes| sink.transmit(id, Channel::Rtp, to, bytes));
            lost = ice.poll_event() == Some(IceEvent::Lost);
        }
        if path.ice.as_ref().is_none_or(|ice| ice.target().is_some())
            && let Some(Handshaking::Waiting(setup)) = &path.handshake
        {
            sink.handshake(id, HandshakeInput::Begin(setup.clone()));
            path.handshake = Some(Handshaking::Running);
            let early = self.early_hello.take();
            let hears = |from| self.agreed.as_ref().is_some_and(|agreed| agreed.hears_dtls(from));
            if let Some((_, hello)) = early.filter(|(from, _)| hears(*from)) {
                sink.handshake(id, HandshakeInput::Datagram(hello));
            }
        }
        if lost {
            self.started = None;
            self.inbound.told_silent();
            sink.event(Event::ConsentLost { leg: id });
        } else {
            self.begin(now);
        }
    }

    /// Ends the handshake, as far as there is one.
    pub(crate) fn end_handshake(&mut self, sink: &mut impl Sink) {
        let id = self.id;
        let begun = |handshake: &Handshaking| !matches!(handshake, Handshaking::Waiting(_));
        if self.path().is_some_and(|path| path.handshake.as_ref().is_some_and(begun)) {
            sink.handshake(id, HandshakeInput::End);
        }
    }

    fn path(&mut self) -> Option<&mut Path> {
        self.agreed.as_mut()?.path.as_deref_mut()
    }
}

/// Packets of the partner that wait for the way to the peer: one second, which is what a browser's jitter buffer takes
/// at once.
const MOST_HELD: usize = 50;

fn dtls_of(setup: &LegSetup) -> Option<&DtlsSetup> {
    match &setup.crypto {
        Crypto::Dtls(dtls) => Some(dtls),
        Crypto::Plain | Crypto::Srtp { .. } => None,
    }
}

fn handshake_of(setup: &LegSetup) -> Option<Handshaking> {
    dtls_of(setup).map(|dtls| Handshaking::Waiting(Box::new(dtls.clone())))
}

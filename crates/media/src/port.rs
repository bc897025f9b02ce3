//! What goes in and out of the media plane: commands, events, packets.

use std::net::SocketAddr;
use std::sync::Arc;

use setu_model::{CallId, LegId, MediaQuality, Side, TapFrame};

use crate::{Clip, HandshakeFailed, HandshakeInput, Job, LegSetup, SetupRefused};

/// What the call tells the media plane.
#[derive(Debug, Clone)]
pub enum Command {
    /// Reserve a local address for a leg. Answered by [`Event::Opened`] or [`Event::OpenFailed`].
    Open {
        /// The leg, new.
        leg: LegId,
        /// Which of the bridge's two faces it is on.
        side: Side,
    },
    /// The same for a leg on [`Side::Agents`] whose port others may be behind as well, told apart by their peers'
    /// addresses: it hears nothing but what comes from the addresses of its setup. For peers that send from where
    /// they signalled, and use an address for one call at a time.
    OpenShared {
        /// The leg, new.
        leg: LegId,
    },
    /// Set a leg up with what offer and answer agreed. Again for a leg that is set up already: its outbound stream
    /// goes on, and so do the SRTP contexts whose keys did not change.
    Configure(Box<LegSetup>),
    /// The leg is answered, or early media toward it may flow: its stream begins with a first packet at once.
    Start {
        /// The leg.
        leg: LegId,
    },
    /// Each of the two feeds the other from here on. Whoever fed either of them before no longer does.
    Bridge {
        /// One leg of the call.
        one: LegId,
        /// The other.
        other: LegId,
    },
    /// Nobody feeds the leg, and it feeds nobody: its stream goes on with comfort frames.
    Unbridge {
        /// The leg.
        leg: LegId,
    },
    /// Which way audio flows on a leg from here on; a new leg starts with [`Direction::SendRecv`].
    Direct {
        /// The leg.
        leg: LegId,
        /// The agreed direction, from the bridge's point of view.
        direction: Direction,
    },
    /// Press a key toward the leg's peer by telephone events (RFC 4733), after those that wait. Nothing happens on a
    /// leg that agreed on none.
    Press {
        /// The leg.
        leg: LegId,
        /// `0`-`9`, `*`, `#`, `A`-`D`; anything else is ignored.
        digit: char,
        /// How long to hold it, in milliseconds: 40 to 5,000, anything else is brought there.
        duration_ms: u32,
    },
    /// Let the leg's peer hear a sound from here on, instead of whatever sound was commanded before.
    Play {
        /// The leg.
        leg: LegId,
        /// What.
        clip: Arc<Clip>,
        /// How.
        how: Play,
    },
    /// No sound any more: the leg goes on with what its partner says, or comfort frames.
    StopPlaying {
        /// The leg.
        leg: LegId,
    },
    /// Open or close the tap on the call's Meta leg. Opening it again starts a new time line.
    Tap {
        /// The call.
        call: CallId,
        /// Open or closed.
        on: bool,
    },
    /// End one leg, such as a losing fork: RTCP BYE, its address back to the pool. Answered by [`Event::LegClosed`].
    CloseLeg {
        /// The leg.
        leg: LegId,
    },
    /// End the call: RTCP BYE on every leg. Answered by [`Event::Closed`].
    Close {
        /// The call.
        call: CallId,
    },
}

impl Command {
    /// Returns the call this command is about, which decides the worker it goes to.
    pub fn call(&self) -> CallId {
        match self {
            Self::Open { leg, .. }
            | Self::OpenShared { leg }
            | Self::Start { leg }
            | Self::Bridge { one: leg, .. }
            | Self::Unbridge { leg }
            | Self::Direct { leg, .. }
            | Self::Press { leg, .. }
            | Self::Play { leg, .. }
            | Self::StopPlaying { leg }
            | Self::CloseLeg { leg } => leg.call,
            Self::Configure(setup) => setup.leg.call,
            Self::Tap { call, .. } | Self::Close { call } => *call,
        }
    }
}

/// What the media plane tells the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The leg has a local address; `local` is the advertised one, for the SDP.
    Opened {
        /// The leg.
        leg: LegId,
        /// Advertised address and RTP port.
        local: SocketAddr,
    },
    /// The leg has no address.
    OpenFailed {
        /// The leg.
        leg: LegId,
        /// Why.
        why: OpenFailure,
    },
    /// [`Command::Configure`] or [`Command::Bridge`] cannot be carried out; nothing changed.
    SetupFailed {
        /// The leg.
        leg: LegId,
        /// Why.
        why: SetupRefused,
    },
    /// The leg's handshake gave no keys: nothing will pass.
    HandshakeFailed {
        /// The leg.
        leg: LegId,
        /// Why.
        why: HandshakeFailed,
    },
    /// The first packet was taken from the leg, after authentication: its media path works.
    FirstPacket {
        /// The leg.
        leg: LegId,
    },
    /// Nothing was taken from the leg for the profile's timeout. Told once; told again only after a packet came in between.
    Silent {
        /// The leg.
        leg: LegId,
    },
    /// The peer has not renewed its consent to be sent to for 30 s (RFC 7675 section 5.1): nothing is sent any more.
    ConsentLost {
        /// The leg.
        leg: LegId,
    },
    /// A key was pressed on the leg (RFC 4733). Told once per press, when it went up, or when nothing was heard of it
    /// for 400 ms. It is pressed toward the partner besides, if that one agreed on telephone events.
    Dtmf {
        /// The leg it came from.
        leg: LegId,
        /// `0`-`9`, `*`, `#`, `A`-`D`.
        digit: char,
        /// How long the key was held, in milliseconds.
        duration_ms: u32,
    },
    /// What the leg's media looked like so far; told with each RTCP report.
    Quality {
        /// The leg.
        leg: LegId,
        /// Toward whom it is.
        side: Side,
        /// Since its beginning.
        quality: Box<MediaQuality>,
    },
    /// A [`Play::Once`] was heard to its end.
    Played {
        /// The leg.
        leg: LegId,
    },
    /// The leg is gone.
    LegClosed {
        /// The leg.
        leg: LegId,
        /// Its counters.
        quality: MediaQuality,
    },
    /// The call is gone.
    Closed {
        /// The call.
        call: CallId,
        /// The counters of each leg that was not closed before, in the order of their indexes.
        quality: Vec<(LegId, MediaQuality)>,
    },
}

/// How a sound is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Play {
    /// Over and over, in place of comfort frames: while the partner speaks, it is heard instead. Music on hold.
    Behind,
    /// Once, and nothing else meanwhile; [`Event::Played`] tells its end. An announcement.
    Once,
}

/// Why a leg got no local address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenFailure {
    /// Every port of the side's range is in use or in quarantine.
    #[error("no free media port on this side")]
    NoFreePort,
    /// The system refused the socket.
    #[error("the system refused a media socket")]
    Socket,
    /// The call has [`crate::Relay::LEGS`] legs already, or this leg exists.
    #[error("no room for another leg in this call")]
    NoRoom,
    /// The media plane is stopping.
    #[error("the media plane is stopping")]
    Stopping,
}

/// Which way audio flows on a leg, from the bridge's point of view (RFC 3264 section 6.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// Only from the bridge to the peer.
    SendOnly,
    /// Only from the peer to the bridge: the peer holds the call, perhaps with music.
    RecvOnly,
    /// Neither way.
    Inactive,
}

impl Direction {
    /// Returns whether the peer listens.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Returns whether the peer may speak.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// Which of a leg's two local ports a datagram came to or leaves from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// The RTP port; with RTCP on it too where both were multiplexed (RFC 5761).
    Rtp,
    /// The RTCP port, one above, where they were not.
    Rtcp,
}

/// Where a datagram came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The leg whose local port it came to.
    pub leg: LegId,
    /// Which of its ports.
    pub channel: Channel,
    /// The datagram's source address.
    pub from: SocketAddr,
}

/// Where the relay puts what it produces, while the call that produced it still runs: packets are neither queued nor
/// allocated.
pub trait Sink {
    /// Sends a finished datagram from the leg's local `channel`.
    fn transmit(&mut self, leg: LegId, channel: Channel, to: SocketAddr, datagram: &[u8]);

    /// Takes work for [`crate::Coders`], in order for each way; what comes of it is for
    /// [`crate::Relay::handle_coded`]. Must not wait.
    fn code(&mut self, job: Job<'_>);

    /// Takes a frame of the tapped Meta leg. Must not wait.
    fn tap(&mut self, frame: TapFrame);

    /// Takes what is for the leg's handshake, which runs elsewhere. Must not wait.
    fn handshake(&mut self, leg: LegId, input: HandshakeInput);

    /// Takes an event.
    fn event(&mut self, event: Event);
}

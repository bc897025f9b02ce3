//! The media of one call, as the call core sees it: two ends, what was agreed for each, and what the media plane
//! was told of it.

use std::net::SocketAddr;

use setu_model::{CallId, Entropy, LegId, MediaQuality, Secret, Side};
use setu_sdp::{Local, Negotiated, Policy};

use crate::call::Context;
use crate::ports::{CALLED_MEDIA, MediaCommand, MediaSetup, PeerKind, PortUse, Sound, StreamStart};

/// Both ends.
#[derive(Debug, Clone)]
pub(crate) struct CallMedia {
    pub(crate) plane: Plane,
    pub(crate) originator: MediaLeg,
    pub(crate) called: MediaLeg,
    pub(crate) bridged: bool,
    pub(crate) quality: Vec<(LegId, MediaQuality)>,
}

/// Whether the media plane holds anything of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plane {
    Untouched,
    Open,
    Closing,
    Closed,
}

/// One end.
#[derive(Debug, Clone)]
pub(crate) struct MediaLeg {
    pub(crate) id: LegId,
    pub(crate) side: Side,
    pub(crate) peer: PeerKind,
    pub(crate) port: PortUse,
    pub(crate) stream: StreamStart,
    pub(crate) ice_seed: Secret<[u8; 32]>,
    /// Our advertised address, when the port is open.
    pub(crate) local: Option<SocketAddr>,
    /// What our descriptions are made of, and what was agreed last.
    pub(crate) terms: Option<Box<Terms>>,
    /// What the media plane was told last.
    pub(crate) configured: Option<Box<Negotiated>>,
    pub(crate) started: bool,
    pub(crate) held: bool,
    /// Whether its peer hears a sound.
    pub(crate) plays: bool,
}

/// What one end agreed on, and by what.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) policy: Policy,
    pub(crate) local: Local,
    pub(crate) agreed: Negotiated,
}

impl CallMedia {
    pub(crate) fn new(
        call: CallId,
        originator: (Side, PeerKind, PortUse),
        called: (Side, PeerKind, PortUse),
        entropy: &mut dyn Entropy,
    ) -> Self {
        let mut leg = |index, face| MediaLeg::new(LegId { call, index }, face, entropy);
        Self {
            plane: Plane::Untouched,
            originator: leg(0, originator),
            called: leg(CALLED_MEDIA, called),
            bridged: false,
            quality: Vec::new(),
        }
    }

    pub(crate) fn leg_mut(&mut self, index: u8) -> Option<&mut MediaLeg> {
        match index {
            0 => Some(&mut self.originator),
            CALLED_MEDIA => Some(&mut self.called),
            _ => None,
        }
    }

    /// Keeps what a leg's media looked like last.
    pub(crate) fn note_quality(&mut self, leg: LegId, quality: MediaQuality) {
        match self.quality.iter_mut().find(|(known, _)| *known == leg) {
            Some((_, known)) => *known = quality,
            None if leg.index <= CALLED_MEDIA => self.quality.push((leg, quality)),
            None => {}
        }
    }

    /// What the media of one side looked like last.
    pub(crate) fn quality_of(&self, side: Side) -> Option<&MediaQuality> {
        let leg = if self.originator.side == side { &self.originator } else { &self.called };
        self.quality.iter().find(|(known, _)| *known == leg.id).map(|(_, quality)| quality)
    }

    /// Asks for both ports.
    pub(crate) fn open(&mut self, ctx: &mut Context<'_>) {
        self.plane = Plane::Open;
        for leg in [&self.originator, &self.called] {
            ctx.media(MediaCommand::Open { leg: leg.id, side: leg.side, port: leg.port });
        }
    }

    /// Gives everything back, once, if anything was taken.
    pub(crate) fn close(&mut self, call: CallId, ctx: &mut Context<'_>) {
        if self.plane == Plane::Open {
            self.plane = Plane::Closing;
            ctx.media(MediaCommand::Close { call });
        }
    }

    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.plane, Plane::Untouched | Plane::Closed)
    }

    /// The end toward the customer.
    pub(crate) fn customer_mut(&mut self) -> &mut MediaLeg {
        if self.originator.side == Side::Meta { &mut self.originator } else { &mut self.called }
    }

    /// Whether the agents' side holds the call.
    pub(crate) const fn is_held(&self) -> bool {
        self.originator.held || self.called.held
    }

    /// Begins both streams.
    pub(crate) fn start(&mut self, ctx: &mut Context<'_>) {
        self.originator.start(ctx);
        self.called.start(ctx);
    }

    /// Lets audio flow between both ends.
    pub(crate) fn bridge(&mut self, call: CallId, ctx: &mut Context<'_>) {
        self.start(ctx);
        if !self.bridged {
            self.bridged = true;
            ctx.media(MediaCommand::Bridge { call });
        }
    }
}

impl MediaLeg {
    fn new(id: LegId, (side, peer, port): (Side, PeerKind, PortUse), entropy: &mut dyn Entropy) -> Self {
        let sequence = u16::try_from(entropy.next_u32() & 0x7fff).unwrap_or(0);
        let stream = StreamStart { ssrc: entropy.next_u32(), sequence, timestamp: entropy.next_u32() };
        let (local, terms, configured) = (None, None, None);
        let mut ice_seed = [0; 32];
        entropy.fill(&mut ice_seed);
        let ice_seed = Secret::new(ice_seed);
        let (started, held, plays) = (false, false, false);
        Self { id, side, peer, port, stream, ice_seed, local, terms, configured, started, held, plays }
    }

    /// Takes what was agreed, and tells the media plane what of it is new to it.
    pub(crate) fn agree(
        &mut self,
        policy: &Policy,
        local: &Local,
        agreed: Negotiated,
        ctx: &mut Context<'_>,
    ) {
        if self.configured.as_deref().is_none_or(|configured| differs(configured, &agreed)) {
            ctx.media(MediaCommand::Configure(Box::new(MediaSetup {
                leg: self.id,
                side: self.side,
                peer: self.peer,
                agreed: agreed.clone(),
                stream: self.stream,
                ice_seed: self.ice_seed.clone(),
            })));
            self.configured = Some(Box::new(agreed.clone()));
        }
        if self.held != agreed.hold {
            self.held = agreed.hold;
            ctx.media(MediaCommand::Hold { leg: self.id, held: self.held });
        }
        self.terms = Some(Box::new(Terms { policy: policy.clone(), local: local.clone(), agreed }));
    }

    /// Lets the peer hear a sound.
    pub(crate) fn play(&mut self, sound: Sound, ctx: &mut Context<'_>) {
        self.plays = true;
        ctx.media(MediaCommand::Play { leg: self.id, sound });
    }

    /// Ends the sound, if there is one.
    pub(crate) fn stop_playing(&mut self, ctx: &mut Context<'_>) {
        if std::mem::take(&mut self.plays) {
            ctx.media(MediaCommand::StopPlaying { leg: self.id });
        }
    }

    /// Begins the stream, once.
    pub(crate) fn start(&mut self, ctx: &mut Context<'_>) {
        if !self.started {
            self.started = true;
            ctx.media(MediaCommand::Start { leg: self.id });
        }
    }
}

/// Says whether the media plane must be told: hold alone is told by its own command, and a peer that holds with
/// `c=0.0.0.0` has not moved.
fn differs(configured: &Negotiated, agreed: &Negotiated) -> bool {
    let mut expected = configured.clone();
    expected.direction = agreed.direction;
    expected.hold = agreed.hold;
    expected.version = agreed.version;
    if agreed.remote.ip().is_unspecified() {
        expected.remote = agreed.remote;
        expected.remote_rtcp = agreed.remote_rtcp;
    }
    expected != *agreed
}

//! The ports of the call core: what it is told and what it commands, as plain values.
//!
//! The bridge's shell turns SIP, media and recorder events into these and these into their commands.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use setu_model::{
    AnsweredBy, CallFacts, CallId, Cause, Cdr, DigitRecord, Direction, Ingress, LegId, MediaQuality, Now,
    Pii, RecordingRef, RuleRefusal, Secret, Side, Termination, Wall,
};
use setu_sdp::Negotiated;

use crate::config::CallConfig;
use crate::config::{Extension, PrivateTrunk};
use crate::desk::DeskChange;

/// Everything the core can be told.
#[derive(Debug, Clone)]
pub enum Input {
    /// A call came in, authenticated.
    Offered(Box<Offered>),
    /// A call is over before it came to anything: its leg had to refuse it, or it was awaited and did not come. It leaves a
    /// record and nothing else.
    TurnedAway {
        /// The call.
        offered: Box<Offered>,
        /// When it began.
        began: Now,
        /// How it ended, with the status it was refused with.
        end: Termination,
    },
    /// Something happened on a leg.
    Leg(LegEvent),
    /// Something happened to the media of a call.
    Media(MediaEvent),
    /// Something happened to a recording.
    Record(RecordEvent),
    /// The gate's answer to [`Output::Ask`].
    Gate {
        /// The call it was asked about.
        call: CallId,
        /// What it said.
        verdict: Verdict,
    },
    /// The business wants a call to end.
    HangUp {
        /// Which.
        call: CallId,
    },
    /// The agents' side changed: who is reachable, which trunk is up.
    Desk(DeskChange),
    /// A new configuration. Live calls keep what they took from the old one.
    Configure(Box<CallConfig>),
    /// The first time: take no new calls, let live ones finish. The second time: hang up all.
    Drain,
}

/// A call that came in.
#[derive(Debug, Clone)]
pub struct Offered {
    /// A fresh id; the originator's leg is [`LegId::originator`] of it.
    pub call: CallId,
    /// How the call reached the bridge.
    pub ingress: Ingress,
    /// Who began it.
    pub direction: Direction,
    /// Who sent it, as proven by authentication.
    pub origin: Origin,
    /// The user part of the Request-URI, as sent, without user parameters.
    pub dialled: String,
    /// What the request told of the call. `number` and `customer` of a business-initiated call are filled in
    /// by the core.
    pub facts: CallFacts,
    /// The session description; none asks the bridge to make the offer: an INVITE without one (RFC 3261 section
    /// 13.2.1), or an originator who waits to be reached.
    pub offer: Option<Bytes>,
    /// How it takes our answer.
    pub answer_in: AnswerIn,
}

/// How an originator takes our answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AnswerIn {
    /// In one step, with which media flows.
    #[default]
    OneStep,
    /// In two: the description ahead, by [`LegCommand::Describe`], so that its media can be set up while the agent rings,
    /// which begins with [`LegEvent::Prepared`]; then [`LegCommand::Answer`]. Media flows once [`LegEvent::Acked`] confirms
    /// it.
    TwoSteps,
}

/// Who sent a call, as proven by authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Meta or its provider, for the business number (E.164 with `+`) whose password or secret it proved.
    Meta {
        /// E.164 with `+`.
        number: String,
    },
    /// A provider, which has a customer on the line whom nobody asked for: a call of the business asks the gate.
    Waiting {
        /// The business number, E.164 with `+`.
        number: String,
    },
    /// An agent's softphone, by account name.
    Account(String),
    /// A trunk, by name.
    Trunk(String),
    /// The business, which asks for a call to the customer of its facts: both sides are called. The originator's leg is
    /// the customer's, who is reached by [`LegCommand::Answer`].
    Placed(Placed),
}

/// A call that the bridge is asked to place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placed {
    /// The business number to call from, E.164 with `+`.
    pub number: String,
    /// Who is to take it, the first of these who is free, by account name; empty leaves it to the number's route.
    pub agents: Vec<String>,
    /// Who rings first; none leaves it to the number.
    pub ring: Option<RingOrder>,
    /// Whether a person asks for this very call, rather than a dialler.
    pub by_hand: bool,
    /// The reservation whose agent is to take it.
    pub reservation: Option<CallId>,
}

/// Who rings first in a call that the bridge is asked to place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RingOrder {
    /// The agent: the customer is called once he has answered, and never waits.
    #[default]
    AgentFirst,
    /// The customer: the agent, who is reserved, rings once the customer has answered, who hears
    /// [`Sound::Waiting`] meanwhile.
    CustomerFirst,
}

/// What the core commands.
#[derive(Debug, Clone)]
pub enum Output {
    /// To the signalling of a leg.
    Leg(LegCommand),
    /// To the media plane.
    Media(MediaCommand),
    /// To the recorder.
    Record(RecordCommand),
    /// May this call be made? Answered by [`Input::Gate`]; without an answer in time the call is refused.
    Ask(Question),
    /// A call has come a step further: for whoever follows it.
    Progress(Box<Progress>),
    /// A call is over and this is its record: exactly one for every [`Offered`].
    Cdr(Box<Cdr>),
    /// The bridge was told to drain and the last call is over. Comes once.
    Drained,
}

/// A call has come a step further. Its record tells the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The call.
    pub call: CallId,
    /// What happened.
    pub step: Step,
    /// When.
    pub at: Wall,
    /// Who began it.
    pub direction: Direction,
    /// How it came.
    pub ingress: Ingress,
    /// What is known of it.
    pub facts: CallFacts,
    /// Who took it or made it; none before that is known.
    pub agent: Option<AnsweredBy>,
}

/// How far a call has come. Each but a key comes once a call at most, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It came in.
    Offered,
    /// The called side rings.
    Ringing,
    /// Both sides are connected.
    Answered,
    /// A key was pressed; the digit is hidden where records hide it.
    Key(DigitRecord),
}

/// Asked about a business-initiated call of a number with a gate, once whoever makes the call is set aside for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The call.
    pub call: CallId,
    /// The business number, E.164 with `+`.
    pub number: String,
    /// The customer, E.164 with `+`.
    pub customer: Pii<String>,
    /// Whether a person asks for this very call, rather than a dialler.
    pub by_hand: bool,
    /// What the call is for.
    pub use_case: Option<String>,
}

/// What the gate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may be made.
    Allowed,
    /// It may not.
    Refused {
        /// The status the originator hears.
        status: u16,
        /// The rules that forbid it, the one that is hardest to change first.
        rules: Vec<RuleRefusal>,
    },
    /// It cannot be said, and so the call is not made.
    Unknown {
        /// Why, for the operator.
        why: String,
    },
}

/// To the signalling of one leg.
#[derive(Debug, Clone)]
pub enum LegCommand {
    /// Send a provisional response: 180, or 183 with `early` as its body.
    Ring {
        /// The originator's leg.
        leg: LegId,
        /// Our answer, where early media flows.
        early: Option<String>,
    },
    /// Tell our answer ahead; nobody rings yet.
    Describe {
        /// The leg of an originator who takes it [`AnswerIn::TwoSteps`].
        leg: LegId,
        /// Our session description. [`LegCommand::Answer`] repeats it.
        sdp: String,
    },
    /// Send the 200 with our answer (or our offer, where the INVITE had none); reach an originator who waits for that
    /// with our offer. The acknowledgement comes back as [`LegEvent::Acked`].
    Answer {
        /// The originator's leg.
        leg: LegId,
        /// Our session description.
        sdp: String,
    },
    /// Send a final refusal. Confirmed by [`LegEvent::Ended`].
    Refuse {
        /// The originator's leg.
        leg: LegId,
        /// 4xx to 6xx.
        status: u16,
        /// Our reason phrase; none takes the usual one of the status.
        reason: Option<String>,
        /// Seconds for a Retry-After header.
        retry_after_s: Option<u32>,
        /// What a phone or PBX is told in Warning headers (RFC 3261 section 20.43), one each.
        warnings: Vec<String>,
    },
    /// Send an INVITE.
    Dial(Box<Dial>),
    /// End the leg as its state demands: CANCEL, BYE, or a refusal if it is an unanswered originator.
    /// Confirmed by [`LegEvent::Ended`] or [`LegEvent::Refused`].
    HangUp {
        /// Any leg.
        leg: LegId,
        /// Why, for a Reason header (RFC 3326) toward agents.
        cause: Cause,
    },
    /// Accept a re-INVITE or UPDATE with this answer (or with this offer, where it had none).
    AcceptReoffer {
        /// A leg of the agents' side.
        leg: LegId,
        /// Our session description.
        sdp: String,
    },
    /// Refuse a re-INVITE or UPDATE; the session goes on as it was.
    RejectReoffer {
        /// The leg that asked.
        leg: LegId,
        /// 4xx.
        status: u16,
    },
    /// Tell the peer of a key by INFO (`application/dtmf-relay`).
    Key {
        /// An answered leg of the agents' side.
        leg: LegId,
        /// `0` to `9`, `*`, `#`, `A` to `D`.
        digit: Pii<char>,
        /// How long it was held, in milliseconds.
        duration_ms: u32,
    },
}

impl LegCommand {
    /// Returns the leg the command is for.
    pub fn leg(&self) -> LegId {
        match self {
            Self::Ring { leg, .. }
            | Self::Describe { leg, .. }
            | Self::Answer { leg, .. }
            | Self::Refuse { leg, .. }
            | Self::HangUp { leg, .. }
            | Self::AcceptReoffer { leg, .. }
            | Self::RejectReoffer { leg, .. }
            | Self::Key { leg, .. } => *leg,
            Self::Dial(dial) => dial.leg,
        }
    }
}

/// An INVITE to send.
#[derive(Debug, Clone)]
pub struct Dial {
    /// The new leg.
    pub leg: LegId,
    /// Whom.
    pub target: DialTarget,
    /// Our offer.
    pub offer: String,
    /// What is known of the call; [`crate::setu_headers`] makes the `X-Setu-*` headers of it toward agents.
    pub facts: CallFacts,
}

/// Whom to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialTarget {
    /// One registered contact of an agent.
    Contact {
        /// Account name.
        agent: String,
        /// As told by [`DeskChange::ContactUp`].
        contact: ContactId,
    },
    /// An extension behind a trunk.
    Trunk {
        /// A trunk that leads to no public telephone network.
        trunk: PrivateTrunk,
        /// The configured extension, never a number somebody dialled.
        extension: Extension,
    },
    /// A WhatsApp user.
    Customer {
        /// The business number to call from, E.164 with `+`.
        number: String,
        /// Whom to call, E.164 with `+`.
        customer: String,
    },
}

/// Names one registered contact of an agent; given by whoever keeps the bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContactId(pub u64);

/// From the signalling of one leg. Every leg that was offered or dialled ends with exactly one
/// [`Refused`](Self::Refused) or [`Ended`](Self::Ended).
#[derive(Debug, Clone)]
pub enum LegEvent {
    /// A provisional response other than 100.
    Ringing {
        /// A dialled leg, or an originator who is reached.
        leg: LegId,
        /// Its session description, where it carried one.
        early: Option<Bytes>,
    },
    /// The customer is called by a request, and nothing rings yet: the originator hears ringing meanwhile.
    Asked {
        /// A dialled leg.
        leg: LegId,
        /// How long the customer, who has to allow the call first, is waited for; [`LegEvent::Allowed`] tells that he does.
        /// None where the request itself calls.
        wait: Option<Duration>,
    },
    /// The customer who was asked allows the call, and is reached.
    Allowed {
        /// A dialled leg.
        leg: LegId,
        /// What was told of the call with it; only its optional fields are read.
        learnt: Box<CallFacts>,
    },
    /// WhatsApp's id of the call became known.
    Named {
        /// A dialled leg.
        leg: LegId,
        /// The id.
        wacid: String,
    },
    /// [`LegCommand::Describe`] is done, or could not be.
    Prepared {
        /// The originator's leg.
        leg: LegId,
    },
    /// The peer's answer came ahead of its decision: its media is set up, and nothing flows yet.
    Described {
        /// A dialled leg, or an originator who is reached.
        leg: LegId,
        /// Its session description.
        sdp: Bytes,
    },
    /// A 2xx; its ACK is out.
    Answered {
        /// A dialled leg.
        leg: LegId,
        /// Its session description.
        sdp: Option<Bytes>,
        /// What the response told of the call; only its optional fields are read.
        learnt: Option<Box<CallFacts>>,
    },
    /// A final refusal, the peer's or (408, 503) one that stands for a peer that could not be reached.
    Refused {
        /// A dialled leg, or an originator who was to be reached.
        leg: LegId,
        /// The status, 300 to 699.
        status: u16,
        /// What it means; of Meta's refusals `whatsapp::refusal` knows, [`crate::agent_refusal`] of the others.
        cause: Cause,
        /// The status to pass on to the originator.
        toward: u16,
        /// The reason phrase or the rule that applied.
        detail: Option<String>,
    },
    /// The ACK to our 2xx came, to the first one or to one that accepted a re-INVITE; or an originator who was to be
    /// reached answered.
    Acked {
        /// The leg that acknowledged.
        leg: LegId,
        /// The answer, where our 2xx carried the offer.
        sdp: Option<Bytes>,
    },
    /// A re-INVITE or UPDATE that wants [`LegCommand::AcceptReoffer`] or [`LegCommand::RejectReoffer`].
    /// An UPDATE or re-INVITE that merely refreshes a session timer is answered by the SIP core itself.
    Reoffered {
        /// The leg that asks.
        leg: LegId,
        /// The offer; none asks for ours.
        offer: Option<Bytes>,
    },
    /// A REFER, which the SIP core has refused already.
    TransferRefused {
        /// The leg that asked.
        leg: LegId,
    },
    /// The peer told of a key by INFO.
    Key {
        /// The leg that told.
        leg: LegId,
        /// `0` to `9`, `*`, `#`, `A` to `D`.
        digit: Pii<char>,
        /// How long it was held, in milliseconds.
        duration_ms: u32,
    },
    /// The leg is over.
    Ended {
        /// Which.
        leg: LegId,
        /// How.
        how: EndHow,
        /// The wacid, where Meta's BYE told it.
        wacid: Option<String>,
        /// Meta's own count of the call's length in seconds, where its BYE told it.
        meta_duration_s: Option<u64>,
        /// Why, in the peer's words.
        detail: Option<String>,
    },
}

impl LegEvent {
    /// Returns the leg the event is about.
    pub const fn leg(&self) -> LegId {
        match self {
            Self::Ringing { leg, .. }
            | Self::Asked { leg, .. }
            | Self::Allowed { leg, .. }
            | Self::Named { leg, .. }
            | Self::Prepared { leg }
            | Self::Described { leg, .. }
            | Self::Answered { leg, .. }
            | Self::Refused { leg, .. }
            | Self::Acked { leg, .. }
            | Self::Reoffered { leg, .. }
            | Self::TransferRefused { leg }
            | Self::Key { leg, .. }
            | Self::Ended { leg, .. } => *leg,
        }
    }
}

/// How a leg ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndHow {
    /// The peer hung up.
    Bye,
    /// The originator gave up before our answer.
    Cancelled,
    /// Our 200 was never acknowledged (RFC 3261 section 13.3.1.4).
    NoAck,
    /// A request in the dialog failed, or its connection is lost with nothing to go back to.
    Lost,
    /// The session timer ran out (RFC 4028).
    Timer,
    /// We ended it (`HangUp`, `Refuse`) and the peer confirmed or its transaction timed out.
    Local,
}

/// To the media plane. Each call has two media legs: index 0 toward the originator, and
/// [`CALLED_MEDIA`] toward the called side, whichever of its forks answers.
#[derive(Debug, Clone)]
pub enum MediaCommand {
    /// Take a port for a leg. Answered by [`MediaEvent::Opened`] or [`MediaEvent::OpenFailed`].
    Open {
        /// The media leg.
        leg: LegId,
        /// Which face of the bridge.
        side: Side,
        /// Whether other legs may be behind the same port.
        port: PortUse,
    },
    /// Set a leg's peer, keys and codec. A leg that is set again goes on with its stream where that was.
    Configure(Box<MediaSetup>),
    /// Begin to send to a leg: from now on packets leave at least every 20 ms, audio or comfort frames.
    Start {
        /// The media leg.
        leg: LegId,
    },
    /// Let audio flow between the two legs.
    Bridge {
        /// The call.
        call: CallId,
    },
    /// `held`: send no audio to this leg and expect none from it (what it sends is still relayed).
    Hold {
        /// The media leg that holds the call.
        leg: LegId,
        /// Whether it holds or takes back.
        held: bool,
    },
    /// Press a key toward the leg's peer, by telephone events.
    Press {
        /// The media leg.
        leg: LegId,
        /// `0` to `9`, `*`, `#`, `A` to `D`.
        digit: Pii<char>,
        /// How long to hold it, in milliseconds.
        duration_ms: u32,
    },
    /// Let the leg's peer hear a sound from here on, instead of the one before.
    Play {
        /// The media leg.
        leg: LegId,
        /// Which.
        sound: Sound,
    },
    /// No sound any more.
    StopPlaying {
        /// The media leg.
        leg: LegId,
    },
    /// Copy both directions of the Meta leg to the recorder, or stop to.
    Tap {
        /// The call.
        call: CallId,
        /// Whether to.
        on: bool,
    },
    /// Give everything of the call back. Confirmed by [`MediaEvent::Closed`].
    Close {
        /// The call.
        call: CallId,
    },
}

/// A sound for a leg that has no agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sound {
    /// Music on hold, over and over, while the holding agent says nothing.
    Hold,
    /// What a customer hears whose call is answered before an agent is: ringing or music, over and over.
    Waiting,
    /// What an agent hears while the customer rings, over and over.
    Ringback,
    /// The announcement of a business number (E.164 with `+`), once and alone; [`MediaEvent::Played`] tells its end.
    Announcement(String),
}

/// The index of the media leg toward the called side.
pub const CALLED_MEDIA: u8 = 1;

/// What the media plane must know of one leg.
#[derive(Debug, Clone)]
pub struct MediaSetup {
    /// The media leg.
    pub leg: LegId,
    /// Which face of the bridge.
    pub side: Side,
    /// What kind of peer it is.
    pub peer: PeerKind,
    /// What offer and answer agreed on.
    pub agreed: Negotiated,
    /// Where our stream to the peer begins. The same for every `Configure` of a leg.
    pub stream: StreamStart,
    /// Random, for the connectivity checks of a leg with ICE. The same for every `Configure` of a leg.
    pub ice_seed: Secret<[u8; 32]>,
}

/// Which media profile (timing, latching, comfort frames) a peer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerKind {
    /// Meta's relay.
    Meta,
    /// A registered softphone.
    Softphone,
    /// A PBX.
    Trunk,
}

/// Whether a leg needs a port of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PortUse {
    /// It does: its peer may send from elsewhere than it signals, or from one port in several calls.
    #[default]
    Own,
    /// Its peer sends from where it signals, and from another port in each call: legs behind one port can be told
    /// apart by that.
    Shared,
}

/// Where an outbound RTP stream begins (RFC 3550 section 5.1: all random).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamStart {
    /// Synchronisation source.
    pub ssrc: u32,
    /// First sequence number; below 2^15, so that the first wrap-around cannot be missed (RFC 3711 section 3.3.1).
    pub sequence: u16,
    /// First time stamp.
    pub timestamp: u32,
}

/// From the media plane.
#[derive(Debug, Clone)]
pub enum MediaEvent {
    /// A leg has its port.
    Opened {
        /// The media leg.
        leg: LegId,
        /// The advertised address.
        local: SocketAddr,
    },
    /// No port for a leg.
    OpenFailed {
        /// The media leg.
        leg: LegId,
        /// Why, for the operator.
        why: String,
    },
    /// There is no way to keys with a leg's peer: its handshake failed.
    HandshakeFailed {
        /// The media leg.
        leg: LegId,
        /// Why, for the operator.
        why: String,
    },
    /// The first authenticated packet came from a leg.
    FirstPacket {
        /// The media leg.
        leg: LegId,
    },
    /// Nothing was received from a leg for its profile's time.
    Silent {
        /// The media leg.
        leg: LegId,
    },
    /// A leg's peer no longer consents to be sent to (RFC 7675): there is no way to it any more.
    ConsentLost {
        /// The media leg.
        leg: LegId,
    },
    /// A key was pressed. The media plane presses it toward the other leg itself, if that one agreed on telephone
    /// events.
    Key {
        /// The media leg it came from.
        leg: LegId,
        /// `0` to `9`, `*`, `#`, `A` to `D`.
        digit: Pii<char>,
        /// How long, in milliseconds.
        duration_ms: u32,
    },
    /// What a leg's media looked like so far; comes every few seconds.
    Quality {
        /// The media leg.
        leg: LegId,
        /// Since its beginning.
        quality: Box<MediaQuality>,
    },
    /// An announcement was heard to its end, or there is none.
    Played {
        /// The media leg.
        leg: LegId,
    },
    /// Everything of the call was given back.
    Closed {
        /// The call.
        call: CallId,
        /// Counters of each media leg that was set up.
        quality: Vec<(LegId, MediaQuality)>,
    },
}

/// To the recorder.
#[derive(Debug, Clone)]
pub enum RecordCommand {
    /// Begin a file. Comes before [`MediaCommand::Tap`].
    Start {
        /// The call.
        call: CallId,
        /// When, for the file's name.
        at: Wall,
        /// What is known of the call, for the file's tags.
        facts: Box<CallFacts>,
        /// Who began it.
        direction: Direction,
    },
    /// Finish the file. Comes after [`MediaEvent::Closed`], so that no frame is behind it.
    Stop {
        /// The call.
        call: CallId,
        /// From the recording's beginning to the end of the call: so long is the file, also where nobody spoke last.
        lasted: Duration,
    },
}

/// From the recorder.
#[derive(Debug, Clone)]
pub enum RecordEvent {
    /// The file is complete.
    Finished {
        /// The call.
        call: CallId,
        /// Where it is.
        recording: RecordingRef,
    },
    /// There is no file, or only the part up to the failure.
    Failed {
        /// The call.
        call: CallId,
        /// Why, for the operator.
        why: String,
        /// The playable part up to the failure, if there is one.
        partial: Option<RecordingRef>,
    },
}

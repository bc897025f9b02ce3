use std::net::IpAddr;

use bytes::Bytes;
use setu_model::Side;

use crate::access::Identity;
use crate::flow::{Arrival, FlowId, Transmit};
use crate::registrar::BindingChange;
use crate::{Message, Method};

/// Names one INVITE session: a call leg as SIP sees it. Never used twice by one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Names one early dialog of an INVITE we sent: 0 for the first branch that answered, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EarlyId(pub u32);

/// What the caller of an endpoint must do next.
#[derive(Debug, Clone)]
pub enum Output {
    /// Send a message.
    Send(Transmit),
    /// Keep a stream: its peer proved who it is. One that is not kept may be closed to make room for others.
    Keep(FlowId),
    /// Close a stream: a stranger on it asks more than it may, and nobody on it ever proved anything.
    Close(FlowId),
    /// Tell the application.
    Event(Box<Event>),
}

/// What an endpoint tells the application. Every session ends with exactly one of [`Event::Refused`] and
/// [`Event::Ended`].
#[derive(Debug, Clone)]
pub enum Event {
    /// A peer that proved who it is calls us. 100 has been sent.
    Invited {
        /// The new session.
        session: SessionId,
        /// Who calls.
        identity: Identity,
        /// How the INVITE came in.
        arrival: Arrival,
        /// The INVITE. Without a body the offer is ours to make (see [`Event::Acked`]).
        invite: Message,
    },
    /// A peer that proved who it is called us, and its INVITE was refused before there was a session: what it asks for
    /// is not done here, or there is no room.
    TurnedAway {
        /// Who called.
        identity: Identity,
        /// How the INVITE came in.
        arrival: Arrival,
        /// The INVITE.
        invite: Message,
        /// What it was refused with: 415, 420, 422, 483 or 503.
        status: u16,
    },
    /// A provisional response above 100 to our INVITE.
    Progress {
        /// The session.
        session: SessionId,
        /// 101 to 199.
        status: u16,
        /// Which branch of a forked INVITE it belongs to.
        early: EarlyId,
        /// Its session description, if it carries one.
        body: Option<Bytes>,
        /// The response.
        message: Message,
    },
    /// Our INVITE was answered and its ACK has been sent. Answers of other branches are acknowledged and hung up
    /// by the session itself.
    Answered {
        /// The session.
        session: SessionId,
        /// Which branch answered.
        early: EarlyId,
        /// The 2xx.
        message: Message,
    },
    /// Our INVITE failed: a final response of 300 or above, or none. 401 and 407 are answered by the session itself
    /// where credentials allow it.
    Refused {
        /// The session, which is over.
        session: SessionId,
        /// The peer's status, or ours: 408 if nobody answered, 503 if the request could not be sent.
        status: u16,
        /// The peer's response; none if the status is ours.
        message: Option<Message>,
    },
    /// Our 2xx (to the INVITE, or to a re-INVITE) was acknowledged.
    Acked {
        /// The session.
        session: SessionId,
        /// The answer of the peer, where our 2xx carried the offer.
        body: Option<Bytes>,
    },
    /// The peer asks to change the session. Answer with `reoffer_accept` or `reoffer_reject`.
    Reoffered {
        /// The session.
        session: SessionId,
        /// The peer's offer; none asks us for an offer.
        offer: Option<Bytes>,
        /// Which request carried it.
        kind: ReofferKind,
    },
    /// Our own offer (`reoffer`) was accepted.
    Reanswered {
        /// The session.
        session: SessionId,
        /// The 2xx.
        message: Message,
    },
    /// Our own offer (`reoffer`) was refused; the session goes on as before.
    ReofferRefused {
        /// The session.
        session: SessionId,
        /// The peer's status, or 408 and 503 of our own.
        status: u16,
    },
    /// The peer asked for a transfer (REFER). It was declined with 603: transfer belongs to the bridge.
    Transfer {
        /// The session.
        session: SessionId,
        /// The Refer-To header as sent.
        refer_to: String,
    },
    /// The peer sent INFO, such as DTMF. It was answered with 200.
    Info {
        /// The session.
        session: SessionId,
        /// The Content-Type; empty if there is none.
        content_type: String,
        /// The body.
        body: Bytes,
    },
    /// A session is over.
    Ended {
        /// The session.
        session: SessionId,
        /// How.
        how: EndHow,
    },
    /// An agent's contact appeared, was refreshed or vanished.
    Binding(BindingChange),
    /// A probed trunk began or ceased to answer OPTIONS.
    TrunkState {
        /// The trunk's name.
        name: String,
        /// Whether it answers.
        up: bool,
    },
    /// A request of somebody who proved nothing was refused: for counters and alarms, never for routing.
    StrangerRefused {
        /// Where it came in.
        side: Side,
        /// From where.
        source: IpAddr,
        /// What was asked.
        method: Method,
        /// The status sent; none if the answer was silence.
        status: Option<u16>,
        /// Why.
        why: Stranger,
    },
}

/// Which request carried an offer within a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReofferKind {
    /// A re-INVITE: three-way, so the answer is retransmitted until its ACK.
    Reinvite,
    /// An UPDATE (RFC 3311).
    Update,
}

/// How a session ended.
#[derive(Debug, Clone)]
pub enum EndHow {
    /// The peer hung up.
    Bye {
        /// Its BYE, with whatever headers it brought.
        message: Message,
    },
    /// The caller gave up before our answer.
    Cancelled {
        /// Its CANCEL.
        message: Message,
    },
    /// We hung up, gave up or refused.
    Local,
    /// Our 2xx was never acknowledged; BYE has been sent.
    NoAck,
    /// The session's timer ran out without a refresh (RFC 4028); BYE has been sent.
    Timer,
    /// The peer does not know the dialog any more, or cannot be reached.
    Lost {
        /// The status that told so: 481, 408 or 503.
        status: u16,
    },
}

/// Why a stranger was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stranger {
    /// No credentials: it was challenged.
    Challenged,
    /// Credentials that are wrong.
    WrongCredentials,
    /// Not from a network this side takes calls from.
    Network,
    /// A method the table does not allow.
    Method,
    /// More requests than its token bucket holds.
    Rate,
    /// A dialog or transaction that does not exist, or is not this peer's.
    NoDialog,
    /// A message that cannot be parsed.
    Malformed,
    /// A challenge would have been larger than the request (UDP).
    Amplification,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The session does not exist, or is over: a command may cross the peer's BYE.
    #[error("no such session")]
    UnknownSession,
    /// The session is in a state in which the command means nothing.
    #[error("not possible in this state of the session")]
    WrongState,
    /// A table is full.
    #[error("too many sessions or transactions")]
    Full,
    /// A header, URI or body that cannot be written, such as one with a line break in it.
    #[error("the message cannot be built")]
    Unbuildable,
    /// Toward Meta only INVITE, ACK, CANCEL and BYE are sent.
    #[error("never sent toward Meta")]
    NotTowardMeta,
}

/// What happened since the endpoint began: for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages handed in by the transports.
    pub received: u64,
    /// Messages handed to the transports, retransmissions included.
    pub sent: u64,
    /// Messages sent again by a timer.
    pub retransmitted: u64,
    /// Requests sent again to the next address of their hop.
    pub failed_over: u64,
    /// Requests that the network could not deliver.
    pub returned: u64,
    /// Messages that could not be parsed.
    pub malformed: u64,
    /// Responses that belong to no transaction of ours.
    pub stray_responses: u64,
    /// ACKs that belong to nothing.
    pub stray_acks: u64,
    /// Requests of strangers that were challenged.
    pub challenged: u64,
    /// Requests of strangers that were refused or met with silence, the challenged ones not included.
    pub strangers_refused: u64,
    /// Requests dropped by a token bucket.
    pub rate_limited: u64,
    /// Requests refused because a table was full.
    pub overloaded: u64,
    /// Early dialogs dropped because an INVITE forked too widely.
    pub forks_dropped: u64,
    /// Challenges left unanswered because of who sent them.
    pub challenges_ignored: u64,
}
impl Counters {
    /// Every count of something that went wrong or is worth knowing, under the word for a metric's label.
    pub const fn events(&self) -> [(&'static str, u64); 10] {
        [
            ("retransmitted", self.retransmitted),
            ("failed_over", self.failed_over),
            ("malformed", self.malformed),
            ("stray_response", self.stray_responses),
            ("stray_ack", self.stray_acks),
            ("challenged", self.challenged),
            ("rate_limited", self.rate_limited),
            ("overloaded", self.overloaded),
            ("fork_dropped", self.forks_dropped),
            ("challenge_ignored", self.challenges_ignored),
        ]
    }
}

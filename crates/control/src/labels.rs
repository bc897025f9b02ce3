use prometheus_client::encoding::EncodeLabelSet;
use serde::Serialize;
use setu_model::{Cause, Direction, Hop, Side};

/// The transport of a SIP message, as a metric label. The HTTP side knows no SIP, so it has words of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket in clear.
    Ws,
    /// WebSocket under TLS.
    Wss,
}

/// Which way a SIP message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    /// To the bridge.
    In,
    /// From the bridge.
    Out,
}

/// What became of a media packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Taken from a peer.
    Received,
    /// Given to a peer.
    Sent,
    /// Refused: failed authentication, a replay, malformed, from a wrong address.
    Rejected,
    /// Good, but a queue or socket had no room for it.
    Dropped,
}

/// What became of a request to the webhooks' listener. The word is the code in the answer, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WebhookFate {
    /// Acknowledged.
    Taken,
    /// The subscription was verified.
    Verified,
    /// The subscription was not verified.
    NotVerified,
    /// Without a signature, or with none that can be read.
    NotSigned,
    /// Signed with none of the configured app secrets.
    WronglySigned,
    /// No webhook at all.
    Malformed,
    /// Larger than any webhook is.
    TooLarge,
    /// It took too long to arrive.
    TooSlow,
    /// Good, but it could not be kept; the sender delivers it again.
    NotTaken,
}

impl WebhookFate {
    pub(crate) const ALL: [Self; 9] = [
        Self::Taken,
        Self::Verified,
        Self::NotVerified,
        Self::NotSigned,
        Self::WronglySigned,
        Self::Malformed,
        Self::TooLarge,
        Self::TooSlow,
        Self::NotTaken,
    ];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Verified => "verified",
            Self::NotVerified => "not_verified",
            Self::NotSigned => "not_signed",
            Self::WronglySigned => "wrongly_signed",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::NotTaken => "not_taken",
        }
    }
}

impl Transport {
    pub(crate) const ALL: [Self; 5] = [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss];

    const fn word(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }
}

impl Bound {
    pub(crate) const ALL: [Self; 2] = [Self::In, Self::Out];

    const fn word(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

impl Fate {
    pub(crate) const ALL: [Self; 4] = [Self::Received, Self::Sent, Self::Rejected, Self::Dropped];

    const fn word(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Sent => "sent",
            Self::Rejected => "rejected",
            Self::Dropped => "dropped",
        }
    }
}

/// Every side, for metrics that must show zeroes.
pub(crate) const SIDES: [Side; 2] = [Side::Meta, Side::Agents];

/// Every direction, for metrics that must show zeroes.
pub(crate) const DIRECTIONS: [Direction; 2] = [Direction::UserInitiated, Direction::BusinessInitiated];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByDirection {
    direction: &'static str,
}

impl ByDirection {
    pub(crate) const fn new(direction: Direction) -> Self {
        Self { direction: direction_word(direction) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByCause {
    direction: &'static str,
    cause: &'static str,
}

impl ByCause {
    pub(crate) const fn new(direction: Direction, cause: Cause) -> Self {
        Self { direction: direction_word(direction), cause: cause.word() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByMessage {
    side: &'static str,
    transport: &'static str,
    bound: &'static str,
}

impl ByMessage {
    pub(crate) const fn new(side: Side, transport: Transport, bound: Bound) -> Self {
        Self { side: side_word(side), transport: transport.word(), bound: bound.word() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct BySide {
    side: &'static str,
}

impl BySide {
    pub(crate) const fn new(side: Side) -> Self {
        Self { side: side_word(side) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByFate {
    fate: &'static str,
}

impl ByFate {
    pub(crate) const fn new(fate: Fate) -> Self {
        Self { fate: fate.word() }
    }

    pub(crate) const fn of_webhook(fate: WebhookFate) -> Self {
        Self { fate: fate.word() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByNumber {
    number: String,
}

impl ByNumber {
    pub(crate) fn new(number: &str) -> Self {
        Self { number: number.to_owned() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByHop {
    hop: &'static str,
}

impl ByHop {
    pub(crate) const fn new(hop: Hop) -> Self {
        Self { hop: hop.word() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByRequest {
    pub(crate) action: &'static str,
    pub(crate) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByEvent {
    event: &'static str,
}

impl ByEvent {
    pub(crate) const fn new(event: &'static str) -> Self {
        Self { event }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByRule {
    code: u32,
}

impl ByRule {
    pub(crate) fn new(code: u16) -> Self {
        Self { code: u32::from(code) }
    }
}

const fn side_word(side: Side) -> &'static str {
    match side {
        Side::Meta => "meta",
        Side::Agents => "agents",
    }
}

const fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::UserInitiated => "user_initiated",
        Direction::BusinessInitiated => "business_initiated",
    }
}

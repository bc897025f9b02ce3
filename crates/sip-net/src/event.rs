use std::fmt;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use setu_model::{EgressRefusal, Side};
use setu_sip::{Arrival, FlowId, Message, ParseError, SendToken, Transport};

use crate::certificate::CertificateError;

/// What the transports tell the core. Events come from several threads; those of one flow come in order, but for
/// [`NetEvent::FlowClosed`], which may overtake the last messages of its flow.
#[derive(Debug)]
pub enum NetEvent {
    /// A message came in.
    Received {
        /// How.
        arrival: Arrival,
        /// What.
        message: Message,
    },
    /// Something came in that is no message. On a stream the flow closes once the answer was sent, or shortly.
    Malformed {
        /// How.
        arrival: Arrival,
        /// What is wrong with it.
        error: ParseError,
    },
    /// A message that goes to a hop, for want of another flow or from the start, leaves on this flow.
    Bound {
        /// The message's token.
        token: SendToken,
        /// The flow.
        flow: FlowId,
        /// The peer's address on the flow.
        remote: SocketAddr,
    },
    /// A message did not leave. One that left on a stream may still be lost with it: see [`NetEvent::FlowClosed`].
    SendFailed {
        /// The message's token.
        token: SendToken,
        /// Why.
        reason: SendFailure,
    },
    /// The network says that a datagram could not be delivered (ICMP). Anybody can forge that: what proves that the
    /// sender saw the datagram is its own words.
    Returned {
        /// Whom it was for.
        remote: SocketAddr,
        /// How it begins: as much as came back, at least one byte.
        quote: Bytes,
    },
    /// A stream is over: nothing more comes from it, nothing more can be sent on it.
    FlowClosed {
        /// Which.
        flow: FlowId,
    },
}

/// Why a message did not leave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendFailure {
    /// The flow is closed, or was never there.
    #[error("the flow is closed")]
    NoFlow,
    /// The name has no address.
    #[error("the host cannot be resolved: {0}")]
    Unresolved(String),
    /// Every address of the name is forbidden.
    #[error("the host must not be contacted: {0}")]
    Forbidden(EgressRefusal),
    /// No address of the name answered.
    #[error("the host cannot be reached: {0}")]
    Unreachable(String),
    /// Servers answered, but none proved that it is the host.
    #[error("the host's certificate was not accepted: {0}")]
    Unverified(String),
    /// Too much is waiting already.
    #[error("too much is waiting to be sent")]
    Overflow,
    /// The side has no socket that could send this.
    #[error("the {0} side has no {1} listener of the address's family")]
    NoListener(Side, Transport),
    /// The transports are shutting down.
    #[error("the transports are shutting down")]
    Shutdown,
}

/// The transports could not start. Nothing is left bound.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A certificate file cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A TLS listener has no certificate.
    #[error("the {side} side listens on TLS but has no certificate: name a chain and a key")]
    NoCertificate {
        /// The side.
        side: Side,
    },
    /// An address cannot be bound.
    #[error("cannot listen on {address} ({transport}, {side} side): {source}; {}", remedy(source, *address))]
    Bind {
        /// The side.
        side: Side,
        /// The transport.
        transport: Transport,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// More UDP listeners than flow ids can tell apart.
    #[error("more than {most} UDP listeners are configured")]
    TooManyListeners {
        /// The most there can be.
        most: usize,
    },
    /// Called outside a tokio runtime.
    #[error("the transports need a tokio runtime")]
    NoRuntime,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "most kinds of fault cannot come from binding a socket")]
fn remedy(fault: &io::Error, address: SocketAddr) -> impl fmt::Display {
    match fault.kind() {
        io::ErrorKind::AddrInUse => {
            "another program, or another setu, has this port: stop it or choose another port".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => format!(
            "no interface of this machine has {}: bind to a local address and advertise the outer one",
            address.ip()
        ),
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE: grant it or choose a higher port".to_owned()
        }
        _ => "check the address".to_owned(),
    }
}

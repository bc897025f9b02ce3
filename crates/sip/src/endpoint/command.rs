use bytes::Bytes;
use setu_model::{Secret, Side};

use crate::flow::Target;

/// One party of a call we begin: the content of From or To.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// The display name.
    pub display: Option<String>,
    /// The URI, without angle brackets.
    pub uri: String,
}

/// A call to begin.
#[derive(Debug, Clone)]
pub struct InviteRequest {
    /// The face of the bridge to call from.
    pub side: Side,
    /// Where the INVITE goes: a route's hop, or [`Binding::target`](crate::Binding::target). A bare
    /// [`Target::Flow`] is refused, as it does not tell which transport to write into Via.
    pub target: Target,
    /// The Request-URI as it shall stand on the wire.
    pub request_uri: String,
    /// The caller.
    pub from: Party,
    /// The called party.
    pub to: Party,
    /// The user part of our Contact.
    pub contact_user: Option<String>,
    /// Further headers, in order.
    pub headers: Vec<(String, String)>,
    /// Our offer (`application/sdp`).
    pub offer: Bytes,
    /// What answers a 401 or 407 of the called peer; none lets the challenge end the call.
    pub credentials: Option<Credentials>,
    /// Whether to offer a session timer (RFC 4028). Ignored toward Meta, which supports no refresh.
    pub session_timer: bool,
}

/// A user name and password, and the realm they are for.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The realm whose challenges they answer; none takes the first realm that challenges the call.
    pub realm: Option<String>,
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Secret<String>,
}

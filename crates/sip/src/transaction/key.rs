use setu_model::Side;

use crate::message::{Message, Method};
use crate::via::Via;

/// What makes two requests the same transaction on the server side (RFC 3261 section 17.2.3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServerKey {
    side: Side,
    branch: String,
    sent_by: String,
    method: Method,
}

impl ServerKey {
    /// The key of `request`; an ACK has the key of its INVITE. None if the branch lacks the magic cookie: matching
    /// by the rules of RFC 2543 is what request smuggling lives on, and no peer of this century needs it.
    pub(crate) fn of(request: &Message, side: Side) -> Option<Self> {
        let method = request.method()?;
        Self::with_method(request, side, if method == Method::Ack { Method::Invite } else { method })
    }

    /// The key of the INVITE that `cancel` wants cancelled (RFC 3261 section 9.2).
    pub(crate) fn cancelled_by(cancel: &Message, side: Side) -> Option<Self> {
        Self::with_method(cancel, side, Method::Invite)
    }

    fn with_method(request: &Message, side: Side, method: Method) -> Option<Self> {
        let via = request.top_via().ok()?;
        let branch = via.branch().filter(|branch| is_magic(branch))?.to_owned();
        Some(Self { side, branch, sent_by: sent_by(&via), method })
    }
}

/// What two copies of one request have in common when a proxy forked it to us twice (RFC 3261 section 8.2.2.2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MergeKey {
    call_id: String,
    from_tag: String,
    number: u32,
    method: Method,
}

impl MergeKey {
    /// The key of a request outside any dialog; none for one inside, which cannot be merged.
    pub(crate) fn of(request: &Message) -> Option<Self> {
        if request.to().ok()?.tag().is_some() {
            return None;
        }
        let cseq = request.cseq().ok()?;
        Some(Self {
            call_id: request.call_id().ok()?.to_owned(),
            from_tag: request.from().ok()?.tag().unwrap_or_default().to_owned(),
            number: cseq.number,
            method: cseq.method,
        })
    }
}

/// Whether a branch promises to be unique (RFC 3261 section 8.1.1.7).
fn is_magic(branch: &str) -> bool {
    branch.len() > MAGIC.len()
        && branch.get(..MAGIC.len()).is_some_and(|head| head.eq_ignore_ascii_case(MAGIC))
}

/// The magic cookie of RFC 3261.
pub(crate) const MAGIC: &str = "z9hG4bK";

/// The sent-by of a Via: host in lower case, and port where it stands.
pub(crate) fn sent_by(via: &Via) -> String {
    let host = via.host.to_string().to_ascii_lowercase();
    match via.port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

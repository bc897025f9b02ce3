//! The two parties' common knowledge of one call (RFC 3261 section 12).

use super::message::{Message, address_uri, param};

/// One dialog, or the half of one while the INVITE is out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    /// Our `From` value, tag included.
    pub(crate) local: String,
    /// The peer's, tag included once known.
    pub(crate) remote: String,
    pub(crate) local_cseq: u32,
    pub(crate) remote_cseq: u32,
    /// The peer's Contact.
    pub(crate) target: String,
    pub(crate) routes: Vec<String>,
}

impl Dialog {
    /// The called side's view of `invite`.
    pub(crate) fn called(invite: &Message, local_tag: &str) -> Self {
        let to = invite.to();
        Self {
            call_id: invite.call_id(),
            local: if param(&to, "tag").is_some() { to } else { format!("{to};tag={local_tag}") },
            remote: invite.from(),
            local_cseq: 1,
            remote_cseq: invite.cseq().0,
            target: invite.contact().unwrap_or_else(|| address_uri(&invite.from())),
            routes: invite.list("Record-Route"),
        }
    }

    /// The calling side learns the rest from a response with a To tag.
    pub(crate) fn learn(&mut self, response: &Message) {
        if param(&response.to(), "tag").is_some() {
            self.remote = response.to();
        }
        if let Some(contact) = response.contact() {
            self.target = contact;
        }
        let mut routes = response.list("Record-Route");
        routes.reverse();
        self.routes = routes;
    }

    /// Whether an in-dialog request belongs here.
    pub(crate) fn owns(&self, request: &Message) -> bool {
        self.call_id == request.call_id()
            && param(&request.to(), "tag") == param(&self.local, "tag")
            && param(&request.from(), "tag") == param(&self.remote, "tag")
    }

    /// The lines every request of this dialog has after its Via: routes, From, To, Call-ID, CSeq.
    pub(crate) fn lines(&self, method: &str, cseq: u32) -> Vec<String> {
        let mut lines: Vec<String> = self.routes.iter().map(|route| format!("Route: {route}")).collect();
        lines.push("Max-Forwards: 70".to_owned());
        lines.push(format!("From: {}", self.local));
        lines.push(format!("To: {}", self.remote));
        lines.push(format!("Call-ID: {}", self.call_id));
        lines.push(format!("CSeq: {cseq} {method}"));
        lines
    }
}

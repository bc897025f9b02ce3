use setu_model::{Now, Side};

use super::incoming::TAG_BYTES;
use super::{Answer, Auth, Confirmed, Headers, Leaving, SDP, Session, State, refresh, with_headers};
use crate::dialog::{Dialog, MAX_FORWARDS};
use crate::endpoint::{CommandError, EarlyId, EndHow, Event, InviteRequest, Party, SessionId};
use crate::flow::Target;
use crate::message::{Message, Method};
use crate::transaction::{ClientStart, Layer, Owner, TxId, copied, transport_of};

/// A call of ours that nobody has answered.
#[derive(Debug)]
pub(super) struct Calling {
    tx: TxId,
    request: InviteRequest,
    /// The INVITE as sent last, without Via.
    invite: Message,
    early: Vec<Early>,
    giving_up: Option<GiveUp>,
    /// The interval a 422 asked for, in seconds. Asked once.
    min_session_expires_s: Option<u32>,
}

/// One branch of a forked INVITE.
#[derive(Debug)]
struct Early {
    id: EarlyId,
    dialog: Dialog,
    /// What was told last: a reliable provisional response is repeated, as we never acknowledge it.
    told: Message,
}

/// The application has hung up, with these headers for a BYE.
#[derive(Debug)]
enum GiveUp {
    /// CANCEL waits for a provisional response.
    Wanted(Headers),
    /// CANCEL is on its way.
    Sent(Headers),
}

/// Sends an INVITE.
pub(crate) fn start(
    layer: &mut Layer,
    id: SessionId,
    mut request: InviteRequest,
    now: Now,
) -> Result<Session, CommandError> {
    let side = request.side;
    // Meta supports no refresh: whatever it answers, no timer runs toward it.
    request.session_timer &= side == Side::Agents;
    let local_tag = layer.entropy.hex(TAG_BYTES);
    let call_id = layer.entropy.hex(16);
    let auth = Auth::new(request.credentials.clone());
    let invite = compose(layer, &request, &local_tag, &call_id, FIRST_CSEQ, None, None)?;
    let start = ClientStart { owner: Owner::Session(id), side, target: request.target.clone(), branch: None };
    let tx = layer.start(&invite, start, now.mono)?;
    let calling =
        Calling { tx, request, invite, early: Vec::new(), giving_up: None, min_session_expires_s: None };
    let mut session = Session::new(id, side, local_tag, auth, State::Calling(Box::new(calling)));
    session.open.insert(tx);
    Ok(session)
}

/// Writes the INVITE, Via apart.
fn compose(
    layer: &Layer,
    request: &InviteRequest,
    local_tag: &str,
    call_id: &str,
    cseq: u32,
    authorization: Option<(&str, String)>,
    min_session_expires_s: Option<u32>,
) -> Result<Message, CommandError> {
    let side = request.side;
    let transport = transport_of(&request.target).ok_or(CommandError::Unbuildable)?;
    let mut invite = Message::request(Method::Invite, &request.request_uri)
        .header("Max-Forwards", MAX_FORWARDS.to_string())
        .header("From", format!("{};tag={local_tag}", written(&request.from)))
        .header("To", written(&request.to))
        .header("Call-ID", call_id)
        .header("CSeq", format!("{cseq} INVITE"))
        .header("Contact", layer.contact(side, transport, request.contact_user.as_deref()))
        .header("Allow", crate::access::allowed(side))
        .header("User-Agent", &layer.config.user_agent);
    if request.session_timer {
        invite = refresh::offer(invite, side, &layer.config.limits, min_session_expires_s);
    }
    if let Some((name, value)) = authorization {
        invite = invite.header(name, value);
    }
    let invite = with_headers(invite, &request.headers).body(SDP, request.offer.clone());
    invite.build().map_err(|_| CommandError::Unbuildable)
}

/// Writes a party as From and To want it; quotes in a name are escaped.
fn written(party: &Party) -> String {
    match &party.display {
        Some(name) => {
            let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{escaped}\" <{}>", party.uri)
        }
        None => format!("<{}>", party.uri),
    }
}

impl Calling {
    pub(super) fn is_invite(&self, tx: TxId) -> bool {
        self.tx == tx
    }

    pub(super) fn early_dialog(&self, request: &Message) -> Option<&Dialog> {
        self.early.iter().map(|early| &early.dialog).find(|dialog| dialog.owns(request))
    }

    pub(super) fn early_dialog_mut(&mut self, request: &Message) -> Option<&mut Dialog> {
        self.early.iter_mut().map(|early| &mut early.dialog).find(|dialog| dialog.owns(request))
    }

    /// Whether later requests stay on the flow of the INVITE although the peer's Contact names another address.
    const fn is_pinned(&self) -> bool {
        matches!(self.request.target, Target::Flow(_) | Target::FlowOr(..))
    }

    /// The branch with this tag; a new one if it is not known.
    fn early_id(&self, tag: &str) -> EarlyId {
        self.early
            .iter()
            .find(|early| early.dialog.remote_tag == tag)
            .map_or_else(|| self.next_id(), |e| e.id)
    }

    fn next_id(&self) -> EarlyId {
        EarlyId(u32::try_from(self.early.len()).unwrap_or(u32::MAX))
    }
}

impl Session {
    pub(super) fn handle_calling_answer(&mut self, layer: &mut Layer, answer: &Answer, now: Now) {
        match answer.message.status().unwrap_or(0) {
            100..=199 => self.handle_provisional(layer, answer, now),
            200..=299 => self.handle_success(layer, answer, now),
            status @ (401 | 407) => {
                if !self.answer_challenge(layer, answer, now) {
                    self.end_refused(layer, status, Some(answer.message.clone()));
                }
            }
            422 => {
                if !self.lengthen_timer(layer, answer, now) {
                    self.end_refused(layer, 422, Some(answer.message.clone()));
                }
            }
            status => self.end_refused(layer, status, Some(answer.message.clone())),
        }
    }

    fn handle_provisional(&mut self, layer: &mut Layer, answer: &Answer, now: Now) {
        let State::Calling(calling) = &self.state else { return };
        if let Some(GiveUp::Wanted(headers)) = &calling.giving_up {
            let headers = headers.clone();
            self.cancel(layer, headers, now);
            return;
        }
        let State::Calling(calling) = &mut self.state else { return };
        let message = &answer.message;
        let Some(status @ 101..=199) = message.status() else { return };
        if calling.giving_up.is_some() {
            return;
        }
        let tag = message.to().ok().and_then(|to| to.tag().map(str::to_owned)).unwrap_or_default();
        let forks = calling.early.len();
        match calling.early.iter_mut().find(|early| early.dialog.remote_tag == tag) {
            Some(early) if early.told == *message => return,
            Some(early) => {
                early.told = message.clone();
                early.dialog.refresh(message, &answer.arrival);
            }
            None if forks >= layer.config.limits.forks => {
                layer.counters.forks_dropped += 1;
                return;
            }
            None => {
                let pinned = calling.is_pinned();
                let dialog = Dialog::of_client(&calling.invite, message, &answer.arrival, pinned);
                let Some(dialog) = dialog else { return };
                let early = Early { id: calling.next_id(), dialog, told: message.clone() };
                calling.early.push(early);
            }
        }
        let early = calling.early_id(&tag);
        // What is no description is news of something else, and not ours to refuse.
        let body = message.session_description().ok().flatten();
        layer.tell(Event::Progress { session: self.id, status, early, body, message: message.clone() });
    }

    fn handle_success(&mut self, layer: &mut Layer, answer: &Answer, now: Now) {
        let State::Calling(calling) = std::mem::replace(&mut self.state, State::Over(None)) else { return };
        let message = &answer.message;
        let tag = message.to().ok().and_then(|to| to.tag().map(str::to_owned)).unwrap_or_default();
        let dialog = Dialog::of_client(&calling.invite, message, &answer.arrival, calling.is_pinned());
        let Some(mut dialog) = dialog else {
            // Without a route set and a To there is no way to acknowledge it, let alone to hang up.
            self.end_refused(layer, 502, Some(message.clone()));
            return;
        };
        // The branch may have sent requests before its answer.
        if let Some(early) = calling.early.iter().find(|early| early.dialog.remote_tag == tag) {
            dialog.remote_cseq = early.dialog.remote_cseq;
        }
        self.send_ack(layer, &dialog, dialog.local_cseq);
        if let Some(GiveUp::Wanted(headers) | GiveUp::Sent(headers)) = calling.giving_up {
            // The answer crossed our CANCEL.
            self.say_bye(layer, dialog, headers, now);
            return;
        }
        let early = calling.early_id(&tag);
        let mut confirmed = Confirmed::new(dialog, calling.request.offer.clone(), message);
        if calling.request.session_timer {
            confirmed.set_timer(refresh::agreed(message), now.mono);
        }
        self.state = State::Confirmed(Box::new(confirmed));
        layer.tell(Event::Answered { session: self.id, early, message: message.clone() });
    }

    /// Hangs up a dialog that the application does not have any more, or never had.
    pub(super) fn say_bye(&mut self, layer: &mut Layer, mut dialog: Dialog, headers: Headers, now: Now) {
        match self.send_bye(layer, &mut dialog, &headers, now) {
            Some(bye) => self.state = State::Leaving(Box::new(Leaving { dialog, bye, headers })),
            None => {
                self.state = State::Over(Some(Box::new(dialog)));
                layer.tell(Event::Ended { session: self.id, how: EndHow::Local });
            }
        }
    }

    /// Sends the INVITE again with credentials. False if the challenge is not to be answered.
    fn answer_challenge(&mut self, layer: &mut Layer, answer: &Answer, now: Now) -> bool {
        let State::Calling(calling) = &self.state else { return false };
        if calling.giving_up.is_some() {
            return false;
        }
        let uri = calling.request.request_uri.clone();
        if !self.auth.take_challenge(layer, answer, &Method::Invite, &uri, self.side) {
            return false;
        }
        self.invite_again(layer, now)
    }

    /// Sends the INVITE again with the session interval a proxy or the peer asks for (RFC 4028 section 7.3).
    fn lengthen_timer(&mut self, layer: &mut Layer, answer: &Answer, now: Now) -> bool {
        let State::Calling(calling) = &mut self.state else { return false };
        let Some(asked) = refresh::min_se(&answer.message) else { return false };
        if !calling.request.session_timer
            || calling.min_session_expires_s.is_some()
            || calling.giving_up.is_some()
        {
            return false;
        }
        calling.min_session_expires_s = Some(asked);
        self.invite_again(layer, now)
    }

    fn invite_again(&mut self, layer: &mut Layer, now: Now) -> bool {
        let State::Calling(calling) = &mut self.state else { return false };
        let (Ok(cseq), Ok(call_id)) = (calling.invite.cseq(), calling.invite.call_id()) else { return false };
        // The same peer must get it, not another address of its name: the nonce is that peer's.
        let target = layer.path_of(calling.tx).map_or_else(|| calling.request.target.clone(), |path| path.0);
        let authorization = self.auth.header_of(Method::Invite);
        let invite = compose(
            layer,
            &calling.request,
            &self.local_tag,
            call_id,
            cseq.number + 1,
            authorization,
            calling.min_session_expires_s,
        );
        let Ok(invite) = invite else { return false };
        let start = ClientStart { owner: Owner::Session(self.id), side: self.side, target, branch: None };
        let Ok(tx) = layer.start(&invite, start, now.mono) else { return false };
        calling.tx = tx;
        calling.invite = invite;
        calling.early.clear();
        self.open.insert(tx);
        true
    }

    /// Gives the call up: CANCEL goes out as soon as the peer has shown that it has the INVITE.
    pub(super) fn give_up(&mut self, layer: &mut Layer, headers: Headers, now: Now) {
        let State::Calling(calling) = &mut self.state else { return };
        if calling.giving_up.is_some() {
            return;
        }
        layer.stay(calling.tx);
        // Before the peer has shown that it has the INVITE, CANCEL may overtake it (RFC 3261 section 9.1).
        if layer.is_answered(calling.tx) {
            self.cancel(layer, headers, now);
        } else {
            calling.giving_up = Some(GiveUp::Wanted(headers));
        }
    }

    /// The peer rings for longer than anybody waits (Timer C).
    pub(crate) fn handle_overdue(&mut self, layer: &mut Layer, now: Now) {
        self.give_up(layer, Headers::new(), now);
    }

    /// Sends CANCEL (RFC 3261 section 9.1): the INVITE's own URI, Via branch, Route and numbers.
    fn cancel(&mut self, layer: &mut Layer, headers: Headers, now: Now) {
        let State::Calling(calling) = &mut self.state else { return };
        let tx = calling.tx;
        let cancel = cancel_of(&calling.invite);
        calling.giving_up = Some(GiveUp::Sent(headers));
        layer.mark_cancelled(tx, now.mono);
        let (Some(cancel), Some((target, branch))) = (cancel, layer.path_of(tx)) else { return };
        let start =
            ClientStart { owner: Owner::Session(self.id), side: self.side, target, branch: Some(branch) };
        if let Ok(tx) = layer.start(&cancel, start, now.mono) {
            self.open.insert(tx);
        }
    }
}

fn cancel_of(invite: &Message) -> Option<Message> {
    let number = invite.cseq().ok()?.number;
    let mut cancel = Message::request(Method::Cancel, invite.request_uri()?)
        .header("Max-Forwards", MAX_FORWARDS.to_string());
    for name in ["Route", "From", "To", "Call-ID"] {
        cancel = copied(cancel, invite, name);
    }
    cancel.header("CSeq", format!("{number} CANCEL")).build().ok()
}

/// The first number of our requests in a call.
const FIRST_CSEQ: u32 = 1;

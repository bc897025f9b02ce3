//! INVITE sessions: one call leg from its INVITE to its last message (RFC 3261 sections 13 to 15).

mod auth;
mod calling;
mod confirmed;
mod incoming;
mod info;
mod offer;
mod over;
mod refresh;

use std::collections::BTreeSet;
use std::time::Instant;

use setu_model::{Now, Side};

use crate::dialog::{Dialog, Order};
use crate::endpoint::{CommandError, EndHow, Event, SessionId};
use crate::flow::{Arrival, Target};
use crate::message::{Builder, Message, Method};
use crate::timers::Timer;
use crate::transaction::{ClientStart, Kept, Layer, Owner, TxId};

use auth::Auth;
use calling::Calling;
use confirmed::Confirmed;
use incoming::Incoming;

pub(crate) use calling::start;
pub(crate) use incoming::take;
pub(crate) use refresh::is_too_brief;

/// One call leg.
#[derive(Debug)]
pub(crate) struct Session {
    id: SessionId,
    side: Side,
    local_tag: String,
    origin: Origin,
    auth: Auth,
    state: State,
    /// What acknowledged the 2xx responses to our INVITEs: a retransmitted 2xx means that the ACK was lost.
    acks: Vec<Acknowledged>,
    /// Its transactions: the session is forgotten after the last of them.
    open: BTreeSet<TxId>,
}

/// Who sent the INVITE that began the session, and so owns its Call-ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Ours,
    Peer,
}

/// What a session is doing.
#[derive(Debug)]
enum State {
    /// Our INVITE has no final response.
    Calling(Box<Calling>),
    /// The peer's INVITE has no final response.
    Incoming(Box<Incoming>),
    /// The call is answered.
    Confirmed(Box<Confirmed>),
    /// Our BYE has no final response.
    Leaving(Box<Leaving>),
    /// The application was told the end; only stray messages may come. The dialog answers those of an answered call.
    Over(Option<Box<Dialog>>),
}

#[derive(Debug)]
struct Leaving {
    dialog: Dialog,
    bye: TxId,
    headers: Headers,
}

/// The ACK of one 2xx, and where it went.
#[derive(Debug)]
struct Acknowledged {
    remote_tag: String,
    cseq: u32,
    ack: Kept,
    target: Target,
}

/// A response to a request of ours, as the session gets it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) tx: TxId,
    pub(crate) method: Method,
    pub(crate) message: Message,
    pub(crate) arrival: Arrival,
    /// Whether it came from where the request went.
    pub(crate) trusted: bool,
}

/// Further headers, in order.
pub(crate) type Headers = Vec<(String, String)>;

impl Session {
    fn new(id: SessionId, side: Side, local_tag: String, auth: Auth, state: State) -> Self {
        let origin = if matches!(state, State::Calling(_)) { Origin::Ours } else { Origin::Peer };
        Self { id, side, local_tag, origin, auth, state, acks: Vec::new(), open: BTreeSet::new() }
    }

    /// Our tag: the name of the session on the wire.
    pub(crate) fn local_tag(&self) -> &str {
        &self.local_tag
    }

    /// The dialog of an incoming or answered call.
    pub(crate) fn dialog(&self) -> Option<&Dialog> {
        match &self.state {
            State::Confirmed(confirmed) => Some(&confirmed.dialog),
            State::Leaving(leaving) => Some(&leaving.dialog),
            State::Incoming(incoming) => Some(&incoming.dialog),
            State::Over(dialog) => dialog.as_deref(),
            State::Calling(_) => None,
        }
    }

    /// The dialog a request of the peer belongs to.
    pub(crate) fn dialog_of(&self, request: &Message) -> Option<&Dialog> {
        match &self.state {
            State::Calling(calling) => calling.early_dialog(request),
            State::Incoming(_) | State::Confirmed(_) | State::Leaving(_) | State::Over(_) => {
                self.dialog().filter(|dialog| dialog.owns(request))
            }
        }
    }

    /// Whether the session still counts as a call.
    pub(crate) const fn is_live(&self) -> bool {
        !matches!(self.state, State::Over(_))
    }

    /// Whether nothing can reach the session any more.
    pub(crate) fn is_forgotten(&self) -> bool {
        !self.is_live() && self.open.is_empty()
    }

    /// A transaction of the session is over.
    pub(crate) fn handle_done(&mut self, tx: TxId) {
        self.open.remove(&tx);
    }

    /// Takes a response to a request of the session.
    pub(crate) fn handle_answer(&mut self, layer: &mut Layer, answer: Answer, now: Now) {
        let status = answer.message.status().unwrap_or(0);
        let success = (200..=299).contains(&status);
        match &self.state {
            State::Calling(calling) if calling.is_invite(answer.tx) => {
                self.handle_calling_answer(layer, &answer, now);
            }
            // The answer to CANCEL says nothing: the INVITE gets its own.
            State::Calling(_) | State::Incoming(_) => {}
            State::Confirmed(confirmed) if confirmed.is_offer(answer.tx) => {
                self.handle_offer_answer(layer, &answer, now);
            }
            State::Confirmed(confirmed) if confirmed.infos.is(answer.tx) => {
                if status >= 200 {
                    self.handle_info_over(layer, now);
                }
            }
            State::Leaving(leaving) if leaving.bye == answer.tx => {
                self.handle_bye_answer(layer, &answer, now)
            }
            State::Confirmed(_) | State::Leaving(_) | State::Over(_) => {
                if answer.method == Method::Invite && success {
                    self.handle_late_success(layer, &answer, now);
                }
            }
        }
    }

    /// A request of the session got no answer (`status` 408), or could not be sent (503).
    pub(crate) fn handle_lost(&mut self, layer: &mut Layer, tx: TxId, status: u16, now: Now) {
        match &self.state {
            State::Calling(calling) if calling.is_invite(tx) => {
                self.end_refused(layer, status, None);
            }
            State::Confirmed(confirmed) if confirmed.is_offer(tx) => {
                self.handle_offer_lost(layer, status, now);
            }
            State::Confirmed(confirmed) if confirmed.infos.is(tx) => self.handle_info_over(layer, now),
            State::Leaving(leaving) if leaving.bye == tx => {
                self.end(layer, EndHow::Local);
            }
            State::Calling(_)
            | State::Incoming(_)
            | State::Confirmed(_)
            | State::Leaving(_)
            | State::Over(_) => {}
        }
    }

    /// Takes a request of the peer within the session's dialog. ACK and CANCEL have their own ways in.
    pub(crate) fn handle_request(
        &mut self,
        layer: &mut Layer,
        arrival: &Arrival,
        request: &Message,
        now: Now,
    ) {
        let Some(tx) = layer.serve(arrival, request, Owner::Session(self.id)) else { return };
        self.open.insert(tx);
        let Some(method) = request.method() else { return };
        if !self.take_cseq(request) {
            // RFC 3261 section 12.2.2: a number that does not grow is an old request, or a forged one.
            self.respond(layer, tx, 500, now);
            return;
        }
        match (&self.state, method) {
            (_, Method::Options) => self.respond_with(layer, tx, 200, now, capabilities),
            (State::Confirmed(_) | State::Incoming(_), Method::Bye) => {
                self.handle_bye(layer, tx, request, now);
            }
            // Both hung up at once.
            (State::Leaving(_), Method::Bye) => self.respond(layer, tx, 200, now),
            (State::Confirmed(_), Method::Invite | Method::Update) => {
                self.handle_offer(layer, tx, arrival, request, now);
            }
            // The INVITE is not answered: RFC 3261 section 14.2 and RFC 3311 section 5.2.
            (State::Incoming(_), Method::Invite | Method::Update) => {
                self.respond_with(layer, tx, 500, now, |reply| reply.header("Retry-After", "1"));
            }
            // Our own offer is not answered yet (RFC 3311 section 5.2).
            (State::Calling(_), Method::Update) => self.respond(layer, tx, 491, now),
            (State::Calling(_) | State::Incoming(_) | State::Confirmed(_), Method::Info) => {
                self.handle_info(layer, tx, request, now);
            }
            (State::Confirmed(_), Method::Refer) => self.handle_refer(layer, tx, request, now),
            (State::Over(_) | State::Leaving(_), _) | (_, Method::Prack | Method::Notify | Method::Bye) => {
                self.respond(layer, tx, 481, now);
            }
            (State::Calling(_) | State::Incoming(_) | State::Confirmed(_), _) => {
                let allow = crate::access::allowed(self.side);
                self.respond_with(layer, tx, 405, now, |reply| reply.header("Allow", allow));
            }
        }
    }

    /// Fires every timer that is due at `now`.
    pub(crate) fn handle_timeout(&mut self, layer: &mut Layer, now: Now) {
        match &self.state {
            State::Confirmed(_) => self.handle_confirmed_timeout(layer, now),
            State::Calling(_) | State::Incoming(_) | State::Leaving(_) | State::Over(_) => {}
        }
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is next due, and for which timer.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        match &self.state {
            State::Confirmed(confirmed) => confirmed.poll_timeout(),
            State::Calling(_) | State::Incoming(_) | State::Leaving(_) | State::Over(_) => None,
        }
    }

    /// Ends the session by what its state demands.
    pub(crate) fn hang_up(
        &mut self,
        layer: &mut Layer,
        headers: Headers,
        now: Now,
    ) -> Result<(), CommandError> {
        match &self.state {
            State::Calling(_) => self.give_up(layer, headers, now),
            State::Incoming(_) => self.refuse(layer, 480, None, &headers, now)?,
            State::Confirmed(_) => self.leave(layer, headers, now),
            State::Leaving(_) | State::Over(_) => return Err(CommandError::UnknownSession),
        }
        Ok(())
    }

    // ---- what all states share

    fn take_cseq(&mut self, request: &Message) -> bool {
        let Ok(cseq) = request.cseq() else { return false };
        let dialog = match &mut self.state {
            State::Confirmed(confirmed) => &mut confirmed.dialog,
            State::Leaving(leaving) => &mut leaving.dialog,
            State::Incoming(incoming) => &mut incoming.dialog,
            State::Over(Some(dialog)) => dialog,
            State::Calling(calling) => match calling.early_dialog_mut(request) {
                Some(dialog) => dialog,
                None => return false,
            },
            State::Over(None) => return true,
        };
        dialog.take_cseq(cseq.number) == Order::Next
    }

    fn respond(&self, layer: &mut Layer, tx: TxId, status: u16, now: Now) {
        self.respond_with(layer, tx, status, now, |reply| reply);
    }

    fn respond_with(
        &self,
        layer: &mut Layer,
        tx: TxId,
        status: u16,
        now: Now,
        finish: impl FnOnce(Builder) -> Builder,
    ) {
        layer.reply(tx, status, None, &self.local_tag, now, finish);
    }

    /// Sends a request within `dialog` through a transaction of its own.
    fn send(
        &mut self,
        layer: &mut Layer,
        dialog: &Dialog,
        request: Builder,
        now: Now,
    ) -> Result<TxId, CommandError> {
        let request = request.header("User-Agent", &layer.config.user_agent).build();
        let request = request.map_err(|_| CommandError::Unbuildable)?;
        let owner = Owner::Session(self.id);
        let start = ClientStart { owner, side: self.side, target: dialog.target(), branch: None };
        let tx = layer.start(&request, start, now.mono)?;
        self.open.insert(tx);
        Ok(tx)
    }

    /// Sends BYE within `dialog`. None if it cannot be written or sent, which ends the call all the same.
    fn send_bye(
        &mut self,
        layer: &mut Layer,
        dialog: &mut Dialog,
        headers: &[(String, String)],
        now: Now,
    ) -> Option<TxId> {
        let cseq = dialog.next_cseq();
        let request = with_headers(dialog.request(Method::Bye, cseq), headers);
        match self.send(layer, dialog, request, now) {
            Ok(tx) => Some(tx),
            // Headers of the application that cannot be written must not keep the call alive.
            Err(CommandError::Unbuildable) => {
                let bare = dialog.request(Method::Bye, cseq);
                self.send(layer, dialog, bare, now).ok()
            }
            Err(_) => None,
        }
    }

    /// Acknowledges a 2xx, and remembers how.
    fn send_ack(&mut self, layer: &mut Layer, dialog: &Dialog, cseq: u32) {
        let mut request = dialog.request(Method::Ack, cseq);
        // An ACK carries the credentials of its INVITE, as nobody can challenge it (RFC 3261 section 22.1).
        if let Some((name, value)) = self.auth.header_of(Method::Invite) {
            request = request.header(name, value);
        }
        let Ok(ack) = request.build() else { return };
        let target = dialog.target();
        layer.send_ack(&ack, self.side, target.clone());
        if self.acks.len() > layer.config.limits.forks {
            self.acks.remove(0);
        }
        let (remote_tag, ack) = (dialog.remote_tag.clone(), Kept::of(&ack));
        self.acks.push(Acknowledged { remote_tag, cseq, ack, target });
    }

    /// Sends the ACK of a retransmitted 2xx again. False if that 2xx was never acknowledged.
    fn repeat_ack(&self, layer: &mut Layer, remote_tag: &str, cseq: u32) -> bool {
        let known = self.acks.iter().find(|ack| ack.cseq == cseq && ack.remote_tag == remote_tag);
        if let Some(known) = known
            && let Some(ack) = known.ack.message()
        {
            layer.send_ack(&ack, self.side, known.target.clone());
        }
        known.is_some()
    }

    /// Tells the application that the session is over. The dialog stays for stray messages.
    fn end(&mut self, layer: &mut Layer, how: EndHow) {
        let dialog = match std::mem::replace(&mut self.state, State::Over(None)) {
            State::Confirmed(confirmed) => Some(Box::new(confirmed.dialog)),
            State::Leaving(leaving) => Some(Box::new(leaving.dialog)),
            State::Incoming(incoming) => Some(Box::new(incoming.dialog)),
            State::Calling(_) => None,
            State::Over(dialog) => {
                self.state = State::Over(dialog);
                return;
            }
        };
        self.state = State::Over(dialog);
        self.auth.forget();
        layer.tell(Event::Ended { session: self.id, how });
    }

    /// Tells the application that our INVITE failed.
    fn end_refused(&mut self, layer: &mut Layer, status: u16, message: Option<Message>) {
        self.state = State::Over(None);
        self.auth.forget();
        layer.tell(Event::Refused { session: self.id, status, message });
    }
}

fn with_headers(builder: Builder, headers: &[(String, String)]) -> Builder {
    headers.iter().fold(builder, |builder, (name, value)| builder.header(name, value))
}

/// What we tell of ourselves to a known peer.
pub(crate) fn capabilities(reply: Builder) -> Builder {
    reply.header("Accept", SDP)
}

/// The body type of offers and answers.
const SDP: &str = "application/sdp";

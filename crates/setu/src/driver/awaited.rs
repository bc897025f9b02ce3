//! Calls that come once their customers allow them: where a number's provider calls back, a call is placed or dialled by
//! asking the customer, and its `call.connect` names the URI at which he waits.

use std::time::{Duration, Instant};

use setu_call::{AnswerIn, Dial, EndHow, LegCommand, LegEvent, Live, Offered, Origin, Progress, Stage, Step};
use setu_model::{CallFacts, CallId, Cause, Direction, EndedBy, Ingress, LegId, Now, Termination, Wall};
use setu_whatsapp::permission::Customer;

use super::reach::Waiting;
use super::{NotPlaced, Shard};

/// A call that comes once its customer allows it.
#[derive(Debug, Clone)]
pub(super) struct Awaited {
    pub(super) call: CallId,
    pub(super) began: Now,
    /// It is waited for until then. Who dialled waits as long as the call core says.
    pub(super) until: Option<Instant>,
    pub(super) facts: CallFacts,
    pub(super) reservation: Option<CallId>,
    /// What was told before the reply to the request.
    pub(super) meanwhile: Meanwhile,
    /// The leg that waits for it, where somebody dialled.
    pub(super) dialled: Option<Dialled>,
}

/// A customer whom somebody dialled.
#[derive(Debug, Clone)]
pub(super) struct Dialled {
    pub(super) leg: LegId,
    offer: String,
}

/// What a customer did before the reply to the request that asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meanwhile {
    Nothing,
    /// The call came.
    Come,
    /// It will not come.
    Declined,
}

impl Shard {
    /// Calls a customer by asking, for somebody who dialled.
    pub(super) fn dial_by_request(&mut self, dial: Dial, wait: Duration, now: Now) {
        let Dial { leg, offer, facts, .. } = dial;
        let awaited = Awaited {
            call: leg.call,
            began: now,
            until: None,
            facts,
            reservation: None,
            meanwhile: Meanwhile::Nothing,
            dialled: Some(Dialled { leg, offer }),
        };
        let asked = LegEvent::Asked { leg, wait: Some(wait) };
        match self.request_for(awaited, now) {
            Ok(()) => self.calls.handle(setu_call::Input::Leg(asked), now),
            Err(why) => self.not_asked(leg, &why, now),
        }
    }

    /// A customer whom somebody dialled could not be asked.
    pub(super) fn not_asked(&mut self, leg: LegId, why: &NotPlaced, now: Now) {
        let (status, cause, detail) = match why {
            NotPlaced::Refused(rules) => {
                (403, Cause::RefusedByMeta, rules.first().map(ToString::to_string).unwrap_or_default())
            }
            NotPlaced::Unable(why) => (480, Cause::Unreachable, why.clone()),
            NotPlaced::UnknownNumber
            | NotPlaced::UnknownAgent(_)
            | NotPlaced::UnknownReservation
            | NotPlaced::NoWay(_)
            | NotPlaced::NoCustomer => {
                (480, Cause::Unreachable, "the number's provider is not configured any more".to_owned())
            }
        };
        self.not_dialled(leg, (status, status), cause, Some(detail), now);
    }

    /// The customer whom somebody dialled allows it, and waits at a URI.
    pub(super) fn allowed(
        &mut self,
        dialled: Dialled,
        facts: CallFacts,
        at: Result<Waiting, String>,
        now: Now,
    ) {
        let Dialled { leg, offer } = dialled;
        let allowed = LegEvent::Allowed { leg, learnt: Box::new(facts) };
        self.calls.handle(setu_call::Input::Leg(allowed), now);
        match at {
            Ok(at) => self.reach_at(leg, at, offer, now),
            Err(why) => {
                tracing::warn!(call = %leg.call, why, "a webhook names a URI that is not dialled");
                self.not_dialled(leg, (403, 480), Cause::Refused, Some(why), now);
            }
        }
    }

    /// Carries out a command for a leg whose customer is being asked; hands it back if it is none.
    pub(super) fn command_asked(&mut self, command: LegCommand, now: Now) -> Result<(), LegCommand> {
        let leg = command.leg();
        let known = self.all_awaited().any(|it| it.dialled.as_ref().is_some_and(|it| it.leg == leg));
        if !known {
            return Err(command);
        }
        if let LegCommand::HangUp { .. } | LegCommand::Refuse { .. } = command {
            self.forget_awaited(leg.call);
            let how = EndHow::Local;
            let event = LegEvent::Ended { leg, how, wacid: None, meta_duration_s: None, detail: None };
            self.calls.handle(setu_call::Input::Leg(event), now);
        }
        Ok(())
    }

    /// The customer's leg of the call for which a customer was asked, if it has not come.
    pub(super) fn awaits(&self, number: &str, customer: &str) -> Option<LegId> {
        let mut all = self.all_awaited();
        let awaited =
            all.find(|it| it.meanwhile == Meanwhile::Nothing && is_pair(&it.facts, number, customer))?;
        Some(awaited.dialled.as_ref().map_or(LegId::originator(awaited.call), |it| it.leg))
    }

    /// It comes; returns what was known of it.
    pub(super) fn take_awaited(&mut self, call: CallId) -> Option<Awaited> {
        if let Some(awaited) = self.requests.awaited.remove(&call) {
            return Some(awaited);
        }
        let sent = self.requests.sent.values_mut();
        let pending = sent.into_iter().find(|it| it.call.as_ref().is_some_and(|it| it.call == call))?;
        if pending.call.as_ref().is_some_and(|it| it.dialled.is_some()) {
            return pending.call.take().map(|it| *it);
        }
        let awaited = pending.call.as_mut()?;
        awaited.meanwhile = Meanwhile::Come;
        Some((**awaited).clone())
    }

    /// The customer who was asked says no. What was said well before is about something else.
    pub(super) fn declined(&mut self, number: &str, customer: &Customer, at: Wall, now: Now) {
        let Some(customer) = customer.wa_id.as_ref().map(|id| format!("+{}", id.reveal())) else { return };
        let Some(leg) = self.awaits(number, &customer) else { return };
        let about = |it: &Awaited| it.began.wall.unix_ms() <= at.unix_ms().saturating_add(CLOCKS_DIFFER_MS);
        let Some(awaited) = self.all_awaited().find(|it| it.call == leg.call && about(it)) else { return };
        tracing::info!(call = %leg.call, number, "the customer declines the call");
        if awaited.dialled.is_some() {
            self.forget_awaited(leg.call);
            let detail = Some(DECLINED.to_owned());
            return self.not_dialled(leg, (603, 603), Cause::Declined, detail, now);
        }
        if self.give_up_awaited(leg.call, declined(), now).is_none() {
            let sent = self.requests.sent.values_mut().filter_map(|pending| pending.call.as_mut());
            for awaited in sent.into_iter().filter(|it| it.call == leg.call) {
                awaited.meanwhile = Meanwhile::Declined;
            }
        }
    }

    /// Customers who did not allow their calls in time are waited for no longer.
    pub(super) fn expire_awaited(&mut self, now: Now) {
        let over = self.requests.awaited.values().filter(|it| it.until.is_some_and(|at| at <= now.mono));
        let over: Vec<CallId> = over.map(|it| it.call).collect();
        for call in over {
            let end = ended(Cause::NoAnswer, 480, "the customer did not allow the call in time");
            self.give_up_awaited(call, end, now);
        }
    }

    /// No call that was ordered may come any more. Who dialled is in a call, which may finish.
    pub(super) fn give_up_all_awaited(&mut self, now: Now) {
        let ordered = self.requests.awaited.values().filter(|it| it.dialled.is_none());
        let all: Vec<CallId> = ordered.map(|it| it.call).collect();
        for call in all {
            self.give_up_awaited(call, ended(Cause::Shutdown, 503, "the bridge is draining"), now);
        }
    }

    /// The business waits for an ordered call no longer; returns what could be seen of it.
    pub(super) fn take_back_awaited(&mut self, call: CallId, now: Now) -> Option<Live> {
        self.give_up_awaited(call, ended(Cause::Cancelled, 480, "the business took it back"), now)
    }

    /// Waits for an ordered call no longer, which leaves a record; returns what could be seen of it.
    pub(super) fn give_up_awaited(&mut self, call: CallId, end: Termination, now: Now) -> Option<Live> {
        self.requests.awaited.get(&call).filter(|it| it.dialled.is_none())?;
        let awaited = self.requests.awaited.remove(&call)?;
        if let Some(id) = awaited.reservation {
            self.calls.unreserve(id);
        }
        let live = awaited.live();
        let began = awaited.began;
        let offered = Box::new(Offered {
            call,
            ingress: Ingress::ProviderUri,
            direction: Direction::BusinessInitiated,
            origin: Origin::Meta { number: awaited.facts.number.clone() },
            dialled: String::new(),
            facts: awaited.facts,
            offer: None,
            answer_in: AnswerIn::OneStep,
        });
        self.calls.handle(setu_call::Input::TurnedAway { offered, began, end }, now);
        Some(live)
    }

    /// The awaited calls that were ordered, in the order of their ids. The call core knows of those that were dialled.
    pub(super) fn awaited(&self) -> impl Iterator<Item = Live> {
        self.requests.awaited.values().filter(|it| it.dialled.is_none()).map(Awaited::live)
    }

    /// All of them, whether the reply to the request has come or not.
    fn all_awaited(&self) -> impl Iterator<Item = &Awaited> {
        let sent = self.requests.sent.values().filter_map(|pending| pending.call.as_deref());
        self.requests.awaited.values().chain(sent)
    }

    /// Who dialled waits no longer; the request itself counts all the same.
    fn forget_awaited(&mut self, call: CallId) {
        self.requests.awaited.remove(&call);
        for pending in self.requests.sent.values_mut() {
            pending.call.take_if(|it| it.call == call);
        }
    }
}

impl Awaited {
    /// Its first step, for whoever keeps calls that are not over.
    pub(super) fn progress(&self) -> Progress {
        Progress {
            call: self.call,
            step: Step::Offered,
            at: self.began.wall,
            direction: Direction::BusinessInitiated,
            ingress: Ingress::ProviderUri,
            facts: self.facts.clone(),
            agent: None,
        }
    }

    fn live(&self) -> Live {
        Live {
            call: self.call,
            direction: Direction::BusinessInitiated,
            ingress: Ingress::ProviderUri,
            facts: self.facts.clone(),
            began: self.began.wall,
            answered: None,
            agent: None,
            stage: Stage::Awaiting,
        }
    }
}

/// Whether facts are of this number and customer.
pub(super) fn is_pair(facts: &CallFacts, number: &str, customer: &str) -> bool {
    facts.number == number && facts.customer.reveal() == customer
}

/// The end of a call whose customer says no.
pub(super) fn declined() -> Termination {
    Termination { by: EndedBy::Customer, ..ended(Cause::Declined, 603, DECLINED) }
}

fn ended(cause: Cause, status: u16, why: &str) -> Termination {
    Termination::new(cause, EndedBy::Bridge).with_status(status).with_detail(why)
}

const DECLINED: &str = "the customer declined the call";

/// How much, in milliseconds, a webhook's clock may be behind ours.
const CLOCKS_DIFFER_MS: i64 = 60_000;

//! Permission requests: whether one may be sent, the message, and what follows from it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use setu_call::Reserve;
use setu_model::{CallFacts, CallId, GateCode, Now, Pii, RuleRefusal, Secret};
use setu_whatsapp::gate::Decision;
use setu_whatsapp::graph::{Action, Failure, Reply, Template};
use setu_whatsapp::permission::{Customer, Fact, Verdict};

use super::awaited::{Awaited, Meanwhile, is_pair};
use super::{Answer, Asker, Finding, GraphToken, Inquiry, NotPlaced, Order, Output, Shard};

/// How a number's messages are sent.
#[derive(Debug, Clone)]
pub struct Messenger {
    /// Where to.
    pub to: MessagesTo,
    /// What the requests bear.
    pub token: Secret<String>,
}

/// Where messages are sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessagesTo {
    /// Meta's Graph, for the number with this id.
    Graph(String),
    /// A provider, whose customers call back: it tells by `call.connect` where they wait.
    Provider {
        /// The address, by https.
        url: String,
        /// How long a customer who was asked is waited for.
        wait: Duration,
    },
}

/// A message to send. Answered by [`super::Input::GraphReplied`].
#[derive(Debug)]
pub struct MessageAsk {
    /// What it counts as. It is sent only once this is kept: what was delivered counts although the bridge is killed.
    pub note: Note,
    /// Comes back with the reply.
    pub token: GraphToken,
    /// How it is sent.
    pub messenger: Messenger,
    /// What.
    pub action: Action,
}

/// Something to keep of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The business number.
    pub number: String,
    /// The customer.
    pub customer: Customer,
    /// The fact's name.
    pub id: String,
    /// The fact.
    pub fact: Fact,
}

/// A permission request to send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PermissionOrder {
    /// The business number.
    pub number: String,
    /// Whom to ask.
    pub customer: Pii<String>,
    /// Who is to be ready for the call: one of these, or anybody of the number's route.
    pub agents: Vec<String>,
    /// For how long one of them is set aside; none sets nobody aside.
    pub reserve: Option<Duration>,
    /// Whether a person asks.
    pub by_hand: bool,
    /// What the call will be for.
    pub use_case: Option<String>,
    /// The campaign it is part of.
    pub campaign: Option<String>,
    /// What it belongs to elsewhere.
    pub reference: Option<String>,
    /// What the message says, in an open conversation.
    pub text: Option<String>,
    /// The template it is made of, which may go out at any time.
    pub template: Option<Template>,
}

/// A permission request that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// WhatsApp's id of the message, where it was told.
    pub message: Option<String>,
    /// Who was set aside for the call.
    pub reservation: Option<CallId>,
}

/// Requests under way.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// The gate was asked.
    asked: BTreeMap<u64, Pending>,
    /// The message is out.
    pub(super) sent: BTreeMap<GraphToken, Pending>,
    /// Customers who were asked and whose provider is to call back.
    pub(super) awaited: BTreeMap<CallId, Awaited>,
    next: u64,
}

#[derive(Debug)]
pub(super) struct Pending {
    /// Who waits for the answer, by the token of the REST interface; nobody where somebody dialled.
    token: Option<u64>,
    order: PermissionOrder,
    reservation: Option<CallId>,
    /// The gate has to answer until then.
    until: Instant,
    /// What it counts as, once it is under way.
    counts: Option<Box<Note>>,
    /// The call that the request is for, where a provider calls back.
    pub(super) call: Option<Box<Awaited>>,
}

impl Requests {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let asked = self.asked.values().map(|pending| pending.until);
        self.awaited.values().filter_map(|awaited| awaited.until).chain(asked).min()
    }

    fn is_full(&self) -> bool {
        self.asked.len() + self.sent.len() + self.awaited.len() >= MOST_REQUESTS
    }

    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.sent.is_empty() && self.awaited.is_empty()
    }

    /// Whether a customer is being asked already.
    fn has(&self, number: &str, customer: &str) -> bool {
        let of = |order: &PermissionOrder| order.number == number && order.customer.reveal() == customer;
        self.asked.values().chain(self.sent.values()).any(|pending| of(&pending.order))
            || self.awaited.values().any(|it| is_pair(&it.facts, number, customer))
    }
}

impl Shard {
    /// Whether calls of a number are made by asking its provider.
    pub(super) fn is_called_back(&self, number: &str) -> Option<Duration> {
        match self.settings.messengers.get(number).map(|messenger| &messenger.to) {
            Some(MessagesTo::Provider { wait, .. }) => Some(*wait),
            Some(MessagesTo::Graph(_)) | None => None,
        }
    }

    /// Asks a customer for permission.
    pub(super) fn request_permission(&mut self, token: u64, order: PermissionOrder, now: Now) {
        if let Err(why) = self.try_request(token, order, None, now) {
            self.answer(token, Answer::Requested(Err(why)));
        }
    }

    /// Places a call by asking the customer, whose provider calls back.
    pub(super) fn place_by_request(
        &mut self,
        token: u64,
        order: &Order,
        customer: &str,
        wait: Duration,
        now: Now,
    ) -> Option<CallId> {
        let facts = CallFacts {
            number: order.number.clone(),
            customer: Pii::new(customer.to_owned()),
            use_case: order.use_case.clone(),
            payload: order.payload.clone(),
            queue: order.queue.clone(),
            reference: order.reference.clone(),
            ..CallFacts::default()
        };
        let call = order.call.unwrap_or_else(|| CallId::new(now.wall, &mut *self.entropy));
        let until = Some(now.after(wait).mono);
        let reservation = order.reservation;
        let meanwhile = Meanwhile::Nothing;
        let awaited = Awaited { call, began: now, until, facts, reservation, meanwhile, dialled: None };
        let request = PermissionOrder {
            number: order.number.clone(),
            customer: Pii::new(customer.to_owned()),
            agents: order.agents.clone(),
            reserve: order.reservation.is_none().then_some(wait),
            by_hand: order.by_hand,
            use_case: order.use_case.clone(),
            reference: order.reference.clone(),
            ..PermissionOrder::default()
        };
        match self.try_request(token, request, Some(Box::new(awaited)), now) {
            Ok(()) => Some(call),
            Err(why) => {
                self.answer(token, Answer::Placed(Err(why)));
                None
            }
        }
    }

    fn try_request(
        &mut self,
        token: u64,
        mut order: PermissionOrder,
        mut call: Option<Box<Awaited>>,
        now: Now,
    ) -> Result<(), NotPlaced> {
        self.knows(&order.number, &order.agents)?;
        let plan = &self.settings.calls.dial_plan;
        let customer = setu_call::normalise(order.customer.reveal(), plan).ok_or(NotPlaced::NoCustomer)?;
        order.customer = Pii::new(customer.clone());
        if !self.settings.messengers.contains_key(&order.number) {
            let why =
                "no message can be sent from the number: give its phone_number_id and token, or its provider";
            return Err(NotPlaced::NoWay(why));
        }
        self.may_ask(&order.number, &customer)?;
        let reservation = match order.reserve {
            Some(lasts) => Some(self.try_reserve(ahead(&order, lasts), now)?.id),
            None => call.as_ref().and_then(|call| call.reservation),
        };
        if let Some(call) = &mut call {
            call.reservation = reservation;
        }
        let until = now.after(self.settings.calls.timers.gate).mono;
        let pending = Pending { token: Some(token), order, reservation, until, counts: None, call };
        if !self.settings.calls.numbers.get(&pending.order.number).is_some_and(|number| number.gated) {
            if pending.reservation.is_none() && !self.calls.is_ready(&pending.order.number) {
                return Err(NotPlaced::Refused(vec![super::ahead::nobody("no agent is ready")]));
            }
            self.send_request(pending, now);
            return Ok(());
        }
        let id = self.requests.next;
        self.requests.next += 1;
        let order = &pending.order;
        let inquiry = Inquiry {
            token: id,
            number: order.number.clone(),
            customer: Customer::of_fields(&customer, None),
            by_hand: order.by_hand,
            use_case: order.use_case.clone(),
            campaign: order.campaign.clone(),
            sends_request: true,
        };
        self.requests.asked.insert(id, pending);
        self.look_up(Asker::Request(id), inquiry, now);
        Ok(())
    }

    /// Asks the customer whom somebody dialled.
    ///
    /// # Errors
    /// Why it cannot be.
    pub(super) fn request_for(&mut self, awaited: Awaited, now: Now) -> Result<(), NotPlaced> {
        let (number, customer) = (awaited.facts.number.clone(), awaited.facts.customer.clone());
        self.may_ask(&number, customer.reveal())?;
        let use_case = awaited.facts.use_case.clone();
        let order = PermissionOrder { number, customer, use_case, ..PermissionOrder::default() };
        let call = Some(Box::new(awaited));
        let until = now.mono;
        let pending = Pending { token: None, order, reservation: None, until, counts: None, call };
        self.send_request(pending, now);
        Ok(())
    }

    /// Whether one more customer may be asked, and this one.
    fn may_ask(&self, number: &str, customer: &str) -> Result<(), NotPlaced> {
        if self.requests.is_full() {
            return Err(NotPlaced::Unable("too many customers are being asked".to_owned()));
        }
        if self.requests.has(number, customer) {
            let why = "the customer is being asked already";
            let rule = RuleRefusal::new(GateCode::RequestLimit, why, "wait for the customer's answer");
            return Err(NotPlaced::Refused(vec![rule]));
        }
        Ok(())
    }

    /// Whether somebody is there for the call that a request may bring.
    pub(super) fn is_ready_for(&self, request: u64, number: &str) -> bool {
        let reserved = self.requests.asked.get(&request).is_some_and(|pending| pending.reservation.is_some());
        reserved || self.calls.is_ready(number)
    }

    /// Takes the gate's answer.
    pub(super) fn request_judged(&mut self, id: u64, found: Result<Option<Finding>, String>, now: Now) {
        let Some(pending) = self.requests.asked.remove(&id) else { return };
        let why = match found.map(|found| found.map(|found| found.may_request)) {
            Ok(Some(Decision::Allowed { .. })) => return self.send_request(pending, now),
            Ok(Some(Decision::Refused(refusals))) => {
                NotPlaced::Refused(refusals.into_iter().map(super::gate::rule).collect())
            }
            Ok(None) => NotPlaced::UnknownNumber,
            Err(why) => NotPlaced::Unable(why),
        };
        self.request_failed(pending, why, now);
    }

    fn request_failed(&mut self, pending: Pending, why: NotPlaced, now: Now) {
        if let Some(id) = pending.reservation.filter(|_| pending.order.reserve.is_some()) {
            self.calls.unreserve(id);
        }
        let Some(awaited) = pending.call else {
            if let Some(token) = pending.token {
                self.answer(token, Answer::Requested(Err(why)));
            }
            return;
        };
        if let Some(dialled) = &awaited.dialled {
            return self.not_asked(dialled.leg, &why, now);
        }
        // It may have come all the same.
        let came = awaited.meanwhile == Meanwhile::Come;
        let placed = if came { Ok(awaited.call) } else { Err(why) };
        if placed.is_err() {
            self.placing.forget(awaited.call);
        }
        self.tell_asked(awaited.call, pending.token, &placed);
    }

    fn send_request(&mut self, mut pending: Pending, now: Now) {
        let Some(messenger) = self.settings.messengers.get(&pending.order.number).cloned() else {
            // A reload took it away meanwhile.
            return self.request_failed(pending, NotPlaced::UnknownNumber, now);
        };
        let order = &pending.order;
        let to = order.customer.reveal().trim_start_matches('+').to_owned();
        let (text, template) = (order.text.clone(), order.template.clone());
        let action = Action::RequestPermission { to, text, template };
        let id = format!("asked:{}", CallId::new(now.wall, &mut *self.entropy));
        let customer = Customer::of_fields(order.customer.reveal(), None);
        let note = Note { number: order.number.clone(), customer, id, fact: Fact::Asked { at: now.wall } };
        pending.counts = Some(Box::new(note.clone()));
        let token = self.graph.token();
        self.requests.sent.insert(token, pending);
        self.outputs.push_back(Output::Message(Box::new(MessageAsk { note, token, messenger, action })));
    }

    /// Takes the reply to a message; hands it back if it answers none.
    pub(super) fn message_replied(
        &mut self,
        token: GraphToken,
        reply: Result<Reply, Failure>,
        now: Now,
    ) -> Result<(), Result<Reply, Failure>> {
        let Some(mut pending) = self.requests.sent.remove(&token) else { return Err(reply) };
        let why = match reply {
            Ok(Reply { message, .. }) => {
                self.request_sent(pending, message, now);
                return Ok(());
            }
            Err(Failure::Refused { code, text }) => match GateCode::of_meta(code) {
                Some(rule) => {
                    self.note_limit(&pending, rule, now);
                    let remedy = if rule == GateCode::AlreadyPermitted {
                        "call the customer"
                    } else {
                        "wait, or let the customer call"
                    };
                    NotPlaced::Refused(vec![RuleRefusal::new(
                        rule,
                        format!("Meta refuses it: {text}"),
                        remedy,
                    )])
                }
                None => NotPlaced::Unable(format!("the request is refused: {text} ({code})")),
            },
            Err(Failure::Unknown { text }) => {
                // It may have been delivered: it counts.
                pending.counts = None;
                NotPlaced::Unable(format!("whether the request was delivered is not known: {text}"))
            }
        };
        if let Some(note) = pending.counts.take() {
            self.outputs.push_back(Output::Withdrawn(note));
        }
        tracing::warn!(number = pending.order.number, ?why, "a permission request came to nothing");
        self.request_failed(pending, why, now);
        Ok(())
    }

    /// Keeps what a refusal of Meta tells of the customer, so that the same is not tried again.
    fn note_limit(&mut self, pending: &Pending, rule: GateCode, now: Now) {
        let at = now.wall;
        let fact = if rule == GateCode::RequestLimit {
            // Since when is not told. The careful reading is: now.
            Fact::Asked { at }
        } else if rule == GateCode::AlreadyPermitted {
            let (no_request_before, no_call_before) = (None, None);
            Fact::Observed { at, verdict: Verdict::Permanent, no_request_before, no_call_before }
        } else {
            return;
        };
        let customer = Customer::of_fields(pending.order.customer.reveal(), None);
        let id = format!("refused:{}", CallId::new(at, &mut *self.entropy));
        let note = Note { number: pending.order.number.clone(), customer, id, fact };
        self.outputs.push_back(Output::Note(Box::new(note)));
    }

    fn request_sent(&mut self, pending: Pending, message: Option<String>, now: Now) {
        let Pending { token, reservation, call, .. } = pending;
        let Some(awaited) = call else {
            if let Some(token) = token {
                self.answer(token, Answer::Requested(Ok(Sent { message, reservation })));
            }
            return;
        };
        let (call, meanwhile) = (awaited.call, awaited.meanwhile);
        tracing::info!(%call, number = awaited.facts.number, "the customer is asked, and the provider's call awaited");
        if meanwhile != Meanwhile::Come {
            if awaited.dialled.is_none() {
                self.outputs.push_back(Output::Awaited(Box::new(awaited.progress())));
            }
            self.requests.awaited.insert(call, *awaited);
        }
        self.tell_asked(call, token, &Ok(call));
        if meanwhile == Meanwhile::Declined {
            self.give_up_awaited(call, super::awaited::declined(), now);
        }
    }

    /// Tells everybody who ordered a call of what became of its request.
    fn tell_asked(&mut self, call: CallId, token: Option<u64>, placed: &Result<CallId, NotPlaced>) {
        for token in self.placing.tokens(call, token) {
            self.answer(token, Answer::Placed(placed.clone()));
        }
    }

    /// Gates that do not answer are waited for no longer, nor are customers who do not allow their calls.
    pub(super) fn expire_requests(&mut self, now: Now) {
        let late = self.requests.asked.iter().filter(|(_, pending)| pending.until <= now.mono);
        let late: Vec<u64> = late.map(|(id, _)| *id).collect();
        for id in late {
            self.request_judged(id, Err("the gate does not answer".to_owned()), now);
        }
        self.expire_awaited(now);
    }
}

fn ahead(order: &PermissionOrder, lasts: Duration) -> Reserve {
    Reserve {
        number: order.number.clone(),
        customer: Some(order.customer.clone()),
        agents: order.agents.clone(),
        lasts,
        use_case: order.use_case.clone(),
        reference: order.reference.clone(),
    }
}

/// The most customers who are being asked at once: as many as there may be reservations.
const MOST_REQUESTS: usize = 2_048;

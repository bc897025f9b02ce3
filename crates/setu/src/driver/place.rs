//! What the REST interface asks for: to place a call, to see those that live, to end one, and what comes ahead of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use setu_call::{AnswerIn, Live, Offered, Origin, Placed, Reservation, Reserve, RingOrder, Stage, normalise};
use setu_model::{CallFacts, CallId, Cdr, Direction, Ingress, LegId, Now, Pii, RuleRefusal};

use super::reach::Reach;
use super::{Output, PermissionOrder, Readiness, Sent, Shard};

/// What the REST interface asks for.
#[derive(Debug, Clone)]
pub enum Request {
    /// To place a call.
    Place(Box<Order>),
    /// To ask a customer for permission.
    Permission(Box<PermissionOrder>),
    /// The calls that live, from the one after `after` on.
    Lives {
        /// The last one that was seen.
        after: Option<CallId>,
        /// Of one business number.
        number: Option<String>,
        /// At most so many.
        most: usize,
    },
    /// One call.
    Live(CallId),
    /// To end a call.
    HangUp(CallId),
    /// To set somebody aside for a call to come.
    Reserve(Box<Reserve>),
    /// The reservations whose calls have not come, from the one after `after` on.
    Reservations {
        /// The last one that was seen.
        after: Option<CallId>,
        /// Of one business number.
        number: Option<String>,
        /// At most so many.
        most: usize,
    },
    /// One reservation.
    Reservation(CallId),
    /// To give back who was set aside.
    Release(CallId),
    /// Whether a number is ready for calls.
    Readiness(String),
}

/// The answer to a [`Request`].
#[derive(Debug, Clone)]
pub enum Answer {
    /// To [`Request::Place`].
    Placed(Result<CallId, NotPlaced>),
    /// To [`Request::Permission`].
    Requested(Result<Sent, NotPlaced>),
    /// What can be seen of calls, which is nothing of one that does not live.
    Lives(Vec<Live>),
    /// To [`Request::Reserve`].
    Reserved(Result<Box<Reservation>, NotPlaced>),
    /// What there is of reservations.
    Reservations(Vec<Reservation>),
    /// To [`Request::Readiness`]: none if the number is none of ours; or why it cannot be said, for people.
    Readiness(Result<Option<Box<Readiness>>, String>),
}

/// A call to place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    /// The business number to call from, E.164 with `+`.
    pub number: String,
    /// Whom to call.
    pub customer: Pii<String>,
    /// Who is to take it, by account name; empty leaves it to the number's route.
    pub agents: Vec<String>,
    /// Who rings first; none leaves it to the number.
    pub ring: Option<RingOrder>,
    /// Whether a person asks for this very call.
    pub by_hand: bool,
    /// What it is for.
    pub use_case: Option<String>,
    /// What the agent is told.
    pub payload: Option<String>,
    /// The queue it is for.
    pub queue: Option<String>,
    /// What it belongs to elsewhere.
    pub reference: Option<String>,
    /// The reservation whose agent is to take it.
    pub reservation: Option<CallId>,
    /// The id that the call will have. Orders of one id are one order; none is an order of its own.
    pub call: Option<CallId>,
}

/// Why a call is not placed, or nobody is set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotPlaced {
    /// The number is none of ours.
    UnknownNumber,
    /// So is this agent.
    UnknownAgent(String),
    /// There is no such reservation of the number.
    UnknownReservation,
    /// There is no way to do it: a setting is missing; which, for people.
    NoWay(&'static str),
    /// Whom to call is no number.
    NoCustomer,
    /// Rules forbid it.
    Refused(Vec<RuleRefusal>),
    /// It cannot be placed now; why, for people.
    Unable(String),
}

/// Orders under way, and those of the last time whose ids were given.
#[derive(Debug, Default)]
pub(super) struct Placing {
    /// Who waits to hear whether the call is placed, by token.
    waiting: BTreeMap<CallId, Vec<u64>>,
    /// The ids that were given.
    given: BTreeSet<CallId>,
    /// The same, the oldest first.
    oldest: VecDeque<CallId>,
}

impl Placing {
    /// Those who wait to hear of a call that was asked for by `token`, all of them.
    pub(super) fn tokens(&mut self, call: CallId, token: Option<u64>) -> Vec<u64> {
        let mut tokens = self.waiting.remove(&call).unwrap_or_default();
        tokens.extend(token);
        tokens
    }

    fn remember(&mut self, given: Option<CallId>) {
        let Some(call) = given else { return };
        if self.given.len() >= MOST_GIVEN
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.given.remove(&oldest);
        }
        self.oldest.push_back(call);
        self.given.insert(call);
    }

    /// The call came to nothing: its id may be given again.
    pub(super) fn forget(&mut self, call: CallId) {
        if self.given.remove(&call) {
            self.oldest.retain(|known| *known != call);
        }
    }
}

impl Shard {
    /// Takes what the REST interface asks for.
    pub(super) fn requested(&mut self, token: u64, request: Request, now: Now) {
        let answer = match request {
            Request::Place(order) => return self.place(token, *order, now),
            Request::Permission(order) => return self.request_permission(token, *order, now),
            Request::Reserve(ahead) => self.reserve(*ahead, now),
            Request::Reservations { after, number, most } => {
                let reservations = self.calls.reservations().filter(|it| {
                    after.is_none_or(|after| it.id > after)
                        && number.as_ref().is_none_or(|number| it.number == *number)
                });
                Answer::Reservations(reservations.take(most).cloned().collect())
            }
            Request::Reservation(id) => {
                Answer::Reservations(self.calls.reservation(id).cloned().into_iter().collect())
            }
            Request::Release(id) => Answer::Reservations(self.calls.unreserve(id).into_iter().collect()),
            Request::Readiness(number) => return self.readiness_asked(token, number, now),
            Request::Lives { after, number, most } => {
                let of = |live: &Live| number.as_ref().is_none_or(|number| live.facts.number == *number);
                let mut lives: Vec<Live> = self.calls.lives(after).filter(of).take(most).collect();
                let later = |live: &Live| after.is_none_or(|after| live.call > after);
                lives.extend(self.awaited().filter(later).filter(of));
                lives.sort_by_key(|live| live.call);
                lives.truncate(most);
                Answer::Lives(lives)
            }
            Request::Live(call) => {
                let awaited = || self.awaited().find(|live| live.call == call);
                Answer::Lives(self.calls.live(call).or_else(awaited).into_iter().collect())
            }
            Request::HangUp(call) => {
                // One that is ending already is none any more.
                let live = self.calls.live(call).filter(|live| live.stage != Stage::Ending);
                if live.is_some() {
                    self.calls.handle(setu_call::Input::HangUp { call }, now);
                }
                let live = live.or_else(|| self.take_back_awaited(call, now));
                Answer::Lives(live.into_iter().collect())
            }
        };
        self.answer(token, answer);
    }

    fn place(&mut self, token: u64, order: Order, now: Now) {
        if let Some(call) = order.call.filter(|call| self.placing.given.contains(call)) {
            match self.placing.waiting.get_mut(&call) {
                Some(waiting) => waiting.push(token),
                None => self.answer(token, Answer::Placed(Ok(call))),
            }
            return;
        }
        let customer = match self.may_place(&order) {
            Ok(customer) => customer,
            Err(why) => return self.answer(token, Answer::Placed(Err(why))),
        };
        if let Some(wait) = self.is_called_back(&order.number) {
            if let Some(call) = self.place_by_request(token, &order, &customer, wait, now) {
                // Whoever orders the same meanwhile waits as well.
                self.placing.waiting.insert(call, Vec::new());
                self.placing.remember(order.call);
            }
            return;
        }
        let call = order.call.unwrap_or_else(|| CallId::new(now.wall, &mut *self.entropy));
        let by_graph = self.settings.graph.contains_key(&order.number);
        let reach = Reach::ByNumber { number: order.number.clone(), customer: customer.clone() };
        self.reaches.insert(LegId::originator(call), reach);
        self.placing.waiting.insert(call, vec![token]);
        let offered = offered(call, &order, customer, by_graph);
        self.placing.remember(order.call);
        self.calls.handle(setu_call::Input::Offered(Box::new(offered)), now);
    }

    /// Whom an order is to call, if it can be placed at all.
    fn may_place(&self, order: &Order) -> Result<String, NotPlaced> {
        self.knows(&order.number, &order.agents)?;
        if let Some(id) = order.reservation {
            let known = self.calls.reservation(id).filter(|it| it.number == order.number);
            known.ok_or(NotPlaced::UnknownReservation)?;
        }
        normalise(order.customer.reveal(), &self.settings.calls.dial_plan).ok_or(NotPlaced::NoCustomer)
    }

    /// Whether number and agents are ours.
    pub(super) fn knows(&self, number: &str, agents: &[String]) -> Result<(), NotPlaced> {
        let config = &self.settings.calls;
        if !config.numbers.contains_key(number) {
            return Err(NotPlaced::UnknownNumber);
        }
        match agents.iter().find(|name| !config.agents.contains_key(*name)) {
            Some(stranger) => Err(NotPlaced::UnknownAgent(stranger.clone())),
            None => Ok(()),
        }
    }

    /// Tells of the calls of which is decided that they are made.
    pub(super) fn tell_placed(&mut self) {
        let waiting = &self.placing.waiting;
        let decided = |call: &&CallId| {
            let stage = self.calls.live(**call).map(|live| live.stage);
            stage.is_some_and(|stage| !matches!(stage, Stage::Asking | Stage::Ending))
        };
        let decided: Vec<CallId> = waiting.keys().filter(decided).copied().collect();
        for call in decided {
            for token in self.placing.waiting.remove(&call).unwrap_or_default() {
                self.answer(token, Answer::Placed(Ok(call)));
            }
        }
    }

    /// Tells of a call that is over before that was decided.
    pub(super) fn tell_not_placed(&mut self, cdr: &Cdr) {
        let Some(tokens) = self.placing.waiting.remove(&cdr.call) else { return };
        self.placing.forget(cdr.call);
        let why = if cdr.refused.is_empty() {
            NotPlaced::Unable(cdr.termination.to_string())
        } else {
            NotPlaced::Refused(cdr.refused.clone())
        };
        for token in tokens {
            self.answer(token, Answer::Placed(Err(why.clone())));
        }
    }

    pub(super) fn answer(&mut self, token: u64, answer: Answer) {
        self.outputs.push_back(Output::Answered(token, Box::new(answer)));
    }
}

fn offered(call: CallId, order: &Order, customer: String, by_graph: bool) -> Offered {
    Offered {
        call,
        ingress: if by_graph { Ingress::Graph } else { Ingress::Sip },
        direction: Direction::BusinessInitiated,
        origin: Origin::Placed(Placed {
            number: order.number.clone(),
            agents: order.agents.clone(),
            ring: order.ring,
            by_hand: order.by_hand,
            reservation: order.reservation,
        }),
        dialled: String::new(),
        facts: CallFacts {
            number: order.number.clone(),
            customer: Pii::new(customer),
            use_case: order.use_case.clone(),
            payload: order.payload.clone(),
            queue: order.queue.clone(),
            reference: order.reference.clone(),
            ..CallFacts::default()
        },
        offer: None,
        answer_in: AnswerIn::OneStep,
    }
}

/// The most given ids that are remembered: the calls of the moments until the database knows of them.
const MOST_GIVEN: usize = 16_384;

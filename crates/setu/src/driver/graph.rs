//! Legs that Meta signals by Graph: what their requests and webhooks mean, and what the call core's commands become.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use setu_call::{AnswerIn, EndHow, LegCommand, LegEvent, Offered, Origin};
use setu_model::{CallFacts, CallId, Ingress, LegId, Now, Secret};
use setu_whatsapp::graph::{Action, Ended, Event, Failure, Leg, Output as Said, Reply};
use setu_whatsapp::webhook::{CallStatus, Connect, SessionKind, Terminate};

use super::told::Beginning;
use super::{Output, Shard};

/// A business number whose calls are signalled by Graph.
#[derive(Debug, Clone)]
pub struct GraphNumber {
    /// Meta's id of it.
    pub id: String,
    /// What its requests bear.
    pub token: Secret<String>,
}

/// A request to make.
#[derive(Debug)]
pub struct GraphAsk {
    /// Comes back with the reply.
    pub token: GraphToken,
    /// In whose name.
    pub number: GraphNumber,
    /// What.
    pub action: Action,
}

/// Names one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GraphToken(pub u64);

/// The legs that Graph signals.
#[derive(Debug, Default)]
pub(super) struct GraphLegs {
    legs: BTreeMap<LegId, Carried>,
    /// By the business number and WhatsApp's id: nobody tells of the calls of another number.
    by_wacid: BTreeMap<(String, String), LegId>,
    asked: BTreeMap<GraphToken, LegId>,
    next: u64,
    /// What was told of calls whose id is not known: the reply with it may be behind.
    early: VecDeque<((String, String), Told)>,
}

#[derive(Debug)]
struct Carried {
    leg: Leg,
    /// E.164 with `+`.
    number: String,
}

/// What a webhook tells of a call.
#[derive(Debug, Clone)]
pub(super) enum Told {
    Answer(String),
    Status(CallStatus),
    End(Box<Terminate>),
}

impl GraphLegs {
    pub(super) fn is_empty(&self) -> bool {
        self.legs.is_empty()
    }

    /// Names a request.
    pub(super) const fn token(&mut self) -> GraphToken {
        let token = GraphToken(self.next);
        self.next += 1;
        token
    }

    fn insert(&mut self, id: LegId, leg: Leg, number: &str) {
        if !leg.wacid().is_empty() {
            self.by_wacid.insert((number.to_owned(), leg.wacid().to_owned()), id);
        }
        self.legs.insert(id, Carried { leg, number: number.to_owned() });
    }

    /// Keeps what is told of a call that may turn out to be one of ours.
    fn keep(&mut self, call: (String, String), told: Told) {
        let unnamed = |carried: &Carried| carried.leg.wacid().is_empty() && carried.number == call.0;
        if !self.legs.values().any(unnamed) {
            return;
        }
        if self.early.len() >= MOST_EARLY {
            self.early.pop_front();
        }
        self.early.push_back((call, told));
    }

    fn take_early(&mut self, call: &(String, String)) -> Vec<Told> {
        let (ours, others) = std::mem::take(&mut self.early).into_iter().partition(|(of, _)| of == call);
        self.early = others;
        let ours: VecDeque<_> = ours;
        ours.into_iter().map(|(_, told)| told).collect()
    }
}

impl Shard {
    /// A user calls a number that Graph signals.
    pub(super) fn graph_offered(&mut self, number: &str, connect: Connect, now: Now) {
        let Some(session) = &connect.session else { return };
        if session.kind == SessionKind::Answer {
            let told = Told::Answer(session.sdp.clone());
            return self.graph_told(number, connect.wacid, told, now);
        }
        let call = CallId::new(now.wall, &mut *self.entropy);
        let late = match self.told.begin(number, &connect.wacid, LegId::originator(call)) {
            Beginning::New => None,
            Beginning::Late(end) => Some(end),
            Beginning::Again => return,
        };
        let id = LegId::originator(call);
        self.graph.insert(id, Leg::offered(connect.wacid.clone()), number);
        let offered = Offered {
            call,
            ingress: Ingress::Graph,
            direction: connect.direction,
            origin: Origin::Meta { number: number.to_owned() },
            dialled: String::new(),
            facts: connect.facts(number),
            offer: Some(Bytes::from(session.sdp.clone())),
            answer_in: AnswerIn::TwoSteps,
        };
        self.calls.handle(setu_call::Input::Offered(Box::new(offered)), now);
        if let Some(end) = late {
            self.graph_told(number, connect.wacid, Told::End(end), now);
        }
    }

    /// Takes what a webhook tells of a number's call that Graph signals.
    pub(super) fn graph_told(&mut self, number: &str, wacid: String, told: Told, now: Now) {
        let call = (number.to_owned(), wacid);
        let Some(&id) = self.graph.by_wacid.get(&call) else { return self.graph.keep(call, told) };
        let Some(carried) = self.graph.legs.get_mut(&id) else { return };
        match told {
            Told::Answer(sdp) => carried.leg.handle_answer(&sdp),
            Told::Status(status) => carried.leg.handle_status(status),
            Told::End(end) => carried.leg.handle_terminate(&end),
        }
        self.follow_graph(id, now);
    }

    /// Whether Graph signals a call of the number that is alive.
    pub(super) fn is_graph_call(&self, number: &str, wacid: &str) -> bool {
        self.graph.by_wacid.contains_key(&(number.to_owned(), wacid.to_owned()))
    }

    /// Takes the reply to a request.
    pub(super) fn graph_replied(&mut self, token: GraphToken, reply: Result<Reply, Failure>, now: Now) {
        let Err(reply) = self.message_replied(token, reply, now) else { return };
        let Some(id) = self.graph.asked.remove(&token) else { return };
        let Some(carried) = self.graph.legs.get_mut(&id) else { return };
        if let Err(failure) = &reply {
            tracing::warn!(call = %id.call, number = carried.number, %failure, "a Graph request came to nothing");
        }
        carried.leg.handle_reply(reply);
        self.follow_graph(id, now);
    }

    /// Calls a customer by Graph.
    pub(super) fn graph_dial(&mut self, id: LegId, number: &str, customer: &str, offer: String, now: Now) {
        self.graph.insert(id, Leg::connect(customer, offer, id.call.to_string()), number);
        // Meta tells only later that it rings.
        self.calls.handle(setu_call::Input::Leg(LegEvent::Asked { leg: id, wait: None }), now);
        self.follow_graph(id, now);
    }

    /// Carries out a command for a leg that Graph signals; hands it back if it is none.
    pub(super) fn command_graph(&mut self, command: LegCommand, now: Now) -> Result<(), LegCommand> {
        let id = command.leg();
        let Some(carried) = self.graph.legs.get_mut(&id) else { return Err(command) };
        match command {
            LegCommand::Describe { sdp, .. } => carried.leg.describe(sdp),
            LegCommand::Answer { sdp, .. } => carried.leg.accept(sdp),
            LegCommand::Refuse { .. } | LegCommand::HangUp { .. } => carried.leg.hang_up(),
            // The user hears ringing before we know of the call.
            LegCommand::Ring { .. }
            | LegCommand::Dial(_)
            | LegCommand::AcceptReoffer { .. }
            | LegCommand::RejectReoffer { .. }
            | LegCommand::Key { .. } => {}
        }
        self.follow_graph(id, now);
        Ok(())
    }

    /// Does what a leg says until it says nothing more.
    fn follow_graph(&mut self, id: LegId, now: Now) {
        while let Some(carried) = self.graph.legs.get_mut(&id) {
            match carried.leg.poll_output() {
                Some(Said::Ask(action)) => self.ask_graph(id, action, now),
                Some(Said::Tell(event)) => self.tell_graph(id, event, now),
                None => break,
            }
        }
        if self.graph.legs.get(&id).is_some_and(|carried| carried.leg.is_over())
            && let Some(carried) = self.graph.legs.remove(&id)
        {
            let call = (carried.number, carried.leg.wacid().to_owned());
            self.graph.by_wacid.remove(&call);
        }
    }

    fn ask_graph(&mut self, id: LegId, action: Action, now: Now) {
        let number = self.graph.legs.get(&id).map(|carried| carried.number.clone()).unwrap_or_default();
        let Some(number) = self.settings.graph.get(&number).cloned() else {
            let text = format!("{number} is not configured for Graph any more");
            if let Some(carried) = self.graph.legs.get_mut(&id) {
                carried.leg.handle_reply(Err(Failure::Refused { code: 0, text }));
            }
            return;
        };
        tracing::debug!(call = %id.call, action = action.word(), at = %now.wall, "asks Graph");
        let token = self.graph.token();
        self.graph.asked.insert(token, id);
        self.outputs.push_back(Output::Graph(Box::new(GraphAsk { token, number, action })));
    }

    /// A call of ours has its id: what was told of it before is told now.
    fn graph_named(&mut self, leg: LegId, wacid: String, now: Now) {
        let Some(carried) = self.graph.legs.get(&leg) else { return };
        let call = (carried.number.clone(), wacid.clone());
        self.graph.by_wacid.insert(call.clone(), leg);
        let event = LegEvent::Named { leg, wacid };
        self.calls.handle(setu_call::Input::Leg(event), now);
        for told in self.graph.take_early(&call) {
            self.graph_told(&call.0, call.1.clone(), told, now);
        }
    }

    fn tell_graph(&mut self, leg: LegId, event: Event, now: Now) {
        let wacid = self.graph.legs.get(&leg).map(|carried| carried.leg.wacid().to_owned());
        let wacid = wacid.filter(|wacid| !wacid.is_empty());
        let event = match event {
            Event::Named(wacid) => return self.graph_named(leg, wacid, now),
            Event::Prepared => LegEvent::Prepared { leg },
            Event::Accepted => LegEvent::Acked { leg, sdp: None },
            Event::Described(sdp) => LegEvent::Described { leg, sdp: Bytes::from(sdp) },
            Event::Ringing => LegEvent::Ringing { leg, early: None },
            // Who is reached with our offer answers it.
            Event::Answered(sdp) if leg == LegId::originator(leg.call) => {
                LegEvent::Acked { leg, sdp: Some(Bytes::from(sdp)) }
            }
            Event::Answered(sdp) => {
                let learnt = Some(Box::new(CallFacts { wacid, ..CallFacts::default() }));
                LegEvent::Answered { leg, sdp: Some(Bytes::from(sdp)), learnt }
            }
            Event::Refused { refusal, status } => LegEvent::Refused {
                leg,
                status,
                cause: refusal.cause,
                toward: refusal.toward_agent,
                detail: refusal.detail,
            },
            Event::Ended(Ended::Told { taken, duration_s, detail }) => {
                let how = if taken { EndHow::Bye } else { EndHow::Cancelled };
                LegEvent::Ended { leg, how, wacid, meta_duration_s: duration_s, detail }
            }
            Event::Ended(Ended::Local) => {
                LegEvent::Ended { leg, how: EndHow::Local, wacid, meta_duration_s: None, detail: None }
            }
        };
        self.calls.handle(setu_call::Input::Leg(event), now);
    }
}

/// The most events that wait for the id of a call: those of a second, at Meta's bound of calls.
const MOST_EARLY: usize = 1_024;

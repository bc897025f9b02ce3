//! A call arrives: may it be, and whom is it for?

use setu_model::{
    Cause, Direction, EndedBy, GateCode, Milestone, Now, Pii, RuleRefusal, Side, Termination, Timeline,
};
use setu_sdp::Description;

use crate::call::{
    Call, Claims, Context, Exchange, Leg, LegState, Party, Phase, Placing, Plan, Recording, Reserved, Rung,
};
use crate::config::{CallConfig, NumberRoute};
use crate::desk::{Ask, Candidate, Pair, Reply, Want};
use crate::hangup::Refusing;
use crate::media::CallMedia;
use crate::number::normalise;
use crate::policy::{Role, kind, port_use};
use crate::ports::{Offered, Origin, Output, PeerKind, Placed, PortUse, Question, Step, Verdict};
use crate::reserve::{Reservation, Uses};

/// Why a call is turned away at the door: the end it gets and the status the originator hears.
struct Turned(Termination, u16);

impl Turned {
    fn new(cause: Cause, status: u16, detail: impl Into<String>) -> Self {
        Self(Termination::new(cause, EndedBy::Bridge).with_status(status).with_detail(detail), status)
    }
}

/// Where an admitted call goes.
struct Route {
    number: String,
    customer: String,
    plan: Plan,
    want: Want,
}

impl Call {
    /// Takes a call in: it is routed, or turned away at once.
    pub(crate) fn arrive(offered: Offered, ctx: &mut Context<'_>) -> Self {
        let route = route(&offered, ctx.config);
        let exchange = exchange(&offered);
        let uses = match &offered.origin {
            Origin::Placed(Placed { reservation: Some(id), .. }) => Uses::Named(*id),
            Origin::Placed(_) | Origin::Account(_) | Origin::Trunk(_) => Uses::OfCustomer,
            Origin::Meta { .. } | Origin::Waiting { .. } => Uses::Any,
        };
        let mut call = Self::new(offered, route.as_ref().ok(), ctx);
        call.milestone(Milestone::Offered, None, ctx.now);
        call.tell_progress(Step::Offered, ctx);
        match (route, exchange) {
            (Err(Turned(termination, status)), _) | (Ok(_), Err(Turned(termination, status))) => {
                call.end(termination, Refusing::with(status), ctx);
            }
            (Ok(route), Ok(exchange)) => {
                call.exchange = exchange;
                let Route { number, customer, want, .. } = route;
                // A customer who hides is nobody in particular: two such calls are not the same pair.
                let pair = (!customer.is_empty()).then(|| Pair { number: number.clone(), customer });
                ctx.asks.push_back(Ask::Admit { call: call.id, number, pair, want, uses });
            }
        }
        call
    }

    /// Takes the call in only to turn it away: the bridge is full or draining.
    pub(crate) fn turn_away(offered: Offered, detail: &str, ctx: &mut Context<'_>) -> Self {
        let Turned(termination, status) = Turned::new(Cause::Refused, 503, detail);
        let mut call = Self::new(offered, None, ctx);
        call.milestone(Milestone::Offered, None, ctx.now);
        call.tell_progress(Step::Offered, ctx);
        let retry_after_s = Some(ctx.config.limits.retry_after_s);
        call.end(termination, Refusing { status, retry_after_s }, ctx);
        call
    }

    /// Takes the call in only for its record: it began then, and is over.
    pub(crate) fn turned_away(offered: Offered, began: Now, end: Termination, ctx: &mut Context<'_>) -> Self {
        let mut call = Self::new(offered, None, ctx);
        call.began = began;
        call.milestone(Milestone::Offered, None, began);
        call.tell_progress(Step::Offered, ctx);
        call.mark_over(0);
        // Nobody was refused where an awaited call did not come.
        let refused = !matches!(end.cause, Cause::Cancelled | Cause::NoAnswer | Cause::Shutdown);
        let what = if refused { Milestone::Refused } else { Milestone::Cancelled };
        call.milestone(what, Some(0), ctx.now);
        let status = end.status.unwrap_or(480);
        call.end(end, Refusing::with(status), ctx);
        call
    }

    fn new(offered: Offered, route: Option<&Route>, ctx: &mut Context<'_>) -> Self {
        let Offered { call: id, ingress, direction, origin, mut facts, answer_in, .. } = offered;
        let party = match &origin {
            Origin::Meta { number } | Origin::Waiting { number } | Origin::Placed(Placed { number, .. }) => {
                // The number that proved its password, whatever the To header says; or that the call is placed from.
                facts.number.clone_from(number);
                Party::Customer
            }
            Origin::Account(name) => Party::Agent(name.clone()),
            Origin::Trunk(name) => Party::Trunk(name.clone()),
        };
        let plan = match route {
            Some(route) => {
                facts.number.clone_from(&route.number);
                facts.customer = Pii::new(route.customer.clone());
                route.plan.clone()
            }
            None => Plan::Nobody,
        };
        if facts.use_case.is_none() {
            facts.use_case = use_case(&party, ctx.config).or_else(|| ctx.config.use_case_of(&facts)).cloned();
        }
        let side = side_of(&party);
        let called = match (side, &plan) {
            (Side::Agents, _) => (Side::Meta, PeerKind::Meta, PortUse::Own),
            (Side::Meta, Plan::Trunk { trunk, .. }) => {
                let port = port_use(
                    &Party::Trunk(trunk.name().to_owned()),
                    Role::Offer { secure: None },
                    ctx.config,
                );
                (Side::Agents, PeerKind::Trunk, port)
            }
            (Side::Meta, Plan::Agents(_) | Plan::Customer | Plan::Nobody) => {
                (Side::Agents, PeerKind::Softphone, PortUse::Own)
            }
        };
        let port = port_use(&party, Role::Answer, ctx.config);
        let media = CallMedia::new(id, (side, kind(&party), port), called, ctx.entropy);
        let number = ctx.config.numbers.get(&facts.number);
        let wanted = number.is_some_and(|number| number.record);
        let placing = match &origin {
            Origin::Placed(Placed { ring, by_hand, .. }) => Some(Placing {
                ring: ring.or(number.map(|number| number.ring)).unwrap_or_default(),
                by_hand: *by_hand,
            }),
            Origin::Meta { .. } | Origin::Waiting { .. } | Origin::Account(_) | Origin::Trunk(_) => None,
        };
        let unasked = matches!(origin, Origin::Waiting { .. }) && direction == Direction::BusinessInitiated;
        // The originator of the other calls is on the agents' side.
        let signalled = number.map_or(ingress, |number| number.signalled);
        let ingress = if side == Side::Meta { ingress } else { signalled };
        let state = LegState::Offered { rung: Rung::Nothing };
        Self {
            id,
            ingress,
            direction,
            facts,
            began: ctx.now,
            taken: None,
            connected: None,
            over: None,
            phase: Phase::Admitting,
            exchange: Exchange::Wanted,
            answer_in,
            placing,
            unasked,
            acknowledged: false,
            legs: vec![Leg {
                side,
                party,
                state,
                offering: None,
                reoffering: None,
                early: None,
                agreed: None,
            }],
            winner: None,
            plan,
            media,
            recording: Recording::Off { wanted },
            announcing: None,
            claims: Claims::default(),
            refusal: None,
            refused: Vec::new(),
            meta_duration_s: None,
            timeline: Timeline::default(),
            digits: Vec::new(),
        }
    }

    /// Somebody was set aside for this call, which tells the agent what that was for.
    pub(crate) fn use_reservation(&mut self, reservation: Reservation) {
        let facts = &mut self.facts;
        facts.use_case = facts.use_case.take().or(reservation.use_case);
        facts.reference = facts.reference.take().or(reservation.reference);
    }

    /// Takes the desk's answer.
    pub(crate) fn handle_reply(&mut self, reply: Reply, ctx: &mut Context<'_>) {
        match &self.phase {
            Phase::Admitting => self.admitted(reply, ctx),
            Phase::Calling { .. } => self.handle_next(reply, ctx),
            // The call went on without waiting: what the desk has set aside goes back.
            Phase::Asking { .. }
            | Phase::Opening { .. }
            | Phase::Describing { .. }
            | Phase::Reaching { .. }
            | Phase::Settling { .. }
            | Phase::Connected { .. }
            | Phase::Ending { .. } => {
                if let Reply::Reserved { .. } | Reply::Admitted = reply {
                    self.claims = Claims { agent: true, pair: true };
                }
            }
        }
    }

    fn admitted(&mut self, reply: Reply, ctx: &mut Context<'_>) {
        let turned = match reply {
            Reply::Reserved { agent, contacts } => {
                self.milestone(Milestone::Reserved, None, ctx.now);
                return self.ask(Some(Reserved { agent, contacts }), ctx);
            }
            Reply::Admitted => return self.ask(None, ctx),
            Reply::NoAgent { registered: true } => self.nobody("no agent is free"),
            Reply::NoAgent { registered: false } => self.nobody("no agent is registered"),
            Reply::TrunkDown => self.nobody("the trunk does not answer"),
            Reply::Duplicate { with } => {
                let why = format!("the customer and the number are talking already, in call {with}");
                self.forbidden(
                    RuleRefusal::new(GateCode::PairBusy, why, "wait for the end of that call"),
                    486,
                )
            }
        };
        self.end(turned.0, Refusing::with(turned.1), ctx);
    }

    /// Nobody is there to take the call.
    fn nobody(&mut self, why: &str) -> Turned {
        if self.placing.is_none() {
            return Turned::new(Cause::Unreachable, 480, why);
        }
        let rule = RuleRefusal::new(GateCode::NoAgentReady, why, "wait for an agent to be free");
        self.forbidden(rule, 480)
    }

    /// A rule of the house forbids the call.
    fn forbidden(&mut self, rule: RuleRefusal, status: u16) -> Turned {
        let turned = Turned::new(Cause::Refused, status, rule.to_string());
        self.refused.push(rule);
        turned
    }

    /// Asks the gate about a call that the business makes, where its number has one.
    fn ask(&mut self, reserved: Option<Reserved>, ctx: &mut Context<'_>) {
        self.claims = Claims { agent: true, pair: true };
        let gated = ctx.config.numbers.get(&self.facts.number).is_some_and(|number| number.gated);
        let by_hand = match (self.leg(0).map(|leg| &leg.party).filter(|_| gated), self.placing) {
            (Some(_), Some(placing)) => placing.by_hand,
            (Some(Party::Trunk(name)), None) => {
                ctx.config.trunks.get(name).is_some_and(|trunk| trunk.by_hand)
            }
            (Some(Party::Agent(_)), None) => true,
            (Some(Party::Customer), None) if self.unasked => false,
            // A customer who called, or for whom the gate was asked before: nobody is called.
            (Some(Party::Customer), None) | (None, _) => return self.open(reserved, ctx),
        };
        self.phase = Phase::Asking { until: ctx.now.mono + ctx.config.timers.gate, reserved };
        let (number, customer) = (self.facts.number.clone(), self.facts.customer.clone());
        let use_case = self.facts.use_case.clone();
        ctx.outputs.push_back(Output::Ask(Question { call: self.id, number, customer, by_hand, use_case }));
    }

    /// Takes the gate's answer.
    pub(crate) fn handle_verdict(&mut self, verdict: Verdict, ctx: &mut Context<'_>) {
        let Phase::Asking { reserved, .. } = &mut self.phase else { return };
        let reserved = reserved.take();
        match verdict {
            Verdict::Allowed => self.open(reserved, ctx),
            Verdict::Refused { status, rules } => {
                let detail = rules.first().map(ToString::to_string).unwrap_or_default();
                self.refused = rules;
                let Turned(termination, status) = Turned::new(Cause::Refused, status, detail);
                self.end(termination, Refusing::with(status), ctx);
            }
            Verdict::Unknown { why } => {
                let end = Termination::new(Cause::Fault, EndedBy::Bridge).with_status(503).with_detail(why);
                self.end(end, Refusing::with(503), ctx);
            }
        }
    }

    fn open(&mut self, reserved: Option<Reserved>, ctx: &mut Context<'_>) {
        self.phase = Phase::Opening { until: ctx.now.mono + ctx.config.timers.open, reserved };
        self.media.open(ctx);
    }
}

/// Which face of the bridge a party is on.
pub(crate) const fn side_of(party: &Party) -> Side {
    match party {
        Party::Customer => Side::Meta,
        Party::Agent(_) | Party::Trunk(_) => Side::Agents,
    }
}

/// What the calls of somebody of the business are for.
fn use_case<'c>(party: &Party, config: &'c CallConfig) -> Option<&'c String> {
    match party {
        Party::Customer => None,
        Party::Agent(name) => config.agents.get(name)?.use_case.as_ref(),
        Party::Trunk(name) => config.trunks.get(name)?.use_case.as_ref(),
    }
}

fn exchange(offered: &Offered) -> Result<Exchange, Turned> {
    match &offered.offer {
        None => Ok(Exchange::Wanted),
        Some(offer) => match Description::parse(offer) {
            Ok(description) => Ok(Exchange::Theirs(Box::new(description))),
            Err(why) => Err(Turned::new(Cause::IncompatibleMedia, why.status(), why.to_string())),
        },
    }
}

fn route(offered: &Offered, config: &CallConfig) -> Result<Route, Turned> {
    match (&offered.origin, offered.direction) {
        // Whoever asked for the call: a customer waits there, and somebody of the business is to take it.
        (
            Origin::Meta { number } | Origin::Waiting { number },
            Direction::UserInitiated | Direction::BusinessInitiated,
        ) => inbound(offered, number, config),
        (Origin::Account(name), Direction::BusinessInitiated) => {
            let agent = config.agents.get(name);
            let agent = agent.ok_or_else(|| Turned::new(Cause::Refused, 403, "the account is no agent"))?;
            outbound(offered, agent.number.as_ref(), Want::Engaged(name.clone()), config)
        }
        (Origin::Trunk(name), Direction::BusinessInitiated) => {
            let trunk = config.trunks.get(name);
            let trunk =
                trunk.ok_or_else(|| Turned::new(Cause::Refused, 403, "the trunk is not configured"))?;
            outbound(offered, trunk.number.as_ref(), Want::Nobody, config)
        }
        (Origin::Placed(placed), Direction::BusinessInitiated) => to_place(offered, placed, config),
        (Origin::Account(_) | Origin::Trunk(_) | Origin::Placed(_), Direction::UserInitiated) => {
            Err(Turned::new(Cause::Refused, 403, "the call comes from the wrong side"))
        }
    }
}

fn inbound(offered: &Offered, number: &str, config: &CallConfig) -> Result<Route, Turned> {
    let known = config.numbers.get(number);
    let known = known.ok_or_else(|| Turned::new(Cause::Refused, 404, "the number is not configured"))?;
    let (plan, want) = takers(&known.route, config);
    let customer = offered.facts.customer.reveal().clone();
    Ok(Route { number: number.to_owned(), customer, plan, want })
}

fn to_place(offered: &Offered, placed: &Placed, config: &CallConfig) -> Result<Route, Turned> {
    let known = config.numbers.get(&placed.number);
    let known = known.ok_or_else(|| Turned::new(Cause::Refused, 404, "the number is not configured"))?;
    let customer = normalise(offered.facts.customer.reveal(), &config.dial_plan);
    let customer = customer.ok_or_else(|| Turned::new(Cause::Refused, 404, "the customer is no number"))?;
    let (plan, want) = if placed.agents.is_empty() {
        takers(&known.route, config)
    } else {
        takers(&NumberRoute::Agents(placed.agents.clone()), config)
    };
    Ok(Route { number: placed.number.clone(), customer, plan, want })
}

/// Who is to take a call that goes this way.
pub(crate) fn takers(route: &NumberRoute, config: &CallConfig) -> (Plan, Want) {
    match route {
        NumberRoute::Agents(names) => {
            let candidate = |name: &String| Candidate {
                agent: name.clone(),
                calls_at_once: config.agents.get(name).map_or(1, |agent| agent.calls_at_once),
            };
            let agents: Vec<Candidate> = names.iter().map(candidate).collect();
            (Plan::Agents(agents.clone()), Want::Agents(agents))
        }
        NumberRoute::Trunk { trunk, extension } => {
            let plan = Plan::Trunk { trunk: trunk.clone(), extension: extension.clone() };
            (plan, Want::Trunk(trunk.name().to_owned()))
        }
    }
}

fn outbound(
    offered: &Offered,
    own: Option<&String>,
    want: Want,
    config: &CallConfig,
) -> Result<Route, Turned> {
    let number = own.or(config.default_number.as_ref());
    let number = number.ok_or_else(|| Turned::new(Cause::Refused, 403, "no business number to call from"))?;
    if !config.numbers.contains_key(number) {
        return Err(Turned::new(Cause::Refused, 403, "the business number to call from is not configured"));
    }
    let customer = normalise(&offered.dialled, &config.dial_plan);
    let customer =
        customer.ok_or_else(|| Turned::new(Cause::Refused, 404, "what was dialled is no number"))?;
    Ok(Route { number: number.clone(), customer, plan: Plan::Customer, want })
}

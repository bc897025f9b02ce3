//! Calls and reservations in the words of the REST interface and of the driver.

use std::time::Duration;

use serde_json::Value;
use setu_call::{Held, Live, Reservation, SeatState, Seated, Staff};
use setu_control::{
    AgentState, CallOrder, LiveCall, NotMade, PermissionOrder, PermissionRequested, PermissionTemplate,
    Readiness, Reserved, Ring, Rule, TrunkState,
};
use setu_model::{AnsweredBy, CallId, Pii, RuleRefusal};

use setu_whatsapp::graph::Template;

use crate::driver;

pub(super) fn reserved(made: Reservation) -> Reserved {
    let Reservation { id, number, customer, held, until, use_case, reference } = made;
    let (agent, trunk) = match held {
        Held::Agent(agent) => (Some(agent), None),
        Held::Trunk(trunk) => (None, Some(trunk)),
    };
    let (reservation, until) = (id.to_string(), until.to_string());
    let customer = customer.map(Pii::into_inner);
    Reserved { reservation, number, customer, agent, trunk, until, use_case, reference }
}

pub(super) fn readiness(number: String, found: driver::Readiness) -> Readiness {
    let driver::Readiness { staff, against } = found;
    let (agents, trunk) = match staff {
        Staff::Agents(agents) => (agents, None),
        Staff::Trunk { trunk, up } => (Vec::new(), Some(TrunkState { trunk, up })),
    };
    let count = |state| {
        let count = agents.iter().filter(|seated: &&Seated| seated.state == state).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    Readiness {
        number,
        ready: count(SeatState::Ready),
        on_call: count(SeatState::OnCall),
        reserved: count(SeatState::Reserved),
        away: count(SeatState::Away),
        agents: agents
            .iter()
            .map(|seated| AgentState { agent: seated.agent.clone(), state: seated.state.word().to_owned() })
            .collect(),
        trunk,
        send_buttons: against.is_empty(),
        against: against.into_iter().map(rule).collect(),
    }
}

pub(super) fn placing(order: CallOrder, call: Option<CallId>) -> driver::Order {
    let CallOrder { number, customer, agents, ring, by_hand, use_case, payload, queue, reference, .. } =
        order;
    let reservation = order.reservation.and_then(|id| id.parse().ok());
    let ring = ring.map(|ring| match ring {
        Ring::AgentFirst => setu_call::RingOrder::AgentFirst,
        Ring::CustomerFirst => setu_call::RingOrder::CustomerFirst,
    });
    let customer = Pii::new(customer);
    driver::Order {
        number,
        customer,
        agents,
        ring,
        by_hand,
        use_case,
        payload,
        queue,
        reference,
        reservation,
        call,
    }
}

pub(super) fn asking(order: PermissionOrder) -> driver::PermissionOrder {
    let template = order.template.map(|template| {
        let PermissionTemplate { name, language } = template;
        Template { name, language }
    });
    driver::PermissionOrder {
        number: order.number,
        customer: Pii::new(order.customer),
        agents: order.agents,
        reserve: order.reserve_seconds.map(|seconds| Duration::from_secs(seconds.into())),
        by_hand: order.by_hand,
        use_case: order.use_case,
        campaign: order.campaign,
        reference: order.reference,
        text: order.text,
        template,
    }
}

pub(super) fn requested(sent: driver::Sent) -> PermissionRequested {
    let driver::Sent { message, reservation } = sent;
    PermissionRequested { message, reservation: reservation.map(|id| id.to_string()) }
}

pub(super) fn not_made(why: driver::NotPlaced) -> NotMade {
    match why {
        driver::NotPlaced::UnknownNumber => NotMade::UnknownNumber,
        driver::NotPlaced::UnknownAgent(name) => NotMade::UnknownAgent(name),
        driver::NotPlaced::UnknownReservation => NotMade::UnknownReservation,
        driver::NotPlaced::NoWay(why) => NotMade::NoWay(why.to_owned()),
        driver::NotPlaced::NoCustomer => NotMade::NoCustomer,
        driver::NotPlaced::Refused(rules) => NotMade::Refused(rules.into_iter().map(rule).collect()),
        driver::NotPlaced::Unable(why) => NotMade::Unable(why),
    }
}

fn rule(rule: RuleRefusal) -> Rule {
    let RuleRefusal { code, title, reason, remedy, next_allowed } = rule;
    Rule { code, title, reason, remedy, next_allowed: next_allowed.map(|at| at.to_string()) }
}

pub(super) fn live_call(live: Live) -> LiveCall {
    let Live { call, direction, ingress, facts, began, answered, agent, stage } = live;
    let word = |value: serde_json::Result<Value>| value.ok().and_then(|v| v.as_str().map(str::to_owned));
    LiveCall {
        call: call.to_string(),
        direction: word(serde_json::to_value(direction)).unwrap_or_default(),
        ingress: word(serde_json::to_value(ingress)).unwrap_or_default(),
        stage: stage.word().to_owned(),
        began: began.to_string(),
        answered: answered.map(|at| at.to_string()),
        agent: agent.map(|by| match by {
            AnsweredBy::Agent(name) | AnsweredBy::Trunk(name) => name,
        }),
        facts: serde_json::to_value(facts).unwrap_or_default(),
    }
}

//! Agents set aside ahead of a call: before a message with a call button goes out, so that whoever taps it is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use setu_model::{CallId, Now, Pii, Wall};

use crate::config::{CallConfig, NumberRoute};
use crate::desk::Want;

/// Somebody set aside for a call to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Its name, of the same form as that of a call.
    pub id: CallId,
    /// The business number, E.164 with `+`.
    pub number: String,
    /// For whom, E.164 with `+`; none is for whoever calls the number next.
    pub customer: Option<Pii<String>>,
    /// Who is set aside.
    pub held: Held,
    /// Until when.
    pub until: Wall,
    /// What the call will be for: told to the agent.
    pub use_case: Option<String>,
    /// What it belongs to elsewhere: told to the agent.
    pub reference: Option<String>,
}

/// Who is set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// An agent, by account name.
    Agent(String),
    /// A trunk, which answers: how many calls it takes is not known.
    Trunk(String),
}

/// What to set aside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reserve {
    /// The business number, E.164 with `+`.
    pub number: String,
    /// For whom, E.164 with `+`; none is for whoever calls the number next.
    pub customer: Option<Pii<String>>,
    /// One of these agents; empty is anybody of the number's route.
    pub agents: Vec<String>,
    /// For how long.
    pub lasts: Duration,
    /// What the call will be for.
    pub use_case: Option<String>,
    /// What it belongs to elsewhere.
    pub reference: Option<String>,
}

/// Why nobody is set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotReserved {
    /// The number is not configured.
    UnknownNumber,
    /// Nobody is free; why, for people.
    NoAgent(&'static str),
    /// There are too many reservations, or the bridge is draining; which, for people.
    Unable(&'static str),
}

/// Which reservations a call may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Uses {
    /// This one.
    Named(CallId),
    /// One for its customer.
    OfCustomer,
    /// One for its customer, or for whoever calls the number next.
    Any,
}

/// All reservations.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reservations {
    by_id: BTreeMap<CallId, (Reservation, Instant)>,
    /// The end of each, the earliest first.
    ends: BTreeSet<(Instant, CallId)>,
}

impl Reservations {
    pub(crate) fn is_full(&self) -> bool {
        self.by_id.len() >= MOST_RESERVATIONS
    }

    pub(crate) fn insert(&mut self, reservation: Reservation, until: Instant) {
        self.ends.insert((until, reservation.id));
        self.by_id.insert(reservation.id, (reservation, until));
    }

    pub(crate) fn remove(&mut self, id: CallId) -> Option<Reservation> {
        let (reservation, until) = self.by_id.remove(&id)?;
        self.ends.remove(&(until, id));
        Some(reservation)
    }

    pub(crate) fn get(&self, id: CallId) -> Option<&Reservation> {
        self.by_id.get(&id).map(|(reservation, _)| reservation)
    }

    /// In the order in which they were made.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Reservation> {
        self.by_id.values().map(|(reservation, _)| reservation)
    }

    /// The one that a call of number and customer may use: the oldest that fits best.
    pub(crate) fn find(&self, number: &str, customer: Option<&str>, uses: Uses) -> Option<CallId> {
        let of = |reservation: &&Reservation| reservation.number == number;
        let ids = |fits: &dyn Fn(&Reservation) -> bool| {
            self.iter().filter(of).find(|reservation| fits(reservation)).map(|reservation| reservation.id)
        };
        let for_customer = |reservation: &Reservation| {
            customer.is_some() && reservation.customer.as_ref().map(|of| of.reveal().as_str()) == customer
        };
        let for_anybody = |reservation: &Reservation| reservation.customer.is_none();
        match uses {
            Uses::Named(id) => ids(&|reservation| reservation.id == id),
            Uses::OfCustomer => ids(&for_customer),
            Uses::Any => ids(&for_customer).or_else(|| ids(&for_anybody)),
        }
    }

    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.ends.first().map(|(until, _)| *until)
    }

    /// Those that are over.
    pub(crate) fn over(&self, now: Instant) -> Vec<CallId> {
        self.ends.iter().take_while(|(until, _)| *until <= now).map(|(_, id)| *id).collect()
    }
}

impl Reserve {
    /// Who is wanted.
    pub(crate) fn want(&self, config: &CallConfig) -> Option<Want> {
        let known = config.numbers.get(&self.number)?;
        let route = NumberRoute::Agents(self.agents.clone());
        let route = if self.agents.is_empty() { &known.route } else { &route };
        Some(crate::arrive::takers(route, config).1)
    }

    pub(crate) fn made(self, id: CallId, held: Held, now: Now) -> (Reservation, Instant) {
        let Self { number, customer, agents: _, lasts, use_case, reference } = self;
        let now = now.after(lasts);
        (Reservation { id, number, customer, held, until: now.wall, use_case, reference }, now.mono)
    }
}

/// One agent as the desk sees him.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seated {
    /// Account name.
    pub agent: String,
    /// How it stands with him.
    pub state: SeatState,
}

/// How it stands with an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeatState {
    /// No phone of his is registered.
    Away,
    /// He may be given a call.
    Ready,
    /// He is set aside for a call to come.
    Reserved,
    /// He has as many calls as he may have.
    OnCall,
}

impl SeatState {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Ready => "ready",
            Self::Reserved => "reserved",
            Self::OnCall => "on_call",
        }
    }
}

/// Who may take the calls of a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Staff {
    /// Its agents.
    Agents(Vec<Seated>),
    /// A trunk, and whether it answers.
    Trunk {
        /// Its name.
        trunk: String,
        /// Whether it answers.
        up: bool,
    },
}

impl Staff {
    /// Whether somebody may be given a call.
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Agents(seated) => seated.iter().any(|seated| seated.state == SeatState::Ready),
            Self::Trunk { up, .. } => *up,
        }
    }
}

/// The most reservations at once: an agent each, in a house that is twice as large as Meta's bound of calls.
const MOST_RESERVATIONS: usize = 2_048;

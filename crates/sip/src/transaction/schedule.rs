use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::TxId;
use crate::endpoint::SessionId;
use crate::timers::Timer;

/// What has a deadline.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// A transaction.
    Transaction(TxId),
    /// A session.
    Session(SessionId),
    /// The registrar's next expiry.
    Registrar,
    /// The next OPTIONS to a trunk.
    Probes,
}

/// One deadline for each thing that has one, in order of time.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    by_time: BTreeSet<(Instant, Due)>,
    by_owner: BTreeMap<Due, (Instant, Timer)>,
}

impl Schedule {
    /// Sets, moves or clears the deadline of `due`.
    pub(crate) fn set(&mut self, due: Due, deadline: Option<(Instant, Timer)>) {
        let before = match deadline {
            Some(deadline) => self.by_owner.insert(due.clone(), deadline),
            None => self.by_owner.remove(&due),
        };
        if before.map(|(at, _)| at) == deadline.map(|(at, _)| at) {
            return;
        }
        if let Some((at, _)) = before {
            self.by_time.remove(&(at, due.clone()));
        }
        if let Some((at, _)) = deadline {
            self.by_time.insert((at, due));
        }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<(Instant, Timer)> {
        let (_, due) = self.by_time.first()?;
        self.by_owner.get(due).copied()
    }

    /// Takes one thing whose deadline has come; its deadline is cleared.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Due> {
        let (at, due) = self.by_time.first()?;
        if *at > now {
            return None;
        }
        let due = due.clone();
        self.set(due.clone(), None);
        Some(due)
    }
}

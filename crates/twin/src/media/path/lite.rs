//! ICE-lite (RFC 8445 sections 2.5 and 7.3): it answers checks and lets the other side choose.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use bytes::Bytes;

use super::report::PathReport;
use super::stun::{Check, Credentials};

/// On which points a lite end is peculiar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LiteHabits {
    pub(crate) waits_for_description: bool,
    pub(crate) refuses_role_conflict: bool,
    pub(crate) learns_peer_reflexive: bool,
    pub(crate) answers_consent: bool,
}

/// Most addresses one peer is taken from.
const ADDRESSES: usize = 16;

pub(super) struct LiteIce {
    ours: Credentials,
    locals: Vec<SocketAddr>,
    habits: LiteHabits,
    /// What the peer described; `None` before.
    theirs: Option<(Option<Credentials>, Vec<SocketAddr>)>,
    /// Pairs that had an authentic check: our address and theirs.
    proved: BTreeSet<(SocketAddr, SocketAddr)>,
    nominated: Option<(SocketAddr, SocketAddr)>,
}

impl LiteIce {
    pub(super) const fn new(ours: Credentials, locals: Vec<SocketAddr>, habits: LiteHabits) -> Self {
        Self { ours, locals, habits, theirs: None, proved: BTreeSet::new(), nominated: None }
    }

    pub(super) fn fragment(&self) -> &str {
        &self.ours.fragment
    }

    pub(super) fn describe(&mut self, credentials: Option<Credentials>, candidates: Vec<SocketAddr>) {
        self.theirs = Some((credentials, candidates));
    }

    pub(super) fn knows(&self, local: SocketAddr, from: SocketAddr) -> bool {
        self.proved.contains(&(local, from))
    }

    pub(super) const fn nominated(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.nominated
    }

    /// The reply to a check, if it gets one, and whether it claimed our role.
    pub(super) fn handle_check(
        &mut self,
        local: SocketAddr,
        from: SocketAddr,
        bytes: &[u8],
        report: &mut PathReport,
    ) -> (Option<Bytes>, bool) {
        let described = self.theirs.as_ref().and_then(|(credentials, _)| credentials.as_ref());
        let authentic = Check::read(bytes, &self.ours)
            .filter(|_| self.locals.contains(&local))
            .filter(|check| described.is_none_or(|theirs| theirs.fragment == check.sender));
        let Some(check) = authentic else {
            report.checks_forged += 1;
            return (None, false);
        };
        if self.theirs.is_none() && self.habits.waits_for_description {
            report.checks_early += 1;
            return (None, false);
        }
        if check.claims_controlled && self.habits.refuses_role_conflict {
            report.role_conflicts += 1;
            return (check.role_conflict(&self.ours), true);
        }
        let reflexive = self.theirs.as_ref().is_some_and(|(_, candidates)| !candidates.contains(&from));
        if reflexive && !self.habits.learns_peer_reflexive {
            return (None, check.claims_controlled);
        }
        if self.nominated.is_some() && !self.habits.answers_consent {
            return (None, check.claims_controlled);
        }
        report.peer_reflexive |= reflexive;
        let new = self.proved.len() < ADDRESSES && self.proved.insert((local, from));
        if check.nominates && self.knows(local, from) {
            report.nominated_at_once |= new && self.nominated.is_none();
            self.nominated = Some((local, from));
        }
        report.checks += 1;
        (check.success(from, &self.ours), check.claims_controlled)
    }
}

//! Where a pair of number and customer stands, computed from its facts in the order they happened.

use serde::{Deserialize, Serialize};
use setu_model::Wall;

use super::fact::{Fact, Outcome, Reply, Verdict};
use super::rules::{Rules, UNDATED_GRANT};

/// One reason why a number may call a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Where it comes from.
    pub source: GrantSource,
    /// Its end; none for a permanent one.
    pub until: Option<Wall>,
}

/// Where a permission comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantSource {
    /// The customer tapped a call button of a template.
    TemplateButton,
    /// The customer accepted a permission request.
    PermissionRequest,
    /// The customer wrote or called within 24 hours.
    ServiceWindow,
    /// The customer gave a permission without end.
    Permanent,
    /// Meta gave it after the customer called (callback permission).
    Callback,
    /// The customer gave it on the business's profile.
    Profile,
    /// Meta reports it; how it came to be is not known.
    Reported,
}

/// Where a grant opens business-initiated calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Wherever calls go.
    Everywhere,
    /// Only on numbers of the provider dialect; Meta does not know it.
    ProviderOnly,
}

impl GrantSource {
    /// Where the grant holds.
    pub const fn holds(self) -> Holds {
        match self {
            Self::TemplateButton | Self::ServiceWindow => Holds::ProviderOnly,
            Self::PermissionRequest | Self::Permanent | Self::Callback | Self::Profile | Self::Reported => {
                Holds::Everywhere
            }
        }
    }

    /// The word used in answers and records.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TemplateButton => "template_button",
            Self::PermissionRequest => "permission_request",
            Self::ServiceWindow => "service_window",
            Self::Permanent => "permanent",
            Self::Callback => "callback",
            Self::Profile => "profile",
            Self::Reported => "reported",
        }
    }
}

/// What the facts up to some moment come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Meta's own permission, if there is one; it may have run out.
    pub(crate) granted: Option<Grant>,
    /// How the last one was lost.
    pub(crate) lost: Option<Lost>,
    /// Business-initiated calls in a row that were not answered.
    pub(crate) misses: u32,
    /// The last connected business-initiated call.
    pub(crate) connected: Option<Wall>,
    /// The last message or call of the customer.
    pub(crate) heard_from: Option<Wall>,
    /// The last tap on a call button.
    pub(crate) tapped: Option<Wall>,
    /// The last call that the customer hung up at once, if nothing came from the customer since.
    pub(crate) hung_up_early: Option<Wall>,
    /// Whether anything ever came from the customer.
    pub(crate) known: bool,
    /// Until when Meta itself refuses requests and calls.
    pub(crate) no_request_before: Option<Wall>,
    pub(crate) no_call_before: Option<Wall>,
}

/// How a permission was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The customer declined or revoked it.
    Rejected(Wall),
    /// Too many unanswered calls in a row.
    Missed(Wall),
}

impl Standing {
    /// Takes the next fact, in the order they happened.
    pub(crate) fn take(&mut self, fact: &Fact, rules: &Rules) {
        match fact {
            Fact::Asked { .. } => {}
            Fact::Replied { at, reply } => {
                self.replied(*at, reply);
                if matches!(reply, Reply::Accept { automatic: false, .. }) {
                    self.spoke();
                }
            }
            Fact::Observed { verdict, no_request_before, no_call_before, .. } => {
                self.observed(*verdict);
                (self.no_request_before, self.no_call_before) = (*no_request_before, *no_call_before);
            }
            Fact::Called { at, outcome } => self.called(*at, *outcome, rules),
            Fact::HungUpEarly { at } => self.hung_up_early = Some(*at),
            Fact::Wrote { at } | Fact::Phoned { at } => {
                self.heard_from = Some(*at);
                self.spoke();
            }
            Fact::Tapped { at } => {
                self.tapped = Some(*at);
                self.spoke();
            }
        }
    }

    /// Something came from the customer's own will.
    const fn spoke(&mut self) {
        self.known = true;
        self.hung_up_early = None;
    }

    fn replied(&mut self, at: Wall, reply: &Reply) {
        match *reply {
            Reply::Accept { permanent: true, unasked, .. } => {
                let source = if unasked { GrantSource::Profile } else { GrantSource::Permanent };
                self.grant(Grant { source, until: None });
            }
            Reply::Accept { permanent: false, expires, automatic, unasked } => {
                let source = match (automatic, unasked) {
                    (true, _) => GrantSource::Callback,
                    (false, true) => GrantSource::Profile,
                    (false, false) => GrantSource::PermissionRequest,
                };
                let until = expires.unwrap_or_else(|| at.after(UNDATED_GRANT));
                // What Meta gives by itself never shortens what the customer gave.
                let kept =
                    self.granted.filter(|grant| automatic && grant.until.is_none_or(|kept| kept >= until));
                self.grant(kept.unwrap_or(Grant { source, until: Some(until) }));
            }
            Reply::Reject { automatic } => {
                self.granted = None;
                self.lost = Some(if automatic { Lost::Missed(at) } else { Lost::Rejected(at) });
                if automatic {
                    self.misses = 0;
                }
            }
        }
    }

    fn observed(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::None => self.granted = None,
            Verdict::Temporary { until } => {
                let known = self.granted.filter(|grant| grant.until.is_some());
                let source = known.map_or(GrantSource::Reported, |grant| grant.source);
                self.grant(Grant { source, until: Some(until) });
            }
            Verdict::Permanent => {
                let known = self.granted.filter(|grant| grant.until.is_none());
                self.grant(known.unwrap_or(Grant { source: GrantSource::Reported, until: None }));
            }
        }
    }

    fn called(&mut self, at: Wall, outcome: Outcome, rules: &Rules) {
        match outcome {
            Outcome::Failed => {}
            Outcome::Missed => {
                self.misses += 1;
                if self.misses >= rules.misses {
                    self.misses = 0;
                    self.granted = None;
                    self.lost = Some(Lost::Missed(at));
                }
            }
            Outcome::Connected => {
                self.misses = 0;
                self.connected = Some(at);
                // A connected call lifts the limits on requests.
                self.no_request_before = None;
            }
        }
    }

    fn grant(&mut self, grant: Grant) {
        self.granted = Some(grant);
        self.lost = None;
    }
}

//! The gate: may this call or request be made now? Every business-initiated one asks, after an agent is reserved.
//!
//! A refusal says which rule it is, in a stable code, why in words, and what would make it allowed. All rules are looked
//! at, so that whoever reads the refusal does not mend one to meet the next.

pub use setu_model::GateCode;
use setu_model::Wall;

use crate::campaign::{CampaignPolicy, Campaigns, TooMuch};
use crate::hours::{CallingHours, Closed};
use crate::permission::{Grant, PairLedger, Question, Rules, Why};
use crate::quality::{Light, Quality};

/// The rules of one number.
#[derive(Debug, Clone)]
pub struct GatePolicy {
    /// Meta's limits.
    pub rules: Rules,
    /// When customers may be called.
    pub hours: CallingHours,
    /// The country the number is of (ISO 3166-1, two letters), where it is known.
    pub number_country: Option<String>,
    /// Customers of these countries are not called.
    pub blocked_countries: Vec<String>,
    /// The use cases the number may be called for; none allows any.
    pub use_cases: Option<Vec<String>>,
    /// Whether a call must say what it is for: the number itself lists its use cases.
    pub names_use_case: bool,
    /// The limits of campaigns.
    pub campaign: CampaignPolicy,
    /// Whether webhooks tell when a customer takes a permission back: without, nothing is known of blocks but what is
    /// reported.
    pub hears_revocations: bool,
    /// After so many calls in a row without an answer, only a person may try again: the last miss before Meta revokes.
    pub cautious_misses: u32,
}

/// What is known when somebody asks.
#[derive(Debug)]
pub struct Circumstances<'g> {
    /// What is known of the pair.
    pub ledger: &'g PairLedger,
    /// The customer's number, where it is known.
    pub customer: Option<&'g str>,
    /// The customer's country, where it is known.
    pub country: Option<&'g str>,
    /// Whether a person asked for this very call, rather than a dialler.
    pub by_hand: bool,
    /// What the call is for.
    pub use_case: Option<&'g str>,
    /// The campaign it is part of.
    pub campaign: Option<&'g str>,
    /// The number it is counted for, over all campaigns; none for what is not counted.
    pub number: Option<&'g str>,
    /// What campaigns and numbers asked lately.
    pub campaigns: &'g Campaigns,
    /// Whether an agent is reserved.
    pub agent_reserved: bool,
    /// Whether the pair is talking already.
    pub talking: bool,
    /// Business-initiated calls of the number today.
    pub attempts_today: u32,
    /// How the number is doing.
    pub quality: &'g Quality,
    /// The bridge's wall clock.
    pub now: Wall,
}

/// The gate's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allowed {
        /// What allows a call; a request needs nothing.
        grant: Option<Grant>,
    },
    /// No: every rule that speaks against it, the one that is hardest to change first.
    Refused(Vec<GateRefusal>),
}

/// One rule that speaks against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateRefusal {
    /// Which.
    pub code: GateCode,
    /// Why, in words.
    pub reason: String,
    /// What would make it allowed.
    pub remedy: String,
    /// From when on this rule allows it if nothing else happens.
    pub next_allowed: Option<Wall>,
}

/// Countries whose business numbers cannot begin calls, by Meta's pages of March 2026.
pub const WITHOUT_BUSINESS_CALLS: [&str; 5] = ["CA", "EG", "NG", "US", "VN"];

/// Decides. Pure: the same circumstances give the same answer.
pub fn decide(question: Question, policy: &GatePolicy, circumstances: &Circumstances<'_>) -> Decision {
    let mut inquiry = Inquiry { policy, it: circumstances, refusals: Vec::new() };
    let grant = inquiry.permission(question);
    inquiry.number(question);
    inquiry.customer(question);
    inquiry.campaign(question);
    inquiry.moment(question);
    if inquiry.refusals.is_empty() {
        Decision::Allowed { grant }
    } else {
        Decision::Refused(inquiry.refusals)
    }
}

/// The rules that close a number to everybody: no customer is looked at. By its own clock, where customers have several.
pub fn closed(policy: &GatePolicy, restricted_until: Option<Wall>, now: Wall) -> Vec<GateRefusal> {
    let restricted = restricted_until.filter(|until| *until > now).map(restricted);
    let hours = policy.hours.check(None, now).err().map(outside);
    restricted.into_iter().chain(hours).collect()
}

/// The rule that keeps a number to its use cases, if it forbids this one.
pub fn not_for(policy: &GatePolicy, use_case: &str) -> Option<GateRefusal> {
    let allowed = policy.use_cases.as_ref()?;
    (!allowed.iter().any(|allowed| allowed == use_case)).then(|| GateRefusal {
        code: GateCode::UseCaseNotAllowed,
        reason: format!("the number is not set up for the use case {use_case:?}"),
        remedy: "add the use case to the number, or choose another".to_owned(),
        next_allowed: None,
    })
}

fn restricted(until: Wall) -> GateRefusal {
    GateRefusal {
        code: GateCode::NumberRestricted,
        reason: format!("Meta restricts the number until {until}"),
        remedy: "wait until then".to_owned(),
        next_allowed: Some(until),
    }
}

fn outside(closed: Closed) -> GateRefusal {
    let (code, reason) = if closed.holiday {
        (GateCode::Holiday, "the customer has a holiday")
    } else {
        (GateCode::OutsideHours, "it is outside the calling hours by the customer's clock")
    };
    GateRefusal {
        code,
        reason: reason.to_owned(),
        remedy: "wait until then".to_owned(),
        next_allowed: closed.opens,
    }
}

struct Inquiry<'i> {
    policy: &'i GatePolicy,
    it: &'i Circumstances<'i>,
    refusals: Vec<GateRefusal>,
}

impl Inquiry<'_> {
    fn refuse(
        &mut self,
        code: GateCode,
        reason: impl Into<String>,
        remedy: &str,
        next_allowed: Option<Wall>,
    ) {
        self.refusals.push(GateRefusal {
            code,
            reason: reason.into(),
            remedy: remedy.to_owned(),
            next_allowed,
        });
    }

    /// What the ledger says.
    fn permission(&mut self, question: Question) -> Option<Grant> {
        let answer = self.it.ledger.answer(question, &self.policy.rules, self.it.now);
        let (code, remedy) = match answer.why {
            Why::Granted(_) | Why::WithinLimits => return answer.grant,
            Why::NeverGranted | Why::Expired { .. } | Why::Rejected { .. } | Why::MissedTooOften { .. } => {
                (GateCode::PermissionRequired, GateCode::PERMISSION_REMEDY)
            }
            Why::ConnectedLimit { .. } => (GateCode::ConnectedLimit, "wait until then"),
            Why::RequestsADay { .. } | Why::RequestsAWeek { .. } => {
                (GateCode::RequestLimit, "wait until then; a connected call lifts the limit")
            }
            Why::AlreadyPermanent => (GateCode::AlreadyPermitted, "call without asking"),
            Why::MetaSaysLater if question == Question::Request => {
                (GateCode::RequestLimit, "wait until then")
            }
            Why::MetaSaysLater => (GateCode::ConnectedLimit, "wait until then"),
            Why::NobodyNamed => (GateCode::PermissionRequired, "name the customer by number or user id"),
        };
        self.refuse(code, answer.why.to_string(), remedy, answer.next_allowed);
        None
    }

    /// What the number's state and country say.
    fn number(&mut self, question: Question) {
        let country = self.policy.number_country.as_deref().unwrap_or_default();
        if question == Question::Call && WITHOUT_BUSINESS_CALLS.contains(&country) {
            let reason = format!("business numbers of {country} cannot begin calls");
            self.refuse(
                GateCode::CountryBlocked,
                reason,
                "let the customer call, or use a number of another country",
                None,
            );
        }
        let (quality, now) = (self.it.quality, self.it.now);
        if let Some(until) = quality.restricted_until.filter(|until| *until > now) {
            self.refusals.push(restricted(until));
        }
        if question == Question::Call && self.it.attempts_today >= quality.attempts_a_day {
            let why = match quality.light {
                Light::Green => "the limit of the day",
                Light::Yellow => "what its quality, which is YELLOW, allows",
                Light::Red => "what its quality, which is RED, allows",
            };
            let reason = format!("the number made {} calls today, {why}", self.it.attempts_today);
            self.refuse(
                GateCode::DailyCap,
                reason,
                "wait until tomorrow, and call those who want to be called",
                None,
            );
        }
    }

    /// What is particular to this customer.
    fn customer(&mut self, question: Question) {
        if let Some(country) = self.it.country
            && self.policy.blocked_countries.iter().any(|blocked| blocked == country)
        {
            let reason = format!("customers of {country} are not called");
            self.refuse(
                GateCode::CountryBlocked,
                reason,
                "take the country off the list of blocked ones",
                None,
            );
        }
        if let Some(refusal) = self.it.use_case.and_then(|wanted| not_for(self.policy, wanted)) {
            self.refusals.push(refusal);
        }
        if self.policy.names_use_case && self.it.use_case.is_none() {
            self.refuse(
                GateCode::UseCaseNotAllowed,
                "the number is for certain use cases, and none is named",
                "say what the call is for (use_case)",
                None,
            );
        }
        if question == Question::Call && self.it.talking {
            self.refuse(
                GateCode::PairBusy,
                "the customer and the number are talking already",
                "wait for the end of that call",
                None,
            );
        }
        if question == Question::Call && !self.it.by_hand {
            let rules = &self.policy.rules;
            if let Some(at) = self.it.ledger.hung_up_early(rules) {
                let reason = format!("the customer hung up at once at {at}");
                self.refuse(
                    GateCode::HumanRetryOnly,
                    reason,
                    "have a person decide to call again, or wait for the customer",
                    None,
                );
            }
            let misses = self.it.ledger.misses(rules);
            if misses >= self.policy.cautious_misses {
                let reason = format!(
                    "{misses} calls in a row were not answered; Meta revokes the permission at {}",
                    rules.misses
                );
                self.refuse(
                    GateCode::HumanRetryOnly,
                    reason,
                    "have a person decide to call again, or write first",
                    None,
                );
            }
        }
    }

    /// What the campaign asked lately, and the number with all its campaigns: neither may ask too much.
    fn campaign(&mut self, question: Question) {
        if question != Question::Request {
            return;
        }
        let campaign = self.it.campaign.map(|name| (name, format!("the campaign {name:?}")));
        let number = self.it.number.map(|number| (number, "the number, over all campaigns,".to_owned()));
        for (tally, who) in campaign.into_iter().chain(number) {
            self.tally(tally, &who);
        }
    }

    fn tally(&mut self, tally: &str, who: &str) {
        let contact = self.it.ledger.contact(&self.policy.rules);
        match self.it.campaigns.check(tally, contact, &self.policy.campaign, self.it.now) {
            Ok(()) => {}
            Err(TooMuch::Burst { until }) => {
                let reason = format!("{who} sends requests too fast");
                self.refuse(GateCode::CampaignBurst, reason, "wait until then", Some(until));
            }
            Err(TooMuch::Cold { cold }) => {
                let reason = format!(
                    "{who} would ask {cold} among its last {} contacts who never spoke to the business",
                    self.policy.campaign.sample
                );
                self.refuse(GateCode::CampaignCold, reason, "ask customers who wrote or called before", None);
            }
        }
    }

    /// What passes by itself.
    fn moment(&mut self, question: Question) {
        if let Err(closed) = self.policy.hours.check(self.it.customer, self.it.now) {
            self.refusals.push(outside(closed));
        }
        if !self.it.agent_reserved {
            let reason = match question {
                Question::Call => "no agent is reserved for the call",
                Question::Request => "no agent is ready for the call that the request may bring",
            };
            self.refuse(GateCode::NoAgentReady, reason, "wait for an agent to be free", None);
        }
    }
}

//! The gate in the way of a call: what is known of the pair is loaded, and the rules decide.

use std::collections::BTreeMap;

use setu_call::Verdict;
use setu_model::{CallId, Now, RuleRefusal, Wall};
use setu_whatsapp::campaign::Campaigns;
use setu_whatsapp::gate::{Circumstances, Decision, GateCode, GatePolicy, GateRefusal, decide};
use setu_whatsapp::permission::{Customer, Fact, FactId, PairLedger, Question};
use setu_whatsapp::quality::{DayTally, Quality, QualityPolicy};

use super::{Output, Shard};

/// What is to be found out before a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// The call that waits for it.
    pub call: CallId,
    /// The business number.
    pub number: String,
    /// The customer.
    pub customer: Customer,
    /// The number's business-initiated calls are counted from here on.
    pub since: Wall,
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The call that waits for it.
    pub call: CallId,
    /// What is known; or why that cannot be said, for the operator.
    pub known: Result<Known, String>,
}

/// What is known of a number and a customer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The facts of the pair: ids and tellings, as stored.
    pub facts: Vec<(String, String)>,
    /// The number's business-initiated calls since [`Load::since`].
    pub attempts: u64,
}

/// What the gate remembers.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Calls that wait for what is known.
    asked: BTreeMap<CallId, setu_call::Question>,
    /// Until when Meta restricts an account (WABA) or number, by what its webhook named.
    restrictions: BTreeMap<String, Wall>,
    campaigns: Campaigns,
}

impl Gate {
    /// Meta restricts a number's calls until then.
    pub(super) fn restrict(&mut self, number: &str, until: Wall) {
        let known = self.restrictions.entry(number.to_owned()).or_insert(until);
        *known = until.max(*known);
    }
}

impl Shard {
    /// A call wants to know whether it may be made.
    pub(super) fn asked(&mut self, question: setu_call::Question, now: Now) {
        let since = Wall::from_unix_ms(now.wall.unix_ms().saturating_sub(DAY_MS));
        let customer = Customer::of_fields(question.customer.reveal(), None);
        let load = Load { call: question.call, number: question.number.clone(), customer, since };
        self.gate.asked.insert(question.call, question);
        self.outputs.push_back(Output::Load(Box::new(load)));
    }

    /// What is known of the pair is there.
    pub(super) fn loaded(&mut self, loaded: Loaded, now: Now) {
        let Loaded { call, known } = loaded;
        let Some(question) = self.gate.asked.remove(&call) else { return };
        let verdict = match (known, self.settings.gates.get(&question.number)) {
            (Ok(known), Some(policy)) => self.gate.judge(&question, policy, &known, now.wall),
            (Err(why), _) => Verdict::Unknown { why },
            // A reload took the gate away meanwhile.
            (Ok(_), None) => Verdict::Allowed,
        };
        self.calls.handle(setu_call::Input::Gate { call, verdict }, now);
    }
}

impl Gate {
    fn judge(
        &self,
        question: &setu_call::Question,
        policy: &GatePolicy,
        known: &Known,
        now: Wall,
    ) -> Verdict {
        let restricted = self.restrictions.get(&question.number).copied();
        let quality = unmeasured(restricted);
        let circumstances = Circumstances {
            ledger: &ledger(&known.facts),
            customer: Some(question.customer.reveal().as_str()),
            country: None,
            by_hand: question.by_hand,
            use_case: None,
            campaign: None,
            campaigns: &self.campaigns,
            // Who makes the call is set aside for it, and the desk lets a pair talk once at a time.
            agent_reserved: true,
            talking: false,
            attempts_today: u32::try_from(known.attempts).unwrap_or(u32::MAX),
            quality: &quality,
            now,
        };
        match decide(Question::Call, policy, &circumstances) {
            Decision::Allowed { .. } => Verdict::Allowed,
            Decision::Refused(refusals) => Verdict::Refused {
                status: refusals.first().map_or(403, |refusal| status(refusal.code)),
                rules: refusals.into_iter().map(rule).collect(),
            },
        }
    }
}

/// How a number is doing of which no day is measured.
fn unmeasured(restricted_until: Option<Wall>) -> Quality {
    QualityPolicy::default().judge(jiff::civil::Date::MIN, |_| DayTally::default(), restricted_until)
}

/// The facts of a pair, as stored. A call of ours whose WhatsApp id is not known, and the webhook that tells of it, are one.
fn ledger(facts: &[(String, String)]) -> PairLedger {
    let facts: Vec<(&str, Fact)> = facts
        .iter()
        .filter_map(|(id, telling)| Some((id.as_str(), serde_json::from_str(telling).ok()?)))
        .collect();
    let told: Vec<Wall> = facts.iter().filter(|(id, _)| is_told(id)).map(|(_, fact)| fact.at()).collect();
    let mut ledger = PairLedger::default();
    for (id, fact) in facts {
        let near = |at: &Wall| at.unix_ms().abs_diff(fact.at().unix_ms()) <= SAME_CALL_MS;
        if id.starts_with(OUR_CALL) && told.iter().any(near) {
            continue;
        }
        ledger.add(FactId(id.to_owned()), fact);
    }
    ledger
}

/// Whether a webhook told of a call.
fn is_told(id: &str) -> bool {
    id.starts_with("called:") && !id.starts_with(OUR_CALL)
}

/// How the facts of our own calls are named where WhatsApp's id is not known.
const OUR_CALL: &str = "called:call:";

/// A pair has one call at a time, so that two of them are never this close.
const SAME_CALL_MS: u64 = 60_000;

const DAY_MS: i64 = 24 * 3_600 * 1_000;

fn rule(refusal: GateRefusal) -> RuleRefusal {
    let GateRefusal { code, reason, remedy, next_allowed } = refusal;
    RuleRefusal { code: code.number(), title: code.title().to_owned(), reason, remedy, next_allowed }
}

/// What a phone that dialled hears.
const fn status(code: GateCode) -> u16 {
    match code {
        GateCode::NoAgentReady => 480,
        GateCode::PairBusy => 486,
        GateCode::OutsideHours
        | GateCode::Holiday
        | GateCode::NumberRestricted
        | GateCode::PermissionRequired
        | GateCode::DailyCap
        | GateCode::CountryBlocked
        | GateCode::UseCaseNotAllowed
        | GateCode::ConnectedLimit
        | GateCode::RequestLimit
        | GateCode::HumanRetryOnly
        | GateCode::CampaignBurst
        | GateCode::CampaignCold
        | GateCode::AlreadyPermitted => 403,
    }
}

#[cfg(test)]
mod tests {
    use setu_whatsapp::permission::{Outcome, Rules};

    use super::*;

    fn called(id: &str, at_s: i64, outcome: Outcome) -> (String, String) {
        let fact = Fact::Called { at: Wall::from_unix_ms(at_s * 1_000), outcome };
        (format!("called:{id}"), serde_json::to_string(&fact).unwrap())
    }

    #[test]
    fn a_call_of_ours_and_the_webhook_of_it_count_once() {
        let missed = |facts: &[(String, String)]| ledger(facts).misses(&Rules::META);
        let ours = called("call:01", 100, Outcome::Missed);
        let webhook = called("wacid.1", 140, Outcome::Missed);
        assert_eq!(missed(std::slice::from_ref(&ours)), 1);
        assert_eq!(missed(&[ours.clone(), webhook.clone()]), 1);
        assert_eq!(missed(&[called("call:02", 900, Outcome::Missed), ours, webhook]), 2);
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        assert!(ledger(&[("called:x".to_owned(), "{}".to_owned())]).is_empty());
    }
}

//! The gate in the way of a call: what is known of the pair is loaded, and the rules decide.

use std::collections::BTreeMap;

use setu_call::{Live, Verdict};
use setu_model::{CallId, Cause, Cdr, Direction, Now, RuleRefusal, Wall};
use setu_whatsapp::campaign::{Campaigns, Contact};
use setu_whatsapp::country_of;
use setu_whatsapp::gate::{Circumstances, Decision, GateCode, GatePolicy, GateRefusal, closed, decide};
use setu_whatsapp::permission::{Answer, Customer, Fact, FactId, PairLedger, Question, Reply};

use super::place::Answer as Told;
use super::{Output, Shard};
use crate::quality::Days;

/// Who waits for what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asker {
    /// A call that is held back.
    Call(CallId),
    /// An inquiry, by its token.
    Inquiry(u64),
    /// A question how ready a number is, by its token.
    Readiness(u64),
    /// A permission request that is held back.
    Request(u64),
}

/// What would the gate say? Nothing is set aside for it and nothing is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inquiry {
    /// Comes back with the answer.
    pub token: u64,
    /// The business number.
    pub number: String,
    /// The customer.
    pub customer: Customer,
    /// Whether a person asks for this very call.
    pub by_hand: bool,
    /// What the call is for.
    pub use_case: Option<String>,
    /// The campaign it is part of.
    pub campaign: Option<String>,
    /// Whether a permission request follows at once if the gate allows one: it counts for the campaign and the number, and
    /// [`Output::Requested`] tells of it, once for each.
    pub sends_request: bool,
}

/// A permission request that the gate allowed, as it counts in one tally.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// Names it for ever.
    pub id: CallId,
    /// The campaign, or the number whose requests are counted together.
    pub campaign: String,
    /// When.
    pub at: Wall,
    /// What the customer is to the business.
    pub contact: Contact,
}

/// What the gate would say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Of a call, by the permissions alone.
    pub call: Answer,
    /// Of a permission request, by Meta's limits alone.
    pub request: Answer,
    /// What the customer is to the business.
    pub contact: Contact,
    /// Of a call.
    pub may_call: Decision,
    /// Of a permission request.
    pub may_request: Decision,
}

/// What is to be found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// Who waits for it.
    pub asker: Asker,
    /// The business number.
    pub number: String,
    /// The customer.
    pub customer: Customer,
    /// The number's business-initiated calls are counted from here on.
    pub since: Wall,
    /// The campaigns and numbers whose requests are wanted: at most one of each.
    pub campaigns: Vec<String>,
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Who waits for it.
    pub asker: Asker,
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
    /// What speaks for and against the number.
    pub days: Days,
    /// The last requests of each of [`Load::campaigns`], the oldest first.
    pub requests: Vec<(String, Vec<(Wall, Contact)>)>,
}

/// What the gate remembers.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Who waits for what is known, with what was asked. An inquiry names no call.
    asked: BTreeMap<Asker, Inquiry>,
    campaigns: Campaigns,
}

/// What the desk says.
#[derive(Debug, Clone, Copy)]
struct AtTheDesk {
    /// Whether somebody is there for the call.
    agent: bool,
    /// Whether the pair is in a call.
    talking: bool,
    /// Other calls of the number that the business makes now, which have no record yet.
    live: usize,
}

/// What a campaign is counted under, in whatever case it is named. None is taken for a number, which is counted under itself.
fn campaign_of(inquiry: &Inquiry) -> Option<String> {
    let named = inquiry.campaign.as_ref()?.trim().to_lowercase();
    let named = if named.starts_with('+') { format!("campaign {named}") } else { named };
    (!named.is_empty()).then_some(named)
}

impl Inquiry {
    /// The number, if a request counts among all of its requests: whatever its campaign is called, so that a new name for each
    /// request escapes nothing. What a person sends by hand, as part of no campaign, does not count.
    fn counted_number(&self) -> Option<&str> {
        (self.campaign.is_some() || !self.by_hand).then_some(&*self.number)
    }

    /// What a request counts in.
    fn tallies(&self) -> impl Iterator<Item = &str> {
        self.campaign.as_deref().into_iter().chain(self.counted_number())
    }
}

/// The customer's number, E.164 with `+`, where it is known.
fn number_of(customer: &Customer) -> Option<String> {
    customer.wa_id.as_ref().map(|id| format!("+{}", id.reveal()))
}

impl Gate {
    fn find(
        &mut self,
        inquiry: &Inquiry,
        policy: &GatePolicy,
        known: &Known,
        desk: AtTheDesk,
        now: Wall,
    ) -> Finding {
        let (ledger, _) = ledger(&known.facts);
        let quality = known.days.judge(policy.hears_revocations, now);
        for (tally, requests) in &known.requests {
            self.campaigns.recall(tally, requests, &policy.campaign);
        }
        let number = number_of(&inquiry.customer);
        let circumstances = Circumstances {
            ledger: &ledger,
            customer: number.as_deref(),
            country: number.as_deref().and_then(country_of),
            by_hand: inquiry.by_hand,
            use_case: inquiry.use_case.as_deref(),
            campaign: inquiry.campaign.as_deref(),
            number: inquiry.counted_number(),
            campaigns: &self.campaigns,
            agent_reserved: desk.agent,
            talking: desk.talking,
            attempts_today: u32::try_from(known.attempts.saturating_add(desk.live as u64))
                .unwrap_or(u32::MAX),
            quality: &quality,
            now,
        };
        let may_call = decide(Question::Call, policy, &circumstances);
        let may_request = decide(Question::Request, policy, &circumstances);
        if let (true, Decision::Allowed { .. }) = (inquiry.sends_request, &may_request) {
            for tally in inquiry.tallies() {
                self.campaigns.asked(tally, ledger.contact(&policy.rules), &policy.campaign, now);
            }
        }
        Finding {
            call: ledger.answer(Question::Call, &policy.rules, now),
            request: ledger.answer(Question::Request, &policy.rules, now),
            contact: ledger.contact(&policy.rules),
            may_call,
            may_request,
        }
    }
}

impl Shard {
    /// A call wants to know whether it may be made.
    pub(super) fn asked(&mut self, question: setu_call::Question, now: Now) {
        let setu_call::Question { call, number, customer, by_hand, use_case } = question;
        let customer = Customer::of_fields(customer.reveal(), None);
        // Where the provider calls back, the call begins with a request, unless the customer waits already.
        let sends_request =
            self.is_called_back(&number).is_some() && self.permitted_by(call, now.wall).is_none();
        let inquiry =
            Inquiry { token: 0, number, customer, by_hand, use_case, campaign: None, sends_request };
        self.look_up(Asker::Call(call), inquiry, now);
    }

    /// What a provider that has a call's customer on the line for the business names as its permission: evidence for this
    /// call and no other, so that it is not kept.
    fn permitted_by(&self, call: CallId, at: Wall) -> Option<Fact> {
        let live = self.calls.lives(None).find(|live| live.call == call)?;
        match live.facts.permission_source.as_deref()? {
            // Within a day, and no later than what is known of the customer since.
            "service_window" => Some(Fact::Wrote { at: Wall::from_unix_ms(at.unix_ms() - 23 * 3_600_000) }),
            "permission_request" => {
                let reply =
                    Reply::Accept { permanent: false, expires: None, automatic: true, unasked: false };
                Some(Fact::Replied { at, reply })
            }
            _ => None,
        }
    }

    /// Somebody wants to know what the gate would say.
    pub(super) fn inquired(&mut self, inquiry: Inquiry, now: Now) {
        if self.settings.gates.contains_key(&inquiry.number) {
            self.look_up(Asker::Inquiry(inquiry.token), inquiry, now);
        } else {
            self.outputs.push_back(Output::Found(inquiry.token, Ok(None)));
        }
    }

    /// Somebody wants to know how ready a number is.
    pub(super) fn readiness_asked(&mut self, token: u64, number: String, now: Now) {
        if self.settings.gates.contains_key(&number) {
            let customer = Customer::default();
            let (use_case, campaign) = (None, None);
            let inquiry =
                Inquiry { token, number, customer, by_hand: true, use_case, campaign, sends_request: false };
            self.look_up(Asker::Readiness(token), inquiry, now);
        } else {
            self.answer(token, Told::Readiness(Ok(None)));
        }
    }

    /// The rules of a number that close it to everybody for now.
    fn closed(&self, number: &str, known: &Known, now: Wall) -> Vec<RuleRefusal> {
        let Some(policy) = self.settings.gates.get(number) else { return Vec::new() };
        let restricted_until = known.days.judge(policy.hears_revocations, now).restricted_until;
        closed(policy, restricted_until, now).into_iter().map(rule).collect()
    }

    pub(super) fn look_up(&mut self, asker: Asker, mut inquiry: Inquiry, now: Now) {
        inquiry.campaign = campaign_of(&inquiry);
        let since = Wall::from_unix_ms(now.wall.unix_ms().saturating_sub(DAY_MS));
        let (number, customer) = (inquiry.number.clone(), inquiry.customer.clone());
        let unknown = inquiry.tallies().filter(|tally| !self.gate.campaigns.remembers(tally));
        let campaigns = unknown.map(str::to_owned).collect();
        self.gate.asked.insert(asker, inquiry);
        self.outputs.push_back(Output::Load(Box::new(Load { asker, number, customer, since, campaigns })));
    }

    /// What is known of the pair is there.
    pub(super) fn loaded(&mut self, loaded: Loaded, now: Now) {
        let Loaded { asker, known } = loaded;
        let Some(inquiry) = self.gate.asked.remove(&asker) else { return };
        if let Asker::Readiness(token) = asker {
            let closed = known.map(|known| self.closed(&inquiry.number, &known, now.wall));
            let readiness = closed.map(|closed| self.readiness(&inquiry.number, closed).map(Box::new));
            return self.answer(token, Told::Readiness(readiness));
        }
        let policy = self.settings.gates.get(&inquiry.number);
        let others = |live: &Live| {
            live.facts.number == inquiry.number
                && live.direction == Direction::BusinessInitiated
                && asker != Asker::Call(live.call)
        };
        let live = self.calls.lives(None).filter(others).count();
        let desk = match asker {
            // Who makes a call is set aside for it before the gate is asked, and the desk lets a pair talk once at a time.
            Asker::Call(_) => AtTheDesk { agent: true, talking: false, live },
            Asker::Request(id) => {
                AtTheDesk { agent: self.is_ready_for(id, &inquiry.number), talking: false, live }
            }
            Asker::Inquiry(_) | Asker::Readiness(_) => {
                let customer = number_of(&inquiry.customer).unwrap_or_default();
                AtTheDesk {
                    agent: self.calls.is_ready(&inquiry.number),
                    talking: self.calls.is_talking(&inquiry.number, &customer),
                    live,
                }
            }
        };
        let mut known = known;
        if let (Asker::Call(call), Ok(known)) = (asker, &mut known)
            && let Some(fact) = self.permitted_by(call, now.wall)
        {
            known.facts.push((format!("waits:{call}"), serde_json::to_string(&fact).unwrap_or_default()));
        }
        let found = known.map(|known| Some(self.gate.find(&inquiry, policy?, &known, desk, now.wall)));
        if let Ok(Some(finding)) = &found {
            self.campaign_asks(&inquiry, finding, now);
        }
        match asker {
            Asker::Inquiry(token) | Asker::Readiness(token) => {
                self.outputs.push_back(Output::Found(token, found.map(|found| found.map(Box::new))));
            }
            Asker::Request(id) => {
                self.request_judged(id, found, now);
            }
            Asker::Call(call) => {
                let verdict = match found {
                    Ok(Some(finding)) if inquiry.sends_request => verdict(finding.may_request),
                    Ok(Some(finding)) => verdict(finding.may_call),
                    // A reload took the number away meanwhile.
                    Ok(None) => Verdict::Unknown { why: "the number is not configured any more".to_owned() },
                    Err(why) => Verdict::Unknown { why },
                };
                self.calls.handle(setu_call::Input::Gate { call, verdict }, now);
            }
        }
    }
}

impl Shard {
    /// What a campaign and its number ask is kept: a restart must not give them another start.
    fn campaign_asks(&mut self, inquiry: &Inquiry, finding: &Finding, now: Now) {
        if let (true, Decision::Allowed { .. }) = (inquiry.sends_request, &finding.may_request) {
            for tally in inquiry.tallies() {
                let id = CallId::new(now.wall, &mut *self.entropy);
                let campaign = tally.to_owned();
                let requested = Requested { id, campaign, at: now.wall, contact: finding.contact };
                self.outputs.push_back(Output::Requested(Box::new(requested)));
            }
        }
    }
}

fn verdict(decision: Decision) -> Verdict {
    match decision {
        Decision::Allowed { .. } => Verdict::Allowed,
        Decision::Refused(refusals) => Verdict::Refused {
            status: refusals.first().map_or(403, |refusal| status(refusal.code)),
            rules: refusals.into_iter().map(rule).collect(),
        },
    }
}

/// The facts of a pair, as stored, and those that do not count: a call of ours whose WhatsApp id is not known, and the webhook
/// that tells of it, are one.
pub(crate) fn ledger(facts: &[(String, String)]) -> (PairLedger, Vec<(FactId, Fact)>) {
    let facts: Vec<(&str, Fact)> = facts
        .iter()
        .filter_map(|(id, telling)| Some((id.as_str(), serde_json::from_str(telling).ok()?)))
        .collect();
    let told: Vec<Wall> = facts.iter().filter(|(id, _)| is_told(id)).map(|(_, fact)| fact.at()).collect();
    let (mut ledger, mut hidden) = (PairLedger::default(), Vec::new());
    for (id, fact) in facts {
        let near = |at: &Wall| at.unix_ms().abs_diff(fact.at().unix_ms()) <= SAME_CALL_MS;
        if id.starts_with(OUR_CALL) && told.iter().any(near) {
            hidden.push((FactId(id.to_owned()), fact));
        } else {
            ledger.add(FactId(id.to_owned()), fact);
        }
    }
    (ledger, hidden)
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

/// Says in the gate's words what Meta refused by itself: its 138006 is 4005.
pub(super) fn explain(cdr: &mut Cdr) {
    if cdr.termination.cause == Cause::NoPermission && cdr.refused.is_empty() {
        cdr.refused.push(rule(GateRefusal {
            code: GateCode::PermissionRequired,
            reason: "Meta knows of no permission to call".to_owned(),
            remedy: GateCode::PERMISSION_REMEDY.to_owned(),
            next_allowed: None,
        }));
    }
}

pub(super) fn rule(refusal: GateRefusal) -> RuleRefusal {
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
        let missed = |facts: &[(String, String)]| ledger(facts).0.misses(&Rules::META);
        let ours = called("call:01", 100, Outcome::Missed);
        let webhook = called("wacid.1", 140, Outcome::Missed);
        assert_eq!(missed(std::slice::from_ref(&ours)), 1);
        assert_eq!(missed(&[ours.clone(), webhook.clone()]), 1);
        assert_eq!(missed(&[called("call:02", 900, Outcome::Missed), ours, webhook]), 2);
    }

    #[test]
    fn a_request_counts_for_its_number_whatever_its_campaign_unless_a_person_sends_it() {
        let tallies = |named: Option<&str>, by_hand| {
            let mut inquiry = Inquiry {
                token: 0,
                number: "+911".to_owned(),
                customer: Customer::default(),
                by_hand,
                use_case: None,
                campaign: named.map(str::to_owned),
                sends_request: true,
            };
            inquiry.campaign = campaign_of(&inquiry);
            inquiry.tallies().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(tallies(Some(" Spring "), false), ["spring", "+911"]);
        assert_eq!(tallies(Some("spring"), true), ["spring", "+911"]);
        assert_eq!(tallies(Some("+912"), false), ["campaign +912", "+911"]);
        assert_eq!(tallies(None, false), ["+911"]);
        assert_eq!(tallies(Some(" "), false), ["+911"]);
        assert_eq!(tallies(None, true), [""; 0]);
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        assert!(ledger(&[("called:x".to_owned(), "{}".to_owned())]).0.is_empty());
    }
}

//! A contact centre among its customers and Meta's bookkeeping, in virtual time: every step is put to the bridge's gate.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use setu::driver::{Input, Inquiry, Known, Load, Loaded, Output, Shard};
use setu::quality::Days;
use setu::{Config, settings};
use setu_model::{Entropy as _, Now, SeededEntropy, Wall};
use setu_store::TallyRow;
use setu_twin::graph::{
    Consequence, Forbidden, PermissionRules, Permissions, Permit, Reputation, ReputationRules,
};
use setu_whatsapp::campaign::Contact;
use setu_whatsapp::gate::Decision;
use setu_whatsapp::permission::{Customer, Fact, Outcome, Reply, Verdict};

/// Calls come back to a trunk that answers, so that somebody is ready.
pub(crate) const NUMBER: &str = "+919000000001";
/// Calls come back to an agent who is not there.
pub(crate) const DESERTED: &str = "+919000000002";

pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;

/// Monday 2026-03-02, midnight in India.
const START: i64 = 1_772_389_800_000;

/// How far Meta's clock is ahead of the bridge's, which may be told a minute off.
const SKEW_MS: i64 = 40_000;

const CONFIG: &str = r#"
[meta]
bind = "203.0.113.10:5061"
hostname = "sip.bridge.test"
certificate = "chain.pem"
private_key = "key.pem"
media = { bind = "203.0.113.10", ports = "20000-20999" }

[agents]
udp = "10.1.0.10:5060"
hostname = "10.1.0.10"
media = { bind = "10.1.0.10", ports = "20000-20999" }

[[numbers]]
number = "+919000000001"
phone_number_id = "1"
password = "one"
trunk = "pbx"
extension = "100"

[[numbers]]
number = "+919000000002"
phone_number_id = "2"
password = "two"
agents = ["alice"]

[[accounts]]
name = "alice"
password = "a"

[[trunks]]
name = "pbx"
pstn = false
host = "10.1.0.23"
port = 5060
probe_s = 0

[webhooks]
app_secrets = ["secret"]
verify_token = "word"
"#;

/// The configuration, with more lines at its end.
pub(crate) fn config(rest: &str) -> Result<Config, String> {
    Config::parse(&format!("{CONFIG}{rest}"), Path::new("/")).map_err(|error| error.to_string())
}

/// Whether the bridge's gate is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Asked,
    /// What would happen without one.
    Passed,
}

/// What becomes of a call that reaches a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    Talked,
    Missed,
    /// The customer hangs up within five seconds.
    AtOnce,
}

/// The number, its customers and Meta.
pub(crate) struct Centre {
    pub(crate) now_ms: i64,
    pub(crate) dice: SeededEntropy,
    pub(crate) meta: Permissions,
    pub(crate) reputation: Reputation,
    /// Calls and requests that were made.
    pub(crate) made: u64,
    /// What Meta refused, by its code.
    pub(crate) refused_by_meta: BTreeMap<i64, u64>,
    /// What the gate refused, by its code; none for what was never asked.
    pub(crate) refused_by_gate: BTreeMap<u16, u64>,
    number: &'static str,
    gate: Gate,
    shard: Shard,
    mono: Instant,
    token: u64,
    ids: u64,
    /// What the bridge was told, by customer.
    facts: BTreeMap<String, Vec<(String, String)>>,
    /// Webhooks on their way, by when they arrive.
    under_way: BTreeMap<(i64, u64), (String, String, Fact)>,
    tallies: BTreeMap<i64, TallyRow>,
    attempts: Vec<i64>,
    requests: BTreeMap<String, Vec<(Wall, Contact)>>,
}

impl Centre {
    pub(crate) fn new(seed: u64, number: &'static str, gate: Gate) -> Self {
        let settings = settings::shard(&config("").unwrap()).unwrap();
        let mono = Instant::now();
        let now = Now { mono, wall: Wall::from_unix_ms(START) };
        let mut seeds = SeededEntropy::new(seed);
        Self {
            now_ms: 0,
            dice: SeededEntropy::new(seed ^ 0xd1ce),
            meta: Permissions::new(PermissionRules::LIVE, Permit::No),
            reputation: Reputation::new(ReputationRules::LIVE),
            made: 0,
            refused_by_meta: BTreeMap::new(),
            refused_by_gate: BTreeMap::new(),
            number,
            gate,
            shard: Shard::new(settings, || Box::new(SeededEntropy::new(seeds.next_u64())), now),
            mono,
            token: 0,
            ids: 0,
            facts: BTreeMap::new(),
            under_way: BTreeMap::new(),
            tallies: BTreeMap::new(),
            attempts: Vec::new(),
            requests: BTreeMap::new(),
        }
    }

    /// The bridge's clock.
    pub(crate) fn wall(&self) -> Wall {
        Wall::from_unix_ms(START + self.now_ms)
    }

    /// Meta's.
    fn metas(&self) -> Wall {
        Wall::from_unix_ms(START + self.now_ms + SKEW_MS)
    }

    pub(crate) fn sleep_until(&mut self, ms: i64) {
        self.now_ms = self.now_ms.max(ms);
        while let Some(first) = self.under_way.first_entry().filter(|it| it.key().0 <= self.now_ms) {
            let (customer, id, fact) = first.remove();
            self.note(&customer, id, &fact);
        }
    }

    pub(crate) fn sleep(&mut self, ms: i64) {
        self.sleep_until(self.now_ms + ms);
    }

    /// True so many times of a thousand.
    pub(crate) fn chance(&mut self, permille: u64) -> bool {
        self.dice.next_u64() % 1_000 < permille
    }

    /// A webhook: within seconds, twice now and then, and out of order. What is lost Meta delivers again a little later.
    fn tells(&mut self, customer: &str, id: String, fact: Fact) {
        let deliveries = 1 + u64::from(self.chance(200));
        for _ in 0..deliveries {
            let lost = if self.chance(20) { 30_000 } else { 0 };
            let at = self.now_ms + 200 + lost + (self.dice.next_u64() % 3_000) as i64;
            self.ids += 1;
            self.under_way.insert((at, self.ids), (customer.to_owned(), id.clone(), fact.clone()));
        }
    }

    fn note(&mut self, customer: &str, id: String, fact: &Fact) {
        let telling = serde_json::to_string(fact).unwrap();
        let known = self.facts.entry(customer.to_owned()).or_default();
        if !known.iter().any(|(one, other)| *one == id && *other == telling) {
            known.push((id, telling));
        }
    }

    fn id(&mut self, what: &str) -> String {
        self.ids += 1;
        format!("{what}:{}", self.ids)
    }

    /// The customer writes.
    pub(crate) fn writes(&mut self, customer: &str) {
        let (id, at) = (self.id("message"), self.metas());
        self.tells(customer, id, Fact::Wrote { at });
    }

    /// The customer grants permission, for a week or for ever.
    pub(crate) fn grants(&mut self, customer: &str, permanent: bool) {
        let at = self.metas();
        let expires = match self.meta.grant(customer, permanent, at) {
            Permit::Until(end) => Some(end),
            Permit::No | Permit::Permanent => None,
        };
        let reply = Reply::Accept { permanent, expires, automatic: false, unasked: false };
        let id = self.id("reply");
        self.tells(customer, id, Fact::Replied { at, reply });
    }

    /// The customer takes permission back.
    pub(crate) fn revokes(&mut self, customer: &str) {
        self.meta.revoke(customer);
        let (id, at) = (self.id("reply"), self.metas());
        self.tells(customer, id, Fact::Replied { at, reply: Reply::Reject { automatic: false } });
    }

    /// The customer calls the number, and somebody answers if `answered`.
    pub(crate) fn calls_in(&mut self, customer: &str, answered: bool) {
        let at = self.metas();
        self.reputation.called(answered, at);
        let id = self.id("phoned");
        self.tells(customer, id, Fact::Phoned { at });
    }

    /// The customer blocks the number, which the bridge hears of if the customer takes the permission back as well.
    pub(crate) fn blocks(&mut self, customer: &str) {
        let at = self.metas();
        self.reputation.blamed(at);
        self.revokes(customer);
        let day = setu_store::day(self.wall());
        self.tallies.entry(day).or_insert(TallyRow { day, ..TallyRow::default() }).blamed += 1;
    }

    /// Calls a customer if the gate lets it; says what became of it.
    pub(crate) fn calls(&mut self, customer: &str, by_hand: bool, ends: Ends) -> Option<Ends> {
        if !self.may(customer, by_hand, None, |found| found.0) {
            return None;
        }
        let at = self.wall();
        let metas = self.metas();
        self.made += 1;
        if let Err(why) = self.meta.may_call(customer, metas) {
            self.is_refused(why);
            return None;
        }
        self.attempts.push(self.now_ms);
        self.reputation.reached(metas);
        let talked = ends != Ends::Missed;
        let told = self.meta.called(customer, talked, metas);
        let day = setu_store::day(at);
        let tally = self.tallies.entry(day).or_insert(TallyRow { day, ..TallyRow::default() });
        tally.attempts += 1;
        tally.answered += u32::from(talked);
        tally.short += u32::from(ends == Ends::AtOnce);
        // The bridge's own record tells at once, the webhook a little later.
        let outcome = if talked { Outcome::Connected } else { Outcome::Missed };
        let id = self.id("called");
        self.note(customer, id.clone(), &Fact::Called { at, outcome });
        self.tells(customer, id, Fact::Called { at: metas, outcome });
        if ends == Ends::AtOnce {
            let id = self.id("early");
            self.note(customer, id, &Fact::HungUpEarly { at });
        }
        if told == Consequence::Revoked {
            let id = self.id("reply");
            self.tells(customer, id, Fact::Replied { at: metas, reply: Reply::Reject { automatic: true } });
        }
        Some(ends)
    }

    /// Asks a customer for permission, if the gate lets it; says whether the customer was asked.
    pub(crate) fn requests(&mut self, customer: &str, campaign: Option<&str>) -> bool {
        if !self.may(customer, false, campaign, |found| found.1) {
            return false;
        }
        let (at, metas) = (self.wall(), self.metas());
        self.made += 1;
        if let Err(why) = self.meta.request(customer, metas) {
            self.is_refused(why);
            if why == Forbidden::IsPermanent {
                let id = self.id("refused");
                let (no_request_before, no_call_before) = (None, None);
                let verdict = Verdict::Permanent;
                self.note(customer, id, &Fact::Observed { at, verdict, no_request_before, no_call_before });
            }
            return false;
        }
        self.reputation.reached(metas);
        let id = self.id("asked");
        self.note(customer, id, &Fact::Asked { at });
        true
    }

    fn is_refused(&mut self, why: Forbidden) {
        *self.refused_by_meta.entry(why.code()).or_default() += 1;
    }

    /// Puts a question to the gate of the bridge, as a call or request of it would be.
    fn may(
        &mut self,
        customer: &str,
        by_hand: bool,
        campaign: Option<&str>,
        which: impl Fn((Decision, Decision)) -> Decision,
    ) -> bool {
        if self.gate == Gate::Passed {
            return true;
        }
        self.token += 1;
        let inquiry = Inquiry {
            token: self.token,
            number: self.number.to_owned(),
            customer: Customer::of_number(customer),
            by_hand,
            use_case: None,
            campaign: campaign.map(str::to_owned),
            sends_request: campaign.is_some(),
        };
        let now = Now { mono: self.mono + Duration::from_millis(self.now_ms as u64), wall: self.wall() };
        self.shard.handle(Input::Inquire(Box::new(inquiry)), now);
        let mut decided = None;
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Load(load) => {
                    let loaded = self.loaded(*load);
                    self.shard.handle(Input::Loaded(Box::new(loaded)), now);
                }
                Output::Requested(request) => {
                    self.requests.entry(request.campaign).or_default().push((request.at, request.contact));
                }
                Output::Found(_, found) => {
                    let found = found.unwrap().unwrap();
                    decided = Some(which((found.may_call, found.may_request)));
                }
                _ => {}
            }
        }
        match decided.unwrap() {
            Decision::Allowed { .. } => true,
            Decision::Refused(rules) => {
                let code = rules.first().unwrap().code.number();
                *self.refused_by_gate.entry(code).or_default() += 1;
                false
            }
        }
    }

    /// What the store would say.
    fn loaded(&mut self, load: Load) -> Loaded {
        let customer = load.customer.wa_id.as_ref().map(|id| id.reveal().clone()).unwrap_or_default();
        let tallies: Vec<TallyRow> = self.tallies.values().copied().collect();
        let since = load.since.unix_ms() - START;
        let known = Known {
            facts: self.facts.get(&customer).cloned().unwrap_or_default(),
            attempts: self.attempts.iter().rev().take_while(|at| **at >= since).count() as u64,
            days: Days::of(&tallies, &[]),
            requests: load
                .campaigns
                .into_iter()
                .filter_map(|it| self.requests.get(&it).cloned().map(|requests| (it, requests)))
                .collect(),
        };
        Loaded { asker: load.asker, known: Ok(known) }
    }
}

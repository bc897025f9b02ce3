//! The gate in the way of agents' calls, opened and closed by webhooks.

use std::time::Duration;

use setu_model::{Cause, Cdr, EndedBy};
use setu_twin::Person;
use setu_twin::agent::{Habits, PhoneAnswer, PhoneReport};
use setu_twin::shell::{EdgeHandle, PhoneHandle};

use crate::house::{CUSTOMER, House, NUMBER, NUMBER_PASSWORD, Ports};
use crate::peers::Process;
use crate::ports::port;
use crate::webhooks::{SECRET, post, webhooks};

struct Desk {
    house: House,
    bridge: Option<Process>,
    at: u16,
    _edge: EdgeHandle,
    phone: PhoneHandle,
    replies: u32,
}

/// Always open, whatever the clock of the machine says.
const ALWAYS: &str = "[hours]\nfrom = \"00:00\"\nto = \"00:00\"\n";

impl Desk {
    /// An agent who may call from a number whose webhooks are taken; `number` and `rest` are more of the configuration.
    async fn new(number: &str, rest: &str) -> Self {
        let at = port();
        let config = format!(
            "[[numbers]]\nnumber = \"{NUMBER}\"\nphone_number_id = \"106\"\npassword = \"{NUMBER_PASSWORD}\"\n\
             agents = [\"alice\"]\n{number}\n[[accounts]]\nname = \"alice\"\npassword = \"secret\"\nnumber = \"{NUMBER}\"\n\
             {rest}\n{}",
            webhooks(at)
        );
        let house = House::new(Ports::pick(), &config);
        house.write("app.secret", SECRET);
        let bridge = Some(house.serve());
        let edge = house.edge().await;
        let habits = Habits { answer: PhoneAnswer::AfterMs(50), ..Habits::default() };
        let phone = house.phone("alice", "secret", habits).await;
        Self { house, bridge, at, _edge: edge, phone, replies: 0 }
    }

    /// The agent dials the customer, and talks for a moment if that is answered.
    async fn dials(&self) -> PhoneReport {
        let habits = Habits { person: Person::saying(880).hanging_up_after(600), ..Habits::default() };
        self.phone.dial(CUSTOMER, Some(habits)).await.unwrap()
    }

    /// The record of the call number `count`.
    fn record(&self, count: usize) -> Cdr {
        tokio::task::block_in_place(|| self.house.cdrs(count).pop().unwrap())
    }

    /// The customer answers a permission request, in Meta's words.
    fn replies(&mut self, reply: &str) {
        self.tells(&format!(
            r#""type":"interactive","context":{{"id":"wamid.request"}},
            "interactive":{{"type":"call_permission_reply","call_permission_reply":{reply}}}"#
        ));
    }

    /// The customer writes.
    fn writes(&mut self) {
        self.tells(r#""type":"text","text":{"body":"call me"}"#);
    }

    /// Meta tells of a message.
    fn tells(&mut self, message: &str) {
        self.replies += 1;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        // Later than the message before, and than the calls so far.
        let timestamp = now + u64::from(self.replies);
        let body = format!(
            r#"{{"object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{{"field":"messages","value":{{
            "metadata":{{"phone_number_id":"106"}},"messages":[{{"from":"919876543210","id":"wamid.{}",
            "timestamp":"{timestamp}",{message}}}]}}}}]}}]}}"#,
            self.replies
        );
        self.posts(&body);
    }

    /// Meta restricts the account's calls for a week.
    fn is_restricted(&self) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let until = now + 7 * 24 * 3_600;
        self.posts(&format!(
            r#"{{"object":"whatsapp_business_account","entry":[{{"id":"1","time":{now},"changes":[{{"field":"account_update",
            "value":{{"event":"ACCOUNT_RESTRICTION","restriction_info":[
            {{"restriction_type":"RESTRICTED_BUSINESS_INITIATED_CALLING","expiration":{until}}}]}}}}]}}]}}"#
        ));
    }

    fn posts(&self, body: &str) {
        let answer = tokio::task::block_in_place(|| post(self.at, "/webhooks/whatsapp", SECRET, body));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    async fn restarts(&mut self) {
        self.bridge = None;
        self.bridge = Some(tokio::task::block_in_place(|| self.house.serve()));
        self.phone.register(Duration::from_secs(20)).await.unwrap();
    }
}

const YES: &str = r#"{"response":"accept","is_permanent":true,"response_source":"user_action"}"#;
const NO: &str = r#"{"response":"reject","response_source":"user_action"}"#;

fn is_refused_for(report: &PhoneReport, record: &Cdr, codes: &[u16]) {
    assert!(!report.answered);
    assert_eq!(report.status, Some(403));
    let reason = report.reason.as_deref().unwrap();
    assert!(reason.starts_with(&format!("{} ", codes[0])), "{reason}");
    assert_eq!(record.termination.cause, Cause::Refused);
    assert_eq!(
        record.refused.iter().map(|rule| rule.code).collect::<Vec<_>>(),
        codes,
        "{:?}",
        record.refused
    );
    assert!(record.legs.len() == 1, "Meta was dialled: {record:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_is_called_once_permission_is_told_and_not_after_it_is_taken_back() {
    let mut desk = Desk::new("", &format!("{ALWAYS}[cost]\ncurrency = \"INR\"\n")).await;
    let refused = desk.dials().await;
    let record = desk.record(1);
    is_refused_for(&refused, &record, &[4005]);
    assert_eq!(
        refused.reason.as_deref(),
        Some("4005 Permission Required: the customer never gave permission to call")
    );
    assert!(record.refused[0].remedy.contains("permission request"));

    assert_eq!(desk.house.metric("setu_rules_refused_total{code=\"4005\"}"), 1.0);

    desk.replies(YES);
    let talked = desk.dials().await;
    assert!(talked.answered, "{talked:?}");
    let record = desk.record(2);
    assert_eq!(record.termination.cause, Cause::Success);
    let cost = record.cost.unwrap();
    assert_eq!((cost.currency.as_str(), cost.provider.as_str()), ("INR", "0.4"), "one begun minute");

    // What is known is known after a restart.
    desk.restarts().await;
    assert!(desk.dials().await.answered);

    desk.replies(NO);
    let refused = desk.dials().await;
    is_refused_for(&refused, &desk.record(4), &[4005]);
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_the_hours_a_customer_is_not_called_whatever_is_permitted() {
    let closed = "[hours]\nclosed = [\"monday\", \"tuesday\", \"wednesday\", \"thursday\", \"friday\", \"saturday\", \"sunday\"]\n";
    let mut desk = Desk::new("", closed).await;
    let refused = desk.dials().await;
    is_refused_for(&refused, &desk.record(1), &[4005, 4001]);
    desk.replies(YES);
    let refused = desk.dials().await;
    is_refused_for(&refused, &desk.record(2), &[4001]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_whose_gate_is_off_leaves_it_to_meta() {
    let desk = Desk::new("gate = \"off\"", ALWAYS).await;
    assert!(desk.dials().await.answered);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hung_up_at_once_is_called_again_by_people_only_until_the_customer_writes() {
    let dialler = format!(
        "{ALWAYS}[[trunks]]\nname = \"pbx\"\npstn = false\nhost = \"127.0.0.1\"\nport = 9\nprobe_s = 0\nnetworks = [\"127.0.0.1/32\"]\n\
         number = \"{NUMBER}\"\n"
    );
    let mut desk = Desk::new("", &dialler).await;
    desk.replies(YES);
    // Not registered: to the bridge it is the dialler. The edge's customers hang up after 3 s.
    let dialler = desk.house.unregistered_phone("dialler", "none", Habits::default()).await;
    let dials = async || dialler.dial(CUSTOMER, None).await.unwrap();
    assert!(dials().await.answered);
    let early = desk.record(1);
    assert_eq!((early.termination.cause, early.termination.by), (Cause::Success, EndedBy::Customer));

    let refused = dials().await;
    is_refused_for(&refused, &desk.record(2), &[4012]);
    assert!(desk.dials().await.answered, "a person may");
    assert_eq!(desk.record(3).termination.cause, Cause::Success);
    is_refused_for(&dials().await, &desk.record(4), &[4012]);

    desk.writes();
    assert!(dials().await.answered);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restriction_by_meta_outlives_a_restart() {
    let mut desk = Desk::new("", ALWAYS).await;
    desk.replies(YES);
    assert!(desk.dials().await.answered);
    desk.record(1);
    desk.is_restricted();
    is_refused_for(&desk.dials().await, &desk.record(2), &[4004]);
    desk.restarts().await;
    is_refused_for(&desk.dials().await, &desk.record(3), &[4004]);
}

#[tokio::test(flavor = "multi_thread")]
async fn blocked_countries_and_use_cases_of_other_numbers_are_refused_and_the_record_names_the_use_case() {
    let rest = format!(
        "use_case = \"kyc\"\n{ALWAYS}[calling]\nblocked_countries = [\"IN\"]\n[[use_cases]]\nname = \"kyc\"\n\
         label = \"KYC\"\n[[use_cases]]\nname = \"cart\"\nlabel = \"Cart recovery\"\n"
    );
    let mut desk = Desk::new("use_cases = [\"cart\"]", &rest).await;
    desk.replies(YES);
    let refused = desk.dials().await;
    let record = desk.record(1);
    is_refused_for(&refused, &record, &[4008, 4009]);
    assert_eq!(record.facts.use_case.as_deref(), Some("kyc"));
}

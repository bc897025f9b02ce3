//! What is kept, in the words of the store. Pure.

use std::collections::{BTreeMap, BTreeSet};

use setu_control::Delivery;
use setu_model::{Cause, Cdr, Direction, EndedBy, Ingress, Milestone, Side, Wall};
use setu_store::{Attempt, CdrRow, ComplaintRow, DeliveryRow, EndRow, EventRow, FactRow, RequestRow, digest};
use setu_whatsapp::campaign::Contact;
use setu_whatsapp::permission::{Customer, EARLY_S, Fact, FactId, Outcome, Reply, Verdict};
use setu_whatsapp::quality::{BLAME_MINUTES, SHORT_S};
use setu_whatsapp::webhook::{Complaint, Event, Facts, Heard};

use super::reconcile::Told;
use crate::config::Config;
use crate::driver::{Note, Requested, may_tell};
use crate::events::{self, Audience};

/// Which business numbers are ours, and Meta's ids of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Numbers {
    by_id: BTreeMap<String, String>,
    ours: BTreeSet<String>,
    accounts: BTreeMap<String, String>,
}

impl Numbers {
    pub(crate) fn of(config: &Config) -> Self {
        let id = |n: &crate::config::Number| Some((n.phone_number_id.clone()?, n.number.clone()));
        Self {
            by_id: config.numbers.iter().filter_map(id).collect(),
            ours: config.numbers.iter().map(|n| n.number.clone()).collect(),
            accounts: config.accounts(),
        }
    }

    /// The numbers that an account may tell of.
    fn may_be_of(&self, account: &str) -> impl Iterator<Item = &String> {
        self.ours.iter().filter(move |number| may_tell(&self.accounts, number, account))
    }

    /// The number an event is about: by Meta's id of it, or as displayed. What one account tells is not about another's number.
    pub(super) fn find(&self, heard: &Heard) -> Option<&String> {
        let number = self.by_id.get(&heard.number_id).or_else(|| self.ours.get(heard.number.as_ref()?));
        // A provider names the number in its place.
        let provider = heard.account == heard.number_id;
        number.filter(|number| provider || may_tell(&self.accounts, number, &heard.account))
    }
}

/// A webhook with what it tells.
pub(super) fn delivery(delivery: &Delivery, numbers: &Numbers, audience: &Audience) -> DeliveryRow {
    let Delivery { kind, body, received, heard, .. } = delivery;
    DeliveryRow {
        id: digest(&[kind.as_deref().unwrap_or_default().as_bytes(), body]),
        received: *received,
        kind: kind.clone(),
        body: String::from_utf8_lossy(body).into_owned(),
        events: heard.iter().map(|heard| event(heard, numbers, audience)).collect(),
    }
}

/// The same for each delivery of an event, and for no other, of whatever account.
pub(super) fn event_key(heard: &Heard) -> String {
    format!("{}/{}/{}", heard.account, heard.number_id, heard.key)
}

fn event(heard: &Heard, numbers: &Numbers, audience: &Audience) -> EventRow {
    let facts = heard.facts();
    let key = event_key(heard);
    let told = events::Told::heard(heard, &key, numbers.find(heard).map(String::as_str));
    let end = match &heard.event {
        Event::Terminate(end) => {
            let told = serde_json::to_string(&Told::from(&**end)).ok();
            numbers.find(heard).zip(told).map(|(number, told)| EndRow {
                number: number.clone(),
                wacid: end.wacid.clone(),
                told,
            })
        }
        Event::Connect(_)
        | Event::Status { .. }
        | Event::Created { .. }
        | Event::Permission { .. }
        | Event::Message { .. }
        | Event::Account { .. }
        | Event::Settings
        | Event::Errors(_)
        | Event::Unknown { .. } => None,
    };
    EventRow {
        event: key,
        told: told.map(|told| audience.rows(&told)).unwrap_or_default(),
        names: facts.as_ref().and_then(|facts| both_names(&facts.customer)),
        fact: facts.zip(numbers.find(heard)).and_then(|(facts, number)| fact(number, facts)),
        end,
        complaints: complaints(heard, numbers),
    }
}

/// What an event says against numbers of ours.
fn complaints(heard: &Heard, numbers: &Numbers) -> Vec<ComplaintRow> {
    let complaint = |number: &str, kind: &str, n: usize| ComplaintRow {
        complaint: format!("{}/{n}/{number}", event_key(heard)),
        number: number.to_owned(),
        customer: None,
        kind: kind.to_owned(),
        source: "webhook".to_owned(),
        moment: heard.at,
        until: None,
        blames: false,
        call: None,
    };
    match &heard.event {
        // What the customer takes back or declines; it counts if that is soon after a call. Not what Meta ends by itself.
        Event::Permission { customer, reply: Reply::Reject { automatic: false }, .. } => {
            let revoked = numbers.find(heard).zip(names(customer)).map(|(number, (customer, _))| {
                ComplaintRow { customer: Some(customer), blames: true, ..complaint(number, "revoked", 0) }
            });
            revoked.into_iter().collect()
        }
        // Meta does not say which numbers of the account these are: all of ours that may be.
        Event::Account { details, .. } => details
            .iter()
            .enumerate()
            .filter(|(_, (what, _))| what.contains("BUSINESS_INITIATED_CALLING"))
            .flat_map(|(n, (_, until))| {
                let kind = if until.is_some() { "restriction" } else { "warning" };
                let row = move |number: &String| ComplaintRow { until: *until, ..complaint(number, kind, n) };
                numbers.may_be_of(&heard.account).map(row)
            })
            .collect(),
        Event::Terminate(end) => {
            let of = numbers.find(heard).zip(names(&end.customer));
            let Some((number, (customer, _))) = of else { return Vec::new() };
            let row = |(n, what): (usize, &Complaint)| ComplaintRow {
                customer: Some(customer.clone()),
                source: "provider".to_owned(),
                blames: true,
                ..complaint(number, what.word(), n)
            };
            end.complaints.iter().enumerate().map(row).collect()
        }
        Event::Permission { .. }
        | Event::Connect(_)
        | Event::Status { .. }
        | Event::Created { .. }
        | Event::Message { .. }
        | Event::Settings
        | Event::Errors(_)
        | Event::Unknown { .. } => Vec::new(),
    }
}

fn fact(number: &str, facts: Facts) -> Option<FactRow> {
    let Facts { customer, id, fact } = facts;
    Some(FactRow {
        number: number.to_owned(),
        customer: names(&customer)?.0,
        fact: id.0,
        telling: serde_json::to_string(&fact).ok()?,
        moment: fact.at(),
    })
}

/// What the bridge itself did with a pair.
pub(super) fn note(note: Note) -> Option<FactRow> {
    let Note { number, customer, id, fact: it } = note;
    fact(&number, Facts { customer, id: FactId(id), fact: it })
}

/// The names a customer is kept under: both, or one twice; none for nobody.
pub(crate) fn names(customer: &Customer) -> Option<(String, String)> {
    let number = customer.wa_id.as_ref().map(|id| format!("wa:{}", id.reveal()));
    let user = customer.user_id.as_ref().map(|id| format!("id:{}", id.reveal()));
    let one = number.clone().or_else(|| user.clone())?;
    let other = user.unwrap_or_else(|| one.clone());
    Some((one, other))
}

fn both_names(customer: &Customer) -> Option<(String, String)> {
    names(customer).filter(|(one, other)| one != other)
}

/// A record with what it tells of its pair.
pub(super) fn record(cdr: &Cdr, written: Wall, audience: &Audience) -> Result<CdrRow, serde_json::Error> {
    let facts = &cdr.facts;
    let customer =
        Customer::of_fields(facts.customer.reveal(), facts.user_id.as_ref().map(|id| id.reveal().as_str()));
    let told = told_by(cdr).into_iter().filter_map(|(id, telling)| {
        fact(&facts.number, Facts { customer: customer.clone(), id: FactId(id), fact: telling })
    });
    Ok(CdrRow {
        call: cdr.call.to_string(),
        number: facts.number.clone(),
        customer: facts.customer.reveal().clone(),
        wacid: facts.wacid.clone(),
        direction: word(&cdr.direction)?,
        cause: cdr.termination.cause.word().to_owned(),
        began: cdr.began,
        written,
        record: serde_json::to_string(cdr)?,
        facts: told.collect(),
        names: both_names(&customer),
        who: names(&customer).map(|(one, _)| one),
        answered: cdr.answered,
        connected_ms: cdr.duration_ms,
        use_case: facts.use_case.clone(),
        country: facts.country.clone(),
        recording_bytes: cdr.recording.as_ref().map_or(0, |recording| recording.bytes),
        cost: cdr.cost.as_ref().map(serde_json::to_string).transpose()?,
        reached: reached(cdr),
        attempt: attempt(cdr),
        told: audience.rows(&events::Told::ended(cdr)),
    })
}

/// A request of a campaign.
pub(super) fn request(requested: Requested) -> RequestRow {
    let Requested { id, campaign, at, contact } = requested;
    RequestRow { request: id.to_string(), campaign, moment: at, cold: contact == Contact::Cold }
}

/// What a call says of its number's quality.
fn attempt(cdr: &Cdr) -> Option<Attempt> {
    let rang = match outcome(cdr)? {
        Outcome::Failed => false,
        Outcome::Missed | Outcome::Connected => cdr.direction == Direction::BusinessInitiated,
    };
    rang.then(|| Attempt {
        short: cdr.answered.is_some() && cdr.duration_ms < SHORT_S * 1_000,
        blamable: cdr.ended.after(std::time::Duration::from_secs(BLAME_MINUTES * 60)),
    })
}

/// What a call of ours tells the permission ledger. Where WhatsApp's id of the call is known, the webhook that tells of
/// the same call tells the same fact.
fn told_by(cdr: &Cdr) -> Vec<(String, Fact)> {
    let id = |what: &str| match &cdr.facts.wacid {
        Some(wacid) => format!("{what}:{wacid}"),
        None => format!("{what}:call:{}", cdr.call),
    };
    if cdr.direction == Direction::UserInitiated {
        // The webhook that asked for it told whether it was a tap on a button or a call.
        if cdr.ingress == Ingress::ProviderUri {
            return Vec::new();
        }
        return vec![(id("phoned"), Fact::Phoned { at: cdr.began })];
    }
    if cdr.termination.cause == Cause::NoPermission {
        // Meta's own word, which overrules whatever was told before.
        let observed = Fact::Observed {
            at: cdr.ended,
            verdict: Verdict::None,
            no_request_before: None,
            no_call_before: None,
        };
        return vec![(format!("refused:call:{}", cdr.call), observed)];
    }
    let Some(outcome) = outcome(cdr) else { return Vec::new() };
    let mut told = vec![(id("called"), Fact::Called { at: cdr.answered.unwrap_or(cdr.began), outcome })];
    let early = cdr.answered.is_some() && cdr.duration_ms <= EARLY_S * 1_000;
    if early && cdr.termination.by == EndedBy::Customer {
        told.push((id("early"), Fact::HungUpEarly { at: cdr.ended }));
    }
    told
}

/// Whether Meta heard of a call. Of one that was cut off this is not known, and it counts.
fn reached(cdr: &Cdr) -> bool {
    let customers = |leg: u8| cdr.legs.iter().any(|it| it.index == leg && it.side == Side::Meta);
    let called = cdr
        .timeline
        .entries()
        .iter()
        .any(|entry| entry.what == Milestone::Dialled && entry.leg.is_some_and(customers));
    let told =
        matches!(cdr.termination.cause, Cause::NoPermission | Cause::RefusedByMeta | Cause::Interrupted);
    called || told || cdr.answered.is_some() || cdr.facts.wacid.is_some()
}

/// What became of a business-initiated call; none if Meta never heard of it.
fn outcome(cdr: &Cdr) -> Option<Outcome> {
    // A call that the bridge placed has the customer at its first leg.
    let first = cdr.legs.first().is_some_and(|leg| leg.side == Side::Meta);
    let customer = |what: Milestone| {
        cdr.timeline.entries().iter().any(|entry| entry.leg == Some(0) && entry.what == what)
    };
    match cdr.termination.cause {
        _ if cdr.answered.is_some() => Some(Outcome::Connected),
        _ if first && customer(Milestone::Answered) => Some(Outcome::Connected),
        _ if first && !customer(Milestone::Dialled) => None,
        Cause::Busy | Cause::Declined | Cause::NoAnswer | Cause::Cancelled => Some(Outcome::Missed),
        Cause::RefusedByMeta => Some(Outcome::Failed),
        Cause::Success
        | Cause::NoPermission
        | Cause::Unreachable
        | Cause::Refused
        | Cause::IncompatibleMedia
        | Cause::MediaTimeout
        | Cause::SignallingLost
        | Cause::TooLong
        | Cause::Shutdown
        // Whether the customer's phone rang is not known: Meta's webhook tells, where there is one.
        | Cause::Fault
        | Cause::Interrupted => None,
    }
}

/// The word that serde gives a value.
fn word(value: &impl serde::Serialize) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_value(value)?.as_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use setu_model::{LegRecord, Termination};
    use setu_whatsapp::webhook::read;

    use super::*;
    use crate::config::EventKind;
    use crate::durable::tests::cdr;

    fn numbers() -> Numbers {
        Numbers {
            by_id: [("106".to_owned(), "+911".to_owned())].into(),
            ours: ["+911".to_owned(), "+912".to_owned(), "+913".to_owned()].into(),
            accounts: [("+913".to_owned(), "another".to_owned())].into(),
        }
    }

    fn rows(metadata: &str, message: &str) -> DeliveryRow {
        let body = format!(
            r#"{{"entry":[{{"id":"w","changes":[{{"field":"messages","value":{{"metadata":{metadata},"messages":[{message}]}}}}]}}]}}"#
        );
        let heard = read(None, body.as_bytes(), Wall::from_unix_ms(1_760_700_000_000)).unwrap();
        let (taken, _) = tokio::sync::oneshot::channel();
        let body = body.into_bytes().into();
        let audience = Audience(vec![("crm".to_owned(), EventKind::USUAL.into())]);
        delivery(
            &Delivery { kind: None, body, received: Wall::from_unix_ms(1_760_700_000_000), heard, taken },
            &numbers(),
            &audience,
        )
    }

    #[test]
    fn a_fact_is_kept_for_the_number_that_its_id_or_display_names_and_for_no_other() {
        let message = r#"{"from":"919876543210","id":"m1","timestamp":"1760681600"}"#;
        let number =
            |metadata| rows(metadata, message).events[0].fact.as_ref().map(|fact| fact.number.clone());
        assert_eq!(
            number(r#"{"phone_number_id":"106","display_phone_number":"+9199XX"}"#).as_deref(),
            Some("+911")
        );
        assert_eq!(number(r#"{"display_phone_number":"+91 2"}"#), None);
        assert_eq!(number(r#"{"phone_number_id":"107"}"#), None);
        assert_eq!(number(r#"{"display_phone_number":"+913"}"#), None, "it is another account's");
    }

    #[test]
    fn an_account_with_numbers_tells_of_no_others() {
        let numbers = numbers();
        let of = |account| numbers.may_be_of(account).map(String::as_str).collect::<Vec<_>>();
        assert_eq!(of("another"), ["+913"]);
        assert_eq!(of("w"), ["+911", "+912"]);
    }

    #[test]
    fn both_names_of_a_customer_are_kept_where_one_message_tells_both() {
        let both = r#"{"from":"919876543210","from_user_id":"IN.1","id":"m1","timestamp":"1760681600"}"#;
        let row = &rows(r#"{"phone_number_id":"106"}"#, both).events[0];
        assert_eq!(row.names, Some(("wa:919876543210".to_owned(), "id:IN.1".to_owned())));
        assert_eq!(row.event, "w/106/message:m1");
        let one = r#"{"from":"919876543210","id":"m1","timestamp":"1760681600"}"#;
        assert_eq!(rows(r#"{"phone_number_id":"106"}"#, one).events[0].names, None);
    }

    #[test]
    fn a_permission_is_told_to_who_wants_it_and_its_id_says_nothing_of_the_customer() {
        let reply = r#"{"from":"919876543210","id":"m1","timestamp":"1760681600","type":"interactive","interactive":{
            "type":"call_permission_reply","call_permission_reply":{"response":"accept","is_permanent":true,
            "response_source":"user_action"}}}"#;
        let row = rows(r#"{"phone_number_id":"106"}"#, reply).events.remove(0);
        let [told] = row.told.as_slice() else { panic!("{row:?}") };
        assert_eq!((told.endpoint.as_str(), told.kind.as_str()), ("crm", "permission.changed"));
        assert!(!told.id.contains("9198"), "{}", told.id);
        let payload: serde_json::Value = serde_json::from_str(&told.payload).unwrap();
        assert_eq!(payload["type"], "permission.changed");
        assert_eq!(payload["timestamp"], "2025-10-17T06:13:20.000Z");
        assert_eq!(
            (&payload["data"]["number"], &payload["data"]["reply"]["answer"]),
            (&"+911".into(), &"accept".into())
        );
        assert_eq!(rows(r#"{"phone_number_id":"107"}"#, reply).events[0].told, []);
    }

    #[test]
    fn a_revocation_blames_and_metas_warning_is_about_every_number_of_ours() {
        let body = |field: &str, value: &str| {
            format!(r#"{{"entry":[{{"id":"w","changes":[{{"field":"{field}","value":{value}}}]}}]}}"#)
        };
        let said = |body: &str| {
            let heard = read(None, body.as_bytes(), Wall::from_unix_ms(0)).unwrap();
            let rows = heard.iter().flat_map(|heard| complaints(heard, &numbers()));
            rows.map(|row| (row.number, row.kind, row.until.is_some(), row.blames)).collect::<Vec<_>>()
        };
        let reply = |reply: &str| {
            body(
                "messages",
                &format!(
                    r#"{{"metadata":{{"phone_number_id":"106"}},"messages":[{{"from":"919876543210","id":"m1","timestamp":"1",
                "type":"interactive","interactive":{{"type":"call_permission_reply","call_permission_reply":{reply}}}}}]}}"#
                ),
            )
        };
        let row =
            |number: &str, kind: &str, until, blames| (number.to_owned(), kind.to_owned(), until, blames);
        let revoked = said(&reply(r#"{"response":"reject","response_source":"user_action"}"#));
        assert_eq!(revoked, [row("+911", "revoked", false, true)]);
        assert_eq!(said(&reply(r#"{"response":"reject","response_source":"automatic"}"#)), []);

        let warned = said(&body(
            "account_update",
            r#"{"event":"ACCOUNT_VIOLATION","violation_info":{"violation_type":"LOW_BUSINESS_INITIATED_CALLING_QUALITY"}}"#,
        ));
        assert_eq!(warned, [row("+911", "warning", false, false), row("+912", "warning", false, false)]);
        let restricted = said(&body(
            "account_update",
            r#"{"event":"ACCOUNT_RESTRICTION","restriction_info":[
            {"restriction_type":"RESTRICTED_BUSINESS_INITIATED_CALLING","expiration":"1760681600"},
            {"restriction_type":"RESTRICTED_USER_INITIATED_CALLING_CALL_BUTTON_HIDDEN"}]}"#,
        ));
        assert_eq!(restricted[0], row("+911", "restriction", true, false));
        assert_eq!(restricted.len(), 2);
    }

    #[test]
    fn a_providers_metrics_of_a_call_say_who_blocked_or_reported() {
        let said = |metrics: &str| {
            let body = format!(
                r#"{{"object":"whatsapp_business_calling","entry":[{{"id":"106","changes":[{{"field":"calls","value":{{
                "calls":[{{"id":"c1","direction":"BUSINESS_INITIATED","to":"919876543210","timestamp":"1760681600"{metrics}}}]}}}}]}}]}}"#
            );
            let heard = read(Some("call.terminate"), body.as_bytes(), Wall::from_unix_ms(0)).unwrap();
            let rows = heard.iter().flat_map(|heard| complaints(heard, &numbers()));
            rows.map(|row| (row.number, row.customer, row.kind, row.blames)).collect::<Vec<_>>()
        };
        let row = |kind: &str| ("+911".to_owned(), Some("wa:919876543210".to_owned()), kind.to_owned(), true);
        assert_eq!(said(r#","metrics":{"blocked":true,"reported":false}"#), [row("block")]);
        assert_eq!(said(r#","blocked":true,"reported":true"#), [row("block"), row("report")]);
        assert_eq!(said(r#","metrics":"none""#), []);
        assert_eq!(said(""), []);
    }

    #[test]
    fn a_call_counts_for_its_number_if_the_business_made_it_and_it_rang() {
        let counted = |direction, change: fn(&mut Cdr)| {
            let mut call = cdr(direction);
            change(&mut call);
            record(&call, Wall::from_unix_ms(0), &Audience::default())
                .unwrap()
                .attempt
                .map(|it| (it.short, it.blamable.unix_ms()))
        };
        let talked = |ms: u64| {
            move |call: &mut Cdr| {
                (call.answered, call.duration_ms) = (Some(Wall::from_unix_ms(0)), ms);
            }
        };
        assert_eq!(counted(Direction::BusinessInitiated, |_| {}), Some((false, 1_800_000)));
        assert_eq!(counted(Direction::UserInitiated, |_| {}), None);
        assert_eq!(
            counted(Direction::BusinessInitiated, |call| call.termination.cause = Cause::RefusedByMeta),
            None
        );
        for (ms, short) in [(9_999, true), (10_000, false)] {
            let mut call = cdr(Direction::BusinessInitiated);
            talked(ms)(&mut call);
            assert_eq!(
                record(&call, Wall::from_unix_ms(0), &Audience::default()).unwrap().attempt.unwrap().short,
                short
            );
        }
    }

    /// A dialler whose agents do not answer must not use up the number's calls of the day.
    #[test]
    fn a_call_counts_for_metas_limits_once_meta_heard_of_it() {
        let reached = |side, what, change: fn(&mut Cdr)| {
            let mut call = cdr(Direction::BusinessInitiated);
            call.legs = vec![LegRecord { index: 1, side, codec: None, srtp: None, media: None }];
            call.timeline.push(0, Some(1), what);
            change(&mut call);
            record(&call, Wall::from_unix_ms(0), &Audience::default()).unwrap().reached
        };
        let only = |change| reached(Side::Agents, Milestone::Dialled, change);
        assert!(!only(|_| {}), "only an agent rang");
        assert!(reached(Side::Meta, Milestone::Dialled, |_| {}));
        assert!(!reached(Side::Meta, Milestone::Offered, |_| {}));
        assert!(only(|call| call.termination.cause = Cause::RefusedByMeta));
        assert!(only(|call| call.termination.cause = Cause::Interrupted), "nobody knows");
        assert!(only(|call| call.facts.wacid = Some("wacid.1".to_owned())));
        assert!(only(|call| call.answered = Some(Wall::from_unix_ms(0))));
    }

    fn told(change: impl FnOnce(&mut Cdr)) -> Vec<(String, String)> {
        let mut call = cdr(Direction::BusinessInitiated);
        change(&mut call);
        let row = record(&call, Wall::from_unix_ms(0), &Audience::default()).unwrap();
        row.facts.into_iter().map(|fact| (fact.fact, fact.telling)).collect()
    }

    #[test]
    fn a_call_of_ours_tells_the_ledger_what_became_of_it() {
        let ended = |cause, by| move |call: &mut Cdr| call.termination = Termination::new(cause, by);
        let missed = told(ended(Cause::NoAnswer, EndedBy::Bridge));
        assert!(missed[0].0.starts_with("called:call:") && missed[0].1.contains("missed"), "{missed:?}");
        assert_eq!(told(ended(Cause::Refused, EndedBy::Bridge)), []);
        assert!(told(ended(Cause::RefusedByMeta, EndedBy::Customer))[0].1.contains("failed"));
        assert!(told(ended(Cause::NoPermission, EndedBy::Customer))[0].1.contains("observed"));

        // The customer's leg of a placed call comes first, and may never have been called.
        let placed = |what: &[Milestone]| {
            let what = what.to_vec();
            told(move |call| {
                let leg = LegRecord { index: 0, side: Side::Meta, codec: None, srtp: None, media: None };
                call.legs = vec![leg];
                what.iter().for_each(|what| call.timeline.push(0, Some(0), *what));
            })
        };
        assert_eq!(placed(&[Milestone::Offered]), []);
        assert!(placed(&[Milestone::Dialled])[0].1.contains("missed"));
        assert!(placed(&[Milestone::Dialled, Milestone::Answered])[0].1.contains("connected"));

        let early = told(|call| {
            (call.answered, call.duration_ms) = (Some(Wall::from_unix_ms(0)), 5_000);
            call.facts.wacid = Some("wacid.1".to_owned());
            call.termination = Termination::new(Cause::Success, EndedBy::Customer);
        });
        let ids: Vec<_> = early.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["called:wacid.1", "early:wacid.1"]);
    }
}

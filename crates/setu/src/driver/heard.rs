//! What webhooks tell: whose number it is about, and what follows.

use std::collections::BTreeMap;
use std::time::Duration;

use setu_call::{AnswerIn, EndHow, LegEvent, Offered, Origin};
use setu_model::{CallFacts, CallId, Cause, Direction, EndedBy, Ingress, LegId, Now, Termination, Wall};
use setu_whatsapp::permission::Reply;
use setu_whatsapp::webhook::{Connect, Event, Heard, SessionKind, Terminate};

use super::Shard;
use super::awaited::Awaited;
use super::graph::Told;
use super::reach::{Reach, Waiting};
use super::told::Beginning;

impl Shard {
    /// Takes what a webhook told. Each event may come several times, in any order.
    pub(super) fn heard(&mut self, heard: Heard, now: Now) {
        let number = self.number_of(&heard);
        let Heard { account, number_id, at, event, .. } = heard;
        let word = event.word();
        if let Event::Account { details, .. } = &event {
            restricted(&account, details);
        }
        match (number, event) {
            (_, Event::Settings) => {
                tracing::info!(account, %at, "settings of a number changed at Meta: setu provision says whether they differ");
            }
            (None, Event::Account { .. } | Event::Errors(_) | Event::Unknown { .. }) => {
                tracing::debug!(account, event = word, %at, "an event of the account");
            }
            (None, _) => {
                tracing::warn!(
                    account,
                    number_id,
                    event = word,
                    "a webhook is about a number that is not configured: add it, or its phone_number_id"
                );
            }
            (Some(number), event) => {
                tracing::debug!(number, event = word, %at, "a webhook tells");
                self.follow(&number, event, at, now);
            }
        }
    }

    /// Does what an event of a number asks for.
    fn follow(&mut self, number: &str, event: Event, at: Wall, now: Now) {
        let by_graph = self.settings.graph.contains_key(number);
        match event {
            Event::Connect(connect) => match self.is_late(&connect, at, now) {
                Some(late_s) if connect.sip.is_some() || by_graph => {
                    self.expired(number, *connect, late_s, now)
                }
                None if by_graph && connect.session.is_some() => self.graph_offered(number, *connect, now),
                Some(_) | None => self.connect_told(number, *connect, now),
            },
            Event::Terminate(end) if self.is_graph_call(number, &end.wacid) => {
                self.graph_told(number, end.wacid.clone(), Told::End(end), now);
            }
            Event::Terminate(end) if by_graph && end.direction == Some(Direction::BusinessInitiated) => {
                self.graph_told(number, end.wacid.clone(), Told::End(end), now);
            }
            Event::Terminate(end) => {
                if let Some((leg, end)) = self.told.end(number, *end) {
                    self.terminate_told(leg, end, now);
                }
            }
            Event::Status { wacid, status, .. } if by_graph => {
                self.graph_told(number, wacid, Told::Status(status), now);
            }
            Event::Permission { customer, reply: Reply::Reject { .. }, .. } => {
                self.declined(number, &customer, at, now);
            }
            Event::Status { .. }
            | Event::Created { .. }
            | Event::Permission { .. }
            | Event::Message { .. }
            | Event::Account { .. }
            | Event::Settings
            | Event::Errors(_)
            | Event::Unknown { .. } => {}
        }
    }

    /// By how many seconds the beginning of a call is told too late, if it is.
    fn is_late(&self, connect: &Connect, at: Wall, now: Now) -> Option<u64> {
        let late = now.wall.unix_ms().saturating_sub(at.unix_ms());
        let late = Duration::from_millis(u64::try_from(late).ok()?);
        // A provider whose moments are older than anything that is delivered again tells no moments: the example of one is.
        let untold = connect.sip.is_some() && late > DELIVERED_AGAIN;
        (late > self.settings.connect_within + SKEW && !untold).then_some(late.as_secs())
    }

    /// A call is told of whose customer has given up long ago: nobody is rung, and its record says why.
    fn expired(&mut self, number: &str, connect: Connect, late_s: u64, now: Now) {
        tracing::warn!(number, wacid = connect.wacid, late_s, "a call that is long over is not taken");
        // An answer to a call of ours that waits no more.
        if connect.session.as_ref().is_some_and(|session| session.kind == SessionKind::Answer) {
            return;
        }
        let call = CallId::new(now.wall, &mut *self.entropy);
        if self.told.begin(number, &connect.wacid, LegId::originator(call)) == Beginning::Again {
            return;
        }
        let offered = Box::new(Offered {
            call,
            ingress: if connect.session.is_some() { Ingress::Graph } else { Ingress::ProviderUri },
            direction: connect.direction,
            origin: Origin::Meta { number: number.to_owned() },
            dialled: String::new(),
            facts: connect.facts(number),
            offer: None,
            answer_in: AnswerIn::OneStep,
        });
        let why = format!("expired: a webhook told of the call {late_s} s after the customer made it");
        let end = Termination::new(Cause::Refused, EndedBy::Bridge).with_status(480).with_detail(why);
        self.calls.handle(setu_call::Input::TurnedAway { offered, began: now, end }, now);
    }

    /// A customer waits at a URI: somebody is to take the call, and the customer is reached there.
    fn connect_told(&mut self, number: &str, connect: Connect, now: Now) {
        let Some(uri) = &connect.sip else {
            tracing::warn!(
                number,
                wacid = connect.wacid,
                "a call comes by Graph and is not taken: say signalling = \"graph\" for the number, or enable SIP with Meta"
            );
            return;
        };
        let mut facts = connect.facts(number);
        let awaited = self.awaits(number, facts.customer.reveal());
        let fresh = || LegId::originator(CallId::new(now.wall, &mut *self.entropy));
        let leg = awaited.unwrap_or_else(fresh);
        let late = match self.told.begin(number, &connect.wacid, leg) {
            Beginning::New => None,
            Beginning::Late(end) => Some(end),
            Beginning::Again => return,
        };
        let call = leg.call;
        let mut origin = Origin::Waiting { number: number.to_owned() };
        let reach = Waiting::new(uri, &self.settings.sip_hosts, number, &connect.wacid);
        match self.take_awaited(call) {
            // Somebody dialled, and waits for it.
            Some(Awaited { dialled: Some(dialled), .. }) => {
                self.allowed(dialled, facts, reach, now);
                if let Some(end) = late {
                    self.terminate_told(leg, *end, now);
                }
                return;
            }
            Some(Awaited { facts: CallFacts { use_case, payload, queue, reference, .. }, .. }) => {
                facts = CallFacts { use_case, payload, queue, reference, ..facts };
                // The gate was asked when it was ordered.
                origin = Origin::Meta { number: number.to_owned() };
            }
            None => {}
        }
        let offered = Offered {
            call,
            ingress: Ingress::ProviderUri,
            direction: connect.direction,
            origin,
            dialled: String::new(),
            facts,
            offer: None,
            answer_in: AnswerIn::OneStep,
        };
        let refused = match reach {
            Ok(reach) => {
                self.reaches.insert(leg, Reach::At(reach));
                None
            }
            Err(why) => Some(why),
        };
        self.calls.handle(setu_call::Input::Offered(Box::new(offered)), now);
        if let Some(why) = refused {
            tracing::warn!(%call, number, why, "a webhook names a URI that is not dialled");
            self.not_dialled(leg, (403, 403), Cause::Refused, Some(why), now);
        } else if let Some(end) = late {
            self.terminate_told(leg, *end, now);
        }
    }

    /// The other side says that a call is over; its SIP session may say so as well, before or after.
    fn terminate_told(&mut self, leg: LegId, end: Terminate, now: Now) {
        let how: EndHow = self.leave_customer(leg, now);
        let detail = end.why();
        let Terminate { wacid, duration_s: meta_duration_s, .. } = end;
        let event = LegEvent::Ended { leg, how, wacid: Some(wacid), meta_duration_s, detail };
        self.calls.handle(setu_call::Input::Leg(event), now);
    }

    /// The configured number an event is about: by Meta's id of it, or as displayed.
    fn number_of(&self, heard: &Heard) -> Option<String> {
        let by_id = self.settings.number_ids.get(&heard.number_id);
        let displayed =
            heard.number.as_ref().filter(|number| self.settings.calls.numbers.contains_key(*number));
        let ours = |number: &&String| {
            may_tell(&self.settings.accounts, number, &heard.account)
                // A provider names the number in its place.
                || heard.account == heard.number_id
        };
        by_id.or(displayed).filter(ours).cloned()
    }
}

/// Whether an account may tell of a number: of its own ones, and an account that has none here of those that are no account's.
pub(crate) fn may_tell(accounts: &BTreeMap<String, String>, number: &str, account: &str) -> bool {
    match accounts.get(number) {
        Some(own) => own == account,
        None => !accounts.values().any(|known| known == account),
    }
}

/// Tells the operator what Meta says of the account's calls. What follows is in the store by now: the gate reads it there.
fn restricted(account: &str, details: &[(String, Option<Wall>)]) {
    for (kind, until) in details.iter().filter(|(kind, _)| kind.contains("BUSINESS_INITIATED_CALLING")) {
        match until {
            Some(until) => tracing::warn!(account, kind, %until, "Meta restricts business-initiated calls"),
            None => tracing::warn!(account, kind, "Meta warns of business-initiated calls"),
        }
    }
}

/// How far Meta's or a provider's clock and ours may differ.
const SKEW: Duration = Duration::from_secs(60);

/// How long Meta delivers again what was not acknowledged.
pub(crate) const DELIVERED_AGAIN: Duration = Duration::from_secs(7 * 24 * 3_600);

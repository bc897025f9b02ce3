//! What is told, in which words and to whom. Pure.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use setu_call::{Progress, Step};
use setu_control::NumberQuality;
use setu_model::{Cdr, Wall};
use setu_store::{OutboxRow, digest};
use setu_whatsapp::quality::Light;
use setu_whatsapp::webhook::{Event, Heard};

use crate::config::EventKind;

impl EventKind {
    /// Every kind but the keys, which may be those of a card number: what an endpoint is told that names none.
    pub(crate) const USUAL: [Self; 7] = [
        Self::CallOffered,
        Self::CallRinging,
        Self::CallAnswered,
        Self::CallEnded,
        Self::CdrRevised,
        Self::PermissionChanged,
        Self::QualityChanged,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::CallOffered => "call.offered",
            Self::CallRinging => "call.ringing",
            Self::CallAnswered => "call.answered",
            Self::CallDigit => "call.digit",
            Self::CallEnded => "call.ended",
            Self::CdrRevised => "cdr.revised",
            Self::PermissionChanged => "permission.changed",
            Self::QualityChanged => "quality.changed",
        }
    }
}

/// Who is told what.
#[derive(Debug, Clone, Default)]
pub(crate) struct Audience(pub(crate) Vec<(String, BTreeSet<EventKind>)>);

impl Audience {
    /// The rows of an event: one for each endpoint that wants it.
    pub(crate) fn rows(&self, told: &Told) -> Vec<OutboxRow> {
        let wants = |(_, kinds): &&(String, BTreeSet<EventKind>)| kinds.contains(&told.kind);
        let row = |(name, _): &(String, BTreeSet<EventKind>)| OutboxRow {
            endpoint: name.clone(),
            id: told.id.clone(),
            stream: told.stream.clone(),
            kind: told.kind.word().to_owned(),
            payload: told.payload(),
            made: told.at,
        };
        self.0.iter().filter(wants).map(row).collect()
    }
}

/// One event. Its id follows from what it tells, so that telling it again makes no second one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    kind: EventKind,
    id: String,
    /// Events of one stream are delivered one after the other: those of a call, and of a customer.
    stream: String,
    at: Wall,
    data: Value,
}

impl Told {
    /// A call has come a step further.
    pub(crate) fn progress(progress: &Progress) -> Self {
        let Progress { call, step, at, direction, ingress, facts, agent } = progress;
        let mut data = json!({
            "call": call, "direction": direction, "ingress": ingress, "facts": facts, "agent": agent,
        });
        let (kind, id) = match step {
            Step::Offered => (EventKind::CallOffered, format!("{call}.offered")),
            Step::Ringing => (EventKind::CallRinging, format!("{call}.ringing")),
            Step::Answered => (EventKind::CallAnswered, format!("{call}.answered")),
            Step::Key(key) => {
                if let Some(data) = data.as_object_mut() {
                    data.insert("key".to_owned(), json!(key));
                }
                (EventKind::CallDigit, format!("{call}.digit.{}.{}", key.from, key.at_ms))
            }
        };
        Self { kind, id, stream: call.to_string(), at: *at, data }
    }

    /// A call is over.
    pub(crate) fn ended(cdr: &Cdr) -> Self {
        Self {
            kind: EventKind::CallEnded,
            id: format!("{}.ended", cdr.call),
            stream: cdr.call.to_string(),
            at: cdr.ended,
            data: json!(cdr),
        }
    }

    /// Something became known of a call, from `source`.
    pub(crate) fn revised(call: &str, source: &str, at: Wall, record: &Value) -> Self {
        Self {
            kind: EventKind::CdrRevised,
            id: format!("{call}.revised.{source}"),
            stream: call.to_owned(),
            at,
            data: json!({ "call": call, "source": source, "record": record }),
        }
    }

    /// A number's light is another than it was when it was looked at before.
    pub(crate) fn light(before: Light, now: &NumberQuality, at: Wall) -> Self {
        let mut data = json!(now);
        if let Some(data) = data.as_object_mut() {
            data.insert("before".to_owned(), json!(before.word()));
        }
        Self {
            kind: EventKind::QualityChanged,
            id: format!("quality.changed.{}", digest(&[now.number.as_bytes(), at.to_string().as_bytes()])),
            stream: now.number.clone(),
            at,
            data,
        }
    }

    /// What is told of an event of a webhook about a number, if anything; `key` is the event's.
    pub(crate) fn heard(heard: &Heard, key: &str, number: Option<&str>) -> Option<Self> {
        let (kind, stream, data) = match &heard.event {
            Event::Permission { customer, reply, context, .. } => {
                let number = number?;
                let wa_id = customer.wa_id.as_ref().map(|id| id.reveal());
                let user_id = customer.user_id.as_ref().map(|id| id.reveal());
                let data = json!({
                    "number": number,
                    "customer": { "wa_id": wa_id, "user_id": user_id },
                    "reply": reply,
                    "in_answer_to": context,
                });
                let one = wa_id.or(user_id)?;
                (EventKind::PermissionChanged, format!("{number}/{one}"), data)
            }
            Event::Account { event, details } => {
                let detail = |(kind, until): &(String, Option<Wall>)| json!({ "kind": kind, "until": until });
                let details: Vec<_> = details.iter().map(detail).collect();
                let data = json!({ "account": heard.account, "event": event, "details": details });
                (EventKind::QualityChanged, heard.account.clone(), data)
            }
            Event::Connect(_)
            | Event::Terminate(_)
            | Event::Status { .. }
            | Event::Created { .. }
            | Event::Message { .. }
            | Event::Settings
            | Event::Errors(_)
            | Event::Unknown { .. } => return None,
        };
        // The key has a customer's number in it, and an id goes into a header.
        let id = format!("{}.{}", kind.word(), digest(&[key.as_bytes()]));
        Some(Self { kind, id, stream, at: heard.at, data })
    }

    /// As the specification recommends: type, time stamp, data.
    fn payload(&self) -> String {
        json!({ "type": self.kind.word(), "timestamp": self.at, "data": self.data }).to_string()
    }
}

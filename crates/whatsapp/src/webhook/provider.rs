//! The older dialect of providers: one event type a path, `object` is `whatsapp_business_calling`, `entry[].id` is the
//! phone number id, and a call names a SIP URI to dial.

use serde_json::Value;
use setu_model::Direction;

use super::event::{Complaint, Connect, Event, Heard, Terminate};
use super::json::{Source, list, truth, word};
use super::meta::{connect, make, terminate};

pub(super) fn read(kind: &str, source: &Source<'_>, heard: &mut Vec<Heard>) {
    let calls = list(source.value(), "calls");
    match kind {
        "call.connect" | "call.terminate" if !calls.is_empty() => {
            heard.extend(calls.iter().map(|object| call(kind, source, object)));
        }
        // The other event types carry Meta's own fields.
        _ => super::meta::read(source, heard),
    }
    for heard in heard.iter_mut().filter(|heard| heard.number_id.is_empty()) {
        heard.number_id = heard.account.clone();
    }
}

fn call(kind: &str, source: &Source<'_>, object: &Value) -> Heard {
    let at = source.moment(object);
    let Some(wacid) = word(object, "id") else {
        return make(source, at, format!("unknown:{kind}:{at}"), Event::Unknown { field: kind.to_owned() });
    };
    let key = format!("{}:{wacid}", kind.trim_start_matches("call."));
    let event = if kind == "call.connect" {
        let permission_source = word(object, "permission_source");
        // A call that the customer did not begin is one that the business's permission allowed.
        let direction = match permission_source.as_deref() {
            Some("permission_request" | "service_window") => Direction::BusinessInitiated,
            Some(_) | None => Direction::UserInitiated,
        };
        let sip = word(object, "sip");
        Event::Connect(Box::new(Connect {
            direction,
            sip,
            permission_source,
            ..connect(source, object, wacid)
        }))
    } else {
        let end = terminate(source, object, wacid);
        let direction = end.direction;
        let metrics = object.get("metrics").unwrap_or(object);
        let told = [("blocked", Complaint::Block), ("reported", Complaint::Report)];
        let complaints = told.into_iter().filter(|(field, _)| truth(metrics, field) == Some(true));
        let complaints = complaints.map(|(_, complaint)| complaint).collect();
        Event::Terminate(Box::new(Terminate { direction, complaints, ..end }))
    };
    make(source, at, key, event)
}

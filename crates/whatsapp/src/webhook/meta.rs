//! Meta's envelope: `{"object":"whatsapp_business_account","entry":[{"id":..,"changes":[{"field":..,"value":..}]}]}`.

use serde_json::Value;
use setu_model::{Direction, Pii, Wall};

use super::event::{
    CallStatus, Connect, EndStatus, Event, GraphError, Heard, Session, SessionKind, Terminate,
};
use super::json::{Source, list, moment, number, text, truth, word};
use crate::permission::{Customer, Reply};

pub(super) fn read(source: &Source<'_>, heard: &mut Vec<Heard>) {
    let value = source.value();
    let from = heard.len();
    match source.field() {
        "calls" => {
            heard.extend(list(value, "calls").iter().map(|object| call(source, object)));
            heard.extend(list(value, "statuses").iter().map(|object| status(source, object)));
        }
        "messages" => heard.extend(list(value, "messages").iter().map(|object| message(source, object))),
        "account_update" => heard.push(account(source)),
        "account_settings_update" => {
            let kind = word(value, "type").unwrap_or_default();
            let at = source.moment(value);
            heard.push(make(source, at, format!("settings:{kind}:{at}"), Event::Settings));
        }
        _ => {}
    }
    if heard.len() > from {
        return;
    }
    let (field, at) = (source.field().to_owned(), source.moment(value));
    let errors = errors(value);
    heard.push(if errors.is_empty() {
        make(source, at, format!("unknown:{field}:{}", digest(value)), Event::Unknown { field })
    } else {
        make(source, at, format!("errors:{}", digest(value)), Event::Errors(errors))
    });
}

/// Wraps an event with what its envelope tells.
pub(super) fn make(source: &Source<'_>, at: Wall, key: String, event: Event) -> Heard {
    let metadata = source.value().get("metadata").unwrap_or(&Value::Null);
    Heard {
        account: word(source.entry, "id").unwrap_or_default(),
        number_id: word(metadata, "phone_number_id").unwrap_or_default(),
        number: word(metadata, "display_phone_number").and_then(|text| displayed(&text)),
        at,
        key,
        event,
    }
}

fn call(source: &Source<'_>, object: &Value) -> Heard {
    let at = source.moment(object);
    let (Some(wacid), Some(event)) = (word(object, "id"), text(object, "event")) else {
        let field = "calls".to_owned();
        return make(source, at, format!("unknown:calls:{}", digest(object)), Event::Unknown { field });
    };
    let event = event.to_ascii_lowercase();
    let key = format!("{event}:{wacid}");
    let direction = direction(object);
    let read = match event.as_str() {
        "connect" => Event::Connect(Box::new(Connect {
            direction: direction.unwrap_or(Direction::UserInitiated),
            session: session(object),
            ..connect(source, object, wacid)
        })),
        "terminate" => Event::Terminate(Box::new(terminate(source, object, wacid))),
        "call_created" => {
            let customer = customer(source, object);
            Event::Created { wacid, direction, customer }
        }
        _ => Event::Unknown { field: format!("calls.{event}") },
    };
    make(source, at, key, read)
}

/// What the beginnings of calls have in common in both dialects.
pub(super) fn connect(source: &Source<'_>, object: &Value, wacid: String) -> Connect {
    let profile = list(source.value(), "contacts").first().and_then(|contact| contact.get("profile"));
    Connect {
        wacid,
        direction: Direction::UserInitiated,
        customer: customer(source, object),
        name: profile.and_then(|profile| text(profile, "name")).map(|name| Pii::new(name.to_owned())),
        session: None,
        sip: None,
        permission_source: None,
        cta_payload: word(object, "cta_payload"),
        deeplink_payload: word(object, "deeplink_payload"),
        opaque: word(object, "biz_opaque_callback_data"),
    }
}

/// What the ends of calls have in common in both dialects.
pub(super) fn terminate(source: &Source<'_>, object: &Value, wacid: String) -> Terminate {
    // The same errors stand in the call and in the value; either may be missing.
    let own = errors(object);
    Terminate {
        wacid,
        direction: direction(object),
        customer: customer(source, object),
        status: match text(object, "status") {
            Some(status) if status.eq_ignore_ascii_case("failed") => EndStatus::Failed,
            Some(_) | None => EndStatus::Completed,
        },
        started: source.past(object, "start_time"),
        ended: source.past(object, "end_time"),
        duration_s: number(object, "duration").and_then(|seconds| u64::try_from(seconds).ok()),
        cause: word(object, "hangup_cause").or_else(|| word(object, "reason")),
        errors: if own.is_empty() { errors(source.value()) } else { own },
        opaque: word(object, "biz_opaque_callback_data"),
        complaints: Vec::new(),
    }
}

fn status(source: &Source<'_>, object: &Value) -> Heard {
    let at = source.moment(object);
    let told = text(object, "status").unwrap_or_default().to_ascii_uppercase();
    let read = match told.as_str() {
        "RINGING" => Some(CallStatus::Ringing),
        "ACCEPTED" => Some(CallStatus::Accepted),
        "REJECTED" => Some(CallStatus::Rejected),
        _ => None,
    };
    match (read, word(object, "id")) {
        (Some(status), Some(wacid)) => {
            let key = format!("status:{told}:{wacid}");
            let opaque = word(object, "biz_opaque_callback_data");
            make(source, at, key, Event::Status { wacid, status, opaque })
        }
        (None, _) | (_, None) => {
            let field = "calls.statuses".to_owned();
            make(source, at, format!("unknown:statuses:{}", digest(object)), Event::Unknown { field })
        }
    }
}

fn message(source: &Source<'_>, object: &Value) -> Heard {
    let at = source.moment(object);
    let Some(message) = word(object, "id") else {
        let field = "messages".to_owned();
        return make(source, at, format!("unknown:messages:{}", digest(object)), Event::Unknown { field });
    };
    let customer = customer(source, object);
    let reply = object.get("interactive").and_then(|it| it.get("call_permission_reply"));
    let key = format!("message:{message}");
    let Some(reply) = reply else {
        return make(source, at, key, Event::Message { message, customer });
    };
    let context = object.get("context").and_then(|context| word(context, "id"));
    let automatic = text(reply, "response_source") == Some("automatic");
    let event = match text(reply, "response").unwrap_or_default() {
        "accept" => Some(Reply::Accept {
            permanent: truth(reply, "is_permanent").unwrap_or(false),
            expires: moment(reply, "expiration_timestamp"),
            automatic,
            unasked: context.is_none() && !automatic,
        }),
        "reject" => Some(Reply::Reject { automatic }),
        _ => None,
    };
    let event = event.map(|reply| Event::Permission { message, customer, reply, context });
    let field = "messages.call_permission_reply".to_owned();
    make(source, at, key, event.unwrap_or(Event::Unknown { field }))
}

fn account(source: &Source<'_>) -> Heard {
    let value = source.value();
    let event = word(value, "event").unwrap_or_default();
    let mut details = Vec::new();
    if let Some(violation) = value.get("violation_info").and_then(|info| word(info, "violation_type")) {
        details.push((violation, None));
    }
    for restriction in list(value, "restriction_info") {
        if let Some(kind) = word(restriction, "restriction_type") {
            details.push((kind, moment(restriction, "expiration")));
        }
    }
    let at = source.moment(value);
    make(source, at, format!("account:{}", digest(value)), Event::Account { event, details })
}

/// The WhatsApp user of a call or message: the side that is not the business's number.
fn customer(source: &Source<'_>, object: &Value) -> Customer {
    let (side, id) = if direction(object) == Some(Direction::BusinessInitiated) {
        ("to", ["to_user_id", "recipient_user_id"])
    } else {
        ("from", ["from_user_id", "user_id"])
    };
    let contact = list(source.value(), "contacts").first();
    let named = word(object, side).or_else(|| contact.and_then(|contact| word(contact, "wa_id")));
    let user_id = id.iter().find_map(|field| word(object, field));
    let user_id = user_id.or_else(|| contact.and_then(|contact| word(contact, "user_id")));
    Customer::of_fields(&named.unwrap_or_default(), user_id.as_deref())
}

fn direction(object: &Value) -> Option<Direction> {
    match text(object, "direction")?.to_ascii_uppercase().as_str() {
        "USER_INITIATED" => Some(Direction::UserInitiated),
        "BUSINESS_INITIATED" => Some(Direction::BusinessInitiated),
        _ => None,
    }
}

/// `session`, or the older `connection` that connect events may carry beside or instead of it.
fn session(object: &Value) -> Option<Session> {
    if let Some(session) = object.get("session") {
        let sdp = text(session, "sdp")?.to_owned();
        let kind = match text(session, "sdp_type") {
            Some("answer") => SessionKind::Answer,
            Some(_) | None => SessionKind::Offer,
        };
        return Some(Session { kind, sdp });
    }
    let sdp = object.get("connection")?.get("webrtc")?.get("sdp")?.as_str()?;
    // The older form is JSON in a string.
    let inner: Option<Value> = serde_json::from_str(sdp).ok();
    let inner = inner.as_ref().and_then(|inner| Some((text(inner, "sdp")?.to_owned(), text(inner, "type"))));
    let (sdp, kind) = inner.unwrap_or_else(|| (sdp.to_owned(), None));
    let kind = if kind == Some("answer") { SessionKind::Answer } else { SessionKind::Offer };
    Some(Session { kind, sdp })
}

fn errors(object: &Value) -> Vec<GraphError> {
    let read = |error: &Value| {
        let details = error.get("error_data").and_then(|data| word(data, "details"));
        let text = word(error, "message").or_else(|| word(error, "title")).or(details);
        GraphError { code: number(error, "code").unwrap_or(0), text: text.unwrap_or_default() }
    };
    list(object, "errors").iter().map(read).collect()
}

/// The business number as displayed (`+91 99999 00000`), as E.164.
fn displayed(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')')).collect();
    crate::e164(&digits)
}

/// Tells apart two events that have no id of their own.
fn digest(value: &Value) -> String {
    use sha2::Digest;
    let hash = sha2::Sha256::digest(value.to_string().as_bytes());
    hash.iter()
        .take(12)
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|n| char::from_digit(n.into(), 16))
        .collect()
}

//! Webhooks in Meta's envelope.

use serde_json::{Value, json};
use setu_model::{Direction, Now};

use super::asks::UNPAID;
use super::call::Call;
use super::config::GraphNumber;
use super::edge::{GraphEdge, Outgoing};
use super::permissions::Permit;

impl GraphEdge {
    /// A user's call begins, with our offer.
    pub(super) fn tell_offer(&mut self, call: &Call, offer: &str, now: Now) {
        let mut object = self.call_object(call, "connect", now);
        object["session"] = json!({"sdp_type": "offer", "sdp": offer});
        if self.config.habits.legacy_connection {
            let inner = json!({"type": "offer", "sdp": offer}).to_string();
            object["connection"] = json!({"webrtc": {"sdp": inner}});
        }
        if let Some(payload) = &call.cta_payload {
            object["cta_payload"] = json!(payload);
        }
        let contacts = json!([{"profile": {"name": call.name}, "wa_id": digits(&call.report.user)}]);
        self.send(call, json!({"contacts": contacts, "calls": [object]}));
    }

    /// Our answer to the business's offer.
    pub(super) fn tell_answer(&mut self, call: &Call, answer: &str, now: Now) {
        let mut object = self.call_object(call, "connect", now);
        object["session"] = json!({"sdp_type": "answer", "sdp": answer});
        self.send(call, json!({"calls": [object]}));
    }

    pub(super) fn tell_status(&mut self, call: &Call, status: &str, now: Now) {
        let object = json!({
            "id": call.wacid,
            "timestamp": seconds(now),
            "type": "call",
            "status": status,
            "recipient_id": digits(&call.report.user),
        });
        self.send(call, json!({"statuses": [object]}));
    }

    /// A call is over; `error` if it failed.
    pub(super) fn tell_end(&mut self, call: &Call, error: Option<(i64, &str)>, now: Now) {
        let mut object = self.call_object(call, "terminate", now);
        object["status"] = json!(if error.is_some() { "FAILED" } else { "COMPLETED" });
        if let Some(answered) = call.answered {
            object["start_time"] = json!(seconds(answered));
            object["end_time"] = json!(seconds(now));
            object["duration"] = json!(now.mono.saturating_duration_since(answered.mono).as_secs());
        }
        let mut value = json!({});
        if let Some((code, text)) = error {
            let errors =
                json!([{"code": code, "title": text, "message": text, "error_data": {"details": text}}]);
            object["errors"] = errors.clone();
            value["errors"] = errors;
        }
        value["calls"] = json!([object]);
        self.send(call, value);
    }

    /// A user's permission changed: by a reply to the request with this id, or by itself.
    pub(super) fn tell_reply(
        &mut self,
        number: &GraphNumber,
        user: &str,
        permit: Permit,
        request: Option<&str>,
        now: Now,
    ) {
        let source = if request.is_some() { "user_action" } else { "automatic" };
        let mut reply = json!({"response": "accept", "response_source": source});
        match permit {
            Permit::No => reply["response"] = json!("reject"),
            Permit::Permanent => reply["is_permanent"] = json!(true),
            Permit::Until(end) => {
                reply["is_permanent"] = json!(false);
                reply["expiration_timestamp"] = json!((end.unix_ms() / 1_000).to_string());
            }
        }
        let mut message = json!({
            "from": digits(user),
            "id": format!("wamid.{}", self.entropy.hex(16)),
            "timestamp": seconds(now),
            "type": "interactive",
            "interactive": {"type": "call_permission_reply", "call_permission_reply": reply},
        });
        if let Some(id) = request {
            message["context"] = json!({"from": digits(&number.number), "id": id});
        }
        let contacts = json!([{"profile": {"name": "Asha"}, "wa_id": digits(user)}]);
        let value = json!({"contacts": contacts, "messages": [message]});
        self.send_of(number, "messages", None, value);
    }

    /// A user's call did not come through: the business cannot pay.
    pub(super) fn tell_unpaid(&mut self, number: &GraphNumber, now: Now) {
        let errors =
            json!([{"code": 131_044, "title": UNPAID, "message": UNPAID, "error_data": {"details": UNPAID}}]);
        self.send_of(number, "calls", None, json!({ "errors": errors, "timestamp": seconds(now) }));
    }

    /// The settings of a number changed, by whomever.
    pub(super) fn tell_settings(&mut self, number: &GraphNumber, mut settings: Value, now: Now) {
        settings = json!({"phone_number_id": number.id, "calling": settings});
        let value = json!({
            "type": "phone_number_settings",
            "timestamp": seconds(now),
            "phone_number_settings": settings,
        });
        self.send_of(number, "account_settings_update", None, value);
    }

    /// Meta warns or restricts the account.
    pub(super) fn tell_account(&mut self, event: &str, mut value: Value, now: Now) {
        value["event"] = json!(event);
        value["timestamp"] = json!(seconds(now));
        self.post("account_update", None, &value);
    }

    fn call_object(&self, call: &Call, event: &str, now: Now) -> Value {
        let (user, number) = (digits(&call.report.user), digits(&call.number.number));
        let (from, to, direction) = match call.report.direction {
            Direction::UserInitiated => (user, number, "USER_INITIATED"),
            Direction::BusinessInitiated => (number, user, "BUSINESS_INITIATED"),
        };
        json!({
            "id": call.wacid,
            "from": from,
            "to": to,
            "event": event,
            "timestamp": seconds(now),
            "direction": direction,
        })
    }

    fn send(&mut self, call: &Call, value: Value) {
        self.send_of(&call.number.clone(), "calls", Some(&call.wacid.clone()), value);
    }

    /// Sends a change of a number; `wacid` names the call it is about, if it is about one.
    fn send_of(&mut self, number: &GraphNumber, field: &str, wacid: Option<&str>, mut value: Value) {
        value["messaging_product"] = json!("whatsapp");
        value["metadata"] = json!({"display_phone_number": number.number, "phone_number_id": number.id});
        self.post(field, wacid, &value);
    }

    fn post(&mut self, field: &str, wacid: Option<&str>, value: &Value) {
        let body = json!({
            "object": "whatsapp_business_account",
            "entry": [{"id": self.config.account, "changes": [{"field": field, "value": value}]}],
        });
        for _ in 0..self.config.habits.deliveries.max(1) {
            let (wacids, body) = (wacid.into_iter().map(str::to_owned).collect(), body.to_string());
            self.outbox.push_back(Outgoing { wacids, body, not_before: None, failed: 0, stale: false });
        }
    }
}

fn digits(number: &str) -> &str {
    number.trim_start_matches('+')
}

/// Meta writes times as strings.
fn seconds(now: Now) -> String {
    (now.wall.unix_ms() / 1_000).to_string()
}

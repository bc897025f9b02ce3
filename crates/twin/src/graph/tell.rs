//! Webhooks in Meta's envelope.

use serde_json::{Value, json};
use setu_model::{Direction, Now};

use super::call::Call;
use super::edge::GraphEdge;

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

    fn send(&mut self, call: &Call, mut value: Value) {
        value["messaging_product"] = json!("whatsapp");
        value["metadata"] =
            json!({"display_phone_number": call.number.number, "phone_number_id": call.number.id});
        let body = json!({
            "object": "whatsapp_business_account",
            "entry": [{"id": self.config.account, "changes": [{"field": "calls", "value": value}]}],
        });
        for _ in 0..self.config.habits.deliveries.max(1) {
            self.outbox.push_back((call.wacid.clone(), body.to_string()));
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

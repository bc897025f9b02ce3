//! What the business asks beside calls: `/messages` with a permission request, and `/call_permissions`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use setu_model::Now;

use super::asks::{Refused, refused};
use super::config::{GraphNumber, UserReply};
use super::edge::GraphEdge;
use super::http::Request;
use super::permissions::{Permissions, Permit};

/// A reply to a permission request that is still to come.
#[derive(Debug)]
pub(super) struct Replying {
    pub(super) at: Instant,
    number: GraphNumber,
    user: String,
    request: String,
    reply: UserReply,
}

impl GraphEdge {
    /// The permissions of a number's users.
    pub(super) fn permissions_of(&mut self, number: &str) -> &mut Permissions {
        let at_first = if self.config.habits.permitted { Permit::Permanent } else { Permit::No };
        let fresh = Permissions::new(self.config.habits.rules, at_first);
        self.permissions.entry(number.to_owned()).or_insert(fresh)
    }

    /// Answers a request that is about no call; `None` if it may be.
    pub(super) fn ask_number(&mut self, request: &Request, now: Now) -> Option<(u16, String)> {
        let what = request.words().nth(2).unwrap_or_default().to_owned();
        let result = match (request.method.as_str(), what.as_str()) {
            ("GET", "") => self.node(request),
            ("GET", "settings") => self.read_settings(request),
            ("POST", "settings") => self.write_settings(request, now),
            ("POST", "messages") => self.message(request, now),
            ("GET", "call_permissions") => self.call_permissions(request, now),
            _ => return None,
        };
        Some(match result {
            Ok(body) => (200, body.to_string()),
            Err((status, code, text)) => {
                let error =
                    json!({"message": text, "type": "OAuthException", "code": code, "fbtrace_id": "A"});
                (status, json!({ "error": error }).to_string())
            }
        })
    }

    /// A message to a user: a permission request reaches the user, who may reply.
    fn message(&mut self, request: &Request, now: Now) -> Result<Value, Refused> {
        let (number, _) = self.authorised(request)?;
        let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        let to = body
            .get("to")
            .and_then(Value::as_str)
            .ok_or_else(|| refused(400, 100, "Invalid parameter: to"))?;
        let user = format!("+{}", to.trim_start_matches('+'));
        let id = format!("wamid.{}", self.entropy.hex(16));
        if asks_permission(&body) {
            self.permissions_of(&number.number).request(&user, now.wall).map_err(|why| {
                refused(400, why.code(), "Call permission request limit, or permission given already")
            })?;
            if let Some((reply, ms)) = self.config.habits.replies {
                let at = now.mono + Duration::from_millis(ms);
                self.replying.push(Replying { at, number, user: user.clone(), request: id.clone(), reply });
            }
        }
        Ok(json!({
            "messaging_product": "whatsapp",
            "contacts": [{"input": user, "wa_id": to.trim_start_matches('+')}],
            "messages": [{ "id": id }],
        }))
    }

    fn call_permissions(&mut self, request: &Request, now: Now) -> Result<Value, Refused> {
        let (number, _) = self.authorised(request)?;
        let user = request.parameter("user_wa_id").or_else(|| request.parameter("recipient"));
        let user = user.ok_or_else(|| refused(400, 100, "Invalid parameter: user_wa_id"))?;
        let user = format!("+{}", user.trim_start_matches("%2B").trim_start_matches('+'));
        let it = self.permissions_of(&number.number);
        let mut permission = match it.permit(&user, now.wall) {
            Permit::No => json!({"status": "no_permission"}),
            Permit::Permanent => json!({"status": "permanent"}),
            Permit::Until(end) => json!({"status": "temporary", "expiration_time": end.unix_ms() / 1_000}),
        };
        let rules = it.rules();
        let (day, week) = (it.usage(&user, 1, now.wall), it.usage(&user, 7, now.wall));
        let may_ask =
            permission["status"] != "permanent" && day.0 < rules.requests.0 && week.0 < rules.requests.1;
        let limit = |period: &str, most: usize, used: usize| json!({"time_period": period, "max_allowed": most, "current_usage": used});
        let ask = [limit("PT24H", rules.requests.0, day.0), limit("P7D", rules.requests.1, week.0)];
        let call = [limit("PT24H", rules.connected, day.1)];
        let may_call = it.may_call(&user, now.wall).is_ok();
        Ok(json!({
            "messaging_product": "whatsapp",
            "permission": permission.take(),
            "actions": [
                {"action_name": "send_call_permission_request", "can_perform_action": may_ask, "limits": ask},
                {"action_name": "start_call", "can_perform_action": may_call, "limits": call},
            ],
        }))
    }

    /// Users reply to the requests that are due.
    pub(super) fn reply_due(&mut self, now: Now) {
        let (due, later) =
            std::mem::take(&mut self.replying).into_iter().partition(|reply| reply.at <= now.mono);
        self.replying = later;
        let due: Vec<Replying> = due;
        for Replying { number, user, request, reply, .. } in due {
            let it = self.permissions_of(&number.number);
            let permit = match reply {
                UserReply::Temporary => it.grant(&user, false, now.wall),
                UserReply::Permanent => it.grant(&user, true, now.wall),
                UserReply::Reject => {
                    it.revoke(&user);
                    Permit::No
                }
            };
            self.tell_reply(&number, &user, permit, Some(&request), now);
        }
    }
}

/// Whether a message is a permission request: free-form, or a template with that component.
fn asks_permission(message: &Value) -> bool {
    const KIND: &str = "call_permission_request";
    let kind = |value: &Value| value.get("type").and_then(Value::as_str) == Some(KIND);
    let components = message.get("template").and_then(|template| template.get("components"));
    message.get("interactive").is_some_and(kind)
        || components.and_then(Value::as_array).is_some_and(|components| components.iter().any(kind))
}

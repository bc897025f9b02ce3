//! What is asked of Meta, and what it replies.

use serde_json::{Value, json};

/// One request to `POST /{version}/{phone_number_id}/calls`, or to its `messages`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Begin a call.
    Connect {
        /// Whom: a number without `+`, or a business-scoped user id.
        to: String,
        /// Our offer.
        sdp: String,
        /// What webhooks of the call shall say in `biz_opaque_callback_data`, at most 512 characters.
        opaque: String,
    },
    /// Tell our answer ahead, so that the media can be set up.
    PreAccept {
        /// WhatsApp's id of the call.
        wacid: String,
        /// Our answer.
        sdp: String,
    },
    /// Take a call.
    Accept {
        /// WhatsApp's id of the call.
        wacid: String,
        /// Our answer: the same as told ahead.
        sdp: String,
    },
    /// Refuse a call that was not taken.
    Reject {
        /// WhatsApp's id of the call.
        wacid: String,
    },
    /// End a call.
    Terminate {
        /// WhatsApp's id of the call.
        wacid: String,
    },
    /// Ask a user, in a message, whether the business may call.
    RequestPermission {
        /// Whom: a number without `+`.
        to: String,
        /// What the message says, within the 24 hours after the user wrote.
        text: Option<String>,
        /// The template it is made of in its place, which may go out at any time.
        template: Option<Template>,
    },
}

/// A message template with a permission request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its name.
    pub name: String,
    /// Its language, such as `en`.
    pub language: String,
}

impl Action {
    /// Meta's word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::PreAccept { .. } => "pre_accept",
            Self::Accept { .. } => "accept",
            Self::Reject { .. } => "reject",
            Self::Terminate { .. } => "terminate",
            Self::RequestPermission { .. } => "request_permission",
        }
    }

    /// The resource of the number that takes it.
    pub const fn resource(&self) -> &'static str {
        match self {
            Self::RequestPermission { .. } => "messages",
            Self::Connect { .. }
            | Self::PreAccept { .. }
            | Self::Accept { .. }
            | Self::Reject { .. }
            | Self::Terminate { .. } => "calls",
        }
    }

    /// Whether it may be asked again if nobody knows what became of it: it does nothing twice. A second `connect` would
    /// be a second call, and a second `accept` be refused although the first was taken; a second message is one too many.
    pub const fn is_repeatable(&self) -> bool {
        match self {
            Self::PreAccept { .. } | Self::Reject { .. } | Self::Terminate { .. } => true,
            Self::Connect { .. } | Self::Accept { .. } | Self::RequestPermission { .. } => false,
        }
    }

    /// The body of the request.
    pub fn body(&self) -> Value {
        let word = self.word();
        match self {
            Self::Connect { to, sdp, opaque } => {
                let who = if to.bytes().all(|byte| byte.is_ascii_digit()) { "to" } else { "recipient" };
                json!({
                    "messaging_product": "whatsapp",
                    who: to,
                    "action": word,
                    "session": { "sdp_type": "offer", "sdp": sdp },
                    "biz_opaque_callback_data": opaque,
                })
            }
            Self::PreAccept { wacid, sdp } | Self::Accept { wacid, sdp } => json!({
                "messaging_product": "whatsapp",
                "call_id": wacid,
                "action": word,
                "session": { "sdp_type": "answer", "sdp": sdp },
            }),
            Self::RequestPermission { to, template: Some(template), .. } => json!({
                "messaging_product": "whatsapp",
                "recipient_type": "individual",
                "to": to,
                "type": "template",
                "template": {
                    "name": template.name,
                    "language": { "code": template.language },
                    "components": [{ "type": PERMISSION }],
                },
            }),
            Self::RequestPermission { to, text, template: None } => {
                let mut interactive = json!({ "type": PERMISSION, "action": { "name": PERMISSION } });
                if let (Some(text), Some(fields)) = (text, interactive.as_object_mut()) {
                    fields.insert("body".to_owned(), json!({ "text": text }));
                }
                json!({
                    "messaging_product": "whatsapp",
                    "recipient_type": "individual",
                    "to": to,
                    "type": "interactive",
                    "interactive": interactive,
                })
            }
            Self::Reject { wacid } | Self::Terminate { wacid } => json!({
                "messaging_product": "whatsapp",
                "call_id": wacid,
                "action": word,
            }),
        }
    }
}

/// Meta took a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// The id of the call that a `connect` began.
    pub wacid: Option<String>,
    /// The id of the message that was sent.
    pub message: Option<String>,
}

/// Meta did not take a request, or nobody knows whether it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Meta said no.
    Refused {
        /// Its code, such as 138006; 0 if it named none.
        code: i64,
        /// Its words.
        text: String,
    },
    /// No answer came, or none that makes sense: it may have been done.
    Unknown {
        /// Why, for the operator.
        text: String,
    },
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { code, text } => write!(f, "{text} ({code})"),
            Self::Unknown { text } => f.write_str(text),
        }
    }
}

/// Reads the answer to a request.
///
/// # Errors
/// [`Failure`], as Meta's error envelope or the status tells.
pub fn read_reply(status: u16, body: &[u8]) -> Result<Reply, Failure> {
    let body = read_object(status, body)?;
    let first = |list: &str| {
        let id = body.get(list).and_then(|list| list.get(0)).and_then(|it| it.get("id"));
        id.and_then(Value::as_str).map(str::to_owned)
    };
    let (wacid, message) = (first("calls"), first("messages"));
    if wacid.is_some() || message.is_some() || body.get("success") == Some(&Value::Bool(true)) {
        return Ok(Reply { wacid, message });
    }
    Err(senseless(status))
}

/// Reads the answer to a request that is about no call: the object that Meta shows.
///
/// # Errors
/// [`Failure`], as Meta's error envelope or the status tells.
pub fn read_object(status: u16, body: &[u8]) -> Result<Value, Failure> {
    let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    if let Some(error) = body.get("error") {
        let text = |field: &str| error.get(field).and_then(Value::as_str).unwrap_or_default();
        let details = error.get("error_data").and_then(|data| data.get("details")).and_then(Value::as_str);
        let text = match (text("message"), details) {
            (message, Some(details)) if !message.contains(details) => format!("{message}: {details}"),
            (message, Some(_) | None) => message.to_owned(),
        };
        let text = text.chars().take(MOST_TEXT).collect();
        // A 5xx may have come after the deed.
        return Err(if status < 500 {
            Failure::Refused { code: error.get("code").and_then(Value::as_i64).unwrap_or(0), text }
        } else {
            Failure::Unknown { text }
        });
    }
    match status {
        200..=299 if body.is_object() => Ok(body),
        400..=499 => Err(Failure::Refused { code: 0, text: format!("status {status}") }),
        _ => Err(senseless(status)),
    }
}

fn senseless(status: u16) -> Failure {
    Failure::Unknown { text: format!("status {status} without a word that makes sense") }
}

/// Meta's word for a permission request, in all its shapes.
const PERMISSION: &str = "call_permission_request";

/// The longest text kept of an error, in characters: it goes into every record and log line.
const MOST_TEXT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_says_what_meta_documents() {
        let (wacid, sdp) = ("wacid.A==".to_owned(), "v=0\r\n".to_owned());
        let accept = Action::Accept { wacid: wacid.clone(), sdp: sdp.clone() }.body();
        let expected = r#"{"messaging_product":"whatsapp","call_id":"wacid.A==","action":"accept","session":{"sdp_type":"answer","sdp":"v=0\r\n"}}"#;
        assert_eq!(accept, serde_json::from_str::<Value>(expected).unwrap());
        let reject = Action::Reject { wacid }.body();
        assert_eq!(
            reject,
            json!({"messaging_product": "whatsapp", "call_id": "wacid.A==", "action": "reject"})
        );
        for (to, field) in [("919876543210", "to"), ("IN.1A2b", "recipient")] {
            let connect =
                Action::Connect { to: to.to_owned(), sdp: sdp.clone(), opaque: "x".to_owned() }.body();
            assert_eq!(
                (connect[field].as_str(), connect["session"]["sdp_type"].as_str()),
                (Some(to), Some("offer"))
            );
        }
    }

    #[test]
    fn a_permission_request_is_a_free_message_or_a_template() {
        let ask = |text: Option<&str>, template| {
            let to = "919876543210".to_owned();
            Action::RequestPermission { to, text: text.map(str::to_owned), template }.body()
        };
        let free = ask(Some("May we call?"), None);
        let expected = r#"{"messaging_product":"whatsapp","recipient_type":"individual","to":"919876543210","type":"interactive","interactive":{"type":"call_permission_request","action":{"name":"call_permission_request"},"body":{"text":"May we call?"}}}"#;
        assert_eq!(free, serde_json::from_str::<Value>(expected).unwrap());
        assert!(ask(None, None)["interactive"].get("body").is_none());
        let (name, language) = ("delivery".to_owned(), "en".to_owned());
        let template = ask(None, Some(Template { name, language }));
        assert_eq!(template["template"]["components"], json!([{"type": "call_permission_request"}]));
    }

    #[test]
    fn both_shapes_of_success_and_every_kind_of_failure_are_understood() {
        let reply = |status, body: &str| read_reply(status, body.as_bytes());
        assert_eq!(reply(200, r#"{"messaging_product":"whatsapp","success":true}"#), Ok(Reply::default()));
        let began = reply(200, r#"{"messaging_product":"whatsapp","calls":[{"id":"wacid.A"}]}"#);
        assert_eq!(began, Ok(Reply { wacid: Some("wacid.A".to_owned()), message: None }));
        let sent =
            reply(200, r#"{"messaging_product":"whatsapp","contacts":[{}],"messages":[{"id":"wamid.A"}]}"#);
        assert_eq!(sent, Ok(Reply { wacid: None, message: Some("wamid.A".to_owned()) }));
        let no = r#"{"error":{"message":"No approved call permission","type":"OAuthException","code":138006,"error_data":{"details":"from the recipient"},"fbtrace_id":"A"}}"#;
        let text = "No approved call permission: from the recipient".to_owned();
        assert_eq!(reply(401, no), Err(Failure::Refused { code: 138_006, text }));
        assert!(matches!(reply(500, no), Err(Failure::Unknown { .. })));
        assert!(matches!(reply(404, "not found"), Err(Failure::Refused { code: 0, .. })));
        for (status, body) in
            [(200, "{}"), (200, ""), (200, "{\"success\":false}"), (502, "<html>"), (302, "")]
        {
            assert!(matches!(reply(status, body), Err(Failure::Unknown { .. })), "{status} {body}");
        }
    }
}

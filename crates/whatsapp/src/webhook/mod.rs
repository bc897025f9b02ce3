//! Webhooks in: who signed them, and what they tell.
//!
//! Two dialects come to one vocabulary: Meta's envelope (`whatsapp_business_account`), and the older one of providers
//! (`whatsapp_business_calling`, one event type a path). What is not understood is [`Event::Unknown`], never an error, so
//! that it can be acknowledged and kept: Meta adds events and fields without notice.

mod event;
mod json;
mod meta;
mod provider;
mod signature;

pub use event::{
    CallStatus, Complaint, Connect, EndStatus, Event, Facts, GraphError, Heard, Session, SessionKind,
    Terminate,
};
pub use signature::{SignatureError, sign, verify};

use setu_model::Wall;

/// Why a body is no webhook.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedWebhook {
    /// It is no JSON.
    #[error("the body is no JSON: {0}")]
    NotJson(String),
    /// It is JSON, but no envelope.
    #[error("the body has no `entry` list")]
    NoEntries,
    /// It has more events than one delivery ever has.
    #[error("the body has more than {} events", MOST_EVENTS)]
    TooMany,
}

/// Reads a body. `kind` is the last segment of the path (`call.connect`), where the provider's dialect puts the type of
/// the event; `received` stands in for a moment that an event does not name.
///
/// # Errors
///
/// [`MalformedWebhook`] if the body as a whole cannot be read; a single event that cannot be is [`Event::Unknown`].
pub fn read(kind: Option<&str>, body: &[u8], received: Wall) -> Result<Vec<Heard>, MalformedWebhook> {
    let body: serde_json::Value =
        serde_json::from_slice(body).map_err(|error| MalformedWebhook::NotJson(error.to_string()))?;
    let entries =
        body.get("entry").and_then(serde_json::Value::as_array).ok_or(MalformedWebhook::NoEntries)?;
    let mut heard = Vec::new();
    for entry in entries {
        for change in json::list(entry, "changes") {
            let source = json::Source { entry, change, received };
            match kind {
                Some(kind) => provider::read(kind, &source, &mut heard),
                None => meta::read(&source, &mut heard),
            }
            if heard.len() > MOST_EVENTS {
                return Err(MalformedWebhook::TooMany);
            }
        }
    }
    Ok(heard)
}

/// The most events of one body. Meta batches up to 1,000 updates.
pub const MOST_EVENTS: usize = 1_000;

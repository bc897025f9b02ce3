//! What goes in and comes out, as plain values.

use setu_model::Wall;

use crate::outbox::OutboxRow;

/// One webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    /// The same for each delivery of the same body to the same path.
    pub id: String,
    /// When it came.
    pub received: Wall,
    /// The event's type where the path names it.
    pub kind: Option<String>,
    /// The body as it came.
    pub body: String,
    /// What it told.
    pub events: Vec<EventRow>,
}

/// One event of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// The same for each delivery of the event, and for no other.
    pub event: String,
    /// What it tells of a pair.
    pub fact: Option<FactRow>,
    /// The customer's two names, where it tells both.
    pub names: Option<(String, String)>,
    /// What it tells of the end of a call.
    pub end: Option<EndRow>,
    /// What is told of it.
    pub told: Vec<OutboxRow>,
    /// What speaks against numbers.
    pub complaints: Vec<ComplaintRow>,
}

/// One fact of one pair of number and customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactRow {
    /// The business number.
    pub number: String,
    /// A name of the customer.
    pub customer: String,
    /// The fact's id.
    pub fact: String,
    /// What is known, as JSON.
    pub telling: String,
    /// When it happened.
    pub moment: Wall,
}

/// The end of a call, as a webhook told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndRow {
    /// The business number of which it was told.
    pub number: String,
    /// WhatsApp's id of the call.
    pub wacid: String,
    /// What was told, as JSON.
    pub told: String,
}

/// The names under which one customer is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CustomerNames<'n> {
    /// One name.
    pub name: &'n str,
    /// Another one, or the same again.
    pub other: &'n str,
}

/// A call detail record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CdrRow {
    /// The call's id.
    pub call: String,
    /// The business number.
    pub number: String,
    /// The customer.
    pub customer: String,
    /// WhatsApp's id of the call.
    pub wacid: Option<String>,
    /// Who began it, as the record's word.
    pub direction: String,
    /// Why it ended, as the record's word.
    pub cause: String,
    /// When it began.
    pub began: Wall,
    /// When the record was written.
    pub written: Wall,
    /// The record, as JSON.
    pub record: String,
    /// What it tells of its pair.
    pub facts: Vec<FactRow>,
    /// The customer's two names, where it tells both.
    pub names: Option<(String, String)>,
    /// A name of the customer, as in [`FactRow`].
    pub who: Option<String>,
    /// When it was answered.
    pub answered: Option<Wall>,
    /// How long both sides were connected, in milliseconds.
    pub connected_ms: u64,
    /// What the call was for.
    pub use_case: Option<String>,
    /// The customer's country.
    pub country: Option<String>,
    /// The size of its recording.
    pub recording_bytes: u64,
    /// What it cost, as JSON.
    pub cost: Option<String>,
    /// Whether Meta heard of it: a call that ends before the customer is called counts for no limit of Meta's.
    pub reached: bool,
    /// What it says of the number's quality: none unless the business called and the customer's phone rang.
    pub attempt: Option<Attempt>,
    /// What is told of it.
    pub told: Vec<OutboxRow>,
}

/// A business-initiated call that rang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Whether it was answered and over soon.
    pub short: bool,
    /// A complaint of the customer until then is laid to it.
    pub blamable: Wall,
}

/// What a number's business-initiated calls of one day came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TallyRow {
    /// Days since the Unix epoch (UTC).
    pub day: i64,
    /// Calls that rang.
    pub attempts: u32,
    /// Calls that were answered.
    pub answered: u32,
    /// Answered calls that were over soon.
    pub short: u32,
    /// Calls that a complaint was laid to.
    pub blamed: u32,
}

/// Something that speaks against a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComplaintRow {
    /// The same for each telling of it, and for nothing else.
    pub complaint: String,
    /// The business number.
    pub number: String,
    /// A name of the customer, as in [`FactRow`]; none where Meta says it.
    pub customer: Option<String>,
    /// What, such as `block`.
    pub kind: String,
    /// Who told it, such as `feedback`.
    pub source: String,
    /// When it happened.
    pub moment: Wall,
    /// The end of a restriction.
    pub until: Option<Wall>,
    /// Whether it counts against the call that it follows.
    pub blames: bool,
    /// The call it names.
    pub call: Option<String>,
}

/// A permission request, as it counts for a campaign or for its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRow {
    /// The same for each telling of it, and for nothing else.
    pub request: String,
    /// The campaign, or the number.
    pub campaign: String,
    /// When.
    pub moment: Wall,
    /// Whether nothing ever came from the customer.
    pub cold: bool,
}

/// What became known of a call after its record was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The call's id.
    pub call: String,
    /// Where it came from. One source revises a record once.
    pub source: String,
    /// When.
    pub written: Wall,
    /// What, as JSON.
    pub record: String,
    /// What is told of it.
    pub told: Vec<OutboxRow>,
}

/// A record and what a webhook told of the same call, not brought together yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreconciled {
    /// The business number.
    pub number: String,
    /// WhatsApp's id of the call.
    pub wacid: String,
    /// The call's id.
    pub call: String,
    /// The record, as JSON.
    pub record: String,
    /// What the webhook told, as JSON.
    pub told: String,
}

/// A webhook with events that the bridge has not acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// When it came.
    pub received: Wall,
    /// The event's type where the path names it.
    pub kind: Option<String>,
    /// The body as it came.
    pub body: String,
    /// The events that wait.
    pub events: Vec<String>,
}

//! What the REST interface asks of the rest of the bridge, in its own words.

use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::calls::{CallFilter, CallOrder, LiveCall, NotMade};
use super::figures::Figures;
use super::requests::{PermissionOrder, PermissionRequested};
use super::reservations::{Readiness, ReservationOrder, Reserved};

/// An answer that takes a while.
pub type Pending<T> = Pin<Box<dyn Future<Output = Result<T, Unavailable>> + Send>>;

/// Whoever answers the questions.
pub trait Backend: Figures {
    /// What is known of a pair and what the gate says; none if the number is none of ours.
    fn inquire(&self, inquiry: Inquiry) -> Pending<Option<Finding>>;

    /// Records in the order in which the calls began.
    fn cdrs(&self, filter: CdrFilter) -> Pending<Vec<CdrEntry>>;

    /// Events whose delivery was given up, in the order in which they happened: those after a cursor, at most so many.
    fn dead_events(&self, after: Option<i64>, most: usize) -> Pending<Vec<DeadEvent>>;

    /// Has an event that was given up tried again; none if there is no such event.
    fn retry_event(&self, id: String) -> Pending<Option<()>>;
    /// Places a call; returns its id.
    fn place(&self, order: CallOrder) -> Pending<Result<String, NotMade>>;

    /// Calls that live, in the order in which they began.
    fn calls(&self, filter: CallFilter) -> Pending<Vec<LiveCall>>;

    /// One call that lives, by its id.
    fn call(&self, call: String) -> Pending<Option<LiveCall>>;

    /// Ends a call; returns whether there was one.
    fn hang_up(&self, call: String) -> Pending<bool>;

    /// The numbers' settings at Meta, asked for now.
    fn provisioning(&self) -> Pending<Vec<ProvisioningReport>>;

    /// Asks a customer for permission.
    fn request_permission(&self, order: PermissionOrder) -> Pending<Result<PermissionRequested, NotMade>>;

    /// Sets somebody aside for a call to come.
    fn reserve(&self, order: ReservationOrder) -> Pending<Result<Reserved, NotMade>>;

    /// Reservations whose calls have not come, in the order in which they were made.
    fn reservations(&self, filter: CallFilter) -> Pending<Vec<Reserved>>;

    /// One of them, by its id.
    fn reservation(&self, reservation: String) -> Pending<Option<Reserved>>;

    /// Gives back who was set aside; returns whether there was such a reservation.
    fn release(&self, reservation: String) -> Pending<bool>;

    /// Whether a number is ready for calls; none if it is none of ours.
    fn readiness(&self, number: String) -> Pending<Option<Readiness>>;
}

/// It cannot be said now; why, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable(pub String);

/// A question to the gate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Inquiry {
    /// The business number, E.164 with `+`.
    #[schema(example = "+911234567890")]
    pub number: String,
    /// The customer: E.164 with or without `+`, or a business-scoped user id.
    #[schema(
        example = "+919876543210",
        pattern = r"^(\+?[1-9][0-9]{6,14}|[A-Z]{2}\.(ENT\.)?[0-9A-Za-z]{1,128})$"
    )]
    pub customer: String,
    /// Whether a person asks for this very call, rather than a dialler.
    #[serde(default)]
    pub by_hand: bool,
    /// What the call is for.
    #[serde(default)]
    #[schema(max_length = 512)]
    pub use_case: Option<String>,
    /// The campaign it is part of.
    #[serde(default)]
    #[schema(max_length = 512)]
    pub campaign: Option<String>,
}

/// What is known, and what the gate says of a call and of a permission request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Finding {
    /// What the customer's permissions say of a call.
    pub call: Standing,
    /// What Meta's limits say of a permission request.
    pub request: Standing,
    /// The rules that forbid a call now; empty if none does.
    pub call_refused: Vec<Rule>,
    /// The rules that forbid a permission request now; empty if none does.
    pub request_refused: Vec<Rule>,
}

/// What the permission ledger says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Standing {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The reason's code, such as `granted` or `never_granted`.
    pub why: String,
    /// The reason in words.
    pub reason: String,
    /// From when on it would be allowed if nothing else happens (RFC 3339); null if only the customer can change it.
    pub next_allowed: Option<String>,
    /// Every grant that was looked at.
    pub considered: Vec<Grant>,
}

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Grant {
    /// Where it comes from, such as `permission_request`.
    pub source: String,
    /// Its end (RFC 3339); null for a permanent one.
    pub until: Option<String>,
    /// `valid`, `expired`, or `not_here` where it opens calls only on numbers of a provider.
    pub counts: String,
}

/// A rule that forbids it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Rule {
    /// Its code, which never changes its meaning.
    #[schema(example = 4005)]
    pub code: u16,
    /// Its name.
    #[schema(example = "Permission Required")]
    pub title: String,
    /// Why it forbids it.
    pub reason: String,
    /// What would make it allowed.
    pub remedy: String,
    /// From when on it allows it if nothing else happens (RFC 3339).
    pub next_allowed: Option<String>,
}

/// Which records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CdrFilter {
    /// Of one call.
    #[serde(skip)]
    #[param(ignore)]
    pub call: Option<String>,
    /// Of one business number, E.164 with `+` (write `%2B`).
    pub number: Option<String>,
    /// Of one customer.
    pub customer: Option<String>,
    /// Of one cause, such as `success`.
    pub cause: Option<String>,
    /// `user_initiated` or `business_initiated`.
    pub direction: Option<String>,
    /// That began at this moment or later (RFC 3339).
    #[param(format = DateTime)]
    pub from: Option<String>,
    /// That began before this moment (RFC 3339).
    #[param(format = DateTime)]
    pub until: Option<String>,
    /// The `next` of the page before.
    #[param(pattern = r"^-?[0-9]{1,18}\.[0-9A-Z]{1,64}$")]
    pub after: Option<String>,
    /// At most so many calls.
    #[param(minimum = 1, maximum = 500, default = 100)]
    pub limit: Option<u32>,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CdrEntry {
    /// The call's id.
    pub call: String,
    /// The record, as in the CDR file.
    #[schema(value_type = Object)]
    pub record: Value,
    /// What became known after the record was written.
    pub revisions: Vec<CdrRevisionEntry>,
    /// The place of the call in the order of all: what comes after it is the next page.
    #[serde(skip)]
    #[schema(ignore)]
    pub cursor: String,
}

/// What became known of a call after its record was written.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CdrRevisionEntry {
    /// 2 for the first one.
    pub revision: u32,
    /// Where it came from, such as `webhook`.
    pub source: String,
    /// When it was written (RFC 3339).
    pub written: String,
    /// What it says.
    #[schema(value_type = Object)]
    pub record: Value,
}

/// An event whose delivery was given up.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DeadEvent {
    /// Names it: `ENDPOINT:EVENT`, where `EVENT` is the `webhook-id`.
    pub id: String,
    /// The endpoint that did not take it.
    pub endpoint: String,
    /// Its kind, such as `call.ended`.
    pub kind: String,
    /// When it happened (RFC 3339).
    pub at: String,
    /// How often it was tried.
    pub tries: u32,
    /// Why it was given up.
    pub why: String,
    /// What was to be told.
    #[schema(value_type = Object)]
    pub event: Value,
    /// The place of the event in the order of all: what comes after it is the next page.
    #[serde(skip)]
    #[schema(ignore)]
    pub cursor: i64,
}

/// How a number's settings at Meta differ from the configuration, and what Meta looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProvisioningReport {
    /// The business number.
    pub number: String,
    /// What could not be asked; null if all could.
    pub error: Option<String>,
    /// What differs.
    pub drifts: Vec<ProvisioningDrift>,
    /// The requests that `setu provision --apply` would make, in order.
    pub plan: Vec<String>,
    /// SIP servers of other apps, whose BYE would end calls.
    pub strangers: Vec<String>,
    /// What Meta looks at before the number may call.
    pub facts: Vec<ProvisioningFact>,
}

/// A setting that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProvisioningDrift {
    /// Meta's name of it, such as `sip.servers`.
    pub setting: String,
    /// What it should be.
    pub wanted: String,
    /// What it is.
    pub found: String,
}

/// Something that Meta looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProvisioningFact {
    /// What is wanted.
    pub what: String,
    /// `yes`, `no`, or `unknown` where nobody tells.
    pub verdict: String,
    /// What was seen.
    pub seen: String,
    /// Where it was seen.
    pub source: String,
    /// What is to be done; null where nothing is.
    pub remedy: Option<String>,
}

//! Calls: placed, seen while they live, and ended.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::auth::{May, NotAllowed, ReadCalls, WriteCalls};
use super::backend::Rule;
use super::body::{Body, Checked, NotTaken};
use super::page::{NO_NEXT, limit_of, page_of};
use super::{Api, Named, answered, ended, invalid, ordered, refused, unavailable};
use crate::refusal::refusal;

/// A call to place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CallOrder {
    /// The business number to call from, E.164 with `+`.
    #[schema(example = "+911234567890", pattern = r"^\+[1-9][0-9]{6,14}$")]
    pub number: String,
    /// The customer to call, E.164 with `+`.
    #[schema(example = "+919876543210", pattern = r"^\+[1-9][0-9]{6,14}$")]
    pub customer: String,
    /// Who is to take it: the first of these agents who is free. Empty leaves it to the number's route.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub agents: Vec<String>,
    /// Who rings first; the number's own setting if it is missing.
    #[serde(default)]
    pub ring: Option<Ring>,
    /// Whether a person asks for this very call, rather than a dialler.
    #[serde(default)]
    pub by_hand: bool,
    /// What the call is for: told to the gate and to the agent.
    #[serde(default)]
    #[schema(max_length = 512)]
    pub use_case: Option<String>,
    /// What the agent is told besides.
    #[serde(default)]
    #[schema(max_length = 512)]
    pub payload: Option<String>,
    /// The queue it is for, by whatever name the agents' side knows: told to the agent.
    #[serde(default)]
    #[schema(max_length = 512)]
    pub queue: Option<String>,
    /// What it belongs to elsewhere, such as a ticket: told to the agent.
    #[serde(default)]
    #[schema(max_length = 512)]
    pub reference: Option<String>,
    /// The reservation whose agent is to take it.
    #[serde(default)]
    #[schema(pattern = r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    pub reservation: Option<String>,
    /// Orders of one key are one order.
    #[serde(skip)]
    #[schema(ignore)]
    pub key: Option<OrderKey>,
}

/// Names an order, so that it is known when it comes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderKey {
    /// The name of the token that was shown: each has keys of its own.
    pub by: String,
    /// The `Idempotency-Key`.
    pub key: String,
}

/// Who rings first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ring {
    /// The agent; the customer is called once he has answered.
    AgentFirst,
    /// The customer; the agent, who is reserved, rings once he has answered.
    CustomerFirst,
}

/// Why a call or a reservation is not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotMade {
    /// The number is none of ours.
    UnknownNumber,
    /// So is this agent.
    UnknownAgent(String),
    /// There is no such reservation of the number.
    UnknownReservation,
    /// A setting is missing without which it cannot be done; which, for people.
    NoWay(String),
    /// The customer is no number that can be called.
    NoCustomer,
    /// Another order had the same key.
    KeyTaken,
    /// Rules forbid it, the one that is hardest to change first.
    Refused(Vec<Rule>),
    /// It cannot be made now; why, for people.
    Unable(String),
}

impl NotMade {
    pub(super) fn response(self) -> Response {
        let not_found = |code, why: &str| refusal(StatusCode::NOT_FOUND, code, why);
        match self {
            Self::UnknownNumber => not_found("unknown_number", "the number is none of ours"),
            Self::UnknownAgent(name) => {
                not_found("unknown_agent", &format!("there is no agent named {name:?}: name an account"))
            }
            Self::UnknownReservation => not_found(
                "unknown_reservation",
                "the number has no such reservation: it is over, or its call has come",
            ),
            Self::NoWay(why) => refusal(StatusCode::CONFLICT, "no_way", &why),
            Self::NoCustomer => invalid("the customer is no number that can be called"),
            Self::KeyTaken => refusal(
                StatusCode::CONFLICT,
                "key_taken",
                "another order had this Idempotency-Key: take a new key for a new order",
            ),
            Self::Refused(rules) => refused(rules),
            Self::Unable(why) => refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &why),
        }
    }
}

/// Which calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CallFilter {
    /// Of one business number, E.164 with `+` (write `%2B`).
    pub number: Option<String>,
    /// The `next` of the page before.
    #[param(pattern = r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    pub after: Option<String>,
    /// At most so many calls.
    #[param(minimum = 1, maximum = 500, default = 100)]
    pub limit: Option<u32>,
}

/// A call that lives.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct LiveCall {
    /// Its id.
    pub call: String,
    /// `user_initiated` or `business_initiated`.
    pub direction: String,
    /// How Meta's leg comes about: `sip`, `provider_uri` or `graph`.
    pub ingress: String,
    /// Where it stands: `asking` (not decided), `opening`, `ringing`, `reaching` (the customer is called or waited for),
    /// `connected` or `ending`.
    pub stage: String,
    /// When the bridge first saw it (RFC 3339).
    pub began: String,
    /// When both sides were connected (RFC 3339).
    pub answered: Option<String>,
    /// Who took or made it on the business's side.
    pub agent: Option<String>,
    /// Number, customer and context, as in the call's record.
    #[schema(value_type = Object)]
    pub facts: Value,
}

/// A page of calls.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CallPage {
    /// In the order in which they began.
    calls: Vec<LiveCall>,
    /// Asks for the next page as `after`; null on the last one.
    next: Option<String>,
}

/// A call that is being made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlacedCall {
    /// Its id, which its record will have too.
    call: String,
}

/// Places a call: an agent is set aside, the gate is asked, and then both sides are called. How it ends is told by its record.
#[utoipa::path(
    post,
    path = "/v1/calls",
    tag = "calls",
    request_body = CallOrder,
    params(("Idempotency-Key" = Option<String>, Header, description = "Orders of one token and one key are one order for 24 \
        hours, also across restarts: the second is answered as the first. The key of one that came to nothing is free again", pattern = r"^[!-~]{1,128}$")),
    responses(
        (status = 202, body = PlacedCall),
        NotTaken,
        NotAllowed,
        (status = 404, description = "Number, agent or reservation are none of ours: `unknown_number`, \
            `unknown_agent`, `unknown_reservation`"),
        (status = 409, description = "Rules forbid it (`refused`, with `rules`), or the key was another order's (`key_taken`)"),
        (status = 503, description = "It cannot be placed now"),
    ),
    security(("bearer" = ["calls:write"])),
)]
pub(super) async fn place(
    may: May<WriteCalls>,
    State(api): State<Api>,
    headers: HeaderMap,
    Body(order): Body<CallOrder>,
) -> Response {
    let key = match idempotency_key(&headers) {
        Ok(key) => key,
        Err(why) => return invalid(why),
    };
    let key = key.map(|key| OrderKey { by: may.by, key });
    ordered(api.backend.place(CallOrder { key, ..order }).await, |call| {
        let at = [(header::LOCATION, format!("/v1/calls/{call}"))];
        (StatusCode::ACCEPTED, at, Json(PlacedCall { call })).into_response()
    })
}

/// The calls that live, page by page.
#[utoipa::path(
    get,
    path = "/v1/calls",
    tag = "calls",
    params(CallFilter),
    responses(
        (status = 200, body = CallPage),
        (status = 400, description = "A filter cannot be read"),
        NotAllowed,
        (status = 503, description = "It cannot be said now"),
    ),
    security(("bearer" = ["calls:read"])),
)]
pub(super) async fn list(
    _may: May<ReadCalls>,
    State(api): State<Api>,
    filter: Result<Query<CallFilter>, QueryRejection>,
) -> Response {
    let (filter, limit) = match checked_filter(filter) {
        Ok(filter) => filter,
        Err(why) => return invalid(why),
    };
    match api.backend.calls(filter).await {
        Ok(calls) => {
            let (calls, next) = page_of(calls, limit, |call| call.call.clone());
            Json(CallPage { calls, next }).into_response()
        }
        Err(why) => unavailable(&why),
    }
}

/// The filter for one more than is asked for, which tells whether there is a next page; and how many that is.
pub(super) fn checked_filter(
    filter: Result<Query<CallFilter>, QueryRejection>,
) -> Result<(CallFilter, u32), String> {
    let Query(filter) = filter.map_err(|why| why.body_text())?;
    let limit = limit_of(filter.limit)?;
    if filter.after.as_ref().is_some_and(|after| !is_id(after)) {
        return Err(NO_NEXT.to_owned());
    }
    Ok((CallFilter { limit: Some(limit + 1), ..filter }, limit))
}

pub(super) fn is_id(text: &str) -> bool {
    text.parse::<setu_model::CallId>().is_ok()
}

/// A call that lives. What is over is among the records.
#[utoipa::path(
    get,
    path = "/v1/calls/{call}",
    tag = "calls",
    params(("call" = String, Path, description = "The call's id")),
    responses(
        (status = 200, body = LiveCall),
        NotAllowed,
        (status = 404, description = "No such call lives"),
        (status = 503, description = "It cannot be said now"),
    ),
    security(("bearer" = ["calls:read"])),
)]
pub(super) async fn one(
    _may: May<ReadCalls>,
    State(api): State<Api>,
    Named(call): Named<String>,
) -> Response {
    answered(api.backend.call(call).await, NOT_ALIVE)
}

/// Ends a call, whatever its stage.
#[utoipa::path(
    delete,
    path = "/v1/calls/{call}",
    tag = "calls",
    params(("call" = String, Path, description = "The call's id")),
    responses(
        (status = 204, description = "The call is being ended"),
        NotAllowed,
        (status = 404, description = "No such call lives"),
        (status = 503, description = "It cannot be done now"),
    ),
    security(("bearer" = ["calls:write"])),
)]
pub(super) async fn hang_up(
    _may: May<WriteCalls>,
    State(api): State<Api>,
    Named(call): Named<String>,
) -> Response {
    ended(api.backend.hang_up(call).await, NOT_ALIVE)
}

/// Refuses what no order can be, as the OpenAPI document says.
impl Checked for CallOrder {
    fn checked(self) -> Result<Self, String> {
        checked_numbers([("number", Some(&self.number)), ("customer", Some(&self.customer))])?;
        checked_agents(&self.agents)?;
        checked_texts([
            ("use_case", &self.use_case),
            ("payload", &self.payload),
            ("queue", &self.queue),
            ("reference", &self.reference),
        ])?;
        if self.reservation.as_ref().is_some_and(|id| !is_id(id)) {
            return Err("reservation is not the id of one".to_owned());
        }
        Ok(self)
    }
}

/// Refuses what is no number.
pub(super) fn checked_numbers<const N: usize>(numbers: [(&str, Option<&String>); N]) -> Result<(), String> {
    match numbers.iter().find(|(_, number)| number.is_some_and(|number| !is_e164(number))) {
        Some((name, _)) => Err(format!("{name} is no number: write it as +919876543210")),
        None => Ok(()),
    }
}

/// Refuses what names no customer.
pub(super) fn checked_customer(customer: &str) -> Result<(), String> {
    let wa_id = || is_e164(&format!("+{customer}"));
    if is_e164(customer) || wa_id() || is_user_id(customer) {
        return Ok(());
    }
    Err("customer names nobody: write a number as +919876543210, or a business-scoped user id as IN.1A2b3C"
        .to_owned())
}

/// A country, and what Meta makes up of letters and digits: `IN.1A2b3C`, or `IN.ENT.1A2b3C` of a parent account.
fn is_user_id(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let (country, id) = match parts[..] {
        [country, id] | [country, "ENT", id] => (country, id),
        _ => return false,
    };
    country.len() == 2
        && country.bytes().all(|byte| byte.is_ascii_uppercase())
        && (1..=128).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Refuses too many.
pub(super) fn checked_agents(agents: &[String]) -> Result<(), String> {
    if agents.len() > MOST_AGENTS { Err(format!("agents are more than {MOST_AGENTS}")) } else { Ok(()) }
}

/// Refuses what is no moment.
pub(super) fn checked_moments<const N: usize>(moments: [(&str, &Option<String>); N]) -> Result<(), String> {
    let wrong = |moment: &Option<String>| {
        moment.as_ref().is_some_and(|moment| moment.parse::<setu_model::Wall>().is_err())
    };
    match moments.iter().find(|(_, moment)| wrong(moment)) {
        Some((name, _)) => Err(format!("{name} is no moment: write it as 2026-11-25T09:00:00Z")),
        None => Ok(()),
    }
}

/// Refuses what is too long.
pub(super) fn checked_texts<const N: usize>(texts: [(&str, &Option<String>); N]) -> Result<(), String> {
    let long = |text: &Option<String>| text.as_ref().is_some_and(|text| text.chars().count() > MOST_TOLD);
    match texts.iter().find(|(_, text)| long(text)) {
        Some((name, _)) => Err(format!("{name} is longer than {MOST_TOLD} characters")),
        None => Ok(()),
    }
}

/// The strict form: what a program knows of a customer needs no guessing.
fn is_e164(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0')
    })
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, String> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value
        .to_str()
        .ok()
        .filter(|key| (1..=MOST_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()));
    key.map(|key| Some(key.to_owned()))
        .ok_or_else(|| format!("Idempotency-Key is not 1 to {MOST_KEY} visible characters"))
}

const NOT_ALIVE: &str = "no such call lives: what is over is among the records";

const MOST_AGENTS: usize = 64;

/// As long as the payload of a button.
const MOST_TOLD: usize = 512;

const MOST_KEY: usize = 128;

//! What is asked ahead of calls: somebody set aside for one to come, and whether somebody is ready.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::{May, NotAllowed, ReadReadiness, ReadReservations, WriteReservations};
use super::backend::Rule;
use super::body::{Body, Checked, NotTaken};
use super::calls::{CallFilter, checked_agents, checked_filter, checked_numbers, checked_texts};
use super::page::page_of;
use super::{Api, Named, answered, ended, invalid, ordered, unavailable};

/// Somebody to set aside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReservationOrder {
    /// The business number, E.164 with `+`.
    #[schema(example = "+911234567890", pattern = r"^\+[1-9][0-9]{6,14}$")]
    pub number: String,
    /// The customer whose call it is for, E.164 with `+`; without one it is for whoever calls the number next.
    #[serde(default)]
    #[schema(example = "+919876543210", pattern = r"^\+[1-9][0-9]{6,14}$")]
    pub customer: Option<String>,
    /// The first of these agents who is free. Empty leaves it to the number's route.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub agents: Vec<String>,
    /// For how long, in seconds.
    #[serde(deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 3600)]
    pub seconds: u32,
    /// What the call will be for: told to the agent.
    #[serde(default)]
    #[schema(max_length = 512)]
    pub use_case: Option<String>,
    /// What it belongs to elsewhere, such as a ticket: told to the agent.
    #[serde(default)]
    #[schema(max_length = 512)]
    pub reference: Option<String>,
}

/// Somebody set aside whose call has not come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reserved {
    /// Its id.
    pub reservation: String,
    /// The business number.
    pub number: String,
    /// For whom; null is for whoever calls the number next.
    pub customer: Option<String>,
    /// The agent; null where a trunk is to take the call.
    pub agent: Option<String>,
    /// The trunk; how many calls it takes is not known.
    pub trunk: Option<String>,
    /// Until when (RFC 3339).
    pub until: String,
    /// What the call will be for.
    pub use_case: Option<String>,
    /// What it belongs to elsewhere.
    pub reference: Option<String>,
}

/// A page of reservations.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReservationPage {
    /// In the order in which they were made.
    reservations: Vec<Reserved>,
    /// Asks for the next page as `after`; null on the last one.
    next: Option<String>,
}

/// Of which number.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadinessFilter {
    /// The business number, E.164 with `+` (write `%2B`).
    number: String,
}

/// Whether a number is ready for the calls that a message with a call button brings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Readiness {
    /// The business number.
    pub number: String,
    /// How many agents may be given a call.
    pub ready: u32,
    /// How many have as many calls as they may have.
    pub on_call: u32,
    /// How many are set aside.
    pub reserved: u32,
    /// How many have no phone registered.
    pub away: u32,
    /// Each agent of the number's route.
    pub agents: Vec<AgentState>,
    /// The trunk of the number's route.
    pub trunk: Option<TrunkState>,
    /// Whether a message with a call button may be sent now.
    pub send_buttons: bool,
    /// What speaks against it.
    pub against: Vec<Rule>,
}

/// How it stands with an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AgentState {
    /// Account name.
    pub agent: String,
    /// `ready`, `on_call`, `reserved` or `away`.
    pub state: String,
}

/// How it stands with a trunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TrunkState {
    /// Its name.
    pub trunk: String,
    /// Whether it answers.
    pub up: bool,
}

/// Sets somebody aside for a call to come, such as before a message with a call button is sent.
#[utoipa::path(
    post,
    path = "/v1/reservations",
    tag = "reservations",
    request_body = ReservationOrder,
    responses(
        (status = 201, body = Reserved),
        NotTaken,
        NotAllowed,
        (status = 404, description = "Number or agent are none of ours: `unknown_number`, `unknown_agent`"),
        (status = 409, description = "Nobody is free, or the number is not for the use case (`refused`, with `rules`)"),
        (status = 503, description = "It cannot be done now"),
    ),
    security(("bearer" = ["reservations:write"])),
)]
pub(super) async fn reserve(
    _may: May<WriteReservations>,
    State(api): State<Api>,
    Body(order): Body<ReservationOrder>,
) -> Response {
    ordered(api.backend.reserve(order).await, |made| {
        let at = [(header::LOCATION, format!("/v1/reservations/{}", made.reservation))];
        (StatusCode::CREATED, at, Json(made)).into_response()
    })
}

/// The reservations whose calls have not come, page by page.
#[utoipa::path(
    get,
    path = "/v1/reservations",
    tag = "reservations",
    params(CallFilter),
    responses(
        (status = 200, body = ReservationPage),
        (status = 400, description = "A filter cannot be read"),
        NotAllowed,
        (status = 503, description = "It cannot be said now"),
    ),
    security(("bearer" = ["reservations:read"])),
)]
pub(super) async fn list(
    _may: May<ReadReservations>,
    State(api): State<Api>,
    filter: Result<Query<CallFilter>, QueryRejection>,
) -> Response {
    let (filter, limit) = match checked_filter(filter) {
        Ok(filter) => filter,
        Err(why) => return invalid(why),
    };
    match api.backend.reservations(filter).await {
        Ok(made) => {
            let (reservations, next) = page_of(made, limit, |made| made.reservation.clone());
            Json(ReservationPage { reservations, next }).into_response()
        }
        Err(why) => unavailable(&why),
    }
}

/// A reservation whose call has not come.
#[utoipa::path(
    get,
    path = "/v1/reservations/{reservation}",
    tag = "reservations",
    params(("reservation" = String, Path, description = "The reservation's id")),
    responses(
        (status = 200, body = Reserved),
        NotAllowed,
        (status = 404, description = "There is no such reservation: it is over, or its call has come"),
        (status = 503, description = "It cannot be said now"),
    ),
    security(("bearer" = ["reservations:read"])),
)]
pub(super) async fn one(
    _may: May<ReadReservations>,
    State(api): State<Api>,
    Named(reservation): Named<String>,
) -> Response {
    answered(api.backend.reservation(reservation).await, NONE)
}

/// Gives back who was set aside.
#[utoipa::path(
    delete,
    path = "/v1/reservations/{reservation}",
    tag = "reservations",
    params(("reservation" = String, Path, description = "The reservation's id")),
    responses(
        (status = 204, description = "Who was set aside may be given other calls"),
        NotAllowed,
        (status = 404, description = "There is no such reservation: it is over, or its call has come"),
        (status = 503, description = "It cannot be done now"),
    ),
    security(("bearer" = ["reservations:write"])),
)]
pub(super) async fn release(
    _may: May<WriteReservations>,
    State(api): State<Api>,
    Named(reservation): Named<String>,
) -> Response {
    ended(api.backend.release(reservation).await, NONE)
}

/// Who could take a number's calls now, and whether a message with a call button should go out.
#[utoipa::path(
    get,
    path = "/v1/readiness",
    tag = "reservations",
    params(ReadinessFilter),
    responses(
        (status = 200, body = Readiness),
        (status = 400, description = "The number is not named"),
        NotAllowed,
        (status = 404, description = "The number is none of ours"),
        (status = 503, description = "It cannot be said now"),
    ),
    security(("bearer" = ["readiness:read"])),
)]
pub(super) async fn readiness(
    _may: May<ReadReadiness>,
    State(api): State<Api>,
    filter: Result<Query<ReadinessFilter>, QueryRejection>,
) -> Response {
    match filter {
        Ok(Query(ReadinessFilter { number })) => {
            answered(api.backend.readiness(number).await, "the number is none of ours")
        }
        Err(why) => invalid(why.body_text()),
    }
}

impl Checked for ReservationOrder {
    fn checked(self) -> Result<Self, String> {
        checked_numbers([("number", Some(&self.number)), ("customer", self.customer.as_ref())])?;
        checked_agents(&self.agents)?;
        checked_texts([("use_case", &self.use_case), ("reference", &self.reference)])?;
        if !(1..=MOST_SECONDS).contains(&self.seconds) {
            return Err(format!("seconds is not from 1 to {MOST_SECONDS}"));
        }
        Ok(self)
    }
}

/// A whole number, also as JSON allows to write it: `60.0`.
fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let number = f64::deserialize(from)?;
    let whole = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    if whole { Ok(number as u32) } else { Err(serde::de::Error::custom("it is no whole number")) }
}

/// The same, or null.
pub(super) fn some_whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    match Option::<f64>::deserialize(from)? {
        Some(number) => whole(serde::de::value::F64Deserializer::<D::Error>::new(number)).map(Some),
        None => Ok(None),
    }
}

const NONE: &str = "there is no such reservation: it is over, or its call has come";

/// The longest time for which somebody is set aside, in seconds: agents are there to talk.
pub(super) const MOST_SECONDS: u32 = 3_600;

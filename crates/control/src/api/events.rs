//! Events out that nobody took.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::{May, NotAllowed, ReadEvents, WriteEvents};
use super::backend::DeadEvent;
use super::page::{NO_NEXT, limit_of, page_of};
use super::{Api, Named, answered, invalid, unavailable};

/// Which of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeadFilter {
    /// The `next` of the page before.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// At most so many.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
}

/// A page of events that were given up.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadPage {
    /// In the order in which they happened.
    dead: Vec<DeadEvent>,
    /// Asks for the next page as `after`; null on the last one.
    next: Option<i64>,
}

/// It is tried again.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Retried {
    /// The event.
    id: String,
}

/// Events whose delivery was given up, page by page.
#[utoipa::path(
    get,
    path = "/v1/events/dead",
    tag = "events",
    params(DeadFilter),
    responses(
        (status = 200, body = DeadPage),
        (status = 400, description = "A filter cannot be read"),
        NotAllowed,
        (status = 503, description = "It cannot be said now"),
    ),
    security(("bearer" = ["events:read"])),
)]
pub(super) async fn dead(
    _may: May<ReadEvents>,
    State(api): State<Api>,
    filter: Result<Query<DeadFilter>, QueryRejection>,
) -> Response {
    let DeadFilter { after, limit } = match filter {
        Ok(Query(filter)) => filter,
        Err(why) => return invalid(why.body_text()),
    };
    let limit = match limit_of(limit) {
        Ok(limit) => limit,
        Err(why) => return invalid(why),
    };
    if after.is_some_and(|after| after < 0) {
        return invalid(NO_NEXT);
    }
    match api.backend.dead_events(after, limit as usize + 1).await {
        Ok(dead) => {
            let (dead, next) = page_of(dead, limit, |last| last.cursor);
            Json(DeadPage { dead, next }).into_response()
        }
        Err(why) => unavailable(&why),
    }
}

/// Has an event that was given up tried again, as if it had never been.
#[utoipa::path(
    post,
    path = "/v1/events/dead/{id}/retry",
    tag = "events",
    params(("id" = String, Path, description = "The event, as the list names it")),
    responses(
        (status = 200, body = Retried),
        NotAllowed,
        (status = 404, description = "No such event was given up"),
        (status = 503, description = "It cannot be done now"),
    ),
    security(("bearer" = ["events:write"])),
)]
pub(super) async fn retry(
    _may: May<WriteEvents>,
    State(api): State<Api>,
    Named(id): Named<String>,
) -> Response {
    let retried = api.backend.retry_event(id.clone()).await;
    answered(retried.map(|found| found.map(|()| Retried { id })), "no such event was given up")
}

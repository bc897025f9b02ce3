//! Call detail records: page by page, one by one, and all at once.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::{May, NotAllowed, ReadCdrs};
use super::backend::{CdrEntry, CdrFilter};
use super::calls::checked_moments;
use super::export::{Format, PAGE as LINES, lines};
use super::page::{NO_NEXT, limit_of, page_of};
use super::{Api, Named, answered, invalid, unavailable};

/// A page of records.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page {
    /// In the order in which the calls began.
    cdrs: Vec<CdrEntry>,
    /// Asks for the next page as `after`; null on the last one.
    next: Option<String>,
}

/// Records by filter, page by page.
#[utoipa::path(
    get,
    path = "/v1/cdrs",
    tag = "cdrs",
    params(CdrFilter),
    responses(
        (status = 200, body = Page),
        (status = 400, description = "A filter cannot be read"),
        NotAllowed,
        (status = 503, description = "It cannot be said now"),
    ),
    security(("bearer" = ["cdrs:read"])),
)]
pub(super) async fn list(
    _may: May<ReadCdrs>,
    State(api): State<Api>,
    filter: Result<Query<CdrFilter>, QueryRejection>,
) -> Response {
    let filter = filter.map_err(|why| why.body_text()).and_then(|Query(filter)| checked(filter));
    let (filter, limit) = match filter.and_then(|filter| Ok((limit_of(filter.limit)?, filter))) {
        Ok((limit, filter)) => (CdrFilter { limit: Some(limit + 1), ..filter }, limit),
        Err(why) => return invalid(why),
    };
    match api.backend.cdrs(filter).await {
        Ok(cdrs) => {
            let (cdrs, next) = page_of(cdrs, limit, |last| last.cursor.clone());
            Json(Page { cdrs, next }).into_response()
        }
        Err(why) => unavailable(&why),
    }
}

/// One record.
#[utoipa::path(
    get,
    path = "/v1/cdrs/{call}",
    tag = "cdrs",
    params(("call" = String, Path, description = "The call's id")),
    responses(
        (status = 200, body = CdrEntry),
        NotAllowed,
        (status = 404, description = "There is no such record"),
        (status = 503, description = "It cannot be said now"),
    ),
    security(("bearer" = ["cdrs:read"])),
)]
pub(super) async fn one(_may: May<ReadCdrs>, State(api): State<Api>, Named(call): Named<String>) -> Response {
    let filter = CdrFilter { call: Some(call), limit: Some(1), ..CdrFilter::default() };
    answered(api.backend.cdrs(filter).await.map(|mut found| found.pop()), "there is no such record")
}

/// All records that the filters let through, as JSON Lines (the records as in the CDR file, with their revisions) or CSV.
#[utoipa::path(
    get,
    path = "/v1/cdrs/export",
    tag = "cdrs",
    params(ExportFilter),
    responses(
        (status = 200, description = "The records", content(
            (String = "application/jsonl"),
            (String = "text/csv"),
        )),
        (status = 400, description = "A filter cannot be read"),
        NotAllowed,
        (status = 503, description = "It cannot be said now"),
    ),
    security(("bearer" = ["cdrs:read"])),
)]
pub(super) async fn export(
    _may: May<ReadCdrs>,
    State(api): State<Api>,
    filter: Result<Query<ExportFilter>, QueryRejection>,
) -> Response {
    let (filter, format) = match filter {
        Ok(Query(filter)) => filter.split(),
        Err(why) => return invalid(why.body_text()),
    };
    let filter = checked(filter);
    let filter = match filter {
        Ok(filter) => CdrFilter { limit: Some(LINES), ..filter },
        Err(why) => return invalid(why),
    };
    match api.backend.cdrs(filter.clone()).await {
        Ok(first) => {
            let lines = Body::from_stream(lines(api.backend, filter, format, first));
            ([(header::CONTENT_TYPE, format.content_type())], lines).into_response()
        }
        Err(why) => unavailable(&why),
    }
}

/// Which records of all, and how they are written.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportFilter {
    /// `jsonl` (default) or `csv`.
    #[param(inline)]
    format: Option<Format>,
    /// Of one business number, E.164 with `+` (write `%2B`).
    number: Option<String>,
    /// Of one customer.
    customer: Option<String>,
    /// Of one cause, such as `success`.
    cause: Option<String>,
    /// `user_initiated` or `business_initiated`.
    direction: Option<String>,
    /// That began at this moment or later (RFC 3339).
    #[param(format = DateTime)]
    from: Option<String>,
    /// That began before this moment (RFC 3339).
    #[param(format = DateTime)]
    until: Option<String>,
}

impl ExportFilter {
    fn split(self) -> (CdrFilter, Format) {
        let Self { format, number, customer, cause, direction, from, until } = self;
        let filter = CdrFilter { number, customer, cause, direction, from, until, ..CdrFilter::default() };
        (filter, format.unwrap_or_default())
    }
}

/// Refuses what can match nothing by mistake.
fn checked(filter: CdrFilter) -> Result<CdrFilter, String> {
    checked_moments([("from", &filter.from), ("until", &filter.until)])?;
    if filter.after.as_deref().is_some_and(|after| !is_cursor(after)) {
        return Err(NO_NEXT.to_owned());
    }
    Ok(filter)
}

/// `MILLISECONDS.CALL`, as the OpenAPI document says.
fn is_cursor(text: &str) -> bool {
    text.split_once('.').is_some_and(|(began, call)| {
        began.parse::<i64>().is_ok() && !call.is_empty() && call.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

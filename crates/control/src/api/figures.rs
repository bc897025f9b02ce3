//! How numbers do, and what calls came to and cost: what is asked of the rest of the bridge, and how it is answered.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use setu_model::Wall;

use super::auth::{May, NotAllowed, ReadCosts, ReadQuality, WriteFeedback};
use super::backend::Pending;
use super::body::{Body, Checked, NotTaken};
use super::calls::{checked_customer, checked_moments, is_id};
use super::page::{limit_of, page_of};
use super::{Api, Named, answered, invalid, unavailable};
use crate::refusal::refusal;
use crate::webhook::wall;

/// Whoever knows the figures.
pub trait Figures: Send + Sync + 'static {
    /// How our numbers are doing: all of them, or one; none if it is none of ours.
    fn quality(&self, number: Option<String>) -> Pending<Option<Vec<NumberQuality>>>;

    /// Keeps a complaint, and says whether it is new; none if its number is none of ours.
    fn complain(&self, feedback: Feedback) -> Pending<Option<bool>>;

    /// Adds up calls.
    fn report(&self, filter: ReportFilter, by: ReportBy) -> Pending<Figured>;
}

/// How a number is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NumberQuality {
    /// The number.
    pub number: String,
    /// `GREEN`, `YELLOW` or `RED`.
    pub light: String,
    /// What is measured, over the last 7 days.
    pub readings: Vec<QualityReading>,
    /// What makes the light what it is: measures, and `meta` for what Meta itself said.
    pub driven_by: Vec<String>,
    /// How many of the 30 clean days have passed of a number that was RED; null if it is so now, or was not for long.
    pub clean_days: Option<u32>,
    /// How many calls a day that allows.
    pub attempts_a_day: u32,
    /// Until when Meta forbids its calls (RFC 3339); null if it does not.
    pub restricted_until: Option<String>,
}

/// One measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct QualityReading {
    /// `answer_rate`, `blame_rate` (blocks and reports within 30 minutes) or `short_rate` (calls below 10 s).
    pub measure: String,
    /// Hundredths of a per cent; null where it is unknown: too few calls, or nothing tells of it.
    pub basis_points: Option<u32>,
    /// The same over the 7 days before.
    pub before: Option<u32>,
    /// `better`, `worse` or `same` than before; null where either is unknown.
    pub trend: Option<String>,
    /// What it means by itself.
    pub light: String,
}

/// A complaint of a customer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Feedback {
    /// The business number, E.164 with `+`.
    #[schema(example = "+911234567890")]
    pub number: String,
    /// The customer: E.164 with or without `+`, or a business-scoped user id.
    #[schema(
        example = "+919876543210",
        pattern = r"^(\+?[1-9][0-9]{6,14}|[A-Z]{2}\.(ENT\.)?[0-9A-Za-z]{1,128})$"
    )]
    pub customer: String,
    /// What the customer did.
    pub kind: FeedbackKind,
    /// When (RFC 3339): in the last 30 days. It counts against the number's last call to the customer if that was over less than 30 minutes before.
    #[schema(format = DateTime)]
    pub at: String,
    /// The id of the call it is about, where that is known.
    #[serde(default)]
    #[schema(pattern = r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    pub call: Option<String>,
}

/// What a customer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FeedbackKind {
    /// Blocked the number.
    Block,
    /// Reported it.
    Report,
    /// Complained by other ways; does not count as a block or report.
    Other,
}

impl FeedbackKind {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Report => "report",
            Self::Other => "other",
        }
    }
}

/// Whether a complaint was new.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Noted {
    /// Not so if the same was told before.
    new: bool,
}

/// Which calls, and which page of the lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReportFilter {
    /// Of one business number, E.164 with `+` (write `%2B`).
    pub number: Option<String>,
    /// That began at this moment or later (RFC 3339); 31 days before `until` by default.
    #[param(format = DateTime)]
    pub from: Option<String>,
    /// That began before this moment (RFC 3339); now by default.
    #[param(format = DateTime)]
    pub until: Option<String>,
    /// The `next` of the page before.
    pub after: Option<String>,
    /// At most so many lines.
    #[param(minimum = 1, maximum = 500, default = 100)]
    pub limit: Option<u32>,
}

/// What a report is by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportBy {
    /// The business number.
    Number,
    /// The use case.
    UseCase,
    /// The day (UTC).
    #[default]
    Day,
}

/// Everything a report can say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figured {
    /// The currency; none where no rates are configured.
    pub currency: Option<String>,
    /// The lines by key, in order.
    pub lines: Vec<(String, Sums)>,
    /// All lines together.
    pub total: Sums,
    /// Labels of keys, where they have some.
    pub labels: BTreeMap<String, String>,
}

/// What calls came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums {
    /// Calls.
    pub calls: u64,
    /// Calls that were answered.
    pub connected: u64,
    /// How long those were connected altogether, in milliseconds.
    pub connected_ms: u64,
    /// Answered calls of ten thousand.
    pub connection_rate: Option<u64>,
    /// How long an answered call was connected, in milliseconds.
    pub average_ms: Option<u64>,
    /// How many ended how.
    pub outcomes: BTreeMap<String, u64>,
    /// Calls whose cost is known.
    pub priced: u64,
    /// What those cost.
    pub cost: Amounts,
}

/// What calls cost, as decimal numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Amounts {
    /// All parts together.
    #[schema(example = "123.45")]
    pub total: String,
    /// The provider's fee.
    pub provider: String,
    /// Meta's price.
    pub meta: String,
    /// The SIP leg toward the agents' side.
    pub sip: String,
    /// Recordings for as long as they are kept.
    pub storage: String,
    /// The agents' time.
    pub agent: String,
    /// What a connected call cost, those that were not connected included; null if none was, or not all have a price.
    pub per_connected: Option<String>,
}

/// What calls cost.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Costs {
    /// The currency (ISO 4217); null where no rates are configured.
    currency: Option<String>,
    /// By what the report is by, in order.
    lines: Vec<CostLine>,
    /// All calls of the report together.
    total: CostLine,
    /// Asks for the next page as `after`; null on the last one.
    next: Option<String>,
}

/// What some calls cost.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CostLine {
    /// The number, use case or day; empty for calls without a use case, and for the total.
    key: String,
    /// Calls.
    calls: u64,
    /// Calls that were answered.
    connected: u64,
    /// How long those were connected altogether, in milliseconds.
    connected_ms: u64,
    /// Calls whose cost is known.
    priced: u64,
    /// What those cost.
    cost: Amounts,
}

/// What calls came to by use case.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UseCases {
    /// The currency (ISO 4217); null where no rates are configured.
    currency: Option<String>,
    /// By use case, in order.
    lines: Vec<UseCaseLine>,
    /// Asks for the next page as `after`; null on the last one.
    next: Option<String>,
}

/// What the calls of a use case came to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UseCaseLine {
    /// Its name; empty for calls without one.
    use_case: String,
    /// Its name for people; null if it is not configured any more.
    label: Option<String>,
    /// Calls.
    calls: u64,
    /// Calls that were answered.
    connected: u64,
    /// Answered calls of ten thousand; null without a call.
    connection_rate: Option<u64>,
    /// How long an answered call was connected, in milliseconds; null without one.
    average_ms: Option<u64>,
    /// How many ended how, by the record's cause.
    outcomes: BTreeMap<String, u64>,
    /// What they cost.
    cost: Amounts,
}

/// How every number of ours is doing, what drives it, and how many calls a day that allows.
#[utoipa::path(
    get,
    path = "/v1/quality",
    tag = "quality",
    responses(
        (status = 200, body = Vec<NumberQuality>),
        NotAllowed,
        (status = 503, description = "It cannot be said now"),
    ),
    security(("bearer" = ["quality:read"])),
)]
pub(super) async fn qualities(_may: May<ReadQuality>, State(api): State<Api>) -> Response {
    answered(api.backend.quality(None).await, NOT_OURS)
}

/// How one number is doing.
#[utoipa::path(
    get,
    path = "/v1/quality/{number}",
    tag = "quality",
    params(("number" = String, Path, description = "The business number, E.164 with `+`")),
    responses(
        (status = 200, body = NumberQuality),
        NotAllowed,
        (status = 404, description = "The number is none of ours"),
        (status = 503, description = "It cannot be said now"),
    ),
    security(("bearer" = ["quality:read"])),
)]
pub(super) async fn quality(
    _may: May<ReadQuality>,
    State(api): State<Api>,
    Named(number): Named<String>,
) -> Response {
    let found = api.backend.quality(Some(number)).await;
    answered(found.map(|found| found.and_then(|mut found| found.pop())), NOT_OURS)
}

/// Tells of a customer who blocked or reported a number. The same again changes nothing.
#[utoipa::path(
    post,
    path = "/v1/feedback",
    tag = "quality",
    request_body = Feedback,
    responses(
        (status = 200, body = Noted),
        NotTaken,
        NotAllowed,
        (status = 404, description = "The number is none of ours"),
        (status = 422, description = "It happened more than 30 days ago, or is yet to happen (`out_of_time`)"),
        (status = 503, description = "It cannot be kept now"),
    ),
    security(("bearer" = ["feedback:write"])),
)]
pub(super) async fn feedback(
    _may: May<WriteFeedback>,
    State(api): State<Api>,
    Body(feedback): Body<Feedback>,
) -> Response {
    if !feedback.at.parse().is_ok_and(|at| is_in_time(at, wall())) {
        let why = "at is more than 30 days ago, or yet to come: what is told of so late counts for nothing";
        return refusal(StatusCode::UNPROCESSABLE_ENTITY, "out_of_time", why);
    }
    let kept = api.backend.complain(feedback).await;
    answered(kept.map(|kept| kept.map(|new| Noted { new })), NOT_OURS)
}

impl Checked for Feedback {
    fn checked(self) -> Result<Self, String> {
        if self.at.parse::<Wall>().is_err() {
            return Err("at is no moment: write it as 2026-11-25T09:00:00Z".to_owned());
        }
        checked_customer(&self.customer)?;
        if self.call.as_ref().is_some_and(|call| !is_id(call)) {
            return Err("call is not the id of one".to_owned());
        }
        Ok(self)
    }
}

/// Whether feedback is of the last days, as far as clocks agree.
fn is_in_time(at: Wall, now: Wall) -> bool {
    let oldest = now.unix_ms().saturating_sub(FEEDBACK_MS);
    (oldest..=now.unix_ms().saturating_add(SKEW_MS)).contains(&at.unix_ms())
}

/// How old feedback may be, in milliseconds: 30 days, in which a number recovers.
const FEEDBACK_MS: i64 = 30 * 24 * 3_600 * 1_000;

/// How far the teller's clock and ours may differ, in milliseconds.
const SKEW_MS: i64 = 60_000;

/// What calls cost, by number, use case or day.
#[utoipa::path(
    get,
    path = "/v1/costs",
    tag = "reports",
    params(CostFilter),
    responses(
        (status = 200, body = Costs),
        (status = 400, description = "A filter cannot be read"),
        NotAllowed,
        (status = 503, description = "It cannot be said now"),
    ),
    security(("bearer" = ["costs:read"])),
)]
pub(super) async fn costs(
    _may: May<ReadCosts>,
    State(api): State<Api>,
    filter: Result<Query<CostFilter>, QueryRejection>,
) -> Response {
    let (filter, by) = match filter {
        Ok(Query(filter)) => filter.split(),
        Err(why) => return invalid(why.body_text()),
    };
    let page = match figured(&api, filter, by).await {
        Ok(page) => page,
        Err(refused) => return refused,
    };
    let Paged { figured: Figured { currency, lines, total, .. }, next } = page;
    let lines = lines.into_iter().map(|(key, figures)| cost_line(key, figures)).collect();
    Json(Costs { currency, lines, total: cost_line(String::new(), total), next }).into_response()
}

/// Connection rate, duration, outcomes and cost by use case.
#[utoipa::path(
    get,
    path = "/v1/reports/use-cases",
    tag = "reports",
    params(ReportFilter),
    responses(
        (status = 200, body = UseCases),
        (status = 400, description = "A filter cannot be read"),
        NotAllowed,
        (status = 503, description = "It cannot be said now"),
    ),
    security(("bearer" = ["costs:read"])),
)]
pub(super) async fn use_cases(
    _may: May<ReadCosts>,
    State(api): State<Api>,
    filter: Result<Query<ReportFilter>, QueryRejection>,
) -> Response {
    let filter = match filter {
        Ok(Query(filter)) => filter,
        Err(why) => return invalid(why.body_text()),
    };
    let page = match figured(&api, filter, ReportBy::UseCase).await {
        Ok(page) => page,
        Err(refused) => return refused,
    };
    let Paged { figured: Figured { currency, lines, labels, .. }, next } = page;
    let line = |(use_case, figures): (String, Sums)| UseCaseLine {
        label: labels.get(&use_case).cloned(),
        use_case,
        calls: figures.calls,
        connected: figures.connected,
        connection_rate: figures.connection_rate,
        average_ms: figures.average_ms,
        outcomes: figures.outcomes,
        cost: figures.cost,
    };
    Json(UseCases { currency, lines: lines.into_iter().map(line).collect(), next }).into_response()
}

/// Which calls, and what the report is by.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CostFilter {
    /// `number`, `use_case` or `day` (default).
    #[param(inline)]
    by: Option<ReportBy>,
    /// Of one business number, E.164 with `+` (write `%2B`).
    number: Option<String>,
    /// That began at this moment or later (RFC 3339); 31 days before `until` by default.
    #[param(format = DateTime)]
    from: Option<String>,
    /// That began before this moment (RFC 3339); now by default.
    #[param(format = DateTime)]
    until: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
    /// At most so many lines.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
}

impl CostFilter {
    fn split(self) -> (ReportFilter, ReportBy) {
        let Self { by, number, from, until, after, limit } = self;
        (ReportFilter { number, from, until, after, limit }, by.unwrap_or_default())
    }
}

/// One page of a report.
struct Paged {
    figured: Figured,
    next: Option<String>,
}

/// The page that a filter asks for, or why there is none.
async fn figured(api: &Api, filter: ReportFilter, by: ReportBy) -> Result<Paged, Response> {
    checked_moments([("from", &filter.from), ("until", &filter.until)]).map_err(invalid)?;
    let (after, limit) = (filter.after.clone(), limit_of(filter.limit).map_err(invalid)?);
    let mut figured = api.backend.report(filter, by).await.map_err(|why| unavailable(&why))?;
    figured.lines.retain(|(key, _)| after.as_ref().is_none_or(|after| key > after));
    let (lines, next) = page_of(figured.lines, limit, |(key, _)| key.clone());
    figured.lines = lines;
    Ok(Paged { figured, next })
}

fn cost_line(key: String, figures: Sums) -> CostLine {
    let Sums { calls, connected, connected_ms, priced, cost, .. } = figures;
    CostLine { key, calls, connected, connected_ms, priced, cost }
}

const NOT_OURS: &str = "the number is none of ours";

//! The REST interface under `/v1`: what is known, asked and recorded, for programs that show a token with the right scope.

mod auth;
mod backend;
mod body;
mod calls;
mod cdrs;
mod events;
mod export;
mod figures;
mod page;
mod provisioning;
mod requests;
mod reservations;
mod rules;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use auth::{ApiToken, ApiTokens, Scope};
pub use backend::{
    Backend, CdrEntry, CdrFilter, CdrRevisionEntry, DeadEvent, Finding, Grant, Inquiry, Pending,
    ProvisioningDrift, ProvisioningFact, ProvisioningReport, Rule, Standing, Unavailable,
};
pub use calls::{CallFilter, CallOrder, LiveCall, NotMade, OrderKey, Ring};
pub use figures::{
    Amounts, Feedback, FeedbackKind, Figured, Figures, NumberQuality, QualityReading, ReportBy, ReportFilter,
    Sums,
};

pub use requests::{PermissionOrder, PermissionRequested, PermissionTemplate};
pub use reservations::{AgentState, Readiness, ReservationOrder, Reserved, TrunkState};

use crate::metrics::Metrics;
use crate::refusal::refusal;
use crate::server::{Control, HttpLimits, StartError, start};

/// Serves `/v1` on `bind` for whoever shows one of `tokens`.
///
/// # Errors
/// If `bind` cannot be bound.
pub async fn serve_api(
    bind: SocketAddr,
    metrics: Arc<Metrics>,
    tokens: watch::Receiver<ApiTokens>,
    backend: Arc<dyn Backend>,
    limits: HttpLimits,
) -> Result<Control, StartError> {
    start("the REST interface", bind, router(Api { metrics, tokens, backend }), limits).await
}

/// What the REST interface is, as OpenAPI.
pub fn openapi() -> OpenApi {
    documented().split_for_parts().1
}

#[derive(Clone)]
struct Api {
    metrics: Arc<Metrics>,
    tokens: watch::Receiver<ApiTokens>,
    backend: Arc<dyn Backend>,
}

fn documented() -> OpenApiRouter<Api> {
    let bearer = SecurityScheme::Http(
        Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token of `[[api.tokens]]`."))
            .build(),
    );
    let document = OpenApiBuilder::new()
        .info(InfoBuilder::new().title("Setu").version(env!("CARGO_PKG_VERSION")).build())
        .components(Some(ComponentsBuilder::new().security_scheme(auth::SCHEME, bearer).build()))
        .build();
    OpenApiRouter::with_openapi(document)
        .routes(routes!(rules::permission))
        .routes(routes!(requests::request))
        .routes(routes!(rules::gate))
        .routes(routes!(calls::place, calls::list))
        .routes(routes!(calls::one, calls::hang_up))
        .routes(routes!(reservations::reserve, reservations::list))
        .routes(routes!(reservations::one, reservations::release))
        .routes(routes!(reservations::readiness))
        .routes(routes!(cdrs::list))
        .routes(routes!(cdrs::export))
        .routes(routes!(cdrs::one))
        .routes(routes!(events::dead))
        .routes(routes!(events::retry))
        .routes(routes!(provisioning::report))
        .routes(routes!(figures::qualities))
        .routes(routes!(figures::quality))
        .routes(routes!(figures::feedback))
        .routes(routes!(figures::costs))
        .routes(routes!(figures::use_cases))
}

fn router(api: Api) -> Router {
    let (router, document) = documented().split_for_parts();
    let document = Arc::new(document);
    router
        .route("/v1/openapi.json", get(async move || Json((*document).clone())))
        .fallback(async || refusal(StatusCode::NOT_FOUND, "not_found", "there is no such resource"))
        .method_not_allowed_fallback(async || {
            refusal(StatusCode::METHOD_NOT_ALLOWED, "method", "the resource does not know this method")
        })
        .layer(DefaultBodyLimit::max(body::BODY_BYTES))
        .layer(from_fn_with_state(api.clone(), count))
        .with_state(api)
}

async fn count(State(api): State<Api>, request: Request, next: Next) -> Response {
    let answer = next.run(request).await;
    api.metrics.api_answered(answer.status().as_u16());
    answer
}

/// What the path names. What is no text names nothing.
struct Named<T>(T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let Path(named) =
            Path::from_request_parts(parts, state).await.map_err(|_| unknown("there is no such resource"))?;
        Ok(Self(named))
    }
}

/// What cannot be answered now.
fn unavailable(why: &Unavailable) -> Response {
    refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &why.0)
}

/// What a request says wrong.
fn invalid(why: impl std::fmt::Display) -> Response {
    refusal(StatusCode::BAD_REQUEST, "invalid", &why.to_string())
}

/// What rules forbid.
fn refused(rules: Vec<Rule>) -> Response {
    let message = rules.first().map_or_else(
        || "it is not allowed".to_owned(),
        |rule| format!("{} {}: {}", rule.code, rule.title, rule.reason),
    );
    let error = serde_json::json!({ "code": "refused", "message": message, "rules": rules });
    (StatusCode::CONFLICT, Json(serde_json::json!({ "error": error }))).into_response()
}

fn unknown(what: &str) -> Response {
    refusal(StatusCode::NOT_FOUND, "not_found", what)
}

/// What came of an order: `made` answers it.
fn ordered<T>(said: Result<Result<T, NotMade>, Unavailable>, made: impl FnOnce(T) -> Response) -> Response {
    match said {
        Ok(Ok(done)) => made(done),
        Ok(Err(why)) => why.response(),
        Err(why) => unavailable(&why),
    }
}

/// What was ended, if it was there.
fn ended(said: Result<bool, Unavailable>, missing: &str) -> Response {
    match said {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => unknown(missing),
        Err(why) => unavailable(&why),
    }
}

/// Makes an answer of what the backend says.
fn answered<T: serde::Serialize>(said: Result<Option<T>, Unavailable>, missing: &str) -> Response {
    match said {
        Ok(Some(said)) => Json(said).into_response(),
        Ok(None) => unknown(missing),
        Err(why) => unavailable(&why),
    }
}

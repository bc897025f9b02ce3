//! The numbers' settings at Meta.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::{May, NotAllowed, ReadProvisioning};
use super::backend::ProvisioningReport;
use super::{Api, unavailable};

/// Every number whose settings are known.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Numbers {
    /// In the order of the configuration: those with Meta's id and an access token.
    numbers: Vec<ProvisioningReport>,
}

/// How the numbers' settings at Meta differ from the configuration, and what Meta looks at before they may call. Meta is asked
/// now; nothing is written.
#[utoipa::path(
    get,
    path = "/v1/provisioning",
    tag = "provisioning",
    responses(
        (status = 200, body = Numbers),
        NotAllowed,
        (status = 503, description = "It cannot be said now"),
    ),
    security(("bearer" = ["provisioning:read"])),
)]
pub(super) async fn report(_may: May<ReadProvisioning>, State(api): State<Api>) -> Response {
    match api.backend.provisioning().await {
        Ok(numbers) => Json(Numbers { numbers }).into_response(),
        Err(why) => unavailable(&why),
    }
}

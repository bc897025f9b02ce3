//! Permission requests.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::{May, NotAllowed, RequestPermissions};
use super::body::{Body, Checked, NotTaken};
use super::calls::{checked_agents, checked_numbers, checked_texts};
use super::reservations::{MOST_SECONDS, some_whole};
use super::{Api, ordered};

/// A customer to ask for permission.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PermissionOrder {
    /// The business number, E.164 with `+`.
    #[schema(example = "+911234567890", pattern = r"^\+[1-9][0-9]{6,14}$")]
    pub number: String,
    /// The customer to ask, E.164 with `+`.
    #[schema(example = "+919876543210", pattern = r"^\+[1-9][0-9]{6,14}$")]
    pub customer: String,
    /// What the message says, within the 24 hours after the customer wrote.
    #[serde(default)]
    #[schema(max_length = 512)]
    pub text: Option<String>,
    /// The template the message is made of, which may go out at any time.
    #[serde(default)]
    pub template: Option<PermissionTemplate>,
    /// Who is to be ready for the call: one of these agents, or, if empty, anybody of the number's route.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub agents: Vec<String>,
    /// Sets one of them aside for the customer, for so many seconds.
    #[serde(default, deserialize_with = "some_whole")]
    #[schema(minimum = 1, maximum = 3600)]
    pub reserve_seconds: Option<u32>,
    /// Whether a person asks, rather than a dialler.
    #[serde(default)]
    pub by_hand: bool,
    /// What the call will be for.
    #[serde(default)]
    #[schema(max_length = 512)]
    pub use_case: Option<String>,
    /// The campaign it is part of.
    #[serde(default)]
    #[schema(max_length = 512)]
    pub campaign: Option<String>,
    /// What it belongs to elsewhere, such as a ticket: told to the agent who is set aside.
    #[serde(default)]
    #[schema(max_length = 512)]
    pub reference: Option<String>,
}

/// A message template with a permission request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PermissionTemplate {
    /// Its name.
    #[schema(max_length = 512)]
    pub name: String,
    /// Its language, such as `en`.
    #[schema(example = "en", max_length = 512)]
    pub language: String,
}

/// A permission request that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PermissionRequested {
    /// WhatsApp's id of the message; null where it was not told.
    pub message: Option<String>,
    /// Who was set aside for the call.
    pub reservation: Option<String>,
}

/// Asks a customer, in a message, whether the number may call: the gate is asked first, when somebody is there for the call.
#[utoipa::path(
    post,
    path = "/v1/permission-requests",
    tag = "permissions",
    request_body = PermissionOrder,
    responses(
        (status = 202, body = PermissionRequested),
        NotTaken,
        NotAllowed,
        (status = 404, description = "Number or agent are none of ours: `unknown_number`, `unknown_agent`"),
        (status = 409, description = "Rules forbid it (`refused`, with `rules`), or the number can send nothing (`no_way`)"),
        (status = 503, description = "It cannot be sent now, or nobody knows whether it was"),
    ),
    security(("bearer" = ["permissions:request"])),
)]
pub(super) async fn request(
    _may: May<RequestPermissions>,
    State(api): State<Api>,
    Body(order): Body<PermissionOrder>,
) -> Response {
    ordered(api.backend.request_permission(order).await, |requested| {
        (StatusCode::ACCEPTED, Json(requested)).into_response()
    })
}

impl Checked for PermissionOrder {
    fn checked(self) -> Result<Self, String> {
        checked_numbers([("number", Some(&self.number)), ("customer", Some(&self.customer))])?;
        checked_agents(&self.agents)?;
        checked_texts([
            ("text", &self.text),
            ("use_case", &self.use_case),
            ("campaign", &self.campaign),
            ("reference", &self.reference),
        ])?;
        if let Some(PermissionTemplate { name, language }) = &self.template {
            checked_texts([("name", &Some(name.clone())), ("language", &Some(language.clone()))])?;
        }
        if self.reserve_seconds.is_some_and(|seconds| !(1..=MOST_SECONDS).contains(&seconds)) {
            return Err(format!("reserve_seconds is not from 1 to {MOST_SECONDS}"));
        }
        Ok(self)
    }
}

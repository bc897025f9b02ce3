//! Permissions and the gate.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::{AskGate, May, NotAllowed, ReadPermissions};
use super::backend::{Finding, Inquiry, Rule, Standing};
use super::body::{Body, Checked, NotTaken};
use super::calls::{checked_customer, checked_texts};
use super::{Api, Named, answered, invalid};

/// What is known of a customer's permissions with a number.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Permission {
    /// Whether the number may call the customer, by the permissions alone.
    call: Standing,
    /// Whether the number may ask for permission.
    request: Standing,
}

/// The gate's answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Answer {
    /// Whether the call may be made now.
    allowed: bool,
    /// The rules that forbid it, the one that is hardest to change first.
    refused: Vec<Rule>,
    /// The rules that forbid a permission request; empty if one may be sent now.
    request_refused: Vec<Rule>,
}

/// Whether a number may call a customer or ask for permission, and why.
#[utoipa::path(
    get,
    path = "/v1/permissions/{number}/{customer}",
    tag = "permissions",
    params(
        ("number" = String, Path, description = "The business number, E.164 with `+`"),
        ("customer" = String, Path, description = "E.164 with or without `+`, or a business-scoped user id",
            pattern = r"^(\+?[1-9][0-9]{6,14}|[A-Z]{2}\.(ENT\.)?[0-9A-Za-z]{1,128})$"),
    ),
    responses(
        (status = 200, body = Permission),
        (status = 400, description = "The customer names nobody"),
        NotAllowed,
        (status = 404, description = "The number is none of ours"),
        (status = 503, description = "It cannot be said now"),
    ),
    security(("bearer" = ["permissions:read"])),
)]
pub(super) async fn permission(
    _may: May<ReadPermissions>,
    State(api): State<Api>,
    Named((number, customer)): Named<(String, String)>,
) -> Response {
    if let Err(why) = checked_customer(&customer) {
        return invalid(why);
    }
    let inquiry = Inquiry { number, customer, by_hand: true, ..Inquiry::default() };
    let found = api.backend.inquire(inquiry).await;
    let permission = |Finding { call, request, .. }| Permission { call, request };
    answered(found.map(|found| found.map(permission)), NOT_OURS)
}

/// Whether a call may be made now: every rule is looked at. Nothing is set aside and nothing is counted.
#[utoipa::path(
    post,
    path = "/v1/gate",
    tag = "gate",
    request_body = Inquiry,
    responses(
        (status = 200, body = Answer),
        NotTaken,
        NotAllowed,
        (status = 404, description = "The number is none of ours"),
        (status = 503, description = "It cannot be said now"),
    ),
    security(("bearer" = ["gate:ask"])),
)]
pub(super) async fn gate(
    _may: May<AskGate>,
    State(api): State<Api>,
    Body(inquiry): Body<Inquiry>,
) -> Response {
    let found = api.backend.inquire(inquiry).await;
    let answer = |Finding { call_refused, request_refused, .. }: Finding| Answer {
        allowed: call_refused.is_empty(),
        refused: call_refused,
        request_refused,
    };
    answered(found.map(|found| found.map(answer)), NOT_OURS)
}

impl Checked for Inquiry {
    fn checked(self) -> Result<Self, String> {
        checked_customer(&self.customer)?;
        checked_texts([("use_case", &self.use_case), ("campaign", &self.campaign)])?;
        Ok(self)
    }
}

const NOT_OURS: &str = "the number is none of ours";

//! Bodies of orders and questions: whoever may ask is heard out up to a bound, and what is wrong is said before the bridge is
//! asked anything.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::Response;
use serde::de::DeserializeOwned;

use super::{Api, invalid};
use crate::refusal::refusal;

/// What a request says in its body, read and [`checked`](Checked::checked). Comes after [`May`](super::auth::May), so that
/// nothing is read of a request that may not be made.
pub(super) struct Body<T>(pub T);

/// What can be wrong though it can be read.
pub(super) trait Checked: DeserializeOwned {
    /// Itself, or what is wrong with it.
    fn checked(self) -> Result<Self, String>;
}

/// What every operation that takes a body answers to one that it does not take.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "it describes answers, which are made elsewhere")]
pub(super) enum NotTaken {
    /// The body cannot be read, or says what cannot be meant: `invalid`
    #[response(status = 400)]
    Invalid,
    /// The body is larger than 16,384 bytes: `too_large`
    #[response(status = 413)]
    TooLarge,
}

/// No question is longer.
pub(super) const BODY_BYTES: usize = 16_384;

impl<T: Checked> FromRequest<Api> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Response> {
        let Json(read) = Json::<T>::from_request(request, api).await.map_err(|why| not_taken(&why))?;
        read.checked().map(Self).map_err(invalid)
    }
}

fn not_taken(why: &JsonRejection) -> Response {
    if why.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let said = format!("the body is larger than {BODY_BYTES} bytes");
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &said);
    }
    invalid(why.body_text())
}

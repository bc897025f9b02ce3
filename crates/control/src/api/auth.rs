//! Who may ask what: bearer tokens (RFC 6750), each with scopes.

use std::collections::BTreeSet;
use std::marker::PhantomData;

use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use setu_model::Secret;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::Api;
use crate::refusal::refusal;

/// The tokens that are known. Only their digests are kept.
#[derive(Debug, Clone, Default)]
pub struct ApiTokens(Vec<ApiToken>);

/// One token.
#[derive(Clone)]
pub struct ApiToken {
    name: String,
    digest: [u8; 32],
    scopes: BTreeSet<Scope>,
}

/// What a token lets its holder do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Read call detail records.
    CdrsRead,
    /// Read what is known of permissions.
    PermissionsRead,
    /// Ask customers for permission.
    PermissionsRequest,
    /// Ask whether a call or request may be made.
    GateAsk,
    /// Read which events were given up.
    EventsRead,
    /// Have events that were given up tried again.
    EventsWrite,
    /// See the calls that live.
    CallsRead,
    /// Place calls and end them.
    CallsWrite,
    /// Read how the numbers' settings at Meta differ, and what Meta looks at.
    ProvisioningRead,
    /// See who is set aside for calls to come.
    ReservationsRead,
    /// Set agents aside, and give them back.
    ReservationsWrite,
    /// See who is ready to take calls.
    ReadinessRead,
    /// Read how numbers are doing.
    QualityRead,
    /// Tell of customers who blocked or reported a number.
    FeedbackWrite,
    /// Read what calls came to and cost.
    CostsRead,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 15] = [
        Self::CdrsRead,
        Self::PermissionsRead,
        Self::PermissionsRequest,
        Self::GateAsk,
        Self::CallsRead,
        Self::CallsWrite,
        Self::ProvisioningRead,
        Self::ReservationsRead,
        Self::ReservationsWrite,
        Self::ReadinessRead,
        Self::EventsRead,
        Self::EventsWrite,
        Self::QualityRead,
        Self::FeedbackWrite,
        Self::CostsRead,
    ];

    /// The word for it in the configuration and in the OpenAPI document.
    pub const fn word(self) -> &'static str {
        match self {
            Self::CdrsRead => "cdrs:read",
            Self::PermissionsRead => "permissions:read",
            Self::PermissionsRequest => "permissions:request",
            Self::GateAsk => "gate:ask",
            Self::EventsRead => "events:read",
            Self::EventsWrite => "events:write",
            Self::CallsRead => "calls:read",
            Self::CallsWrite => "calls:write",
            Self::ProvisioningRead => "provisioning:read",
            Self::ReservationsRead => "reservations:read",
            Self::ReservationsWrite => "reservations:write",
            Self::ReadinessRead => "readiness:read",
            Self::QualityRead => "quality:read",
            Self::FeedbackWrite => "feedback:write",
            Self::CostsRead => "costs:read",
        }
    }

    /// The scope of a word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.word() == word)
    }
}

impl ApiToken {
    /// A token of somebody named `name`.
    pub fn new(name: &str, token: &Secret<String>, scopes: impl IntoIterator<Item = Scope>) -> Self {
        Self { name: name.to_owned(), digest: digest(token.reveal()), scopes: scopes.into_iter().collect() }
    }
}

impl std::fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiToken")
            .field("name", &self.name)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

impl ApiTokens {
    /// These tokens and no others.
    pub const fn new(tokens: Vec<ApiToken>) -> Self {
        Self(tokens)
    }

    /// Whose token it is. As long for a wrong one as for any right one.
    fn find(&self, token: &str) -> Option<&ApiToken> {
        let digest = digest(token);
        let mut found = None;
        for known in &self.0 {
            let same: Choice = known.digest.ct_eq(&digest);
            if bool::from(same) {
                found = Some(known);
            }
        }
        found
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// The name of the scheme in the OpenAPI document.
pub(super) const SCHEME: &str = "bearer";

/// Proof that whoever asks may: an argument of every handler.
pub(super) struct May<N: Need> {
    /// The name of whoever asks.
    pub(super) by: String,
    need: PhantomData<N>,
}

/// What a handler needs.
pub(super) trait Need: Send {
    const SCOPE: Scope;
}

/// What every operation answers to those who may not ask for it.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "it describes answers, which are made elsewhere")]
pub(super) enum NotAllowed {
    /// No token that is known
    #[response(status = 401)]
    Unknown,
    /// The token has not the scope
    #[response(status = 403)]
    WithoutScope,
}

/// Needs [`Scope::CdrsRead`].
pub(super) struct ReadCdrs;
/// Needs [`Scope::PermissionsRead`].
pub(super) struct ReadPermissions;
/// Needs [`Scope::PermissionsRequest`].
pub(super) struct RequestPermissions;
/// Needs [`Scope::GateAsk`].
pub(super) struct AskGate;
/// Needs [`Scope::EventsRead`].
pub(super) struct ReadEvents;
/// Needs [`Scope::EventsWrite`].
pub(super) struct WriteEvents;
/// Needs [`Scope::CallsRead`].
pub(super) struct ReadCalls;
/// Needs [`Scope::CallsWrite`].
pub(super) struct WriteCalls;
/// Needs [`Scope::ProvisioningRead`].
pub(super) struct ReadProvisioning;
/// Needs [`Scope::ReservationsRead`].
pub(super) struct ReadReservations;
/// Needs [`Scope::ReservationsWrite`].
pub(super) struct WriteReservations;
/// Needs [`Scope::ReadinessRead`].
pub(super) struct ReadReadiness;
/// Needs [`Scope::QualityRead`].
pub(super) struct ReadQuality;
/// Needs [`Scope::FeedbackWrite`].
pub(super) struct WriteFeedback;
/// Needs [`Scope::CostsRead`].
pub(super) struct ReadCosts;

impl Need for ReadCdrs {
    const SCOPE: Scope = Scope::CdrsRead;
}

impl Need for ReadPermissions {
    const SCOPE: Scope = Scope::PermissionsRead;
}

impl Need for RequestPermissions {
    const SCOPE: Scope = Scope::PermissionsRequest;
}

impl Need for AskGate {
    const SCOPE: Scope = Scope::GateAsk;
}

impl Need for ReadEvents {
    const SCOPE: Scope = Scope::EventsRead;
}

impl Need for ReadProvisioning {
    const SCOPE: Scope = Scope::ProvisioningRead;
}

impl Need for WriteEvents {
    const SCOPE: Scope = Scope::EventsWrite;
}

impl Need for ReadCalls {
    const SCOPE: Scope = Scope::CallsRead;
}

impl Need for WriteCalls {
    const SCOPE: Scope = Scope::CallsWrite;
}

impl Need for ReadReservations {
    const SCOPE: Scope = Scope::ReservationsRead;
}

impl Need for WriteReservations {
    const SCOPE: Scope = Scope::ReservationsWrite;
}

impl Need for ReadReadiness {
    const SCOPE: Scope = Scope::ReadinessRead;
}

impl Need for ReadQuality {
    const SCOPE: Scope = Scope::QualityRead;
}

impl Need for WriteFeedback {
    const SCOPE: Scope = Scope::FeedbackWrite;
}

impl Need for ReadCosts {
    const SCOPE: Scope = Scope::CostsRead;
}

impl<N: Need> FromRequestParts<Api> for May<N> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Response> {
        let shown = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        // The scheme in any case (RFC 9110 section 11.1).
        let bearer =
            |value: &'_ str| value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer "));
        let token = shown.filter(|value| bearer(value)).and_then(|value| value.get(7..)).map(str::trim);
        // As the document names it: what stands in its place may be a customer's number.
        let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let tokens = api.tokens.borrow();
        let Some(known) = token.and_then(|token| tokens.find(token)) else {
            let why = if token.is_some() { "the token is not known" } else { "no bearer token is shown" };
            tracing::warn!(path, why, "a request to the REST interface is refused");
            let mut refused = refusal(StatusCode::UNAUTHORIZED, "unauthorized", why);
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return Err(refused);
        };
        if known.scopes.contains(&N::SCOPE) {
            tracing::debug!(by = known.name, path, "asked over the REST interface");
            return Ok(Self { by: known.name.clone(), need: PhantomData });
        }
        let why = format!("the token has no scope {}", N::SCOPE.word());
        tracing::warn!(by = known.name, path, why, "a request to the REST interface is refused");
        Err(refusal(StatusCode::FORBIDDEN, "forbidden", &why))
    }
}

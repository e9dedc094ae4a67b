//! Altinn as a service owner sees it: token exchange, PDP, authorized parties, packages, resource registry.

pub(crate) mod access_lists;
pub(crate) mod bearer;
pub(crate) mod exchange;
pub(crate) mod packages;
pub(crate) mod parties;
pub(crate) mod pdp;
pub(crate) mod policy_xml;
pub(crate) mod registry;
pub(crate) mod system_users;

use crate::state::Shared;
use axum::Router;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde_json::Value;
use std::sync::Arc;

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .merge(exchange::router())
        .merge(pdp::router())
        .merge(parties::router())
        .merge(packages::router())
        .merge(registry::router())
        .merge(access_lists::router())
        .merge(system_users::router())
        .merge(internal())
}

/// Paths below which the real Altinn has more than the sandbox.
const APIS: [&str; 4] = [
    "/authentication/api/",
    "/accessmanagement/api/",
    "/resourceregistry/api/",
    "/authorization/api/",
];

/// What is asked of a path that the sandbox does not have: 501 where Altinn has an API, else 404.
pub(crate) fn absent(uri: &Uri) -> Response {
    let path = uri.path();
    if !APIS.iter().any(|api| path.starts_with(api)) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let text =
        format!("The sandbox does not have {path}; docs/sandbox-endpoints.md lists what it has.");
    let problem = serde_json::json!({ "title": "Not simulated", "status": 501, "detail": text });
    Refusal::Problem(problem).into_response()
}

/// Stands where Altinn has a method, or a name, that would else be taken for another endpoint's.
pub(crate) async fn not_simulated(uri: Uri) -> Response {
    absent(&uri)
}

/// Endpoints that exist but are closed to service owners.
fn internal() -> Router<Arc<Shared>> {
    let refused = |status: StatusCode| any(move || async move { status });
    Router::new()
        .route("/authorization/api/v1/decision", refused(StatusCode::NOT_FOUND))
        .route("/accessmanagement/api/v1/policyinformation/{*rest}", refused(StatusCode::NOT_FOUND))
        .route("/accessmanagement/api/v1/authorizedparties", refused(StatusCode::UNAUTHORIZED))
        .route("/accessmanagement/api/v1/enduser/{*rest}", refused(StatusCode::FORBIDDEN))
}

/// An answer other than the one asked for.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A status without a body.
    Status(StatusCode),
    /// A status with plain text.
    Text(StatusCode, String),
    /// `application/problem+json` with the status that it names, else 400.
    Problem(Value),
}

impl From<StatusCode> for Refusal {
    fn from(status: StatusCode) -> Self {
        Self::Status(status)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Status(status) => status.into_response(),
            Self::Text(status, text) => (status, text).into_response(),
            Self::Problem(problem) => {
                let headers = [(header::CONTENT_TYPE, "application/problem+json; charset=utf-8")];
                let status = problem.get("status").and_then(Value::as_u64);
                let status = status.and_then(|status| u16::try_from(status).ok());
                let status = status.and_then(|status| StatusCode::from_u16(status).ok());
                let status = status.unwrap_or(StatusCode::BAD_REQUEST);
                (status, headers, problem.to_string()).into_response()
            }
        }
    }
}

/// The problem of the web framework: one member, one text.
pub(crate) fn framework_problem(member: &str, text: &str) -> Refusal {
    Refusal::Problem(serde_json::json!({
        "type": "https://tools.ietf.org/html/rfc9110#section-15.5.1",
        "title": "One or more validation errors occurred.",
        "status": 400,
        "errors": { member: [text] },
    }))
}

//! Altinn as a service owner sees it: token exchange, PDP, authorized parties, packages, resource registry.

pub(crate) mod access_lists;
pub(crate) mod bearer;
pub(crate) mod exchange;
pub(crate) mod packages;
pub(crate) mod parties;
pub(crate) mod pdp;
pub(crate) mod policy_xml;
pub(crate) mod registry;

use crate::state::Shared;
use axum::Router;
use axum::http::{StatusCode, header};
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
        .merge(internal())
}

/// Endpoints that exist but are closed to service owners.
fn internal() -> Router<Arc<Shared>> {
    let refused = |status: StatusCode| any(move || async move { status });
    Router::new()
        .route("/authorization/api/v1/decision", refused(StatusCode::NOT_FOUND))
        .route("/accessmanagement/api/v1/policyinformation/{*rest}", refused(StatusCode::NOT_FOUND))
        .route("/accessmanagement/api/v1/authorizedparties", refused(StatusCode::UNAUTHORIZED))
        .route("/accessmanagement/api/v1/enduser/{*rest}", refused(StatusCode::FORBIDDEN))
        .route("/authentication/api/v1/systemuser/{*rest}", refused(StatusCode::FORBIDDEN))
        .route("/authentication/api/v1/systemregister/{*rest}", refused(StatusCode::FORBIDDEN))
}

/// An answer other than the one asked for.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A status without a body.
    Status(StatusCode),
    /// A status with plain text.
    Text(StatusCode, String),
    /// 400 with `application/problem+json`.
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
                (StatusCode::BAD_REQUEST, headers, problem.to_string()).into_response()
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

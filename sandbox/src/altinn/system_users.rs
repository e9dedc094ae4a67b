//! System register, system users, requests and client delegation (Altinn Authentication).
//!
//! [`register`] is the vendor's list of systems, [`requests`] and [`changes`] ask customers, [`users`] lists, creates
//! and deletes, [`clients`] gives clients to agents. [`portal`] says which person calls and what he or she may do.

mod approval;
mod changes;
mod clients;
mod dto;
mod portal;
mod problems;
mod register;
mod requests;
mod users;

use crate::state::Shared;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::sync::Arc;

/// Scopes of a person's token, in the portal and in other end-user systems.
pub(crate) const PERSON_SCOPES: &str =
    "altinn:portal/enduser altinn:clientdelegations.read altinn:clientdelegations.write";

const SYSTEM_USER: &str = "/authentication/api/v1/systemuser";

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .merge(register::router())
        .merge(requests::router())
        .merge(approval::router())
        .merge(changes::router())
        .merge(users::router())
        .merge(clients::router())
}

/// A list of Altinn's, with the token of the next page.
fn page<T: serde::Serialize>(
    shared: &Shared,
    path: &str,
    data: &[T],
    next: Option<String>,
) -> Response {
    let links = next.map_or_else(
        || json!({}),
        |token| json!({ "next": format!("{}{path}?token={token}", shared.urls.altinn) }),
    );
    axum::Json(json!({ "links": links, "data": data })).into_response()
}

/// Rows on a page.
const PAGE: usize = 50;

/// `202 Accepted` without a body.
fn accepted() -> Response {
    StatusCode::ACCEPTED.into_response()
}

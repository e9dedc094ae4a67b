//! Exchange of a Maskinporten token for an Altinn token, and Altinn's own metadata and keys.

use super::Refusal;
use super::bearer;
use crate::crypto::jws;
use crate::state::Shared;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use uuid::Uuid;

/// The life of an Altinn token, whatever is left of the token it was exchanged for.
const LIFE_SECONDS: i64 = 30 * 60;

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/authentication/api/v1/exchange/{provider}", get(exchange))
        .route("/authentication/api/v1/openid/.well-known/openid-configuration", get(metadata))
        .route("/authentication/api/v1/openid/.well-known/openid-configuration/jwks", get(keys))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ExchangeQuery {
    test: bool,
}

async fn exchange(
    State(shared): State<Arc<Shared>>,
    Path(provider): Path<String>,
    Query(query): Query<ExchangeQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    if headers.contains_key("x-altinn-enterpriseuser-authentication") {
        return Err(StatusCode::GONE.into());
    }
    if !provider.eq_ignore_ascii_case("maskinporten") {
        let text = "Invalid token provider. Trusted token providers are 'Maskinporten'.";
        return Err(Refusal::Text(StatusCode::BAD_REQUEST, text.to_owned()));
    }
    let incoming = bearer::bearer(&headers)
        .and_then(|token| bearer::verified_claims(token, &shared.maskinporten_keys(), shared.now()))
        .filter(|claims| claims.get("iss") == Some(&json!(shared.urls.issuer)))
        .ok_or(StatusCode::UNAUTHORIZED)?;
    let claims = exchanged(&shared, incoming, query.test).ok_or(StatusCode::UNAUTHORIZED)?;
    let token = jws::sign(&shared.altinn_keys.current(), &claims)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accepts.is_some_and(|accepts| accepts.contains("json")) {
        return Ok(Json(token).into_response());
    }
    Ok(token.into_response())
}

/// The claims of the Altinn token; `None` without a consumer.
fn exchanged(
    shared: &Shared,
    incoming: Map<String, Value>,
    test: bool,
) -> Option<Map<String, Value>> {
    let consumer = incoming.get("consumer")?.get("ID")?.as_str()?.strip_prefix("0192:")?.to_owned();
    let mut claims: Map<String, Value> = incoming
        .into_iter()
        .filter(|(name, _)| !["aud", "iss", "client_amr", "sid"].contains(&name.as_str()))
        .collect();
    // Claims are copied one by one, so an array of one comes out as its element.
    if let Some(details) = claims.get_mut("authorization_details")
        && let Some([detail]) = details.as_array().map(Vec::as_slice)
    {
        *details = detail.clone();
    }
    let now = shared.now();
    let org = service_owner_code(shared, &claims, &consumer, test);
    let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    put("iss", json!(shared.urls.altinn_issuer()));
    put("sid", json!(Uuid::new_v4()));
    put("urn:altinn:orgNumber", json!(consumer));
    put("urn:altinn:authenticatemethod", json!("maskinporten"));
    put("urn:altinn:authlevel", json!("3"));
    put("nbf", json!(now));
    put("iat", json!(now));
    put("exp", json!(now + LIFE_SECONDS));
    if let Some(org) = org {
        put("urn:altinn:org", json!(org));
    }
    Some(claims)
}

/// The code of a known service owner that asks with a service-owner scope.
fn service_owner_code(
    shared: &Shared,
    claims: &Map<String, Value>,
    consumer: &str,
    test: bool,
) -> Option<String> {
    let scope = claims.get("scope").and_then(Value::as_str).unwrap_or_default();
    let world = shared.world();
    let owner = &world.service_owner;
    if !scope.contains("altinn:serviceowner") || owner.organization.as_str() != consumer {
        return None;
    }
    Some(if test && owner.code == "digdir" { "ttd".to_owned() } else { owner.code.clone() })
}

async fn metadata(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let issuer = shared.urls.altinn_issuer();
    Json(json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}.well-known/openid-configuration/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }))
}

async fn keys(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let keys: Vec<Value> =
        shared.altinn_keys.published().map(|key| key.public().altinn_jwk(key.kid())).collect();
    Json(json!({ "keys": keys }))
}

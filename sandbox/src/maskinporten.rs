//! Maskinporten: metadata, keys and the token endpoint.

pub(crate) mod assertion;
pub(crate) mod certificate;
pub(crate) mod client_keys;
pub(crate) mod error;
pub(crate) mod issue;
pub(crate) mod rar;
pub(crate) mod replay;
pub(crate) mod token;

use crate::state::Shared;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::Arc;

/// The type of a system user's authorization detail.
pub(crate) const SYSTEM_USER_TYPE: &str = "urn:altinn:systemuser";
/// The grant type of the JWT bearer grant (RFC 7523).
pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/.well-known/oauth-authorization-server", get(metadata))
        .route("/jwk", get(keys))
        .route("/token", post(token::token))
}

/// The metadata. Who asks at the listener's own address, and not at the name in a certificate, is told addresses
/// there: a proxy that knows no other need not find the name.
async fn metadata(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Json<Value> {
    let issuer = &shared.urls.issuer;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let own = host.filter(|host| *host == shared.urls.listener);
    let base = own.map_or_else(|| issuer.clone(), |host| format!("http://{host}/"));
    Json(json!({
        "issuer": issuer,
        "token_endpoint": format!("{base}token"),
        "jwks_uri": format!("{base}jwk"),
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS256", "RS384", "RS512"],
        "grant_types_supported": [JWT_BEARER],
        "authorization_details_types_supported": [SYSTEM_USER_TYPE, "urn:altinn:consent"],
    }))
}

async fn keys(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let keys: Vec<Value> =
        shared.maskinporten_keys().published().map(|key| key.public().jwk(key.kid())).collect();
    Json(json!({ "keys": keys }))
}

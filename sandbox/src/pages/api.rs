//! The sandbox's own endpoints, called by its pages as any other program would, without a socket between.

use crate::crypto::jws;
use crate::state::Shared;
use crate::world::party::Person;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Collected};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::{Map, Value, json};

/// The endpoints of the two services and the knobs.
#[derive(Clone)]
pub(crate) struct Api(pub(crate) Router);

/// What an endpoint answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl Reply {
    pub(super) fn is_good(&self) -> bool {
        self.status.is_success()
    }

    /// A member of the answer that is text.
    pub(super) fn text(&self, member: &str) -> Option<&str> {
        self.body.get(member).and_then(Value::as_str)
    }
}

impl Api {
    /// Calls an endpoint with a JSON body.
    pub(super) async fn call(
        &self,
        method: &str,
        target: &str,
        bearer: Option<&str>,
        body: &Value,
    ) -> Reply {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, target, bearer, ("application/json", text)).await
    }

    /// Calls an endpoint with a form as its body.
    pub(super) async fn form(&self, target: &str, body: String) -> Reply {
        self.send("POST", target, None, ("application/x-www-form-urlencoded", body)).await
    }

    async fn send(
        &self,
        method: &str,
        target: &str,
        bearer: Option<&str>,
        (content_type, body): (&str, String),
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::CONTENT_TYPE, content_type);
        if let Some(token) = bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let Ok(request) = request.body(Body::from(body)) else {
            return Reply { status: StatusCode::BAD_REQUEST, body: Value::Null };
        };
        let service = TowerToHyperService::new(self.0.clone());
        let response = service.call(request).await.unwrap_or_else(|never| match never {});
        let status = response.status();
        let bytes = response.into_body().collect().await.map(Collected::to_bytes);
        let body = bytes.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Reply { status, body: body.unwrap_or(Value::Null) }
    }
}

/// A token of the portal for a person, good for half an hour.
pub(crate) fn portal_token(
    shared: &Shared,
    person: &Person,
    level: u8,
) -> Result<String, crate::crypto::rsa::KeyError> {
    let now = shared.now();
    let claims = json!({
        "iss": shared.urls.altinn_issuer(),
        "pid": person.number,
        "scope": crate::altinn::system_users::PERSON_SCOPES,
        "urn:altinn:party:uuid": person.uuid(),
        "urn:altinn:partyid": person.party_id,
        "urn:altinn:authlevel": level.to_string(),
        "urn:altinn:authenticatemethod": "BankID",
        "iat": now, "nbf": now, "exp": now + 30 * 60,
    });
    let claims: Map<String, Value> = claims.as_object().cloned().unwrap_or_default();
    jws::sign(&shared.altinn_keys.current(), &claims)
}

//! Who calls Altinn: the exchanged token and the subscription key.

use crate::crypto::jws::Jws;
use crate::crypto::rsa::PublicKey;
use crate::state::{KeyRing, Shared};
use crate::world::number::{OrgNumber, PersonNumber};
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

/// How far the clocks may be apart.
const SKEW_SECONDS: i64 = 10;

/// The claims of a verified token.
pub(crate) struct Caller {
    claims: Map<String, Value>,
}

impl Caller {
    /// The caller of an Altinn endpoint: an Altinn token with one of the scopes.
    pub(crate) fn authorize(
        shared: &Shared,
        headers: &HeaderMap,
        scopes: &[&str],
    ) -> Result<Self, StatusCode> {
        let claims = bearer(headers)
            .and_then(|token| verified_claims(token, &shared.altinn_keys, shared.now()))
            .ok_or(StatusCode::UNAUTHORIZED)?;
        let caller = Self { claims };
        if scopes.iter().any(|scope| caller.has_scope(scope)) {
            Ok(caller)
        } else {
            Err(StatusCode::FORBIDDEN)
        }
    }

    /// The caller of an endpoint that takes Maskinporten's tokens as well as Altinn's, with one of the scopes.
    pub(crate) fn of_either_issuer(
        shared: &Shared,
        headers: &HeaderMap,
        scopes: &[&str],
    ) -> Result<Self, StatusCode> {
        let now = shared.now();
        let claims = bearer(headers)
            .and_then(|token| {
                verified_claims(token, &shared.altinn_keys, now)
                    .or_else(|| verified_claims(token, &shared.maskinporten_keys(), now))
            })
            .ok_or(StatusCode::UNAUTHORIZED)?;
        let caller = Self { claims };
        if scopes.iter().any(|scope| caller.has_scope(scope)) {
            Ok(caller)
        } else {
            Err(StatusCode::FORBIDDEN)
        }
    }

    /// The organisation that the token was issued to.
    pub(crate) fn consumer(&self) -> Option<OrgNumber> {
        let id = self.claims.get("consumer")?.get("ID")?.as_str()?;
        OrgNumber::parse_iso6523(id).ok()
    }

    /// The person in a token of the portal.
    pub(crate) fn person(&self) -> Option<PersonNumber> {
        PersonNumber::parse(self.claims.get("pid")?.as_str()?).ok()
    }

    /// The level of the login.
    pub(crate) fn level(&self) -> u8 {
        let level = self.claims.get("urn:altinn:authlevel").and_then(Value::as_str);
        level.and_then(|level| level.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn has_scope(&self, scope: &str) -> bool {
        let scopes = self.claims.get("scope").and_then(Value::as_str).unwrap_or_default();
        scopes.split_whitespace().any(|held| held == scope)
    }

    /// The organisation code of a service owner.
    pub(crate) fn org_code(&self) -> Option<&str> {
        self.claims.get("urn:altinn:org").and_then(Value::as_str)
    }
}

/// Refuses a call without a known subscription key, as the gateway does.
pub(crate) fn check_subscription(shared: &Shared, headers: &HeaderMap) -> Result<(), StatusCode> {
    let key = headers.get("ocp-apim-subscription-key").and_then(|value| value.to_str().ok());
    let known = key.is_some_and(|key| shared.world().subscription_keys.contains(key));
    if known { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
}

/// The bearer token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The claims, if a published key signed them and they have not expired.
pub(crate) fn verified_claims(token: &str, keys: &KeyRing, now: i64) -> Option<Map<String, Value>> {
    let jws = Jws::parse(token)?;
    let kid = jws.header_text("kid")?;
    let key: PublicKey = keys.published().find(|key| key.kid() == kid)?.public().clone();
    let expires = jws.claims.get("exp").and_then(Value::as_i64)?;
    let alive = expires + SKEW_SECONDS > now;
    (alive && jws.verified_by(&key)).then_some(jws.claims)
}

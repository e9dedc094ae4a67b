//! The grant assertion: who signed it, whether it is fresh, meant for us and used for the first time.

use super::error::TokenError;
use crate::crypto::jws::Jws;
use crate::crypto::rsa::PublicKey;
use crate::state::Shared;
use crate::world::model::Client;
use serde_json::{Map, Value};

/// How far the clocks may be apart.
const SKEW_SECONDS: i64 = 10;
/// The longest life of an assertion.
const LONGEST_SECONDS: i64 = 120;

/// An assertion that authenticates its client.
pub(crate) struct Assertion {
    pub(crate) client: Client,
    /// `client_amr` of the token.
    pub(crate) method: &'static str,
    pub(crate) claims: Map<String, Value>,
}

/// Checks everything but what is asked for. A good assertion is used up by this.
pub(crate) fn authenticate(shared: &Shared, text: &str) -> Result<Assertion, TokenError> {
    let jws = Jws::parse(text).ok_or_else(|| TokenError::malformed("assertion is not a JWS."))?;
    let client = jws
        .claims
        .get("iss")
        .and_then(Value::as_str)
        .and_then(|id| shared.world().clients.get(id).cloned())
        .ok_or_else(|| {
            TokenError::grant("MP-100", "Client authentication failed. Unknown client.")
        })?;
    let (key, method) = signing_key(shared, &client, &jws)?;
    if jws.algorithm().is_none() || !jws.verified_by(&key) {
        return Err(TokenError::grant("MP-124", "Invalid assertion. Bad signature."));
    }
    check_audience(shared, &jws.claims)?;
    let now = shared.now();
    check_times(&jws.claims, now)?;
    // Without a `jti` the whole assertion is its id.
    let id = jws.claims.get("jti").and_then(Value::as_str).unwrap_or(text);
    if !shared.used_assertions().take(&client.id, id, now) {
        return Err(TokenError::grant("MP-012", "Grant is used before."));
    }
    Ok(Assertion { client, method, claims: jws.claims })
}

/// The key that must have signed, by `kid` or by `x5c`.
fn signing_key(
    shared: &Shared,
    client: &Client,
    jws: &Jws<'_>,
) -> Result<(PublicKey, &'static str), TokenError> {
    match (jws.header_text("kid"), jws.header.get("x5c")) {
        (Some(kid), None) => {
            registered_key(shared, client, kid).map(|key| (key, "private_key_jwt"))
        }
        (None, Some(x5c)) => shared
            .authority
            .check(x5c, client.organization.as_str())
            .map(|key| (key, "virksomhetssertifikat")),
        _ => Err(TokenError::malformed("Exactly one of kid and x5c is expected.")),
    }
}

fn registered_key(shared: &Shared, client: &Client, kid: &str) -> Result<PublicKey, TokenError> {
    let unknown = || TokenError::grant("MP-124", "Invalid assertion. Unknown key id.");
    let (registered, key) = if let Some(jwk) = &client.jwk {
        (jwk.kid.clone(), PublicKey::from_base64url(&jwk.n, &jwk.e).ok_or_else(unknown)?)
    } else {
        let key = shared.client_keys.of(&client.id).map_err(|_| TokenError::internal())?;
        (key.kid().to_owned(), key.public().clone())
    };
    if registered != kid {
        return Err(unknown());
    }
    if client.key_expired {
        return Err(TokenError::grant("MP-121", "The registered key has expired."));
    }
    Ok(key)
}

/// The issuer, the issuer without its slash, or the token endpoint.
fn check_audience(shared: &Shared, claims: &Map<String, Value>) -> Result<(), TokenError> {
    let issuer = &shared.urls.issuer;
    let accepted = |audience: &str| {
        audience == issuer
            || audience == issuer.trim_end_matches('/')
            || audience == shared.urls.token_endpoint()
    };
    let good = match claims.get("aud") {
        Some(Value::String(audience)) => accepted(audience),
        Some(Value::Array(audiences)) => {
            matches!(audiences.as_slice(), [Value::String(audience)] if accepted(audience))
        }
        _ => false,
    };
    if good {
        return Ok(());
    }
    Err(TokenError::grant(
        "MP-110",
        "Invalid assertion. Client authentication failed. Invalid JWT claim aud.",
    ))
}

fn check_times(claims: &Map<String, Value>, now: i64) -> Result<(), TokenError> {
    let time = |name: &str| claims.get(name).and_then(Value::as_i64);
    let (Some(issued), Some(expires)) = (time("iat"), time("exp")) else {
        return Err(TokenError::malformed("iat and exp are required numbers."));
    };
    if issued > now + SKEW_SECONDS {
        return Err(TokenError::clock("Invalid assertion. Issue time is after now."));
    }
    if expires <= now {
        return Err(TokenError::grant("MP-130", "Invalid assertion. It has expired."));
    }
    if issued < now - SKEW_SECONDS {
        return Err(TokenError::clock("Invalid assertion. Issue time is too long ago."));
    }
    if expires - issued > LONGEST_SECONDS {
        return Err(TokenError::malformed("exp is more than 120 seconds after iat."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(issued: i64, expires: i64) -> Option<TokenError> {
        let claims = json!({ "iat": issued, "exp": expires });
        check_times(claims.as_object().unwrap(), 1_000).err()
    }

    #[test]
    fn times_are_good_up_to_their_limits_and_not_past_them() {
        assert_eq!(refusal(1_010, 1_100), None);
        assert!(refusal(1_011, 1_100).is_some_and(|error| error.number().is_none()));
        assert_eq!(refusal(990, 1_001), None);
        assert!(refusal(989, 1_001).is_some_and(|error| error.number().is_none()));
        assert!(refusal(990, 1_000).is_some_and(|error| error.number() == Some("MP-130")));
        assert_eq!(refusal(1_000, 1_120), None);
        assert!(refusal(1_000, 1_121).is_some_and(|error| error.number() == Some("MP-011")));
    }
}

//! Refusals of the token endpoint.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use uuid::Uuid;

const ERROR_URI: &str = "https://docs.digdir.no/docs/Maskinporten/maskinporten_feilsoking";

/// A refusal: OAuth code, description with the MP number where there is one, status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TokenError {
    error: &'static str,
    number: Option<&'static str>,
    text: String,
    forbidden: bool,
}

impl TokenError {
    /// `invalid_grant` with an MP number.
    pub(crate) fn grant(number: &'static str, text: impl Into<String>) -> Self {
        Self::new("invalid_grant", Some(number), text)
    }

    /// `invalid_grant` for a clock that is off; it has no MP number.
    pub(crate) fn clock(text: impl Into<String>) -> Self {
        Self::new("invalid_grant", None, text)
    }

    /// MP-011: a parameter or claim cannot be what it is.
    pub(crate) fn malformed(text: impl Into<String>) -> Self {
        Self::new("invalid_request", Some("MP-011"), text)
    }

    /// `consumer_org` is the client's own organisation; it has no MP number.
    pub(crate) fn own_consumer() -> Self {
        Self::new("invalid_request", None, "consumer_org is the client's own organisation")
    }

    /// Another grant type.
    pub(crate) fn grant_type() -> Self {
        Self::new("unsupported_grant_type", None, "only the JWT bearer grant is supported")
    }

    /// MP-200 or MP-201.
    pub(crate) fn scope(number: &'static str, text: impl Into<String>) -> Self {
        Self::new("invalid_scope", Some(number), text)
    }

    /// MP-250 or MP-251.
    pub(crate) fn forbidden(number: &'static str, text: impl Into<String>) -> Self {
        Self { forbidden: true, ..Self::new("access_denied", Some(number), text) }
    }

    /// MP-301, MP-302 or MP-303 (RFC 9396 §5).
    pub(crate) fn details(number: &'static str, text: impl Into<String>) -> Self {
        Self::new("invalid_authorization_details", Some(number), text)
    }

    /// MP-303: Altinn knows no such system user.
    pub(crate) fn no_system_user() -> Self {
        Self {
            error: "invalid_altinn_customer_configuration",
            ..Self::grant(
                "MP-303",
                "No system user found for the given client, system user organisation and external reference.",
            )
        }
    }

    /// The sandbox itself failed.
    pub(crate) fn internal() -> Self {
        Self::new("server_error", None, "the sandbox could not sign")
    }

    fn new(error: &'static str, number: Option<&'static str>, text: impl Into<String>) -> Self {
        Self { error, number, text: text.into(), forbidden: false }
    }

    /// The MP number.
    #[cfg(test)]
    pub(crate) fn number(&self) -> Option<&'static str> {
        self.number
    }
}

impl IntoResponse for TokenError {
    fn into_response(self) -> Response {
        let status = if self.forbidden { StatusCode::FORBIDDEN } else { StatusCode::BAD_REQUEST };
        let number = self.number.map(|number| format!(" ({number})")).unwrap_or_default();
        let description = format!("{}{number} (correlation_id: {})", self.text, Uuid::new_v4());
        let body = Json(json!({
            "error": self.error, "error_description": description, "error_uri": ERROR_URI,
        }));
        (status, [(header::CACHE_CONTROL, "no-store")], body).into_response()
    }
}

//! The edge towards Maskinporten: its metadata (RFC 8414), its keys, and our own grant.
//!
//! One issuer, pinned by the configuration. What its metadata says is believed only when it names that
//! issuer byte for byte, and never leads from https to http.

pub(crate) mod flight;
pub mod grant;

pub mod http;
pub mod jwks;
pub mod key_set;
#[cfg(test)]
pub(crate) mod stub;

use crate::config::MaskinportenConfig;
use crate::domain::json::{InvalidJson, Json};
use crate::domain::time::UnixTime;
use crate::trace::Tracer;
use ::http::StatusCode;
use arc_swap::ArcSwapOption;
use http::HttpError;
use reqwest::Url;
use std::sync::Arc;

const METADATA_BYTES: usize = 256 * 1024;

/// The configured issuer and what it last said of itself.
#[derive(Debug)]
pub struct Issuer {
    http: reqwest::Client,
    name: String,
    metadata_url: Url,
    tracer: Tracer,
    held: ArcSwapOption<Metadata>,
}

/// Where the issuer's services are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Metadata {
    /// Its keys.
    pub jwks_uri: Url,
    /// Its token endpoint; an issuer that only signs has none.
    pub token_endpoint: Option<Url>,
}

/// Why the issuer's metadata cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// It could not be fetched.
    #[error("the issuer's metadata cannot be fetched")]
    Http(#[from] HttpError),
    /// Not 200.
    #[error("the issuer's metadata was answered with status {0}")]
    Status(StatusCode),
    /// Not one JSON text.
    #[error("the issuer's metadata cannot be read")]
    Json(#[from] InvalidJson),
    /// `issuer` is absent or another than the configured one.
    #[error("the metadata is of another issuer than `{configured}`")]
    OtherIssuer {
        /// The issuer of the configuration.
        configured: String,
    },
    /// An address is absent, no absolute http(s) URL, carries a user, or leaves https.
    #[error("`{0}` in the issuer's metadata is no usable address")]
    Address(&'static str),
}

impl IssuerError {
    /// The stable label in metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Http(error) => error.label(),
            Self::Status(_) => "error_status",
            Self::Json(_) | Self::OtherIssuer { .. } | Self::Address(_) => "unreadable",
        }
    }
}

impl Issuer {
    /// The issuer of the configuration; fetches nothing yet.
    ///
    /// # Errors
    /// [`HttpError::Client`] when TLS cannot be set up.
    pub fn new(config: &MaskinportenConfig) -> Result<Self, HttpError> {
        Ok(Self {
            http: http::client(&config.metadata_url, config.timeout)?,
            name: config.issuer.clone(),
            metadata_url: config.metadata_url.clone(),
            tracer: Tracer::off(),
            held: ArcSwapOption::empty(),
        })
    }

    /// Calls to it are recorded by `tracer`.
    #[must_use]
    pub fn traced_by(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// The issuer, byte for byte as in `iss`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The metadata that is held, fetched when there is none.
    ///
    /// # Errors
    /// [`IssuerError`] when none is held and the fetch fails.
    pub async fn metadata(&self) -> Result<Arc<Metadata>, IssuerError> {
        match self.held.load_full() {
            Some(metadata) => Ok(metadata),
            None => self.refresh().await,
        }
    }

    /// Fetches the metadata anew. What was held stays when that fails.
    ///
    /// # Errors
    /// [`IssuerError`]: not fetched, not readable, or not of this issuer.
    pub async fn refresh(&self) -> Result<Arc<Metadata>, IssuerError> {
        self.ask().await.map(|(metadata, _)| metadata)
    }

    /// As [`Issuer::refresh`], with what the issuer's clock said (`Date`, RFC 9110 §6.6.1), if anything.
    ///
    /// # Errors
    /// As there.
    pub async fn ask(&self) -> Result<(Arc<Metadata>, Option<UnixTime>), IssuerError> {
        let request = self.http.get(self.metadata_url.clone());
        let calling = self.tracer.call("maskinporten.metadata");
        let reply = http::send(request, METADATA_BYTES, calling).await?;
        if reply.status != StatusCode::OK {
            return Err(IssuerError::Status(reply.status));
        }
        let metadata = Arc::new(parse_metadata(&reply.body, &self.name, &self.metadata_url)?);
        self.held.store(Some(Arc::clone(&metadata)));
        Ok((metadata, http::date(&reply.headers)))
    }

    /// The metadata that is held, if any.
    pub(crate) fn held(&self) -> Option<Arc<Metadata>> {
        self.held.load_full()
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub(crate) fn tracer(&self) -> &Tracer {
        &self.tracer
    }
}

/// Reads metadata that was fetched from `source`. Source: RFC 8414 §3.3.
///
/// # Errors
/// [`IssuerError`] for what is not metadata of `issuer` with usable addresses.
pub fn parse_metadata(body: &[u8], issuer: &str, source: &Url) -> Result<Metadata, IssuerError> {
    let json = Json::parse(body)?;
    if json.member("issuer").and_then(Json::as_str) != Some(issuer) {
        return Err(IssuerError::OtherIssuer { configured: issuer.to_owned() });
    }
    let address = |name: &'static str| match json.member(name) {
        None => Ok(None),
        Some(value) => value
            .as_str()
            .and_then(|text| Url::parse(text).ok())
            .filter(|url| usable(url, source))
            .map(Some)
            .ok_or(IssuerError::Address(name)),
    };
    Ok(Metadata {
        jwks_uri: address("jwks_uri")?.ok_or(IssuerError::Address("jwks_uri"))?,
        token_endpoint: address("token_endpoint")?,
    })
}

fn usable(url: &Url, source: &Url) -> bool {
    matches!(url.scheme(), "https" | "http")
        && url.scheme() == source.scheme()
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://issuer.example/";

    fn parse(text: &str) -> Result<Metadata, IssuerError> {
        let source = "https://issuer.example/.well-known/oauth-authorization-server";
        parse_metadata(text.as_bytes(), ISSUER, &source.parse().unwrap())
    }

    fn with_keys_at(address: &str) -> Result<Metadata, IssuerError> {
        parse(&format!(r#"{{"issuer":"{ISSUER}","jwks_uri":"{address}"}}"#))
    }

    #[test]
    fn metadata_names_the_configured_issuer_byte_for_byte() {
        assert!(with_keys_at("https://issuer.example/jwk").is_ok());
        for issuer in [
            "https://issuer.example",
            "https://ISSUER.example/",
            "http://issuer.example/",
            "https://issuer.example//",
            "https://issuer.example:443/",
            "",
        ] {
            let text =
                format!(r#"{{"issuer":"{issuer}","jwks_uri":"https://issuer.example/jwk"}}"#);
            assert!(matches!(parse(&text), Err(IssuerError::OtherIssuer { .. })), "{issuer}");
        }
        assert!(parse(r#"{"jwks_uri":"https://issuer.example/jwk"}"#).is_err(), "absent");
        assert!(
            parse(
                r#"{"issuer":["https://issuer.example/"],"jwks_uri":"https://issuer.example/jwk"}"#
            )
            .is_err(),
            "a list"
        );
    }

    #[test]
    fn an_address_never_leaves_https() {
        for address in [
            "http://issuer.example/jwk",
            "/jwk",
            "file:///etc/passwd",
            "https://user@issuer.example/jwk",
            "https://:pass@issuer.example/jwk",
            "ftp://issuer.example/jwk",
            "",
        ] {
            assert!(
                matches!(with_keys_at(address), Err(IssuerError::Address("jwks_uri"))),
                "{address}"
            );
        }
        let endpoint = format!(
            r#"{{"issuer":"{ISSUER}","jwks_uri":"https://issuer.example/jwk","token_endpoint":"http://issuer.example/token"}}"#
        );
        assert!(matches!(parse(&endpoint), Err(IssuerError::Address("token_endpoint"))));
    }

    #[test]
    fn a_name_that_stands_twice_is_refused() {
        let text = format!(
            r#"{{"issuer":"{ISSUER}","issuer":"{ISSUER}","jwks_uri":"https://issuer.example/jwk"}}"#
        );
        assert!(matches!(parse(&text), Err(IssuerError::Json(_))));
    }
}

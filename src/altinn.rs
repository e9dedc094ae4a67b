//! The edge towards Altinn: one HTTP client, our own token there, the gate that every call passes, the
//! PDP, and the sources of the register.
//!
//! Takes its Maskinporten token from [`crate::maskinporten::grant`].

pub mod authorized_parties;
mod calls;
pub mod gate;
mod lean;
mod limits;
pub mod packages;
pub mod pdp;
pub mod probe;
pub mod registry;
pub mod source;
pub mod token;
pub mod wire;

use crate::config::AltinnConfig;
use crate::maskinporten::grant::BearerToken;
use crate::maskinporten::http::{self, HttpError};
use crate::trace::Tracer;
use ::http::header::{ACCEPT, AUTHORIZATION, HeaderName};
use ::http::{HeaderValue, Method};
use reqwest::{RequestBuilder, Url};
use secrecy::ExposeSecret;
use std::fmt;

const SUBSCRIPTION_KEY: HeaderName = HeaderName::from_static("ocp-apim-subscription-key");
const AUTHORIZE_PATH: &str = "/authorization/api/v1/authorize";
const PARTIES_PATH: &str = "/accessmanagement/api/v1/resourceowner/authorizedparties\
?includeAccessPackages=true&includeRoles=false&includeResources=true&includeInstances=false";
const PACKAGES_PATH: &str = "/accessmanagement/api/v1/meta/info/accesspackages/export";
const RESOURCE_PATH: &str = "/resourceregistry/api/v1/resource";
const ACCESS_LISTS_PATH: &str = "/resourceregistry/api/v1/access-lists";
const EXCHANGE_PATH: &str = "/authentication/api/v1/exchange/maskinporten";

/// Altinn as this program calls it: addresses, gateway key, connections.
pub struct Altinn {
    http: reqwest::Client,
    authorize_url: Url,
    exchange_url: Url,
    parties_url: Url,
    packages_url: Url,
    resource_url: Url,
    access_lists_url: Url,
    subscription_key: Option<HeaderValue>,
    tracer: Tracer,
}

/// What is called, as metrics name it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Endpoint {
    /// The PDP.
    Authorize,
    /// Authorized parties.
    Parties,
    /// A resource's metadata and policy.
    Resource,
    /// The registry's feed of changes.
    Changes,
    /// The catalogue of access packages.
    Packages,
    /// A service owner's access lists.
    AccessLists,
}

impl Endpoint {
    /// The stable label in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Parties => "parties",
            Self::Resource => "resource",
            Self::Changes => "changes",
            Self::Packages => "packages",
            Self::AccessLists => "access_lists",
        }
    }

    /// The stable name in traces.
    fn call(self) -> &'static str {
        match self {
            Self::Authorize => "altinn.authorize",
            Self::Parties => "altinn.parties",
            Self::Resource => "altinn.resource",
            Self::Changes => "altinn.changes",
            Self::Packages => "altinn.packages",
            Self::AccessLists => "altinn.access_lists",
        }
    }
}

/// Why Altinn cannot be called at all with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum AltinnError {
    /// No client could be made.
    #[error("Altinn cannot be called")]
    Http(#[from] HttpError),
    /// The base address takes no path.
    #[error("Altinn's address is no base of an address")]
    Address,
    /// The subscription key is no header value.
    #[error("the subscription key holds characters that a header cannot")]
    SubscriptionKey,
}

impl Altinn {
    /// Altinn of the configuration; calls nothing yet.
    ///
    /// # Errors
    /// [`AltinnError`] when the configuration makes every call impossible.
    pub fn new(config: &AltinnConfig) -> Result<Self, AltinnError> {
        let address = |path| config.url.join(path).map_err(|_| AltinnError::Address);
        let subscription_key = match &config.subscription_key {
            None => None,
            Some(key) => {
                let mut value = HeaderValue::from_str(key.expose_secret().trim())
                    .map_err(|_| AltinnError::SubscriptionKey)?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self {
            http: http::client(&config.url, config.attempt_timeout)?,
            authorize_url: address(AUTHORIZE_PATH)?,
            exchange_url: address(EXCHANGE_PATH)?,
            parties_url: address(PARTIES_PATH)?,
            packages_url: address(PACKAGES_PATH)?,
            resource_url: address(RESOURCE_PATH)?,
            access_lists_url: address(ACCESS_LISTS_PATH)?,
            subscription_key,
            tracer: Tracer::off(),
        })
    }

    /// Calls to it are recorded by `tracer`.
    #[must_use]
    pub fn traced_by(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    fn request(
        &self,
        method: Method,
        url: &Url,
        accept: &'static str,
        token: Option<&BearerToken>,
    ) -> RequestBuilder {
        let mut request = self.http.request(method, url.clone()).header(ACCEPT, accept);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.header());
        }
        match &self.subscription_key {
            Some(key) => request.header(SUBSCRIPTION_KEY, key.clone()),
            None => request,
        }
    }
}

impl fmt::Debug for Altinn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Altinn").field("url", &self.authorize_url.as_str()).finish_non_exhaustive()
    }
}

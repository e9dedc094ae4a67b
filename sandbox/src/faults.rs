//! Faults that a test or a demo puts on an endpoint: what is asked for and how an answer is spoilt.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// What can be disturbed and is counted.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Endpoint {
    Metadata,
    Jwks,
    Token,
    Exchange,
    Pdp,
    Parties,
    Registry,
}

impl Endpoint {
    pub(crate) const ALL: [Self; 7] = [
        Self::Metadata,
        Self::Jwks,
        Self::Token,
        Self::Exchange,
        Self::Pdp,
        Self::Parties,
        Self::Registry,
    ];

    /// The endpoint a path belongs to; knobs and package metadata belong to none.
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path {
            "/.well-known/oauth-authorization-server"
            | "/authentication/api/v1/openid/.well-known/openid-configuration" => {
                Some(Self::Metadata)
            }
            "/jwk" | "/authentication/api/v1/openid/.well-known/openid-configuration/jwks" => {
                Some(Self::Jwks)
            }
            "/token" => Some(Self::Token),
            "/authorization/api/v1/authorize" => Some(Self::Pdp),
            _ if path.starts_with("/authentication/api/v1/exchange/") => Some(Self::Exchange),
            _ if path.ends_with("/authorizedparties") => Some(Self::Parties),
            _ if path.starts_with("/resourceregistry/") => Some(Self::Registry),
            _ => None,
        }
    }
}

/// A decision that the PDP gives whatever its model says.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum ForcedDecision {
    Indeterminate,
    NotApplicable,
    Deny,
}

/// One fault; everything that is set happens. See the README.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a knob of its own")]
pub(crate) struct Fault {
    latency_ms: u64,
    hang: bool,
    close: bool,
    status: Option<u16>,
    retry_after: Option<u64>,
    body: Option<String>,
    content_type: Option<String>,
    truncate: bool,
    times: Option<u64>,
    pub(crate) decision: Option<ForcedDecision>,
    pub(crate) pascal_case: bool,
    pub(crate) obligations: Vec<Value>,
    pub(crate) extra_results: usize,
    pub(crate) empty_response: bool,
}

impl Fault {
    /// What makes the fault impossible to carry out.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        if self.status.is_some_and(|status| !(200..=599).contains(&status)) {
            return Some("status is not between 200 and 599");
        }
        if self.times == Some(0) {
            return Some("times is zero");
        }
        let content_type = self.content_type.as_deref().map(HeaderValue::from_str);
        content_type.is_some_and(|value| value.is_err()).then_some("content_type is not a header")
    }

    /// Waits as long as the fault says; for ever if it hangs.
    pub(crate) async fn delay(&self) {
        tokio::time::sleep(Duration::from_millis(self.latency_ms)).await;
        if self.hang {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the connection closes without an answer.
    pub(crate) fn closes(&self) -> bool {
        self.close
    }

    /// The answer that stands in for the real one.
    pub(crate) fn replacement(&self) -> Option<Response> {
        if self.status.is_none() && self.body.is_none() {
            return None;
        }
        let mut response = Response::new(Body::from(self.body.clone().unwrap_or_default()));
        *response.status_mut() = self
            .status
            .and_then(|status| StatusCode::from_u16(status).ok())
            .unwrap_or(StatusCode::OK);
        Some(response)
    }

    /// Changes headers, and the length if it is to be truncated.
    pub(crate) async fn spoil(&self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        let content_type = self.content_type.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(value)) = content_type {
            headers.insert(header::CONTENT_TYPE, value);
        }
        if self.truncate { truncated(response).await } else { response }
    }
}

/// The same answer, promising twice its length.
async fn truncated(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let promised = u64::try_from(bytes.len()).unwrap_or(0) * 2 + 1;
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(promised));
    Response::from_parts(parts, Body::new(CutOff { data: Some(bytes), flushed: false }))
}

/// A body that breaks off after its data.
struct CutOff {
    data: Option<Bytes>,
    flushed: bool,
}

impl hyper::body::Body for CutOff {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if !self.flushed {
            // Gives the connection a turn to send what it has before it breaks.
            self.flushed = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(std::io::Error::other("cut off on purpose"))))
    }
}

/// The faults in force.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Faults {
    faults: BTreeMap<Endpoint, Fault>,
}

impl Faults {
    pub(crate) fn set(&mut self, endpoint: Endpoint, fault: Fault) {
        self.faults.insert(endpoint, fault);
    }

    pub(crate) fn clear(&mut self, endpoint: Endpoint) {
        self.faults.remove(&endpoint);
    }

    pub(crate) fn clear_all(&mut self) {
        self.faults.clear();
    }

    pub(crate) fn on(&self, endpoint: Endpoint) -> Option<&Fault> {
        self.faults.get(&endpoint)
    }

    /// The fault for one call; counts it where it is for a number of calls.
    pub(crate) fn take(&mut self, endpoint: Endpoint) -> Option<Fault> {
        let fault = self.faults.get_mut(&endpoint)?;
        let now = fault.clone();
        if let Some(times) = fault.times.as_mut() {
            *times -= 1;
            if *times == 0 {
                self.faults.remove(&endpoint);
            }
        }
        Some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_for_two_calls_is_gone_at_the_third() {
        let mut faults = Faults::default();
        faults.set(Endpoint::Pdp, Fault { times: Some(2), ..Fault::default() });
        assert!(faults.take(Endpoint::Token).is_none());
        assert!(faults.take(Endpoint::Pdp).is_some());
        assert!(faults.take(Endpoint::Pdp).is_some());
        assert!(faults.take(Endpoint::Pdp).is_none());
    }

    #[test]
    fn impossible_faults_are_named() {
        assert!(Fault { status: Some(99), ..Fault::default() }.problem().is_some());
        assert!(Fault { times: Some(0), ..Fault::default() }.problem().is_some());
        assert!(Fault { status: Some(503), ..Fault::default() }.problem().is_none());
        assert!(serde_json::from_str::<Fault>(r#"{"latency":1}"#).is_err());
    }
}

//! WebSocket over HTTP/2 (RFC 8441): an extended CONNECT stands for the upgrade of HTTP/1.1 that routes and
//! upstreams know, and is made one before anything is judged. The upstream's 101 becomes the 200 that the client
//! waits for.

use crate::config::RouteConfig;
use crate::enforce::rejection::{Malformed, Rejection, UpstreamFailure};
use crate::forward::Answered;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method, StatusCode, Version, header, request};
use hyper::ext::Protocol;

/// The protocol that the client asked for, in the notation of both.
const WEBSOCKET: &str = "websocket";

/// A request that came as an extended CONNECT.
#[derive(Debug)]
pub(super) struct Extended {
    /// What the upstream's answer must be made from.
    key: String,
}

impl Extended {
    /// Makes of an extended CONNECT for a WebSocket what it stands for; `None` where it is none. A CONNECT for
    /// anything else stays one.
    pub(super) fn translate(head: &mut request::Parts) -> Option<Self> {
        if head.version != Version::HTTP_2 || head.method != Method::CONNECT {
            return None;
        }
        let protocol = head.extensions.remove::<Protocol>()?;
        if protocol.as_str() != WEBSOCKET {
            return None;
        }
        // RFC 6455 §4.1: sixteen bytes by chance. The client sends none (RFC 8441 §5).
        let key = STANDARD.encode(uuid::Uuid::new_v4());
        head.method = Method::GET;
        let upgrade = HeaderValue::from_static(WEBSOCKET);
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(header::UPGRADE, upgrade);
        if let Ok(key) = HeaderValue::try_from(&key) {
            head.headers.insert(header::SEC_WEBSOCKET_KEY, key);
        }
        Some(Self { key })
    }

    /// Whether a route lets it through. Without the upgrade it would be a request that the client did not make.
    ///
    /// # Errors
    /// [`Malformed::Method`]: there is nothing to CONNECT to.
    pub(super) fn granted_by(route: &RouteConfig) -> Result<(), Rejection> {
        let allowed = route.upgrades.iter().any(|protocol| protocol == WEBSOCKET);
        if allowed { Ok(()) } else { Err(Malformed::Method.into()) }
    }

    /// Makes of a tunnel's answer the one to a CONNECT.
    ///
    /// # Errors
    /// [`UpstreamFailure::BadAnswer`] for a switch that does not answer our key, and for a success without a
    /// tunnel: the client would take it for one.
    pub(super) fn accepted(&self, mut answered: Answered) -> Result<Answered, Rejection> {
        let response = &mut answered.response;
        if answered.tunnel.is_none() {
            let success = response.status().is_success();
            return if success { Err(UpstreamFailure::BadAnswer.into()) } else { Ok(answered) };
        }
        let accepted = response.headers_mut().remove(header::SEC_WEBSOCKET_ACCEPT);
        if accepted.is_none_or(|accepted| accepted != accept_of(&self.key)) {
            return Err(UpstreamFailure::BadAnswer.into());
        }
        *response.status_mut() = StatusCode::OK;
        Ok(answered)
    }
}

/// Source: RFC 6455 §4.2.2.
fn accept_of(key: &str) -> String {
    let salted = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, salted.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn translated(
        version: Version,
        method: Method,
        protocol: Option<&'static str>,
    ) -> Option<String> {
        let request =
            Request::builder().version(version).method(method).uri("https://api.test/a?b");
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        if let Some(protocol) = protocol {
            head.extensions.insert(Protocol::from_static(protocol));
        }
        let extended = Extended::translate(&mut head);
        assert_eq!(extended.is_some(), head.headers.contains_key("upgrade"));
        assert_eq!(extended.is_some(), head.headers.contains_key("sec-websocket-key"));
        extended.map(|_| format!("{} {}", head.method, head.uri))
    }

    #[test]
    fn an_extended_connect_for_a_websocket_is_an_upgrade_and_no_other_is() {
        let good = (Version::HTTP_2, Method::CONNECT, Some("websocket"));
        let is = "GET https://api.test/a?b".to_owned();
        assert_eq!(translated(good.0, good.1.clone(), good.2), Some(is));
        assert_eq!(translated(good.0, good.1.clone(), None), None);
        assert_eq!(translated(good.0, good.1.clone(), Some("connect-udp")), None);
        assert_eq!(translated(good.0, Method::GET, good.2), None);
        assert_eq!(translated(Version::HTTP_11, good.1, good.2), None);
    }

    #[test]
    fn a_key_is_answered_as_the_rfc_has_it() {
        assert_eq!(accept_of("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}

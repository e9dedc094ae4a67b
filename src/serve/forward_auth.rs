//! Mode: HTTP forward-auth. Another proxy asks whether it may forward a request: with the fields that its client
//! sent, and the method and the target in two more. Translates only; decides nothing, and forwards nothing.
//!
//! The answer is 200 with what the upstream is to be told, or the refusal as in the other mode. What that one takes
//! out of requests on their way cannot be taken out here, and refuses the request instead. Source: threat 50.

use super::activity::Busy;
use super::proxy::{Generation, Proxy, Reply, close_after, span};
use super::respond::Caller;
use crate::config::ForwardAuthConfig;
use crate::enforce::Grant;
use crate::enforce::facts::{BodyError, BodyReader, Facts};
use crate::enforce::ports::EdgeFuture;
use crate::enforce::rejection::{Malformed, Rejection};
use crate::forward::Client;
use crate::forward::headers;
use crate::record::{Opening, Record};
use crate::trace;
use bytes::Bytes;
use futures_util::FutureExt;
use http::uri::PathAndQuery;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version, header, request,
};
use http_body::Body;
use hyper::body::Incoming;
use std::convert::Infallible;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use tracing::Instrument;

impl Proxy {
    /// Answers one question. A panic in it is a 500 for it alone.
    ///
    /// # Errors
    /// Never.
    pub(super) async fn answer(
        &self,
        asked: &ForwardAuthConfig,
        request: Request<Incoming>,
        client: &Client,
        busy: Busy,
    ) -> Result<Response<Reply>, Infallible> {
        let generation = self.generation.load_full();
        let (head, body) = request.into_parts();
        let told = Told::read(&head, client.address, asked);
        let mut record = self.open_question(&head, told.as_ref().ok(), client);
        let (span, trace) = (span(self.mode(), &record), record.trace());
        let judged = {
            let judging = pin!(self.judge(&generation, &head, told, client.address, &mut record));
            let judging = trace::within(trace, judging.instrument(span.clone()));
            AssertUnwindSafe(judging).catch_unwind().await
        };
        let judged = judged.unwrap_or_else(|_| {
            let span_id = record.trace().span;
            tracing::error!(trace_id = record.trace_id(), %span_id, "a request ended in a panic");
            record.trail.failed(&Rejection::Internal);
            Err(Rejection::Internal)
        });
        record.tell(&span);
        let mut response = match judged {
            Ok(grant) => Self::tell(leave(&grant), record, (&head.method, busy)),
            Err(rejection) => {
                let caller =
                    Caller::behind_another(&head.headers, generation.refusals.default_language);
                Self::refuse((&generation, &rejection), caller, record, (&head.method, busy))
            }
        };
        // A body is not read, and the next question begins behind it.
        let last = !body.is_end_stream() || self.stop.leaving.is_cancelled();
        if head.version < Version::HTTP_2 && last {
            close_after(&mut response);
        }
        Ok(response)
    }

    /// The record is of the request that is asked about, once that is known.
    fn open_question(&self, head: &request::Parts, told: Option<&Told>, from: &Client) -> Record {
        let (method, uri) =
            told.map_or((&head.method, &head.uri), |told| (&told.method, &told.uri));
        let opening = Opening {
            at: self.clock.wall(),
            trace: self.recorder.tracer.begin(&head.headers),
            mode: self.mode(),
            peer: from.address,
            secure: from.secure,
            version: head.version,
            method,
            uri,
            body_limit: None,
        };
        Record::open(Arc::clone(&self.recorder), opening)
    }

    async fn judge(
        &self,
        generation: &Generation,
        head: &request::Parts,
        told: Result<Told, Malformed>,
        peer: IpAddr,
        record: &mut Record,
    ) -> Result<Grant, Rejection> {
        let refused = |rejection: Rejection, record: &mut Record| {
            record.trail.refused(&rejection);
            rejection
        };
        record.admitted().map_err(|rejection| refused(rejection, record))?;
        let place = self.in_flight.try_acquire();
        let _place = place.map_err(|_| refused(Rejection::Overloaded, record))?;
        let told = told.map_err(|malformed| refused(malformed.into(), record))?;
        let facts = Facts {
            method: &told.method,
            uri: &told.uri,
            version: head.version,
            headers: &head.headers,
            peer,
        };
        generation.enforcer.enforce(facts, &mut Unseen, &mut record.trail).await
    }
}

/// Leave to forward, with what the upstream is to be told.
fn leave(grant: &Grant) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.headers_mut() = headers::whole_evidence(grant);
    let never = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, never);
    response
}

/// The body stays with the proxy that asks.
struct Unseen;

impl BodyReader for Unseen {
    fn read(&mut self, _: usize) -> EdgeFuture<'_, Result<Bytes, BodyError>> {
        Box::pin(async { Err(BodyError::Unseen) })
    }
}

/// What a question is about.
#[derive(Debug)]
struct Told {
    method: Method,
    /// The target of the client's request, on the host that was asked.
    uri: Uri,
}

impl Told {
    /// Never falls back on the question's own method or target.
    fn read(
        head: &request::Parts,
        peer: IpAddr,
        asked: &ForwardAuthConfig,
    ) -> Result<Self, Malformed> {
        if !asked.trusted_peers.iter().any(|network| network.contains(peer)) {
            return Err(Malformed::UntrustedPeer);
        }
        let method = single(&head.headers, &asked.method_header).ok_or(Malformed::Question)?;
        let target = single(&head.headers, &asked.uri_header).ok_or(Malformed::Question)?;
        agree(&head.headers, method, target)?;
        let uri = with_target(&head.uri, target).ok_or(Malformed::Question)?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| Malformed::Question)?;
        Ok(Self { method, uri })
    }
}

/// The one value of a field, if it is visible ASCII and not empty.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let text = value.to_str().ok()?;
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then_some(text)
}

/// The question's address with the target in place of its own. A fragment is no part of a target, and the library would drop it
/// in silence.
fn with_target(own: &Uri, target: &str) -> Option<Uri> {
    if !target.starts_with('/') || target.contains('#') {
        return None;
    }
    let mut parts = own.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).ok()?);
    Uri::from_parts(parts).ok()
}

/// Fields by which proxies tell a method, and frameworks take another.
const METHODS: [&str; 5] = [
    "x-forwarded-method",
    "x-original-method",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
];

/// Fields by which proxies tell a target, and frameworks take another.
const TARGETS: [&str; 6] = [
    "x-forwarded-uri",
    "x-original-uri",
    "x-original-url",
    "x-override-url",
    "x-rewrite-uri",
    "x-rewrite-url",
];

/// Nothing in a request says another method, target or identity: it may have come from the client, and would
/// reach the upstream.
fn agree(headers: &HeaderMap, method: &str, target: &str) -> Result<(), Malformed> {
    let agrees = |name: &str, value: &HeaderValue| match name {
        name if METHODS.contains(&name) => value == method,
        name if TARGETS.contains(&name) => is_target(value, target),
        // Hosts and addresses of clients: these are not judged by.
        name if name.starts_with("x-original-") => true,
        name => !headers::must_be_removed(name),
    };
    let all = headers.iter().all(|(name, value)| agrees(name.as_str(), value));
    if all { Ok(()) } else { Err(Malformed::Override) }
}

/// The target itself, or a whole address that ends with it.
fn is_target(value: &HeaderValue, target: &str) -> bool {
    if value == target {
        return true;
    }
    let address = value.to_str().ok();
    let behind = address
        .and_then(|address| address.strip_prefix("https://").or(address.strip_prefix("http://")))
        .and_then(|rest| rest.split_once('/'));
    behind.is_some_and(|(_, path)| Some(path) == target.strip_prefix('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Network;

    const PEER: &str = "10.1.2.3";

    fn read(peer: &str, headers: &[(&'static str, &str)]) -> Result<(String, String), Malformed> {
        let mut builder = Request::builder().uri("/asked?own=1").method("GET");
        for (name, value) in headers {
            builder = builder.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let (head, ()) = builder.body(()).unwrap().into_parts();
        let asked = ForwardAuthConfig {
            trusted_peers: vec![Network::new("10.0.0.0".parse().unwrap(), 8).unwrap()],
            method_header: HeaderName::from_static("x-forwarded-method"),
            uri_header: HeaderName::from_static("x-forwarded-uri"),
        };
        let told = Told::read(&head, peer.parse().unwrap(), &asked)?;
        Ok((told.method.to_string(), told.uri.to_string()))
    }

    fn told(more: &[(&'static str, &str)], target: &str) -> Result<(String, String), Malformed> {
        let both = [("x-forwarded-method", "PUT"), ("x-forwarded-uri", target)];
        read(PEER, &[&both, more].concat())
    }

    #[test]
    fn a_question_is_about_what_its_headers_tell() {
        let good = Ok(("PUT".to_owned(), "/v1/a?b=c".to_owned()));
        assert_eq!(told(&[], "/v1/a?b=c"), good);
        assert_eq!(told(&[("x-forwarded-host", "api.test")], "/v1/a?b=c"), good);
    }

    #[test]
    fn only_peers_on_the_list_may_ask() {
        let both = [("x-forwarded-method", "GET"), ("x-forwarded-uri", "/a")];
        assert!(read(PEER, &both).is_ok());
        assert!(read("::ffff:10.1.2.3", &both).is_ok());
        assert_eq!(read("11.1.2.3", &both), Err(Malformed::UntrustedPeer));
        assert_eq!(read("::1", &both), Err(Malformed::UntrustedPeer));
    }

    #[test]
    fn what_is_missing_doubled_or_malformed_is_never_made_up_for() {
        let (method, target) = (("x-forwarded-method", "GET"), ("x-forwarded-uri", "/a"));
        assert!(read(PEER, &[method, target]).is_ok());
        for headers in [
            &[][..],
            &[method],
            &[target],
            &[method, method, target],
            &[method, target, target],
            &[method, ("x-forwarded-uri", "")],
            &[method, ("x-forwarded-uri", "a")],
            &[method, ("x-forwarded-uri", "*")],
            &[method, ("x-forwarded-uri", "?b")],
            &[method, ("x-forwarded-uri", "/a, /b")],
            &[method, ("x-forwarded-uri", "/a#b")],
            &[method, ("x-forwarded-uri", "http://api.test/a")],
            &[method, ("x-forwarded-uri", "/\u{e6}")],
            &[("x-forwarded-method", ""), target],
            &[("x-forwarded-method", "GET, POST"), target],
            &[("x-forwarded-method", "G:T"), target],
        ] {
            assert_eq!(read(PEER, headers), Err(Malformed::Question), "{headers:?}");
        }
    }

    #[test]
    fn what_an_upstream_might_believe_instead_refuses() {
        for header in [
            ("x-original-uri", "/v1/a"),
            ("x-original-url", "https://api.test/v1/a"),
            ("x-original-method", "PUT"),
            ("x-http-method-override", "PUT"),
            ("x-original-forwarded-for", "192.0.2.1"),
            ("portvakt-party", "310000027"),
            ("portvakt-max-age", "5"),
            ("x-portvakt-party", "310000027"),
        ] {
            assert!(told(&[header], "/v1/a").is_ok(), "{header:?}");
        }
        for header in [
            ("x-original-uri", "/v1/b"),
            ("x-original-url", "https://api.test/v1/a/b"),
            ("x-original-url", "/v1/a?b"),
            ("x-rewrite-url", "/v1/b"),
            ("x-original-method", "DELETE"),
            ("x-http-method-override", "DELETE"),
            ("x-method-override", "put"),
            ("x_http_method_override", "PUT"),
            ("portvakt_party", "310000027"),
            ("portvakt-system_user", "1"),
            ("portvakt-other", "1"),
            ("content_length", "5"),
        ] {
            assert_eq!(told(&[header], "/v1/a"), Err(Malformed::Override), "{header:?}");
        }
    }
}

//! Step 7: the request goes to the upstream, and the answer comes back, both as streams.
//!
//! Takes nothing but a [`Grant`]. What is sent is the target that was judged, byte for byte, with the
//! headers of [`headers`] and nothing that a client could have forged. A request that may have been
//! carried out is never sent twice.

pub mod body;
pub mod headers;
pub mod pool;

use crate::config::{ForwardedConfig, UpstreamConfig, UpstreamProtocol};
use crate::enforce::Grant;
use crate::enforce::facts::BodyError;
use crate::enforce::rejection::{Bound, Malformed, Rejection, UpstreamFailure};
use crate::telemetry::metrics::Metrics;
use body::{Outgoing, Progress};
use headers::{Requested, Surroundings};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version, header, request};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use pool::{Pool, SendError};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The upstreams of one worker, each with its own connections.
#[derive(Debug)]
pub struct Forwarder {
    upstreams: BTreeMap<String, Upstream>,
    forwarded: ForwardedConfig,
    metrics: Metrics,
}

#[derive(Debug)]
struct Upstream {
    config: UpstreamConfig,
    pool: Pool,
}

/// A judged request, about to be sent.
#[derive(Debug)]
pub struct ToSend {
    /// The head as the client sent it.
    pub head: request::Parts,
    /// The body.
    pub body: Outgoing,
    /// How far the body has come.
    pub progress: Arc<Progress>,
    /// The address at the other end of the client's connection.
    pub peer: IpAddr,
    /// The client's side of an upgrade, if it asked for one.
    pub upgrade: Option<OnUpgrade>,
}

/// The upstream's answer.
#[derive(Debug)]
pub struct Answered {
    /// The answer, with hop-by-hop fields removed.
    pub response: Response<Incoming>,
    /// Both sides of a tunnel, after a 101 that was asked for.
    pub tunnel: Option<(OnUpgrade, OnUpgrade)>,
    /// Longest silence within its body.
    pub idle: Duration,
}

impl Forwarder {
    /// No connection is made before the first request.
    #[must_use]
    pub fn new(
        configs: &BTreeMap<String, UpstreamConfig>,
        forwarded: ForwardedConfig,
        metrics: Metrics,
    ) -> Self {
        let upstreams = configs
            .iter()
            .map(|(name, config)| {
                let pool = Pool::new(config.clone());
                (name.clone(), Upstream { config: config.clone(), pool })
            })
            .collect();
        Self { upstreams, forwarded, metrics }
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// [`Rejection::Upstream`]; and what the client itself did to the body:
    /// [`Rejection::RequestTimeout`], [`Rejection::OverLimit`].
    pub async fn forward(&self, grant: &Grant, request: ToSend) -> Result<Answered, Rejection> {
        let route = &grant.route().config;
        // INVARIANT: the configuration refuses a route that names an unknown upstream.
        let upstream = self.upstreams.get(&route.upstream).ok_or(Rejection::Internal)?;
        let ToSend { mut head, mut body, progress, peer, upgrade } = request;
        body.keep_out_of_trailers(headers::party_header(grant));
        let requested = Requested::read(&head.headers, &route.upgrades)?;
        let speaks_upgrade = upstream.config.protocol == UpstreamProtocol::Http1;
        let requested = requested.filter(|_| upgrade.is_some() && speaks_upgrade);
        let around = Surroundings {
            peer,
            upgrade: requested.as_ref(),
            upstream: &upstream.config,
            forwarded: &self.forwarded,
            grant,
        };
        headers::prepare(&mut head, around);
        let request = upstream.request(head, body)?;
        let begun = Instant::now();
        let answered = match upstream.send(request, &progress).await {
            Ok(response) => upstream.receive(response, requested, upgrade),
            Err(rejection) => Err(rejection),
        };
        self.count(&route.upstream, begun, &answered);
        answered
    }

    fn count(&self, upstream: &str, begun: Instant, answered: &Result<Answered, Rejection>) {
        match answered {
            Ok(answered) => {
                let class = match answered.response.status().as_u16() / 100 {
                    1 => "1xx",
                    2 => "2xx",
                    3 => "3xx",
                    4 => "4xx",
                    _ => "5xx",
                };
                self.metrics.upstream_responses.with_label_values(&[upstream, class]).inc();
                let seconds = begun.elapsed().as_secs_f64();
                self.metrics.upstream_seconds.with_label_values(&[upstream]).observe(seconds);
            }
            Err(Rejection::Upstream(failure)) => {
                let kind = failure.label();
                self.metrics.upstream_failures.with_label_values(&[upstream, kind]).inc();
            }
            // The client's own doing.
            Err(_) => {}
        }
    }
}

impl Upstream {
    /// The request as it goes out: the same method, path and query; our own address.
    fn request(
        &self,
        head: request::Parts,
        body: Outgoing,
    ) -> Result<Request<Outgoing>, Rejection> {
        let target = head.uri.path_and_query().cloned();
        let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let mut request = Request::new(body);
        *request.method_mut() = head.method;
        *request.headers_mut() = head.headers;
        match self.config.protocol {
            UpstreamProtocol::Http1 => {
                // Without either field the library sends no body with GET and its like.
                let streamed = matches!(request.body(), Outgoing::Stream(_));
                if streamed && !request.headers().contains_key(header::CONTENT_LENGTH) {
                    let chunked = HeaderValue::from_static("chunked");
                    request.headers_mut().insert(header::TRANSFER_ENCODING, chunked);
                }
                *request.uri_mut() = target.into();
            }
            UpstreamProtocol::H2c => {
                let host = request.headers_mut().remove(header::HOST);
                let authority = host.and_then(|host| host.to_str().ok()?.parse().ok());
                *request.uri_mut() = Uri::builder()
                    .scheme(Scheme::HTTP)
                    .authority(authority.unwrap_or_else(|| self.config.authority.clone()))
                    .path_and_query(target)
                    .build()
                    .map_err(|_| Rejection::Internal)?;
                *request.version_mut() = Version::HTTP_2;
            }
        }
        Ok(request)
    }

    async fn send(
        &self,
        request: Request<Outgoing>,
        progress: &Progress,
    ) -> Result<Response<Incoming>, Rejection> {
        let stalled = progress.stalled(self.config.idle_timeout, self.config.response_timeout);
        let sent = tokio::select! {
            sent = self.pool.send(request) => sent,
            () = stalled => Err(SendError::TimedOut),
        };
        sent.map_err(|error| match progress.failure() {
            // The client broke its own request off: that is not the upstream's doing.
            Some(BodyError::TimedOut) => Rejection::RequestTimeout,
            Some(BodyError::TooLong) => Rejection::OverLimit(Bound::Body(progress.limit())),
            Some(BodyError::Broken) => Rejection::Malformed(Malformed::Body),
            None => Rejection::Upstream(error.into()),
        })
    }

    fn receive(
        &self,
        mut response: Response<Incoming>,
        requested: Option<Requested>,
        client: Option<OnUpgrade>,
    ) -> Result<Answered, Rejection> {
        if !headers::is_framed_once(response.headers()) {
            return Err(UpstreamFailure::BadAnswer.into());
        }
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let tunnel = match (switched, requested, client) {
            (false, _, _) => None,
            (true, Some(requested), Some(client)) if requested.is_granted(response.headers()) => {
                Some((client, hyper::upgrade::on(&mut response)))
            }
            // A switch of protocol that nobody asked for.
            (true, _, _) => return Err(UpstreamFailure::BadAnswer.into()),
        };
        let protocol = tunnel.is_some().then(|| response.headers().get(header::UPGRADE).cloned());
        // The version is of the connection, not of the answer (RFC 9110 §2.5).
        *response.version_mut() = Version::HTTP_11;
        headers::strip_response(response.headers_mut());
        if let Some(Some(protocol)) = protocol {
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, protocol);
        }
        Ok(Answered { response, tunnel, idle: self.config.idle_timeout })
    }
}

impl From<SendError> for UpstreamFailure {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Unreachable => Self::Unreachable,
            SendError::TimedOut => Self::TimedOut,
            SendError::Closed => Self::Closed,
            SendError::BadAnswer => Self::BadAnswer,
        }
    }
}

//! Step 7: the request goes to the upstream, and the answer comes back, both as streams.
//!
//! Takes nothing but a [`Grant`]. What is sent is the target that was judged, byte for byte, with the
//! headers of [`headers`] and nothing that a client could have forged. A request that may have
//! changed something is never sent twice.

mod addresses;
pub mod body;
pub mod headers;
mod health;
pub mod pool;

use crate::config::{ForwardedConfig, UpstreamConfig};
use crate::deadlines::Deadlines;
use crate::enforce::Grant;
use crate::enforce::facts::BodyError;
use crate::enforce::rejection::{Bound, Malformed, Rejection, UpstreamFailure};
use crate::telemetry::metrics::Metrics;
use crate::tls::client::Client as TlsClient;
use crate::trace::Place;
use body::{Outgoing, Progress};
use headers::{Requested, Surroundings};
use http::uri::PathAndQuery;
use http::{Extensions, HeaderValue, Request, Response, StatusCode, Version, header, request};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use pool::{Again, Kind, Pool, SendError};
use prometheus::{Histogram, IntCounter};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The upstreams of one worker, each with its own connections.
#[derive(Debug)]
pub struct Forwarder {
    upstreams: BTreeMap<String, Arc<Upstream>>,
    forwarded: ForwardedConfig,
    metrics: Metrics,
}

#[derive(Debug)]
struct Upstream {
    config: UpstreamConfig,
    /// Its own name, as a value of `Host`.
    host: Option<HeaderValue>,
    tls: Option<Arc<TlsClient>>,
    pool: Pool,
    counts: Counts,
    /// For answers.
    deadlines: Arc<Deadlines>,
}

/// What is counted of an upstream's answers: looked up by its labels once, not for each.
#[derive(Debug)]
struct Counts {
    /// By the first digit of the status, from 1; above that as 5.
    answers: [IntCounter; 5],
    seconds: Histogram,
}

impl Counts {
    fn new(upstream: &str, metrics: &Metrics) -> Self {
        let answers = ["1xx", "2xx", "3xx", "4xx", "5xx"]
            .map(|class| metrics.upstream_responses.with_label_values(&[upstream, class]));
        Self { answers, seconds: metrics.upstream_seconds.with_label_values(&[upstream]) }
    }

    fn of(&self, status: StatusCode) -> &IntCounter {
        let [one, two, three, four, five] = &self.answers;
        match status.as_u16() / 100 {
            1 => one,
            2 => two,
            3 => three,
            4 => four,
            _ => five,
        }
    }
}

/// Who is at the other end of a client's connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// The address; this machine's own where the connection is a Unix socket.
    pub address: IpAddr,
    /// The address as the upstream is told it; an IPv6 form of an IPv4 address is told as that.
    pub told: Option<HeaderValue>,
    /// Whether the connection is TLS.
    pub secure: bool,
    /// The subject of a verified certificate of the client (RFC 4514).
    pub subject: Option<HeaderValue>,
}

impl Client {
    /// A client at an address.
    #[must_use]
    pub fn new(address: IpAddr, secure: bool, subject: Option<HeaderValue>) -> Self {
        let told = HeaderValue::try_from(address.to_canonical().to_string()).ok();
        Self { address, told, secure, subject }
    }
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
    /// Who sent it.
    pub client: Arc<Client>,
    /// The client's side of an upgrade, if it asked for one.
    pub upgrade: Option<OnUpgrade>,
    /// Where it stands in its trace.
    pub trace: Place,
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
    /// No connection is made before the first request. `tls` holds what the upstreams with TLS need. An upstream that is
    /// the same in `before` keeps its connections.
    #[must_use]
    pub fn new(
        configs: &BTreeMap<String, UpstreamConfig>,
        tls: &BTreeMap<String, Arc<TlsClient>>,
        forwarded: ForwardedConfig,
        metrics: Metrics,
        before: Option<&Self>,
    ) -> Self {
        let upstream = |(name, config): (&String, &UpstreamConfig)| {
            let tls = tls.get(name);
            let same = before.and_then(|before| before.upstreams.get(name));
            let same = same.filter(|upstream| upstream.config == *config && upstream.has(tls));
            let upstream = same.cloned().unwrap_or_else(|| {
                let pool = Pool::new(name, config.clone(), tls.cloned(), &metrics);
                let host = HeaderValue::from_str(config.authority.as_str()).ok();
                let counts = Counts::new(name, &metrics);
                Arc::new(Upstream {
                    config: config.clone(),
                    host,
                    tls: tls.cloned(),
                    pool,
                    counts,
                    deadlines: Arc::default(),
                })
            });
            (name.clone(), upstream)
        };
        let upstreams = configs.iter().map(upstream).collect();
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
        let ToSend { mut head, mut body, progress, client, upgrade, trace } = request;
        body.keep_out_of_trailers(headers::party_header(grant));
        let requested = Requested::read(&head.headers, &route.upgrades)?;
        let requested = requested.filter(|_| upgrade.is_some() && upstream.pool.can_upgrade());
        let around = Surroundings {
            client: &client,
            upgrade: requested.as_ref(),
            upstream: &upstream.config,
            own_host: upstream.host.as_ref(),
            forwarded: &self.forwarded,
            grant,
            trace: &trace,
        };
        let told = headers::strip(&mut head, around);
        // Copied before ours are set, which are the most.
        let mut copy = is_repeatable(&head, &body).then(|| (copy_of(&head), told.clone()));
        headers::dress(&mut head.headers, around, told);
        let mut again = || {
            copy.take().map(|(mut head, told)| {
                headers::dress(&mut head.headers, around, told);
                request_of(head, Outgoing::Empty)
            })
        };
        let kind = if requested.is_some() { Kind::Upgrade } else { Kind::Plain };
        let request = request_of(head, body);
        let begun = Instant::now();
        let answered = match upstream.send(request, &mut again, kind, &progress).await {
            Ok(response) => upstream.receive(response, requested, upgrade),
            Err(rejection) => Err(rejection),
        };
        self.count(upstream, &route.upstream, begun, &answered);
        answered
    }

    fn count(
        &self,
        upstream: &Upstream,
        name: &str,
        begun: Instant,
        answered: &Result<Answered, Rejection>,
    ) {
        match answered {
            Ok(answered) => {
                upstream.counts.of(answered.response.status()).inc();
                upstream.counts.seconds.observe(begun.elapsed().as_secs_f64());
            }
            Err(Rejection::Upstream(failure)) => {
                let kind = failure.label();
                self.metrics.upstream_failures.with_label_values(&[name, kind]).inc();
            }
            // The client's own doing.
            Err(_) => {}
        }
    }
}

impl Upstream {
    fn has(&self, tls: Option<&Arc<TlsClient>>) -> bool {
        match (&self.tls, tls) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    async fn send(
        &self,
        request: Request<Outgoing>,
        again: Again<'_>,
        kind: Kind,
        progress: &Progress,
    ) -> Result<Response<Incoming>, Rejection> {
        let (idle, response) = (self.config.idle_timeout, self.config.response_timeout);
        let stalled = progress.stalled(idle, response, &self.deadlines);
        let sent = tokio::select! {
            // An answer that is there counts, and needs no look at the time.
            biased;
            sent = self.pool.send(request, again, kind) => sent,
            () = stalled => Err(SendError::TimedOut),
        };
        sent.map_err(|error| match progress.failure() {
            // The client broke its own request off: that is not the upstream's doing.
            Some(BodyError::TimedOut) => Rejection::RequestTimeout,
            Some(BodyError::TooLong) => Rejection::OverLimit(Bound::Body(progress.limit())),
            Some(BodyError::Broken | BodyError::Unseen) => Rejection::Malformed(Malformed::Body),
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

/// Whether a request changes nothing (RFC 9110 §9.2.1) and has no body, so that it may be sent again.
fn is_repeatable(head: &request::Parts, body: &Outgoing) -> bool {
    head.method.is_safe() && matches!(body, Outgoing::Empty)
}

/// The same head once more.
fn copy_of(head: &request::Parts) -> request::Parts {
    let (mut copy, ()) = Request::new(()).into_parts();
    copy.method = head.method.clone();
    copy.uri = head.uri.clone();
    copy.headers = head.headers.clone();
    copy
}

/// The request as it goes out: the same method, path and query. The rest is up to the protocol.
fn request_of(mut head: request::Parts, body: Outgoing) -> Request<Outgoing> {
    let target = std::mem::take(&mut head.uri).into_parts().path_and_query;
    head.uri = target.unwrap_or_else(|| PathAndQuery::from_static("/")).into();
    head.version = Version::HTTP_11;
    head.extensions = Extensions::new();
    Request::from_parts(head, body)
}

impl From<SendError> for UpstreamFailure {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Unreachable => Self::Unreachable,
            SendError::LeftOut(wait) => Self::LeftOut(wait),
            SendError::Untrusted => Self::Untrusted,
            SendError::Handshake => Self::Handshake,
            SendError::TimedOut => Self::TimedOut,
            SendError::Closed => Self::Closed,
            SendError::BadAnswer => Self::BadAnswer,
        }
    }
}

//! Sends ended spans to a collector, beside the requests: OTLP over HTTP or gRPC, in batches, within bounds of time and
//! size whatever the collector does. What it does not take after some attempts is given up, and counted.
//!
//! The messages are those of `opentelemetry-proto`; queue, pace and calls are ours. `docs/decisions/0016` says why.

mod encode;

use crate::config::{Config, ListenAddress, TracingConfig, TracingProtocol};
use crate::maskinporten::flight::Allowance;
use crate::maskinporten::http::{self, Chain, HttpError};
use crate::trace::spans::Finished;
use crate::trace::{Calling, Queue, TraceMetrics};
use ::http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER, TE};
use ::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// Most spans in one call, but for those of one request more.
const BATCH: usize = 512;
/// Longest wait for a batch to be full.
const GATHER: Duration = Duration::from_secs(1);
/// Attempts at one batch.
const ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// What a collector answers is a few bytes.
const ANSWER_BYTES: usize = 64 * 1024;
const LOG_INTERVAL: Duration = Duration::from_secs(60);

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What spans are sent by, and what is said in all of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    config: Option<TracingConfig>,
    listen: ListenAddress,
    upstreams: BTreeMap<String, Upstream>,
}

/// An upstream as spans tell it.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Upstream {
    base: String,
    host: String,
    port: Option<u16>,
}

impl Told {
    /// By a configuration.
    #[must_use]
    pub fn by(config: &Config) -> Self {
        let upstreams = config.upstreams.iter().map(|(name, upstream)| {
            let scheme = if upstream.tls.is_some() { "https" } else { "http" };
            let socket = upstream.socket.as_ref().map(|path| path.display().to_string());
            let told = Upstream {
                base: format!("{scheme}://{}", upstream.authority),
                host: socket.unwrap_or_else(|| upstream.authority.host().to_owned()),
                port: upstream.authority.port_u16(),
            };
            (name.clone(), told)
        });
        Self {
            config: config.tracing.clone(),
            listen: config.listen.address.clone(),
            upstreams: upstreams.collect(),
        }
    }
}

/// Empties the queue.
#[derive(Debug)]
pub struct Exporter {
    queue: Queue,
    told: watch::Receiver<Arc<Told>>,
    metrics: TraceMetrics,
    /// Taken out of the queue, not sent yet.
    gathered: Vec<Finished>,
    way: Option<Way>,
    log: Allowance,
}

/// The way to one collector.
#[derive(Debug)]
struct Way {
    config: TracingConfig,
    client: reqwest::Client,
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the collector gave no answer")]
    Http(#[from] HttpError),
    #[error("the collector answered with status {0}")]
    Status(StatusCode, Option<Duration>),
    #[error("the collector answered with gRPC status {0}")]
    Grpc(u16),
    #[error("the collector's answer is no gRPC")]
    NotGrpc,
}

impl Refused {
    /// Whether another attempt may do better. Source: OTLP 1.x, "Failures", "Retryable Response Codes".
    fn passes(&self) -> bool {
        match self {
            Self::Http(HttpError::TimedOut | HttpError::Unreachable(_)) => true,
            Self::Http(HttpError::Client(_) | HttpError::TooLarge { .. }) | Self::NotGrpc => false,
            Self::Status(status, _) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            Self::Grpc(status) => matches!(status, 1 | 4 | 10 | 11 | 14 | 15),
        }
    }

    fn pause(&self) -> Duration {
        match self {
            Self::Status(_, pause) => pause.unwrap_or_default(),
            Self::Http(_) | Self::Grpc(_) | Self::NotGrpc => Duration::ZERO,
        }
    }
}

impl Exporter {
    /// Sends what comes through `queue`, as told.
    #[must_use]
    pub fn new(queue: Queue, told: watch::Receiver<Arc<Told>>, metrics: TraceMetrics) -> Self {
        let log = Allowance::one_per(LOG_INTERVAL);
        Self { queue, told, metrics, gathered: Vec::new(), way: None, log }
    }

    /// Until `stop`; then once more, what is there.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = self.gather() => {}
                () = stop.cancelled() => break,
            }
            self.deliver(Some(&stop)).await;
        }
        loop {
            while self.gathered_spans() < BATCH
                && let Some(finished) = self.queue.next_now()
            {
                self.gathered.push(finished);
            }
            if self.gathered.is_empty() {
                return;
            }
            self.deliver(None).await;
        }
    }

    /// Waits for the next batch. Cancel safe: what was taken out of the queue is kept.
    async fn gather(&mut self) {
        if self.gathered.is_empty() {
            match self.queue.next().await {
                Some(finished) => self.gathered.push(finished),
                // Whoever makes spans lives as long as the program.
                None => return std::future::pending().await,
            }
        }
        let end = Instant::now() + GATHER;
        while self.gathered_spans() < BATCH {
            match timeout_at(end, self.queue.next()).await {
                Ok(Some(finished)) => self.gathered.push(finished),
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn gathered_spans(&self) -> usize {
        self.gathered.iter().map(Finished::spans).sum()
    }

    /// Sends what was gathered; with `stop` in several attempts, until it comes.
    async fn deliver(&mut self, stop: Option<&CancellationToken>) {
        let spans = self.gathered_spans();
        let batch = std::mem::take(&mut self.gathered);
        let told = Arc::clone(&self.told.borrow_and_update());
        let Some(config) = &told.config else {
            // Switched off since.
            return self.settle("dropped", spans, spans);
        };
        let message = encode::batch(&batch, &config.resource, &told);
        drop(batch);
        let sent = match self.way(config) {
            Ok(way) => way.send(&message.encode_to_vec(), stop).await,
            Err(error) => Err(error.into()),
        };
        match sent {
            Ok(rejected) => {
                let rejected = rejected.min(spans);
                self.settle("exported", spans - rejected, spans);
                self.settle("rejected", rejected, 0);
                if rejected > 0 && self.log.take(Instant::now()) {
                    tracing::warn!(spans = rejected, "the collector did not take all spans");
                }
            }
            Err(refused) => {
                self.settle("failed", spans, spans);
                if self.log.take(Instant::now()) {
                    tracing::warn!(error = %Chain(&refused), "spans could not be sent and are lost");
                }
            }
        }
    }

    fn settle(&self, result: &str, spans: usize, waited: usize) {
        let counted = u64::try_from(spans).unwrap_or(u64::MAX);
        self.metrics.spans.with_label_values(&[result]).inc_by(counted);
        self.queue.settled(waited);
    }

    fn way(&mut self, config: &TracingConfig) -> Result<&Way, HttpError> {
        let same = self.way.take().filter(|way| way.config == *config);
        let way = match same {
            Some(way) => way,
            None => Way::new(config.clone())?,
        };
        Ok(self.way.insert(way))
    }
}

impl Way {
    fn new(config: TracingConfig) -> Result<Self, HttpError> {
        let builder = http::builder(&config.url, config.timeout);
        let builder = match config.protocol {
            TracingProtocol::Grpc => builder.http2_prior_knowledge(),
            TracingProtocol::HttpProtobuf => builder,
        };
        Ok(Self { client: builder.build().map_err(HttpError::Client)?, config })
    }

    /// Gives how many spans the collector did not take.
    async fn send(
        &self,
        message: &[u8],
        stop: Option<&CancellationToken>,
    ) -> Result<usize, Refused> {
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            // The client bounds each wait; this bounds the whole, whatever comes when.
            let sent = timeout(self.config.timeout, self.send_once(message)).await;
            let refused = match sent.unwrap_or(Err(HttpError::TimedOut.into())) {
                Ok(rejected) => return Ok(rejected),
                Err(refused) => refused,
            };
            let Some(stop) = stop.filter(|_| refused.passes() && attempt < ATTEMPTS) else {
                return Err(refused);
            };
            let wait = tokio::time::sleep(pause.max(refused.pause()).min(LONGEST_PAUSE));
            tokio::select! {
                () = wait => {}
                // One attempt more, at once.
                () = stop.cancelled() => attempt = ATTEMPTS - 1,
            }
            (attempt, pause) = (attempt + 1, pause * 2);
        }
    }

    async fn send_once(&self, message: &[u8]) -> Result<usize, Refused> {
        let headers: HeaderMap = self.config.headers.iter().cloned().collect();
        let request = self.client.post(self.config.url.clone()).headers(headers);
        let answer = match self.config.protocol {
            TracingProtocol::HttpProtobuf => {
                let request = request.header(CONTENT_TYPE, "application/x-protobuf");
                let request = request.body(message.to_vec());
                let reply = http::send(request, ANSWER_BYTES, Calling::default()).await?;
                if !reply.status.is_success() {
                    return Err(Refused::Status(reply.status, retry_after(&reply.headers)));
                }
                reply.body.into()
            }
            TracingProtocol::Grpc => {
                let request = request.header(CONTENT_TYPE, "application/grpc");
                let request = request.header(TE, "trailers").body(framed(message));
                let response = http::open(request, Calling::default()).await?;
                unframed(response.into()).await?
            }
        };
        // What cannot be read says nothing of spans that were not taken.
        let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
        let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(usize::try_from(rejected).unwrap_or_default())
    }
}

/// A message of gRPC: not compressed, its length, itself.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), message].concat()
}

/// The message of a whole answer; its status comes last, or in the head where there is no message.
async fn unframed(response: ::http::Response<reqwest::Body>) -> Result<Bytes, Refused> {
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(Refused::Status(head.status, retry_after(&head.headers)));
    }
    let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(|_| Refused::NotGrpc)?;
    let status = body.trailers().and_then(|trailers| trailers.get(GRPC_STATUS));
    let status = status.or_else(|| head.headers.get(GRPC_STATUS));
    let status = status.and_then(|status| status.to_str().ok()?.parse().ok());
    match status.ok_or(Refused::NotGrpc)? {
        0 => {
            let bytes = body.to_bytes();
            Ok(if bytes.len() > 5 { bytes.slice(5..) } else { Bytes::new() })
        }
        status => Err(Refused::Grpc(status)),
    }
}

/// In seconds; a date is as good as none.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

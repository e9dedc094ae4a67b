//! HTTP as this program speaks it to Maskinporten and Altinn: verified TLS, no redirects, and bounds
//! on time and size that hold whatever the other side sends.

use crate::domain::time::UnixTime;
use crate::trace::Calling;
use crate::trace::context::TRACEPARENT;
use crate::trace::spans::Sent;
use bytes::Bytes;
use reqwest::redirect::Policy;
use reqwest::{ClientBuilder, Request, RequestBuilder, Response, StatusCode, Url};
use std::error::Error;
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

/// Idle connections are given up after this long, so that a new address of the host is found in time.
const POOL_IDLE: Duration = Duration::from_secs(60);
/// One HTTP/2 connection carries all calls: a dead one must be noticed, or every call times out.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const HEADER_LIST_BYTES: u32 = 64 * 1024;
const USER_AGENT: &str = concat!("portvakt/", env!("CARGO_PKG_VERSION"));

/// Makes a client for the service at `address`. It speaks https only, unless `address` is http; it
/// follows no redirect and reads no proxy from the environment. `timeout` bounds a whole exchange,
/// body included.
///
/// # Errors
/// When TLS cannot be set up, as without any CA certificate on the machine.
pub fn client(address: &Url, timeout: Duration) -> Result<reqwest::Client, HttpError> {
    builder(address, timeout).build().map_err(HttpError::Client)
}

/// As [`client`], to be told more.
pub(crate) fn builder(address: &Url, timeout: Duration) -> ClientBuilder {
    let https = address.scheme() == "https";
    let builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        .https_only(https)
        .timeout(timeout)
        .connect_timeout(timeout)
        .pool_idle_timeout(POOL_IDLE)
        .tcp_nodelay(true)
        .http2_max_header_list_size(HEADER_LIST_BYTES)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_keep_alive_timeout(timeout);
    // Without https no CA is needed, and an image without CA certificates must start.
    if https { builder } else { builder.tls_certs_only([]) }
}

/// Why an exchange gave no answer. Holds no body, header or query of either side.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No client could be made.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
    /// No connection, or it broke before the answer was whole.
    #[error("the address cannot be reached or the connection broke")]
    Unreachable(#[source] reqwest::Error),
    /// No whole answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The body is longer than allowed.
    #[error("the answer is longer than {limit} bytes")]
    TooLarge {
        /// Most bytes that were accepted.
        limit: usize,
    },
}

impl HttpError {
    /// The stable label in metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Client(_) | Self::Unreachable(_) => "unreachable",
            Self::TimedOut => "timed_out",
            Self::TooLarge { .. } => "unreadable",
        }
    }

    fn from_reqwest(error: reqwest::Error) -> Self {
        // The address may carry a query; nothing of it belongs in a log.
        if error.is_timeout() { Self::TimedOut } else { Self::Unreachable(error.without_url()) }
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Sends the request and reads the answer, at most `limit` bytes of body as decoded. Of an answer
/// that is no success the status counts: its body is empty when it cannot be read whole. What becomes of it is told
/// to `calling`.
pub(crate) async fn send(
    request: RequestBuilder,
    limit: usize,
    mut calling: Calling,
) -> Result<Reply, HttpError> {
    let sent = send_whole(request, limit, &mut calling).await;
    if let Err(error) = &sent {
        calling.failed(error.label());
    }
    sent
}

async fn send_whole(
    request: RequestBuilder,
    limit: usize,
    calling: &mut Calling,
) -> Result<Reply, HttpError> {
    let mut response = execute(request, calling).await?;
    let status = response.status();
    let headers = std::mem::take(response.headers_mut());
    let body = match read_body(response, limit).await {
        Err(_) if !status.is_success() => Vec::new(),
        read => read?,
    };
    Ok(Reply { status, headers, body })
}

/// Sends the request and reads the head of the answer. Follow with [`whole`] or [`chunk`]. What becomes of it up to
/// there is told to `calling`.
pub(crate) async fn open(
    request: RequestBuilder,
    mut calling: Calling,
) -> Result<Response, HttpError> {
    let opened = execute(request, &mut calling).await;
    if let Err(error) = &opened {
        calling.failed(error.label());
    }
    opened
}

async fn execute(request: RequestBuilder, calling: &mut Calling) -> Result<Response, HttpError> {
    let (client, request) = request.build_split();
    let mut request = request.map_err(HttpError::from_reqwest)?;
    if let Some(traceparent) = calling.traceparent() {
        request.headers_mut().insert(TRACEPARENT, traceparent);
        calling.sent(|| whereto(&request));
    }
    let response = client.execute(request).await.map_err(HttpError::from_reqwest)?;
    calling.answered(response.status().as_u16());
    Ok(response)
}

/// Where a request goes, without what may be said of somebody.
fn whereto(request: &Request) -> Sent {
    let mut url = request.url().clone();
    url.set_query(None);
    url.set_fragment(None);
    Sent {
        method: request.method().clone(),
        host: url.host_str().unwrap_or_default().to_owned(),
        port: url.port_or_known_default(),
        url: url.into(),
    }
}

/// The whole body, at most `limit` bytes of it as decoded.
pub(crate) async fn whole(response: Response, limit: usize) -> Result<Vec<u8>, HttpError> {
    read_body(response, limit).await
}

/// The next part of a body; `None` after its proper end.
pub(crate) async fn chunk(response: &mut Response) -> Result<Option<Bytes>, HttpError> {
    response.chunk().await.map_err(HttpError::from_reqwest)
}

async fn read_body(mut response: Response, limit: usize) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(HttpError::from_reqwest)? {
        if body.len() + chunk.len() > limit {
            return Err(HttpError::TooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The other side's clock, as it stands in `Date`.
pub(crate) fn date(headers: &reqwest::header::HeaderMap) -> Option<UnixTime> {
    let text = headers.get(reqwest::header::DATE)?.to_str().ok()?;
    let since = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(UnixTime::from_seconds(i64::try_from(since.as_secs()).ok()?))
}

/// An error with all its causes, on one line: for the log.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::config::source;
    use crate::families::Families;
    use crate::maskinporten::stub::{Answer, Stub};
    use crate::trace::spans::Finished;
    use crate::trace::{TraceMetrics, Tracer};
    use std::sync::Arc;

    #[tokio::test]
    async fn a_recorded_call_tells_its_trace_and_no_other_does() {
        let stub = Stub::start(|_| Answer::status(204)).await;
        let client = client(&stub.url, Duration::from_secs(5)).unwrap();
        let text = "environment: test\nupstream: { url: \"http://127.0.0.1:3000\" }\n\
            tracing: { enabled: true, endpoint: \"http://127.0.0.1:4318\", ratio: 1 }\n\
            routes: [{ id: open, match: { methods: [GET], path: /open }, access: anonymous }]\n";
        let config = source::load_text(text, "test", &|_: &str| None).unwrap();
        let metrics = TraceMetrics::register(&Families::default()).unwrap();
        let (tracer, mut queue) =
            Tracer::new(config.tracing.as_ref(), Arc::new(SystemClock), &metrics);
        let address = stub.url.join("/path?query=secret").unwrap();
        for tracer in [&tracer, &Tracer::off()] {
            let calling = tracer.call("altinn.authorize");
            assert!(send(client.get(address.clone()), 10, calling).await.is_ok());
        }
        let Some(Finished::Call(call)) = queue.next_now() else { panic!("no call") };
        assert!(queue.next_now().is_none());
        let told = |call: &crate::maskinporten::stub::Call| {
            call.headers.get("traceparent").map(|it| it.to_str().unwrap().to_owned())
        };
        let told: Vec<_> = stub.calls().iter().map(told).collect();
        assert_eq!(told, [Some(format!("00-{}-{}-01", call.trace, call.span)), None]);
        assert_eq!((call.status, call.error), (Some(204), None));
        assert_eq!(call.sent.unwrap().url, format!("{}path", stub.url));
        // What goes wrong has a word for it.
        let nobody = "http://127.0.0.1:1/".parse::<Url>().unwrap();
        assert!(send(client.get(nobody), 10, tracer.call("altinn.authorize")).await.is_err());
        let Some(Finished::Call(call)) = queue.next_now() else { panic!("no call") };
        assert_eq!((call.status, call.error), (None, Some("unreachable")));
    }
}

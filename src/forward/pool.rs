//! Connections to one upstream, kept by one worker.
//!
//! HTTP/1.1: idle connections, the last used first. HTTP/2: one connection for all requests.

use super::body::Outgoing;
use super::headers::is_framed_once;
use crate::config::{UpstreamConfig, UpstreamProtocol};
use crate::paced::Paced;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Why a request got no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SendError {
    /// No connection could be made in time.
    #[error("no connection")]
    Unreachable,
    /// A body or an answer stalled.
    #[error("stalled")]
    TimedOut,
    /// The connection broke before the head of the answer.
    #[error("connection closed")]
    Closed,
    /// What came is no HTTP answer.
    #[error("no HTTP answer")]
    BadAnswer,
}

/// How long an idle connection is kept: shorter than the keep-alive of common servers, so that it is
/// seldom the upstream that closes first.
const IDLE: Duration = Duration::from_secs(55);

/// The connections.
pub struct Pool {
    config: UpstreamConfig,
    http1: Mutex<VecDeque<Idle>>,
    http2: tokio::sync::Mutex<Shared>,
}

/// The one connection for all requests, and when it last could not be made.
#[derive(Default)]
struct Shared {
    sender: Option<http2::SendRequest<Outgoing>>,
    failed: Option<Instant>,
}

/// A connection that was used, and may still be busy with the body of its last answer.
struct Idle {
    sender: http1::SendRequest<Outgoing>,
    since: Instant,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("upstream", &self.config.authority.as_str())
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new(config: UpstreamConfig) -> Self {
        Self { config, http1: Mutex::default(), http2: tokio::sync::Mutex::default() }
    }

    /// Sends a request over a kept connection, or a new one. It is sent again only when the library
    /// hands it back unsent.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send(&self, request: Request<Outgoing>) -> Result<Response<Incoming>, SendError> {
        match self.config.protocol {
            UpstreamProtocol::Http1 => self.send_http1(request).await,
            UpstreamProtocol::H2c => self.send_http2(request).await,
        }
    }

    async fn send_http1(
        &self,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, SendError> {
        loop {
            let kept = self.take_ready();
            let fresh = kept.is_none();
            let mut sender = match kept {
                Some(sender) => sender,
                None => self.connect_http1().await?,
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    // Where its end is told in two ways, the next answer may begin elsewhere than we think.
                    if is_framed_once(response.headers()) {
                        self.keep(sender);
                    }
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    // A kept connection had been closed meanwhile, and nothing was sent on it.
                    Some(unsent) if !fresh => request = unsent,
                    _ => return Err(classify(error.error())),
                },
            }
        }
    }

    async fn send_http2(
        &self,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, SendError> {
        loop {
            let (mut sender, fresh) = self.shared_http2().await?;
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !fresh => request = unsent,
                    _ => return Err(classify(error.error())),
                },
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        // A queue of connections is whole after every operation on it, also one that panicked.
        self.http1.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last and is free again.
    fn take_ready(&self) -> Option<http1::SendRequest<Outgoing>> {
        let mut idle = self.idle();
        // Those kept longest stand first; dropping one closes it.
        while idle.front().is_some_and(|kept| kept.since.elapsed() >= IDLE) {
            idle.pop_front();
        }
        let place =
            idle.iter().rposition(|kept| kept.sender.is_ready() && kept.since.elapsed() < IDLE)?;
        idle.remove(place).map(|kept| kept.sender)
    }

    fn keep(&self, sender: http1::SendRequest<Outgoing>) {
        let mut idle = self.idle();
        if idle.len() >= self.config.max_idle_connections {
            idle.retain(|kept| !kept.sender.is_closed() && kept.since.elapsed() < IDLE);
        }
        if idle.len() < self.config.max_idle_connections {
            idle.push_back(Idle { sender, since: Instant::now() });
        }
    }

    async fn connect(&self) -> Result<TokioIo<Paced<TcpStream>>, SendError> {
        let port = self.config.authority.port_u16().unwrap_or(80);
        let host = self.config.authority.host().trim_matches(['[', ']']);
        let connecting = TcpStream::connect((host, port));
        let stream = tokio::time::timeout(self.config.connect_timeout, connecting)
            .await
            .map_err(|_| SendError::Unreachable)?
            .map_err(|_| SendError::Unreachable)?;
        // Without it small writes wait for acknowledgements; a failure only costs time.
        let _ = stream.set_nodelay(true);
        Ok(TokioIo::new(Paced::new(stream, self.config.idle_timeout)))
    }

    async fn connect_http1(&self) -> Result<http1::SendRequest<Outgoing>, SendError> {
        let io = self.connect().await?;
        let (sender, connection) =
            http1::Builder::new().handshake(io).await.map_err(|error| classify(&error))?;
        tokio::spawn(async move {
            // How a connection ends is told to the request on it.
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }

    async fn shared_http2(&self) -> Result<(http2::SendRequest<Outgoing>, bool), SendError> {
        let asked = Instant::now();
        let mut shared = self.http2.lock().await;
        if let Some(sender) = shared.sender.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok((sender.clone(), false));
        }
        // An attempt that failed while this request waited for it has failed for this request too.
        if shared.failed.is_some_and(|failed| failed > asked) {
            return Err(SendError::Unreachable);
        }
        let io = self.connect().await.inspect_err(|_| shared.failed = Some(Instant::now()))?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .handshake(io)
            .await
            .map_err(|error| classify(&error))?;
        tokio::spawn(async move {
            let _ = connection.await;
        });
        shared.sender = Some(sender.clone());
        Ok((sender, true))
    }
}

/// Whether the upstream took nothing for too long: see [`Paced`].
fn has_stalled(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
}

fn classify(error: &hyper::Error) -> SendError {
    if error.is_parse() || error.is_parse_too_large() {
        SendError::BadAnswer
    } else if error.is_timeout() || has_stalled(error) {
        SendError::TimedOut
    } else {
        SendError::Closed
    }
}

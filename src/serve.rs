//! Listeners: connections in, bounded and timed, drained at the end.

mod activity;
pub mod admin;
mod frames;
pub mod proxy;
pub mod register;
pub mod respond;
mod streams;
mod texts;
mod tunnel;
mod watch;

use crate::config::LimitConfig;
use crate::enforce::rejection::Code;
use crate::paced::Paced;
use crate::telemetry::metrics::Metrics;
use activity::{Activity, Quiet};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use proxy::Proxy;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use streams::Streams;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Who else may listen on the same port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sharing {
    /// Nobody.
    Alone,
    /// The other workers: the kernel spreads connections, and none is handed from thread to thread.
    Workers,
}

/// Listens on an address.
///
/// # Errors
/// When the address cannot be bound.
pub fn listen(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(sharing == Sharing::Workers)?;
    socket.bind(address)?;
    socket.listen(4096)
}

/// One worker: its listener, and what it serves connections with.
#[derive(Debug)]
pub struct Worker {
    /// What judges and forwards.
    pub proxy: Arc<Proxy>,
    /// Bounds.
    pub limits: LimitConfig,
    /// Connections that may still be opened, all workers together.
    pub connections: Arc<Semaphore>,
    /// The metrics.
    pub metrics: Metrics,
}

impl Worker {
    /// Accepts and serves until `stop`, then lets requests in flight end, for a bounded time.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) {
        let server = self.server();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.serve(&server, &stop, stream, peer),
                    Err(error) => self.accept_failed(&error).await,
                },
                () = stop.cancelled() => break,
            }
        }
        drop(listener);
        // Connections and the tunnels that some of them have become.
        self.proxy.tasks.close();
        let drained = tokio::time::timeout(self.limits.drain_timeout, self.proxy.tasks.wait());
        if drained.await.is_err() {
            tracing::warn!("requests were still in flight at the end of the drain and are cut");
        }
    }

    fn server(&self) -> auto::Builder<Streams> {
        let mut server = auto::Builder::new(Streams { limit: self.limits.body_idle_timeout });
        // The library's own limits are wider than ours, so that ours are met first and recorded.
        let head = self.limits.header_bytes + self.limits.target_bytes;
        server
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout)
            .max_headers(self.limits.header_count * 2 + 16)
            .max_buf_size((head * 2).max(64 * 1024));
        let list = u32::try_from(head * 2).unwrap_or(u32::MAX);
        server
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.streams_per_connection)
            .max_header_list_size(list)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10));
        server
    }

    fn serve(
        &self,
        server: &auto::Builder<Streams>,
        stop: &CancellationToken,
        stream: TcpStream,
        peer: SocketAddr,
    ) {
        let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
            self.metrics.connections_refused.with_label_values(&["too_many"]).inc();
            return;
        };
        // Without it small answers wait for acknowledgements; a failure only costs time.
        let _ = stream.set_nodelay(true);
        let proxy = Arc::clone(&self.proxy);
        let activity = Activity::new();
        let begins = Arc::clone(&activity);
        let service = hyper::service::service_fn(move |request| {
            let (proxy, busy) = (Arc::clone(&proxy), begins.begin());
            async move { proxy.handle(request, peer.ip(), busy).await }
        });
        let stream = Paced::new(stream, self.limits.body_idle_timeout);
        let connection =
            server.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let patience = Patience {
            first: self.limits.header_timeout,
            idle: self.limits.header_timeout * IDLE_HEADS,
        };
        let (metrics, stop) = (self.metrics.clone(), stop.clone());
        let proxy = Arc::clone(&self.proxy);
        metrics.connections.inc();
        self.proxy.tasks.spawn(async move {
            let mut connection = pin!(connection);
            let mut stopping = false;
            let ended = loop {
                tokio::select! {
                    ended = connection.as_mut() => break ended.map_err(Ending::Broken),
                    () = stop.cancelled(), if !stopping => {
                        stopping = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    quiet = activity.quiet(patience.first, patience.idle) => {
                        if quiet == Quiet::Idle {
                            connection.as_mut().graceful_shutdown();
                            // What is left of it is said in this time or not at all.
                            let _ = tokio::time::timeout(patience.first, connection.as_mut()).await;
                        }
                        break Err(Ending::Quiet(quiet));
                    }
                }
            };
            metrics.connections.dec();
            drop(permit);
            if let Err(ending) = ended {
                metrics.connections_refused.with_label_values(&[ending.label()]).inc();
                if let Some(code) = ending.unreadable() {
                    proxy.unreadable(peer.ip(), code);
                }
            }
        });
    }

    /// Out of descriptors, or the like: wait for some to come back instead of spinning.
    async fn accept_failed(&self, error: &io::Error) {
        self.metrics.connections_refused.with_label_values(&["accept"]).inc();
        tracing::warn!(%error, "a connection could not be accepted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A connection without a request in flight is kept for as long as so many heads may take.
const IDLE_HEADS: u32 = 6;

/// How long a connection may be without requests.
#[derive(Clone, Copy)]
struct Patience {
    /// Before the first.
    first: Duration,
    /// After any other.
    idle: Duration,
}

/// Why a connection did not end in good order.
enum Ending {
    Quiet(Quiet),
    Broken(Box<dyn std::error::Error + Send + Sync>),
}

impl Ending {
    fn label(&self) -> &'static str {
        match self {
            Self::Quiet(quiet) => quiet.label(),
            Self::Broken(_) => "broken",
        }
    }

    /// The code of a request that the library refused without asking us.
    fn unreadable(&self) -> Option<Code> {
        let Self::Broken(error) = self else { return None };
        let error = error.downcast_ref::<hyper::Error>()?;
        match (error.is_parse_too_large(), error.is_parse()) {
            (true, _) => Some(Code::HeadersTooLarge),
            (false, true) => Some(Code::BadRequest),
            (false, false) => None,
        }
    }
}

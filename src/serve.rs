//! Listeners: connections in, bounded and timed, drained at the end.

pub mod admin;
pub mod proxy;
pub mod respond;
mod streams;
mod texts;

use crate::config::LimitConfig;
use crate::paced::Paced;
use crate::telemetry::metrics::Metrics;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use proxy::Proxy;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
        let graceful = GracefulShutdown::new();
        let server = self.server();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.serve(&server, &graceful, stream, peer),
                    Err(error) => self.accept_failed(&error).await,
                },
                () = stop.cancelled() => break,
            }
        }
        drop(listener);
        if tokio::time::timeout(self.limits.drain_timeout, graceful.shutdown()).await.is_err() {
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
        graceful: &GracefulShutdown,
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
        let begun = Arc::new(AtomicBool::new(false));
        let begins = Arc::clone(&begun);
        let service = hyper::service::service_fn(move |request| {
            let proxy = Arc::clone(&proxy);
            begins.store(true, Ordering::Relaxed);
            async move { proxy.handle(request, peer.ip()).await }
        });
        let stream = Paced::new(stream, self.limits.body_idle_timeout);
        let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let connection = graceful.watch(connection.into_owned());
        let (metrics, patience) = (self.metrics.clone(), self.limits.header_timeout);
        metrics.connections.inc();
        tokio::spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let early = tokio::time::timeout(patience, &mut connection).await;
            // The library times the head of a request, but not the wait for the first byte of the first.
            let reason = match early {
                Ok(ended) => ended.err().map(|_| "broken"),
                Err(_) if begun.load(Ordering::Relaxed) => connection.await.err().map(|_| "broken"),
                Err(_) => Some("no_request"),
            };
            metrics.connections.dec();
            drop(permit);
            if let Some(reason) = reason {
                metrics.connections_refused.with_label_values(&[reason]).inc();
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

//! The admin listener: alive, ready, metrics. Its own port, its own runtime, no secret in its answers.

use crate::telemetry::metrics::Metrics;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Whether the program can serve, and if not, why.
pub trait Readiness: Send + Sync {
    /// What stands in the way; empty when ready. Stable words, no secrets.
    fn obstacles(&self) -> Vec<&'static str>;

    /// Sets the gauges of what is measured only when somebody looks.
    fn observe(&self);
}

/// What the admin listener answers from.
#[derive(Clone)]
pub struct Admin {
    /// The metrics.
    pub metrics: Metrics,
    /// Readiness.
    pub readiness: Arc<dyn Readiness>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// Most admin connections at once.
const CONNECTIONS: usize = 64;

impl Admin {
    /// Serves until `stop`.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) {
        let room = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
            let admin = self.clone();
            tokio::spawn(async move {
                admin.serve(stream).await;
                drop(permit);
            });
        }
    }

    async fn serve(&self, stream: TcpStream) {
        let service = hyper::service::service_fn(async |request: Request<Incoming>| {
            Ok::<_, Infallible>(self.answer(request.method(), request.uri().path()))
        });
        // How an admin connection ends is of no consequence.
        let _ = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(5))
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    fn render(&self) -> prometheus::Result<String> {
        self.readiness.observe();
        self.metrics.render()
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        const TEXT: &str = "text/plain; charset=utf-8";
        const JSON: &str = "application/json";
        if !matches!(*method, Method::GET | Method::HEAD) {
            return reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET or HEAD\n".into());
        }
        match path {
            "/livez" => reply(StatusCode::OK, JSON, json!({ "live": true }).to_string()),
            "/readyz" => {
                let obstacles = self.readiness.obstacles();
                let ready = obstacles.is_empty();
                let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                reply(status, JSON, json!({ "ready": ready, "waiting_for": obstacles }).to_string())
            }
            "/metrics" => match self.render() {
                Ok(text) => reply(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text),
                Err(error) => {
                    tracing::error!(%error, "the metrics cannot be written");
                    reply(StatusCode::INTERNAL_SERVER_ERROR, TEXT, String::new())
                }
            },
            _ => reply(StatusCode::NOT_FOUND, TEXT, "/livez, /readyz or /metrics\n".into()),
        }
    }
}

fn reply(status: StatusCode, media: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

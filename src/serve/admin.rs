//! The admin listener: alive, ready, metrics, the register, the last refusals, and pages for people. Its own port,
//! its own runtime, no secret in its answers. What is long is written piece by piece, as it is taken.

use super::guard::{Closed, Guard};
use super::history::{self, History};
use super::pages::{self, InForce, Page};
use super::register::{CountCalls, RegisterPages};
use crate::paced::Paced;
use crate::record::Recorder;
use crate::telemetry::metrics::Metrics;
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
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
    /// Remembers the last refusals.
    pub recorder: Arc<Recorder>,
    /// The register, if there is one.
    pub register: Option<Arc<RegisterPages>>,
    /// How busy the way to Altinn is; `None` where nobody goes it.
    pub calls: Option<CountCalls>,
    /// The last hour.
    pub history: Arc<History>,
    /// The configuration in force.
    pub in_force: Arc<ArcSwap<InForce>>,
    /// Who may see more than probes and metrics.
    pub guard: Arc<ArcSwap<Guard>>,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// Most admin connections at once.
const CONNECTIONS: usize = 64;
/// Who takes nothing of an answer for so long is given up.
const IDLE: Duration = Duration::from_secs(30);

/// Nothing here is kept, guessed at, framed, or read by pages of others.
const ALWAYS: [(HeaderName, &str); 6] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const PATHS: &str = "/livez, /readyz, /metrics, /register, /register/system-users/{uuid}, \
                     /register/export, /refusals, or pages for people: /, /ui/refusals, \
                     /ui/refusals/{trace id}, /ui/routes or /ui/configuration\n";
const NO_REGISTER: &str =
    "no register is kept: `register.enabled` is false, or no route asks for a right\n";

impl Admin {
    /// Serves until `stop`.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) {
        let room = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
        let mut look = tokio::time::interval(history::INTERVAL);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = look.tick() => {
                    self.history.read();
                    continue;
                }
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
            Ok::<_, Infallible>(self.answer(&request))
        });
        // How an admin connection ends is of no consequence.
        let _ = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(5))
            .serve_connection(TokioIo::new(Paced::new(stream, IDLE)), service)
            .await;
    }

    fn render(&self) -> prometheus::Result<String> {
        self.readiness.observe();
        self.metrics.render()
    }

    fn answer<B>(&self, request: &Request<B>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET or HEAD\n".into());
        }
        match request.uri().path() {
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
            path => match self.guard.load().admit(request.headers()) {
                Ok(()) => self.guarded(path, request.uri().query()),
                Err(closed) => turned_away(closed),
            },
        }
    }

    /// What is not for everybody who can reach the listener.
    fn guarded(&self, path: &str, query: Option<&str>) -> Answer {
        if path == "/refusals" {
            return reply(StatusCode::OK, JSON, self.recorder.refusals.json());
        }
        if let Some(page) = pages::page(self, path, query) {
            return show(page);
        }
        match (path.strip_prefix("/register"), &self.register) {
            (Some("" | "/export"), None) => not_found(NO_REGISTER),
            (Some(page), Some(register)) => self.register_page(page, register),
            (Some(_), None) | (None, _) => not_found(PATHS),
        }
    }

    fn register_page(&self, page: &str, register: &Arc<RegisterPages>) -> Answer {
        match page {
            "" => {
                let worst = self.metrics.permit_age_worst.seconds();
                reply(StatusCode::OK, JSON, register.summary(Some(worst)).to_string())
            }
            "/export" => export(register),
            _ => match page.strip_prefix("/system-users/").map(str::parse) {
                Some(Ok(id)) => match register.system_user(id) {
                    Some(user) => reply(StatusCode::OK, JSON, user.to_string()),
                    None => not_found("the system user is not in the watched set\n"),
                },
                Some(Err(_)) => not_found("a system user is named by its UUID\n"),
                None => not_found(PATHS),
            },
        }
    }
}

/// Shard by shard: the next one is read when there is room for it.
fn export(register: &Arc<RegisterPages>) -> Answer {
    let lines = Arc::clone(register).export().map(|lines| Ok(Frame::data(lines)));
    let body = StreamBody::new(stream::iter(lines)).boxed_unsync();
    headed(StatusCode::OK, "application/x-ndjson", body)
}

/// A browser asks for name and password when it is told `Basic`; the token is the password.
fn turned_away(closed: Closed) -> Answer {
    match closed {
        Closed::Token => {
            let text = "show the token of `admin.token_file`: as bearer token, or as password with any name\n";
            let mut answer = reply(StatusCode::UNAUTHORIZED, TEXT, text.into());
            for challenge in
                ["Basic realm=\"portvakt\", charset=\"UTF-8\"", "Bearer realm=\"portvakt\""]
            {
                let challenge = HeaderValue::from_static(challenge);
                answer.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
            }
            answer
        }
        Closed::NoToken => {
            let text = "probes and /metrics only: this listener can be reached from other machines, and \
                        `admin.token_file` names no token that would open the rest\n";
            reply(StatusCode::FORBIDDEN, TEXT, text.into())
        }
        Closed::Host => {
            let text = "ask for `localhost` or an address: under another name this listener is open to \
                        whoever shows the token of `admin.token_file` only\n";
            reply(StatusCode::MISDIRECTED_REQUEST, TEXT, text.into())
        }
    }
}

fn show(page: Page) -> Answer {
    let mut answer = reply(page.status, page.media, page.text);
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, pages::POLICY);
    if page.refresh {
        answer.headers_mut().insert(header::REFRESH, pages::REFRESH.into());
    }
    answer
}

fn not_found(text: &'static str) -> Answer {
    reply(StatusCode::NOT_FOUND, TEXT, text.into())
}

fn reply(status: StatusCode, media: &'static str, text: String) -> Answer {
    headed(status, media, Full::new(text.into()).boxed_unsync())
}

fn headed(
    status: StatusCode,
    media: &'static str,
    body: UnsyncBoxBody<Bytes, Infallible>,
) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

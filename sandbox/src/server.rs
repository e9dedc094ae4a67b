//! The listener: accepts connections, counts and disturbs calls, hands them to the services, stops.

use crate::altinn::pdp::caches::Pods;
use crate::calls::Call;
use crate::crypto::rsa::KeyError;
use crate::faults::Endpoint;
use crate::state::{Frozen, Shared, SigningKeys, Urls};
use crate::tls::{Tls, TlsError, TlsOptions};
use crate::world::seed::{self, Document, SeedError};
use crate::{altinn, knobs, maskinporten, pages};
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use axum::{Extension, Router};
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// Where the world comes from.
#[derive(Clone, Debug, Default)]
pub enum Seed {
    /// The world that is part of the program, described in the README.
    #[default]
    BuiltIn,
    /// A YAML file.
    File(PathBuf),
    /// YAML text.
    Text(String),
}

/// How to start.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The world to simulate.
    pub seed: Seed,
    /// Instances of the decision point with Altinn's own caches of 5 and 10 minutes; 0 switches caching off.
    pub caching_pods: usize,
    /// TLS on the same port, with certificates of a local authority.
    pub tls: Option<TlsOptions>,
    /// A proxy that the vendor's page may call, `http://HOST:PORT`; the pages call nothing else.
    pub proxy: Option<String>,
}

impl Default for SandboxOptions {
    /// A free port on loopback, the built-in world, no caches.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: Seed::BuiltIn,
            caching_pods: 0,
            tls: None,
            proxy: None,
        }
    }
}

/// Why the sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The seed file cannot be opened.
    #[error("cannot read the seed file `{}`", path.display())]
    SeedFile {
        /// The file that was named.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The seed is no consistent world.
    #[error("bad seed")]
    Seed(#[from] SeedError),
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The proxy's address is not `http://HOST:PORT`.
    #[error("`{0}` is no address of the form http://HOST:PORT")]
    Proxy(String),
    /// No TLS.
    #[error("cannot serve TLS")]
    Tls(#[from] TlsError),
    /// No signing keys.
    #[error("cannot make signing keys")]
    Keys(#[from] KeyError),
    /// The runtime went away while keys were made.
    #[error("start was interrupted")]
    Interrupted,
}

/// The simulation; see [`Sandbox::start`].
#[derive(Clone, Copy, Debug)]
pub struct Sandbox;

impl Sandbox {
    /// Reads the world, makes signing keys, listens and serves in a task of the current tokio runtime.
    ///
    /// # Errors
    /// [`SandboxError`] tells what is wrong with the seed or the address.
    pub async fn start(options: SandboxOptions) -> Result<RunningSandbox, SandboxError> {
        check_proxy(options.proxy.as_deref())?;
        let text = seed_text(options.seed)?;
        let keys = tokio::task::spawn_blocking(SigningKeys::generate)
            .await
            .map_err(|_| SandboxError::Interrupted)??;
        let listen_error = |source| SandboxError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let urls = urls(options.tls.as_ref(), address);
        let tls = options.tls.as_ref().map(Tls::new).transpose()?;
        let (acceptor, authority) = tls.map(|tls| (tls.acceptor, tls.authority)).unzip();
        let shared = Shared::new(urls, text, keys, options.caching_pods, options.proxy)?;
        let shared = Arc::new(shared);
        let (stop, stopped) = watch::channel(());
        let task = tokio::spawn(accept(listener, Arc::clone(&shared), acceptor, stopped));
        Ok(RunningSandbox { address, shared, authority, stop, task })
    }
}

fn check_proxy(proxy: Option<&str>) -> Result<(), SandboxError> {
    match proxy {
        Some(proxy) if pages::host_of(proxy).is_none() => {
            Err(SandboxError::Proxy(proxy.to_owned()))
        }
        _ => Ok(()),
    }
}

/// Where the services say they are.
fn urls(tls: Option<&TlsOptions>, address: SocketAddr) -> Urls {
    let listener = address.to_string();
    let Some(tls) = tls else {
        let (issuer, altinn) = (format!("http://{address}/"), format!("http://{address}"));
        return Urls { issuer, altinn, listener };
    };
    let host = tls.hosts.first().map(String::as_str).unwrap_or_default();
    let base = match address.port() {
        443 => format!("https://{host}"),
        port => format!("https://{host}:{port}"),
    };
    Urls {
        issuer: tls.issuer.clone().unwrap_or_else(|| format!("{base}/")),
        altinn: tls.altinn.clone().unwrap_or(base),
        listener,
    }
}

fn seed_text(seed: Seed) -> Result<String, SandboxError> {
    match seed {
        Seed::BuiltIn => Ok(seed::BUILT_IN.to_owned()),
        Seed::Text(text) => Ok(text),
        Seed::File(path) => {
            std::fs::read_to_string(&path).map_err(|source| SandboxError::SeedFile { path, source })
        }
    }
}

/// A sandbox that listens. Dropping it stops it and breaks its connections.
pub struct RunningSandbox {
    address: SocketAddr,
    shared: Arc<Shared>,
    authority: Option<String>,
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl fmt::Debug for RunningSandbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RunningSandbox")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl RunningSandbox {
    /// The address it listens on, with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Maskinporten's issuer, `http://ADDRESS/` with a trailing slash.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.shared.urls.issuer
    }

    /// Altinn's base address, `http://ADDRESS` without a trailing slash.
    #[must_use]
    pub fn altinn_url(&self) -> &str {
        &self.shared.urls.altinn
    }

    /// What clients must trust: the certificate of the local authority in PEM, with TLS only.
    #[must_use]
    pub fn authority_pem(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// Puts another world in place of this one; YAML in the form of the seed, or the same as JSON. Resources that
    /// changed move to the end of the registry's change feed.
    ///
    /// # Errors
    /// [`SeedError`] names what is wrong; the old world then stays.
    pub fn load_world(&self, text: &str) -> Result<(), SeedError> {
        self.shared.load_world(text)
    }

    /// Adds to the world and replaces in it what a partial document names by its keys.
    ///
    /// # Errors
    /// [`SeedError`] names what is wrong; the old world then stays.
    pub fn patch_world(&self, text: &str) -> Result<(), SeedError> {
        self.shared.patch_world(text)
    }

    /// The present world as YAML in the form of the seed.
    ///
    /// # Errors
    /// [`SeedError::Write`].
    pub fn world(&self) -> Result<String, SeedError> {
        Document::of(&self.shared.snapshot()).to_yaml()
    }

    /// Seconds since 1970 on the sandbox's clock.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.shared.now()
    }

    /// Moves the sandbox's clock, also backwards.
    pub fn advance_clock(&self, seconds: i64) {
        self.shared.clock.advance(seconds);
    }

    /// Gives the decision point this many instances with empty caches; 0 switches caching off.
    pub fn set_caching_pods(&self, pods: usize) {
        *self.shared.pods() = Pods::new(pods);
    }

    /// Stops listening and waits until every connection is closed.
    pub async fn stop(self) {
        drop(self.stop);
        // A task that panicked has stopped, too.
        let _ = self.task.await;
    }
}

/// Everything but the pages.
fn services() -> Router<Arc<Shared>> {
    Router::new().merge(maskinporten::router()).merge(altinn::router()).merge(knobs::router())
}

/// Serves until the sender of `stopped` is dropped, then breaks what is open.
async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    tls: Option<TlsAcceptor>,
    mut stopped: watch::Receiver<()>,
) {
    let api = services().with_state(Arc::clone(&shared));
    let router = services()
        .merge(pages::router())
        .layer(Extension(pages::Api(api)))
        .with_state(Arc::clone(&shared));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (shared, router) = (Arc::clone(&shared), router.clone());
                    connections.spawn(connection(stream, tls.clone(), shared, router));
                }
                Err(error) => tracing::warn!(%error, "a connection could not be accepted"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
    connections.shutdown().await;
}

/// The first byte of a TLS handshake; no HTTP request begins with it.
const HANDSHAKE: u8 = 0x16;

/// Serves TLS to who begins with it, and plain HTTP to others.
async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    router: Router,
) {
    let Some(tls) = tls else { return serve(stream, shared, router).await };
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1) if first == [HANDSHAKE] => match tls.accept(stream).await {
            Ok(stream) => serve(stream, shared, router).await,
            Err(error) => tracing::debug!(%error, "no TLS session"),
        },
        _ => serve(stream, shared, router).await,
    }
}

async fn serve<S>(stream: S, shared: Arc<Shared>, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        answer(Arc::clone(&shared), router.clone(), request.map(Body::new))
    });
    let served = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended");
    }
}

/// The connection is to close without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed on purpose")]
struct Closed;

async fn answer(
    shared: Arc<Shared>,
    router: Router,
    request: Request<Body>,
) -> Result<Response, Closed> {
    let service = TowerToHyperService::new(router);
    let Some(endpoint) = Endpoint::of(request.uri().path()) else {
        return Ok(service.call(request).await.unwrap_or_else(|never| match never {}));
    };
    shared.calls().count(endpoint);
    let call = Asked::new(&request, endpoint);
    let answered = disturbed(&shared, service, endpoint, request).await;
    let status = answered.as_ref().ok().map(|response| response.status().as_u16());
    call.remember(&shared, status);
    answered
}

/// What is told of a call in the live view.
struct Asked {
    endpoint: Endpoint,
    method: String,
    target: String,
}

impl Asked {
    fn new(request: &Request<Body>, endpoint: Endpoint) -> Self {
        // Longer paths than Altinn has are not worth keeping.
        let target = request.uri().path_and_query().map_or("/", |it| it.as_str());
        let target = target.chars().take(300).collect();
        Self { endpoint, method: request.method().to_string(), target }
    }

    fn remember(self, shared: &Shared, status: Option<u16>) {
        let endpoint = serde_json::json!(self.endpoint).as_str().unwrap_or_default().to_owned();
        let Self { method, target, .. } = self;
        let at = shared.now();
        shared.calls().remember(Call { at, endpoint, method, target, status });
    }
}

/// The answer, spoilt where a fault is in force.
async fn disturbed(
    shared: &Shared,
    service: TowerToHyperService<Router>,
    endpoint: Endpoint,
    mut request: Request<Body>,
) -> Result<Response, Closed> {
    let taken = shared.faults().take(endpoint, request.uri().path());
    let Some((fault, frozen)) = taken else {
        return Ok(service.call(request).await.unwrap_or_else(|never| match never {}));
    };
    fault.delay().await;
    if fault.closes() {
        return Err(Closed);
    }
    let response = if let Some(response) = fault.replacement() {
        response
    } else {
        request.extensions_mut().insert(fault.clone());
        if let Some(world) = frozen {
            request.extensions_mut().insert(Frozen(world));
        }
        service.call(request).await.unwrap_or_else(|never| match never {})
    };
    Ok(fault.spoil(response).await)
}

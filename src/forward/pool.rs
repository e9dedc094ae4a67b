//! Connections to one upstream, kept by one worker.
//!
//! HTTP/1.1: idle connections, the last used first. HTTP/2: one connection for all requests. Over TLS the
//! upstream may choose between the two (ALPN). A connection to an address that the upstream's name does not
//! have any more is used for no further request.

use super::addresses::Addresses;
use super::body::Outgoing;
use super::headers::is_framed_once;
use super::health::{Attempt, Health};
use crate::config::{UpstreamConfig, UpstreamProtocol};
use crate::paced::Paced;
use crate::stream::{Socket, Stream};
use crate::telemetry::metrics::Metrics;
use crate::tls::client::Client as TlsClient;
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, Uri, Version, header};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prometheus::IntCounter;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

/// Why a request got no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SendError {
    /// No connection could be made in time.
    #[error("no connection")]
    Unreachable,
    /// No connection was tried, and none will be for so long.
    #[error("left out")]
    LeftOut(Duration),
    /// The certificate is not trusted.
    #[error("certificate not trusted")]
    Untrusted,
    /// TLS, or HTTP within it, could not be agreed on.
    #[error("no agreement on TLS")]
    Handshake,
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

/// What a request needs of its connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// To carry it.
    Plain,
    /// To become a tunnel: HTTP/1.1.
    Upgrade,
}

/// Gives a request a second time, where that is safe.
pub type Again<'a> = &'a mut (dyn FnMut() -> Option<Request<Outgoing>> + Send);

/// How long an idle connection is kept: shorter than the keep-alive of common servers, so that it is
/// seldom the upstream that closes first.
const IDLE: Duration = Duration::from_secs(55);

/// The connections.
pub struct Pool {
    config: UpstreamConfig,
    addresses: Arc<Addresses>,
    health: Health,
    security: Security,
    http1: Mutex<VecDeque<Idle>>,
    http2: tokio::sync::Mutex<Shared>,
    retries: IntCounter,
}

/// Whether connections are made secure.
enum Security {
    /// They are not meant to be.
    Plain,
    Tls(Tls),
    /// They are meant to be and cannot: there is no name to verify, or nothing to verify it with.
    Impossible,
}

/// What connections are made secure with.
struct Tls {
    client: Arc<TlsClient>,
    name: ServerName<'static>,
}

/// The one connection for all requests, and when it last could not be made.
#[derive(Default)]
struct Shared {
    sender: Option<http2::SendRequest<Outgoing>>,
    to: Option<SocketAddr>,
    failed: Option<(Instant, SendError)>,
    /// The upstream was asked, and chose HTTP/1.1.
    refused: bool,
}

/// A connection that was used, and may still be busy with the body of its last answer.
struct Idle {
    connection: Http1,
    since: Instant,
}

struct Http1 {
    sender: http1::SendRequest<Outgoing>,
    to: Option<SocketAddr>,
    /// Whether anything was read since it was last cleared.
    heard: Arc<AtomicBool>,
}

/// A socket that is connected, and whose health that tells of once TLS is through too.
struct Reached<'p> {
    socket: Socket,
    to: Option<SocketAddr>,
    attempt: Attempt<'p>,
}

/// A connection without HTTP on it yet.
struct Connected {
    stream: Stream,
    to: Option<SocketAddr>,
    /// The upstream chose HTTP/2.
    http2: bool,
}

/// What of HTTP a new connection may speak.
#[derive(Clone, Copy)]
enum Offer {
    Http1,
    Http2,
    Either,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("upstream", &self.config.authority.as_str())
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// An empty pool for the upstream called `name`.
    #[must_use]
    pub fn new(
        name: &str,
        config: UpstreamConfig,
        tls: Option<Arc<TlsClient>>,
        metrics: &Metrics,
    ) -> Self {
        let host = config.authority.host().trim_matches(['[', ']']);
        let usual = if config.tls.is_some() { 443 } else { 80 };
        let port = config.authority.port_u16().unwrap_or(usual);
        let lookups = ["ok", "failed"]
            .map(|result| metrics.upstream_lookups.with_label_values(&[name, result]));
        let told = move |ok| {
            let [good, bad] = &lookups;
            if ok { good.inc() } else { bad.inc() }
        };
        let addresses = Addresses::new(host, port, config.lookup_interval, Box::new(told));
        let wanted = config.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
        let server = ServerName::try_from(wanted.unwrap_or(host).to_owned());
        // The configuration has seen to it that nothing is missing; if something is, nothing is sent.
        let security = match (&config.tls, tls, server) {
            (None, None, _) => Security::Plain,
            (Some(_), Some(client), Ok(name)) => Security::Tls(Tls { client, name }),
            _ => Security::Impossible,
        };
        let left_out = metrics.upstream_left_out.with_label_values(&[name]);
        let health = Health::new(name, config.circuit_failures, config.circuit_open_for, left_out);
        Self {
            config,
            addresses: Arc::new(addresses),
            health,
            security,
            http1: Mutex::default(),
            http2: tokio::sync::Mutex::default(),
            retries: metrics.upstream_retries.with_label_values(&[name]),
        }
    }

    /// Whether a connection can become a tunnel.
    #[must_use]
    pub fn can_upgrade(&self) -> bool {
        match self.config.protocol {
            UpstreamProtocol::Http1 | UpstreamProtocol::Auto => true,
            UpstreamProtocol::H2c | UpstreamProtocol::Http2 => false,
        }
    }

    /// Sends a request over a kept connection, or a new one. It is sent again when the library hands it back
    /// unsent; and once, over a new connection, when `again` gives it a second time, as it does where that is safe, and
    /// the kept connection ended before a byte of an answer: the upstream most likely closed it idle.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send(
        &self,
        request: Request<Outgoing>,
        again: Again<'_>,
        kind: Kind,
    ) -> Result<Response<Incoming>, SendError> {
        self.addresses.renew();
        // Boxed: most upstreams speak HTTP/1.1, and those requests do not carry along what HTTP/2 needs.
        match (self.config.protocol, kind) {
            (UpstreamProtocol::Http1, _) | (UpstreamProtocol::Auto, Kind::Upgrade) => {
                self.send_http1(request, again).await
            }
            (UpstreamProtocol::H2c | UpstreamProtocol::Http2, _) => {
                Box::pin(self.send_http2(request)).await
            }
            (UpstreamProtocol::Auto, Kind::Plain) => {
                if Box::pin(self.chooses_http2()).await? {
                    Box::pin(self.send_http2(request)).await
                } else {
                    let sent = self.send_http1(request, again).await;
                    if matches!(sent, Err(SendError::Handshake)) {
                        // It may have changed its mind.
                        self.http2.lock().await.refused = false;
                    }
                    sent
                }
            }
        }
    }

    async fn send_http1(
        &self,
        mut request: Request<Outgoing>,
        again: Again<'_>,
    ) -> Result<Response<Incoming>, SendError> {
        for_http1(&mut request);
        while let Some(mut connection) = self.take_ready() {
            connection.heard.store(false, Ordering::Relaxed);
            match connection.sender.try_send_request(request).await {
                Ok(response) => {
                    self.keep_after(&response, connection);
                    return Ok(response);
                }
                Err(mut error) => {
                    // The connection had been closed meanwhile, and nothing was sent on it.
                    if let Some(unsent) = error.take_message() {
                        request = unsent;
                        continue;
                    }
                    let unheard = ended_unheard(error.error(), &connection);
                    let Some(copy) = unheard.then(&mut *again).flatten() else {
                        return Err(classify(error.error()));
                    };
                    self.retries.inc();
                    request = copy;
                    break;
                }
            }
        }
        // Boxed: few requests connect, and the others do not carry along what that needs.
        let mut connection = Box::pin(self.connect_http1()).await?;
        let sent = connection.sender.try_send_request(request).await;
        let response = sent.map_err(|error| classify(error.error()))?;
        self.keep_after(&response, connection);
        Ok(response)
    }

    async fn send_http2(
        &self,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, SendError> {
        self.for_http2(&mut request)?;
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

    /// HTTP/2 knows the host as part of the address.
    fn for_http2(&self, request: &mut Request<Outgoing>) -> Result<(), SendError> {
        let host = request.headers_mut().remove(header::HOST);
        let authority = host.and_then(|host| host.to_str().ok()?.parse().ok());
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        // What was judged is a target, so this cannot fail.
        let uri = Uri::builder()
            .scheme(if self.config.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP })
            .authority(authority.unwrap_or_else(|| self.config.authority.clone()))
            .path_and_query(target)
            .build();
        *request.uri_mut() = uri.map_err(|_| SendError::BadAnswer)?;
        *request.version_mut() = Version::HTTP_2;
        Ok(())
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        // A queue of connections is whole after every operation on it, also one that panicked.
        self.http1.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last and is free again.
    fn take_ready(&self) -> Option<Http1> {
        let (mut idle, now) = (self.idle(), Instant::now());
        // Those kept longest stand first; dropping one closes it.
        while idle.front().is_some_and(|kept| !self.is_fit(kept, now)) {
            idle.pop_front();
        }
        let is_free = |kept: &Idle| kept.connection.sender.is_ready() && self.is_fit(kept, now);
        let place = idle.iter().rposition(is_free)?;
        idle.remove(place).map(|kept| kept.connection)
    }

    /// Young enough, and to where the upstream still is.
    fn is_fit(&self, kept: &Idle, now: Instant) -> bool {
        now.saturating_duration_since(kept.since) < IDLE && self.still_there(kept.connection.to)
    }

    fn still_there(&self, to: Option<SocketAddr>) -> bool {
        to.is_none_or(|address| self.addresses.hold(address))
    }

    /// Where the end of an answer is told in two ways, the next may begin elsewhere than we think.
    fn keep_after(&self, response: &Response<Incoming>, connection: Http1) {
        if is_framed_once(response.headers()) {
            self.keep(connection);
        }
    }

    fn keep(&self, connection: Http1) {
        let (mut idle, now) = (self.idle(), Instant::now());
        if idle.len() >= self.config.max_idle_connections {
            idle.retain(|kept| !kept.connection.sender.is_closed() && self.is_fit(kept, now));
        }
        if idle.len() < self.config.max_idle_connections {
            idle.push_back(Idle { connection, since: now });
        }
    }

    async fn connect(&self, offer: Offer) -> Result<Connected, SendError> {
        let tls = match &self.security {
            Security::Plain => None,
            Security::Tls(tls) => Some(tls),
            Security::Impossible => return Err(SendError::Handshake),
        };
        let deadline = Instant::now() + self.config.connect_timeout;
        let Reached { socket, to, attempt } = match &self.config.socket {
            Some(path) => self.connect_unix(path, deadline).await?,
            None => self.connect_tcp(deadline).await?,
        };
        let socket = Paced::new(socket, self.config.idle_timeout);
        let securing = async {
            match tls {
                None => Ok((Stream::Plain(socket), matches!(offer, Offer::Http2))),
                Some(tls) => tls.secure(socket, offer).await,
            }
        };
        let Ok(secured) = timeout_at(deadline, securing).await else {
            attempt.failed();
            return Err(SendError::Unreachable);
        };
        // Somebody is there. Whether it is who it should be is another matter.
        attempt.succeeded();
        let (stream, http2) = secured?;
        Ok(Connected { stream, to, http2 })
    }

    async fn connect_unix(&self, path: &Path, deadline: Instant) -> Result<Reached<'_>, SendError> {
        let attempt = self.health.attempt(None).map_err(SendError::LeftOut)?;
        match timeout_at(deadline, UnixStream::connect(path)).await {
            Ok(Ok(stream)) => Ok(Reached { socket: Socket::Unix(stream), to: None, attempt }),
            unreached => {
                given_up(attempt, &unreached);
                Err(SendError::Unreachable)
            }
        }
    }

    /// Tries one address after the other, each for its share of the time; not those that are left out.
    async fn connect_tcp(&self, deadline: Instant) -> Result<Reached<'_>, SendError> {
        let addresses = timeout_at(deadline, self.addresses.now()).await;
        let Ok(Ok(addresses)) = addresses else { return Err(SendError::Unreachable) };
        let share =
            self.config.connect_timeout / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        let (mut tried, mut wait) = (false, Duration::MAX);
        for address in addresses.iter() {
            let to = Some(*address);
            let attempt = match self.health.attempt(to) {
                Ok(attempt) => attempt,
                Err(left) => {
                    wait = wait.min(left);
                    continue;
                }
            };
            tried = true;
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    let socket = Socket::Tcp(stream).without_delay();
                    return Ok(Reached { socket, to, attempt });
                }
                unreached => given_up(attempt, &unreached),
            }
        }
        Err(if tried { SendError::Unreachable } else { SendError::LeftOut(wait) })
    }

    async fn connect_http1(&self) -> Result<Http1, SendError> {
        let connected = self.connect(Offer::Http1).await?;
        Self::begin_http1(connected).await
    }

    async fn begin_http1(connected: Connected) -> Result<Http1, SendError> {
        let heard = Arc::new(AtomicBool::new(false));
        let io = TokioIo::new(Heard { stream: connected.stream, heard: Arc::clone(&heard) });
        let handshake = http1::Builder::new().handshake(io).await;
        let (sender, connection) = handshake.map_err(|error| classify(&error))?;
        tokio::spawn(async move {
            // How a connection ends is told to the request on it.
            let _ = connection.with_upgrades().await;
        });
        Ok(Http1 { sender, to: connected.to, heard })
    }

    /// Which of the two the upstream chooses; it is asked with the first connection, and again with the
    /// first after the last of HTTP/2 has ended.
    async fn chooses_http2(&self) -> Result<bool, SendError> {
        let asked = Instant::now();
        let mut shared = self.http2.lock().await;
        if shared.refused || self.usable(&shared).is_some() {
            return Ok(!shared.refused);
        }
        let connected = Box::pin(self.connect_shared(&mut shared, Offer::Either, asked)).await?;
        if connected.http2 {
            Self::begin_http2(&mut shared, connected).await?;
            return Ok(true);
        }
        shared.refused = true;
        drop(shared);
        let connection = Self::begin_http1(connected).await?;
        self.keep(connection);
        Ok(false)
    }

    async fn shared_http2(&self) -> Result<(http2::SendRequest<Outgoing>, bool), SendError> {
        let asked = Instant::now();
        let mut shared = self.http2.lock().await;
        if let Some(sender) = self.usable(&shared) {
            return Ok((sender, false));
        }
        let connected = Box::pin(self.connect_shared(&mut shared, Offer::Http2, asked)).await?;
        Ok((Self::begin_http2(&mut shared, connected).await?, true))
    }

    fn usable(&self, shared: &Shared) -> Option<http2::SendRequest<Outgoing>> {
        let open = shared.sender.as_ref().filter(|sender| !sender.is_closed());
        open.filter(|_| self.still_there(shared.to)).cloned()
    }

    async fn connect_shared(
        &self,
        shared: &mut Shared,
        offer: Offer,
        asked: Instant,
    ) -> Result<Connected, SendError> {
        // An attempt that failed while this request waited for it has failed for this request too.
        if let Some((_, error)) = shared.failed.filter(|(failed, _)| *failed > asked) {
            return Err(error);
        }
        let connected = self.connect(offer).await;
        connected.inspect_err(|error| shared.failed = Some((Instant::now(), *error)))
    }

    async fn begin_http2(
        shared: &mut Shared,
        connected: Connected,
    ) -> Result<http2::SendRequest<Outgoing>, SendError> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .handshake(TokioIo::new(connected.stream))
            .await
            .map_err(|error| classify(&error))?;
        tokio::spawn(async move {
            let _ = connection.await;
        });
        shared.sender = Some(sender.clone());
        shared.to = connected.to;
        Ok(sender)
    }
}

impl Tls {
    /// Makes a connection secure; tells whether the upstream chose HTTP/2.
    async fn secure(
        &self,
        socket: Paced<Socket>,
        offer: Offer,
    ) -> Result<(Stream, bool), SendError> {
        let offers = self.client.current();
        let config: &Arc<ClientConfig> = match offer {
            Offer::Http1 => &offers.http1,
            Offer::Http2 => &offers.http2,
            Offer::Either => &offers.either,
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let connected = connector.connect(self.name.clone(), socket).await;
        let stream = connected.map_err(|error| not_agreed(&error))?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        if matches!(offer, Offer::Http2) && !http2 {
            return Err(SendError::Handshake);
        }
        Ok((Stream::Tls(Box::new(stream.into())), http2))
    }
}

/// Notes that an address was not reached, unless that says nothing about it.
fn given_up<T>(attempt: Attempt<'_>, unreached: &Result<io::Result<T>, Elapsed>) {
    let theirs = match unreached {
        Ok(Ok(_)) => false,
        // Without descriptors or ports of our own, no address can be reached.
        Ok(Err(error)) => matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::NotFound
                | io::ErrorKind::TimedOut
        ),
        Err(_) => true,
    };
    if theirs {
        attempt.failed();
    }
}

fn not_agreed(error: &io::Error) -> SendError {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            SendError::Untrusted
        }
        _ => SendError::Handshake,
    }
}

/// Whether a connection ended without a byte of an answer.
fn ended_unheard(error: &hyper::Error, connection: &Http1) -> bool {
    classify(error) == SendError::Closed && !connection.heard.load(Ordering::Relaxed)
}

/// A connection that remembers whether anything was read from it.
struct Heard {
    stream: Stream,
    heard: Arc<AtomicBool>,
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.heard.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// HTTP/1.1 knows the host as a field, and needs to be told that a body comes.
fn for_http1(request: &mut Request<Outgoing>) {
    // Without either field the library sends no body with GET and its like.
    let streamed = matches!(request.body(), Outgoing::Stream(_));
    if streamed && !request.headers().contains_key(header::CONTENT_LENGTH) {
        let chunked = HeaderValue::from_static("chunked");
        request.headers_mut().insert(header::TRANSFER_ENCODING, chunked);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::UpstreamTlsConfig;
    use std::num::NonZeroUsize;
    use tokio::net::TcpListener;

    async fn pool(tls: Option<UpstreamTlsConfig>, with: bool) -> (Pool, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let metrics = Metrics::new().unwrap();
        let client = tls.as_ref().filter(|_| with).map(|tls| {
            let client = TlsClient::new(tls.clone(), metrics.clone()).unwrap();
            Arc::new(client)
        });
        let config = UpstreamConfig {
            authority: listener.local_addr().unwrap().to_string().parse().unwrap(),
            socket: None,
            tls,
            protocol: UpstreamProtocol::Http1,
            preserve_host: true,
            forward_authorization: false,
            connect_timeout: Duration::from_secs(5),
            lookup_interval: Duration::from_secs(30),
            response_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(5),
            max_idle_connections: 1,
            circuit_failures: NonZeroUsize::MIN,
            circuit_open_for: Duration::from_secs(10),
        };
        (Pool::new("default", config, client, &metrics), listener)
    }

    /// Whether anybody connected.
    async fn called(listener: &TcpListener) -> bool {
        let accepted = std::future::poll_fn(|cx| Poll::Ready(listener.poll_accept(cx))).await;
        accepted.is_ready()
    }

    #[tokio::test]
    async fn where_tls_is_meant_and_cannot_be_nothing_is_connected_to() {
        let (plain, listener) = pool(None, false).await;
        assert!(plain.connect(Offer::Http1).await.is_ok());
        assert!(called(&listener).await);

        let tls = |name: &str| {
            Some(UpstreamTlsConfig { authorities: None, own: None, server_name: Some(name.into()) })
        };
        for (tls, with) in [(tls("no name"), true), (tls("api.test"), false)] {
            let (secure, listener) = pool(tls, with).await;
            for offer in [Offer::Http1, Offer::Http2, Offer::Either] {
                assert_eq!(secure.connect(offer).await.err(), Some(SendError::Handshake));
            }
            assert!(!called(&listener).await);
        }
    }
}

//! Clients and upstreams with streams in both directions, over one connection that the test holds.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Any body of a test.
pub type Body = BoxBody<Bytes, io::Error>;

pub fn empty() -> Body {
    Empty::new().map_err(|never: Infallible| match never {}).boxed()
}

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// A body of these frames.
pub fn frames(frames: impl Stream<Item = Frame<Bytes>> + Send + Sync + 'static) -> Body {
    BoxBody::new(StreamBody::new(frames.map(Ok)))
}

/// A body that the test feeds; it ends when the sender is dropped.
pub fn fed() -> (mpsc::Sender<Frame<Bytes>>, Body) {
    let (feed, frames_fed) = mpsc::channel(1);
    let next = |mut source: mpsc::Receiver<Frame<Bytes>>| async {
        source.recv().await.map(|frame| (frame, source))
    };
    (feed, frames(futures_util::stream::unfold(frames_fed, next)))
}

pub fn data(bytes: impl Into<Bytes>) -> Frame<Bytes> {
    Frame::data(bytes.into())
}

pub fn trailers(list: &[(&'static str, &'static str)]) -> Frame<Bytes> {
    Frame::trailers(map(list))
}

pub fn map(list: &[(&'static str, &'static str)]) -> HeaderMap {
    list.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    pub const BOTH: [Self; 2] = [Self::Http1, Self::Http2];

    /// As `upstream.protocol` spells it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "h2c",
        }
    }
}

/// One connection to the program.
#[derive(Clone)]
pub enum Connection {
    /// One request at a time.
    Http1(Arc<tokio::sync::Mutex<http1::SendRequest<Body>>>),
    Http2(http2::SendRequest<Body>),
}

impl Connection {
    pub async fn open(address: &str, protocol: Protocol) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("an option");
        let io = TokioIo::new(stream);
        match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(io).await.expect("a handshake");
                tokio::spawn(connection.with_upgrades());
                Self::Http1(Arc::new(tokio::sync::Mutex::new(sender)))
            }
            Protocol::Http2 => {
                let (sender, connection) =
                    http2::handshake(TokioExecutor::new(), io).await.expect("a handshake");
                tokio::spawn(connection);
                Self::Http2(sender)
            }
        }
    }

    /// As [`Connection::send`]; with an error comes back what was not sent.
    pub async fn try_send(
        &self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, (hyper::Error, Option<Request<Body>>)> {
        let sent = match self {
            Self::Http1(sender) => {
                let mut sender = sender.lock().await;
                if let Err(error) = sender.ready().await {
                    return Err((error, Some(request)));
                }
                sender.try_send_request(request).await
            }
            Self::Http2(sender) => {
                let mut sender = sender.clone();
                if let Err(error) = sender.ready().await {
                    return Err((error, Some(request)));
                }
                sender.try_send_request(request).await
            }
        };
        sent.map_err(|mut error| {
            let unsent = error.take_message();
            (error.into_error(), unsent)
        })
    }

    pub async fn send(&self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                let mut sender = sender.lock().await;
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                let mut sender = sender.clone();
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

/// A request to `target` at `address`, as both protocols take it.
pub fn request(connection: &Connection, method: &str, target: &str) -> http::request::Builder {
    let builder = Request::builder().method(method);
    match connection {
        Connection::Http1(_) => builder.uri(target).header("host", "api.test"),
        Connection::Http2(_) => builder.uri(format!("http://api.test{target}")),
    }
}

/// An upstream that answers by a function; speaks HTTP/1.1 and HTTP/2 by prior knowledge.
pub struct Served {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Served {
    pub async fn start<F: Future<Output = Response<Body>> + Send + 'static>(
        answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        let answered = answer(request);
                        async { Ok::<_, Infallible>(answered.await) }
                    });
                    let server = auto::Builder::new(TokioExecutor::new());
                    let _ =
                        server.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, connections, task }
    }

    /// As the upstream of a configuration, with more of its keys.
    pub fn section(&self, protocol: Protocol, more: &str) -> String {
        format!(
            "upstream: {{ url: \"http://{}\", protocol: {}, {more} }}",
            self.address,
            protocol.key()
        )
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

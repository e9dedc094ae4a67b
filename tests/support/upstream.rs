//! An upstream that records what reaches it, and answers with what it read.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

/// What reached the upstream.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    /// Path and query, byte for byte.
    pub target: String,
    pub version: String,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    pub trailers: Vec<(String, String)>,
}

impl Received {
    /// Every value of a header.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let same = self.headers.iter().filter(|(other, _)| other == name);
        same.map(|(_, value)| value.as_str()).collect()
    }
}

/// The upstream. Speaks HTTP/1.1 and HTTP/2 by prior knowledge; stops when dropped.
pub struct Upstream {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Upstream {
    pub async fn start() -> Self {
        Self::start_on("127.0.0.1:0").await
    }

    /// Speaks TLS, and HTTP within it by what ALPN gives.
    pub async fn start_secure(config: rustls::ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, acceptor) = (Arc::clone(&kept), acceptor.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, kept).await;
                    }
                });
            }
        });
        Self { address, received, task }
    }

    /// Listens on a Unix socket.
    pub fn start_unix(path: &std::path::Path) -> Self {
        let listener = tokio::net::UnixListener::bind(path).expect("a socket");
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&kept)));
            }
        });
        Self { address: SocketAddr::from(([0; 4], 0)), received, task }
    }

    /// Listens on an address.
    pub async fn start_on(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&kept)));
            }
        });
        Self { address, received, task }
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that reached it, in order.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().expect("whole").clone()
    }

    /// How many requests reached it.
    pub fn count(&self) -> usize {
        self.received.lock().expect("whole").len()
    }

    /// The one request that reached it last.
    pub fn last(&self) -> Received {
        self.received().pop().expect("a request reached the upstream")
    }
}

/// A server at the address given back that answers every connection with `bytes`, whatever comes, and
/// closes it. Lives as long as the test program.
pub fn canned(bytes: &'static [u8]) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // A head of ours comes in one piece, and what it says is of no interest.
            let _ = stream.read(&mut [0; 16 * 1024]);
            let _ = stream.write_all(bytes);
        }
    });
    address
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    kept: Arc<Mutex<Vec<Received>>>,
) {
    let service = hyper::service::service_fn(move |request| answer(Arc::clone(&kept), request));
    let server = auto::Builder::new(TokioExecutor::new());
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    received: Arc<Mutex<Vec<Received>>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    // A body that breaks off never was a request.
    let Ok(whole) = body.collect().await else { return Ok(Response::new(Full::default())) };
    let list = |map: &http::HeaderMap| {
        let text =
            |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        map.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect::<Vec<_>>()
    };
    let trailers = whole.trailers().map(list).unwrap_or_default();
    let one = Received {
        method: head.method.to_string(),
        target: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        version: format!("{:?}", head.version),
        headers: list(&head.headers),
        body: whole.to_bytes(),
        trailers,
    };
    let told: Value =
        json!({ "method": one.method, "target": one.target, "bytes": one.body.len() });
    received.lock().expect("whole").push(one);
    Ok(Response::builder()
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(told.to_string())))
        .expect("an answer"))
}

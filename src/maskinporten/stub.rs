//! For tests: a small HTTP server on a free port that answers as it is told, well or badly.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use reqwest::Url;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::net::TcpListener;

/// One request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: http::Method,
    pub(crate) path: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

/// How a request is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Status, one header, body.
    Whole(u16, Option<(&'static str, String)>, Vec<u8>),
    /// A body that breaks off.
    Broken(Vec<u8>),
    /// A body that never ends.
    Endless,
    /// No answer at all.
    Never,
}

impl Answer {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::Whole(200, None, body.into())
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::Whole(status, None, Vec::new())
    }
}

/// The server; ends with the runtime of the test.
pub(crate) struct Stub {
    pub(crate) url: Url,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Stub {
    pub(crate) async fn start(
        answer: impl Fn(&Call) -> Answer + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let calls = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(accept(listener, answer, Arc::clone(&calls)));
        Self { url, calls }
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) fn calls_to(&self, path: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|call| call.path == path).count()
    }
}

async fn accept(
    listener: TcpListener,
    answer: impl Fn(&Call) -> Answer + Clone + Send + Sync + 'static,
    calls: Arc<Mutex<Vec<Call>>>,
) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let (answer, calls) = (answer.clone(), Arc::clone(&calls));
        tokio::spawn(async move {
            let service =
                service_fn(move |request| serve(request, answer.clone(), Arc::clone(&calls)));
            let _ = Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

async fn serve(
    request: http::Request<Incoming>,
    answer: impl Fn(&Call) -> Answer,
    calls: Arc<Mutex<Vec<Call>>>,
) -> Result<http::Response<StubBody>, io::Error> {
    let (head, body) = request.into_parts();
    let call = Call {
        method: head.method,
        path: head.uri.path().to_owned(),
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes(),
    };
    let answer = answer(&call);
    calls.lock().unwrap().push(call);
    let response = http::Response::builder();
    Ok(match answer {
        Answer::Whole(status, header, body) => {
            let mut response = response.status(status);
            if let Some((name, value)) = header {
                response = response.header(name, value);
            }
            response.body(StubBody { rest: vec![Ok(body.into())], endless: false }).unwrap()
        }
        Answer::Broken(body) => {
            let rest = vec![Err(io::ErrorKind::ConnectionReset.into()), Ok(body.into())];
            response.body(StubBody { rest, endless: false }).unwrap()
        }
        Answer::Endless => response.body(StubBody { rest: Vec::new(), endless: true }).unwrap(),
        Answer::Never => std::future::pending().await,
    })
}

/// Gives `rest` from its end.
struct StubBody {
    rest: Vec<io::Result<Bytes>>,
    endless: bool,
}

impl hyper::body::Body for StubBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let next = self.rest.pop();
        let chunk = if self.endless { Some(Ok(Bytes::from_static(&[b' '; 4096]))) } else { next };
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }
}

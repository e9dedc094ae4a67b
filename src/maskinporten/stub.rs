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
    pub(crate) query: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

/// How a request is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Status, one header, body.
    Whole(u16, Option<(&'static str, String)>, Vec<u8>),
    /// A body that breaks off; of type JSON, as all that are not whole.
    Broken(Vec<u8>),
    /// A body that never ends.
    Endless,
    /// A body of which nothing comes after this.
    Stalled(Vec<u8>),
    /// No answer at all.
    Never,
}

impl Answer {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::Whole(200, None, body.into())
    }

    pub(crate) fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::Whole(
            200,
            Some(("content-type", "application/json; charset=utf-8".into())),
            body.into(),
        )
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
        query: head.uri.query().unwrap_or_default().to_owned(),
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
            response.body(StubBody { rest: vec![Ok(body.into())], after: After::End }).unwrap()
        }
        Answer::Broken(body) => {
            let rest = vec![Err(io::ErrorKind::ConnectionReset.into()), Ok(body.into())];
            json(response, StubBody { rest, after: After::End })
        }
        Answer::Endless => json(response, StubBody { rest: Vec::new(), after: After::Spaces }),
        Answer::Stalled(body) => {
            json(response, StubBody { rest: vec![Ok(body.into())], after: After::Nothing })
        }
        Answer::Never => std::future::pending().await,
    })
}

fn json(response: http::response::Builder, body: StubBody) -> http::Response<StubBody> {
    response.header("content-type", "application/json").body(body).unwrap()
}

/// Gives `rest` from its end.
struct StubBody {
    rest: Vec<io::Result<Bytes>>,
    after: After,
}

/// What follows the rest.
enum After {
    End,
    Spaces,
    Nothing,
}

impl hyper::body::Body for StubBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let chunk = match (self.rest.pop(), &self.after) {
            (Some(chunk), _) => Some(chunk),
            (None, After::End) => None,
            (None, After::Spaces) => Some(Ok(Bytes::from_static(&[b' '; 4096]))),
            (None, After::Nothing) => return Poll::Pending,
        };
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }
}

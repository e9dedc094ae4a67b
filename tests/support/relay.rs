//! A stand-in before the sandbox: passes calls on, except those that a test spoils or answers itself.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What no answer looks like.
#[derive(Clone, Copy, Debug)]
pub enum Rubbish {
    /// A byte now and then, for ever.
    Drip,
    /// As fast as it goes, for ever.
    Endless,
}

#[derive(Clone)]
enum Instead {
    Rubbish(Rubbish),
    Text(u16, String),
}

type Answers = Arc<Mutex<BTreeMap<String, Instead>>>;
type Reply = BoxBody<Bytes, Infallible>;

/// The stand-in; stops when dropped.
pub struct Relay {
    address: SocketAddr,
    instead: Answers,
    task: JoinHandle<()>,
}

impl Relay {
    /// Passes on to `target`, as `http://host:port`.
    pub async fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let instead = Answers::default();
        let (answers, target) = (Arc::clone(&instead), target.to_owned());
        let task = tokio::spawn(async move {
            let http = reqwest::Client::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, target, http) = (Arc::clone(&answers), target.clone(), http.clone());
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        answer(Arc::clone(&answers), http.clone(), target.clone(), request)
                    });
                    let server = auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, instead, task }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Spoils what begins with `path`, or no longer.
    pub fn spoil(&self, path: &str, rubbish: Option<Rubbish>) {
        let mut instead = self.instead.lock().expect("whole");
        match rubbish {
            Some(rubbish) => instead.insert(path.to_owned(), Instead::Rubbish(rubbish)),
            None => instead.remove(path),
        };
    }

    /// Answers what begins with `path` itself.
    pub fn answer(&self, path: &str, status: u16, text: impl Into<String>) {
        self.instead
            .lock()
            .expect("whole")
            .insert(path.to_owned(), Instead::Text(status, text.into()));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    answers: Answers,
    http: reqwest::Client,
    target: String,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Infallible> {
    let path = request.uri().path().to_owned();
    let instead = {
        let answers = answers.lock().expect("whole");
        answers
            .iter()
            .find(|(prefix, _)| path.starts_with(prefix.as_str()))
            .map(|(_, instead)| instead.clone())
    };
    Ok(match instead {
        Some(Instead::Rubbish(rubbish)) => Response::new(rubbish.body()),
        Some(Instead::Text(status, text)) => {
            let answer =
                Response::builder().status(status).header("content-type", "application/json");
            answer.body(Full::new(Bytes::from(text)).boxed()).expect("an answer")
        }
        None => pass_on(&http, &target, request).await,
    })
}

async fn pass_on(
    http: &reqwest::Client,
    target: &str,
    request: Request<Incoming>,
) -> Response<Reply> {
    let (mut head, body) = request.into_parts();
    let url = format!("{target}{}", head.uri.path_and_query().expect("a path"));
    head.headers.remove("host");
    let body = body.collect().await.expect("whole").to_bytes();
    let sent = http.request(head.method, url).headers(head.headers).body(body).send().await;
    let sent = sent.expect("the sandbox answers");
    let status = sent.status();
    let bytes = sent.bytes().await.expect("whole");
    let answer = Response::builder().status(status).header("content-type", "application/json");
    answer.body(Full::new(bytes).boxed()).expect("an answer")
}

impl Rubbish {
    fn body(self) -> Reply {
        let pause = match self {
            Self::Drip => Duration::from_millis(50),
            Self::Endless => Duration::ZERO,
        };
        let size = match self {
            Self::Drip => 1,
            Self::Endless => 64 * 1024,
        };
        let frames = futures_util::stream::repeat(()).then(move |()| async move {
            tokio::time::sleep(pause).await;
            Ok(Frame::data(Bytes::from(vec![b' '; size])))
        });
        BoxBody::new(StreamBody::new(frames))
    }
}

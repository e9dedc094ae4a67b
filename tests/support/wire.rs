//! Sockets without an HTTP library: upstreams that behave as a test scripts them, and clients likewise.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

use super::{World, config};
use portvakt_sandbox::{Sandbox, SandboxOptions};
use serde_json::Value;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Nothing here takes long; what takes this long never comes.
pub const LONG: Duration = Duration::from_secs(30);

/// One connection, either side. Every wait is bounded by [`LONG`].
pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    pub async fn connect(address: &str) -> Self {
        Self::new(TcpStream::connect(address).await.expect("a connection"))
    }

    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("an option");
        Self { stream, read: Vec::new() }
    }

    /// Sends, unless the other side has closed.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = tokio::time::timeout(LONG, self.stream.write_all(bytes.as_ref())).await;
        sent.expect("the other side reads").is_ok()
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        assert!(self.try_send(bytes).await, "the other side has closed");
    }

    /// Reads more; false at the end, and when the connection broke.
    async fn more(&mut self) -> bool {
        let mut chunk = vec![0; 64 * 1024];
        let got = tokio::time::timeout(LONG, self.stream.read(&mut chunk))
            .await
            .expect("bytes or an end");
        let count = got.unwrap_or(0);
        self.read.extend_from_slice(&chunk[..count]);
        count > 0
    }

    /// All up to and with `end`; `None` when the connection ends before.
    pub async fn until(&mut self, end: &str) -> Option<String> {
        loop {
            let found = self.read.windows(end.len()).position(|window| window == end.as_bytes());
            if let Some(place) = found {
                let taken: Vec<u8> = self.read.drain(..place + end.len()).collect();
                return Some(String::from_utf8(taken).expect("text"));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The head of a message.
    pub async fn head(&mut self) -> Option<String> {
        self.until("\r\n\r\n").await
    }

    /// The head, and the body that its `Content-Length` tells.
    pub async fn message(&mut self) -> Option<(String, Vec<u8>)> {
        let head = self.head().await?;
        let length =
            field(&head, "content-length").map_or(0, |length| length.parse().expect("a number"));
        while self.read.len() < length {
            if !self.more().await {
                return None;
            }
        }
        Some((head, self.read.drain(..length).collect()))
    }

    /// So many bytes; `None` when the connection ends before.
    pub async fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.read.len() < count {
            if !self.more().await {
                return None;
            }
        }
        Some(self.read.drain(..count).collect())
    }

    /// Everything to the end of the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.read)
    }

    /// Whether so many bytes come that were not taken, before the end of the connection.
    pub async fn at_least(&mut self, count: usize) -> bool {
        while self.read.len() < count {
            if !self.more().await {
                return false;
            }
        }
        true
    }

    /// What has come so far and was not read.
    pub fn buffered(&mut self) -> Vec<u8> {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(count) = self.stream.try_read(&mut chunk)
            && count > 0
        {
            self.read.extend_from_slice(&chunk[..count]);
        }
        self.read.clone()
    }

    /// The bare connection; what was read and not taken is lost.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Ends the connection at once, with a reset.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("an option");
    }
}

/// The value of a field in a head.
pub fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The status of an answer's head.
pub fn status(head: &str) -> u16 {
    head.split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("no status: {head}"))
}

/// What a [`RawUpstream`] saw.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<(usize, Vec<String>)>>);

impl Seen {
    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.0.lock().expect("whole").0
    }

    /// The heads that scripts noted.
    pub fn heads(&self) -> Vec<String> {
        self.0.lock().expect("whole").1.clone()
    }

    /// Notes the head of a request.
    pub fn note(&self, head: String) {
        self.0.lock().expect("whole").1.push(head);
    }
}

/// An upstream whose every connection is served by a script.
pub struct RawUpstream {
    address: SocketAddr,
    pub seen: Seen,
    task: JoinHandle<()>,
}

impl RawUpstream {
    /// `script` is given each connection, its number from 0, and where to note.
    pub async fn start<F: Future<Output = ()> + Send + 'static>(
        script: impl Fn(Wire, usize, Seen) -> F + Send + 'static,
    ) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.expect("a port"), script)
    }

    pub fn on<F: Future<Output = ()> + Send + 'static>(
        listener: TcpListener,
        script: impl Fn(Wire, usize, Seen) -> F + Send + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("an address");
        let seen = Seen::default();
        let kept = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = kept.connections();
                kept.0.lock().expect("whole").0 += 1;
                tokio::spawn(script(Wire::new(stream), number, kept.clone()));
            }
        });
        Self { address, seen, task }
    }

    /// Every request gets `answer`; the connection stays open as long as the other side wants.
    pub async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::start(move |mut wire, _, seen| {
            let answer = Arc::clone(&answer);
            async move {
                while let Some((head, _)) = wire.message().await {
                    seen.note(head);
                    if !wire.try_send(&answer).await {
                        break;
                    }
                }
            }
        })
        .await
    }

    /// As the upstream of a configuration, with more of its keys.
    pub fn section(&self, more: &str) -> String {
        format!("upstream: {{ url: \"http://{}\", {more} }}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A good answer.
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

/// The program before the upstream of `section`. The usual upstream of the world is out of use.
pub async fn world_before(section: &str, sections: &str) -> World {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.expect("the sandbox starts");
    let config = config(&sandbox, section, sections);
    World::start_config(sandbox, super::upstream::Upstream::start().await, &config).await
}

/// Status, `Retry-After` and the problem of an answer.
pub async fn told(answer: reqwest::Response) -> (u16, Option<u64>, Value) {
    let status = answer.status().as_u16();
    let retry_after = answer.headers().get("retry-after").map(|value| {
        value.to_str().ok().and_then(|seconds| seconds.parse().ok()).expect("whole seconds")
    });
    let text = answer.text().await.expect("whole");
    (status, retry_after, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// The short name of a problem.
pub fn code(problem: &Value) -> &str {
    problem["type"].as_str().and_then(|kind| kind.rsplit(':').next()).unwrap_or_default()
}

//! HTTP/1.1 over a bare socket: what is sent is what the test wrote, byte for byte.

use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Longest wait for anything: only a program that hangs reaches it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request as it will stand on the wire.
#[derive(Clone, Debug)]
pub struct Ask {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Ask {
    /// `METHOD target`, with nothing but what is added.
    pub fn new(method: &str, target: &str) -> Self {
        Self { line: format!("{method} {target} HTTP/1.1"), headers: Vec::new(), body: Vec::new() }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// One more header field; an earlier one of the same name stays.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// A whole body, with its length.
    pub fn body(self, body: &str) -> Self {
        let length = body.len().to_string();
        self.header("Content-Length", &length).bytes(body)
    }

    /// Bytes after the head, which nothing announces.
    pub fn bytes(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.body.extend_from_slice(bytes.as_ref());
        self
    }

    pub fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    /// On the wire. `Host: host` is added unless the test wrote a `Host`, be it an empty one.
    pub fn wire(&self, host: &str) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.line);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text.extend(["Host: ", host, "\r\n"]);
        }
        for (name, value) in &self.headers {
            text.extend([name, ": ", value, "\r\n"]);
        }
        text.push_str("\r\n");
        [text.as_bytes(), &self.body].concat()
    }
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The only value of a header; `None` when it is absent.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut same = self.headers.iter().filter(|(other, _)| other == name);
        let value = same.next().map(|(_, value)| value.as_str());
        assert!(same.next().is_none(), "{name} stands twice: {:?}", self.headers);
        value
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }
}

/// One connection.
pub struct Raw {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Raw {
    pub async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        Self { stream: BufReader::new(stream), host: address.to_owned() }
    }

    pub async fn send(&mut self, ask: &Ask) {
        let wire = ask.wire(&self.host);
        self.send_bytes(&wire).await;
    }

    /// The other side may have ended the connection already; that shows when its answer is read.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.get_mut().write_all(bytes).await;
    }

    /// The next final answer; `None` when the connection ended instead.
    pub async fn answer(&mut self, method: &str) -> Option<Answer> {
        let answer = tokio::time::timeout(PATIENCE, self.read_answer(method));
        answer.await.unwrap_or_else(|_| panic!("no answer in {PATIENCE:?}"))
    }

    async fn read_answer(&mut self, method: &str) -> Option<Answer> {
        loop {
            let mut answer = self.read_head().await?;
            if (100..200).contains(&answer.status) && answer.status != 101 {
                continue;
            }
            if method != "HEAD" && !matches!(answer.status, 101 | 204 | 304) {
                self.read_body(&mut answer).await?;
            }
            return Some(answer);
        }
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await.ok().filter(|count| *count > 0)?;
        Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
    }

    async fn read_head(&mut self) -> Option<Answer> {
        let status = self.line().await?;
        let status = status.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                let status = status.expect("a status line");
                return Some(Answer { status, headers, body: Vec::new() });
            }
            let (name, value) = line.split_once(':').expect("a header field");
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    async fn read_body(&mut self, answer: &mut Answer) -> Option<()> {
        if answer.header("transfer-encoding").is_some() {
            loop {
                let size = self.line().await?;
                let size = usize::from_str_radix(size.trim(), 16).expect("a chunk size");
                let mut chunk = vec![0; size];
                self.stream.read_exact(&mut chunk).await.ok()?;
                answer.body.extend_from_slice(&chunk);
                if size == 0 {
                    while !self.line().await?.is_empty() {}
                    return Some(());
                }
                self.line().await?;
            }
        }
        match answer.header("content-length") {
            Some(length) => {
                let mut body = vec![0; length.parse().expect("a length")];
                self.stream.read_exact(&mut body).await.ok()?;
                answer.body = body;
            }
            None => {
                self.stream.read_to_end(&mut answer.body).await.ok()?;
            }
        }
        Some(())
    }
}

/// One request on a connection of its own.
pub async fn ask(address: &str, ask: &Ask) -> Answer {
    let mut raw = Raw::connect(address).await;
    raw.send(ask).await;
    raw.answer(ask.method()).await.unwrap_or_else(|| panic!("the connection ended: {ask:?}"))
}

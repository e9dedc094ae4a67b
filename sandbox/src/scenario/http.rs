//! One request at a time over plain HTTP, which is all that a scenario on loopback needs.

use super::ScenarioError;
use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;
use tokio::net::TcpStream;

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) call: String,
    pub(super) status: u16,
    pub(super) text: String,
}

impl Reply {
    /// The body as JSON; null if it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
}

/// A request to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) bearer: Option<&'a str>,
    pub(super) content_type: &'a str,
    pub(super) body: &'a str,
}

/// Sends a request to `http://HOST:PORT` and reads the whole answer.
pub(super) async fn send(base: &str, ask: Ask<'_>) -> Result<Reply, ScenarioError> {
    let host = base
        .strip_prefix("http://")
        .map(|rest| rest.trim_end_matches('/'))
        .filter(|host| host.contains(':') && !host.contains('/'))
        .ok_or_else(|| ScenarioError::Address(base.to_owned()))?;
    let call = format!("{} {}", ask.method, ask.path);
    let answered = exchange(host, ask).await;
    let (status, text) =
        answered.map_err(|source| ScenarioError::NoAnswer { call: call.clone(), source })?;
    Ok(Reply { call, status, text })
}

async fn exchange(host: &str, ask: Ask<'_>) -> io::Result<(u16, String)> {
    let stream = TcpStream::connect(host).await?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(io::Error::other)?;
    let driver = tokio::spawn(connection);
    let mut request = Request::builder()
        .method(ask.method)
        .uri(ask.path)
        .header(header::HOST, host)
        .header("ocp-apim-subscription-key", "sandbox-subscription-key")
        .header(header::CONTENT_TYPE, ask.content_type);
    if let Some(token) = ask.bearer {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Body::from(ask.body.to_owned())).map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    driver.abort();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

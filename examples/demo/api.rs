//! The sample API: keeps what it is sent, in memory, and tells who Portvakt says sent it.
//!
//! It has no code for tokens, scopes or rights. Whatever reaches it was let through, and the `Portvakt-*`
//! header fields say for whom: a client cannot forge them, since Portvakt removes any that it is sent.

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;

/// What was sent, by path.
type Kept = Arc<Mutex<BTreeMap<String, Vec<Value>>>>;

/// Serves until the demo ends.
pub(crate) async fn serve(listener: TcpListener) {
    let kept = Kept::default();
    while let Ok((stream, _)) = listener.accept().await {
        let kept = Arc::clone(&kept);
        let service = hyper::service::service_fn(move |request| answer(Arc::clone(&kept), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    kept: Kept,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let evidence = evidence(&head.headers);
    if head.method == Method::GET {
        let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let returns = kept.get(&path).cloned().unwrap_or_default();
        return Ok(reply(StatusCode::OK, &json!({ "returns": returns, "evidence": evidence })));
    }
    let whole = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let Ok(document) = serde_json::from_slice::<Value>(&whole) else {
        return Ok(reply(StatusCode::BAD_REQUEST, &json!({ "error": "the body is no JSON" })));
    };
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let returns = kept.entry(path).or_default();
    returns.push(document);
    Ok(reply(StatusCode::CREATED, &json!({ "number": returns.len(), "evidence": evidence })))
}

/// Every header field that begins with `Portvakt-`.
fn evidence(headers: &HeaderMap) -> Map<String, Value> {
    let ours = headers.iter().filter(|(name, _)| name.as_str().starts_with("portvakt-"));
    ours.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect()
}

fn reply(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response
}

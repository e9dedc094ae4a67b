//! How bytes come in and go out: TLS on both sides, Unix sockets, IPv6, the PROXY protocol, names that move,
//! and bounds on connections.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

mod support;

#[path = "transport/circuit.rs"]
mod circuit;
#[path = "transport/descriptors.rs"]
mod descriptors;
#[path = "transport/downstream.rs"]
mod downstream;
#[path = "transport/sockets.rs"]
mod sockets;
#[path = "transport/upstream.rs"]
mod upstream;

use portvakt_sandbox::{Sandbox, SandboxOptions};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use support::upstream::Upstream;
use support::wire::LONG;
use support::{World, config};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A route that everybody may use.
const OPEN: &str = "routes:\n  - id: open\n    match: { methods: [GET, POST], path: \"/open/*\" }\n    access: anonymous\n  - id: socket\n    match: { methods: [GET], path: /socket }\n    access: anonymous\n    upgrades: [websocket]\n";

/// The program before `upstream`, with the sections of a configuration.
async fn world(upstream: Upstream, section: &str, sections: &str) -> World {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.expect("the sandbox starts");
    let config = config(&sandbox, section, &format!("{sections}\n{OPEN}"));
    World::start_config(sandbox, upstream, &config).await
}

/// The program before a plain upstream, with `listen` as given.
async fn listening(listen: &str, sections: &str) -> World {
    let upstream = Upstream::start().await;
    let section = format!("upstream: {{ url: \"{}\" }}", upstream.url());
    world(upstream, &section, &format!("listen: {{ {listen} }}\n{sections}")).await
}

/// A TLS connection to `address`, for a server called `name`.
async fn secure(
    address: &str,
    name: &str,
    client: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connecting = TlsConnector::from(Arc::clone(client)).connect(name, stream);
    tokio::time::timeout(LONG, connecting).await.expect("an end of the handshake")
}

const GET: &str = "GET /open/x HTTP/1.1\r\nHost: api.test\r\n\r\n";

/// Sends a request and reads the head and the body of the answer; `None` when the connection ends instead.
async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &str,
) -> Option<String> {
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = support::wire::field(head, "content-length")
                .map_or(0, |length| length.parse::<usize>().expect("a number"));
            if body.len() >= length {
                return Some(text);
            }
        }
        let mut chunk = [0; 4096];
        let got = tokio::time::timeout(LONG, stream.read(&mut chunk)).await.expect("bytes");
        match got {
            Ok(count) if count > 0 => read.extend_from_slice(&chunk[..count]),
            _ => return None,
        }
    }
}

/// Whether the other side ends the connection without a word of HTTP.
async fn is_closed(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(LONG, stream.read_to_end(&mut bytes)).await.expect("an end");
    read.is_err() || !String::from_utf8_lossy(&bytes).contains("HTTP/")
}

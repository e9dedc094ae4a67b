//! Answers and tunnels that go on for long: who loses the right is cut off and told why, in the words of each
//! protocol, and nobody else is.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

mod support;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use support::http::{Connection, Protocol, Served, data, empty, fed, frames, request};
use support::wire::{Wire, status, world_before};
use support::{World, seed, wait_until};
use tokio::io::AsyncWriteExt;

const ROUTES: &str = r#"
freshness: { read: { fresh_for: 0s, max_age: 1s, outage_grace: 0s } }
register: { enabled: false }
tokens: { leeway: 0s }
routes:
  - id: stream
    match: { methods: [GET], path: "/v1/parties/{party}/stream" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: read
    party: { path: party }
    upgrades: [websocket]
  - id: upload
    match: { methods: [POST], path: "/v1/parties/{party}/upload" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: write
    party: { path: party }
    freshness: { fresh_for: 0s, max_age: 1s, outage_grace: 0s }
  - id: ending
    match: { methods: [GET], path: "/v1/parties/{party}/ending" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: read
    party: { path: party }
    streams: { recheck: 1h, end_with_token: true }
"#;

/// Begins an answer and never ends it; echoes where it is asked for a WebSocket.
async fn endless() -> Served {
    Served::start(|mut request: Request<Incoming>| async move {
        if !request.headers().contains_key("upgrade") {
            let begun = stream::iter([data("begun")]).chain(stream::pending());
            return Response::new(frames(begun));
        }
        tokio::spawn(async move {
            let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.shutdown().await;
        });
        Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .body(empty())
            .unwrap()
    })
    .await
}

async fn world() -> (Served, World) {
    let upstream = endless().await;
    let world = world_before(&upstream.section(Protocol::Http1, "idle_timeout: 1h"), ROUTES).await;
    (upstream, world)
}

/// What an upstream sees of bodies that are cut.
#[derive(Default)]
struct Uploads {
    seen: AtomicUsize,
    cut: AtomicUsize,
    late: AtomicBool,
}

/// Reads bodies to their end before it answers; gRPC is answered at once.
async fn uploads() -> (Arc<Uploads>, World) {
    let uploads = Arc::new(Uploads::default());
    let told = Arc::clone(&uploads);
    let upstream = Served::start(move |request: Request<Incoming>| {
        let told = Arc::clone(&told);
        async move {
            let (head, mut body) = request.into_parts();
            let read = async move {
                loop {
                    match body.frame().await {
                        Some(Ok(frame)) => {
                            told.seen.fetch_add(1, Ordering::SeqCst);
                            if frame.data_ref().is_some_and(|bytes| bytes == "late") {
                                told.late.store(true, Ordering::SeqCst);
                            }
                        }
                        Some(Err(_)) => break told.cut.fetch_add(1, Ordering::SeqCst),
                        None => break 0,
                    }
                }
            };
            if head.headers["content-type"] != "application/grpc" {
                read.await;
                return Response::new(empty());
            }
            tokio::spawn(read);
            let begun = stream::iter([data("begun")]).chain(stream::pending());
            Response::new(frames(begun))
        }
    })
    .await;
    let world = world_before(&upstream.section(Protocol::Http2, "idle_timeout: 1h"), ROUTES).await;
    // It lives as long as the test.
    std::mem::forget(upstream);
    (uploads, world)
}

/// An answer that has begun.
struct Begun {
    body: Incoming,
}

impl Begun {
    async fn open(
        world: &World,
        protocol: Protocol,
        target: &str,
        token: &str,
        kind: &str,
    ) -> Self {
        let connection = Connection::open(world.proxy.address(), protocol).await;
        let ask = request(&connection, "GET", target)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", kind);
        let answer = connection.send(ask.body(empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200, "{target}");
        let mut body = answer.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, Bytes::from("begun"));
        Self { body }
    }

    /// What comes next: trailers, a break, or nothing more.
    async fn end(&mut self) -> End {
        match self.body.frame().await {
            Some(Ok(frame)) => End::Trailers(frame.into_trailers().expect("no data")),
            Some(Err(_)) => End::Broken,
            None => End::Whole,
        }
    }

    async fn goes_on(&mut self) -> bool {
        let next: Option<Option<Result<Frame<Bytes>, _>>> =
            tokio::time::timeout(Duration::from_millis(200), self.body.frame()).await.ok();
        next.is_none()
    }
}

#[derive(Debug)]
enum End {
    Trailers(HeaderMap),
    Broken,
    Whole,
}

/// A WebSocket that has echoed one frame.
async fn websocket(world: &World, party: &str, token: &str) -> Wire {
    let mut client = Wire::connect(world.proxy.address()).await;
    client
        .send(format!(
            "GET /v1/parties/{party}/stream HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        ))
        .await;
    assert_eq!(status(&client.head().await.unwrap()), 101);
    echoes(&mut client).await;
    client
}

async fn echoes(client: &mut Wire) {
    let frame = b"\x81\x02hi";
    client.send(frame).await;
    assert_eq!(client.exactly(frame.len()).await.as_deref(), Some(&frame[..]));
}

/// A close frame with 1008 and why (RFC 6455 §5.5.1).
fn closed(why: &str) -> Vec<u8> {
    let length = u8::try_from(why.len() + 2).unwrap();
    [&[0x88, length, 0x03, 0xf0], why.as_bytes()].concat()
}

async fn lapsed(world: &World, count: usize, reason: &str) {
    for record in world.proxy.audit_records(count).await.iter().take(count) {
        let told = (&record["code"], &record["reason"], &record["answer"], &record["complete"]);
        let expected = (&json!("lapsed"), &json!(reason), &json!("permit"), &Value::Bool(false));
        assert_eq!(told, expected, "{record}");
    }
}

async fn token(world: &World, client: &str, owner: &str, seconds: u64) -> String {
    let wish = json!({
        "client_id": client, "scope": "skatteetaten:mva", "systemuser_org": owner,
        "lifetime_seconds": seconds,
    });
    world.token_with(wish).await
}

const BAKKEN: &str = "/v1/parties/310000507/stream";

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_the_right_is_cut_off_and_told_and_nobody_else_is() {
    let (_upstream, world) = world().await;
    let mine = token(&world, seed::NORDLYS, seed::BAKKEN, 600).await;
    let other = token(&world, seed::BREKKE, seed::FJELL, 600).await;
    let mut events = Vec::new();
    for protocol in Protocol::BOTH {
        events.push(Begun::open(&world, protocol, BAKKEN, &mine, "text/plain").await);
    }
    let mut call = Begun::open(&world, Protocol::Http2, BAKKEN, &mine, "application/grpc").await;
    let mut socket = websocket(&world, "310000507", &mine).await;
    let theirs = "/v1/parties/310000701/stream";
    let mut neighbour = Begun::open(&world, Protocol::Http1, theirs, &other, "text/plain").await;
    let mut neighbours_socket = websocket(&world, "310000701", &other).await;

    let right = json!({ "system_user": seed::BAKKEN_USER, "party": seed::BAKKEN });
    world.knob(Method::POST, "rights/revoke", right).await;
    for body in &mut events {
        let end = body.end().await;
        assert!(matches!(end, End::Broken), "a cut answer never looks whole: {end:?}");
    }
    match call.end().await {
        End::Trailers(trailers) => assert_eq!(trailers["grpc-status"], "7"),
        other => panic!("{other:?}"),
    }
    assert_eq!(socket.rest().await, closed("no_right"));
    lapsed(&world, 4, "no_right").await;

    assert!(neighbour.goes_on().await);
    echoes(&mut neighbours_socket).await;
    assert_eq!(world.proxy.audit().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_cut_too_before_and_after_the_answer_has_begun() {
    let (upstream, world) = uploads().await;
    let mine = token(&world, seed::NORDLYS, seed::BAKKEN, 600).await;
    let target = "/v1/parties/310000507/upload";
    // One that is answered at the end of its body, and one at once.
    let mut calls = Vec::new();
    for kind in ["text/plain", "application/grpc"] {
        let connection = Connection::open(world.proxy.address(), Protocol::Http2).await;
        let (feed, body) = fed();
        let ask = request(&connection, "POST", target)
            .header("authorization", format!("Bearer {mine}"))
            .header("content-type", kind)
            .body(body)
            .unwrap();
        feed.send(data("first")).await.unwrap();
        calls.push((feed, tokio::spawn(async move { connection.send(ask).await })));
    }
    wait_until("both have begun", async || upstream.seen.load(Ordering::SeqCst) == 2).await;
    let right = json!({ "system_user": seed::BAKKEN_USER, "party": seed::BAKKEN });
    world.knob(Method::POST, "rights/revoke", right).await;

    let (feed, call) = calls.remove(1);
    let mut answer = call.await.unwrap().unwrap();
    while let Some(frame) = answer.body_mut().frame().await {
        if let Ok(trailers) = frame.unwrap().into_trailers() {
            assert_eq!(trailers["grpc-status"], "7");
        }
    }
    // The client goes on, and nothing of it arrives.
    drop(feed.send(data("late")).await);
    let (_feed, call) = calls.remove(0);
    let refused = call.await.unwrap().unwrap();
    assert_eq!(refused.status(), 403);
    let told = refused.into_body().collect().await.unwrap().to_bytes();
    let told: Value = serde_json::from_slice(&told).unwrap();
    assert_eq!(told["type"], "urn:portvakt:problem:lapsed");
    let records = world.proxy.audit_records(2).await;
    let told = |record: &Value| {
        let told = (&record["code"], &record["reason"], &record["answer"]);
        assert_eq!(told, (&json!("lapsed"), &json!("no_right"), &json!("permit")), "{record}");
        (record["status"].as_u64(), record["complete"].as_bool())
    };
    let told: BTreeSet<_> = records.iter().map(told).collect();
    assert_eq!(told, BTreeSet::from([(Some(200), Some(false)), (Some(403), Some(true))]));
    wait_until("both are cut", async || upstream.cut.load(Ordering::SeqCst) == 2).await;
    assert!(!upstream.late.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_told_any_more_does_not_go_on() {
    let (_upstream, world) = world().await;
    let mine = token(&world, seed::NORDLYS, seed::BAKKEN, 600).await;
    let mut call = Begun::open(&world, Protocol::Http2, BAKKEN, &mine, "application/grpc").await;
    let mut socket = websocket(&world, "310000507", &mine).await;
    world.fault("pdp", json!({ "status": 500 })).await;
    match call.end().await {
        End::Trailers(trailers) => assert_eq!(trailers["grpc-status"], "14"),
        other => panic!("{other:?}"),
    }
    assert_eq!(socket.rest().await, closed("cannot_decide"));
    lapsed(&world, 2, "cannot_decide").await;
    world.heal().await;
    // A new one is let in as soon as Altinn is back.
    echoes(&mut websocket(&world, "310000507", &mine).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_ends_with_its_token_and_an_answer_where_its_route_says_so() {
    let (_upstream, world) = world().await;
    let short = token(&world, seed::NORDLYS, seed::BAKKEN, 4).await;
    let ending = "/v1/parties/310000507/ending";
    let mut socket = websocket(&world, "310000507", &short).await;
    let mut ends = Begun::open(&world, Protocol::Http1, ending, &short, "text/plain").await;
    let mut lasts = Begun::open(&world, Protocol::Http1, BAKKEN, &short, "text/plain").await;
    assert_eq!(socket.rest().await, closed("expired"));
    assert!(matches!(ends.end().await, End::Broken));
    lapsed(&world, 2, "expired").await;
    let routes: BTreeSet<_> = world
        .proxy
        .audit()
        .iter()
        .map(|record| record["route"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(routes, BTreeSet::from(["ending".to_owned(), "stream".to_owned()]));
    assert!(lasts.goes_on().await, "a download may outlive its token");
}

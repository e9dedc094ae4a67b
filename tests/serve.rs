//! Connections and tunnels that nobody ends, requests that nobody can read, and what is recorded of them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

mod support;

use hyper::Response;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::http::{Connection, Protocol, Served, data, empty, fed, request};
use support::wire::{LONG, OK, RawUpstream, Wire, field, status, world_before};
use support::{World, seed, wait_until};

const SOCKET: &str = "/v1/parties/310000507/socket";
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Switches protocols, and then sends back whatever comes.
async fn echo() -> RawUpstream {
    RawUpstream::start(|mut wire, _, _| async move {
        if wire.head().await.is_some() && wire.try_send(SWITCH).await {
            while let Some(text) = wire.until(";").await {
                wire.try_send(text).await;
            }
        }
    })
    .await
}

async fn open_tunnel(world: &World, token: &str) -> Wire {
    let mut client = Wire::connect(world.proxy.address()).await;
    client
        .send(format!(
            "GET {SOCKET} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        ))
        .await;
    assert_eq!(status(&client.head().await.unwrap()), 101);
    client.send("four;").await;
    assert_eq!(client.until(";").await.as_deref(), Some("four;"));
    client
}

fn assert_tunnel(record: &Value, up: usize, down: usize, complete: bool) {
    let told = (&record["request_bytes"], &record["response_bytes"], &record["complete"]);
    assert_eq!(told, (&json!(up), &json!(down), &json!(complete)), "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_tunnel_is_ended_and_its_bytes_are_recorded() {
    let upstream = echo().await;
    let world = world_before(&upstream.section("idle_timeout: 1s"), "").await;
    let token = world.token(seed::BAKKEN).await;
    let mut client = open_tunnel(&world, &token).await;
    assert!(client.rest().await.is_empty());
    assert_tunnel(&world.proxy.audit_records(1).await[0], 5, 5, false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_an_open_tunnel_finish() {
    let upstream = echo().await;
    let mut world = world_before(&upstream.section(""), "limits: { drain_timeout: 20s }\n").await;
    let token = world.token(seed::BAKKEN).await;
    let mut client = open_tunnel(&world, &token).await;
    world.proxy.signal("TERM");
    wait_until("stopping", async || world.proxy.log().iter().any(|line| line.contains("stopping")))
        .await;
    client.send("more;").await;
    assert_eq!(client.until(";").await.as_deref(), Some("more;"));
    let begun = Instant::now();
    drop(client);
    assert_eq!(world.proxy.wait(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "waits for the tunnel and no longer");
    assert_tunnel(&world.proxy.audit_records(1).await[0], 10, 10, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_that_a_stop_cuts_has_its_bytes_recorded() {
    let upstream = echo().await;
    let mut world = world_before(&upstream.section(""), "limits: { drain_timeout: 1s }\n").await;
    let token = world.token(seed::BAKKEN).await;
    let _client = open_tunnel(&world, &token).await;
    world.proxy.signal("TERM");
    assert_eq!(world.proxy.wait(), Some(0));
    assert_tunnel(&world.proxy.audit_records(1).await[0], 5, 5, false);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_connection_without_requests_is_ended() {
    let world = World::start_with("limits: { header_timeout: 1s }\n").await;
    let connection = Connection::open(world.proxy.address(), Protocol::Http2).await;
    for _ in 0..2 {
        let ask = request(&connection, "GET", "/open/x").body(empty()).unwrap();
        assert_eq!(connection.send(ask).await.unwrap().status(), 200);
        // Within its patience it is kept.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    wait_until("the connection is ended", async || {
        world.proxy.metric("portvakt_connections_refused_total{reason=\"idle\"}").await > 0.5
    })
    .await;
    assert!(world.proxy.metric("portvakt_connections").await.abs() < f64::EPSILON);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_cannot_be_read_are_recorded() {
    let world = World::start().await;
    let huge = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(4 << 20));
    let cases = [
        ("GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request"),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "bad_request"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n", "bad_request"),
        (huge.as_str(), "headers_too_large"),
    ];
    for (place, (bytes, code)) in cases.into_iter().enumerate() {
        let mut client = Wire::connect(world.proxy.address()).await;
        client.try_send(bytes).await;
        let record = world.proxy.audit_records(place + 1).await.remove(place);
        let told = (&record["code"], &record["reason"], &record["answer"], &record["peer"]);
        assert_eq!(
            told,
            (&json!(code), &json!("unreadable"), &json!("not_asked"), &json!("127.0.0.1")),
            "{record}"
        );
        assert_eq!((record.get("method"), &record["route"]), (None, &json!("none")));
    }
    let sample =
        "portvakt_requests_total{answer=\"not_asked\",code=\"bad_request\",route=\"none\"}";
    assert!((world.proxy.metric(sample).await - 3.0).abs() < f64::EPSILON);
    // A client that says nothing, or leaves in a head, asked nothing.
    for bytes in ["", "GET / HT"] {
        Wire::connect(world.proxy.address()).await.send(bytes).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.proxy.audit().len(), cases.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_before_the_end_of_the_body_closes_the_connection() {
    let world = World::start().await;
    let refused = |body: &str| format!("POST /v1/scopes HTTP/1.1\r\nHost: a\r\n{body}");
    for (body, expected) in [
        ("Content-Length: 5\r\n\r\n", Some("close")),
        ("Transfer-Encoding: chunked\r\n\r\n", Some("close")),
        ("Content-Length: 0\r\n\r\n", None),
        ("\r\n", None),
    ] {
        let mut client = Wire::connect(world.proxy.address()).await;
        client.send(refused(body)).await;
        let (head, _) = client.message().await.unwrap();
        assert_eq!((status(&head), field(&head, "connection")), (401, expected), "{body:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_names_the_party_has_one_deadline_for_the_whole_of_it() {
    let upstream = RawUpstream::answering(OK).await;
    let world = world_before(&upstream.section(""), "limits: { body_idle_timeout: 1s }\n").await;
    let token = world.token(seed::BAKKEN).await;
    let mut client = Wire::connect(world.proxy.address()).await;
    client
        .send(format!(
            "POST /v1/form HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\n"
        ))
        .await;
    // Never silent for long, and never done.
    for _ in 0..6 {
        client.try_send("x").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(status(&client.head().await.unwrap()), 408);
    assert_eq!(upstream.seen.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_whole_with_its_last_byte_whenever_the_upstream_ends_it() {
    let upstream = Served::start(|_| async {
        let (feed, body) = fed();
        tokio::spawn(async move {
            feed.send(data("{}")).await.unwrap();
            // The end of the stream comes late.
            tokio::time::sleep(LONG).await;
        });
        Response::builder().header("content-length", "2").body(body).unwrap()
    })
    .await;
    let world = world_before(&upstream.section(Protocol::Http2, ""), "").await;
    let mut client = Wire::connect(world.proxy.address()).await;
    client.send("GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.message().await.unwrap().1, b"{}");
    drop(client);
    let record = world.proxy.audit_records(1).await.remove(0);
    assert_eq!((&record["complete"], &record["response_bytes"]), (&json!(true), &json!(2)));
}

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
use serde_json::json;
use std::time::Duration;
use support::http::{Protocol, Served, data, fed};
use support::seed;
use support::wire::{LONG, OK, RawUpstream, Wire, status, world_before};

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

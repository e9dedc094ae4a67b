//! The program's life: told to stop, and told to read its configuration anew, while requests are under way.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

mod support;

use std::time::{Duration, Instant};
use support::wire::{RawUpstream, Wire, field, status, world_before};
use support::{World, seed, wait_until};

const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// A WebSocket that says one thing, and then nothing for as long as it lives.
async fn one_frame() -> RawUpstream {
    RawUpstream::start(|mut wire, _, _| async move {
        if wire.head().await.is_some() && wire.try_send(SWITCH).await {
            wire.try_send("\u{1}\u{2}hi").await;
            let _ended = wire.until("never").await;
        }
    })
    .await
}

async fn open_tunnel(world: &World) -> Wire {
    let token = world.token(seed::BAKKEN).await;
    let mut client = Wire::connect(world.proxy.address()).await;
    client
        .send(format!(
            "GET /v1/parties/310000507/socket HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        ))
        .await;
    assert_eq!(status(&client.head().await.unwrap()), 101);
    assert!(client.until("hi").await.is_some());
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_not_ready_first_and_still_serves_until_the_wait_is_over() {
    let mut world = World::start_with("shutdown: { wait: 3s }\n").await;
    let mut kept = Wire::connect(world.proxy.address()).await;
    let ask = "GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n";
    kept.send(ask).await;
    let before = kept.head().await.unwrap();
    assert_eq!((status(&before), field(&before, "connection")), (200, None));
    let begun = Instant::now();
    world.proxy.signal("TERM");
    wait_until("not ready", async || {
        let (status, text) = world.proxy.admin("/readyz").await;
        status == 503 && text.contains("stopping")
    })
    .await;
    // A new connection is taken, and told not to stay.
    let mut new = Wire::connect(world.proxy.address()).await;
    new.send(ask).await;
    let answer = new.head().await.unwrap();
    assert_eq!((status(&answer), field(&answer, "connection")), (200, Some("close")));
    assert_eq!(world.proxy.wait(), Some(0));
    assert!(begun.elapsed() >= Duration::from_secs(3));
    assert_eq!(world.proxy.audit_records(2).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let upstream = one_frame().await;
    let mut world = world_before(&upstream.section(""), "shutdown: { wait: 60s }\n").await;
    let _client = open_tunnel(&world).await;
    let begun = Instant::now();
    world.proxy.signal("TERM");
    wait_until("not ready", async || world.proxy.admin("/readyz").await.0 == 503).await;
    world.proxy.signal("TERM");
    assert_eq!(world.proxy.wait(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_has_its_grace_and_is_then_told_that_we_go_away() {
    let upstream = one_frame().await;
    let sections = "limits: { drain_timeout: 20s }\nshutdown: { wait: 0s, stream_grace: 1s }\n";
    let mut world = world_before(&upstream.section(""), sections).await;
    let mut client = open_tunnel(&world).await;
    let begun = Instant::now();
    world.proxy.signal("TERM");
    let last = client.rest().await;
    let (grace, took) = (Duration::from_secs(1), begun.elapsed());
    assert!(took >= grace && took < Duration::from_secs(15), "{took:?}");
    assert!(last.ends_with(b"\x88\x0a\x03\xe9stopping"), "1001: {last:?}");
    assert_eq!(world.proxy.wait(), Some(0));
    let record = world.proxy.audit_records(1).await.pop().unwrap();
    assert_eq!((&record["code"], &record["reason"]), (&"lapsed".into(), &"stopping".into()));
}

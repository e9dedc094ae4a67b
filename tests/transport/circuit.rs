//! Upstreams to which no connection can be made are left alone for a while, and used again once they are back.

use super::sockets::{answering_on, under_hosts};
use super::support::upstream::Upstream;
use super::support::wire::{RawUpstream, code, told};
use super::support::{World, wait_until};
use super::world;
use serde_json::Value;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpSocket, UnixListener};

/// One worker, since each finds out for itself; and no kept connection that would serve without a new one.
const KEYS: &str = "max_idle_connections: 0, circuit_failures: 3";
const ALONE: &str = "listen: { address: \"127.0.0.1:0\", workers: 1 }";

async fn ask(world: &World) -> (u16, Option<u64>, Value) {
    told(world.request("GET", "/open/x").send().await.unwrap()).await
}

async fn status(world: &World) -> u16 {
    ask(world).await.0
}

/// A port that refuses until it is listened on.
fn closed() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

async fn before(url: &str, open_for: &str) -> World {
    let section = format!("upstream: {{ url: \"{url}\", {KEYS}, circuit_open_for: {open_for} }}");
    world(Upstream::start().await, &section, ALONE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn after_failures_in_a_row_requests_fail_at_once_and_nobody_is_called() {
    let (socket, address) = closed();
    // The first pause is a sixteenth of this.
    let world = before(&format!("http://{address}"), "10m").await;
    for _ in 0..3 {
        let (status, retry_after, problem) = ask(&world).await;
        assert_eq!((status, code(&problem), retry_after), (502, "upstream_unavailable", None));
    }
    let upstream = answering_on(socket.listen(16).unwrap());
    for _ in 0..5 {
        let (status, retry_after, problem) = ask(&world).await;
        assert_eq!((status, code(&problem)), (503, "upstream_left_out"), "{problem}");
        assert_eq!(problem["reason"], "left_out");
        assert!(retry_after.is_some_and(|wait| (10..=38).contains(&wait)), "{retry_after:?}");
    }
    assert_eq!(upstream.seen.connections(), 0);
    let metric = async |sample: &str| world.proxy.metric(sample).await;
    let times = metric("portvakt_upstream_left_out_total{upstream=\"default\"}").await;
    assert!((times - 1.0).abs() < 0.5, "{times}");
    let failures = "portvakt_upstream_failures_total{kind=\"left_out\",upstream=\"default\"}";
    let failed = metric(failures).await;
    assert!((failed - 5.0).abs() < 0.5, "{failed}");
    let records = world.proxy.audit_records(8).await;
    let last = &records[7];
    assert_eq!((&last["answer"], &last["code"]), (&"permit".into(), &"upstream_left_out".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_back_is_used_again_by_itself() {
    let (socket, address) = closed();
    let world = before(&format!("http://{address}"), "800ms").await;
    for _ in 0..3 {
        assert_eq!(status(&world).await, 502);
    }
    // Requests try again and again, and the most fail without.
    let mut answers = Vec::new();
    wait_until("tried three times", async || {
        answers.push(status(&world).await);
        answers.iter().filter(|status| **status == 502).count() >= 3
    })
    .await;
    let left_out = answers.iter().filter(|status| **status == 503).count();
    assert_eq!(left_out + 3, answers.len(), "{answers:?}");
    assert!(left_out >= 3, "{answers:?}");
    let upstream = answering_on(socket.listen(16).unwrap());
    wait_until("back", async || status(&world).await == 200).await;
    for _ in 0..5 {
        assert_eq!(status(&world).await, 200);
    }
    assert_eq!(upstream.seen.connections(), 6);
    // Gone once more, it has as many failures to give as at first.
    drop(upstream);
    for _ in 0..3 {
        assert_eq!(status(&world).await, 502);
    }
    assert_eq!(status(&world).await, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_tell_of_failure_and_connections_that_break_leave_nobody_out() {
    let upstream = RawUpstream::start(|mut wire, number, _| async move {
        wire.message().await;
        if number % 2 == 0 {
            wire.try_send("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n").await;
        }
    })
    .await;
    let world = before(&format!("http://{}", upstream.address()), "10m").await;
    let mut answers = Vec::new();
    for _ in 0..8 {
        answers.push(status(&world).await);
    }
    assert!(answers.iter().all(|status| matches!(status, 500 | 502)), "{answers:?}");
    assert!(answers.contains(&500) && answers.contains(&502), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_in_the_file_system_is_left_out_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let world = before(&format!("unix:{}", path.display()), "800ms").await;
    for _ in 0..3 {
        assert_eq!(status(&world).await, 502);
    }
    assert_eq!(status(&world).await, 503);
    drop(UnixListener::bind(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    let _upstream = Upstream::start_unix(&path);
    wait_until("back", async || status(&world).await == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_addresses_the_one_that_fails_is_left_out_and_the_others_serve() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 api.test\n127.0.0.2 api.test\n").unwrap();
    let (socket, first) = closed();
    let second = answering_on(TcpListener::bind(("127.0.0.2", first.port())).await.unwrap());
    let section = format!(
        "upstream: {{ url: \"http://api.test:{}\", {KEYS}, circuit_open_for: 800ms }}",
        first.port()
    );
    let Some(world) = under_hosts(&hosts, &section).await else { return };
    let left_out = "portvakt_upstream_left_out_total{upstream=\"default\"}";
    // However many workers there are, and whichever address a look-up gives first: all are served.
    wait_until("left out", async || {
        assert_eq!(status(&world).await, 200);
        world.proxy.metric(left_out).await > 0.5
    })
    .await;
    let first = answering_on(socket.listen(16).unwrap());
    wait_until("back", async || {
        assert_eq!(status(&world).await, 200);
        first.seen.connections() > 0
    })
    .await;
    assert!(second.seen.connections() > 0);
}

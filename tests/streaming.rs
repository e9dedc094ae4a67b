//! Bodies go through as streams, both ways, within limits of size and silence, and in bounded memory.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

mod support;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::{Request, Response};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::http::{Body, Connection, Protocol, Served, data, empty, fed, frames, full, request};
use support::wire::{LONG, OK, RawUpstream, Wire, code, status, world_before};
use support::{World, seed, wait_until};
use tokio::sync::Notify;

const READ: &str = "/v1/parties/310000507/returns/7";
const SUBMIT: &str = "/v1/parties/310000507/returns";
const CHUNK: usize = 64 * 1024;
const MIB: usize = 1 << 20;
/// Most resident memory of the program, whatever goes through it.
const MOST_MEMORY: u64 = 64 << 20;

/// `chunks` pieces of [`CHUNK`] bytes, no two alike.
fn pieces(chunks: usize) -> impl futures_util::Stream<Item = Frame<Bytes>> {
    let filling = Bytes::from(vec![0x5a; CHUNK]);
    futures_util::stream::iter(0..chunks).map(move |number| {
        let mut piece = filling.to_vec();
        piece[..8].copy_from_slice(&number.to_be_bytes());
        data(piece)
    })
}

/// Bytes and checksum of a body; an error is told, not hidden.
async fn sum(body: Incoming) -> Result<(usize, String), hyper::Error> {
    let (mut body, mut context, mut count) = (body, Context::new(&SHA256), 0);
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame?.into_data() {
            count += bytes.len();
            context.update(&bytes);
        }
    }
    Ok((count, hex(context)))
}

fn hex(context: Context) -> String {
    context.finish().as_ref().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// What [`pieces`] sum up to.
async fn expected(chunks: usize) -> (usize, String) {
    let (mut context, mut all) = (Context::new(&SHA256), Box::pin(pieces(chunks)));
    while let Some(frame) = all.next().await {
        context.update(&frame.into_data().unwrap());
    }
    (chunks * CHUNK, hex(context))
}

/// Sums uploads up; gives `chunks` pieces to a GET.
async fn warehouse(chunks: usize) -> Served {
    Served::start(move |request: Request<Incoming>| async move {
        if request.method() == "GET" {
            return Response::new(frames(pieces(chunks)));
        }
        let told = match sum(request.into_body()).await {
            Ok((bytes, sha256)) => json!({ "bytes": bytes, "sha256": sha256 }),
            Err(error) => json!({ "error": error.to_string() }),
        };
        Response::new(full(told.to_string()))
    })
    .await
}

/// `size` both ways, whole and in bounded memory.
async fn carry(size: usize, client: Protocol, behind: Protocol) {
    let chunks = size / CHUNK;
    let upstream = warehouse(chunks).await;
    let world =
        world_before(&upstream.section(behind, ""), "limits: { body_bytes: unlimited }\n").await;
    let token = world.token(seed::BAKKEN).await;
    let expected = expected(chunks).await;
    let connection = Connection::open(world.proxy.address(), client).await;
    let bearer = format!("Bearer {token}");
    let begun = Instant::now();
    let up = request(&connection, "POST", SUBMIT).header("authorization", &bearer);
    let answer = connection.send(up.body(frames(pieces(chunks))).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let told: Value = serde_json::from_slice(&answer.collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(
        (told["bytes"].as_u64(), told["sha256"].as_str()),
        (u64::try_from(expected.0).ok(), Some(&*expected.1)),
        "{told}"
    );
    let up_took = begun.elapsed();
    let (_, up_memory) = world.proxy.memory();
    let begun = Instant::now();
    let down = request(&connection, "GET", READ).header("authorization", &bearer);
    let answer = connection.send(down.body(empty()).unwrap()).await.unwrap();
    assert_eq!(sum(answer.into_body()).await.unwrap(), expected);
    let down_took = begun.elapsed();
    let (_, memory) = world.proxy.memory();
    eprintln!(
        "{client:?} -> {behind:?}: {} MiB up in {up_took:.1?} (VmHWM {} KiB), down in {down_took:.1?} (VmHWM {} KiB)",
        size >> 20,
        up_memory >> 10,
        memory >> 10,
    );
    assert!(memory < MOST_MEMORY, "{memory} bytes");
    let records = world.proxy.audit_records(2).await;
    assert_eq!(records[0]["request_bytes"], expected.0);
    assert_eq!(records[1]["response_bytes"], expected.0);
    assert!(records.iter().all(|record| record["complete"] == true), "{records:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_each_way_stays_out_of_memory() {
    carry(1024 * MIB, Protocol::Http1, Protocol::Http1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_http2_stay_out_of_memory() {
    carry(256 * MIB, Protocol::Http2, Protocol::Http2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_between_protocols_stay_out_of_memory() {
    carry(64 * MIB, Protocol::Http1, Protocol::Http2).await;
    carry(64 * MIB, Protocol::Http2, Protocol::Http1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_slowly_slows_the_upstream_down() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let upstream = Served::start(move |_| {
        let counted = Arc::clone(&counted);
        async move {
            Response::new(frames(pieces(4096).inspect(move |_| {
                counted.fetch_add(CHUNK, Ordering::SeqCst);
            })))
        }
    })
    .await;
    for protocol in Protocol::BOTH {
        sent.store(0, Ordering::SeqCst);
        let world = world_before(&upstream.section(protocol, ""), "").await;
        let token = world.token(seed::BAKKEN).await;
        let connection = Connection::open(world.proxy.address(), protocol).await;
        let ask =
            request(&connection, "GET", READ).header("authorization", format!("Bearer {token}"));
        let mut answer = connection.send(ask.body(empty()).unwrap()).await.unwrap();
        // What the sockets and windows between hold is all that the upstream can send.
        let mut before = usize::MAX;
        wait_until("the upstream is held", async || {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = sent.load(Ordering::SeqCst);
            std::mem::replace(&mut before, now) == now
        })
        .await;
        assert!(before < 64 * MIB, "{protocol:?}: {before} bytes are on their way");
        assert!(world.proxy.memory().1 < MOST_MEMORY);
        let mut count = 0;
        while let Some(frame) = answer.frame().await {
            count += frame.unwrap().into_data().map_or(0, |bytes| bytes.len());
        }
        assert_eq!(count, 4096 * CHUNK, "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_reaches_the_client_before_the_next_one_is_sent() {
    for client in Protocol::BOTH {
        for behind in Protocol::BOTH {
            let next = Arc::new(Notify::new());
            let wait = Arc::clone(&next);
            let upstream = Served::start(move |_| {
                let wait = Arc::clone(&wait);
                async move {
                    let (feed, body) = fed();
                    tokio::spawn(async move {
                        for number in 0..3 {
                            feed.send(data(format!("data: {number}\n\n"))).await.unwrap();
                            wait.notified().await;
                        }
                    });
                    let answer = Response::builder().header("content-type", "text/event-stream");
                    answer.body(body).unwrap()
                }
            })
            .await;
            let world = world_before(&upstream.section(behind, ""), "").await;
            let token = world.token(seed::BAKKEN).await;
            let connection = Connection::open(world.proxy.address(), client).await;
            let ask = request(&connection, "GET", READ)
                .header("authorization", format!("Bearer {token}"));
            let mut answer = connection.send(ask.body(empty()).unwrap()).await.unwrap();
            for number in 0..3 {
                let frame =
                    tokio::time::timeout(LONG, answer.frame()).await.expect("comes by itself");
                let bytes = frame.unwrap().unwrap().into_data().unwrap();
                assert_eq!(bytes, format!("data: {number}\n\n"), "{client:?} {behind:?}");
                next.notify_one();
            }
            assert_eq!(answer.collect().await.unwrap().to_bytes(), "");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_reads_what_has_come_before_the_client_sends_the_rest() {
    for client in Protocol::BOTH {
        for behind in Protocol::BOTH {
            let seen = Arc::new(Notify::new());
            let tell = Arc::clone(&seen);
            let upstream = Served::start(move |request: Request<Incoming>| {
                let tell = Arc::clone(&tell);
                async move {
                    let (mut body, mut whole) = (request.into_body(), Vec::new());
                    while let Some(frame) = body.frame().await {
                        whole.extend_from_slice(&frame.unwrap().into_data().unwrap());
                        tell.notify_one();
                    }
                    Response::new(full(whole))
                }
            })
            .await;
            let world = world_before(&upstream.section(behind, ""), "").await;
            let token = world.token(seed::BAKKEN).await;
            let connection = Connection::open(world.proxy.address(), client).await;
            let (feed, body) = fed();
            let ask = request(&connection, "POST", SUBMIT)
                .header("authorization", format!("Bearer {token}"));
            let ask = ask.body(body).unwrap();
            let answer = tokio::spawn(async move { connection.send(ask).await });
            for part in ["one ", "two ", "three"] {
                feed.send(data(part)).await.unwrap();
                tokio::time::timeout(LONG, seen.notified()).await.expect("arrives by itself");
            }
            drop(feed);
            let answer = answer.await.unwrap().unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(
                answer.collect().await.unwrap().to_bytes(),
                "one two three",
                "{client:?} {behind:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_bodies_run_at_once() {
    let upstream = Served::start(|request: Request<Incoming>| async move {
        let body: Body = request.into_body().map_err(std::io::Error::other).boxed();
        Response::new(body)
    })
    .await;
    let world = world_before(&upstream.section(Protocol::Http2, ""), "").await;
    let token = world.token(seed::BAKKEN).await;
    let connection = Connection::open(world.proxy.address(), Protocol::Http2).await;
    let (feed, body) = fed();
    let ask =
        request(&connection, "POST", SUBMIT).header("authorization", format!("Bearer {token}"));
    let mut answer = connection.send(ask.body(body).unwrap()).await.unwrap();
    for part in ["ping", "pong"] {
        feed.send(data(part)).await.unwrap();
        let frame = tokio::time::timeout(LONG, answer.frame()).await.expect("comes back by itself");
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), part);
    }
    drop(feed);
    assert_eq!(answer.collect().await.unwrap().to_bytes(), "");
    assert_eq!(world.proxy.audit_records(1).await[0]["complete"], true);
}

// ---- Limits

/// An upstream that notes of each request how its body ended: its length, or that it broke.
async fn notary() -> (Served, Arc<Mutex<Vec<Option<usize>>>>) {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&ends);
    let upstream = Served::start(move |request: Request<Incoming>| {
        let kept = Arc::clone(&kept);
        async move {
            let end = sum(request.into_body()).await.ok().map(|(bytes, _)| bytes);
            kept.lock().unwrap().push(end);
            Response::new(full("{}"))
        }
    })
    .await;
    (upstream, ends)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_or_cut() {
    for behind in Protocol::BOTH {
        let (upstream, ends) = notary().await;
        let limits = "limits: { body_bytes: 1MiB, party_body_bytes: 64KiB }\n";
        let world = world_before(&upstream.section(behind, ""), limits).await;
        let token = world.token(seed::BAKKEN).await;
        for client in Protocol::BOTH {
            let post = async |body: Body| {
                let connection = Connection::open(world.proxy.address(), client).await;
                let ask = request(&connection, "POST", SUBMIT)
                    .header("authorization", format!("Bearer {token}"));
                connection
                    .send(ask.body(body).unwrap())
                    .await
                    .map(|answer| answer.status().as_u16())
            };
            // Declared.
            assert_eq!(post(full(vec![0; MIB])).await.unwrap(), 200);
            let before = ends.lock().unwrap().len();
            assert_eq!(post(full(vec![0; MIB + 1])).await.unwrap(), 413, "{client:?} {behind:?}");
            assert_eq!(ends.lock().unwrap().len(), before, "nothing was sent");
            // Not declared.
            assert_eq!(post(frames(pieces(MIB / CHUNK))).await.unwrap(), 200);
            let before = ends.lock().unwrap().len();
            let cut =
                post(frames(pieces(MIB / CHUNK).chain(futures_util::stream::iter([data("x")]))))
                    .await;
            assert!(matches!(cut, Ok(413) | Err(_)), "{client:?} {behind:?}: {cut:?}");
            wait_until("the upstream knows", async || ends.lock().unwrap().len() > before).await;
            assert_eq!(ends.lock().unwrap().last(), Some(&None), "never whole at the upstream");
        }
        let too_large = "portvakt_requests_total{answer=\"not_asked\",code=\"body_too_large\",route=\"submit\"}";
        let told = world.proxy.metric(too_large).await;
        let declared =
            "portvakt_requests_total{answer=\"not_asked\",code=\"body_too_large\",route=\"none\"}";
        assert!(told + world.proxy.metric(declared).await >= 2.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_names_the_party_has_a_limit_of_its_own() {
    let (upstream, ends) = notary().await;
    let limits = "limits: { party_body_bytes: 1KiB }\n";
    let world = world_before(&upstream.section(Protocol::Http1, ""), limits).await;
    let token = world.token(seed::BAKKEN).await;
    let padded = |length: usize| {
        let bare = r#"{"data":{"party":"310000507"},"x":""}"#;
        bare.replace(r#""x":"""#, &format!(r#""x":"{}""#, "x".repeat(length - bare.len())))
    };
    for client in Protocol::BOTH {
        for declared in [true, false] {
            for (length, expected) in [(1024, 200), (1025, 413)] {
                let text = padded(length);
                let body = if declared {
                    full(text)
                } else {
                    let parts: Vec<_> =
                        text.as_bytes().chunks(100).map(|part| data(part.to_vec())).collect();
                    frames(futures_util::stream::iter(parts))
                };
                let connection = Connection::open(world.proxy.address(), client).await;
                let ask = request(&connection, "POST", "/v1/json/310000507")
                    .header("authorization", format!("Bearer {token}"))
                    .header("content-type", "application/json");
                let answer = connection.send(ask.body(body).unwrap()).await.unwrap();
                assert_eq!(answer.status(), expected, "{client:?} {declared} {length}");
            }
        }
    }
    assert_eq!(*ends.lock().unwrap(), [Some(1024); 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_in_its_body_is_408_and_never_whole_upstream() {
    // Whichever of the two limits is the longer one, it is the client that is silent.
    for idle in ["idle_timeout: 30s", "idle_timeout: 300ms"] {
        for behind in Protocol::BOTH {
            let (upstream, ends) = notary().await;
            let limits = "limits: { body_idle_timeout: 1s }\n";
            let world = world_before(&upstream.section(behind, idle), limits).await;
            let token = world.token(seed::BAKKEN).await;
            let mut client = Wire::connect(world.proxy.address()).await;
            let begun = Instant::now();
            client
                .send(format!(
                    "POST {SUBMIT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 100\r\n\r\n0123456789"
                ))
                .await;
            let (head, body) = client.message().await.expect("an answer");
            let text = String::from_utf8(body).unwrap();
            assert_eq!(status(&head), 408, "{idle} {behind:?}: {text}");
            assert_eq!(code(&serde_json::from_str(&text).unwrap()), "request_timeout");
            assert!(begun.elapsed() >= Duration::from_secs(1));
            assert!(client.rest().await.is_empty(), "and the connection is closed");
            wait_until("the upstream knows", async || !ends.lock().unwrap().is_empty()).await;
            assert_eq!(*ends.lock().unwrap(), [None], "{idle} {behind:?}");
            let record = world.proxy.audit_records(1).await.remove(0);
            assert_eq!(
                (&record["code"], &record["status"]),
                (&json!("request_timeout"), &json!(408))
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_stops_in_its_body_is_408_and_harms_no_other() {
    for behind in Protocol::BOTH {
        let (upstream, ends) = notary().await;
        let limits = "limits: { body_idle_timeout: 1s }\n";
        let world = world_before(&upstream.section(behind, ""), limits).await;
        let token = world.token(seed::BAKKEN).await;
        let connection = Connection::open(world.proxy.address(), Protocol::Http2).await;
        let post = |body: Body| {
            let ask = request(&connection, "POST", SUBMIT)
                .header("authorization", format!("Bearer {token}"));
            connection.send(ask.body(body).unwrap())
        };
        let (feed, body) = fed();
        feed.send(data("0123456789")).await.unwrap();
        assert_eq!(post(body).await.unwrap().status(), 408, "{behind:?}");
        wait_until("the upstream knows", async || !ends.lock().unwrap().is_empty()).await;
        assert_eq!(*ends.lock().unwrap(), [None], "{behind:?}");
        assert_eq!(post(full("whole")).await.unwrap().status(), 200, "the connection lives on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_drips_is_served_however_long_it_takes() {
    let (upstream, ends) = notary().await;
    let limits = "limits: { body_idle_timeout: 2s }\n";
    let section = upstream.section(Protocol::Http1, "idle_timeout: 2s, response_timeout: 2s");
    let world = world_before(&section, limits).await;
    let token = world.token(seed::BAKKEN).await;
    let connection = Connection::open(world.proxy.address(), Protocol::Http1).await;
    let (feed, body) = fed();
    let ask =
        request(&connection, "POST", SUBMIT).header("authorization", format!("Bearer {token}"));
    let ask = ask.body(body).unwrap();
    let answer = tokio::spawn(async move { connection.send(ask).await });
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < Duration::from_secs(5) {
        feed.send(data("x")).await.unwrap();
        count += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(feed);
    assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    assert_eq!(*ends.lock().unwrap(), [Some(count)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_in_a_body_that_names_the_party_reaches_nothing() {
    let world = World::start_with("limits: { body_idle_timeout: 500ms }\n").await;
    let token = world.token(seed::BAKKEN).await;
    let mut client = Wire::connect(world.proxy.address()).await;
    client
        .send(format!(
            "POST /v1/json/310000507 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
        ))
        .await;
    let (head, _) = client.message().await.expect("an answer");
    assert_eq!(status(&head), 408, "{head}");
    assert!(client.rest().await.is_empty());
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_breaks_its_body_off_leaves_no_whole_request() {
    for behind in Protocol::BOTH {
        let (upstream, ends) = notary().await;
        let world = world_before(&upstream.section(behind, ""), "").await;
        let token = world.token(seed::BAKKEN).await;
        let head =
            format!("POST {SUBMIT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n");
        let starts = [
            format!("{head}Content-Length: 100\r\n\r\n0123456789"),
            format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
            format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"),
            format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n\r\n"),
            format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"),
        ];
        for (number, start) in starts.iter().enumerate() {
            let mut client = Wire::connect(world.proxy.address()).await;
            client.send(start).await;
            // The beginning is at the upstream before the end comes.
            wait_until("a record or a request", async || {
                world.proxy.metric("portvakt_requests_in_flight").await > 0.0
                    || world.proxy.audit().len() > number
            })
            .await;
            drop(client);
            world.proxy.audit_records(number + 1).await;
        }
        wait_until("no request is left", async || {
            world.proxy.metric("portvakt_requests_in_flight").await.abs() < f64::EPSILON
        })
        .await;
        let ends = ends.lock().unwrap().clone();
        assert!(ends.iter().all(Option::is_none), "{behind:?}: {ends:?}");
        assert_eq!(world.proxy.audit().len(), starts.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_answers_early_is_heard() {
    // Answers before the body has come, and reads no more.
    let upstream = RawUpstream::start(|mut wire, _, seen| async move {
        if let Some(head) = wire.head().await {
            seen.note(head);
            wire.send(
                "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 4\r\n\r\nstop",
            )
            .await;
            wire.rest().await;
        }
    })
    .await;
    let world = world_before(&upstream.section(""), "").await;
    let token = world.token(seed::BAKKEN).await;
    let mut client = Wire::connect(world.proxy.address()).await;
    client
        .send(format!(
            "POST {SUBMIT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 100\r\n\r\n0123456789"
        ))
        .await;
    let (head, body) = client.message().await.expect("an answer");
    assert_eq!((status(&head), &body[..]), (403, &b"stop"[..]));
}

// ---- 100 Continue

/// The head of a POST that waits for 100.
fn expecting(token: &str, length: usize) -> String {
    let authorization =
        if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    format!(
        "POST {SUBMIT} HTTP/1.1\r\nHost: a\r\n{authorization}Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_asked_for_after_the_permit_only() {
    let world =
        World::start_with("freshness: { read: { max_age: 0s }, write: { max_age: 0s } }\n").await;
    let token = world.token(seed::BAKKEN).await;
    world.get(READ, &token).await;
    let asked = world.calls("pdp").await;
    world.fault("pdp", json!({ "latency_ms": 300 })).await;
    let mut client = Wire::connect(world.proxy.address()).await;
    let begun = Instant::now();
    client.send(expecting(&token, 4)).await;
    assert_eq!(client.head().await.unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(begun.elapsed() >= Duration::from_millis(300), "before the PDP answered");
    assert_eq!(world.calls("pdp").await, asked + 1);
    client.send("body").await;
    let (head, _) = client.message().await.unwrap();
    assert_eq!(status(&head), 200);
    let received = world.upstream.last();
    assert_eq!(received.body, "body");
    assert!(received.header("expect").is_empty(), "the expectation is answered here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_body_is_not_asked_for_and_not_taken_for_a_request() {
    let world = World::start_with("limits: { body_bytes: 1MiB }\n").await;
    let token = world.token(seed::BAKKEN).await;
    let strand = world.token(seed::STRAND).await;
    let inside = format!("GET {READ} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    for (token, length, expected) in [
        ("", inside.len(), 401),
        (strand.as_str(), inside.len(), 403),
        (token.as_str(), (1 << 20) + 1, 413),
    ] {
        let mut client = Wire::connect(world.proxy.address()).await;
        client.send(expecting(token, length)).await;
        let (head, _) = client.message().await.unwrap();
        assert_eq!(status(&head), expected, "{head}");
        // The client sends its body all the same, or what looks like another request.
        client.try_send(&inside).await;
        let rest = client.rest().await;
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    }
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_wait_for_100_is_served() {
    let upstream = RawUpstream::answering(OK).await;
    let world = world_before(&upstream.section(""), "").await;
    let token = world.token(seed::BAKKEN).await;
    let mut client = Wire::connect(world.proxy.address()).await;
    for _ in 0..2 {
        client.send(format!("{}body", expecting(&token, 4))).await;
        let mut head = client.head().await.unwrap();
        if status(&head) == 100 {
            head = client.head().await.unwrap();
        }
        assert_eq!(status(&head), 200);
        assert_eq!(client.until("{}").await.as_deref(), Some("{}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_known_length_keeps_it() {
    let upstream = Served::start(|request: Request<Incoming>| async move {
        let length = request.headers().get("content-length").cloned();
        let hint = request.body().size_hint().exact();
        let mut answer = Response::new(full(vec![b'x'; 5]));
        if let Some(length) = length {
            answer.headers_mut().insert("x-length", length);
        }
        answer.headers_mut().insert("x-hint", hint.unwrap_or(u64::MAX).into());
        answer
    })
    .await;
    let world = world_before(&upstream.section(Protocol::Http1, ""), "").await;
    let token = world.token(seed::BAKKEN).await;
    for client in Protocol::BOTH {
        let connection = Connection::open(world.proxy.address(), client).await;
        let ask =
            request(&connection, "POST", SUBMIT).header("authorization", format!("Bearer {token}"));
        let answer = connection.send(ask.body(full("1234567")).unwrap()).await.unwrap();
        assert_eq!(answer.headers()["content-length"], "5");
        assert_eq!(answer.headers()["x-length"], "7", "{client:?}");
    }
}

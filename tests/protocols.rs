//! HTTP/1.1, HTTP/2, gRPC and WebSocket: every mix of protocols on both sides, and nothing of one request in
//! another.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

mod support;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use support::http::{
    Body, Connection, Protocol, Served, data, empty, fed, frames, full, map, request, trailers,
};
use support::wire::{LONG, RawUpstream, Wire, code, field, status, world_before};
use support::{World, seed, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const READ: &str = "/v1/parties/310000507/returns/7";
const SUBMIT: &str = "/v1/parties/310000507/returns";
const SOCKET: &str = "/v1/parties/310000507/socket";

/// Tells in its answer what of a request arrived.
async fn mirror() -> Served {
    Served::start(|request: Request<Incoming>| async move {
        let (head, body) = request.into_parts();
        let whole = body.collect().await;
        let list = |headers: &HeaderMap| {
            headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("?").into()))
                .collect::<BTreeMap<String, Value>>()
        };
        let told = json!({
            "method": head.method.as_str(),
            "target": head.uri.path_and_query().map(ToString::to_string),
            "authority": head.uri.authority().map(ToString::to_string),
            "version": format!("{:?}", head.version),
            "headers": list(&head.headers),
            "trailers": whole.as_ref().ok().and_then(|whole| whole.trailers().map(list)),
            "body": whole.ok().map(|whole| String::from_utf8_lossy(&whole.to_bytes()).into_owned()),
        });
        Response::new(full(told.to_string()))
    })
    .await
}

async fn json_of(answer: Response<Incoming>) -> Value {
    let bytes = answer.collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("{bytes:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn all_four_mixes_carry_the_same_request() {
    for behind in Protocol::BOTH {
        let upstream = mirror().await;
        let world = world_before(&upstream.section(behind, ""), "").await;
        let token = world.token(seed::BAKKEN).await;
        for client in Protocol::BOTH {
            let connection = Connection::open(world.proxy.address(), client).await;
            let bearer = format!("Bearer {token}");
            let target = format!("{SUBMIT}?b=2&a=%20&a=1");
            let ask = request(&connection, "POST", &target)
                .header("authorization", &bearer)
                .header("cookie", "a=1")
                .header("cookie", "b=2")
                .header("x-repeated", "one")
                .header("content-type", "text/plain; charset=utf-8");
            let answer = connection.send(ask.body(full("påstand")).unwrap()).await.unwrap();
            assert_eq!(answer.status(), 200, "{client:?} {behind:?}");
            let expected = if client == Protocol::Http1 { "HTTP/1.1" } else { "HTTP/2.0" };
            assert_eq!(format!("{:?}", answer.version()), expected);
            let seen = json_of(answer).await;
            let version = if behind == Protocol::Http1 { "HTTP/1.1" } else { "HTTP/2.0" };
            assert_eq!(seen["version"], version, "{seen}");
            assert_eq!((&seen["method"], &seen["target"]), (&json!("POST"), &json!(target)));
            assert_eq!(seen["body"], "påstand");
            let headers = &seen["headers"];
            assert_eq!(headers["portvakt-party"], "310000507");
            assert_eq!(headers["authorization"], bearer);
            assert_eq!(headers["content-length"], "8");
            // The host that the client named, wherever its protocol puts it.
            let host =
                if behind == Protocol::Http1 { &headers["host"] } else { &seen["authority"] };
            assert_eq!(host, "api.test", "{seen}");
            if client == Protocol::Http2 && behind == Protocol::Http1 {
                assert_eq!(headers["cookie"], "a=1; b=2");
            }
            for hop in ["connection", "keep-alive", "transfer-encoding", "upgrade", "te"] {
                assert_eq!(headers[hop], Value::Null, "{client:?} {behind:?}: {hop}");
            }
            // Refusals, in the client's own protocol.
            let answer = connection
                .send(request(&connection, "GET", READ).body(empty()).unwrap())
                .await
                .unwrap();
            assert_eq!(
                (answer.status().as_u16(), format!("{:?}", answer.version())),
                (401, expected.into())
            );
            assert_eq!(code(&json_of(answer).await), "token_missing");
        }
        assert!(upstream.connections() <= 2, "one a worker at most: {}", upstream.connections());
    }
}

/// The library has a bound of its own on a list of HTTP/2, and its refusal is not in the audit log: ours come before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_at_all_bounds_at_once_is_let_in_over_http2_and_one_more_is_refused_by_us() {
    let upstream = mirror().await;
    let world = world_before(&upstream.section(Protocol::Http1, ""), "").await;
    let connection = Connection::open(world.proxy.address(), Protocol::Http2).await;
    let (target, bytes, count) = (8192, 65_536, 100);
    let cases = [
        // Nobody's, so that it is the next thing that is missing.
        (target, bytes, count, 401),
        (target + 1, bytes, count, 414),
        (target, bytes + 1, count, 431),
        (target, bytes, count + 1, 431),
        (target, bytes + 7000, count, 431),
    ];
    for (target, bytes, count, expected) in cases {
        let target = format!("{READ}?{:a>1$}", "", target - READ.len() - 1);
        let mut ask = request(&connection, "GET", &target);
        // Names of five bytes.
        let (each, last) = ((bytes / count) - 5, bytes / count - 5 + bytes % count);
        for n in 0..count {
            let value = "v".repeat(if n == 0 { last } else { each });
            ask = ask.header(format!("x-{n:03}"), value);
        }
        let answer = connection.send(ask.body(empty()).unwrap()).await.unwrap();
        let told = (answer.status().as_u16(), answer.headers()["content-type"].clone());
        let problem = json_of(answer).await;
        assert_eq!(told, (expected, "application/problem+json".parse().unwrap()), "{problem}");
    }
    assert_eq!(world.proxy.audit_records(cases.len()).await.len(), cases.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_one_connection_never_mix_identities() {
    for behind in Protocol::BOTH {
        let upstream = mirror().await;
        let world = world_before(&upstream.section(behind, ""), "").await;
        let agent = json!({
            "client_id": seed::BREKKE, "scope": "skatteetaten:mva", "systemuser_org": seed::FJELL
        });
        // Who asks, for whom, and what becomes of it.
        let callers = [
            (world.token(seed::BAKKEN).await, "310000507", 200, seed::BAKKEN_USER),
            (world.token(seed::BAKKEN).await, "310000515", 200, seed::BAKKEN_USER),
            (
                world.token_with(agent.clone()).await,
                seed::LIA,
                200,
                "5e000000-0000-4000-8000-000000000004",
            ),
            (world.token_with(agent).await, seed::ODDEN, 403, ""),
            (world.token(seed::BAKKEN).await, seed::LIA, 403, ""),
            (String::from("no.good.token"), "310000507", 401, ""),
        ];
        let connection = Connection::open(world.proxy.address(), Protocol::Http2).await;
        let asks = (0..240).map(|number| {
            let (token, party, expected, user) = &callers[number % callers.len()];
            let trace = format!("{:032x}", number + 1);
            let ask = request(&connection, "GET", &format!("/v1/parties/{party}/returns/{number}"))
                .header("authorization", format!("Bearer {token}"))
                .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
                .body(empty())
                .unwrap();
            let connection = connection.clone();
            async move {
                let answer = connection.send(ask).await.unwrap();
                assert_eq!(answer.status(), *expected, "{number}");
                let seen = json_of(answer).await;
                if *expected == 200 {
                    assert_eq!(seen["target"], format!("/v1/parties/{party}/returns/{number}"));
                    assert_eq!(seen["headers"]["portvakt-system-user"], *user);
                    assert_eq!(seen["headers"]["portvakt-party"], *party);
                    assert_eq!(seen["headers"]["authorization"], format!("Bearer {token}"));
                } else {
                    assert_eq!(seen["traceId"], trace);
                }
            }
        });
        futures_util::future::join_all(asks).await;
        let records = world.proxy.audit_records(240).await;
        for record in records {
            let number =
                usize::from_str_radix(record["trace_id"].as_str().unwrap(), 16).unwrap() - 1;
            let (_, party, expected, _) = &callers[number % callers.len()];
            assert_eq!(record["status"], *expected, "{record}");
            if *expected != 401 {
                assert_eq!(record["party"], *party);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_the_upstream_are_kept_and_used_again() {
    for behind in Protocol::BOTH {
        let upstream = mirror().await;
        let world = world_before(&upstream.section(behind, ""), "").await;
        let token = world.token(seed::BAKKEN).await;
        let connection = Connection::open(world.proxy.address(), Protocol::Http1).await;
        for number in 0..50 {
            let ask =
                request(&connection, if number % 2 == 0 { "GET" } else { "POST" }, "/v1/scopes")
                    .header("authorization", format!("Bearer {token}"));
            let body = if number % 2 == 0 { empty() } else { full("x") };
            let answer = connection.send(ask.body(body).unwrap()).await.unwrap();
            assert_eq!(answer.status(), 200);
            json_of(answer).await;
        }
        assert_eq!(upstream.connections(), 1, "{behind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_judged_each_on_its_own_and_answered_in_order() {
    let world = World::start().await;
    let (bakken, strand) = (world.token(seed::BAKKEN).await, world.token(seed::STRAND).await);
    let get = |token: &str, number: usize| {
        format!(
            "GET /v1/parties/310000507/returns/{number} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
    };
    let mut client = Wire::connect(world.proxy.address()).await;
    let post = format!(
        "POST {SUBMIT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {bakken}\r\nContent-Length: 5\r\n\r\nhello"
    );
    let all = [get(&bakken, 1), get(&strand, 2), post, get("x.y.z", 3), get(&bakken, 4)].concat();
    client.send(all).await;
    for expected in [200, 403, 200, 401, 200] {
        let (head, _) = client.message().await.expect("an answer");
        assert_eq!(status(&head), expected);
    }
    let targets: Vec<String> =
        world.upstream.received().into_iter().map(|received| received.target).collect();
    assert_eq!(
        targets,
        ["/v1/parties/310000507/returns/1", SUBMIT, "/v1/parties/310000507/returns/4"]
    );
    let users: Vec<_> = world.upstream.received();
    assert!(
        users.iter().all(|received| received.header("portvakt-system-user") == [seed::BAKKEN_USER])
    );
    assert_eq!(users[1].body, "hello");
    assert_eq!(world.proxy.audit_records(5).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_1_0_client_is_answered_in_kind() {
    let upstream = Served::start(|_| async {
        Response::new(frames(futures_util::stream::iter(["one ", "two"].map(data))))
    })
    .await;
    let world = world_before(&upstream.section(Protocol::Http1, ""), "").await;
    let token = world.token(seed::BAKKEN).await;
    let mut client = Wire::connect(world.proxy.address()).await;
    client.send(format!("GET {READ} HTTP/1.0\r\nAuthorization: Bearer {token}\r\n\r\n")).await;
    let head = client.head().await.unwrap();
    assert_eq!(status(&head), 200);
    assert_eq!(field(&head, "transfer-encoding"), None, "HTTP/1.0 knows no chunks: {head}");
    assert_eq!(client.rest().await, b"one two");
}

// ---- gRPC and trailers

/// A service that echoes each message, and ends with a status of its own and what it saw of the request.
async fn grpc_service() -> Served {
    Served::start(|request: Request<Incoming>| async move {
        let (head, mut body) = request.into_parts();
        let (feed, answer) = fed();
        tokio::spawn(async move {
            let mut last = HeaderMap::new();
            while let Some(Ok(frame)) = body.frame().await {
                match frame.into_data() {
                    Ok(bytes) if bytes.is_empty() => {}
                    Ok(bytes) => feed.send(data(bytes)).await.unwrap(),
                    Err(frame) => last = frame.into_trailers().unwrap_or_default(),
                }
            }
            let mut end =
                map(&[("grpc-status", "9"), ("grpc-message", "not%20yet"), ("set-cookie", "a=b")]);
            if let Some(checksum) = last.get("x-checksum") {
                end.insert("x-checksum", checksum.clone());
            }
            let forged = ["portvakt-party", "authorization", "x_forwarded_for"];
            end.insert(
                "x-forged",
                forged.iter().filter(|name| last.contains_key(**name)).count().into(),
            );
            feed.send(hyper::body::Frame::trailers(end)).await.unwrap();
        });
        let te = head.headers.get("te").cloned();
        let mut response = Response::new(answer);
        response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        if let Some(te) = te {
            response.headers_mut().insert("x-te", te);
        }
        response
    })
    .await
}

fn message(text: &str) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.into()
}

fn grpc_call(connection: &Connection, token: &str, body: Body) -> Request<Body> {
    request(connection, "POST", SUBMIT)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .body(body)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_call_streams_both_ways_and_keeps_its_trailers() {
    let service = grpc_service().await;
    let world = world_before(&service.section(Protocol::Http2, ""), "").await;
    let token = world.token(seed::BAKKEN).await;
    let connection = Connection::open(world.proxy.address(), Protocol::Http2).await;
    let (feed, body) = fed();
    let mut answer = connection.send(grpc_call(&connection, &token, body)).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-te"], "trailers");
    for text in ["one", "two"] {
        feed.send(data(message(text))).await.unwrap();
        let frame = tokio::time::timeout(LONG, answer.frame()).await.expect("comes back by itself");
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), message(text));
    }
    let forged = [
        ("x-checksum", "abc"),
        ("portvakt-party", "310000701"),
        ("authorization", "Bearer x"),
        ("x_forwarded_for", "1.2.3.4"),
    ];
    feed.send(trailers(&forged)).await.unwrap();
    drop(feed);
    let end = answer.collect().await.unwrap();
    let end = end.trailers().expect("trailers");
    assert_eq!(end["grpc-status"], "9");
    assert_eq!(end["grpc-message"], "not%20yet");
    assert_eq!(end["x-checksum"], "abc", "trailers of the request arrive");
    assert_eq!(end["x-forged"], "0", "but none that speaks for somebody else");
    assert!(!end.contains_key("set-cookie"));
    assert_eq!(world.proxy.audit_records(1).await[0]["complete"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_grpc_call_has_a_grpc_status() {
    let service = grpc_service().await;
    let world = world_before(
        &service.section(Protocol::Http2, ""),
        "freshness: { read: { max_age: 0s }, write: { max_age: 0s } }\n",
    )
    .await;
    let token = world.token(seed::BAKKEN).await;
    let strand = world.token(seed::STRAND).await;
    let connection = Connection::open(world.proxy.address(), Protocol::Http2).await;
    // UNAUTHENTICATED, PERMISSION_DENIED, UNAVAILABLE
    for (token, expected, down) in
        [("a.b.c", "16", false), (&strand, "7", false), (&token, "14", true)]
    {
        if down {
            world.fault("pdp", json!({ "close": true })).await;
        }
        let answer =
            connection.send(grpc_call(&connection, token, full(message("x")))).await.unwrap();
        assert_eq!(answer.status(), 200, "gRPC clients look at grpc-status");
        assert_eq!(answer.headers()["grpc-status"], expected);
        assert_eq!(answer.headers()["content-type"], "application/grpc");
        assert!(answer.headers().contains_key("grpc-message"));
        assert!(answer.collect().await.unwrap().to_bytes().is_empty());
    }
    assert_eq!(service.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_cross_every_mix_of_protocols() {
    let end = [("x-checksum", "abc"), ("content-length", "9"), ("location", "/")];
    for behind in Protocol::BOTH {
        let upstream = Served::start(move |request: Request<Incoming>| async move {
            let whole = request.into_body().collect().await.unwrap();
            let seen = whole.trailers().cloned().unwrap_or_default();
            let mut last = map(&end);
            last.remove("content-length");
            for (name, value) in &seen {
                last.insert(
                    format!("seen-{name}").parse::<http::HeaderName>().unwrap(),
                    value.clone(),
                );
            }
            let names = "x-checksum, location, seen-x-sum, seen-portvakt-party";
            let body = frames(futures_util::stream::iter([
                data("body"),
                hyper::body::Frame::trailers(last),
            ]));
            Response::builder().header("trailer", names).body(body).unwrap()
        })
        .await;
        let world = world_before(&upstream.section(behind, ""), "").await;
        let token = world.token(seed::BAKKEN).await;
        for client in Protocol::BOTH {
            let connection = Connection::open(world.proxy.address(), client).await;
            let parts =
                [data("body"), trailers(&[("x-sum", "1"), ("portvakt-party", "310000701")])];
            let ask = request(&connection, "POST", SUBMIT)
                .header("authorization", format!("Bearer {token}"))
                .header("te", "trailers")
                .header("trailer", "x-sum, portvakt-party")
                .body(frames(futures_util::stream::iter(parts)))
                .unwrap();
            let answer = connection.send(ask).await.unwrap();
            assert_eq!(answer.status(), 200);
            let whole = answer.collect().await.unwrap();
            let seen = whole.trailers().cloned().unwrap_or_default();
            assert_eq!(whole.to_bytes(), "body");
            assert_eq!(
                seen.get("x-checksum").map(http::HeaderValue::as_bytes),
                Some(&b"abc"[..]),
                "{client:?} {behind:?}: {seen:?}"
            );
            assert_eq!(
                seen.get("seen-x-sum").map(http::HeaderValue::as_bytes),
                Some(&b"1"[..]),
                "{client:?} {behind:?}: {seen:?}"
            );
            assert!(!seen.contains_key("seen-portvakt-party"));
            assert!(!seen.contains_key("location"));
        }
    }
}

// ---- Upgrades

fn upgrade(target: &str, token: &str, protocol: &str) -> String {
    let authorization =
        if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    format!(
        "GET {target} HTTP/1.1\r\nHost: a\r\n{authorization}Connection: Upgrade\r\nUpgrade: {protocol}\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// Switches to a protocol that echoes bytes, where it is asked to.
async fn echo() -> Served {
    Served::start(|mut request: Request<Incoming>| async move {
        let Some(protocol) = request.headers().get("upgrade").cloned() else {
            return Response::new(full("no upgrade"));
        };
        tokio::spawn(async move {
            let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.shutdown().await;
        });
        Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", protocol)
            .header("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
            .body(empty())
            .unwrap()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_a_tunnel_after_its_permit() {
    let upstream = echo().await;
    let world = world_before(&upstream.section(Protocol::Http1, ""), "").await;
    let token = world.token(seed::BAKKEN).await;
    let mut client = Wire::connect(world.proxy.address()).await;
    client.send(upgrade(SOCKET, &token, "websocket")).await;
    let head = client.head().await.unwrap();
    assert_eq!(status(&head), 101, "{head}");
    assert_eq!(field(&head, "upgrade"), Some("websocket"));
    assert_eq!(field(&head, "connection").map(str::to_ascii_lowercase).as_deref(), Some("upgrade"));
    assert_eq!(field(&head, "sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    for text in ["first;", "second;"] {
        client.send(text).await;
        assert_eq!(client.until(";").await.as_deref(), Some(text));
    }
    // Bytes that look like a request are bytes.
    client.send(format!("GET {READ} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    assert!(client.head().await.unwrap().starts_with("GET"));
    drop(client);
    let record = world.proxy.audit_records(1).await.remove(0);
    assert_eq!((&record["status"], &record["answer"]), (&json!(101), &json!("permit")), "{record}");
    wait_until("nothing in flight", async || {
        world.proxy.metric("portvakt_requests_in_flight").await.abs() < f64::EPSILON
    })
    .await;
}

/// As [`echo`], where the key is answered as RFC 6455 §4.2.2 has it, or otherwise.
async fn answering_keys(rightly: bool) -> Served {
    Served::start(move |mut request: Request<Incoming>| async move {
        let Some(key) = request.headers().get("sec-websocket-key").cloned() else {
            return Response::new(full("no upgrade"));
        };
        let salt = if rightly { "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" } else { "" };
        let salted = [key.as_bytes(), salt.as_bytes()].concat();
        let digest =
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &salted);
        let accept = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest);
        let host = request.headers().get("host").cloned().unwrap();
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
            .header("sec-websocket-accept", accept)
            .header("x-host", host)
            .body(empty())
            .unwrap()
    })
    .await
}

/// RFC 8441 §4: CONNECT with `:protocol`. The settings of the program must have come.
async fn extended(
    connection: &Connection,
    (target, token, protocol): (&str, &str, &'static str),
) -> Response<Incoming> {
    let mut request = Request::builder()
        .method("CONNECT")
        .uri(format!("https://api.test{target}"))
        .header("sec-websocket-version", "13");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut request = request.body(empty()).unwrap();
    request.extensions_mut().insert(hyper::ext::Protocol::from_static(protocol));
    connection.try_send(request).await.map_err(|(error, _)| error).unwrap()
}

/// A connection of HTTP/2 whose settings have come.
async fn settled(world: &World) -> Connection {
    let connection = Connection::open(world.proxy.address(), Protocol::Http2).await;
    let open = Request::builder().uri("http://api.test/open/x").body(empty()).unwrap();
    connection.try_send(open).await.map_err(|(error, _)| error).unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_over_http2_is_a_tunnel_beside_other_requests() {
    let upstream = answering_keys(true).await;
    let world = world_before(&upstream.section(Protocol::Http1, ""), "").await;
    let token = world.token(seed::BAKKEN).await;
    let connection = settled(&world).await;
    let response = extended(&connection, (SOCKET, &token, "websocket")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-host"], "api.test");
    for gone in ["upgrade", "connection", "sec-websocket-accept"] {
        assert!(!response.headers().contains_key(gone), "{gone}");
    }
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
    let mut echoed = async |text: &str| {
        write.write_all(text.as_bytes()).await.unwrap();
        let mut got = vec![0; text.len()];
        read.read_exact(&mut got).await.unwrap();
        assert_eq!(got, text.as_bytes());
    };
    echoed("first").await;
    let beside = Request::builder()
        .uri(format!("https://api.test{READ}"))
        .header("authorization", format!("Bearer {token}"))
        .body(empty());
    assert_eq!(connection.try_send(beside.unwrap()).await.ok().unwrap().status(), 200);
    let long = "x".repeat(40_000);
    for _ in 0..8 {
        echoed(&long).await;
    }
    drop((read, write));
    let records = world.proxy.audit_records(3).await;
    let tunnel = records.iter().find(|record| record["route"] == "socket").unwrap();
    assert_eq!((&tunnel["status"], &tunnel["method"]), (&json!(200), &json!("GET")), "{tunnel}");
    assert_eq!(tunnel["request_bytes"], json!(320_005));
    wait_until("nothing in flight", async || {
        world.proxy.metric("portvakt_requests_in_flight").await.abs() < f64::EPSILON
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extended_connect_without_a_right_a_route_or_a_websocket_is_none() {
    let upstream = answering_keys(true).await;
    let world = world_before(&upstream.section(Protocol::Http1, ""), "").await;
    let (token, strand) = (world.token(seed::BAKKEN).await, world.token(seed::STRAND).await);
    let connection = settled(&world).await;
    let before = upstream.connections();
    for (target, token, protocol, expected) in [
        (SOCKET, "", "websocket", 401),
        (SOCKET, &strand, "websocket", 403),
        ("/nowhere", &token, "websocket", 404),
        // Let through as a GET, its 200 would be taken for a tunnel.
        (READ, &token, "websocket", 400),
        (SOCKET, &token, "connect-udp", 400),
        ("/v1/parties/../socket", &token, "websocket", 400),
    ] {
        let response = extended(&connection, (target, token, protocol)).await;
        assert_eq!(response.status(), expected, "{target} {protocol}");
        assert!(response.headers().contains_key("content-type"), "a problem, and no tunnel");
    }
    assert_eq!(upstream.connections(), before);
    assert_eq!(extended(&connection, (SOCKET, &token, "websocket")).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_switch_for_our_key_opens_no_tunnel_over_http2() {
    let liar = answering_keys(false).await;
    let world = world_before(&liar.section(Protocol::Http1, ""), "").await;
    let token = world.token(seed::BAKKEN).await;
    let connection = settled(&world).await;
    assert_eq!(extended(&connection, (SOCKET, &token, "websocket")).await.status(), 502);
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 502),
        ("HTTP/1.1 204 No Content\r\n\r\n", 502),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}", 403),
        ("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n", 426),
    ] {
        let upstream = RawUpstream::answering(answer.to_owned()).await;
        let world = world_before(&upstream.section(""), "").await;
        let token = world.token(seed::BAKKEN).await;
        let connection = settled(&world).await;
        let response = extended(&connection, (SOCKET, &token, "websocket")).await;
        assert_eq!(response.status(), expected, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_without_a_right_or_a_route_for_it_is_none() {
    let upstream = echo().await;
    let world = world_before(&upstream.section(Protocol::Http1, ""), "").await;
    let token = world.token(seed::BAKKEN).await;
    let strand = world.token(seed::STRAND).await;
    // Refused: with or without a token, nothing reaches the upstream.
    for (token, expected) in [("", 401), (strand.as_str(), 403)] {
        let mut client = Wire::connect(world.proxy.address()).await;
        client.send(upgrade(SOCKET, token, "websocket")).await;
        let (head, _) = client.message().await.unwrap();
        assert_eq!(status(&head), expected, "{head}");
        assert_eq!(field(&head, "upgrade"), None);
    }
    assert_eq!(upstream.connections(), 0);
    // Ignored: on a route that allows none, or for a protocol that the route does not allow.
    for (target, protocol) in
        [(READ, "websocket"), (SOCKET, "h2c"), (SOCKET, "TLS/1.3"), (READ, "h2c")]
    {
        let mut client = Wire::connect(world.proxy.address()).await;
        client.send(upgrade(target, &token, protocol)).await;
        let (head, body) = client.message().await.unwrap();
        assert_eq!((status(&head), &body[..]), (200, &b"no upgrade"[..]), "{target} {protocol}");
    }
    // Refused: beside other protocols, or beside a body.
    for odd in [
        upgrade(SOCKET, &token, "websocket, h2c"),
        upgrade(SOCKET, &token, "websocket")
            .replace("Sec-WebSocket-Version", "Content-Length: 3\r\nSec-WebSocket-Version"),
    ] {
        let mut client = Wire::connect(world.proxy.address()).await;
        client.send(format!("{odd}abc")).await;
        assert_eq!(status(&client.head().await.unwrap()), 400, "{odd}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_after_an_upgrade_wait_for_the_101() {
    // Notes what comes before it has answered, and answers as told.
    async fn upstream(answer: &'static str) -> (RawUpstream, Arc<Mutex<Vec<u8>>>) {
        let early = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&early);
        let upstream = RawUpstream::start(move |mut wire, _, seen| {
            let kept = Arc::clone(&kept);
            async move {
                while let Some(head) = wire.head().await {
                    seen.note(head);
                    // Whatever was sent behind the head would be here by now, or comes with the rest.
                    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                    kept.lock().unwrap().extend_from_slice(&wire.buffered());
                    if !wire.try_send(answer).await {
                        break;
                    }
                }
            }
        })
        .await;
        (upstream, early)
    }
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let smuggled = format!("GET {READ}?smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    let (behind, early) = upstream(switch).await;
    let world = world_before(&behind.section(""), "").await;
    let token = world.token(seed::BAKKEN).await;
    let mut client = Wire::connect(world.proxy.address()).await;
    client.send(format!("{}{smuggled}", upgrade(SOCKET, &token, "websocket"))).await;
    assert_eq!(status(&client.head().await.unwrap()), 101);
    assert!(early.lock().unwrap().is_empty(), "sent before the 101");
    wait_until("sent after it", async || behind.seen.heads().len() == 2).await;
    // An upstream that declines: what follows is another request of this client, judged as such.
    let (behind, early) = upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
    let world = world_before(&behind.section(""), "").await;
    let token = world.token(seed::BAKKEN).await;
    let mut client = Wire::connect(world.proxy.address()).await;
    client.send(format!("{}{smuggled}", upgrade(SOCKET, &token, "websocket"))).await;
    assert_eq!(status(&client.message().await.unwrap().0), 200);
    if let Some((head, _)) = client.message().await {
        assert_eq!(status(&head), 401);
    }
    assert!(early.lock().unwrap().is_empty());
    assert!(behind.seen.heads().iter().all(|head| !head.contains("smuggled")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_to_another_protocol_than_asked_for_is_502() {
    for other in ["Upgrade: h2c\r\n", "", "Upgrade: websocket, h2c\r\n"] {
        let answer =
            format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n{other}\r\n");
        let upstream = RawUpstream::answering(answer).await;
        let world = world_before(&upstream.section(""), "").await;
        let token = world.token(seed::BAKKEN).await;
        let mut client = Wire::connect(world.proxy.address()).await;
        client.send(upgrade(SOCKET, &token, "websocket")).await;
        let (head, _) = client.message().await.unwrap();
        assert_eq!(status(&head), 502, "{other:?}: {head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_ends_when_either_side_ends_and_at_the_stop() {
    let upstream = echo().await;
    let mut world =
        world_before(&upstream.section(Protocol::Http1, ""), "limits: { drain_timeout: 1s }\n")
            .await;
    let token = world.token(seed::BAKKEN).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut client = Wire::connect(world.proxy.address()).await;
        client.send(upgrade(SOCKET, &token, "websocket")).await;
        assert_eq!(status(&client.head().await.unwrap()), 101);
        client.send("x;").await;
        assert_eq!(client.until(";").await.as_deref(), Some("x;"));
        open.push(client);
    }
    drop(open.pop());
    world.proxy.audit_records(1).await;
    world.proxy.signal("TERM");
    assert_eq!(world.proxy.wait(), Some(0));
    for mut client in open {
        assert!(client.rest().await.is_empty());
    }
    let records = world.proxy.audit_records(3).await;
    assert_eq!(records.len(), 3, "cut tunnels are recorded too");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_is_switched_to_http2_by_an_upgrade() {
    let world = World::start().await;
    let token = world.token(seed::BAKKEN).await;
    let mut client = Wire::connect(world.proxy.address()).await;
    client
        .send(format!(
            "GET {READ} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade, HTTP2-Settings\r\n\
             Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
        ))
        .await;
    let (head, _) = client.message().await.unwrap();
    assert_eq!(status(&head), 200, "{head}");
    let received = world.upstream.last();
    for name in ["upgrade", "http2-settings", "connection"] {
        assert!(received.header(name).is_empty(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_stream_ends_at_the_upstream_and_harms_no_other() {
    let begun = Arc::new(tokio::sync::Notify::new());
    let tell = Arc::clone(&begun);
    for behind in Protocol::BOTH {
        let tell = Arc::clone(&tell);
        let upstream = Served::start(move |request: Request<Incoming>| {
            let tell = Arc::clone(&tell);
            async move {
                if request.uri().path().ends_with("/hang") {
                    tell.notify_one();
                    std::future::pending::<()>().await;
                }
                Response::new(full("{}"))
            }
        })
        .await;
        let world = world_before(&upstream.section(behind, ""), "").await;
        let token = world.token(seed::BAKKEN).await;
        let connection = Connection::open(world.proxy.address(), Protocol::Http2).await;
        let get = |target: &str| {
            let ask = request(&connection, "GET", target)
                .header("authorization", format!("Bearer {token}"));
            (connection.clone(), ask.body(empty()).unwrap())
        };
        let (other, ask) = get("/v1/parties/310000507/returns/hang");
        let hanging =
            tokio::spawn(async move { other.send(ask).await.map(|answer| answer.status()) });
        begun.notified().await;
        hanging.abort();
        let record = world.proxy.audit_records(1).await.remove(0);
        assert_eq!(record["complete"], false, "{record}");
        let (same, ask) = get(READ);
        assert_eq!(
            same.send(ask).await.unwrap().status(),
            200,
            "{behind:?}: the connection lives on"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_streams_than_an_upstream_takes_wait_their_turn() {
    // 300 requests at once over one connection of at most 100 streams, to one upstream connection.
    let upstream = mirror().await;
    let world = world_before(&upstream.section(Protocol::Http2, ""), "").await;
    let token = world.token(seed::BAKKEN).await;
    let connection = Connection::open(world.proxy.address(), Protocol::Http2).await;
    let asks = (0..300).map(|number| {
        let ask = request(&connection, "GET", &format!("/v1/parties/310000507/returns/{number}"))
            .header("authorization", format!("Bearer {token}"));
        let (connection, ask) = (connection.clone(), ask.body(empty()).unwrap());
        async move { connection.send(ask).await.unwrap().status().as_u16() }
    });
    let statuses: Vec<u16> = futures_util::stream::iter(asks).buffer_unordered(300).collect().await;
    assert_eq!(statuses, [200; 300]);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_carries_megabytes_both_ways() {
    let upstream = echo().await;
    let world = world_before(&upstream.section(Protocol::Http1, ""), "").await;
    let token = world.token(seed::BAKKEN).await;
    let mut client = Wire::connect(world.proxy.address()).await;
    client.send(upgrade(SOCKET, &token, "websocket")).await;
    assert_eq!(status(&client.head().await.unwrap()), 101);
    let (mut read, mut write) = client.into_stream().into_split();
    let size = 16 << 20;
    let writing = tokio::spawn(async move {
        write.write_all(&vec![b'x'; size]).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    tokio::time::timeout(LONG, read.read_to_end(&mut got)).await.expect("an end").unwrap();
    writing.await.unwrap();
    assert_eq!(got.len(), size);
    let record = world.proxy.audit_records(1).await.remove(0);
    assert_eq!(record["complete"], true, "{record}");
    assert_eq!((&record["request_bytes"], &record["response_bytes"]), (&json!(size), &json!(size)));
}

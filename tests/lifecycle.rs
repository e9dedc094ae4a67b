//! The program's life: told to stop, and told to read its configuration anew, while requests are under way.

#![allow(
    clippy::expect_used,
    clippy::float_cmp,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do, and counts are whole"
)]

mod support;

use http_body_util::BodyExt;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::http::{Connection, Protocol, empty, request};
use support::wire::{RawUpstream, Wire, field, status, world_before};
use support::{World, seed, wait_until};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

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

/// A second signal, during the wait or during the drain, cuts a tunnel, a request without an answer, and an answer that
/// is not whole.
async fn cut(shutdown: &str) {
    let upstream = RawUpstream::start(|mut wire, _, _| async move {
        let head = wire.head().await.unwrap_or_default();
        if head.contains("/socket") {
            wire.try_send(format!("{SWITCH}\u{1}\u{2}hi")).await;
        } else if head.contains("/half") {
            wire.try_send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await;
        }
        let _ended = wire.until("never").await;
    })
    .await;
    let mut world = world_before(&upstream.section(""), shutdown).await;
    let _tunnel = open_tunnel(&world).await;
    let mut waiting = Wire::connect(world.proxy.address()).await;
    waiting.send("GET /open/none HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut half = Wire::connect(world.proxy.address()).await;
    half.send("GET /open/half HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(half.until("half").await.is_some());
    let in_flight = "portvakt_requests_in_flight";
    wait_until("three", async || world.proxy.metric(in_flight).await == 3.0).await;
    world.proxy.signal("TERM");
    wait_until("not ready", async || world.proxy.admin("/readyz").await.0 == 503).await;
    assert_eq!(world.proxy.metric(in_flight).await, 3.0, "one signal cuts nothing");
    let begun = Instant::now();
    world.proxy.signal("TERM");
    assert_eq!(world.proxy.wait(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let records = world.proxy.audit_records(3).await;
    let told = |shape: &str| {
        let all =
            records.iter().filter(|record| record["template"].as_str().unwrap().contains(shape));
        let told = all.map(|record| (record["status"].as_u64(), record["complete"].as_bool()));
        let mut told: Vec<_> = told.collect();
        told.sort_unstable();
        told
    };
    assert_eq!(told("socket"), [(Some(101), Some(false))]);
    assert_eq!(told("open"), [(None, Some(false)), (Some(200), Some(false))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once_and_what_is_cut_is_recorded() {
    tokio::join!(
        cut("shutdown: { wait: 60s }\n"),
        cut("limits: { drain_timeout: 60s }\nshutdown: { wait: 0s, stream_grace: 60s }\n"),
    );
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

/// The configuration of the world, with one piece of text in the place of another.
fn rewrite(world: &World, from: &str, to: &str) {
    let text = std::fs::read_to_string(world.proxy.config_path()).unwrap();
    assert!(text.contains(from), "{from} is in:\n{text}");
    put(world, &text.replace(from, to));
}

/// As tools do that mean well: whole, or not at all.
fn put(world: &World, text: &str) {
    let path = world.proxy.config_path();
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

async fn reloads(world: &World, result: &str) -> f64 {
    let sample = format!("portvakt_config_reloads_total{{result=\"{result}\"}}");
    world.proxy.metric(&sample).await
}

async fn hang_up(world: &World, result: &str) {
    let before = reloads(world, result).await;
    world.proxy.signal("HUP");
    wait_until(result, async || reloads(world, result).await > before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_change_while_connections_and_what_is_known_stay() {
    let world = World::start_with("confirmations: { no_for: 0s }\n").await;
    let token = world.token(seed::BAKKEN).await;
    let read = "/v1/parties/310000507/returns/7";
    assert_eq!(world.get(read, &token).await.status(), 200);
    wait_until("derived", async || {
        world.get(read, &token).await;
        world.proxy.metric("portvakt_permits_total{basis=\"derived\"}").await > 0.5
    })
    .await;
    let mut connections = Vec::new();
    for protocol in Protocol::BOTH {
        connections.push(Connection::open(world.proxy.address(), protocol).await);
    }
    let on_each = async |target: &str| {
        let mut statuses = Vec::new();
        for connection in &connections {
            let ask = request(connection, "GET", target).body(empty()).unwrap();
            let answer = connection.send(ask).await.expect("the connection is open");
            statuses.push(answer.status().as_u16());
            answer.into_body().collect().await.unwrap();
        }
        statuses
    };
    assert_eq!(on_each("/open/x").await, [200; 2]);
    let asked = world.calls("pdp").await;
    let before = world.proxy.metric("portvakt_config_taken_timestamp_seconds").await;
    assert!(before > 1e9);

    // One route goes, one that asks for another right of another resource comes.
    rewrite(&world, "path: \"/open/*\"", "path: \"/opened/*\"");
    rewrite(
        &world,
        "resource: ske-krav-og-betalinger\n    action: write",
        "resource: ske-krav-og-betalinger\n    action: read",
    );
    wait_until("taken by itself", async || reloads(&world, "taken").await > 0.5).await;
    assert_eq!(on_each("/open/x").await, [404; 2], "on the same connections");
    assert_eq!(on_each("/opened/x").await, [200; 2]);
    assert_eq!(world.get(read, &token).await.status(), 200);
    assert_eq!(world.calls("pdp").await, asked, "what was known is known");
    assert_eq!(world.proxy.metric("portvakt_token_cache_total{result=\"miss\"}").await, 1.0);
    // A party that may read these claims and not write them.
    let strand = world.token(seed::STRAND).await;
    let claims = "/v1/parties/310000604/claims";
    let answer = world.request("POST", claims).bearer_auth(&strand).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    // Back again: the permit for the read right is none for the write right.
    rewrite(
        &world,
        "resource: ske-krav-og-betalinger\n    action: read",
        "resource: ske-krav-og-betalinger\n    action: write",
    );
    hang_up(&world, "taken").await;
    let answer = world.request("POST", claims).bearer_auth(&strand).send().await.unwrap();
    assert_eq!(answer.status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_is_derived_when_its_route_comes_and_comes_back() {
    let world = World::start_with("confirmations: { no_for: 0s }\n").await;
    let token = world.token(seed::BAKKEN).await;
    let (write, read) = ("ske-mva-melding\n    action: write", "ske-mva-melding\n    action: read");
    let other = "ske-mva-melding\n    action: sign";
    // The writing routes ask for another right from now on; both are numbered anew.
    rewrite(&world, write, other);
    hang_up(&world, "taken").await;
    let submit = async || {
        let request = world.request("POST", "/v1/parties/310000507/returns");
        let status = request.bearer_auth(&token).send().await.unwrap().status();
        let count = world.proxy.audit().len();
        (status.as_u16(), world.proxy.audit_records(count.max(1)).await.pop().unwrap())
    };
    assert_eq!(submit().await.0, 403, "nobody holds it");
    rewrite(&world, other, write);
    hang_up(&world, "taken").await;
    wait_until("derived", async || {
        let (status, record) = submit().await;
        assert_eq!(status, 200);
        record["action"] == "write" && record["basis"] == "derived"
    })
    .await;
    rewrite(&world, read, other);
    hang_up(&world, "taken").await;
    assert_eq!(world.get("/v1/parties/310000507/returns/7", &token).await.status(), 403);
    assert_eq!(submit().await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_whole_with_every_reason_and_the_old_one_goes_on() {
    let world = World::start().await;
    let good = std::fs::read_to_string(world.proxy.config_path()).unwrap();
    let wrong = good
        .replace("id: open\n", "id: open\n    nonsense: 1\n")
        .replace("\"/v1/own\"", "\"v1/own\"");
    put(&world, &wrong);
    wait_until("refused", async || reloads(&world, "refused").await > 0.5).await;
    assert_eq!(world.proxy.metric("portvakt_config_refused").await, 1.0);
    let log = world.proxy.log().join("\n");
    assert!(log.contains("the configuration is not taken"), "{log}");
    assert!(log.contains("nonsense") && log.contains("v1/own"), "both reasons: {log}");
    assert!(!log.contains(seed::SUBSCRIPTION_KEY), "no secret");
    assert_eq!(world.request("GET", "/open/x").send().await.unwrap().status(), 200);
    // Two routes that only together cannot be: found when it is built.
    put(&world, &good.replace("\"/v1/own\"", "\"/v1/mine\""));
    hang_up(&world, "refused").await;
    // The same again is told once.
    assert_eq!(world.proxy.metric("portvakt_config_refused").await, 1.0);
    put(&world, &good);
    wait_until("as it was", async || world.proxy.metric("portvakt_config_refused").await < 0.5)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_restart_is_named_and_nothing_else_of_the_file_is_taken() {
    let world = World::start().await;
    rewrite(&world, "path: \"/open/*\"", "path: \"/opened/*\"");
    rewrite(&world, "workers: 2", "workers: 3");
    rewrite(&world, seed::SUBSCRIPTION_KEY, "another-key");
    hang_up(&world, "refused").await;
    let log = world.proxy.log().join("\n");
    assert!(log.contains("these need a restart: listen, altinn"), "{log}");
    assert!(!log.contains("another-key"));
    assert_eq!(world.request("GET", "/opened/x").send().await.unwrap().status(), 404);
    assert_eq!(world.request("GET", "/open/x").send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_route_that_asks_for_a_right_and_the_end_of_the_last_are_named_for_what_they_are()
{
    let route = |id: &str, access: &str| {
        format!("  - id: {id}\n    match: {{ methods: [GET], path: \"/{id}\" }}\n    {access}\n")
    };
    let open = route("open", "access: anonymous");
    let right = "scopes: { all_of: [\"skatteetaten:mva\"] }\n    resource: ske-mva-melding\n    action: read\n    \
                 party: { token: systemuser_org }";
    let right = format!("{open}{}", route("right", right));
    for (before, after, named) in [
        (&open, &right, "these need a restart: a first route that asks for a right\""),
        (&right, &open, "these need a restart: that no route asks for a right any more\""),
    ] {
        let world = World::start_with(&format!("routes:\n{before}")).await;
        rewrite(&world, before, after);
        hang_up(&world, "refused").await;
        let log = world.proxy.log().join("\n");
        assert!(log.contains(named), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_far_too_long_is_refused_and_not_read_to_its_end() {
    let world = World::start().await;
    let (_, before) = world.proxy.memory();
    let path = world.proxy.config_path().with_extension("long");
    std::fs::File::create(&path).unwrap().set_len(1 << 33).unwrap();
    std::fs::rename(path, world.proxy.config_path()).unwrap();
    hang_up(&world, "refused").await;
    assert!(world.proxy.log().join("\n").contains("larger than"));
    let (_, most) = world.proxy.memory();
    assert!(most < before + (64 << 20), "{before} {most}");
    assert_eq!(world.request("GET", "/open/x").send().await.unwrap().status(), 200);
}

/// Of `open(2)`, on Linux.
const O_NONBLOCK: i32 = 0o4000;

/// A pipe with a name.
fn pipe(path: &std::path::Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_out_of_a_pipe_is_read_once() {
    const THROUGH: &str =
        "mkfifo \"$4.pipe\"; cat \"$4\" >\"$4.pipe\" & exec \"$1\" run --config \"$4.pipe\"";
    let mut world = World::start().await;
    let text = std::fs::read_to_string(world.proxy.config_path()).unwrap();
    let key = support::own_key(&world.sandbox).await;
    let under = ["sh", "-c", THROUGH, "sh"];
    world.proxy = support::Proxy::start_under(&under, &text, &[("PROXY_JWK", &key)]);
    world.proxy.wait_until_ready().await;
    world.proxy.signal("HUP");
    let said = || {
        world.proxy.log().iter().filter(|line| line.contains("did not come from a file")).count()
    };
    wait_until("told", async || said() == 1).await;
    assert_eq!(world.request("GET", "/open/x").send().await.unwrap().status(), 200);
    assert_eq!(world.proxy.metric("portvakt_config_refused").await, 0.0);
    world.proxy.signal("TERM");
    assert_eq!(world.proxy.wait(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_holds_up_nothing_but_the_reload() {
    let world = World::start().await;
    let token = world.token(seed::BAKKEN).await;
    let path = world.proxy.config_path().with_extension("pem");
    pipe(&path);
    let url = world.upstream.url();
    let tls = format!("https://localhost:1\", tls: {{ ca_file: {} }}", path.display());
    rewrite(&world, &format!("{url}\""), &tls);
    world.proxy.signal("HUP");
    // Nobody can open it to write before somebody has to read: the reload has come to it.
    let mut opened = None;
    wait_until("it reads", async || {
        let open = std::fs::File::options().write(true).custom_flags(O_NONBLOCK).open(&path);
        opened = open.ok();
        opened.is_some()
    })
    .await;
    for _ in 0..20 {
        assert_eq!(world.proxy.admin("/livez").await.0, 200);
        // A new token asks Maskinporten and Altinn: the control runtime lives.
        assert_eq!(world.get("/v1/parties/310000507/returns/7", &token).await.status(), 200);
    }
    assert_eq!(reloads(&world, "refused").await, 0.0, "it still waits");
    drop(opened);
    wait_until("refused", async || reloads(&world, "refused").await > 0.5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_ends_with_its_route_and_goes_on_when_another_changes() {
    let upstream = one_frame().await;
    let world = world_before(&upstream.section(""), "").await;
    let mut client = open_tunnel(&world).await;
    rewrite(&world, "path: \"/open/*\"", "path: \"/opened/*\"");
    hang_up(&world, "taken").await;
    let mut open = Wire::connect(world.proxy.address()).await;
    open.send("GET /open/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(status(&open.head().await.unwrap()), 404);
    let in_flight = world.proxy.metric("portvakt_requests_in_flight").await;
    assert_eq!(in_flight, 1.0, "the tunnel goes on");
    rewrite(&world, "{party}/socket", "{party}/sockets");
    hang_up(&world, "taken").await;
    let last = client.rest().await;
    assert!(last.ends_with(b"\x88\x0f\x03\xf0route_changed"), "1008: {last:?}");
    let record = wait_record(&world, "lapsed").await;
    assert_eq!(record["reason"], "route_changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_ends_where_a_new_one_would_not_be_opened() {
    let upstream = one_frame().await;
    let world = world_before(&upstream.section(""), "").await;
    let good = std::fs::read_to_string(world.proxy.config_path()).unwrap();
    let narrower = "  - id: narrower\n    match: { methods: [GET], path: \"/v1/parties/310000507/socket\" }\n    \
                    access: anonymous\n  - id: open\n";
    for (from, to) in [("[websocket]", "[other]"), ("  - id: open\n", narrower)] {
        let mut client = open_tunnel(&world).await;
        rewrite(&world, from, to);
        hang_up(&world, "taken").await;
        let last = client.rest().await;
        assert!(last.ends_with(b"\x88\x0f\x03\xf0route_changed"), "{to}: {last:?}");
        put(&world, &good);
        hang_up(&world, "taken").await;
    }
}

async fn wait_record(world: &World, code: &str) -> serde_json::Value {
    let found = || world.proxy.audit().into_iter().find(|record| record["code"] == code);
    wait_until(code, async || found().is_some()).await;
    found().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_limits_and_upstreams_change_and_meters_stay() {
    let limits = "limits: { consumer_rate: { requests: 1, per: 1h, burst: 2 } }\n";
    let world = World::start_with(limits).await;
    let token = world.token(seed::BAKKEN).await;
    let read = "/v1/parties/310000507/returns/7";
    for expected in [200, 200, 429] {
        assert_eq!(world.get(read, &token).await.status(), expected);
    }
    rewrite(&world, "burst: 2 }", "burst: 2 }, target_bytes: 100");
    hang_up(&world, "taken").await;
    assert_eq!(world.get(read, &token).await.status(), 429, "the meter is the same");
    let long = format!("/open/{}", "x".repeat(100));
    assert_eq!(world.request("GET", &long).send().await.unwrap().status(), 414);
    rewrite(&world, "requests: 1, per: 1h, burst: 2", "requests: 1000, per: 1s, burst: 1000");
    hang_up(&world, "taken").await;
    assert_eq!(world.get(read, &token).await.status(), 200);
    let other = support::upstream::Upstream::start().await;
    rewrite(&world, &world.upstream.url(), &other.url());
    hang_up(&world, "taken").await;
    let before = world.upstream.count();
    assert_eq!(world.get(read, &token).await.status(), 200);
    assert_eq!((world.upstream.count(), other.count()), (before, 1));
}

/// What all clients of a load were answered: how many got 200, and what else.
#[derive(Default)]
struct Tally {
    served: AtomicUsize,
    /// First requests of a connection that was reset before they were read: lost in the queue of a listener.
    unread: AtomicUsize,
    others: Mutex<Vec<String>>,
}

impl Tally {
    fn other(&self, what: impl Into<String>) {
        self.others.lock().unwrap().push(what.into());
    }

    /// Every request was answered, once, and well.
    fn assert_nothing_lost(&self, world: &World) {
        assert_eq!(*self.others.lock().unwrap(), Vec::<String>::new());
        assert_eq!(world.upstream.count(), self.served.load(Ordering::Relaxed));
    }
}

/// A client that keeps its connection, and opens another where the first one is ended in good order: by `Connection:
/// close`, or by GOAWAY. Any other end is a request that was lost. It opens where `place` says.
async fn client(
    protocol: Protocol,
    token: String,
    place: impl Fn() -> String,
    tally: Arc<Tally>,
    over: CancellationToken,
) {
    let mut at = place();
    let mut connection = Connection::open(&at, protocol).await;
    let mut first = true;
    while !over.is_cancelled() {
        let moved = place() != at && protocol == Protocol::Http2;
        let ask = request(&connection, "GET", "/v1/parties/310000507/returns/7")
            .header("authorization", format!("Bearer {token}"))
            .body(empty())
            .unwrap();
        let again = if moved {
            true
        } else {
            match connection.try_send(ask).await {
                Ok(answer) => {
                    let status = answer.status();
                    let close = answer.headers().contains_key("connection");
                    match answer.into_body().collect().await {
                        Ok(_) if status == 200 => {
                            tally.served.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(_) => tally.other(status.to_string()),
                        Err(error) => tally.other(format!("{error:?}")),
                    }
                    close
                }
                // It heard GOAWAY before it had sent anything.
                Err((_, Some(_))) if protocol == Protocol::Http2 && !first => true,
                // It heard it a moment later. What GOAWAY leaves out is asked again by every client (RFC 9113 §6.8);
                // had it been taken all the same, the upstream's count would tell.
                Err((error, None)) if is_go_away(&error) && !first => true,
                Err(_) if first => {
                    tally.unread.fetch_add(1, Ordering::Relaxed);
                    true
                }
                Err((error, _)) => {
                    tally.other(format!("{protocol:?}: {error:?}"));
                    true
                }
            }
        };
        first = again;
        if again {
            at = place();
            connection = Connection::open(&at, protocol).await;
        }
    }
}

/// Whether the other side said in good order that it takes no more. The library tells it in words alone.
fn is_go_away(error: &hyper::Error) -> bool {
    format!("{error:?}").contains("GoAway(b\"\", NO_ERROR, Remote)")
}

fn clients(
    token: &str,
    place: impl Fn() -> String + Clone + Send + Sync + 'static,
) -> (JoinSet<()>, Arc<Tally>, CancellationToken) {
    let (tally, over) = (Arc::new(Tally::default()), CancellationToken::new());
    let mut all = JoinSet::new();
    for number in 0..16 {
        let protocol = Protocol::BOTH[number % 2];
        let (tally, over) = (Arc::clone(&tally), over.clone());
        all.spawn(client(protocol, token.to_owned(), place.clone(), tally, over));
    }
    (all, tally, over)
}

async fn served(tally: &Tally, more: usize) {
    let before = tally.served.load(Ordering::Relaxed);
    wait_until("load", async || tally.served.load(Ordering::Relaxed) >= before + more).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_under_load_lose_no_request() {
    let world = World::start().await;
    let (token, address) = (world.token(seed::BAKKEN).await, world.proxy.address().to_owned());
    let (mut all, tally, over) = clients(&token, move || address.clone());
    served(&tally, 200).await;
    let connections = world.proxy.metric("portvakt_connections").await;
    for round in 0..12 {
        // Every second one is refused; the others change routes, bounds and the upstream itself.
        let (from, to, result) = match round % 4 {
            0 => ("\"/open/*\"", "\"/opened/*\"", "taken"),
            1 => ("\"/opened/*\"", "\"opened/*\"", "refused"),
            2 => ("\"opened/*\"", "\"/opened/*\"", "taken"),
            _ => ("\"/opened/*\"", "\"/open/*\"", "taken"),
        };
        rewrite(&world, from, to);
        if round == 6 {
            rewrite(&world, "upstream: {", "upstream: { connect_timeout: 2s,");
        }
        hang_up(&world, result).await;
        served(&tally, 100).await;
    }
    // And once without being told.
    let before = reloads(&world, "taken").await;
    rewrite(&world, "\"/open/*\"", "\"/opened/*\"");
    wait_until("taken by itself", async || reloads(&world, "taken").await > before).await;
    served(&tally, 100).await;
    assert_eq!(world.proxy.metric("portvakt_connections").await, connections, "none was closed");
    over.cancel();
    while all.join_next().await.is_some() {}
    tally.assert_nothing_lost(&world);
    assert_eq!(tally.unread.load(Ordering::Relaxed), 0);
    let served = tally.served.load(Ordering::Relaxed);
    let records = world.proxy.audit_records(served).await;
    assert_eq!(records.len(), served);
    assert!(records.iter().all(|record| record["complete"] == true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_under_load_loses_no_request() {
    let mut world = World::start_with("shutdown: { wait: 2s }\n").await;
    let token = world.token(seed::BAKKEN).await;
    let place = Arc::new(Mutex::new(world.proxy.address().to_owned()));
    let at = Arc::clone(&place);
    let (mut all, tally, over) = clients(&token, move || at.lock().unwrap().clone());
    served(&tally, 200).await;
    for _ in 0..2 {
        // The successor is there and ready before its predecessor is told to go, as in a rolling update.
        let text = std::fs::read_to_string(world.proxy.config_path()).unwrap();
        let key = support::own_key(&world.sandbox).await;
        let next = support::Proxy::start(&text, &[("PROXY_JWK", &key)]);
        next.wait_until_ready().await;
        let mut old = std::mem::replace(&mut world.proxy, next);
        old.signal("TERM");
        wait_until("not ready", async || old.admin("/readyz").await.0 == 503).await;
        // Whoever balances load has heard of it by now.
        world.proxy.address().clone_into(&mut place.lock().unwrap());
        assert_eq!(old.wait(), Some(0));
        served(&tally, 200).await;
        let records = old.audit();
        assert!(records.iter().all(|record| record["complete"] == true && record["status"] == 200));
    }
    over.cancel();
    while all.join_next().await.is_some() {}
    tally.assert_nothing_lost(&world);
    assert_eq!(tally.unread.load(Ordering::Relaxed), 0);
}

/// A successor beside `world`'s program, on the configuration that `text` is.
async fn successor(world: &World, under: &[&str], text: &str) -> support::Proxy {
    let key = support::own_key(&world.sandbox).await;
    let next = support::Proxy::start_under(under, text, &[("PROXY_JWK", &key)]);
    next.wait_until_ready().await;
    next
}

fn ended_well(old: &mut support::Proxy) {
    assert_eq!(old.wait(), Some(0));
    let mut records = old.audit();
    assert!(!records.is_empty());
    records.retain(|record| record["complete"] != true || record["status"] != 200);
    assert_eq!(records, Vec::<serde_json::Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_on_the_same_port_takes_over_under_load() {
    const ROUNDS: usize = 3;
    let mut world = World::start_with("shutdown: { wait: 500ms }\n").await;
    let token = world.token(seed::BAKKEN).await;
    let address = world.proxy.address().to_owned();
    let text = std::fs::read_to_string(world.proxy.config_path()).unwrap();
    let text = text.replacen("127.0.0.1:0", &address, 1);
    let place = address.clone();
    let (mut all, tally, over) = clients(&token, move || place.clone());
    served(&tally, 200).await;
    for _ in 0..ROUNDS {
        let next = successor(&world, &[], &text).await;
        assert_eq!(next.address(), address);
        let mut old = std::mem::replace(&mut world.proxy, next);
        old.signal("TERM");
        ended_well(&mut old);
        served(&tally, 200).await;
    }
    over.cancel();
    while all.join_next().await.is_some() {}
    tally.assert_nothing_lost(&world);
    // What connects within the microseconds between the last look at a queue and its end is reset by the system
    // before anything of it is read: seldom, and never more than one of each listener here.
    let unread = tally.unread.load(Ordering::Relaxed);
    assert!(unread <= 2 * ROUNDS, "{unread}");
}

/// Keeps a listener, as a service manager does, and gives it to whoever asks at a path.
const HOLD: &str = "import socket, sys
given = socket.socket()
given.bind(('127.0.0.1', 0))
given.listen(4096)
way = socket.socket(socket.AF_UNIX)
way.bind(sys.argv[1])
way.listen()
while True:
    peer, _ = way.accept()
    socket.send_fds(peer, [b'x'], [given.fileno()])";

/// Asks for it, and runs what is behind it with it.
const TAKE: &str = "import os, socket, sys
way = socket.socket(socket.AF_UNIX)
way.connect(sys.argv[1])
_, [given], _, _ = socket.recv_fds(way, 1, 1)
if given != 3:
    os.dup2(given, 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])";

struct Holder(std::process::Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_on_a_socket_that_was_given_loses_nothing_even_while_nobody_runs() {
    let Some(python) = support::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let way = folder.path().join("way");
    let held = std::process::Command::new(&python).args(["-c", HOLD]).arg(&way).spawn();
    let _holder = Holder(held.unwrap());
    wait_until("held", async || way.exists()).await;
    let mut world = World::start_with("shutdown: { wait: 500ms }\n").await;
    let token = world.token(seed::BAKKEN).await;
    let text = std::fs::read_to_string(world.proxy.config_path()).unwrap();
    let under = [python.to_str().unwrap(), "-c", TAKE, way.to_str().unwrap()];
    world.proxy = successor(&world, &under, &text).await;
    let address = world.proxy.address().to_owned();
    let place = address.clone();
    let (mut all, tally, over) = clients(&token, move || place.clone());
    served(&tally, 200).await;
    for overlap in [true, false, true, false] {
        let early = if overlap { Some(successor(&world, &under, &text).await) } else { None };
        world.proxy.signal("TERM");
        ended_well(&mut world.proxy);
        world.proxy = match early {
            Some(next) => next,
            None => successor(&world, &under, &text).await,
        };
        assert_eq!(world.proxy.address(), address);
        served(&tally, 200).await;
    }
    over.cancel();
    while all.join_next().await.is_some() {}
    tally.assert_nothing_lost(&world);
    assert_eq!(tally.unread.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_is_told_of_each_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = tokio::net::UnixDatagram::bind(&path).unwrap();
    let said = async |what: &str| {
        let mut buffer = [0; 64];
        let heard = async {
            loop {
                let length = manager.recv(&mut buffer).await.unwrap();
                if buffer[..length] == *what.as_bytes() {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), heard).await.expect(what);
    };
    let world = World::start().await;
    let text = std::fs::read_to_string(world.proxy.config_path()).unwrap();
    let key = support::own_key(&world.sandbox).await;
    let variables = [
        ("PROXY_JWK", key.as_str()),
        ("NOTIFY_SOCKET", path.to_str().unwrap()),
        ("WATCHDOG_USEC", "2000000"),
    ];
    let mut proxy = support::Proxy::start(&text, &variables);
    said("READY=1").await;
    for _ in 0..3 {
        said("WATCHDOG=1").await;
    }
    proxy.signal("HUP");
    said("RELOADING=1").await;
    said("READY=1").await;
    proxy.signal("TERM");
    said("STOPPING=1").await;
    assert_eq!(proxy.wait(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_tried_again_until_it_serves_and_told_of_once() {
    let folder = tempfile::tempdir().unwrap();
    let manager = std::os::unix::net::UnixDatagram::bind(folder.path().join("notify")).unwrap();
    manager.set_nonblocking(true).unwrap();
    let mut world = World::start().await;
    let text = std::fs::read_to_string(world.proxy.config_path()).unwrap();
    let key = support::own_key(&world.sandbox).await;
    let path = folder.path().join("notify");
    let variables = [("PROXY_JWK", key.as_str()), ("NOTIFY_SOCKET", path.to_str().unwrap())];
    world.proxy = support::Proxy::start(&text, &variables);
    world.proxy.wait_until_ready().await;
    // It names a secret that is not there yet.
    let secret = folder.path().join("jwk");
    rewrite(&world, "key_env: PROXY_JWK", &format!("key_file: {}", secret.display()));
    wait_until("refused", async || reloads(&world, "refused").await > 0.5).await;
    std::fs::write(&secret, &key).unwrap();
    wait_until("taken", async || reloads(&world, "taken").await > 0.5).await;
    assert_eq!(reloads(&world, "refused").await, 1.0);
    let mut told = Vec::new();
    let mut buffer = [0; 64];
    while let Ok(length) = manager.recv(&mut buffer) {
        told.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
    }
    assert_eq!(told, ["READY=1", "RELOADING=1", "READY=1"]);
}

/// Opens a socket, and runs what is behind it with it as a service manager does.
const GIVE: &str = "import os, socket, sys
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
given = socket.socket(family)
given.bind((sys.argv[1], 0))
given.listen()
os.dup2(given.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])";

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_was_given_is_listened_on_by_every_worker() {
    let Some(python) = support::python() else { return };
    let world = World::start().await;
    let text = std::fs::read_to_string(world.proxy.config_path()).unwrap();
    let key = support::own_key(&world.sandbox).await;
    let under = [python.to_str().unwrap(), "-c", GIVE, "127.0.0.1"];
    let mut proxy = support::Proxy::start_under(&under, &text, &[("PROXY_JWK", &key)]);
    proxy.wait_until_ready().await;
    let sockets = std::fs::read_dir(format!("/proc/{}/fd", proxy.id())).unwrap();
    let links = sockets.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    let links: Vec<_> = links.map(|link| link.display().to_string()).collect();
    let given = std::fs::read_link(format!("/proc/{}/fd/3", proxy.id()));
    let given = given.map(|link| link.display().to_string()).unwrap_or_default();
    assert!(given.starts_with("socket:"), "{given}");
    assert_eq!(links.iter().filter(|link| **link == given).count(), 2, "one for each worker");
    for _ in 0..20 {
        let answer = reqwest::get(format!("{}/open/x", proxy.url())).await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    proxy.signal("TERM");
    assert_eq!(proxy.wait(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_at_another_address_than_the_configuration_has_is_refused() {
    let Some(python) = support::python() else { return };
    let world = World::start().await;
    let path = world.proxy.config_path();
    let key = support::own_key(&world.sandbox).await;
    let output = std::process::Command::new(python)
        .args(["-c", GIVE, "::1", env!("CARGO_BIN_EXE_portvakt"), "run", "--config"])
        .arg(&path)
        .env("PROXY_JWK", key)
        .output()
        .unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("the socket that was given listens on [::1]:"), "{log}");
}

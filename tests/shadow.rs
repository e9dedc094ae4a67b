//! Routes in shadow, over the real program: what a route would refuse is let through as it came, without a word of ours,
//! and recorded as that; what is refused whatever a route demands stays refused; and `audit report` counts what was done.
//!
//! Each case goes to a route in shadow below `/s`, and to its neighbour below `/v1`, which differs in nothing but that it
//! is enforced.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::float_cmp,
    reason = "a test that cannot go on fails, and counts are whole"
)]

mod support;

use bytes::Bytes;
use futures_util::stream;
use portvakt_sandbox::{Sandbox, SandboxOptions};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::http::{Connection, Protocol, Served, data, empty, frames, request};
use support::raw::{self, Answer, Ask};
use support::upstream::Upstream;
use support::wire::{Wire, status};
use support::{Proxy, World, config, own_key, seed, wait_until};

/// The usual routes, and each of them that asks for a token once more in shadow: `/v1/mine` is `/s/mine`, and its route
/// `s-mine`.
fn routes() -> String {
    let of_shadow = |route: &&str| route.starts_with("id: ") && !route.starts_with("id: open");
    let shadow = |route: &str| {
        let route = route.trim_end().replacen("id: ", "id: s-", 1).replace("/v1/", "/s/");
        format!("  - {route}\n    enforcement: shadow\n")
    };
    let all = support::ROUTES.split("\n  - ").filter(of_shadow).map(shadow);
    format!("routes:{}\n{}", support::ROUTES.trim_end(), all.collect::<String>())
}

/// Asks for every request, so that no case lives on the answer to another; small bounds.
const BOUNDS: &str = "\
confirmations: { no_for: 0s }
freshness: { read: { max_age: 0s }, write: { max_age: 0s } }
limits: { target_bytes: 256, header_bytes: 8KiB, header_count: 20, body_bytes: 4KiB, party_body_bytes: 1KiB, body_idle_timeout: 500ms, shadow_wait: 300ms }
altinn: { subscription_key: sandbox-subscription-key, requests_per_second: 1000, budget: 8s, attempt_timeout: 8s, circuit_failures: 1000 }
";

struct Bench {
    world: World,
    asked: AtomicUsize,
}

impl Bench {
    async fn start() -> Self {
        Self::of(World::start_with(&format!("{BOUNDS}{}", routes())).await)
    }

    fn of(world: World) -> Self {
        Self { world, asked: AtomicUsize::new(0) }
    }

    /// Sends a request, and gives the answer and its record.
    async fn send(&self, ask: Ask) -> (Answer, Value) {
        let trace = format!("{:032x}", self.asked.fetch_add(1, Ordering::Relaxed) + 1);
        let ask = ask.header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"));
        let answer = self.world.ask(&ask).await;
        let find = || self.world.proxy.audit_record(&trace);
        wait_until("the audit record", async || find().is_some()).await;
        (answer, find().unwrap())
    }

    async fn shadowed(&self, route: &str, code: &str) -> f64 {
        let sample = format!("portvakt_shadow_refusals_total{{code=\"{code}\",route=\"{route}\"}}");
        self.world.proxy.metric(&sample).await
    }

    /// The case on the enforced route: refused, nothing forwarded, and no word of shadow.
    async fn refused(&self, case: &Case) {
        let forwarded = self.world.upstream.count();
        let (answer, record) = self.send(case.ask("/v1")).await;
        let told = format!("{}, enforced: {record}", case.why);
        assert_eq!(
            (answer.status, self.world.upstream.count()),
            (case.status, forwarded),
            "{told}"
        );
        assert_eq!(
            (&record["code"], &record["reason"]),
            (&case.code.into(), &case.reason()),
            "{told}"
        );
        assert_ne!(record["answer"], "shadow", "{told}");
        assert_unshadowed(&record);
        assert_eq!(record["enforcement"], Value::Null, "{told}");
    }

    /// The case in shadow: it comes out at the upstream as it came, with nothing of ours, and is recorded and counted as
    /// what it would have been.
    async fn let_through(&self, case: &Case) {
        let route = format!("s-{}", case.route);
        let (forwarded, counted) =
            (self.world.upstream.count(), self.shadowed(&route, case.code).await);
        let ask = case.ask("/s");
        // What a client made up is taken away, here as ever.
        let forged =
            ask.clone().header("Portvakt-Party", seed::BAKKEN).header("portvakt_answer", "permit");
        let (answer, record) = self.send(forged).await;
        let told = format!("{}, in shadow: {} {record}", case.why, answer.text());
        assert_eq!((answer.status, self.world.upstream.count()), (200, forwarded + 1), "{told}");
        let received = self.world.upstream.last();
        let ours = received.headers.iter().filter(|(name, _)| name.starts_with("portvakt"));
        assert_eq!(ours.count(), 0, "{told}: {received:?}");
        assert_eq!(
            (&received.method, &received.target),
            (&ask.method().to_owned(), &case.target("/s")),
            "{told}"
        );
        assert_eq!(received.header("authorization"), case.authorization(), "{told}");
        assert_eq!(received.body, case.body, "{told}");

        let outcome = ["answer", "code", "reason", "enforcement", "shadow_code", "shadow_reason"];
        let outcome = outcome.map(|field| record[field].clone());
        let expected = [
            json!("shadow"),
            json!("none"),
            Value::Null,
            json!("shadow"),
            json!(case.code),
            case.reason(),
        ];
        assert_eq!(outcome, expected, "{told}");
        let (of, status) = (record["route"].clone(), record["status"].clone());
        assert_eq!(
            (of, status, &record["complete"]),
            (json!(route), json!(200), &json!(true)),
            "{told}"
        );
        assert_eq!(record["source"], Value::Null, "no permit: {told}");
        assert_eq!(self.shadowed(&route, case.code).await, counted + 1.0, "{told}");
    }

    async fn run(&self, case: &Case) {
        if let Some(fault) = &case.fault {
            self.world.fault("pdp", fault.clone()).await;
        }
        self.refused(case).await;
        self.let_through(case).await;
        self.world.heal().await;
    }
}

/// A request that its route refuses.
struct Case {
    why: &'static str,
    route: &'static str,
    status: u16,
    code: &'static str,
    reason: Option<&'static str>,
    method: &'static str,
    /// Below `/v1` or `/s`.
    target: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    fault: Option<Value>,
}

impl Case {
    fn reason(&self) -> Value {
        self.reason.map_or(Value::Null, Value::from)
    }

    fn target(&self, below: &str) -> String {
        format!("{below}{}", self.target)
    }

    fn authorization(&self) -> Vec<&str> {
        let own = self.headers.iter().filter(|(name, _)| *name == "Authorization");
        own.map(|(_, value)| value.as_str()).collect()
    }

    fn ask(&self, below: &str) -> Ask {
        let ask = Ask::new(self.method, &self.target(below));
        let ask = self.headers.iter().fold(ask, |ask, (name, value)| ask.header(name, value));
        if self.body.is_empty() { ask } else { ask.body(std::str::from_utf8(&self.body).unwrap()) }
    }

    fn of(mut self, status: u16, code: &'static str, reason: Option<&'static str>) -> Self {
        (self.status, self.code, self.reason) = (status, code, reason);
        self
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    fn fault(mut self, fault: Value) -> Self {
        self.fault = Some(fault);
        self
    }
}

fn case(why: &'static str, route: &'static str, method: &'static str, target: &str) -> Case {
    let (target, body) = (target.to_owned(), Bytes::new());
    let (status, code, reason, fault) = (0, "", None, None);
    Case { why, route, status, code, reason, method, target, headers: Vec::new(), body, fault }
}

fn assert_unshadowed(record: &Value) {
    assert_eq!((&record["shadow_code"], &record["shadow_reason"]), (&Value::Null, &Value::Null));
}

async fn token(world: &World, client: &str, owner: &str, claims: Value) -> String {
    let wish = json!({
        "client_id": client, "scope": "skatteetaten:mva skatteetaten:kravogbetalinger",
        "systemuser_org": owner, "lifetime_seconds": 600, "claims_override": claims,
    });
    world.token_with(wish).await
}

const READ: &str = "/parties/310000507/returns/7";

/// No token, or one that is not good here.
async fn tokens(world: &World, good: &str) -> Vec<Case> {
    let read = |why| case(why, "read", "GET", READ);
    let expired = json!({
        "client_id": seed::NORDLYS, "scope": "skatteetaten:mva", "systemuser_org": seed::BAKKEN,
        "lifetime_seconds": -60,
    });
    let expired = world.token_with(expired).await;
    let claiming = async |claims| token(world, seed::NORDLYS, seed::BAKKEN, claims).await;
    let other = claiming(json!({ "aud": "https://other.example.test" })).await;
    let narrow = claiming(json!({ "scope": "skatteetaten:mvax" })).await;
    let enterprise =
        json!({ "client_id": seed::NORDLYS, "scope": "skatteetaten:mva", "lifetime_seconds": 600 });
    let enterprise = world.token_with(enterprise).await;
    let (unsigned, _) = good.rsplit_once('.').unwrap();
    let missing = |case: Case| case.of(401, "token_missing", None);
    let invalid = |case: Case, reason| case.of(401, "token_invalid", Some(reason));
    let scope = |case: Case| case.of(403, "insufficient_scope", None);
    vec![
        missing(read("no token")),
        missing(read("another scheme").header("Authorization", "Basic eDp5")),
        missing(case("no token, a body on its way", "form", "POST", "/form").body("party=x")),
        missing(case("no token where no right is asked for", "scopes-only", "GET", "/scopes")),
        invalid(read("garbage").bearer("a.b.c"), "header"),
        invalid(read("a signature of nobody").bearer(&format!("{unsigned}.AAAA")), "signature"),
        invalid(read("it has expired").bearer(&expired), "expired"),
        invalid(read("for another service").bearer(&other), "audience"),
        scope(read("without the scope").bearer(&narrow)),
        scope(case("without any of them", "scopes-only", "GET", "/scopes").bearer(&narrow)),
        read("no system user").bearer(&enterprise).of(403, "system_user_required", None),
    ]
}

/// A party that is not told for certain.
fn parties(good: &str) -> Vec<Case> {
    let party = |case: Case, reason| case.bearer(good).of(400, "party_invalid", Some(reason));
    let json = |why, body: &str| {
        case(why, "json", "POST", "/json/310000507")
            .header("Content-Type", "application/json")
            .body(body.to_owned())
    };
    let form = |why| {
        case(why, "form", "POST", "/form")
            .header("Content-Type", "application/x-www-form-urlencoded")
    };
    let twice = "/returns?party=310000507&party=310000604";
    vec![
        party(case("no party", "list", "GET", "/returns"), "party_missing"),
        party(
            case("a wrong number", "read", "GET", "/parties/310000508/returns/7"),
            "party_invalid",
        ),
        party(case("two in the query", "list", "GET", twice), "party_ambiguous"),
        party(
            case("another spelling beside it", "mine", "GET", "/mine")
                .header("X-Party-Org", "310000507")
                .header("x_party_org", "310000604"),
            "party_ambiguous",
        ),
        party(json("another in the body", r#"{"data":{"party":"310000604"}}"#), "party_conflict"),
        party(json("no JSON at all", "{"), "body"),
        party(json("encoded", "{}").header("Content-Encoding", "gzip"), "content_encoding"),
        party(form("twice in a form").body("party=310000507&party=310000507"), "party_ambiguous"),
        party(
            case("no kind of body", "form", "POST", "/form").body("party=310000507"),
            "media_type",
        ),
        json("too long to look for it", &format!("{:1025}", "{}")).bearer(good).of(
            413,
            "body_too_large",
            Some("body_bytes"),
        ),
    ]
}

/// Rights that are not held, or cannot be told.
async fn rights(world: &World, good: &str) -> Vec<Case> {
    let read = |why| case(why, "read", "GET", READ);
    let nobody = token(world, seed::BREKKE, seed::BAKKEN, json!({})).await;
    let reader = token(world, seed::NORDLYS, seed::STRAND, json!({})).await;
    let none = |case: Case| case.of(403, "no_right", None);
    let denied = |case: Case, reason| case.bearer(good).of(403, "denied", Some(reason));
    let unknown = |why, reason, fault| {
        read(why).bearer(good).of(503, "cannot_decide", Some(reason)).fault(fault)
    };
    vec![
        none(read("a system user without rights").bearer(&nobody)),
        none(case("another party", "read", "GET", "/parties/310000604/returns/7").bearer(good)),
        none(
            case("another action", "claims-write", "POST", "/parties/310000604/claims")
                .bearer(&reader)
                .body("{\"whole\": true}"),
        ),
        denied(case("a rule", "denied", "PUT", "/parties/310000507/archive"), "policy"),
        denied(case("level 4", "level-four", "GET", "/parties/310000507/shielded"), "level"),
        unknown("Indeterminate", "indeterminate", json!({ "decision": "Indeterminate" })),
        unknown("Altinn is ill", "error_status", json!({ "status": 503 })),
        unknown("Altinn is away", "unreachable", json!({ "close": true })),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_route_would_refuse_goes_through_in_shadow_as_it_came_and_unknown() {
    let bench = Bench::start().await;
    let good = token(&bench.world, seed::NORDLYS, seed::BAKKEN, json!({})).await;
    let mut cases = tokens(&bench.world, &good).await;
    cases.extend(parties(&good));
    cases.extend(rights(&bench.world, &good).await);
    for case in &cases {
        bench.run(case).await;
    }
    // All that is judged alike is told alike.
    for below in ["/v1", "/s"] {
        let (answer, record) = bench.send(Ask::get(&format!("{below}{READ}")).bearer(&good)).await;
        assert_eq!((answer.status, &record["answer"]), (200, &json!("permit")), "{record}");
        assert_eq!(record["system_user"], seed::BAKKEN_USER, "{record}");
        assert_unshadowed(&record);
        let shadow = if below == "/s" { json!("shadow") } else { Value::Null };
        assert_eq!(record["enforcement"], shadow, "{record}");
        let received = bench.world.upstream.last();
        assert_eq!(received.header("portvakt-answer"), ["permit"], "who holds the right is known");
        assert_eq!(received.header("portvakt-system-user"), [seed::BAKKEN_USER]);
    }
    let log = bench.world.proxy.log().join("\n");
    assert!(log.contains("in shadow, and open to everybody: `s-submit`, `s-read`"), "{log}");
    let in_shadow = async |route: &str| {
        bench.world.proxy.metric(&format!("portvakt_route_in_shadow{{route=\"{route}\"}}")).await
    };
    assert_eq!((in_shadow("s-read").await, in_shadow("read").await), (1.0, 0.0));
    let (_, refusals) = bench.world.proxy.admin("/refusals").await;
    assert!(!refusals.contains("\"s-"), "nobody was refused there: {refusals}");
    reported(&bench.world.proxy, &cases);
}

/// Code and reason.
type Kind = (String, String);

/// What the report says of the requests of [`Bench::run`], and of one permit.
fn reported(proxy: &Proxy, cases: &[Case]) {
    let lines: Vec<String> = proxy.audit().iter().map(Value::to_string).collect();
    let ran = report(&["--json"], &lines.join("\n"));
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(report["requests"], lines.len(), "{report}");
    let mut expected: BTreeMap<String, BTreeMap<Kind, u64>> = BTreeMap::new();
    for case in cases {
        let route = expected.entry(format!("s-{}", case.route)).or_default();
        *route.entry((case.code.to_owned(), case.reason().to_string())).or_default() += 1;
    }
    for (route, kinds) in &expected {
        let routes = report["routes"].as_array().unwrap();
        let found = routes.iter().find(|it| it["route"] == route.as_str()).unwrap();
        let permits = u64::from(route == "s-read");
        let refused: u64 = kinds.values().sum();
        assert_eq!(found["would_be_refused"], refused, "{found}");
        assert_eq!(
            (&found["requests"], &found["in_shadow"]),
            (&json!(refused + permits), &json!(refused + permits))
        );
        let mut told = BTreeMap::new();
        for refusal in found["refusals"].as_array().unwrap() {
            let code = refusal["code"].as_str().unwrap().to_owned();
            let kind = (code, refusal["reason"].to_string());
            *told.entry(kind).or_insert(0) += refusal["would_be_refused"].as_u64().unwrap();
            let known =
                !matches!(refusal["code"].as_str(), Some("token_missing" | "token_invalid"));
            assert_eq!(refusal["vendor"].is_string(), known, "{refusal}");
        }
        assert_eq!(&told, kinds, "{found}");
    }
    let enforced = report["routes"].as_array().unwrap().iter();
    let enforced = enforced.filter(|it| !it["route"].as_str().unwrap().starts_with("s-"));
    assert!(enforced.clone().count() > 5 && enforced.clone().all(|it| it["would_be_refused"] == 0));
}

/// Runs `audit report` over a log.
fn report(arguments: &[&str], log: &str) -> Output {
    portvakt(&[&["audit", "report"], arguments].concat(), log)
}

fn portvakt(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portvakt"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let input = input.to_owned();
    // Both pipes at once: neither may fill while nobody reads the other.
    let writing = std::thread::spawn(move || drop(pipe.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_whatever_a_route_demands_stays_refused_in_shadow() {
    let bench = Bench::start().await;
    let good = token(&bench.world, seed::NORDLYS, seed::BAKKEN, json!({})).await;
    let read = format!("/s{READ}");
    let get = || Ask::get(&read);
    let json = || {
        let ask = Ask::new("POST", "/s/json/310000507").bearer(&good);
        ask.header("Content-Type", "application/json")
    };
    let chunked = |body: &str| json().header("Transfer-Encoding", "chunked").bytes(body);
    let socket = get_socket("/s").header("Connection", "upgrade").header("Upgrade", "websocket");
    let fields = (0..20).fold(get(), |ask, n| ask.header(&format!("x-{n}"), ""));
    for (why, status, code, ask) in [
        ("a way to an enforced route", 400, "bad_request", Ask::get("/s/../v1/mine")),
        ("the same, encoded", 400, "bad_request", Ask::get("/s/%2e%2e/v1/mine")),
        ("an encoded slash", 400, "bad_request", Ask::get("/s/parties/31%2f0/returns/7")),
        ("a doubled slash", 400, "bad_request", Ask::get("/s//mine")),
        ("another spelling of the path", 404, "no_route", Ask::get("/S/mine")),
        ("no route", 404, "no_route", Ask::get("/s/unknown")),
        ("no method of the route", 404, "no_route", Ask::new("DELETE", &read)),
        ("two identities", 400, "bad_request", get().bearer(&good).bearer("a.b.c")),
        ("two hosts", 400, "bad_request", get().header("Host", "a").header("Host", "b")),
        ("TRACE", 400, "bad_request", Ask::new("TRACE", &read)),
        (
            "chunked twice",
            400,
            "bad_request",
            get().header("Transfer-Encoding", "chunked, chunked").bytes("0\r\n\r\n"),
        ),
        (
            "a bad chunk where the party is sought",
            400,
            "bad_request",
            chunked("2\r\n{}\r\n0x2\r\n{}\r\n0\r\n\r\n"),
        ),
        (
            "a body that stops there",
            408,
            "request_timeout",
            json().header("Content-Length", "50").bytes("{"),
        ),
        ("a body over the bound of all", 413, "body_too_large", get().body(&"b".repeat(4097))),
        ("a long target", 414, "target_too_long", Ask::get(&format!("/s/{}", "a".repeat(256)))),
        ("many fields", 431, "headers_too_large", fields),
        ("wide fields", 431, "headers_too_large", get().header("x-wide", &"v".repeat(8192))),
        (
            "a malformed wish",
            400,
            "bad_request",
            get().bearer(&good).header("Portvakt-Max-Age", "soon"),
        ),
        (
            "an upgrade with a body, granted",
            400,
            "bad_request",
            socket.clone().bearer(&good).body("x"),
        ),
        ("an upgrade with a body, in shadow", 400, "bad_request", socket.body("x")),
    ] {
        let (answer, record) = bench.send(ask).await;
        assert_eq!((answer.status, &record["code"]), (status, &json!(code)), "{why}: {record}");
        assert_eq!(bench.world.upstream.count(), 0, "{why}: {record}");
        let through = record["answer"] == "shadow";
        assert_eq!(through, why == "an upgrade with a body, in shadow", "{why}: {record}");
        assert_eq!(record["shadow_code"].is_string(), through, "{why}: {record}");
    }
}

/// RFC 8441 §4, on a connection whose settings have come; the status, and the record.
async fn extended(world: &World, target: &str, trace: &str) -> (u16, Value) {
    let connection = Connection::open(world.proxy.address(), Protocol::Http2).await;
    let open = hyper::Request::builder().uri("http://api.test/open/x").body(empty()).unwrap();
    connection.try_send(open).await.map_err(|(error, _)| error).unwrap();
    let mut request = hyper::Request::builder()
        .method("CONNECT")
        .uri(format!("https://api.test{target}"))
        .header("sec-websocket-version", "13")
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .body(empty())
        .unwrap();
    request.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
    let answer = connection.try_send(request).await.map_err(|(error, _)| error).unwrap();
    let find = || world.proxy.audit_record(trace);
    wait_until("the audit record", async || find().is_some()).await;
    (answer.status().as_u16(), find().unwrap())
}

/// The neighbour is let through, and only then comes to grief: the usual upstream opens no tunnel.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_after_it_was_judged_was_not_let_through() {
    let bench = Bench::start().await;
    let (status, record) = extended(&bench.world, "/s/mine", &format!("{:032x}", 0xabc)).await;
    assert_eq!((status, &record["route"]), (400, &json!("s-mine")), "{record}");
    assert_ne!(record["answer"], "shadow", "{record}");
    assert_unshadowed(&record);
    assert_eq!(bench.shadowed("s-mine", "token_missing").await, 0.0);

    let socket = "/s/parties/310000507/socket";
    let (status, record) = extended(&bench.world, socket, &format!("{:032x}", 0xabd)).await;
    assert_eq!((status, &record["answer"]), (502, &json!("shadow")), "{record}");
    assert_eq!(record["shadow_code"], "token_missing", "{record}");
    let route = record["route"].as_str().unwrap();
    assert_eq!(bench.shadowed(route, "token_missing").await, 1.0);
}

fn get_socket(below: &str) -> Ask {
    Ask::get(&format!("{below}/parties/310000507/socket"))
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_hold_in_shadow_too() {
    let sections =
        format!("limits: {{ system_user_rate: {{ requests: 1, per: 1h }} }}\n{}", routes());
    let bench = Bench::of(World::start_with(&sections).await);
    let good = token(&bench.world, seed::NORDLYS, seed::BAKKEN, json!({})).await;
    let ask = || Ask::get("/s/scopes").bearer(&good);
    assert_eq!(bench.send(ask()).await.0.status, 200);
    let (answer, record) = bench.send(ask()).await;
    assert_eq!((answer.status, &record["code"]), (429, &json!("too_many_requests")), "{record}");
    assert_eq!(bench.world.upstream.count(), 1);
    // Nobody is behind it, so there is no meter.
    assert_eq!(bench.send(Ask::get("/s/scopes")).await.0.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_long_in_shadow_for_an_altinn_that_is_slow() {
    let bench = Bench::start().await;
    let good = token(&bench.world, seed::NORDLYS, seed::BAKKEN, json!({})).await;
    bench.world.fault("pdp", json!({ "latency_ms": 3000 })).await;
    let ask = |below: &str| Ask::get(&format!("{below}{READ}")).bearer(&good);
    let begun = Instant::now();
    let (answer, record) = bench.send(ask("/s")).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let would = (&record["shadow_code"], &record["shadow_reason"], &record["answer"]);
    assert_eq!(would, (&json!("cannot_decide"), &json!("timed_out"), &json!("shadow")), "{record}");
    assert_eq!(answer.status, 200);
    let begun = Instant::now();
    let (answer, record) = bench.send(ask("/v1")).await;
    assert!(begun.elapsed() >= Duration::from_secs(3), "an enforced route waits for its answer");
    assert_eq!((answer.status, &record["answer"]), (200, &json!("permit")), "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_a_route_in_shadow_serves() {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.expect("the sandbox starts");
    let upstream = Upstream::start().await;
    support::turn(&sandbox, reqwest::Method::PUT, "faults/jwks", json!({ "status": 503 })).await;
    let section = format!("upstream: {{ url: \"{}\" }}", upstream.url());
    let text = config(&sandbox, &section, &format!("{BOUNDS}{}", routes()));
    let bench = Bench::of(World::start_unready(sandbox, upstream, &text).await);
    let good = token(&bench.world, seed::NORDLYS, seed::BAKKEN, json!({})).await;
    let unverified = case("no keys yet", "read", "GET", READ).bearer(&good);
    bench.run(&unverified.of(503, "token_unverified", Some("no_keys"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_longer_than_a_party_is_sought_in_goes_on_whole() {
    let bench = Bench::start().await;
    let good = token(&bench.world, seed::NORDLYS, seed::BAKKEN, json!({})).await;
    let text = format!(r#"{{"data":{{"party":"310000507"}},"x":"{}"}}"#, "x".repeat(3000));
    for client in Protocol::BOTH {
        for (declared, below, expected) in
            [(true, "/s", 200), (false, "/s", 200), (true, "/v1", 413), (false, "/v1", 413)]
        {
            let parts: Vec<_> =
                text.as_bytes().chunks(700).map(|part| data(part.to_vec())).collect();
            let body = if declared {
                support::http::full(text.clone())
            } else {
                frames(stream::iter(parts))
            };
            let connection = Connection::open(bench.world.proxy.address(), client).await;
            let ask = request(&connection, "POST", &format!("{below}/json/310000507"))
                .header("authorization", format!("Bearer {good}"))
                .header("content-type", "application/json");
            let answer = connection.send(ask.body(body).unwrap()).await.unwrap();
            assert_eq!(answer.status(), expected, "{client:?} {declared} {below}");
            if expected == 200 {
                let received = bench.world.upstream.last();
                assert_eq!(received.body, text, "{client:?} {declared}");
                assert!(received.header("portvakt-party").is_empty());
            }
        }
    }
    assert_eq!(bench.world.upstream.count(), 4);
    assert_eq!(bench.shadowed("s-json", "body_too_large").await, 4.0);
    // A body that is longer than any may be is cut on its way, in shadow too.
    let long = "x".repeat(5000);
    let chunk = format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    let ask = Ask::new("POST", "/s/json/310000507").bearer(&good);
    let ask = ask.header("Content-Type", "application/json").header("Transfer-Encoding", "chunked");
    let (answer, record) = bench.send(ask.bytes(chunk)).await;
    assert_eq!((answer.status, &record["answer"]), (413, &json!("shadow")), "{record}");
}

/// The configuration of the world, with one piece of text in the place of another, in force.
async fn rewrite(world: &World, from: &str, to: &str) {
    let path = world.proxy.config_path();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is in:\n{text}");
    let new = path.with_extension("new");
    std::fs::write(&new, text.replace(from, to)).unwrap();
    std::fs::rename(new, path).unwrap();
    let taken =
        async || world.proxy.metric("portvakt_config_reloads_total{result=\"taken\"}").await;
    let before = taken().await;
    world.proxy.signal("HUP");
    wait_until("taken", async || taken().await > before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_switched_on_and_off_while_the_program_runs() {
    let bench = Bench::start().await;
    let ask = || Ask::get(&format!("/s{READ}"));
    let in_shadow =
        async || bench.world.proxy.metric("portvakt_route_in_shadow{route=\"s-read\"}").await;
    assert_eq!(bench.send(ask()).await.0.status, 200);
    rewrite(&bench.world, "enforcement: shadow", "enforcement: full").await;
    let (answer, record) = bench.send(ask()).await;
    assert_eq!((answer.status, &record["code"]), (401, &json!("token_missing")), "{record}");
    assert_unshadowed(&record);
    assert_eq!((in_shadow().await, bench.shadowed("s-read", "token_missing").await), (0.0, 1.0));
    rewrite(&bench.world, "enforcement: full", "enforcement: shadow").await;
    assert_eq!((bench.send(ask()).await.0.status, in_shadow().await), (200, 1.0));
    let said = bench.world.proxy.log();
    let said = said.iter().filter(|line| line.contains("in shadow, and open to everybody"));
    assert_eq!(said.count(), 2, "at the start, and when it is in shadow again");
    // A route that is gone is told of no more.
    rewrite(&bench.world, "id: s-read\n", "id: s-reads\n").await;
    let (_, metrics) = bench.world.proxy.admin("/metrics").await;
    assert!(!metrics.contains("portvakt_route_in_shadow{route=\"s-read\"}"), "{metrics}");
    assert!(metrics.contains("portvakt_route_in_shadow{route=\"s-reads\"} 1"), "{metrics}");
}

/// Begins an answer and never ends it; echoes where it is asked for a WebSocket.
async fn endless() -> Served {
    Served::start(|mut request: hyper::Request<hyper::body::Incoming>| async move {
        if !request.headers().contains_key("upgrade") {
            let begun =
                futures_util::StreamExt::chain(stream::iter([data("begun")]), stream::pending());
            return hyper::Response::new(frames(begun));
        }
        tokio::spawn(async move {
            let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
            let (mut read, mut write) = tokio::io::split(hyper_util::rt::TokioIo::new(upgraded));
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let switching = hyper::Response::builder().status(101).header("connection", "upgrade");
        switching.header("upgrade", "websocket").body(empty()).unwrap()
    })
    .await
}

/// What goes on begins as in `tests/lapse.rs`, where it is cut.
struct Going {
    wire: Wire,
    trace: String,
}

impl Going {
    async fn begin(
        world: &World,
        number: u32,
        below: &str,
        token: Option<&str>,
        socket: bool,
    ) -> Self {
        let trace = format!("{:032x}", 0xfade_0000 + number);
        let bearer = token.map_or_else(String::new, |it| format!("Authorization: Bearer {it}\r\n"));
        let upgrade = if socket { "Connection: Upgrade\r\nUpgrade: websocket\r\n" } else { "" };
        let mut wire = Wire::connect(world.proxy.address()).await;
        wire.send(format!(
            "GET {below}/parties/310000507/socket HTTP/1.1\r\nHost: a\r\n{bearer}{upgrade}\
             traceparent: 00-{trace}-00f067aa0ba902b7-01\r\n\r\n"
        ))
        .await;
        let head = wire.head().await.unwrap();
        assert_eq!(status(&head), if socket { 101 } else { 200 }, "{head}");
        let mut going = Self { wire, trace };
        if socket {
            going.echoes().await;
        } else {
            going.wire.until("begun").await.unwrap();
        }
        going
    }

    async fn echoes(&mut self) {
        let frame = b"\x81\x02hi";
        self.wire.send(frame).await;
        assert_eq!(self.wire.exactly(frame.len()).await.as_deref(), Some(&frame[..]));
    }

    /// Waits until the program has ended it, and gives its record.
    async fn ended(mut self, world: &World) -> Value {
        self.wire.rest().await;
        wait_until("its record", async || world.proxy.audit_record(&self.trace).is_some()).await;
        world.proxy.audit_record(&self.trace).unwrap()
    }
}

fn told(record: &Value) -> [Value; 5] {
    ["answer", "code", "reason", "shadow_code", "shadow_reason"].map(|field| record[field].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_judged_in_shadow_and_not_cut_before_the_route_is_enforced() {
    let sections = format!(
        "freshness: {{ read: {{ fresh_for: 0s, max_age: 1s, outage_grace: 0s }} }}\n\
         register: {{ enabled: false }}\n{}",
        routes()
    );
    let upstream = endless().await;
    let section = upstream.section(Protocol::Http1, "idle_timeout: 1h");
    let world = support::wire::world_before(&section, &sections).await;
    let good = token(&world, seed::NORDLYS, seed::BAKKEN, json!({})).await;
    let good = Some(good.as_str());
    let enforced = Going::begin(&world, 1, "/v1", good, true).await;
    let mut socket = Going::begin(&world, 2, "/s", good, true).await;
    let mut unknown = Going::begin(&world, 3, "/s", None, true).await;
    let (download, nobodys) = (
        Going::begin(&world, 4, "/s", good, false).await,
        Going::begin(&world, 5, "/s", None, false).await,
    );
    let right = json!({ "system_user": seed::BAKKEN_USER, "party": seed::BAKKEN });
    world.knob(reqwest::Method::POST, "rights/revoke", right).await;
    let lapsed = [json!("permit"), json!("lapsed"), json!("no_right")];
    let record = enforced.ended(&world).await;
    assert_eq!(told(&record)[..3], lapsed, "{record}");
    assert_unshadowed(&record);
    // The socket and the download of whoever had the right: counted while they go on.
    let outlived = "portvakt_shadow_refusals_total{code=\"lapsed\",route=\"s-socket\"}";
    wait_until("both are told", async || world.proxy.metric(outlived).await == 2.0).await;
    socket.echoes().await;
    unknown.echoes().await;
    let in_flight = "portvakt_requests_in_flight";
    assert_eq!(world.proxy.metric(in_flight).await, 4.0, "nothing is cut");

    rewrite(&world, "enforcement: shadow", "enforcement: full").await;
    for going in [socket, download] {
        let record = going.ended(&world).await;
        let [answer, code, reason, passed_over, why] = told(&record);
        assert_eq!([answer, code, reason], lapsed, "{record}");
        assert_eq!((passed_over, why), (json!("lapsed"), json!("no_right")), "{record}");
    }
    for going in [unknown, nobodys] {
        let record = going.ended(&world).await;
        let expected = ["shadow", "lapsed", "route_changed", "token_missing"].map(Value::from);
        assert_eq!(told(&record)[..4], expected, "{record}");
    }
    assert_eq!(world.proxy.metric(outlived).await, 2.0, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_judged_in_shadow_and_goes_on_whole() {
    let begun = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&begun);
    let upstream = Served::start(move |request: hyper::Request<hyper::body::Incoming>| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            // That of the enforced route is cut.
            let body = http_body_util::BodyExt::collect(request.into_body()).await;
            let whole = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            hyper::Response::new(support::http::full(whole))
        }
    })
    .await;
    let sections = format!(
        "freshness: {{ write: {{ fresh_for: 0s, max_age: 1s, outage_grace: 0s }} }}\n\
         register: {{ enabled: false }}\n{}",
        routes()
    );
    let section = upstream.section(Protocol::Http1, "idle_timeout: 1h");
    let world = support::wire::world_before(&section, &sections).await;
    let good = token(&world, seed::NORDLYS, seed::BAKKEN, json!({})).await;
    let mut calls = Vec::new();
    for below in ["/v1", "/s"] {
        let connection = Connection::open(world.proxy.address(), Protocol::Http2).await;
        let (feed, body) = support::http::fed();
        let ask = request(&connection, "POST", &format!("{below}/parties/310000507/returns"))
            .header("authorization", format!("Bearer {good}"));
        let ask = ask.body(body).unwrap();
        feed.send(data("first, ")).await.unwrap();
        calls.push((feed, tokio::spawn(async move { connection.send(ask).await })));
    }
    wait_until("both are let through", async || begun.load(Ordering::SeqCst) == 2).await;
    let right = json!({ "system_user": seed::BAKKEN_USER, "party": seed::BAKKEN });
    world.knob(reqwest::Method::POST, "rights/revoke", right).await;
    let outlived = "portvakt_shadow_refusals_total{code=\"lapsed\",route=\"s-submit\"}";
    wait_until("it is told", async || world.proxy.metric(outlived).await == 1.0).await;
    let (feed, call) = calls.pop().unwrap();
    feed.send(data("last")).await.unwrap();
    drop(feed);
    let answer = call.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
    assert_eq!(body, "first, last");
    let (_feed, call) = calls.pop().unwrap();
    assert_eq!(call.await.unwrap().unwrap().status(), 403, "its enforced neighbour is cut");
    let records = world.proxy.audit_records(2).await;
    let of_shadow = records.iter().find(|record| record["route"] == "s-submit").unwrap();
    let expected = ["permit", "none", "lapsed", "no_right"].map(Value::from);
    let [answer, code, _, passed_over, why] = told(of_shadow);
    assert_eq!([answer, code, passed_over, why], expected, "{of_shadow}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forward_auth_gives_leave_in_shadow_and_names_nobody() {
    let world = World::start().await;
    let served =
        |route: &&str| !["json:", "form:", "upgrades:"].iter().any(|key| route.contains(key));
    let all = routes();
    let routes = all.trim_end().split("\n  - ").filter(served).collect::<Vec<_>>().join("\n  - ");
    let sections = format!(
        "listen: {{ address: \"127.0.0.1:0\", workers: 2, forward_auth: {{ trusted_peers: [\"127.0.0.1/32\"] }} }}\n{routes}\n"
    );
    let text = config(&world.sandbox, "", &sections);
    let asked = Proxy::start(&text, &[("PROXY_JWK", &own_key(&world.sandbox).await)]);
    asked.wait_until_ready().await;
    let good = token(&world, seed::NORDLYS, seed::BAKKEN, json!({})).await;
    let question = |target: &str| {
        let ask = Ask::get("/asked").header("X-Forwarded-Method", "GET");
        ask.header("X-Forwarded-Uri", target).header("Portvakt-Party", "310000604")
    };
    let ours = |answer: &Answer| {
        let ours = answer.headers.iter().filter(|(name, _)| name.starts_with("portvakt"));
        ours.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let answer = raw::ask(asked.address(), &question(&format!("/s{READ}"))).await;
    assert_eq!((answer.status, ours(&answer)), (200, vec![String::new(); 15]), "every name, empty");
    let held = raw::ask(asked.address(), &question(&format!("/s{READ}")).bearer(&good)).await;
    assert_eq!((held.status, held.header("portvakt-party")), (200, Some("310000507")));
    let refused = raw::ask(asked.address(), &question(&format!("/v1{READ}"))).await;
    assert_eq!((refused.status, ours(&refused).len()), (401, 0));
    let override_it = question(&format!("/s{READ}")).header("X-Original-Url", "/v1/mine");
    assert_eq!(raw::ask(asked.address(), &override_it).await.status, 400, "in shadow too");
    let records = asked.audit_records(4).await;
    let outcome = ["answer", "shadow_code", "status"].map(|field| records[0][field].clone());
    assert_eq!(outcome, [json!("shadow"), json!("token_missing"), json!(200)], "{}", records[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_and_explain_say_that_a_route_is_in_shadow_and_what_would_be() {
    let world = World::start_with(&routes()).await;
    let path = world.proxy.config_path().display().to_string();
    let jwk = own_key(&world.sandbox).await;
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_portvakt"))
            .args(arguments)
            .args(["--config", &path])
            .env("PROXY_JWK", &jwk)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, told) = run(&["check"]);
    assert_eq!(code, Some(0), "{told}");
    for part in [
        "right, in shadow",
        "scopes, in shadow",
        "never, in shadow",
        "warning: in shadow, and open to everybody: `s-submit`, `s-read`",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let file = world.proxy.config_path().with_extension("token");
    std::fs::write(&file, token(&world, seed::NORDLYS, seed::BAKKEN, json!({})).await).unwrap();
    let file = file.display().to_string();
    let other = "/parties/310000604/returns/7";
    for (below, with, target, expected, parts) in [
        (
            "/s",
            true,
            other,
            1,
            &[
                "authorize     NO",
                "enforced, this would be refused: 403 no_right",
                "forwarded to upstream `default` all the same",
            ][..],
        ),
        ("/v1", true, other, 1, &["refused: 403 no_right"]),
        (
            "/s",
            false,
            READ,
            1,
            &[
                "enforced, this would be refused: 401 token_missing",
                "scope         --  not reached",
            ],
        ),
        ("/s", true, READ, 0, &["the route is in shadow, and enforced it would be too"]),
        ("/v1", true, READ, 0, &["forwarded to upstream `default`\n"]),
        ("/s", true, "/../v1/mine", 1, &["refused: 400 bad_request"]),
    ] {
        let named = below == "/s" && !target.contains("..");
        let target = format!("{below}{target}");
        let given = if with { vec!["--token-file", &file] } else { Vec::new() };
        let (code, told) = run(&[&["explain"], &given[..], &["GET", &target]].concat());
        assert_eq!(code, Some(expected), "{target}: {told}");
        for part in parts {
            assert!(told.contains(part), "{target}: {part}: {told}");
        }
        assert_eq!(told.contains("in shadow"), named, "{target}: {told}");
    }
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_reads_files_and_pipes_and_says_what_it_could_not_count() {
    let bench = Bench::start().await;
    let good = token(&bench.world, seed::NORDLYS, seed::STRAND, json!({})).await;
    for ask in [
        Ask::get(&format!("/s{READ}")),
        Ask::get(&format!("/s{READ}")).bearer(&good),
        Ask::get(&format!("/s{READ}")).bearer(&good),
        Ask::get("/s/scopes").bearer(&good),
    ] {
        assert_eq!(bench.send(ask).await.0.status, 200);
    }
    let lines: Vec<String> = bench.world.proxy.audit().iter().map(Value::to_string).collect();
    let folder = tempfile::tempdir().unwrap();
    let (whole, torn) = (folder.path().join("a.jsonl"), folder.path().join("b.jsonl"));
    std::fs::write(&whole, format!("{}\n{}\n{}\n", lines[0], lines[1], bench.world.proxy.log()[0]))
        .unwrap();
    let half = &lines[3][..lines[3].len() / 2];
    std::fs::write(&torn, format!("{}\n01010750160\n{half}", lines[2])).unwrap();
    let (whole, torn) = (whole.to_str().unwrap(), torn.to_str().unwrap());

    let ran = report(&[whole, "-"], &format!("{}\n{}\n", lines[2], lines[3]));
    let text = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(ran.status.code(), Some(0), "{text}");
    let rows: Vec<Vec<&str>> =
        text.lines().map(|line| line.split_whitespace().take(6).collect()).collect();
    for row in [
        vec!["s-read", "3", "3", "3", "100.00", "%"],
        vec!["s-scopes-only", "1", "1", "0", "-", "-"],
        vec!["s-read", "310000205", "no_right", "-", "2", "66.67"],
        vec!["s-read", "-", "token_missing", "-", "1", "33.33"],
    ] {
        assert!(rows.contains(&row), "{row:?}: {text}");
    }
    assert!(text.starts_with("4 requests from "), "{text}");

    let ran = report(&[whole, torn], "");
    let text = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(ran.status.code(), Some(3), "{text}");
    assert!(
        text.contains("NOT COUNTED: lines that are no whole JSON: 2, that are no audit record: 0"),
        "{text}"
    );
    assert!(
        text.contains(&format!("{torn}:2: ")) && text.contains(&format!("{torn}:3: ")),
        "{text}"
    );
    assert!(!text.contains("01010750160"), "nothing of the line: {text}");

    let ran = report(&["/nowhere/a.jsonl"], "");
    assert_eq!(ran.status.code(), Some(3), "{ran:?}");
    let complaint = String::from_utf8(ran.stderr).unwrap();
    assert!(complaint.contains("/nowhere/a.jsonl cannot be read"), "{complaint}");
    let nothing = report(&[], "");
    assert_eq!(
        String::from_utf8(nothing.stdout).unwrap(),
        "0 requests, 0 of them on routes in shadow\n"
    );
}

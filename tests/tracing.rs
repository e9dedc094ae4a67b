//! Traces, as a collector gets them from the real program: who is whose parent, what is recorded and what is not, what
//! they never hold, and that a collector in any mood is nothing to a request.

#![allow(
    clippy::expect_used,
    clippy::float_cmp,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

#[path = "tracing/collector.rs"]
mod collector;
mod support;

use collector::{Collector, Mood, Shown};
use portvakt_sandbox::{Sandbox, SandboxOptions};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use support::upstream::Upstream;
use support::{Proxy, World, config, own_key, seed, wait_until};

const READ: &str = "/v1/parties/310000507/returns/7";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// The PDP is asked for every request.
const ASK_ALWAYS: &str = "\
confirmations: { no_for: 0s }
freshness: { read: { max_age: 0s }, write: { max_age: 0s } }
register: { enabled: false }
";

fn caller(trace: &str, flags: &str) -> String {
    format!("00-{trace}-{CALLER}-{flags}")
}

/// A trace of its own for each request of a test.
fn numbered(number: usize) -> String {
    format!("{:032x}", number + 0xabc)
}

async fn world(collector: &Collector, tracing: &str, sections: &str) -> World {
    World::start_with(&format!("{}{sections}", collector.section(tracing))).await
}

/// With variables beside the configuration.
async fn world_with(variables: &[(&str, &str)], sections: &str) -> World {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.expect("the sandbox starts");
    let upstream = Upstream::start().await;
    let text = format!("upstream: {{ url: \"{}\" }}", upstream.url());
    let (config, jwk) = (config(&sandbox, &text, sections), own_key(&sandbox).await);
    let variables = [variables, &[("PROXY_JWK", &jwk)]].concat();
    let proxy = Proxy::start(&config, &variables);
    proxy.wait_until_ready().await;
    World { sandbox, upstream, proxy, http: reqwest::Client::new() }
}

async fn ask(world: &World, method: &str, target: &str, token: &str, trace: &str) -> u16 {
    let request = world.request(method, target).bearer_auth(token);
    let answer = request.header("traceparent", caller(trace, "01")).send().await.unwrap();
    answer.status().as_u16()
}

fn server(spans: &[Shown]) -> &Shown {
    spans.iter().find(|span| span.kind == 2).expect("a server's span")
}

fn step<'s>(spans: &'s [Shown], name: &str) -> &'s Shown {
    spans.iter().find(|span| span.step() == name).unwrap_or_else(|| panic!("no {name}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_one_trace_from_its_caller_to_its_upstream() {
    let collector = Collector::start(Mood::Takes).await;
    let world = world(&collector, "ratio: 1", ASK_ALWAYS).await;
    let token = world.token(seed::BAKKEN).await;
    let request = world.request("GET", &format!("{READ}?secret=1")).bearer_auth(&token);
    let request = request.header("traceparent", caller(TRACE, "01"));
    let answer = request.header("tracestate", "vendor=1").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let reached = world.upstream.last();
    let spans = collector.trace(TRACE).await;
    let server = server(&spans);
    assert_eq!(server.name, "GET /v1/parties/{party}/returns/{id}");
    assert_eq!((server.parent.as_str(), server.failed), (CALLER, false));
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/v1/parties/{party}/returns/{id}"),
        ("url.path", "/v1/parties/{party}/returns/{id}"),
        ("url.scheme", "http"),
        ("server.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("http.response.status_code", "200"),
        ("portvakt.mode", "proxy"),
        ("portvakt.route", "read"),
        ("portvakt.answer", "permit"),
        ("error.type", ""),
    ] {
        assert_eq!(server.attribute(name), value, "{name}");
    }
    let steps: Vec<&Shown> = spans.iter().filter(|span| !span.step().is_empty()).collect();
    let names: Vec<&str> = steps.iter().map(|span| span.step()).collect();
    let road = ["admit", "route", "authenticate", "scope", "party", "authorize", "forward"];
    assert_eq!(names, road);
    for pair in steps.windows(2) {
        assert!(pair[0].end == pair[1].begin, "one after the other");
    }
    for step in &steps {
        assert_eq!(step.parent, server.id, "{}", step.name);
        assert!(server.begin <= step.begin && step.end <= server.end, "{}", step.name);
        let kind = if step.step() == "forward" { 3 } else { 1 };
        assert_eq!((step.kind, step.failed, step.attribute("error.type")), (kind, false, ""));
    }
    assert_eq!(step(&spans, "authenticate").attribute("portvakt.token_cache"), "miss");
    let right = step(&spans, "authorize");
    assert_eq!(right.attribute("portvakt.basis"), "asked");
    assert_eq!(right.attribute("portvakt.resource"), "ske-mva-melding");
    let forward = step(&spans, "forward");
    assert_eq!(forward.name, "GET /v1/parties/{party}/returns/{id}");
    assert_eq!(forward.attribute("server.address"), "127.0.0.1");
    assert_eq!(forward.attribute("server.port"), world.upstream.address().port().to_string());
    assert_eq!(forward.attribute("http.response.status_code"), "200");
    // What the upstream gets is a child of the step that sent it.
    assert_eq!(reached.header("traceparent"), [format!("00-{TRACE}-{}-01", forward.id)]);
    assert_eq!(reached.header("tracestate"), ["vendor=1"]);
    let pdp = spans.iter().find(|span| span.attribute("portvakt.call") == "altinn.authorize");
    let pdp = pdp.expect("the call to the PDP");
    assert_eq!((pdp.parent.as_str(), pdp.kind, pdp.failed), (right.id.as_str(), 3, false));
    assert_eq!(pdp.name, "POST altinn.authorize");
    assert_eq!(pdp.attribute("http.response.status_code"), "200");
    assert_eq!(
        pdp.attribute("url.full"),
        format!("{}/authorization/api/v1/authorize", world.sandbox.altinn_url())
    );
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    assert_eq!(ids.len(), spans.len(), "no id twice");
    assert_eq!(world.proxy.audit_record(TRACE).unwrap()["status"], 200);
    // What was fetched for nobody's request is a trace of its own.
    let all = collector.spans();
    let keys = all.iter().find(|span| span.attribute("portvakt.call") == "maskinporten.jwks");
    assert!(keys.is_some_and(|span| span.parent.is_empty() && span.trace != TRACE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_which_step_refused_and_why() {
    let collector = Collector::start(Mood::Takes).await;
    let world = world(&collector, "ratio: 1", "").await;
    let (good, strand) = (world.token(seed::BAKKEN).await, world.token(seed::STRAND).await);
    let claims = "/v1/parties/310000604/claims";
    let table = [
        ("POST", claims, strand.as_str(), 403, "no_right", "authorize"),
        ("GET", READ, "a.b.c", 401, "token_invalid", "authenticate"),
        ("GET", "/v1/returns?party=1", &good, 400, "party_invalid", "party"),
        ("GET", "/nowhere/310000507", &good, 404, "no_route", "route"),
    ];
    for (number, (method, target, token, status, code, last)) in table.into_iter().enumerate() {
        let trace = numbered(number);
        assert_eq!(ask(&world, method, target, token, &trace).await, status, "{target}");
        let spans = collector.trace(&trace).await;
        let server = server(&spans);
        assert_eq!(server.attribute("error.type"), code);
        assert_eq!(server.attribute("http.response.status_code"), status.to_string());
        assert!(!server.failed, "a refusal is no fault of the server");
        let refused = step(&spans, last);
        assert_eq!((refused.attribute("error.type"), refused.failed), (code, false));
        let others = spans.iter().filter(|span| !span.step().is_empty() && span.step() != last);
        assert!(others.clone().all(|span| span.attribute("error.type").is_empty()), "{code}");
        assert!(others.clone().all(|span| span.step() != "forward"));
        assert_eq!(server.name.contains('{'), code != "no_route" && code != "party_invalid");
    }
    assert_eq!(world.upstream.count(), 0);
    let shape = collector.trace(&numbered(3)).await;
    assert_eq!(server(&shape).attribute("url.path"), "/nowhere/#########");
    // A fault of ours, or of Altinn's, is one.
    world.fault("pdp", json!({ "status": 503 })).await;
    let trace = numbered(9);
    let stranger = world.token(seed::STRAND).await;
    assert_eq!(ask(&world, "GET", "/v1/parties/310000604/shielded", &stranger, &trace).await, 503);
    let spans = collector.trace(&trace).await;
    assert!(server(&spans).failed && step(&spans, "authorize").failed);
    assert_eq!(server(&spans).attribute("error.type"), "cannot_decide");
    let calls = spans.iter().filter(|span| span.attribute("portvakt.call") == "altinn.authorize");
    assert!(calls.clone().count() > 1, "it was asked again");
    assert!(calls.clone().all(|call| call.failed && call.attribute("error.type") == "503"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_let_through_in_shadow_says_why_it_would_not_have_been() {
    let collector = Collector::start(Mood::Takes).await;
    let in_shadow = support::ROUTES.trim_end().replacen(
        "resource: ske-mva-melding",
        "enforcement: shadow\n    resource: ske-mva-melding",
        2,
    );
    let world = world(&collector, "ratio: 1", &format!("routes:{in_shadow}\n")).await;
    let (good, bad) = (numbered(0), numbered(1));
    let token = world.token(seed::BAKKEN).await;
    assert_eq!(ask(&world, "GET", READ, &token, &good).await, 200);
    assert_eq!(ask(&world, "GET", READ, "a.b.c", &bad).await, 200);
    let told = |spans: &[Shown]| {
        let names = ["portvakt.answer", "portvakt.shadow_code", "portvakt.shadow_reason"];
        names.map(|name| server(spans).attribute(name).to_owned())
    };
    let (good, bad) = (collector.trace(&good).await, collector.trace(&bad).await);
    assert_eq!(told(&good), ["permit", "", ""]);
    let reason = world.proxy.audit_record(&numbered(1)).unwrap()["shadow_reason"].clone();
    assert_eq!(told(&bad), ["shadow", "token_invalid", reason.as_str().unwrap()]);
    assert!(!server(&bad).failed && server(&bad).attribute("error.type").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_decides_what_is_recorded_only_where_it_is_trusted() {
    let collector = Collector::start(Mood::Takes).await;
    let trusting = world(&collector, "ratio: 0, trust_parent: true", "").await;
    let token = trusting.token(seed::BAKKEN).await;
    let told = async |world: &World, trace: &str, flags: &str| {
        let request = world.request("GET", READ).bearer_auth(&token);
        let request = request.header("traceparent", caller(trace, flags));
        assert_eq!(request.send().await.unwrap().status(), 200);
        world.upstream.last().header("traceparent")[0].to_owned()
    };
    let (unsampled, sampled) = (numbered(1), numbered(2));
    assert_eq!(told(&trusting, &unsampled, "00").await, caller(&unsampled, "00"), "as it came");
    let passed = told(&trusting, &sampled, "01").await;
    let spans = collector.trace(&sampled).await;
    assert_eq!(passed, format!("00-{sampled}-{}-01", step(&spans, "forward").id));
    assert!(collector.spans().iter().all(|span| span.trace == sampled));
    let count = async |world: &World, result: &str| {
        world.proxy.metric(&format!("portvakt_traces_total{{result=\"{result}\"}}")).await
    };
    assert_eq!(count(&trusting, "recorded").await, 1.0);
    // The same, untrusted: recorded is what we say, and that is nothing.
    let before = collector.calls().len();
    let careful = world(&collector, "ratio: 0", "").await;
    let token = careful.token(seed::BAKKEN).await;
    let request = careful.request("GET", READ).bearer_auth(&token);
    let request = request.header("traceparent", caller(&numbered(3), "01"));
    assert_eq!(request.send().await.unwrap().status(), 200);
    let passed = careful.upstream.last().header("traceparent")[0].to_owned();
    assert!(passed.starts_with(&format!("00-{}-", numbered(3))) && passed.ends_with("-00"));
    assert!(!passed.contains(CALLER));
    careful.proxy.audit_records(1).await;
    assert_eq!(count(&careful, "recorded").await, 0.0);
    assert!(count(&careful, "not_recorded").await >= 1.0);
    let waiting = careful.proxy.metric("portvakt_trace_spans_waiting").await;
    assert_eq!((waiting, collector.calls().len()), (0.0, before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_context_begins_a_new_trace_and_refuses_nothing() {
    let collector = Collector::start(Mood::Takes).await;
    let world = world(&collector, "ratio: 1", "").await;
    let zeros = "0".repeat(32);
    let one = caller(TRACE, "01");
    for (number, given) in [
        vec![],
        vec![String::new()],
        vec![one.replace("00-", "ff-")],
        vec![one.to_uppercase()],
        vec![format!("{one}-more")],
        vec![caller(&zeros, "01")],
        vec![caller(TRACE, "1")],
        vec!["'; drop table traces".to_owned()],
        vec!["0".repeat(4_000)],
        vec![one.clone(), one.clone()],
    ]
    .into_iter()
    .enumerate()
    {
        let mut request = world.request("GET", "/open/x").header("tracestate", "a=1");
        for value in &given {
            request = request.header("traceparent", value);
        }
        assert_eq!(request.send().await.unwrap().status(), 200, "{given:?}");
        let reached = world.upstream.last();
        let [told] = reached.header("traceparent")[..] else { panic!("{reached:?}") };
        let trace = told.split('-').nth(1).unwrap();
        assert!(trace.len() == 32 && trace != TRACE && trace != zeros, "{given:?}");
        assert!(reached.header("tracestate").is_empty(), "belongs to no trace");
        let records = world.proxy.audit_records(number + 1).await;
        assert_eq!(records[number]["trace_id"], trace, "{given:?}");
        assert_eq!(server(&collector.trace(trace).await).parent, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_in_any_mood_is_nothing_to_a_request() {
    let collector = Collector::start(Mood::Hangs).await;
    let world = world(&collector, "ratio: 1, queue_spans: 30, timeout: 300ms", "").await;
    let spans = async |result: &str| {
        let sample = format!("portvakt_trace_spans_total{{result=\"{result}\"}}");
        world.proxy.metric(&sample).await
    };
    let served = async || {
        let begun = Instant::now();
        for _ in 0..40 {
            let answer = world.request("GET", "/open/x").send().await.unwrap();
            assert_eq!(answer.status(), 200);
        }
        begun.elapsed()
    };
    // 40 requests of 4 spans each, and room for 30.
    assert!(served().await < Duration::from_secs(10));
    assert!(spans("dropped").await >= 100.0);
    assert!(world.proxy.metric("portvakt_trace_spans_waiting").await <= 30.0);
    wait_until("a batch is given up", async || spans("failed").await > 0.0).await;
    for mood in [Mood::Refuses(400), Mood::Refuses(503), Mood::Endless] {
        collector.becomes(mood);
        let failed = spans("failed").await;
        wait_until(&format!("{mood:?} is counted"), async || {
            served().await;
            spans("failed").await > failed
        })
        .await;
    }
    assert_eq!(spans("exported").await, 0.0);
    let line = |text: &str| world.proxy.log().iter().any(|line| line.contains(text));
    assert!(line("spans could not be sent and are lost"));
    // It recovers by itself.
    collector.becomes(Mood::RefusesOnce);
    wait_until("spans are taken", async || {
        served().await;
        spans("exported").await > 0.0
    })
    .await;
    collector.becomes(Mood::Rejects(2));
    wait_until("spans are rejected", async || {
        served().await;
        spans("rejected").await >= 2.0
    })
    .await;
    let exported = spans("exported").await;
    collector.becomes(Mood::Rubbish);
    wait_until("200 is taken", async || {
        served().await;
        spans("exported").await > exported
    })
    .await;
    drop(world);
    // And when it is away altogether: nobody listens there any more.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let section = format!("tracing: {{ enabled: true, endpoint: \"http://{free}\", ratio: 1 }}\n");
    let world = World::start_with(&section).await;
    assert_eq!(world.request("GET", "/open/x").send().await.unwrap().status(), 200);
    wait_until("what nobody takes is counted", async || {
        world.proxy.metric("portvakt_trace_spans_total{result=\"failed\"}").await >= 4.0
    })
    .await;
    assert_eq!(world.request("GET", "/open/x").send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_exported_tells_of_a_token_or_a_party() {
    let collector = Collector::start(Mood::Takes).await;
    let headers = [("COLLECTOR", "authorization=Bearer%20collectors-own-secret")];
    let section = collector.section("ratio: 1, headers_env: COLLECTOR");
    let world = world_with(&headers, &format!("{section}{ASK_ALWAYS}")).await;
    let (bakken, strand) = (world.token(seed::BAKKEN).await, world.token(seed::STRAND).await);
    let person = "01010750160";
    let mut traces = Vec::new();
    for (number, (method, target, token)) in [
        ("GET", format!("{READ}?fnr={person}&token={bakken}"), &bakken),
        ("GET", format!("/v1/parties/{person}/returns/7"), &bakken),
        ("GET", format!("/{person}/{bakken}"), &bakken),
        ("POST", "/v1/parties/310000604/claims".to_owned(), &strand),
        ("OLA-NORDMANN", READ.to_owned(), &bakken),
    ]
    .into_iter()
    .enumerate()
    {
        let trace = numbered(number);
        let request = world.request(method, &target).bearer_auth(token);
        let request = request
            .header("host", format!("{person}.test"))
            .header("user-agent", "agent-of-a-vendor")
            .header("cookie", "a=cookie-of-a-vendor")
            .header("tracestate", "state=of-a-vendor")
            .header("traceparent", caller(&trace, "01"));
        let _any = request.send().await.unwrap();
        traces.push(trace);
    }
    for trace in &traces {
        collector.trace(trace).await;
    }
    let mut secrets: Vec<&str> =
        bakken.split('.').chain(strand.split('.')).filter(|part| part.len() > 8).collect();
    secrets.extend([
        person,
        seed::BAKKEN,
        seed::STRAND,
        seed::SUBSCRIPTION_KEY,
        seed::BAKKEN_USER,
        "collectors-own-secret",
        "of-a-vendor",
        "OLA-NORDMANN",
        "fnr=",
        "127.0.0.1:0",
    ]);
    assert_eq!(secrets.iter().filter(|secret| secret.len() > 100).count(), 4, "claims, signatures");
    for call in collector.calls() {
        assert_eq!(call.headers["authorization"], "Bearer collectors-own-secret");
        let text = String::from_utf8_lossy(&call.bytes).into_owned();
        for secret in &secrets {
            assert!(!text.contains(secret), "{secret}");
        }
    }
    assert!(world.proxy.log().iter().all(|line| !line.contains("collectors-own-secret")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_variables_of_opentelemetry_fill_in_what_the_file_leaves_out() {
    let collector = Collector::start(Mood::Takes).await;
    let url = collector.url();
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-team=skatt%20og%20avgift"),
        ("OTEL_SERVICE_NAME", "mva-api"),
        ("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=pod-1,service.name=other,team=a%2Cb"),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_on"),
    ];
    let on = "tracing: { enabled: true, resource_attributes: { team: ours } }\n";
    let proxy = world_with(&variables, on).await;
    assert_eq!(proxy.request("GET", "/open/x").send().await.unwrap().status(), 200);
    wait_until("a trace", async || collector.spans().iter().any(|span| span.kind == 2)).await;
    let call = collector.calls().pop().unwrap();
    assert_eq!(
        (call.path.as_str(), call.headers["x-team"].as_str()),
        ("/v1/traces", "skatt og avgift")
    );
    let expected = [
        ("k8s.pod.name", "pod-1"),
        ("service.name", "mva-api"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("team", "ours"),
    ];
    let expected: BTreeMap<String, String> =
        expected.map(|(name, value)| (name.into(), value.into())).into();
    assert_eq!(call.resource, expected);
    drop(proxy);
    // They switch nothing on by themselves, and one of them switches off.
    let asked = collector.asked();
    let disabled = [&variables[..], &[("OTEL_SDK_DISABLED", "true")]].concat();
    for (variables, section) in [(&variables[..], ""), (&disabled, on)] {
        let off = world_with(variables, section).await;
        let request = off.request("GET", "/open/x").header("traceparent", "kept as it is");
        assert_eq!(request.send().await.unwrap().status(), 200);
        assert_eq!(off.upstream.last().header("traceparent"), ["kept as it is"]);
        let (_, metrics) = off.proxy.admin("/metrics").await;
        assert!(metrics.contains("portvakt_traces_total{result=\"recorded\"} 0"), "{metrics}");
    }
    assert_eq!(collector.asked(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_go_over_grpc_too() {
    let collector = Collector::start(Mood::Takes).await;
    let world = world(&collector, "ratio: 1, protocol: grpc", "").await;
    let token = world.token(seed::BAKKEN).await;
    assert_eq!(ask(&world, "GET", READ, &token, TRACE).await, 200);
    assert_eq!(server(&collector.trace(TRACE).await).parent, CALLER);
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    assert!(
        collector.calls().iter().all(|call| call.path == path && call.headers["te"] == "trailers")
    );
    let exported = "portvakt_trace_spans_total{result=\"exported\"}";
    wait_until("counted", async || world.proxy.metric(exported).await >= 8.0).await;
    collector.becomes(Mood::Rubbish);
    assert_eq!(ask(&world, "GET", READ, &token, &numbered(1)).await, 200);
    let failed = "portvakt_trace_spans_total{result=\"failed\"}";
    wait_until("what is no gRPC is no answer", async || world.proxy.metric(failed).await > 0.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_at_the_end_is_sent_before_it() {
    let collector = Collector::start(Mood::Takes).await;
    let mut world = world(&collector, "ratio: 1", "").await;
    assert_eq!(world.request("GET", "/open/x").send().await.unwrap().status(), 200);
    world.proxy.signal("TERM");
    assert_eq!(world.proxy.wait(), Some(0));
    assert!(collector.spans().iter().any(|span| span.name == "GET /open/*"));
    // A collector that hangs holds up the end for a moment only.
    let collector = Collector::start(Mood::Hangs).await;
    let mut world = self::world(&collector, "ratio: 1, timeout: 1m", "").await;
    assert_eq!(world.request("GET", "/open/x").send().await.unwrap().status(), 200);
    let begun = Instant::now();
    world.proxy.signal("TERM");
    assert_eq!(world.proxy.wait(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let lost = |line: &String| line.contains("spans could not be sent before the end and are lost");
    assert!(world.proxy.log().iter().any(lost));
}

#[tokio::test(flavor = "multi_thread")]
async fn tracing_is_switched_on_and_off_while_the_program_runs() {
    let collector = Collector::start(Mood::Takes).await;
    let world = World::start().await;
    let text = std::fs::read_to_string(world.proxy.config_path()).unwrap();
    assert_eq!(world.request("GET", "/open/x").send().await.unwrap().status(), 200);
    assert!(world.upstream.last().header("traceparent").is_empty());
    let put = async |text: &str, taken: f64| {
        std::fs::write(world.proxy.config_path(), text).unwrap();
        world.proxy.signal("HUP");
        let sample = "portvakt_config_reloads_total{result=\"taken\"}";
        wait_until("taken", async || world.proxy.metric(sample).await >= taken).await;
    };
    put(&format!("{text}\n{}", collector.section("ratio: 1")), 1.0).await;
    let request = world.request("GET", "/open/x").header("traceparent", caller(TRACE, "00"));
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!(server(&collector.trace(TRACE).await).parent, CALLER);
    put(&text, 2.0).await;
    let request = world.request("GET", "/open/x").header("traceparent", "kept as it is");
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!(world.upstream.last().header("traceparent"), ["kept as it is"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_within_a_request_carry_its_trace() {
    let world = World::start_with(ASK_ALWAYS).await;
    let token = world.token(seed::BAKKEN).await;
    world.fault("pdp", json!({ "status": 403 })).await;
    assert_eq!(ask(&world, "GET", READ, &token, TRACE).await, 503);
    let line = || {
        let lines = world.proxy.log();
        let found = lines.iter().find(|line| line.contains("refuses our own token"))?;
        serde_json::from_str::<Value>(found).ok()
    };
    let line = support::wait_for(Duration::from_secs(10), line);
    assert_eq!(line["trace_id"], TRACE, "{line}");
    assert_eq!(line["span_id"].as_str().map(str::len), Some(16), "{line}");
    let lines: Vec<Value> =
        world.proxy.log().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outside = lines.iter().find(|line| line["message"] == "listening").unwrap();
    assert!(outside["trace_id"].is_null());
}

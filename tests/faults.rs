//! An issuer, PDP or upstream that is down, slow or answers rubbish gives the answer of the design, within
//! the time budget, and the program recovers by itself.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

mod support;

use http_body_util::BodyExt;
use portvakt_sandbox::{Sandbox, SandboxOptions};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::http::{Connection, Protocol, empty, request};
use support::relay::{Relay, Rubbish};
use support::upstream::Upstream;
use support::wire::{LONG, OK, RawUpstream, Wire, code, field, status, told, world_before};
use support::{Proxy, World, config, own_key, seed, wait_until};
use tokio::net::TcpSocket;
use tokio::sync::{Notify, Semaphore};

const READ: &str = "/v1/parties/310000507/returns/7";
const SUBMIT: &str = "/v1/parties/310000507/returns";

/// What a test waits for beyond a configured time: these machines are busy.
const SLACK: Duration = Duration::from_secs(1);

/// The PDP asked for every request, within a budget of a second.
const ASK_ALWAYS: &str = "\
confirmations: { no_for: 0s }
freshness: { read: { max_age: 0s }, write: { max_age: 0s } }
register: { enabled: false }
altinn: { subscription_key: sandbox-subscription-key, requests_per_second: 1000, budget: 1s, \
attempt_timeout: 400ms, max_attempts: 2, circuit_failures: 1000, circuit_open_for: 1s }
";
const BUDGET: Duration = Duration::from_secs(1);

/// Asks until the answer is 200.
async fn until_served(world: &World, target: &str, token: &str) {
    wait_until("served", async || world.get(target, token).await.status() == 200).await;
}

/// A sandbox with a fault from the start.
async fn faulty_sandbox(endpoints: &[&str], fault: Value) -> portvakt_sandbox::RunningSandbox {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.expect("the sandbox starts");
    for endpoint in endpoints {
        let url = format!("{}/sandbox/faults/{endpoint}", sandbox.altinn_url());
        let put = reqwest::Client::new().put(url).body(fault.to_string()).send().await;
        assert!(put.expect("an answer").status().is_success());
    }
    sandbox
}

// ---- The issuer

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_down_at_start_is_waited_for() {
    let sandbox = faulty_sandbox(&["jwks", "metadata"], json!({ "close": true })).await;
    let upstream = Upstream::start().await;
    let config = config(&sandbox, &format!("upstream: {{ url: \"{}\" }}", upstream.url()), "");
    let proxy = Proxy::start(&config, &[("PROXY_JWK", &own_key(&sandbox).await)]);
    let world = World { sandbox, upstream, proxy, http: reqwest::Client::new() };
    let token = world.token(seed::BAKKEN).await;
    let (live, _) = world.proxy.admin("/livez").await;
    let (ready, text) = world.proxy.admin("/readyz").await;
    assert_eq!((live, ready), (200, 503), "{text}");
    assert!(text.contains("issuer_keys"), "{text}");
    let (status, retry_after, problem) = told(world.get(READ, &token).await).await;
    assert_eq!((status, code(&problem)), (503, "token_unverified"), "{problem}");
    assert_eq!(problem["reason"], "no_keys");
    assert!(retry_after.is_some_and(|seconds| seconds >= 1));
    // What needs no token is served meanwhile.
    assert_eq!(world.request("GET", "/open/x").send().await.unwrap().status(), 200);
    assert_eq!(world.upstream.count(), 1);
    world.heal().await;
    world.proxy.wait_until_ready().await;
    // Our own token comes from the same issuer, and is asked for again after a pause.
    until_served(&world, READ, &token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_held_serve_on_whatever_the_issuer_says() {
    let world = World::start_with(&format!(
        "maskinporten: {{ client_id: \"{}\", key_env: PROXY_JWK, refresh: 100ms, timeout: 500ms }}\n",
        seed::PROXY_CLIENT
    ))
    .await;
    let token = world.token(seed::BAKKEN).await;
    let big = " ".repeat((1 << 20) + 1);
    for (fault, result) in [
        (json!({ "close": true }), "unreachable"),
        (json!({ "hang": true }), "timed_out"),
        (json!({ "status": 500 }), "error_status"),
        (
            json!({ "body": "<!doctype html><title>Vedlikehold</title>", "content_type": "text/html" }),
            "unreadable",
        ),
        (json!({ "body": "" }), "unreadable"),
        (json!({ "body": "{\"keys\":[]}" }), "no_usable_key"),
        (json!({ "body": "\u{0}\u{1}\u{7f}" }), "unreadable"),
        (json!({ "truncate": true }), "unreachable"),
        (json!({ "body": big }), "unreadable"),
    ] {
        let sample =
            format!("portvakt_key_set_fetches_total{{result=\"{result}\",trigger=\"refresh\"}}");
        let before = world.proxy.metric(&sample).await;
        world.fault("jwks", fault.clone()).await;
        wait_until("a failed refresh", async || world.proxy.metric(&sample).await > before).await;
        // A token that is not remembered, so that the key itself is used.
        let fresh = world.token(seed::BAKKEN).await;
        assert_eq!(world.get(READ, &token).await.status(), 200, "{fault}");
        assert_eq!(world.get(READ, &fresh).await.status(), 200, "{fault}");
        assert_eq!(world.proxy.admin("/readyz").await.0, 200, "{fault}");
        world.heal().await;
    }
    let renewed = "portvakt_key_set_fetches_total{result=\"ok\",trigger=\"refresh\"}";
    let before = world.proxy.metric(renewed).await;
    wait_until("renewed by itself", async || world.proxy.metric(renewed).await > before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_past_their_greatest_age_verify_nothing_until_the_issuer_is_back() {
    let world = World::start_with(&format!(
        "maskinporten: {{ client_id: \"{}\", key_env: PROXY_JWK, refresh: 100ms, max_age: 1s }}\n",
        seed::PROXY_CLIENT
    ))
    .await;
    let token = world.token(seed::BAKKEN).await;
    until_served(&world, READ, &token).await;
    world.fault("jwks", json!({ "status": 503 })).await;
    wait_until("too old", async || world.proxy.admin("/readyz").await.0 == 503).await;
    let (status, _, problem) = told(world.get(READ, &token).await).await;
    assert_eq!((status, code(&problem)), (503, "token_unverified"), "{problem}");
    world.heal().await;
    until_served(&world, READ, &token).await;
}

/// The payload and signature of `token` under a header that names another key.
fn with_key_id(token: &str, key_id: &str) -> String {
    use base64::Engine;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let header = engine.encode(json!({ "alg": "RS256", "kid": key_id }).to_string());
    let (_, rest) = token.split_once('.').expect("a compact token");
    format!("{header}.{rest}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_made_up_key_ids_costs_the_issuer_one_fetch() {
    let world = World::start().await;
    let token = world.token(seed::BAKKEN).await;
    let before = world.calls("jwks").await;
    let flood = async {
        let asks = (0..200).map(|_| {
            let made_up = with_key_id(&token, &uuid::Uuid::new_v4().to_string());
            async { world.get(READ, &{ made_up }).await.status().as_u16() }
        });
        futures_util::future::join_all(asks).await
    };
    let good = async {
        let mut statuses = Vec::new();
        for _ in 0..20 {
            statuses.push(world.get(READ, &token).await.status().as_u16());
        }
        statuses
    };
    let (flood, good) = tokio::join!(flood, good);
    assert_eq!(flood, [401; 200]);
    assert_eq!(good, [200; 20]);
    let fetches = world.calls("jwks").await - before;
    assert!(fetches <= 2, "{fetches} fetches");
    assert_eq!(world.upstream.count(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_works_after_one_fetch_and_a_removed_one_dies_at_the_next_refresh() {
    let world = World::start_with(&format!(
        "maskinporten: {{ client_id: \"{}\", key_env: PROXY_JWK, refresh: 2s }}\n",
        seed::PROXY_CLIENT
    ))
    .await;
    let old = world.token(seed::BAKKEN).await;
    until_served(&world, READ, &old).await;
    world.knob(Method::POST, "keys/rotate", json!({ "drop_old": false })).await;
    let new = world.token(seed::BAKKEN).await;
    let unknown = "portvakt_key_set_fetches_total{result=\"ok\",trigger=\"unknown_kid\"}";
    assert_eq!(world.get(READ, &new).await.status(), 200);
    assert!(world.proxy.metric(unknown).await <= 1.0);
    assert_eq!(world.get(READ, &old).await.status(), 200, "the old key is still published");
    world.knob(Method::POST, "keys/rotate", json!({ "drop_old": true })).await;
    wait_until("the removed key is dead", async || world.get(READ, &old).await.status() == 401)
        .await;
    let newest = world.token(seed::BAKKEN).await;
    assert_eq!(world.get(READ, &newest).await.status(), 200);
}

// ---- The PDP

/// While the PDP fails: 503 `cannot_decide` for one of `reasons`, in time, and nothing upstream.
async fn assert_undecided(world: &World, token: &str, what: &str, reasons: &[&str]) {
    let reached = world.upstream.count();
    let begun = Instant::now();
    let (status, retry_after, problem) = told(world.get(READ, token).await).await;
    let took = begun.elapsed();
    assert_eq!((status, code(&problem)), (503, "cannot_decide"), "{what}: {problem}");
    let reason = problem["reason"].as_str().expect("a reason");
    assert!(reasons.contains(&reason), "{what}: {reason}");
    assert!(retry_after.is_some_and(|seconds| seconds >= 1), "{what}");
    assert!(took < BUDGET + SLACK, "{what}: {took:?}");
    assert_eq!(world.upstream.count(), reached, "{what}: the upstream was called");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pdp_that_fails_is_no_no() {
    let world = World::start_with(ASK_ALWAYS).await;
    let token = world.token(seed::BAKKEN).await;
    until_served(&world, READ, &token).await;
    let permit = r#"{"response":[{"decision":"Permit"}]}"#;
    for (fault, reasons) in [
        (json!({ "close": true }), &["unreachable"][..]),
        (json!({ "status": 500 }), &["error_status"]),
        (json!({ "status": 503, "retry_after": 1 }), &["error_status"]),
        (json!({ "status": 404 }), &["error_status"]),
        (json!({ "status": 302 }), &["error_status"]),
        (json!({ "status": 204 }), &["error_status"]),
        (json!({ "status": 403 }), &["own_credentials"]),
        (json!({ "status": 500, "body": permit }), &["error_status"]),
        (json!({ "hang": true }), &["timed_out"]),
        (json!({ "latency_ms": 1500 }), &["timed_out"]),
        (json!({ "truncate": true }), &["unreachable"]),
        (json!({ "body": "<html>Permit</html>", "content_type": "text/html" }), &["unreadable"]),
        (json!({ "body": "" }), &["unreadable"]),
        (json!({ "body": "null" }), &["unreadable"]),
        (json!({ "body": " ".repeat(1 << 20) }), &["unreadable"]),
        (json!({ "body": r#"{"response":[{"decision":"permit"}]}"# }), &["unreadable"]),
        (
            json!({ "body": r#"{"response":[{"decision":"Permit"},{"decision":"Deny"}]}"# }),
            &["unreadable"],
        ),
        (
            json!({ "body": r#"{"response":[{"decision":"Deny","decision":"Permit"}]}"# }),
            &["unreadable"],
        ),
        (json!({ "decision": "Indeterminate" }), &["indeterminate"]),
        (json!({ "empty_response": true }), &["unreadable"]),
        (json!({ "extra_results": 1 }), &["unreadable"]),
    ] {
        world.fault("pdp", fault.clone()).await;
        assert_undecided(&world, &token, &fault.to_string(), reasons).await;
        world.heal().await;
        until_served(&world, READ, &token).await;
    }
    let denied = "portvakt_requests_total{answer=\"denied\",code=\"denied\",route=\"read\"}";
    assert!(world.proxy.metric(denied).await.abs() < f64::EPSILON);
}

/// Each question has the budget for itself; together they have no more.
#[tokio::test(flavor = "multi_thread")]
async fn several_system_users_share_one_budget() {
    let world = World::start_with(ASK_ALWAYS).await;
    until_served(&world, READ, &world.token(seed::BAKKEN).await).await;
    let ids: Vec<String> =
        (1..=4).map(|number| format!("5e000000-0000-4000-8000-00000000009{number}")).collect();
    let entry = json!([{
        "type": "urn:altinn:systemuser", "systemuser_id": ids, "system_id": "310000205_nordlys",
        "systemuser_org": { "authority": "iso6523-actorid-upis", "ID": "0192:310000507" },
    }]);
    let wish = json!({
        "client_id": seed::NORDLYS, "scope": "skatteetaten:mva", "systemuser_org": seed::BAKKEN,
        "claims_override": { "authorization_details": entry },
    });
    let token = world.token_with(wish).await;
    world.fault("pdp", json!({ "hang": true })).await;
    assert_undecided(&world, &token, "four that hang", &["timed_out"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_pascal_case_is_an_answer() {
    let world = World::start_with(ASK_ALWAYS).await;
    let token = world.token(seed::BAKKEN).await;
    world.fault("pdp", json!({ "pascal_case": true })).await;
    assert_eq!(world.get(READ, &token).await.status(), 200);
    let archive = world.request("PUT", "/v1/parties/310000507/archive").bearer_auth(&token);
    assert_eq!(archive.send().await.unwrap().status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_drips_or_never_ends_is_cut_in_time() {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    let relay = Relay::start(sandbox.altinn_url()).await;
    let upstream = Upstream::start().await;
    let (issuer, altinn) = (sandbox.issuer().to_owned(), sandbox.altinn_url().to_owned());
    let config =
        config(&sandbox, &format!("upstream: {{ url: \"{}\" }}", upstream.url()), ASK_ALWAYS)
            .replace(
                &format!("custom: {{ issuer: \"{issuer}\", altinn: \"{altinn}\" }}"),
                &format!("custom: {{ issuer: \"{issuer}\", altinn: \"{}\" }}", relay.url()),
            );
    let world = World::start_config(sandbox, upstream, &config).await;
    let token = world.token(seed::BAKKEN).await;
    until_served(&world, READ, &token).await;
    for (rubbish, reasons) in
        [(Rubbish::Drip, &["timed_out"][..]), (Rubbish::Endless, &["unreadable", "timed_out"])]
    {
        relay.spoil("/authorization/", Some(rubbish));
        assert_undecided(&world, &token, &format!("{rubbish:?}"), reasons).await;
        relay.spoil("/authorization/", None);
        until_served(&world, READ, &token).await;
    }
    let (_, most) = world.proxy.memory();
    assert!(most < 64 << 20, "{most} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_altinn_asks_for_is_passed_on_and_kept() {
    let world = World::start_with(ASK_ALWAYS).await;
    let token = world.token(seed::BAKKEN).await;
    until_served(&world, READ, &token).await;
    world.fault("pdp", json!({ "status": 429, "retry_after": 3 })).await;
    let begun = Instant::now();
    let (status, retry_after, problem) = told(world.get(READ, &token).await).await;
    assert_eq!((status, retry_after, &problem["reason"]), (503, Some(3), &json!("throttled")));
    let calls = world.calls("pdp").await;
    world.heal().await;
    let mut left = 3;
    while left > 1 {
        let (status, retry_after, problem) = told(world.get(READ, &token).await).await;
        if status == 200 {
            break;
        }
        assert_eq!((status, &problem["reason"]), (503, &json!("throttled")));
        assert!(retry_after.is_some_and(|seconds| seconds <= left), "{retry_after:?} after {left}");
        left = retry_after.unwrap();
        if begun.elapsed() < Duration::from_secs(3) {
            assert_eq!(world.calls("pdp").await, calls, "called during the pause");
        }
        tokio::task::yield_now().await;
    }
    until_served(&world, READ, &token).await;
    assert!(begun.elapsed() >= Duration::from_secs(3), "served after {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_ours_that_altinn_refuses_is_replaced_once() {
    let world = World::start_with(ASK_ALWAYS).await;
    let token = world.token(seed::BAKKEN).await;
    until_served(&world, READ, &token).await;
    let (exchanged, asked) = (world.calls("exchange").await, world.calls("pdp").await);
    world.fault("pdp", json!({ "status": 401, "times": 1 })).await;
    assert_eq!(world.get(READ, &token).await.status(), 200);
    assert_eq!(world.calls("exchange").await, exchanged + 1);
    assert_eq!(world.calls("pdp").await, asked + 2);
    // For good: it is told, and not every request costs a new token.
    world.fault("pdp", json!({ "status": 401 })).await;
    for _ in 0..5 {
        assert_undecided(&world, &token, "401", &["own_credentials"]).await;
    }
    assert!(world.calls("exchange").await <= exchanged + 2);
    world.heal().await;
    until_served(&world, READ, &token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn permits_that_are_held_serve_on_inside_their_age_only() {
    let routes = support::ROUTES.replace(
        "  - id: list\n",
        "  - id: short\n    match: { methods: [GET], path: \"/v1/parties/{party}/short\" }\n    \
         scopes: { all_of: [\"skatteetaten:mva\"] }\n    resource: ske-mva-melding\n    action: read\n    \
         party: { path: party }\n    freshness: { max_age: 2s }\n  - id: list\n",
    );
    let altinn = ASK_ALWAYS.lines().nth(3).expect("the section");
    let world = World::start_with(&format!(
        "{altinn}\nregister: {{ enabled: false }}\nfreshness: {{ read: {{ max_age: 60s, outage_grace: 0s }} }}\nroutes:{routes}"
    ))
    .await;
    let token = world.token(seed::BAKKEN).await;
    let short = "/v1/parties/310000507/short";
    assert_eq!(world.get(short, &token).await.status(), 200);
    let begun = Instant::now();
    world.fault("pdp", json!({ "close": true })).await;
    let calls = world.calls("pdp").await;
    assert_eq!(world.get(READ, &token).await.status(), 200);
    assert_eq!(world.upstream.last().header("portvakt-source"), ["register"]);
    assert_eq!(world.calls("pdp").await, calls);
    let (status, _, problem) =
        told(world.request("POST", SUBMIT).bearer_auth(&token).send().await.unwrap()).await;
    assert_eq!((status, code(&problem)), (503, "cannot_decide"), "never asked before: {problem}");
    wait_until("too old for its route", async || {
        let answer = world.get(short, &token).await;
        let late = begun.elapsed() >= Duration::from_secs(2);
        match answer.status().as_u16() {
            200 => {
                let age: u64 = world.upstream.last().header("portvakt-age")[0].parse().unwrap();
                assert!(age < 2);
                false
            }
            503 => late,
            other => panic!("{other}"),
        }
    })
    .await;
    world.heal().await;
    until_served(&world, short, &token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pdp_that_only_fails_is_left_alone_for_a_while() {
    let world = World::start_with(
        "register: { enabled: false }\nfreshness: { read: { max_age: 0s }, write: { max_age: 0s } }\naltinn: { subscription_key: sandbox-subscription-key, \
         requests_per_second: 1000, budget: 1s, attempt_timeout: 400ms, max_attempts: 1, circuit_failures: 3, \
         circuit_open_for: 5s }\n",
    )
    .await;
    let token = world.token(seed::BAKKEN).await;
    until_served(&world, READ, &token).await;
    world.fault("pdp", json!({ "close": true })).await;
    for _ in 0..3 {
        assert_undecided(&world, &token, "closing", &["unreachable"]).await;
    }
    let opened = Instant::now();
    assert!((world.proxy.metric("portvakt_pdp_circuit_open").await - 1.0).abs() < f64::EPSILON);
    let calls = world.calls("pdp").await;
    for _ in 0..5 {
        assert_undecided(&world, &token, "open", &["circuit_open"]).await;
    }
    if opened.elapsed() < Duration::from_secs(4) {
        assert_eq!(world.calls("pdp").await, calls);
    }
    world.heal().await;
    until_served(&world, READ, &token).await;
    assert!(opened.elapsed() > Duration::from_secs(4));
    assert!(world.proxy.metric("portvakt_pdp_circuit_open").await.abs() < f64::EPSILON);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_of_our_own_nothing_can_be_told_until_there_is_one() {
    for endpoint in ["token", "exchange"] {
        for fault in [
            json!({ "status": 500 }),
            json!({ "close": true }),
            json!({ "hang": true }),
            json!({ "body": "<html>" }),
            json!({ "truncate": true }),
        ] {
            let sandbox = faulty_sandbox(&[endpoint], fault.clone()).await;
            let upstream = Upstream::start().await;
            let sections = format!(
                "{ASK_ALWAYS}maskinporten: {{ client_id: \"{}\", key_env: PROXY_JWK, timeout: 500ms }}\n",
                seed::PROXY_CLIENT
            );
            let section = format!("upstream: {{ url: \"{}\" }}", upstream.url());
            let text = config(&sandbox, &section, &sections);
            let world = World::start_config(sandbox, upstream, &text).await;
            let token = world.token(seed::BAKKEN).await;
            assert_undecided(&world, &token, &format!("{endpoint} {fault}"), &["no_own_token"])
                .await;
            world.heal().await;
            until_served(&world, READ, &token).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn altinn_is_never_called_more_often_than_declared() {
    let world = World::start_with(
        "confirmations: { no_for: 0s }\nregister: { enabled: false }\n\
         freshness: { read: { max_age: 0s }, write: { max_age: 0s } }\naltinn: { subscription_key: sandbox-subscription-key, \
         requests_per_second: 5, budget: 1s, attempt_timeout: 600ms, max_attempts: 1 }\n",
    )
    .await;
    let token = world.token(seed::BAKKEN).await;
    // Our own token is there, so that only turns are waited for.
    until_served(&world, READ, &token).await;
    let before = world.calls("pdp").await;
    let begun = Instant::now();
    // Other parties are other questions: none waits for the answer of another.
    let parties = [
        "310000108",
        "310000205",
        "310000213",
        "310000302",
        "310000701",
        "310000728",
        "310000736",
        "310000744",
        "310000507",
        "310000515",
        "310000523",
        "310000604",
        "310000612",
        "310000620",
    ];
    let asks = parties.into_iter().flat_map(|party| {
        let target = format!("/v1/parties/{party}/returns");
        [("GET", format!("{target}/7")), ("POST", target)]
    });
    let asks = asks.map(|(method, target)| {
        let request = world.request(method, &target).bearer_auth(&token);
        async { told(request.send().await.unwrap()).await }
    });
    let answers = futures_util::future::join_all(asks).await;
    let took = begun.elapsed();
    let calls = world.calls("pdp").await - before;
    let most = 5 * (took.as_secs() + 1);
    assert!(calls <= most, "{calls} calls in {took:?}");
    assert!(took < BUDGET + SLACK, "{took:?}");
    let mut answered = 0;
    for (status, retry_after, problem) in &answers {
        match status {
            200 | 403 => answered += 1,
            503 => {
                assert_eq!(problem["reason"], "busy");
                assert!(retry_after.is_some());
            }
            other => panic!("{other}: {problem}"),
        }
    }
    assert_eq!(answered, calls, "every call gave an answer, and every answer took a call");
    assert!((1..28).contains(&answered), "{answered}");
    until_served(&world, READ, &token).await;
}

// ---- The upstream

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_not_there_is_502_and_comes_back_by_itself() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let world = world_before(&format!("upstream: {{ url: \"{url}\" }}"), "").await;
    let token = world.token(seed::BAKKEN).await;
    let (status, _, problem) = told(world.get(READ, &token).await).await;
    assert_eq!((status, code(&problem)), (502, "upstream_unavailable"), "{problem}");
    let record = world.proxy.audit_records(1).await.remove(0);
    assert_eq!((&record["answer"], &record["status"]), (&json!("permit"), &json!(502)));
    let _upstream = RawUpstream::on(socket.listen(16).unwrap(), |mut wire, _, _| async move {
        while wire.message().await.is_some() && wire.try_send(OK).await {}
    });
    assert_eq!(world.get(READ, &token).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_hangs_is_504_in_time() {
    let upstream = RawUpstream::start(|mut wire, number, seen| async move {
        while let Some((head, _)) = wire.message().await {
            seen.note(head);
            if number > 1 && !wire.try_send(OK).await {
                break;
            }
        }
    })
    .await;
    let world = world_before(&upstream.section("response_timeout: 1s"), "").await;
    let token = world.token(seed::BAKKEN).await;
    for method in ["GET", "POST"] {
        let target = if method == "GET" { READ } else { SUBMIT };
        let begun = Instant::now();
        let (status, _, problem) =
            told(world.request(method, target).bearer_auth(&token).send().await.unwrap()).await;
        let took = begun.elapsed();
        assert_eq!((status, code(&problem)), (504, "upstream_timeout"), "{problem}");
        assert!(
            took >= Duration::from_secs(1) && took < Duration::from_secs(1) + SLACK,
            "{took:?}"
        );
    }
    assert_eq!(upstream.seen.heads().len(), 2, "sent once each");
    assert_eq!(world.get(READ, &token).await.status(), 200);
    assert_eq!(upstream.seen.connections(), 3, "a connection that hung is not used again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_never_looks_whole() {
    let begin = |head: &str| format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
    let starts = [
        format!("{}{}", begin("Content-Length: 5000"), "x".repeat(1000)),
        begin("Content-Length: 5000"),
        format!("{}3e8\r\n{}\r\n", begin("Transfer-Encoding: chunked"), "x".repeat(1000)),
        format!("{}3e8\r\n{}", begin("Transfer-Encoding: chunked"), "x".repeat(10)),
        format!("{}3\r\nabc\r\nzz\r\n", begin("Transfer-Encoding: chunked")),
        // All there but the last line: still not whole.
        format!("{}3\r\nabc\r\n0\r\n", begin("Transfer-Encoding: chunked")),
    ];
    for start in starts {
        for reset in [false, true] {
            let (sent, go) = (start.clone(), Arc::new(Notify::new()));
            let gate = Arc::clone(&go);
            let upstream = RawUpstream::start(move |mut wire, number, _| {
                let (sent, gate) = (sent.clone(), Arc::clone(&gate));
                async move {
                    while wire.message().await.is_some() {
                        if number > 0 {
                            wire.try_send(OK).await;
                            continue;
                        }
                        wire.send(&sent).await;
                        // The head is with the client before the end comes.
                        gate.notified().await;
                        return if reset { wire.reset() } else { drop(wire) };
                    }
                }
            })
            .await;
            let world = world_before(&upstream.section(""), "").await;
            let token = world.token(seed::BAKKEN).await;
            let answer = world.get(READ, &token).await;
            assert_eq!(answer.status(), 200);
            go.notify_one();
            let body = answer.bytes().await;
            assert!(body.is_err(), "looks whole: {start:?} {reset} {body:?}");
            let record = world.proxy.audit_records(1).await.remove(0);
            assert_eq!(record["complete"], false, "{start:?} {record}");
            assert_eq!(world.get(READ, &token).await.status(), 200);
            assert_eq!(upstream.seen.connections(), 2);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_is_502_and_its_connection_is_given_up() {
    let many = "X-Many: 1\r\n".repeat(2000);
    let answers = [
        "rubbish\r\n\r\n".to_owned(),
        "SSH-2.0-OpenSSH_9.9\r\n".to_owned(),
        "HTTP/1.1 20O OK\r\n\r\n".to_owned(),
        "HTTP/1.1 999999 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n{}".to_owned(),
        "HTTP/1.1 200 OK\r\nBad\u{0}Name: 2\r\n\r\n{}".to_owned(),
        format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 2\r\n\r\n{{}}"),
        format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\n{{}}", "x".repeat(2 << 20)),
        // A switch that nobody asked for.
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
            .to_owned(),
        // Not HTTP/1.
        "\u{0}\u{0}\u{12}\u{4}\u{0}\u{0}\u{0}\u{0}\u{0}".to_owned(),
        // Nothing at all.
        String::new(),
    ];
    for answer in answers {
        let text = answer.clone();
        let upstream = RawUpstream::start(move |mut wire, number, seen| {
            let text = text.clone();
            async move {
                while let Some((head, _)) = wire.message().await {
                    seen.note(head);
                    let sent = if number == 0 { text.as_str() } else { OK };
                    if !wire.try_send(sent).await || sent.is_empty() {
                        break;
                    }
                }
            }
        })
        .await;
        let world = world_before(&upstream.section("response_timeout: 5s"), "").await;
        let token = world.token(seed::BAKKEN).await;
        let (status, _, problem) =
            told(world.request("POST", SUBMIT).bearer_auth(&token).send().await.unwrap()).await;
        let shown: String = answer.chars().take(80).collect();
        assert_eq!(status, 502, "{shown:?}: {problem}");
        assert!(
            ["upstream_bad_answer", "upstream_unavailable"].contains(&code(&problem)),
            "{problem}"
        );
        assert_eq!(world.get(READ, &token).await.status(), 200, "{shown:?}");
        assert_eq!(upstream.seen.connections(), 2, "{shown:?}");
        assert_eq!(upstream.seen.heads().len(), 2, "{shown:?}: sent twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_after_an_answer_belong_to_nobody() {
    let forged = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
    for answer in [
        format!("{OK}extra"),
        format!("{OK}{forged}"),
        format!("HTTP/1.1 204 No Content\r\n\r\n{forged}"),
        format!("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{{}}{forged}"),
        format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n{{}}{forged}"),
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n{forged}"
        ),
    ] {
        let upstream = RawUpstream::answering(answer.clone()).await;
        let world = world_before(&upstream.section(""), "").await;
        let token = world.token(seed::BAKKEN).await;
        for round in 1..=3 {
            let answer_seen = world.get(READ, &token).await;
            assert!([200, 204, 304].contains(&answer_seen.status().as_u16()), "{answer:?}");
            let body = answer_seen.text().await.unwrap();
            assert!(["", "{}"].contains(&body.as_str()), "{answer:?}: {body}");
            assert_eq!(upstream.seen.heads().len(), round);
        }
        assert_eq!(upstream.seen.connections(), 3, "{answer:?}: reused");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_answers_do_not_stand_for_the_last_one() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    let upstream = RawUpstream::answering(format!("{early}{OK}")).await;
    let world = world_before(&upstream.section(""), "").await;
    let token = world.token(seed::BAKKEN).await;
    // One connection of the client: two can be served by two cores, and the second asks before the first has
    // put its upstream connection back.
    let connection = Connection::open(world.proxy.address(), Protocol::Http1).await;
    for _ in 0..20 {
        let ask =
            request(&connection, "GET", READ).header("authorization", format!("Bearer {token}"));
        let answer = connection.send(ask.body(empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "{}");
    }
    assert_eq!(upstream.seen.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_on_a_kept_connection_that_closes_is_never_sent_twice() {
    // Each connection answers once; the second request on it is read, and the connection closes.
    let upstream = RawUpstream::start(|mut wire, _, seen| async move {
        if let Some((head, _)) = wire.message().await {
            seen.note(head);
            wire.send(OK).await;
        }
        if let Some((head, _)) = wire.message().await {
            seen.note(head);
        }
    })
    .await;
    let world = world_before(&upstream.section(""), "").await;
    let token = world.token(seed::BAKKEN).await;
    let mut statuses = Vec::new();
    for number in 0..20 {
        let post =
            world.request("POST", &format!("{SUBMIT}?n={number}")).bearer_auth(&token).body("{}");
        statuses.push(post.send().await.unwrap().status().as_u16());
    }
    let sent: Vec<String> = upstream
        .seen
        .heads()
        .iter()
        .map(|head| head.lines().next().unwrap_or_default().to_owned())
        .collect();
    let distinct: BTreeSet<&String> = sent.iter().collect();
    assert_eq!(sent.len(), distinct.len(), "sent twice: {sent:?}");
    assert_eq!(sent.len(), 20);
    assert!(statuses.iter().all(|status| [200, 502].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&502) && statuses.contains(&200), "{statuses:?}");
}

/// The targets that reached an upstream, in order.
fn targets(heads: &[String]) -> Vec<&str> {
    heads.iter().filter_map(|head| head.split(' ').nth(1)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_is_sent_once_more_when_a_kept_connection_ends_without_a_byte() {
    // Each connection answers once; the second request on it is read, and the connection closes.
    let upstream = RawUpstream::start(|mut wire, _, seen| async move {
        if let Some((head, _)) = wire.message().await {
            seen.note(head);
            wire.send(OK).await;
        }
        if let Some((head, _)) = wire.message().await {
            seen.note(head);
        }
    })
    .await;
    let world = world_before(&upstream.section(""), "").await;
    let token = world.token(seed::BAKKEN).await;
    for number in 0..20 {
        assert_eq!(world.get(&format!("{READ}?n={number}"), &token).await.status(), 200);
    }
    let heads = upstream.seen.heads();
    let targets = targets(&heads);
    let most = targets.iter().map(|one| targets.iter().filter(|other| *other == one).count()).max();
    assert_eq!(most, Some(2), "{targets:?}");
    let sample = "portvakt_upstream_retries_total{upstream=\"default\"}";
    assert!(world.proxy.metric(sample).await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_is_not_sent_again_after_a_byte_nor_over_a_new_connection() {
    // The second request on a connection gets the beginning of an answer, and so does every later connection.
    let upstream = RawUpstream::start(|mut wire, number, seen| async move {
        if number == 0
            && let Some((head, _)) = wire.message().await
        {
            seen.note(head);
            wire.send(OK).await;
        }
        if let Some((head, _)) = wire.message().await {
            seen.note(head);
            if number == 0 {
                wire.send("H").await;
            }
        }
    })
    .await;
    let world = world_before(&upstream.section("max_idle_connections: 1"), "").await;
    let token = world.token(seed::BAKKEN).await;
    let mut statuses = Vec::new();
    for number in 0..20 {
        let answer = world.get(&format!("{READ}?n={number}"), &token).await;
        statuses.push(answer.status().as_u16());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    let heads = upstream.seen.heads();
    let distinct: BTreeSet<&str> = targets(&heads).into_iter().collect();
    assert_eq!((heads.len(), distinct.len()), (20, 20), "sent twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_closed_meanwhile_costs_nothing() {
    let closed = Arc::new(Semaphore::new(0));
    let tell = Arc::clone(&closed);
    let upstream = RawUpstream::start(move |mut wire, _, seen| {
        let tell = Arc::clone(&tell);
        async move {
            if let Some((head, _)) = wire.message().await {
                seen.note(head);
                wire.send(OK).await;
            }
            drop(wire);
            tell.add_permits(1);
        }
    })
    .await;
    let world = world_before(&upstream.section(""), "").await;
    let token = world.token(seed::BAKKEN).await;
    for number in 0..50 {
        let post =
            world.request("POST", &format!("{SUBMIT}?n={number}")).bearer_auth(&token).body("{}");
        let status = post.send().await.unwrap().status();
        closed.acquire().await.unwrap().forget();
        // The end of a connection is told to the program before the next request comes: a round trip
        // through it, on the same machine, later.
        world.proxy.admin("/livez").await;
        world.request("GET", "/nowhere").send().await.unwrap();
        assert!(status == 200 || status == 502, "{status}");
    }
    let heads = upstream.seen.heads();
    let distinct: BTreeSet<&str> = heads.iter().filter_map(|head| head.lines().next()).collect();
    assert_eq!(distinct.len(), heads.len(), "sent twice");
    assert!(heads.len() >= 45, "only {} of 50 arrived", heads.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stalls_is_cut() {
    let ended = Arc::new(Notify::new());
    let tell = Arc::clone(&ended);
    let upstream = RawUpstream::start(move |mut wire, _, _| {
        let tell = Arc::clone(&tell);
        async move {
            wire.message().await;
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789").await;
            assert!(wire.rest().await.is_empty());
            tell.notify_one();
        }
    })
    .await;
    let world = world_before(&upstream.section("idle_timeout: 500ms"), "").await;
    let token = world.token(seed::BAKKEN).await;
    let answer = world.get(READ, &token).await;
    let begun = Instant::now();
    assert!(answer.bytes().await.is_err());
    assert!(begun.elapsed() < Duration::from_millis(500) + SLACK);
    tokio::time::timeout(LONG, ended.notified())
        .await
        .expect("the upstream's connection is given up");
    assert_eq!(world.proxy.audit_records(1).await[0]["complete"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_takes_nothing_of_a_body_is_504() {
    // Reads the head only, and never the body.
    let forever = Arc::new(Notify::new());
    let wait = Arc::clone(&forever);
    let upstream = RawUpstream::start(move |mut wire, _, _| {
        let wait = Arc::clone(&wait);
        async move {
            wire.head().await;
            wait.notified().await;
        }
    })
    .await;
    let world =
        world_before(&upstream.section("idle_timeout: 1s, response_timeout: 20s"), "").await;
    let token = world.token(seed::BAKKEN).await;
    let mut client = Wire::connect(world.proxy.address()).await;
    let length = 64 << 20;
    let head = format!(
        "POST {SUBMIT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n"
    );
    client.send(head).await;
    let begun = Instant::now();
    let mut chunks = 0;
    // Until nothing more is taken.
    while begun.elapsed() < LONG
        && tokio::time::timeout(Duration::from_millis(300), client.try_send(vec![b'x'; 1 << 20]))
            .await
            == Ok(true)
    {
        chunks += 1;
    }
    assert!(chunks < 64, "all of it was taken");
    let answer = client.head().await.expect("an answer");
    assert_eq!(status(&answer), 504, "{answer}");
}

// ---- Clients and the end

/// An upstream that answers with bytes without end, and tells when it is let go.
async fn fountain() -> (RawUpstream, Arc<Notify>) {
    let ended = Arc::new(Notify::new());
    let tell = Arc::clone(&ended);
    let upstream = RawUpstream::start(move |mut wire, _, _| {
        let tell = Arc::clone(&tell);
        async move {
            wire.message().await;
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n").await;
            let water = vec![b'x'; 1 << 20];
            while wire.try_send(&water).await {}
            tell.notify_one();
        }
    })
    .await;
    (upstream, ended)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_of_its_answer_is_cut() {
    let (upstream, ended) = fountain().await;
    let limits = "limits: { body_idle_timeout: 1s }\n";
    let world = world_before(&upstream.section("idle_timeout: 1s"), limits).await;
    let token = world.token(seed::BAKKEN).await;
    let mut client = Wire::connect(world.proxy.address()).await;
    client
        .send(format!("GET {READ} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"))
        .await;
    assert_eq!(status(&client.head().await.unwrap()), 200);
    tokio::time::timeout(LONG, ended.notified()).await.expect("the upstream is let go");
    let records = world.proxy.audit_records(1).await;
    assert_eq!(records[0]["complete"], false, "{}", records[0]);
    wait_until("the connection is given up", async || {
        world.proxy.metric("portvakt_connections").await.abs() < f64::EPSILON
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_which_nothing_is_taken_is_cut_and_harms_no_other() {
    let (upstream, ended) = fountain().await;
    let limits = "limits: { body_idle_timeout: 1s }\n";
    let world = world_before(&upstream.section("idle_timeout: 1s"), limits).await;
    let token = world.token(seed::BAKKEN).await;
    let connection = Connection::open(world.proxy.address(), Protocol::Http2).await;
    let get = async |target: &str| {
        let ask =
            request(&connection, "GET", target).header("authorization", format!("Bearer {token}"));
        connection.send(ask.body(empty()).unwrap()).await.unwrap()
    };
    let answer = get(READ).await;
    assert_eq!(answer.status(), 200);
    tokio::time::timeout(LONG, ended.notified()).await.expect("the upstream is let go");
    let records = world.proxy.audit_records(1).await;
    assert_eq!(records[0]["complete"], false, "{}", records[0]);
    assert_eq!(get("/nowhere").await.status(), 404, "the connection lives on");
    assert!(answer.collect().await.is_err(), "never whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_in_its_answer_is_recorded_once() {
    for protocol in Protocol::BOTH {
        let (upstream, ended) = fountain().await;
        let world = world_before(&upstream.section(""), "").await;
        let token = world.token(seed::BAKKEN).await;
        let connection = Connection::open(world.proxy.address(), protocol).await;
        let ask =
            request(&connection, "GET", READ).header("authorization", format!("Bearer {token}"));
        let answer = connection.send(ask.body(empty()).unwrap()).await.unwrap();
        drop(answer);
        drop(connection);
        tokio::time::timeout(LONG, ended.notified()).await.expect("the upstream is let go");
        let records = world.proxy.audit_records(1).await;
        assert_eq!((records.len(), &records[0]["complete"]), (1, &json!(false)), "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_is_recorded_once_and_its_request_ends() {
    let (begun, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell_begun, tell_ended) = (Arc::clone(&begun), Arc::clone(&ended));
    let upstream = RawUpstream::start(move |mut wire, _, _| {
        let (begun, ended) = (Arc::clone(&tell_begun), Arc::clone(&tell_ended));
        async move {
            wire.message().await;
            begun.notify_one();
            wire.rest().await;
            ended.notify_one();
        }
    })
    .await;
    let world = world_before(&upstream.section(""), "").await;
    let token = world.token(seed::BAKKEN).await;
    let mut client = Wire::connect(world.proxy.address()).await;
    client
        .send(format!("GET {READ} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"))
        .await;
    begun.notified().await;
    drop(client);
    tokio::time::timeout(LONG, ended.notified()).await.expect("the upstream learns of it");
    let records = world.proxy.audit_records(1).await;
    assert_eq!(records[0]["complete"], false, "{}", records[0]);
    assert_eq!(records[0]["answer"], "permit");
    assert_eq!(records[0]["status"], Value::Null);
    wait_until("nothing in flight", async || {
        world.proxy.metric("portvakt_requests_in_flight").await.abs() < f64::EPSILON
    })
    .await;
    assert_eq!(world.proxy.audit().len(), 1);
    let aborted = "portvakt_responses_total{class=\"aborted\",route=\"read\"}";
    assert!((world.proxy.metric(aborted).await - 1.0).abs() < f64::EPSILON);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_serves_to_the_end_what_was_begun() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let upstream = RawUpstream::start(move |mut wire, _, seen| {
        let held = Arc::clone(&held);
        async move {
            while let Some((head, _)) = wire.message().await {
                seen.note(head);
                held.acquire().await.unwrap().forget();
                if !wire.try_send(OK).await {
                    break;
                }
            }
        }
    })
    .await;
    let mut world = world_before(&upstream.section(""), "").await;
    let token = world.token(seed::BAKKEN).await;
    let shared = Connection::open(world.proxy.address(), Protocol::Http2).await;
    let mut asks = Vec::new();
    for number in 0..20 {
        // Half on connections of their own, half as streams of one.
        let connection = match number % 2 {
            0 => Connection::open(world.proxy.address(), Protocol::Http1).await,
            _ => shared.clone(),
        };
        let ask =
            request(&connection, "GET", READ).header("authorization", format!("Bearer {token}"));
        let ask = ask.body(empty()).unwrap();
        asks.push(tokio::spawn(async move {
            connection.send(ask).await.unwrap().collect().await.unwrap().to_bytes()
        }));
    }
    // One connection that did nothing yet, and one that is idle after a request.
    let mut idle = Wire::connect(world.proxy.address()).await;
    idle.send("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(status(&idle.message().await.unwrap().0), 404);
    wait_until("all in flight", async || upstream.seen.heads().len() == 20).await;
    world.proxy.signal("TERM");
    wait_until("not ready", async || world.proxy.admin("/readyz").await.0 == 503).await;
    assert!(idle.rest().await.is_empty(), "an idle connection is closed");
    wait_until("new connections are refused", async || {
        tokio::net::TcpStream::connect(world.proxy.address()).await.is_err()
    })
    .await;
    gate.add_permits(20);
    for ask in asks {
        assert_eq!(ask.await.unwrap(), "{}");
    }
    assert_eq!(world.proxy.wait(), Some(0));
    let records = world.proxy.audit_records(21).await;
    assert_eq!(records.len(), 21);
    assert!(records.iter().all(|record| record["complete"] == true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_leaves_as_many_records_as_answers() {
    let mut world = World::start().await;
    let token = world.token(seed::BAKKEN).await;
    let (address, count) = (world.proxy.address().to_owned(), 16);
    let busy = Arc::new(Semaphore::new(0));
    let clients: Vec<_> = (0..count)
        .map(|_| {
            let (address, token, busy) = (address.clone(), token.clone(), Arc::clone(&busy));
            tokio::spawn(async move {
                let mut wire = Wire::connect(&address).await;
                let request = format!(
                    "GET {READ} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
                );
                let mut answers = 0;
                while wire.try_send(&request).await {
                    let Some((head, _)) = wire.message().await else { break };
                    assert_eq!(status(&head), 200);
                    answers += 1;
                    busy.add_permits(1);
                    if field(&head, "connection") == Some("close") {
                        break;
                    }
                }
                answers
            })
        })
        .collect();
    let _ = busy.acquire_many(500).await.unwrap();
    world.proxy.signal("TERM");
    let mut answers = 0;
    for client in clients {
        answers += client.await.unwrap();
    }
    assert_eq!(world.proxy.wait(), Some(0));
    let records = world.proxy.audit_records(answers).await;
    assert_eq!(records.len(), answers);
    assert_eq!(world.upstream.count(), answers, "what reached the upstream was answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_at_its_limit() {
    let upstream = RawUpstream::start(|mut wire, _, seen| async move {
        if let Some((head, _)) = wire.message().await {
            seen.note(head);
            wire.rest().await;
        }
    })
    .await;
    let mut world = world_before(&upstream.section(""), "limits: { drain_timeout: 1s }\n").await;
    let token = world.token(seed::BAKKEN).await;
    let request = world.request("GET", READ).bearer_auth(&token);
    let ask = tokio::spawn(request.send());
    wait_until("in flight", async || upstream.seen.heads().len() == 1).await;
    let begun = Instant::now();
    world.proxy.signal("TERM");
    assert_eq!(world.proxy.wait(), Some(0));
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(1) + 2 * SLACK,
        "{took:?}"
    );
    assert!(ask.await.unwrap().is_err(), "cut");
    let records = world.proxy.audit_records(1).await;
    assert_eq!(records.len(), 1, "what was cut is recorded too");
    assert_eq!(records[0]["complete"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_ask_the_same_share_one_call() {
    let world = World::start().await;
    let token = world.token(seed::BAKKEN).await;
    let before = world.calls("pdp").await;
    let asks = (0..50).map(|_| world.get(READ, &token));
    let answers = futures_util::future::join_all(asks).await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert_eq!(
        world.calls("pdp").await,
        before + 1,
        "one question, however many wait for its answer"
    );
}

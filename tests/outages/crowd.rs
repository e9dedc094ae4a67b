//! Many system users at once, and few calls a second to Altinn.

use crate::stage::*;
use crate::support::{World, seed, wait_until};
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CROWD: usize = 300;
const PER_SECOND: u64 = 20;
const BUDGET: Duration = Duration::from_secs(4);
const SLACK: Duration = Duration::from_secs(2);

/// System users of one vendor, beside those of the seed world.
async fn crowd(world: &World, system: &str, client: &str, count: usize) -> Vec<Ask> {
    let users: Vec<Value> = (0..count)
        .map(|number| {
            json!({
                "id": uuid::Uuid::new_v4().to_string(),
                "kind": "standard",
                "system": system,
                "owner": "310000507",
                "external_ref": format!("number-{number}"),
                "delegations": [{ "party": "310000507", "packages": ["skattegrunnlag"] }],
            })
        })
        .collect();
    let told = world.knob(Method::PATCH, "world", json!({ "system_users": users })).await;
    assert!(told["error"].is_null(), "{told}");
    let token = async |number: usize| {
        let wish = json!({
            "client_id": client, "scope": "skatteetaten:mva", "systemuser_org": "310000507",
            "external_ref": format!("number-{number}"), "lifetime_seconds": 600,
        });
        world.token_with(wish).await
    };
    let tokens = stream::iter(0..count).map(token).buffered(8).collect::<Vec<_>>().await;
    let ask = |token| Ask { method: "GET", target: format!("/{MVA}/310000507"), token };
    tokens.into_iter().map(ask).collect()
}

/// Calls at all that the gate is for.
async fn calls(world: &World) -> u64 {
    let calls = world.knob(Method::GET, "calls", Value::Null).await;
    let count = |endpoint: &str| calls["counts"][endpoint].as_u64().unwrap_or(0);
    ["pdp", "parties", "registry", "catalogue"].into_iter().map(count).sum()
}

/// One of a crowd: asks again as it is told to, until it is served.
async fn served(world: &World, question: &Ask) -> u32 {
    let mut refused = 0;
    loop {
        let request = world.request(question.method, &question.target);
        let begun = Instant::now();
        let answer = request.bearer_auth(&question.token).send().await.expect("an answer");
        let took = begun.elapsed();
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get("retry-after").cloned();
        let problem: Value = answer.json().await.unwrap_or(Value::Null);
        if status == 200 {
            return refused;
        }
        assert_eq!(status, 503, "{problem}");
        assert_eq!(problem["reason"], "busy", "{problem}");
        let pause = retry_after.expect("when to come back").to_str().unwrap().parse().unwrap();
        assert!(took < BUDGET + SLACK, "{took:?}");
        assert!(refused < 100, "never served");
        refused += 1;
        // As a client does that is told so.
        tokio::time::sleep(Duration::from_secs(pause)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_one_vendor_is_served_as_declared_and_delays_no_other_vendor() {
    let altinn = format!(
        "altinn: {{ subscription_key: sandbox-subscription-key, requests_per_second: {PER_SECOND}, \
         budget: 4s, attempt_timeout: 3s }}\n"
    );
    let world = stage(&altinn).await;
    let noisy = crowd(&world, "310000213_brekke_lonn", seed::BREKKE, CROWD).await;
    let quiet: Vec<_> = [
        (BAKKEN, "GET", MVA, "310000507", 200),
        (BAKKEN, "GET", MVA, "310000515", 200),
        (BAKKEN, "GET", CLAIMS, "310000507", 200),
        (BAKKEN, "GET", MVA, "310000604", 403),
        (STRAND, "GET", CLAIMS, "310000604", 200),
        (STRAND, "POST", CLAIMS, "310000604", 403),
        (STRAND_STORE, "POST", CLAIMS, "310000604", 200),
        (SKJAER, "GET", EXCISE, "310000612", 200),
        (SUND, "POST", EXCISE, "310000620", 403),
    ]
    .to_vec();
    let mut asks = Vec::new();
    for (who, method, resource, party, status) in quiet {
        asks.push((ask_of(&world, who, method, resource, party).await, status));
    }
    let (before, begun) = (calls(&world).await, Instant::now());
    let all = async {
        let refused = join_all(noisy.iter().map(|question| served(&world, question))).await;
        (refused.iter().sum::<u32>(), begun.elapsed())
    };
    // Each for the first time, while the others wait.
    let other = async {
        wait_until("a crowd waits", async || calls(&world).await > before + PER_SECOND).await;
        let mut slowest = Duration::ZERO;
        for (question, status) in &asks {
            let asked = Instant::now();
            assert_eq!(ask(&world, question).await.status, *status, "{}", question.target);
            slowest = slowest.max(asked.elapsed());
        }
        slowest
    };
    // Between two looks no more calls come than the time between them allows, and what was saved up for
    // a second.
    let done = AtomicBool::new(false);
    let watch = async {
        let mut looks = vec![(begun, before)];
        while !done.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            looks.push((Instant::now(), calls(&world).await));
        }
        looks
    };
    let work = async {
        let told = tokio::join!(all, other);
        done.store(true, Ordering::Relaxed);
        told
    };
    let (((refused, took), slowest), looks) = tokio::join!(work, watch);
    assert!(slowest < BUDGET, "{slowest:?}");
    for (number, (since, from)) in looks.iter().enumerate() {
        for (until, to) in &looks[number..] {
            let span = until.duration_since(*since);
            let most = u128::from(PER_SECOND) * (span.as_millis() + 1500) / 1000;
            assert!(u128::from(to - from) <= most, "{} calls in {span:?}", to - from);
        }
    }
    println!(
        "{CROWD} system users served in {took:?} after {refused} answers of 503; \
         another vendor waited {slowest:?} at most"
    );
    assert!(refused > 0, "a crowd that never had to wait shows nothing");
}

const STORM: Duration = Duration::from_secs(8);
const PAUSE: u64 = 2;

/// Whatever it is asked, Altinn answers 429 and names a time. Nobody calls before it has come, however many
/// ask, and what is called then is what went at once and was under way: no more than the burst and the
/// places.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_429_is_waited_out_without_a_storm_of_calls() {
    let altinn = format!(
        "altinn: {{ subscription_key: sandbox-subscription-key, requests_per_second: {PER_SECOND}, \
         max_in_flight: 4, budget: 1s, attempt_timeout: 800ms }}\n\
         register: {{ refresh_least: 1s }}\nfreshness: {{ read: {{ fresh_for: 100ms, max_age: 1s, outage_grace: 0s }} }}\n"
    );
    let world = stage(&altinn).await;
    let many = crowd(&world, "310000213_brekke_lonn", seed::BREKKE, 30).await;
    let known = ask_of(&world, BAKKEN, "GET", MVA, "310000507").await;
    let foreign = ask_of(&world, BAKKEN, "GET", MVA, "310000604").await;
    until_basis(&world, &known, "derived").await;
    let throttled = json!({ "status": 429, "retry_after": PAUSE });
    for endpoint in ["pdp", "parties", "registry", "catalogue"] {
        world.fault(endpoint, throttled.clone()).await;
    }
    let (before, begun) = (calls(&world).await, Instant::now());
    let told = join_all(many.iter().chain([&foreign]).map(async |question| {
        let (mut answers, mut throttled) = (0_u32, 0_u32);
        while begun.elapsed() < STORM {
            let request = world.request(question.method, &question.target);
            let answer = request.bearer_auth(&question.token).send().await.expect("an answer");
            assert_eq!(answer.status().as_u16(), 503);
            let pause = answer.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap();
            assert!((1..=PAUSE).contains(&pause), "{pause}");
            let problem: Value = answer.json().await.unwrap();
            answers += 1;
            throttled += u32::from(problem["reason"] == "throttled");
        }
        (answers, throttled)
    }))
    .await;
    let (answers, throttled) =
        told.iter().fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1));
    let made = calls(&world).await - before;
    let pauses = begun.elapsed().as_secs() / PAUSE + 1;
    let each = PER_SECOND / 10 + 4;
    assert!(made <= pauses * each, "{made} calls in {pauses} pauses");
    assert!(made >= 2, "it is tried again: {made}");
    assert!(throttled > 100, "{throttled} of {answers}");
    // Nobody asks any more, and the storm goes on: nothing runs hot.
    let (before, spent, begun) = (calls(&world).await, world.proxy.spent(), Instant::now());
    tokio::time::sleep(Duration::from_secs(4)).await;
    let pauses = begun.elapsed().as_secs() / PAUSE + 1;
    assert!(calls(&world).await - before <= pauses * each);
    let spent = world.proxy.spent().saturating_sub(spent);
    assert!(spent < begun.elapsed() / 2, "{spent:?} of a processor in {:?}", begun.elapsed());
    world.heal().await;
    for question in many.iter().chain([&known]) {
        until(&world, question, 200).await;
    }
    until(&world, &foreign, 403).await;
    let read = "portvakt_register_refreshes_total{result=\"unchanged\"}";
    let before = world.proxy.metric(read).await;
    wait_until("read again", async || world.proxy.metric(read).await > before).await;
}

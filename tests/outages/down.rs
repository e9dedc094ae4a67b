//! Altinn is away at the start, in the middle, or now and then.

use crate::stage::*;
use crate::support::wait_until;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn altinn_away_at_the_start_is_no_no_and_ends_by_itself() {
    let cases: [(&[&str], Value); 4] = [
        (&ALTINN, json!({ "close": true })),
        (&ALTINN, json!({ "status": 503 })),
        (&["pdp", "parties", "registry"], json!({ "hang": true })),
        (
            &ALTINN,
            json!({ "status": 200, "body": "<html>Vedlikehold</html>", "content_type": "text/html" }),
        ),
    ];
    // Most of it is waiting.
    futures_util::future::join_all(cases.map(async |(endpoints, fault)| {
        let sections = format!("{QUICK}register: {{ refresh_least: 1s }}\n");
        let world = unready(sandbox(endpoints, &fault).await, &sections).await;
        world.proxy.wait_until_ready().await;
        let held = ask_of(&world, BAKKEN, "GET", MVA, "310000507").await;
        let single = ask_of(&world, STRAND, "GET", CLAIMS, "310000604").await;
        let foreign = ask_of(&world, BAKKEN, "GET", MVA, "310000604").await;
        for question in [&held, &single, &foreign] {
            ask(&world, question).await.assert_undecided();
        }
        assert_eq!(world.upstream.count(), 0, "{fault}");
        world.heal().await;
        until_basis(&world, &held, "derived").await;
        until(&world, &single, 200).await;
        until(&world, &foreign, 403).await;
    }))
    .await;
}

const GRACE: Duration = Duration::from_secs(5);
const MAX_AGE: Duration = Duration::from_secs(1);
const SHORT: &str = "\
freshness: { read: { fresh_for: 500ms, max_age: 1s, outage_grace: 5s }, write: { fresh_for: 500ms, max_age: 1s } }
register: { refresh_least: 1s }
confirmations: { no_for: 0s }
";

/// What is held of one question while Altinn is away.
struct Watched {
    ask: Ask,
    /// Up to which age it may serve.
    most: Duration,
    /// When the last permit was given, and its age then.
    last: Option<(Instant, Duration, bool)>,
    refused: bool,
}

impl Watched {
    fn check(&mut self, told: &Told) {
        if told.status == 200 {
            let age = told.age();
            assert!(!self.refused, "served again: {told:?}");
            assert!(age < self.most, "too old: {told:?}");
            assert_eq!(told.in_grace(), age >= MAX_AGE, "{told:?}");
            if let Some((_, before, true)) = self.last {
                assert!(age >= before, "an outage makes nothing younger: {told:?}");
            }
            self.last = Some((Instant::now(), age, told.in_grace()));
            return;
        }
        told.assert_undecided();
        self.refused = true;
        // What was young enough a moment ago is refused for its age only.
        let (when, age, _) = self.last.expect("served before");
        let by_now = age + when.elapsed();
        assert!(by_now + Duration::from_millis(50) >= self.most, "{by_now:?}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_served_through_up_to_the_grace_of_each_method() {
    let world = stage(&format!("{QUICK}{SHORT}")).await;
    let watched = async |who, method, resource, party, most| Watched {
        ask: ask_of(&world, who, method, resource, party).await,
        most,
        last: None,
        refused: false,
    };
    let mut all = [
        watched(BAKKEN, "GET", MVA, "310000507", GRACE).await,
        watched(STRAND, "GET", CLAIMS, "310000604", GRACE).await,
        watched(BAKKEN, "POST", MVA, "310000507", MAX_AGE).await,
        watched(STRAND_STORE, "POST", CLAIMS, "310000604", MAX_AGE).await,
    ];
    let neighbours = [
        ask_of(&world, BAKKEN, "GET", MVA, "310000604").await,
        ask_of(&world, BAKKEN, "POST", CLAIMS, "310000507").await,
        ask_of(&world, STRAND, "POST", CLAIMS, "310000604").await,
    ];
    until_basis(&world, &all[0].ask, "derived").await;
    for neighbour in &neighbours {
        assert_eq!(ask(&world, neighbour).await.status, 403);
    }
    for watched in &all {
        assert_eq!(ask(&world, &watched.ask).await.status, 200);
    }
    down(&world, json!({ "close": true })).await;
    // The first round finds what is held, however young; what is under way may still land.
    let begun = Instant::now();
    while !all.iter().all(|watched| watched.refused) {
        assert!(begun.elapsed() < 3 * GRACE, "served for too long");
        for watched in &mut all {
            let told = ask(&world, &watched.ask).await;
            watched.check(&told);
        }
        for neighbour in &neighbours {
            ask(&world, neighbour).await.assert_undecided();
        }
    }
    assert!(all[0].last.is_some_and(|(_, _, in_grace)| in_grace), "lived on the grace");
    assert!(world.proxy.metric("portvakt_permits_in_grace_total").await > 0.0);
    world.heal().await;
    for watched in &all {
        until(&world, &watched.ask, 200).await;
    }
    for neighbour in &neighbours {
        until(&world, neighbour, 403).await;
    }
    until_basis(&world, &all[0].ask, "derived").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altinn_that_comes_and_goes_makes_no_no_and_no_yes() {
    let short = "freshness: { read: { fresh_for: 100ms, max_age: 400ms, outage_grace: 0s } }\n\
                 register: { refresh_least: 1s }\nconfirmations: { no_for: 0s }\n";
    let world = stage(&format!("{QUICK}{short}")).await;
    let held = [
        ask_of(&world, BAKKEN, "GET", MVA, "310000507").await,
        ask_of(&world, STRAND, "GET", CLAIMS, "310000604").await,
        ask_of(&world, AGENT, "GET", MVA, "310000701").await,
    ];
    let not_held = [
        ask_of(&world, BAKKEN, "GET", MVA, "310000604").await,
        ask_of(&world, STRAND, "POST", CLAIMS, "310000604").await,
        ask_of(&world, AGENT, "GET", MVA, "310000744").await,
    ];
    let faults = [
        json!({ "status": 503, "rate": 0.3 }),
        json!({ "status": 429, "retry_after": 1, "rate": 0.2 }),
        json!({ "close": true, "rate": 0.3 }),
        json!({ "body": "<html>Vedlikehold</html>", "content_type": "text/html", "rate": 0.3 }),
        json!({ "truncate": true, "rate": 0.3 }),
        json!({ "cut_after_bytes": 40, "rate": 0.5 }),
        json!({ "drip": { "bytes": 16, "every_ms": 20 }, "rate": 0.5 }),
        json!({ "status": 500, "body": "{\"response\":[{\"decision\":\"NotApplicable\"}]}", "rate": 0.5 }),
    ];
    for fault in faults {
        down(&world, fault.clone()).await;
        let (mut served, mut refused) = (0, 0);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1500) {
            for question in &held {
                let told = ask(&world, question).await;
                assert!([200, 503].contains(&told.status), "{fault}: {told:?}");
                served += u32::from(told.status == 200);
            }
            for question in &not_held {
                let told = ask(&world, question).await;
                assert!([403, 503].contains(&told.status), "{fault}: {told:?}");
                refused += u32::from(told.status == 403);
            }
        }
        world.heal().await;
        assert!(served > 0, "{fault}: nothing was served, {refused} refused");
        for question in &held {
            until(&world, question, 200).await;
        }
        for question in &not_held {
            until(&world, question, 403).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_that_fails_takes_no_right_and_makes_no_entry_younger() {
    let sections =
        "freshness: { read: { fresh_for: 200ms, max_age: 1m } }\nregister: { refresh_least: 1s }\n";
    let world = stage(&format!("{QUICK}{sections}")).await;
    let held = ask_of(&world, BAKKEN, "GET", MVA, "310000507").await;
    until_basis(&world, &held, "derived").await;
    let failed = "portvakt_register_refreshes_total{result=\"failed\"}";
    for fault in [
        json!({ "truncate": true }),
        json!({ "cut_after_bytes": 200 }),
        json!({ "body": "[" }),
        json!({ "body": "null" }),
        json!({ "body": "[{}]" }),
        json!({ "status": 204 }),
        json!({ "status": 403 }),
        json!({ "body": "<html>[]</html>", "content_type": "text/html" }),
    ] {
        world.fault("parties", fault.clone()).await;
        let (before, asked) = (world.proxy.metric(failed).await, world.calls("pdp").await);
        let mut ages = Vec::new();
        wait_until("a failed reading", async || {
            let told = ask(&world, &held).await;
            assert_eq!((told.status, told.basis()), (200, "derived"), "{fault}: {told:?}");
            ages.push(told.age());
            world.proxy.metric(failed).await > before
        })
        .await;
        // The first may come before a reading that was under way.
        let told = ask(&world, &held).await;
        assert!(told.age() >= *ages.last().unwrap(), "{fault}: {told:?} after {ages:?}");
        assert_eq!(told.basis(), "derived", "{fault}: {told:?}");
        assert_eq!(world.calls("pdp").await, asked, "{fault}");
        world.heal().await;
        wait_until("read again", async || {
            ask(&world, &held).await.age() < Duration::from_millis(700)
        })
        .await;
    }
}

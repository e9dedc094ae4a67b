//! A right that is withdrawn, and one that is given.

use crate::stage::*;
use reqwest::Method;
use serde_json::json;
use std::time::Duration;

const BAKKEN_USER: &str = "5e000000-0000-4000-8000-000000000001";
const STRAND_USER: &str = "5e000000-0000-4000-8000-000000000002";
const NO_RIGHTS_USER: &str = "5e000000-0000-4000-8000-000000000010";

const MAX_AGE: Duration = Duration::from_secs(3);
/// For a busy machine, and for asking one after the other.
const SLACK: Duration = Duration::from_secs(1);
const SHORT: &str = "freshness: { read: { fresh_for: 1s, max_age: 3s }, write: { fresh_for: 1s, max_age: 3s } }\n\
register: { refresh_least: 1s }\nconfirmations: { suspicious_for: 0s }\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_withdrawn_is_refused_within_the_greatest_age() {
    let world = stage(&format!("{QUICK}{SHORT}")).await;
    let derived = ask_of(&world, BAKKEN, "POST", MVA, "310000507").await;
    let left = ask_of(&world, BAKKEN, "GET", MVA, "310000507").await;
    let single = ask_of(&world, STRAND, "GET", CLAIMS, "310000604").await;
    let other = ask_of(&world, STRAND_STORE, "GET", CLAIMS, "310000604").await;
    until_basis(&world, &derived, "derived").await;
    until_basis(&world, &single, "confirmed").await;
    // The other package goes on to permit reading.
    change(&world, "revoke", BAKKEN_USER, "310000507", "merverdiavgift").await;
    let took = until(&world, &derived, 403).await;
    assert!(took < MAX_AGE + SLACK, "{took:?}");
    assert_eq!(ask(&world, &left).await.status, 200);
    let body = json!({ "system_user": STRAND_USER, "party": "310000604" });
    world.knob(Method::POST, "rights/revoke", body).await;
    let took = until(&world, &single, 403).await;
    assert!(took < MAX_AGE + SLACK, "{took:?}");
    assert_eq!(ask(&world, &other).await.status, 200);
    // Given back, and taken again in the same moment for another.
    change(&world, "grant", BAKKEN_USER, "310000507", "merverdiavgift").await;
    until(&world, &derived, 200).await;
    assert_eq!(ask(&world, &single).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn altinns_own_memory_delays_what_is_confirmed_and_not_what_is_derived() {
    let world = stage(&format!("{QUICK}{SHORT}")).await;
    world.knob(Method::PUT, "caches", json!({ "enabled": true, "pods": 1 })).await;
    let derived = ask_of(&world, BAKKEN, "POST", MVA, "310000507").await;
    let confirmed = ask_of(&world, STRAND, "GET", CLAIMS, "310000604").await;
    until_basis(&world, &derived, "derived").await;
    until_basis(&world, &confirmed, "confirmed").await;
    // What the PDP remembers of the first is forgotten; of the second it is asked again and again.
    world.knob(Method::POST, "clock", json!({ "advance_seconds": 301 })).await;
    let again = world.calls("pdp").await;
    crate::support::wait_until("asked again", async || {
        assert_eq!(ask(&world, &confirmed).await.status, 200);
        assert_eq!(ask(&world, &derived).await.basis(), "derived");
        world.calls("pdp").await > again
    })
    .await;
    change(&world, "revoke", BAKKEN_USER, "310000507", "merverdiavgift").await;
    world
        .knob(
            Method::POST,
            "rights/revoke",
            json!({ "system_user": STRAND_USER, "party": "310000604" }),
        )
        .await;
    let took = until(&world, &derived, 403).await;
    assert!(took < MAX_AGE + SLACK, "{took:?}");
    // Altinn itself still says yes: nobody can know better.
    let begun = std::time::Instant::now();
    while begun.elapsed() < MAX_AGE {
        assert_eq!(ask(&world, &confirmed).await.status, 200);
    }
    world.knob(Method::POST, "clock", json!({ "advance_seconds": 301 })).await;
    let took = until(&world, &confirmed, 403).await;
    assert!(took < MAX_AGE + SLACK, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_given_works_as_soon_as_it_is_read_although_a_no_is_remembered() {
    let sections = "register: { refresh_least: 1s }\nconfirmations: { no_for: 1m }\n";
    let world = stage(&format!("{QUICK}{sections}")).await;
    let question = ask_of(&world, NOTHING, "GET", PAYROLL, "310000507").await;
    let neighbour = ask_of(&world, NOTHING, "GET", PAYROLL, "310000604").await;
    for question in [&question, &neighbour] {
        assert_eq!(ask(&world, question).await.status, 403);
    }
    change(&world, "grant", NO_RIGHTS_USER, "310000507", "lonn").await;
    let took = until(&world, &question, 200).await;
    // Read within a second or two, and the policies within as much again: a no may have come from them.
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert_eq!(ask(&world, &question).await.basis(), "derived");
    assert_eq!(ask(&world, &neighbour).await.status, 403);
}

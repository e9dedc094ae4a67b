//! The clock of the machine is set while the program runs: by libfaketime, which changes the time of day
//! for one process and leaves its monotonic clock alone.

use crate::faketime::Clock;
use crate::snapshot::saved_in;
use crate::stage::*;
use crate::support::{World, wait_until};
use reqwest::Method;
use serde_json::json;

async fn start(clock: &Clock, world: &mut World, sections: &str) {
    let variables = clock.variables();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    world.proxy = started(world, sections, &variables).await;
    world.proxy.wait_until_ready().await;
    policies_read(&world.proxy).await;
}

fn jumps(direction: &str) -> String {
    format!("portvakt_clock_jumps_total{{direction=\"{direction}\"}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_ahead_ends_tokens_and_makes_all_that_is_held_older() {
    let Some(clock) = Clock::new() else { return };
    let mut world = stage(QUICK).await;
    start(&clock, &mut world, &format!("{QUICK}register: {{ refresh_least: 1s }}\n")).await;
    let question = ask_of(&world, BAKKEN, "GET", MVA, "310000507").await;
    until_basis(&world, &question, "derived").await;
    down(&world, json!({ "close": true })).await;
    assert_eq!(ask(&world, &question).await.status, 200);
    clock.set("+1200");
    wait_until("noticed", async || world.proxy.metric(&jumps("forward")).await > 0.5).await;
    let log = world.proxy.log();
    assert!(log.iter().any(|line| line.contains("the clock jumped ahead")), "{log:?}");
    let told = ask(&world, &question).await;
    assert_eq!((told.status, &told.record["reason"]), (401, &json!("expired")), "{told:?}");
    // With a token of that time: past the greatest age, within the grace.
    world.knob(Method::POST, "clock", json!({ "advance_seconds": 1200 })).await;
    let later = ask_of(&world, BAKKEN, "GET", MVA, "310000507").await;
    let told = ask(&world, &later).await;
    assert_eq!(told.status, 200, "{told:?}");
    assert!(told.in_grace() && told.age().as_secs() >= 1200, "{told:?}");
    // Past the grace.
    clock.set("+4800");
    wait_until("noticed", async || world.proxy.metric(&jumps("forward")).await > 1.5).await;
    world.knob(Method::POST, "clock", json!({ "advance_seconds": 3600 })).await;
    let latest = ask_of(&world, BAKKEN, "GET", MVA, "310000507").await;
    ask(&world, &latest).await.assert_undecided();
    world.heal().await;
    until(&world, &latest, 200).await;
    let foreign = ask_of(&world, BAKKEN, "GET", MVA, "310000604").await;
    assert_eq!(ask(&world, &foreign).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_back_makes_nothing_younger() {
    let Some(clock) = Clock::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("register");
    let mut world = stage(QUICK).await;
    let freshness = "freshness: { read: { fresh_for: 500ms, max_age: 1s, outage_grace: 4s } }\n";
    let sections = format!("{}{freshness}", saved_in(&file, ""));
    // Ahead at the start, so that tokens of today are good after the jump back; their time has not come
    // before it, but they have not ended either.
    clock.set("+300");
    world.knob(Method::POST, "clock", json!({ "advance_seconds": 300 })).await;
    start(&clock, &mut world, &sections).await;
    let question = ask_of(&world, BAKKEN, "GET", MVA, "310000507").await;
    until_basis(&world, &question, "derived").await;
    let saved = "portvakt_snapshot_saves_total{result=\"saved\"}";
    let before = world.proxy.metric(saved).await;
    wait_until("saved", async || world.proxy.metric(saved).await > before + 0.5).await;
    down(&world, json!({ "close": true })).await;
    clock.set("+0");
    wait_until("noticed", async || world.proxy.metric(&jumps("back")).await > 0.5).await;
    let log = world.proxy.log();
    assert!(log.iter().any(|line| line.contains("the clock jumped back")), "{log:?}");
    world.knob(Method::POST, "reset", json!({})).await;
    down(&world, json!({ "close": true })).await;
    let today = ask_of(&world, BAKKEN, "GET", MVA, "310000507").await;
    wait_until("too old all the same", async || ask(&world, &today).await.status == 503).await;
    // What was saved comes from a time that has not come.
    world.proxy.signal("KILL");
    world.proxy.wait();
    world.proxy = started(&world, &sections, &[]).await;
    world.proxy.wait_until_ready().await;
    ask(&world, &today).await.assert_undecided();
    world.heal().await;
    until(&world, &today, 200).await;
    let foreign = ask_of(&world, BAKKEN, "GET", MVA, "310000604").await;
    assert_eq!(ask(&world, &foreign).await.status, 403);
}

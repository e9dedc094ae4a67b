//! No room for the snapshot.

use crate::snapshot::saved_in;
use crate::stage::*;
use crate::support::disk::Disk;
use crate::support::{skipped, wait_until};
use serde_json::{Value, json};
use std::process::Command;

/// A limit of the process stands for the disk: nothing of the machine has to be changed for it.
const LIMITABLE: [&str; 4] = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"];

fn limit(process: u32, size: &str) {
    let process = process.to_string();
    let limited = Command::new("prlimit")
        .args(["--pid", &process, &format!("--fsize={size}:unlimited")])
        .status();
    assert!(limited.expect("prlimit runs").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_stops_nothing_and_ends_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("register");
    let sections = saved_in(&file, "");
    let mut world = stage(QUICK).await;
    let config = configured(&world.sandbox, &world.upstream, &sections);
    world.proxy = started_under(&world, &LIMITABLE, &config, &[]).await;
    world.proxy.wait_until_ready().await;
    policies_read(&world.proxy).await;
    let held = ask_of(&world, BAKKEN, "POST", MVA, "310000507").await;
    let other = ask_of(&world, AGENT, "GET", MVA, "310000701").await;
    let foreign = ask_of(&world, AGENT, "GET", MVA, "310000744").await;
    let count = |result| format!("portvakt_snapshot_saves_total{{result=\"{result}\"}}");
    until_basis(&world, &held, "derived").await;
    let before = world.proxy.metric(&count("saved")).await;
    wait_until("saved", async || world.proxy.metric(&count("saved")).await > before).await;
    limit(world.proxy.id(), "4096");
    // Something new to be saved.
    until_basis(&world, &other, "derived").await;
    wait_until("a failed saving", async || world.proxy.metric(&count("failed")).await > 0.5).await;
    for (question, status) in [(&held, 200), (&other, 200), (&foreign, 403)] {
        assert_eq!(ask(&world, question).await.status, status);
    }
    assert_eq!(world.proxy.admin("/livez").await.0, 200);
    told_of(&world.proxy.log(), "the register is not saved; tried again");
    limit(world.proxy.id(), "unlimited");
    let before = world.proxy.metric(&count("saved")).await;
    wait_until("saved again", async || world.proxy.metric(&count("saved")).await > before).await;
    // What could not be written is written now.
    world.proxy.signal("KILL");
    world.proxy.wait();
    down(&world, json!({ "close": true })).await;
    world.proxy = started(&world, &sections, &[]).await;
    world.proxy.wait_until_ready().await;
    assert_eq!(ask(&world, &other).await.status, 200);
    ask(&world, &foreign).await.assert_undecided();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_was_saved_before_the_disk_was_full_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("register");
    let sections = saved_in(&file, "");
    let mut world = stage(QUICK).await;
    let config = configured(&world.sandbox, &world.upstream, &sections);
    world.proxy = started_under(&world, &LIMITABLE, &config, &[]).await;
    world.proxy.wait_until_ready().await;
    policies_read(&world.proxy).await;
    let held = ask_of(&world, BAKKEN, "GET", MVA, "310000507").await;
    let foreign = ask_of(&world, BAKKEN, "GET", MVA, "310000604").await;
    until_basis(&world, &held, "derived").await;
    let saved = "portvakt_snapshot_saves_total{result=\"saved\"}";
    let before = world.proxy.metric(saved).await;
    wait_until("saved", async || world.proxy.metric(saved).await > before + 0.5).await;
    limit(world.proxy.id(), "4096");
    let failed = "portvakt_snapshot_saves_total{result=\"failed\"}";
    wait_until("a failed saving", async || world.proxy.metric(failed).await > 0.5).await;
    world.proxy.signal("KILL");
    world.proxy.wait();
    down(&world, json!({ "close": true })).await;
    world.proxy = started(&world, &sections, &[]).await;
    world.proxy.wait_until_ready().await;
    let log = world.proxy.log();
    assert!(!log.iter().any(|line| line.contains("not used")), "{log:?}");
    assert_eq!(ask(&world, &held).await.status, 200);
    ask(&world, &foreign).await.assert_undecided();
}

const SAVED: &str = "portvakt_snapshot_saves_total{result=\"saved\"}";
const FAILED: &str = "portvakt_snapshot_saves_total{result=\"failed\"}";

/// The same on a file system that others filled: what is written over may still find room there, and what is
/// new does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_others_filled_is_told_and_stops_nothing_and_ends_by_itself() {
    let Some(disk) = Disk::mount("8m") else {
        return skipped("no file system may be mounted here");
    };
    let sections = saved_in(&disk.path().join("register"), "");
    let mut world = stage(&sections).await;
    let held = ask_of(&world, BAKKEN, "POST", MVA, "310000507").await;
    let other = ask_of(&world, AGENT, "GET", MVA, "310000701").await;
    let foreign = ask_of(&world, AGENT, "GET", MVA, "310000744").await;
    until_basis(&world, &held, "derived").await;
    let before = world.proxy.metric(SAVED).await;
    wait_until("saved", async || world.proxy.metric(SAVED).await > before + 0.5).await;
    disk.fill();
    until_basis(&world, &other, "derived").await;
    wait_until("a failed saving", async || world.proxy.metric(FAILED).await > 0.5).await;
    for (question, status) in [(&held, 200), (&other, 200), (&foreign, 403)] {
        assert_eq!(ask(&world, question).await.status, status);
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(world.proxy.admin(path).await.0, 200);
    }
    told_of(&world.proxy.log(), "the register is not saved; tried again");
    disk.clear();
    let before = world.proxy.metric(SAVED).await;
    wait_until("saved again", async || world.proxy.metric(SAVED).await > before + 0.5).await;
    world.proxy.signal("KILL");
    world.proxy.wait();
    down(&world, json!({ "close": true })).await;
    world.proxy = started(&world, &sections, &[]).await;
    world.proxy.wait_until_ready().await;
    // Nothing is lost, and nothing is set aside.
    assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 1);
    assert_eq!(ask(&world, &held).await.status, 200);
    assert_eq!(ask(&world, &other).await.status, 200);
    ask(&world, &foreign).await.assert_undecided();
}

/// Killed while there is no room, and started again while there is none: what was saved before serves.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_full_disk_serves_what_was_saved_and_saves_when_there_is_room() {
    let Some(disk) = Disk::mount("8m") else {
        return skipped("no file system may be mounted here");
    };
    let sections = saved_in(&disk.path().join("register"), "");
    let mut world = stage(&sections).await;
    let held = ask_of(&world, BAKKEN, "POST", MVA, "310000507").await;
    let other = ask_of(&world, AGENT, "GET", MVA, "310000701").await;
    let foreign = ask_of(&world, AGENT, "GET", MVA, "310000744").await;
    until_basis(&world, &held, "derived").await;
    let before = world.proxy.metric(SAVED).await;
    wait_until("saved", async || world.proxy.metric(SAVED).await > before + 0.5).await;
    disk.fill();
    until_basis(&world, &other, "derived").await;
    wait_until("a failed saving", async || world.proxy.metric(FAILED).await > 0.5).await;
    world.proxy.signal("KILL");
    world.proxy.wait();
    down(&world, json!({ "close": true })).await;
    world.proxy = started(&world, &sections, &[]).await;
    world.proxy.wait_until_ready().await;
    assert_eq!(ask(&world, &held).await.status, 200);
    ask(&world, &foreign).await.assert_undecided();
    world.heal().await;
    until_basis(&world, &other, "derived").await;
    assert_eq!(ask(&world, &foreign).await.status, 403);
    disk.clear();
    let before = world.proxy.metric(SAVED).await;
    wait_until("saved again", async || world.proxy.metric(SAVED).await > before + 0.5).await;
    world.proxy.signal("KILL");
    world.proxy.wait();
    down(&world, json!({ "close": true })).await;
    world.proxy = started(&world, &sections, &[]).await;
    world.proxy.wait_until_ready().await;
    assert_eq!(ask(&world, &held).await.status, 200);
    assert_eq!(ask(&world, &other).await.status, 200);
    ask(&world, &foreign).await.assert_undecided();
}

/// There is no file, and no room to make one.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_on_a_full_disk_is_told_and_saves_when_there_is_room() {
    let Some(disk) = Disk::mount("8m") else {
        return skipped("no file system may be mounted here");
    };
    disk.fill();
    let sections = saved_in(&disk.path().join("register"), "");
    let mut world = stage(&sections).await;
    let held = ask_of(&world, BAKKEN, "POST", MVA, "310000507").await;
    let foreign = ask_of(&world, AGENT, "GET", MVA, "310000744").await;
    until_basis(&world, &held, "derived").await;
    assert_eq!(ask(&world, &foreign).await.status, 403);
    told_of(&world.proxy.log(), "the register is not saved");
    wait_until("a failed saving", async || world.proxy.metric(FAILED).await > 0.5).await;
    disk.clear();
    wait_until("saved", async || world.proxy.metric(SAVED).await > 0.5).await;
    world.proxy.signal("KILL");
    world.proxy.wait();
    down(&world, json!({ "close": true })).await;
    world.proxy = started(&world, &sections, &[]).await;
    world.proxy.wait_until_ready().await;
    assert_eq!(ask(&world, &held).await.status, 200);
    ask(&world, &foreign).await.assert_undecided();
}

/// An error that says this, and what to look for.
fn told_of(log: &[String], message: &str) {
    let told = log.iter().find(|line| line.contains(message));
    let told: Value = serde_json::from_str(told.unwrap_or_else(|| panic!("{log:?}"))).unwrap();
    assert_eq!(told["level"], "ERROR", "{told}");
}

//! What the program takes up again from its snapshot, and from which it takes nothing.

use crate::stage::*;
use crate::support::{World, seed, wait_until};
use portvakt::clock::{Clock, SystemClock};
use portvakt::store::{self, Opened, Options};
use portvakt::sync::ports::{Saved, Store};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

const MINUTE: Duration = Duration::from_secs(60);
const SAVED: &str = "portvakt_snapshot_saves_total{result=\"saved\"}";
const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const OTHER_KEY: &str = "f00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A register that is saved once a second.
pub(crate) fn saved_in(file: &Path, more: &str) -> String {
    format!(
        "{QUICK}register: {{ refresh_least: 1s, {more} snapshot: {{ file: \"{}\", save_interval: 1s }} }}\n",
        file.display()
    )
}

fn sealed_in(file: &Path) -> String {
    saved_in(file, "").replace("save_interval", "key_env: SNAPSHOT_KEY, save_interval")
}

/// What the tests of one folder ask.
struct Questions {
    derived: Ask,
    confirmed: Ask,
    foreign: Ask,
}

impl Questions {
    async fn of(world: &World) -> Self {
        Self {
            derived: ask_of(world, BAKKEN, "GET", MVA, "310000507").await,
            confirmed: ask_of(world, STRAND, "GET", CLAIMS, "310000604").await,
            foreign: ask_of(world, BAKKEN, "GET", MVA, "310000604").await,
        }
    }
}

/// A program that holds something, and has saved it at its end. Altinn is away then.
async fn saved(file: &Path) -> (World, Questions) {
    let mut world = stage(&saved_in(file, "")).await;
    let questions = Questions::of(&world).await;
    until_basis(&world, &questions.derived, "derived").await;
    until_basis(&world, &questions.confirmed, "confirmed").await;
    assert_eq!(ask(&world, &questions.foreign).await.status, 403);
    stop(&mut world);
    down(&world, json!({ "close": true })).await;
    (world, questions)
}

/// What the program binds its snapshots to.
pub(crate) fn binding(world: &World) -> Vec<u8> {
    let altinn = format!("{}/", world.sandbox.altinn_url());
    ["1", world.sandbox.issuer(), &altinn, seed::PROXY_CLIENT, "required"].join("\n").into_bytes()
}

/// Rewrites a snapshot as if it had been saved at another time.
fn shift(world: &World, file: &Path, by: impl Fn(SystemTime) -> SystemTime) {
    let options = Options { path: file.to_owned(), binding: binding(world), key: None };
    let Opened { mut store, loader, set_aside, tightened: _ } =
        store::open(&options, SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 33)).unwrap();
    assert!(set_aside.is_none(), "{set_aside:?}");
    let mut all = Vec::new();
    loader.load(&mut |saved| all.push(saved)).unwrap();
    for saved in &mut all {
        match saved {
            Saved::User(user) => {
                user.fetched = user.fetched.map(&by);
                user.changed = by(user.changed);
                user.lost = user.lost.map(&by);
                user.last_used = by(user.last_used);
            }
            Saved::Resource(resource) => resource.verified = by(resource.verified),
            Saved::AccessLists(lists) => lists.fetched = by(lists.fetched),
            Saved::Confirmation(_, asked) | Saved::LastSaved(asked) => *asked = by(*asked),
            _ => {}
        }
    }
    assert!(all.iter().any(|saved| matches!(saved, Saved::User(_))), "nothing was saved");
    all.push(Saved::LastSaved(by(SystemClock.wall())));
    store.save(all).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_while_altinn_is_away_serves_what_was_held() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("register");
    let (mut world, questions) = saved(&file).await;
    let begun = Instant::now();
    world.proxy = started(&world, &saved_in(&file, ""), &[]).await;
    world.proxy.wait_until_ready().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    for (question, basis) in [(&questions.derived, "derived"), (&questions.confirmed, "confirmed")]
    {
        let told = ask(&world, question).await;
        assert_eq!((told.status, told.basis()), (200, basis), "{told:?}");
    }
    ask(&world, &questions.foreign).await.assert_undecided();
    world.heal().await;
    until(&world, &questions.foreign, 403).await;
    assert_eq!(ask(&world, &questions.derived).await.status, 200);
}

/// Nothing but the end saves it: the next writing is due in an hour.
#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_end_saves_what_a_kill_loses() {
    for (signal, is_saved) in [("TERM", true), ("INT", true), ("KILL", false)] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("register");
        let sections = saved_in(&file, "").replace("save_interval: 1s", "save_interval: 1h");
        let mut world = stage(&sections).await;
        let questions = Questions::of(&world).await;
        until_basis(&world, &questions.derived, "derived").await;
        until_basis(&world, &questions.confirmed, "confirmed").await;
        assert_eq!(ask(&world, &questions.foreign).await.status, 403);
        assert!(world.proxy.metric(SAVED).await.abs() < f64::EPSILON);
        world.proxy.signal(signal);
        assert_eq!(world.proxy.wait(), is_saved.then_some(0), "{signal}");
        down(&world, json!({ "close": true })).await;
        world.proxy = started(&world, &sections, &[]).await;
        world.proxy.wait_until_ready().await;
        let log = world.proxy.log();
        assert!(!log.iter().any(|line| line.contains("not used")), "{log:?}");
        for question in [&questions.derived, &questions.confirmed] {
            let told = ask(&world, question).await;
            if is_saved {
                assert_eq!(told.status, 200, "{signal}: {told:?}");
            } else {
                told.assert_undecided();
            }
        }
        ask(&world, &questions.foreign).await.assert_undecided();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_a_snapshot_asks_and_makes_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("register");
    let sections = saved_in(&file, "");
    // Ready, and nothing to serve from: what cannot be asked cannot be told.
    let mut world = unready(sandbox(&ALTINN, &json!({ "close": true })).await, &sections).await;
    world.proxy.wait_until_ready().await;
    let questions = Questions::of(&world).await;
    let all = [&questions.derived, &questions.confirmed, &questions.foreign];
    for question in all {
        ask(&world, question).await.assert_undecided();
    }
    assert_eq!(world.upstream.count(), 0);
    world.heal().await;
    until_basis(&world, &questions.derived, "derived").await;
    until_basis(&world, &questions.confirmed, "confirmed").await;
    until(&world, &questions.foreign, 403).await;
    let log = world.proxy.log();
    assert!(!log.iter().any(|line| line.contains("not used")), "{log:?}");
    let before = world.proxy.metric(SAVED).await;
    wait_until("saved twice", async || world.proxy.metric(SAVED).await > before + 1.5).await;
    world.proxy.signal("KILL");
    world.proxy.wait();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "and nothing beside it");
    down(&world, json!({ "close": true })).await;
    world.proxy = started(&world, &sections, &[]).await;
    world.proxy.wait_until_ready().await;
    assert_eq!(ask(&world, &questions.derived).await.status, 200);
    assert_eq!(ask(&world, &questions.confirmed).await.status, 200);
    ask(&world, &questions.foreign).await.assert_undecided();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_saved_serves_for_the_grace_after_it_was_read_and_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("register");
    let (mut world, questions) = saved(&file).await;
    for (age, serves) in [(30 * MINUTE, true), (61 * MINUTE, false)] {
        let copy = folder.path().join(format!("{}", age.as_secs()));
        std::fs::copy(&file, &copy).unwrap();
        shift(&world, &copy, |time| time - age);
        world.proxy = started(&world, &saved_in(&copy, ""), &[]).await;
        world.proxy.wait_until_ready().await;
        for question in [&questions.derived, &questions.confirmed] {
            let told = ask(&world, question).await;
            if serves {
                assert_eq!(told.status, 200, "{told:?}");
                assert!(told.in_grace() && told.age() >= age, "{told:?}");
            } else {
                told.assert_undecided();
            }
        }
        let reached = world.upstream.count();
        ask(&world, &questions.foreign).await.assert_undecided();
        assert_eq!(world.upstream.count(), reached);
    }
}

/// What becomes of a snapshot, and under which reason it is set aside.
enum Spoilt {
    Cut,
    Flipped(&'static str),
    Text,
    Future,
    OtherEnvironment,
    KeyGiven,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_cannot_be_trusted_is_set_aside_and_the_program_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("register");
    let (mut world, questions) = saved(&file).await;
    let cases = [
        (Spoilt::Cut, "unreadable"),
        (Spoilt::Flipped("merverdiavgift"), "unreadable"),
        (Spoilt::Flipped("310000205_nordlys"), "unreadable"),
        (Spoilt::Text, "unreadable"),
        (Spoilt::Future, "future"),
        (Spoilt::OtherEnvironment, "foreign"),
        (Spoilt::KeyGiven, "not_encrypted"),
    ];
    for (number, (spoilt, reason)) in cases.into_iter().enumerate() {
        let copy = folder.path().join(format!("copy-{number}"));
        std::fs::copy(&file, &copy).unwrap();
        let mut config = configured(&world.sandbox, &world.upstream, &saved_in(&copy, ""));
        let mut bytes = std::fs::read(&copy).unwrap();
        match spoilt {
            Spoilt::Cut => std::fs::write(&copy, &bytes[..bytes.len() / 2]).unwrap(),
            Spoilt::Flipped(text) => {
                let mut found = 0;
                for at in 0..bytes.len() - text.len() {
                    if &bytes[at..at + text.len()] == text.as_bytes() {
                        bytes[at] ^= 1;
                        found += 1;
                    }
                }
                assert!(found > 0, "{text} is not in it");
                std::fs::write(&copy, &bytes).unwrap();
            }
            Spoilt::Text => std::fs::write(&copy, "nothing of a snapshot").unwrap(),
            Spoilt::Future => shift(&world, &copy, |time| time + 60 * MINUTE),
            Spoilt::OtherEnvironment => {
                let altinn = world.sandbox.altinn_url().to_owned();
                let other = altinn.replace("127.0.0.1", "localhost");
                let from = format!("altinn: \"{altinn}\"");
                assert!(config.contains(&from));
                config = config.replace(&from, &format!("altinn: \"{other}\""));
            }
            Spoilt::KeyGiven => {
                config = configured(&world.sandbox, &world.upstream, &sealed_in(&copy));
            }
        }
        world.proxy = started_under(&world, &[], &config, &[("SNAPSHOT_KEY", KEY)]).await;
        assert_set_aside(&mut world, &questions, &copy, reason).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_snapshot_opens_with_its_key_only() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("register");
    // Saved in the clear first, and then anew under a key.
    let (mut world, questions) = saved(&file).await;
    world.heal().await;
    let sealed = folder.path().join("sealed");
    world.proxy = started(&world, &sealed_in(&sealed), &[("SNAPSHOT_KEY", KEY)]).await;
    policies_read(&world.proxy).await;
    until_basis(&world, &questions.derived, "derived").await;
    stop(&mut world);
    down(&world, json!({ "close": true })).await;
    let bytes = std::fs::read(&sealed).unwrap();
    for text in ["merverdiavgift", "310000205_nordlys", "310000507", KEY] {
        assert!(!bytes.windows(text.len()).any(|part| part == text.as_bytes()), "{text}");
    }
    let keyless = saved_in(&sealed, "");
    let cases = [
        (sealed_in(&sealed), KEY, None),
        (sealed_in(&sealed), OTHER_KEY, Some("other_key")),
        (keyless, "", Some("key_missing")),
    ];
    for (sections, key, reason) in cases {
        std::fs::write(&sealed, &bytes).unwrap();
        world.proxy = started(&world, &sections, &[("SNAPSHOT_KEY", key)]).await;
        let Some(reason) = reason else {
            world.proxy.wait_until_ready().await;
            assert_eq!(ask(&world, &questions.derived).await.status, 200);
            // It is in use: what is written below must not meet it.
            world.proxy.signal("KILL");
            world.proxy.wait();
            continue;
        };
        assert_set_aside(&mut world, &questions, &sealed, reason).await;
    }
}

/// Nothing of a snapshot is served, which is said; and all goes on once Altinn is there. It is away again
/// at the end, and the program has ended.
async fn assert_set_aside(world: &mut World, questions: &Questions, file: &Path, reason: &str) {
    world.proxy.wait_until_ready().await;
    let log = world.proxy.log();
    let told = log.iter().find(|line| line.contains("the snapshot is not used"));
    let told: Value =
        serde_json::from_str(told.unwrap_or_else(|| panic!("{reason}: {log:?}"))).unwrap();
    assert_eq!(told["reason"], reason, "{told}");
    let beside = PathBuf::from(file);
    let name = beside.file_name().unwrap().to_string_lossy().into_owned();
    let kept = std::fs::read_dir(file.parent().unwrap()).unwrap().filter(|entry| {
        let entry = entry.as_ref().unwrap().file_name();
        entry.to_string_lossy().starts_with(&format!("{name}.set-aside-"))
    });
    assert!(kept.count() >= 1, "{reason}: kept for who wants to look at it");
    let reached = world.upstream.count();
    for question in [&questions.derived, &questions.confirmed, &questions.foreign] {
        ask(world, question).await.assert_undecided();
    }
    assert_eq!(world.upstream.count(), reached, "{reason}");
    world.heal().await;
    until(world, &questions.derived, 200).await;
    until(world, &questions.confirmed, 200).await;
    until(world, &questions.foreign, 403).await;
    stop(world);
    down(world, json!({ "close": true })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_program_on_the_same_file_serves_without_it_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("register");
    let sections = saved_in(&file, "");
    let mut world = stage(&sections).await;
    let questions = Questions::of(&world).await;
    until_basis(&world, &questions.derived, "derived").await;
    let second = started(&world, &sections, &[]).await;
    second.wait_until_ready().await;
    let log = second.log();
    assert!(log.iter().any(|line| line.contains("another process uses the snapshot")), "{log:?}");
    wait_until("served by the second", async || {
        ask_at(&world, &second, &questions.derived).await.status == 200
    })
    .await;
    assert_eq!(ask_at(&world, &second, &questions.foreign).await.status, 403);
    assert!(second.metric(SAVED).await.abs() < f64::EPSILON);
    let before = world.proxy.metric(SAVED).await;
    wait_until("the first goes on saving", async || world.proxy.metric(SAVED).await > before).await;
    assert_eq!(ask(&world, &questions.derived).await.status, 200);
    // As when a new version takes the place of the old one: it goes on with the file.
    let failed = "portvakt_snapshot_saves_total{result=\"failed\"}";
    assert!(second.metric(failed).await.abs() < f64::EPSILON, "that is no failure");
    stop(&mut world);
    world.proxy = second;
    wait_until("the second saves", async || world.proxy.metric(SAVED).await > 0.5).await;
    world.proxy.signal("KILL");
    world.proxy.wait();
    down(&world, json!({ "close": true })).await;
    world.proxy = started(&world, &sections, &[]).await;
    world.proxy.wait_until_ready().await;
    let log = world.proxy.log();
    assert!(!log.iter().any(|line| line.contains("not used")), "{log:?}");
    assert_eq!(ask(&world, &questions.derived).await.status, 200);
    ask(&world, &questions.foreign).await.assert_undecided();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_on_which_altinn_disagrees_is_asked_for_until_it_agrees_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("register");
    let (mut world, questions) = saved(&file).await;
    let claims = ask_of(&world, BAKKEN, "GET", CLAIMS, "310000507").await;
    // What changed lately may be unknown to the PDP, and is no disagreement.
    shift(&world, &file, |time| time - 20 * MINUTE);
    world.heal().await;
    world.proxy = started(&world, &saved_in(&file, "sample_one_in: 1,"), &[]).await;
    policies_read(&world.proxy).await;
    until_basis(&world, &questions.derived, "derived").await;
    assert_eq!(ask(&world, &questions.derived).await.basis(), "derived");
    world.fault("pdp", json!({ "decision": "NotApplicable" })).await;
    assert_eq!(ask(&world, &questions.derived).await.basis(), "derived");
    let off = format!("portvakt_register_derivation_off{{resource=\"{MVA}\"}}");
    // One question is compared once a second at most.
    wait_until("switched off", async || {
        ask(&world, &questions.derived).await;
        world.proxy.metric(&off).await > 0.5
    })
    .await;
    let told = ask(&world, &questions.derived).await;
    assert_eq!(told.status, 403, "{told:?}");
    let log = world.proxy.log();
    assert!(log.iter().any(|line| line.contains("says no where the register derives")), "{log:?}");
    // Off over a restart too, since the PDP says the same.
    let written = async |world: &World| {
        world.proxy.metric("portvakt_snapshot_saves_total{result=\"saved\"}").await
    };
    let before = written(&world).await;
    wait_until("saved twice since", async || written(&world).await > before + 1.5).await;
    world.proxy.signal("KILL");
    world.proxy.wait();
    world.proxy = started(&world, &saved_in(&file, "sample_one_in: 1,"), &[]).await;
    world.proxy.wait_until_ready().await;
    assert!(world.proxy.metric(&off).await > 0.5);
    for _ in 0..3 {
        let told = ask(&world, &questions.derived).await;
        assert_eq!(told.status, 403, "{told:?}");
    }
    let log = world.proxy.log();
    assert!(log.iter().any(|line| line.contains("are still asked for")), "{log:?}");
    world.heal().await;
    until_basis(&world, &claims, "derived").await;
    let strict = async || {
        let request = world.request("GET", &questions.derived.target);
        let request = request.bearer_auth(&questions.derived.token);
        request.header("portvakt-max-age", "0").send().await.unwrap().status()
    };
    wait_until("derived again", async || {
        strict().await;
        world.proxy.metric(&off).await < 0.5
    })
    .await;
    until_basis(&world, &questions.derived, "derived").await;
    assert_eq!(ask(&world, &questions.foreign).await.status, 403);
}

/// Rights that come and go, and when.
struct Truth {
    begun: Instant,
    /// Since when, and whether it was there.
    changes: Vec<(Duration, bool)>,
}

impl Truth {
    fn note(&mut self, permitted: bool) {
        self.changes.push((self.begun.elapsed(), permitted));
    }

    /// Whether the right was there at some moment between the two.
    fn held_between(&self, from: Duration, to: Duration) -> bool {
        self.changes.iter().enumerate().any(|(number, (since, permitted))| {
            let until = self.changes.get(number + 1).map_or(Duration::MAX, |(until, _)| *until);
            *permitted && *since <= to && until >= from
        })
    }
}

/// The moment of reading is the one before Altinn was called; the answer may be as late as that call.
const CALL: Duration = Duration::from_secs(1);
/// Records tell whole milliseconds, and clocks of day are set a little now and then.
const ROUNDING: Duration = Duration::from_millis(20);

#[expect(clippy::disallowed_methods, reason = "tests read their own environment")]
fn rounds() -> u64 {
    std::env::var("PORTVAKT_KILL_ROUNDS").map_or(10, |rounds| rounds.parse().expect("a number"))
}

/// Killed while it saves, started while Altinn is away: it always starts, and what it serves was true as
/// long ago as it says.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_saves_it_starts_and_serves_only_what_was_true() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("register");
    let sections = format!(
        "{}freshness: {{ read: {{ fresh_for: 100ms, max_age: 1m }}, write: {{ fresh_for: 100ms, max_age: 1m, outage_grace: 2m }} }}\n\
         confirmations: {{ no_for: 0s, suspicious_for: 0s }}\n",
        saved_in(&file, "").replace("save_interval: 1s", "save_interval: 100ms")
    );
    let mut world = stage(&sections).await;
    let mut toggled = Truth { begun: Instant::now(), changes: vec![(Duration::ZERO, true)] };
    let (mut served, mut undecided) = (0, 0);
    for round in 0..rounds() {
        let toggle = ask_of(&world, BAKKEN, "POST", MVA, "310000507").await;
        let always = [
            ask_of(&world, BAKKEN, "GET", MVA, "310000507").await,
            ask_of(&world, STRAND, "GET", CLAIMS, "310000604").await,
        ];
        let never = [
            ask_of(&world, BAKKEN, "GET", MVA, "310000604").await,
            ask_of(&world, STRAND, "POST", CLAIMS, "310000604").await,
            ask_of(&world, NOTHING, "GET", MVA, "310000507").await,
        ];
        if round > 0 {
            world.proxy = started(&world, &sections, &[]).await;
            world.proxy.wait_until_ready().await;
            let log = world.proxy.log();
            assert!(!log.iter().any(|line| line.contains("not used")), "round {round}: {log:?}");
            // Altinn is away: all comes from the snapshot.
            for question in &never {
                ask(&world, question).await.assert_undecided();
            }
            for question in always.iter().chain([&toggle]) {
                check(&world, question, &toggle, &toggled, &mut served, &mut undecided).await;
            }
            world.heal().await;
        }
        let seed = random(round);
        // A right comes or goes while requests are served and saved.
        change(
            &world,
            if round % 2 == 0 { "revoke" } else { "grant" },
            "5e000000-0000-4000-8000-000000000001",
            "310000507",
            "merverdiavgift",
        )
        .await;
        toggled.note(round % 2 == 1);
        let (changed, begun) = (modified(&file), Instant::now());
        while modified(&file) == changed && begun.elapsed() < Duration::from_secs(5) {
            for question in always.iter().chain([&toggle]) {
                check(&world, question, &toggle, &toggled, &mut served, &mut undecided).await;
            }
            for question in &never {
                assert_ne!(ask(&world, question).await.status, 200);
            }
        }
        std::thread::sleep(Duration::from_micros(seed % 3000));
        world.proxy.signal("KILL");
        world.proxy.wait();
        down(&world, json!({ "close": true })).await;
    }
    assert!(served > 0 && toggled.changes.len() > 1, "{served} served");
    println!("{} rounds: {served} served as true, {undecided} could not be told", rounds());
}

fn modified(file: &Path) -> SystemTime {
    std::fs::metadata(file).unwrap().modified().unwrap()
}

async fn check(
    world: &World,
    question: &Ask,
    toggle: &Ask,
    truth: &Truth,
    served: &mut u32,
    undecided: &mut u32,
) {
    let asked = truth.begun.elapsed();
    let told = ask(world, question).await;
    let is_toggle = question.method == toggle.method;
    match told.status {
        200 => {
            *served += 1;
            // `max_age`, or the default `outage_grace` of reading.
            let most = if told.in_grace() { 3600 } else { 60 };
            assert!(told.age() <= Duration::from_secs(most), "{told:?}");
            let from = asked.saturating_sub(told.age() + ROUNDING);
            // Between the asking and the answer, and the reading itself.
            let to = (truth.begun.elapsed() + CALL).saturating_sub(told.age());
            assert!(!is_toggle || truth.held_between(from, to), "{:?}: {told:?}", truth.changes);
        }
        403 => assert!(is_toggle, "{told:?}"),
        _ => {
            told.assert_undecided();
            *undecided += 1;
        }
    }
}

/// Splitmix64: the same moments in every run, as far as the machine allows.
fn random(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

//! How soon a start serves what was held while Altinn is away, with as many system users as there may be by
//! default. Run with `--release`, what it says is the measured figure.

use crate::snapshot::{binding, saved_in};
use crate::stage::*;
use crate::support::{say, seed};
use portvakt::clock::{Clock, SystemClock};
use portvakt::store::{self, Options};
use portvakt::sync::ports::{Saved, SavedUser, Store};
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant, SystemTime};

/// How many system users the snapshot holds: `PORTVAKT_START_USERS`, or as many as there may be by default.
#[expect(clippy::disallowed_methods, reason = "tests read their own environment")]
fn users() -> usize {
    std::env::var("PORTVAKT_START_USERS").map_or(100_000, |count| count.parse().expect("a number"))
}

/// An optimised program needs a second; this one may be another, and its machine busy.
const DEADLINE: Duration = Duration::from_secs(60);

fn id(number: usize) -> String {
    format!("5e100000-0000-4000-8000-{number:012}")
}

/// Like the one of Bakken, and read a minute ago.
fn user(number: usize, now: SystemTime) -> SavedUser {
    let read = now - Duration::from_secs(60);
    let rights = portvakt::domain::delegation::PartyRights {
        party: seed::BAKKEN.parse().unwrap(),
        packages: vec!["merverdiavgift".parse().unwrap()],
        resources: Vec::new(),
    };
    SavedUser {
        id: id(number).parse().unwrap(),
        owner: seed::BAKKEN.parse().unwrap(),
        system: "310000205_nordlys".parse().unwrap(),
        vendor: "310000205".parse().unwrap(),
        fetched: Some(read),
        changed: read,
        lost: None,
        last_used: read,
        parties: vec![rights],
        read_for: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_a_full_register_serves_while_altinn_is_away() {
    let held = users();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("register");
    let sections = saved_in(&file, "max_system_users: 200000,");
    // Policies and packages as the program saves them.
    let mut world = stage(&sections).await;
    let bakken = ask_of(&world, BAKKEN, "GET", MVA, seed::BAKKEN).await;
    until_basis(&world, &bakken, "derived").await;
    stop(&mut world);
    down(&world, json!({ "close": true })).await;
    let options = Options { path: file.clone(), binding: binding(&world), key: None };
    let now = SystemClock.wall();
    let mut store = store::open(&options, now).unwrap().store;
    for batch in (0..held).collect::<Vec<_>>().chunks(20_000) {
        let users = batch.iter().map(|number| Saved::User(Box::new(user(*number, now))));
        store.save(users.collect()).unwrap();
    }
    drop(store);
    // Tokens for the first and the last of them, and for one that is not there.
    let mut questions = Vec::new();
    for number in [0, held - 1, held] {
        let (id, name) = (id(number), format!("start-{number}"));
        let one = json!({
            "id": id, "kind": "standard", "system": "310000205_nordlys",
            "owner": seed::BAKKEN, "external_ref": name, "delegations": [],
        });
        let told = world.knob(Method::PATCH, "world", json!({ "system_users": [one] })).await;
        assert!(told["error"].is_null(), "{told}");
        let wish = json!({
            "client_id": seed::NORDLYS, "scope": "skatteetaten:mva",
            "systemuser_org": seed::BAKKEN, "external_ref": name, "lifetime_seconds": 600,
        });
        let token = world.token_with(wish).await;
        questions.push(Ask { method: "GET", target: bakken.target.clone(), token });
    }
    let begun = Instant::now();
    world.proxy = started(&world, &sections, &[]).await;
    let listening = begun.elapsed();
    world.proxy.wait_until_ready().await;
    let ready = begun.elapsed();
    let first = ask(&world, &questions[0]).await;
    let served = begun.elapsed();
    say(&format!(
        "a start with {held} system users, Altinn away: listening after {listening:.2?}, \
         ready after {ready:.2?}, the first permit after {served:.2?}"
    ));
    assert_eq!((first.status, first.basis()), (200, "derived"), "{first:?}");
    let last = ask(&world, &questions[1]).await;
    assert_eq!((last.status, last.basis()), (200, "derived"), "{last:?}");
    ask(&world, &questions[2]).await.assert_undecided();
    let counted = world.proxy.metric("portvakt_register_system_users").await;
    assert!(counted >= f64::from(u32::try_from(held).unwrap()), "{counted}");
    assert!(served < DEADLINE, "{served:?}");
}

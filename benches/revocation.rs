//! The revocation clock: time from a right withdrawn at the sandbox to the first refusal, with the real
//! program under steady requests, next to the worst case of the configuration.
//!
//! `cargo bench --bench revocation`: the default configuration with every duration of freshness divided by
//! sixty, so that minutes are seconds: read `fresh_for` 1s, `max_age` 5s; write 250ms, 1s; `refresh_least`
//! 1s. What does not scale stays as it is: the task of the register looks over what is due once a second,
//! so that the figures are worse than a sixtieth of the real ones. `PORTVAKT_REVOCATION=real` leaves the
//! defaults alone and takes ten minutes.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement that cannot go on fails; it prints what it measured"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::{World, seed};

/// System users, of which each loses its right once.
const USERS: usize = 60;

const ROUTES: &str = "\
routes:
  - { id: read, match: { methods: [GET], path: \"/mva/{party}\" }, scopes: { all_of: [\"skatteetaten:mva\"] }, \
resource: ske-mva-melding, action: read, party: { path: party } }
  - { id: write, match: { methods: [POST], path: \"/mva/{party}\" }, scopes: { all_of: [\"skatteetaten:mva\"] }, \
resource: ske-mva-melding, action: write, party: { path: party } }
  - { id: claims, match: { methods: [GET], path: \"/claims/{party}\" }, scopes: { all_of: [\"skatteetaten:mva\"] }, \
resource: ske-krav-og-betalinger, action: read, party: { path: party } }
  - { id: claims-write, match: { methods: [POST], path: \"/claims/{party}\" }, scopes: { all_of: [\"skatteetaten:mva\"] }, \
resource: ske-krav-og-betalinger, action: write, party: { path: party } }
";

const SCALED: &str = "\
freshness: { read: { fresh_for: 1s, max_age: 5s, outage_grace: 1m }, write: { fresh_for: 250ms, max_age: 1s } }
register: { refresh_least: 1s, refresh_most: 30s, policy_poll: 1s, policy_max_age: 10s }
";

/// What is asked, how the right is held, and its greatest age by default.
const KINDS: [(&str, &str, &str, &str, u32); 4] = [
    ("read, derived", "GET", "mva", "packages", 300),
    ("write, derived", "POST", "mva", "packages", 60),
    ("read, confirmed", "GET", "claims", "single", 300),
    ("write, confirmed", "POST", "claims", "single", 60),
];

struct User {
    id: String,
    token: String,
}

async fn users(world: &World, kind: usize, how: &str) -> Vec<User> {
    let id = |number: usize| format!("5e0000{kind:02}-0000-4000-8000-1000000{number:05}");
    let reference = |number: usize| format!("clock-{kind}-{number}");
    let delegation = match how {
        "packages" => json!({ "party": seed::BAKKEN, "packages": ["merverdiavgift"] }),
        _ => {
            json!({ "party": seed::BAKKEN, "single_rights": { "ske-krav-og-betalinger": ["read", "write"] } })
        }
    };
    let all: Vec<Value> = (0..USERS)
        .map(|number| {
            json!({
                "id": id(number), "kind": "standard", "system": "310000205_nordlys", "owner": seed::BAKKEN,
                "external_ref": reference(number), "delegations": [delegation],
            })
        })
        .collect();
    let told = world.knob(Method::PATCH, "world", json!({ "system_users": all })).await;
    assert!(told["error"].is_null(), "{told}");
    let mut users = Vec::new();
    for number in 0..USERS {
        let wish = json!({
            "client_id": seed::NORDLYS, "scope": "skatteetaten:mva", "systemuser_org": seed::BAKKEN,
            "external_ref": reference(number), "lifetime_seconds": 1800,
        });
        users.push(User { id: id(number), token: world.token_with(wish).await });
    }
    users
}

/// How long a right worked after it was withdrawn: until the last request that was served came, and until
/// the first one was refused.
#[derive(Clone, Copy)]
struct Took {
    served: Duration,
    refused: Duration,
}

/// Asks five times a second, and withdraws the right after a while.
async fn withdrawn(
    world: &World,
    user: &User,
    method: &str,
    path: &str,
    after: Duration,
    offset: u32,
) -> Took {
    let target = format!("/{path}/{}", seed::BAKKEN);
    let status = async || {
        let request = world.request(method, &target).bearer_auth(&user.token);
        request.send().await.expect("an answer").status().as_u16()
    };
    // Not all in the same moment.
    tokio::time::sleep(Duration::from_millis(200) * offset / u32::try_from(USERS).expect("few"))
        .await;
    let begun = Instant::now();
    let (mut since, mut served) = (None, Duration::ZERO);
    let mut ticking = tokio::time::interval(Duration::from_millis(200));
    loop {
        ticking.tick().await;
        if since.is_none() && begun.elapsed() >= after {
            assert_eq!(status().await, 200, "held until now");
            // Over a connection that is there: a new client for each would cost more than what is measured.
            let url = format!("{}/sandbox/rights/revoke", world.sandbox.altinn_url());
            let body = json!({ "system_user": user.id, "party": seed::BAKKEN }).to_string();
            let told = world.http.post(url).body(body).send().await.expect("an answer");
            assert!(told.status().is_success(), "{}", told.status());
            since = Some(Instant::now());
        }
        let came = since.map_or(Duration::ZERO, |since: Instant| since.elapsed());
        match (status().await, since) {
            (403, Some(since)) => return Took { served, refused: since.elapsed() },
            (200, _) => served = came,
            (other, _) => panic!("{other}"),
        }
    }
}

#[tokio::main(flavor = "multi_thread")]
async fn main() {
    let real = std::env::var("PORTVAKT_REVOCATION").is_ok_and(|text| text == "real");
    let (sections, scale, warm) =
        if real { ("", 1, Duration::from_secs(90)) } else { (SCALED, 60, Duration::from_secs(3)) };
    println!("revocation clock, {USERS} revocations of each kind, five requests a second each");
    println!(
        "{}",
        if real { "default configuration" } else { "default configuration, minutes as seconds" }
    );
    println!("{:<32}{:>10}{:>10}{:>10}{:>12}", "", "p50", "p99", "most", "worst case");
    let altinn =
        "altinn: { subscription_key: sandbox-subscription-key, requests_per_second: 1000 }\n";
    let world = &World::start_with(&format!("{altinn}{sections}{ROUTES}")).await;
    // All kinds at once with the real defaults, one after the other else.
    let one = async |kind: usize| {
        let (name, method, path, how, most) = KINDS[kind];
        let most = Duration::from_secs(most.into()) / scale;
        let users = users(world, kind, how).await;
        // Spread over one greatest age.
        let spread = most / u32::try_from(USERS).expect("few");
        let each = users.iter().zip(0u32..).map(|(user, number)| {
            withdrawn(world, user, method, path, warm + spread * number, number)
        });
        let took = join_all(each).await;
        let tell = |what: &str, of: fn(&Took) -> Duration| {
            let mut all: Vec<Duration> = took.iter().map(of).collect();
            all.sort_unstable();
            let at = |percent: usize| all[(all.len() * percent).div_ceil(100).max(1) - 1];
            let name = format!("{name}: {what}");
            println!("{name:<32}{:>10.2?}{:>10.2?}{:>10.2?}{most:>12.2?}", at(50), at(99), at(100));
        };
        tell("last served", |took| took.served);
        tell("first refused", |took| took.refused);
    };
    if real {
        join_all((0..KINDS.len()).map(one)).await;
    } else {
        for kind in 0..KINDS.len() {
            one(kind).await;
        }
    }
}

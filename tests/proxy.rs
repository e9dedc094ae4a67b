//! The road of a request through the real program: what is let through, and how it arrives. What ends a
//! right, a token or a key closes the same road again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::float_cmp,
    reason = "a test that cannot go on fails, and counts are whole"
)]

mod support;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portvakt_sandbox::{Sandbox, SandboxOptions};
use reqwest::Method;
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Output, Stdio};
use support::raw::Ask;
use support::upstream::Upstream;
use support::{World, config, own_key, seed, wait_until};

const READ: &str = "/v1/parties/310000507/returns/7";
const SUBMIT: &str = "/v1/parties/310000507/returns";
const DECLARED: &str = "merverdiavgift";

async fn status(world: &World, target: &str, token: &str) -> u16 {
    world.get(target, token).await.status().as_u16()
}

async fn code(world: &World, ask: &Ask) -> String {
    let answer = world.ask(ask).await;
    if answer.status == 200 { "none".to_owned() } else { code_of(&answer.json()) }
}

fn code_of(problem: &Value) -> String {
    problem["type"].as_str().expect("a type").trim_start_matches("urn:portvakt:problem:").to_owned()
}

/// A token of `client` for the system user of `owner`.
async fn token_of(world: &World, client: &str, owner: &str) -> String {
    let scope = "skatteetaten:mva skatteetaten:kravogbetalinger skatteetaten:lonn";
    world.token_with(json!({ "client_id": client, "scope": scope, "systemuser_org": owner })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_held_opens_and_the_upstream_learns_who_asks() {
    let world = World::start_with("register: { enabled: false }").await;
    let token = world.token(seed::BAKKEN).await;
    let answer = world.get("/v1/parties/310000507/returns/7?x=%2e%2e/", &token).await;
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    let received = world.upstream.last();
    assert_eq!(received.target, "/v1/parties/310000507/returns/7?x=%2e%2e/");
    assert_eq!(received.header("portvakt-system-user"), [seed::BAKKEN_USER]);
    assert_eq!(received.header("portvakt-party"), ["310000507"]);
    assert_eq!(received.header("portvakt-consumer"), ["310000205"]);
    let record = world.proxy.audit_records(1).await.remove(0);
    for (name, value) in [
        ("answer", json!("permit")),
        ("code", json!("none")),
        ("source", json!("pdp")),
        ("status", json!(200)),
        ("route", json!("read")),
        ("template", json!("/v1/parties/{party}/returns/{id}")),
        ("system_user", json!(seed::BAKKEN_USER)),
        ("party", json!("310000507")),
        ("owner", json!("310000507")),
        ("consumer", json!("310000205")),
        ("client_id", json!(seed::NORDLYS)),
        ("system_id", json!("310000205_nordlys")),
        ("resource", json!("ske-mva-melding")),
        ("action", json!("read")),
        ("complete", json!(true)),
    ] {
        assert_eq!(record[name], value, "{name}: {record}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_source_names_the_party_and_bodies_arrive_as_they_were_sent() {
    let world = World::start().await;
    let token = world.token(seed::BAKKEN).await;
    let json = "{ \"data\": {\"party\": \"310000507\"},\r\n\t\"n\": 1.50, \"t\": \"\\u00e6 æ\" }\n";
    let form = "a=%C3%A6+1&party=310000507&b=";
    let get = |target: &str| Ask::get(target).bearer(&token);
    let post = |target: &str, media: &str, body: &str| {
        Ask::new("POST", target).bearer(&token).header("Content-Type", media).body(body)
    };
    for (source, ask, body) in [
        ("path", get(READ), ""),
        ("query", get("/v1/returns?a=1&party=310000507"), ""),
        ("header", get("/v1/mine").header("X-Party-Org", seed::BAKKEN), ""),
        ("token", get("/v1/own"), ""),
        ("json", post("/v1/json/310000507", "application/json", json), json),
        ("form", post("/v1/form", "application/x-www-form-urlencoded", form), form),
    ] {
        let answer = world.ask(&ask).await;
        assert_eq!(answer.status, 200, "{source}: {}", answer.text());
        let received = world.upstream.last();
        assert_eq!(received.header("portvakt-party"), [seed::BAKKEN], "{source}");
        assert_eq!(received.body, body, "{source}");
        // The same sources with a party that gave nothing away.
        let stranger = token_of(&world, seed::BREKKE, seed::BAKKEN).await;
        let wire = String::from_utf8(ask.wire("x")).unwrap().replace(&token, &stranger);
        let mut raw = support::raw::Raw::connect(world.proxy.address()).await;
        raw.send_bytes(wire.as_bytes()).await;
        assert_eq!(raw.answer(ask.method()).await.expect("an answer").status, 403, "{source}");
    }
    assert_eq!(world.upstream.count(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_reach_as_far_as_they_were_delegated() {
    let routes = r#"
  - id: payroll
    match: { methods: [GET], path: "/v1/parties/{party}/payroll" }
    scopes: { all_of: ["skatteetaten:lonn"] }
    resource: ske-a-melding
    action: read
    party: { path: party }
  - id: claims
    match: { methods: [GET], path: "/v1/parties/{party}/claims/{id}" }
    scopes: { all_of: ["skatteetaten:kravogbetalinger"] }
    resource: ske-krav-og-betalinger
    action: read
    party: { path: party }
  - id: excise
    match: { methods: [GET, PUT], path: "/v1/parties/{party}/excise" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-saravgift
    action: write
    party: { path: party }
"#;
    let world = World::start_with(&format!("routes:{}{routes}", support::ROUTES)).await;
    let bakken = token_of(&world, seed::NORDLYS, seed::BAKKEN).await;
    let strand = token_of(&world, seed::NORDLYS, seed::STRAND).await;
    let agent = token_of(&world, seed::BREKKE, seed::FJELL).await;
    let bergen = token_of(&world, seed::BREKKE, "310000515").await;
    let skjaer = token_of(&world, seed::NORDLYS, "310000612").await;
    let sund = token_of(&world, seed::NORDLYS, "310000620").await;
    let get = |target: &str, token: &str| Ask::get(target).bearer(token);
    let post = |target: &str, token: &str| Ask::new("POST", target).bearer(token).body("{}");
    for (why, ask, expected) in [
        ("an agent for its client", get("/v1/parties/310000701/returns/7", &agent), "none"),
        ("an agent for another client", get("/v1/parties/310000728/payroll", &agent), "none"),
        (
            "an agent writes what it may only read",
            post("/v1/parties/310000701/returns", &agent),
            "no_right",
        ),
        (
            "an agent for a client it was not given",
            get("/v1/parties/310000744/payroll", &agent),
            "no_right",
        ),
        ("an agent for its own owner", get("/v1/parties/310000302/payroll", &agent), "no_right"),
        (
            "a sub-unit through its main unit",
            get("/v1/parties/310000515/returns/7", &bakken),
            "none",
        ),
        ("another sub-unit, writing", post("/v1/parties/310000523/returns", &bakken), "none"),
        (
            "a main unit through its sub-unit",
            get("/v1/parties/310000507/payroll", &bergen),
            "no_right",
        ),
        ("the sub-unit itself", get("/v1/parties/310000515/payroll", &bergen), "none"),
        ("the action of a single right", get("/v1/parties/310000604/claims/1", &strand), "none"),
        (
            "another action of its resource",
            post("/v1/parties/310000604/claims", &strand),
            "no_right",
        ),
        ("on an access list", get("/v1/parties/310000612/excise", &skjaer), "none"),
        ("on it for another action", get("/v1/parties/310000620/excise", &sund), "denied"),
    ] {
        assert_eq!(code(&world, &ask).await, expected, "{why}");
    }
    let received = world.upstream.received();
    let of_agent =
        received.iter().find(|one| one.target.contains("310000701")).expect("it came through");
    assert_eq!(of_agent.header("portvakt-party"), [seed::LIA]);
    assert_eq!(
        of_agent.header("portvakt-system-user-owner"),
        [seed::FJELL],
        "party and owner differ"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_are_all_of_one_list_and_one_of_the_other() {
    let routes = r#"
  - id: both
    match: { methods: [GET], path: /both }
    access: scopes
    scopes: { all_of: ["skatteetaten:mva"], any_of: ["skatteetaten:lonn", "skatteetaten:innsyn"] }
  - id: either
    match: { methods: [GET], path: /either }
    access: scopes
    scopes: { any_of: ["skatteetaten:mva", "skatteetaten:lonn"] }
"#;
    let world = World::start_with(&format!("routes:{routes}")).await;
    for (scope, both, either) in [
        ("skatteetaten:mva", 403, 200),
        ("skatteetaten:lonn", 403, 200),
        ("skatteetaten:mva skatteetaten:lonn", 200, 200),
        ("skatteetaten:innsyn skatteetaten:mva", 200, 200),
        ("skatteetaten:innsyn skatteetaten:lonn", 403, 200),
        ("skatteetaten:innsyn", 403, 403),
        ("SKATTEETATEN:MVA skatteetaten:lon", 403, 403),
        ("skatteetaten:mva,skatteetaten:lonn", 403, 403),
        ("skatteetaten:mva\tskatteetaten:lonn", 403, 403),
        ("skatteetaten:mva\u{a0}skatteetaten:lonn", 403, 403),
        ("skatteetaten:* *", 403, 403),
        ("", 403, 403),
    ] {
        let wish = json!({
            "client_id": seed::NORDLYS, "scope": "skatteetaten:mva", "claims_override": { "scope": scope },
        });
        let token = world.token_with(wish).await;
        assert_eq!(status(&world, "/both", &token).await, both, "{scope:?}");
        assert_eq!(status(&world, "/either", &token).await, either, "{scope:?}");
    }
    for claim in [json!(["skatteetaten:mva"]), Value::Null, json!(1)] {
        let wish = json!({
            "client_id": seed::NORDLYS, "scope": "skatteetaten:mva", "claims_override": { "scope": claim },
        });
        let token = world.token_with(wish).await;
        assert_eq!(status(&world, "/either", &token).await, 403, "{claim}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_asks_for_no_more_than_it_says() {
    let world = World::start().await;
    let enterprise = json!({ "client_id": seed::NORDLYS, "scope": "skatteetaten:lonn" });
    let enterprise = world.token_with(enterprise).await;
    let asked = world.calls("pdp").await;
    for (why, ask, expected) in [
        ("anonymous", Ask::get("/open/x"), "none"),
        ("anonymous with a token", Ask::get("/open/x").bearer(&enterprise), "none"),
        // What is not looked at cannot be wrong.
        ("anonymous with a bad token", Ask::get("/open/x").bearer("a.b.c"), "none"),
        ("another method of it", Ask::new("DELETE", "/open/x"), "no_route"),
        ("the place itself", Ask::get("/open"), "no_route"),
        ("scopes only", Ask::get("/v1/scopes").bearer(&enterprise), "none"),
        ("scopes only without a token", Ask::get("/v1/scopes"), "token_missing"),
        ("a right", Ask::get("/v1/own").bearer(&enterprise), "insufficient_scope"),
    ] {
        assert_eq!(code(&world, &ask).await, expected, "{why}");
    }
    assert_eq!(world.calls("pdp").await, asked, "Altinn is asked for rights only");
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_judged_like_get() {
    let world = World::start().await;
    let token = world.token(seed::BAKKEN).await;
    let head = Ask::new("HEAD", READ);
    let answer = world.ask(&head.clone().bearer(&token)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(world.upstream.last().method, "HEAD");
    let refused = world.ask(&head).await;
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")));
    // A place that is not read is not looked at either.
    assert_eq!(world.ask(&Ask::new("HEAD", SUBMIT).bearer(&token)).await.status, 404);
    let records = world.proxy.audit_records(3).await;
    assert!(records.iter().all(|record| record["complete"] == true), "{records:?}");
    assert!(records.iter().all(|record| record["response_bytes"] == 0), "{records:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_request_is_answered_from_what_altinn_confirmed() {
    let world = World::start_with("register: { enabled: false }").await;
    let token = world.token(seed::BAKKEN).await;
    assert_eq!(status(&world, READ, &token).await, 200);
    assert_eq!(world.upstream.last().header("portvakt-source"), ["pdp"]);
    let asked = world.calls("pdp").await;
    for target in
        [READ, "/v1/parties/310000507/returns/8", "/v1/returns?party=310000507", "/v1/own"]
    {
        assert_eq!(status(&world, target, &token).await, 200);
        assert_eq!(world.upstream.last().header("portvakt-source"), ["register"], "{target}");
    }
    assert_eq!(world.calls("pdp").await, asked, "one question, whichever route asks it");
    assert!(world.proxy.metric("portvakt_permits_total{basis=\"confirmed\"}").await >= 4.0);
    // The same right for the same party under another token is the same question.
    let another = world.token(seed::BAKKEN).await;
    assert_eq!(status(&world, READ, &another).await, 200);
    assert_eq!(world.calls("pdp").await, asked);
    // Another action is not.
    let write = Ask::new("POST", SUBMIT).bearer(&token).body("{}");
    assert_eq!(code(&world, &write).await, "none");
    assert_eq!(world.upstream.last().header("portvakt-source"), ["pdp"]);
    assert_eq!(world.calls("pdp").await, asked + 1);
    let records = world.proxy.audit_records(7).await;
    let sources: Vec<_> = records.iter().map(|record| record["source"].as_str().unwrap()).collect();
    assert_eq!(sources, ["pdp", "register", "register", "register", "register", "register", "pdp"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_for_reading_never_serves_writing() {
    let world = World::start().await;
    let agent = token_of(&world, seed::BREKKE, seed::FJELL).await;
    for _ in 0..3 {
        assert_eq!(status(&world, "/v1/parties/310000701/returns/7", &agent).await, 200);
        let write = Ask::new("POST", "/v1/parties/310000701/returns").bearer(&agent).body("{}");
        assert_eq!(code(&world, &write).await, "no_right");
    }
    assert_eq!(world.upstream.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_was_withdrawn_closes_within_the_greatest_age() {
    let world = World::start_with(
        "confirmations: { no_for: 0s }\nfreshness: { read: { max_age: 2s, outage_grace: 0s } }",
    )
    .await;
    let token = world.token(seed::BAKKEN).await;
    assert_eq!(status(&world, READ, &token).await, 200);
    let right = json!({ "system_user": seed::BAKKEN_USER, "party": seed::BAKKEN });
    world.knob(Method::POST, "rights/revoke", right).await;
    wait_until("the right is gone", async || status(&world, READ, &token).await == 403).await;
    // No permit was used at a greater age than the route allows; rounded up, from before the question.
    assert!(world.proxy.metric("portvakt_permit_age_worst_seconds").await <= 3.0);
    // It is asked once more before it is believed, and then it is believed.
    let confirmed = "portvakt_suspicious_no_total{second=\"confirmed\"}";
    assert_eq!(world.proxy.metric(confirmed).await, 1.0);
    assert_eq!(status(&world, READ, &token).await, 403);
    assert_eq!(
        world.proxy.metric(confirmed).await,
        1.0,
        "what is known to be gone is not suspicious"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_granted_works_as_soon_as_the_no_has_run_out() {
    let grant = json!({ "system_user": "5e000000-0000-4000-8000-000000000010", "party": seed::BAKKEN, "package": DECLARED });
    // A no that is not held: the very next request.
    let world = World::start_with("confirmations: { no_for: 0s }").await;
    let token = token_of(&world, seed::BREKKE, seed::BAKKEN).await;
    assert_eq!(status(&world, READ, &token).await, 403);
    world.knob(Method::POST, "rights/grant", grant.clone()).await;
    assert_eq!(status(&world, READ, &token).await, 200);
    // A no that is held: not sooner, but by itself.
    let world = World::start_with("confirmations: { no_for: 2s }").await;
    let token = token_of(&world, seed::BREKKE, seed::BAKKEN).await;
    assert_eq!(status(&world, READ, &token).await, 403);
    let asked = world.calls("pdp").await;
    world.knob(Method::POST, "rights/grant", grant).await;
    wait_until("the right works", async || status(&world, READ, &token).await == 200).await;
    assert_eq!(world.calls("pdp").await, asked + 1, "while it was held, Altinn was left alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sudden_no_is_asked_once_more_before_it_is_believed() {
    let world = World::start_with(
        "register: { enabled: false }\nfreshness: { read: { max_age: 0s }, write: { max_age: 0s } }",
    )
    .await;
    let token = world.token(seed::BAKKEN).await;
    let no = json!({ "decision": "NotApplicable", "times": 1 });
    // Nothing is known of this right yet, so the first no is believed.
    world.fault("pdp", no.clone()).await;
    let write = Ask::new("POST", SUBMIT).bearer(&token).body("{}");
    assert_eq!(code(&world, &write).await, "no_right");
    assert_eq!(status(&world, READ, &token).await, 200);
    let asked = world.calls("pdp").await;
    world.fault("pdp", no).await;
    assert_eq!(status(&world, READ, &token).await, 200);
    assert_eq!(world.calls("pdp").await, asked + 2);
    assert_eq!(world.proxy.metric("portvakt_suspicious_no_total{second=\"permitted\"}").await, 1.0);
    assert_eq!(world.proxy.metric("portvakt_suspicious_no_total{second=\"confirmed\"}").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_system_users_the_one_that_holds_the_right_is_bound() {
    const IDLE: &str = "5e000000-0000-4000-8000-000000000010";
    let world =
        World::start_with("register: { enabled: false }\ntokens: { max_system_users: 2 }").await;
    let token = async |ids: &[&str]| {
        let owner = json!({ "authority": "iso6523-actorid-upis", "ID": "0192:310000507" });
        let entry = json!([{ "type": "urn:altinn:systemuser", "systemuser_id": ids,
            "system_id": "310000205_nordlys", "systemuser_org": owner }]);
        let wish = json!({
            "client_id": seed::NORDLYS, "scope": "skatteetaten:mva", "systemuser_org": seed::BAKKEN,
            "claims_override": { "authorization_details": entry },
        });
        world.token_with(wish).await
    };
    for ids in [[IDLE, seed::BAKKEN_USER], [seed::BAKKEN_USER, IDLE]] {
        assert_eq!(status(&world, READ, &token(&ids).await).await, 200, "{ids:?}");
        assert_eq!(
            world.upstream.last().header("portvakt-system-user"),
            [seed::BAKKEN_USER],
            "{ids:?}"
        );
    }
    let records = world.proxy.audit_records(2).await;
    assert!(records.iter().all(|record| record["system_user"] == seed::BAKKEN_USER), "{records:?}");
    assert_eq!(status(&world, READ, &token(&[IDLE, IDLE]).await).await, 403);
    // More than are allowed cost Altinn nothing.
    let asked = world.calls("pdp").await;
    assert_eq!(status(&world, READ, &token(&[IDLE, IDLE, seed::BAKKEN_USER]).await).await, 401);
    assert_eq!(world.calls("pdp").await, asked);
    // When one of them cannot be told, no is not the answer; a permit of another still is.
    world.fault("pdp", json!({ "decision": "Indeterminate" })).await;
    assert_eq!(
        status(&world, READ, &token(&["5e000000-0000-4000-8000-000000000009", IDLE]).await).await,
        503
    );
    assert_eq!(
        status(
            &world,
            READ,
            &token(&["5e000000-0000-4000-8000-000000000009", seed::BAKKEN_USER]).await
        )
        .await,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_token_is_no_help_to_a_forged_one() {
    let world = World::start().await;
    let token = world.token(seed::BAKKEN).await;
    let hits = "portvakt_token_cache_total{result=\"hit\"}";
    assert_eq!(status(&world, READ, &token).await, 200);
    assert_eq!(status(&world, READ, &token).await, 200);
    assert_eq!(world.proxy.metric(hits).await, 1.0);
    let parts: Vec<&str> = token.split('.').collect();
    let claims = URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
    let claims = String::from_utf8(claims).unwrap().replace(seed::BAKKEN, seed::STRAND);
    let payload = URL_SAFE_NO_PAD.encode(claims);
    let mut signature = parts[2].to_owned();
    let swapped = if signature.starts_with('A') { "B" } else { "A" };
    signature.replace_range(0..1, swapped);
    for (why, forged) in [
        ("another payload", format!("{}.{payload}.{}", parts[0], parts[2])),
        ("another signature", format!("{}.{}.{signature}", parts[0], parts[1])),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("text after it", format!("{token}A")),
        ("half of it", token[..token.len() - 8].to_owned()),
    ] {
        assert_eq!(status(&world, READ, &forged).await, 401, "{why}");
    }
    assert_eq!(world.proxy.metric(hits).await, 1.0);
    assert_eq!(status(&world, READ, &token).await, 200, "the good one is as good as before");
    assert_eq!(world.upstream.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_token_dies_at_its_end_also_on_an_open_connection() {
    let world = World::start_with("tokens: { leeway: 0s }").await;
    let token = world
        .token_with(json!({
            "client_id": seed::NORDLYS, "scope": "skatteetaten:mva", "systemuser_org": seed::BAKKEN,
            "lifetime_seconds": 6,
        }))
        .await;
    let mut raw = support::raw::Raw::connect(world.proxy.address()).await;
    let ask = Ask::get("/v1/scopes").bearer(&token);
    let mut statuses = Vec::new();
    wait_until("the token has ended", async || {
        raw.send(&ask).await;
        statuses.push(raw.answer("GET").await.expect("an answer").status);
        statuses.last() == Some(&401)
    })
    .await;
    assert_eq!(statuses[0], 200);
    assert!(statuses[..statuses.len() - 1].iter().all(|status| *status == 200));
    let refused = "portvakt_tokens_refused_total{reason=\"expired\"}";
    assert_eq!(world.proxy.metric(refused).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_works_after_one_fetch_and_an_old_one_ends_with_the_set() {
    let sections = format!(
        "maskinporten: {{ client_id: \"{}\", key_env: PROXY_JWK, unknown_kid_interval: 1s }}",
        seed::PROXY_CLIENT
    );
    let world = World::start_with(&sections).await;
    let old = world.token(seed::BAKKEN).await;
    assert_eq!(status(&world, READ, &old).await, 200);
    let fetched = world.calls("jwks").await;
    world.knob(Method::POST, "keys/rotate", json!({})).await;
    let new = world.token(seed::BAKKEN).await;
    assert_eq!(status(&world, READ, &new).await, 200);
    assert_eq!(status(&world, READ, &new).await, 200);
    assert_eq!(world.calls("jwks").await, fetched + 1, "one fetch, not one a request");
    assert_eq!(status(&world, READ, &old).await, 200, "both are published");

    world.knob(Method::POST, "keys/rotate", json!({ "drop_old": true })).await;
    assert_eq!(status(&world, READ, &old).await, 200, "nobody has looked since");
    // The next new key brings the set without the old ones; a remembered token ends with its key.
    let newest = world.token(seed::BAKKEN).await;
    wait_until("the newest key is there", async || status(&world, READ, &newest).await == 200)
        .await;
    for gone in [&old, &new] {
        let answer = world.get(READ, gone).await;
        assert_eq!(answer.status(), 401);
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["reason"], "unknown_key");
    }
    assert_eq!(status(&world, READ, &newest).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_goes_to_the_upstream_that_it_names() {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.expect("the sandbox starts");
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let upstreams = format!(
        "upstream: {{ url: \"{}\" }}\nupstreams: {{ archive: {{ url: \"{}\" }} }}",
        one.url(),
        two.url()
    );
    let routes = r#"routes:
  - { id: one, match: { methods: [GET], path: "/one/*" }, access: anonymous }
  - { id: two, match: { methods: [GET], path: "/two/*" }, access: anonymous, upstream: archive }
"#;
    let config = config(&sandbox, &upstreams, routes);
    let world = World::start_config(sandbox, one, &config).await;
    // A client cannot choose: not by host, not by absolute form.
    let host = two.url().replace("http://", "");
    for ask in [Ask::get("/one/x"), Ask::get("/one/x").header("Host", &host)] {
        assert_eq!(code(&world, &ask).await, "none");
    }
    assert_eq!(code(&world, &Ask::get("/two/x")).await, "none");
    assert_eq!((world.upstream.count(), two.count()), (2, 1));
    assert_eq!(two.last().target, "/two/x");
    let count = "portvakt_upstream_responses_total{class=\"2xx\",upstream=\"archive\"}";
    assert_eq!(world.proxy.metric(count).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_keys_cost_one_fetch_and_an_address_in_a_token_none() {
    let sections = format!(
        "maskinporten: {{ client_id: \"{}\", key_env: PROXY_JWK, unknown_kid_interval: 60s }}",
        seed::PROXY_CLIENT
    );
    let world = World::start_with(&sections).await;
    let token = world.token(seed::BAKKEN).await;
    let rest = token.split_once('.').expect("a token").1;
    let fetched = world.calls("jwks").await;
    for n in 0..20 {
        let header = json!({
            "alg": "RS256", "kid": format!("made-up-{n}"),
            "jku": format!("{}/jwk", world.upstream.url()), "x5u": format!("{}/x5u", world.upstream.url()),
        });
        let forged = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()));
        assert_eq!(status(&world, READ, &forged).await, 401);
        assert_eq!(status(&world, READ, &token).await, 200, "a known key is served meanwhile");
    }
    assert_eq!(world.calls("jwks").await, fetched + 1);
    assert!(world.upstream.received().iter().all(|one| one.target == READ));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_side_by_side_keep_their_own_identity() {
    // A no is not asked again while they run, however long that takes; and nothing is read ahead of a question.
    let world =
        World::start_with("confirmations: { no_for: 10m }\nregister: { enabled: false }\n").await;
    let bakken = world.token(seed::BAKKEN).await;
    let skjaer = world.token("310000612").await;
    let lia = token_of(&world, seed::BREKKE, seed::LIA).await;
    let asks = (0..60).map(|n| {
        let token = [&bakken, &skjaer, &lia][n % 3];
        let target = format!("/v1/own?n={n}");
        let world = &world;
        async move { world.get(&target, token).await.status().as_u16() }
    });
    let statuses = futures_util::future::join_all(asks).await;
    // Skjaer holds no right to VAT returns.
    let expected: Vec<u16> = (0..60).map(|n| if n % 3 == 1 { 403 } else { 200 }).collect();
    assert_eq!(statuses, expected);
    for one in world.upstream.received() {
        let party = if one.header("authorization") == [format!("Bearer {bakken}")] {
            seed::BAKKEN
        } else {
            seed::LIA
        };
        assert_eq!(one.header("portvakt-party"), [party]);
        assert_eq!(one.header("portvakt-system-user-owner"), [party]);
    }
    assert_eq!(world.upstream.count(), 40);
    assert_eq!(world.calls("pdp").await, 3, "one question for each, however many ask");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_line_record_or_metric_holds_a_token_a_key_or_a_person() {
    const PERSON: &str = "01010750160";
    let routes = r#"routes:
  - id: person
    match: { methods: [GET, POST], path: "/v1/persons/{party}" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: read
    party: { path: party, persons: true }
  - { id: open, match: { methods: [GET], path: "/open/*" }, access: anonymous }
"#;
    let world = World::start_with(&format!(
        "log: {{ filter: trace }}\naudit: {{ pseudonym_key_env: PROXY_JWK }}\n{routes}"
    ))
    .await;
    let token = world.token(seed::BAKKEN).await;
    let jwk: Value = serde_json::from_str(&own_key(&world.sandbox).await).unwrap();
    let http2 = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let url = format!("{}/v1/persons/{PERSON}?pid={PERSON}", world.proxy.url());
    for client in [&world.http, &http2] {
        for (token, expected) in [(token.as_str(), 200), ("eyJhbGciOiJub25lIn0.e30.x", 401)] {
            let answer =
                client.get(&url).bearer_auth(token).header("x-pid", PERSON).send().await.unwrap();
            let status = answer.status().as_u16();
            let told = answer.text().await.unwrap();
            assert!(status == expected || expected == 200, "{status}: {told}");
            assert!(!told.contains(PERSON) || status == 200, "{told}");
        }
        // Not a route: the path is told by its shape only.
        let strange = format!("{}/persons/{PERSON}", world.proxy.url());
        assert_eq!(client.get(strange).bearer_auth(&token).send().await.unwrap().status(), 404);
    }
    let records = world.proxy.audit_records(6).await;
    let stand_in = records[0]["party"].as_str().expect("a party");
    assert!(stand_in.starts_with("person:"), "{stand_in}");
    let mut lines = world.proxy.log();
    assert!(lines.len() > 100, "the log is talkative");
    lines.extend(records.iter().map(Value::to_string));
    for page in ["/metrics", "/refusals", "/register", "/register/export", "/", "/ui/refusals"] {
        lines.push(world.proxy.admin(page).await.1);
    }
    for record in &records {
        let trace = record["trace_id"].as_str().expect("a trace");
        lines.push(world.proxy.admin(&format!("/ui/refusals/{trace}")).await.1);
    }
    let secrets = [
        PERSON,
        "eyJ",
        seed::SUBSCRIPTION_KEY,
        jwk["d"].as_str().expect("a private key"),
        jwk["p"].as_str().expect("a private key"),
    ];
    for line in lines {
        for secret in secrets {
            assert!(!line.contains(secret), "{secret}: {line}");
        }
    }
}

/// Runs the program to its end, with `input` on standard input.
fn portvakt(arguments: &[&str], environment: &[(&str, &str)], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portvakt"))
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // Who does not read it has closed it.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_step_by_step_what_run_would_do() {
    let world = World::start().await;
    let jwk = own_key(&world.sandbox).await;
    let path = world.proxy.config_path();
    let path = path.to_str().expect("a path");
    let token = world.token(seed::BAKKEN).await;
    let explain = |method: &str, target: &str, more: &[&str], token: &str| {
        let first = ["explain", "--config", path, "--token-file", "-"];
        let arguments = [&first[..], more, &[method, target]].concat();
        let output = portvakt(&arguments, &[("PROXY_JWK", &jwk)], token);
        let (told, complaint) = (text(&output.stdout), text(&output.stderr));
        assert!(!told.contains(token) && !complaint.contains(token), "a token: {told}{complaint}");
        (output.status.code(), told, complaint)
    };
    let (code, told, complaint) = explain("GET", READ, &[], &token);
    assert_eq!(code, Some(0), "{told}{complaint}");
    for part in
        ["admit", "route `read`", seed::BAKKEN_USER, "310000507", "forwarded to upstream `default`"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    for (why, method, target, more, token, parts) in [
        (
            "no right",
            "GET",
            "/v1/parties/310000604/returns/7",
            &[][..],
            token.as_str(),
            ["NO", "no_right (answer: no_right)"],
        ),
        ("a bad token", "GET", READ, &[], "a.b.c", ["authenticate  NO", "401 token_invalid"]),
        ("no route", "GET", "/nowhere", &[], &token, ["route         NO", "404 no_route"]),
        ("no party", "GET", "/v1/mine", &[], &token, ["party         NO", "400 party_invalid"]),
        (
            "another party in a header",
            "GET",
            "/v1/mine",
            &["-H", "X-Party-Org: 310000604"],
            &token,
            ["authorize     NO", "403 no_right"],
        ),
        (
            "denied",
            "PUT",
            "/v1/parties/310000507/archive",
            &[],
            &token,
            ["authorize     NO", "403 denied"],
        ),
    ] {
        let (code, told, complaint) = explain(method, target, more, token);
        assert_eq!(code, Some(1), "{why}: {told}{complaint}");
        for part in parts {
            assert!(told.contains(part), "{why}: {part}: {told}");
        }
    }
    let (_, told, _) = explain("GET", READ, &[], "a.b.c");
    assert!(told.contains("authorize     --  not reached"), "{told}");
    let body = world.proxy.config_path().with_file_name("body.json");
    std::fs::write(&body, r#"{"data":{"party":"310000604"}}"#).expect("written");
    let typed =
        ["--body-file", body.to_str().expect("a path"), "-H", "Content-Type: application/json"];
    let (code, told, _) = explain("POST", "/v1/json/310000507", &typed, &token);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("400 party_invalid"), "another party in the body: {told}");
    assert_eq!(world.upstream.count(), 0, "nothing is forwarded");
    world.fault("pdp", json!({ "decision": "Indeterminate" })).await;
    let (code, told, _) = explain("GET", READ, &[], &token);
    assert_eq!(code, Some(0), "derived: {told}");
    let (code, told, _) = explain("GET", "/v1/parties/310000604/returns/7", &[], &token);
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("503 cannot_decide (answer: unknown)"), "{told}");
    world.heal().await;
    // Without keys nothing can be told of the token either.
    world.fault("jwks", json!({ "status": 503 })).await;
    let (code, told, complaint) = explain("GET", READ, &["--wait", "1"], &token);
    assert_eq!(code, Some(3), "{told}{complaint}");
    world.heal().await;
    let missing = portvakt(
        &["explain", "--config", path, "--token-file", "/nowhere", "GET", READ],
        &[("PROXY_JWK", &jwk)],
        "",
    );
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("/nowhere"), "{}", text(&missing.stderr));
    assert_eq!(
        portvakt(&["explain", "--config", path], &[], "").status.code(),
        Some(2),
        "no request"
    );
}

#[test]
fn check_tells_good_files_from_bad_ones() {
    let directory = tempfile::tempdir().expect("a directory");
    let check = |content: &str| {
        let path = directory.path().join("portvakt.yaml");
        std::fs::write(&path, content).expect("written");
        let output = portvakt(&["check", "--config", path.to_str().unwrap()], &[], "");
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let good = "environment: test\n\
                upstream: { url: \"http://127.0.0.1:3000\" }\n\
                routes:\n  - { id: open, match: { methods: [GET], path: /open }, access: anonymous }\n";
    let (code, told, complaint) = check(good);
    assert_eq!(code, Some(0), "{complaint}");
    assert!(told.contains("open") && told.contains("/open"), "{told}");
    for (why, content, parts) in [
        ("an unknown key", format!("{good}lisen: {{}}\n"), &["lisen"][..]),
        (
            "a route without a right",
            good.replace("access: anonymous", "access: right"),
            &["scopes", "resource", "action", "party"],
        ),
        (
            "two routes for one request",
            format!(
                "{good}  - {{ id: b, match: {{ methods: [HEAD], path: /open }}, access: anonymous }}\n"
            ),
            &["open", "conflicts"],
        ),
        (
            "authorities that are not there",
            good.replace(
                "\"http://127.0.0.1:3000\"",
                "\"https://127.0.0.1:3000\", tls: { ca_file: /nowhere/ca.crt }",
            ),
            &["upstream.tls.ca_file", "cannot be read"],
        ),
        ("no YAML", "routes: [".to_owned(), &[]),
        ("nothing", String::new(), &["environment"]),
    ] {
        let (code, told, complaint) = check(&content);
        assert_eq!(code, Some(1), "{why}: {told}");
        assert!(told.is_empty() && !complaint.is_empty(), "{why}: {told}{complaint}");
        for part in parts {
            assert!(complaint.contains(part), "{why}: {part}: {complaint}");
        }
    }
    let absent = portvakt(&["check", "--config", "/nowhere/portvakt.yaml"], &[], "");
    assert_eq!(absent.status.code(), Some(1));
}

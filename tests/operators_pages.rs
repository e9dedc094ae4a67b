//! The operators' pages at the admin listener, over the real program: what they tell, to whom, and what does not
//! become part of them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

mod support;

use http::header;
use portvakt_sandbox::{Sandbox, SandboxOptions};
use serde_json::Value;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::upstream::Upstream;
use support::{World, config, own_key, raw, seed, wait_until};

/// Longest wait for a page on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(10);
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const READ: &str = "/v1/parties/310000507/returns/7";
const OTHER: &str = "/v1/parties/310000604/returns/7";

/// A world whose admin listener is configured so.
async fn world_with(admin: &str, sections: &str) -> World {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.expect("the sandbox starts");
    let upstream = Upstream::start().await;
    let text = config(&sandbox, &format!("upstream: {{ url: \"{}\" }}", upstream.url()), sections);
    let usual = "admin: { address: \"127.0.0.1:0\" }";
    assert!(text.contains(usual));
    World::start_config(sandbox, upstream, &text.replace(usual, &format!("admin: {admin}"))).await
}

/// `GET path` at the admin listener, with more header fields.
async fn get(world: &World, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
    let port = world.proxy.admin_address().rsplit(':').next().expect("a port");
    let request = world.http.get(format!("http://127.0.0.1:{port}{path}"));
    let all = headers.iter();
    all.fold(request, |request, (name, value)| request.header(*name, *value))
        .send()
        .await
        .expect("an answer")
}

async fn text(world: &World, path: &str) -> String {
    let answer = get(world, path, &[]).await;
    assert_eq!(answer.status(), 200, "{path}");
    answer.text().await.expect("whole")
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_how_it_stands_and_why_a_call_did_not_pass() {
    let world = World::start().await;
    let token = world.token(seed::BAKKEN).await;
    for _ in 0..3 {
        assert_eq!(world.get(READ, &token).await.status(), 200);
    }
    let refused = world.get(OTHER, &token).await;
    assert_eq!(refused.status(), 403);
    let trace = refused.json::<Value>().await.unwrap()["traceId"].as_str().unwrap().to_owned();
    assert_eq!(world.request("GET", READ).send().await.unwrap().status(), 401);
    wait_until("all are counted", async || {
        let page = text(&world, "/").await;
        page.contains("5 requests in the last 60 minutes")
            && page.matches("token_missing").count() == 2
    })
    .await;
    let overview = text(&world, "/").await;
    says(
        &overview,
        &[
            "<html lang=\"en\">",
            "Ready",
            env!("CARGO_PKG_VERSION"),
            "number 1",
            "<code>no_right</code>",
            "310000205",
            "System users by the age",
            "Allowed",
            "1000 a second",
            &format!("href=\"/ui/refusals/{trace}\""),
        ],
    );
    let told = text(&world, &format!("/ui/refusals/{trace}")).await;
    says(
        &told,
        &[
            "refused here",
            "Nothing delegated gives system user",
            "Nobody has given the system user this right for this party.",
            "The customer has not delegated the right",
            "310000604",
            &format!("/register/system-users/{}", seed::BAKKEN_USER),
            "/v1/parties/{party}/returns/{id}",
        ],
    );
    says(&text(&world, "/ui/refusals").await, &["By vendor", "By reason", &trace]);
    says(&text(&world, "/ui/routes").await, &["<code>read</code>"]);
    let in_force = text(&world, "/ui/configuration").await;
    says(&in_force, &["read on ske-mva-melding", "/v1/parties/{party}/returns", "custom"]);
    let jwk: Value = serde_json::from_str(&own_key(&world.sandbox).await).unwrap();
    for page in [overview, told, in_force] {
        for secret in [&token, seed::SUBSCRIPTION_KEY, jwk["d"].as_str().unwrap()] {
            assert!(!page.contains(secret), "{secret}: {page}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_read_only_and_nothing_runs_or_frames_them() {
    let world = World::start().await;
    for path in
        ["/", "/ui/refusals", "/ui/routes", "/ui/configuration", "/ui/style.css", "/ui/icon.svg"]
    {
        let answer = get(&world, path, &[]).await;
        let headers = answer.headers();
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        says(
            policy,
            &[
                "default-src 'none'",
                "frame-ancestors 'none'",
                "base-uri 'none'",
                "form-action 'none'",
            ],
        );
        assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{policy}");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(headers[header::X_FRAME_OPTIONS], "DENY");
        assert_eq!(headers[header::REFERRER_POLICY], "no-referrer");
        assert_eq!(headers["cross-origin-resource-policy"], "same-origin");
        let page = answer.text().await.unwrap();
        assert!(!page.contains("<script") && !page.contains("style="), "{path}");
        let url = format!("http://{}{path}", world.proxy.admin_address());
        let head = world.http.head(&url).send().await.unwrap();
        assert_eq!((head.status().as_u16(), head.text().await.unwrap().len()), (200, 0));
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
            let method = method.parse().unwrap();
            assert_eq!(world.http.request(method, &url).send().await.unwrap().status(), 405);
        }
    }
    assert_eq!(get(&world, "/?refresh", &[]).await.headers()[header::REFRESH], "30");
    for path in ["/", "/?refresh=1;url=//evil.example"] {
        assert!(!get(&world, path, &[]).await.headers().contains_key(header::REFRESH), "{path}");
    }
    for path in ["/ui", "/ui/", "/ui/nowhere", "//", "/ui/../ui/routes"] {
        assert_eq!(get(&world, path, &[]).await.status() == 200, path.contains(".."), "{path}");
    }
}

/// What is asked with, and what for; beside it the status that is expected.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], u16);

const GUARDED: [&str; 7] = [
    "/",
    "/ui/refusals",
    "/ui/configuration",
    "/ui/style.css",
    "/refusals",
    "/register",
    "/nowhere",
];

#[track_caller]
fn expected(path: &str, status: u16) -> u16 {
    if path == "/nowhere" && status == 200 { 404 } else { status }
}

async fn guarded(world: &World, cases: &[Case<'_>]) {
    for (what, headers, status) in cases {
        for path in GUARDED {
            let answer = get(world, path, headers).await;
            assert_eq!(answer.status().as_u16(), expected(path, *status), "{what}: {path}");
            let asked: Vec<_> = answer.headers().get_all(header::WWW_AUTHENTICATE).iter().collect();
            assert_eq!(asked.len(), if *status == 401 { 2 } else { 0 }, "{what}: {path}");
            let told = answer.text().await.unwrap();
            assert!(*status == 200 || told.len() < 300, "{what}: {path}: {told}");
        }
        for path in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(get(world, path, headers).await.status(), 200, "{what}: {path}");
        }
    }
}

/// `Authorization` with a name and a password.
fn basic(name: &str, password: &str) -> String {
    let client = reqwest::Client::new().get("http://localhost/").basic_auth(name, Some(password));
    let request = client.build().unwrap();
    request.headers()[header::AUTHORIZATION].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_nobody_gets_in_without_it_wherever_it_listens() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    for address in ["127.0.0.1:0", "0.0.0.0:0"] {
        let admin = format!("{{ address: \"{address}\", token_file: \"{}\" }}", file.display());
        let world = world_with(&admin, "").await;
        let (bearer, other) = (format!("Bearer {TOKEN}"), format!("Bearer {TOKEN}0"));
        let (password, name) = (basic("anybody", TOKEN), basic(TOKEN, "anybody"));
        guarded(
            &world,
            &[
                ("no token", &[], 401),
                ("the token", &[("authorization", &bearer)], 200),
                ("another", &[("authorization", &other)], 401),
                ("the token as password", &[("authorization", &password)], 200),
                ("the token as name", &[("authorization", &name)], 401),
                ("the token of an API", &[("authorization", "Bearer a.b.c")], 401),
                (
                    "the token under another name of the host",
                    &[("authorization", &bearer), ("host", "ops.example")],
                    200,
                ),
                ("another name alone", &[("host", "localhost")], 401),
                ("the token twice", &[("authorization", &bearer), ("authorization", &bearer)], 401),
                ("a header that claims to be near", &[("x-forwarded-for", "127.0.0.1")], 401),
            ],
        )
        .await;
        assert!(world.proxy.log().iter().all(|line| !line.contains(TOKEN)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_only_this_machine_gets_in_and_by_no_strange_name() {
    let world = World::start().await;
    let port = world.proxy.admin_address().rsplit(':').next().unwrap().to_owned();
    let near = [format!("localhost:{port}"), format!("[::1]:{port}"), "127.0.0.1".to_owned()];
    for host in near {
        guarded(&world, &[(&host, &[("host", &host)], 200)]).await;
    }
    guarded(
        &world,
        &[
            ("a name that was made to lead here", &[("host", "evil.example")], 421),
            ("with our name in it", &[("host", "localhost.evil.example")], 421),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_other_machines_get_probes_and_metrics_alone() {
    let world = world_with("{ address: \"0.0.0.0:0\" }", "").await;
    let bearer = format!("Bearer {TOKEN}");
    guarded(
        &world,
        &[
            ("nothing", &[], 403),
            ("any token", &[("authorization", &bearer)], 403),
            ("an empty one", &[("authorization", "Bearer ")], 403),
            ("as from here", &[("host", "localhost")], 403),
        ],
    )
    .await;
    says(&get(&world, "/", &[]).await.text().await.unwrap(), &["admin.token_file"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_register_tools_show_the_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let admin = format!("{{ address: \"0.0.0.0:0\", token_file: \"{}\" }}", file.display());
    let world = world_with(&admin, "").await;
    let port = world.proxy.admin_address().rsplit(':').next().unwrap();
    let jwk = own_key(&world.sandbox).await;
    let show = |config: &std::path::Path| {
        Command::new(env!("CARGO_BIN_EXE_portvakt"))
            .args(["register", "show", "--admin", &format!("127.0.0.1:{port}"), "--config"])
            .arg(config)
            .env("PROXY_JWK", &jwk)
            .output()
            .expect("it runs")
    };
    let shown = show(&world.proxy.config_path());
    assert!(shown.status.success(), "{shown:?}");
    says(&String::from_utf8_lossy(&shown.stdout), &["system users"]);
    let text = std::fs::read_to_string(world.proxy.config_path()).unwrap();
    let other = folder.path().join("portvakt.yaml");
    std::fs::write(&other, text.replace(&admin, "{ address: \"0.0.0.0:0\" }")).unwrap();
    let shown = show(&other);
    assert_eq!(shown.status.code(), Some(1));
    says(&String::from_utf8_lossy(&shown.stderr), &["admin.token_file"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_chose_does_not_become_part_of_a_page() {
    const PERSON: &str = "01010750160";
    let world = World::start().await;
    let token = world.token(seed::BAKKEN).await;
    let hostile = "<script>alert(1)</script>";
    let asks = [
        raw::Ask::get(&format!("/{hostile}")),
        raw::Ask::get("/%3Cscript%3Ealert(1)%3C%2Fscript%3E"),
        raw::Ask::get("/<img/src=x/onerror=alert(1)>").header("User-Agent", hostile),
        raw::Ask::get(&format!("/v1/own?x={hostile}")).header("traceparent", hostile),
        raw::Ask::get(READ).bearer(hostile),
        raw::Ask::get(OTHER)
            .bearer(&token)
            .header("Accept-Language", hostile)
            .header("Referer", hostile),
        raw::Ask::new("SCRIPT", &format!("/persons/{PERSON}")).header("X-Party-Org", hostile),
    ];
    for ask in &asks {
        let answer = world.ask(ask).await;
        assert!(answer.status >= 400, "{ask:?}");
    }
    let last = async || {
        let told: Value = serde_json::from_str(&text(&world, "/refusals").await).unwrap();
        told["refusals"].as_array().unwrap().clone()
    };
    wait_until("all are told", async || last().await.len() == asks.len()).await;
    let mut pages = vec![text(&world, "/").await, text(&world, "/ui/refusals").await];
    for refusal in last().await {
        let trace = refusal["trace_id"].as_str().unwrap().to_owned();
        pages.push(text(&world, &format!("/ui/refusals/{trace}")).await);
    }
    for page in pages {
        for part in ["alert", "<script", "<img", "onerror", PERSON, &token] {
            assert!(!page.contains(part), "{part}: {page}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_taken_or_refused_is_told() {
    let world = World::start().await;
    says(&text(&world, "/ui/configuration").await, &["Number 1 since the start"]);
    let path = world.proxy.config_path();
    let good = std::fs::read_to_string(&path).unwrap();
    let changed = good.replace("id: level-four", "id: level-five");
    assert_ne!(changed, good);
    std::fs::write(&path, &changed).unwrap();
    world.proxy.signal("HUP");
    wait_until("it is in force", async || {
        let page = text(&world, "/ui/configuration").await;
        page.contains("Number 2 since the start") && page.contains("level-five")
    })
    .await;
    std::fs::write(&path, changed.replace("environment: custom", "environment: tset")).unwrap();
    world.proxy.signal("HUP");
    wait_until("it is refused", async || text(&world, "/").await.contains("changed and refused"))
        .await;
    says(
        &text(&world, "/ui/configuration").await,
        &["Number 2 since the start", "and was refused"],
    );
    let (usual, other) =
        ("address: \"127.0.0.1:0\" }\nupstream", "address: \"127.0.0.2:0\" }\nupstream");
    assert!(changed.contains(usual));
    std::fs::write(&path, changed.replace(usual, other)).unwrap();
    world.proxy.signal("HUP");
    wait_until("an address needs a restart", async || {
        let told = |line: &String| line.contains("these need a restart: admin.address");
        world.proxy.log().iter().any(told)
    })
    .await;
    assert_eq!(get(&world, "/", &[]).await.status(), 200, "the old one is in force");
}

/// The status of the overview for whoever shows this token.
async fn opened(world: &World, token: &str) -> u16 {
    get(world, "/", &[("authorization", &format!("Bearer {token}"))]).await.status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_token_opens_after_a_reload_and_the_old_one_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let admin = format!("{{ address: \"127.0.0.1:0\", token_file: \"{}\" }}", file.display());
    let world = world_with(&admin, "").await;
    let new = TOKEN.replace('0', "9");
    assert_eq!((opened(&world, TOKEN).await, opened(&world, &new).await), (200, 401));
    std::fs::write(&file, &new).unwrap();
    world.proxy.signal("HUP");
    wait_until("the new one opens", async || opened(&world, &new).await == 200).await;
    assert_eq!(opened(&world, TOKEN).await, 401);
    assert_eq!(get(&world, "/", &[]).await.status(), 401);
    // What is not there opens for nobody.
    std::fs::remove_file(&file).unwrap();
    world.proxy.signal("HUP");
    let refused = |line: &String| line.contains("the configuration is not taken");
    wait_until("it is refused", async || world.proxy.log().iter().any(refused)).await;
    assert_eq!((opened(&world, TOKEN).await, opened(&world, &new).await), (401, 200));
    assert_eq!(get(&world, "/", &[]).await.status(), 401);
    assert!(world.proxy.log().iter().all(|line| !line.contains(TOKEN) && !line.contains(&new)));
}

/// A token, three routes and no upstream: whatever gets that far fails there.
#[tokio::test(flavor = "multi_thread")]
async fn what_failed_at_the_upstream_says_which_steps_were_asked_and_what_the_caller_was_told() {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.expect("the sandbox starts");
    let rule = "resource: ske-mva-melding, action: read, party: { path: party }, \
                scopes: { all_of: [\"skatteetaten:mva\"] }";
    let path = |below: &str| {
        format!("match: {{ methods: [GET], path: \"{below}/parties/{{party}}/returns/{{id}}\" }}")
    };
    let routes = format!(
        "refusals: {{ problem_type: \"https://docs.example/p/{{code}}/\" }}\nroutes:\n  \
         - {{ id: open, match: {{ methods: [GET], path: /open }}, access: anonymous }}\n  \
         - {{ id: enforced, {}, {rule} }}\n  \
         - {{ id: in-shadow, {}, {rule}, enforcement: shadow }}\n",
        path("/v1"),
        path("/s")
    );
    let nowhere = config(&sandbox, "upstream: { url: \"http://127.0.0.1:1\" }", &routes);
    let world = World::start_config(sandbox, Upstream::start().await, &nowhere).await;
    let token = world.token(seed::BAKKEN).await;
    let explained = async |path: &str, token: Option<&str>| {
        let mut request = world.request("GET", path);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 502, "{path}");
        let problem = answer.json::<Value>().await.unwrap();
        let page = format!("/ui/refusals/{}", problem["traceId"].as_str().unwrap());
        wait_until("it is remembered", async || get(&world, &page, &[]).await.status() == 200)
            .await;
        let told = text(&world, &page).await;
        says(&told, &[problem["type"].as_str().unwrap(), "https://docs.example/p/"]);
        assert!(!told.contains("urn:portvakt"), "{told}");
        told
    };
    let all = ["route", "authenticate", "scope", "party", "authorize", "forward"];
    let shadow = "judged; let through in shadow";
    let (passed, not, here) = ("passed", "not asked", "refused here");
    for (path, token, states) in [
        ("/open", None, [passed, not, not, not, not, here]),
        (READ, Some(&*token), [passed, passed, passed, passed, passed, here]),
        ("/s/parties/310000507/returns/7", None, [passed, shadow, not, not, not, here]),
        (
            "/s/parties/310000604/returns/7",
            Some(&*token),
            [passed, passed, passed, passed, shadow, here],
        ),
    ] {
        let told = explained(path, token).await;
        for (step, state) in all.iter().zip(states) {
            says(&told, &[&format!("<span>{step}</span><span>{state}</span>")]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_small_and_there_however_many_routes_and_requests_there_are() {
    const ROUTES: usize = 500;
    const MOST_BYTES: usize = 300_000;
    let route = |number| {
        format!(
            "  - {{ id: route-{number}, match: {{ methods: [GET], path: /v{number} }}, access: anonymous }}\n"
        )
    };
    let routes: String = (0..ROUTES).map(route).collect();
    let world = Arc::new(World::start_with(&format!("routes:\n{routes}")).await);
    let done = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let (world, done) = (Arc::clone(&world), Arc::clone(&done));
            tokio::spawn(async move {
                let mut calls = 0;
                while !done.load(Ordering::Relaxed) {
                    let missing = if calls % 2 == 0 { "" } else { "/nowhere" };
                    let path = format!("/v{}{missing}", (calls * 8 + caller) % ROUTES);
                    let answer = world.request("GET", &path).send().await.expect("an answer");
                    assert!(matches!(answer.status().as_u16(), 200 | 404), "{path}");
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    wait_until("all routes are called", async || {
        text(&world, "/ui/routes").await.contains("401 more of the routes")
    })
    .await;
    for path in ["/", "/ui/refusals", "/ui/routes", "/ui/configuration"].iter().cycle().take(20) {
        let page = tokio::time::timeout(PATIENCE, text(&world, path)).await.expect("in time");
        assert!(page.len() < MOST_BYTES, "{path}: {} bytes", page.len());
    }
    let ready = tokio::time::timeout(PATIENCE, get(&world, "/readyz", &[])).await;
    assert_eq!(ready.expect("in time").status(), 200);
    done.store(true, Ordering::Relaxed);
    for caller in callers {
        assert!(caller.await.unwrap() > 0);
    }
    says(&text(&world, "/").await, &["491 more of the routes", "no route matched"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_register_or_calls_to_altinn_that_is_said() {
    let routes = "routes:\n  - { id: open, match: { methods: [GET], path: \"/open/*\" }, access: anonymous }\n";
    let world = World::start_with(routes).await;
    says(
        &text(&world, "/").await,
        &["None is kept", "None are made", "Nothing was refused since the start."],
    );
}

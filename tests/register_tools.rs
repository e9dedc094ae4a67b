//! What people are told of the register: by the admin listener, by `portvakt register` and by
//! `portvakt explain`, over the real program and the sandbox.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

mod support;

use portvakt::app::offline;
use portvakt::clock::{Clock as _, SystemClock};
use portvakt::config::source::load_text;
use portvakt::domain::delegation::PartyRights;
use portvakt::store;
use portvakt::sync::ports::{PublishedResource, Saved, SavedResource, SavedUser, Store as _};
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{World, own_key, seed, wait_until};

const READ: &str = "/v1/parties/310000507/returns/7";
const AGENT: &str = "5e000000-0000-4000-8000-000000000004";
const MINUTE: Duration = Duration::from_secs(60);

/// What a command has come to.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    told: String,
    complaint: String,
}

impl Ran {
    #[track_caller]
    fn expect(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for part in parts {
            assert!(self.told.contains(part) || self.complaint.contains(part), "{part}: {self:?}");
        }
    }
}

/// Runs the program to its end, with `input` on standard input.
fn portvakt(arguments: &[&str], jwk: &str, input: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portvakt"))
        .args(arguments)
        .env("PROXY_JWK", jwk)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // Who does not read it has closed it.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), told: text(&output.stdout), complaint: text(&output.stderr) }
}

/// The program beside a running one, with its configuration.
struct Tools {
    config: String,
    admin: String,
    jwk: String,
}

impl Tools {
    async fn beside(world: &World) -> Self {
        let config = world.proxy.config_path().to_str().expect("a path").to_owned();
        let admin = world.proxy.admin_address().to_owned();
        Self { config, admin, jwk: own_key(&world.sandbox).await }
    }

    fn register(&self, command: &str, more: &[&str]) -> Ran {
        let first = ["register", command, "--config", &self.config];
        portvakt(&[&first, more].concat(), &self.jwk, "")
    }

    fn of_process(&self, command: &str, more: &[&str]) -> Ran {
        self.register(command, &[&["--admin", &self.admin], more].concat())
    }

    fn explain(&self, token: &str, method: &str, target: &str, more: &[&str]) -> Ran {
        let first = ["explain", "--config", &self.config, "--token-file", "-"];
        let ran = portvakt(&[&first, more, &[method, target]].concat(), &self.jwk, token);
        assert!(!ran.told.contains(token) && !ran.complaint.contains(token), "a token: {ran:?}");
        ran
    }
}

/// Every member's name, at any depth.
fn names(json: &Value) -> Vec<String> {
    match json {
        Value::Object(members) => {
            let own = members.keys().cloned();
            own.chain(members.values().flat_map(names)).collect()
        }
        Value::Array(items) => items.iter().flat_map(names).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

async fn get(world: &World, path: &str) -> Value {
    let (status, text) = world.proxy.admin(path).await;
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

/// Waits until permits of the seed's first system user are derived.
async fn until_derived(world: &World) {
    let token = world.token(seed::BAKKEN).await;
    wait_until("policies", async || {
        get(world, "/register").await["policies"]["verified_seconds"].is_u64()
    })
    .await;
    assert_eq!(world.get(READ, &token).await.status(), 200);
    let path = format!("/register/system-users/{}", seed::BAKKEN_USER);
    wait_until("the system user is read", async || {
        let (status, text) = world.proxy.admin(&path).await;
        status == 200 && text.contains("merverdiavgift")
    })
    .await;
    wait_until("it is counted", async || {
        get(world, "/register").await["system_users"]["read"] == json!(1)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_tells_of_the_register_and_of_refusals() {
    let world = World::start().await;
    until_derived(&world).await;
    let token = world.token(seed::BAKKEN).await;
    assert_eq!(world.get(READ, &token).await.status(), 200);

    let summary = get(&world, "/register").await;
    assert_eq!(summary["system_users"]["watched"], 1, "{summary}");
    assert!(summary["altinn"]["calls_left_now"].is_u64(), "{summary}");
    // Nobody calls now: all of them are there, a tenth of a thousand.
    wait_until("calls left", async || {
        world.proxy.metric("portvakt_altinn_calls_left").await.to_string() == "100"
    })
    .await;
    let resources = summary["policies"]["resources"].as_array().unwrap();
    let of = |id: &str| resources.iter().find(|it| it["resource"] == id).unwrap();
    let returns = of("ske-mva-melding");
    assert_eq!((&returns["state"], &returns["derivation"]), (&json!("read"), &json!("on")));
    assert_eq!(returns["version"].as_str().unwrap().len(), 16);
    let write = &of("ske-krav-og-betalinger")["actions"][0];
    assert_eq!((&write["action"], &write["derivable"]), (&json!("write"), &json!(false)));
    let grace = summary["grace"].as_array().unwrap();
    let words =
        |route: &str| grace.iter().find(|it| it["route"] == route).unwrap()["words"].clone();
    assert!(words("read").as_str().unwrap().starts_with("reads safe for "), "{grace:?}");
    assert_eq!(words("submit"), "writes stop with Altinn");

    let user = get(&world, &format!("/register/system-users/{}", seed::BAKKEN_USER)).await;
    assert_eq!((&user["owner"], &user["doubted"]), (&json!(seed::BAKKEN), &json!(false)), "{user}");
    let party = user["parties"].as_array().unwrap().iter();
    let party = party.clone().find(|it| it["party"] == seed::BAKKEN).unwrap();
    let right = json!({ "resource": "ske-mva-melding", "action": "write" });
    assert!(party["derives"].as_array().unwrap().contains(&right), "{party}");

    let (_, export) = world.proxy.admin("/register/export").await;
    let lines: Vec<Value> =
        export.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["parties"], user["parties"]);

    let document = include_str!("../docs/operator.md");
    for name in names(&summary).into_iter().chain(names(&user)) {
        assert!(document.contains(&format!("`{name}`")), "`{name}` is not in docs/operator.md");
    }

    for (path, part) in [
        ("/nowhere", "/register/system-users/{uuid}"),
        ("/register/nowhere", "/refusals"),
        ("/register/system-users/x", "UUID"),
        ("/register/system-users/5e000000-0000-4000-8000-0000000000ff", "not in the watched set"),
    ] {
        let (status, text) = world.proxy.admin(path).await;
        assert_eq!(status, 404, "{path}");
        assert!(text.contains(part), "{path}: {text}");
    }
    let url = format!("http://{}/register", world.proxy.admin_address());
    assert_eq!(world.http.post(url).send().await.unwrap().status(), 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_refusals_are_told_newest_first_and_without_secrets() {
    let world = World::start().await;
    let token = world.token(seed::BAKKEN).await;
    assert_eq!(get(&world, "/refusals").await, json!({ "refusals": [] }));
    assert_eq!(world.get("/nowhere", &token).await.status(), 404);
    assert_eq!(world.get("/v1/parties/310000604/returns/7", &token).await.status(), 403);
    assert_eq!(world.get("/open/x", &token).await.status(), 200);
    wait_until("both are there", async || {
        get(&world, "/refusals").await["refusals"].as_array().unwrap().len() == 2
    })
    .await;
    let told = get(&world, "/refusals").await;
    let last = &told["refusals"][0];
    for (field, expected) in [
        ("route", json!("read")),
        ("status", json!(403)),
        ("answer", json!("no_right")),
        ("code", json!("no_right")),
        ("party", json!("310000604")),
        ("system_user", json!(seed::BAKKEN_USER)),
        ("resource", json!("ske-mva-melding")),
        ("action", json!("read")),
    ] {
        assert_eq!(last[field], expected, "{field}: {told}");
    }
    assert!(last["consumer"].is_string() && last["time"].is_string(), "{told}");
    assert_eq!(told["refusals"][1]["code"], "no_route");
    assert!(!told.to_string().contains(&token));
    for _ in 0..120 {
        assert_eq!(world.get("/nowhere", &token).await.status(), 404);
    }
    wait_until("as many as are kept", async || {
        let told = get(&world, "/refusals").await;
        let all = told["refusals"].as_array().unwrap().clone();
        all.len() == 100 && all.iter().all(|refusal| refusal["code"] == "no_route")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_what_the_register_knows_and_why() {
    let world = World::start().await;
    let tools = Tools::beside(&world).await;
    let token = world.token(seed::BAKKEN).await;
    let ran = tools.explain(&token, "GET", READ, &[]);
    ran.expect(
        0,
        &[
            "derived from its access packages",
            "holds for this party: access packages `merverdiavgift`",
            "policy of `ske-mva-melding`, version ",
            "permits through `merverdiavgift`",
            "derived: a permit",
        ],
    );
    let ran = tools.explain(&token, "GET", "/v1/parties/310000604/returns/7", &[]);
    ran.expect(
        1,
        &[
            "not derived: nothing is held for this party",
            "the right is opened by",
            "`merverdiavgift`",
        ],
    );

    let strand = world.token(seed::STRAND).await;
    let ran = tools.explain(&strand, "POST", "/v1/parties/310000604/claims", &[]);
    ran.expect(
        1,
        &[
            "delegated singly for this party, but not `write`",
            "not derived: the policy does not settle it: no rule opens",
        ],
    );

    // An agent with several clients: only the one that is asked about is named.
    let wish = json!({ "client_id": seed::BREKKE, "scope": "skatteetaten:mva", "systemuser_org": seed::FJELL });
    let agent = world.token_with(wish).await;
    let ran = tools.explain(&agent, "GET", "/v1/parties/310000744/returns/7", &[]);
    ran.expect(1, &[AGENT, "not derived: nothing is held for this party"]);
    assert!(!ran.told.contains(seed::LIA), "another client: {ran:?}");

    // Who is refused before the right is not looked up.
    let ran = tools.explain("a.b.c", "GET", READ, &[]);
    ran.expect(1, &["401 token_invalid"]);
    assert!(!ran.told.contains("register"), "{ran:?}");

    // Altinn's list is away: the PDP alone is asked, and that is said.
    world.fault("parties", json!({ "status": 503 })).await;
    let ran = tools.explain(&token, "GET", READ, &["--wait", "2"]);
    ran.expect(
        0,
        &["confirmed by Altinn's PDP now", "what the system user holds was not read yet"],
    );
    assert_eq!(world.upstream.count(), 0, "nothing is forwarded");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_register_is_shown_exported_and_verified_beside_the_running_process() {
    let mut world = World::start().await;
    let tools = Tools::beside(&world).await;
    until_derived(&world).await;
    tools.of_process("show", &[]).expect(
        0,
        &[
            "system users   1 watched",
            "ske-mva-melding: read, version",
            "read: reads safe for",
            "calls left now",
        ],
    );
    tools.of_process("show", &[seed::BAKKEN_USER]).expect(
        0,
        &[
            "owner          310000507",
            "access packages  merverdiavgift",
            "write on ske-mva-melding",
        ],
    );
    tools.of_process("show", &[AGENT]).expect(1, &["not in the watched set"]);
    tools.register("show", &["not-a-uuid"]).expect(2, &[]);
    let ran = tools.of_process("export", &[]);
    ran.expect(0, &["\"system_user\":\"5e000000-0000-4000-8000-000000000001\""]);
    assert_eq!(ran.told.lines().count(), 1);

    let upstream = world.upstream.count();
    tools.of_process("verify", &["--all"]).expect(0, &["agreed, 0 differ,", "0 could not be told"]);
    tools.of_process("verify", &["--pairs", "1"]).expect(0, &["1 of 3 pairs compared"]);
    world.fault("pdp", json!({ "decision": "Indeterminate" })).await;
    tools.of_process("verify", &[]).expect(3, &["could not be told: system user"]);
    world.heal().await;
    world.fault("pdp", json!({ "decision": "NotApplicable" })).await;
    let ran = tools.of_process("verify", &[]);
    ran.expect(3, &["differs, shortly after a change", "what it holds changed", " 0 differ,"]);
    world.heal().await;
    assert_eq!(world.upstream.count(), upstream);

    tools.of_process("show", &["--snapshot"]).expect(2, &["--snapshot"]);
    tools.register("show", &["--snapshot"]).expect(1, &["register.snapshot.file"]);
    world.proxy.signal("TERM");
    world.proxy.wait();
    tools.of_process("show", &[]).expect(1, &["cannot be reached", "--snapshot"]);
    tools.of_process("verify", &[]).expect(3, &["cannot be reached"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_persons_nothing_is_held_and_no_number_is_told() {
    const PERSON: &str = "01010750160";
    let routes = r#"routes:
  - id: person
    match: { methods: [GET], path: "/v1/persons/{party}" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: read
    party: { path: party, persons: true }
"#;
    let keyed = format!("audit: {{ pseudonym_key_env: PROXY_JWK }}\n{routes}");
    let world = World::start_with(&keyed).await;
    let tools = Tools::beside(&world).await;
    let token = world.token(seed::BAKKEN).await;
    let path = format!("/v1/persons/{PERSON}");
    let ran = tools.explain(&token, "GET", &path, &[]);
    ran.expect(3, &["nothing is held of persons", "not derived: the party is a person"]);
    assert!(!ran.told.contains(PERSON) && !ran.complaint.contains(PERSON), "{ran:?}");
    assert_eq!(world.get(&path, &token).await.status(), 503, "no such person");
    wait_until("the refusal is told", async || {
        let told = get(&world, "/refusals").await;
        told["refusals"][0]["party"].as_str().is_some_and(|party| party.starts_with("person:"))
    })
    .await;
    let (_, told) = world.proxy.admin("/refusals").await;
    assert!(!told.contains(PERSON), "{told}");
}

/// What a process that ran twenty minutes ago has left: the first system user holds `package` for its owner.
async fn leave_snapshot(world: &World, jwk: &str, package: &str) {
    let path = world.proxy.config_path();
    let text = std::fs::read_to_string(&path).unwrap();
    let variable = |name: &str| (name == "PROXY_JWK").then(|| jwk.to_owned());
    let config = load_text(&text, "portvakt.yaml", &variable).expect("a configuration");
    let now = SystemClock.wall();
    let then = now - 20 * MINUTE;
    let url = format!(
        "{}/resourceregistry/api/v1/resource/ske-mva-melding/policy",
        world.sandbox.altinn_url()
    );
    let policy = world.http.get(url).send().await.unwrap().bytes().await.unwrap();
    let resource = SavedResource {
        id: "ske-mva-melding".parse().unwrap(),
        published: PublishedResource { policy: policy.to_vec().into(), access_list: false },
        verified: then,
    };
    let user = SavedUser {
        id: seed::BAKKEN_USER.parse().unwrap(),
        owner: seed::BAKKEN.parse().unwrap(),
        system: "310000205_nordlys".parse().unwrap(),
        vendor: "310000205".parse().unwrap(),
        fetched: Some(then),
        changed: then - 20 * MINUTE,
        lost: None,
        last_used: then,
        parties: vec![PartyRights {
            party: seed::BAKKEN.parse().unwrap(),
            packages: vec![package.parse().unwrap()],
            resources: vec![],
        }],
        read_for: None,
    };
    let options = offline::snapshot(&config).expect("a snapshot");
    let _ = std::fs::remove_file(&options.path);
    let mut opened = store::open(&options, now).expect("a new snapshot");
    let facts = vec![
        Saved::Resource(Box::new(resource)),
        Saved::User(Box::new(user)),
        Saved::LastSaved(then),
    ];
    opened.store.save(facts).expect("saved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_shown_verified_and_judged_by_while_nothing_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("register");
    let section = format!("register: {{ snapshot: {{ file: \"{}\" }} }}\n", file.display());
    let mut world = World::start_with(&section).await;
    let tools = Tools::beside(&world).await;
    let token = world.token(seed::BAKKEN).await;
    let keys = world.proxy.config_path().with_file_name("keys.json");
    let metadata = format!("{}.well-known/oauth-authorization-server", world.sandbox.issuer());
    let metadata: Value = world.http.get(metadata).send().await.unwrap().json().await.unwrap();
    let jwks = world.http.get(metadata["jwks_uri"].as_str().unwrap()).send().await.unwrap();
    std::fs::write(&keys, jwks.bytes().await.unwrap()).unwrap();
    // Beside the process its file is left alone, and read when it has stopped.
    until_derived(&world).await;
    tools.register("show", &["--snapshot"]).expect(1, &["is kept by the running process"]);
    let ran = tools.explain(&token, "GET", READ, &[]);
    assert!(ran.complaint.is_empty(), "{ran:?}");
    tools.of_process("verify", &[]).expect(0, &[" 0 differ,"]);
    world.proxy.signal("TERM");
    world.proxy.wait();
    let left = std::fs::read(&file).unwrap();
    let ran = tools.register("show", &["--snapshot", seed::BAKKEN_USER]);
    ran.expect(0, &["access packages  merverdiavgift", "write on ske-mva-melding"]);
    tools.explain(&token, "GET", READ, &[]).expect(0, &["derived: a permit"]);
    tools.register("verify", &["--snapshot"]).expect(0, &[" 0 differ,"]);
    assert_eq!(std::fs::read(&file).unwrap(), left, "only looked at");
    std::fs::remove_file(&file).unwrap();
    tools.register("show", &["--snapshot"]).expect(1, &["cannot be read", "no such file"]);

    leave_snapshot(&world, &tools.jwk, "merverdiavgift").await;
    let before = std::fs::read(&file).unwrap();
    tools
        .register("show", &["--snapshot"])
        .expect(0, &["system users   1 watched", "oldest 20 min", "ske-mva-melding: read"]);
    let ran = tools.register("show", &["--snapshot", seed::BAKKEN_USER]);
    ran.expect(0, &["read           20 min ago, changed 40 min ago", "write on ske-mva-melding"]);
    let ran = tools.register("export", &["--snapshot"]);
    ran.expect(0, &["\"packages\":[\"merverdiavgift\"]"]);
    tools
        .register("verify", &["--snapshot"])
        .expect(0, &["1 of 1 pairs compared: 2 permits agreed"]);

    // Offline nothing is asked; reads are within their grace, writes are not.
    let calls = (world.calls("pdp").await, world.calls("parties").await);
    let keys = keys.to_str().unwrap();
    let offline = ["--offline", "--keys-file", keys];
    tools.explain(&token, "GET", READ, &offline).expect(
        0,
        &[
            "derived from its access packages, 20 min old",
            "used since Altinn cannot be asked",
            "permits through `merverdiavgift`",
        ],
    );
    let ran = tools.explain(&token, "POST", "/v1/parties/310000507/returns", &offline);
    ran.expect(3, &["503 cannot_decide", "derived: a permit, 20 min old"]);
    tools.explain(&token, "GET", READ, &["--offline"]).expect(3, &["token_unverified"]);
    tools.explain(&token, "GET", READ, &["--keys-file", keys]).expect(2, &["--offline"]);
    assert_eq!((world.calls("pdp").await, world.calls("parties").await), calls);
    assert_eq!(std::fs::read(&file).unwrap(), before, "only looked at");

    // What was read twenty minutes ago is not so at Altinn any more.
    let revoked = json!({
        "system_user": seed::BAKKEN_USER, "party": seed::BAKKEN, "package": "merverdiavgift",
    });
    world.knob(reqwest::Method::POST, "rights/revoke", revoked).await;
    let ran = tools.register("verify", &["--snapshot"]);
    ran.expect(1, &["differs: system user 5e", "write on ske-mva-melding", "nothing covers it"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_register_that_is_said() {
    let world = World::start_with("register: { enabled: false }\n").await;
    let tools = Tools::beside(&world).await;
    for path in ["/register", "/register/export"] {
        let (status, text) = world.proxy.admin(path).await;
        assert_eq!((status, text.contains("no register is kept")), (404, true), "{text}");
    }
    tools.of_process("show", &[]).expect(1, &["no register is kept"]);
    tools.register("export", &["--snapshot"]).expect(1, &["no register is kept"]);
    let token = world.token(seed::BAKKEN).await;
    tools.explain(&token, "GET", READ, &[]).expect(0, &["confirmed by Altinn's PDP now"]);
}

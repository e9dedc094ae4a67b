//! What the integration tests share: the sandbox, an upstream that records what reaches it, and the real
//! program between them, all on free ports of loopback.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails by panicking"
)]

pub mod authority;
pub mod disk;
pub mod http;
pub mod raw;
pub mod relay;
pub mod upstream;
pub mod wire;

use portvakt::families::catalogue::{Values, find};
use portvakt_sandbox::{RunningSandbox, Sandbox, SandboxOptions};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use upstream::Upstream;

/// The seed world's ids (`sandbox/README.md`).
pub mod seed {
    /// The proxy's own client.
    pub const PROXY_CLIENT: &str = "c1000000-0000-4000-8000-000000000001";
    /// Client of the vendor Nordlys.
    pub const NORDLYS: &str = "c1000000-0000-4000-8000-000000000011";
    /// Client of the vendor Brekke.
    pub const BREKKE: &str = "c1000000-0000-4000-8000-000000000021";
    /// Customer of Nordlys whose system user may read and write `ske-mva-melding`.
    pub const BAKKEN: &str = "310000507";
    /// Its system user.
    pub const BAKKEN_USER: &str = "5e000000-0000-4000-8000-000000000001";
    /// Customer of Nordlys whose system user may only read `ske-krav-og-betalinger`.
    pub const STRAND: &str = "310000604";
    /// The accountant, owner of the agent system user of Brekke.
    pub const FJELL: &str = "310000302";
    /// A client of the accountant.
    pub const LIA: &str = "310000701";
    /// A client of the accountant that is not delegated.
    pub const ODDEN: &str = "310000744";
    /// The gateway key.
    pub const SUBSCRIPTION_KEY: &str = "sandbox-subscription-key";
}

/// Routes that cover every kind of access and party source.
pub const ROUTES: &str = r#"
  - id: submit
    match: { methods: [POST, PUT], path: "/v1/parties/{party}/returns" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: write
    party: { path: party }
  - id: read
    match: { methods: [GET], path: "/v1/parties/{party}/returns/{id}" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: read
    party: { path: party }
  - id: claims-write
    match: { methods: [POST], path: "/v1/parties/{party}/claims" }
    scopes: { all_of: ["skatteetaten:kravogbetalinger"] }
    resource: ske-krav-og-betalinger
    action: write
    party: { path: party }
  - id: list
    match: { methods: [GET], path: "/v1/returns" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: read
    party: { query: party }
  - id: mine
    match: { methods: [GET], path: "/v1/mine" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: read
    party: { header: X-Party-Org }
  - id: own
    match: { methods: [GET], path: "/v1/own" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: read
    party: { token: systemuser_org }
  - id: json
    match: { methods: [POST], path: "/v1/json/{party}" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: write
    party: { path: party, json: "/data/party" }
  - id: form
    match: { methods: [POST], path: "/v1/form" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: write
    party: { form: party }
  - id: level-four
    match: { methods: [GET], path: "/v1/parties/{party}/shielded" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-skjermet-skattegrunnlag
    action: read
    party: { path: party }
  - id: denied
    match: { methods: [PUT], path: "/v1/parties/{party}/archive" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-arkiv
    action: write
    party: { path: party }
  - id: scopes-only
    match: { methods: [GET, POST], path: "/v1/scopes" }
    access: scopes
    scopes: { any_of: ["skatteetaten:mva", "skatteetaten:lonn"] }
  - id: open
    match: { methods: [GET, POST, PUT], path: "/open/*" }
    access: anonymous
  - id: socket
    match: { methods: [GET], path: "/v1/parties/{party}/socket" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: read
    party: { path: party }
    upgrades: [websocket]
"#;

/// The sandbox, an upstream and the program between them.
pub struct World {
    /// Maskinporten and Altinn.
    pub sandbox: RunningSandbox,
    /// What is protected.
    pub upstream: Upstream,
    /// The program.
    pub proxy: Proxy,
    /// For plain calls: follows nothing, keeps connections.
    pub http: reqwest::Client,
}

impl World {
    /// With the usual routes and nothing out of the ordinary.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// With more configuration: whole top-level sections, such as `limits: {…}`.
    pub async fn start_with(sections: &str) -> Self {
        let sandbox = Sandbox::start(SandboxOptions::default()).await.expect("the sandbox starts");
        let upstream = Upstream::start().await;
        let config =
            config(&sandbox, &format!("upstream: {{ url: \"{}\" }}", upstream.url()), sections);
        Self::start_config(sandbox, upstream, &config).await
    }

    /// With a whole configuration.
    pub async fn start_config(sandbox: RunningSandbox, upstream: Upstream, config: &str) -> Self {
        let world = Self::start_unready(sandbox, upstream, config).await;
        world.proxy.wait_until_ready().await;
        world
    }

    /// As [`World::start_config`], without waiting until the program is ready.
    pub async fn start_unready(sandbox: RunningSandbox, upstream: Upstream, config: &str) -> Self {
        let jwk = own_key(&sandbox).await;
        let proxy = Proxy::start(config, &[("PROXY_JWK", &jwk)]);
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build();
        Self { sandbox, upstream, proxy, http: http.expect("a client") }
    }

    /// A token of Nordlys for the system user of `organisation`.
    pub async fn token(&self, organisation: &str) -> String {
        self.token_with(json!({
            "client_id": seed::NORDLYS,
            "scope": "skatteetaten:mva skatteetaten:kravogbetalinger",
            "systemuser_org": organisation,
        }))
        .await
    }

    /// A token as `POST /sandbox/token` is asked for it.
    pub async fn token_with(&self, wish: Value) -> String {
        let answer = self.knob(reqwest::Method::POST, "token", wish).await;
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }

    /// Turns a knob of the sandbox.
    pub async fn knob(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        turn(&self.sandbox, method, path, body).await
    }

    /// Lets the sandbox fail: `fault("pdp", json!({"status": 503}))`.
    pub async fn fault(&self, endpoint: &str, fault: Value) {
        self.knob(reqwest::Method::PUT, &format!("faults/{endpoint}"), fault).await;
    }

    /// Ends every fault.
    pub async fn heal(&self) {
        self.knob(reqwest::Method::DELETE, "faults", Value::Null).await;
    }

    /// How often the sandbox was called at `endpoint`.
    pub async fn calls(&self, endpoint: &str) -> u64 {
        let calls = self.knob(reqwest::Method::GET, "calls", Value::Null).await;
        calls["counts"][endpoint]
            .as_u64()
            .unwrap_or_else(|| panic!("no count of {endpoint}: {calls}"))
    }

    /// A request to the program, ready to be changed and sent.
    pub fn request(&self, method: &str, target: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        self.http.request(method, format!("{}{target}", self.proxy.url()))
    }

    /// One request, byte for byte as written, on a connection of its own.
    pub async fn ask(&self, ask: &raw::Ask) -> raw::Answer {
        raw::ask(self.proxy.address(), ask).await
    }

    /// `GET target` with a token.
    pub async fn get(&self, target: &str, token: &str) -> reqwest::Response {
        self.request("GET", target).bearer_auth(token).send().await.expect("an answer")
    }
}

/// Turns a knob of `sandbox`, also before there is a world.
pub async fn turn(
    sandbox: &RunningSandbox,
    method: reqwest::Method,
    path: &str,
    body: Value,
) -> Value {
    let url = format!("{}/sandbox/{path}", sandbox.altinn_url());
    let sent = reqwest::Client::new().request(method, url).body(body.to_string()).send().await;
    let text = sent.expect("the sandbox answers").text().await.expect("whole");
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

/// The private JWK of the proxy's client.
pub async fn own_key(sandbox: &RunningSandbox) -> String {
    let url = format!("{}/sandbox/clients/{}/jwk", sandbox.altinn_url(), seed::PROXY_CLIENT);
    reqwest::get(url).await.expect("the sandbox answers").text().await.expect("whole")
}

/// A configuration for `sandbox`, with the usual routes.
pub fn config(sandbox: &RunningSandbox, upstream: &str, sections: &str) -> String {
    let (issuer, altinn) = (sandbox.issuer(), sandbox.altinn_url());
    // A section that the test gives stands in for the usual one.
    let usual = |name: &str, text: String| {
        if sections.lines().any(|line| line.starts_with(&format!("{name}:"))) {
            String::new()
        } else {
            text
        }
    };
    let altinn_section = usual(
        "altinn",
        format!(
            "altinn: {{ subscription_key: {}, requests_per_second: 1000 }}\n",
            seed::SUBSCRIPTION_KEY
        ),
    );
    let maskinporten = usual(
        "maskinporten",
        format!("maskinporten: {{ client_id: \"{}\", key_env: PROXY_JWK }}\n", seed::PROXY_CLIENT),
    );
    let routes = usual("routes", format!("routes:{ROUTES}"));
    let shutdown = usual("shutdown", "shutdown: { wait: 0s }\n".to_owned());
    let listen = usual("listen", "listen: { address: \"127.0.0.1:0\", workers: 2 }\n".to_owned());
    format!(
        "environment: custom\n\
         custom: {{ issuer: \"{issuer}\", altinn: \"{altinn}\" }}\n\
         {listen}\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         {upstream}\n{altinn_section}{maskinporten}{shutdown}{sections}\n{routes}"
    )
}

/// Where the program is: cargo tells a test, and an example stands in a folder beside it.
fn program() -> PathBuf {
    if let Some(path) = option_env!("CARGO_BIN_EXE_portvakt") {
        return path.into();
    }
    let own = std::env::current_exe().expect("the path of this program");
    let path = own.parent().and_then(Path::parent).expect("a folder").join("portvakt");
    assert!(path.exists(), "{} is missing: run `cargo build` first", path.display());
    path
}

/// The real program, in a process of its own.
pub struct Proxy {
    child: Child,
    directory: tempfile::TempDir,
    log: Arc<Mutex<Vec<String>>>,
    audit: Arc<Mutex<Vec<String>>>,
    address: String,
    admin: String,
}

impl Proxy {
    /// Starts it and waits until it listens.
    pub fn start(config: &str, environment: &[(&str, &str)]) -> Self {
        Self::start_under(&[], config, environment)
    }

    /// As [`Proxy::start`], by a command that runs what is put behind it in its own place.
    pub fn start_under(under: &[&str], config: &str, environment: &[(&str, &str)]) -> Self {
        let program = program();
        let program = program.to_str().expect("a path in UTF-8");
        let words = under.iter().copied().chain([program]).collect::<Vec<_>>();
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("portvakt.yaml");
        std::fs::write(&path, config).expect("written");
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .args(["run", "--config"])
            .arg(&path)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let audit = collect(child.stdout.take().expect("piped"));
        let log = collect(child.stderr.take().expect("piped"));
        let listening = wait_for(Duration::from_secs(20), || {
            let lines = log.lock().expect("whole");
            let found = lines.iter().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line["message"] == "listening").then_some(line)
            });
            let ended = child.try_wait().ok().flatten().is_some();
            assert!(found.is_some() || !ended, "the program ended: {}", lines.join("\n"));
            found
        });
        let text = |name: &str| listening[name].as_str().expect("an address").to_owned();
        let (address, admin) = (text("address"), text("admin"));
        Self { child, directory, log, audit, address, admin }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The admin listener: `127.0.0.1:PORT`
    pub fn admin_address(&self) -> &str {
        &self.admin
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("portvakt.yaml")
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `/readyz` says so.
    pub async fn wait_until_ready(&self) {
        wait_until("ready", async || self.admin("/readyz").await.0 == 200).await;
    }

    /// `GET path` at the admin listener: status and text.
    pub async fn admin(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("http://{}{path}", self.admin)).await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("whole"))
    }

    /// The value of the sample `name{labels}` at `/metrics`; 0 when it is not there.
    pub async fn metric(&self, sample: &str) -> f64 {
        let (_, text) = self.admin("/metrics").await;
        text.lines().filter(|line| !line.starts_with('#')).for_each(assert_known);
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Every log line so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("whole").clone()
    }

    /// Every audit record so far.
    pub fn audit(&self) -> Vec<Value> {
        let lines = self.audit.lock().expect("whole");
        lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The audit record of the request with this trace id.
    pub fn audit_record(&self, trace: &str) -> Option<Value> {
        let lines = self.audit.lock().expect("whole");
        let line = lines.iter().rev().find(|line| line.contains(trace))?;
        Some(serde_json::from_str(line).expect("JSON"))
    }

    /// Waits until there are `count` audit records, and gives them.
    pub async fn audit_records(&self, count: usize) -> Vec<Value> {
        wait_until("audit records", async || self.audit().len() >= count).await;
        self.audit()
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits until it has ended, and gives the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }

    /// Time of processors that it has taken, its own and the system's for it.
    pub fn spent(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).expect("alive");
        // The name in brackets may hold spaces; user and system time are fields 14 and 15, in hundredths.
        let (_, fields) = stat.rsplit_once(") ").expect("a name");
        let ticks = fields.split(' ').skip(11).take(2);
        let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Resident memory in bytes, now and at the greatest.
    pub fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("alive");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
            let kib: u64 =
                line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("KiB");
            kib * 1024
        };
        (field("VmRSS"), field("VmHWM"))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(pipe: impl Read + Send + 'static) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&lines);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            kept.lock().expect("whole").push(line);
        }
    });
    lines
}

/// A sample whose family or label value is not in the catalogue is not in `docs/metrics.md` either.
fn assert_known(sample: &str) {
    let (series, _) = sample.rsplit_once(' ').expect("a value");
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    let family = find(name).or_else(|| base.and_then(find));
    let family = family.unwrap_or_else(|| panic!("not in the catalogue: {sample}"));
    for pair in labels.trim_end_matches(['"', '}']).split("\",").filter(|pair| !pair.is_empty()) {
        let (label, value) = pair.split_once("=\"").expect("a label");
        let Some(known) = family.labels.iter().find(|it| it.name == label) else {
            assert_eq!(label, "le", "not in the catalogue: {sample}");
            continue;
        };
        if let Values::Listed(values) = known.values {
            let listed = values.iter().any(|(it, _)| *it == value);
            assert!(listed, "{label} of {name} is never `{value}` by the catalogue");
        }
    }
}

/// Looks until `found` gives something.
pub fn wait_for<T>(limit: Duration, mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < end, "waited {limit:?} in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Looks until `reached` holds; panics with `what` after 20 seconds.
pub async fn wait_until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !reached().await {
        assert!(Instant::now() < end, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The Python of `tests/run`, or `None` with a word that the test is skipped; in CI that is a failure.
pub fn python() -> Option<PathBuf> {
    tool("PORTVAKT_TEST_PYTHON", ".tools/py/bin/python")
}

/// The folder of Node packages of `tests/run`, or `None` as for [`python`].
pub fn node_modules() -> Option<PathBuf> {
    tool("PORTVAKT_TEST_NODE_MODULES", ".tools/node/node_modules")
}

#[expect(clippy::disallowed_methods, reason = "tests read their own environment")]
fn tool(variable: &str, usual: &str) -> Option<PathBuf> {
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join(usual);
    let path = std::env::var_os(variable).map_or(usual, PathBuf::from);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing; run tests/run", path.display());
    skipped(&format!("{} is missing; tests/run installs it", path.display()));
    None
}

/// Says aloud, in one piece, what a test ran. The harness keeps what a passing test prints to itself, but
/// not what it writes.
pub fn say(text: &str) {
    let line = format!("{}\n", text.trim_end());
    std::io::stderr().write_all(line.as_bytes()).expect("standard error");
}

/// Says aloud that a test does nothing.
pub fn skipped(why: &str) {
    say(&format!("SKIPPED: {why}"));
}

/// A folder of the data from outside, or `None` with a word that the test is skipped; in CI that is a failure.
#[expect(clippy::disallowed_methods, reason = "tests read their own environment")]
pub fn conformance(folder: &str) -> Option<PathBuf> {
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance");
    let root = std::env::var_os("PORTVAKT_CONFORMANCE").map_or(usual, PathBuf::from);
    let path = root.join(folder);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing", path.display());
    skipped(&format!("{} is missing; set PORTVAKT_CONFORMANCE", path.display()));
    None
}

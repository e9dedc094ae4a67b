//! Tokens and requests made by others: `PyJWT` and `jose` mint, and curl, Python and Node call. What the program
//! accepts is not what its own libraries happen to write.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

mod support;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portvakt_sandbox::{Sandbox, SandboxOptions};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use support::relay::Relay;
use support::upstream::Upstream;
use support::wire::{code, told};
use support::{World, config, node_modules, python, seed};

const READ: &str = "/v1/parties/310000507/returns/7";
const SUBMIT: &str = "/v1/parties/310000507/returns";

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

fn python_script(name: &str) -> Option<Command> {
    let mut command = Command::new(python()?);
    command.arg(script(&format!("{name}.py")));
    Some(command)
}

fn node_script(name: &str) -> Option<Command> {
    let modules = node_modules()?;
    let mut command = Command::new("node");
    command.arg(script(&format!("{name}.mjs"))).arg(modules.parent().expect("a folder"));
    Some(command)
}

/// A script that talks in lines of JSON; ended when dropped.
struct Talk {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Talk {
    fn start(mut command: Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the script starts");
        let (input, output) =
            (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        Self { child, input, output: BufReader::new(output) }
    }

    fn say(&mut self, value: &Value) {
        writeln!(self.input, "{value}").expect("the script reads");
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the script speaks");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the script failed: {line:?}"))
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// ---- Tokens

/// The claims of a token, unverified.
fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a compact token");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}

/// An issuer of its own signs the vendors' tokens with keys of `minter`; our own token, and Altinn, are the
/// sandbox's.
async fn check_tokens(minter: Command) {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    let issuer = Relay::start(sandbox.altinn_url()).await;
    let name = format!("{}/", issuer.url());
    let upstream = Upstream::start().await;
    let text = config(&sandbox, &format!("upstream: {{ url: \"{}\" }}", upstream.url()), "")
        .replace(&format!("issuer: \"{}\"", sandbox.issuer()), &format!("issuer: \"{name}\""));
    // What a token of the sandbox says, to be said by the other issuer.
    let shape = json!({
        "client_id": seed::NORDLYS, "scope": "skatteetaten:mva", "systemuser_org": seed::BAKKEN
    });
    let own = json!({ "client_id": seed::PROXY_CLIENT, "scope": "altinn:authorization/authorize" });
    let http = reqwest::Client::new();
    let mint = async |wish: &Value| -> Value {
        let url = format!("{}/sandbox/token", sandbox.altinn_url());
        let answer = http.post(url).body(wish.to_string()).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    };
    let mut claims = claims(mint(&shape).await["access_token"].as_str().unwrap());
    claims["iss"] = json!(name);
    let mut talk = Talk::start(minter);
    talk.say(&json!({ "claims": claims }));
    let made = talk.hear();
    issuer.answer("/jwk", 200, made["jwks"].to_string());
    issuer.answer(
        "/.well-known/oauth-authorization-server",
        200,
        json!({ "issuer": name, "jwks_uri": format!("{name}jwk"), "token_endpoint": format!("{name}token") })
            .to_string(),
    );
    issuer.answer("/token", 200, mint(&own).await.to_string());
    let world = World::start_config(sandbox, upstream, &text).await;
    let tokens = made["tokens"].as_object().unwrap();
    assert!(tokens.len() >= 12);
    for (kind, token) in tokens {
        let token = token.as_str().unwrap();
        let (status, _, problem) = told(world.get(READ, token).await).await;
        if ["RS256", "RS384", "RS512"].contains(&kind.as_str()) {
            assert_eq!(status, 200, "{kind}: {problem}");
            assert_eq!(world.upstream.last().header("portvakt-system-user"), [seed::BAKKEN_USER]);
        } else {
            assert_eq!((status, code(&problem)), (401, "token_invalid"), "{kind}: {problem}");
        }
    }
    assert_eq!(world.upstream.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_pyjwt_are_told_apart() {
    let Some(minter) = python_script("mint") else { return };
    check_tokens(minter).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_jose_are_told_apart() {
    let Some(minter) = node_script("mint") else { return };
    check_tokens(minter).await;
}

// ---- Clients

/// Lets a script call the program; its own echo server is the upstream of the WebSocket route.
async fn call(caller: Command) -> (World, Value) {
    let mut talk = Talk::start(caller);
    let port = talk.hear()["websocket"].as_u64().expect("a port");
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    let upstream = Upstream::start().await;
    let section = format!(
        "upstream: {{ url: \"{}\" }}\nupstreams: {{ sockets: {{ url: \"http://127.0.0.1:{port}\" }} }}",
        upstream.url()
    );
    let routes = support::ROUTES
        .replace("upgrades: [websocket]", "upgrades: [websocket]\n    upstream: sockets");
    let text = config(&sandbox, &section, &format!("routes:{routes}"));
    let world = World::start_config(sandbox, upstream, &text).await;
    let calls = json!({
        "address": world.proxy.address(),
        "good": world.token(seed::BAKKEN).await,
        "refused": world.token(seed::STRAND).await,
    });
    talk.say(&calls);
    let results = tokio::task::spawn_blocking(move || talk.hear());
    let results =
        tokio::time::timeout(Duration::from_secs(120), results).await.expect("an end").unwrap();
    (world, results)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_python_are_served() {
    let Some(caller) = python_script("calls") else { return };
    let (world, results) = call(caller).await;
    assert_eq!(results["http_client"], json!([200, 401, 403, 200, 200, 400, 200, 200]));
    assert_eq!(
        results["httpx_http2"],
        json!({
            "versions": ["HTTP/2"], "statuses": [200, 401, 403, 200, 200], "told": 100_000,
            "problem": "urn:portvakt:problem:token_missing", "challenge": "Bearer",
        })
    );
    assert_eq!(results["h2_raw"], json!({ "statuses": ["200", "403", "200"], "pinged": true }));
    assert_eq!(
        results["websocket"],
        json!({ "echoed": [true, true, true], "closed": 1000, "refused": [401, 403, 200] })
    );
    let received = world.upstream.received();
    assert!(received.iter().all(|one| one.header("portvakt-system-user") == [seed::BAKKEN_USER]));
    let chunked = received.iter().filter(|one| one.body == "one two").count();
    assert_eq!(chunked, 2, "of http.client and of httpx");
    let trailers: Vec<_> = received.iter().flat_map(|one| &one.trailers).collect();
    assert_eq!(trailers, [&("x-checksum".to_owned(), "1".to_owned())], "a forged one is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_node_are_served() {
    let Some(caller) = node_script("calls") else { return };
    let (world, results) = call(caller).await;
    assert_eq!(
        results["node_http"],
        json!({
            "statuses": [200, 401, 200, 200, 403],
            "expecting": { "continued": true, "status": 200 },
            "turned_away": { "continued": false, "status": 401 },
        })
    );
    assert_eq!(
        results["node_http2"],
        json!({ "statuses": [[200], [403], [401]], "targets": true, "large": 1_000_000, "trailers": 200 })
    );
    assert_eq!(
        results["websocket"],
        json!({ "echoed": [true, true], "closed": 1000, "refused": [401, 403, 200] })
    );
    let received = world.upstream.received();
    assert!(received.iter().all(|one| one.header("portvakt-system-user") == [seed::BAKKEN_USER]));
}

/// Runs curl; gives what `-w` wrote, and the body.
fn curl(world: &World, target: &str, arguments: &[&str]) -> (Value, String) {
    let told = r#"\n{"status":%{http_code},"version":"%{http_version}","sent":%{size_upload},"connections":%{num_connects}}"#;
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "60", "--write-out", told])
        .args(arguments)
        .arg(format!("{}{target}", world.proxy.url()))
        .stdin(Stdio::null())
        .output()
        .expect("curl runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (body, told) = text.rsplit_once('\n').expect("what curl tells");
    (serde_json::from_str(told).expect("JSON"), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_is_served() {
    if Command::new("curl").arg("--version").output().is_err() {
        support::skipped("curl is missing; tests/run installs it");
        return;
    }
    let world = World::start().await;
    let (token, strand) = (world.token(seed::BAKKEN).await, world.token(seed::STRAND).await);
    let (good, refused) =
        (format!("Authorization: Bearer {token}"), format!("Authorization: Bearer {strand}"));
    for (flag, version) in [
        ("--http1.0", "1"),
        ("--http1.1", "1.1"),
        ("--http2-prior-knowledge", "2"),
        // Asks for an upgrade to h2c, and is served without.
        ("--http2", "1.1"),
    ] {
        let (told, body) = curl(&world, READ, &[flag, "-H", &good]);
        assert_eq!(told["status"], 200, "{flag}: {body}");
        assert!(told["version"].as_str().unwrap().starts_with(version), "{flag}: {told}");
        assert!(world.upstream.last().header("upgrade").is_empty());
        assert_eq!(curl(&world, READ, &[flag, "-H", &refused]).0["status"], 403, "{flag}");
        assert_eq!(curl(&world, READ, &[flag]).0["status"], 401, "{flag}");
        assert_eq!(curl(&world, READ, &[flag, "--head", "-H", &good]).0["status"], 200, "{flag}");
    }
    // Larger than what curl sends without asking first.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![b'x'; 3 << 20]).unwrap();
    let path = file.path().to_str().unwrap();
    for flag in ["--http1.1", "--http2-prior-knowledge"] {
        for chunked in [false, true] {
            let mut arguments = vec![flag, "-X", "POST", "-T", path, "-H", &good];
            if chunked && flag == "--http1.1" {
                arguments.extend(["-H", "Transfer-Encoding: chunked"]);
            }
            let (told, body) = curl(&world, SUBMIT, &arguments);
            assert_eq!(told["status"], 200, "{flag}: {body}");
            assert_eq!(world.upstream.last().body.len(), 3 << 20);
        }
    }
    // Asks first, and is turned away: nothing of the file is sent.
    let reached = world.upstream.count();
    let (told, body) = curl(
        &world,
        SUBMIT,
        &["--http1.1", "-X", "POST", "-T", path, "-H", "Expect: 100-continue"],
    );
    assert_eq!((&told["status"], &told["sent"]), (&json!(401), &json!(0)), "{body}");
    assert_eq!(world.upstream.count(), reached);
    // Two on one connection.
    let twice = format!("{}{READ}", world.proxy.url());
    let (told, _) = curl(&world, READ, &["-H", &good, "-o", "/dev/null", &twice]);
    assert_eq!(told["connections"], 0, "the second one needs no new connection: {told}");
}

//! End-user systems in other languages, with the addresses of the real services in them, walk each pattern from
//! registering the system to a permitted question. They are written from the contract and run unmodified: only
//! names and trust are moved from outside, as a hosts file and a CA bundle would.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

use portvakt_sandbox::{RunningSandbox, Sandbox, SandboxOptions, TlsOptions};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const VENDOR: &str = "310000213";

/// A pattern of use, in the built-in world.
struct Pattern {
    name: &'static str,
    agent: bool,
    client: u8,
    scope: &'static str,
    package: &'static str,
    customer: &'static str,
    /// Who approves, and for agents adds the client.
    people: [&'static str; 2],
    party: &'static str,
    neighbour: &'static str,
    right: [&'static str; 2],
}

const PATTERNS: [Pattern; 3] = [
    Pattern {
        name: "own",
        agent: false,
        client: 22,
        scope: "skatteetaten:mva",
        package: "merverdiavgift",
        customer: "310000507",
        people: ["01819049901", "01819049901"],
        party: "310000507",
        neighbour: "310000604",
        right: ["ske-mva-melding", "read"],
    },
    Pattern {
        name: "supplier",
        agent: true,
        client: 23,
        scope: "skatteetaten:kravogbetalinger",
        package: "skattegrunnlag",
        customer: "310000329",
        people: ["01819049907", "01819049907"],
        party: "310000736",
        neighbour: "310000728",
        right: ["ske-krav-og-betalinger", "read"],
    },
    Pattern {
        name: "client",
        agent: true,
        client: 24,
        scope: "skatteetaten:lonn",
        package: "regnskapsforer-lonn",
        customer: "310000302",
        people: ["01819049904", "01819049905"],
        party: "310000744",
        neighbour: "310000701",
        right: ["ske-a-melding", "write"],
    },
];

fn client_id(number: u8) -> String {
    format!("c1000000-0000-4000-8000-0000000000{number:02}")
}

/// A tool of `tests/run`; without it the test says aloud that it does nothing.
#[expect(clippy::disallowed_methods, reason = "tests read their own environment")]
fn tool(variable: &str, usual: &str) -> Option<PathBuf> {
    let usual = root().join(usual);
    let path = std::env::var_os(variable).map_or(usual, PathBuf::from);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing; run tests/run", path.display());
    // Past the harness, which keeps what a passing test prints.
    let text = format!("SKIPPED: {} is missing; tests/run installs it\n", path.display());
    std::io::stderr().write_all(text.as_bytes()).unwrap();
    None
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn script(name: &str) -> PathBuf {
    root().join("tests/clients").join(name)
}

/// A knob, or an endpoint of the portal, over plain HTTP.
async fn call(
    sandbox: &RunningSandbox,
    method: &str,
    path: &str,
    bearer: &str,
    body: Value,
) -> Value {
    let mut stream = TcpStream::connect(sandbox.address()).await.unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: sandbox\r\nconnection: close\r\nauthorization: Bearer {bearer}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 2"), "{method} {path}: {answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

async fn client(sandbox: &RunningSandbox, number: u8) -> Value {
    let id = client_id(number);
    let jwk = call(sandbox, "GET", &format!("/sandbox/clients/{id}/jwk"), "", Value::Null).await;
    json!({ "id": id, "organization": VENDOR, "jwk": jwk })
}

async fn log_in(sandbox: &RunningSandbox, person: &str) -> String {
    let body = json!({ "person": person });
    let answer = call(sandbox, "POST", "/sandbox/portal/login", "", body).await;
    answer["access_token"].as_str().unwrap().to_owned()
}

/// What the end-user system is told: its own keys, and whom it is about.
async fn task(sandbox: &RunningSandbox) -> Value {
    let mut patterns = Vec::new();
    for pattern in &PATTERNS {
        patterns.push(json!({
            "name": pattern.name, "agent": pattern.agent, "scope": pattern.scope,
            "package": pattern.package, "customer": pattern.customer,
            "party": pattern.party, "neighbour": pattern.neighbour,
            "resource": pattern.right[0], "action": pattern.right[1],
            "client": client(sandbox, pattern.client).await,
            "client_uuid": format!("a0000000-0000-4000-8000-000{}", pattern.party),
        }));
    }
    json!({
        "vendor": client(sandbox, 21).await, "owner": client(sandbox, 1).await,
        "subscription_key": "sandbox-subscription-key", "patterns": patterns,
    })
}

/// Ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Somebody at the customer approves; gives the token of the one who adds clients.
async fn approve(sandbox: &RunningSandbox, pattern: &Pattern, asked: &Value) -> String {
    let confirm = asked["confirm"].as_str().unwrap();
    let page = if pattern.agent { "agentrequest" } else { "request" };
    let begins =
        format!("https://platform.tt02.altinn.no/accessmanagement/ui/systemuser/{page}?id=");
    assert!(confirm.starts_with(&begins), "{confirm}");
    let kind = if pattern.agent { "agent/" } else { "" };
    let party = pattern.customer.replacen("310", "51", 1);
    let id = asked["id"].as_str().unwrap();
    let path = format!("/authentication/api/v1/systemuser/request/{kind}{party}/{id}/approve");
    let approver = log_in(sandbox, pattern.people[0]).await;
    assert_eq!(call(sandbox, "POST", &path, &approver, Value::Null).await, true);
    log_in(sandbox, pattern.people[1]).await
}

/// Runs an end-user system through every pattern. `environment` names the file with the authority.
async fn walk(command: impl FnOnce(&str) -> Command, environment: &str) {
    let tls = TlsOptions {
        hosts: vec!["test.maskinporten.no".into(), "platform.tt02.altinn.no".into()],
        issuer: Some("https://test.maskinporten.no/".into()),
        altinn: Some("https://platform.tt02.altinn.no".into()),
    };
    let options = SandboxOptions { tls: Some(tls), ..SandboxOptions::default() };
    let sandbox = Sandbox::start(options).await.unwrap();
    let name = format!("authority-{}.pem", sandbox.address().port());
    let authority = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&authority, sandbox.authority_pem().unwrap()).unwrap();
    let mut command = command(&sandbox.address().to_string());
    let command = command.env(environment, &authority).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = Running(command.spawn().unwrap());
    let mut input = child.0.stdin.take().unwrap();
    let mut output = BufReader::new(child.0.stdout.take().unwrap());
    let mut hear = || -> Value {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the client failed: {line:?}"))
    };
    writeln!(input, "{}", task(&sandbox).await).unwrap();
    for pattern in &PATTERNS {
        let asked = tokio::task::block_in_place(&mut hear);
        let person = approve(&sandbox, pattern, &asked).await;
        writeln!(input, "{}", json!({ "person": person })).unwrap();
    }
    let told = tokio::task::block_in_place(&mut hear);
    for pattern in &PATTERNS {
        assert_eq!(told["results"][pattern.name], json!(["Permit", "NotApplicable"]), "{told}");
    }
    std::fs::remove_file(authority).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_in_python_walks_every_pattern() {
    let Some(python) = tool("PORTVAKT_TEST_PYTHON", ".tools/py/bin/python") else { return };
    let command = |address: &str| {
        let mut command = Command::new(python);
        command.arg(script("resolve.py")).arg(address).arg(script("system.py"));
        command
    };
    walk(command, "SSL_CERT_FILE").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_in_node_walks_every_pattern() {
    let usual = ".tools/node/node_modules";
    let Some(modules) = tool("PORTVAKT_TEST_NODE_MODULES", usual) else { return };
    let command = |address: &str| {
        let mut command = Command::new("node");
        command.env("SANDBOX", address).arg("--import").arg(script("resolve.mjs"));
        command.arg(script("system.mjs")).arg(modules.parent().unwrap());
        command
    };
    walk(command, "NODE_EXTRA_CA_CERTS").await;
}

//! End-user systems in other languages, with the addresses of the real services in them, walk each pattern from
//! registering the system to a permitted call through the program, and its neighbour that is refused. They are
//! written from the contract and run unmodified: only names and trust are moved from outside, as a hosts file and a
//! CA bundle would.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

mod support;

use portvakt_sandbox::{RunningSandbox, Sandbox, SandboxOptions, TlsOptions};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::upstream::Upstream;
use support::{Proxy, config, node_modules, python};
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
    /// The call of the service: method, path, and the member of the body that names the party.
    call: (&'static str, &'static str, Option<&'static str>),
}

const PATTERNS: [Pattern; 4] = [
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
        call: ("GET", "/v1/parties/{party}/vat-returns", None),
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
        call: ("GET", "/v1/parties/{party}/claims", None),
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
        call: ("POST", "/v1/payroll", Some("employer")),
    },
    Pattern {
        name: "auditor",
        agent: true,
        client: 25,
        scope: "skatteetaten:mva",
        package: "ansvarlig-revisor",
        customer: "310000310",
        people: ["01819049906", "01819049906"],
        party: "310000701",
        neighbour: "310000736",
        right: ["ske-mva-melding", "read"],
        call: ("GET", "/v1/parties/{party}/vat-returns", None),
    },
];

fn client_id(number: u8) -> String {
    format!("c1000000-0000-4000-8000-0000000000{number:02}")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
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
            "method": pattern.call.0, "path": pattern.call.1,
            "body": pattern.call.2.map(|member| json!({ member: "{party}" })),
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

/// The program before an API, with the routes of `config/sandbox.yaml`. It meets Maskinporten and Altinn at the
/// sandbox's own address, which knows itself by the real names.
async fn protected(sandbox: &RunningSandbox, upstream: &Upstream) -> Proxy {
    let (_, routes) = include_str!("../config/sandbox.yaml").split_once("\nroutes:").unwrap();
    let upstream = format!("upstream: {{ url: \"{}\" }}", upstream.url());
    let text = config(sandbox, &upstream, &format!("routes:{routes}"));
    let here = format!("http://{}", sandbox.address());
    let metadata = format!("{here}/.well-known/oauth-authorization-server");
    let text = text.replace(
        &format!("altinn: \"{}\"", sandbox.altinn_url()),
        &format!("altinn: \"{here}\", metadata_url: \"{metadata}\""),
    );
    let jwk = client(sandbox, 1).await["jwk"].to_string();
    let proxy = Proxy::start(&text, &[("PROXY_JWK", &jwk)]);
    proxy.wait_until_ready().await;
    proxy
}

/// Runs an end-user system through every pattern. `environment` names the file with the authority; `command` is
/// given the addresses of the sandbox and the program.
async fn walk(command: impl FnOnce(&str, &str) -> Command, environment: &str) {
    let tls = TlsOptions {
        hosts: vec!["test.maskinporten.no".into(), "platform.tt02.altinn.no".into()],
        issuer: Some("https://test.maskinporten.no/".into()),
        altinn: Some("https://platform.tt02.altinn.no".into()),
    };
    let options = SandboxOptions { tls: Some(tls), ..SandboxOptions::default() };
    let sandbox = Sandbox::start(options).await.unwrap();
    let upstream = Upstream::start().await;
    let proxy = protected(&sandbox, &upstream).await;
    let authority = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(authority.path(), sandbox.authority_pem().unwrap()).unwrap();
    let mut command = command(&sandbox.address().to_string(), proxy.address());
    let command = command.env(environment, authority.path());
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
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
        let result = &told["results"][pattern.name];
        assert_eq!(result["decisions"], json!(["Permit", "NotApplicable"]), "{told}");
        let refused = "urn:portvakt:problem:no_right";
        assert_eq!(
            result["calls"],
            json!([[200, null], [403, refused]]),
            "{}: {told}",
            pattern.name
        );
    }
    assert_eq!(upstream.received().len(), PATTERNS.len(), "only permitted calls reach the API");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_in_python_walks_every_pattern_to_a_permitted_call() {
    let Some(python) = python() else { return };
    let command = |sandbox: &str, proxy: &str| {
        let mut command = Command::new(python);
        command.arg(script("resolve.py")).args([sandbox, proxy]).arg(script("system.py"));
        command
    };
    walk(command, "SSL_CERT_FILE").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_in_node_walks_every_pattern_to_a_permitted_call() {
    let Some(modules) = node_modules() else { return };
    let command = |sandbox: &str, proxy: &str| {
        let mut command = Command::new("node");
        command.env("SANDBOX", sandbox).env("PROXY", proxy);
        command.arg("--import").arg(script("resolve.mjs"));
        command.arg(script("system.mjs")).arg(modules.parent().unwrap());
        command
    };
    walk(command, "NODE_EXTRA_CA_CERTS").await;
}

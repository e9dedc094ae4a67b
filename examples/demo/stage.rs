//! Who takes part: the sandbox and the sample API in this process, Portvakt in one of its own.

use crate::story::Knob;
use crate::{Failure, api};
use portvakt_sandbox::{RunningSandbox, Sandbox, SandboxOptions};
use serde_json::Value;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// The client that Portvakt asks Altinn with (`sandbox/README.md`, "Clients").
const OWN_CLIENT: &str = "c1000000-0000-4000-8000-000000000001";

/// Longest wait for the proxy to listen, and to be ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which ports are taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ports {
    /// The ones that people expect, each only if it is free.
    Friendly,
    /// Any.
    Free,
}

impl Ports {
    fn pick(self, friendly: u16) -> SocketAddr {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, friendly));
        let free = self == Self::Friendly && std::net::TcpListener::bind(address).is_ok();
        if free { address } else { SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) }
    }
}

/// Everybody, in place and ready.
pub(crate) struct Stage {
    sandbox: RunningSandbox,
    proxy: Proxy,
    directory: TempDir,
    /// Base address of the sample API.
    pub(crate) api: String,
    /// Whom everybody is called with.
    pub(crate) http: reqwest::Client,
}

impl Stage {
    /// Starts everybody and waits until the proxy is ready.
    pub(crate) async fn set(ports: Ports) -> Result<Self, Failure> {
        let directory = tempfile::Builder::new().prefix("portvakt-demo-").tempdir()?;
        let options = SandboxOptions { listen: ports.pick(8400), ..SandboxOptions::default() };
        let sandbox = Sandbox::start(options).await?;
        let listener = TcpListener::bind(ports.pick(3000)).await?;
        let api = format!("http://{}", listener.local_addr()?);
        tokio::spawn(api::serve(listener));
        let key = format!("{}/sandbox/clients/{OWN_CLIENT}/jwk", sandbox.altinn_url());
        std::fs::write(directory.path().join("jwk.json"), reqwest::get(key).await?.text().await?)?;
        let config = config(&sandbox, &api, ports, directory.path());
        std::fs::write(directory.path().join("portvakt.yaml"), config)?;
        let proxy = Proxy::start(directory.path()).await?;
        Ok(Self { sandbox, proxy, directory, api, http: reqwest::Client::new() })
    }

    /// Base address of the sandbox.
    pub(crate) fn sandbox(&self) -> &str {
        self.sandbox.altinn_url()
    }

    /// Base address of the proxy.
    pub(crate) fn proxy(&self) -> &str {
        &self.proxy.url
    }

    /// Base address of the proxy's admin listener.
    pub(crate) fn admin(&self) -> &str {
        &self.proxy.admin
    }

    /// A token, from the sandbox and without a grant.
    pub(crate) async fn token(&self, wish: &Value) -> Result<String, Failure> {
        let answer = self.turn(&Knob("POST", "token", Some(wish.clone()))).await?;
        let token = answer.get("access_token").and_then(Value::as_str);
        Ok(token.ok_or_else(|| format!("the sandbox gave no token: {answer}"))?.to_owned())
    }

    /// Turns a knob of the sandbox.
    pub(crate) async fn turn(&self, Knob(method, path, body): &Knob) -> Result<Value, Failure> {
        let request =
            self.http.request(method.parse()?, format!("{}/sandbox/{path}", self.sandbox()));
        let body = body.as_ref().map(ToString::to_string).unwrap_or_default();
        Ok(serde_json::from_slice(&request.body(body).send().await?.bytes().await?)?)
    }

    /// A file of the demo.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// The proxy's configuration: where everybody is, then one route for each thing that the sample API offers.
fn config(sandbox: &RunningSandbox, api: &str, ports: Ports, directory: &Path) -> String {
    format!(
        r#"environment: custom
custom: {{ issuer: "{issuer}", altinn: "{altinn}" }}
listen: {{ address: "{listen}", workers: 2 }}
admin: {{ address: "{admin}" }}
upstream: {{ url: "{api}" }}
altinn: {{ subscription_key: sandbox-subscription-key }}
maskinporten: {{ client_id: {OWN_CLIENT}, key_file: "{directory}/jwk.json" }}
refusals: {{ default_language: en }}
confirmations: {{ no_for: 0s }} # what you change in the sandbox is felt at once
audit: {{ output: {{ file: "{directory}/audit.jsonl" }} }}
{ROUTES}"#,
        issuer = sandbox.issuer(),
        altinn = sandbox.altinn_url(),
        listen = ports.pick(8080),
        admin = ports.pick(9090),
        directory = directory.display(),
    )
}

const ROUTES: &str = r#"routes:
  - id: vat-return-read
    match: { methods: [GET], path: "/v1/parties/{party}/vat-returns" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: read
    party: { path: party }
  - id: vat-return-submit
    match: { methods: [POST], path: "/v1/parties/{party}/vat-returns" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: write
    party: { path: party }
    freshness: { max_age: 0s } # what is submitted is binding: ask every time
  - id: claims-write
    match: { methods: [POST], path: "/v1/parties/{party}/claims" }
    scopes: { all_of: ["skatteetaten:kravogbetalinger"] }
    resource: ske-krav-og-betalinger
    action: write
    party: { path: party }
  - id: payroll-submit
    match: { methods: [POST], path: "/v1/payroll" }
    scopes: { all_of: ["skatteetaten:lonn"] }
    resource: ske-a-melding
    action: write
    party: { json: /employer }
"#;

/// The real program, in a process of its own. Ends with this value.
struct Proxy {
    child: Child,
    url: String,
    admin: String,
}

impl Proxy {
    async fn start(directory: &Path) -> Result<Self, Failure> {
        let log = directory.join("portvakt.log");
        let child = Command::new(std::env::current_exe()?)
            .args(["portvakt", "run", "--config"])
            .arg(directory.join("portvakt.yaml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        let mut proxy = Self { child, url: String::new(), admin: String::new() };
        let end = Instant::now() + PATIENCE;
        while !proxy.is_ready(&log).await {
            if proxy.child.try_wait()?.is_some() || Instant::now() > end {
                let log = std::fs::read_to_string(&log)?;
                return Err(format!("the proxy did not become ready; its log:\n{log}").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(proxy)
    }

    /// Whether the log says where it listens, and `/readyz` that it is ready.
    async fn is_ready(&mut self, log: &Path) -> bool {
        let log = std::fs::read_to_string(log).unwrap_or_default();
        let listening = log.lines().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let text = |name: &str| Some(format!("http://{}", line.get(name)?.as_str()?));
            (line.get("message")? == "listening").then_some(())?;
            Some((text("address")?, text("admin")?))
        });
        let Some((url, admin)) = listening else { return false };
        let ready = reqwest::get(format!("{admin}/readyz")).await;
        (self.url, self.admin) = (url, admin);
        ready.is_ok_and(|answer| answer.status().is_success())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Asked to stop, it lets requests end and writes its last audit lines; a deaf one is made to.
        let asked = Command::new("kill").arg(self.child.id().to_string()).status();
        let end = Instant::now() + Duration::from_secs(5);
        while asked.is_ok() && Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! The stage of these tests: every resource of the seed world as two routes, everybody's tokens, and
//! questions with the record that each leaves.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use crate::support::upstream::Upstream;
use crate::support::{Proxy, World, config, own_key, seed, wait_until};
use portvakt_sandbox::{RunningSandbox, Sandbox, SandboxOptions};
use reqwest::Method;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Everything of Altinn that the program calls; Maskinporten is another service.
pub(crate) const ALTINN: [&str; 5] = ["pdp", "parties", "registry", "catalogue", "exchange"];

pub(crate) const MVA: &str = "ske-mva-melding";
pub(crate) const CLAIMS: &str = "ske-krav-og-betalinger";
pub(crate) const PAYROLL: &str = "ske-a-melding";
pub(crate) const EXCISE: &str = "ske-saravgift";
pub(crate) const SHIELDED: &str = "ske-skjermet-skattegrunnlag";
pub(crate) const ADVANCE: &str = "ske-forskuddsskatt";
pub(crate) const ARCHIVE: &str = "ske-arkiv";
pub(crate) const ATTACHED: &str = "ske-utlegg";
pub(crate) const DOCUMENTS: &str = "ske-dokumentinnsyn";
pub(crate) const RESOURCES: [&str; 9] =
    [MVA, CLAIMS, PAYROLL, EXCISE, SHIELDED, ADVANCE, ARCHIVE, ATTACHED, DOCUMENTS];

/// Calls to Altinn that fail fast and are tried again soon.
pub(crate) const QUICK: &str = "altinn: { subscription_key: sandbox-subscription-key, \
requests_per_second: 1000, budget: 1s, attempt_timeout: 400ms, max_attempts: 2, circuit_open_for: 500ms }\n";

/// `GET` reads and `POST` writes each resource at `/RESOURCE/PARTY`.
fn routes() -> String {
    let mut routes = String::from("routes:\n");
    for resource in RESOURCES {
        for (method, action) in [("GET", "read"), ("POST", "write")] {
            writeln!(
                routes,
                "  - {{ id: {resource}-{action}, match: {{ methods: [{method}], path: \"/{resource}/{{party}}\" }}, \
                 scopes: {{ all_of: [\"skatteetaten:mva\"] }}, resource: {resource}, action: {action}, \
                 party: {{ path: party }} }}"
            )
            .expect("written");
        }
    }
    routes
}

/// Who asks: a client, and the system user that its token names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    client: &'static str,
    owner: &'static str,
    reference: Option<&'static str>,
}

const fn nordlys(owner: &'static str) -> Who {
    Who { client: seed::NORDLYS, owner, reference: None }
}

const fn brekke(owner: &'static str) -> Who {
    Who { client: seed::BREKKE, owner, reference: None }
}

pub(crate) const BAKKEN: Who = nordlys(seed::BAKKEN);
pub(crate) const STRAND: Who = nordlys(seed::STRAND);
pub(crate) const STRAND_STORE: Who = Who { reference: Some("lager"), ..STRAND };
pub(crate) const STRAND_PAYROLL: Who = brekke(seed::STRAND);
pub(crate) const SKJAER: Who = nordlys("310000612");
pub(crate) const SUND: Who = nordlys("310000620");
pub(crate) const AGENT: Who = brekke(seed::FJELL);
pub(crate) const BERGEN: Who = brekke("310000515");
pub(crate) const LIA: Who = brekke(seed::LIA);
pub(crate) const NOTHING: Who = brekke(seed::BAKKEN);

/// A question: a token, a method and a target.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    pub(crate) target: String,
    pub(crate) token: String,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u64>,
    pub(crate) problem: Value,
    pub(crate) record: Value,
}

impl Told {
    /// Of a permit; what was refused has none.
    pub(crate) fn basis(&self) -> &str {
        self.record["basis"].as_str().unwrap_or("none")
    }

    pub(crate) fn age(&self) -> Duration {
        Duration::from_millis(self.record["age_ms"].as_u64().expect("an age"))
    }

    pub(crate) fn in_grace(&self) -> bool {
        self.record["in_grace"] == true
    }

    /// Could not be told: 503, for a reason that is not "no", and with the time to come back.
    pub(crate) fn assert_undecided(&self) {
        assert_eq!(self.status, 503, "{self:?}");
        assert_eq!(self.problem["type"], "urn:portvakt:problem:cannot_decide", "{self:?}");
        assert!(self.retry_after.is_some_and(|seconds| seconds >= 1), "{self:?}");
        assert_eq!(self.record["answer"], "unknown", "{self:?}");
    }
}

/// A sandbox in which `endpoints` fail from the start.
pub(crate) async fn sandbox(endpoints: &[&str], fault: &Value) -> RunningSandbox {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.expect("the sandbox starts");
    for endpoint in endpoints {
        crate::support::turn(&sandbox, Method::PUT, &format!("faults/{endpoint}"), fault.clone())
            .await;
    }
    sandbox
}

/// The configuration with the routes of this stage.
pub(crate) fn configured(sandbox: &RunningSandbox, upstream: &Upstream, sections: &str) -> String {
    configured_before(sandbox, &format!("upstream: {{ url: \"{}\" }}", upstream.url()), sections)
}

/// As [`configured`], with a section of an upstream.
pub(crate) fn configured_before(
    sandbox: &RunningSandbox,
    upstream: &str,
    sections: &str,
) -> String {
    config(sandbox, upstream, &format!("{sections}{}", routes()))
}

/// Everything up, every policy read.
pub(crate) async fn stage(sections: &str) -> World {
    let world = unready(sandbox(&[], &Value::Null).await, sections).await;
    world.proxy.wait_until_ready().await;
    policies_read(&world.proxy).await;
    world
}

/// Whatever is up.
pub(crate) async fn unready(sandbox: RunningSandbox, sections: &str) -> World {
    let upstream = Upstream::start().await;
    let config = configured(&sandbox, &upstream, sections);
    World::start_unready(sandbox, upstream, &config).await
}

/// Starts the program once more.
pub(crate) async fn started(world: &World, sections: &str, variables: &[(&str, &str)]) -> Proxy {
    started_under(world, &[], &configured(&world.sandbox, &world.upstream, sections), variables)
        .await
}

/// Starts the program by a command, with a whole configuration.
pub(crate) async fn started_under(
    world: &World,
    under: &[&str],
    config: &str,
    variables: &[(&str, &str)],
) -> Proxy {
    let key = own_key(&world.sandbox).await;
    let variables: Vec<_> =
        variables.iter().copied().chain([("PROXY_JWK", key.as_str())]).collect();
    Proxy::start_under(under, config, &variables)
}

/// Stops the program as an operator does, and waits for its end.
pub(crate) fn stop(world: &mut World) {
    world.proxy.signal("TERM");
    assert_eq!(world.proxy.wait(), Some(0));
}

pub(crate) async fn policies_read(proxy: &Proxy) {
    let all = u32::try_from(RESOURCES.len()).expect("few");
    wait_until("every policy read", async || {
        let read = proxy.metric("portvakt_register_policies{state=\"read\"}").await;
        (read - f64::from(all)).abs() < f64::EPSILON
    })
    .await;
}

pub(crate) async fn token(world: &World, who: Who) -> String {
    let mut wish = json!({
        "client_id": who.client,
        "scope": "skatteetaten:mva",
        "systemuser_org": who.owner,
        "lifetime_seconds": 600,
    });
    if let Some(reference) = who.reference {
        wish["external_ref"] = reference.into();
    }
    world.token_with(wish).await
}

pub(crate) async fn ask_of(
    world: &World,
    who: Who,
    method: &'static str,
    resource: &str,
    party: &str,
) -> Ask {
    Ask { method, target: format!("/{resource}/{party}"), token: token(world, who).await }
}

pub(crate) async fn ask(world: &World, ask: &Ask) -> Told {
    ask_at(world, &world.proxy, ask).await
}

/// Asks a program, and waits for the record of it.
pub(crate) async fn ask_at(world: &World, proxy: &Proxy, ask: &Ask) -> Told {
    let trace = uuid::Uuid::new_v4().simple().to_string();
    let method: Method = ask.method.parse().expect("a method");
    let request = world
        .http
        .request(method, format!("{}{}", proxy.url(), ask.target))
        .bearer_auth(&ask.token)
        .header("traceparent", format!("00-{trace}-0123456789abcdef-01"));
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let retry_after = answer.headers().get("retry-after");
    let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
    let problem = answer.json().await.unwrap_or(Value::Null);
    let mut record = None;
    wait_until("an audit record", async || {
        record = proxy.audit_record(&trace);
        record.is_some()
    })
    .await;
    Told { status, retry_after, problem, record: record.expect("waited for") }
}

/// Asks until it is answered with `status`; how long that took.
pub(crate) async fn until(world: &World, question: &Ask, status: u16) -> Duration {
    let begun = Instant::now();
    wait_until(&format!("{status} for {}", question.target), async || {
        ask(world, question).await.status == status
    })
    .await;
    begun.elapsed()
}

/// Asks until a permit rests on `basis`.
pub(crate) async fn until_basis(world: &World, question: &Ask, basis: &str) {
    wait_until(&format!("{} {basis}", question.target), async || {
        ask(world, question).await.basis() == basis
    })
    .await;
}

/// Lets every endpoint of Altinn fail.
pub(crate) async fn down(world: &World, fault: Value) {
    for endpoint in ALTINN {
        world.fault(endpoint, fault.clone()).await;
    }
}

/// Takes a package from a system user, or gives it.
pub(crate) async fn change(world: &World, what: &str, user: &str, party: &str, package: &str) {
    let body = json!({ "system_user": user, "party": party, "package": package });
    let told = world.knob(Method::POST, &format!("rights/{what}"), body).await;
    assert!(told["error"].is_null(), "{told}");
}

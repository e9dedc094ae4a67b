//! `portvakt doctor` and `portvakt check --online`: the real program against the sandbox with its faults, and small stubs.
//! Each failure is found at its step, with its code and cure and exit code 1; what rests on it is skipped; and the healthy
//! neighbour is well.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

mod support;

use portvakt::cli::doctor::finding::Code;
use portvakt_sandbox::{RunningSandbox, Sandbox, SandboxOptions};
use reqwest::Method;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use support::authority::Authority;
use support::upstream::Upstream;
use support::{Proxy, config, own_key, seed, turn};

/// A world to be looked at: nothing of the program runs in it.
struct Patient {
    sandbox: RunningSandbox,
    upstream: Upstream,
    key: String,
}

impl Patient {
    async fn new() -> Self {
        let sandbox = Sandbox::start(SandboxOptions::default()).await.expect("the sandbox starts");
        let key = own_key(&sandbox).await;
        Self { sandbox, upstream: Upstream::start().await, key }
    }

    /// The usual configuration with other sections.
    fn config(&self, sections: &str) -> String {
        let upstream = format!("upstream: {{ url: \"{}\" }}", self.upstream.url());
        config(&self.sandbox, &upstream, sections)
    }

    async fn knob(&self, method: Method, path: &str, body: Value) {
        turn(&self.sandbox, method, path, body).await;
    }

    /// What is found with the usual configuration while `endpoint` has this fault.
    async fn with_fault(&self, endpoint: &str, fault: Value) -> Found {
        self.knob(Method::PUT, &format!("faults/{endpoint}"), fault).await;
        let found = self.look(&self.config(""));
        self.knob(Method::DELETE, "faults", Value::Null).await;
        found
    }

    fn look(&self, config: &str) -> Found {
        self.examine(&["doctor", "--json"], config, &[])
    }

    fn examine(&self, words: &[&str], config: &str, environment: &[(&str, &str)]) -> Found {
        let (code, text) = self.say(words, config, environment);
        let report = serde_json::from_str(&text).unwrap_or_else(|_| panic!("JSON:\n{text}"));
        Found { code, report }
    }

    /// Exit code and standard output, which never shows a secret.
    fn say(&self, words: &[&str], config: &str, environment: &[(&str, &str)]) -> (i32, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portvakt.yaml");
        fs::write(&path, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_portvakt"));
        command.args(words).arg("--config").arg(&path).current_dir(folder.path());
        command.env("PROXY_JWK", &self.key).envs(environment.iter().copied());
        let output = command.output().expect("it runs");
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        let key: Value = serde_json::from_str(&self.key).unwrap();
        for secret in [key["d"].as_str().unwrap(), seed::SUBSCRIPTION_KEY, "eyJ", "Bearer"] {
            assert!(!text.contains(secret) && !errors.contains(secret), "{text}{errors}");
        }
        (output.status.code().expect("it ended by itself"), text)
    }
}

/// What was found.
struct Found {
    code: i32,
    report: Value,
}

impl Found {
    fn findings(&self) -> &[Value] {
        self.report["findings"].as_array().unwrap()
    }

    fn of(&self, step: &str) -> Vec<(&str, &str)> {
        let findings = self.findings().iter().filter(|finding| finding["step"] == step);
        findings
            .map(|it| (it["outcome"].as_str().unwrap(), it["code"].as_str().unwrap_or("")))
            .collect()
    }

    /// `code` is found at `step`, with its cure and exit code 1, and `skipped` are not looked at.
    #[track_caller]
    fn fails(&self, step: &str, code: &str, skipped: &[&str]) {
        assert_eq!((self.code, &self.report["well"]), (1, &json!(false)), "{:#}", self.report);
        assert!(self.of(step).contains(&("failed", code)), "{step} {code}: {:#}", self.report);
        let cure = Code::ALL.iter().find(|it| it.label() == code).unwrap().cure();
        let mut found = self.findings().iter().filter(|finding| finding["code"] == code);
        assert!(found.all(|finding| finding["cure"] == cure));
        for step in skipped {
            assert_eq!(self.of(step), [("skipped", "needs")], "{step}: {:#}", self.report);
        }
    }

    #[track_caller]
    fn is_ok(&self, steps: &[&str]) {
        for step in steps {
            let found = self.of(step);
            let well = found.iter().all(|(outcome, _)| *outcome == "ok");
            assert!(well && !found.is_empty(), "{step}: {:#}", self.report);
        }
    }

    fn message(&self, step: &str) -> &str {
        let found = self.findings().iter().find(|finding| finding["step"] == step).unwrap();
        found["message"].as_str().unwrap()
    }
}

const ALTINN: [&str; 5] = ["altinn_address", "exchange", "decisions", "parties", "resources"];

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_world_is_well_at_every_step() {
    let patient = Patient::new().await;
    let found = patient.look(&patient.config(""));
    assert_eq!(found.code, 0, "{:#}", found.report);
    found.is_ok(&["configuration", "files", "issuer_address", "issuer_metadata", "issuer_keys"]);
    found.is_ok(&["clock", "own_token", "upstreams", "listen"]);
    found.is_ok(&ALTINN);
    assert_eq!(found.of("access_lists"), [("skipped", "not_needed")]);
    let (code, text) = patient.say(&["doctor"], &patient.config(""), &[]);
    assert!(code == 0 && text.contains("\nall is well: 0 failed, 0 warnings"), "{text}");
    // Beyond this machine alone.
    let found = patient.examine(&["check", "--online", "--json"], &patient.config(""), &[]);
    assert_eq!(found.code, 0);
    assert!(found.of("files").is_empty() && found.of("listen").is_empty());
    found.is_ok(&ALTINN);
    let (code, text) = patient.say(&["check", "--online"], &patient.config(""), &[]);
    assert!(
        code == 0 && text.contains("environment  custom") && text.contains("all is well"),
        "{text}"
    );
    let lists = "register: { access_lists_owner: skd }\n";
    let section = format!(
        "maskinporten: {{ client_id: \"{}\", key_env: PROXY_JWK, scopes: [\"altinn:authorization/authorize\", \
         \"altinn:accessmanagement/authorizedparties.resourceowner\", \"altinn:resourceregistry/accesslist.read\", \
         \"altinn:serviceowner\"] }}\n{lists}",
        seed::PROXY_CLIENT
    );
    patient.look(&patient.config(&section)).is_ok(&["access_lists"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_the_first_thing_and_the_rest_is_skipped() {
    let patient = Patient::new().await;
    let text = patient.config("").replace("upstream:", "upsteam:");
    let found = patient.look(&text);
    found.fails(
        "configuration",
        "configuration",
        &["files", "issuer_address", "own_token", "listen"],
    );
    assert!(found.message("configuration").contains("upsteam"));
    let found = patient.examine(&["check", "--online", "--json"], &text, &[]);
    found.fails("configuration", "configuration", &["upstreams"]);
    let wrong =
        Command::new(env!("CARGO_BIN_EXE_portvakt")).args(["doctor", "--nonsense"]).output();
    assert_eq!(wrong.unwrap().status.code(), Some(2));
}

/// An address where nobody listens.
fn closed() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_issuer_is_told_step_by_step() {
    let patient = Patient::new().await;
    let after = ["issuer_metadata", "issuer_keys", "clock", "own_token", "exchange", "decisions"];
    let at = |address: &str| {
        let metadata = format!("custom: {{ allow_plain_http: true, metadata_url: \"{address}\", ");
        patient.look(&patient.config("").replace("custom: { ", &metadata))
    };
    let found = at(&format!("http://{}/", closed()));
    found.fails("issuer_address", "unreachable", &after);
    found.is_ok(&["altinn_address", "resources", "upstreams"]);
    at("http://nowhere.invalid/").fails("issuer_address", "name", &after);
    // TLS with somebody who speaks none.
    let plain = patient.sandbox.altinn_url().replace("http:", "https:");
    at(&plain).fails("issuer_address", "tls", &after);

    let after = &after[1..];
    let metadata = async |fault| patient.with_fault("metadata", fault).await;
    metadata(json!({ "status": 503 })).await.fails("issuer_metadata", "metadata_status", after);
    let page = json!({ "status": 200, "body": "<html>" });
    metadata(page).await.fails("issuer_metadata", "metadata_unreadable", after);
    let without_slash = patient.sandbox.issuer().trim_end_matches('/').to_owned();
    let other =
        json!({ "issuer": without_slash, "jwks_uri": "http://a/", "token_endpoint": "http://a/" });
    let other = json!({ "status": 200, "body": other.to_string() });
    metadata(other).await.fails("issuer_metadata", "other_issuer", after);
    let slow =
        patient.config("").replace("key_env: PROXY_JWK", "key_env: PROXY_JWK, timeout: 300ms");
    patient.knob(Method::PUT, "faults/metadata", json!({ "hang": true })).await;
    patient.look(&slow).fails("issuer_metadata", "timed_out", after);
    patient.knob(Method::DELETE, "faults", Value::Null).await;

    let jwks = async |fault| patient.with_fault("jwks", fault).await;
    for (fault, code) in [
        (json!({ "status": 503 }), "keys_status"),
        (json!({ "status": 200, "body": "[]" }), "keys_unreadable"),
        (json!({ "status": 200, "body": "{\"keys\":[{\"kty\":\"EC\"}]}" }), "no_usable_key"),
    ] {
        let found = jwks(fault).await;
        found.fails("issuer_keys", code, &[]);
        found.is_ok(&["own_token", "decisions"]);
    }
    patient.look(&patient.config("")).is_ok(&["issuer_metadata", "issuer_keys"]);
}

/// Serves metadata with a clock that is off by so many seconds, until it is dropped.
fn metadata_at(patient: &Patient, off: i64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (issuer, altinn) = (patient.sandbox.issuer(), patient.sandbox.altinn_url());
    let body = json!({ "issuer": issuer, "jwks_uri": format!("{altinn}/jwk"),
        "token_endpoint": format!("{altinn}/token") })
    .to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let mut buffer = [0; 4096];
            // A look whether anybody is there says nothing.
            if stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
                let now = now.checked_add_signed(off).unwrap();
                let date = httpdate::fmt_http_date(
                    std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(now),
                );
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: application/json\r\n\
                     Content-Length: {length}\r\nConnection: close\r\n\r\n"
                );
                let _ = stream.write_all(format!("{head}{body}").as_bytes());
            }
        }
    });
    format!("http://{address}/")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_told_by_the_issuers_own() {
    let patient = Patient::new().await;
    let with = |off| {
        let metadata = format!("custom: {{ metadata_url: \"{}\", ", metadata_at(&patient, off));
        patient.look(&patient.config("").replace("custom: { ", &metadata))
    };
    let found = with(-3600);
    found.fails("clock", "clock_skew", &[]);
    assert!(found.message("clock").ends_with("s ahead of the issuer's"), "{:#}", found.report);
    let found = with(6);
    assert_eq!((found.code, found.of("clock")), (0, vec![("warning", "clock_drifts")]));
    with(0).is_ok(&["clock", "own_token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_maskinporten_refuses_is_told_with_its_cure() {
    let patient = Patient::new().await;
    let after = ["exchange", "decisions", "parties"];
    let jwk = async |client: &str| {
        turn(&patient.sandbox, Method::GET, &format!("clients/{client}/jwk"), Value::Null)
            .await
            .to_string()
    };
    let client = |id: &str, scopes: &str, key: &str| {
        let section =
            format!("maskinporten: {{ client_id: \"{id}\", key_env: OTHER_JWK{scopes} }}\n");
        patient.examine(&["doctor", "--json"], &patient.config(&section), &[("OTHER_JWK", key)])
    };
    let own = seed::PROXY_CLIENT;
    client("c1000000-0000-4000-8000-00000000ffff", "", &patient.key).fails(
        "own_token",
        "client_unknown",
        &after,
    );
    client(own, "", &jwk(seed::BREKKE).await).fails("own_token", "key_unknown", &after);
    let expired = "c1000000-0000-4000-8000-000000000013";
    let scope = ", scopes: [\"skatteetaten:mva\"]";
    client(expired, scope, &jwk(expired).await).fails("own_token", "key_expired", &after);
    let foreign = ", scopes: [\"altinn:authorization/authorize\", \"skatteetaten:mva\"]";
    client(own, foreign, &patient.key).fails("own_token", "scope", &after);
    let found = client(own, "", r#"{"kty":"RSA","kid":"k","n":"AQAB","e":"AQAB","d":"AQAB"}"#);
    found.fails("files", "own_key", &[]);
    found.fails("own_token", "own_key", &after);
    let busy = patient.with_fault("token", json!({ "status": 503 })).await;
    busy.fails("own_token", "token_status", &after);
    let page = patient.with_fault("token", json!({ "status": 200, "body": "<html>" })).await;
    page.fails("own_token", "token_unreadable", &after);
    let audience = json!({ "error": "invalid_grant", "error_description": "Invalid aud (MP-110)" });
    let audience = json!({ "status": 400, "body": audience.to_string() });
    patient.with_fault("token", audience).await.fails("own_token", "audience", &after);
    // The issuer's clock is an hour ahead, so that our assertion has long ended there.
    patient.knob(Method::POST, "clock", json!({ "advance_seconds": 3600 })).await;
    patient.look(&patient.config("")).fails("own_token", "assertion_time", &after);
    patient.knob(Method::POST, "reset", Value::Null).await;
    client(own, "", &patient.key).is_ok(&["own_token", "exchange"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_altinn_refuses_is_told_apart() {
    let patient = Patient::new().await;
    let after = ["decisions", "parties"];
    let exchange = async |fault| patient.with_fault("exchange", fault).await;
    exchange(json!({ "status": 401 })).await.fails("exchange", "exchange_refused", &after);
    exchange(json!({ "status": 502 })).await.fails("exchange", "exchange_status", &after);
    let page = json!({ "status": 200, "body": "<html>" });
    exchange(page.clone()).await.fails("exchange", "exchange_unreadable", &after);

    let gateway =
        r#"{ "statusCode": 401, "message": "Access denied due to invalid subscription key." }"#;
    let gateway = json!({ "status": 401, "body": gateway });
    let pdp = async |fault| patient.with_fault("pdp", fault).await;
    let found = pdp(gateway).await;
    found.fails("decisions", "subscription_key", &[]);
    found.is_ok(&["exchange", "parties", "resources"]);
    pdp(json!({ "status": 503 })).await.fails("decisions", "altinn_status", &[]);
    pdp(page).await.fails("decisions", "altinn_unreadable", &[]);
    let other = patient.config("altinn: { subscription_key: another, requests_per_second: 50 }\n");
    let found = patient.look(&other);
    found.fails("decisions", "unauthorized", &[]);
    found.fails("parties", "unauthorized", &[]);

    // Which scope lacks is named: both, then the second alone.
    let other = "c1000000-0000-4000-8000-000000000002";
    let key =
        turn(&patient.sandbox, Method::GET, &format!("clients/{other}/jwk"), Value::Null).await;
    let section = format!(
        "maskinporten: {{ client_id: \"{other}\", key_env: OTHER, scopes: [\"altinn:serviceowner\"] }}\n"
    );
    let words = ["doctor", "--json"];
    let found = patient.examine(&words, &patient.config(&section), &[("OTHER", &key.to_string())]);
    found.fails("decisions", "altinn_scope", &[]);
    found.fails("parties", "altinn_scope", &[]);
    assert!(found.message("decisions").contains("`altinn:authorization/authorize`"));
    let section = format!(
        "maskinporten: {{ client_id: \"{}\", key_env: PROXY_JWK, scopes: [\"altinn:authorization/authorize\"] }}\n",
        seed::PROXY_CLIENT
    );
    let found = patient.look(&patient.config(&section));
    found.fails("parties", "altinn_scope", &[]);
    assert!(found.message("parties").contains("authorizedparties.resourceowner"));
    found.is_ok(&["decisions"]);
    let away = format!("altinn: \"http://{}\"", closed());
    let here = format!("altinn: \"{}\"", patient.sandbox.altinn_url());
    let found = patient.look(&patient.config("").replace(&here, &away));
    found.fails(
        "altinn_address",
        "unreachable",
        &["exchange", "decisions", "parties", "resources"],
    );
    found.is_ok(&["own_token", "upstreams"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_resource_is_one_that_a_system_user_can_hold() {
    let patient = Patient::new().await;
    let route = |resource: &str, action: &str| {
        let section = format!(
            "routes:\n  - {{ id: r, match: {{ methods: [GET], path: \"/p/{{party}}\" }}, scopes: {{ all_of: [\"a:b\"] }}, \
             resource: {resource}, action: {action}, party: {{ path: party }} }}\n"
        );
        patient.look(&patient.config(&section))
    };
    route("ske-mva-melding", "read").is_ok(&["resources"]);
    route("ske-nowhere", "read").fails("resources", "resource_unknown", &[]);
    route("ske-uten-policy", "read").fails("resources", "policy_missing", &[]);
    route("ske-mva-melding", "sign").fails("resources", "action_unknown", &[]);
    route("ske-mva-melding", "READ").fails("resources", "action_case", &[]);
    let found = route("ske-forskuddsskatt", "read");
    assert_eq!((found.code, found.of("resources")), (0, vec![("warning", "single_rights_only")]));
    let rules = json!([{ "roles": ["dagl"], "actions": ["read"] }]);
    let change = async |more: (&str, Value)| {
        let mut resource = json!({ "id": "ske-proeve", "title": { "nb": "Prøve", "en": "Trial" }, "rules": rules });
        resource[more.0] = more.1;
        patient.knob(Method::PUT, "resources/ske-proeve", resource).await;
        route("ske-proeve", "read")
    };
    change(("delegable", json!(false))).await.fails("resources", "not_delegable", &[]);
    change(("resource_type", json!("MaskinportenSchema"))).await.fails(
        "resources",
        "resource_type",
        &[],
    );
    let fault = json!({ "status": 200, "body": "{}", "path_contains": "mva-melding" });
    let found = patient.with_fault("registry", fault).await;
    found.fails("resources", "resource_unreadable", &[]);
    assert!(found.of("resources").contains(&("ok", "")), "the others are as they were");
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_are_reached_as_requests_reach_them() {
    let patient = Patient::new().await;
    let at = |upstream: &str| {
        let text = patient.config("").replace(&format!("\"{}\"", patient.upstream.url()), upstream);
        patient.look(&text)
    };
    at(&format!("\"http://{}\"", closed())).fails("upstreams", "unreachable", &[]);
    at("\"http://nowhere.invalid:80\"").fails("upstreams", "name", &[]);
    at("\"unix:/nowhere/api.sock\"").fails("upstreams", "unreachable", &[]);
    let (one, other) = (Authority::new("one"), Authority::new("other"));
    let secure = secure_upstream(&one.issue(&["localhost"]));
    let folder = tempfile::tempdir().unwrap();
    let ca = |authority: &Authority, name: &str| {
        let path = folder.path().join(name);
        fs::write(&path, authority.pem()).unwrap();
        format!("\"https://localhost:{secure}\", tls: {{ ca_file: {} }}", path.display())
    };
    at(&ca(&other, "other.pem")).fails("upstreams", "tls", &[]);
    at(&ca(&one, "one.pem")).is_ok(&["upstreams", "files"]);
    let text = ca(&one, "one.pem").replace("localhost:", "127.0.0.1:");
    at(&text).fails("upstreams", "tls", &[]);
}

/// Agrees on TLS with whoever comes, and says nothing. Its port.
fn secure_upstream(pair: &support::authority::Pair) -> u16 {
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(pair.server(&["http/1.1"])));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { drop(acceptor.accept(stream).await) });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_fit_for_their_purpose() {
    let patient = Patient::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let authority = Authority::new("ours");
    let listen = |pair: support::authority::Pair, name: &str| {
        let (certificate, key) = pair.write(folder.path(), name);
        let (certificate, key) = (certificate.display(), key.display());
        let section = format!(
            "listen: {{ address: \"127.0.0.1:0\", tls: {{ certificates: [{{ certificate_file: {certificate}, key_file: {key} }}] }} }}\n"
        );
        patient.look(&patient.config(&section))
    };
    listen(authority.issue_until(&["a"], 2020), "old").fails("files", "certificate_time", &[]);
    listen(authority.issue(&["a"]), "new").is_ok(&["own_token"]);
    let snapshot = |file: &str| {
        patient.look(&patient.config(&format!("register: {{ snapshot: {{ file: {file} }} }}\n")))
    };
    snapshot(&path("nowhere/register")).fails("files", "folder", &[]);
    fs::create_dir(folder.path().join("taken")).unwrap();
    snapshot(&path("taken")).fails("files", "no_file", &[]);
    snapshot(&path("register")).is_ok(&["files"]);
    let audit = |file: &str| {
        patient.look(&patient.config(&format!("audit: {{ output: {{ file: {file} }} }}\n")))
    };
    audit(&path("nowhere/audit")).fails("files", "folder", &[]);
    audit(&path("audit")).is_ok(&["files"]);
    let left: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    let left = |name: &str| left.iter().any(|it| it.to_string_lossy().contains(name));
    assert!(
        !left("portvakt-doctor") && !left("register") && !left("audit"),
        "nothing is left behind"
    );
    let key = folder.path().join("jwk.json");
    fs::write(&key, &patient.key).unwrap();
    let rights = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(&key, rights).unwrap();
    let section = format!(
        "maskinporten: {{ client_id: \"{}\", key_file: {} }}\n",
        seed::PROXY_CLIENT,
        key.display()
    );
    let found = patient.look(&patient.config(&section));
    assert!(
        found.code == 0 && found.of("files").contains(&("warning", "exposed")),
        "{:#}",
        found.report
    );
    for (file, text, section) in [
        (
            "headers",
            "Authorization=Bearer%20abc",
            "tracing: { enabled: true, endpoint: \"http://127.0.0.1:1\", headers_file: FILE }\n",
        ),
        (
            "subscription",
            seed::SUBSCRIPTION_KEY,
            "altinn: { subscription_key_file: FILE, requests_per_second: 1000 }\n",
        ),
        (
            "snapshot-key",
            &"0a".repeat(32),
            "register: { snapshot: { file: SNAPSHOT, key_file: FILE } }\n",
        ),
        ("pseudonyms", &"0b".repeat(32), "audit: { pseudonym_key_file: FILE }\n"),
        ("token", &"c".repeat(40), ""),
    ] {
        let secret = folder.path().join(file);
        let named = secret.display().to_string();
        fs::write(&secret, text).unwrap();
        let section = section.replace("FILE", &named).replace("SNAPSHOT", &path("register"));
        let text = patient.config(&section);
        let text = if file == "token" {
            let admin = "admin: { address: \"127.0.0.1:0\"";
            text.replace(admin, &format!("{admin}, token_file: {named}"))
        } else {
            text
        };
        for (mode, told) in [(0o604, true), (0o600, false)] {
            let rights = std::os::unix::fs::PermissionsExt::from_mode(mode);
            fs::set_permissions(&secret, rights).unwrap();
            let found = patient.look(&text);
            let exposed = found.of("files").contains(&("warning", "exposed"));
            assert_eq!((found.code, exposed), (0, told), "{file}: {:#}", found.report);
        }
    }
}

/// The program runs, and does not notice: no audit line is written, and its addresses are known for its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_runs_is_known_by_its_admin_listener_and_not_disturbed() {
    let patient = Patient::new().await;
    let folder = tempfile::tempdir().unwrap();
    let (snapshot, audit) = (folder.path().join("register"), folder.path().join("audit.log"));
    let sections = format!(
        "register: {{ snapshot: {{ file: {} }} }}\naudit: {{ output: {{ file: {} }} }}\n",
        snapshot.display(),
        audit.display()
    );
    let text = patient.config(&sections);
    let proxy = Proxy::start(&text, &[("PROXY_JWK", &patient.key)]);
    proxy.wait_until_ready().await;
    let read = || (fs::read(&audit).unwrap(), fs::metadata(&audit).unwrap().modified().unwrap());
    let before = read();
    let here = |text: &str| {
        text.replacen("127.0.0.1:0", proxy.address(), 1).replacen(
            "127.0.0.1:0",
            proxy.admin_address(),
            1,
        )
    };
    let found = patient.look(&here(&text));
    assert_eq!(found.code, 0, "{:#}", found.report);
    found.is_ok(&["listen", "files"]);
    assert_eq!(found.message("listen"), "in use by the Portvakt that runs");
    assert_eq!(read(), before, "the audit log is as it was");
    assert!(snapshot.exists());
    // Somebody else.
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = stranger.local_addr().unwrap().to_string();
    patient.look(&text.replacen("127.0.0.1:0", &taken, 1)).fails("listen", "address_taken", &[]);
    patient.look(&text.replacen("127.0.0.1:0", "192.0.2.1:80", 1)).fails(
        "listen",
        "address_unusable",
        &[],
    );
}

/// Where nothing has to be asked of Altinn, nothing is.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_configuration_does_not_ask_for_is_not_looked_at() {
    let patient = Patient::new().await;
    let text = patient.config(
        "altinn: {}\nmaskinporten: {}\nroutes: [{ id: o, match: { methods: [GET], path: /o }, access: anonymous }]\n",
    );
    let found = patient.look(&text);
    assert_eq!(found.code, 0, "{:#}", found.report);
    for step in ["own_token", "exchange", "decisions", "parties", "resources"] {
        assert_eq!(found.of(step), [("skipped", "not_needed")], "{step}");
    }
}

#[test]
fn every_finding_and_its_cure_is_in_the_document() {
    let document = include_str!("../docs/doctor.md");
    for code in Code::ALL {
        let line = format!("| `{}` |", code.label());
        assert!(document.contains(&line), "{} is not in docs/doctor.md", code.label());
        assert!(document.contains(code.cure()), "the cure of {} in docs/doctor.md", code.label());
    }
    let rows = document.lines().filter(|line| line.starts_with("| `")).count();
    assert!(rows >= Code::ALL.len());
}

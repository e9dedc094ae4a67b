//! The cases of faults, step by step, against the real program and the sandbox. `PORTVAKT_CASES` names
//! another folder with a `faults.json`; a case or step that is not known here fails.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and tells what it ran"
)]

mod support;

#[path = "outages/stage.rs"]
mod stage;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use stage::*;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::{World, own_key, seed};

/// Classes that are not run here: where the same is tested, or why nothing is.
const NOT_RUN: [(&str, &str); 10] = [
    ("upstream", "tests/faults.rs: an_answer_that_breaks_off_never_looks_whole"),
    (
        "audit",
        "tests/audit.rs: a_disk_that_others_filled_stops_traffic_before_a_request_is_let_through",
    ),
    ("stop", "tests/faults.rs: a_stop_under_load_leaves_as_many_records_as_answers"),
    ("resource", "needs two thousand descriptors: tests/protocols.rs has the time limits of heads"),
    ("fds", "needs a limit of the process on descriptors"),
    (
        "clock",
        "tests/outages.rs: a_clock_that_jumps_ahead_ends_tokens_and_makes_all_that_is_held_older",
    ),
    ("memory", "needs a control group"),
    ("slow", "the program speaks no TLS of its own yet"),
    ("reload", "the configuration is not read again yet"),
    ("panic", "needs a build with a panic in it"),
];

/// Steps that stand for an age of the snapshot are made with the library: those cases run there.
const ELSEWHERE: [(&str, &str); 1] = [(
    "snapshot:age:",
    "tests/outages.rs: what_was_saved_serves_for_the_grace_after_it_was_read_and_no_longer",
)];

#[expect(clippy::disallowed_methods, reason = "tests read their own environment")]
fn cases() -> Vec<Value> {
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let folder = std::env::var_os("PORTVAKT_CASES").map_or(usual, PathBuf::from);
    let text = std::fs::read(folder.join("faults.json")).expect("faults.json");
    let file: Value = serde_json::from_slice(&text).expect("JSON");
    file["cases"].as_array().expect("cases").clone()
}

/// The world of one case, and what has come of its steps.
struct Run {
    world: World,
    file: tempfile::TempDir,
    trace: bool,
    running: bool,
    statuses: Vec<u16>,
    ready: Vec<bool>,
    flood: Vec<u16>,
    meanwhile: Vec<u16>,
    fetched: u64,
    reached: usize,
    tokens: Vec<String>,
    log: Vec<String>,
}

impl Run {
    async fn new() -> Self {
        // The program is started by the steps: this one only makes the world.
        let world = unready(sandbox(&[], &Value::Null).await, QUICK).await;
        world.proxy.wait_until_ready().await;
        let mut run = Self {
            world,
            file: tempfile::tempdir().expect("a folder"),
            trace: false,
            running: true,
            statuses: Vec::new(),
            ready: Vec::new(),
            flood: Vec::new(),
            meanwhile: Vec::new(),
            fetched: 0,
            reached: 0,
            tokens: Vec::new(),
            log: Vec::new(),
        };
        run.stop();
        run
    }

    fn snapshot(&self) -> PathBuf {
        self.file.path().join("register")
    }

    fn stop(&mut self) {
        if self.running {
            self.log.extend(self.world.proxy.log());
            stop(&mut self.world);
        }
        self.running = false;
    }

    async fn start(&mut self) {
        let log = if self.trace { "log: { filter: trace }\n" } else { "" };
        let file = self.snapshot();
        let sections = format!(
            "{QUICK}{log}register: {{ refresh_least: 1s, snapshot: {{ file: \"{}\", save_interval: 1s }} }}\n",
            file.display()
        );
        self.world.proxy = started(&self.world, &sections, &[]).await;
        self.running = true;
        let away = self.world.knob(Method::GET, "faults", Value::Null).await.to_string();
        if away.contains("jwks") {
            self.ready.push(self.world.proxy.admin("/readyz").await.0 == 200);
        } else {
            self.world.proxy.wait_until_ready().await;
        }
        self.fetched = self.world.calls("jwks").await;
    }

    async fn good(&mut self) -> Ask {
        let question = ask_of(&self.world, BAKKEN, "GET", MVA, "310000507").await;
        self.tokens.push(question.token.clone());
        question
    }

    async fn request(&mut self) {
        let question = self.good().await;
        let told = ask(&self.world, &question).await;
        self.statuses.push(told.status);
    }

    async fn step(&mut self, step: &str) {
        let (name, rest) = step.split_once(':').unwrap_or((step, ""));
        let close = json!({ "close": true });
        match (name, rest) {
            ("start", "pep") => self.start().await,
            ("start", "pep:trace") => {
                self.trace = true;
                self.start().await;
            }
            ("stop", "pep") => self.stop(),
            ("restart", "pep") => {
                self.stop();
                self.start().await;
            }
            ("stop", "key_set") => {
                for endpoint in ["jwks", "metadata"] {
                    self.world.fault(endpoint, close.clone()).await;
                }
            }
            ("stop", "register") => down(&self.world, close).await,
            ("sync", "") => {
                policies_read(&self.world.proxy).await;
                let question = self.good().await;
                until_basis(&self.world, &question, "derived").await;
                self.reached = self.world.upstream.count();
            }
            ("wait", seconds) => {
                tokio::time::sleep(Duration::from_secs(seconds.parse().expect("seconds"))).await;
            }
            ("flip_byte", "snapshot") => {
                let mut bytes = std::fs::read(self.snapshot()).expect("a snapshot");
                let text = b"310000205_nordlys";
                let at = bytes.windows(text.len()).position(|part| part == text);
                bytes[at.expect("it is in it")] ^= 1;
                std::fs::write(self.snapshot(), bytes).expect("written");
            }
            ("key_set", what) if what.starts_with("add:") => {
                self.world.knob(Method::POST, "keys/rotate", json!({ "drop_old": false })).await;
            }
            // The sandbox signs with the newest key.
            ("request", "good") => self.request().await,
            ("request", by) if by.starts_with("signed_by:") => self.request().await,
            ("flood", what) if what.starts_with("random_kid:") => {
                let count = what.split(':').nth(1).and_then(|count| count.parse().ok());
                self.flood(count.expect("a count")).await;
            }
            _ => panic!("nobody knows the step {step}"),
        }
    }

    async fn flood(&mut self, count: usize) {
        use base64::Engine;
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let good = self.good().await;
        let (_, rest) = good.token.split_once('.').expect("a compact token");
        for _ in 0..count.div_ceil(100) {
            let asks = (0..100).map(|_| {
                let kid = uuid::Uuid::new_v4().to_string();
                let header = engine.encode(json!({ "alg": "RS256", "kid": kid }).to_string());
                let made_up = format!("{header}.{rest}");
                async { self.world.get(&good.target, &{ made_up }).await.status().as_u16() }
            });
            self.flood.extend(join_all(asks).await);
            self.meanwhile.push(ask(&self.world, &good).await.status);
        }
    }

    /// Expectations of a status each take the next request.
    async fn expect(&mut self, expected: &str, next: &mut usize) {
        let (name, rest) = expected.split_once(':').unwrap_or((expected, ""));
        match (name, rest) {
            ("status", rest) => {
                let status = self.statuses[*next];
                *next += 1;
                assert!(rest.split(" or ").any(|one| one == status.to_string()), "{status}");
            }
            ("not_ready", "") => assert_eq!(self.ready.last(), Some(&false)),
            ("upstream", "none") => assert_eq!(self.world.upstream.count(), self.reached),
            ("status_all", rest) => {
                let status: u16 = rest.parse().expect("a status");
                assert!(!self.flood.is_empty() && self.flood.iter().all(|one| *one == status));
            }
            ("good_request_meanwhile", rest) => {
                let status: u16 = rest.parse().expect("a status");
                assert!(
                    !self.meanwhile.is_empty() && self.meanwhile.iter().all(|one| *one == status)
                );
            }
            (bound, "") if bound.starts_with("key_set_fetches<=") => {
                let most = bound.trim_start_matches("key_set_fetches<=");
                let most: u64 = most.parse().expect("a number");
                let fetches = self.world.calls("jwks").await - self.fetched;
                assert!(fetches <= most, "{fetches} fetches");
            }
            ("log", "snapshot_refused") => {
                let log = self.world.proxy.log();
                assert!(
                    log.iter().any(|line| line.contains("the snapshot is not used")),
                    "{log:?}"
                );
            }
            ("token not in any output", "") => {
                let mut lines = self.world.proxy.log();
                assert!(lines.len() > 50, "talkative");
                lines.extend(self.world.proxy.audit().iter().map(Value::to_string));
                lines.push(self.world.proxy.admin("/metrics").await.1);
                let key: Value =
                    serde_json::from_str(&own_key(&self.world.sandbox).await).expect("a key");
                let mut secrets = vec![seed::SUBSCRIPTION_KEY, key["d"].as_str().expect("private")];
                // Any token begins so.
                secrets.push("eyJ");
                let signature = |token| str::rsplit(token, '.').next().expect("three parts");
                secrets.extend(self.tokens.iter().map(|token| signature(token)));
                for secret in secrets {
                    let found = lines.iter().find(|line| line.contains(secret));
                    assert!(found.is_none(), "{found:?}");
                }
            }
            _ => panic!("nobody knows the expectation {expected}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_of_faults_is_run_or_listed() {
    let strings = |value: &Value| -> Vec<String> {
        let list = value.as_array().expect("a list");
        list.iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
    };
    let mut run = 0;
    for case in cases() {
        let (id, class) = (case["id"].as_str().unwrap(), case["class"].as_str().unwrap());
        let steps = strings(&case["steps"]);
        let elsewhere = ELSEWHERE
            .iter()
            .find(|(begin, _)| steps.iter().any(|step| step.starts_with(begin)))
            .or_else(|| NOT_RUN.iter().find(|(listed, _)| *listed == class));
        if let Some((_, reason)) = elsewhere {
            println!("{id} ({}) not run: {reason}", case["title"]);
            continue;
        }
        println!("{id} ({})", case["title"]);
        let mut stage = Run::new().await;
        for step in &steps {
            stage.step(step).await;
        }
        let mut next = 0;
        for expected in strings(&case["expect"]) {
            stage.expect(&expected, &mut next).await;
        }
        let all = stage.statuses.len();
        assert!(next == 0 || next == all, "{id}: {next} of {all} answers are told of");
        run += 1;
    }
    println!("{run} cases run");
    assert!(run > 0);
}

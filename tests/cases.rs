//! Attacks and controls, each with what must come of it, against the real program.
//!
//! A world file tells of issuer, keys, system users, routes and what Altinn says; case files tell what is
//! sent. `PORTVAKT_WORLD` and `PORTVAKT_CASES` name others than those in `tests/cases/`: nothing of a world
//! is written down here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells what it ran"
)]

mod support;

#[path = "cases/judge.rs"]
mod judge;
#[path = "cases/keys.rs"]
mod keys;
#[path = "cases/run.rs"]
mod run;
#[path = "cases/stage.rs"]
mod stage;
#[path = "cases/wire.rs"]
mod wire;
#[path = "cases/world.rs"]
mod world;

use run::Runner;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Cases that come out otherwise than their file says: id and reason.
const KNOWN_DIFFERENCES: [(&str, &str); 0] = [];

/// Kinds that are not run here.
const NOT_RUN: [(&str, &str); 6] = [
    ("http2", "needs a raw HTTP/2 client that checks nothing"),
    ("http2_flood", "needs a raw HTTP/2 client that checks nothing"),
    ("upstream_answer", "needs an upstream that answers with given bytes"),
    ("forward_auth", "the mode is not there yet"),
    ("xacml", "policies are judged by Altinn; there is no evaluator here"),
    ("fault", "needs faults of network, disk and clock: tests/fault_cases.rs runs them"),
];

/// Every case of the folder, with the file it stands in.
struct Cases {
    runner: Runner,
    cases: Vec<(String, Value)>,
}

static CASES: LazyLock<Cases> = LazyLock::new(read);

#[expect(clippy::disallowed_methods, reason = "tests read their own environment")]
fn place(variable: &str, usual: &str) -> PathBuf {
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(usual);
    std::env::var_os(variable).map_or(usual, PathBuf::from)
}

fn json(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read() -> Cases {
    let world = json(&place("PORTVAKT_WORLD", "world.json"));
    let folder = place("PORTVAKT_CASES", "");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    let mut cases = Vec::new();
    for path in files {
        let file = json(&path);
        // A world is no list of cases.
        let Some(listed) = file["cases"].as_array() else { continue };
        assert!(!listed.is_empty(), "{} is empty", path.display());
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        cases.extend(listed.iter().map(|case| (name.clone(), case.clone())));
    }
    let all: String = cases.iter().map(|(_, case)| case.to_string()).collect();
    let runner = Runner::new(world, &all).unwrap_or_else(|why| panic!("the world: {why}"));
    Cases { runner, cases }
}

/// Runs every case of a kind.
fn run(kind: &str) {
    let cases: Vec<&Value> =
        CASES.cases.iter().map(|(_, case)| case).filter(|case| case["kind"] == kind).collect();
    assert!(!cases.is_empty(), "no cases of the kind {kind}");
    let (mut differ, mut stale) = (0, Vec::new());
    let mut shared = None;
    for case in &cases {
        let id = case["id"].as_str().expect("an id");
        let differences = CASES.runner.run(case, &mut shared);
        let known = KNOWN_DIFFERENCES.iter().find(|(known, _)| *known == id);
        match (differences.is_empty(), known) {
            (true, None) => {}
            (true, Some(_)) => stale.push(id),
            (false, Some((_, reason))) => {
                println!("{id} differs, as known: {reason}: {}", differences.join("; "));
            }
            (false, None) => {
                differ += 1;
                println!("{id} differs ({}): {}", case["title"], differences.join("; "));
            }
        }
    }
    println!("{kind}: {} cases run, {differ} differ", cases.len());
    assert_eq!(differ, 0, "{kind}: cases differ");
    assert!(stale.is_empty(), "{kind}: these differ no longer: {stale:?}");
}

#[test]
fn tokens() {
    run("jwt");
}

#[test]
fn rights() {
    run("request");
}

#[test]
fn bytes_of_http1() {
    run("http1");
}

#[test]
fn key_sets() {
    run("keyset");
}

#[test]
fn every_case_is_run_or_listed() {
    let mut not_run: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (file, case) in &CASES.cases {
        let kind = case["kind"].as_str().expect("a kind");
        if !["jwt", "request", "http1", "keyset"].contains(&kind) {
            *not_run.entry((file, kind)).or_default() += 1;
        }
    }
    for ((file, kind), count) in not_run {
        let (_, reason) = NOT_RUN
            .iter()
            .find(|(listed, _)| *listed == kind)
            .unwrap_or_else(|| panic!("{file}: nobody runs the kind {kind}"));
        println!("{file}: {count} of the kind {kind} not run: {reason}");
    }
}

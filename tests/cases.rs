//! Attacks, faults and controls, each with what must come of it, against the real program.
//!
//! A world file tells of issuer, keys, system users, routes and what Altinn says; case files tell what is
//! sent. `PORTVAKT_WORLD` and `PORTVAKT_CASES` name others than those in `tests/cases/`: nothing of a world
//! is written down here. `cargo run --example cases -- WORLD FOLDER` runs the same as a program.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells what it ran"
)]

mod support;

#[path = "outages/faketime.rs"]
mod faketime;
#[path = "cases/faults.rs"]
mod faults;
#[path = "cases/frames.rs"]
mod frames;
#[path = "cases/h2.rs"]
mod h2;
#[path = "cases/hpack.rs"]
mod hpack;
#[path = "cases/judge.rs"]
mod judge;
#[path = "cases/keys.rs"]
mod keys;
#[path = "outages/stage.rs"]
mod outage;
#[path = "cases/readings.rs"]
mod readings;
#[path = "cases/renamed.rs"]
mod renamed;
#[path = "cases/run.rs"]
mod run;
#[path = "cases/stage.rs"]
mod stage;
#[path = "cases/suite.rs"]
mod suite;
#[path = "cases/wire.rs"]
mod wire;
#[path = "cases/world.rs"]
mod world;
#[path = "cases/xacml.rs"]
mod xacml;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use suite::Suite;

static SUITE: LazyLock<Suite> = LazyLock::new(|| {
    let (world, folder) = (place("PORTVAKT_WORLD", "world.json"), place("PORTVAKT_CASES", ""));
    Suite::read(&world, &folder).unwrap_or_else(|why| panic!("{why}"))
});

#[expect(clippy::disallowed_methods, reason = "tests read their own environment")]
fn place(variable: &str, usual: &str) -> PathBuf {
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(usual);
    std::env::var_os(variable).map_or(usual, PathBuf::from)
}

/// Runs every case of a kind.
fn run(kind: &str) {
    let totals = SUITE.run(kind, &mut |line| println!("{line}"));
    support::say(&format!("{kind}: {totals}"));
    assert!(totals.cases > 0, "no cases of the kind {kind}");
    assert_eq!(totals.differ, 0, "{kind}: cases differ");
}

/// A test for each kind, so that they run side by side.
macro_rules! kinds {
    ($($test:ident: $kind:literal,)*) => {
        $(#[test] fn $test() { run($kind); })*

        #[test]
        fn every_kind_is_run() {
            let known = [$($kind),*];
            for kind in SUITE.kinds() {
                assert!(known.contains(&kind.as_str()), "nobody runs the kind {kind}");
            }
        }
    };
}

kinds! {
    tokens: "jwt",
    rights: "request",
    bytes_of_http1: "http1",
    frames_of_http2: "http2",
    floods_of_http2: "http2_flood",
    key_sets: "keyset",
    answers_of_the_upstream: "upstream_answer",
    policies: "xacml",
    faults_in_steps: "fault",
    questions_of_another_proxy: "forward_auth",
}

#[test]
fn nothing_of_the_world_is_known_by_heart() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let totals = renamed::run(&folder, &["request", "http1", "http2", "keyset", "forward_auth"]);
    assert!(totals.cases > 300, "{totals}");
    assert_eq!(totals.differ, 0, "{totals}");
}

//! The load of `tests/load/load.py`, for some seconds: no wrong answer, and nothing past its bound. It measures
//! nothing; `docs/sandbox.md` has the figures of ten minutes.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails by panicking"
)]

use portvakt_sandbox::{Sandbox, SandboxOptions};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Python of `tests/run`; without it the test says aloud that it does nothing.
#[expect(clippy::disallowed_methods, reason = "tests read their own environment")]
fn python(root: &Path) -> Option<PathBuf> {
    let usual = root.join(".tools/py/bin/python");
    let path = std::env::var_os("PORTVAKT_TEST_PYTHON").map_or(usual, PathBuf::from);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing; run tests/run", path.display());
    // Past the harness, which keeps what a passing test prints.
    let text = format!("SKIPPED: {} is missing; tests/run installs it\n", path.display());
    std::io::stderr().write_all(text.as_bytes()).unwrap();
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn many_system_users_and_calls_are_answered_right_and_nothing_passes_its_bound() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let Some(python) = python(&root) else { return };
    let options = SandboxOptions { caching_pods: 2, ..SandboxOptions::default() };
    let sandbox = Sandbox::start(options).await.unwrap();
    let address = sandbox.address().to_string();
    let run = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(python);
        command.arg(root.join("tests/load/load.py")).args(["--address", &address]);
        command.args(["--users", "2000", "--seconds", "4", "--rate", "75"]).output().unwrap()
    });
    let run = run.await.unwrap();
    let told = String::from_utf8_lossy(&run.stdout);
    let told: Value = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{run:?}"));
    assert!(run.status.success(), "{told:#}");
    assert_eq!((&told["calls"], &told["errors"]), (&json!(300), &json!(0)));
    let held = told["held"].as_object().unwrap();
    for (name, row) in held {
        assert!(row["held"].as_u64() <= row["most"].as_u64(), "{name}: {row}");
    }
    // The load reached what is to be bounded.
    assert_eq!(held["used_assertions"]["held"], 60);
    assert_eq!((&held["calls"]["held"], &held["questions"]["held"]), (&json!(100), &json!(100)));
    assert!(held["cached"]["held"].as_u64() > Some(100), "{told:#}");
}

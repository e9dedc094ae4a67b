//! The commands in the pages for each role, run as they stand there, one after the other.

use crate::lab::Lab;
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

/// What stands in the document's blocks of shell commands.
fn commands(document: &str) -> String {
    let blocks = document.split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or_default()).collect()
}

/// Runs the commands of one page against a sandbox of its own; the first that fails ends it.
async fn run(page: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(root.join(format!("docs/sandbox/{page}.md"))).unwrap();
    let commands = commands(&text);
    assert!(commands.matches("curl -sf").count() > 5, "{page}: {commands}");
    let lab = Lab::start().await;
    let here = format!("http://{}", lab.sandbox.address());
    let script = format!("set -euo pipefail\n{}", commands.replace("http://127.0.0.1:8400", &here));
    let program = Path::new(env!("CARGO_BIN_EXE_portvakt-sandbox")).parent().unwrap();
    let folder = tempfile(page);
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", program.display());
    let mut shell = Command::new("bash");
    shell.args(["-xc", &script]).env("PATH", path).current_dir(&folder).stdin(Stdio::null());
    let output = shell.kill_on_drop(true).output().await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = told.lines().rev().take(3).collect();
    assert!(output.status.success(), "{page}: {last:#?}");
}

/// A folder for what the commands write.
fn tempfile(page: &str) -> std::path::PathBuf {
    let name = format!("portvakt-sandbox-{page}-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir(&folder).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_commands_do_what_they_say() {
    run("vendor").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_customers_commands_do_what_they_say() {
    run("customer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_facilitators_commands_do_what_they_say() {
    run("facilitator").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_owners_commands_do_what_they_say() {
    run("service-owner").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_testers_commands_do_what_they_say() {
    run("tester").await;
}

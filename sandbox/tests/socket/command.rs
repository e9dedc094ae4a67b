//! The program itself: its ready line, its end, its complaints; and the library's.

use crate::lab::{Lab, send};
use portvakt_sandbox::{Sandbox, SandboxError, SandboxOptions, Seed};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

fn program(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_portvakt-sandbox"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn the_program_says_when_it_is_ready_and_stops_on_sigterm() {
    let mut child = program(&["--listen", "127.0.0.1:0"]);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(ready["ready"], true);
    let address = ready["address"].as_str().unwrap();
    assert_eq!(ready["issuer"], format!("http://{address}/"));
    assert_eq!(ready["altinn"], format!("http://{address}"));
    assert_eq!(ready["knobs"], format!("http://{address}/sandbox"));
    let reply = send(address.parse().unwrap(), "GET", "/jwk", &[], "").await.unwrap();
    assert_eq!(reply.status, 200);
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test]
async fn a_missing_seed_is_told_with_its_cause() {
    let output = program(&["--seed", "/no/such/file"]).wait_with_output().await.unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("/no/such/file") && text.contains("No such file"), "{text}");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_written_is_told_with_its_place() {
    let arguments =
        ["--port", "0", "--tls-host", "a.example", "--ca-file", "/no/such/folder/ca.pem"];
    let output = program(&arguments).wait_with_output().await.unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty(), "it never said that it was ready");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("/no/such/folder/ca.pem") && text.contains("No such file"), "{text}");
}

#[tokio::test]
async fn a_bad_seed_and_a_taken_address_are_told_apart() {
    let seed = Seed::Text("nonsense: true".into());
    let options = SandboxOptions { seed, ..SandboxOptions::default() };
    assert!(matches!(Sandbox::start(options).await, Err(SandboxError::Seed(_))));
    let lab = Lab::start().await;
    let options = SandboxOptions { listen: lab.sandbox.address(), ..SandboxOptions::default() };
    assert!(matches!(Sandbox::start(options).await, Err(SandboxError::Listen { .. })));
}

#[tokio::test]
async fn a_stopped_sandbox_no_longer_listens() {
    let lab = Lab::start().await;
    let address = lab.sandbox.address();
    lab.sandbox.stop().await;
    assert!(send(address, "GET", "/jwk", &[], "").await.is_err());
}

//! Disks that are full, files that somebody renames, cuts or has in two, and a program that is killed.

use crate::files::*;
use crate::support::disk::Disk;
use crate::support::http::{Connection, Protocol, empty, request};
use crate::support::{Proxy, World, config, own_key, seed, skipped, wait_until};
use portvakt_sandbox::{Sandbox, SandboxOptions};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::upstream::Upstream;

/// With the usual routes, started by the command `under`.
async fn world(under: &[&str], sections: &str) -> World {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    let upstream = Upstream::start().await;
    let config = configured(&sandbox, &upstream, sections);
    let jwk = own_key(&sandbox).await;
    let proxy = Proxy::start_under(under, &config, &[("PROXY_JWK", &jwk)]);
    let world = World { sandbox, upstream, proxy, http: reqwest::Client::new() };
    world.proxy.wait_until_ready().await;
    world
}

fn configured(
    sandbox: &portvakt_sandbox::RunningSandbox,
    upstream: &Upstream,
    sections: &str,
) -> String {
    config(sandbox, &format!("upstream: {{ url: \"{}\" }}", upstream.url()), sections)
}

fn stop(world: &mut World) {
    world.proxy.signal("TERM");
    assert_eq!(world.proxy.wait(), Some(0));
}

/// A limit of the process on the size of files stands for the disk.
const LIMITABLE: [&str; 4] = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"];

fn limit(process: u32, size: &str) {
    let arguments = [format!("--pid={process}"), format!("--fsize={size}:unlimited")];
    assert!(Command::new("prlimit").args(arguments).status().unwrap().success());
}

const FAILED: &str = "portvakt_audit_records_total{result=\"failed\"}";
const DROPPED: &str = "portvakt_audit_records_total{result=\"dropped\"}";

async fn audit_stands_in_the_way(world: &World, stands: bool) {
    wait_until("readiness", async || {
        world.proxy.admin("/readyz").await.1.contains("\"audit\"") == stands
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_traffic_where_that_was_chosen_and_no_record_is_lost() {
    let folder = Folder::new();
    let mut world = world(&LIMITABLE, &folder.sealed("on_loss: stop")).await;
    assert_eq!(open(&world).await, 200);
    folder.until_records(1).await;
    let length = std::fs::metadata(folder.log()).unwrap().len();
    // Room for a part of the next line only.
    limit(world.proxy.id(), &(length + 100).to_string());
    // Nobody knows of it yet; the record of this one is kept until it can be written.
    assert_eq!(open(&world).await, 200);
    audit_stands_in_the_way(&world, true).await;
    let reached = world.upstream.count();
    for _ in 0..5 {
        let answer = world.request("GET", "/open/page").send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 503);
        assert_eq!(answer.headers()["retry-after"], "1");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(
            (&problem["reason"], &problem["type"]),
            (&"audit".into(), &"urn:portvakt:problem:overloaded".into())
        );
    }
    assert_eq!(world.upstream.count(), reached, "nothing is forwarded");
    assert_eq!(world.proxy.metric("portvakt_audit_stopped").await.to_string(), "1");
    assert_eq!(world.proxy.admin("/livez").await.0, 200);
    assert_eq!(std::fs::metadata(folder.log()).unwrap().len(), length, "no part of a line is left");
    limit(world.proxy.id(), "unlimited");
    audit_stands_in_the_way(&world, false).await;
    assert_eq!(open(&world).await, 200);
    let records = folder.until_records(8).await;
    let statuses: Vec<u64> = records.iter().map(|line| line["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 200, 503, 503, 503, 503, 503, 200]);
    assert_eq!(records[2]["reason"], "audit");
    assert!(world.proxy.metric(FAILED).await + world.proxy.metric(DROPPED).await < 0.5);
    stop(&mut world);
    folder.verify(&[]).expect(0, &["whole and as it was written"]);
}

/// The case `pub-faults-009`.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_others_filled_stops_traffic_before_a_request_is_let_through() {
    let Some(disk) = Disk::mount("256k") else {
        return skipped("no file system may be mounted here");
    };
    let log = disk.path().join("audit.jsonl");
    let section =
        format!("audit: {{ output: {{ file: \"{}\" }}, on_loss: stop }}\n", log.display());
    let mut world = world(&[], &section).await;
    assert_eq!(open(&world).await, 200);
    disk.fill();
    audit_stands_in_the_way(&world, true).await;
    let reached = world.upstream.count();
    assert_eq!(open(&world).await, 503);
    assert_eq!(world.upstream.count(), reached);
    disk.clear();
    audit_stands_in_the_way(&world, false).await;
    assert_eq!(open(&world).await, 200);
    stop(&mut world);
    let statuses: Vec<Value> = lines(&log).iter().map(|line| line["status"].clone()).collect();
    assert_eq!(statuses, [200, 503, 200], "no hole");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_counted_where_traffic_is_to_go_on_and_the_log_tells_of_it() {
    let folder = Folder::new();
    let mut world = world(&LIMITABLE, &folder.sealed("on_loss: count")).await;
    assert_eq!(open(&world).await, 200);
    folder.until_records(1).await;
    let length = std::fs::metadata(folder.log()).unwrap().len();
    limit(world.proxy.id(), &(length + 100).to_string());
    for _ in 0..3 {
        assert_eq!(open(&world).await, 200);
    }
    wait_until("counted", async || world.proxy.metric(FAILED).await > 2.5).await;
    assert!(world.proxy.admin("/readyz").await.0 == 200, "ready all the same");
    limit(world.proxy.id(), "unlimited");
    assert_eq!(open(&world).await, 200);
    folder.until_records(2).await;
    stop(&mut world);
    let lost = folder.lines().into_iter().find(|line| line["event"] == "lost").expect("told");
    assert_eq!(lost["records"], 3);
    folder
        .verify(&[])
        .expect(0, &["3 records could not be written", "whole and as it was written"]);
}

/// The reader of a pipe takes nothing: that is no error, but a queue that fills.
#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_takes_nothing_stops_traffic_when_the_queue_is_full() {
    for (on_loss, status) in [("stop", 503), ("count", 200)] {
        let folder = Folder::new();
        let pipe = folder.path("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // Open at both ends, so that nobody waits for the other.
        let reader = std::fs::File::options().read(true).write(true).open(&pipe).unwrap();
        let section = format!(
            "audit: {{ output: {{ file: \"{}\" }}, on_loss: {on_loss}, queue: 20 }}\n\
             limits: {{ requests_in_flight: 10 }}\n",
            pipe.display()
        );
        let world = world(&[], &section).await;
        let stopped = "portvakt_audit_stopped";
        let (mut answers, mut full) = (0, false);
        // The pipe itself holds 64 KiB, a hundred records or two.
        while !full && answers < 2000 {
            full = open(&world).await == 503 || world.proxy.metric(DROPPED).await > 0.5;
            answers += 1;
        }
        assert!(full);
        let reached = world.upstream.count();
        assert_eq!(open(&world).await, status, "{on_loss}");
        answers += 1;
        assert_eq!(world.upstream.count() == reached, status == 503, "{on_loss}");
        assert_eq!(world.proxy.metric(stopped).await > 0.5, status == 503, "{on_loss}");
        assert_eq!(world.proxy.admin("/readyz").await.0, status, "{on_loss}");
        // Somebody reads again.
        std::thread::spawn(move || {
            let mut reader = reader;
            let mut taken = [0; 4096];
            while std::io::Read::read(&mut reader, &mut taken).is_ok_and(|count| count > 0) {}
        });
        let written = "portvakt_audit_records_total{result=\"written\"}";
        wait_until("all accounted for", async || {
            let (written, dropped) =
                (world.proxy.metric(written).await, world.proxy.metric(DROPPED).await);
            (written + dropped - f64::from(answers)).abs() < 0.5
        })
        .await;
        assert_eq!(world.proxy.admin("/readyz").await.0, 200);
        assert_eq!(open(&world).await, 200);
    }
}

/// So many requests, eight at a time.
async fn load(world: &World, requests: usize) {
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (http, url) = (world.http.clone(), format!("{}/open/page", world.proxy.url()));
        let each = requests / 8;
        tasks.push(tokio::spawn(async move {
            for _ in 0..each {
                assert_eq!(http.get(&url).send().await.unwrap().status().as_u16(), 200);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_renamed_under_load_loses_no_record() {
    let folder = Folder::new();
    let mut world = world(&[], &folder.sealed("on_loss: stop")).await;
    for (number, told) in [(1, true), (2, false)] {
        let (log, old) = (folder.log(), folder.path(&format!("log/audit.jsonl.{number}")));
        let pid = world.proxy.id().to_string();
        let rename = async {
            wait_until("something written", async || {
                std::fs::metadata(&log).is_ok_and(|is| is.len() > 5000)
            })
            .await;
            std::fs::rename(&log, &old).unwrap();
            // With a signal at once, without one a little later.
            if told {
                assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
            }
            wait_until("a new file", async || log.exists()).await;
        };
        tokio::join!(load(&world, 400), rename);
    }
    let records = folder.until_records(800).await;
    stop(&mut world);
    assert_eq!(records.len(), 800);
    assert_eq!(files(&folder.path("log")).len(), 3);
    folder.verify(&[]).expect(0, &["whole and as it was written", "3 files"]);
    let mode = std::fs::metadata(folder.log()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_copied_and_cut_goes_on_from_its_beginning() {
    let folder = Folder::new();
    let mut world = world(&[], &folder.sealed("")).await;
    load(&world, 40).await;
    folder.until_records(40).await;
    // As `copytruncate` does; nothing is written meanwhile.
    std::fs::copy(folder.log(), folder.path("log/audit.jsonl.1")).unwrap();
    std::fs::File::options().write(true).open(folder.log()).unwrap().set_len(0).unwrap();
    load(&world, 40).await;
    let records = folder.until_records(80).await;
    stop(&mut world);
    assert_eq!(records.len(), 80);
    folder.verify(&[]).expect(0, &["whole and as it was written", "2 files"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_rotated_by_size_under_load() {
    let folder = Folder::new();
    let mut world = world(&[], &folder.sealed("rotate: { max_bytes: 20KiB }")).await;
    load(&world, 400).await;
    let mut records = folder.until_records(400).await;
    // A log that ends in a checkpoint leaves nothing that only who has the MAC key can check.
    while folder.lines().last().is_some_and(|line| line["event"] == "checkpoint") {
        assert!(records.len() < 402, "one record does not make a checkpoint due");
        world.http.get(format!("{}/open/page", world.proxy.url())).send().await.unwrap();
        records = folder.until_records(records.len() + 1).await;
    }
    assert!(world.proxy.metric("portvakt_audit_rotations_total{result=\"done\"}").await > 2.5);
    let sequence = world.proxy.metric("portvakt_audit_sequence").await.to_string();
    folder.verify(&["--running", "--until", &sequence]).expect(0, &["its end is open"]);
    let public = [("--public-key", folder.path("public"))];
    verify(&folder.files(), &public, &["--running"])
        .expect(3, &["CANNOT BE CHECKED without `--mac-key`"]);
    folder.verify(&[]).expect(3, &["nothing proves that no more followed"]);
    stop(&mut world);
    folder.verify(&["--until", &sequence]).expect(0, &["whole and as it was written"]);
    folder.verify(&["--until", "1000000"]).expect(1, &["had reached 1000000"]);
    // Who has the public key only, and no key at all.
    let public = [("--public-key", folder.path("public"))];
    verify(&folder.files(), &public, &["--until", &sequence])
        .expect(0, &["whole and as it was written"]);
    // Cut off at an earlier stop, it would look the same.
    verify(&folder.files(), &public, &[]).expect(3, &["up to the stop", "is not known here"]);
    verify(&folder.files(), &[], &[]).expect(2, &["--public-key"]);
    let wrong = [("--public-key", folder.path("private"))];
    verify(&folder.files(), &wrong, &[]).expect(3, &["not an Ed25519 public key"]);
    verify(&[folder.path("nothing")], &public, &[]).expect(3, &["cannot be read"]);
    // A file of the middle is gone.
    std::fs::remove_file(&folder.files()[1]).unwrap();
    folder.verify(&[]).expect(1, &["are missing", "NOT as it was written"]);
    let told = folder.verify(&["--json"]);
    let report: Value = serde_json::from_str(&told.told).unwrap();
    assert_eq!((told.code, &report["closed"]), (1, &Value::Bool(true)), "{report}");
    let found = &report["findings"][0];
    assert_eq!((&found["kind"], &found["line"]), (&"missing".into(), &1.into()), "{report}");
    assert!(found["file"].is_string() && found["sequence"].is_u64(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_leaves_a_torn_line_at_most_and_is_told_apart_from_a_cut() {
    let folder = Folder::new();
    let mut world = world(&[], &folder.sealed("")).await;
    load(&world, 40).await;
    folder.until_records(40).await;
    world.proxy.signal("KILL");
    world.proxy.wait();
    // A kill in the midst of a write: the line was half there.
    let mut text = std::fs::read(folder.log()).unwrap();
    text.extend_from_slice(b"{\"time\":\"2026-11-23T08:00:0");
    std::fs::write(folder.log(), &text).unwrap();
    folder.verify(&[]).expect(3, &["the last line is not whole"]);
    let config = std::fs::read_to_string(world.proxy.config_path()).unwrap();
    let jwk = own_key(&world.sandbox).await;
    world.proxy = Proxy::start(&config, &[("PROXY_JWK", &jwk)]);
    world.proxy.wait_until_ready().await;
    assert_eq!(open(&world).await, 200);
    folder.until_records(41).await;
    stop(&mut world);
    folder.verify(&[]).expect(
        0,
        &[
            "torn when the program was killed",
            "ended before without a last checkpoint",
            "whole and as it was written",
        ],
    );
    // The torn part is sealed as it was.
    let text = std::fs::read_to_string(folder.log()).unwrap();
    std::fs::write(folder.log(), text.replacen("08:00:0\n", "08:00:1\n", 1)).unwrap();
    folder.verify(&[]).expect(1, &["not a sealed line"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_was_cut_off_while_the_program_stood_still_is_found() {
    let folder = Folder::new();
    let mut world = world(&[], &folder.sealed("")).await;
    load(&world, 40).await;
    folder.until_records(40).await;
    let config = std::fs::read_to_string(world.proxy.config_path()).unwrap();
    stop(&mut world);
    folder.verify(&[]).expect(0, &[]);
    let text = std::fs::read_to_string(folder.log()).unwrap();
    let kept: Vec<&str> = text.split_inclusive('\n').take(20).collect();
    std::fs::write(folder.log(), kept.concat()).unwrap();
    folder.verify(&[]).expect(1, &["its end was cut off", "nothing proves that no more followed"]);
    let jwk = own_key(&world.sandbox).await;
    world.proxy = Proxy::start(&config, &[("PROXY_JWK", &jwk)]);
    world.proxy.wait_until_ready().await;
    assert!(world.proxy.log().iter().any(|line| line.contains("it was cut, or replaced")));
    stop(&mut world);
    folder.verify(&[]).expect(1, &["lines were cut off its end"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_is_refused_or_served_has_one_record_each_and_keeps_no_place() {
    let folder = Folder::new();
    let more = "on_loss: stop, queue: 8";
    let sections = format!("{}limits: {{ requests_in_flight: 4 }}\n", folder.sealed(more));
    let mut world = world(&[], &sections).await;
    for _ in 0..10 {
        assert_eq!(world.request("GET", "/nowhere").send().await.unwrap().status().as_u16(), 404);
        assert_eq!(world.request("GET", "/v1/own").send().await.unwrap().status().as_u16(), 401);
        assert_eq!(open(&world).await, 200);
        // Leaves as soon as it has asked.
        let connection = Connection::open(world.proxy.address(), Protocol::Http2).await;
        let asked = request(&connection, "GET", "/open/page").body(empty()).unwrap();
        drop(tokio::time::timeout(std::time::Duration::ZERO, connection.send(asked)).await);
        drop(connection);
        wait_until("places free again", async || {
            world.proxy.metric("portvakt_audit_waiting").await < 0.5
        })
        .await;
    }
    stop(&mut world);
    let total = world_requests(&folder.log());
    assert!((30..=40).contains(&total), "{total}");
    let traces: std::collections::BTreeSet<String> =
        folder.records().iter().map(|line| line["trace_id"].to_string()).collect();
    assert_eq!(traces.len(), total, "one record each");
    folder.verify(&[]).expect(0, &["whole and as it was written"]);
}

fn world_requests(log: &Path) -> usize {
    lines(log).iter().filter(|line| line["event"].is_null()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_left_out_where_there_is_no_key_for_a_pseudonym() {
    const PERSON: &str = "01010750160";
    let routes = r#"routes:
  - id: person
    match: { methods: [GET], path: "/v1/persons/{party}" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: read
    party: { path: party, persons: true }
"#;
    let folder = Folder::new();
    let mut world = world(&[], &format!("{}{routes}", folder.sealed(""))).await;
    let token = world.token(seed::BAKKEN).await;
    let _ = world.get(&format!("/v1/persons/{PERSON}"), &token).await;
    let records = folder.until_records(1).await;
    assert_eq!((&records[0]["route"], &records[0]["party"]), (&"person".into(), &Value::Null));
    stop(&mut world);
    assert!(!std::fs::read_to_string(folder.log()).unwrap().contains(PERSON));
}

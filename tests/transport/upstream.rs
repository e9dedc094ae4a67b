//! TLS towards upstreams: trusted by name, time and authority, or not at all.

use super::support::authority::{Authority, Pair};
use super::support::upstream::Upstream;
use super::support::wire::{code, told};
use super::support::{World, wait_until};
use super::world;
use std::path::Path;

const BOTH: [&str; 2] = ["h2", "http/1.1"];

/// The program before a secure upstream. The certificate of `pair` is for the name `localhost` in good cases.
async fn before(server: rustls::ServerConfig, keys: &str) -> World {
    let upstream = Upstream::start_secure(server).await;
    let port = upstream.address().port();
    let section = format!("upstream: {{ url: \"https://localhost:{port}\", {keys} }}");
    world(upstream, &section, "").await
}

fn trusting(folder: &Path, authority: &Authority, more: &str) -> String {
    let path = folder.join("ca.pem");
    std::fs::write(&path, authority.pem()).unwrap();
    format!("tls: {{ ca_file: \"{}\"{more} }}", path.display())
}

async fn status(world: &World) -> u16 {
    world.request("GET", "/open/x").send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn http_is_spoken_within_tls_as_the_configuration_and_the_upstream_say() {
    let (authority, folder) = (Authority::new("ours"), tempfile::tempdir().unwrap());
    let pair = authority.issue(&["localhost"]);
    let tls = trusting(folder.path(), &authority, "");
    for (offered, protocol, spoken) in [
        (&BOTH[..], "http1", Some("HTTP/1.1")),
        (&BOTH[..], "http2", Some("HTTP/2.0")),
        (&BOTH[..], "auto", Some("HTTP/2.0")),
        (&BOTH[1..], "auto", Some("HTTP/1.1")),
        (&[], "http1", Some("HTTP/1.1")),
        (&[], "auto", Some("HTTP/1.1")),
        (&BOTH[1..], "http2", None),
        (&[], "http2", None),
    ] {
        let world = before(pair.server(offered), &format!("{tls}, protocol: {protocol}")).await;
        let case = format!("{offered:?} {protocol}");
        for _ in 0..2 {
            let answer = world.request("POST", "/open/x?y=1").body("abc").send().await.unwrap();
            let Some(spoken) = spoken else {
                let (status, _, problem) = told(answer).await;
                assert_eq!((status, code(&problem)), (502, "upstream_unavailable"), "{case}");
                assert_eq!(problem["reason"], "tls_handshake", "{case}");
                continue;
            };
            assert_eq!(answer.status(), 200, "{case}");
            let received = world.upstream.last();
            assert_eq!((received.version.as_str(), received.body.len()), (spoken, 3), "{case}");
            assert_eq!(received.target, "/open/x?y=1", "{case}");
        }
    }
}

/// What an upstream shows that is not to be trusted, and the neighbour that is.
#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_not_who_it_should_be_gets_no_request() {
    let (authority, folder) = (Authority::new("ours"), tempfile::tempdir().unwrap());
    let cases: [(&str, Pair, &str, bool); 6] = [
        ("good", authority.issue(&["localhost"]), "", true),
        ("another name", authority.issue(&["other.test"]), "", false),
        ("named so", authority.issue(&["other.test"]), ", server_name: other.test", true),
        ("named otherwise", authority.issue(&["localhost"]), ", server_name: other.test", false),
        ("ended", authority.issue_until(&["localhost"], 2020), "", false),
        ("a stranger", Authority::new("ours").issue(&["localhost"]), "", false),
    ];
    for (case, pair, more, trusted) in cases {
        let tls = trusting(folder.path(), &authority, more);
        let world = before(pair.server(&BOTH), &tls).await;
        if trusted {
            assert_eq!(status(&world).await, 200, "{case}");
            continue;
        }
        let answer = world.request("GET", "/open/x").send().await.unwrap();
        let (status, _, problem) = told(answer).await;
        assert_eq!((status, code(&problem)), (502, "upstream_unavailable"), "{case}");
        assert_eq!(problem["reason"], "untrusted", "{case}");
        let sample = "portvakt_upstream_failures_total{kind=\"untrusted\",upstream=\"default\"}";
        assert!(world.proxy.metric(sample).await >= 1.0, "{case}");
        assert_eq!(world.upstream.count(), 0, "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authorities_of_the_system_do_not_know_ours() {
    let world = before(Authority::new("ours").issue(&["localhost"]).server(&BOTH), "").await;
    assert_eq!(status(&world).await, 502);
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_ours_is_shown_where_the_upstream_asks_for_one() {
    let (authority, folder) = (Authority::new("ours"), tempfile::tempdir().unwrap());
    let pair = authority.issue(&["localhost"]);
    let own = authority.issue(&["client.test"]).section(folder.path(), "own");
    let with = trusting(folder.path(), &authority, &format!(", {own}"));
    let world = before(authority.demanding(&pair, &BOTH), &with).await;
    assert_eq!(status(&world).await, 200);
    let without = trusting(folder.path(), &authority, "");
    let world = before(authority.demanding(&pair, &BOTH), &without).await;
    assert_eq!(status(&world).await, 502);
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_that_change_are_taken_up() {
    let (authority, folder) = (Authority::new("ours"), tempfile::tempdir().unwrap());
    let tls = trusting(folder.path(), &Authority::new("another"), "");
    let world = before(authority.issue(&["localhost"]).server(&BOTH), &tls).await;
    assert_eq!(status(&world).await, 502);
    trusting(folder.path(), &authority, "");
    world.proxy.signal("HUP");
    wait_until("trusted", async || status(&world).await == 200).await;
}

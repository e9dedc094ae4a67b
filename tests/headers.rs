//! What crosses the program beside the body, over bare sockets: no identity that a client made up, no
//! field of one connection on another, no target that two programs read differently. Threats 25–31, 36–41,
//! 44, 45, 47.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::float_cmp,
    reason = "a test that cannot go on fails, and counts are whole"
)]

mod support;

use serde_json::json;
use support::raw::{Ask, Raw};
use support::upstream::{Received, canned};
use support::{World, seed, wait_until};

const READ: &str = "/v1/parties/310000507/returns/7";

/// A world with a token for it.
async fn start(sections: &str) -> (World, String) {
    let world = World::start_with(sections).await;
    let token = world.token(seed::BAKKEN).await;
    (world, token)
}

/// Sends what must be let through, and gives what reached the upstream.
async fn through(world: &World, ask: Ask) -> Received {
    let forwarded = world.upstream.count();
    let answer = world.ask(&ask).await;
    assert_eq!(answer.status, 200, "{ask:?}: {}", answer.text());
    assert_eq!(world.upstream.count(), forwarded + 1, "{ask:?}");
    world.upstream.last()
}

/// Fields that an upstream may take for ours, with their values, in alphabetical order.
fn evidence(received: &Received) -> Vec<(String, String)> {
    let ours = |name: &str| name.starts_with("portvakt");
    let mut found: Vec<_> =
        received.headers.iter().filter(|(name, _)| ours(name)).cloned().collect();
    found.sort();
    for (_, age) in found.iter_mut().filter(|(name, _)| name == "portvakt-age") {
        // Whole seconds since the question; on a busy machine it is not nought.
        assert!(age.parse::<u64>().is_ok_and(|age| age < 20), "{age}");
        "0".clone_into(age);
    }
    found
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const EVIDENCE: [(&str, &str); 12] = [
    ("portvakt-access", "right"),
    ("portvakt-action", "read"),
    ("portvakt-age", "0"),
    ("portvakt-answer", "permit"),
    ("portvakt-consumer", "310000205"),
    ("portvakt-party", "310000507"),
    ("portvakt-resource", "ske-mva-melding"),
    ("portvakt-route", "read"),
    ("portvakt-source", "pdp"),
    ("portvakt-system-id", "310000205_nordlys"),
    ("portvakt-system-user", seed::BAKKEN_USER),
    ("portvakt-system-user-owner", "310000507"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_evidence_is_complete_and_no_more_than_the_route_asked_for() {
    let (world, token) =
        start("freshness: { read: { max_age: 0s }, write: { max_age: 0s } }").await;
    let right = through(&world, Ask::get(READ).bearer(&token)).await;
    assert_eq!(evidence(&right), pairs(&EVIDENCE));
    let scopes = through(&world, Ask::get("/v1/scopes").bearer(&token)).await;
    assert_eq!(
        evidence(&scopes),
        pairs(&[
            ("portvakt-access", "scopes"),
            ("portvakt-consumer", "310000205"),
            ("portvakt-route", "scopes-only"),
        ])
    );
    // A token on an open route is not looked at, so it is no evidence of anything.
    let open = through(&world, Ask::get("/open/x").bearer(&token)).await;
    assert_eq!(
        evidence(&open),
        pairs(&[("portvakt-access", "anonymous"), ("portvakt-route", "open"),])
    );
    let organisation = json!({ "authority": "iso6523-actorid-upis", "ID": "0192:310000809" });
    let supplied = world
        .token_with(json!({
            "client_id": seed::NORDLYS, "scope": "skatteetaten:mva",
            "claims_override": { "supplier": organisation },
        }))
        .await;
    let supplied = through(&world, Ask::get("/v1/scopes").bearer(&supplied)).await;
    assert_eq!(supplied.header("portvakt-supplier"), ["310000809"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_speaks_for_somebody_else_however_it_spells_the_name() {
    let (world, token) =
        start("freshness: { read: { max_age: 0s }, write: { max_age: 0s } }").await;
    for name in [
        "Portvakt-Party",
        "PORTVAKT-PARTY",
        "portvakt_party",
        "Portvakt.Party",
        "portvakt-party_",
        "Portvakt~Party",
        "Portvakt!Party",
        "Portvakt|System'User",
        "Portvakt_System-User",
        "portvakt-system.user",
        "Portvakt-Anything",
        "Portvakt",
        "portvakt-",
    ] {
        let ask = Ask::get(READ).bearer(&token).header(name, "310000604").header(name, "310000604");
        let received = through(&world, ask).await;
        assert_eq!(evidence(&received), pairs(&EVIDENCE), "{name}");
    }
    // A name that only ends alike is the client's own affair.
    let own = through(&world, Ask::get(READ).bearer(&token).header("X-Portvakt-Party", "1")).await;
    assert_eq!(own.header("x-portvakt-party"), ["1"]);
    // Where nobody asked who it is, a client's word does not stand in for an answer.
    let open = through(&world, Ask::get("/open/x").header("Portvakt-Party", "310000507")).await;
    assert!(open.header("portvakt-party").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_carry_neither_identity_nor_framing() {
    let (world, token) = start("").await;
    let names = "x-checksum, portvakt-party, portvakt_party, authorization, host, x-forwarded-for, \
                 x-original-url, content-length, transfer-encoding, cookie";
    let trailers: Vec<String> =
        names.split(',').map(|name| format!("{}: 1\r\n", name.trim())).collect();
    let trailers = trailers.concat();
    let ask = Ask::new("POST", "/v1/parties/310000507/returns")
        .bearer(&token)
        .header("TE", "trailers")
        .header("Trailer", names)
        .header("Transfer-Encoding", "chunked")
        .bytes(format!("2\r\n{{}}\r\n0\r\n{trailers}\r\n"));
    let received = through(&world, ask).await;
    assert_eq!(received.body, "{}");
    assert_eq!(received.trailers, pairs(&[("x-checksum", "1")]));
    // A token in a trailer comes too late to be one.
    let late = Ask::new("POST", "/v1/parties/310000507/returns")
        .header("Transfer-Encoding", "chunked")
        .header("Trailer", "Authorization")
        .bytes(format!("2\r\n{{}}\r\n0\r\nAuthorization: Bearer {token}\r\n\r\n"));
    assert_eq!(world.ask(&late).await.status, 401);
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_field_names_another_method_or_address_than_the_request_line() {
    let (world, token) = start("").await;
    let names = [
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "x_http_method_override",
        "X-Original-URL",
        "X-Original-URI",
        "X-Original-Method",
        "x_original_url",
        "X-Rewrite-URL",
        "X.Rewrite.URL",
        "content_length",
        "transfer_encoding",
        "Authorization_",
        "Host.",
    ];
    let ask = names.iter().fold(Ask::get(READ).bearer(&token), |ask, name| ask.header(name, "7"));
    let received = through(&world, ask.header("X-Request-Id", "kept")).await;
    assert_eq!((received.method.as_str(), received.target.as_str()), ("GET", READ));
    assert_eq!(received.header("x-request-id"), ["kept"]);
    let left: Vec<&str> = received.headers.iter().map(|(name, _)| name.as_str()).collect();
    for name in names.iter().map(|name| name.to_ascii_lowercase()) {
        let stays = matches!(name.as_str(), "authorization_" | "host.");
        assert_eq!(left.contains(&name.as_str()), stays, "{name}");
    }
}

const FORGED: [(&str, &str); 8] = [
    ("X-Forwarded-For", "203.0.113.9"),
    ("X_Forwarded_For", "203.0.113.9"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "public.example.test"),
    ("X-Forwarded-Prefix", "/api"),
    ("Forwarded", "for=203.0.113.9"),
    ("X-Real-IP", "203.0.113.9"),
    ("True-Client-IP", "203.0.113.9"),
];

fn forged(target: &str) -> Ask {
    let ask = Ask::get(target).header("Host", "api.example.test");
    FORGED.iter().fold(ask, |ask, (name, value)| ask.header(name, value))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_cannot_say_where_it_comes_from() {
    let (world, _) = start("").await;
    let received = through(&world, forged("/open/x")).await;
    assert_eq!(received.header("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(received.header("x-forwarded-proto"), ["http"]);
    assert_eq!(received.header("x-forwarded-host"), ["api.example.test"]);
    for name in
        ["x_forwarded_for", "x-forwarded-prefix", "forwarded", "x-real-ip", "true-client-ip"]
    {
        assert!(received.header(name).is_empty(), "{name}: {received:?}");
    }
    assert_eq!(received.header("host"), ["api.example.test"], "preserve_host is the default");
    let record = world.proxy.audit_records(1).await.remove(0);
    assert_eq!(record["peer"], "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_peer_is_believed_and_added_to() {
    let sections = "forwarded: { rfc7239: true, trusted_peers: [\"127.0.0.0/8\"] }";
    let (world, _) = start(sections).await;
    let ask = forged("/open/x").header("X-Forwarded-For", "198.51.100.7");
    let received = through(&world, ask).await;
    assert_eq!(received.header("x-forwarded-for"), ["203.0.113.9, 198.51.100.7, 127.0.0.1"]);
    assert_eq!(received.header("x-forwarded-proto"), ["https"]);
    assert_eq!(received.header("x-forwarded-host"), ["public.example.test"]);
    assert_eq!(
        received.header("forwarded"),
        ["for=203.0.113.9, for=127.0.0.1;host=\"api.example.test\";proto=http"]
    );
    assert_eq!(received.header("x-real-ip"), ["203.0.113.9"]);
    assert!(received.header("x_forwarded_for").is_empty(), "plain names only");
    let spoofed = through(&world, Ask::get("/open/x").header("Portvakt-Party", "1")).await;
    assert!(
        spoofed.header("portvakt-party").is_empty(),
        "trust is for addresses, not for identity"
    );
    // The peer is who is connected, whatever it tells of others.
    let record = world.proxy.audit_records(1).await.remove(0);
    assert_eq!(record["peer"], "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_outside_the_trusted_networks_stays_a_stranger() {
    let sections =
        "forwarded: { x_forwarded: false, rfc7239: true, trusted_peers: [\"10.0.0.0/8\"] }";
    let (world, _) = start(sections).await;
    let received = through(&world, forged("/open/x")).await;
    assert_eq!(
        received.header("forwarded"),
        ["for=127.0.0.1;host=\"api.example.test\";proto=http"]
    );
    for name in ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip"] {
        assert!(received.header(name).is_empty(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_cannot_name_away_what_is_judged_or_set() {
    let (world, token) =
        start("freshness: { read: { max_age: 0s }, write: { max_age: 0s } }").await;
    let judged = "Authorization, Host, portvakt-party, portvakt-system-user, x-party-org, X-Forwarded-For, X-Gone";
    let ask = Ask::get("/v1/mine").bearer(&token).header("X-Party-Org", seed::BAKKEN);
    let received = through(&world, ask.header("X-Gone", "1").header("Connection", judged)).await;
    let bearer = format!("Bearer {token}");
    assert_eq!(received.header("authorization"), [bearer.as_str()]);
    assert_eq!(received.header("x-party-org"), [seed::BAKKEN]);
    assert_eq!(received.header("portvakt-party"), [seed::BAKKEN]);
    assert_eq!(received.header("portvakt-system-user"), [seed::BAKKEN_USER]);
    assert_eq!(received.header("x-forwarded-for"), ["127.0.0.1"]);
    assert!(received.header("x-gone").is_empty(), "what it may name away is gone");
    assert!(received.header("connection").is_empty());

    let framed = Ask::new("POST", "/v1/parties/310000507/returns").bearer(&token).body("{}");
    let framed =
        framed.header("Connection", "content-length, content-type").header("Content-Type", "a/b");
    let received = through(&world, framed).await;
    assert_eq!((received.header("content-length"), received.body.len()), (vec!["2"], 2));
    assert_eq!(received.header("content-type"), ["a/b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_one_connection_stay_on_it_both_ways() {
    let (world, _) = start("").await;
    let ask = Ask::get("/open/x")
        .header("Connection", "keep-alive, upgrade, X-Hop")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Authorization", "Basic eDp5")
        .header("Proxy-Connection", "keep-alive")
        .header("TE", "gzip, trailers")
        .header("Upgrade", "h2c")
        .header("HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA")
        .header("X-Hop", "1")
        .header("X-End", "1");
    let received = through(&world, ask).await;
    for name in [
        "connection",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "upgrade",
        "http2-settings",
        "x-hop",
    ] {
        assert!(received.header(name).is_empty(), "{name}: {received:?}");
    }
    assert_eq!(received.header("te"), ["trailers"]);
    assert_eq!(received.header("x-end"), ["1"]);

    let answers = canned(
        b"HTTP/1.1 200 OK\r\nConnection: close, X-Hop, Content-Length\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\n\
          Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\nX-End: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
          Content-Length: 2\r\n\r\nok",
    );
    let (world, _) = start_to(&answers).await;
    let answer = world.ask(&Ask::get("/open/x")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    for name in ["keep-alive", "x-hop", "proxy-authenticate", "upgrade"] {
        assert_eq!(answer.header(name), None, "{name}: {answer:?}");
    }
    assert_eq!(answer.header("x-end"), Some("1"));
    let cookies = answer.headers.iter().filter(|(name, _)| name == "set-cookie").count();
    assert_eq!(cookies, 2, "{answer:?}");
    assert!(!answer.headers.iter().any(|(name, _)| name.starts_with("portvakt")), "{answer:?}");
}

/// A world whose upstream is at `address`.
async fn start_to(address: &str) -> (World, String) {
    let sandbox = portvakt_sandbox::Sandbox::start(portvakt_sandbox::SandboxOptions::default());
    let sandbox = sandbox.await.expect("the sandbox starts");
    let upstream = support::upstream::Upstream::start().await;
    let config =
        support::config(&sandbox, &format!("upstream: {{ url: \"http://{address}\" }}"), "");
    let world = World::start_config(sandbox, upstream, &config).await;
    let token = world.token(seed::BAKKEN).await;
    (world, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_and_a_host_go_only_where_the_upstream_is_to_have_them() {
    let sandbox = portvakt_sandbox::Sandbox::start(portvakt_sandbox::SandboxOptions::default());
    let sandbox = sandbox.await.expect("the sandbox starts");
    let upstream = support::upstream::Upstream::start().await;
    let url = upstream.url();
    let section = format!(
        "upstream: {{ url: \"{url}\", forward_authorization: false, preserve_host: false }}"
    );
    let config = support::config(&sandbox, &section, "");
    let world = World::start_config(sandbox, upstream, &config).await;
    let token = world.token(seed::BAKKEN).await;
    let ask = Ask::get(READ).bearer(&token).header("Host", "api.example.test");
    let received = through(&world, ask).await;
    assert!(received.header("authorization").is_empty());
    assert_eq!(received.header("host"), [url.trim_start_matches("http://")]);
    assert_eq!(received.header("x-forwarded-host"), ["api.example.test"]);
    let everything = format!("{received:?}");
    assert!(!everything.contains(&token), "the token under another name: {everything}");
}

/// Targets that some server reads otherwise than another. Threats 25–27.
const AMBIGUOUS: [(&str, &str, &str); 33] = [
    ("out of the open tree", "dot_segment", "/open/../v1/mine"),
    ("to the same place", "dot_segment", "/open/./x"),
    ("at the end", "dot_segment", "/open/x/.."),
    ("encoded", "dot_segment", "/open/%2e%2e/v1/mine"),
    ("half encoded", "dot_segment", "/open/.%2E/v1/mine"),
    ("encoded twice", "encoded_delimiter", "/open/%252e%252e/v1/mine"),
    ("encoded in UTF-8 too long", "percent_sequence", "/open/%c0%ae%c0%ae/v1/mine"),
    ("beside text", "encoded_delimiter", "/open/a%2eb"),
    ("with a parameter", "path_character", "/open/..;/v1/mine"),
    ("with an encoded parameter", "encoded_delimiter", "/open/..%3b/v1/mine"),
    ("an encoded slash", "encoded_delimiter", "/open/a%2fb"),
    ("an encoded slash in capitals", "encoded_delimiter", "/open/a%2Fb"),
    ("an encoded slash, twice", "encoded_delimiter", "/open/a%252fb"),
    ("an encoded backslash", "encoded_delimiter", "/open/a%5cb"),
    ("a slash in UTF-8 too long", "percent_sequence", "/open/a%c0%afb"),
    ("a full-width slash", "percent_sequence", "/open/a%ef%bc%8f%2"),
    ("a NUL", "encoded_delimiter", "/open/a%00"),
    ("a line break", "encoded_delimiter", "/open/a%0d%0ab"),
    ("a tabulator", "encoded_delimiter", "/open/a%09b"),
    ("a delete", "encoded_delimiter", "/open/a%7fb"),
    ("an encoded question mark", "encoded_delimiter", "/open/a%3fb"),
    ("an encoded number sign", "encoded_delimiter", "/open/a%23b"),
    ("a parameter", "path_character", "/open/a;jsessionid=1"),
    ("a parameter in the party", "path_character", "/v1/parties/310000507;x/returns/7"),
    ("a doubled slash", "empty_segment", "/open//x"),
    ("a doubled slash first", "empty_segment", "//v1/mine"),
    ("a doubled slash that may be a host", "empty_segment", "//other.example.test/open/x"),
    ("half a sequence", "percent_sequence", "/open/a%"),
    ("no hexadecimal digits", "percent_sequence", "/open/a%gg"),
    ("UTF-16", "percent_sequence", "/open/a%u002fb"),
    ("bytes that are not UTF-8", "percent_sequence", "/open/a%ff"),
    ("an encoded letter in fixed text", "encoded_delimiter", "/%6fpen/x"),
    ("an encoded digit in the party", "encoded_delimiter", "/v1/parties/31000050%37/returns/7"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_can_be_read_in_two_ways_is_refused_and_others_go_on_byte_for_byte() {
    let (world, token) = start("").await;
    for (why, reason, target) in AMBIGUOUS {
        let answer = world.ask(&Ask::get(target).bearer(&token)).await;
        assert_eq!(answer.status, 400, "{why}: {target}: {}", answer.text());
        assert_eq!(answer.json()["reason"], reason, "{why}: {target}");
    }
    // Refused by the HTTP library already, without a word of ours: a target is visible ASCII.
    for (why, target) in [
        ("a raw backslash", "/open\\..\\v1/mine"),
        ("raw bytes beyond ASCII", "/open/\u{e6}"),
        ("a raw quote", "/open/\"x"),
        ("a raw brace", "/open/{x}"),
    ] {
        let answer = world.ask(&Ask::get(target).bearer(&token)).await;
        assert!(matches!(answer.status, 400 | 404), "{why}: {}", answer.status);
    }
    assert_eq!(world.upstream.count(), 0);
    for target in [
        "/open/a%20b",
        "/open/%c3%a6",
        "/open/a+b,c=d:e@f!$&'()*~_-.",
        "/open/x/",
        "/open/...",
        "/open/x?a=/../b&c=%2e%2e;d//e\\?",
        "/open/x?",
    ] {
        assert_eq!(through(&world, Ask::get(target)).await.target, target);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_names_a_path_on_the_host_that_was_asked() {
    let (world, token) = start("").await;
    let host = world.proxy.address().to_owned();
    let bare = |target: &str| Ask::get(target).bearer(&token);
    let hosted = |host: &str| Ask::get("/open/x").header("Host", host);
    for (why, reason, ask) in [
        ("another host", "target_form", bare("http://other.example.test/open/x")),
        ("another port", "target_form", bare("http://127.0.0.1:1/open/x")),
        ("a user", "target_form", bare(&format!("http://u@{host}/open/x"))),
        ("another scheme", "target_form", bare(&format!("ftp://{host}/open/x"))),
        ("all of the server", "target_form", Ask::new("OPTIONS", "*")),
        ("a tunnel", "method", Ask::new("CONNECT", "other.example.test:443")),
        ("an echo", "method", Ask::new("TRACE", "/open/x")),
        ("two hosts", "host", hosted(&host).header("Host", "other.example.test")),
        ("two equal hosts", "host", hosted(&host).header("Host", &host)),
        ("an empty host", "host", hosted("")),
        ("a list of hosts", "host", hosted("a.example.test, b.example.test")),
        ("a host with a path", "host", hosted("a.example.test/open")),
        ("a host with a user", "host", hosted("u@a.example.test")),
        ("a host with a space", "host", hosted("a b")),
    ] {
        let answer = world.ask(&ask).await;
        assert_eq!(answer.status, 400, "{why}: {}", answer.text());
        assert_eq!(answer.json()["reason"], reason, "{why}");
    }
    let mut raw = Raw::connect(&host).await;
    raw.send_bytes(b"GET /open/x HTTP/1.1\r\n\r\n").await;
    let answer = raw.answer("GET").await.expect("an answer");
    assert_eq!((answer.status, answer.json()["reason"].as_str()), (400, Some("host")), "no host");
    // A bare word as a target is a host and port to HTTP, never a path.
    let answer = world.ask(&Ask::get("open/x")).await;
    assert_eq!(answer.status, 400, "no slash");
    assert_eq!(world.upstream.count(), 0);

    let absolute = through(&world, bare(&format!("http://{host}/open/x?a=1"))).await;
    assert_eq!(absolute.target, "/open/x?a=1", "origin form towards the upstream");
    assert_eq!(absolute.header("host"), [host.as_str()]);
    through(&world, hosted("a.example.test:8080")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fragment_is_neither_judged_nor_forwarded() {
    let (world, _) = start("").await;
    let received = through(&world, Ask::get("/open/x#/../../v1/mine")).await;
    assert_eq!(received.target, "/open/x");
    let received = through(&world, Ask::get("/open/x?a=1#b")).await;
    assert_eq!(received.target, "/open/x?a=1");
    // The fragment cannot hide that the path has no token.
    let answer = world.ask(&Ask::get("/v1/mine#/open/x")).await;
    assert_eq!(answer.status, 401);
    assert_eq!(world.upstream.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_connection_are_judged_each_on_its_own() {
    let (world, token) = start("").await;
    let with = Ask::get(READ).bearer(&token);
    let without = Ask::get(READ);
    let host = world.proxy.address().to_owned();
    let mut raw = Raw::connect(&host).await;
    let all =
        [with.wire(&host), without.wire(&host), with.wire(&host), without.wire(&host)].concat();
    raw.send_bytes(&all).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(raw.answer("GET").await.expect("an answer").status);
    }
    assert_eq!(statuses, [200, 401, 200, 401]);
    assert_eq!(world.upstream.count(), 2);
    let records = world.proxy.audit_records(4).await;
    let named = |record: &serde_json::Value| record["system_user"].is_string();
    assert_eq!(records.iter().map(named).collect::<Vec<_>>(), [true, false, true, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_of_a_refused_request_is_never_read_as_a_request() {
    let (world, token) = start("limits: { body_bytes: 64KiB, party_body_bytes: 1KiB }").await;
    let host = world.proxy.address().to_owned();
    let hidden = Ask::get("/open/hidden").wire(&host);
    let text = String::from_utf8(hidden.clone()).unwrap();
    let post = |target: &str| Ask::new("POST", target);
    let chunk = format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
    let long = format!("{text}{}", "x".repeat(60 * 1024));
    let json = |ask: Ask| ask.bearer(&token).header("Content-Type", "application/json");
    for (why, status, ask) in [
        ("no token", 401, post("/v1/form").body(&text)),
        ("no token, a long body", 401, post("/v1/form").body(&long)),
        (
            "no token, in chunks",
            401,
            post("/v1/form").header("Transfer-Encoding", "chunked").bytes(&chunk),
        ),
        ("no route", 404, post("/nowhere").body(&text)),
        ("a method without a body", 401, Ask::get("/v1/mine").body(&text)),
        ("no party in it", 400, json(post("/v1/json/310000507")).body(&text)),
        ("too long for a party", 413, json(post("/v1/json/310000507")).body(&long)),
        ("too long at all", 413, post("/open/x").header("Content-Length", "99999999").bytes(&text)),
        (
            "asked whether to go on, and not told to",
            401,
            post("/v1/form").header("Expect", "100-continue").body(&text),
        ),
        (
            "not all of it came",
            401,
            post("/v1/form").header("Content-Length", &(text.len() + 10).to_string()).bytes(&text),
        ),
    ] {
        let mut raw = Raw::connect(&host).await;
        raw.send(&ask).await;
        let answer = raw.answer("POST").await.expect("an answer");
        assert_eq!(answer.status, status, "{why}: {}", answer.text());
        // What follows the body is the next request, or nobody reads it any more.
        raw.send(&Ask::get("/open/next").header("Connection", "close")).await;
        let next = raw.answer("GET").await;
        assert!(next.is_none_or(|next| next.status == 200), "{why}");
        assert!(raw.answer("GET").await.is_none(), "{why}: one answer too many");
        let targets: Vec<String> =
            world.upstream.received().into_iter().map(|one| one.target).collect();
        assert!(targets.iter().all(|target| target == "/open/next"), "{why}: {targets:?}");
    }
    wait_until("nothing is left in flight", async || {
        world.proxy.metric("portvakt_requests_in_flight").await == 0.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_end_is_in_doubt_hides_no_second_one() {
    let (world, _) = start("").await;
    let host = world.proxy.address().to_owned();
    let hidden = format!("GET /open/hidden HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let post = |fields: &str, rest: &str| {
        format!("POST /open/x HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n{rest}").into_bytes()
    };
    let empty = format!("0\r\n\r\n{hidden}");
    for (why, bytes) in [
        ("both lengths", post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", &empty)),
        (
            "both lengths, the other way",
            post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", &empty),
        ),
        ("two lengths", post("Content-Length: 0\r\nContent-Length: 60\r\n", &hidden)),
        ("a list of lengths", post("Content-Length: 0, 60\r\n", &hidden)),
        ("a signed length", post("Content-Length: +0\r\n", &hidden)),
        ("a length in C", post("Content-Length: 0x0\r\n", &hidden)),
        ("chunked, but not last", post("Transfer-Encoding: chunked, identity\r\n", &empty)),
        ("chunked twice", post("Transfer-Encoding: chunked, chunked\r\n", &empty)),
        (
            "chunked in two fields",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", &empty),
        ),
        ("a coding before it", post("Transfer-Encoding: gzip, chunked\r\n", &empty)),
        (
            "chunked in two equal fields",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", &empty),
        ),
        ("a coding of nobody", post("Transfer-Encoding: xchunked\r\n", &empty)),
        ("a space before the colon", post("Transfer-Encoding : chunked\r\n", &empty)),
        ("a folded field", post("Transfer-Encoding:\r\n chunked\r\n", &empty)),
        ("a bare CR", post("X: 1\rTransfer-Encoding: chunked\r\n", &empty)),
    ] {
        let mut raw = Raw::connect(&host).await;
        raw.send_bytes(&bytes).await;
        let answer = raw.answer("POST").await.expect("an answer");
        let next = raw.answer("GET").await;
        let targets: Vec<String> =
            world.upstream.received().into_iter().map(|one| one.target).collect();
        assert!(!targets.iter().any(|target| target == "/open/hidden"), "{why}: {targets:?}");
        assert!(next.is_none(), "{why}: {} and then {next:?}", answer.status);
        for one in world.upstream.received() {
            let lengths =
                (one.header("content-length").len(), one.header("transfer-encoding").len());
            assert!(lengths.0 + lengths.1 <= 1, "{why}: {one:?}");
        }
    }
    // The neighbour: two requests whose ends are not in doubt.
    let mut raw = Raw::connect(&host).await;
    raw.send_bytes(&post("Transfer-Encoding: chunked\r\n", &empty)).await;
    assert_eq!(raw.answer("POST").await.expect("an answer").status, 200);
    assert_eq!(raw.answer("GET").await.expect("an answer").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_points_elsewhere_is_passed_on_and_not_followed() {
    let there = canned(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let text =
        format!("HTTP/1.1 302 Found\r\nLocation: http://{there}/\r\nContent-Length: 0\r\n\r\n");
    let here = canned(Box::leak(text.into_bytes().into_boxed_slice()));
    let (world, _) = start_to(&here).await;
    let answer = world.ask(&Ask::get("/open/x")).await;
    assert_eq!(answer.status, 302);
    assert_eq!(answer.header("location"), Some(format!("http://{there}/").as_str()));
}

/// With a length and `chunked` beside it two readers find two ends: here one would read on after `hello`.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_two_ends_is_no_answer() {
    let two = canned(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n",
    );
    let (world, _) = start_to(&two).await;
    assert_eq!(world.ask(&Ask::get("/open/x")).await.status, 502);
    let one = canned(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n",
    );
    let (world, _) = start_to(&one).await;
    let answer = world.ask(&Ask::get("/open/x")).await;
    assert_eq!(answer.status, 200);
}

/// The HTTP library frames no body of unknown length with GET unless it is told to.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_chunks_arrives_with_any_method() {
    let (world, _) = start("").await;
    for method in ["GET", "POST", "PUT"] {
        let ask = Ask::new(method, "/open/x").header("Transfer-Encoding", "chunked");
        let received = through(&world, ask.bytes("5\r\nhello\r\n0\r\n\r\n")).await;
        assert_eq!((received.method.as_str(), &received.body[..]), (method, &b"hello"[..]));
    }
}

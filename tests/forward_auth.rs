//! Mode forward-auth: another proxy asks, and forwards itself. The same requests come out as they do where the
//! program forwards them; what it would remove there it refuses here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod support;

use serde_json::Value;
use std::process::{Child, Command, Stdio};
use support::raw::{self, Answer, Ask};
use support::{Proxy, ROUTES, World, config, own_key, seed, wait_until};

const READ: &str = "/v1/parties/310000507/returns/7";

/// The usual routes, those apart that only a proxy on the way can serve.
fn routes() -> String {
    let served =
        |route: &&str| !["json:", "form:", "upgrades:"].iter().any(|key| route.contains(key));
    ROUTES.trim_end().split("\n  - ").filter(served).collect::<Vec<_>>().join("\n  - ")
}

/// A program beside the world's own, that is asked.
async fn asked(world: &World, more: &str) -> Proxy {
    let sections = format!(
        "listen: {{ address: \"127.0.0.1:0\", workers: 2, forward_auth: {{ {more} }} }}\nroutes:{}\n",
        routes()
    );
    let config = config(&world.sandbox, "", &sections);
    let proxy = Proxy::start(&config, &[("PROXY_JWK", &own_key(&world.sandbox).await)]);
    proxy.wait_until_ready().await;
    proxy
}

const HERE: &str = "trusted_peers: [\"127.0.0.1/32\"]";

/// The question about a request, on a path that no route has.
fn question(method: &str, target: &str) -> Ask {
    Ask::get("/asked").header("X-Forwarded-Method", method).header("X-Forwarded-Uri", target)
}

/// `name: value` of every header of ours that says who may do what, and not how that came to be known.
fn evidence(headers: &[(String, String)]) -> Vec<(String, String)> {
    const HOW: [&str; 3] = ["portvakt-age", "portvakt-source", "portvakt-policy-version"];
    let ours = |(name, value): &&(String, String)| {
        name.starts_with("portvakt-") && !HOW.contains(&name.as_str()) && !value.is_empty()
    };
    let mut found: Vec<_> = headers.iter().filter(ours).cloned().collect();
    found.sort();
    found
}

/// What a record says of the judging.
fn judged(record: &Value) -> Vec<Value> {
    [
        "method",
        "route",
        "template",
        "answer",
        "code",
        "reason",
        "party",
        "system_user",
        "resource",
        "action",
    ]
    .map(|field| record[field].clone())
    .into()
}

/// Method, target, header fields, and the status of both.
type Row = (&'static str, &'static str, Vec<(&'static str, String)>, u16);

#[tokio::test(flavor = "multi_thread")]
async fn a_question_comes_out_as_the_request_itself() {
    let world =
        World::start_with("freshness: { read: { max_age: 0s }, write: { max_age: 0s } }\n").await;
    let beside = asked(&world, HERE).await;
    let good = world.token(seed::BAKKEN).await;
    let strand = world.token(seed::STRAND).await;
    let bearer = |token: &str| vec![("Authorization", format!("Bearer {token}"))];
    let table: Vec<Row> = vec![
        ("GET", READ, bearer(&good), 200),
        ("HEAD", READ, bearer(&good), 200),
        ("POST", "/v1/parties/310000507/returns", bearer(&good), 200),
        ("GET", "/v1/returns?party=310000507", bearer(&good), 200),
        ("GET", "/v1/own", bearer(&good), 200),
        ("GET", "/v1/scopes", bearer(&good), 200),
        ("GET", "/open/x?y", vec![], 200),
        (
            "GET",
            "/v1/mine",
            [bearer(&good), vec![("X-Party-Org", "310000507".into())]].concat(),
            200,
        ),
        ("GET", "/v1/mine", bearer(&good), 400),
        ("GET", READ, vec![], 401),
        ("GET", READ, bearer("a.b.c"), 401),
        ("GET", READ, [bearer(&good), bearer(&good)].concat(), 400),
        ("POST", "/v1/parties/310000604/claims", bearer(&strand), 403),
        ("PUT", "/v1/parties/310000507/archive", bearer(&good), 403),
        ("GET", "/v1/parties/310000507/shielded", bearer(&good), 403),
        ("GET", "/v1/parties/310000508/returns/7", bearer(&good), 400),
        ("GET", "/v1/returns?party=310000507&party=310000604", bearer(&good), 400),
        ("GET", "/v1/parties/310000507/returns/../returns/7", bearer(&good), 400),
        ("GET", "/v1/parties/310000507//returns/7", bearer(&good), 400),
        ("GET", "/nowhere", bearer(&good), 404),
        ("DELETE", READ, bearer(&good), 404),
        ("TRACE", READ, bearer(&good), 400),
        ("GET", "/V1/parties/310000507/returns/7", bearer(&good), 404),
    ];
    for (number, (method, target, headers, status)) in table.iter().enumerate() {
        let with = |ask: Ask| {
            let trace = format!("00-{number:032x}-00f067aa0ba902b7-01").replace("-0000", "-abcd");
            let ask = ask.header("traceparent", &trace);
            headers.iter().fold(ask, |ask, (name, value)| ask.header(name, value))
        };
        let shown = format!("{method} {target}");
        let forwarded = world.upstream.count();
        let request = world.ask(&with(Ask::new(method, target))).await;
        let reached = world.upstream.count();
        let answer = raw::ask(beside.address(), &with(question(method, target))).await;
        assert_eq!((request.status, answer.status), (*status, *status), "{shown}");
        assert_eq!(world.upstream.count(), reached, "nothing is forwarded: {shown}");
        let (before, after) = (records(&world.proxy, number).await, records(&beside, number).await);
        assert_eq!(judged(&before), judged(&after), "{shown}");
        assert_eq!((&before["mode"], &after["mode"]), (&"proxy".into(), &"forward_auth".into()));
        if *status == 200 {
            assert_eq!(reached, forwarded + 1, "{shown}");
            let told = evidence(&world.upstream.last().headers);
            assert_eq!(evidence(&answer.headers), told, "{shown}");
            assert!(!told.is_empty());
        } else {
            assert_eq!(reached, forwarded, "{shown}");
            assert_eq!(request.header("www-authenticate"), answer.header("www-authenticate"));
            let same = ["type", "reason", "requiredScopes", "remedy", "title"];
            if *method != "HEAD" {
                let (one, other) = (request.json(), answer.json());
                assert!(same.iter().all(|name| one[name] == other[name]), "{one} {other}");
            }
            assert_eq!(ours(&answer), 0, "a refusal names nobody: {shown}");
        }
    }
}

fn ours(answer: &Answer) -> usize {
    answer.headers.iter().filter(|(name, _)| name.starts_with("portvakt")).count()
}

/// The record of the ask with this number, which is its trace.
async fn records(proxy: &Proxy, number: usize) -> Value {
    let trace = format!("{number:032x}").replacen("0000", "abcd", 1);
    wait_until("a record", async || proxy.audit_record(&trace).is_some()).await;
    proxy.audit_record(&trace).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_tells_every_name_and_a_refusal_is_never_a_200() {
    let world = World::start().await;
    let beside = asked(&world, HERE).await;
    let ask = async |ask: Ask| raw::ask(beside.address(), &ask).await;
    // What a client made up is replaced where the proxy copies: there is no name that we leave out.
    let open = ask(question("GET", "/open/x").header("Portvakt-Party", "310000604")).await;
    assert_eq!((open.status, open.header("portvakt-party")), (200, Some("")));
    assert_eq!(open.header("portvakt-client-subject"), Some(""));
    assert_eq!(open.header("portvakt-access"), Some("anonymous"));
    assert_eq!(ours(&open), 15);
    assert_eq!(open.header("cache-control"), Some("no-store"));
    // A caller of gRPC knows a refusal as 200 with a status behind; whoever asks would take it for leave.
    let grpc = |target: &str| question("GET", target).header("Content-Type", "application/grpc");
    assert_eq!(ask(grpc("/open/x")).await.status, 200);
    let refused = ask(grpc(READ)).await;
    assert_eq!((refused.status, refused.header("grpc-status")), (401, None));
    assert_eq!(refused.json()["type"], "urn:portvakt:problem:token_missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_removed_on_the_way_or_is_not_seen_refuses() {
    let world = World::start().await;
    let beside = asked(&world, HERE).await;
    let good = world.token(seed::BAKKEN).await;
    let ask = async |ask: Ask| {
        let answer = raw::ask(beside.address(), &ask.bearer(&good)).await;
        let reason = (answer.status != 200).then(|| answer.json()["reason"].clone());
        (answer.status, reason.unwrap_or_default())
    };
    let read = || question("GET", READ);
    for same in [
        read().header("X-HTTP-Method-Override", "GET"),
        read().header("X-Original-URL", &format!("https://api.test{READ}")),
        read().header("X-Original-URI", READ),
        read().header("Content-Type", "application/json"),
    ] {
        assert_eq!(ask(same.clone()).await, (200, Value::Null), "{same:?}");
    }
    for other in [
        read().header("X-HTTP-Method-Override", "DELETE"),
        read().header("X-Original-URL", "/v1/parties/310000604/returns/7"),
        read().header("X-Original-URI", "/open/x"),
        read().header("portvakt_party", "310000604"),
    ] {
        assert_eq!(ask(other.clone()).await, (400, "override".into()), "{other:?}");
    }
    for less in [
        Ask::get(READ),
        Ask::get(READ).header("X-Forwarded-Method", "GET"),
        Ask::get(READ).header("X-Forwarded-Uri", READ),
        read().header("X-Forwarded-Uri", "/open/x"),
        read().header("X-Forwarded-Uri", READ),
        question("GET", "/open/x#/v1"),
        question("GET", "https://api.test/open/x"),
    ] {
        assert_eq!(ask(less.clone()).await, (400, "question".into()), "{less:?}");
    }
    // A form might name another party, and nobody shows it.
    let form = question("POST", "/v1/parties/310000507/returns")
        .header("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(ask(form).await, (400, "body_unseen".into()));
    let json = question("POST", "/v1/parties/310000507/returns")
        .header("Content-Type", "application/json");
    assert_eq!(ask(json).await.0, 200);
    // A body that comes all the same is not read, and nothing behind it is taken for a question.
    let smuggled = question("GET", "/open/x").body("GET /open/y HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = raw::ask(beside.address(), &smuggled).await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_peers_are_those_of_the_configuration() {
    let world = World::start().await;
    let nginx = "trusted_peers: [\"127.0.0.0/8\"], method_header: X-Original-Method, uri_header: X-Original-URI";
    let (named, elsewhere) =
        (asked(&world, nginx).await, asked(&world, "trusted_peers: [\"192.0.2.0/24\"]").await);
    let own =
        || Ask::get("/").header("X-Original-Method", "GET").header("X-Original-URI", "/open/x");
    let ask = async |proxy: &Proxy, ask: Ask| {
        let answer = raw::ask(proxy.address(), &ask).await;
        let reason = (answer.status != 200).then(|| answer.json()["reason"].clone());
        (answer.status, reason.unwrap_or_default())
    };
    assert_eq!(ask(&named, own()).await, (200, Value::Null));
    assert_eq!(ask(&named, question("GET", "/open/x")).await, (400, "question".into()));
    // The proxy sets its own two, and lets a client's other two through.
    let both = own().header("X-Forwarded-Uri", "/open/y").header("X-Forwarded-Method", "GET");
    assert_eq!(ask(&named, both).await, (400, "override".into()));
    assert_eq!(ask(&elsewhere, question("GET", "/open/x")).await, (400, "untrusted_peer".into()));
    assert_eq!(ask(&elsewhere, Ask::get("/open/x")).await, (400, "untrusted_peer".into()));
    let records = elsewhere.audit_records(2).await;
    assert!(records.iter().all(|record| record["answer"] == "not_asked"), "{records:?}");
}

/// nginx as `docs/service-owner.md` sets it up.
struct Nginx {
    child: Child,
    folder: tempfile::TempDir,
}

impl Nginx {
    /// `None` where there is no nginx.
    async fn start(portvakt: &str, upstream: &str) -> Option<Self> {
        let document = include_str!("../docs/service-owner.md");
        let block = document.split("```nginx\n").nth(1).and_then(|rest| rest.split("```").next());
        let block = block.expect("an example for nginx");
        let block = block.replace("127.0.0.1:8080", portvakt).replace("127.0.0.1:3000", upstream);
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path().display();
        let places: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {at}/{name};\n"))
            .concat();
        let text = format!(
            "daemon off; master_process off; pid {at}/pid; error_log stderr notice;\nevents {{}}\n\
             http {{ access_log off;\n{places}server {{ listen unix:{at}/front;\n{block}}} }}\n"
        );
        std::fs::write(folder.path().join("nginx.conf"), text).expect("written");
        let config = folder.path().join("nginx.conf");
        let mut command = Command::new("nginx");
        command.arg("-e").arg("stderr").arg("-c").arg(config).stderr(Stdio::null());
        let child = command.spawn().ok()?;
        let front = folder.path().join("front");
        wait_until("nginx", async || tokio::net::UnixStream::connect(&front).await.is_ok()).await;
        Some(Self { child, folder })
    }

    async fn ask(&self, ask: &Ask) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let front = self.folder.path().join("front");
        let mut stream = tokio::net::UnixStream::connect(front).await.expect("a connection");
        let ask = ask.clone().header("Connection", "close");
        stream.write_all(&ask.wire("api.test")).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_asks_as_the_document_says() {
    let world = World::start().await;
    let beside = asked(&world, HERE).await;
    let upstream = world.upstream.url().replace("http://", "");
    let Some(nginx) = Nginx::start(beside.address(), &upstream).await else {
        return support::skipped("nginx is not installed");
    };
    let good = world.token(seed::BAKKEN).await;
    let forged = Ask::get(READ).bearer(&good).header("Portvakt-Party", "310000604");
    let answer = nginx.ask(&forged).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let received = world.upstream.last();
    assert_eq!(received.target, READ);
    assert_eq!(received.header("portvakt-party"), ["310000507"]);
    assert_eq!(received.header("portvakt-system-user"), [seed::BAKKEN_USER]);
    // A client's own word for the target is overwritten in the question.
    let lies =
        Ask::get(READ).header("X-Forwarded-Uri", "/open/x").header("X-Forwarded-Method", "GET");
    let answer = nginx.ask(&lies).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("www-authenticate: bearer"), "{answer}");
    let answer = nginx
        .ask(&Ask::new("POST", "/v1/parties/310000507/returns").bearer(&good).body("{}"))
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!((world.upstream.count(), &world.upstream.last().body[..]), (2, &b"{}"[..]));
    let answer = nginx.ask(&Ask::get("/v1/parties/310000604/returns/7").bearer(&good)).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert_eq!(world.upstream.count(), 2);
}

//! Every refusal, from the client's side of the socket to the operator's: what the caller is told and in
//! which language, what is counted, what is recorded, and that the upstream saw nothing.
//!
//! One table. Each case names why it is refused and has a neighbour that is let through.
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

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portvakt::enforce::rejection::Code;
use portvakt_sandbox::{Sandbox, SandboxOptions};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::raw::{Answer, Ask, Raw};
use support::upstream::{Upstream, canned};
use support::{World, config, seed, wait_until};

/// Where a code is provoked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Provoked {
    /// In the table.
    Table,
    /// By a test of its own: the whole program must be in a special state.
    Alone,
    /// Not from outside.
    Never,
}

/// What a caller sees of a code whatever the cause. Written out, so that a new code does not compile
/// before it is thought of here.
struct Face {
    status: u16,
    grpc: &'static str,
    english: &'static str,
    retry_after: bool,
    provoked: Provoked,
}

fn face(code: Code) -> Face {
    use Provoked::{Alone, Never, Table};
    let (status, grpc, english, retry_after, provoked) = match code {
        Code::BadRequest => (400, "3", "The request cannot be read in one way", false, Table),
        Code::TargetTooLong => (414, "8", "Address too long", false, Table),
        Code::HeadersTooLarge => (431, "8", "Header fields too large", false, Table),
        Code::BodyTooLarge => (413, "8", "Body too large", false, Table),
        Code::RequestTimeout => (408, "4", "Request timed out", false, Table),
        Code::Overloaded => (503, "14", "The service is overloaded", true, Alone),
        Code::TooManyRequests => (429, "8", "Too many requests", true, Alone),
        Code::NoRoute => (404, "12", "No such address", false, Table),
        Code::TokenMissing => (401, "16", "No access token", false, Table),
        Code::TokenInvalid => (401, "16", "The access token is not valid", false, Table),
        Code::TokenUnverified => (503, "14", "The token could not be checked now", true, Alone),
        Code::InsufficientScope => (403, "7", "The token lacks a scope", false, Table),
        Code::SystemUserRequired => (403, "7", "The token names no system user", false, Table),
        Code::PartyInvalid => (400, "3", "It is unclear whom the request concerns", false, Table),
        Code::Denied => (403, "7", "Denied by the service owner's rules", false, Table),
        Code::NoRight => (403, "7", "The system user does not hold the right", false, Table),
        Code::CannotDecide => (503, "14", "The right could not be checked now", true, Table),
        Code::UpstreamUnavailable => (502, "14", "The service does not respond", false, Table),
        // tests/transport/circuit.rs
        Code::UpstreamLeftOut => (503, "14", "The service cannot be reached", true, Alone),
        Code::UpstreamTimeout => (504, "4", "The service did not respond in time", false, Table),
        Code::UpstreamBadAnswer => {
            (502, "14", "The service gave an invalid response", false, Table)
        }
        // Comes after the status: see tests/lapse.rs.
        Code::Lapsed => (403, "7", "The access did not last", false, Never),
        // A panic in our own code, or an invariant of the configuration broken: no request leads there.
        Code::Internal => (500, "13", "Internal error", false, Never),
    };
    Face { status, grpc, english, retry_after, provoked }
}

/// One refusal.
struct Case {
    why: &'static str,
    code: Code,
    reason: Option<&'static str>,
    /// The label of the answer: the design's five.
    answer: &'static str,
    route: &'static str,
    ask: Ask,
    /// Lets through what differs in nothing but the cause.
    neighbour: Ask,
    challenge: Option<&'static str>,
    fault: Option<(&'static str, Value)>,
}

fn case(code: Code, why: &'static str, ask: Ask, neighbour: &Ask) -> Case {
    let neighbour = neighbour.clone();
    let (answer, route) = ("not_asked", "none");
    Case { why, code, reason: None, answer, route, ask, neighbour, challenge: None, fault: None }
}

impl Case {
    fn reason(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }

    fn answer(self, answer: &'static str) -> Self {
        Self { answer, ..self }
    }

    fn route(self, route: &'static str) -> Self {
        Self { route, ..self }
    }

    fn challenge(self, challenge: &'static str) -> Self {
        Self { challenge: Some(challenge), ..self }
    }

    fn fault(self, endpoint: &'static str, fault: Value) -> Self {
        Self { fault: Some((endpoint, fault)), ..self }
    }
}

/// How a caller asks to be told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Voice {
    /// No wish: Bokmål.
    Silent,
    Nynorsk,
    English,
    Grpc,
}

impl Voice {
    const ALL: [Self; 4] = [Self::Silent, Self::Nynorsk, Self::English, Self::Grpc];

    fn speak(self, ask: Ask) -> Ask {
        match self {
            Self::Silent => ask,
            Self::Nynorsk => ask.header("Accept-Language", "nn-NO, en;q=0.5"),
            Self::English => ask.header("Accept-Language", "de, en;q=0.8, nb;q=0.7"),
            Self::Grpc => {
                ask.header("Content-Type", "application/grpc").header("Accept-Language", "en")
            }
        }
    }

    fn language(self) -> &'static str {
        match self {
            Self::Silent => "nb",
            Self::Nynorsk => "nn",
            Self::English | Self::Grpc => "en",
        }
    }
}

/// The world, and how much was asked of it.
struct Bench {
    world: World,
    asked: AtomicUsize,
}

impl Bench {
    fn new(world: World) -> Self {
        Self { world, asked: AtomicUsize::new(0) }
    }

    /// Sends a request of its own trace, and gives the answer and the trace id.
    async fn send(&self, ask: Ask) -> (Answer, String) {
        let trace = format!("{:032x}", self.asked.fetch_add(1, Ordering::Relaxed) + 1);
        let ask = ask.header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"));
        (self.world.ask(&ask).await, trace)
    }

    /// Every sample of `portvakt_requests_total`.
    async fn requests(&self) -> BTreeMap<String, u64> {
        let (_, text) = self.world.proxy.admin("/metrics").await;
        let samples = text.lines().filter_map(|line| line.strip_prefix("portvakt_requests_total"));
        samples
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(labels, value)| (labels.to_owned(), value.parse().expect("a count")))
            .collect()
    }

    async fn record(&self, trace: &str) -> Value {
        let find = || self.world.proxy.audit().into_iter().find(|line| line["trace_id"] == trace);
        wait_until("the audit record", async || find().is_some()).await;
        find().expect("it is there")
    }

    /// The refusal, as `voice` asks for it: told, counted and recorded once, and not forwarded.
    async fn refused(&self, case: &Case, voice: Voice) -> Answer {
        let told = format!("{:?}, {}, {voice:?}", case.code, case.why);
        let (before, forwarded) = (self.requests().await, self.world.upstream.count());
        let (answer, trace) = self.send(voice.speak(case.ask.clone())).await;
        let face = face(case.code);
        let label = case.code.label();

        let status = if voice == Voice::Grpc { 200 } else { face.status };
        assert_eq!(answer.status, status, "{told}: {}", answer.text());
        assert_eq!(answer.header("www-authenticate"), case.challenge, "{told}");
        let retry: Option<u64> =
            answer.header("retry-after").map(|wait| wait.parse().expect("seconds"));
        assert_eq!(retry.is_some(), face.retry_after, "{told}");
        assert!(retry.is_none_or(|wait| wait >= 1), "{told}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{told}");
        if voice == Voice::Grpc {
            assert_eq!(answer.header("grpc-status"), Some(face.grpc), "{told}");
            assert_eq!(answer.header("content-type"), Some("application/grpc"), "{told}");
            let message = answer.header("grpc-message").expect("a message");
            assert_eq!(message, format!("{label}: {}", face.english), "{told}");
            assert!(answer.body.is_empty() || case.ask.method() == "HEAD", "{told}");
        } else {
            self.check_problem(case, voice, &answer, &trace, &told);
        }

        let record = self.record(&trace).await;
        assert_eq!(record["answer"], case.answer, "{told}: {record}");
        assert_eq!(record["code"], label, "{told}: {record}");
        assert_eq!(record["reason"].as_str(), case.reason, "{told}: {record}");
        assert_eq!(record["status"], status, "{told}: {record}");
        assert_eq!(record["route"], case.route, "{told}: {record}");
        assert_eq!(record["complete"], true, "{told}: {record}");

        let mut expected = before;
        let sample =
            format!("{{answer=\"{}\",code=\"{label}\",route=\"{}\"}}", case.answer, case.route);
        *expected.entry(sample).or_default() += 1;
        assert_eq!(self.requests().await, expected, "{told}");
        assert_eq!(self.world.upstream.count(), forwarded, "{told}: the upstream saw it");
        answer
    }

    fn check_problem(&self, case: &Case, voice: Voice, answer: &Answer, trace: &str, told: &str) {
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{told}");
        assert_eq!(answer.header("content-language"), Some(voice.language()), "{told}");
        assert_eq!(answer.header("vary"), Some("Accept-Language"), "{told}");
        let problem = answer.json();
        let face = face(case.code);
        assert_eq!(
            problem["type"],
            format!("urn:portvakt:problem:{}", case.code.label()),
            "{told}"
        );
        assert_eq!(problem["code"], case.code.label(), "{told}");
        assert_eq!(problem["status"], face.status, "{told}");
        assert_eq!(problem["traceId"], trace, "{told}");
        assert_eq!(problem["reason"].as_str(), case.reason, "{told}");
        if voice == Voice::English {
            assert_eq!(problem["title"], face.english, "{told}");
        }
        let mut members = BTreeSet::from(["type", "code", "title", "status", "detail", "traceId"]);
        members.extend(case.reason.map(|_| "reason"));
        members.extend(match case.code {
            Code::InsufficientScope if case.route == "scopes-only" => &["oneOfScopes"][..],
            Code::InsufficientScope => &["requiredScopes"],
            Code::Denied => &["resource", "action", "party"],
            Code::NoRight => &["resource", "action", "party", "remedy"],
            _ => &[],
        });
        let given: BTreeSet<&str> =
            problem.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(given, members, "{told}");
        check_no_stranger(&problem, told);
        if case.code == Code::NoRight {
            self.check_remedy(&problem, told);
        }
    }

    fn check_remedy(&self, problem: &Value, told: &str) {
        let remedy = &problem["remedy"];
        let altinn = self.world.sandbox.altinn_url();
        let (user, resource) =
            (remedy["systemUser"].as_str().unwrap(), problem["resource"].as_str().unwrap());
        assert_eq!(
            remedy["right"],
            json!({ "resource": resource, "action": problem["action"] }),
            "{told}"
        );
        assert_eq!(
            remedy["accessPackages"],
            format!("{altinn}/resourceregistry/api/v1/resource/{resource}/policy/subjects")
        );
        let call = &remedy["changeRequest"];
        assert_eq!(call["method"], "POST", "{told}");
        let url = call["url"].as_str().unwrap();
        let start = format!("{altinn}/authentication/api/v1/systemuser/changerequest/vendor?");
        assert!(
            url.starts_with(&start) && url.ends_with(&format!("system-user-id={user}")),
            "{url}"
        );
        let wanted = &call["body"]["requiredRights"][0]["resource"][0];
        assert_eq!(*wanted, json!({ "id": "urn:altinn:resource", "value": resource }), "{told}");
    }

    /// The neighbour is let through, counted as a permit and seen by the upstream once.
    async fn permitted(&self, case: &Case) {
        let told = format!("neighbour of {:?}, {}", case.code, case.why);
        let forwarded = self.world.upstream.count();
        let (answer, trace) = self.send(case.neighbour.clone()).await;
        assert_eq!(answer.status, 200, "{told}: {}", answer.text());
        assert_eq!(self.world.upstream.count(), forwarded + 1, "{told}");
        let record = self.record(&trace).await;
        let outcome = (&record["answer"], &record["code"], &record["complete"]);
        assert_eq!(outcome, (&json!("permit"), &json!("none"), &json!(true)), "{told}: {record}");
    }

    /// A case in the voices given, then its neighbour.
    async fn run(&self, case: &Case, voices: &[Voice]) {
        if let Some((endpoint, fault)) = &case.fault {
            self.world.fault(endpoint, fault.clone()).await;
        }
        let mut titles = BTreeSet::new();
        for voice in voices {
            let answer = self.refused(case, *voice).await;
            if *voice != Voice::Grpc {
                titles.insert(answer.json()["detail"].as_str().expect("text").to_owned());
            }
        }
        let languages = voices.iter().filter(|voice| **voice != Voice::Grpc).count();
        assert_eq!(titles.len(), languages, "{:?} says the same in two languages", case.code);
        self.world.heal().await;
        self.permitted(case).await;
    }

    /// One record for each request and no more, and no token in any of them or in the log.
    async fn finish(&self) {
        let asked = self.asked.load(Ordering::Relaxed);
        let records = self.world.proxy.audit_records(asked).await;
        assert_eq!(records.len(), asked);
        let log = self.world.proxy.log();
        for line in records.iter().map(Value::to_string).chain(log) {
            assert!(!line.contains("eyJ"), "a token: {line}");
        }
    }
}

/// No organisation is named but the one that was asked about, and the owner in the caller's own token.
fn check_no_stranger(problem: &Value, told: &str) {
    let text = problem.to_string();
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|run| run.len() == 9);
    for number in numbers {
        let known = problem["party"] == number || problem["remedy"]["owner"] == number;
        assert!(known, "{told}: {text}");
    }
}

/// Routes beside the usual ones: an access list, and upstreams that fail.
const MORE_ROUTES: &str = r#"
  - id: excise-read
    match: { methods: [GET], path: "/v1/parties/{party}/excise" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-saravgift
    action: read
    party: { path: party }
  - id: excise-write
    match: { methods: [PUT], path: "/v1/parties/{party}/excise" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-saravgift
    action: write
    party: { path: party }
  - { id: gone, match: { methods: [GET], path: /gone }, access: anonymous, upstream: gone }
  - { id: closing, match: { methods: [GET], path: /closing }, access: anonymous, upstream: closing }
  - { id: silent, match: { methods: [GET], path: /silent }, access: anonymous, upstream: silent }
  - { id: babbling, match: { methods: [GET], path: /babbling }, access: anonymous, upstream: babbling }
"#;

/// Asks for every request, so that no case lives on the answer to another; small bounds.
const BOUNDS: &str = "\
confirmations: { no_for: 0s }
freshness: { read: { max_age: 0s }, write: { max_age: 0s } }
limits: { target_bytes: 256, header_bytes: 8KiB, header_count: 20, body_bytes: 4KiB, party_body_bytes: 1KiB, body_idle_timeout: 500ms }
";
const BUDGET: Duration = Duration::from_secs(4);

/// Upstreams that fail, each in its own way, for as long as this lives.
struct Failing {
    /// Bound, so that nobody else takes the port, but not listening.
    gone: tokio::net::TcpSocket,
    /// Never accepted from: the connection stands, and nothing comes.
    silent: TcpListener,
    closing: String,
    babbling: String,
    gone_address: String,
}

impl Failing {
    fn start() -> Self {
        let gone = tokio::net::TcpSocket::new_v4().expect("a socket");
        gone.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let gone_address = gone.local_addr().expect("an address").to_string();
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let closing = canned(b"");
        let babbling = canned(b"This is no HTTP.\r\n\r\n");
        Self { gone, silent, closing, babbling, gone_address }
    }

    fn config(&self, default: &str) -> String {
        let silent = self.silent.local_addr().expect("an address");
        format!(
            "upstreams:\n  default: {{ url: \"{default}\" }}\n  gone: {{ url: \"http://{}\" }}\n  \
             closing: {{ url: \"http://{}\" }}\n  babbling: {{ url: \"http://{}\" }}\n  \
             silent: {{ url: \"http://{silent}\", response_timeout: 300ms }}",
            self.gone_address, self.closing, self.babbling
        )
    }
}

async fn bench(failing: &Failing) -> Bench {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.expect("the sandbox starts");
    let upstream = Upstream::start().await;
    let sections = format!(
        "{BOUNDS}altinn: {{ subscription_key: {}, requests_per_second: 1000, budget: {}s, attempt_timeout: {}s, circuit_failures: 1000 }}\n\
         routes:{}{MORE_ROUTES}",
        seed::SUBSCRIPTION_KEY,
        BUDGET.as_secs(),
        BUDGET.as_secs(),
        support::ROUTES
    );
    let config = config(&sandbox, &failing.config(&upstream.url()), &sections);
    Bench::new(World::start_config(sandbox, upstream, &config).await)
}

const READ: &str = "/v1/parties/310000507/returns/7";
const SUBMIT: &str = "/v1/parties/310000507/returns";

/// A wish for a token that outlives the test, with `more` in it.
fn wish(client: &str, owner: &str, claims: &Value) -> Value {
    json!({
        "client_id": client,
        "scope": "skatteetaten:mva skatteetaten:kravogbetalinger",
        "systemuser_org": owner,
        "lifetime_seconds": 600,
        "claims_override": claims,
    })
}

async fn token(world: &World, owner: &str) -> String {
    world.token_with(wish(seed::NORDLYS, owner, &json!({}))).await
}

async fn token_claiming(world: &World, claims: Value) -> String {
    world.token_with(wish(seed::NORDLYS, seed::BAKKEN, &claims)).await
}

/// `token` under another header.
fn reheaded(token: &str, header: &Value) -> String {
    let rest = token.split_once('.').expect("a token").1;
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
}

fn header_of(token: &str) -> Value {
    let header = token.split('.').next().expect("a header");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).expect("base64url")).expect("JSON")
}

/// Requests that may be read in two ways, or break HTTP.
fn malformed(good: &str) -> Vec<Case> {
    let open = Ask::get("/open/x");
    let read = Ask::get(READ).bearer(good);
    let bad = |reason, why, ask: Ask, neighbour: &Ask| {
        case(Code::BadRequest, why, ask, neighbour).reason(reason)
    };
    let websocket = |ask: Ask| ask.header("Connection", "upgrade").header("Upgrade", "websocket");
    let socket = Ask::get("/v1/parties/310000507/socket").bearer(good);
    vec![
        bad("dot_segment", "a dot segment", Ask::get("/open/../v1/mine"), &open),
        bad("method", "TRACE", Ask::new("TRACE", "/open/x"), &open),
        bad("target_form", "asterisk form", Ask::new("OPTIONS", "*"), &open),
        bad("target_form", "another host", Ask::get("http://other.example.test/open/x"), &open),
        bad("host", "two hosts", open.clone().header("Host", "a").header("Host", "a"), &open),
        bad("empty_segment", "a doubled slash", Ask::get("/open//x"), &open),
        bad("encoded_delimiter", "an encoded slash", Ask::get("/open/a%2fb"), &open),
        bad("encoded_delimiter", "an encoded letter", Ask::get("/op%65n/x"), &open),
        bad("path_character", "a path parameter", Ask::get("/open/a;b"), &open),
        bad("percent_sequence", "half a sequence", Ask::get("/open/a%2"), &Ask::get("/open/a%20b")),
        bad("several_authorizations", "the same token twice", read.clone().bearer(good), &read),
        bad("upgrade", "an upgrade with a body", websocket(socket.clone()).body("x"), &socket)
            .route("socket")
            .answer("permit"),
        bad("body", "chunked twice", doubled("chunked, chunked"), &doubled("chunked")),
        bad(
            "body",
            "a chunk size in C",
            chunked("0x2\r\n{}\r\n0\r\n\r\n"),
            &chunked("2\r\n{}\r\n0\r\n\r\n"),
        )
        .route("open")
        .answer("permit"),
    ]
}

fn doubled(coding: &str) -> Ask {
    Ask::new("POST", "/open/x").header("Transfer-Encoding", coding).bytes("0\r\n\r\n")
}

fn chunked(body: &str) -> Ask {
    Ask::new("POST", "/open/x").header("Transfer-Encoding", "chunked").bytes(body)
}

/// Requests beyond a bound, and their neighbours within it.
fn over_limits(good: &str) -> Vec<Case> {
    // `Host` of a loopback address and port, the trace and the language take some of the count and bytes.
    let target = |bytes: usize| Ask::get(&format!("/open/{}", "a".repeat(bytes - "/open/".len())));
    let fields =
        |count| (0..count).fold(Ask::get("/open/x"), |ask, n| ask.header(&format!("x-{n}"), ""));
    let wide = |bytes| Ask::get("/open/x").header("x-wide", &"v".repeat(bytes));
    let post = |bytes| Ask::new("POST", "/open/x").body(&"b".repeat(bytes));
    let streamed = |bytes| chunked(&format!("{bytes:x}\r\n{}\r\n0\r\n\r\n", "b".repeat(bytes)));
    let document = |bytes: usize| {
        let text = json!({ "data": { "party": "310000507" } }).to_string();
        Ask::new("POST", "/v1/json/310000507")
            .bearer(good)
            .header("Content-Type", "application/json")
            .body(&format!("{text:bytes$}"))
    };
    vec![
        case(Code::TargetTooLong, "one byte more", target(257), &target(256))
            .reason("target_bytes"),
        case(Code::HeadersTooLarge, "too many fields", fields(21), &fields(18))
            .reason("header_count"),
        case(Code::HeadersTooLarge, "too many bytes", wide(8192), &wide(7800))
            .reason("header_bytes"),
        case(Code::BodyTooLarge, "one byte more, declared", post(4097), &post(4096))
            .reason("body_bytes"),
        case(Code::BodyTooLarge, "one byte more, not declared", streamed(4097), &streamed(4096))
            .reason("body_bytes")
            .route("open")
            .answer("permit"),
        case(Code::BodyTooLarge, "more than a party is read from", document(1025), &document(1024))
            .reason("body_bytes")
            .route("json"),
        case(
            Code::RequestTimeout,
            "a body that stops on its way to the upstream",
            Ask::new("POST", "/open/x").header("Content-Length", "5").bytes("ab"),
            &Ask::new("POST", "/open/x").body("abcde"),
        )
        .route("open")
        .answer("permit"),
        case(
            Code::RequestTimeout,
            "a body that stops where the party is read from it",
            Ask::new("POST", "/v1/json/310000507")
                .bearer(good)
                .header("Content-Type", "application/json")
                .header("Content-Length", "50")
                .bytes("{"),
            &document(50),
        )
        .route("json"),
    ]
}

/// Requests without a token that is good here.
async fn tokens(world: &World, good: &str) -> Vec<Case> {
    let read = Ask::get(READ).bearer(good);
    let mut cases = vec![
        case(Code::NoRoute, "no such path", Ask::get("/v1/unknown").bearer(good), &read),
        case(Code::NoRoute, "no such method", Ask::new("DELETE", READ).bearer(good), &read),
        case(Code::NoRoute, "a method in lower case", Ask::new("get", READ).bearer(good), &read),
        case(Code::TokenMissing, "no Authorization", Ask::get(READ), &read)
            .route("read")
            .challenge("Bearer"),
        case(
            Code::TokenMissing,
            "another scheme",
            Ask::get(READ).header("Authorization", "Basic eDp5"),
            &read,
        )
        .route("read")
        .challenge("Bearer"),
        case(
            Code::TokenMissing,
            "a token in the query",
            Ask::get(&format!("/v1/mine?access_token={}", &good[..60])),
            &read,
        )
        .route("mine")
        .challenge("Bearer"),
    ];
    let invalid = |why, reason, token: &str, challenge| {
        case(Code::TokenInvalid, why, Ask::get(READ).bearer(token), &read)
            .route("read")
            .reason(reason)
            .challenge(challenge)
    };
    let expired = json!({
        "client_id": seed::NORDLYS, "scope": "skatteetaten:mva", "systemuser_org": seed::BAKKEN,
        "lifetime_seconds": -60,
    });
    cases.push(invalid(
        "it has expired",
        "expired",
        &world.token_with(expired).await,
        r#"Bearer error="invalid_token", error_description="the token has expired""#,
    ));
    let (header, other) = (header_of(good), token(world, seed::STRAND).await);
    let with = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        reheaded(good, &header)
    };
    let payload = other.split('.').nth(1).expect("a payload");
    let parts: Vec<&str> = good.split('.').collect();
    let tampered = format!("{}.{payload}.{}", parts[0], parts[2]);
    for (why, reason, token, challenge) in [
        (
            "another's payload under a kept signature",
            "signature",
            tampered,
            r#"Bearer error="invalid_token", error_description="the token's signature is not good""#,
        ),
        (
            "no algorithm",
            "algorithm",
            with("alg", json!("none")),
            r#"Bearer error="invalid_token", error_description="the token's algorithm is not accepted""#,
        ),
        (
            "a key of nobody",
            "unknown_key",
            with("kid", json!("made-up")),
            r#"Bearer error="invalid_token", error_description="the token's key is not one of the issuer's""#,
        ),
        (
            "a critical extension",
            "header_parameter",
            with("crit", json!(["exp"])),
            r#"Bearer error="invalid_token", error_description="the token's header has a parameter that is not accepted""#,
        ),
        (
            "a header that is a list",
            "header",
            reheaded(good, &json!([])),
            r#"Bearer error="invalid_token", error_description="the token's header cannot be read""#,
        ),
        (
            "two parts",
            "not_compact",
            format!("{}.{}", parts[0], parts[1]),
            r#"Bearer error="invalid_token", error_description="not a signed token in compact form""#,
        ),
    ] {
        cases.push(invalid(why, reason, &token, challenge));
    }
    cases.extend(claims(world, invalid).await);
    cases
}

/// Tokens of the right issuer whose claims are not as they must be.
async fn claims(
    world: &World,
    invalid: impl Fn(&'static str, &'static str, &str, &'static str) -> Case,
) -> Vec<Case> {
    let entry = json!({
        "type": "urn:altinn:systemuser", "systemuser_id": [seed::BAKKEN_USER], "system_id": "310000205_nordlys",
        "systemuser_org": { "authority": "iso6523-actorid-upis", "ID": "0192:310000507" },
    });
    let organisation = json!({ "authority": "iso6523-actorid-upis", "ID": "0192:310000809" });
    let mut cases = Vec::new();
    for (why, reason, claims, challenge) in [
        (
            "another issuer",
            "issuer",
            json!({ "iss": "https://maskinporten.no/" }),
            r#"Bearer error="invalid_token", error_description="claim 'iss' is not the configured issuer""#,
        ),
        (
            "meant for another service",
            "audience",
            json!({ "aud": "https://other.example.test" }),
            r#"Bearer error="invalid_token", error_description="claim 'aud' does not name this service""#,
        ),
        (
            "no end",
            "claim_missing",
            json!({ "exp": null }),
            r#"Bearer error="invalid_token", error_description="claim 'exp' is missing""#,
        ),
        (
            "an end in words",
            "claim_malformed",
            json!({ "exp": "tomorrow" }),
            r#"Bearer error="invalid_token", error_description="claim 'exp' has the wrong type or form""#,
        ),
        (
            "not valid before long",
            "not_yet_valid",
            json!({ "nbf": 4_000_000_000_u64 }),
            r#"Bearer error="invalid_token", error_description="claim 'nbf' lies in the future""#,
        ),
        (
            "two system-user entries",
            "several_system_users",
            json!({ "authorization_details": [entry, entry] }),
            r#"Bearer error="invalid_token", error_description="'authorization_details' has more than one system-user entry""#,
        ),
        (
            "a supplier beside a system user",
            "supplier",
            json!({ "supplier": organisation }),
            r#"Bearer error="invalid_token", error_description="a system-user token with a 'supplier' is not accepted here""#,
        ),
    ] {
        cases.push(invalid(why, reason, &token_claiming(world, claims).await, challenge));
    }
    cases
}

/// Good tokens that do not open this.
#[expect(clippy::too_many_lines, reason = "a table")]
async fn rights(world: &World, good: &str) -> Vec<Case> {
    let read = Ask::get(READ).bearer(good);
    let submit = Ask::new("POST", SUBMIT).bearer(good).body("{}");
    let narrow = json!({ "scope": "skatteetaten:mvax skatteetaten" });
    let narrow = token_claiming(world, narrow).await;
    let enterprise =
        json!({ "client_id": seed::NORDLYS, "scope": "skatteetaten:mva", "lifetime_seconds": 600 });
    let enterprise = world.token_with(enterprise).await;
    let skjaer = token(world, "310000612").await;
    let sund = token(world, "310000620").await;
    let strand = world.token_with(wish(seed::BREKKE, seed::STRAND, &json!({}))).await;
    let nobody = world.token_with(wish(seed::BREKKE, seed::BAKKEN, &json!({}))).await;
    let reader = token(world, seed::STRAND).await;
    let agent = world.token_with(wish(seed::BREKKE, seed::FJELL, &json!({}))).await;
    let excise = |method, party: &str, token: &str| {
        Ask::new(method, &format!("/v1/parties/{party}/excise")).bearer(token)
    };
    let returns = |party: &str, token: &str| {
        Ask::get(&format!("/v1/parties/{party}/returns/7")).bearer(token)
    };
    let denied = |why, reason, ask, neighbour: &Ask| {
        case(Code::Denied, why, ask, neighbour).reason(reason).answer("denied")
    };
    let none =
        |why, ask, neighbour: &Ask| case(Code::NoRight, why, ask, neighbour).answer("no_right");
    let unknown = json!({ "obligations": [{ "id": "x", "attributeAssignment": [
        { "attributeId": "x", "category": "urn:altinn:two-persons", "value": "2" }] }] });
    vec![
        case(
            Code::InsufficientScope,
            "only a prefix of the scope",
            Ask::get(READ).bearer(&narrow),
            &read,
        )
        .route("read")
        .challenge(r#"Bearer error="insufficient_scope", scope="skatteetaten:mva""#),
        case(
            Code::InsufficientScope,
            "none of several scopes",
            Ask::get("/v1/scopes").bearer(&narrow),
            &Ask::get("/v1/scopes").bearer(good),
        )
        .route("scopes-only")
        .challenge(r#"Bearer error="insufficient_scope", scope="skatteetaten:mva""#),
        case(
            Code::SystemUserRequired,
            "an enterprise token",
            Ask::get(READ).bearer(&enterprise),
            &Ask::get("/v1/scopes").bearer(&enterprise),
        )
        .route("read"),
        case(
            Code::PartyInvalid,
            "no party",
            Ask::get("/v1/returns").bearer(good),
            &Ask::get("/v1/returns?party=310000507").bearer(good),
        )
        .reason("party_missing")
        .route("list"),
        denied(
            "a rule of the policy",
            "policy",
            Ask::new("PUT", "/v1/parties/310000507/archive").bearer(good),
            &submit,
        )
        .route("denied"),
        denied("level 4", "level", Ask::get("/v1/parties/310000507/shielded").bearer(good), &read)
            .route("level-four"),
        denied("an obligation that nobody knows", "unknown_obligation", read.clone(), &read)
            .route("read")
            .fault("pdp", unknown),
        denied(
            "on the access list for reading only",
            "policy",
            excise("PUT", "310000620", &sund),
            &excise("GET", "310000620", &sund),
        )
        .route("excise-write"),
        denied(
            "on no access list",
            "policy",
            excise("GET", seed::STRAND, &strand),
            &excise("PUT", "310000612", &skjaer),
        )
        .route("excise-read"),
        none("a system user without rights", Ask::get(READ).bearer(&nobody), &read).route("read"),
        none("another party", returns(seed::STRAND, good), &read).route("read"),
        none(
            "a single right without this action",
            Ask::new("POST", "/v1/parties/310000604/claims").bearer(&reader),
            &read,
        )
        .route("claims-write"),
        none(
            "a client that the agent was not given",
            returns(seed::ODDEN, &agent),
            &returns(seed::LIA, &agent),
        )
        .route("read"),
    ]
}

/// What cannot be told, and upstreams that fail after a permit.
fn outages(good: &str) -> Vec<Case> {
    let (read, open) = (Ask::get(READ).bearer(good), Ask::get("/open/x"));
    let unknown = |why, reason, fault| {
        case(Code::CannotDecide, why, read.clone(), &read)
            .reason(reason)
            .answer("unknown")
            .route("read")
            .fault("pdp", fault)
    };
    let broken = |code, why, reason, route: &'static str| {
        case(code, why, Ask::get(&format!("/{route}")), &open)
            .reason(reason)
            .answer("permit")
            .route(route)
    };
    vec![
        unknown("Indeterminate", "indeterminate", json!({ "decision": "Indeterminate" })),
        unknown("an error status", "error_status", json!({ "status": 503 })),
        unknown("a reset connection", "unreachable", json!({ "close": true })),
        unknown("two results", "unreadable", json!({ "extra_results": 1 })),
        unknown("no answer at all", "timed_out", json!({ "hang": true })),
        broken(Code::UpstreamUnavailable, "nobody listens", "unreachable", "gone"),
        broken(Code::UpstreamUnavailable, "it closes", "closed", "closing"),
        broken(Code::UpstreamTimeout, "it says nothing", "timed_out", "silent"),
        broken(Code::UpstreamBadAnswer, "it speaks no HTTP", "bad_answer", "babbling"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_told_counted_and_recorded_once_and_its_neighbour_passes() {
    let failing = Failing::start();
    let bench = bench(&failing).await;
    let good = token(&bench.world, seed::BAKKEN).await;
    let mut cases = malformed(&good);
    cases.extend(over_limits(&good));
    cases.extend(tokens(&bench.world, &good).await);
    cases.extend(rights(&bench.world, &good).await);
    cases.extend(outages(&good));
    let mut seen = BTreeSet::new();
    for case in &cases {
        // The first of each code is told in every voice, the others only once.
        let first = seen.insert(case.code.label());
        let begun = Instant::now();
        bench.run(case, if first { &Voice::ALL } else { &Voice::ALL[..1] }).await;
        if case.why == "no answer at all" {
            assert!(
                begun.elapsed() >= BUDGET / 2 && begun.elapsed() < BUDGET * 4,
                "{:?}",
                begun.elapsed()
            );
        }
    }
    bench.finish().await;
    for code in Code::ALL {
        let in_table = face(code).provoked == Provoked::Table;
        assert_eq!(seen.contains(code.label()), in_table, "{code:?}");
    }
    drop(failing.gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_beyond_those_in_flight_is_refused_until_one_has_ended() {
    let bench = Bench::new(World::start_with("limits: { requests_in_flight: 1 }").await);
    let open = Ask::get("/open/x");
    let mut holder = Raw::connect(bench.world.proxy.address()).await;
    bench.asked.fetch_add(1, Ordering::Relaxed);
    holder.send(&Ask::new("POST", "/open/x").header("Content-Length", "2").bytes("a")).await;
    let in_flight =
        async |count| bench.world.proxy.metric("portvakt_requests_in_flight").await == count;
    wait_until("it is held", async || in_flight(1.0).await).await;

    let overloaded = case(Code::Overloaded, "one is in flight", open.clone(), &open);
    for voice in Voice::ALL {
        bench.refused(&overloaded, voice).await;
    }
    holder.send_bytes(b"b").await;
    assert_eq!(holder.answer("POST").await.expect("an answer").status, 200);
    wait_until("it has ended", async || in_flight(0.0).await).await;
    bench.permitted(&overloaded).await;
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_calls_too_often_slows_down_only_itself() {
    // So slow that no test lasts until the next request is due.
    let rates = "limits: { system_user_rate: { requests: 1, per: 1h, burst: 2 }, consumer_rate: { requests: 3, per: 1h } }";
    let bench = Bench::new(World::start_with(rates).await);
    let ask = async |owner| Ask::get("/v1/scopes").bearer(&token(&bench.world, owner).await);
    let (one, again) = (ask(seed::BAKKEN).await, ask(seed::BAKKEN).await);
    let other = ask(seed::STRAND).await;

    // A second token of the same system user brings no second allowance.
    let refused = case(Code::TooManyRequests, "its third request", again.clone(), &one);
    let refused = refused.reason("system_user").route("scopes-only");
    bench.permitted(&refused).await;
    bench.permitted(&refused).await;
    for voice in Voice::ALL {
        bench.refused(&refused, voice).await;
    }
    // What was refused is not counted against the vendor: its other system user has the third request.
    let of_vendor = case(Code::TooManyRequests, "the vendor's fourth", other.clone(), &other);
    let of_vendor = of_vendor.reason("consumer").route("scopes-only");
    bench.permitted(&of_vendor).await;
    for voice in Voice::ALL {
        bench.refused(&of_vendor, voice).await;
    }
    // Routes without a token have no meter.
    let open = Ask::get("/open/x");
    bench.permitted(&case(Code::TooManyRequests, "nobody", open.clone(), &open)).await;
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_a_token_is_not_called_bad_and_readiness_comes_by_itself() {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.expect("the sandbox starts");
    let upstream = Upstream::start().await;
    support::turn(&sandbox, reqwest::Method::PUT, "faults/jwks", json!({ "status": 503 })).await;
    let text = config(&sandbox, &format!("upstream: {{ url: \"{}\" }}", upstream.url()), "");
    let bench = Bench::new(World::start_unready(sandbox, upstream, &text).await);
    let (status, obstacles) = bench.world.proxy.admin("/readyz").await;
    assert_eq!(status, 503);
    assert!(obstacles.contains("issuer_keys"), "{obstacles}");

    let good = token(&bench.world, seed::BAKKEN).await;
    let read = Ask::get(READ).bearer(&good);
    let unverified = case(Code::TokenUnverified, "no keys yet", read.clone(), &read)
        .reason("no_keys")
        .answer("unknown")
        .route("read");
    for voice in Voice::ALL {
        bench.refused(&unverified, voice).await;
    }
    // What needs no key is served meanwhile.
    bench.permitted(&case(Code::TokenUnverified, "anonymous", read, &Ask::get("/open/x"))).await;
    bench.world.heal().await;
    bench.world.proxy.wait_until_ready().await;
    bench.permitted(&unverified).await;
    bench.finish().await;
}

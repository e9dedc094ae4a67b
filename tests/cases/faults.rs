//! Cases of faults, step by step, against the real program and the sandbox, whose world they are run in: a
//! fault case names no world of its own. A step or an expectation that is not known here is a difference.

use crate::faketime::Clock;
use crate::outage::{
    Ask, BAKKEN, MVA, QUICK, ask, ask_of, configured_before, down, policies_read, sandbox,
    started_under, stop, unready, until_basis,
};
use crate::run::Verdict;
use crate::support::authority::Authority;
use crate::support::disk::Disk;
use crate::support::wire::{RawUpstream, Wire, field, status};
use crate::support::{World, own_key, seed, wait_until};
use futures_util::future::join_all;
use portvakt::clock::{Clock as _, SystemClock};
use reqwest::Method;
use serde_json::{Value, json};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// Steps that are not made here, and why; or where the same is tested.
const NOT_MADE: [(&str, &str); 1] = [("inject:panic", "needs a build with a panic in it")];

/// For how long what was saved may serve: the outage grace of routes that say nothing.
const GREATEST_AGE: i64 = 3600;

/// What there is for audit records, where the disk is to be full.
const ROOM: &str = "256k";

/// 1 while the file is another than the configuration in force.
const REFUSED: &str = "portvakt_config_refused";

fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

/// Runs one case.
pub(crate) fn run(case: &Value) -> Verdict {
    let (steps, expected) = (strings(&case["steps"]), strings(&case["expect"]));
    if steps.is_empty() || expected.is_empty() {
        return Verdict::Ran(vec!["no `steps`, or no `expect`".into()]);
    }
    let not_made = |(begin, _): &&(&str, &str)| steps.iter().any(|step| step.starts_with(begin));
    if let Some((_, reason)) = NOT_MADE.iter().find(not_made) {
        return Verdict::LeftOut((*reason).into());
    }
    let sets_clock =
        |step: &String| step.starts_with("clock:") || step.starts_with("snapshot:age:");
    if steps.iter().any(|step| step == "fill_disk:audit") && Disk::mount(ROOM).is_none() {
        return Verdict::LeftOut("no file system may be mounted here".into());
    }
    if steps.iter().any(sets_clock) && Clock::new().is_none() {
        return Verdict::LeftOut("libfaketime is missing".into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    // What these steps wait for in vain, or find otherwise, is told by a panic.
    let played = std::panic::catch_unwind(AssertUnwindSafe(|| {
        runtime.expect("a runtime").block_on(play(&steps, &expected))
    }));
    Verdict::Ran(match played {
        Ok(differences) => differences,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            vec![text.unwrap_or_else(|| "a panic".into())]
        }
    })
}

async fn play(steps: &[String], expected: &[String]) -> Vec<String> {
    let mut run = Run::new(steps).await;
    for step in steps {
        run.step(step).await;
    }
    let mut next = 0;
    let mut differences = Vec::new();
    for expected in expected {
        if let Err(why) = run.expect(expected, &mut next).await {
            differences.push(format!("{expected}: {why}"));
        }
    }
    let all = run.answers.len();
    if next != 0 && next != all {
        differences.push(format!("{next} of {all} answers are told of"));
    }
    differences
}

/// The world of one case, and what has come of its steps.
struct Run {
    world: World,
    file: tempfile::TempDir,
    /// What the steps want of the program's start.
    wanted: Wanted,
    running: bool,
    answers: Vec<Answer>,
    ready: Vec<bool>,
    flood: Vec<u16>,
    meanwhile: Vec<u16>,
    fetched: u64,
    reached: usize,
    asked: Vec<Ask>,
    log: Vec<String>,
    /// Seconds that the program's clock is ahead of the sandbox's, so that a token must be too.
    ahead: i64,
    held: Vec<Wire>,
    slow: Vec<JoinHandle<Duration>>,
    load: Option<Load>,
    exit: Option<(Option<i32>, Duration)>,
}

/// What the steps want of the program's start.
#[derive(Default)]
struct Wanted {
    trace: bool,
    clock: Option<Clock>,
    /// Descriptors that it may have.
    descriptors: Option<String>,
    /// Bytes of memory that it may have.
    memory: Option<u64>,
    upstream: Option<Breaking>,
    /// TLS, by a certificate of this authority.
    secure: Option<Authority>,
    /// For audit records alone.
    disk: Option<Disk>,
}

/// The name that its certificate is for.
const NAME: &str = "api.test";

/// How long a handshake may take, where there are any.
const HANDSHAKE: u64 = 3;

/// What a client has of an answer.
struct Answer {
    status: u16,
    whole: bool,
}

/// An upstream that breaks its answers off when it is told to.
struct Breaking {
    upstream: RawUpstream,
    now: Arc<AtomicBool>,
}

/// Clients that go on asking, and what they were answered.
struct Load {
    clients: Vec<JoinHandle<usize>>,
}

impl Breaking {
    /// Answers break off after so many bytes of so many, as in `1000_of_5000`.
    async fn start(after: &str) -> Self {
        let (after, of) = after.split_once("_of_").expect("a part and a whole");
        let part = "x".repeat(after.parse().expect("a number"));
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {of}\r\n\r\n");
        let whole = head.clone() + &"x".repeat(of.parse().expect("a number"));
        let (part, now) = (head + &part, Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&now);
        let upstream = RawUpstream::start(move |mut wire, _, _| {
            let (part, whole, told) = (part.clone(), whole.clone(), Arc::clone(&told));
            async move {
                while wire.message().await.is_some() {
                    if told.load(Ordering::Relaxed) {
                        wire.try_send(&part).await;
                        return wire.reset();
                    }
                    wire.try_send(&whole).await;
                }
            }
        });
        Self { upstream: upstream.await, now }
    }
}

impl Wanted {
    async fn of(steps: &[String]) -> Self {
        let rest =
            |begin: &str| steps.iter().find_map(|step| step.strip_prefix(begin).map(str::to_owned));
        let upstream = match rest("upstream:reset_after:") {
            Some(after) => Some(Breaking::start(&after).await),
            None => None,
        };
        Self {
            trace: false,
            clock: rest("clock:").or(rest("snapshot:age:")).and_then(|_| Clock::new()),
            descriptors: rest("ulimit:"),
            memory: rest("memory:").map(|size| bytes(&size)),
            secure: rest("tls_stall:").map(|_| Authority::new("ours")),
            disk: rest("fill_disk:").and_then(|_| Disk::mount(ROOM)),
            upstream,
        }
    }
}

/// `64k`, `128M`
fn bytes(size: &str) -> u64 {
    let number = size.trim_end_matches(['k', 'M']).parse::<u64>().expect("a size");
    match size.chars().last() {
        Some('k') => number * 1024,
        Some('M') => number * 1024 * 1024,
        _ => number,
    }
}

impl Run {
    async fn new(steps: &[String]) -> Self {
        // The program is started by the steps: this one only makes the world.
        let world = unready(sandbox(&[], &Value::Null).await, QUICK).await;
        world.proxy.wait_until_ready().await;
        let mut run = Self {
            world,
            file: tempfile::tempdir().expect("a folder"),
            wanted: Wanted::of(steps).await,
            running: true,
            answers: Vec::new(),
            ready: Vec::new(),
            flood: Vec::new(),
            meanwhile: Vec::new(),
            fetched: 0,
            reached: 0,
            asked: Vec::new(),
            log: Vec::new(),
            ahead: 0,
            held: Vec::new(),
            slow: Vec::new(),
            load: None,
            exit: None,
        };
        run.stop();
        run
    }

    fn snapshot(&self) -> PathBuf {
        self.file.path().join("register")
    }

    fn stop(&mut self) {
        if self.running {
            self.log.extend(self.world.proxy.log());
            stop(&mut self.world);
        }
        self.running = false;
    }

    async fn start(&mut self) {
        let log = if self.wanted.trace { "log: { filter: trace }\n" } else { "" };
        let file = self.snapshot();
        let sections = format!(
            "{QUICK}{log}register: {{ refresh_least: 1s, snapshot: {{ file: \"{}\", save_interval: 1s }} }}\n",
            file.display()
        );
        let sections = sections + &self.listen_securely() + &self.audit_on_disk();
        let upstream = match &self.wanted.upstream {
            Some(breaking) => breaking.upstream.section("idle_timeout: 30s"),
            None => format!("upstream: {{ url: \"{}\" }}", self.world.upstream.url()),
        };
        let config = configured_before(&self.world.sandbox, &upstream, &sections);
        let limit = self.wanted.descriptors.as_ref().map(|most| format!("--nofile={most}:{most}"));
        let under = limit.as_ref().map_or(vec![], |limit| vec!["prlimit", limit.as_str()]);
        let variables = self.wanted.clock.as_ref().map_or(vec![], Clock::variables);
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.world.proxy = started_under(&self.world, &under, &config, &variables).await;
        self.running = true;
        let away = self.world.knob(Method::GET, "faults", Value::Null).await.to_string();
        if away.contains("jwks") {
            self.ready.push(self.world.proxy.admin("/readyz").await.0 == 200);
        } else {
            self.world.proxy.wait_until_ready().await;
        }
        self.fetched = self.world.calls("jwks").await;
    }

    /// The section for records that must not be lost, where they have a disk.
    fn audit_on_disk(&self) -> String {
        let Some(disk) = &self.wanted.disk else { return String::new() };
        let file = disk.path().join("audit.jsonl");
        format!("audit: {{ output: {{ file: \"{}\" }}, on_loss: stop }}\n", file.display())
    }

    /// Others take all the room, and the program has noticed.
    async fn fill_disk(&mut self) {
        self.wanted.disk.as_ref().expect("a disk").fill();
        let proxy = &self.world.proxy;
        wait_until("noticed", async || proxy.admin("/readyz").await.1.contains("audit")).await;
    }

    /// With room again, there is a record of every answer that was given.
    async fn has_no_hole(&mut self) -> Result<(), String> {
        let disk = self.wanted.disk.as_ref().ok_or("no disk")?;
        disk.clear();
        let file = disk.path().join("audit.jsonl");
        let answers: Vec<u16> = self.answers.iter().map(|answer| answer.status).collect();
        let statuses = || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            records.filter_map(|record| record["status"].as_u64()).collect::<Vec<_>>()
        };
        wait_until("a record of each", async || statuses().len() >= answers.len()).await;
        let found = statuses();
        if found.iter().copied().eq(answers.iter().map(|status| u64::from(*status))) {
            return Ok(());
        }
        Err(format!("records of {found:?}, answers {answers:?}"))
    }

    /// The section for TLS, where it is wanted.
    fn listen_securely(&self) -> String {
        let Some(authority) = &self.wanted.secure else { return String::new() };
        let (certificate, key) = authority.issue(&[NAME]).write(self.file.path(), "own");
        let (certificate, key) = (certificate.display(), key.display());
        let files = format!("certificate_file: \"{certificate}\", key_file: \"{key}\"");
        format!(
            "listen: {{ address: \"127.0.0.1:0\", tls: {{ certificates: [{{ {files} }}], \
             handshake_timeout: {HANDSHAKE}s }} }}\n"
        )
    }

    /// As [`Run::answer`], over TLS.
    async fn answer_securely(address: &str, question: &Ask, authority: &Authority) -> Answer {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let connector = TlsConnector::from(Arc::new(authority.client(None, &[])));
        let name = NAME.try_into().expect("a name");
        let mut stream = connector.connect(name, stream).await.expect("a handshake");
        let head = Self::head(question, "Connection: close\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        // Some close without a last word of TLS.
        let _ = stream.read_to_string(&mut answer).await;
        let (head, _) = answer.split_once("\r\n\r\n").expect("a head");
        Answer { status: status(head), whole: true }
    }

    /// A question that is permitted, with a token of two minutes.
    async fn good(&mut self) -> Ask {
        let mut question = ask_of(&self.world, BAKKEN, "GET", MVA, "310000507").await;
        let mut wish = json!({
            "client_id": seed::NORDLYS,
            "scope": "skatteetaten:mva",
            "systemuser_org": seed::BAKKEN,
            "lifetime_seconds": 115,
        });
        if self.ahead != 0 {
            let now = SystemClock.now().seconds() + self.ahead;
            wish["claims_override"] = json!({ "iat": now, "exp": now + 115 });
        }
        question.token = self.world.token_with(wish).await;
        self.asked.push(question.clone());
        question
    }

    fn head(question: &Ask, more: &str) -> String {
        let Ask { method, target, token } = question;
        format!(
            "{method} {target} HTTP/1.1\r\nHost: api\r\n{more}Authorization: Bearer {token}\r\n\r\n"
        )
    }

    /// Asks on a connection of its own. No answer at all has the status 0.
    async fn answer(address: &str, question: &Ask, more: &str) -> Answer {
        let mut wire = Wire::connect(address).await;
        wire.try_send(Self::head(question, more)).await;
        let Some(head) = wire.head().await else { return Answer { status: 0, whole: false } };
        let length = field(&head, "content-length").and_then(|length| length.parse().ok());
        let length: usize = length.expect("a length");
        Answer { status: status(&head), whole: wire.at_least(length).await }
    }

    async fn request(&mut self, question: &Ask) {
        let address = self.world.proxy.address();
        let answer = match &self.wanted.secure {
            Some(authority) => Self::answer_securely(address, question, authority).await,
            None => Self::answer(address, question, "").await,
        };
        self.answers.push(answer);
    }

    async fn step(&mut self, step: &str) {
        let (name, rest) = step.split_once(':').unwrap_or((step, ""));
        let close = json!({ "close": true });
        match (name, rest) {
            ("start", "pep") => self.start().await,
            ("start", "pep:trace") => {
                self.wanted.trace = true;
                self.start().await;
            }
            ("stop", "pep") => self.stop(),
            ("restart", "pep") => {
                self.stop();
                self.start().await;
            }
            // The program is started so, see `Wanted`.
            ("ulimit" | "memory", _) => {}
            ("stop", "key_set") => {
                for endpoint in ["jwks", "metadata"] {
                    self.world.fault(endpoint, close.clone()).await;
                }
            }
            ("stop", "register") => down(&self.world, close).await,
            ("sync", "") => self.sync().await,
            ("snapshot", age) => self.age_snapshot(age).await,
            ("wait", seconds) => {
                tokio::time::sleep(Duration::from_secs(seconds.parse().expect("seconds"))).await;
            }
            ("flip_byte", "snapshot") => {
                let mut bytes = std::fs::read(self.snapshot()).expect("a snapshot");
                let text = b"310000205_nordlys";
                let at = bytes.windows(text.len()).position(|part| part == text);
                bytes[at.expect("it is in it")] ^= 1;
                std::fs::write(self.snapshot(), bytes).expect("written");
            }
            ("key_set", what) if what.starts_with("add:") => {
                self.world.knob(Method::POST, "keys/rotate", json!({ "drop_old": false })).await;
            }
            ("upstream", _) => {
                let breaking = self.wanted.upstream.as_ref().expect("an upstream");
                breaking.now.store(true, Ordering::Relaxed);
            }
            ("clock", offset) => self.set_clock(offset).await,
            ("reload", "broken") => {
                std::fs::write(self.world.proxy.config_path(), "routes: [").expect("written");
                self.world.proxy.signal("HUP");
                let world = &self.world;
                wait_until("refused", async || world.proxy.metric(REFUSED).await > 0.5).await;
            }
            ("request", "same_token") => {
                let question = self.asked.last().expect("asked before").clone();
                self.request(&question).await;
            }
            // The sandbox signs with the newest key.
            ("request", by) if by == "good" || by.starts_with("signed_by:") => {
                let question = self.good().await;
                self.request(&question).await;
            }
            ("flood", what) if what.starts_with("random_kid:") => {
                let count = what.split(':').nth(1).and_then(|count| count.parse().ok());
                self.flood(count.expect("a count")).await;
            }
            ("slow_headers", count) => self.slow_headers(count.parse().expect("a count")).await,
            ("fill_disk", "audit") => self.fill_disk().await,
            ("tls_stall", count) => self.stall(count.parse().expect("a count")).await,
            ("connections", what) => self.connections(what).await,
            ("release", "") => self.held.clear(),
            ("load", rate) => self.load(rate).await,
            ("sigterm", "") => self.terminate().await,
            _ => panic!("nobody knows the step {step}"),
        }
    }

    async fn sync(&mut self) {
        policies_read(&self.world.proxy).await;
        let question = self.good().await;
        until_basis(&self.world, &question, "derived").await;
        self.reached = self.world.upstream.count();
    }

    /// `age:max+60`: what is saved now is so much older when the program starts.
    async fn age_snapshot(&mut self, age: &str) {
        let more = age.strip_prefix("age:max").and_then(|more| more.parse::<i64>().ok());
        self.start().await;
        self.sync().await;
        self.stop();
        self.ahead = GREATEST_AGE + more.expect("an age such as `age:max+60`");
        let clock = self.wanted.clock.as_ref().expect("a clock");
        clock.set(&format!("+{}", self.ahead));
    }

    async fn set_clock(&mut self, offset: &str) {
        let clock = self.wanted.clock.as_ref().expect("a clock");
        let direction = if offset.starts_with('-') { "back" } else { "forward" };
        let jumps = format!("portvakt_clock_jumps_total{{direction=\"{direction}\"}}");
        let before = self.world.proxy.metric(&jumps).await;
        clock.set(offset);
        let world = &self.world;
        wait_until("noticed", async || world.proxy.metric(&jumps).await > before + 0.5).await;
    }

    async fn flood(&mut self, count: usize) {
        use base64::Engine;
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let good = self.good().await;
        let (_, rest) = good.token.split_once('.').expect("a compact token");
        for _ in 0..count.div_ceil(100) {
            let asks = (0..100).map(|_| {
                let kid = uuid::Uuid::new_v4().to_string();
                let header = engine.encode(json!({ "alg": "RS256", "kid": kid }).to_string());
                let made_up = format!("{header}.{rest}");
                async { self.world.get(&good.target, &{ made_up }).await.status().as_u16() }
            });
            self.flood.extend(join_all(asks).await);
            self.meanwhile.push(ask(&self.world, &good).await.status);
        }
    }

    /// Opens connections that begin a handshake and go no further.
    async fn stall(&mut self, count: usize) {
        for _ in 0..count {
            let mut wire = Wire::connect(self.world.proxy.address()).await;
            let opened = Instant::now();
            wire.send([22, 3, 1, 2, 0, 1]).await;
            self.slow.push(tokio::spawn(async move {
                wire.rest().await;
                opened.elapsed()
            }));
        }
    }

    /// Opens connections that begin a head and go no further.
    async fn slow_headers(&mut self, count: usize) {
        for _ in 0..count {
            let mut wire = Wire::connect(self.world.proxy.address()).await;
            let opened = Instant::now();
            wire.send("GET / HTTP/1.1\r\nHost: api\r\nX-Slow: ").await;
            self.slow.push(tokio::spawn(async move {
                wire.rest().await;
                opened.elapsed()
            }));
        }
    }

    /// `200`: that many connections, held; `200:headers:64k`: each with a request of that size.
    async fn connections(&mut self, what: &str) {
        let (count, size) = what.split_once(":headers:").unwrap_or((what, "0"));
        let (count, size): (usize, u64) = (count.parse().expect("a count"), bytes(size));
        let address = self.world.proxy.address().to_owned();
        if size == 0 {
            for _ in 0..count {
                self.held.push(Wire::connect(&address).await);
            }
            return;
        }
        let good = self.good().await;
        // The token is a part of it.
        let lines = usize::try_from(size / 1024).expect("few").saturating_sub(2);
        let value = "a".repeat(1016);
        let more: Vec<String> = (0..lines).map(|line| format!("X-{line}: {value}\r\n")).collect();
        let more = more.concat();
        let asks = (0..count).map(|_| Self::answer(&address, &good, &more));
        self.flood.extend(join_all(asks).await.iter().map(|answer| answer.status));
        assert!(self.flood.iter().all(|status| *status != 0), "an answer to each");
    }

    /// `200rps`, by clients that keep their connections, until they are refused.
    async fn load(&mut self, rate: &str) {
        const CLIENTS: u32 = 10;
        let rate: u32 = rate.trim_end_matches("rps").parse().expect("a rate");
        let pause = Duration::from_secs(1) * CLIENTS / rate;
        let good = self.good().await;
        let address = self.world.proxy.address().to_owned();
        let clients = (0..CLIENTS).map(|_| {
            let (address, head) = (address.clone(), Self::head(&good, ""));
            tokio::spawn(async move {
                let (mut answers, mut beat) = (0, tokio::time::interval(pause));
                while let Ok(stream) = TcpStream::connect(&address).await {
                    let mut wire = Wire::new(stream);
                    while wire.try_send(&head).await {
                        let Some((answer, _)) = wire.message().await else { break };
                        assert_eq!(status(&answer), 200);
                        answers += 1;
                        if field(&answer, "connection") == Some("close") {
                            break;
                        }
                        beat.tick().await;
                    }
                }
                answers
            })
        });
        self.load = Some(Load { clients: clients.collect() });
        let world = &self.world;
        wait_until("under load", async || world.upstream.count() >= 100).await;
    }

    async fn terminate(&mut self) {
        let begun = Instant::now();
        self.world.proxy.signal("TERM");
        let code = self.world.proxy.wait();
        self.exit = Some((code, begun.elapsed()));
        self.running = false;
        if let Some(load) = self.load.take() {
            for client in load.clients {
                self.reached += client.await.expect("whole");
            }
        }
    }

    /// Expectations of a status each take the next request.
    async fn expect(&mut self, expected: &str, next: &mut usize) -> Result<(), String> {
        let (name, rest) = expected.split_once(':').unwrap_or((expected, ""));
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let holds = |holds: bool, otherwise: String| if holds { Ok(()) } else { Err(otherwise) };
        match (name, rest) {
            ("status", rest) => {
                let status = self.answers.get(*next).map(|answer| answer.status);
                *next += 1;
                let text = status.map_or_else(String::new, |status| status.to_string());
                // What is said behind the statuses is for people.
                let listed = rest.trim_end_matches(" for the next").split(" or ");
                holds(listed.into_iter().any(|one| one == text), format!("{status:?}"))
            }
            ("client_sees", "incomplete") => {
                let answer = self.answers.get(*next).ok_or("no answer")?;
                *next += 1;
                holds(!answer.whole, format!("a whole {}", answer.status))
            }
            ("connection_not_reused", "") => {
                let good = self.good().await;
                Self::answer(self.world.proxy.address(), &good, "").await;
                let breaking = self.wanted.upstream.as_ref().ok_or("no such upstream")?;
                let connections = breaking.upstream.seen.connections();
                holds(connections == 2, format!("{connections} connections for two requests"))
            }
            ("not_ready", "") => {
                holds(self.ready.last() == Some(&false), format!("{:?}", self.ready))
            }
            ("upstream", "none") => {
                let count = self.world.upstream.count();
                holds(count == self.reached, format!("{count} reached it, not {}", self.reached))
            }
            ("status_all", rest) => {
                let all = self.flood.iter().all(|one| u64::from(*one) == number(rest));
                holds(all && !self.flood.is_empty(), format!("{:?}", self.flood))
            }
            ("good_request_meanwhile", rest) => {
                let all = self.meanwhile.iter().all(|one| u64::from(*one) == number(rest));
                holds(all && !self.meanwhile.is_empty(), format!("{:?}", self.meanwhile))
            }
            (bound, "") if bound.starts_with("key_set_fetches<=") => {
                let most = number(bound.trim_start_matches("key_set_fetches<="));
                let fetches = self.world.calls("jwks").await - self.fetched;
                holds(fetches <= most, format!("{fetches} fetches"))
            }
            (within, "") if within.starts_with("closed within handshake_timeout+") => {
                let more = within.trim_start_matches("closed within handshake_timeout+");
                self.slow_closed_within(HANDSHAKE + number(more)).await
            }
            ("slow_closed_within", seconds) => self.slow_closed_within(number(seconds)).await,
            ("no_exit", "") => {
                let (live, _) = self.world.proxy.admin("/livez").await;
                holds(live == 200, format!("/livez says {live}"))
            }
            ("no_oom_kill", "") => {
                // Memory that was never there cannot have been refused.
                let (most, limit) = (self.world.proxy.memory().1, self.wanted.memory);
                holds(limit.is_some_and(|limit| most < limit), format!("{most} bytes at the most"))
            }
            ("in_flight", "finished") => {
                let records = self.world.proxy.audit();
                let cut = records.iter().filter(|record| record["complete"] != true).count();
                holds(cut == 0, format!("{cut} were cut off"))
            }
            ("new", "refused") => {
                let again = TcpStream::connect(self.world.proxy.address()).await;
                holds(again.is_err(), "somebody still listens".into())
            }
            ("audit_count==responses", "") => {
                let (world, responses) = (&self.world, self.reached);
                wait_until("a record of each", async || world.proxy.audit().len() >= responses)
                    .await;
                let records = world.proxy.audit().len();
                holds(records == responses, format!("{records} records, {responses} answers"))
            }
            ("exit", code) => {
                let is = self.exit.and_then(|(code, _)| code);
                holds(is == code.parse().ok(), format!("{is:?}"))
            }
            ("exit_within", seconds) => {
                let took = self.exit.map(|(_, took)| took);
                let limit = Duration::from_secs(number(seconds));
                holds(took.is_some_and(|took| took <= limit), format!("{took:?}"))
            }
            _ => self.expect_of_now(name, rest).await,
        }
    }

    /// Expectations of how the program is at the end.
    async fn expect_of_now(&mut self, name: &str, rest: &str) -> Result<(), String> {
        let holds = |holds: bool, otherwise: String| if holds { Ok(()) } else { Err(otherwise) };
        match (name, rest) {
            ("old configuration in use", "") => {
                let good = self.good().await;
                let status = ask(&self.world, &good).await.status;
                holds(status == 200, format!("a good request: {status}"))
            }
            ("alarm", "") => {
                let refused = self.world.proxy.metric(REFUSED).await;
                let told = self.world.proxy.log().iter().any(|line| line.contains("is not taken"));
                holds(
                    refused > 0.5 && told,
                    format!("{REFUSED} {refused}, told in the log: {told}"),
                )
            }
            ("log", "snapshot_refused") => {
                let log = self.world.proxy.log();
                let told = log.iter().any(|line| line.contains("the snapshot is not used"));
                holds(told, format!("{log:?}"))
            }
            ("token not in any output", "") => self.keeps_its_secrets().await,
            ("audit", "no_hole") => self.has_no_hole().await,
            _ => Err("nobody knows it".into()),
        }
    }

    async fn slow_closed_within(&mut self, seconds: u64) -> Result<(), String> {
        let mut longest = Duration::ZERO;
        for slow in self.slow.drain(..) {
            longest = longest.max(slow.await.expect("whole"));
        }
        if longest > Duration::ZERO && longest <= Duration::from_secs(seconds) {
            return Ok(());
        }
        Err(format!("the last after {longest:?}"))
    }

    async fn keeps_its_secrets(&self) -> Result<(), String> {
        let mut lines = self.world.proxy.log();
        if lines.len() <= 50 {
            return Err(format!("only {} lines", lines.len()));
        }
        lines.extend(self.world.proxy.audit().iter().map(Value::to_string));
        lines.push(self.world.proxy.admin("/metrics").await.1);
        let key: Value = serde_json::from_str(&own_key(&self.world.sandbox).await).expect("a key");
        let mut secrets = vec![seed::SUBSCRIPTION_KEY, key["d"].as_str().expect("private")];
        // Any token begins so.
        secrets.push("eyJ");
        let signature = |ask: &'_ Ask| ask.token.rsplit('.').next().map(str::to_owned);
        let signatures: Vec<String> = self.asked.iter().filter_map(signature).collect();
        secrets.extend(signatures.iter().map(String::as_str));
        let found = lines.iter().find(|line| secrets.iter().any(|secret| line.contains(secret)));
        found.map_or(Ok(()), |line| Err(line.clone()))
    }
}

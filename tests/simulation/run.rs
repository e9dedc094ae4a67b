//! A seed, lived through: steps are taken, and after each request and each step the promises are held against what
//! was true. The promises are those of the design, §7; which one a check stands for is said there.

use super::dice::{Call, Event, Kid, PARTIES, Part, RESOURCES, Step, USERS};
use super::keys::{LASTS, token};
use super::program::{
    AGES, Ages, Generation, KEYS_MAX_AGE, LEEWAY, LEFT_OUT, NO_FOR, POLICY_MAX_AGE, Program,
    UNKNOWN_KEY,
};
use super::world::{
    Asked, Lie, Outside, PARTY_IDS, POLICIES_REMEMBERED, RESOURCE_IDS, RIGHTS_REMEMBERED, World,
    asked, key_name, user_id,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use portvakt::config::{AuditConfig, AuditOutput, OnLoss, RotateConfig};
use portvakt::domain::claims::ClaimError;
use portvakt::domain::decision::{Cause, Source, Verdict};
use portvakt::enforce::Grant;
use portvakt::enforce::authenticate::TokenError;
use portvakt::enforce::authorize::Permit;
use portvakt::enforce::facts::{BodyError, BodyReader, Facts};
use portvakt::enforce::ports::EdgeFuture;
use portvakt::enforce::rejection::Rejection;
use portvakt::enforce::vigil::{Asked as AskedFor, Going, Lapse};
use portvakt::record::audit::Audit;
use portvakt::record::pseudonyms::Pseudonyms;
use portvakt::record::refusals::Refusals;
use portvakt::record::{Opening, Record, Recorder};
use portvakt::telemetry::metrics::Metrics;
use portvakt::trace::{Place, Recording, Tracer};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// After all faults have ended, what is true is served within this time.
const RECOVERY: Duration = Duration::from_secs(40);
/// The longest that one question may take with everybody who waits for it, in milliseconds.
const FLIGHT: u64 = 6_000;

/// How often what came about: a simulation in which nothing happens proves nothing.
pub(crate) type Tally = BTreeMap<String, usize>;

pub(crate) struct Report {
    /// What happened, and the audit lines.
    pub(crate) log: String,
    /// The first promise that was broken.
    pub(crate) wrong: Option<String>,
    pub(crate) tally: Tally,
}

/// What all requests of a seed share.
struct Stage {
    outside: Outside,
    recorder: Arc<Recorder>,
    opened: Mutex<usize>,
    tally: Mutex<Tally>,
    /// Streams that go on: since when, and about what.
    streams: Mutex<BTreeMap<usize, Asked>>,
    /// The snapshot may make things so much younger than they are.
    slack: Mutex<u64>,
}

impl Stage {
    fn count(&self, what: impl Into<String>) {
        *self.tally.lock().unwrap().entry(what.into()).or_default() += 1;
    }

    fn slack(&self) -> u64 {
        *self.slack.lock().unwrap()
    }
}

/// Lives through `steps` in the world of `seed`.
pub(crate) fn live(seed: u64, steps: &[Step], lie: Option<Lie>) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit");
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).max_blocking_threads(1).build().unwrap();
    let mut report = runtime.block_on(async {
        let metrics = Metrics::new().unwrap();
        let audit = AuditConfig {
            output: AuditOutput::File(file.clone()),
            queue: NonZeroUsize::new(4096).unwrap(),
            on_loss: OnLoss::Count,
            rotate: RotateConfig::default(),
            chain: None,
            pseudonym_key: None,
        };
        let recorder = Recorder {
            metrics: metrics.clone(),
            audit: Audit::open(&audit, &metrics, || {}).unwrap(),
            pseudonyms: Pseudonyms::new(None),
            refusals: Refusals::default(),
            tracer: Tracer::off(),
        };
        let stage = Arc::new(Stage {
            outside: Outside(Arc::new(Mutex::new(World::new(seed, lie)))),
            recorder: Arc::new(recorder),
            opened: Mutex::default(),
            tally: Mutex::default(),
            streams: Mutex::default(),
            slack: Mutex::default(),
        });
        let mut driver = Driver::new(seed, Arc::clone(&stage), metrics);
        driver.go(steps).await;
        driver.end().await;
        stage.recorder.audit.close();
        let mut world = stage.outside.lock();
        // Promise 3: each request has exactly one record.
        let lines = std::fs::read_to_string(&file).unwrap();
        let (opened, written) = (*stage.opened.lock().unwrap(), lines.lines().count());
        if opened != written {
            world.accuse(format!("{opened} requests have {written} records"));
        }
        // What happens at the same moment has no order.
        let mut happened: Vec<&str> = world.log.lines().collect();
        happened.sort_unstable();
        let mut written: Vec<&str> = lines.lines().collect();
        written.sort_unstable();
        let log = [happened, written].concat().join("\n");
        Report {
            log,
            wrong: world.wrong.take(),
            tally: std::mem::take(&mut *stage.tally.lock().unwrap()),
        }
    });
    report.tally.insert("seeds".into(), 1);
    report
}

struct Driver {
    seed: u64,
    stage: Arc<Stage>,
    metrics: Metrics,
    program: Option<Program>,
    which: u64,
    requests: JoinSet<()>,
    next: usize,
}

impl Driver {
    fn new(seed: u64, stage: Arc<Stage>, metrics: Metrics) -> Self {
        let program = Some(Program::start(seed, &stage.outside, &metrics, 0));
        Self { seed, stage, metrics, program, which: 0, requests: JoinSet::new(), next: 0 }
    }

    async fn go(&mut self, steps: &[Step]) {
        // All else that happens falls on whole tens of milliseconds, so nothing happens together with a step.
        sleep(Duration::from_millis(5007)).await;
        for step in steps {
            sleep(Duration::from_millis(step.gap)).await;
            if !matches!(step.event, Event::Request(_)) {
                self.stage.outside.lock().note(format_args!("{:?}", step.event));
            }
            self.take(step.event).await;
            self.reap();
            if self.look() {
                return;
            }
        }
        self.recover().await;
    }

    /// Takes away requests that have ended, and fails where one did in a panic.
    fn reap(&mut self) {
        while let Some(ended) = self.requests.try_join_next() {
            ended.unwrap();
        }
    }

    async fn take(&mut self, event: Event) {
        let outside = self.stage.outside.clone();
        match event {
            Event::Grant(user, party, held) => outside.lock().grant(user, party, held),
            Event::Revoke(user, party, held) => outside.lock().revoke(user, party, held),
            Event::RevokeAll(user) => outside.lock().revoke_all(user),
            Event::Policy(resource, read, write, closes) => {
                outside.lock().publish_policy(resource, Some((read, write, closes)));
            }
            Event::PolicyGone(resource) => outside.lock().publish_policy(resource, None),
            Event::Weather(part, weather) => {
                let mut world = outside.lock();
                match part {
                    Part::Pdp => world.pdp = weather,
                    Part::Register => world.register = weather,
                    Part::Both => (world.pdp, world.register) = (weather, weather),
                    Part::Issuer => world.issuer = weather,
                }
            }
            Event::Publish(key) => outside.lock().publish_key(key),
            Event::Withdraw(key) => outside.lock().withdraw_key(key),
            Event::DiskFull(full) => outside.lock().disk_full = full,
            Event::Jump(seconds) => {
                let mut world = outside.lock();
                world.set += seconds * 1000;
                if seconds < 0 {
                    world.back_since_saved += seconds.unsigned_abs() * 1000;
                }
            }
            Event::Crash(down) => {
                let program = self.program.take().unwrap();
                self.requests.shutdown().await;
                program.die().await;
                self.stage.streams.lock().unwrap().clear();
                self.stage.count("crash");
                self.start(down).await;
            }
            Event::Drain(down) => {
                let program = self.program.take().unwrap();
                // What was accepted is answered. Streams are ended.
                while self.stage.streams.lock().unwrap().len() < self.requests.len() {
                    sleep(Duration::from_millis(10)).await;
                    self.reap();
                }
                self.requests.shutdown().await;
                self.stage.streams.lock().unwrap().clear();
                program.drain().await;
                self.stage.count("drain");
                self.start(down).await;
            }
            Event::Reload(which) => {
                self.program.as_mut().unwrap().reload(which).await;
                self.which = which;
                self.stage.count("reload");
            }
            Event::Request(call) => self.request(call, false),
        }
    }

    async fn start(&mut self, down: u64) {
        sleep(Duration::from_millis(down)).await;
        *self.stage.slack.lock().unwrap() +=
            std::mem::take(&mut self.stage.outside.lock().back_since_saved);
        self.program =
            Some(Program::start(self.seed, &self.stage.outside, &self.metrics, self.which));
    }

    fn request(&mut self, call: Call, sure: bool) {
        let generation = Arc::clone(&self.program.as_ref().unwrap().generation);
        self.next += 1;
        let (stage, number) = (Arc::clone(&self.stage), self.next);
        self.requests.spawn(async move { request(stage, generation, call, number, sure).await });
    }

    /// Holds what goes on, and what was called, against the promises; whether one is broken.
    fn look(&self) -> bool {
        let mut world = self.stage.outside.lock();
        // Promise 1, for what goes on: judged again every `max_age`, by what is no older than that or the grace.
        let ages = AGES.iter().flatten();
        let longest = ages.map(|ages| ages.max_age + ages.max_age.max(ages.grace)).max().unwrap();
        let longest = longest + FLIGHT + self.stage.slack();
        let now = world.now();
        for about in self.stage.streams.lock().unwrap().values() {
            let (rights, policies) = remembered(&world, now, now.saturating_sub(longest));
            if !world.was_permitted(*about, (rights, policies, now), false) {
                world.accuse(format!("a stream goes on without a right: {about:?}"));
            }
        }
        // Promise 4: fetches for unknown keys.
        let unknown: Vec<_> = world.fetches.iter().filter(|fetch| fetch.for_unknown).collect();
        let close = unknown
            .windows(2)
            .find(|two| two[0].run == two[1].run && two[1].from - two[0].from < UNKNOWN_KEY);
        if let Some(close) = close.map(|two| format!("two fetches for unknown keys: {two:?}")) {
            world.accuse(close);
        }
        world.wrong.is_some()
    }

    /// All faults end. Without a hand all that is true is served after a while, and nothing else.
    async fn recover(&mut self) {
        self.stage.outside.lock().note(format_args!("all faults end"));
        self.stage.outside.lock().heal();
        sleep(RECOVERY).await;
        for user in 0..USERS {
            for party in 0..PARTIES {
                for resource in 0..RESOURCES {
                    // Every other one.
                    let write = (user + party + resource) % 2 == 1;
                    let call = Call {
                        user,
                        other: None,
                        party,
                        resource,
                        write,
                        kid: Kid::Newest,
                        issued: 0,
                        max_age: None,
                        leaves: None,
                        stream: false,
                    };
                    self.request(call, true);
                }
            }
            sleep(Duration::from_millis(500)).await;
        }
        sleep(Duration::from_secs(10)).await;
        self.look();
    }

    async fn end(mut self) {
        self.requests.shutdown().await;
        self.stage.streams.lock().unwrap().clear();
        if let Some(program) = self.program.take() {
            program.drain().await;
        }
    }
}

/// How far back what the PDP says may reach, when it was asked at `since`.
fn remembered(world: &World, now: u64, since: u64) -> (u64, u64) {
    let back = |far: u64| if world.remembers { since.saturating_sub(far) } else { since };
    let (rights, policies) = (back(RIGHTS_REMEMBERED), back(POLICIES_REMEMBERED));
    (rights.min(now), policies.min(now))
}

struct NoBody;

impl BodyReader for NoBody {
    fn read(&mut self, _: usize) -> EdgeFuture<'_, Result<Bytes, BodyError>> {
        Box::pin(async { Ok(Bytes::new()) })
    }
}

/// One request, as the model sees it.
struct Seen {
    call: Call,
    number: usize,
    ages: Ages,
    which: u64,
    /// Its key, where it is one of the issuer's.
    key: Option<u64>,
    /// When its token ends, by the time of day.
    ends: i64,
    begun: u64,
    /// The time of day when it began.
    day: i64,
    /// By now it must be right.
    sure: bool,
}

async fn request(
    stage: Arc<Stage>,
    generation: Arc<Generation>,
    call: Call,
    number: usize,
    sure: bool,
) {
    let method = if call.write { Method::POST } else { Method::GET };
    let party = PARTY_IDS[usize::try_from(call.party).unwrap()];
    let path =
        format!("/v1/parties/{party}/{}", RESOURCE_IDS[usize::try_from(call.resource).unwrap()]);
    let uri: Uri = path.parse().unwrap();
    let mut ages = AGES[usize::try_from(generation.which).unwrap()][usize::from(call.write)];
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("api"));
    if let Some(seconds) = call.max_age {
        headers.insert("portvakt-max-age", HeaderValue::from(seconds));
        (ages.max_age, ages.grace) =
            (ages.max_age.min(seconds * 1000), ages.grace.min(seconds * 1000));
    }
    let (seen, token, at) = {
        let world = stage.outside.lock();
        let (key, kid) = match call.kid {
            Kid::Newest => (Some(world.newest_key), key_name(world.newest_key)),
            Kid::Any(key) => (Some(key), key_name(key)),
            Kid::MadeUp(number) => (None, format!("nobody-{number}")),
        };
        let (begun, day) = (world.now(), world.seconds());
        // Few different ones, since signing takes long.
        let issued = day - day.rem_euclid(30) - call.issued;
        let users: Vec<String> = [Some(call.user), call.other]
            .into_iter()
            .flatten()
            .map(|user| user_id(user).to_string())
            .collect();
        let token = token(&kid, key.unwrap_or(0), &users, PARTY_IDS[0], issued);
        let ends = issued + LASTS;
        let which = generation.which;
        (Seen { call, number, ages, which, key, ends, begun, day, sure }, token, world.wall())
    };
    headers.insert("authorization", HeaderValue::try_from(format!("Bearer {token}")).unwrap());
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let facts =
        Facts { method: &method, uri: &uri, version: Version::HTTP_11, headers: &headers, peer };
    *stage.opened.lock().unwrap() += 1;
    let parent = format!("00-{:032x}-0000000000000001-00", number + 1);
    let told = [(HeaderName::from_static("traceparent"), HeaderValue::try_from(parent).unwrap())];
    let told = told.into_iter().collect();
    let opening = Opening {
        at,
        trace: Place::of(&told, Recording::Off),
        peer,
        secure: false,
        version: Version::HTTP_11,
        method: &method,
        uri: &uri,
        body_limit: None,
        mode: "proxy",
    };
    let mut record = Record::open(Arc::clone(&stage.recorder), opening);
    let leaves = call.leaves.map_or(Duration::from_secs(3600), Duration::from_millis);
    let mut body = NoBody;
    let judging = generation.enforcer.enforce(facts, &mut body, &mut record.trail);
    let Ok(outcome) = timeout(leaves, judging).await else {
        stage.outside.lock().note(format_args!("request {number} {call:?}: left"));
        return stage.count("left");
    };
    judged(&stage, &seen, &outcome);
    let status =
        outcome.as_ref().err().map_or(http::StatusCode::OK, |rejection| rejection.code().status());
    record.responding(status);
    record.complete();
    if let (Ok(grant), true) = (outcome, call.stream) {
        stream(&stage, &generation, &grant, AskedFor { method, uri }, number).await;
    }
}

/// The answer goes on until it must end.
async fn stream(
    stage: &Stage,
    generation: &Generation,
    grant: &Grant,
    asked_for: AskedFor,
    number: usize,
) {
    let Grant::Right(permit) = grant else { return };
    let about = asked(permit.question());
    stage.streams.lock().unwrap().insert(number, about);
    let vigil = generation.enforcer.vigil(grant, &asked_for, Going::Answer, Instant::now());
    let lapse = vigil.lapse(|_| ()).await;
    stage.streams.lock().unwrap().remove(&number);
    stage.count(format!("stream ended: {}", lapse.label()));
    let mut world = stage.outside.lock();
    world.note(format_args!("stream {number} {about:?} ends: {lapse}"));
    let since = world.now().saturating_sub(NO_FOR + FLIGHT);
    let told = |said: Result<Verdict, Cause>| {
        world
            .said
            .iter()
            .rev()
            .any(|one| one.about == about && one.to >= since && one.result == said)
    };
    // Promise 2.
    let explained = match lapse {
        Lapse::No(verdict) => told(Ok(verdict)),
        Lapse::Unknown(why) => match why.cause {
            Cause::NoPolicy => world.ever_lacked_policy(about.resource),
            Cause::NoKeys | Cause::Busy => true,
            cause => told(Err(cause)),
        },
        Lapse::TokenEnded | Lapse::Stopping => false,
        Lapse::KeyGone | Lapse::RouteChanged => true,
    };
    if !explained {
        world.accuse(format!("stream {number} about {about:?} was ended without reason: {lapse}"));
    }
}

fn judged(stage: &Stage, seen: &Seen, outcome: &Result<Grant, Rejection>) {
    let mut world = stage.outside.lock();
    let (number, call) = (seen.number, seen.call);
    match outcome {
        Ok(Grant::Right(permit)) => {
            let evidence = permit.evidence();
            let grace = if evidence.in_grace { " in grace" } else { "" };
            let (basis, age) = (evidence.source.basis(), evidence.age);
            world.note(format_args!(
                "request {number} {call:?}: permit, {basis}{grace}, {} ms",
                age.as_millis()
            ));
            stage.count(format!("permit, {basis}{grace}"));
            if let Some(wrong) = wrong_permit(&world, seen, permit, stage.slack()) {
                world.accuse(format!("request {number} {call:?}: {wrong}"));
            }
        }
        Ok(_) => world.accuse(format!("request {number}: let in without a right")),
        Err(rejection) => {
            world.note(format_args!("request {number} {call:?}: {rejection}"));
            stage.count(format!(
                "refused, {}",
                rejection.reason().unwrap_or(rejection.code().label())
            ));
            if let Some(wrong) = wrong_refusal(&world, seen, rejection) {
                world.accuse(format!("request {number} {call:?}: {rejection}: {wrong}"));
            }
        }
    }
}

impl Seen {
    fn users(&self) -> impl Iterator<Item = u64> {
        [Some(self.call.user), self.call.other].into_iter().flatten()
    }

    fn about(&self, user: u64) -> Asked {
        let Call { party, resource, write, .. } = self.call;
        Asked { user, party, resource, write }
    }
}

/// Promise 1: a valid token, and a permit no older than the route allows.
fn wrong_permit(world: &World, seen: &Seen, permit: &Permit, slack: u64) -> Option<String> {
    let (evidence, about) = (permit.evidence(), asked(permit.question()));
    if !seen.users().any(|user| seen.about(user) == about) {
        return Some(format!("permitted for another question: {about:?}"));
    }
    if seen.which == 1 && about.resource == LEFT_OUT {
        return Some("it has no route".into());
    }
    let day = seen.day.min(world.seconds());
    if day >= seen.ends + LEEWAY {
        return Some("its token has ended".into());
    }
    let Some(key) = seen.key else { return Some("its key is made up".into()) };
    if let Some(wrong) = wrong_key(world, seen, key) {
        return Some(wrong);
    }
    let told = u64::try_from(evidence.age.as_millis()).unwrap();
    let Ages { max_age, grace } = seen.ages;
    let most = if evidence.in_grace { grace } else { max_age };
    if evidence.source != Source::Pdp && told >= most {
        return Some(format!("the permit is {told} ms old, of {most} at most"));
    }
    let (begun, now) = (seen.begun, world.now());
    let mut to_it = world.said.iter().filter(|said| said.about == about && said.to <= now);
    // Promise 2: grace is for outages.
    if evidence.in_grace
        && !to_it.clone().any(|said| said.to >= begun && said.result.is_err_and(Cause::is_outage))
    {
        return Some("in grace, and no question was in vain".into());
    }
    let back = |far: u64| begun.saturating_sub(far + slack);
    if evidence.source == Source::Derived {
        let asked_for = seen.call.max_age.map_or(u64::MAX, |seconds| seconds * 1000);
        let policies = POLICY_MAX_AGE.min(asked_for);
        let policies = if evidence.in_grace { policies.max(grace) } else { policies };
        let window = (back(told), back(policies), now);
        let was = world.was_permitted(about, window, true);
        return (!was).then(|| format!("derived from what was not true in {told} ms"));
    }
    // What the PDP said, no older than is told; and, asked for this request, no older than the route allows.
    let from =
        if evidence.source == Source::Pdp { back(told).max(back(max_age)) } else { back(told) };
    let witness = to_it.rfind(|said| said.from >= from && said.result == Ok(Verdict::Permit));
    let Some(witness) = witness else {
        return Some(format!("the PDP has not permitted it within {told} ms"));
    };
    let (rights, policies) = remembered(world, now, witness.from);
    let was = world.was_permitted(about, (rights, policies, now), false);
    (!was).then(|| "permitted by a PDP that cannot know of it".into())
}

fn wrong_key(world: &World, seen: &Seen, key: u64) -> Option<String> {
    if !world.had_key(key, seen.begun.saturating_sub(KEYS_MAX_AGE)) {
        return Some("its key was withdrawn long ago".into());
    }
    // What was fetched last, as far as it was there, and what came meanwhile.
    let of_run = world.fetches.iter().filter(|fetch| fetch.run == world.run);
    let fetched: Vec<_> =
        of_run.filter_map(|fetch| Some((fetch.to, fetch.keys.as_ref()?))).collect();
    let before = fetched.iter().rfind(|(to, _)| *to < seen.begun);
    let meanwhile = fetched.iter().filter(|(to, _)| *to >= seen.begun);
    let known = before.into_iter().chain(meanwhile).any(|(_, keys)| keys.contains(&key));
    (!known).then(|| "its key is not in the set that was fetched last".into())
}

/// Promise 2: "cannot tell" is never shown as "no", nor the other way; and in the end all that is true is served.
fn wrong_refusal(world: &World, seen: &Seen, rejection: &Rejection) -> Option<String> {
    let (begun, now) = (seen.begun, world.now());
    if seen.sure {
        let about = seen.about(seen.call.user);
        let routed = seen.which == 0 || about.resource != LEFT_OUT;
        let no = matches!(rejection, Rejection::NoRight(..) | Rejection::Denied(..));
        if routed && world.has_policy(about.resource) && (world.is_permitted(about) || !no) {
            return Some("all is well, and it is not served".into());
        }
    }
    let said = |user: u64, since: u64| {
        let about = seen.about(user);
        world
            .said
            .iter()
            .filter(move |said| said.about == about && said.to >= since && said.to <= now)
    };
    match rejection {
        Rejection::NoRight(..) | Rejection::Denied(..) => {
            let since = begun.saturating_sub(NO_FOR.min(seen.ages.max_age) + FLIGHT);
            let no = |user: u64| {
                said(user, since)
                    .any(|said| matches!(said.result, Ok(verdict) if verdict != Verdict::Permit))
            };
            (!seen.users().all(no)).then(|| "the PDP has said no such thing".into())
        }
        Rejection::Undecided(why) => {
            let explained = match why.cause {
                Cause::NoPolicy => world.ever_lacked_policy(seen.call.resource),
                Cause::Busy => now - begun >= 2_000,
                cause => {
                    seen.users().any(|user| said(user, begun).any(|said| said.result == Err(cause)))
                }
            };
            (!explained).then(|| "nothing was in vain".into())
        }
        Rejection::Unverified(_) => {
            let of_run = || world.fetches.iter().filter(|fetch| fetch.run == world.run);
            let failed = of_run().any(|fetch| fetch.keys.is_none());
            let none = !of_run().any(|fetch| fetch.keys.is_some() && fetch.to <= begun);
            (!failed && !none).then(|| "the issuer has always answered".into())
        }
        Rejection::Token(TokenError::UnknownKey) => {
            let key = seen.key?;
            let known = world.has_had_key(key, begun.saturating_sub(UNKNOWN_KEY + 100));
            known.then(|| "the issuer has that key".into())
        }
        Rejection::Token(TokenError::Claim(ClaimError::Expired)) => {
            let ended = seen.day.max(world.seconds()) >= seen.ends + LEEWAY;
            (!ended).then(|| "it has not".into())
        }
        Rejection::Token(TokenError::Claim(ClaimError::NotYet(_))) => {
            // The clock was set back meanwhile.
            (world.seconds() >= seen.day).then(|| "it is".into())
        }
        Rejection::NoRoute => {
            let routed = seen.which == 0 || seen.call.resource != LEFT_OUT;
            routed.then(|| "it has one".into())
        }
        _ => Some("nobody asked for that".into()),
    }
}

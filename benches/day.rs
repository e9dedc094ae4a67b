//! A day of 24 hours under virtual time: the real task, register, judge and gate against an Altinn in
//! memory that takes 30 ms.
//!
//! `cargo bench --bench day` goes through several settings and disturbances and prints a line for each;
//! `-- hours` prints the first of them hour by hour.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::as_conversions,
    reason = "a measurement prints, and stops when it cannot go on"
)]

use portvakt::altinn::gate::Gate;
use portvakt::clock::Clock;
use portvakt::config::{ConfirmationConfig, Freshness, PolicyConfig, RegisterConfig};
use portvakt::domain::decision::{Cause, Source as From, Undecided, Verdict};
use portvakt::domain::delegation::{PackageId, PartyRights};
use portvakt::domain::party::{OrgNumber, Party};
use portvakt::domain::resource::{Question, ResourceId, Right};
use portvakt::domain::system_user::SystemUserId;
use portvakt::domain::time::UnixTime;
use portvakt::enforce::answers::{Answers, Sampler};
use portvakt::enforce::authorize::{Refusal, judge};
use portvakt::enforce::confirmations::Confirmations;
use portvakt::enforce::notices::Notices;
use portvakt::enforce::ports::{Account, Call, EdgeFuture, RemotePdp, Urgency};
use portvakt::register::{self, Limits, Seen, Ticks};
use portvakt::sync::metrics::SyncMetrics;
use portvakt::sync::ports::{AccessLists, Feed, FeedPosition, PublishedResource, Source, Wanted};
use portvakt::sync::{Parts, Sync};
use portvakt::telemetry::metrics::Metrics;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const LATENCY: Duration = Duration::from_millis(30);
const BUDGET: Duration = Duration::from_millis(2500);
const USERS: usize = 20_000;
const VENDORS: usize = 60;
/// The accountant's system user, and how many clients it has.
const AGENT: usize = 0;
const CLIENTS: usize = 2_000;
const CEILING: usize = 50;
/// The last resource is open by single right alone.
const RESOURCES: [&str; 5] = ["ex-alfa", "ex-beta", "ex-gamma", "ex-delta", "ex-single"];
const READ: Freshness =
    Freshness { fresh_for: MINUTE, max_age: Duration::from_secs(300), outage_grace: HOUR };
const WRITE: Freshness =
    Freshness { fresh_for: Duration::from_secs(15), max_age: MINUTE, outage_grace: Duration::ZERO };

/// `SplitMix64`.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.share()).ln()
    }

    /// About Zipf with exponent 1: the first places come far more often.
    fn zipf(&mut self, end: usize) -> usize {
        (((end as f64 + 1.0).powf(self.share())) as usize - 1).min(end - 1)
    }
}

fn organization(number: usize) -> OrgNumber {
    OrgNumber::from_packed(310_000_000 + number as u32).unwrap()
}

fn user(number: usize) -> SystemUserId {
    format!("5e000000-0000-4000-8000-{:012}", number + 1).parse().unwrap()
}

fn number(id: SystemUserId) -> usize {
    id.to_string().split_off(24).parse::<usize>().unwrap() - 1
}

/// A hundred parties for each ordinary system user would be too many: one, and a sub-unit for every other.
fn parties(number: usize) -> Vec<usize> {
    match number {
        AGENT => (1_000_000..1_000_000 + CLIENTS).collect(),
        odd if odd % 2 == 1 => vec![odd, 100_000 + odd],
        even => vec![even],
    }
}

/// Vendors of very different sizes.
fn vendor(number: usize) -> usize {
    let mut dice = Dice(number as u64);
    dice.zipf(VENDORS)
}

fn seen(number: usize) -> Seen {
    let vendor = organization(5_000_000 + vendor(number));
    Seen {
        id: user(number),
        owner: Some(organization(number)),
        system: Some(format!("{vendor}_system").parse().unwrap()),
        vendor: Some(vendor),
    }
}

/// Calls by kind.
#[derive(Clone, Copy, Default)]
struct Calls {
    parties: u64,
    authorize: u64,
    several: u64,
    registry: u64,
}

impl Calls {
    fn all(self) -> u64 {
        self.parties + self.authorize + self.several + self.registry
    }
}

#[derive(Default)]
struct Tally {
    calls: [Calls; 24],
    second: u64,
    in_second: u64,
    most_in_second: u64,
    /// Readings of a system user that had not been used since the one before.
    wasted: u64,
    used: HashMap<SystemUserId, bool>,
    away: bool,
}

/// Altinn behind the real gate.
#[derive(Clone)]
struct Outside {
    tally: Arc<Mutex<Tally>>,
    gate: Gate,
    midnight: Instant,
}

impl Outside {
    async fn call(
        &self,
        call: Call,
        what: impl Fn(&mut Calls) -> &mut u64,
    ) -> Result<(), Undecided> {
        let latest =
            Instant::now() + if call.urgency == Urgency::Waiting { BUDGET } else { MINUTE };
        let _place = self.gate.pass(call, latest).await?;
        let passed = self.midnight.elapsed().as_secs();
        {
            let mut tally = self.tally.lock().unwrap();
            if tally.second != passed {
                (tally.second, tally.in_second) = (passed, 0);
            }
            tally.in_second += 1;
            tally.most_in_second = tally.most_in_second.max(tally.in_second);
            *what(&mut tally.calls[(passed / 3600).min(23) as usize]) += 1;
        }
        sleep(LATENCY).await;
        let away = self.tally.lock().unwrap().away;
        if away { Err(Cause::Unreachable.into()) } else { Ok(()) }
    }
}

const OWN: Call = Call { account: Account::Own, urgency: Urgency::Behind };

impl Source for Outside {
    fn parties<'a>(
        &'a self,
        id: SystemUserId,
        _: &'a Arc<Wanted>,
        account: Account,
    ) -> EdgeFuture<'a, Result<Vec<PartyRights>, Undecided>> {
        Box::pin(async move {
            {
                let mut tally = self.tally.lock().unwrap();
                let used = tally.used.insert(id, false);
                tally.wasted += u64::from(used == Some(false));
            }
            let call = Call { account, urgency: Urgency::Behind };
            self.call(call, |calls| &mut calls.parties).await?;
            let held = |party| PartyRights {
                party: organization(party),
                packages: vec!["lonn".parse().unwrap()],
                resources: Vec::new(),
            };
            Ok(parties(number(id)).into_iter().map(held).collect())
        })
    }

    fn resource<'a>(
        &'a self,
        id: &'a ResourceId,
    ) -> EdgeFuture<'a, Result<Option<PublishedResource>, Undecided>> {
        Box::pin(async move {
            // Metadata and policy are two calls.
            self.call(OWN, |calls| &mut calls.registry).await?;
            self.call(OWN, |calls| &mut calls.registry).await?;
            let policy = policy(id.as_str()).into_bytes().into();
            Ok(Some(PublishedResource { policy, access_list: false }))
        })
    }

    fn changes<'a>(
        &'a self,
        _: Option<&'a FeedPosition>,
    ) -> EdgeFuture<'a, Result<Feed, Undecided>> {
        Box::pin(async move {
            self.call(OWN, |calls| &mut calls.registry).await?;
            Ok(Feed::Changes(Vec::new(), None))
        })
    }

    fn packages(&self) -> EdgeFuture<'_, Result<HashMap<String, PackageId>, Undecided>> {
        Box::pin(async move {
            self.call(OWN, |calls| &mut calls.registry).await?;
            Ok([("lonn".to_owned(), "lonn".parse().unwrap())].into())
        })
    }

    fn access_lists<'a>(&'a self, _: &'a str) -> EdgeFuture<'a, Result<AccessLists, Undecided>> {
        Box::pin(async { Ok(AccessLists::new()) })
    }
}

impl RemotePdp for Outside {
    fn ask<'a>(
        &'a self,
        question: &'a Question,
        call: Call,
    ) -> EdgeFuture<'a, Result<Verdict, Undecided>> {
        Box::pin(async move {
            self.call(call, |calls| &mut calls.authorize).await?;
            Ok(verdict(question))
        })
    }

    fn ask_all<'a>(
        &'a self,
        questions: &'a [Question],
        call: Call,
    ) -> EdgeFuture<'a, Vec<Result<Verdict, Undecided>>> {
        Box::pin(async move {
            let mut all = Vec::new();
            for some in questions.chunks(20) {
                let said = if some.len() == 1 {
                    self.call(call, |calls| &mut calls.authorize).await
                } else {
                    self.call(call, |calls| &mut calls.several).await
                };
                all.extend(some.iter().map(|question| said.map(|()| verdict(question))));
            }
            all
        })
    }
}

/// One system user in fifty has no single right.
fn verdict(question: &Question) -> Verdict {
    let single = question.resource().as_str() == RESOURCES[4];
    let lacks = single && number(question.system_user()) % 50 == 7;
    if lacks { Verdict::NotApplicable } else { Verdict::Permit }
}

fn policy(resource: &str) -> String {
    let one = |category: &str, attribute: &str, value: &str| {
        format!(
            r#"<AnyOf><AllOf><Match MatchId="urn:oasis:names:tc:xacml:1.0:function:string-equal"><AttributeValue DataType="http://www.w3.org/2001/XMLSchema#string">{value}</AttributeValue><AttributeDesignator AttributeId="{attribute}" Category="{category}" MustBePresent="false" DataType="http://www.w3.org/2001/XMLSchema#string"/></Match></AllOf></AnyOf>"#
        )
    };
    let subject = "urn:oasis:names:tc:xacml:1.0:subject-category:access-subject";
    let who = if resource == RESOURCES[4] {
        one(subject, "urn:altinn:rolecode", "dagl")
    } else {
        one(subject, "urn:altinn:accesspackage", "lonn")
    };
    let what = one(
        "urn:oasis:names:tc:xacml:3.0:attribute-category:resource",
        "urn:altinn:resource",
        resource,
    );
    format!(
        r#"<Policy xmlns="urn:oasis:names:tc:xacml:3.0:core:schema:wd-17" PolicyId="p" Version="1.0" RuleCombiningAlgId="urn:oasis:names:tc:xacml:3.0:rule-combining-algorithm:deny-overrides"><Target/><Rule RuleId="r" Effect="Permit"><Target>{who}{what}</Target></Rule></Policy>"#
    )
}

fn rights() -> Vec<Right> {
    let of = |resource: &&str| {
        ["read", "write"].map(|action| Right {
            resource: resource.parse().unwrap(),
            action: action.parse().unwrap(),
        })
    };
    RESOURCES.iter().flat_map(of).collect()
}

/// In step with virtual time.
struct VirtualClock(Instant);

impl Clock for VirtualClock {
    fn now(&self) -> UnixTime {
        UnixTime::from_seconds(1_800_000_000 + self.0.elapsed().as_secs().cast_signed())
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + self.0.elapsed()
    }
}

/// What one run tries.
#[derive(Clone, Copy)]
struct Setting {
    name: &'static str,
    least: u64,
    most: u64,
    keep_hours: u64,
    read: Freshness,
    write: Freshness,
    /// Altinn is away from ten o'clock for so many minutes.
    outage: u64,
    /// Everything is forgotten at nine.
    restart: bool,
}

const OFTEN: Setting = Setting {
    name: "read often",
    least: 60,
    most: 1800,
    keep_hours: 24,
    read: READ,
    write: WRITE,
    outage: 0,
    restart: false,
};

/// The program, as far as it matters here.
struct Program {
    answers: Arc<Answers>,
    metrics: SyncMetrics,
    stop: CancellationToken,
}

fn start(setting: &Setting, outside: &Outside) -> Program {
    let config = RegisterConfig {
        max_system_users: NonZeroUsize::new(100_000).unwrap(),
        max_bytes: 128 << 20,
        keep_for: setting.keep_hours as u32 * HOUR,
        system_users: Vec::new(),
        refresh_least: Duration::from_secs(setting.least),
        refresh_most: Duration::from_secs(setting.most),
        policies: PolicyConfig { poll: MINUTE, check: HOUR, max_age: 10 * MINUTE },
        access_lists_owner: None,
        sample_one_in: NonZeroUsize::new(1000).unwrap(),
        snapshot: None,
    };
    let ticks = Ticks::new();
    let limits = Limits { max_entries: 100_000, max_sets: 65_536 };
    let (writer, reader) = register::open(rights(), limits, ticks.clone()).unwrap();
    let (notices, receiver) = Notices::new(prometheus::IntCounter::new("lost", "lost").unwrap());
    let pdp: Arc<dyn RemotePdp> = Arc::new(outside.clone());
    let confirm =
        ConfirmationConfig { no_for: 10 * SECOND, max_entries: 1_000_000, suspicious_for: HOUR };
    let confirmations =
        Confirmations::new(Arc::clone(&pdp), ticks.clone(), &confirm, HOUR, Box::new(|_, _| {}));
    let answers = Arc::new(Answers {
        register: Some(reader.clone()),
        confirmations: Arc::new(confirmations),
        notices: Some(Arc::new(notices)),
        ticks,
        no_for: confirm.no_for,
        policy_max_age: config.policies.max_age,
        sampler: Sampler::new(config.sample_one_in),
    });
    let metrics = SyncMetrics::register(&portvakt::families::Families::default()).unwrap();
    let parts = Parts {
        config,
        rights: rights(),
        graces: Vec::new(),
        writer,
        source: Arc::new(outside.clone()),
        pdp,
        answers: Arc::clone(&answers),
        clock: Arc::new(VirtualClock(Instant::now())),
        notices: receiver,
        metrics: metrics.clone(),
        saving: None,
    };
    let stop = CancellationToken::new();
    tokio::spawn(Sync::new(parts, reader).run(stop.clone()));
    Program { answers, metrics, stop }
}

/// A system user at work for one party: requests left, and how far apart they are.
struct Session {
    user: usize,
    party: usize,
    left: usize,
    gap: f64,
}

/// Everything that calls during the day, in order of time.
struct Traffic {
    dice: Dice,
    sessions: Vec<Session>,
    queue: BinaryHeap<Reverse<(u64, usize)>>,
}

impl Traffic {
    /// Office hours in sessions, and each vendor's system users one after the other at night.
    fn new() -> Self {
        let mut traffic =
            Self { dice: Dice(20_260_101), sessions: Vec::new(), queue: BinaryHeap::new() };
        traffic.nights();
        for minute in 0..24 * 60 {
            let rate = 150.0 * curve(minute as f64 / 60.0);
            for _ in 0..traffic.dice.exponential(1.0).mul_add(0.1 * rate, 0.9 * rate) as usize {
                let at = minute * 60_000 + traffic.dice.below(60_000) as u64;
                let user = match traffic.dice.below(100) {
                    0..10 => AGENT,
                    _ => 1 + traffic.dice.zipf(USERS - 1),
                };
                let all = parties(user);
                let party = all[traffic.dice.zipf(all.len())];
                let left = 1 + traffic.dice.exponential(20.0) as usize;
                traffic.begin(at, Session { user, party, left, gap: 8.0 });
            }
        }
        traffic
    }

    fn nights(&mut self) {
        let mut next: Vec<u64> =
            (0..VENDORS as u64).map(|vendor| (60 + 3 * vendor) * 60_000).collect();
        for user in 0..USERS {
            let start = &mut next[vendor(user)];
            for party in parties(user) {
                *start += 1_000;
                let at = *start;
                self.sessions.push(Session { user, party, left: 5, gap: 1.0 });
                self.queue.push(Reverse((at, self.sessions.len() - 1)));
            }
        }
    }

    fn begin(&mut self, at: u64, session: Session) {
        self.sessions.push(session);
        self.queue.push(Reverse((at, self.sessions.len() - 1)));
    }

    /// The next request: when, of whom, for whom, for what.
    fn next(&mut self) -> Option<(u64, usize, usize, usize)> {
        let Reverse((at, place)) = self.queue.pop()?;
        let dice = &mut self.dice;
        let right = match dice.below(100) {
            0..8 => 8,
            8..18 => 1 + 2 * dice.below(4),
            _ => 2 * dice.below(4),
        };
        let session = &mut self.sessions[place];
        session.left -= 1;
        if session.left > 0 {
            let gap = dice.exponential(session.gap * 1000.0) as u64;
            self.queue.push(Reverse((at + gap, place)));
        }
        (at < 24 * 3_600_000).then_some((at, session.user, session.party, right))
    }
}

/// How busy the hour is, at most 1.
fn curve(hour: f64) -> f64 {
    let bump = |middle: f64, width: f64| (-((hour - middle) / width).powi(2)).exp();
    0.03 + 0.9 * bump(10.5, 2.0) + 0.75 * bump(14.0, 2.0)
}

/// What requests met with.
#[derive(Default)]
struct Met {
    derived: u64,
    confirmed: u64,
    asked: u64,
    no: u64,
    undecided: u64,
    in_grace: u64,
    undecided_reads: u64,
    /// How many permits were how many seconds old.
    ages: Vec<u64>,
}

impl Met {
    fn note(
        &mut self,
        write: bool,
        judged: &Result<portvakt::enforce::authorize::Evidence, Refusal>,
    ) {
        match judged {
            Ok(evidence) => {
                let age = evidence.age.as_secs() as usize;
                self.ages.resize(self.ages.len().max(age + 1), 0);
                self.ages[age] += 1;
                self.in_grace += u64::from(evidence.in_grace);
                match evidence.source {
                    From::Derived => self.derived += 1,
                    From::Confirmed => self.confirmed += 1,
                    From::Pdp => self.asked += 1,
                }
            }
            Err(Refusal::No(_)) => self.no += 1,
            Err(Refusal::Undecided(_)) => {
                self.undecided += 1;
                self.undecided_reads += u64::from(!write);
            }
        }
    }

    fn all(&self) -> u64 {
        self.derived + self.confirmed + self.asked + self.no + self.undecided
    }

    fn age(&self, share: f64) -> usize {
        let most = (self.ages.iter().sum::<u64>() as f64 * share) as u64;
        let mut so_far = 0;
        let reached = |count: &u64| {
            so_far += count;
            so_far >= most
        };
        self.ages.iter().position(reached).unwrap_or(0)
    }
}

/// What a run has shown.
struct Day {
    met: Met,
    by_hour: [u64; 24],
    cached: [u64; 24],
    tally: Arc<Mutex<Tally>>,
    readings: u64,
    drained: Option<u64>,
    most_after_restart: u64,
}

async fn day(setting: Setting) -> Day {
    let midnight = Instant::now();
    let registry = Metrics::new().unwrap();
    let places = NonZeroUsize::new(64).unwrap();
    let ceiling = NonZeroUsize::new(CEILING).unwrap();
    let gate = Gate::new(ceiling, places, &registry, Handle::current());
    let tally = Arc::new(Mutex::new(Tally::default()));
    let outside = Outside { tally: Arc::clone(&tally), gate, midnight };
    let mut program = start(&setting, &outside);
    let met = Arc::new(Mutex::new(Met::default()));
    let (mut by_hour, mut cached) = ([0; 24], [0; 24]);
    let mut asked: HashMap<(usize, usize, usize), u64> = HashMap::new();
    let (rights, mut traffic) = (rights(), Traffic::new());
    let (mut restarted, mut drained, mut readings, mut most_after_restart) = (false, None, 0, 0);
    let nine = 9 * 3_600_000;
    let outage = 10 * 3_600_000..10 * 3_600_000 + setting.outage * 60_000;
    while let Some((at, user, party, right)) = traffic.next() {
        sleep_until(midnight + Duration::from_millis(at)).await;
        tally.lock().unwrap().away = outage.contains(&at);
        if setting.restart && !restarted && at >= nine {
            program.stop.cancel();
            readings += reading_count(&program.metrics);
            program = start(&setting, &outside);
            restarted = true;
            tally.lock().unwrap().most_in_second = 0;
        }
        if restarted && drained.is_none() && at > nine + 5_000 && program.metrics.waiting.get() == 0
        {
            drained = Some((at - nine) / 1000);
            most_after_restart = tally.lock().unwrap().most_in_second;
        }
        let hour = (at / 3_600_000) as usize;
        by_hour[hour] += 1;
        let key = (user, party, right);
        if asked.get(&key).is_none_or(|before| at - before >= 300_000) {
            asked.insert(key, at);
            cached[hour] += 1;
        }
        tally.lock().unwrap().used.insert(self::user(user), true);
        let right = rights[right].clone();
        let write = right.action.as_str() == "write";
        let freshness = if write { setting.write } else { setting.read };
        let party = Party::Organization(organization(party));
        let question = Question::new(self::user(user), party, right, None);
        let (answers, met) = (Arc::clone(&program.answers), Arc::clone(&met));
        tokio::spawn(async move {
            let judged = judge(&question, &answers, freshness, &seen(user), BUDGET).await;
            met.lock().unwrap().note(write, &judged);
        });
    }
    sleep(MINUTE).await;
    readings += reading_count(&program.metrics);
    program.stop.cancel();
    let met = std::mem::take(&mut *met.lock().unwrap());
    Day { met, by_hour, cached, tally, readings, drained, most_after_restart }
}

fn reading_count(metrics: &SyncMetrics) -> u64 {
    ["changed", "unchanged", "failed"]
        .map(|result| metrics.refreshes.with_label_values(&[result]).get())
        .iter()
        .sum()
}

fn run(setting: Setting) -> Day {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(day(setting))
}

fn line(setting: &Setting, day: &Day) {
    let tally = day.tally.lock().unwrap();
    let sum = |of: fn(&Calls) -> u64| tally.calls.iter().map(of).sum::<u64>();
    let calls = sum(|calls| calls.all());
    let all = day.met.all() as f64;
    let percent = |part: u64| 100.0 * part as f64 / all;
    let cached: u64 = day.cached.iter().sum();
    println!(
        "{:<20} {:>9} {:>9} {:>8} {:>7} {:>5} {:>7.1}x {:>6.2}x {:>6.2} {:>6.2} {:>6.2} {:>5} {:>5} {:>5} {:>4.0}% {:>5} {:>6} {:>6}",
        setting.name,
        day.met.all(),
        sum(|calls| calls.parties),
        sum(|calls| calls.authorize),
        sum(|calls| calls.several),
        sum(|calls| calls.registry),
        all / calls as f64,
        cached as f64 / calls as f64,
        percent(day.met.derived),
        percent(day.met.confirmed),
        percent(day.met.asked),
        day.met.age(0.5),
        day.met.age(0.99),
        day.met.ages.len().saturating_sub(1),
        100.0 * tally.wasted as f64 / day.readings.max(1) as f64,
        tally.most_in_second,
        day.met.in_grace,
        day.met.undecided,
    );
    if setting.outage > 0 {
        println!(
            "  Altinn away for {} min: {} served in grace; undecided {} reads and {} writes",
            setting.outage,
            day.met.in_grace,
            day.met.undecided_reads,
            day.met.undecided - day.met.undecided_reads
        );
    }
    if setting.restart {
        println!(
            "  cold at nine: at most {} calls in a second, nobody waits after {:?} s; undecided {}",
            day.most_after_restart, day.drained, day.met.undecided
        );
    }
}

fn hours(day: &Day) {
    println!("hour  requests   parties  authorize  several  registry  cached 5 min");
    let tally = day.tally.lock().unwrap();
    for (hour, calls) in tally.calls.iter().enumerate() {
        let Calls { parties, authorize, several, registry } = calls;
        let (requests, cached) = (day.by_hour[hour], day.cached[hour]);
        println!(
            "{hour:>4} {requests:>9} {parties:>9} {authorize:>10} {several:>8} {registry:>9} {cached:>13}"
        );
    }
}

fn main() {
    let late = Setting {
        read: Freshness { fresh_for: 4 * MINUTE, ..READ },
        write: Freshness { fresh_for: 45 * SECOND, ..WRITE },
        ..OFTEN
    };
    let defaults = Setting { name: "defaults", least: 1800, keep_hours: 2, ..OFTEN };
    let eight = Setting { name: "keep 8 h", keep_hours: 8, ..defaults };
    let two = Setting { name: "read often, 2 h", keep_hours: 2, ..OFTEN };
    let settings = [
        OFTEN,
        Setting { name: "most 24 h", most: 24 * 3600, ..OFTEN },
        two,
        Setting { name: "fresh 4 min, 45 s", ..late },
        defaults,
        eight,
        Setting { name: "8 h, 4 min, 45 s", read: late.read, write: late.write, ..eight },
        Setting { name: "outage: read often", outage: 40, ..OFTEN },
        Setting { name: "outage: often, 2 h", outage: 40, ..two },
        Setting { name: "outage: defaults", outage: 40, ..defaults },
        Setting { name: "outage: 8 h", outage: 40, ..eight },
        Setting { name: "cold: read often", restart: true, ..OFTEN },
        Setting { name: "cold: 8 h", restart: true, ..eight },
    ];
    let by_hour = std::env::args().any(|argument| argument == "hours");
    println!(
        "{:<20} {:>9} {:>9} {:>8} {:>7} {:>5} {:>8} {:>7} {:>6} {:>6} {:>6} {:>5} {:>5} {:>5} {:>5} {:>5} {:>6} {:>6}",
        "setting",
        "requests",
        "parties",
        "author.",
        "several",
        "reg.",
        "1/req",
        "5 min",
        "der.%",
        "conf.%",
        "ask.%",
        "p50 s",
        "p99 s",
        "max s",
        "waste",
        "max/s",
        "grace",
        "open"
    );
    for setting in settings.iter().take(if by_hour { 1 } else { settings.len() }) {
        let day = run(*setting);
        line(setting, &day);
        if by_hour {
            hours(&day);
        }
    }
}

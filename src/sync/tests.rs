//! The task against an Altinn in memory, under paused time.

use super::ports::{
    AccessList, AccessLists, Feed, FeedPosition, PublishedResource, SavedUser, Store, StoreError,
};
use super::*;
use crate::clock::SystemClock;
use crate::config::{ConfirmationConfig, PolicyConfig};
use crate::domain::decision::Cause;
use crate::domain::delegation::PackageId;
use crate::domain::party::{OrgNumber, Party};
use crate::domain::resource::ResourceId;
use crate::enforce::answers::{Sampler, doubter};
use crate::enforce::confirmations::{Asking, Confirmations};
use crate::enforce::notices::Notices;
use crate::enforce::ports::EdgeFuture;
use crate::register::{self, Limits, NotDerived, Seen};
use std::num::NonZeroUsize;
use std::sync::Mutex;

const RESOURCE: &str = "ex-returns";
const PARTY: &str = "310000027";
const VENDOR: &str = "310000035";
const MINUTE: Duration = Duration::from_secs(60);

/// What Altinn says.
#[derive(Default)]
struct Altinn {
    packages: Vec<&'static str>,
    policy: Option<String>,
    access_list: bool,
    members: Vec<&'static str>,
    changed_at: u32,
    feed_absent: bool,
    away: bool,
    verdict: Option<Verdict>,
    parties_read: usize,
    parties_read_at: Vec<Instant>,
    policies_read: usize,
    asked: usize,
}

#[derive(Clone, Default)]
struct Outside(Arc<Mutex<Altinn>>);

impl Outside {
    fn answer<T: Send + 'static>(
        &self,
        say: impl FnOnce(&mut Altinn) -> T + Send + 'static,
    ) -> EdgeFuture<'static, Result<T, Undecided>> {
        let altinn = Arc::clone(&self.0);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut altinn = altinn.lock().unwrap();
            let said = say(&mut altinn);
            if altinn.away { Err(Cause::Unreachable.into()) } else { Ok(said) }
        })
    }

    fn set(&self, change: impl FnOnce(&mut Altinn)) {
        change(&mut self.0.lock().unwrap());
    }

    fn read<T>(&self, read: impl FnOnce(&Altinn) -> T) -> T {
        read(&self.0.lock().unwrap())
    }
}

impl Source for Outside {
    fn parties<'a>(
        &'a self,
        _: SystemUserId,
        wanted: &'a Arc<Wanted>,
        _: Account,
    ) -> EdgeFuture<'a, Result<Vec<PartyRights>, Undecided>> {
        let wanted = Arc::clone(wanted);
        self.answer(move |altinn| {
            altinn.parties_read += 1;
            altinn.parties_read_at.push(Instant::now());
            let packages: Vec<PackageId> = altinn
                .packages
                .iter()
                .filter_map(|code| wanted.packages.get(*code).cloned())
                .collect();
            let rights =
                PartyRights { party: PARTY.parse().unwrap(), packages, resources: Vec::new() };
            if rights.packages.is_empty() { Vec::new() } else { vec![rights] }
        })
    }

    fn resource<'a>(
        &'a self,
        _: &'a ResourceId,
    ) -> EdgeFuture<'a, Result<Option<PublishedResource>, Undecided>> {
        self.answer(|altinn| {
            altinn.policies_read += 1;
            let policy = altinn.policy.clone()?;
            let access_list = altinn.access_list;
            Some(PublishedResource { policy: policy.into_bytes().into(), access_list })
        })
    }

    fn changes<'a>(
        &'a self,
        _: Option<&'a FeedPosition>,
    ) -> EdgeFuture<'a, Result<Feed, Undecided>> {
        self.answer(|altinn| {
            if altinn.feed_absent {
                return Feed::Absent;
            }
            let change = (RESOURCE.to_owned(), altinn.changed_at.to_string());
            Feed::Changes(
                vec![change, ("other".into(), "1".into())],
                Some(FeedPosition("1".into())),
            )
        })
    }

    fn packages(&self) -> EdgeFuture<'_, Result<HashMap<String, PackageId>, Undecided>> {
        self.answer(|_| {
            let pair = |code: &str, suffix: &str| (code.to_owned(), suffix.parse().unwrap());
            HashMap::from([pair("lonn", "lonn"), pair("code-of-utlegg", "utlegg")])
        })
    }

    fn access_lists<'a>(&'a self, _: &'a str) -> EdgeFuture<'a, Result<AccessLists, Undecided>> {
        self.answer(|altinn| {
            let members = altinn.members.iter().map(|member| member.parse().unwrap()).collect();
            let list = AccessList { members, actions: None };
            AccessLists::from([(RESOURCE.parse().unwrap(), vec![list])])
        })
    }
}

impl RemotePdp for Outside {
    fn ask<'a>(&'a self, _: &'a Question, _: Call) -> EdgeFuture<'a, Result<Verdict, Undecided>> {
        self.answer(|altinn| {
            altinn.asked += 1;
            altinn.verdict.unwrap_or(Verdict::NotApplicable)
        })
    }

    fn ask_all<'a>(
        &'a self,
        questions: &'a [Question],
        call: Call,
    ) -> EdgeFuture<'a, Vec<Result<Verdict, Undecided>>> {
        Box::pin(async move {
            let mut all = Vec::new();
            for question in questions {
                all.push(self.ask(question, call).await);
            }
            all
        })
    }
}

/// `read` opens for who holds one of the packages.
fn policy(packages: &[&str]) -> String {
    let matching = |category: &str, attribute: &str, value: &str| {
        format!(
            r#"<AllOf><Match MatchId="urn:oasis:names:tc:xacml:1.0:function:string-equal"><AttributeValue
            DataType="http://www.w3.org/2001/XMLSchema#string">{value}</AttributeValue><AttributeDesignator
            AttributeId="{attribute}" Category="{category}" MustBePresent="false"
            DataType="http://www.w3.org/2001/XMLSchema#string"/></Match></AllOf>"#
        )
    };
    let subject = "urn:oasis:names:tc:xacml:1.0:subject-category:access-subject";
    let resource = "urn:oasis:names:tc:xacml:3.0:attribute-category:resource";
    let action = "urn:oasis:names:tc:xacml:3.0:attribute-category:action";
    let subjects: String =
        packages.iter().map(|name| matching(subject, "urn:altinn:accesspackage", name)).collect();
    format!(
        r#"<Policy xmlns="urn:oasis:names:tc:xacml:3.0:core:schema:wd-17" PolicyId="p" Version="1.0"
        RuleCombiningAlgId="urn:oasis:names:tc:xacml:3.0:rule-combining-algorithm:deny-overrides"><Target/>
        <Rule RuleId="r" Effect="Permit"><Target><AnyOf>{subjects}</AnyOf><AnyOf>{}</AnyOf><AnyOf>{}</AnyOf>
        </Target></Rule></Policy>"#,
        matching(resource, "urn:altinn:resource", RESOURCE),
        matching(action, "urn:oasis:names:tc:xacml:1.0:action:action-id", "read"),
    )
}

struct Bench {
    outside: Outside,
    answers: Arc<Answers>,
    metrics: SyncMetrics,
    stop: CancellationToken,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn config() -> RegisterConfig {
    RegisterConfig {
        max_system_users: NonZeroUsize::new(100).unwrap(),
        max_bytes: usize::MAX,
        keep_for: 60 * MINUTE,
        system_users: Vec::new(),
        refresh_least: MINUTE,
        refresh_most: 10 * MINUTE,
        policies: PolicyConfig { poll: MINUTE, check: 60 * MINUTE, max_age: 10 * MINUTE },
        access_lists_owner: None,
        sample_one_in: NonZeroUsize::MAX,
        snapshot: None,
    }
}

/// Runs the task against `altinn` for a moment.
async fn start(altinn: Altinn, config: RegisterConfig) -> Bench {
    start_from(Vec::new(), altinn, config).await
}

/// The same after a restart that finds this.
async fn start_from(saved: Vec<Saved>, altinn: Altinn, config: RegisterConfig) -> Bench {
    let (mut sync, bench) = idle(altinn, config, None);
    if !saved.is_empty() {
        sync.restore(|take| saved.into_iter().for_each(take));
    }
    tokio::spawn(sync.run(bench.stop.clone()));
    bench.after(2 * SECOND).await;
    bench
}

/// A task that does not run yet, with a disk if there is one.
fn idle(altinn: Altinn, config: RegisterConfig, disk: Option<Disk>) -> (Sync, Bench) {
    let outside = Outside(Arc::new(Mutex::new(altinn)));
    let (ticks, pdp): (_, Arc<dyn RemotePdp>) = (Ticks::new(), Arc::new(outside.clone()));
    let rights = vec![right()];
    let limits = Limits { max_entries: config.max_system_users.get(), max_sets: 100 };
    let (writer, reader) = register::open(rights.clone(), limits, ticks.clone()).unwrap();
    let lost = prometheus::IntCounter::new("lost", "lost").unwrap();
    let (notices, receiver) = Notices::new(lost);
    let mut confirmations = Confirmations::new(
        Arc::clone(&pdp),
        ticks.clone(),
        &ConfirmationConfig { no_for: SECOND, max_entries: 100, suspicious_for: MINUTE },
        60 * MINUTE,
        Box::new(|_, _| {}),
    );
    let notices = Arc::new(notices);
    confirmations.tell_no(doubter(reader.clone(), Arc::clone(&notices)));
    let answers = Arc::new(Answers {
        register: Some(reader.clone()),
        confirmations: Arc::new(confirmations),
        notices: Some(notices),
        ticks,
        no_for: SECOND,
        policy_max_age: config.policies.max_age,
        sampler: Sampler::new(NonZeroUsize::MAX),
    });
    let metrics = SyncMetrics::register(&crate::families::Families::default()).unwrap();
    let parts = Parts {
        config,
        rights,
        graces: vec![("route".into(), 60 * MINUTE)],
        writer,
        source: Arc::new(outside.clone()),
        pdp,
        answers: Arc::clone(&answers),
        clock: Arc::new(SystemClock),
        notices: receiver,
        metrics: metrics.clone(),
        saving: disk.map(|disk| Saving {
            store: Box::new(disk),
            journal: answers.confirmations.keep_journal(),
            interval: 60 * MINUTE,
        }),
    };
    let sync = Sync::new(parts, reader);
    (sync, Bench { outside, answers, metrics, stop: CancellationToken::new() })
}

/// A disk in memory.
#[derive(Clone, Default)]
struct Disk {
    saved: Arc<Mutex<Vec<Saved>>>,
    /// How many writings are refused from now on.
    full_for: Arc<Mutex<usize>>,
}

impl Store for Disk {
    fn save(&mut self, batch: Vec<Saved>) -> Result<(), StoreError> {
        let mut full_for = self.full_for.lock().unwrap();
        if *full_for > 0 {
            *full_for -= 1;
            return Err(StoreError::Disk("no room".into()));
        }
        self.saved.lock().unwrap().extend(batch);
        Ok(())
    }
}

impl Disk {
    /// How many system users it was told of.
    fn users(&self) -> usize {
        let told = |saved: &&Saved| matches!(saved, Saved::User(_) | Saved::ForgetUser(_));
        self.saved.lock().unwrap().iter().filter(told).count()
    }
}

impl Bench {
    async fn after(&self, time: Duration) {
        // In steps, so that what is due in between happens in between.
        let end = Instant::now() + time;
        while Instant::now() < end {
            tokio::time::sleep(SECOND / 10).await;
        }
    }

    fn seen(&self) {
        self.seen_is(user());
    }

    fn seen_is(&self, id: SystemUserId) {
        self.answers.watch(id, || Seen {
            id,
            owner: Some(PARTY.parse().unwrap()),
            system: Some("310000035_system".parse().unwrap()),
            vendor: Some(VENDOR.parse().unwrap()),
        });
    }

    fn reader(&self) -> &Reader {
        self.answers.register.as_ref().unwrap()
    }

    fn derived(&self) -> Result<Duration, NotDerived> {
        let derived = self.reader().look_up(&question()).derived;
        derived.map(|permit| self.answers.ticks.age(permit.fetched))
    }

    fn samples(&self, outcome: Outcome) -> u64 {
        self.metrics.samples.with_label_values(&[outcome.label()]).get()
    }
}

fn right() -> Right {
    Right { resource: RESOURCE.parse().unwrap(), action: "read".parse().unwrap() }
}

fn user() -> SystemUserId {
    "11111111-1111-4111-8111-111111111111".parse().unwrap()
}

fn question() -> Question {
    let party = Party::Organization(PARTY.parse::<OrgNumber>().unwrap());
    Question::new(user(), party, right(), None)
}

fn holding(packages: &[&'static str]) -> Altinn {
    Altinn { packages: packages.to_vec(), policy: Some(policy(&["lonn"])), ..Altinn::default() }
}

#[tokio::test(start_paused = true)]
async fn a_system_user_seen_is_read_and_derived_from_within_a_second() {
    let bench = start(holding(&["lonn"]), config()).await;
    assert_eq!(bench.derived(), Err(NotDerived::Unwatched));
    bench.seen();
    bench.after(SECOND).await;
    assert!(bench.derived().unwrap() < 2 * SECOND);
}

/// In step with virtual time, but for what it is set back by.
struct SetClock {
    dawn: std::time::SystemTime,
    begun: Instant,
    back: Mutex<Duration>,
}

impl Clock for SetClock {
    fn now(&self) -> crate::domain::time::UnixTime {
        let passed = self.wall().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        crate::domain::time::UnixTime::from_seconds(i64::try_from(passed).unwrap())
    }

    fn wall(&self) -> std::time::SystemTime {
        self.dawn + self.begun.elapsed() - *self.back.lock().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_saved_is_no_younger_when_the_clock_was_set_back() {
    let disk = Disk::default();
    let (mut sync, bench) = idle(holding(&["lonn"]), config(), Some(disk.clone()));
    let (dawn, begun) = (SystemClock.wall(), Instant::now());
    let clock = Arc::new(SetClock { dawn, begun, back: Mutex::default() });
    sync.clock = Arc::<SetClock>::clone(&clock);
    sync.wall = Wall::new(Arc::<SetClock>::clone(&clock));
    tokio::spawn(sync.run(bench.stop.clone()));
    bench.after(2 * SECOND).await;
    bench.seen();
    bench.after(60 * MINUTE).await;
    assert!(disk.users() > 0, "saved before");
    *clock.back.lock().unwrap() = MINUTE / 2;
    bench.after(2 * SECOND).await;
    let age = bench.derived().unwrap();
    let saved = disk.saved.lock().unwrap();
    let users = saved.iter().rev().filter_map(|saved| match saved {
        Saved::User(user) => user.fetched,
        _ => None,
    });
    let told = clock.wall().duration_since(users.take(1).next().unwrap()).unwrap();
    assert!(told >= age, "{age:?} old, and saved as {told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_code_that_is_not_the_suffix_is_turned_into_it() {
    let altinn = Altinn { policy: Some(policy(&["utlegg"])), ..holding(&["code-of-utlegg"]) };
    let bench = start(altinn, config()).await;
    bench.seen();
    bench.after(SECOND).await;
    assert!(bench.derived().is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_is_used_is_read_at_the_least_interval_and_what_is_not_ever_more_seldom() {
    let bench = start(holding(&["lonn"]), config()).await;
    bench.seen();
    for _ in 0..100 {
        bench.after(6 * SECOND).await;
        let _ = bench.derived();
    }
    let used = bench.outside.read(|altinn| altinn.parties_read);
    assert!((5..=12).contains(&used), "{used} readings in ten minutes of use");
    bench.after(40 * MINUTE).await;
    let idle = bench.outside.read(|altinn| altinn.parties_read) - used;
    assert!((3..=9).contains(&idle), "{idle} readings in forty minutes without");
}

#[tokio::test(start_paused = true)]
async fn what_is_due_within_a_second_is_not_read_at_once() {
    let users = 600;
    let most = NonZeroUsize::new(users).unwrap();
    let bench =
        start(holding(&["lonn"]), RegisterConfig { max_system_users: most, ..config() }).await;
    for number in 0..users {
        bench.seen_is(format!("11111111-1111-4111-8111-{number:012}").parse().unwrap());
    }
    bench.after(MINUTE).await;
    bench.outside.set(|altinn| altinn.parties_read_at.clear());
    // Each at least once, ten a second on average.
    bench.after(3 * MINUTE).await;
    let mut moments: HashMap<Instant, usize> = HashMap::new();
    bench.outside.set(|altinn| {
        altinn.parties_read_at.iter().for_each(|at| *moments.entry(*at).or_default() += 1);
    });
    assert!(moments.values().sum::<usize>() >= users, "all were read again");
    let most = moments.values().max().copied();
    assert!(most <= Some(8), "{most:?} readings at one moment");
}

#[tokio::test(start_paused = true)]
async fn a_right_withdrawn_is_felt_within_the_interval() {
    let bench = start(holding(&["lonn"]), config()).await;
    bench.seen();
    bench.after(SECOND).await;
    assert!(bench.derived().is_ok());
    bench.outside.set(|altinn| altinn.packages.clear());
    // The interval, a tenth of it, and the round in which it is looked over.
    for _ in 0..130 {
        bench.after(SECOND).await;
        let _ = bench.derived();
    }
    assert_eq!(bench.derived(), Err(NotDerived::NoParty));
}

#[tokio::test(start_paused = true)]
async fn a_failed_reading_never_makes_an_entry_younger_and_is_tried_again() {
    let bench = start(holding(&["lonn"]), config()).await;
    bench.seen();
    bench.after(SECOND).await;
    let before = bench.derived().unwrap();
    bench.outside.set(|altinn| altinn.away = true);
    bench.after(10 * MINUTE).await;
    assert!(bench.derived().unwrap() >= before + 10 * MINUTE);
    assert!(bench.metrics.refreshes.with_label_values(&["failed"]).get() >= 2);
    bench.after(MINUTE).await;
    assert!(bench.metrics.grace_seconds.with_label_values(&["route"]).get() <= 50 * 60);
    bench.outside.set(|altinn| altinn.away = false);
    bench.after(6 * MINUTE).await;
    assert!(bench.derived().unwrap() < 6 * MINUTE, "healed by itself");
}

#[tokio::test(start_paused = true)]
async fn an_outage_does_not_bring_a_storm() {
    let bench = start(holding(&["lonn"]), config()).await;
    bench.outside.set(|altinn| altinn.away = true);
    bench.seen();
    bench.after(10 * MINUTE).await;
    let tried = bench.outside.read(|altinn| altinn.parties_read);
    assert!((3..=20).contains(&tried), "{tried} tries in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_changed_counts_after_the_next_look_at_the_feed() {
    let bench = start(holding(&["lonn"]), config()).await;
    bench.seen();
    bench.after(SECOND).await;
    assert!(bench.derived().is_ok());
    let read = bench.outside.read(|altinn| altinn.policies_read);
    bench.after(5 * MINUTE).await;
    let idle = bench.outside.read(|altinn| altinn.policies_read);
    assert_eq!(idle, read, "nothing changed, nothing read");
    bench.outside.set(|altinn| {
        altinn.policy = Some(policy(&["utlegg"]));
        altinn.changed_at += 1;
    });
    bench.after(62 * SECOND).await;
    // The second once it was read anew: nothing it holds is looked for any more.
    let derived = bench.derived();
    assert!(matches!(derived, Err(NotDerived::NotCovered | NotDerived::NoParty)), "{derived:?}");
}

#[tokio::test(start_paused = true)]
async fn a_package_that_a_new_policy_denies_by_is_looked_for_before_anything_is_derived_again() {
    let bench = start(holding(&["lonn", "code-of-utlegg"]), config()).await;
    bench.seen();
    bench.after(SECOND).await;
    assert!(bench.derived().is_ok(), "no policy names the other package");
    bench.outside.set(|altinn| {
        altinn.policy = Some(denying_by("utlegg"));
        altinn.changed_at += 1;
    });
    let mut told = Vec::new();
    for _ in 0..14_000 {
        // A reading takes longer than this, so that no state is missed.
        tokio::time::sleep(SECOND / 100).await;
        let derived = bench.derived().map(|_| ());
        if told.last() != Some(&derived) {
            told.push(derived);
        }
    }
    assert_eq!(told, [Ok(()), Err(NotDerived::ReadBeforePolicy), Err(NotDerived::NotCovered)]);
}

#[tokio::test(start_paused = true)]
async fn a_package_that_a_new_policy_permits_by_is_looked_for_soon() {
    let bench = start(holding(&["lonn", "code-of-utlegg"]), config()).await;
    bench.seen();
    bench.after(4 * MINUTE).await;
    bench.outside.set(|altinn| {
        altinn.policy = Some(policy(&["utlegg"]));
        altinn.changed_at += 1;
    });
    // The look at the feed, and a round.
    bench.after(2 * MINUTE + SECOND).await;
    assert!(bench.derived().is_ok());
}

#[tokio::test(start_paused = true)]
async fn nobody_is_read_before_it_is_known_what_to_look_for() {
    let bench = start(Altinn { away: true, ..holding(&["lonn"]) }, config()).await;
    bench.seen();
    bench.after(SECOND).await;
    bench.outside.set(|altinn| altinn.away = false);
    // The policies are tried again after five seconds, the system user after two, and then as lacking.
    bench.after(70 * SECOND).await;
    assert!(bench.derived().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_silent_change_is_found_by_the_full_check() {
    let bench = start(holding(&["lonn"]), config()).await;
    bench.seen();
    bench.outside.set(|altinn| altinn.policy = None);
    bench.after(50 * MINUTE).await;
    assert!(bench.derived().is_ok());
    bench.after(12 * MINUTE).await;
    assert_eq!(bench.derived(), Err(NotDerived::PolicyMissing));
}

#[tokio::test(start_paused = true)]
async fn a_registry_without_a_feed_is_read_whole_at_every_look() {
    let bench = start(Altinn { feed_absent: true, ..holding(&["lonn"]) }, config()).await;
    bench.seen();
    bench.after(SECOND).await;
    assert!(bench.derived().is_ok());
    bench.outside.set(|altinn| altinn.policy = Some("<Policy/>".into()));
    bench.after(62 * SECOND).await;
    assert_eq!(bench.metrics.policies.with_label_values(&["not_understood"]).get(), 1);
    // The second once it was read anew: nothing it holds is looked for any more.
    let why = bench.derived();
    let not_understood = Err(NotDerived::PolicyNotUnderstood("policy"));
    assert!(why == not_understood || why == Err(NotDerived::NoParty), "{why:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_routed_while_policies_are_read_is_read_right_after_and_the_last_change_counts() {
    let altinn = Altinn { policy: Some(policy(&["lonn"])), ..Altinn::default() };
    let (sync, bench) = idle(altinn, config(), None);
    let courses = sync.courses();
    tokio::spawn(sync.run(bench.stop.clone()));
    // The first reading is under way.
    tokio::time::sleep(Duration::from_millis(5)).await;
    for resource in ["ex-first", "ex-second"] {
        let other = Right { resource: resource.parse().unwrap(), ..right() };
        let rights = vec![right(), other];
        courses.send_replace(Some(Arc::new(Course {
            config: config(),
            rights,
            graces: Vec::new(),
        })));
    }
    bench.after(2 * SECOND).await;
    let policies = |state| bench.metrics.policies.with_label_values(&[state]).get();
    assert_eq!((policies("read"), policies("unread")), (2, 0), "not after a minute only");
    assert_eq!(bench.outside.read(|altinn| altinn.policies_read), 2);
}

#[tokio::test(start_paused = true)]
async fn an_access_list_is_asked_for_unless_it_is_our_own() {
    let altinn = || Altinn { access_list: true, members: vec![VENDOR], ..holding(&["lonn"]) };
    let without = start(altinn(), config()).await;
    without.seen();
    without.after(SECOND).await;
    assert_eq!(without.derived(), Err(NotDerived::AccessListsUnknown));
    let own = RegisterConfig { access_lists_owner: Some("ex".into()), ..config() };
    let with = start(altinn(), own).await;
    with.seen();
    with.after(SECOND).await;
    assert_eq!(with.derived(), Err(NotDerived::NotOnAccessList));
    with.outside.set(|altinn| altinn.members.push(PARTY));
    with.after(62 * SECOND).await;
    assert!(with.derived().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_pdp_that_disagrees_switches_derivation_off_until_it_agrees_again() {
    let bench = start(holding(&["lonn"]), config()).await;
    bench.seen();
    // Past the time in which Altinn may answer from memory.
    bench.after(15 * MINUTE).await;
    assert!(bench.derived().is_ok());
    let notices = bench.answers.notices.as_ref().unwrap();
    notices.sample(&question());
    bench.after(SECOND).await;
    assert_eq!(bench.samples(Outcome::Disagreed), 1);
    assert_eq!(bench.derived(), Err(NotDerived::SwitchedOff));
    bench.after(10 * MINUTE).await;
    assert_eq!(bench.derived(), Err(NotDerived::SwitchedOff), "asked again, and again, in vain");
    bench.outside.set(|altinn| altinn.verdict = Some(Verdict::Permit));
    bench.after(MINUTE).await;
    assert_eq!(bench.derived(), Err(NotDerived::SwitchedOff), "one agreement is not enough");
    bench.after(3 * MINUTE).await;
    assert!(bench.derived().is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_was_switched_off_before_a_restart_stays_off_until_the_pdp_agrees_again() {
    let off = Saved::SwitchedOff(StorableQuestion::of(question()).unwrap());
    let bench = start_from(vec![off], holding(&["lonn"]), config()).await;
    // Its system user is watched, although nobody has called.
    for _ in 0..10 {
        bench.after(MINUTE).await;
        assert_eq!(bench.derived(), Err(NotDerived::SwitchedOff));
    }
    let told = bench.metrics.derivation_off.with_label_values(&[RESOURCE]);
    assert_eq!(told.get(), 1);
    bench.outside.set(|altinn| altinn.verdict = Some(Verdict::Permit));
    bench.after(4 * MINUTE).await;
    assert!(bench.derived().is_ok());
    assert_eq!(told.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_switched_off_of_a_resource_that_is_no_more_routed_is_passed_over() {
    let elsewhere = Right { resource: "ex-elsewhere".parse().unwrap(), ..right() };
    let party = Party::Organization(PARTY.parse::<OrgNumber>().unwrap());
    let off = StorableQuestion::of(Question::new(user(), party, elsewhere, None)).unwrap();
    let bench = start_from(vec![Saved::SwitchedOff(off)], holding(&["lonn"]), config()).await;
    bench.seen();
    bench.after(SECOND).await;
    assert!(bench.derived().is_ok());
    assert_eq!(bench.outside.read(|altinn| altinn.asked), 0);
}

/// What is on disk after a system user was read and looked up.
async fn saved_by(altinn: Altinn) -> Vec<Saved> {
    let disk = Disk::default();
    let (sync, bench) = idle(altinn, slow(), Some(disk.clone()));
    let running = tokio::spawn(sync.run(bench.stop.clone()));
    bench.after(SECOND).await;
    bench.seen();
    bench.after(SECOND).await;
    assert!(bench.derived().is_ok());
    bench.stop.cancel();
    running.await.unwrap();
    std::mem::take(&mut *disk.saved.lock().unwrap())
}

/// Nothing is read again for its age while a test goes on.
fn slow() -> RegisterConfig {
    RegisterConfig { refresh_least: 30 * MINUTE, refresh_most: 60 * MINUTE, ..config() }
}

type Alter = fn(&mut Vec<Saved>);

#[tokio::test(start_paused = true)]
async fn after_a_restart_who_was_read_for_all_that_is_looked_for_is_not_read_anew() {
    let both = || holding(&["lonn", "code-of-utlegg"]);
    let as_it_was: Alter = |_| {};
    let of_before: Alter = |saved| each_user(saved, |user| user.read_for = None);
    let one_of_before: Alter = |saved| {
        let another = saved.iter().find_map(|saved| match saved {
            Saved::User(user) => {
                Some(SavedUser { id: other(1), read_for: None, ..(**user).clone() })
            }
            _ => None,
        });
        saved.push(Saved::User(Box::new(another.unwrap())));
    };
    for (case, alter, named, read) in [
        ("as it was", as_it_was, "lonn", 0),
        ("nobody knows what it was read for", of_before, "lonn", 1),
        ("of another nobody knows", one_of_before, "lonn", 2),
        ("a package is looked for that nobody was read for", as_it_was, "utlegg", 1),
    ] {
        let mut saved = saved_by(both()).await;
        alter(&mut saved);
        let altinn = Altinn { policy: Some(policy(&["lonn", named])), ..both() };
        let after = start_from(saved, altinn, slow()).await;
        let _used = after.derived();
        after.after(2 * MINUTE).await;
        assert!(after.derived().is_ok(), "{case}");
        assert_eq!(after.outside.read(|altinn| altinn.parties_read), read, "{case}");
    }
}

fn each_user(saved: &mut [Saved], change: impl Fn(&mut SavedUser)) {
    for saved in saved {
        if let Saved::User(user) = saved {
            change(user);
        }
    }
}

/// A program that had no such route has read it meanwhile, by whatever way: another, of before or at the same time.
#[tokio::test(start_paused = true)]
async fn a_package_that_was_not_looked_for_is_not_taken_for_absent_after_a_restart() {
    let denying =
        || Altinn { policy: Some(denying_by("utlegg")), ..holding(&["lonn", "code-of-utlegg"]) };
    let saved = saved_by(holding(&["lonn", "code-of-utlegg"])).await;
    let with_the_other_policy = saved.into_iter().map(|saved| match saved {
        Saved::Resource(mut resource) => {
            resource.published.policy = denying_by("utlegg").as_bytes().into();
            Saved::Resource(resource)
        }
        other => other,
    });
    let (mut sync, bench) = idle(denying(), slow(), None);
    sync.restore(|take| with_the_other_policy.for_each(take));
    assert_eq!(bench.derived(), Err(NotDerived::ReadBeforePolicy), "before anything is read");
    tokio::spawn(sync.run(bench.stop.clone()));
    bench.after(2 * MINUTE).await;
    assert_eq!(bench.derived(), Err(NotDerived::NotCovered));
}

#[tokio::test(start_paused = true)]
async fn a_package_that_was_looked_for_and_not_held_takes_nothing_away_after_a_restart() {
    let denying = || Altinn { policy: Some(denying_by("utlegg")), ..holding(&["lonn"]) };
    let saved = saved_by(denying()).await;
    let (mut sync, bench) = idle(denying(), slow(), None);
    sync.restore(|take| saved.into_iter().for_each(take));
    assert!(bench.derived().is_ok(), "at once");
}

/// `read` opens for who holds `lonn`, unless they hold this too.
fn denying_by(package: &str) -> String {
    let denial = policy(&[package]).replace("Permit", "Deny");
    let denial = denial.split_once("<Rule ").map(|(_, rule)| format!("<Rule {rule}")).unwrap();
    policy(&["lonn"]).replace("</Policy>", &denial)
}

#[tokio::test(start_paused = true)]
async fn a_difference_that_altinns_own_memory_explains_is_set_apart() {
    let bench = start(holding(&["lonn"]), config()).await;
    bench.seen();
    bench.after(SECOND).await;
    bench.answers.notices.as_ref().unwrap().sample(&question());
    bench.after(SECOND).await;
    assert_eq!(bench.samples(Outcome::AltinnCaches), 1);
    // In doubt until the policies were looked at too.
    bench.after(6 * SECOND).await;
    assert!(bench.derived().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_sample_that_finds_a_right_withdrawn_has_it_felt_at_once() {
    let bench = start(holding(&["lonn"]), config()).await;
    bench.seen();
    bench.after(15 * MINUTE).await;
    // Confirmed a moment ago, before a policy was known to be young enough, say.
    let confirmations = &bench.answers.confirmations;
    confirmations.restore(&question(), bench.answers.ticks.now());
    bench.outside.set(|altinn| altinn.packages.clear());
    bench.answers.notices.as_ref().unwrap().sample(&question());
    bench.after(SECOND).await;
    assert_eq!(bench.samples(Outcome::Outdated), 1);
    assert_eq!(bench.derived(), Err(NotDerived::NoParty));
    assert!(confirmations.held(&question()).is_none(), "nor does the permit from before stand");
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_not_fresh_are_asked_for_behind() {
    let bench = start(holding(&[]), config()).await;
    bench.outside.set(|altinn| altinn.verdict = Some(Verdict::Permit));
    let account = Account::Vendor(VENDOR.parse().unwrap());
    bench.answers.notices.as_ref().unwrap().reconfirm(&question(), account);
    bench.after(2 * SECOND).await;
    let held = bench.answers.confirmations.held(&question()).unwrap();
    assert_eq!(held.verdict, Verdict::Permit);
}

#[tokio::test(start_paused = true)]
async fn at_an_orderly_end_everything_is_saved_that_was_not() {
    let disk = Disk::default();
    let (sync, bench) = idle(holding(&["lonn"]), config(), Some(disk.clone()));
    let running = tokio::spawn(sync.run(bench.stop.clone()));
    bench.after(2 * SECOND).await;
    bench.seen();
    bench.after(2 * SECOND).await;
    bench.outside.set(|altinn| altinn.verdict = Some(Verdict::Permit));
    let asking = Asking { call: OWN, max_age: Duration::ZERO, expected: false };
    bench.answers.confirmations.ask(&question(), asking).await.unwrap();
    assert!(disk.saved.lock().unwrap().is_empty(), "nothing is due for an hour");
    bench.stop.cancel();
    running.await.unwrap();
    let saved = disk.saved.lock().unwrap();
    let has = |is: fn(&Saved) -> bool| saved.iter().any(is);
    assert!(has(|saved| matches!(saved, Saved::User(user) if user.parties.len() == 1)));
    assert!(has(|saved| matches!(saved, Saved::Confirmation(..))));
    assert!(has(|saved| matches!(saved, Saved::Resource(_))));
    assert!(has(|saved| matches!(saved, Saved::LastSaved(_))));
}

#[tokio::test(start_paused = true)]
async fn however_much_is_left_at_the_end_all_of_it_is_saved() {
    let disk = Disk::default();
    let (mut sync, bench) = idle(holding(&["lonn"]), config(), Some(disk.clone()));
    (0..50_000).for_each(|number| sync.changed(other(number)));
    bench.stop.cancel();
    sync.run(bench.stop.clone()).await;
    assert_eq!(disk.users(), 50_000);
}

#[tokio::test(start_paused = true)]
async fn answers_that_cannot_be_saved_for_long_are_not_hoarded_and_replace_those_on_disk() {
    for (questions, anew) in [(1_000, false), (60_000, true)] {
        let disk = Disk::default();
        let (sync, bench) = idle(holding(&["lonn"]), config(), Some(disk.clone()));
        let running = tokio::spawn(sync.run(bench.stop.clone()));
        bench.outside.set(|altinn| altinn.verdict = Some(Verdict::Permit));
        let party = Party::Organization(PARTY.parse::<OrgNumber>().unwrap());
        let about = |number: u32| {
            let instance = number.to_string().parse().unwrap();
            Question::new(other(number), party, right(), Some(instance))
        };
        // As many as the journal holds, so that none of them is lost on the way.
        for from in (0..questions).step_by(1_000) {
            let some: Vec<Question> = (from..from + 1_000).map(about).collect();
            bench.answers.confirmations.ask_behind(&some, OWN).await;
            bench.after(2 * SECOND).await;
        }
        bench.stop.cancel();
        running.await.unwrap();
        let saved = disk.saved.lock().unwrap();
        let place = |is: fn(&Saved) -> bool| saved.iter().position(is);
        let first = place(|saved| matches!(saved, Saved::Confirmation(..))).unwrap();
        let all = place(|saved| *saved == Saved::UnconfirmAll);
        assert_eq!(all.is_some_and(|all| all < first), anew, "{questions}");
        let held = saved.iter().filter(|saved| matches!(saved, Saved::Confirmation(..))).count();
        // As many as are held at most, in the bench; others were let go, and are taken away.
        assert!((1..=150).contains(&held), "{held}");
        let gone = saved.iter().filter(|saved| matches!(saved, Saved::Unconfirm(_))).count();
        assert_eq!(gone > 0, !anew, "{gone}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_full_at_the_end_is_told_and_does_not_hold_the_end_up() {
    let disk = Disk { full_for: Arc::new(Mutex::new(usize::MAX)), ..Disk::default() };
    let (mut sync, bench) = idle(holding(&["lonn"]), config(), Some(disk.clone()));
    (0..50_000).for_each(|number| sync.changed(other(number)));
    bench.stop.cancel();
    sync.run(bench.stop.clone()).await;
    assert_eq!(disk.users(), 0);
    assert_eq!(bench.metrics.saves.with_label_values(&["failed"]).get(), 1);
}

/// One of the many that only tokens name.
fn other(number: u32) -> SystemUserId {
    format!("22222222-2222-4222-8222-{number:012}").parse().unwrap()
}

fn listing(id: SystemUserId) -> RegisterConfig {
    RegisterConfig { system_users: vec![id], ..config() }
}

#[tokio::test(start_paused = true)]
async fn who_is_listed_is_watched_and_read_before_any_request() {
    let unlisted = start(holding(&["lonn"]), listing(other(0))).await;
    assert!(unlisted.reader().view(other(0)).is_some());
    assert_eq!(unlisted.derived(), Err(NotDerived::Unwatched));
    let bench = start(holding(&["lonn"]), listing(user())).await;
    assert_eq!(bench.reader().size(), 1);
    assert_eq!(bench.outside.read(|altinn| altinn.asked), 0);
    assert!(bench.derived().unwrap() <= 2 * SECOND, "read at the start");
    // What it is, only a token tells.
    assert_eq!(bench.reader().view(user()).unwrap().vendor, None);
    bench.seen();
    bench.after(SECOND).await;
    assert_eq!(bench.reader().view(user()).unwrap().vendor, Some(VENDOR.parse().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn who_is_listed_is_never_let_go_however_idle_and_however_full_the_register_is() {
    let tight = RegisterConfig { max_bytes: 1, ..listing(user()) };
    for config in [listing(user()), tight] {
        let bench = start(holding(&["lonn"]), config).await;
        let watch = |id| {
            bench.answers.watch(id, || Seen {
                id,
                owner: Some(PARTY.parse().unwrap()),
                system: Some("310000035_system".parse().unwrap()),
                vendor: Some(VENDOR.parse().unwrap()),
            });
        };
        let idle = other(1000);
        watch(idle);
        bench.after(SECOND).await;
        // Twice as many as there is room for, and all of them used later than the listed one.
        for number in 0..200 {
            watch(other(number));
            bench.after(SECOND).await;
        }
        assert!(bench.reader().view(idle).is_none(), "room was made");
        assert!(bench.reader().view(user()).is_some());
        // Past `keep_for`, with requests of nobody.
        bench.after(70 * MINUTE).await;
        assert_eq!(bench.reader().size(), 1, "nobody else is kept");
        let age = bench.derived().unwrap();
        assert!(age < 15 * MINUTE, "it is still read: {age:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_listed_finds_room_where_a_snapshot_has_filled_the_register() {
    let now = SystemClock.wall();
    let saved = (0..100).map(|number| {
        Saved::User(Box::new(SavedUser {
            id: other(number),
            owner: PARTY.parse().unwrap(),
            system: "310000035_system".parse().unwrap(),
            vendor: VENDOR.parse().unwrap(),
            fetched: Some(now),
            changed: now,
            lost: None,
            last_used: now,
            parties: Vec::new(),
            read_for: None,
        }))
    });
    let bench = start_from(saved.collect(), holding(&["lonn"]), listing(user())).await;
    assert!((90..=96).contains(&bench.reader().size()), "{}", bench.reader().size());
    assert!(bench.derived().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_full_register_makes_room_by_letting_go_of_who_was_used_least() {
    let bench = start(holding(&["lonn"]), config()).await;
    let watch = |number: u32| {
        let id: SystemUserId = format!("11111111-1111-4111-8111-{number:012}").parse().unwrap();
        bench.answers.watch(id, || Seen {
            id,
            owner: Some(PARTY.parse().unwrap()),
            system: Some("310000035_system".parse().unwrap()),
            vendor: Some(VENDOR.parse().unwrap()),
        });
    };
    for number in 0..100 {
        watch(number);
        bench.after(SECOND / 10).await;
    }
    bench.after(SECOND).await;
    assert_eq!(bench.reader().size(), 100);
    bench.seen();
    bench.after(3 * SECOND).await;
    bench.seen();
    bench.after(2 * SECOND).await;
    assert!(bench.derived().is_ok(), "there is room for it now");
    assert!(bench.reader().size() <= 96);
}

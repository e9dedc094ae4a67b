//! The second road: keeps the register in step with Altinn.
//!
//! `altinn -> sync -> register`: one task owns the writer. It watches the system users that tokens name,
//! reads what they may do, mirrors the policies of our resources, and publishes both. It touches no
//! request; requests read the register, leave notices, and never wait for this.

pub mod bound;
mod drift;
pub mod metrics;
pub mod mirror;
pub mod ports;
mod restore;
pub mod revive;
mod save;
pub mod schedule;
pub mod status;
mod users;
mod wall;

pub use save::Saving;

use self::bound::{LOOK, grace_left};
use crate::clock::Clock;
use crate::config::RegisterConfig;
use crate::domain::decision::{Undecided, Verdict};
use crate::domain::delegation::{PackageId, PartyRights};
use crate::domain::resource::{Question, ResourceId, Right};
use crate::domain::salt::Salt;
use crate::domain::system_user::SystemUserId;
use crate::enforce::answers::Answers;
use crate::enforce::notices::Notice;
use crate::enforce::ports::{Account, Call, RemotePdp, Urgency};
use crate::register::{NotDerived, Publish, Reader, RightIndex, Seen, Tick, Ticks, Watch, Writer};
use drift::{Dispute, Outcome, SwitchedOff};
use metrics::SyncMetrics;
use mirror::{Mirror, MirrorReading};
use ports::{Saved, Source, StorableQuestion, StoreError, Wanted};
use restore::Restoring;
use save::{Saver, State, Written};
use status::StatusReader;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use users::{Users, payer};
use wall::{Jump, Wall};

const SECOND: Duration = Duration::from_secs(1);
/// Notices taken up before anything else is looked at.
const BATCH: usize = 256;
/// System users whose answers are asked for again in one second.
const RECONFIRMED: usize = 1000;
/// Questions on which the register and the PDP differ are asked again this often.
const DISPUTED: Duration = Duration::from_secs(60);
/// A tick of the register's clock, and some: what is read after it is younger than a doubt before it.
const A_TICK: Duration = Duration::from_millis(150);
/// Counts that walk over everything are taken this often.
const COUNTING: Duration = Duration::from_secs(10);

/// What the task needs.
pub struct Parts {
    /// Bounds and intervals.
    pub config: RegisterConfig,
    /// The rights of all routes, each once.
    pub rights: Vec<Right>,
    /// Routes by name, with the age up to which they are served while Altinn cannot be reached.
    pub graces: Vec<(String, Duration)>,
    /// Publishes.
    pub writer: Writer,
    /// Facts from Altinn.
    pub source: Arc<dyn Source>,
    /// Altinn's PDP.
    pub pdp: Arc<dyn RemotePdp>,
    /// What requests are answered from.
    pub answers: Arc<Answers>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// What requests have to tell.
    pub notices: mpsc::Receiver<Notice>,
    /// What operators see.
    pub metrics: SyncMetrics,
    /// Where it is saved.
    pub saving: Option<Saving>,
}

/// Keeps the register; see [`Sync::run`].
pub struct Sync {
    config: RegisterConfig,
    rights: Vec<(Right, RightIndex)>,
    writer: Writer,
    reader: Reader,
    ticks: Ticks,
    source: Arc<dyn Source>,
    pdp: Arc<dyn RemotePdp>,
    answers: Arc<Answers>,
    notices: mpsc::Receiver<Notice>,
    metrics: SyncMetrics,
    wanted: Arc<Wanted>,
    mirror: Mirror,
    users: Users,
    reconfirm: HashMap<SystemUserId, (Account, HashSet<Question>)>,
    switched_off: SwitchedOff,
    clock: Arc<dyn Clock>,
    wall: Wall,
    saver: Option<Saver>,
    next_eviction: Instant,
    next_count: Instant,
    next_dispute: Instant,
    /// When the policies were last known to be the current ones.
    verified: Option<Tick>,
    graces: Vec<(String, Duration)>,
    status: StatusReader,
    tasks: JoinSet<Done>,
    told: watch::Receiver<Option<Arc<Course>>>,
    tell: watch::Sender<Option<Arc<Course>>>,
}

/// What the configuration says of the register: another one while it runs.
#[derive(Debug)]
pub struct Course {
    /// Bounds and intervals; what says where the register is saved, and whose access lists are read, stays.
    pub config: RegisterConfig,
    /// The rights of all routes, as each route holds its own.
    pub rights: Vec<Right>,
    /// Routes by name, with the age up to which they are served while Altinn cannot be reached.
    pub graces: Vec<(String, Duration)>,
}

impl std::fmt::Debug for Sync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sync").field("writer", &self.writer).finish_non_exhaustive()
    }
}

/// What a task has come back with.
enum Done {
    Read(UserReading),
    Policies(MirrorReading),
    Reconfirmed,
    Sampled(Question, Result<Verdict, Undecided>),
    InDispute(Question),
    Disputed(Question, UserReading, Result<Verdict, Undecided>),
    AskedAgain(Question, Result<Verdict, Undecided>),
    Saved(Box<Written>),
}

/// What was read of a system user.
struct UserReading {
    id: SystemUserId,
    account: Account,
    /// Before it was asked for.
    fetched: Tick,
    begun: Instant,
    result: Result<Vec<PartyRights>, Undecided>,
}

impl Sync {
    /// Takes up its parts; nothing runs yet. `reader` reads what `parts.writer` publishes.
    #[must_use]
    pub fn new(parts: Parts, reader: Reader) -> Self {
        let now = Instant::now();
        let saver = parts.saving.map(|saving| Saver::new(saving, now));
        let Parts {
            config,
            rights,
            graces,
            writer,
            source,
            pdp,
            answers,
            clock,
            notices,
            metrics,
            ..
        } = parts;
        let index = |right: Right| writer.right_index(&right).map(|index| (right, index));
        let (tell, told) = watch::channel(None);
        let mirror = Mirror::new(&rights, config.policies, config.access_lists_owner.clone(), now);
        Self {
            rights: rights.into_iter().filter_map(index).collect(),
            ticks: writer.ticks().clone(),
            wanted: Arc::default(),
            users: Users::new(),
            reconfirm: HashMap::new(),
            switched_off: SwitchedOff::default(),
            wall: Wall::new(Arc::clone(&clock)),
            clock,
            saver,
            next_eviction: now,
            next_count: now,
            next_dispute: now,
            verified: None,
            graces,
            status: StatusReader::default(),
            tasks: JoinSet::new(),
            config,
            writer,
            reader,
            source,
            pdp,
            answers,
            notices,
            metrics,
            mirror,
            told,
            tell,
        }
    }

    /// Spreads readings by this salt, not by a random one.
    pub fn spread_by(&mut self, salt: Salt) {
        self.users.spread_by(salt);
    }

    /// Where it is told of another configuration while it runs. Only the last counts.
    #[must_use]
    pub fn courses(&self) -> watch::Sender<Option<Arc<Course>>> {
        self.tell.clone()
    }

    /// Tells how it stands, while it runs.
    #[must_use]
    pub fn status(&self) -> StatusReader {
        self.status.clone()
    }

    /// Takes up what was saved: before anything is served. `load` hands over each fact.
    pub fn restore(&mut self, load: impl FnOnce(&mut dyn FnMut(Saved))) {
        let answers = Arc::clone(&self.answers);
        let mut confirm = |question: StorableQuestion, asked| {
            answers.confirmations.restore(question.question(), asked);
        };
        let (writer, mirror) = (&mut self.writer, &mut self.mirror);
        let mut restoring = Restoring::new(writer, mirror, &mut confirm, self.clock.wall());
        load(&mut |saved| restoring.take(saved));
        let taken = restoring.finish();
        self.set_policies();
        if let Some(verified) = self.mirror.verified() {
            self.writer.policies_verified(verified);
            self.verified = Some(verified);
        }
        self.tell_policies();
        for question in taken.disputed {
            self.derivation_off(&question, 1);
            tracing::warn!(
                resource = %question.resource(),
                "permits for this resource are still asked for: before the restart Altinn's PDP said no where \
                 the register derived a permit"
            );
            self.switched_off.disagreed(question);
        }
        tracing::info!(
            system_users = taken.users,
            answers = taken.answers,
            policies = taken.policies,
            "the register was taken up from its snapshot"
        );
    }

    /// Runs until `stop`, and saves a last time then. What else was under way is dropped: nothing of it was
    /// promised to anybody.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut second = tokio::time::interval(SECOND);
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut notices = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                // In this order, so that a simulation can be repeated. None keeps the others waiting: all but
                // notices come seldom, and each task is a call or a writing.
                biased;
                () = stop.cancelled() => return self.save_last().await,
                Ok(()) = self.told.changed() => {
                    let course = self.told.borrow_and_update().clone();
                    if let Some(course) = course {
                        self.change(&course);
                    }
                }
                _ = second.tick() => self.every_second(),
                _ = look.tick() => self.look_over(),
                Some(done) = self.tasks.join_next() => match done {
                    Ok(done) => self.land(done),
                    Err(error) => tracing::error!(%error, "a reading ended in a panic"),
                },
                taken = self.notices.recv_many(&mut notices, BATCH) => {
                    // Never none: the answers that are held here keep the other end.
                    self.metrics.notices.inc_by(u64::try_from(taken).unwrap_or(0));
                    notices.drain(..).for_each(|notice| self.take_up(notice));
                }
            }
            self.dispatch();
        }
    }

    /// Goes on by another configuration. What is known stays: of a right that is routed no more nothing is derived, and
    /// for a new one the PDP is asked until its policy is read.
    fn change(&mut self, course: &Course) {
        let Course { config, rights, graces } = course;
        let distinct: Vec<Right> = distinct(rights);
        if let Err(error) = self.writer.route(rights.clone(), config.max_system_users.get()) {
            // Seen to before; without it, what is new is asked for.
            tracing::error!(%error, "the register goes on with the rights that it had");
            return;
        }
        let now = Instant::now();
        for (route, _) in &self.graces {
            let _gone = self.metrics.grace_seconds.remove_label_values(&[route.as_str()]);
        }
        self.mirror.route(&distinct, config.policies, self.ticks.now(), now);
        let index = |right: Right| self.writer.right_index(&right).map(|index| (right, index));
        self.rights = distinct.into_iter().filter_map(index).collect();
        (self.graces, self.config) = (graces.clone(), config.clone());
        self.next_eviction = now;
        self.set_policies();
        for (state, count) in self.mirror.count() {
            self.metrics.policies.with_label_values(&[state]).set(count);
        }
        self.tell_policies();
        if let Some(saver) = &mut self.saver {
            saver.policies_changed();
        }
    }

    fn take_up(&mut self, notice: Notice) {
        let now = Instant::now();
        match notice {
            Notice::Seen(seen) => {
                let account = payer(seen.vendor);
                match self.writer.watch(&seen) {
                    Watch::New => self.users.want(account, seen.id, false, now),
                    Watch::Known => {}
                    Watch::Full => self.next_eviction = self.next_eviction.min(now + SECOND),
                }
            }
            Notice::Stale(id) => {
                if let Some(view) = self.reader.view(id) {
                    self.users.want(payer(view.vendor), id, true, now);
                }
            }
            Notice::Reconfirm(question, account) => {
                let id = question.system_user();
                let asked = self.reconfirm.entry(id).or_insert_with(|| (account, HashSet::new()));
                asked.1.insert(question);
            }
            Notice::Sample(question) => self.sample(question),
            Notice::Doubted(id) => self.doubted(id, now),
        }
    }

    /// The PDP has said no to what is derived of it: that, and the policies, are read anew, and a restart
    /// must know of it.
    fn doubted(&mut self, id: SystemUserId, now: Instant) {
        self.changed(id);
        self.mirror.look_soon(now);
        if let Some(view) = self.reader.view(id) {
            self.users.want(payer(view.vendor), id, true, now);
        }
    }

    fn every_second(&mut self) {
        let now = Instant::now();
        self.look_at_the_clock();
        if now >= self.next_dispute {
            self.next_dispute = now + DISPUTED.min(self.config.refresh_least);
            self.ask_disputed();
        }
        if let Some(plan) = self.mirror.plan(self.ticks.now(), now) {
            let source = Arc::clone(&self.source);
            self.tasks.spawn(async move { Done::Policies(plan.read(source).await) });
        }
        self.ask_again();
        self.answers.confirmations.tidy();
        self.save(now);
        if now >= self.next_eviction {
            self.evict();
            self.next_eviction = now + 60 * SECOND;
        }
        self.observe(now);
    }

    fn look_over(&mut self) {
        let doubted = self.users.look_over(&self.writer, &self.ticks, &self.config, Instant::now());
        for id in doubted {
            self.changed(id);
        }
    }

    fn look_at_the_clock(&mut self) {
        match self.wall.look() {
            Some(Jump::Forward(ahead)) => {
                self.ticks.skip(ahead);
                self.metrics.clock_jumps.with_label_values(&["forward"]).inc();
                tracing::warn!(
                    seconds = ahead.as_secs(),
                    "the clock jumped ahead; all that is held counts as so much older"
                );
            }
            Some(Jump::Back(behind)) => {
                self.metrics.clock_jumps.with_label_values(&["back"]).inc();
                if let Some(saver) = &mut self.saver {
                    saver.clock_set_back(&self.reader, Instant::now());
                }
                tracing::warn!(seconds = behind.as_secs(), "the clock jumped back");
            }
            None => {}
        }
    }

    /// Begins what there is room for.
    fn dispatch(&mut self) {
        // Before it is known which packages matter, an answer would have to be read again.
        if !self.mirror.has_been_read() {
            return;
        }
        while let Some((account, id)) = self.users.take(Instant::now()) {
            let reading = self.read(account, id);
            self.tasks.spawn(async move { Done::Read(reading.await) });
        }
    }

    fn read(
        &self,
        account: Account,
        id: SystemUserId,
    ) -> impl Future<Output = UserReading> + Send + 'static {
        let (source, wanted) = (Arc::clone(&self.source), Arc::clone(&self.wanted));
        let (fetched, begun) = (self.ticks.now(), Instant::now());
        async move {
            let result = source.parties(id, &wanted, account).await;
            UserReading { id, account, fetched, begun, result }
        }
    }

    /// Asks behind for answers that are not fresh any more.
    fn ask_again(&mut self) {
        let due: Vec<_> = self.reconfirm.keys().copied().take(RECONFIRMED).collect();
        for id in due {
            let Some((account, questions)) = self.reconfirm.remove(&id) else { continue };
            let answers = Arc::clone(&self.answers);
            self.tasks.spawn(async move {
                let questions: Vec<Question> = questions.into_iter().collect();
                let call = Call { account, urgency: Urgency::Behind };
                answers.confirmations.ask_behind(&questions, call).await;
                Done::Reconfirmed
            });
        }
    }

    fn land(&mut self, done: Done) {
        match done {
            Done::Read(reading) => {
                self.publish(reading);
            }
            Done::Policies(reading) => self.apply_policies(reading),
            Done::Saved(written) => drop(self.land_saved(*written)),
            Done::Reconfirmed => {}
            Done::Sampled(question, verdict) => self.judge_sample(question, verdict),
            Done::InDispute(question) => self.settle(question),
            Done::AskedAgain(question, verdict) => self.judge_again(&question, verdict),
            Done::Disputed(question, reading, second) => {
                let read = self.publish(reading);
                self.judge_dispute(&question, read, second);
            }
        }
    }

    /// Makes visible what was read; whether there was anything.
    fn publish(&mut self, reading: UserReading) -> bool {
        let UserReading { id, account, fetched, begun, result } = reading;
        let now = Instant::now();
        self.metrics.refresh_seconds.observe(begun.elapsed().as_secs_f64());
        let parties = match result {
            Ok(parties) => parties,
            Err(undecided) => {
                self.metrics.refreshes.with_label_values(&["failed"]).inc();
                tracing::debug!(system_user = %id, cause = undecided.cause.label(), "not read");
                self.users.failed(account, id, undecided, now);
                return false;
            }
        };
        self.users.succeeded(account, id, now);
        let known = self.reader.view(id).is_some_and(|view| view.fetched.is_some());
        match self.writer.publish(id, fetched, parties) {
            Publish::Published { changed, doubted, .. } => {
                self.changed(id);
                let result = if changed { "changed" } else { "unchanged" };
                self.metrics.refreshes.with_label_values(&[result]).inc();
                if doubted {
                    self.users.want(account, id, true, now);
                }
                // A no from before stands until the policies are known to be younger too.
                if changed && known {
                    self.mirror.look_soon(now);
                }
            }
            // Something newer is held, or nobody asks for it any more.
            Publish::Outdated | Publish::NotWatched => {}
        }
        true
    }

    fn apply_policies(&mut self, reading: MirrorReading) {
        let applied = self.mirror.apply(reading, self.ticks.now(), Instant::now());
        for (what, well) in applied.readings {
            let result = if well { "read" } else { "failed" };
            self.metrics.policy_readings.with_label_values(&[what, result]).inc();
        }
        if applied.changed {
            self.set_policies();
        }
        if let Some(saver) = &mut self.saver
            && (applied.changed || applied.verified.is_some())
        {
            saver.policies_changed();
        }
        if let Some(at) = applied.verified {
            self.writer.policies_verified(at);
            self.verified = Some(at);
        }
        for (state, count) in self.mirror.count() {
            self.metrics.policies.with_label_values(&[state]).set(count);
        }
        self.tell_policies();
        self.status.change(|status| status.policy_readings += 1);
    }

    fn tell_policies(&self) {
        let is_off = |resource: &ResourceId| self.switched_off.contains(resource);
        let rights: Vec<&Right> = self.rights.iter().map(|(right, _)| right).collect();
        let resources = self.mirror.tell(&rights, is_off);
        let mut packages: Vec<PackageId> = self.wanted.packages.values().cloned().collect();
        packages.sort();
        self.status.change(|status| {
            status.verified = self.verified;
            status.resources = resources.into();
            status.packages = packages.into();
        });
    }

    fn set_policies(&mut self) {
        let wanted = self.mirror.wanted();
        self.users.grown(self.mirror.looked_for_since());
        self.wanted = Arc::new(wanted);
        let state = |(right, index): &(Right, RightIndex)| (*index, self.mirror.state(right));
        let states = self.rights.iter().map(state).collect();
        self.writer.set_policies(states);
    }

    /// What is on disk of a system user is not as it is here.
    fn changed(&mut self, id: SystemUserId) {
        if let Some(saver) = &mut self.saver {
            saver.changed(id);
        }
    }

    fn save(&mut self, now: Instant) {
        let Some(saver) = &mut self.saver else { return };
        let wall = self.clock.wall();
        let state = State::of(&self.reader, &self.mirror, &self.switched_off, &self.ticks, wall);
        if let Some(writing) = saver.due(&state, &self.answers, now) {
            self.tasks.spawn_blocking(move || Done::Saved(Box::new(writing.write())));
        }
    }

    async fn save_last(mut self) {
        // A writing that is under way ends first; the store is in it.
        while self.saver.as_ref().is_some_and(|saver| !saver.is_idle()) {
            match self.tasks.join_next().await {
                Some(Ok(Done::Saved(written))) => drop(self.land_saved(*written)),
                Some(_) => {}
                None => return,
            }
        }
        while let Some(saver) = &mut self.saver {
            let wall = self.clock.wall();
            let state =
                State::of(&self.reader, &self.mirror, &self.switched_off, &self.ticks, wall);
            let Some(writing) = saver.last(&state, &self.answers) else { return };
            let written = tokio::task::spawn_blocking(move || writing.write()).await;
            // One writing takes so many. What fails now is not tried again: the program ends.
            if !written.is_ok_and(|written| self.land_saved(written)) {
                return;
            }
        }
    }

    /// Whether it was written.
    fn land_saved(&mut self, written: Written) -> bool {
        let Some(saver) = &mut self.saver else { return false };
        let result = saver.written(written, &self.reader, Instant::now());
        let label = match &result {
            Ok(()) => "saved",
            // Most likely the program that this one follows: no failure yet.
            Err(StoreError::InUse) => "in_use",
            Err(StoreError::Disk(_) | StoreError::Lost(_) | StoreError::Sealing) => "failed",
        };
        self.metrics.saves.with_label_values(&[label]).inc();
        match &result {
            Ok(()) => self.metrics.saved.set(self.clock.now().seconds()),
            Err(StoreError::InUse) => tracing::debug!("another process uses the snapshot"),
            Err(error) => {
                let cause = std::error::Error::source(error).map(ToString::to_string);
                tracing::error!(%error, cause, "the register is not saved; tried again");
            }
        }
        result.is_ok()
    }

    fn sample(&mut self, question: Question) {
        let pdp = Arc::clone(&self.pdp);
        self.tasks.spawn(async move {
            let verdict = pdp.ask(&question, OWN).await;
            Done::Sampled(question, verdict)
        });
    }

    fn judge_sample(&mut self, question: Question, verdict: Result<Verdict, Undecided>) {
        match verdict {
            Ok(Verdict::Permit) => self.count_sample(Outcome::Agreed),
            Err(_) => self.count_sample(Outcome::Undecided),
            Ok(Verdict::Deny | Verdict::Unmet(_) | Verdict::NotApplicable) => {
                // Until it is read anew, nothing is derived of it, whatever becomes of the rest.
                self.reader.doubt(question.system_user());
                self.answers.confirmations.forget(&question);
                self.changed(question.system_user());
                self.mirror.look_soon(Instant::now());
                self.tasks.spawn(async move {
                    tokio::time::sleep(A_TICK).await;
                    Done::InDispute(question)
                });
            }
        }
    }

    /// Reads the system user anew, and asks once more.
    fn settle(&mut self, question: Question) {
        let reading = self.read(Account::Own, question.system_user());
        let pdp = Arc::clone(&self.pdp);
        self.tasks.spawn(async move {
            let reading = reading.await;
            let second = pdp.ask(&question, OWN).await;
            Done::Disputed(question, reading, second)
        });
    }

    fn ask_disputed(&mut self) {
        for question in self.switched_off.disputed().cloned().collect::<Vec<_>>() {
            let pdp = Arc::clone(&self.pdp);
            self.tasks.spawn(async move {
                let verdict = pdp.ask(&question, OWN).await;
                Done::AskedAgain(question, verdict)
            });
        }
    }

    fn judge_again(&mut self, question: &Question, verdict: Result<Verdict, Undecided>) {
        let derived = match self.reader.explain(question).look_up.derived {
            Ok(_) | Err(NotDerived::SwitchedOff) => true,
            // What was not read (anew) yet can be compared with nothing.
            Err(
                NotDerived::Doubted
                | NotDerived::Unwatched
                | NotDerived::NeverRead
                | NotDerived::PolicyUnread
                | NotDerived::ReadBeforePolicy,
            ) => return,
            Err(_) => false,
        };
        let Ok(verdict) = verdict else { return };
        if self.switched_off.compared(question, derived == (verdict == Verdict::Permit)) {
            self.writer.switch_on(question.resource());
            self.derivation_off(question, 0);
            tracing::info!(resource = %question.resource(), "permits are derived again");
        }
    }

    fn judge_dispute(
        &mut self,
        question: &Question,
        read: bool,
        second: Result<Verdict, Undecided>,
    ) {
        let look_up = self.reader.explain(question).look_up;
        let age = |tick: Tick| self.ticks.age(tick);
        let dispute = Dispute {
            second,
            read,
            // What is in doubt would be derived otherwise; only the policies may still be the old ones.
            derived: matches!(
                look_up.derived,
                Ok(_) | Err(NotDerived::Doubted | NotDerived::SwitchedOff)
            ),
            entry_changed: look_up.watched.map(|watched| age(watched.changed)),
            policy_changed: self.mirror.changed(question.resource()).map(age),
        };
        let outcome = dispute.outcome();
        self.count_sample(outcome);
        if outcome == Outcome::Disagreed {
            self.writer.switch_off(question.resource());
            let first = self.switched_off.disagreed(question.clone());
            self.derivation_off(question, 1);
            if first {
                tracing::error!(
                    system_user = %question.system_user(),
                    resource = %question.resource(),
                    action = %question.action(),
                    party = ?question.party(),
                    second = ?second,
                    "Altinn's PDP says no where the register derives a permit; \
                     permits for this resource are asked for until both agree again"
                );
            }
        }
    }

    fn count_sample(&self, outcome: Outcome) {
        self.metrics.samples.with_label_values(&[outcome.label()]).inc();
    }

    /// Tells that derivation is off (1) or on (0) for the question's resource, and has it saved.
    fn derivation_off(&mut self, question: &Question, off: i64) {
        if let Some(saver) = &mut self.saver {
            saver.policies_changed();
        }
        self.metrics.derivation_off.with_label_values(&[question.resource().as_str()]).set(off);
        self.tell_policies();
    }

    fn evict(&mut self) {
        let most = self.config.max_system_users.get();
        // Some room for those that come before the next time.
        let most = if self.writer.size() >= most { most - most / 20 } else { most };
        let before = self.writer.size() >= self.config.max_system_users.get();
        let (bytes, keep_for) = (self.config.max_bytes, self.config.keep_for);
        let kept = self.always_watched().collect();
        let gone = self.writer.evict(most, bytes, keep_for, &kept);
        self.users.forget(&gone);
        for id in &gone {
            self.changed(*id);
        }
        self.watch_listed();
        let reason = if before { "full" } else { "unused" };
        let count = u64::try_from(gone.len()).unwrap_or(0);
        self.metrics.forgotten.with_label_values(&[reason]).inc_by(count);
    }

    /// Those that the configuration names, and those about which Altinn disagrees, since nothing else tells
    /// when it does no more.
    fn always_watched(&self) -> impl Iterator<Item = SystemUserId> {
        let disputed = self.switched_off.disputed().map(Question::system_user);
        self.config.system_users.iter().copied().chain(disputed)
    }

    fn watch_listed(&mut self) {
        let listed: Vec<_> = self.always_watched().collect();
        for id in listed {
            let seen = Seen { id, owner: None, system: None, vendor: None };
            if self.reader.view(id).is_none() && self.writer.watch(&seen) == Watch::New {
                self.users.want(Account::Own, id, false, Instant::now());
            }
        }
    }

    fn observe(&mut self, now: Instant) {
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let seconds = |age: Duration| i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        let (waiting, lag) = self.users.waiting(now);
        self.metrics.waiting.set(gauge(waiting));
        self.metrics.lag_seconds.set(seconds(lag));
        self.metrics.system_users.set(gauge(self.writer.size()));
        self.metrics.bytes.set(gauge(self.reader.bytes()));
        self.status.change(|status| {
            (status.waiting, status.lag, status.oldest) = (waiting, lag, self.users.oldest());
        });
        let oldest = self.users.oldest().map_or(Duration::ZERO, |tick| self.ticks.age(tick));
        self.metrics.age_seconds.set(seconds(oldest));
        let verified = self.verified.map(|tick| self.ticks.age(tick));
        for (route, grace) in &self.graces {
            let left = grace_left(*grace, oldest, verified, self.config.policies.max_age);
            let left = seconds(left);
            self.metrics.grace_seconds.with_label_values(&[route.as_str()]).set(left);
        }
        if now >= self.next_count {
            self.next_count = now + COUNTING;
            let stats = self.reader.stats();
            self.metrics.parties.set(gauge(stats.parties));
            self.metrics.rights_sets.set(gauge(stats.sets));
            self.metrics.policies_age_seconds.set(verified.map_or(-1, seconds));
        }
    }
}

/// Each right once.
#[must_use]
pub fn distinct(rights: &[Right]) -> Vec<Right> {
    let mut seen = HashSet::new();
    rights.iter().filter(|right| seen.insert(*right)).cloned().collect()
}

const OWN: Call = Call { account: Account::Own, urgency: Urgency::Behind };

#[cfg(test)]
mod tests;

//! The register on disk: what changed since the last writing.

use super::drift::SwitchedOff;
use super::mirror::Mirror;
use super::ports::{ReadFor, Saved, SavedUser, StorableQuestion, Store, StoreError};
use crate::domain::decision::Verdict;
use crate::domain::resource::Question;
use crate::domain::system_user::SystemUserId;
use crate::enforce::answers::Answers;
use crate::enforce::confirmations::{Confirmation, JournalReader};
use crate::register::{Reader, Tick, Ticks, UserView};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// System users in one writing, so that none is long.
const BATCH: usize = 20_000;
/// Answers that may wait to be written. Past that, those on disk are replaced by those that are held then:
/// a disk that is full for long costs no more memory.
const ANSWERS: usize = 50_000;
/// A writing that failed is tried again no sooner.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// Where the register is saved.
pub struct Saving {
    /// The store.
    pub store: Box<dyn Store>,
    /// Answers of the PDP as they come.
    pub journal: JournalReader,
    /// Time between two writings.
    pub interval: Duration,
}

/// What is to be saved, and when.
pub(super) struct Saver {
    /// `None` while it writes.
    store: Option<Box<dyn Store>>,
    journal: JournalReader,
    interval: Duration,
    next: Instant,
    /// System users that are not on disk as they are here, or that are gone.
    users: HashSet<SystemUserId>,
    answers: HashMap<StorableQuestion, Option<Confirmation>>,
    /// Answers are to be written anew, all of them; then none need wait here.
    anew: bool,
    policies: bool,
}

/// What a writing came to.
pub(super) struct Written {
    store: Box<dyn Store>,
    result: Result<(), StoreError>,
    users: HashSet<SystemUserId>,
    answers: HashMap<StorableQuestion, Option<Confirmation>>,
    anew: bool,
    policies: bool,
}

/// A writing that is to be made, away from the task.
pub(super) struct Writing {
    store: Box<dyn Store>,
    batch: Vec<Saved>,
    users: HashSet<SystemUserId>,
    answers: HashMap<StorableQuestion, Option<Confirmation>>,
    anew: bool,
    policies: bool,
}

impl Writing {
    /// Writes; may take as long as the disk does.
    pub(super) fn write(self) -> Written {
        let Self { mut store, batch, users, answers, anew, policies } = self;
        let result = store.save(batch);
        Written { store, result, users, answers, anew, policies }
    }
}

/// What the batch is made from.
pub(super) struct State<'a> {
    pub(super) reader: &'a Reader,
    pub(super) mirror: &'a Mirror,
    pub(super) switched_off: &'a SwitchedOff,
    pub(super) ticks: &'a Ticks,
    pub(super) wall: SystemTime,
    /// What system users are read for now, and since when for all of it.
    read_for: ReadFor,
    since: Option<Tick>,
}

impl Saver {
    pub(super) fn new(saving: Saving, now: Instant) -> Self {
        let Saving { store, journal, interval } = saving;
        Self {
            store: Some(store),
            journal,
            interval,
            next: now + interval,
            users: HashSet::new(),
            answers: HashMap::new(),
            anew: false,
            policies: false,
        }
    }

    /// A system user has changed, or is gone.
    pub(super) fn changed(&mut self, id: SystemUserId) {
        self.users.insert(id);
    }

    /// Policies, lists or the catalogue have changed, or were found to be current; or the derivation of a
    /// resource was switched off or on.
    pub(super) fn policies_changed(&mut self) {
        self.policies = true;
    }

    /// Whether nothing is being written.
    pub(super) fn is_idle(&self) -> bool {
        self.store.is_some()
    }

    /// What is to be written now; `None` when nothing is due, or a writing is under way.
    pub(super) fn due(
        &mut self,
        state: &State<'_>,
        answers: &Answers,
        now: Instant,
    ) -> Option<Writing> {
        self.take_up_answers();
        if now < self.next {
            return None;
        }
        self.begin(state, answers)
    }

    /// What is to be written at the end, and then what is left of it; `None` when all is written.
    pub(super) fn last(&mut self, state: &State<'_>, answers: &Answers) -> Option<Writing> {
        self.take_up_answers();
        let answers_left = self.anew || !self.answers.is_empty();
        let left = self.policies || answers_left || !self.users.is_empty();
        if left { self.begin(state, answers) } else { None }
    }

    fn begin(&mut self, state: &State<'_>, held: &Answers) -> Option<Writing> {
        let store = self.store.take()?;
        let mut users = std::mem::take(&mut self.users);
        self.users = users.iter().copied().skip(BATCH).collect();
        users.retain(|id| !self.users.contains(id));
        let anew = std::mem::take(&mut self.anew);
        if anew {
            held.confirmations.each_held(&mut |question, answer| {
                if answer.verdict == Verdict::Permit {
                    self.answer(question, Some(answer));
                }
            });
        }
        let answers = std::mem::take(&mut self.answers);
        let policies = std::mem::take(&mut self.policies);
        let mut batch = Vec::with_capacity(users.len() + answers.len() + 8);
        if policies {
            state.mirror.save(state, &mut batch);
            state.switched_off.save(state.mirror.ids(), &mut batch);
        }
        batch.extend(users.iter().map(|id| state.user(*id)));
        if anew {
            batch.push(Saved::UnconfirmAll);
        }
        batch.extend(answers.iter().map(|(question, answer)| state.answer(question, *answer)));
        batch.push(Saved::LastSaved(state.wall));
        Some(Writing { store, batch, users, answers, anew, policies })
    }

    /// The newest answer to each question counts. Where one was lost on the way, or too many wait, all that
    /// are held are written anew.
    fn take_up_answers(&mut self) {
        while let Ok((question, answer)) = self.journal.notes.try_recv() {
            if !self.anew {
                self.answer(question, answer);
            }
        }
        if self.journal.incomplete.swap(false, Ordering::AcqRel) || self.answers.len() > ANSWERS {
            self.write_anew();
        }
    }

    fn write_anew(&mut self) {
        self.anew = true;
        self.answers = HashMap::new();
    }

    /// `None` for an answer that is let go.
    fn answer(&mut self, question: Question, answer: Option<Confirmation>) {
        let Some(question) = StorableQuestion::of(question) else { return };
        let asked = |answer: Option<Confirmation>| answer.map(|answer| answer.asked);
        let held = self.answers.entry(question).or_insert(answer);
        if answer.is_none() || asked(*held) <= asked(answer) {
            *held = answer;
        }
    }

    /// The wall clock was set back: what is on disk bears times of before, and would count as younger than it is
    /// after a restart. All of it is written anew, now.
    pub(super) fn clock_set_back(&mut self, reader: &Reader, now: Instant) {
        self.all_anew(reader);
        self.next = now;
    }

    fn all_anew(&mut self, reader: &Reader) {
        self.write_anew();
        self.policies = true;
        reader.for_each(&mut |view| {
            self.users.insert(view.id);
        });
    }

    /// Takes up what a writing came to. What was not written is still to be.
    pub(super) fn written(
        &mut self,
        written: Written,
        reader: &Reader,
        now: Instant,
    ) -> Result<(), StoreError> {
        let Written { store, result, users, answers, anew, policies } = written;
        self.store = Some(store);
        // What is left is written at once.
        self.next = if self.users.is_empty() { now + self.interval } else { now };
        if let Err(error) = &result {
            self.next = now + self.interval.max(AFTER_FAILURE);
            self.users.extend(users);
            let lost = matches!(error, StoreError::Lost(_));
            if anew || self.anew || lost {
                self.write_anew();
            } else {
                for (question, answer) in answers {
                    self.answers.entry(question).or_insert(answer);
                }
            }
            self.policies |= policies;
            if lost {
                self.all_anew(reader);
            }
        }
        result
    }
}

impl<'a> State<'a> {
    /// As it is now, at `wall` of the day.
    pub(super) fn of(
        reader: &'a Reader,
        mirror: &'a Mirror,
        switched_off: &'a SwitchedOff,
        ticks: &'a Ticks,
        wall: SystemTime,
    ) -> Self {
        let (read_for, since) = (mirror.read_for(), mirror.looked_for_since());
        Self { reader, mirror, switched_off, ticks, wall, read_for, since }
    }

    fn user(&self, id: SystemUserId) -> Saved {
        let view = self.reader.view(id);
        let saved = view.and_then(|view| self.saved(view));
        saved.map_or(Saved::ForgetUser(id), |user| Saved::User(Box::new(user)))
    }

    /// `None` for one that no token has named yet: the configuration does.
    fn saved(&self, view: UserView) -> Option<SavedUser> {
        let at = |tick| self.ticks.to_wall(tick, self.wall);
        // What is in doubt, or not all named, must not serve after a restart.
        let verified = self.mirror.verified();
        let rests_on = |fetched| verified.map_or(fetched, |verified| verified.min(fetched));
        let doubted = |fetched| view.doubted.is_some_and(|doubted| doubted >= rests_on(fetched));
        let sound = view.complete && !view.fetched.is_some_and(doubted);
        let for_all = view.fetched.is_some_and(|at| self.since.is_none_or(|since| at > since));
        Some(SavedUser {
            id: view.id,
            owner: view.owner?,
            system: view.system?,
            vendor: view.vendor?,
            fetched: view.fetched.filter(|_| sound).map(at),
            changed: at(view.changed),
            lost: view.lost.map(at),
            last_used: at(view.last_used),
            parties: view.parties,
            read_for: for_all.then_some(self.read_for),
        })
    }

    fn answer(&self, question: &StorableQuestion, answer: Option<Confirmation>) -> Saved {
        match answer.filter(|answer| answer.verdict == Verdict::Permit) {
            Some(answer) => {
                let asked = self.ticks.to_wall(answer.asked, self.wall);
                Saved::Confirmation(question.clone(), asked)
            }
            None => Saved::Unconfirm(question.clone()),
        }
    }
}

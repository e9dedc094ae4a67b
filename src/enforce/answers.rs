//! What is known of a question without asking, and how it is asked: the register, the confirmations, and
//! the notices that keep both fresh. Decides which of two answers counts; whether it is young enough is
//! decided in [`mod@super::authorize`].

use super::confirmations::{Asking, Confirmation, Confirmations, OnNo};
use super::notices::Notices;
use super::ports::{Account, Call, Urgency};
use crate::domain::decision::{Source, Undecided, Verdict};
use crate::domain::resource::Question;
use crate::domain::system_user::SystemUserId;
use crate::register::{LookUp, Moment, NotDerived, PolicyVersion, Reader, Seen, Ticks};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long Altinn's PDP may answer from its memory of delegations: five minutes (contract authorization.md
/// §4), and one for what it takes to get there.
pub const REMEMBERED: Duration = Duration::from_secs(6 * 60);

/// Everything that answers come from.
#[derive(Debug)]
pub struct Answers {
    /// The register of rights; `None` when it is switched off.
    pub register: Option<Reader>,
    /// Exact answers of the PDP.
    pub confirmations: Arc<Confirmations>,
    /// What is told to the task that keeps the register; `None` when nothing does.
    pub notices: Option<Arc<Notices>>,
    /// The register's clock.
    pub ticks: Ticks,
    /// Greatest age of a no of the PDP that is used without asking again.
    pub no_for: Duration,
    /// Greatest age of what is known of policies, outages apart.
    pub policy_max_age: Duration,
    /// One in how many derived permits is compared with the PDP.
    pub sampler: Sampler,
}

/// Picks one in so many.
#[derive(Debug)]
pub struct Sampler {
    one_in: NonZeroUsize,
    served: AtomicUsize,
}

impl Sampler {
    /// Picks every `one_in`th.
    #[must_use]
    pub fn new(one_in: NonZeroUsize) -> Self {
        Self { one_in, served: AtomicUsize::new(0) }
    }

    fn pick(&self) -> bool {
        self.served.fetch_add(1, Ordering::Relaxed) % self.one_in == self.one_in.get() - 1
    }
}

/// What is known of a question, newest first where two things are known.
#[derive(Debug)]
pub struct Known {
    /// A permit, derived or confirmed.
    pub permit: Option<KnownPermit>,
    /// A no of the PDP that is newer than every permit, and its age.
    pub no: Option<(Verdict, Duration)>,
    /// Why the register derives nothing; `None` where it does.
    pub not_derived: Option<NotDerived>,
}

/// A permit that is held.
#[derive(Clone, Copy, Debug)]
pub struct KnownPermit {
    /// Where it came from.
    pub source: Source,
    /// How old it is.
    pub age: Duration,
    /// The policy that it was derived from, and how long ago that was known to be the current one.
    pub policy: Option<(PolicyVersion, Duration)>,
}

impl Answers {
    /// What is known of `question`. Allocates nothing, but as [`Confirmations::held`] says.
    #[must_use]
    pub fn known(&self, question: &Question) -> Known {
        let now = self.ticks.moment();
        let look_up = self.register.as_ref().map(|register| register.look_up_at(question, now));
        let derived = look_up.as_ref().map(|look_up| derived(look_up, now));
        let (derived, not_derived) = match derived {
            Some(Ok(permit)) => (Some(permit), None),
            Some(Err(why)) => (None, Some(why)),
            None => (None, None),
        };
        let held = self.confirmations.held(question);
        // Where the system user's rights have changed since, what was said before says nothing now. Nor
        // does it where the resource has no policy any more.
        let gone = not_derived == Some(NotDerived::PolicyMissing);
        let held = held.filter(|held| !gone && !outdated(held, look_up.as_ref()));
        let held = held.filter(|held| !self.is_too_bold(held, look_up.as_ref(), now));
        // A no may rest on a policy: it stands until that was read after it, too.
        let derived = derived.map(|permit| (permit, permit.rests_on()));
        let (confirmed, no) = match held.map(|held| (held.verdict, now.age(held.asked))) {
            Some((Verdict::Permit, age)) => {
                (Some(KnownPermit { source: Source::Confirmed, age, policy: None }), None)
            }
            Some((no @ (Verdict::Deny | Verdict::Unmet(_) | Verdict::NotApplicable), age)) => {
                (None, Some((no, age)))
            }
            None => (None, None),
        };
        // A no closes what was permitted before it. What is read after it counts again.
        let derived = derived.filter(|(_, oldest)| no.is_none_or(|(_, age)| *oldest < age));
        let derived = derived.map(|(permit, _)| permit);
        let no = no.filter(|_| derived.is_none());
        let permit = match (derived, confirmed) {
            (Some(derived), Some(confirmed)) if confirmed.age < derived.age => Some(confirmed),
            (Some(derived), _) => Some(derived),
            (None, confirmed) => confirmed,
        };
        Known { permit, no, not_derived }
    }

    /// Whether a permit may come from the PDP's memory of what the register has seen withdrawn before. It is
    /// of use for no longer than a no is: asked for each time, all would wait for Altinn for minutes.
    fn is_too_bold(&self, held: &Confirmation, look_up: Option<&LookUp>, now: Moment) -> bool {
        let lost = look_up.and_then(|look_up| look_up.watched.as_ref()?.lost);
        let age = now.age(held.asked);
        let from_memory = lost.is_some_and(|lost| now.age(lost).saturating_sub(age) < REMEMBERED);
        held.verdict == Verdict::Permit && from_memory && age >= self.no_for
    }

    /// Asks the PDP, since a request waits for it.
    ///
    /// # Errors
    /// [`Undecided`] when it could not be told.
    pub async fn ask(
        &self,
        question: &Question,
        account: Account,
        max_age: Duration,
        known: &Known,
    ) -> Result<Confirmation, Undecided> {
        let would_permit = known.permit.is_some_and(|permit| permit.source == Source::Derived);
        let call = Call { account, urgency: Urgency::Waiting };
        let asking = Asking { call, max_age, expected: would_permit };
        self.confirmations.ask(question, asking).await
    }

    /// Has a system user watched that a verified token names.
    pub fn watch(&self, id: SystemUserId, seen: impl FnOnce() -> Seen) {
        let Some(notices) = &self.notices else { return };
        let seen = seen();
        // Mostly it is known, and the task that keeps the register need not be woken.
        if !self.register.as_ref().is_some_and(|register| register.knows(&seen)) {
            notices.seen(id, || seen);
        }
    }

    /// Has what is known read anew, behind.
    pub fn refresh(&self, question: &Question, source: Source, account: Account) {
        match source {
            Source::Derived => self.stale(question),
            Source::Confirmed | Source::Pdp => {
                if let Some(notices) = &self.notices {
                    notices.reconfirm(question, account);
                }
            }
        }
    }

    fn stale(&self, question: &Question) {
        if let Some(notices) = &self.notices {
            notices.stale(question.system_user());
        }
    }

    /// Now and then has a derived permit compared with the PDP.
    pub fn sample(&self, question: &Question) {
        if let Some(notices) = self.notices.as_ref().filter(|_| self.sampler.pick()) {
            notices.sample(question);
        }
    }
}

fn derived(look_up: &LookUp, now: Moment) -> Result<KnownPermit, NotDerived> {
    let derived = look_up.derived?;
    Ok(KnownPermit {
        source: Source::Derived,
        age: now.age(derived.fetched),
        policy: Some((derived.policy, now.age(derived.policies_verified))),
    })
}

/// Whether what the answer rests on has changed since the PDP was asked: of a permit, what the system user
/// holds; of a no, that, and the policies are known to be younger too.
fn outdated(held: &Confirmation, look_up: Option<&LookUp>) -> bool {
    let watched = look_up.and_then(|look_up| look_up.watched.as_ref());
    let changed = watched.is_some_and(|watched| held.asked < watched.changed);
    let verified = watched.and_then(|watched| watched.policies_verified);
    changed && (held.verdict == Verdict::Permit || verified.is_some_and(|at| held.asked < at))
}

impl KnownPermit {
    /// The age of the oldest thing that it rests on.
    fn rests_on(&self) -> Duration {
        self.policy.map_or(self.age, |(_, policy)| self.age.max(policy))
    }
}

/// A no of the PDP where the register derives a permit: what was read is wrong, or not true any more, and
/// nothing is derived from it again before it was read anew. Told where the no is noted, so that no
/// request that leaves early can lose it.
#[must_use]
pub fn doubter(register: Reader, notices: Arc<Notices>) -> OnNo {
    Box::new(move |question| {
        let derived = register.explain(question).look_up.derived;
        if matches!(derived, Ok(_) | Err(NotDerived::SwitchedOff | NotDerived::Doubted)) {
            register.doubt(question.system_user());
            notices.doubted(question.system_user());
        }
    })
}

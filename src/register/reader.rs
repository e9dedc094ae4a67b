//! The readers' half of the register.

use super::book::Book;
use super::shard::{Found, Grant, Shard};
use super::ticks::{Moment, Tick, Ticks};
use super::{
    DerivedPermit, LookUp, NotDerived, PolicyVersion, RightIndex, Seen, Shared, Spot,
    TooManyRights, Watched,
};
use crate::domain::delegation::{PackageId, PartyRights};
use crate::domain::party::{OrgNumber, Party};
use crate::domain::policy;
use crate::domain::resource::{Question, ResourceId, Right};
use crate::domain::system_user::{SystemId, SystemUserId};
use std::fmt;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Looks up; never waits for the writer. A clone is as good.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("size", &self.size()).finish_non_exhaustive()
    }
}

/// Why the register says what it says to a question.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// What it says.
    pub look_up: LookUp,
    /// The system user and everything held for it, if it is watched.
    pub user: Option<UserView>,
    /// Packages held for the party.
    pub packages: Vec<PackageId>,
    /// Our resources of which some action is delegated singly for the party.
    pub resources: Vec<ResourceId>,
    /// The policy of the right, if it is read and understood.
    pub policy: Option<PolicyVersion>,
    /// When the policies were last known to be current.
    pub policies_verified: Option<Tick>,
    /// Which rules of that policy apply to these packages, and which packages would open the right.
    pub rules: Option<policy::Explanation>,
}

/// One system user, and what follows from what it holds.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The system user.
    pub user: UserView,
    /// For each of its parties, in their order: the routed rights that are derived.
    pub derives: Vec<Vec<Right>>,
}

/// One system user, with names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UserView {
    /// Its id.
    pub id: SystemUserId,
    /// The organisation that owns it; `None` before a token has named it.
    pub owner: Option<OrgNumber>,
    /// The vendor's system; `None` past the limit of distinct systems.
    pub system: Option<SystemId>,
    /// The system vendor; `None` before a token has named it.
    pub vendor: Option<OrgNumber>,
    /// Just before Altinn was asked; `None` when never answered.
    pub fetched: Option<Tick>,
    /// When the content last became another.
    pub changed: Tick,
    /// When something was last found to be held no longer; `None` when that is not known of any time.
    pub lost: Option<Tick>,
    /// When it was last looked up.
    pub last_used: Tick,
    /// Since when it is in doubt, if it is: nothing fetched up to then permits anything.
    pub doubted: Option<Tick>,
    /// What it holds, sorted by party.
    pub parties: Vec<PartyRights>,
    /// Whether `parties` names all of it: not so when a set of rights was past the limit.
    pub complete: bool,
}

/// Up to which age entries are counted together in [`Stats::ages`].
pub const AGES: [Duration; 8] = {
    const SECONDS: [u64; 8] = [5, 15, 30, 60, 300, 900, 3600, 86_400];
    let [a, b, c, d, e, f, g, h] = SECONDS;
    let age = Duration::from_secs;
    [age(a), age(b), age(c), age(d), age(e), age(f), age(g), age(h)]
};

/// How large the register is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// System users watched.
    pub users: usize,
    /// Of these, read at least once.
    pub read: usize,
    /// Of these, in doubt.
    pub doubted: usize,
    /// Parties of all of them together.
    pub parties: usize,
    /// Distinct sets of rights.
    pub sets: usize,
    /// Times that a set of rights was past the limit.
    pub refused_sets: u64,
    /// Bytes, about.
    pub bytes: usize,
    /// The longest unread entry: when it was fetched.
    pub oldest: Option<Tick>,
    /// Entries that were read, by age: those up to each of [`AGES`] and past the one before, then all older ones.
    pub ages: [usize; AGES.len() + 1],
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The clock of all its times.
    #[must_use]
    pub fn ticks(&self) -> &Ticks {
        &self.shared.ticks
    }

    /// The place of a right among those that routes ask for.
    #[must_use]
    pub fn right_index(&self, right: &Right) -> Option<RightIndex> {
        self.shared.book.load().rights.index(right)
    }

    /// Whether routes may ask for these rights from now on: [`Writer::route`](super::Writer::route) will take them.
    ///
    /// # Errors
    /// [`TooManyRights`].
    pub fn can_route(&self, rights: Vec<Right>) -> Result<(), TooManyRights> {
        self.shared.book.load().rights.next(rights).map(drop)
    }

    /// What the register says to a question; marks the system user as used. Allocates nothing.
    #[must_use]
    pub fn look_up(&self, question: &Question) -> LookUp {
        // Reading the clock waits for every read of memory before it, so it comes first.
        self.look_up_at(question, self.shared.ticks.moment())
    }

    /// The same for who has just read the clock: it is `now`.
    #[must_use]
    pub fn look_up_at(&self, question: &Question, now: Moment) -> LookUp {
        self.with(question.system_user(), |found| {
            found.row.mark(now.tick());
            self.judge(question, found)
        })
        .unwrap_or_else(|| self.unwatched(question))
    }

    /// Of one that is not watched it is known whether the resource has a policy at all.
    fn unwatched(&self, question: &Question) -> LookUp {
        let book = self.shared.book.load();
        let right = book.rights.index(question.right());
        let missing = right.is_some_and(|right| book.is_missing(right));
        let why = if missing { NotDerived::PolicyMissing } else { NotDerived::Unwatched };
        LookUp { watched: None, derived: Err(why) }
    }

    /// Why it says so; marks nothing.
    #[must_use]
    pub fn explain(&self, question: &Question) -> Explanation {
        let book = self.shared.book.load();
        let explained = self.with(question.system_user(), |found| {
            let party = packed(question.party()).and_then(|party| grant(found.grants(), party));
            (self.judge(question, found), self.view_of(found), party)
        });
        let unwatched = self.unwatched(question);
        let (look_up, user, grant) = explained
            .map_or((unwatched, None, None), |(look_up, user, grant)| (look_up, user, grant));
        let held = grant.and_then(|grant| book.set(grant.rights));
        let packages = held.map(|set| set.packages.to_vec()).unwrap_or_default();
        let right = book.rights.index(question.right());
        Explanation {
            look_up,
            user,
            resources: held.map(|set| set.resources.to_vec()).unwrap_or_default(),
            policy: right.and_then(|right| book.version(right)),
            policies_verified: book.verified,
            rules: right.and_then(|right| book.explain(right, &packages)),
            packages,
        }
    }

    /// Notes that the PDP said no where the entry permits: nothing fetched up to now permits any more.
    pub fn doubt(&self, id: SystemUserId) {
        let _held = self.shared.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let _known = self.with(id, |found| found.row.doubt(self.shared.ticks.now()));
    }

    /// How many system users are watched.
    #[must_use]
    pub fn size(&self) -> usize {
        self.shared.totals.users.load(Ordering::Relaxed)
    }

    /// About how many bytes the watched set takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shared.bytes()
    }

    /// Counts. Walks over everything: some milliseconds for a million.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = Stats {
            sets: self.shared.book.load().sets(),
            refused_sets: self.shared.totals.refused_sets.load(Ordering::Relaxed),
            bytes: self.bytes(),
            ..Stats::default()
        };
        let now = self.shared.ticks.moment();
        for shard in &self.shared.shards {
            shard.load().iter().for_each(|found| stats.count(&found, now));
        }
        stats
    }

    /// Whether a system user is watched, with this owner, system and vendor; marks nothing.
    #[must_use]
    pub fn knows(&self, seen: &Seen) -> bool {
        let packed = |number: Option<OrgNumber>| number.map_or(u32::MAX, |number| number.packed());
        let same = self.with(seen.id, |found| {
            let row = found.row;
            let numbers = (row.owner, row.vendor) == (packed(seen.owner), packed(seen.vendor));
            numbers && self.shared.systems.load().get(row.system) == seen.system.as_ref()
        });
        same.unwrap_or(false)
    }

    /// One system user, with names.
    #[must_use]
    pub fn view(&self, id: SystemUserId) -> Option<UserView> {
        self.with(id, |found| self.view_of(found)).flatten()
    }

    /// Shows every system user, shard by shard: each as it is when its shard is read.
    pub fn for_each(&self, show: &mut dyn FnMut(UserView)) {
        for shard in &self.shared.shards {
            let shard = shard.load_full();
            shard.iter().filter_map(|found| self.view_of(&found)).for_each(&mut *show);
        }
    }

    /// One system user, and what follows from what it holds; marks nothing.
    #[must_use]
    pub fn show(&self, id: SystemUserId) -> Option<Shown> {
        self.with(id, |found| self.shown(found)).flatten()
    }

    /// Shows every system user of one shard, below [`SHARDS`](super::SHARDS), as it is now.
    pub fn show_shard(&self, number: usize, show: &mut dyn FnMut(Shown)) {
        let Some(shard) = self.shared.shards.get(number) else { return };
        let shard = shard.load_full();
        shard.iter().filter_map(|found| self.shown(&found)).for_each(&mut *show);
    }

    fn shown(&self, found: &Found<'_>) -> Option<Shown> {
        let user = self.view_of(found)?;
        let book = self.shared.book.load();
        // Those that have names, as in the view.
        let named = found.grants().iter().filter(|grant| book.set(grant.rights).is_some());
        let derives = named.map(|grant| Self::derives(&book, found, *grant)).collect();
        Some(Shown { user, derives })
    }

    /// What [`look_up`](Self::look_up) derives for one party.
    fn derives(book: &Book, found: &Found<'_>, grant: Grant) -> Vec<Right> {
        let (Some(fetched), Some(verified)) = (found.row.fetched, book.verified) else {
            return Vec::new();
        };
        if found.row.stands_against(fetched.min(verified)) {
            return Vec::new();
        }
        let derived = |right| book.permits(right, grant.party, grant.rights, fetched).is_ok();
        let all = book.rights.iter();
        all.filter(|(_, index)| derived(*index)).map(|(right, _)| right.clone()).collect()
    }

    fn with<T>(&self, id: SystemUserId, then: impl FnOnce(&Found<'_>) -> T) -> Option<T> {
        let Spot { shard, tag, .. } = self.shared.spot(id)?;
        let shard: arc_swap::Guard<Arc<Shard>> = shard.load();
        shard.find(tag, id).map(|found| then(&found))
    }

    fn judge(&self, question: &Question, found: &Found<'_>) -> LookUp {
        let row = found.row;
        // Read after the entry, so that it knows every rights set of the entry.
        let book = self.shared.book.load();
        LookUp {
            watched: Some(Watched {
                fetched: row.fetched,
                changed: row.changed,
                lost: row.lost,
                policies_verified: book.verified,
            }),
            derived: Self::derive(question, found, &book),
        }
    }

    fn derive(
        question: &Question,
        found: &Found<'_>,
        book: &Book,
    ) -> Result<DerivedPermit, NotDerived> {
        let right = book.rights.index(question.right()).ok_or(NotDerived::NotRouted)?;
        // Told whoever asks, and for whom: it closes what is known otherwise too.
        if book.is_missing(right) {
            return Err(NotDerived::PolicyMissing);
        }
        let party = packed(question.party()).ok_or(NotDerived::Person)?;
        if question.instance().is_some() {
            return Err(NotDerived::Instance);
        }
        let fetched = found.row.fetched.ok_or(NotDerived::NeverRead)?;
        let grant = grant(found.grants(), party).ok_or(NotDerived::NoParty)?;
        let policy = book.permits(right, party, grant.rights, fetched)?;
        let policies_verified = book.verified.ok_or(NotDerived::PolicyUnread)?;
        // The no may have come from either.
        if found.row.stands_against(fetched.min(policies_verified)) {
            return Err(NotDerived::Doubted);
        }
        Ok(DerivedPermit { fetched, policies_verified, policy })
    }

    fn view_of(&self, found: &Found<'_>) -> Option<UserView> {
        let row = found.row;
        let book = self.shared.book.load();
        let named = |grant: &Grant| named(&book, *grant);
        Some(UserView {
            id: row.id,
            owner: OrgNumber::from_packed(row.owner),
            system: self.shared.systems.load().get(row.system).cloned(),
            vendor: OrgNumber::from_packed(row.vendor),
            fetched: row.fetched,
            changed: row.changed,
            lost: row.lost,
            last_used: found.row.last_used()?,
            doubted: found.row.doubted(),
            parties: found.grants().iter().filter_map(named).collect(),
            complete: found.grants().iter().all(|grant| book.set(grant.rights).is_some()),
        })
    }
}

impl Stats {
    fn count(&mut self, found: &Found<'_>, now: Moment) {
        self.users += 1;
        self.parties += found.grants().len();
        let Some(fetched) = found.row.fetched else { return };
        self.read += 1;
        self.doubted += usize::from(found.row.stands_against(fetched));
        self.oldest = Some(self.oldest.map_or(fetched, |oldest| oldest.min(fetched)));
        let age = now.age(fetched);
        let place = AGES.iter().position(|most| age <= *most).unwrap_or(AGES.len());
        if let Some(counted) = self.ages.get_mut(place) {
            *counted += 1;
        }
    }
}

fn packed(party: &Party) -> Option<u32> {
    match party {
        Party::Organization(number) => Some(number.packed()),
        Party::Person(_) => None,
    }
}

/// What is held for this party, in a list sorted by party.
pub(super) fn grant(grants: &[Grant], party: u32) -> Option<Grant> {
    let place = grants.binary_search_by_key(&party, |grant| grant.party).ok()?;
    grants.get(place).copied()
}

fn named(book: &Book, grant: Grant) -> Option<PartyRights> {
    let set = book.set(grant.rights)?;
    Some(PartyRights {
        party: OrgNumber::from_packed(grant.party)?,
        packages: set.packages.to_vec(),
        resources: set.resources.to_vec(),
    })
}

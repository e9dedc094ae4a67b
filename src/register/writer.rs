//! The writer's half of the register: one owner, who publishes.

use super::book::{PolicyState, RightsSet, Scribe, TOO_MANY};
use super::chunked::Chunked;
use super::reader::grant;
use super::shard::{Added, Found, Grant, Grants, Row, Shard, Spares};
use super::ticks::{Tick, Ticks};
use super::{RightIndex, SHARDS, Seen, Shared, Spot, TooManyRights};
use crate::domain::delegation::PartyRights;
use crate::domain::party::OrgNumber;
use crate::domain::resource::{ResourceId, Right};
use crate::domain::system_user::{SystemId, SystemUserId};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Most distinct systems whose names are kept.
const MAX_SYSTEMS: usize = 65_536;

/// Looking for sets that nobody holds walks over everything; where it gained little, it is not done again so
/// soon.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(60);

/// Most system users that one call of [`Writer::evict`] removes.
const SLICE: usize = 4096;

/// What became of watching a system user.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Watch {
    /// It is watched from now on.
    New,
    /// It was watched already.
    Known,
    /// No room: nothing was changed.
    Full,
}

/// What became of publishing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Publish {
    /// Readers see it.
    Published {
        /// Whether it differs from what was held before; so does a first reading.
        changed: bool,
        /// For how many parties it holds something.
        parties: usize,
        /// A doubt that is not younger than the reading stands: read once more.
        doubted: bool,
    },
    /// What is held was fetched later, or the reading began before the entry was watched.
    Outdated,
    /// The system user is not watched.
    NotWatched,
}

/// What scheduling needs of a system user.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Scanned {
    /// Its id.
    pub id: SystemUserId,
    /// The system vendor: whose share of the calls its reading uses; `None` before a token has named it.
    pub vendor: Option<OrgNumber>,
    /// Just before Altinn was asked; `None` when never answered.
    pub fetched: Option<Tick>,
    /// When it was last looked up, or watched.
    pub last_used: Tick,
    /// Seconds in which it was looked up since the last publishing, up to 65,535.
    pub uses: u16,
    /// Whether nothing is derived from it until it is read anew.
    pub doubted: bool,
}

/// A system user out of a snapshot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Restored {
    /// The system user as last seen.
    pub seen: Seen,
    /// Just before Altinn was asked; `None` when never answered.
    pub fetched: Option<Tick>,
    /// When the content last became another.
    pub changed: Tick,
    /// When something was last found to be held no longer; `None` when that is not known of any time.
    pub lost: Option<Tick>,
    /// When it was last looked up.
    pub last_used: Tick,
    /// What it holds.
    pub parties: Vec<PartyRights>,
}

/// Publishes. There is one of it; `sync` owns it.
pub struct Writer {
    shared: Arc<Shared>,
    scribe: Scribe,
    systems: HashMap<SystemId, u32>,
    system_names: Chunked<SystemId>,
    spares: Spares,
    max_entries: usize,
    users: usize,
    parties: usize,
    swept_in_vain: Option<Tick>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("users", &self.users).finish_non_exhaustive()
    }
}

impl Shared {
    /// About how many bytes the watched set takes.
    pub(super) fn bytes(&self) -> usize {
        let users = self.totals.users.load(Ordering::Relaxed);
        let parties = self.totals.parties.load(Ordering::Relaxed);
        // A single party lies in its row; counted all the same, so this errs on the high side.
        users * Shard::ROW + parties * size_of::<Grant>() + SHARDS * size_of::<Shard>()
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, scribe: Scribe, max_entries: usize) -> Self {
        Self {
            shared,
            scribe,
            systems: HashMap::new(),
            system_names: Chunked::default(),
            spares: Spares::default(),
            max_entries,
            users: 0,
            parties: 0,
            swept_in_vain: None,
        }
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

    /// How many system users are watched.
    #[must_use]
    pub fn size(&self) -> usize {
        self.users
    }

    /// Watches a system user from now on. One that is known gets the owner, system and vendor of `seen`.
    pub fn watch(&mut self, seen: &Seen) -> Watch {
        let now = self.shared.ticks.now();
        let shared = Arc::clone(&self.shared);
        let Some(spot) = shared.spot(seen.id) else { return Watch::Full };
        let old = spot.shard.load_full();
        if let Some(found) = old.find(spot.tag, seen.id) {
            self.update_seen(spot, &old, &found, seen);
            return Watch::Known;
        }
        if self.users >= self.max_entries {
            return Watch::Full;
        }
        let row = self.row(seen, now);
        let grants = Grants::Slice(&[]);
        self.add(spot, vec![Added { tag: spot.tag, row, grants }]);
        Watch::New
    }

    /// Takes in system users out of a snapshot: those that are not watched yet, as long as there is room.
    /// Gives how many were taken.
    pub fn restore(&mut self, users: Vec<Restored>) -> usize {
        let before = self.users;
        let mut grants = Vec::with_capacity(users.len());
        let mut rows = Vec::with_capacity(users.len());
        for user in users {
            let mut row = self.row(&user.seen, user.changed);
            row.fetched = user.fetched;
            row.lost = user.lost;
            row.used_at(user.last_used);
            rows.push(row);
            // Numbers that no entry holds yet must not be let go of, so there is no sweeping here.
            let grants_of_it = self.number(&distinct(user.parties));
            self.count_refused(&grants_of_it);
            grants.push(grants_of_it);
        }
        // The book first: a reader that sees an entry must find its rights sets.
        self.publish_book();
        self.add_all(rows, &grants);
        self.users - before
    }

    /// Publishes what Altinn said of a system user; `fetched` is the moment just before it was asked.
    pub fn publish(
        &mut self,
        id: SystemUserId,
        fetched: Tick,
        parties: Vec<PartyRights>,
    ) -> Publish {
        let shared = Arc::clone(&self.shared);
        let Some(spot) = shared.spot(id) else { return Publish::NotWatched };
        let old = spot.shard.load_full();
        let Some(found) = old.find(spot.tag, id) else { return Publish::NotWatched };
        // A reading that began before the entry was (anew) watched may be older than a doubt it had.
        if found.row.fetched.unwrap_or(found.row.changed) > fetched {
            return Publish::Outdated;
        }
        let interned = self.scribe.interned;
        let grants = self.intern_all(parties);
        if self.scribe.interned != interned {
            self.publish_book();
        }
        self.put(spot, &old, &found, fetched, &grants)
    }

    fn put(
        &mut self,
        spot: Spot<'_>,
        old: &Shard,
        found: &Found<'_>,
        fetched: Tick,
        grants: &[Grant],
    ) -> Publish {
        // What is past the limit of sets cannot be compared; it never derives anything either.
        let changed = found.row.fetched.is_none() || found.grants() != grants;
        let lost = changed && self.has_lost(found.grants(), grants);
        self.replace(spot, old.len(), |next, old| {
            let Some(found) = old.find(spot.tag, found.row.id) else { return };
            let mut row = found.row.copy();
            row.fetched = Some(fetched);
            row.changed = if changed { fetched } else { row.changed };
            row.lost = if lost { Some(fetched) } else { row.lost };
            row.forget_uses();
            next.become_replaced(old, row, &Grants::of(grants));
        });
        self.count(0, 0, grants.len(), found.grants().len());
        let doubted = found.row.stands_against(fetched);
        Publish::Published { changed, parties: grants.len(), doubted }
    }

    /// Swaps in the table that `build` makes of the one that is there. Doubts wait meanwhile, so that none
    /// is noted in a table that was copied already.
    fn replace(&mut self, spot: Spot<'_>, rows: usize, build: impl FnOnce(&mut Shard, &Shard)) {
        let mut next = self.spares.take(rows);
        let held = self.shared.marks.lock().unwrap_or_else(PoisonError::into_inner);
        build(&mut next, &spot.shard.load());
        let old = spot.shard.swap(Arc::new(next));
        drop(held);
        self.spares.keep(old);
    }

    /// Watches a system user no longer; whether it was.
    pub fn forget(&mut self, id: SystemUserId) -> bool {
        let shared = Arc::clone(&self.shared);
        let Some(spot) = shared.spot(id) else { return false };
        self.remove(spot, |found| found.row.id == id) > 0
    }

    /// Puts these states in the place of those they name; the other rights stay as they are. Every
    /// distinct set of rights is evaluated anew for them.
    pub fn set_policies(&mut self, states: Vec<(RightIndex, PolicyState)>) {
        self.scribe.set_policies(states);
        self.publish_book();
    }

    /// From now on routes ask for these rights, and `max_entries` system users are watched at most. What is held
    /// stays; nothing is derived for a new right before its policy is set, nor for one that is routed no more.
    ///
    /// # Errors
    /// [`TooManyRights`] when more rights than can be numbered were routed since the start; nothing is changed.
    pub fn route(&mut self, rights: Vec<Right>, max_entries: usize) -> Result<(), TooManyRights> {
        let next = self.shared.book.load().rights.next(rights)?;
        self.scribe.route(Arc::new(next));
        self.max_entries = max_entries;
        self.publish_book();
        Ok(())
    }

    /// Notes that all policies were current at `at`. Until this was said once, nothing is derived.
    pub fn policies_verified(&mut self, at: Tick) {
        self.scribe.verified(at);
        self.publish_book();
    }

    /// Derives nothing about this resource from now on.
    pub fn switch_off(&mut self, resource: &ResourceId) {
        self.scribe.switch(resource, true);
        self.publish_book();
    }

    /// Derives again.
    pub fn switch_on(&mut self, resource: &ResourceId) {
        self.scribe.switch(resource, false);
        self.publish_book();
    }

    /// Removes who was not used for `keep_for`, but for those in `kept`, and the least recently used until there are no more than
    /// `max_entries` that take no more than `max_bytes`. One call removes at most 4,096, so that it is
    /// never long: call again while it gives that many.
    pub fn evict(
        &mut self,
        max_entries: usize,
        max_bytes: usize,
        keep_for: Duration,
        kept: &HashSet<SystemUserId>,
    ) -> Vec<SystemUserId> {
        let mut used = self.last_uses();
        let all = used.len();
        used.retain(|(_, id)| !kept.contains(id));
        let most = max_entries.min(self.fitting(max_bytes));
        let idle = self.shared.ticks.ago(keep_for).map_or(0, Tick::number);
        let over = all.saturating_sub(most);
        let idlers = used.iter().filter(|(last, _)| *last < idle).count();
        let count = over.max(idlers).min(SLICE).min(used.len());
        if count == 0 {
            return Vec::new();
        }
        if count < used.len() {
            used.select_nth_unstable(count);
        }
        used.truncate(count);
        let gone: HashSet<SystemUserId> = used.iter().map(|(_, id)| *id).collect();
        let shared = Arc::clone(&self.shared);
        let spots = gone.iter().filter_map(|id| shared.spot(*id)).map(|spot| (spot.number, spot));
        for spot in spots.collect::<HashMap<_, _>>().into_values() {
            self.remove(spot, |found| gone.contains(&found.row.id));
        }
        gone.into_iter().collect()
    }

    /// Shows what scheduling needs, of the shards in `range` (up to [`SHARDS`]).
    pub fn scan(&self, range: Range<usize>, show: &mut dyn FnMut(Scanned)) {
        for shard in self.shared.shards.get(range).unwrap_or_default() {
            shard.load().iter().filter_map(|found| scanned(&found)).for_each(&mut *show);
        }
    }

    fn last_uses(&self) -> Vec<(u32, SystemUserId)> {
        let mut used = Vec::with_capacity(self.users);
        for shard in &self.shared.shards {
            let shard = shard.load();
            let last = |found: &Found<'_>| found.row.last_used().map_or(0, Tick::number);
            used.extend(shard.iter().map(|found| (last(&found), found.row.id)));
        }
        used
    }

    /// How many of the entries, at their mean size, fit into so many bytes.
    fn fitting(&self, max_bytes: usize) -> usize {
        let bytes = self.shared.bytes();
        if bytes <= max_bytes || self.users == 0 {
            return usize::MAX;
        }
        let base = SHARDS * size_of::<Shard>();
        let each = (bytes.saturating_sub(base) / self.users).max(1);
        max_bytes.saturating_sub(base) / each
    }

    fn row(&mut self, seen: &Seen, changed: Tick) -> Row {
        let system = seen.system.as_ref().map_or(u32::MAX, |system| self.system(system));
        let packed =
            |number: Option<OrgNumber>| number.as_ref().map_or(u32::MAX, OrgNumber::packed);
        Row::new(seen.id, packed(seen.owner), packed(seen.vendor), system, changed)
    }

    fn system(&mut self, system: &SystemId) -> u32 {
        if let Some(number) = self.systems.get(system) {
            return *number;
        }
        let number = u32::try_from(self.system_names.len()).unwrap_or(u32::MAX);
        if self.system_names.len() >= MAX_SYSTEMS {
            return u32::MAX;
        }
        self.system_names.push(system.clone());
        self.systems.insert(system.clone(), number);
        self.shared.systems.store(Arc::new(self.system_names.clone()));
        number
    }

    fn update_seen(&mut self, spot: Spot<'_>, old: &Shard, found: &Found<'_>, seen: &Seen) {
        let row = self.row(seen, found.row.changed);
        let (owner, vendor, system) = (row.owner, row.vendor, row.system);
        if (owner, vendor, system) == (found.row.owner, found.row.vendor, found.row.system) {
            return;
        }
        self.replace(spot, old.len(), |next, old| {
            let Some(found) = old.find(spot.tag, seen.id) else { return };
            let mut row = found.row.copy();
            (row.owner, row.vendor, row.system) = (owner, vendor, system);
            next.become_replaced(old, row, &found.carried());
        });
    }

    /// Whether something was held before and is not any more, as far as can be told.
    fn has_lost(&self, before: &[Grant], now: &[Grant]) -> bool {
        let covered = |old: &Grant| {
            grant(now, old.party).is_some_and(|new| self.scribe.covers(new.rights, old.rights))
        };
        !before.iter().all(covered)
    }

    /// The grants of these rights, sorted by party.
    fn intern_all(&mut self, parties: Vec<PartyRights>) -> Vec<Grant> {
        let sets = distinct(parties);
        let mut grants = self.number(&sets);
        if grants.iter().any(|grant| grant.rights == TOO_MANY) && self.sweep() {
            // All anew: the sweep may have let go of what no entry holds yet.
            grants = self.number(&sets);
        }
        self.count_refused(&grants);
        grants
    }

    fn number(&mut self, sets: &[(u32, RightsSet)]) -> Vec<Grant> {
        let number = |(party, set): &(u32, RightsSet)| Grant {
            party: *party,
            rights: self.scribe.intern(set),
        };
        sets.iter().map(number).collect()
    }

    fn count_refused(&mut self, grants: &[Grant]) {
        let refused = grants.iter().filter(|grant| grant.rights == TOO_MANY).count();
        let refused = u64::try_from(refused).unwrap_or(u64::MAX);
        self.scribe.refused = self.scribe.refused.saturating_add(refused);
        self.shared.totals.refused_sets.store(self.scribe.refused, Ordering::Relaxed);
    }

    /// Lets go of the sets that no entry holds, unless that has just been done and gained little. Whether it
    /// was done.
    fn sweep(&mut self) -> bool {
        let ticks = &self.shared.ticks;
        if self.swept_in_vain.is_some_and(|at| ticks.age(at) < BETWEEN_SWEEPS) {
            return false;
        }
        let mut used = HashSet::new();
        for shard in &self.shared.shards {
            shard.load().iter().for_each(|found| {
                used.extend(found.grants().iter().map(|grant| grant.rights));
            });
        }
        let gained = self.scribe.sweep(&used);
        let little = gained <= self.scribe.max_sets / 16;
        self.swept_in_vain = little.then(|| self.shared.ticks.now());
        true
    }

    fn publish_book(&self) {
        self.shared.book.store(self.scribe.book());
    }

    fn add_all(&mut self, rows: Vec<Row>, grants: &[Vec<Grant>]) {
        let shared = Arc::clone(&self.shared);
        let mut by_shard: HashMap<usize, (Spot<'_>, Vec<Added<'_>>)> = HashMap::new();
        let mut known = HashSet::with_capacity(rows.len());
        for (row, grants) in rows.into_iter().zip(grants) {
            let Some(spot) = shared.spot(row.id) else { continue };
            let room = self.users + known.len() < self.max_entries;
            let new = spot.shard.load().find(spot.tag, row.id).is_none();
            if room && new && known.insert(row.id) {
                let added = Added { tag: spot.tag, row, grants: Grants::of(grants) };
                by_shard.entry(spot.number).or_insert((spot, Vec::new())).1.push(added);
            }
        }
        for (spot, added) in by_shard.into_values() {
            self.add(spot, added);
        }
    }

    fn add(&mut self, spot: Spot<'_>, added: Vec<Added<'_>>) {
        let users = added.len();
        let parties = added.iter().map(|one| one.grants.len()).sum();
        let total = spot.shard.load().len() + users;
        self.replace(spot, total, |next, old| next.become_added(old, added));
        self.count(users, 0, parties, 0);
    }

    fn remove(&mut self, spot: Spot<'_>, goes: impl Fn(&Found<'_>) -> bool) -> usize {
        let old = spot.shard.load_full();
        let gone = old.iter().filter(|found| goes(found));
        let (users, parties) =
            gone.fold((0, 0), |(users, parties), one| (users + 1, parties + one.grants().len()));
        if users > 0 {
            let left = old.len() - users;
            self.replace(spot, left, |next, old| next.become_without(old, &goes));
            self.count(0, users, 0, parties);
        }
        users
    }

    fn count(&mut self, users: usize, users_gone: usize, parties: usize, parties_gone: usize) {
        self.users = (self.users + users).saturating_sub(users_gone);
        self.parties = (self.parties + parties).saturating_sub(parties_gone);
        self.shared.totals.users.store(self.users, Ordering::Relaxed);
        self.shared.totals.parties.store(self.parties, Ordering::Relaxed);
    }
}

/// The set held for each party, sorted by party; the first counts where a party is named twice.
fn distinct(parties: Vec<PartyRights>) -> Vec<(u32, RightsSet)> {
    let set = |rights: PartyRights| (rights.party.packed(), RightsSet::of(rights));
    let mut sets: Vec<_> = parties.into_iter().map(set).collect();
    sets.sort_by_key(|(party, _)| *party);
    sets.dedup_by_key(|(party, _)| *party);
    sets
}

fn scanned(found: &Found<'_>) -> Option<Scanned> {
    Some(Scanned {
        id: found.row.id,
        vendor: OrgNumber::from_packed(found.row.vendor),
        fetched: found.row.fetched,
        last_used: found.row.last_used()?,
        uses: found.row.uses(),
        doubted: found.row.fetched.is_some_and(|fetched| found.row.stands_against(fetched)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{
        DerivedPermit, Limits, LookUp, NotDerived, PolicyVersion, Reader, Watched, open,
    };
    use super::*;
    use crate::domain::delegation::PackageId;
    use crate::domain::party::Party;
    use crate::domain::resource::Question;
    use crate::register::UserView;
    use crate::sync::ports::AccessList;
    use tokio::time::advance;

    const RESOURCE: &str = "ex-returns";
    const PARTY: &str = "310000027";
    const OTHER: &str = "310000035";
    const SECOND: Duration = Duration::from_secs(1);

    fn right(action: &str) -> Right {
        Right { resource: RESOURCE.parse().unwrap(), action: action.parse().unwrap() }
    }

    fn user(number: u8) -> SystemUserId {
        format!("11111111-1111-4111-8111-1111111111{number:02x}").parse().unwrap()
    }

    fn seen(number: u8) -> Seen {
        Seen {
            id: user(number),
            owner: Some(PARTY.parse().unwrap()),
            system: Some("310000019_regnskap".parse().unwrap()),
            vendor: Some(OTHER.parse().unwrap()),
        }
    }

    fn rights(party: &str, packages: &[&str]) -> PartyRights {
        PartyRights {
            party: party.parse().unwrap(),
            packages: packages.iter().map(|package| package.parse().unwrap()).collect(),
            resources: vec![],
        }
    }

    fn question(number: u8, party: &str, action: &str) -> Question {
        Question::new(
            user(number),
            Party::Organization(party.parse().unwrap()),
            right(action),
            None,
        )
    }

    /// Opens for who holds `package`.
    fn opens_for(package: &str, version: u64) -> PolicyState {
        let package = package.parse().unwrap();
        PolicyState::Derivable {
            since: None,
            derive: Box::new(move |holds| holds(&package)),
            explain: None,
            version: PolicyVersion(version),
            access: None,
        }
    }

    /// `read` opens with `lonn`, `write` with `skatt`; one system user holds `lonn` for PARTY.
    fn stage() -> (Writer, Reader) {
        let limits = Limits { max_entries: 3, max_sets: 3 };
        let routed = vec![right("read"), right("write"), right("read")];
        let (mut writer, reader) = open(routed, limits, Ticks::new()).unwrap();
        let (read, write) = (index(&writer, "read"), index(&writer, "write"));
        writer.set_policies(vec![(read, opens_for("lonn", 1)), (write, opens_for("skatt", 2))]);
        writer.policies_verified(writer.ticks().now());
        assert_eq!(writer.watch(&seen(1)), Watch::New);
        let published =
            writer.publish(user(1), writer.ticks().now(), vec![rights(PARTY, &["lonn"])]);
        assert_eq!(published, Publish::Published { changed: true, parties: 1, doubted: false });
        (writer, reader)
    }

    fn index(writer: &Writer, action: &str) -> RightIndex {
        writer.right_index(&right(action)).unwrap()
    }

    fn derived(reader: &Reader, number: u8, party: &str, action: &str) -> Result<(), NotDerived> {
        reader.look_up(&question(number, party, action)).derived.map(|_| ())
    }

    #[tokio::test(start_paused = true)]
    async fn a_package_that_the_policy_takes_permits_and_nothing_else_does() {
        let (mut writer, reader) = stage();
        let now = writer.ticks().now();
        let permit =
            DerivedPermit { fetched: now, policies_verified: now, policy: PolicyVersion(1) };
        let watched = Some(Watched {
            fetched: Some(now),
            changed: now,
            lost: None,
            policies_verified: Some(now),
        });
        let look_up = reader.look_up(&question(1, PARTY, "read"));
        assert_eq!(look_up, LookUp { watched, derived: Ok(permit) });
        assert_eq!(derived(&reader, 1, PARTY, "write"), Err(NotDerived::NotCovered));
        assert_eq!(derived(&reader, 1, OTHER, "read"), Err(NotDerived::NoParty));
        assert_eq!(derived(&reader, 2, PARTY, "read"), Err(NotDerived::Unwatched));
        assert_eq!(derived(&reader, 1, PARTY, "delete"), Err(NotDerived::NotRouted));
        writer.watch(&seen(2));
        assert_eq!(derived(&reader, 2, PARTY, "read"), Err(NotDerived::NeverRead));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_known_is_known_with_owner_system_and_vendor() {
        let (mut writer, reader) = stage();
        assert!(reader.knows(&seen(1)));
        let others = [
            seen(2),
            Seen { owner: Some(OTHER.parse().unwrap()), ..seen(1) },
            Seen { vendor: None, ..seen(1) },
            Seen { system: Some("310000035_other".parse().unwrap()), ..seen(1) },
            Seen { system: None, ..seen(1) },
        ];
        for other in others {
            assert!(!reader.knows(&other), "{other:?}");
            writer.watch(&other);
            assert!(reader.knows(&other), "{other:?} once it is watched");
        }
        // As the configuration lists one; a token tells the rest.
        let listed = Seen { owner: None, system: None, vendor: None, ..seen(3) };
        writer.watch(&listed);
        assert!(reader.knows(&listed) && !reader.knows(&seen(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_is_counted_by_its_age() {
        let (mut writer, reader) = stage();
        writer.watch(&seen(2));
        let mut ages = [0; crate::register::AGES.len() + 1];
        for (later, place) in [(4, 0), (2, 1), (60, 4), (100_000, 8)] {
            advance(later * SECOND).await;
            ages.fill(0);
            ages[place] = 1;
            let stats = reader.stats();
            assert_eq!(
                (stats.users, stats.read, stats.ages),
                (2, 1, ages),
                "the other was never read"
            );
        }
        let now = writer.ticks().now();
        writer.publish(user(2), now, vec![]);
        (ages[0], ages[8]) = (1, 1);
        assert_eq!(reader.stats().ages, ages);
    }

    #[tokio::test(start_paused = true)]
    async fn a_person_and_an_instance_are_never_derived() {
        let (_writer, reader) = stage();
        let person = Party::Person("01010750160".parse().unwrap());
        let about = |party, instance| Question::new(user(1), party, right("read"), instance);
        assert_eq!(reader.look_up(&about(person, None)).derived, Err(NotDerived::Person));
        let instance =
            about(Party::Organization(PARTY.parse().unwrap()), Some("1".parse().unwrap()));
        let look_up = reader.look_up(&instance);
        assert_eq!(look_up.derived, Err(NotDerived::Instance));
        assert!(look_up.watched.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_counts_from_when_it_is_set_for_every_set_already_held() {
        let (mut writer, reader) = stage();
        writer.set_policies(vec![(index(&writer, "write"), opens_for("lonn", 3))]);
        let look_up = reader.look_up(&question(1, PARTY, "write"));
        assert_eq!(look_up.derived.map(|permit| permit.policy), Ok(PolicyVersion(3)));
        assert_eq!(derived(&reader, 1, PARTY, "read"), Ok(()), "the other right is left alone");
        let reasons = [
            NotDerived::PolicyMissing,
            NotDerived::PolicyNotUnderstood("function"),
            NotDerived::AccessListsUnknown,
            NotDerived::Obligation,
        ];
        for why in reasons {
            let state = PolicyState::NotDerivable(why);
            writer.set_policies(vec![(index(&writer, "write"), state)]);
            assert_eq!(derived(&reader, 1, PARTY, "write"), Err(why));
        }
        let missing = NotDerived::PolicyMissing;
        let state = PolicyState::NotDerivable(missing);
        writer.set_policies(vec![(index(&writer, "write"), state)]);
        for (number, party) in [(1, OTHER), (2, PARTY)] {
            assert_eq!(derived(&reader, number, party, "write"), Err(missing), "told to all");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_register_whose_policies_were_never_verified_derives_nothing() {
        let limits = Limits { max_entries: 3, max_sets: 3 };
        let (mut writer, reader) = open(vec![right("read")], limits, Ticks::new()).unwrap();
        writer.watch(&seen(1));
        writer.publish(user(1), writer.ticks().now(), vec![rights(PARTY, &["lonn"])]);
        assert_eq!(derived(&reader, 1, PARTY, "read"), Err(NotDerived::PolicyUnread));
        writer.set_policies(vec![(index(&writer, "read"), opens_for("lonn", 1))]);
        assert_eq!(derived(&reader, 1, PARTY, "read"), Err(NotDerived::PolicyUnread));
        writer.policies_verified(writer.ticks().now());
        assert_eq!(derived(&reader, 1, PARTY, "read"), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_access_list_lets_its_members_in_for_its_actions() {
        let (mut writer, reader) = stage();
        let both = vec![rights(PARTY, &["lonn", "skatt"]), rights(OTHER, &["lonn", "skatt"])];
        writer.publish(user(1), writer.ticks().now(), both);
        let list = |member: &str, actions: Option<&str>| AccessList {
            members: vec![member.parse().unwrap()],
            actions: actions.map(|action| [action.parse().unwrap()].into()),
        };
        let lists = || Some(vec![list(PARTY, Some("read")), list(OTHER, None)]);
        for (action, package) in [("read", "lonn"), ("write", "skatt")] {
            let PolicyState::Derivable { derive, version, .. } = opens_for(package, 5) else {
                unreachable!()
            };
            let state = PolicyState::Derivable {
                derive,
                explain: None,
                version,
                access: lists(),
                since: None,
            };
            writer.set_policies(vec![(index(&writer, action), state)]);
        }
        assert_eq!(derived(&reader, 1, PARTY, "read"), Ok(()));
        assert_eq!(derived(&reader, 1, OTHER, "read"), Ok(()));
        assert_eq!(derived(&reader, 1, OTHER, "write"), Ok(()));
        assert_eq!(derived(&reader, 1, PARTY, "write"), Err(NotDerived::NotOnAccessList));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_before_the_policy_denied_by_a_package_derives_nothing() {
        let (mut writer, reader) = stage();
        advance(SECOND).await;
        let PolicyState::Derivable { derive, version, access, .. } = opens_for("lonn", 4) else {
            unreachable!()
        };
        let since = Some(writer.ticks().now());
        let state = PolicyState::Derivable { derive, explain: None, version, access, since };
        writer.set_policies(vec![(index(&writer, "read"), state)]);
        assert_eq!(derived(&reader, 1, PARTY, "read"), Err(NotDerived::ReadBeforePolicy));
        advance(SECOND / 10).await;
        writer.publish(user(1), writer.ticks().now(), vec![rights(PARTY, &["lonn"])]);
        assert_eq!(derived(&reader, 1, PARTY, "read"), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_resource_is_switched_off_and_on_whatever_its_policy_does_meanwhile() {
        let (mut writer, reader) = stage();
        writer.switch_off(&RESOURCE.parse().unwrap());
        assert_eq!(derived(&reader, 1, PARTY, "read"), Err(NotDerived::SwitchedOff));
        // Said only of what would be derived.
        assert_eq!(derived(&reader, 1, PARTY, "write"), Err(NotDerived::NotCovered));
        writer.set_policies(vec![(index(&writer, "read"), opens_for("lonn", 9))]);
        assert_eq!(derived(&reader, 1, PARTY, "read"), Err(NotDerived::SwitchedOff));
        writer.switch_on(&RESOURCE.parse().unwrap());
        assert_eq!(derived(&reader, 1, PARTY, "read"), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_doubt_stands_until_a_reading_that_began_after_it() {
        let (mut writer, reader) = stage();
        let lonn = || vec![rights(PARTY, &["lonn"])];
        advance(SECOND).await;
        let under_way = writer.ticks().now();
        advance(SECOND).await;
        reader.doubt(user(1));
        assert_eq!(derived(&reader, 1, PARTY, "read"), Err(NotDerived::Doubted));
        assert_eq!(derived(&reader, 1, OTHER, "read"), Err(NotDerived::NoParty));
        for fetched in [under_way, writer.ticks().now()] {
            let told = writer.publish(user(1), fetched, lonn());
            assert_eq!(told, Publish::Published { changed: false, parties: 1, doubted: true });
            assert_eq!(derived(&reader, 1, PARTY, "read"), Err(NotDerived::Doubted));
        }
        // Other members of its shard come and go, and take no doubt with them.
        writer.watch(&seen(2));
        writer.forget(user(2));
        assert_eq!(derived(&reader, 1, PARTY, "read"), Err(NotDerived::Doubted));
        advance(SECOND / 10).await;
        writer.publish(user(1), writer.ticks().now(), lonn());
        assert_eq!(derived(&reader, 1, PARTY, "read"), Err(NotDerived::Doubted), "or the policy");
        writer.policies_verified(writer.ticks().now());
        assert_eq!(derived(&reader, 1, PARTY, "read"), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_reading_never_takes_the_place_of_a_later() {
        let (mut writer, reader) = stage();
        let before = writer.ticks().now();
        advance(SECOND).await;
        writer.publish(user(1), writer.ticks().now(), vec![]);
        let late = writer.publish(user(1), before, vec![rights(PARTY, &["lonn"])]);
        assert_eq!(late, Publish::Outdated);
        assert_eq!(derived(&reader, 1, PARTY, "read"), Err(NotDerived::NoParty));
        assert_eq!(writer.publish(user(9), before, vec![]), Publish::NotWatched);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_from_before_the_entry_was_forgotten_is_not_taken() {
        let (mut writer, reader) = stage();
        let before = writer.ticks().now();
        advance(SECOND).await;
        reader.doubt(user(1));
        assert!(writer.forget(user(1)));
        assert!(!writer.forget(user(1)));
        advance(SECOND).await;
        assert_eq!(writer.watch(&seen(1)), Watch::New);
        assert_eq!(writer.publish(user(1), before, vec![]), Publish::Outdated);
        assert_eq!(derived(&reader, 1, PARTY, "read"), Err(NotDerived::NeverRead));
    }

    #[tokio::test(start_paused = true)]
    async fn a_set_past_the_limit_opens_nothing_and_is_counted() {
        let (mut writer, reader) = stage();
        writer.watch(&seen(2));
        let publish = |writer: &mut Writer, number, parties| {
            writer.publish(user(number), writer.ticks().now(), parties);
        };
        publish(&mut writer, 2, vec![rights(PARTY, &["a"]), rights(OTHER, &["b"])]);
        let one_more = || vec![rights(PARTY, &["lonn", "c"])];
        publish(&mut writer, 1, one_more());
        assert_eq!(derived(&reader, 1, PARTY, "read"), Err(NotDerived::TooManySets));
        assert_eq!((reader.stats().sets, reader.stats().refused_sets), (3, 1));
        assert!(!reader.view(user(1)).unwrap().complete);
        publish(&mut writer, 2, vec![]);
        publish(&mut writer, 1, one_more());
        let soon = derived(&reader, 1, PARTY, "read");
        assert_eq!(soon, Err(NotDerived::TooManySets), "looked for in vain a moment ago");
        advance(60 * SECOND).await;
        publish(&mut writer, 1, one_more());
        assert_eq!(derived(&reader, 1, PARTY, "read"), Ok(()), "nobody holds the others any more");
        assert!(reader.view(user(1)).unwrap().complete);
    }

    #[tokio::test(start_paused = true)]
    async fn sets_that_nobody_holds_any_more_make_room() {
        let (mut writer, reader) = stage();
        for number in 0..1000 {
            let extra = format!("extra-{number}");
            writer.publish(user(1), writer.ticks().now(), vec![rights(PARTY, &["lonn", &extra])]);
            assert_eq!(derived(&reader, 1, PARTY, "read"), Ok(()), "{number}");
        }
        assert!(reader.stats().sets <= 3);
        assert_eq!(reader.stats().refused_sets, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_is_noted_and_a_gain_is_not() {
        let (mut writer, reader) = stage();
        let lost =
            |reader: &Reader| reader.look_up(&question(1, PARTY, "read")).watched.unwrap().lost;
        let mut publish = async |parties: Vec<PartyRights>| {
            advance(SECOND).await;
            writer.publish(user(1), writer.ticks().now(), parties);
            writer.ticks().now()
        };
        assert_eq!(lost(&reader), None, "read for the first time");
        publish(vec![rights(PARTY, &["lonn", "a"])]).await;
        publish(vec![rights(PARTY, &["lonn", "a"]), rights(OTHER, &["a"])]).await;
        assert_eq!(lost(&reader), None, "more, and more parties");
        let at = publish(vec![rights(PARTY, &["lonn", "a"])]).await;
        assert_eq!(lost(&reader), Some(at), "a party");
        publish(vec![rights(PARTY, &["lonn", "a"])]).await;
        assert_eq!(lost(&reader), Some(at), "the same as before");
        let at = publish(vec![rights(PARTY, &["lonn"])]).await;
        assert_eq!(lost(&reader), Some(at), "a package");
        let at = publish(vec![rights(PARTY, &["a"])]).await;
        assert_eq!(lost(&reader), Some(at), "one for another");
    }

    #[tokio::test(start_paused = true)]
    async fn the_watched_set_is_bounded_and_the_least_recently_used_go_first() {
        let (mut writer, reader) = stage();
        for number in [2, 3] {
            advance(SECOND).await;
            assert_eq!(writer.watch(&seen(number)), Watch::New);
        }
        assert_eq!(writer.watch(&seen(4)), Watch::Full);
        assert_eq!(writer.watch(&seen(3)), Watch::Known);
        advance(SECOND).await;
        assert_eq!(derived(&reader, 1, PARTY, "read"), Ok(()), "used last");
        let long = 100 * SECOND;
        let none = HashSet::new();
        assert_eq!(writer.evict(3, usize::MAX, long, &none), []);
        assert_eq!(writer.evict(2, usize::MAX, long, &none), [user(2)]);
        assert_eq!((reader.size(), writer.watch(&seen(4))), (2, Watch::New));
        // 3 was watched a second before 1 was used and 4 watched.
        assert_eq!(
            writer.evict(9, usize::MAX, SECOND, &none),
            [],
            "a second is not longer than a second"
        );
        advance(SECOND / 10).await;
        assert_eq!(writer.evict(9, usize::MAX, SECOND, &none), [user(3)]);
        assert_eq!(writer.evict(9, 0, long, &none).len(), 2, "no bytes, no entries");
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_are_kept_never_go_and_lose_nothing() {
        let (mut writer, reader) = stage();
        advance(100 * SECOND).await;
        assert_eq!(writer.watch(&seen(2)), Watch::New);
        let kept = HashSet::from([user(1)]);
        assert_eq!(writer.evict(9, usize::MAX, SECOND, &kept), [], "unused for long");
        assert_eq!(writer.evict(1, usize::MAX, SECOND, &kept), [user(2)], "the younger one goes");
        assert_eq!(writer.evict(0, 0, SECOND, &kept), [], "no room at all");
        assert_eq!(derived(&reader, 1, PARTY, "read"), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn scheduling_sees_in_how_many_seconds_an_entry_was_used() {
        let (mut writer, reader) = stage();
        let scan = |writer: &Writer| {
            let mut all = Vec::new();
            writer.scan(0..SHARDS, &mut |scanned| all.push(scanned));
            all.pop().unwrap()
        };
        for _ in 0..5 {
            advance(SECOND / 2).await;
            let _permit = reader.look_up(&question(1, PARTY, "read"));
        }
        let scanned = scan(&writer);
        assert_eq!((scanned.uses, scanned.last_used), (2, writer.ticks().now()));
        assert_eq!((scanned.id, scanned.vendor), (user(1), Some(OTHER.parse().unwrap())));
        writer.publish(user(1), writer.ticks().now(), vec![]);
        assert_eq!(scan(&writer).uses, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_shown_can_be_restored() {
        let (mut writer, reader) = stage();
        let many: Vec<_> = (100..200)
            .map(|number| PartyRights {
                party: OrgNumber::from_packed(number).unwrap(),
                packages: vec!["lonn".parse().unwrap()],
                resources: vec![RESOURCE.parse().unwrap()],
            })
            .collect();
        writer.watch(&seen(2));
        writer.publish(user(2), writer.ticks().now(), vec![rights(OTHER, &["skatt"])]);
        writer.publish(user(2), writer.ticks().now(), many);
        assert!(reader.view(user(2)).unwrap().lost.is_some());
        let mut shown = Vec::new();
        reader.for_each(&mut |view| shown.push(view));
        let limits = Limits { max_entries: 5, max_sets: 5 };
        let (mut next, again) = open(vec![right("read")], limits, writer.ticks().clone()).unwrap();
        let restored = |view: &UserView| Restored {
            seen: Seen {
                id: view.id,
                owner: view.owner,
                system: view.system.clone(),
                vendor: view.vendor,
            },
            fetched: view.fetched,
            changed: view.changed,
            lost: view.lost,
            last_used: view.last_used,
            parties: view.parties.clone(),
        };
        assert_eq!(next.restore(shown.iter().map(restored).collect()), 2);
        assert_eq!(next.restore(shown.iter().map(restored).collect()), 0, "known already");
        for view in shown {
            assert_eq!(again.view(view.id), Some(view));
        }
        assert_eq!(again.stats().parties, 101);
    }

    #[tokio::test(start_paused = true)]
    async fn an_explanation_names_what_is_held() {
        let (mut writer, reader) = stage();
        let mut held = rights(PARTY, &["skatt", "lonn"]);
        held.resources = vec![RESOURCE.parse().unwrap()];
        writer.publish(user(1), writer.ticks().now(), vec![held]);
        let explained = reader.explain(&question(1, PARTY, "read"));
        assert!(explained.look_up.derived.is_ok());
        let packages: Vec<_> = explained.packages.iter().map(PackageId::as_str).collect();
        assert_eq!(packages, ["lonn", "skatt"]);
        assert_eq!(explained.resources, [RESOURCE.parse().unwrap()]);
        assert_eq!(explained.policy, Some(PolicyVersion(1)));
        assert!(reader.explain(&question(7, PARTY, "read")).user.is_none());
    }
}

//! Altinn's own caches in the decision point: an answer may be as old as five or ten minutes.
//!
//! Each of the decision point's instances ("pods") has caches of its own, with an absolute expiry and nothing that
//! empties them early. Absent delegations and packages are remembered like present ones.

use crate::world::number::PartyNumber;
use crate::world::resource::Resource;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// Packages and delegations (`RoleCacheTimeout`).
const RIGHTS_SECONDS: i64 = 5 * 60;
/// Policies, resources, parties and access lists (`PolicyCacheTimeout`).
const POLICY_SECONDS: i64 = 10 * 60;
/// How many entries a cache may hold before it looks for old ones.
const TIDY_AT: usize = 4_096;
/// How many entries a cache may hold at all: what comes when it is full is not remembered.
const MOST: usize = 200_000;

/// How a request names a party.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum PartyKey {
    Id(u64),
    Number(PartyNumber),
    Uuid(Uuid),
}

/// A party as the decision point knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PartyFacts {
    pub(crate) number: PartyNumber,
}

/// Delegated actions of one resource, by sub-resource; the whole resource has the empty one.
pub(crate) type DelegatedActions = BTreeMap<String, BTreeSet<String>>;
/// Action filters of the access lists that a party is on.
pub(crate) type Memberships = Vec<Option<BTreeSet<String>>>;

/// The caches of one instance.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    packages: Expiring<(PartyNumber, Uuid), Arc<BTreeSet<String>>>,
    delegations: Expiring<(Uuid, PartyNumber, String), Arc<DelegatedActions>>,
    policies: Expiring<String, Arc<Resource>>,
    resources: Expiring<String, Arc<Resource>>,
    parties: Expiring<PartyKey, PartyFacts>,
    memberships: Expiring<(PartyNumber, String), Arc<Memberships>>,
}

impl Caches {
    fn sizes(&self) -> [usize; 6] {
        [
            self.packages.entries.len(),
            self.delegations.entries.len(),
            self.policies.entries.len(),
            self.resources.entries.len(),
            self.parties.entries.len(),
            self.memberships.entries.len(),
        ]
    }
}

/// Where answers are remembered, and the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory<'a> {
    caches: Option<&'a Mutex<Caches>>,
    now: i64,
}

impl<'a> Memory<'a> {
    /// Remembers nothing.
    pub(crate) const NONE: Self = Self { caches: None, now: 0 };

    pub(crate) fn new(caches: &'a Mutex<Caches>, now: i64) -> Self {
        Self { caches: Some(caches), now }
    }

    pub(crate) fn packages(
        self,
        key: (PartyNumber, Uuid),
        read: impl FnOnce() -> Arc<BTreeSet<String>>,
    ) -> Arc<BTreeSet<String>> {
        let now = self.now;
        self.with(read, |caches, read| caches.packages.always(key, now, RIGHTS_SECONDS, read))
    }

    pub(crate) fn delegations(
        self,
        key: (Uuid, PartyNumber, String),
        read: impl FnOnce() -> Arc<DelegatedActions>,
    ) -> Arc<DelegatedActions> {
        let now = self.now;
        self.with(read, |caches, read| caches.delegations.always(key, now, RIGHTS_SECONDS, read))
    }

    pub(crate) fn policy(
        self,
        id: &str,
        read: impl FnOnce() -> Option<Arc<Resource>>,
    ) -> Option<Arc<Resource>> {
        let now = self.now;
        self.with(read, |caches, read| {
            caches.policies.found(id.to_owned(), now, POLICY_SECONDS, read)
        })
    }

    pub(crate) fn resource(
        self,
        id: &str,
        read: impl FnOnce() -> Option<Arc<Resource>>,
    ) -> Option<Arc<Resource>> {
        let now = self.now;
        self.with(read, |caches, read| {
            caches.resources.found(id.to_owned(), now, POLICY_SECONDS, read)
        })
    }

    pub(crate) fn party(
        self,
        key: PartyKey,
        read: impl FnOnce() -> Option<PartyFacts>,
    ) -> Option<PartyFacts> {
        let now = self.now;
        self.with(read, |caches, read| caches.parties.found(key, now, POLICY_SECONDS, read))
    }

    pub(crate) fn memberships(
        self,
        key: (PartyNumber, String),
        read: impl FnOnce() -> Arc<Memberships>,
    ) -> Arc<Memberships> {
        let now = self.now;
        self.with(read, |caches, read| caches.memberships.always(key, now, POLICY_SECONDS, read))
    }

    fn with<T, R: FnOnce() -> T>(self, read: R, cached: impl FnOnce(&mut Caches, R) -> T) -> T {
        match self.caches {
            None => read(),
            Some(all) => cached(&mut all.lock().unwrap_or_else(PoisonError::into_inner), read),
        }
    }
}

/// Values with the second at which each is too old.
#[derive(Debug)]
struct Expiring<K, V> {
    entries: HashMap<K, (i64, V)>,
    /// At how many entries to look for old ones: twice what was left the last time, so that a full cache is not
    /// searched at each call.
    tidy_at: usize,
}

impl<K, V> Default for Expiring<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), tidy_at: TIDY_AT }
    }
}

impl<K: Eq + Hash, V: Clone> Expiring<K, V> {
    /// The value remembered, or the one read and remembered now.
    fn always(&mut self, key: K, now: i64, life: i64, read: impl FnOnce() -> V) -> V {
        if let Some(value) = self.fresh(&key, now) {
            return value;
        }
        let value = read();
        self.keep(key, now + life, now, value.clone());
        value
    }

    /// The same for what may not exist, which is not remembered.
    fn found(
        &mut self,
        key: K,
        now: i64,
        life: i64,
        read: impl FnOnce() -> Option<V>,
    ) -> Option<V> {
        if let Some(value) = self.fresh(&key, now) {
            return Some(value);
        }
        let value = read()?;
        self.keep(key, now + life, now, value.clone());
        Some(value)
    }

    fn fresh(&self, key: &K, now: i64) -> Option<V> {
        self.entries.get(key).filter(|(until, _)| now < *until).map(|(_, value)| value.clone())
    }

    fn keep(&mut self, key: K, until: i64, now: i64, value: V) {
        if self.entries.len() >= self.tidy_at {
            self.entries.retain(|_, (until, _)| now < *until);
            self.tidy_at = (self.entries.len() * 2).clamp(TIDY_AT, MOST);
        }
        if self.entries.len() < MOST || self.entries.contains_key(&key) {
            self.entries.insert(key, (until, value));
        }
    }
}

/// The caches of every instance; requests go to them in turn.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    pods: Vec<Arc<Mutex<Caches>>>,
    next: usize,
}

impl Pods {
    /// Empty caches in this many instances; none switches caching off.
    pub(crate) fn new(count: usize) -> Self {
        Self { pods: (0..count).map(|_| Arc::default()).collect(), next: 0 }
    }

    pub(crate) fn count(&self) -> usize {
        self.pods.len()
    }

    /// How many entries all caches of all instances hold, and how many they may.
    pub(crate) fn held(&self) -> (usize, usize) {
        let held = |pod: &Arc<Mutex<Caches>>| {
            pod.lock().unwrap_or_else(PoisonError::into_inner).sizes().iter().sum::<usize>()
        };
        let caches = Caches::default().sizes().len();
        (self.pods.iter().map(held).sum(), self.pods.len() * caches * MOST)
    }

    /// The instance whose turn it is.
    pub(crate) fn take(&mut self) -> Option<Arc<Mutex<Caches>>> {
        let pod = self.pods.get(self.next).cloned();
        self.next = if self.next + 1 < self.pods.len() { self.next + 1 } else { 0 };
        pod
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_good_to_the_last_second_and_absence_is_remembered_too() {
        let mut cache = Expiring::default();
        assert_eq!(cache.always("a", 0, 300, || 1), 1);
        assert_eq!(cache.always("a", 299, 300, || 2), 1);
        assert_eq!(cache.always("a", 300, 300, || 2), 2);
        assert_eq!(cache.found("b", 0, 300, || None), None);
        assert_eq!(cache.found("b", 0, 300, || Some(3)), Some(3));
        assert_eq!(cache.found("b", 1, 300, || Some(4)), Some(3));
    }

    #[test]
    fn old_entries_make_room_and_a_full_cache_remembers_nothing_new() {
        let mut cache = Expiring::default();
        for number in 0..MOST {
            cache.always(number, 0, 300, || 1);
        }
        assert_eq!(cache.always(MOST, 1, 300, || 1), 1);
        assert_eq!((cache.entries.len(), cache.always(MOST, 2, 300, || 2)), (MOST, 2));
        assert_eq!(cache.always(MOST, 300, 300, || 3), 3);
        assert_eq!((cache.entries.len(), cache.always(MOST, 301, 300, || 4)), (1, 3));
    }

    #[test]
    fn requests_go_to_the_instances_in_turn() {
        let mut pods = Pods::new(2);
        let (first, second) = (pods.take().unwrap(), pods.take().unwrap());
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&first, &pods.take().unwrap()));
        assert!(Pods::new(0).take().is_none());
    }
}

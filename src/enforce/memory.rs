//! What was found out, remembered until it ends: a bounded map for all threads.
//!
//! A look-up is one lock that hardly anybody else wants, and one place in a table; it allocates nothing and leaves
//! nothing to be done. It may find what has ended. New entries pay for order: with each the hand of its shard goes over two
//! places and lets go what has ended; where there is no room the new one takes the place of the first that has ended, or
//! that nobody looked up since the hand came by (CLOCK). So what has ended is gone after as many new ones as are held; what no new
//! ones come after is gone by [`Memory::sweep`].

use crate::domain::salt::Salt;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most shards: two threads are in one seldom.
const SHARDS: usize = 64;
/// So that no shard is full long before the others.
const LEAST_IN_SHARD: usize = 256;
/// Places that the hand goes over with each new entry: more than one, so that it comes round.
const STEPS: usize = 2;

/// Entries that end at a time, told in any unit that rises. Holds no more than it is given room for.
pub(super) struct Memory<K, V> {
    salt: Salt,
    shards: Box<[Mutex<Shard<K, V>>]>,
    swept: AtomicUsize,
}

/// What becomes of an entry.
pub(super) enum Change<V> {
    /// It stays, or stays away.
    Nothing,
    /// This is held until that time.
    Hold(V, i64),
}

struct Shard<K, V> {
    /// Where in `entries` each is.
    places: HashTable<usize>,
    entries: Vec<Entry<K, V>>,
    most: usize,
    hand: usize,
}

struct Entry<K, V> {
    hash: u64,
    ends: i64,
    used: bool,
    key: K,
    value: V,
}

impl<K: Hash + Eq, V: Clone> Memory<K, V> {
    /// Empty, with room for `most` entries.
    pub(super) fn new(most: u64) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let shards = (most / LEAST_IN_SHARD).clamp(1, SHARDS);
        let shard = |number| {
            let rest = usize::from(number < most % shards);
            Mutex::new(Shard::new(most / shards + rest))
        };
        Self {
            salt: Salt::random(),
            shards: (0..shards).map(shard).collect(),
            swept: AtomicUsize::new(0),
        }
    }

    /// What is held of `key`, though it may have ended.
    pub(super) fn get(&self, key: &K) -> Option<V> {
        let hash = self.salt.hash_one(key);
        let mut shard = self.shard(hash)?;
        let place = shard.find(hash, key)?;
        let entry = shard.entries.get_mut(place)?;
        entry.used = true;
        Some(entry.value.clone())
    }

    /// Changes what is held of `key`, as `change` says of what is there. Tells `gone` of each entry that had to give way, or
    /// had ended at `now`.
    pub(super) fn change(
        &self,
        key: &K,
        now: i64,
        change: impl FnOnce(Option<&V>) -> Change<V>,
        gone: &mut dyn FnMut(K, V),
    ) where
        K: Clone,
    {
        let hash = self.salt.hash_one(key);
        let Some(mut shard) = self.shard(hash) else { return };
        let place = shard.find(hash, key);
        let held = place.and_then(|place| shard.entries.get_mut(place));
        let Change::Hold(value, ends) = change(held.as_ref().map(|entry| &entry.value)) else {
            return;
        };
        if let Some(entry) = held {
            (entry.value, entry.ends) = (value, ends);
            return;
        }
        shard.put(Entry { hash, ends, used: false, key: key.clone(), value }, now, gone);
    }

    /// Lets go what is held of `key`.
    pub(super) fn forget(&self, key: &K) {
        let hash = self.salt.hash_one(key);
        let Some(mut shard) = self.shard(hash) else { return };
        if let Some(place) = shard.find(hash, key) {
            drop(shard.remove(place));
        }
    }

    /// Lets go what has ended at `now` in one shard, the next one each time: as many calls as there are shards go over all.
    pub(super) fn sweep(&self, now: i64, gone: &mut dyn FnMut(K, V)) {
        let number = self.swept.fetch_add(1, Ordering::Relaxed) % self.shards.len().max(1);
        let Some(shard) = self.shards.get(number) else { return };
        let mut shard = lock(shard);
        // From the end, since the last one takes the place of one that goes.
        for place in (0..shard.entries.len()).rev() {
            shard.let_go_if_over(place, now, gone);
        }
    }

    /// How many entries there are, ended ones included.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).entries.len()).sum()
    }

    /// Shows every entry, shard by shard.
    pub(super) fn each(&self, show: &mut dyn FnMut(&K, &V)) {
        for shard in &self.shards {
            lock(shard).entries.iter().for_each(|entry| show(&entry.key, &entry.value));
        }
    }

    /// The shard of a hash, by bits that its table makes no use of.
    fn shard(&self, hash: u64) -> Option<MutexGuard<'_, Shard<K, V>>> {
        let number = usize::try_from((hash >> 32) & 0xff_ffff).unwrap_or(0) % self.shards.len();
        self.shards.get(number).map(lock)
    }
}

fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Eq, V> Shard<K, V> {
    fn new(most: usize) -> Self {
        Self { places: HashTable::new(), entries: Vec::new(), most, hand: 0 }
    }

    fn find(&self, hash: u64, key: &K) -> Option<usize> {
        let is_it = |place: &usize| {
            self.entries.get(*place).is_some_and(|entry| entry.hash == hash && entry.key == *key)
        };
        self.places.find(hash, is_it).copied()
    }

    fn put(&mut self, entry: Entry<K, V>, now: i64, gone: &mut dyn FnMut(K, V)) {
        if self.entries.len() < self.most.max(1) {
            for _ in 0..STEPS {
                let place = self.hand();
                if !self.let_go_if_over(place, now, gone) {
                    self.hand += 1;
                }
            }
            self.place(entry.hash, self.entries.len());
            self.entries.push(entry);
        } else {
            let place = self.one_to_give_way(now);
            let hash = entry.hash;
            let Some(held) = self.entries.get_mut(place) else { return };
            let Entry { hash: before, key, value, .. } = std::mem::replace(held, entry);
            if let Ok(found) = self.places.find_entry(before, |at| *at == place) {
                found.remove();
            }
            self.place(hash, place);
            self.hand = place + 1;
            gone(key, value);
        }
    }

    /// The first from the hand on that has ended, or was not used since the hand came by: at most twice round, since who
    /// was used is passed over once.
    fn one_to_give_way(&mut self, now: i64) -> usize {
        loop {
            let place = self.hand();
            match self.entries.get_mut(place) {
                Some(entry) if entry.used && entry.ends > now => {
                    entry.used = false;
                    self.hand += 1;
                }
                Some(_) | None => return place,
            }
        }
    }

    fn hand(&mut self) -> usize {
        if self.hand >= self.entries.len() {
            self.hand = 0;
        }
        self.hand
    }

    fn let_go_if_over(&mut self, place: usize, now: i64, gone: &mut dyn FnMut(K, V)) -> bool {
        let is_over = self.entries.get(place).is_some_and(|entry| entry.ends <= now);
        if is_over && let Some(Entry { key, value, .. }) = self.remove(place) {
            gone(key, value);
        }
        is_over
    }

    /// Notes where the entry of this hash is.
    fn place(&mut self, hash: u64, place: usize) {
        let entries = &self.entries;
        let hash_of = |place: &usize| entries.get(*place).map_or(0, |entry| entry.hash);
        self.places.insert_unique(hash, place, hash_of);
    }

    /// The last entry takes the place of the one that goes.
    fn remove(&mut self, place: usize) -> Option<Entry<K, V>> {
        let hash = self.entries.get(place)?.hash;
        if let Ok(found) = self.places.find_entry(hash, |at| *at == place) {
            found.remove();
        }
        let entry = self.entries.swap_remove(place);
        if let Some(moved) = self.entries.get(place) {
            let last = self.entries.len();
            if let Some(at) = self.places.find_mut(moved.hash, |at| *at == last) {
                *at = place;
            }
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn hold(memory: &Memory<u32, u32>, key: u32, now: i64, ends: i64) -> Vec<u32> {
        let mut gone = Vec::new();
        memory.change(&key, now, |_| Change::Hold(key, ends), &mut |key, _| gone.push(key));
        gone
    }

    #[test]
    fn what_was_looked_up_outlives_what_was_not_where_there_is_no_room() {
        let memory = Memory::new(4);
        for key in 0..4 {
            assert!(hold(&memory, key, 0, 10).is_empty());
        }
        for key in [0, 1, 3] {
            assert_eq!(memory.get(&key), Some(key));
        }
        assert_eq!(hold(&memory, 4, 0, 10), [2]);
        assert_eq!(memory.get(&2), None);
        // One round more for each look-up, and before those that came later.
        let mut gone: Vec<u32> = (5..8).flat_map(|key| hold(&memory, key, 0, 10)).collect();
        gone.sort_unstable();
        assert_eq!(gone, [0, 1, 3]);
        assert_eq!(hold(&memory, 8, 0, 10), [4]);
        assert_eq!(memory.len(), 4);
    }

    #[test]
    fn nothing_outlives_others_that_nobody_looks_up() {
        for most in [1, 2, 3, 7, 100, 101] {
            let memory = Memory::new(most);
            let most = u32::try_from(most).unwrap();
            for key in 0..1_000 {
                // Of those that filled it each goes in the first round, and then each in its turn.
                for gone in hold(&memory, key, 0, 10) {
                    let first = key < 2 * most && gone < most;
                    assert!(first || key - gone == most, "{gone} for {key}, with room for {most}");
                }
            }
            assert_eq!(memory.len(), usize::try_from(most).unwrap());
        }
    }

    #[test]
    fn what_has_ended_gives_way_though_it_was_looked_up() {
        let memory = Memory::new(3);
        for (key, ends) in [(0, 10), (1, 5), (2, 10)] {
            hold(&memory, key, 0, ends);
            memory.get(&key);
        }
        assert_eq!(hold(&memory, 3, 5, 10), [1]);
    }

    #[test]
    fn what_has_ended_is_let_go_as_new_ones_come_and_when_it_is_swept() {
        let memory = Memory::new(100_000);
        let mut gone = 0;
        for key in 0..10_000 {
            memory.change(&key, 0, |_| Change::Hold(key, 5), &mut |_, _| gone += 1);
        }
        assert_eq!((memory.len(), gone), (10_000, 0));
        for key in 10_000..20_500 {
            memory.change(&key, 5, |_| Change::Hold(key, 10), &mut |_, _| gone += 1);
        }
        assert!(gone > 9_500, "{gone} of 10,000 after as many new ones");
        (0..SHARDS).for_each(|_| memory.sweep(9, &mut |_, _| gone += 1));
        assert_eq!((memory.len(), gone), (10_500, 10_000));
        (0..SHARDS).for_each(|_| memory.sweep(10, &mut |_, _| gone += 1));
        assert_eq!((memory.len(), gone), (0, 20_500));
    }

    #[test]
    fn there_is_never_more_than_there_is_room_for() {
        for most in [0, 1, 2, 255, 256, 300, 1000, 20_000, u64::MAX] {
            let memory = Memory::new(most);
            for key in 0..30_000 {
                hold(&memory, key, 0, 10);
            }
            // One is held even where there is room for none, so that what was found out can be used once.
            let (held, most) = (memory.len(), usize::try_from(most).unwrap().max(1));
            assert!(held <= most && held * 10 >= most.min(30_000) * 9, "{held} of {most}");
        }
    }

    #[derive(Clone, Debug)]
    enum Act {
        Hold(u32, i64),
        Get(u32),
        Forget(u32),
        Later,
        Sweep,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (0..40u32, 0..20i64).prop_map(|(key, time)| Act::Hold(key, time)),
            4 => (0..40u32).prop_map(Act::Get),
            1 => (0..40u32).prop_map(Act::Forget),
            1 => Just(Act::Later),
            1 => Just(Act::Sweep),
        ]
    }

    proptest! {
        /// As a plain map, but that what has ended or had to give way is gone, and each of these was told of once.
        #[test]
        fn it_holds_what_was_put_there(most in 1..30u64, acts in prop::collection::vec(act(), 0..300)) {
            let memory = Memory::<u32, (u32, i64)>::new(most);
            let mut model = HashMap::<u32, (u32, i64)>::new();
            let mut now = 0;
            for (number, act) in (0u32..).zip(acts) {
                let mut gone = Vec::new();
                let mut note = |key, value| gone.push((key, value));
                let full = model.len() >= usize::try_from(most).unwrap();
                match act {
                    Act::Hold(key, time) => {
                        let value = (number, now + time);
                        let hold = |before: Option<&(u32, i64)>| {
                            assert_eq!(before, model.get(&key));
                            Change::Hold(value, value.1)
                        };
                        memory.change(&key, now, hold, &mut note);
                        model.insert(key, value);
                    }
                    Act::Get(key) => prop_assert_eq!(memory.get(&key), model.get(&key).copied()),
                    Act::Forget(key) => {
                        memory.forget(&key);
                        model.remove(&key);
                    }
                    Act::Later => now += 1,
                    Act::Sweep => {
                        memory.sweep(now, &mut note);
                        let ended = model.values().filter(|(_, ends)| *ends <= now).count();
                        prop_assert_eq!(gone.len(), ended, "all of them, since there is one shard");
                    }
                }
                for (key, value) in gone {
                    prop_assert_eq!(model.remove(&key), Some(value));
                    prop_assert!(value.1 <= now || full, "it had ended, or there was no room");
                }
                let mut held = HashMap::new();
                memory.each(&mut |key, value| _ = held.insert(*key, *value));
                prop_assert_eq!((&held, memory.len()), (&model, model.len()));
            }
        }
    }
}

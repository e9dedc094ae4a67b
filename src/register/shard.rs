//! One shard of the watched set: an immutable table, built anew for every change and swapped in whole.
//!
//! Rows lie in the order of a keyed hash, so that one is found in two or three steps; nobody outside can
//! choose ids that meet in one place. A row fills one line of the processor's cache, with what readers mark
//! on it (last use, doubt). Tables that no reader holds any more are built anew in place: a busy writer
//! neither takes memory nor scatters it.

use super::ticks::Tick;
use crate::domain::system_user::SystemUserId;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

/// A list longer than this lies in an allocation of its own, shared by versions of the table.
const POOLED: usize = 32;

/// Rows are made room for by so many at a time.
const ROOM: usize = 16;

/// Most replaced tables that are kept to be built anew.
const SPARES: usize = 16;

/// What is held for one party: the rights set of this number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Grant {
    /// The organisation number, packed.
    pub(super) party: u32,
    /// The number of the rights set in the book.
    pub(super) rights: u32,
}

/// One system user, without its parties, and what readers mark on it.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Row {
    pub(super) id: SystemUserId,
    pub(super) owner: u32,
    pub(super) vendor: u32,
    pub(super) system: u32,
    /// `None`: never read.
    pub(super) fetched: Option<Tick>,
    /// When the content last became another; for one never read, when it was watched.
    pub(super) changed: Tick,
    /// When something was last found to be held no longer; `None` when that is not known of any time.
    pub(super) lost: Option<Tick>,
    grants: Place,
    last_used: AtomicU32,
    doubted: AtomicU32,
    uses: AtomicU16,
}

impl Row {
    /// One that was never read.
    pub(super) fn new(id: SystemUserId, owner: u32, vendor: u32, system: u32, now: Tick) -> Self {
        Self {
            id,
            owner,
            vendor,
            system,
            fetched: None,
            changed: now,
            lost: None,
            grants: Place::None,
            last_used: AtomicU32::new(now.number()),
            doubted: AtomicU32::new(0),
            uses: AtomicU16::new(0),
        }
    }

    /// As it is now. A mark that a reader makes meanwhile may be missing, so doubts are noted and rows
    /// copied under one lock; of uses one may get lost.
    pub(super) fn copy(&self) -> Self {
        Self {
            id: self.id,
            owner: self.owner,
            vendor: self.vendor,
            system: self.system,
            fetched: self.fetched,
            changed: self.changed,
            lost: self.lost,
            grants: self.grants,
            last_used: AtomicU32::new(self.last_used.load(Ordering::Relaxed)),
            doubted: AtomicU32::new(self.doubted.load(Ordering::Acquire)),
            uses: AtomicU16::new(self.uses.load(Ordering::Relaxed)),
        }
    }

    /// Marks a use. Writes at most ten times a second, so that a busy row's line stays with its readers.
    pub(super) fn mark(&self, now: Tick) {
        let before = self.last_used.load(Ordering::Relaxed);
        let now = now.number();
        if before >= now {
            return;
        }
        self.last_used.store(now, Ordering::Relaxed);
        if before / 10 != now / 10 {
            let uses = self.uses.load(Ordering::Relaxed);
            self.uses.store(uses.saturating_add(1), Ordering::Relaxed);
        }
    }

    pub(super) fn last_used(&self) -> Option<Tick> {
        Tick::from_number(self.last_used.load(Ordering::Relaxed))
    }

    pub(super) fn used_at(&mut self, at: Tick) {
        *self.last_used.get_mut() = at.number();
    }

    /// Seconds in which it was used since the last publishing, up to 65,535.
    pub(super) fn uses(&self) -> u16 {
        self.uses.load(Ordering::Relaxed)
    }

    pub(super) fn forget_uses(&mut self) {
        *self.uses.get_mut() = 0;
    }

    pub(super) fn doubt(&self, now: Tick) {
        self.doubted.fetch_max(now.number(), Ordering::AcqRel);
    }

    pub(super) fn doubted(&self) -> Option<Tick> {
        Tick::from_number(self.doubted.load(Ordering::Acquire))
    }

    /// Whether a doubt stands against what was fetched then: equal ticks cannot be ordered, so it does.
    pub(super) fn stands_against(&self, fetched: Tick) -> bool {
        self.doubted().is_some_and(|doubted| doubted >= fetched)
    }
}

/// Where the parties of a row are.
#[derive(Clone, Copy, Debug)]
enum Place {
    None,
    One(Grant),
    Pooled { start: u32, length: u32 },
    Large(u32),
}

/// The parties of one row, on their way into a table.
#[derive(Clone, Debug)]
pub(super) enum Grants<'a> {
    Slice(&'a [Grant]),
    Shared(Arc<[Grant]>),
}

impl<'a> Grants<'a> {
    /// Those of a list sorted by party.
    pub(super) fn of(list: &'a [Grant]) -> Self {
        if list.len() > POOLED { Self::Shared(list.into()) } else { Self::Slice(list) }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Slice(list) => list.len(),
            Self::Shared(list) => list.len(),
        }
    }
}

/// The table. Where its tags and rows lie is in one line of the processor's cache.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Shard {
    tags: Vec<u16>,
    rows: Vec<Row>,
    pool: Vec<Grant>,
    large: Vec<Arc<[Grant]>>,
}

/// A row found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) row: &'a Row,
    shard: &'a Shard,
}

impl<'a> Found<'a> {
    /// Its parties, sorted.
    pub(super) fn grants(&self) -> &'a [Grant] {
        let list = match &self.row.grants {
            Place::None => None,
            Place::One(grant) => Some(std::slice::from_ref(grant)),
            Place::Pooled { start, length } => self.shard.pooled(*start, *length),
            Place::Large(number) => self.shard.large(*number).map(|list| &**list),
        };
        list.unwrap_or_default()
    }

    /// The same, fit for the next table.
    pub(super) fn carried(&self) -> Grants<'a> {
        match &self.row.grants {
            Place::Large(number) => {
                self.shard.large(*number).cloned().map_or(Grants::Slice(&[]), Grants::Shared)
            }
            Place::None | Place::One(_) | Place::Pooled { .. } => Grants::Slice(self.grants()),
        }
    }
}

/// A row on its way into a table.
#[derive(Debug)]
pub(super) struct Added<'a> {
    pub(super) tag: u16,
    pub(super) row: Row,
    pub(super) grants: Grants<'a>,
}

impl Shard {
    /// Bytes of a row, without its parties.
    pub(super) const ROW: usize = size_of::<Row>() + size_of::<u16>();

    /// How many system users.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// All rows.
    pub(super) fn iter(&self) -> impl Iterator<Item = Found<'_>> {
        self.rows.iter().map(|row| Found { row, shard: self })
    }

    fn tagged(&self) -> impl Iterator<Item = (u16, Found<'_>)> {
        self.tags.iter().copied().zip(self.iter())
    }

    /// The row of this id, whose hash ends in `tag`.
    pub(super) fn find(&self, tag: u16, id: SystemUserId) -> Option<Found<'_>> {
        let mut place = self.first(tag);
        while self.tags.get(place) == Some(&tag) {
            let row = self.rows.get(place)?;
            if row.id == id {
                return Some(Found { row, shard: self });
            }
            place += 1;
        }
        None
    }

    /// The first place whose tag is not below `tag`. Tags are spread evenly, so a guess by proportion is
    /// off by a few.
    fn first(&self, tag: u16) -> usize {
        let mut place = (usize::from(tag) * self.tags.len()) >> 16;
        while place > 0 && self.tags.get(place - 1).is_some_and(|other| *other >= tag) {
            place -= 1;
        }
        while self.tags.get(place).is_some_and(|other| *other < tag) {
            place += 1;
        }
        place
    }

    /// Becomes `old` with another content of the one row of this id.
    pub(super) fn become_replaced(&mut self, old: &Self, row: Row, grants: &Grants<'_>) {
        self.clear(old.len());
        let (id, mut new) = (row.id, Some(row));
        for (tag, found) in old.tagged() {
            match new.take_if(|_| found.row.id == id) {
                Some(row) => self.push(tag, row, grants),
                None => self.push(tag, found.row.copy(), &found.carried()),
            }
        }
    }

    /// Becomes `old` with all of `added`, none of which it holds.
    pub(super) fn become_added(&mut self, old: &Self, mut added: Vec<Added<'_>>) {
        added.sort_by_key(|one| (one.tag, one.row.id));
        self.clear(old.len() + added.len());
        let mut added = added.into_iter().peekable();
        for (tag, found) in old.tagged() {
            let before = (tag, found.row.id);
            while let Some(one) = added.next_if(|one| (one.tag, one.row.id) < before) {
                self.push(one.tag, one.row, &one.grants);
            }
            self.push(tag, found.row.copy(), &found.carried());
        }
        for one in added {
            self.push(one.tag, one.row, &one.grants);
        }
    }

    /// Becomes `old` without the rows that `goes` names.
    pub(super) fn become_without(&mut self, old: &Self, goes: impl Fn(&Found<'_>) -> bool) {
        self.clear(old.len());
        for (tag, found) in old.tagged().filter(|(_, found)| !goes(found)) {
            self.push(tag, found.row.copy(), &found.carried());
        }
    }

    /// How many rows it has room for.
    pub(super) fn room(&self) -> usize {
        self.rows.capacity()
    }

    /// The room that a table of so many rows takes: sizes are few, so that tables fit each other's places.
    pub(super) fn room_for(rows: usize) -> usize {
        rows.next_multiple_of(ROOM)
    }

    fn clear(&mut self, rows: usize) {
        self.tags.clear();
        self.rows.clear();
        self.pool.clear();
        self.large.clear();
        self.tags.reserve_exact(Self::room_for(rows));
        self.rows.reserve_exact(Self::room_for(rows));
    }

    fn push(&mut self, tag: u16, row: Row, grants: &Grants<'_>) {
        let grants = self.place(grants);
        self.tags.push(tag);
        self.rows.push(Row { grants, ..row });
    }

    fn place(&mut self, grants: &Grants<'_>) -> Place {
        let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        match grants {
            Grants::Slice([]) => Place::None,
            Grants::Slice([one]) => Place::One(*one),
            Grants::Slice(list) => {
                let start = number(self.pool.len());
                self.pool.extend_from_slice(list);
                Place::Pooled { start, length: number(list.len()) }
            }
            Grants::Shared(list) => {
                self.large.push(Arc::clone(list));
                Place::Large(number(self.large.len() - 1))
            }
        }
    }

    fn pooled(&self, start: u32, length: u32) -> Option<&[Grant]> {
        let (start, length) = (usize::try_from(start).ok()?, usize::try_from(length).ok()?);
        self.pool.get(start..)?.get(..length)
    }

    fn large(&self, number: u32) -> Option<&Arc<[Grant]>> {
        self.large.get(usize::try_from(number).ok()?)
    }
}

/// Tables that were replaced, to be built anew.
#[derive(Debug, Default)]
pub(super) struct Spares(VecDeque<Arc<Shard>>);

impl Spares {
    /// A table with room for `rows`, and not much more: one that no reader holds any more, or a new one.
    pub(super) fn take(&mut self, rows: usize) -> Shard {
        let room = Shard::room_for(rows);
        let fits = |shard: &mut Arc<Shard>| {
            (room..=room + ROOM).contains(&shard.room()) && Arc::get_mut(shard).is_some()
        };
        let place = self.0.iter_mut().position(fits);
        let spare = place.and_then(|place| self.0.swap_remove_back(place));
        let mut table = spare.and_then(Arc::into_inner).unwrap_or_default();
        table.clear(rows);
        table
    }

    /// Keeps a replaced table; the one kept longest makes room.
    pub(super) fn keep(&mut self, shard: Arc<Shard>) {
        self.0.push_back(shard);
        if self.0.len() > SPARES {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_takes_a_line_of_the_cache_and_its_tag() {
        assert_eq!(Shard::ROW, 64 + 2);
    }
}

//! One shard of the watched set: an immutable table, built anew for every change and swapped in whole.
//!
//! Rows lie in the order of a keyed hash, so that one is found in two or three steps; nobody outside can
//! choose ids that meet in one place. What readers mark (last use, doubt) lies beside the table and is
//! shared by all versions with the same members.

use super::ticks::Tick;
use crate::domain::system_user::SystemUserId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

/// A list longer than this lies in an allocation of its own, shared by versions of the table.
const POOLED: usize = 32;

/// What is held for one party: the rights set of this number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Grant {
    /// The organisation number, packed.
    pub(super) party: u32,
    /// The number of the rights set in the book.
    pub(super) rights: u32,
}

/// One system user, without its parties.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) id: SystemUserId,
    pub(super) owner: u32,
    pub(super) vendor: u32,
    pub(super) system: u32,
    /// `None`: never read.
    pub(super) fetched: Option<Tick>,
    /// When the content last became another; for one never read, when it was watched.
    pub(super) changed: Tick,
    grants: Place,
}

impl Row {
    /// One that was never read.
    pub(super) fn new(id: SystemUserId, owner: u32, vendor: u32, system: u32, now: Tick) -> Self {
        Self { id, owner, vendor, system, fetched: None, changed: now, grants: Place::None }
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

/// What readers mark.
#[derive(Debug)]
pub(super) struct Usage {
    last_used: AtomicU32,
    doubted: AtomicU32,
    uses: AtomicU16,
}

impl Usage {
    pub(super) fn new(last_used: Tick) -> Self {
        Self {
            last_used: AtomicU32::new(last_used.number()),
            doubted: AtomicU32::new(0),
            uses: AtomicU16::new(0),
        }
    }

    fn copy(&self) -> Self {
        Self {
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

    /// Seconds in which it was used since the last publishing, up to 65,535.
    pub(super) fn uses(&self) -> u16 {
        self.uses.load(Ordering::Relaxed)
    }

    pub(super) fn forget_uses(&self) {
        self.uses.store(0, Ordering::Relaxed);
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

/// The table.
#[derive(Debug, Default)]
pub(super) struct Shard {
    tags: Box<[u16]>,
    rows: Box<[Row]>,
    pool: Box<[Grant]>,
    large: Box<[Arc<[Grant]>]>,
    usage: Arc<[Usage]>,
}

/// A row found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) row: &'a Row,
    pub(super) usage: &'a Usage,
    shard: &'a Shard,
    place: usize,
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

impl Shard {
    /// Bytes of a row with everything that lies beside it, without its parties.
    pub(super) const ROW: usize = size_of::<Row>() + size_of::<Usage>() + size_of::<u16>();

    /// How many system users.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// All rows.
    pub(super) fn iter(&self) -> impl Iterator<Item = Found<'_>> {
        let rows = self.rows.iter().zip(self.usage.iter()).enumerate();
        rows.map(|(place, (row, usage))| Found { row, usage, shard: self, place })
    }

    /// The row of this id, whose hash ends in `tag`.
    pub(super) fn find(&self, tag: u16, id: SystemUserId) -> Option<Found<'_>> {
        let mut place = self.first(tag);
        while self.tags.get(place) == Some(&tag) {
            let row = self.rows.get(place)?;
            if row.id == id {
                return Some(Found { row, usage: self.usage.get(place)?, shard: self, place });
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

    /// This table with another content in the place of `at`. What readers marked stays shared.
    pub(super) fn with_replaced(&self, at: &Found<'_>, row: Row, grants: &Grants<'_>) -> Self {
        let mut builder = Builder::sized(self, grants.len());
        for found in self.iter() {
            if found.place == at.place {
                builder.push(row, grants);
            } else {
                builder.push(*found.row, &found.carried());
            }
        }
        builder.finish(self.tags.clone(), Arc::clone(&self.usage))
    }

    /// This table with all of `added`, none of which it holds.
    pub(super) fn with_added(&self, mut added: Vec<Added<'_>>) -> Self {
        added.sort_by_key(|one| (one.tag, one.row.id));
        let grants = added.iter().map(|one| one.grants.len()).sum();
        let total = self.len() + added.len();
        let mut builder = Builder::sized(self, grants);
        let (mut tags, mut usage) = (Vec::with_capacity(total), Vec::with_capacity(total));
        let mut added = added.into_iter().peekable();
        let mut put = |builder: &mut Builder, tags: &mut Vec<u16>, one: Added<'_>| {
            builder.push(one.row, &one.grants);
            tags.push(one.tag);
            usage.push(one.usage);
        };
        for (found, tag) in self.iter().zip(&self.tags) {
            let before = (*tag, found.row.id);
            while let Some(one) = added.next_if(|one| (one.tag, one.row.id) < before) {
                put(&mut builder, &mut tags, one);
            }
            let (row, grants, usage) = (*found.row, found.carried(), found.usage.copy());
            put(&mut builder, &mut tags, Added { tag: *tag, row, grants, usage });
        }
        added.for_each(|one| put(&mut builder, &mut tags, one));
        builder.finish(tags.into(), usage.into())
    }

    /// This table without the rows that `goes` names.
    pub(super) fn without(&self, goes: impl Fn(&Found<'_>) -> bool) -> Self {
        let mut builder = Builder::sized(self, 0);
        let (mut tags, mut usage) = (Vec::new(), Vec::new());
        for (found, tag) in self.iter().zip(&self.tags).filter(|(found, _)| !goes(found)) {
            builder.push(*found.row, &found.carried());
            tags.push(*tag);
            usage.push(found.usage.copy());
        }
        builder.finish(tags.into(), usage.into())
    }

    fn pooled(&self, start: u32, length: u32) -> Option<&[Grant]> {
        let (start, length) = (usize::try_from(start).ok()?, usize::try_from(length).ok()?);
        self.pool.get(start..)?.get(..length)
    }

    fn large(&self, number: u32) -> Option<&Arc<[Grant]>> {
        self.large.get(usize::try_from(number).ok()?)
    }
}

/// A row on its way into a table.
#[derive(Debug)]
pub(super) struct Added<'a> {
    pub(super) tag: u16,
    pub(super) row: Row,
    pub(super) grants: Grants<'a>,
    pub(super) usage: Usage,
}

/// The next table, row by row.
struct Builder {
    rows: Vec<Row>,
    pool: Vec<Grant>,
    large: Vec<Arc<[Grant]>>,
}

impl Builder {
    fn sized(old: &Shard, grants: usize) -> Self {
        Self {
            rows: Vec::with_capacity(old.len()),
            pool: Vec::with_capacity(old.pool.len() + grants.min(POOLED)),
            large: Vec::with_capacity(old.large.len()),
        }
    }

    fn push(&mut self, row: Row, grants: &Grants<'_>) {
        let grants = self.place(grants);
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

    fn finish(self, tags: Box<[u16]>, usage: Arc<[Usage]>) -> Shard {
        let Self { rows, pool, large } = self;
        Shard { tags, rows: rows.into(), pool: pool.into(), large: large.into(), usage }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_takes_62_bytes() {
        assert_eq!(Shard::ROW, 62);
    }
}

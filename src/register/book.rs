//! What rights open what: every distinct set of rights, evaluated once against every routed right.
//!
//! Rights sets are few beside system users (they follow from what is delegated), so an entry of the
//! watched set holds the number of one, and deciding is the test of one bit.

use super::chunked::Chunked;
use super::rights::Rights;
use super::ticks::Tick;
use super::{NotDerived, PolicyVersion, RightIndex};
use crate::domain::delegation::{PackageId, PartyRights};
use crate::domain::party::OrgNumber;
use crate::domain::policy;
use crate::domain::resource::{ResourceId, Right};
use crate::sync::ports::AccessList;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// Most rights sets that are held at once.
pub const MAX_SETS: usize = 65_536;

/// The number of a set past [`MAX_SETS`]: opens nothing.
pub(super) const TOO_MANY: u32 = u32::MAX;

/// The number of a set is its place in the book, and above these bits how many sets had that place before.
/// So no number ever comes to mean another set: a reader with an old entry finds the set that was meant, or
/// none.
const PLACE: u32 = 0xffff;
/// The last number of a place; it is used no more then. Leaves [`TOO_MANY`] free.
const LAST: u32 = 0xfffe << 16;

/// Whether a policy permits a system user that holds the packages for which the function says yes.
pub type Derive = Box<dyn Fn(&dyn Fn(&PackageId) -> bool) -> bool + Send + Sync>;

/// Which rules of a policy apply to a system user that holds the packages for which the function says yes.
pub type Explain = Arc<dyn Fn(&dyn Fn(&PackageId) -> bool) -> policy::Explanation + Send + Sync>;

/// What is known of the policy that governs one routed right.
pub enum PolicyState {
    /// Its answer can be computed.
    Derivable {
        /// The compiled policy, for this right.
        derive: Derive,
        /// Why it says what it says, for people; `None` where nobody can tell.
        explain: Option<Explain>,
        /// Of which text.
        version: PolicyVersion,
        /// Who stands on the access lists; `None` when the resource asks for none.
        access: Option<Vec<AccessList>>,
        /// What was read up to this moment may lack a package by which the policy denies, since nothing
        /// named it then; `None` for a policy that denies by none.
        since: Option<Tick>,
    },
    /// It cannot, and why.
    NotDerivable(NotDerived),
}

impl fmt::Debug for PolicyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Derivable { version, access, since, .. } => f
                .debug_struct("Derivable")
                .field("version", version)
                .field("access", access)
                .field("since", since)
                .finish_non_exhaustive(),
            Self::NotDerivable(why) => f.debug_tuple("NotDerivable").field(why).finish(),
        }
    }
}

/// Packages and single resources held together for a party.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct RightsSet {
    pub(super) packages: Box<[PackageId]>,
    pub(super) resources: Box<[ResourceId]>,
}

impl RightsSet {
    /// Those of one party.
    pub(super) fn of(rights: PartyRights) -> Self {
        let PartyRights { party: _, mut packages, mut resources } = rights;
        packages.sort_unstable();
        packages.dedup();
        resources.sort_unstable();
        resources.dedup();
        Self { packages: packages.into(), resources: resources.into() }
    }

    /// Whether all that is in `other` is in this one too.
    fn covers(&self, other: &Self) -> bool {
        other.packages.iter().all(|package| self.packages.binary_search(package).is_ok())
            && other.resources.iter().all(|one| self.resources.binary_search(one).is_ok())
    }

    fn opens(&self, state: &PolicyState) -> bool {
        match state {
            PolicyState::Derivable { derive, .. } => {
                derive(&|package| self.packages.binary_search(package).is_ok())
            }
            PolicyState::NotDerivable(_) => false,
        }
    }
}

/// A rights set and the routed rights that it opens, a bit each.
#[derive(Clone, Debug)]
struct Evaluated {
    number: u32,
    set: Arc<RightsSet>,
    opens: Box<[u64]>,
}

/// What stands between a rights set and a permit, for one routed right.
#[derive(Clone)]
enum Gate {
    /// The bit says it, if the party stands on the list.
    Open {
        version: PolicyVersion,
        members: Option<Arc<[u32]>>,
        since: Option<Tick>,
        explain: Option<Explain>,
    },
    Shut(NotDerived),
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { version, .. } => f.debug_tuple("Open").field(version).finish(),
            Self::Shut(why) => f.debug_tuple("Shut").field(why).finish(),
        }
    }
}

/// Everything but the watched set, as one value.
#[derive(Clone, Debug)]
pub(super) struct Book {
    pub(super) rights: Arc<Rights>,
    gates: Arc<[Gate]>,
    switched_off: Arc<[bool]>,
    sets: Chunked<Evaluated>,
    /// Places whose set nobody holds.
    unused: usize,
    /// When all policies were last known to be current.
    pub(super) verified: Option<Tick>,
}

impl Book {
    /// Whether the rights set, fetched at `fetched`, opens the right for the party.
    pub(super) fn permits(
        &self,
        right: RightIndex,
        party: u32,
        rights: u32,
        fetched: Tick,
    ) -> Result<PolicyVersion, NotDerived> {
        let (version, members, since) = match self.gates.get(right.place()) {
            Some(Gate::Open { version, members, since, .. }) => {
                (*version, members.as_deref(), *since)
            }
            Some(Gate::Shut(why)) => return Err(*why),
            None => return Err(NotDerived::NotRouted),
        };
        if rights == TOO_MANY {
            return Err(NotDerived::TooManySets);
        }
        let opens = self.evaluated(rights).is_some_and(|set| is_set(&set.opens, right));
        if !opens {
            return Err(NotDerived::NotCovered);
        }
        if members.is_some_and(|members| members.binary_search(&party).is_err()) {
            return Err(NotDerived::NotOnAccessList);
        }
        if since.is_some_and(|since| fetched <= since) {
            return Err(NotDerived::ReadBeforePolicy);
        }
        // Last, so that it is said only of what would be derived otherwise.
        if self.is_switched_off(right) {
            return Err(NotDerived::SwitchedOff);
        }
        Ok(version)
    }

    /// Whether the registry has no policy for the resource.
    pub(super) fn is_missing(&self, right: RightIndex) -> bool {
        let gate = self.gates.get(right.place());
        matches!(gate, Some(Gate::Shut(NotDerived::PolicyMissing)))
    }

    fn is_switched_off(&self, right: RightIndex) -> bool {
        self.switched_off.get(right.place()).is_none_or(|off| *off)
    }

    /// The version of the policy of this right, if it is understood.
    pub(super) fn version(&self, right: RightIndex) -> Option<PolicyVersion> {
        match self.gates.get(right.place())? {
            Gate::Open { version, .. } => Some(*version),
            Gate::Shut(_) => None,
        }
    }

    /// Which rules of the right's policy apply to who holds `packages`, sorted; `None` when the policy is
    /// not understood.
    pub(super) fn explain(
        &self,
        right: RightIndex,
        packages: &[PackageId],
    ) -> Option<policy::Explanation> {
        match self.gates.get(right.place())? {
            Gate::Open { explain, .. } => {
                let explain = explain.as_ref()?;
                Some(explain(&|package| packages.binary_search(package).is_ok()))
            }
            Gate::Shut(_) => None,
        }
    }

    fn evaluated(&self, rights: u32) -> Option<&Evaluated> {
        self.sets.get(rights & PLACE).filter(|evaluated| evaluated.number == rights)
    }

    /// The names in a rights set.
    pub(super) fn set(&self, rights: u32) -> Option<&Arc<RightsSet>> {
        self.evaluated(rights).map(|evaluated| &evaluated.set)
    }

    /// How many sets.
    pub(super) fn sets(&self) -> usize {
        self.sets.len().saturating_sub(self.unused)
    }
}

fn is_set(bits: &[u64], right: RightIndex) -> bool {
    bits.get(right.place() / 64).is_some_and(|word| (word >> (right.place() % 64)) & 1 == 1)
}

fn set_bit(bits: &mut [u64], right: RightIndex, to: bool) {
    if let Some(word) = bits.get_mut(right.place() / 64) {
        let bit = 1 << (right.place() % 64);
        *word = if to { *word | bit } else { *word & !bit };
    }
}

/// The writer's side: makes the next book.
#[derive(Debug)]
pub(super) struct Scribe {
    rights: Arc<[Right]>,
    states: Vec<PolicyState>,
    off: HashSet<ResourceId>,
    numbers: HashMap<Arc<RightsSet>, u32>,
    /// The last numbers of places whose set nobody holds.
    free: Vec<u32>,
    /// Times that a set was past the limit.
    pub(super) refused: u64,
    /// Times that a set got a number: whether the book has changed by it.
    pub(super) interned: u64,
    pub(super) max_sets: usize,
    book: Book,
}

impl Scribe {
    pub(super) fn new(numbered: Arc<Rights>, max_sets: usize) -> Self {
        let rights = distinct(&numbered);
        let unread = || PolicyState::NotDerivable(NotDerived::PolicyUnread);
        let states: Vec<_> = rights.iter().map(|_| unread()).collect();
        let book = Book {
            rights: numbered,
            gates: states.iter().zip(&*rights).map(|(state, right)| gate(state, right)).collect(),
            switched_off: rights.iter().map(|_| false).collect(),
            sets: Chunked::default(),
            unused: 0,
            verified: None,
        };
        let (off, numbers, free) = (HashSet::new(), HashMap::new(), Vec::new());
        Self { rights, states, off, numbers, free, refused: 0, interned: 0, max_sets, book }
    }

    /// The book as it is now.
    pub(super) fn book(&self) -> Arc<Book> {
        Arc::new(self.book.clone())
    }

    /// The number of this set, or [`TOO_MANY`]; the book may have got it only now.
    pub(super) fn intern(&mut self, set: &RightsSet) -> u32 {
        if let Some(number) = self.numbers.get(set) {
            return *number;
        }
        let Some(number) = self.next_number() else { return TOO_MANY };
        self.interned = self.interned.saturating_add(1);
        let set = Arc::new(set.clone());
        let mut opens = vec![0; self.rights.len().div_ceil(64)].into_boxed_slice();
        for (right, state) in RightIndex::all(&self.rights).zip(&self.states) {
            set_bit(&mut opens, right, set.opens(state));
        }
        self.book.sets.put(number & PLACE, Evaluated { number, set: Arc::clone(&set), opens });
        self.numbers.insert(set, number);
        number
    }

    fn next_number(&mut self) -> Option<u32> {
        let place = self.book.sets.len();
        let new = || u32::try_from(place).ok().filter(|_| place < self.max_sets);
        let number = self.free.pop().map(|last| last + PLACE + 1).or_else(new);
        self.book.unused = self.free.len();
        number
    }

    /// Lets go of every set that is not in `used`: their places may be taken. Until one is, it stays as it is
    /// for readers of old entries. Gives how many.
    pub(super) fn sweep(&mut self, used: &HashSet<u32>) -> usize {
        let before = self.free.len();
        let free = &mut self.free;
        self.numbers.retain(|_, number| {
            let keep = used.contains(number);
            if !keep && *number < LAST {
                free.push(*number);
            }
            keep
        });
        self.book.unused = self.free.len();
        self.free.len() - before
    }

    /// Whether who holds the set `new` holds all of the set `old`, as far as can be told.
    pub(super) fn covers(&self, new: u32, old: u32) -> bool {
        let sets = self.book.set(new).zip(self.book.set(old));
        new == old || sets.is_some_and(|(new, old)| new.covers(old))
    }

    /// Puts these states in the place of those they name, and evaluates every set anew for them.
    pub(super) fn set_policies(&mut self, states: Vec<(RightIndex, PolicyState)>) {
        let mut named = Vec::with_capacity(states.len());
        for (right, state) in states {
            if let Some(place) = self.states.get_mut(right.place()) {
                *place = state;
                named.push(right);
            }
        }
        let states = self.states.iter().zip(&*self.rights);
        self.book.gates = states.map(|(state, right)| gate(state, right)).collect();
        self.book.sets = self.book.sets.iter().map(|old| self.evaluated(old, &named)).collect();
    }

    /// Takes up the rights that are routed from now on, with every number that was given before.
    pub(super) fn route(&mut self, rights: Arc<Rights>) {
        self.rights = distinct(&rights);
        let unread = || PolicyState::NotDerivable(NotDerived::PolicyUnread);
        self.states.resize_with(self.rights.len(), unread);
        for ((_, index), state) in rights.iter().zip(&mut self.states) {
            let unrouted = matches!(state, PolicyState::NotDerivable(NotDerived::NotRouted));
            match rights.is_routed(index) {
                false => *state = PolicyState::NotDerivable(NotDerived::NotRouted),
                true if unrouted => *state = unread(),
                true => {}
            }
        }
        self.book.rights = rights;
        let is_off = |right: &Right| self.off.contains(&right.resource);
        self.book.switched_off = self.rights.iter().map(is_off).collect();
        self.set_policies(Vec::new());
    }

    fn evaluated(&self, old: &Evaluated, rights: &[RightIndex]) -> Evaluated {
        let mut new = old.clone();
        // There may be more rights since.
        let mut opens = new.opens.into_vec();
        opens.resize(self.rights.len().div_ceil(64), 0);
        new.opens = opens.into();
        for right in rights {
            let opens = self.states.get(right.place()).is_some_and(|state| new.set.opens(state));
            set_bit(&mut new.opens, *right, opens);
        }
        new
    }

    /// Notes that all policies were current at `at`; an earlier moment than the one known is ignored.
    pub(super) fn verified(&mut self, at: Tick) {
        self.book.verified = self.book.verified.max(Some(at));
    }

    /// Switches the derivation of a resource off or on.
    pub(super) fn switch(&mut self, resource: &ResourceId, off: bool) {
        if off {
            self.off.insert(resource.clone());
        } else {
            self.off.remove(resource);
        }
        let is_off = |right: &Right| self.off.contains(&right.resource);
        self.book.switched_off = self.rights.iter().map(is_off).collect();
    }
}

fn distinct(rights: &Rights) -> Arc<[Right]> {
    rights.iter().map(|(right, _)| right.clone()).collect()
}

fn gate(state: &PolicyState, right: &Right) -> Gate {
    match state {
        PolicyState::Derivable { version, access, since, explain, .. } => {
            let members = access.as_ref().map(|lists| members(lists, right));
            Gate::Open { version: *version, members, since: *since, explain: explain.clone() }
        }
        PolicyState::NotDerivable(why) => Gate::Shut(*why),
    }
}

/// Everybody on a list that covers the action.
fn members(lists: &[AccessList], right: &Right) -> Arc<[u32]> {
    let covers = |list: &&AccessList| {
        list.actions.as_ref().is_none_or(|actions| actions.contains(&right.action))
    };
    let covering = lists.iter().filter(covers);
    let mut members: Vec<u32> =
        covering.flat_map(|list| &list.members).map(OrgNumber::packed).collect();
    members.sort_unstable();
    members.dedup();
    members.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str) -> RightsSet {
        let packages = vec![name.parse().unwrap()];
        let party = "310000027".parse().unwrap();
        RightsSet::of(PartyRights { party, packages, resources: Vec::new() })
    }

    fn name(book: &Book, number: u32) -> Option<String> {
        book.set(number).map(|set| set.packages[0].to_string())
    }

    #[test]
    fn a_number_never_comes_to_mean_another_set() {
        let mut scribe = Scribe::new(Arc::default(), 2);
        let (first, kept) = (scribe.intern(&set("first")), scribe.intern(&set("kept")));
        assert_eq!(scribe.intern(&set("third")), TOO_MANY);
        assert_eq!(scribe.sweep(&HashSet::from([kept])), 1);
        assert_eq!(
            name(&scribe.book(), first).as_deref(),
            Some("first"),
            "until its place is taken"
        );
        assert_eq!(scribe.book().sets(), 1);
        let third = scribe.intern(&set("third"));
        assert_eq!(scribe.book().sets(), 2);
        assert_ne!(third, first);
        assert_eq!(name(&scribe.book(), first), None);
        assert_eq!(name(&scribe.book(), third).as_deref(), Some("third"));
        assert_eq!(scribe.intern(&set("kept")), kept);
        assert_eq!(scribe.intern(&set("first")), TOO_MANY, "it was let go of");
    }

    #[test]
    fn a_place_that_has_had_all_its_numbers_is_used_no_more() {
        let mut scribe = Scribe::new(Arc::default(), 1);
        let mut numbers = 0;
        loop {
            let number = scribe.intern(&set(&format!("set-{}", numbers % 3)));
            if number == TOO_MANY {
                break;
            }
            numbers += 1;
            scribe.sweep(&HashSet::new());
        }
        assert_eq!(numbers, 0xffff);
        assert_eq!(scribe.sweep(&HashSet::new()), 0);
    }
}

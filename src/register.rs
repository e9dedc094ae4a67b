//! The register: the watched system users and what each may do, as last read from Altinn.
//!
//! On the second road: [`Writer`], owned by `sync`, publishes; any number of [`Reader`]s look up and never
//! wait. A look-up reads one immutable value of the entry and one of the policies. A permit may follow
//! from them; a "no" never does, then Altinn's PDP is asked. Judging ages is not done here. Touches no
//! socket and no file.

mod book;
mod chunked;
mod reader;
mod rights;
mod shard;
mod ticks;
mod writer;

pub use book::{Derive, Explain, MAX_SETS, PolicyState};
pub use reader::{AGES, Explanation, Reader, Shown, Stats, UserView};
pub use ticks::{HISTORY, InvalidWall, Moment, Tick, Ticks};
pub use writer::{Publish, Restored, Scanned, Watch, Writer};

use crate::domain::party::OrgNumber;
use crate::domain::policy::NotDerivable;
use crate::domain::resource::Right;
use crate::domain::salt::Salt;
use crate::domain::system_user::{SystemId, SystemUserId};
use arc_swap::ArcSwap;
use book::{Book, Scribe};
use chunked::Chunked;
use rights::Rights;
use shard::Shard;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};

/// How many shards the watched set has, for [`Writer::scan`].
pub const SHARDS: usize = 4096;

/// Place of a right among those that routes ask for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct RightIndex(u16);

impl RightIndex {
    fn place(self) -> usize {
        usize::from(self.0)
    }

    /// The number after so many others; `None` when there are no more.
    fn nth(count: usize) -> Option<Self> {
        u16::try_from(count).ok().filter(|number| *number < u16::MAX).map(Self)
    }

    fn all(rights: &[Right]) -> impl Iterator<Item = Self> {
        (0..u16::MAX).map(Self).take(rights.len())
    }
}

/// Which text of a policy: an opaque number that differs when the text does.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PolicyVersion(pub u64);

impl fmt::Display for PolicyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A system user, and what a valid token says of it; one that only the configuration names was in none yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// Its id.
    pub id: SystemUserId,
    /// The organisation that owns it.
    pub owner: Option<OrgNumber>,
    /// The vendor's system.
    pub system: Option<SystemId>,
    /// The system vendor: whose share of the calls to Altinn its reading uses.
    pub vendor: Option<OrgNumber>,
}

/// What the register says to a question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LookUp {
    /// The entry, if the system user is watched.
    pub watched: Option<Watched>,
    /// Whether a permit follows from it, whatever its age.
    pub derived: Result<DerivedPermit, NotDerived>,
}

/// An entry of the watched set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Watched {
    /// Just before Altinn was asked for what it holds; `None` when never answered.
    pub fetched: Option<Tick>,
    /// When it last became another; for one never read, when it was watched.
    pub changed: Tick,
    /// When something was last found to be held no longer; `None` when that is not known of any time.
    pub lost: Option<Tick>,
    /// When the policies were last known to be the current ones.
    pub policies_verified: Option<Tick>,
}

/// A permit that follows from the register, as of the older of its two times.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DerivedPermit {
    /// Just before Altinn was asked for what the system user holds.
    pub fetched: Tick,
    /// When the policies were last known to be current.
    pub policies_verified: Tick,
    /// The policy that permits.
    pub policy: PolicyVersion,
}

/// Why no permit follows from the register. Never a "no".
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
pub enum NotDerived {
    /// The system user is not in the watched set.
    #[error("the system user is not in the watched set")]
    Unwatched,
    /// Watched, but not read yet.
    #[error("what the system user holds was not read yet")]
    NeverRead,
    /// The party is a person: nothing is held of persons.
    #[error("the party is a person")]
    Person,
    /// The question is about one instance.
    #[error("the question is about one instance")]
    Instance,
    /// Nothing is held for this party.
    #[error("nothing is held for this party")]
    NoParty,
    /// No package held for this party opens the right.
    #[error("no package held for this party opens the right")]
    NotCovered,
    /// No route asks for this right, so its policy is not read.
    #[error("no route asks for this right")]
    NotRouted,
    /// The registry has no such resource, or no policy of it.
    #[error("the registry has no policy for the resource")]
    PolicyMissing,
    /// The policy was not read yet.
    #[error("the policy was not read yet")]
    PolicyUnread,
    /// The policy holds something that is not evaluated; which.
    #[error("the policy does not settle it: {}", NotDerivable::in_words(.0))]
    PolicyNotUnderstood(&'static str),
    /// Derivation is off for the resource, because it did not agree with Altinn's PDP.
    #[error("derivation is switched off for the resource")]
    SwitchedOff,
    /// The party stands on no access list of the resource that covers the action.
    #[error("the party stands on no access list of the resource")]
    NotOnAccessList,
    /// The resource asks for an access list, and its lists are not known.
    #[error("the access lists of the resource are not known")]
    AccessListsUnknown,
    /// A permit would come with an obligation that is not fulfilled, or not understood.
    #[error("the policy puts an obligation that is not fulfilled")]
    Obligation,
    /// The policy denies by a package that was not looked for yet when the entry was read.
    #[error("the entry was read before the policy denied by a package; it must be read anew")]
    ReadBeforePolicy,
    /// Altinn's PDP said no where this entry permits; it must be read anew.
    #[error("the entry is in doubt until it is read anew")]
    Doubted,
    /// The set of rights held is past the limit of distinct sets.
    #[error("too many distinct sets of rights")]
    TooManySets,
}

impl NotDerived {
    /// The stable label in metrics and traces.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unwatched => "unwatched",
            Self::NeverRead => "never_read",
            Self::Person => "person",
            Self::Instance => "instance",
            Self::NoParty => "no_party",
            Self::NotCovered => "not_covered",
            Self::NotRouted => "not_routed",
            Self::PolicyMissing => "policy_missing",
            Self::PolicyUnread => "policy_unread",
            Self::PolicyNotUnderstood(_) => "policy_not_understood",
            Self::SwitchedOff => "switched_off",
            Self::NotOnAccessList => "not_on_access_list",
            Self::AccessListsUnknown => "access_lists_unknown",
            Self::Obligation => "obligation",
            Self::ReadBeforePolicy => "read_before_policy",
            Self::Doubted => "doubted",
            Self::TooManySets => "too_many_sets",
        }
    }
}

/// Bounds of the register.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most system users watched.
    pub max_entries: usize,
    /// Most distinct sets of rights; at most [`MAX_SETS`].
    pub max_sets: usize,
}

/// More rights than the register can number.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("more than 65,535 distinct rights are routed")]
pub struct TooManyRights;

/// An empty register for these rights; one named twice counts once.
///
/// # Errors
/// [`TooManyRights`] past 65,535 distinct rights.
pub fn open(
    rights: Vec<Right>,
    limits: Limits,
    ticks: Ticks,
) -> Result<(Writer, Reader), TooManyRights> {
    open_by(rights, limits, ticks, Salt::random())
}

/// The same with this salt, by which system users are spread over the shards.
///
/// # Errors
/// [`TooManyRights`] past 65,535 distinct rights.
pub fn open_by(
    rights: Vec<Right>,
    limits: Limits,
    ticks: Ticks,
    salt: Salt,
) -> Result<(Writer, Reader), TooManyRights> {
    let rights = Rights::new(rights)?;
    let scribe = Scribe::new(Arc::new(rights), limits.max_sets.min(MAX_SETS));
    let empty: Arc<Shard> = Arc::default();
    let shared = Arc::new(Shared {
        ticks,
        hasher: IdHasher(salt.words()),
        shards: (0..SHARDS).map(|_| ArcSwap::new(Arc::clone(&empty))).collect(),
        book: ArcSwap::new(scribe.book()),
        systems: ArcSwap::default(),
        marks: Mutex::new(()),
        totals: Totals::default(),
    });
    let reader = Reader::new(Arc::clone(&shared));
    Ok((Writer::new(shared, scribe, limits.max_entries), reader))
}

/// What writer and readers share.
struct Shared {
    ticks: Ticks,
    hasher: IdHasher,
    shards: Box<[ArcSwap<Shard>]>,
    book: ArcSwap<Book>,
    systems: ArcSwap<Chunked<SystemId>>,
    /// Held while a doubt is noted, and while the members of a shard change: neither loses the other.
    marks: Mutex<()>,
    totals: Totals,
}

/// Counts, written by the writer.
#[derive(Debug, Default)]
struct Totals {
    users: AtomicUsize,
    parties: AtomicUsize,
    refused_sets: AtomicU64,
}

/// Where a system user is, if it is anywhere.
#[derive(Clone, Copy, Debug)]
struct Spot<'a> {
    number: usize,
    shard: &'a ArcSwap<Shard>,
    tag: u16,
}

/// Spreads system users over the shards. Keyed, so that nobody can tell which ids meet in one place; which
/// ids there are is Altinn's choice, so that one multiplication does.
struct IdHasher([u64; 2]);

impl IdHasher {
    fn hash(&self, id: SystemUserId) -> u64 {
        let (high, low) = uuid::Uuid::from_bytes(*id.as_bytes()).as_u64_pair();
        let [first, second] = self.0;
        let product = u128::from(high ^ first) * u128::from(low ^ second);
        let [upper, lower] = [product >> 64, product & u128::from(u64::MAX)];
        // INVARIANT: both halves fit.
        u64::try_from(upper ^ lower).unwrap_or_default()
    }
}

impl Shared {
    fn spot(&self, id: SystemUserId) -> Option<Spot<'_>> {
        let hash = self.hasher.hash(id);
        let number = usize::try_from(hash >> 52).ok()?;
        let tag = u16::try_from((hash >> 36) & 0xffff).ok()?;
        Some(Spot { number, shard: self.shards.get(number)?, tag })
    }
}

//! What keeping the register needs of the outside. Edges implement these; tests give plain ones.

use crate::domain::decision::Undecided;
use crate::domain::delegation::{PackageId, PartyRights};
use crate::domain::party::OrgNumber;
use crate::domain::party::Party;
use crate::domain::resource::{ActionId, Question, ResourceId};
use crate::domain::system_user::{SystemId, SystemUserId};
use crate::enforce::ports::{Account, EdgeFuture};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;
use std::sync::Arc;
use std::time::SystemTime;

/// Facts that Altinn tells to a service owner. Source: contract sync.md §1.1.
///
/// Every call keeps to its own time limit and to the declared ceiling of calls. None is cancelled with
/// harm to later ones.
pub trait Source: Send + Sync {
    /// The organisations for which a system user holds anything that `wanted` names, sub-units included,
    /// each once, sorted. An empty list is an answer: nothing of ours. Persons are left out.
    ///
    /// # Errors
    /// [`Undecided`] when there was no complete, well-formed answer. Never an empty list instead.
    fn parties<'a>(
        &'a self,
        system_user: SystemUserId,
        wanted: &'a Arc<Wanted>,
        account: Account,
    ) -> EdgeFuture<'a, Result<Vec<PartyRights>, Undecided>>;

    /// A resource's metadata and policy; `None` when the registry does not know it, or it has no policy.
    ///
    /// # Errors
    /// [`Undecided`] when neither could be told.
    fn resource<'a>(
        &'a self,
        id: &'a ResourceId,
    ) -> EdgeFuture<'a, Result<Option<PublishedResource>, Undecided>>;

    /// What changed in the registry from `position` on, read to the end of the feed; `None` reads from the
    /// beginning.
    ///
    /// # Errors
    /// [`Undecided`] when the feed could not be read to its end.
    fn changes<'a>(
        &'a self,
        position: Option<&'a FeedPosition>,
    ) -> EdgeFuture<'a, Result<Feed, Undecided>>;

    /// Every access package: its code, as authorized parties spell it, and the suffix of its URN, as
    /// policies do.
    ///
    /// # Errors
    /// [`Undecided`] when it could not be told.
    fn packages(&self) -> EdgeFuture<'_, Result<HashMap<String, PackageId>, Undecided>>;

    /// The access lists of the service owner `owner` (an org code), by resource.
    ///
    /// # Errors
    /// [`Undecided`] when any page of it could not be told.
    fn access_lists<'a>(&'a self, owner: &'a str)
    -> EdgeFuture<'a, Result<AccessLists, Undecided>>;
}

/// What is kept of an answer of authorized parties; the rest is dropped as it is read.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Package codes, as authorized parties spell them, with the suffix that policies compare.
    pub packages: HashMap<String, PackageId>,
    /// The resources of our routes.
    pub resources: BTreeSet<ResourceId>,
}

/// A resource as published in the registry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublishedResource {
    /// Its policy as XACML text, as received.
    pub policy: Arc<[u8]>,
    /// `accessListMode` is `Enabled`: the party must stand on an access list.
    pub access_list: bool,
}

/// How far the registry's feed of changes was read: opaque.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FeedPosition(pub String);

/// What the feed of changes told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Feed {
    /// This registry has no such feed: policies are read anew instead.
    Absent,
    /// Resources that changed, each with the time of its latest change as the registry writes it. The
    /// last page may repeat what an earlier reading told.
    Changes(Vec<(String, String)>, Option<FeedPosition>),
}

/// Who stands on the access lists connected to each resource.
pub type AccessLists = BTreeMap<ResourceId, Vec<AccessList>>;

/// One list connected to a resource.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccessList {
    /// The organisations on it, sorted.
    pub members: Vec<OrgNumber>,
    /// The actions it covers; `None` for all.
    pub actions: Option<BTreeSet<ActionId>>,
}

/// Where what was read outlives the program. Calls wait for the disk: make them from a thread that may.
pub trait Store: Send {
    /// Saves all of `batch` in its order, or nothing of it. Once it returns, the batch outlives a crash.
    ///
    /// # Errors
    /// [`StoreError`]; what was saved before is still there, but for [`StoreError::Lost`]. A later call
    /// may succeed: nothing has to be done but calling.
    fn save(&mut self, batch: Vec<Saved>) -> Result<(), StoreError>;
}

/// One fact that is saved, or that a saved one is gone. Times are times of day, kept to the millisecond
/// and rounded down, so that what is loaded is never younger than it was.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Saved {
    /// A watched system user and what it holds.
    User(Box<SavedUser>),
    /// It is watched no longer.
    ForgetUser(SystemUserId),
    /// A resource as published.
    Resource(Box<SavedResource>),
    /// The registry has no such resource any more.
    ResourceGone(ResourceId),
    /// Every access package, as [`Source::packages`] told them.
    Catalogue(HashMap<String, PackageId>),
    /// The access lists of one service owner.
    AccessLists(SavedLists),
    /// The PDP permitted this.
    Confirmation(StorableQuestion, SystemTime),
    /// That permit counts no longer.
    Unconfirm(StorableQuestion),
    /// No permit of the PDP that was saved before counts any longer.
    UnconfirmAll,
    /// Nothing is derived about the resource of this question: the PDP said no to it where the register
    /// derived a permit.
    SwitchedOff(StorableQuestion),
    /// Permits for this resource are derived, again or still.
    SwitchedOn(ResourceId),
    /// How far the registry's feed was read.
    Feed(FeedPosition),
    /// When it was saved last. A snapshot from the future is not loaded.
    LastSaved(SystemTime),
}

/// A system user on disk, by names, so that it outlives every numbering.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SavedUser {
    /// Its id.
    pub id: SystemUserId,
    /// The organisation that owns it.
    pub owner: OrgNumber,
    /// The vendor's system.
    pub system: SystemId,
    /// The system vendor.
    pub vendor: OrgNumber,
    /// Just before Altinn was asked; `None` when never answered, or when the answer is in doubt.
    pub fetched: Option<SystemTime>,
    /// When the content last became another.
    pub changed: SystemTime,
    /// When something was last found to be held no longer; `None` when that is not known of any time.
    pub lost: Option<SystemTime>,
    /// When it was last looked up.
    pub last_used: SystemTime,
    /// What it holds, sorted by party.
    pub parties: Vec<PartyRights>,
    /// Which packages it was read for; `None` where it was read before some were looked for.
    pub read_for: Option<ReadFor>,
}

/// A digest of the packages that a system user is read for, each with its codes: of others nobody knows whether it holds
/// them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReadFor(pub u64);

/// A resource on disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SavedResource {
    /// Its id.
    pub id: ResourceId,
    /// As published.
    pub published: PublishedResource,
    /// When this was last known to be current.
    pub verified: SystemTime,
}

/// Access lists on disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SavedLists {
    /// The service owner's org code.
    pub owner: String,
    /// By resource.
    pub lists: AccessLists,
    /// Just before the registry was asked.
    pub fetched: SystemTime,
}

/// A question that may be written to disk: its party is an organisation. Nothing of persons is kept.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct StorableQuestion(Question);

impl StorableQuestion {
    /// `None` for a question about a person.
    #[must_use]
    pub fn of(question: Question) -> Option<Self> {
        match question.party() {
            Party::Organization(_) => Some(Self(question)),
            Party::Person(_) => None,
        }
    }

    /// The question.
    #[must_use]
    pub fn question(&self) -> &Question {
        &self.0
    }
}

/// Why nothing was saved.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full, or does not take it.
    #[error("the snapshot cannot be written")]
    Disk(#[source] Box<dyn Error + Send + Sync>),
    /// Another process has taken the snapshot.
    #[error("another process uses the snapshot")]
    InUse,
    /// The snapshot could not be used any more and was put aside as this file; an empty one is in its
    /// place. Save everything again.
    #[error("the snapshot was damaged and is set aside as {0}; a new one was begun")]
    Lost(String),
    /// A record could not be sealed, or is past four gigabytes.
    #[error("a record cannot be sealed")]
    Sealing,
}

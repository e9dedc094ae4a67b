//! What keeping the register needs of the outside. Edges implement these; tests give plain ones.

use crate::domain::decision::Undecided;
use crate::domain::delegation::{PackageId, PartyRights};
use crate::domain::party::OrgNumber;
use crate::domain::resource::{ActionId, ResourceId};
use crate::domain::system_user::SystemUserId;
use crate::enforce::ports::{Account, EdgeFuture};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

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

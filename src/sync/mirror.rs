//! The policies of our resources, as the registry publishes them, and what belongs to them: the catalogue
//! of access packages and our own access lists. Source: contract resource-registry.md §3, §5.2, §6.
//!
//! A reading is planned here, made elsewhere, and applied here. What was read stays until something else
//! is; a policy that is known to have changed, and could not be read, counts as unread.

use super::ports::{
    AccessLists, Feed, FeedPosition, PublishedResource, ReadFor, Saved, SavedLists, SavedResource,
    Source, Wanted,
};
use super::save;
use super::status::ResourceStatus;
use crate::config::PolicyConfig;
use crate::domain::decision::Undecided;
use crate::domain::delegation::PackageId;
use crate::domain::policy::{CompiledRight, Derived, NotDerivable, Policy};
use crate::domain::resource::{ResourceId, Right};
use crate::register::{NotDerived, PolicyState, PolicyVersion, Tick};
use aws_lc_rs::digest;
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tokio::time::Instant;

/// What is known of the policies. [`crate::sync::Sync`] owns one; tests derive with another.
#[derive(Debug)]
pub struct Mirror {
    config: PolicyConfig,
    owner: Option<String>,
    resources: BTreeMap<ResourceId, Resource>,
    position: Option<FeedPosition>,
    packages: Option<HashMap<String, PackageId>>,
    lists: Option<AccessLists>,
    next_poll: Instant,
    next_check: Instant,
    reading: bool,
    /// Routes were changed since that began.
    rerouted: bool,
    /// When all of it was last known to be current.
    verified: Option<Tick>,
    attempted: bool,
    /// Readings in a row in which something could not be read.
    failures: u32,
    last_looked: Option<Instant>,
    lists_read: Option<Instant>,
    /// Since when answers about system users tell whether they hold a package.
    known_since: BTreeMap<PackageId, (BTreeSet<String>, Tick)>,
}

/// One resource of our routes.
#[derive(Debug)]
struct Resource {
    /// The time of its latest change that was read, as the registry writes it.
    change: Option<String>,
    state: State,
    /// When it last became another.
    changed: Option<Tick>,
}

#[derive(Debug)]
enum State {
    Unread,
    /// The registry knows no such resource, or no policy of it.
    Gone,
    Published(PublishedResource, Result<Policy, &'static str>),
}

impl State {
    fn label(&self) -> &'static str {
        match self {
            Self::Unread => "unread",
            Self::Gone => "missing",
            Self::Published(_, Ok(_)) => "read",
            Self::Published(_, Err(_)) => "not_understood",
        }
    }
}

/// What is to be read.
#[derive(Debug)]
pub struct Plan {
    at: Tick,
    full: bool,
    resources: BTreeMap<ResourceId, Option<String>>,
    unread: BTreeSet<ResourceId>,
    position: Option<FeedPosition>,
    packages: bool,
    owner: Option<String>,
}

/// What was read.
#[derive(Debug)]
pub struct MirrorReading {
    pub(super) at: Tick,
    pub(super) feed: Result<Feed, Undecided>,
    pub(super) resources: Vec<ResourceReading>,
    pub(super) packages: Option<Result<HashMap<String, PackageId>, Undecided>>,
    pub(super) lists: Option<Result<AccessLists, Undecided>>,
}

#[derive(Debug)]
pub(super) struct ResourceReading {
    pub(super) id: ResourceId,
    /// The change that made it be read.
    pub(super) change: Option<String>,
    pub(super) result: Result<Option<PublishedResource>, Undecided>,
}

/// What followed from a reading.
#[derive(Debug, Default)]
pub struct Applied {
    /// Whether any policy, list or package became another.
    pub changed: bool,
    /// All is known to be current as of this moment.
    pub verified: Option<Tick>,
    /// Readings by what and whether they did well.
    pub readings: Vec<(&'static str, bool)>,
}

impl Plan {
    /// Reads: the feed first, so that nothing that changes meanwhile is missed by the next reading.
    pub async fn read(self, source: Arc<dyn Source>) -> MirrorReading {
        let feed = source.changes(self.position.as_ref()).await;
        let which = self.which(&feed);
        let each = which.into_iter().map(async |(id, change)| {
            let result = source.resource(&id).await;
            ResourceReading { id, change, result }
        });
        let resources = join_all(each).await;
        let packages = if self.packages { Some(source.packages().await) } else { None };
        let lists = match &self.owner {
            Some(owner) => Some(source.access_lists(owner).await),
            None => None,
        };
        MirrorReading { at: self.at, feed, resources, packages, lists }
    }

    /// What is to be read anew, with the change that says so.
    fn which(&self, feed: &Result<Feed, Undecided>) -> BTreeMap<ResourceId, Option<String>> {
        let all = || self.resources.clone();
        let unread = || self.unread.iter().map(|id| (id.clone(), None));
        let changes = match feed {
            Ok(Feed::Absent) => return all(),
            Ok(Feed::Changes(changes, _)) => changes.as_slice(),
            Err(_) => &[],
        };
        let mut which: BTreeMap<_, _> = if self.full { all() } else { unread().collect() };
        for (id, at) in changes {
            let ours = self.resources.iter().find(|(ours, _)| ours.as_str() == id);
            let Some((id, known)) = ours else { continue };
            if known.as_ref() != Some(at) || which.contains_key(id) {
                which.insert(id.clone(), Some(at.clone()));
            }
        }
        which
    }
}

impl Mirror {
    /// Nothing read yet; due at once.
    #[must_use]
    pub fn new(
        rights: &[Right],
        config: PolicyConfig,
        owner: Option<String>,
        now: Instant,
    ) -> Self {
        let unread = || Resource { change: None, state: State::Unread, changed: None };
        let resources = rights.iter().map(|right| (right.resource.clone(), unread())).collect();
        Self {
            config,
            owner,
            resources,
            position: None,
            packages: None,
            lists: None,
            next_poll: now,
            next_check: now,
            reading: false,
            rerouted: false,
            verified: None,
            attempted: false,
            failures: 0,
            last_looked: None,
            lists_read: None,
            known_since: BTreeMap::new(),
        }
    }

    /// These rights are routed from now on. What was read of their resources stays; what is new is read at once.
    pub(super) fn route(
        &mut self,
        rights: &[Right],
        config: PolicyConfig,
        tick: Tick,
        now: Instant,
    ) {
        let mut before = std::mem::take(&mut self.resources);
        for right in rights {
            let unread = || Resource { change: None, state: State::Unread, changed: None };
            let held = before.remove(&right.resource);
            // One that several rights are of was put back with the first.
            let resource = self.resources.entry(right.resource.clone());
            resource.or_insert_with(|| held.unwrap_or_else(unread));
        }
        self.config = config;
        self.next_poll = now;
        // What is read just now was planned without the new ones.
        self.rerouted = self.reading;
        self.next_check = self.next_check.min(now + config.check);
        // A package that nothing names for a while is left out of what is read meanwhile.
        self.note_packages(tick);
    }

    /// What is to be read now; `None` when nothing is due, or a reading is under way.
    pub fn plan(&mut self, at: Tick, now: Instant) -> Option<Plan> {
        if self.reading || now < self.next_poll {
            return None;
        }
        self.reading = true;
        self.last_looked = Some(now);
        let full = now >= self.next_check;
        let unread = self.resources.iter().filter(|(id, held)| held.is_to_be_read(id));
        Some(Plan {
            at,
            full,
            unread: unread.map(|(id, _)| id.clone()).collect(),
            resources: self
                .resources
                .iter()
                .map(|(id, held)| (id.clone(), held.change.clone()))
                .collect(),
            position: self.position.clone(),
            packages: full || self.packages.is_none(),
            owner: self.owner.clone(),
        })
    }

    /// Takes up what was read, at `tick`. What is asked about system users from then on must be read by
    /// [`Mirror::wanted`] as it is afterwards.
    pub fn apply(&mut self, reading: MirrorReading, tick: Tick, now: Instant) -> Applied {
        let mut applied = Applied::default();
        let fed = self.apply_feed(reading.feed, &mut applied);
        let mut complete = fed;
        for resource in reading.resources {
            complete &= self.apply_resource(resource, reading.at, &mut applied);
        }
        if let Some(packages) = reading.packages {
            complete &= replace(&mut self.packages, packages, "packages", &mut applied);
        }
        if let Some(lists) = reading.lists {
            complete &= self.apply_lists(lists, now, &mut applied);
        }
        if applied.changed {
            self.note_packages(tick);
        }
        // What could not be read, and may have changed, counts as unread; it holds up nothing else.
        applied.verified = fed.then_some(reading.at);
        self.verified = applied.verified.or(self.verified);
        (self.reading, self.attempted) = (false, true);
        self.failures = if complete { 0 } else { self.failures.saturating_add(1) };
        let retry = RETRY * 2u32.saturating_pow(self.failures.saturating_sub(1).min(8));
        let pause = if complete { self.config.poll } else { retry.min(self.config.poll) };
        let rerouted = std::mem::take(&mut self.rerouted);
        self.next_poll = if rerouted { now } else { now + pause };
        if fed && now >= self.next_check {
            self.next_check = now + self.config.check;
        }
        applied
    }

    /// A package that no policy named was left out of what was read so far.
    pub(super) fn note_packages(&mut self, tick: Tick) {
        let mut wanted: BTreeMap<PackageId, BTreeSet<String>> = BTreeMap::new();
        for (code, package) in self.wanted().packages {
            wanted.entry(package).or_default().insert(code);
        }
        // Under another code it was not found before either.
        let since = |package: &PackageId, codes: &BTreeSet<String>| {
            let known = self.known_since.get(package).filter(|(known, _)| known == codes);
            known.map_or(tick, |(_, since)| *since)
        };
        let known = wanted.into_iter().map(|(package, codes)| {
            let since = since(&package, &codes);
            (package, (codes, since))
        });
        self.known_since = known.collect();
    }

    /// Lists that cannot be read for as long as policies may be old are not known any more.
    fn apply_lists(
        &mut self,
        lists: Result<AccessLists, Undecided>,
        now: Instant,
        applied: &mut Applied,
    ) -> bool {
        let well = replace(&mut self.lists, lists, "access_lists", applied);
        if well {
            self.lists_read = Some(now);
        } else if self.lists.is_some()
            && self.lists_read.is_none_or(|read| now - read > self.config.max_age)
        {
            self.lists = None;
            applied.changed = true;
        }
        well
    }

    /// Looks at the feed within moments: something that rests on it was contradicted.
    pub(super) fn look_soon(&mut self, now: Instant) {
        let last = self.last_looked.map_or(now, |last| last + SOON);
        self.next_poll = self.next_poll.min(last.max(now));
    }

    fn apply_feed(&mut self, feed: Result<Feed, Undecided>, applied: &mut Applied) -> bool {
        applied.readings.push(("changes", feed.is_ok()));
        match feed {
            Ok(Feed::Changes(_, position)) => {
                self.position = position;
                true
            }
            Ok(Feed::Absent) => true,
            Err(_) => false,
        }
    }

    fn apply_resource(
        &mut self,
        reading: ResourceReading,
        at: Tick,
        applied: &mut Applied,
    ) -> bool {
        let Some(held) = self.resources.get_mut(&reading.id) else { return true };
        applied.readings.push(("resource", reading.result.is_ok()));
        let new = match reading.result {
            Ok(Some(published)) => held.with(published, &reading.id),
            Ok(None) => match held.state {
                State::Gone => None,
                // One such answer may be a fault on the way; the next is believed.
                State::Published(..) => Some(State::Unread),
                State::Unread => {
                    tracing::warn!(resource = %reading.id, "the registry has no policy for this resource");
                    Some(State::Gone)
                }
            },
            // It has changed, nobody knows into what. Read as it was, it could permit too much.
            Err(_) if reading.change.is_some() && reading.change != held.change => {
                held.state = State::Unread;
                applied.changed = true;
                return false;
            }
            Err(_) => return false,
        };
        let unread = matches!(new, Some(State::Unread));
        if let Some(state) = new {
            (held.state, held.changed) = (state, Some(at));
            applied.changed = true;
        }
        held.change = reading.change.or_else(|| held.change.take());
        !unread
    }

    /// What the register derives with, for one right.
    #[must_use]
    pub fn state(&self, right: &Right) -> PolicyState {
        let held = self.resources.get(&right.resource);
        let why = match held.map(|held| &held.state) {
            None | Some(State::Unread) => NotDerived::PolicyUnread,
            Some(State::Gone) => NotDerived::PolicyMissing,
            Some(State::Published(_, Err(label))) => NotDerived::PolicyNotUnderstood(label),
            Some(State::Published(published, Ok(policy))) => {
                match self.derivable(right, published, policy) {
                    Ok(state) => return state,
                    Err(why) => why,
                }
            }
        };
        PolicyState::NotDerivable(why)
    }

    fn derivable(
        &self,
        right: &Right,
        published: &PublishedResource,
        policy: &Policy,
    ) -> Result<PolicyState, NotDerived> {
        let access = match (published.access_list, &self.lists) {
            (false, _) => None,
            (true, Some(lists)) => Some(lists.get(&right.resource).cloned().unwrap_or_default()),
            (true, None) => return Err(NotDerived::AccessListsUnknown),
        };
        let compiled = policy.compile(right).map_err(|why| match why {
            NotDerivable::Obligation(_) => NotDerived::Obligation,
            why => NotDerived::PolicyNotUnderstood(why.label()),
        })?;
        let since = self.denials_known_since(&compiled)?;
        let compiled = Arc::new(compiled);
        let explained = Arc::clone(&compiled);
        Ok(PolicyState::Derivable {
            derive: Box::new(move |held| compiled.derive(held) == Derived::Permit),
            explain: Some(Arc::new(move |held| explained.explain(held))),
            version: version(&published.policy),
            access,
            since,
        })
    }

    /// Since when answers tell of every package that takes a permit away: with one of them left out of
    /// what was read, a permit would follow where the PDP says no.
    fn denials_known_since(&self, compiled: &CompiledRight) -> Result<Option<Tick>, NotDerived> {
        let since = compiled
            .denying()
            .map(|package| self.known_since.get(package).map(|(_, since)| *since));
        let since: Option<Vec<Tick>> = since.collect();
        let since = since.ok_or(NotDerived::PolicyNotUnderstood(UNKNOWN_PACKAGE))?;
        Ok(since.into_iter().max())
    }

    /// What of an answer about a system user is worth keeping.
    pub fn wanted(&self) -> Wanted {
        let policies = self.resources.values().filter_map(|held| match &held.state {
            State::Published(_, Ok(policy)) => Some(policy),
            State::Published(_, Err(_)) | State::Unread | State::Gone => None,
        });
        let named: BTreeSet<&PackageId> = policies.flat_map(Policy::packages).collect();
        let all = self.packages.iter().flatten();
        let packages = all.filter(|(_, suffix)| named.contains(suffix));
        Wanted {
            packages: packages.map(|(code, suffix)| (code.clone(), suffix.clone())).collect(),
            resources: self.resources.keys().cloned().collect(),
        }
    }

    /// What is to be written of all this.
    pub(super) fn save(&self, state: &save::State<'_>, batch: &mut Vec<Saved>) {
        let verified = self.verified.map(|tick| state.ticks.to_wall(tick, state.wall));
        for (id, held) in &self.resources {
            match (&held.state, verified) {
                (State::Published(published, _), Some(verified)) => {
                    let (id, published) = (id.clone(), published.clone());
                    let saved = SavedResource { id, published, verified };
                    batch.push(Saved::Resource(Box::new(saved)));
                }
                // Of what is unread, that on disk may be what it has changed from.
                (State::Gone | State::Unread, _) => batch.push(Saved::ResourceGone(id.clone())),
                (State::Published(..), None) => {}
            }
        }
        batch.extend(self.packages.clone().map(Saved::Catalogue));
        if let (Some(owner), Some(lists), Some(fetched)) = (&self.owner, &self.lists, verified) {
            let (owner, lists) = (owner.clone(), lists.clone());
            batch.push(Saved::AccessLists(SavedLists { owner, lists, fetched }));
        }
    }

    /// The resources of our routes.
    pub(super) fn ids(&self) -> impl Iterator<Item = &ResourceId> {
        self.resources.keys()
    }

    /// Takes up a resource as it was saved; whether it is one of ours.
    pub(super) fn restore(
        &mut self,
        id: &ResourceId,
        published: PublishedResource,
        verified: Tick,
    ) -> bool {
        let Some(held) = self.resources.get_mut(id) else { return false };
        if let Some(state) = held.with(published, id) {
            (held.state, held.changed) = (state, Some(verified));
        }
        self.verified = [self.verified, Some(verified)].into_iter().flatten().min();
        true
    }

    /// Since when system users are read for all that is looked for now; `None` where that is nothing.
    pub(super) fn looked_for_since(&self) -> Option<Tick> {
        self.known_since.values().map(|(_, since)| *since).max()
    }

    /// What is looked for now. The same in every run of the program: every name stands before the next with its length.
    pub(super) fn read_for(&self) -> ReadFor {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut take = |text: &str| {
            context.update(&text.len().to_be_bytes());
            context.update(text.as_bytes());
        };
        for (package, (codes, _)) in &self.known_since {
            take(package.as_str());
            for code in codes {
                take(code);
            }
            take("");
        }
        let digest = context.finish();
        let (first, _) = digest.as_ref().split_first_chunk().unwrap_or((&[0; 8], &[]));
        ReadFor(u64::from_be_bytes(*first))
    }

    /// After a restart: who is there was read for these packages, all of them; `None` where that is not so, or not known.
    pub(super) fn restore_read_for(&mut self, read_for: Option<ReadFor>, now: Tick) {
        self.note_packages(now);
        if read_for == Some(self.read_for()) {
            self.known_since.values_mut().for_each(|(_, since)| *since = Tick::EARLIEST);
        }
    }

    /// Takes up the catalogue as it was saved.
    pub(super) fn restore_packages(&mut self, packages: HashMap<String, PackageId>) {
        self.packages = Some(packages);
    }

    /// Takes up access lists as they were saved, if they are our own.
    pub(super) fn restore_lists(&mut self, owner: &str, lists: AccessLists, fetched: Tick) {
        if self.owner.as_deref() == Some(owner) {
            self.lists = Some(lists);
            self.verified = [self.verified, Some(fetched)].into_iter().flatten().min();
        }
    }

    /// Whether a reading has come back, well or not, or something was taken up from disk.
    pub(super) fn has_been_read(&self) -> bool {
        self.attempted || self.verified.is_some()
    }

    /// When all of it was last known to be current.
    pub(super) fn verified(&self) -> Option<Tick> {
        self.verified
    }

    /// When the resource's policy last became another.
    pub(super) fn changed(&self, resource: &ResourceId) -> Option<Tick> {
        self.resources.get(resource).and_then(|held| held.changed)
    }

    /// What is known of each resource, for people; `rights` are those of the routes.
    pub(super) fn tell(
        &self,
        rights: &[&Right],
        is_off: impl Fn(&ResourceId) -> bool,
    ) -> Vec<ResourceStatus> {
        let tell = |(id, held): (&ResourceId, &Resource)| {
            let published = match &held.state {
                State::Published(published, _) => Some(published),
                State::Unread | State::Gone => None,
            };
            let of_it = rights.iter().filter(|right| right.resource == *id);
            ResourceStatus {
                id: id.clone(),
                state: held.state.label(),
                version: published.map(|published| version(&published.policy)),
                changed: held.changed,
                access_list: published.is_some_and(|published| published.access_list),
                switched_off: is_off(id),
                actions: of_it
                    .map(|right| (right.action.clone(), self.is_derivable(right)))
                    .collect(),
            }
        };
        self.resources.iter().map(tell).collect()
    }

    fn is_derivable(&self, right: &Right) -> Result<(), NotDerived> {
        match self.state(right) {
            PolicyState::Derivable { .. } => Ok(()),
            PolicyState::NotDerivable(why) => Err(why),
        }
    }

    /// How many resources are in each state.
    pub(super) fn count(&self) -> BTreeMap<&'static str, i64> {
        let mut counts =
            BTreeMap::from(["unread", "missing", "read", "not_understood"].map(|label| (label, 0)));
        for held in self.resources.values() {
            *counts.entry(held.state.label()).or_default() += 1;
        }
        counts
    }
}

/// Why a policy is not evaluated that is not understood as a whole.
const NOT_READ: &str = "policy";
/// Why one is not that denies by a package of which the catalogue knows nothing.
const UNKNOWN_PACKAGE: &str = "unknown_package";
/// How soon the feed is looked at again when something that rests on it was contradicted.
const SOON: std::time::Duration = std::time::Duration::from_secs(1);
/// How soon a reading that was not complete is tried again.
const RETRY: std::time::Duration = std::time::Duration::from_secs(5);

impl Resource {
    /// Whether it is read at every look. The feed tells neither of apps that the registry does not store nor
    /// of what comes back after a fault (contract resource-registry.md §5.2).
    fn is_to_be_read(&self, id: &ResourceId) -> bool {
        let known = matches!(self.state, State::Published(..));
        !known || id.as_str().starts_with("app_")
    }

    /// The new state, if `published` is another than what is held.
    fn with(&self, published: PublishedResource, id: &ResourceId) -> Option<State> {
        if let State::Published(held, _) = &self.state
            && *held == published
        {
            return None;
        }
        let policy = Policy::parse(&published.policy).map_err(|error| {
            tracing::warn!(resource = %id, %error, "the policy is not evaluated here; the PDP is asked");
            NOT_READ
        });
        tracing::info!(resource = %id, version = %version(&published.policy), "policy read");
        Some(State::Published(published, policy))
    }
}

/// Puts a new value in the place of an old one; whether it could be read.
fn replace<T: PartialEq>(
    held: &mut Option<T>,
    new: Result<T, Undecided>,
    what: &'static str,
    applied: &mut Applied,
) -> bool {
    applied.readings.push((what, new.is_ok()));
    let Ok(new) = new else { return false };
    if held.as_ref() != Some(&new) {
        *held = Some(new);
        applied.changed = true;
    }
    true
}

/// The first eight bytes of the text's SHA-256.
pub(super) fn version(policy: &[u8]) -> PolicyVersion {
    let digest = digest::digest(&digest::SHA256, policy);
    let head = digest.as_ref().first_chunk().copied().unwrap_or_default();
    PolicyVersion(u64::from_be_bytes(head))
}

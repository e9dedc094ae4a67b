//! The policies of our resources, as the registry publishes them, and what belongs to them: the catalogue
//! of access packages and our own access lists. Source: contract resource-registry.md §3, §5.2, §6.
//!
//! A reading is planned here, made elsewhere, and applied here. What was read stays until something else
//! is; a policy that is known to have changed, and could not be read, counts as unread.

use super::ports::{AccessLists, Feed, FeedPosition, PublishedResource, Source, Wanted};
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
    /// Since when answers about system users tell whether they hold a package.
    known_since: BTreeMap<PackageId, Tick>,
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
    at: Tick,
    feed: Result<Feed, Undecided>,
    resources: Vec<ResourceReading>,
    packages: Option<Result<HashMap<String, PackageId>, Undecided>>,
    lists: Option<Result<AccessLists, Undecided>>,
}

#[derive(Debug)]
struct ResourceReading {
    id: ResourceId,
    /// The change that made it be read.
    change: Option<String>,
    result: Result<Option<PublishedResource>, Undecided>,
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
            known_since: BTreeMap::new(),
        }
    }

    /// What is to be read now; `None` when nothing is due, or a reading is under way.
    pub fn plan(&mut self, at: Tick, now: Instant) -> Option<Plan> {
        if self.reading || now < self.next_poll {
            return None;
        }
        self.reading = true;
        let full = now >= self.next_check;
        let unread = self.resources.iter().filter(|(_, held)| matches!(held.state, State::Unread));
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
        let mut complete = self.apply_feed(reading.feed, &mut applied);
        for resource in reading.resources {
            complete &= self.apply_resource(resource, reading.at, &mut applied);
        }
        if let Some(packages) = reading.packages {
            complete &= replace(&mut self.packages, packages, "packages", &mut applied);
        }
        if let Some(lists) = reading.lists {
            complete &= replace(&mut self.lists, lists, "access_lists", &mut applied);
        }
        if applied.changed {
            self.note_packages(tick);
        }
        applied.verified = complete.then_some(reading.at);
        self.reading = false;
        self.next_poll =
            now + self.config.poll.min(if complete { self.config.poll } else { RETRY });
        if complete && now >= self.next_check {
            self.next_check = now + self.config.check;
        }
        applied
    }

    /// A package that no policy named was left out of what was read so far.
    fn note_packages(&mut self, tick: Tick) {
        let wanted: BTreeSet<PackageId> = self.wanted().packages.into_values().collect();
        self.known_since.retain(|package, _| wanted.contains(package));
        for package in wanted {
            self.known_since.entry(package).or_insert(tick);
        }
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
                State::Unread | State::Published(..) => {
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
        if let Some(state) = new {
            (held.state, held.changed) = (state, Some(at));
            applied.changed = true;
        }
        held.change = reading.change.or_else(|| held.change.take());
        true
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
        Ok(PolicyState::Derivable {
            since,
            derive: Box::new(move |held| compiled.derive(held) == Derived::Permit),
            version: version(&published.policy),
            access,
        })
    }

    /// Since when answers tell of every package that takes a permit away: with one of them left out of
    /// what was read, a permit would follow where the PDP says no.
    fn denials_known_since(&self, compiled: &CompiledRight) -> Result<Option<Tick>, NotDerived> {
        let since = compiled.denying().map(|package| self.known_since.get(package).copied());
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

    /// When the resource's policy last became another.
    pub(super) fn changed(&self, resource: &ResourceId) -> Option<Tick> {
        self.resources.get(resource).and_then(|held| held.changed)
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
/// How soon a reading that was not complete is tried again.
const RETRY: std::time::Duration = std::time::Duration::from_secs(5);

impl Resource {
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

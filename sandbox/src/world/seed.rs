//! Reads a world from YAML or JSON, refuses one that contradicts itself, and writes it in the same form.

use super::model::{
    Client, Delegation, Scope, ScopeDelegation, System, SystemUser, SystemUserKind,
};
use super::number::PartyNumber;
use super::party::{Organization, Person, Relation, Relations, ServiceOwner};
use super::requests::{ChangeRequest, UserRequest};
use super::resource::{AccessList, Package, Resource, Rule};
use super::rights::whole;
use super::{Changes, Index, World};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The world that is part of the program.
pub(crate) const BUILT_IN: &str = include_str!("../../seed/world.yaml");

/// The seed is not a world.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// Not YAML, an unknown key or a value of the wrong kind; the message tells the place.
    #[error("the seed cannot be read")]
    Parse(#[source] Box<serde_saphyr::Error>),
    /// Text that begins with `{` and is not JSON, has an unknown key or a value of the wrong kind.
    #[error("the seed cannot be read")]
    Json(#[source] serde_json::Error),
    /// It names things that do not exist, or names one twice. Every problem is listed.
    #[error("the seed contradicts itself: {}", .0.join("; "))]
    Inconsistent(Vec<String>),
    /// The world cannot be written.
    #[error("the world cannot be written")]
    Write(#[source] Box<serde_saphyr::SerializeError>),
}

/// The file as written. A section that is left out is empty.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Document {
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    subscription_keys: BTreeSet<String>,
    service_owner: Option<ServiceOwner>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_service_owners: Vec<ServiceOwner>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    organizations: Vec<Organization>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    persons: Vec<Person>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    relations: Vec<Relation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<Scope>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scope_delegations: Vec<ScopeDelegation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    clients: Vec<Client>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    systems: Vec<System>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system_users: Vec<SystemUser>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    packages: Vec<Package>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resources: Vec<Resource>,
    /// Resources that are gone and may still be named.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    deleted_resources: BTreeSet<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    access_lists: Vec<AccessList>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    requests: Vec<UserRequest>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    change_requests: Vec<ChangeRequest>,
    /// Positions of the registry's change feed; made anew where they are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    feed: Vec<FeedEntry>,
}

/// A position of the change feed.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct FeedEntry {
    position: u64,
    resource: String,
    changed_at: i64,
}

impl Document {
    /// Reads YAML, or JSON if it begins with a brace: that is the same form and quicker for large worlds.
    pub(crate) fn read(text: &str) -> Result<Self, SeedError> {
        if text.trim_start().starts_with('{') {
            return serde_json::from_str(text).map_err(SeedError::Json);
        }
        let options = serde_saphyr::options! { budget: None };
        serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| SeedError::Parse(Box::new(error)))
    }

    /// The present state of a world.
    pub(crate) fn of(world: &World) -> Self {
        Self {
            subscription_keys: world.subscription_keys.clone(),
            service_owner: Some(world.service_owner.clone()),
            other_service_owners: world.other_service_owners.clone(),
            organizations: world.organizations.values().cloned().collect(),
            persons: world.persons.values().cloned().collect(),
            relations: world.relations.all().collect(),
            scopes: world.scopes.values().cloned().collect(),
            scope_delegations: world.scope_delegations.clone(),
            clients: world.clients.values().cloned().collect(),
            systems: world.systems.values().cloned().collect(),
            system_users: world.system_users.values().map(|user| marked(world, user)).collect(),
            packages: world.packages.values().cloned().collect(),
            resources: world.resources.values().map(|it| Resource::clone(it)).collect(),
            deleted_resources: world.deleted_resources.clone(),
            access_lists: world.access_lists.values().cloned().collect(),
            requests: world.requests.values().cloned().collect(),
            change_requests: world.change_requests.values().cloned().collect(),
            feed: world
                .changes
                .after(0)
                .map(|(position, change)| FeedEntry {
                    position,
                    resource: change.resource.clone(),
                    changed_at: change.changed_at,
                })
                .collect(),
        }
    }

    /// Writes YAML.
    pub(crate) fn to_yaml(&self) -> Result<String, SeedError> {
        serde_saphyr::to_string(self).map_err(|error| SeedError::Write(Box::new(error)))
    }

    /// Puts another document on top: what it names is added or replaced, the rest stays.
    fn patched_with(mut self, patch: Self) -> Self {
        self.subscription_keys.extend(patch.subscription_keys);
        self.service_owner = patch.service_owner.or(self.service_owner);
        replace(&mut self.other_service_owners, patch.other_service_owners, |it| it.code.clone());
        replace(&mut self.organizations, patch.organizations, |it| it.number);
        replace(&mut self.persons, patch.persons, |it| it.number);
        let relation = |it: &Relation| (it.client, it.facilitator, it.role);
        replace(&mut self.relations, patch.relations, relation);
        replace(&mut self.scopes, patch.scopes, |it| it.name.clone());
        let delegation = |it: &ScopeDelegation| (it.consumer, it.supplier, it.scope.clone());
        replace(&mut self.scope_delegations, patch.scope_delegations, delegation);
        replace(&mut self.clients, patch.clients, |it| it.id.clone());
        replace(&mut self.systems, patch.systems, |it| it.id.clone());
        replace(&mut self.system_users, patch.system_users, |it| it.id);
        replace(&mut self.packages, patch.packages, |it| it.code.clone());
        replace(&mut self.resources, patch.resources, |it| it.id.clone());
        self.deleted_resources.extend(patch.deleted_resources);
        replace(&mut self.access_lists, patch.access_lists, |it| it.id.clone());
        replace(&mut self.requests, patch.requests, |it| it.id);
        replace(&mut self.change_requests, patch.change_requests, |it| it.id);
        self
    }
}

/// A system user with a mark on what it was given by clients that do not offer it any more.
fn marked(world: &World, user: &SystemUser) -> SystemUser {
    let mut marked = user.clone();
    for delegation in marked.delegations.iter_mut() {
        let without_effect = not_offered(world, user, delegation).next().is_some();
        delegation.without_effect = without_effect;
    }
    marked
}

/// Packages that an agent was given by a client who does not offer them.
fn not_offered<'a>(
    world: &World,
    user: &SystemUser,
    delegation: &'a Delegation,
) -> impl Iterator<Item = &'a String> {
    let client = user.kind == SystemUserKind::Agent && delegation.party != user.owner.into();
    let codes = delegation.packages.iter();
    codes.filter(move |code| client && !world.offers(user, delegation.party, code, |_| true))
}

fn replace<K: Ord, T>(items: &mut Vec<T>, new: Vec<T>, key: impl Fn(&T) -> K) {
    if new.is_empty() {
        return;
    }
    let keys: BTreeSet<K> = new.iter().map(&key).collect();
    items.retain(|item| !keys.contains(&key(item)));
    items.extend(new);
}

/// Reads and checks a seed.
pub(crate) fn parse(text: &str, now: i64) -> Result<World, SeedError> {
    build(Document::read(text)?, now, None)
}

/// Reads a world that takes the place of another: what changed moves to the end of the change feed.
pub(crate) fn parse_successor(text: &str, now: i64, old: &World) -> Result<World, SeedError> {
    build(Document::read(text)?, now, Some(old))
}

/// Reads a document and puts it on top of a world.
pub(crate) fn patch(text: &str, now: i64, old: &World) -> Result<World, SeedError> {
    let mut whole = Document::of(old).patched_with(Document::read(text)?);
    whole.feed.clear();
    build(whole, now, Some(old))
}

fn build(document: Document, now: i64, old: Option<&World>) -> Result<World, SeedError> {
    let mut problems = Vec::new();
    let world = assemble(document, now, old, &mut problems);
    let Some(mut world) = world else { return Err(SeedError::Inconsistent(problems)) };
    world.reindex();
    check(&world, &mut problems);
    for user in world.system_users.values_mut() {
        user.delegations.iter_mut().for_each(|it| it.without_effect = false);
    }
    if problems.is_empty() { Ok(world) } else { Err(SeedError::Inconsistent(problems)) }
}

fn assemble(
    document: Document,
    now: i64,
    old: Option<&World>,
    problems: &mut Vec<String>,
) -> Option<World> {
    let Some(service_owner) = document.service_owner else {
        problems.push("`service_owner` is missing".to_owned());
        return None;
    };
    let mut relations = Relations::default();
    for relation in document.relations {
        relations.add(relation);
    }
    let mut deleted_resources = document.deleted_resources;
    deleted_resources.retain(|id| document.resources.iter().all(|it| it.id != *id));
    let mut resources: Vec<Arc<Resource>> = document.resources.into_iter().map(Arc::new).collect();
    let changes = feed(document.feed, &mut resources, now, old);
    Some(World {
        subscription_keys: document.subscription_keys,
        service_owner,
        other_service_owners: document.other_service_owners,
        organizations: keyed(document.organizations, |item| item.number, problems),
        persons: keyed(document.persons, |item| item.number, problems),
        relations,
        scopes: keyed(document.scopes, |item| item.name.clone(), problems),
        scope_delegations: document.scope_delegations,
        clients: keyed(document.clients, |item| item.id.clone(), problems),
        systems: keyed(document.systems, |item| item.id.clone(), problems),
        system_users: keyed(document.system_users, |item| item.id, problems),
        packages: keyed(document.packages, |item| item.code.clone(), problems),
        resources: keyed(resources, |item| item.id.clone(), problems),
        deleted_resources,
        access_lists: keyed(document.access_lists, |item| item.id.clone(), problems),
        changes,
        requests: keyed(document.requests, |item| item.id, problems),
        change_requests: keyed(document.change_requests, |item| item.id, problems),
        index: Index::default(),
    })
}

/// The feed as written, else that of the old world with what changed at its end.
fn feed(
    written: Vec<FeedEntry>,
    resources: &mut [Arc<Resource>],
    now: i64,
    old: Option<&World>,
) -> Changes {
    let mut changes = match old {
        Some(old) if written.is_empty() => old.changes.clone(),
        _ => Changes::default(),
    };
    let known = !written.is_empty();
    for entry in written {
        changes.place(entry.position, &entry.resource, entry.changed_at);
    }
    for resource in resources {
        let before = old.and_then(|world| world.resources.get(&resource.id)).filter(|_| !known);
        match before {
            Some(before) if same(before, resource) => *resource = Arc::clone(before),
            Some(before) => {
                let version = before.version.saturating_add(1);
                *resource = Arc::new(Resource { version, ..Resource::clone(resource) });
                changes.record(&resource.id, now);
            }
            None if changes.has(&resource.id) => {}
            None => changes.record(&resource.id, now),
        }
    }
    changes
}

/// Whether two resources are alike but for their version.
fn same(old: &Resource, new: &Resource) -> bool {
    let text = |resource: &Resource| {
        serde_json::to_string(&Resource { version: 1, ..resource.clone() }).ok()
    };
    text(old) == text(new)
}

fn keyed<K: Ord + std::fmt::Display, T>(
    items: Vec<T>,
    key: impl Fn(&T) -> K,
    problems: &mut Vec<String>,
) -> BTreeMap<K, T> {
    let mut map = BTreeMap::new();
    for item in items {
        let key = key(&item);
        if map.contains_key(&key) {
            problems.push(format!("`{key}` occurs twice"));
        }
        map.insert(key, item);
    }
    map
}

fn check(world: &World, problems: &mut Vec<String>) {
    check_organizations(world, problems);
    check_clients(world, problems);
    for system in world.systems.values() {
        if !system.id.starts_with(&format!("{}_", system.vendor)) {
            problems.push(format!("system `{}` does not begin with its vendor", system.id));
        }
        let packages = system.packages.iter();
        for code in packages.filter(|code| !world.packages.contains_key(*code)) {
            problems.push(format!("system `{}`: unknown package `{code}`", system.id));
        }
        let rights = system.rights.iter().map(|right| &right.resource);
        for id in rights.filter(|id| !is_or_was_resource(world, id)) {
            problems.push(format!("system `{}`: unknown resource `{id}`", system.id));
        }
        for client in system.client_ids.iter().filter(|id| !world.clients.contains_key(*id)) {
            problems.push(format!("system `{}`: unknown client `{client}`", system.id));
        }
    }
    for request in world.requests.values() {
        let problem = unknown_party(world, request.party.into());
        problems.extend(problem.map(|text| format!("request `{}`: {text}", request.id)));
        if !world.systems.contains_key(&request.system) {
            problems.push(format!("request `{}`: unknown system", request.id));
        }
    }
    for request in world.change_requests.values() {
        if !world.system_users.contains_key(&request.system_user) {
            problems.push(format!("change request `{}`: unknown system user", request.id));
        }
    }
    for user in world.system_users.values() {
        problems.extend(system_user_problems(world, user));
    }
    for resource in world.resources.values() {
        problems.extend(resource_problems(world, resource));
    }
}

fn check_organizations(world: &World, problems: &mut Vec<String>) {
    let owners = std::iter::once(&world.service_owner).chain(&world.other_service_owners);
    let named = owners
        .map(|owner| owner.organization)
        .chain(world.organizations.values().filter_map(|item| item.parent))
        .chain(world.persons.values().flat_map(|it| &it.holds).map(|it| it.organization))
        .chain(world.relations.all().map(|item| item.facilitator))
        .chain(world.scope_delegations.iter().flat_map(|item| [item.consumer, item.supplier]))
        .chain(world.clients.values().map(|item| item.organization))
        .chain(world.systems.values().map(|item| item.vendor))
        .chain(world.access_lists.values().flat_map(|item| item.members.iter().copied()))
        .map(PartyNumber::from);
    let persons = world.organizations.values().filter_map(|item| item.proprietor);
    let parties = named
        .chain(persons.map(PartyNumber::from))
        .chain(world.relations.all().map(|item| item.client));
    problems.extend(parties.filter_map(|number| unknown_party(world, number)));
}

fn unknown_party(world: &World, number: PartyNumber) -> Option<String> {
    if world.party(number).is_some() {
        return None;
    }
    Some(match number {
        PartyNumber::Organization(number) => format!("unknown organisation `{number}`"),
        PartyNumber::Person(_) => "unknown person".to_owned(),
    })
}

fn check_clients(world: &World, problems: &mut Vec<String>) {
    for client in world.clients.values() {
        for scope in client.scopes.iter().filter(|name| !world.scopes.contains_key(*name)) {
            problems.push(format!("client `{}`: unknown scope `{scope}`", client.id));
        }
    }
    for delegation in &world.scope_delegations {
        if !world.scopes.contains_key(&delegation.scope) {
            problems.push(format!("scope delegation: unknown scope `{}`", delegation.scope));
        }
    }
}

fn is_or_was_resource(world: &World, id: &str) -> bool {
    world.resources.contains_key(id) || world.deleted_resources.contains(id)
}

/// What is wrong with a system user.
fn system_user_problems(world: &World, user: &SystemUser) -> Vec<String> {
    let mut problems: Vec<String> = unknown_party(world, user.owner.into()).into_iter().collect();
    if !world.systems.contains_key(&user.system) {
        problems.push(format!("unknown system `{}`", user.system));
    }
    for delegation in user.delegations.iter() {
        problems.extend(unknown_party(world, delegation.party));
        let own = delegation.party == user.owner.into();
        if user.kind == SystemUserKind::Agent && !delegation.single_rights.is_empty() && !own {
            problems.push("an agent cannot hold single rights of a client".to_owned());
        }
        if user.kind == SystemUserKind::Standard && !own {
            problems.push(format!("a standard system user acts for `{}` only", user.owner));
        }
        let unknown = delegation.packages.iter().filter(|code| !world.packages.contains_key(*code));
        problems.extend(unknown.map(|code| format!("unknown package `{code}`")));
        let refused = not_offered(world, user, delegation).filter(|_| !delegation.without_effect);
        problems
            .extend(refused.map(|code| format!("`{}` does not offer `{code}`", delegation.party)));
        let resources =
            delegation.single_rights.keys().filter(|id| !is_or_was_resource(world, whole(id)));
        problems.extend(resources.map(|id| format!("unknown resource `{id}`")));
    }
    problems.into_iter().map(|text| format!("system user `{}`: {text}", user.id)).collect()
}

/// What is wrong with a resource; the knobs ask too.
pub(crate) fn resource_problems(world: &World, resource: &Resource) -> Vec<String> {
    let mut problems = Vec::new();
    let named = resource.rules.iter().flat_map(Rule::named_packages);
    let unknown = named.filter(|named| world.package_named(named).is_none());
    problems.extend(unknown.map(|code| format!("unknown package `{code}`")));
    let lists = resource.access_lists.iter();
    let unknown = lists.filter(|list| !world.access_lists.contains_key(*list));
    problems.extend(unknown.map(|list| format!("unknown access list `{list}`")));
    let owner = world.owner_code(resource);
    if world.service_owner_with(owner).is_none() {
        problems.push(format!("unknown service owner `{owner}`"));
    }
    if resource.id.contains('/') {
        problems.push("an id cannot contain `/`".to_owned());
    }
    problems.into_iter().map(|text| format!("resource `{}`: {text}", resource.id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_world_is_consistent() {
        let world = parse(BUILT_IN, 0).unwrap();
        assert_eq!(world.system_users.len(), 12);
        assert_eq!(world.service_owner.code, "skd");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place() {
        let text = BUILT_IN.replacen("subscription_keys:", "subscription_kays:", 1);
        let error = parse(&text, 0).unwrap_err();
        let SeedError::Parse(source) = error else { panic!("{error}") };
        assert!(source.to_string().contains("subscription_kays"), "{source}");
    }

    #[test]
    fn every_contradiction_is_reported_at_once() {
        let text = BUILT_IN
            .replacen("packages: [saravgifter]", "packages: [sarafgifter]", 1)
            .replacen("parent: \"310000507\"", "parent: \"310000914\"", 1);
        let error = parse(&text, 0).unwrap_err().to_string();
        assert!(error.contains("unknown package `sarafgifter`"), "{error}");
        assert!(error.contains("unknown organisation `310000914`"), "{error}");
    }

    #[test]
    fn a_wrong_check_digit_is_refused() {
        let text = BUILT_IN.replacen("310000507", "310000508", 1);
        assert!(matches!(parse(&text, 0), Err(SeedError::Parse(_))));
    }
}

//! Reads a world from YAML and refuses one that contradicts itself.

use super::model::{
    AccessList, Client, Delegation, OrgNumber, Organization, Package, Relation, Resource, Scope,
    ScopeDelegation, ServiceOwner, System, SystemUser, SystemUserKind,
};
use super::{Changes, World};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The world that is part of the program.
pub(crate) const BUILT_IN: &str = include_str!("../../seed/world.yaml");

/// The seed is not a world.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// Not YAML, an unknown key or a value of the wrong kind; the message tells the place.
    #[error("the seed cannot be read")]
    Parse(#[source] Box<serde_saphyr::Error>),
    /// It names things that do not exist, or names one twice. Every problem is listed.
    #[error("the seed contradicts itself: {}", .0.join("; "))]
    Inconsistent(Vec<String>),
}

/// The file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seed {
    subscription_keys: BTreeSet<String>,
    service_owner: ServiceOwner,
    organizations: Vec<Organization>,
    relations: Vec<Relation>,
    scopes: Vec<Scope>,
    scope_delegations: Vec<ScopeDelegation>,
    clients: Vec<Client>,
    systems: Vec<System>,
    system_users: Vec<SystemUser>,
    packages: Vec<Package>,
    resources: Vec<Resource>,
    access_lists: Vec<AccessList>,
}

/// Reads and checks a seed.
pub(crate) fn parse(text: &str, now: i64) -> Result<World, SeedError> {
    let seed: Seed =
        serde_saphyr::from_str(text).map_err(|error| SeedError::Parse(Box::new(error)))?;
    let mut problems = Vec::new();
    let world = build(seed, now, &mut problems);
    check(&world, &mut problems);
    if problems.is_empty() { Ok(world) } else { Err(SeedError::Inconsistent(problems)) }
}

fn build(seed: Seed, now: i64, problems: &mut Vec<String>) -> World {
    let mut changes = Changes::default();
    let mut resources = seed.resources;
    for resource in &mut resources {
        resource.version = 1;
        changes.record(&resource.id, now);
    }
    World {
        subscription_keys: seed.subscription_keys,
        service_owner: seed.service_owner,
        organizations: keyed(seed.organizations, |item| item.number.clone(), problems),
        relations: seed.relations,
        scopes: keyed(seed.scopes, |item| item.name.clone(), problems),
        scope_delegations: seed.scope_delegations,
        clients: keyed(seed.clients, |item| item.id.clone(), problems),
        systems: keyed(seed.systems, |item| item.id.clone(), problems),
        system_users: keyed(seed.system_users, |item| item.id, problems),
        packages: keyed(seed.packages, |item| item.code.clone(), problems),
        resources: keyed(resources, |item| item.id.clone(), problems),
        access_lists: keyed(seed.access_lists, |item| item.id.clone(), problems),
        changes,
    }
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
        for client in system.client_ids.iter().filter(|id| !world.clients.contains_key(*id)) {
            problems.push(format!("system `{}`: unknown client `{client}`", system.id));
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
    let named = [&world.service_owner.organization]
        .into_iter()
        .chain(world.organizations.values().filter_map(|item| item.parent.as_ref()))
        .chain(world.relations.iter().flat_map(|item| [&item.client, &item.facilitator]))
        .chain(world.scope_delegations.iter().flat_map(|item| [&item.consumer, &item.supplier]))
        .chain(world.clients.values().map(|item| &item.organization))
        .chain(world.systems.values().map(|item| &item.vendor))
        .chain(world.access_lists.values().flat_map(|item| &item.members));
    problems.extend(named.filter_map(|number| unknown_organization(world, number)));
}

fn unknown_organization(world: &World, number: &OrgNumber) -> Option<String> {
    (!world.organizations.contains_key(number)).then(|| format!("unknown organisation `{number}`"))
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

/// What is wrong with a system user.
fn system_user_problems(world: &World, user: &SystemUser) -> Vec<String> {
    let mut problems: Vec<String> = unknown_organization(world, &user.owner).into_iter().collect();
    if !world.systems.contains_key(&user.system) {
        problems.push(format!("unknown system `{}`", user.system));
    }
    for delegation in &user.delegations {
        problems.extend(unknown_organization(world, &delegation.party));
        if user.kind == SystemUserKind::Agent && !delegation.single_rights.is_empty() {
            problems.push("an agent cannot hold single rights".to_owned());
        }
        if user.kind == SystemUserKind::Standard && delegation.party != user.owner {
            problems.push(format!("a standard system user acts for `{}` only", user.owner));
        }
        let unknown = delegation.packages.iter().filter(|code| !world.packages.contains_key(*code));
        problems.extend(unknown.map(|code| format!("unknown package `{code}`")));
        let refused =
            delegation.packages.iter().filter(|code| !is_offered(world, user, delegation, code));
        problems
            .extend(refused.map(|code| format!("`{}` does not offer `{code}`", delegation.party)));
        let resources =
            delegation.single_rights.keys().filter(|id| !world.resources.contains_key(*id));
        problems.extend(resources.map(|id| format!("unknown resource `{id}`")));
    }
    problems.into_iter().map(|text| format!("system user `{}`: {text}", user.id)).collect()
}

/// Whether the party can have given this: anything to a standard system user, to an agent what its owner's role
/// for the client carries.
fn is_offered(world: &World, user: &SystemUser, delegation: &Delegation, code: &str) -> bool {
    user.kind == SystemUserKind::Standard
        || delegation.party == user.owner
        || world.relations.iter().any(|relation| {
            relation.client == delegation.party
                && relation.facilitator == user.owner
                && relation.role.offers(code)
        })
}

/// What is wrong with a resource; the knobs ask too.
pub(crate) fn resource_problems(world: &World, resource: &Resource) -> Vec<String> {
    let id = &resource.id;
    let packages = resource.rules.iter().flat_map(|rule| &rule.packages);
    let lists = resource.access_lists.iter();
    packages
        .filter(|code| !world.packages.contains_key(*code))
        .map(|code| format!("resource `{id}`: unknown package `{code}`"))
        .chain(
            lists
                .filter(|list| !world.access_lists.contains_key(*list))
                .map(|list| format!("resource `{id}`: unknown access list `{list}`")),
        )
        .collect()
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

//! The simulated world: who exists and what they may do.
//!
//! [`seed`] reads it from YAML, this module holds it and answers the questions that Maskinporten, the PDP and
//! authorized parties ask. The knobs change it while the sandbox runs.

pub(crate) mod model;
pub(crate) mod rights;
pub(crate) mod seed;

use model::{
    AccessList, Client, OrgNumber, Organization, Package, Relation, Resource, Scope,
    ScopeDelegation, ServiceOwner, System, SystemUser,
};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Everything the sandbox knows. Consistent by construction: see [`seed`].
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) subscription_keys: BTreeSet<String>,
    pub(crate) service_owner: ServiceOwner,
    pub(crate) organizations: BTreeMap<OrgNumber, Organization>,
    pub(crate) relations: Vec<Relation>,
    pub(crate) scopes: BTreeMap<String, Scope>,
    pub(crate) scope_delegations: Vec<ScopeDelegation>,
    pub(crate) clients: BTreeMap<String, Client>,
    pub(crate) systems: BTreeMap<String, System>,
    pub(crate) system_users: BTreeMap<Uuid, SystemUser>,
    pub(crate) packages: BTreeMap<String, Package>,
    pub(crate) resources: BTreeMap<String, Resource>,
    pub(crate) access_lists: BTreeMap<String, AccessList>,
    pub(crate) changes: Changes,
}

impl World {
    /// The organisation with this party uuid.
    pub(crate) fn organization_by_uuid(&self, uuid: Uuid) -> Option<&Organization> {
        self.organizations.values().find(|organization| organization.uuid() == Some(uuid))
    }

    /// The organisation with this party id.
    pub(crate) fn organization_by_party_id(&self, party_id: u64) -> Option<&Organization> {
        self.organizations.values().find(|organization| organization.party_id == party_id)
    }

    /// Altinn's `byExternalId`: the system user Maskinporten would put into a token.
    ///
    /// Without a reference the owner's organisation number is looked for. `alive` leaves out deleted system users
    /// and systems, as Altinn does.
    pub(crate) fn find_system_user(
        &self,
        client: &Client,
        owner: &str,
        external_ref: Option<&str>,
        alive: bool,
    ) -> Option<&SystemUser> {
        let reference = external_ref.filter(|text| !text.is_empty()).unwrap_or(owner);
        self.system_users.values().find(|user| {
            user.owner.as_str() == owner
                && user.reference() == reference
                && !(alive && user.deleted)
                && self.systems.get(&user.system).is_some_and(|system| {
                    !(alive && system.deleted)
                        && system.client_ids.contains(&client.id)
                        && system.vendor == client.organization
                })
        })
    }

    /// Changes or adds a resource and moves it to the end of the change feed.
    pub(crate) fn put_resource(&mut self, mut resource: Resource, now: i64) {
        resource.version = self.resources.get(&resource.id).map_or(1, |old| old.version + 1);
        self.changes.record(&resource.id, now);
        self.resources.insert(resource.id.clone(), resource);
    }

    /// Deletes a resource. The change feed does not tell.
    pub(crate) fn delete_resource(&mut self, id: &str) -> bool {
        self.resources.remove(id).is_some()
    }

    /// Deletes a system user as Altinn does: its rights go first, then it is marked.
    pub(crate) fn delete_system_user(&mut self, id: Uuid) -> bool {
        let Some(user) = self.system_users.get_mut(&id) else { return false };
        user.delegations.clear();
        user.deleted = true;
        true
    }
}

/// The registry's feed: each resource once, at its latest position.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    entries: BTreeMap<u64, Change>,
}

/// One row of the feed.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) resource: String,
    pub(crate) changed_at: i64,
}

impl Changes {
    pub(crate) fn record(&mut self, resource: &str, now: i64) {
        let position = self.entries.keys().next_back().map_or(1, |last| last + 1);
        self.entries.retain(|_, change| change.resource != resource);
        self.entries.insert(position, Change { resource: resource.to_owned(), changed_at: now });
    }

    /// What comes after a position, with positions.
    pub(crate) fn after(&self, position: u64) -> impl Iterator<Item = (u64, &Change)> {
        self.entries
            .range(position.saturating_add(1)..)
            .map(|(position, change)| (*position, change))
    }
}

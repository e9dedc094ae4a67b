//! The simulated world: who exists and what they may do.
//!
//! [`seed`] reads and writes it as YAML, this module holds it and answers the questions that Maskinporten, the PDP
//! and authorized parties ask. The knobs change it while the sandbox runs.

pub(crate) mod authority;
pub(crate) mod model;
pub(crate) mod number;
pub(crate) mod party;
pub(crate) mod requests;
pub(crate) mod resource;
pub(crate) mod rights;
pub(crate) mod seed;

use model::{Client, Scope, ScopeDelegation, System, SystemUser};
use number::{OrgNumber, PartyNumber, PersonNumber};
use party::{Organization, Party, Person, Relations, ServiceOwner};
use requests::{ChangeRequest, UserRequest};
use resource::{AccessList, Package, Resource};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use uuid::Uuid;

/// Everything the sandbox knows. Consistent by construction: see [`seed`].
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) subscription_keys: BTreeSet<String>,
    pub(crate) service_owner: ServiceOwner,
    pub(crate) other_service_owners: Vec<ServiceOwner>,
    pub(crate) organizations: BTreeMap<OrgNumber, Organization>,
    pub(crate) persons: BTreeMap<PersonNumber, Person>,
    pub(crate) relations: Relations,
    pub(crate) scopes: BTreeMap<String, Scope>,
    pub(crate) scope_delegations: Vec<ScopeDelegation>,
    pub(crate) clients: BTreeMap<String, Client>,
    pub(crate) systems: BTreeMap<String, System>,
    pub(crate) system_users: BTreeMap<Uuid, SystemUser>,
    pub(crate) packages: BTreeMap<String, Package>,
    pub(crate) resources: BTreeMap<String, Arc<Resource>>,
    /// Ids of resources that were deleted; systems, requests and system users may still name them.
    pub(crate) deleted_resources: BTreeSet<String>,
    pub(crate) access_lists: BTreeMap<String, AccessList>,
    pub(crate) changes: Changes,
    pub(crate) requests: BTreeMap<Uuid, UserRequest>,
    pub(crate) change_requests: BTreeMap<Uuid, ChangeRequest>,
    index: Index,
}

/// What would otherwise be looked for from one end to the other.
#[derive(Clone, Debug, Default)]
struct Index {
    by_uuid: HashMap<Uuid, PartyNumber>,
    by_party_id: HashMap<u64, PartyNumber>,
    units: HashMap<OrgNumber, Vec<OrgNumber>>,
    enterprises: HashMap<PersonNumber, Vec<OrgNumber>>,
    users: HashMap<OrgNumber, Vec<Uuid>>,
    last_sequence: u64,
}

impl Index {
    /// The next position in lists of system users.
    fn next_sequence(&mut self) -> u64 {
        self.last_sequence = self.last_sequence.saturating_add(1);
        self.last_sequence
    }
}

impl World {
    /// The party with this number.
    pub(crate) fn party(&self, number: PartyNumber) -> Option<Party<'_>> {
        match number {
            PartyNumber::Organization(number) => {
                self.organizations.get(&number).map(Party::Organization)
            }
            PartyNumber::Person(number) => self.persons.get(&number).map(Party::Person),
        }
    }

    /// The party with this uuid.
    pub(crate) fn party_by_uuid(&self, uuid: Uuid) -> Option<Party<'_>> {
        self.index.by_uuid.get(&uuid).and_then(|number| self.party(*number))
    }

    /// The party with this party id.
    pub(crate) fn party_by_id(&self, party_id: u64) -> Option<Party<'_>> {
        self.index.by_party_id.get(&party_id).and_then(|number| self.party(*number))
    }

    /// The sub-units of a main unit, by number.
    pub(crate) fn units(&self, main: OrgNumber) -> &[OrgNumber] {
        self.index.units.get(&main).map(Vec::as_slice).unwrap_or_default()
    }

    /// The sole proprietorships of a person.
    pub(crate) fn enterprises(&self, person: PersonNumber) -> &[OrgNumber] {
        self.index.enterprises.get(&person).map(Vec::as_slice).unwrap_or_default()
    }

    /// The system users of an owner, the deleted ones too.
    pub(crate) fn users_of(&self, owner: OrgNumber) -> impl Iterator<Item = &SystemUser> {
        let ids = self.index.users.get(&owner).map(Vec::as_slice).unwrap_or_default();
        ids.iter().filter_map(|id| self.system_users.get(id))
    }

    /// The code of the service owner that owns a resource.
    pub(crate) fn owner_code<'a>(&'a self, resource: &'a Resource) -> &'a str {
        resource.owner.as_deref().unwrap_or(&self.service_owner.code)
    }

    /// The service owner with this code.
    pub(crate) fn service_owner_with(&self, code: &str) -> Option<&ServiceOwner> {
        std::iter::once(&self.service_owner)
            .chain(&self.other_service_owners)
            .find(|owner| owner.code == code)
    }

    /// The package that a rule names in any letter case.
    pub(crate) fn package_named(&self, code: &str) -> Option<&Package> {
        self.packages.get(code).or_else(|| self.packages.get(&code.to_lowercase()))
    }

    /// The package with this URN.
    pub(crate) fn package_by_urn(&self, urn: &str) -> Option<&Package> {
        let suffix = urn.strip_prefix("urn:altinn:accesspackage:")?;
        let found = self.packages.get(suffix).filter(|package| package.urn_suffix() == suffix);
        found.or_else(|| self.packages.values().find(|package| package.urn_suffix() == suffix))
    }

    /// Altinn's `byExternalId`: the system user Maskinporten would put into a token.
    ///
    /// Without a reference the owner's organisation number is looked for. `alive` leaves out deleted system users
    /// and systems, as Altinn does.
    pub(crate) fn find_system_user(
        &self,
        client_id: &str,
        vendor: OrgNumber,
        owner: OrgNumber,
        external_ref: Option<&str>,
        alive: bool,
    ) -> Option<&SystemUser> {
        let reference = external_ref.filter(|text| !text.is_empty()).unwrap_or(owner.as_str());
        self.users_of(owner).find(|user| {
            user.reference() == reference
                && !(alive && user.deleted)
                && self.systems.get(&user.system).is_some_and(|system| {
                    !(alive && system.deleted)
                        && system.client_ids.contains(client_id)
                        && system.vendor == vendor
                })
        })
    }

    /// Adds a system user, or puts it back changed, and gives it the next position in lists.
    pub(crate) fn put_system_user(&mut self, mut user: SystemUser) {
        user.sequence = self.index.next_sequence();
        let ids = self.index.users.entry(user.owner).or_default();
        // In the order in which a saved world is read, so that lists are the same then.
        if let Err(place) = ids.binary_search(&user.id) {
            ids.insert(place, user.id);
        }
        self.system_users.insert(user.id, user);
    }

    /// Gives a system user the next position in lists.
    pub(crate) fn touch_system_user(&mut self, id: Uuid) {
        if let Some(user) = self.system_users.get_mut(&id) {
            user.sequence = self.index.next_sequence();
        }
    }

    /// Changes or adds a resource and moves it to the end of the change feed.
    pub(crate) fn put_resource(&mut self, mut resource: Resource, now: i64) {
        resource.version =
            self.resources.get(&resource.id).map_or(1, |old| old.version.saturating_add(1));
        self.changes.record(&resource.id, now);
        self.deleted_resources.remove(&resource.id);
        self.resources.insert(resource.id.clone(), Arc::new(resource));
    }

    /// Deletes a resource. The change feed does not tell.
    pub(crate) fn delete_resource(&mut self, id: &str) -> bool {
        let known = self.resources.remove(id).is_some();
        if known {
            self.deleted_resources.insert(id.to_owned());
        }
        known
    }

    /// Deletes a system user at once with everything it holds.
    pub(crate) fn delete_system_user(&mut self, id: Uuid) -> bool {
        let Some(user) = self.system_users.get_mut(&id) else { return false };
        user.delegations.clear();
        self.mark_deleted(id);
        true
    }

    /// Deletes a standard system user in Altinn's order: the single rights that its system needs today, then, if
    /// it holds packages, everything else, then the mark, then the request it came from. A single right that the
    /// system no longer names survives where there are no packages.
    pub(crate) fn delete_in_order(&mut self, id: Uuid) -> bool {
        let Some(user) = self.system_users.get_mut(&id) else { return false };
        let needed = self.systems.get(&user.system).map(|system| system.rights.as_slice());
        let needed = needed.unwrap_or_default();
        for delegation in user.delegations.iter_mut() {
            delegation
                .single_rights
                .retain(|key, _| !needed.iter().any(|right| right.resource == rights::whole(key)));
        }
        if user.delegations.iter().any(|delegation| !delegation.packages.is_empty()) {
            user.delegations.clear();
        }
        user.delegations.tidy();
        self.mark_deleted(id);
        true
    }

    fn mark_deleted(&mut self, id: Uuid) {
        if let Some(user) = self.system_users.get_mut(&id) {
            user.deleted = true;
        }
        self.touch_system_user(id);
        if let Some(request) = self.requests.get_mut(&id) {
            request.deleted = true;
        }
    }

    /// The system user of a system, owner and reference that is not deleted.
    pub(crate) fn active_user(
        &self,
        system: &str,
        owner: OrgNumber,
        reference: &str,
    ) -> Option<&SystemUser> {
        self.users_of(owner)
            .find(|user| !user.deleted && user.system == system && user.reference() == reference)
    }

    /// Makes what is derived from the lists anew.
    fn reindex(&mut self) {
        let mut index = Index::default();
        for organization in self.organizations.values() {
            index.by_uuid.insert(organization.uuid(), organization.number.into());
            index.by_party_id.insert(organization.party_id, organization.number.into());
            if let Some(parent) = organization.parent {
                index.units.entry(parent).or_default().push(organization.number);
            }
            if let Some(person) = organization.proprietor {
                index.enterprises.entry(person).or_default().push(organization.number);
            }
        }
        for person in self.persons.values() {
            index.by_uuid.insert(person.uuid(), person.number.into());
            index.by_party_id.insert(person.party_id, person.number.into());
        }
        let last = self.system_users.values().map(|user| user.sequence).max();
        index.last_sequence = last.unwrap_or(0);
        for user in self.system_users.values_mut() {
            index.users.entry(user.owner).or_default().push(user.id);
            if user.sequence == 0 {
                user.sequence = index.next_sequence();
            }
        }
        self.index = index;
    }
}

/// The registry's feed: each resource once, at its latest position.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    entries: BTreeMap<u64, Change>,
    positions: HashMap<String, u64>,
}

/// One row of the feed.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) resource: String,
    pub(crate) changed_at: i64,
}

impl Changes {
    pub(crate) fn record(&mut self, resource: &str, now: i64) {
        let position = self.entries.keys().next_back().map_or(1, |last| last.saturating_add(1));
        self.place(position, resource, now);
    }

    /// Puts a resource at a position that was handed out before.
    pub(crate) fn place(&mut self, position: u64, resource: &str, changed_at: i64) {
        if let Some(old) = self.positions.insert(resource.to_owned(), position) {
            self.entries.remove(&old);
        }
        self.entries.insert(position, Change { resource: resource.to_owned(), changed_at });
    }

    /// Whether a resource has a position.
    pub(crate) fn has(&self, resource: &str) -> bool {
        self.positions.contains_key(resource)
    }

    /// What comes after a position, with positions.
    pub(crate) fn after(&self, position: u64) -> impl Iterator<Item = (u64, &Change)> {
        self.entries
            .range(position.saturating_add(1)..)
            .map(|(position, change)| (*position, change))
    }
}

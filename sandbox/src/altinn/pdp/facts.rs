//! What the decision point looks up: in its caches where they are on, else in the world.

use super::caches::{DelegatedActions, Memberships, Memory, PartyFacts, PartyKey};
use crate::world::World;
use crate::world::number::PartyNumber;
use crate::world::party::Party;
use crate::world::resource::Resource;
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// The information point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    world: &'a World,
    memory: Memory<'a>,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(world: &'a World, memory: Memory<'a>) -> Self {
        Self { world, memory }
    }

    /// The catalogue of packages is not cached.
    pub(crate) fn world(&self) -> &'a World {
        self.world
    }

    /// A resource that has a policy.
    pub(crate) fn policy(&self, id: &str) -> Option<Arc<Resource>> {
        let read = || self.world.resources.get(id).filter(|it| !it.rules.is_empty()).cloned();
        self.memory.policy(id, read)
    }

    /// A resource, for its access-list mode.
    pub(crate) fn resource(&self, id: &str) -> Option<Arc<Resource>> {
        self.memory.resource(id, || self.world.resources.get(id).cloned())
    }

    /// A party, however it is named.
    pub(crate) fn party(&self, key: PartyKey) -> Option<PartyFacts> {
        let world = self.world;
        self.memory.party(key, || {
            let found = match key {
                PartyKey::Id(id) => world.party_by_id(id),
                PartyKey::Number(number) => world.party(number),
                PartyKey::Uuid(uuid) => world.party_by_uuid(uuid),
            };
            found.map(Party::number).map(|number| PartyFacts { number })
        })
    }

    /// Codes of the packages that a system user holds for a party.
    pub(crate) fn packages(&self, from: PartyNumber, to: Uuid) -> Arc<BTreeSet<String>> {
        self.memory.packages((from, to), || {
            let codes = self.world.packages_of(to, from);
            Arc::new(codes.into_iter().map(str::to_owned).collect())
        })
    }

    /// The actions of a resource that were delegated singly.
    pub(crate) fn delegations(
        &self,
        to: Uuid,
        from: PartyNumber,
        resource: &str,
    ) -> Arc<DelegatedActions> {
        self.memory.delegations((to, from, resource.to_owned()), || {
            let rights = self.world.single_rights_of(to, from);
            let of_resource = rights.into_iter().filter_map(|(key, actions)| {
                let (id, part) = key.split_once('/').unwrap_or((key, ""));
                let actions = actions.into_iter().map(str::to_owned).collect();
                (id == resource).then(|| (part.to_owned(), actions))
            });
            Arc::new(of_resource.collect())
        })
    }

    /// The action filters of the resource's access lists that the party is on.
    pub(crate) fn memberships(&self, party: PartyNumber, resource: &Resource) -> Arc<Memberships> {
        let key = (party, resource.id.clone());
        self.memory.memberships(key, || Arc::new(self.world.memberships(resource, party)))
    }
}

//! What a system user may do for a party: the facts that the PDP's information point would give it.
//!
//! Delegations count for the party that gave them and for its sub-units; nothing flows up or sideways. A client
//! delegation counts only while the client has the agent's owner as its facilitator in a role that offers the
//! package. What accountants and auditors hold for a sole proprietorship they hold for the person behind it, too.

use super::World;
use super::model::{Delegation, SystemUser, SystemUserKind};
use super::number::PartyNumber;
use super::party::{FacilitatorRole, Party};
use super::resource::Resource;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A right to give or take, as the knobs name it.
#[derive(Clone, Debug)]
pub(crate) enum Right {
    Package(String),
    /// Every action of a resource, or one.
    Single {
        resource: String,
        action: Option<String>,
    },
    /// Everything the party has given.
    Everything,
}

/// A knob named something that does not exist.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum UnknownThing {
    #[error("unknown system user")]
    SystemUser,
    #[error("unknown party")]
    Party,
    #[error("unknown package")]
    Package,
    #[error("unknown resource")]
    Resource,
    #[error("name a package, or a resource with an action")]
    Nothing,
}

/// Which of a facilitator's roles let a client's delegation count.
type Counts = fn(FacilitatorRole) -> bool;

impl World {
    /// The delegations that a party gets something from, and the roles through which they count.
    fn sources<'a>(
        &'a self,
        user: &'a SystemUser,
        party: PartyNumber,
    ) -> impl Iterator<Item = (&'a Delegation, Counts)> {
        let of = |number: PartyNumber| user.delegations.of(number);
        let every: Counts = |_| true;
        let through: Counts = FacilitatorRole::reaches_proprietor;
        let (parent, enterprises) = match self.party(party) {
            Some(Party::Organization(organization)) => (organization.parent, &[][..]),
            Some(Party::Person(person)) if !person.deceased => {
                (None, self.enterprises(person.number))
            }
            Some(Party::Person(_)) | None => (None, &[][..]),
        };
        let alive = |number: &&_| {
            self.organizations.get(*number).is_some_and(|enterprise| !enterprise.deleted)
        };
        let carried = enterprises
            .iter()
            .filter(alive)
            .filter_map(move |number| of((*number).into()))
            .filter(|_| user.kind == SystemUserKind::Agent);
        let inherited = parent.and_then(|number| of(number.into()));
        of(party)
            .into_iter()
            .chain(inherited)
            .map(move |delegation| (delegation, every))
            .chain(carried.map(move |delegation| (delegation, through)))
    }

    /// Whether a package that was delegated counts today.
    fn stands(&self, user: &SystemUser, giver: PartyNumber, package: &str, counts: Counts) -> bool {
        match user.kind {
            SystemUserKind::Standard => true,
            SystemUserKind::Agent => {
                giver == user.owner.into() || self.offers(user, giver, package, counts)
            }
        }
    }

    /// Whether a client offers a package to the owner of an agent.
    pub(crate) fn offers(
        &self,
        user: &SystemUser,
        client: PartyNumber,
        package: &str,
        counts: Counts,
    ) -> bool {
        let unit_type = client
            .organization()
            .and_then(|number| self.organizations.get(&number))
            .map(|organization| organization.unit_type.as_str());
        self.relations.offer(client, user.owner, package, unit_type, counts)
    }

    /// Package codes that a system user holds for a party.
    pub(crate) fn packages_of(&self, user: Uuid, party: PartyNumber) -> BTreeSet<&str> {
        let Some(user) = self.system_users.get(&user) else { return BTreeSet::new() };
        self.sources(user, party)
            .flat_map(|(delegation, counts)| {
                delegation
                    .packages
                    .iter()
                    .map(String::as_str)
                    .filter(move |code| self.stands(user, delegation.party, code, counts))
            })
            .collect()
    }

    /// Single rights that a system user holds for a party: resource, or `resource/subresource`, to actions.
    pub(crate) fn single_rights_of(
        &self,
        user: Uuid,
        party: PartyNumber,
    ) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut rights: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let Some(user) = self.system_users.get(&user) else { return rights };
        let own = |delegation: &Delegation| {
            user.kind == SystemUserKind::Standard || delegation.party == user.owner.into()
        };
        for (resource, actions) in self
            .sources(user, party)
            .filter(|(delegation, _)| own(delegation))
            .flat_map(|(delegation, _)| &delegation.single_rights)
        {
            rights.entry(resource).or_default().extend(actions.iter().map(String::as_str));
        }
        rights
    }

    /// The parties for which a system user may hold anything.
    pub(crate) fn reachable(&self, user: &SystemUser) -> BTreeSet<PartyNumber> {
        let mut parties = BTreeSet::new();
        for delegation in user.delegations.iter() {
            parties.insert(delegation.party);
            let Some(number) = delegation.party.organization() else { continue };
            parties.extend(self.units(number).iter().map(|unit| PartyNumber::from(*unit)));
            let person = self.organizations.get(&number).and_then(|item| item.proprietor);
            parties.extend(person.map(PartyNumber::from));
        }
        parties
    }

    /// The action filters of the resource's access lists that the party is on; `None` covers every action.
    pub(crate) fn memberships(
        &self,
        resource: &Resource,
        party: PartyNumber,
    ) -> Vec<Option<BTreeSet<String>>> {
        let Some(number) = party.organization() else { return Vec::new() };
        resource
            .access_lists
            .iter()
            .filter_map(|id| self.access_lists.get(id))
            .filter(|list| list.members.contains(&number))
            .map(|list| list.filter().cloned())
            .collect()
    }

    /// Gives a right.
    pub(crate) fn grant(
        &mut self,
        user: Uuid,
        party: PartyNumber,
        right: &Right,
    ) -> Result<(), UnknownThing> {
        self.check_right(party, right)?;
        let user = self.system_users.get_mut(&user).ok_or(UnknownThing::SystemUser)?;
        let delegation = user.delegations.of_mut(party);
        match right {
            Right::Package(code) => {
                delegation.packages.insert(code.clone());
            }
            Right::Single { resource, action: Some(action) } => {
                let actions = delegation.single_rights.entry(resource.clone()).or_default();
                actions.insert(action.clone());
            }
            Right::Single { action: None, .. } | Right::Everything => {
                user.delegations.tidy();
                return Err(UnknownThing::Nothing);
            }
        }
        Ok(())
    }

    /// Takes a right away; taking what is not there is no error.
    pub(crate) fn revoke(
        &mut self,
        user: Uuid,
        party: PartyNumber,
        right: &Right,
    ) -> Result<(), UnknownThing> {
        self.check_right(party, right)?;
        let user = self.system_users.get_mut(&user).ok_or(UnknownThing::SystemUser)?;
        match right {
            Right::Package(code) => {
                user.delegations.of_mut(party).packages.remove(code);
            }
            Right::Single { resource, action } => {
                take_action(user.delegations.of_mut(party), resource, action.as_deref());
            }
            Right::Everything => {
                user.delegations.remove(party);
            }
        }
        user.delegations.tidy();
        Ok(())
    }

    fn check_right(&self, party: PartyNumber, right: &Right) -> Result<(), UnknownThing> {
        if self.party(party).is_none() {
            return Err(UnknownThing::Party);
        }
        match right {
            Right::Package(code) if !self.packages.contains_key(code) => Err(UnknownThing::Package),
            Right::Single { resource, .. } if !self.resources.contains_key(whole(resource)) => {
                Err(UnknownThing::Resource)
            }
            Right::Package(_) | Right::Single { .. } | Right::Everything => Ok(()),
        }
    }
}

/// The resource of a right, which may be to a part of it: `resource/subresource`.
pub(crate) fn whole(resource: &str) -> &str {
    resource.split_once('/').map_or(resource, |(resource, _)| resource)
}

fn take_action(delegation: &mut Delegation, resource: &str, action: Option<&str>) {
    let Some(actions) = delegation.single_rights.get_mut(resource) else { return };
    match action {
        Some(action) => {
            actions.remove(action);
        }
        None => actions.clear(),
    }
    if actions.is_empty() {
        delegation.single_rights.remove(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::seed;

    fn world() -> World {
        seed::parse(seed::BUILT_IN, 0).unwrap()
    }

    fn org(number: &str) -> PartyNumber {
        PartyNumber::parse(number).unwrap()
    }

    fn user(number: u8) -> Uuid {
        format!("5e000000-0000-4000-8000-0000000000{number:02}").parse().unwrap()
    }

    #[test]
    fn rights_flow_down_to_sub_units_and_never_up() {
        let world = world();
        assert!(world.packages_of(user(1), org("310000515")).contains("skattegrunnlag"));
        assert!(world.packages_of(user(11), org("310000515")).contains("lonn"));
        assert!(world.packages_of(user(11), org("310000507")).is_empty());
        assert!(world.packages_of(user(11), org("310000523")).is_empty());
    }

    #[test]
    fn a_client_delegation_ends_with_the_relation() {
        let mut world = world();
        assert!(!world.packages_of(user(4), org("310000701")).is_empty());
        assert!(world.packages_of(user(4), org("310000744")).is_empty());
        let accountant = org("310000302").organization().unwrap();
        assert!(world.relations.remove(org("310000701"), accountant, None));
        assert!(world.packages_of(user(4), org("310000701")).is_empty());
    }

    #[test]
    fn one_action_can_be_given_and_taken() {
        let mut world = world();
        let right = |action: &str| Right::Single {
            resource: "ske-krav-og-betalinger".into(),
            action: Some(action.into()),
        };
        let party = org("310000604");
        world.grant(user(2), party, &right("write")).unwrap();
        world.revoke(user(2), party, &right("read")).unwrap();
        let rights = world.single_rights_of(user(2), party);
        assert_eq!(rights["ske-krav-og-betalinger"], BTreeSet::from(["write"]));
        world.revoke(user(2), party, &Right::Everything).unwrap();
        assert!(world.single_rights_of(user(2), party).is_empty());
        assert!(world.grant(user(2), party, &Right::Package("nei".into())).is_err());
    }
}

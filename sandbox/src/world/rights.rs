//! What a system user may do for a party: the facts that the PDP's information point would give it.
//!
//! Delegations count for the party that gave them and for its sub-units; nothing flows up or sideways. A client
//! delegation counts only while the client has the agent's owner as its facilitator.

use super::World;
use super::model::{Delegation, OrgNumber, Resource, SystemUser, SystemUserKind};
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

impl World {
    /// The delegations that count for a party.
    fn effective<'a>(
        &'a self,
        user: &'a SystemUser,
        party: &OrgNumber,
    ) -> impl Iterator<Item = &'a Delegation> {
        let parent = self.organizations.get(party).and_then(|item| item.parent.as_ref());
        user.delegations
            .iter()
            .filter(move |item| item.party == *party || Some(&item.party) == parent)
            .filter(|item| self.stands(user, item))
    }

    fn stands(&self, user: &SystemUser, delegation: &Delegation) -> bool {
        match user.kind {
            SystemUserKind::Standard => true,
            SystemUserKind::Agent => {
                delegation.party == user.owner
                    || self.relations.iter().any(|relation| {
                        relation.client == delegation.party && relation.facilitator == user.owner
                    })
            }
        }
    }

    /// Package codes that a system user holds for a party.
    pub(crate) fn packages_of(&self, user: Uuid, party: &OrgNumber) -> BTreeSet<&str> {
        let Some(user) = self.system_users.get(&user) else { return BTreeSet::new() };
        self.effective(user, party)
            .flat_map(|delegation| delegation.packages.iter().map(String::as_str))
            .collect()
    }

    /// Single rights that a system user holds for a party: resource to actions.
    pub(crate) fn single_rights_of(
        &self,
        user: Uuid,
        party: &OrgNumber,
    ) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut rights: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let Some(user) = self.system_users.get(&user) else { return rights };
        for (resource, actions) in
            self.effective(user, party).flat_map(|delegation| &delegation.single_rights)
        {
            rights.entry(resource).or_default().extend(actions.iter().map(String::as_str));
        }
        rights
    }

    /// Whether an access list of the resource covers the party and the action.
    pub(crate) fn on_access_list(
        &self,
        resource: &Resource,
        party: &OrgNumber,
        action: &str,
    ) -> bool {
        resource.access_lists.iter().filter_map(|id| self.access_lists.get(id)).any(|list| {
            list.members.contains(party)
                && list.actions.as_ref().is_none_or(|actions| actions.contains(action))
        })
    }

    /// Gives a right.
    pub(crate) fn grant(
        &mut self,
        user: Uuid,
        party: &OrgNumber,
        right: &Right,
    ) -> Result<(), UnknownThing> {
        self.check_right(party, right)?;
        let user = self.system_users.get_mut(&user).ok_or(UnknownThing::SystemUser)?;
        if !user.delegations.iter().any(|item| item.party == *party) {
            user.delegations.push(Delegation {
                party: party.clone(),
                packages: BTreeSet::new(),
                single_rights: BTreeMap::new(),
            });
        }
        for delegation in user.delegations.iter_mut().filter(|item| item.party == *party) {
            match right {
                Right::Package(code) => {
                    delegation.packages.insert(code.clone());
                }
                Right::Single { resource, action: Some(action) } => {
                    let actions = delegation.single_rights.entry(resource.clone()).or_default();
                    actions.insert(action.clone());
                }
                Right::Single { action: None, .. } | Right::Everything => {
                    return Err(UnknownThing::Nothing);
                }
            }
        }
        Ok(())
    }

    /// Takes a right away; taking what is not there is no error.
    pub(crate) fn revoke(
        &mut self,
        user: Uuid,
        party: &OrgNumber,
        right: &Right,
    ) -> Result<(), UnknownThing> {
        self.check_right(party, right)?;
        let user = self.system_users.get_mut(&user).ok_or(UnknownThing::SystemUser)?;
        for delegation in user.delegations.iter_mut().filter(|item| item.party == *party) {
            match right {
                Right::Package(code) => {
                    delegation.packages.remove(code);
                }
                Right::Single { resource, action } => {
                    take_action(delegation, resource, action.as_deref());
                }
                Right::Everything => {
                    delegation.packages.clear();
                    delegation.single_rights.clear();
                }
            }
        }
        user.delegations
            .retain(|item| !(item.packages.is_empty() && item.single_rights.is_empty()));
        Ok(())
    }

    fn check_right(&self, party: &OrgNumber, right: &Right) -> Result<(), UnknownThing> {
        if !self.organizations.contains_key(party) {
            return Err(UnknownThing::Party);
        }
        match right {
            Right::Package(code) if !self.packages.contains_key(code) => Err(UnknownThing::Package),
            Right::Single { resource, .. } if !self.resources.contains_key(resource) => {
                Err(UnknownThing::Resource)
            }
            Right::Package(_) | Right::Single { .. } | Right::Everything => Ok(()),
        }
    }
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

    fn org(number: &str) -> OrgNumber {
        OrgNumber::try_from(number.to_owned()).unwrap()
    }

    fn user(number: u8) -> Uuid {
        format!("5e000000-0000-4000-8000-0000000000{number:02}").parse().unwrap()
    }

    #[test]
    fn rights_flow_down_to_sub_units_and_never_up() {
        let world = world();
        assert!(world.packages_of(user(1), &org("310000515")).contains("skattegrunnlag"));
        assert!(world.packages_of(user(11), &org("310000515")).contains("lonn"));
        assert!(world.packages_of(user(11), &org("310000507")).is_empty());
        assert!(world.packages_of(user(11), &org("310000523")).is_empty());
    }

    #[test]
    fn a_client_delegation_ends_with_the_relation() {
        let mut world = world();
        assert!(!world.packages_of(user(4), &org("310000701")).is_empty());
        assert!(world.packages_of(user(4), &org("310000744")).is_empty());
        world.relations.retain(|relation| relation.client != org("310000701"));
        assert!(world.packages_of(user(4), &org("310000701")).is_empty());
    }

    #[test]
    fn one_action_can_be_given_and_taken() {
        let mut world = world();
        let right = |action: &str| Right::Single {
            resource: "ske-krav-og-betalinger".into(),
            action: Some(action.into()),
        };
        let party = org("310000604");
        world.grant(user(2), &party, &right("write")).unwrap();
        world.revoke(user(2), &party, &right("read")).unwrap();
        let rights = world.single_rights_of(user(2), &party);
        assert_eq!(rights["ske-krav-og-betalinger"], BTreeSet::from(["write"]));
        world.revoke(user(2), &party, &Right::Everything).unwrap();
        assert!(world.single_rights_of(user(2), &party).is_empty());
        assert!(world.grant(user(2), &party, &Right::Package("nei".into())).is_err());
    }
}

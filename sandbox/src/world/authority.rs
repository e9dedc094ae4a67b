//! What a person may do for an organisation in the portal, and what he or she may give to a system user.

use super::World;
use super::number::{OrgNumber, PersonNumber};
use super::party::{Holding, PersonRole};
use super::resource::{Effect, Resource, Rule};
use std::collections::BTreeSet;

/// A person in the portal, looked at for one organisation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Authority<'a> {
    world: &'a World,
    organization: OrgNumber,
    holding: Option<&'a Holding>,
    /// Level of the login.
    level: u8,
}

/// Why something cannot be given. Each has a problem code at Altinn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CannotGive {
    /// The resource is given through roles, and the person has none of them.
    Role,
    /// The resource is given through packages, and the person holds none of them.
    Package,
    /// Nobody gave the person the resource.
    Delegation,
    /// The login is below the level that the resource demands.
    Level,
    /// The organisation is on no access list of the resource.
    AccessList,
    /// The resource cannot be given singly.
    NotDelegable,
    /// The resource stands for a Maskinporten scope.
    MaskinportenSchema,
}

impl<'a> Authority<'a> {
    pub(crate) fn of(
        world: &'a World,
        person: PersonNumber,
        organization: OrgNumber,
        level: u8,
    ) -> Self {
        let holdings = world.persons.get(&person).map(|person| person.holds.as_slice());
        let holding = holdings
            .unwrap_or_default()
            .iter()
            .find(|holding| holding.organization == organization);
        Self { world, organization, holding, level }
    }

    fn has(self, roles: &[PersonRole]) -> bool {
        self.holding.is_some_and(|holding| roles.iter().any(|role| holding.roles.contains(role)))
    }

    /// Whether the person has anything to do with the organisation.
    pub(crate) fn is_known(self) -> bool {
        self.holding.is_some()
    }

    /// Whether the person may approve for the organisation.
    pub(crate) fn manages_access(self) -> bool {
        use PersonRole::{DagligLeder, Hovedadministrator, Tilgangsstyrer};
        self.has(&[DagligLeder, Hovedadministrator, Tilgangsstyrer])
    }

    /// Whether the person may add and remove clients of the organisation's agents.
    pub(crate) fn administers_clients(self) -> bool {
        use PersonRole::{DagligLeder, Hovedadministrator, Klientadministrator};
        self.has(&[DagligLeder, Hovedadministrator, Klientadministrator])
    }

    /// Whether the person may give a package.
    pub(crate) fn gives_package(self, code: &str) -> bool {
        let assignable = self.world.package_named(code).is_some_and(|package| package.assignable);
        assignable && self.holds_package(code)
    }

    fn holds_package(self, code: &str) -> bool {
        let every = self.has(&[PersonRole::DagligLeder, PersonRole::Hovedadministrator]);
        let assignable = self.world.package_named(code).is_some_and(|package| package.assignable);
        let held =
            |holding: &Holding| holding.packages.iter().any(|held| held.eq_ignore_ascii_case(code));
        (every && assignable) || self.holding.is_some_and(held)
    }

    /// The actions of a resource that the person may give; never none.
    ///
    /// # Errors
    /// [`CannotGive`] where not a single one may be given.
    pub(crate) fn gives_actions(self, resource: &Resource) -> Result<BTreeSet<String>, CannotGive> {
        if resource.kind == "MaskinportenSchema" {
            return Err(CannotGive::MaskinportenSchema);
        }
        if !resource.delegable {
            return Err(CannotGive::NotDelegable);
        }
        if !self.is_listed(resource) {
            return Err(CannotGive::AccessList);
        }
        let actions = self.held_actions(resource);
        if actions.is_empty() {
            return Err(Self::reason(resource));
        }
        if resource.minimum_level.is_some_and(|minimum| minimum > self.level) {
            return Err(CannotGive::Level);
        }
        Ok(actions)
    }

    fn is_listed(self, resource: &Resource) -> bool {
        resource.access_lists.is_empty()
            || !self.world.memberships(resource, self.organization.into()).is_empty()
    }

    fn held_actions(self, resource: &Resource) -> BTreeSet<String> {
        let through_rules = resource
            .rules
            .iter()
            .filter(|rule| rule.effect == Effect::Permit && self.is_meant(rule))
            .flat_map(|rule| &rule.actions);
        let singly = self.holding.and_then(|holding| holding.single_rights.get(&resource.id));
        through_rules.chain(singly.into_iter().flatten()).cloned().collect()
    }

    /// Whether a rule is for the person.
    fn is_meant(self, rule: &Rule) -> bool {
        let leads = self.has(&[PersonRole::DagligLeder]);
        let by_role = leads && rule.roles.iter().any(|role| role.eq_ignore_ascii_case("dagl"));
        by_role
            || rule.is_for_anybody()
            || rule.packages.iter().any(|code| self.holds_package(code))
            || rule
                .package_groups
                .iter()
                .any(|group| group.iter().all(|code| self.holds_package(code)))
    }

    fn reason(resource: &Resource) -> CannotGive {
        if resource.rules.iter().any(|rule| rule.named_packages().next().is_some()) {
            CannotGive::Package
        } else if resource.rules.iter().any(|rule| !rule.roles.is_empty()) {
            CannotGive::Role
        } else {
            CannotGive::Delegation
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::seed;

    /// What somebody holding `holds` may give of a resource.
    fn given(holds: &str, resource: &str) -> Result<Vec<String>, CannotGive> {
        let document = format!(
            "persons: [{{ number: \"01819049999\", name: X, party_id: 1, holds: [{holds}] }}]"
        );
        let world = seed::parse(seed::BUILT_IN, 0).unwrap();
        let world = seed::patch(&document, 0, &world).unwrap();
        let organization = OrgNumber::parse("310000604").unwrap();
        let person = PersonNumber::parse("01819049999").unwrap();
        let authority = Authority::of(&world, person, organization, 3);
        authority.gives_actions(&world.resources[resource]).map(|it| it.into_iter().collect())
    }

    #[test]
    fn one_gives_what_one_holds_and_is_told_why_not_the_rest() {
        let leader = r#"{ organization: "310000604", roles: [daglig_leder] }"#;
        let manager =
            r#"{ organization: "310000604", roles: [tilgangsstyrer], packages: [skattegrunnlag] }"#;
        let elsewhere = r#"{ organization: "310000507", roles: [daglig_leder] }"#;
        let claims = "ske-krav-og-betalinger";
        // A leader has the role and gives both actions; a manager with the package gives one.
        assert_eq!(given(leader, claims).unwrap(), ["read", "write"]);
        assert_eq!(given(manager, claims).unwrap(), ["read"]);
        assert_eq!(given(elsewhere, claims), Err(CannotGive::Package));
        assert_eq!(given(manager, "ske-forskuddsskatt"), Err(CannotGive::Role));
        assert_eq!(given(leader, "ske-saravgift"), Err(CannotGive::AccessList));
        assert_eq!(given(leader, "ske-skjermet-skattegrunnlag"), Err(CannotGive::Level));
    }
}

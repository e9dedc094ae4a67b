//! Parties (`aktører`): organisations with their units, persons, and who is whose accountant.

use super::number::{OrgNumber, PartyNumber, PersonNumber};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The owner of resources.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceOwner {
    /// Altinn's organisation code, e.g. `skd`.
    pub(crate) code: String,
    pub(crate) organization: OrgNumber,
}

/// An organisation, main unit or sub-unit.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Organization {
    pub(crate) number: OrgNumber,
    pub(crate) name: String,
    pub(crate) unit_type: String,
    pub(crate) party_id: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    party_uuid: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<OrgNumber>,
    /// The person behind a sole proprietorship (`innehaver` of an ENK).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) proprietor: Option<PersonNumber>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) deleted: bool,
}

impl Organization {
    /// The party uuid; made from the number where the seed gives none.
    pub(crate) fn uuid(&self) -> Uuid {
        self.party_uuid
            .unwrap_or_else(|| made_uuid("a0000000-0000-4000-8000-000", self.number.as_str()))
    }
}

/// A person: somebody's client, the owner of a sole proprietorship, or who acts in the portal.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Person {
    pub(crate) number: PersonNumber,
    pub(crate) name: String,
    pub(crate) party_id: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    party_uuid: Option<Uuid>,
    /// `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) date_of_birth: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) deceased: bool,
    /// What the person is and holds in organisations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) holds: Vec<Holding>,
}

impl Person {
    /// The party uuid; made from the number where the seed gives none.
    pub(crate) fn uuid(&self) -> Uuid {
        self.party_uuid
            .unwrap_or_else(|| made_uuid("b0000000-0000-4000-8000-0", self.number.as_str()))
    }
}

/// What a person is and holds in one organisation.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Holding {
    pub(crate) organization: OrgNumber,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) roles: BTreeSet<PersonRole>,
    /// Codes of access packages.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) packages: BTreeSet<String>,
    /// Resource id to actions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) single_rights: BTreeMap<String, BTreeSet<String>>,
}

/// What a person is in an organisation.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PersonRole {
    /// General manager: holds everything, and is access manager and client administrator.
    DagligLeder,
    /// Main administrator: as the general manager, but holds nothing through roles.
    Hovedadministrator,
    /// Access manager: may give what he or she holds.
    Tilgangsstyrer,
    /// Client administrator: adds clients to agent system users.
    Klientadministrator,
}

/// A party of either kind.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Party<'a> {
    Organization(&'a Organization),
    Person(&'a Person),
}

impl<'a> Party<'a> {
    pub(crate) fn name(self) -> &'a str {
        match self {
            Self::Organization(organization) => &organization.name,
            Self::Person(person) => &person.name,
        }
    }

    pub(crate) fn number(self) -> PartyNumber {
        match self {
            Self::Organization(organization) => organization.number.into(),
            Self::Person(person) => person.number.into(),
        }
    }

    pub(crate) fn uuid(self) -> Uuid {
        match self {
            Self::Organization(organization) => organization.uuid(),
            Self::Person(person) => person.uuid(),
        }
    }
}

/// `client` has `facilitator` in a role.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Relation {
    pub(crate) client: PartyNumber,
    pub(crate) facilitator: OrgNumber,
    pub(crate) role: FacilitatorRole,
    /// Ordinary rights holder: what the client has given; absent means everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) packages: Option<BTreeSet<String>>,
}

/// What the facilitator is to its client.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FacilitatorRole {
    /// Accountant (REGN).
    Regnskapsforer,
    /// Auditor (REVI).
    Revisor,
    /// Business manager (FFØR).
    Forretningsforer,
    /// Ordinary rights holder: gets what the client gives.
    Rettighetshaver,
}

impl FacilitatorRole {
    /// Whether the Central Coordinating Register gives the package to a facilitator in this role.
    fn carries(self, package: &str, unit_type: Option<&str>) -> bool {
        match self {
            Self::Regnskapsforer => package.starts_with("regnskapsforer-"),
            Self::Revisor => ["ansvarlig-revisor", "revisormedarbeider"].contains(&package),
            Self::Forretningsforer => {
                package == "forretningsforer-eiendom"
                    && unit_type.is_some_and(|kind| ["ESEK", "BRL"].contains(&kind))
            }
            Self::Rettighetshaver => true,
        }
    }

    /// Whether the role for a sole proprietorship carries over to the person behind it.
    pub(crate) fn reaches_proprietor(self) -> bool {
        match self {
            Self::Regnskapsforer | Self::Revisor => true,
            Self::Forretningsforer | Self::Rettighetshaver => false,
        }
    }
}

/// Roles of a facilitator for one client, with what the client has given.
type Roles = BTreeMap<FacilitatorRole, Option<BTreeSet<String>>>;

/// Every relation, by facilitator and client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Relations {
    by_facilitator: BTreeMap<(OrgNumber, PartyNumber), Roles>,
}

impl Relations {
    pub(crate) fn add(&mut self, relation: Relation) {
        let Relation { client, facilitator, role, packages } = relation;
        self.by_facilitator.entry((facilitator, client)).or_default().insert(role, packages);
    }

    /// Ends a relation; `None` ends it in every role. `false` if there was none.
    pub(crate) fn remove(
        &mut self,
        client: PartyNumber,
        facilitator: OrgNumber,
        role: Option<FacilitatorRole>,
    ) -> bool {
        let key = (facilitator, client);
        let Some(roles) = self.by_facilitator.get_mut(&key) else { return false };
        let before = roles.len();
        match role {
            Some(role) => {
                roles.remove(&role);
            }
            None => roles.clear(),
        }
        let ended = roles.len() < before;
        if roles.is_empty() {
            self.by_facilitator.remove(&key);
        }
        ended
    }

    /// The roles that a facilitator has for a client, with what the client has given.
    pub(crate) fn roles(
        &self,
        client: PartyNumber,
        facilitator: OrgNumber,
    ) -> impl Iterator<Item = (FacilitatorRole, Option<&BTreeSet<String>>)> {
        self.by_facilitator
            .get(&(facilitator, client))
            .into_iter()
            .flatten()
            .map(|(role, packages)| (*role, packages.as_ref()))
    }

    /// Whether a role of the facilitator offers the package of a client of this unit type.
    pub(crate) fn offer(
        &self,
        client: PartyNumber,
        facilitator: OrgNumber,
        package: &str,
        unit_type: Option<&str>,
        counts: impl Fn(FacilitatorRole) -> bool,
    ) -> bool {
        self.roles(client, facilitator).any(|(role, given)| {
            counts(role)
                && role.carries(package, unit_type)
                && given.is_none_or(|given| given.contains(package))
        })
    }

    /// The clients of a facilitator.
    pub(crate) fn clients(&self, facilitator: OrgNumber) -> impl Iterator<Item = PartyNumber> {
        self.by_facilitator
            .range((facilitator, PartyNumber::FIRST)..)
            .take_while(move |((of, _), _)| *of == facilitator)
            .map(|((_, client), _)| *client)
    }

    /// Every relation, as written.
    pub(crate) fn all(&self) -> impl Iterator<Item = Relation> {
        self.by_facilitator.iter().flat_map(|((facilitator, client), roles)| {
            roles.iter().map(|(role, packages)| Relation {
                client: *client,
                facilitator: *facilitator,
                role: *role,
                packages: packages.clone(),
            })
        })
    }
}

fn made_uuid(prefix: &str, number: &str) -> Uuid {
    Uuid::try_parse(&format!("{prefix}{number}")).unwrap_or_default()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(crate) fn is_false(value: &bool) -> bool {
    !value
}

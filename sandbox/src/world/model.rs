//! The things of the world, in the shape in which the seed file writes them.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use uuid::Uuid;

/// `organisasjonsnummer`: nine digits with a modulus-11 check digit.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String")]
pub(crate) struct OrgNumber(String);

/// The text is not an organisation number.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not an organisation number: nine digits, the last one a modulus-11 check digit")]
pub(crate) struct InvalidOrgNumber;

impl OrgNumber {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The object Maskinporten uses for organisations.
    pub(crate) fn iso6523(&self) -> serde_json::Value {
        serde_json::json!({ "authority": "iso6523-actorid-upis", "ID": format!("0192:{}", self.0) })
    }
}

impl TryFrom<String> for OrgNumber {
    type Error = InvalidOrgNumber;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WEIGHTS: [u32; 9] = [3, 2, 7, 6, 5, 4, 3, 2, 1];
        let mut sum = 0;
        for (character, weight) in text.chars().zip(WEIGHTS) {
            sum += character.to_digit(10).ok_or(InvalidOrgNumber)? * weight;
        }
        if text.len() == 9 && sum % 11 == 0 { Ok(Self(text)) } else { Err(InvalidOrgNumber) }
    }
}

impl fmt::Display for OrgNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The owner of the resources.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceOwner {
    /// Altinn's organisation code, e.g. `skd`.
    pub(crate) code: String,
    pub(crate) organization: OrgNumber,
}

/// An organisation, main unit or sub-unit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Organization {
    pub(crate) number: OrgNumber,
    pub(crate) name: String,
    pub(crate) unit_type: String,
    pub(crate) party_id: u64,
    party_uuid: Option<Uuid>,
    pub(crate) parent: Option<OrgNumber>,
    #[serde(default)]
    pub(crate) deleted: bool,
}

impl Organization {
    /// The party uuid; made from the number where the seed gives none.
    pub(crate) fn uuid(&self) -> Option<Uuid> {
        self.party_uuid.or_else(|| {
            Uuid::try_parse(&format!("a0000000-0000-4000-8000-000{}", self.number)).ok()
        })
    }
}

/// `client` has `facilitator` in a role of the Central Coordinating Register.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Relation {
    pub(crate) client: OrgNumber,
    pub(crate) facilitator: OrgNumber,
    pub(crate) role: FacilitatorRole,
}

/// What the facilitator is to its client.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FacilitatorRole {
    /// Accountant.
    Regnskapsforer,
    /// Auditor.
    Revisor,
    /// Business manager.
    Forretningsforer,
    /// Ordinary rights holder: gets what the client gives.
    Rettighetshaver,
}

impl FacilitatorRole {
    /// Whether a client offers the package to a facilitator in this role.
    pub(crate) fn offers(self, package: &str) -> bool {
        match self {
            Self::Regnskapsforer => package.starts_with("regnskapsforer-"),
            Self::Revisor => ["ansvarlig-revisor", "revisormedarbeider"].contains(&package),
            Self::Forretningsforer => package == "forretningsforer-eiendom",
            Self::Rettighetshaver => true,
        }
    }
}

/// How a client is integrated; some scopes are for one kind only.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IntegrationType {
    #[default]
    Maskinporten,
    ApiKlient,
}

/// A Maskinporten scope.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scope {
    pub(crate) name: String,
    pub(crate) lifetime_seconds: i64,
    /// Organisations with access; absent means everybody.
    pub(crate) consumers: Option<Vec<OrgNumber>>,
    /// Absent means every kind.
    pub(crate) integration_types: Option<Vec<IntegrationType>>,
}

/// `consumer` lets `supplier` use a scope on its behalf.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScopeDelegation {
    pub(crate) consumer: OrgNumber,
    pub(crate) supplier: OrgNumber,
    pub(crate) scope: String,
}

/// A public key in the seed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SeedJwk {
    pub(crate) kid: String,
    pub(crate) n: String,
    pub(crate) e: String,
}

/// A Maskinporten client.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) organization: OrgNumber,
    pub(crate) scopes: BTreeSet<String>,
    #[serde(default)]
    pub(crate) integration_type: IntegrationType,
    /// The registered public key; absent means that the sandbox makes a pair.
    pub(crate) jwk: Option<SeedJwk>,
    #[serde(default)]
    pub(crate) key_expired: bool,
}

/// An entry of the system register.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct System {
    pub(crate) id: String,
    pub(crate) vendor: OrgNumber,
    pub(crate) name: String,
    pub(crate) client_ids: BTreeSet<String>,
    #[serde(default)]
    pub(crate) deleted: bool,
}

/// For whom a system user may act.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SystemUserKind {
    /// For its owner.
    Standard,
    /// For its owner's clients.
    Agent,
}

/// `systembruker`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SystemUser {
    pub(crate) id: Uuid,
    pub(crate) kind: SystemUserKind,
    pub(crate) system: String,
    pub(crate) owner: OrgNumber,
    pub(crate) external_ref: Option<String>,
    #[serde(default)]
    pub(crate) deleted: bool,
    #[serde(default)]
    pub(crate) delegations: Vec<Delegation>,
}

impl SystemUser {
    /// The external reference, by default the owner's number.
    pub(crate) fn reference(&self) -> &str {
        self.external_ref.as_deref().unwrap_or(self.owner.as_str())
    }
}

/// What one party has given a system user; for an agent, what it may use for one client.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Delegation {
    pub(crate) party: OrgNumber,
    /// Package codes.
    #[serde(default)]
    pub(crate) packages: BTreeSet<String>,
    /// Resource id to actions.
    #[serde(default)]
    pub(crate) single_rights: BTreeMap<String, BTreeSet<String>>,
}

/// `tilgangspakke`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Package {
    pub(crate) code: String,
    /// URN suffix where it differs from the code.
    urn: Option<String>,
    pub(crate) id: Uuid,
    pub(crate) name: String,
    #[serde(default = "yes")]
    pub(crate) assignable: bool,
    #[serde(default = "yes")]
    pub(crate) delegable: bool,
}

impl Package {
    /// What follows `urn:altinn:accesspackage:`.
    pub(crate) fn urn_suffix(&self) -> &str {
        self.urn.as_deref().unwrap_or(&self.code)
    }
}

fn yes() -> bool {
    true
}

/// How the rules of a resource are combined.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Combining {
    #[default]
    DenyOverrides,
    DenyUnlessPermit,
}

/// What a rule says when it applies.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Effect {
    #[default]
    Permit,
    Deny,
}

/// Who may do what on a resource. Without packages and roles it is for anybody.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    #[serde(default)]
    pub(crate) effect: Effect,
    /// Package codes.
    #[serde(default)]
    pub(crate) packages: Vec<String>,
    /// Role codes; no system user holds one.
    #[serde(default)]
    pub(crate) roles: Vec<String>,
    pub(crate) actions: Vec<String>,
    /// The value that `urn:altinn:subresource` must have; the attribute must then be present.
    pub(crate) subresource: Option<String>,
}

/// A resource of the registry with its rules.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resource {
    pub(crate) id: String,
    pub(crate) title: BTreeMap<String, String>,
    /// The Maskinporten scope of its API.
    pub(crate) scope: Option<String>,
    /// Obligation `urn:altinn:minimum-authenticationlevel`.
    pub(crate) minimum_level: Option<u8>,
    #[serde(default)]
    pub(crate) combining: Combining,
    /// Non-empty means that access-list mode is on.
    #[serde(default)]
    pub(crate) access_lists: Vec<String>,
    /// Empty means that no policy was uploaded.
    pub(crate) rules: Vec<Rule>,
    #[serde(skip)]
    pub(crate) version: u64,
}

/// `tilgangsliste`: organisations that may be served at all.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccessList {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) members: BTreeSet<OrgNumber>,
    /// Absent means every action.
    pub(crate) actions: Option<BTreeSet<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn organisation_numbers_need_the_right_check_digit() {
        assert!(OrgNumber::try_from("310000507".to_owned()).is_ok());
        assert!(OrgNumber::try_from("310000508".to_owned()).is_err());
        assert!(OrgNumber::try_from("31000050".to_owned()).is_err());
        assert!(OrgNumber::try_from("3100005070".to_owned()).is_err());
    }
}

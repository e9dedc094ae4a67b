//! Clients, scopes, systems and system users, in the shape in which the seed file writes them.

use super::number::{OrgNumber, PartyNumber};
use super::party::is_false;
use super::resource::{is_true, yes};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// How a client is integrated; some scopes are for one kind only.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IntegrationType {
    #[default]
    Maskinporten,
    ApiKlient,
}

/// A Maskinporten scope.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scope {
    pub(crate) name: String,
    pub(crate) lifetime_seconds: i64,
    /// Organisations with access; absent means everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) consumers: Option<Vec<OrgNumber>>,
    /// Absent means every kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) integration_types: Option<Vec<IntegrationType>>,
}

/// `consumer` lets `supplier` use a scope on its behalf.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScopeDelegation {
    pub(crate) consumer: OrgNumber,
    pub(crate) supplier: OrgNumber,
    pub(crate) scope: String,
}

/// A public key in the seed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SeedJwk {
    pub(crate) kid: String,
    pub(crate) n: String,
    pub(crate) e: String,
}

/// A Maskinporten client.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) organization: OrgNumber,
    #[serde(default)]
    pub(crate) scopes: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "is_maskinporten")]
    pub(crate) integration_type: IntegrationType,
    /// The registered public key; absent means that the sandbox makes a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) jwk: Option<SeedJwk>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) key_expired: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_maskinporten(kind: &IntegrationType) -> bool {
    *kind == IntegrationType::Maskinporten
}

/// A text in one language or in several.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Text {
    One(String),
    Many(BTreeMap<String, String>),
}

impl Text {
    /// The text in bokmål, or whichever there is.
    pub(crate) fn norwegian(&self) -> &str {
        match self {
            Self::One(text) => text,
            Self::Many(texts) => texts
                .get("nb")
                .or_else(|| texts.values().next())
                .map(String::as_str)
                .unwrap_or_default(),
        }
    }

    /// The text in a language, or in bokmål where it is not told in that one.
    pub(crate) fn in_language(&self, language: &str) -> &str {
        match self {
            Self::One(text) => text,
            Self::Many(texts) => {
                texts.get(language).map_or_else(|| self.norwegian(), String::as_str)
            }
        }
    }

    /// The text in the three languages of Altinn.
    pub(crate) fn in_languages(&self) -> BTreeMap<&str, &str> {
        ["nb", "nn", "en"]
            .into_iter()
            .map(|language| (language, self.in_language(language)))
            .collect()
    }
}

/// An entry of the system register.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct System {
    pub(crate) id: String,
    pub(crate) vendor: OrgNumber,
    pub(crate) name: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<Text>,
    /// Maskinporten clients that may ask for tokens of its system users.
    #[serde(default)]
    pub(crate) client_ids: BTreeSet<String>,
    /// What its system users need as single rights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rights: Vec<SystemRight>,
    /// Codes of packages that its system users need.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) packages: Vec<String>,
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub(crate) visible: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) redirect_urls: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) internal_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) log: Vec<SystemChange>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) deleted: bool,
}

impl System {
    /// Whether its system users may need the resource singly.
    pub(crate) fn needs_right(&self, resource: &str) -> bool {
        self.rights.iter().any(|right| right.resource == resource)
    }
}

/// A resource that system users of a system need. The action is for people: nothing compares it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SystemRight {
    pub(crate) resource: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) action: Option<String>,
}

/// An entry of a system's change log.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SystemChange {
    pub(crate) by: OrgNumber,
    /// `create`, `update`, `rightsupdate`, `accesspackageupdate` or `delete`.
    pub(crate) kind: String,
    pub(crate) data: serde_json::Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<String>,
    pub(crate) at: i64,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) external_ref: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
    /// Agent: codes of the packages that each client must offer.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) packages: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) created: i64,
    /// Position in lists; moves with every change.
    #[serde(default, skip_serializing_if = "is_zero_position")]
    pub(crate) sequence: u64,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) deleted: bool,
    #[serde(default)]
    pub(crate) delegations: Delegations,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(crate) fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero_position(value: &u64) -> bool {
    *value == 0
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
    pub(crate) party: PartyNumber,
    /// Package codes.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) packages: BTreeSet<String>,
    /// Resource id, or `resource/subresource`, to actions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) single_rights: BTreeMap<String, BTreeSet<String>>,
    /// In files only: the client does not offer all of it any more, and that is no mistake.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) without_effect: bool,
}

impl Delegation {
    /// Nothing yet from this party.
    pub(crate) fn empty(party: PartyNumber) -> Self {
        let (packages, single_rights) = (BTreeSet::new(), BTreeMap::new());
        Self { party, packages, single_rights, without_effect: false }
    }

    /// Whether nothing is given.
    pub(crate) fn is_empty(&self) -> bool {
        self.packages.is_empty() && self.single_rights.is_empty()
    }
}

/// What a system user was given, by party.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(from = "Vec<Delegation>", into = "Vec<Delegation>")]
pub(crate) struct Delegations(BTreeMap<PartyNumber, Delegation>);

impl Delegations {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Delegation> {
        self.0.values()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Delegation> {
        self.0.values_mut()
    }

    pub(crate) fn of(&self, party: PartyNumber) -> Option<&Delegation> {
        self.0.get(&party)
    }

    /// What a party has given, to be added to.
    pub(crate) fn of_mut(&mut self, party: PartyNumber) -> &mut Delegation {
        self.0.entry(party).or_insert_with(|| Delegation::empty(party))
    }

    /// Everything the party has given goes.
    pub(crate) fn remove(&mut self, party: PartyNumber) -> bool {
        self.0.remove(&party).is_some()
    }

    /// Forgets parties that have given nothing.
    pub(crate) fn tidy(&mut self) {
        self.0.retain(|_, delegation| !delegation.is_empty());
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

impl From<Vec<Delegation>> for Delegations {
    fn from(list: Vec<Delegation>) -> Self {
        let mut all = Self::default();
        for one in list {
            let held = all.of_mut(one.party);
            held.packages.extend(one.packages);
            held.without_effect |= one.without_effect;
            for (resource, actions) in one.single_rights {
                held.single_rights.entry(resource).or_default().extend(actions);
            }
        }
        all
    }
}

impl From<Delegations> for Vec<Delegation> {
    fn from(all: Delegations) -> Self {
        all.0.into_values().collect()
    }
}

//! Resources of the registry and their rules: the model that the PDP decides from and that policies are printed from.

use super::model::Text;
use super::number::OrgNumber;
use super::party::is_false;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// `tilgangspakke`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Package {
    pub(crate) code: String,
    /// URN suffix where it differs from the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    urn: Option<String>,
    pub(crate) id: Uuid,
    pub(crate) name: Text,
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub(crate) assignable: bool,
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub(crate) delegable: bool,
}

impl Package {
    /// What follows `urn:altinn:accesspackage:`.
    pub(crate) fn urn_suffix(&self) -> &str {
        self.urn.as_deref().unwrap_or(&self.code)
    }

    /// How a policy writes the package that a rule names: by its URN suffix, in the letter case of the rule.
    pub(crate) fn written<'a>(&'a self, in_rule: &'a str) -> &'a str {
        self.urn.as_deref().unwrap_or(in_rule)
    }
}

/// How the rules of a resource are combined.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Combining {
    #[default]
    DenyOverrides,
    OrderedDenyOverrides,
    PermitOverrides,
    OrderedPermitOverrides,
    DenyUnlessPermit,
    PermitUnlessDeny,
    FirstApplicable,
}

/// What kind of algorithm the policy's identifier names; Altinn reads both as the same.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AlgorithmFamily {
    #[default]
    Rule,
    Policy,
}

/// What a rule says when it applies.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Effect {
    #[default]
    Permit,
    Deny,
}

/// Who may do what on a resource. Without any subject it is for anybody.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    #[serde(default, skip_serializing_if = "is_permit")]
    pub(crate) effect: Effect,
    /// Package codes in any letter case: one of them is enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) packages: Vec<String>,
    /// Groups of package codes: all packages of one group are needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) package_groups: Vec<Vec<String>>,
    /// Packages are compared letter by letter as this rule writes them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) exact_case: bool,
    /// Role codes, or URNs of roles; no system user holds one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) roles: Vec<String>,
    /// Codes of service owners (`urn:altinn:org`); no system user is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) service_owners: Vec<String>,
    /// No action means every action.
    pub(crate) actions: Vec<String>,
    /// The value that `urn:altinn:subresource` must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subresource: Option<String>,
    /// Without the attribute the rule does not apply; otherwise the attribute must be present.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) subresource_optional: bool,
}

impl Rule {
    /// Every package the rule names.
    pub(crate) fn named_packages(&self) -> impl Iterator<Item = &str> {
        self.packages.iter().chain(self.package_groups.iter().flatten()).map(String::as_str)
    }

    /// Whether the rule names a package.
    pub(crate) fn names_package(&self, code: &str) -> bool {
        self.named_packages().any(|named| named.eq_ignore_ascii_case(code))
    }

    /// Whether nobody in particular is named.
    pub(crate) fn is_for_anybody(&self) -> bool {
        self.packages.is_empty()
            && self.package_groups.is_empty()
            && self.roles.is_empty()
            && self.service_owners.is_empty()
    }
}

/// A resource of the registry with its rules.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resource {
    pub(crate) id: String,
    pub(crate) title: BTreeMap<String, String>,
    /// Code of another service owner; absent means the world's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
    /// The Maskinporten scope of its API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,
    /// `resourceType` of the registry.
    #[serde(rename = "resource_type", default = "generic", skip_serializing_if = "is_generic")]
    pub(crate) kind: String,
    /// Whether it can be given as a single right.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub(crate) delegable: bool,
    /// Obligation `urn:altinn:minimum-authenticationlevel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) minimum_level: Option<u8>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) combining: Combining,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) algorithm_family: AlgorithmFamily,
    /// Non-empty means that access-list mode is on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) access_lists: Vec<String>,
    /// Empty means that no policy was uploaded.
    #[serde(default)]
    pub(crate) rules: Vec<Rule>,
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub(crate) version: u64,
}

/// `tilgangsliste`: organisations that may be served at all.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccessList {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) members: BTreeSet<OrgNumber>,
    /// Absent or empty means every action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) actions: Option<BTreeSet<String>>,
}

impl AccessList {
    /// The action filter as the registry gives it: an empty one is none.
    pub(crate) fn filter(&self) -> Option<&BTreeSet<String>> {
        self.actions.as_ref().filter(|actions| !actions.is_empty())
    }
}

pub(crate) fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(crate) fn is_true(value: &bool) -> bool {
    *value
}

fn generic() -> String {
    "GenericAccessResource".to_owned()
}

fn is_generic(kind: &str) -> bool {
    kind == "GenericAccessResource"
}

fn first() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_first(version: &u64) -> bool {
    *version == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_permit(effect: &Effect) -> bool {
    *effect == Effect::Permit
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

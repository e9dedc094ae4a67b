//! What was delegated: access packages and single rights, for a party.

use super::party::OrgNumber;
use super::resource::ResourceId;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// An access package (tilgangspakke), by the last part of its URN: `skattegrunnlag` of
/// `urn:altinn:accesspackage:skattegrunnlag`. 1 to 128 of a-z, 0-9 and `-`. For one package the code in a
/// list of parties differs from this suffix, and the PDP compares suffixes (contract authorization.md §6).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PackageId(Arc<str>);

/// Not the suffix of an access package's URN.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an access package: 1 to 128 of a-z, 0-9 and `-`, without `urn:altinn:accesspackage:`")]
pub struct InvalidPackageId;

impl FromStr for PackageId {
    type Err = InvalidPackageId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(allowed);
        if fits { Ok(Self(text.into())) } else { Err(InvalidPackageId) }
    }
}

impl PackageId {
    /// The suffix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PackageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one system user may do for one organisation, as far as it concerns the resources of our routes.
/// Both lists are sorted and without repeats.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PartyRights {
    /// For whom.
    pub party: OrgNumber,
    /// Access packages that policies of our resources name.
    pub packages: Vec<PackageId>,
    /// Our resources of which at least one action is delegated singly; which ones, nobody tells.
    pub resources: Vec<ResourceId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_the_suffix_of_its_urn() {
        for text in ["skattegrunnlag", "ansvarlig-revisor", "a", &"x".repeat(128)] {
            assert_eq!(text.parse::<PackageId>().unwrap().as_str(), text);
        }
        let urn = "urn:altinn:accesspackage:skattegrunnlag";
        for text in ["", urn, "Skattegrunnlag", "a b", "a_b", "lønn", &"x".repeat(129)] {
            assert_eq!(text.parse::<PackageId>(), Err(InvalidPackageId), "{text}");
        }
    }
}

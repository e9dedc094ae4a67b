//! What was delegated: access packages and single rights, for a party.

use super::party::OrgNumber;
use super::resource::ResourceId;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// An access package (tilgangspakke) by the suffix of its URN, such as `skattegrunnlag` of
/// `urn:altinn:accesspackage:skattegrunnlag`: what policies compare (contract authorization.md §4
/// step 4). Lower-case letters, digits and `-`, at most 128.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PackageId(Arc<str>);

/// Not the suffix of an access package's URN.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an access package: 1 to 128 of a-z, 0-9 and `-`")]
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
    fn a_package_is_the_suffix_of_its_urn_and_nothing_else() {
        assert!("regnskapsforer-med-signeringsrettighet".parse::<PackageId>().is_ok());
        for text in ["", "Skattegrunnlag", "urn:altinn:accesspackage:lonn", "a b", "løn"] {
            assert_eq!(text.parse::<PackageId>(), Err(InvalidPackageId), "{text}");
        }
    }
}

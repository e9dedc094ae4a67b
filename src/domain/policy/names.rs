//! The identifiers of XACML that this program evaluates. Whatever is not here is not understood.

const RULE_COMBINING: &str = "urn:oasis:names:tc:xacml:3.0:rule-combining-algorithm:";
const POLICY_COMBINING: &str = "urn:oasis:names:tc:xacml:3.0:policy-combining-algorithm:";
const FIRST_APPLICABLE: [&str; 2] = [
    "urn:oasis:names:tc:xacml:1.0:rule-combining-algorithm:first-applicable",
    "urn:oasis:names:tc:xacml:1.0:policy-combining-algorithm:first-applicable",
];

/// What a rule says when it applies. Source: XACML 3.0 §5.21.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Effect {
    /// It permits.
    Permit,
    /// It denies.
    Deny,
}

impl Effect {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "Permit" => Some(Self::Permit),
            "Deny" => Some(Self::Deny),
            _ => None,
        }
    }
}

/// How the decisions of rules become one. Source: XACML 3.0 appendix C.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Algorithm {
    DenyOverrides,
    PermitOverrides,
    DenyUnlessPermit,
    PermitUnlessDeny,
    FirstApplicable,
}

impl Algorithm {
    /// More than half of Altinn's policies name a policy-combining algorithm where a rule-combining one
    /// belongs; the tables are the same. The ordered forms differ in nothing that is kept here. Those of
    /// XACML 1.0 have other tables and are not read, but for first-applicable, which never changed.
    pub(super) fn parse(urn: &str) -> Option<Self> {
        if FIRST_APPLICABLE.contains(&urn) {
            return Some(Self::FirstApplicable);
        }
        let name =
            urn.strip_prefix(RULE_COMBINING).or_else(|| urn.strip_prefix(POLICY_COMBINING))?;
        match name {
            "deny-overrides" | "ordered-deny-overrides" => Some(Self::DenyOverrides),
            "permit-overrides" | "ordered-permit-overrides" => Some(Self::PermitOverrides),
            "deny-unless-permit" => Some(Self::DenyUnlessPermit),
            "permit-unless-deny" => Some(Self::PermitUnlessDeny),
            _ => None,
        }
    }
}

/// What attributes describe. Source: XACML 3.0 appendix B.2, B.3.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Category {
    /// Who asks.
    Subject,
    /// On what.
    Resource,
    /// What is done.
    Action,
    /// Circumstances. Altinn's PDP does not match on them.
    Environment,
}

impl Category {
    /// The category with this URN, if policies here may speak of it.
    #[must_use]
    pub fn parse(urn: &str) -> Option<Self> {
        match urn {
            "urn:oasis:names:tc:xacml:1.0:subject-category:access-subject" => Some(Self::Subject),
            "urn:oasis:names:tc:xacml:3.0:attribute-category:resource" => Some(Self::Resource),
            "urn:oasis:names:tc:xacml:3.0:attribute-category:action" => Some(Self::Action),
            "urn:oasis:names:tc:xacml:3.0:attribute-category:environment" => {
                Some(Self::Environment)
            }
            _ => None,
        }
    }
}

/// The data types whose values can be compared exactly. Dates and times are not among them: what a value
/// without a time zone means is left to each implementation (XACML 3.0 §A.3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum DataType {
    String,
    AnyUri,
    Integer,
}

impl DataType {
    pub(super) fn parse(urn: &str) -> Option<Self> {
        [Self::String, Self::AnyUri, Self::Integer].into_iter().find(|one| one.urn() == urn)
    }

    pub(super) fn urn(self) -> &'static str {
        match self {
            Self::String => "http://www.w3.org/2001/XMLSchema#string",
            Self::AnyUri => "http://www.w3.org/2001/XMLSchema#anyURI",
            Self::Integer => "http://www.w3.org/2001/XMLSchema#integer",
        }
    }
}

/// How two values of one type are compared. Source: XACML 3.0 §A.3.1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Function {
    StringEqual,
    StringEqualIgnoreCase,
    AnyUriEqual,
    IntegerEqual,
}

impl Function {
    pub(super) fn parse(urn: &str) -> Option<Self> {
        match urn {
            "urn:oasis:names:tc:xacml:1.0:function:string-equal" => Some(Self::StringEqual),
            "urn:oasis:names:tc:xacml:3.0:function:string-equal-ignore-case" => {
                Some(Self::StringEqualIgnoreCase)
            }
            "urn:oasis:names:tc:xacml:1.0:function:anyURI-equal" => Some(Self::AnyUriEqual),
            "urn:oasis:names:tc:xacml:1.0:function:integer-equal" => Some(Self::IntegerEqual),
            _ => None,
        }
    }

    /// The type of both arguments.
    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::StringEqual | Self::StringEqualIgnoreCase => DataType::String,
            Self::AnyUriEqual => DataType::AnyUri,
            Self::IntegerEqual => DataType::Integer,
        }
    }
}

/// The type whose only value this function takes out of a bag. Source: XACML 3.0 §A.3.10.
pub(super) fn one_and_only(urn: &str) -> Option<DataType> {
    match urn {
        "urn:oasis:names:tc:xacml:1.0:function:string-one-and-only" => Some(DataType::String),
        "urn:oasis:names:tc:xacml:1.0:function:anyURI-one-and-only" => Some(DataType::AnyUri),
        "urn:oasis:names:tc:xacml:1.0:function:integer-one-and-only" => Some(DataType::Integer),
        _ => None,
    }
}

/// The equality that this function asks of some member of a bag. Altinn's PDP knows the one of strings
/// only (contract authorization.md §5). Source: XACML 3.0 §A.3.10.
pub(super) fn is_in(urn: &str) -> Option<Function> {
    (urn == "urn:oasis:names:tc:xacml:1.0:function:string-is-in").then_some(Function::StringEqual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_combining_algorithm_in_the_slot_of_rules_is_the_same_algorithm() {
        for (name, algorithm) in [
            ("deny-overrides", Algorithm::DenyOverrides),
            ("ordered-deny-overrides", Algorithm::DenyOverrides),
            ("permit-overrides", Algorithm::PermitOverrides),
            ("ordered-permit-overrides", Algorithm::PermitOverrides),
            ("deny-unless-permit", Algorithm::DenyUnlessPermit),
            ("permit-unless-deny", Algorithm::PermitUnlessDeny),
        ] {
            for prefix in [RULE_COMBINING, POLICY_COMBINING] {
                assert_eq!(Algorithm::parse(&format!("{prefix}{name}")), Some(algorithm));
            }
        }
        for urn in FIRST_APPLICABLE {
            assert_eq!(Algorithm::parse(urn), Some(Algorithm::FirstApplicable));
        }
    }

    #[test]
    fn algorithms_with_other_tables_are_not_understood() {
        for urn in [
            "",
            "deny-overrides",
            "urn:oasis:names:tc:xacml:1.0:rule-combining-algorithm:deny-overrides",
            "urn:oasis:names:tc:xacml:1.1:rule-combining-algorithm:ordered-deny-overrides",
            "urn:oasis:names:tc:xacml:3.0:rule-combining-algorithm:first-applicable",
            "urn:oasis:names:tc:xacml:1.0:policy-combining-algorithm:only-one-applicable",
            "urn:oasis:names:tc:xacml:3.0:rule-combining-algorithm:Deny-overrides",
        ] {
            assert_eq!(Algorithm::parse(urn), None, "{urn}");
        }
    }
}

//! A resource's policy in XACML 3.0: read strictly, evaluated twice, and specialised to one right.
//!
//! Altinn's PDP deviates from the standard (contract authorization.md §5), so there are two readings:
//! [`Policy::evaluate`] is Altinn's, [`Policy::evaluate_standard`] the standard's. An answer is derived from
//! a policy only where both permit ([`Policy::compile`]). A construct that this module does not know is an
//! error when the policy is loaded: no rule is ever skipped. Pure.

mod combine;
mod compare;
mod derive;
mod element;
mod error;
mod evaluate;
mod names;
mod parse;
mod request;
mod residual;
mod scan;
mod standard;

pub use derive::{CompiledRight, Derived, Explanation, NotDerivable, RuleExplanation};
pub use error::{Fault, PolicyError};
pub use names::{Category, Effect};
pub use request::{Attribute, Request};
pub use scan::MAX_POLICY_BYTES;

use super::decision::Obligation;
use super::delegation::PackageId;
use names::{Algorithm, DataType, Function};
use std::collections::BTreeSet;
use std::fmt;

/// One policy: rules, how they combine, and what comes with a permit. Source: XACML 3.0 §5.14.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    id: String,
    // Altinn's PDP does not look at it, the standard's does.
    target: Target,
    algorithm: Algorithm,
    rules: Vec<Rule>,
    obligations: Vec<ObligationExpression>,
    packages: BTreeSet<PackageId>,
}

impl Policy {
    /// `PolicyId`, as written.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Package suffixes that any rule names, for the register to keep.
    #[must_use]
    pub fn packages(&self) -> &BTreeSet<PackageId> {
        &self.packages
    }

    /// How the rules that permit speak of `action`.
    #[must_use]
    pub fn names(&self, action: &str) -> NamesAction {
        const ACTION: &str = "urn:oasis:names:tc:xacml:1.0:action:action-id";
        let of_action = |one: &&Match| {
            one.designator.category == Category::Action && one.designator.id == ACTION
        };
        let mut nearest = NamesAction::No;
        for rule in self.rules.iter().filter(|rule| rule.effect == Effect::Permit) {
            let targets = rule.target.iter().flat_map(Target::matches);
            let named: Vec<&str> =
                targets.filter(of_action).map(|one| one.value.as_str()).collect();
            if named.is_empty() || named.contains(&action) {
                return NamesAction::Yes;
            }
            if named.iter().any(|named| named.eq_ignore_ascii_case(action)) {
                nearest = NamesAction::OtherCase;
            }
        }
        nearest
    }

    /// What must be fulfilled when the decision has this effect. Source: XACML 3.0 §7.18.
    fn obligations_on(&self, effect: Effect) -> Vec<Obligation> {
        let due = self.obligations.iter().filter(|expression| expression.fulfil_on == effect);
        due.map(|expression| expression.obligation.clone()).collect()
    }

    /// Every match in a target, in the order written.
    fn matches(&self) -> impl Iterator<Item = &Match> {
        let targets = self.rules.iter().filter_map(|rule| rule.target.as_ref());
        std::iter::once(&self.target).chain(targets).flat_map(Target::matches)
    }
}

/// Whether any rule that permits is about an action.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NamesAction {
    /// By its name, or about every action.
    Yes,
    /// By its name in other letter cases.
    OtherCase,
    /// None is.
    No,
}

/// Source: XACML 3.0 §5.21.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Rule {
    id: String,
    effect: Effect,
    target: Option<Target>,
    condition: Option<Condition>,
}

/// All of these, and nothing said is a match. Source: XACML 3.0 §5.6.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Target {
    any_of: Vec<AnyOf>,
}

impl Target {
    fn matches(&self) -> impl Iterator<Item = &Match> {
        let all_of = self.any_of.iter().flat_map(|any_of| &any_of.all_of);
        all_of.flat_map(|all_of| &all_of.matches)
    }
}

/// One of these; never empty. Source: XACML 3.0 §5.7.
#[derive(Clone, Debug, Eq, PartialEq)]
struct AnyOf {
    all_of: Vec<AllOf>,
}

/// All of these; never empty. Source: XACML 3.0 §5.8.
#[derive(Clone, Debug, Eq, PartialEq)]
struct AllOf {
    matches: Vec<Match>,
}

/// Holds when the function does for any value of the attribute. Function, value and designator are of one
/// data type, or the policy is not loaded. Source: XACML 3.0 §5.9.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Match {
    function: Function,
    value: String,
    designator: Designator,
}

/// Which attribute of the request. Source: XACML 3.0 §5.29.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Designator {
    category: Category,
    id: String,
    // Altinn's PDP does not look at it, the standard's does.
    issuer: Option<String>,
    data_type: DataType,
    must_be_present: bool,
}

/// `function(one-and-only(attribute), value)`, or membership in the bag. Anything else is not loaded.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Condition {
    shape: Shape,
    function: Function,
    value: String,
    designator: Designator,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Shape {
    /// `T-equal(T-one-and-only(designator), value)`, in either order.
    OneAndOnly,
    /// `T-is-in(value, designator)`.
    IsIn,
}

/// One assignment of an obligation. Source: XACML 3.0 §5.39, §5.41.
#[derive(Clone, Debug, Eq, PartialEq)]
struct ObligationExpression {
    fulfil_on: Effect,
    obligation: Obligation,
}

/// What could have come out where an evaluation failed. Source: XACML 3.0 §7.10.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Potential {
    /// `Indeterminate{P}`
    Permit,
    /// `Indeterminate{D}`
    Deny,
    /// `Indeterminate{DP}`
    Both,
}

/// What a rule or a policy says. Source: XACML 3.0 §7.10–7.13.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Decision {
    /// Yes.
    Permit,
    /// No.
    Deny,
    /// Nothing covers the request.
    NotApplicable,
    /// It could not be told; what it could have been.
    Indeterminate(Potential),
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Permit => "Permit",
            Self::Deny => "Deny",
            Self::NotApplicable => "NotApplicable",
            Self::Indeterminate(_) => "Indeterminate",
        })
    }
}

/// A decision and what comes with it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Evaluation {
    /// The decision.
    pub decision: Decision,
    /// What must be fulfilled, in the order of the policy.
    pub obligations: Vec<Obligation>,
}

impl From<Decision> for Evaluation {
    fn from(decision: Decision) -> Self {
        Self { decision, obligations: Vec::new() }
    }
}

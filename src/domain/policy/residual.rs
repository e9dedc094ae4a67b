//! What is left of a rule once resource and action are fixed: which packages make it apply.
//!
//! Only what the request is known to hold is known here. Everything else (party, system user, roles, instance,
//! environment) may hold any value or be absent, so it is left open, and a residual exists for each bound:
//! with the open matches taken as failing, and as holding. Targets have no negation, so the truth lies between.

use super::compare::{Reading, holds};
use super::names::Category;
use super::{AllOf, Match, Policy, Rule};
use crate::domain::delegation::PackageId;
use crate::domain::resource::Right;

const RESOURCE: &str = "urn:altinn:resource";
const ORG: &str = "urn:altinn:org";
const APP: &str = "urn:altinn:app";
const ACTION: &str = "urn:oasis:names:tc:xacml:1.0:action:action-id";
const SYSTEM_USER: &str = "urn:altinn:systemuser:uuid";

/// When a rule applies, in terms of the packages held.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Residual {
    /// It does not.
    Never,
    /// It does, whatever is held.
    Always,
    /// When each clause has an alternative of which every package is held.
    When(Vec<Vec<Vec<PackageId>>>),
}

impl Residual {
    /// Whether the rule applies to who holds these. Allocates nothing.
    pub(super) fn applies(&self, held: &impl Fn(&PackageId) -> bool) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::When(clauses) => clauses
                .iter()
                .all(|clause| clause.iter().any(|alternative| alternative.iter().all(held))),
        }
    }

    /// The packages that are spoken of.
    pub(super) fn packages(&self) -> impl Iterator<Item = &PackageId> {
        let clauses = match self {
            Self::Never | Self::Always => &[],
            Self::When(clauses) => clauses.as_slice(),
        };
        clauses.iter().flatten().flatten()
    }
}

/// How a match that cannot be told counts.
#[derive(Clone, Copy)]
pub(super) enum Bound {
    Fails,
    Holds,
}

/// What is certain about the request for one right. Source: contract authorization.md §2.2, §4.
pub(super) struct Known<'a> {
    given: Vec<(Category, &'static str, &'a str)>,
}

/// An app's id that can be split in more than one way.
pub(super) struct AmbiguousApp;

impl<'a> Known<'a> {
    /// For an app (`app_{org}_{app}`) the PDP adds organisation and app.
    pub(super) fn new(right: &'a Right) -> Result<Self, AmbiguousApp> {
        let id = right.resource.as_str();
        let mut given = vec![
            (Category::Resource, RESOURCE, id),
            (Category::Action, ACTION, right.action.as_str()),
        ];
        if let Some(app) = id.strip_prefix("app_") {
            let (org, app) = app.split_once('_').ok_or(AmbiguousApp)?;
            if org.is_empty() || app.is_empty() || app.contains('_') {
                return Err(AmbiguousApp);
            }
            given.extend([(Category::Resource, ORG, org), (Category::Resource, APP, app)]);
        }
        Ok(Self { given })
    }

    /// Whether the attribute is there in every request for the right.
    pub(super) fn is_present(&self, one: &Match) -> bool {
        let designator = &one.designator;
        let system_user = (Category::Subject, SYSTEM_USER);
        (designator.category, designator.id.as_str()) == system_user || self.value(one).is_some()
    }

    fn value(&self, one: &Match) -> Option<&'a str> {
        let named = |(category, id, _): &&(Category, &str, &'a str)| {
            *category == one.designator.category && *id == one.designator.id
        };
        self.given.iter().find(named).map(|(_, _, value)| *value)
    }

    fn atom(&self, one: &Match, bound: Bound) -> Atom {
        if let Some(value) = self.value(one) {
            return if one.holds_for(value, bound) { Atom::Holds } else { Atom::Fails };
        }
        match (one.package(), bound) {
            (Some(package), _) => Atom::Package(package),
            (None, Bound::Holds) => Atom::Holds,
            (None, Bound::Fails) => Atom::Fails,
        }
    }
}

impl Match {
    /// Whether it holds for a known value. Where the two readings differ, it cannot be told.
    fn holds_for(&self, given: &str, bound: Bound) -> bool {
        let by = |reading| holds(self.function, reading, &self.value, given) == Some(true);
        let readings = [by(Reading::Altinn), by(Reading::Standard)];
        match bound {
            Bound::Fails => readings == [true, true],
            Bound::Holds => readings.contains(&true),
        }
    }
}

enum Atom {
    Holds,
    Fails,
    Package(PackageId),
}

/// Clauses of alternatives of matches: all, of any, of all.
type Clauses<'a> = Vec<Vec<Vec<&'a Match>>>;

/// When `rule` applies as the standard reads it: in its target, and the policy's.
pub(super) fn standard(policy: &Policy, rule: &Rule, known: &Known<'_>, bound: Bound) -> Residual {
    let targets = [Some(&policy.target), rule.target.as_ref()];
    let any_of = targets.into_iter().flatten().flat_map(|target| &target.any_of);
    let clauses = any_of.map(|any_of| {
        let all_of = any_of.all_of.iter();
        all_of.map(|all_of| all_of.matches.iter().collect()).collect()
    });
    residual(clauses.collect(), known, bound)
}

/// When `rule` applies as Altinn's PDP reads it: by category, each matched by any `AllOf` that speaks of it.
pub(super) fn altinn(rule: &Rule, known: &Known<'_>, bound: Bound) -> Residual {
    let any_of = rule.target.iter().flat_map(|target| &target.any_of);
    let all_of: Vec<&AllOf> = any_of.flat_map(|any_of| &any_of.all_of).collect();
    let of = |category| {
        let matches = all_of.iter().map(|all_of| all_of.of(category).collect::<Vec<_>>());
        matches.filter(|matches| !matches.is_empty()).collect::<Vec<_>>()
    };
    let categories = [Category::Resource, Category::Action, Category::Subject].map(of);
    let mentioned = categories.into_iter().filter(|alternatives| !alternatives.is_empty());
    residual(mentioned.collect(), known, bound)
}

fn residual(clauses: Clauses<'_>, known: &Known<'_>, bound: Bound) -> Residual {
    let mut left = Vec::new();
    for alternatives in clauses {
        let open = alternatives.into_iter().filter_map(|matches| needed(&matches, known, bound));
        let open: Vec<Vec<PackageId>> = open.collect();
        if open.is_empty() {
            return Residual::Never;
        }
        if !open.iter().any(Vec::is_empty) {
            left.push(open);
        }
    }
    if left.is_empty() { Residual::Always } else { Residual::When(left) }
}

/// The packages that make all of `matches` hold; `None` when nothing does.
fn needed(matches: &[&Match], known: &Known<'_>, bound: Bound) -> Option<Vec<PackageId>> {
    let mut packages = Vec::new();
    for one in matches {
        match known.atom(one, bound) {
            Atom::Holds => {}
            Atom::Fails => return None,
            Atom::Package(package) => packages.push(package),
        }
    }
    Some(packages)
}

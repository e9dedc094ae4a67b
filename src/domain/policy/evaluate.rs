//! Altinn's reading of a policy, deviations included. Source: contract authorization.md §5.
//!
//! The target of the policy is not looked at; a category is matched by any `AllOf` of any `AnyOf` that
//! speaks of it; attributes of the environment are never matched.

use super::combine::combine;
use super::compare::{Reading, holds};
use super::names::{Category, Effect};
use super::request::Request;
use super::{
    AllOf, Condition, Decision, Evaluation, Match, Policy, Potential, Rule, Shape, Target,
};

/// How one category of a rule's target came out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Match,
    NoMatch,
    /// An attribute that must be present is not.
    Missing,
}

impl Policy {
    /// Decides as Altinn's PDP does for the same policy and request.
    #[must_use]
    pub fn evaluate(&self, request: &Request) -> Evaluation {
        let mut missing = false;
        let mut applicable = Vec::new();
        for rule in &self.rules {
            let sides = [Category::Resource, Category::Action];
            let sides =
                sides.map(|category| match_category(rule.target.as_ref(), category, request));
            if sides == [Outcome::Match, Outcome::Match] {
                applicable.push(rule);
            } else if sides.contains(&Outcome::Missing) {
                missing = true;
            }
        }
        if missing {
            // Even if other rules matched.
            return Decision::Indeterminate(Potential::Both).into();
        }
        let decisions = applicable.into_iter().map(|rule| rule.decide(request));
        self.evaluation(combine(self.algorithm, decisions))
    }

    /// Obligations come with a permit, whatever else they are written for.
    fn evaluation(&self, decision: Decision) -> Evaluation {
        let obligations = match decision {
            Decision::Permit => self.obligations_on(Effect::Permit),
            Decision::Deny | Decision::NotApplicable | Decision::Indeterminate(_) => Vec::new(),
        };
        Evaluation { decision, obligations }
    }
}

impl Effect {
    pub(super) fn decision(self) -> Decision {
        match self {
            Self::Permit => Decision::Permit,
            Self::Deny => Decision::Deny,
        }
    }

    pub(super) fn failed(self) -> Decision {
        Decision::Indeterminate(match self {
            Self::Permit => Potential::Permit,
            Self::Deny => Potential::Deny,
        })
    }
}

impl Rule {
    /// What a rule says whose resource and action match.
    fn decide(&self, request: &Request) -> Decision {
        let subject = match_category(self.target.as_ref(), Category::Subject, request);
        let outcome = match (subject, &self.condition) {
            (Outcome::Match, Some(condition)) => condition.outcome(request),
            (outcome, _) => outcome,
        };
        match outcome {
            Outcome::Match => self.effect.decision(),
            Outcome::NoMatch => Decision::NotApplicable,
            Outcome::Missing => self.effect.failed(),
        }
    }
}

/// The last `AllOf` that says something has the last word between match and missing.
fn match_category(target: Option<&Target>, category: Category, request: &Request) -> Outcome {
    let Some(target) = target else {
        return Outcome::Match;
    };
    let mut outcome = Outcome::NoMatch;
    let mut mentioned = false;
    for all_of in target.any_of.iter().flat_map(|any_of| &any_of.all_of) {
        let mut all = true;
        let mut speaks = false;
        for one in all_of.of(category) {
            speaks = true;
            match one.outcome(request) {
                Outcome::Match => continue,
                Outcome::NoMatch => {}
                Outcome::Missing => outcome = Outcome::Missing,
            }
            all = false;
        }
        mentioned |= speaks;
        if speaks && all {
            outcome = Outcome::Match;
        }
    }
    if mentioned { outcome } else { Outcome::Match }
}

impl AllOf {
    /// The matches of one category; the others do not count for it.
    pub(super) fn of(&self, category: Category) -> impl Iterator<Item = &Match> {
        self.matches.iter().filter(move |one| one.designator.category == category)
    }
}

impl Match {
    fn outcome(&self, request: &Request) -> Outcome {
        // Presence does not ask for the type, as it does in the standard.
        if request.named(&self.designator).next().is_none() {
            let missing = self.designator.must_be_present;
            return if missing { Outcome::Missing } else { Outcome::NoMatch };
        }
        let equal = |given| holds(self.function, Reading::Altinn, &self.value, given) == Some(true);
        let found = request.typed(&self.designator).any(equal);
        if found { Outcome::Match } else { Outcome::NoMatch }
    }
}

impl Condition {
    /// An absent attribute fails whether it must be present or not, types are not compared, and of strings
    /// and URIs more than one may be there where the standard asks for one.
    fn outcome(&self, request: &Request) -> Outcome {
        let single = self.shape == Shape::OneAndOnly
            && self.function == super::Function::IntegerEqual
            && request.typed(&self.designator).nth(1).is_some();
        let mut named = request.named(&self.designator).peekable();
        if single || named.peek().is_none() {
            return Outcome::Missing;
        }
        let equal = |given: &String| {
            holds(self.function, Reading::Altinn, &self.value, given) == Some(true)
        };
        let found = named.flat_map(|attribute| &attribute.values).any(equal);
        if found { Outcome::Match } else { Outcome::NoMatch }
    }
}

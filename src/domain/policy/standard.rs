//! The standard's reading of a policy. Source: XACML 3.0 §7.6–7.13.

use super::combine::combine;
use super::compare::{Reading, holds};
use super::names::Effect;
use super::request::Request;
use super::{Condition, Decision, Evaluation, Match, Policy, Potential, Rule, Shape, Target};

/// A truth value, or that it cannot be told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Truth {
    True,
    False,
    Indeterminate,
}

impl From<bool> for Truth {
    fn from(truth: bool) -> Self {
        if truth { Self::True } else { Self::False }
    }
}

impl From<Option<bool>> for Truth {
    fn from(truth: Option<bool>) -> Self {
        truth.map_or(Self::Indeterminate, Self::from)
    }
}

/// One that is false decides, then one that cannot be told. Tables 1 and 3.
fn all(truths: impl Iterator<Item = Truth>) -> Truth {
    fold(truths, Truth::False, Truth::True)
}

/// One that is true decides, then one that cannot be told. Table 2.
fn any(truths: impl Iterator<Item = Truth>) -> Truth {
    fold(truths, Truth::True, Truth::False)
}

fn fold(truths: impl Iterator<Item = Truth>, decides: Truth, otherwise: Truth) -> Truth {
    let mut result = otherwise;
    for truth in truths {
        if truth == decides {
            return decides;
        }
        if truth == Truth::Indeterminate {
            result = truth;
        }
    }
    result
}

impl Policy {
    /// Decides as XACML 3.0 has it.
    #[must_use]
    pub fn evaluate_standard(&self, request: &Request) -> Evaluation {
        let target = self.target.truth(request);
        if target == Truth::False {
            return Decision::NotApplicable.into();
        }
        let decisions = self.rules.iter().map(|rule| rule.decide_standard(request));
        let combined = combine(self.algorithm, decisions);
        let decision = if target == Truth::True { combined } else { doubted(combined) };
        let obligations = match decision {
            Decision::Permit => self.obligations_on(Effect::Permit),
            Decision::Deny => self.obligations_on(Effect::Deny),
            Decision::NotApplicable | Decision::Indeterminate(_) => Vec::new(),
        };
        Evaluation { decision, obligations }
    }
}

/// What is left of a decision when the policy's target cannot be told. Table 7.
fn doubted(decision: Decision) -> Decision {
    match decision {
        Decision::Permit => Decision::Indeterminate(Potential::Permit),
        Decision::Deny => Decision::Indeterminate(Potential::Deny),
        Decision::NotApplicable | Decision::Indeterminate(_) => decision,
    }
}

impl Rule {
    /// Table 4; without a target of its own a rule has the policy's.
    fn decide_standard(&self, request: &Request) -> Decision {
        let target = self.target.as_ref().map_or(Truth::True, |target| target.truth(request));
        let truth = match (target, &self.condition) {
            (Truth::True, Some(condition)) => condition.truth(request),
            (truth, _) => truth,
        };
        match truth {
            Truth::True => self.effect.decision(),
            Truth::False => Decision::NotApplicable,
            Truth::Indeterminate => self.effect.failed(),
        }
    }
}

impl Target {
    fn truth(&self, request: &Request) -> Truth {
        all(self.any_of.iter().map(|any_of| {
            let all_of = any_of.all_of.iter();
            any(all_of.map(|all_of| all(all_of.matches.iter().map(|one| one.truth(request)))))
        }))
    }
}

impl Match {
    fn truth(&self, request: &Request) -> Truth {
        let mut bag = request.bag(&self.designator).peekable();
        if self.designator.must_be_present && bag.peek().is_none() {
            return Truth::Indeterminate;
        }
        any(bag.map(|given| holds(self.function, Reading::Standard, &self.value, given).into()))
    }
}

impl Condition {
    fn truth(&self, request: &Request) -> Truth {
        let mut bag = request.bag(&self.designator).peekable();
        let holds =
            |given| Truth::from(holds(self.function, Reading::Standard, &self.value, given));
        match self.shape {
            Shape::IsIn if self.designator.must_be_present && bag.peek().is_none() => {
                Truth::Indeterminate
            }
            Shape::IsIn => any(bag.map(holds)),
            Shape::OneAndOnly => match (bag.next(), bag.next()) {
                (Some(only), None) => holds(only),
                (None | Some(_), _) => Truth::Indeterminate,
            },
        }
    }
}

//! Which packages open a right: a policy specialised to it, for the register.
//!
//! A permit is derived only where Altinn's reading and the standard's both permit, whatever the party, the
//! system user, the instance and the time are, and whatever else the PDP may add to the request. Everything
//! less is no answer, and the PDP is asked. Access lists are not part of a policy; they are the caller's.

use super::names::{Algorithm, Effect};
use super::residual::{AmbiguousApp, Bound, Known, Residual, altinn, standard};
use super::{Function, Match, Policy, Rule};
use crate::domain::decision::{UnmetObligation, check_obligations};
use crate::domain::delegation::PackageId;
use crate::domain::resource::Right;
use std::fmt;

/// What a policy says about one right, in terms of the packages that a system user holds for a party.
#[derive(Clone, Debug)]
pub struct CompiledRight {
    algorithm: Algorithm,
    rules: Vec<CompiledRule>,
}

/// A rule that can apply to the right; both residuals are exact for a rule that denies, and for one that
/// permits never say more than the rule does.
#[derive(Clone, Debug)]
struct CompiledRule {
    id: String,
    effect: Effect,
    altinn: Residual,
    standard: Residual,
}

/// What follows from a policy and the packages held.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Derived {
    /// Both readings permit.
    Permit,
    /// No permit follows. Not a "no": a single right may have been delegated, and the PDP is asked.
    NotPermitted,
}

/// Why nothing is derived for a right; the PDP is asked instead.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotDerivable {
    /// No rule that permits the right rests on packages alone.
    #[error("no rule opens the right by an access package alone")]
    NoPackage,
    /// A permit without any package: there is nothing that the register could know.
    #[error("the policy opens the right to who holds no access package")]
    OpenToAll,
    /// `permit-unless-deny`: a permit that no rule gave.
    #[error("the policy permits what no rule denies")]
    PermitUnlessDeny,
    /// A rule denies by something that the register does not know: party, role, user, instance, time.
    #[error("rule `{0}` denies by what the register does not know")]
    UnknownDeny(String),
    /// An attribute that must be present, and may not be: the PDP would not decide.
    #[error("attribute `{0}` must be present, and may not be")]
    MustBePresent(String),
    /// A comparison in which Altinn's PDP and the standard can differ.
    #[error("attribute `{0}` is compared as something else than text")]
    Function(String),
    /// An attribute of one issuer: the standard looks at who vouches for it, Altinn's PDP does not.
    #[error("attribute `{0}` must be of one issuer")]
    Issuer(String),
    /// A rule that can apply has a condition, in which Altinn's PDP and the standard differ.
    #[error("rule `{0}` has a condition")]
    Condition(String),
    /// A permit would come with an obligation that is not fulfilled or not understood.
    #[error("a permit would come with an obligation that closes it")]
    Obligation(#[source] UnmetObligation),
    /// `app_{org}_{app}` with further underscores: the PDP cuts the name.
    #[error("the id of the app can be split in more than one way")]
    AppName,
}

impl NotDerivable {
    /// The stable label in metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::NoPackage => "no_package",
            Self::OpenToAll => "open_to_all",
            Self::PermitUnlessDeny => "permit_unless_deny",
            Self::UnknownDeny(_) => "unknown_deny",
            Self::MustBePresent(_) => "must_be_present",
            Self::Function(_) => "function",
            Self::Issuer(_) => "issuer",
            Self::Condition(_) => "condition",
            Self::Obligation(_) => "obligation",
            Self::AppName => "app_name",
        }
    }
}

impl NotDerivable {
    /// What a [`label`](Self::label) means, for people who have no more than that.
    #[must_use]
    pub fn in_words(label: &str) -> &'static str {
        match label {
            "no_package" => "no rule opens the right by an access package alone",
            "open_to_all" => "it opens the right to who holds no access package",
            "permit_unless_deny" => "it permits what no rule denies",
            "unknown_deny" => "a rule denies by what the register does not know",
            "must_be_present" => "an attribute must be present, and may not be",
            "function" => "an attribute is compared as something else than text",
            "issuer" => "an attribute must be of one issuer",
            "condition" => "a rule has a condition",
            "obligation" => "a permit would come with an obligation that closes it",
            "app_name" => "the id of the app can be split in more than one way",
            _ => "it holds something that is not evaluated",
        }
    }
}

impl From<AmbiguousApp> for NotDerivable {
    fn from(AmbiguousApp: AmbiguousApp) -> Self {
        Self::AppName
    }
}

impl Policy {
    /// Specialises the policy to one right; once for each version of the policy, deciding is cheap then.
    ///
    /// # Errors
    /// [`NotDerivable`] when an answer could differ from the PDP's, or none could ever be a permit.
    pub fn compile(&self, right: &Right) -> Result<CompiledRight, NotDerivable> {
        if self.algorithm == Algorithm::PermitUnlessDeny {
            return Err(NotDerivable::PermitUnlessDeny);
        }
        check_obligations(&self.obligations_on(Effect::Permit))
            .map_err(NotDerivable::Obligation)?;
        let known = Known::new(right)?;
        self.matches().try_for_each(|one| check_match(one, &known))?;
        let compile = |rule| self.compile_rule(rule, &known).transpose();
        let rules = self.rules.iter().filter_map(compile).collect::<Result<_, _>>()?;
        CompiledRight { algorithm: self.algorithm, rules }.checked()
    }

    /// What is left of one rule; `None` when it cannot make a difference.
    fn compile_rule(
        &self,
        rule: &Rule,
        known: &Known<'_>,
    ) -> Result<Option<CompiledRule>, NotDerivable> {
        let bounded = |bound| (altinn(rule, known, bound), standard(self, rule, known, bound));
        let most = bounded(Bound::Holds);
        if most == (Residual::Never, Residual::Never) {
            return Ok(None);
        }
        if rule.condition.is_some() {
            return Err(NotDerivable::Condition(rule.id.clone()));
        }
        let least = bounded(Bound::Fails);
        // A permit that cannot be told is left out: with it there could only be more permits.
        if rule.effect == Effect::Deny {
            if !self.algorithm.hears_denials() {
                return Ok(None);
            }
            if least != most {
                return Err(NotDerivable::UnknownDeny(rule.id.clone()));
            }
        }
        let (altinn, standard) = least;
        Ok(Some(CompiledRule { id: rule.id.clone(), effect: rule.effect, altinn, standard }))
    }
}

impl Algorithm {
    /// Whether a rule that denies can take away another rule's permit.
    fn hears_denials(self) -> bool {
        match self {
            Self::DenyOverrides | Self::FirstApplicable | Self::PermitUnlessDeny => true,
            Self::PermitOverrides | Self::DenyUnlessPermit => false,
        }
    }
}

/// Refuses what can fail instead of holding or not: no residual could say so. It counts wherever it stands,
/// since in Altinn's reading one absent attribute fails the whole policy.
fn check_match(one: &Match, known: &Known<'_>) -> Result<(), NotDerivable> {
    let id = || one.designator.id.clone();
    match one.function {
        Function::StringEqual | Function::StringEqualIgnoreCase => {}
        Function::AnyUriEqual | Function::IntegerEqual => return Err(NotDerivable::Function(id())),
    }
    if one.designator.issuer.is_some() {
        return Err(NotDerivable::Issuer(id()));
    }
    if one.designator.must_be_present && !known.is_present(one) {
        return Err(NotDerivable::MustBePresent(id()));
    }
    Ok(())
}

impl CompiledRight {
    fn checked(self) -> Result<Self, NotDerivable> {
        if self.derive(|_| false) == Derived::Permit {
            return Err(NotDerivable::OpenToAll);
        }
        let permits = self.rules.iter().filter(|rule| rule.effect == Effect::Permit);
        let opens = |residual: fn(&CompiledRule) -> &Residual| {
            permits.clone().any(|rule| *residual(rule) != Residual::Never)
        };
        if opens(|rule| &rule.altinn) && opens(|rule| &rule.standard) {
            Ok(self)
        } else {
            Err(NotDerivable::NoPackage)
        }
    }

    /// Decides for a system user and party. `held` must know every package held; a package that it takes for
    /// not held could be one that denies. Allocates nothing.
    pub fn derive(&self, held: impl Fn(&PackageId) -> bool) -> Derived {
        let both =
            self.permits(|rule| &rule.altinn, &held) && self.permits(|rule| &rule.standard, &held);
        if both { Derived::Permit } else { Derived::NotPermitted }
    }

    /// Nothing is indeterminate here, so that the tables are short. Source: XACML 3.0 appendix C.
    fn permits(
        &self,
        residual: fn(&CompiledRule) -> &Residual,
        held: &impl Fn(&PackageId) -> bool,
    ) -> bool {
        let mut applying = self.rules.iter().filter(|rule| residual(rule).applies(held));
        match self.algorithm {
            Algorithm::DenyOverrides => {
                let mut permitted = false;
                let denied = applying.any(|rule| {
                    permitted |= rule.effect == Effect::Permit;
                    rule.effect == Effect::Deny
                });
                permitted && !denied
            }
            Algorithm::PermitOverrides | Algorithm::DenyUnlessPermit => {
                applying.any(|rule| rule.effect == Effect::Permit)
            }
            Algorithm::FirstApplicable => {
                applying.next().is_some_and(|rule| rule.effect == Effect::Permit)
            }
            // Never compiled: no rule would have given the permit.
            Algorithm::PermitUnlessDeny => false,
        }
    }

    /// The packages by which a rule denies: [`CompiledRight::derive`] must be told of each whether it is held.
    pub fn denying(&self) -> impl Iterator<Item = &PackageId> {
        self.rules
            .iter()
            .filter(|rule| rule.effect == Effect::Deny)
            .flat_map(CompiledRule::packages)
    }

    /// Why [`CompiledRight::derive`] says what it says, for people.
    pub fn explain(&self, held: impl Fn(&PackageId) -> bool) -> Explanation {
        let rules = self.rules.iter();
        let applying =
            rules.filter(|rule| rule.altinn.applies(&held) || rule.standard.applies(&held));
        Explanation {
            derived: self.derive(&held),
            rules: applying.map(|rule| rule.explain(&held)).collect(),
            opening: self.opening(),
        }
    }

    /// The packages that rules which permit the right speak of, each once and in order.
    fn opening(&self) -> Vec<PackageId> {
        let permits = self.rules.iter().filter(|rule| rule.effect == Effect::Permit);
        let mut packages: Vec<PackageId> =
            permits.flat_map(CompiledRule::packages).cloned().collect();
        packages.sort();
        packages.dedup();
        packages
    }
}

impl CompiledRule {
    fn packages(&self) -> impl Iterator<Item = &PackageId> {
        self.altinn.packages().chain(self.standard.packages())
    }

    fn explain(&self, held: &impl Fn(&PackageId) -> bool) -> RuleExplanation {
        let mut packages: Vec<PackageId> =
            self.packages().filter(|package| held(package)).cloned().collect();
        packages.sort();
        packages.dedup();
        RuleExplanation { rule: self.id.clone(), effect: self.effect, packages }
    }
}

/// A rule that applied, and the packages held that it speaks of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuleExplanation {
    /// `RuleId`, as written.
    pub rule: String,
    /// What it says.
    pub effect: Effect,
    /// Of the packages held, those that it names; sorted.
    pub packages: Vec<PackageId>,
}

/// Which rules applied through which packages; `Display` is for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explanation {
    /// What was derived.
    pub derived: Derived,
    /// The rules that applied in either reading, in the order of the policy.
    pub rules: Vec<RuleExplanation>,
    /// Every package that a rule which permits the right names; sorted.
    pub opening: Vec<PackageId>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for rule in &self.rules {
            let verb = match rule.effect {
                Effect::Permit => "permits",
                Effect::Deny => "denies",
            };
            write!(f, "rule `{}` {verb} through {}; ", rule.rule, Packages(&rule.packages))?;
        }
        match self.derived {
            Derived::Permit => f.write_str("both readings of the policy permit"),
            Derived::NotPermitted => {
                write!(f, "no permit follows; the right is opened by {}", Packages(&self.opening))
            }
        }
    }
}

struct Packages<'a>(&'a [PackageId]);

impl fmt::Display for Packages<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no access package");
        }
        for (place, package) in self.0.iter().enumerate() {
            let before = if place == 0 { "" } else { ", " };
            write!(f, "{before}`{package}`")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_words_of_its_own() {
        let text = String::new;
        let all = [
            NotDerivable::NoPackage,
            NotDerivable::OpenToAll,
            NotDerivable::PermitUnlessDeny,
            NotDerivable::UnknownDeny(text()),
            NotDerivable::MustBePresent(text()),
            NotDerivable::Function(text()),
            NotDerivable::Issuer(text()),
            NotDerivable::Condition(text()),
            NotDerivable::Obligation(UnmetObligation::UnknownCategory),
            NotDerivable::AppName,
        ];
        let mut words: Vec<_> = all.iter().map(|why| NotDerivable::in_words(why.label())).collect();
        words.push(NotDerivable::in_words("policy"));
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), all.len() + 1);
    }
}

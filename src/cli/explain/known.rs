//! What the register knows of a question, in words. Names no party but the one that the request concerns,
//! and no person.

use crate::domain::delegation::PackageId;
use crate::domain::party::Party;
use crate::domain::policy::{Effect, RuleExplanation};
use crate::domain::resource::Question;
use crate::register::{Explanation, NotDerived, Reader, Ticks};
use crate::serve::register::span;
use std::fmt::Write as _;

/// What the register says to each question, and why.
pub(super) struct Known<'r> {
    /// The register.
    pub(super) reader: &'r Reader,
    /// Whether the request was let through.
    pub(super) permitted: bool,
    /// Whether Altinn's PDP could be asked.
    pub(super) offline: bool,
}

impl Known<'_> {
    /// A paragraph for each question.
    pub(super) fn tell(&self, questions: &[Question]) -> String {
        let mut text = String::new();
        for question in questions {
            let explanation = self.reader.explain(question);
            let _ = writeln!(text, "\n  register, system user {}", question.system_user());
            for line in self.lines(question, &explanation) {
                let _ = writeln!(text, "    {line}");
            }
        }
        text
    }

    fn lines(&self, question: &Question, explanation: &Explanation) -> Vec<String> {
        let ticks = self.reader.ticks();
        let mut lines = vec![read(explanation, ticks)];
        lines.extend(held(question, explanation));
        lines.extend(policy(question, explanation, ticks));
        lines.push(match explanation.look_up.derived {
            Ok(derived) => {
                let age = ticks.age(derived.fetched).max(ticks.age(derived.policies_verified));
                format!("derived: a permit, {} old", span(age))
            }
            Err(why) => format!("not derived: {why}{}", self.instead()),
        });
        lines.extend(opening(explanation));
        lines.extend(self.singly(question, explanation));
        lines
    }

    fn instead(&self) -> &'static str {
        if self.offline {
            "; Altinn's PDP is not asked offline"
        } else {
            "; Altinn's PDP is asked instead, for a no is never derived"
        }
    }

    /// What single rights leave open: which actions they are for is told by nobody but the PDP.
    fn singly(&self, question: &Question, explanation: &Explanation) -> Option<String> {
        if !explanation.resources.contains(question.resource())
            || explanation.look_up.derived.is_ok()
        {
            return None;
        }
        let resource = question.resource();
        Some(if self.permitted || self.offline {
            format!(
                "some action on `{resource}` is delegated singly for this party; which, only Altinn's PDP knows"
            )
        } else {
            format!(
                "some action on `{resource}` is delegated singly for this party, but not `{}`",
                question.action()
            )
        })
    }
}

fn read(explanation: &Explanation, ticks: &Ticks) -> String {
    let fetched = explanation.look_up.watched.map(|watched| watched.fetched);
    match fetched {
        None => "not watched".to_owned(),
        Some(None) => "watched, but Altinn has not told yet what it holds".to_owned(),
        Some(Some(fetched)) => format!("read from Altinn {} ago", span(ticks.age(fetched))),
    }
}

fn held(question: &Question, explanation: &Explanation) -> Option<String> {
    if matches!(question.party(), Party::Person(_)) {
        return Some("the party is a person: nothing is held of persons".to_owned());
    }
    explanation.look_up.watched.and_then(|watched| watched.fetched)?;
    if explanation.look_up.derived == Err(NotDerived::NoParty) {
        return Some("holds nothing for this party that concerns the routed resources".to_owned());
    }
    Some(format!("holds for this party: access packages {}", names(&explanation.packages)))
}

fn policy(question: &Question, explanation: &Explanation, ticks: &Ticks) -> Vec<String> {
    let Some(version) = explanation.policy else { return Vec::new() };
    let verified = explanation.policies_verified.map(|tick| span(ticks.age(tick)));
    let current = verified.map_or_else(String::new, |age| format!(", current {age} ago"));
    let mut lines =
        vec![format!("policy of `{}`, version {version}{current}", question.resource())];
    lines.extend(explanation.rules.iter().flat_map(|rules| &rules.rules).map(rule));
    lines
}

fn rule(rule: &RuleExplanation) -> String {
    let verb = match rule.effect {
        Effect::Permit => "permits",
        Effect::Deny => "denies",
    };
    format!("rule `{}` {verb} through {}", rule.rule, names(&rule.packages))
}

/// Which packages would have opened it.
fn opening(explanation: &Explanation) -> Option<String> {
    let no =
        matches!(explanation.look_up.derived, Err(NotDerived::NotCovered | NotDerived::NoParty));
    let rules = explanation.rules.as_ref().filter(|_| no)?;
    Some(format!("the right is opened by {}", names(&rules.opening)))
}

fn names(packages: &[PackageId]) -> String {
    let names: Vec<String> = packages.iter().map(|package| format!("`{package}`")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

//! Prints the rules of a resource as XACML 3.0. Nothing in the sandbox reads this text.

use crate::world::World;
use crate::world::model::{Combining, Effect, Resource, Rule};
use std::fmt::Write as _;

const STRING: &str = "http://www.w3.org/2001/XMLSchema#string";
const SUBJECT: &str = "urn:oasis:names:tc:xacml:1.0:subject-category:access-subject";
const RESOURCE: &str = "urn:oasis:names:tc:xacml:3.0:attribute-category:resource";
const ACTION: &str = "urn:oasis:names:tc:xacml:3.0:attribute-category:action";
const EQUAL: &str = "urn:oasis:names:tc:xacml:1.0:function:string-equal";
const EQUAL_IGNORE_CASE: &str = "urn:oasis:names:tc:xacml:3.0:function:string-equal-ignore-case";

/// The policy of a resource; `None` if none was uploaded.
pub(crate) fn policy(world: &World, resource: &Resource) -> Option<String> {
    if resource.rules.is_empty() {
        return None;
    }
    let id = escaped(&resource.id);
    let algorithm = match resource.combining {
        Combining::DenyOverrides => "deny-overrides",
        Combining::DenyUnlessPermit => "deny-unless-permit",
    };
    let rules: String = (1..)
        .zip(&resource.rules)
        .map(|(number, one)| rule(world, resource, number, one))
        .collect();
    let obligations = resource.minimum_level.map(obligation).unwrap_or_default();
    Some(format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<xacml:Policy xmlns:xacml="urn:oasis:names:tc:xacml:3.0:core:schema:wd-17" PolicyId="urn:altinn:resource:policyid:{id}" Version="1.0" RuleCombiningAlgId="urn:oasis:names:tc:xacml:3.0:rule-combining-algorithm:{algorithm}">
  <xacml:Target/>
{rules}{obligations}</xacml:Policy>
"#
    ))
}

fn rule(world: &World, resource: &Resource, number: usize, rule: &Rule) -> String {
    let id = escaped(&resource.id);
    let effect = match rule.effect {
        Effect::Permit => "Permit",
        Effect::Deny => "Deny",
    };
    let subjects: Vec<Vec<Match<'_>>> = subjects(world, rule).map(|one| vec![one]).collect();
    let mut own = vec![Match::new(EQUAL, "urn:altinn:resource", &resource.id, RESOURCE)];
    if let Some(part) = &rule.subresource {
        let part = Match::new(EQUAL, "urn:altinn:subresource", part, RESOURCE);
        own.push(Match { must_be_present: true, ..part });
    }
    let actions: Vec<Vec<Match<'_>>> = rule
        .actions
        .iter()
        .map(|action| {
            vec![Match::new(EQUAL, "urn:oasis:names:tc:xacml:1.0:action:action-id", action, ACTION)]
        })
        .collect();
    format!(
        "  <xacml:Rule RuleId=\"urn:altinn:resource:{id}:ruleid:{number}\" Effect=\"{effect}\">\n    <xacml:Target>\n{}{}{}    </xacml:Target>\n  </xacml:Rule>\n",
        any_of(&subjects),
        any_of(&[own]),
        any_of(&actions),
    )
}

/// Who a rule is for: packages by URN suffix, then roles.
pub(crate) fn subjects<'a>(world: &'a World, rule: &'a Rule) -> impl Iterator<Item = Match<'a>> {
    let packages =
        rule.packages.iter().filter_map(|code| world.packages.get(code)).map(|package| {
            Match::new(EQUAL_IGNORE_CASE, "urn:altinn:accesspackage", package.urn_suffix(), SUBJECT)
        });
    let roles = rule
        .roles
        .iter()
        .map(|role| Match::new(EQUAL_IGNORE_CASE, "urn:altinn:rolecode", role, SUBJECT));
    packages.chain(roles)
}

/// One `<Match>`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Match<'a> {
    function: &'static str,
    /// The attribute id.
    pub(crate) attribute: &'static str,
    /// The value it must have.
    pub(crate) value: &'a str,
    category: &'static str,
    must_be_present: bool,
}

impl<'a> Match<'a> {
    fn new(
        function: &'static str,
        attribute: &'static str,
        value: &'a str,
        category: &'static str,
    ) -> Self {
        Self { function, attribute, value, category, must_be_present: false }
    }
}

/// One `<AnyOf>` with an `<AllOf>` per alternative; nothing without alternatives.
fn any_of(alternatives: &[Vec<Match<'_>>]) -> String {
    if alternatives.is_empty() {
        return String::new();
    }
    let mut text = String::from("      <xacml:AnyOf>\n");
    for matches in alternatives {
        text.push_str("        <xacml:AllOf>\n");
        for one in matches {
            push_match(&mut text, *one);
        }
        text.push_str("        </xacml:AllOf>\n");
    }
    text.push_str("      </xacml:AnyOf>\n");
    text
}

fn push_match(text: &mut String, one: Match<'_>) {
    let Match { function, attribute, value, category, must_be_present } = one;
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        r#"          <xacml:Match MatchId="{function}">
            <xacml:AttributeValue DataType="{STRING}">{}</xacml:AttributeValue>
            <xacml:AttributeDesignator AttributeId="{attribute}" Category="{category}" DataType="{STRING}" MustBePresent="{must_be_present}"/>
          </xacml:Match>
"#,
        escaped(value)
    );
}

fn obligation(level: u8) -> String {
    format!(
        r#"  <xacml:ObligationExpressions>
    <xacml:ObligationExpression FulfillOn="Permit" ObligationId="urn:altinn:obligation:1">
      <xacml:AttributeAssignmentExpression AttributeId="urn:altinn:obligation-assignment:1" Category="urn:altinn:minimum-authenticationlevel">
        <xacml:AttributeValue DataType="http://www.w3.org/2001/XMLSchema#integer">{level}</xacml:AttributeValue>
      </xacml:AttributeAssignmentExpression>
    </xacml:ObligationExpression>
  </xacml:ObligationExpressions>
"#
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::seed;

    fn policy_of(id: &str) -> Option<String> {
        let world = seed::parse(seed::BUILT_IN, 0).unwrap();
        policy(&world, &world.resources[id])
    }

    #[test]
    fn a_policy_names_packages_by_urn_suffix_and_its_level() {
        let text = policy_of("ske-utlegg").unwrap();
        assert!(text.contains(">namsmannen-tvangsfullbyrdelse-forliksradet<"), "{text}");
        assert!(!text.contains("vergemal-"), "{text}");
        assert!(text.contains(r#"XMLSchema#integer">3<"#), "{text}");
    }

    #[test]
    fn combining_deny_rules_and_required_attributes_are_printed() {
        assert!(policy_of("ske-dokumentinnsyn").unwrap().contains(":deny-unless-permit\""));
        assert!(policy_of("ske-arkiv").unwrap().contains("Effect=\"Deny\""));
        assert!(policy_of("ske-fastsetting").unwrap().contains("MustBePresent=\"true\""));
        assert!(policy_of("ske-uten-policy").is_none());
    }
}

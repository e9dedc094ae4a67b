//! Prints the rules of a resource as XACML 3.0. Nothing in the sandbox reads this text.

use crate::world::World;
use crate::world::resource::{AlgorithmFamily, Combining, Effect, Resource, Rule};
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
    let algorithm = algorithm(resource);
    let rules: String = (1..)
        .zip(&resource.rules)
        .map(|(number, one)| rule(world, resource, number, one))
        .collect();
    let obligations = resource.minimum_level.map(obligation).unwrap_or_default();
    Some(format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<xacml:Policy xmlns:xacml="urn:oasis:names:tc:xacml:3.0:core:schema:wd-17" PolicyId="urn:altinn:resource:policyid:{id}" Version="1.0" RuleCombiningAlgId="{algorithm}">
  <xacml:Target/>
{rules}{obligations}</xacml:Policy>
"#
    ))
}

/// The identifier of the combining algorithm.
fn algorithm(resource: &Resource) -> String {
    let family = match resource.algorithm_family {
        AlgorithmFamily::Rule => "rule",
        AlgorithmFamily::Policy => "policy",
    };
    let (version, name) = match resource.combining {
        Combining::DenyOverrides => ("3.0", "deny-overrides"),
        Combining::OrderedDenyOverrides => ("3.0", "ordered-deny-overrides"),
        Combining::PermitOverrides => ("3.0", "permit-overrides"),
        Combining::OrderedPermitOverrides => ("3.0", "ordered-permit-overrides"),
        Combining::DenyUnlessPermit => ("3.0", "deny-unless-permit"),
        Combining::PermitUnlessDeny => ("3.0", "permit-unless-deny"),
        Combining::FirstApplicable => ("1.0", "first-applicable"),
    };
    format!("urn:oasis:names:tc:xacml:{version}:{family}-combining-algorithm:{name}")
}

fn rule(world: &World, resource: &Resource, number: usize, rule: &Rule) -> String {
    let id = escaped(&resource.id);
    let effect = match rule.effect {
        Effect::Permit => "Permit",
        Effect::Deny => "Deny",
    };
    let subjects: Vec<Vec<Match<'_>>> = subjects(world, rule).collect();
    let mut own = vec![Match::new(EQUAL, "urn:altinn:resource", &resource.id, RESOURCE)];
    if let Some(part) = &rule.subresource {
        let part = Match::new(EQUAL, "urn:altinn:subresource", part, RESOURCE);
        own.push(Match { must_be_present: !rule.subresource_optional, ..part });
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

/// Who a rule is for: packages by URN suffix, groups of them, roles, service owners. One of them is enough.
pub(crate) fn subjects<'a>(
    world: &'a World,
    rule: &'a Rule,
) -> impl Iterator<Item = Vec<Match<'a>>> {
    let packages = rule.packages.iter().map(|code| vec![package(world, rule, code)]);
    let groups = rule
        .package_groups
        .iter()
        .map(|group| group.iter().map(|code| package(world, rule, code)).collect());
    let roles = rule.roles.iter().map(|name| vec![role(name)]);
    let owners = rule
        .service_owners
        .iter()
        .map(|code| vec![Match::new(EQUAL, "urn:altinn:org", code, SUBJECT)]);
    packages.chain(groups).chain(roles).chain(owners)
}

fn package<'a>(world: &'a World, rule: &'a Rule, code: &'a str) -> Match<'a> {
    let function = if rule.exact_case { EQUAL } else { EQUAL_IGNORE_CASE };
    let written = world.package_named(code).map_or(code, |package| package.written(code));
    Match::new(function, "urn:altinn:accesspackage", written, SUBJECT)
}

/// A role by code, or by URN: then its last part is the value and what is before it the attribute.
fn role(name: &str) -> Match<'_> {
    let (attribute, value) = name.rsplit_once(':').unwrap_or(("urn:altinn:rolecode", name));
    Match::new(EQUAL_IGNORE_CASE, attribute, value, SUBJECT)
}

/// One `<Match>`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Match<'a> {
    function: &'static str,
    /// The attribute id.
    pub(crate) attribute: &'a str,
    /// The value it must have.
    pub(crate) value: &'a str,
    category: &'static str,
    must_be_present: bool,
}

impl<'a> Match<'a> {
    fn new(
        function: &'static str,
        attribute: &'a str,
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

    #[test]
    fn groups_roles_letter_case_and_the_policy_family_are_printed() {
        let world = seed::parse(seed::BUILT_IN, 0).unwrap();
        let resource: Resource = serde_json::from_str(
            r#"{ "id": "x", "title": {}, "combining": "first-applicable", "algorithm_family": "policy",
                 "rules": [{ "package_groups": [["lonn", "skattegrunnlag"]], "packages": ["Merverdiavgift"],
                   "exact_case": true, "roles": ["dagl", "urn:altinn:external-role:ccr:regnskapsforer"],
                   "service_owners": ["skd"], "actions": ["read"],
                   "subresource": "del", "subresource_optional": true }] }"#,
        )
        .unwrap();
        let text = policy(&world, &resource).unwrap();
        let algorithm = "urn:oasis:names:tc:xacml:1.0:policy-combining-algorithm:first-applicable";
        for part in [
            algorithm,
            ">Merverdiavgift<",
            ">regnskapsforer<",
            "\"urn:altinn:external-role:ccr\"",
            "\"urn:altinn:rolecode\"",
            "\"urn:altinn:org\"",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("MustBePresent=\"true\""));
        let all_of = text.split("<xacml:AllOf>").find(|part| part.contains(">lonn<")).unwrap();
        assert!(all_of.contains(">skattegrunnlag<"), "{text}");
    }
}

//! Policies written for a test, and random ones.

use proptest::prelude::*;
use std::fmt::Write as _;

pub(crate) const NAMESPACE: &str = "urn:oasis:names:tc:xacml:3.0:core:schema:wd-17";
pub(crate) const PACKAGE: &str = "urn:altinn:accesspackage";
pub(crate) const ROLE: &str = "urn:altinn:rolecode";
pub(crate) const SYSTEM_USER: &str = "urn:altinn:systemuser:uuid";
pub(crate) const RESOURCE: &str = "urn:altinn:resource";
pub(crate) const PARTY: &str = "urn:altinn:organization:identifier-no";
pub(crate) const PARTY_ID: &str = "urn:altinn:partyid";
pub(crate) const ACTION: &str = "urn:oasis:names:tc:xacml:1.0:action:action-id";
pub(crate) const EQUAL: &str = "urn:oasis:names:tc:xacml:1.0:function:string-equal";
pub(crate) const IGNORE_CASE: &str =
    "urn:oasis:names:tc:xacml:3.0:function:string-equal-ignore-case";
pub(crate) const DENY_OVERRIDES: &str =
    "urn:oasis:names:tc:xacml:3.0:rule-combining-algorithm:deny-overrides";
pub(crate) const FIRST_APPLICABLE: &str =
    "urn:oasis:names:tc:xacml:1.0:rule-combining-algorithm:first-applicable";
pub(crate) const ALGORITHMS: [&str; 5] = [
    DENY_OVERRIDES,
    "urn:oasis:names:tc:xacml:3.0:policy-combining-algorithm:permit-overrides",
    "urn:oasis:names:tc:xacml:3.0:rule-combining-algorithm:deny-unless-permit",
    "urn:oasis:names:tc:xacml:3.0:rule-combining-algorithm:permit-unless-deny",
    FIRST_APPLICABLE,
];

/// One match of a target.
#[derive(Clone, Debug)]
pub(crate) struct One {
    pub(crate) function: &'static str,
    pub(crate) id: &'static str,
    pub(crate) value: &'static str,
    pub(crate) must_be_present: bool,
}

/// All, of any, of all.
pub(crate) type Target = Vec<Vec<Vec<One>>>;

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) effect: &'static str,
    pub(crate) target: Target,
}

/// A match of strings that need not be there.
pub(crate) fn one(id: &'static str, value: &'static str) -> One {
    One { function: EQUAL, id, value, must_be_present: false }
}

/// A rule of one match in each of its parts.
pub(crate) fn rule(effect: &'static str, parts: &[One]) -> Rule {
    Rule { effect, target: parts.iter().map(|part| vec![vec![part.clone()]]).collect() }
}

/// A rule for `read` of `ex-returns` with one more match.
pub(crate) fn reading(effect: &'static str, part: One) -> Rule {
    rule(effect, &[part, one(RESOURCE, "ex-returns"), one(ACTION, "read")])
}

fn category(id: &str) -> &'static str {
    match id {
        PACKAGE | ROLE | SYSTEM_USER | "urn:altinn:partytype" => {
            "urn:oasis:names:tc:xacml:1.0:subject-category:access-subject"
        }
        ACTION => "urn:oasis:names:tc:xacml:3.0:attribute-category:action",
        "urn:example:hour" => "urn:oasis:names:tc:xacml:3.0:attribute-category:environment",
        _ => "urn:oasis:names:tc:xacml:3.0:attribute-category:resource",
    }
}

fn write_target(text: &mut String, target: &Target) {
    let string = "http://www.w3.org/2001/XMLSchema#string";
    text.push_str("<Target>");
    for any_of in target {
        text.push_str("<AnyOf>");
        for all_of in any_of {
            text.push_str("<AllOf>");
            for One { function, id, value, must_be_present } in all_of {
                write!(
                    text,
                    "<Match MatchId=\"{function}\"><AttributeValue DataType=\"{string}\">{value}</AttributeValue>\
                     <AttributeDesignator AttributeId=\"{id}\" Category=\"{}\" DataType=\"{string}\" \
                     MustBePresent=\"{must_be_present}\"/></Match>",
                    category(id)
                )
                .expect("text");
            }
            text.push_str("</AllOf>");
        }
        text.push_str("</AnyOf>");
    }
    text.push_str("</Target>");
}

/// The text of a policy. Rules are named `r0`, `r1` and so on.
pub(crate) fn policy(algorithm: &str, target: &Target, rules: &[Rule], end: &str) -> String {
    let mut text = format!(
        "<Policy xmlns=\"{NAMESPACE}\" PolicyId=\"urn:t:1\" Version=\"1.0\" RuleCombiningAlgId=\"{algorithm}\">"
    );
    write_target(&mut text, target);
    for (number, rule) in rules.iter().enumerate() {
        write!(text, "<Rule RuleId=\"r{number}\" Effect=\"{}\">", rule.effect).expect("text");
        write_target(&mut text, &rule.target);
        text.push_str("</Rule>");
    }
    text.push_str(end);
    text.push_str("</Policy>");
    text
}

/// A policy of deny-overrides without a target of its own.
pub(crate) fn simple(rules: &[Rule]) -> String {
    policy(DENY_OVERRIDES, &Vec::new(), rules, "")
}

/// An obligation that comes with a permit.
pub(crate) fn obligation(category: &str, value: &str) -> String {
    format!(
        "<ObligationExpressions><ObligationExpression FulfillOn=\"Permit\" ObligationId=\"urn:o:1\">\
         <AttributeAssignmentExpression AttributeId=\"urn:a:1\" Category=\"{category}\"><AttributeValue \
         DataType=\"http://www.w3.org/2001/XMLSchema#integer\">{value}</AttributeValue>\
         </AttributeAssignmentExpression></ObligationExpression></ObligationExpressions>"
    )
}

fn any_one() -> impl Strategy<Value = One> {
    // Often what the request holds, so that rules apply often enough to tell something.
    let named = prop_oneof![
        6 => prop::sample::select(vec![(PACKAGE, "p-one"), (PACKAGE, "p-two"), (PACKAGE, "P-Three")]),
        5 => prop::sample::select(vec![(RESOURCE, "ex-returns"), (ACTION, "read")]),
        1 => prop::sample::select(vec![
            (RESOURCE, "ex-other"),
            (ACTION, "write"),
            (ROLE, "dagl"),
            (SYSTEM_USER, "47caea5b-a80b-4343-b1d3-31eb523a4e28"),
            (PARTY, "310000027"),
            (PARTY_ID, "50000001"),
            ("urn:example:hour", "8"),
        ]),
    ];
    let must_be_present = prop::bool::weighted(0.02);
    (named, prop::bool::ANY, must_be_present).prop_map(|((id, value), ignore, must_be_present)| {
        One { function: if ignore { IGNORE_CASE } else { EQUAL }, id, value, must_be_present }
    })
}

fn any_target(any_of: std::ops::Range<usize>) -> impl Strategy<Value = Target> {
    prop::collection::vec(
        prop::collection::vec(prop::collection::vec(any_one(), 1..3), 1..3),
        any_of,
    )
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let effect = prop_oneof![3 => Just("Permit"), 1 => Just("Deny")];
    (effect, any_target(0..4)).prop_map(|(effect, target)| Rule { effect, target })
}

/// Any policy over the attributes above.
pub(crate) fn any_policy() -> impl Strategy<Value = String> {
    let target = prop_oneof![3 => Just(Vec::new()), 1 => any_target(1..2)];
    let algorithm = prop::sample::select(ALGORITHMS.to_vec());
    let rules = prop::collection::vec(any_rule(), 0..4);
    (algorithm, target, rules)
        .prop_map(|(algorithm, target, rules)| policy(algorithm, &target, &rules, ""))
}

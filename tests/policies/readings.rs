//! Where Altinn's reading of a policy and the standard's part, and where they do not.

use crate::build::{
    ACTION, DENY_OVERRIDES, EQUAL, NAMESPACE, One, PACKAGE, RESOURCE, ROLE, Rule, Target, one,
    policy, reading, rule, simple,
};
use Decision::{Deny, Indeterminate, NotApplicable, Permit};
use portvakt::domain::policy::{Attribute, Category, Decision, Policy, Potential, Request};

const UNKNOWN: Decision = Indeterminate(Potential::Both);

fn decide(text: &str, request: &Request) -> [Decision; 2] {
    let policy = Policy::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
    [policy.evaluate(request).decision, policy.evaluate_standard(request).decision]
}

/// Somebody with a package and a role, who reads.
fn request() -> Request {
    Request::default()
        .with(Category::Subject, PACKAGE, "p-one")
        .with(Category::Subject, ROLE, "dagl")
        .with(Category::Resource, RESOURCE, "ex-returns")
        .with(Category::Action, ACTION, "read")
}

fn must(id: &'static str, value: &'static str) -> One {
    One { must_be_present: true, ..one(id, value) }
}

fn target(effect: &'static str, target: Target) -> Rule {
    Rule { effect, target }
}

#[track_caller]
fn table(rows: Vec<(Vec<Rule>, Decision, Decision, &str)>) {
    for (rules, altinn, standard, why) in rows {
        assert_eq!(decide(&simple(&rules), &request()), [altinn, standard], "{why}");
    }
}

#[test]
fn targets_are_matched_by_category_or_by_any_of() {
    let [package, other] = [one(PACKAGE, "p-one"), one(PACKAGE, "p-two")];
    let [read, write] = [one(ACTION, "read"), one(ACTION, "write")];
    table(vec![
        (vec![reading("Permit", package.clone())], Permit, Permit, "as policies are written"),
        (vec![reading("Permit", other.clone())], NotApplicable, NotApplicable, "another package"),
        (vec![rule("Permit", &[])], Permit, Permit, "an empty target matches"),
        (
            vec![rule("Permit", &[package.clone(), other.clone(), read.clone()])],
            Permit,
            NotApplicable,
            "two AnyOf of one category: either, or both",
        ),
        (
            vec![target(
                "Permit",
                vec![vec![vec![package.clone()], vec![other.clone()]], vec![vec![read.clone()]]],
            )],
            Permit,
            Permit,
            "two AllOf in one AnyOf: either",
        ),
        (
            vec![target(
                "Permit",
                vec![vec![vec![package.clone(), other.clone()]], vec![vec![read.clone()]]],
            )],
            NotApplicable,
            NotApplicable,
            "two matches in one AllOf: both",
        ),
        (
            vec![target(
                "Permit",
                vec![vec![vec![package.clone(), write.clone()], vec![other.clone(), read.clone()]]],
            )],
            Permit,
            NotApplicable,
            "AllOf of mixed categories: crossed, or each whole",
        ),
        (
            vec![target(
                "Permit",
                vec![vec![vec![package, read]], vec![vec![one("urn:example:hour", "8")]]],
            )],
            Permit,
            NotApplicable,
            "the environment: not looked at, or absent",
        ),
    ]);
}

#[test]
fn an_attribute_that_must_be_present_fails_the_policy_or_the_rule() {
    let opens = reading("Permit", one(PACKAGE, "p-one"));
    let task = "urn:altinn:task";
    table(vec![
        (
            vec![opens.clone(), rule("Permit", &[must(task, "t"), one(ACTION, "read")])],
            UNKNOWN,
            Permit,
            "a resource attribute: all fails, or a permit beside what could only permit",
        ),
        (
            vec![opens.clone(), rule("Permit", &[must(task, "t"), one(ACTION, "write")])],
            UNKNOWN,
            Permit,
            "even where the action differs, or not where the action differs",
        ),
        (
            vec![
                opens.clone(),
                rule("Deny", &[must("urn:altinn:partytype", "x"), one(ACTION, "read")]),
            ],
            UNKNOWN,
            UNKNOWN,
            "of a rule that denies: it could have denied",
        ),
        (
            vec![opens.clone(), rule("Deny", &[must(RESOURCE, "ex-other"), one(ACTION, "read")])],
            Permit,
            Permit,
            "present with another value is no failure",
        ),
        (
            vec![opens, rule("Deny", &[one(task, "t"), one(ACTION, "read")])],
            Permit,
            Permit,
            "absent and need not be there",
        ),
    ]);
}

#[test]
fn between_match_and_missing_the_last_all_of_has_the_last_word() {
    let [present, absent] = [one(RESOURCE, "ex-returns"), must("urn:altinn:task", "t")];
    let either = |first: &One, second: &One| {
        vec![target(
            "Permit",
            vec![vec![vec![first.clone()], vec![second.clone()]], vec![vec![one(ACTION, "read")]]],
        )]
    };
    table(vec![
        (either(&present, &absent), UNKNOWN, Permit, "a later missing overwrites a match"),
        (either(&absent, &present), Permit, Permit, "a later match overwrites a missing"),
        (
            either(&absent, &one(RESOURCE, "ex-other")),
            UNKNOWN,
            Indeterminate(Potential::Permit),
            "no match does not",
        ),
    ]);
}

#[test]
fn a_missing_subject_is_the_potential_of_its_rule() {
    let role = |effect| reading(effect, must("urn:altinn:partytype", "x"));
    table(vec![
        (
            vec![role("Permit")],
            Indeterminate(Potential::Permit),
            Indeterminate(Potential::Permit),
            "P",
        ),
        (vec![role("Deny")], Indeterminate(Potential::Deny), Indeterminate(Potential::Deny), "D"),
        (
            vec![role("Deny"), rule("Deny", &[one(ACTION, "read")])],
            Deny,
            Deny,
            "a deny needs no more",
        ),
    ]);
}

#[test]
fn the_target_of_the_policy_is_looked_at_by_the_standard_only() {
    let rules = [reading("Permit", one(PACKAGE, "p-one")), rule("Deny", &[one(ACTION, "write")])];
    for (part, standard, why) in [
        (one(RESOURCE, "ex-returns"), Permit, "it matches"),
        (one(RESOURCE, "ex-other"), NotApplicable, "it does not"),
        (must("urn:altinn:task", "t"), Indeterminate(Potential::Permit), "it cannot be told"),
    ] {
        let text = policy(DENY_OVERRIDES, &vec![vec![vec![part]]], &rules, "");
        assert_eq!(decide(&text, &request()), [Permit, standard], "{why}");
    }
}

#[test]
fn a_value_of_another_type_does_not_match_and_is_present_only_for_altinn() {
    let typed = |data_type: &str| {
        let action = Attribute {
            category: Category::Action,
            id: ACTION.into(),
            issuer: None,
            data_type: format!("http://www.w3.org/2001/XMLSchema#{data_type}"),
            values: vec!["read".into()],
        };
        Request::new(vec![action]).with(Category::Subject, PACKAGE, "p-one")
    };
    let rules = |action| simple(&[rule("Permit", &[one(PACKAGE, "p-one"), action])]);
    let plain = rules(one(ACTION, "read"));
    assert_eq!(decide(&plain, &typed("string")), [Permit, Permit]);
    assert_eq!(decide(&plain, &typed("anyURI")), [NotApplicable, NotApplicable]);
    let present = rules(must(ACTION, "read"));
    assert_eq!(
        decide(&present, &typed("anyURI")),
        [NotApplicable, Indeterminate(Potential::Permit)]
    );
}

#[test]
fn a_bag_matches_when_any_value_does() {
    let text = simple(&[reading("Permit", one(PACKAGE, "p-one"))]);
    assert_eq!(decide(&text, &request().with(Category::Action, ACTION, "write")), [Permit, Permit]);
    let two = Request::default()
        .with(Category::Subject, PACKAGE, "p-two")
        .with(Category::Subject, PACKAGE, "p-one")
        .with(Category::Resource, RESOURCE, "ex-returns")
        .with(Category::Action, ACTION, "read");
    assert_eq!(decide(&text, &two), [Permit, Permit]);
}

/// A policy whose only rule has a condition.
fn conditional(condition: &str) -> String {
    let rule = simple(&[rule("Permit", &[one(ACTION, "read")])]);
    rule.replace("</Rule>", &format!("<Condition>{condition}</Condition></Rule>"))
}

#[test]
fn a_condition_compares_one_attribute_or_asks_a_bag() {
    let value = "<AttributeValue DataType=\"http://www.w3.org/2001/XMLSchema#string\">dagl</AttributeValue>";
    let bag = |id: &str| {
        format!(
            "<AttributeDesignator AttributeId=\"{id}\" DataType=\"http://www.w3.org/2001/XMLSchema#string\" \
             Category=\"urn:oasis:names:tc:xacml:1.0:subject-category:access-subject\" MustBePresent=\"false\"/>"
        )
    };
    let apply =
        |function: &str, inner: &str| format!("<Apply FunctionId=\"{function}\">{inner}</Apply>");
    let only = |id| apply("urn:oasis:names:tc:xacml:1.0:function:string-one-and-only", &bag(id));
    let is_in = |id| {
        let inner = format!("{value}{}", bag(id));
        conditional(&apply("urn:oasis:names:tc:xacml:1.0:function:string-is-in", &inner))
    };
    let equal = |id| conditional(&apply(EQUAL, &format!("{}{value}", only(id))));
    let failed = Indeterminate(Potential::Permit);
    let twice = request().with(Category::Subject, ROLE, "regn");
    for (text, request, decisions, why) in [
        (equal(ROLE), request(), [Permit, Permit], "the one role"),
        (
            conditional(&apply(EQUAL, &format!("{value}{}", only(ROLE)))),
            request(),
            [Permit, Permit],
            "turned round",
        ),
        (equal(PACKAGE), request(), [NotApplicable, NotApplicable], "another value"),
        (equal("urn:none"), request(), [failed, failed], "an absent attribute fails"),
        (equal(ROLE), twice.clone(), [Permit, failed], "two roles: either, or an error"),
        (is_in(ROLE), twice, [Permit, Permit], "a bag of two"),
        (
            is_in("urn:none"),
            request(),
            [failed, NotApplicable],
            "an empty bag: an error, or no member",
        ),
    ] {
        assert_eq!(decide(&text, &request), decisions, "{why}");
    }
    // An equality with a bag is none, whatever Altinn's PDP makes of it.
    let bare = conditional(&apply(EQUAL, &format!("{value}{}", bag(ROLE))));
    assert!(Policy::parse(bare.as_bytes()).is_err());
}

#[test]
fn obligations_come_with_the_decision_that_they_are_for() {
    let obligations = |effect: &str| {
        format!(
            "<ObligationExpressions xmlns=\"{NAMESPACE}\"><ObligationExpression FulfillOn=\"{effect}\" \
             ObligationId=\"urn:o\"><AttributeAssignmentExpression AttributeId=\"urn:a\" Category=\"urn:c\">\
             <AttributeValue DataType=\"http://www.w3.org/2001/XMLSchema#integer\">2</AttributeValue>\
             </AttributeAssignmentExpression></ObligationExpression></ObligationExpressions>"
        )
    };
    for (effect, fulfil_on, altinn, standard) in [
        ("Permit", "Permit", 1, 1),
        ("Permit", "Deny", 0, 0),
        ("Deny", "Deny", 0, 1),
        ("Deny", "Permit", 0, 0),
    ] {
        let rules = [reading(effect, one(PACKAGE, "p-one"))];
        let text = policy(DENY_OVERRIDES, &Vec::new(), &rules, &obligations(fulfil_on));
        let policy = Policy::parse(text.as_bytes()).unwrap();
        let counts = [policy.evaluate(&request()), policy.evaluate_standard(&request())];
        let counts = counts.map(|found| found.obligations.len());
        assert_eq!(counts, [altinn, standard], "{effect}, to fulfil on {fulfil_on}");
    }
}

//! What is derived from a policy, against both readings of it.

use crate::build::{
    ACTION, ALGORITHMS, DENY_OVERRIDES, EQUAL, FIRST_APPLICABLE, IGNORE_CASE, One, PACKAGE, PARTY,
    PARTY_ID, RESOURCE, ROLE, SYSTEM_USER, any_policy, obligation, one, policy, reading, rule,
    simple,
};
use portvakt::domain::decision::UnmetObligation;
use portvakt::domain::delegation::PackageId;
use portvakt::domain::policy::{
    Category, CompiledRight, Decision, Derived, NotDerivable, Policy, Request,
};
use portvakt::domain::resource::Right;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::Cell;

pub(crate) fn right(resource: &str, action: &str) -> Right {
    Right { resource: resource.parse().unwrap(), action: action.parse().unwrap() }
}

fn parse(text: &str) -> Policy {
    Policy::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn compile(text: &str) -> Result<CompiledRight, NotDerivable> {
    parse(text).compile(&right("ex-returns", "read"))
}

fn derive(text: &str, held: &[&str]) -> Derived {
    compile(text).unwrap().derive(|package| held.contains(&package.as_str()))
}

/// The request of a system user for one party, as the PDP completes it.
fn asked(user: &str, party: [&str; 2], held: &[&str]) -> Request {
    let mut request = Request::default()
        .with(Category::Subject, SYSTEM_USER, user)
        .with(Category::Resource, RESOURCE, "ex-returns")
        .with(Category::Resource, PARTY, party[0])
        .with(Category::Resource, PARTY_ID, party[1])
        .with(Category::Action, ACTION, "read");
    for package in held {
        request = request.with(Category::Subject, PACKAGE, package);
    }
    request
}

const PACKAGES: [&str; 4] = ["p-one", "p-two", "p-three", "p-four"];

fn held(mask: [bool; 4]) -> Vec<&'static str> {
    PACKAGES.into_iter().zip(mask).filter_map(|(package, held)| held.then_some(package)).collect()
}

fn both_permit(policy: &Policy, request: &Request) -> bool {
    let readings = [policy.evaluate(request), policy.evaluate_standard(request)];
    readings.iter().all(|found| found.decision == Decision::Permit)
}

/// Runs `check` over random policies and packages; it says how many permits it saw.
fn over_policies(check: impl Fn(&Policy, &CompiledRight, &[&str]) -> Result<bool, TestCaseError>) {
    let [compiled, permits] = [Cell::new(0), Cell::new(0)];
    let mut runner =
        TestRunner::new(Config { cases: 4000, failure_persistence: None, ..Config::default() });
    let run = runner.run(&(any_policy(), any::<[bool; 4]>()), |(text, mask)| {
        let policy = parse(&text);
        if let Ok(right) = policy.compile(&right("ex-returns", "read")) {
            compiled.set(compiled.get() + 1);
            permits.set(permits.get() + u32::from(check(&policy, &right, &held(mask))?));
        }
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
    println!("random policies: {} of 4000 compiled, {} permits", compiled.get(), permits.get());
    assert!(permits.get() > 50, "too few permits to tell anything");
}

#[test]
fn a_derived_permit_is_one_in_both_readings_whatever_else_the_request_holds() {
    over_policies(|policy, right, held| {
        let derived = right.derive(|package| held.contains(&package.as_str())) == Derived::Permit;
        if derived {
            for user in
                ["47caea5b-a80b-4343-b1d3-31eb523a4e28", "11111111-1111-4111-8111-111111111111"]
            {
                for party in [["310000027", "50000001"], ["310000035", "50000002"]] {
                    let plain = asked(user, party, held);
                    let more = plain
                        .clone()
                        .with(Category::Subject, ROLE, "dagl")
                        .with(Category::Resource, "urn:altinn:resource:instance-id", "1")
                        .with(Category::Environment, "urn:example:hour", "8");
                    prop_assert!(both_permit(policy, &plain), "{:?} {:?}", policy, plain);
                    prop_assert!(both_permit(policy, &more), "{:?} {:?}", policy, more);
                }
            }
        }
        Ok(derived)
    });
}

#[test]
fn where_something_is_derived_at_all_every_permit_of_both_readings_is() {
    over_policies(|policy, right, held| {
        // No rule names these: what the register does not know plays no part.
        let request =
            asked("11111111-1111-4111-8111-111111111111", ["310000035", "50000002"], held);
        let permitted = both_permit(policy, &request);
        let derived = right.derive(|package| held.contains(&package.as_str())) == Derived::Permit;
        prop_assert_eq!(derived, permitted, "{:?} {:?}", policy, held);
        Ok(permitted)
    });
}

#[test]
fn a_package_opens_the_right_that_a_rule_gives_it_and_no_other() {
    let text = simple(&[reading("Permit", one(PACKAGE, "p-one"))]);
    for (held, expected) in [
        (&["p-one"][..], Derived::Permit),
        (&["p-two", "p-one"], Derived::Permit),
        (&["p-two"], Derived::NotPermitted),
        (&[], Derived::NotPermitted),
    ] {
        assert_eq!(derive(&text, held), expected, "{held:?}");
    }
    for other in
        [right("ex-returns", "write"), right("ex-other", "read"), right("ex-returns", "READ")]
    {
        assert_eq!(parse(&text).compile(&other).unwrap_err(), NotDerivable::NoPackage, "{other:?}");
    }
}

#[test]
fn a_rule_that_denies_by_package_takes_the_permit_back() {
    let rules = [reading("Permit", one(PACKAGE, "p-one")), reading("Deny", one(PACKAGE, "p-two"))];
    let text = simple(&rules);
    assert_eq!(derive(&text, &["p-one"]), Derived::Permit);
    assert_eq!(derive(&text, &["p-one", "p-two"]), Derived::NotPermitted);
    // Where a permit wins, the order of rules tells nothing; where the first wins, everything.
    let overrides = policy(ALGORITHMS[1], &Vec::new(), &rules, "");
    assert_eq!(derive(&overrides, &["p-one", "p-two"]), Derived::Permit);
    let first = policy(FIRST_APPLICABLE, &Vec::new(), &rules, "");
    assert_eq!(derive(&first, &["p-one", "p-two"]), Derived::Permit);
    let [permit, deny] = rules;
    let turned = policy(FIRST_APPLICABLE, &Vec::new(), &[deny, permit], "");
    assert_eq!(derive(&turned, &["p-one", "p-two"]), Derived::NotPermitted);
}

#[test]
fn packages_are_compared_as_the_policy_says() {
    let capitals = |function| One { function, ..one(PACKAGE, "P-ONE") };
    let ignoring = simple(&[reading("Permit", capitals(IGNORE_CASE))]);
    assert_eq!(derive(&ignoring, &["p-one"]), Derived::Permit);
    assert!(parse(&ignoring).packages().iter().map(PackageId::as_str).eq(["p-one"]));
    // Nobody holds a package in capitals, and none is made up.
    let exact = simple(&[reading("Permit", capitals(EQUAL))]);
    assert_eq!(compile(&exact).unwrap_err(), NotDerivable::NoPackage);
    assert!(parse(&exact).packages().is_empty());
    // The Kelvin sign: equal to k in one reading only.
    let sign = One { function: IGNORE_CASE, ..one(PACKAGE, "\u{212a}") };
    assert_eq!(compile(&simple(&[reading("Permit", sign)])).unwrap_err(), NotDerivable::NoPackage);
}

#[test]
fn where_the_readings_differ_nothing_is_permitted() {
    // Two subjects in two AnyOf: either for Altinn, both for the standard.
    let both = simple(&[rule(
        "Permit",
        &[
            one(PACKAGE, "p-one"),
            one(PACKAGE, "p-two"),
            one(RESOURCE, "ex-returns"),
            one(ACTION, "read"),
        ],
    )]);
    assert_eq!(derive(&both, &["p-one"]), Derived::NotPermitted);
    assert_eq!(derive(&both, &["p-one", "p-two"]), Derived::Permit);
    // A target of the policy: not looked at by Altinn, a demand in the standard.
    let rules = [reading("Permit", one(PACKAGE, "p-one"))];
    let target = |part| policy(DENY_OVERRIDES, &vec![vec![vec![part]]], &rules, "");
    assert_eq!(derive(&target(one(PACKAGE, "p-two")), &["p-one"]), Derived::NotPermitted);
    assert_eq!(derive(&target(one(PACKAGE, "p-two")), &["p-one", "p-two"]), Derived::Permit);
    assert_eq!(derive(&target(one(RESOURCE, "ex-returns")), &["p-one"]), Derived::Permit);
    let elsewhere = compile(&target(one(RESOURCE, "ex-other"))).unwrap_err();
    assert_eq!(elsewhere, NotDerivable::NoPackage);
}

#[test]
fn what_depends_on_something_else_than_packages_is_not_derived() {
    let opens = reading("Permit", one(PACKAGE, "p-one"));
    let must = |id| One { must_be_present: true, ..one(id, "x") };
    let denies = NotDerivable::UnknownDeny("r1".into());
    for (more, expected, why) in [
        (reading("Deny", one(ROLE, "dagl")), denies.clone(), "a role"),
        (reading("Deny", one(PARTY, "310000027")), denies.clone(), "the party"),
        (
            reading("Deny", one(PARTY_ID, "50000001")),
            denies.clone(),
            "the party, as the PDP knows it",
        ),
        (
            reading("Deny", one("urn:altinn:resource:instance-id", "1")),
            denies.clone(),
            "the instance",
        ),
        (reading("Deny", one("urn:example:hour", "8")), denies.clone(), "the time"),
        (reading("Deny", one(SYSTEM_USER, "x")), denies, "the system user"),
        (reading("Permit", must(ROLE)), NotDerivable::MustBePresent(ROLE.into()), "absent for all"),
        (
            reading("Permit", must(PACKAGE)),
            NotDerivable::MustBePresent(PACKAGE.into()),
            "absent without any",
        ),
        (rule("Permit", &[one(ACTION, "read")]), NotDerivable::OpenToAll, "no package asked for"),
    ] {
        assert_eq!(compile(&simple(&[opens.clone(), more])).unwrap_err(), expected, "{why}");
    }
    for (neighbour, why) in [
        (reading("Permit", one(ROLE, "dagl")), "another way in takes nothing away"),
        (reading("Permit", must(RESOURCE)), "always present"),
        (rule("Deny", &[one(ROLE, "dagl"), one(ACTION, "write")]), "another action"),
        (rule("Deny", &[one(RESOURCE, "ex-other"), one(ACTION, "read")]), "another resource"),
    ] {
        assert_eq!(
            derive(&simple(&[opens.clone(), neighbour]), &["p-one"]),
            Derived::Permit,
            "{why}"
        );
    }
}

#[test]
fn a_permit_that_no_rule_gave_is_not_derived() {
    let rules = [reading("Permit", one(PACKAGE, "p-one"))];
    for rules in [&rules[..], &[]] {
        let text = policy(ALGORITHMS[3], &Vec::new(), rules, "");
        assert_eq!(compile(&text).unwrap_err(), NotDerivable::PermitUnlessDeny);
    }
    assert_eq!(compile(&simple(&[])).unwrap_err(), NotDerivable::NoPackage);
    // Only roles: open to people, and a basis for single rights, which the PDP knows.
    let people = simple(&[reading("Permit", one(ROLE, "dagl"))]);
    assert_eq!(compile(&people).unwrap_err(), NotDerivable::NoPackage);
}

#[test]
fn obligations_are_fulfilled_or_nothing_is_derived() {
    let with = |category, value| {
        let rules = [reading("Permit", one(PACKAGE, "p-one"))];
        policy(DENY_OVERRIDES, &Vec::new(), &rules, &obligation(category, value))
    };
    let level = "urn:altinn:minimum-authenticationlevel";
    assert_eq!(derive(&with(level, "3"), &["p-one"]), Derived::Permit);
    let four = compile(&with(level, "4")).unwrap_err();
    assert_eq!(four, NotDerivable::Obligation(UnmetObligation::Level(4)));
    assert_eq!(four.label(), "obligation");
    let unknown = compile(&with("urn:example:other", "1")).unwrap_err();
    assert_eq!(unknown, NotDerivable::Obligation(UnmetObligation::UnknownCategory));
    let for_owners = with("urn:altinn:minimum-authenticationlevel-org", "4");
    assert_eq!(derive(&for_owners, &["p-one"]), Derived::Permit);
}

#[test]
fn an_app_is_known_by_its_id_and_by_organisation_and_name() {
    let app = |org, app| {
        let parts = [
            one(PACKAGE, "p-one"),
            one("urn:altinn:org", org),
            one("urn:altinn:app", app),
            one(ACTION, "read"),
        ];
        let mut rule = rule("Permit", &parts);
        // Organisation and app stand in one AllOf, as apps write them.
        let name = rule.target.remove(2).remove(0).remove(0);
        rule.target[1][0].push(name);
        simple(&[rule])
    };
    let compile = |text: &str, id| parse(text).compile(&right(id, "read"));
    let compiled = compile(&app("ttd", "apps-test"), "app_ttd_apps-test").unwrap();
    assert_eq!(compiled.derive(|package| package.as_str() == "p-one"), Derived::Permit);
    for (text, id, expected) in [
        (app("ttd", "other"), "app_ttd_apps-test", NotDerivable::NoPackage),
        (app("skd", "apps-test"), "app_ttd_apps-test", NotDerivable::NoPackage),
        (app("ttd", "apps-test"), "app_ttd_apps_test", NotDerivable::AppName),
        (app("ttd", "apps-test"), "app_ttd", NotDerivable::AppName),
        (app("ttd", "apps-test"), "app_ttd_", NotDerivable::AppName),
        // Not an app: the PDP adds neither.
        (app("ttd", "apps-test"), "ttd-apps-test", NotDerivable::NoPackage),
    ] {
        assert_eq!(compile(&text, id).unwrap_err(), expected, "{id}");
    }
}

#[test]
fn conditions_and_other_types_than_text_are_the_pdps() {
    let text = simple(&[reading("Permit", one(PACKAGE, "p-one"))]);
    let condition = "<Condition><Apply FunctionId=\"urn:oasis:names:tc:xacml:1.0:function:string-is-in\">\
         <AttributeValue DataType=\"http://www.w3.org/2001/XMLSchema#string\">p-one</AttributeValue>\
         <AttributeDesignator AttributeId=\"urn:altinn:accesspackage\" \
         Category=\"urn:oasis:names:tc:xacml:1.0:subject-category:access-subject\" \
         DataType=\"http://www.w3.org/2001/XMLSchema#string\" MustBePresent=\"false\"/></Apply></Condition></Rule>";
    let conditional = text.replace("</Rule>", condition);
    assert_eq!(compile(&conditional).unwrap_err(), NotDerivable::Condition("r0".into()));
    // Nor of a rule that cannot apply: there is nothing to open the right either.
    let elsewhere = conditional.replace(">read<", ">write<");
    assert_eq!(compile(&elsewhere).unwrap_err(), NotDerivable::NoPackage);
    let issued = text.replacen("MustBePresent", "Issuer=\"x\" MustBePresent", 1);
    assert_eq!(compile(&issued).unwrap_err(), NotDerivable::Issuer(PACKAGE.into()));
    let uri = text
        .replacen(EQUAL, "urn:oasis:names:tc:xacml:1.0:function:anyURI-equal", 1)
        .replacen("XMLSchema#string", "XMLSchema#anyURI", 2);
    assert_eq!(compile(&uri).unwrap_err(), NotDerivable::Function(PACKAGE.into()));
}

#[test]
fn an_explanation_names_rules_and_packages() {
    let rules = [
        reading("Permit", one(PACKAGE, "p-one")),
        reading("Permit", one(PACKAGE, "p-three")),
        reading("Deny", one(PACKAGE, "p-two")),
    ];
    let right = compile(&simple(&rules)).unwrap();
    let explain =
        |held: &[&str]| right.explain(|package| held.contains(&package.as_str())).to_string();
    assert_eq!(
        explain(&["p-one"]),
        "rule `r0` permits through `p-one`; both readings of the policy permit"
    );
    assert_eq!(
        explain(&["p-one", "p-two"]),
        "rule `r0` permits through `p-one`; rule `r2` denies through `p-two`; no permit follows; the right is \
         opened by `p-one`, `p-three`"
    );
    assert_eq!(explain(&[]), "no permit follows; the right is opened by `p-one`, `p-three`");
}

/// The actions that a policy speaks of, as far as a test needs them.
const ACTIONS: [&str; 6] = ["read", "write", "access", "subscribe", "sign", "ScopeAccess"];

#[test]
fn altinns_own_policies_that_name_packages_open_by_one_of_them_alone() {
    let Some(folder) = crate::support::conformance("xacml/altinn/policies") else { return };
    let mut files = Vec::new();
    crate::altinn::files(&folder, &mut files);
    let mut compiled = 0;
    for file in files {
        let id = file
            .parent()
            .and_then(|folder| folder.file_name())
            .expect("a folder")
            .to_string_lossy();
        let policy = Policy::parse(&std::fs::read(&file).expect("a policy")).expect("is read");
        let (Ok(resource), false) = (id.parse(), policy.packages().is_empty()) else { continue };
        for action in ACTIONS {
            let right =
                Right { resource: Clone::clone(&resource), action: action.parse().unwrap() };
            let found = policy.compile(&right);
            println!(
                "{id} {action}: {}",
                found.as_ref().map_or_else(NotDerivable::label, |_| "compiled")
            );
            let Ok(found) = found else { continue };
            for package in &found.explain(|_| false).opening {
                assert_eq!(found.derive(|held| held == package), Derived::Permit, "{id} {package}");
            }
            compiled += 1;
        }
    }
    assert!(compiled > 0);
}

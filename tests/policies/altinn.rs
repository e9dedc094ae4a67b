//! Altinn's policies, and requests made for them with results from an evaluator that is not ours.

use crate::support;
use crate::vectors::{Tally, read};
use crate::xacml::request;
use portvakt::domain::decision::Obligation;
use portvakt::domain::policy::{Evaluation, Policy};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn every_policy_of_altinns_own_tests_is_read() {
    let Some(folder) = support::conformance("xacml/altinn/policies") else { return };
    let mut found = Vec::new();
    files(&folder, &mut found);
    let mut tally = Tally::of("xacml/altinn/policies");
    for path in &found {
        let name = path.strip_prefix(&folder).expect("below").display().to_string();
        let policy = Policy::parse(&std::fs::read(path).expect("readable"));
        tally.ran(&name, policy.map(drop).map_err(|error| error.to_string()));
    }
    tally.close(found.len(), 0);
    assert_eq!(found.len(), 82);
}

fn expected(case: &Value) -> (&str, Vec<Obligation>) {
    let text = |of: &Value, name: &str| of[name].as_str().expect("text").to_owned();
    let obligations = case["obligations"].as_array().expect("a list").iter();
    let obligations = obligations
        .map(|one| Obligation { category: text(one, "category"), value: text(one, "value") });
    (case["expected"].as_str().expect("a decision"), obligations.collect())
}

fn differs(
    reading: &str,
    found: &Evaluation,
    (decision, obligations): &(&str, Vec<Obligation>),
) -> Option<String> {
    let same = found.decision.to_string() == *decision && found.obligations == *obligations;
    (!same).then(|| format!("{reading}: {found:?}, not {decision} with {obligations:?}"))
}

#[test]
fn requests_made_for_altinns_policies_come_out_as_told_in_both_readings() {
    let Some(file) = read("xacml/altinn", "generated.json") else { return };
    let folder = support::conformance("xacml/altinn/policies").expect("beside the requests");
    let mut policies = BTreeMap::new();
    let cases = file["cases"].as_array().expect("cases");
    let mut tally = Tally::of("xacml/altinn/generated.json");
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for (number, case) in cases.iter().enumerate() {
        let name = case["policy"].as_str().expect("a policy");
        let policy = policies.entry(name).or_insert_with(|| {
            Policy::parse(&std::fs::read(folder.join(name)).expect("a policy")).expect("is read")
        });
        let request = request(&case["request"]).expect("a request");
        let expected = expected(case);
        *kinds.entry(expected.0.to_owned()).or_default() += 1;
        let found = differs("Altinn", &policy.evaluate(&request), &expected)
            .or_else(|| differs("standard", &policy.evaluate_standard(&request), &expected));
        tally.ran(&format!("{number} {} {name}", case["why"]), found.map_or(Ok(()), Err));
    }
    tally.close(cases.len(), 0);
    support::say(&format!("xacml/altinn/generated.json: {kinds:?}"));
    assert_eq!(cases.len(), 900);
}

#[test]
fn the_packages_of_a_policy_are_those_that_its_rules_name() {
    let Some(folder) = support::conformance("xacml/altinn/policies") else { return };
    let mut found = Vec::new();
    files(&folder, &mut found);
    let mut names = std::collections::BTreeSet::new();
    for path in found {
        let text = std::fs::read(path).expect("readable");
        let policy = Policy::parse(&text).expect("is read");
        names.extend(policy.packages().iter().map(ToString::to_string));
        let asks = String::from_utf8_lossy(&text).contains("\"urn:altinn:accesspackage\"");
        assert_eq!(asks, !policy.packages().is_empty(), "{}", policy.id());
    }
    println!("xacml/altinn/policies: packages {names:?}");
    assert!(!names.is_empty());
}

//! Our own attacks and controls on policies: `cases/xacml.json`, in both readings.

use crate::request;
use crate::vectors::{Tally, read};
use portvakt::domain::decision::check_obligations;
use portvakt::domain::policy::{Decision, Evaluation, Policy};
use serde_json::Value;

#[test]
fn attacks_on_policies_come_out_as_told() {
    let Some(file) = read("cases", "xacml.json") else { return };
    let cases = file["cases"].as_array().expect("cases");
    let mut tally = Tally::of("cases/xacml.json");
    for case in cases {
        assert_eq!(case["kind"], "xacml");
        tally.ran(case["id"].as_str().expect("an id"), judge(case));
    }
    tally.close(cases.len(), 0);
}

fn judge(case: &Value) -> Result<(), String> {
    let expect = &case["expect"];
    let policy = match Policy::parse(case["policy"].as_str().expect("a policy").as_bytes()) {
        Err(_) if expect["load"] == "error" => return Ok(()),
        Err(error) => return Err(error.to_string()),
        Ok(policy) => policy,
    };
    let request = request(&case["request"]);
    let readings = [policy.evaluate(&request), policy.evaluate_standard(&request)];
    readings.iter().try_for_each(|found| as_told(expect, found))
}

fn as_told(expect: &Value, found: &Evaluation) -> Result<(), String> {
    let decisions = match &expect["decision"] {
        Value::Null => expect["or_decision"].as_array().cloned().unwrap_or_default(),
        one => vec![one.clone()],
    };
    let enforced =
        found.decision == Decision::Permit && check_obligations(&found.obligations).is_ok();
    let enforced = if enforced { "permit" } else { "deny" };
    let obliged = |(category, value): (&String, &Value)| {
        found
            .obligations
            .iter()
            .any(|one| one.category == *category && *value == one.value.as_str())
    };
    let obligations = expect["obligations"].as_object();
    let right = decisions.iter().any(|one| *one == found.decision.to_string().as_str())
        && expect["enforced"].as_str().is_none_or(|told| told == enforced)
        && obligations.is_none_or(|told| told.iter().all(obliged));
    if right { Ok(()) } else { Err(format!("{found:?}, not {expect}")) }
}

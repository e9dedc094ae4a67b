//! The conformance cases of OASIS for XACML 3.0.
//!
//! They are written for the standard, so they are measured with the standard's reading. Where Altinn's reading
//! decides otherwise, the case stands in a list with its reason: that is what the second reading is for.

use crate::support;
use crate::vectors::{Tally, read};
use crate::wire::{decode, read_xml_request, read_xml_response};
use portvakt::domain::policy::{Decision, Evaluation, Policy, Potential};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Cases in which Altinn's PDP deviates from the standard, and how.
const ALTINN_DEVIATES: [(&str, &str); 1] =
    [("IIB021", "it does not look at the issuer of an attribute")];

/// Cases whose policy is broken, which pass when it is not loaded.
const BROKEN: [(&str, &str); 1] =
    [("IIA006", "`SubjectCategory` was an attribute of designators in XACML 1 and is none in 3.0")];

struct Case {
    id: String,
    tier: String,
    expected: Vec<String>,
    policy: Result<Policy, String>,
    request: Result<portvakt::domain::policy::Request, String>,
    obligations: Vec<(String, String)>,
}

fn cases() -> Option<Vec<Case>> {
    let index = read("xacml/oasis-3.0", "index.json")?;
    let folder = support::conformance("xacml/oasis-3.0").expect("beside the index");
    Some(index["cases"].as_array().expect("cases").iter().map(|case| load(&folder, case)).collect())
}

fn load(folder: &Path, case: &Value) -> Case {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let id = text(&case["id"]);
    let file = |kind: &str| {
        let path = folder.join(format!("{id}{kind}.xml"));
        std::fs::read(&path).map_err(|_| format!("no single {kind}.xml"))
    };
    let response = file("Response").and_then(|bytes| read_xml_response(&decode(&bytes)?));
    let obligations = response.iter().flatten().flat_map(|told| &told.obligations);
    Case {
        tier: text(&case["tier"]),
        expected: case["expected"].as_array().expect("a list").iter().map(text).collect(),
        policy: file("Policy").and_then(|xml| Policy::parse(&xml).map_err(|error| reason(&error))),
        request: file("Request")
            .and_then(|bytes| read_xml_request(&decode(&bytes)?))
            .map(|asked| asked.request()),
        obligations: obligations.map(|one| (one.category.clone(), one.value.clone())).collect(),
        id,
    }
}

/// The reason without its place, so that cases are counted together.
fn reason(error: &portvakt::domain::policy::PolicyError) -> String {
    error.fault.to_string()
}

impl Case {
    /// A request that cannot be read is one that a PDP answers with Indeterminate (XACML 3.0 §7.17.3).
    fn decide(
        &self,
        evaluate: fn(&Policy, &portvakt::domain::policy::Request) -> Evaluation,
    ) -> Evaluation {
        let policy = self.policy.as_ref().expect("a policy that was read");
        match &self.request {
            Ok(request) => evaluate(policy, request),
            Err(_) => Decision::Indeterminate(Potential::Both).into(),
        }
    }

    fn is_right(&self, found: &Evaluation) -> Result<(), String> {
        let given: Vec<_> =
            found.obligations.iter().map(|one| (one.category.clone(), one.value.clone())).collect();
        if !self.expected.contains(&found.decision.to_string()) {
            Err(format!("{}, not {:?}", found.decision, self.expected))
        } else if given != self.obligations {
            Err(format!("obligations {given:?}, not {:?}", self.obligations))
        } else {
            Ok(())
        }
    }
}

#[test]
fn every_case_with_what_altinns_policies_use_comes_out_right() {
    let Some(cases) = cases() else { return };
    let mut tally = Tally::of("xacml/oasis-3.0 altinn-core");
    let core: Vec<&Case> = cases.iter().filter(|case| case.tier == "altinn-core").collect();
    for case in &core {
        let right = match &case.policy {
            Ok(_) => case.is_right(&case.decide(Policy::evaluate_standard)),
            Err(reason) => match BROKEN.iter().find(|(id, _)| case.id == *id) {
                Some((id, why)) => {
                    support::say(&format!("  {id} is rightly not loaded: {why} ({reason})"));
                    Ok(())
                }
                None => Err(format!("is not read: {reason}")),
            },
        };
        tally.ran(&case.id, right);
    }
    tally.close(core.len(), 0);
    assert_eq!(core.len(), 31);
}

#[test]
fn every_other_case_is_refused_when_loaded_or_comes_out_right() {
    let Some(cases) = cases() else { return };
    for (tier, count, known) in
        [("altinn-near", 39, 34), ("general", 215, 213), ("optional-profile", 4, 0)]
    {
        let mut tally = Tally::of(&format!("xacml/oasis-3.0 {tier}"));
        let tier: Vec<&Case> = cases.iter().filter(|case| case.tier == tier).collect();
        assert_eq!(tier.len(), count);
        for case in tier {
            match &case.policy {
                Ok(_) => {
                    tally.ran(&case.id, case.is_right(&case.decide(Policy::evaluate_standard)));
                }
                Err(reason) => {
                    tally.left_out(&case.id, reason);
                }
            }
        }
        tally.close(count, known);
    }
}

#[test]
fn where_altinn_deviates_the_case_is_named_with_its_reason() {
    let Some(cases) = cases() else { return };
    let mut differing = BTreeMap::new();
    let mut same = 0;
    for case in cases.iter().filter(|case| case.policy.is_ok()) {
        let found = case.decide(Policy::evaluate);
        match case.is_right(&found) {
            Ok(()) => same += 1,
            Err(difference) => drop(differing.insert(case.id.as_str(), difference)),
        }
    }
    support::say(&format!(
        "xacml/oasis-3.0 in Altinn's reading: {same} as the standard, {} otherwise",
        differing.len()
    ));
    for (id, reason) in ALTINN_DEVIATES {
        support::say(&format!("  {id}: {:?}: {reason}", differing.get(id)));
    }
    let named: BTreeMap<&str, &str> = ALTINN_DEVIATES.into_iter().collect();
    assert!(differing.keys().eq(named.keys()), "{differing:#?}");
}
